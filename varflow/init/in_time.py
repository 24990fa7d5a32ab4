"""Initialisation of neurons with memory: the gain whose deep layers have a wanted rate, or variance, late in time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from varflow._checks import DomainError, instance, integer, positive_scale, probability, scalar
from varflow.init.search_in_time import Answer, Question, Reading, answered, layers_above, multiplier_at, standard_error
from varflow.model.drive_kinds import Drive
from varflow.model.drives import currents
from varflow.model.neurons import Neuron
from varflow.results import Initialization
from varflow.theory.in_time.many_gains import drive_covariance, in_units, late, response_for, sustained

__all__ = ["gain_for_rate", "gain_for_variance"]

COARSE = 2**10  # points of a first look
OFF = 0.01  # relative deviation from what was wanted, beyond its errors, that is pointed out
DRIFT = 0.03  # relative change of the answer over the deeper half of the layers that is pointed out


def gain_for_rate(
    neuron: Neuron,
    *,
    rate: float,
    steps: int,
    depth: int = 100,
    drive: Drive | None = None,
    fan_in: int | None = None,
    points: int = 2**12,
    scrambles: int = 4,
    seed: int = 0,
) -> Initialization:
    r"""The gain with which the deep layers of a network fire at a wanted rate, late in time.

    The rate is the mean over the late half of the steps, in the state that ``depth`` layers lead to from a layer 1 that
    already fires at about that rate: ``input_gain`` is the strength of a drive that makes it do so.

    Parameters
    ----------
    neuron : Neuron
        Of positive threshold. The gain goes as ``θ/λ``.
    rate : float
        Mean spikes per neuron and step; for a multi-spike neuron it may exceed 1.
    steps, depth : int
        Of the network.
    drive : Drive
        Its shape in time counts, its strength does not: by default constant currents. Of a batch, the mean covariance.
    fan_in : int, optional
        For ``weight_std`` and ``weight_variance``.
    points, scrambles, seed : int
        Of quasi-Monte Carlo, as in :func:`varflow.mean_field`; not used without a reset.

    Returns
    -------
    Initialization
        ``firing_rate``, ``variance`` are recomputed at the answer, means over ``window``; ``error`` has their numerical
        standard errors and the gain's. ``multiplier`` is that of :func:`varflow.temporal_fixed_point`.

    Raises
    ------
    DomainError
        For rates that no gain sustains: the message names the reachable range. Activity does not thin out towards small
        rates, it jumps to silence. Without reset and with ``β = 1`` no late rate is stationary.

    Notes
    -----
    **Assumes** infinite width, no bias, weights of mean 0; a step counts as alive above 10⁻³ spikes per neuron. Layers of a
    gate may spike at every other step only, and the rate is the mean over all. Counts of spikes (``multi_spike``) grow with
    the membrane: no stable rate of theirs was found, a warning says so, and the gain serves for the stated depth.
    **Accuracy**: ``error`` of the numbers. Finite width lowers rates by order 1/width, most near the smallest: real networks of
    width 1500, stepped by three libraries at rates 0.15, 0.2 and 0.3, were 0.9 % off on average and 3.6 % at most
    (``validation/claims/gain_for_rate.py``).
    **Source**: derived here.

    Examples
    --------
    >>> import varflow as vf
    >>> init = vf.gain_for_rate(vf.Neuron(1.0, decay=0.5), rate=0.4, steps=20, fan_in=512)
    >>> print(f"{init.gain:.3f} {init.weight_std:.4f} {init.input_gain:.3f} {init.firing_rate:.4f} {init.window}")
    3.243 0.1433 1.974 0.4000 (11, 20)
    """
    largest = math.inf if isinstance(neuron, Neuron) and neuron.reset_rule.counts else 1.0
    wanted = probability("rate", rate, open_ends=True) if largest == 1 else scalar("rate", positive_scale("rate", rate))
    options = {"points": points, "scrambles": scrambles, "seed": seed}
    question = _question(neuron, "rate", wanted, lambda rates, _: late(rates).mean(-1), steps, depth, drive, options)
    return _initialization(question, neuron, fan_in)


def gain_for_variance(
    neuron: Neuron,
    *,
    variance: float,
    steps: int,
    depth: int = 100,
    drive: Drive | None = None,
    fan_in: int | None = None,
    points: int = 2**12,
    scrambles: int = 4,
    seed: int = 0,
) -> Initialization:
    r"""The gain with which the membranes of deep layers have a wanted variance, late in time.

    As :func:`varflow.gain_for_rate`, with the variance of the membrane at the spike test in place of the rate.

    Parameters
    ----------
    neuron, steps, depth, drive, fan_in, points, scrambles, seed
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
    wanted, unit = scalar("variance", positive_scale("variance", variance)), 1.0
    options = {"points": points, "scrambles": scrambles, "seed": seed}
    read: Reading = lambda _, variances: late(variances).mean(-1)  # noqa: E731
    if isinstance(neuron, Neuron) and neuron.threshold > 0:
        unit = neuron.threshold**2
    return _initialization(_question(neuron, "variance", wanted, read, steps, depth, drive, options, unit), neuron, fan_in)


def _question(
    neuron: Any,
    name: str,
    wanted: float,
    read: Reading,
    steps: int,
    depth: int,
    drive: Drive | None,
    options: dict[str, int],
    unit: float = 1.0,
) -> Question:
    """The arguments, checked, in units of the neuron."""
    instance("neuron", neuron, Neuron)
    T, L = integer("steps", steps, minimum=2), integer("depth", depth, minimum=2)
    if neuron.threshold <= 0:
        raise DomainError(name, wanted, "cannot be chosen at threshold ≤ 0: name a gain")
    if neuron.decay == 1 and neuron.reset_rule.linear:
        rule = "without reset never forgets: potentials grow with every step, and no late rate or variance is stationary"
        raise DomainError("decay", neuron.decay, rule)
    covariance = drive_covariance(currents() if drive is None else drive, T)
    moment = np.trace(covariance) / T
    if moment <= 0:
        raise DomainError("drive", drive, "is silent: its strength can be chosen, its shape in time cannot")
    own = in_units(neuron)
    fine = response_for(own, T, **options)
    coarse = response_for(own, T, **options | {"points": min(options["points"], COARSE), "scrambles": 2})
    return Question(name, wanted / unit, read, own, covariance / moment, L, coarse, fine, unit)


def _initialization(question: Question, neuron: Neuron, fan_in: int | None) -> Initialization:
    n = None if fan_in is None else integer("fan_in", fan_in, minimum=1)
    theta, scale, T = neuron.threshold, neuron.threshold / neuron.input_scale, len(question.shape)
    answer = answered(question)
    g, found = scale * answer.gain, answer.found
    rates, variances = late(found.firing_rate[:, 0]).mean(-1), theta**2 * late(found.variance[:, 0]).mean(-1)
    m = multiplier_at(question, answer.gain, found)
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
        depth_scale=-1 / math.log(m) if 0 < m != 1 else 0.0,
        warnings=(*answer.warnings, *_words(question, answer, m)),
        threshold=theta,
        fan_in=n,
        distribution="normal",
        depth=question.depth,
        input_gain=scale * answer.strength,
        error={"gain": g * answer.error, "firing_rate": standard_error(rates), "variance": standard_error(variances)},
        window=(T // 2 + 1, T),
    )


def _words(question: Question, answer: Answer, m: float) -> list[str]:
    words = []
    silent = np.flatnonzero(~sustained(question.neuron, np.asarray(answer.found.alive[:, 0].all(axis=0))))
    if len(silent):
        words.append(
            f"steps up to {int(silent[-1]) + 1} are silent in layer {question.depth}, and deeper layers lose more: at this "
            "gain activity lasts for a depth only"
        )
    values = question(answer.found)[:, 0]
    if abs(values.mean() - question.wanted) > OFF * question.wanted + 4 * standard_error(values):
        words.append(
            f"the {question.name} jumps over the wanted one near this gain: here it is {question.unit * values.mean():.3g}"
        )
    depths, gains = (max(question.depth // 2, 2), question.depth), np.array([answer.gain])
    half, whole = (question.unit * question(layers_above(question, answer.strength, gains, depth)).mean() for depth in depths)
    if abs(half - whole) > DRIFT * whole:
        words.append(f"the {question.name} still drifts over depth: {half:.3g} in the middle, {whole:.3g} in the last layers")
    if m >= 1:
        words.append(f"unstable: deviations grow by {m:.3g} a layer")
    return words
