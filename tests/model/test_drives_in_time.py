"""Every drive over several steps, through delay, synapse, leak and reset: theory, both engines, and the gain for a rate."""

import numpy as np
import pytest

import varflow as vf

STEPS = 5
RNG = np.random.default_rng(11)
NEURON = vf.Neuron(0.8, decay=0.6, reset="zero", input_scale=0.8, synaptic_decay=0.3, delay=1)
DRIVES = {
    "currents": vf.drives.currents(1.3),
    "white": vf.drives.white(1.6),
    "inputs": vf.drives.inputs(RNG.normal(size=(2, 100)), input_gain=1.3),
    "inputs in time": vf.drives.inputs(RNG.normal(size=(2, STEPS, 100)), input_gain=1.6),
    "spikes": vf.drives.spikes(np.linspace([0.05], [0.35], 2000).T.repeat(2, axis=0) * [[1.0], [0.5]], input_gain=3.0),
    "counts": vf.drives.spikes(np.full(2000, 0.4), input_gain=2.0, kind="poisson"),
    "given": vf.drives.given(np.linspace(-1, 2, 3)[:, None, None] * np.ones((STEPS, 1))),
}
QUANTITIES = ("variance", "potential_mean", "firing_rate", "second_moments")
FEW = {"points": 2**10, "scrambles": 4}


def network(drive, gain=2.4, width=2, **options):
    return vf.Network(**{"width": width, "depth": 3, "gain": gain, "neuron": NEURON, "steps": STEPS, "drive": drive} | options)


def at_infinite_width(drive, engine, repeats=150):
    """From widths 100 and 200: a mean is off by ``c/n + O(1/n²)``; means and standard errors by quantity."""
    dtype = "float32" if engine == "dense" else "float64"  # twice as quick, where most of the time goes into weights
    runs = [vf.simulate(network(drive, width=n), repeats=repeats, seed=n, engine=engine, dtype=dtype) for n in (100, 200)]
    found = {}
    for name in QUANTITIES:
        narrow, wide = (_of_kinds(getattr(run, name), drive.n_inputs) for run in runs)
        error = np.hypot(2 * wide.std(axis=0, ddof=1), narrow.std(axis=0, ddof=1)) / np.sqrt(len(wide))
        found[name] = 2 * wide.mean(axis=0) - narrow.mean(axis=0), error
    return found


def _of_kinds(values, kinds):
    """Mean over the inputs of a batch, one network of each: independent rows that scatter alike."""
    return values.reshape(-1, kinds, *values.shape[1:]).mean(axis=1)


def largest_deviation(found, profile):
    ratios = []
    for name, (mean, error) in found.items():
        numerical = profile.error.get(name, 0.0)
        ratios.append(np.abs(mean - getattr(profile, name)) / np.maximum(np.hypot(error, numerical), 1e-9))
    return max(ratio.max() for ratio in ratios)


LONG = ("currents", "spikes", "counts")  # to draw for the dense engine
ENGINES = [pytest.param(name, "dense", marks=pytest.mark.slow if name in LONG else ()) for name in DRIVES]


@pytest.mark.parametrize(("name", "engine"), [*ENGINES, *((name, "conditional") for name in DRIVES)])
def test_the_mean_field_is_the_limit_of_networks(name, engine):
    """All quantities of all layers and steps within 5 standard errors; 15 % more gain is not."""
    pytest.importorskip("torch")
    found = at_infinite_width(DRIVES[name], engine)
    assert largest_deviation(found, vf.mean_field(network(DRIVES[name]), **FEW)) < 5
    assert largest_deviation(found, vf.mean_field(network(DRIVES[name], gain=2.4 * 1.15), **FEW)) > 6


@pytest.mark.parametrize("name", ["white", "inputs", "inputs in time", "spikes", "counts"])
def test_a_gain_for_a_rate_scales_the_drive(name):
    """``input_gain`` is the root mean square of the currents at a step; with it layer 1 has the rate, and the deep ones."""
    drive, question = DRIVES[name].of_rows([0]), {"rate": 0.4, "steps": STEPS, "depth": 12}
    neuron = vf.Neuron(0.8, decay=0.6, input_scale=0.8, synaptic_decay=0.3, delay=1)
    found = vf.gain_for_rate(neuron, drive=drive, **question)
    scaled = _of_moment(drive, found.input_gain**2)
    longer = STEPS + 11  # a layer is one step later than the one before it
    if drive.steps is None:
        deep = vf.mean_field(network(scaled, gain=found.gain, depth=12, neuron=neuron, steps=longer)).firing_rate
        assert deep[0, :STEPS][STEPS // 2 :].mean() == pytest.approx(0.4, abs=0.01)
        assert deep[-1, 11:][STEPS // 2 :].mean() == pytest.approx(0.4, rel=0.02)
        assert abs(deep[-1, 11:][STEPS // 2 :].mean() - 0.4) < abs(deep[-1, 11:].mean() - 0.4)
    else:
        first = vf.mean_field(network(scaled, gain=found.gain, depth=1, neuron=neuron)).firing_rate
        assert first[0, STEPS // 2 :].mean() == pytest.approx(0.4, abs=0.01)


def _of_moment(drive, moment):
    """The same drive with this mean second moment of its currents."""
    factor = np.sqrt(moment / (np.trace(drive.covariance(STEPS)[0]) / STEPS))
    if isinstance(drive, vf.drives.White):
        return vf.drives.white(factor * drive.std)
    if isinstance(drive, vf.drives.SpikeTrains):
        return vf.drives.spikes(drive.rates, factor * drive.input_gain, kind=drive.kind)
    return vf.drives.inputs(drive.x, factor * drive.input_gain)


def test_the_strength_of_a_drive_does_not_matter_to_the_gain():
    neuron, question = vf.Neuron(1.0, decay=0.5), {"rate": 0.4, "steps": 4, "depth": 10}
    weak, strong = (vf.gain_for_rate(neuron, drive=vf.drives.white(std), **question) for std in (0.1, 10.0))
    assert weak.gain == pytest.approx(strong.gain, rel=1e-12)
    assert weak.input_gain == pytest.approx(strong.input_gain, rel=1e-12)
    with pytest.raises(vf.DomainError, match=r"^drive=.*must not be 0"):
        vf.gain_for_rate(neuron, drive=vf.drives.white(0.0), **question)


@pytest.mark.parametrize("engine", ["dense", "conditional"])
def test_a_delay_postpones_every_layer(engine):
    """Nothing arrives in layer l before step (l-1)·delay + 1, whatever drives; layer 1 has no delay."""
    pytest.importorskip("torch")
    for drive in DRIVES.values():
        rates = vf.simulate(network(drive, width=40), repeats=6, engine=engine).firing_rate
        assert rates[:, 0].any()
        assert not rates[:, 1, 0].any()
        assert not rates[:, 2, :2].any()
        assert not vf.mean_field(network(drive), **FEW).firing_rate[2, :2].any()
