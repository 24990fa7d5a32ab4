"""Survival over threshold and width at one depth."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from varflow._checks import DomainError, frozen, integer, listed, refuse, scale
from varflow._progress import check_progress
from varflow.campaign import Block, Campaign, Run
from varflow.campaign.campaign import campaign_of
from varflow.init.gains import ONLY_WITH_MEMORY, steps_of
from varflow.init.rules import RULES, gain_by_rule, number
from varflow.model.as_neuron import neuron as as_neuron
from varflow.model.distributions import distribution
from varflow.model.network import Network
from varflow.model.neurons import Neuron, one_threshold
from varflow.model.over_neurons import OverNeurons, mean_of, over_neurons, written
from varflow.results import PhaseDiagram
from varflow.theory.finite_width.chain import survival_at
from varflow.theory.finite_width.in_time.survival import binomial_error, drawn_survival
from varflow.theory.memoryless.fixed_points import saddle_node

THRESHOLDS = tuple(np.arange(0.3, 1.301, 0.05).round(2).tolist())


def phase_diagram(
    *,
    threshold: Any = THRESHOLDS,
    width: Sequence[int] | int = (10, 14, 20, 28, 40, 56, 75, 100, 140, 200, 280, 400, 600, 800, 1100, 1500, 2200, 3000),
    depth: int = 100,
    gain: str | float = "preserving",
    neuron: Any = None,
    steps: int | None = None,
    alive: str | None = None,
    networks: int = 1000,
    progress: bool | Callable[[int, int], object] = False,
    campaign: Campaign | Run | None = None,
) -> PhaseDiagram:
    r"""Survival to a depth over thresholds and widths, exact for one step.

    .. math:: P(K_L > 0; \theta, n), \qquad K_1 \sim \mathrm{Binomial}(n, Q(\theta)), \qquad
              K_{l+1} \mid K_l \sim \mathrm{Binomial}\big(n, Q(\theta / \sqrt{g^2 K_l/n})\big)

    Parameters
    ----------
    threshold : float, frozen scipy.stats distribution over neurons, or sequence of them
        By default 0.3 to 1.3 in steps of 0.05. Sorted by their means, which must differ; so are the widths.
    width : int or sequence of int
        By default 18 from 10 to 3000.
    depth : int
        ``L``, the driven layer included.
    gain : str or float
        ``preserving`` (at each threshold), ``kaiming`` (``√2``), or a number.
    neuron : Neuron, torch module or str, optional
        With memory, as :func:`varflow.neuron` takes it; with each threshold in the place of its own.
    steps, alive
        For such a neuron: steps, counted from the first arrival, and which of them must have spikes, as in
        :func:`varflow.survival`.
    networks : int
        Networks of such neurons drawn at each threshold and width.
    progress : bool or callable
        True draws a bar on stderr; a callable receives ``(done, total)`` in networks.
    campaign : Campaign, optional
        Where the blocks of networks run and are kept; by default in this process, and nothing is kept.

    Returns
    -------
    PhaseDiagram

    Raises
    ------
    DomainError
        For values outside their domain.

    Notes
    -----
    **Assumes** normal weights, no bias and the drive ``N(0, 1)``. Over thresholds that differ, ``Q`` is averaged.
    **Accuracy**: that of :class:`varflow.SpikeChain`, absolute 1e-12 (tested against it). ``reading`` and ``largest_threshold``
    interpolate: within 0.003 in θ on the default grid (tested). In time ``.error``, that of :func:`varflow.survival`.
    **Source**: derived here; ``micheli2024`` remark (figure 4) that activity is not conserved beyond θ = 0.85 at width 100.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.phase_diagram(threshold=[0.85, 1.0], width=[100, 600]).survival.round(4).tolist()
    [[0.5867, 1.0], [0.0171, 0.8118]]

    In snnTorch's neuron late steps fall silent at lower thresholds than one step does:

    >>> leaky = vf.neurons.snntorch_leaky(0.5)
    >>> shape = {"threshold": [0.6, 0.8, 1.0], "width": 100, "depth": 20}
    >>> found = vf.phase_diagram(neuron=leaky, steps=8, alive="every late step", networks=200, **shape)
    >>> print(found.survival.T.round(1).tolist(), vf.phase_diagram(**shape).survival.T.round(1).tolist())
    [[1.0, 0.7, 0.0]] [[1.0, 1.0, 0.5]]
    """
    thetas = _thresholds(threshold)
    widths = sorted({integer("width", n, minimum=1) for n in listed("width", width)})
    depth = integer("depth", depth, minimum=1)
    check_progress(progress)
    networks, drawn = integer("networks", networks, minimum=1), {}
    if neuron is None:
        refuse(ONLY_WITH_MEMORY, steps=steps, alive=alive)
    else:
        cell = replace(as_neuron(neuron), delay=0)
        drawn = {"neuron": cell, "steps": steps_of(cell, steps), "alive": alive, "networks": networks}
    if np.ndim(gain):
        raise DomainError("gain", gain, "must be one rule or number; vf.depth_scales maps thresholds and gains")
    gains = [gain_by_rule(gain, theta) for theta in thetas]
    blocks = [block for n in widths for block in _blocks(thetas, gains, n, depth, drawn)]
    with campaign_of(campaign).opened() as run:
        survival = run.results(blocks, progress=progress, what="networks")
    table = np.reshape(np.concatenate(survival), (len(widths), len(thetas))).T
    rule = gain if isinstance(gain, str) and gain in RULES else number(gain)
    differ = tuple(repr(theta) for theta in thetas if isinstance(theta, OverNeurons))
    edge = saddle_node(distribution("normal"))[0] if rule == "preserving" and not (differ or drawn) else None
    means = frozen([mean_of(theta) for theta in thetas])
    error = frozen(binomial_error(table, networks)) if drawn else None
    return PhaseDiagram(means, frozen(widths, dtype=int), depth, rule, frozen(table), edge, differ, alive, error)


def _thresholds(value: Any) -> list[Any]:
    """Numbers and distributions over neurons in the order of their means."""
    given = listed("threshold", value)
    if not any(map(over_neurons, given)):
        return np.unique(scale("threshold", value)).tolist()
    thresholds = sorted(dict.fromkeys(map(one_threshold, given)), key=mean_of)
    for previous, theta in pairwise(thresholds):
        if mean_of(theta) == mean_of(previous):
            rule = f"has the mean of {written(previous)}, so that they share a place on the axis: give them in two calls"
            raise DomainError("threshold", theta, rule)
    return thresholds


def _blocks(thresholds: list[Any], gains: list[float], width: int, depth: int, drawn: dict[str, Any]) -> Iterator[Block]:
    """The networks of one width, in blocks of about half a second."""
    once, layer = 1.5e-3, 1e-5  # seconds per network and layer
    neuron = 7e-9 * drawn["steps"] * drawn["networks"] if drawn else 7e-8  # and layer and neuron
    per_block = max(1, int(0.5 / (once + depth * (layer + neuron * width))))
    for start in range(0, len(thresholds), per_block):
        rows = slice(start, start + per_block)
        settings = {"thresholds": thresholds[rows], "gains": gains[rows], "width": width, "depth": depth} | drawn
        yield Block(survivals, settings, units=len(thresholds[rows]))


def survivals(
    thresholds: list[Any],
    gains: list[float],
    width: int,
    depth: int,
    neuron: Neuron | None = None,
    steps: int = 1,
    **drawn: Any,
) -> list[float]:
    """The probability that a network is alive at its last layer, for each threshold with its gain."""
    pairs = zip(thresholds, gains, strict=True)
    if neuron is None:
        return [survival_at(t, g, width, depth) for t, g in pairs]
    each = (Network(width=width, depth=depth, gain=g, neuron=replace(neuron, threshold=t), steps=steps) for t, g in pairs)
    return [float(drawn_survival(network, **drawn).value[-1]) for network in each]
