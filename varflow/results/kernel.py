"""Many inputs: second moments of their spikes in every layer, and the depth to which a linear readout tells them apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from varflow._checks import DomainError, choice, integer, nan_to_none
from varflow._display import Drawn, Table, plus_minus
from varflow.model.network import Network
from varflow.results.export import ReadOnly, dataset, evenly, named, numbered
from varflow.results.profile import spread

READOUTS = ("counts", "raster", "last")
UPPER_BOUND = (
    "Infinite width is only an upper bound on what a readout can use: with repeats=… kernels have the network's width."
)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Kernel(ReadOnly, Drawn):
    r"""Second moments of the spikes of ``B`` inputs in every layer, ``M(i, j) = E[S_i S_j]`` over the neurons of a layer.

    Attributes
    ----------
    network : Network
        With the inputs as its drive.
    moments : ndarray, shape (depth, B, B), or (depth, B, steps, B, steps) for a network of several steps
        At infinite width, or the mean over sampled networks. On maps, averaged over positions.
    error : ndarray, optional, in the shape of ``moments``
        Standard error: numerical (quasi-Monte Carlo, rounding), or over sampled networks (NaN for one). None if exact.
    samples : ndarray, optional, shape (repeats, depth, …)
        The same of each sampled network: at infinite width None.
    seed : int

    Examples
    --------
    >>> import varflow as vf
    >>> vf.kernel(vf.Network(width=100, depth=4, gain=2.51), [[1.0, 0.0], [0.6, 0.8]])
    Kernel of 2 inputs (infinite width) of Network(width=100, depth=4, gain=2.51,
        neuron=Neuron(threshold=1), drive=inputs(2 vectors of 2, input_gain=1.414))
    layer  overlap  smallest  largest
        1  0.45713   0.45713  0.45713
        2  0.36905   0.36905  0.36905
        3  0.32117   0.32117  0.32117
        4  0.29679   0.29679  0.29679
    Infinite width is only an upper bound on what a readout can use: with repeats=…
    kernels have the network's width.
    """

    network: Network
    moments: np.ndarray
    error: np.ndarray | None = None
    samples: np.ndarray | None = None
    seed: int = 0

    @property
    def inputs(self) -> int:
        return self.moments.shape[1]

    @property
    def depth(self) -> int:
        return len(self.moments)

    @property
    def steps(self) -> int:
        return self.network.steps

    @property
    def repeats(self) -> int | None:
        """Sampled networks; None at infinite width."""
        return None if self.samples is None else len(self.samples)

    def overlap(self, layer: int) -> np.ndarray:
        r"""Overlap of the spikes of every two inputs and steps, in the shape of one layer's moments.

        .. math:: \rho_{ij} = M_{ij}/\sqrt{M_{ii} M_{jj}}

        1 on the diagonal; NaN where one of the two is silent. ``layer`` counts from 1.
        """
        moments = self._with_steps(self.moments, layer)
        return _cosines(moments.reshape(self.inputs * self.steps, -1)).reshape(self.moments.shape[1:])

    def raster_overlap(self, layer: int) -> np.ndarray:
        r"""Overlap of the rasters of every two inputs, shape (B, B): at equal steps, summed over them.

        .. math:: R_{ab} = \sum_t M_{ab}(t, t) \Big/ \sqrt{\textstyle\sum_t M_{aa}(t, t) \sum_t M_{bb}(t, t)}

        1 on the diagonal; NaN where an input is silent.
        """
        return _cosines(self.to_gram(layer, "raster"))

    def to_gram(self, layer: int, readout: str = "counts", sample: int | None = None) -> np.ndarray:
        r"""The Gram matrix of the inputs in a layer, shape (B, B), for methods that take ``kernel="precomputed"``.

        Parameters
        ----------
        layer : int
            From 1.
        readout : str
            What a linear readout sees: spike ``counts``, ``Σ_tt' M_ab(t, t')``; the whole ``raster``, ``Σ_t M_ab(t, t)``;
            or the ``last`` step, ``M_ab(T, T)``. The same for one step.
        sample : int, optional
            Of this sampled network, from 0; by default the mean.

        Returns
        -------
        ndarray
            Symmetric, and positive semidefinite up to rounding: negative eigenvalues, which quasi-Monte Carlo can leave,
            are set to 0.
        """
        choice("readout", readout, READOUTS)
        M = self._with_steps(self.moments if sample is None else self._sampled(sample), layer)
        gram = M.sum((1, 3)) if readout == "counts" else np.einsum("atbt->ab", M) if readout == "raster" else M[:, -1, :, -1]
        gram = (gram + gram.T) / 2
        return gram if self.samples is not None or self.error is None else _without_negative(gram)

    def _with_steps(self, moments: np.ndarray, layer: int) -> np.ndarray:
        """Moments of one layer, always with axes of steps."""
        if integer("layer", layer, minimum=1) > self.depth:
            raise DomainError("layer", layer, f"must be at most the depth, {self.depth}")
        return moments[layer - 1].reshape(self.inputs, self.steps, self.inputs, self.steps)

    def _sampled(self, sample: int) -> np.ndarray:
        if self.samples is None or integer("sample", sample, minimum=0) >= len(self.samples):
            rule = "needs a kernel of sampled networks" if self.samples is None else f"must be below {len(self.samples)}"
            raise DomainError("sample", sample, rule)
        return self.samples[sample]

    def to_dict(self) -> dict[str, Any]:
        """Raster overlaps of every layer; ``to_xarray`` has the moments, which are large."""
        overlaps = np.array([self.raster_overlap(layer) for layer in range(1, self.depth + 1)])
        settings = {"infinite_width": self.samples is None, "repeats": self.repeats, "seed": self.seed}
        return nan_to_none({"raster_overlap": overlaps, **settings})

    def to_xarray(self) -> Any:
        """Moments, errors and samples as an ``xarray.Dataset`` over ``layer``, ``input``, ``step``, ``other_input`` and
        ``other_step``.
        """
        axes = ("layer", "input", "step", "other_input", "other_step")
        shape = (self.inputs, self.steps, self.inputs, self.steps)
        arrays = {"moments": self.moments, "error": self.error}
        variables: dict[str, Any] = {name: (axes, M.reshape(-1, *shape)) for name, M in arrays.items() if M is not None}
        if self.samples is not None:
            variables["samples"] = (("network", *axes), self.samples.reshape(*self.samples.shape[:2], *shape))
        coordinates = numbered(**dict(zip(axes, (self.depth, *shape), strict=True)))
        return dataset(variables, coordinates, network=self.network, repeats=self.repeats, seed=self.seed)

    def _table(self) -> Table:
        width = "infinite width" if self.samples is None else f"{self.repeats} sampled networks, seed {self.seed}"
        title = f"Kernel of {self.inputs} inputs ({width}) of {self.network!r}"
        rows = [(str(l + 1), *(f"{value:.5g}" for value in self.between(l + 1))) for l in evenly(self.depth, 5)]
        header = ("layer", "overlap", "smallest", "largest")
        return Table(title, rows, header, () if self.samples is not None else (UPPER_BOUND,))

    def between(self, layer: int) -> tuple[float, float, float]:
        """Mean, smallest and largest raster overlap of different inputs; NaN if there are none, or all are silent."""
        R = overlaps_of_pairs(self.to_gram(layer, "raster"))
        return (float(R.mean()), float(R.min()), float(R.max())) if R.size else (np.nan, np.nan, np.nan)


def _cosines(gram: np.ndarray) -> np.ndarray:
    norm = np.sqrt(np.diagonal(gram))
    norms = np.outer(norm, norm)
    cosines = np.divide(gram, norms, out=np.full(gram.shape, np.nan), where=norms > 0)
    np.fill_diagonal(cosines, np.where(norm > 0, 1.0, np.nan))
    return cosines


def overlaps_of_pairs(gram: np.ndarray) -> np.ndarray:
    """Overlaps of every two different inputs of which none is silent, from their Gram matrix."""
    R = _cosines(gram)[np.triu_indices(len(gram), 1)]
    return R[np.isfinite(R)]


def _without_negative(gram: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(gram)
    if values[0] >= 0:
        return gram
    nearest = (vectors * np.maximum(values, 0)) @ vectors.T
    return (nearest + nearest.T) / 2


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ReadableDepth(ReadOnly, Drawn):
    """Held-out accuracy of a linear readout of each layer, and how deep it reaches.

    Attributes
    ----------
    network : Network
    accuracies : ndarray, shape (repeats, depth)
        Of each sampled network with its own split (infinite width: of each split).
    chance : float
        ``1/classes``: accuracies are averaged over classes.
    infinite_width : bool
    readout : str
    seed : int

    Examples
    --------
    >>> import numpy as np, varflow as vf
    >>> rng = np.random.default_rng(0)
    >>> labels = np.arange(24) % 2
    >>> x = rng.normal(size=(2, 20))[labels] + 0.5 * rng.normal(size=(24, 20))
    >>> found = vf.readable_depth(vf.Network(width=50, depth=4, gain=2.51), x, labels)
    >>> found.accuracy.shape, float(found.chance)
    ((4,), 0.5)
    """

    network: Network
    accuracies: np.ndarray
    chance: float
    infinite_width: bool
    readout: str = "counts"
    seed: int = 0

    @property
    def accuracy(self) -> np.ndarray:
        """Mean over repeats, shape (depth,)."""
        return self.accuracies.mean(axis=0)

    @property
    def error(self) -> np.ndarray:
        """Its standard error, shape (depth,); NaN for one repeat."""
        return spread(self.accuracies) / np.sqrt(len(self.accuracies))

    @property
    def half(self) -> float:
        """The accuracy half way from layer 1's to chance."""
        return float(self.accuracy[0] + self.chance) / 2

    @property
    def deepest(self) -> int:
        """The deepest layer with at least that accuracy; 0 if layer 1 is not above chance by three standard errors."""
        return 0 if self._nothing else _deepest(self.accuracy, self.chance)

    @property
    def depth(self) -> float:
        """Depth at which the accuracy crosses that level, interpolated between layers; the network's if it never does."""
        return 0.0 if self._nothing else _crossing(self.accuracy, self.chance)

    @property
    def depth_error(self) -> float:
        """Standard error of ``depth``, over repeats; NaN for one."""
        depths = np.array([_crossing(accuracy, self.chance) for accuracy in self.accuracies])
        return float(spread(depths) / np.sqrt(len(depths)))

    @property
    def _nothing(self) -> bool:
        return bool(self.accuracy[0] - np.nan_to_num(3 * self.error[0]) <= self.chance)

    @property
    def throughout(self) -> bool:
        """True if the last layer is still readable, so that ``depth`` is only a lower bound."""
        return self.deepest == len(self.accuracy)

    def to_dict(self) -> dict[str, Any]:
        names = ("depth", "depth_error", "deepest", "throughout", "accuracy", "error", "chance", "infinite_width", "readout")
        return nan_to_none(named(self, *names, "seed"))

    def to_xarray(self) -> Any:
        """Accuracies as an ``xarray.Dataset`` over ``repeat`` and ``layer``."""
        setting = named(self, "depth", "depth_error", "deepest", "chance", "infinite_width", "readout", "seed", "network")
        variables, layers = {"accuracy": (("repeat", "layer"), self.accuracies)}, numbered(layer=len(self.accuracy))
        return dataset(variables, layers, **setting)

    def _table(self) -> Table:
        width = "infinite width" if self.infinite_width else "the network's own width"
        depth = f"at least {self.depth:.0f}" if self.throughout else f"{self.depth:.2f} ± {self.depth_error:.2g}"
        title = f"ReadableDepth: {depth} layers, at {width}, of {self.network!r}"
        rows = [(str(l), f"{a:.3f}{plus_minus(self.error[l - 1])}") for l, a in enumerate(self.accuracy, start=1)]
        chance = f"Chance {self.chance:.3f}; half way {self.half:.3f}. {len(self.accuracies)} repeats, each with its own split."
        notes = (chance, UPPER_BOUND) if self.infinite_width else (chance,)
        return Table(title, rows, ("layer", "accuracy"), notes)


def _deepest(accuracy: np.ndarray, chance: float) -> int:
    enough = np.flatnonzero(accuracy >= (accuracy[0] + chance) / 2)
    return int(enough[-1]) + 1 if accuracy[0] > chance else 0


def _crossing(accuracy: np.ndarray, chance: float) -> float:
    deepest = _deepest(accuracy, chance)
    if deepest in (0, len(accuracy)):
        return float(deepest)
    higher, lower = accuracy[deepest - 1 : deepest + 1]
    return float(deepest + (higher - (accuracy[0] + chance) / 2) / (higher - lower))
