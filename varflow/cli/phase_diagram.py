"""The command ``varflow phase-diagram``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import varflow as vf
from varflow._checks import choice, require
from varflow._files import picture
from varflow._process import finishing
from varflow.cli import options as opt

QUANTITIES = ("survival", "depth-scales")
PICTURE, NUMBERS = "phase-diagram.png", "phase-diagram.json"


def phase_diagram(
    threshold: Annotated[
        list[str] | None,
        opt.option("Thresholds, separated by commas or repeated.  [default: 0.3 to 1.3 in steps of 0.05]", "θ,…"),
    ] = None,
    width: Annotated[list[str] | None, opt.option("Widths, likewise.  [default: 18 of them, 10 to 3000]", "n,…")] = None,
    depth: opt.Depth = 100,
    gain: opt.Gain = "preserving",
    neuron: opt.Preset = None,
    beta: opt.Beta = None,
    steps: Annotated[int | None, opt.whole("Time steps, with --neuron.", "T")] = None,
    alive: opt.Alive = None,
    quantity: Annotated[str, opt.option("survival, or depth-scales (then --gain takes numbers g,…).", "WHAT")] = "survival",
    surrogate: Annotated[str | None, opt.option("Of gradients, with depth-scales.  [default: atan]", "NAME")] = None,
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

    The fraction of networks alive at the last layer, exact (with --neuron: of networks drawn), over threshold and width: a map,
    a table, and the numbers in a file. Finished parts are kept in blocks.sqlite in DIR. With --quantity depth-scales the firing
    rate, and in how many layers the variance, the overlap of two inputs and the variance of gradients change by a factor e,
    over threshold (or the width of the surrogate) and gain.

    \b
    Examples:
      varflow phase-diagram
      varflow phase-diagram --depth 20 --gain 2.6 --out /tmp/look
      varflow phase-diagram --threshold 0.7,0.85,1 --width 100,200,600 --json
      varflow phase-diagram --depth 1000 --workers 8 --out deep --resume
      varflow phase-diagram --quantity depth-scales --threshold 0.5,1 --gain 2,2.5,3
      varflow phase-diagram --quantity depth-scales --surrogate-width 0.1,1 --gain 2.5,3
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
