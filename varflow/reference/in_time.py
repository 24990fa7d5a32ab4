"""Neurons in time, in mpmath: leaky ones without reset from layer to layer, and the first two steps with any reset.

Second moments of spikes are orthant probabilities; the two steps are integrated over the first membrane.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any, NamedTuple

from varflow._checks import DomainError
from varflow._mpmath import mp, mpf
from varflow.model.drive_kinds import ConstantCurrents, White
from varflow.model.network import Network, plain_chain
from varflow.model.neurons import Neuron, equal_neurons
from varflow.reference.digits import in_digits, integral, number
from varflow.reference.distributions import distribution_named
from varflow.reference.overlap import intervals, quadrant


class ExactMeanFieldInTime(NamedTuple):
    """Nested tuples of mpf, indexed ``[layer][step]``; ``second_moments[layer][t][s]`` is ``E[S_t S_s]``.

    Examples
    --------
    >>> import mpmath, varflow as vf
    >>> leaky = vf.Network(width=10, depth=1, gain=2.5, neuron=vf.Neuron(1.0, decay=0.5), steps=2)
    >>> mpmath.nstr(vf.reference.mean_field_in_time(leaky, digits=10).variance[0][1], 5)
    '2.25'
    """

    variance: tuple[Any, ...]
    potential_mean: tuple[Any, ...]
    firing_rate: tuple[Any, ...]
    second_moments: tuple[Any, ...]


@in_digits
def mean_field_in_time(network: Network, *, digits: int = 50) -> ExactMeanFieldInTime:
    r"""Every layer and step of a network of leaky neurons without reset, at infinite width.

    .. math:: H_t = \sum_{s \le t} \lambda_{t-s} I_s, \quad \lambda_j = \lambda \sum_{i=0}^{j} \beta^i \alpha_s^{j-i}, \qquad
              M(t, t') = P(H_t > \theta, H_{t'} > \theta), \qquad
              \mathrm{Cov}[I'_t, I'_{t'}] = g^2 M(t - d, t' - d) + \sigma_b^2, \quad E[I'_t] = m_g M(t - d, t - d)

    Parameters
    ----------
    network : Network
        Each pair of steps in each layer costs an integral. Numbers mean their exact binary values.
    digits : int
        Accuracy while rounding errors, amplified from layer to layer, stay within the 15 guard digits. Where the potentials of
        two steps have a correlation ``1 - ε``, their second moment varies as ``√ε`` and loses digits.

    Returns
    -------
    ExactMeanFieldInTime
        ``.variance``, ``.potential_mean``, ``.firing_rate``, ``.second_moments`` (the matrices ``M``).

    Raises
    ------
    DomainError
        For a reset, a drive with several inputs or given currents, or weights of fixed in-degree.

    Notes
    -----
    **Assumes** infinite width. Drives other than ``currents`` and ``white`` enter by their covariance in double precision.
    **Source**: the definition of the network.

    Examples
    --------
    At ``β = 1/2`` a constant current of variance 1 adds up to the variance ``(1 + 1/2)² = 2.25``:

    >>> import mpmath, varflow as vf
    >>> leaky = vf.Network(width=10, depth=2, gain=2.5, neuron=vf.Neuron(1.0, decay=0.5), steps=2)
    >>> exact = vf.reference.mean_field_in_time(leaky, digits=15)
    >>> print(*(mpmath.nstr(V, 6) for V in exact.variance[0] + exact.variance[1]))
    1.0 2.25 0.991595 2.81757
    """
    _check(network)
    neuron, T = network.neuron, network.steps
    theta, kernel = number("threshold", neuron.threshold), _kernel(neuron, T)
    mean, covariance = [mpf(0)] * T, _drive(network)
    layers = []
    for gain, mean_gain in zip([*network.gains[1:].tolist(), 0.0], [*network.mean_gains[1:].tolist(), 0.0], strict=True):
        mu, V = list(kernel * mp.matrix(mean)), (kernel * mp.matrix(covariance) * kernel.T).tolist()
        M = _second_moments(theta, neuron.strict, mu, V, digits)
        rates = [M[t][t] for t in range(T)]
        layers.append(([V[t][t] for t in range(T)], mu, rates, M))
        d, bias2 = neuron.delay, mpf(network.bias_std) ** 2
        mean = [mpf(mean_gain) * rates[t - d] if t >= d else mpf(0) for t in range(T)]
        covariance = [[bias2 + (mpf(gain) ** 2 * M[t - d][s - d] if min(t, s) >= d else 0) for s in range(T)] for t in range(T)]
    return ExactMeanFieldInTime(*zip(*layers, strict=True))


def _check(network: Network) -> None:
    equal_neurons(plain_chain(network).neuron, "vf.mean_field(network)")
    if not network.neuron.reset_rule.absent:
        raise DomainError("reset", network.neuron.reset, "must be 'none' here; vf.reference.two_steps takes any reset")
    if network.neuron.longer_filter:
        raise DomainError("neuron", network.neuron, "must have an exponential synapse, without delay")
    if network.drive.n_inputs > 1:
        raise DomainError("drive", network.drive, "must be a single input: call once for each")
    network.weight_law.need_variance()
    if network.weight_law.in_degree is not None:
        raise DomainError("weights", network.weight_law, "has a fixed in-degree, which is not supported here")


def _drive(network: Network) -> list[list[Any]]:
    drive, T = network.drive, network.steps
    if isinstance(drive, (ConstantCurrents, White)):
        square, held = mpf(drive.std) ** 2, isinstance(drive, ConstantCurrents)
        return [[square if held or t == s else mpf(0) for s in range(T)] for t in range(T)]
    return [[mpf(x) for x in row] for row in drive.covariance(T)[0].tolist()]


def _kernel(neuron: Neuron, T: int) -> Any:
    """The matrix of ``H_t = Σ_s kernel[t, s] I_s``."""
    scale, beta, alpha = (mpf(x) for x in (neuron.input_scale, neuron.decay, neuron.synaptic_decay))
    answer = [scale * mp.fsum(beta**i * alpha ** (j - i) for i in range(j + 1)) for j in range(T)]
    return mp.matrix([[answer[t - s] if s <= t else mpf(0) for s in range(T)] for t in range(T)])


def _second_moments(theta: Any, strict: bool, mu: list[Any], V: list[list[Any]], digits: int) -> list[list[Any]]:
    T = len(mu)
    h = [_standardised(theta - mu[t], V[t][t], strict) for t in range(T)]
    M = [[mpf(0)] * T for _ in range(T)]
    for t in range(T):
        M[t][t] = quadrant(h[t], h[t], mpf(1), digits)
        for s in range(t):
            M[t][s] = M[s][t] = quadrant(h[t], h[s], _correlation(V[t][t], V[s][s], V[t][s]), digits)
    return M


def _standardised(margin: Any, variance: Any, strict: bool) -> Any:
    if variance > 0:
        return margin / mp.sqrt(variance)
    return -mp.inf if margin < 0 or (margin == 0 and not strict) else mp.inf


def _correlation(before: Any, after: Any, covariance: Any) -> Any:
    """``ρ``, and ±1 where ``1 - ρ²`` is below the rounding error."""
    if before == 0 or after == 0:
        return mpf(0)
    one_minus_square = 1 - covariance**2 / (before * after)
    if one_minus_square < mpf(10) ** (5 - mp.dps):
        return mpf(1) if covariance > 0 else mpf(-1)
    return covariance / mp.sqrt(before * after)


class TwoSteps(NamedTuple):
    """Moments of potentials and spikes at steps 1 and 2, in mpf; ``second_moments[t][s]`` is ``E[S_t S_s]``.

    Examples
    --------
    >>> import mpmath, varflow as vf
    >>> found = vf.reference.two_steps(vf.Neuron(1.0, decay=0.5), covariance=((1, 1), (1, 1)), digits=10)
    >>> mpmath.nstr(found.firing_rate[1], 6)
    '0.252493'
    """

    variance: tuple[Any, Any]
    potential_mean: tuple[Any, Any]
    firing_rate: tuple[Any, Any]
    second_moments: tuple[tuple[Any, Any], tuple[Any, Any]]


class _Piece(NamedTuple):
    """``H_1 = μ + σ x`` with ``lo < x < hi`` makes ``spikes`` spikes; then ``H_2 = a x + b + s z``. x and z are N(0, 1)."""

    lo: Any
    hi: Any
    spikes: int
    a: Any
    b: Any
    s: Any


@in_digits
def two_steps(neuron: Neuron, *, covariance: Any, mean: Any = (0, 0), digits: int = 50) -> TwoSteps:
    r"""Moments of the first two steps of a neuron with any reset, under normal currents.

    .. math:: E[f(H_1, S_1, H_2)] = \int \varphi(x)\, E\bigl[f \mid H_1 = \mu + \sigma x\bigr]\, dx

    split where the number of spikes ``S_1`` changes.

    Parameters
    ----------
    neuron : Neuron
    covariance : 2 × 2 nested sequence
        ``Cov[I_t, I_t']`` of the currents, before input scale and synaptic filter.
    mean : pair
        ``(E[I_1], E[I_2])``.
    digits : int
        Accuracy, relative to the largest spike probability.

    Returns
    -------
    TwoSteps
        ``.variance .potential_mean .firing_rate .second_moments``.

    Raises
    ------
    DomainError
        Where the first current has no variance or ``covariance`` is not a covariance matrix, or where the threshold lies
        more than 10⁶ standard deviations above the mean current.

    Notes
    -----
    **Source**: the definition of the neuron; see :class:`varflow.Neuron`.

    Examples
    --------
    The firing rate at step 2 under a constant current depends on the reset:

    >>> import mpmath, varflow as vf
    >>> held = ((1, 1), (1, 1))
    >>> for reset in ("none", "subtract", "delayed_subtract", "zero", "gate"):
    ...     neuron = vf.Neuron(1.0, decay=0.5, reset=reset)
    ...     print(mpmath.nstr(vf.reference.two_steps(neuron, covariance=held, digits=10).firing_rate[1], 6))
    0.252493
    0.252493
    0.185049
    0.252493
    0.0938373
    """
    equal_neurons(neuron, "vf.mean_field of a network")
    rule = neuron.reset_rule
    if neuron.longer_filter or rule.lasting or rule.spacing != 1 or rule.most is not None:
        raise DomainError(
            "neuron",
            neuron,
            "must not adapt, nor count with spacing or limit, nor have an integer register; its synapse must be exponential",
        )
    (C11, C12, C21, C22), (m1, m2) = _numbers("covariance", covariance, (2, 2)), _numbers("mean", mean, (2,))
    excess = C12**2 - C11 * C22
    if not (C11 > 0 and C12 == C21 and excess <= C12**2 * mpf(10) ** -14):
        raise DomainError("covariance", covariance, "must be a covariance matrix whose first variance is positive")
    scale, alpha = mpf(neuron.input_scale), mpf(neuron.synaptic_decay)
    m1, m2 = scale * m1, scale * (alpha * m1 + m2)
    C11, C12, C22 = scale**2 * C11, scale**2 * (alpha * C11 + C12), scale**2 * (alpha**2 * C11 + 2 * alpha * C12 + C22)
    conditional_variance = C22 - C12**2 / C11
    spread = mp.sqrt(conditional_variance) if conditional_variance > C22 * mpf(10) ** (5 - mp.dps) else mpf(0)
    if mpf(neuron.threshold) - m1 > 10**6 * mp.sqrt(C11):  # spike probabilities are 10^(-2e11) there
        raise DomainError("neuron", neuron, "needs a threshold at most 10^6 standard deviations above the mean current")
    pieces = _pieces(neuron, m1, mp.sqrt(C11), m2, C12 / mp.sqrt(C11), spread, digits)
    return _moments(neuron, pieces, m1, C11, digits)


def _numbers(name: str, values: Any, shape: tuple[int, ...]) -> list[Any]:
    """The exact numbers of a vector or matrix."""
    flat: list[Any] = []
    try:
        flat = [*values] if len(shape) == 1 else [x for row in values for x in row]
        fits = len(values) == 2 and len(flat) == math.prod(shape)
    except Exception:  # values may be objects of any kind
        fits = False
    if not fits:
        raise DomainError(name, values, f"must have shape {shape}")
    return [number(name, x) for x in flat]


def _pieces(neuron: Neuron, m1: Any, std: Any, m2: Any, slope: Any, spread: Any, digits: int) -> list[_Piece]:
    """Intervals of ``x`` by spikes at step 1, given the filtered currents ``m1 + std x`` and ``m2 + slope x + spread z``."""
    theta, cuts = mpf(neuron.threshold), [-mp.inf, (mpf(neuron.threshold) - m1) / std]
    if neuron.reset_rule.counts:
        for k in range(2, _highest(neuron, m1, std, digits) + 1):
            cuts.append((k * theta - m1) / std)
    cuts.append(mp.inf)
    pieces = []
    for S, (lo, hi) in enumerate(pairwise(cuts)):
        for start, end, keep, into, off in _bounded(neuron, lo, hi, m1, std, *_coefficients_after(neuron, S, theta)):
            pieces.append(_Piece(start, end, S, keep * std + into * slope, keep * m1 + into * m2 - off, into * spread))
    return pieces


def _bounded(neuron: Neuron, lo: Any, hi: Any, m1: Any, std: Any, keep: Any, into: Any, off: Any) -> list[tuple[Any, ...]]:
    """An interval of ``x``, cut where what is left of the first membrane reaches its lower bound."""
    if neuron.reset_rule.lowest is None:
        return [(lo, hi, keep, into, off)]
    least = mpf(neuron.decay) * mpf(neuron.reset_rule.lowest) * mpf(neuron.threshold)
    cut = ((least + off) / keep - m1) / std if keep else (-mp.inf if -off >= least else mp.inf)
    cut = min(max(cut, lo), hi)
    pieces = [(lo, cut, mpf(0), into, -least), (cut, hi, keep, into, off)]
    return [piece for piece in pieces if piece[0] < piece[1]]


def _coefficients_after(neuron: Neuron, S: int, theta: Any) -> tuple[Any, Any, Any]:
    """``(keep, into, off)`` of ``H_2 = keep · H_1 + into · c_2 - off`` after ``S`` spikes."""
    reset, beta = neuron.reset_rule, mpf(neuron.decay)
    keep, into, off = beta * (1 - mpf(reset.membrane) * S), 1 - mpf(reset.input) * S, mpf(reset.threshold) * theta * S
    return keep, into, off if reset.delayed else beta * off


def _highest(neuron: Neuron, mean: Any, std: Any, digits: int) -> int:
    """The most spikes at a potential ``N(mean, std²)``: more have a probability below ``10^-(digits + 3)``."""
    return max(1, int((mean + std * mp.sqrt(2 * mp.ln(10) * (digits + 3))) / mpf(neuron.threshold)) + 1)


def _moments(neuron: Neuron, pieces: list[_Piece], m1: Any, V1: Any, digits: int) -> TwoSteps:
    mass = [_truncated(piece.lo, piece.hi) for piece in pieces]
    p1 = mp.fsum(piece.spikes * m[0] for piece, m in zip(pieces, mass, strict=True))
    square1 = mp.fsum(piece.spikes**2 * m[0] for piece, m in zip(pieces, mass, strict=True))
    H = mp.fsum(q.a * m[1] + q.b * m[0] for q, m in zip(pieces, mass, strict=True))
    H2 = mp.fsum(q.a**2 * m[2] + 2 * q.a * q.b * m[1] + (q.b**2 + q.s**2) * m[0] for q, m in zip(pieces, mass, strict=True))
    levels = 1
    if neuron.reset_rule.counts:
        levels = max(_highest(neuron, q.b, abs(q.a) + q.s, digits) for q in pieces)
    exceedances = [[_exceeding(neuron, q, k * mpf(neuron.threshold), digits) for k in range(1, levels + 1)] for q in pieces]
    p2 = mp.fsum(x for row in exceedances for x in row)
    square2 = mp.fsum((2 * k + 1) * x for row in exceedances for k, x in enumerate(row))  # E[S²] = Σ_k (2k - 1) P(S ≥ k)
    both = mp.fsum(q.spikes * x for q, row in zip(pieces, exceedances, strict=True) for x in row)

    return TwoSteps((V1, H2 - H**2), (m1, H), (p1, p2), ((square1, both), (both, square2)))


def _truncated(lo: Any, hi: Any) -> tuple[Any, Any, Any]:
    """``∫ φ``, ``∫ x φ``, ``∫ x² φ`` from ``lo`` to ``hi``."""
    normal = distribution_named("normal")
    tail = normal.tail(lo) - normal.tail(hi) if lo > 0 or mp.isinf(hi) else normal.tail(-hi) - normal.tail(-lo)
    ends = [(mpf(0), mpf(0)) if mp.isinf(x) else (normal.density(x), x * normal.density(x)) for x in (lo, hi)]
    return tail, ends[0][0] - ends[1][0], tail + ends[0][1] - ends[1][1]


def _exceeding(neuron: Neuron, piece: _Piece, level: Any, digits: int) -> Any:
    """``P(lo < x < hi, H_2 > level)``."""
    normal, (lo, hi, _, a, b, s) = distribution_named("normal"), piece
    if s == 0 and a == 0:
        fires = b > level or (b == level and not neuron.strict)
        return _truncated(lo, hi)[0] if fires else mpf(0)
    step = (level - b) / a if a else mpf(0)
    if s == 0:
        lo, hi = (max(lo, step), hi) if a > 0 else (lo, min(hi, step))
        return _truncated(lo, hi)[0] if lo < hi else mpf(0)
    ends = intervals(lo, hi, [step] if a else [], s / abs(a) if a else mpf(1))
    return integral(lambda x: normal.density(x) * normal.tail((level - b - a * x) / s), ends, digits)
