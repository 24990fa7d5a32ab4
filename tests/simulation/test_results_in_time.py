"""Results of several steps: shapes, spikes, summaries over networks, dictionaries, datasets, tables."""

from __future__ import annotations

import json

import numpy as np
import pytest

import varflow as vf

REPEATS, DEPTH, STEPS = 6, 7, 3
RNG = np.random.default_rng(5)
NETWORK = vf.Network(width=(4, 5, 6, 7, 8, 9, 10), depth=DEPTH, gain=2.0, steps=STEPS, neuron=vf.Neuron(1.0, decay=0.5))


def ensemble(**options):
    shape = (REPEATS, DEPTH, STEPS)
    options = {"potential_mean": RNG.normal(size=shape), "second_moments": RNG.random((*shape, STEPS))} | options
    return vf.Ensemble(NETWORK, RNG.random(shape), np.round(RNG.random(shape), 1), **options)


def profile(**options):
    shape = (DEPTH, STEPS)
    arrays = (RNG.random(shape) for _ in range(5))
    options = {"second_moments": RNG.random((*shape, STEPS)), "error": {"variance": np.full(shape, 0.01)}} | options
    return vf.Profile(NETWORK, *arrays, potential_mean=RNG.random(shape), **options)


def test_spikes_are_those_of_each_layers_own_width():
    for result in (ensemble(), profile()):
        expected = np.moveaxis(np.moveaxis(result.firing_rate, -2, -1) * NETWORK.widths, -1, -2)
        assert result.spikes.shape == result.firing_rate.shape
        assert np.array_equal(result.spikes, expected)


def test_summaries_are_over_networks_for_every_quantity():
    measured = ensemble()
    for name in ("variance", "firing_rate", "survival", "potential_mean", "second_moments"):
        rows = getattr(measured, name)
        deviations = rows - rows.sum(axis=0) / REPEATS
        std = np.sqrt((deviations**2).sum(axis=0) / (REPEATS - 1))
        for summary, expected in (("mean", rows.sum(axis=0) / REPEATS), ("std", std), ("stderr", std / REPEATS**0.5)):
            found = getattr(getattr(measured, summary)(), name)
            assert found.shape == rows.shape[1:]
            assert found == pytest.approx(expected, rel=1e-12, abs=1e-15)
    assert measured.variance_std.shape == (DEPTH, STEPS)
    assert np.ptp(measured.survival) == 1


def test_without_potentials_and_coincidences_summaries_have_none():
    mean = ensemble(potential_mean=None, second_moments=None).mean()
    assert mean.potential_mean is None
    assert mean.second_moments is None


def test_to_dict_is_json_of_the_same_shape():
    for result, lead in ((ensemble(), [REPEATS]), (profile(), [])):
        written = json.loads(json.dumps(result.to_dict(), allow_nan=False))
        for name in ("variance", "firing_rate", "survival", "spikes", "potential_mean"):
            assert list(np.shape(written[name])) == [*lead, DEPTH, STEPS]
        assert "second_moments" not in written
    assert np.shape(profile().to_dict()["error"]["variance"]) == (DEPTH, STEPS)


def test_to_xarray_has_layers_and_steps():
    pytest.importorskip("xarray")
    predicted, measured = profile(), ensemble()
    table, rows = predicted.to_xarray(), measured.to_xarray()
    assert dict(table.sizes) == {"layer": DEPTH, "step": STEPS, "other_step": STEPS}
    assert dict(rows.sizes) == {"network": REPEATS, "layer": DEPTH, "step": STEPS, "other_step": STEPS}
    assert table["step"].values.tolist() == [1, 2, 3]
    for name in ("variance", "firing_rate", "potential_mean", "second_moments"):
        assert np.array_equal(table[name].values, getattr(predicted, name))
        assert np.array_equal(rows[name].values, getattr(measured, name))
    assert np.array_equal(table["variance_error"].values, predicted.error["variance"])
    assert float(table["variance"].sel(layer=2, step=3)) == predicted.variance[1, 2]


def test_one_step_has_a_step_axis_in_xarray():
    pytest.importorskip("xarray")
    one = vf.finite_width(vf.Network(width=10, depth=3, gain=2.0))
    assert one.to_xarray()["variance"].dims == ("layer", "step")
    assert one.sample(4).to_xarray()["variance"].dims == ("network", "layer", "step")


def test_tables_show_five_layers_at_the_first_and_the_last_step():
    for result in (profile(), ensemble()):
        lines = repr(result).splitlines()
        assert lines[1].split()[:2] == ["layer", "step"]
        assert [line.split()[:2] for line in lines[2:]] == [[str(l), str(t)] for l in (1, 3, 4, 5, 7) for t in (1, STEPS)]
    shown = profile()
    assert repr(shown).splitlines()[-1].split()[2] == f"{shown.variance[-1, -1]:.5g}"


def test_time_is_read_only():
    with pytest.raises(ValueError, match="read-only"):
        ensemble().second_moments[0] = 0
    with pytest.raises(ValueError, match="read-only"):
        profile().error["variance"][0] = 0
