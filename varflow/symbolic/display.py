"""Printing a derivation: LaTeX with the reasons beside the equations or below them, and plain text."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable
from typing import Any

import sympy

from varflow.symbolic.symbols import LATEX, ImplicitRoot


def latex(expression: Any) -> str:
    """An expression in the symbols of the theory; a root without closed form by its digits."""
    if isinstance(expression, ImplicitRoot):
        return rf"{expression.evalf(12)}\ldots"
    return sympy.latex(expression, symbol_names=LATEX)


def aligned(steps: Iterable[Any], environment: str, conditions: Iterable[Any] = (), *, below: bool = False) -> str:
    """An aligned environment, one row per step, without repeated left-hand sides; the last row states the conditions.

    Reasons stand beside the equations or, with ``below``, in small lines below them, for screens (MathJax).
    """
    rows, shown = [], None
    for step in steps:
        left, right = step.expression.args
        head = "" if left == shown else latex(left)
        relation = r"\sim" if right.getO() is not None else "="
        why = step.reason + (f" ({step.assumption})" if step.assumption else "")
        reason = _lines(why) if below else rf" && \text{{{why}}}"
        rows.append(rf"{head} &{relation} {latex(right)}{reason}")
        shown = left
    held = ",\\ ".join(map(latex, conditions))
    rows += [rf"& \text{{for }} {held}"] if held else []
    return "\n".join([rf"\begin{{{environment}}}", " \\\\[4pt]\n".join(rows), rf"\end{{{environment}}}"])


def _lines(why: str) -> str:
    """Further rows with a reason; formulas in it are not broken."""
    unbroken = re.sub(r"\$[^$]*\$", lambda formula: formula[0].replace(" ", "\u00a0"), why)
    lines = textwrap.wrap(unbroken, 90, break_long_words=False, break_on_hyphens=False)
    return "".join(rf" \\ & \quad {{\small \text{{{line}}}}}".replace("\u00a0", " ") for line in lines)


def plain(step: Any) -> str:
    """One line: the equation and its reason."""
    left, right = step.expression.args
    right = f"{right.evalf(12)}…" if isinstance(right, ImplicitRoot) else right
    why = step.reason + (f"; {step.assumption}" if step.assumption else "")
    return f"{left} = {right}    [{why}]".replace("$", "")
