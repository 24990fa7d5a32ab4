"""Layers with random weights: ``Linear`` and ``Conv``."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

from varflow._checks import DomainError, choice, integer, non_negative_number, positive_number, put, real_number
from varflow.model.signals import Layer, Signal, Windows, area_of, extent, pair
from varflow.model.weights import WeightLaw, weight_law

ROWS = ("free", "centred", "standardised")


@dataclass(frozen=True, slots=True, repr=False, kw_only=True)
class Weighted(Layer):
    """Base of Linear and Conv: random weights of standard deviation ``gain/√fan_in``, and biases."""

    gain: float
    weights: Any = "normal"
    mean_gain: float | None = None
    bias_std: float = 0.0
    biases: str = "normal"
    rows: str = "free"
    free: ClassVar[str] = "gain"
    accepts: ClassVar[tuple[str, ...]] = ("input", "spikes")

    def __post_init__(self) -> None:
        law = weight_law(self.weights)
        put(self, gain=positive_number("gain", self.gain), weights=law if law != weight_law("normal") else "normal")
        put(self, bias_std=non_negative_number("bias_std", self.bias_std), rows=choice("rows", self.rows, ROWS))
        put(self, biases=choice("biases", self.biases, ("normal", "uniform")))
        if self.mean_gain is not None:
            put(self, mean_gain=real_number("mean_gain", self.mean_gain))
        if self.rows != "free" and self.mean_gain:
            raise DomainError("mean_gain", self.mean_gain, f"must be 0 for rows={self.rows!r}, which have no mean")
        if self.rows != "free" and not law.always_present:
            raise DomainError("weights", law, f"must have no absent connections for rows={self.rows!r}")

    @property
    def law(self) -> WeightLaw:
        return weight_law(self.weights)

    def need_normal_biases(self) -> None:
        """DomainError for other biases, with which currents are not Gaussian."""
        if self.bias_std and self.biases != "normal":
            raise DomainError("biases", self.biases, "must be 'normal' in theory; vf.simulate draws uniform ones")

    def connection(self, fan_in: int) -> tuple[float, float]:
        """``(scale, shift)`` of a connection that is present; see :class:`varflow.model.weights.WeightLaw`."""
        return self.law.connection(self.gain, fan_in, self.mean_gain if self.rows == "free" else 0.0)

    def connections(self, fan_in: int) -> float:
        """Expected number of weights of a neuron that are not 0."""
        scale, shift = self.connection(fan_in)
        atoms = zip(*(self.law.core.lattice or ((), ())), strict=True) if self.rows == "free" else ()
        return self.law.present(fan_in) * (1 - sum(mass for value, mass in atoms if scale * value + shift == 0))

    def mean_gain_of(self, fan_in: int) -> float:
        """``n E[w]``."""
        if self.rows != "free":
            return 0.0
        if self.mean_gain is not None:
            return self.mean_gain
        return self.law.own_mean_gain(self.gain, fan_in) if self.law.own_mean else 0.0

    def _fits(self, fan_in: int) -> None:
        """Raise if the weights cannot have this fan-in."""
        if self.law.in_degree is not None and self.law.in_degree > fan_in:
            raise DomainError("weights", self.law, f"needs more inputs than {self!r} has: {fan_in}")
        if self.rows == "standardised" and fan_in < 2:
            raise DomainError("rows", self.rows, f"needs a fan-in of at least 2, not {fan_in}")
        self.connection(fan_in)


@dataclass(frozen=True, slots=True, repr=False)
class Linear(Weighted):
    r"""Weights between all neurons, ``I = W x + b``.

    .. math:: E[W_{ij}] = \frac{m_g}{n}, \quad \operatorname{Std}[W_{ij}] = \frac{g}{\sqrt n}, \quad b_i \sim N(0, \sigma_b^2)

    Parameters
    ----------
    width : int, optional
        Neurons; by default the width of the network.
    gain : float
        ``g = σ_w √n``, with ``n`` the number of neurons below.
    weights, mean_gain, bias_std
        As in :class:`varflow.Network`.
    biases : str
        ``normal``; or ``uniform`` on ``±√3 σ_b``, torch's default: simulated, not in theory. Without a reset at most
        ``√3 σ_b/(1 - β)`` accumulates: silent neurons, some of which normal biases of this variance would make fire.
    rows : str
        ``free``: independent weights. ``centred``: the mean of each row is subtracted. ``standardised``: each row is centred
        and scaled to ``Σ_j W_ij² = g²`` (scaled weight standardisation).

    Raises
    ------
    DomainError
        For a value outside its domain, or a mean for rows that have none.

    Notes
    -----
    For normal weights, centred and standardised rows have the same infinite-width limit ``V' = g² p (1 - p)``.
    **Source**: ``brock2021`` for standardised rows.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.layers.Linear(gain=2.51)
    Linear(gain=2.51)
    """

    width: int | None = None
    _positional: ClassVar[tuple[str, ...]] = ("width",)

    def __post_init__(self) -> None:
        put(self, width=None if self.width is None else integer("width", self.width, minimum=1))
        Weighted.__post_init__(self)

    def after(self, signal: Signal, width: int | None = None) -> Signal:
        self._fits(signal.size)
        if (width := self.width or width) is None:
            raise DomainError("layers", self, "has no width: give Linear(width, …) or Network(width=…)")
        return Signal("currents", (width,), weighted=True)


@dataclass(frozen=True, slots=True, repr=False)
class Conv(Weighted):
    r"""A two-dimensional convolution with shared random filters and zero padding.

    .. math:: I_{c,x} = \sum_{c', \delta} W_{c,c',\delta}\, x_{c', s x + \delta} + b_c, \qquad
              \operatorname{Std}[W] = \frac{g}{\sqrt n}, \quad n = \frac{C}{\text{groups}} k^2

    Parameters
    ----------
    channels : int
        Output channels.
    kernel : int
        ``k``, side of the square filter.
    gain, weights, mean_gain, bias_std, biases, rows
        As in :class:`Linear`; one bias per channel.
    stride, padding, dilation : int or (int, int)
    groups : int
        As in ``torch.nn.Conv2d``; the default padding ``k//2`` keeps the size of a map for odd ``k``.

    Raises
    ------
    DomainError
        For a value outside its domain.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.layers.Conv(64, gain=2.51, stride=2)
    Conv(64, 3, gain=2.51, stride=2)
    """

    channels: int
    kernel: int | tuple[int, int] = 3
    _: KW_ONLY
    stride: int | tuple[int, int] = 1
    padding: int | tuple[int, int] | None = None
    groups: int = 1
    dilation: int | tuple[int, int] = 1
    _positional: ClassVar[tuple[str, ...]] = ("channels", "kernel")

    def __post_init__(self) -> None:
        put(self, kernel=extent("kernel", self.kernel, 1), dilation=extent("dilation", self.dilation, 1))
        padding = None if self.padding is None else extent("padding", self.padding, 0)
        usual = padding is None or pair(padding) == _usual_padding(self.kernel, self.dilation)
        put(self, padding=None if usual else padding, channels=integer("channels", self.channels, minimum=1))
        put(self, stride=extent("stride", self.stride, 1), groups=integer("groups", self.groups, minimum=1))
        Weighted.__post_init__(self)
        if self.channels % self.groups:
            raise DomainError("groups", self.groups, f"must divide channels={self.channels}")

    @property
    def windows(self) -> Windows:
        """The windows of its filters."""
        padding = _usual_padding(self.kernel, self.dilation) if self.padding is None else pair(self.padding)
        return Windows(pair(self.kernel), pair(self.stride), padding, pair(self.dilation))

    def fan_in(self, channels: int) -> int:
        return channels // self.groups * math.prod(self.windows.size)

    def after(self, signal: Signal, width: int | None = None) -> Signal:
        channels_in, height, wide = area_of(self, signal)
        if channels_in % self.groups:
            raise DomainError("groups", self.groups, f"must divide the {channels_in} channels that {self!r} receives")
        self._fits(self.fan_in(channels_in))
        return Signal("currents", (self.channels, *self.windows.over(self, (height, wide))), weighted=True)


def _usual_padding(kernel: Any, dilation: Any) -> tuple[int, int]:
    """The padding that keeps the size of a map for odd sizes."""
    (rows, columns), (down, along) = pair(kernel), pair(dilation)
    return rows // 2 * down, columns // 2 * along
