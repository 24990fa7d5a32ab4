"""Random weights on an integer grid, so that sums over spikes are exact.

Floating-point sums depend on their order, hence on how many networks share a matrix product. With integer weights whose
partial sums all fit into the mantissa, every sum over 0/1 inputs is exact in any order, and spikes depend only on the random
numbers. The price is a grid of spacing 2⁻¹³ standard deviations at widths up to 1024, and 2⁻²⁰ for long tails, which are drawn
and summed in double precision. Distributions on a lattice use their own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from varflow.model.weights import WeightLaw, weight_law

# Mantissa bits, and the finest grid used: 2⁻¹³ fits into float32 up to fan-in 1024, 2⁻⁴⁰ into float64 up to 4096.
_BITS = {torch.float32: 24, torch.float64: 53}
_FINEST = {torch.float32: 13, torch.float64: 40}
_COARSEST = 8  # bits; a coarser grid is replaced by a finer one summed in float64
_LONG_TAILS = 20  # bits of the grid of long tails: sums stay exact for weights up to 2³³/fan-in standard deviations


@dataclass(frozen=True, slots=True)
class WeightGrid:
    """Integers that stand for weights: the core of a weight is ``unit`` times an integer.

    Attributes
    ----------
    law : str or WeightLaw
    exponent : int
        A standard deviation is about ``2^exponent`` grid steps, unless the core has its own lattice.
    accumulate : torch.dtype
        The type in which sums over 0/1 inputs are exact.
    """

    law: str | WeightLaw
    exponent: int
    accumulate: torch.dtype

    @property
    def described(self) -> WeightLaw:
        return weight_law(self.law)

    @property
    def std(self) -> float:
        """Standard deviation of the integers: exact, or for long tails to within 2⁻⁴⁰."""
        return self.described.core.steps_std(2**self.exponent)

    @property
    def unit(self) -> float:
        """The core value of the integer 1."""
        return self.described.std / self.std

    def draw_dtype(self, dtype: torch.dtype) -> torch.dtype:
        """The type in which integers are drawn: float64 for long tails."""
        core = self.described.core
        return dtype if core.short_tails or core.lattice is not None else torch.float64

    def fill(self, weights: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Draw every entry of a contiguous tensor, as if all connections were present."""
        return weights.copy_(self.described.core.draw_steps(Variates(weights, generator), 2**self.exponent))

    def present(self, shape: torch.Size, generator: torch.Generator) -> torch.Tensor | None:
        """True for connections that are present, shape (…, neurons, fan_in); None if all are."""
        law = self.described
        if law.always_present:
            return None
        chance = torch.empty(shape, dtype=torch.float64, device=generator.device).uniform_(generator=generator)
        if law.in_degree is None:
            return chance < law.density
        return chance <= chance.kthvalue(law.in_degree, dim=-1, keepdim=True).values


def weight_grid(law: str | WeightLaw, fan_in: int, dtype: torch.dtype) -> WeightGrid:
    """The finest grid on which sums of ``fan_in`` weights are exact in ``dtype``, or in float64 where that is too coarse."""
    core = weight_law(law).core
    if core.lattice is not None:
        size = max(map(abs, core.lattice[0]))
        return WeightGrid(law, 0, dtype if fan_in * size <= 2 ** _BITS[dtype] else torch.float64)
    if not core.short_tails:
        return WeightGrid(law, _LONG_TAILS, torch.float64)
    exponent = _exponent(fan_in, dtype)
    if exponent >= _COARSEST:
        return WeightGrid(law, exponent, dtype)
    return WeightGrid(law, min(_FINEST[dtype], _exponent(fan_in, torch.float64)), torch.float64)


def _exponent(fan_in: int, dtype: torch.dtype) -> int:
    """The largest ``s`` with ``2 · fan_in · 2^s ≤ 2^bits``, at most ``_FINEST``.

    A partial sum is at most ``Σ|w|``, about ``0.8 fan_in 2^s`` for normal weights and at most ``1.74 fan_in 2^s`` for
    uniform ones. Torch's normal numbers end at 5.8 (float32) and 8.6 (float64) standard deviations, so with the caps the
    bound holds with certainty up to fan-in 350 and 950; beyond, ``P(Σ|z| > 2n) ≤ (2 e⁻² Φ(2))ⁿ = 0.265ⁿ < 10⁻²⁰⁰``.
    """
    return min(_FINEST[dtype], _BITS[dtype] - 1 - (fan_in - 1).bit_length())


class Variates:
    """Random numbers from which a weight distribution is drawn: tensors like ``block``, the first of them ``block`` itself."""

    def __init__(self, block: torch.Tensor, generator: torch.Generator):
        self._like, self._blank, self._generator = block, block, generator

    def _fresh(self) -> torch.Tensor:
        blank, self._blank = self._blank, None
        return torch.empty_like(self._like) if blank is None else blank

    def normal(self) -> torch.Tensor:
        return self._fresh().normal_(generator=self._generator)

    def uniform(self) -> torch.Tensor:
        return self._fresh().uniform_(generator=self._generator)

    def exponential(self) -> torch.Tensor:
        return self._fresh().exponential_(generator=self._generator)

    def gamma(self, shape: float) -> torch.Tensor:
        return torch._standard_gamma(self._fresh().fill_(shape), self._generator)  # pyright: ignore[reportPrivateImportUsage]

    def integers(self, largest: int) -> torch.Tensor:
        return self._fresh().random_(-largest, largest + 1, generator=self._generator)

    def choice(self, levels: tuple[int, ...], probabilities: tuple[float, ...]) -> torch.Tensor:
        """Random levels, by inversion of the distribution function; fair signs from random bits."""
        fresh = self._fresh()
        if levels == (-1, 1) and probabilities == (0.5, 0.5):
            return _signs(fresh, self._generator)
        ends = torch.tensor(np.cumsum(probabilities)[:-1], dtype=torch.float64, device=fresh.device)
        places = torch.bucketize(self._chance(), ends, right=True)
        return fresh.copy_(torch.tensor(levels, dtype=fresh.dtype, device=fresh.device)[places])

    def quantile(self, function: Callable[[np.ndarray], np.ndarray]) -> torch.Tensor:
        chance = self._chance().add_(2.0**-54).clamp_(max=1 - 2.0**-53)
        return self._fresh().copy_(torch.from_numpy(np.asarray(function(chance.cpu().numpy()))))

    def _chance(self) -> torch.Tensor:
        shape, device = self._like.shape, self._like.device
        return torch.empty(shape, dtype=torch.float64, device=device).uniform_(generator=self._generator)


def _signs(weights: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """±1 from the lowest bit of every random byte."""
    words = torch.empty(-(-weights.numel() // 8), dtype=torch.int64, device=weights.device).random_(generator=generator)
    bits = words.view(torch.int8)[: weights.numel()].bitwise_and_(1)
    return weights.copy_(bits.view(weights.shape)).mul_(2).sub_(1)
