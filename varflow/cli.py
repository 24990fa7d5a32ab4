"""The command line: each command asks the public API one question and prints a table, or one JSON object with --json."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Annotated, Any

import typer

import varflow._options as opt
from varflow._audit_command import audit
from varflow._catalogue_command import catalogue
from varflow._lookup_command import lookup
from varflow._options import RULES, drive_of, law_of, network_of, numbers
from varflow._terminal import Stopped, check_folder, option, real, result_json, run, show, write

__all__ = ["app", "main"]

app = typer.Typer(name="varflow", add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

QUICK_WIDTH = 300


def _show_version(wanted: bool) -> None:
    if wanted:
        from varflow import __version__

        print(f"varflow {__version__}")
        raise typer.Exit


@app.callback()
def varflow(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """The analytical theory of deep spiking networks.

    \b
    Examples:
      varflow lookup --threshold 1 --fan-in 512    one gain, and what to expect of it
      varflow predict --threshold 1 --width 600    the exact law, layer by layer
      varflow phase-diagram                        which thresholds a width carries
      varflow validate                             theory against simulation, half a minute

    Each command has --help and --json.
    """


app.command()(lookup)


@app.command("fixed-points")
def fixed_points(
    threshold: opt.Threshold,
    gain: opt.Gain = "preserving",
    distribution: opt.Distribution = "normal",
    bias_std: opt.BiasStd = 0.0,
    mean_gain: opt.MeanGain = 0.0,
    as_json: opt.Json = False,
) -> None:
    """Every variance a layer keeps, and its stability.

    \b
    Examples:
      varflow fixed-points --threshold 1.5
      varflow fixed-points --threshold 1 --gain 2.51 --bias-std 0.2236
      varflow fixed-points --threshold 1 --gain kaiming --distribution laplace --json
    """
    import varflow as vf

    law = law_of(distribution)
    g = vf.gain_by_rule(gain, threshold, distribution=law, bias_std=bias_std, mean_gain=mean_gain)
    points = vf.fixed_points(threshold=threshold, gain=g, distribution=law, bias_std=bias_std, mean_gain=mean_gain)
    scanned = f"scanned in steps of {points.resolution:g} in ln V: a closer pair can be missed" if points.resolution else None
    show(points, as_json, [scanned] if scanned else [], gain=g)


@app.command()
def predict(
    threshold: opt.Threshold,
    gain: opt.Gain = "preserving",
    width: opt.Width = 1000,
    depth: opt.Depth = 100,
    bias_std: opt.BiasStd = 0.0,
    mean_gain: opt.MeanGain = 0.0,
    steps: opt.Steps = 1,
    decay: opt.Decay = 0.0,
    reset: opt.Reset = "none",
    input_scale: opt.InputScale = 1.0,
    synaptic_decay: opt.SynapticDecay = 0.0,
    delay: opt.Delay = 0,
    drive: opt.Drive = None,
    input_gain: opt.InputGain = None,
    infinite: Annotated[bool, typer.Option("--infinite", help="At infinite width instead of exactly at this one.")] = False,
    as_json: opt.Json = False,
) -> None:
    """The exact law of a network, layer by layer.

    Over several steps that of infinite width.

    \b
    Examples:
      varflow predict --threshold 1 --width 600
      varflow predict --threshold 1 --gain 2.5 --steps 20 --decay 0.5 --depth 40
      varflow predict --threshold 0.7 --gain kaiming --infinite --json
    """
    import varflow as vf

    network = network_of(
        threshold=threshold,
        gain=gain,
        width=width,
        depth=depth,
        bias_std=bias_std,
        mean_gain=mean_gain,
        steps=steps,
        decay=decay,
        reset=reset,
        input_scale=input_scale,
        synaptic_decay=synaptic_decay,
        delay=delay,
        drive=drive,
        input_gain=input_gain,
    )
    profile = vf.mean_field(network) if infinite or steps > 1 else vf.finite_width(network)
    show(profile, as_json, gain=network.gain)


@app.command()
def simulate(
    threshold: opt.Threshold,
    gain: opt.Gain = "preserving",
    width: opt.Width = 1000,
    depth: opt.Depth = 100,
    bias_std: opt.BiasStd = 0.0,
    mean_gain: opt.MeanGain = 0.0,
    weights: Annotated[str, option("Law of the weights: normal, uniform, sign, exponential or lognormal.", "NAME")] = "normal",
    repeats: opt.Repeats = 20,
    seed: opt.Seed = 0,
    steps: opt.Steps = 1,
    decay: opt.Decay = 0.0,
    reset: opt.Reset = "none",
    input_scale: opt.InputScale = 1.0,
    synaptic_decay: opt.SynapticDecay = 0.0,
    delay: opt.Delay = 0,
    drive: opt.Drive = None,
    input_gain: opt.InputGain = None,
    engine: opt.Engine = "dense",
    device: opt.Device = "cpu",
    dtype: Annotated[str, option("float32 or float64.", "NAME")] = "float32",
    as_json: opt.Json = False,
) -> None:
    """Real networks, measured layer by layer.

    Exit code 130 after Ctrl-C; the networks finished until then are shown.

    \b
    Examples:
      varflow simulate --threshold 1 --width 600 --repeats 50
      varflow simulate --threshold 1 --width 100 --weights sign --json
      varflow simulate --threshold 1 --gain 2.5 --depth 40 --steps 20 --decay 0.5
    """
    import varflow as vf

    network = network_of(
        threshold=threshold,
        gain=gain,
        width=width,
        depth=depth,
        bias_std=bias_std,
        mean_gain=mean_gain,
        steps=steps,
        decay=decay,
        reset=reset,
        input_scale=input_scale,
        synaptic_decay=synaptic_decay,
        delay=delay,
        drive=drive,
        input_gain=input_gain,
        weights=weights,
    )
    options: dict[str, Any] = {"repeats": repeats, "seed": seed, "engine": engine, "device": device, "dtype": dtype}
    try:
        ensemble = vf.simulate(network, **options, progress=not as_json)
    except vf.Interrupted as stop:
        if not stop.ensembles or not stop.ensembles[0].repeats:
            raise Stopped(str(stop)) from None
        show(stop.ensembles[0], as_json, [f"{stop}; these are shown"], gain=network.gain)
        raise Stopped from None
    show(ensemble, as_json, gain=network.gain)


@app.command()
def validate(
    threshold: Annotated[
        list[str] | None,
        option("Thresholds, with commas or repeated.  [default: 0.1,0.3,0.5,0.7,0.85,1; with a leak 1]", "θ,…"),
    ] = None,
    gain: Annotated[list[str] | None, option(f"A panel each: {RULES}  [default: preserving,kaiming]", "g,…")] = None,
    width: Annotated[list[str] | None, option("Neurons in a layer, a panel each.  [default: 1000]", "n,…")] = None,
    depth: opt.Depth = 100,
    repeats: opt.Repeats = 20,
    seed: opt.Seed = 0,
    steps: opt.Steps = 1,
    decay: opt.Decay = 0.0,
    reset: opt.Reset = "none",
    input_scale: opt.InputScale = 1.0,
    synaptic_decay: opt.SynapticDecay = 0.0,
    delay: opt.Delay = 0,
    drive: opt.Drive = None,
    input_gain: opt.InputGain = None,
    engine: opt.Engine = "dense",
    bias: Annotated[
        float | None, real("With --steps: share by which infinite width may be off, 0.02 for 2 %.", "SHARE")
    ] = None,
    device: opt.Device = "cpu",
    out: Annotated[Path, option("Folder for propagation.png and result.json.", "DIR")] = Path("varflow-results"),
    quick: Annotated[bool, typer.Option("--quick", help=f"Width {QUICK_WIDTH}: a first look in a few seconds.")] = False,
    as_json: opt.Json = False,
) -> None:
    """Theory against simulation: the main job.

    The paper's 100-layer experiment with real weight matrices, the exact law laid over it, and a verdict per curve. Over
    several steps the theory is that of infinite width, from which a finite one departs by order 1/width: see --bias.
    Exit code 0 only if the theory stands, 1 if it is rejected, 130 after Ctrl-C (what was finished is judged and written).

    \b
    Examples:
      varflow validate
      varflow validate --quick --out /tmp/look
      varflow validate --threshold 0.7,1 --gain preserving,2.6 --width 600 --repeats 50
      varflow validate --threshold 0.7,1 --gain preserving --width 100,600
      varflow validate --drive my_inputs.npy
      varflow validate --threshold 1 --gain 2.9 --steps 20 --decay 0.5 --reset zero
    """
    import varflow as vf
    from varflow._checks import require

    if quick and width:
        raise vf.DomainError("width", width, f"contradicts --quick, which means {QUICK_WIDTH}: give one of the two")
    options: dict[str, Any] = {"depth": depth, "repeats": repeats, "seed": seed, "engine": engine, "device": device}
    options |= {"steps": steps, "bias": bias, "drive": drive_of(drive, input_gain)}
    cell = vf.Neuron(decay=decay, reset=reset, input_scale=input_scale, synaptic_decay=synaptic_decay, delay=delay)
    if cell != vf.Neuron():
        options["neuron"] = cell
    if quick:
        options["width"] = QUICK_WIDTH
    if width:
        options["width"] = [value for text in width for value in numbers("width", text, int)]
    if threshold:
        options["threshold"] = [value for text in threshold for value in numbers("threshold", text)]
    if gain:
        options["gain"] = [name.strip() for text in gain for name in text.split(",")]
    require("plot", "matplotlib.figure")
    check_folder(out, "propagation.png", "result.json")
    try:
        experiment = vf.validate(**options, progress=not as_json)
        finished = f"stopped after {experiment.repeats} of {experiment.requested_repeats} networks; these are judged"
        warnings = [] if experiment.complete else [finished]
        picture = io.BytesIO()
        experiment.plot().savefig(picture, format="png")
    except KeyboardInterrupt as stop:
        raise Stopped(f"{str(stop) or 'interrupted outside the simulation'}; nothing is written") from None
    show(experiment, as_json, warnings)
    result = result_json(experiment, warnings).encode()
    write(out, {"propagation.png": picture.getvalue(), "result.json": result})
    if not as_json:
        print(f"written: {out / 'propagation.png'}, {out / 'result.json'}")
    if warnings:
        raise Stopped
    raise typer.Exit(0 if experiment.passed else 1)


@app.command("phase-diagram")
def phase_diagram(
    threshold: Annotated[
        list[str] | None, option("Thresholds, with commas or repeated.  [default: 0.3 to 1.3 in steps of 0.05]", "θ,…")
    ] = None,
    width: Annotated[list[str] | None, option("Widths, likewise.  [default: 18 of them, 10 to 3000]", "n,…")] = None,
    depth: opt.Depth = 100,
    gain: opt.Gain = "preserving",
    out: Annotated[Path, option("Folder for phase-diagram.png and phase-diagram.json.", "DIR")] = Path("varflow-results"),
    as_json: opt.Json = False,
) -> None:
    """Exact survival over threshold and width.

    Which share of networks is alive at the last layer: a map, a table, and the numbers in a file.

    \b
    Examples:
      varflow phase-diagram
      varflow phase-diagram --depth 20 --gain 2.6 --out /tmp/look
      varflow phase-diagram --threshold 0.7,0.85,1 --width 100,200,600 --json
    """
    import varflow as vf
    from varflow._checks import require

    options: dict[str, Any] = {"depth": depth, "gain": gain}
    if threshold:
        options["threshold"] = [value for text in threshold for value in numbers("threshold", text)]
    if width:
        options["width"] = [value for text in width for value in numbers("width", text, int)]
    require("plot", "matplotlib.figure")
    check_folder(out, "phase-diagram.png", "phase-diagram.json")
    diagram = vf.phase_diagram(**options, progress=not as_json)
    picture = io.BytesIO()
    diagram.plot().savefig(picture, format="png")
    show(diagram, as_json)
    write(out, {"phase-diagram.png": picture.getvalue(), "phase-diagram.json": result_json(diagram, []).encode()})
    if not as_json:
        print(f"written: {out / 'phase-diagram.png'}, {out / 'phase-diagram.json'}")


app.command()(catalogue)
app.command()(audit)


def main() -> None:
    """Entry point of ``varflow`` and ``python -m varflow``."""
    run(app)
