"""Writes pictures of results that the pages show: ``before-after.png``, ``audit.png``, ``fixed-points.png``, ``profile.png``,
``propagation.png``, ``figure-4.png``, ``phase-diagram.png``, ``flips.png``, ``cost.png`` and ``quantisation.png``; the scripts
of the others are named in ``docs/gallery.md``.

Run from the repository: ``python docs/figures.py [NAME …]`` (two minutes for all). Each picture of the pages holds, as its
description, words and numbers that are drawn; ``tests/house/test_figures_of_the_pages.py`` compares them with what is drawn
today.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from matplotlib.text import Text

import varflow as vf
from varflow._files import picture, replace_files
from varflow.plots.style import new_figure

HERE = Path(__file__).parent
SHOWN = 12  # numbers of a line that are kept


def first_example(page: Path) -> dict[str, Any]:
    """The names that the first example of a page leaves, run as it stands there."""
    names: dict[str, Any] = {"print": lambda *values: None}
    exec(re.findall(r"^```python\n(.*?)^```$", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)[0], names)
    return names


def before_and_after() -> Any:
    """Of the two audits in the first example of the README."""
    reports, audited = [], vf.audit
    with patch.object(vf, "audit", lambda *given, **options: reports.append(audited(*given, **options)) or reports[-1]):
        first_example(HERE.parent / "README.md")
    figure = new_figure(figsize=(7, 3), layout="constrained")
    ax = figure.subplots()
    series = {"torch's default weights": "#D55E00", "after init_model(rate=0.2)": "#0072B2"}
    for report, (label, colour) in zip(reports, series.items(), strict=True):
        layers, number = report.layers, np.arange(1, 1 + len(report.layers))
        predicted, spread = (np.array([getattr(layer, of) for layer in layers]) for of in ("predicted_rate", "predicted_std"))
        ax.plot(number, predicted, color=colour, linewidth=1.5)
        ax.fill_between(number, predicted - spread, predicted + spread, color=colour, alpha=0.15, linewidth=0)
        ax.plot(number, [layer.firing_rate for layer in layers], "o", color=colour, markersize=5, label=label)
    ax.set(xlabel="layer", ylabel="spikes per neuron and step", ylim=(-0.01, 0.28), xticks=[1, 5, 10, 15, 20])
    ax.legend(frameon=False, loc="center right", bbox_to_anchor=(1, 0.4))
    ax.spines[["top", "right"]].set_visible(False)
    return figure


def audit() -> Any:
    """Of the first example on the page for practitioners."""
    return first_example(HERE / "practitioner.md")["figure"]


def fixed_points() -> Any:
    figure = vf.fixed_points(threshold=1.0, gain=2.6).plot().figure
    figure.set_size_inches(5, 5)
    return figure


def profile() -> Any:
    return vf.finite_width(vf.Network(width=200, depth=60, gain=vf.gain(threshold=1.0), neuron=vf.Neuron(1.0))).plot()


def propagation() -> Any:
    return vf.validate().plot()


def narrow_networks() -> Any:
    return vf.validate(gain="preserving", width=[100, 600]).plot()


PAPER = {
    (0.85, 100): "the paper: at width 100 activity\nis not conserved beyond θ = 0.85",
    (1.0, 600): "at 600 the effect is weaker",
}


def phase_diagram() -> Any:
    """With the two widths of figure 4 of Micheli et al. (2024)."""
    diagram = vf.phase_diagram()
    figure = diagram.plot()
    label = {"textcoords": "offset points", "fontsize": 8.5, "color": "white", "va": "center", "zorder": 6}
    label["bbox"] = {"boxstyle": "round,pad=0.25", "fc": "0.15", "ec": "none"}
    for (theta, n), text in PAPER.items():
        figure.axes[0].axhline(n, color="white", lw=0.8, ls=(0, (4, 3)), alpha=0.8)
        figure.axes[0].plot(theta, n, "o", color="white", mec="0.1", ms=7, zorder=5)
        said = f"{100 / (1 + np.exp(-diagram.logit([theta], [n])[0, 0])):.2g} % alive"
        figure.axes[0].annotate(said, (theta, n), (9, 0), **label)
        figure.axes[0].text(0.32, n * 1.07, text, fontsize=8.5, color="0.1", va="bottom", linespacing=1.3)
    return figure


def flips() -> Any:
    """Of steps of three sizes, without and with shortcuts."""
    spike, drive = vf.layers.Spike(vf.neurons.snntorch_leaky(0.5)), vf.drives.currents(1.123)
    plain = [spike, *[vf.layers.Linear(gain=2.859), spike] * 14]
    shortcut = [*[vf.layers.Residual(spike, vf.layers.Linear(gain=0.5**0.5))] * 14, spike]
    figure = new_figure(figsize=(9, 3.4), layout="constrained")
    panels = zip(figure.subplots(1, 2, sharey=True), {"plain": plain, "membrane shortcuts": shortcut}.items(), strict=True)
    for ax, (name, layers) in panels:
        network = vf.Network(layers=layers, width=1000, steps=4, drive=drive)
        for direct, colour in {0.1: "#0072B2", 0.01: "#D55E00", 0.001: "#009E73"}.items():
            vf.flips(network, direct=direct).plot(ax)
            curve = ax.containers[-1]
            curve.set_label(f"change of currents {direct:g}")
            for part in curve.get_children():
                part.set_color(colour)
        ax.set_title(name)
    figure.axes[1].set_ylabel("")
    figure.axes[1].legend(frameon=False, fontsize=9)
    return figure


def cost() -> Any:
    """Of the cheapest networks of 20 layers that live, for each width, with the same layers at rate 1/2 and as an ANN."""
    figure = new_figure(figsize=(7, 4), layout="constrained")
    ax, widths = figure.subplots(), [30, 60, 120, 240, 480, 960]
    found = [vf.cheapest(width=width, depth=20) for width in widths]
    mac, ac = found[0].pj
    energy = np.array([[mac * each.dense.sum(), ac * each.most_acs.sum() / 2, each.energy] for each in found]).T / 1e6
    looks = {"as an ANN, one pass": "#D55E00", "at firing rate 1/2": "#E69F00", "cheapest of which 99 % live": "#0072B2"}
    for (label, colour), values in zip(looks.items(), energy, strict=True):
        ax.plot(widths, values, color=colour, label=label)
    ensembles = vf.simulate([each.network for each in found], repeats=20, seed=0, engine="conditional")
    counted = [ac / 1e6 * width * of.spikes[:, :-1].sum(axis=1) for width, of in zip(widths, ensembles, strict=True)]
    ax.errorbar(
        widths,
        np.mean(counted, axis=1),
        np.std(counted, axis=1),
        fmt="o",
        color="#0072B2",
        ms=4,
        capsize=2,
        label="20 networks",
    )
    ax.set(xscale="log", yscale="log", xlabel="width", ylabel="energy of one inference, µJ")
    ax.set_xticks(widths, [str(width) for width in widths])
    ax.minorticks_off()
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False)
    return figure


def quantisation() -> Any:
    """Survival of integer weights over their effective gain, at every integer threshold, in two widths."""
    looks = {2: ("#D55E00", "o"), 3: ("#E69F00", "s"), 4: ("#009E73", "D"), 8: ("#0072B2", ".")}
    figure = new_figure(figsize=(10, 3.8), layout="constrained")
    for ax, width in zip(figure.subplots(1, 2, sharey=True), (100, 256), strict=True):
        squares = np.linspace(5.2, 13, 60)
        ax.plot(squares, [alive(width, square**0.5, "normal") for square in squares], color="0.6", label="not rounded")
        for bits, (colour, marker) in looks.items():
            law = vf.weights.quantised(bits)
            k = np.arange(1, 260)
            gains = width**0.5 * law.std / (k - 0.5)
            gains = gains[(gains**2 > 5.2) & (gains**2 < 13)]
            gains = gains[np.linspace(0, len(gains) - 1, min(len(gains), 12)).astype(int)]
            survival = [alive(width, gain, law) for gain in gains]
            ax.plot(gains**2, survival, marker, color=colour, ms=5, label=f"{bits} bits")
        corrected = vf.corrected_gain(threshold=1.0, width=width, depth=100)
        ax.axvline(corrected**2, color="0.3", lw=1, ls=":", label="corrected gain")
        ax.set(title=f"width {width}", xlabel=r"effective gain$^2$, $n\,\mathrm{Var}[i]/(k - 1/2)^2$")
        ax.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("alive in layer 100")
    figure.axes[1].legend(frameon=False)
    return figure


def alive(width: int, gain: float, weights: Any) -> float:
    return vf.SpikeChain(vf.Network(width=width, depth=100, gain=gain, weights=weights)).survival()


FIGURES = {
    "before-after.png": (before_and_after, 150),
    "audit.png": (audit, 150),
    "fixed-points.png": (fixed_points, 100),
    "profile.png": (profile, 100),
    "propagation.png": (propagation, 150),
    "figure-4.png": (narrow_networks, 150),
    "phase-diagram.png": (phase_diagram, 150),
    "flips.png": (flips, 120),
    "cost.png": (cost, 120),
    "quantisation.png": (quantisation, 120),
}


def drawn(figure: Any) -> dict[str, Any]:
    """The words of a figure, and a few numbers of each of its lines and images."""
    figure.canvas.draw()  # only then are all words known
    texts = [text.get_text() for text in figure.findobj(Text)]
    lines = [np.asarray(line.get_ydata(), dtype=float) for ax in figure.axes for line in ax.get_lines()]
    lines += [np.ma.filled(image.get_array(), np.nan).ravel() for ax in figure.axes for image in ax.get_images()]
    some = [line[np.linspace(0, len(line) - 1, min(SHOWN, len(line))).astype(int)] for line in lines]
    numbers = [[None if np.isnan(y) else float(f"{y:.6g}") for y in line] for line in some]
    words = {" ".join(text.split()) for text in texts if re.search("[a-zA-Z]", text.replace("mathdefault", ""))}  # not ticks
    return {"words": sorted(words), "numbers": numbers}


def described(figure: Any, **options: Any) -> bytes:
    """A PNG file with what is drawn as its description; ``options`` go to ``savefig``."""
    return picture(figure, metadata={"Description": json.dumps(drawn(figure))}, **options)


def main() -> None:
    for name in sys.argv[1:] or FIGURES:
        make, dpi = FIGURES[name]
        content = described(make(), dpi=dpi)
        replace_files({HERE / name: content})
        print(f"docs/{name}: {len(content) / 1000:.0f} kB", flush=True)


if __name__ == "__main__":
    main()
