"""Standardised random weights on an integer grid, so that sums over spikes are exact.

Floating-point sums depend on their order, hence on how many networks share a matrix product. Integer weights small enough
that no partial sum leaves the mantissa make every sum of 0/1 inputs exact, in any order: the spikes then depend on the
draws alone. The price is a lattice of spacing ``1/std`` (2⁻¹³ standard deviations of a weight at widths up to 1024).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

__all__ = ["WeightGrid", "weight_grid"]

# Mantissa bits, and the finest grid worth having: 13 costs nothing up to fan-in 1024, 40 up to 4096.
_BITS = {torch.float32: 24, torch.float64: 53}
_FINEST = {torch.float32: 13, torch.float64: 40}
_COARSEST = 8


@dataclass(frozen=True, slots=True)
class WeightGrid:
    """Integer weights of a law: ``w = std × (a weight of mean 0 and variance 1)``.

    Attributes
    ----------
    law : str
        ``normal``, ``uniform`` or ``sign``.
    exponent : int
        The normal law is rounded at ``2^exponent`` steps per standard deviation; the uniform one has as many.
    accumulate : torch.dtype
        The type in which sums of them over 0/1 inputs are exact.
    """

    law: str
    exponent: int
    accumulate: torch.dtype

    @property
    def largest(self) -> int:
        """Half-width ``M`` of the uniform grid ``{-M, …, M}``."""
        return math.isqrt(3 * 4**self.exponent)

    @property
    def std(self) -> float:
        """Exact standard deviation of the integers drawn."""
        if self.law == "normal":
            return math.sqrt(4**self.exponent + 1 / 12)  # Sheppard: rounding adds the variance of a unit uniform
        if self.law == "uniform":
            return math.sqrt(self.largest * (self.largest + 1) / 3)
        return 1.0

    def fill(self, weights: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Draw every entry of a contiguous tensor afresh."""
        if self.law == "normal":
            return weights.normal_(0, 2**self.exponent, generator=generator).round_()
        if self.law == "uniform":
            return weights.random_(-self.largest, self.largest + 1, generator=generator)
        return _signs(weights, generator)


def weight_grid(law: str, fan_in: int, dtype: torch.dtype) -> WeightGrid:
    """The finest grid on which sums of ``fan_in`` weights of a law are exact in ``dtype`` (or, where coarse, in float64)."""
    exponent = _exponent(fan_in, dtype)
    if exponent >= _COARSEST:
        return WeightGrid(law, exponent, dtype)
    return WeightGrid(law, min(_FINEST[dtype], _exponent(fan_in, torch.float64)), torch.float64)


def _exponent(fan_in: int, dtype: torch.dtype) -> int:
    """Largest ``s`` with ``2 · fan_in · 2^s ≤ 2^bits``, capped.

    A partial sum is at most ``Σ|w|``, about ``0.8 fan_in 2^s`` for normal weights and at most ``1.74 fan_in 2^s`` for
    uniform ones. Torch's normals end at 5.8 (float32) and 8.6 (float64) standard deviations, so with the caps the bound
    holds for certain up to fan-in 350 and 950; beyond, ``P(Σ|z| > 2n) ≤ (2 e⁻² Φ(2))ⁿ = 0.265ⁿ < 10⁻²⁰⁰``.
    """
    return min(_FINEST[dtype], _BITS[dtype] - 1 - (fan_in - 1).bit_length())


def _signs(weights: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """±1, eight from each random word: the lowest bit of every byte."""
    words = torch.empty(-(-weights.numel() // 8), dtype=torch.int64, device=weights.device).random_(generator=generator)
    bits = words.view(torch.int8)[: weights.numel()].bitwise_and_(1)
    return weights.copy_(bits.view(weights.shape)).mul_(2).sub_(1)
