"""Figures of the web page, as SVG that takes its colours and its font from the page: light, dark and in print.

matplotlib draws in stand-in colours; each is replaced by a variable of the page's style sheet.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from textwrap import fill
from typing import Any

import numpy as np

from validation.claim import Result
from validation.envelope import Envelope
from validation.uniformity import LEVELS, band
from varflow._checks import require

__all__ = ["curves", "deviations", "envelope", "power", "values"]

INK, FAINT, THEORY, SEEN, WRONG = "#010101", "#020202", "#030303", "#040404", "#050505"
VARIABLES = {INK: "ink", FAINT: "line", THEORY: "theory", SEEN: "seen", WRONG: "wrong"}
STYLE = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "varflow",  # the same numbers give the same file
    "text.parse_math": False,
    "font.size": 9.0,
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.color": INK,
    "ytick.color": INK,
    "ytick.major.size": 0.0,
}
WIDTH, ROW = 5.2, 0.18  # inches: of a figure, and of a row of points
CURVES = 14  # at most, in a figure over layers
NEAR, FAR = 4.0, 300.0  # standard errors up to which the axis of deviations is linear, and to which it goes


def values(result: Result) -> str:
    """Theory and simulation with error bars, over layers where points are layers of a few curves, else a row per point."""
    found = curves(result.points)
    return _over_layers(result, found) if found else _by_rows(result)


def curves(points: Sequence[str]) -> dict[str, dict[int, int]]:
    """By curve the place of each layer among the points; empty if they are not layers of a few curves."""
    found: dict[str, dict[int, int]] = {}
    for place, point in enumerate(points):
        name, _, layer = point.rpartition(", layer ")
        if not (name and layer.isdecimal()):
            return {}
        found.setdefault(name, {})[int(layer)] = place
    return found if len(found) <= CURVES and min(map(len, found.values()), default=0) >= 3 else {}


def _over_layers(result: Result, found: dict[str, dict[int, int]]) -> str:
    theory, seen, error = (_floats(row) for row in (result.theory, result.estimate, result.standard_error))

    def draw(ax: Any) -> None:
        for places in found.values():
            layers, at = list(places), list(places.values())
            for control in _controls(result):
                wrong = _floats(control["theory"])[at]
                if not np.allclose(wrong, theory[at], rtol=1e-3):
                    ax.plot(layers, wrong, "--", color=WRONG, linewidth=0.8, alpha=0.6)
            ax.plot(layers, theory[at], "-", color=THEORY, linewidth=1.2)
            ax.errorbar(layers, seen[at], yerr=error[at], fmt="o", color=SEEN, markersize=3.5, elinewidth=1.2)
        ends = np.array([theory[places[max(places)]] for places in found.values()])
        for name, height in zip(found, _apart(ends, 0.04 * np.ptp(ax.get_ylim())), strict=True):
            ax.annotate(name, (1.02, height), xycoords=("axes fraction", "data"), va="center", fontsize=8)
        ax.set_xscale("log")
        shown = sorted({layer for places in found.values() for layer in places})
        ax.set_xticks(shown, [str(layer) for layer in shown])
        ax.minorticks_off()
        ax.set_xlabel("layer")
        ax.set_ylabel(fill(result.quantity, 38))

    return _svg(f"{result.claim}-values", draw, 18)


def _apart(heights: np.ndarray, gap: float) -> np.ndarray:
    """The same heights in the same order, moved until neighbours are ``gap`` apart."""
    order = np.argsort(heights, kind="stable")
    steps = gap * np.arange(len(order))
    moved = np.empty_like(heights)
    moved[order] = np.maximum.accumulate(heights[order] - steps) + steps
    return moved


def _by_rows(result: Result) -> str:
    theory, seen, error = (_floats(row) for row in (result.theory, result.estimate, result.standard_error))

    def draw(ax: Any) -> None:
        rows = _rows(ax, result.points)
        for control in _controls(result):
            ax.plot(_floats(control["theory"]), rows, "x", color=WRONG, markersize=4, alpha=0.45)
        ax.plot(theory, rows, "|", color=THEORY, markersize=11, markeredgewidth=1.6)
        ax.errorbar(seen, rows, xerr=error, fmt="o", color=SEEN, markersize=3.5, elinewidth=1.2)
        ax.set_xlabel(fill(result.quantity, 38), loc="right", multialignment="right")

    return _svg(f"{result.claim}-values", draw, len(result.points))


def deviations(result: Result) -> str:
    """Deviations in standard errors, of the theory and of the wrong theories; larger ones than ``FAR`` at the edge."""

    def draw(ax: Any) -> None:
        rows = _rows(ax, result.points)
        for size, alpha in ((2, 0.35), (1, 0.5)):
            ax.axvspan(-size, size, color=FAINT, alpha=alpha, linewidth=0)
        ax.axvline(0, color=THEORY, linewidth=1)
        far = min(FAR, max([NEAR, *(np.nanmax(np.abs(_floats(z)), initial=0.0) for z in _scores(result))]))
        for control in _controls(result):
            ax.plot(np.clip(_floats(control["z"]), -far, far), rows, "x", color=WRONG, markersize=4, alpha=0.45)
        ax.plot(np.clip(_floats(result.z), -far, far), rows, "o", color=SEEN, markersize=4)
        ax.set_xscale("symlog", linthresh=NEAR, linscale=2)
        ticks = [2, *[size for size in (10, 100) if size <= 1.2 * far][-1:]]  # more do not fit beside long names
        ax.set_xticks([*(-size for size in reversed(ticks)), 0, *ticks])
        ax.set_xlim(-1.2 * far, 1.2 * far)
        ax.xaxis.set_major_formatter("{x:g}")
        ax.minorticks_off()
        ax.set_xlabel("deviation, in standard errors", loc="right")

    return _svg(f"{result.claim}-deviations", draw, len(result.points))


def power(results: Sequence[Result]) -> str:
    """The smallest errors caught, one row per claim."""

    def draw(ax: Any) -> None:
        rows = _rows(ax, [result.claim for result in results])
        for row, result in zip(rows, results, strict=True):
            sizes = _floats([each["relative_size"] for each in result.smallest_detectable_error["each"]])
            ax.plot(100 * sizes, np.full(len(sizes), row), "o", color=SEEN, markersize=5)
        ax.set_xscale("log")
        ax.set_xlim(0.1, 20)
        ax.set_xticks([0.1, 0.3, 1, 3, 10])
        ax.xaxis.set_major_formatter("{x:g}")
        ax.minorticks_off()
        ax.grid(axis="x", color=FAINT, linewidth=0.6)
        ax.set_xlabel("smallest relative error caught, %")

    return _svg("power", draw, len(results))


def envelope(found: Envelope) -> str:
    """Distribution function of the p-values less that of uniform ones, within its band."""

    def draw(ax: Any) -> None:
        lower, upper = (limit / found.redraws - LEVELS for limit in band(found.redraws))
        ax.fill_between(LEVELS, lower, upper, color=FAINT, alpha=0.6, linewidth=0)
        ax.plot(LEVELS, band(found.seeds)[1] / found.seeds - LEVELS, ":", color=SEEN, linewidth=1)
        ax.axhline(0, color=THEORY, linewidth=0.8)
        ax.plot(LEVELS, np.array(found.simulated) / found.seeds - LEVELS, color=SEEN, linewidth=1, alpha=0.7)
        ax.plot(LEVELS, np.array(found.drawn) / found.redraws - LEVELS, color=INK, linewidth=1.5)
        ax.set_xlim(0, 1)
        ax.set_xlabel("level")
        ax.set_ylabel("fraction of p-values below − level")

    return _svg(f"{found.claim}-envelope", draw, 12)


def _rows(ax: Any, names: Sequence[str]) -> np.ndarray:
    """One row per name, the first on top."""
    rows = np.arange(len(names))
    ax.set_yticks(rows, names)
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.hlines(rows, 0, 1, transform=ax.get_yaxis_transform(), color=FAINT, linewidth=0.4)
    return rows


def _controls(result: Result) -> list[Any]:
    """Those whose numbers are known: not so in results of earlier versions, and where no error was caught."""
    return [each for each in (result.negative_control, *result.further_controls) if "z" in each]


def _scores(result: Result) -> list[Any]:
    return [result.z, *(control["z"] for control in _controls(result))]


def _floats(row: Sequence[float | None]) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in row], dtype=float)


def _svg(name: str, draw: Any, rows: int) -> str:
    """Draw on new axes; ids get the figure's name, since many figures share a page."""
    matplotlib = require("plot", "matplotlib")
    figure_of = require("plot", "matplotlib.figure").Figure
    with matplotlib.rc_context(STYLE):
        figure = figure_of(figsize=(WIDTH, ROW * max(rows, 4) + 0.75), layout="constrained")
        draw(figure.add_subplot())
        buffer = io.StringIO()
        metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=metadata)
    text = buffer.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>", "", text[text.index("<svg") :], flags=re.S)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', rf'\1 role="img" aria-label="{name}"', text, count=1)
    text = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", text)
    text = re.sub(r" font-family: [^;\"]*;", "", text)
    text = re.sub(r'<g id="[^"]*">', "<g>", text)
    text = re.sub(r"-?\d+\.\d{3,}", lambda number: f"{float(number[0]):.2f}", text)
    own = re.sub(r"[^\w-]", "-", name)
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{own}-", text)
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, f"var(--{variable})")
    return "\n".join(line.strip() for line in text.splitlines() if line.strip())
