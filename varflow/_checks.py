"""The errors varflow raises, and the validators of public arguments.

A validator's error names the argument, the value, the rule and, if it helps, what to try; otherwise the value is returned in
the form that computations need. Arguments are checked once, in the public function.
"""

from __future__ import annotations

import importlib
import math
import operator
import re
import sys
from collections.abc import Callable, Iterable
from numbers import Real
from types import ModuleType
from typing import Any, TypeVar

import numpy as np

SMALLEST_SCALE, LARGEST_SCALE = 1e-140, 1e140  # squares, and products of a few, stay within double precision

COUNTABLE = 2**53  # integers above this are not exact in double precision
MANY = 10**6  # of what is gone through one by one
LARGEST: dict[str, int] = dict.fromkeys(("depth", "iterations", "max_depth", "steps"), MANY)
LARGEST |= {"digits": 10**4, "max_precision": 10**5, "seed": 2**128}

Kind = TypeVar("Kind")

# How an error describes an object of each class that no function of its name returns.
WANTED = {
    "AuditReport": "an AuditReport, as vf.audit returns it",
    "Campaign": "a Campaign: vf.Campaign(store, workers=…)",
    "Comparison": "a Comparison, as vf.compare(profile, ensemble) returns it",
    "Adaptation": "a vf.resets.Adaptation(decay=…, jump=…)",
    "Register": "a vf.resets.Register(bits=…)",
    "Drive": "vf.drives.currents(std), .white(std), .inputs(x), .spikes(rates) or .given(currents)",
    "Ensemble": "an Ensemble, as vf.simulate returns it",
    "Experiment": "an Experiment, as vf.validate returns it",
    "FilterSums": "FilterSums, as vf.init.published.step_filter(neuron) gives them",
    "CoordinateCheck": "a CoordinateCheck, as vf.testing.coordinate_check returns it",
    "OptimizerStep": "an OptimizerStep, the .step of an AuditReport",
    "Network": "vf.Network(width=…, depth=…, gain=…)",
    "Method": "a vf.init.published.Method",
    "Layer": "a layer of vf.layers, such as vf.layers.Linear(gain=…)",
    "Neuron": "vf.Neuron(threshold), one of vf.neurons or its name, or a spiking module",
    "Profile": "a Profile, as vf.finite_width or vf.mean_field returns it",
    "RoundedModel": "a RoundedModel, as vf.init.quantise_ returns it",
    "TrainingHistory": "a Monitor, or its history",
}


class VarflowError(Exception):
    """Base class of every error varflow raises on purpose."""


class DomainError(VarflowError, ValueError):
    """A value outside an argument's domain; ``.argument``, ``.value`` and ``.rule`` say which and why."""

    def __init__(self, argument: str, value: Any, rule: str):
        super().__init__(f"{argument}={_short(value)} {rule}")
        self.argument, self.value, self.rule = argument, value, rule

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.argument, self.value, self.rule)  # so that worker processes can send it


class ConvergenceError(VarflowError, RuntimeError):
    """A solver did not reach its tolerance; ``.partial`` holds its last result."""

    def __init__(self, message: str, partial: Any = None):
        super().__init__(message)
        self.partial = partial


class MissingExtraError(VarflowError, ImportError):
    """A feature whose optional dependency is not installed."""


def _short(value: Any) -> str:
    if isinstance(value, np.generic):
        value = value.item()
    text = said(value)
    return text if len(text) <= 60 else text[:25] + "..." + text[-32:]  # a path keeps its file name


def said(value: Any, words: Callable[[Any], str] = repr) -> str:
    """A value, or with ``str`` an error, in one line; its type if it fails to say what it is."""
    try:
        return " ".join(words(value).split())
    except Exception:  # by objects of users, whole numbers of many digits, lists within lists
        return f"<{type(value).__name__}>"


def require(extra: str, module: str) -> ModuleType:
    """Import ``module``; MissingExtraError says how to install what the extra brings."""
    try:
        return importlib.import_module(module)
    except ImportError as missing:
        package = module.partition(".")[0]
        absent = isinstance(missing, ModuleNotFoundError) and (missing.name or "").partition(".")[0] == package
        trouble = "is not installed" if absent else f"cannot be imported ({' '.join(str(missing).split())})"
        raise MissingExtraError(f"{package} {trouble}: pip install {_brought_by(extra, package)}") from missing


def _brought_by(extra: str, package: str) -> str:
    """Packages of an extra, as pip takes them: by name, since a wheel does not say where varflow came from."""
    from importlib import metadata  # takes longer than ``import varflow``

    known = [line for varflow in metadata.distributions(name="varflow") for line in varflow.requires or ()]
    found = re.findall(rf"""^([^;]+); extra == ['"]{extra}['"]$""", "\n".join(known), flags=re.MULTILINE)
    return " ".join(f"'{name}'" for name in found) or (package if known else f"'.[{extra}]'")  # a clone that is not installed


def real_array(name: str, value: Any) -> np.ndarray:
    """A finite float64 array of any shape; booleans are not accepted."""
    array = numbers(name, value)
    return _all(name, array, np.isfinite(array), "must be finite")


def numbers(name: str, value: Any) -> np.ndarray:
    """A float64 array, possibly with infinities and NaN."""
    unmasked(name, value)
    try:
        array = np.asarray(value)
        if array.dtype.kind not in "iuf":
            raise TypeError
        with np.errstate(over="ignore"):  # of wider types: infinite is said below
            return array.astype(np.float64, copy=False)
    except Exception:  # anything may be raised: by ragged lists, by tensors that require a gradient
        raise DomainError(name, value, "must be a real number or an array of them") from None


def unmasked(name: str, value: Any) -> None:
    """Raise for a masked array, also in a list: numpy would take the numbers behind its mask."""
    if any(isinstance(item, np.ma.MaskedArray) for item in (value if isinstance(value, (list, tuple)) else (value,))):
        raise DomainError(name, value, "is a masked array: give its .compressed() or .filled(number)")


def _within(array: np.ndarray, lo: float, hi: float) -> bool:
    """True if a whole array lies in ``[lo, hi]``: two passes without a temporary, false for NaN."""
    return bool(array.size == 0 or (array.min() >= lo and array.max() <= hi))


def _all(name: str, array: np.ndarray, holds: Any, rule: str) -> np.ndarray:
    if not np.all(holds):
        raise DomainError(name, float(array[~np.broadcast_to(holds, array.shape)].flat[0]), rule)
    return array


def positive(name: str, value: Any) -> np.ndarray:
    """Finite numbers above 0, as an array."""
    array = numbers(name, value)
    if _within(array, SMALLEST_SCALE, LARGEST_SCALE):  # the common case, in two passes
        return array
    array = real_array(name, array)
    return _all(name, array, array > 0, "must be positive")


def non_negative(name: str, value: Any) -> np.ndarray:
    """Finite numbers not below 0, as an array."""
    array = real_array(name, value)
    return _all(name, array, array >= 0, "must not be negative")


def scale(name: str, value: Any) -> np.ndarray:
    """Finite numbers that are 0 or whose squares neither over- nor underflow."""
    array = numbers(name, value)
    if _within(array, SMALLEST_SCALE, LARGEST_SCALE) or not array.any():  # the common cases, in three passes
        return array
    size = np.abs(real_array(name, array))
    fits = (size == 0) | ((size >= SMALLEST_SCALE) & (size <= LARGEST_SCALE))
    rule = f"must lie within {SMALLEST_SCALE:g} and {LARGEST_SCALE:g} in size; measure potentials in units of the threshold"
    return _all(name, array, fits, rule)


def positive_scale(name: str, value: Any) -> np.ndarray:
    """Numbers above 0 whose squares neither over- nor underflow."""
    array = numbers(name, value)
    return array if _within(array, SMALLEST_SCALE, LARGEST_SCALE) else positive(name, scale(name, value))


def scalar(name: str, array: np.ndarray) -> float:
    """The single number of a checked array."""
    if array.ndim:
        raise DomainError(name, brief(array), "must be a single number; call once for each value")
    return float(array)


def real_number(name: str, value: Any) -> float:
    """A number that is 0 or whose square neither over- nor underflows."""
    return scalar(name, scale(name, value))


def positive_number(name: str, value: Any) -> float:
    """A number above 0 whose square neither over- nor underflows."""
    return scalar(name, positive_scale(name, value))


def non_negative_number(name: str, value: Any) -> float:
    """A number not below 0 that is 0 or whose square neither over- nor underflows."""
    return scalar(name, non_negative(name, scale(name, value)))


def brief(array: np.ndarray) -> Any:
    """A value for an error: a list, or the array itself where a list would be long."""
    return array.tolist() if array.size <= 1000 else array


def integer(name: str, value: Any, *, minimum: int) -> int:
    """An integer of at least ``minimum`` and at most the limit for this name; booleans are not accepted."""
    unmasked(name, value)
    try:
        number = operator.index(value)
    except Exception:  # anything may be raised: by tensors of several numbers, by symbols
        raise DomainError(name, value, f"must be a whole number, at least {minimum}") from None
    if number < minimum or isinstance(value, bool):
        raise DomainError(name, value, f"must be a whole number, at least {minimum}")
    if number > (largest := LARGEST.get(name, COUNTABLE)):
        raise DomainError(name, value, f"must be at most {largest}")
    return number


def probability(name: str, value: Any, *, open_ends: bool = False) -> float:
    """A number from 0 to 1, the ends excluded with ``open_ends``."""
    number = scalar(name, real_array(name, value))
    inside = 0 < number < 1 if open_ends else 0 <= number <= 1
    if not inside:
        raise DomainError(name, value, "must lie strictly between 0 and 1" if open_ends else "must lie between 0 and 1")
    return number


def choice(name: str, value: Any, options: Iterable[str]) -> str:
    """One of the allowed words; of many, an error names those that are like the value."""
    options = tuple(options)
    if not isinstance(value, str) or value not in options:
        from difflib import get_close_matches

        near = get_close_matches(str(value), options) if len(options) > 20 else []
        raise DomainError(name, value, "is unknown; choose one of " + ", ".join(near or options))
    return value


def refuse(rule: str, **options: Any) -> None:
    """Raise for the first of these options that is given, and so not None."""
    for name, value in options.items():
        if value is not None:
            raise DomainError(name, value, rule)


def need(rule: str, **options: Any) -> None:
    """Raise for the first of these options that is not given, and so None."""
    for name, value in options.items():
        if value is None:
            raise DomainError(name, value, rule)


def _wanted(kind: type) -> str:
    """Words of an error for objects of a class: a ``FixedPoints`` is what ``vf.fixed_points`` returns."""
    name = kind.__name__
    function = re.sub(r"\B(?=[A-Z])", "_", name).lower()
    known = function in dir(sys.modules["varflow"])
    return WANTED.get(name, f"what vf.{function} returns" if known else f"a {name}")


def instance(name: str, value: Any, kind: type[Kind]) -> Kind:
    """An object of a varflow class."""
    if not isinstance(value, kind):
        raise DomainError(name, value, f"must be {_wanted(kind)}")
    return value


def several(name: str, values: Any, kind: type[Kind], *, empty: bool = False) -> tuple[Kind, ...]:
    """One object of a varflow class or a sequence of them; an empty one only with ``empty``."""
    if isinstance(values, kind):
        return (values,)
    try:
        listed = tuple(values)
    except Exception:  # what cannot be iterated, and arrays and tensors of one number, which say that they can
        listed = None
    if listed is None or not (listed or empty):
        raise DomainError(name, values, f"must be {_wanted(kind)}, or a sequence of them")
    return tuple(instance(name, value, kind) for value in listed)


def listed(name: str, value: Any) -> list[Any]:
    """Distinct values, at least one, in the order given, from arrays of any library too; a single one as a list."""
    unmasked(name, value)
    count = len(value) if isinstance(value, (list, tuple, range)) else math.prod(getattr(value, "shape", ()))
    if count > MANY:
        raise DomainError(name, value, f"must name at most {MANY} values")
    value = _as_list(name, value) if hasattr(value, "ndim") else value
    items = list(value) if isinstance(value, (list, tuple, range)) else [value]
    if not items:
        raise DomainError(name, value, "must name at least one value")
    try:
        return list(dict.fromkeys(items))
    except TypeError:  # some cannot be hashed
        return [item for place, item in enumerate(items) if item not in items[:place]]


def _as_list(name: str, array: Any) -> Any:
    try:
        return np.asarray(array).tolist()
    except Exception:  # as for numbers
        raise DomainError(name, array, "must be one value or a list or array of them") from None


def flag(name: str, value: Any) -> bool:
    """True or False; nothing merely truthy or falsy."""
    if not isinstance(value, (bool, np.bool_)):
        raise DomainError(name, value, "must be True or False")
    return bool(value)


def called(name: str, value: Any) -> Any:
    """A callable of the user."""
    if not callable(value):
        raise DomainError(name, value, "must be a function")
    return value


def same_shape(**arrays: np.ndarray) -> list[np.ndarray]:
    """Broadcast checked arrays; DomainError names the one that does not fit."""
    try:
        return list(np.broadcast_arrays(*arrays.values()))
    except ValueError:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items() if array.ndim)
        name = max(arrays, key=lambda key: arrays[key].ndim)
        raise DomainError(name, brief(arrays[name]), f"does not broadcast: shapes {shapes}") from None


def unwrap(array: np.ndarray) -> Any:
    """A Python float for an array without axes."""
    return float(array) if np.ndim(array) == 0 else array


def per_layer(name: str, value: Any, depth: int) -> np.ndarray:
    """One value for all layers, or one per layer; shape (depth,)."""
    array = real_array(name, value)
    if array.ndim == 0:
        return np.full(depth, array)
    if array.shape != (depth,):
        raise DomainError(name, brief(array), f"must be one value or one per layer (depth={depth})")
    return array


def put(immutable: Any, **values: Any) -> None:
    """Set attributes of an object that cannot be assigned to, while it is made."""
    for name, value in values.items():
        object.__setattr__(immutable, name, value)


def frozen(array: Any, dtype: Any = np.float64) -> np.ndarray:
    """A read-only copy; the array itself if it cannot be written to."""
    if isinstance(array, np.ndarray) and array.dtype == dtype and not array.flags.writeable:
        owner = array if array.base is None else array.base
        if isinstance(owner, np.ndarray) and not owner.flags.writeable:
            return array
    copy = np.array(array, dtype=dtype)
    copy.flags.writeable = False
    return copy


def nan_to_none(value: Any) -> Any:
    """The value for JSON, which has no NaN: NaN becomes None, arrays become lists, results dicts, and descriptions text."""
    match value:
        case None | bool() | int() | str():
            return value
        case np.ndarray() | np.generic():
            return nan_to_none(value.tolist())
        case list() | tuple():
            return [nan_to_none(item) for item in value]
        case dict():
            return {key: nan_to_none(item) for key, item in value.items()}
        case Real():  # of mpmath too
            return float(value) if math.isfinite(value) else None
    return value.to_dict() if hasattr(value, "to_dict") else repr(value)
