"""``simulate``: checks the arguments, distributes the work over threads and assembles the results.

A simulation is cut into blocks: chunks of networks, as ``streams`` defines them, that can be simulated anywhere and in any
order. The layers are simulated by an engine (``dense`` or ``conditional``), which imports torch and is loaded on first use.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from threading import Event, Lock
from typing import TYPE_CHECKING, Any, TypedDict, Unpack, overload

import numpy as np

from varflow._checks import DomainError, choice, flag, integer, require, several
from varflow._memory import room
from varflow._progress import Progress, check_progress, reporter
from varflow._shared import exact_matmul
from varflow.campaign import Block
from varflow.campaign.campaign import Campaign, Run, campaign_of
from varflow.model.drives import ConstantCurrents, Given, Inputs, SpikeTrains, White
from varflow.model.network import Network
from varflow.results import Ensemble

if TYPE_CHECKING:
    from varflow.simulation import conditional, dense, layered

    Batch = dense.DenseNetworks | conditional.ConditionalNetworks | layered.Layered

DRAWN = 2**25  # numbers that a block draws, unless one chunk draws more: about 0.3 s, against some ms to send and keep it
DRIVES = {ConstantCurrents, White, Inputs, SpikeTrains, Given}  # of which the engines of plain chains draw the currents
Rows = slice  # of the networks in a batch
ENGINES = ("dense", "conditional")
DEVICES = ("cpu", "cuda")
DTYPES = ("float32", "float64")
BYTES = 32  # of working memory per potential: currents, membranes, spikes and sums, 8 bytes each


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during a simulation; ``.ensembles`` holds the finished part, one ensemble per network in the order given.

    Each is the beginning of the full run, bit for bit, so that row ``r`` is still network ``r`` with its input. Repeats that
    other threads finished after the first unfinished one (at most one block per thread) are dropped.

    Examples
    --------
    >>> import varflow as vf
    >>> try:
    ...     ensemble = vf.simulate(vf.Network(width=30, depth=3, gain=2.5), repeats=5)  # Ctrl-C ends it early
    ... except vf.Interrupted as stop:
    ...     ensemble = stop.ensembles[0]
    >>> ensemble.repeats
    5
    """

    def __init__(self, message: str, ensembles: tuple[Ensemble, ...]):
        super().__init__(message)
        self.ensembles = ensembles


class SimulationOptions(TypedDict, total=False):
    """Options of :func:`simulate`, for the types of its answers."""

    repeats: int
    seed: int
    engine: str
    device: str
    dtype: str
    second_moments: bool
    progress: Progress
    threads: int | None
    campaign: Campaign | Run | None


@overload
def simulate(network: Network, **options: Unpack[SimulationOptions]) -> Ensemble: ...
@overload
def simulate(network: Iterable[Network], **options: Unpack[SimulationOptions]) -> tuple[Ensemble, ...]: ...
def simulate(
    network: Network | Iterable[Network],
    *,
    repeats: int = 20,
    seed: int = 0,
    engine: str = "dense",
    device: str = "cpu",
    dtype: str = "float32",
    second_moments: bool = True,
    progress: Progress = False,
    threads: int | None = None,
    campaign: Campaign | Run | None = None,
) -> Ensemble | tuple[Ensemble, ...]:
    r"""Simulate deep spiking networks with random weight matrices and measure every layer at every step.

    .. math:: u_{l+1} = \lambda \Big(\frac{g}{\sqrt n} W x_l + \frac{m_g}{n} \sum_j x_{l,j} + b\Big),
              \qquad x_l = 1(u_l > \theta)

    with ``W`` of independent entries of mean 0 and variance 1 and ``b ~ N(0, bias_std²)``, drawn anew for every layer and
    network and constant in time. Layer 1 receives the drive, without bias or weight mean. With several steps the bracket is
    the current ``I_t`` at one step, from the spikes ``delay`` steps before; :class:`varflow.Neuron` gives the dynamics.
    Networks made of ``vf.layers`` are run layer by layer as described there: convolutions share real filters over real maps
    with zero padding, recurrent weights are constant in time, and entry ``l`` of a result is the ``l``-th ``Spike``.

    Parameters
    ----------
    network : Network or sequence of Network
        Networks with the same weight distribution and widths share matrices, so a sweep costs little more than one network.
    repeats : int
        Number of independent networks of each description.
    seed : int
        Determines every random number, for a given type of device.
    engine : str
        ``dense``: real weight matrices. ``conditional``: draws the currents of a layer given the spikes ``X`` of the layer
        before from ``N(0, (g²/n) X Xᵀ + bias_std²)`` over the steps, without a matrix. This is equal in distribution for normal
        weights at every width, and much faster while ``steps`` is far below the width. Networks with at least as many steps as
        neurons are simulated densely.
    device : str
        ``cpu`` or ``cuda``.
    dtype : str
        Of the weights and their sums: ``float32``, or ``float64``, which is four times slower and has a finer grid of weights.
    second_moments : bool
        Whether second moments of spikes over time are kept; without them memory grows as ``steps``, not ``steps²``.
    progress : bool or callable
        True shows a bar on stderr; a callable receives ``(done, total)`` in repeats.
    threads : int, optional
        CPU threads; by default the number of cores or ``torch.get_num_threads()``, whichever is smaller.
    campaign : Campaign, optional
        Where the networks are simulated, in blocks of about a second, and where finished ones are kept; by default in this
        process, and nothing is kept. Each of its processes has one thread.

    Returns
    -------
    Ensemble, or tuple of Ensemble for a sequence, in its order
        ``variance`` (ddof = 1; NaN at width 1; of potentials before the reset) and ``firing_rate`` of shape (repeats, depth),
        or (repeats, depth, steps) for ``steps > 1``. Then also ``potential_mean``, of the same shape, and the second moments
        of spikes ``second_moments[r, l, t, s] = mean of S_t S_s`` over neurons, of shape (repeats, depth, steps, steps). A
        layer that receives nothing has variance exactly 0.

    Raises
    ------
    DomainError
        For an argument outside its domain; non-normal weights of a plain chain with ``conditional``; a delay of at least
        ``steps``; signals that grow beyond double precision.
    MissingExtraError
        Without torch.
    Interrupted
        On Ctrl-C, with the finished part.

    Notes
    -----
    **Assumes** nothing about depth or width: this is the network itself. Repeats are independent. Networks that share matrices
    are not independent of each other, which reduces the noise of their differences. **Accuracy**: weights lie on a grid: in
    float32 of 2⁻¹³ standard deviations (coarser in proportion to the fan-in above 1024, 2⁻⁸ at 32768; beyond, 2⁻¹³ with sums
    in float64), in float64 of 2⁻⁴⁰. Their variance is exact, sums over spikes and spike counts are exact, and potentials are
    float64. Normal weights are cut off at 5.8 (float32) and 8.6 (float64) standard deviations. **Reproducibility**: firing
    rates, and on a CPU variances, are the same bit for bit for any ``threads`` and ``repeats`` and in any sweep. A network is
    also the beginning of a deeper one of the same equal width, and of a longer run. **Speed**: one core spends about 80 % of
    its time drawing normal numbers (100 layers of 1000, twelve networks). Nothing is drawn once all networks of a chunk are
    silent for good. **Conditional**: potentials have the precision of ``dtype``. Steps with equal spikes have a singular
    covariance; their potentials differ by about ``10⁻⁶ √steps`` standard deviations. Networks of equal widths and steps use
    the same random numbers, which reduces the noise of differences in a sweep; fewer ``repeats`` are the beginning of more,
    bit for bit. Measured at 100 layers of 1000, 64 networks: 1/500 of the dense engine's CPU time for one step, 1/30 for 20.
    **Layers**: sums of spikes (residual sums and average pools included) are exact as above, weighted sums of other numbers
    rounded in float64; potentials are float64 with either engine. ``conditional`` draws the currents of ``Linear``, ``Conv``
    (jointly over positions) and recurrent weights given the spikes, also for centred and standardised rows, and exactly; it
    uses real weights where they are not normal, and where inputs × steps × positions are no fewer than fan-in or neurons.
    **BatchNorm** without ``statistics`` normalises over a batch: all rows of ``x``, of ``rates`` or of given currents, sent
    through every network, or 256 independent inputs of a random drive (down to 16 where a signal of 256 would exceed 128 MiB).
    Results are then means over the batch; with ``B`` inputs they differ from those of infinitely many by O(1/B).
    **Source**: the definition of the layer; for ``conditional``, the independence of the rows of a weight matrix.

    Examples
    --------
    >>> import varflow as vf
    >>> ensemble = vf.simulate(vf.Network(width=100, depth=3, gain=2.51), repeats=2)
    >>> ensemble.variance.shape
    (2, 3)
    >>> leaky = vf.Neuron(1.0, decay=0.5, reset="subtract")
    >>> vf.simulate(vf.Network(width=100, depth=3, gain=2.51, neuron=leaky, steps=4), repeats=2).second_moments.shape
    (2, 3, 4, 4)
    """
    choice("engine", engine, ENGINES)
    networks = several("network", network, Network)
    for one in networks:
        check_supported(one, engine)
    repeats, seed = integer("repeats", repeats, minimum=1), integer("seed", seed, minimum=0)
    choice("dtype", dtype, DTYPES)
    flag("second_moments", second_moments)
    check_progress(progress)
    threads = None if threads is None else integer("threads", threads, minimum=1)
    check_device(device)
    with campaign_of(campaign).opened("varflow.simulation.layered") as run:
        torch = require("torch", "torch")
        threads = 1 if device == "cuda" else threads or min(_cores(), torch.get_num_threads())
        label = {"seed": seed, "engine": engine, "device": device, "dtype": dtype}
        made = batches_of(networks, repeats=repeats, **label)
        _fits_in_memory(made, repeats, threads, second_moments)
        tables = [_BatchResults(batch, repeats, label, second_moments) for batch in made]
        try:
            with exact_products(), reporter(progress, repeats, "networks") as report:
                _fill(tables, run, threads, report)
        except KeyboardInterrupt as interrupt:
            ensembles = _assemble(tables, len(networks), label)
            raise Interrupted(_stopped_after(ensembles, repeats), ensembles) from interrupt
    ensembles = _assemble(tables, len(networks), label)
    return ensembles[0] if isinstance(network, Network) else ensembles


def check_device(device: str) -> None:
    """DomainError unless the device is available."""
    choice("device", device, DEVICES)
    if device == "cuda" and not require("torch", "torch").cuda.is_available():
        raise DomainError("device", device, "is not available: torch finds no CUDA device; use device='cpu'")


def _fits_in_memory(batches: Sequence[Batch], repeats: int, threads: int, second_moments: bool) -> None:
    """Raise DomainError where the results or the potentials of a layer would not fit into memory, before drawing anything."""
    from varflow.simulation.walk import names

    each = [sum(batch.steps**axes for axes in names(batch.steps, second_moments).values()) for batch in batches]
    layers = sum(len(batch.networks) * len(batch.widths) * size for batch, size in zip(batches, each, strict=True))
    hint = ", or second_moments=False" if second_moments and any(batch.steps > 1 for batch in batches) else ""
    room("repeats", repeats, 8 * repeats * layers, f"the results of every layer: take fewer repeats, layers or steps{hint}")
    for batch in batches:
        networks = len(batch.networks) * min(repeats, batch.streams.repeats)
        potentials = BYTES * batch.numbers * networks * min(threads, -(-repeats // batch.streams.repeats))
        room("width", max(batch.widths), potentials, "the potentials of a layer: take fewer neurons, steps or threads")


class _BatchResults:
    """The results of one batch, filled block by block."""

    def __init__(self, batch: Batch, repeats: int, label: dict[str, Any], second_moments: bool):
        from varflow.simulation.walk import names

        self.batch = batch
        settings = label if second_moments else label | {"second_moments": False}
        self.rows, self.blocks = zip(*blocks_of(batch, repeats, settings), strict=True)
        shape = (len(batch.networks), repeats, len(batch.widths))
        self.measured = {
            name: np.empty((*shape, *[batch.steps] * axes)) for name, axes in names(batch.steps, second_moments).items()
        }
        self.finished = np.zeros(len(self.blocks), dtype=bool)

    def fill(self, block: int, measured: dict[str, np.ndarray]) -> None:
        for name, values in self.measured.items():
            values[:, self.rows[block]] = measured[name]
        self.finished[block] = True

    @property
    def repeats(self) -> int:
        """Number of networks finished before the first unfinished one."""
        finished = int(np.logical_and.accumulate(self.finished).sum())
        return self.rows[finished - 1].stop if finished else 0


def _fill(tables: Sequence[_BatchResults], run: Run, threads: int, report: Callable[[int], object]) -> None:
    """Run all blocks in the order of repeats, so that an interrupted sweep has some networks of every width."""
    blocks = [(table, block) for table in tables for block in range(len(table.blocks))]
    blocks.sort(key=lambda job: job[0].rows[job[1]].start)
    done = 0

    def arrived(job: int, measured: dict[str, np.ndarray]) -> None:
        nonlocal done
        table, block = blocks[job]
        table.fill(block, measured)
        done += table.blocks[block].units
        report(done // len(tables))

    run.run([table.blocks[block] for table, block in blocks], arrived, threads=threads)


def _assemble(tables: Sequence[_BatchResults], count: int, label: dict[str, Any]) -> tuple[Ensemble, ...]:
    ensembles: list[Any] = [None] * count
    for table in tables:
        for values in table.measured.values():
            values.flags.writeable = False  # ensembles then hold views, not copies
        for row, (place, network) in enumerate(zip(table.batch.places, table.batch.networks, strict=True)):
            seen = np.s_[row, : table.repeats, : network.depth]
            ensembles[place] = Ensemble(network, **{name: values[seen] for name, values in table.measured.items()}, **label)
    return tuple(ensembles)


def _stopped_after(ensembles: Sequence[Ensemble], repeats: int) -> str:
    finished = sorted({ensemble.repeats for ensemble in ensembles})
    return f"stopped after {' to '.join(map(str, finished[:: max(1, len(finished) - 1)]))} of {repeats} networks"


def check_supported(network: Network, engine: str) -> None:
    """DomainError for a network that an engine does not simulate."""
    if engine == "conditional" and network.layers is None and not network.weight_law.normal_given_spikes:
        rule = "must be normal for engine='conditional', which draws normal currents: use engine='dense'"
        raise DomainError("weights", network.weights, rule)
    delay, steps = max(neuron.delay for neuron in network.neurons), network.steps
    if delay >= steps:
        raise DomainError("delay", delay, f"must be below steps={steps}: otherwise no spike arrives at the next layer")


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def batches_of(networks: Sequence[Network], *, repeats: int, seed: int, engine: str, device: str, dtype: str) -> list[Batch]:
    """The networks in batches that are simulated together: chains by their own engine, others by the walk over their graph."""
    from varflow.simulation import conditional, dense, layered

    chains = {"dense": dense, "conditional": conditional}[engine]
    plain = [place for place, network in enumerate(networks) if network.layers is None and type(network.drive) in DRIVES]
    options = {"seed": seed, "device": device, "dtype": dtype}
    made = chains.batches([networks[place] for place in plain], repeats=repeats, **options) if plain else []
    made = [replace(batch, places=tuple(plain[place] for place in batch.places)) for batch in made]
    other = sorted(set(range(len(networks))) - set(plain))
    return made + [layered.batch_of(networks[place], place, engine=engine, **options) for place in other]


def blocks_of(batch: Batch, repeats: int, label: dict[str, Any]) -> Iterator[tuple[Rows, Block]]:
    """The batch in blocks of whole chunks, with the rows that each simulates; they do not depend on ``repeats``."""
    chunk = batch.streams.repeats
    chunks_per_block = max(1, DRAWN // (chunk * batch.drawn))
    for first in range(0, -(-repeats // chunk), chunks_per_block):
        rows = slice(first * chunk, min((first + chunks_per_block) * chunk, repeats))
        settings = {"networks": batch.networks, "first": first, "repeats": rows.stop - rows.start, **label}
        yield rows, Block(simulated, settings, units=settings["repeats"])


def simulated(
    networks: Sequence[Network], first: int, repeats: int, stop: Event, second_moments: bool = True, **label: Any
) -> dict[str, np.ndarray]:
    """``repeats`` networks of each description from chunk ``first`` on, of shape (networks, repeats, depth[, steps…])."""
    with exact_products():
        (batch,) = batches_of(networks, repeats=repeats, **label)
        parts = [batch.simulate(first + index, wanted, stop, second_moments) for index, wanted in batch.streams.chunks(repeats)]
    joined = {name: np.concatenate([part[name] for part in parts], axis=1) for name in parts[0]}
    return {name: np.ascontiguousarray(values) for name, values in joined.items()}  # engines differ in which axis comes first


@contextmanager
def exact_products() -> Iterator[None]:
    """One torch thread per worker, and float32 products in full precision: TF32 and bfloat16 would round the integers."""
    torch = require("torch", "torch")
    threads = torch.get_num_threads()
    with exact_matmul():
        _set_threads(torch, 1)
        try:
            yield
        finally:
            _set_threads(torch, threads)


_setting = Lock()


def _set_threads(torch: Any, number: int) -> None:
    """Set the number of this thread; torch would also take it for all threads that start from now on."""
    with _setting, ThreadPoolExecutor(1) as another:
        of_new_ones = another.submit(torch.get_num_threads).result()
        torch.set_num_threads(number)
        another.submit(torch.set_num_threads, of_new_ones).result()
