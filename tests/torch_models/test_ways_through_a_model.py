"""Ways through a model: inputs are lost where none is left, outputs are what nothing reads, factors are no currents."""

import math

import numpy as np
import pytest

import varflow as vf

torch = pytest.importorskip("torch")
snntorch = pytest.importorskip("snntorch")

from torch import nn  # noqa: E402

WIDTH, STEPS = 80, 6
X = torch.rand(6, WIDTH, generator=torch.Generator().manual_seed(4))
FADED = X * torch.tensor([1.0, 0.02, 1.0, 1.0, 0.02, 1.0])[:, None]  # two inputs are weak


def drawn(gain, into=WIDTH, out=WIDTH, seed=0):
    weight = nn.Linear(into, out, bias=False)
    nn.init.normal_(weight.weight, 0, gain / math.sqrt(into), generator=torch.Generator().manual_seed(seed))
    return weight


def leaky():
    return snntorch.Leaky(0.6, init_hidden=True)


class Ways(nn.Module):
    """A branch that is silent for weak inputs beside one that fires; put together by ``merge``, or the first alone."""

    def __init__(self, merge, head=True):
        super().__init__()
        self.weak, self.a = drawn(2.0, seed=1), leaky()
        self.strong, self.b = drawn(40.0, seed=2), leaky()
        self.after, self.c = drawn(3.0, 2 * WIDTH if merge == "cat" else WIDTH, seed=3), leaky()
        self.head = drawn(1.0, out=5, seed=4) if head else nn.Identity()
        self.merge = merge

    def forward(self, x):
        a, b = self.a(self.weak(x)), self.b(self.strong(x))
        whole = {"cat": lambda: torch.cat([a, b], 1), "add": lambda: a + b, "alone": lambda: a}[self.merge]()
        return self.head(self.c(self.after(whole)))


@pytest.mark.parametrize("head", [True, False])
@pytest.mark.parametrize("merge", ["cat", "add", "alone"])
def test_an_input_that_takes_another_way_is_not_lost(merge, head):
    """Without the other branch the same two inputs are lost, with a head or with neurons as output."""
    found = vf.audit(Ways(merge, head), FADED, steps=STEPS)
    assert found["weak"].survival.tolist() == [1, 0, 1, 1, 0, 1]
    lost = [words for words in found.problems if "fall silent" in words]
    assert bool(lost) == (merge == "alone")
    assert bool(found.fixes) == (merge == "alone")
    assert found["after"].output == (not head)
    assert found["after"].sources == (("a",) if merge == "alone" else ("a", "b"))
    if lost:
        assert lost[0].startswith("2 of 6 inputs fall silent on the way")


class Attention(nn.Module):
    """Spikes of q and k make those of v pass or not, then a neuron without weights, a projection and a head."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.v = (drawn(3.0, seed=seed) for seed in range(3))
        self.q_lif, self.k_lif, self.v_lif, self.lif = (leaky() for _ in range(4))
        self.proj, self.out = drawn(6.0, seed=5), leaky()

    def forward(self, x):
        q, k, v = self.q_lif(self.q(x)), self.k_lif(self.k(x)), self.v_lif(self.v(x))
        return self.out(self.proj(self.lif(3 * v * (q * k).sum(1, keepdim=True).sqrt())))


def test_spikes_that_reach_a_neuron_without_weights_are_no_output():
    """The only output is the last layer; gradients are read out there alone."""
    found = vf.audit(Attention(), X, steps=STEPS, gradients=True)
    assert [layer.neuron_name for layer in found.layers if layer.output] == ["out"]
    assert found["lif"].sources == ("k_lif", "q_lif", "v_lif")
    assert found["proj"].sources == ("lif",)
    model = Attention()
    nn.init.zeros_(model.proj.weight)
    cut = vf.audit(model, X, steps=STEPS, gradients=True)
    assert cut["out"].gradient_norm > 0
    assert [cut[name].gradient_norm for name in "qkv"] == [0, 0, 0]  # their own spikes are not read


class Reading(nn.Module):
    """The last neurons read their own spikes by weights; or the next layer does."""

    def __init__(self):
        super().__init__()
        self.a, self.first = drawn(4.0, seed=1), leaky()
        self.b, self.back, self.last = drawn(3.0, seed=2), drawn(0.5, seed=3), leaky()

    def forward(self, x):
        out, total = torch.zeros_like(x), 0.0
        for _ in range(STEPS):
            out = self.last(self.b(self.first(self.a(x))) + self.back(out))
            total = total + out
        return total


def test_an_output_that_reads_its_own_spikes_is_one():
    found = vf.audit(Reading(), X)
    assert [layer.output for layer in found.layers] == [False, True]
    assert found["last"].sources == ("first",)


class Gated(nn.Module):
    """Currents of ``w`` times a factor that a small network makes of them, or of the input."""

    def __init__(self, factor=torch.sigmoid, plain=False, of_input=False):
        super().__init__()
        self.first, self.a = drawn(4.0, seed=1), leaky()
        self.w, self.squeeze, self.excite, self.b = drawn(0.2, seed=2), drawn(1.0, seed=3), drawn(1.0, seed=4), leaky()
        self.head, self.c = drawn(3.0, seed=5), leaky()
        self.factor, self.plain, self.of_input = factor, plain, of_input

    def forward(self, x):
        spikes = self.a(self.first(x))
        u = self.w(spikes)
        gate = self.factor(self.excite(torch.relu(self.squeeze(x if self.of_input else u))))
        return self.c(self.head(self.b(u if self.plain else u * gate)))


@pytest.mark.parametrize("of_input", [False, True])
@pytest.mark.parametrize("factor", [torch.sigmoid, lambda u: 0.5 + 0.5 * torch.tanh(u), lambda u: u.softmax(1) * WIDTH])
def test_weights_that_make_factors_are_left_alone(factor, of_input):
    """The row is that of the weights whose currents arrive; advice is on them, and init_model changes no other."""
    model = Gated(factor, of_input=of_input)
    found = vf.audit(model, X, steps=STEPS)
    assert [layer.name for layer in found.layers] == ["first", "w", "head"]
    assert "squeeze" not in found.fixes
    assert "excite" not in found.fixes
    assert found.fix_layer == "w"
    assert any(note.startswith("weights of excite, squeeze only make factors") for note in found.notes)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    plan = vf.init.init_model(model, X, steps=STEPS, rate=0.2, generator=torch.Generator().manual_seed(0))
    changed = {
        name.removesuffix(".weight") for name, weight in model.state_dict().items() if not torch.equal(weight, before[name])
    }
    assert changed.isdisjoint({"squeeze", "excite"})
    assert {"first", "w", "head"} <= changed
    assert plan.layers[1].measured_rate == pytest.approx(0.2, rel=0.1)


def test_factors_whose_scale_counts_are_currents_as_before():
    """A product with an unbounded factor scales with its weights, which are a part of the row."""
    found = vf.audit(Gated(torch.relu), X, steps=STEPS)
    assert found.layers[1].name == "w+excite"
    operations = [vf.audit(Gated(factor), X, steps=STEPS).layers[1].operations for factor in (torch.relu, torch.sigmoid)]
    assert operations[0] == pytest.approx(operations[1])  # multiplications for factors are counted too
    assert np.isfinite(operations).all()
