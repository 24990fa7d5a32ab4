"""The shapes in which theory predicts, witnesses answer and simulation measures.

Plain frozen records of read-only arrays. Entry ``l`` of a per-layer array is layer ``l+1``. What judges them lives in
``compare``; what draws them in ``plots``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, overload

import numpy as np

from varflow._checks import frozen, nothing_if_nan, require
from varflow._display import Shown, Table
from varflow.model.network import Network

__all__ = ["QUANTITIES", "Ensemble", "FixedPoint", "FixedPoints", "Profile"]

QUANTITIES = ("variance", "firing_rate", "survival")


class Sampler(Protocol):
    """Draws ensembles from a profile's exact law."""

    def __call__(self, repeats: int, seed: int = 0, ensembles: int = 1) -> Ensemble: ...


@dataclass(frozen=True, slots=True)
class FixedPoint(Shown):
    """A variance the layer map reproduces, ``F(V) = V``.

    Attributes
    ----------
    variance, firing_rate : float
        ``V`` and ``P(u > θ)`` there.
    multiplier : float
        ``m = F'(V)``: a small deviation is multiplied by it per layer (``inf`` where F jumps).
    stable : bool
        Whether ``|m| < 1``.
    depth_scale : float
        ``ξ = -1/ln|m|`` layers; 0 where ``m = 0``, ``inf`` at ``|m| = 1``, negative where deviations grow.
    residual : float
        ``F(V) - V``, recomputed at the answer, in units of the variance.
    enclosure : tuple of float, optional
        Proven bounds of the variance, from ``vf.certified``.
    """

    variance: float
    firing_rate: float
    multiplier: float
    stable: bool
    depth_scale: float
    residual: float
    enclosure: tuple[float, float] | None = None

    def to_dict(self) -> dict[str, Any]:
        names = ("variance", "firing_rate", "multiplier", "stable", "depth_scale", "residual")
        proven = {} if self.enclosure is None else {"enclosure": self.enclosure}
        return nothing_if_nan({name: getattr(self, name) for name in names} | proven)

    def _table(self) -> Table:
        shown = {name: value for name in self.__dataclass_fields__ if (value := getattr(self, name)) is not None}
        rows = [(name, repr(value)) for name, value in shown.items() if name != "stable"]
        return Table(f"FixedPoint, {_stability(self)}", "{:<12} {}", rows)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class FixedPoints(Shown, Sequence[FixedPoint]):
    """All fixed points of a layer map, ascending in variance, silence included.

    Attributes
    ----------
    points : tuple of FixedPoint
    complete : bool
        Whether it is proven that there are no others.
    resolution : float, optional
        Where they come from a scan: its step in ``ln V``. Pairs of roots closer than this can be missed.
    basin_edge : float
        The variance below which activity decays to silence, or to the quiet state that a bias leaves in its place:
        0.0 where neither attracts beside another state, ``inf`` where only silence is left.
    """

    points: tuple[FixedPoint, ...]
    complete: bool
    resolution: float | None
    basin_edge: float

    @overload
    def __getitem__(self, index: int) -> FixedPoint: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[FixedPoint]: ...
    def __getitem__(self, index: int | slice) -> FixedPoint | Sequence[FixedPoint]:
        return self.points[index]

    def __len__(self) -> int:
        return len(self.points)

    def __iter__(self) -> Iterator[FixedPoint]:
        return iter(self.points)

    def to_dict(self) -> dict[str, Any]:
        edge = {"complete": self.complete, "resolution": self.resolution, "basin_edge": self.basin_edge}
        return nothing_if_nan({"fixed_points": [point.to_dict() for point in self], **edge})

    def _table(self) -> Table:
        how = "complete" if self.complete else f"scanned, step {self.resolution:.2g} in ln V" if self.resolution else "scanned"
        title = f"FixedPoints ({how}; basin of silence up to V = {self.basin_edge:.8g})"
        header = ("variance", "firing_rate", "multiplier", "depth_scale", "stability")
        rows = [
            (f"{p.variance:.8g}", f"{p.firing_rate:.6g}", f"{p.multiplier:.6g}", f"{p.depth_scale:.4g}", _stability(p))
            for p in self
        ]
        return Table(title, "{:>14} {:>12} {:>11} {:>12}  {}", rows, header)


def _stability(point: FixedPoint) -> str:
    return "stable" if point.stable else "unstable"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Profile(Shown):
    """What a theory predicts for every layer of a network.

    Attributes
    ----------
    network : Network
    variance : ndarray, shape (depth,)
        Expected sample variance (ddof = 1) of a layer's potentials about their own mean.
    variance_std : ndarray
        Standard deviation of that statistic over networks. NaN where it does not exist.
    firing_rate, firing_rate_std : ndarray
        Mean spikes per neuron, and its standard deviation over networks.
    survival : ndarray
        ``P(K > 0)``, the probability that the layer has at least one spike.
    per_input : dict of ndarray, shape (batch, depth)
        For a drive of inputs: ``variance``, ``firing_rate`` and ``survival`` of each input vector. Else empty.
    silent_variance : float
        Variance of a layer that receives no spike: the biases' share.
    sample : callable, optional
        ``sample(repeats, seed) -> Ensemble``: draws from the exact law, where the theory has one.
    potential_mean : ndarray, optional
        Mean potential of a layer, in the shape of ``variance``; it is not 0 where a neuron resets.
    coincidences : ndarray, optional, shape (depth, steps, steps)
        ``M(t, t') = E[S_t S_t']``: the state of a layer in time.
    error : dict of ndarray
        Numerical standard error of a quantity, by its name, where the theory is integrated numerically.
    """

    network: Network
    variance: np.ndarray
    variance_std: np.ndarray
    firing_rate: np.ndarray
    firing_rate_std: np.ndarray
    survival: np.ndarray
    per_input: dict[str, np.ndarray] = field(default_factory=dict)
    silent_variance: float = 0.0
    sample: Sampler | None = None
    potential_mean: np.ndarray | None = None
    coincidences: np.ndarray | None = None
    error: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("variance", "variance_std", "firing_rate", "firing_rate_std", "survival"):
            object.__setattr__(self, name, frozen(getattr(self, name)))
        for name in ("potential_mean", "coincidences"):
            value = getattr(self, name)
            object.__setattr__(self, name, None if value is None else frozen(value))
        object.__setattr__(self, "error", {name: frozen(value) for name, value in self.error.items()})
        object.__setattr__(self, "per_input", {name: frozen(value) for name, value in self.per_input.items()})

    @property
    def spikes(self) -> np.ndarray:
        """Expected number of spikes in a layer: width × firing rate."""
        return self.network.widths * self.firing_rate

    def to_dict(self) -> dict[str, Any]:
        names = ("variance", "variance_std", "firing_rate", "firing_rate_std", "survival", "spikes")
        per_input = {"per_input": self.per_input} if self.per_input else {}
        return nothing_if_nan({name: getattr(self, name) for name in names} | per_input)

    def to_xarray(self) -> Any:
        """The same numbers as an ``xarray.Dataset`` over the axis ``layer``."""
        names = ("variance", "variance_std", "firing_rate", "firing_rate_std", "survival", "spikes")
        return _dataset({name: (("layer",), getattr(self, name)) for name in names}, self.network.depth)

    def _table(self) -> Table:
        return _layers_table("Profile", self.network, self)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Ensemble(Shown):
    """What a simulation measured: one row per network.

    Attributes
    ----------
    network : Network
    variance : ndarray, shape (repeats, depth)
        Sample variance (ddof = 1) of each layer's potentials; NaN at width 1.
    firing_rate : ndarray, shape (repeats, depth)
        Spikes per neuron.
    survival : ndarray, shape (repeats, depth)
        1 where the layer has at least one spike, else 0.
    seed : int
    engine, device, dtype : str
    potential_mean : ndarray, optional, shape (repeats, depth, steps)
        Mean potential of each layer.
    coincidences : ndarray, optional, shape (repeats, depth, steps, steps)
        ``(1/n) Σ_i S_ti S_t'i`` of each layer.
    """

    network: Network
    variance: np.ndarray
    firing_rate: np.ndarray
    seed: int = 0
    engine: str = "dense"
    device: str = "cpu"
    dtype: str = "float32"
    potential_mean: np.ndarray | None = None
    coincidences: np.ndarray | None = None

    def __post_init__(self) -> None:
        for name in ("variance", "firing_rate"):
            object.__setattr__(self, name, frozen(getattr(self, name)))
        for name in ("potential_mean", "coincidences"):
            value = getattr(self, name)
            object.__setattr__(self, name, None if value is None else frozen(value))

    @property
    def repeats(self) -> int:
        return self.variance.shape[0]

    @property
    def survival(self) -> np.ndarray:
        return (self.firing_rate > 0).astype(float)

    @property
    def spikes(self) -> np.ndarray:
        """Spikes per layer: width × firing rate."""
        return self.network.widths * self.firing_rate

    @property
    def variance_std(self) -> np.ndarray:
        """Sample standard deviation of the variance over networks, shape (depth,)."""
        return _spread(self.variance)

    @property
    def firing_rate_std(self) -> np.ndarray:
        """Sample standard deviation of the firing rate over networks, shape (depth,)."""
        return _spread(self.firing_rate)

    def _summary(self, reduce: Callable[[np.ndarray], np.ndarray]) -> Profile:
        return Profile(
            self.network,
            variance=reduce(self.variance),
            variance_std=self.variance_std,
            firing_rate=reduce(self.firing_rate),
            firing_rate_std=self.firing_rate_std,
            survival=reduce(self.survival),
        )

    def mean(self) -> Profile:
        """Mean over networks of each quantity, beside the spread over networks, in the shape of a prediction."""
        return self._summary(lambda rows: rows.mean(axis=0))

    def std(self) -> Profile:
        """Standard deviation over networks of each quantity (ddof = 1; NaN for one network)."""
        return self._summary(_spread)

    def stderr(self) -> Profile:
        """Standard error of each mean, ``std/√repeats``."""
        return self._summary(lambda rows: _spread(rows) / np.sqrt(len(rows)))

    def to_dict(self) -> dict[str, Any]:
        names = ("variance", "firing_rate", "survival", "spikes", "seed", "engine", "device", "dtype")
        return nothing_if_nan({name: getattr(self, name) for name in names})

    def to_xarray(self) -> Any:
        """The same numbers as an ``xarray.Dataset`` over the axes ``network`` and ``layer``."""
        names = (*QUANTITIES, "spikes")
        return _dataset({name: (("network", "layer"), getattr(self, name)) for name in names}, self.network.depth)

    def _table(self) -> Table:
        title = f"Ensemble of {self.repeats} networks ({self.engine}, seed {self.seed})"
        return _layers_table(title, self.network, self.mean())


def _spread(rows: np.ndarray) -> np.ndarray:
    return rows.std(axis=0, ddof=1) if len(rows) > 1 else np.full(rows.shape[1:], np.nan)


def _dataset(variables: dict[str, Any], depth: int) -> Any:
    return require("xarray", "xarray").Dataset(variables, coords={"layer": np.arange(1, depth + 1)})


def _layers_table(title: str, network: Network, profile: Profile) -> Table:
    """Five layers of a profile, evenly spread."""
    rows = []
    for l in np.unique(np.linspace(0, network.depth - 1, 5).round().astype(int)):
        variance = f"{profile.variance[l]:.5g} ± {profile.variance_std[l]:.2g}"
        rate = f"{profile.firing_rate[l]:.5g} ± {profile.firing_rate_std[l]:.2g}"
        rows.append((str(l + 1), variance, rate, f"{profile.survival[l]:.5g}"))
    header = ("layer", "variance", "firing rate", "survival")
    return Table(f"{title} of {network!r}", "{:>7} {:>22} {:>22} {:>10}", rows, header)
