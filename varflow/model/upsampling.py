"""Maps of more positions: entries repeated, or zeros between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from varflow._checks import DomainError, flag, integer, put
from varflow.model.signals import Layer, Signal, area_of, extent, pair


@dataclass(frozen=True, slots=True, repr=False)
class Upsample(Layer):
    """A map of ``factor`` times the height and width: every entry repeated (nearest neighbour), or followed by zeros.

    A transposed convolution of stride ``s``, kernel ``k`` and padding ``p`` is ``Upsample(s, zeros=True)`` followed by a
    :class:`Conv` of stride 1 and padding ``k - 1 - p``. Behind the last entry there are only ``extra`` zeros.

    Parameters
    ----------
    factor : int or (int, int)
        Of rows and columns.
    zeros : bool
        Zeros in place of copies.
    extra : int or (int, int)
        Rows and columns of zeros at the end, fewer than ``factor``; the ``output_padding`` of torch.

    Raises
    ------
    DomainError
        For a value outside its domain, and (when a network is made) for a signal that is no map.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.layers.Upsample(2)
    Upsample(2)
    """

    factor: int | tuple[int, int]
    zeros: bool = False
    extra: int | tuple[int, int] = 0
    accepts: ClassVar[tuple[str, ...]] = ("input", "currents", "spikes")
    _positional: ClassVar[tuple[str, ...]] = ("factor",)

    def __post_init__(self) -> None:
        put(self, factor=extent("factor", self.factor, 1), extra=extent("extra", self.extra, 0))
        most = pair(self.factor) if flag("zeros", self.zeros) else (1, 1)
        if any(more >= size for more, size in zip(pair(self.extra), most, strict=True)):
            raise DomainError("extra", self.extra, "must be smaller than factor, and 0 without zeros=True")

    def with_zeros(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the map with zeros between the entries of a map of this height and width."""
        height, width = integer("height", height, minimum=1), integer("width", width, minimum=1)
        (down, along), (below, right) = pair(self.factor), pair(self.extra)
        return (height - 1) * down + 1 + below, (width - 1) * along + 1 + right

    def after(self, signal: Signal, width: int | None = None) -> Signal:
        channels, height, wide = area_of(self, signal)
        down, along = pair(self.factor)
        area = self.with_zeros(height, wide) if self.zeros else (height * down, wide * along)
        return Signal(signal.kind, (channels, *area), signal.weighted)
