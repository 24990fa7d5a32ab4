"""Predictions of user models of many structures, against the same models drawn anew; those of other gains are rejected."""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")
snntorch = pytest.importorskip("snntorch")

from model_structures import BIAS, NETWORKS, STRUCTURES, drawn, stronger  # noqa: E402
from torch import nn  # noqa: E402

from varflow.torch_models.initialise.refine import late_rates  # noqa: E402
from varflow.torch_models.prediction.signals import at_infinite_width  # noqa: E402
from varflow.torch_models.tracing.trace import trace  # noqa: E402
from varflow.torch_models.tracing.weights import moments_of  # noqa: E402


def predictions(model, x):
    traced = trace(model, x)
    assert not any(layer.unknown for layer in traced.layers)
    moments = {name: moments_of(w) for layer in traced.layers for name, w in zip(layer.names, layer.weights, strict=True)}
    return at_infinite_width(traced, moments).rates


@pytest.mark.parametrize("structure", STRUCTURES)
def test_predictions_are_the_mean_of_networks_drawn_anew(structure):
    """Four standard errors and 4 %; the prediction of a stronger model is rejected."""
    make, data = STRUCTURES[structure]
    model, x = make(), data()
    predicted, rates = predictions(drawn(model, model.gain, NETWORKS), x), []
    for seed in range(NETWORKS):
        traced = trace(drawn(model, model.gain, seed), x)
        now = late_rates(model, x, None, traced)
        rates.append([now[layer.neuron_name].mean() for layer in traced.layers])
    mean, error = np.mean(rates, axis=0), np.std(rates, axis=0, ddof=1) / math.sqrt(NETWORKS)
    off, off_if_stronger = np.abs(predicted - mean), np.abs(predictions(stronger(model), x) - mean)
    tolerance = 4 * error + BIAS * mean
    assert np.all(off < tolerance), (off / tolerance).round(2)
    assert np.any(off_if_stronger > tolerance), (off_if_stronger / tolerance).round(2)


def sew_resnet18(mode, seed):
    """SpikingJelly's, for images of 32 × 32; in eval mode with running variances of the size that a batch has."""
    models, neuron = (pytest.importorskip(f"spikingjelly.activation_based.{name}") for name in ("model.sew_resnet", "neuron"))
    torch.manual_seed(seed)
    model = models.sew_resnet18(spiking_neuron=neuron.IFNode, detach_reset=True, cnf="ADD", num_classes=10)
    pytest.importorskip("spikingjelly.activation_based.functional").set_step_mode(model, "m")
    for module in model.modules():
        if mode == "eval" and isinstance(module, nn.BatchNorm2d):
            nn.init.constant_(module.running_var, 0.3)
    return model.train(mode == "train")


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["train", "eval"])
def test_a_residual_network_of_eighteen_layers(mode):
    """Every layer within 10 % or 3 standard errors over 8 networks; the prediction of stronger models is rejected."""
    x, redraws = torch.rand(4, 32, 3, 32, 32, generator=torch.Generator().manual_seed(5)), 8
    rates, predicted = [], []
    for seed in range(redraws):
        model = sew_resnet18(mode, seed)
        traced = trace(model, x)
        now = late_rates(model, x, None, traced)
        rates.append([now[layer.neuron_name].mean() for layer in traced.layers])
        predicted.append(predictions(model, x))
    mean, error = np.mean(rates, axis=0), np.std(rates, axis=0, ddof=1) / math.sqrt(redraws)
    tolerance = np.maximum(0.10 * mean, 3 * error)
    off = np.abs(np.mean(predicted, axis=0) - mean)
    print(mode, (100 * off / mean).round(1), (off / error).round(1))
    assert np.all(off < tolerance), (off / tolerance).round(2)
    other = predictions(stronger(sew_resnet18(mode, 0)), x)
    assert np.any(np.abs(other - mean) > tolerance)
