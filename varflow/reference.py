"""The memoryless theory in mpmath, straight from the definitions and slow on purpose: a witness for the fast theory.

Every tail is written out here from its formula and shares no code with the fast ones. A float means its exact binary value;
answers are mpf numbers, right to ``digits`` digits. Fixed points are isolated on the monotone pieces of ``F(V) - V`` and
each is confirmed by a change of sign. mpmath's own precision is never changed outside a call.
"""

from __future__ import annotations

import numbers
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import Any, NamedTuple

import mpmath
import numpy as np
from mpmath import mp, mpf

from varflow._checks import ConvergenceError, DomainError, integer
from varflow.model.distributions import Distribution, distribution as _distribution
from varflow.model.student import StudentT
from varflow.results import FixedPoint, FixedPoints

__all__ = ["ExactFixedPoints", "critical_gain", "fixed_points", "gain", "pdf", "sf", "variance_map"]

_GUARD = 15  # digits carried beyond those asked for
_SCAN = 800


class _Law(NamedTuple):
    """Upper tail, density, and ``(ln z³ f)'·z``, whose root is the inflection; ``edge`` is the end of the support."""

    tail: Callable[[Any], Any]
    density: Callable[[Any], Any]
    slope: Callable[[Any], Any]
    edge: Any = None


def _law(name: Any) -> _Law:
    chosen = _distribution(name)
    if isinstance(chosen, StudentT):
        return _student_t(mpf(chosen.df))
    laws = {"normal": _normal, "uniform": _uniform, "laplace": _laplace, "logistic": _logistic}
    if chosen.name not in laws:
        raise DomainError("distribution", name, "has no reference; choose normal, uniform, laplace, logistic or student_t(df)")
    return laws[chosen.name]()


def _normal() -> _Law:
    return _Law(
        tail=lambda z: mp.erfc(z / mp.sqrt(2)) / 2,
        density=lambda z: mp.exp(-(z**2) / 2) / mp.sqrt(2 * mp.pi),
        slope=lambda z: 3 - z**2,
    )


def _uniform() -> _Law:
    edge = mp.sqrt(3)
    return _Law(
        tail=lambda z: min(max((edge - z) / (2 * edge), mpf(0)), mpf(1)),
        density=lambda z: 1 / (2 * edge) if abs(z) < edge else mpf(0),
        slope=lambda z: mpf(3) if z < edge else mpf(-1),
        edge=edge,
    )


def _laplace() -> _Law:
    def tail(z: Any) -> Any:
        return mp.exp(-mp.sqrt(2) * z) / 2 if z > 0 else 1 - mp.exp(mp.sqrt(2) * z) / 2

    return _Law(tail, lambda z: mp.exp(-mp.sqrt(2) * abs(z)) / mp.sqrt(2), lambda z: 3 - mp.sqrt(2) * z)


def _logistic() -> _Law:
    c = mp.pi / mp.sqrt(3)
    return _Law(
        tail=lambda z: 1 / (1 + mp.exp(c * z)),
        density=lambda z: c * mp.exp(-c * abs(z)) / (1 + mp.exp(-c * abs(z))) ** 2,
        slope=lambda z: 3 - c * z * mp.tanh(c * z / 2),
    )


def _student_t(df: Any) -> _Law:
    rest, half = df - 2, mpf(1) / 2

    def tail(z: Any) -> Any:
        share = rest / (rest + z**2)  # half the regularised incomplete beta function I_share(ν/2, 1/2)
        series = mp.hyp2f1(df / 2, half, df / 2 + 1, share, maxterms=10**7)
        upper = share ** (df / 2) * series / (df * mp.beta(df / 2, half))
        return upper if z > 0 else 1 - upper

    constant = mp.exp(mp.loggamma((df + 1) / 2) - mp.loggamma(df / 2)) / mp.sqrt(mp.pi * rest)
    return _Law(
        tail=tail,
        density=lambda z: constant * (1 + z**2 / rest) ** (-(df + 1) / 2),
        slope=lambda z: 3 - (df + 1) * z**2 / (rest + z**2),
    )


def _in_digits(function: Callable[..., Any]) -> Callable[..., Any]:
    """Run with ``digits`` and a guard, and leave mpmath's precision as it was."""

    @wraps(function)
    def wrapped(*args: Any, digits: int = 50, **kwargs: Any) -> Any:
        with mpmath.workdps(integer("digits", digits, minimum=10) + _GUARD):
            return function(*args, digits=digits, **kwargs)

    return wrapped


def _number(name: str, value: Any) -> Any:
    """The exact value of a real number."""
    if isinstance(value, mpf):
        number = value
    elif isinstance(value, (numbers.Real, np.floating)) or (isinstance(value, np.ndarray) and value.ndim == 0):
        number = mpf(int(value)) if isinstance(value, numbers.Integral) else mpf(float(value))
    else:
        raise DomainError(name, value, "must be one real number")
    if not mp.isfinite(number):
        raise DomainError(name, value, "must be finite")
    return number


def _at_least_zero(name: str, value: Any, *, zero: bool) -> Any:
    number = _number(name, value)
    if number < 0 or (number == 0 and not zero):
        raise DomainError(name, value, "must not be negative" if zero else "must be positive")
    return number


def _deep(z: Any) -> Any:
    """Digits that ``exp(-z²/2)`` needs on top: rounding ``z`` in the last place costs ``z²`` of them."""
    return mpmath.workdps(mp.dps + max(0, 2 * int(mp.mag(z) if z else 0)) // 3)


@_in_digits
def sf(distribution: str | Distribution, z: float, *, digits: int = 50) -> Any:
    """Upper tail ``P(Z > z)`` of a standardised law, from its definition.

    Parameters
    ----------
    distribution : str or Distribution
        A built-in name or ``student_t(df)``.
    z : float
        Meant as its exact binary value.
    digits : int
        Relative accuracy.

    Returns
    -------
    mpf

    Raises
    ------
    DomainError
        For a law without a reference, or a ``z`` that is not one finite number.

    Examples
    --------
    >>> import varflow as vf
    >>> print(vf.reference.sf("normal", 1, digits=30))
    0.158655253931457051414767454368
    """
    z = _number("z", z)
    with _deep(z):
        return _rounded(_law(distribution).tail(z), digits)


@_in_digits
def pdf(distribution: str | Distribution, z: float, *, digits: int = 50) -> Any:
    """Density ``f(z)`` of a standardised law, from its definition; parameters as in :func:`sf`.

    Examples
    --------
    >>> import varflow as vf
    >>> print(vf.reference.pdf("laplace", 0, digits=20))
    0.70710678118654752440
    """
    z = _number("z", z)
    with _deep(z):
        return _rounded(_law(distribution).density(z), digits)


class _Map(NamedTuple):
    """``F(V) = σ_b² + g² S((θ - m_g (V - σ_b²)/g²)/√V)``."""

    law: _Law
    threshold: Any
    gain2: Any
    bias2: Any
    mean_gain: Any

    def z(self, variance: Any) -> Any:
        gap = self.threshold - self.mean_gain * (variance - self.bias2) / self.gain2
        if variance == 0:
            return mp.inf if gap >= 0 else -mp.inf  # u = 0, and a spike needs u > θ
        return gap / mp.sqrt(variance)

    def rate(self, variance: Any) -> Any:
        z = self.z(variance)
        return (mpf(0) if z > 0 else mpf(1)) if mp.isinf(z) else self.law.tail(z)

    def excess(self, variance: Any) -> Any:
        """``F(V) - V``."""
        return self.bias2 + self.gain2 * self.rate(variance) - variance

    def slope(self, variance: Any) -> Any:
        """``F'(V) = g² f(z) (z/(2V) + m_g/(g² √V))``."""
        z = self.z(variance)
        inner = z / (2 * variance) + self.mean_gain / (self.gain2 * mp.sqrt(variance))
        return self.gain2 * self.law.density(z) * inner


def _map(threshold: Any, gain: Any, distribution: Any, bias_std: Any, mean_gain: Any) -> _Map:
    return _Map(
        _law(distribution),
        _number("threshold", threshold),
        _at_least_zero("gain", gain, zero=False) ** 2,
        _at_least_zero("bias_std", bias_std, zero=True) ** 2,
        _number("mean_gain", mean_gain),
    )


@_in_digits
def variance_map(
    variance: float,
    *,
    threshold: float,
    gain: float,
    distribution: str | Distribution = "normal",
    bias_std: float = 0.0,
    mean_gain: float = 0.0,
    digits: int = 50,
) -> Any:
    r"""The next layer's variance at infinite width.

    .. math:: F(V) = \sigma_b^2 + g^2\, S\Bigl(\frac{\theta - m_g (V - \sigma_b^2)/g^2}{\sqrt V}\Bigr)

    Parameters
    ----------
    variance, threshold, gain, bias_std, mean_gain : float
        ``V ≥ 0``, ``θ``, ``g > 0``, ``σ_b ≥ 0``, ``m_g = n E[w]``; numbers, meant as their exact binary values.
    distribution : str or Distribution
        A built-in name or ``student_t(df)``.
    digits : int
        Relative accuracy of the answer.

    Returns
    -------
    mpf

    Raises
    ------
    DomainError
        For a law without a reference or a number outside its domain.

    Notes
    -----
    **Source**: the definition of the layer.

    Examples
    --------
    >>> import varflow as vf
    >>> print(vf.reference.variance_map(1, threshold=0, gain=2, digits=20))
    2.0
    """
    layer = _map(threshold, gain, distribution, bias_std, mean_gain)
    variance = _at_least_zero("variance", variance, zero=True)
    return _rounded(layer.bias2 + layer.gain2 * layer.rate(variance), digits)


@_in_digits
def critical_gain(*, threshold: float, distribution: str | Distribution = "normal", digits: int = 50) -> Any:
    r"""The gain below which only silence is left, at infinite width and without bias.

    .. math:: g_c = \theta \sqrt{\gamma_c}, \qquad \gamma_c = \frac{1}{z_c^2 S(z_c)}, \qquad z_c f(z_c) = 2 S(z_c)

    Parameters
    ----------
    threshold : float
        ``θ``; for ``θ ≤ 0`` activity never dies and the answer is 0.
    distribution : str or Distribution
        A built-in name or ``student_t(df)``; for each, ``z f/S`` increases and ``z_c`` is the only maximum of ``z² S``.
    digits : int
        Relative accuracy of the answer.

    Returns
    -------
    mpf

    Raises
    ------
    DomainError
        For a law without a reference or a threshold that is not one finite number.

    Examples
    --------
    >>> import varflow as vf
    >>> print(vf.reference.critical_gain(threshold=1, distribution="uniform", digits=20) ** 2)
    4.5
    """
    law, threshold = _law(distribution), _number("threshold", threshold)
    if threshold <= 0:
        return mpf(0)
    end = law.edge if law.edge is not None else _first(lambda z: z * law.density(z) > 2 * law.tail(z), mpf(1))
    z = _root(lambda z: z * law.density(z) - 2 * law.tail(z), mpf(1) / 2, end * (1 - mpf(2) ** -40), digits)
    return _rounded(threshold / (z * mp.sqrt(law.tail(z))), digits)


@_in_digits
def gain(
    *,
    threshold: float,
    variance: float = 1.0,
    distribution: str | Distribution = "normal",
    bias_std: float = 0.0,
    mean_gain: float = 0.0,
    digits: int = 50,
) -> Any:
    r"""The gain that preserves a variance.

    .. math:: g^2 = \frac{v - \sigma_b^2}{p}, \qquad p = S\Bigl(\frac{\theta - m_g p}{\sqrt v}\Bigr)

    Parameters
    ----------
    threshold, variance, bias_std, mean_gain : float
        ``θ``, ``v > σ_b²``, ``σ_b ≥ 0``, ``m_g = n E[w]``; where a large ``m_g`` admits several rates, the lowest is meant.
    distribution : str or Distribution
        A built-in name or ``student_t(df)``.
    digits : int
        Relative accuracy of the answer.

    Returns
    -------
    mpf

    Raises
    ------
    DomainError
        Where no gain preserves the variance: ``v ≤ σ_b²``, or a threshold beyond the support.

    Examples
    --------
    >>> import varflow as vf
    >>> print(vf.reference.gain(threshold=0, digits=20) ** 2)
    2.0
    """
    law, threshold = _law(distribution), _number("threshold", threshold)
    wanted = _at_least_zero("variance", variance, zero=False)
    share = wanted - _at_least_zero("bias_std", bias_std, zero=True) ** 2
    if share <= 0:
        raise DomainError("variance", variance, "must exceed bias_std²: the biases alone make more")
    rate = _rate(law, threshold / mp.sqrt(wanted), _number("mean_gain", mean_gain) / mp.sqrt(wanted), digits)
    if rate == 0:
        raise DomainError("threshold", threshold, f"is beyond the support: no spike, no gain preserves variance={variance}")
    return _rounded(mp.sqrt(share / rate), digits)


def _rate(law: _Law, z: Any, shift: Any, digits: int) -> Any:
    """The smallest solution of ``p = S(z - shift p)``."""
    if shift == 0:
        return law.tail(z)

    def lack(p: Any) -> Any:
        return law.tail(z - shift * p) - p

    if lack(mpf(0)) == 0:
        return mpf(0)
    start = law.tail(z) if shift > 0 else law.tail(z - shift)  # S at p = 0 or p = 1: the lowest the rate can be
    grid = [start + (1 - start) * mpf(k) / _SCAN for k in range(_SCAN + 1)]
    low, high = next((a, b) for a, b in zip(grid, grid[1:], strict=False) if lack(b) <= 0)
    return _root(lack, low, high, digits)


class ExactFixedPoints(FixedPoints):
    """Fixed points in mpf numbers; shown, and exported by ``to_dict``, as floats."""

    __slots__ = ()

    def _floats(self) -> FixedPoints:
        def rounded(point: FixedPoint) -> FixedPoint:
            names = ("variance", "firing_rate", "multiplier", "depth_scale", "residual")
            return replace(point, **{name: float(getattr(point, name)) for name in names})

        return FixedPoints(tuple(map(rounded, self.points)), self.complete, self.resolution, float(self.basin_edge))

    def to_dict(self) -> dict[str, Any]:
        return self._floats().to_dict()

    def __repr__(self) -> str:
        return repr(self._floats())


@_in_digits
def fixed_points(
    *,
    threshold: float,
    gain: float,
    distribution: str | Distribution = "normal",
    bias_std: float = 0.0,
    mean_gain: float = 0.0,
    digits: int = 50,
) -> ExactFixedPoints:
    r"""All fixed points ``F(V) = V`` of the infinite-width map, silence included.

    Parameters
    ----------
    threshold, gain, bias_std, mean_gain : float
        ``θ``, ``g > 0``, ``σ_b ≥ 0``, ``m_g``; numbers, meant as their exact binary values.
    distribution : str or Distribution
        A built-in name or ``student_t(df)``.
    digits : int
        Relative accuracy of the variances.

    Returns
    -------
    ExactFixedPoints
        ``FixedPoints`` whose numbers are mpf.

    Raises
    ------
    DomainError
        For a law without a reference or a number outside its domain.

    Notes
    -----
    Without weight mean the list is complete. For ``θ > 0``, ``F'(V) = g² z³ f(z)/(2θ²)`` with ``z = θ/√V``, and ``z³ f``
    has one maximum, at ``z_i``: ``F`` is convex up to ``V_i = (θ/z_i)²`` and concave beyond, ``F(V) - V`` has at most
    three monotone pieces, and each holds at most one root, present exactly if the ends differ in sign. For ``θ < 0``,
    ``F`` decreases. With weight mean the roots come from a scan in ``ln V``, and ``complete`` is False.

    **Accuracy**: ``F(V) - V`` changes sign within one unit of the last digit asked for; checked at every root.
    **Source**: derived here.

    Examples
    --------
    >>> import varflow as vf
    >>> for point in vf.reference.fixed_points(threshold=1, gain=2.6):
    ...     print(vf.reference.mpmath.nstr(point.variance, 20), point.stable)
    0.0 True
    0.38884862530286299698 False
    1.6243296513019698977 True
    """
    layer = _map(threshold, gain, distribution, bias_std, mean_gain)
    scanned = layer.mean_gain != 0
    resolution = None
    if scanned:
        low, high = _reach(layer)
        resolution = mp.log(high / low) / _SCAN
        pieces = [low * mp.exp(resolution * k) for k in range(_SCAN)] + [high]
    else:
        pieces = _monotone_pieces(layer)
    roots = _roots(layer.excess, pieces, digits)
    points = [_point(layer, root) for root in roots]
    silence = layer.bias2 == 0 and layer.threshold >= 0
    if silence:
        points.insert(0, _silence(layer))
    edge = mpf(0)
    if silence and layer.threshold > 0:
        edge = roots[0] if roots else mp.inf
    return ExactFixedPoints(tuple(points), not scanned, None if resolution is None else float(resolution), edge)


def _silence(layer: _Map) -> FixedPoint:
    """``V = 0``: flat for ``θ > 0``; at ``θ = 0`` the map jumps."""
    stable = layer.threshold > 0
    return FixedPoint(mpf(0), mpf(0), mpf(0) if stable else mp.inf, stable, mpf(0), mpf(0))


def _point(layer: _Map, variance: Any) -> FixedPoint:
    multiplier = layer.slope(variance)
    size = abs(multiplier)
    scale = mpf(0) if size == 0 else mp.inf if size == 1 else -1 / mp.log(size)
    return FixedPoint(variance, layer.rate(variance), multiplier, bool(size < 1), scale, layer.excess(variance))


def _monotone_pieces(layer: _Map) -> list[Any]:
    """Ends of intervals on which ``F(V) - V`` is monotone and which hold all its positive roots."""
    low, high = layer.bias2, layer.bias2 + layer.gain2
    if layer.threshold <= 0:
        return [layer.bias2 + layer.gain2 * layer.law.tail(mpf(0)) / 2, high]  # the rate is at least S(0) = 1/2
    digits = mp.dps - _GUARD
    z = layer.law.edge
    if z is None:
        z = _root(layer.law.slope, mpf(1), _first(lambda y: layer.law.slope(y) < 0, mpf(1)), digits)
    inflection = (layer.threshold / z) ** 2
    steepest = inflection if layer.law.edge is None else inflection * (1 + mpf(10) ** (5 - mp.dps))
    if layer.slope(steepest) <= 1:
        return [low, high] if low > 0 else []
    top = _root(lambda v: layer.slope(v) - 1, steepest, _first(lambda v: layer.slope(v) < 1, steepest), digits)
    bottom = inflection
    if layer.law.edge is None:
        start = _first(lambda v: layer.slope(v) < 1, inflection, factor=mpf(1) / 2)
        bottom = _root(lambda v: layer.slope(v) - 1, start, inflection, digits)
    first = [low] if 0 < low < bottom else []  # without bias F(V) - V falls from 0 there: no root
    inside = [v for v in (bottom, top) if low < v < high]
    return [*(first or ([low] if low > 0 else [])), *inside, high]


def _reach(layer: _Map) -> tuple[Any, Any]:
    """Bounds of the variance of any fixed point other than silence, with weight mean."""
    high = layer.bias2 + layer.gain2
    if layer.bias2 > 0:
        return layer.bias2, high
    if layer.threshold <= 0:  # below this z < 1: the rate is at least S(1), which gives more variance than was there
        low = layer.gain2 * layer.law.tail(mpf(1))
        return (min(low, (layer.gain2 / layer.mean_gain) ** 2) if layer.mean_gain < 0 else low) / 2, high
    z = mpf(2)  # from here on the mean is below θ/2 and F(V) below V
    while (
        2 * abs(layer.mean_gain) * layer.threshold > z**2 * layer.gain2
        or z**2 * layer.law.tail(z / 2) * layer.gain2 > layer.threshold**2 / 1000
    ):
        z *= 2
    return min((layer.threshold / z) ** 2, high / 2), high


def _roots(function: Callable[[Any], Any], ends: list[Any], digits: int) -> list[Any]:
    """The roots, one per interval whose ends differ in sign."""
    found = []
    values = [function(end) for end in ends]
    for index in range(len(ends) - 1):
        if values[index] == 0:
            found.append(ends[index])
        elif values[index] * values[index + 1] < 0:
            found.append(_root(function, ends[index], ends[index + 1], digits))
    if ends and values[-1] == 0:
        found.append(ends[-1])
    return found


def _first(holds: Callable[[Any], bool], start: Any, *, factor: Any = 2) -> Any:
    """The first of ``start·factor^k`` at which ``holds``."""
    point = start * factor
    for _ in range(20_000):
        if holds(point):
            return point
        point *= factor
    raise ConvergenceError("no change of sign found: the parameters are too extreme")


def _root(function: Callable[[Any], Any], low: Any, high: Any, digits: int) -> Any:
    """The root between ``0 < low < high``: geometric bisection, then the Illinois rule, then a test of the signs."""
    below, above = function(low), function(high)
    if below == 0 or above == 0:
        return low if below == 0 else high
    if below * above > 0:
        raise ConvergenceError("the ends do not bracket a root")
    ends = (low, high)
    while high > low * mpf("1.2"):
        middle = mp.sqrt(low * high)
        value = function(middle)
        if value * below > 0:
            low, below = middle, value
        else:
            high, above = middle, value
    root = _illinois(function, low, high, below, above)
    spread = mpf(10) ** -digits
    before, after = max(root * (1 - spread), ends[0]), min(root * (1 + spread), ends[1])
    if function(before) * function(after) > 0:
        raise ConvergenceError("no change of sign within the digits asked for; ask for fewer, or more if roots nearly meet", root)
    return root


def _illinois(function: Callable[[Any], Any], low: Any, high: Any, below: Any, above: Any) -> Any:
    """False position that halves the weight of an end kept twice; from here superlinear."""
    kept = 0
    for _ in range(500):
        if below == above:
            break
        root = (low * above - high * below) / (above - below)
        value = function(root)
        if value == 0 or abs(high - low) <= abs(root) * mpf(10) ** (4 - mp.dps):
            return root
        if value * below > 0:
            step, low, below = root - low, root, value
            above, kept = (above / 2 if kept == 1 else above), 1
        else:
            step, high, above = high - root, root, value
            below, kept = (below / 2 if kept == -1 else below), -1
        if step <= abs(root) * mpf(10) ** (4 - mp.dps):
            return root
    raise ConvergenceError("a root was bracketed but not reached in 500 steps", (low + high) / 2)


def _rounded(value: Any, digits: int) -> Any:
    """To the digits asked for: guard digits are not an answer."""
    with mpmath.workdps(digits):
        return +value
