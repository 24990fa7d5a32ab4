"""The gain of a wanted value, or the smallest one that lives: secants in ``ln g`` within a bracket, where dead means too low.

Values are deterministic functions of the gain (see ``look``), so noise matters as the error of the answer only, and where two
gains are so near that their slope is nothing but noise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from varflow._progress import Report, unreported
from varflow.theory.deep.look import EXACT, NOISE, Look, Seen

__all__ = ["ENDS", "FAR", "KEPT", "ROUGH", "START", "STRIDE", "TRIES", "Search", "Slope", "search"]

START = math.log(2.5)  # ln g of the first look: the critical gain of memoryless neurons is 2.4565
ENDS = (-math.log(1e3), math.log(1e3))  # ln g that is searched: a rate that needs more is within a thousandth of the largest
STRIDE = 0.25  # change of ln g after the first look; it doubles until there is a bracket
ROUGH = 1e-2  # relative accuracy of values and gains with few points; values nearer than that tell no slope
FLAT = 1e-2  # smallest slope: that of large gains
MARGIN = 0.1  # part of a bracket next to a network that dies, where one would die too; smallest part of a stride
KEPT = 0.05  # distance of ln(value) from the wanted one from which a gain is no answer
FAR = 0.3  # the same in parts of a network; error of ln g from which a value does not determine it
TRIES = 48  # most looks; the first step, known to 1e-10, takes up to 40


@dataclass(frozen=True, slots=True)
class Slope:
    """``d ln value/d ln g``, its standard error, and whether networks of this size told it."""

    value: float = 2.0
    error: float = 1.0
    measured: bool = False

    @property
    def least(self) -> float:
        """Within its standard error."""
        return max(self.value - self.error, FLAT)


@dataclass(frozen=True, slots=True, eq=False)
class Search:
    """What a search saw: the best network, the ends of its bracket, the slope, and the network nearest below that dies."""

    best: Seen
    low: Seen | None
    high: Seen | None
    slope: Slope
    dying: Seen | None

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
        """True if the value is still too large where networks die."""
        ends = self.high is not None and math.isfinite(self.high.miss) and self.at_an_edge
        return ends and self.low.miss > KEPT + 2 * self.low.error  # pyright: ignore[reportOptionalMemberAccess]

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
    slope: Slope = Slope(),
    stride: float = STRIDE,
    ends: tuple[float, float] = ENDS,
    report: Report = unreported,
) -> Search:
    """From ``x`` on, to an ``accuracy`` of ln(value) or half its error; or to a bracket of some ``width`` if there is none."""
    seen: list[Seen] = []
    probe = 2 * ROUGH / slope.value
    while True:
        seen.append(look(min(max(x, ends[0]), ends[1])))
        report(len(seen))
        found = _found(seen, slope)
        best = found.best
        near = best.alive and abs(best.miss) < max(accuracy, best.error / 2)
        outside = (found.high is None and seen[-1].x >= ends[1]) or (found.low is None and seen[-1].x <= ends[0])
        done = outside or found.width < width or found.hopeless or len(seen) == TRIES
        if done or (near and (found.slope.measured or probe > stride)):
            return found
        if near:  # a second network for the slope, farther each time; above, as one below may die
            x, probe = best.x + probe, 2 * probe
        else:
            x, stride = _next(found, seen, stride, width), 2 * stride


def _found(seen: list[Seen], slope: Slope) -> Search:
    """The bracket has its lower end below: of values that fall with the gain, or noise, the ends would never meet."""
    high = min((each for each in seen if not each.low), key=lambda each: each.x, default=None)
    best, below = _better(seen), [each for each in seen if each.low and (high is None or each.x < high.x)]
    low = max(below, key=lambda each: each.x, default=None)
    dying = max((each for each in below if not each.alive), key=lambda each: each.x, default=None)
    return Search(best, low, high, _slope(best, seen, slope), dying)


def _better(seen: list[Seen]) -> Seen:
    return min(seen, key=lambda each: (not each.alive, abs(each.miss)))


def _slope(best: Seen, seen: list[Seen], known: Slope) -> Slope:
    """The slope to the nearest network that differs from the best one by more than noise, if that tells it to a tenth or better
    than it was known.
    """
    living = [each for each in seen if best.alive and each.alive and math.isfinite(each.miss) and each.x != best.x]
    for other in sorted(living, key=lambda each: abs(each.x - best.x)):
        slope, noise = (other.miss - best.miss) / (other.x - best.x), math.hypot(other.error, best.error)
        error = noise / abs(other.x - best.x)
        apart = abs(other.miss - best.miss) > max(NOISE * noise, ROUGH if noise > EXACT else 0.0)
        if slope > 0 and apart and (not known.measured or error / slope < max(known.error / known.value, MARGIN)):
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
        size = min(max(abs(step), 0.0 if found.slope.measured else MARGIN * stride), stride)
        return end.x + (math.copysign(size, step) if end.alive else _to_life(seen, stride))
    if found.at_an_edge and math.isinf(step):
        end, step = low, _to_life(seen, found.width / 2) + 0.9 * width  # above the edge, to close the bracket
    one_sided = len({each.low for each in seen[-3:]}) == 1
    margin = MARGIN * found.width if found.at_an_edge else 0.0
    inside = low.x + margin < end.x + step < high.x and not one_sided
    return end.x + step if inside else found.middle


def _to_life(seen: list[Seen], stride: float) -> float:
    """The step up from a network that dies, by the lifetimes ``N`` of the last two.

    Just below the smallest gain ``g_c`` deviations from the state that vanishes there obey ``dx/dl = x² + c (g_c - g)``, and to
    pass takes ``N ≈ π/√(c (g_c - g))`` layers, so that ``1/N²`` falls linearly with the gain.
    """
    *before, last = sorted((each for each in seen if not each.alive), key=lambda each: each.x)
    one, other = (1 / max(float(each.lifetime.min()), 1e-3) ** 2 for each in ((before or [last])[-1], last))
    if one > other:
        return min((other - 1) / (one - other) * (last.x - before[-1].x), stride)
    return stride * min(4 * (1 - float(last.lifetime.min())), 1.0)
