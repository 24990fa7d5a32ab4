"""The network: the one description that theory predicts, simulation measures and comparison judges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from varflow._checks import (
    LARGEST_SCALE,
    SMALLEST_SCALE,
    DomainError,
    instance,
    integer,
    non_negative,
    per_layer,
    positive_scale,
    real_array,
    scalar,
    scale,
)
from varflow._display import Shown, Table
from varflow.model.drives import Drive, Given, currents
from varflow.model.neurons import Neuron
from varflow.model.weights import NAMES, WeightLaw, weight_law

__all__ = ["Network"]


@dataclass(frozen=True, slots=True, eq=False)
class Network(Shown):
    r"""A deep feed-forward spiking network with independent random weights.

    .. math:: u_{l+1} = \lambda (W x_l + b), \qquad x_l = 1(u_l > \theta), \qquad
              E[W_{ij}] = \frac{m}{n}, \quad \operatorname{Std}[W_{ij}] = \frac{g}{\sqrt n}, \quad b \sim N(0, \sigma_b^2)

    with ``g`` the gain, ``m`` the mean gain, ``λ`` the neuron's input scale and ``n`` the number of neurons of layer ``l``.

    Parameters
    ----------
    width : int or sequence of int
        Neurons per layer; with one entry per layer, ``width[l]`` is that of layer ``l+1``.
    depth : int
        Number of layers, the driven one included.
    gain : float or sequence of float
        ``g = σ_w √n`` of the weights into a layer. Layer 1 has no such weights; its entry is not used.
    neuron : Neuron
        Threshold and dynamics, the same in every layer.
    weights : str, object of vf.weights or scipy.stats distribution
        Distribution of the weights, scaled to the gain: ``normal``, ``uniform``, ``sign``, ``exponential``, ``lognormal``, an
        object of ``vf.weights``, your own :class:`varflow.weights.WeightDistribution`, or a frozen or new-style scipy.stats
        distribution with a finite variance.
    bias_std : float
        Standard deviation of the biases, layer 1 excepted.
    mean_gain : float, optional
        ``n E[w]``. By default (None) the distribution's own mean, scaled like its standard deviation: 0 for symmetric ones.
    steps : int
        Time steps.
    drive : Drive
        What layer 1 receives, from ``vf.drives``: ``currents``, ``white``, ``inputs``, ``spikes`` or ``given``.

    Attributes
    ----------
    widths, gains : ndarray, shape (depth,)
        Width and gain of each layer.
    mean_gains : ndarray, shape (depth,)
        ``n E[w]`` of the weights into each layer; 0 for layer 1.
    weight_law : WeightLaw
        What ``weights`` stands for.

    Raises
    ------
    DomainError
        For a value outside its domain, a sequence without exactly one entry per layer, a fixed in-degree above a fan-in, or a
        drive made for another number of steps or neurons.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.Network(width=1000, depth=100, gain=2.51, neuron=vf.Neuron(1.0))
    Network(width=1000, depth=100, gain=2.51, neuron=Neuron(threshold=1))
    """

    width: int | tuple[int, ...]
    depth: int
    gain: float | tuple[float, ...]
    neuron: Neuron
    weights: str | WeightLaw
    bias_std: float
    mean_gain: float | None
    steps: int
    drive: Drive

    def __init__(
        self,
        *,
        width: Any,
        depth: int,
        gain: Any,
        neuron: Neuron | None = None,
        weights: Any = "normal",
        bias_std: float = 0.0,
        mean_gain: float | None = None,
        steps: int = 1,
        drive: Drive | None = None,
    ):
        def put(name: str, value: object) -> None:
            object.__setattr__(self, name, value)

        put("depth", integer("depth", depth, minimum=1))
        put("width", _widths(width, self.depth))
        gains = per_layer("gain", positive_scale("gain", gain), self.depth)
        put("gain", float(gains[0]) if np.ndim(gain) == 0 else tuple(gains.tolist()))
        put("neuron", instance("neuron", Neuron() if neuron is None else neuron, Neuron))
        law = weight_law(weights)
        named = law.label in NAMES and law == weight_law(law.label)
        put("weights", law.label if named else law)
        put("bias_std", scalar("bias_std", non_negative("bias_std", scale("bias_std", bias_std))))
        symmetric = 0.0 if law.own_mean == 0 else None
        put("mean_gain", symmetric if mean_gain is None else scalar("mean_gain", scale("mean_gain", mean_gain)))
        put("steps", integer("steps", steps, minimum=1))
        put("drive", instance("drive", currents() if drive is None else drive, Drive))
        _fits(self)

    @property
    def widths(self) -> np.ndarray:
        return np.broadcast_to(np.asarray(self.width), self.depth)

    @property
    def gains(self) -> np.ndarray:
        return np.broadcast_to(np.asarray(self.gain), self.depth)

    @property
    def weight_law(self) -> WeightLaw:
        return weight_law(self.weights)

    @property
    def mean_gains(self) -> np.ndarray:
        if self.mean_gain is not None:
            return np.where(np.arange(self.depth) > 0, self.mean_gain, 0.0)
        below = list(zip(self.gains[1:].tolist(), self.widths[:-1].tolist(), strict=True))
        own = {pair: self.weight_law.own_mean_gain(*pair) for pair in set(below)}
        return np.array([0.0, *(own[pair] for pair in below)])

    @property
    def silence_is_final(self) -> bool:
        """Whether silence is absorbing: a layer without spikes silences all later ones (no bias, and θ above rest)."""
        return self.bias_std == 0 and not self.neuron.fires_at(0.0)

    def _parts(self) -> list[tuple[str, str]]:
        """Name and text of everything that is not a default."""
        width = f"({self.width[0]}, …, {self.width[-1]})" if isinstance(self.width, tuple) else str(self.width)
        gain = f"({self.gain[0]:.4g}, …, {self.gain[-1]:.4g})" if isinstance(self.gain, tuple) else f"{self.gain:.6g}"
        parts = [("width", width), ("depth", str(self.depth)), ("gain", gain), ("neuron", repr(self.neuron))]
        own = 0.0 if self.weight_law.own_mean == 0 else None
        defaults = {"weights": "normal", "bias_std": 0.0, "mean_gain": own, "steps": 1}
        parts += [(name, repr(getattr(self, name))) for name, default in defaults.items() if getattr(self, name) != default]
        return parts if self.drive == currents() else [*parts, ("drive", repr(self.drive))]

    def _table(self) -> Table:
        return Table("Network", "{:<9} {}", self._parts())

    def __repr__(self) -> str:
        return f"Network({', '.join(f'{name}={text}' for name, text in self._parts())})"


def _widths(width: Any, depth: int) -> int | tuple[int, ...]:
    if not isinstance(width, (list, tuple)) and np.ndim(width) == 0:
        return integer("width", width, minimum=1)
    per_layer("width", real_array("width", width), depth)
    return tuple(integer("width", item, minimum=1) for item in width)


def _fits(network: Network) -> None:
    """Raise if the drive has other steps or another width, or the weights need a larger fan-in or gain."""
    drive, width = network.drive, int(network.widths[0])
    for name, wanted, there in (("steps", drive.steps, network.steps), ("width", drive.width, width)):
        if wanted not in (None, there):
            raise DomainError("drive", drive, f"needs a network with {name}={wanted} (in layer 1), not {name}={there}")
    law, below = network.weight_law, set(network.widths[:-1].tolist())
    below |= set() if drive.fan_in is None else {drive.fan_in}
    for fan_in in sorted(below):
        if law.in_degree is not None and law.in_degree > fan_in:
            raise DomainError("weights", law, f"needs more inputs than a neuron has: the smallest fan-in is {fan_in}")
    for gain, fan_in in set(zip(network.gains[1:].tolist(), network.widths[:-1].tolist(), strict=True)):
        law.connection(gain, fan_in, network.mean_gain)
    _squares_fit(network)


def _squares_fit(network: Network) -> None:
    """Raise if the square of a potential would overflow or underflow."""
    drive, factor = network.drive, network.neuron.input_scale
    driven = np.abs(drive.currents).max() if isinstance(drive, Given) else np.sqrt(drive.current_variances).max()
    sizes = {"gain": network.gains, "bias_std": network.bias_std, "mean_gain": network.mean_gains, "drive": driven}
    for name, size in sizes.items():
        potential = factor * np.abs(size)
        if not np.all((potential == 0) | ((potential >= SMALLEST_SCALE) & (potential <= LARGEST_SCALE))):
            rule = f"times input_scale={factor:g} must lie within {SMALLEST_SCALE:g} and {LARGEST_SCALE:g} in size; measure "
            raise DomainError(name, getattr(network, name), rule + "potentials in units of the threshold")
