"""Simulated networks made of vf.layers: both engines against each other, against exact identities, and against numbers known
from the definition. Every statistical check has a control that must fail.
"""

import math
from dataclasses import replace
from threading import Event

import numpy as np
import pytest
from scipy.stats import beta, norm

import varflow as vf

torch = pytest.importorskip("torch")

from varflow.model.graph import Node  # noqa: E402
from varflow.simulation import simulate  # noqa: E402

L = vf.layers

K = 5.0  # standard errors, for the largest of some hundred comparisons
NAMES = ("variance", "firing_rate", "potential_mean", "second_moments")
LEAKY = vf.Neuron(0.6, decay=0.5, reset="subtract")
RNG = np.random.default_rng(5)


def of(*layers, width=16, **more):
    return vf.Network(width=width, layers=layers, **more)


def rows_of(ensemble):
    """Everything measured, one row per network."""
    found = [getattr(ensemble, name) for name in NAMES if getattr(ensemble, name) is not None]
    return np.concatenate([values.reshape(len(values), -1) for values in found], axis=1)


def largest_z(one, other):
    """Of the differences between means and mean squares of two independent samples."""
    one, other = (np.concatenate([rows, rows**2], axis=1) for rows in map(rows_of, (one, other)))
    error = np.sqrt(one.var(axis=0, ddof=1) / len(one) + other.var(axis=0, ddof=1) / len(other))
    difference, size = np.abs(one.mean(axis=0) - other.mean(axis=0)), np.abs(one).mean(axis=0)
    still = error <= 1e-9 * size
    assert np.allclose(difference[still], 0, atol=1e-6)
    return (difference[~still] / error[~still]).max()


@pytest.mark.parametrize("engine", ["dense", "conditional"])
def test_rates_of_uniform_biases_alone(engine):
    """Leaky neurons without input: ``P(b Σ β^k > θ) = (1 - θ/(√3 σ_b Σ β^k))/2``, and 0 below; not that of normal biases."""
    sums, std = (1 - 0.5 ** np.arange(1, 6)) / 0.5, 0.7
    neuron, silent = vf.Neuron(2.0, decay=0.5), vf.drives.currents(0)
    uniform, normal = (
        of(L.Spike(neuron), L.Linear(gain=1.0, bias_std=std, biases=biases), L.Spike(neuron), steps=5, width=500, drive=silent)
        for biases in ("uniform", "normal")
    )
    exact = np.maximum(1 - 2.0 / (3**0.5 * std * sums), 0) / 2
    error = np.sqrt(exact * (1 - exact) / (500 * 40))

    def rates(network):
        return vf.simulate(network, repeats=40, engine=engine).firing_rate[:, 1].mean(axis=0)

    assert exact[0] == 0 < exact[-1]
    assert np.all(np.abs(rates(uniform) - exact) <= 4 * error)
    assert not np.all(np.abs(rates(normal) - exact) <= 4 * error)
    with pytest.raises(vf.DomainError, match="biases='uniform' must be 'normal' in theory"):
        vf.mean_field(uniform)


# Networks as functions of a factor on one of their parameters: 1, and the value that must be found out.
PAIRS = {
    "membrane shortcut": (
        lambda f: of(*[L.Residual(L.Spike(LEAKY), L.Linear(gain=2.0), keep=0.8 * f)] * 3, L.Spike(LEAKY), steps=3),
        1.1,
    ),
    "sum of spikes": (lambda f: of(L.Spike(LEAKY), *[L.Residual(L.Linear(gain=1.5 * f), L.Spike(LEAKY))] * 3, steps=3), 0.9),
    "iand, delay": (
        lambda f: of(
            L.Spike(LEAKY),
            L.Residual(L.Linear(gain=2.0 * f), L.Spike(vf.Neuron(0.6, decay=0.5, reset="zero", delay=1)), merge="iand"),
            L.Linear(gain=2.0 * f, mean_gain=0.5, bias_std=0.3),
            L.Spike(LEAKY),
            steps=3,
        ),
        0.9,
    ),
    "and, real numbers": (
        lambda f: of(
            L.Spike(LEAKY),
            L.Residual(L.Linear(gain=2.0), L.Spike(LEAKY), L.Scale(0.7), merge="and"),
            L.Residual(L.Linear(8, gain=2.0), L.Spike(LEAKY), L.Scale(-0.37), L.Linear(16, gain=2.0 * f), L.Spike(LEAKY)),
            L.Linear(gain=2.0 * f),
            L.Spike(LEAKY),
            steps=2,
        ),
        0.88,
    ),
    "centred": (
        lambda f: of(L.Spike(LEAKY), *[L.Linear(gain=3.0 * f, rows="centred", bias_std=0.2), L.Spike(LEAKY)] * 2, steps=3),
        0.9,
    ),
    "standardised": (
        lambda f: of(L.Spike(LEAKY), *[L.Linear(gain=3.0 * f, rows="standardised"), L.Spike(LEAKY)] * 2, steps=3),
        0.92,
    ),
    "standardised, one step": (
        lambda f: of(
            *[L.Spike(vf.Neuron(1.0)), L.Linear(gain=3.0 * f, rows="standardised")] * 3, L.Spike(vf.Neuron(1.0)), width=8
        ),
        0.92,
    ),
    "batch normalisation": (
        lambda f: of(
            L.Linear(gain=1.0),
            L.BatchNorm(gamma=1.2 * f, beta=0.2),
            L.Spike(LEAKY),
            L.Linear(gain=3.0),
            L.BatchNorm(gamma=1.2 * f),
            L.Spike(LEAKY),
            steps=2,
            drive=vf.drives.inputs(np.random.default_rng(1).random((3, 10))),
        ),
        0.93,
    ),
    "layer normalisation": (
        lambda f: of(L.Spike(LEAKY), L.Linear(gain=3.0), L.LayerNorm(gamma=1.1 * f, beta=0.1), L.Spike(LEAKY), steps=3),
        0.95,
    ),
    "recurrence": (
        lambda f: of(
            L.Spike(LEAKY, recurrent_gain=2.0 * f, recurrent_mean_gain=0.5),
            L.Linear(gain=2.0),
            L.Spike(vf.Neuron(0.5, decay=0.3, synaptic_decay=0.4, reset="gate"), recurrent_gain=1.5 * f),
            steps=5,
        ),
        0.85,
    ),
    "recurrent spike counts": (
        lambda f: of(L.Spike(vf.Neuron(0.5, decay=0.5, reset="multi_spike"), recurrent_gain=0.8 * f), steps=4),
        0.8,
    ),
    "convolution": (
        lambda f: of(
            L.Spike(LEAKY),
            L.Conv(16, gain=2.0 * f, groups=2, bias_std=0.2, mean_gain=0.4),
            L.Spike(LEAKY),
            L.Pool("max", 2, padding=1),
            L.Conv(20, 3, gain=2.5 * f, rows="centred", stride=2),
            L.Spike(LEAKY),
            L.Pool("average", 2),
            L.Linear(12, gain=2.0),
            L.Spike(LEAKY),
            steps=2,
            drive=vf.drives.currents(1.0, shape=(8, 4, 5)),
        ),
        0.85,
    ),
    "small maps": (
        lambda f: of(
            L.Spike(vf.Neuron(0.6)),
            L.Conv(16, gain=2.5 * f, groups=2, rows="standardised"),
            L.Spike(vf.Neuron(0.6)),
            L.Conv(16, gain=2.0 * f, mean_gain=0.5, bias_std=0.3),
            L.Spike(vf.Neuron(0.6)),
            drive=vf.drives.currents(1.0, shape=(16, 2, 2)),
        ),
        0.9,
    ),
    "random trains": (
        lambda f: of(
            L.Linear(gain=1.5 * f),
            L.Spike(LEAKY),
            L.Residual(L.Linear(gain=1.5), L.Spike(LEAKY)),
            steps=3,
            drive=vf.drives.spikes([0.3] * 12),
        ),
        0.9,
    ),
    "given currents": (
        lambda f: of(
            L.Residual(L.Scale(0.5 * f), keep=0.5),
            L.Spike(LEAKY),
            L.Linear(gain=2.0),
            L.Spike(LEAKY),
            steps=3,
            drive=vf.drives.given(np.random.default_rng(3).random((2, 3, 16)) * 2),
        ),
        0.9,
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_engines_agree_in_distribution(name):
    """The wrong ones are 6 to 2000 standard errors off."""
    (make, wrong), repeats = PAIRS[name], 500 if name == "convolution" else 1000
    dense, conditional = (simulate(make(1.0), repeats=repeats, seed=1, engine=engine) for engine in ("dense", "conditional"))
    assert (dense.engine, conditional.engine) == ("dense", "conditional")
    assert largest_z(dense, conditional) < K
    assert largest_z(dense, simulate(make(wrong), repeats=repeats, seed=2, engine="conditional")) > K


def test_the_conditional_engine_draws_no_weights_where_signals_are_small():
    from varflow.simulation.weighted import Wiring

    assert Wiring.of(L.Linear(gain=1.0), (16,), (16,)).conditional(15)
    assert not Wiring.of(L.Linear(gain=1.0), (16,), (16,)).conditional(16)
    assert Wiring.of(L.Conv(16, gain=1.0, groups=2), (16, 2, 2), (16, 2, 2)).conditional(1)
    assert not Wiring.of(L.Linear(gain=1.0, weights="sign"), (16,), (16,)).conditional(1)


SPIKE = L.Spike(vf.Neuron(1.0))
PAPER = 6.303**0.5  # the preserving gain at threshold 1


class TestReproducible:
    REAL = of(
        L.Spike(LEAKY, recurrent_gain=1.0),
        L.Residual(L.Linear(gain=2.0), L.BatchNorm(), L.Spike(LEAKY), L.Scale(0.3)),
        L.Linear(gain=2.0, rows="standardised"),
        L.Spike(LEAKY),
        steps=3,
        width=40,
    )

    @pytest.mark.parametrize("engine", ["dense", "conditional"])
    def test_for_any_repeats_threads_and_company(self, engine):
        whole = simulate(self.REAL, repeats=10, engine=engine, threads=2)
        few, plain = simulate([self.REAL, vf.Network(width=20, depth=2, gain=2.0)], repeats=3, engine=engine, threads=1)
        assert np.array_equal(rows_of(whole)[:3], rows_of(few))
        assert plain.variance.shape == (3, 2)
        assert len(np.unique(whole.firing_rate[:, -1, -1])) > 5
        assert not np.array_equal(rows_of(whole), rows_of(simulate(self.REAL, repeats=10, engine=engine, seed=1)))

    @pytest.mark.parametrize("engine", ["dense", "conditional"])
    def test_the_beginning_of_a_deeper_network(self, engine):
        block = L.Residual(L.Linear(gain=PAPER), SPIKE)
        short, long = (simulate(of(SPIKE, *[block] * n, width=100), repeats=40, engine=engine) for n in (3, 6))
        assert np.array_equal(short.variance, long.variance[:, :4])


class TestIdentities:
    @pytest.mark.parametrize("engine", ["dense", "conditional"])
    def test_a_branch_of_zeros(self, engine):
        """It leaves both kinds of signal as they are, silences ``and``, and any other factor changes them."""
        for factor in (0.0, 0.1):
            found = simulate(of(L.Residual(SPIKE, L.Linear(gain=3.0), L.Scale(factor)), SPIKE), repeats=5, engine=engine)
            assert np.array_equal(found.variance[:, 0], found.variance[:, -1]) == (factor == 0)
        for merge, unchanged in (("add", True), ("iand", True), ("and", False)):
            block = L.Residual(L.Linear(gain=3.0), SPIKE, L.Scale(0.0), merge=merge)
            ends = of(SPIKE, block, L.Linear(gain=1e-9, mean_gain=1.0), SPIKE, steps=2)
            found = simulate(ends, repeats=5, engine=engine)
            expected = found.firing_rate[:, 0] if unchanged else 0.0
            np.testing.assert_allclose(found.potential_mean[:, -1], np.broadcast_to(expected, (5, 2)), atol=1e-7)

    def test_merges_are_those_of_their_definition(self):
        from varflow.simulation.operations import simulate as applied

        def merged(operation, *flows):
            return applied(Node(operation), flows, None, None)

        x, y = torch.tensor([0.0, 1.0, 2.0, 5.0]), torch.tensor([1.0, 1.0, 0.0, 3.0])
        for unit, other in ((1.0, 1.0), (1 / 9, 1.0), (1.0, 0.25), (0.3, 1.0), (None, 0.5), (1 / 7, None)):
            flows = vf.simulation.Flow(x.double(), unit), vf.simulation.Flow(y.double(), other)
            a, b = x.double() * (unit or 1), y.double() * (other or 1)
            complement = merged(L.Sum((-1.0,), 1.0), flows[1])
            weighted, row = (
                merged(L.Sum((2.0, -0.5), 0.25), *flows),
                merged(L.Concat(), *(replace(f, values=f.values[None, None, None]) for f in flows)),
            )
            for found, wanted in (
                (merged(L.Sum(), *flows), a + b),
                (merged(L.Product(), *flows), a * b),
                (merged(L.Product(), flows[0], complement), a * (1 - b)),
                (weighted, 2 * a - b / 2 + 0.25),
                (row, torch.cat([a, b])[None, None, None]),
            ):
                torch.testing.assert_close(found.real, wanted, atol=1e-15, rtol=1e-14)
                assert found.unit is None or torch.equal(found.values, found.values.round())

    def test_windows_are_those_of_torch(self):
        from varflow.simulation.operations import pooled
        from varflow.simulation.weighted import Wiring

        maps = torch.from_numpy(RNG.integers(0, 3, (2, 5, 4, 7, 6)).astype(float))
        for kernel, stride, padding, groups in ((3, 1, 1, 1), (3, 2, 0, 2), (1, 1, 0, 4), (5, 2, 2, 1)):
            layer = L.Conv(8, kernel, gain=1.0, stride=stride, padding=padding, groups=groups)
            filters = torch.from_numpy(RNG.normal(size=(8, 4 // groups, kernel, kernel)))
            wanted = torch.nn.functional.conv2d(maps.flatten(0, 1), filters, None, stride, padding, 1, groups)
            wiring = Wiring.of(layer, (4, 7, 6), tuple(wanted.shape[1:]))
            products = filters.view(groups, 8 // groups, -1).repeat(2, 1, 1) @ wiring.columns(maps)
            found = products.view(2, 8, 5, *wanted.shape[2:]).movedim(1, 2).flatten(0, 1)
            torch.testing.assert_close(found, wanted)
        flow = vf.simulation.Flow(maps.view(2, 5, 1, 4, 7, 6), 1.0)
        for size, stride, padding in ((2, None, 0), (3, 1, 1), (3, 2, 1)):
            average, largest = (
                pooled(L.Pool(kind, size, stride, padding), [flow]).real.flatten(0, 2) for kind in ("average", "max")
            )
            same = maps.flatten(0, 1), size, stride, padding
            torch.testing.assert_close(average, torch.nn.functional.avg_pool2d(*same))
            torch.testing.assert_close(largest, torch.nn.functional.max_pool2d(*same))

    def test_normalisations_are_those_of_torch(self):
        from varflow.simulation.operations import simulate as applied

        def normalised(flow, layer):
            return applied(Node(layer), (flow,), None, None)

        x = torch.from_numpy(RNG.normal(1.0, 2.0, (1, 6, 2, 4, 3, 3)))
        frames = x.flatten(0, 2)
        batch = torch.nn.functional.batch_norm(frames, None, None, training=True)
        torch.testing.assert_close(normalised(vf.simulation.Flow(x), L.BatchNorm()).values.flatten(0, 2), batch)
        given = torch.nn.functional.batch_norm(frames, torch.full((4,), 0.5).double(), torch.full((4,), 2.0).double())
        torch.testing.assert_close(
            normalised(vf.simulation.Flow(x), L.BatchNorm(statistics=(0.5, 2.0))).values.flatten(0, 2), given
        )
        layer = torch.nn.functional.layer_norm(frames, (4, 3, 3))
        torch.testing.assert_close(
            normalised(vf.simulation.Flow(x), L.LayerNorm(gamma=2.0, beta=0.5)).values.flatten(0, 2), 2 * layer + 0.5
        )

    def test_a_recurrent_layer_step_by_step(self):
        """Dense recurrent weights, written out: the potentials of every step follow from the spikes of the step before."""
        from varflow.simulation.streams import Streams
        from varflow.simulation.weighted import Matrix, Rows, recurrence

        streams = Streams(2, 2**18, 7, torch.device("cpu"))

        def draws():
            return streams.draws(0, "weights", dtype=torch.float32, stop=Event())

        spikes = torch.from_numpy(RNG.integers(0, 4, (2, 3, 20)).astype(float))
        matrix = Matrix(draws(), 20)
        wanted = 0.5 / math.sqrt(20) * matrix.grid.unit * spikes @ matrix.weights.double().mT + 0.1 * spikes.mean(
            -1, keepdim=True
        )
        layer = L.Spike(LEAKY, recurrent_gain=0.5, recurrent_mean_gain=0.1)
        torch.testing.assert_close(recurrence(draws(), layer, 20, 6, False)(spikes), wanted)
        rows = Rows(draws())  # the same spikes meet the same weights
        first, _, again = rows(spikes), rows(spikes.flip(-1)), rows(spikes)
        torch.testing.assert_close(first, again, atol=1e-4, rtol=1e-4)

    def test_delayed_spikes_arrive_later(self):
        drive = vf.drives.given(np.outer([2.0, 0.0, 0.0, 0.0], np.ones(16)))
        late = L.Spike(vf.Neuron(1.0, delay=2))
        found = simulate(of(late, L.Linear(gain=3.0), SPIKE, L.Scale(1.0), steps=4, drive=drive), repeats=3)
        assert found.firing_rate[0, 0].tolist() == [1, 0, 0, 0]
        assert (found.variance[:, 1] > 0).all(axis=0).tolist() == [False, False, True, False]

    def test_a_layer_of_two_rows_of_inputs(self):
        """Without BatchNorm network ``r`` sees input ``r mod 2``, with one all of them."""
        drive = vf.drives.inputs([[0.0] * 10, [1.0] * 10])
        alone = simulate(of(L.Linear(gain=5.0), L.Scale(1.0), SPIKE, drive=drive), repeats=4).firing_rate[:, 0]
        assert (alone > 0).tolist() == [False, True, False, True]
        both = simulate(of(L.Linear(gain=5.0), L.BatchNorm(eps=0.0), L.Spike(vf.Neuron(0.5)), drive=drive), repeats=4)
        assert np.array_equal(both.firing_rate[:, 0], [0.5] * 4)  # two inputs: one is at +1, the other at -1


def far(values, wanted, bias=0.0):
    """Distance of a mean from a number, in standard errors, less a stated bias."""
    return max(abs(values.mean() - wanted) - bias, 0) * math.sqrt(len(values)) / values.std(ddof=1)


def expected_square(block, blocks, width=1000, repeats=64):
    """``E x²`` after blocks of spikes: the variance of what a Linear of gain 1 makes of them."""
    layers = [SPIKE, *[block] * blocks, L.Linear(gain=1.0), SPIKE]
    return simulate(of(*layers, width=width), repeats=repeats, seed=3, engine="conditional").variance[:, -1]


class TestNumbers:
    """Against numbers from recursions written here; the controls are gains or factors off by the stated amount."""

    @staticmethod
    def rate(variance):
        return norm.sf(1 / math.sqrt(variance))

    def test_membrane_shortcuts(self):
        """``V' = α² V + g² Q(1/√V)``."""

        def end(gain2, keep, blocks):
            v = 1.0
            for _ in range(blocks):
                v = keep**2 * v + gain2 * self.rate(v)
            return v

        network = of(*[L.Residual(SPIKE, L.Linear(gain=PAPER))] * 60, SPIKE, width=1000)
        grown = simulate(network, repeats=100, seed=3, engine="conditional").variance[:, -1]
        assert end(6.303, 1.0, 60) == pytest.approx(165.17, abs=0.01)
        assert far(grown, 165.17, bias=0.5) < 4
        assert far(grown, 1.03 * 165.17, bias=0.5) > 4
        network = of(*[L.Residual(SPIKE, L.Linear(gain=math.sqrt(2.0)), keep=0.9)] * 30, SPIKE, width=1000)
        kept = simulate(network, repeats=100, seed=3, engine="conditional").variance[:, -1]
        assert far(kept, end(2.0, 0.9, 30), bias=0.02) < 4
        assert far(kept, end(2.0, 0.88, 30), bias=0.02) > 4

    def test_two_layers_in_a_branch(self):
        block = L.Residual(SPIKE, L.Linear(gain=PAPER), SPIKE, L.Linear(gain=PAPER))
        found = simulate(of(*[block] * 40, SPIKE, width=1000), repeats=64, seed=3, engine="conditional").variance[:, -1]
        v = 1.0
        for _ in range(40):
            v += 6.303 * self.rate(6.303 * self.rate(v))
        assert v == pytest.approx(67.6, abs=0.1)
        assert far(found, v, bias=0.2) < 4
        assert far(found, 1.05 * v, bias=0.2) > 4

    def test_spike_element_wise_merges(self):
        """``E x² ← E x² + 2 q E x + q`` for add, ``E x (1 - q)`` for iand, ``E x q`` for and; q the rate of a branch."""
        mean = square = iand = also = self.rate(1.0)
        for _ in range(40):
            q = self.rate(6.303 * square)
            mean, square = mean + q, square + 2 * q * mean + q
            iand *= 1 - self.rate(6.303 * iand)
        also *= self.rate(6.303 * also)
        assert (square, iand) == (pytest.approx(347.3, abs=0.1), pytest.approx(0.0295, abs=1e-4))
        found = {merge: expected_square(L.Residual(L.Linear(gain=PAPER), SPIKE, merge=merge), n) for merge, n in
                 (("add", 40), ("iand", 40), ("and", 1))}  # fmt: skip
        for merge, wanted, bias in (("add", square, 1.0), ("iand", iand, 6e-4), ("and", also, 3e-4)):
            assert far(found[merge], wanted, bias) < 4
            assert far(found[merge], 1.15 * wanted, bias) > 4

    @pytest.mark.parametrize("count", [4, 16])
    def test_batch_normalisation_of_a_few_inputs(self, count):
        """A standardised coordinate of B normal numbers: ``z²/(B-1)`` is a beta variable."""
        drive = vf.drives.inputs(np.eye(count) * 3)
        found = simulate(of(L.Linear(gain=1.0), L.BatchNorm(eps=0.0), SPIKE, width=200, drive=drive), repeats=100).firing_rate[
            :, 0
        ]
        rate = 0.5 * beta.sf(1 / (count - 1), 0.5, (count - 2) / 2)
        assert far(found, rate) < 4
        assert far(found, norm.sf(1.0)) > 4

    def test_layer_normalisation_holds_the_rate_tighter_than_chance(self):
        network = of(SPIKE, *[L.Linear(gain=3.0), L.LayerNorm(), SPIKE] * 3, width=100)
        found = simulate(network, repeats=2000, engine="conditional").firing_rate[:, -1]
        assert far(found, 0.1601, bias=5e-4) < 4
        assert abs(found.std(ddof=1) - 0.0213) < 4 * 0.0213 / math.sqrt(4000)
        assert abs(found.std(ddof=1) - 0.0367) > 4 * 0.0367 / math.sqrt(4000)

    @pytest.mark.parametrize("engine", ["dense", "conditional"])
    def test_survival_with_standardised_rows(self, engine):
        """One layer: ``P(spike | K) = ½ P(Beta(½, (n-2)/2) > θ²/(g² K (1 - K/n)/1))``, exact at width 10."""
        n, gain = 10, 2.5
        network = of(SPIKE, L.Linear(gain=gain, rows="standardised"), SPIKE, width=n)
        spikes = simulate(network, repeats=20000, seed=2, engine=engine).spikes
        for count in (1, 2, 3):
            after = spikes[spikes[:, 0] == count, 1] / n
            size = gain**2 * count * (1 - count / n)
            assert far(after, 0.5 * beta.sf(1 / size, 0.5, (n - 2) / 2)) < 4
            assert far(after, norm.sf(1 / math.sqrt(size / n))) > 4

    def test_zero_padding_lets_silence_in_from_the_border(self):
        drive = vf.drives.currents(1.0, shape=(32, 16, 16))
        dies, lives = (
            simulate(
                vf.Network(layers=[SPIKE, *[L.Conv(32, gain=math.sqrt(gain2)), SPIKE] * 40], drive=drive), repeats=6
            ).survival[:, -1]
            for gain2 in (6.303, 8.5)
        )
        assert not dies.any()
        assert lives.all()

    def test_recurrence_in_the_long_run(self):
        layer = L.Spike(vf.Neuron(1.0, decay=0.5, reset="delayed_subtract"), recurrent_gain=math.sqrt(8.0))
        network = of(layer, width=1000, steps=40, drive=vf.drives.currents(math.sqrt(0.5)))
        late = simulate(network, repeats=48, engine="conditional", seed=4).firing_rate[:, 0, 20:].mean(axis=1)
        assert far(late, 0.2594, bias=0.003) < 4
        assert far(late, 1.1 * 0.2594, bias=0.003) > 4


def test_signals_that_explode_are_refused():
    doubling = [L.Residual(L.Scale(1.0))] * 1100
    with pytest.raises(vf.DomainError, match="layers"):
        simulate(of(SPIKE, *doubling, L.Linear(gain=1.0), SPIKE), repeats=1)


def test_what_does_not_fit_into_memory_is_refused_before_it_is_drawn():
    drive = vf.drives.currents(1.0, shape=(4096, 512, 512))
    with pytest.raises(vf.DomainError, match="memory"):
        simulate(vf.Network(layers=[SPIKE, L.Conv(4096, gain=1.0), L.BatchNorm(), SPIKE], drive=drive))


def test_a_delay_without_steps_is_refused():
    with pytest.raises(vf.DomainError, match="delay"):
        simulate(of(SPIKE, L.Residual(L.Linear(gain=1.0), L.Spike(vf.Neuron(1.0, delay=3))), steps=3))
