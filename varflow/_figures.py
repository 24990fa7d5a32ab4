"""Figures of results: the place where results and figures meet, so that neither needs to know where the other lives.

:mod:`varflow.plots` registers a function for each type of result; the package's door names it as a place to look for them.
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False  # as in varflow
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

PLACES: list[str] = []  # modules that register figures, imported when the first figure is drawn
FIGURES: dict[type, Callable[..., Any]] = {}  # the function that draws results of a type


def figure(result: Any, **options: Any) -> Any:
    """The figure of a result, by the function for its type or the nearest parent; :func:`varflow.register` adds one."""
    from inspect import signature

    from varflow._checks import DomainError  # here, so that `import varflow` loads no numpy

    for kind in type(result).__mro__:
        if kind in FIGURES:
            known = signature(FIGURES[kind]).parameters
            others = [] if any(each.kind is each.VAR_KEYWORD for each in known.values()) else [*options.keys() - known]
            for name in others:
                takes = ", ".join([*known][1:]) or "none"
                raise DomainError(name, options[name], f"is no option of this figure, which takes {takes}")
            return FIGURES[kind](result, **options)
    raise DomainError("result", result, f"has no figure: give it by vf.register({type(result).__name__}, figure=…)")


def draw(result: Any, **options: Any) -> Any:
    """The figure of a result, chosen by its type; ``options`` go to its plot function.

    Examples
    --------
    >>> import varflow as vf
    >>> ax = vf.plots.draw(vf.fixed_points(threshold=1.0, gain=2.6))
    """
    while PLACES:
        import_module(PLACES.pop())
    return figure(result, **options)
