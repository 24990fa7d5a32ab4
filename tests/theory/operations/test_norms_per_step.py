"""BatchNorm with statistics of each step or of the steps up to each, and a γ and β per step: theory and simulation agree."""

import numpy as np
import pytest

import varflow as vf

L = vf.layers
STATISTICS = "all steps", "each step", "past steps"
SPIKE = L.Spike(vf.Neuron(1.0, decay=0.5, reset="zero"))
SCALES = L.ScaleSteps((1.0, 1.2, 0.8, 1.0, 1.5), (0.0, 0.1, 0.0, -0.1, 0.0))


def network(over, *scales, drive=None):
    block = [L.Linear(400, gain=2.0), L.BatchNorm(1.6, 0.2, over=over), *scales, SPIKE]
    return vf.Network(width=400, layers=[SPIKE, *block * 3], steps=5, drive=drive)


@pytest.mark.parametrize("over", STATISTICS)
def test_each_kind_of_statistics_agrees_with_simulation_and_no_other(over):
    for drive, scales in ((None, ()), (vf.drives.inputs(np.random.default_rng(0).normal(size=(40, 50))), (SCALES,))):
        ensemble = vf.simulate(network(over, *scales, drive=drive), repeats=40)
        passed = {
            other: vf.compare(vf.mean_field(network(other, *scales, drive=drive), points=2**10), ensemble, bias=0.02).passed
            for other in STATISTICS
        }
        assert passed == {other: other == over for other in STATISTICS}
    other = network(over, L.ScaleSteps(SCALES.factors), drive=drive)  # without its constants
    assert not vf.compare(vf.mean_field(other, points=2**10), ensemble, bias=0.02).passed


def test_by_overlaps_as_with_all_inputs_in_one_index(monkeypatch):
    from varflow.theory.operations.visit import Effort
    from varflow.theory.responses.neurons import Responses
    from varflow.theory.walks.gradients import ForwardPass
    from varflow.theory.walks.signals import Blocks

    drive = vf.drives.inputs(np.random.default_rng(0).normal(size=(40, 5, 50)) * np.linspace(0.5, 1.5, 5)[:, None])
    rates = {}
    for over in STATISTICS:
        block = [L.Linear(400, gain=2.0), L.BatchNorm(1.6, 0.2, over=over), SPIKE]
        blocks = [
            Blocks.of(vf.Network(layers=block * 2, steps=5, drive=drive), Effort(Responses(2**11, 4, 0), largest_batch=largest))
            for largest in (2**11, 0)
        ]
        index, overlap = ([s.firing_rate.reshape(-1, 5).mean(0) for s in ForwardPass.of(each).states] for each in blocks)
        np.testing.assert_allclose(overlap, index, rtol=0.01)
        rates[over] = index[0]
    assert (
        np.abs(rates["each step"] / rates["all steps"] - 1).max()
        > 0.1
        < np.abs(rates["past steps"] / rates["each step"] - 1).max()
    )


def test_one_step_has_one_kind_of_statistics():
    fields = [
        vf.mean_field(vf.Network(width=100, layers=[SPIKE, L.Linear(gain=2.0), L.BatchNorm(1.6, over=over), SPIKE])).firing_rate
        for over in STATISTICS
    ]
    np.testing.assert_allclose(fields[1:], [fields[0]] * 2, rtol=1e-12)


@pytest.mark.parametrize(
    "make",
    [
        lambda: L.BatchNorm(over="some steps"),
        lambda: L.ScaleSteps(()),
        lambda: L.ScaleSteps((1.0, np.nan)),
        lambda: L.ScaleSteps((1.0, 1.0), (0.0,)),
        lambda: network("all steps", L.ScaleSteps((1.0, 1.0))),
        lambda: vf.Network(width=10, layers=[L.ScaleSteps((1.0,)), SPIKE]),
    ],
)
def test_bad_arguments_are_refused(make):
    with pytest.raises(vf.DomainError):
        make()


def test_factors_of_steps_on_large_maps():
    block = [L.Conv(32, gain=3.0), SCALES, SPIKE, L.Pool("average", 2)]
    drive = vf.drives.inputs(np.random.default_rng(0).random((2, 16, 16, 16)))
    large = vf.Network(layers=block * 2, steps=5, drive=drive)
    ensemble = vf.simulate(large, repeats=16)
    assert vf.compare(vf.mean_field(large, points=2**9, scrambles=4), ensemble, bias=0.05).passed
    other = vf.Network(layers=[block[0], *block[2:]] * 2, steps=5, drive=drive)
    assert not vf.compare(vf.mean_field(other, points=2**9, scrambles=4), ensemble, bias=0.05).passed
