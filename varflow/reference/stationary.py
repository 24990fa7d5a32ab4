"""Deep, narrow networks that can leave silence, in mpmath: the stationary distribution of spike counts and switching rates."""

from __future__ import annotations

from typing import Any, NamedTuple

from varflow._checks import ConvergenceError, DomainError
from varflow._mpmath import mp, mpf
from varflow.reference.chain import LONGEST, MOST_EIGENVALUES, Chain, binomial, chain_of, layer_moments, push, solved
from varflow.reference.digits import in_digits, rounded


class ExactStationary(NamedTuple):
    """A deep layer, in mpf numbers; ``distribution[k] = P(K = k)``, ``silence = P(K = 0)``."""

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
    numbers = (rounded(x, digits) for x in (*layer_moments(chain, distribution), distribution[0]))
    return ExactStationary(tuple(rounded(p, digits) for p in distribution), *numbers)


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
        return rounded(mp.re(value), digits)
    return mp.mpc(rounded(mp.re(value), digits), rounded(abs(mp.im(value)), digits))


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
        distribution = _settled(rows, low, high)
        following = push(distribution, rows)
        for j, arriving in ((i - 1, following[: low + 1]), (i + 1, following[high:])):
            if arriving:
                rates[i][j] = rounded(mp.fsum(arriving), digits)
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


def _settled(rows: list[list[Any]], low: int, high: int) -> list[Any]:
    """Quasi-stationary distribution of networks whose counts stayed between ``low`` and ``high``, both exclusive.

    Power iteration, averaging two consecutive layers so that alternation dies out.
    """
    inside = range(low + 1, high)
    distribution = [mpf(1) / len(inside) if count in inside else mpf(0) for count in range(len(rows))]
    for _ in range(LONGEST):
        before, following = distribution, push(distribution, rows)
        total = mp.fsum(following[low + 1 : high])
        distribution = [
            (following[count] / total + before[count]) / 2 if count in inside else mpf(0) for count in range(len(rows))
        ]
        if all(abs(p - q) <= mpf(10) ** (5 - mp.dps) * p for p, q in zip(distribution, before, strict=True)):
            return distribution
    raise ConvergenceError(f"the distribution within a state did not settle within {LONGEST} layers", distribution)
