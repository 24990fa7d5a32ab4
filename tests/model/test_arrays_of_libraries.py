"""Arrays of all libraries mean the same, and masked arrays are refused wherever numbers are taken."""

import numpy as np
import pandas
import pytest
import torch
import xarray

import varflow as vf

MASKED = np.ma.masked_array([0.4, 0.9, 1.2], mask=[False, True, False])
SQUARE = np.ma.masked_array(np.full((4, 4), 0.5), mask=np.eye(4))
ARRAYS = {
    "list": list,
    "numpy": np.array,
    "torch": torch.tensor,
    "pandas": pandas.Series,
    "index": pandas.Index,
    "xarray": xarray.DataArray,
}


@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS)
def test_arrays_mean_the_same(array):
    """Separate values where a function takes several, one population where a neuron does."""
    thresholds, widths = array([0.75, 1.25, 0.75]), array([8, 14])
    diagram = vf.phase_diagram(threshold=thresholds, width=widths, depth=3)
    same = vf.phase_diagram(threshold=(0.75, 1.25), width=(8, 14), depth=3)
    assert np.array_equal(diagram.survival, same.survival)
    assert vf.gain(threshold=thresholds) == pytest.approx([vf.gain(threshold=float(t)) for t in np.asarray(thresholds)])
    curves = vf.validate(threshold=thresholds, gain=array([2.5, 3.0]), width=widths, depth=2, repeats=2).curves
    assert len(curves) == 8
    mixed = vf.Network(width=9, depth=2, gain=2.5, neuron=vf.Neuron(thresholds))
    assert vf.finite_width(mixed).firing_rate[0] == pytest.approx(vf.variance_map(1, threshold=thresholds, gain=1).mean())
    with pytest.raises(vf.DomainError, match="threshold"):
        vf.lookup(threshold=thresholds, fan_in=20)


def network(**parts):
    return vf.Network(**{"width": 4, "depth": 3, "gain": 2.0} | parts)


@pytest.mark.parametrize(
    "call",
    [
        lambda: vf.distribution(MASKED),
        lambda: vf.distributions.sample(np.ma.masked_invalid([1.0, 2.0, np.nan])),
        lambda: vf.gain(threshold=MASKED),
        lambda: vf.variance_map(MASKED, threshold=1, gain=2),
        lambda: vf.distribution("laplace").sf(MASKED),
        lambda: vf.critical_gain(threshold=np.ma.masked_array(1.0, mask=True)),
        lambda: vf.drives.inputs(SQUARE),
        lambda: vf.drives.inputs(list(SQUARE)),
        lambda: vf.drives.inputs(SQUARE > 0.4),
        lambda: vf.drives.given(SQUARE),
        lambda: vf.drives.spikes(SQUARE),
        lambda: vf.Neuron(MASKED),
        lambda: vf.Neuron(1.0, decay=MASKED / 2),
        lambda: network(gain=MASKED),
        lambda: network(width=np.ma.masked_array(4, mask=True)),
        lambda: network(width=np.ma.masked_array([4, 4, 5], mask=[0, 1, 0])),
        lambda: vf.phase_diagram(threshold=MASKED, width=5, depth=2),
        lambda: vf.phase_diagram(threshold=1.0, width=np.ma.masked_array([4, 5], mask=[0, 1]), depth=2),
        lambda: vf.validate(threshold=MASKED, width=5, depth=2, repeats=2),
        lambda: vf.kernel(network(), SQUARE),
        lambda: vf.reference.gain(threshold=np.ma.masked_array(1.0, mask=True)),
        lambda: vf.symbolic.variance_map().lambdify()(MASKED, 1.0, 2.0),
    ],
)
def test_masked_arrays_are_refused(call):
    with pytest.raises(vf.DomainError, match="masked array: give its"):
        call()
