"""Twelve pairs of a task and a model that users would recognise, and one training of one of them.

Choices (tasks, sizes, epochs, ways to begin, seeds) were fixed before ways were compared; sizes by torch's default and
BatchNorm with one seed. Nothing here imports varflow, so that its changes do not make these trainings anew.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import torch
from torch import nn

from validation.training.library_models import Norse, SnnTorch, Spikformer, SpikingJelly, chain, convolutions
from validation.training.made_data import MADE

__all__ = ["BEGINNINGS", "TASKS", "Task", "begun", "inputs_of", "learned", "trained"]


@dataclass(frozen=True, slots=True)
class Task:
    """Data by name, a maker of the model, and how long it is trained.

    ``make(**changes)`` takes ``structure`` and ``normalised``; ``normalised`` is False for models that have BatchNorm anyway.
    """

    words: str
    data: str
    make: Callable[..., nn.Module]
    epochs: int
    batch: int = 32
    images: int = 0
    test_images: int = 0
    library: str = "snntorch"
    normalised: bool = False

    @property
    def dense(self) -> bool:
        """True for models that take images as rows of numbers."""
        return isinstance(self.make, partial) and self.make.func is chain


LEAKY, JELLY = SnnTorch(0.5), SpikingJelly(2.0)
IF, LIF = SpikingJelly(None, detach_reset=True), SpikingJelly(2.0, detach_reset=True)
SMALL: dict[str, Any] = {"data": "fashion_mnist", "images": 1000, "test_images": 1000}
DIGITS: dict[str, Any] = {"data": "digits", "images": 1437, "test_images": 360, "batch": 64}

TASKS: dict[str, Task] = {
    "time": Task("spike trains, 8 dense layers", "trains", partial(chain, SnnTorch(0.9), 140, 128, 8, 10, steps=None), 8),
    "conv": Task(
        "moving bars, 6 convolutions",
        "bars",
        partial(convolutions, SnnTorch(0.7), [2, *[16] * 6], [], 16, 8, steps=None, normalised=False),
        6,
    ),
    "digits15": Task(
        "digits, 15 dense layers",
        make=partial(chain, JELLY, 64, 128, 15, 10, steps=4),
        epochs=12,
        library="spikingjelly",
        **DIGITS,
    ),
    "digits8": Task(
        "digits, 8 dense layers",
        make=partial(chain, Norse(200.0), 64, 100, 8, 10, steps=8),
        epochs=7,
        library="norse",
        **DIGITS,
    ),
    "fashion10": Task(
        "Fashion-MNIST, 10 dense layers",
        make=partial(chain, LEAKY, 784, 128, 10, 10, steps=4),
        epochs=10,
        **SMALL,
    ),
    "recurrent": Task(
        "spike trains, 2 recurrent layers",
        "trains",
        partial(chain, SnnTorch(0.9, recurrent=128), 140, 128, 2, 10, steps=None),
        12,
    ),
    "recall": Task(
        "delayed recall, 2 recurrent layers",
        "recall",
        partial(chain, SnnTorch(0.95, recurrent=100), 70, 100, 2, 8, steps=None, last=4),
        12,
    ),
    "shortcut20": Task(
        "Fashion-MNIST, 20 dense layers with membrane shortcuts",
        make=partial(chain, LEAKY, 784, 100, 20, 10, steps=4, structure="membrane_shortcut"),
        epochs=6,
        **SMALL,
    ),
    "conv_bn": Task(
        "moving bars, 4 convolutions with BatchNorm and max pools",
        "bars",
        partial(convolutions, SnnTorch(0.7), [2, 16, 16, 32, 32], [1, 3], 16, 8, steps=None),
        8,
        normalised=True,
    ),
    "csnn": Task(
        "Fashion-MNIST, 3 convolutions with BatchNorm and max pools",
        make=partial(convolutions, IF, [1, 16, 16, 32], [1, 2], 28, 10, steps=4),
        epochs=6,
        library="spikingjelly",
        normalised=True,
        **SMALL,
    ),
    "sew": Task(
        "moving bars, SEW: 2 convolutions and 2 blocks of two, with BatchNorm",
        "bars",
        partial(convolutions, IF, [2, *[16] * 6], [1], 16, 8, steps=None, structure="sew_add"),
        8,
        library="spikingjelly",
        normalised=True,
    ),
    "spikformer": Task(
        "digits, Spikformer: 16 tokens, 2 blocks",
        make=partial(Spikformer, LIF, 1, 64, 2, 10, steps=4),
        epochs=8,
        library="spikingjelly",
        normalised=True,
        **{**DIGITS, "images": 720},
    ),
}

BEGINNINGS = ("torch", "kaiming", "batch_norm")


def inputs_of(task: Task, folder: str) -> list[torch.Tensor]:
    """Inputs and labels for training and for test. Images have a checksum of their own (``data``)."""
    if task.data in MADE:
        return [torch.from_numpy(part) for part in MADE[task.data]()]
    loaded = import_module("validation.training.data").load(task.data, Path(folder)).first(task.images, task.test_images)
    x, test_x = loaded.x, loaded.test_x
    if not task.dense:
        x, test_x = (np.reshape(part, (len(part), *loaded.shape)) for part in (x, test_x))
    return [torch.from_numpy(part) for part in (x, loaded.y, test_x, loaded.test_y)]


def begun(task: Task, beginning: str, seed: int, **changes: Any) -> nn.Module:
    """The model with its first weights: torch's, Kaiming's, or torch's with a BatchNorm before every layer of neurons."""
    if beginning == "batch_norm" and not task.normalised:
        changes["normalised"] = True
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = task.make(**changes)
        if beginning == "kaiming":
            for module in model.modules():
                if isinstance(module, nn.Linear | nn.Conv2d):
                    nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                    if module.bias is not None:
                        nn.init.zeros_(module.bias)
    return model


def trained(
    name: str, beginning: str, rate: float, seed: int, *, folder: str, epochs: int | None = None, stop: Event | None = None
) -> dict[str, Any]:
    """Train a task's model once with Adam at a constant learning rate."""
    torch.set_num_threads(1)
    task = TASKS[name]
    return learned(begun(task, beginning, seed), task, rate, seed, folder, epochs, stop)


def learned(
    model: nn.Module,
    task: Task,
    rate: float,
    seed: int,
    folder: str,
    epochs: int | None = None,
    stop: Event | None = None,
    first_rate: float | None = None,
) -> dict[str, Any]:
    """Test accuracy after 1, 5 and all epochs, and the mean loss of the last. Runs of equal seeds see equal batches.

    ``first_rate``: learning rate of the first layer, if it has its own.
    """
    x, y, test_x, test_y = inputs_of(task, folder)
    first = {id(each) for each in model.get_submodule("layers.0").parameters()}
    groups: list[dict[str, Any]] = [
        {"params": [each for each in model.parameters() if (id(each) in first) is at]} for at in (True, False)
    ]
    groups[0]["lr"] = first_rate or rate
    optimizer = torch.optim.Adam(groups if first_rate else model.parameters(), lr=rate)
    order, epochs = torch.Generator().manual_seed(seed), epochs or task.epochs
    accuracies: dict[int, float] = {}
    losses: list[float] = []
    for epoch in range(1, epochs + 1):
        losses = []
        model.train()
        for chosen in torch.randperm(len(x), generator=order).split(task.batch):
            if stop is not None and stop.is_set():
                raise import_module("varflow.campaign").Cancelled
            optimizer.zero_grad(set_to_none=True)
            loss = nn.functional.cross_entropy(model(x[chosen]), y[chosen])
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
        if epoch in {1, 5, epochs}:
            accuracies[epoch] = accuracy(model, test_x, test_y)
    return {"accuracy": {str(epoch): found for epoch, found in accuracies.items()}, "loss": float(np.mean(losses))}


def accuracy(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
    """Fraction of right answers."""
    model.eval()
    with torch.no_grad():
        right = sum(
            int((model(part).argmax(1) == labels).sum()) for part, labels in zip(x.split(128), y.split(128), strict=True)
        )
    return right / len(x)
