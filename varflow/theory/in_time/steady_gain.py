r"""The gain at which deep layers are stationary with a wanted late rate or variance.

With ``M`` the second moments of a layer's spikes over time, the next layer has ``M' = F(g² M)``. The gain that layers choose
(``chosen_gain``) is used in a whole network of the given depth and refined there, with few points. With all of them, or at
other gains, only the last layers are computed, as many as let the deviation of the first of them decay. Not so where first
steps are silent in deep layers: the next step then dies too, so that layers differ to the end, and whole networks are computed.
The work is bounded: where two networks are too much, they have fewer points, and the error is larger.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from varflow._checks import ConvergenceError
from varflow._progress import Report, beyond, unreported
from varflow.theory.flow.neurons import Neurons
from varflow.theory.in_time.chosen_gain import LONGEST, Guess, Wanted, driven_state, guessed
from varflow.theory.in_time.fixed_point import standard_error
from varflow.theory.in_time.one_gain import WINDOW, every_step, lasting, propagated
from varflow.theory.in_time.responses import LayerState

__all__ = ["STAGES", "Steady", "at_gain", "refined", "steady"]

CONTRACTING = 0.9  # multiplier below which a change within the noise means convergence; above, it may be a slow decay
KEPT = 0.05  # largest relative deviation over the depth of a value that is kept
REFINEMENTS = 10  # most networks tried after the first
STAGES = LONGEST + 2 * (1 + REFINEMENTS)  # most stages of a solution in the progress report
COARSELY = 1e-2  # relative accuracy of a value with few points
SAVING = 3  # smallest ratio of the depth to them for which only the last layers are computed
STEP = 3e-2  # change of ln g from which networks tell d ln value/d ln g: values of networks scatter by up to a per cent
EARLY = 2.5  # of 1/points: with few points lingering networks die early, which raises the smallest gain by so much, relatively
WITHIN = 0.5  # standard errors of a value within which it need not be nearer
DECAYED = 0.3  # to which deviations of layers with few points decay in the last layers
STRIDE = 0.1  # largest change of ln g from one network to the next
FLAT = 0.01  # the smallest slope of a whole network
KNOWN = 0.2  # relative error of a slope, up to which a small step tells it
STEADIEST = 0.1  # smallest 1 - m in the first estimate slope/(1 - m) of a network's d ln value/d ln g
JUMP = 0.3  # difference of ln g, in units of the accuracy, within which a value that passes the wanted one jumps


class Effort(NamedTuple):
    """Points × steps × layers of all networks of a refinement, and the number of them that are tried whatever their work as long
    as none has the wanted value to ``COARSELY``.
    """

    work: int
    fewest: int


ROUGH, FINE = Effort(2**26, 8), Effort(2**25, 4)  # with few points, and with those asked for: a second, and half


@dataclass(frozen=True, slots=True, eq=False)
class Steady:
    """Deep layers at the gain found; arrays have a first axis of replicas.

    Attributes
    ----------
    gain, error : float
        In units of θ/λ; its error is the relative one of the value, and its distance from the wanted one, over
        ``d ln value/d ln g`` of a network, and what fewer points than asked for may shift a gain.
    strength : float
        Standard deviation of the drive, in the same units.
    firing_rate, variance, last : ndarray, shape (replicas, steps)
        Means over the last layers, and the rates of the last layer alone, of a network with this gain in every layer.
    values : ndarray, shape (replicas,)
        The wanted quantity, mean over the last layers.
    chosen : float
        The same before refinement, at the gain that layers choose.
    halfway : float
        The same at half the depth.
    multiplier : float
        Leading multiplier of the layer map.
    reached : bool
        Whether the last layers have the wanted value to within 5 %.
    kept : LayerState
        As of :class:`Propagated`.
    """

    gain: float
    error: float
    strength: float
    firing_rate: np.ndarray
    variance: np.ndarray
    last: np.ndarray
    values: np.ndarray
    chosen: float
    halfway: float
    multiplier: float
    reached: bool
    kept: LayerState


class Response(NamedTuple):
    """``d ln value/d ln g`` of a network, what it is at least, within its standard error, and whether two networks tell."""

    slope: float
    least: float
    measured: bool


@dataclass(frozen=True, slots=True, eq=False)
class Networks:
    """Networks with one gain each, above a driven layer: whole ones, or their last ``layers`` only, above deep layers of a
    similar gain. ``settling``: whole ones end where layers no longer change.
    """

    wanted: Wanted
    neurons: Neurons
    first: LayerState
    layers: int
    settling: bool

    @property
    def work(self) -> int:
        """Points × steps × layers of one."""
        steps = len(self.wanted.shape)
        points = self.neurons.points * self.neurons.scrambles if self.neurons.samples(self.wanted.neuron, steps) else steps
        return self.layers * steps * points

    def whole_if_silent(self, found: Steady) -> Networks:
        """Whole networks if steps are silent in ``found``: deep layers then depend on how silence has spread from layer 1."""
        whole = self.layers == self.wanted.depth - 1 or _every_step(self.wanted, found)
        return self if whole else replace(self, layers=self.wanted.depth - 1, settling=False)

    def whole(self, log_g: float) -> Steady:
        below = self.wanted.depth - self.layers
        options = {"settling": self.settling, "keep": below if below > 1 else self.wanted.depth}
        return _down(self.wanted, self.neurons, math.exp(log_g), self.first, **options)

    def above(self, log_g: float, below: Steady) -> Steady:
        """The last layers, above deep layers of a network with a similar gain, or the whole network."""
        size = self.whole_if_silent(below).layers + 1
        if size < self.wanted.depth:
            deep = _down(self.wanted, self.neurons, math.exp(log_g), below.kept, size, keep=size)
            if _every_step(self.wanted, deep):
                return replace(deep, halfway=below.halfway)
        return self.whole(log_g)


def steady(wanted: Wanted, strength: float, *, farthest: float = 1.0, report: Report = unreported) -> Steady:
    """The gain at which deep layers keep the wanted value, for a layer 1 with a drive of this strength.

    The gain is not refined if the logarithm of its value deviates by more than ``farthest``.
    Raises ConvergenceError if no gain gives a layer that value.
    """
    return refined(wanted, guessed(wanted, strength, report), farthest=farthest, report=beyond(report, LONGEST))


def refined(wanted: Wanted, guess: Guess, *, farthest: float = 1.0, report: Report = unreported) -> Steady:
    """Networks with the gain that layers choose, refined with few points, then with those asked for."""
    m, layers = guess.multiplier, _memory(guess.multiplier, wanted.depth)
    networks = Networks(wanted, wanted.coarse, guess.first, layers, m < CONTRACTING)
    rough = networks.whole(guess.log_gain)
    report(1)
    known = {"strength": guess.strength, "multiplier": m, "chosen": float(rough.values.mean())}
    if abs(_miss(wanted, rough)) >= farthest:
        return replace(rough, **known, reached=False)
    layer = Response(guess.slope / max(1 - m, STEADIEST), guess.slope / (1 + m), False)
    rough, response = _nearest(networks, rough, layer, max(COARSELY, wanted.tolerance), beyond(report, 1), ROUGH)
    if not _reached(wanted, rough):
        return replace(rough, **known, reached=False)
    networks = _with_more_points(networks, rough, guess.strength)
    return replace(_finely(networks, rough, response, beyond(report, STAGES - LONGEST - REFINEMENTS)), **known)


def _finely(networks: Networks, rough: Steady, response: Response, report: Report) -> Steady:
    """The nearest network with more points, and the error of its gain."""
    wanted = networks.wanted
    found = networks.above(math.log(rough.gain) + _step(wanted, rough, response), rough)
    report(0)
    found, response = _nearest(networks, found, response, wanted.tolerance, report, FINE)
    off = _off(wanted, found)
    of_value = math.hypot(float(standard_error(off)), float(off.mean()))
    error = found.gain * math.hypot(of_value / response.least, _early_death(networks))
    return replace(found, error=error, reached=_reached(wanted, found))


def _early_death(networks: Networks) -> float:
    """The relative error of the gain of whole networks with fewer points than asked for, in which activity dies early."""
    wanted, points = networks.wanted, networks.neurons.points
    fewer = points < wanted.fine.points and networks.layers == wanted.depth - 1
    return EARLY / points if fewer and networks.neurons.samples(wanted.neuron, len(wanted.shape)) else 0.0


def _with_more_points(networks: Networks, rough: Steady, strength: float) -> Networks:
    """The same with the points asked for, halved until two fit into ``FINE.work``; whole ones where steps become silent."""
    wanted, points = networks.wanted, networks.wanted.fine.points
    fine = replace(networks.whole_if_silent(rough), neurons=wanted.fine)
    while 2 * fine.work > FINE.work and points > wanted.coarse.points:
        points //= 2
        fine = replace(fine, neurons=replace(wanted.fine, points=points))
    return replace(fine, first=driven_state(wanted, fine.neurons, strength))


def _memory(multiplier: float, depth: int) -> int:
    """The number of last layers that forget the accuracy of those below them; all but the driven one, if that saves little."""
    if not 0 <= multiplier < 1:
        return depth - 1
    layers = 2 * WINDOW + 1 + (math.ceil(math.log(DECAYED) / math.log(multiplier)) if multiplier else 0)
    return layers if SAVING * layers < depth else depth - 1


def _every_step(wanted: Wanted, found: Steady) -> bool:
    return every_step(wanted.neuron, found.last)


def _reached(wanted: Wanted, found: Steady) -> bool:
    return bool(abs(found.values.mean() / wanted.value - 1) < KEPT) and _lasting(wanted, found)


def _lasting(wanted: Wanted, found: Steady) -> bool:
    return bool(lasting(wanted.neuron, found.last).all())


def _off(wanted: Wanted, found: Steady) -> np.ndarray:
    """``ln(value/wanted)`` of each replica."""
    return np.log(np.maximum(found.values, 1e-300) / wanted.value)


def _miss(wanted: Wanted, found: Steady) -> float:
    return float(_off(wanted, found).mean())


def _nearest(
    networks: Networks, found: Steady, response: Response, accuracy: float, report: Report, effort: Effort
) -> tuple[Steady, Response]:
    """The network nearest to the wanted value, to a relative accuracy, and its response: secants in ``ln g`` in a bracket, of
    as many networks as the effort allows.
    """
    wanted, tried = networks.wanted, [found]
    for number in itertools.count(1):
        if (whole := networks.whole_if_silent(found)) is not networks:  # last layers alone did not show the silence
            networks, tried = whole, [found]
        lo, hi = _bracket(wanted, tried)
        nearest = _best(wanted, tried)
        response = _response(wanted, nearest, tried, response)
        done = _near(wanted, nearest, accuracy) and response.measured
        jumps = lo and hi and math.log(hi.gain / lo.gain) < JUMP * accuracy
        fewest = 1 if _near(wanted, nearest, COARSELY) else effort.fewest
        if done or jumps or number >= min(max(effort.work // networks.work, fewest), 1 + REFINEMENTS):
            return nearest, response
        found = networks.above(_next(wanted, lo, hi, response, number), found)
        tried.append(found)
        report(number)


def _bracket(wanted: Wanted, tried: list[Steady]) -> tuple[Steady | None, Steady | None]:
    """The network of the largest gain that is too small, and of the smallest gain that is not."""
    below = [each for each in tried if _too_small(wanted, each)]
    others = [each for each in tried if not _too_small(wanted, each)]
    return max(below, key=lambda each: each.gain, default=None), min(others, key=lambda each: each.gain, default=None)


def _too_small(wanted: Wanted, found: Steady) -> bool:
    """Whether the value needs a larger gain, as a network that dies does in any case."""
    return _miss(wanted, found) < 0 or not _lasting(wanted, found)


def _best(wanted: Wanted, networks: list[Steady]) -> Steady:
    """The one with the value nearest to the wanted one, alive if any is."""
    return min(networks, key=lambda each: (not _lasting(wanted, each), abs(_miss(wanted, each))))


def _next(wanted: Wanted, lo: Steady | None, hi: Steady | None, response: Response, number: int) -> float:
    """``ln g`` of the next network: a step from the better end of the bracket, or its middle; to where its value tells the slope,
    if that is not measured yet.
    """
    end = _best(wanted, [each for each in (lo, hi) if each])
    step, telling = _step(wanted, end, response), min(number * STEP / max(response.slope, 1.0), STRIDE)
    if not response.measured and abs(step) < telling:
        return math.log(end.gain) + math.copysign(telling, step)
    gain = end.gain * math.exp(step)
    return math.log(gain if not lo or not hi or lo.gain < gain < hi.gain else math.sqrt(lo.gain * hi.gain))


def _step(wanted: Wanted, found: Steady, response: Response) -> float:
    """The change of ln g that should give the wanted value; a network that dies needs a larger gain in any case."""
    step = min(max(-_miss(wanted, found) / response.slope, -STRIDE), STRIDE)
    return step if _lasting(wanted, found) else max(step, STEP)


def _near(wanted: Wanted, found: Steady, accuracy: float) -> bool:
    off = _off(wanted, found)
    return _lasting(wanted, found) and bool(abs(off.mean()) < max(accuracy, WITHIN * float(standard_error(off))))


def _response(wanted: Wanted, found: Steady, tried: list[Steady], known: Response) -> Response:
    """The response between a network and the nearest other one that tells it, both alive."""
    for other in sorted(tried, key=lambda each: abs(math.log(each.gain / found.gain))):
        moved, lasting = math.log(other.gain / found.gain), _lasting(wanted, other) and _lasting(wanted, found)
        each = (_off(wanted, other) - _off(wanted, found)) / (moved or 1.0)
        slope, error = float(each.mean()), float(standard_error(each))
        tells = abs(moved) >= STEP / 10 and STEP / 2 <= max(abs(moved), abs(slope * moved)) < 1 and lasting
        if tells and (error <= KNOWN * slope or abs(moved) >= STRIDE / 2):
            return Response(max(slope, FLAT), max(slope - error, FLAT), True)
    return known


def at_gain(wanted: Wanted, gain: float, strength: float) -> Steady:
    """Deep layers at a given gain, for a layer 1 with a drive of this strength."""
    return replace(_down(wanted, wanted.coarse, gain, driven_state(wanted, wanted.coarse, strength)), strength=strength)


def _down(wanted: Wanted, neurons: Neurons, gain: float, first: LayerState, depth: int = 0, **options: Any) -> Steady:
    """A network of one gain, to its depth (the wanted one by default) or, if layers are known to converge, until its rates no
    longer change.
    """
    found = propagated(wanted.neuron, neurons, first, gain, depth or wanted.depth, **options)
    rate, variance = found.firing_rate, found.variance
    if not np.isfinite(rate).all():
        raise ConvergenceError(f"activity grows without bound at gain {gain:.3g} θ/λ")
    values, halfway = wanted.quantity(rate, variance), float(wanted.quantity(*found.halfway).mean())
    unknown = math.nan
    return Steady(gain, 0.0, unknown, rate, variance, found.last, values, unknown, halfway, unknown, True, found.kept)
