"""Claims on kernels and gradients: the right theory stands, wrong ones do not; their torch networks are snnTorch's."""

from dataclasses import replace

import numpy as np
import pytest

import varflow as vf

pytest.importorskip("torch")

import torch

from validation.claims import gradients, kernels
from validation.torch_networks import Networks
from validation.work import HERE

SMALL = {
    "kernels": replace(kernels.CLAIM.budgets["quick"], width=60, repeats=150, depth=8),
    "gradients": replace(gradients.CLAIM.budgets["quick"], repeats=60, depth=5),
}


@pytest.fixture(scope="module", params=SMALL)
def measured(request):
    claim, settings = {"kernels": kernels, "gradients": gradients}[request.param].CLAIM, SMALL[request.param]
    return claim, settings, claim.simulate(settings, 3, HERE), claim.theory(settings)


def test_the_theory_stands_and_every_control_is_rejected(measured):
    claim, settings, seen, right = measured
    assert claim.judge(settings, right, seen).p_value > settings.false_alarm
    for control in claim.controls:
        assert claim.judge(settings, control.theory(settings), seen).p_value <= settings.false_alarm, control.what


def test_a_wrong_gain_or_width_in_one_case_is_rejected_there(measured):
    claim, settings, seen, _ = measured
    wrong = claim.theory(claim.errors(settings)[-1].wrong(settings, 0.3))
    judgement = claim.judge(settings, wrong, seen)
    assert judgement.p_value <= settings.false_alarm
    assert judgement.points[int(np.argmax(np.abs(judgement.z)))].startswith(settings.probed[-1])


def test_the_reading_has_a_row_for_every_point(measured):
    claim, settings, seen, right = measured
    rows = [line for line in claim.reading(settings, right, seen).splitlines() if line.startswith("| ")][1:]
    points = [point for point in claim.judge(settings, right, seen).points if not point.endswith("squared")]
    assert [row.split(" | ")[0][2:] for row in rows] == points


def test_networks_have_the_gradients_of_snntorch():
    snntorch = pytest.importorskip("snntorch")
    network = vf.Network(width=30, depth=1, gain=1.0, neuron=vf.neurons.snntorch_leaky(0.5), steps=6)
    ours = Networks(network, 2, 5, vf.surrogates.atan()).gradient_energies(inputs=3)
    again = Networks(network, 2, 5)
    x = again.driven(torch.eye(3)).requires_grad_()
    module = snntorch.Leaky(0.5, init_hidden=True)
    spikes = torch.stack([module(current) for current in x.unbind(1)], dim=1)
    (again.normal(1, 3, 30) / 30**0.5 * spikes).sum().backward()
    theirs = x.grad.square().sum(-1).mean(-1)[:, None]
    torch.testing.assert_close(ours, theirs)
    wider = Networks(network, 2, 5, vf.surrogates.Surrogate("atan", 1.0, 1.1 / np.pi)).gradient_energies(inputs=3)
    assert not torch.allclose(wider, theirs, rtol=1e-2)
