"""The gain whose network has a wanted value, by secants in ``ln g`` within a bracket; values have noise."""

from __future__ import annotations

import math
from typing import NamedTuple

from varflow._progress import Report
from varflow.theory.deep.fixed_point import standard_error
from varflow.theory.deep.last_layers import DeepLayers, Networks

__all__ = ["COARSELY", "KEPT", "LINGERING", "REFINEMENTS", "Effort", "Found", "Response", "nearest", "step_to"]

REFINEMENTS = 10  # most networks tried after the first
COARSELY = 1e-2  # relative accuracy of a value with few points
WITHIN = 0.5  # standard errors of a value within which it need not be nearer
CERTAIN = 2.0  # standard errors by which two values must differ for a slope between them
STEP = 3e-2  # change of ln g at which networks measure d ln value/d ln g: values scatter by up to a per cent
STRIDE = 0.1  # largest change of ln g from one network to the next
FLAT = 0.01  # smallest d ln value/d ln g
KEPT = 0.05  # largest relative deviation of a value that is kept
AGAIN = 0.1  # fraction of the bracket next to a network that dies: one there would die too
LINGERING = 0.75  # a network that dies slowly lives through more than this fraction of its layers
KNOWN = 0.3  # largest relative error of a slope that a small step measures


class Effort(NamedTuple):
    """Points × steps × layers of all networks of a search, and the number of networks tried whatever their work as long as none
    has the wanted value to ``COARSELY``.
    """

    work: int
    fewest: int


class Response(NamedTuple):
    """``d ln value/d ln g`` of a network, what it is at least, within its standard error, and whether it was measured."""

    slope: float
    least: float
    measured: bool


class Found(NamedTuple):
    """The network nearest to the wanted value, its response, how it was computed; the lower end of the bracket, if it dies."""

    best: DeepLayers
    response: Response
    networks: Networks
    dying: DeepLayers | None


def nearest(
    networks: Networks,
    found: DeepLayers,
    response: Response,
    accuracy: float,
    report: Report,
    effort: Effort,
    dying: DeepLayers | None = None,
) -> Found:
    """Secants in ``ln g`` in a bracket, to a relative accuracy of the value or of as many networks as the effort allows;
    ``dying`` is a network that is known to die.
    """
    tried, number = [dying, found] if dying else [found], 1
    while True:
        if (whole := networks.whole_if_silent(found)) is not networks:  # last layers alone did not show the silence
            networks, tried, response = whole, [found], response._replace(measured=False)
        best, below = _best(tried), _bracket(tried)[0]
        response = _response(best, tried, response)
        done = (_near(best, accuracy) and response.measured) or _at_the_edge(tried, networks.early_death)
        fewest = 1 if _near(best, COARSELY) else effort.fewest
        if done or number >= min(max(effort.work // networks.work, fewest), 1 + REFINEMENTS):
            return Found(best, response, networks, below if below and not below.alive else None)
        found = networks.above(_next(tried, response), found)
        tried.append(found)
        report(number)
        number += 1


def _bracket(tried: list[DeepLayers]) -> tuple[DeepLayers | None, DeepLayers | None]:
    """The network of the smallest gain that is not too small, and below it that of the largest gain that is."""
    hi = min((each for each in tried if not _too_small(each)), key=lambda each: each.gain, default=None)
    below = [each for each in tried if _too_small(each) and (hi is None or each.gain < hi.gain)]
    return max(below, key=lambda each: each.gain, default=None), hi


def _at_the_edge(tried: list[DeepLayers], early_death: float) -> bool:
    """Whether no network that lives has the value: that at the lower end of the bracket dies slowly with far too large a value,
    or so near the upper end, within a fraction ``early_death`` of the gain, that chance decides which lives. Where it dies
    slowly the search goes on if its value is too small, and to a quarter of that if the upper end's is within ``KEPT``.
    """
    lo, hi = _bracket(tried)
    if not lo or lo.alive:
        return False
    slowly, apart = lo.lifetime > LINGERING, math.log(hi.gain / lo.gain) if hi else math.inf
    if slowly and lo.miss > KEPT:
        return True
    if slowly and lo.miss <= 0:
        return False
    return apart < (early_death / 4 if slowly and hi and hi.miss < KEPT else early_death)


def _too_small(found: DeepLayers) -> bool:
    """Whether the value needs a larger gain, as a network that dies does in any case."""
    return found.miss < 0 or not found.alive


def _best(networks: list[DeepLayers]) -> DeepLayers:
    """The one with the value nearest to the wanted one, alive if any is."""
    return min(networks, key=lambda each: (not each.alive, abs(each.miss)))


def _next(tried: list[DeepLayers], response: Response) -> float:
    """The gain of the next network: a step from the better end of the bracket, or its middle if that leaves it or if three
    networks were on the same side. As long as the slope is not measured, it is that between the ends, if both live and differ
    by more than noise; otherwise the step is large enough to measure it.
    """
    lo, hi = _bracket(tried)
    end = _best([each for each in (lo, hi) if each])
    farthest = STRIDE * 2 ** max(len(tried) - 2, 0) if response.measured and not (lo and hi) else STRIDE
    smallest = min(STEP * 2 ** (len(tried) - 1) / max(response.slope, 1.0), STRIDE)
    if not response.measured and lo and hi and lo.alive and _differ(lo, hi):
        response = Response((hi.miss - lo.miss) / math.log(hi.gain / lo.gain), 0.0, True)
    step = step_to(end, response, farthest)
    unknown = not response.measured and abs(step) < smallest
    gain = end.gain * math.exp(math.copysign(smallest, step) if unknown else step)
    if not lo or not hi or (unknown and lo.alive):
        return gain
    creeping = len({_too_small(each) for each in tried[-3:]}) == 1
    again = not lo.alive and math.log(gain / lo.gain) < AGAIN * math.log(hi.gain / lo.gain)
    return gain if lo.gain < gain < hi.gain and not (creeping or again) else math.sqrt(lo.gain * hi.gain)


def _differ(lo: DeepLayers, hi: DeepLayers) -> bool:
    """Whether the difference of their values is more than noise."""
    return hi.miss - lo.miss > CERTAIN * math.hypot(*(float(standard_error(each.off)) for each in (lo, hi)))


def step_to(found: DeepLayers, response: Response, farthest: float = STRIDE) -> float:
    """The change of ln g that should give the wanted value; a network that dies needs a larger gain in any case."""
    step = min(max(-found.miss / response.slope, -farthest), farthest)
    return step if found.alive else max(step, STEP * min(4 * (1 - found.lifetime), 1.0))


def _near(found: DeepLayers, accuracy: float) -> bool:
    return found.alive and bool(abs(found.miss) < max(accuracy, WITHIN * float(standard_error(found.off))))


def _response(found: DeepLayers, tried: list[DeepLayers], known: Response) -> Response:
    """The response between a network and the nearest other one far enough for it, both alive."""
    living = [each for each in tried if each.alive and found.alive]
    for other in sorted(living, key=lambda each: abs(math.log(each.gain / found.gain))):
        moved = math.log(other.gain / found.gain)
        each = (other.off - found.off) / (moved or 1.0)
        slope, error = float(each.mean()), float(standard_error(each))
        apart = STEP / 2 <= max(abs(moved), abs(slope * moved)) < 1
        if apart and error <= slope * (KNOWN if abs(moved) < STRIDE / 2 else 1.0):
            return Response(max(slope, FLAT), max(slope - error, FLAT), True)
    return known
