"""Signals between layers, and which layer can follow which."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from varflow._checks import DomainError
from varflow.model.drive_kinds import Drive, Inputs, Spikes

__all__ = [
    "Layer",
    "Signal",
    "all_layers",
    "area_of",
    "first_signal",
    "has_own_gain",
    "own_gain",
    "signal_after",
    "sites",
    "spiking_shapes",
    "windows",
]


@dataclass(frozen=True, slots=True)
class Signal:
    """What flows between two layers.

    Attributes
    ----------
    kind : str
        ``input`` (the numbers of a drive), ``currents`` or ``spikes``.
    shape : tuple of int
        ``(neurons,)``, or ``(channels, height, width)`` of a map.
    weighted : bool
        Whether a layer with weights lies before.
    """

    kind: str
    shape: tuple[int, ...]
    weighted: bool = False

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    def inner_width(self, width: int | None) -> int | None:
        """Neurons of a Linear in a branch without its own width: as many as it receives, or on maps those of the network."""
        return self.shape[0] if len(self.shape) == 1 else width

    def __str__(self) -> str:
        return f"{self.kind} of shape {self.shape}"


class Layer:
    """A layer, and what it says of itself.

    Attributes
    ----------
    accepts : tuple of str
        Kinds of signal that it can receive.
    merges : bool
        True if it can receive several signals.
    spikes : bool
        True for a layer of neurons.
    normalises : bool
        True if what it sends does not depend on the scale of what it receives.
    free : str
        The field that sets the scale of what it sends, ``gain`` or ``gamma``, if there is one.
    """

    __slots__ = ()
    accepts: ClassVar[tuple[str, ...]] = ("currents", "spikes")
    merges: ClassVar[bool] = False
    spikes: ClassVar[bool] = False
    normalises: ClassVar[bool] = False
    free: ClassVar[str] = ""
    branch: tuple[Layer, ...] = ()

    @property
    def over_batch(self) -> bool:
        """Whether it normalises over a batch of inputs."""
        return False

    def after(self, *signals: Any, **width: Any) -> Signal:
        """The signal that it sends; DomainError if it cannot. ``width``: neurons of a Linear without its own."""
        raise NotImplementedError

    def __repr__(self) -> str:
        """Only what differs from the defaults."""
        parts = [repr(getattr(self, f.name)) for f in fields(self) if f.name in self._positional]  # pyright: ignore[reportArgumentType]
        named = (f for f in fields(self) if f.name not in self._positional)  # pyright: ignore[reportArgumentType]
        parts += [f"{f.name}={value!r}" for f in named if (value := getattr(self, f.name)) != f.default]
        return f"{type(self).__name__}({', '.join(part for part in parts if part != 'None')})"

    _positional: ClassVar[tuple[str, ...]] = ()


def area_of(layer: Layer, signal: Signal) -> tuple[int, ...]:
    """Channels, height and width of the map that a layer receives; DomainError if it is none."""
    if len(signal.shape) != 3:
        raise DomainError("layers", layer, f"needs a map of shape (channels, height, width), not {signal}")
    return signal.shape


def windows(layer: Layer, area: Sequence[int], size: int, stride: int, padding: int) -> tuple[int, ...]:
    """Height and width of the map that the windows make."""
    if size > min(area) + 2 * padding:
        raise DomainError("layers", layer, f"has a window larger than the map it receives, {area[0]} × {area[1]}")
    return tuple((side + 2 * padding - size) // stride + 1 for side in area)


def signal_after(layers: Sequence[Layer], signal: Signal, width: int | None) -> Signal:
    """The signal after these layers; DomainError names the two that do not fit."""
    previous = None
    for layer in layers:
        if signal.kind not in layer.accepts:
            follows = "the drive" if previous is None else repr(previous)
            raise DomainError(
                "layers", layer, f"cannot follow {follows}, which sends {signal.kind}: needs {' or '.join(layer.accepts)}"
            )
        signal, previous = layer.after(signal, width=width), layer
    return signal


def all_layers(layers: Iterable[Layer]) -> list[Layer]:
    """Layers in order of execution, those of branches before the layer that has them."""
    return [inner for layer in layers for inner in (*all_layers(layer.branch), layer)]


def sites(
    layers: Iterable[Layer], signal: Signal, width: int | None, nested: int = 0
) -> Iterator[tuple[Layer, Signal, Signal, int]]:
    """Every layer in order of execution, the signals before and after it, and the number of shortcuts around it."""
    for layer in layers:
        yield from sites(layer.branch, signal, signal.inner_width(width), nested + 1)
        before, signal = signal, layer.after(signal, width=width)
        yield layer, before, signal, nested


def spiking_shapes(layers: Sequence[Layer], signal: Signal, width: int | None) -> list[tuple[int, ...]]:
    """Shape of every Spike in order of execution, branches included; DomainError if layers do not fit each other."""
    signal_after(layers, signal, width)
    return [after.shape for layer, _, after, _ in sites(layers, signal, width) if layer.spikes]


def has_own_gain(drive: Inputs | Spikes) -> bool:
    """True if a drive has another input gain than that of unit variance, the default."""
    return abs(drive.input_gain - drive.unit_gain) > 1e-9 * drive.input_gain


def own_gain(layer: Layer, drive: Inputs | Spikes) -> None:
    """Raise if a drive whose numbers this layer receives has an input gain."""
    if has_own_gain(drive):
        raise DomainError("drive", drive, f"cannot have input_gain before {layer!r}, which receives its numbers")


def first_signal(drive: Drive, layers: Sequence[Layer], width: int | None, steps: int) -> Signal:
    """What the drive sends to the first layer: its numbers, if that layer has weights, else currents."""
    if drive.steps not in (None, steps):
        raise DomainError("drive", drive, f"needs a network with steps={drive.steps}, not steps={steps}")
    shape = getattr(drive, "shape", None)
    if isinstance(drive, (Inputs, Spikes)) and "input" in layers[0].accepts:
        own_gain(layers[0], drive)
        return Signal("input", shape or (drive.fan_in,))
    first = drive.width or width
    if first is None:
        raise DomainError("width", width, "must be given: it is the number of neurons that the drive's currents reach")
    return Signal("currents", shape if shape and drive.fan_in is None else (first,))
