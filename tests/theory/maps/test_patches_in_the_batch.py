"""Models that fold the parts of an input into the batch: every number of an audit is still that of one input of the batch."""

import math

import numpy as np
import pytest

import varflow as vf

torch = pytest.importorskip("torch")
snntorch = pytest.importorskip("snntorch")

from torch import nn  # noqa: E402

STEPS, INPUTS = 5, 6


def leaky():
    return snntorch.Leaky(0.7, init_hidden=True)


class Patches(nn.Module):
    """Three patches of 20 numbers go through one layer, side by side in the batch; a layer of 60 reads them together."""

    def __init__(self, gain, parts=3, size=20):
        super().__init__()
        self.parts, self.size = parts, size
        self.patch, self.a = nn.Linear(size, size), leaky()
        self.whole, self.b = nn.Linear(parts * size, 40), leaky()
        self.head, self.c = nn.Linear(40, 8), leaky()
        generator = torch.Generator().manual_seed(2)
        for weight in (self.patch, self.whole, self.head):
            nn.init.normal_(weight.weight, 0, gain / math.sqrt(weight.in_features), generator=generator)
            nn.init.zeros_(weight.bias)

    def folded(self, x):
        return x.reshape(-1, self.size)

    def forward(self, x):
        z = self.a(self.patch(self.folded(x))).reshape(len(x), -1)
        return self.c(self.head(self.b(self.whole(z))))


class Rows(Patches):
    """The patches have an axis of their own, behind that of the batch."""

    def folded(self, x):
        return x.reshape(len(x), self.parts, self.size)


def inputs(strength=1.0):
    return strength * torch.rand(INPUTS, 60, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("gain", [4.0, 0.01])
def test_patches_in_the_batch_count_as_neurons_of_their_input(gain):
    """Every number is that of the same model with an axis for patches; live or dead, the report prints and judges."""
    folded, rows = (vf.audit(kind(gain), inputs(), steps=STEPS, gradients=True) for kind in (Patches, Rows))
    assert folded.inputs == rows.inputs == INPUTS
    assert folded.survival == pytest.approx(rows.survival)
    for one, other in zip(folded.layers, rows.layers, strict=True):
        assert (one.width, one.spikes, one.operations) == pytest.approx((other.width, other.spikes, other.operations))
        assert one.survival.tolist() == other.survival.tolist()
        assert one.gradient_norm == pytest.approx(other.gradient_norm, nan_ok=True)
    overlaps = [[layer.raster_overlap for layer in report.layers] for report in (folded, rows)]
    assert math.isnan(overlaps[0][0])  # of patches, not of inputs
    assert overlaps[0][1:] == pytest.approx(overlaps[1][1:], nan_ok=True)
    assert folded.healthy == rows.healthy == (gain > 1)
    assert folded.cause == rows.cause
    assert folded.cause in (*vf.results.audit.CAUSES, None)
    assert f"{INPUTS} inputs" in repr(folded)
    if not folded.healthy:
        with pytest.raises(vf.results.UnhealthyError, match=r"patch \(Linear\) never spikes"):
            folded.assert_healthy()


def test_an_input_is_lost_only_where_all_its_patches_are_silent():
    """One input is zero, of another only a single patch is not."""
    x = inputs()
    x[1] = 0.0
    x[4, 20:] = 0.0
    found = vf.audit(Patches(6.0), x, steps=STEPS)
    assert found["patch"].survival.tolist() == [1.0, 0.0, 1.0, 1.0, 1.0, 1.0]
    assert found.survival.shape == (INPUTS,)
    assert found.problems[0].startswith("1 of 6 inputs fall silent on the way")


def test_monitored_totals_weigh_patches_as_neurons():
    """The mean over all neurons is that of the same model with an axis for patches."""
    folded, rows = (vf.Monitor(kind(4.0), inputs(), steps=STEPS, gradients=True) for kind in (Patches, Rows))
    for monitor in (folded, rows):
        monitor.step()
    assert folded.scalars["firing_rate/total"] == pytest.approx(rows.scalars["firing_rate/total"], rel=1e-6)
    assert folded.scalars["gradient_norm/a"] == pytest.approx(rows.scalars["gradient_norm/a"], rel=1e-5)


def test_weights_that_read_several_rows_are_not_a_plain_chain():
    """Theory says what it does not cover in place of a prediction for layers of other sizes, and init_model measures."""
    for kind in (Patches, Rows):
        found = vf.audit(kind(4.0), inputs(), steps=STEPS)
        assert np.isfinite(found["patch"].predicted_rate)
        assert math.isnan(found["whole"].predicted_rate)
        plan = vf.init.init_model(kind(0.1), inputs(), steps=STEPS, rate=0.2, dry_run=True)
        assert "whole receives the spikes of a in other groups" in plan.notes[0]
    plain = vf.audit(Patches(4.0, parts=1, size=60), inputs(), steps=STEPS)
    assert all(math.isfinite(layer.predicted_std) for layer in plain.layers)
