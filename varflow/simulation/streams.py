"""Random streams: the numbers that belong to a seed, independent of batching, threads and other networks; and sums of spikes.

A *chunk* is a fixed number of networks, determined by the widths. It has one stream for weights and biases, drawn layer by
layer in fixed shapes, one for the drive of layer 1, one for input spike trains, one for neurons that differ and one for layers
of a user's own. Network ``r`` is therefore the same in a long or short run, alone or in a sweep, shallow or deep. Sums of
spikes, with weights on an integer grid, are exact, hence independent of order and batching.

Random weights lie on an integer grid, so that sums over spikes are exact. Floating-point sums depend on their order, hence on
how many networks share a matrix product. With integer weights whose partial sums all fit into the mantissa, every sum over 0/1
inputs is exact in any order, and spikes depend only on the random numbers. The price is a grid of spacing 2⁻¹³ standard
deviations at widths up to 1024, and 2⁻²⁰ for long tails, which are drawn and summed in double precision. Distributions on a
lattice use their own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from threading import Event

import numpy as np
import torch

from varflow._checks import choice
from varflow.campaign import Cancelled
from varflow.model.weights import WeightLaw, weight_law

# Weights drawn at once: on a CPU few enough to stay in cache until multiplied, on a GPU enough to keep it busy.
BLOCK = {"cpu": 2**18, "cuda": 2**24}
# Networks drawn together; fewer if their potentials exceed 2^19, about the cache, more below 2^14, where Python's overhead
# dominates.
_TOGETHER, _MOST, _FEWEST = 32, 2**19, 2**14
# First number and step of each purpose's counter of chunks, which has at least 2^29 of them before it meets another.
_COUNTERS = {"weights": (0, 2), "drive": (1, 2), "trains": (-1, -1), "neurons": (2**31, 1), "own": (3 * 2**30, 1)}


def once(widths: tuple[int, ...]) -> tuple[int, ...]:
    """Widths, equal ones once, so that a shallow network is the beginning of a deep one."""
    return widths if len(set(widths)) > 1 else widths[:1]


def drawn_together(potentials: int, at_most: int = _MOST) -> int:
    """Number of networks of so many potentials each that are drawn from one generator, a power of 2."""
    networks = max(1, min(max(_TOGETHER, _FEWEST // potentials), _MOST // potentials, at_most))
    return 2 ** (networks.bit_length() - 1)


@dataclass(frozen=True, slots=True)
class Streams:
    """All random streams of one experiment: a seed, a weight distribution and a sequence of widths.

    Attributes
    ----------
    repeats : int
        Networks in a chunk.
    block : int
        Weights in a block.
    root : int
        64 bits from the seed, the weight distribution and the widths.
    device : torch.device
    """

    repeats: int
    block: int
    root: int
    device: torch.device

    @classmethod
    def of(cls, repeats: int, block: int, device: torch.device, seed: int, *experiment: int) -> Streams:
        """Random numbers of a seed and of the numbers of an experiment."""
        root = np.random.SeedSequence([seed, *experiment]).generate_state(1, np.uint64)[0]
        return cls(repeats, block, int(root), device)

    def seed(self, chunk: int, purpose: str) -> int:
        """The seed of torch's generator for one chunk.

        torch's CPU generator only reads the lower 32 bits. They are a bijection of a counter, so all streams of an experiment
        differ.
        """
        choice("purpose", purpose, tuple(_COUNTERS))
        first, step = _COUNTERS[purpose]
        return (self.root >> 32 << 32) | _mixed((self.root + first + step * chunk) % 2**32)

    def generator(self, chunk: int, purpose: str) -> torch.Generator:
        """One random stream, at its beginning."""
        return torch.Generator(self.device).manual_seed(self.seed(chunk, purpose))

    def chunks(self, repeats: int) -> list[tuple[int, int]]:
        """``(chunk, networks wanted from it)`` for ``repeats`` networks."""
        return [(start // self.repeats, min(self.repeats, repeats - start)) for start in range(0, repeats, self.repeats)]

    def draws(self, chunk: int, purpose: str, *, dtype: torch.dtype, stop: Event) -> Draws:
        return Draws(self.generator(chunk, purpose), self.repeats, self.block, dtype, stop)


class Draws:
    """One random stream, read from its beginning."""

    def __init__(self, generator: torch.Generator, repeats: int, block: int, dtype: torch.dtype, stop: Event):
        self._generator, self._repeats, self._block, self._stop = generator, repeats, block, stop
        self.dtype, self.device, self._buffers = dtype, generator.device, dict[torch.dtype, torch.Tensor]()

    def copy(self) -> Draws:
        """A stream of the numbers that this one gives next."""
        generator = torch.Generator(self.device)
        generator.set_state(self._generator.get_state())
        return Draws(generator, self._repeats, self._block, self.dtype, self._stop)

    def normals(self, *shape: int) -> torch.Tensor:
        """Standard normal numbers for every network of the chunk, shape (repeats, *shape)."""
        shape = (self._repeats, *shape)
        return torch.empty(shape, dtype=self.dtype, device=self.device).normal_(generator=self._generator)

    def fractions(self, neurons: int) -> torch.Tensor:
        """Uniform numbers strictly between 0 and 1, two for each neuron of every network: shape (2, repeats, neurons)."""
        numbers = torch.empty((2, self._repeats, neurons), dtype=torch.float64, device=self.device)
        return numbers.uniform_(generator=self._generator).mul_(1 - 2.0**-52).add_(2.0**-53)

    def gammas(self, shapes: torch.Tensor) -> torch.Tensor:
        """Gamma variables of these shapes; 0 for shape 0."""
        drawn = torch._standard_gamma(shapes.clamp(min=0.5), self._generator)  # pyright: ignore[reportPrivateImportUsage]
        return torch.where(shapes > 0, drawn, 0.0)

    def trains(self, rates: torch.Tensor, kind: str) -> torch.Tensor:
        """Spikes of one step for every network of the chunk, ``bernoulli`` or ``poisson``; rates of shape (repeats, n_in)."""
        if kind == "poisson":
            return torch.poisson(rates, generator=self._generator)
        return (torch.empty_like(rates).uniform_(generator=self._generator) < rates).double()

    def weights(
        self, grid: WeightGrid, width: int, fan_in: int, copies: int = 1
    ) -> Iterator[tuple[slice, slice, torch.Tensor, torch.Tensor | None]]:
        """The matrices of one layer, block by block; ``copies`` of them for every network.

        Yields slices of networks (times copies) and neurons, their weights of shape (networks, neurons, fan_in) with 0 for
        absent connections, and which connections are present (None: all). The next block overwrites the weights.
        """
        for networks, neurons in _blocks(self._repeats * copies, width, fan_in, self._block):
            if self._stop.is_set():
                raise Cancelled
            shape = (networks.stop - networks.start, neurons.stop - neurons.start, fan_in)
            weights = grid.fill(self._scratch(shape, grid.draw_dtype(self.dtype)), self._generator)
            present = grid.present(weights.shape, self._generator)
            yield networks, neurons, weights if present is None else weights.mul_(present), present

    def _scratch(self, shape: tuple[int, int, int], dtype: torch.dtype) -> torch.Tensor:
        size, buffer = math.prod(shape), self._buffers.get(dtype)
        if buffer is None or len(buffer) < size:
            buffer = self._buffers[dtype] = torch.empty(size, dtype=dtype, device=self.device)
        return buffer[:size].view(shape)


def _blocks(repeats: int, width: int, fan_in: int, block: int) -> Iterator[tuple[slice, slice]]:
    """Several small networks at once, or a large one in equal parts."""
    networks = max(1, block // (width * fan_in))
    largest = max(1, block // fan_in)
    rows = -(-width // -(-width // largest))
    for start in range(0, repeats, networks):
        for row in range(0, width, rows):
            yield slice(start, min(start + networks, repeats)), slice(row, min(row + rows, width))


def _mixed(number: int) -> int:
    """A bijection of 32-bit numbers that scatters neighbours: xor-shifts and odd multipliers, as in hash functions."""
    number = ((number ^ number >> 16) * 0x7FEB352D) % 2**32
    number = ((number ^ number >> 15) * 0x846CA68B) % 2**32
    return number ^ number >> 16


def weighted_sums(
    draws: Draws, grid: WeightGrid, spikes: torch.Tensor, width: int, scale: torch.Tensor | float, shift: torch.Tensor | float
) -> torch.Tensor:
    """``Σ_j w_ij S_j`` with ``w = scale · core + shift`` for present connections, from exact sums in grid units."""
    digits, base = digits_of(spikes, grid)
    rows = digits.flatten(1, -2)
    sums = rows.new_empty((*rows.shape[:2], width))
    shifted = torch.as_tensor(shift).any()
    numbers = torch.empty_like(sums) if shifted and not grid.described.always_present else None
    for networks, neurons, weights, present in draws.weights(grid, width, spikes.shape[-1]):
        inputs = rows[networks]
        sums[networks, :, neurons] = inputs @ weights[: len(inputs)].to(rows.dtype).mT
        if numbers is not None and present is not None:
            numbers[networks, :, neurons] = inputs @ present[: len(inputs)].to(rows.dtype).mT

    places = base ** torch.arange(digits.shape[1], dtype=torch.float64, device=spikes.device)

    def added(products: torch.Tensor) -> torch.Tensor:
        parts = products.view(*digits.shape[:-1], width)
        return parts[:, 0] if len(places) == 1 else (places[:, None, None, None] * parts).sum(1)

    currents = added(sums).double().mul_(scale * grid.unit)
    if shifted:
        arrived = spikes.sum(-1, keepdim=True, dtype=torch.float64) if numbers is None else added(numbers).double()
        currents += shift * arrived
    return currents


def digits_of(spikes: torch.Tensor, grid: WeightGrid) -> tuple[torch.Tensor, float]:
    """Whole numbers as digits along a new axis 1, lowest first, in a base for which sums are exact; 0/1 spikes as they are."""
    if spikes.dtype != torch.float64 or spikes.abs().max() <= 1:
        return spikes.to(grid.accumulate)[:, None], 1.0
    # A grid for sums in float32 needs 24 of the 53 bits of a double and leaves 29 to the counts; one for float64 leaves none.
    base = 2.0**29 if grid.accumulate == torch.float32 else 2.0
    digits = []
    while spikes.any():
        higher = (spikes / base).trunc_()
        digits.append(spikes - base * higher)
        spikes = higher
    return torch.stack(digits, 1), base


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
