"""Measures by how much gradient norms differ between 50 layers, with the libraries' surrogates and at the recommended width.

Run from the repository: ``python docs/surrogate_range.py`` (minutes), with SpikingJelly installed; it prints the numbers of the
table in docs/gradients.md.
"""

from __future__ import annotations

import snntorch
import torch
from spikingjelly.activation_based import neuron

import varflow as vf

WIDTH, DEPTH, STEPS, BATCH, NETWORKS = 500, 50, 8, 8, 3
NEURONS = {
    "snnTorch `Leaky(0.5)`": lambda: snntorch.Leaky(0.5, init_hidden=True),
    "SpikingJelly `LIFNode()`": neuron.LIFNode,
}


def measured(make, surrogate: str, seed: int) -> tuple[str, float]:
    """The surrogate, and the largest over the smallest gradient norm of a layer, by autograd at the planned gains."""
    torch.manual_seed(seed)
    layers = [module for _ in range(DEPTH) for module in (torch.nn.Linear(WIDTH, WIDTH), make())]
    model, x = torch.nn.Sequential(*layers), torch.rand(BATCH, WIDTH)
    vf.init.init_model(model, x, rate=0.2, steps=STEPS, surrogate=surrogate)
    found = vf.audit(model, x, steps=STEPS, gradients=True).layers
    norms = [layer.gradient_norm for layer in found]
    return repr(found[0].surrogate), max(norms) / min(norms)


def row(name: str, make) -> str:
    """One value for each network."""
    cells = []
    for surrogate in ("keep", "set"):
        names, ranges = zip(*(measured(make, surrogate, seed) for seed in range(NETWORKS)), strict=True)
        cells += [f"`{' '.join(dict.fromkeys(names))}`", " ".join(f"{each:.2g}" for each in ranges)]
    return f"| {name} | {' | '.join(cells)} |"


if __name__ == "__main__":
    for each in NEURONS.items():
        print(row(*each), flush=True)
