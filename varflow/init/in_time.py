"""Initialisation of neurons with memory: the gain for a wanted late firing rate, or variance, of deep layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from varflow._checks import ConvergenceError, DomainError, integer, need, positive_number, probability, refuse
from varflow._progress import Progress, check_progress, counted, reporter
from varflow.init.blocks import gain_of_block
from varflow.init.gains import at_fixed_point, initialization, steps_of, without_memory
from varflow.model.as_neuron import neuron as as_neuron
from varflow.model.drive_kinds import Drive
from varflow.model.neurons import Neuron
from varflow.model.over_neurons import mean_of
from varflow.model.signals import Layer
from varflow.results import Initialization
from varflow.theory.deep.gain_for_value import Solution, attainable, drive_strength, solve
from varflow.theory.deep.look import Question, drive_covariance, in_units, late, steady
from varflow.theory.deep.search import TRIES
from varflow.theory.responses.neurons import Responses
from varflow.theory.signals.places import standard_error

OFF = 0.01  # relative deviation from the wanted value that gives a warning
DRIFT = 0.03  # relative change of the value over the deeper half of the layers that gives a warning


def gain_for_rate(
    neuron: Any = None,
    *,
    rate: float,
    steps: int | None = None,
    block: Sequence[Layer] | None = None,
    depth: int = 100,
    drive: Drive | None = None,
    fan_in: int | None = None,
    points: int = 2**12,
    scrambles: int = 4,
    seed: int = 0,
    progress: Progress = False,
) -> Initialization:
    r"""The gain with which deep layers fire at a wanted late rate.

    The rate is the mean over the late half of the steps, in layer ``depth`` of a network whose layer 1 fires at about that
    rate: ``input_gain`` is the strength of the drive for it. Where layers agree before, it is averaged over the last of these.

    Parameters
    ----------
    neuron : Neuron, torch module or str
        As :func:`varflow.neuron` takes it, of positive threshold (its mean, where neurons differ). The gain goes as ``θ/λ``.
    rate : float
        Mean spikes per neuron and step; for a multi-spike neuron, or a block that adds spikes over several steps, it may exceed
        1. Of a block of spikes it is that of the spikes that leave the block, behind its merges.
    steps, depth : int
        Of the network. Neurons without memory, of which every step repeats the first, need no steps and answer for any depth.
    block : sequence of vf.layers, optional
        In place of a neuron: the layers between two like signals, repeated ``depth`` times. What is found is the gain of its
        last layer with weights, or ``gamma`` of a normalisation after it. With one step (the default) at the block's fixed
        point, else in the last of ``depth`` blocks; the drive then counts with its strength, and ``input_gain`` is None.
    drive : Drive
        Only its shape in time matters, not its strength; by default constant currents. For a batch, its mean covariance.
    fan_in : int, optional
        For ``weight_std`` and ``weight_variance``.
    points, scrambles, seed : int
        Of quasi-Monte Carlo, as in :func:`varflow.mean_field`; not used without a reset. Fewer, where the work is too much.
    progress : bool or callable
        True draws a bar on stderr; a callable receives ``(done, total)`` in networks, of which the last may be skipped.

    Returns
    -------
    Initialization
        ``firing_rate`` and ``variance`` are recomputed at the gain, means over ``window``; ``error`` has the numerical standard
        errors of both and of the gain. ``multiplier`` is that of :func:`varflow.temporal_fixed_point`.

    Raises
    ------
    DomainError
        For rates that no gain sustains; the message gives the attainable range. It ends at a finite rate, below which activity
        dies. Without reset and with ``β = 1`` no late rate is stationary.

    Notes
    -----
    **Assumes** infinite width, no bias, weights of mean 0; a step is alive above 10⁻³ spikes per neuron. With ``reset='gate'``
    layers may spike at every other step only; the rate is the mean over all steps. Spike counts (``multi_spike``) grow with the
    membrane: no stable rate was found for them, so the gain holds for the stated depth only, with a warning.
    **Accuracy**: numerically ``error``. The rate recomputed at the gain is within 1 % of the wanted one, or a warning says what
    it is. :func:`varflow.mean_field` of the whole network at other points differs from the wanted rate by up to 1.4 % where
    first steps are silent (twelve answers without that warning). Finite width lowers rates by order 1/width, most near the
    smallest: real networks of width 1500, run by three libraries at rates 0.15, 0.2 and 0.3, were 0.4 % off on average and
    1.9 % at most (``validation/claims/gain_for_rate.py``).
    **Source**: derived here.

    Examples
    --------
    >>> import varflow as vf
    >>> init = vf.gain_for_rate(vf.Neuron(1.0, decay=0.5), rate=0.4, steps=20, fan_in=512)
    >>> print(f"{init.gain:.3f} {init.weight_std:.4f} {init.input_gain:.3f} {init.firing_rate:.4f} {init.window}")
    3.243 0.1433 1.974 0.4000 (11, 20)

    Batch normalisation sets the rate, whatever the gain:

    >>> layers = vf.layers
    >>> block = [layers.Linear(gain=1.0), layers.BatchNorm(), layers.Spike(vf.Neuron(1.0))]
    >>> round(vf.gain_for_rate(block=block, rate=0.3).gamma, 4)
    1.907
    """
    check_progress(progress)
    sizes: dict[str, Any] = {"points": points, "scrambles": scrambles, "seed": seed}
    if block is not None:
        refuse("cannot be given with block=[…], which has its own", neuron=neuron)
        steps = 1 if steps is None else steps
        return gain_of_block(block, rate=rate, steps=steps, depth=depth, drive=drive, fan_in=fan_in, **sizes)
    need("must be given, or block=[…]", neuron=neuron)
    return _answered("firing_rate", rate, neuron, steps, depth, drive, fan_in, Responses(**sizes), progress)


def gain_for_variance(
    neuron: Any,
    *,
    variance: float,
    steps: int | None = None,
    depth: int = 100,
    drive: Drive | None = None,
    fan_in: int | None = None,
    points: int = 2**12,
    scrambles: int = 4,
    seed: int = 0,
    progress: Progress = False,
) -> Initialization:
    r"""The gain with which the membranes of deep layers have a wanted late variance.

    As :func:`varflow.gain_for_rate`, with the variance of the membrane before its reset instead of the rate.

    Parameters
    ----------
    neuron, steps, depth, drive, fan_in, points, scrambles, seed, progress
        As in :func:`varflow.gain_for_rate`.
    variance : float
        Of the membrane before its reset, mean over the late half of the steps.

    Returns
    -------
    Initialization

    Raises
    ------
    DomainError
        For variances that no gain sustains, and as :func:`varflow.gain_for_rate` does.

    Notes
    -----
    **Assumes**, **Accuracy**, **Source**: as :func:`varflow.gain_for_rate`.

    Examples
    --------
    >>> import varflow as vf
    >>> init = vf.gain_for_variance(vf.Neuron(1.0, decay=0.5), variance=10.0, steps=20)
    >>> print(f"{init.gain:.3f} {init.variance:.3f} {init.firing_rate:.4f}")
    2.691 10.000 0.3759
    """
    check_progress(progress)
    return _answered("variance", variance, neuron, steps, depth, drive, fan_in, Responses(points, scrambles, seed), progress)


def _answered(quantity: str, value: float, neuron: Any, steps: int | None, depth: int, drive: Drive | None, *more: Any) -> Any:
    """The answer for a late ``"firing_rate"`` or ``"variance"``; ``more``: as :func:`_in_time` takes it."""
    neuron, name = as_neuron(neuron), quantity.removeprefix("firing_")
    steps, depth = steps_of(neuron, steps), integer("depth", depth, minimum=2)
    unbounded = quantity == "variance" or neuron.reset_rule.counts
    value = positive_number(name, value) if unbounded else probability(name, value, open_ends=True)
    covariance = drive_covariance(drive, steps)
    if not covariance.any():
        raise DomainError("drive", drive, "must not be 0 at every step")
    if without_memory(neuron, steps) and steady(covariance):
        found = at_fixed_point(neuron, fan_in=more[0], depth=depth, **{name: value})
        return replace(found, depth=depth, window=_window(steps), error=dict.fromkeys(("gain", "firing_rate", "variance"), 0.0))
    return _in_time(question_of(quantity, value, neuron, covariance, depth), neuron, *more)


def _window(steps: int) -> tuple[int, int] | None:
    return (steps // 2 + 1, steps) if steps > 1 else None


def question_of(quantity: str, value: float, neuron: Neuron, drive: np.ndarray, depth: int) -> Question:
    """A late ``"firing_rate"`` or ``"variance"``, in units of the neuron, under a drive scaled to second moment 1."""
    steps = len(drive)
    if mean_of(neuron.threshold) <= 0:
        raise DomainError(quantity.removeprefix("firing_"), value, "cannot be chosen at threshold ≤ 0: give a gain")
    if neuron.decay == 1 and neuron.reset_rule.linear and steps > 1:
        rule = "without reset never forgets: variances grow with every step, and no late rate or variance is stationary"
        raise DomainError("decay", neuron.decay, rule)
    unit, theta = in_units(neuron)
    value /= theta**2 if quantity == "variance" else 1.0
    return Question(unit, drive * (steps / np.trace(drive)), depth, quantity, value, steps // 2)


def _in_time(
    question: Question, neuron: Neuron, fan_in: int | None, responses: Responses, progress: Progress
) -> Initialization:
    """The answer of a search, in the user's units."""
    theta, name, warnings = mean_of(neuron.threshold), question.quantity.removeprefix("firing_"), []
    scale, unit = theta / neuron.input_scale, theta**2 if name == "variance" else 1.0
    with reporter(progress, 2 * TRIES, "networks") as report:
        try:
            strength = drive_strength(question, responses)
        except ConvergenceError:
            strength = 1.0
            warnings.append(f"no drive of this shape gives layer 1 this {name}: input_gain is θ/λ instead")
        try:
            found = solve(question, responses, strength, counted(report, 2 * TRIES))
        except ConvergenceError:
            rule = _rule(name, question, unit, *attainable(question, responses))
            raise DomainError(name, unit * question.value, rule) from None
        report(2 * TRIES)
    if found.strength != strength:
        too_weak = "is too weak to keep every step alive: input_gain is θ/λ instead"
        warnings.append(f"a drive that gives layer 1 this {name} {too_weak}")
    state, gain = found.seen.state, scale * found.seen.gain
    rates, variances = late(state.firing_rate[:, 0]).mean(-1), theta**2 * late(state.variance[:, 0]).mean(-1)
    errors = {"firing_rate": float(standard_error(rates)), "variance": float(standard_error(variances))}
    return initialization(
        gain,
        fan_in=fan_in,
        multiplier=found.multiplier,
        warnings=(*warnings, *_words(name, question, found, unit)),
        firing_rate=float(rates.mean()),
        variance=float(variances.mean()),
        threshold=theta,
        depth=question.depth,
        input_gain=scale * found.strength,
        error={"gain": gain * found.error, **errors},
        window=_window(question.steps),
    )


def _rule(name: str, question: Question, unit: float, least: float, error: float, most: float) -> str:
    """The rule that a value breaks, with the range of those that have an answer."""
    rule = f"is out of reach of this neuron in {question.steps} steps and {question.depth} layers: "
    if math.isinf(most):
        rule += f"at every gain, counts of spikes die out or grow from layer to layer, without a stationary {name}"
    else:
        known = f"between about {unit * least:.3g} and {unit * most:.3g}, the smallest known to ± {unit * error:.1g}, "
        jumps = f"with gaps: near the gain for this one the {name} jumps to another value or to silence"
        rule += f"gains sustain {name}s {known}" + (jumps if least < question.value < most else "and below that activity dies")
    if question.value < least and question.depth > 2:  # where activity lingers before it dies
        rule += f"; fewer layers reach lower {name}s: name a smaller depth"
    return rule


def _words(name: str, question: Question, found: Solution, unit: float) -> list[str]:
    words, seen, m = [], found.seen, found.multiplier
    silent = question.silent(seen.state)
    if len(silent):
        words.append(
            f"steps up to {int(silent[-1]) + 1} are silent in layer {question.depth}, and more steps die in deeper layers: "
            "the gain holds for this depth only"
        )
    reached = unit * float(question.values(seen.state).mean())
    if abs(math.expm1(seen.miss)) > OFF:
        words.append(f"the {name} jumps near this gain, past the wanted one: here it is {reached:.3g}")
    if abs((middle := unit * seen.halfway) - reached) > DRIFT * reached:
        words.append(f"the {name} still changes with depth: {middle:.3g} in the middle, {reached:.3g} in the last layers")
    if m >= 1:
        words.append(f"unstable: deviations grow by a factor {m:.3g} per layer")
    return words
