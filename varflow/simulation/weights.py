"""Random weights on an integer grid, so that sums over spikes are exact.

Floating-point sums depend on their order, hence on how many networks share a matrix product. Integer weights small enough
that no partial sum leaves the mantissa make every sum of 0/1 inputs exact, in any order: the spikes then depend on the
draws alone. The price is a lattice of spacing ``1/std`` (2⁻¹³ standard deviations of a weight at widths up to 1024, 2⁻²⁰ for
laws with long tails, which are drawn and summed in double precision). Laws that live on a lattice are drawn on it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from varflow.model.weights import WeightLaw, weight_law

__all__ = ["WeightGrid", "weight_grid"]

# Mantissa bits, and the finest grid worth having: 13 costs nothing up to fan-in 1024, 40 up to 4096.
_BITS = {torch.float32: 24, torch.float64: 53}
_FINEST = {torch.float32: 13, torch.float64: 40}
_COARSEST = 8
_LONG_TAILS = 20  # of laws that may reach 2³³/fan-in standard deviations


@dataclass(frozen=True, slots=True)
class WeightGrid:
    """Integers of a law: the core of a weight is ``unit`` times one of them.

    Attributes
    ----------
    law : str or WeightLaw
    exponent : int
        Continuous laws are rounded at ``2^exponent`` steps per standard deviation; the uniform one has as many.
    accumulate : torch.dtype
        The type in which sums of them over 0/1 inputs are exact.
    """

    law: str | WeightLaw
    exponent: int
    accumulate: torch.dtype

    @property
    def described(self) -> WeightLaw:
        return weight_law(self.law)

    @property
    def largest(self) -> int:
        """Half-width ``M`` of the uniform grid ``{-M, …, M}``."""
        return math.isqrt(3 * 4**self.exponent)

    @property
    def std(self) -> float:
        """Exact standard deviation of the integers drawn (of laws with long tails up to 2⁻⁴⁰)."""
        law = self.described
        if law.kind == "uniform":
            return math.sqrt(self.largest * (self.largest + 1) / 3)
        if law.kind == "lattice":
            return law.std
        return math.sqrt(4**self.exponent + 1 / 12)  # Sheppard: rounding adds the variance of a unit uniform

    @property
    def unit(self) -> float:
        """Core value of the integer 1."""
        return 1.0 if self.described.kind == "lattice" else self.described.std / self.std

    def draw_dtype(self, dtype: torch.dtype) -> torch.dtype:
        """In what the integers are drawn: laws with long tails always in double precision."""
        return dtype if self.described.kind in ("normal", "uniform", "lattice") else torch.float64

    def fill(self, weights: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Draw every entry of a contiguous tensor afresh, as if all connections were present."""
        law = self.described
        if law.kind == "normal":
            return weights.normal_(0, 2**self.exponent, generator=generator).round_()
        if law.kind == "uniform":
            return weights.random_(-self.largest, self.largest + 1, generator=generator)
        if law.kind == "lattice":
            return (
                _signs(weights, generator)
                if law.parameters[0] == (-1, 1) and law.mean == 0
                else _atoms(law, weights, generator)
            )
        return weights.copy_(_core(law, weights, generator)).mul_(2**self.exponent / law.std).round_()

    def present(self, shape: torch.Size, generator: torch.Generator) -> torch.Tensor | None:
        """Which connections there are, shape (…, neurons, fan_in); None if all."""
        law = self.described
        if law.always_present:
            return None
        chance = torch.empty(shape, dtype=torch.float64, device=generator.device).uniform_(generator=generator)
        if law.in_degree is None:
            return chance < law.density
        return chance <= chance.kthvalue(law.in_degree, dim=-1, keepdim=True).values


def weight_grid(law: str | WeightLaw, fan_in: int, dtype: torch.dtype) -> WeightGrid:
    """The finest grid on which sums of ``fan_in`` weights of a law are exact in ``dtype`` (or, where coarse, in float64)."""
    described = weight_law(law)
    if described.kind == "lattice":
        size = max(map(abs, described.parameters[0]))
        return WeightGrid(law, 0, dtype if fan_in * size <= 2 ** _BITS[dtype] else torch.float64)
    if described.kind not in ("normal", "uniform"):
        return WeightGrid(law, _LONG_TAILS, torch.float64)
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


def _atoms(law: WeightLaw, weights: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Integers of a lattice law by inversion of its distribution function."""
    levels = torch.tensor(law.parameters[0], dtype=weights.dtype, device=weights.device)
    ends = torch.tensor(np.cumsum(law.parameters[1])[:-1], dtype=torch.float64, device=weights.device)
    chance = torch.empty(weights.shape, dtype=torch.float64, device=weights.device).uniform_(generator=generator)
    return weights.copy_(levels[torch.bucketize(chance, ends, right=True)])


def _core(law: WeightLaw, weights: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Cores of a law with long tails, in double precision."""
    fresh = torch.empty(weights.shape, dtype=torch.float64, device=weights.device)
    if law.kind == "lognormal":
        return fresh.normal_(generator=generator).mul_(law.parameters[0]).exp_()
    if law.kind == "gamma":
        if law.parameters[0] == 1:
            return fresh.exponential_(generator=generator)
        return torch._standard_gamma(fresh.fill_(law.parameters[0]), generator)  # pyright: ignore[reportPrivateImportUsage]
    obj, _, mean, std = law.source
    inverse = obj.ppf if hasattr(obj, "ppf") else obj.icdf
    chance = fresh.uniform_(generator=generator).add_(2.0**-54).clamp_(max=1 - 2.0**-53).cpu().numpy()
    return torch.from_numpy((np.asarray(inverse(chance)) - mean) / std).to(weights.device)
