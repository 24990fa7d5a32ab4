"""A simulation in blocks: chunks of networks, as ``streams`` defines them, that can be simulated anywhere and in any order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from threading import Event, Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from varflow._checks import require
from varflow._shared import exact_matmul
from varflow.campaign import Block
from varflow.model.drives import ConstantCurrents, Given, Inputs, SpikeTrains, White
from varflow.model.network import Network

if TYPE_CHECKING:
    from varflow.simulation import conditional, dense, layered

    Batch = dense.DenseNetworks | conditional.ConditionalNetworks | layered.Layered

DRAWN = 2**25  # numbers that a block draws, unless one chunk draws more: about 0.3 s, against some ms to send and keep it
DRIVES = {ConstantCurrents, White, Inputs, SpikeTrains, Given}  # of which the engines of plain chains draw the currents
Rows = slice  # of the networks in a batch


def batches_of(networks: Sequence[Network], *, repeats: int, seed: int, engine: str, device: str, dtype: str) -> list[Batch]:
    """The networks in batches that are simulated together: chains by their own engine, others by the walk over their graph."""
    from varflow.simulation import conditional, dense, layered

    chains = {"dense": dense, "conditional": conditional}[engine]
    plain = [place for place, network in enumerate(networks) if network.layers is None and type(network.drive) in DRIVES]
    other = sorted(set(range(len(networks))) - set(plain))
    made = chains.batches([networks[place] for place in plain], repeats=repeats, seed=seed, device=device, dtype=dtype)
    made = [replace(batch, places=tuple(plain[place] for place in batch.places)) for batch in made]
    more = [networks[place] for place in other]
    return made + layered.batches(more, other, engine=engine, seed=seed, device=device, dtype=dtype)


def blocks_of(batch: Batch, repeats: int, label: dict[str, Any]) -> Iterator[tuple[Rows, Block]]:
    """The batch in blocks of whole chunks, with the rows that each simulates; they do not depend on ``repeats``."""
    chunk = batch.streams.repeats
    chunks_per_block = max(1, DRAWN // (chunk * batch.drawn))
    for first in range(0, -(-repeats // chunk), chunks_per_block):
        rows = slice(first * chunk, min((first + chunks_per_block) * chunk, repeats))
        settings = {"networks": batch.networks, "first": first, "repeats": rows.stop - rows.start, **label}
        yield rows, Block(simulated, settings, units=settings["repeats"])


def simulated(
    networks: Sequence[Network],
    first: int,
    repeats: int,
    seed: int,
    engine: str,
    device: str,
    dtype: str,
    stop: Event,
    second_moments: bool = True,
) -> dict[str, np.ndarray]:
    """``repeats`` networks of each description from chunk ``first`` on, of shape (networks, repeats, depth[, steps…])."""
    with exact_products():
        (batch,) = batches_of(networks, repeats=repeats, seed=seed, engine=engine, device=device, dtype=dtype)
        parts = [batch.simulate(first + index, wanted, stop, second_moments) for index, wanted in batch.streams.chunks(repeats)]
    return {name: np.concatenate([part[name] for part in parts], axis=1) for name in parts[0]}


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


def _set_threads(torch: Any, number: int) -> None:
    """Set the number of this thread; torch would also take it for all threads that start from now on."""
    with _setting, ThreadPoolExecutor(1) as another:
        of_new_ones = another.submit(torch.get_num_threads).result()
        torch.set_num_threads(number)
        another.submit(torch.set_num_threads, of_new_ones).result()


_setting = Lock()
