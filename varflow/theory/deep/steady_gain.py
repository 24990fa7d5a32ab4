r"""The gain at which deep layers are stationary with a wanted late rate or variance.

With ``M`` the second moments of a layer's spikes over time, the next layer has ``M' = F(g² M)``. The gain that layers choose
(``chosen_gain``) is used in a whole network of the given depth and refined there, with few points. With all of them, or at
other gains, only the last layers are computed, as many as let the deviation of the first of them decay. Not so where first
steps are silent in deep layers: the next step then dies too, so that layers differ to the end. There, smaller networks tell
the gain of whole ones. The work is bounded: where two networks are too much, they have fewer points or, with silent steps, only
two scrambles, and the error is larger.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from varflow._checks import ConvergenceError
from varflow._progress import Report, beyond, unreported
from varflow.theory.deep.chosen_gain import LONGEST, Guess, Wanted, driven_state, guessed
from varflow.theory.deep.fixed_point import standard_error
from varflow.theory.deep.gain_search import COARSELY, KEPT, REFINEMENTS, Effort, Found, Response, nearest, step_to
from varflow.theory.deep.last_layers import DeepLayers, Networks, down
from varflow.theory.deep.one_gain import WINDOW

__all__ = ["KEPT", "STAGES", "Solution", "TooWeakError", "at_gain", "in_parts", "refined", "steady"]

CONTRACTING = 0.9  # multiplier below which a change within the noise means convergence; above, it may be a slow decay
STAGES = LONGEST + 2 * (1 + REFINEMENTS)  # most stages of a solution in the progress report
SAVING = 3  # smallest ratio of the depth to them for which only the last layers are computed
DECAYED = 0.3  # to which deviations of layers with few points decay in the last layers
SHORTEST = 8  # steps and layers of the smallest networks in which a gain is looked for
STEADIEST = 0.1  # smallest 1 - m in the first estimate slope/(1 - m) of a network's d ln value/d ln g
ROUGH, FINE = Effort(2**26, 8), Effort(2**25, 4)  # with few points, and with those asked for: a second, and half
UNLIKE = 0.3  # relative difference of the value of layer 1 in a part of the steps above which the drive changes in time
PART = Effort(2**24, 7)  # in a part of the layers and steps
STEEPER = 2.0  # largest factor by which a response grows from a size to the next
CLOSE = 2e-2  # relative accuracy of the value there, before the gain is corrected to first order


@dataclass(frozen=True, slots=True, eq=False)
class Solution:
    """The network found from a guess; ``gain_error``, in units of θ/λ, is the error of its value, and its distance from the
    wanted one, over the response, and what fewer points than asked for may shift a gain.

    ``chosen`` is the value before refinement, at the gain that layers choose, and ``reached`` whether the last layers have
    the wanted one to within ``KEPT``, at a gain that it determines. ``dying`` is the network of the next smaller gain, if that
    dies.
    """

    guess: Guess
    network: DeepLayers
    chosen: float
    reached: bool
    gain_error: float = math.nan
    dying: DeepLayers | None = None


def steady(wanted: Wanted, strength: float, *, farthest: float = 1.0, report: Report = unreported) -> Solution:
    """The gain at which deep layers keep the wanted value, for a layer 1 with a drive of this strength.

    The gain is not refined if the logarithm of its value deviates by more than ``farthest``.
    Raises ConvergenceError if no gain gives a layer that value.
    """
    return refined(wanted, guessed(wanted, strength, report), farthest=farthest, report=beyond(report, LONGEST))


def refined(
    wanted: Wanted, guess: Guess, response: Response | None = None, *, farthest: float = 1.0, report: Report = unreported
) -> Solution:
    """Networks with the gain that layers choose, refined with few points, then with those asked for; their response, if it is
    known. Where first steps are silent and networks with four scrambles are too much, the rough one, with two, is returned.
    """
    m, layers = guess.multiplier, _memory(guess.multiplier, wanted.depth) if guess.every_step else wanted.depth - 1
    networks = Networks(wanted, wanted.coarse, guess.first, layers, m < CONTRACTING and guess.every_step)
    rough = networks.whole(math.exp(guess.log_gain))
    report(1)
    chosen = float(rough.values.mean())
    if abs(rough.miss) >= farthest:
        return Solution(guess, rough, chosen, reached=False)
    response = response or _of_layers(guess)
    found = nearest(networks, rough, response, max(COARSELY, wanted.tolerance), beyond(report, 1), ROUGH)
    if _reached(found.best, wanted):
        least = replace(found.networks, neurons=replace(wanted.coarse, scrambles=4))
        if least.work <= FINE.work or found.best.every_step:  # otherwise the gain holds for this depth only, anyway
            found = _finely(found, guess.strength, beyond(report, STAGES - LONGEST - REFINEMENTS))
    error = _error(found)
    reached = _reached(found.best, wanted) and error < found.best.gain / 2
    return Solution(guess, found.best, chosen, reached, error, found.dying)


class TooWeakError(ConvergenceError):
    """A drive that leaves first layers too few steps alive for the wanted value."""


def in_parts(wanted: Wanted, guess: Guess) -> tuple[Guess, Response]:
    """A guess for networks whose first steps are silent, and their response, from networks of an eighth, a quarter and half the
    layers and steps: steps die at a constant speed in steps per layer, so that halving the size doubles the error of the gain,
    and responses grow by a like factor from size to size. It is the given guess where the first steps of the drive are unlike
    the last ones, or networks of a part lack the value.

    Raises TooWeakError if they lack it above a drive below θ/λ.
    """
    start, response, smaller = guess.log_gain, _of_layers(guess), None
    driven = max(float(wanted.of(guess.first).mean()), 1e-300)
    for part in (8, 4, 2):
        small = wanted.in_part(part)
        if min(small.depth, len(small.shape)) < SHORTEST:
            continue
        networks = Networks(small, small.coarse, driven_state(small, small.coarse, guess.strength), small.depth - 1, False)
        if abs(float(small.of(networks.first).mean()) / driven - 1) > UNLIKE:
            return guess, _of_layers(guess)
        found, response, *_ = nearest(networks, networks.whole(math.exp(start)), response, CLOSE, unreported, PART)
        if not _reached(found, small):
            if guess.strength < 1:
                raise TooWeakError(f"a drive of {guess.strength:.3g} θ/λ is too weak for this value")
            return guess, _of_layers(guess)
        log_gain, slope = math.log(found.gain) + step_to(found, response), response.slope
        before, slope_before = smaller or (log_gain, slope)
        start, growth = log_gain + (log_gain - before) / 2, min(max(slope / slope_before, 1.0), STEEPER)
        response, smaller = Response(growth * slope, response.least, False), (log_gain, slope)
    return replace(guess, log_gain=start), response._replace(measured=smaller is not None)


def _of_layers(guess: Guess) -> Response:
    """The response of a network, estimated from that of a layer and from its multiplier."""
    return Response(guess.slope / max(1 - guess.multiplier, STEADIEST), guess.slope / (1 + guess.multiplier), False)


def _finely(rough: Found, strength: float, report: Report) -> Found:
    """The same with more points."""
    networks, dying = _with_more_points(rough.networks, strength), rough.dying
    gain = rough.best.gain * math.exp(step_to(rough.best, rough.response))
    found = networks.above(rough.best.gain if dying and gain < dying.gain else gain, rough.best)
    report(0)
    return nearest(networks, found, rough.response, networks.wanted.tolerance, report, FINE, dying)


def _error(found: Found) -> float:
    """Error of the gain: that of the value over the response, and what early death adds in whole networks with few points."""
    best, networks = found.best, found.networks
    of_value = math.hypot(float(standard_error(best.off)), best.miss)
    fewer = networks.entire and networks.neurons.points < networks.wanted.fine.points
    return best.gain * math.hypot(of_value / found.response.least, networks.early_death if fewer else 0.0)


def _with_more_points(networks: Networks, strength: float) -> Networks:
    """The same with the points asked for, halved until two fit into ``FINE.work``."""
    wanted, points = networks.wanted, networks.wanted.fine.points
    fine = replace(networks, neurons=wanted.fine)
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


def _reached(found: DeepLayers, wanted: Wanted) -> bool:
    return bool(abs(found.values.mean() / wanted.value - 1) < KEPT) and found.alive


def at_gain(wanted: Wanted, gain: float, strength: float) -> DeepLayers:
    """Deep layers at a given gain, for a layer 1 with a drive of this strength."""
    return down(wanted, wanted.coarse, gain, driven_state(wanted, wanted.coarse, strength))
