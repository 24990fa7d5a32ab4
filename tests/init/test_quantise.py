"""Integer weights: their exact distribution, the survival they leave, and the step that keeps networks alive."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import ndtr
from scipy.stats import chisquare, norm

import varflow as vf
from varflow.model.rounded_weights import largest_integer, least_error_clip, rounded
from varflow.model.weights import weight_law
from varflow.theory.finite_width import lattice
from varflow.theory.layer import layers

PAPER = vf.gain(threshold=1.0)
# bits, clip, width, survival at layer 100 of weights rounded as they are, and of weights rescaled to the same deviation.
# Clips without a whole half are those of least error to 1e-4 or 5e-4, at which the digits were taken.
SURVIVAL = [
    (8, 3.9205, 100, "0.0106", "0.0106"),
    (8, 3.0, 100, "0.0144", "0.0144"),
    (4, 2.4743, 100, "2.3e-4", "2.3e-4"),
    (4, 3.0, 100, "0.0013", "0.0013"),
    (3, 1.9525, 100, "1.3e-12", "0.886"),
    (3, 2.5, 100, "0.848", "0.848"),
    (2, 1.224, 100, "1.9e-43", "0.9975"),
    (2, 2.0, 100, "0.999994", "2e-21"),
    (8, 3.9205, 256, "0.257", "0.257"),
    (8, 3.0, 256, "0.234", "0.234"),
    (4, 2.4743, 256, "3.4e-4", "0.840"),
    (4, 3.0, 256, "0.917", "0.917"),
    (3, 1.9525, 256, "0.451", "0.451"),
    (3, 2.5, 256, "0.965", "0.965"),
    (2, 1.224, 256, "4.3e-70", "0.971"),
    (2, 2.0, 256, "0.783", "0.783"),
]


def alive(law, gain, width, depth=100):
    return vf.SpikeChain(vf.Network(width=width, depth=depth, gain=gain, weights=law)).survival()


@pytest.mark.parametrize(("bits", "clip", "width", "as_they_are", "rescaled"), SURVIVAL)
def test_survival_of_rounded_weights(bits, clip, width, as_they_are, rescaled):
    law = vf.weights.quantised(bits, clip)
    step = clip / largest_integer(bits)
    for gain, text in ((PAPER * step * law.std, as_they_are), (PAPER, rescaled)):
        digits = len(text.split("e")[0].replace(".", "").lstrip("0"))
        last = 10.0 ** (np.floor(np.log10(float(text))) + 1 - digits)
        assert alive(law, gain, width) == pytest.approx(float(text), abs=0.5 * last)


@pytest.mark.parametrize(("bits", "clip"), [(2, 1.2240), (3, 1.9523), (4, 2.4739), (8, 3.9205)])
def test_clips_have_the_smallest_error(bits, clip):
    """Against quadrature of the squared error, which is larger at neighbouring clips."""
    largest = largest_integer(bits)
    best = least_error_clip(weight_law("normal"), largest) / largest
    assert best * largest == pytest.approx(clip, abs=5e-5)

    def error(step):
        edges = [0.0, *((np.arange(largest) + 0.5) * step), 12.0]
        cells = enumerate(pairwise(edges))
        return sum(quad(lambda x, i=i: (x - i * step) ** 2 * norm.pdf(x), *ends, epsabs=1e-14)[0] for i, ends in cells)

    assert error(best) < min(error(0.999 * best), error(1.001 * best))


@pytest.mark.parametrize(("base", "clip"), [("uniform", 2 * 3**0.5 / 3), ("exponential", 2.0)])
def test_least_error_of_other_distributions(base, clip):
    """Of three levels: the cells of a uniform distribution are equal; of two, an exponential one has mean 1."""
    assert least_error_clip(weight_law(base), 1) == pytest.approx(clip, rel=1e-9)


def test_integers_have_the_probabilities_of_their_cells():
    levels, probabilities = rounded(weight_law("normal"), 3, 0.65)
    assert levels == (-3, -2, -1, 0, 1, 2, 3)
    cells = np.diff(ndtr([-np.inf, -1.625, -0.975, -0.325, 0.325, 0.975, 1.625, np.inf]))
    np.testing.assert_allclose(probabilities, cells, rtol=1e-14)
    assert weight_law("normal").own_mean == vf.weights.quantised(3).own_mean == 0.0


def test_rounded_draws_are_these_integers():
    """Pearson's test of normal numbers that numpy rounds; those of a clip 4 % larger are rejected."""
    drawn = np.clip(np.rint(np.random.default_rng(0).normal(size=50000) / (2.0 / 7)), -7, 7)
    counts = np.bincount(drawn.astype(int) + 7)
    for clip, agrees in ((2.0, True), (2.08, False)):
        probabilities = vf.weights.quantised(4, clip).core.lattice[1]
        assert (chisquare(counts, 50000 * np.array(probabilities)).pvalue > 1e-3) == agrees


@pytest.mark.parametrize("base", ["normal", "exponential", "lognormal"])
@pytest.mark.parametrize("options", [{"threshold": 1.0}, {"threshold": -0.3, "mean": 1.0}, {"threshold": 3.0, "mean": 0.0}])
def test_polynomials_agree_with_convolution(monkeypatch, base, options):
    """Both tails of sums of 0 … 40 weights of 8 bits, at a threshold that some sums meet exactly."""
    law, mean = vf.weights.quantised(8, 3.0, base), options.get("mean")
    network = vf.Network(width=40, depth=2, gain=2.0, weights=law, mean_gain=mean, neuron=vf.Neuron(options["threshold"]))
    layer = layers(network)[0]
    convolved = lattice.tails(layer, 40)
    monkeypatch.setattr(lattice, "MANY", 0)
    for other, tail in zip(lattice.tails(layer, 40), convolved, strict=True):
        np.testing.assert_allclose(other, tail, rtol=3e-13, atol=1e-300)
        assert (other != tail).any()  # not the same method twice


@pytest.mark.parametrize(("bits", "clip"), [(8, None), (8, 3.0), (4, None), (4, 3.0), (3, None), (3, 2.5), (2, None), (2, 2.0)])
def test_the_rule_finds_the_largest_integer_threshold(bits, clip):
    law, widths = vf.weights.quantised(bits, clip), [100, 256]
    found = vf.quantise(threshold=1.0, width=widths, depth=100, bits=bits, clip=clip)
    assert (found.survival >= 0.99).all()
    assert (found.survival_above < 0.99).all()
    for width, k, gain, price in zip(widths, found.integer_threshold, found.gain, found.price, strict=True):
        corrected = gain / price**0.5
        assert corrected == pytest.approx(vf.corrected_gain(threshold=1.0, width=width, depth=100))
        assert k == int(np.sqrt(width) * law.std / corrected + 0.5)
        assert gain >= corrected > gain * (k - 0.5) / (k + 0.5)
        coarser = law.std * np.sqrt(width) / np.array([k - 0.9, k - 0.1, k + 0.1])
        same = [alive(law, gain, width) for gain in coarser]  # steps with the same k make the same network
        assert same[0] == pytest.approx(same[1], rel=1e-10)
        assert same[2] < 0.99


def test_what_a_cell_says():
    found = vf.quantise(threshold=0.8, width=60, depth=20, bits=3, survival_target=0.9)
    law = vf.weights.quantised(3)
    assert np.floor(0.8 / found.step) + 1 == found.integer_threshold
    assert found.gain == pytest.approx(np.sqrt(60) * found.step * law.std)
    assert found.weight_std * found.clip == pytest.approx(3 * found.step)
    assert found.variance == found.gain**2 * found.firing_rate
    profile = vf.finite_width(vf.Network(width=60, depth=20, gain=found.gain, neuron=vf.Neuron(0.8), weights=law))
    assert found.survival == pytest.approx(profile.survival[-1], rel=1e-12)
    assert found.firing_rate == pytest.approx(profile.firing_rate[-1], rel=1e-12)
    wide = vf.quantise(threshold=0.8, width=60, depth=20, bits=6, clip=50.0)  # the largest integers have no probability
    assert wide.weight_std * 50.0 == pytest.approx(31 * wide.step)
    assert vf.quantise(threshold=[], width=60, depth=20).step.shape == (0,)
    assert vf.quantise(threshold=[0.8], width=60, depth=20, bits=3, survival_target=0.9).step[0] == found.step


def test_what_cannot_live_has_the_best_survival_in_a_table_and_is_an_error_alone():
    found = vf.quantise(threshold=1.0, width=[3, 100], depth=50, bits=2)
    assert found.integer_threshold.tolist() == [1, 3]
    assert found.survival[0] < 0.99 < found.survival[1]
    with pytest.raises(vf.DomainError, match=f"highest survival is {found.survival[0]:.4g}"):
        vf.quantise(threshold=1.0, width=3, depth=50, bits=2)


def test_the_figure_has_both_survivals_of_every_cell():
    found = vf.quantise(threshold=1.0, width=60, depth=20, bits=[2, 4])
    drawn = [line.get_xydata() for line in found.plot().get_lines() if line.get_linestyle() == "-"]
    for line, k, alive, above in zip(drawn, found.integer_threshold, found.survival, found.survival_above, strict=True):
        np.testing.assert_array_equal(line, [[k, alive], [k + 1, above]])


def test_the_command_writes_the_figure(tmp_path, monkeypatch, capsys):
    from varflow.cli import app
    from varflow.cli.options import run

    monkeypatch.setattr("sys.argv", f"varflow quantise --threshold 1 --width 30,40 --depth 5 --plot {tmp_path}/q.png".split())
    with pytest.raises(SystemExit) as stop:
        run(app)
    assert not stop.value.code
    assert "at k + 1" in capsys.readouterr().out
    assert (tmp_path / "q.png").read_bytes()[1:4] == b"PNG"


@pytest.mark.parametrize(
    ("call", "argument"),
    [
        (lambda: vf.weights.quantised(1), "bits"),
        (lambda: vf.weights.quantised(13), "bits"),
        (lambda: vf.weights.quantised(4, clip=-1.0), "clip"),
        (lambda: vf.weights.quantised(2, clip=500.0), "weights"),
        (lambda: vf.weights.quantised(4, base="sign"), "base"),
        (lambda: vf.weights.quantised(4, base=vf.weights.sparse(0.5)), "base"),
        (lambda: vf.quantise(threshold=1.0, width=10, depth=5, bits=2.5), "bits"),
        (lambda: vf.quantise(threshold=1.0, width=10, depth=1), "depth"),
        (lambda: vf.quantise(threshold=0.0, width=10, depth=5), "threshold"),
        (lambda: vf.quantise(threshold=1.0, width=10, depth=5, base="exponential"), "base"),
    ],
)
def test_bad_input(call, argument):
    with pytest.raises(vf.DomainError) as caught:
        call()
    assert caught.value.argument == argument
