"""Inverse problems of narrow layers, in mpmath: the exact chain, solved for its gain, threshold or width.

Normal weights, equal layers, no bias; the drive is ``N(0, 1)`` unless stated otherwise. Survival is ``P(K_L > 0)``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from varflow._checks import DomainError, choice, integer
from varflow._mpmath import mp, mpf
from varflow.reference.chain import chain_of, conditional_variances, count_distributions, survival
from varflow.reference.critical import critical_gain
from varflow.reference.digits import at_least_zero, first_power, in_digits, number, root_between
from varflow.reference.fixed_points import stable_variance
from varflow.reference.layer import gain as preserving_gain

WIDEST_COUNTED = 60  # every width up to this is tried, each with a full transition matrix


@in_digits
def corrected_gain(*, threshold: float, width: int, depth: int, survival_target: float = 0.99, digits: int = 50) -> Any:
    r"""The smallest gain with which a narrow network is still alive at layer ``depth`` with a given probability.

    .. math:: g = \inf \{ g : P(K_L > 0) \ge 1 - \epsilon \}

    Parameters
    ----------
    threshold : float
        ``θ > 0``; layer 1 receives ``N(0, 1)``.
    width, depth : int
        As in :func:`spike_counts`.
    survival_target : float
        ``1 - ε``, strictly between 0 and 1.
    digits : int
        Relative accuracy of the answer.

    Returns
    -------
    mpf
        0 at depth 1, where the gain does not matter.

    Raises
    ------
    DomainError
        Where no gain reaches the target, and for a number outside its domain or a width above 200.

    Notes
    -----
    For ``θ > 0`` every ``π_K`` increases with the gain, to 1/2, and so does survival: the solution is unique.
    **Source**: derived here.

    Examples
    --------
    >>> import mpmath, varflow as vf
    >>> mpmath.nstr(vf.reference.corrected_gain(threshold=1, width=10, depth=3, survival_target=0.8, digits=20) ** 2, 12)
    '36.3532383482'
    """
    target, theta = _target(survival_target), at_least_zero("threshold", threshold, zero=False)
    layers = integer("depth", depth, minimum=1)

    def excess(g: Any) -> Any:
        return survival(chain_of(width, theta, g, 0, 0), layers, mpf(1)) - target

    _in_reach(survival_target, excess(theta * _limit()), f"width {width}, depth {depth}: the highest survival of any gain")
    if layers == 1:
        return mpf(0)
    return _rising(excess, 4 * theta, digits)


@in_digits
def gain_for_mean_variance(*, threshold: float, width: int, depth: int, variance: float = 1.0, digits: int = 50) -> Any:
    r"""The gain at which the sample variance of layer ``depth`` has a given mean over networks, silent ones included.

    .. math:: \mathrm{E}[g^2 K_{L-1}/n] = v

    Parameters
    ----------
    threshold, variance : float
        ``θ > 0``, ``v > 0``.
    width, depth : int
        Width at most 200; ``L ≥ 2``.
    digits : int
        Relative accuracy of the answer.

    Returns
    -------
    mpf

    Raises
    ------
    DomainError
        For a number outside its domain or a width above 200.

    Notes
    -----
    Every ``π_K`` increases with the gain, and so does the mean. **Source**: derived here.

    Examples
    --------
    >>> import mpmath, varflow as vf
    >>> mpmath.nstr(vf.reference.gain_for_mean_variance(threshold=1, width=10, depth=4, digits=20) ** 2, 12)
    '7.34051103554'
    """
    theta, wanted = at_least_zero("threshold", threshold, zero=False), at_least_zero("variance", variance, zero=False)
    layer_before = integer("depth", depth, minimum=2) - 1

    def excess(g: Any) -> Any:
        chain = chain_of(width, theta, g, 0, 0)
        return mp.fdot(count_distributions(chain, mpf(1), layer_before)[-1], conditional_variances(chain)) - wanted

    return _rising(excess, 4 * theta, digits)


@in_digits
def largest_threshold(
    *, width: int, depth: int, survival_target: float = 0.99, gain: str = "preserving", digits: int = 50
) -> Any:
    """The largest threshold at which a narrow network is alive at layer ``depth`` with a given probability.

    Parameters
    ----------
    width, depth : int
        Width at most 200.
    survival_target : float
        Strictly between 0 and 1.
    gain : str
        ``"preserving"``, the gain of :func:`gain` at each threshold, or ``"best"``, the limit of large gains.
    digits : int
        Relative accuracy of the answer.

    Returns
    -------
    mpf

    Raises
    ------
    DomainError
        Where even a threshold near 0 misses the target, and for a number outside its domain or a width above 200.

    Notes
    -----
    **Assumes** that survival decreases with the threshold. **Source**: derived here.

    Examples
    --------
    >>> import mpmath, varflow as vf
    >>> mpmath.nstr(vf.reference.largest_threshold(width=10, depth=4, digits=20), 12)
    '0.116892619568'
    """
    target, layers = _target(survival_target), integer("depth", depth, minimum=1)
    choice("gain", gain, ("preserving", "best"))

    def lack(theta: Any) -> Any:
        g = max(theta, 1) * _limit()
        if gain == "preserving":
            g = number("gain", preserving_gain(threshold=theta, digits=mp.dps))
        return target - survival(chain_of(width, theta, g, 0, 0), layers, mpf(1))

    least = mpf(10) ** -6
    _in_reach(survival_target, -lack(least), f"width {width}, depth {depth}: at θ → 0 survival")
    return root_between(lack, least, first_power(lambda theta: lack(theta) > 0, mpf(1) / 4), digits)


@in_digits
def smallest_width(
    *, threshold: float, depth: int, survival_target: float = 0.99, gain: float | None = None, digits: int = 20
) -> int:
    """The smallest width at which networks are alive at layer ``depth`` with a given probability, by trying 1, 2, 3, ….

    Parameters
    ----------
    threshold : float
    depth : int
    survival_target : float
        Strictly between 0 and 1.
    gain : float, optional
        By default the gain of :func:`gain`.
    digits : int
        Working precision of the probabilities.

    Returns
    -------
    int

    Raises
    ------
    DomainError
        If no width up to 60 suffices, and for a number outside its domain.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.reference.smallest_width(threshold=0.5, depth=3)
    18
    """
    target, theta, layers = _target(survival_target), number("threshold", threshold), integer("depth", depth, minimum=1)
    g = number("gain", preserving_gain(threshold=theta, digits=mp.dps)) if gain is None else gain
    for width in range(1, WIDEST_COUNTED + 1):
        if survival(chain_of(width, theta, g, 0, 0), layers, mpf(1)) >= target:
            return width
    raise DomainError(
        "threshold", threshold, f"needs a width above {WIDEST_COUNTED}, the largest tried here; use vf.smallest_width"
    )


@in_digits
def sparsest_rate(*, width: int, depth: int, survival_target: float = 0.99, digits: int = 50) -> Any:
    """The smallest stationary firing rate at which a narrow network is alive at layer ``depth`` with a given probability.

    The drive has the variance ``V*`` of the stable fixed point. The rate is ``V*/g²`` at the smallest sufficient ``g/θ``.

    Parameters
    ----------
    width, depth : int
        Width at most 200.
    survival_target : float
        Strictly between 0 and 1.
    digits : int
        Relative accuracy of the answer.

    Returns
    -------
    mpf

    Raises
    ------
    DomainError
        Where even rates near 1/2 miss the target, and for a number outside its domain or a width above 200.

    Notes
    -----
    **Assumes** that survival increases with ``g/θ``. **Source**: derived here.

    Examples
    --------
    >>> import mpmath, varflow as vf
    >>> mpmath.nstr(vf.reference.sparsest_rate(width=10, depth=4, digits=20), 12)
    '0.453472573395'
    """
    target, layers = _target(survival_target), integer("depth", depth, minimum=1)

    def rate(g: Any) -> Any:
        return number("variance", stable_variance(threshold=1, gain=g, digits=mp.dps)) / g**2

    def excess(g: Any) -> Any:
        return survival(chain_of(width, 1, g, 0, 0), layers, g * mp.sqrt(rate(g))) - target

    _in_reach(survival_target, excess(mpf(10) ** 12), f"width {width}, depth {depth}: at rate 1/2 survival")
    lowest = number("gain", critical_gain(threshold=1, digits=mp.dps)) * (1 + mpf(10) ** -8)
    if excess(lowest) >= 0:
        return rate(lowest)
    return rate(root_between(excess, lowest, first_power(lambda g: excess(g) >= 0, lowest), digits))


def _target(survival_target: Any) -> Any:
    target = number("survival_target", survival_target)
    if not 0 < target < 1:
        raise DomainError("survival_target", survival_target, "must lie strictly between 0 and 1")
    return target


def _in_reach(target: Any, excess: Any, where: str) -> None:
    """DomainError if the survival is still below its target ``where`` it is largest."""
    if excess < 0:
        raise DomainError("survival_target", target, f"cannot be reached at {where} is {mp.nstr(excess + _target(target), 4)}")


def _limit() -> Any:
    """A gain, in units of the threshold, at which ``π = 1/2`` to every digit."""
    return mpf(10) ** (2 * mp.dps)


def _rising(excess: Callable[[Any], Any], guess: Any, digits: int) -> Any:
    """The root of an increasing function of a positive argument."""
    low = first_power(lambda g: excess(g) < 0, guess, factor=mpf(1) / 2)
    return root_between(excess, low, first_power(lambda g: excess(g) >= 0, low), digits)
