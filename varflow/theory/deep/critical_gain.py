"""The smallest gains that keep the steps of a network alive, by mean field."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from varflow._checks import LARGEST_SCALE, DomainError, choice, integer
from varflow._progress import Progress, Report, check_progress, counted, reporter
from varflow.model.as_neuron import neuron as as_neuron
from varflow.model.drive_kinds import Drive
from varflow.model.drives import currents
from varflow.model.over_neurons import OverNeurons
from varflow.results import TemporalCriticalGain
from varflow.theory.deep.gain_for_value import ACCURACY, ROUGH, SHARP, START, STRIDE, TRIES, search, with_few_points
from varflow.theory.deep.look import ALIVE, EXTINCT, Look, Question, Seen, drive_covariance, driven, in_units, looking
from varflow.theory.responses.layer_state import LayerState
from varflow.theory.responses.neurons import Responses

WIDE = (-math.log(1e6), math.log(1e6))  # ln g that is searched: the largest revives a layer 1 with rates of EXTINCT
JUST = ROUGH / 10  # distance in ln g from the first step's critical gain at which other steps are tested


def temporal_critical_gain(
    neuron: Any,
    *,
    steps: int,
    depth: int = 100,
    drive: Drive | None = None,
    alive: str = "every late step",
    points: int = 2**11,
    scrambles: int = 4,
    seed: int = 0,
    progress: Progress = False,
) -> TemporalCriticalGain:
    r"""The smallest gains with which every step, and every or some step of the late half, is alive in layer ``depth``.

    A step is alive if ``E[S_t] > 10⁻³`` at infinite width. Below the critical gain rates collapse faster than geometrically,
    above it they stay near 0.1, so the threshold hardly matters. With ``reset='gate'`` no neuron fires twice in a row and
    layers may spike at every other step; there one of each two neighbouring steps must be alive.

    .. math:: g_c = \inf\{g : \mathrm{E}[S_t^{(L)}](g) > 10^{-3} \text{ for every } t \le T\}, \qquad
              \text{late: for } t > T/2

    Parameters
    ----------
    neuron : Neuron, torch module or str
        As :func:`varflow.neuron` takes it. With ``θ ≤ 0`` (of more than 10⁻³ of the neurons, if they differ) activity never
        dies and both gains are 0.
    steps, depth : int
        Of the network; the result depends on both. Below the memoryless critical gain the first living step dies after some
        layers, then the next one, so late steps survive to a limited depth only.
    drive : Drive
        What layer 1 receives; by default ``vf.drives.currents()``. For a batch of inputs, their mean covariance.
    alive : str
        What ``late_gain`` keeps alive: ``"every late step"`` or ``"a late step"``. With resets one step can need much less:
        SpikingJelly's neuron 4.88 instead of 5.85 (τ = 2, 8 steps, layer 50), since silent steps no longer reset others.
    points, scrambles, seed : int
        For quasi-Monte Carlo, as in :func:`varflow.mean_field`; not used without a reset.
    progress : bool or callable
        True draws a bar on stderr; a callable receives ``(done, total)`` in networks, of which the last may be skipped.

    Returns
    -------
    TemporalCriticalGain

    Raises
    ------
    DomainError
        For values outside their domain, a drive of given currents, or one that leaves layer 1 silent.
    ConvergenceError
        If the points are too few to tell live from dying networks.

    Notes
    -----
    **Assumes** infinite width, no bias, weights of mean 0. Steps count from the first arrival, so a delay has no effect.
    **Accuracy**: a search in the gain. If the first step decides, which needs no sampling, the gain is accurate to 1e-10, or to
    1e-3 if some later step dies within 1e-3 of it (``error`` says which). Else the median
    replica just lives, and ``error`` contains the scatter of replicas and ``2.5/points``, relatively: with few points a
    lingering network dies early. Late gain² of ``zero``, β = 0.5, 20 steps, is 5.74 with 2⁹ points, 5.63 with 2¹¹ and 2¹³.
    Rates below 1/points are not resolved: driven with a standard deviation of θ/6, that neuron's gain is 0.4 % too large.
    **Source**: derived here.

    Examples
    --------
    >>> import varflow as vf
    >>> found = vf.temporal_critical_gain(vf.Neuron(1.0, decay=0.5), steps=8)
    >>> print(f"{found.gain**2:.3f} {found.late_gain**2:.3f}")
    6.021 5.800
    """
    check_progress(progress)
    T, L = integer("steps", steps, minimum=1), integer("depth", depth, minimum=2)
    some = choice("alive", alive, ("every late step", "a late step")) == "a late step"
    drive = currents() if drive is None else drive
    covariance = drive_covariance(drive, T)
    neuron = as_neuron(neuron)
    if _fires_at_rest(neuron.threshold):
        return TemporalCriticalGain(0.0, 0.0, {"gain": 0.0, "late_gain": 0.0}, neuron, T, L, drive, alive)
    unit, theta = in_units(neuron)
    scale = theta / neuron.input_scale
    if math.sqrt(covariance.max()) / scale > LARGEST_SCALE:
        raise DomainError("drive", drive, f"must be at most {LARGEST_SCALE:g} times threshold/input_scale={scale:g}")
    every = Question(unit, covariance / scale / scale, L, settling=False)
    responses = Responses(points, scrambles, seed)
    _starts(driven(unit, responses, every.drive), drive)
    with reporter(progress, 2 * TRIES, "networks") as told:
        report = counted(told, 2 * TRIES)
        x, error = _every_step(every, responses, report)
        later, late_error = _smallest(replace(every, spared=T // 2, some=some), responses, min(x, START), report)
        told(2 * TRIES)
    gain, late_gain = scale * math.exp(x), scale * math.exp(min(later, x))  # they may differ by less than their errors
    errors = {"gain": gain * error if error else 0.0, "late_gain": late_gain * late_error if late_error else 0.0}
    return TemporalCriticalGain(gain, late_gain, errors, neuron, T, L, drive, alive)


def _fires_at_rest(threshold: float | OverNeurons) -> bool:
    """True if a step stays alive without input."""
    if isinstance(threshold, OverNeurons):
        return float(threshold.frozen.cdf(0.0)) > ALIVE
    return threshold <= 0


def _starts(first: LayerState, drive: Drive) -> None:
    """Raise if the drive leaves layer 1 silent."""
    rate = float(first.firing_rate.max())
    if rate < EXTINCT:
        rule = f"leaves layer 1 silent at any gain (its highest rate is {rate:.2g}); raise the drive or lower the threshold"
        raise DomainError("drive", drive, rule)


def _every_step(question: Question, responses: Responses, report: Report) -> tuple[float, float]:
    """Smallest ln g with which every step lives, and its error: those of the first step, unless a later one needs more."""
    first, error = _smallest(replace(question, drive=question.drive[:1, :1]), responses, START, report, SHARP)
    coarse = with_few_points(responses)
    if looking(question, coarse)(min(first, WIDE[1]) + JUST).alive:
        later_alive = looking(replace(question, spared=1), coarse)(first - JUST).alive
        return first, error if later_alive else JUST / math.sqrt(3)  # a later step may need up to JUST more than this
    found = _smallest(question, responses, min(first, WIDE[1]), report)
    return max(found, (first, error)) if math.isfinite(first) else found  # a gate's later steps may live without the first


def _smallest(
    question: Question, responses: Responses, x: float, report: Report, width: float = ACCURACY
) -> tuple[float, float]:
    """Smallest ln g at which the median replica lives, sought from ``x`` on, and its error; infinite if none does.

    The mean of r replicas has an error of about the distance, over r, of the gains at which all live and at which all die. What
    few points do to all replicas alike comes on top.
    """
    bias, stride = question.early_death(responses), STRIDE
    options: dict[str, Any] = {"accuracy": 0.0, "limits": WIDE, "report": report}
    if bias:
        few = looking(question, with_few_points(responses))
        x, stride, width = search(lambda x: few(x).of_lifetime(), x, width=ROUGH, **options).middle, ROUGH, bias
    look, seen = looking(question, responses), []

    def median(x: float) -> Seen:
        seen.append(look(x))
        return seen[-1].of_lifetime()

    found = search(median, x, width=width, stride=stride, **options)
    if found.lower is None or found.upper is None:  # even the smallest gain lives, or not the largest
        return (-math.inf if found.lower is None else math.inf), 0.0
    living, dying = (_nearest(median, seen, found.middle, step) for step in (width, -width))
    return found.middle, math.hypot((living - dying) / len(seen[0].lifetime), width / math.sqrt(12), bias)


def _nearest(look: Look, seen: list[Seen], x: float, step: float) -> float:
    """ln g nearest to ``x`` from which on all replicas live, or for steps down all die: halfway to the next gain that was seen.

    If there is none, it is sought in doubled steps.
    """
    while not (gains := [each.x for each in seen if np.all((each.lifetime >= 1) == (step > 0))]) and abs(step) < STRIDE:
        look(x + step)
        step *= 2
    end = min(gains, key=lambda gain: abs(gain - x), default=x + step)
    return (end + min((each.x for each in seen if (end - each.x) * step > 0), key=lambda gain: abs(gain - end))) / 2
