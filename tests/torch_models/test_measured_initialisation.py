"""Models that theory does not plan: what ``init_model`` scales, the rates that come out, and what it says where it cannot."""

from itertools import pairwise

import numpy as np
import pytest

import varflow as vf

torch = pytest.importorskip("torch")
snntorch = pytest.importorskip("snntorch")

from varflow.torch_models.initialise import refine  # noqa: E402

nn = torch.nn


def leaky():
    return snntorch.Leaky(0.8, init_hidden=True)


class NormsInTime(nn.Module):
    """A normalisation of its own at every step; ``of_step`` says which."""

    def __init__(self, norm, of_step):
        super().__init__()
        self.of_step = of_step
        self.first, self.second = nn.Linear(24, 200), nn.Linear(200, 200)
        self.norm, self.norm2 = (nn.ModuleList(norm(200) for _ in set(of_step)) for _ in range(2))
        self.lif, self.lif2 = leaky(), leaky()
        self.rates = []

    def forward(self, x):
        self.rates = []
        for lif in (self.lif, self.lif2):
            lif.reset_mem()
        for number in self.of_step:
            spikes = self.lif(self.norm[number](self.first(x)))
            last = self.lif2(self.norm2[number](self.second(spikes)))
            self.rates.append((spikes.detach().mean().item(), last.detach().mean().item()))
        return last


class TestOperationsThatDifferPerStep:
    @pytest.mark.parametrize("norm", [nn.BatchNorm1d, nn.LayerNorm])
    @pytest.mark.parametrize("of_step", [(0, 1, 2, 3, 4), (0, 0, 1, 1), (0, 1, 0, 1, 2, 2)])
    def test_every_normalisation_is_scaled(self, norm, of_step):
        torch.manual_seed(1)
        model, x = NormsInTime(norm, of_step), torch.rand(32, 24)
        plan = vf.init.init_model(model, x, rate=0.15, generator=torch.Generator().manual_seed(2))
        for norms, row in ((model.norm, plan.layers[0]), (model.norm2, plan.layers[1])):
            gammas = [each.weight[0].item() for each in norms]
            assert max(gammas) == min(gammas) != 1
            assert all(f"norm{'2' if norms is model.norm2 else ''}.{number}" in row.set_by for number in (0, 1))
        model(x)
        late = np.mean(model.rates[len(model.rates) // 2 :], axis=0)
        np.testing.assert_allclose(late, [(row.measured_rate + row.fresh_rate) / 2 for row in plan.layers], rtol=1e-5)
        np.testing.assert_allclose([row.measured_rate for row in plan.layers], 0.15, rtol=refine.LEFT)

    def test_theory_does_not_take_the_last_operation_for_all(self):
        """Two steps of one kind at the end are not those before."""
        report = vf.audit(NormsInTime(nn.BatchNorm1d, (0, 1, 2, 2)), torch.rand(8, 24))
        assert any("lif receives other operations at every step" in note for note in report.notes)
        assert np.isnan(report.layers[0].predicted_rate).all()
        steady = vf.audit(NormsInTime(nn.BatchNorm1d, (0, 0, 0, 0)), torch.rand(8, 24))
        assert not any("other operations" in note for note in steady.notes)


def test_the_first_normalised_layer_has_a_smaller_gamma_and_the_rate():
    """Inputs are neither standardised nor normal; with the γ of a deep layer it fires half as much again."""
    torch.manual_seed(0)
    model, x = NormsInTime(nn.BatchNorm1d, [0] * 8), 3 + 5 * torch.rand(64, 24)
    for lif in (model.lif, model.lif2):
        lif.beta.fill_(0.9)
    plan = vf.init.init_model(model, x, rate=0.15)
    np.testing.assert_allclose([row.measured_rate for row in plan.layers], 0.15, rtol=refine.LEFT)
    block = [vf.layers.Linear(gain=1.0), vf.layers.BatchNorm(), vf.layers.Spike(vf.neurons.snntorch_leaky(0.9))]
    deep = vf.gain_for_rate(block=block, rate=0.15, steps=8, depth=20).gamma
    assert model.norm[0].weight.mean() < 0.75 * deep
    model.norm[0].weight.data.fill_(deep)
    model(x)
    assert np.mean(model.rates[4:], axis=0)[0] > 1.3 * 0.15


class Cell(nn.Module):
    """A neuron with weights of its own: bare parameters, modules, or one matrix for inputs and spikes together."""

    def __init__(self, n_inputs, size, form):
        super().__init__()
        self.form, self.size = form, size
        if form == "bare":
            self.W_rec, self.W = (nn.Parameter(torch.randn(n, size) / n**0.5) for n in (size, n_inputs))
        elif form == "modules":
            self.recurrent, self.of_input = nn.Linear(size, size), nn.Linear(n_inputs, size)
        else:
            self.both = nn.Linear(n_inputs + size, size)
        self.rest()

    def rest(self):
        self.membrane = self.spikes = torch.zeros(1, self.size)

    def forward(self, x):
        spikes = self.spikes.expand(len(x), self.size)
        if self.form == "bare":
            current = x @ self.W + spikes @ self.W_rec
        elif self.form == "modules":
            current = self.of_input(x) + self.recurrent(spikes)
        else:
            current = self.both(torch.cat([x, spikes], 1))
        self.membrane = 0.8 * self.membrane * (1 - spikes) + current
        self.spikes = (self.membrane > 1).float()
        return self.spikes


class Stepped(nn.Module):
    """Two cells, one above the other, over twelve steps from rest."""

    def __init__(self, *cells):
        super().__init__()
        self.cells = nn.ModuleList(cells)
        self.rates = []

    def forward(self, x):
        self.rates = []
        for cell in self.cells:
            (cell.rest if isinstance(cell, Cell) else cell.reset_mem)()
        for _ in range(12):
            spikes, means = x, []
            for cell in self.cells:
                spikes = cell(spikes)
                means.append(spikes.detach().mean().item())
            self.rates.append(means)
        return spikes


class OverSteps(nn.Module):
    """Norse's recurrent layers, which make all steps in one call."""

    def __init__(self):
        super().__init__()
        norse = pytest.importorskip("norse.torch")
        self.cells = nn.ModuleList([norse.LSNNRecurrent(20, 40), norse.LSNNRecurrent(40, 40)])
        self.rates = []

    def forward(self, x):
        spikes, of_layers = x.expand(12, *x.shape), []
        for cell in self.cells:
            spikes, _ = cell(spikes)
            of_layers.append(spikes.detach().mean((1, 2)).tolist())
        self.rates = list(zip(*of_layers, strict=True))
        return spikes


def lstm(n_inputs, size):
    return snntorch.SLSTM(n_inputs, size, init_hidden=True, threshold=0.12)


def lstm_of_maps(n_inputs, size):
    return snntorch.SConv2dLSTM(n_inputs, size, 3, init_hidden=True, threshold=0.12)


CELLS = {  # with what is scaled of a cell
    "bare": (lambda: Stepped(Cell(20, 60, "bare"), Cell(60, 60, "bare")), {"W"}),
    "modules": (lambda: Stepped(Cell(20, 60, "modules"), Cell(60, 60, "modules")), {"of_input.weight"}),
    "joined": (lambda: Stepped(Cell(20, 60, "joined"), Cell(60, 60, "joined")), {"both.weight"}),
    "SLSTM": (lambda: Stepped(lstm(20, 60), lstm(60, 60)), {"lstm_cell.weight_ih"}),
    "SConv2dLSTM": (lambda: Stepped(lstm_of_maps(2, 12), lstm_of_maps(12, 12)), {"conv.weight"}),
    "LSNNRecurrent": (OverSteps, {"input_weights"}),
}


class TestNeuronsWithWeightsOfTheirOwn:
    @pytest.mark.parametrize("name", CELLS)
    def test_their_input_weights_are_scaled(self, name):
        make, scaled = CELLS[name]
        torch.manual_seed(2)
        model, x = make(), torch.rand(24, 2, 7, 7) if name == "SConv2dLSTM" else 2 * torch.rand(24, 20)
        before = {key: value.clone() for key, value in model.named_parameters()}
        plan = vf.init.init_model(model, x, rate=0.1, neurons={Cell: None} if name in ("bare", "modules", "joined") else None)
        assert [row.set_by for row in plan.layers] == [f"measured: input weights of cells.{l}" for l in (0, 1)]
        for key, value in model.named_parameters():
            factor = (value.norm() / before[key].norm()).item()
            torch.testing.assert_close(value.detach(), factor * before[key], rtol=1e-4, atol=1e-6)
            assert (key.split(".", 2)[2] in scaled) == (abs(factor - 1) > 1e-3), key
        with torch.no_grad():
            model(x)
        late = np.mean(model.rates[6:], axis=0)
        np.testing.assert_allclose(late, [(row.measured_rate + row.fresh_rate) / 2 for row in plan.layers], rtol=1e-4)
        np.testing.assert_allclose([row.measured_rate for row in plan.layers], 0.1, rtol=2 * refine.LEFT)

    @pytest.mark.parametrize("name", ["SLSTM", "bare"])
    def test_only_the_last_one_is_an_output(self, name):
        torch.manual_seed(2)
        model, x = CELLS[name][0](), torch.rand(6, 20)
        neurons = {Cell: None} if name == "bare" else None
        assert [layer.output for layer in vf.audit(model, x, neurons=neurons).layers] == [False, True]
        with torch.no_grad():
            for parameter in model.cells[0].parameters():
                parameter.zero_()
        assert vf.audit(model, x, neurons=neurons).first_dead == "cells.0"

    def test_recurrent_weights_alone_are_no_input_weights(self):
        """Behind a weight layer it is this that is scaled."""
        torch.manual_seed(2)
        model = nn.Sequential(nn.Linear(20, 30), Stepped(Cell(30, 30, "modules")), nn.Linear(30, 2))
        inner = model[1].cells[0].of_input.weight.clone()
        plan = vf.init.init_model(model, torch.rand(8, 20), rate=0.15, neurons={Cell: None})
        assert plan.layers[0].set_by == "measured: weights"
        assert torch.equal(model[1].cells[0].of_input.weight, inner)


def with_norm(norm, n_layers, *more):
    torch.manual_seed(3)
    return nn.Sequential(*(m for _ in range(n_layers) for m in (norm(nn.Linear(40, 40)), leaky())), *more)


class TestWhatCannotBeSet:
    @pytest.mark.parametrize("norm", [nn.utils.parametrizations.spectral_norm, nn.utils.parametrizations.orthogonal])
    def test_layers_of_computed_weights_are_named_with_their_rates(self, norm):
        plan = vf.init.init_model(with_norm(norm, 4, nn.Linear(40, 3)), torch.rand(8, 40) / 2, steps=9)
        (kept,) = (note for note in plan.notes if note.startswith("late rates of 1, 3 and 2 more stay as they are, 0 to 0."))
        assert "(kept: 0 computes its weight from other parameters): a factor behind the weights" in kept
        silent = [row.neuron_name for row in plan.layers[:4] if not row.measured_rate and not row.fresh_rate > 0]
        assert plan.notes[-1].startswith(f"silent on these inputs: {silent[0]}")
        with pytest.raises(
            vf.DomainError, match=r"no layer whose weights can be set: 0 computes .*; a factor behind the weights"
        ):
            vf.init.init_model(with_norm(norm, 2), torch.rand(8, 40), steps=9)

    def test_a_silent_layer_that_cannot_be_scaled_below_one_that_can(self):
        model = with_norm(nn.utils.parametrizations.spectral_norm, 1, nn.Linear(40, 40), leaky(), nn.Linear(40, 3))
        with pytest.raises(
            vf.DomainError, match=r"model='1' stays silent on these inputs and cannot be scaled \(kept: 0 computes"
        ):
            vf.init.init_model(model, torch.rand(8, 40) / 50, steps=9)

    @pytest.mark.parametrize("gain", [0.05, 3.0])
    def test_a_network_that_is_dead_at_last_says_so(self, gain):
        """A given gain is not changed."""
        model = with_norm(lambda layer: layer, 3)
        plan = vf.init.init_model(model, torch.rand(8, 40), steps=9, gain=gain)
        assert any(note.startswith("silent on these inputs: ") for note in plan.notes) == (gain < 1)

    @pytest.mark.parametrize("multiply", [lambda x, w: torch.einsum("bc,cd->bd", x, w), torch.matmul])
    def test_spikes_behind_bare_parameters(self, multiply):
        class Spike(nn.Module):
            def forward(self, membrane):
                return (membrane > 1).float()

        class Bare(nn.Module):
            def __init__(self):
                super().__init__()
                self.w, self.spike = nn.Parameter(torch.randn(20, 30) / 2), Spike()

            def forward(self, x):
                return self.spike(multiply(x, self.w))

        words = r"no weight module before spike, which returns spikes: for a neuron give neurons=\{Spike: None\}"
        for call in (vf.audit, vf.init.init_model):
            with pytest.raises(vf.DomainError, match=words):
                call(Bare(), torch.rand(8, 20))
        assert vf.audit(Bare(), torch.rand(8, 20), neurons={Spike: None}).layers[0].firing_rate > 0
        with pytest.raises(vf.DomainError, match="weights are set in Linear and Conv modules and within cells"):
            vf.init.init_model(Bare(), torch.rand(8, 20), neurons={Spike: None})

    @pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
    @pytest.mark.parametrize("sizes", [(9, 0, 5), (9, 7, 0)])
    @pytest.mark.parametrize("call", [vf.audit, vf.init.init_model])
    def test_layers_without_neurons_are_named(self, sizes, call):
        model = nn.Sequential(*(m for n, size in pairwise(sizes) for m in (nn.Linear(n, size), leaky())))
        name = 2 * sizes.index(0) - 1
        with pytest.raises(vf.DomainError, match=rf"model='{name}' receives currents of shape \(4, 0\): a layer has no"):
            call(model, torch.rand(4, 9), steps=3)
