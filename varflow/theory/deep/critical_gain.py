"""The smallest gains that keep the steps of a network alive, by mean field."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, partial
from itertools import count
from typing import Any

import numpy as np

from varflow._checks import LARGEST_SCALE, ConvergenceError, DomainError, integer
from varflow._progress import Progress, Report, beyond, check_progress, reporter
from varflow.model.as_neuron import neuron as as_neuron
from varflow.model.drive_kinds import Drive
from varflow.model.drives import currents
from varflow.model.neurons import Neuron
from varflow.model.over_neurons import OverNeurons
from varflow.results import TemporalCriticalGain, late_steps
from varflow.theory.deep.many_gains import (
    ALIVE,
    EXTINCT,
    descend,
    drive_covariance,
    driven,
    in_units,
    sustained,
)
from varflow.theory.responses.layer_state import LayerState
from varflow.theory.responses.neurons import Neurons
from varflow.theory.roots import first_to_hold

__all__ = ["temporal_critical_gain"]

GRID = 8  # gains tried together
START = (1.6, 3.2)  # gains in units of θ/λ where the search starts; the memoryless critical gain is 2.4565
LARGEST = 1e6  # gain in units of θ/λ: the largest tried, which revives a layer 1 with rates of EXTINCT
COARSE = 2**10  # points of the coarse search
COARSE_RATIO, MARGIN = 1.012, 1.005  # ratio of gains that ends the coarse search, and margin around it for the fine one
RESOLUTION = 1e-4  # relative, without sampling
FIRST_STEP_RESOLUTION = 1e-10  # relative, for the first step, which is exact
JUST = 1.001  # ratio to the first step's critical gain at which the other steps are tested
EVERY, LATER = slice(None), slice(1, None)  # which steps must be alive
LOOKS = 12  # sets of gains of one search in the progress report; few searches need more

Alive = Callable[[np.ndarray], np.ndarray]  # gains to (replicas, gains): whether the wanted steps are alive


def temporal_critical_gain(
    neuron: Any,
    *,
    steps: int,
    depth: int = 100,
    drive: Drive | None = None,
    points: int = 2**11,
    scrambles: int = 4,
    seed: int = 0,
    progress: Progress = False,
) -> TemporalCriticalGain:
    r"""The smallest gains with which every step, and every step of the late half, is alive in layer ``depth``.

    A step is alive if ``E[S_t] > 10⁻³`` at infinite width. Below the critical gain rates collapse faster than geometrically,
    above it they stay near 0.1, so the threshold hardly matters. With ``reset='gate'`` no neuron fires twice in a row and
    layers may spike at every other step; there one of each two neighbouring steps must be alive.

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
    points, scrambles, seed : int
        For quasi-Monte Carlo, as in :func:`varflow.mean_field`; not used without a reset.
    progress : bool or callable
        True draws a bar on stderr; a callable receives ``(done, total)`` in sets of gains, some of which may be skipped.

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
    **Accuracy**: a search in the gain; ``error`` contains the scatter of the replicas and the resolution. If the first step
    decides, which needs no sampling, the gain is accurate to 1e-10, or to 1e-3 if some later step dies within 1e-3 of it
    (``error`` says which). Not in ``error``: with few points a lingering network dies early; late gain² of ``zero``, β = 0.5,
    20 steps, is 5.69 with 2⁹ points, 5.64 with 2¹¹ and 5.63 with 2¹³. Rates below 1/points are not resolved either: driven with
    a standard deviation of θ/6, that neuron's gain is 0.4 % too large.
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
    drive = currents() if drive is None else drive
    covariance = drive_covariance(drive, T)
    neuron = as_neuron(neuron)
    if _fires_at_rest(neuron.threshold):
        return TemporalCriticalGain(0.0, 0.0, {"gain": 0.0, "late_gain": 0.0}, neuron, T, L, drive)
    unit, theta = in_units(neuron)
    scale = theta / neuron.input_scale
    if math.sqrt(covariance.max()) / scale > LARGEST_SCALE:
        raise DomainError("drive", drive, f"must be at most {LARGEST_SCALE:g} times threshold/input_scale={scale:g}")
    covariance = covariance / scale / scale
    fine = Neurons(points, scrambles, seed)
    coarse = Neurons(min(points, COARSE), 2, seed)
    exact = not fine.samples(unit, T)
    _starts(driven(unit, fine, covariance[None]), drive)
    with reporter(progress, 3 * LOOKS, "sets of gains") as report:
        first, error = floor = _first_step(unit, covariance, L)
        look = _counted(partial(_alive, unit, covariance, L), beyond(report, LOOKS))
        if np.isfinite(first) and look(coarse, EVERY, np.array([first * JUST])).all():
            if not look(coarse, LATER, np.array([first / JUST])).all():  # a later step may need up to JUST times this
                error = first * np.log(JUST) / np.sqrt(3)
        elif np.isfinite(first):  # a later step needs more gain than the first
            found = _smallest(partial(look, coarse, EVERY), partial(look, fine, EVERY), exact=exact)
            first, error = max(found, floor)  # with a gate, later steps may live where the first does not
        look = _counted(partial(_alive, unit, covariance, L), beyond(report, 2 * LOOKS))
        later, late_error = _smallest(partial(look, coarse, late_steps(T)), partial(look, fine, late_steps(T)), exact=exact)
        report(3 * LOOKS)
    later = min(later, first)  # they differ by less than their errors
    return TemporalCriticalGain(
        scale * first, scale * later, {"gain": scale * error, "late_gain": scale * late_error}, neuron, T, L, drive
    )


def _fires_at_rest(threshold: float | OverNeurons) -> bool:
    """Whether a step stays alive without input."""
    if isinstance(threshold, OverNeurons):
        return float(threshold.frozen.cdf(0.0)) > ALIVE
    return threshold <= 0


def _starts(first: LayerState, drive: Drive) -> None:
    """Raise if the drive leaves layer 1 silent."""
    rate = float(first.firing_rate.max())
    if rate < EXTINCT:
        rule = f"leaves layer 1 silent at any gain (its highest rate is {rate:.2g}); raise the drive or lower the threshold"
        raise DomainError("drive", drive, rule)


def _counted(look: Callable[..., np.ndarray], report: Report) -> Callable[..., np.ndarray]:
    """``look``, reporting the number of its calls."""
    number = count()

    def looked(*question: Any) -> np.ndarray:
        report(min(next(number), LOOKS))
        return look(*question)

    return looked


def _alive(neuron: Neuron, covariance: np.ndarray, depth: int, neurons: Neurons, part: slice, gains: np.ndarray) -> np.ndarray:
    first = driven(neuron, neurons, covariance[None])
    living = descend(neuron, neurons, first, gains, layers=depth - 1)[..., part]
    return np.asarray(sustained(neuron, living).all(axis=-1))


def _first_step(neuron: Neuron, covariance: np.ndarray, depth: int) -> tuple[float, float]:
    """The critical gain of the first step, which has no memory and needs no sampling, and its error."""
    alive = partial(_alive, neuron, covariance[:1, :1], depth, Neurons(1, 2, 0), EVERY)
    return _smallest(alive, alive, exact=True, resolution=FIRST_STEP_RESOLUTION)


def _smallest(coarse: Alive, fine: Alive, *, exact: bool, resolution: float = RESOLUTION) -> tuple[float, float]:
    """The smallest gain that is alive, and its standard error."""
    if exact:  # replicas differ in their last digit, which may grow with depth: each has its own search
        ratio, replicas = 1 + resolution, range(len(coarse(np.ones(1))))
        known = cache(lambda *gains: coarse(np.array(gains)))  # their searches ask for the same gains almost to the end
        ends = [_between(lambda gains, one=one: known(*gains)[[one]], ratio) for one in replicas]
        return _joined(np.sqrt([lo * hi for lo, hi in ends]), ratio)
    lo, hi = _between(coarse, COARSE_RATIO)
    return (lo, 0.0) if np.isinf(lo) else _by_replica(fine, lo / MARGIN, hi * MARGIN)


def _joined(answers: np.ndarray, spacing: float) -> tuple[float, float]:
    """The mean over replicas, and its error from their scatter and the ``spacing`` (a ratio) of the gains tried."""
    if np.isinf(answers).any():
        return np.inf, 0.0
    mean = float(answers.mean())
    scatter = answers.var(ddof=1) / len(answers) if len(answers) > 1 else 0.0
    return mean, float(np.sqrt(scatter + (mean * np.log(spacing)) ** 2 / 12))


def _between(alive: Alive, ratio: float) -> tuple[float, float]:
    """Two gains within a ratio, the lower dead and the upper alive; ``inf`` if none is alive."""
    living = lambda gains: np.asarray(alive(gains).all(axis=0))  # noqa: E731
    lo, hi = START
    while not (ends := living(np.array([lo, hi])))[1] or ends[0]:
        lo, hi = (lo / 4, lo) if ends[0] else (hi, 4 * hi)
        if hi > LARGEST:
            return np.inf, np.inf
    return first_to_hold(living, lo, hi, ratio)


def _by_replica(alive: Alive, lo: float, hi: float) -> tuple[float, float]:
    """The mean of the replicas' critical gains, with their scatter and the grid's spacing in the error."""
    for attempt in range(1, 8):
        grid = np.geomspace(lo, hi, GRID)
        dead = GRID - alive(grid).sum(axis=1)
        if dead.min() > 0 and dead.max() < GRID:
            spacing = grid[1] / grid[0]
            return _joined(grid[0] * spacing ** (dead - 0.5), spacing)
        room = MARGIN ** (2**attempt)  # from 1 % to a factor of 1.9
        lo, hi = (lo / room if dead.min() == 0 else lo), (hi * room if dead.max() == GRID else hi)
    raise ConvergenceError(f"replicas disagree on the critical gain between {lo:.3g} and {hi:.3g} θ/λ: raise points")
