"""RMSNorm: theory, simulation, torch and audits agree; a wrong scale is rejected."""

import numpy as np
import pytest

import varflow as vf

torch = pytest.importorskip("torch")

L = vf.layers
LEAKY = L.Spike(vf.Neuron(0.8, decay=0.5, reset="subtract"))


class Spiking(torch.nn.Module):
    def forward(self, current):
        return (current > 0.8).float()


def network(gamma, norm=L.RMSNorm, **more):
    linear = L.Linear(gain=2.0, bias_std=0.1, **more)
    block = L.Residual(linear, norm(gamma), LEAKY)
    return vf.Network(width=400, layers=[LEAKY, block, block, linear, norm(gamma), LEAKY], steps=3)


@pytest.mark.parametrize("engine", ["dense", "conditional"])
def test_theory_agrees_with_simulation(engine):
    ensemble = vf.simulate(network(1.2, mean_gain=0.8), repeats=60, engine=engine)
    for gamma, passed in ((1.2, True), (1.32, False)):
        assert vf.compare(vf.mean_field(network(gamma, mean_gain=0.8), points=2**10), ensemble, bias=0.03).passed == passed
    other = vf.mean_field(network(1.2, L.LayerNorm, mean_gain=0.8), points=2**10)  # which subtracts the mean
    assert not vf.compare(other, ensemble, bias=0.03).passed


def test_without_a_mean_it_is_a_layer_norm():
    rms, layer, wrong = (
        vf.gradient_flow(network(gamma, norm), points=2**9, scrambles=2)
        for gamma, norm in ((1.2, L.RMSNorm), (1.2, L.LayerNorm), (1.3, L.LayerNorm))
    )
    np.testing.assert_allclose(rms.energy, layer.energy, rtol=1e-4)  # their ε differ
    assert np.abs(rms.energy / wrong.energy - 1).max() > 0.01


def test_large_maps_have_one_scale_for_all_positions():

    def built(gamma, norm=L.RMSNorm):
        spike, drive = L.Spike(vf.Neuron(0.8)), vf.drives.currents(2.0, shape=(4, 24, 24))
        layers = [spike, L.Conv(40, gain=2.5, mean_gain=0.5), norm(gamma), spike, L.Linear(400, gain=2.0), spike]
        return vf.Network(layers=layers, drive=drive)

    ensemble = vf.simulate(built(1.2), repeats=30, engine="conditional")
    assert vf.compare(vf.mean_field(built(1.2)), ensemble, bias=0.05).passed
    assert not vf.compare(vf.mean_field(built(1.4)), ensemble, bias=0.05).passed


def test_the_simulation_is_that_of_torch():
    from varflow.model.graph import Node
    from varflow.simulation.operations import simulate

    x = torch.from_numpy(np.random.default_rng(0).normal(0.3, 2.0, (2, 3, 2, 4, 5, 5)))
    wanted = 1.3 * torch.nn.functional.rms_norm(x, (4, 5, 5), eps=0.2)
    torch.testing.assert_close(simulate(Node(L.RMSNorm(1.3, 0.2)), (vf.simulation.Flow(x),), None, None).values, wanted)


def test_an_audit_predicts_what_lies_behind_it():
    vf.init.reads(Spiking)(lambda module: vf.Neuron(0.8))
    torch.manual_seed(0)
    cells = [part for _ in range(3) for part in (torch.nn.Linear(500, 500), torch.nn.RMSNorm(500), Spiking())]
    report = vf.audit(torch.nn.Sequential(*cells), torch.randn(8, 500))
    for layer in report.layers:
        assert layer.predicted_variance == pytest.approx(1.0, rel=1e-3)
        assert layer.firing_rate == pytest.approx(layer.predicted_rate, abs=0.03)


def test_bad_arguments_are_refused():
    for make in (lambda: L.RMSNorm(-1.0), lambda: L.RMSNorm(1.0, -1.0), lambda: L.RMSNorm(np.nan)):
        with pytest.raises(vf.DomainError):
            make()
