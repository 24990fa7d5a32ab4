"""``init_model`` helps or leaves alone: what is healthy stays bit for bit unless a rate is asked for; all else is set."""

import numpy as np
import pytest

import varflow as vf

torch = pytest.importorskip("torch")
snntorch = pytest.importorskip("snntorch")
norse = pytest.importorskip("norse.torch")

from model_families import Block  # noqa: E402
from torch import nn  # noqa: E402

from varflow.torch_models.initialise.refine import LEFT  # noqa: E402

STEPS = 8


def leaky(**options):
    return snntorch.Leaky(0.7, init_hidden=True, **options)


def spikingjelly():
    return pytest.importorskip("spikingjelly.activation_based.neuron").LIFNode(tau=1.5)


class Stepped(nn.Module):
    """Blocks of weights, normalisation and neuron, stepped by its forward; rates of the neurons as they fire."""

    def __init__(self, *blocks, readout=None):
        super().__init__()
        self.blocks = nn.ModuleList(nn.ModuleList(block) for block in blocks)
        self.readout = readout
        self.rates = []

    def forward(self, x):
        states, spikes_at, out = [None] * len(self.blocks), [], 0.0
        for *_, neuron in self.blocks:
            if not isinstance(neuron, norse.LIFCell):
                (neuron.reset_mem if isinstance(neuron, snntorch.Leaky) else neuron.reset)()
        for _ in range(STEPS):
            spikes, means = x, []
            for l, (*modules, neuron) in enumerate(self.blocks):
                for module in modules:
                    spikes = module(spikes)
                spikes = neuron(spikes) if not isinstance(neuron, norse.LIFCell) else neuron(spikes, states[l])
                if isinstance(spikes, tuple):
                    spikes, states[l] = spikes
                means.append(spikes.detach().reshape(len(x), -1).mean(1).numpy())
            spikes_at.append(means)
            out = out + (spikes if self.readout is None else self.readout(spikes.flatten(1)))
        self.rates = np.mean(spikes_at[STEPS // 2 :], axis=0)  # (layers, inputs)
        return out


def dense(norm, neuron, n_inputs=40, size=60, factor=1.0):
    """A block; its weights are torch's times a factor."""
    weights = nn.Linear(n_inputs, size)
    weights.weight.data *= factor
    return [weights, *([] if norm is None else [norm(size)]), neuron()]


def normalised(norm=nn.BatchNorm1d, neuron=leaky, depth=3, seed=0, training=True):
    """Blocks with normalisations, healthy with torch's weights; in eval mode by statistics of the batch itself."""
    torch.manual_seed(seed)
    blocks = [dense(norm, neuron, 60 if l else 40) for l in range(depth)]
    model = Stepped(*blocks, readout=nn.Linear(60, 5))
    for module in model.modules():
        if isinstance(module, norm) and getattr(module, "weight", None) is not None:
            module.weight.data.uniform_(1.0, 1.4)
            module.bias.data.uniform_(0, 0.1)
    with torch.no_grad():
        for _ in range(40 if not training else 1):
            model(batch())
    return model.train(training)


def batch(number=32, size=40):
    return torch.rand(number, size, generator=torch.Generator().manual_seed(7))


def state(model):
    return {name: tensor.detach().clone() for name, tensor in (*model.named_parameters(), *model.named_buffers())}


def changed(model, before):
    return [name for name, tensor in state(model).items() if not torch.equal(tensor, before[name])]


def ways(plan):
    return [row.set_by for row in plan.layers]


HEALTHY = {
    "snnTorch, BatchNorm": (normalised, {}),
    "snnTorch, BatchNorm in eval mode": (normalised, {"training": False}),
    "snnTorch, LayerNorm": (normalised, {"norm": nn.LayerNorm}),
    "Norse, BatchNorm": (normalised, {"neuron": lambda: norse.LIFCell(p=norse.LIFParameters(v_th=torch.tensor(0.15)))}),
    "SpikingJelly, BatchNorm": (normalised, {"neuron": spikingjelly}),
    "snnTorch, plain": (lambda: Stepped(*(dense(None, leaky, n, factor=3.0) for n in (40, 60)), readout=nn.Linear(60, 5)), {}),
}


class TestAHealthyNetwork:
    @pytest.mark.parametrize("options", [{}, {"dry_run": True}, {"refine": True}, {"refine": False}], ids=str)
    @pytest.mark.parametrize("name", HEALTHY)
    def test_is_left_bit_for_bit(self, name, options):
        make, how = HEALTHY[name]
        torch.manual_seed(1)
        model, x = make(**how), batch()
        before, random = state(model), torch.get_rng_state()
        plan = vf.init.init_model(model, x, **options)
        assert changed(model, before) == []
        assert torch.equal(torch.get_rng_state(), random)
        assert vf.audit(model, x).healthy
        assert ways(plan) == ["kept: healthy"] * len(plan.layers)
        assert not plan.filled
        assert plan.notes[0].startswith("healthy, and kept as they are: all layers; rate=0.2 would set them, which may cost")
        with torch.no_grad():
            model(x)
        rows = [row for row in plan.layers if row.neuron_name]
        np.testing.assert_allclose([row.measured_rate for row in rows], model.rates[:, ::2].mean(1), rtol=1e-5)
        np.testing.assert_allclose([row.fresh_rate for row in rows], model.rates[:, 1::2].mean(1), rtol=1e-5)
        stds = [float(model.get_submodule(row.name).weight.detach().std()) for row in plan.layers]
        np.testing.assert_allclose([row.weight_std for row in plan.layers], stds, rtol=0.01)

    @pytest.mark.parametrize("name", HEALTHY)
    def test_has_the_rate_that_is_asked_for(self, name):
        """The control: all is set but weights before a γ, and a note says where another γ may cost accuracy."""
        make, how = HEALTHY[name]
        torch.manual_seed(1)
        model, x = make(**how), batch()
        before = state(model)
        plan = vf.init.init_model(model, x, rate=0.2, refine=True)
        parameters = {each for each, _ in model.named_parameters()}
        weights = {each for each in parameters if each.split(".")[2:3] == ["0"]}  # of blocks, before γ
        assert parameters.intersection(changed(model, before)) == parameters - (set() if "plain" in name else weights)
        assert plan.filled
        assert [row.measured_rate for row in plan.layers if row.neuron_name] == pytest.approx(
            [0.2] * len(model.blocks), rel=LEFT
        )
        words = "healthy as they are: blocks.0.2, blocks.1.2 and 1 more; another γ may cost accuracy"
        assert any(note.startswith(words) for note in plan.notes) == ("plain" not in name)

    @pytest.mark.parametrize("factor", [1.5, 8.0])
    def test_without_normalisation_is_set_outside_the_rates_that_train_alike(self, factor):
        torch.manual_seed(1)
        model, x = Stepped(*(dense(None, leaky, n, factor=factor) for n in (40, 60))), batch()
        assert vf.audit(model, x).healthy
        plan = vf.init.init_model(model, x)
        assert all(way.startswith("theory") for way in ways(plan))
        assert model(x) is not None
        np.testing.assert_allclose(model.rates.mean(1), [row.firing_rate for row in plan.layers[:2]], rtol=0.15)

    def test_of_which_gradients_forget_the_input_is_set(self):
        """All of 45 layers fire, and no gradient has anything in common with another's."""
        torch.manual_seed(0)
        model, x = Stepped(*(dense(None, leaky, 40, 40) for _ in range(45)), readout=nn.Linear(40, 5)), batch()
        for weight, _ in model.blocks:
            vf.init.normal_(weight.weight, 3.0), nn.init.zeros_(weight.bias)
        report = vf.audit(model, x)
        assert report.learning.verdict == "forgets"
        assert min(layer.firing_rate for layer in report.layers) > 0.1
        before = state(model)
        assert vf.init.init_model(model, x).filled
        assert {name for name, _ in model.named_parameters() if "weight" in name} <= set(changed(model, before))

    def test_whose_output_is_silent_has_it_set(self):
        """What lies below stays."""
        model, x = normalised(), batch()
        model.blocks.append(nn.ModuleList(dense(None, leaky, 60, 5, factor=0.1)))
        model.readout = None
        assert vf.audit(model, x).healthy
        before = state(model)
        plan = vf.init.init_model(model, x)
        assert set(changed(model, before)) == {"blocks.3.0.weight", "blocks.3.0.bias"}
        assert ways(plan) == [*["kept: healthy"] * 3, "measured: weights"]
        assert plan.layers[-1].measured_rate == pytest.approx(0.2, rel=0.3)  # five neurons


class TestOneHealthyLayer:
    def mixed(self, dead=2, training=True):
        """Normalised blocks, one of which is dead: by γ."""
        model = normalised(depth=5, training=training)
        model.blocks[dead][1].weight.data *= 1e-3
        model.blocks[dead][1].bias.data.zero_()
        return model

    @pytest.mark.parametrize("dry_run", [False, True])
    def test_behind_a_normalisation_is_kept_and_the_others_are_set(self, dry_run):
        """In train mode what arrives is normalised anew, so that layers above a dead one are healthy or not by themselves: here
        they receive no spikes.
        """
        model, x = self.mixed(), batch()
        before = state(model)
        plan = vf.init.init_model(model, x, dry_run=dry_run)
        assert ways(plan)[:3] == ["kept: healthy", "kept: healthy", "measured: γ of blocks.2.1"]
        assert plan.layers[2].measured_rate == pytest.approx(0.2, rel=LEFT)
        touched = {name.removeprefix("blocks.")[0] for name in changed(model, before)}
        assert touched == (set() if dry_run else {"2", "3", "4", "r"})
        assert not [each for each in changed(model, before) if each.split(".")[2:3] == ["0"]]  # γ is scaled, not weights
        assert any(note.startswith("healthy, and kept as they are: blocks.0.2, blocks.1.2; rate=0.2") for note in plan.notes)

    def test_a_weak_layer_leaves_those_above_in_train_mode_only(self):
        """Batch statistics normalise what a new layer sends; running statistics do not fit it."""
        for training in (True, False):
            model, x = normalised(depth=3, training=training), batch()
            model.blocks[0][1].weight.data *= 0.8
            model.blocks[0][1].bias.data.fill_(-1.4)
            with torch.no_grad():
                model(x)
            assert 0 < model.rates[0].mean() < 0.015
            report = vf.audit(model, x)
            assert report["blocks.0.2"].verdict == "weak"
            sound = [layer.verdict == "healthy" for layer in report.layers]
            plan = vf.init.init_model(model, x)
            assert [way == "kept: healthy" for way in ways(plan)[:3]] == [training and each for each in sound]
            assert plan.layers[0].measured_rate == pytest.approx(0.2, rel=LEFT)

    def test_without_a_normalisation_is_set(self):
        """A plain chain is planned as a whole, also where its first layer is healthy."""
        torch.manual_seed(0)
        model, x = Stepped(*(dense(None, leaky, n, factor=f) for n, f in ((40, 6.0), (60, 0.1)))), batch()
        assert [layer.verdict for layer in vf.audit(model, x).layers] == ["healthy", "dead"]
        assert not any("kept" in way for way in ways(vf.init.init_model(model, x)))

    @pytest.mark.parametrize("owner", ["healthy", "of a dead γ", "saturated"])
    def test_weights_shared_with_a_layer_that_is_set(self, owner):
        """The first layer that has them decides; another one stays healthy, as they are normalised."""
        torch.manual_seed(0)
        norm = None if owner == "saturated" else nn.BatchNorm1d
        blocks = [dense(nn.BatchNorm1d, leaky), dense(norm, leaky, 60), dense(nn.BatchNorm1d, leaky, 60)]
        blocks[2][0].weight = shared = blocks[1][0].weight
        model, x = Stepped(*blocks, readout=nn.Linear(60, 5)), batch()
        if owner == "saturated":
            blocks[1][0].bias.data[:] = torch.where(torch.arange(60) < 36, 5.0, 0.3)
        else:
            dead = blocks[2 if owner == "healthy" else 1][1]
            dead.bias.data.fill_(0.0 if owner == "healthy" else -1.2)
            dead.weight.data.fill_(0.01 if owner == "healthy" else 0.8)
        before, sound = shared.detach().clone(), [layer.verdict == "healthy" for layer in vf.audit(model, x).layers]
        assert sound == [True, owner == "healthy", owner != "healthy"]
        plan = vf.init.init_model(model, x)
        assert (ways(plan)[1] == "kept: healthy") == (owner == "healthy")
        assert torch.equal(shared, before) == (owner != "saturated")
        assert ways(plan)[2] == "kept: blocks.2.0 shares its weights with blocks.1.0"
        (kept,) = (note for note in plan.notes if note.startswith("healthy, and kept as they are: blocks.0.2"))
        assert ("blocks.2.2" in kept) == (owner != "healthy")

    def test_with_frozen_gamma_is_kept(self):
        model, x = self.mixed(), batch()
        model.blocks[0][1].weight.requires_grad_(False)
        before = state(model)
        plan = vf.init.init_model(model, x)
        assert ways(plan)[1:3] == ["kept: healthy", "measured: γ of blocks.2.1"]
        assert ways(plan)[0].startswith("kept: ")
        assert not [name for name in changed(model, before) if name.startswith(("blocks.0", "blocks.1"))]


def test_a_silent_attention_is_mended_by_its_queries_keys_and_values():
    torch.manual_seed(0)
    model, x = Block(), torch.rand(16, 8, 16, generator=torch.Generator().manual_seed(0))
    for name in "qkv":
        model.linears[name][1].weight.data.fill_(0.4)  # γ
    assert [layer.neuron_name for layer in vf.audit(model, x).layers if layer.dead] == ["attention", "neurons.proj"]
    plan = vf.init.init_model(model, x)
    (row,) = [layer for layer in plan.layers if layer.neuron_name == "attention"]
    assert row.set_by == "measured: rates of neurons.q, neurons.k, neurons.v"
    assert {layer.neuron_name for layer in plan.layers if layer.set_by == "kept: healthy"} == {
        "neurons.embed",
        "neurons.fc1",
        "neurons.fc2",
    }
    assert not any(layer.dead for layer in vf.audit(model, x).layers)


class TestWhatThePlanAdds:
    @pytest.mark.parametrize(("slope", "changed_width"), [(25, True), (1, False)])
    def test_surrogates_are_set_where_weights_are_kept_if_far_off(self, slope, changed_width):
        model, x = normalised(neuron=lambda: leaky(spike_grad=snntorch.surrogate.fast_sigmoid(slope))), batch()
        before, old = state(model), vf.audit(model, x, gradients=True).layers[0].surrogate
        plan = vf.init.init_model(model, x, surrogate="set")
        assert changed(model, before) == []
        new = vf.audit(model, x, gradients=True).layers[0].surrogate
        assert plan.layers[0].surrogate == (new if changed_width else None)
        assert (new != old) is changed_width
        assert any("surrogates are left as they are" in note for note in plan.notes) is not changed_width

    def test_the_verdict_is_that_of_the_audit(self):
        torch.manual_seed(0)
        model, x = Stepped(*(dense(None, leaky, n) for n in (40, 60, 60)), readout=nn.Linear(60, 5)), batch()
        plan = vf.init.init_model(model, x, surrogate="set")
        audited = vf.audit(model, x).learning
        np.testing.assert_allclose(plan.learning.coherence, audited.coherence)
        assert plan.learning.words in repr(plan)

    def test_a_learning_rate_where_one_is_known(self):
        torch.manual_seed(0)
        model, x = Stepped(*(dense(None, leaky, n) for n in (40, 60, 60)), readout=nn.Linear(60, 5)), batch()
        plan = vf.init.init_model(model, x, learning_rate=True)
        assert plan.learning_rate.rate == pytest.approx(vf.learning_rate(model, x).rate)
        assert f"learning rate of adam {plan.learning_rate.rate:.2g}" in repr(plan)
        assert vf.init.init_model(model, x).learning_rate is None
        normal = vf.init.init_model(normalised(), x, learning_rate=True)
        assert normal.learning_rate is None
        assert "no learning rate is known" in normal.notes[-1]
        assert "optimizer=…) measures what a step" in normal.notes[-1]


class Shared(nn.Module):
    """A normalised layer whose mean spike drives a neuron without weights, which is silent if few of the layer fire."""

    def __init__(self, gamma):
        super().__init__()
        self.weights, self.norm, self.neuron = nn.Linear(40, 400), nn.BatchNorm1d(400), leaky()
        self.norm.weight.data.fill_(gamma)
        self.silent = snntorch.Leaky(0.7, threshold=0.45, init_hidden=True)
        self.readout = nn.Linear(400, 5)

    def forward(self, x):
        for neuron in (self.neuron, self.silent):
            neuron.reset_mem()
        for _ in range(STEPS):
            spikes = self.neuron(self.norm(self.weights(x)))
            out = self.readout(self.silent(spikes.mean(1, keepdim=True) * torch.ones_like(spikes)))
        return out


def test_nothing_is_kept_below_a_silent_neuron_without_weights():
    """Layers below it fire, but too little for it: they are set. The control: where they fire enough they are kept."""
    torch.manual_seed(3)
    found = {gamma: vf.init.init_model(Shared(gamma), batch()) for gamma in (0.4, 1.3)}
    assert ways(found[0.4])[0].startswith("measured: γ")
    assert found[0.4].layers[0].measured_rate == pytest.approx(0.2, rel=LEFT)
    assert found[0.4].layers[1].measured_rate > 0
    assert ways(found[1.3])[0] == "kept: healthy"
