"""Conditions on the parameters of a result, unevaluated: sympy would simplify them by the declared signs."""

from __future__ import annotations

from typing import Any

import sympy


def above(left: Any, right: Any) -> Any:
    """``left > right``."""
    return sympy.StrictGreaterThan(left, right, evaluate=False)


def below(left: Any, right: Any) -> Any:
    """``left < right``."""
    return sympy.StrictLessThan(left, right, evaluate=False)


def at_least(left: Any, right: Any) -> Any:
    """``left ≥ right``."""
    return sympy.GreaterThan(left, right, evaluate=False)


def at_most(left: Any, right: Any) -> Any:
    """``left ≤ right``."""
    return sympy.LessThan(left, right, evaluate=False)


def all_of(*conditions: Any) -> Any:
    """All conditions at once."""
    return sympy.And(*conditions, evaluate=False)  # pyright: ignore[reportCallIssue]
