"""Training a :class:`Design` on a set of images, with what is seen in every layer after each epoch."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

import torch
from torch import nn

import varflow as vf
from validation.training.data import FOLDER, load
from validation.training.networks import Design, Network, build
from validation.training.spiking import Spiking
from varflow.campaign import Cancelled

__all__ = ["Schedule", "measured", "trained"]

RATES = ("constant", "cosine", "one_cycle", "warm_up")
FIRST = 1e-5  # learning rate with which a warm-up begins
OPTIMISERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
SEEN = 256  # test images on which layers are measured


@dataclass(frozen=True, slots=True)
class Schedule:
    """Adam or AdamW with cross-entropy: epochs, batch, and the learning rate, which ``rate`` lets vary over the steps.

    ``constant``; ``cosine``, from ``learning_rate`` to 0; ``one_cycle``, torch's OneCycleLR with this maximum;
    ``warm_up``, a geometric growth from ``FIRST`` over the first half of the steps, then as the cosine to 0.
    """

    epochs: int = 5
    batch: int = 100
    learning_rate: float = 1e-3
    rate: str = "one_cycle"
    epsilon: float = 1e-8  # of Adam
    optimizer: str = "adam"

    def __post_init__(self) -> None:
        if self.rate not in RATES:
            raise vf.DomainError("rate", self.rate, f"is unknown; choose from {', '.join(RATES)}")
        if self.optimizer not in OPTIMISERS:
            raise vf.DomainError("optimizer", self.optimizer, f"is unknown; choose from {', '.join(OPTIMISERS)}")

    def of(self, optimizer: torch.optim.Optimizer, steps: int) -> Any:
        if self.rate == "one_cycle":
            return torch.optim.lr_scheduler.OneCycleLR(optimizer, self.learning_rate, total_steps=steps)
        if self.rate == "cosine":
            return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        if self.rate == "warm_up":
            half = steps // 2
            ratio = (self.learning_rate / FIRST) ** (1 / half)
            parts = [
                torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: ratio ** (step - half)),
                torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps - half),
            ]
            return torch.optim.lr_scheduler.SequentialLR(optimizer, parts, [half])
        return torch.optim.lr_scheduler.ConstantLR(optimizer, 1.0)


def trained(
    design: Design,
    schedule: Schedule,
    data: str,
    seed: int,
    *,
    images: int | None = None,
    test_images: int | None = None,
    device: str = "cpu",
    folder: str | None = None,
    stop: Event | None = None,
) -> dict[str, Any]:
    """Train once. Accuracy and loss after every epoch, and per-layer measurements; entry 0 is before training.

    One thread, so that the numbers do not depend on how many there are. Runs with equal seeds see equal batches.
    """
    torch.set_num_threads(1)
    whole = load(data, FOLDER if folder is None else Path(folder)).first(images or 10**9, test_images or 10**9)
    x, y, test_x, test_y = (torch.from_numpy(part).to(device) for part in (whole.x, whole.y, whole.test_x, whole.test_y))
    network = build(design, x, whole.shape, whole.classes, torch.Generator().manual_seed(seed)).to(device)
    optimizer = OPTIMISERS[schedule.optimizer](network.parameters(), lr=schedule.learning_rate, eps=schedule.epsilon)
    batches = math.ceil(len(x) / schedule.batch)
    rate, order = schedule.of(optimizer, schedule.epochs * batches), torch.Generator().manual_seed(seed)
    epochs, start = [_after(network, test_x, test_y, math.nan)], time.perf_counter()
    for _ in range(schedule.epochs):
        losses = []
        for chosen in torch.randperm(len(x), generator=order).split(schedule.batch):
            if stop is not None and stop.is_set():
                raise Cancelled
            optimizer.zero_grad(set_to_none=True)
            loss = nn.functional.cross_entropy(network(x[chosen]), y[chosen])
            loss.backward()
            optimizer.step()
            rate.step()
            losses.append(loss.detach())
        epochs.append(_after(network, test_x, test_y, float(torch.stack(losses).mean())))
    return {"epochs": epochs, "seconds": time.perf_counter() - start}


def _after(network: Network, x: torch.Tensor, y: torch.Tensor, loss: float) -> dict[str, Any]:
    """Accuracy on the test images, the mean training loss of the epoch, and what is seen in the layers."""
    network.eval()
    with torch.no_grad():
        right = sum(
            int((network(part).argmax(1) == labels).sum()) for part, labels in zip(x.split(1000), y.split(1000), strict=True)
        )
    found = {"accuracy": right / len(x), "loss": None if math.isnan(loss) else loss}
    found |= measured(network, x[:SEEN], y[:SEEN])
    network.train()
    return found


def measured(network: Network, x: torch.Tensor, y: torch.Tensor) -> dict[str, list[float]]:
    """Of every layer: firing rate, variance of membranes over neurons, norm of the loss gradient with respect to its currents,
    fraction of dead neurons, and overlap of the spikes of two images.

    The overlap is ``R = Σ_t x·x̂ / √(Σ_t |x|² Σ_t |x̂|²)``, over all pairs of images that both have spikes.
    """
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    loss = nn.functional.cross_entropy(network(x, seen), y)
    gradients = torch.autograd.grad(loss, [currents for currents, _ in seen])
    spikes, layers = (
        [each.detach() for _, each in seen],
        [neurons for neurons in network.neurons if isinstance(neurons, Spiking)],
    )
    return {
        "rate": [float(each.mean()) for each in spikes],
        "variance": [float(each.membranes.flatten(2).var(-1).mean()) for each in layers if each.membranes is not None],
        "gradient_norm": [float(each.norm()) for each in gradients],
        "dead": [float((each.sum((0, 1)) == 0).double().mean()) for each in spikes],
        "overlap": [_overlap(each) for each in spikes],
    }


def _overlap(spikes: torch.Tensor) -> float:
    rasters = spikes.transpose(0, 1).flatten(1).double()
    rasters = rasters[rasters.any(1)]
    if len(rasters) < 2:
        return 0.0
    unit = rasters / rasters.norm(dim=1, keepdim=True)
    return float((unit.sum(0).square().sum() - len(unit)) / (len(unit) * (len(unit) - 1)))
