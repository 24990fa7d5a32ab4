"""Initialisation of neurons with memory: the gain whose deep layers have a wanted rate, or variance, late in time."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from varflow._checks import DomainError, integer, positive_scale, probability, scalar
from varflow.init.lookup import Initialization
from varflow.model.drive_kinds import Drive
from varflow.model.drives import currents
from varflow.model.neurons import Neuron
from varflow.theory.many_gains import (
    ALIVE,
    Descent,
    descend,
    drive_covariance,
    driven,
    in_units,
    is_drawn,
    late,
    layer,
    response_for,
)
from varflow.theory.responses import LayerState, Response
from varflow.theory.temporal_fixed_point import leading_multiplier

__all__ = ["gain_for_rate", "gain_for_variance"]

GRID = 8  # gains at a time
LOWEST, HIGHEST = 0.05, 1e3  # gains, in units of θ/λ, between which an answer is looked for
STRENGTHS = np.geomspace(1e-2, 1e3, 61)  # of the drive, in the same units
COARSE = 2**10  # points of a first look
NEAR = 1.04  # ratio of gains at which it ends
JUMP = 1.003  # a rate that jumps over the wanted one within this ratio is not to be had
SHALLOW = 24  # layers that the very first look goes down
SETTLING, AVERAGED = 24, 12  # layers of the fine look, the deepest ones, and how many of them are averaged
DRIFT = 0.03  # relative change of the answer over the deeper half of the layers that is pointed out

Reading = Callable[[np.ndarray, np.ndarray], np.ndarray]  # of firing rates and variances (…, steps): what is wanted (…)


@dataclass(frozen=True, slots=True, eq=False)
class _Question:
    """What is wanted, of the neuron in its own units, under a drive of a unit second moment."""

    name: str
    wanted: float
    read: Reading
    neuron: Neuron
    shape: np.ndarray  # covariance of the drive, (steps, steps)
    depth: int
    coarse: Response
    fine: Response


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
    **Assumes** infinite width, no bias, weights of mean 0; a step counts as alive above 10⁻³ spikes per neuron.
    **Accuracy**: ``error`` of the numbers; at finite width rates are lower by order 1/width, most of all near the smallest.
    **Source**: derived here.

    Examples
    --------
    >>> import varflow as vf
    >>> init = vf.gain_for_rate(vf.Neuron(1.0, decay=0.5), rate=0.4, steps=20, fan_in=512)
    >>> print(f"{init.gain:.3f} {init.weight_std:.4f} {init.input_gain:.3f} {init.firing_rate:.4f} {init.window}")
    3.243 0.1433 1.974 0.4000 (11, 20)
    """
    largest = math.inf if isinstance(neuron, Neuron) and neuron.reset == "multi_spike" else 1.0
    wanted = probability("rate", rate, open_ends=True) if largest == 1 else scalar("rate", positive_scale("rate", rate))
    options = {"points": points, "scrambles": scrambles, "seed": seed}
    question = _question(neuron, "rate", wanted, lambda rates, _: late(rates).mean(-1), steps, depth, drive, options)
    return _answer(question, neuron, fan_in)


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
    wanted = scalar("variance", positive_scale("variance", variance))
    options = {"points": points, "scrambles": scrambles, "seed": seed}
    read: Reading = lambda _, variances: late(variances).mean(-1)  # noqa: E731
    if isinstance(neuron, Neuron) and neuron.threshold > 0:
        wanted /= neuron.threshold**2
    return _answer(_question(neuron, "variance", wanted, read, steps, depth, drive, options), neuron, fan_in)


def _question(
    neuron: Any,
    name: str,
    wanted: float,
    read: Reading,
    steps: int,
    depth: int,
    drive: Drive | None,
    options: dict[str, int],
) -> _Question:
    if not isinstance(neuron, Neuron):
        raise DomainError("neuron", neuron, "must be vf.Neuron(threshold, decay=…) or one of vf.neurons")
    T, L = integer("steps", steps, minimum=2), integer("depth", depth, minimum=2)
    if neuron.threshold <= 0:
        raise DomainError(name, wanted, "cannot be chosen at threshold ≤ 0: name a gain")
    if neuron.decay == 1 and neuron.reset == "none":
        rule = "with reset='none' never forgets: potentials grow with every step, and no late rate or variance is stationary"
        raise DomainError("decay", neuron.decay, rule)
    covariance = drive_covariance(currents() if drive is None else drive, T)
    moment = np.trace(covariance) / T
    if moment <= 0:
        raise DomainError("drive", drive, "is silent: its strength can be chosen, its shape in time cannot")
    unit = in_units(neuron)
    fine = response_for(unit, T, **options)
    coarse = response_for(unit, T, **options | {"points": min(options["points"], COARSE), "scrambles": 2})
    return _Question(name, wanted, read, unit, covariance / moment, L, coarse, fine)


def _answer(question: _Question, neuron: Neuron, fan_in: int | None) -> Initialization:
    n = None if fan_in is None else integer("fan_in", fan_in, minimum=1)
    theta, scale = neuron.threshold, neuron.threshold / neuron.input_scale
    descent, warnings = _start(question)
    log_gain, error = _solve(question, descent)
    g = math.exp(log_gain)
    found = descent.down(np.array([g]))
    if not _sustained(found)[0]:
        raise _out_of_reach(question, max(descent.strength, 1.0))[0]
    rates, variances = late(found.firing_rate[:, 0]).mean(-1), theta**2 * late(found.variance[:, 0]).mean(-1)
    m = _multiplier(question, g, found)
    T = len(question.shape)
    return Initialization(
        gain=scale * g,
        weight_std=None if n is None else scale * g / math.sqrt(n),
        weight_variance=None if n is None else (scale * g) ** 2 / n,
        firing_rate=float(rates.mean()),
        variance=float(variances.mean()),
        multiplier=m,
        stable=m < 1,
        critical_gain=None,
        margin=None,
        depth_scale=-1 / math.log(m) if 0 < m != 1 else 0.0,
        warnings=(*warnings, *_words(question, descent.strength, g, found, m)),
        threshold=theta,
        fan_in=n,
        distribution="normal",
        depth=question.depth,
        input_gain=scale * descent.strength,
        error={"gain": scale * g * error, "firing_rate": _standard_error(rates), "variance": _standard_error(variances)},
        window=(T // 2 + 1, T),
    )


def _standard_error(replicas: np.ndarray) -> float:
    return float(replicas.std(ddof=1) / math.sqrt(len(replicas))) if len(replicas) > 1 else 0.0


@dataclass(frozen=True, slots=True, eq=False)
class _Fine:
    """The last layers of a network, in full resolution, for gains between ``lo`` and ``hi``."""

    question: _Question
    strength: float
    lo: float
    hi: float
    coincidences: np.ndarray  # of the layer they start from
    layers: int

    def down(self, gains: np.ndarray) -> Descent:
        above, window = self.question.depth - self.layers, min(AVERAGED, (self.layers + 1) // 2)
        neuron, response = self.question.neuron, self.question.fine
        return descend(neuron, response, self.coincidences, gains, layers=self.layers, window=window, above=above)


def _start(question: _Question) -> tuple[_Fine, list[str]]:
    """Between two gains close together on either side of the answer, both sustained.

    Where a drive as weak as what is wanted leaves gaps between the steps that no gain fills, a stronger one is taken.
    """
    strength, warnings = _strength(question)
    between = _bracket(question, strength)
    if between is None:
        refusal, lowest, highest = _out_of_reach(question, max(strength, 1.0))
        if strength < 1 and lowest <= question.wanted <= highest:
            strength = 1.0
            warnings.append(f"a drive that gives layer 1 this {question.name} is too weak to start every step: take a stronger")
            between = _bracket(question, strength)
        if between is None:
            raise refusal
    lo, hi, complete = between
    layers = question.depth - 1
    if complete and is_drawn(question.fine):  # where first steps are dead the next ones are dying: every layer counts
        layers = min(layers, SETTLING)
    M = driven(question.neuron, question.coarse, strength**2 * question.shape[None]).coincidences
    if layers < question.depth - 1:
        upper = descend(question.neuron, question.coarse, M, np.array([hi]), layers=question.depth - 1 - layers)
        M = upper.coincidences.mean(axis=0)[None]
    return _Fine(question, strength, lo, hi, M, layers), warnings


def _strength(question: _Question) -> tuple[float, list[str]]:
    """Standard deviation of a drive under which layer 1 has what is wanted."""
    grid = STRENGTHS
    for _ in range(4):
        state = driven(question.neuron, question.coarse, grid[:, None, None] ** 2 * question.shape)
        above = question.read(state.firing_rate, state.variance).mean(axis=0) >= question.wanted
        if not above.any():
            return 1.0, [f"no drive of this shape gives layer 1 the {question.name}: it is driven at θ/λ instead"]
        first = max(int(np.argmax(above)), 1)
        grid = np.geomspace(grid[first - 1], grid[first], 9)
    return float(np.sqrt(grid[0] * grid[-1])), []


def _deep(question: _Question, strength: float, gains: np.ndarray, layers: int | None = None) -> Descent:
    M = driven(question.neuron, question.coarse, strength**2 * question.shape[None]).coincidences
    return descend(question.neuron, question.coarse, M, gains, layers=(layers or question.depth) - 1)


def _read(question: _Question, found: Descent) -> np.ndarray:
    """What the last layers have of what is wanted, one number a replica and gain."""
    return question.read(found.firing_rate, found.variance)


def _sustained(found: Descent) -> np.ndarray:
    """Whether the late half of the steps is alive in every replica, per gain."""
    return np.asarray(late(found.alive).all(axis=(0, 2)))


def _bracket(question: _Question, strength: float) -> tuple[float, float, bool] | None:
    """Two such gains, and whether all steps are alive there; None where there are none."""
    lo, hi, layers = 1.5, 4.0, min(SHALLOW, question.depth)
    while True:
        grid = np.geomspace(lo, hi, GRID + 1)
        found = _deep(question, strength, grid, layers)
        below = np.flatnonzero(_read(question, found).mean(axis=0) < question.wanted)
        if not len(below) or below[-1] == GRID:
            if layers < question.depth and hi / lo < 1.5:  # deeper down it is elsewhere: look there from the beginning
                lo, hi, layers = 1.5, 4.0, question.depth
            elif len(below):
                lo, hi = hi, 3 * hi
            else:
                lo, hi = lo / 3, lo
            if lo < LOWEST or hi > HIGHEST:
                return None
            continue
        cell, good = int(below[-1]), _sustained(found)
        lo, hi = float(grid[cell]), float(grid[cell + 1])
        if layers < question.depth:
            lo, hi, layers = lo / NEAR, hi * NEAR, question.depth
        elif hi / lo <= NEAR and good[cell] and good[cell + 1]:
            return lo, hi, bool(found.alive[:, cell : cell + 2].all())
        elif hi / lo <= JUMP:
            return None


def _out_of_reach(question: _Question, strength: float) -> tuple[DomainError, float, float]:
    """What can be had: from where the late half of the steps just survives to far above the threshold."""
    lo, hi = LOWEST, HIGHEST
    while hi / lo > JUMP:
        grid = np.geomspace(lo, hi, GRID + 1)
        good = np.r_[False, _sustained(_deep(question, strength, grid[1:-1])), True]
        first = int(np.flatnonzero(~good)[-1])
        lo, hi = float(grid[first]), float(grid[first + 1])
    least, most = _read(question, _deep(question, strength, np.array([hi * JUMP, HIGHEST]))).mean(axis=0)
    rule = (
        f"is out of reach of this neuron in {len(question.shape)} steps and {question.depth} layers: gains sustain "
        f"{question.name}s between about {least:.3g} and {most:.3g}, and below that activity dies"
    )
    return DomainError(question.name, question.wanted, rule), float(least), float(most)


def _solve(question: _Question, fine: _Fine) -> tuple[float, float]:
    """``ln g`` and its standard error: a parabola through three gains for each replica."""
    gains = np.geomspace(fine.lo, fine.hi, 3)
    values = _read(question, fine.down(gains))
    each = np.array([np.polyval(np.polyfit(replica, np.log(gains), 2), question.wanted) for replica in values])
    return float(each.mean()), _standard_error(each)


def _multiplier(question: _Question, g: float, found: Descent) -> float:
    def step(moments: tuple[np.ndarray, np.ndarray], number: int) -> tuple[np.ndarray, np.ndarray]:
        state: LayerState = layer(question.neuron, question.fine, g**2 * moments[1], number)
        return state.firing_rate, state.coincidences

    M = found.coincidences[:, :1]
    return leading_multiplier(step, (np.diagonal(M, axis1=-2, axis2=-1), M), 1)[0]


def _words(question: _Question, strength: float, g: float, found: Descent, m: float) -> list[str]:
    words = []
    silent = np.flatnonzero(~(found.last[:, 0] > ALIVE).all(axis=0))
    if len(silent):
        words.append(
            f"steps up to {int(silent[-1]) + 1} are silent in layer {question.depth}, and deeper layers lose more: at this "
            "gain activity lasts for a depth only"
        )
    half = _read(question, _deep(question, strength, np.array([g]), max(question.depth // 2, 2))).mean()
    whole = _read(question, _deep(question, strength, np.array([g]))).mean()
    if abs(half - whole) > DRIFT * whole:
        words.append(f"the {question.name} still drifts over depth: {half:.3g} in the middle, {whole:.3g} in the last layer")
    if m >= 1:
        words.append(f"unstable: deviations grow by {m:.3g} a layer")
    return words
