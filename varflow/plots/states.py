"""Probabilities of spike counts at finite width, the way to silence, and surrogate derivatives."""

from __future__ import annotations

from typing import Any

import numpy as np

from varflow._display import percent
from varflow.model.surrogate import Surrogate
from varflow.plots.style import axes, colours, draws
from varflow.theory.finite_width.chain import SpikeChain
from varflow.theory.finite_width.counts import CountLaw
from varflow.theory.finite_width.escape import EscapeAsymptotics
from varflow.theory.finite_width.stationary import QuasiStationary, Stationary

RAREST = 1e-6  # smallest probability that is drawn
LAYERS = 5  # of a chain, drawn one by one


@draws(SpikeChain, CountLaw, QuasiStationary, Stationary)
def plot_counts(found: Any, ax: Any = None) -> Any:
    """Probability of every firing rate of a layer, with a dot for silence; of a chain in five layers.

    ``found`` is a SpikeChain, one of its distributions, or its stationary or quasi-stationary state.

    Examples
    --------
    >>> import varflow as vf
    >>> ax = vf.plots.plot_counts(vf.SpikeChain(vf.Network(width=100, depth=50, gain=2.51)))
    """
    ax, laws = axes(ax), {"": getattr(found, "distribution", found)}
    if isinstance(found, SpikeChain):
        layers = found.propagate()
        shown = np.unique(np.linspace(0, len(layers) - 1, LAYERS).round().astype(int)).tolist()
        laws = {f"layer {l + 1}, {percent(round(layers[l].survival, 4))} alive": layers[l] for l in shown}
    for (label, law), colour in zip(laws.items(), colours(len(laws)), strict=True):
        mass = np.where(law.mass < RAREST, np.nan, law.mass)
        ax.plot(law.counts[1:] / law.width, mass[1:], color=colour, lw=1.4, label=label)
        ax.plot(0, mass[0], "o", color=colour, clip_on=False)
    ax.set(xlabel="firing rate of the layer", ylabel="probability", yscale="log", ylim=(RAREST, 2))
    if len(laws) > 1:
        ax.legend()
    return ax


@draws(EscapeAsymptotics)
def plot_escape(found: EscapeAsymptotics, ax: Any = None) -> Any:
    """Firing rates of successive layers on the most likely way of a wide network from its stable state to the edge of silence.

    Examples
    --------
    >>> import varflow as vf
    >>> ax = vf.plots.plot_escape(vf.escape_asymptotics(threshold=1.0, gain=2.6))
    """
    ax = axes(ax)
    ax.plot(range(1, len(found.path) + 1), found.path, ".-", color=colours(1)[0])
    ax.set(xlabel="layer", ylabel="firing rate", ylim=(0, None))
    ax.set_title(f"escape rate {found.prefactor:.3g} exp(-{found.rate_per_neuron:.3g} n) per layer", fontsize=10)
    return ax


@draws(Surrogate)
def plot_surrogate(surrogate: Surrogate, ax: Any = None) -> Any:
    """The surrogate derivative over the distance of the potential from the threshold.

    Examples
    --------
    >>> import varflow as vf
    >>> ax = vf.plots.plot_surrogate(vf.surrogates.atan(alpha=2.0))
    """
    ax, extent = axes(ax), np.nan_to_num(6 * surrogate.width, nan=2.0)
    v = np.linspace(-extent, extent, 601)
    ax.plot(v, surrogate(v), color=colours(1)[0], lw=1.6)
    ax.set(xlabel="$v = H - θ$", ylabel=r"$\psi(v)$", title=repr(surrogate))
    return ax
