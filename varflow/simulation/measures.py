"""The quantities measured in every layer of every network, named as in an ``Ensemble``."""

from __future__ import annotations

import math

import numpy as np
import torch


def names(steps: int, second_moments: bool = True) -> dict[str, int]:
    """The measured quantities and their numbers of step axes."""
    if steps == 1:
        return {"variance": 0, "firing_rate": 0}
    return {"variance": 1, "firing_rate": 1, "potential_mean": 1} | ({"second_moments": 2} if second_moments else {})


class Measures:
    """Quantities of shape (depth, networks, configurations, steps…), zero until recorded."""

    def __init__(
        self,
        widths: tuple[int, ...],
        networks: int,
        configurations: int,
        steps: int,
        device: torch.device,
        second_moments: bool = True,
    ):
        shape = (len(widths), networks, configurations)
        self.widths, self.networks, self.steps = widths, networks, steps
        self.tables = {
            name: torch.zeros((*shape, *[steps] * max(axes, 1)), dtype=torch.float64, device=device)
            for name, axes in names(steps, second_moments).items()
        }
        self.tables["variance"][np.equal(widths, 1)] = math.nan  # one neuron has no sample variance, even 0

    def gram(self, spikes: torch.Tensor) -> torch.Tensor | None:
        """``Σ_i S_ti S_t'i``, if second moments are kept."""
        return (spikes @ spikes.mT).double() if "second_moments" in self.tables else None

    def record(
        self,
        layer: int,
        place: torch.Tensor | None,
        membranes: torch.Tensor | None,
        counts: torch.Tensor,
        gram: torch.Tensor | None,
    ) -> None:
        """Record a layer of the configurations at ``place``: spikes per step, and their :meth:`gram` matrix if it is kept.

        Without a place, the second axis is one of probes, and their mean is recorded. Without membranes, those of a layer stay.

        Overwrites ``membranes``.
        """
        width = self.widths[layer]
        values = {"firing_rate": counts / width}
        if self.steps > 1 and membranes is not None:
            values["potential_mean"] = membranes.mean(-1)
        if gram is not None and "second_moments" in self.tables:
            values["second_moments"] = gram / width
        if width > 1 and membranes is not None:
            values["variance"] = _sample_variance(membranes)
        for name, quantity in values.items():
            if place is None:
                self.tables[name][layer] = quantity.mean(1, keepdim=True)
            else:
                self.tables[name][layer].index_copy_(1, place, quantity.double())

    def by_configuration(self) -> dict[str, np.ndarray]:
        """Arrays of shape (configurations, networks, depth[, steps…])."""
        tables = {name: table.movedim(2, 0).movedim(1, 2) for name, table in self.tables.items()}
        return {name: (table if self.steps > 1 else table[..., 0]).cpu().numpy() for name, table in tables.items()}


def _sample_variance(membranes: torch.Tensor) -> torch.Tensor:
    """Variance with ddof = 1. Overwrites ``membranes``: allocation would cost more than the arithmetic."""
    deviation = membranes.sub_(membranes.mean(-1, keepdim=True))
    return deviation.square_().sum(-1) / (membranes.shape[-1] - 1)
