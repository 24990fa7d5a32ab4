"""Input and output of the commands: options that several share are read, results printed, files written, errors worded.

Text becomes distributions, numbers, drives, neurons and networks.
"""

from __future__ import annotations

import inspect
import io
import json
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, partial, wraps
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand

import varflow as vf
from varflow import DomainError, VarflowError
from varflow._checks import refuse, require
from varflow._files import replace_files
from varflow._process import BAD_INPUT, INTERRUPTED, finishing, run_command

UsageError: Any = typer.BadParameter.__bases__[0]  # click's, or typer's own copy in newer versions
PICTURES = (".png", ".pdf", ".svg")
OPTION_OF = {"df": "distribution", "path": "drive", "x": "drive"}  # arguments whose option has another name
DISTRIBUTIONS = "normal, uniform, laplace, logistic or student_t:DF."
GAINS = "preserving (keeps the variance at 1; Micheli et al. 2024), kaiming (√2) or a number."

STORE = "blocks.sqlite"  # in the folder of the results
GROUPS = {  # of options in the help; all others are of the output
    "Model": ("factory", "inputs", "library", "dt"),
    "Neuron": ("threshold", "neuron", "beta", "decay", "reset", "input_scale", "synaptic_decay", "delay"),
    "Network": ("gain", "fan_in", "layer", "width", "depth", "weights", "distribution", "bias_std", "mean_gain", "infinite"),
    "Weights of few bits": ("bits", "clip", "base"),
    "Time and input": ("steps", "drive", "input_gain"),
    "Wanted": ("rate", "alive", "survival_target", "quantity"),
    "Gradients": ("surrogate", "surrogate_width", "gradients", "optimizer", "learning_rate"),
    "Simulation": ("repeats", "seed", "engine", "device", "dtype", "bias", "quick"),
    "Long runs": ("resume", "workers", "scheduler"),
}


class Stopped(Exception):
    """Ctrl-C, with a message; none if the result was shown."""


class Grouped(TyperCommand):
    """A command whose help shows its options in groups."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        shown = {each.name: each.get_help_record(ctx) for each in self.get_params(ctx)}
        output = tuple(name for name in shown if not any(name in names for names in GROUPS.values()))
        for group, names in (GROUPS | {"Output": output}).items():
            if lines := [shown[name] for name in shown if name in names]:
                with formatter.section(group):
                    formatter.write_dl(lines)


def _reader(kind: Callable[[str], Any], rule: str) -> Callable[[Any], Any]:
    def read(text: Any) -> Any:
        try:
            return kind(text)
        except ValueError:
            raise typer.BadParameter(f"{_shown(text)} {rule}") from None

    return read


def option(what: str, metavar: str, *names: str) -> Any:
    """A text option."""
    return typer.Option(*names, help=what, metavar=metavar)


def real(what: str, metavar: str) -> Any:
    """A number option."""
    return typer.Option(help=what, metavar=metavar, parser=_reader(float, "must be a number"))


def whole(what: str, metavar: str) -> Any:
    """An integer option."""
    return typer.Option(help=what, metavar=metavar, parser=_reader(int, "must be a whole number"))


Threshold = Annotated[float, real("Firing threshold θ, any sign.", "θ")]
Distribution = Annotated[str, option(f"Distribution of the standardised potential: {DISTRIBUTIONS}", "NAME")]
BiasStd = Annotated[float, real("Standard deviation of the biases.", "σ")]
MeanGain = Annotated[float, real("Fan-in times mean weight.", "m")]
Gain = Annotated[str, option(GAINS, "g")]
Width = Annotated[int, whole("Neurons per layer.", "n")]
Depth = Annotated[int, whole("Number of layers, including the first.", "L")]
Weights = Annotated[str, option("Weight distribution: normal, uniform, sign, exponential or lognormal.", "NAME")]
Repeats = Annotated[int, whole("Number of independent networks.", "R")]
Seed = Annotated[int, whole("Seed of all random numbers.", "N")]
Device = Annotated[str, option("cpu or cuda.", "NAME")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
Decay = Annotated[float, real("Fraction of the membrane kept from step to step, in [0, 1].", "β")]
Reset = Annotated[
    str, option("none, subtract, delayed_subtract (snnTorch's), zero (SpikingJelly's), gate or multi_spike.", "NAME")
]
InputScale = Annotated[float, real("Factor on the input current.", "λ")]
SynapticDecay = Annotated[float, real("Decay of the synaptic current, in [0, 1); 0: none.", "α_s")]
Alive = Annotated[
    str | None, option("With memory: the steps at which a layer must be alive, such as 'every late step'.", "STEPS")
]
Delay = Annotated[int, whole("Steps from a spike to its arrival in the next layer.", "d")]
Steps = Annotated[int, whole("Time steps; with more than one, theory is at infinite width.", "T")]
Preset = Annotated[str | None, option("A library's neuron: snntorch_leaky, spikingjelly_lif:tau=3, …", "NAME[:key=value,…]")]
Beta = Annotated[float | None, real("Parameter beta of --neuron.", "β")]
Drive = Annotated[
    str | None,
    option("Drive of layer 1: currents[:STD], white[:STD], or a .npy, .npz or .csv FILE of input vectors (rows).", "DRIVE"),
]
InputGain = Annotated[float | None, real("Gain of the first weights for a FILE; default: unit variance in layer 1.", "g")]
Engine = Annotated[str, option("dense (weight matrices) or conditional (equal in distribution, faster).", "NAME")]
Resume = Annotated[bool, typer.Option("--resume", help="Continue an earlier run of the same computation, if there is one.")]
Workers = Annotated[int, whole("Number of processes on this machine; the result does not depend on it.", "N")]
Scheduler = Annotated[str | None, option("Address of a Dask scheduler whose workers do the work.", "tcp://HOST:PORT")]


def result_json(result: Any, warnings: Iterable[str], **more: Any) -> str:
    """A result and its warnings as one JSON object (without NaN, which JSON lacks)."""
    return json.dumps(result.to_dict() | more | {"warnings": list(warnings)}, ensure_ascii=False, allow_nan=False)


def show(result: Any, as_json: bool, warnings: Iterable[str] = (), *, in_table: bool = False, **more: Any) -> None:
    """Print one JSON object or a table; warnings go to stderr, unless they are in the table."""
    if as_json:
        print(result_json(result, warnings, **more))
    else:
        print("\n".join([*(f"{name} {value:.8g}" for name, value in more.items()), repr(result)]))
    if as_json or not in_table:
        for warning in warnings:
            print(f"warning: {warning}", file=sys.stderr)


def bar(as_json: bool) -> bool:
    """True if progress is drawn on stderr: where a person reads it."""
    return not as_json and sys.stderr.isatty()


def check_folder(folder: Path, *names: str, argument: str = "out") -> None:
    """Raise before the work if the folder cannot be written; nothing is created yet."""
    try:
        existing = next(path for path in (folder, *folder.parents) if path.exists())
        tempfile.TemporaryFile(dir=existing).close()
        taken = [name for name in names if (folder / name).is_dir()]
    except OSError as error:
        at = folder / names[0] if len(names) == 1 else folder
        raise DomainError(argument, str(at), f"cannot be written: {error.strerror or error}") from None
    if taken:
        raise DomainError(argument, str(folder), f"cannot be written: {taken[0]} is a folder there")


def check_picture(path: Path, argument: str) -> str:
    """The format of a picture by its suffix; DomainError for another suffix or a missing folder; needs matplotlib."""
    if path.suffix.lower() not in PICTURES:
        raise DomainError(argument, str(path), f"must end in {', '.join(PICTURES[:-1])} or {PICTURES[-1]}")
    check_folder(path.parent, path.name, argument=argument)
    if not path.parent.exists():
        raise DomainError(argument, str(path), f"cannot be written: the folder {path.parent} does not exist")
    require("plot", "matplotlib.figure")
    return path.suffix.lower().removeprefix(".")


def deliver(
    result: Any, as_json: bool, files: Mapping[Path, str | bytes], warnings: Iterable[str] = (), *, argument: str = "out"
) -> None:
    """Write a result and print it; if one fails (full disk, closed pipe), the other still happens."""
    with finishing():
        try:
            replace_files(files)
        except OSError as error:
            (at,) = {path.parent for path in files} if argument == "out" else files
            raise DomainError(argument, str(at), f"cannot be written: {error.strerror or error}") from None
        finally:
            show(result, as_json, warnings)
        if files and not as_json:
            print(f"written: {', '.join(map(str, files))}")


def run(app: typer.Typer) -> NoReturn:
    """Run the command line; bad input gives one line on stderr and exit code 2."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal without θ shows \u03b8, valid in JSON too
    run_command("varflow", partial(_outcome, app))


@cache
def _command(app: typer.Typer) -> Any:
    """The click command of a command line: building it from signatures takes longer than to run most of its functions."""
    return typer.main.get_command(app)


def _outcome(app: typer.Typer) -> tuple[str, int]:
    """The final message, and the exit code."""
    try:
        code = _command(app)(sys.argv[1:] or ["--help"], prog_name="varflow", standalone_mode=False)
        if code == INTERRUPTED:  # Ctrl-C in newer versions of typer; older ones abort
            raise KeyboardInterrupt
        return "", code or 0
    except typer.Abort:
        raise KeyboardInterrupt from None
    except Stopped as stop:
        return str(stop), INTERRUPTED
    except UsageError as error:
        return _usage(error), BAD_INPUT
    except Exception as error:
        if str(error) == "can't start new thread":
            return "the system allows no further thread", BAD_INPUT
        if not isinstance(error, VarflowError):
            raise
        return _domain(app, error) if isinstance(error, DomainError) else str(error), BAD_INPUT


def _usage(error: Any) -> str:
    """The message for an option that cannot be read."""
    option = getattr(getattr(error, "param", None), "opts", [""])[0]
    if option.startswith("--"):
        return f"{option} {error.message}" if error.message else f"{option} is missing"
    return " ".join(error.format_message().split())


def _domain(app: typer.Typer, error: Any) -> str:
    """The message of a DomainError, in terms of the option."""
    command = _command(app).commands[sys.argv[1]]
    typed = {word.partition("=")[0] for word in sys.argv}
    argument: str = "beta" if error.argument == "decay" and "--beta" in typed and "--decay" not in typed else error.argument
    option = "--" + OPTION_OF.get(argument, argument).replace("_", "-")
    if all(option not in parameter.opts for parameter in command.params):
        return str(error)
    return " ".join(word for word in (option, _shown(error.value), error.rule) if word)


def _shown(value: Any) -> str:
    """A value as it is typed."""
    if value is None:
        return ""
    if isinstance(value, (list, tuple)):
        return ",".join(_shown(item) for item in value)
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    text = " ".join(str(value).split())
    return text if text == str(value) and text else repr(value)


@contextmanager
def campaign(store: Path, resume: bool, workers: int, scheduler: str | None, units: str) -> Iterator[Any]:
    """The campaign that keeps finished blocks in a file; with ``resume``, stderr says how much was there."""

    def found(there: int, total: int) -> None:
        print(f"{store}: {there} of {total} {units} are there", file=sys.stderr, flush=True)

    try:
        yield vf.Campaign(store=store, workers=workers, scheduler=scheduler, resume=resume, found=found)
    except KeyboardInterrupt as stop:
        raise Stopped(f"{str(stop) or 'stopped'}; nothing is written, --resume continues") from None


def unless(default: Any, value: Any) -> Any:
    """The value of an option; None for its default."""
    return None if value == default else value


def numbers(name: str, *texts: str, kind: Callable[[str], Any] = float) -> list[Any]:
    """The numbers of these texts, separated by commas."""
    values = []
    for text in texts:
        try:
            values += map(kind, text.split(","))
        except ValueError:
            raise vf.DomainError(name, text, f"must be {'whole ' * (kind is int)}numbers separated by commas") from None
    return values


def given(name: str, texts: list[str] | None, kind: Callable[[str], Any] = float) -> dict[str, Any]:
    """The numbers of an option by its name, if it is given."""
    return {name: numbers(name, *texts, kind=kind)} if texts else {}


def drive_of(text: str | None, input_gain: float | None) -> Any:
    """The drive of layer 1: a name with its standard deviation, or a file."""
    name, _, std = (text or "currents").partition(":")
    if name not in ("currents", "white"):
        return vf.drives.inputs_from_file(text or "", input_gain)
    refuse("applies only to a --drive FILE, which has first weights", input_gain=input_gain)
    try:
        return getattr(vf.drives, name)(float(std or 1))
    except vf.DomainError as error:
        raise vf.DomainError("drive", text, f"has a standard deviation that {error.rule}") from None
    except ValueError:
        raise vf.DomainError("drive", text, f"needs its standard deviation as a number, as in {name}:0.5") from None


def changed(**options: Any) -> dict[str, Any]:
    """The neuron options that differ from their defaults."""
    plain = vf.Neuron()
    return {name: value for name, value in options.items() if value != getattr(plain, name)}


def preset_of(text: str | None, beta: float | None = None) -> Any:
    """A neuron of ``vf.neurons`` by its name and parameters; None without a name."""
    if text is None:
        refuse("is a parameter of --neuron: give that, or --decay", beta=beta)
        return None
    return vf.neuron(text, **({} if beta is None else {"beta": beta}))


def network_of(
    threshold: Threshold,
    gain: Gain = "preserving",
    width: Width = 1000,
    depth: Depth = 100,
    bias_std: BiasStd = 0.0,
    mean_gain: MeanGain = 0.0,
    weights: Weights = "normal",
    steps: Steps = 1,
    decay: Decay = 0.0,
    reset: Reset = "none",
    input_scale: InputScale = 1.0,
    synaptic_decay: SynapticDecay = 0.0,
    delay: Delay = 0,
    drive: Drive = None,
    input_gain: InputGain = None,
) -> Any:
    """The network described by these options."""
    neuron = vf.Neuron(threshold, decay=decay, reset=reset, input_scale=input_scale, synaptic_decay=synaptic_decay, delay=delay)
    return vf.Network(
        width=width,
        depth=depth,
        gain=vf.gain_by_rule(gain, threshold, bias_std=bias_std, mean_gain=mean_gain),
        neuron=neuron,
        weights=weights,
        bias_std=bias_std,
        mean_gain=mean_gain or None,
        steps=steps,
        drive=drive_of(drive, input_gain),
    )


def of_a_network(command: Callable[..., None]) -> Callable[..., None]:
    """The command with the options of :func:`network_of` in the place of its parameter ``network``."""
    described, parameters = (inspect.signature(function, eval_str=True).parameters for function in (network_of, command))
    shown = [*described.values(), *(parameter for name, parameter in parameters.items() if name != "network")]

    @wraps(command)
    def asked(**options: Any) -> None:
        command(network_of(**{name: options.pop(name) for name in described}), **options)

    asked.__annotations__ = {parameter.name: parameter.annotation for parameter in shown}
    vars(asked)["__signature__"] = inspect.Signature(shown)
    return asked
