"""A sequence of layers that is a plain chain, for which theory has faster and exact answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from varflow.model.drive_kinds import Drive, Inputs
from varflow.model.layers import Linear, Spike
from varflow.model.signals import Layer


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
