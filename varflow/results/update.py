"""A step of an optimiser: what it changes in every layer, the spikes that it flips, and its learning rate."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from varflow._checks import DomainError
from varflow._display import Drawn, Shown, Table, measured, plus_minus
from varflow.model.network import Network
from varflow.results.export import Exported, ReadOnly, dataset, evenly, numbered

RATES = ("rate", "other_rate", "first_layer_rate")
STEP = ("direct", "currents", "flips", "kept")  # what a step does to a layer


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Flips(ReadOnly, Exported, Drawn):
    r"""Fraction of spikes that flip in a layer under a change of all weights, ``r = Σ E[(S - S')²]/Σ(E[S²] + E[S'²])``.

    Attributes
    ----------
    network : Network
    kind : str
        ``direct`` or ``relative``: how the change was given.
    change : ndarray, shape (depth,)
        Its size in each layer.
    flips : ndarray, shape (depth,)
        At infinite width, or of all sampled networks together; NaN where a layer is silent.
    error : ndarray, shape (depth,)
        Standard error: of quasi-Monte Carlo, or over sampled networks.
    samples : ndarray, shape (repeats, depth), optional
        Of each sampled network; None at infinite width.
    seed : int

    Examples
    --------
    >>> import varflow as vf
    >>> vf.flips(vf.Network(width=1000, depth=4, gain=2.51), relative=0.01)
    Flips of Network(width=1000, depth=4, gain=2.51, neuron=Neuron(threshold=1)),
        infinite width
    layer  relative     flips
        1      0.01  0.006084
        2      0.01    0.0674
        3      0.01    0.2235
        4      0.01    0.4066
    """

    network: Network
    kind: str
    change: np.ndarray
    flips: np.ndarray
    error: np.ndarray
    samples: np.ndarray | None = None
    seed: int = 0

    _hidden = ("network",)

    def to_xarray(self) -> Any:
        """An ``xarray.Dataset`` over ``layer`` and ``repeat``."""
        variables: dict[str, Any] = {name: ("layer", getattr(self, name)) for name in ("change", "flips", "error")}
        variables["samples"] = (("repeat", "layer"), self.samples)
        return dataset(variables, numbered(layer=len(self.flips)), network=self.network, kind=self.kind, seed=self.seed)

    def _table(self) -> Table:
        width = "infinite width" if self.samples is None else f"{len(self.samples)} networks of their own width"
        rows = [
            (str(l + 1), f"{self.change[l]:.3g}", measured(self.flips[l]) + plus_minus(self.error[l], ".1g"))
            for l in evenly(len(self.flips), 8)
        ]
        title = f"Flips of {self.network!r}, {width}"
        return Table(title, rows, ("layer", self.kind, "flips"))


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class LearningRate(ReadOnly, Exported, Shown):
    """Learning rate of an optimiser, and what its first step does.

    Attributes
    ----------
    network : Network
    optimizer : str
    rate : float
        For all layers alike.
    other_rate, first_layer_rate : float, optional
        Instead, where the first layer of a plain network would take up most of the change: a rate for its weights, and one
        for all others.
    direct : ndarray, shape (depth,)
        ``d`` of each layer of neurons at ``rate``: root mean square of the change of its currents by its own weights, over
        their standard deviation.
    flips : ndarray, shape (depth,)
        Fraction of spikes that the step flips, at infinite width.
    dominated_by : int, optional
        The layer that makes more than half of ``Σ d²``.
    error : float
        Root mean square of ``log₂`` of the best rate over ``rate``, in the settings measured; NaN for plain networks of more
        than ten layers, for which none was fitted.

    Examples
    --------
    >>> import numpy as np, varflow as vf
    >>> network = vf.Network(width=64, depth=2, gain=2.51)
    >>> found = vf.learning_rate(network, np.random.default_rng(0).random((4, 16)))
    >>> f"{found.rate:.1g}", found.optimizer
    ('0.02', 'adam')
    """

    network: Network
    optimizer: str
    rate: float
    other_rate: float | None
    first_layer_rate: float | None
    direct: np.ndarray
    flips: np.ndarray
    dominated_by: int | None
    error: float

    _hidden = ("network",)

    def to_xarray(self) -> Any:
        """An ``xarray.Dataset`` over ``layer``."""
        numbers = {name: ((), getattr(self, name)) for name in (*RATES, "error")}
        variables = {"direct": ("layer", self.direct), "flips": ("layer", self.flips)} | numbers
        return dataset(variables, numbered(layer=len(self.direct)), network=self.network, optimizer=self.optimizer)

    @property
    def words(self) -> str:
        """The rates and their error in a sentence."""
        known = f"within a factor of {2**self.error:.1f} (one standard deviation)"
        off = known if np.isfinite(self.error) else "no error known above ten plain layers"
        words = f"learning rate of {self.optimizer} {self.rate:.2g} for all layers, {off}; let it decay"
        if self.first_layer_rate is None:
            return words
        return f"{words}; or {self.first_layer_rate:.2g} for the first layer and {self.other_rate:.2g} for the others"

    def _table(self) -> Table:
        rows = [(str(l + 1), f"{self.direct[l]:.3g}", measured(self.flips[l], ".3f")) for l in range(len(self.direct))]
        title = f"LearningRate of {self.optimizer}, {self.network!r}"
        return Table(title, rows, ("layer", "direct change", "flips"), [self.words], "  ")


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class OptimizerStep(ReadOnly, Exported, Drawn):
    r"""Changes of every layer of neurons by the next step of an optimiser, on inputs other than those that make the step.

    .. math:: d_l^2 = \frac{\sum (\Delta W_l S + \Delta b_l)^2}{\sum (I_l - \bar I_l)^2}, \qquad D^2 = \sum_l d_l^2

    with sums over neurons, steps and inputs, spikes ``S`` and currents ``I`` from before the step, and the mean over neurons at
    each step for each input. All are numbers without units.

    Attributes
    ----------
    layers : tuple of str
        Names of the spiking modules, without integrators.
    optimizer : str
        Its class.
    learning_rate : float
        NaN if parameter groups differ in it.
    change : float
        ``D``.
    rate : float, optional
        The learning rate with ``D = 0.147``, half of it for more than ten plain layers; only for Adam before its first step.
    other_rate, first_layer_rate : float, optional
        Instead, where the first layer of a plain network makes more than half of ``D²``: a rate for its weights and one for
        all others.
    direct : ndarray, shape (layers,)
        ``d``: relative change of a layer's currents by its own weights and biases (and normalisation). NaN for weights within
        a neuron.
    currents : ndarray, shape (layers,)
        Relative change of its currents by the whole step, that of the spikes it receives included.
    flips : ndarray, shape (layers,)
        ``Σ (S' - S)² / Σ (S² + S'²)``: the fraction of spikes turned over. NaN where nothing fires.
    kept : ndarray, shape (layers,)
        Cosine of the gradients of its weights before and after the step, on the inputs that did not make it; on those that did
        it is an eighth to a fifth less. 1: the next step goes on, 0: the gradient is drawn anew. NaN where nothing fires or no
        gradient arrives.
    notes : tuple of str

    Examples
    --------
    >>> import torch, snntorch, varflow as vf
    >>> _ = torch.manual_seed(0)
    >>> model = torch.nn.Sequential(torch.nn.Linear(32, 32), snntorch.Leaky(0.5, init_hidden=True))
    >>> adam = torch.optim.Adam(model.parameters(), lr=1e-3)
    >>> loss = lambda out: out[0].square().mean()
    >>> report = vf.audit(model, 4 * torch.rand(8, 32), loss=loss, steps=4, optimizer=adam)
    >>> report.step.layers, report.step.learning_rate, report.step.change > 0
    (('1',), 0.001, True)
    """

    layers: tuple[str, ...]
    optimizer: str
    learning_rate: float
    change: float
    rate: float | None
    other_rate: float | None
    first_layer_rate: float | None
    direct: np.ndarray
    currents: np.ndarray
    flips: np.ndarray
    kept: np.ndarray
    notes: tuple[str, ...] = ()

    @property
    def off(self) -> bool:
        """True if the learning rate is not within a factor of 2 of ``rate``, within which accuracy hardly changes."""
        return self.rate is not None and (self.learning_rate < self.rate / 2 or self.learning_rate > 2 * self.rate)

    def of(self, layer: str) -> dict[str, float]:
        """The numbers of a layer, by the name of its spiking module; NaN for one that it does not have."""
        if not isinstance(layer, str):
            raise DomainError("layer", layer, "must be the name of a spiking module")
        at = self.layers.index(layer) if layer in self.layers else None
        return {name: math.nan if at is None else float(getattr(self, name)[at]) for name in STEP}

    def to_xarray(self) -> Any:
        """An ``xarray.Dataset`` over ``layer``, by name."""
        numbers = {name: ((), getattr(self, name)) for name in ("learning_rate", "change", *RATES)}
        variables = {name: ("layer", getattr(self, name)) for name in STEP} | numbers
        names = {"layer": ("layer", list(self.layers))}
        return dataset(variables, names, optimizer=self.optimizer, notes="; ".join(self.notes))

    def _table(self) -> Table:
        rows = [(name, *(measured(value, ".3g") for value in self.of(name).values())) for name in self.layers]
        return Table(f"OptimizerStep of {self.optimizer}", rows, ("neuron", *STEP), self.notes, "  ")


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class CoordinateCheck(ReadOnly, Exported, Drawn):
    r"""Changes of every layer in one step of an optimiser, over widths ``n``, and the powers of ``n`` that fit them.

    Attributes
    ----------
    quantity : str
        ``currents``, changed by the whole step, or ``direct``, by a layer's own weights.
    layers : tuple of str
    widths : ndarray, shape (widths,)
    change : ndarray, shape (widths, repeats, layers)
        Relative to the standard deviation of the currents.
    slope, error : ndarray, shape (layers,)
        Of ``ln change`` over ``ln n`` by least squares, and its standard error, from the scatter about the line.

    Examples
    --------
    >>> import numpy as np, varflow as vf
    >>> widths, slopes = np.array([64, 256]), np.array([0.0])
    >>> check = vf.CoordinateCheck("direct", ("fc",), widths, np.full((2, 3, 1), 0.1), slopes, np.array([0.01]))
    >>> check
    CoordinateCheck of direct
    neuron  n = 64  n = 256  slope in ln n
    fc         0.1      0.1    0.00 ± 0.01
    """

    quantity: str
    layers: tuple[str, ...]
    widths: np.ndarray
    change: np.ndarray
    slope: np.ndarray
    error: np.ndarray

    def to_xarray(self) -> Any:
        """An ``xarray.Dataset`` over ``layer``, ``width`` and ``repeat``."""
        variables: dict[str, Any] = {name: ("layer", getattr(self, name)) for name in ("slope", "error")}
        variables["change"] = (("width", "repeat", "layer"), self.change)
        axes = {"layer": ("layer", list(self.layers)), "width": ("width", self.widths)}
        return dataset(variables, axes, quantity=self.quantity)

    def _table(self) -> Table:
        ends = np.median(self.change[[0, -1]], axis=1)
        rows = [
            (name, *(f"{end[l]:.3g}" for end in ends), f"{measured(self.slope[l], '.2f')} ± {measured(self.error[l], '.2f')}")
            for l, name in enumerate(self.layers)
        ]
        header = ("neuron", *(f"n = {width:g}" for width in self.widths[[0, -1]]), "slope in ln n")
        return Table(f"CoordinateCheck of {self.quantity}", rows, header)
