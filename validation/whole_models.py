"""Whole models of other libraries: initialised, measured over several seeds, compared with the plan; audited before and after.

    python -m validation.whole_models [--width 512] [--depth 50] [--steps 12] [--channels 128] [--seeds 16]
                                      [--only NAME] [--json FILE]

Fifty-layer perceptrons of snnTorch, Norse and SpikingJelly (where installed) and a convolutional network of 20 layers. For
each: the mean over seeds of every layer's late rate within 5 % of the plan or 3 standard errors; in each single network the
median over layers within 15 % of it, and no dead layer; the audit names the first dead layer with PyTorch's own weights, and
finds the initialised network healthy. The negative control, a plan 15 % off, must be rejected. Exit code 0 if all holds.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import varflow as vf
from varflow._files import replace_files

CONV_DEPTH, CONV_SIDE = 20, 8


class Looped(nn.Module):
    """Weights and neurons alternate; the loop over time is in ``forward``."""

    def __init__(self, weights: Sequence[nn.Module], neuron: Callable[[], nn.Module], steps: int):
        super().__init__()
        self.steps = steps
        self.weights = nn.ModuleList(weights)
        self.neurons = nn.ModuleList([neuron() for _ in weights])

    def forward(self, x: Any) -> Any:
        states: list[Any] = [None] * len(self.weights)
        for neuron in self.neurons:
            for call in ("reset_mem", "reset"):
                if callable(getattr(neuron, call, None)):
                    getattr(neuron, call)()
                    break
        spikes = x
        for _ in range(self.steps):
            spikes = x
            for l, (weight, neuron) in enumerate(zip(self.weights, self.neurons, strict=True)):
                out = neuron(weight(spikes), *([] if states[l] is None else states[l]))
                spikes, *states[l] = out if isinstance(out, tuple) else (out,)
        return spikes


def models(width: int, depth: int, steps: int, channels: int) -> dict[str, tuple[Callable[[], nn.Module], torch.Tensor]]:
    """Name, maker and batch of every model whose library is installed."""
    generator = torch.Generator().manual_seed(0)
    batch, images = torch.rand(8, width, generator=generator), torch.rand(2, 1, CONV_SIDE, CONV_SIDE, generator=generator)
    dense = lambda: [nn.Linear(width, width) for _ in range(depth)]  # noqa: E731
    maps = lambda: [nn.Conv2d(channels if l else 1, channels, 3, padding=1) for l in range(CONV_DEPTH)]  # noqa: E731
    neurons = {
        "snnTorch Leaky(0.5)": ("snntorch", lambda lib: lib.Leaky(0.5)),
        "snnTorch Leaky(0.9)": ("snntorch", lambda lib: lib.Leaky(0.9)),
        "SpikingJelly LIFNode()": ("spikingjelly.activation_based.neuron", lambda lib: lib.LIFNode()),
        "Norse LIFBoxCell()": ("norse.torch", lambda lib: lib.LIFBoxCell()),
        "snnTorch Leaky(0.5), convolutions": ("snntorch", lambda lib: lib.Leaky(0.5)),
    }
    found = {}
    for name, (library, make) in neurons.items():
        try:
            module = import_module(library)
        except ImportError:
            print(f"{name}: {library} is not installed")
            continue
        convolutional = "convolutions" in name
        layers = maps if convolutional else dense
        maker = lambda make=make, module=module, layers=layers: Looped(layers(), lambda: make(module), steps)  # noqa: E731
        found[name] = (maker, images if convolutional else batch)
    return found


def late_rates(model: Any, x: torch.Tensor) -> np.ndarray:
    """Spikes per neuron and step over the second half of the steps, layer by layer, counted by a plain forward hook."""
    counts: dict[Any, list[float]] = {neuron: [] for neuron in model.neurons}

    def hook(neuron: Any, args: Any, out: Any) -> None:
        counts[neuron].append(float((out[0] if isinstance(out, tuple) else out).mean()))

    handles = [neuron.register_forward_hook(hook) for neuron in model.neurons]
    with torch.no_grad():
        model(x)
    for handle in handles:
        handle.remove()
    return np.array([np.mean(rates[len(rates) // 2 :]) for rates in counts.values()])


def examine(maker: Callable[[], Any], x: torch.Tensor, seeds: int) -> dict[str, Any]:
    """All numbers and verdicts of one model."""
    torch.manual_seed(0)
    model = maker()
    before = vf.audit(model, x)
    rates, planned, after = [], np.empty(0), before
    for seed in range(seeds):
        plan = vf.init.init_model(model, x, rate=0.2, generator=torch.Generator().manual_seed(seed))
        planned = np.array([layer.firing_rate for layer in plan.layers])
        rates.append(late_rates(model, x))
        after = vf.audit(model, x) if seed == 0 else after
    measured = np.array(rates)
    error = measured.std(0, ddof=1) / np.sqrt(seeds)
    single = np.abs(np.median(measured / planned, axis=1) - 1)
    return {
        "dead_before": before.first_dead,
        "cause": before.cause,
        "healthy_after": after.healthy,
        "problems_after": after.problems,
        "planned": planned.tolist(),
        "measured": measured.mean(0).tolist(),
        "standard_error": error.tolist(),
        "worst_layer": float(np.max(np.abs(measured.mean(0) / planned - 1))),
        "worst_layer_in_errors": float(np.max(np.abs(measured.mean(0) - planned) / error)),
        "layers_within": _within(measured.mean(0), planned, error),
        "control_rejected": not _within(measured.mean(0), 1.15 * planned, error),
        "worst_median_of_one_network": float(single.max()),
        "networks_within": float(np.mean(single < 0.15)),
        "no_dead_layer": bool((measured > 0).all()),
    }


def _within(mean: np.ndarray, planned: np.ndarray, error: np.ndarray) -> bool:
    return bool(np.all(np.abs(mean - planned) < np.maximum(0.05 * planned, 3 * error)))


def holds(result: dict[str, Any]) -> bool:
    names = ("dead_before", "healthy_after", "layers_within", "control_rejected", "no_dead_layer")
    return all(result[name] for name in names) and result["networks_within"] == 1.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("width", 512), ("depth", 50), ("steps", 12), ("channels", 128), ("seeds", 16)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--only", default="")
    parser.add_argument("--json", default="")
    options = parser.parse_args()
    results = {}
    for name, (maker, x) in models(options.width, options.depth, options.steps, options.channels).items():
        if options.only not in name:
            continue
        results[name] = found = examine(maker, x, options.seeds)
        verdict = "holds" if holds(found) else "fails"
        numbers = (
            "dead_before",
            "cause",
            "worst_layer",
            "worst_layer_in_errors",
            "worst_median_of_one_network",
            "networks_within",
        )
        print(f"{name}: {verdict}; " + ", ".join(f"{key} {_short(found[key])}" for key in numbers), flush=True)
        for problem in found["problems_after"]:
            print(f"  after: {problem}")
    if options.json:
        replace_files({Path(options.json): json.dumps(results, indent=1)})
    return 0 if results and all(map(holds, results.values())) else 1


def _short(value: Any) -> Any:
    return f"{value:.3g}" if isinstance(value, float) else value


if __name__ == "__main__":
    sys.exit(main())
