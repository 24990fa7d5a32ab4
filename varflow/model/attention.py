r"""Attention of spikes without a softmax: sums of their products over tokens, the positions of a map; and parts of a signal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from varflow._checks import DomainError, choice, integer, positive_number, put
from varflow.model.signals import Layer, Signal, area_of

KINDS = ("dot", "token", "channel")


@dataclass(frozen=True, slots=True, repr=False)
class Attention(Layer):
    r"""Currents that queries, keys and values, which are spikes, send to neurons of attention, token by token in each head.

    Tokens ``i, j`` are the positions of a map, ``a, c`` channels of one head.

    =========  ======================================================  ======================================================
    kind       currents                                                receives
    =========  ======================================================  ======================================================
    dot        ``s Σ_j Σ_a q_a(i) k_a(j) v_c(j)``                      ``q``, ``k`` and ``v``
    token      ``s Σ_a q_a(i)``, one for each head                     ``q``; behind the neurons, ``Product`` masks ``k``
    channel    ``s Σ_j q_c(j)``, one for each channel                  ``q``, or the ``Product`` of ``k`` and ``v``; likewise
    =========  ======================================================  ======================================================

    The orders ``s (Q Kᵀ) V`` and ``s Q (Kᵀ V)`` are one number. A ``Spike`` follows.

    Parameters
    ----------
    heads : int
        Groups of channels.
    scale : float
        ``s``.
    kind : str
        ``dot`` of Spikformer, ``token`` of QKFormer, ``channel`` of QKFormer and of the Spike-driven Transformer.

    Raises
    ------
    DomainError
        For values outside their domain, and (when a network is made) signals that differ in shape, are no maps, or whose
        channels do not make so many heads.

    Notes
    -----
    With ``L`` tokens that are independent, ``d`` channels of a head and rates ``p`` the mean current is ``s L d p_q p_k p_v``.
    Tokens are not: channels that fire for one fire for others too. **Source**: ``zhou2023``, ``zhou2024``, ``yao2023``.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.layers.Attention(heads=8, scale=0.125)
    Attention(heads=8, scale=0.125)
    """

    heads: int = 1
    scale: float = 1.0
    kind: str = "dot"
    merges: ClassVar[bool] = True
    accepts: ClassVar[tuple[str, ...]] = ("spikes",)

    def __post_init__(self) -> None:
        put(self, heads=integer("heads", self.heads, minimum=1), scale=positive_number("scale", self.scale))
        put(self, kind=choice("kind", self.kind, KINDS))

    def after(self, *signals: Any, width: int | None = None) -> Signal:
        if len(signals) != (3 if self.kind == "dot" else 1):
            raise DomainError("layers", self, f"receives q, k and v, or what is summed, not {len(signals)} signals")
        channels, *tokens = area_of(self, signals[0])
        if any(signal.shape != signals[0].shape for signal in signals):
            raise DomainError("layers", self, f"cannot join {', '.join(map(str, signals))}")
        if channels % self.heads:
            raise DomainError("layers", self, f"cannot make {self.heads} heads of {channels} channels")
        shape = {"dot": (channels, *tokens), "token": (self.heads, *tokens), "channel": (channels, 1, 1)}[self.kind]
        return Signal("products", shape, weighted=True)


@dataclass(frozen=True, slots=True, repr=False)
class Chunk(Layer):
    """One of several equal parts of the neurons, or channels, of a layer of spikes: ``torch.chunk``.

    Parts are independent of each other, as their weights are.

    Parameters
    ----------
    number : int
        Of the part, from 0.
    chunks : int
        Number of parts.

    Raises
    ------
    DomainError
        For a number that is none of a part, and (when a network is made) for neurons that do not divide.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.layers.Chunk(0, 3)
    Chunk(0, 3)
    """

    number: int
    chunks: int
    accepts: ClassVar[tuple[str, ...]] = ("spikes",)
    _positional: ClassVar[tuple[str, ...]] = ("number", "chunks")

    def __post_init__(self) -> None:
        put(self, number=integer("number", self.number, minimum=0), chunks=integer("chunks", self.chunks, minimum=1))
        if self.number >= self.chunks:
            raise DomainError("number", self.number, f"must be below chunks={self.chunks}")

    def after(self, signal: Signal, width: int | None = None) -> Signal:
        channels, *rest = signal.shape
        if channels % self.chunks:
            raise DomainError("layers", self, f"cannot divide {signal}")
        return Signal(signal.kind, (channels // self.chunks, *rest), signal.weighted)
