r"""Layers of a network: small descriptions that theory and simulation each interpret on their own.

Two kinds of signal pass between layers: *currents*, which a neuron receives, and *spikes* (also sums and averages of spikes).

============  ==========================  ========================================================
layer         signal                      what it does
============  ==========================  ========================================================
Linear, Conv  spikes → currents           ``I = W x + b`` with fresh random weights
Spike         currents → spikes           a layer of neurons
Residual      either, unchanged in kind   shortcut and branch, merged
BatchNorm     currents → currents         each neuron standardised over inputs, steps and positions
LayerNorm     currents → currents         each input and step standardised over neurons
RMSNorm       currents → currents         each input and step over the root mean square of neurons
Pool          either, unchanged in kind   average or maximum over a window of a map
Upsample      either, unchanged in kind   a larger map, entries repeated or zeros between them
Scale         either, unchanged in kind   multiplies by a number
ScaleSteps    currents → currents         each step times its own number, plus its own constant
Filter        either, unchanged in kind   leaky integrators and delays over time
Sum, Product  either, unchanged in kind   joins several signals, weighted sum or product
Concat        spikes or numbers           several signals side by side
Chunk         spikes                      one of several parts of the neurons of a layer
Attention     spikes → products           sums of products over the positions of a map, for a Spike
============  ==========================  ========================================================
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from varflow._checks import DomainError, choice, non_negative_number, probability, put, real_array, real_number, scale, several
from varflow._lazy import names_of
from varflow.model.as_neuron import neuron as as_neuron
from varflow.model.attention import Attention, Chunk
from varflow.model.filters import Filter
from varflow.model.merges import Concat, Product, Scale, Sum
from varflow.model.neurons import Neuron
from varflow.model.signals import Layer, Measured, Signal, Unknown, Windows, area_of, extent, pair
from varflow.model.upsampling import Upsample
from varflow.model.weighted_layers import Conv, Linear

MERGES = ("add", "and", "iand")
STATISTICS = ALL_STEPS, EACH_STEP, PAST_STEPS = "all steps", "each step", "past steps"


@dataclass(frozen=True, slots=True, repr=False)
class Spike(Layer):
    r"""A layer of neurons, with optional recurrent weights among them.

    .. math:: I_t = I_t^{\text{below}} + W^r S_{t-1}, \qquad \operatorname{Std}[W^r_{ij}] = \frac{g_r}{\sqrt n}, \quad
              E[W^r_{ij}] = \frac{m_r}{n}

    Parameters
    ----------
    neuron : Neuron, torch module or str
        As :func:`varflow.neuron` takes it.
    recurrent_gain, recurrent_mean_gain : float
        ``g_r`` and ``m_r`` of normal weights; 0 means none.

    Raises
    ------
    DomainError
        For a negative recurrent gain.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.layers.Spike(vf.Neuron(1.0))
    Spike(Neuron(threshold=1))
    """

    neuron: Neuron
    recurrent_gain: float = 0.0
    recurrent_mean_gain: float = 0.0
    spikes: ClassVar[bool] = True
    accepts: ClassVar[tuple[str, ...]] = ("currents", "maxima", "products")
    _positional: ClassVar[tuple[str, ...]] = ("neuron",)

    def __init__(self, neuron: Any, *, recurrent_gain: float = 0.0, recurrent_mean_gain: float = 0.0):
        put(self, recurrent_gain=non_negative_number("recurrent_gain", recurrent_gain))
        put(self, recurrent_mean_gain=real_number("recurrent_mean_gain", recurrent_mean_gain))
        put(self, neuron=neuron if isinstance(neuron, Neuron) else as_neuron(neuron))

    @property
    def recurrent(self) -> bool:
        return self.recurrent_gain > 0 or self.recurrent_mean_gain != 0

    def after(self, signal: Signal, width: int | None = None) -> Signal:
        if self.recurrent and self.neuron.longer_filter:
            raise DomainError("recurrent_gain", self.recurrent_gain, "needs neurons with an exponential synapse, without delay")
        if self.recurrent and len(signal.shape) > 1:
            raise DomainError("recurrent_gain", self.recurrent_gain, f"needs neurons without positions, not {signal}")
        return Signal("spikes", signal.shape, signal.weighted)


@dataclass(frozen=True, slots=True, repr=False)
class Residual(Layer):
    r"""A shortcut around a branch of layers.

    On currents (a membrane shortcut) ``u' = keep · u + branch(u)``. On spikes (spike-element-wise, SEW), with branch ``y``,

    =======  ==================
    merge    ``x'``
    =======  ==================
    add      ``x + y``
    and      ``x y``
    iand     ``x (1 - y)``
    =======  ==================

    Parameters
    ----------
    *branch : Layer
        Must return the kind and shape of signal it receives.
    merge : str
        How spikes are merged; currents are added.
    keep : float
        Factor on the shortcut of currents, from 0 to 1.

    Raises
    ------
    DomainError
        For an empty branch, ``keep`` outside [0, 1], or (when a network is made) a branch that changes kind or shape.

    Notes
    -----
    **Source**: ``fang2021`` for SEW, ``hu2024`` for membrane shortcuts.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.layers.Residual(vf.layers.Spike(vf.Neuron()), vf.layers.Linear(gain=2.51), keep=0.9)
    Residual(Spike(Neuron(threshold=1)), Linear(gain=2.51), keep=0.9)
    """

    branch: tuple[Layer, ...]
    merge: str = "add"
    keep: float = 1.0

    def __init__(self, *branch: Layer, merge: str = "add", keep: float = 1.0):
        put(self, branch=several("branch", branch, Layer), merge=choice("merge", merge, MERGES), keep=probability("keep", keep))

    def __repr__(self) -> str:
        more = (f"{f.name}={value!r}" for f in fields(self)[1:] if (value := getattr(self, f.name)) != f.default)
        return f"Residual({', '.join([*map(repr, self.branch), *more])})"


class _OfCurrents(Layer):
    __slots__ = ()
    accepts: ClassVar[tuple[str, ...]] = ("currents",)

    def after(self, signal: Signal, width: int | None = None) -> Signal:
        if not signal.weighted:
            raise DomainError("layers", self, "cannot come before the first layer with weights")
        return signal


@dataclass(frozen=True, slots=True, repr=False)
class ScaleSteps(_OfCurrents):
    r"""A factor and a constant for each time step: the γ and β per step of BNTT and TEBN.

    .. math:: I'_t = f_t I_t + c_t

    Parameters
    ----------
    factors : sequence of float
        ``f_t``, one for each step of the network.
    constants : sequence of float, optional
        ``c_t``.

    Raises
    ------
    DomainError
        For sequences of different lengths, or (when a network is made) of another number of steps.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.layers.ScaleSteps((1.0, 0.5, 0.5))
    ScaleSteps((1.0, 0.5, 0.5))
    """

    factors: tuple[float, ...]
    constants: tuple[float, ...] = ()
    _positional: ClassVar[tuple[str, ...]] = ("factors",)

    def __post_init__(self) -> None:
        factors, constants = scale("factors", self.factors), real_array("constants", self.constants)
        if factors.ndim != 1 or not factors.size:
            raise DomainError("factors", self.factors, "must be a sequence of numbers, one for each step")
        if constants.size and constants.shape != factors.shape:
            raise DomainError("constants", self.constants, f"must be as many as factors, {len(factors)}")
        put(self, factors=tuple(factors.tolist()), constants=tuple(constants.tolist()))

    @property
    def steps(self) -> int:
        return len(self.factors)


class _Normalisation(_OfCurrents):
    __slots__ = ()
    normalises: ClassVar[bool] = True
    free: ClassVar[str] = "gamma"
    gamma: float
    beta: float
    eps: float

    def __post_init__(self) -> None:
        put(self, gamma=non_negative_number("gamma", self.gamma), eps=non_negative_number("eps", self.eps))
        put(self, beta=real_number("beta", self.beta))


@dataclass(frozen=True, slots=True, repr=False)
class BatchNorm(_Normalisation):
    r"""Batch normalisation of the currents of each neuron (each channel of a map), over inputs, steps and positions.

    .. math:: u' = \gamma\, \frac{u - \operatorname{mean} u}{\sqrt{\operatorname{var} u + \epsilon}} + \beta

    Parameters
    ----------
    gamma, beta : float
    statistics : tuple of two or three floats, optional
        Running ``(mean, variance)`` of a network in evaluation mode, used in place of the batch's own: ``(0, 1)`` at
        initialisation. After training the running means differ between neurons, with a standard deviation ``spread``; in
        ``(mean, variance, spread)`` they follow the batch's own means as closely as this allows.
    eps : float
    over : str
        Steps over which the batch's mean and variance are taken: "all steps", "each step" on its own, as in models that call
        their modules step by step, or "past steps", up to each.

    Raises
    ------
    DomainError
        For a value outside its domain, or (when a network is made) before the first layer with weights.

    Notes
    -----
    The batch: infinitely many independent inputs of a random drive, or the rows of ``x``. Only ``γλ/θ`` matters for the next
    neurons, ``λ`` being their input scale. **Source**: ``ioffe2015``; tdBN (``zheng2021``) is ``gamma = α θ``; BNTT
    (``kim2021``) is "each step", TEBN (``duan2022``) "all steps" and TAB (``jiang2024``) "past steps", each followed by
    :class:`ScaleSteps`.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.layers.BatchNorm(gamma=0.5)
    BatchNorm(gamma=0.5)
    """

    gamma: float = 1.0
    beta: float = 0.0
    statistics: tuple[float, ...] | None = None
    eps: float = 1e-5
    over: str = ALL_STEPS

    def __post_init__(self) -> None:
        _Normalisation.__post_init__(self)
        put(self, over=choice("over", self.over, STATISTICS))
        if self.statistics is not None:
            values = real_array("statistics", self.statistics)
            if values.shape not in ((2,), (3,)) or values[1] + self.eps == 0 or (values[1:] < 0).any():
                raise DomainError(
                    "statistics", self.statistics, "must be (mean, variance) or (mean, variance, spread), variance > 0"
                )
            put(self, statistics=tuple(values.tolist()))

    @property
    def over_batch(self) -> bool:
        return self.statistics is None or self.follows_batch

    @property
    def follows_batch(self) -> bool:
        """True if running means differ between neurons."""
        return self.statistics is not None and any(self.statistics[2:])


@dataclass(frozen=True, slots=True, repr=False)
class LayerNorm(_Normalisation):
    r"""Layer normalisation of currents, over all neurons of the layer, for each input and step.

    .. math:: u' = \gamma\, \frac{u - \operatorname{mean} u}{\sqrt{\operatorname{var} u + \epsilon}} + \beta

    Parameters
    ----------
    gamma, beta, eps : float

    Raises
    ------
    DomainError
        For a value outside its domain, or (when a network is made) before the first layer with weights.

    Notes
    -----
    **Source**: ``ba2016``.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.layers.LayerNorm()
    LayerNorm()
    """

    gamma: float = 1.0
    beta: float = 0.0
    eps: float = 1e-5


@dataclass(frozen=True, slots=True, repr=False)
class RMSNorm(_Normalisation):
    r"""Root-mean-square normalisation of currents, over all neurons of the layer, for each input and step.

    .. math:: u' = \gamma\, \frac{u}{\sqrt{\operatorname{mean} u^2 + \epsilon}}

    Parameters
    ----------
    gamma, eps : float

    Raises
    ------
    DomainError
        For a value outside its domain, or (when a network is made) before the first layer with weights.

    Notes
    -----
    **Source**: ``zhang2019``.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.layers.RMSNorm()
    RMSNorm()
    """

    gamma: float = 1.0
    eps: float = 1e-6

    def __post_init__(self) -> None:
        put(self, gamma=non_negative_number("gamma", self.gamma), eps=non_negative_number("eps", self.eps))


@dataclass(frozen=True, slots=True, repr=False)
class Pool(Layer):
    """The average or maximum over windows of a map; zeros in the padding count.

    Before the first weights it pools the numbers of ``drives.inputs``, and the network keeps the pooled input.

    Parameters
    ----------
    kind : str
        ``average`` or ``max``; behind ``max`` of currents, which is not Gaussian, comes a Spike.
    size : int or (int, int), optional
        Sides of the window, by default the whole map.
    stride : int or (int, int), optional
        By default ``size``.
    padding : int or (int, int)
        At most half the window.

    Raises
    ------
    DomainError
        For a value outside its domain, or (when a network is made) a window larger than the map.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.layers.Pool("average", 2)
    Pool('average', 2)
    """

    kind: str
    size: int | tuple[int, int] | None = None
    stride: int | tuple[int, int] | None = None
    padding: int | tuple[int, int] = 0
    accepts: ClassVar[tuple[str, ...]] = ("input", "currents", "spikes")
    _positional: ClassVar[tuple[str, ...]] = ("kind", "size")

    def __post_init__(self) -> None:
        put(self, kind=choice("kind", self.kind, ("average", "max")), padding=extent("padding", self.padding, 0))
        put(self, size=None if self.size is None else extent("size", self.size, 1))
        stride = self.size if self.stride is None else extent("stride", self.stride, 1)
        put(self, stride=None if stride == self.size else stride)
        sides = zip(pair(self.padding), (0, 0) if self.size is None else pair(self.size), strict=True)
        if any(2 * padding > size for padding, size in sides):
            raise DomainError("padding", self.padding, f"must be at most half of size={self.size}")

    def windows(self, area: Sequence[int]) -> Windows:
        """The windows over a map of this height and width."""
        whole = pair(extent("area", area, 1))
        size = whole if self.size is None else pair(self.size)
        return Windows(size, size if self.stride is None else pair(self.stride), pair(self.padding))

    def after(self, signal: Signal, width: int | None = None) -> Signal:
        channels, *area = area_of(self, signal)
        kind = "maxima" if self.kind == "max" and signal.kind == "currents" else signal.kind
        return Signal(kind, (channels, *self.windows(area).over(self, area)), signal.weighted)


__all__ = names_of(globals())  # pyright: ignore[reportUnsupportedDunderAll]
__all__ += ["Attention", "Chunk", "Concat", "Conv", "Filter", "Layer", "Linear", "Measured", "Product", "Scale", "Signal"]
__all__ += ["Sum", "Unknown", "Upsample"]
