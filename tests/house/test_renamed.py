"""Old names of attributes and arguments go on working, with a warning that names the new one."""

import warnings

import numpy as np
import pytest

import varflow as vf

LEAKY = vf.Network(width=8, depth=2, gain=3.0, neuron=vf.Neuron(1.0, decay=0.5), steps=2)
HOLDERS = {
    "Profile": lambda: (vf.mean_field(LEAKY, points=2**8), "coincidences", "second_moments"),
    "Ensemble": lambda: (vf.simulate(LEAKY, repeats=1), "coincidences", "second_moments"),
    "TemporalFixedPoint": lambda: (vf.temporal_fixed_point(LEAKY, points=2**8), "coincidences", "second_moments"),
    "ExactMeanFieldInTime": lambda: (vf.reference.mean_field_in_time(LEAKY, digits=10), "coincidences", "second_moments"),
    "ConstantCurrents": lambda: (vf.drives.currents(), "kinds", "n_inputs"),
    "Network": lambda: (LEAKY, "silence_is_final", "silence_is_absorbing"),
    "SpikeChain": lambda: (
        vf.SpikeChain(vf.Network(width=8, depth=2, gain=3.0)),
        "silence_is_final",
        "silence_is_absorbing",
    ),
}


@pytest.mark.parametrize("name", HOLDERS)
def test_an_old_attribute_warns_and_has_the_value(name):
    holder, old, new = HOLDERS[name]()
    with pytest.warns(DeprecationWarning, match=f"^{name}.{old} is now {name}.{new}$") as caught:
        value = getattr(holder, old)
    assert caught[0].filename == __file__
    np.testing.assert_array_equal(value, getattr(holder, new))


@pytest.mark.parametrize(("old", "new"), [("Currents", "ConstantCurrents"), ("Spikes", "SpikeTrains")])
def test_an_old_name_of_a_drive_warns_and_gives_the_class(old, new):
    with pytest.warns(DeprecationWarning, match=f"^vf.drives.{old} is now vf.drives.{new}$"):
        assert getattr(vf.drives, old) is getattr(vf.drives, new)
    assert old not in vf.drives.__all__


def test_an_old_argument_warns_and_counts():
    with pytest.warns(DeprecationWarning, match="second_moments"):
        without = vf.simulate(LEAKY, repeats=1, coincidences=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert vf.simulate(LEAKY, repeats=1).second_moments is not None
    assert without.second_moments is None
