"""``lookup`` against values worked out here by other means, published numbers, and real torch layers."""

import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest
from scipy import optimize, stats

import varflow as vf

DISTRIBUTIONS = {
    "normal": stats.norm(),
    "uniform": stats.uniform(-math.sqrt(3), 2 * math.sqrt(3)),
    "laplace": stats.laplace(scale=math.sqrt(0.5)),
    "logistic": stats.logistic(scale=math.sqrt(3) / math.pi),
}


def critical(distribution, theta):
    """Critical gain: the smallest g for which V = g² S(θ/√V) has a solution, by brute minimisation over z."""
    found = optimize.minimize_scalar(
        lambda z: -(z**2) * distribution.sf(z), bounds=(0.3, 1.7), method="bounded", options={"xatol": 1e-10}
    )
    return theta / math.sqrt(-found.fun)


def survival(*, theta, g, width, depth, start=1.0):
    """The chain as a dense matrix, from the definition."""
    spikes = np.arange(width + 1)
    with np.errstate(divide="ignore"):
        fires = stats.norm.sf(theta / (g * np.sqrt(spikes / width)))
    matrix = stats.binom.pmf(spikes[None, :], width, fires[:, None])
    mass = stats.binom.pmf(spikes, width, stats.norm.sf(theta / start))
    return 1 - (mass @ np.linalg.matrix_power(matrix, depth - 1))[0]


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@pytest.mark.parametrize("theta", [0.1, 0.5, 1.0, 1.3])
def test_the_fields_at_variance_one(name, theta):
    distribution, found = DISTRIBUTIONS[name], vf.lookup(threshold=theta, fan_in=200, distribution=name)
    p = distribution.sf(theta)
    m = theta * distribution.pdf(theta) / (2 * p)
    assert found.gain == pytest.approx(p**-0.5, rel=1e-12)
    assert found.weight_std == pytest.approx((200 * p) ** -0.5, rel=1e-12)
    assert found.weight_variance == pytest.approx(1 / (200 * p), rel=1e-12)
    assert found.firing_rate == pytest.approx(p, rel=1e-12)
    assert found.variance == 1.0
    assert found.multiplier == pytest.approx(m, rel=1e-12)
    assert found.stable == (m < 1)
    assert found.depth_scale == pytest.approx(-1 / math.log(m), rel=1e-10)
    assert found.critical_gain == pytest.approx(critical(distribution, theta), rel=1e-9)
    assert found.margin == pytest.approx(p**-0.5 / critical(distribution, theta) - 1, abs=1e-9)
    assert (found.threshold, found.fan_in, found.distribution) == (theta, 200, name)
    assert (found.survival, found.corrected_gain, found.corrected_survival, found.width, found.depth) == (None,) * 5
    assert found.input_gain is None


@pytest.mark.parametrize(
    ("width", "squared", "alive", "variance"),
    [(100, 8.16387, 0.0171, 1.921), (300, 6.83731, 0.358, 1.302), (600, 6.49539, 0.812, 1.118)],
)
def test_the_corrected_gain_of_a_hundred_layers(width, squared, alive, variance):
    found = vf.lookup(threshold=1.0, fan_in=width, depth=100)
    assert found.survival == pytest.approx(alive, abs=5.1e-4 if width > 100 else 5.1e-5)
    assert found.corrected_gain**2 == pytest.approx(squared, abs=5.1e-6)
    assert found.corrected_survival == pytest.approx(0.99, abs=1e-9)
    assert found.corrected_survival >= 0.99
    assert any(f"V = {variance:g}" in words for words in found.warnings)
    assert (found.width, found.depth) == (width, 100)


@pytest.mark.parametrize("target", [0.5, 0.9, 0.999])
def test_survival_and_its_target_by_the_definition(target):
    found = vf.lookup(threshold=0.8, fan_in=7, width=40, depth=30, survival_target=target)
    assert found.fan_in == 7
    assert found.weight_std == pytest.approx(found.gain / math.sqrt(7), rel=1e-14)
    assert found.survival == pytest.approx(survival(theta=0.8, g=found.gain, width=40, depth=30), rel=1e-9)
    assert survival(theta=0.8, g=found.corrected_gain, width=40, depth=30) == pytest.approx(target, abs=1e-9)
    assert survival(theta=0.8, g=found.corrected_gain * 0.999, width=40, depth=30) < target


def test_a_correction_downwards_says_that_nothing_needs_correcting():
    """Where the paper's gain does more than is asked, the smallest sufficient gain is smaller."""
    found = vf.lookup(threshold=0.5, fan_in=400, depth=100)
    assert found.survival > 0.99
    assert found.corrected_gain < found.gain
    assert not any("finite width" in words for words in found.warnings)
    V = vf.stable_variance(threshold=0.5, gain=found.corrected_gain)
    assert V < 0.5
    assert "the preserving gain already keeps 99 % of networks of width 400 alive at layer 100" in found.warnings[-1]
    assert f"is lower and would lower the variance from 1 to {V:.4g}" in found.warnings[-1]
    assert "already keeps" not in warnings(threshold=1.0, depth=100)
    rated = vf.lookup(threshold=0.5, fan_in=400, depth=100, rate=0.4)
    assert "this gain already keeps" in rated.warnings[-1]
    assert f"from {rated.variance:.4g} to" in rated.warnings[-1]


def test_another_distribution_names_what_is_of_normal_potentials():
    found = vf.lookup(threshold=1.0, distribution="laplace", fan_in=128, depth=20)
    assert found.survival == pytest.approx(survival(theta=1.0, g=found.gain, width=128, depth=20), rel=1e-9)
    assert found.critical_gain == pytest.approx(math.e, rel=1e-12)  # Laplace's
    words = next(words for words in found.warnings if "normal again" in words)
    assert "survival and the corrected gain are for normal potentials" in words
    assert "critical gain and margin for laplace ones" in words
    for name in ("survival", "corrected_gain", "corrected_survival"):
        assert re.search(rf"^  {name} .*  \(normal potentials\)$", repr(found), re.M)
    assert re.search(r"^  critical_gain +2\.71828$", repr(found), re.M)
    assert "for normal potentials" not in warnings(threshold=1.0, distribution="laplace")
    assert "normal potentials" not in repr(vf.lookup(threshold=1.0, fan_in=128, depth=20))


def test_depth_one_is_the_driven_layer():
    found = vf.lookup(threshold=1.0, fan_in=20, depth=1)
    assert found.survival == pytest.approx(1 - stats.norm.cdf(1.0) ** 20, rel=1e-12)
    assert found.corrected_gain is None  # no weights before layer 1
    assert not any("finite width" in words for words in found.warnings)


# Warnings in words.


def warnings(**options):
    return " | ".join(vf.lookup(**{"fan_in": 500} | options).warnings)


def test_instability_is_said_where_it_begins():
    edge = 1.190601248342770
    assert "unstable" not in warnings(threshold=edge - 1e-6)
    assert "unstable" in warnings(threshold=edge + 1e-6)
    words = warnings(threshold=1.5)
    assert "multiplier 1.45" in words
    assert "V = 2.712" in words  # theory: the stable neighbour at θ = 1.5
    assert "above 1.1906 standard deviations" in words
    assert "above 1.1547 standard deviations" in warnings(threshold=1.5, distribution="uniform")


def test_a_narrow_margin_is_said():
    margins = {theta: vf.lookup(threshold=theta, fan_in=9).margin for theta in (0.7, 0.8, 0.85, 0.9, 1.0)}
    for theta, margin in margins.items():
        assert ("close to the edge" in warnings(threshold=theta)) == (margin < 0.1)
    assert min(margins.values()) < 0.1 < max(margins.values())
    assert "2.2 % above the critical gain" in warnings(threshold=1.0)
    assert "give width and depth" in warnings(threshold=1.0)
    assert "give width and depth" not in warnings(threshold=1.0, depth=10)


def test_finite_width_is_said():
    words = warnings(threshold=1.0, fan_in=100, depth=100)
    assert "1.71 % of networks of width 100 are alive at layer 100" in words
    assert "V = 1.921" in words
    assert "finite width" not in warnings(threshold=0.5, depth=100)


def test_another_distribution_is_said_to_vanish():
    assert "normal again" in warnings(threshold=0.5, distribution="laplace")
    assert warnings(threshold=0.5) == ""


def test_a_target_out_of_reach_says_so():
    """At width 3 even an infinite gain, the chain of θ = 0, loses nearly all networks."""
    found = vf.lookup(threshold=1.0, fan_in=3, depth=100)
    supremum = survival(theta=1.0, g=1e9, width=3, depth=100)
    assert found.corrected_gain is None
    assert found.corrected_survival is None
    assert "99 % is not attainable at width 3, depth 100" in found.warnings[-1]
    assert f"the highest survival at any gain is {supremum:.4g}" in found.warnings[-1]


# Thresholds that are not positive.


def test_threshold_zero_is_kaiming():
    found = vf.lookup(threshold=0.0, fan_in=50)
    assert found.gain == pytest.approx(math.sqrt(2), rel=1e-15)
    assert (found.critical_gain, found.margin, found.multiplier, found.stable) == (0.0, None, 0.0, True)
    narrow = vf.lookup(threshold=0.0, fan_in=5, depth=100)
    assert narrow.survival == pytest.approx((1 - 2**-5) ** 100, rel=1e-12)
    assert "the gain has no effect" in narrow.warnings[-1]
    assert narrow.corrected_gain is None


def test_negative_thresholds_have_no_critical_gain():
    found = vf.lookup(threshold=-0.5, fan_in=50, depth=20)
    assert found.gain == pytest.approx(stats.norm.cdf(0.5) ** -0.5, rel=1e-12)
    assert (found.critical_gain, found.margin, found.corrected_gain) == (0.0, None, None)
    assert found.multiplier < 0
    assert found.stable
    assert found.survival == pytest.approx(1.0, abs=1e-9)


# A wanted rate, a neuron, its input scale.


@pytest.mark.parametrize(("theta", "p"), [(1.0, 0.2), (3.0, 0.2), (0.01, 0.45), (0.5, 0.15)])
def test_a_wanted_rate(theta, p):
    found = vf.lookup(threshold=theta, fan_in=80, rate=p, depth=20)
    z = stats.norm.isf(p)
    assert found.gain == pytest.approx(theta / (z * math.sqrt(p)), rel=1e-9)
    assert found.variance == pytest.approx((theta / z) ** 2, rel=1e-9)
    assert found.firing_rate == pytest.approx(p, rel=1e-9)
    assert found.multiplier == pytest.approx(z * stats.norm.pdf(z) / (2 * p), rel=1e-9)
    assert found.input_gain == pytest.approx(theta / z, rel=1e-9)
    start = theta / z  # driven at the fixed point, not at variance 1
    assert found.survival == pytest.approx(survival(theta=theta, g=found.gain, width=80, depth=20, start=start), rel=1e-8)
    if found.corrected_gain is not None:
        corrected = survival(theta=theta, g=found.corrected_gain, width=80, depth=20, start=start)
        assert corrected == pytest.approx(0.99, abs=1e-8)


def test_an_input_scale_divides_the_gains():
    plain = vf.lookup(threshold=1.0, fan_in=50, depth=30)
    neuron = vf.Neuron(1.0, input_scale=0.25)
    scaled = vf.lookup(fan_in=50, depth=30, neuron=neuron)
    for name in ("gain", "weight_std", "critical_gain", "corrected_gain"):
        assert getattr(scaled, name) == pytest.approx(4 * getattr(plain, name), rel=1e-12), name
    for name in ("firing_rate", "variance", "multiplier", "margin", "survival", "corrected_survival"):
        assert getattr(scaled, name) == pytest.approx(getattr(plain, name), rel=1e-12), name
    assert scaled.input_gain == 4.0
    drive = vf.drives.currents(scaled.input_gain)
    network = vf.Network(width=50, depth=30, gain=scaled.gain, neuron=neuron, drive=drive)
    assert vf.finite_width(network).survival[-1] == pytest.approx(scaled.survival, rel=1e-9)
    assert vf.mean_field(network).variance == pytest.approx(np.ones(30), rel=1e-9)


def test_the_threshold_is_the_neurons():
    neuron = vf.Neuron(0.7)
    assert vf.lookup(neuron=neuron, fan_in=9).to_dict() == vf.lookup(threshold=0.7, fan_in=9).to_dict()
    assert vf.lookup(neuron=neuron, threshold=0.7, fan_in=9).threshold == 0.7


# Fan-in, counted by the layer itself.


def counted(torch, layer, size):
    """All-ones weights and inputs: an interior output is the number of inputs it sums."""
    with torch.no_grad():
        layer.weight.fill_(1.0)
        if layer.bias is not None:
            layer.bias.zero_()
        out = layer(torch.ones(size))[0]
    inner = tuple(slice(extent // 3, extent // 3 + 6) for extent in out.shape[1:])  # six: a multiple of every stride here
    return out[(0, *inner)].mean().item() if inner else out[0].item()


LAYERS = [
    ("Linear", (30, 7), {}, (1, 30)),
    ("Conv1d", (4, 6, 5), {}, (1, 4, 40)),
    ("Conv2d", (4, 6, 3), {}, (1, 4, 24, 24)),
    ("Conv2d", (4, 6, (3, 5)), {"stride": (2, 1), "padding": 1, "dilation": 2}, (1, 4, 48, 48)),
    ("Conv2d", (4, 8, 3), {"groups": 4}, (1, 4, 24, 24)),
    ("Conv2d", (6, 9, 3), {"groups": 3, "bias": False}, (1, 6, 24, 24)),
    ("Conv3d", (2, 3, 3), {}, (1, 2, 20, 20, 20)),
    ("ConvTranspose1d", (4, 6, 5), {}, (1, 4, 40)),
    ("ConvTranspose1d", (4, 6, 6), {"stride": 2}, (1, 4, 40)),
    ("ConvTranspose2d", (4, 6, 4), {"stride": 2}, (1, 4, 24, 24)),
    ("ConvTranspose2d", (4, 6, 3), {"stride": 2}, (1, 4, 24, 24)),  # 2.25 taps on average
    ("ConvTranspose2d", (6, 4, 3), {"groups": 2, "dilation": 2}, (1, 6, 24, 24)),
    ("ConvTranspose3d", (2, 3, 3), {}, (1, 2, 14, 14, 14)),
]


@pytest.mark.parametrize(("kind", "sizes", "options", "size"), LAYERS)
def test_the_fan_in_of_a_torch_layer(kind, sizes, options, size):
    torch = pytest.importorskip("torch")
    layer = getattr(torch.nn, kind)(*sizes, **options)
    assert vf.lookup(threshold=1.0, layer=layer).fan_in == round(counted(torch, layer, size))


def test_the_count_sees_a_wrong_fan_in():
    torch = pytest.importorskip("torch")
    layer = torch.nn.Conv2d(4, 8, 3, groups=4)
    assert round(counted(torch, layer, (1, 4, 24, 24))) not in (4 * 9, 8 * 9)


def test_a_bilinear_layer_sums_products():
    torch = pytest.importorskip("torch")
    layer = torch.nn.Bilinear(3, 5, 2, bias=False)
    torch.nn.init.ones_(layer.weight)
    assert vf.lookup(threshold=1.0, layer=layer).fan_in == layer(torch.ones(1, 3), torch.ones(1, 5))[0, 0].item()


def test_a_lazy_layer_is_known_after_its_first_batch():
    torch = pytest.importorskip("torch")
    layer = torch.nn.LazyLinear(3)
    with pytest.raises(vf.DomainError, match="run one batch through it first"):
        vf.lookup(threshold=1.0, layer=layer)
    layer(torch.ones(2, 11))
    assert vf.lookup(threshold=1.0, layer=layer).fan_in == 11


@pytest.mark.parametrize("shape", [(8, 4, 3, 3), [8, 4, 3, 3], np.array([8, 4, 3, 3]), (8.0, 36.0)])
def test_the_fan_in_of_a_shape(shape):
    assert vf.lookup(threshold=1.0, layer=shape).fan_in == 36


# The record.


@pytest.mark.parametrize(
    "options", [{}, {"depth": 100}, {"threshold": 0.0, "depth": 3}, {"rate": 0.3}, {"distribution": "uniform"}]
)
def test_to_dict_is_json_and_complete(options):
    found = vf.lookup(**{"threshold": 1.0, "fan_in": 100} | options)
    read = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert set(read) == {*type(found).__dataclass_fields__, "operations"}
    assert read["gain"] == found.gain
    assert read["warnings"] == list(found.warnings)


def test_an_infinite_depth_scale_becomes_none():
    at_the_edge = vf.lookup(threshold=0.5, fan_in=9)
    record = replace(at_the_edge, depth_scale=math.inf)
    assert record.to_dict()["depth_scale"] is None


def test_the_repr_shows_what_is_known():
    text = repr(vf.lookup(threshold=1.0, fan_in=100, depth=100))
    assert re.search(r"gain +2\.51057", text)
    assert re.search(r"corrected_gain +2\.857", text)
    assert "! close to the edge" in text
    assert "corrected_gain" not in repr(vf.lookup(threshold=1.0, fan_in=100))


def test_the_record_is_frozen():
    with pytest.raises(AttributeError):
        vf.lookup(threshold=1.0, fan_in=9).gain = 3.0
