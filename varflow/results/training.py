"""History of a training: the activity of every neuron layer, measured now and then."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np

from varflow._checks import DomainError, choice, nan_to_none
from varflow._display import Drawn, Table, without_path
from varflow.results.export import DISPENSABLE
from varflow.results.learning import Learning
from varflow.results.update import STEP

MEASURED = ("firing_rate", "dead_fraction", "saturated_fraction", "variance", "raster_overlap")
# Also, where gradients are measured:
BACKWARD = {"gradient_norm": "gradient", "gradient_gain": "χ", "dead_gradients": "no grad", "coherence": "coherence"}
TOTAL = "total"


class TrainingHistory(Drawn):
    """Measurements at some steps of a training; made by :class:`varflow.Monitor`.

    Attributes
    ----------
    steps : list of int
        At which the network was measured.
    rows : list of dict
        For each, the ``quantities`` by layer, and ``"total"`` over all neurons.
    quantities : tuple of str
        Names of the numbers.
    weights : dict of str to str
        Name and class of the weight module of each layer, as in the table of an audit; layers are called by their spiking
        modules.
    learning : Learning or None
        Will it learn, at the last measurement? Where gradients are measured.

    Examples
    --------
    >>> import torch, snntorch, varflow as vf
    >>> model = torch.nn.Sequential(torch.nn.Linear(64, 64), snntorch.Leaky(0.5, init_hidden=True))
    >>> monitor = vf.Monitor(model, torch.rand(8, 64), steps=4)
    >>> _ = monitor(0)
    >>> monitor.layers, monitor.quantities[:2]
    (['1'], ('firing_rate', 'dead_fraction'))
    """

    def __init__(self, backward: bool = False, step: bool = False) -> None:
        self.quantities = (*MEASURED, *(BACKWARD if backward else ()), *(STEP if step else ()))
        self.steps: list[int] = []
        self.rows: list[dict[str, dict[str, float]]] = []
        self.weights: dict[str, str] = {}
        self.learning: Learning | None = None
        self._written: list[tuple[Any, int]] = []  # writers, and how many rows each has

    @property
    def layers(self) -> list[str]:
        """Names of the neuron layers, in the order in which they run."""
        return [name for name in dict.fromkeys(name for row in self.rows for name in row) if name != TOTAL]

    def values(self, quantity: str, layer: str = TOTAL) -> np.ndarray:
        """One number of a layer, by the name of its neuron or weights, or of all neurons, over the measurements; NaN where it
        is not known.

        Raises
        ------
        DomainError
            For another quantity than those of ``quantities``, and a layer that was not measured.
        """
        choice("quantity", quantity, self.quantities)
        names = {name: (weights, weights.partition(" (")[0]) for name, weights in self.weights.items()}
        layer = next((name for name, either in names.items() if isinstance(layer, str) and layer in either), layer)
        choice("layer", layer, (*self.layers, TOTAL))
        return np.array([row.get(layer, {}).get(quantity, math.nan) for row in self.rows])

    @property
    def scalars(self) -> dict[str, float]:
        """The last measurement, as ``{"firing_rate/layer": …, "dead_fraction/total": …}``; empty before the first."""
        return dict(_scalars(self.rows[-1])) if self.rows else {}

    def to_dict(self) -> dict[str, Any]:
        """``{"steps": […], "layers": {name: {quantity: […]}}, "total": {quantity: […]}}``; None where not known."""

        def columns(layer: str) -> dict[str, list[float]]:
            return {quantity: self.values(quantity, layer).tolist() for quantity in self.quantities}

        layers = {name: columns(name) for name in self.layers}
        return nan_to_none({"steps": list(self.steps), "layers": layers, TOTAL: columns(TOTAL)})

    def to_csv(self, path: str | Path) -> None:
        """Write a line for each step and layer, and for the total; DomainError for what is no path."""
        if not isinstance(path, (str, Path)):
            raise DomainError("path", path, "must be the path of a file, a str or a pathlib.Path")
        if Path(path).is_dir():
            raise DomainError("path", path, "is a folder: name a file in it")
        with Path(path).open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["step", "layer", *self.quantities])
            for step, row in zip(self.steps, self.rows, strict=True):
                for name, numbers in row.items():
                    writer.writerow([step, name, *(_cell(numbers[quantity]) for quantity in self.quantities)])

    def log(self, writer: Any) -> None:
        """Send every measurement that this writer does not have yet.

        Parameters
        ----------
        writer : object
            With ``add_scalar(name, value, step)``, as TensorBoard's ``SummaryWriter``, or ``log(dict, step=…)``, as a run (or
            the module) of Weights & Biases.

        Raises
        ------
        DomainError
            For an object with neither.
        """
        add, log = getattr(writer, "add_scalar", None), getattr(writer, "log", None)
        if not (callable(add) or _takes_steps(log)):
            rule = "must have add_scalar(name, value, step), as of TensorBoard, or log(dict, step=…), as of W&B"
            raise DomainError("writer", type(writer).__name__, rule)
        sent = next((number for other, number in self._written if other is writer), 0)
        for step, row in zip(self.steps[sent:], self.rows[sent:], strict=True):
            scalars = dict(_scalars(row))
            if callable(add):
                for name, value in scalars.items():
                    add(name, value, step)
            elif log is not None:
                log(scalars, step=step)
        self._written = [entry for entry in self._written if entry[0] is not writer] + [(writer, len(self.rows))]

    def _table(self) -> Table:
        where, rows = without_path([(self.weights[name], name, *self._cells(name)) for name in self.layers], 2)
        if rows:
            rows.append((TOTAL, "", *self._cells(TOTAL)))
        span = f"steps {self.steps[0]} to {self.steps[-1]}" if self.rows else "none yet"
        title = f"{type(self).__name__}{where}: {len(self.rows)} measurements, {span}"
        measured = ("rate then", "rate now", "silent", "always", "variance", "overlap")
        others = (BACKWARD.get(quantity, quantity) for quantity in self.quantities[len(MEASURED) :])
        notes = () if self.learning is None else (self.learning.words,)
        header = ("layer", "neuron", *measured, *others) if rows else ()
        return Table(title, rows, header, notes, "  ", DISPENSABLE)

    def _cells(self, name: str) -> tuple[str, ...]:
        rates, (_, *fractions), more = self.values("firing_rate", name), self.quantities[:3], self.quantities[3:]
        return (
            *(f"{rate:.4f}" for rate in (rates[0], rates[-1])),
            *(f"{self.values(quantity, name)[-1]:.1%}" for quantity in fractions),
            *(_shown(self.values(quantity, name)[-1]) for quantity in more),
        )


def _scalars(row: dict[str, dict[str, float]]) -> Iterator[tuple[str, float]]:
    for name, numbers in row.items():
        yield from ((f"{quantity}/{name}", value) for quantity, value in numbers.items() if not math.isnan(value))


def _takes_steps(log: Any) -> bool:
    """True for a function with an argument ``step``, unlike the logarithms of tensors and of numpy."""
    try:
        parameters = signature(log).parameters
    except (TypeError, ValueError):  # no function, or one of C
        return False
    return "step" in parameters or any(each.kind is each.VAR_KEYWORD for each in parameters.values())


def _cell(value: float) -> str:
    return "" if math.isnan(value) else repr(value)


def _shown(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.4g}"
