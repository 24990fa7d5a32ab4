"""A neuron as users have it, a torch module or the name of a preset, is taken wherever a ``vf.Neuron`` is."""

import json
import re
from importlib.util import find_spec

import pytest

import varflow as vf

torch = pytest.importorskip("torch")
snntorch = pytest.importorskip("snntorch")
norse = pytest.importorskip("norse.torch")

from spiking_models import IAF  # noqa: E402

LEAKY = vf.neurons.snntorch_leaky(0.5)
FORMS = {"module": lambda: snntorch.Leaky(beta=0.5), "name": lambda: "snntorch_leaky:beta=0.5"}

SAME = [
    (lambda: snntorch.Leaky(beta=0.5, threshold=0.7), "snntorch_leaky:beta=0.5,threshold=0.7"),
    (lambda: snntorch.Leaky(beta=0.5, reset_mechanism="zero"), "snntorch_leaky:beta=0.5,reset_mechanism=zero"),
    (lambda: snntorch.Synaptic(alpha=0.8, beta=0.5), "snntorch_synaptic:alpha=0.8,beta=0.5"),
    (norse.LIFCell, "norse_lif"),
    (norse.LIF, "norse_lif"),
    (norse.LIFBoxCell, "norse_lif_box"),
    (lambda: IAF(several=False, tau_mem=20.0), "sinabs_lif:tau_mem=20,spike_fn=SingleSpike,norm_input=False"),
]


@pytest.mark.parametrize(("module", "name"), SAME, ids=[name for _, name in SAME])
def test_a_module_is_the_neuron_of_its_preset(module, name):
    assert vf.neuron(module()) == vf.neuron(name)
    assert vf.neuron(vf.neuron(name)) == vf.neuron(name)
    assert vf.neuron(name) != vf.neuron("snntorch_leaky:beta=0.9")


@pytest.mark.skipif(find_spec("spikingjelly") is None, reason="SpikingJelly is not installed")
def test_modules_of_spikingjelly():
    from spikingjelly.activation_based import neuron

    assert vf.neuron(neuron.LIFNode()) == vf.neuron("spikingjelly_lif") == vf.neurons.spikingjelly_lif()
    assert vf.neuron(neuron.IFNode(v_reset=None)) == vf.neuron("spikingjelly_if:v_reset=None")


DOORS = {
    "lookup": lambda neuron: vf.lookup(neuron=neuron, fan_in=100, rate=0.3, steps=2, depth=3).gain,
    "gain_for_rate": lambda neuron: vf.gain_for_rate(neuron, rate=0.3, steps=2, depth=3).gain,
    "gain_for_variance": lambda neuron: vf.gain_for_variance(neuron, variance=5.0, steps=2, depth=3).gain,
    "calculate_gain": lambda neuron: vf.init.calculate_gain(neuron, rate=0.3, steps=2, depth=3),
    "temporal_critical_gain": lambda neuron: vf.temporal_critical_gain(neuron, steps=2, depth=3).gain,
    "Network": lambda neuron: vf.Network(width=10, depth=3, gain=2.0, neuron=neuron).neuron,
    "Spike": lambda neuron: vf.layers.Spike(neuron).neuron,
    "catalogue": lambda neuron: vf.catalogue(neuron=neuron, fan_in=20, depth=3, steps=2).neuron,
    "step_filter": lambda neuron: vf.init.published.step_filter(neuron).square,
}


@pytest.mark.parametrize("door", DOORS)
def test_every_door_takes_it(door):
    of_neuron = DOORS[door](LEAKY)
    assert all(DOORS[door](form()) == of_neuron for form in FORMS.values())


@pytest.mark.parametrize("form", FORMS)
def test_layers_are_filled_for_it(form):
    """The weights have the gain of ``gain_for_rate``, to within the scatter of 4 standard errors."""
    layer = torch.nn.Linear(300, 400)
    vf.init.init_fn(FORMS[form](), rate=0.3, steps=2, generator=torch.Generator().manual_seed(0))(layer)
    gain = float(layer.weight.detach().std()) * 300**0.5
    scatter = 4 / (2 * layer.weight.numel()) ** 0.5
    assert gain == pytest.approx(vf.gain_for_rate(LEAKY, rate=0.3, steps=2).gain, rel=scatter)
    assert gain != pytest.approx(vf.gain(threshold=1.0), rel=scatter)


def test_the_audit_takes_it_for_classes_of_ones_own():
    class Mine(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = snntorch.Leaky(beta=0.5, init_hidden=True)

        def forward(self, current):
            return self.inner(current)

    model = torch.nn.Sequential(torch.nn.Linear(30, 40), Mine())
    x = torch.rand(4, 30, generator=torch.Generator().manual_seed(0))
    for given in (*(form() for form in FORMS.values()), LEAKY):
        assert vf.audit(model, x, steps=4, neurons={Mine: given}).layers[0].neuron == LEAKY
    with pytest.raises(vf.DomainError, match=r"neuron=3 must be vf\.Neuron"):
        vf.audit(model, x, steps=4, neurons={Mine: 3})


class Own(torch.nn.Module):
    """A neuron of one's own, with weights of its own if they are given."""

    def __init__(self, weights=None):
        super().__init__()
        self.weights, self.v = weights or torch.nn.Identity(), 0.0

    def reset(self):
        self.v = 0.0

    def forward(self, x):
        v = 0.7 * self.v + self.weights(x)
        spikes = (v > 1).to(x.dtype)
        self.v = v - spikes
        return spikes


@pytest.mark.parametrize("key", ["class", "name", "module"])
@pytest.mark.parametrize(
    ("weights", "given", "words"),
    [
        (None, vf.Neuron(1.0, decay=0.9, reset="subtract"), r"3 does not step as Neuron.*% of its spikes are others"),
        (torch.nn.Linear(30, 40), LEAKY, r"3 receives shape \(8, 30\) and returns \(8, 40\): its equations cannot be stepped"),
    ],
    ids=["others", "with weights"],
)
def test_a_module_of_other_equations_is_only_measured(key, weights, given, words):
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Linear(30, 30), snntorch.Leaky(beta=0.5, init_hidden=True), torch.nn.Linear(30, 30), Own(weights)
    )
    x = 3 * torch.rand(8, 30)
    neurons = {{"class": Own, "name": "3", "module": model[3]}[key]: given}
    report = vf.audit(model, x, steps=4, neurons=neurons)
    assert [layer.neuron for layer in report.layers] == [LEAKY, None]
    assert [note for note in report.notes if re.search(words, note)]
    assert "measured" in vf.init.init_model(model, x, rate=0.2, steps=4, neurons=neurons).notes[0]
    assert vf.Monitor(model, x, steps=4, neurons=neurons).step()


REFUSED = [
    (lambda: "lif", "is unknown; choose one of norse_lif"),
    (lambda: "snntorch_leaky", "needs its beta, as in snntorch_leaky:beta=0.9"),
    (lambda: "sinabs_lif", "needs its tau_mem, as in sinabs_lif:tau_mem=20"),
    (lambda: "snntorch_leaky:tau=2", "has no parameter tau; it takes beta"),
    (lambda: "snntorch_leaky:beta=2", "has a beta that must lie between 0 and 1"),
    (lambda: snntorch.Leaky, "is a class: give one with its parameters, Leaky(…)"),
    (lambda: torch.nn.ReLU(), "is no spiking module of snnTorch"),
    (
        lambda: snntorch.Alpha(alpha=0.9, beta=0.8),
        "of which Lapicque, Leaky, LeakyParallel, RLeaky, RSynaptic, Synaptic are known",
    ),
    (lambda: snntorch.Leaky(0.5, graded_spikes_factor=2.0), "graded_spikes_factor=2.0, which is not supported"),
    (lambda: snntorch.RLeaky(0.5, linear_features=4), "has recurrent weights, on which gains depend too"),
    (lambda: norse.LIFRecurrent(3, 4), "has recurrent weights, on which gains depend too"),
    (lambda: 0.5, "must be vf.Neuron"),
]


@pytest.mark.parametrize(("given", "rule"), REFUSED, ids=[rule for _, rule in REFUSED])
def test_what_is_no_neuron_is_refused_in_one_line(given, rule):
    for door in (vf.neuron, DOORS["lookup"], DOORS["Network"]):
        with pytest.raises(vf.DomainError) as caught:
            door(given())
        assert caught.value.argument == "neuron"
        assert rule in str(caught.value)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 400


def test_parameters_are_those_of_a_name():
    assert vf.neuron("snntorch_leaky", beta=0.5) == LEAKY
    with pytest.raises(vf.DomainError, match="beta=2 must lie between 0 and 1"):
        vf.neuron("snntorch_leaky", beta=2)
    with pytest.raises(vf.DomainError, match=r"beta=0\.5 applies to a preset's name"):
        vf.neuron(LEAKY, beta=0.5)


def test_a_gain_needs_neither_rate_nor_steps():
    for name, value in {"rate": 0.2, "steps": 5}.items():
        with pytest.raises(vf.DomainError, match=f"{name}={value} conflicts with gain=2"):
            vf.init.init_fn(LEAKY, gain=2.0, **{name: value})
    with pytest.raises(vf.DomainError, match="a neuron with memory"):
        vf.init.init_fn(snntorch.Leaky(0.5))


def test_the_command_line_takes_the_same_names(varflow):
    name = "snntorch_leaky:beta=0.5"
    code, out, _ = varflow(f"lookup --neuron {name} --rate 0.3 --steps 2 --depth 3 --fan-in 100 --json")
    found = vf.lookup(neuron=name, fan_in=100, rate=0.3, steps=2, depth=3)
    assert (code, json.loads(out)["gain"]) == (0, found.gain)
