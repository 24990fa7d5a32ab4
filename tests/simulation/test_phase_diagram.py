"""Survival over threshold and width: the chain's numbers, the paper's remark, the map, the command."""

import json
import re

import numpy as np
import pytest
from two_step_chain import TwoSteps

import varflow as vf


@pytest.fixture(scope="module")
def diagram():
    return vf.phase_diagram(threshold=np.arange(0.6, 1.31, 0.05).round(2), width=[56, 75, 100, 140, 400, 600, 800])


def test_survival_is_that_of_finite_width(diagram):
    rng = np.random.default_rng(0)
    for i, j in rng.integers([len(diagram.thresholds), len(diagram.widths)], size=(6, 2)):
        theta, n = diagram.thresholds[i], int(diagram.widths[j])
        network = vf.Network(width=n, depth=100, gain=vf.gain(threshold=theta), neuron=vf.Neuron(theta))
        assert diagram.survival[i, j] == pytest.approx(vf.finite_width(network).survival[-1], abs=1e-12)


def test_the_papers_widths(diagram):
    """theory.md's anchors: half of the networks of width 100 are silent near θ = 0.85; at 600 the effect is weaker."""
    at = {(t, n): diagram.survival[i, j] for i, t in enumerate(diagram.thresholds) for j, n in enumerate(diagram.widths)}
    assert at[0.85, 100] == pytest.approx(0.5867, abs=5e-5)
    assert at[1.0, 100] == pytest.approx(0.01712, abs=5e-6)
    assert at[1.0, 600] == pytest.approx(0.8118, abs=5e-5)
    assert np.all(np.diff(diagram.survival[diagram.thresholds < 1.19], axis=1) >= -1e-12), "wider lives longer"


def test_interpolated_thresholds_are_close_to_the_exact_ones(diagram):
    for width in (100, 600):
        for level in (0.99, 0.5):
            exact = vf.largest_threshold(width=width, depth=100, survival_target=level)
            assert abs(diagram.largest_threshold(width, level) - exact) < 0.003
    between = vf.largest_threshold(width=500, depth=100)  # not a width of the grid
    assert abs(diagram.largest_threshold(500, 0.99) - between) < 0.003
    assert np.isnan(diagram.largest_threshold(600, 1e-9))
    assert np.isnan(diagram.largest_threshold(56, 0.9999))


def test_reading(diagram):
    words = " ".join(diagram.reading)
    assert "width 100: 99 % up to θ = 0.73, 50 % up to θ = 0.86, 1 % up to θ = 1.02." in words
    assert "Beyond θ = 1.191" in words
    assert words in repr(diagram).replace("\n", " ")
    assert "Beyond" not in " ".join(vf.phase_diagram(threshold=[0.7, 1.3], width=[50], depth=5, gain=2.6).reading)


def test_order_repetition_and_single_values():
    found = vf.phase_diagram(threshold=[1.0, 0.5, 1.0], width=np.array([30, 20]), depth=4, gain="2.5")
    assert (found.thresholds.tolist(), found.widths.tolist(), found.gain) == ([0.5, 1.0], [20, 30], 2.5)
    single = vf.phase_diagram(threshold=0.5, width=30, depth=4, gain=2.5)
    assert single.survival.tolist() == [[found.survival[0, 1]]]
    assert not single.survival.flags.writeable


def test_progress_counts_networks():
    seen = []
    vf.phase_diagram(threshold=[0.5, 1.0], width=[5, 6], depth=2, progress=lambda *now: seen.append(now))
    assert seen == [(2, 4), (4, 4)]  # a block for each width


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"threshold": []}, "threshold=\\[\\] must name at least one"),
        ({"width": []}, "width=\\[\\] must name at least one"),
        ({"width": [10, 1.5]}, "width=1.5 must be a whole number"),
        ({"width": "wide"}, "width='wide' must be a whole number"),
        ({"threshold": float("nan")}, "threshold=nan must be finite"),
        ({"depth": 0}, "depth=0 must be a whole number"),
        ({"gain": "xavier"}, "gain='xavier' must be a number or one of preserving, kaiming"),
        ({"progress": "yes"}, "progress='yes' must be True"),
    ],
)
def test_bad_input(options, said):
    with pytest.raises(vf.DomainError, match=said):
        vf.phase_diagram(**{"threshold": [0.5], "width": [10], "depth": 3} | options)


@pytest.mark.parametrize("options", [{}, {"gain": "kaiming"}, {"gain": 2.6, "threshold": 0.5}, {"width": 10}, {"width": 23}])
def test_plot(options):
    pytest.importorskip("matplotlib")
    figure = vf.phase_diagram(**{"threshold": [0.5, 0.8], "width": [10, 30], "depth": 3} | options).plot()
    figure.canvas.draw()
    assert "3 layers" in figure.axes[0].get_title()


def test_nearly_all_alive_is_said_with_what_is_missing():
    small = vf.phase_diagram(threshold=[1.0, 1.3], width=[60, 120], depth=2)
    missing = 1 - small.survival[-1, -1]
    assert 1e-5 < missing < 5e-3  # so that two digits of the fraction itself were all of it
    said = float(re.search(r"([\d.]+) % are alive at θ = 1.3, width 120", small.reading[-1]).group(1))
    assert 1 - said / 100 == pytest.approx(missing, rel=0.05)


LEAKY = vf.neurons.snntorch_leaky(0.5)


def test_survival_in_time_is_that_of_the_tabulated_chain():
    """Of two steps at width 24. Rejected: a threshold of the next column."""
    thetas, gain = [0.85, 1.0, 1.15], 10**0.5
    found = vf.phase_diagram(
        threshold=thetas, width=24, depth=20, gain=gain, neuron=LEAKY, steps=2, alive="a late step", networks=4000
    )
    exact = [TwoSteps(24, gain / theta, 0.5, 1, 1, drive=1 / theta).survival(20, every=False) for theta in thetas]
    deviations = np.abs(found.survival[:, 0] - exact) / found.error[:, 0]
    assert np.all(deviations < 4)
    assert np.all(np.abs(np.diff(exact)) > 8 * found.error[1:, 0])
    told = found.to_dict()
    assert (told["alive"], told["error"]) == ("a late step", found.error.tolist())
    assert found.to_xarray()["error"].shape == (3, 1)
    assert "(a late step)" in found.reading[0]
    assert found.unstable_from is None


def test_in_time_blocks_are_those_of_one_call():
    """Networks of a width share random numbers, so that survival falls with the threshold."""
    shape = {"depth": 6, "neuron": LEAKY, "steps": 4, "alive": "every late step", "networks": 300}
    whole = vf.phase_diagram(threshold=[0.7, 0.9, 1.1], width=[20, 40], **shape)
    assert vf.phase_diagram(threshold=0.9, width=40, **shape).survival[0, 0] == whole.survival[1, 1]
    assert np.all(np.diff(whole.survival, axis=0) < 0)
    pytest.importorskip("matplotlib")
    assert "every late step" in whole.plot().axes[1].get_ylabel()


@pytest.mark.parametrize(
    ("options", "argument"),
    [
        ({"alive": "any step"}, "alive"),
        ({"steps": 3}, "steps"),
        ({"neuron": LEAKY, "steps": 3}, "alive"),
        ({"neuron": LEAKY, "alive": "any step"}, "steps"),
        ({"networks": 0}, "networks"),
        ({"neuron": vf.Neuron(decay=0.5, reset="multi_spike"), "steps": 3, "alive": "any step"}, "network"),
    ],
)
def test_what_is_refused_in_time(options, argument):
    with pytest.raises(vf.DomainError) as refusal:
        vf.phase_diagram(threshold=0.7, width=20, depth=3, **options)
    assert refusal.value.argument == argument


def test_command_in_time(varflow):
    pytest.importorskip("matplotlib")
    options = "--threshold 0.8 --width 20 --depth 4 --neuron snntorch_leaky --beta 0.5 --steps 3 --alive 'any step' --out new"
    code, out, err = varflow(f"phase-diagram {options} --json")
    assert (code, err) == (0, "")
    shape = {"threshold": 0.8, "width": 20, "depth": 4}
    found = vf.phase_diagram(neuron=LEAKY, steps=3, alive="any step", **shape)
    assert json.loads(out)["survival"] == found.survival.tolist()
    code, _, err = varflow("phase-diagram --quantity depth-scales --steps 3")
    assert code == 2
    assert "--steps 3 cannot be given with --quantity depth-scales" in err


def test_command(varflow, tmp_path, monkeypatch, undrawn):
    pytest.importorskip("matplotlib")
    code, out, err = varflow("phase-diagram --threshold 0.85,1 --width 20 --width 40 --depth 5 --out new --json")
    assert (code, err) == (0, "")
    written = json.loads((tmp_path / "new" / "phase-diagram.json").read_text(encoding="utf-8"))
    assert json.loads(out) == written
    assert set(written) == {"thresholds", "widths", "depth", "gain", "survival", "reading", "warnings"}
    assert (tmp_path / "new" / "phase-diagram.png").read_bytes().startswith(b"\x89PNG")
    code, out, _ = varflow("phase-diagram --threshold 0.85,1 --width 20,40 --depth 5 --out new")
    assert code == 0
    assert out.startswith("PhaseDiagram: survival to layer 5")
    assert "written: new/phase-diagram.png, new/phase-diagram.json" in out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--width 10,x", "--width 10,x must be whole numbers separated by commas"),
        ("--width 0", "--width 0 must be a whole number, at least 1"),
        ("--threshold x", "--threshold x must be numbers separated by commas"),
        ("--gain x", "--gain x must be a number or one of preserving, kaiming"),
        ("--out /dev/null/x", "--out /dev/null/x cannot be written"),
    ],
)
def test_command_refuses_in_one_line(varflow, tmp_path, options, said):
    pytest.importorskip("matplotlib")
    code, out, err = varflow(f"phase-diagram --depth 2 {options}")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert said in err
    assert list(tmp_path.iterdir()) == []
