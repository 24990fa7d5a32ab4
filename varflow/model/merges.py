r"""Operations that join signals: weighted sums, products and concatenations.

A ``Residual`` is such a sum or product of what it receives and what its branch sends. Theory takes the signals joined by a sum
or a product as independent, which :func:`varflow.model.graph.independent` sees to.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from varflow._checks import DomainError, put, real_number, scale
from varflow.model.signals import Layer, Signal


@dataclass(frozen=True, slots=True, repr=False)
class Sum(Layer):
    r"""The weighted sum of signals of one kind and shape, ``Σ_i f_i x_i + c``.

    Parameters
    ----------
    factors : sequence of float
        ``f_i``, one for each signal.
    constant : float
        ``c``, added to every neuron.

    Raises
    ------
    DomainError
        Without factors, and (when a network is made) for another number of signals or signals that differ in kind or shape.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.layers.Sum((0.5, 1.0))
    Sum((0.5, 1.0))
    """

    factors: tuple[float, ...] = (1.0, 1.0)
    constant: float = 0.0
    merges: ClassVar[bool] = True
    _positional: ClassVar[tuple[str, ...]] = ("factors",)

    def __post_init__(self) -> None:
        factors = scale("factors", self.factors)
        if factors.ndim != 1 or not factors.size:
            raise DomainError("factors", self.factors, "must be a sequence of numbers, one for each signal")
        put(self, factors=tuple(factors.tolist()), constant=real_number("constant", self.constant))

    def after(self, *signals: Signal, width: int | None = None) -> Signal:
        if len(signals) != len(self.factors):
            raise DomainError("layers", self, f"needs as many signals as factors, {len(self.factors)}, not {len(signals)}")
        return _common(self, signals)


@dataclass(frozen=True, slots=True, repr=False)
class Scale(Sum):
    """Multiplication by a number.

    Parameters
    ----------
    factor : float

    Examples
    --------
    >>> import varflow as vf
    >>> vf.layers.Scale(0.5)
    Scale(0.5)
    """

    merges: ClassVar[bool] = False

    def __init__(self, factor: float):
        put(self, factors=(real_number("factor", factor),), constant=0.0)

    @property
    def factor(self) -> float:
        return self.factors[0]

    def __repr__(self) -> str:
        return f"Scale({self.factor!r})"


@dataclass(frozen=True, slots=True, repr=False)
class Product(Layer):
    """The product of spikes of one shape, neuron by neuron; also of masks of a map, as behind ``Attention``: one for each
    channel, at all positions, or one for each group of neighbouring channels.

    Raises
    ------
    DomainError
        When a network is made, for signals that differ in shape otherwise.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.layers.Product()
    Product()
    """

    merges: ClassVar[bool] = True
    accepts: ClassVar[tuple[str, ...]] = ("spikes",)

    def after(self, *signals: Signal, width: int | None = None) -> Signal:
        largest = max(signals, key=lambda signal: signal.size)
        return _common(self, tuple(largest if masks(signal.shape, largest.shape) else signal for signal in signals))


def masks(shape: tuple[int, ...], of: tuple[int, ...]) -> bool:
    """True for the shape of a mask of a map: channels at all positions, or positions of groups of channels."""
    if len(shape) != 3 or len(of) != 3:
        return False
    return shape == (of[0], 1, 1) or (shape[1:] == of[1:] and of[0] % shape[0] == 0)


@dataclass(frozen=True, slots=True, repr=False)
class Concat(Layer):
    """Spikes (or numbers of the input) side by side: neurons after neurons, on maps channels after channels.

    Raises
    ------
    DomainError
        When a network is made, for signals of different kinds or maps of different sizes.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.layers.Concat()
    Concat()
    """

    merges: ClassVar[bool] = True
    independent: ClassVar[bool] = False
    accepts: ClassVar[tuple[str, ...]] = ("input", "spikes")

    def after(self, *signals: Signal, width: int | None = None) -> Signal:
        first = signals[0]
        _alike(self, ((signal.kind, signal.shape[1:]) for signal in signals), signals)
        channels = sum(signal.shape[0] for signal in signals)
        return Signal(first.kind, (channels, *first.shape[1:]), any(signal.weighted for signal in signals))


def _common(layer: Layer, signals: tuple[Signal, ...]) -> Signal:
    """The kind and shape that all signals have."""
    _alike(layer, ((signal.kind, signal.shape) for signal in signals), signals)
    return Signal(signals[0].kind, signals[0].shape, any(signal.weighted for signal in signals))


def _alike(layer: Layer, properties: Iterable[object], signals: tuple[Signal, ...]) -> None:
    if len(set(properties)) > 1:
        raise DomainError("layers", layer, f"cannot join {', '.join(map(str, signals))}")
