"""The numbers of docs/quantising_models.md: networks rounded to few bits, untrained and trained on digits.

``python docs/quantising_models.py`` takes about three minutes.
"""

import copy
import warnings
from itertools import pairwise

import snntorch
import torch
from sklearn.datasets import load_digits

import varflow as vf

warnings.filterwarnings("ignore", category=DeprecationWarning)
STEPS = 20


def deep(seed, layers=20, width=256, decay=0.5, rate=0.15):
    """A network whose layers fire at this rate, and a batch."""
    torch.manual_seed(seed)
    sizes = [64] + [width] * layers
    modules = [
        module for n, m in pairwise(sizes) for module in (torch.nn.Linear(n, m), snntorch.Leaky(decay, init_hidden=True))
    ]
    model, inputs = torch.nn.Sequential(*modules), torch.rand(64, 64)
    vf.init.init_model(model, inputs, steps=STEPS, rate=rate)
    return model, inputs


class Classifier(torch.nn.Module):
    """Spikes of the last layer, summed over the steps."""

    def __init__(self, width=128, hidden=6):
        super().__init__()
        sizes = [64] + [width] * hidden + [10]
        self.weights = torch.nn.ModuleList(torch.nn.Linear(n, m) for n, m in pairwise(sizes))
        self.neurons = torch.nn.ModuleList(snntorch.Leaky(0.8) for _ in sizes[1:])

    def forward(self, x):
        membranes, total = [neuron.init_leaky() for neuron in self.neurons], 0.0
        for _ in range(STEPS):
            spikes = x
            for l, (weight, neuron) in enumerate(zip(self.weights, self.neurons, strict=True)):
                spikes, membranes[l] = neuron(weight(spikes), membranes[l])
            total = total + spikes
        return total


def digits(seed=0, epochs=15):
    """A trained classifier, and held-out images with labels."""
    data = load_digits()
    x, y = torch.tensor(data.data / 16, dtype=torch.float32), torch.tensor(data.target)
    torch.manual_seed(seed)
    order = torch.randperm(len(x))
    train, held_out = order[:1400], order[1400:]
    model = Classifier()
    vf.init.init_model(model, x[train[:64]])
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    for _ in range(epochs):
        for batch in torch.randperm(len(train)).split(64):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(x[train[batch]]) / 4, y[train[batch]]).backward()
            optimizer.step()
    return model, x[train[:128]], x[held_out], y[held_out]


def accuracy(model, x, y):
    with torch.no_grad():
        return float((model(x).argmax(1) == y).float().mean())


def nearest(model, bits, clips):
    """Rounded to the nearest, with the step of the smallest squared error among these fractions of min–max."""
    rounded, largest = copy.deepcopy(model), 2 ** (bits - 1) - 1
    for weight in (parameter for parameter in rounded.parameters() if parameter.dim() > 1):
        steps = [clip * weight.detach().abs().max() / largest for clip in clips]
        tried = [(weight.detach() / step).round().clamp(-largest, largest) * step for step in steps]
        weight.data = min(tried, key=lambda each: float((each - weight.detach()).square().sum()))
    return rounded


def furthest(report, kind):
    """Largest relative deviation of a late rate from full precision."""
    return float(abs(report.firing_rate[kind] / report.firing_rate["full"] - 1).max())


if __name__ == "__main__":
    for bits in (4, 3, 2):
        for seed in (0, 1):
            model, inputs = deep(seed)
            report = vf.init.quantise_(model, inputs, bits=bits, steps=STEPS)
            print(
                f"20 layers, {bits} bits, seed {seed}:",
                {kind: f"{furthest(report, kind):.0%}" for kind in ("minmax", "mse", "set")},
            )
    print(report)
    trained, batch, x, y = digits()
    print(f"digits, full precision: accuracy {accuracy(trained, x, y):.3f}")
    for bits in (8, 4, 3, 2):
        model = copy.deepcopy(trained)
        report = vf.init.quantise_(model, batch, bits=bits)
        off = {kind: f"{furthest(report, kind):.0%}" for kind in ("minmax", "mse", "set")}
        models = {
            "minmax": nearest(trained, bits, [1.0]),
            "mse": nearest(trained, bits, torch.linspace(0.1, 1, 91)),
            "set": model,
        }
        right = {kind: f"{accuracy(each, x, y):.3f}" for kind, each in models.items()}
        print(f"digits, {bits} bits: accuracy {right}, rates {off}")
    print(report)
