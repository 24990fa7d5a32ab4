r"""The gain at which deep layers are stationary with a wanted late rate or variance.

With ``M`` the second moments of a layer's spikes over time, the next layer has ``M' = F(g² M)``. The gain that layers choose
(``chosen_gain``) is used in a whole network of the given depth and refined there, with few points. With all of them, or at
other gains, only the last layers are computed, as many as let the deviation of the first of them decay. Not so where first
steps are silent in deep layers: the next step then dies too, so that layers differ to the end, and whole networks are computed.
The work is bounded: where two networks are too much, they have fewer points, and the error is larger.
"""

from __future__ import annotations

import math
from dataclasses import replace

from varflow._progress import Report, beyond, unreported
from varflow.theory.in_time.chosen_gain import LONGEST, Guess, Wanted, driven_state, guessed
from varflow.theory.in_time.fixed_point import standard_error
from varflow.theory.in_time.gain_search import COARSELY, REFINEMENTS, Effort, Response, nearest, step_to
from varflow.theory.in_time.last_layers import Networks, Steady, down
from varflow.theory.in_time.one_gain import WINDOW

__all__ = ["KEPT", "STAGES", "at_gain", "refined", "steady"]

CONTRACTING = 0.9  # multiplier below which a change within the noise means convergence; above, it may be a slow decay
KEPT = 0.05  # largest relative deviation over the depth of a value that is kept
STAGES = LONGEST + 2 * (1 + REFINEMENTS)  # most stages of a solution in the progress report
SAVING = 3  # smallest ratio of the depth to them for which only the last layers are computed
EARLY = 2.5  # of 1/points: with few points lingering networks die early, which raises the smallest gain by so much, relatively
DECAYED = 0.3  # to which deviations of layers with few points decay in the last layers
STEADIEST = 0.1  # smallest 1 - m in the first estimate slope/(1 - m) of a network's d ln value/d ln g
ROUGH, FINE = Effort(2**26, 8), Effort(2**25, 4)  # with few points, and with those asked for: a second, and half


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
    rough = networks.whole(math.exp(guess.log_gain))
    report(1)
    known = {"strength": guess.strength, "multiplier": m, "chosen": float(rough.values.mean())}
    if abs(rough.miss) >= farthest:
        return replace(rough, **known, reached=False)
    layer = Response(guess.slope / max(1 - m, STEADIEST), guess.slope / (1 + m), False)
    rough, response, networks = nearest(networks, rough, layer, max(COARSELY, wanted.tolerance), beyond(report, 1), ROUGH)
    if not _reached(rough, wanted):
        return replace(rough, **known, reached=False)
    networks = _with_more_points(networks, guess.strength)
    return replace(_finely(networks, rough, response, beyond(report, STAGES - LONGEST - REFINEMENTS)), **known)


def _finely(networks: Networks, rough: Steady, response: Response, report: Report) -> Steady:
    """The nearest network with more points, and the error of its gain."""
    wanted = networks.wanted
    found = networks.above(rough.gain * math.exp(step_to(rough, response)), rough)
    report(0)
    found, response, networks = nearest(networks, found, response, wanted.tolerance, report, FINE)
    of_value = math.hypot(float(standard_error(found.off)), found.miss)
    error = found.gain * math.hypot(of_value / response.least, _early_death(networks))
    return replace(found, error=error, reached=_reached(found, wanted))


def _early_death(networks: Networks) -> float:
    """The relative error of the gain of whole networks with fewer points than asked for, in which activity dies early."""
    wanted, points = networks.wanted, networks.neurons.points
    fewer = points < wanted.fine.points and networks.layers == wanted.depth - 1
    return EARLY / points if fewer and networks.neurons.samples(wanted.neuron, len(wanted.shape)) else 0.0


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


def _reached(found: Steady, wanted: Wanted) -> bool:
    return bool(abs(found.values.mean() / wanted.value - 1) < KEPT) and found.alive


def at_gain(wanted: Wanted, gain: float, strength: float) -> Steady:
    """Deep layers at a given gain, for a layer 1 with a drive of this strength."""
    return replace(down(wanted, wanted.coarse, gain, driven_state(wanted, wanted.coarse, strength)), strength=strength)
