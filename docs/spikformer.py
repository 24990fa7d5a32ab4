"""Prints the table of ``docs/spikformer.md``: rates of ``spikformer_cifar10()`` before and after ``init_model``.

Run from the repository, with SpikingJelly on the path: ``python docs/spikformer.py``. About five minutes on one core.
"""

from __future__ import annotations

import torch
from spikingjelly.activation_based import functional
from spikingjelly.activation_based.model.spikformer import spikformer_cifar10

import varflow as vf

RATE = 0.2
SHOWN = ("attn.qkv_lif", "attn.attn_lif", "attn.proj_lif", "mlp.neuron1", "mlp.neuron2")


def images(seed: int) -> torch.Tensor:
    """Four random images."""
    return torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


def rates(model: torch.nn.Module, x: torch.Tensor) -> dict[str, tuple[float, float]]:
    """Measured and predicted late rates, by neuron."""
    return {layer.neuron_name: (layer.firing_rate, layer.predicted_rate) for layer in vf.audit(model, x).layers}


def main() -> None:
    torch.manual_seed(0)
    model = spikformer_cifar10()
    functional.set_step_mode(model, "m")
    before = rates(model, images(5))
    plan = vf.init.init_model(model, images(5), rate=RATE)
    after, fresh = rates(model, images(5)), rates(model, images(6))
    print("| block | " + " | ".join(SHOWN) + " |")
    print("|---" * (len(SHOWN) + 1) + "|")
    for words, of in (("default", before), ("init_model", after), ("init_model, other images", fresh)):
        for block in range(4):
            cells = ["{:.4f} ({:.4f})".format(*of[f"blocks.{block}.{name}"]) for name in SHOWN]
            print(f"| {block}, {words} | {' | '.join(cells)} |")
    print("scales:", [round(block.attn.scale, 4) for block in model.blocks])
    planned = {layer.neuron_name: layer.firing_rate for layer in plan.layers if layer.neuron_name}
    for words, of in (("batch", after), ("other images", fresh)):
        worst = max(abs(of[name][0] / rate - 1) for name, rate in planned.items())
        print(f"largest deviation from the plan, {words}: {worst:.3f}")
    print(*plan.notes, sep="\n")


if __name__ == "__main__":
    main()
