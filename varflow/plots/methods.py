"""The figures of the catalogue: its table drawn; and every method over layers, theory beside simulation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from varflow._checks import DomainError, require
from varflow.plots.style import TEXT, wrapped
from varflow.results import Ensemble

if TYPE_CHECKING:
    from varflow.init.catalogue import Catalogue

__all__ = ["plot_catalogue", "plot_methods"]

HEIGHT, PANEL, LEFT, GAP, RIGHT = 4.9, 4.6, 0.85, 0.75, 2.15  # inches
EARLY = 0.1  # of the depth: methods silent by then are one group
FLOOR = 1e-3  # of the largest variance: what is smaller lies below the panel
LABELS = 0.19  # inches between two names at least
DOTS = 22  # layers whose simulated mean is shown, about
SILENT = "0.55"
PALETTE = ("tab:red", "tab:orange", "tab:olive", "tab:green", "tab:cyan", "tab:blue", "tab:purple", "tab:brown", "tab:pink")


def plot_catalogue(catalogue: Catalogue) -> Any:
    """Methods one below the other: their gains beside the critical one, and the rate of the last layer."""
    shown = [entry for entry in catalogue.methods if entry.gain is not None][::-1]
    figure = require("plot", "matplotlib.figure").Figure(figsize=(9, 1.2 + 0.3 * len(shown)), dpi=150, layout="constrained")
    gains, rates = figure.subplots(1, 2, sharey=True)
    looks = {True: ("o", "tab:blue"), False: ("x", "tab:red"), None: (".", "0.6")}
    for row, entry in enumerate(shown):
        marker, colour = looks[entry.survives]
        gains.plot(entry.gain, row, marker, color=colour)
        if entry.firing_rate is not None:
            rates.plot(entry.firing_rate, row, marker, color=colour)
    if catalogue.critical_gain == catalogue.critical_gain:
        gains.axvline(catalogue.critical_gain, color="0.4", linewidth=1, linestyle=":", label="critical gain")
        gains.legend(frameon=False, loc="lower right")
    gains.set_yticks(range(len(shown)), [entry.name for entry in shown])
    gains.set(xlabel=r"gain $g = \sigma_w \sqrt{n}$", xlim=(0, None))
    rates.set(xlabel=f"firing rate of layer {catalogue.depth}", xlim=(-0.02, None))
    figure.suptitle(
        f"dots: alive at layer {catalogue.depth}, width {catalogue.width}; crosses: not, or too seldom", fontsize=10
    )
    return figure


def plot_methods(catalogue: Catalogue, ensembles: Sequence[Ensemble] = ()) -> Any:
    """Variance and total spikes of every layer, a line a method; methods that fall silent early are one grey group.

    Lines: theory, over networks dead and alive. Dots: mean ± standard error of ``ensembles``, those of
    ``vf.simulate(catalogue.networks)``, in some of the layers. In time: variance at the last step, mean spikes a step.
    Returns a Figure.
    """
    keys = list(catalogue.profiles)
    if ensembles and len(ensembles) != len(keys):
        raise DomainError("ensembles", len(ensembles), f"must be as many as the methods that theory judges, {len(keys)}")
    measured = dict(zip(keys, ensembles, strict=True)) if ensembles else {}
    ends = {key: _last_heard(catalogue, key) for key in keys}
    silent = [key for key in keys if ends[key] <= max(EARLY * catalogue.depth, 10) and ends[key] < catalogue.depth]
    heard = sorted((key for key in keys if key not in silent), key=lambda key: -catalogue.profiles[key].spikes[-1].mean())
    colours = {key: PALETTE[rank % len(PALETTE)] for rank, key in enumerate(heard)} | dict.fromkeys(silent, SILENT)

    words = wrapped(_words(catalogue, measured), columns=int(16 * (2 * PANEL + GAP + RIGHT - 0.2)))
    width, below = LEFT + 2 * PANEL + GAP + RIGHT, 0.75 + 0.17 * len(words)
    height = HEIGHT + below
    figure = require("plot", "matplotlib.figure").Figure(figsize=(width, height), dpi=150)
    tall = (HEIGHT - 0.4) / height
    variance = figure.add_axes((LEFT / width, below / height, PANEL / width, tall))
    spikes = figure.add_axes(((LEFT + PANEL + GAP) / width, below / height, PANEL / width, tall))
    for key in [*silent, *heard[::-1]]:
        _draw(variance, _over_layers(catalogue.profiles[key], "variance"), measured.get(key), "variance", colours[key])
        _draw(spikes, _over_layers(catalogue.profiles[key], "spikes"), measured.get(key), "spikes", colours[key])
    _dress(variance, spikes, catalogue)
    _name(spikes, catalogue, heard, colours)
    if silent:
        _name_the_silent(variance, catalogue, silent, ends)
    figure.text(LEFT / width, 0.12 / height, "\n".join(words), va="bottom", fontsize=TEXT, color="0.25", linespacing=1.35)
    return figure


def _last_heard(catalogue: Catalogue, key: str) -> int:
    """The last layer in which a spike is expected as likely as not; 0 where there is none."""
    spikes = _over_layers(catalogue.profiles[key], "spikes")
    return int(np.max(np.flatnonzero(spikes >= 0.5), initial=-1)) + 1


def _over_layers(profile: Any, quantity: str) -> np.ndarray:
    values = getattr(profile, quantity)
    if profile.network.steps == 1:
        return values
    return values[:, -1] if quantity == "variance" else values.mean(axis=-1)


def _draw(ax: Any, line: np.ndarray, ensemble: Ensemble | None, quantity: str, colour: str) -> None:
    layer = np.arange(1, len(line) + 1)
    ax.plot(layer, line, "-", color=colour, lw=1.5, zorder=3, marker="_" if len(line) == 1 else "")
    if ensemble is None:
        return
    rows = getattr(ensemble, quantity)
    if ensemble.network.steps > 1:
        rows = rows[..., -1] if quantity == "variance" else rows.mean(axis=-1)
    shown = np.unique(np.geomspace(1, len(line), DOTS).round().astype(int)) - 1  # evenly over the logarithm
    mean, error = rows.mean(axis=0), rows.std(axis=0, ddof=1) / np.sqrt(len(rows)) if len(rows) > 1 else np.zeros(len(line))
    dots = {"fmt": "o", "ms": 3.4, "elinewidth": 1.1, "mew": 0, "color": colour, "zorder": 2}
    ax.errorbar(layer[shown], mean[shown], error[shown], **dots)


def _dress(variance: Any, spikes: Any, catalogue: Catalogue) -> None:
    top = max(_over_layers(profile, "variance").max() for profile in catalogue.profiles.values())
    for ax in (variance, spikes):
        ax.spines[["top", "right"]].set_visible(False)
        ax.set_xscale("log")
        ax.set_xlim(0.95, 1.05 * max(catalogue.depth, 2))
        ticks = [n for n in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if n <= catalogue.depth]
        ax.set_xticks(ticks, [str(n) for n in ticks])
        ax.minorticks_off()
        ax.set_xlabel("layer")
    variance.set_yscale("log")
    variance.set_ylim(FLOOR * top, 1.6 * top)
    variance.set_title(r"variance of the potentials, $\mathrm{Var}[u_l]$", fontsize=11, loc="left")
    spikes.set_ylim(0, None)
    spikes.set_title("spikes in the layer" + (", a step" if catalogue.steps > 1 else ""), fontsize=11, loc="left")


def _name(ax: Any, catalogue: Catalogue, heard: list[str], colours: dict[str, str]) -> None:
    """Names at the ends of the lines, none over another, with the share of networks alive where it is not all."""
    if not heard:
        return
    top = ax.get_ylim()[1]
    gap = LABELS * top / (HEIGHT - 0.4)
    ends = [float(catalogue.profiles[key].spikes[-1].mean()) for key in heard]
    for key, end, place in zip(heard, ends, _apart(ends, gap), strict=True):
        entry = catalogue[key]
        alive = "" if entry.survival is None or entry.survival > 0.995 else f", {100 * entry.survival:.2g} % alive"
        ax.annotate(
            entry.name + alive,
            (catalogue.depth, end),
            (1.05, place / top),
            textcoords="axes fraction",
            color=colours[key],
            fontsize=9,
            va="center",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colours[key], "lw": 0.7, "shrinkA": 1, "shrinkB": 1},
        )


def _apart(places: list[float], gap: float) -> np.ndarray:
    """Falling places moved no further than needed to be ``gap`` apart, none below 0: neighbours too close become a block."""
    blocks: list[tuple[float, int]] = []  # centre, members
    for place in places:
        centre, members = place, 1
        while blocks and blocks[-1][0] - centre < gap * (blocks[-1][1] + members) / 2:
            above, number = blocks.pop()
            centre = (above * number + centre * members) / (number + members)
            members += number
        blocks.append((centre, members))
    falling = [centre + gap * ((members - 1) / 2 - rank) for centre, members in blocks for rank in range(members)]
    floor = gap * np.arange(len(falling))[::-1]
    return np.maximum(falling, floor)


def _name_the_silent(ax: Any, catalogue: Catalogue, silent: list[str], ends: dict[str, int]) -> None:
    latest = max(ends[key] for key in silent) + 1
    names = wrapped([", ".join(catalogue[key].name for key in silent)], columns=34)
    beside = np.log(latest + 0.8) / np.log(max(catalogue.depth, 2))  # the lines that fall: right of them if there is room
    ax.text(
        beside if beside < 0.45 else 0.97,
        0.05,
        "\n".join([f"silent by layer {latest}:", *names]),
        transform=ax.transAxes,
        ha="left" if beside < 0.45 else "right",
        va="bottom",
        fontsize=9,
        color="0.35",
        linespacing=1.4,
        bbox={"fc": "white", "ec": "none", "alpha": 0.75, "pad": 1.5},
        zorder=4,
    )


def _words(catalogue: Catalogue, measured: dict[str, Ensemble]) -> list[str]:
    what = "exact mean over networks" if catalogue.steps == 1 else "theory of infinite width"
    seen = ""
    if measured:
        repeats = next(iter(measured.values())).repeats
        seen = f" Dots: mean ± standard error of {repeats} simulated network{'s' * (repeats > 1)}."
    mean = " A mean counts silent networks as 0." if catalogue.steps == 1 else ""
    neuron = catalogue.neuron
    memory = "" if neuron.memoryless else f", β = {neuron.decay:g}, reset {neuron.reset.replace('_', ' ')}"
    setting = f"θ = {neuron.threshold:g}{memory}, width {catalogue.width}" + (
        f", {catalogue.steps} steps" * (catalogue.steps > 1)
    )
    return [f"{setting}. Lines: {what}.{seen}{mean}"]
