"""Survival over threshold and width at one depth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from varflow._checks import DomainError, frozen, integer, scale
from varflow._progress import check_progress, reporter
from varflow.init.rules import RULES, gain_by_rule, number
from varflow.model.distributions import distribution
from varflow.model.network import Network
from varflow.model.neurons import Neuron
from varflow.results import PhaseDiagram
from varflow.theory.chain import SpikeChain
from varflow.theory.fixed_points import saddle_node

__all__ = ["phase_diagram"]

THRESHOLDS = tuple(np.arange(0.3, 1.301, 0.05).round(2).tolist())
WIDTHS = (10, 14, 20, 28, 40, 56, 75, 100, 140, 200, 280, 400, 600, 800, 1100, 1500, 2200, 3000)


def phase_diagram(
    *,
    threshold: Sequence[float] | float = THRESHOLDS,
    width: Sequence[int] | int = WIDTHS,
    depth: int = 100,
    gain: str | float = "preserving",
    progress: bool | Callable[[int, int], object] = False,
) -> PhaseDiagram:
    r"""Exact survival to a depth over thresholds and widths.

    .. math:: S(\theta, n) = P(K_L > 0), \qquad K_1 \sim \mathrm{Binomial}(n, Q(\theta)), \qquad
              K_{l+1} \mid K_l \sim \mathrm{Binomial}\big(n, Q(\theta / \sqrt{g^2 K_l/n})\big)

    Parameters
    ----------
    threshold : float or sequence of float
        Sorted, without duplicates; so are the widths.
    width : int or sequence of int
    depth : int
        ``L``, the driven layer included.
    gain : str or float
        ``preserving`` (the paper's, at each threshold), ``kaiming`` (``√2``), or a number.
    progress : bool or callable
        True draws a bar on stderr; a callable receives ``(done, total)`` in networks.

    Returns
    -------
    PhaseDiagram

    Raises
    ------
    DomainError
        For values outside their domain.

    Notes
    -----
    **Assumes** normal weights, no bias and the paper's drive ``N(0, 1)``.
    **Accuracy**: that of :class:`varflow.SpikeChain`, absolute 1e-12 (tested against it). ``reading`` and ``largest_threshold``
    interpolate: within 0.003 in θ on the default grid (tested).
    **Source**: derived here; ``micheli2024`` remark (figure 4) that activity is not conserved beyond θ = 0.85 at width 100.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.phase_diagram(threshold=[0.85, 1.0], width=[100, 600]).survival.round(4).tolist()
    [[0.5867, 1.0], [0.0171, 0.8118]]
    """
    thetas = np.unique(scale("threshold", threshold))
    widths = sorted({integer("width", n, minimum=1) for n in _listed(width)})
    depth = integer("depth", depth, minimum=1)
    if not thetas.size or not widths:
        raise DomainError("width" if thetas.size else "threshold", [], "must name at least one value")
    check_progress(progress)
    cells = [(theta, gain_by_rule(gain, theta), n) for theta in thetas.tolist() for n in widths]
    survival = []
    with reporter(progress, len(cells), "networks") as report:
        for done, (theta, g, n) in enumerate(cells, start=1):
            network = Network(width=n, depth=depth, gain=g, neuron=Neuron(theta))
            survival.append(SpikeChain(network, rare=0.0).survival())
            report(done)
    table = np.reshape(survival, (len(thetas), len(widths)))
    rule = gain if isinstance(gain, str) and gain in RULES else number(gain)
    edge = saddle_node(distribution("normal"))[0] if rule == "preserving" else None
    return PhaseDiagram(frozen(thetas), frozen(widths, dtype=int), depth, rule, frozen(table), edge)


def _listed(value: Any) -> list[Any]:
    value = value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value
    return list(value) if isinstance(value, (list, tuple, range)) else [value]
