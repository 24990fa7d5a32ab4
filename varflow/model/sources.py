"""Beginnings of signals in a graph: the drive, measured numbers, operations of which nothing is known."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from varflow._checks import DomainError, choice, frozen, put, real_array
from varflow.model.signals import Layer, Signal


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
    """Numbers in place of a signal, as they were measured where something unknown lies before.

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
    """An operation of which theory and simulation know nothing but what it sends.

    Parameters
    ----------
    words : str
        Why it is unknown.
    sends : Signal, optional
        By default a signal as the first that it receives.
    of : Layer, optional
        The operation that cannot be covered here, by which it is shown.
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
