"""Gains for rates near the largest that a neuron reaches, where the rate hardly depends on the gain."""

import numpy as np
import pytest

import varflow as vf

BIAS = 0.005  # relative, of the rate at other sampling points


@pytest.mark.slow
@pytest.mark.parametrize(("decay", "steps", "rate"), [(0.9, 16, 0.2485), (0.8, 12, 0.26)])
def test_the_whole_network_has_the_rate_at_a_gain_that_is_determined(decay, steps, rate):
    """Half the gain, and the answer of layers that choose their gain, beyond a thousand, are rejected."""
    neuron = vf.Neuron(1.0, decay=decay, reset="gate")
    found = vf.gain_for_rate(neuron, rate=rate, steps=steps)

    def late(gain):
        drive = vf.drives.currents(found.input_gain)
        flow = vf.mean_field(vf.Network(width=9, depth=100, gain=gain, neuron=neuron, steps=steps, drive=drive), seed=5)
        error = np.sqrt(np.mean(flow.error["firing_rate"][-1, steps // 2 :] ** 2))
        return flow.firing_rate[-1, steps // 2 :].mean(), 4 * error + BIAS * rate

    assert found.error["gain"] < 0.1 * found.gain
    reached, allowed = late(found.gain)
    assert abs(reached - rate) < allowed
    for wrong in (found.gain / 2, 1e4):
        assert abs(late(wrong)[0] - rate) > allowed


def test_a_rate_that_no_finite_gain_reaches_is_refused_with_the_range():
    with pytest.raises(vf.DomainError, match="gains sustain rates between about"):
        vf.gain_for_rate(vf.Neuron(1.0, decay=0.8, reset="gate"), rate=0.28, steps=12)
