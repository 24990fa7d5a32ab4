"""The surrogate derivative of a spiking module: the function of ``vf.surrogates`` of the same name and parameters.

Modules are recognised by the attributes in which their libraries keep it; nothing is imported from the libraries. A function
that ``vf.surrogates`` does not know is differentiated by torch wherever it is asked for.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from varflow._checks import DomainError
from varflow.model import surrogates as room
from varflow.model.library_neurons import plain_value
from varflow.model.surrogate import Surrogate

__all__ = ["surrogate_of_module"]

SNNTORCH = {"triangular": room.snntorch_triangular, "heaviside": lambda: room.leaky_spike_operator(0.0)}  # by other names
RANDOM = {"SSO", "PoissonPass"}


def surrogate_of_module(module: Any) -> Surrogate | None:
    """``ψ`` of a spiking module of snnTorch, SpikingJelly, Norse or sinabs; None if it has none, or a random one."""
    for found in (_snntorch, _spikingjelly, _norse, _sinabs):
        try:
            surrogate = found(module)
        except DomainError:  # parameters outside the domain, or values that are not finite
            return None
        if surrogate is not None:
            return surrogate
    return None


def _snntorch(module: Any) -> Surrogate | None:
    """``spike_grad``: a function within the function that made it, whose variables are the parameters."""
    spike = getattr(module, "spike_grad", None)
    if spike is None or getattr(module, "surrogate_disable", False):
        return None
    name = getattr(spike, "__qualname__", "").partition(".")[0]
    if getattr(spike, "__module__", "") != "snntorch.surrogate" or name == "custom_surrogate":
        return _differentiated(spike)
    cells = (cell.cell_contents for cell in spike.__closure__ or ())
    return _named(
        SNNTORCH.get(name) or getattr(room, name, None), name, dict(zip(spike.__code__.co_freevars, cells, strict=True))
    )


def _spikingjelly(module: Any) -> Surrogate | None:
    function = getattr(module, "surrogate_function", None)
    if function is None or not getattr(function, "spiking", True):
        return None
    name = type(function).__name__
    return _named(_in_room("spikingjelly", name), name, vars(function)) or (
        None if name in RANDOM else _differentiated(function)
    )


def _norse(module: Any) -> Surrogate | None:
    parameters: Any = getattr(module, "p", None)
    method = getattr(parameters, "method", None)
    return None if method is None else _named(_in_room("norse", method), method, {"alpha": parameters.alpha})


def _sinabs(module: Any) -> Surrogate | None:
    function = getattr(module, "surrogate_grad_fn", None)
    if function is None:
        return None
    threshold = plain_value(module.spike_threshold)
    name, given = type(function).__name__, {**vars(function), "spike_threshold": threshold}
    known = _named(_in_room("sinabs", name), name, given)
    if known is not None or np.ndim(threshold):
        return known
    return room.own(lambda v: function(torch.as_tensor(v) + threshold, torch.as_tensor(threshold)).numpy())


def _in_room(package: str, name: str) -> Callable[..., Surrogate] | None:
    """The function of ``vf.surrogates`` for a class or method of a library."""
    wanted = package + name.replace("_", "").lower()
    return next((getattr(room, each) for each in room.__all__ if each.replace("_", "") == wanted), None)


def _named(make: Callable[..., Surrogate] | None, name: str, given: Mapping[str, Any]) -> Surrogate | None:
    """The surrogate with those of the given values that it takes."""
    if make is None or name in RANDOM:
        return None
    return make(**{parameter: plain_value(given[parameter]) for parameter in inspect.signature(make).parameters})


@lru_cache(maxsize=16)  # layers with the same function have the same surrogate
def _differentiated(spike: Callable[[Any], Any]) -> Surrogate:
    """``ψ`` by torch: the derivative of the sum of spikes."""

    def psi(v: np.ndarray) -> np.ndarray:
        with torch.enable_grad():
            x = torch.tensor(v, dtype=torch.float64, requires_grad=True)
            return torch.autograd.grad(spike(x).sum(), x)[0].numpy()

    return room.own(psi)
