"""``simulate``: checks its arguments, distributes chunks of networks over threads, and assembles the results.

The engines (``dense``, ``conditional``) simulate the layers; they import torch, on the first call.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from threading import Event
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from varflow._checks import DomainError, choice, integer, require, several
from varflow._memory import room
from varflow._progress import Progress, check_progress, reporter
from varflow.model.network import Network
from varflow.results import Ensemble
from varflow.simulation.workers import work

if TYPE_CHECKING:
    from varflow.simulation.conditional import Block
    from varflow.simulation.dense import Batch

__all__ = ["Interrupted", "simulate"]

ENGINES = ("dense", "conditional")
DEVICES = ("cpu", "cuda")
DTYPES = ("float32", "float64")
BYTES = 32  # of memory per potential: currents, membranes, spikes and sums


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during a simulation; ``.ensembles`` holds the finished networks.

    One ensemble per network, in the order given. Each equals the first rows of the full run, bit for bit, so that row ``r``
    stays network ``r`` and its input: chunks finished beyond the first unfinished one (at most one per thread) are dropped.
    """

    def __init__(self, message: str, ensembles: tuple[Ensemble, ...]):
        super().__init__(message)
        self.ensembles = ensembles


@overload
def simulate(
    network: Network,
    *,
    repeats: int = 20,
    seed: int = 0,
    engine: str = "dense",
    device: str = "cpu",
    dtype: str = "float32",
    progress: Progress = False,
    threads: int | None = None,
) -> Ensemble: ...
@overload
def simulate(
    network: Iterable[Network],
    *,
    repeats: int = 20,
    seed: int = 0,
    engine: str = "dense",
    device: str = "cpu",
    dtype: str = "float32",
    progress: Progress = False,
    threads: int | None = None,
) -> tuple[Ensemble, ...]: ...
def simulate(
    network: Network | Iterable[Network],
    *,
    repeats: int = 20,
    seed: int = 0,
    engine: str = "dense",
    device: str = "cpu",
    dtype: str = "float32",
    progress: Progress = False,
    threads: int | None = None,
) -> Ensemble | tuple[Ensemble, ...]:
    r"""Simulate deep spiking networks with random weight matrices, and measure every layer at every step.

    .. math:: u_{l+1} = \lambda \Big(\frac{g}{\sqrt n} W x_l + \frac{m_g}{n} \sum_j x_{l,j} + b\Big),
              \qquad x_l = 1(u_l > \theta)

    with independent ``W_ij`` of mean 0 and variance 1 and ``b ~ N(0, bias_std²)``, new for every layer and network and
    constant in time. Layer 1 receives the drive, without bias or weight mean. Over several steps the bracket is the current
    ``I_t``, from the spikes ``delay`` steps earlier; :class:`varflow.Neuron` has the membrane's update.

    Parameters
    ----------
    network : Network or sequence of Network
        Networks with the same weights and widths share their matrices: a sweep costs little more than one network.
    repeats : int
        Number of independent networks of each description.
    seed : int
        Determines every random number (CPU and CUDA differ).
    engine : str
        ``dense``: real weight matrices. ``conditional``: each neuron's currents are drawn from
        ``N(0, (g²/n) X Xᵀ + bias_std²)`` given the raster ``X`` of the layer before: the same distribution for normal weights
        at every width, and much faster if ``steps`` is far below it. Networks with as many steps as neurons are simulated
        densely.
    device : str
        ``cpu`` or ``cuda``.
    dtype : str
        Precision of weights and their sums: ``float32``, or ``float64``, four times slower on a finer grid.
    progress : bool or callable
        True draws a bar on stderr; a callable receives ``(done, total)`` in repeats.
    threads : int, optional
        CPU threads; by default the number of cores, or torch's setting if that is smaller.

    Returns
    -------
    Ensemble, or tuple of Ensemble for a sequence, in its order
        ``variance`` (ddof = 1; NaN at width 1; of membranes at the spike test, before the reset) and ``firing_rate`` of
        shape (repeats, depth), or (repeats, depth, steps) for ``steps > 1``, then with ``potential_mean`` of the same shape
        and ``coincidences`` of shape (repeats, depth, steps, steps). Without bias, layers after the last spike have variance
        exactly 0.

    Raises
    ------
    DomainError
        For an argument outside its domain; weights that are not normal with ``conditional``; a delay that leaves layer 2
        without input; spike counts that grow beyond double precision.
    MissingExtraError
        Without torch.
    Interrupted
        On Ctrl-C, with the finished networks.

    Notes
    -----
    **Assumes** nothing about depth or width. Repeats are independent; networks that share matrices are correlated, which
    reduces the noise of their differences.
    **Accuracy**: float32 weights lie on a grid of 2⁻¹³ of their standard deviation (coarser in proportion to the fan-in
    above 1024, 2⁻⁸ at 32768, then 2⁻¹³ again with sums in float64), float64 weights on a grid of 2⁻⁴⁰; their variance is
    exact. Sums over spikes and spike counts are exact; potentials are float64. Firing rates, and on a CPU variances, do not
    depend on ``threads``, ``repeats`` or the other networks, bit for bit; a network equals the first layers of a deeper one
    of the same equal width, and the first steps of a longer run. Normal weights are cut at 5.8 (float32) and 8.6 (float64)
    standard deviations.
    **Speed**: one core spends about 80 % of its time drawing normal numbers (100 layers of 1000, twelve networks); nothing
    is drawn once all networks of a chunk are silent for good.
    **Conditional**: potentials have the precision of ``dtype``; in steps with equal spikes, whose covariance is singular, they
    differ by about ``10⁻⁶ √steps`` standard deviations. Networks of equal widths and steps use the same random numbers, which
    reduces the noise of differences; runs with fewer ``repeats`` equal the first rows of longer ones, bit for bit. Measured at
    100 layers of 1000, 64 networks: 1/500 of the dense engine's CPU time for one step, 1/30 for 20.
    **Source**: the definition of the layer; for ``conditional``, the independence of the rows of a matrix.

    Examples
    --------
    >>> import varflow as vf
    >>> ensemble = vf.simulate(vf.Network(width=100, depth=3, gain=2.51), repeats=2)
    >>> ensemble.variance.shape
    (2, 3)
    >>> leaky = vf.Neuron(1.0, decay=0.5, reset="subtract")
    >>> vf.simulate(vf.Network(width=100, depth=3, gain=2.51, neuron=leaky, steps=4), repeats=2).coincidences.shape
    (2, 3, 4, 4)
    """
    choice("engine", engine, ENGINES)
    networks = several("network", network, Network)
    for one in networks:
        _refuse_unsupported(one, engine)
    repeats, seed = integer("repeats", repeats, minimum=1), integer("seed", seed, minimum=0)
    choice("device", device, DEVICES)
    choice("dtype", dtype, DTYPES)
    check_progress(progress)
    threads = None if threads is None else integer("threads", threads, minimum=1)
    torch = require("torch", "torch")
    if device == "cuda" and not torch.cuda.is_available():
        raise DomainError("device", device, "is not available: this torch finds no CUDA device; use device='cpu'")
    threads = 1 if device == "cuda" else threads or min(_cores(), torch.get_num_threads())

    batches = import_module(f"varflow.simulation.{engine}").batches
    made = batches(networks, repeats=repeats, seed=seed, device=device, dtype=dtype)
    _fits_in_memory(made, repeats, threads)
    tables = [_Table(batch, repeats) for batch in made]
    label = {"seed": seed, "engine": engine, "device": device, "dtype": dtype}
    try:
        with _exact_products(torch), reporter(progress, repeats, "networks") as report:
            _fill(tables, threads, report)
    except KeyboardInterrupt as interrupt:
        ensembles = _assemble(tables, len(networks), label)
        raise Interrupted(_stopped_after(ensembles, repeats), ensembles) from interrupt
    ensembles = _assemble(tables, len(networks), label)
    return ensembles[0] if isinstance(network, Network) else ensembles


def _fits_in_memory(batches: Sequence[Batch | Block], repeats: int, threads: int) -> None:
    """Raise before anything is drawn if the results, or the potentials of one layer, would not fit in memory."""
    from varflow.simulation.measures import names

    kept = [sum(batch.steps**axes for axes in names(batch.steps).values()) * len(batch.widths) for batch in batches]
    kept = [8 * repeats * len(batch.networks) * each for batch, each in zip(batches, kept, strict=True)]
    room("repeats", repeats, sum(kept), "the measurements of every layer: take fewer repeats, layers or steps")
    for batch in batches:
        together = len(batch.networks) * min(repeats, batch.streams.repeats)
        potentials = BYTES * batch.steps * max(batch.widths) * together * min(threads, -(-repeats // batch.streams.repeats))
        room("width", max(batch.widths), potentials, "the potentials of a layer: take fewer neurons, steps or threads")


class _Table:
    """The results of one batch, filled chunk by chunk."""

    def __init__(self, batch: Batch | Block, repeats: int):
        from varflow.simulation.measures import names

        self.batch, self.chunks = batch, batch.streams.chunks(repeats)
        shape = (len(batch.networks), repeats, len(batch.widths))
        self.measured = {name: np.empty((*shape, *[batch.steps] * axes)) for name, axes in names(batch.steps).items()}
        self.finished = np.zeros(len(self.chunks), dtype=bool)

    def simulate(self, chunk: int, stop: Event) -> None:
        index, wanted = self.chunks[chunk]
        rows = slice(index * self.batch.streams.repeats, index * self.batch.streams.repeats + wanted)
        for name, values in self.batch.simulate(index, wanted, stop).items():
            self.measured[name][:, rows] = values
        self.finished[chunk] = True

    @property
    def rows(self) -> int:
        """Networks finished before the first unfinished one."""
        return sum(wanted for _, wanted in self.chunks[: np.logical_and.accumulate(self.finished).sum()])


def _fill(tables: Sequence[_Table], threads: int, report: Callable[[int], object]) -> None:
    """Run all chunks, the first repeats of every batch first, so that an interrupted sweep has networks of every width."""
    chunks = [(table, chunk) for table in tables for chunk in range(len(table.chunks))]
    chunks.sort(key=lambda job: job[0].chunks[job[1]][0] * job[0].batch.streams.repeats)
    done = 0

    def finished(job: int) -> None:
        nonlocal done
        table, chunk = chunks[job]
        done += table.chunks[chunk][1]
        report(done // len(tables))

    work([partial(table.simulate, chunk) for table, chunk in chunks], threads=threads, finished=finished)


def _assemble(tables: Sequence[_Table], count: int, label: dict[str, Any]) -> tuple[Ensemble, ...]:
    ensembles: list[Any] = [None] * count
    for table in tables:
        rows = table.rows
        for values in table.measured.values():
            values.flags.writeable = False  # ensembles are views of it
        for row, (place, network) in enumerate(zip(table.batch.places, table.batch.networks, strict=True)):
            seen = np.s_[row, :rows, : network.depth]
            ensembles[place] = Ensemble(network, **{name: values[seen] for name, values in table.measured.items()}, **label)
    return tuple(ensembles)


def _stopped_after(ensembles: Sequence[Ensemble], repeats: int) -> str:
    finished = sorted({ensemble.repeats for ensemble in ensembles})
    return f"stopped after {' to '.join(map(str, finished[:: max(1, len(finished) - 1)]))} of {repeats} networks"


def _refuse_unsupported(network: Network, engine: str) -> None:
    law = network.weight_law
    if engine == "conditional" and not law.normal_given_spikes:
        rule = "gives currents that are not normal given the spikes, which the conditional engine needs: use engine='dense'"
        raise DomainError("weights", network.weights, rule)
    delay, steps = network.neuron.delay, network.steps
    if delay >= steps:
        raise DomainError("delay", delay, f"leaves layer 2 without input: nothing arrives within steps={steps}; raise steps")


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _exact_products(torch: Any) -> Iterator[None]:
    """One torch thread per worker, and full float32 products: TF32 and bfloat16 would round the integers."""
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    try:
        torch.set_num_threads(1)
        torch.set_float32_matmul_precision("highest")
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_float32_matmul_precision(precision)
