"""Results as read-only arrays, as dicts for JSON, as tables, and as ``xarray.Dataset`` in types that every netCDF format holds.

``vf.finite_width(network).to_xarray().to_netcdf("profile.nc")``: netCDF has no booleans, no None and no empty axes, and its
classic format no 64-bit integers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from varflow._checks import choice, frozen, nan_to_none, put, require
from varflow._display import Table, plus_minus
from varflow.model.network import Network

QUANTITIES = ("variance", "firing_rate", "survival")
SPREADS = ("spread", "conditional_spread")  # over networks, pooled over layers
AXES = ("layer", "step", "other_step")
CRITERIA = ("every step", "every late step", "a late step", "any step")  # at finite width they differ by orders of magnitude
# Columns of tables of layers that narrow terminals lack, the least important first:
DISPENSABLE = ("predicted overlap", "overlap", "predicted gradient", "always", "neuron", "inputs", "spikes", "χ", "SynOps")
DISPENSABLE += ("no grad", "kept", "flips", "direct", "silent")
HEADER = ("layer", "variance", "firing rate", "survival")


class Exported:
    """A result whose fields, but the ``_hidden`` ones, and ``_derived`` properties are exported by name."""

    __slots__ = ()
    _hidden: tuple[str, ...] = ()
    _derived: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Everything by name, None where undefined; arrays that are too large only ``to_xarray`` has."""
        names = [*(field.name for field in fields(self) if field.name not in self._hidden), *self._derived]  # pyright: ignore[reportArgumentType]
        return nan_to_none(named(self, *names))


def named(result: Any, *names: str) -> dict[str, Any]:
    """Attributes of a result by name."""
    return {name: getattr(result, name) for name in names}


def dataset(variables: Mapping[str, Any], coordinates: Mapping[str, Any], **attributes: Any) -> Any:
    """Variables and coordinates ``name: (axes, values)``; those that are None, or empty, are left out."""
    data, coords = _without_none(variables), _without_none(coordinates)
    given = {name: _attribute(value) for name, value in attributes.items() if value is not None}
    return require("xarray", "xarray").Dataset(data, coords=coords, attrs=given)


def numbered(**sizes: int) -> dict[str, Any]:
    """Coordinates that count from 1, by the name of their axis."""
    return {name: (name, np.arange(1, size + 1)) for name, size in sizes.items()}


def records(rows: Iterable[Any], names: Iterable[str], axis: str) -> dict[str, Any]:
    """One variable per attribute of these rows, along one axis."""
    every = list(rows)
    return {name: (axis, [getattr(row, name) for row in every]) for name in names}


def _without_none(variables: Mapping[str, Any]) -> dict[str, Any]:
    arrays = {name: (axes, plain(values)) for name, (axes, values) in variables.items() if values is not None}
    return {name: (axes, array) for name, (axes, array) in arrays.items() if array.size}


def plain(values: Any) -> np.ndarray:
    """Booleans as 8-bit and integers as 32-bit ones (floats if larger), None as NaN or an empty string."""
    array = np.asarray(values)
    if array.dtype.kind == "O":
        text = any(isinstance(value, str) for value in array.flat)
        filled = [value if value is not None else "" if text else np.nan for value in array.flat]
        array = np.array(filled, dtype=str if text else float).reshape(array.shape)
    if array.dtype.kind == "b":
        return array.astype(np.int8)
    if array.dtype.kind in "iu":
        fits = array.size == 0 or np.abs(array).max() < 2**31
        return array.astype(np.int32 if fits else float)
    return array


def _attribute(value: Any) -> Any:
    """Numbers by type, everything else as text."""
    return plain(value)[()] if isinstance(value, bool | float | np.number) else str(value)


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


def alive_by(alive: str, steps: np.ndarray) -> Any:
    """True where a layer is alive by one of the ``CRITERIA``, whose ``steps`` (…, steps) are alive."""
    choice("alive", alive, CRITERIA)
    among = steps[..., late_steps(steps.shape[-1])] if "late" in alive else steps
    return among.all(axis=-1) if alive.startswith("every") else among.any(axis=-1)


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
        return Table(title, [_row(profile, l, str(l + 1)) for l in layers], HEADER)
    steps = np.unique([0, profile.variance.shape[1] - 1])
    rows = [_row(profile, (l, t), str(l + 1), str(t + 1)) for l in layers for t in steps]
    return Table(title, rows, (HEADER[0], "step", *HEADER[1:]))


def _row(profile: Any, place: Any, *names: str) -> tuple[str, ...]:
    pairs = [(getattr(profile, name)[place], getattr(profile, f"{name}_std")[place]) for name in ("variance", "firing_rate")]
    numbers = (f"{mean:.5g}" + plus_minus(std) for mean, std in pairs)
    return (*names, *numbers, f"{profile.survival[place]:.5g}")
