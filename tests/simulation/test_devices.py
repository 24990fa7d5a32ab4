"""Every tensor of a simulation is made on its device: torch's ``meta`` device stands in for a card, and has no numbers.

Operations between it and the CPU raise, as they would between a card and the CPU. What depends on numbers is replaced:
conditions hold, and results that leave the device are one half. ``test_cuda`` has the tests with numbers.
"""

from threading import Event
from unittest import mock

import numpy as np
import pytest
import scipy.stats

import varflow as vf

torch = pytest.importorskip("torch")

from varflow.simulation import streams  # noqa: E402
from varflow.simulation.run import batches_of  # noqa: E402

L = vf.layers
LEAKY = vf.Neuron(1.0, decay=0.5, reset="subtract", synaptic_decay=0.2, delay=1)
RANDOM = np.random.default_rng(0)


def network(**changes):
    return vf.Network(**({"width": 20, "depth": 3, "gain": 2.0} | changes))


def layered(*layers, **changes):
    return vf.Network(width=20, layers=[L.Spike(vf.Neuron(1.0)), *layers], **changes)


NETWORKS = {
    "one step, bias and mean": network(bias_std=0.3, mean_gain=0.1),
    "leak, reset, synapse and delay": network(steps=3, neuron=LEAKY),
    "spike counts": network(steps=3, neuron=vf.Neuron(1.0, decay=0.5, reset="multi_spike"), bias_std=0.3),
    "neurons that differ": network(neuron=vf.Neuron(scipy.stats.uniform(0.7, 0.8))),
    "white drive": network(steps=3, drive=vf.drives.white(1.0)),
    "given currents": network(steps=3, drive=vf.drives.given(RANDOM.normal(size=(4, 3, 20)))),
    "inputs": network(drive=vf.drives.inputs(RANDOM.normal(size=(4, 7)))),
    "inputs in time": network(steps=3, drive=vf.drives.inputs(RANDOM.normal(size=(4, 3, 7)))),
    "spike trains": network(steps=3, drive=vf.drives.spikes(np.full(5, 0.2))),
    "Poisson trains": network(steps=3, drive=vf.drives.spikes(np.full(5, 0.2), kind="poisson")),
    "uniform weights": network(weights="uniform"),
    "signs": network(weights="sign"),
    "long tails": network(weights="lognormal"),
    "sparse weights": network(weights=vf.weights.sparse(0.3)),
    "recurrence": layered(L.Linear(gain=2.0), L.Spike(LEAKY, recurrent_gain=0.5), steps=3),
    "residual sum and batch": layered(
        L.Residual(L.Linear(gain=1.1), L.Spike(vf.Neuron(1.0))), L.Linear(gain=1.1), L.BatchNorm(), L.Spike(vf.Neuron(1.0))
    ),
    "standardised rows": layered(L.Linear(gain=2.0, rows="standardised"), L.LayerNorm(), L.Spike(vf.Neuron(1.0))),
}
CASES = [
    (name, engine)
    for name, one in NETWORKS.items()
    for engine in ("dense", "conditional")
    if engine == "dense" or one.layers is not None or one.weight_law.normal_given_spikes
]


class Generator(torch.Generator):
    """Says that it is on the card."""

    device = torch.device("meta")  # pyright: ignore[reportAssignmentType]

    def __new__(cls, device="cpu"):
        return super().__new__(cls, device="cpu")


def half(tensor):
    return torch.full(tensor.shape, 0.5, dtype=tensor.dtype)


def simulated(described, engine):
    with (
        mock.patch.dict(streams.BLOCK, {"meta": streams.BLOCK["cuda"]}),
        mock.patch("torch.Generator", Generator),
        mock.patch.object(torch.Tensor, "__bool__", return_value=True),
        mock.patch.object(torch.Tensor, "cpu", half),
    ):
        made = batches_of([described], repeats=3, seed=0, engine=engine, device="meta", dtype="float32")
        return [batch.simulate(0, 2, Event()) for batch in made]


@pytest.mark.parametrize(("name", "engine"), CASES)
def test_all_tensors_are_on_the_device(name, engine):
    described = NETWORKS[name]
    (measured,) = simulated(described, engine)
    assert {len(values) for values in measured.values()} == {1}
    assert measured["variance"].shape[1:3] == (2, described.depth)


@pytest.mark.parametrize("engine", ["dense", "conditional"])
def test_numbers_left_on_the_cpu_are_found(engine):
    elsewhere = torch.from_numpy
    with (
        mock.patch("torch.from_numpy", lambda array: mock.Mock(to=lambda device: elsewhere(array))),
        pytest.raises(RuntimeError, match="device"),
    ):
        simulated(NETWORKS["inputs in time"], engine)
