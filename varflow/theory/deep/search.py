"""The gain of a wanted value, or the smallest one that lives, at which the lifetime is the depth: secants in ``ln g`` within a
bracket, where dead means too low.

Values are deterministic functions of the gain (see ``look``), so noise matters as the error of the answer only, and where two
gains are so near that their slope is nothing but noise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from varflow._progress import Report, unreported
from varflow.theory.deep.look import EXACT, NOISE, Look, Seen
from varflow.theory.signals.places import standard_error

START = math.log(2.5)  # ln g of the first look: the critical gain of memoryless neurons is 2.4565
LIMITS = (-math.log(1e3), math.log(1e3))  # of ln g: a rate that needs more is within a thousandth of the largest
STRIDE = 0.25  # change of ln g after the first look; it doubles until there is a bracket
ROUGH = 1e-2  # relative accuracy of values and gains with few points; values nearer than that tell no slope
FLAT = 1e-2  # smallest slope: that of large gains
MARGIN = 0.1  # part of a bracket next to a network that dies, where one would die too; smallest part of a stride
VALUE_TOLERANCE = 0.05  # distance of ln(value) from the wanted one beyond which a gain is no answer
TRIES = 48  # most looks; the first step, known to 1e-10, takes up to 40


@dataclass(frozen=True, slots=True)
class Slope:
    """``d ln value/d ln g``, its standard error, and whether networks of this size told it."""

    value: float = 2.0
    error: float = 1.0
    measured: bool = False

    @property
    def least(self) -> float:
        """The slope less its standard error."""
        return max(self.value - self.error, FLAT)


@dataclass(frozen=True, slots=True, eq=False)
class Search:
    """The best network seen, those at the ends of the bracket, the slope, and the network nearest below that dies."""

    best: Seen
    lower: Seen | None
    upper: Seen | None
    slope: Slope
    dying: Seen | None

    @property
    def width(self) -> float:
        """Width of the bracket in ln g."""
        return self.upper.x - self.lower.x if self.lower and self.upper else math.inf

    @property
    def middle(self) -> float:
        """Middle of the bracket in ln g; its only end, if it has one."""
        ends = [end.x for end in (self.lower, self.upper) if end]
        return sum(ends) / len(ends)

    @property
    def at_an_edge(self) -> bool:
        """True if the network at the lower end of the bracket dies."""
        return self.lower is not None and not self.lower.alive

    @property
    def out_of_reach(self) -> bool:
        """True if the value is still too large where networks die, so that no living one has it."""
        if not (self.lower and self.upper and self.at_an_edge) or math.isinf(self.upper.miss):
            return False
        return float(self.lower.off.mean() - 2 * standard_error(self.lower.off)) > VALUE_TOLERANCE

    @property
    def corrected(self) -> float:
        """ln g of the best network, corrected to first order for its miss, where the next search starts.

        Next to a gain that dies it is the living one.
        """
        if self.at_an_edge or math.isinf(self.best.miss):
            return self.best.x
        return self.best.x - min(max(self.best.miss / self.slope.value, -STRIDE), STRIDE)


def search(
    look: Look,
    x: float,
    *,
    accuracy: float,
    width: float,
    slope: Slope = Slope(),
    stride: float = STRIDE,
    limits: tuple[float, float] = LIMITS,
    report: Report = unreported,
) -> Search:
    """Search from ``x`` on for ``ln(value/wanted) = 0``, to an ``accuracy`` or to half the error.

    It ends there once the slope is measured, or no network within a stride tells one. It also ends where the bracket is
    narrower than ``width``, as values jump or networks die within it; at a limit; and where the value is out of reach. An
    accuracy of 0 asks for such a bracket, and steps of nearly its width close it.
    """
    seen: list[Seen] = []
    least = 0.0 if accuracy else (1 - MARGIN) * width
    aside = 2 * ROUGH / slope.value  # from the best network to a second one that tells the slope
    while True:
        seen.append(look(min(max(x, limits[0]), limits[1])))
        report(len(seen))
        found = _found(seen, slope)
        best = found.best
        near = best.alive and abs(best.miss) < max(accuracy, best.error / 2)
        outside = (found.upper is None and seen[-1].x >= limits[1]) or (found.lower is None and seen[-1].x <= limits[0])
        done = outside or found.width < width or found.out_of_reach or len(seen) == TRIES
        if done or (near and (found.slope.measured or aside > stride)):
            return found
        if near:  # above, as a network below may die
            x, aside = best.x + aside, 2 * aside
        else:
            x, stride = _next(found, seen, stride, least), 2 * stride


def _found(seen: list[Seen], slope: Slope) -> Search:
    """The bracket has its lower end below: of values that fall with the gain, or noise, the ends would never meet."""
    upper = min((each for each in seen if not each.too_low), key=lambda each: each.x, default=None)
    best, below = _better(seen), [each for each in seen if each.too_low and (upper is None or each.x < upper.x)]
    lower = max(below, key=lambda each: each.x, default=None)
    dying = max((each for each in below if not each.alive), key=lambda each: each.x, default=None)
    return Search(best, lower, upper, _slope(best, seen, slope), dying)


def _better(seen: list[Seen]) -> Seen:
    return min(seen, key=lambda each: (not each.alive, abs(each.miss)))


def _slope(best: Seen, seen: list[Seen], known: Slope) -> Slope:
    """The slope to the nearest network that differs from the best one by more than noise, if that tells it to a tenth or better
    than it was known. Of networks that die it is that of their lifetimes.
    """
    others = [each for each in seen if each.alive == best.alive and math.isfinite(each.miss) and each.x != best.x]
    for other in sorted(others, key=lambda each: abs(each.x - best.x)):
        slope, noise = (other.miss - best.miss) / (other.x - best.x), math.hypot(other.error, best.error)
        error = noise / abs(other.x - best.x)
        differ = abs(other.miss - best.miss) > max(NOISE * noise, ROUGH if noise > EXACT else 0.0)
        if slope > 0 and differ and (not known.measured or error / slope < max(known.error / known.value, MARGIN)):
            return Slope(max(slope, FLAT), error, True)
    return known


def _next(found: Search, seen: list[Seen], stride: float, least: float) -> float:
    """The secant's gain from the better end of the bracket, by a least step; its middle if that leaves it or lies next to a
    network that dies, or if three looks fell on one side and came no nearer.
    """
    lower, upper = found.lower, found.upper
    end = _better([each for each in (lower, upper) if each])
    step = -end.miss / found.slope.value
    step = math.copysign(max(abs(step), least), step)
    if not (lower and upper):
        size = min(max(abs(step), 0.0 if found.slope.measured else MARGIN * stride), stride)
        return end.x + math.copysign(size, step)
    margin = MARGIN * found.width if found.at_an_edge and end.alive else 0.0
    stuck = len({each.too_low for each in seen[-3:]}) == 1 and not abs(seen[-1].miss) < abs(seen[-2].miss) / 2
    return end.x + step if lower.x + margin < end.x + step < upper.x and not stuck else found.middle
