"""The gain that keeps networks alive: exact for one step, else of networks drawn, of common neurons interpolated in a table."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

import numpy as np

from varflow._checks import refuse
from varflow.init.gains import ONLY_WITH_MEMORY, without_memory
from varflow.init.gains import gain as preserving_gain
from varflow.init.inverse import corrected_gain
from varflow.model.drives import Drive, currents
from varflow.model.neurons import Neuron
from varflow.results import Estimate

AXES: dict[str, Callable[[Any], Any]] = {"steps": np.log, "depth": np.log, "width": lambda n: n ** (-2 / 3)}
TARGET = 0.99  # survival of the table


@cache
def _table() -> Any:
    with files("varflow").joinpath("data/corrected_gains_in_time.csv").open(encoding="utf-8") as file:
        return np.genfromtxt(file, delimiter=",", names=True, dtype=None, encoding="utf-8")


def gain_kept_alive(neuron: Neuron, drive: Drive | None = None, **asked: Any) -> Estimate:
    """The corrected gain of a neuron with memory: from the table, or of networks drawn."""
    found = tabulated_gain(neuron, **asked) if drive in (None, currents()) else None
    return found or corrected_gain(neuron=neuron, drive=drive, **asked)


@lru_cache(maxsize=64)  # the layers of a model mostly share one gain
def raised_gain(neuron: Neuron, steps: int | None = None, alive: str | None = None, **shape: Any) -> float:
    """The preserving gain, raised if too few networks survive with it, ``max(g_corrected, 1/√Q(θ))/λ``; with memory the
    corrected gain. Layer 1 is driven by currents of standard deviation ``1/λ``.
    """
    if not without_memory(neuron, steps):
        return gain_kept_alive(neuron, currents(1 / neuron.input_scale), steps=steps, alive=alive, **shape).value
    refuse(ONLY_WITH_MEMORY, alive=alive)
    theta = neuron.threshold
    return max(float(corrected_gain(threshold=theta, **shape)), float(preserving_gain(threshold=theta))) / neuron.input_scale


def tabulated_gain(neuron: Neuron, alive: Any, survival_target: float, **sizes: int) -> Estimate | None:
    """The corrected gain at these ``steps``, ``depth`` and ``width`` under ``vf.drives.currents()``; None outside the table.

    Linear in ``ln steps``, ``ln depth`` and ``n^(-2/3)``, the scaling of a saddle-node; infinite width is its end.
    """
    table = _table()
    alike = (neuron.decay, neuron.reset, neuron.input_scale / neuron.threshold)
    same = (table["alive"] == alive) & (survival_target == TARGET) & (not neuron.filters)
    for name, value in zip(("decay", "reset", "input_scale"), alike, strict=True):
        same &= table[name] == value
    rows = table[same]
    if not len(rows) or any(not rows[name].min() <= sizes[name] <= rows[name].max() for name in AXES):
        return None
    axes = {name: np.unique(rows[name]).astype(float) for name in AXES}
    values = np.stack([rows["gain"], rows["error"]], axis=-1).reshape(*map(len, axes.values()), 2)
    for name, axis in axes.items():
        values = _between(AXES[name], axis, values, sizes[name])
    gain, error = values.tolist()
    return None if math.isnan(gain) else Estimate("gain", gain, error, alive, "interpolated in a table, within 2 %")


def _between(scale: Callable[[Any], Any], axis: np.ndarray, values: np.ndarray, x: float) -> np.ndarray:
    """Values at ``x``, linear in its ``scale`` along the first axis."""
    above = int(np.clip(np.searchsorted(axis, x), 1, len(axis) - 1))
    lower, upper = scale(axis[above - 1]), scale(axis[above])
    part = (scale(float(x)) - lower) / (upper - lower)
    return values[above] if part == 1 else values[above - 1] + part * (values[above] - values[above - 1])
