"""Operations that an audit counts are those of NeuroBench: its rules of counting, rebuilt as in version 2.3.0, and itself."""

import copy

import numpy as np
import pytest

import varflow as vf

torch, snntorch = pytest.importorskip("torch"), pytest.importorskip("snntorch")
utils = pytest.importorskip("snntorch.utils")
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
