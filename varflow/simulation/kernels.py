"""Second moments of the spikes of many inputs in sampled networks, which all of them pass.

Given the spikes of a layer for all inputs, the currents of the next are independent rows of a normal distribution
(``weighted``): for normal weights as exact as real matrices, at ``n B²`` numbers a layer instead of ``n² B``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from threading import Event

import numpy as np
import torch
from torch import Tensor

from varflow._progress import Progress, reporter
from varflow.model.network import Network
from varflow.simulation.layered import batch_of
from varflow.simulation.run import exact_products

SEEN = {  # of spikes (networks, inputs, steps, neurons), as rows of numbers
    "steps": lambda x: x.flatten(1, 2),
    "counts": lambda x: x.sum(2),
    "raster": lambda x: x.flatten(2),
    "last": lambda x: x[:, :, -1],
}


def _record(
    moments: np.ndarray, seen: Callable[[Tensor], Tensor], layer: int, membranes: Tensor | None, spikes: Tensor
) -> bool:
    """Second moments of all inputs, and of all steps if they are ``seen`` one by one; False if they are not finite."""
    x = seen(spikes[: len(moments)])
    gram = (x @ x.mT).double() / spikes.shape[-1]
    moments[:, layer] = gram.cpu().numpy()
    return bool(gram.isfinite().all())


@torch.inference_mode()
def sampled_moments(
    network: Network,
    *,
    repeats: int,
    seed: int,
    engine: str = "conditional",
    seen: str = "steps",
    progress: Progress = False,
) -> np.ndarray:
    """``(1/n) Σ_k S_ki S_kj`` of every layer of neurons, shape (repeats, depth, inputs × steps, inputs × steps).

    If the ``counts``, the ``raster`` or the ``last`` step is seen, (repeats, depth, inputs, inputs).
    """
    inputs = network.drive.n_inputs
    moments = np.empty((repeats, network.depth, *[inputs * (network.steps if seen == "steps" else 1)] * 2))
    batch, done = batch_of(network, probes=inputs, engine=engine, seed=seed), 0
    with exact_products(), reporter(progress, repeats, "networks") as report:
        for chunk, wanted in batch.streams.chunks(repeats):
            batch.send(chunk, partial(_record, moments[done : done + wanted], SEEN[seen]), Event())
            done += wanted
            report(done)
    moments.flags.writeable = False  # results then hold views, not copies
    return moments
