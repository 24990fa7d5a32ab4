"""Initialisation of neurons with memory: the gain for a wanted late firing rate, or variance, of deep layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from varflow._checks import ConvergenceError, DomainError, integer, positive_scale, probability, scalar
from varflow._progress import Progress, Report, beyond, check_progress, reporter
from varflow.init.blocks import gain_of_block
from varflow.model.as_neuron import neuron as as_neuron
from varflow.model.drive_kinds import Drive
from varflow.model.drives import currents
from varflow.model.neurons import Neuron
from varflow.model.over_neurons import mean_of, size_of
from varflow.model.signals import Layer
from varflow.results import Initialization
from varflow.theory.deep.chosen_gain import LONGEST, Guess, Quantity, Wanted, drive_strength, driven_state, guessed
from varflow.theory.deep.fixed_point import standard_error
from varflow.theory.deep.gain_search import LINGERING
from varflow.theory.deep.many_gains import ALIVE, drive_covariance, in_units, late, sustained
from varflow.theory.deep.steady_gain import STAGES, Solution, TooWeakError, in_parts, refined
from varflow.theory.deep.sustained import Sustained, sustained_range
from varflow.theory.memoryless.variance_map import depth_scale
from varflow.theory.responses.neurons import Neurons

__all__ = ["gain_for_rate", "gain_for_variance", "late_rate", "late_variance", "wanted_of"]

COARSE = 2**11  # points of the coarse search, half as many for more than ``STEPS`` steps
OFF = 0.01  # relative deviation from the wanted value that gives a warning
FAR = 0.3  # deviation of ln(value) of the first network tried from which the attainable range is looked at
STEPS, MEMORIES = 32, 10  # most steps for it, or this many time constants of the neuron: more change it by less than its noise
BELOW = 0.2  # relative distance below that range beyond which a value is refused at once: the lower end is known to half of it
SHALLOW = 24  # layers and steps of a smaller network, which reaches values that die in the whole one
DOUBTFUL = 1.3  # ratio beyond its range from which a value is refused without a whole network
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
    rate: ``input_gain`` is the strength of the drive for it. Where layers no longer change, it is averaged over the last ones.

    Parameters
    ----------
    neuron : Neuron, torch module or str
        As :func:`varflow.neuron` takes it, of positive threshold (its mean, where neurons differ). The gain goes as ``θ/λ``.
    rate : float
        Mean spikes per neuron and step; for a multi-spike neuron, or a block that adds spikes over several steps, it may exceed
        1. Of a block of spikes it is that of the spikes that leave the block, behind its merges.
    steps, depth : int
        Of the network.
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
        True draws a bar on stderr; a callable receives ``(done, total)`` in stages, some of which may be skipped.

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
    if block is not None:
        if neuron is not None:
            raise DomainError("neuron", neuron, "cannot be given with block=[…], which has its own")
        steps, sizes = 1 if steps is None else steps, {"points": points, "scrambles": scrambles, "seed": seed}
        return gain_of_block(block, rate=rate, steps=steps, depth=depth, drive=drive, fan_in=fan_in, **sizes)
    if neuron is None:
        raise DomainError("neuron", neuron, "must be given, or block=[…]")
    steps = integer("steps", steps, minimum=1)
    neuron = _remembering(neuron, steps)
    counts = neuron.reset_rule.counts
    value = scalar("rate", positive_scale("rate", rate)) if counts else probability("rate", rate, open_ends=True)
    options = {"points": points, "scrambles": scrambles, "seed": seed}
    return _initialization("rate", wanted_of("rate", value, neuron, steps, depth, drive, **options), neuron, fan_in, progress)


def gain_for_variance(
    neuron: Any,
    *,
    variance: float,
    steps: int,
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
    neuron = _remembering(neuron, steps)
    value = scalar("variance", positive_scale("variance", variance))
    options = {"points": points, "scrambles": scrambles, "seed": seed}
    return _initialization(
        "variance", wanted_of("variance", value, neuron, steps, depth, drive, **options), neuron, fan_in, progress
    )


def _remembering(neuron: Any, steps: Any) -> Neuron:
    """The neuron, if its late state can be stationary."""
    integer("steps", steps, minimum=2)
    neuron = as_neuron(neuron)
    if neuron.decay == 1 and neuron.reset_rule.linear:
        rule = "without reset never forgets: variances grow with every step, and no late rate or variance is stationary"
        raise DomainError("decay", neuron.decay, rule)
    return neuron


def late_rate(rates: np.ndarray, variances: np.ndarray) -> np.ndarray:
    """Mean firing rate over the late half of the steps."""
    return late(rates).mean(-1)


def late_variance(rates: np.ndarray, variances: np.ndarray) -> np.ndarray:
    """Mean variance over the late half of the steps."""
    return late(variances).mean(-1)


QUANTITIES: dict[str, Quantity] = {"rate": late_rate, "variance": late_variance}


def wanted_of(
    name: str, value: float, neuron: Neuron, steps: int, depth: int, drive: Drive | None = None, **options: int
) -> Wanted:
    """A late ``"rate"`` or ``"variance"``, in units of the neuron; ``options``: of quasi-Monte Carlo."""
    T, L = integer("steps", steps, minimum=1), integer("depth", depth, minimum=2)
    if mean_of(neuron.threshold) <= 0:
        raise DomainError(name, value, "cannot be chosen at threshold ≤ 0: give a gain")
    covariance = drive_covariance(currents() if drive is None else drive, T)
    moment = np.trace(covariance) / T
    if moment <= 0:
        raise DomainError("drive", drive, "must not be 0 at every step")
    own, theta = in_units(neuron)
    fine = Neurons(options["points"], options["scrambles"], options["seed"])
    coarse = Neurons(min(fine.points, COARSE if T <= STEPS else COARSE // 2), 2, fine.seed)
    unit = theta**2 if name == "variance" else 1.0
    return Wanted(value / unit, QUANTITIES[name], own, covariance / moment, L, coarse, fine)


def _solved(name: str, wanted: Wanted, unit: float, report: Report) -> tuple[Solution, tuple[str, ...]]:
    """The solution under a drive that gives layer 1 the wanted value, or under one of θ/λ if some steps then stay silent."""
    shallow = _shallow_range(wanted)
    if _far_out_of_reach(wanted, shallow):
        raise out_of_reach(name, wanted, unit, attainable_range(wanted, 1.0, start=shallow.least.gain))
    try:
        strength, words = drive_strength(wanted), ""
    except ConvergenceError:
        strength, words = 1.0, f"no drive of this shape gives layer 1 this {name}: input_gain is θ/λ instead"
    guess = _guess(wanted, strength, report)
    attainable = cache(lambda: attainable_range(wanted, max(strength, 1.0), start=shallow.least.gain))
    # The attainable range first where the state is unstable: a constant gain seldom keeps it.
    promising = guess is not None and not words and (guess.multiplier < 1 or _within(wanted, attainable()))
    try:
        found = _tried(wanted, guess, report, FAR) if promising else None
        searched = bool(found and abs(math.log(max(found.chosen, ALIVE) / wanted.value)) < FAR)  # from nearly the same gain
    except TooWeakError:
        found, searched = None, True
    if found and found.reached:
        return found, ()
    if _within(wanted, attainable()):
        if not searched:
            with suppress(TooWeakError):
                found = _tried(wanted, _not_below(wanted, attainable(), guess), beyond(report, STAGES), math.inf)
        if strength < 1 and not (found and (found.reached or _dies_anyway(wanted, found, attainable()))):
            words = f"a drive that gives layer 1 this {name} is too weak to keep every step alive: input_gain is θ/λ instead"
            last = beyond(report, 2 * STAGES)
            found = _tried(wanted, _not_below(wanted, attainable(), _guess(wanted, 1.0, last)), last, math.inf)
        if not (found and found.reached):  # single layers do not show the gain of a network near the largest value
            words = words or f"under a drive that gives layer 1 this {name} no gain was found: input_gain is θ/λ instead"
            start = _guess(wanted, 1.0, last := beyond(report, 2 * STAGES))
            start = start and replace(start, log_gain=math.log(2 * attainable().least.gain))
            found = _tried(wanted, start, last, math.inf)
        if found and found.reached:
            return found, (words,) if words else ()
    raise out_of_reach(name, wanted, unit, attainable())


def _not_below(wanted: Wanted, attainable: Sustained, guess: Guess | None) -> Guess | None:
    """The guess, moved to the smallest attainable gain if its own is below, or the wanted value at most ``BELOW`` above."""
    low, smallest = attainable.ends(wanted.quantity)[0], math.log(attainable.least.gain)
    if guess and (guess.log_gain < smallest or wanted.value < (1 + BELOW) * low):
        return replace(guess, log_gain=smallest)
    return guess


def _within(wanted: Wanted, attainable: Sustained) -> bool:
    """Whether the wanted value lies within the attainable range, whose lower end is known to ``BELOW``."""
    least, most = attainable.ends(wanted.quantity)
    return least * (1 - BELOW) < wanted.value < most


def _guess(wanted: Wanted, strength: float, report: Report) -> Guess | None:
    try:
        return guessed(wanted, strength, report)
    except ConvergenceError:
        return None


def _tried(wanted: Wanted, guess: Guess | None, report: Report, farthest: float) -> Solution | None:
    """The gain from the guess on, or from smaller networks on where steps are silent. Raises TooWeakError."""
    try:
        start = guess and ((guess, None) if guess.every_step else in_parts(wanted, guess))
        return start and refined(wanted, *start, farthest=farthest, report=beyond(report, LONGEST))
    except TooWeakError:
        raise
    except ConvergenceError:
        return None


def _dies_anyway(wanted: Wanted, found: Solution, attainable: Sustained) -> bool:
    """Whether deep layers die slowly, and the value is well below the range of a drive of θ/λ too."""
    slowly = found.dying is not None and found.dying.lifetime > LINGERING
    return slowly and wanted.value < (1 - BELOW / 2) * attainable.ends(wanted.quantity)[0]


def _shallow_range(wanted: Wanted) -> Sustained:
    """What gains sustain in few steps and layers; some living network instead of the smallest, if its value is low enough."""
    steps = min(len(wanted.shape), SHALLOW)
    shallow = replace(wanted, shape=wanted.shape[-steps:, -steps:], depth=min(wanted.depth, SHALLOW))
    return attainable_range(shallow, 1.0, enough=lambda some: not _far_out_of_reach(wanted, some))


def _far_out_of_reach(wanted: Wanted, shallow: Sustained) -> bool:
    """Whether even a shallow network is far from the wanted value at every gain that sustains it."""
    least, most = shallow.ends(wanted.quantity)
    return most > 0 and not least / DOUBTFUL < wanted.value < most * DOUBTFUL


def attainable_range(wanted: Wanted, strength: float, **options: Any) -> Sustained:
    """What gains sustain above a layer 1 with a drive of this strength: in the last steps, if there are very many.

    ``options``: of :func:`sustained_range`.
    """
    slowest = max(size_of(wanted.neuron.decay), wanted.neuron.synaptic_decay)
    enough = max(STEPS, math.ceil(MEMORIES / (1 - slowest))) if slowest < 1 else len(wanted.shape)
    last = replace(wanted, shape=wanted.shape[-enough:, -enough:])
    first = driven_state(last, wanted.coarse, strength)
    return sustained_range(wanted.neuron, wanted.coarse, first, wanted.depth, **options)


def out_of_reach(name: str, wanted: Wanted, unit: float, attainable: Sustained) -> DomainError:
    """The error of an unattainable value, with the attainable range."""
    least, most = attainable.ends(wanted.quantity)
    rule = f"is out of reach of this neuron in {len(wanted.shape)} steps and {wanted.depth} layers: "
    if attainable.endless:
        rule += f"at every gain, counts of spikes die out or grow from layer to layer, without a stationary {name}"
    else:
        low, high = unit * least, unit * most
        rule += f"gains sustain {name}s between about {low:.3g} and {high:.3g}, "
        within = least < wanted.value < most
        jumps = f"with gaps: near the gain for this one the {name} jumps to another value or to silence"
        rule += jumps if within else "and below that activity dies"
    if wanted.value < least and wanted.depth > 2:  # where activity lingers before it dies
        rule += f"; fewer layers reach lower {name}s: name a smaller depth"
    return DomainError(name, unit * wanted.value, rule)


def _initialization(name: str, wanted: Wanted, neuron: Neuron, fan_in: int | None, progress: Progress) -> Initialization:
    check_progress(progress)
    n = None if fan_in is None else integer("fan_in", fan_in, minimum=1)
    theta, T = mean_of(neuron.threshold), len(wanted.shape)
    scale = theta / neuron.input_scale
    unit = theta**2 if name == "variance" else 1.0
    with reporter(progress, 3 * STAGES, "stages") as report:
        found, warnings = _solved(name, wanted, unit, report)
        report(3 * STAGES)
    g, m, deep = scale * found.network.gain, found.guess.multiplier, found.network
    rates, variances = late(deep.firing_rate).mean(-1), theta**2 * late(deep.variance).mean(-1)
    errors = {"firing_rate": float(standard_error(rates)), "variance": float(standard_error(variances))}
    return Initialization(
        gain=g,
        weight_std=None if n is None else g / math.sqrt(n),
        weight_variance=None if n is None else g**2 / n,
        firing_rate=float(rates.mean()),
        variance=float(variances.mean()),
        multiplier=m,
        stable=m < 1,
        critical_gain=None,
        margin=None,
        depth_scale=depth_scale(m),
        warnings=(*warnings, *_words(name, wanted, found, unit)),
        threshold=theta,
        fan_in=n,
        distribution="normal",
        depth=wanted.depth,
        input_gain=scale * found.guess.strength,
        error={"gain": scale * found.gain_error, **errors},
        window=(T // 2 + 1, T),
    )


def _words(name: str, wanted: Wanted, found: Solution, unit: float) -> list[str]:
    words, deep, m = [], found.network, found.guess.multiplier
    silent = np.flatnonzero(~sustained(wanted.neuron, np.asarray((deep.last > ALIVE).all(axis=0))))
    if len(silent):
        words.append(
            f"steps up to {int(silent[-1]) + 1} are silent in layer {wanted.depth}, and more steps die in deeper layers: "
            "the gain holds for this depth only"
        )
    reached = float(deep.values.mean())
    if abs(reached / wanted.value - 1) > OFF:
        words.append(f"the {name} jumps near this gain, past the wanted one: here it is {unit * reached:.3g}")
    if abs(deep.halfway - reached) > DRIFT * reached:
        middle, end = unit * deep.halfway, unit * reached
        words.append(f"the {name} still changes with depth: {middle:.3g} in the middle, {end:.3g} in the last layers")
    if m >= 1:
        words.append(f"unstable: deviations grow by a factor {m:.3g} per layer")
    return words
