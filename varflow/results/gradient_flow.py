"""Gradients of a network: their energy in every layer and step, and how far they tell similar inputs from different ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from varflow._display import Drawn, Shown, Table, measured
from varflow.model.build import graph_of
from varflow.model.network import Network
from varflow.results.export import Exported, ReadOnly, axes_of, dataset, evenly, named, numbered, over_layers
from varflow.results.learning import reach

SUMMARY = ("growth", "typical_growth", "long_time_rate")


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class GradientFlow(ReadOnly, Exported, Drawn):
    r"""The energy of gradients in every layer and step, from the readout back to the first layer.

    ``δ_{l,t}`` is the gradient by the currents of layer ``l`` at step ``t``, through its neurons (not through a shortcut beside
    them). Layers are layers of neurons in order of execution.

    Attributes
    ----------
    network : Network
    surrogate : str
        As the library writes it.
    readout : str
        ``shared`` or ``independent`` weights over steps.
    energy : ndarray, shape (depth, steps)
        ``E‖δ_{l,t}‖²``, in units of the squared norm of the readout's weights at one step; mean over inputs.
    second_moments : ndarray, shape (depth, steps, steps)
        ``E[δ_{l,t}·δ_{l,t'}]``, with ``energy`` as its diagonal.
    growth : float, optional
        ``(Σ_t energy_1 / Σ_t energy_L)^{1/(L-1)}``: the mean factor per layer towards the first one. None with one layer, or if
        no gradient leaves the last one.
    instantaneous : ndarray, shape (depth - 1,), optional
        ``max_t λ² g² (n_{l+1}/n_l) E[ψ_t²]`` from layer ``l+1`` back to ``l``, for plain chains. It is the growth of infinitely
        many layers, but not that of few: at small depth gradients also grow by paths through the leak.
    long_time_rate : float, optional
        For plain chains with a detached (or no) reset and at least 16 steps: the growth per layer for infinitely many steps.
    spread : ndarray, shape (depth,), optional
        Standard deviation of ``ln‖δ_l‖²`` between networks, for plain chains without recurrence in which all layers have
        gradients, to the first order in 1/width. One step: by the surrogate, ``(3 E[ψ⁴]/E[ψ²]² - 1)/n`` a layer, and by the
        spike counts, which fluctuate (``varflow/theory/responses/back_propagation.py``; those of a random drive are not
        included). In time ``Var = Σ_k (E[q²]/E[q]² - 1)/n_k`` over this layer and those above, ``q = Σ_t δ_t²`` of a neuron: up
        to 15 % too small, since fluctuations of all steps count alike there.
    typical : ndarray, shape (depth,), optional
        Total energy of each layer in a typical network, the median: below ``total`` since ``‖δ‖²`` is log-normal.
    typical_growth : float, optional
        The growth of ``typical``.
    weight_norms : ndarray, shape (layers with weights,)
        ``E‖∂L/∂W‖²`` of each layer with weights in order of execution, in the units of ``energy``. Where rows are centred or
        standardised, ``W`` are the weights before that; by those of the matrix that acts it is larger.
    error : dict
        Numerical standard errors of ``energy``, ``growth`` and ``weight_norms``, where points are sampled.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.gradient_flow(vf.Network(width=100, depth=10, gain=2.51), "atan")
    GradientFlow of Network(width=100, depth=10, gain=2.51,
        neuron=Neuron(threshold=1)), atan(alpha=2), shared readout
    layer    energy  of it at step 1
        1  0.010065            1.000
        3  0.017475            1.000
        5  0.030338            1.000
        8  0.069394            1.000
       10   0.12047            1.000
      growth 0.75895
      typical_growth 0.69409
    """

    network: Network
    surrogate: str
    readout: str
    energy: np.ndarray
    second_moments: np.ndarray
    growth: float | None
    weight_norms: np.ndarray
    instantaneous: np.ndarray | None = None
    long_time_rate: float | None = None
    spread: np.ndarray | None = None
    typical: np.ndarray | None = None
    typical_growth: float | None = None
    error: dict[str, np.ndarray] = field(default_factory=dict)

    _hidden, _derived = ("network", "second_moments"), ("total", "range")

    @property
    def total(self) -> np.ndarray:
        """Energy of each layer over all steps, shape (depth,)."""
        return self.energy.sum(axis=1)

    @property
    def range(self) -> float | None:
        """The largest over the smallest total energy of a layer; None if a layer has none."""
        return float(self.total.max() / self.total.min()) if self.total.min() > 0 else None

    def to_xarray(self) -> Any:
        """An ``xarray.Dataset`` over ``layer``, ``step`` and ``other_step``."""
        errors = {"energy_error": self.error.get("energy")}
        variables = over_layers(named(self, "energy", "second_moments") | errors)
        variables |= {name: ((), getattr(self, name)) for name in SUMMARY}
        variables["weight_norms"] = ("weighted_layer", self.weight_norms)
        variables |= {name: ("layer", getattr(self, name)) for name in ("spread", "typical")}
        if self.instantaneous is not None:
            variables["instantaneous"] = ("layer", np.append(self.instantaneous, np.nan))
        axes = axes_of(self.network) | numbered(weighted_layer=len(self.weight_norms))
        return dataset(variables, axes, network=self.network, surrogate=self.surrogate, readout=self.readout)

    def _table(self) -> Table:
        title = f"GradientFlow of {self.network!r}, {self.surrogate}, {self.readout} readout"
        steps = np.unique([0, self.energy.shape[1] // 2, self.energy.shape[1] - 1])
        rows = [(str(l + 1), f"{self.total[l]:.5g}", *self._fractions(l, steps)) for l in evenly(len(self.energy), 5)]
        known = {name: f"{value:.5g}" for name in SUMMARY if (value := getattr(self, name)) is not None}
        if "growth" in known and "growth" in self.error:
            known["growth"] += f" ± {float(self.error['growth']):.2g}"
        notes = [f"{name} {text}" for name, text in known.items()]
        return Table(title, rows, ("layer", "energy", *(f"of it at step {t + 1}" for t in steps)), notes, "  ")

    def _fractions(self, layer: int, steps: np.ndarray) -> list[str]:
        total = self.total[layer]
        return [f"{self.energy[layer, t] / total:.3f}" if total > 0 else "–" for t in steps]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Trainability(ReadOnly, Exported, Shown):
    r"""The surrogate neural tangent kernel of three inputs: one, a similar one and a different one.

    .. math:: \Theta^l_{ab} = E\Big\langle \frac{\partial L_a}{\partial W_l}, \frac{\partial L_b}{\partial W_l} \Big\rangle
              \propto \sum_{tt'} G^\delta_{ab}(t, t')\, M_{ab}(t, t')

    Attributes
    ----------
    network : Network
        With the inputs as its drive.
    surrogate : str
    contrast : float
        ``(K_01 - K_02)/K_00`` with ``K = Σ_l Θ^l/√Θ^l_00``: what a step on the first input changes in the similar one, less
        what it changes in the different one, under an optimiser that divides by the gradient norm of each layer, as Adam does.
    correlations : ndarray, shape (layers with weights, 2)
        ``Θ_01/√(Θ_00 Θ_11)`` and ``Θ_02/√(Θ_00 Θ_22)`` of each layer with weights, in order of execution.
    norms : ndarray, shape (layers with weights,)
        ``√Θ_00``, the root mean square of the gradient norm, for a readout of norm 1.
    overlaps : ndarray, shape (2,)
        Cosine of the first input with the others.
    persistence : ndarray, shape (layers with weights,)
        ``k``: cosine between the gradients by the weights of a layer before and after a step of the optimiser, which is to deep
        layers like another input close by. NaN for weights that receive less than one spike in a hundred inputs at the
        network's width, where no gradient arrives, and if the network itself sends less.
    mean_persistence : float
        Mean over layers, those without persistence counted as 0: 0 for a silent network.
    persistence_depth : float, optional
        ``-1/ln q`` layers, ``q`` the smallest ratio of the persistence of neighbouring layers (with two of its errors), which
        it approaches below the readout and far from the input: infinite if none falls, None without two layers that have one.
    error : dict
        Numerical standard errors of ``contrast``, ``correlations``, ``persistence``, ``mean_persistence`` and
        ``persistence_depth``.

    Examples
    --------
    >>> import varflow as vf
    >>> found = vf.trainability(vf.Network(width=1000, depth=10, gain=2.51), "atan")
    >>> round(found.contrast, 3), f"learns up to about {found.reach:.0f} layers"
    (0.005, 'learns up to about 7 layers')
    """

    network: Network
    surrogate: str
    contrast: float
    correlations: np.ndarray
    norms: np.ndarray
    overlaps: np.ndarray
    persistence: np.ndarray
    mean_persistence: float
    persistence_depth: float | None
    error: dict[str, np.ndarray]

    _hidden, _derived = ("network",), ("reach",)

    @property
    def reach(self) -> float:
        """``√(250 Σ_l Θ_02/√(Θ_00 Θ_22))``, with shortcuts 600 for 250: the number of layers up to which networks with such
        gradients learned, as the audit of a model measures it (:class:`varflow.results.Learning`).
        """
        merges = any(len(node.inputs) > 1 for node in graph_of(self.network))
        return reach(float(np.nan_to_num(self.correlations[:, 1]).sum()), "shortcuts" if merges else "plain")

    def to_xarray(self) -> Any:
        """An ``xarray.Dataset`` over ``weighted_layer`` and ``other``, the similar and the different input."""
        over: dict[str, Any] = dict.fromkeys(("mean_persistence", "persistence_depth", "contrast"), ())
        over |= {"correlations": ("weighted_layer", "other"), "overlaps": "other"}
        over |= dict.fromkeys(("norms", "persistence"), "weighted_layer")
        variables = {name: (axes, getattr(self, name)) for name, axes in over.items()}
        errors = ("correlations", "persistence", "contrast")
        variables |= {f"{name}_error": (over[name], self.error[name]) for name in errors}
        axes = numbered(weighted_layer=len(self.norms)) | {"other": ("other", ["similar", "different"])}
        return dataset(variables, axes, network=self.network, surrogate=self.surrogate)

    def _table(self) -> Table:
        shown = evenly(len(self.norms), 5)
        columns = [self.norms, self.persistence, *self.correlations.T]
        rows = [(str(l + 1), f"{self.norms[l]:.4g}", *(measured(values[l], ".4f") for values in columns[1:])) for l in shown]
        header = ("weights", "norm", "persistence", *(f"input of cosine {value:.4g}" for value in self.overlaps))
        falls = self.persistence_depth is not None and np.isfinite(self.persistence_depth)
        depth = f", falls by e in {self.persistence_depth:.2g} layers" if falls else ""
        silent = (np.flatnonzero(np.isnan(self.persistence)) + 1).tolist()
        notes = [
            f"contrast {self.contrast:.4g} ± {float(self.error['contrast']):.2g}",
            f"persistence {self.mean_persistence:.4g} ± {float(self.error['mean_persistence']):.2g}{depth}",
            f"such networks learn up to about {self.reach:.0f} layers",
            *([f"no spikes or gradients at weights {', '.join(map(str, silent))}"] if silent else []),
        ]
        title = f"Trainability of {self.network!r}, {self.surrogate}"
        return Table(title, rows, header, notes, "  ")
