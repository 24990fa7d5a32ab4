r"""The stationary state of a deep network, its switching between metastable states, and their quasi-stationary states.

The stationary distribution ``ν = ν P`` is found by iteration. The slow part, the exchange between groups of counts that are
rarely left, is solved exactly in every round from the transition probabilities between groups (iterative aggregation,
``stewart1994``). These are sums of positive terms, and the small chain of groups is solved without subtractions
(``grassmann1985``), so very small probabilities keep their relative accuracy.

A metastable state is a count where the drift ``n π_K - K``, averaged over the noise of one layer, changes from positive to
negative with growing ``K``; the counts where it changes back separate the groups. Silence and full activity are groups of their
own, and metastable states if a network is more likely to stay there than to leave.

A quasi-stationary (metastable) state has an escape rate: conditioned on not having left a set of counts (for instance, on being
alive), the spike count of a network of equal layers settles to the quasi-stationary distribution ``ν``, the left eigenvector of
the chain restricted to that set: ``ν P = (1 - r) ν``. The escape rate ``r`` is the flux out of the set, for silence ``Σ_K ν_K
(1 - π_K)^n``: a sum of positive terms, which is accurate far below 1e-16.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from varflow._checks import ConvergenceError, DomainError, frozen, require
from varflow._display import Drawn, Listed
from varflow.theory.finite_width.binomial import TAIL, WHOLE_TAIL, Transition
from varflow.theory.finite_width.counts import CountGrid, CountLaw, count_grid
from varflow.theory.finite_width.firing import firing, smooth_in_count
from varflow.theory.layer import CountedLayer

SETTLED = 1e-12  # change of the distribution per layer
KEPT = 0.2  # fraction of the last distribution kept in each step, so that alternating networks settle too
EXACT_WIDTH = 2000  # wider layers use a grid of counts: with whole tails the full matrix would be dense
LARGEST_MATRIX = 5000  # for weights whose π_K needs integer counts: 200 MB
LONGEST = 100_000  # layers or rounds
SMALLEST = 1e-300  # a smaller probability per layer underflows in products and counts as 0
HIDDEN = 1e-12  # smaller eigenvalues are rounding


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class QuasiStationary(Listed, Drawn):
    """The state of a deep network that has not yet left a set of counts.

    Attributes
    ----------
    distribution : CountLaw
        Of the spike count, given that the network is still alive (or in the set).
    variance, variance_std : float
        Expected sample variance (ddof = 1) of the next layer, and its standard deviation over networks.
    firing_rate, firing_rate_std : float
    escape_rate : float
        Probability per layer that the network falls silent (or leaves the set).
    relaxation_depth : float
        Layers over which the memory of the start decays by a factor e.

    Examples
    --------
    >>> import varflow as vf
    >>> state = vf.SpikeChain(vf.Network(width=30, depth=8, gain=3.0)).quasi_stationary()
    >>> f"{state.escape_rate:.2g} per layer, variance {state.variance:.2f} ± {state.variance_std:.2f}"
    '0.0078 per layer, variance 2.12 ± 1.01'
    """

    distribution: CountLaw
    variance: float
    variance_std: float
    firing_rate: float
    firing_rate_std: float
    escape_rate: float
    relaxation_depth: float
    listed: ClassVar = {"variance": ".6g", "firing_rate": ".6g", "escape_rate": ".6g", "relaxation_depth": ".4g"}


def whole_kernel(layer: CountedLayer, grid: CountGrid) -> Transition:
    """The transition kernel of equal layers, with whole tails."""
    smooth = smooth_in_count(layer)
    if not smooth and grid.width > LARGEST_MATRIX:
        rule = f"has a stationary state up to width {LARGEST_MATRIX} only: its firing probability needs integer counts"
        raise DomainError("weights", layer.law, rule)
    if grid.width > EXACT_WIDTH and smooth:
        grid = count_grid(grid.width, exact_width=EXACT_WIDTH)
    return Transition(grid, *firing(layer, grid.counts), WHOLE_TAIL)


def quasi_stationary(layer: CountedLayer, kernel: Transition, inside: np.ndarray, start: np.ndarray) -> QuasiStationary:
    """The state conditioned on the counts ``inside``; see :meth:`varflow.SpikeChain.quasi_stationary`."""
    mass, escape, survival = settled(kernel, inside, start)
    if not survival:
        gain, rule = float(np.sqrt(layer.weight_variance * layer.fan_in)) / layer.input_scale, "sustains no activity"
        raise DomainError("gain", gain, f"{rule}: every layer is followed by silence; see vf.critical_gain")
    values = eigenvalues(kernel.with_tail(TAIL), inside)
    second = abs(values[1]) / survival if len(values) > 1 and abs(values[1]) > HIDDEN else 0.0
    return QuasiStationary(*summary(layer, kernel.target, mass), escape, depth_of(second))


def summary(layer: CountedLayer, grid: CountGrid, mass: np.ndarray) -> tuple[CountLaw, float, float, float, float]:
    """The count's distribution, and mean and standard deviation of the sample variance and of the firing rate."""
    law = CountLaw(grid.counts, frozen(mass), grid.width)
    return law, *law.variance_moments(layer), law.firing_rate, law.firing_rate_std


def settled(kernel: Transition, inside: np.ndarray, start: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Quasi-stationary distribution, escape rate and its complement; zeros, 1 and 0 if all leave within one layer."""
    mass, escape, change = np.where(inside, start, 0.0) / start[inside].sum(), 0.0, 0.0
    for _ in range(LONGEST):
        previous, before, change_before = mass, escape, change
        following = kernel.push(mass)
        left = float(following[~inside].sum())
        following[~inside] = 0.0
        stay = float(following.sum())
        if stay < SMALLEST:
            return np.zeros_like(mass), 1.0, 0.0
        escape = left / (left + stay)
        mass = KEPT * mass + (1 - KEPT) * following / stay
        change = abs(escape - before)
        if _steady(escape, change, change_before) and np.abs(mass - previous).sum() < SETTLED:
            return np.where(mass > SMALLEST, mass, 0.0), escape, stay / (left + stay)
    raise ConvergenceError(f"the quasi-stationary distribution did not settle within {LONGEST} layers", mass)


def alive_after(kernel: Transition, mass: np.ndarray, layers: int) -> float:
    """``P(K > 0)`` so many layers later. Once the distribution given life has settled, survival falls by ``1 - r`` per layer.

    Where silence is not absorbing, the distribution itself settles.
    """
    absorbing = bool(kernel.p[0] == 0)
    lives = np.where(absorbing & (kernel.target.counts == 0), 0.0, 1.0)
    mass, silent, change = mass * lives, 0.0, 0.0
    for left in range(layers - 1, -1, -1):
        previous, before, change_before = mass, silent, change
        following = kernel.push(mass)
        if (alive := float((mass := following * lives).sum())) < SMALLEST:
            return 0.0
        silent = float(following[0] / following.sum())
        change = abs(silent - before)
        if _steady(silent, change, change_before) and np.abs(mass / alive - previous / previous.sum()).sum() < SETTLED:
            return float(mass[1:].sum()) * (
                float((1.0 - silent) ** left if silent > 1e-3 else np.exp(left * np.log1p(-silent))) if absorbing else 1.0
            )
    return float(mass[1:].sum())


def _steady(value: float, change: float, before: float) -> bool:
    """True if changes that shrink geometrically, the last two being ``before`` and ``change``, add up to a negligible one."""
    shrink = min(change / before, 1.0) if before > 0 else 1.0
    # 1e-13: relative error of the escape rate left by stopping
    return change * shrink <= 1e-13 * value * (1 - shrink) or change <= 4e-16 * value


def eigenvalues(kernel: Transition, inside: np.ndarray | None = None, mass: np.ndarray | None = None) -> np.ndarray:
    """The largest eigenvalues by size: of the chain restricted to ``inside``, or without the eigenvalue 1 of ``mass``."""
    sparse = require("scipy", "scipy.sparse.linalg")
    size = len(kernel.target)
    counts, mass = np.arange(size) if inside is None else np.flatnonzero(inside), np.zeros(size) if mass is None else mass

    def pull(v: np.ndarray) -> np.ndarray:
        full = np.zeros(size)
        full[counts] = np.ravel(v)
        return (kernel.pull(full) - mass @ full)[counts]

    start = kernel.target.counts[counts] + 1.0
    if len(counts) <= 256:  # few counts: all eigenvalues
        values = np.linalg.eigvals(kernel.dense()[np.ix_(counts, counts)] - mass[counts])
    elif not pull(start).any():
        values = np.zeros(1)
    else:
        chain = sparse.LinearOperator((len(counts),) * 2, matvec=pull, dtype=float)
        try:
            values = sparse.eigs(chain, k=2, v0=start, tol=1e-10, return_eigenvectors=False)
        except sparse.ArpackNoConvergence as error:  # the second eigenvalue is 0 within rounding
            values = error.eigenvalues
    return values[np.argsort(-np.abs(values))]


def depth_of(multiplier: float) -> float:
    """``-1/ln|m|`` layers; 0 or ``inf`` for a multiplier that equals 0 or 1 within rounding."""
    if multiplier <= HIDDEN:
        return 0.0
    return float(-1 / np.log(multiplier)) if multiplier < 1 - 1e-13 else np.inf


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Stationary(Listed, Drawn):
    """The stationary state of a deep network, for any drive, and the metastable states it switches between.

    Attributes
    ----------
    distribution : CountLaw
        Of the spike count; its mean over the phases if layers alternate.
    variance, variance_std : float
        Expected sample variance (ddof = 1) of a layer and its standard deviation over networks.
    firing_rate, firing_rate_std : float
    silence : float
        ``P(K = 0)``, to full relative accuracy.
    second_eigenvalue : complex
        ``λ₂``, the largest in size after 1: close to 1 if states are metastable, negative if layers alternate.
    relaxation_depth : float
        ``-1/ln|λ₂|``: layers over which the memory of the start decays by a factor e; ``inf`` above about 1e13, unless
        switching rates determine it.
    states : tuple of QuasiStationary
        The metastable states, ascending in firing rate, each conditioned on not having reached the typical count of another
        state; ``escape_rate`` is the rate of doing so. A single one if there is no other.
    weights : ndarray, shape (states,)
        Fraction of layers spent near each state.
    rates : ndarray, shape (states, states)
        ``rates[i, j]``: probability per layer of reaching the typical count of state j from state i.

    Examples
    --------
    >>> import varflow as vf
    >>> round(vf.SpikeChain(vf.Network(width=30, depth=8, gain=2.5, bias_std=0.3)).stationary().firing_rate, 3)
    0.016
    """

    distribution: CountLaw
    variance: float
    variance_std: float
    firing_rate: float
    firing_rate_std: float
    silence: float
    second_eigenvalue: complex
    relaxation_depth: float
    states: tuple[QuasiStationary, ...]
    weights: np.ndarray
    rates: np.ndarray
    listed: ClassVar = {"variance": ".6g", "firing_rate": ".6g", "silence": ".6g", "relaxation_depth": ".4g"}

    def _parts(self) -> list[tuple[str, str]]:
        return [*Listed._parts(self), ("states", str(len(self.states)))]


@dataclass(frozen=True, slots=True, repr=False)
class Lifetime(Listed):
    """Mean number of layers with at least one spike before the first silent one.

    Starting from the drive, and from the quasi-stationary state (NaN if silence is not absorbing).

    Examples
    --------
    >>> import varflow as vf
    >>> round(vf.SpikeChain(vf.Network(width=30, depth=8, gain=3.0)).lifetime().from_drive)  # layers
    123
    """

    from_drive: float
    from_quasi_stationary: float

    def _parts(self) -> list[tuple[str, str]]:
        return [(name, f"{getattr(self, name):.6g} layers") for name in ("from_drive", "from_quasi_stationary")]


def stationary(layer: CountedLayer, kernel: Transition) -> Stationary:
    """See :meth:`varflow.SpikeChain.stationary`."""
    typical, partings = metastable_counts(kernel)
    states, rates = _states(layer, kernel, typical, partings)
    if not _reach(rates).all(axis=0).any():
        rule = "gives switching rates below 1e-300 per layer: the weight of each metastable state"
        raise DomainError("width", layer.width, rule + " underflows; choose a narrower layer")
    mass = _balanced(kernel, _groups(kernel, partings))
    value = eigenvalues(kernel.with_tail(TAIL), mass=mass)[0]
    depth = depth_of(abs(value))
    law = summary(layer, kernel.target, mass)
    if len(typical) == 1:
        states = (QuasiStationary(*law, 0.0, depth),)
    else:
        slowest = _slowest(rates)
        # a small switching rate gives 1 - λ₂ more accurately than the eigenvalue does
        depth = float(-1 / np.log1p(-slowest)) if slowest < 1e-7 else depth
    around = np.searchsorted(partings, kernel.target.counts)
    weights = frozen(np.bincount(around, mass, len(typical)))
    return Stationary(*law, float(mass[0]), complex(value.real, abs(value.imag)), depth, states, weights, frozen(rates))


def layers_until_silence(kernel: Transition, start: np.ndarray) -> float:
    """Mean number ``T`` of live layers before the first silent one, for a first layer with distribution ``start``.

    Let every silent layer be followed by a layer with distribution ``start``. Two silent layers are then ``T`` live ones apart
    on average, so the stationary probability of silence is ``1/(1 + T)``.
    """
    _, partings = metastable_counts(kernel)
    mass = _balanced(kernel, _groups(kernel, partings), start)
    with np.errstate(divide="ignore"):
        return float(np.float64(mass[1:].sum()) / mass[0])


def metastable_counts(kernel: Transition) -> tuple[np.ndarray, np.ndarray]:
    """Typical counts of the metastable states, and the counts that separate them."""
    grid, n = kernel.target, kernel.target.width
    noisy = Transition(grid, grid.counts / n, 1 - grid.counts / n, TAIL)
    drift = noisy.pull(n * kernel.p - grid.counts)
    with np.errstate(divide="ignore"):
        held_silent, held_full = (n * np.log1p(-p) > -np.log(2) for p in (kernel.p[0], kernel.q[-1]))
    drift[0], drift[-1] = (-1.0 if held_silent else 1.0), (1.0 if held_full else -1.0)
    up = np.concatenate([[True], drift >= 0, [False]])
    turns = np.flatnonzero(up[1:] != up[:-1])
    between = np.concatenate([[0.0], 0.5 * (grid.counts[1:] + grid.counts[:-1]), [n]])[turns]
    return between[::2], between[1::2]


def _groups(kernel: Transition, partings: np.ndarray) -> np.ndarray:
    """The group of each count: one around each metastable state, one for silence, one for full activity."""
    cuts = np.unique([0.5, *partings, kernel.target.width - 0.5])
    return np.unique(np.searchsorted(cuts, kernel.target.counts), return_inverse=True)[1]


def _balanced(kernel: Transition, group: np.ndarray, restart: np.ndarray | None = None) -> np.ndarray:
    """The stationary distribution; with ``restart``, of the chain whose silence is followed by that distribution."""
    members = (group[:, None] == np.arange(group[-1] + 1)).astype(float)
    into = kernel.pull(members)
    if restart is not None:
        into[0] = restart @ members
    within = kernel.target.weights / (kernel.target.weights @ members)[group]
    chain, change, mass = np.zeros((members.shape[1],) * 2), 0.0, within
    for _ in range(LONGEST):
        chain_before, chain = chain, (within * members.T) @ into
        weights = _without_subtraction(chain)
        mass = weights[group] * within
        following = (1 - KEPT) * _one_layer_on(kernel, mass, restart) + KEPT * mass
        for lost in np.flatnonzero(weights == 0):  # groups of zero weight keep their own distribution
            alone = np.where(group == lost, within, 0.0)
            stay = np.where(group == lost, _one_layer_on(kernel, alone, restart), 0.0)
            following += KEPT * alone + (1 - KEPT) * (stay / stay.sum() if stay.sum() > SMALLEST else alone)
        within_before, within = within, following / (following @ members)[group]
        change_before, change = change, _change(chain, chain_before) + float(np.abs(within - within_before).sum())
        shrink = min(change / change_before, 1.0) if change_before > 0 else 1.0
        # the second: an error of 1e-12 is left
        if change < 1e-10 and (change * shrink <= 1e-12 * (1 - shrink) or change <= 1e-14):
            return mass / mass.sum()
    raise ConvergenceError(f"the stationary distribution did not settle within {LONGEST} rounds", mass)


def _one_layer_on(kernel: Transition, mass: np.ndarray, restart: np.ndarray | None) -> np.ndarray:
    if restart is None:
        return kernel.push(mass)
    return kernel.push(np.concatenate([[0.0], mass[1:]])) + mass[0] * restart


def _change(now: np.ndarray, before: np.ndarray) -> float:
    """The largest relative change of non-negligible entries."""
    seen = now > SMALLEST
    return float(np.max(np.abs(now - before)[seen] / now[seen]))


def _without_subtraction(chain: np.ndarray) -> np.ndarray:
    """Stationary distribution of a small chain by successive elimination of states (``grassmann1985``).

    With several closed classes, that of the classes reached from the first state.
    """
    reach = _reach(chain)
    closed = (reach <= reach.T).all(axis=1) & reach[0]  # members of closed classes
    closed &= reach[np.argmax(closed)]
    order = np.argsort(~closed, kind="stable")[: closed.sum()]
    chain = np.where(chain > SMALLEST, chain, 0.0)[np.ix_(order, order)]
    for k in range(len(order) - 1, 0, -1):
        chain[:k, k] /= chain[k, :k].sum()
        chain[:k, :k] += np.outer(chain[:k, k], chain[k, :k])
    law = np.ones(1)
    for k in range(1, len(order)):
        law = np.append(law, law @ chain[:k, k])
        law /= law.sum()
    out = np.zeros(len(reach))
    out[order] = np.where(law > SMALLEST, law, 0.0)
    return out


def _reach(chain: np.ndarray) -> np.ndarray:
    """True where a state is reachable from another."""
    return np.linalg.matrix_power((chain > SMALLEST) + np.eye(len(chain)), len(chain)) > 0


def _states(
    layer: CountedLayer, kernel: Transition, typical: np.ndarray, partings: np.ndarray
) -> tuple[tuple[QuasiStationary, ...], np.ndarray]:
    """The metastable states and the rates at which each reaches the typical counts of its neighbours."""
    counts, last = kernel.target.counts, len(typical) - 1
    around = np.searchsorted(partings, counts)
    rates, states = np.zeros((last + 1, last + 1)), []
    for i in range(last + 1 if last else 0):
        lower = counts <= typical[i - 1] if i > 0 else np.zeros(len(counts), bool)
        upper = counts >= typical[i + 1] if i < last else np.zeros(len(counts), bool)
        state = quasi_stationary(layer, kernel, ~(lower | upper), kernel.target.weights * (around == i))
        leaving = state.distribution.mass @ kernel.pull(np.column_stack([lower, upper]).astype(float))
        rates[i, [max(i - 1, 0), min(i + 1, last)]] = leaving
        states.append(state)
    np.fill_diagonal(rates, 0.0)
    return tuple(states), np.where(rates > SMALLEST, rates, 0.0)


def _slowest(rates: np.ndarray) -> float:
    """The smallest non-zero relaxation rate of a chain with exchange between neighbouring states.

    Its generator is similar to ``BᵀB`` with ``B`` bidiagonal, so there is no cancellation.
    """
    up, down = (np.sqrt(np.diag(rates, side))[:, None] for side in (1, -1))
    left, right = (np.eye(len(rates) - 1, len(rates), side) for side in (0, 1))
    return float(np.linalg.svd(left * up - right * down, compute_uv=False)[-1] ** 2)
