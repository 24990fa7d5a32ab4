"""Where the first step decides the temporal critical gain: known to many digits, and with an error that says so."""

import mpmath as mp
import pytest

import varflow as vf

FEW = {"points": 2**9, "scrambles": 2}


def first_step(depth, std=1.0, digits=25):
    """The gain, in thresholds, at which the first step has a rate of 1e-3 in the last layer: a scalar map."""
    with mp.workdps(digits):
        tail = lambda z: mp.erfc(z / mp.sqrt(2)) / 2  # noqa: E731

        def last(g):
            p = tail(1 / mp.mpf(std))
            for _ in range(depth - 1):
                p = tail(1 / (g * mp.sqrt(p))) if p > 1e-15 else mp.mpf(0)
            return p

        lo, hi = mp.mpf(0.5), mp.mpf(8)
        while hi - lo > mp.mpf("1e-15"):
            middle = (lo + hi) / 2
            lo, hi = (lo, middle) if last(middle) > mp.mpf("1e-3") else (middle, hi)
        return float(hi)


@pytest.mark.parametrize(
    ("neuron", "depth", "std"),
    [
        (vf.Neuron(1.0, decay=0.5, reset="zero"), 5, 1.0),
        (vf.Neuron(1.0, decay=0.8, reset="subtract"), 20, 1.0),
        (vf.Neuron(1.0, decay=0.3), 12, 0.6),
        (vf.Neuron(2.0, decay=0.7, input_scale=0.5, reset="zero"), 9, 1.5),
    ],
)
def test_gain_and_error(neuron, depth, std):
    drive = vf.drives.currents(std * neuron.threshold / neuron.input_scale)
    found = vf.temporal_critical_gain(neuron, steps=4, depth=depth, drive=drive, **FEW)
    unit = neuron.threshold / neuron.input_scale
    exact = unit * first_step(depth, std)
    assert found.error["gain"] > 0
    assert abs(found.gain - exact) <= 4 * found.error["gain"]
    assert found.error["gain"] <= 1e-9 * found.gain
    assert found.late_gain < found.gain * (1 - 1e-3)  # so that the first step does decide


def test_a_later_step_that_may_decide_is_in_the_error():
    """Between the leaks where a later step decides and where the first does, neither is known better than the search knows."""
    gains = [
        vf.temporal_critical_gain(vf.Neuron(1.0, decay=decay, reset="delayed_subtract"), steps=3, depth=8, **FEW)
        for decay in (0.36, 0.413, 0.5)
    ]
    first = first_step(8)
    assert gains[0].gain > first * 1.02
    for found in gains[1:]:
        assert found.gain == pytest.approx(first, rel=1e-9)
    relative = [found.error["gain"] / found.gain for found in gains]
    assert relative[0] > 1e-4
    assert 5e-4 < relative[1] < 1e-3  # a thousandth, as a standard deviation
    assert 0 < relative[2] < 1e-9


@pytest.mark.parametrize("reset", ["zero", "none", "multi_spike"])
@pytest.mark.parametrize(
    ("threshold", "drive"),
    [
        (40.0, None),
        (1.0, vf.drives.currents(0.0)),
        (25.0, vf.drives.white(0.5)),
        (1.0, vf.drives.inputs([[0.0, 0.0]], 1.0)),
        (1e100, vf.drives.currents(1e-20)),
    ],
)
def test_a_silent_layer_1_is_named(reset, threshold, drive):
    with pytest.raises(vf.DomainError, match="leaves layer 1 silent") as caught:
        vf.temporal_critical_gain(vf.Neuron(threshold, decay=0.5, reset=reset), steps=4, drive=drive, **FEW)
    assert caught.value.argument == "drive"


def test_a_first_step_alone_that_is_silent():
    """No gain wakes it, and the late steps live all the same."""
    drive = vf.drives.inputs([[[0.0], [1.0], [1.0], [1.0]]], 1.0)
    found = vf.temporal_critical_gain(vf.Neuron(1.0, decay=0.5, reset="subtract"), steps=4, depth=10, drive=drive, **FEW)
    assert found.gain == float("inf")
    assert 1.0 < found.late_gain < 2.6


def test_a_weak_drive_needs_a_large_gain():
    """At 5.5 standard deviations a rate of 2e-8 still lives, beyond a gain of a thousand thresholds."""
    found = vf.temporal_critical_gain(vf.Neuron(5.5, decay=0.5), steps=2, depth=6, **FEW)
    with mp.workdps(25):
        p = mp.erfc(5.5 / mp.sqrt(2)) / 2
    assert 1e3 < found.gain / 5.5 < float(1 / mp.sqrt(p))


@pytest.mark.parametrize(("threshold", "scale"), [(1e120, 1e-20), (1e-90, 1e-30)])
def test_units(threshold, scale):
    neuron = vf.Neuron(threshold, decay=0.5, input_scale=scale)
    found = vf.temporal_critical_gain(neuron, steps=3, depth=6, drive=vf.drives.currents(threshold / scale), **FEW)
    plain = vf.temporal_critical_gain(vf.Neuron(1.0, decay=0.5), steps=3, depth=6, **FEW)
    for name in ("gain", "late_gain"):
        assert getattr(found, name) * scale / threshold == pytest.approx(getattr(plain, name), rel=1e-9)
    with pytest.raises(vf.DomainError, match="drive"):
        vf.temporal_critical_gain(vf.Neuron(1e-100, decay=0.5, input_scale=1e100), steps=3)
