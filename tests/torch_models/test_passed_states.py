"""Models that take and return their state are watched over many calls as their user would call them."""

import copy
from collections import namedtuple
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pytest

import varflow as vf
from varflow import DomainError

torch = pytest.importorskip("torch")
snntorch = pytest.importorskip("snntorch")
norse = pytest.importorskip("norse.torch")
from torch import nn  # noqa: E402

WIDTH, STEPS, SLOW = 48, 14, norse.LIFBoxParameters(tau_mem_inv=80)
X = torch.rand(6, WIDTH, generator=torch.Generator().manual_seed(3))


class Membranes(NamedTuple):
    first: object = None
    second: object = None


class Two(nn.Module):
    """Two layers of slow neurons, silent if their membranes are lost between calls. ``forward`` is that of the subclasses."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(7)
        self.weights = nn.ModuleList([nn.Linear(WIDTH, WIDTH) for _ in range(2)])
        for weight, gain in zip(self.weights, (0.7, 1.6), strict=True):
            vf.init.normal_(weight.weight, gain, generator=generator)
            nn.init.zeros_(weight.bias)
        self.neurons = nn.ModuleList([snntorch.Leaky(0.95), snntorch.Leaky(0.8)])

    def run(self, spikes, membranes):
        after = []
        for weight, neuron, membrane in zip(self.weights, self.neurons, membranes or (None, None), strict=True):
            spikes, membrane = neuron(weight(spikes), neuron.init_leaky() if membrane is None else membrane)
            after.append(membrane)
        return spikes, after


class ByPosition(Two):
    def forward(self, x, state=None):
        spikes, after = self.run(x, state)
        return spikes, tuple(after)


class ByKeyword(Two):
    def forward(self, x, *, hidden=None, return_all=False):
        spikes, after = self.run(x, None if hidden is None else hidden["membranes"][0])
        return [spikes, {"membranes": [after]}]


class OfTwo(Two):
    def forward(self, spk, mem1=None, mem2=None):
        spikes, after = self.run(spk, (mem1, mem2))
        return (spikes, *after)


class OfTwoInputs(Two):
    def forward(self, x, spikes, mem1=None, mem2=None):
        spikes, after = self.run(x + spikes, (mem1, mem2))
        return (spikes, *after)


class OfTwoInOne(Two):
    def forward(self, x, mem_first=0, mem_second=0):
        return self.run(x, tuple(None if isinstance(mem, int) else mem for mem in (mem_first, mem_second)))


class Named(Two):
    def forward(self, x, return_state=True, lif_state=None):
        spikes, after = self.run(x, lif_state)
        return {"loss": spikes.sum(), "lif_state": Membranes(*after), "spikes": spikes}


class NamedTuples(Two):
    def forward(self, x, s=None):
        spikes, after = self.run(x, s)
        return namedtuple("Out", "s spikes")(Membranes(*after), spikes)


class Required(Two):
    def forward(self, x, h):
        spikes, after = self.run(x, h)
        return spikes, Membranes(*after)


class InPlace(Two):
    """As Norse's containers: the list that is given is written to."""

    def forward(self, x, state=None):
        state = [None, None] if state is None else state
        spikes, state[:] = self.run(x, state)
        return spikes, state


class Fed(Two):
    """The network's own spikes come back too, as in recurrent neurons of snnTorch."""

    def forward(self, x, spk=None, mem=None):
        return self.run(x if spk is None else x + spk, mem)


def sequential():
    torch.manual_seed(1)
    parts = [m for gain in (1.5, 4.0) for m in (nn.Linear(WIDTH, WIDTH), norse.LIFBoxCell(SLOW))]
    for weight in parts[::2]:
        nn.init.normal_(weight.weight, std=4 / WIDTH**0.5)
    return norse.SequentialState(*parts)


def imported():
    nir, nirtorch = pytest.importorskip("nir"), pytest.importorskip("nirtorch")
    torch.manual_seed(2)
    ones, model = np.ones(WIDTH, dtype=np.float32), sequential()
    nodes = {"input": nir.Input(np.array([WIDTH])), "output": nir.Output(np.array([WIDTH]))}
    for number in (0, 2):
        nodes[f"w{number}"] = nir.Affine(model[number].weight.detach().numpy(), 0 * ones)
        nodes[f"lif{number}"] = nir.LIF(tau=ones / 80, r=ones, v_leak=0 * ones, v_threshold=ones)
    order = ["input", "w0", "lif0", "w2", "lif2", "output"]
    graph = nir.NIRGraph(nodes, list(pairwise(order)))
    return nirtorch.nir_to_torch(graph, {nir.LIF: lambda node: norse.LIFBoxCell(SLOW)})


def rest():
    return torch.zeros(len(X), WIDTH), torch.zeros(len(X), WIDTH)


FORMS = {
    "position": (ByPosition, X, lambda out: ((X, out[1]), {})),
    "keyword": (ByKeyword, X, lambda out: ((X,), {"hidden": out[1]})),
    "keyword inputs": (ByPosition, {"x": X, "state": None}, lambda out: ((X, out[1]), {})),
    "two": (OfTwo, X, lambda out: ((X, *out[1:]), {})),
    "two, of two inputs": (OfTwoInputs, (X / 2, X / 2), lambda out: ((X / 2, X / 2, *out[1:]), {})),
    "two in one": (OfTwoInOne, X, lambda out: ((X, *out[1]), {})),
    "dict": (Named, X, lambda out: ((X,), {"lif_state": out["lif_state"]})),
    "named tuple": (NamedTuples, X, lambda out: ((X, out.s), {})),
    "required": (Required, (X, Membranes(*rest())), lambda out: ((X, out[1]), {})),
    "required, None at first": (Required, (X, None), lambda out: ((X, out[1]), {})),
    "required, empty at first": (Required, (X, (None, None)), lambda out: ((X, out[1]), {})),
    "in place": (InPlace, (X, list(rest())), lambda out: ((X, out[1]), {})),
    "spikes fed back": (Fed, X, lambda out: ((X, *out), {})),
    "spikes fed back, zeros at first": (Fed, (X, rest()[0], rest()), lambda out: ((X, *out), {})),
    "wrapped": (lambda: nn.DataParallel(ByPosition()), X, lambda out: ((X, out[1]), {})),
    "compiled": (lambda: torch.compile(ByPosition(), backend="eager"), X, lambda out: ((X, out[1]), {})),
    "Norse": (sequential, X, lambda out: ((X, out[1]), {})),
    "NIR": (imported, X, lambda out: ((X, out[1]), {})),
}


def neurons_of(model):
    return [module for module in model.modules() if isinstance(module, (snntorch.Leaky, norse.LIFBoxCell))]


def late_rates(model, inputs, following, lost=False):
    """Of the calls that a user would make, by hooks; ``lost``: without the state."""
    rates = [[] for _ in neurons_of(model)]
    hooks = [
        neuron.register_forward_hook(lambda module, args, out, own=own: own.append(float(out[0].detach().mean())))
        for neuron, own in zip(neurons_of(model), rates, strict=True)
    ]
    args, kwargs = arguments(inputs)
    with torch.no_grad(), torch.compiler.set_stance("force_eager"):
        for _ in range(STEPS):
            args, kwargs = following(model(*args, **kwargs))
            if lost:
                args, kwargs = arguments(inputs)
    for hook in hooks:
        hook.remove()
    return [np.mean(own[STEPS // 2 :]) for own in rates]


def arguments(inputs):
    inputs = copy.deepcopy(inputs)
    return ((), inputs) if isinstance(inputs, dict) else (inputs if isinstance(inputs, tuple) else (inputs,), {})


@pytest.mark.parametrize("form", FORMS)
def test_the_state_is_passed_on(form):
    make, inputs, following = FORMS[form]
    model = make()
    expected = late_rates(model, inputs, following)
    for _ in range(2):  # nothing is left from one pass to the next
        measured = [layer.firing_rate for layer in vf.audit(model, inputs, steps=STEPS).layers]
        assert np.allclose(measured, expected, rtol=0, atol=1e-6)  # spikes are counted: only means are rounded
    assert max(expected) > 0.03
    lost = late_rates(model, inputs, following, lost=True)
    assert not np.allclose(lost, expected, atol=0.02)


def test_where_else_models_are_called():
    """``init_model`` reaches its rate, ``Monitor`` and the command see the same as the audit."""
    for form in ("two", "keyword"):
        make, inputs, following = FORMS[form]
        model = make()
        plan = vf.init.init_model(
            model, inputs, steps=STEPS, rate=0.25, refine=True, generator=torch.Generator().manual_seed(5)
        )
        found = late_rates(model, inputs, following)
        assert np.allclose(found, [layer.firing_rate for layer in plan.layers], rtol=0.03)  # scaled to within 2 %
        assert not np.allclose(late_rates(model, inputs, following, lost=True), found, rtol=0.03)
        monitor = vf.Monitor(model, inputs, steps=STEPS)
        monitor()
        assert np.allclose([monitor.values("firing_rate", layer=name)[0] for name in monitor.layers], found, atol=1e-6)


class Looped(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        state = None
        for _ in range(STEPS):
            spikes, state = self.inner(x, state)
        return spikes


def test_gradients_go_through_the_state():
    """As where the loop is within the model, for a loss that only the last call enters; without the state they are others."""
    outer = vf.audit(ByPosition(), X, steps=STEPS, loss=lambda out: (out[0] ** 2).sum())
    inner = vf.audit(Looped(ByPosition()), X, loss=lambda out: (out**2).sum())
    norms = [[layer.gradient_norm for layer in report.layers] for report in (outer, inner)]
    assert np.allclose(*norms, rtol=1e-5)
    once = vf.audit(ByPosition(), X, steps=1, loss=lambda out: (out[0] ** 2).sum())
    assert not np.allclose(norms[0], [layer.gradient_norm for layer in once.layers], rtol=0.1)


def test_within_inference_mode_and_for_what_the_user_gave():
    """No list that the user gave is written to."""
    given = [None, None]
    with torch.inference_mode():
        first = vf.audit(InPlace(), (X, given), steps=STEPS).layers
    vf.init.init_model(InPlace(), (X, given), steps=STEPS, rate=0.25, refine=True, dry_run=True)
    assert given == [None, None]
    assert [each.firing_rate for each in first] == [each.firing_rate for each in vf.audit(InPlace(), X, steps=STEPS).layers]


class Overwriting(ByPosition):
    def forward(self, x, state=None):
        return super().forward(x.mul_(0.9), state)


def test_inputs_that_a_model_writes_to_are_left_as_found():
    x = X.clone()
    vf.init.init_model(Overwriting(), x, steps=3, rate=0.25, refine=True, dry_run=True)
    assert torch.equal(x, X)


class Unnamed(Two):
    def forward(self, x, y=None):
        return self.run(x, y)


class Renamed(Two):
    def forward(self, x, state=None):
        spikes, after = self.run(x, state)
        return {"spikes": spikes, "after": after}


class MoreThanTwo(Two):
    def forward(self, x, state=None):
        spikes, after = self.run(x, state)
        return (spikes, *after)


class Anything(Two):
    def forward(self, x, *args):
        spikes, after = self.run(x, args)
        return (spikes, *after)


class Wrapper(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, *args):
        return self.inner(*args)


class Fed1(Two):
    def forward(self, x, spk=None):
        return self.run(x if spk is None else x + spk, None)[0]


@pytest.mark.parametrize(
    ("kind", "inputs"),
    [
        (Unnamed, X),
        (Unnamed, (X, rest())),
        (Unnamed, (X, (None, None))),
        (Renamed, X),
        (MoreThanTwo, X),
        (Anything, X),
        (Fed1, X),
        (Required, (X, Membranes(torch.zeros(1), torch.zeros(1)))),
        (lambda: Wrapper(ByPosition()), X),
    ],
)
def test_steps_are_refused_where_a_state_may_be_lost(kind, inputs):
    """One call loses nothing."""
    words = r"^steps=14 may lose a state between calls: forward\(.*make.* the steps$"
    for watch in (vf.audit, vf.init.init_model, lambda *args, **options: vf.Monitor(*args, **options).step()):
        with pytest.raises(DomainError, match=words) as refused:
            watch(kind(), inputs, steps=STEPS)
        assert refused.value.argument == "steps"
    assert vf.audit(kind(), inputs, steps=1).steps == 1


class Keeping(Two):
    """Its membranes are its own, whatever other arguments there are and whatever it returns."""

    def __init__(self):
        super().__init__()
        for neuron in self.neurons:
            neuron.init_hidden = True

    def run(self, x, membranes=None):
        for weight, neuron in zip(self.weights, self.neurons, strict=True):
            x = neuron(weight(x))
        return x, [neuron.mem for neuron in self.neurons]


class Alone(Keeping):
    def forward(self, x):
        return self.run(x)


class WithFlags(Keeping):
    def forward(self, x, return_all=False, scale=1.0, output_hidden=None, reset_mem=False, reduction="mean"):
        assert (return_all, scale, output_hidden, reset_mem, reduction) == (False, 1.0, None, False, "mean")
        return self.run(scale * x)


class WithTwoInputs(Keeping):
    def forward(self, x, spikes, scale=1.0, with_state=False):
        assert (scale, with_state, spikes.shape) == (1.0, False, (len(X), 2, WIDTH))
        return self.run(x + scale * spikes.sum(1))


class Optional(Keeping):
    """A state argument that nothing comes back for."""

    def forward(self, x, state=None):
        assert state is None
        return self.run(x)[0]


@pytest.mark.parametrize(
    ("kind", "inputs"),
    [
        (Alone, X),
        (lambda: nn.DataParallel(Alone()), X),
        (WithFlags, X),
        (WithTwoInputs, (X, torch.zeros(len(X), 2, WIDTH))),
        (Optional, X),
    ],
)
def test_other_arguments_are_given_no_state(kind, inputs):
    expected = [layer.firing_rate for layer in vf.audit(ByPosition(), X, steps=STEPS).layers]
    assert [layer.firing_rate for layer in vf.audit(kind(), inputs, steps=STEPS).layers] == expected
