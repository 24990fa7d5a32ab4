"""Neurons in time: membranes and spikes from currents, one step after the other.

Tensors have the axes (networks, configurations, steps, neurons); parameters are columns (configurations, 1). The update is
written here from the description of the reset: a witness shares no formula with the theory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from varflow.model.neurons import Neuron
from varflow.model.resets import Reset

__all__ = ["Cells", "arriving", "respond", "step_neurons"]


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """The neurons of several configurations: columns of shape (configurations, 1), and who shares a reset or a delay."""

    neurons: tuple[Neuron, ...]
    decay: Tensor
    input_scale: Tensor
    threshold: Tensor
    strict: Tensor
    synaptic_decay: Tensor
    resets: list[tuple[Reset, Any]]
    delays: list[tuple[int, Any]]

    @classmethod
    def of(cls, neurons: Sequence[Neuron], device: torch.device, dtype: torch.dtype = torch.float64) -> Cells:
        def column(name: str, dtype: torch.dtype = dtype) -> Tensor:
            return torch.tensor([getattr(neuron, name) for neuron in neurons], dtype=dtype, device=device)[:, None]

        def shared(name: str) -> list[tuple[Any, Any]]:
            values = [getattr(neuron, name) for neuron in neurons]
            which = {value: [place for place, own in enumerate(values) if own == value] for value in dict.fromkeys(values)}
            return [(value, slice(None) if len(which) == 1 else places) for value, places in which.items()]

        names = ("decay", "input_scale", "threshold", "synaptic_decay")
        columns = {name: column(name) for name in names} | {"strict": column("strict", torch.bool)}
        return cls(tuple(neurons), resets=shared("reset_rule"), delays=shared("delay"), **columns)

    def only(self, active: Tensor) -> Cells:
        kept = [neuron for neuron, lives in zip(self.neurons, active.tolist(), strict=True) if lives]
        return Cells.of(kept, self.decay.device, self.decay.dtype) if kept else self


def respond(currents: Tensor, cells: Cells, dtype: torch.dtype, memory: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Membranes at the spike test, which overwrite the currents, and spikes in ``dtype`` (counts of several in float64).

    The spikes may be written to memory that is there already.
    """
    steps, many = currents.shape[2], any(reset.counts for reset, _ in cells.resets)
    if any(neuron.synaptic_decay for neuron in cells.neurons):
        for t in range(1, steps):
            currents[:, :, t] += cells.synaptic_decay * currents[:, :, t - 1]
    membranes = currents.mul_(cells.input_scale[:, None])
    if memory is None:
        memory = torch.empty(membranes.numel(), dtype=torch.float64 if many else dtype, device=membranes.device)
    spikes = memory[: membranes.numel()].view(membranes.shape)
    H, S = membranes.unbind(2), spikes.unbind(2)
    for t in range(steps):
        if t > 0:
            _update(H[t], H[t - 1], S[t - 1].to(H[t].dtype), cells)
        _fire(H[t], cells, out=S[t])
    return membranes, spikes


def _update(current: Tensor, before: Tensor, spikes: Tensor, cells: Cells) -> None:
    """The scaled current becomes the membrane."""
    if len(cells.resets) == 1:
        _continue(current, before, spikes, cells.resets[0][0], cells.decay, cells.threshold)
        return
    for reset, which in cells.resets:
        decay, threshold = cells.decay[which], cells.threshold[which]
        current[:, which] = _continue(current[:, which], before[:, which], spikes[:, which], reset, decay, threshold)


def _continue(c: Tensor, H: Tensor, S: Tensor, reset: Reset, decay: Tensor, threshold: Tensor) -> Tensor:
    """The scaled current becomes the next membrane, from the last one and its spikes; in place, because fresh memory costs
    more than the arithmetic."""
    if reset.input:
        c.mul_(_left(reset.input, S))
    c.addcmul_(decay, H * _left(reset.membrane, S) if reset.membrane else H)
    if reset.threshold:
        level = reset.threshold * threshold
        c.addcmul_(level if reset.delayed else decay * level, S, value=-1)
    return c


def _left(fraction: float, S: Tensor) -> Tensor:
    return 1 - S if fraction == 1 else 1 - fraction * S


def _fire(membrane: Tensor, cells: Cells, out: Tensor) -> None:
    torch.gt(membrane, cells.threshold, out=out)
    if not all(neuron.strict for neuron in cells.neurons):
        out[(membrane == cells.threshold) & ~cells.strict] = 1
    for reset, which in cells.resets:
        if reset.counts:
            out[:, which] = (membrane[:, which] / cells.threshold[which]).floor_().clamp_(min=0).to(out.dtype)


def arriving(spikes: Tensor, cells: Cells) -> Tensor:
    """Spikes as the next layer sees them, ``delay`` steps later; nothing came before the first step."""
    if not any(neuron.delay for neuron in cells.neurons):
        return spikes
    later, steps = torch.zeros_like(spikes), spikes.shape[2]
    for delay, which in cells.delays:
        later[:, which, delay:] = spikes[:, which, : max(steps - delay, 0)]
    return later


def step_neurons(neuron: Neuron, currents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Membranes at the spike test and spikes of neurons that receive given currents.

    Parameters
    ----------
    neuron : Neuron
        Its delay, which is between layers, plays no part.
    currents : array, shape (steps, neurons)

    Returns
    -------
    tuple of two arrays, shape (steps, neurons)
        ``H_t`` and ``S_t``.
    """
    given = torch.tensor(np.asarray(currents, dtype=np.float64))[None, None]
    membranes, spikes = respond(given, Cells.of([neuron], given.device), given.dtype)
    return membranes[0, 0].numpy(), spikes[0, 0].numpy()
