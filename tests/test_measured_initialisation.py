"""Models that theory does not plan: what ``init_model`` scales, the rates that come out, and what it says where it cannot."""

import numpy as np
import pytest

import varflow as vf

torch = pytest.importorskip("torch")
snntorch = pytest.importorskip("snntorch")

from varflow.torch_models import refine  # noqa: E402

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
