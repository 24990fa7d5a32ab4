"""Claims on networks of layers: the right theory stands, a wrong network of the same size does not."""

from dataclasses import replace

import pytest

pytest.importorskip("torch")

from validation.claims import heterogeneity, maps_and_pools, normalisation, recurrence, residual_blocks
from validation.work import HERE

SMALL = {  # curves whose theory is quick, with an error in the strength of the first that 36 networks must show
    heterogeneity: (("thresholds of a gamma distribution", "decays uniform from 0.1 to 0.9"), 0.2),
    residual_blocks: (("a branch of two layers, keep = 1", "SEW add"), 0.2),
    normalisation: (("LayerNorm, γ = 1.2", "standardised rows"), 0.3),
    maps_and_pools: (("3 × 3 filters, zero padding", "max pool"), 0.3),
    recurrence: (("subtraction, white drive", "three recurrent layers"), 0.6),
}


@pytest.fixture(scope="module", params=SMALL, ids=lambda module: module.CLAIM.name)
def measured(request):
    curves, error = SMALL[request.param]
    claim = request.param.CLAIM
    settings = replace(claim.budgets["quick"], curves=curves, repeats=36, pilot=20, points=2**9)
    return claim, settings, error, claim.simulate(settings, 3, HERE), claim.theory(settings)


def test_the_theory_stands(measured):
    claim, settings, _, simulated, right = measured
    assert claim.judge(settings, right, simulated).p_value > settings.false_alarm


def test_an_error_in_one_curve_is_rejected(measured):
    claim, settings, error, simulated, _ = measured
    wrong = claim.errors(settings)[0].wrong(settings, error)
    judgement = claim.judge(settings, claim.theory(wrong), simulated)
    assert judgement.p_value <= settings.false_alarm
    assert abs(judgement.z[0]) == abs(judgement.z).max()


def test_wrong_theories_differ_only_in_the_curves_they_name(measured):
    claim, settings, *_, theory = measured
    right = theory.value
    for control in claim.controls:
        wrong = control.theory(settings).value
        assert (wrong == right).sum() >= len(right) - 1, control.what


def test_the_reading_has_a_row_for_every_curve(measured):
    claim, settings, _, simulated, right = measured
    text = claim.reading(settings, right, simulated)
    assert all(f"| {curve} |" in text for curve in settings.curves)
