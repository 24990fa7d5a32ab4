"""Writes ``docs/few_spikes.md`` from ``docs/few-spikes.csv``: networks trained with a penalty on their spikes.

Run from the repository: ``python docs/few_spikes.py``. Runs already in the file are kept; all of them take a minute or two
on one core. They are made by the code that stands on the page.
"""

from __future__ import annotations

import csv
import re
from functools import reduce
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

import varflow as vf
from varflow._files import replace_files

RUNS = Path(__file__).with_name("few-spikes.csv")
COLUMNS = ("layers", "start", "penalty", "seed", "rate", "accuracy")
SEEDS = (0, 1, 2)
SETTINGS = [(4, 0.2, penalty) for penalty in (0.0, 1.0, 3.0, 10.0, 30.0)]
SETTINGS += [(4, 0.05, 0.0)]

PAGE = """# Few spikes

On neuromorphic hardware spikes cost energy and silence does not ([cost](cost.md)). Ask for a low rate and count:

```python
import snntorch
import torch
import varflow as vf

torch.manual_seed(0)
layers = []
for n in (784, 256, 256, 256):
    layers += [torch.nn.Linear(n, 256), snntorch.Leaky(0.5, init_hidden=True)]
model, images = torch.nn.Sequential(*layers), torch.rand(32, 784)
for rate in (0.2, 0.1):
    vf.init.init_model(model, images, steps=8, rate=rate)
    cost = vf.audit(model, images, steps=8).cost
    print(
        f"rate {rate}: {cost.spikes.sum():.0f} spikes, {cost.acs.sum():.2g} additions,",
        f"{cost.macs.sum():.2g} multiplications, {cost.energy / 1e6:.2f} µJ",
    )
```

```text
rate 0.2: 1634 spikes, 3.1e+05 additions, 1.6e+06 multiplications, 7.67 µJ
rate 0.1: 788 spikes, 1.6e+05 additions, 1.6e+06 multiplications, 7.53 µJ
```

**Half the spikes save 2 % of the energy here**, because the first layer multiplies numbers; inputs that are spikes make it
add. How low the rate of random weights can be is known from theory. Training goes far below that, but only if the loss
penalises spikes; otherwise the rate rises.

## Before training

Random weights sustain only rates above a limit. Without memory the variance of the potentials follows $V' = g^2
Q(\\theta/\\sqrt V)$, which has no stable fixed point with a rate $Q(\\theta/\\sqrt V)$ below 0.117: at lower rates activity
dies out over the layers. At finite width activity also fluctuates, so the limit is higher. The table shows the lowest rate
at which 99 % of networks are alive in the last layer, `vf.sparsest_rate(width=…, depth=…)`:

{widths}

With leak and reset, twenty plain layers of equal gain sustain these lowest [late rates](glossary.md), in theory at infinite
width and to about 5 %:

| reset | T | β = 0.3 | β = 0.5 | β = 0.7 | β = 0.9 | β = 0.95 |
|---|---|---|---|---|---|---|
| subtract, a step later: snnTorch `Leaky` | 4 | 0.15 | 0.11 | 0.19 | 0.26 | 0.30 |
| subtract, a step later: snnTorch `Leaky` | 8 | 0.14 | 0.10 | 0.18 | 0.27 | 0.28 |
| subtract, a step later: snnTorch `Leaky` | 16 | 0.14 | 0.12 | 0.15 | 0.24 | 0.26 |
| subtract at once: sinabs, SpikingJelly `v_reset=None` | 4 | 0.18 | 0.22 | 0.25 | 0.28 | 0.28 |
| subtract at once: sinabs, SpikingJelly `v_reset=None` | 8 | 0.17 | 0.21 | 0.26 | 0.29 | 0.30 |
| subtract at once: sinabs, SpikingJelly `v_reset=None` | 16 | 0.16 | 0.18 | 0.21 | 0.26 | 0.27 |
| to zero: SpikingJelly `LIFNode`, Norse | 4 | 0.13 | 0.13 | 0.17 | 0.17 | 0.17 |
| to zero: SpikingJelly `LIFNode`, Norse | 8 | 0.12 | 0.14 | 0.15 | 0.16 | 0.12 |
| to zero: SpikingJelly `LIFNode`, Norse | 16 | 0.13 | 0.13 | 0.14 | 0.07 | 0.08 |

The three lowest rates of the last two rows hold for twenty layers only, because activity with a long memory takes more
layers to die out: deep networks need about 0.15 there too. For six of these rates we simulated networks of width 2000 with
a tenth less gain: the rate fell from layer to layer, to less than 60 % in layer 20, and to silence in layer 40.

If you ask `init_model` for a lower rate in sixteen or more layers, it plans the nearest rate that is sustained and says so.
In fewer layers it scales each layer to the rate you ask for. A rate of 0.1 is as good a start as 0.2
([experiment](training.md#firing-rate)).

## While training

Add the mean rate of all neurons to the loss, times a penalty:

```python
import snntorch
import torch
from sklearn.datasets import load_digits

import varflow as vf

x, y = (torch.tensor(each) for each in load_digits(return_X_y=True))
x = (x / 16).float()
order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
train, test = order[:1440], order[1440:]


class Net(torch.nn.Module):
    def __init__(self, layers, width=128):
        super().__init__()
        self.weights = torch.nn.ModuleList(
            torch.nn.Linear(width if l else 64, width) for l in range(layers)
        )
        self.neurons = torch.nn.ModuleList(
            snntorch.Leaky(beta=0.5) for _ in range(layers)
        )
        self.readout = torch.nn.Linear(width, 10)

    def forward(self, images, steps=4):
        membranes, seen = [neuron.reset_mem() for neuron in self.neurons], []
        for _ in range(steps):
            spikes = images
            for l, (weight, neuron) in enumerate(zip(self.weights, self.neurons)):
                spikes, membranes[l] = neuron(weight(spikes), membranes[l])
                seen.append(spikes)
        # spikes of the last layer
        sent = torch.stack(seen[len(self.neurons) - 1 :: len(self.neurons)])
        # scores, and spikes per neuron and step
        return self.readout(sent.mean(0)), torch.stack(seen).mean()


def trained(penalty, layers=4, start=0.2, seed=0, epochs=8):
    torch.manual_seed(seed)
    model = Net(layers)
    vf.init.init_model(model, x[train[:128]], rate=start)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(epochs):
        for batch in torch.randperm(len(train)).split(48):
            scores, rate = model(x[train[batch]])
            error = torch.nn.functional.cross_entropy(scores, y[train[batch]])
            loss = error + penalty * rate
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        scores, rate = model(x[test])
    return float(rate), float((scores.argmax(1) == y[test]).float().mean())


rate, accuracy = trained(penalty=1.0, epochs=1)
print(f"test images after one epoch: rate {rate:.1f}, accuracy {accuracy:.1f}")
```

```text
test images after one epoch: rate 0.2, accuracy 0.9
```

{runs}

*Scikit-learn's digits, four layers of 128 snnTorch neurons, four steps, eight epochs, three seeds: mean ± standard error.
Additions: 128 for each spike that other neurons receive.*

- **Without a penalty, training raises the rate**, from 0.2 to 0.33 and from 0.05 to 0.27. A low initial rate does not last.
- **A penalty of 3 removes two thirds of the spikes** and costs less than a point of accuracy; a penalty of 10 removes five
  sixths and costs two points. The rate is then below the limit for random weights, because trained weights fit the spikes
  that they receive.
- **Too strong a penalty silences the network** for all three seeds, and accuracy stays at chance. So raise the penalty step
  by step, and watch the rates with [`vf.Monitor`](monitoring.md).

- **The multiplications of the first layer stay**: 17 000 per input in every row. At 4.6 pJ, against 0.9 pJ for an addition,
  they cost more than all spikes.

Compare the penalty with the loss, which is 2.3 at the start here; other tasks need other penalties. `python
docs/few_spikes.py` makes this page.
"""
WIDTHS, DEPTHS = (100, 300, 1000, 3000), (5, 20, 100)
WIDTH, STEPS = 128, 4  # of the networks that are trained

Runs = dict[tuple[int, float, float, int], list[float]]


def known() -> Runs:
    """Rate and accuracy of the runs in the file."""
    if not RUNS.exists():
        return {}
    with RUNS.open(newline="", encoding="utf-8") as file:
        return {
            (int(row["layers"]), float(row["start"]), float(row["penalty"]), int(row["seed"])): [
                float(row["rate"]),
                float(row["accuracy"]),
            ]
            for row in csv.DictReader(file)
        }


def complete() -> Runs:
    """All runs, each saved when it ends."""
    names: dict[str, Any] = {"print": lambda *values: None}
    exec(re.findall(r"^```python\n(.*?)^```$", PAGE, flags=re.DOTALL | re.MULTILINE)[-1], names)
    runs = known()
    for seed, setting in product(SEEDS, SETTINGS):
        if (*setting, seed) not in runs:
            layers, start, penalty = setting
            runs[*setting, seed] = names["trained"](penalty, layers, start, seed)
            rows = [[f"{value:g}" for value in (*key, *np.round(found, 4))] for key, found in sorted(runs.items())]
            replace_files({RUNS: "".join(",".join(row) + "\n" for row in [COLUMNS, *rows])})
    return runs


def widths() -> str:
    """Lowest rates by width and depth, without memory."""
    lines = ["| layers, width | " + " | ".join(map(str, WIDTHS)) + " |", "|---" * (len(WIDTHS) + 1) + "|"]
    for depth in DEPTHS:
        rates = vf.sparsest_rate(width=list(WIDTHS), depth=depth)
        lines.append(f"| {depth} | " + " | ".join(f"{rate:.3f}" for rate in rates) + " |")
    return "\n".join(lines)


def trained(runs: Runs) -> str:
    """Rates and accuracies by start and penalty."""
    titles = "| rate at the start | penalty | rate after training | spikes per input | additions | accuracy, % |"
    lines = [titles, "|---" * 6 + "|"]
    for layers, start, penalty in SETTINGS:
        values = np.array([runs[layers, start, penalty, seed] for seed in SEEDS])
        (rate, right), (of_rate, of_right) = values.mean(axis=0), values.std(axis=0, ddof=1) / len(SEEDS) ** 0.5
        spikes = rate * layers * WIDTH * STEPS
        additions = spikes * WIDTH * (layers - 1) / layers  # the readout averages the spikes of the last layer
        cells = [f"{start:g}", f"{penalty:g}", f"{rate:.3f} ± {of_rate:.3f}", f"{spikes:.0f}", f"{additions:.2g}"]
        lines.append(f"| {' | '.join(cells)} | {100 * right:.1f} ± {100 * of_right:.1f} |")
    return "\n".join(lines)


def page(runs: Runs) -> str:
    tables = {"{widths}": widths(), "{runs}": trained(runs)}
    for place in tables:  # the code on the page has braces of its own
        assert PAGE.count(place) == 1
    return reduce(lambda text, item: text.replace(*item), tables.items(), PAGE)


if __name__ == "__main__":
    replace_files({Path(__file__).with_suffix(".md"): page(complete())})
