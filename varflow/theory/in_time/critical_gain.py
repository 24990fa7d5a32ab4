"""The smallest gains that keep activity alive over the steps of a network, by mean field."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np

from varflow._checks import LARGEST_SCALE, ConvergenceError, DomainError, instance, integer
from varflow.model.drive_kinds import Drive
from varflow.model.drives import currents
from varflow.model.neurons import Neuron
from varflow.results import TemporalCriticalGain
from varflow.theory.in_time.many_gains import (
    EXTINCT,
    descend,
    drive_covariance,
    driven,
    in_units,
    is_drawn,
    late,
    response_for,
    sustained,
)
from varflow.theory.in_time.responses import LayerState, Response

__all__ = ["temporal_critical_gain"]

GRID = 8  # gains at a time
START = (1.6, 3.2)  # gains, in units of θ/λ, between which the search begins
LARGEST = 1e6  # raises a rate of EXTINCT in layer 1
COARSE = 2**10  # points of a first look
CLOSE, MARGIN = 1.012, 1.005  # ratio of gains at which it ends, and room around it for the fine one
EXACT = 1e-4  # the same where nothing is drawn, less 1
FIRST = 1e-10  # the same of the first step alone
JUST = 1.001  # around the first step's critical gain, where the other steps are tried

Alive = Callable[[np.ndarray], np.ndarray]  # gains to (replicas, gains): is what was asked for alive?


def temporal_critical_gain(
    neuron: Neuron,
    *,
    steps: int,
    depth: int = 100,
    drive: Drive | None = None,
    points: int = 2**11,
    scrambles: int = 4,
    seed: int = 0,
) -> TemporalCriticalGain:
    r"""The smallest gain with which every step, or every step of the late half, is alive at a layer.

    A step is alive where ``E[S_t] > 10⁻³`` in layer ``depth`` at infinite width: below the critical gain rates collapse faster
    than geometrically, and above it they stay near a tenth, so the number matters little. With ``reset='gate'`` no neuron
    fires twice in a row and layers may spike at every other step: there one of two neighbouring steps must be alive.

    Parameters
    ----------
    neuron : Neuron
        With ``θ ≤ 0`` activity never dies and both gains are 0.
    steps, depth : int
        Of the network; the answer depends on both. Below the memoryless critical gain the first living step dies over
        layers, then the next one: late steps outlive it for a depth only.
    drive : Drive
        What layer 1 receives; by default ``vf.drives.currents()``. Of a batch of inputs, the mean covariance.
    points, scrambles, seed : int
        Of quasi-Monte Carlo, as in :func:`varflow.mean_field`; not used without a reset.

    Returns
    -------
    TemporalCriticalGain

    Raises
    ------
    DomainError
        For values outside their domain, a drive of given currents, or one that leaves layer 1 silent.
    ConvergenceError
        Where the points are too few to tell living from dying networks.

    Notes
    -----
    **Assumes** infinite width, no bias, weights of mean 0. A delay is taken out: steps count from the first arrival.
    **Accuracy**: a search in the gain; ``error`` holds the scatter of the replicas and the resolution. Where the first step
    decides, which needs no numbers drawn, the gain is known to 1e-10; if some later step is alive a thousandth above that
    gain but not a thousandth below, the error says so. Finitely many points
    make a network die early where it lingers, which the error does not hold: late gain² of ``zero``, β = 0.5, 20 steps, is 5.69
    with 2⁹ points, 5.64 with 2¹¹ and 5.63 with 2¹³. Nor are rates below one in so many points resolved: driven with a
    standard deviation of θ/6, that neuron's gain is 0.4 % too large.
    **Source**: derived here.

    Examples
    --------
    >>> import varflow as vf
    >>> found = vf.temporal_critical_gain(vf.Neuron(1.0, decay=0.5), steps=20)
    >>> print(f"{found.gain**2:.3f} {found.late_gain**2:.3f}")
    6.021 5.300
    """
    T, L = integer("steps", steps, minimum=1), integer("depth", depth, minimum=2)
    drive = currents() if drive is None else drive
    covariance = drive_covariance(drive, T)
    if instance("neuron", neuron, Neuron).threshold <= 0:
        return TemporalCriticalGain(0.0, 0.0, {"gain": 0.0, "late_gain": 0.0}, neuron, T, L, drive)
    unit, scale = in_units(neuron), neuron.threshold / neuron.input_scale
    if math.sqrt(covariance.max()) / scale > LARGEST_SCALE:
        raise DomainError("drive", drive, f"must be at most {LARGEST_SCALE:g} times threshold/input_scale={scale:g}")
    covariance = covariance / scale / scale
    fine = response_for(unit, T, points=points, scrambles=scrambles, seed=seed)
    coarse = response_for(unit, T, points=min(points, COARSE), scrambles=2, seed=seed)
    look = partial(_alive, unit, covariance, L)
    exact = not is_drawn(fine)
    _starts(driven(unit, fine, covariance[None]), drive)
    first, error = floor = _first_step(unit, covariance, L)
    if np.isfinite(first) and look(coarse, every, np.array([first * JUST])).all():
        if not look(coarse, but_the_first, np.array([first / JUST])).all():  # some step may need up to this much more
            error = first * np.log(JUST) / np.sqrt(3)
    elif np.isfinite(first):  # later steps need more than the first
        found = _smallest(partial(look, coarse, every), partial(look, fine, every), exact=exact)
        first, error = max(found, floor)  # of a gate, later ones may live where the first does not
    later, late_error = _smallest(partial(look, coarse, late), partial(look, fine, late), exact=exact)
    if later > first:  # by less than their errors
        later = first
    return TemporalCriticalGain(
        scale * first, scale * later, {"gain": scale * error, "late_gain": scale * late_error}, neuron, T, L, drive
    )


def every(values: np.ndarray) -> np.ndarray:
    """All steps, where :func:`late` takes half of them."""
    return values


def but_the_first(values: np.ndarray) -> np.ndarray:
    return values[..., 1:]


def _starts(first: LayerState, drive: Drive) -> None:
    """Refuse a drive that leaves layer 1 silent."""
    rate = float(first.firing_rate.max())
    if rate < EXTINCT:
        rule = f"leaves layer 1 silent, which no gain wakes: its highest rate is {rate:.2g}; drive more or lower the threshold"
        raise DomainError("drive", drive, rule)


def _alive(
    neuron: Neuron, covariance: np.ndarray, depth: int, response: Response, part: Callable, gains: np.ndarray
) -> np.ndarray:
    first = driven(neuron, response, covariance[None])
    living = part(descend(neuron, response, first, gains, layers=depth - 1).alive)
    return np.asarray(sustained(neuron, living).all(axis=-1))


def _first_step(neuron: Neuron, covariance: np.ndarray, depth: int) -> tuple[float, float]:
    """Of the first step, which knows no memory and needs no numbers drawn."""
    response = response_for(neuron, 1, points=1, scrambles=2, seed=0)
    alive = partial(_alive, neuron, covariance[:1, :1], depth, response, every)
    return _smallest(alive, alive, exact=True, resolution=FIRST)


def _smallest(coarse: Alive, fine: Alive, *, exact: bool, resolution: float = EXACT) -> tuple[float, float]:
    """The smallest gain that is alive, and its standard error."""
    if exact:  # replicas differ in the last digit only: far apart where that digit matters
        ratio, replicas = 1 + resolution, range(len(coarse(np.ones(1))))
        ends = [_between(lambda gains, one=one: coarse(gains)[[one]], ratio) for one in replicas]
        return _joined(np.sqrt([lo * hi for lo, hi in ends]), ratio)
    lo, hi = _between(coarse, CLOSE)
    return (lo, 0.0) if np.isinf(lo) else _by_replica(fine, lo / MARGIN, hi * MARGIN)


def _joined(answers: np.ndarray, spacing: float) -> tuple[float, float]:
    """The mean over replicas, and its error: their scatter and the ``spacing``, a ratio, of the gains tried."""
    if np.isinf(answers).any():
        return np.inf, 0.0
    mean = float(answers.mean())
    scatter = answers.var(ddof=1) / len(answers) if len(answers) > 1 else 0.0
    return mean, float(np.sqrt(scatter + (mean * np.log(spacing)) ** 2 / 12))


def _between(alive: Alive, ratio: float) -> tuple[float, float]:
    """Two gains within a ratio, the lower of them dead and the upper alive; ``inf`` where none is alive."""
    lo, hi = _bracket(alive, *START)
    if np.isinf(hi):
        return hi, hi
    while hi / lo > ratio:
        lo, hi = _cell(alive, np.geomspace(lo, hi, GRID + 1))
    return lo, hi


def _bracket(alive: Alive, lo: float, hi: float) -> tuple[float, float]:
    """A cell whose lower end is dead and whose upper end is alive; ``inf`` where no gain is."""
    while True:
        grid = np.geomspace(lo, hi, GRID + 1)
        living = np.asarray(alive(grid).all(axis=0))
        if living[0]:
            lo, hi = lo / 4, lo
        elif not living[-1]:
            lo, hi = hi, 4 * hi
            if hi > LARGEST:
                return lo, np.inf
        else:
            return _around(grid, living)


def _cell(alive: Alive, grid: np.ndarray) -> tuple[float, float]:
    """One cell of a grid whose first entry is dead and whose last is alive."""
    inside = np.asarray(alive(grid[1:-1]).all(axis=0))
    return _around(grid, np.concatenate([[False], inside, [True]]))


def _around(grid: np.ndarray, living: np.ndarray) -> tuple[float, float]:
    dead = int(np.flatnonzero(~living)[-1])
    return float(grid[dead]), float(grid[dead + 1])


def _by_replica(alive: Alive, lo: float, hi: float) -> tuple[float, float]:
    """Every replica has a critical gain of its own: their mean, with scatter and spacing of the grid in the error."""
    for attempt in range(1, 8):
        grid = np.geomspace(lo, hi, GRID)
        dead = GRID - alive(grid).sum(axis=1)
        if dead.min() > 0 and dead.max() < GRID:
            spacing = grid[1] / grid[0]
            return _joined(grid[0] * spacing ** (dead - 0.5), spacing)
        room = MARGIN ** (2**attempt)  # 1 % at first, a factor of 1.9 at last
        lo, hi = (lo / room if dead.min() == 0 else lo), (hi * room if dead.max() == GRID else hi)
    raise ConvergenceError(f"replicas agree on no critical gain between {lo:.3g} and {hi:.3g} θ/λ: raise points")
