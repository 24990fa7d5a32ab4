"""Writes ``docs/blocks.png``: firing rate and variance over 100 blocks, plain and with four shortcuts, theory and simulation.

Run from the repository: ``python docs/blocks.py`` (seconds).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from figures import described

import varflow as vf
from varflow._files import replace_files

BLOCKS, WIDTH, NETWORKS = 100, 300, 100
SHOWN = [*range(10), *range(10, 30, 4), *range(30, BLOCKS + 1, 10)]  # blocks with a simulated point
PAPER = vf.gain(threshold=1.0)
KEEP = 0.9
SPIKE = vf.layers.Spike(vf.Neuron(1.0))


@dataclass(frozen=True)
class Curve:
    name: str
    layers: list[vf.layers.Layer]
    colour: str
    at: tuple[float, float, float]  # of the name: block, rate, variance
    line: Any = "-"


def linear(square: float) -> vf.layers.Linear:
    return vf.layers.Linear(gain=square**0.5)


def plain(square: float) -> list[vf.layers.Layer]:
    return [SPIKE, *[linear(square), SPIKE] * BLOCKS]


def membrane(square: float, keep: float) -> list[vf.layers.Layer]:
    return [*[vf.layers.Residual(SPIKE, linear(square), keep=keep)] * BLOCKS, SPIKE]


def sew(merge: str) -> list[vf.layers.Layer]:
    block = vf.layers.Residual(linear(PAPER**2), SPIKE, merge=merge)
    return [SPIKE, *[block] * BLOCKS, linear(PAPER**2), SPIKE]


END = BLOCKS + 3
CURVES = [
    Curve("SEW add", sew("add"), "#D55E00", (END, 0.6, 1.4e4)),
    Curve("shortcut, keep = 1", membrane(PAPER**2, 1.0), "#E69F00", (END, 0.41, 284)),
    Curve(
        "shortcut, keep = 0.9",
        membrane((1 - KEEP**2) * PAPER**2, KEEP),
        "#009E73",
        (END, 0.2, 2.0),
    ),
    Curve("plain, $g^2 = 6.303$", plain(PAPER**2), "0.1", (END, 0.135, 0.8), (0, (4, 4))),
    Curve("SEW iand", sew("iand"), "#0072B2", (END, 0.0031, 0.13)),
    Curve("plain, $g^2 = 5$", plain(5.0), "#AA3377", (11, 0.0013, 0.035)),
]


def draw(ax: Any, name: str, curve: Curve, ensemble: vf.Ensemble, profile: vf.Profile) -> None:
    """Entry l of the last 101 belongs to the neurons that read the signal after l blocks."""
    theory, mean, error = (getattr(x, name)[-BLOCKS - 1 :] for x in (profile, ensemble.mean(), ensemble.stderr()))
    seen = [block for block in SHOWN if mean[block] > 0]
    ax.plot(np.arange(BLOCKS + 1), theory, color=curve.colour, ls=curve.line, lw=1.8, zorder=2)
    bars = {"ms": 4, "mfc": "white", "elinewidth": 1.0, "capsize": 1.5}
    ax.errorbar(seen, mean[seen], error[seen], fmt="o", color=curve.colour, zorder=3, **bars)
    place = curve.at[0], curve.at[1 if name == "firing_rate" else 2]
    ax.annotate(curve.name, place, color=curve.colour, fontsize=9.5, va="center", annotation_clip=False)


def simulated() -> tuple[list[vf.Network], Sequence[vf.Ensemble]]:
    networks = [vf.Network(width=WIDTH, layers=curve.layers) for curve in CURVES]
    return networks, vf.simulate(networks, repeats=NETWORKS, seed=0, engine="conditional")


def figure() -> Any:
    networks, ensembles = simulated()
    exact = vf.finite_width(vf.Network(width=WIDTH, depth=BLOCKS + 1, gain=PAPER, neuron=SPIKE.neuron))
    figure, axes = plt.subplots(1, 2, figsize=(12.4, 4.6), layout="constrained")
    for ax, name in zip(axes, ("firing_rate", "variance"), strict=True):
        for curve, network, ensemble in zip(CURVES, networks, ensembles, strict=True):
            draw(ax, name, curve, ensemble, vf.mean_field(network))
        ax.plot(getattr(exact, name), color="0.1", ls=":", lw=1.3, zorder=2)
        ax.set(xlabel="blocks $l$", xlim=(-2, BLOCKS + 2), yscale="log")
        ax.spines[["top", "right"]].set_visible(False)
    left, right = axes
    left.set(ylim=(8e-4, 0.75), ylabel="firing rate")
    right.set(ylim=(2e-2, 3e4), ylabel="variance of the currents")
    ticks = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3]
    left.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    left.minorticks_off()
    right.plot([], [], color="0.4", lw=1.8, label="infinite width")
    right.plot([], [], color="0.1", ls=":", lw=1.3, label=f"plain, exact at width {WIDTH}")
    right.errorbar([], [], [], fmt="o", color="0.4", ms=4, mfc="white", capsize=1.5, label=f"{NETWORKS} networks, ± 1 s.e.")
    right.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(0.43, 0.57))
    return figure


def main() -> None:
    replace_files({Path(__file__).with_suffix(".png"): described(figure(), dpi=120, bbox_inches="tight")})


if __name__ == "__main__":
    main()
