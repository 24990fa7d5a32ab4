"""The commands ``varflow validate`` and ``varflow phase-diagram``, whose work is a campaign: it can be resumed and shared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

import varflow as vf
from varflow._checks import choice, require
from varflow._files import picture
from varflow._process import finishing
from varflow.cli import options as opt

QUICK_WIDTH = 300
RESULT = "result.json"


def validate(
    threshold: Annotated[
        list[str] | None,
        opt.option("Thresholds, separated by commas or repeated.  [default: 0.1,0.3,0.5,0.7,0.85,1; with a leak 1]", "θ,…"),
    ] = None,
    gain: Annotated[
        list[str] | None, opt.option(f"Gains, one panel each: {opt.GAINS}  [default: preserving,kaiming]", "g,…")
    ] = None,
    width: Annotated[list[str] | None, opt.option("Neurons per layer, one panel each.  [default: 1000]", "n,…")] = None,
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
        float | None, opt.real("With --steps: allowed relative error of infinite width, 0.02 for 2 %.", "FRACTION")
    ] = None,
    device: opt.Device = "cpu",
    out: Annotated[Path, opt.option("Folder for propagation.png and result.json.", "DIR")] = Path("varflow-results"),
    quick: Annotated[bool, typer.Option("--quick", help=f"Width {QUICK_WIDTH}: a few seconds.")] = False,
    resume: opt.Resume = False,
    workers: opt.Workers = 1,
    scheduler: opt.Scheduler = None,
    as_json: opt.Json = False,
) -> None:
    """Test theory against simulation.

    \b
    Examples:
      varflow validate
      varflow validate --quick --out /tmp/look
      varflow validate --threshold 0.7,1 --gain preserving,2.6 --width 600
      varflow validate --threshold 0.7,1 --gain preserving --width 100,600
      varflow validate --drive my_inputs.npy
      varflow validate --threshold 1 --gain 2.9 --steps 20 --decay 0.5
      varflow validate --width 4000 --repeats 200 --out wide --workers 8 --resume

    Simulates 100 layers of random weight matrices, as in Micheli et al. (2024), and compares each curve with exact theory.
    With several steps the theory is for infinite width, from which finite networks deviate by order 1/width (see --bias).
    Finished networks are kept in blocks.sqlite in DIR. The exit code is 0 if the theory stands, 1 if it is rejected, 130
    after Ctrl-C and 143 after SIGTERM. If stopped, the command judges the finished networks, and writes the result unless
    DIR already has a complete one.
    """
    if quick and width:
        raise vf.DomainError("width", width, f"conflicts with --quick, which sets {QUICK_WIDTH}: give one of them")
    options: dict[str, Any] = {"depth": depth, "repeats": repeats, "seed": seed, "engine": engine, "device": device}
    options |= {"steps": steps, "bias": bias, "drive": opt.drive_of(drive, input_gain)}
    cell = vf.Neuron(decay=decay, reset=reset, input_scale=input_scale, synaptic_decay=synaptic_decay, delay=delay)
    if cell != vf.Neuron():
        options["neuron"] = cell
    if quick:
        options["width"] = QUICK_WIDTH
    options |= opt.given("width", width, kind=int) | opt.given("threshold", threshold)
    if gain:
        options["gain"] = [name.strip() for text in gain for name in text.split(",")]
    require("plot", "matplotlib.figure")
    opt.check_folder(out, "propagation.png", RESULT)
    with opt.campaign(out / opt.STORE, resume, workers, scheduler, "networks") as campaign:
        experiment = vf.validate(**options, progress=opt.bar(as_json), campaign=campaign)
    with finishing():
        older = not experiment.complete and _complete(out / RESULT)
        finished = f"stopped after {experiment.repeats} of {experiment.requested_repeats} networks; these are judged"
        finished += f"{', the older result stays' if older else ''}, and --resume continues"
        warnings, files = [] if experiment.complete else [finished], {}
        if not older:
            files = {out / "propagation.png": picture(experiment.plot()), out / RESULT: opt.result_json(experiment, warnings)}
        opt.deliver(experiment, as_json, files, warnings)
    if warnings:
        raise opt.Stopped
    raise typer.Exit(0 if experiment.passed else 1)


def _complete(path: Path) -> bool:
    """True if there is a result, and it is not that of an interrupted run."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))["complete"] is not False
    except FileNotFoundError:
        return False
    except (KeyError, TypeError, ValueError):  # not of this version: nobody knows
        return True


QUANTITIES = ("survival", "depth-scales")
PICTURE, NUMBERS = "phase-diagram.png", "phase-diagram.json"


def phase_diagram(
    threshold: Annotated[
        list[str] | None,
        opt.option("Thresholds, separated by commas or repeated.  [default: 0.3 to 1.3 in steps of 0.05]", "θ,…"),
    ] = None,
    width: Annotated[
        list[str] | None, opt.option("Widths, separated by commas or repeated.  [default: 18 from 10 to 3000]", "n,…")
    ] = None,
    depth: opt.Depth = 100,
    gain: opt.Gain = "preserving",
    neuron: opt.Preset = None,
    beta: opt.Beta = None,
    steps: Annotated[int | None, opt.whole("Time steps, with --neuron.", "T")] = None,
    alive: opt.Alive = None,
    quantity: Annotated[str, opt.option("survival, or depth-scales (then --gain takes numbers g,…).", "WHAT")] = "survival",
    surrogate: Annotated[str | None, opt.option("Surrogate derivative for depth-scales.  [default: atan]", "NAME")] = None,
    surrogate_width: Annotated[
        list[str] | None, opt.option("Widths of the surrogate instead of thresholds, with depth-scales.", "a,…")
    ] = None,
    out: Annotated[Path, opt.option("Folder for phase-diagram.png and phase-diagram.json.", "DIR")] = Path("varflow-results"),
    resume: opt.Resume = False,
    workers: opt.Workers = 1,
    scheduler: opt.Scheduler = None,
    as_json: opt.Json = False,
) -> None:
    """Maps of survival, or of depth scales.

    \b
    Examples:
      varflow phase-diagram
      varflow phase-diagram --depth 20 --gain 2.6 --out /tmp/look
      varflow phase-diagram --threshold 0.7,0.85,1 --width 100,200,600 --json
      varflow phase-diagram --depth 1000 --workers 8 --out deep --resume
      varflow phase-diagram --quantity depth-scales --gain 2,2.5,3
      varflow phase-diagram --quantity depth-scales --surrogate-width 0.1,1

    Computes the fraction of networks alive at the last layer over threshold and width, exactly or, with --neuron, from
    sampled networks. Prints a table, and writes a map and the numbers. Finished parts are kept in blocks.sqlite in DIR.
    With --quantity depth-scales, computes the firing rate and the number of layers in which the variance, the overlap of
    two inputs and the variance of gradients change by a factor e, over threshold (or surrogate width) and gain.
    """
    survival = choice("quantity", quantity, QUANTITIES) == "survival"
    options = opt.given("threshold", threshold)
    if survival:
        opt.refuse("needs --quantity depth-scales", surrogate=surrogate, surrogate_width=surrogate_width)
        options |= {"depth": depth, "gain": gain} | opt.given("width", width, kind=int)
        options |= {"neuron": opt.preset_of(neuron, beta), "steps": steps, "alive": alive}
    else:
        rule = "cannot be given with --quantity depth-scales, which is for infinite width"
        opt.refuse(rule, width=width, depth=opt.unless(100, depth), neuron=neuron, steps=steps, alive=alive)
        if surrogate is not None:
            options["surrogate"] = surrogate
        if surrogate_width:
            options["width"] = opt.numbers("surrogate_width", *surrogate_width)
        if gain != "preserving":
            options["gain"] = opt.numbers("gain", gain)
    require("plot", "matplotlib.figure")
    opt.check_folder(out, PICTURE, NUMBERS)
    if survival:
        with opt.campaign(out / opt.STORE, resume, workers, scheduler, "networks") as campaign:
            diagram = vf.phase_diagram(**options, progress=opt.bar(as_json), campaign=campaign)
    else:
        diagram = vf.depth_scales(**options)
    with finishing():
        files = {out / PICTURE: picture(diagram.plot()), out / NUMBERS: opt.result_json(diagram, [])}
        opt.deliver(diagram, as_json, files)
