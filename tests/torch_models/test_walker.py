"""One watched forward pass: what follows what, read off the tensors; what cannot be described is refused by name."""

import copy
import random
import re

import numpy as np
import pytest

import varflow as vf

torch = pytest.importorskip("torch")
snntorch = pytest.importorskip("snntorch")
norse = pytest.importorskip("norse.torch")

from spiking_models import Looped, Maps, left_behind, same  # noqa: E402
from torch import nn  # noqa: E402

from varflow.model.library_neurons import recognise  # noqa: E402
from varflow.torch_models.prediction.signals import uncovered  # noqa: E402
from varflow.torch_models.tracing.origins import Origins, not_gaussian  # noqa: E402
from varflow.torch_models.tracing.trace import trace  # noqa: E402
from varflow.torch_models.tracing.weights import carries_spikes  # noqa: E402

X = torch.rand(6, 32, generator=torch.Generator().manual_seed(0))


def leaky(**options):
    return snntorch.Leaky(**{"beta": 0.9, "init_hidden": True} | options)


def chain(*between, width=32):
    return nn.Sequential(nn.Linear(width, width), leaky(), *between, nn.Linear(width, width), leaky())


# Neurons.


@pytest.mark.parametrize(
    ("module", "neuron"),
    [
        (leaky(), vf.Neuron(1.0, decay=0.9, reset="delayed_subtract")),
        (leaky(threshold=0.5, reset_mechanism="zero"), vf.Neuron(0.5, decay=0.9, reset="zero")),
        (leaky(reset_mechanism="zero", reset_delay=False), vf.Neuron(1.0, decay=0.9, reset="zero")),
        (leaky(reset_mechanism="none"), vf.Neuron(1.0, decay=0.9)),
        (leaky(beta=1.5), vf.Neuron(1.0, decay=1.0, reset="delayed_subtract")),
        (snntorch.Synaptic(0.8, 0.9), vf.Neuron(1.0, decay=0.9, reset="delayed_subtract", synaptic_decay=0.8)),
        (snntorch.Synaptic(0.8, 0.9, reset_mechanism="zero"), vf.Neuron(1.0, decay=0.9, reset="gate", synaptic_decay=0.8)),
        (norse.LIFBoxCell(), vf.Neuron(1.0, decay=0.9, input_scale=0.1, reset="zero")),
        (norse.LIFCell(), vf.Neuron(1.0, decay=0.9, input_scale=0.1, reset="zero", synaptic_decay=0.8)),
        (norse.LIF(dt=0.002), vf.Neuron(1.0, decay=0.8, input_scale=0.2, reset="zero", synaptic_decay=0.6)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_neurons_are_read_from_attributes(module, neuron):
    found = recognise("lif", module)
    assert found is not None
    for name in ("threshold", "decay", "input_scale", "synaptic_decay"):
        assert getattr(found.neuron, name) == pytest.approx(getattr(neuron, name), rel=1e-6, abs=1e-7), name
    assert (found.neuron.reset, found.neuron.strict) == (neuron.reset, neuron.strict)
    assert found.time_axis == (0 if isinstance(module, norse.LIF) else None)


@pytest.mark.parametrize(
    ("module", "preset"),
    [
        (leaky(), vf.neurons.snntorch_leaky(0.9)),
        (snntorch.Synaptic(0.8, 0.9), vf.neurons.snntorch_synaptic(0.8, 0.9)),
        (norse.LIFBoxCell(), vf.neurons.norse_lif_box()),
        (norse.LIFCell(), vf.neurons.norse_lif()),
    ],
    ids=lambda value: type(value).__name__,
)
def test_neurons_are_those_of_the_presets(module, preset):
    found = recognise("lif", module).neuron
    for name in preset.__dataclass_fields__:
        value = getattr(preset, name)
        assert getattr(found, name) == (pytest.approx(value, rel=1e-6) if isinstance(value, float) else value), name


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (leaky(reset_delay=False), "reset_delay=False, which has no equivalent"),
        (leaky(threshold=-0.5), "threshold=-0.5, which must not be negative"),
        (snntorch.Synaptic(torch.tensor([0.1, 0.9]), 0.5), "alpha=.*, which must be a single number"),
        (leaky(graded_spikes_factor=2.0), "graded_spikes_factor=2.0"),
        (snntorch.Alpha(0.8, 0.5), r"is a Alpha of snntorch, of which .*Leaky, .*Synaptic are known"),
        (norse.LIFAdExCell(), "is a LIFAdExCell of norse"),
        (norse.LIFBoxCell(norse.LIFBoxParameters(v_reset=torch.tensor(0.3))), "v_reset="),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_neurons_beyond_the_families_are_only_measured(module, words):
    found = recognise("lif", module)
    assert found.neuron is None
    assert re.search(words, found.reason)


def test_other_modules_are_no_neurons():
    assert [
        recognise("x", module) for module in (nn.Linear(3, 3), nn.ReLU(), nn.Threshold(0.1, 20), norse.Lift(nn.ReLU()))
    ] == [None] * 4


# Order.


def test_two_lists_and_a_loop():
    found = trace(Looped(steps=4), X)
    assert [(layer.name, layer.neuron_name) for layer in found.layers] == [
        (f"weights.{l}", f"neurons.{4 - l}") for l in range(5)
    ]
    assert [layer.sources for layer in found.layers] == [("input",), *((f"neurons.{4 - l}",) for l in range(4))]
    assert [readout[0] for readout in found.readouts] == ["readout"]
    assert found.steps == 4
    assert len(found.layers[0].weight_inputs) == 4
    assert uncovered(found) == []


def test_a_loop_left_to_the_caller():
    assert trace(chain(), X).steps == 1
    assert trace(chain(), X, steps=7).steps == 7


def test_modules_of_many_steps():
    model = norse.SequentialState(nn.Linear(32, 32), norse.LIF(), nn.Linear(32, 32), norse.LIF())
    found = trace(model, X.expand(9, 6, 32))
    assert found.steps == 9
    assert [layer.sources for layer in found.layers] == [("input",), ("1",)]


def test_one_stateless_neuron_module_in_two_places():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.lif = nn.Linear(32, 32), nn.Linear(32, 32), snntorch.Leaky(0.5)

        def forward(self, x):
            first, second = None, None
            for _ in range(3):
                spikes, first = self.lif(self.a(x), first)
                spikes, second = self.lif(self.b(spikes), second)
            return spikes

    found = trace(Shared(), X)
    assert [(layer.name, layer.neuron_name) for layer in found.layers] == [("a", "lif"), ("b", "lif (b)")]
    assert found.steps == 3
    assert found.layers[1].sources == ("lif",)


class Kept(nn.Module):
    """A neuron with the state that its library leaves to the caller."""

    def __init__(self, neuron):
        super().__init__()
        self.neuron, self.state = neuron, None

    def forward(self, x):
        if getattr(self.neuron, "init_hidden", True) is False:
            x, self.state = self.neuron(x, *(() if self.state is None else (self.state,)))
            return x
        x = self.neuron(x)
        if isinstance(x, tuple):
            x, self.state = x
        return x


class TwiceHeld(nn.Module):
    """Neurons held by the model and by modules around them, one of which is within another."""

    def __init__(self, make):
        super().__init__()
        self.weights, self.neurons = nn.ModuleList(nn.Linear(32, 32) for _ in range(2)), nn.ModuleList(make() for _ in range(2))
        self.around = nn.ModuleList([Kept(self.neurons[0]), nn.Sequential(Kept(self.neurons[1]))])
        for weight in self.weights:
            nn.init.normal_(weight.weight, std=1.0)

    def forward(self, x):
        return self.around[1](self.weights[1](self.around[0](self.weights[0](5 * x))))


WITHIN = {
    "snnTorch": lambda: snntorch.Leaky(0.5),
    "snnTorch, hidden": leaky,
    "Norse": lambda: pytest.importorskip("norse.torch").LIFBoxCell(),
    "SpikingJelly": lambda: pytest.importorskip("spikingjelly.activation_based.neuron").LIFNode(),
    "own": lambda: Sharp(),
}


class Sharp(nn.Module):
    def forward(self, x):
        return (x > 1).float()


@pytest.mark.parametrize("kind", WITHIN)
def test_a_module_around_a_neuron_is_none_itself(kind):
    found = trace(TwiceHeld(WITHIN[kind]), X)
    assert [layer.name for layer in found.layers] == ["weights.0", "weights.1"]
    assert [layer.neuron_name for layer in found.layers] == ["neurons.0", "neurons.1"]


@pytest.mark.parametrize(
    ("between", "words"),
    [
        ([nn.MaxPool1d(2), nn.Upsample(scale_factor=2)], "max_pool1d in '2'"),
        ([nn.LayerNorm(32)], "layer_norm in '2'"),
        ([nn.ReLU()], "relu in '2'"),
    ],
)
def test_what_stands_between_is_named(between, words):
    found = trace(chain(*between), X[:, None] if isinstance(between[0], nn.MaxPool1d) else X)
    assert any(words in step for step in uncovered(found))


class Shortcut(nn.Module):
    """Currents, or spikes, pooled by maxima and added to other currents."""

    def __init__(self, spiking):
        super().__init__()
        self.first, self.one, self.other = nn.Conv2d(1, 4, 3), leaky(), leaky()
        self.second, self.pool, self.spiking = nn.Conv2d(4, 4, 3, padding=1), nn.MaxPool2d(2), spiking

    def forward(self, x):
        currents = self.first(x)
        spikes = self.one(currents)
        pooled = self.pool(spikes if self.spiking else currents)
        return self.other(pooled + self.second(self.pool(spikes)))


@pytest.mark.parametrize("spiking", [True, False])
def test_a_maximum_beside_other_currents_is_named(spiking):
    *_, last = trace(Shortcut(spiking), torch.rand(2, 1, 8, 8)).layers
    words = f"a maximum of {'spikes' if spiking else 'currents'}, max_pool2d in 'pool'"
    assert last.unknown == (words,)


class Encoded(nn.Module):
    """The input is scaled and made into spikes before the first weights; after them, if asked, so are the spikes."""

    def __init__(self, again):
        super().__init__()
        self.layers, self.again = chain(), again

    def forward(self, x):
        spikes = torch.bernoulli((0.5 * x).clamp(0, 1))
        for number, module in enumerate(self.layers):
            spikes = module(0.5 * spikes if self.again and number == 2 else spikes)
        return spikes


def test_what_is_made_of_the_input_alone_is_the_input():
    found = trace(Encoded(False), X, steps=5)
    assert uncovered(found) == []
    assert all(set(given.unique().tolist()) <= {0.0, 1.0} for given in found.layers[0].weight_inputs)
    assert not torch.equal(*found.layers[0].weight_inputs[:2])  # drawn anew at every step
    assert uncovered(trace(Encoded(True), X, steps=5)) != []


def test_moving_numbers_leaves_no_trace():
    model = chain(nn.Unflatten(1, (4, 8)), nn.Identity(), nn.Dropout(0.5), nn.Flatten())
    assert uncovered(trace(model, X)) == []
    assert model[4].training


def test_residual_additions_are_named():
    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.one, self.two = nn.Linear(32, 32), nn.Linear(32, 32), leaky(), leaky()

        def forward(self, x):
            spikes = self.one(self.a(x))
            return self.two(self.b(spikes) + spikes)

    words = uncovered(trace(Residual(), X))
    assert any("add in the model's forward" in word for word in words)
    assert any("one without a weight layer" in word for word in words)


class Unknown(nn.Module):
    def forward(self, x):
        return (x > 1).to(x.dtype)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (nn.Sequential(nn.Linear(32, 32)), r"has no spiking layer .* name it in neurons="),
        (nn.Sequential(nn.LazyLinear(32), leaky()), "model='0.weight' belongs to a lazy module"),
        (Maps(), "lazy"),
        ("model", "must be a torch.nn.Module"),
    ],
)
def test_models_are_refused_by_name(model, words):
    with pytest.raises(vf.DomainError, match=words):
        trace(model, X)


class Raw(nn.Module):
    def __init__(self):
        super().__init__()
        self.w, self.lif, self.fc = nn.Parameter(torch.ones(32, 32)), leaky(), nn.Linear(32, 32)

    def forward(self, x):
        return self.lif(self.fc(self.lif(self.fc(x)) @ self.w))


class Leaves(nn.Module):
    """Leaves torch on the way."""

    def forward(self, x):
        return torch.from_numpy(x.numpy().copy())


class Alternating(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.one, self.two = nn.Linear(32, 32), nn.Linear(32, 32), leaky(), leaky()

    def forward(self, x):
        for step in range(6):
            out = self.one(self.a(x))
            if step % 2:
                out = self.two(self.b(out))
        return out


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.back, self.one = nn.Linear(32, 32), nn.Linear(32, 32), leaky()

    def forward(self, x):
        spikes = torch.zeros_like(x)
        for _ in range(4):
            spikes = self.one(self.a(x) + self.back(spikes))
        return spikes


class Filtered(nn.Module):
    """A synapse in the forward: the neuron receives a sum that grows from step to step."""

    def __init__(self):
        super().__init__()
        self.a, self.one = nn.Linear(32, 32), leaky()

    def forward(self, x):
        current = 0.0
        for _ in range(4):
            current = 0.5 * current + self.a(x)
            spikes = self.one(current)
        return spikes


@pytest.mark.parametrize(
    ("model", "unknown"),
    [
        (nn.Sequential(leaky(), nn.Linear(32, 32), leaky()), ["0 follows no weight layer"]),
        (
            nn.Sequential(nn.Linear(32, 32), Unknown(), nn.Linear(32, 32), leaky()),
            ["1 is a Unknown, a neuron without equations"],
        ),
        (nn.Sequential(*chain(Leaves())), []),
        (Alternating(), ["two makes 3 steps, others 6"]),
        (Recurrent(), []),
        (Filtered(), ["one receives other operations at every step"]),
    ],
)
def test_whatever_runs_is_traced(model, unknown):
    """What theory does not know is named once; weights fed by something unknown keep what they received."""
    found = trace(model, X)
    assert [words for layer in found.layers for words in layer.unknown] == unknown
    for layer in found.layers:
        for fed in layer.received:
            assert fed.stored or fed.origin.sources <= {other.neuron_name for other in found.layers}


def test_recurrent_weights_join_the_layer_they_feed():
    (layer,) = trace(Recurrent(), X).layers
    assert layer.names == ("a", "back")


def test_what_did_not_run_is_noted():
    model = nn.ModuleDict({"used": nn.Sequential(nn.Linear(32, 32), leaky()), "idle": nn.Linear(3, 3)})
    model.forward = model["used"].forward
    assert trace(model, X).notes == ["did not run in this forward pass: idle"]


class Attending(nn.Module):
    """Projections of an attention whose modules are called, or whose weights are given to functions."""

    def __init__(self, by_functions):
        super().__init__()
        self.a, self.b, self.idle = leaky(), leaky(), nn.Linear(3, 3)
        self.first, self.q, self.k, self.v = (nn.Linear(32, 32) for _ in range(4))
        self.call = (lambda module, x: nn.functional.linear(x, module.weight)) if by_functions else lambda module, x: module(x)

    def forward(self, x):
        spikes = self.a(self.first(x))
        return self.b(nn.functional.scaled_dot_product_attention(*(self.call(m, spikes) for m in (self.q, self.k, self.v))))


def test_weights_that_functions_use_are_not_said_to_be_idle():
    idle = "did not run in this forward pass: idle"
    rule = "are used by functions without a call of their modules, so their gains and operations are not measured"
    assert trace(Attending(by_functions=True), X).notes == [f"weights of q, k and 1 more {rule}", idle]
    assert trace(Attending(by_functions=False), X).notes == [idle]
    attention = nn.MultiheadAttention(32, 4, batch_first=True)
    model = nn.ModuleDict({"a": nn.Sequential(nn.Linear(32, 32), leaky()), "attention": attention, "b": leaky()})
    model.forward = lambda x: model["b"](attention(*[model["a"](x)[:, None]] * 3)[0])
    assert trace(model, X).notes == [f"weights of attention.out_proj {rule}"]


@pytest.mark.parametrize(
    ("model", "x", "words"),
    [
        (chain, X[:0], r"inputs='shape \(0, 32\)' is empty"),
        (chain, float("nan") * X, "holds numbers that are not finite"),
        (chain, X.to("meta"), "inputs.*is on the meta device"),
        (lambda: chain().to("meta"), X, "model='0.weight' is on the meta device"),
        (chain, X.numpy(), "inputs='ndarray' do not go through the model"),
    ],
)
def test_inputs_without_numbers_are_refused_by_name(model, x, words):
    with pytest.raises(vf.DomainError, match=words):
        trace(model(), x)


@pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning")  # torch.compile's own imports
@pytest.mark.parametrize("wrapped", [nn.DataParallel, pytest.param(torch.compile, marks=pytest.mark.slow)])
def test_wrapped_models_are_seen_through(wrapped):
    inner = chain()
    found = trace(wrapped(inner), X, steps=3)
    assert [layer.weights[0] for layer in found.layers] == [inner[0], inner[2]]
    assert found.steps == 3


def test_one_weight_in_two_places_has_two_sources():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.one, self.two = nn.Linear(32, 32), leaky(), leaky()

        def forward(self, x):
            return self.two(self.a(self.one(self.a(x))))

    words = ["a is called for several layers", "a receives input and one together"]
    assert uncovered(trace(Tied(), X)) == 2 * words


# What is left behind.


class Noisy(nn.Module):
    """Draws numbers, counts its calls, writes into its input."""

    def __init__(self):
        super().__init__()
        self.count, self.register = 0, self.register_buffer("calls", torch.zeros(1))

    def forward(self, x):
        self.count += 1
        self.calls += 1
        random.random(), np.random.rand()  # noqa: NPY002
        return x.add_(torch.rand_like(x))


@pytest.mark.parametrize("fails", [False, True])
def test_the_model_is_left_as_found(fails):
    model = nn.Sequential(Noisy(), nn.Linear(32, 32), nn.BatchNorm1d(32), leaky(), nn.Dropout(0.3), nn.Linear(32, 32), leaky())
    model(X.clone())  # so that membranes are there
    before, x = copy.deepcopy(left_behind(model)), X.clone()
    if fails:
        with pytest.raises(vf.DomainError, match="do not go through the model"):
            trace(model, X[:, :5])
    else:
        trace(model, x)
    assert torch.equal(x, X)
    assert same(before, left_behind(model))
    model(X.clone())
    assert not same(before, left_behind(model))  # the check sees a pass


class FromRest(nn.Module):
    """A leaky neuron of one's own, whose first steps are silent."""

    def __init__(self):
        super().__init__()
        self.v = 0.0

    def forward(self, current):
        self.v = 0.9 * self.v + current
        spikes = (self.v > 1).to(current)
        self.v = self.v - spikes
        return spikes


def slow_chain(neuron):
    torch.manual_seed(3)
    model = nn.Sequential(*(m for _ in range(4) for m in (nn.Linear(30, 30, bias=False), neuron())))
    for weight in model[::2]:
        nn.init.normal_(weight.weight, std=(2.0 if weight is model[0] else 4.0) / 30**0.5)
    return model


@pytest.mark.parametrize("steps", [7, 12])
def test_first_steps_without_currents_count(steps):
    """Neurons that are known by their spikes alone make as many steps as known ones, in the same order, with the same rates."""
    x, pictures = torch.rand(5, 30, generator=torch.Generator().manual_seed(1)) / 8, []
    model = slow_chain(FromRest)
    for module in model[1::2]:
        module.register_forward_hook(lambda module, args, out: pictures.append(float(out.mean())))
    with torch.no_grad():
        for _ in range(steps):
            model(x)
    late = np.reshape(pictures, (steps, 4))[steps // 2 :].mean(0)
    assert pictures[1] == 0 < late[-1]
    model = slow_chain(FromRest)
    report = vf.audit(model, x, steps=steps)
    assert np.allclose([layer.firing_rate for layer in report.layers], late, rtol=0, atol=1e-6)
    traced = trace(model, x, steps)
    assert [layer.neuron_name for layer in traced.calls] == ["1", "3", "5", "7"] * steps
    assert [layer.sources for layer in traced.layers] == [("input",), ("1",), ("3",), ("5",)]
    assert not any("steps, others" in note or "every step" in note for note in report.notes)


def test_origins_of_a_long_loop_are_visited_once():
    """A membrane that each step uses twice has ``2^steps`` ways down to its source."""
    origins = Origins()
    made = [origins.sender("weight")]
    for step in range(60):
        squared = origins.after(("square", step), (made[-1], made[-1]), lambda: (vf.layers.Product(), "mul"))
        unknown = vf.layers.Unknown(f"tanh {step}")
        bent = origins.after(("tanh", step), (squared, made[-1]), lambda unknown=unknown: (unknown, "tanh"))
        made += [squared, bent]
    last = made[-1]
    assert set(last.ancestors) == set(made)
    assert last.unknown == [f"tanh {step}" for step in reversed(range(60))]
    assert not not_gaussian(last, {"weight": None})
    assert not carries_spikes(last, {"weight": None})
