"""Surrogate functions of installed libraries, recognised by module, name and parameters; nothing is imported from them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from varflow.model.library_neurons import plain_value
from varflow.model.library_surrogates import leaky_spike_operator, snntorch_triangular
from varflow.model.surrogate import FORMULAS, Surrogate

OTHERWISE = {  # named otherwise here than in the library
    "snntorch.triangular": snntorch_triangular,
    "snntorch.heaviside": lambda: leaky_spike_operator(0.0),
}


def recognised(function: Any, threshold: float = 1.0) -> Surrogate | None:
    """The surrogate of a function object of snnTorch, SpikingJelly or sinabs, which passes it the threshold; else None.

    In snnTorch a surrogate is a function within the function that made it, whose variables are the parameters.
    """
    if getattr(function, "__module__", "") == "snntorch.surrogate" and hasattr(function, "__code__"):
        cells = (cell.cell_contents for cell in function.__closure__ or ())
        given = dict(zip(function.__code__.co_freevars, cells, strict=True))
        return by_method("snntorch", function.__qualname__.partition(".")[0], given)
    package = type(function).__module__.partition(".")[0]
    if package not in ("spikingjelly", "sinabs") or not getattr(function, "spiking", True):
        return None
    return by_method(package, type(function).__name__, {"spike_threshold": threshold} | vars(function))


def by_method(package: str, name: str, given: Mapping[str, Any]) -> Surrogate | None:
    """The surrogate of this name in a library, with those of the given values that it takes; None for unknown names."""
    wanted = (package if package != "snntorch" else "") + name.replace("_", "").lower()
    matching = (make for public, make in FORMULAS.items() if public.replace("_", "").lower() == wanted)
    make: Callable[..., Surrogate] | None = OTHERWISE.get(f"{package}.{name}") or next(matching, None)
    if make is None or not set(parameters := inspect.signature(make).parameters) <= set(given):
        return None
    return make(**{parameter: plain_value(given[parameter]) for parameter in parameters})
