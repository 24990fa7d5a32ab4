"""Networks of neurons with a second state, filters over time and bounded counts: predicted rates against simulated ones."""

from dataclasses import replace

import numpy as np
import pytest

import varflow as vf

STEPS = 8
ADAPTING = vf.resets.Adaptation(decay=0.9, jump=0.4, moves_threshold=True)


def kernel(steps):
    """Weights of a PSN that decay with the distance of two steps, into the future too."""
    steps = np.arange(steps)
    return 0.5 ** np.abs(np.subtract.outer(steps, steps)) * np.random.default_rng(3).normal(1, 0.3, (len(steps),) * 2)


# neuron, gain, and the same with another constant
CASES = {
    "CUBALIF": (vf.neurons.spikingjelly_cubalif(), 1.6, {"synaptic_decay": 0.55}),
    "Lapicque": (vf.neurons.snntorch_lapicque(R=2.0, C=3.0), 9.0, {"decay": 0.75}),
    "LeakyParallel": (vf.neurons.snntorch_leaky_parallel(0.5), 3.0, {"decay": 0.55}),
    "KLIF": (vf.neurons.spikingjelly_klif(k=1.2, v_reset=None), 5.0, {"decay": 0.65}),
    "ILIF": (vf.neurons.spikingjelly_ilif(tau=2.0), 1.6, {"input_scale": 1.1}),
    "SlidingPSN": (vf.neurons.spikingjelly_psn([0.125, 0.25, 0.5, 1.0]), 3.0, {"kernel": (1.0, 0.55, 0.25, 0.125)}),
    "PSN": (vf.neurons.spikingjelly_psn(kernel(STEPS)), 2.5, {"kernel": 1.15 * kernel(STEPS)}),
    "LSNN": (vf.neurons.norse_lsnn(tau_adapt_inv=50.0, beta=1.5), 60.0, {"synaptic_delay": 0}),
    "refractory": (vf.neurons.norse_lif_refrac(rho_reset=2.0), 35.0, {"synaptic_decay": 0.7}),
    "ALIF": (vf.neurons.sinabs_alif(5.0, 10.0), 18.0, {"decay": 0.85}),
    "adLIF": (vf.neurons.se_adlif(5.0, 20.0, 0.2, 0.6), 25.0, {"decay": 0.75}),
    "subtracting": (vf.Neuron(decay=0.8, reset=vf.resets.Reset(threshold=1.0, adaptation=ADAPTING)), 4.0, {"decay": 0.85}),
}


def network(neuron, gain):
    drive = vf.drives.currents(gain / 3)
    return vf.Network(width=500, depth=3, gain=gain, neuron=neuron, steps=STEPS, drive=drive)


@pytest.mark.parametrize("name", CASES)
def test_mean_field_is_that_of_dense_networks(name):
    neuron, gain, changed = CASES[name]
    ensemble = vf.simulate(network(neuron, gain), repeats=60, engine="dense", seed=1)
    rate, error = ensemble.mean().firing_rate[-1], ensemble.stderr().firing_rate[-1]

    def off(neuron):
        theory = vf.mean_field(network(neuron, gain)).firing_rate[-1]
        return np.abs(rate - theory) / (3 * error + 0.01 * theory + 1e-12)

    assert rate[STEPS // 2 :].mean() > 0.05
    assert (off(neuron) < 1).all()
    assert (off(replace(neuron, **changed)) > 1).any()
    rule = neuron.reset_rule
    if rule.adaptation is not None:
        other = replace(rule, adaptation=replace(rule.adaptation, jump=1.3 * rule.adaptation.jump))
        assert (off(replace(neuron, reset=other)) > 1).any()
    if rule.refractory:
        assert (off(replace(neuron, reset=replace(rule, refractory=1))) > 1).any()
    if rule.most:
        assert (off(replace(neuron, reset=replace(rule, most=1))) > 1).any()


# The lowest rate is what 50 layers sustain, or what networks of this width do: nearer to it finite width lowers rates.
DEEP = {
    "CUBALIF": (CASES["CUBALIF"][0], 0.32, 1000),
    "Lapicque": (CASES["Lapicque"][0], 0.22, 1000),
    "LeakyParallel": (CASES["LeakyParallel"][0], 0.3, 1000),
    "KLIF": (vf.neurons.spikingjelly_klif(), 0.18, 1000),
    "ILIF": (vf.neurons.spikingjelly_ilif(), 0.15, 4000),
    "SlidingPSN": (CASES["SlidingPSN"][0], 0.28, 1000),
    "PSN": (vf.neurons.spikingjelly_psn(kernel(20)), 0.3, 1000),
    "LSNN": (vf.neurons.norse_lsnn(tau_adapt_inv=50.0, beta=0.3), 0.345, 1000),
    "refractory": (vf.neurons.norse_lif_refrac(rho_reset=1.0), 0.15, 1000),
    "ALIF": (CASES["ALIF"][0], 0.15, 1000),
    "adLIF": (CASES["adLIF"][0], 0.15, 1000),
    "subtracting": (CASES["subtracting"][0], 0.15, 1000),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", DEEP)
def test_gains_for_a_rate_hold_in_fifty_layers(name):
    neuron, rate, width = DEEP[name]
    init = vf.gain_for_rate(neuron, rate=rate, steps=20, depth=50)
    steps = 20 + 50 * neuron.synaptic_delay  # counted from the arrival of the first currents

    def late(gain):
        drive = vf.drives.currents(init.input_gain)
        deep = vf.Network(width=width, depth=50, gain=gain, neuron=neuron, steps=steps, drive=drive)
        rates = vf.simulate(deep, repeats=8, engine="conditional").firing_rate[:, -1, -10:].mean(axis=-1)
        return rates.mean(), rates.std(ddof=1) / len(rates) ** 0.5

    mean, error = late(init.gain)
    assert abs(mean - rate) < 3 * error + 0.01 * rate
    mean, error = late(0.92 * init.gain)
    assert abs(mean - rate) > 3 * error + 0.01 * rate
    assert vf.lookup(neuron=neuron, rate=rate, fan_in=width, steps=20, depth=50).gain == pytest.approx(init.gain, rel=0.02)
