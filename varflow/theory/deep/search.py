"""The gain of a wanted value, or the smallest one that lives: secants in ``ln g`` within a bracket, where dead means too low.

Values are deterministic functions of the gain (see ``look``), so noise matters as the error of the answer only, and where two
gains are so near that their slope is nothing but noise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from varflow._progress import Report, unreported
from varflow.theory.deep.look import Look, Seen

__all__ = ["FAR", "KEPT", "LARGEST", "STRIDE", "TRIES", "Search", "Slope", "search"]

STRIDE = 0.25  # change of ln g after the first look; it doubles until there is a bracket
APART = 1e-2  # difference of ln(value) from which two networks tell a slope in spite of noise
KNOWN = 3.0  # standard errors by which a slope differs from 0
FLAT = 1e-2  # smallest slope: that of large gains
KEPT = 0.05  # distance of ln(value) from the wanted one from which a gain is no answer
FAR = 0.3  # distance of ln(value) from which networks that are not yet at the edge tell that no gain has a value
CURVED = 4.0  # largest ratio of the slope in the bracket of an edge to that above it; it is 2 where a state vanishes
SLOWEST = 8.0  # ratio of the largest to the smallest step as long as no slope is measured
MARGIN = 0.1  # part of the bracket next to a network that dies: one there would die too
PROBES = 2  # most networks beside the best one for its slope; noise may be larger than what it tells
TRIES = 48  # most looks; the first step, known to 1e-10, takes up to 40
LARGEST = math.log(1e3)  # ln g: a rate that needs more is within a thousandth of the largest


@dataclass(frozen=True, slots=True)
class Slope:
    """``d ln value/d ln g``, its standard error, and whether networks told it."""

    value: float = 2.0
    error: float = 1.0
    measured: bool = False

    @property
    def least(self) -> float:
        """Within its standard error."""
        return max(self.value - self.error, FLAT)


@dataclass(frozen=True, slots=True, eq=False)
class Search:
    """What a search saw: the best network, the ends of its bracket, and the slope."""

    best: Seen
    low: Seen | None
    high: Seen | None
    slope: Slope

    @property
    def width(self) -> float:
        """Of the bracket, in ln g."""
        return self.high.x - self.low.x if self.low and self.high else math.inf

    @property
    def middle(self) -> float:
        """Of the bracket; its only end, if it has one."""
        ends = [end.x for end in (self.low, self.high) if end]
        return sum(ends) / len(ends)

    @property
    def at_an_edge(self) -> bool:
        """True if the network at the lower end of the bracket dies."""
        return self.low is not None and not self.low.alive

    @property
    def hopeless(self) -> bool:
        """True if no gain has the value: where networks die it is still larger, or its slope tells so from farther away."""
        if not self.at_an_edge or self.high is None or not math.isfinite(self.high.miss):
            return False
        fall = CURVED * self.slope.value * self.width
        return self.low.miss > KEPT + 2 * self.low.error or (self.slope.measured and self.high.miss > FAR + fall)

    @property
    def answer(self) -> float:
        """ln g, corrected to first order; but a gain next to one that dies is the living one."""
        if self.at_an_edge or not math.isfinite(self.best.miss):
            return self.best.x
        return self.best.x - min(max(self.best.miss / self.slope.value, -STRIDE), STRIDE)


def search(
    look: Look,
    x: float,
    *,
    accuracy: float,
    width: float,
    apart: float = APART,
    slope: Slope = Slope(),
    stride: float = STRIDE,
    ends: tuple[float, float] = (-LARGEST, LARGEST),
    tries: int = TRIES,
    report: Report = unreported,
) -> Search:
    """From ``x`` on, to an ``accuracy`` of ln(value) or half its error; or to a bracket of some ``width`` if there is none.

    Networks whose ln(value) is ``apart`` tell a slope.
    """
    seen: list[Seen] = []
    probes = 0
    while True:
        seen.append(look(min(max(x, ends[0]), ends[1])))
        report(len(seen))
        found = _found(seen, slope, apart)
        best, slope = found.best, found.slope
        near = best.alive and abs(best.miss) < max(accuracy, best.error / 2)
        outside = (found.high is None and seen[-1].x >= ends[1]) or (found.low is None and seen[-1].x <= ends[0])
        done = near and (slope.measured or probes == PROBES)
        if done or outside or found.width < width or found.hopeless or len(seen) >= tries:
            return found
        if near:  # a second network for the slope; above, as one below may die
            x, probes = best.x + 2**probes * 2 * apart / slope.value, probes + 1
        else:
            x, stride = _next(found, seen, stride, width), 2 * stride


def _found(seen: list[Seen], slope: Slope, apart: float) -> Search:
    """The bracket has its lower end below: of values that fall with the gain, or noise, the ends would never meet."""
    high = min((each for each in seen if not each.low), key=lambda each: each.x, default=None)
    below = (each for each in seen if each.low and (high is None or each.x < high.x))
    best = _better(seen)
    return Search(best, max(below, key=lambda each: each.x, default=None), high, _slope(best, seen, slope, apart))


def _better(seen: list[Seen]) -> Seen:
    return min(seen, key=lambda each: (not each.alive, abs(each.miss)))


def _slope(best: Seen, seen: list[Seen], known: Slope, apart: float) -> Slope:
    """The slope to the nearest network from which the best one differs by more than noise."""
    living = [each for each in seen if each.alive and math.isfinite(each.miss) and each.x != best.x]
    for other in sorted(living, key=lambda each: abs(each.x - best.x)) if best.alive else ():
        slope = (other.miss - best.miss) / (other.x - best.x)
        error = math.hypot(other.error, best.error) / abs(other.x - best.x)
        if abs(other.miss - best.miss) >= apart and slope > KNOWN * error:
            return Slope(max(slope, FLAT), error, True)
    return known


def _next(found: Search, seen: list[Seen], stride: float, width: float) -> float:
    """The secant's gain from the better end of the bracket; its middle if that leaves it or lies next to a network that dies,
    or if three looks fell on one side.
    """
    low, high = found.low, found.high
    end = _better([each for each in (low, high) if each])
    step = -end.miss / found.slope.value
    if not (low and high):
        least = 0.0 if found.slope.measured else stride / SLOWEST
        size = min(max(abs(step), least), stride)
        return end.x + (math.copysign(size, step) if end.alive else _to_life(seen, stride))
    if found.at_an_edge and math.isinf(step):
        end, step = low, _to_life(seen, found.width / 2) + 0.9 * width  # above the edge, to close the bracket
    one_sided = len({each.low for each in seen[-3:]}) == 1
    margin = MARGIN * found.width if found.at_an_edge else 0.0
    inside = low.x + margin < end.x + step < high.x and not one_sided
    return end.x + step if inside else (low.x + high.x) / 2


def _to_life(seen: list[Seen], stride: float) -> float:
    """The step up from a network that dies, by the lifetimes ``N`` of the last two.

    Just below the smallest gain ``g_c`` deviations from the state that vanishes there obey ``dx/dl = x² + c (g_c - g)``, and to
    pass takes ``N ≈ π/√(c (g_c - g))`` layers, so that ``1/N²`` falls linearly with the gain.
    """
    *_, last = dying = sorted((each for each in seen if not each.alive), key=lambda each: each.x)
    one, other = (1 / max(float(each.lifetime.min()), 1e-3) ** 2 for each in (dying[-2:] if len(dying) > 1 else 2 * [last]))
    if one > other:
        return min((other - 1) / (one - other) * (last.x - dying[-2].x), stride)
    return stride * min(4 * (1 - float(last.lifetime.min())), 1.0)
