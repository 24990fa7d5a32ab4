"""The command line: each command asks the public API one question and prints a table, or one JSON object with --json."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = ["app", "main"]

app = typer.Typer(
    name="varflow",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Analytical theory of deep spiking networks: look up a gain, find fixed points, predict, simulate, validate.",
)

UsageError = typer.BadParameter.__bases__[0]  # typer carries click's exceptions inside from 0.2x on; this finds either
INTERRUPTED = 130  # exit code after Ctrl-C, as shells have it

Threshold = Annotated[float, typer.Option(help="Firing threshold θ, any sign.", metavar="θ")]
Distribution = Annotated[
    str, typer.Option(help="Of the standardised potential: normal, uniform, laplace, logistic or student_t:DF.", metavar="NAME")
]
BiasStd = Annotated[float, typer.Option(help="Standard deviation of the biases.", metavar="σ")]
MeanGain = Annotated[float, typer.Option(help="Fan-in times the mean weight.", metavar="m")]
GainRule = Annotated[str, typer.Option(help="preserving (1/√P(u>θ), the paper's), kaiming (√2) or a number.", metavar="g")]
Width = Annotated[int, typer.Option(help="Neurons in a layer.", metavar="n")]
Depth = Annotated[int, typer.Option(help="Layers, the driven one included.", metavar="L")]
Repeats = Annotated[int, typer.Option(help="Independent networks to simulate.", metavar="R")]
Seed = Annotated[int, typer.Option(help="Sets every weight.")]
Device = Annotated[str, typer.Option(help="cpu or cuda.", metavar="NAME")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]


@app.command()
def lookup(
    threshold: Annotated[float, typer.Option(help="Firing threshold θ.", metavar="θ")],
    fan_in: Annotated[int | None, typer.Option(help="Inputs of one neuron.", metavar="n")] = None,
    layer: Annotated[str | None, typer.Option(help="Weight shape instead: out,in[,kernel…].", metavar="SHAPE")] = None,
    distribution: Distribution = "normal",
    rate: Annotated[float | None, typer.Option(help="Wanted firing rate; default: keep the variance at 1.", metavar="p")] = None,
    width: Annotated[int | None, typer.Option(help="Width for survival; default: the fan-in.", metavar="n")] = None,
    depth: Annotated[int | None, typer.Option(help="Report survival to this layer, and the corrected gain.", metavar="L")] = None,
    survival_target: Annotated[float, typer.Option(help="Wanted probability of being alive there.", metavar="P")] = 0.99,
    as_json: Json = False,
) -> None:
    """The gain of one layer, its fixed point, margin and survival.

    \b
    Examples:
      varflow lookup --threshold 1 --fan-in 512
      varflow lookup --threshold 1 --layer 512,256,3,3 --json
      varflow lookup --threshold 1 --fan-in 100 --depth 100 --survival-target 0.99
    """
    import varflow as vf

    found = vf.lookup(
        threshold=threshold,
        fan_in=fan_in,
        layer=None if layer is None else _numbers("layer", layer),
        distribution=_law(distribution),
        rate=rate,
        width=width,
        depth=depth,
        survival_target=survival_target,
    )
    if as_json:
        _print_json(found.to_dict())
        for warning in found.warnings:
            print(f"warning: {warning}", file=sys.stderr)
    else:
        print(found)


@app.command("fixed-points")
def fixed_points(
    threshold: Threshold,
    gain: GainRule = "preserving",
    distribution: Distribution = "normal",
    bias_std: BiasStd = 0.0,
    mean_gain: MeanGain = 0.0,
    as_json: Json = False,
) -> None:
    """Every variance a layer reproduces, with its stability.

    \b
    Examples:
      varflow fixed-points --threshold 1.5
      varflow fixed-points --threshold 1 --gain 2.51 --bias-std 0.2236
      varflow fixed-points --threshold 1 --gain kaiming --distribution laplace --json
    """
    import varflow as vf

    law = _law(distribution)
    g = _gain(gain, threshold, law)
    points = vf.fixed_points(threshold=threshold, gain=g, distribution=law, bias_std=bias_std, mean_gain=mean_gain)
    if as_json:
        _print_json(points.to_dict() | {"gain": g})
    else:
        print(f"gain {g:.8g}\n{points!r}")


@app.command()
def predict(
    threshold: Threshold,
    gain: GainRule = "preserving",
    width: Width = 1000,
    depth: Depth = 100,
    bias_std: BiasStd = 0.0,
    mean_gain: MeanGain = 0.0,
    infinite: Annotated[bool, typer.Option(help="At infinite width instead of exactly at this one.")] = False,
    as_json: Json = False,
) -> None:
    """Variance, firing rate and survival of every layer, exactly.

    \b
    Examples:
      varflow predict --threshold 1 --width 600
      varflow predict --threshold 0.7 --gain kaiming --infinite --json
    """
    import varflow as vf

    network = _network(threshold, gain, width, depth, bias_std, mean_gain)
    profile = vf.mean_field(network) if infinite else vf.finite_width(network)
    if as_json:
        _print_json(profile.to_dict() | {"gain": network.gain})
    else:
        print(profile)


@app.command()
def simulate(
    threshold: Threshold,
    gain: GainRule = "preserving",
    width: Width = 1000,
    depth: Depth = 100,
    bias_std: BiasStd = 0.0,
    mean_gain: MeanGain = 0.0,
    weights: Annotated[
        str, typer.Option(help="Law of the weights: normal, uniform, sign, exponential, lognormal.", metavar="NAME")
    ] = "normal",
    repeats: Repeats = 20,
    seed: Seed = 0,
    device: Device = "cpu",
    dtype: Annotated[str, typer.Option(help="float32 or float64.", metavar="NAME")] = "float32",
    as_json: Json = False,
) -> None:
    """Real networks with real weight matrices, measured layer by layer.

    \b
    Examples:
      varflow simulate --threshold 1 --width 600 --repeats 50
      varflow simulate --threshold 1 --width 100 --weights sign --json
    """
    import varflow as vf

    network = _network(threshold, gain, width, depth, bias_std, mean_gain, weights)
    ensemble = vf.simulate(network, repeats=repeats, seed=seed, device=device, dtype=dtype, progress=not as_json)
    if as_json:
        _print_json(ensemble.to_dict() | {"gain": network.gain})
    else:
        print(ensemble)


@app.command()
def validate(
    threshold: Annotated[list[str] | None, typer.Option(help="Thresholds, repeated or with commas.", metavar="θ,…")] = None,
    gain: Annotated[list[str] | None, typer.Option(help="Gains: preserving, kaiming or numbers.", metavar="g,…")] = None,
    width: Width = 1000,
    depth: Depth = 100,
    repeats: Repeats = 20,
    seed: Seed = 0,
    drive: Annotated[str | None, typer.Option(help="Your input vectors, one a row: .npy, .npz or .csv.", metavar="FILE")] = None,
    device: Device = "cpu",
    out: Annotated[Path, typer.Option(help="Folder for propagation.png and result.json.", metavar="DIR")] = Path("varflow-results"),
    quick: Annotated[bool, typer.Option("--quick", help="Width 300: a first look in a few seconds.")] = False,
    as_json: Json = False,
) -> None:
    """The main job: the paper's 100-layer experiment with the exact theory laid over it, and a verdict per curve.

    Exit code 0 only if the theory stands, 1 if it is rejected, 130 after Ctrl-C (what was finished is judged and written).

    \b
    Examples:
      varflow validate
      varflow validate --quick --out /tmp/look
      varflow validate --threshold 0.7,1 --gain preserving,2.6 --width 600 --repeats 50
      varflow validate --drive my_inputs.npy
    """
    import varflow as vf

    options = {"width": 300 if quick else width, "depth": depth, "repeats": repeats, "seed": seed, "device": device}
    if threshold:
        options["threshold"] = [value for text in threshold for value in _numbers("threshold", text)]
    if gain:
        options["gain"] = [name for text in gain for name in text.split(",")]
    if drive is not None:
        options["drive"] = vf.drives.inputs_from_file(drive)
    _writable(out)
    experiment = vf.validate(**options, progress=not as_json)
    figure = experiment.plot()
    _write(out / "propagation.png", lambda file: figure.savefig(file, format="png"))
    result = json.dumps(experiment.to_dict(), ensure_ascii=False)
    _write(out / "result.json", lambda file: file.write(result.encode()))
    if as_json:
        print(result)
    else:
        print(experiment)
        print(f"written: {out / 'propagation.png'}, {out / 'result.json'}")
    if not experiment.complete:
        print(f"stopped after {experiment.repeats} of {experiment.requested_repeats} networks; these are judged", file=sys.stderr)
        raise typer.Exit(INTERRUPTED)
    raise typer.Exit(0 if experiment.passed else 1)


def _network(
    threshold: float, gain: str, width: int, depth: int, bias_std: float, mean_gain: float, weights: str = "normal"
) -> Any:
    import varflow as vf

    g = _gain(gain, threshold, "normal")
    neuron = vf.Neuron(threshold)
    return vf.Network(
        width=width, depth=depth, gain=g, neuron=neuron, weights=weights, bias_std=bias_std, mean_gain=mean_gain or None
    )


def _gain(text: str, threshold: float, law: Any) -> float:
    import varflow as vf

    if text == "preserving":
        return float(vf.gain(threshold=threshold, distribution=law))
    if text == "kaiming":
        return 2**0.5
    try:
        return float(text)
    except ValueError:
        raise vf.DomainError("gain", text, "must be a number, preserving or kaiming") from None


def _law(text: str) -> Any:
    import varflow as vf

    name, _, df = text.partition(":")
    if name != "student_t":
        return vf.distribution(text)
    return vf.distributions.student_t(_numbers("distribution", df)[0])


def _numbers(option: str, text: str) -> list[float]:
    import varflow as vf

    try:
        return [float(item) for item in text.split(",")]
    except ValueError:
        raise vf.DomainError(option, text, "must be numbers separated by commas") from None


def _print_json(value: dict[str, Any]) -> None:
    print(json.dumps(value, ensure_ascii=False))


def _writable(folder: Path) -> None:
    """Refuse before the work, not after it."""
    import tempfile

    from varflow import DomainError

    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise DomainError("out", str(folder), f"cannot be written: {error.strerror or error}") from None


def _write(path: Path, write: Any) -> None:
    """All of a file or none of it."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        write(file)
    partial.replace(path)


def main() -> None:
    """Entry point: every refusal is one line on stderr and exit code 2."""
    try:
        code = app(sys.argv[1:] or ["--help"], standalone_mode=False)
    except typer.Exit as stop:
        code = stop.exit_code
    except typer.Abort as stop:
        _refuse(str(stop.__cause__ or "") or "interrupted", INTERRUPTED)
    except UsageError as error:
        _refuse(" ".join(error.format_message().split()), 2)
    except KeyboardInterrupt:
        _refuse("interrupted", INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()
        code = 1
    except Exception as error:
        from varflow._checks import DomainError, VarflowError

        if isinstance(error, DomainError):
            _refuse(f"--{error.argument.replace('_', '-')} {error.value} {error.rule}", 2)
        if isinstance(error, VarflowError):
            _refuse(str(error), 2)
        raise
    sys.exit(code or 0)


def _refuse(message: str, code: int) -> None:
    print(f"varflow: {message}", file=sys.stderr)
    sys.exit(code)
