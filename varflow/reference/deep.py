"""Deep, narrow networks in mpmath: those that can leave silence, and those conditioned on being alive.

The former have a stationary distribution of spike counts and switching rates, the latter a quasi-stationary distribution, a
relaxation depth and a lifetime.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from varflow._checks import ConvergenceError, DomainError
from varflow._mpmath import mp, mpf
from varflow.reference.chain import LONGEST, MOST_EIGENVALUES, Chain, binomial, chain_of, layer_moments, push, solved
from varflow.reference.digits import at_least_zero, in_digits


class ExactStationary(NamedTuple):
    """A deep layer, in mpf numbers; ``distribution[k] = P(K = k)``, ``silence = P(K = 0)``.

    Examples
    --------
    >>> import mpmath, varflow as vf
    >>> mpmath.nstr(vf.reference.stationary(threshold=1, gain=2.5, bias_std=0.3, width=4, digits=15).silence, 6)
    '0.995022'
    """

    distribution: tuple[Any, ...]
    variance: Any
    variance_std: Any
    firing_rate: Any
    firing_rate_std: Any
    silence: Any


@in_digits
def stationary(
    *, threshold: float, gain: float, width: int, bias_std: float = 0.0, mean_gain: float = 0.0, digits: int = 50
) -> ExactStationary:
    r"""The stationary state of a narrow, deep network with normal weights, which does not depend on its drive.

    .. math:: \nu_j = \sum_k \nu_k P_{kj}, \qquad \sum_k \nu_k = 1

    Parameters
    ----------
    threshold, gain, width, bias_std, mean_gain
        As in :func:`varflow.reference.spike_counts`.
    digits : int
        Accuracy of every probability; the linear system loses ``log10(1/r)`` digits at a smallest switching rate ``r``, of
        which 15 are guard digits.

    Returns
    -------
    ExactStationary
        ``.distribution .variance .variance_std .firing_rate .firing_rate_std .silence``.

    Raises
    ------
    DomainError
        For a number outside its domain or a width above 200.

    Notes
    -----
    **Source**: derived here: the balance equations, solved by LU decomposition.

    Examples
    --------
    >>> import mpmath, varflow as vf
    >>> mpmath.nstr(vf.reference.stationary(threshold=1, gain=2.5, bias_std=0.3, width=8, digits=20).silence, 12)
    '0.984255994379'
    """
    chain = chain_of(width, threshold, gain, bias_std, mean_gain)
    size = chain.width + 1
    balance = mp.matrix(chain.transitions()).T - mp.eye(size)
    balance[size - 1, :] = mp.ones(1, size)  # in place of one balance equation, which follows from the others
    distribution = solved(balance, [0] * chain.width + [1], mean_gain)
    return ExactStationary(tuple(distribution), *layer_moments(chain, distribution), distribution[0])


@in_digits
def second_eigenvalue(
    *, threshold: float, gain: float, width: int, bias_std: float = 0.0, mean_gain: float = 0.0, digits: int = 20
) -> Any:
    r"""The eigenvalue ``λ₂`` of the chain of spike counts that is largest in modulus, after the 1 of the stationary state.

    Parameters
    ----------
    threshold, gain, width, bias_std, mean_gain
        As in :func:`varflow.reference.spike_counts`; width at most 40.
    digits : int
        Working digits, 15 guard digits aside.

    Returns
    -------
    mpf, or mpc with a positive imaginary part

    Raises
    ------
    DomainError
        For a number outside its domain or a width above 200.

    Examples
    --------
    >>> import mpmath, varflow as vf
    >>> mpmath.nstr(vf.reference.second_eigenvalue(threshold=-1, gain=1, bias_std=0.3, mean_gain=-4, width=10), 12)
    '-0.999988609614'
    """
    chain = chain_of(width, threshold, gain, bias_std, mean_gain)
    if chain.width > MOST_EIGENVALUES:
        raise DomainError("width", width, f"must be at most {MOST_EIGENVALUES}: every eigenvalue is computed")
    values = sorted(mp.eig(mp.matrix(chain.transitions()), left=False, right=False), key=lambda value: abs(value - 1))[1:]
    value = max(values, key=abs)
    if abs(mp.im(value)) <= abs(value) * mpf(10) ** -digits:
        return mp.re(value)
    return mp.mpc(mp.re(value), abs(mp.im(value)))


@in_digits
def switching_rates(
    *, threshold: float, gain: float, width: int, bias_std: float = 0.0, mean_gain: float = 0.0, digits: int = 50
) -> tuple[tuple[Any, ...], ...]:
    r"""Probability per layer that a narrow network with normal weights passes from one metastable state to another.

    Parameters
    ----------
    threshold, gain, width, bias_std, mean_gain
        As in :func:`varflow.reference.spike_counts`.
    digits : int
        Relative accuracy of every rate.

    Returns
    -------
    tuple of tuples of mpf
        ``[i][j]``: probability per layer that a network settled in state ``i`` reaches the typical spike count of state ``j``;
        states in order of firing rate.

    Raises
    ------
    DomainError
        For a number outside its domain or a width above 200.
    ConvergenceError
        If the distribution within a state does not settle within 20000 layers.

    Notes
    -----
    A state is defined as in :meth:`varflow.SpikeChain.stationary`: a count ``K`` at which the drift ``n π_K - K``, averaged
    over a binomial count of mean ``K``, changes from positive to negative. Silence is a state if ``P(0 → 0) > 1/2``, full
    activity if ``P(n → n) > 1/2``.
    **Source**: derived here.

    Examples
    --------
    >>> import mpmath, varflow as vf
    >>> rates = vf.reference.switching_rates(threshold=1, gain=3, bias_std=0.25, width=12, digits=20)
    >>> mpmath.nstr(rates[0][1], 12), mpmath.nstr(rates[1][0], 12)
    ('0.000252039856174', '0.0552941410767')
    """
    chain = chain_of(width, threshold, gain, bias_std, mean_gain)
    rows, typical = chain.transitions(), typical_counts(chain)
    if len(typical) == 1:
        return ((mpf(0),),)
    rates = [[mpf(0)] * len(typical) for _ in typical]
    for i in range(len(typical)):
        low = typical[i - 1][0] if i > 0 else -1  # at or below low: the typical count of the state below
        high = typical[i + 1][1] if i + 1 < len(typical) else chain.width + 1
        distribution = _settled(rows, low, high, averaged=True)
        following = push(distribution, rows)
        for j, arriving in ((i - 1, following[: low + 1]), (i + 1, following[high:])):
            if arriving:
                rates[i][j] = mp.fsum(arriving)
    return tuple(tuple(row) for row in rates)


def typical_counts(chain: Chain) -> list[tuple[int, int]]:
    """The two neighbouring counts, for every state, between which the averaged drift changes from positive to negative."""
    n = chain.width
    drift = [n * chain.firing(count) - count for count in range(n + 1)]
    averaged = [mp.fdot(binomial(n, mpf(count) / n), drift) for count in range(n + 1)]
    rises = [averaged[count] >= 0 for count in range(n + 1)]
    rises[0], rises[n] = chain.transitions()[0][0] < mpf(1) / 2, chain.transitions()[n][n] > mpf(1) / 2
    ends = [(0, 0)] if not rises[0] else []
    ends += [(count, count + 1) for count in range(n) if rises[count] and not rises[count + 1]]
    return ends + ([(n, n)] if rises[n] else [])


def _settled(rows: list[list[Any]], low: int, high: int, *, averaged: bool) -> list[Any]:
    """Quasi-stationary distribution of networks whose counts stayed between ``low`` and ``high``, both exclusive.

    Power iteration; two consecutive layers are ``averaged`` where alternation has to die out.
    """
    inside, inertia = rows[low + 1 : high], mpf(averaged) / 2
    distribution = [mpf(1) / len(inside)] * len(inside)
    for _ in range(LONGEST):
        before, following = distribution, push(distribution, inside)[low + 1 : high]
        total = mp.fsum(following)
        distribution = [(1 - inertia) * p / total + inertia * q for p, q in zip(following, before, strict=True)]
        if all(abs(p - q) <= mpf(10) ** (5 - mp.dps) * p for p, q in zip(distribution, before, strict=True)):
            return [mpf(0)] * (low + 1) + distribution + [mpf(0)] * (len(rows) - high)
    raise ConvergenceError(f"the quasi-stationary distribution did not settle within {LONGEST} layers", distribution)


class ExactQuasiStationary(NamedTuple):
    """A deep layer that is still alive, in mpf numbers; ``distribution[k] = P(K = k | K > 0)``.

    Examples
    --------
    >>> import mpmath, varflow as vf
    >>> mpmath.nstr(vf.reference.quasi_stationary(threshold=1, gain=3, width=4, digits=15).escape_rate, 6)
    '0.265672'
    """

    distribution: tuple[Any, ...]
    variance: Any
    variance_std: Any
    firing_rate: Any
    firing_rate_std: Any
    escape_rate: Any


class ExactLifetime(NamedTuple):
    """Mean number of layers before the first silent one, in mpf numbers.

    Examples
    --------
    >>> import mpmath, varflow as vf
    >>> mpmath.nstr(vf.reference.lifetime(threshold=1, gain=3, width=4, digits=15).from_drive, 6)
    '1.83236'
    """

    from_drive: Any
    from_quasi_stationary: Any


@in_digits
def quasi_stationary(
    *, threshold: float, gain: float, width: int, mean_gain: float = 0.0, digits: int = 50
) -> ExactQuasiStationary:
    r"""The state of a narrow, deep network with normal weights given that it is alive, and its escape rate ``r`` to silence.

    .. math:: \nu_j = \frac{\sum_{k>0} \nu_k P_{kj}}{1 - r}, \quad j > 0, \qquad r = \sum_{k>0} \nu_k (1 - \pi_k)^n

    Parameters
    ----------
    threshold, gain, width, mean_gain
        As in :func:`varflow.reference.spike_counts`; ``θ ≥ 0``.
    digits : int
        Relative accuracy of the escape rate.

    Returns
    -------
    ExactQuasiStationary
        ``.distribution .variance .variance_std .firing_rate .firing_rate_std .escape_rate``.

    Raises
    ------
    DomainError
        For a negative threshold (neurons at rest fire, so silence is not absorbing), a number outside its domain or a width
        above 200.
    ConvergenceError
        If the distribution does not settle within 20000 layers.

    Notes
    -----
    Power iteration of the chain among live states.
    **Source**: ``darroch1965``.

    Examples
    --------
    >>> import mpmath, varflow as vf
    >>> mpmath.nstr(vf.reference.quasi_stationary(threshold=1, gain=3, width=10, digits=20).escape_rate, 12)
    '0.0855243086972'
    """
    chain = _final(threshold, gain, width, mean_gain)
    dying = [(1 - chain.firing(count)) ** chain.width for count in range(1, chain.width + 1)]
    distribution = _settled(chain.transitions(), 0, chain.width + 1, averaged=False)
    return ExactQuasiStationary(tuple(distribution), *layer_moments(chain, distribution), mp.fdot(distribution[1:], dying))


@in_digits
def relaxation_depth(*, threshold: float, gain: float, width: int, mean_gain: float = 0.0, digits: int = 20) -> Any:
    r"""Layers over which the memory of the drive in a narrow, live network decays by a factor e.

    .. math:: -\frac{1}{\ln(|\lambda_2|/\lambda_1)}, \qquad \lambda_1 > |\lambda_2| \ge \dots
                \text{ eigenvalues of } (P_{kj})_{k, j > 0}

    Parameters
    ----------
    threshold, gain, width, mean_gain
        As in :func:`varflow.reference.spike_counts`; ``θ ≥ 0``, width at most 40.
    digits : int
        Working digits, 15 guard digits aside.

    Returns
    -------
    mpf

    Raises
    ------
    DomainError
        For a negative threshold (silence is not absorbing) or a number outside its domain.

    Examples
    --------
    >>> import mpmath, varflow as vf
    >>> mpmath.nstr(vf.reference.relaxation_depth(threshold=1, gain=3, width=8), 12)
    '0.801090974869'
    """
    chain = _final(threshold, gain, width, mean_gain)
    if not 1 < chain.width <= MOST_EIGENVALUES:
        raise DomainError("width", width, f"must lie between 2 and {MOST_EIGENVALUES}: every eigenvalue is computed")
    values = mp.eig(mp.matrix([row[1:] for row in chain.transitions()[1:]]), left=False, right=False)
    sizes = sorted(abs(value) for value in values)
    return -1 / mp.log(sizes[-2] / sizes[-1])


@in_digits
def lifetime(
    *,
    threshold: float,
    gain: float,
    width: int,
    bias_std: float = 0.0,
    mean_gain: float = 0.0,
    drive_std: float = 1.0,
    digits: int = 50,
) -> ExactLifetime:
    r"""Mean number of layers of a narrow network with normal weights before the first silent one.

    .. math:: T = \sum_{k>0} P(K_1 = k)\, T_k, \qquad T_k = 1 + \sum_{j>0} P_{kj} T_j

    Parameters
    ----------
    threshold, gain, width, bias_std, mean_gain, drive_std, digits
        As in :func:`varflow.reference.spike_counts`.

    Returns
    -------
    ExactLifetime
        ``.from_drive`` is ``T``, ``.from_quasi_stationary`` is ``1/r``, nan where silence is not absorbing.

    Raises
    ------
    DomainError
        For a number outside its domain or a width above 200.

    Notes
    -----
    **Accuracy**: the linear system loses ``log10(1/r)`` digits, of which 15 are guard digits. **Source**: ``darroch1965``.

    Examples
    --------
    >>> import mpmath, varflow as vf
    >>> mpmath.nstr(vf.reference.lifetime(threshold=1, gain=3, width=10, digits=20).from_drive, 12)
    '9.1401008972'
    """
    chain = chain_of(width, threshold, gain, bias_std, mean_gain)
    start = chain.driven(at_least_zero("drive_std", drive_std, zero=True))
    leaving = mp.eye(chain.width) - mp.matrix([row[1:] for row in chain.transitions()[1:]])
    layers = solved(leaving, [1] * chain.width, mean_gain)
    final = chain.threshold >= 0 and chain.bias2 == 0
    settled = {"threshold": threshold, "gain": gain, "width": width, "mean_gain": mean_gain, "digits": digits}
    escape = quasi_stationary(**settled).escape_rate if final else mp.nan
    return ExactLifetime(mp.fdot(start[1:], layers), 1 / escape)


def _final(threshold: Any, gain: Any, width: Any, mean_gain: Any) -> Chain:
    """A chain without bias, whose silence is absorbing."""
    chain = chain_of(width, threshold, gain, 0, mean_gain)
    if chain.threshold < 0:
        rule = "must not be negative: neurons at rest fire, so silence is not absorbing; use vf.reference.stationary"
        raise DomainError("threshold", threshold, rule)
    return chain
