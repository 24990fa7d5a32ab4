"""All fixed points of the infinite-width map, in mpmath: one on each monotone piece of ``F(V) - V`` with a change of sign.

Without a weight mean the pieces follow from the curvature of ``F``; with one, intervals are halved until bounds of ``F'`` prove
that ``F(V) - V`` is monotone or has no root there. In a two-cycle two variances alternate from layer to layer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import mpmath

from varflow._mpmath import mp, mpf
from varflow.model.distributions import Distribution
from varflow.reference.critical import inflection as inflection_of
from varflow.reference.digits import GUARD, first_power, in_digits, root_between, roots_between
from varflow.reference.distributions import FURTHEST
from varflow.reference.layer import ReferenceLayer, layer_of
from varflow.results import Cycle, FixedPoint, FixedPoints
from varflow.results.fixed_points import basin, in_full

_FINEST = mpf(2) ** -40  # relative width at which halving stops undecided: roots closer than 1e-12 are not told apart
STEP = mpf("0.04")  # of the search, in ln V: cycles closer to each other than this are not told apart
STEEP = mpf("-0.9")  # a cycle has F' ≤ -1 between its variances; the bounds are loose by a step where z or z' turns


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ExactFixedPoint(FixedPoint):
    """A fixed point in mpf numbers, correct to and printed with ``digits`` digits."""

    digits: int = 50

    _hidden = ("digits",)

    def _table(self) -> Any:
        return in_full(f"ExactFixedPoint, {self.digits} digits", [self], _in_digits(self.digits))

    def __repr__(self) -> str:
        return self._table().text()


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ExactFixedPoints(FixedPoints):
    """Fixed points in mpf numbers, printed with ``digits`` digits; ``to_dict`` gives floats.

    Examples
    --------
    >>> import varflow as vf
    >>> points = vf.reference.fixed_points(threshold=1.0, gain=2.6, digits=20)
    >>> len(points), points[-1].stable
    (3, True)
    """

    digits: int = 50

    def _table(self) -> Any:
        how = "complete" if self.complete else "perhaps not all"
        title = f"ExactFixedPoints ({how}; {self.digits} digits{basin(self, _in_digits(8))})"
        return in_full(title, self.points, _in_digits(self.digits), self.cycles, self._unsettled())


def _in_digits(digits: int) -> Callable[[Any], str]:
    return lambda value: str(mpmath.nstr(value, digits))


@in_digits
def fixed_points(
    *,
    threshold: float,
    gain: float,
    distribution: str | Distribution = "normal",
    bias_std: float = 0.0,
    mean_gain: float = 0.0,
    digits: int = 50,
) -> ExactFixedPoints:
    r"""All fixed points ``F(V) = V`` of the infinite-width map, including silence.

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
        ``FixedPoints`` with mpf numbers, also in ``cycles``.

    Raises
    ------
    DomainError
        For a distribution that is not built in or a number outside its domain.

    Notes
    -----
    Without a weight mean the list is complete. For ``θ > 0``, ``F'(V) = g² z³ f(z)/(2θ²)`` with ``z = θ/√V``, and ``z³ f`` has
    one maximum, at ``z_i``. So ``F`` is convex up to ``V_i = (θ/z_i)²`` and concave beyond, ``F(V) - V`` has at most three
    monotone pieces, and a piece holds one root if its ends differ in sign and none otherwise. For ``θ < 0``, ``F`` decreases.

    With a weight mean, intervals of ``V`` are halved until bounds of ``F'`` (the density is unimodal) lie on one side of 1, or
    lines of these slopes through the ends of the interval exclude a root. Roots closer than ``resolution`` in ``ln V`` are not
    separated, and ``complete`` is then False.

    **Accuracy**: checked at every root: ``F(V) - V`` changes sign within one unit of the last digit asked for.
    **Source**: derived here.

    Examples
    --------
    >>> import mpmath, varflow as vf
    >>> for point in vf.reference.fixed_points(threshold=1, gain=2.6):
    ...     print(mpmath.nstr(point.variance, 20), point.stable)
    0.0 True
    0.42970149127709526707 False
    1.2620443608847036703 True
    """
    layer = layer_of(threshold, gain, distribution, bias_std, mean_gain)
    pieces, complete = (_monotone_pieces(layer), True) if layer.mean_gain == 0 else _halved(layer)
    roots = roots_between(layer.excess, pieces, digits)
    points = [_point(layer, root, digits) for root in roots]
    silence = layer.bias2 == 0 and layer.threshold >= 0
    if silence:  # F' = 0 there for θ > 0; at θ = 0 the map is discontinuous
        slope = mpf(0) if layer.threshold > 0 else mp.inf
        points.insert(0, ExactFixedPoint(mpf(0), mpf(0), slope, slope == 0, mpf(0), mpf(0), digits=digits))
    edge = next((point.variance for point in points[1:] if point.multiplier >= 1), mpf(0))
    if silence and layer.threshold > 0:
        edge = roots[0] if roots else mp.inf
    cycles = two_cycles(layer, *_reach(layer), digits) if layer.mean_gain else ()
    return ExactFixedPoints(tuple(points), complete, None if complete else float(_FINEST), edge, cycles, digits)


def stable_variance(
    *, threshold: float, gain: float, distribution: str | Distribution = "normal", bias_std: float = 0.0, digits: int = 50
) -> Any:
    """The largest stable fixed point of the infinite-width map.

    Parameters
    ----------
    threshold, gain, bias_std, distribution, digits
        As in :func:`fixed_points`.

    Returns
    -------
    mpf
        0 where silence is the only stable fixed point, nan where none is stable.

    Raises
    ------
    DomainError
        For a distribution that is not built in or a number outside its domain.

    Examples
    --------
    >>> import mpmath, varflow as vf
    >>> mpmath.nstr(vf.reference.stable_variance(threshold=1, gain=2.6), 20)
    '1.2620443608847036703'
    """
    points = fixed_points(threshold=threshold, gain=gain, distribution=distribution, bias_std=bias_std, digits=digits)
    return max((point.variance for point in points if point.stable), default=mp.nan)


def _point(layer: ReferenceLayer, variance: Any, digits: int) -> ExactFixedPoint:
    stability = _stability(layer.slope(variance), layers=1)
    return ExactFixedPoint(variance, layer.rate(variance), *stability, layer.excess(variance), digits=digits)


def _stability(multiplier: Any, layers: int) -> tuple[Any, bool, Any]:
    """The multiplier over so many layers, whether deviations shrink, and the layers in which they do by a factor e."""
    size = abs(multiplier)
    return multiplier, bool(size < 1), mpf(0) if size == 0 else mp.inf if size == 1 else -layers / mp.log(size)


def _monotone_pieces(layer: ReferenceLayer) -> list[Any]:
    """Ends of intervals on which ``F(V) - V`` is monotone and which contain all its positive roots."""
    low, high = layer.bias2, layer.bias2 + layer.gain2
    if layer.threshold <= 0:
        return [layer.bias2 + layer.gain2 * layer.potential.tail(mpf(0)) / 2, high]  # the rate is at least Q(0) = 1/2
    digits = mp.dps - GUARD
    inflection = (layer.threshold / inflection_of(layer.potential, digits)) ** 2
    steepest = inflection if layer.potential.edge is None else inflection * (1 + mpf(10) ** (5 - mp.dps))
    if layer.slope(steepest) <= 1:
        return [low, high] if low > 0 else []
    top = root_between(lambda v: layer.slope(v) - 1, steepest, first_power(lambda v: layer.slope(v) < 1, steepest), digits)
    bottom = inflection
    if layer.potential.edge is None:
        start = first_power(lambda v: layer.slope(v) < 1, inflection, factor=mpf(1) / 2)
        bottom = root_between(lambda v: layer.slope(v) - 1, start, inflection, digits)
    first = [low] if low > 0 else []  # without bias F(V) - V decreases from 0 at V = 0: no root below bottom
    return [*first, *(v for v in (bottom, top) if low < v < high), high]


def _halved(layer: ReferenceLayer) -> tuple[list[Any], bool]:
    """Ends of intervals that hold all positive roots, with a weight mean; and True if all of them were decided."""
    low, high = _reach(layer)
    turn = -layer.threshold * layer.gain2 / layer.mean_gain - layer.bias2  # z' = 0 at turn, z'' = 0 at 3 turn
    cuts = [low, *(v for v in (turn, 3 * turn) if low < v < high), high]
    waiting = [(a, layer.excess(a), b, layer.excess(b)) for a, b in pairwise(cuts)]
    ends, complete = set(), True
    while waiting:
        a, at_a, b, at_b = waiting.pop()
        lowest_slope, highest_slope = layer.slopes(a, b)
        if highest_slope <= 1 or lowest_slope >= 1 or b - a <= _FINEST * b:
            ends |= {a, b}
            complete &= highest_slope <= 1 or lowest_slope >= 1
        elif not _one_sided(at_a, at_b, (b - a) * (1 - lowest_slope), (b - a) * (highest_slope - 1)):
            middle = mp.sqrt(a * b)
            value = layer.excess(middle)
            waiting += [(a, at_a, middle, value), (middle, value, b, at_b)]
    return sorted(ends), complete


def _one_sided(at_a: Any, at_b: Any, fall: Any, rise: Any) -> bool:
    """True if ``F(V) - V`` has no zero on an interval over which it falls by at most ``fall`` and rises by at most ``rise``.

    From ``at_a > 0`` it can reach 0 after ``at_a/fall`` of the interval; from ``at_b`` backwards after ``at_b/rise``. The two
    bounds together exclude a zero if ``at_a/fall + at_b/rise > 1``.
    """
    if at_a < 0:
        at_a, at_b, fall, rise = -at_a, -at_b, rise, fall
    return bool(at_a > 0 and at_b > 0 and rise * at_a + fall * at_b > fall * rise)


def _reach(layer: ReferenceLayer) -> tuple[Any, Any]:
    """Bounds, with a weight mean, of the variance of any fixed point other than silence."""
    high = layer.bias2 + layer.gain2
    if layer.bias2 > 0:
        return layer.bias2, high
    if layer.threshold <= 0:  # at a smaller V, z < 1 and F(V) ≥ g² Q(1) > V
        low = layer.gain2 * layer.potential.tail(mpf(1))
        return (min(low, (layer.gain2 / layer.mean_gain) ** 2) if layer.mean_gain < 0 else low) / 2, high
    z = mpf(2)  # doubled until, for V ≤ (θ/z)², the mean is below θ/2 and F(V) < V
    while (
        2 * abs(layer.mean_gain) * layer.threshold > z**2 * layer.gain2
        or z**2 * layer.potential.tail(z / 2) * layer.gain2 > layer.threshold**2 / 1000
    ):
        z *= 2
    return min((layer.threshold / z) ** 2, high / 2), high


def two_cycles(layer: ReferenceLayer, low: Any, high: Any, digits: int) -> tuple[Cycle, ...]:
    """All two-cycles whose larger variance lies between ``low`` and ``high``, to within the step of the search."""
    if layer.mean_gain == 0 or (layer.mean_gain > 0 and layer.threshold >= 0):
        return ()  # F increases, or contracts in ln V: no cycle

    def secant(variance: Any) -> Any:
        """``1 + (F(F(V)) - F(V))/(F(V) - V)``: 0 on a cycle, but not at a fixed point unless ``F' = -1`` there."""
        following = _image(layer, variance)
        step = following - variance
        return 1 + ((_image(layer, following) - following) / step if step else layer.slope(variance))

    with mp.workdps(15):  # during the search only signs matter
        places = [low * mp.exp(STEP * i) for i in range(int(mp.log(high / low) / STEP) + 2)]
        steep = (i for i, ends in enumerate(pairwise(places)) if layer.slopes(*ends)[0] <= STEEP)
        places = places[next(steep, len(places)) :]  # the larger variance lies above a steep place
        signs = [secant(place) > 0 for place in places]
    turns = [ends for ends, (left, right) in zip(pairwise(places), pairwise(signs), strict=True) if left != right]
    upper = [root_between(secant, *ends, digits) for ends in turns]
    return tuple(_cycle(layer, variance) for variance in upper if layer.excess(variance) < 0)


def _rate(layer: ReferenceLayer, variance: Any) -> Any:
    """``P(u > θ)``: 0 or 1 for ``|z| ≥ FURTHEST``."""
    z = layer.z(variance)
    return mpf(z < 0) if abs(z) >= FURTHEST else layer.rate(variance)


def _image(layer: ReferenceLayer, variance: Any) -> Any:
    return layer.bias2 + layer.gain2 * _rate(layer, variance)


def _cycle(layer: ReferenceLayer, high: Any) -> Cycle:
    low = _image(layer, high)
    flat = abs(layer.z(low)) >= FURTHEST
    multiplier = mpf(0) if flat else layer.slope(low) * layer.slope(high)
    stability = _stability(multiplier, layers=2)
    return Cycle((low, high), (_rate(layer, low), _rate(layer, high)), *stability, _image(layer, low) - high)
