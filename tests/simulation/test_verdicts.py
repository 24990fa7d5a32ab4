"""Verdicts of an audit, layer by layer: weak, dead, saturated; outputs judged apart; short messages; spikes and operations."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

import varflow as vf
from varflow.results import AuditedLayer, AuditReport
from varflow.results.audited_layer import FLOOR, MOSTLY

STEPS, INPUTS = 10, 16


def layer(name="fc1", rate=0.2, **changes):
    values = {
        "name": name,
        "neuron_name": f"lif.{name}",
        "neuron": vf.Neuron(),
        "width": 50,
        "gain": 2.5,
        "bias_std": 0.0,
        "bias_mean": 0.0,
        "firing_rate": rate,
        "predicted_rate": rate,
        "predicted_std": 0.01,
        "variance": 1.0,
        "mean": 0.0,
        "predicted_variance": 1.0,
        "dead_fraction": 0.1,
        "saturated_fraction": 0.0,
        "survival": np.full(INPUTS, float(rate > 0)),
        "firing_rates": np.full(STEPS, rate),
        "gains": {name: 2.5},
    }
    return AuditedLayer(**values | changes)


def report(*layers, first_dead=None, cause=None, fix_layer=None, fix_gain=None, **changes):
    return AuditReport(tuple(layers), STEPS, INPUTS, first_dead, cause, fix_layer, fix_gain, "infinite width", **changes)


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, "healthy"),
        ({"rate": 1.01 * FLOOR}, "healthy"),
        ({"rate": 0.99 * FLOOR}, "weak"),
        ({"dead_fraction": MOSTLY + 0.01}, "weak"),
        ({"rate": 0.018, "dead_fraction": MOSTLY + 0.01}, "healthy"),  # 2.9 spikes per neuron: chance
        ({"rate": 0.0}, "dead"),
        ({"saturated_fraction": 0.51}, "saturated"),
        ({"variance": 1.01e4}, "saturated"),
        ({"variance": 1e9, "neuron": None}, "healthy"),  # no threshold is known
    ],
)
def test_verdict_of_a_layer_and_its_network(changes, verdict):
    """One odd layer of three makes a network unhealthy if it is hidden, not if it is the output."""
    odd = layer("odd", **changes)
    assert odd.verdict == verdict
    hidden, last = report(layer(), odd, layer("fc3", output=True)), report(layer(), replace(odd, output=True))
    assert hidden.healthy == (verdict == "healthy")
    assert last.healthy
    assert bool(last.remarks) == (verdict != "healthy")
    assert hidden.remarks == []
    assert verdict in repr(hidden)
    assert verdict in repr(last)


def test_the_lowest_cause_is_named_and_the_output_stays_a_row():
    dead = [layer(f"fc{l}", rate=0.0) for l in (2, 3)]
    found = report(
        layer(), *dead, first_dead="fc2", cause="below the critical gain", fix_layer="fc2", fix_gain=5.0, notes=("a note",)
    )
    (problem,) = found.problems
    assert problem.startswith("fc2 never spikes in the second half of the steps (gain 2.5): below the critical gain: ")
    assert "fc3" not in problem
    assert "To begin with: vf.init.normal_(model.fc2.weight, 5)" in problem
    output = report(layer(), layer("fc2", rate=0.0, output=True), first_dead="fc2", cause="starved")
    assert (output.first_dead, output.healthy, len(output.layers)) == ("fc2", True, 2)
    assert output["fc2"].firing_rate == 0
    assert any(line.startswith("fc2") and "dead (output)" in line for line in repr(output).splitlines())


def test_messages_are_short_whatever_the_size_of_the_model():
    """Sixty layers with long names, each a sum of twenty modules; every message in a table stays below 410 characters."""
    names = [f"backbone.stage{l}.block{l}.branch.conv{l}" for l in range(60)]
    sums = ["+".join(names[max(l - 20, 0) : l + 1]) for l in range(60)]
    gains = [dict.fromkeys(name.split("+"), 0.5) for name in sums]
    options = {"dead": {"rate": 0.0}, "weak": {"rate": 0.001}, "saturated": {"saturated_fraction": 1.0, "variance": 1e5}}
    for kind, odd in options.items():
        layers = [layer(name, **odd, gains=own, neuron_name="backbone.lif") for name, own in zip(sums, gains, strict=True)]
        first = {"first_dead": sums[0], "cause": "leak or reset"} if kind == "dead" else {}
        found = report(*layers, **first, fix_layer=names[0], fix_gain=4.0)
        lines = [*found.problems, *repr(found).splitlines()]
        assert found.problems
        assert max(map(len, lines)) < 410
        with pytest.raises(vf.results.audit.UnhealthyError) as end:
            found.assert_healthy()
        assert end.value.report is found


def test_spikes_and_operations_in_total():
    """Spikes are those of the layers; operations those of the cost, which also counts readouts."""
    cost = vf.cost(vf.Network(width=50, depth=2, gain=2.6))
    found = report(layer(operations=100.0), layer("fc2", rate=0.1, operations=50.0), cost=cost)
    assert [each.spikes for each in found.layers] == pytest.approx([50 * 10 * 0.2, 50 * 10 * 0.1])
    assert (found.spikes, found.operations) == (pytest.approx(150), cost.operations)
    (total,) = (line for line in repr(found).splitlines() if line.startswith("total"))
    assert total.split() == ["total", "150", f"{cost.operations:.3g}"]
    told = found.to_dict()
    assert (told["spikes"], told["operations"], told["layers"][0]["verdict"]) == (
        pytest.approx(150),
        cost.operations,
        "healthy",
    )
    unknown = report(layer(), layer("fc2"))
    assert math.isnan(unknown.operations)
    assert unknown.to_dict()["operations"] is None
    json.dumps(unknown.to_dict(), allow_nan=False)


def test_neurons_that_are_only_measured():
    odd = layer(neuron=None, predicted_rate=math.nan, predicted_std=math.nan, predicted_variance=math.nan)
    found = report(odd)
    assert found.healthy
    assert found.to_dict()["layers"][0]["neuron"] is None
    assert "–" in repr(found).splitlines()[2]
    assert len(found.plot().axes) == 2


# Synaptic operations of one call: with all weights 1, the outputs add up to them.


def modules():
    torch = pytest.importorskip("torch")
    nn = torch.nn
    return {
        "dense": (nn.Linear(12, 7, bias=False), (5, 12)),
        "dense, axes": (nn.Linear(12, 7, bias=False), (5, 3, 12)),
        "strided": (nn.Conv2d(4, 6, 3, stride=2, padding=1, bias=False), (5, 4, 9, 9)),
        "groups": (nn.Conv2d(4, 6, 3, padding=2, dilation=2, groups=2, bias=False), (5, 4, 9, 9)),
        "one map": (nn.Conv2d(4, 6, 3, bias=False), (4, 9, 9)),
        "1d": (nn.Conv1d(4, 6, 5, padding=2, bias=False), (5, 4, 9)),
        "transposed": (nn.ConvTranspose2d(4, 6, 3, stride=2, output_padding=1, groups=2, bias=False), (5, 4, 5, 5)),
    }


def test_operations_of_an_audit_are_those_that_hooks_count():
    """Spikes into each Linear times its outputs; numbers of the input count as multiplications where they are not 0."""
    torch, _ = pytest.importorskip("torch"), pytest.importorskip("snntorch")
    from spiking_models import Looped

    torch.manual_seed(0)
    model, x, counted = Looped(32, 3, 4), torch.rand(5, 32) - 0.5, {}
    x[:, ::2] = 0
    vf.init.init_model(model, x, generator=torch.Generator().manual_seed(0))
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_hook(
                lambda m, args, out, name=name: counted.update({name: counted.get(name, 0) + int((args[0] != 0).sum())})
            )
    report = vf.audit(model, x)
    counted.clear()
    with torch.no_grad():
        model(x)
    assert [layer.operations for layer in report.layers] == [counted[layer.name] * 32 / 5 for layer in report.layers]
    assert [layer.output for layer in report.layers] == [False, False, False]  # a readout follows
    assert report.spikes > report.layers[0].spikes > 0


def test_weights_that_receive_numbers_multiply_each_that_is_not_zero():
    """Currents of other weights, averages of spikes and their sums; weights in a row are all counted, in one layer."""
    torch, snntorch = pytest.importorskip("torch"), pytest.importorskip("snntorch")
    from varflow.torch_models.tracing.weights import synaptic_operations

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.maps = torch.nn.ModuleList(
                torch.nn.Conv2d(*sizes, padding="same") for sizes in ((1, 8, 3), (8, 8, 3), (8, 8, 3))
            )
            self.depthwise = torch.nn.Conv2d(8, 8, 3, groups=8)
            self.pointwise = torch.nn.Conv2d(8, 6, 1)
            self.lif = torch.nn.ModuleList(snntorch.Leaky(0.5, init_hidden=True) for _ in range(4))

        def forward(self, x):
            first = self.lif[0](self.maps[0](x))
            second = self.lif[1](self.maps[1](first))
            third = self.lif[2](self.maps[2](torch.nn.functional.avg_pool2d(first + second, 2)))
            return self.lif[3](self.pointwise(self.depthwise(third)))

    torch.manual_seed(0)
    model, x, counted = Model(), 3 * torch.rand(4, 1, 8, 8), {}
    vf.init.init_model(model, x, steps=5, generator=torch.Generator().manual_seed(0))
    report = vf.audit(model, x, steps=5)
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(
                lambda m, args, out, name=name: counted.update(
                    {name: counted.get(name, 0) + float(synaptic_operations(m, args[0] != 0)) / 4}
                )
            )
    for lif in model.lif:
        lif.reset_mem()
    with torch.no_grad():
        for _ in range(5):
            model(x)
    row = counted["depthwise"] + counted["pointwise"]
    assert [layer.operations for layer in report.layers] == [*(counted[f"maps.{n}"] for n in range(3)), row]
    assert report.operations == sum(counted.values())
    assert counted["depthwise"] > 0


@pytest.mark.parametrize("case", ["dense", "dense, axes", "strided", "groups", "one map", "1d", "transposed"])
def test_synaptic_operations(case):
    torch = pytest.importorskip("torch")
    from varflow.torch_models.tracing.weights import synaptic_operations

    module, shape = modules()[case]
    spikes = (torch.rand(shape, generator=torch.Generator().manual_seed(0)) < 0.2).float()
    counted = float(synaptic_operations(module, spikes))
    with torch.no_grad():
        module.weight.fill_(1.0)
        assert counted == pytest.approx(float(module(spikes).sum()), rel=1e-6)
    assert counted > 0


def test_operations_of_weights_called_for_several_layers_count_once():
    torch, snntorch = pytest.importorskip("torch"), pytest.importorskip("snntorch")
    from varflow.torch_models.tracing.weights import synaptic_operations

    torch.manual_seed(0)
    shared, lif = torch.nn.Linear(50, 50), [snntorch.Leaky(0.5, init_hidden=True) for _ in range(2)]
    model, x, counted = torch.nn.Sequential(shared, lif[0], shared, lif[1]), 5 * torch.rand(4, 50), []
    report = vf.audit(model, x, steps=5)
    shared.register_forward_hook(lambda m, args, out: counted.append(float(synaptic_operations(m, args[0] != 0)) / 4))
    for neuron in lif:
        neuron.reset_mem()
    with torch.no_grad():
        for _ in range(5):
            model(x)
    assert report.operations == pytest.approx(sum(counted), rel=1e-12)
    assert report.operations > 0
