"""Deep networks without absorbing silence, in mpmath: the stationary chain of spike counts and its switching rates."""

from __future__ import annotations

from typing import Any, NamedTuple

from mpmath import mp, mpf

from varflow._checks import ConvergenceError, DomainError
from varflow.reference.chain import Chain, binomial, chain_of, conditional_variances, moments, push, sample_variance
from varflow.reference.laws import in_digits, rounded

__all__ = ["ExactStationary", "second_eigenvalue", "stationary", "switching_rates"]

LONGEST = 20_000  # layers of iteration
MOST_EIGENVALUES = 40  # largest matrix whose eigenvalues are computed


class ExactStationary(NamedTuple):
    """A deep network, in mpf numbers; ``distribution[k]`` is ``P(K = k)``, ``silence`` is ``P(K = 0)``."""

    distribution: tuple[Any, ...]
    variance: Any
    variance_std: Any
    firing_rate: Any
    firing_rate_std: Any
    silence: Any


@in_digits
def stationary(
    *,
    threshold: float,
    gain: float,
    width: int,
    bias_std: float = 0.0,
    mean_gain: float = 0.0,
    digits: int = 50,
) -> ExactStationary:
    r"""The stationary state of a narrow, deep network with normal weights, for any drive.

    .. math:: \nu_j = \sum_k \nu_k P_{kj}, \qquad \sum_k \nu_k = 1

    Parameters
    ----------
    threshold, gain, width, bias_std, mean_gain
        As in :func:`varflow.reference.spike_counts`.
    digits : int
        Of every probability, minus those lost in the linear system (as many as the smallest switching rate has zeros).

    Returns
    -------
    ExactStationary
        ``.distribution .variance .variance_std .firing_rate .firing_rate_std .silence``.

    Raises
    ------
    DomainError
        For a number outside its domain or a wide layer.

    Notes
    -----
    **Source**: derived here.

    Examples
    --------
    >>> import mpmath, varflow as vf
    >>> mpmath.nstr(vf.reference.stationary(threshold=1, gain=2.5, bias_std=0.3, width=8, digits=20).silence, 12)
    '0.984255994379'
    """
    chain = chain_of(width, threshold, gain, bias_std, mean_gain)
    size = chain.width + 1
    balance = mp.matrix(chain.transitions()).T - mp.eye(size)
    balance[size - 1, :] = mp.ones(1, size)  # normalisation replaces one equation, which follows from the others
    law = list(mp.lu_solve(balance, mp.matrix([0] * chain.width + [1])))
    variance = sample_variance(chain.width, law, conditional_variances(chain))
    rate = moments(law, [mpf(k) / chain.width for k in range(size)])
    numbers = (rounded(x, digits) for x in (*variance, *rate, law[0]))
    return ExactStationary(tuple(rounded(p, digits) for p in law), *numbers)


@in_digits
def second_eigenvalue(
    *,
    threshold: float,
    gain: float,
    width: int,
    bias_std: float = 0.0,
    mean_gain: float = 0.0,
    digits: int = 20,
) -> Any:
    r"""The second largest eigenvalue ``λ₂`` (by size) of the chain of a narrow network, after the 1 of its stationary state.

    Parameters
    ----------
    threshold, gain, width, bias_std, mean_gain
        As in :func:`varflow.reference.spike_counts`; width at most 40.
    digits : int
        Working precision of the eigenvalues.

    Returns
    -------
    mpf, or mpc with a positive imaginary part

    Raises
    ------
    DomainError
        For a number outside its domain or a wide layer.

    Examples
    --------
    >>> import mpmath, varflow as vf
    >>> mpmath.nstr(vf.reference.second_eigenvalue(threshold=-1, gain=1, bias_std=0.3, mean_gain=-4, width=10), 12)
    '-0.999988609614'
    """
    chain = chain_of(width, threshold, gain, bias_std, mean_gain)
    if chain.width > MOST_EIGENVALUES:
        raise DomainError("width", width, f"must be at most {MOST_EIGENVALUES}: all eigenvalues are computed")
    values = sorted(mp.eig(mp.matrix(chain.transitions()), left=False, right=False), key=lambda value: abs(value - 1))[1:]
    value = max(values, key=abs)
    if abs(mp.im(value)) <= abs(value) * mpf(10) ** -digits:
        return rounded(mp.re(value), digits)
    return mp.mpc(rounded(mp.re(value), digits), rounded(abs(mp.im(value)), digits))


@in_digits
def switching_rates(
    *,
    threshold: float,
    gain: float,
    width: int,
    bias_std: float = 0.0,
    mean_gain: float = 0.0,
    digits: int = 50,
) -> tuple[tuple[Any, ...], ...]:
    r"""Rates at which a narrow network with normal weights switches between its metastable states.

    Parameters
    ----------
    threshold, gain, width, bias_std, mean_gain
        As in :func:`varflow.reference.spike_counts`.
    digits : int
        Relative accuracy of every rate.

    Returns
    -------
    tuple of tuples of mpf
        ``[i][j]``: probability per layer of reaching the typical count of state ``j`` from state ``i``; states ascend in
        firing rate.

    Raises
    ------
    DomainError
        For a number outside its domain or a wide layer.
    ConvergenceError
        If the distribution within a state does not settle within 20000 layers.

    Notes
    -----
    States are defined as in :meth:`varflow.SpikeChain.stationary`: counts where the drift ``n π_K - K``, averaged over a
    binomial count of mean ``K``, changes from positive to negative with growing ``K``. Silence is a state if a silent layer is
    more likely than not followed by another one; full activity likewise.
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
        low = typical[i - 1][0] if i > 0 else -1  # the typical count of the state below
        high = typical[i + 1][1] if i + 1 < len(typical) else chain.width + 1
        law = _settled(rows, low, high)
        following = push(law, rows)
        for j, part in ((i - 1, following[: low + 1]), (i + 1, following[high:])):
            if part:
                rates[i][j] = rounded(mp.fsum(part), digits)
    return tuple(tuple(row) for row in rates)


def typical_counts(chain: Chain) -> list[tuple[int, int]]:
    """Neighbouring counts between which the drift changes from positive to negative."""
    n = chain.width
    drift = [n * chain.firing(count) - count for count in range(n + 1)]
    averaged = [mp.fdot(binomial(n, mpf(count) / n), drift) for count in range(n + 1)]
    rises = [averaged[count] >= 0 for count in range(n + 1)]
    rises[0], rises[n] = chain.transitions()[0][0] < mpf(1) / 2, chain.transitions()[n][n] > mpf(1) / 2
    ends = [(0, 0)] if not rises[0] else []
    ends += [(count, count + 1) for count in range(n) if rises[count] and not rises[count + 1]]
    return ends + ([(n, n)] if rises[n] else [])


def _settled(rows: list[list[Any]], low: int, high: int) -> list[Any]:
    """The quasi-stationary distribution between two counts."""
    inside = range(low + 1, high)
    law = [mpf(1) / len(inside) if count in inside else mpf(0) for count in range(len(rows))]
    for _ in range(LONGEST):
        before, following = law, push(law, rows)
        total = mp.fsum(following[low + 1 : high])
        law = [(following[count] / total + before[count]) / 2 if count in inside else mpf(0) for count in range(len(rows))]
        if all(abs(p - q) <= mpf(10) ** (5 - mp.dps) * p for p, q in zip(law, before, strict=True)):
            return law
    raise ConvergenceError(f"the distribution within a state did not settle within {LONGEST} layers", law)
