"""Signals between layers, which layer can follow which, and how signals begin: the drive, measured numbers, operations of which
nothing is known.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, NamedTuple

import numpy as np

from varflow._checks import DomainError, choice, frozen, integer, put, real_array
from varflow.model.drive_kinds import Drive, Inputs, SpikeTrains


@dataclass(frozen=True, slots=True)
class Signal:
    """A signal between two layers.

    Attributes
    ----------
    kind : str
        ``input`` (the numbers of a drive), ``currents``, ``maxima`` of currents, ``products`` of spikes in sums, or ``spikes``.
    shape : tuple of int
        ``(neurons,)``, or ``(channels, height, width)`` of a map.
    weighted : bool
        Whether a layer with weights lies before.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.layers.Linear(gain=2.5).after(vf.layers.Signal("spikes", (100,)), width=50)
    Signal(kind='currents', shape=(50,), weighted=True)
    """

    kind: str
    shape: tuple[int, ...]
    weighted: bool = False

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    def __str__(self) -> str:
        return f"{self.kind} of shape {self.shape}"


class Layer:
    """Base class of layers: what each states about itself.

    Attributes
    ----------
    accepts : tuple of str
        Kinds of signal that it can receive.
    merges : bool
        True if it can receive several signals.
    independent : bool
        True if its maps take signals that it merges as independent: theory refuses those that depend on the same weights. False
        where that does not matter, as for neurons side by side.
    spikes : bool
        True for a layer of neurons.
    normalises : bool
        True if what it sends does not depend on the scale of what it receives: an audit gives no gain for weights before it.
    free : str
        The field that sets the scale of what it sends, as ``gain`` or ``gamma``, if there is one: ``gain_for_rate(block=…)``
        solves for that of the block's last such layer.

    Examples
    --------
    >>> import varflow as vf
    >>> isinstance(vf.layers.Linear(gain=2.5), vf.layers.Layer)
    True
    """

    __slots__ = ()
    accepts: ClassVar[tuple[str, ...]] = ("currents", "spikes")
    merges: ClassVar[bool] = False
    independent: ClassVar[bool] = True
    spikes: ClassVar[bool] = False
    normalises: ClassVar[bool] = False
    free: ClassVar[str] = ""
    branch: tuple[Layer, ...] = ()

    @property
    def steps(self) -> int | None:
        """Number of steps that it is made for; None for any."""
        return None

    @property
    def over_batch(self) -> bool:
        """True if it normalises over a batch of inputs."""
        return False

    def after(self, *signals: Any, **width: Any) -> Signal:
        """The signal that it sends; DomainError if it cannot. ``width``: neurons of a Linear without its own."""
        raise DomainError("layers", self, "must define after(self, *signals, width): kind and shape of what it sends")

    def __repr__(self) -> str:
        """Only what differs from the defaults."""
        of = fields(self)  # pyright: ignore[reportArgumentType]
        parts = [_shown(getattr(self, f.name)) for f in of if f.name in self._positional]
        named = (f for f in of if f.name not in self._positional)
        parts += [f"{f.name}={_shown(value)}" for f in named if (value := getattr(self, f.name)) != f.default]
        return f"{type(self).__name__}({', '.join(part for part in parts if part != 'None')})"

    _positional: ClassVar[tuple[str, ...]] = ()


def _shown(value: object) -> str:
    """A value with six digits."""
    if isinstance(value, tuple):
        return f"({', '.join(map(_shown, value))}{',' if len(value) == 1 else ''})"
    return repr(float(f"{value:.6g}")) if isinstance(value, float) else repr(value)


def area_of(layer: Layer, signal: Signal) -> tuple[int, ...]:
    """Channels, height and width of the map that a layer receives; DomainError if it is none."""
    if len(signal.shape) != 3:
        raise DomainError("layers", layer, f"needs a map of shape (channels, height, width), not {signal}")
    return signal.shape


def extent(name: str, value: Any, minimum: int) -> Any:
    """One whole number for rows and columns, or one each if they differ."""
    if not isinstance(value, (tuple, list)):
        return integer(name, value, minimum=minimum)
    if len(value) != 2:
        raise DomainError(name, value, "must be one whole number or two, for rows and columns")
    rows, columns = (integer(name, each, minimum=minimum) for each in value)
    return rows if rows == columns else (rows, columns)


def pair(value: Any) -> tuple[int, int]:
    """The numbers for rows and columns."""
    return value if isinstance(value, tuple) else (value, value)


class Windows(NamedTuple):
    """Windows over a map, with zeros in the padding; (rows, columns) of each extent."""

    size: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)

    @property
    def edges(self) -> list[int]:
        """Zeros to the left, right, top and bottom."""
        return [*[self.padding[1]] * 2, *[self.padding[0]] * 2]

    def sides(self, area: Sequence[int]) -> tuple[int, ...]:
        """Height and width of the map that they make; below 1 if they do not fit."""
        extents = zip(area, *self, strict=True)
        return tuple((side + 2 * pad - gap * (size - 1) - 1) // stride + 1 for side, size, stride, pad, gap in extents)

    def over(self, layer: Layer, area: Sequence[int]) -> tuple[int, ...]:
        """The sides, for a layer; DomainError if its windows do not fit."""
        if min(sides := self.sides(area)) < 1:
            raise DomainError("layers", layer, f"has a window larger than the map it receives, {area[0]} × {area[1]}")
        return sides


def windows_of(weight: Any) -> dict[str, tuple[int, int]]:
    """Rows and columns of the windows of a convolution of one or two dimensions."""
    padding = weight.padding
    if isinstance(padding, str):
        same = [gap * (size - 1) // 2 for gap, size in zip(weight.dilation, weight.kernel_size, strict=True)]
        padding = same if padding == "same" else [0] * len(same)

    def pair(extents: Sequence[int], missing: int) -> tuple[int, int]:
        return (missing, int(extents[0])) if len(extents) == 1 else (int(extents[0]), int(extents[1]))

    kernel, stride = pair(weight.kernel_size, 1), pair(weight.stride, 1)
    return {"kernel": kernel, "stride": stride, "padding": pair(padding, 0), "dilation": pair(weight.dilation, 1)}


def has_own_gain(drive: Inputs | SpikeTrains) -> bool:
    """True if a drive has another input gain than that of unit variance, the default."""
    return abs(drive.input_gain - drive.unit_gain) > 1e-9 * drive.input_gain


def own_gain(layer: Layer, drive: Inputs | SpikeTrains) -> None:
    """Raise if a drive whose numbers this layer receives has an input gain."""
    if has_own_gain(drive):
        raise DomainError("drive", drive, f"cannot have input_gain before {layer!r}, which receives its numbers")


def first_signal(drive: Drive, receiving: Sequence[Layer], width: int | None, steps: int) -> Signal:
    """The signal of the drive to the layers that receive it: its numbers, if they have weights, else currents."""
    if drive.steps not in (None, steps):
        raise DomainError("drive", drive, f"needs a network with steps={drive.steps}, not steps={steps}")
    shape = getattr(drive, "shape", None)
    weights = [layer for layer in receiving if "input" in layer.accepts]
    if isinstance(drive, (Inputs, SpikeTrains)) and weights:
        if others := [layer for layer in receiving if "input" not in layer.accepts]:
            raise DomainError("drive", drive, f"sends numbers to {weights[0]!r}, and currents to {others[0]!r}: choose one")
        own_gain(weights[0], drive)
        return Signal("input", shape or (drive.fan_in,))
    first = drive.width or width
    if first is None:
        raise DomainError("width", width, "must be given: it is the number of neurons that the drive's currents reach")
    return Signal("currents", shape if shape and drive.fan_in is None else (first,))


@dataclass(frozen=True, slots=True, repr=False)
class Source(Layer):
    """The drive of a network as an operation: the first node of its graph."""

    sends: Signal
    accepts: ClassVar[tuple[str, ...]] = ()

    def after(self, *signals: Signal, width: int | None = None) -> Signal:
        return self.sends

    def __repr__(self) -> str:
        return "drive"


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Measured(Layer):
    """Measured numbers in place of a signal that theory cannot predict, behind an unknown operation.

    Parameters
    ----------
    x : array, shape (steps, inputs, neurons) or (steps, inputs, channels, height, width)
        Or (steps, inputs, neurons, rows), of which each goes through the same weights. One step if all are equal.
    kind : str
        ``input``: numbers that weights receive; ``currents``: what neurons receive.

    Raises
    ------
    DomainError
        For numbers of another shape or that are not finite.

    Examples
    --------
    >>> import numpy as np, varflow as vf
    >>> vf.layers.Measured(np.ones((4, 3, 10)))
    Measured(4 × 3 × 10 numbers)
    """

    x: np.ndarray
    kind: str = "input"
    accepts: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        x = real_array("x", self.x)
        if x.ndim not in (3, 4, 5) or 0 in x.shape:
            raise DomainError("x", f"array of shape {x.shape}", "must have shape (steps, inputs, neurons) or that of maps")
        put(self, x=frozen(x), kind=choice("kind", self.kind, ("input", "currents")))

    def after(self, *signals: Signal, width: int | None = None) -> Signal:
        return Signal(self.kind, self.x.shape[2:] if self.x.ndim == 5 else self.x.shape[2:3], weighted=True)

    def __repr__(self) -> str:
        return f"Measured({' × '.join(map(str, self.x.shape))} numbers{'' if self.kind == 'input' else ', currents'})"


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Fallback(Measured):
    """Pass on what is received, currents too, as numbers for weights; where it is not known, numbers that were measured."""

    x: Any = None
    accepts: ClassVar[tuple[str, ...]] = ("input", "currents", "spikes")

    def __post_init__(self) -> None:
        if self.x is not None:
            Measured.__post_init__(self)

    def after(self, *signals: Signal, width: int | None = None) -> Signal:
        return Signal("input", signals[0].shape, weighted=True) if self.x is None else Measured.after(self)

    def __repr__(self) -> str:
        return "Fallback()" if self.x is None else Measured.__repr__(self)


@dataclass(frozen=True, slots=True, repr=False)
class Unknown(Layer):
    """An operation of which theory and simulation know only the output.

    Parameters
    ----------
    words : str
        Why it is unknown.
    sends : Signal, optional
        By default a signal as the first that it receives.
    of : Layer, optional
        The operation that cannot be covered here, by which it is shown.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.layers.Unknown("is a layer of my own")
    Unknown('is a layer of my own')
    """

    words: str
    sends: Any = None
    of: Layer | None = field(default=None, compare=False)
    merges: ClassVar[bool] = True
    independent: ClassVar[bool] = False
    accepts: ClassVar[tuple[str, ...]] = ("input", "currents", "spikes")
    _positional: ClassVar[tuple[str, ...]] = ("words",)

    def __post_init__(self) -> None:
        for name, kind, rule in (
            ("words", str, "must be text that says why"),
            ("sends", Signal | None, "must be a Signal, or None: as the first received"),
            ("of", Layer | None, "must be a layer, or None"),
        ):
            if not isinstance(getattr(self, name), kind):
                raise DomainError(name, getattr(self, name), rule)

    def after(self, *signals: Signal, width: int | None = None) -> Signal:
        return self.sends or signals[0]

    def __repr__(self) -> str:
        return Layer.__repr__(self) if self.of is None else repr(self.of)


def numbers_of(operation: Layer) -> np.ndarray | None:
    """Numbers with which an operation begins, or may begin; None of all others."""
    return operation.x if isinstance(operation, Measured) else None
