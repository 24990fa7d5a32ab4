"""Initialisation of neurons with memory, and of blocks of layers: the gain (or factor after a normalisation) for a wanted late
firing rate, or variance, of deep layers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from varflow._checks import ConvergenceError, DomainError, instance, integer, need, positive_number, probability, refuse
from varflow._progress import Progress, check_progress, counted, reporter
from varflow.init.gains import at_fixed_point, initialization, steps_of, without_memory
from varflow.model.as_neuron import neuron as as_neuron
from varflow.model.drive_kinds import Drive
from varflow.model.drives import currents
from varflow.model.layers import Spike
from varflow.model.network import Network
from varflow.model.neurons import Neuron
from varflow.model.over_neurons import mean_of
from varflow.model.signals import Layer
from varflow.model.weighted_layers import Weighted
from varflow.results import Initialization
from varflow.results.export import late_steps
from varflow.theory.deep.block import WIDTH, RepeatedBlock, critical_gain_of_block
from varflow.theory.deep.gain_for_value import TRIES, Solution, attainable, drive_strength, solve
from varflow.theory.deep.look import Question, drive_covariance, in_units, late, steady
from varflow.theory.mean_field import mean_field
from varflow.theory.responses.neurons import Responses
from varflow.theory.roots import monotone_root, rising_root
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

    The rate is the mean over the late half of the steps, in layer ``depth`` or, if earlier layers agree, over the last of them.
    Layer 1 fires at about the same rate under a drive of strength ``input_gain``.

    .. math:: \frac{1}{\lceil T/2 \rceil} \sum_{t > \lfloor T/2 \rfloor} \mathrm{E}[S_t^{(L)}](g) = p

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
        Layer 1 needs a smaller ``gamma`` where inputs are constant: 0.48 for 0.77 (snnTorch, β = 0.9, 8 steps, rate 0.15).
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
    **Accuracy**: numerically ``error``, which leaves out the bias of few points. Where first steps are silent, that of the
    gain takes the largest scatter and the smallest slope of three gains near the answer: gains of 16 seeds then scattered by
    0.7 to 0.9 of it (an snnTorch ``Synaptic`` that resets to zero, 12 steps, four rates), and differed from their mean by at
    most three of it. The rate recomputed at the gain is within 1 % of the wanted one, or a warning says what it is.
    :func:`varflow.mean_field` of the whole network at other points differs from the wanted rate by up to 1.4 % where
    first steps are silent (twelve answers without that warning). Finite width lowers rates by order 1/width, most near the
    smallest: real networks of width 1500, run by three libraries at rates 0.15, 0.2 and 0.3, were 0.4 % off on average and
    1.9 % at most (``validation/claims/gain_for_rate.py``). Where first steps die out with depth, networks may fire less
    or die, as a warning says: with SpikingJelly's KLIF neuron, 20 steps and 50 layers, late rates of eight networks were 0 to
    0.124 at width 1000 and rate 0.15, and 0.109 to 0.172 at 0.17.
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
        last = int(silent[-1]) + 1
        steps = f"steps 1 to {last} are" if last > 1 else "step 1 is"
        stable = "small deviations shrink from layer to layer, yet " if abs(m) < 1 else ""
        rule = f"{stable}activity dies with depth: {steps} silent in layer {question.depth}, more steps in deeper layers; "
        finite = f"networks of finite width may fire less or die: check yours with vf.simulate, or take a higher {name}"
        words.append(f"{rule}use this gain at this depth only; {finite}")
    reached = unit * float(question.values(seen.state).mean())
    if abs(math.expm1(seen.miss)) > OFF:
        words.append(f"the {name} jumps near this gain, past the wanted one: here it is {reached:.3g}")
    if abs((middle := unit * seen.halfway) - reached) > DRIFT * reached:
        words.append(f"the {name} still changes with depth: {middle:.3g} in the middle, {reached:.3g} in the last layers")
    if m >= 1:
        words.append(f"unstable: deviations grow by a factor {m:.3g} per layer")
    return words


NEAR = 1.02  # ratio of gains that tells how the rate depends on them
TIGHT, LOOSE = 1e-13, 1e-4  # accuracy of the gain: at a fixed point, and from the last of many sampled layers


def gain_of_block(
    layers: Sequence[Layer],
    *,
    rate: float,
    steps: int | None,
    depth: int,
    drive: Drive | None,
    fan_in: int | None,
    **sizes: int,
) -> Initialization:
    """See :func:`varflow.gain_for_rate`; ``sizes``: points, scrambles and seed."""
    block = RepeatedBlock.of(layers)
    neurons = [node.operation.neuron for node in block.graph if isinstance(node.operation, Spike)]
    steps, depth = max(steps_of(neuron, steps) for neuron in neurons), integer("depth", depth, minimum=1)
    sums = steps > 1 and not block.binary  # whose mean may exceed 1
    rate = positive_number("rate", rate) if sums else probability("rate", rate, open_ends=True)
    drive = currents() if drive is None else instance("drive", drive, Drive)
    name, _ = block.free
    try:
        if steps == 1:
            found, reached = _at_a_fixed_point(block.for_one_step(), rate)
        else:
            found, reached = _after_many_blocks(block, rate, steps, depth, drive, sizes)
    except ConvergenceError:
        raise DomainError("rate", rate, f"is reached at no {name} of the block's last layer with weights") from None
    critical = critical_gain_of_block(found.layers) if steps == 1 and name == "gain" else None
    weights = next(node.operation for node in reversed(found.graph) if isinstance(node.operation, Weighted))
    reached = initialization(
        weights.gain,
        fan_in=fan_in,
        critical_gain=critical,
        threshold=mean_of(block.reader.neuron.threshold),
        window=None if steps == 1 else (steps // 2 + 1, steps),
        gamma=found.free[1] if name != "gain" else None,
        **reached,
    )
    words = [] if reached.stable else ["This fixed point is unstable: activity leaves it, towards silence or more activity."]
    if abs(reached.firing_rate / rate - 1) > OFF:
        words.append(f"the rate jumps near this {name}, past the wanted one: here it is {reached.firing_rate:.3g}")
    return replace(reached, warnings=tuple(words))


def _at_a_fixed_point(block: RepeatedBlock, rate: float) -> tuple[RepeatedBlock, dict[str, Any]]:
    """The block with a fixed point of this rate, and that fixed point."""
    state = np.array([_state_of(block, rate)])
    found = block.with_free(monotone_root(lambda x: float(block.with_free(x)(state)[0] / state[0] - 1), block.free[1], TIGHT))
    point = found.described([float(state[0])])[0]
    return found, {name: getattr(point, name) for name in ("firing_rate", "variance", "multiplier")}


def _after_many_blocks(
    block: RepeatedBlock, rate: float, steps: int, depth: int, drive: Drive, sizes: dict[str, Any]
) -> tuple[RepeatedBlock, dict[str, Any]]:
    """The block that has this late rate after ``depth`` repetitions; reached from the drive, it is stable."""

    def late(value: float) -> tuple[dict[str, float], dict[str, float]]:
        """Firing rate and variance, and their errors."""
        profile, window = mean_field(_deep(block.with_free(value), depth, steps, drive), **sizes), (-1, late_steps(steps))
        names = ("firing_rate", "variance")
        errors = {name: float(profile.error[name][window].mean()) if name in profile.error else 0.0 for name in names}
        return {name: float(getattr(profile, name)[window].mean()) for name in names}, errors

    value = monotone_root(lambda x: late(x)[0]["firing_rate"] - rate, block.free[1], LOOSE)
    (found, errors), near = late(value), late(NEAR * value)[0]
    change = abs(near["firing_rate"] - found["firing_rate"]) / (NEAR - 1)
    errors[block.free[0]] = value * math.hypot(errors["firing_rate"] / max(change, LOOSE), LOOSE)
    return block.with_free(value), found | {"multiplier": None, "error": errors}


def _state_of(block: RepeatedBlock, rate: float) -> float:
    """The state at which the layer that reads it has this rate."""
    if block.kind == "spikes":
        return rate
    return rising_root(lambda V: float(block.passed(np.array([V]))[1][0]) - rate, block.units[1] ** 2, TIGHT)


def _deep(block: RepeatedBlock, depth: int, steps: int, drive: Drive) -> Network:
    """The block repeated, with the layer that reads its currents, or that makes its first spikes."""
    blocks = [*block.layers] * depth
    layers = [*blocks, block.reader] if block.kind == "currents" else [block.reader, *blocks]
    return Network(width=WIDTH, layers=layers, steps=steps, drive=drive)
