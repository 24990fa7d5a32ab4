"""The commands ``varflow lookup``, ``quantise`` and ``catalogue``: a gain, integer weights, and published initialisations."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import varflow as vf
from varflow._checks import need
from varflow._files import picture
from varflow._process import finishing
from varflow.cli import options as opt

EXPECTED = "All 520 rows take one to two minutes."


def lookup(
    threshold: Annotated[float | None, opt.real("Firing threshold θ, any sign.", "θ")] = None,
    fan_in: Annotated[int | None, opt.whole("Inputs per neuron.", "n")] = None,
    layer: Annotated[str | None, opt.option("Weight shape instead of --fan-in: out,in[,kernel…].", "SHAPE")] = None,
    distribution: opt.Distribution = "normal",
    rate: Annotated[
        float | None, opt.real("Wanted firing rate; default without memory: the gain that keeps variance 1.", "p")
    ] = None,
    width: Annotated[int | None, opt.whole("With --depth: width of the network; default: the fan-in.", "n")] = None,
    depth: Annotated[
        int | None,
        opt.whole("Layer for survival and corrected gain. With memory: the layer that has the rate; default: 20.", "L"),
    ] = None,
    neuron: opt.Preset = None,
    beta: opt.Beta = None,
    decay: opt.Decay = 0.0,
    reset: opt.Reset = "none",
    input_scale: opt.InputScale = 1.0,
    synaptic_decay: opt.SynapticDecay = 0.0,
    steps: Annotated[int | None, opt.whole("Time steps; required with memory.", "T")] = None,
    surrogate: Annotated[
        str | None, opt.option("Surrogate derivative, such as atan: prints the growth of gradients and the best width.", "NAME")
    ] = None,
    alive: opt.Alive = None,
    survival_target: Annotated[float, opt.real("With --depth: wanted survival probability.", "P")] = 0.99,
    table: Annotated[
        Path | None, opt.option(f"Instead, write corrected gains over θ, n and L to this .csv or .json. {EXPECTED}", "FILE")
    ] = None,
    resume: opt.Resume = False,
    workers: opt.Workers = 1,
    scheduler: opt.Scheduler = None,
    as_json: opt.Json = False,
) -> None:
    """The gain of one layer, or a table of gains.

    \b
    Examples:
      varflow lookup --threshold 1 --fan-in 512
      varflow lookup --threshold 1 --layer 512,256,3,3 --json
      varflow lookup --threshold 1 --fan-in 100 --depth 100 --survival-target 0.99
      varflow lookup --threshold 0.5 --fan-in 784 --rate 0.2
      varflow lookup --threshold 1 --decay 0.5 --steps 20 --rate 0.4 --fan-in 512
      varflow lookup --neuron spikingjelly_lif --rate 0.2 --fan-in 512 --steps 8
      varflow lookup --threshold 1 --fan-in 512 --surrogate atan
      varflow lookup --table corrected_gains.csv
      varflow lookup --table deep.json --depth 500 --workers 2 --resume
    """
    if table is not None:
        rule, name = "does not apply to --table, whose axes are threshold, width and depth", opt.unless("normal", distribution)
        opt.refuse(rule, fan_in=fan_in, layer=layer, rate=rate, distribution=name, surrogate=surrogate, alive=alive)
        axes = {"threshold": threshold, "width": width, "depth": depth}
        if table.suffix not in (".csv", ".json"):
            raise vf.DomainError("table", str(table), "must end in .csv or .json")
        campaign = opt.campaign(table.with_suffix(f".{opt.STORE}"), resume, workers, scheduler, "rows")
        return _write_table(table, axes, survival_target, as_json, campaign)
    rule = "applies only to --table, which takes long"
    opt.refuse(rule, resume=resume or None, workers=opt.unless(1, workers), scheduler=scheduler)
    dynamics = opt.changed(decay=decay, reset=reset, input_scale=input_scale, synaptic_decay=synaptic_decay)
    described = {"threshold": threshold, "neuron": _cell(threshold, neuron, beta, dynamics), "steps": steps}
    shape = None if layer is None else opt.numbers("layer", layer)
    described |= {"fan_in": fan_in, "layer": shape, "width": width, "depth": depth}
    wanted = {"rate": rate, "survival_target": survival_target, "alive": alive, "surrogate": surrogate}
    result = vf.lookup(distribution=vf.distribution(distribution), progress=opt.bar(as_json), **described, **wanted)
    opt.show(result, as_json, result.warnings, in_table=True)


def _cell(threshold: float | None, preset: str | None, beta: float | None, dynamics: dict[str, Any]) -> Any:
    """The neuron of lookup's options; None if only a threshold is given."""
    cell = opt.preset_of(preset, beta)
    if cell is None:
        need("is missing", threshold=threshold)
        return vf.Neuron(threshold, **dynamics) if dynamics else None
    opt.refuse("conflicts with --neuron, which sets it: give one of them", **dynamics, threshold=threshold)
    return cell


def _write_table(path: Path, axes: dict[str, Any], target: float, as_json: bool, campaign: Any) -> None:
    """Write the table over the given axes, the others at their defaults."""
    opt.check_folder(path.parent, path.name, argument="table")
    given = {name: value for name, value in axes.items() if value is not None}
    progress = opt.bar(as_json) or (not as_json and _tell)
    with campaign as run:
        result = vf.corrected_gain_table(**given, survival_target=target, progress=progress, campaign=run)
    content = result.to_csv() if path.suffix == ".csv" else opt.result_json(result, [])
    opt.deliver(result, as_json, {path: content}, argument="table")


def _tell(done: int, total: int) -> None:
    """Print progress as lines, where no bar can be drawn."""
    if done == 1:
        print(f"{total} rows. {EXPECTED}", file=sys.stderr, flush=True)
    elif done % max(total // 10, 1) == 0:
        print(f"row {done} of {total}", file=sys.stderr, flush=True)


def quantise(
    threshold: Annotated[float, opt.real("Firing threshold θ, positive.", "θ")],
    width: Annotated[list[str], opt.option("Neurons per layer, separated by commas or repeated.", "n,…")],
    depth: opt.Depth = 100,
    bits: Annotated[
        list[str] | None, opt.option("Bits per weight, separated by commas or repeated.  [default: 2,3,4,8]", "b,…")
    ] = None,
    survival_target: Annotated[float, opt.real("Wanted survival probability.", "P")] = 0.99,
    clip: Annotated[float | None, opt.real("Largest weight, in σ; default: that of the least rounding error.", "c")] = None,
    base: Annotated[str, opt.option("Weights before rounding: normal or uniform.", "NAME")] = "normal",
    plot: Annotated[Path | None, opt.option("Write survival over k to this .png, .pdf or .svg.", "FILE")] = None,
    as_json: opt.Json = False,
) -> None:
    """Integer weights that keep networks alive.

    \b
    Examples:
      varflow quantise --threshold 1 --width 100
      varflow quantise --threshold 1 --width 100,256 --bits 2,4 --clip 2
      varflow quantise --threshold 0.7 --width 128 --depth 20 --bits 4 --json
      varflow quantise --threshold 1 --width 256 --plot bits.png

    For each width and number of bits, prints the smallest rounding step with which enough networks stay alive, the sum of
    integers from which a neuron then fires, the price in variance, and how many networks are alive with the next smaller
    step.
    """
    form = "" if plot is None else opt.check_picture(plot, argument="plot")
    widths, numbers = opt.numbers("width", *width, kind=int), opt.numbers("bits", *(bits or ["2,3,4,8"]), kind=int)
    options: dict[str, Any] = {"depth": depth, "survival_target": survival_target, "clip": clip, "base": base}
    result = vf.quantise(threshold=threshold, width=[[n] for n in widths], bits=numbers, **options)
    with finishing():
        opt.deliver(result, as_json, {} if plot is None else {plot: picture(result.plot().figure, form)}, argument="plot")


def catalogue(
    threshold: Annotated[
        float | None, opt.real("Firing threshold θ, positive.  [default: 1, or that of --neuron]", "θ")
    ] = None,
    decay: opt.Decay = 0.0,
    fan_in: Annotated[int, opt.whole("Inputs per neuron.", "n")] = 512,
    depth: Annotated[int, opt.whole("Layer that activity should reach.", "L")] = 100,
    width: Annotated[int | None, opt.whole("Neurons per layer; default: the fan-in.", "n")] = None,
    steps: Annotated[int | None, opt.whole("Time steps; default: 1 without memory, else 20.", "T")] = None,
    reset: opt.Reset = "none",
    input_scale: opt.InputScale = 1.0,
    neuron: opt.Preset = None,
    beta: opt.Beta = None,
    rate: Annotated[float, opt.real("Firing rate, for methods that need one.", "p")] = 0.1,
    survival_target: Annotated[float, opt.real("Survival probability that counts as alive.", "P")] = 0.99,
    alive: opt.Alive = None,
    plot: Annotated[
        Path | None, opt.option("Write variance and spikes over layers to this .png, .pdf or .svg.", "FILE")
    ] = None,
    as_json: opt.Json = False,
) -> None:
    """Published initialisations side by side.

    \b
    Examples:
      varflow catalogue --threshold 1 --fan-in 512
      varflow catalogue --threshold 1 --decay 0.5 --fan-in 512 --json
      varflow catalogue --neuron snntorch_leaky --beta 0.5 --steps 8 --depth 20
      varflow catalogue --threshold 0.7 --width 100 --depth 50 --rate 0.15
      varflow catalogue --fan-in 1000 --plot methods.png

    Prints the gain of each method, whether activity reaches the given depth, and the number of spikes.
    """
    form = "" if plot is None else opt.check_picture(plot, argument="plot")
    described = {"threshold": threshold, "neuron": opt.preset_of(neuron, beta), "steps": steps}
    described |= opt.changed(decay=decay, reset=reset, input_scale=input_scale)
    described |= {"fan_in": fan_in, "width": width, "depth": depth}
    wanted = {"rate": rate, "survival_target": survival_target, "alive": alive}
    result = vf.catalogue(progress=opt.bar(as_json), **described, **wanted)
    with finishing():
        files = {} if plot is None else {plot: picture(result.plot_layers(), form)}
        opt.deliver(result, as_json, files, argument="plot")
