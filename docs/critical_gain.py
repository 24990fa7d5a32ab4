"""Writes ``docs/critical-gain.csv`` and ``.png``: the gain that keeps activity alive over 100 layers, against leak and reset.

Run from the repository: ``python docs/critical_gain.py``. Numbers already in the file are kept; computing
all of them takes about ten minutes on one core, drawing the figure a second.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from figures import described

import varflow as vf
from varflow._files import replace_files

NUMBERS = Path(__file__).with_name("critical-gain.csv")
RESETS = {"none": "#0072B2", "subtract": "#009E73", "zero": "#D55E00", "delayed_subtract": "#AA3377", "gate": "#8C6D1F"}
DECAYS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
STEPS, DEPTH = 20, 100
COLUMNS = ("reset", "decay", "gain", "gain_error", "late_gain", "late_gain_error")
PAPER, MEMORYLESS = vf.gain(threshold=1.0) ** 2, vf.critical_gain(threshold=1.0) ** 2

Numbers = dict[tuple[str, float], list[float]]


def numbers() -> Numbers:
    if not NUMBERS.exists():
        return {}
    with NUMBERS.open(newline="", encoding="utf-8") as file:
        return {(row["reset"], float(row["decay"])): [float(row[name]) for name in COLUMNS[2:]] for row in csv.DictReader(file)}


def write(known: Numbers) -> None:
    order = list(RESETS)
    rows = sorted(known.items(), key=lambda row: (order.index(row[0][0]), row[0][1]))
    table = [[reset, f"{decay:g}", *(f"{value:.5f}" for value in values)] for (reset, decay), values in rows]
    replace_files({NUMBERS: "".join(",".join(row) + "\n" for row in [COLUMNS, *table])})


def complete() -> Numbers:
    """Every reset and decay, saved as soon as it is computed."""
    known = numbers()
    for reset, decay in ((reset, decay) for reset in RESETS for decay in DECAYS):
        if (reset, decay) not in known:
            found = vf.temporal_critical_gain(vf.Neuron(1.0, decay=decay, reset=reset), steps=STEPS, depth=DEPTH)
            known[reset, decay] = [found.gain, found.error["gain"], found.late_gain, found.error["late_gain"]]
            write(known)
    return known


def curve(known: Numbers, reset: str, column: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Decays, squared gains, and two standard errors of these."""
    decays = sorted(decay for name, decay in known if name == reset)
    gain, error = np.array([known[reset, decay][column : column + 2] for decay in decays]).T
    return np.array(decays), gain**2, 2 * 2 * gain * error


def draw(ax: Any, known: Numbers, column: int) -> None:
    for place, (reset, colour) in enumerate(RESETS.items()):
        decays, squares, bars = curve(known, reset, column)
        style = {"color": colour, "lw": 1.8, "marker": "o", "ms": 4.5, "capsize": 2.5, "elinewidth": 1.1}
        ax.errorbar(decays, squares, bars, label=reset.replace("_", " "), zorder=3 + place, **style)
    ax.axhline(PAPER, color="0.15", lw=1.1, zorder=1)
    ax.axhline(MEMORYLESS, color="0.45", lw=1.0, ls=(0, (2, 2)), zorder=1)
    ax.set_xlabel("decay β")
    ax.set_xlim(-0.02, 0.99)
    ax.spines[["top", "right"]].set_visible(False)


def figure(known: Numbers) -> Any:
    figure, (left, right) = plt.subplots(1, 2, figsize=(11.4, 4.9), layout="constrained")
    draw(left, known, 0)
    draw(right, known, 2)
    ticks = [5, 6, 7, 8, 10, 12, 14, 16]
    left.set(yscale="log", ylim=(5.0, 16.5), ylabel=r"critical gain$^2$, in $(\theta/\lambda)^2$")
    left.set_yticks(ticks, [f"{tick}" for tick in ticks])
    left.minorticks_off()
    left.set_title(f"every one of {STEPS} steps alive at layer {DEPTH}", fontsize=11)
    right.set(ylim=(5.1, 6.9))
    right.set_title(f"steps {STEPS // 2 + 1} to {STEPS} alive at layer {DEPTH}", fontsize=11)
    left.legend(frameon=False, fontsize=9.5, loc="upper right", title="reset")
    for ax, x in ((left, 0.0), (right, 0.99)):
        side = {"ha": "left" if x == 0 else "right", "fontsize": 9}
        ax.annotate(f"the preserving gain, {PAPER:.3f}", (x, PAPER), (0, 4), textcoords="offset points", color="0.15", **side)
    side = {"xytext": (0, 4), "textcoords": "offset points", "ha": "right", "fontsize": 9}
    right.annotate(f"memoryless, {MEMORYLESS:.3f}", (0.99, MEMORYLESS), color="0.4", **side)
    note = {"fontsize": 9, "color": "0.35", "style": "italic", "ha": "center", "va": "center"}
    left.text(0.2, 7.3, "activity thins out\nto isolated volleys", **note)
    left.text(0.62, 9.0, "every step lives", **note)
    left.text(0.45, 5.4, "the first step dies: silence, or late steps only", **note)
    right.text(0.3, 5.2, "silence, or isolated volleys", **note)
    right.text(0.78, 6.6, "late activity lives", **note)
    return figure


def main() -> None:
    replace_files({NUMBERS.with_suffix(".png"): described(figure(complete()), dpi=120, bbox_inches="tight")})


if __name__ == "__main__":
    main()
