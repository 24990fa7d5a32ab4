"""The gain at which layer ``depth`` has a wanted late rate or variance: one search, in networks of rising effort.

``solve`` finds it for a ``Question``, which ``init/in_time.py`` makes of a rate or variance, and the gains of torch models too;
``drive_strength`` gives the currents under which layer 1 has that value, ``attainable`` the range of values for refusals.

First come networks of an eighth, a quarter and half of the layers and steps, then whole ones with few points, then those with
the points asked for, as far as the work allows. Where first steps are silent, steps die at a constant speed in steps per layer,
and only the ends of the network change what it needs: the gain differs from that of a network without end by about 1/size, so
its change halves from size to size. Elsewhere each size has nearly the gain of the one before.

A search for the gain of a wanted value, or the smallest one that lives, at which the lifetime is the depth, takes secants in
``ln g`` within a bracket, where dead means too low.

Values are deterministic functions of the gain (see ``look``), so noise matters as the error of the answer only, and where two
gains are so near that their slope is nothing but noise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial

from varflow._checks import ConvergenceError
from varflow._progress import Report, unreported
from varflow.theory.deep.fixed_point import leading_multiplier
from varflow.theory.deep.look import (
    EXACT,
    NOISE,
    WINDOW,
    Look,
    Question,
    Seen,
    driven,
    looking,
    next_of_gain,
    of_replicas,
    steady,
)
from varflow.theory.responses.neurons import Responses
from varflow.theory.roots import rising_root
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


COARSE = 2**9  # points, of two scrambles: with fewer a layer costs as much
WORK = 2**25  # points × scrambles × steps × layers of the networks of a search: half a second
HALVINGS = 3  # of the layers and steps, for the first search
FEWEST = 8  # layers and steps that tell something
NEARBY = STRIDE / 8  # change of ln g after the first look of a search that begins near the answer
SHARP = 1e-10  # width of a bracket without sampling
ACCURACY = 2e-4  # relative, of drives, of values (far below the claim of 1 %), and of smallest gains without sampling
GAIN_TOLERANCE = 0.3  # error of ln g from which the value does not determine it
DEVIATION = 0.2  # relative, of the power iteration for the multiplier: large against the noise


@dataclass(frozen=True, slots=True, eq=False)
class Solution:
    """The network found, under currents ``strength`` times the question's; ``error`` is that of ln g.

    ``multiplier`` is the factor on a small deviation per layer.
    """

    seen: Seen
    strength: float
    error: float
    multiplier: float


@dataclass(frozen=True, slots=True, eq=False)
class Rung:
    """A search in networks of one size and so many points, and living networks beside the best one, where layers do not settle.

    There values rise unevenly, and few scrambles may agree by chance: the largest scatter and the smallest slope count.
    """

    question: Question
    responses: Responses
    search: Search
    beside: tuple[Seen, ...] = ()

    @property
    def settles(self) -> bool:
        """True if the best network ended before the depth; in one that lives and does not grow, layers no longer change."""
        return self.search.best.layers < self.question.depth

    @property
    def noise(self) -> float:
        """Error of ln(value) at one gain: the largest of these networks."""
        return max(each.error for each in (self.search.best, *self.beside))

    @property
    def slopes(self) -> list[float]:
        """To the networks beside the best, at least what noise leaves open; without them that of the search, and its least."""
        best, slope = self.search.best, self.search.slope
        steps = [(each.x - best.x, each.miss - best.miss) for each in self.beside]
        told = [max(rise / step, self.noise / abs(step), FLAT) for step, rise in steps]
        return told or [slope.value, max(slope.value - slope.error, FLAT)]

    def early_miss(self, responses: Responses) -> float:
        """Error of ln(value) by early death in networks with these points."""
        return max(self.slopes) * self.question.early_death(responses)

    def misses(self, tolerance: float) -> bool:
        """True if no gain brings ln(value) within a tolerance: the best one dies, is the largest and too small, or is off."""
        best = self.search.best
        too_small = self.search.upper is None and best.x >= LIMITS[1]
        return too_small or not best.alive or abs(best.miss) > tolerance

    @property
    def hopeless(self) -> bool:
        """True if no gain of networks with more points will have the value either."""
        return self.misses(VALUE_TOLERANCE + self.early_miss(self.responses) + 2 * self.search.best.error)

    def answers(self, points: int) -> bool:
        """True if the gain has the value and the value tells the gain."""
        return not (self.misses(VALUE_TOLERANCE) or self.error(points) > GAIN_TOLERANCE or self.near_death(self.responses))

    def near_death(self, responses: Responses) -> bool:
        """True if the value is that of networks about to die, which depends on such points, and falls further below."""
        best, dying = self.search.best, self.search.dying
        falls = dying is None or dying.off.mean() < 0
        return falls and best.lifetime.min() < 1 + STRIDE and self.early_miss(responses) > VALUE_TOLERANCE / 2

    def error(self, points: int) -> float:
        """Error of ln g: of the value over its slope, and by early death in whole networks of fewer points than asked for."""
        early = self.question.early_death(self.responses) if self.responses.points < points and not self.settles else 0.0
        return math.hypot(math.hypot(self.noise, self.search.best.miss) / min(self.slopes), early)


def drive_strength(question: Question, responses: Responses, start: float = 1.0) -> float:
    """Standard deviation of the currents with which layer 1 has the value, in that of the question's."""

    def excess(strength: float) -> float:
        first = driven(question.neuron, responses, strength**2 * question.drive)
        return float(question.values(first).mean()) - question.value

    return rising_root(excess, start, ACCURACY)


def with_few_points(responses: Responses) -> Responses:
    """Two scrambles of so few points that the numbers cost no more than the calls."""
    return replace(responses, points=min(responses.points, COARSE), scrambles=2)


def solve(question: Question, responses: Responses, strength: float, report: Report = unreported) -> Solution:
    """The gain under currents ``strength`` times the question's, or as strong as θ/λ where weaker ones leave no answer.

    Below θ/λ they may be too weak to keep every step alive. The value is that at the gain, which is not corrected further.
    ConvergenceError if no gain has the value.
    """
    for factor in sorted({strength, max(strength, 1.0)}):
        rung = _ladder(question.driven_by(factor), responses, report)
        if rung.answers(responses.points):
            return Solution(rung.search.best, factor, rung.error(responses.points), _multiplier(rung))
    raise ConvergenceError("no gain sustains this value")


def _ladder(question: Question, responses: Responses, report: Report) -> Rung:
    """The search in parts, in whole networks with few points unless more cost as little, and with those asked for.

    It ends in networks that are hopeless. A drive that varies in time has no parts, and without sampling a whole network costs
    little.
    """
    coarse, x, before, rung = with_few_points(responses), START, None, None
    sampled = responses.samples(question.neuron, question.steps)
    parts = (question.in_part(2**halvings) for halvings in range(HALVINGS, 0, -1) if sampled and steady(question.drive))
    for part in (each for each in parts if min(each.depth, each.steps) >= FEWEST):
        rung = _rung(part, coarse, x, rung, ROUGH, report)
        if rung.hopeless:
            return rung
        x = rung.search.corrected
        x, before = x + (0.0 if before is None else (x - before) / 2), x
    if sampled and (rung is None or _affordable(question, responses, rung).points > 2 * coarse.points):
        rung = _rung(question, coarse, x, rung, ROUGH, report)
        if rung.hopeless or rung.near_death(responses):
            return rung
        x = rung.search.corrected
    return _rung(question, _affordable(question, responses, rung), x, rung, ACCURACY if sampled else EXACT, report)


def _affordable(question: Question, responses: Responses, rung: Rung | None) -> Responses:
    """The points asked for: scrambles, then points halved until one network fits into the work, or two where layers settle."""
    layers = question.depth
    if rung and rung.settles:  # two networks, each half as deep again: more points see smaller changes
        layers = min(3 * rung.search.best.layers, question.depth)
    while responses.points * responses.scrambles * question.steps * layers > WORK and responses.points > COARSE:
        fewer = {"scrambles": responses.scrambles // 2} if responses.scrambles > 2 else {"points": responses.points // 2}
        responses = replace(responses, **fewer)
    return responses


def _rung(question: Question, responses: Responses, x: float, before: Rung | None, accuracy: float, report: Report) -> Rung:
    """The search from ``x``, where other networks may tell the gain and its slope."""
    width = 1 / responses.points if responses.samples(question.neuron, question.steps) else SHARP
    slope, stride = (before.search.slope, NEARBY) if before else (Slope(), STRIDE)
    slope = replace(slope, measured=slope.measured and before is not None and before.question.depth == question.depth)
    look = looking(question, responses)
    found = search(look, x, accuracy=accuracy, width=width, slope=slope, stride=stride, report=report)
    rung, best = Rung(question, responses, found), found.best
    if accuracy != ACCURACY or rung.settles or rung.misses(VALUE_TOLERANCE):
        return rung
    step = max(ROUGH, NOISE * best.error) / found.slope.value
    both = (look(best.x - step), look(best.x + step))
    return replace(rung, beside=tuple(each for each in both if each.alive and math.isfinite(each.miss)))


def _multiplier(rung: Rung) -> float:
    """The leading multiplier of the last layers, with few points."""
    neuron, seen, responses = rung.question.neuron, rung.search.best, with_few_points(rung.responses)
    layer = partial(next_of_gain, neuron, responses, seen.gain)
    state = of_replicas(seen.state, responses.replicas(neuron, rung.question.steps))
    return leading_multiplier(layer, state, 1, rounds=2 * WINDOW, size=DEVIATION)[0]


def attainable(question: Question, responses: Responses) -> tuple[float, float, float]:
    """The value at the smallest gain with which late steps live, its error, and the value at the largest gain: infinite if
    values grow over the layers.

    Where the first is steep, few points tell it to what the error of the smallest gain changes.
    """
    coarse = with_few_points(responses)
    look, width = looking(question, coarse), question.early_death(coarse) or ACCURACY
    edge = search(lambda x: look(x).of_lifetime(), START, accuracy=0.0, width=width).middle
    most, *least = (look(x) for x in (LIMITS[1], edge + width / 2, edge + 3 * width / 2))
    near, far = (float(question.values(seen.state).mean()) for seen in least)
    return (near + far) / 2, far - near, math.inf if math.isinf(most.miss) else float(question.values(most.state).mean())
