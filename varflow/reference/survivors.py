"""Narrow networks conditioned on being alive, in mpmath: quasi-stationary distribution, relaxation depth and lifetime."""

from __future__ import annotations

from typing import Any, NamedTuple

from varflow._checks import ConvergenceError, DomainError
from varflow._mpmath import mp, mpf
from varflow.reference.chain import LONGEST, MOST_EIGENVALUES, Chain, chain_of, layer_moments, push, solved
from varflow.reference.digits import at_least_zero, in_digits, rounded


class ExactQuasiStationary(NamedTuple):
    """A deep layer that is still alive, in mpf numbers; ``distribution[k] = P(K = k | K > 0)``."""

    distribution: tuple[Any, ...]
    variance: Any
    variance_std: Any
    firing_rate: Any
    firing_rate_std: Any
    escape_rate: Any


class ExactLifetime(NamedTuple):
    """Mean number of layers before the first silent one, in mpf numbers."""

    from_drive: Any
    from_quasi_stationary: Any


@in_digits
def quasi_stationary(
    *,
    threshold: float,
    gain: float,
    width: int,
    mean_gain: float = 0.0,
    digits: int = 50,
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
    living = [row[1:] for row in chain.transitions()[1:]]
    dying = [(1 - chain.firing(count)) ** chain.width for count in range(1, chain.width + 1)]
    distribution = [mpf(1) / chain.width] * chain.width
    for _ in range(LONGEST):
        before, distribution = distribution, push(distribution, living)
        total = mp.fsum(distribution)
        distribution = [p / total for p in distribution]
        if all(abs(p - q) <= mpf(10) ** (5 - mp.dps) * p for p, q in zip(distribution, before, strict=True)):
            break
    else:
        raise ConvergenceError(f"the quasi-stationary distribution did not settle within {LONGEST} layers", distribution)
    escape, distribution = mp.fdot(distribution, dying), [mpf(0), *distribution]
    numbers = (rounded(x, digits) for x in (*layer_moments(chain, distribution), escape))
    return ExactQuasiStationary(tuple(rounded(p, digits) for p in distribution), *numbers)


@in_digits
def relaxation_depth(
    *,
    threshold: float,
    gain: float,
    width: int,
    mean_gain: float = 0.0,
    digits: int = 20,
) -> Any:
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
    return rounded(-1 / mp.log(sizes[-2] / sizes[-1]), digits)


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
    return ExactLifetime(rounded(mp.fdot(start[1:], layers), digits), rounded(1 / escape, digits))


def _final(threshold: Any, gain: Any, width: Any, mean_gain: Any) -> Chain:
    """A chain without bias, whose silence is absorbing."""
    chain = chain_of(width, threshold, gain, 0, mean_gain)
    if chain.threshold < 0:
        rule = "must not be negative: neurons at rest fire, so silence is not absorbing; use vf.reference.stationary"
        raise DomainError("threshold", threshold, rule)
    return chain
