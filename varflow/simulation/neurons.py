"""Neurons in time: membranes and spikes from currents, one step after the other.

Tensors have the axes (networks, configurations, steps, neurons); parameters are columns (configurations, 1). The update
equations are those of ``varflow.model.neurons``, written here once more: a witness shares no formula with the theory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from varflow.model.neurons import Neuron

__all__ = ["Cells", "arriving", "respond", "step_neurons"]

# The next membrane from the last one, its spikes and the scaled current: update(H, S, c, β, θ).
UPDATES: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]] = {
    "none": lambda H, S, c, decay, threshold: decay * H + c,
    "subtract": lambda H, S, c, decay, threshold: decay * (H - threshold * S) + c,
    "delayed_subtract": lambda H, S, c, decay, threshold: decay * H - threshold * S + c,
    "zero": lambda H, S, c, decay, threshold: decay * H * (1 - S) + c,
    "gate": lambda H, S, c, decay, threshold: (decay * H + c) * (1 - S),
    "multi_spike": lambda H, S, c, decay, threshold: decay * (H - threshold * S) + c,
}


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """The neurons of several configurations: columns of shape (configurations, 1)."""

    decay: Tensor
    input_scale: Tensor
    threshold: Tensor
    strict: Tensor
    synaptic_decay: Tensor
    delay: Tensor
    reset: Tensor  # place in UPDATES

    @classmethod
    def of(cls, neurons: Sequence[Neuron], device: torch.device) -> Cells:
        def column(values: list[Any], dtype: torch.dtype = torch.float64) -> Tensor:
            return torch.tensor(values, dtype=dtype, device=device)[:, None]

        numbers = {
            name: column([getattr(neuron, name) for neuron in neurons])
            for name in ("decay", "input_scale", "threshold", "synaptic_decay")
        }
        return cls(
            **numbers,
            strict=column([neuron.strict for neuron in neurons], torch.bool),
            delay=column([neuron.delay for neuron in neurons], torch.int64),
            reset=column([list(UPDATES).index(neuron.reset) for neuron in neurons], torch.int64),
        )

    def only(self, active: Tensor) -> Cells:
        return Cells(**{field.name: getattr(self, field.name)[active] for field in fields(self)})

    def sharing(self, parameter: str) -> list[tuple[int, Any]]:
        """The values of a parameter and, for each, the configurations that have it."""
        values = getattr(self, parameter)[:, 0]
        distinct = values.unique().tolist()
        if len(distinct) == 1:
            return [(distinct[0], slice(None))]
        return [(value, torch.nonzero(values == value)[:, 0]) for value in distinct]


def respond(currents: Tensor, cells: Cells) -> tuple[Tensor, Tensor]:
    """Membranes at the spike test, which overwrite the currents, and spikes (truth values, or counts of several a step)."""
    steps = currents.shape[2]
    if cells.synaptic_decay.any():
        for t in range(1, steps):
            currents[:, :, t] += cells.synaptic_decay * currents[:, :, t - 1]
    membranes = currents.mul_(cells.input_scale[:, None])
    resets = [(list(UPDATES)[reset], which) for reset, which in cells.sharing("reset")]
    fired = _fire(membranes[:, :, 0], cells, resets)
    if steps == 1:
        return membranes, fired[:, :, None]
    spikes = fired.new_empty(membranes.shape)
    spikes[:, :, 0] = fired
    for t in range(1, steps):
        before, last, now = membranes[:, :, t - 1], spikes[:, :, t - 1].to(membranes.dtype), membranes[:, :, t]
        for reset, which in resets:
            decay, threshold = cells.decay[which], cells.threshold[which]
            now[:, which] = UPDATES[reset](before[:, which], last[:, which], now[:, which], decay, threshold)
        spikes[:, :, t] = _fire(now, cells, resets)
    return membranes, spikes


def _fire(membrane: Tensor, cells: Cells, resets: list[tuple[str, Any]]) -> Tensor:
    fired = membrane > cells.threshold
    if not cells.strict.all():
        fired |= (membrane == cells.threshold) & ~cells.strict
    for reset, which in resets:
        if reset == "multi_spike":
            fired = fired.to(membrane.dtype)
            fired[:, which] = (membrane[:, which] / cells.threshold[which]).floor_().clamp_(min=0)
    return fired


def arriving(spikes: Tensor, cells: Cells) -> Tensor:
    """Spikes as the next layer sees them, ``delay`` steps later; nothing came before the first step."""
    if not cells.delay.any():
        return spikes
    later, steps = torch.zeros_like(spikes), spikes.shape[2]
    for delay, which in cells.sharing("delay"):
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
    membranes, spikes = respond(given, Cells.of([neuron], given.device))
    return membranes[0, 0].numpy(), spikes[0, 0].double().numpy()
