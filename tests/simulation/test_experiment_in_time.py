"""The sweep over several steps, in Python and on the command line: judged by infinite width, read out, drawn."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

import varflow as vf
from varflow.results import late_steps

pytest.importorskip("torch")

NEURON = vf.Neuron(1.0, decay=0.5)
STEPS, DEPTH = 8, 6
SMALL = "--gain 2.5 --width 100 --depth 4 --steps 6 --repeats 4 --decay 0.5"


@pytest.fixture(scope="module")
def leaky():
    return vf.validate(gain=2.5, width=[100, 200], depth=DEPTH, repeats=10, neuron=NEURON, steps=STEPS)


@pytest.fixture(scope="module")
def dying():
    return vf.validate(threshold=[0.5, 1.0], gain=1.0, width=100, depth=15, repeats=5, neuron=NEURON, steps=STEPS)


def test_every_curve_is_the_theory_of_infinite_width_and_the_simulation_of_its_width(leaky):
    assert leaky.passed
    assert leaky.steps == STEPS
    assert [(curve.threshold, curve.width) for curve in leaky.curves] == [(1.0, 100), (1.0, 200)]
    for curve in leaky.curves:
        network = vf.Network(width=curve.width, depth=DEPTH, gain=2.5, neuron=NEURON, steps=STEPS)
        assert np.array_equal(curve.profile.variance, vf.mean_field(network).variance)
        assert np.array_equal(curve.ensemble.variance, vf.simulate(network, repeats=10).variance)
        assert curve.profile.spikes[0, 0] == pytest.approx(curve.width * curve.profile.firing_rate[0, 0])
        assert curve.survival_per_input is None


def test_thresholds_of_the_sweep_take_the_place_of_the_neurons_own():
    swept = vf.validate(threshold=[0.5, 2.0], gain=3.0, width=20, depth=2, repeats=2, neuron=NEURON, steps=2)
    assert [curve.network.neuron for curve in swept.curves] == [replace(NEURON, threshold=theta) for theta in (0.5, 2.0)]


@pytest.mark.parametrize("error", [0.8, 1.25])
def test_a_theory_of_another_gain_is_rejected(monkeypatch, error):
    exact = vf.mean_field
    monkeypatch.setattr("varflow.experiment.mean_field", lambda network: exact(replace(network, gain=error * network.gain)))
    setting = {"gain": 2.5, "width": 200, "depth": 6, "repeats": 20, "neuron": NEURON, "steps": STEPS}
    assert not vf.validate(**setting).passed
    assert not vf.validate(**setting, bias=0.02).passed
    assert error < 1 or vf.validate(**setting, bias=1.0).passed  # with too small a gain the first step dies out


def test_without_a_leak_several_steps_of_a_constant_current_are_one(leaky):
    held = vf.validate(threshold=1.0, gain=2.5, width=100, depth=4, repeats=6, steps=3)
    assert held.passed
    for array in (held.curves[0].ensemble.variance, held.curves[0].profile.variance):
        assert np.ptp(array, axis=-1).max() <= 1e-9


def test_to_dict_names_neuron_steps_engine_and_bias(leaky):
    written = json.loads(json.dumps(leaky.to_dict(), allow_nan=False))
    assert (written["steps"], written["engine"], written["bias"]) == (STEPS, "dense", None)
    assert written["neuron"] == repr(NEURON)
    assert np.shape(written["curves"][0]["theory"]["variance"]) == (DEPTH, STEPS)
    assert set(written["curves"][0]["comparison"]["worst"]["variance"]) == {"layer", "step", "z"}


def test_the_table_and_the_reading_are_of_the_later_steps(leaky, dying):
    text = repr(leaky)
    assert f"{DEPTH} layers, {STEPS} steps of Neuron(decay=0.5)" in text
    curve = leaky.curves[0]
    rate = curve.profile.firing_rate[-1, late_steps(STEPS)].mean()
    assert f"{rate:.4g}" in text
    reading = leaky.reading[0]
    assert reading.startswith(f"The gain g = 2.5, infinite width, layer {DEPTH}, steps 5 to 8: at θ = 1 variance ")
    assert f"rate {rate:.3g}" in reading
    assert "activity dies for θ = 1: fewer than one spike in two steps from layer " in dying.reading[0]


def test_early_steps_that_die_are_counted(dying):
    alive = np.count_nonzero(dying.curves[0].profile.spikes[-1] >= 0.5)
    assert 0 < alive < STEPS
    assert f"only {alive} of {STEPS} steps alive" in dying.reading[0]


def test_the_figure_has_panels(leaky, dying):
    pytest.importorskip("matplotlib")
    figure = leaky.plot()
    assert len(figure.axes) == 4
    drawn = next(line for line in figure.axes[0].lines if line.get_linestyle() == "-")
    assert drawn.get_ydata() == pytest.approx(leaky.curves[0].profile.variance[:, late_steps(STEPS)].mean(axis=1))
    assert figure.axes[0].get_title().endswith(f"steps {STEPS // 2 + 1} to {STEPS}")
    assert leaky.curves[0].comparison.plot().lines
    assert len(dying.plot().axes) == 2


def test_a_bias_is_refused_where_the_distribution_is_exact_and_before_the_simulation(monkeypatch):
    monkeypatch.setattr("varflow.experiment.simulate", None)
    with pytest.raises(vf.DomainError, match=r"bias=0.1 applies only to profiles"):
        vf.validate(threshold=1.0, gain=2.0, width=20, depth=2, repeats=2, bias=0.1)
    with pytest.raises(vf.DomainError, match=r"bias=-0.1 must not be negative"):
        vf.validate(threshold=1.0, gain=2.0, width=20, depth=2, repeats=2, steps=2, bias=-0.1)


def run(capsys, monkeypatch, line):
    from varflow.cli import main

    monkeypatch.setattr("sys.argv", ["varflow", *line.split()])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code, *capsys.readouterr()


def test_the_command_line_describes_the_same_network(capsys, monkeypatch, tmp_path):
    pytest.importorskip("matplotlib")
    code, out, _ = run(capsys, monkeypatch, f"validate {SMALL} --drive white:1.5 --bias 0.05 --out {tmp_path} --json")
    found = json.loads(out)
    drive = vf.drives.white(1.5)
    same = vf.validate(gain=2.5, width=100, depth=4, steps=6, repeats=4, neuron=NEURON, drive=drive, bias=0.05)
    assert code == 0
    assert (found["steps"], found["bias"], found["neuron"]) == (6, 0.05, repr(NEURON))
    assert found["curves"][0]["simulation"]["variance"] == same.curves[0].ensemble.mean().variance.tolist()
    assert (tmp_path / "propagation.png").stat().st_size > 10_000


def test_predict_and_simulate_take_the_neuron_and_the_drive(capsys, monkeypatch, tmp_path):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).random((3, 6, 5)))
    neuron = vf.Neuron(0.8, decay=0.3, synaptic_decay=0.2, delay=1, input_scale=0.5)
    drive = vf.drives.inputs_from_file(tmp_path / "x.npy", 2.0)
    network = vf.Network(width=30, depth=3, gain=4.0, neuron=neuron, steps=6, drive=drive)
    options = "--threshold 0.8 --gain 4 --width 30 --depth 3 --steps 6 --decay 0.3 --synaptic-decay 0.2 --delay 1"
    options += f" --input-scale 0.5 --drive {tmp_path / 'x.npy'} --input-gain 2 --json"
    predicted = json.loads(run(capsys, monkeypatch, f"predict {options}")[1])
    assert predicted["variance"] == vf.mean_field(network).variance.tolist()
    measured = json.loads(run(capsys, monkeypatch, f"simulate {options} --repeats 2")[1])
    assert measured["firing_rate"] == vf.simulate(network, repeats=2).firing_rate.tolist()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--drive white:x", "--drive white:x needs its standard deviation as a number, as in white:0.5"),
        ("--drive white:-1", "--drive white:-1 has a standard deviation that must not be negative"),
        ("--input-gain 2", "--input-gain 2 applies only to a --drive FILE"),
        ("--decay 1.5", "--decay 1.5 must lie between 0 and 1"),
        ("--reset hard", "--reset hard is unknown; choose one of none, subtract"),
        ("--steps 0", "--steps 0 must be a whole number, at least 1"),
        ("--engine sparse", "--engine sparse is unknown; choose one of dense"),
        ("--bias 0.1", "--bias 0.1 applies only to profiles without an exact distribution"),
    ],
)
def test_bad_options_are_one_line(capsys, monkeypatch, tmp_path, options, message):
    line = f"validate --threshold 1 --gain 2 --width 20 --depth 2 --repeats 2 --out {tmp_path} {options}"
    code, out, err = run(capsys, monkeypatch, line)
    assert (code, out) == (2, "")
    assert err.startswith(f"varflow: {message}")
    assert err.count("\n") == 1
