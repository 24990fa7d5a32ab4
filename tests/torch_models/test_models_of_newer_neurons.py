"""Models of neurons with a second state, filters over time and bounded counts: planned, predicted forwards and backwards."""

import math
from dataclasses import replace

import numpy as np
import pytest

import varflow as vf

torch = pytest.importorskip("torch")

from varflow.model.library_neurons import recognise  # noqa: E402

STEPS, INPUTS, N, LAYERS = 12, 16, 300, 4


def jelly(make):
    return make(pytest.importorskip("spikingjelly.activation_based.neuron"))


def alif():
    gaussian = pytest.importorskip("sinabs.activation").Gaussian()
    return pytest.importorskip("sinabs.layers").ALIF(5.0, 10.0, adapt_scale=0.6, surrogate_grad_fn=gaussian)


NEURONS = {
    "PSN": (lambda: jelly(lambda neuron: neuron.PSN(STEPS)), 0),
    "CUBALIF": (lambda: jelly(lambda neuron: neuron.CUBALIFNode()), None),
    "ILIF": (lambda: jelly(lambda neuron: neuron.ILIFNode()), None),
    "Lapicque": (lambda: pytest.importorskip("snntorch").Lapicque(0.7, init_hidden=True), None),
    "ALIF": (alif, 1),
}


@pytest.mark.parametrize("kind", NEURONS)
def test_a_planned_model_does_what_is_predicted(kind):
    make, axis = NEURONS[kind]
    torch.manual_seed(0)
    model = torch.nn.Sequential(*[module for _ in range(LAYERS) for module in (torch.nn.Linear(N, N), make())])
    x = torch.rand(INPUTS, N)
    options = {"inputs": x, "steps": STEPS} if axis is None else {"inputs": torch.stack([x] * STEPS, axis)}
    vf.init.init_model(model, **options, rate=0.25)
    report = vf.audit(model, **options, gradients=True)
    for layer in report.layers:
        assert abs(layer.firing_rate - 0.25) < 3 * layer.predicted_std + 0.01
        assert abs(layer.firing_rate - layer.predicted_rate) < 3 * layer.predicted_std + 0.01
        assert abs(math.log(layer.gradient_norm / layer.predicted_gradient_norm)) < 0.15
    other = replace(recognise("x", model[1]).neuron, threshold=1.1 * report.layers[0].neuron.threshold)
    wrong = vf.audit(model, **options, neurons={type(model[1]): other})
    assert np.isnan([layer.predicted_rate for layer in wrong.layers]).all()
    assert any("does not step as" in note for note in wrong.notes)


def test_normalised_membranes_are_predicted_once_folded_into_thresholds():
    neurons, n = pytest.importorskip("spikingjelly.activation_based.neuron"), 3000
    torch.manual_seed(0)
    of = neurons.MPBNLIFNode(out_features=n)
    model, x = torch.nn.Sequential(torch.nn.Linear(N, n), of), torch.rand(INPUTS, N)
    with torch.no_grad():
        model[0].weight *= 4
        of.vbn.running_mean.uniform_(-0.2, 0.2), of.vbn.running_var.uniform_(1.5, 3.0)
        of.vbn.weight.uniform_(0.8, 1.2), of.vbn.bias.uniform_(-0.1, 0.1)
    assert any("folds it into thresholds" in note for note in vf.audit(model, x, steps=STEPS).notes)
    of.re_parameterize_v_threshold()
    layer = vf.audit(model.eval(), x, steps=STEPS).layers[0]
    folded = (1 - of.beta) * (of.sigma2 + of.eps).sqrt() / of.gamma + of.mu
    assert layer.neuron.threshold.mean == pytest.approx(folded.mean().item())
    tolerance = 3 * math.sqrt(layer.firing_rate * (1 - layer.firing_rate) / n)  # neurons are independent given the inputs
    assert abs(layer.firing_rate - layer.predicted_rate) < tolerance
    inputs = vf.drives.inputs(x.numpy(), input_gain=model[0].weight.std().item() * N**0.5)
    unfolded = vf.mean_field(
        vf.Network(width=n, depth=1, gain=1.0, neuron=vf.neurons.spikingjelly_lif(), steps=STEPS, drive=inputs)
    )
    assert abs(layer.firing_rate - unfolded.firing_rate.mean()) > tolerance
