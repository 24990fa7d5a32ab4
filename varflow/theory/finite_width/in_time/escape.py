r"""Escape of a deep network in time, step by step, without sampling of networks: the reduced chain.

Given the second moments ``M`` of a layer, the count of step ``t`` in the next is exactly ``Binomial(n, F_tt(M))``. The rest of
``M`` is slaved to ``x = K_t/n``: ``M ← F(M)`` is iterated with row and column ``t`` scaled to ``M_tt = x``, which keeps
``P(S_s = 1 | S_t = 1)``. Then ``π_t(x) = F_tt`` and

.. math:: K_t' \mid K_t \sim \mathrm{Binomial}(n, \pi_t(K_t/n))

has the escape rate ``r_t``. Step 1 is exact, and by causality step ``t`` needs the first ``t`` steps only. ``√x Q⁻¹(π_t(x))``
is interpolated, a constant for step 1. In wide layers ``ln r_t = a - n I + b/n``, from three narrower ones.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import count

import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.special import ndtr, ndtri

from varflow._checks import DomainError, frozen, integer
from varflow._display import Shown, Table, plus_minus
from varflow.model.network import Network
from varflow.results.export import Exported, alive_by
from varflow.theory.deep.look import ALIVE, driven, next_of_gain
from varflow.theory.finite_width.binomial import WHOLE_TAIL, Transition
from varflow.theory.finite_width.counts import count_grid
from varflow.theory.finite_width.in_time.drawn import DrawnChain
from varflow.theory.finite_width.stationary import EXACT_WIDTH, settled
from varflow.theory.responses.neurons import Responses
from varflow.theory.signals.places import standard_error

SETTLE = 40  # layers from the drive to the state whose escape is followed
FRACTIONS = 0.9 * 0.8 ** np.arange(25)  # of neurons that fire at step t, falling
SWEEPS, KEPT = 12, 4  # iterations of the rest of M at each of them, and the last, which are averaged
DEEP = 40.0  # n I up to which the chain itself is solved
NARROW = 200  # width at which the error of ln r is measured, in proportion to it


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class EscapeByStep(Exported, Shown):
    """Rates at which the steps of a deep network fall silent, one by one.

    Attributes
    ----------
    network : Network
    thresholds : ndarray, shape (steps, scrambles, fractions)
        ``√x Q⁻¹(π_t(x))`` at falling fractions ``x`` of neurons that fire.
    series : ndarray, shape (steps, 4)
        ``a``, ``-I`` and ``b``, and the width from which on they hold.
    first_rates : ndarray, shape (steps,)
        Firing rates of layer 1.

    Examples
    --------
    >>> import varflow as vf
    >>> network = vf.Network(width=100, depth=2, gain=2.75, neuron=vf.neurons.snntorch_leaky(0.9), steps=2)
    >>> vf.escape_by_step(network, points=2**8).log_rates.round(1).tolist()
    [-7.1, -30.6]
    """

    network: Network
    thresholds: np.ndarray
    series: np.ndarray
    first_rates: np.ndarray

    _hidden, _derived = ("thresholds", "series"), ("log_rates", "error")

    @property
    def log_rates(self) -> np.ndarray:
        """``ln r_t`` per layer at the network's width, shape (steps,)."""
        return self.log_rates_at(int(self.network.widths[0]))

    @property
    def error(self) -> np.ndarray:
        """Standard error of ``log_rates`` by the scatter of scrambles; the reduction itself is within a factor 1.7."""
        n = min(int(self.network.widths[0]), NARROW)
        scrambles = np.array([[log_escape_rate(one, n) for one in table] for table in self.thresholds])
        return standard_error(scrambles.T) * self.log_rates / scrambles.mean(axis=1)

    def log_rates_at(self, width: int) -> np.ndarray:
        """``ln r_t`` at another width, to any smallness."""
        n = integer("width", width, minimum=1)
        wide = self.series[:, :3] @ [1.0, n, 1 / n]
        solved = zip(self.thresholds, wide, self.series[:, 3], strict=True)
        return np.array([far if n > widest else log_escape_rate(table.mean(axis=0), n) for table, far, widest in solved])

    def log_rate(self, alive: str, width: int | None = None) -> float:
        """``ln Σ r_t`` over the steps that must all live: ``"every step"`` or ``"every late step"``."""
        rates = self.log_rates if width is None else self.log_rates_at(width)
        if not (needed := ~alive_by(alive, ~np.eye(len(rates), dtype=bool))).any():
            raise DomainError("alive", alive, "has no rate of its own: steps die in turn; the last of any dies as step 1 does")
        return float(np.logaddexp.reduce(rates[needed]))

    def _table(self) -> Table:
        rates = zip(self.log_rates, self.error, strict=True)
        rows = [(str(t), f"{rate:.5g}{plus_minus(error)}") for t, (rate, error) in enumerate(rates, 1)]
        return Table(f"EscapeByStep of {self.network!r}", rows, ("step", "ln rate"))


def escape_by_step(network: Network, *, points: int = 2**11, scrambles: int = 4, seed: int = 0) -> EscapeByStep:
    r"""The rates at which the steps of a deep network fall silent, without drawing networks.

    .. math:: K_t' \mid K_t \sim \mathrm{Binomial}(n, \pi_t(K_t/n)), \qquad r \approx \sum_t r_t

    with the other second moments slaved to the count of step ``t``.

    Parameters
    ----------
    network : Network
        As :func:`varflow.survival` takes it, of equal layers and without bias.
    points, scrambles, seed : int
        Of quasi-Monte Carlo, as in :func:`varflow.mean_field`; they tabulate ``π_t`` once, and any width then takes no time.

    Returns
    -------
    EscapeByStep
        ``.log_rates``, ``.error``, ``.log_rates_at(width)`` and ``.log_rate(alive, width)``, the logarithm of ``Σ r_t``.

    Raises
    ------
    DomainError
        For other networks; where a step is silent at infinite width, so that there is no state to escape from.

    Notes
    -----
    **Assumes** that the rest of ``M`` follows the count of step ``t`` at once. Rates are those of first deaths: where silent
    steps revive, as with snnTorch's reset at β = 0.5, they die again more often (.032 per layer instead of .013). Step 1 is
    exact (:class:`varflow.SpikeChain`); whatever the reset its rate is exactly that at which "any step" ends.
    **Accuracy**: ``Σ r_t`` is mostly too large, as deaths of several steps coincide: factors 1.12, .92 and .99 of the exact
    rates of two steps at width 24, and .84 to 1.65 of those of eight steps at widths 100 and 200 (Fleming–Viot). ``error`` is
    that of the points. Above ``n I = 40`` a series of three narrower widths is within 1e-4 of ``ln r``.
    **Source**: derived here; metastable states of one step as :meth:`varflow.SpikeChain.quasi_stationary`.

    Examples
    --------
    Leak protects later steps, a reset endangers them:

    >>> import varflow as vf
    >>> for beta in (0.9, 0.5):
    ...     network = vf.Network(width=100, depth=2, gain=2.75, neuron=vf.neurons.snntorch_leaky(beta), steps=3)
    ...     print(vf.escape_by_step(network, points=2**9).log_rates.round(1).tolist())
    [-7.1, -30.6, -35.8]
    [-7.1, -6.1, -5.1]
    """
    chain, responses = DrawnChain.of(network), Responses(points, scrambles, seed, "quasi_monte_carlo")
    if len(set(chain.widths)) > 1 or len(set(chain.gains)) > 1 or chain.bias:
        raise DomainError("network", network, "must have equal layers and no bias: else there is no state to escape from")
    first = np.full((scrambles, len(FRACTIONS)), 1 / chain.gains[0])
    later = [_thresholds(chain, t, responses) for t in range(1, network.steps)]
    thresholds = np.array([first, *later])
    rates = driven(chain.neuron, responses, chain.drive.mean(axis=0)).firing_rate.mean(axis=(0, 1))
    series = [_series(table.mean(axis=0)) for table in thresholds]
    return EscapeByStep(network, frozen(thresholds), frozen(series), frozen(rates))


def _thresholds(chain: DrawnChain, t: int, responses: Responses) -> np.ndarray:
    """``√x Q⁻¹(π_t(x))`` of every scramble at the ``FRACTIONS``, shape (scrambles, fractions)."""
    numbers = count(1)
    follow = lambda state: next_of_gain(chain.neuron, responses, chain.gains[0], state, next(numbers))  # noqa: E731
    state = driven(chain.neuron, responses, chain.drive.mean(axis=0)[: t + 1, : t + 1])
    for _ in range(SETTLE):
        state = follow(state)
    if (rate := float(state.firing_rate[..., t].min())) < ALIVE:
        raise DomainError("step", t + 1, f"is silent at infinite width (rate {rate:.2g}): raise the gain; vf.survival draws it")
    found = []
    for x in FRACTIONS:
        rates = []
        for _ in range(SWEEPS):
            state = follow(replace(state, second_moments=_with_count(state.second_moments, t, x)))
            rates.append(state.firing_rate[:, 0, t])
        found.append(-np.sqrt(x) * ndtri(np.mean(rates[-KEPT:], axis=0)))
    return np.array(found).T


def _with_count(moments: np.ndarray, t: int, x: float) -> np.ndarray:
    """``M`` with ``M_tt = x`` and its row and column scaled alike; by the root where ``M`` would not be positive definite."""
    scale = x / moments[..., t, t]
    for factor in (scale, np.sqrt(scale)):
        changed = moments.copy()
        changed[..., t, :] *= factor[..., None]
        changed[..., :, t] *= factor[..., None]
        changed[..., t, t] = x
        if np.linalg.eigvalsh(changed).min() > 0:
            break
    return changed


def _series(thresholds: np.ndarray) -> np.ndarray:
    """``a``, ``-I`` and ``b`` of ``ln r = a - n I + b/n``, and the width from which on they hold."""
    action = (log_escape_rate(thresholds, NARROW // 2) - log_escape_rate(thresholds, NARROW)) / (NARROW // 2)
    widths = (DEEP / max(action, DEEP / 1e6) * np.array([1.0, 0.5, 0.25])).astype(int)
    rates = [log_escape_rate(thresholds, width) for width in widths.tolist()]
    return np.append(np.linalg.solve(np.stack([np.ones(3), widths, 1 / widths], axis=1), rates), widths[0])


def reduced_chain(thresholds: np.ndarray, width: int) -> Transition:
    """The chain ``Binomial(n, π(K/n))``."""
    grid = count_grid(width, exact_width=EXACT_WIDTH)
    x = np.clip(grid.counts / width, FRACTIONS[-1], FRACTIONS[0])
    z = PchipInterpolator(np.log(FRACTIONS[::-1]), thresholds[::-1])(np.log(x)) / np.sqrt(np.maximum(grid.counts, 1e-9) / width)
    return Transition(grid, np.where(grid.counts > 0, ndtr(-z), 0.0), ndtr(z), WHOLE_TAIL)


def log_escape_rate(thresholds: np.ndarray, width: int) -> float:
    """``ln r`` of the reduced chain."""
    kernel = reduced_chain(thresholds, width)
    living = kernel.target.counts > 0
    return float(np.log(settled(kernel, living, kernel.push(np.where(living, kernel.target.weights, 0.0)))[1]))


def silence(found: EscapeByStep) -> np.ndarray:
    """The probability that a step is silent in a layer, by its own reduced chain from the drive on, shape (depth, steps)."""
    silent = np.empty((found.network.depth, len(found.first_rates)))
    for t, (table, p) in enumerate(zip(found.thresholds, found.first_rates, strict=True)):
        kernel = reduced_chain(table.mean(axis=0), int(found.network.widths[0]))
        mass = Transition(kernel.target, np.array([p]), np.array([1 - p]), WHOLE_TAIL).dense()[0]
        for layer in range(found.network.depth):
            silent[layer, t], mass = mass[0], kernel.push(mass)
    return silent
