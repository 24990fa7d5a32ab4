"""The quick budget of the claim about gains for rates can tell right from wrong with any one of the libraries."""

from dataclasses import replace

import pytest

pytest.importorskip("torch")

from validation.claims import gain_for_rate
from validation.claims.gain_for_rate import CLAIM, Point

QUICK = CLAIM.budgets["quick"]
GAINS = {  # gain and standard deviation of layer 1's current, from vf.gain_for_rate: found anew in each run of the claim
    ("snnTorch Leaky β=0.5", 0.15): (2.683975, 0.870683),
    ("snnTorch Leaky β=0.5", 0.2): (2.874468, 1.114183),
    ("snnTorch Leaky β=0.5", 0.3): (3.69558, 1.862520),
    ("Norse LIFBoxCell", 0.15): (23.834028, 5.235934),
    ("Norse LIFBoxCell", 0.2): (27.250004, 7.040036),
    ("Norse LIFBoxCell", 0.3): (41.974096, 12.227030),
    ("SpikingJelly LIFNode", 0.15): (4.942, 1.45),
    ("SpikingJelly LIFNode", 0.2): (5.436, 1.82),
    ("SpikingJelly LIFNode", 0.3): (7.759, 2.97),
}


@pytest.fixture
def known(monkeypatch):
    def asked(settings):
        wanted = [(cell, rate) for cell in settings.cells for rate in settings.rates]
        return tuple((Point(*each, *GAINS[each]), "") for each in wanted)

    monkeypatch.setattr(gain_for_rate, "_asked", asked)


@pytest.mark.parametrize("cell", ["snnTorch Leaky β=0.5", "Norse LIFBoxCell", "SpikingJelly LIFNode"])
def test_every_control_is_rejected_and_the_right_rates_are_not(known, cell):
    """Networks are drawn as the claim's own search for its smallest error draws them, by a scatter larger than was seen."""
    settings = replace(QUICK, cells=(cell,))
    right = CLAIM.theory(settings)
    drawn = [CLAIM.draw(settings, right, seed) for seed in range(10)]
    assert min(CLAIM.judge(settings, right, each).p_value for each in drawn) > settings.false_alarm
    for control in CLAIM.controls:
        wrong = control.theory(settings)
        assert max(CLAIM.judge(settings, wrong, each).p_value for each in drawn) <= settings.false_alarm, control.what


def test_one_cell_of_each_library_that_is_installed():
    libraries = [gain_for_rate.CELLS[cell][0] for cell in QUICK.cells]
    assert len(set(libraries)) == len(libraries)
    assert set(libraries) == {gain_for_rate.CELLS[cell][0] for cell in gain_for_rate.INSTALLED}
