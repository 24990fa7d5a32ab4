"""The simplest form of a sequence of layers: pools before the first weights become another input, as they are arithmetic on the
numbers of the drive, and a plain chain is known as one, since theory has faster and exact answers for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from varflow.model.build import of_layers, spiking_shapes
from varflow.model.drive_kinds import Drive, Inputs
from varflow.model.layers import Linear, Pool, Spike
from varflow.model.signals import Layer, Signal, own_gain


def pooled_first(layers: Sequence[Layer], drive: Drive) -> tuple[tuple[Layer, ...], Drive]:
    """The layers after leading Pools of a given input, and the drive with the pooled input."""
    layers = tuple(layers)
    while isinstance(layers[0], Pool) and isinstance(drive, Inputs) and len(layers) > 1:
        own_gain(layers[0], drive)
        before = Signal("input", drive.shape or (drive.fan_in,))
        after = layers[0].after(before)
        spiking_shapes(of_layers(layers[:2], before, 1))  # numbers need weights before neurons
        x = _pooled(layers[0], drive.x.reshape(*drive.x.shape[:-1], *before.shape))
        unit = float(np.sqrt(np.mean(x**2)))
        drive = replace(drive, x=x.reshape(*drive.x.shape[:-1], -1), input_gain=1 / unit if unit else 1.0, shape=after.shape)
        layers = layers[1:]
    return layers, drive


def _pooled(pool: Pool, x: np.ndarray) -> np.ndarray:
    """Averages or maxima over the windows of the last two axes."""
    size, (down, along), padding, _ = pool.windows(x.shape[-2:])
    edges = [(0, 0)] * (x.ndim - 2) + [(pad, pad) for pad in padding]
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(x, edges), size, axis=(-2, -1))[..., ::down, ::along, :, :]
    return windows.mean(axis=(-2, -1)) if pool.kind == "average" else windows.max(axis=(-2, -1))


def as_chain(layers: Sequence[Layer], width: int | None, drive: Drive) -> dict[str, Any] | None:
    """The arguments of the plain chain ``[Spike] + (depth - 1) · [Linear, Spike]`` that is the same network, or None."""
    if getattr(drive, "shape", None) is not None:
        return None
    first, *others = layers
    into = None  # the weights from the drive
    if isinstance(first, Linear) and isinstance(drive, Inputs):
        if first.bias_std or first.mean_gain_of(drive.fan_in):
            return None
        into, layers, drive = first, others, replace(drive, input_gain=first.gain)
    spikes = [layer for layer in layers[::2] if isinstance(layer, Spike)]
    linears = [layer for layer in layers[1::2] if isinstance(layer, Linear)]
    if not len(layers) % 2 or len(spikes) + len(linears) < len(layers):
        return None
    weighted = linears if into is None else [into, *linears]
    equal_spikes = len(set(spikes)) == len({layer.neuron.detach_reset for layer in spikes}) == 1
    if any(layer.rows != "free" for layer in weighted) or spikes[0].recurrent or not equal_spikes:
        return None
    if len({layer.law for layer in weighted}) > 1 or len({(layer.bias_std, layer.mean_gain) for layer in linears}) > 1:
        return None
    driven = (into.width if into else None) or drive.width or width
    widths = (driven, *(layer.width or width for layer in linears))
    gains = [layer.gain for layer in linears]
    chain: dict[str, Any] = {
        "width": widths[0] if len(set(widths)) == 1 else widths,
        "depth": len(spikes),
        "gain": (gains[0] if gains else 1.0) if len(set(gains)) <= 1 else (gains[0], *gains),
        "neuron": spikes[0].neuron,
        "weights": weighted[-1].weights if weighted else "normal",
        "bias_std": linears[0].bias_std if linears else 0.0,
        "mean_gain": linears[0].mean_gain if linears else None,
        "drive": drive,
    }
    return chain
