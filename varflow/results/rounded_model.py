"""A model whose weights are rounded to integers of few bits, before and after."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from varflow._display import Drawn, Table, measured, percent, several
from varflow.results.export import Exported, ReadOnly, dataset

KINDS = ("full", "minmax", "mse", "set")
OF_LAYERS = ("predicted_rate", "firing_rate", "distance")
COLUMNS = (*OF_LAYERS, "predicted_survival", "survival")


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class RoundedModel(ReadOnly, Exported, Drawn):
    """Layers of a model in full precision and with weights of few bits.

    Dictionaries have the keys ``full``; ``minmax`` and ``mse``, rounded to the nearest with the usual clips; and ``set``, the
    weights that the model now has.

    Attributes
    ----------
    layers : tuple of str
    bits, steps : int
    keep, per : str
        The arguments.
    step : ndarray, shape (layers,)
        What the integer 1 stands for; the mean over channels. NaN for layers without weights of their own.
    integer_threshold : ndarray, shape (layers,)
        ``k``: a sum of integers reaches the threshold from ``k`` on; the mean over channels. NaN where it is not known.
    firing_rate : dict of str to ndarray
        Measured late rates on the batch.
    predicted_rate : dict of str to ndarray
        NaN, as the predicted survival, where the theory does not cover the model.
    distance : dict of str to ndarray
        Earth mover's distance of the late rates of all neurons from those in full precision.
    survival, predicted_survival : dict of str to float
        Fraction of inputs for which every layer spikes late; the same predicted, over networks too.
    unrounded : tuple of str
        Parameters with two axes or more that keep their precision, such as recurrent weights within neurons.

    Examples
    --------
    >>> import torch, snntorch, varflow as vf
    >>> _ = torch.manual_seed(0)
    >>> model = torch.nn.Sequential(torch.nn.Linear(64, 64), snntorch.Leaky(0.5, init_hidden=True))
    >>> rounded = vf.audit(model, 4 * torch.rand(8, 64), steps=4, bits=4).rounding
    >>> rounded.layers, rounded.bits, rounded.per
    (('0',), 4, 'layer')
    """

    layers: tuple[str, ...]
    bits: int
    keep: str
    per: str
    steps: int
    step: np.ndarray
    integer_threshold: np.ndarray
    predicted_rate: dict[str, np.ndarray]
    firing_rate: dict[str, np.ndarray]
    distance: dict[str, np.ndarray]
    predicted_survival: dict[str, float]
    survival: dict[str, float]
    unrounded: tuple[str, ...] = ()

    def to_xarray(self) -> Any:
        """An ``xarray.Dataset`` over ``layer``, by name, and ``kind`` of weights."""
        kinds = [*self.predicted_rate]
        variables: dict[str, Any] = {name: ("layer", getattr(self, name)) for name in ("step", "integer_threshold")}
        for name in OF_LAYERS:
            values = getattr(self, name)
            variables[name] = (("kind", "layer"), [values.get(kind, self.step * np.nan) for kind in kinds])
        axes = {"layer": ("layer", list(self.layers)), "kind": ("kind", kinds)}
        return dataset(variables, axes, bits=self.bits, keep=self.keep, per=self.per, steps=self.steps)

    def _table(self) -> Table:
        rates = [self.firing_rate.get(kind, self.predicted_rate[kind]) for kind in KINDS]
        rates += [self.predicted_rate["set"], self.distance.get("set", self.step * np.nan)]
        columns = [(self.step, ".3g"), (self.integer_threshold, ".4g"), *((rate, ".3f") for rate in rates)]
        rows = [(name, *(measured(column[l], form) for column, form in columns)) for l, name in enumerate(self.layers)]
        header = ("layer", "step", "k", *KINDS, "predicted", "distance")
        title = f"Weights of {several(self.bits, 'bit')} per {self.per}, {several(self.steps, 'step')}: late rates"
        return Table(title, rows, header, [self.words])

    @property
    def words(self) -> str:
        """Survival of each kind of weights in words, and how much is not rounded."""
        said = {"alive, predicted": self.predicted_survival, "alive, measured": self.survival}
        known = {words: alive for words, alive in said.items() if np.isfinite([*alive.values()]).any()}
        rows = [f"{words}: {', '.join(f'{percent(p)} {kind}' for kind, p in alive.items())}" for words, alive in known.items()]
        if self.unrounded:
            rows.append(f"not rounded: {several(len(self.unrounded), 'tensor')} (.unrounded)")
        return "; ".join(rows)
