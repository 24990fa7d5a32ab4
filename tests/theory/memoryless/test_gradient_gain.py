"""The gradient gain of memoryless layers: published numbers, mpmath, closed forms at extremes, and what is refused."""

import importlib.util
import itertools
import math
from functools import cache
from pathlib import Path

import mpmath
import numpy as np
import pytest
from mpmath import mp, mpf

import varflow as vf
from varflow import DomainError
from varflow.init.surrogate_width import with_unit_growth
from varflow.model.surrogate import FAMILIES
from varflow.reference.gradients import SHAPES
from varflow.symbolic.gradients import SURROGATES as SYMBOLIC
from varflow.theory.responses.back_propagation import surrogate_moments

S = vf.surrogates
THRESHOLDS = np.array([1.0, 0.5, 0.0])
EXACT = 1e-13  # relative, of the quadrature


def chi(surrogate, threshold=1.0, variance=1.0, gain=None):
    gain = vf.gain(threshold=threshold) if gain is None else gain
    return vf.gradient_gain(threshold=threshold, gain=gain, surrogate=surrogate, variance=variance)


def last_place(number):
    """Half a unit of the last place that is printed."""
    return 0.5 * 10.0 ** -len(number.partition(".")[2])


# At V = 1 and the gain that preserves it, θ = 1, 0.5, 0; computed by quadrature of the sources of the libraries.
TABLE = {
    "atan": (S.atan(), "0.7593 0.5541 0.3843"),
    "spikingjelly_sigmoid": (S.spikingjelly_sigmoid(4), "1.0150 0.7388 0.5119"),
    "spikingjelly_sigmoid, 1": (S.spikingjelly_sigmoid(1), "0.2235 0.1370 0.0897"),
    "sigmoid": (S.sigmoid(25), "6.355 4.751 3.321"),
    "fast_sigmoid": (S.fast_sigmoid(25), "0.0407 0.0304 0.0213"),
    "norse_super": (S.norse_super(), "0.9650 0.6676 0.4553"),
    "super_spike": (S.spikingjelly_super_spike(1), "0.9650 0.6676 0.4553"),
    "as published": (S.fast_sigmoid(100), "0.0102 0.0076 0.0053"),
    "piecewise_quadratic": (S.spikingjelly_piecewise_quadratic(1), "1.0146 0.7335 0.5071"),
    "rect": (S.spikingjelly_rect(1), "1.5236 1.1063 0.7658"),
    "norse_triangle": (S.norse_triangle(0.3), "0.0913 0.0660 0.0456"),
    "single_exponential": (S.sinabs_single_exponential(), "3.034 2.187 1.511"),
}


@pytest.mark.parametrize("name", TABLE)
def test_gains_of_the_libraries_defaults(name):
    surrogate, row = TABLE[name]
    for got, number in zip(chi(surrogate, THRESHOLDS), row.split(), strict=True):
        assert abs(got - float(number)) <= last_place(number) * 1.01
        assert abs(1.02 * got - float(number)) > last_place(number)  # two percent more is seen


def test_a_surrogate_may_depend_on_the_threshold():
    assert chi(S.sinabs_single_exponential(spike_threshold=0.5), 0.5) == pytest.approx(4.512, abs=5.1e-4)
    assert chi(S.norse_triangle(100.0)) == pytest.approx(10146, abs=0.51)
    for theta in THRESHOLDS:  # |ψ| = θ
        assert chi(S.snntorch_triangular(theta), theta) == pytest.approx((vf.gain(threshold=theta) * theta) ** 2, rel=EXACT)


def test_the_witnesses_know_the_same_families():
    assert set(FAMILIES) == set(SHAPES) == set(SYMBOLIC)


POINTS = [(5.0, -0.7, 2.0), (0.02, 2.0, 1.0)]  # width, threshold, variance


@pytest.mark.parametrize("family", FAMILIES)
def test_agrees_with_mpmath(family):
    for width, theta, V in POINTS:
        psi = S.Surrogate(family, peak=1.7, width=width)
        exact = vf.reference.gradient_gain(psi, threshold=theta, gain=2.5, variance=V, digits=18)
        got = vf.gradient_gain(threshold=theta, gain=2.5, surrogate=psi, variance=V)
        assert abs(got / exact - 1) < EXACT
        wrong = vf.gradient_gain(threshold=theta, gain=2.5, surrogate=psi.widened(width * (1 + 1e-10)), variance=V)
        assert abs(wrong / exact - 1) > EXACT


def box(a, theta, V):
    s = mp.sqrt(2 * V)
    return (mp.erfc((theta - a) / s) - mp.erfc((theta + a) / s)) / 2


def gaussian(a, theta, V):
    return a / mp.sqrt(a**2 + 2 * V) * mp.exp(-(theta**2) / (a**2 + 2 * V))


def exponential(a, theta, V):
    k = 2 / a
    tail = lambda x: mp.erfc(x / mp.sqrt(2 * V)) / 2  # noqa: E731
    return mp.exp(k * k * V / 2) * (mp.exp(k * theta) * tail(theta + k * V) + mp.exp(-k * theta) * tail(k * V - theta))


EXTREMES = [
    *itertools.product((1e-100, 1e-9, 1e-3, 1.0, 1e3, 1e9, 1e100), (0.0, 1.0, -8.0, 25.0), (1.0,)),
    *itertools.product((1e-3, 1.0), (1.0,), (1e-6, 1e-3, 1e6, 1e100)),
    (1.0, 1e6, 1.0),
    (1e7, 1e6, 1.0),
]


@pytest.mark.parametrize("closed", [box, gaussian, exponential], ids=lambda function: function.__name__)
def test_extreme_widths_thresholds_and_variances(closed):
    """Closed forms with so many digits that their own cancellation does not matter."""
    psi = {a: S.Surrogate(closed.__name__, width=a) for a, *_ in EXTREMES}
    for a, theta, V in EXTREMES:
        with mpmath.workdps(1000 if a < 1e-50 or a > 1e50 or V > 1e50 else 400):
            exact = closed(mpf(a), mpf(theta), mpf(V))
            got = vf.gradient_gain(threshold=theta, gain=1.0, surrogate=psi[a], variance=V)
            if exact < mpf(10) ** -300:
                assert got < 1e-300
            else:
                assert abs(got / exact - 1) < EXACT, (a, theta, V)


def test_arrays_broadcast_and_scalars_are_floats():
    theta, gain, V = np.linspace(-1, 2, 3)[:, None], np.array([2.0, 3.0]), np.array([[[0.5]], [[1.5]]])
    every = vf.gradient_gain(threshold=theta, gain=gain, surrogate="atan", variance=V)
    assert every.shape == (2, 3, 2)
    for i, j, k in np.ndindex(every.shape):
        alone = vf.gradient_gain(threshold=theta[j, 0], gain=gain[k], surrogate="atan", variance=V[i, 0, 0])
        assert isinstance(alone, float)
        assert alone == pytest.approx(every[i, j, k], rel=1e-14)
    many = np.linspace(0, 1, 700)  # more than are computed at once
    assert vf.gradient_gain(threshold=many, gain=3.0, surrogate="box", variance=1.0)[650] == pytest.approx(
        vf.gradient_gain(threshold=many[650], gain=3.0, surrogate="box", variance=1.0), rel=1e-14
    )
    assert vf.gradient_gain(threshold=np.array([]), gain=3.0, surrogate="box", variance=1.0).shape == (0,)


def test_the_variance_defaults_to_the_stable_one():
    V = vf.stable_variance(threshold=[0.5, 1.0], gain=3.0)
    default = vf.gradient_gain(threshold=[0.5, 1.0], gain=3.0, surrogate="sigmoid")
    np.testing.assert_array_equal(default, vf.gradient_gain(threshold=[0.5, 1.0], gain=3.0, surrogate="sigmoid", variance=V))
    with pytest.raises(DomainError, match=r"gain=2.0 has no stable active fixed point: give variance"):
        vf.gradient_gain(threshold=1.0, gain=[3.0, 2.0], surrogate="atan")


def test_functions_and_symmetries():
    function = S.own(lambda v: np.maximum(0.0, 1 - np.abs(v) / 0.3), kinks=(-0.3, 0, 0.3))
    assert chi(function) == pytest.approx(chi(S.triangular(0.3)), rel=EXACT)
    assert chi(lambda v: 1 / (1 + (np.pi * v) ** 2)) == pytest.approx(chi("atan"), rel=EXACT)
    assert chi("straight_through_estimator", gain=3.0) == pytest.approx(9.0, rel=EXACT)
    assert chi("leaky_spike_operator", 0.0, gain=1.0) == pytest.approx((1 + 0.01) / 2, rel=EXACT)
    assert chi("SFS", gain=1.0) < 1e-4
    assert chi(S.Surrogate("atan", peak=3.0)) == pytest.approx(9 * chi(S.Surrogate("atan")), rel=1e-14)
    assert chi("atan", -0.7, gain=2.0) == pytest.approx(chi("atan", 0.7, gain=2.0), rel=1e-14)


@cache
def dense():
    """Standard normal potentials, and their weights in a sum."""
    z = np.linspace(-9, 9, 2_000_001)
    return z, np.exp(-z * z / 2) * (z[1] - z[0]) / math.sqrt(2 * math.pi)


@pytest.mark.parametrize("name", [name for name in S.__all__ if name not in {"Surrogate", "own", "surrogate_of"}])
def test_every_surrogate_against_a_dense_sum(name):
    """A sum over two million potentials: coarse, and nothing it shares with panels."""
    (z, weights), psi = dense(), S.surrogate_of(name)
    plain = psi(0.8 * z - 0.45) ** 2 @ weights
    got = vf.gradient_gain(threshold=0.45, gain=1.0, surrogate=psi, variance=0.64)
    assert got == pytest.approx(plain, rel=1e-5)
    assert 1.001 * got != pytest.approx(plain, rel=1e-5)


@pytest.mark.parametrize(
    ("name", "at_one", "at_half"), [("atan", 14.6, 10.2), ("spikingjelly_sigmoid", 11.8, 8.2), ("fast_sigmoid", 198, 136)]
)
def test_the_spread_between_networks(name, at_one, at_half):
    """``3κ - 1``, published to three digits."""
    kappa = surrogate_moments(S.surrogate_of(name), np.array([1.0, 0.5]), np.ones(2)).kurtosis
    half_a_digit = 0.5 if at_one > 100 else 0.05
    np.testing.assert_allclose(3 * kappa - 1, [at_one, at_half], atol=1.01 * half_a_digit)


def test_the_kurtosis_of_a_box_is_one_over_its_probability():
    psi = S.box(0.5, peak=3.0)
    moments = surrogate_moments(psi, np.array([1.0, 40.0]), np.ones(2))
    assert moments.kurtosis[0] == pytest.approx(9 / moments.second[0], rel=EXACT)
    assert moments.second[1] == 0
    assert math.isnan(moments.kurtosis[1])


# Widths that give χ = 1 at V = 1 and the preserving gain, for θ = 0, 0.5, 1.
PEAK_ONE = {
    "box": "0.674 0.449 0.328",
    "triangular": "2.340 1.410 0.986",
    "gaussian": "0.817 0.519 0.370",
    "exponential": "1.839 1.009 0.664",
    "fast_sigmoid": "3.265 1.683 1.040",
    "atan": "1.000 0.609 0.421",
    "sigmoid": "0.552 0.347 0.246",
}
AREA_ONE = {
    "box": "0.389 0.550 0.759",
    "triangular": "0.525 0.745 1.014",
    "gaussian": "0.222 0.316 0.429",
    "exponential": "0.198 0.281 0.381",
    "fast_sigmoid": "0.132 0.188 0.253",
    "atan": "0.126 0.180 0.242",
    "sigmoid": "0.132 0.187 0.254",
}
OF_AREA_ONE = {
    "box": S.box(area=1),
    "triangular": S.triangular(area=1),
    "gaussian": S.gaussian(area=1),
    "exponential": S.exponential(area=1),
    "fast_sigmoid": S.spikingjelly_soft_sign(),
    "atan": S.atan(),
    "sigmoid": S.sigmoid(),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_widths_that_preserve_gradients(family):
    for theta, one, two in zip((0.0, 0.5, 1.0), PEAK_ONE[family].split(), AREA_ONE[family].split(), strict=True):
        for start, number in ((S.Surrogate(family), one), (OF_AREA_ONE[family], two)):
            found = with_unit_growth(start, lambda psi, theta=theta: chi(psi, theta))
            assert chi(found, theta) == pytest.approx(1, abs=1e-10)
            assert abs(found.width - float(number)) <= 1.01 * last_place(number)


def test_no_width_preserves_gradients():
    with pytest.raises(DomainError, match="lets gradients vanish at any width: raise its peak or the gain"):
        with_unit_growth(S.box(), lambda psi: chi(psi, 0.5, gain=0.9))
    with pytest.raises(DomainError, match="has no width"):
        with_unit_growth(S.SFS(), chi)


WRONG = [
    ({"surrogate": "arctan"}, "surrogate='arctan' must be a name such as"),
    ({"surrogate": lambda v: np.where(v < -3, np.nan, 1.0)}, "returns nan at H - θ = -10"),
    ({"surrogate": lambda v: np.where(np.abs(v) < 12, 1.0, np.nan), "threshold": 9.0}, "returns nan at H - θ = "),
    ({"threshold": "1"}, "threshold='1' must be a real number"),
    ({"gain": 0.0}, "gain=0.0 must be positive"),
    ({"variance": 0.0}, "variance=0.0 must be positive"),
    ({"variance": [1.0, 2.0], "threshold": [1.0, 2.0, 3.0]}, "does not broadcast"),
]


@pytest.mark.parametrize(("changed", "message"), WRONG, ids=[message for _, message in WRONG])
def test_bad_input(changed, message):
    with pytest.raises(DomainError) as caught:
        vf.gradient_gain(**({"threshold": 1.0, "gain": 2.5, "surrogate": "atan", "variance": 1.0} | changed))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_page_is_current():
    docs = Path(__file__).parents[3] / "docs"
    spec = importlib.util.spec_from_file_location("surrogates", docs / "surrogates.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    page = (docs / "surrogates.md").read_text(encoding="utf-8")
    assert script.page() == page
    assert f"{script.chi(S.atan(2.1), 1.0):.3g}" not in page  # it is seen


def test_the_table_of_gradients():
    page = (Path(__file__).parents[3] / "docs" / "gradients.md").read_text(encoding="utf-8")
    table = page.partition("## The libraries' defaults")[2].partition("##")[0]
    rows = {
        "snnTorch": ("atan", "fast_sigmoid"),
        "SpikingJelly": ("spikingjelly_sigmoid",),
        "Norse": ("norse_super",),
    }
    for library, surrogates in rows.items():
        (row,) = (line for line in table.splitlines() if line.startswith(f"| {library}:"))
        for theta, cell in zip(THRESHOLDS, row.split("|")[2:5], strict=True):
            for surrogate, number in zip(surrogates, cell.split(";"), strict=True):
                assert abs(chi(surrogate, theta) - float(number)) <= last_place(number.strip())
