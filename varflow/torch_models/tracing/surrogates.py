"""The surrogate derivative of a spiking module: one of ``vf.surrogates`` where its library's function is recognised.

Modules are recognised by the attributes in which their libraries keep it; nothing is imported from the libraries. A function
that ``vf.surrogates`` does not know is differentiated by torch wherever it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from varflow._checks import DomainError
from varflow.model.library_neurons import plain_value
from varflow.model.recognised_surrogates import by_method, recognised
from varflow.model.surrogate import Surrogate
from varflow.model.surrogates import own

__all__ = ["surrogate_of_module"]

RANDOM = {"SSO", "PoissonPass"}


def surrogate_of_module(module: Any) -> Surrogate | None:
    """``ψ`` of a spiking module of snnTorch, SpikingJelly, Norse or sinabs; None if it has none, or a random one."""
    try:
        return _of_function(module) or _norse(module) or _sinabs(module)
    except DomainError:  # parameters outside the domain, or values that are not finite
        return None


def _of_function(module: Any) -> Surrogate | None:
    """snnTorch's ``spike_grad`` and SpikingJelly's ``surrogate_function``, functions of ``v``."""
    spike = getattr(module, "spike_grad", getattr(module, "surrogate_function", None))
    if spike is None or getattr(module, "surrogate_disable", False) or not getattr(spike, "spiking", True):
        return None
    random = {type(spike).__name__, getattr(spike, "__qualname__", "").partition(".")[0]} & RANDOM
    return recognised(spike) or (None if random else _differentiated(spike))


def _norse(module: Any) -> Surrogate | None:
    parameters: Any = getattr(module, "p", None)
    method = getattr(parameters, "method", None)
    return None if method is None else by_method("norse", method, {"alpha": parameters.alpha})


def _sinabs(module: Any) -> Surrogate | None:
    function = getattr(module, "surrogate_grad_fn", None)
    threshold = plain_value(getattr(module, "spike_threshold", 1.0))
    if function is None or np.ndim(threshold):
        return None
    return recognised(function, threshold) or own(
        lambda v: function(torch.as_tensor(v) + threshold, torch.as_tensor(threshold)).numpy()
    )


@lru_cache(maxsize=16)  # layers with the same function have the same surrogate
def _differentiated(spike: Callable[[Any], Any]) -> Surrogate:
    """``ψ`` by torch: the derivative of the sum of spikes."""

    def psi(v: np.ndarray) -> np.ndarray:
        with torch.enable_grad():
            x = torch.tensor(v, dtype=torch.float64, requires_grad=True)
            return torch.autograd.grad(spike(x).sum(), x)[0].numpy()

    return own(psi)
