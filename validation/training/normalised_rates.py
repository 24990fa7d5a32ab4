"""Why a healthy BatchNorm is best left alone: six convolutions on moving bars, with γ as it is and scaled to firing rates."""

from __future__ import annotations

from threading import Event
from typing import Any

import torch
from torch import nn

import varflow as vf
from validation.training.twelve import TASKS, begun, inputs_of, learned
from validation.training.varflow_arms import BATCH, USUAL

__all__ = ["NAME", "looked_at", "trained_at"]

NAME = "conv"
LARGER = 4.0  # N(0, g²/n) with a gain g that keeps rates, over torch's default weights


def trained_at(
    rate: float | None, way: str, learning_rate: float, seed: int, *, folder: str, stop: Event | None = None
) -> dict[str, Any]:
    """Train the convolutions with BatchNorm once: ``way`` is ``gamma``, torch's weights and γ scaled to this rate, or
    ``larger``, with ``LARGER`` times these weights too, which BatchNorm takes out.
    """
    torch.set_num_threads(1)
    return learned(_begun(rate, way, seed, folder), TASKS[NAME], learning_rate, seed, folder, stop=stop)


def looked_at(rate: float | None, way: str, seed: int, *, folder: str) -> dict[str, Any]:
    """Before training: γ, rates and mean surrogate slope of each layer, coherence of gradients, and ``D`` of a step of 10⁻³."""
    torch.set_num_threads(1)
    model, (x, y) = _begun(rate, way, seed, folder), (part[:BATCH] for part in inputs_of(TASKS[NAME], folder)[:2])
    optimizer = torch.optim.Adam(model.parameters(), lr=USUAL)
    report = vf.audit(model, x, nn.functional.cross_entropy, targets=y, optimizer=optimizer)
    assert report.step is not None
    assert report.learning is not None
    rates, slopes = _measured(model, x)
    return {
        "gamma": [float(norm.weight.detach().mean()) for norm in _norms(model)],
        "rate": rates,
        "slope": slopes,
        "coherence": report.learning.mean_coherence,
        "D": report.step.change,
        "kept": [float(each) for each in report.step.kept],
        "advised": None if report.step.rate is None else float(f"{report.step.rate:.2g}"),
    }


def _begun(rate: float | None, way: str, seed: int, folder: str) -> nn.Module:
    task = TASKS[NAME]
    model = begun(task, "batch_norm", seed)
    if way == "larger":
        for layer in model.get_submodule("layers").modules():
            if isinstance(layer, nn.Conv2d):
                layer.weight.data.mul_(LARGER)
    if rate is not None:
        _scale(model, inputs_of(task, folder)[0][:BATCH], rate)
    return model


def _norms(model: nn.Module) -> list[nn.BatchNorm2d]:
    return [each for each in model.modules() if isinstance(each, nn.BatchNorm2d)]


def _scale(model: nn.Module, x: torch.Tensor, rate: float) -> None:
    """Scale γ of each layer, from the first on, until its late rate is this one; bisection of its logarithm."""
    for l, norm in enumerate(_norms(model)):
        low, high = 0.05, 50.0
        for _ in range(12):
            middle = (low * high) ** 0.5
            nn.init.constant_(norm.weight, middle)
            low, high = (low, middle) if _measured(model, x)[0][l] > rate else (middle, high)
    for norm in _norms(model):
        norm.reset_running_stats()


def _measured(model: nn.Module, x: torch.Tensor) -> tuple[list[float], list[float]]:
    """Late rate and mean surrogate slope ``1/(1 + (πu)²)`` of each layer, in train mode; ``u``: membrane over threshold."""
    seen: dict[nn.Module, list[tuple[float, float]]] = {}

    def see(neuron: nn.Module, inputs: Any, spikes: torch.Tensor) -> None:
        over: torch.Tensor = neuron.mem - neuron.threshold  # type: ignore[operator]
        seen.setdefault(neuron, []).append((float(spikes.mean()), float((1 / (1 + (torch.pi * over) ** 2)).mean())))

    hooks = [neuron.register_forward_hook(see) for neuron in model.get_submodule("neurons").children()]
    with torch.no_grad():
        model(x)
    for hook in hooks:
        hook.remove()
    late = [torch.tensor(steps[len(steps) // 2 :]).mean(0).tolist() for steps in seen.values()]
    return [rate for rate, _ in late], [slope for _, slope in late]
