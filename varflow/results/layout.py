"""Per-layer results as read-only arrays, as an ``xarray.Dataset``, and as a table."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np

from varflow._checks import frozen, put
from varflow._display import Table
from varflow.model.network import Network
from varflow.results.export import numbered

QUANTITIES = ("variance", "firing_rate", "survival")
SPREADS = ("spread", "conditional_spread")  # over networks, pooled over layers
AXES = ("layer", "step", "other_step")
HEADER = ("layer", "variance", "firing rate", "survival")


class ReadOnly:
    """A dataclass whose fields of arrays, or of dicts of arrays, hold read-only copies."""

    __slots__ = ()

    def __post_init__(self) -> None:
        for field in fields(self):  # pyright: ignore[reportArgumentType]
            value = getattr(self, field.name)
            if field.type == "dict[str, np.ndarray]":
                put(self, **{field.name: {key: frozen(array) for key, array in value.items()}})
            elif field.type in ("np.ndarray", "np.ndarray | None") and value is not None:
                put(self, **{field.name: frozen(value)})


def spikes(network: Network, rate: np.ndarray, axes: int) -> np.ndarray:
    """``width × rate``; layers are the first of the last ``axes`` axes."""
    return network.widths.reshape(-1, *[1] * (axes - 1)) * rate


def late_steps(steps: int) -> slice:
    """The late half of the steps."""
    return slice(steps // 2, steps)


def over_layers(arrays: dict[str, Any], *first: str) -> dict[str, Any]:
    """Named arrays over the axes ``first``, then layers and steps (also for a single step); those that are None left out."""
    axes, variables = [*first, *AXES], {}
    for name, array in arrays.items():
        if array is not None:
            with_steps = array if array.ndim > len(first) + 1 else array[..., None]
            variables[name] = (axes[: with_steps.ndim], with_steps)
    return variables


def axes_of(result: Any) -> dict[str, Any]:
    """Layers and steps of a network, or of a result with ``depth`` and ``steps``, counted from 1."""
    return numbered(layer=result.depth, step=result.steps)


def evenly(size: int, at_most: int) -> list[int]:
    """At most so many of the indices 0 … size - 1, evenly spaced, the first and the last among them."""
    return np.unique(np.linspace(0, size - 1, at_most).round().astype(int)).tolist()


def layers_table(title: str, network: Network, profile: Any) -> Table:
    """Five layers of a profile, evenly spaced; over several steps, at the first and last."""
    layers = evenly(network.depth, 5)
    title = f"{title} of {network!r}"
    if profile.variance.ndim == 1:
        return Table(title, "{:>7} {:>22} {:>22} {:>10}", [_row(profile, l, str(l + 1)) for l in layers], HEADER)
    steps = np.unique([0, profile.variance.shape[1] - 1])
    rows = [_row(profile, (l, t), str(l + 1), str(t + 1)) for l in layers for t in steps]
    return Table(title, "{:>7} {:>5} {:>22} {:>22} {:>10}", rows, (HEADER[0], "step", *HEADER[1:]))


def _row(profile: Any, place: Any, *names: str) -> tuple[str, ...]:
    variance = f"{profile.variance[place]:.5g} ± {profile.variance_std[place]:.2g}"
    rate = f"{profile.firing_rate[place]:.5g} ± {profile.firing_rate_std[place]:.2g}"
    return (*names, variance, rate, f"{profile.survival[place]:.5g}")
