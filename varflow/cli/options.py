"""Options shared by several commands, and the parsing of their text: distributions, numbers, drives, neurons, networks."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

import varflow as vf
from varflow.cli.terminal import Stopped, option, real, whole

DISTRIBUTIONS = "normal, uniform, laplace, logistic or student_t:DF."
GAINS = "preserving (the paper's gain, which keeps the variance at 1), kaiming (√2) or a number."

STORE = "blocks.sqlite"  # in the folder of the results

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
Reset = Annotated[str, option("none, subtract, delayed_subtract, zero, gate or multi_spike.", "NAME")]
InputScale = Annotated[float, real("Factor on the input current.", "λ")]
SynapticDecay = Annotated[float, real("Decay of the synaptic current, in [0, 1); 0: none.", "α_s")]
Delay = Annotated[int, whole("Steps from a spike to its arrival in the next layer.", "d")]
Steps = Annotated[int, whole("Time steps; several are predicted at infinite width.", "T")]
Preset = Annotated[str | None, option("A library's neuron: snntorch_leaky, spikingjelly_lif:tau=3, …", "NAME[:key=value,…]")]
Beta = Annotated[float | None, real("Parameter beta of --neuron.", "β")]
Drive = Annotated[
    str | None,
    option("Drive of layer 1: currents[:STD], white[:STD], or a .npy, .npz or .csv FILE of input vectors (rows).", "DRIVE"),
]
InputGain = Annotated[float | None, real("Gain of the first weights for a FILE; default: unit variance in layer 1.", "g")]
Engine = Annotated[str, option("dense (weight matrices) or conditional (equal in distribution, faster).", "NAME")]
Resume = Annotated[
    bool, typer.Option("--resume", help="Use the blocks that an earlier run of the same computation finished, if any.")
]
Workers = Annotated[int, whole("Processes on this machine; the result is the same for any number.", "N")]
Scheduler = Annotated[str | None, option("Address of a Dask scheduler whose workers do the work.", "tcp://HOST:PORT")]


@contextmanager
def campaign(store: Path, resume: bool, workers: int, scheduler: str | None, units: str) -> Iterator[Any]:
    """The campaign that keeps finished blocks in a file; with ``resume``, stderr says how much was there."""

    def found(there: int, total: int) -> None:
        print(f"{store}: {there} of {total} {units} are there", file=sys.stderr, flush=True)

    try:
        yield vf.Campaign(store=store, workers=workers, scheduler=scheduler, resume=resume, found=found)
    except KeyboardInterrupt as stop:
        raise Stopped(f"{str(stop) or 'stopped'}; nothing is written, --resume continues") from None


def refuse(rule: str, **options: Any) -> None:
    """Raise for the first of these options that is given, and so not None."""
    for name, value in options.items():
        if value is not None:
            raise vf.DomainError(name, value, rule)


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


def drive_of(text: str | None, input_gain: float | None) -> Any:
    """The drive of layer 1: a name with its standard deviation, or a file."""
    name, _, std = (text or "currents").partition(":")
    if name not in ("currents", "white"):
        return vf.drives.inputs_from_file(text or "", input_gain)
    if input_gain is not None:
        raise vf.DomainError("input_gain", input_gain, "applies only to a --drive FILE, which has first weights")
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
        if beta is not None:
            raise vf.DomainError("beta", beta, "is a parameter of --neuron: give that, or --decay")
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
