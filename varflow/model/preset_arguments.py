"""Arguments of the presets, checked: numbers, time constants, and parameters that may differ between neurons."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from varflow._checks import DomainError, positive_number, probability, real_number
from varflow.model.over_neurons import differs, over_neurons


def class_name(value: Any) -> Any:
    """The name of a class, or of an object's class; a string is a name already."""
    return value if isinstance(value, str) else getattr(value, "__name__", type(value).__name__)


def of_neurons(name: str, value: Any, check: Callable[[str, Any], Any]) -> Any:
    """A checked number, an array of them, or a distribution, which ``Neuron`` checks."""
    return value if over_neurons(value) else checked(name, value, check)


def checked(name: str, value: Any, check: Callable[[str, Any], Any]) -> Any:
    """A checked number, or an array of them."""
    return np.array([check(name, one) for one in value]) if differs(value) else check(name, value)


def of_all_neurons(name: str, value: Any) -> Any:
    """A value that scales the input: the theory knows one input scale for all neurons."""
    if differs(value):
        raise DomainError(name, value, "must be one number for all neurons, as their inputs are scaled by it too")
    return value


def below_one(name: str, value: Any) -> float:
    """A fraction in [0, 1)."""
    fraction = probability(name, value)
    if fraction == 1:
        raise DomainError(name, value, "must be less than 1: a current that never decays has no stationary state")
    return fraction


def at_rest(name: str, value: Any, threshold: str) -> None:
    """Raise unless a leak potential is 0; ``threshold`` is the threshold to give instead, in words."""
    if real_number(name, value) != 0:
        rule = f"must be 0: measure potentials from rest, with a threshold of {threshold}"
        raise DomainError(name, value, rule)


def leak(name: str, rate: Any, dt: Any) -> float:
    """``dt/τ``, the fraction lost in one step."""
    lost = positive_number(name, of_all_neurons(name, rate)) * positive_number("dt", dt)
    if lost > 1:
        raise DomainError(name, rate, f"must be at most 1/dt: the step dt={dt:g} is longer than the time constant")
    return lost
