"""Fixed points and two-cycles of a layer map, of the overlap of two inputs, and of deep layers in time; critical gains."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, overload

import numpy as np

from varflow._checks import nan_to_none
from varflow._display import Drawn, Shown, Table
from varflow.model.drives import Drive
from varflow.model.network import Network
from varflow.model.neurons import Neuron
from varflow.results.export import Exported, ReadOnly, dataset, named, numbered, records

Point = TypeVar("Point")


class Points(Shown, Sequence[Point]):
    """A result that is a sequence of its ``points``."""

    __slots__ = ()
    points: tuple[Point, ...]

    @overload
    def __getitem__(self, index: int) -> Point: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Point]: ...
    def __getitem__(self, index: int | slice) -> Point | Sequence[Point]:
        return self.points[index]

    def __len__(self) -> int:
        return len(self.points)


@dataclass(frozen=True, slots=True)
class FixedPoint(Exported, Shown):
    """A fixed point of the layer map, ``F(V) = V``.

    Attributes
    ----------
    variance, firing_rate : float
        ``V`` and ``P(u > θ)`` there; of a block of spikes, the rate of the spikes that leave it.
    multiplier : float
        ``m = F'(V)``, by which a small deviation is multiplied per layer (``inf`` where F jumps).
    stable : bool
        Whether ``|m| < 1``.
    depth_scale : float
        ``ξ_V = -1/ln|m|`` layers; 0 for ``m = 0``, ``inf`` for ``|m| = 1``, negative if deviations grow.
    residual : float
        ``F(V) - V``, recomputed at the result, in units of the variance.
    enclosure : tuple of float, optional
        Proven bounds of the variance, from ``vf.certified``.

    Examples
    --------
    >>> import varflow as vf
    >>> point = vf.fixed_points(threshold=1.0, gain=2.6)[-1]
    >>> round(point.variance, 4), round(point.multiplier, 4), point.stable
    (1.262, 0.64, True)
    """

    variance: float
    firing_rate: float
    multiplier: float
    stable: bool
    depth_scale: float
    residual: float
    enclosure: tuple[float, float] | None = None

    def to_dict(self) -> dict[str, Any]:
        return {name: value for name, value in Exported.to_dict(self).items() if getattr(self, name) is not None}

    def _table(self) -> Table:
        rows = [(name, repr(getattr(self, name))) for name in self.to_dict() if name != "stable"]
        return Table(f"FixedPoint, {_stability(self)}", rows)


@dataclass(frozen=True, slots=True)
class Cycle(Exported, Shown):
    """A two-cycle, in which layers alternate between two variances: ``V₂ = F(V₁)`` and ``V₁ = F(V₂)``.

    Attributes
    ----------
    variances, firing_rates : tuple of float
        Smaller variance first.
    multiplier : float
        ``m = F'(V₁) F'(V₂)``, by which a small deviation is multiplied per two layers.
    stable : bool
        Whether ``|m| < 1``.
    depth_scale : float
        ``-2/ln|m|`` layers; 0 for ``m = 0``, ``inf`` for ``|m| = 1``, negative if deviations grow.
    residual : float
        ``F(F(V₂)) - V₂``, recomputed at the result, in units of the variance.

    Examples
    --------
    >>> import varflow as vf
    >>> cycle = vf.fixed_points(threshold=-1.0, gain=1.0, mean_gain=-4.0).cycles[0]
    >>> [round(variance, 4) for variance in cycle.variances], cycle.stable
    ([0.0013, 1.0], True)
    """

    variances: tuple[float, float]
    firing_rates: tuple[float, float]
    multiplier: float
    stable: bool
    depth_scale: float
    residual: float

    def _table(self) -> Table:
        rows = [(name, repr(getattr(self, name))) for name in self.__dataclass_fields__ if name != "stable"]
        return Table(f"Cycle, {_stability(self)}", rows)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class FixedPoints(Points[FixedPoint], Drawn):
    """All fixed points of a layer map, ascending in variance, silence included, and its two-cycles.

    Attributes
    ----------
    points : tuple of FixedPoint
    complete : bool
        Whether the list is proven complete.
    resolution : float, optional
        After a scan, its step in ``ln p``: closer pairs of roots can be missed.
    basin_edge : float
        The variance below which activity decays to silence (or, with a bias, to the quiet state): 0.0 if that is unstable or
        the only stable state is active, ``inf`` if only silence is stable.
    cycles : tuple of Cycle
        Two-cycles, ascending in the larger variance. If no fixed point or two-cycle is stable, layers follow a longer cycle or
        never settle.
    note : str
        Of a block: how activity grows where no fixed point holds it.
    map : callable, optional
        The variance of the next layer from that of a layer; None for blocks.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.fixed_points(threshold=1.5, gain=vf.gain(threshold=1.5))
    FixedPoints (complete; basin of silence up to V = 1)
     variance  firing_rate  multiplier  depth_scale  stability
            0            0           0            0  stable
            1    0.0668072     1.45401       -2.671  unstable
    2.7122803       0.1812    0.662231        2.426  stable
    """

    points: tuple[FixedPoint, ...]
    complete: bool
    resolution: float | None
    basin_edge: float
    cycles: tuple[Cycle, ...] = ()
    note: str = field(default="", kw_only=True)
    map: Callable[[Any], Any] | None = field(default=None, kw_only=True)

    def to_dict(self) -> dict[str, Any]:
        return nan_to_none({"fixed_points": self.points} | named(self, "cycles", "complete", "resolution", "basin_edge"))

    def to_xarray(self) -> Any:
        """An ``xarray.Dataset`` over ``fixed_point``, and ``cycle`` and ``phase`` if there are two-cycles; all floats."""
        shared = ("multiplier", "stable", "depth_scale", "residual")
        variables = records(self.points, ("variance", "firing_rate", *shared), "fixed_point")
        cycles = records(self.cycles, ("variances", "firing_rates", *shared), "cycle")
        for name, (_, values) in cycles.items():
            variables[f"cycle_{name}"] = (("cycle", "phase") if name in ("variances", "firing_rates") else "cycle", values)
        variables["basin_edge"] = ((), self.basin_edge)
        return dataset(variables, {}, complete=self.complete, resolution=self.resolution, note=self.note)

    def _table(self) -> Table:
        how = "complete" if self.complete else f"scanned, step {self.resolution:.2g} in ln p" if self.resolution else "scanned"
        title = f"FixedPoints ({how}{basin(self, lambda edge: f'{edge:.8g}')})"
        header = ("variance", "firing_rate", "multiplier", "depth_scale", "stability")
        rows = [(f"{p.variance:.8g}", f"{p.firing_rate:.6g}", *_described(p)) for p in self]
        for cycle in self.cycles:
            phases = zip(cycle.variances, cycle.firing_rates, strict=True)
            rows += [(f"{variance:.8g}", f"{rate:.6g}", *_described(cycle)) for variance, rate in phases]
        return Table(title, rows, header, self._unsettled())

    def _unsettled(self) -> tuple[str, ...]:
        """A note if nothing found is stable."""
        if self.note or any(state.stable for state in (*self.points, *self.cycles)):
            return (self.note,) if self.note else ()
        return ("No fixed point or two-cycle is stable: layers follow a longer cycle or never settle.",)


def basin(points: FixedPoints, written: Callable[[Any], str]) -> str:
    """The basin of silence (or of the quiet state with a bias) in words; empty if there is none."""
    state = "silence" if points[0].variance == 0 else "the quiet state"
    return f"; basin of {state} up to V = {written(points.basin_edge)}" if points.basin_edge else ""


def _stability(state: Any) -> str:
    return "stable" if state.stable else "unstable"


def _described(state: Any) -> tuple[str, ...]:
    """Multiplier, depth scale and stability."""
    return f"{state.multiplier:.6g}", f"{state.depth_scale:.4g}", _stability(state) + " cycle" * isinstance(state, Cycle)


def in_full(
    title: str,
    points: Sequence[FixedPoint],
    written: Callable[[Any], str],
    cycles: Sequence[Cycle] = (),
    notes: Sequence[str] = (),
) -> Table:
    """A table of points and cycles, one number per line, for numbers too long for columns."""
    rows = []
    for state in (*points, *cycles):
        names = ("variances", "firing_rates") if isinstance(state, Cycle) else ("variance", "firing_rate")
        rows.append(("stability", _stability(state) + " cycle" * isinstance(state, Cycle)))
        for name in (*names, "multiplier", "depth_scale"):
            values = getattr(state, name)
            rows += [(name, written(value)) for value in (values if isinstance(values, tuple) else (values,))]
        rows.append(("residual", f"{float(state.residual):.2g}"))
    return Table(title, rows, notes=notes)


@dataclass(frozen=True, slots=True)
class CorrelationFixedPoint(Exported, Shown):
    """An overlap of two inputs that a layer reproduces, ``ρ' = ρ``.

    Attributes
    ----------
    overlap : float
        ``ρ = E[x x̂]/p``.
    multiplier : float
        ``m = dρ'/dρ``, by which a small deviation is multiplied per layer; ``inf`` at ``ρ = 1``.
    stable : bool
        Whether ``m < 1``.
    depth_scale : float
        ``ξ_c = -1/ln m`` layers; 0 where deviations grow by an infinite factor.
    """

    overlap: float
    multiplier: float
    stable: bool
    depth_scale: float


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class CorrelationFixedPoints(Points[CorrelationFixedPoint], Drawn):
    """The fixed points of the overlap of two inputs, ascending: the stable one, and identical inputs.

    Attributes
    ----------
    points : tuple of CorrelationFixedPoint
    threshold, variance : float
        Of both inputs.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.correlation_fixed_points(threshold=1.0)
    CorrelationFixedPoints (θ = 1, V = 1)
      overlap  multiplier  depth_scale  stability
    0.2740011    0.475798        1.346  stable
            1         inf            0  unstable
    """

    points: tuple[CorrelationFixedPoint, ...]
    threshold: float
    variance: float

    def to_dict(self) -> dict[str, Any]:
        return nan_to_none({"fixed_points": self.points} | named(self, "threshold", "variance"))

    def to_xarray(self) -> Any:
        """An ``xarray.Dataset`` over ``fixed_point``."""
        variables = records(self.points, CorrelationFixedPoint.__dataclass_fields__, "fixed_point")
        return dataset(variables, {}, threshold=self.threshold, variance=self.variance)

    def _table(self) -> Table:
        title = f"CorrelationFixedPoints (θ = {self.threshold:g}, V = {self.variance:g})"
        rows = [(f"{p.overlap:.8g}", *_described(p)) for p in self]
        return Table(title, rows, ("overlap", "multiplier", "depth_scale", "stability"))


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class TemporalFixedPoint(ReadOnly, Exported, Shown):
    """The fixed point of deep layers in a network of several steps.

    Attributes
    ----------
    network : Network
    alive : bool
        Whether any step has spikes.
    settled : bool
        Whether layers have reached a fixed point. Not so for isolated volleys, where silent steps lie between live ones and
        which steps live depends on seed, width and drive.
    variance, potential_mean, firing_rate : ndarray, shape (steps,), or None
        Variance and mean of the membrane at the spike test, and spikes per neuron, at every step. None if not settled.
    second_moments : ndarray, shape (steps, steps), or None
        ``M(t, t') = E[S_t S_t']``.
    alive_steps : float
        Number of steps with spikes (mean over replicas).
    mean_rate, late_rate : float
        Spikes per neuron and step, over all steps and over the late half.
    multiplier : float
        Leading multiplier: the factor by which a small deviation of ``M`` grows per layer; NaN for silence and if not settled.
    stable : bool
        Whether the multiplier is below 1 (for silence: whether a resting neuron is silent).
    depth : int, optional
        First layer from which every rate stays within 1 % of the largest rate (or within noise) of its final value.
    residual : float
        Largest change of a step's rate between the last two groups of layers.
    error : dict
        Numerical standard errors by quantity, if the method samples.
    note : str
        Remarks.

    Examples
    --------
    >>> import varflow as vf
    >>> network = vf.Network(width=1000, depth=2, gain=2.51, steps=8, neuron=vf.Neuron(1.0, decay=0.5))
    >>> state = vf.temporal_fixed_point(network)
    >>> round(state.late_rate, 3), state.stable
    (0.358, True)
    """

    network: Network
    alive: bool
    settled: bool
    variance: np.ndarray | None
    potential_mean: np.ndarray | None
    firing_rate: np.ndarray | None
    second_moments: np.ndarray | None
    alive_steps: float
    mean_rate: float
    late_rate: float
    multiplier: float
    stable: bool
    depth: int | None
    residual: float
    error: dict[str, np.ndarray] = field(default_factory=dict)
    note: str = ""

    _hidden = ("network", "second_moments")

    def to_xarray(self) -> Any:
        """An ``xarray.Dataset`` over ``step`` and ``other_step``; what is not settled is left out."""
        arrays = named(self, "variance", "potential_mean", "firing_rate", "second_moments")
        arrays |= {f"{name}_error": value for name, value in self.error.items()}
        variables = {name: (("step", "other_step")[: np.ndim(value)], value) for name, value in arrays.items()}
        numbers = ("alive", "settled", "alive_steps", "mean_rate", "late_rate", "multiplier", "stable", "depth", "residual")
        variables |= {name: ((), getattr(self, name)) for name in numbers}
        return dataset(variables, numbered(step=self.network.steps), network=self.network, note=self.note)

    def _table(self) -> Table:
        what = "silence" if not self.alive else "alive" if self.settled else "alive, not settled"
        names = ("alive_steps", "mean_rate", "late_rate", "multiplier", "depth", "residual")
        rows = [(name, "-" if (value := getattr(self, name)) is None else f"{value:.5g}") for name in names]
        title = f"TemporalFixedPoint ({what}) of {self.network!r}"
        return Table(title, rows, notes=(self.note,) if self.note else (), bullet="  ! ")


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class TemporalCriticalGain(Exported, Shown):
    """The smallest gains that keep the steps of a network alive.

    Attributes
    ----------
    gain : float
        Above it every step is alive in layer ``depth``; ``inf`` if no gain does it.
    late_gain : float
        Above it every step of the late half is alive, or one of them if ``alive`` is ``"a late step"``.
    error : dict
        Numerical standard errors of both, by name: scatter of replicas and resolution of the search.
    neuron, steps, depth, drive, alive
        The arguments.

    Examples
    --------
    >>> import varflow as vf
    >>> found = vf.temporal_critical_gain(vf.Neuron(1.0, decay=0.5), steps=4, depth=20, points=2**9, scrambles=2)
    >>> f"{found.gain:.2f} {found.late_gain:.2f}"
    '2.41 2.22'
    """

    gain: float
    late_gain: float
    error: dict[str, float]
    neuron: Neuron
    steps: int
    depth: int
    drive: Drive
    alive: str = "every late step"

    _hidden = ("neuron", "drive")

    def _table(self) -> Table:
        title = f"TemporalCriticalGain of {self.neuron!r}, {self.steps} steps, layer {self.depth}, {self.drive!r}, {self.alive}"
        gains = named(self, "gain", "late_gain").items()
        rows = [(name, f"{g:.5g}", f"± {self.error[name]:.2g}", f"{g**2:.5g}") for name, g in gains]
        return Table(title, rows, ("", "gain", "error", "gain²"))
