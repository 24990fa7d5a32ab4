"""Figures of the catalogue, gains and firing rates of all methods, and every method over layers; of integer weights."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from varflow._checks import DomainError, require, several
from varflow._display import percent
from varflow.plots.style import ALARM, GREY, TEXT, axes, colours, draws, new_figure, wrapped
from varflow.results import Catalogue, Ensemble, Profile, Quantisation

HEIGHT, PANEL, LEFT, GAP, MARGIN = 4.9, 4.6, 0.85, 0.75, 0.25  # inches; the margin is for wider fonts
BESIDE = 1.05  # left end of the names, in panel widths
NAMES = 9  # font size in points
RAREST = 1e-3  # smallest fraction of networks alive that is printed; below, "< 0.1 %"
SILENT = "0.55"  # grey


@draws(Catalogue)
def plot_catalogue(catalogue: Catalogue) -> Any:
    """Gains of all methods, with the critical gain, and the firing rate of the last layer.

    Examples
    --------
    >>> import varflow as vf
    >>> figure = vf.plots.plot_catalogue(vf.catalogue(threshold=1.0, fan_in=100, depth=20))
    """
    shown = [entry for entry in catalogue.methods if entry.gain is not None][::-1]
    figure = new_figure(figsize=(9, 1.2 + 0.3 * len(shown)), dpi=150, layout="constrained")
    gains, rates = figure.subplots(1, 2, sharey=True)
    looks = {True: ("o", colours(1)[0]), False: ("x", ALARM), None: (".", "0.6")}
    for row, entry in enumerate(shown):
        marker, colour = looks[entry.survives]
        gains.plot(entry.gain, row, marker, color=colour)
        if entry.firing_rate is not None:
            rates.plot(entry.firing_rate, row, marker, color=colour)
    if catalogue.critical_gain == catalogue.critical_gain:
        gains.axvline(catalogue.critical_gain, color="0.4", linewidth=1, linestyle=":", label="critical gain")
        gains.legend(loc="lower right")
    gains.set_yticks(range(len(shown)), [entry.name for entry in shown])
    gains.set(xlabel=r"gain $g = \sigma_w \sqrt{n}$", xlim=(0, None))
    rates.set(xlabel=f"firing rate of layer {catalogue.depth}", xlim=(-0.02, None))
    where = f"θ = {catalogue.neuron.threshold:g}, "
    where += f"width {catalogue.width}" if catalogue.steps == 1 else f"{catalogue.steps} steps, infinite width"
    figure.suptitle(f"dots: alive at layer {catalogue.depth}, {where}; crosses: dead, or alive too rarely", fontsize=10)
    return figure


@draws(Catalogue)
def plot_methods(catalogue: Catalogue, ensembles: Sequence[Ensemble] = ()) -> Any:
    """Variance and total spikes of every layer, one line per method; methods that fall silent early are grey, named below.

    Lines: theory, averaged over dead and live networks. Dots, in some layers: mean ± standard error of ``ensembles``, from
    ``vf.simulate(catalogue.networks)``. In time: variance at the last step, mean spikes per step. Returns a Figure.

    Examples
    --------
    >>> import varflow as vf
    >>> figure = vf.plots.plot_methods(vf.catalogue(threshold=1.0, fan_in=100, depth=20))
    """
    keys = list(catalogue.profiles)
    ensembles = several("ensembles", ensembles, Ensemble, empty=True)
    if ensembles and len(ensembles) != len(keys):
        raise DomainError("ensembles", len(ensembles), f"must be as many as catalogue.networks, {len(keys)}")
    measured = dict(zip(keys, ensembles, strict=True)) if ensembles else {}
    ends = {key: _last_heard(catalogue, key) for key in keys}
    # methods silent within the first tenth form one group
    silent = [key for key in keys if ends[key] <= max(0.1 * catalogue.depth, 10) and ends[key] < catalogue.depth]
    heard = sorted((key for key in keys if key not in silent), key=lambda key: -catalogue.profiles[key].spikes[-1].mean())
    colour = {key: SILENT if key in silent else catalogue[key].colour for key in keys}
    labels = {key: _label(catalogue, key) for key in heard}

    width = LEFT + 2 * PANEL + GAP + (BESIDE - 1) * PANEL + _inches(labels.values()) + MARGIN
    words = wrapped([*_words(catalogue, measured), *_silent_words(catalogue, silent, ends)], int(16 * (width - LEFT - MARGIN)))
    text_height = 0.75 + 0.17 * len(words)
    height = HEIGHT + text_height
    figure = new_figure(figsize=(width, height), dpi=150)
    tall = (HEIGHT - 0.4) / height
    variance = figure.add_axes((LEFT / width, text_height / height, PANEL / width, tall))
    spikes = figure.add_axes(((LEFT + PANEL + GAP) / width, text_height / height, PANEL / width, tall))
    for key in [*silent, *heard[::-1]]:
        _draw(variance, _over_layers(catalogue.profiles[key], "variance"), measured.get(key), "variance", colour[key])
        _draw(spikes, _over_layers(catalogue.profiles[key], "spikes"), measured.get(key), "spikes", colour[key])
    _dress(variance, spikes, catalogue)
    _name(spikes, catalogue, labels, colour)
    figure.text(LEFT / width, 0.12 / height, "\n".join(words), va="bottom", fontsize=TEXT, color="0.25", linespacing=1.35)
    return figure


def _last_heard(catalogue: Catalogue, key: str) -> int:
    """The last layer with at least half a spike on average, beyond which most networks are silent; 0 if there is none."""
    spikes = _over_layers(catalogue.profiles[key], "spikes")
    return int(np.max(np.flatnonzero(spikes >= 0.5), initial=-1)) + 1


def _over_layers(result: Profile | Ensemble, quantity: str) -> np.ndarray:
    """A quantity without its steps: variance at the last one, others as the mean over them."""
    values = getattr(result, quantity)
    if result.network.steps == 1:
        return values
    return values[..., -1] if quantity == "variance" else values.mean(axis=-1)


def _draw(ax: Any, line: np.ndarray, ensemble: Ensemble | None, quantity: str, colour: str) -> None:
    layer = np.arange(1, len(line) + 1)
    ax.plot(layer, line, "-", color=colour, lw=1.5, zorder=3, marker="_" if len(line) == 1 else "")
    if ensemble is None:
        return
    rows = _over_layers(ensemble, quantity)
    shown = np.unique(np.geomspace(1, len(line), 22).round().astype(int)) - 1  # evenly spaced in log
    mean, error = rows.mean(axis=0), rows.std(axis=0, ddof=1) / np.sqrt(len(rows)) if len(rows) > 1 else np.zeros(len(line))
    dots = {"fmt": "o", "ms": 3.4, "elinewidth": 1.1, "mew": 0, "color": colour, "zorder": 2}
    ax.errorbar(layer[shown], mean[shown], error[shown], **dots)


def _dress(variance: Any, spikes: Any, catalogue: Catalogue) -> None:
    top = max(_over_layers(profile, "variance").max() for profile in catalogue.profiles.values())
    for ax in (variance, spikes):
        ax.set_xscale("log")
        ax.set_xlim(0.95, 1.05 * max(catalogue.depth, 2))
        ticks = [n for n in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if n <= catalogue.depth]
        ax.set_xticks(ticks, [str(n) for n in ticks])
        ax.minorticks_off()
        ax.set_xlabel("layer")
    variance.set_yscale("log")
    variance.set_ylim(1e-3 * top, 1.6 * top)
    variance.set_title(r"variance of the potentials, $\mathrm{Var}[u_l]$", fontsize=11, loc="left")
    spikes.set_ylim(0, None)
    spikes.set_title("spikes in the layer" + (", per step" if catalogue.steps > 1 else ""), fontsize=11, loc="left")


def _label(catalogue: Catalogue, key: str) -> str:
    """Name, with the fraction of networks alive if not 1."""
    entry = catalogue[key]
    if entry.survival is None or entry.survival > 0.995:
        return entry.name
    alive = percent(entry.survival) if entry.survival >= RAREST else f"< {percent(RAREST)}"
    return f"{entry.name}, {alive} alive"


def _inches(labels: Iterable[str]) -> float:
    """Width of the widest label."""
    drawn = require("plot", "matplotlib.textpath").TextPath
    return max((drawn((0, 0), label, size=NAMES).get_extents().width / 72 for label in labels), default=0.0)


def _name(ax: Any, catalogue: Catalogue, labels: dict[str, str], colours: dict[str, str]) -> None:
    """Write names at the ends of the lines, without overlap."""
    if not labels:
        return
    top = ax.get_ylim()[1]
    gap = 0.19 * top / (HEIGHT - 0.4)  # 0.19 inches between names
    ends = [float(catalogue.profiles[key].spikes[-1].mean()) for key in labels]
    for (key, label), end, place in zip(labels.items(), ends, _spaced(ends, gap), strict=True):
        ax.annotate(
            label,
            (catalogue.depth, end),
            (BESIDE, place / top),
            textcoords="axes fraction",
            color=colours[key],
            fontsize=NAMES,
            va="center",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colours[key], "lw": 0.7, "shrinkA": 1, "shrinkB": 1},
        )


def _spaced(places: list[float], gap: float) -> np.ndarray:
    """Descending positions, moved as little as possible to be ``gap`` apart and not below 0."""
    from scipy.optimize import isotonic_regression

    above = gap * np.arange(len(places))
    return np.maximum(isotonic_regression(places + above, increasing=False).x - above, above[::-1])


def _silent_words(catalogue: Catalogue, silent: list[str], ends: dict[str, int]) -> list[str]:
    """The silent methods, for the text under the figure; names are not broken."""
    if not silent:
        return []
    names = [catalogue[key].name.replace(" ", "\u00a0") for key in silent]
    return [f"Grey, most networks silent by layer {max(ends[key] for key in silent) + 1}: " + "\u00a0· ".join(names)]


def _words(catalogue: Catalogue, measured: dict[str, Ensemble]) -> list[str]:
    what = "exact mean over networks" if catalogue.steps == 1 else "theory of infinite width"
    seen = ""
    if measured:
        repeats = next(iter(measured.values())).repeats
        seen = f" Dots: mean ± standard error of {repeats} simulated network{'s' * (repeats > 1)}."
    mean = " A mean counts silent networks as 0." if catalogue.steps == 1 else ""
    neuron = catalogue.neuron
    memory = "" if neuron.memoryless else f", β = {neuron.decay:g}, reset {str(neuron.reset).replace('_', ' ')}"
    setting = f"θ = {neuron.threshold:g}{memory}, width {catalogue.width}" + (
        f", {catalogue.steps} steps" * (catalogue.steps > 1)
    )
    return [f"{setting}. Lines: {what}.{seen}{mean}"]


@draws(Quantisation)
def plot_quantisation(found: Quantisation, ax: Any = None) -> Any:
    """Survival at the integer threshold ``k`` (dots) and at ``k + 1`` (rings), a line for each cell; the target is dotted.

    Examples
    --------
    >>> import varflow as vf
    >>> ax = vf.plots.plot_quantisation(vf.quantise(threshold=1.0, width=100, depth=20, bits=[2, 3, 4, 8]))
    """
    names = ("bits", "width", "threshold", "integer_threshold", "survival", "survival_above")
    cells = list(zip(*(np.ravel(getattr(found, name)) for name in names), strict=True))
    ax = axes(ax)
    for (bits, width, theta, k, alive, above), colour in zip(cells, colours(len(cells)), strict=True):
        ax.plot([k, k + 1], [alive, above], "o-", mfc="none", color=colour, lw=1)
        ax.plot(k, alive, "o", color=colour, label=f"{bits} bits, width {width}, θ = {theta:g}")
    ax.axhline(found.survival_target, color=GREY, lw=1, ls=":")
    ax.set(xscale="log", xlabel="integer threshold $k$", ylabel=f"fraction of networks alive at layer {found.depth}")
    ax.legend()
    return ax
