"""``to_xarray`` of every result with axes: what it holds, and the round trip through netCDF without a library of its own."""

from dataclasses import replace

import numpy as np
import pytest

import varflow as vf
from varflow.results import AuditedLayer, AuditReport, CorrectedGainTable, LayerPlan, ModelPlan
from varflow.results.export import dataset, plain

xarray = pytest.importorskip("xarray")

NETWORK = vf.Network(width=12, depth=3, gain=2.0)
IN_TIME = vf.Network(width=50, depth=3, gain=2.5, steps=4, neuron=vf.Neuron(decay=0.5, reset="subtract"))


def profile():
    return vf.finite_width(NETWORK)


def drawn(exact, repeats, seed):
    assert exact.sample is not None
    return exact.sample(repeats, seed)


def profile_of_inputs():
    return vf.finite_width(replace(NETWORK, drive=vf.drives.inputs([[1.0, 2.0], [0.5, 0.1]])))


def profile_in_time():
    return vf.mean_field(IN_TIME, points=2**6)


def ensemble():
    return drawn(profile(), 4, 2**40)


def comparison():
    return vf.compare(profile(), drawn(profile(), 8, 1), false_alarm=0.5)


def comparison_in_time():
    found = profile_in_time()
    rows = np.stack([found.variance, 1.1 * found.variance, 0.9 * found.variance])
    return vf.compare(found, vf.Ensemble(IN_TIME, variance=rows, firing_rate=np.stack([found.firing_rate] * 3)), bias=0.5)


def phase_diagram():
    return vf.phase_diagram(threshold=[0.5, 1.0, 1.4], width=[20, 50], depth=5)


def gain_table():
    return vf.corrected_gain_table(threshold=[0.5, 1.0], width=[20, 30, 40], depth=[1, 5])


def integer_weights():
    return vf.quantise(threshold=1.0, width=[[40], [50]], depth=5, bits=[2, 4])


def experiment():
    from varflow.results import Curve, Experiment

    def curve(rule, threshold):
        exact = vf.finite_width(replace(NETWORK, neuron=vf.Neuron(threshold)))
        seen = drawn(exact, 6, 3)
        return Curve(rule, exact, seen, vf.compare(exact, seen, false_alarm=0.5))

    curves = (curve("preserving", 0.5), curve("kaiming", 1.0))
    return Experiment(curves, NETWORK.drive, false_alarm=0.5, requested_repeats=6)


def temporal_fixed_point():
    return vf.temporal_fixed_point(replace(IN_TIME, gain=4.0), points=2**7)


def silence_in_time():
    return vf.temporal_fixed_point(replace(IN_TIME, gain=0.1), points=2**7)


def fixed_points():
    return vf.fixed_points(threshold=1.0, gain=2.6)


def fixed_points_with_cycle():
    return vf.fixed_points(threshold=-1.0, gain=1.0, bias_std=0.3, mean_gain=-4.0)


def exact_fixed_points():
    return vf.reference.fixed_points(threshold=1.0, gain=2.6, digits=20)


def catalogue():
    return vf.catalogue(threshold=1.0, fan_in=30, depth=4)


def catalogue_in_time():
    return vf.catalogue(neuron=vf.neurons.snntorch_leaky(0.5, reset_mechanism="none"), fan_in=30, depth=3, steps=4)


def audit():
    layer = AuditedLayer(
        name="fc1",
        neuron_name="lif1",
        neuron=vf.Neuron(),
        width=7,
        gain=1.5,
        bias_std=0.1,
        bias_mean=0.0,
        firing_rate=0.2,
        predicted_rate=0.25,
        predicted_std=0.01,
        variance=1.1,
        mean=0.1,
        predicted_variance=np.nan,
        dead_fraction=0.3,
        saturated_fraction=0.0,
        survival=np.array([1.0, 0.0, 1.0]),
        firing_rates=np.array([0.1, 0.2]),
        gains={"fc1": 1.5},
    )
    silent = replace(layer, name="fc2", survival=np.zeros(3), normalised_by="norm")
    return AuditReport((layer, silent), 2, 3, "fc2", "starved", None, None, "infinite width", ("θ is a note",))


def plan():
    layers = (LayerPlan("fc1", "lif1", vf.Neuron(), 30, 2.5, 0.2, 0.01), LayerPlan("out", "", None, 20, 1.0))
    return ModelPlan(layers, steps=5, survival=0.9, filled=True, notes=("one", "two"))


def gradient_flow():
    return vf.gradient_flow(IN_TIME, points=64, scrambles=2)


def trainability():
    return vf.trainability(IN_TIME, points=64, scrambles=2)


def flips():
    return vf.flips(IN_TIME, direct=0.1, points=64, scrambles=2)


def rounded_model():
    rates, alive = {"full": np.array([0.1, 0.2]), "set": np.array([0.1, 0.3])}, {"full": 1.0, "set": 0.5}
    two = np.array([0.5, np.nan])
    return vf.RoundedModel(("a", "b"), 4, "rate", "layer", 3, two, 10 * two, rates, rates, rates, alive, alive)


def sampled_flips():
    return vf.flips(IN_TIME, relative=0.1, repeats=3)


def learning_rate():
    return vf.learning_rate(vf.Network(width=40, depth=3, gain=2.5), np.eye(3) + 1)


def optimizer_step():
    notes = ("D", "rate")
    return vf.OptimizerStep(("a", "b"), "Adam", 1e-3, 0.1, 1.5e-3, None, None, *np.linspace(0, 1, 8).reshape(4, 2), notes=notes)


def coordinate_check():
    change = np.linspace(0.1, 1, 12).reshape(2, 3, 2)
    return vf.CoordinateCheck("direct", ("a", "b"), np.array([8, 16]), change, np.ones(2), np.full(2, 0.1))


def cost():
    return vf.cost(NETWORK)


def kernel():
    network = vf.Network(width=20, depth=2, gain=2.5, steps=2, neuron=vf.Neuron(decay=0.5))
    return vf.kernel(network, np.eye(3), repeats=2)


def readable_depth():
    return vf.readable_depth(vf.Network(width=20, depth=2, gain=2.5), np.eye(4), [0, 0, 1, 1], repeats=2)


def depth_scales():
    return vf.depth_scales(threshold=[0.5, 1.0], gain=[2.0, 2.5, 3.0])


def correlation_fixed_points():
    return vf.correlation_fixed_points(threshold=1.0)


RESULTS = [
    *(
        profile,
        profile_of_inputs,
        profile_in_time,
        ensemble,
        comparison,
        comparison_in_time,
        phase_diagram,
        gain_table,
        integer_weights,
    ),
    *(experiment, temporal_fixed_point, silence_in_time, fixed_points, fixed_points_with_cycle, exact_fixed_points),
    *(
        catalogue,
        catalogue_in_time,
        audit,
        plan,
        gradient_flow,
        kernel,
        readable_depth,
        correlation_fixed_points,
        depth_scales,
        trainability,
        flips,
        cost,
        rounded_model,
        sampled_flips,
        learning_rate,
        optimizer_step,
        coordinate_check,
    ),
]


@pytest.mark.parametrize("result", RESULTS, ids=lambda made: made.__name__)
def test_netcdf_gives_back_what_was_written(result, tmp_path):
    written = result().to_xarray()
    written.to_netcdf(tmp_path / "result.nc", engine="scipy")
    read = xarray.load_dataset(tmp_path / "result.nc", engine="scipy")
    xarray.testing.assert_identical(written, read)
    for name, variable in written.variables.items():
        assert variable.dtype.kind in "fiU"
        assert variable.dtype.kind == "U" or read.variables[name].dtype == variable.dtype  # text comes back as Python's
    unnamed = {"network", "repeat", "input", "other_step", "curve", "fixed_point", "cycle", "phase"}
    assert set(written.sizes) - set(written.coords) <= unnamed


def test_every_public_result_with_axes_is_here():
    """A result is left out only if it has no axis: one row, one curve, one gain."""
    import varflow.results as results

    scalars = {"AuditedLayer", "CatalogueEntry", "CorrectedGain", "CorrelationFixedPoint", "Cycle", "FixedPoint"}
    parts = {"Curve", "Estimate", "Initialization", "LayerPlan", "Learning", "TemporalCriticalGain", "UnhealthyError"}
    classes = {name for name in results.__all__ if isinstance(getattr(results, name), type)}
    able = {name for name in classes if hasattr(getattr(results, name), "to_xarray")}
    assert able == classes - scalars - parts
    assert able <= {type(made()).__name__ for made in RESULTS}


def test_axes_select_by_name():
    table = gain_table()
    rows = [row for row in table.rows if (row.threshold, row.width, row.depth) == (1.0, 30, 5)]
    at = table.to_xarray().sel(threshold=1.0, width=30, depth=5, survival_target=0.99)
    assert float(at["corrected_gain"]) == rows[0].corrected_gain
    diagram = phase_diagram()
    assert float(diagram.to_xarray()["survival"].sel(threshold=1.4, width=50)) == diagram.survival[2, 1]
    report = audit()
    found = report.to_xarray()
    assert found["survival"].sel(layer="fc1").values.tolist() == [1.0, 0.0, 1.0]
    assert found["dead"].dtype == np.int8
    assert found["dead"].values.tolist() == [0, 1]
    methods = catalogue()
    kept = methods.to_xarray().sel(key="micheli")
    assert np.array_equal(kept["variance_of_layers"].values[:, 0], methods.profiles["micheli"].variance)
    assert float(kept["gain"]) == methods["micheli"].gain


def test_cycles_have_two_phases():
    (cycle,) = fixed_points_with_cycle().cycles
    found = fixed_points_with_cycle().to_xarray()
    assert tuple(found["cycle_variances"].isel(cycle=0).values) == cycle.variances
    assert "cycle_variances" not in fixed_points().to_xarray()


def test_rows_that_are_missing_are_nan():
    table = gain_table()
    thinned = CorrectedGainTable(table.rows[1:])
    gains = thinned.to_xarray()["paper_gain"]
    assert np.isnan(gains.values).sum() == 1
    assert np.isnan(gains.sel(threshold=0.5, width=20, depth=1).item())


def test_a_sweep_has_theory_simulation_and_verdict():
    sweep = experiment()
    table = sweep.to_xarray()
    assert table["rule"].values.tolist() == ["preserving", "kaiming"]
    for number, curve in enumerate(sweep.curves):
        one = table.isel(curve=number, step=0)
        assert np.array_equal(one["variance"], curve.profile.variance)
        assert np.array_equal(one["simulated_variance"], curve.ensemble.variance.mean(axis=0))
        assert np.array_equal(one["z_firing_rate"], curve.comparison.z["firing_rate"], equal_nan=True)
        assert float(one["p_value"]) == curve.comparison.p_value


def test_what_netcdf_lacks_is_replaced():
    assert plain([True, False]).dtype == np.int8
    assert plain([1, 2]).dtype == np.int32
    assert plain([1, 2**40]).dtype == float
    assert np.array_equal(plain([1.5, None]), [1.5, np.nan], equal_nan=True)
    assert plain(["yes", None]).tolist() == ["yes", ""]
    made = dataset({"one": ("x", [1.0]), "none": ("x", None), "empty": ("y", [])}, {}, flag=True, nothing=None, seed=2**70)
    assert (list(made.variables), list(made.attrs)) == (["one"], ["flag", "seed"])
    assert made.attrs["seed"] == str(2**70)
