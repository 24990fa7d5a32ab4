"""Sizes, colours, titles and maps common to all figures."""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Callable
from functools import cache, wraps
from inspect import signature
from typing import Any

import numpy as np

from varflow._checks import DomainError, instance, require
from varflow._figures import FIGURES

TITLES = {"preserving": r"preserving gain, $g^2 = 1/P(u>\theta)$", "kaiming": r"Kaiming's gain, $g^2 = 2$"}
GREY, BESIDE = "0.35", {"fontsize": 8.5, "borderaxespad": 0.0}  # of legends right of a panel
ALARM = "#D55E00"  # of what needs attention: dead, unhealthy, a limit
TEXT, LINE = 8.5, 0.165  # of the caption: font size in points, line height in inches
STYLE = {"axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False}


def draws(*kinds: type) -> Callable[..., Any]:
    """Decorator of the function that draws results of these types, and nothing else, in one style, and names the network."""

    def registered(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def drawn(*given: Any, **options: Any) -> Any:
            name, result = next(iter(signature(function).bind(*given, **options).arguments.items()))
            if not isinstance(result, kinds):
                instance(name, result, kinds[0])
            with require("plot", "matplotlib").rc_context(STYLE):
                return _finished(function(*given, **options), getattr(getattr(result, "profile", result), "network", None))

        FIGURES.update(dict.fromkeys(kinds, drawn))
        return drawn

    return registered


def _finished(drawn: Any, network: Any) -> Any:
    """A figure or axes with whole numbers along layers and steps, and with the network in the title."""
    for panel in drawn.axes if hasattr(drawn, "suptitle") else [drawn]:
        locator = panel.xaxis.get_major_locator()
        if panel.get_xlabel().endswith(("layer", "step")) and isinstance(
            locator, require("plot", "matplotlib.ticker").MaxNLocator
        ):
            locator.set_params(integer=True)
    if network is not None and hasattr(drawn, "suptitle"):
        drawn.suptitle(repr(network), fontsize=7, wrap=True)
    elif network is not None:
        drawn.set_title(f"{drawn.get_title()}\n{network!r}".strip(), fontsize=8, wrap=True)
    return drawn


@cache
def _figure() -> Any:
    class Figure(require("plot", "matplotlib.figure").Figure):
        def _repr_png_(self) -> bytes:
            content = io.BytesIO()
            self.savefig(content, format="png", dpi=100)
            return content.getvalue()

    return Figure


def new_figure(**options: Any) -> Any:
    """A matplotlib Figure that Jupyter shows whether or not pyplot is loaded; pyplot does not know it."""
    return _figure()(**options)


def wrapped(sentences: list[str], columns: int) -> list[str]:
    """Wrapped, with no break inside ``θ = 0.5`` or ``2 %``."""
    unbroken = [re.sub(r" (=|%)", "\u00a0\\1", sentence).replace("= ", "=\u00a0") for sentence in sentences]
    return [line for sentence in unbroken for line in textwrap.wrap(sentence, columns)]


def colours(number: int) -> list[Any]:
    """Colours from dark to light, distinguishable in grey."""
    cmap = require("plot", "matplotlib").colormaps["viridis"]
    return [cmap(x) for x in np.linspace(0.05, 0.88, number)]


def draw_map(ax: Any, values: np.ndarray, **options: Any) -> Any:
    """A map of values over layers and steps, both counted from 1; ``options`` go to ``imshow``."""
    depth, steps = values.shape
    extent = (0.5, steps + 0.5, depth + 0.5, 0.5)
    ax.set_xlabel("step")
    for axis in (ax.xaxis, ax.yaxis):
        axis.get_major_locator().set_params(integer=True)
    return ax.imshow(values, aspect="auto", extent=extent, cmap="viridis", vmin=0, interpolation="nearest", **options)


def axes(ax: Any) -> Any:
    """The given axes, or new ones."""
    if ax is None:
        return require("plot", "matplotlib.pyplot").subplots()[1]
    if not isinstance(ax, require("plot", "matplotlib.axes").Axes):
        raise DomainError("ax", ax, "must be matplotlib axes, such as plt.subplots()[1]")
    return ax


def marker(layer: np.ndarray) -> str:
    """The marker of a line with a single point, which would be invisible."""
    return "_" if len(layer) == 1 else ""
