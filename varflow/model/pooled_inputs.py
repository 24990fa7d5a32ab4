"""Pools before the first weights: arithmetic on the numbers of a drive, which are then another input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from varflow.model.build import of_layers, spiking_shapes
from varflow.model.drive_kinds import Drive, Inputs
from varflow.model.layers import Pool
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
