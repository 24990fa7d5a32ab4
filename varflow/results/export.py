"""Results as dicts for JSON, and as ``xarray.Dataset`` in types that every netCDF format can hold.

``vf.finite_width(network).to_xarray().to_netcdf("profile.nc")``: netCDF has no booleans, no None and no empty axes, and its
classic format no 64-bit integers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from varflow._checks import nan_to_none, require


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
