"""One source for a library's neuron: a module is read as its preset says, and a class of one's own can be added."""

import math
import re

import numpy as np
import pytest

import varflow as vf

torch = pytest.importorskip("torch")

from given_currents import step_neurons  # noqa: E402
from torch import nn  # noqa: E402

from varflow.model.library_neurons import recognise  # noqa: E402


def stand_in(path, **attributes):
    """A module known by the class and the attributes of one in a library that need not be installed."""
    package, _, kind = path.rpartition(".")
    module = type(kind, (nn.Module,), {"__module__": package})()
    for name, value in attributes.items():
        setattr(module, name, value)
    return module


def single(value):
    return torch.tensor(value, dtype=torch.float32)


def several(**options):
    fires, resets = type("MultiSpike", (), {}), type("MembraneSubtract", (), {"subtract_value": None})()
    given = {"spike_threshold": single(0.7), "norm_input": True, "spike_fn": fires, "reset_fn": resets, "min_v_mem": None}
    return given | options


JELLY, SINABS = "spikingjelly.activation_based.neuron", "sinabs.layers"
ONCE = type("SingleSpike", (), {})
HARD = type("MembraneReset", (), {"reset_value": 0.0})()


@pytest.mark.parametrize(
    ("module", "preset", "time_axis"),
    [
        (stand_in(f"{JELLY}.IFNode", v_threshold=0.5, v_reset=-0.5), vf.neurons.spikingjelly_if(1.0), None),
        (stand_in(f"{JELLY}.IFNode", v_threshold=0.7, v_reset=None), vf.neurons.spikingjelly_if(0.7, None), None),
        (
            stand_in(f"{JELLY}.LIFNode", tau=3.0, decay_input=False, v_threshold=1.0, v_reset=0.0, step_mode="m"),
            vf.neurons.spikingjelly_lif(3.0, False),
            0,
        ),
        (
            stand_in(f"{JELLY}.ParametricLIFNode", w=single(-math.log(3.0)), decay_input=True, v_threshold=1.0, v_reset=None),
            vf.neurons.spikingjelly_lif(4.0, v_reset=None),
            None,
        ),
        (stand_in(f"{SINABS}.LIF", tau_mem=single(9.0), **several()), vf.neurons.sinabs_lif(9.0, spike_threshold=0.7), 1),
        (
            stand_in(f"{SINABS}.LIF", tau_mem=single(9.0), tau_syn=single(4.0), **several(spike_fn=ONCE, reset_fn=HARD)),
            vf.neurons.sinabs_lif(9.0, 4.0, 0.7, "SingleSpike", "MembraneReset"),
            1,
        ),
        (
            stand_in(f"{SINABS}.IAF", tau_mem=None, **several(norm_input=False)),
            vf.neurons.sinabs_lif(math.inf, spike_threshold=0.7, norm_input=False),
            1,
        ),
        (
            stand_in(f"{SINABS}.IAFSqueeze", tau_mem=None, batch_size=4, num_timesteps=-1, **several(norm_input=False)),
            vf.neurons.sinabs_lif(math.inf, spike_threshold=0.7, norm_input=False),
            1,
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_a_module_is_its_preset(module, preset, time_axis):
    found = recognise("lif", module)
    assert found.time_axis == time_axis
    for name in preset.__dataclass_fields__:
        value = getattr(preset, name)
        assert getattr(found.neuron, name) == (pytest.approx(value, rel=1e-6) if isinstance(value, float) else value), name
    assert not found.neuron.strict  # S = ⌊H/θ⌋, or one spike, at H ≥ θ


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (
            stand_in(f"{JELLY}.LIFNode", tau=single([2.0, 3.0]), decay_input=True, v_threshold=1.0, v_reset=0.0),
            "one number for",
        ),
        (stand_in(f"{JELLY}.QIFNode", v_threshold=1.0), "is a QIFNode of spikingjelly, of which .*IFNode, LIFNode"),
        (
            stand_in(f"{SINABS}.LIF", tau_mem=single(9.0), **several(spike_threshold=single(-1.0))),
            "spike_threshold=-1.0, which must be positive",
        ),
        (stand_in(f"{SINABS}.LIF", tau_mem=single(9.0), **several(reset_fn=HARD)), "which has no equivalent after several"),
        (stand_in("snntorch.Leaky", beta=0.5, threshold=-0.3, reset_mechanism="subtract"), "threshold=-0.3, which must not be"),
        (stand_in("stork.nodes.lif.base.LIFGroup", tau_mem=0.01), "takes no currents: they come"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_what_the_preset_refuses_is_only_measured(module, words):
    found = recognise("lif", module)
    assert found.neuron is None
    assert re.search(words, found.reason)


@pytest.mark.parametrize("value", [0.5, 1.5])
def test_sinabs_may_subtract_another_value(value):
    """Several spikes a step, each of which takes ``value``: in the library's terms, and against its update."""
    subtracts = type("MembraneSubtract", (), {"subtract_value": value})()
    neuron = vf.neurons.sinabs_lif(5.0, spike_threshold=0.8, reset_fn=subtracts, norm_input=False)
    module = stand_in(f"{SINABS}.LIF", tau_mem=single(5.0), **several(reset_fn=subtracts, spike_threshold=single(0.8)))
    assert recognise("x", module).neuron.reset == neuron.reset
    given = np.random.default_rng(0).normal(0.3, 2.0, (30, 100))
    v, spikes = 0.0, []
    for current in given:
        v = math.exp(-1 / 5) * v + current
        spikes.append(np.where(v > 0, np.trunc(v / 0.8), 0.0))
        v = v - value * spikes[-1]
    assert np.array_equal(step_neurons(neuron, given)[1], spikes)
    plain = vf.neurons.sinabs_lif(5.0, spike_threshold=0.8, norm_input=False)
    assert not np.array_equal(step_neurons(plain, given)[1], spikes)


@pytest.mark.parametrize("kind", ["LIF", "IAF", "LIFSqueeze", "IAFSqueeze"])
@pytest.mark.parametrize("train_alphas", [False, True])
def test_sinabs_itself(kind, train_alphas):
    layers = pytest.importorskip("sinabs.layers", reason="sinabs is not installed")
    leaky = {"tau_mem": 7.0, "norm_input": False, "train_alphas": train_alphas} if kind.startswith("LIF") else {}
    squeezed = {"batch_size": 2} if kind.endswith("Squeeze") else {}
    module = getattr(layers, kind)(tau_syn=3.0, **leaky, **squeezed)
    found, preset = recognise("x", module), vf.neurons.sinabs_lif(leaky.get("tau_mem", math.inf), 3.0, norm_input=False)
    assert found.neuron.reset == preset.reset
    assert [found.neuron.decay, found.neuron.input_scale] == pytest.approx([preset.decay, preset.input_scale], rel=1e-6)
    given = torch.randn(2, 20, 50, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        spikes = module(given.flatten(0, 1)).view_as(given) if squeezed else module(given)
    ours = np.stack([step_neurons(preset, one)[1] for one in given.double().numpy()])
    assert np.mean(ours != spikes.numpy()) < 1e-3  # of single precision
    assert np.mean(step_neurons(vf.neurons.sinabs_lif(4.0, 3.0), given[0].double().numpy())[1] != spikes[0].numpy()) > 1e-2


# A class of one's own.


class Halving(nn.Module):
    """A spike takes half a threshold; its own name for everything."""

    def __init__(self, leak=0.5, level=1.0, taken=0.5):
        super().__init__()
        self.leak, self.level, self.taken = leak, level, taken
        self.reset()

    def reset(self):
        self.v = 0.0

    def forward(self, current):
        h = self.leak * self.v + current
        spikes = (h > self.level).to(current.dtype)
        self.v = h - self.taken * self.level * spikes
        return spikes


class Sequence(Halving):
    """The same over all steps at once, time first."""

    def forward(self, currents):
        self.v = 0.0
        return torch.stack([super(Sequence, self).forward(current) for current in currents])


def halving(module):
    return vf.Neuron(module.level, decay=module.leak, reset=vf.resets.Reset(threshold=0.5))


def model(neuron, width=64, depth=3):
    layers = [layer for _ in range(depth) for layer in (nn.Linear(width, width, bias=False), neuron())]
    return nn.Sequential(*layers)


@pytest.fixture
def readers(monkeypatch):
    """The registry, restored afterwards."""
    from varflow.model import spiking_modules

    monkeypatch.setattr(spiking_modules, "_READERS", dict(spiking_modules._READERS))


@pytest.mark.usefixtures("readers")
@pytest.mark.parametrize("several_steps", [False, True])
def test_a_class_of_ones_own(several_steps):
    kind, options, calls = (Sequence, {"time_axis": 0}, {}) if several_steps else (Halving, {}, {"steps": 10})
    own, x = model(kind), torch.rand(32, 64, generator=torch.Generator().manual_seed(0)) * 2
    inputs = x.expand(10, 32, 64) if several_steps else x
    measured = vf.audit(own, inputs, **calls)
    assert {layer.neuron for layer in measured.layers} == {None}
    assert all(math.isnan(layer.predicted_rate) for layer in measured.layers)
    assert vf.init.reads(kind, **options)(halving) is halving
    plan = vf.init.init_model(own, inputs, rate=0.3, generator=torch.Generator().manual_seed(1), **calls)
    assert plan is not None
    report = vf.audit(own, inputs, **calls)
    rates = [layer.firing_rate for layer in report.layers]
    assert rates == pytest.approx([0.3] * 3, rel=0.25)  # one network of width 64
    if not several_steps:  # else the axis of time is not known
        assert [layer.firing_rate for layer in vf.audit(own, inputs, neurons={kind: None}, **calls).layers] == rates
    assert {layer.neuron.reset for layer in report.layers} == {vf.resets.Reset(threshold=0.5)}


@pytest.mark.usefixtures("readers")
@pytest.mark.parametrize("reset", ["subtract", "none", vf.resets.Reset(threshold=0.7)])
def test_a_wrong_description_is_seen(reset):
    vf.init.reads(Halving)(lambda module: vf.Neuron(1.0, decay=0.5, reset=reset))
    inputs = torch.rand(16, 64, generator=torch.Generator().manual_seed(0)) * 9
    report = vf.audit(model(Halving), inputs, steps=10)
    assert any("does not step as Neuron" in note for note in report.notes)
    assert math.isnan(report.layers[0].predicted_rate)
    assert report.layers[0].neuron is None


@pytest.mark.usefixtures("readers")
def test_a_class_by_its_name_and_none_of_its_subclasses():
    vf.init.reads("elsewhere.Cell")(lambda module: vf.Neuron(module.theta))
    cell = stand_in("elsewhere.deep.Cell", theta=0.4)
    assert recognise("x", cell).neuron == vf.Neuron(0.4)
    vf.init.reads(Halving)(halving)
    assert recognise("x", Halving()).neuron.decay == 0.5
    assert recognise("x", Sequence()) is None


@pytest.mark.usefixtures("readers")
def test_bad_readers():
    for kind in (3, "Cell", "a.b.Cell", None):
        with pytest.raises(vf.DomainError, match=r"kind=.* must be a class or its name"):
            vf.init.reads(kind)
    with pytest.raises(vf.DomainError, match="time_axis=-1"):
        vf.init.reads(Halving, time_axis=-1)
    vf.init.reads(Halving)(lambda module: 0.5)
    with pytest.raises(vf.DomainError, match=r"lif: Halving.*neuron=0\.5, .*must return a vf\.Neuron"):
        recognise("lif", Halving())
