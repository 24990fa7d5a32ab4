"""Sums and products of signals of a model that come from the same weights: named and measured, not taken as independent."""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")
snntorch = pytest.importorskip("snntorch")

from torch import nn  # noqa: E402

import varflow as vf  # noqa: E402

STEPS, WIDTH, NETWORKS = 5, 250, 4
BIAS = 0.04  # relative, of infinite width for networks of this width and number

JOINTS = {  # of spikes s and t, and of currents u and v
    "spikes added": lambda s, t, u, v, norm: s + t,
    "spikes times spikes": lambda s, t, u, v, norm: t * s,
    "spikes removed": lambda s, t, u, v, norm: t * (1 - s),
    "a weighted sum": lambda s, t, u, v, norm: s + 0.5 * t,
}
SUMS = ("spikes added", "a weighted sum")
CURRENTS = {"a norm beside its input": lambda u, v, norm: v + norm(u), "its own norm": lambda u, v, norm: u + norm(u)}


class Joined(nn.Module):
    """``t`` is fired by currents that include those of ``s``; both, or the currents, are joined before the last weights."""

    def __init__(self, joint, currents=None, fresh=False):
        super().__init__()
        self.joint, self.currents, self.fresh = joint, currents, fresh
        self.first, self.second, self.third = nn.Linear(40, WIDTH), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.norm = nn.BatchNorm1d(WIDTH)
        self.norm.running_var.fill_(2.0), self.norm.num_batches_tracked.fill_(1)
        self.neurons = nn.ModuleList(snntorch.Leaky(0.7, init_hidden=True) for _ in range(3))
        for layer, gain in ((self.first, 2.0), (self.second, 2.2), (self.third, 2.5)):
            nn.init.normal_(layer.weight, 0, gain / layer.in_features**0.5), nn.init.zeros_(layer.bias)

    def forward(self, x):
        one, two, three = self.neurons
        one.reset_mem(), two.reset_mem(), three.reset_mem()
        for _ in range(STEPS):
            u = self.first(x)
            s = one(u)
            v = self.second(s) if self.fresh else u + self.second(s)
            if self.currents is not None:
                v = self.currents(u, v, self.norm)
            t = two(v)
            out = three(self.third(t if self.joint is None else self.joint(s, t, u, v, self.norm)))
        return out


def audits(*args, **more):
    found = []
    for seed in range(NETWORKS):
        torch.manual_seed(seed)
        found.append(vf.audit(Joined(*args, **more).eval(), torch.randn(24, 40), gradients=True))
    return found


def rates(reports, layer, name):
    return np.array([getattr(report.layers[layer], name) for report in reports])


def agree(reports, layer, measured="firing_rate", predicted="predicted_rate"):
    measured, predicted = rates(reports, layer, measured), rates(reports, layer, predicted)
    error = measured.std(ddof=1) / len(measured) ** 0.5
    return abs(measured.mean() - predicted.mean()) < 4 * error + BIAS * measured.mean()


def notes(report):
    return [note for note in report.notes if "depend on each other" in note]


@pytest.mark.parametrize("name", JOINTS)
def test_joints_of_spikes_that_come_from_the_same_weights_are_named_and_measured(name):
    reports = audits(JOINTS[name])
    for report in reports:
        (note,) = notes(report)
        assert "first" in note
        assert ("sum" if name in SUMS else "product") in note
        assert any(note.startswith("predicted from what they received") and "third" in note for note in report.notes)
        assert any("gradients are not predicted below" in note for note in report.notes)
        assert [math.isnan(layer.predicted_gradient_norm) for layer in report.layers] == [True, True, False]
    assert all(agree(reports, layer) for layer in range(3))


@pytest.mark.parametrize("name", CURRENTS)
def test_sums_of_currents_and_of_multiples_of_them_are_predicted(name, monkeypatch):
    """``u + f u`` is ``(1 + f) u``; taken as independent, it is predicted wrongly."""
    reports = audits(None, CURRENTS[name])
    assert not any(map(notes, reports))
    assert agree(reports, 1)
    assert agree(reports, 1, "variance", "predicted_variance")
    monkeypatch.setattr("varflow.torch_models.tracing.read.independent", lambda graph: graph)
    assert not agree(audits(None, CURRENTS[name]), 1, "variance", "predicted_variance")


@pytest.mark.parametrize("name", ["spikes times spikes", "spikes removed"])
def test_as_if_they_were_independent_they_are_predicted_wrongly(name, monkeypatch):
    monkeypatch.setattr("varflow.torch_models.tracing.read.independent", lambda graph: graph)
    reports = audits(JOINTS[name])
    assert not any(map(notes, reports))
    assert not agree(reports, 2)


@pytest.mark.parametrize("name", JOINTS)
def test_joints_of_independent_signals_are_predicted(name):
    """The same joints, where ``t`` comes from other weights only."""
    reports = audits(JOINTS[name], fresh=True)
    assert not any(map(notes, reports))
    assert all(not math.isnan(layer.predicted_gradient_norm) for report in reports for layer in report.layers)
    assert agree(reports, 2)


def test_a_sum_of_currents_and_their_own_branch_is_predicted():
    """``u + second(s)``: fresh weights lie between."""
    reports = audits(None)
    assert not any(map(notes, reports))
    assert agree(reports, 1)
    assert agree(reports, 2)
