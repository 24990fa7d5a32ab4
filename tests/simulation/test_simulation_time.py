"""The dense simulator in time: the written update with the very weights of its streams, bit reproducibility, known values.

The recomputation draws each network's weights from the stream once more and steps every neuron by the equations of the
contract, plainly; the simulator must measure the same. Its controls change one ingredient at a time.
"""

import math
from threading import Event

import numpy as np
import pytest

import varflow as vf

torch = pytest.importorskip("torch")

from given_currents import step_neurons  # noqa: E402

from varflow.simulation import simulate  # noqa: E402
from varflow.simulation.dense import batches, driven  # noqa: E402
from varflow.simulation.streams import WeightGrid, digits_of, weight_grid  # noqa: E402

RESETS = tuple(vf.resets.FAMILIES)
K = 4.5  # standard errors: one honest test in 150 000 fails
NAMES = ("variance", "firing_rate", "potential_mean", "second_moments")


def network(width=30, depth=4, gain=2.51, steps=6, threshold=0.7, neuron=(), **options):
    return vf.Network(width=width, depth=depth, gain=gain, steps=steps, neuron=vf.Neuron(threshold, **dict(neuron)), **options)


def same(one, other):
    """Bit for bit."""
    return all(np.array_equal(getattr(one, name), getattr(other, name), equal_nan=True) for name in NAMES)


def written(neuron, currents):
    """``H_t`` and ``S_t`` of one layer, straight from the equations; currents of shape (steps, neurons)."""
    β, θ, λ, α = neuron.decay, neuron.threshold, neuron.input_scale, neuron.synaptic_decay
    H = S = i = np.zeros(currents.shape[1])
    membranes, spikes = [], []
    for current in currents:
        i = α * i + current
        c = λ * i
        H = {
            "none": β * H + c,
            "subtract": β * (H - θ * S) + c,
            "delayed_subtract": β * H - θ * S + c,
            "zero": β * H * (1 - S) + c,
            "gate": (β * H + c) * (1 - S),
            "multi_spike": β * (H - θ * S) + c,
        }[neuron.reset]
        S = (θ < H) if neuron.strict else (θ <= H)
        S = np.maximum(np.floor(H / θ), 0.0) if neuron.reset == "multi_spike" else S.astype(float)
        membranes.append(H)
        spikes.append(S)
    return np.array(membranes), np.array(spikes)


def recomputed(described, neuron=None, *, repeats=3, seed=7, bias_held=True):
    """What the first networks of a simulation must measure, from the weights of its streams."""
    neuron, distribution, n = neuron or described.neuron, described.weight_law, described.width
    batch = batches([described], repeats=repeats, seed=seed, device="cpu", dtype="float32")[0]
    drive = batch.streams.draws(0, "drive", dtype=torch.float32, stop=Event()).normals(n)[:repeats].double().numpy()
    currents = np.repeat(described.drive.std * drive[:, None, :], described.steps, axis=1)
    draws, grid = (
        batch.streams.draws(0, "weights", dtype=torch.float32, stop=Event()),
        weight_grid(distribution, n, torch.float32),
    )
    scale, shift = distribution.connection(described.gain, n, described.mean_gain)
    measured = {name: [] for name in NAMES}
    for _ in range(described.depth):
        membranes, spikes = map(np.array, zip(*(written(neuron, row) for row in currents), strict=True))
        measured["variance"].append(membranes.var(axis=-1, ddof=1))
        measured["firing_rate"].append(spikes.mean(axis=-1))
        measured["potential_mean"].append(membranes.mean(axis=-1))
        measured["second_moments"].append(spikes @ spikes.swapaxes(1, 2) / n)
        matrices = torch.cat([block[2].clone() for block in draws.weights(grid, n, n)])[:repeats].double().numpy()
        bias = described.bias_std * draws.normals(n)[:repeats].double().numpy()
        seen = np.zeros_like(spikes)
        seen[:, neuron.delay :] = spikes[:, : described.steps - neuron.delay]
        currents = seen @ (scale * grid.unit * matrices + shift).swapaxes(1, 2)
        currents += bias[:, None, :] * (1 if bias_held else np.arange(described.steps)[:, None] < 1)
    return {name: np.stack(values, axis=1) for name, values in measured.items()}


def agree(ensemble, expected):
    return all(np.allclose(getattr(ensemble, name), expected[name], rtol=1e-10, atol=1e-12) for name in NAMES)


NEURONS = [
    {"decay": 0.6, "reset": reset, "input_scale": 0.8, "synaptic_decay": 0.4, "delay": delay}
    for reset, delay in zip(RESETS, (0, 1, 1, 0, 1, 0), strict=True)
]


class TestDefinition:
    @pytest.mark.parametrize("neuron", NEURONS, ids=lambda neuron: neuron["reset"])
    @pytest.mark.parametrize("options", [{}, {"bias_std": 0.4, "mean_gain": 0.6}, {"weights": "exponential"}], ids=repr)
    def test_every_family(self, neuron, options):
        described = network(neuron=neuron, threshold=0.4, **options)
        ensemble = simulate(described, repeats=3, seed=7)
        expected = recomputed(described)
        assert expected["firing_rate"][:, -1].any()
        assert agree(ensemble, expected)
        for reset in set(RESETS) - {neuron["reset"]}:
            assert not agree(ensemble, recomputed(described, vf.Neuron(0.4, **{**neuron, "reset": reset})))

    @pytest.mark.parametrize("changed", [{"delay": 2}, {"decay": 0.5}, {"input_scale": 0.7}, {"synaptic_decay": 0.0}], ids=repr)
    def test_controls(self, changed):
        described = network(neuron=NEURONS[1], threshold=0.4, bias_std=0.4)
        ensemble = simulate(described, repeats=3, seed=7)
        assert not agree(ensemble, recomputed(described, vf.Neuron(0.4, **NEURONS[1] | changed)))
        assert not agree(ensemble, recomputed(described, bias_held=False))

    @pytest.mark.parametrize("strict", [True, False])
    def test_spikes_at_the_threshold(self, strict):
        described = network(width=36, gain=3.0, threshold=0.5, weights="sign", neuron={"decay": 0.5, "strict": strict})
        ensemble = simulate(described, repeats=3, seed=7)
        assert agree(ensemble, recomputed(described))
        assert not agree(ensemble, recomputed(described, vf.Neuron(0.5, decay=0.5, strict=not strict)))

    @pytest.mark.parametrize("reset", RESETS)
    def test_given_currents(self, reset):
        neuron = vf.Neuron(0.5, decay=0.7, reset=reset, input_scale=0.9, synaptic_decay=0.3)
        currents = np.random.default_rng(1).normal(size=(25, 40))
        membranes, spikes = step_neurons(neuron, currents)
        expected = written(neuron, currents)
        np.testing.assert_allclose(membranes, expected[0], rtol=1e-12, atol=1e-12)
        assert np.array_equal(spikes, expected[1])
        assert (spikes.max() > 1) == (reset == "multi_spike")

    @pytest.mark.parametrize("reset", RESETS[:-1])
    def test_the_first_step_is_the_memoryless_network(self, reset):
        memory = {"decay": 0.9, "reset": reset, "synaptic_decay": 0.5}
        first = simulate(network(width=200, neuron=memory, steps=1), repeats=3)
        in_time = simulate(network(width=200, neuron=memory, steps=4, bias_std=0.0), repeats=3)
        assert first.variance.shape == (3, 4)
        assert np.array_equal(in_time.variance[..., 0], first.variance)
        assert np.array_equal(in_time.firing_rate[..., 0], first.firing_rate)
        assert not np.array_equal(in_time.firing_rate[..., 1], first.firing_rate)


PIXELS = np.random.default_rng(5).random((3, 50))
FRAMES = np.random.default_rng(6).random((3, 6, 50)) * np.arange(1, 7)[:, None]
COMPANY = [
    network(neuron={"decay": 0.5, "reset": "zero"}),
    network(neuron={"decay": 0.5, "reset": "subtract", "delay": 1}, bias_std=0.2),
    network(neuron={"decay": 0.9, "reset": "multi_spike"}, depth=6),
    network(neuron={"decay": 0.5, "reset": "gate", "strict": False}, steps=3),
    network(701, depth=2, neuron={"decay": 0.5, "reset": "delayed_subtract"}),
    network(neuron={"decay": 0.5}, drive=vf.drives.inputs(PIXELS), weights="uniform"),
    network(neuron={"decay": 0.5}, gain=0.2),
    network((11, 400, 13), depth=3, neuron={"synaptic_decay": 0.8}, weights="lognormal"),
    network(neuron={"decay": 0.5, "reset": "zero"}, drive=vf.drives.white(1.5)),
    network(neuron={"decay": 0.5}, drive=vf.drives.inputs(FRAMES), weights="exponential"),
    network(neuron={"decay": 0.5}, drive=vf.drives.spikes(PIXELS)),
    network(neuron={"decay": 0.5}, drive=vf.drives.spikes(PIXELS, kind="poisson"), weights=vf.weights.sparse(0.5)),
    network(neuron={"decay": 0.5}, drive=vf.drives.given(np.ones((2, 6, 30)) * [[[1.0]], [[2.0]]])),
]


class TestReproducibility:
    @pytest.fixture(scope="class")
    @staticmethod
    def reference():
        return simulate(COMPANY, repeats=7, seed=7, threads=1)

    def test_shapes(self, reference):
        for described, ensemble in zip(COMPANY, reference, strict=True):
            assert ensemble.variance.shape == ensemble.potential_mean.shape == (7, described.depth, described.steps)
            assert ensemble.second_moments.shape == (7, described.depth, described.steps, described.steps)

    @pytest.mark.parametrize("threads", [2, 5])
    def test_threads_and_order(self, reference, threads):
        assert all(map(same, simulate(COMPANY[::-1], repeats=7, seed=7, threads=threads)[::-1], reference))

    def test_threads_inside_torch(self, reference):
        before = torch.get_num_threads()
        try:
            torch.set_num_threads(3)
            found = simulate(COMPANY, repeats=7, seed=7)
        finally:
            torch.set_num_threads(before)
        assert all(map(same, found, reference))

    def test_alone_and_fewer(self, reference):
        for described, ensemble in zip(COMPANY, reference, strict=True):
            alone = simulate(described, repeats=4, seed=7)
            assert all(np.array_equal(getattr(alone, name), getattr(ensemble, name)[:4], equal_nan=True) for name in NAMES)

    def test_several_batches(self, monkeypatch, reference):
        monkeypatch.setattr("varflow.simulation.dense._POTENTIALS", 1)
        assert all(map(same, simulate(COMPANY, repeats=7, seed=7), reference))

    def test_a_longer_run_begins_like_a_shorter_one(self):
        neuron = {"decay": 0.8, "reset": "subtract", "delay": 1}
        for drive in (vf.drives.currents(), vf.drives.white(), vf.drives.spikes(PIXELS)):
            short, long = (simulate(network(neuron=neuron, steps=steps, drive=drive), repeats=3) for steps in (5, 9))
            assert np.array_equal(long.variance[..., :5], short.variance)


class TestDrives:
    """Currents of layer 1 have the covariance their drive states, whatever the distribution of the first weights."""

    @pytest.mark.parametrize("weights", ["normal", "exponential", vf.weights.sparse(0.4)], ids=repr)
    @pytest.mark.parametrize(
        "drive",
        [
            vf.drives.white(1.3),
            vf.drives.inputs(FRAMES, 1.4),
            vf.drives.spikes(PIXELS * [[0.2], [0.5], [1.0]], 1.4),
            vf.drives.spikes(3 * PIXELS, 1.4, kind="poisson"),
        ],
        ids=repr,
    )
    def test_covariance(self, drive, weights):
        batch = batches([network(300, drive=drive, weights=weights)], repeats=60, seed=2, device="cpu", dtype="float32")[0]
        found = []
        for chunk, wanted in batch.streams.chunks(240):
            found.append(driven(batch, chunk, wanted, Event())[:, 0])
        currents = torch.cat(found).numpy()
        for kind, expected in enumerate(drive.covariance(6)):
            seen = currents[kind :: drive.n_inputs]
            moments = seen @ seen.swapaxes(1, 2) / 300
            error = moments.std(axis=0, ddof=1) / math.sqrt(len(seen))
            assert np.abs((moments.mean(axis=0) - expected) / error).max() < K
            assert np.abs((moments.mean(axis=0) - 1.25 * expected) / error).max() > K
            mean = seen.mean(axis=(0, 2)) / (seen.mean(axis=2).std(axis=0, ddof=1) / math.sqrt(len(seen)))
            assert np.abs(mean).max() < K

    def test_given_currents_as_they_are(self):
        drive = vf.drives.given(np.random.default_rng(1).normal(size=(2, 6, 30)))
        ensemble = simulate(network(drive=drive, neuron={"decay": 0.5}), repeats=4)
        for row in range(4):
            membranes, spikes = written(vf.Neuron(0.7, decay=0.5), drive.currents[row % 2])
            np.testing.assert_allclose(ensemble.variance[row, 0], membranes.var(axis=-1, ddof=1), rtol=1e-12)
            np.testing.assert_array_equal(ensemble.firing_rate[row, 0], spikes.mean(axis=-1))
        same_for_all = simulate(network(drive=vf.drives.given([1.0, 0.0, 2.0, 0.0, 0.0, 3.0])), repeats=2)
        assert not same_for_all.variance[:, 0].any()
        assert (same_for_all.firing_rate[:, 0] == [1, 0, 1, 0, 0, 1]).all()


class TestCounts:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_sums_over_counts_are_exact(self, dtype):
        grid = weight_grid("normal", 50, dtype)
        counts = torch.randint(0, 2**34, (1, 1, 2, 50), generator=torch.Generator().manual_seed(1)).double()
        weights = grid.fill(torch.empty(30, 50, dtype=dtype), torch.Generator().manual_seed(2)).to(torch.float64)
        digits, base = digits_of(counts, grid)
        exact = np.array(counts[0, 0].long().tolist(), dtype=object) @ np.array(weights.long().tolist(), dtype=object).T
        parts = np.array((digits[0, :, 0] @ weights.T).long().tolist(), dtype=object)
        assert np.array_equal(sum(part * int(base) ** place for place, part in enumerate(parts)), exact)
        assert digits.max() > 0
        assert not np.array_equal(parts[0], exact)

    def test_explosions_are_named(self):
        described = network(gain=1e3, depth=150, threshold=1e-3, steps=1, neuron={"reset": "multi_spike"})
        with pytest.raises(vf.DomainError, match=r"gain=1000.0 .* double precision"):
            simulate(described, repeats=2)

    def test_one_step_of_several_spikes(self):
        described = network(width=400, steps=1, depth=1, threshold=0.5, neuron={"reset": "multi_spike"})
        ensemble = simulate(described, repeats=400)
        levels = 0.5 * np.arange(1, 40)
        chance = np.array([math.erfc(level / math.sqrt(2)) / 2 for level in levels])
        mean, second = chance.sum(), ((2 * np.arange(1, 40) - 1) * chance).sum()
        error = math.sqrt((second - mean**2) / (400 * 400))
        assert abs(ensemble.firing_rate.mean() - mean) < K * error
        assert abs(ensemble.firing_rate.mean() - 1.03 * mean) > K * error


class TestKnownValues:
    def test_leak_without_reset(self):
        """Layer 1: ``Var H_t = ((1 - β^t)/(1 - β))²``, exact at any width. Layer 2 at step 20: 7.779 at infinite width."""
        described = network(400, depth=2, gain=math.sqrt(6.303), threshold=1.0, steps=20, neuron={"decay": 0.5})
        ensemble = simulate(described, repeats=100, seed=1)
        expected = (2 * (1 - 0.5 ** np.arange(1, 21))) ** 2
        error = expected * math.sqrt(2 / 399 / 100)
        z = (ensemble.variance[:, 0].mean(axis=0) - expected) / error
        assert np.abs(z).max() < K
        assert np.abs((ensemble.variance[:, 0].mean(axis=0) - 1.06 * expected) / error).min() > K
        last = ensemble.variance[:, 1, -1]
        error = last.std(ddof=1) / 10  # no bias: the mean over networks is linear in the spikes of layer 1
        assert abs(last.mean() - 7.779) < K * error + 5e-4
        assert abs(last.mean() - 1.06 * 7.779) > K * error + 5e-4

    def test_means_follow_the_rate(self):
        """``E[H_t] = β E[H_{t-1}] - θ p_{t-1}`` for the delayed reset, exactly in expectation over centred weights."""
        neuron = {"decay": 0.5, "reset": "delayed_subtract"}
        ensemble = simulate(network(200, depth=3, threshold=1.0, gain=2.9, steps=8, neuron=neuron), repeats=200)
        mean, rate = ensemble.potential_mean, ensemble.firing_rate
        for layer in range(3):
            residual = mean[:, layer, 1:] - 0.5 * mean[:, layer, :-1] + rate[:, layer, :-1]
            error = residual.std(axis=0, ddof=1) / math.sqrt(200)
            assert np.abs(residual.mean(axis=0) / error).max() < K
            assert np.abs((residual.mean(axis=0) - 0.25 * rate[:, layer, :-1].mean(axis=0)) / error).max() > K

    def test_coincidences(self):
        ensemble = simulate(network(60, neuron={"decay": 0.7}), repeats=5)
        np.testing.assert_array_equal(np.diagonal(ensemble.second_moments, axis1=2, axis2=3), ensemble.firing_rate)
        np.testing.assert_array_equal(ensemble.second_moments, ensemble.second_moments.swapaxes(2, 3))

    def test_nothing_is_drawn_for_the_dead(self, monkeypatch):
        monkeypatch.setattr(WeightGrid, "fill", None)
        ensemble = simulate(network(threshold=100.0, neuron={"decay": 0.5}), repeats=4)
        assert (ensemble.variance[:, 0] > 0).all()
        assert not ensemble.variance[:, 1:].any()
        assert not ensemble.second_moments.any()

    @pytest.mark.parametrize("steps", [1, 3])
    def test_a_delay_beyond_the_steps(self, steps):
        with pytest.raises(vf.DomainError, match=f"delay=3 must be below steps={steps}"):
            simulate(network(steps=steps, neuron={"delay": 3}))


@pytest.mark.parametrize("engine", ["dense", "conditional"])
@pytest.mark.parametrize("layers", [False, True])
def test_without_second_moments_the_rest_is_the_same_and_memory_linear_in_steps(monkeypatch, engine, layers):
    spike, linear = vf.layers.Spike(vf.Neuron(decay=0.5, reset="zero")), vf.layers.Linear(gain=2.8)

    def built(steps):
        if layers:
            return vf.Network(width=40, layers=[spike, vf.layers.Residual(linear, spike), linear, spike], steps=steps)
        return vf.Network(width=40, depth=3, gain=2.8, neuron=spike.neuron, steps=steps)

    for steps in (8, 30):
        whole, less = (vf.simulate(built(steps), repeats=3, engine=engine, second_moments=kept) for kept in (True, False))
        assert less.second_moments is None
        for name in ("variance", "firing_rate", "potential_mean"):
            assert np.array_equal(getattr(less, name), getattr(whole, name))
    monkeypatch.setattr("varflow._memory.free_memory", lambda: 1e8)
    with pytest.raises(vf.DomainError, match=r"GiB of memory.* or second_moments=False"):
        vf.simulate(built(3000), repeats=1, engine=engine)
    assert vf.simulate(built(3000), repeats=1, engine=engine, second_moments=False).variance.shape == (1, 3, 3000)
