"""Ten layers learn digits from the weights of ``init_model``, not from torch's: the reason for all of it."""

from itertools import pairwise
from pathlib import Path

import pytest

import varflow as vf

torch = pytest.importorskip("torch")
snntorch = pytest.importorskip("snntorch")
datasets = pytest.importorskip("sklearn.datasets")

from torch import nn  # noqa: E402

SEEDS, TRAIN, BATCH, EPOCHS = range(3), 1437, 32, 5


class Deep(nn.Module):
    """Ten layers of 128 leaky neurons, twelve steps, a linear readout of the last spikes."""

    def __init__(self, surrogate="atan"):
        super().__init__()
        sizes = [64, *10 * [128]]
        self.weights = nn.ModuleList(nn.Linear(n, m) for n, m in pairwise(sizes))
        psi = getattr(snntorch.surrogate, surrogate)
        self.neurons = nn.ModuleList(snntorch.Leaky(0.5, spike_grad=psi()) for _ in self.weights)
        self.readout = nn.Linear(128, 10)

    def forward(self, x):
        membranes, out = [neuron.init_leaky() for neuron in self.neurons], 0.0
        for _ in range(12):
            spikes = x
            for l, (weight, neuron) in enumerate(zip(self.weights, self.neurons, strict=True)):
                spikes, membranes[l] = neuron(weight(spikes), membranes[l])
            out = out + self.readout(spikes)
        return out / 12


def digits():
    x, y = datasets.load_digits(return_X_y=True)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    x, y = torch.tensor(x / 16, dtype=torch.float32)[order], torch.tensor(y)[order]
    return x[:TRAIN], y[:TRAIN], x[TRAIN:], y[TRAIN:]


def kaiming(model):
    for weight in [*model.weights, model.readout]:
        nn.init.kaiming_normal_(weight.weight, nonlinearity="relu")
        nn.init.zeros_(weight.bias)


def accuracy(how, seed, surrogate="atan", width="keep"):
    """Of the test images, after five epochs of Adam."""
    x, y, test, labels = digits()
    torch.manual_seed(seed)
    model = Deep(surrogate)
    if how == "init_model":
        vf.init.init_model(model, x[:256], surrogate=width, generator=torch.Generator().manual_seed(seed))
    elif how == "Kaiming":
        kaiming(model)
    optimizer, shuffled = torch.optim.Adam(model.parameters(), lr=5e-4), torch.Generator().manual_seed(seed)
    for _ in range(EPOCHS):
        for chosen in torch.randperm(len(x), generator=shuffled).split(BATCH):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[chosen]), y[chosen]).backward()
            optimizer.step()
    with torch.no_grad():
        return float((model(test).argmax(1) == labels).double().mean())


PAGE = Path(__file__).parents[2] / "docs" / "models.md"
SCATTER = {
    "init_model": "`init_model` | 0.91 ± 0.03",
    "Kaiming": "Kaiming | 0.62 ± 0.07",
    "default": "torch's default | 0.09 ± 0.02",
}


@pytest.mark.slow
def test_ten_layers_learn_digits():
    """As on the page, up to four standard errors, since other CPUs round otherwise; torch's default weights stay at chance."""
    found = {how: sum(accuracy(how, seed) for seed in SEEDS) / len(SEEDS) for how in ("init_model", "Kaiming", "default")}
    print(found)
    for how, row in SCATTER.items():
        assert f"| {row} |" in PAGE.read_text(encoding="utf-8")
        mean, scatter = map(float, row.partition("| ")[2].split(" ± "))
        assert abs(found[how] - mean) < 4 * scatter / len(SEEDS) ** 0.5
    assert found["init_model"] > found["Kaiming"] > 0.3 > found["default"]


@pytest.mark.slow
def test_the_width_of_the_surrogate_matters_more_than_its_formula():
    """As on the page of surrogates: the widths set by ``init_model``, and snnTorch's own."""
    page = PAGE.with_name("surrogates.md").read_text(encoding="utf-8")
    for width, row in {"set": "the width set", "keep": "snnTorch's own width"}.items():
        shown = next(line for line in page.splitlines() if line.startswith(f"| {row} |")).strip("|").split("|")[1:]
        for surrogate, cell in zip(("atan", "sigmoid", "fast_sigmoid"), shown, strict=True):
            mean, error = map(float, cell.split(" ± "))
            measured = sum(accuracy("init_model", seed, surrogate, width) for seed in SEEDS) / len(SEEDS)
            assert abs(measured - mean) < 4 * error + 0.005, (surrogate, width)
