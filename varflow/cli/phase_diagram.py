"""The command ``varflow phase-diagram``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from varflow._checks import DomainError, choice, require
from varflow._files import picture
from varflow._stopping import finishing
from varflow.cli import options as opt
from varflow.cli.options import numbers
from varflow.cli.terminal import bar, check_folder, deliver, option, result_json

__all__ = ["phase_diagram"]

QUANTITIES = ("survival", "depth-scales")


def phase_diagram(
    threshold: Annotated[
        list[str] | None, option("Thresholds, separated by commas or repeated.  [default: 0.3 to 1.3 in steps of 0.05]", "θ,…")
    ] = None,
    width: Annotated[list[str] | None, option("Widths, likewise.  [default: 18 of them, 10 to 3000]", "n,…")] = None,
    depth: opt.Depth = 100,
    gain: opt.Gain = "preserving",
    quantity: Annotated[str, option("survival, or depth-scales (then --gain takes numbers g,…).", "WHAT")] = "survival",
    surrogate: Annotated[str | None, option("Of gradients, with depth-scales.  [default: atan]", "NAME")] = None,
    surrogate_width: Annotated[
        list[str] | None, option("Widths of the surrogate instead of thresholds, with depth-scales.", "a,…")
    ] = None,
    out: Annotated[Path, option("Folder for phase-diagram.png and phase-diagram.json.", "DIR")] = Path("varflow-results"),
    resume: opt.Resume = False,
    workers: opt.Workers = 1,
    scheduler: opt.Scheduler = None,
    as_json: opt.Json = False,
) -> None:
    """Maps of survival, or of depth scales.

    The exact fraction of networks alive at the last layer, over threshold and width: a map, a table, and the numbers in a file.
    Finished parts are kept in blocks.sqlite in DIR. With --quantity depth-scales the firing rate, and in how many layers the
    variance, the overlap of two inputs and the variance of gradients change by a factor e, over threshold (or the width of the
    surrogate) and gain.

    \b
    Examples:
      varflow phase-diagram
      varflow phase-diagram --depth 20 --gain 2.6 --out /tmp/look
      varflow phase-diagram --threshold 0.7,0.85,1 --width 100,200,600 --json
      varflow phase-diagram --depth 1000 --workers 8 --out deep --resume
      varflow phase-diagram --quantity depth-scales --threshold 0.5,1 --gain 2,2.5,3
      varflow phase-diagram --quantity depth-scales --surrogate-width 0.1,1 --gain 2.5,3
    """
    import varflow as vf

    options: dict[str, Any] = {}
    if threshold:
        options["threshold"] = [value for text in threshold for value in numbers("threshold", text)]
    if choice("quantity", quantity, QUANTITIES) != "survival":
        given = {"surrogate": surrogate, "width": _numbers("surrogate_width", surrogate_width)}
        options |= {name: value for name, value in given.items() if value is not None}
        _depth_scales(options, width, depth, gain, out, as_json)
        return
    for name, value in (("surrogate", surrogate), ("surrogate_width", surrogate_width)):
        if value is not None:
            raise DomainError(name, value, "needs --quantity depth-scales")
    options |= {"depth": depth, "gain": gain}
    if width:
        options["width"] = [value for text in width for value in numbers("width", text, int)]
    require("plot", "matplotlib.figure")
    check_folder(out, "phase-diagram.png", "phase-diagram.json")
    with opt.campaign(out / opt.STORE, resume, workers, scheduler, "networks") as campaign:
        diagram = vf.phase_diagram(**options, progress=bar(as_json), campaign=campaign)
    _delivered(diagram, diagram.plot(), out, as_json)


def _numbers(name: str, texts: list[str] | None) -> list[float] | None:
    return None if texts is None else [value for text in texts for value in numbers(name, text)]


def _depth_scales(options: dict[str, Any], width: list[str] | None, depth: int, gain: str, out: Path, as_json: bool) -> None:
    """Depth scales over thresholds or surrogate widths, and gains, at infinite width."""
    import varflow as vf

    for name, value, default in (("width", width, None), ("depth", depth, 100)):
        if value != default:
            raise DomainError(name, value, "cannot be given with --quantity depth-scales, which is for infinite width")
    if gain != "preserving":
        options["gain"] = numbers("gain", gain)
    require("plot", "matplotlib.figure")
    check_folder(out, "phase-diagram.png", "phase-diagram.json")
    scales = vf.depth_scales(**options)
    _delivered(scales, scales.plot(), out, as_json)


def _delivered(diagram: Any, figure: Any, out: Path, as_json: bool) -> None:
    with finishing():
        files = {"phase-diagram.png": picture(figure), "phase-diagram.json": result_json(diagram, [])}
        deliver(diagram, as_json, {out / name: content for name, content in files.items()})
