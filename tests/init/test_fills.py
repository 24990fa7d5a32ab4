"""The fills of ``vf.init``: distributions of their draws, the fan they take, habits of torch they keep, what they refuse."""

import math
import subprocess
import sys
from functools import cache

import numpy as np
import pytest
from scipy import optimize, stats
from wording import NO_GENERATOR, NO_SHAPE, NO_TENSOR, NOT_SUMMED

import varflow as vf

torch = pytest.importorskip("torch")
nn = torch.nn

G = 1.7
SHAPE = (256, 400)  # not square: a wrong fan is seen
FALSE_ALARM = 1e-3
THETA = 0.396086085979  # whose preserving gain is G: Q(θ) = 1/G²
HALF = (torch.float16, torch.bfloat16)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def drawn(fill, *args, shape=SHAPE, dtype=torch.float32, seed=0, **options):
    return fill(torch.empty(shape, dtype=dtype), *args, generator=seeded(seed), **options).double().numpy()


def truncated(cut):
    """The standardised distribution of a truncated normal weight, by scipy."""
    plain = stats.truncnorm(-cut, cut)
    return stats.truncnorm(-cut, cut, scale=1 / plain.std())


@cache
def corrected_threshold(weights):
    """At which the corrected gain of these weights is G, for 2 layers of 4, 74 % of the networks alive: above the paper's."""
    off = lambda t: vf.corrected_gain(threshold=t, width=4, depth=2, survival_target=0.74, weights=weights) - G  # noqa: E731
    return optimize.brentq(off, 0.05, 0.35, xtol=1e-4)


UNIFORM = stats.uniform(-math.sqrt(3), 2 * math.sqrt(3))
DISTRIBUTIONS = {
    "normal_": (vf.init.normal_, {}, stats.norm()),
    "uniform_": (vf.init.uniform_, {}, UNIFORM),
    "truncated_normal_": (vf.init.truncated_normal_, {}, truncated(2.0)),
    "truncated_normal_ at 0.7": (vf.init.truncated_normal_, {"cut": 0.7}, truncated(0.7)),
    "micheli_normal_": (
        lambda w, g, **o: vf.init.micheli_normal_(w, THETA * (g / G) ** 8, **o),
        {},
        stats.norm(),
    ),
    "micheli_uniform_": (lambda w, g, **o: vf.init.micheli_uniform_(w, THETA * (g / G) ** 8, **o), {}, UNIFORM),
    "corrected_normal_": (
        lambda w, g, **o: vf.init.corrected_normal_(
            w, corrected_threshold("normal") * g / G, depth=2, width=4, survival_target=0.74, **o
        ),
        {},
        stats.norm(),
    ),
    "corrected_uniform_": (
        lambda w, g, **o: vf.init.corrected_uniform_(
            w, corrected_threshold("uniform") * g / G, depth=2, width=4, survival_target=0.74, **o
        ),
        {},
        UNIFORM,
    ),
}
DISCRETE = {"sign_", "orthogonal_"}  # have distributions of their own, tested below


def test_every_public_fill_has_its_distribution_tested():
    """A fill without a test of its distribution is seen here; ``init_layer_`` and ``lsuv_`` fill by these."""
    public = {name for name in vf.init.__all__ if name.endswith("_")} - {"init_layer_", "lsuv_", "quantise_"}
    assert public == {name.split()[0] for name in DISTRIBUTIONS} | DISCRETE
    assert len(FILLS) == len(NAMES) == len(public)


# Distributions: moments within their standard errors, Kolmogorov–Smirnov, and controls a few percent off that must be rejected.


def moments_stand(w, gain, distribution, mean_gain=0.0):
    """Whether mean and variance are those of the distribution, each at the false-alarm rate."""
    n, N = w.shape[1], w.size
    std = gain / math.sqrt(n)
    kurtosis = float(distribution.stats("k")) + 3
    z_mean = (w.mean() - mean_gain / n) / (std * distribution.std() / math.sqrt(N))
    z_variance = (w.var() / (std * distribution.std()) ** 2 - 1) / math.sqrt((kurtosis - 1) / N)
    return max(abs(z_mean), abs(z_variance)) < stats.norm.isf(FALSE_ALARM / 4)


def distribution_stands(w, gain, distribution):
    return stats.kstest((w * math.sqrt(w.shape[1]) / gain).ravel(), distribution.cdf).pvalue > FALSE_ALARM


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_a_fill_has_its_distribution(name):
    fill, options, distribution = DISTRIBUTIONS[name]
    w = drawn(fill, G, **options)
    assert moments_stand(w, G, distribution)
    assert distribution_stands(w, G, distribution)


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_a_distribution_a_little_off_is_rejected(name):
    fill, options, distribution = DISTRIBUTIONS[name]
    assert not moments_stand(drawn(fill, G * 1.05, **options), G, distribution)
    assert not distribution_stands(drawn(fill, G * 1.05, **options), G, distribution)
    other = UNIFORM if distribution is not UNIFORM else stats.norm()
    assert not distribution_stands(drawn(fill, G, **options), G, other)


@pytest.mark.parametrize("fill", [vf.init.normal_, vf.init.uniform_])
def test_a_mean_gain_is_the_mean_of_the_row_sums(fill):
    w = drawn(fill, G, mean_gain=0.8)
    distribution = DISTRIBUTIONS[fill.__name__][2]
    assert moments_stand(w, G, distribution, mean_gain=0.8)
    assert not moments_stand(w, G, distribution)


def test_truncation_is_made_good_and_torchs_is_not():
    weight = nn.init.trunc_normal_(torch.empty(SHAPE), std=1.0, a=-2.0, b=2.0, generator=seeded()).double().numpy()
    assert not moments_stand(weight, math.sqrt(SHAPE[1]), truncated(2.0))
    assert weight.std() == pytest.approx(0.8796, abs=0.01)
    for cut in (0.01, 0.09, 0.11, 0.5, 2.0, 6.0):
        assert vf.init.fills.truncated_std(cut) == pytest.approx(stats.truncnorm(-cut, cut).std(), rel=1e-7)


def test_signs_are_fair_independent_and_exact():
    w = drawn(vf.init.sign_, G, dtype=torch.float64)
    assert set(np.unique(w)) == {-G / 20, G / 20}
    ups = int((w > 0).sum())
    assert stats.binomtest(ups, w.size).pvalue > FALSE_ALARM
    assert stats.binomtest(ups + w.size // 50, w.size).pvalue < FALSE_ALARM
    together = int((w[1:] == w[:-1]).sum())
    assert stats.binomtest(together, w[1:].size).pvalue > FALSE_ALARM


@pytest.mark.parametrize("shape", [(30, 50), (50, 30), (40, 40), (6, 5, 3, 3)])
def test_orthogonal_matrices(shape):
    w = drawn(vf.init.orthogonal_, G, shape=shape, dtype=torch.float64)
    matrix = w.reshape(shape[0], -1)
    rows, n = matrix.shape
    gram = matrix @ matrix.T if rows <= n else matrix.T @ matrix
    assert gram == pytest.approx(G**2 * max(rows, n) / n * np.eye(min(rows, n)), abs=1e-12)
    assert (matrix**2).mean() == pytest.approx(G**2 / n, rel=1e-12)


def test_orthogonal_matrices_are_uniform_in_distribution():
    """An entry of a Haar matrix of size m: its square is Beta(1/2, (m-1)/2); unsigned QR favours one sign and fails."""
    corners = np.array([drawn(vf.init.orthogonal_, 1.0, shape=(3, 3), dtype=torch.float64, seed=s)[0, 0] for s in range(600)])
    haar = lambda x: 0.5 * (1 + x)  # noqa: E731  of size 3: uniform on the sphere, so uniform on an axis
    assert stats.kstest(corners, haar).pvalue > FALSE_ALARM
    raw = [float(torch.linalg.qr(torch.randn(3, 3, generator=seeded(s)))[0][0, 0]) for s in range(600)]
    assert stats.kstest(raw, haar).pvalue < FALSE_ALARM


# Against torch: the same draws, seed for seed.


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (lambda w, g: vf.init.normal_(w, math.sqrt(2), generator=g), lambda w, g: nn.init.kaiming_normal_(w, generator=g)),
        (lambda w, g: vf.init.uniform_(w, math.sqrt(2), generator=g), lambda w, g: nn.init.kaiming_uniform_(w, generator=g)),
        (
            lambda w, g: vf.init.uniform_(w, 3**-0.5, generator=g),
            lambda w, g: nn.init.kaiming_uniform_(w, a=math.sqrt(5), generator=g),
        ),
        (
            lambda w, g: vf.init.normal_(w, G, fan=(SHAPE[0] + SHAPE[1]) / 2, generator=g),
            lambda w, g: nn.init.xavier_normal_(w, gain=G, generator=g),
        ),
        (
            lambda w, g: vf.init.normal_(w, nn.init.calculate_gain("relu"), fan=SHAPE[0], generator=g),
            lambda w, g: nn.init.kaiming_normal_(w, mode="fan_out", generator=g),
        ),
        (lambda w, g: vf.init.orthogonal_(w, G, generator=g), lambda w, g: nn.init.orthogonal_(w, gain=G, generator=g)),
    ],
    ids=["kaiming normal", "kaiming uniform", "default", "xavier", "fan out", "orthogonal"],
)
def test_torchs_own_initialisers_are_met_draw_by_draw(ours, theirs):
    a, b = ours(torch.empty(SHAPE), seeded(3)), theirs(torch.empty(SHAPE), seeded(3))
    assert float((a - b).abs().max()) < 1e-6 * float(b.abs().max())
    wrong = ours(torch.empty(SHAPE), seeded(3)) * (1 + 1e-5)
    assert float((wrong - b).abs().max()) > 1e-6 * float(b.abs().max())


# Against the distributions of torch's layers and initialisers: a gain over the root of a fan is their standard deviation.

TORCHS = [
    ("xavier_normal_", nn.init.xavier_normal_, "normal", lambda n, m: vf.init.published.xavier_gain(n, m)),
    ("xavier_uniform_", nn.init.xavier_uniform_, "uniform", lambda n, m: vf.init.published.xavier_gain(n, m)),
    ("kaiming_normal_", nn.init.kaiming_normal_, "normal", lambda n, m: vf.init.published.kaiming_gain()),
    ("kaiming_uniform_", nn.init.kaiming_uniform_, "uniform", lambda n, m: vf.init.published.kaiming_gain()),
    (
        "leaky",
        lambda w: nn.init.kaiming_normal_(w, a=0.3, nonlinearity="leaky_relu"),
        "normal",
        lambda n, m: vf.init.published.kaiming_gain(slope=0.3),
    ),
    (
        "lecun",
        lambda w: nn.init.kaiming_normal_(w, nonlinearity="linear"),
        "normal",
        lambda n, m: vf.init.published.lecun_gain(),
    ),
    (
        "spikingjelly",
        lambda w: nn.init.kaiming_normal_(w, a=math.sqrt(5)),
        "normal",
        lambda n, m: vf.init.published.torch_gain(),
    ),
]


def standardised(kind, shape):
    """The draws of mean 0 and standard deviation 1 that torch scales."""
    empty = torch.empty(shape)
    return (empty.normal_() if kind == "normal" else empty.uniform_(-math.sqrt(3), math.sqrt(3))).double()


@pytest.mark.parametrize("shape", [(30, 50), (50, 30), (6, 5, 3), (8, 4, 3, 2)], ids=str)
@pytest.mark.parametrize(("fill", "kind", "gain"), [row[1:] for row in TORCHS], ids=[row[0] for row in TORCHS])
def test_gains_are_the_standard_deviations_of_torchs_distributions(fill, kind, gain, shape):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        theirs = fill(torch.empty(shape)).double()
        torch.manual_seed(5)
        unit = standardised(kind, shape)
    n, m = vf.init.fan_in(shape), vf.init.fan_out(shape)
    largest = int(unit.abs().argmax())  # where rounding is least
    std = float(theirs.flatten()[largest] / unit.flatten()[largest])
    assert gain(n, m) / math.sqrt(n) == pytest.approx(std, rel=1e-6)
    assert torch.allclose(theirs, unit * std, rtol=0, atol=1e-6 * std)  # all of them: the distribution is that one


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.Linear(50, 30),
        lambda: nn.Conv1d(5, 6, 3),
        lambda: nn.Conv2d(8, 6, (3, 2), groups=2),
        lambda: nn.Bilinear(5, 7, 6),
    ],
    ids=["Linear", "Conv1d", "Conv2d, grouped", "Bilinear"],
)
def test_torchs_default_is_its_gain_in_every_kind_of_layer(make):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        layer = make()
        torch.manual_seed(5)
        unit = standardised("uniform", layer.weight.shape)
        unit_bias = standardised("uniform", layer.bias.shape)
    n = vf.init.fan_in(layer) if not isinstance(layer, nn.Bilinear) else layer.in1_features  # torch's fan of a bilinear layer
    for values, drawn, std in (
        (layer.weight, unit, vf.init.published.torch_gain() / math.sqrt(n)),
        (layer.bias, unit_bias, vf.init.published.torch_bias_std(n)),
    ):
        assert torch.allclose(values.detach().double(), drawn * std, rtol=0, atol=2e-6 * std)
        assert not torch.allclose(values.detach().double(), drawn * std * (1 + 1e-5), rtol=0, atol=2e-6 * std)


# Habits: in place, no gradient, any strides, half precision, meta, nothing to fill.

FILLS = [
    vf.init.normal_,
    vf.init.uniform_,
    vf.init.truncated_normal_,
    vf.init.sign_,
    vf.init.orthogonal_,
    vf.init.micheli_normal_,
    vf.init.micheli_uniform_,
    lambda w, **o: vf.init.corrected_normal_(w, 0.5, depth=3, width=20, **o),
    lambda w, **o: vf.init.corrected_uniform_(w, 0.5, depth=2, width=4, survival_target=0.5, **o),
]
NAMES = ["normal", "uniform", "truncated", "sign", "orthogonal", "micheli", "micheli_uniform", "corrected", "corrected_uniform"]


@pytest.mark.parametrize("fill", FILLS, ids=NAMES)
def test_a_parameter_is_filled_in_place_without_a_gradient(fill):
    weight = nn.Parameter(torch.zeros(6, 40))
    memory = weight.data_ptr()
    assert fill(weight) is weight
    assert weight.data_ptr() == memory
    assert weight.requires_grad
    assert weight.grad_fn is None
    assert bool((weight.detach() != 0).all())


@pytest.mark.parametrize("fill", FILLS, ids=NAMES)
def test_the_generator_decides_and_the_global_one_is_left_alone(fill):
    before = torch.get_rng_state()
    a, b, c = (fill(torch.empty(5, 40), generator=seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("fill", FILLS, ids=NAMES)
def test_a_tensor_that_is_not_contiguous_gets_what_a_contiguous_one_gets(fill):
    base = torch.zeros(40, 6)
    filled = fill(base.T, generator=seeded())
    assert not filled.is_contiguous()
    assert bool((base != 0).all())
    strided = torch.zeros(6, 80)
    fill(strided[:, ::2], generator=seeded())
    assert bool((strided[:, 1::2] == 0).all())
    assert sorted(strided[:, ::2].flatten().tolist()) == pytest.approx(sorted(filled.flatten().tolist()), rel=1e-6)


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("fill", FILLS, ids=NAMES)
def test_half_precision_is_single_precision_rounded(fill, dtype):
    half, single = fill(torch.empty(6, 40, dtype=dtype), generator=seeded()), fill(torch.empty(6, 40), generator=seeded())
    assert half.dtype is dtype
    assert torch.equal(half, single.to(dtype))


def test_uniform_weights_in_bfloat16_have_mean_zero_and_torchs_own_do_not():
    """Torch draws on a grid of 2⁻⁸: its mean is off by ``-b/512`` (a mean gain of ``-√(3n) g/512``)."""
    shape, b = (2000, 500), G * math.sqrt(3 / 500)
    stderr = b / math.sqrt(3 * 10**6)
    ours = drawn(vf.init.uniform_, G, shape=shape, dtype=torch.bfloat16)
    theirs = torch.empty(shape, dtype=torch.bfloat16).uniform_(-b, b, generator=seeded()).double().numpy()
    assert abs(ours.mean()) < 3.3 * stderr
    assert abs(theirs.mean()) > 2.3 * stderr
    assert theirs.mean() == pytest.approx(-b / 512, abs=3.3 * stderr)
    assert ours.std() == pytest.approx(G / math.sqrt(500), rel=3.3 * math.sqrt(0.8 / 4e6) + 1e-4)


@pytest.mark.parametrize("fill", FILLS, ids=NAMES)
def test_meta_tensors_stay_and_nothing_is_filled_with_a_warning(fill):
    weight = torch.empty(6, 40, device="meta")
    assert fill(weight) is weight
    for shape in ((0, 4), (4, 0)):
        empty = torch.empty(shape)
        with pytest.warns(UserWarning, match="without elements"):
            assert fill(empty) is empty


@pytest.mark.parametrize("fill", FILLS, ids=NAMES)
def test_a_named_fan_replaces_that_of_the_tensor(fill):
    """By a number or by the layer: the same draws, another standard deviation."""
    plain = fill(torch.empty(6, 40), generator=seeded())
    assert torch.allclose(fill(torch.empty(6, 40), fan=10, generator=seeded()), 2 * plain, rtol=1e-6, atol=0)
    layer = nn.ConvTranspose1d(6, 8, 5, groups=2, stride=5)  # 3 inputs an output, where its tensor says 20
    assert (tuple(layer.weight.shape), vf.init.fan_in(layer)) == ((6, 4, 5), 3)
    named, misled = (fill(torch.empty(6, 4, 5), fan=fan, generator=seeded()) for fan in (layer, None))
    assert torch.allclose(named, misled * math.sqrt(20 / 3), rtol=1e-5, atol=0)


@pytest.mark.parametrize("fill", FILLS, ids=NAMES)
def test_every_fill_refuses_what_it_cannot_fill(fill):
    refused = [
        (torch.empty(5), {}, "tensor", "axes"),
        (torch.tensor(1.0), {}, "tensor", "axes"),
        (torch.ones(3, 4, dtype=torch.int32), {}, "tensor", "floating-point"),
        (torch.ones(3, 4, dtype=torch.bool), {}, "tensor", "floating-point"),
        (np.ones((3, 4)), {}, "tensor", NO_TENSOR),
        (nn.Linear(3, 4), {}, "tensor", "give its .weight"),
        (torch.empty(3, 4), {"fan": 0}, "fan", "must be positive"),
        (torch.empty(3, 4), {"generator": 0}, "generator", NO_GENERATOR),
    ]
    for tensor, options, argument, rule in refused:
        with pytest.raises(vf.DomainError, match=rule) as caught:
            fill(tensor, **options)
        assert caught.value.argument == argument
    kept = torch.ones(3, 4, dtype=torch.int32)
    with pytest.raises(vf.DomainError):
        fill(kept)
    assert bool((kept == 1).all())


def test_computed_weights_are_refused_and_can_be_given():
    """A fill of what a layer computes from other parameters would change nothing; slices of a parameter are filled."""
    layer = nn.utils.parametrizations.weight_norm(nn.Linear(300, 200))
    for tensor in (layer.weight, layer.weight[:100]):
        with pytest.raises(vf.DomainError, match="is computed from other tensors, so filling it has no effect"):
            vf.init.normal_(tensor, G)
    layer.weight = vf.init.normal_(layer.weight.detach(), G, generator=seeded())
    assert float(layer.weight.detach().std()) * 300**0.5 == pytest.approx(G, rel=0.02)
    plain = nn.Linear(300, 200)
    vf.init.normal_(plain.weight[:100], G, generator=seeded())
    assert float(plain.weight[:100].detach().std()) * 300**0.5 == pytest.approx(G, rel=0.02)


def test_a_vector_can_be_filled_when_its_fan_is_named():
    assert float(vf.init.sign_(torch.empty(9), 2.0, fan=16).abs().max()) == 0.5


# Fans.

LAYERS = [
    (nn.Linear(30, 20), (30,), ()),
    (nn.Conv1d(4, 6, 5), (4, 40), (40,)),
    (nn.Conv2d(4, 6, (3, 5), padding=(1, 2), stride=2), (4, 12, 13), (12, 13)),
    (nn.Conv2d(4, 8, 3, groups=4, padding="same"), (4, 7, 9), (7, 9)),
    (nn.Conv2d(4, 8, 4, padding="same", dilation=2), (4, 11, 12), (11, 12)),
    (nn.Conv2d(4, 6, 3, padding=1, padding_mode="circular"), (4, 8, 8), (8, 8)),
    (nn.Conv3d(2, 4, 3, padding=1, dilation=2), (2, 7, 8, 9), (7, 8, 9)),
    (nn.ConvTranspose1d(4, 6, 5, stride=2, padding=1, output_padding=1), (4, 11), (11,)),
    (nn.ConvTranspose2d(4, 6, 3, groups=2), (4, 9, 9), (9, 9)),
    (nn.ConvTranspose2d(6, 4, (4, 3), stride=(2, 3), dilation=2, padding=1), (6, 9, 9), (9, 9)),
    (nn.ConvTranspose3d(2, 3, 3, stride=2), (2, 5, 5, 5), (5, 5, 5)),
]


def ids(layer):
    return str(layer).replace(" ", "") if isinstance(layer, nn.Module) else ""


@pytest.mark.parametrize(("layer", "size", "space"), LAYERS, ids=ids)
def test_the_effective_fan_in_is_what_the_layer_sums(layer, size, space):
    with torch.no_grad():
        kept = layer.weight.clone(), layer.bias.clone()
        layer.weight.fill_(1.0)
        layer.bias.zero_()
        summed = layer(torch.ones(1, *size)).mean()
        layer.weight.copy_(kept[0])
        layer.bias.copy_(kept[1])
    assert vf.init.effective_fan_in(layer, space) == pytest.approx(float(summed), rel=1e-6)
    if space and all(n > 7 for n in space):
        assert vf.init.effective_fan_in(layer, [200] * len(space)) == pytest.approx(vf.init.fan_in(layer), rel=0.1)


@pytest.mark.parametrize(("layer", "size", "space"), LAYERS, ids=ids)
def test_the_fan_out_is_the_fan_in_of_the_backward_pass(layer, size, space):
    """Summed gradient of one input far from the border: the weights it meets. Strides are averaged over inputs."""
    long = (size[0], *([48 if len(space) < 3 else 18] * len(space)))
    x = torch.zeros(1, *long, requires_grad=True)
    with torch.no_grad():
        kept = layer.weight.clone()
        layer.weight.fill_(1.0)
    layer(x).sum().backward()
    with torch.no_grad():
        layer.weight.copy_(kept)
    inside = x.grad[(0, slice(None), *[slice(12, 36) if len(space) < 3 else slice(6, 12)] * len(space))]
    assert vf.init.fan_out(layer) == pytest.approx(float(inside.mean()), abs=0.51)


def test_a_layer_is_filled_with_the_fan_of_its_kind():
    for layer, _, _ in LAYERS:
        vf.init.init_layer_(layer, G, fill="sign")
        assert float(layer.weight.detach().abs().mean()) == pytest.approx(G / math.sqrt(vf.init.fan_in(layer)), rel=1e-6)
        assert float(layer.bias.detach().abs().max()) == 0.0
    transposed = LAYERS[-2][0]
    assert vf.init.fan_in(transposed) != transposed.weight[0].numel()  # the tensor alone would mislead


def test_a_convolution_keeps_the_variance_inside_and_loses_it_at_the_border():
    """The variance of one position over networks is ``g² p · inputs/n``; the corner of a padded 3 × 3 kernel sees 4 of 9."""
    g, p = vf.gain(threshold=0.5), 0.3085375387259869
    layer = nn.Conv2d(64, 400, 3, padding=1)
    vf.init.init_layer_(layer, g, generator=seeded())
    x = (torch.rand(32, 64, 3, 3, generator=seeded(1)) < p).float()
    with torch.no_grad():
        u = layer(x).double()
    inside, corner = float((u[:, :, 1, 1] ** 2).mean()), float((u[:, :, 0, 0] ** 2).mean())
    # over 400 channels alone the squares have a relative standard error of √(2/400), spikes add √((1-p)/(p·576·32)) at most
    stderr = math.sqrt(2 / 400 + (1 - p) / (p * 576 * 32))
    assert inside == pytest.approx(1.0, abs=3.3 * stderr)
    assert corner == pytest.approx(4 / 9, abs=3.3 * stderr * 4 / 9 * 1.5)
    assert abs(corner - 1.0) > 5 * stderr


# Layers and biases.


def model():
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8, 10), nn.LayerNorm(10))


def test_init_fn_touches_linear_layers_and_convolutions_only():
    made = model()
    before = {name: value.clone() for name, value in made.state_dict().items()}
    made.apply(vf.init.init_fn(0.7, fill="sign", generator=seeded()))
    changed = {name for name, value in made.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"0.weight", "0.bias", "4.weight", "4.bias"}
    g = vf.gain(threshold=0.7)
    assert made[0].weight.detach().abs().unique().tolist() == pytest.approx([g / 27**0.5])
    assert made[4].weight.detach().abs().unique().tolist() == pytest.approx([g / 8**0.5])


def test_what_becomes_of_the_bias():
    layer = nn.Linear(5, 4000)
    torch_bias = layer.bias.detach().clone()
    assert torch.equal(vf.init.init_layer_(layer, 1.0, bias="keep").bias.detach(), torch_bias)
    assert vf.init.init_layer_(layer, 1.0, bias=0.25).bias.detach().unique().tolist() == [0.25]
    assert vf.init.init_layer_(layer, 1.0).bias.detach().unique().tolist() == [0.0]
    vf.init.init_layer_(layer, 1.0, bias_std=0.5, generator=seeded())
    assert stats.kstest(layer.bias.detach().double().numpy(), stats.norm(scale=0.5).cdf).pvalue > FALSE_ALARM
    assert stats.kstest(layer.bias.detach().double().numpy(), stats.norm(scale=0.6).cdf).pvalue < FALSE_ALARM
    assert vf.init.init_layer_(nn.Linear(5, 4, bias=False), 1.0, bias_std=0.5).bias is None


def test_the_gain_leaves_room_for_the_bias():
    layer = nn.Linear(100, 50)
    vf.init.init_fn(1.0, fill="sign", bias_std=0.6)(layer)
    assert float(layer.weight.detach().abs().max()) == pytest.approx(vf.gain(threshold=1.0, bias_std=0.6) / 10, rel=1e-6)


# Gains of neurons.


@pytest.mark.parametrize("input_scale", [1.0, 0.5, 3.0])
def test_the_gain_of_a_neuron_keeps_its_potential(input_scale):
    """``Var[H] = λ²(σ_b² + g² p)`` with ``p = P(H > θ)``, by the theory of layers."""
    neuron = vf.Neuron(0.8, input_scale=input_scale)
    g = vf.init.calculate_gain(neuron, variance=1.3, bias_std=0.2 / input_scale)
    drive = vf.drives.currents(math.sqrt(1.3) / input_scale)
    network = vf.Network(width=10, depth=4, gain=g, neuron=neuron, bias_std=0.2 / input_scale, drive=drive)
    assert vf.mean_field(network).variance == pytest.approx(1.3, rel=1e-12)
    assert vf.mean_field(vf.Network(width=10, depth=4, gain=1.01 * g, neuron=neuron, drive=drive)).variance[
        -1
    ] != pytest.approx(1.3)


def test_rates_and_corrected_gains_of_a_neuron():
    neuron = vf.Neuron(0.5, input_scale=2.0)
    g = vf.init.calculate_gain(neuron, rate=0.2)
    assert g == pytest.approx(0.5 / (stats.norm.isf(0.2) * math.sqrt(0.2)) / 2, rel=1e-9)
    neuron = vf.Neuron(1.0, input_scale=2.0)
    corrected = vf.init.calculate_gain(neuron, "corrected", width=50, depth=20)
    assert corrected == pytest.approx(vf.corrected_gain(threshold=1.0, width=50, depth=20) / 2, rel=1e-12)
    assert vf.init.calculate_gain(neuron, "kaiming") == math.sqrt(2)
    w = drawn(vf.init.corrected_normal_, 1.0, shape=(200, 50), depth=20)
    assert moments_stand(w, 2 * corrected, stats.norm())
    assert not moments_stand(w, vf.gain(threshold=1.0), stats.norm())
    uniform = vf.corrected_gain(threshold=0.7, width=20, depth=3, weights="uniform")
    w = drawn(vf.init.corrected_uniform_, 0.7, shape=(9, 20), depth=3)
    assert 0.9 < abs(w).max() / (uniform * math.sqrt(3 / 20)) <= 1 + 1e-6


def test_a_correction_never_goes_below_the_papers_gain():
    """At θ = 0.5 a smaller gain keeps 99 % too, and would lower the variance."""
    paper, smallest = vf.gain(threshold=0.5), vf.corrected_gain(threshold=0.5, width=400, depth=100)
    assert smallest < 0.75 * paper
    w = drawn(vf.init.corrected_normal_, 0.5, depth=100)
    assert moments_stand(w, paper, stats.norm())
    assert not moments_stand(w, smallest, stats.norm())
    w = drawn(vf.init.corrected_uniform_, 0.2, shape=(64, 100), depth=2, width=10)
    assert moments_stand(w, vf.gain(threshold=0.2), UNIFORM)
    assert vf.init.calculate_gain(0.5, "corrected", width=400, depth=100) == paper
    assert vf.catalogue(threshold=0.5, fan_in=400)["corrected"].gain == paper
    assert moments_stand(drawn(vf.init.corrected_normal_, 0.5, depth=1), paper, stats.norm())  # and no zeros at depth 1


# What is refused.


def fill(tensor=None, **options):
    return vf.init.normal_(torch.empty(3, 4) if tensor is None else tensor, **options)


REFUSED = [
    (fill, "tensor", torch.empty(5), "fewer than two axes"),
    (fill, "tensor", torch.tensor(1.0), "fewer than two axes"),
    (fill, "tensor", torch.empty(3, 4, dtype=torch.int64), "floating-point"),
    (fill, "tensor", torch.empty(3, 4, dtype=torch.bool), "floating-point"),
    (fill, "tensor", torch.empty(3, 4, dtype=torch.complex64), "floating-point"),
    (fill, "tensor", np.ones((3, 4)), NO_TENSOR),
    (fill, "tensor", nn.Linear(3, 4), NO_TENSOR),
    (fill, "tensor", nn.LazyLinear(3).weight, "has no shape yet"),
    (fill, "gain", -1.0, "must not be negative"),
    (fill, "gain", float("nan"), "must be finite"),
    (fill, "gain", [1.0, 2.0], "single number"),
    (fill, "mean_gain", "x", "real number"),
    (fill, "fan", 0, "must be positive"),
    (fill, "fan", "fan_in", "real number"),
    (fill, "generator", 0, NO_GENERATOR),
    (lambda tensor: vf.init.orthogonal_(tensor, fan=3), "tensor", torch.empty(5), "at least two axes"),
    (lambda cut: vf.init.truncated_normal_(torch.empty(3, 4), cut=cut), "cut", 0.0, "must be positive"),
    (lambda threshold: vf.init.micheli_normal_(torch.empty(3, 4), threshold), "threshold", [1.0, 2.0], "single number"),
    (lambda threshold: vf.init.micheli_uniform_(torch.empty(3, 4), threshold), "threshold", 99.0, "nothing fires"),
    (lambda depth: vf.init.corrected_normal_(torch.empty(3, 4), depth=depth), "depth", 0, "whole number"),
    (lambda tensor: vf.init.corrected_normal_(tensor, depth=3), "tensor", torch.empty(5), "fewer than two axes"),
    (lambda steps: vf.init.calculate_gain(vf.Neuron(decay=0.5), steps=steps), "steps", None, "a neuron with memory"),
    (lambda neuron: vf.init.calculate_gain(neuron), "neuron", "lif", "is unknown"),
    (lambda rule: vf.init.calculate_gain(1.0, rule), "rule", "best", "choose one of preserving"),
    (lambda width: vf.init.calculate_gain(1.0, "corrected", depth=3, width=width), "width", None, "is missing"),
    (lambda depth: vf.init.calculate_gain(1.0, "corrected", width=3, depth=depth), "depth", None, "is missing"),
    (lambda rate: vf.init.calculate_gain(1.0, rate=rate, bias_std=0.1), "rate", 0.1, "give a variance instead"),
    (lambda bias: vf.init.init_fn(1.0, bias=bias), "bias", "random", "choose one of zero, keep"),
    (lambda bias: vf.init.init_fn(1.0, bias=bias, bias_std=0.1), "bias", "keep", "conflicts with"),
    (lambda fill: vf.init.init_fn(1.0, fill=fill), "fill", "cauchy", "choose one of normal"),
    (lambda layer: vf.init.init_layer_(layer, 1.0), "layer", nn.LazyLinear(3), "has no weight yet"),
    (lambda layer: vf.init.init_layer_(layer, 1.0), "layer", nn.BatchNorm1d(3), NOT_SUMMED),
    (lambda layer: vf.init.init_layer_(layer, 1.0), "layer", (3, 4), "must be a torch module"),
    (
        lambda layer: vf.init.init_layer_(layer, 1.0),
        "layer",
        nn.utils.parametrizations.weight_norm(nn.Linear(3, 4)),
        "initialise before",
    ),
    *[
        (lambda gain, dtype=dtype: vf.init.normal_(torch.empty(3, 4, dtype=dtype), gain), "gain", value, "cannot hold")
        for dtype, value in [(torch.float32, 1e39), (torch.float32, 1e-60), (torch.float16, 1e5), (torch.bfloat16, 1e-100)]
    ],
    (lambda mean_gain: vf.init.uniform_(torch.empty(3, 4), mean_gain=mean_gain), "mean_gain", -1e60, "float32 cannot hold"),
    (lambda gain: vf.init.init_layer_(nn.Linear(3, 4), gain), "gain", 1e100, "float32 cannot hold"),
    (lambda bias: vf.init.init_layer_(nn.Linear(3, 4), 1.0, bias=bias), "bias", -1e50, "float32 cannot hold"),
    (lambda bias_std: vf.init.init_layer_(nn.Linear(3, 4), 1.0, bias_std=bias_std), "bias_std", 1e50, "float32 cannot hold"),
    (lambda bias_std: vf.init.init_fn(1.0, gain=2.0, bias_std=bias_std), "bias_std", 1e200, "must lie within"),
    (lambda size: vf.init.effective_fan_in(nn.Conv2d(1, 1, 3), size), "size", (4,), "must be 2 whole numbers"),
    (lambda size: vf.init.effective_fan_in(nn.Conv2d(1, 1, 3), size), "size", (4, 2), "the output is empty"),
    (lambda layer: vf.init.fan_out(layer), "layer", (3,), NO_SHAPE),
]


@pytest.mark.parametrize(("call", "argument", "value", "rule"), REFUSED, ids=range(len(REFUSED)))
def test_what_is_refused(call, argument, value, rule):
    with pytest.raises(vf.DomainError) as caught:
        call(**{argument: value})
    assert caught.value.argument in (argument, "size")
    assert rule in str(caught.value)
    assert "\n" not in str(caught.value)


def test_init_is_light_and_lazy():
    script = "import sys, varflow; assert 'normal_' in dir(varflow.init); varflow.init.published; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "False"
    assert "torch" in sys.modules  # here it is
    with pytest.raises(AttributeError, match="no attribute 'cauchy_'"):
        vf.init.cauchy_  # noqa: B018
