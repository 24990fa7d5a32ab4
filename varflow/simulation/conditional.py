"""The conditional engine: draws the currents of a layer given the spikes of the layer before, without weight matrices.

The rows of a weight matrix are independent. Given the spikes ``X`` (steps × n) of a layer, the currents of the next layer's
neurons over the steps are therefore independent samples of ``N(m, σ_w² X Xᵀ + σ_b² 1 1ᵀ)``. For normal weights this equals the
network in distribution, at any width. Blocks of networks are drawn together, each from its own stream. Tensors have the axes
(1, networks, steps, neurons), as in ``neurons`` for one configuration.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from threading import Event

import numpy as np
import torch
from torch import Tensor

from varflow._checks import DomainError
from varflow.campaign import Cancelled
from varflow.model.drives import Given, Inputs, SpikeTrains, White
from varflow.model.network import Network
from varflow.model.over_neurons import size_of
from varflow.simulation import dense
from varflow.simulation.neurons import Cells, respond
from varflow.simulation.streams import Streams, drawn_together, once
from varflow.simulation.walk import Batch, Measures
from varflow.simulation.weighted import factor

_SCALES = (1e-12, 1e12)  # between these, float32 can hold potentials and their squares
_STREAM = 2**40  # above every stream number of a weight distribution


@dataclass(frozen=True, slots=True, eq=False)
class ConditionalNetworks(Batch):
    """Networks of one description, ``streams.repeats`` of them from one random generator."""

    @property
    def drawn(self) -> int:
        """Normal numbers of one network."""
        return self.steps * sum(self.widths)

    @torch.inference_mode()
    def simulate(self, chunk: int, wanted: int, stop: Event, second_moments: bool = True) -> dict[str, np.ndarray]:
        """The measured quantities, each of shape (1, wanted, depth[, steps…])."""
        (network,), device = self.networks, self.streams.device
        networks, steps, many = self.streams.repeats, self.steps, network.neuron.reset_rule.counts
        cells = Cells.of([network.neuron], device, self.dtype)
        measures = Measures(self, 1, networks, second_moments)
        normals, neurons = Normals(self, chunk), self.streams.draws(chunk, "neurons", dtype=self.dtype, stop=stop)
        alive = torch.arange(networks, device=device)
        currents = _driven(self, chunk, normals, stop)
        for layer in range(len(self.widths)):
            if stop.is_set():
                raise Cancelled
            drawn = cells.drawn(lambda width=self.widths[layer], alive=alive: neurons.fractions(width)[:, alive], axis=0)
            membranes, spikes = respond(currents, drawn, self.dtype, normals.spikes)
            counts = spikes.sum(-1)
            gram = (spikes @ spikes.mT if steps > 1 or many else counts[..., None]).double()
            if not gram.isfinite().all():
                raise DomainError("gain", network.gain, "makes the spike counts grow beyond double precision; lower it")
            measures.record(layer, alive, membranes, counts, gram)
            if layer + 1 == len(self.widths):
                break
            if network.silence_is_absorbing:
                living = counts[0].any(-1)
                if not living.all():
                    alive, gram, counts = alive[living], gram[:, living], counts[:, living]
                if not len(alive):
                    break
            currents = _received(network, layer + 1, gram[0], counts[0], normals)
        return {name: values.swapaxes(0, 1)[:, :wanted] for name, values in measures.by_configuration().items()}


def batches(
    networks: Sequence[Network], *, repeats: int, seed: int, device: str, dtype: str
) -> list[ConditionalNetworks | dense.DenseNetworks]:
    """One block per network; networks with at least as many steps as neurons in a layer are dense, which is no slower."""
    made: list[ConditionalNetworks | dense.DenseNetworks] = []
    use_dense = [place for place, network in enumerate(networks) if 1 < network.steps >= network.widths.min()]
    for place, network in enumerate(networks):
        if place not in use_dense:
            widths = tuple(network.widths.tolist())
            together = drawn_together(max(widths) * network.steps)
            streams = Streams.of(together, together * max(widths), torch.device(device), seed, _STREAM, *once(widths))
            made.append(ConditionalNetworks((network,), (place,), widths, streams, _dtype(network, dtype)))
    if use_dense:
        drawn = dense.batches([networks[place] for place in use_dense], repeats=repeats, seed=seed, device=device, dtype=dtype)
        made += [replace(batch, places=tuple(use_dense[place] for place in batch.places)) for batch in drawn]
    return made


def _dtype(network: Network, dtype: str) -> torch.dtype:
    """float64 where float32 could not hold the potentials, and for spike counts, which can grow without bound."""
    drive = network.drive
    received = np.abs(drive.currents).max() if isinstance(drive, Given) else np.sqrt(drive.current_variances)
    sent = [*network.gains, network.bias_std, network.mean_gain or 0.0]
    scales = np.abs([*sent, *np.atleast_1d(received), size_of(network.neuron.threshold)])
    held = np.all((scales == 0) | ((scales > _SCALES[0]) & (scales < _SCALES[1])))
    return getattr(torch, dtype) if held and not network.neuron.reset_rule.counts else torch.float64


class Normals:
    """The block's stream of standard normal numbers, and buffers reused by every layer, since allocation costs more."""

    def __init__(self, block: ConditionalNetworks, chunk: int):
        device = block.streams.device
        size = block.streams.repeats * block.steps * max(block.widths)
        self.generator = block.streams.generator(chunk, "weights")
        self.drawn, self.product, self.spikes = (torch.empty(size, dtype=block.dtype, device=device) for _ in range(3))

    def draw(self, networks: int, steps: int, width: int) -> Tensor:
        """New numbers of shape (networks, steps, width); the next call overwrites them."""
        return self.drawn[: networks * steps * width].normal_(generator=self.generator).view(networks, steps, width)

    def of_covariance(self, covariance: Tensor, width: int) -> Tensor:
        """Independent columns with these covariances, shape (networks, steps, width); the next call overwrites them."""
        networks, steps, _ = covariance.shape
        normal = self.draw(networks, steps, width)
        if steps == 1:
            return normal.mul_(covariance.sqrt().to(normal.dtype))
        out = self.product[: normal.numel()].view(normal.shape)
        return torch.bmm(factor(covariance).to(normal.dtype), normal, out=out)


def _received(network: Network, layer: int, gram: Tensor, counts: Tensor, normals: Normals) -> Tensor:
    """Currents given the Gram matrices ``X Xᵀ`` of the layer before, ``delay`` steps later; (1, networks, steps, width)."""
    scale, shift = network.weight_law.connection(float(network.gains[layer]), int(network.widths[layer - 1]), network.mean_gain)
    delay, steps = network.neuron.delay, gram.shape[-1]
    covariance, mean = scale**2 * gram, shift * counts
    if delay:
        covariance, mean = torch.zeros_like(covariance), torch.zeros_like(mean)
        covariance[:, delay:, delay:] = scale**2 * gram[:, : steps - delay, : steps - delay]
        mean[:, delay:] = shift * counts[:, : steps - delay]
    currents = normals.of_covariance(covariance + network.bias_std**2, int(network.widths[layer]))
    return (currents.add_(mean[..., None]) if shift else currents)[None]


def _driven(block: ConditionalNetworks, chunk: int, normals: Normals, stop: Event) -> Tensor:
    """Currents of layer 1, shape (1, networks, steps, width)."""
    (network,), streams = block.networks, block.streams
    networks, steps, width, drive = streams.repeats, block.steps, block.widths[0], network.drive
    rows = (chunk * networks + np.arange(networks)) % drive.n_inputs

    def tensor(array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(streams.device)

    if isinstance(drive, Given):
        return tensor(drive.currents[rows]).to(block.dtype).expand(-1, -1, width).clone()[None]
    if isinstance(drive, White):
        return normals.draw(networks, steps, width).mul_(drive.std)[None]
    if isinstance(drive, SpikeTrains):
        draws, rates = streams.draws(chunk, "trains", dtype=block.dtype, stop=stop), tensor(drive.rates[rows])
        trains = torch.stack([draws.trains(rates, drive.kind) for _ in range(steps)], 1)
        return normals.of_covariance(drive.input_gain**2 / drive.rates.shape[1] * (trains @ trains.mT), width)[None]
    if isinstance(drive, Inputs) and drive.steps:
        return normals.of_covariance(tensor(drive.covariance(steps)[rows]), width)[None]
    held = np.sqrt(drive.current_variances)[rows, None, None]  # ConstantCurrents, and Inputs constant in time
    return (normals.draw(networks, 1, width) * tensor(held)).to(block.dtype).expand(-1, steps, -1).clone()[None]
