"""Operations that an audit counts are those of NeuroBench: its rules of counting, rebuilt as in version 2.3.0, and itself."""

import copy

import numpy as np
import pytest

import varflow as vf

torch, snntorch = pytest.importorskip("torch"), pytest.importorskip("snntorch")
utils = pytest.importorskip("snntorch.utils")

from attention_models import Attending, tokens  # noqa: E402

STEPS, WEIGHTS = 5, (torch.nn.Linear, torch.nn.Conv2d)


def model_and_inputs():
    """Strides, groups, an average pool, weights and inputs that are 0, a readout."""
    torch.manual_seed(0)
    body = [torch.nn.Conv2d(2, 8, 3, padding=1), torch.nn.Conv2d(8, 8, 3, stride=2, groups=2), torch.nn.AvgPool2d(2)]
    body += [torch.nn.Conv2d(8, 8, 2), torch.nn.Flatten(), torch.nn.Linear(8, 20), torch.nn.Linear(20, 5)]
    for place in (6, 4, 2, 1):
        body.insert(place, snntorch.Leaky(0.5, init_hidden=True))
    x = 3 * torch.rand(6, 2, 12, 12)
    x[:, :, :4] = 0
    model = torch.nn.Sequential(*body)
    vf.init.init_model(model, x, steps=STEPS)
    with torch.no_grad():
        model[2].weight[torch.rand_like(model[2].weight) < 0.3] = 0
    return model, x


def rebuilt(model, x):
    """Copies of the layers with weights of 1 where they are not 0, called on 1 where what they receive is not 0."""
    counts = {"Effective_MACs": 0.0, "Effective_ACs": 0.0, "Dense": 0.0}

    def binary(layer, received, every):
        twin = copy.deepcopy(layer)
        twin.bias = None
        twin.weight.data = torch.ones_like(twin.weight) if every else (twin.weight != 0).float()
        return float(twin.forward(torch.ones_like(received) if every else (received != 0).float()).sum()) / len(x)

    def count(layer, received):
        spiking = bool(((received[0] == 0) | (received[0].abs() == 1)).all())
        counts["Effective_ACs" if spiking else "Effective_MACs"] += binary(layer, received[0], every=False)
        counts["Dense"] += binary(layer, received[0], every=True)

    hooks = [layer.register_forward_pre_hook(count) for layer in model if isinstance(layer, WEIGHTS)]
    utils.reset(model)
    with torch.no_grad():
        for _ in range(STEPS):
            model(x)
    for hook in hooks:
        hook.remove()
    return counts


def test_operations_are_those_of_neurobench():
    model, x = model_and_inputs()
    report, counts = vf.audit(model, x, steps=STEPS), rebuilt(model, x)
    assert report.cost.neurobench["SynapticOperations"] == pytest.approx(counts, rel=1e-12)
    assert min(counts.values()) > 0
    assert report.cost.spikes[:-1] == pytest.approx([layer.spikes for layer in report.layers])
    assert report.cost.macs + report.cost.acs == pytest.approx(
        [*(layer.operations for layer in report.layers), report.cost.acs[-1]]
    )


def test_the_metrics_of_neurobench_itself():
    workload = pytest.importorskip("neurobench.metrics.workload")
    from neurobench.models import SNNTorchModel

    model, x = model_and_inputs()
    metrics, wrapped = vf.audit(model, x, steps=STEPS).cost.neurobench, SNNTorchModel(model)
    wrapped.register_hooks()
    utils.reset(model)
    with torch.no_grad():
        for _ in range(STEPS):
            model(x)
    for name, value in metrics.items():
        assert getattr(workload, name)()(wrapped, None, (x,)) == pytest.approx(value, rel=1e-12)


def test_sums_of_spikes_count_as_often_as_they_arrive():
    """Where NeuroBench counts one multiplication."""

    class Block(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weights = torch.nn.ModuleList(torch.nn.Linear(30, 30) for _ in range(3))
            self.neurons = torch.nn.ModuleList(snntorch.Leaky(0.5, init_hidden=True) for _ in range(3))

        def forward(self, x):
            x = self.neurons[0](self.weights[0](x))
            x = x + self.neurons[1](self.weights[1](x))
            return self.neurons[2](self.weights[2](x))

    torch.manual_seed(0)
    model, x = Block(), 3 * torch.rand(4, 30)
    vf.init.init_model(model, x, steps=STEPS)
    found = vf.audit(model, x, steps=STEPS).cost
    assert np.count_nonzero(found.macs) == 1
    assert found.acs[2] == pytest.approx(30 * (found.spikes[0] + found.spikes[1]))
    assert found.most_acs[1:3] == pytest.approx(found.dense[1:3])


class Stateful(torch.nn.Module):
    """A cell of Norse with its state."""

    def __init__(self, cell):
        super().__init__()
        self.cell, self.state = cell, None

    def forward(self, x):
        spikes, self.state = self.cell(x, self.state)
        return spikes


def norse_cell(name):
    return Stateful(getattr(pytest.importorskip("norse.torch"), name)(30, 30))


RECURRENT = {
    "RLeaky": lambda: snntorch.RLeaky(0.5, linear_features=30, init_hidden=True),
    "LIFRecurrentCell": lambda: norse_cell("LIFRecurrentCell"),
}


def recurrent_model(make):
    torch.manual_seed(0)
    model = torch.nn.Sequential(*(part for _ in range(2) for part in (torch.nn.Linear(30, 30), make())))
    for parameter in (each for each in model.parameters() if each.dim() > 1):
        torch.nn.init.normal_(parameter, std=0.5)
    return model, 3 * torch.rand(4, 30)


@pytest.mark.parametrize("kind", RECURRENT)
def test_weights_within_neurons_are_counted(kind):
    """Spikes of all steps but the last arrive at recurrent weights; other columns are those of theory."""
    model, x = recurrent_model(RECURRENT[kind])
    report = vf.audit(model, x, steps=STEPS)
    before = [30 * float(each[:-1].sum()) * 30 for each in (layer.firing_rates for layer in report.layers)]
    own = 30 * STEPS * 30 * (kind != "RLeaky")  # currents go through input weights
    assert report.cost.acs[:2] == pytest.approx([before[0], before[1] + 30 * report.layers[0].spikes])
    assert report.cost.macs[:2] == pytest.approx([30 * 30 * STEPS + own, own])
    assert report.cost.dense[:2] == pytest.approx(30 * 30 * STEPS * (2 + (kind != "RLeaky")))
    assert report.operations == report.cost.operations
    if kind == "RLeaky":
        predicted = vf.cost(vf.read(model, x, steps=STEPS))
        assert report.cost.most_acs == pytest.approx(predicted.most_acs)
        assert report.cost.dense == pytest.approx(predicted.dense)


class ManyHeads(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weights = torch.nn.ModuleList(torch.nn.Linear(32, 32) for _ in range(2))
        self.neurons = torch.nn.ModuleList(snntorch.Leaky(0.5, init_hidden=True) for _ in range(2))
        self.attention = torch.nn.MultiheadAttention(32, 4, batch_first=True)

    def forward(self, x):
        x = self.neurons[0](self.weights[0](x))
        return self.neurons[1](self.weights[1](self.attention(x, x, x)[0]))


UNCOUNTED = {
    "of spikes": (lambda: Attending("dot"), tokens(4, 16), "attention into attention", None),
    "by a function": (ManyHeads, 3 * torch.rand(4, 6, 32), "attention into weights.1", STEPS),
    "unknown cells": (
        lambda: torch.nn.Sequential(torch.nn.Linear(30, 30), norse_cell("LIFRefracRecurrentCell")),
        torch.rand(4, 30),
        "weights within 1.cell",
        STEPS,
    ),
}


@pytest.mark.parametrize("kind", UNCOUNTED)
def test_what_is_not_counted_is_named(kind):
    make, x, words, steps = UNCOUNTED[kind]
    report = vf.audit(make(), x, steps=steps)
    assert words in report.uncounted
    assert f"not counted: {words}" in " ".join(report.summary().split())
    assert report.operations == report.cost.operations > 0
    assert "nan" not in report.summary()


def test_readouts_are_operations_too():
    model, x = model_and_inputs()
    report = vf.audit(model, x, steps=STEPS)
    assert report.cost.acs[-1] > 0
    assert report.operations == report.cost.operations
    assert report.operations == pytest.approx(sum(layer.operations for layer in report.layers) + report.cost.acs[-1])
    assert report.uncounted == ()
