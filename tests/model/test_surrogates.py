"""Surrogate derivatives as data: each against the gradient of the library's own function, and what is refused."""

import math

import numpy as np
import pytest

import varflow as vf
from varflow import DomainError

torch = pytest.importorskip("torch")
S = vf.surrogates
GRID = np.concatenate([-np.geomspace(1e-3, 12, 400)[::-1], [0.0], np.geomspace(1e-3, 12, 400)])
LIBRARIES = {"norse": "norse_", "sinabs": "sinabs_", "spikingjelly": "spikingjelly_"}
NAMES = [name for name in S.__all__ if name not in {"Surrogate", "own", "surrogate_of"}]
SHAPES = ["box", "triangular", "gaussian", "exponential"]
FLOAT32 = ["sinabs_gaussian", "sinabs_multi_gaussian", "sinabs_heaviside", "norse_heavi_erfc", "snntorch_triangular"]  # in part
DOCUMENTED = ["leaky_spike_operator"]  # its library cannot run it


def measured(function, v=GRID):
    """``∂S/∂v`` by the library, in float64."""
    x = torch.tensor(v, dtype=torch.float64, requires_grad=True)
    function(x).sum().backward()
    return x.grad.numpy()


def snntorch(name, **arguments):
    return getattr(pytest.importorskip("snntorch.surrogate"), name.removeprefix("snntorch_"))(**arguments)


def norse(name, alpha):
    threshold = pytest.importorskip("norse.torch.functional.threshold").threshold
    return lambda x: threshold(x, name.removeprefix("norse_"), alpha)


def spikingjelly(name, **arguments):
    room = pytest.importorskip("spikingjelly.activation_based.surrogate")
    wanted = name.removeprefix("spikingjelly_").replace("_", "")
    return next(getattr(room, each) for each in dir(room) if each.lower() == wanted and each != wanted)(**arguments)


def sinabs(name, spike_threshold=1.0, **arguments):
    room = pytest.importorskip("sinabs.activation.surrogate_gradient_fn")
    spikes = pytest.importorskip("sinabs.activation").SingleSpike
    wanted = name.removeprefix("sinabs_").replace("_", "")
    function = next(getattr(room, each) for each in dir(room) if each.lower() == wanted)(**arguments)
    return lambda x: spikes.apply(x + spike_threshold, spike_threshold, function)


CASES = [  # every function at its defaults and elsewhere
    *(("atan", {"alpha": a}) for a in (2.0, 0.3, 40.0)),
    *(("sigmoid", {"slope": k}) for k in (25.0, 2.0)),
    *(("fast_sigmoid", {"slope": k}) for k in (25.0, 2.0)),
    ("straight_through_estimator", {}),
    ("snntorch_triangular", {"threshold": 1.0}),
    ("snntorch_triangular", {"threshold": 0.3}),
    ("spike_rate_escape", {"beta": 1.0, "slope": 25.0}),
    ("spike_rate_escape", {"beta": 3.0, "slope": 2.0}),
    ("SFS", {"slope": 25.0, "B": 1.0}),
    ("SFS", {"slope": 2.0, "B": -0.5}),
    *(("norse_" + name, {"alpha": a}) for name in ("super", "tanh", "triangle", "circ", "heavi_erfc") for a in (100.0, 0.3)),
    *(("spikingjelly_sigmoid", {"alpha": a}) for a in (4.0, 1.0)),
    *(("spikingjelly_atan", {"alpha": a}) for a in (2.0, 5.0)),
    *(
        ("spikingjelly_" + name, {"alpha": a})
        for name in ("piecewise_quadratic", "piecewise_exp", "soft_sign", "super_spike", "erf", "rect", "nonzero_sign_log_abs")
        for a in (1.0, 2.0, 0.3)
    ),
    *(("spikingjelly_piecewise_leaky_relu", {"w": 0.4, "c": c}) for c in (0.01, 0.0)),
    *(("spikingjelly_squarewave_fourier_series", {"n": n, "T_period": 8.0}) for n in (1, 2, 5)),
    ("spikingjelly_s2nn", {"alpha": 4.0, "beta": 1.0}),
    *(("spikingjelly_q_pseudo_spike", {"alpha": a}) for a in (2.0, 3.5)),
    ("spikingjelly_leaky_k_relu", {"leak": 0.2, "k": 1.5}),
    ("spikingjelly_fake_numerical_gradient", {"alpha": 0.3}),
    ("spikingjelly_log_tailed_relu", {"alpha": 0.1}),
    *(("sinabs_single_exponential", {"grad_width": 0.5, "grad_scale": 2.0, "spike_threshold": t}) for t in (1.0, 0.3)),
    *(("sinabs_periodic_exponential", {"grad_width": 0.5, "grad_scale": 2.0, "spike_threshold": t}) for t in (1.0, 0.3)),
    *(("sinabs_gaussian", {"mu": m, "sigma": 0.5, "grad_scale": 2.0}) for m in (0.0, 0.4)),
    ("sinabs_multi_gaussian", {"mu": 0.1, "sigma": 0.5, "h": 0.15, "s": 6.0, "grad_scale": 2.0}),
    *(("sinabs_heaviside", {"window": 0.7, "spike_threshold": t}) for t in (1.0, 0.3)),
]


def library_of(name):
    return next((globals()[library] for library, prefix in LIBRARIES.items() if name.startswith(prefix)), snntorch)


@pytest.mark.parametrize(("name", "arguments"), CASES, ids=str)
def test_a_surrogate_is_what_the_library_differentiates(name, arguments):
    want = measured(library_of(name)(name, **arguments))
    got = getattr(S, name)(**arguments)(GRID)
    usable = np.isfinite(want)  # snnTorch's sigmoid overflows to NaN
    assert usable.sum() > 600
    rtol, atol = (1e-6, 1e-7) if name in FLOAT32 else (1e-11, 1e-14)
    np.testing.assert_allclose(got[usable], want[usable], rtol=rtol, atol=atol * np.abs(got).max())


def test_every_surrogate_of_a_library_is_in_the_table():
    assert {name for name, _ in CASES} == {*NAMES} - {*SHAPES, *DOCUMENTED}


def test_a_wrong_surrogate_is_seen():
    """The published SuperSpike is not what Norse computes, nor a triangle what snnTorch does."""
    assert np.abs(S.fast_sigmoid(100)(GRID) - measured(norse("norse_super", 100.0))).max() > 0.4
    assert np.abs(S.triangular()(GRID) - measured(snntorch("triangular"))).max() > 0.9
    assert np.abs(S.atan(2.02)(GRID) - measured(snntorch("atan"))).max() > 1e-3


def test_defaults_are_those_of_the_libraries():
    for name in ("atan", "sigmoid", "fast_sigmoid", "spike_rate_escape", "SFS", "snntorch_triangular"):
        want = measured(snntorch(name))
        usable = np.isfinite(want)
        np.testing.assert_allclose(S.surrogate_of(name)(GRID)[usable], want[usable], rtol=1e-12)


@pytest.mark.parametrize("prefix", ["spikingjelly", "sinabs"])
def test_defaults_of_other_libraries(prefix):
    for name in (name for name in NAMES if name.startswith(prefix)):
        want = measured(library_of(name)(name))
        np.testing.assert_allclose(S.surrogate_of(name)(GRID), want, rtol=1e-6, atol=1e-7, err_msg=name)


def test_what_snntorch_cannot_run():
    """LSO fails in the library; its sigmoid overflows in float32, this one does not."""
    room = pytest.importorskip("snntorch.surrogate")
    with pytest.raises(TypeError):
        room.LSO()(torch.zeros(2, requires_grad=True))
    x = torch.tensor([-3.6], requires_grad=True)
    room.sigmoid()(x).sum().backward()
    assert math.isnan(x.grad.item())
    assert 0 < S.sigmoid()(np.float32(-3.5)) < 1e-36
    assert S.leaky_spike_operator(0.1)([-1.0, 1.0]).tolist() == [0.1, 1.0]


@pytest.mark.parametrize("name", NAMES)
def test_areas_peaks_and_widths(name):
    """Peak and area by evaluation; half the peak of the other families at the right multiple of the width."""
    psi = S.surrogate_of(name)
    if psi.family == "own":
        assert np.isnan([psi.peak, psi.width, psi.area]).all()
        return
    x = np.linspace(-1, 1, 200001) * 4000 * psi.width
    tails = {"fast_sigmoid": 2 / 4001, "atan": 2 / 4000}.get(psi.family, 0.0)
    area = np.trapezoid(psi(x), x) + tails * psi.peak * psi.width
    assert psi(0.0) == psi.peak
    assert area == pytest.approx(psi.area, rel=2e-3)  # 0.04 widths between points
    half = {"triangular": 0.5, "gaussian": math.sqrt(2 * math.log(2)), "exponential": math.log(2)}
    half |= {"fast_sigmoid": math.sqrt(2) - 1, "atan": 1.0, "sigmoid": 2 * math.acosh(math.sqrt(2))}
    if psi.family != "box":
        np.testing.assert_allclose(psi(half[psi.family] * psi.width * np.array([-1, 1])), psi.peak / 2, rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int64])
@pytest.mark.parametrize("family", ["box", "triangular", "gaussian", "exponential", "fast_sigmoid", "atan", "sigmoid"])
def test_no_overflow_and_the_dtype_is_kept(family, dtype):
    largest = np.finfo(dtype).max if np.issubdtype(dtype, np.floating) else np.iinfo(dtype).max
    psi = S.Surrogate(family, peak=1.0, width=1e-3)
    values = psi(np.array([-largest, -1, 0, 1, largest], dtype=dtype))
    assert values.dtype == (dtype if dtype != np.int64 else np.float64)
    assert np.isfinite(values).all()
    assert values[2] == 1
    assert float(values[0]) == float(values[-1]) < 1e-30


def test_widened_keeps_the_library_s_formula():
    for name, kept in [("atan", "area"), ("fast_sigmoid", "peak"), ("spikingjelly_rect", "area"), ("norse_tanh", "peak")]:
        psi = S.surrogate_of(name)
        wider = psi.widened(3 * psi.width)
        assert wider.width == pytest.approx(3 * psi.width, rel=1e-15)
        assert getattr(wider, kept) == pytest.approx(getattr(psi, kept), rel=1e-14)
        assert wider.formula.function is psi.formula.function
    assert dict(S.sinabs_single_exponential(spike_threshold=0.5).widened(0.1).formula.arguments)["grad_width"] == pytest.approx(
        0.2
    )
    assert S.box(0.5, area=1).widened(0.1).peak == pytest.approx(5)
    assert S.Surrogate("atan", peak=0.5, width=1).widened(2) == S.Surrogate("atan", peak=0.5, width=2)
    for fixed in ("norse_super", "spike_rate_escape"):
        with pytest.raises(DomainError, match="has no"):
            S.surrogate_of(fixed).widened(2.0)


def test_names_objects_and_functions():
    psi = S.atan(1.3)
    assert S.surrogate_of(psi) is psi
    assert S.surrogate_of("atan") == S.atan(2.0) != S.spikingjelly_atan(2.0)
    assert hash(S.atan()) == hash(S.atan(2.0))
    assert S.surrogate_of(lambda v: np.exp(-(v**2)))(np.float32(0.5)).dtype == np.float32
    assert repr(psi) == "atan(alpha=1.3)"
    assert repr(S.Surrogate("box", peak=2, width=0.25)) == "Surrogate('box', peak=2, width=0.25)"


def test_a_library_s_own_function_is_recognised():
    """Those of snnTorch, SpikingJelly and sinabs, by name and parameters; others fail as functions of numpy arrays."""
    assert S.surrogate_of(snntorch("fast_sigmoid", slope=7)) == S.fast_sigmoid(7)
    assert S.surrogate_of(snntorch("snntorch_triangular", threshold=0.3)) == S.snntorch_triangular(0.3)
    assert S.surrogate_of(snntorch("heaviside")) == S.leaky_spike_operator(0)
    for name, arguments in [("SSO", {}), ("custom_surrogate", {"custom_surrogate_function": np.ones_like})]:
        with pytest.raises(DomainError, match=r"give one of vf\.surrogates, or a function of numpy arrays"):
            S.surrogate_of(snntorch(name, **arguments))
    assert S.surrogate_of(spikingjelly("spikingjelly_soft_sign", alpha=3.0)) == S.spikingjelly_soft_sign(3)
    function = pytest.importorskip("sinabs.activation.surrogate_gradient_fn").MultiGaussian(sigma=0.4)
    assert S.surrogate_of(function) == S.sinabs_multi_gaussian(sigma=0.4)


WRONG = [
    (lambda: S.surrogate_of("arctan"), "surrogate='arctan' must be a name such as 'atan'"),
    (lambda: S.surrogate_of("SSO"), "draws random numbers"),
    (lambda: S.surrogate_of("LSO"), "cannot run in snnTorch"),
    (lambda: S.surrogate_of(2.0), "must be a name such as"),
    (lambda: S.surrogate_of(lambda v: np.where(v < -3, np.nan, 1.0)), "returns nan at H - θ = -10"),
    (lambda: S.surrogate_of(lambda v: 1 / v), "returns inf at H - θ = 0"),
    (lambda: S.surrogate_of(lambda v: 1.0), "must return the shape of its argument"),
    (lambda: S.surrogate_of(lambda v: ["a"] * len(v)), "must be a real number"),
    (lambda: S.own(3), "function=3 must be a function"),
    (lambda: S.own(np.ones_like, kinks=["a"]), "kinks=['a'] must be a real number"),
    (lambda: S.own(lambda v: 1 / int(v)), "fails for an array of potentials, TypeError: "),
    (lambda: S.box(0), "width=0.0 must be positive"),
    (lambda: S.box(-1), "width=-1.0"),
    (lambda: S.box(1, peak=1, area=1), "cannot be combined with peak"),
    (lambda: S.box(1, peak=0), "peak=0.0"),
    (lambda: S.Surrogate("atan", width=0), "width=0.0"),
    (lambda: S.Surrogate("atan", peak=float("nan")), "peak=nan must be finite"),
    (lambda: S.Surrogate("arctan"), "family='arctan' is unknown"),
    (lambda: S.Surrogate("own"), "function=None is missing"),
    (lambda: S.Surrogate("box", function=np.ones_like), "applies to the family 'own' only"),
    (lambda: S.atan(0), "alpha=0.0 must be positive"),
    (lambda: S.atan().widened(0), "width=0.0 must be positive"),
    (lambda: S.spikingjelly_q_pseudo_spike(1), "must be greater than 1"),
    (lambda: S.atan()("a"), "v='a' must be a real number"),
]


@pytest.mark.parametrize(("call", "message"), WRONG, ids=[message for _, message in WRONG])
def test_bad_input(call, message):
    with pytest.raises(DomainError) as caught:
        call()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "psi",
    [
        *(getattr(S, name)() for name in NAMES),
        S.atan(alpha=1 / 3),
        S.box(0.25, area=1),
        S.Surrogate("box", peak=0.3, width=1.7),
    ],
    ids=repr,
)
def test_text_that_a_surrogate_prints_as_is_that_surrogate(psi):
    """With the six digits that are printed."""
    read = S.surrogate_of(repr(psi))
    assert repr(read) == repr(psi)
    v = np.linspace(-2, 2, 81)
    assert read(v) == pytest.approx(psi(v), rel=1e-4, abs=1e-12)


@pytest.mark.parametrize(
    "text", ["atan(alpha=-1)", "atan(beta=1)", "atan(2", "nothing(1)", "atan(alpha=print)", "__import__('os')", "own(f)"]
)
def test_other_text_is_no_surrogate(text):
    with pytest.raises(vf.DomainError):
        S.surrogate_of(text)
