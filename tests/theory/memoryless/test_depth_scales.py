"""Depth scales on grids: each point is what the functions of single points give; the command; the figure."""

import json
import math

import numpy as np
import pytest

import varflow as vf

THETAS, GAINS = [0.3, 1.0, 1.6], [1.0, vf.gain(threshold=1.0), 5.0]


def test_every_point_is_that_of_its_network():
    found = vf.depth_scales(threshold=THETAS[::-1], gain=GAINS, surrogate="fast_sigmoid")
    for i, theta in enumerate(THETAS):
        for j, gain in enumerate(GAINS):
            names = ("firing_rate", "variance_depth", "overlap_depth", "overlap", "gradient_gain", "gradient_depth")
            at = {name: getattr(found, name)[i, j] for name in names}
            if gain < vf.critical_gain(threshold=theta):
                assert set(at.values()) == {0.0}
                continue
            stable = vf.fixed_points(threshold=theta, gain=gain)[-1]
            point = vf.correlation_fixed_points(threshold=theta, variance=stable.variance)[0]
            chi = vf.gradient_gain(threshold=theta, gain=gain, surrogate="fast_sigmoid")
            expected = (
                *(stable.firing_rate, stable.depth_scale, point.depth_scale, point.overlap),
                *(chi, 1 / abs(math.log(chi))),
            )
            assert [*at.values()] == pytest.approx(expected, rel=1e-9)
    assert (found.overlap == 0).any()
    assert (found.overlap > 0.2).any()


def test_over_widths_of_a_surrogate():
    widths = [2.0, 0.05, 0.4]
    found = vf.depth_scales(threshold=0.7, gain=GAINS, width=widths)
    for i, width in enumerate(sorted(widths)):
        psi = vf.surrogates.surrogate_of("atan").widened(width)
        assert found.gradient_gain[i, 2] == pytest.approx(vf.gradient_gain(threshold=0.7, gain=5.0, surrogate=psi), rel=1e-12)
    assert found.overlap_depth.shape == found.gradient_gain.shape == (3, 3)
    assert np.array_equal(found.overlap_depth[0], found.overlap_depth[2])
    assert found.to_xarray().sizes == {"width": 3, "gain": 3}


def test_thresholds_of_either_sign():
    found = vf.depth_scales(threshold=[-1.0, 0.0, 1.0], gain=3.0)
    for i, theta in enumerate(found.thresholds):
        stable = vf.fixed_points(threshold=theta, gain=3.0)[-1]
        assert found.variance_depth[i, 0] == pytest.approx(stable.depth_scale, rel=1e-9)


def test_where_only_silence_is_stable():
    quiet = vf.depth_scales(threshold=1.0, gain=[0.5, 1.0])
    assert not quiet.overlap_depth.any()
    assert not quiet.gradient_depth.any()
    assert quiet.reading == ["Only silence is stable at these thresholds and gains."]
    assert "Only silence" in repr(quiet)
    quiet.plot()


@pytest.mark.parametrize("grid", [{"threshold": 1.0, "gain": [2.6, 3.0, 4.0]}, {"threshold": [0.5, 1.0], "gain": 3.0}])
def test_one_threshold_or_one_gain_is_drawn_as_lines(grid):
    pytest.importorskip("matplotlib")
    found = vf.depth_scales(**grid)
    panels = found.plot().axes
    assert [ax.lines[0].get_ydata().tolist() for ax in panels] == [
        getattr(found, name).ravel().tolist() for name in ("firing_rate", "variance_depth", "overlap_depth", "gradient_depth")
    ]
    assert not any(ax.collections for ax in panels)


def test_a_grid_is_drawn_as_maps():
    pytest.importorskip("matplotlib")
    found = vf.depth_scales(threshold=[0.5, 1.0], gain=[2.6, 3.0, 4.0])
    assert np.array_equal(found.plot().axes[0].collections[0].get_array(), found.firing_rate)


WRONG = ({"threshold": []}, {"gain": 0.0}, {"threshold": math.nan}, {"surrogate": "none"}, {"width": [0.0]})


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: next(iter(wrong)))
def test_bad_input(wrong):
    with pytest.raises(vf.DomainError, match=next(iter(wrong))):
        vf.depth_scales(**wrong)


def test_several_thresholds_with_widths():
    with pytest.raises(vf.DomainError, match="threshold"):
        vf.depth_scales(threshold=[0.5, 1.0], width=[0.1, 1.0])


ASKED = "phase-diagram --quantity depth-scales --threshold 0.5,1 --gain 2,3 --json"


def test_the_command(varflow, tmp_path):
    code, out, _ = varflow(ASKED)
    assert code == 0
    told, expected = json.loads(out), vf.depth_scales(threshold=[0.5, 1.0], gain=[2.0, 3.0])
    assert told["overlap_depth"] == expected.overlap_depth.tolist()
    assert (tmp_path / "varflow-results" / "phase-diagram.png").stat().st_size > 1000
    code, out, _ = varflow("phase-diagram --quantity depth-scales --surrogate atan --surrogate-width 0.1,1 --gain 3 --json")
    assert json.loads(out)["widths"] == [0.1, 1.0]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (f"{ASKED} --width 30", "--width 30 cannot be given"),
        (f"{ASKED} --quantity rate", "unknown"),
        (f"{ASKED} --depth 5", "--depth 5"),
        ("phase-diagram --surrogate atan", "--surrogate atan needs"),
        (f"{ASKED} --surrogate nothing", "--surrogate nothing"),
    ],
)
def test_the_command_refuses(varflow, line, said):
    code, _, err = varflow(line)
    assert code == 2
    assert said in err
