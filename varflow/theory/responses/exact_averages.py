r"""Exact averages over one normal number of a neuron: the newest innovation of its current, or all of it under a constant
drive.

Expected spikes are those of a membrane that is normal given the past. A layer whose currents have a covariance of rank one is
exact for every reset: currents ``c_t = μ_t + d_t z`` hold one standard normal number ``z`` per neuron, so membranes are
piecewise linear in it, ``H_t = a_t + b_t z``. The ``z`` axis is cut wherever a membrane crosses the threshold, at
``z = (θ - a_t)/b_t``. Each piece has one spike history, and its moments are those of a truncated normal:

.. math:: E[H_t] = \sum_{pieces} (a_t m_0 + b_t m_1), \qquad E[H_t^2] = \sum_{pieces} (a_t^2 m_0 + 2 a_t b_t m_1 + b_t^2 m_2),
          \qquad M(s, t) = \sum_{pieces} S_s S_t\, m_0, \qquad m_j = \int_{piece} z^j \varphi(z)\, dz
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy import special

from varflow.model.neurons import Neuron
from varflow.theory.layer import LAST_Z
from varflow.theory.responses.layer_state import LayerState
from varflow.theory.responses.step import Population, levels, membrane, spikes
from varflow.theory.roots import polynomial
from varflow.theory.signals.places import aligned
from varflow.theory.signals.shared_scale import SharedScale

REACH = 5.3  # standard deviations: the probability beyond is below 6e-8
NARROW = 0.45  # standard deviation in thresholds from which one harmonic of ``⌊H⌋`` suffices, within 2e-6
WIDE = 1.25  # the same from which sums over spike counts are integrals, within 1e-5

# -ln(Φ/(1-Φ)) = x N(x²)/D(x²), fitted here over |x| < 6: Φ within 1.1e-7 absolute, and 4e-4 relative for x > -4.
N = (-1.05822657e-04, -1.03461281e-02, -1.92318064e-01, -1.59577167)
D = (0.00310325, 0.07498618, 1.0)


def normal_cdf(x: np.ndarray) -> np.ndarray:
    """``Φ`` in the precision of ``x``; in single precision, a rational fit within 2.1e-7 that numpy vectorises."""
    if x.dtype != np.float32:
        return special.ndtr(x)
    x = np.clip(x, -16.0, 16.0)  # a copy, which the rest works on
    square = x * x
    x *= polynomial(N, square)
    x /= polynomial(D, square)
    with np.errstate(over="ignore"):
        np.exp(x, out=x)
    x += 1
    return np.reciprocal(x, out=x)


def expected_spikes(
    neuron: Neuron | Population, expected: np.ndarray, std: np.ndarray, before: np.ndarray, sampled: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """``E[S]`` and ``E[S²]`` for ``H ~ N(expected, (1 - g S_before)² std²)``, with ``g`` the reset's fraction of input lost.

    ``std`` has one value, or shape (…, 1). Where it is 0, ``sampled`` is returned: spikes drawn from the same distribution.
    """
    undecided = std >= 1e-30  # below, in units of the membrane's, its inverse leaves single precision, and nothing is open
    if not undecided.any():
        return sampled, sampled**2
    rule, spread = neuron.reset_rule, np.where(undecided, std, 1.0)
    if rule.counts:
        scaled = spread / (neuron.threshold * rule.spacing)
        first, second = _expected_count(levels(neuron, expected), scaled, rule.most)
        return np.where(undecided, first, sampled), np.where(undecided, second, sampled**2)
    inverse = np.where(undecided, 1 / spread, 0.0)
    above = expected - neuron.threshold
    chance = normal_cdf(above * inverse.astype(expected.dtype))
    if rule.input:  # a weighted mean is faster than np.where
        let_in, precision = 1 - rule.input, expected.dtype
        held = normal_cdf(above * (inverse / let_in).astype(precision)) if let_in else spikes(neuron, expected)
        held -= chance
        held *= before
        chance += held
    if not undecided.all():
        chance = np.where(undecided, chance, sampled)
    return chance, chance


def _expected_count(expected: np.ndarray, std: np.ndarray, limit: int | None) -> tuple[np.ndarray, np.ndarray]:
    """``E[S] = Σ_k P(S ≥ k)`` and ``E[S²] = Σ_k (2k - 1) P(S ≥ k)``, by the rule that fits the spread, in levels."""
    spread = np.asarray(std, expected.dtype)
    if limit is not None:
        chances = [normal_cdf((expected - k) / spread) for k in range(1, limit + 1)]
        return sum(chances), sum((2 * k - 1) * chance for k, chance in enumerate(chances, 1))  # pyright: ignore
    alike = spread.shape[-1:] in ((), (1,))  # at all points
    spread = np.broadcast_to(spread, (*expected.shape[:-1], 1 if alike else expected.shape[-1]))
    first, second = np.empty_like(expected), np.empty_like(expected)
    for rule, least, most in ((_summed_count, 0.0, NARROW), (_rippled_count, NARROW, WIDE), (_smooth_count, WIDE, np.inf)):
        fits = (spread >= least) & (spread < most)
        at = fits[..., 0] if alike else fits
        if at.any():
            first[at], second[at] = rule(expected[at], spread[at])
    return first, second


def _weighted_sums(weights: np.ndarray, of: Callable[[slice], np.ndarray], size: int) -> np.ndarray:
    """``weights @ P``, shape (rows of weights, size), of probabilities ``P`` that ``of`` gives part by part, (terms, part)."""
    # more would leave the cache
    sums, together = np.empty((len(weights), size), weights.dtype), max(2**14 // max(weights.shape[1], 1), 1)
    for part in (slice(start, start + together) for start in range(0, size, together)):
        np.matmul(weights, of(part), out=sums[:, part])
    return sums


def _summed_count(expected: np.ndarray, spread: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums over the ``k`` that are uncertain; probabilities of smaller ones are 1 within 6e-8."""
    reach = REACH * spread
    certain = np.maximum(np.floor(expected - reach), 0)
    most = min(float(np.max(expected + reach)), float(np.max(2 * reach)) + 2)
    j = np.arange(1, int(max(most, 0)) + 1, dtype=expected.dtype)
    steepness = np.broadcast_to(1 / spread, expected.shape).ravel()
    above = (expected - certain).ravel() * steepness
    weights = np.stack([np.ones_like(j), 2 * j - 1])  # 2k - 1 for k = j, and 2 c more for k = c + j
    sums = _weighted_sums(weights, lambda part: normal_cdf(above[part] - j[:, None] * steepness[part]), expected.size)
    first, second = sums.reshape(2, *expected.shape)
    return certain + first, certain**2 + 2 * certain * first + second


def _rippled_count(e: np.ndarray, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    r"""Moments of a count, from ``⌊H⌋ = H - 1/2 + Σ_n sin(2πnH)/(πn)``, whose average has one harmonic left, and ``P(H < -j)``,
    since negative values do not count. Where ``e < 0`` most are negative, and ``P(H ≥ j)`` is summed.
    """
    j = np.arange(int(REACH * float(s.max())) + 2, dtype=e.dtype)
    steepness = np.broadcast_to(1 / s, e.shape).ravel()
    below = -np.abs(e).ravel() * steepness
    weights = np.stack([np.ones_like(j), 2 * j + 1, np.where(j == 0, 1, 0)]).astype(e.dtype)
    sums = _weighted_sums(weights, lambda part: normal_cdf(below[part] - j[:, None] * steepness[part]), e.size)
    tails, squares, zeroth = sums.reshape(3, *e.shape)
    phase, ripple = 2 * math.pi * (e - np.rint(e)), np.exp(-2 * (math.pi * s) ** 2) / math.pi
    sine, cosine = ripple * np.sin(phase), ripple * np.cos(phase)
    whole = (e - 0.5) + sine
    square = e * (e - 1) + s * s + 1 / 3 + (2 * e - 1) * sine + (4 * math.pi * s * s + 1 / math.pi) * cosine
    first = np.where(e < 0, tails - zeroth, whole + tails)
    return first, np.where(e < 0, squares - 2 * tails + zeroth, square - squares)


def _smooth_count(e: np.ndarray, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    r"""The Euler–Maclaurin sums of ``f = Φ((e - k)/s)`` and ``k f`` over ``k ≥ 1``, to the fifth derivative at ``k = 0``."""
    z, r = e / s, 1 / s
    square = z * z
    below, density = normal_cdf(z), np.exp(-square / 2) / math.sqrt(2 * math.pi)
    tail = ((square - 6) * square + 3) * (r**5 / 30240) - (square - 1) * (r**3 / 720) + r / 12 + s
    first = np.maximum((e - 0.5) * below + density * tail, 0)
    tail = z * ((square - 3) * (r**4 / 3024) - r**2 / 120 + s * s)
    return first, np.maximum((e * e + s * s - 1 / 6) * below + density * tail - first, 0)


MOST_PIECES = 10_000  # of the z axis; sampling is then faster
TOGETHER = 64  # inputs or positions whose pieces are held at a time


def rank_one_layer(
    neuron: Neuron, mean: np.ndarray, covariance: np.ndarray, steps: int, shared: SharedScale | None = None
) -> LayerState | None:
    """The state of a layer of equal neurons whose currents have rank one for all inputs; else None.

    ``shared``: the scale that they were divided by, the same for all.
    """
    rule = neuron.reset_rule
    bounded, uneven = rule.lowest is not None or rule.most is not None or rule.spacing != 1, neuron.heterogeneous
    if uneven or bounded or rule.lasting or (shared is not None and shared.fraction.size > 1):
        return None
    replicas, states = max(len(mean), len(covariance)), []
    mean, covariance = (values.reshape(-1, *values.shape[2:]) for values in aligned(mean, covariance))
    directions = _directions(covariance)
    if directions is None:
        return None
    for start in range(0, len(directions), TOGETHER):
        some = slice(start, start + TOGETHER)
        state = rank_one(neuron, mean[some], directions[some], steps, shared)
        if state is None:
            return None
        states.append(state)
    columns = map(np.concatenate, zip(*states, strict=True))
    return LayerState(*(each.reshape(replicas, -1, *each.shape[1:]) for each in columns))


def _directions(covariance: np.ndarray) -> np.ndarray | None:
    """``d`` with ``d dᵀ`` equal to each covariance (inputs, steps, steps), or None."""
    variance, inputs = np.diagonal(covariance, axis1=1, axis2=2), np.arange(len(covariance))
    step = np.argmax(variance, axis=1)
    largest = np.maximum(variance[inputs, step], 0.0)
    direction = covariance[inputs, step] / np.sqrt(np.where(largest > 0, largest, 1.0))[:, None]
    rest = np.abs(covariance - direction[:, :, None] * direction[:, None, :]).max(axis=(1, 2))
    return direction if np.all(rest <= 1e-12 * largest) else None  # well above rounding


def rank_one(
    neuron: Neuron, mean: np.ndarray, direction: np.ndarray, steps: int, shared: SharedScale | None = None
) -> tuple[np.ndarray, ...] | None:
    """Variance, mean, rate and second moments of spikes of each input; None if there are too many pieces.

    ``mean`` and ``direction`` have shape (inputs, size). Sequences follow each other, each from rest and of ``steps`` steps.
    """
    inputs, size = mean.shape
    of, lower, upper = np.arange(inputs), np.full(inputs, -LAST_Z), np.full(inputs, LAST_Z)  # pieces: whose, from, to
    potential, second = np.empty((inputs, size)), np.empty((inputs, size))
    history: list[tuple[np.ndarray, np.ndarray | None]] = []  # per step: spikes of the pieces, and of which old ones they are
    linear = Population(0.0, neuron.decay, neuron.reset_rule, neuron.strict)  # of threshold 0: b has no constant part
    a = b = s = np.zeros(inputs)
    m0, m1, m2 = _moments(lower, upper)
    for t in range(size):
        if t % steps == 0:
            a = b = s = np.zeros(len(of))
        a, b = membrane(neuron, a, s, mean[of, t]), membrane(linear, b, s, direction[of, t])
        potential[:, t] = np.bincount(of, a * m0 + b * m1, inputs)
        second[:, t] = np.bincount(of, a**2 * m0 + 2 * (a * b) * m1 + b**2 * m2, inputs)
        piece, z = _crossings(neuron, lower, upper, a, b)
        origin = None
        if len(z):
            origin, lower, upper = _cut(lower, upper, piece, z)
            of, a, b = of[origin], a[origin], b[origin]
            if len(of) > MOST_PIECES and np.bincount(of).max() > MOST_PIECES:
                return None
            m0, m1, m2 = _moments(lower, upper)
        s = spikes(neuron, a + b * (lower + upper) / 2)
        history.append((s, origin))
    fired = _of_last_pieces(history)
    if shared is not None:
        m0 = _moments(*(np.clip(shared.passed(end), -LAST_Z, LAST_Z) for end in (lower, upper)))[0]
    own = np.split(np.arange(len(of)), np.flatnonzero(np.diff(of)) + 1)
    moments = np.stack([(fired[:, each] * m0[each]) @ fired[:, each].T for each in own])
    rate = np.stack([fired[:, each] @ m0[each] for each in own])
    return second - potential**2, potential, rate, moments


def _of_last_pieces(history: list[tuple[np.ndarray, np.ndarray | None]]) -> np.ndarray:
    """Spikes of every final piece at every step, shape (steps, pieces)."""
    at, fired = np.arange(len(history[-1][0])), np.empty((len(history), len(history[-1][0])))
    for t, (spikes_of_pieces, origin) in reversed(list(enumerate(history))):
        fired[t] = spikes_of_pieces[at]
        at = at if origin is None else origin[at]
    return fired


def _crossings(
    neuron: Neuron, lower: np.ndarray, upper: np.ndarray, a: np.ndarray, b: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Pieces, and ``z`` inside them where ``a + b z`` equals the threshold, or a multiple of it for neurons that count; both
    ascend.
    """
    piece, multiple = np.arange(len(a)), 1.0
    if neuron.reset_rule.counts:  # only those between the ends of a piece, and one more on each side
        ends = np.sort([a + b * lower, a + b * upper], axis=0) / neuron.threshold
        first, last = np.clip(np.floor(ends) + np.array([[0.0], [1.0]]), 1, MOST_PIECES)
        number = (last - first + 1).astype(int)
        piece = np.repeat(piece, number)
        a, b, lower, upper = a[piece], b[piece], lower[piece], upper[piece]
        multiple = first[piece] + np.arange(len(piece)) - np.repeat(np.cumsum(number) - number, number)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):  # infinite where a membrane is the same for all z
        z = (neuron.threshold * multiple - a) / b
    inside = np.flatnonzero((z > lower) & (z < upper))
    if neuron.reset_rule.counts:
        inside = inside[np.lexsort((z[inside], piece[inside]))]
    return piece[inside], z[inside]


def _cut(lower: np.ndarray, upper: np.ndarray, piece: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The old piece that each new one lies in, and the ends of the new ones."""
    origin = np.repeat(np.arange(len(lower)), np.bincount(piece, minlength=len(lower)) + 1)
    starts, ends, same = lower[origin], upper[origin], np.flatnonzero(origin[1:] == origin[:-1])
    starts[same + 1] = ends[same] = z
    return origin, starts, ends


def _moments(lower: np.ndarray, upper: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``m_0``, ``m_1`` and ``m_2`` of each piece."""
    sign = np.where(lower > 0, -1.0, 1.0)  # differences of the smaller tails
    mass = sign * (special.ndtr(sign * upper) - special.ndtr(sign * lower))
    below, above = (np.exp(-(edge**2) / 2) / np.sqrt(2 * np.pi) for edge in (lower, upper))
    return mass, below - above, mass - (upper * above - lower * below)
