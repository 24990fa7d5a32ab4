"""Writes ``docs/figure-5.png``: variance and rate of every layer and step at three gains, theory beside simulation.

Run from the repository: ``python docs/figure_5.py`` (half a minute).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from figures import described
from matplotlib.colors import LogNorm, Normalize

import varflow as vf
from varflow._files import replace_files

WIDTH, DEPTH, STEPS, REPEATS = 1000, 100, 20, 20
NEURON = vf.Neuron(1.0, decay=0.5, reset="delayed_subtract")
GAINS = {"Kaiming": 2**0.5, "the preserving gain": vf.gain(threshold=1.0), "above the critical gain in time": 8**0.5}
SCALES = {"variance": LogNorm(0.01, 4), "firing_rate": Normalize(0, 0.25)}
LABELS = {"variance": r"variance of the membrane before its reset, $\mathrm{Var}[H]$", "firing_rate": "firing rate"}
TITLES = {"theory": "infinite width", "simulated": f"{REPEATS} networks, n = {WIDTH}"}
COLOURS = {"variance": "viridis", "firing_rate": "magma"}


def maps(gain: float) -> dict[str, Any]:
    """Theory of infinite width, and the mean over simulated networks."""
    network = vf.Network(width=WIDTH, depth=DEPTH, gain=gain, neuron=NEURON, steps=STEPS)
    ensemble = vf.simulate(network, repeats=REPEATS, engine="conditional")
    return {"theory": vf.mean_field(network, points=2**12), "simulated": ensemble.mean()}


def figure() -> Any:
    figure, axes = plt.subplots(2, 6, figsize=(13, 7.4), sharex=True, sharey=True, layout="constrained")
    found = {name: maps(gain) for name, gain in GAINS.items()}
    for row, (quantity, scale) in enumerate(SCALES.items()):
        mesh = None
        for column, (name, source) in enumerate((name, source) for name in GAINS for source in ("theory", "simulated")):
            ax, values = axes[row, column], getattr(found[name][source], quantity)
            colours = plt.get_cmap(COLOURS[quantity]).with_extremes(bad="black", under="black")
            shown = np.maximum(values, 1e-9) if quantity == "variance" else values
            extent = (0.5, STEPS + 0.5, DEPTH + 0.5, 0.5)
            mesh = ax.imshow(shown, aspect="auto", extent=extent, cmap=colours, norm=scale, interpolation="nearest")
            if row == 0:
                ax.set_title(TITLES[source], fontsize=10)
            else:
                ax.set_xlabel("step")
            ax.set_xticks([1, 5, 10, 15, 20])
            ax.set_yticks([1, 25, 50, 75, 100])
        axes[row, 0].set_ylabel("layer")
        figure.colorbar(mesh, ax=axes[row], label=LABELS[quantity], extend="both" if row == 0 else "max", aspect=25, pad=0.01)
    for number, (name, gain) in enumerate(GAINS.items()):
        figure.text((0.17, 0.475, 0.775)[number], 1.0, f"{name}, g² = {gain**2:.4g}", ha="center", va="bottom", fontsize=12)
    return figure


def main() -> None:
    replace_files({Path(__file__).with_name("figure-5.png"): described(figure(), dpi=110, bbox_inches="tight")})


if __name__ == "__main__":
    main()
