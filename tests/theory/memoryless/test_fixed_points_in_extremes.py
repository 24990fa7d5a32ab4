"""Fixed points where a variance or a rate alone does not tell them: beside a large bias, and at gains far from the threshold.

Right numbers against 20 and more digits where the variance is a double, varflow's refusal where it is none.
"""

import mpmath
import pytest

import varflow as vf


def agree(found, exact, *, places):
    assert len(found) == len(exact)
    for here, there in zip(found, exact, strict=True):
        assert here.stable == bool(there.stable)
        for name in ("variance", "firing_rate", "multiplier"):
            number, expected = getattr(here, name), float(getattr(there, name))
            assert number == pytest.approx(expected, rel=places * (1 + 1 / abs(1 - float(there.multiplier))), abs=1e-320), name


EXTREME = [
    {"threshold": 2.0, "gain": 3e48, "mean_gain": 0.7, "distribution": "student_t:3"},
    {"threshold": 1.0, "gain": 1e6, "distribution": "student_t:2.1"},  # its tail is heavier than its density is a double
    {"threshold": 0.3, "gain": 5e15, "distribution": "student_t:2.25"},
    {"threshold": 1.0, "gain": 1e140, "mean_gain": 1.0},
    {"threshold": 3e-20, "gain": 2e110, "mean_gain": 4.0, "distribution": "laplace"},
    {"threshold": 1e-100, "gain": 2.6e-100, "mean_gain": 2e-101, "bias_std": 1e-101},
]


@pytest.mark.parametrize("case", EXTREME, ids=lambda case: f"{case['gain']:g}")
def test_gains_far_from_the_threshold(case):
    agree(vf.fixed_points(**case), vf.reference.fixed_points(**case, digits=25), places=1e-12)


def test_an_edge_whose_rate_is_no_double():
    """The reference gives it in 25 digits and many seconds: a rate of 2.7e-329 under a variance of 3.6e-221."""
    case = {"threshold": 0.1187, "gain": 1.15e54, "mean_gain": -1.48, "distribution": "student_t:3"}
    silence, edge, alive = vf.fixed_points(**case)
    assert (silence.variance, silence.stable) == (0, True)
    assert edge.variance == pytest.approx(3.5513642277910855e-221, rel=1e-12)
    assert (edge.firing_rate, edge.stable) == (0, False)
    assert edge.multiplier == pytest.approx(1.5, rel=1e-12)
    assert alive.variance == pytest.approx(6.6125e107, rel=1e-15)
    assert alive.multiplier == pytest.approx(-4.864056759e-55, rel=1e-9)


def test_a_falling_map_at_a_giant_gain():
    """``V = g² S((θ - m p)/√V)``: a threshold of 1e-79 standard deviations does nothing, and the mean as little."""
    (point,) = vf.fixed_points(threshold=-3.4, gain=1.2e79, mean_gain=-0.25, distribution="logistic")
    assert point.variance == pytest.approx(0.72e158, rel=1e-15)
    assert abs(point.multiplier) < 1e-78


@pytest.mark.parametrize("gain", [0.3, 0.1, 1e-3])
@pytest.mark.parametrize(("threshold", "mean_gain"), [(3.0, 6.0), (2.5, 4.5)])
def test_three_rates_under_one_variance(gain, threshold, mean_gain):
    """Beside a bias of 1 they differ by g² in the variance, yet the weight mean makes three states of them."""
    case = {"threshold": threshold, "gain": gain, "bias_std": 1.0, "mean_gain": mean_gain}
    exact = vf.reference.fixed_points(**case, digits=30)
    assert len(exact) == 3
    agree(vf.fixed_points(**case), exact, places=2e-15)


@pytest.mark.parametrize("gain", [1e-8, 1e-9, 1e-60])
@pytest.mark.parametrize(("threshold", "mean_gain", "near"), [(1.0, 1.0, [0.3]), (3.0, 6.0, [1e-3, 0.5, 0.999])])
def test_rates_beside_a_bias_that_hides_them(gain, threshold, mean_gain, near):
    """There ``p = S(θ - m p)``, whatever the gain."""
    found = vf.fixed_points(threshold=threshold, gain=gain, bias_std=1.0, mean_gain=mean_gain)
    with mpmath.workdps(25):
        rates = [mpmath.findroot(lambda p: mpmath.ncdf(mean_gain * p - threshold) - p, start) for start in near]
        slopes = [float(mean_gain * mpmath.npdf(mean_gain * p - threshold)) for p in rates]
    assert [point.firing_rate for point in found] == pytest.approx([float(p) for p in rates], rel=4e-15)
    assert [point.multiplier for point in found] == pytest.approx(slopes, rel=1e-14)


def test_a_giant_weight_mean_beside_a_bias():
    """The mean pins the rate to where the threshold is about met: ``p ≈ |θ/m|``."""
    found = vf.fixed_points(threshold=-40.0, gain=0.97, bias_std=0.9, mean_gain=-1e46, distribution="logistic")
    (point,) = found
    assert point.firing_rate == pytest.approx(4e-45, rel=0.1)
    assert point.variance == pytest.approx(0.81, rel=1e-15)
    assert not point.stable


@pytest.mark.parametrize(
    "case",
    [
        {"threshold": 1e-100, "gain": 1e139, "distribution": "student_t:3"},
        {"threshold": 1.0, "gain": 1e60, "distribution": "student_t:2.1"},
        {"threshold": 0.0, "gain": 1e-115, "mean_gain": -1e100},
    ],
)
def test_a_state_whose_variance_is_no_double_is_refused(case):
    with pytest.raises(vf.DomainError, match=r"1e-300") as caught:
        vf.fixed_points(**case)
    assert caught.value.argument == "gain"


@pytest.mark.parametrize("mean_gain", [0.0, 3e80, -2e-90])
def test_the_map_itself(mean_gain):
    case = {"threshold": 1e-40, "gain": 1e130, "mean_gain": mean_gain}
    for V in (1e-140, 1.0, 1e140):
        exact = float(vf.reference.variance_map(V, **case, digits=25))
        assert vf.variance_map(V, **case) == pytest.approx(exact, rel=1e-13)
    case = {"threshold": 1.0, "gain": 1e-130, "mean_gain": 1e-120, "bias_std": 1e-110}
    exact = float(vf.reference.variance_map(1e-130, **case, digits=25))
    assert vf.variance_map(1e-130, **case) == pytest.approx(exact, rel=1e-12)
