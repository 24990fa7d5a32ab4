"""The gain at which layer ``depth`` has a wanted late rate or variance: one search, in networks of rising effort.

First come networks of an eighth, a quarter and half of the layers and steps, then whole ones with few points, then those with
the points asked for, as far as the work allows. Where first steps are silent, steps die at a constant speed in steps per layer,
so that from size to size the change of the gain halves; elsewhere each size has nearly the gain of the one before.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from varflow._checks import ConvergenceError
from varflow._progress import Report, unreported
from varflow.theory.deep.fixed_point import leading_multiplier
from varflow.theory.deep.look import EXACT, WINDOW, Question, Seen, driven, looking, next_of_gain, steady
from varflow.theory.deep.search import ENDS, FAR, KEPT, ROUGH, START, STRIDE, Search, Slope, search
from varflow.theory.responses.layer_state import LayerState
from varflow.theory.responses.neurons import Responses
from varflow.theory.roots import rising_root

__all__ = [
    "ACCURACY",
    "EARLY",
    "SHARP",
    "OutOfReachError",
    "Range",
    "Solution",
    "attainable",
    "drive_strength",
    "few",
    "solve",
]

COARSE = 2**9  # points, of two scrambles: with fewer a layer costs the same
WORK = 2**25  # points × scrambles × steps × layers of the networks of a search: half a second
PARTS = 8  # of the layers and steps, halved from search to search; and the fewest layers and steps of a part
FINE = 3e-4  # accuracy of ln(value) with the points asked for: far below the claim of 1 %
SHARP = 1e-10  # width of a bracket without sampling
EARLY = 2.5  # of 1/points: with few points lingering networks die early, which raises the smallest gain by so much (measured)
ACCURACY = 2e-4  # relative, of drives and of smallest gains without sampling
DEVIATION = 0.2  # relative, of the power iteration for the multiplier: large against the noise


@dataclass(frozen=True, slots=True, eq=False)
class Solution:
    """The network found, under a drive so many times as strong as the question's; ``error`` is that of ln g.

    ``multiplier`` is the factor on a small deviation per layer.
    """

    network: Seen
    strength: float
    error: float
    multiplier: float


@dataclass(frozen=True, slots=True, eq=False)
class Range:
    """Networks of the smallest gain that sustains activity and of the largest gain."""

    least: Seen
    most: Seen

    def values(self, question: Question) -> tuple[float, float]:
        """The value of both."""
        least, most = (float(question.values(end.state).mean()) for end in (self.least, self.most))
        return least, most


class OutOfReachError(ConvergenceError):
    """No gain has the value; ``x`` is the ln g near which networks die, or where the search ended."""

    def __init__(self, x: float):
        super().__init__("no gain sustains this value")
        self.x = x


@dataclass(frozen=True, slots=True, eq=False)
class Rung:
    """A search in networks of one size and so many points, and the one before it."""

    question: Question
    neurons: Responses
    search: Search
    before: Rung | None

    @property
    def settled(self) -> bool:
        """True if layers no longer change above some layer."""
        return self.search.best.layers < self.question.depth

    @property
    def early_death(self) -> float:
        """By how much the smallest gain that lives is too large, relatively."""
        return EARLY / self.neurons.points if self.neurons.samples(self.question.neuron, self.question.steps) else 0.0

    @property
    def chance(self) -> float:
        """By how much ln(value) is unsure on account of it."""
        return self.search.slope.value * self.early_death

    def lacks(self, room: float) -> bool:
        """True if no gain has the value: the largest is too small, or the best network is farther off than noise explains."""
        best, too_small = self.search.best, self.search.high is None and self.search.best.x >= ENDS[1]
        return too_small or not best.alive or abs(best.miss) > room + self.chance + 2 * best.error

    def answers(self, points: int) -> bool:
        """True if the gain has the value and the value tells the gain; not where it falls as networks die, by chance."""
        best, alike = self.search.best, [rung for rung in (self, self.before) if rung and rung.question is self.question]
        dying = [rung.search.dying for rung in alike if rung.search.dying]
        falls = self.chance > KEPT and any(each.miss < 0 and best.x - each.x < 2 * self.early_death for each in dying)
        return not (self.lacks(KEPT) or abs(best.miss) > KEPT or self.error(points) > FAR or falls)

    def error(self, points: int) -> float:
        """Error of ln g: of the value over its slope, and by early death in whole networks of fewer points than asked for."""
        best, least = self.search.best, self.search.slope.least
        early = self.early_death if self.neurons.points < points and not self.settled else 0.0
        return math.hypot(best.error / least, best.miss / least, early)


def drive_strength(question: Question, neurons: Responses, start: float = 1.0) -> float:
    """Standard deviation of the drive, in that of the question's, that gives layer 1 the value."""

    def excess(strength: float) -> float:
        first = driven(question.neuron, neurons, strength**2 * question.drive)
        return float(question.values(first).mean()) - question.value

    return rising_root(excess, start, ACCURACY)


def few(neurons: Responses) -> Responses:
    """As many points as cost nothing."""
    return replace(neurons, points=min(neurons.points, COARSE), scrambles=2)


def solve(question: Question, neurons: Responses, strength: float | None, report: Report = unreported) -> Solution:
    """The gain under a drive of this strength, or of θ/λ where there is none or it is weaker and leaves too few steps alive.

    Raises OutOfReachError.
    """
    weak, strong = strength or 1.0, max(strength or 1.0, 1.0)
    if strength is None and looking(question, few(neurons))(ENDS[1]).low:
        raise OutOfReachError(START)
    x = START
    for drive in dict.fromkeys((weak, strong)):
        rung = _ladder(question.driven_by(drive), neurons, FAR if drive == strong else KEPT, report)
        if rung.answers(neurons.points):
            return Solution(rung.search.best, drive, rung.error(neurons.points), _multiplier(rung, few(neurons)))
        x = (rung.search.low or rung.search.best).x
    raise OutOfReachError(x)


def _ladder(question: Question, neurons: Responses, room: float, report: Report) -> Rung:
    """The search in parts, in whole networks with few points unless more cost as little, and with those asked for.

    It ends in networks that lack the value, parts by more than ``room``. A drive that varies in time has no parts, and without
    sampling those of few steps would cost as much as the whole.
    """
    coarse, x, before, rung = few(neurons), START, None, None
    noisy = neurons.samples(question.neuron, question.steps)
    divided = steady(question.drive) and (noisy or question.steps > PARTS**2)
    smallest = min(question.depth, question.steps) // PARTS if divided else 0
    for part in [part for part in (PARTS, PARTS // 2, PARTS // 4) if part <= smallest]:
        rung = _rung(question.in_part(part), coarse, x, rung, ROUGH, report)
        if rung.lacks(room):
            return rung
        x = rung.search.answer
        x, before = x + (0.0 if before is None else (x - before) / 2), x
    if noisy and (rung is None or _affordable(question, neurons, rung).points > 2 * coarse.points):
        rung = _rung(question, coarse, x, rung, ROUGH, report)
        if rung.lacks(KEPT):
            return rung
        x = rung.search.answer
    return _rung(question, _affordable(question, neurons, rung), x, rung, FINE if noisy else EXACT, report)


def _affordable(question: Question, neurons: Responses, rung: Rung | None) -> Responses:
    """The points asked for: scrambles, then points halved until one network fits into the work or, where layers settle, two of
    half as many layers again as with few points.
    """
    layers = min(3 * rung.search.best.layers, question.depth) if rung and rung.settled else question.depth
    while neurons.points * neurons.scrambles * question.steps * layers > WORK and neurons.points > COARSE:
        fewer = {"scrambles": neurons.scrambles // 2} if neurons.scrambles > 2 else {"points": neurons.points // 2}
        neurons = replace(neurons, **fewer)
    return neurons


def _rung(question: Question, neurons: Responses, x: float, before: Rung | None, accuracy: float, report: Report) -> Rung:
    """The search from ``x``, where other networks may tell the gain and its slope."""
    width = 1 / neurons.points if neurons.samples(question.neuron, question.steps) else SHARP
    slope, stride = Slope(), STRIDE
    if before:
        slope, stride = before.search.slope, STRIDE / PARTS
        slope = replace(slope, measured=slope.measured and before.question.depth == question.depth)
    look = looking(question, neurons)
    found = search(look, x, accuracy=accuracy, width=width, slope=slope, stride=stride, report=report)
    return Rung(question, neurons, found, before)


def _multiplier(rung: Rung, neurons: Responses) -> float:
    """The leading multiplier of the last layers."""
    neuron, network = rung.question.neuron, rung.search.best

    def layer(below: LayerState, number: int) -> LayerState:
        return next_of_gain(neuron, neurons, below, network.gain, number)

    replicas, state = neurons.replicas(neuron, rung.question.steps), network.state
    moments = (state.variance, state.potential_mean, state.firing_rate, state.second_moments)
    few_replicas = LayerState(*(values[:replicas] for values in moments))
    return leading_multiplier(layer, few_replicas, 1, rounds=2 * WINDOW, size=DEVIATION)[0]


def attainable(question: Question, neurons: Responses, start: float = START) -> Range:
    """What gains sustain: networks of the smallest one with which late steps live, and of the largest.

    The smallest is sought on a grid, so that it does not depend on where the search begins; where it is steep, values of
    neighbours on the grid differ by per cents.
    """
    coarse = few(neurons)
    look, living = looking(question, coarse), looking(replace(question, value=math.nan), coarse)
    on_grid = lambda x: living(round(x / ROUGH) * ROUGH)  # noqa: E731
    edge = search(on_grid, start, accuracy=ROUGH, width=1.5 * ROUGH, stride=STRIDE if start == START else STRIDE / PARTS)
    return Range(edge.high or edge.best, look(ENDS[1]))
