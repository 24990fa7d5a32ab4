"""Gradients through depth and time against real networks under autograd, and wrong theories, which must be rejected."""

import math
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from autograd_networks import atan, gradients, gradients_of_each, neurons

import varflow as vf
from varflow.theory.maps import maxima as maxima
from varflow.theory.operations.visit import Effort

L = vf.layers
BIAS = 0.05  # relative error of order 1/width
STEPS, WIDTH, NETWORKS = 5, 300, 24


def spike(reset="zero", decay=0.5, **more):
    recurrent = {name: more.pop(name) for name in ("recurrent_gain",) if name in more}
    return L.Spike(vf.Neuron(1.0, decay=decay, reset=reset, **more), **recurrent)


def linear(gain, **more):
    return L.Linear(WIDTH, gain=gain, **more)


def chain(layer, gain=2.8, depth=4):
    return [layer, *[linear(gain), layer] * (depth - 1)]


ZERO, DELAYED = spike(), spike("delayed_subtract")
CHAINS = {
    "no reset": chain(spike("none")),
    "soft reset": chain(spike("subtract", detach_reset=True)),
    "attached soft reset": chain(spike("subtract")),
    "delayed reset": chain(DELAYED),
    "attached delayed reset": chain(spike("delayed_subtract", detach_reset=False)),
    "reset to zero": chain(ZERO),
    "detached reset to zero": chain(spike(detach_reset=True)),
    "gate": chain(spike("gate")),
    "fractions": chain(spike(vf.resets.Reset(membrane=0.7, input=0.4, threshold=0.3), 0.8)),
    "lower bound": chain(spike(vf.resets.Reset(threshold=1.0, lowest=-0.3), 0.8)),
    "synapse and scale": chain(spike("gate", synaptic_decay=0.4, input_scale=0.6), 4.0),
    "delay": [ZERO, linear(3.0), spike(delay=1), linear(3.0), ZERO],
    "filters": [ZERO, L.Filter((0.6,), 0.5, delay=1), linear(3.0), L.Filter((0.4, 0.7), 0.3), ZERO, linear(3.0), ZERO],
    "recurrent": [
        ZERO,
        linear(2.0),
        spike("subtract", recurrent_gain=2.0),
        linear(2.0),
        spike(synaptic_decay=0.3, recurrent_gain=2),
    ],
}
CHAINS["recurrent, above neurons without reset"] = [
    *[spike("none", 0.4), linear(2.1)],
    *[spike("zero", recurrent_gain=1.4), linear(2.3), spike("none", 0.4)],
]
BLOCKS = {
    "membrane shortcuts": [*[L.Residual(ZERO, linear(1.2, rows="centred"), keep=0.9)] * 3, ZERO],
    "SEW add": [ZERO, *[L.Residual(linear(2.0), ZERO)] * 2, linear(2.0), ZERO],
    "SEW and": [ZERO, L.Residual(linear(3.0), ZERO, merge="and"), linear(4.0), ZERO],
    "SEW iand": [ZERO, *[L.Residual(linear(2.5), ZERO, linear(2.5), DELAYED, merge="iand")] * 2, linear(3.0), ZERO],
    "SEW add, without reset first": [spike("none", 0.3), L.Residual(linear(2.3), DELAYED), linear(1.8), ZERO],
    "membrane shortcut, without reset first": [spike("none", 0.7), linear(2.2), L.Residual(ZERO, linear(1.6), keep=0.7), ZERO],
    "sums within a sum": [ZERO, L.Residual(L.Residual(linear(2.2), ZERO)), linear(1.4), ZERO],
    "a shared factor": [
        *[ZERO, linear(2.6)],
        L.Residual(L.Scale(-0.4), L.Residual(ZERO, linear(1.5), keep=0.7), L.BatchNorm(0.8, 0.1, (0.2, 0.7)), keep=0.9),
        ZERO,
    ],
    "normalised": [
        *[ZERO, linear(2.0), L.LayerNorm(gamma=1.3), ZERO],
        *[linear(2.0), L.BatchNorm(gamma=1.1, statistics=(0.1, 0.7)), ZERO, L.Scale(0.9), linear(3.0), ZERO],
    ],
}
CONV = [L.Conv(64, gain=3.0), ZERO, L.Conv(64, gain=3.0, stride=2), ZERO]
MAPS = {
    "convolutions": [*CONV, linear(2.6), ZERO],
    "overlapping pools": [*CONV[:2], L.Pool("average", 3, 1, 1), L.Conv(64, gain=5.0), L.Pool("average", 2, 1), DELAYED],
    "maxima": [*CONV[:2], L.Pool("max", 2), L.Conv(64, gain=3.0), ZERO, linear(2.6), ZERO],
    "overlapping maxima": [CONV[0], spike(delay=1), L.Scale(1.5), L.Pool("max", 3, 2, 1), L.Conv(64, gain=2.0), ZERO],
    "repeated map": [*CONV[:2], L.Upsample(2), L.Conv(64, gain=3.0), ZERO, linear(2.6), ZERO],
    "transposed convolution": [*CONV[:2], L.Upsample(2, zeros=True), L.Conv(64, gain=4.0), ZERO, linear(2.6), ZERO],
    "residual map": [CONV[0], L.Residual(ZERO, L.Conv(64, gain=2.0), keep=0.9), ZERO, L.Pool("average", 2), linear(5.0), ZERO],
}
IMAGE = np.random.default_rng(5).normal(size=(1, STEPS, 8, 4, 4))


def network(layers):
    if isinstance(layers[0], L.Conv):
        return vf.Network(layers=layers, steps=STEPS, drive=vf.drives.inputs(IMAGE))
    return vf.Network(width=WIDTH, layers=layers, steps=STEPS)


def drawn(layers, networks=NETWORKS, inputs=None, **options):
    """Energies (networks, layers, steps) and squared norms of weight gradients (networks, layers); ``inputs`` of each."""
    if isinstance(layers[0], L.Conv):
        inputs = torch.tensor(IMAGE, dtype=torch.float32).repeat(networks, 1, 1, 1, 1)
    elif inputs is None:
        inputs = torch.randn(networks, 1, WIDTH, generator=torch.Generator().manual_seed(1000)).repeat(1, STEPS, 1)
    parts = inputs.split(8)  # whose weights fit into the cache
    found = [gradients_of_each(layers, part, seed=seed, **options) for seed, part in enumerate(parts)]
    return [torch.cat(each).numpy() for each in zip(*found, strict=True)]


def measured(layers, **options):
    """Mean and standard error over networks of both quantities."""
    return {name: mean_of(each) for name, each in zip(("energy", "weight_norms"), drawn(layers, **options), strict=True)}


def mean_of(values):
    return values.mean(axis=0), values.std(axis=0, ddof=1) / math.sqrt(len(values))


def agrees(flow, found):
    """Whether every layer and step is within four standard errors and the bias."""
    for name, (mean, error) in found.items():
        theory = getattr(flow, name)
        if np.any(np.abs(mean - theory) > 4 * np.hypot(error, flow.error[name]) + BIAS * theory):
            return False
    return True


def predicted(layers, surrogate="atan", **options):
    return vf.gradient_flow(network(layers), surrogate, points=2**10, scrambles=4, **options)


@pytest.mark.parametrize("name", [*CHAINS, *BLOCKS, *MAPS])
def test_gradients_of_real_networks_are_predicted(name):
    assert agrees(predicted((CHAINS | BLOCKS | MAPS)[name]), real(name))


DEEP = {f"{reset}, deep": chain(spike(reset, 0.8), 2.5, 8) for reset in ("subtract", "delayed_subtract", "gate")}


@cache
def real(name):
    return measured(DEEP[name], networks=40) if name in DEEP else measured((CHAINS | BLOCKS | MAPS)[name])


@pytest.mark.parametrize("name", ["maxima", "overlapping maxima"])
def test_the_choice_of_a_maximum_depends_on_membranes(name, monkeypatch):
    """A choice with the same probabilities, but independent of the membranes, is rejected."""
    choice = maxima.maximum_back

    def independent(*parts):
        (chosen,) = (back := choice(*parts)).routed
        return replace(back, routed=(replace(chosen, taps=np.roll(chosen.taps, 7, axis=-1)),))

    monkeypatch.setattr("varflow.theory.operations.pool.maximum_back", independent)
    assert not agrees(predicted(MAPS[name]), real(name))


@pytest.mark.parametrize("name", DEEP)
def test_wrong_theories_are_rejected(name):
    layers, psi = DEEP[name], vf.surrogates.atan()
    assert agrees(predicted(layers, psi), real(name))
    assert not agrees(predicted(layers, psi, detach_reset=not layers[0].neuron.reset_detached), real(name))
    for factor in (0.9, 1.15):
        assert not agrees(predicted(layers, psi.widened(factor * psi.width)), real(name))


def test_a_readout_of_its_own_at_every_step():
    layers = CHAINS["delayed reset"]
    found = measured(layers, readout="independent")
    assert agrees(predicted(layers, readout="independent"), found)
    assert not agrees(predicted(layers), found)


@pytest.mark.parametrize(("steps", "over"), [(1, "all steps"), (4, "all steps"), (4, "each step"), (4, "past steps")], ids=str)
def test_batch_normalisation_leaves_gradients_of_independent_losses_as_they_are(steps, over):
    """But for a factor; 128 inputs stand for infinitely many. Weights before it see the activity about its mean."""
    neuron = vf.Neuron() if steps == 1 else ZERO.neuron
    scales = [] if over == "all steps" else [L.ScaleSteps((1.0, 1.4, 0.7, 1.0), (0.0, 0.0, 0.2, 0.0))]
    layers = [L.Spike(neuron), *[linear(2.0), L.BatchNorm(gamma=1.3, over=over), *scales, L.Spike(neuron)] * 3]
    flow = vf.gradient_flow(vf.Network(width=WIDTH, layers=layers, steps=steps), points=2**11, scrambles=4)
    energy, weights = [], []
    for seed in range(8):
        x = torch.randn(128, 1, WIDTH, generator=torch.Generator().manual_seed(1000 + seed)).expand(128, steps, WIDTH).clone()
        each = gradients(layers, x, seed=seed)
        energy.append(each[0]), weights.append(each[1])
    found = {"energy": mean_of(torch.stack(energy).numpy()), "weight_norms": mean_of(torch.stack(weights).numpy())}
    assert agrees(flow, found)
    wrong = [[each for each in layers if not isinstance(each, L.ScaleSteps)]] if scales else []
    for other in (*wrong, [*layers[: -2 - len(scales)], L.Scale(1.0), layers[-1]]):
        flow = vf.gradient_flow(vf.Network(width=WIDTH, layers=other, steps=steps), points=2**11, scrambles=4)
        assert not agrees(flow, found)


@pytest.mark.parametrize("over", ["all steps", "each step"])
def test_a_small_batch_is_normalised(over, monkeypatch):
    """Of eight or 16 given inputs, which are few: the corrections of order 1/inputs are needed."""
    layers = [linear(1.5), ZERO, linear(2.0), L.BatchNorm(gamma=1.3, over=over), ZERO]
    inputs, networks, second_order = (8, NETWORKS, 0.01) if over == "all steps" else (16, 80, 3 / 16**2)
    x = np.random.default_rng(3).normal(size=(inputs, 40))
    repeated = torch.tensor(np.repeat(x[:, None], STEPS, axis=1), dtype=torch.float32)
    each = [gradients(layers, repeated.clone(), readout="independent", seed=seed)[0] for seed in range(networks)]
    mean, error = mean_of(torch.stack(each).numpy().sum(axis=-1))
    net = vf.Network(width=WIDTH, layers=layers, steps=STEPS, drive=vf.drives.inputs(x))

    def fits():
        energy = vf.gradient_flow(net, readout="independent", points=2**11, scrambles=4).energy.sum(axis=1)
        return np.all(np.abs(energy - mean) < 3 * error + second_order * mean)

    assert fits()
    plain = lambda gradients, C, gain, square, size, over: gradients.times(np.resize(gain, C.shape[-1])[:, None] ** 2)  # noqa: E731
    monkeypatch.setattr("varflow.theory.operations.batch_norm.batch_back", plain)
    assert not fits()


LARGE = [*CONV, L.Residual(L.Conv(64, gain=2.0), spike(delay=1)), L.Conv(32, gain=3.0), L.LayerNorm(), ZERO, linear(2.6), ZERO]


def test_positions_of_large_maps_are_followed_on_their_own(monkeypatch):
    """As all of them together, within 4 standard errors of the numerics; two convolutions 20 % stronger are rejected."""
    together = predicted(LARGE)
    monkeypatch.setattr(Effort, "per_position", lambda self, grid: True)
    alone = predicted(LARGE)
    stronger = predicted([L.Conv(64, gain=3.6), *LARGE[1:2], L.Conv(64, gain=3.6, stride=2), *LARGE[3:]])
    assert alone.energy.shape == (5, STEPS)
    for name in ("energy", "weight_norms"):
        allowed = 4 * np.hypot(together.error[name], alone.error[name])
        assert np.all(np.abs(getattr(together, name) - getattr(alone, name)) <= allowed)
        assert np.any(np.abs(getattr(together, name) - getattr(stronger, name)) > allowed)


def test_given_currents_are_followed_neuron_by_neuron():
    currents = np.random.default_rng(1).normal(size=(STEPS, WIDTH))
    layers = [ZERO, linear(2.8), ZERO]
    net = vf.Network(width=WIDTH, layers=layers, steps=STEPS, drive=vf.drives.given(currents))
    x = torch.tensor(currents, dtype=torch.float32).repeat(NETWORKS, 1, 1)
    energy = mean_of(drawn(layers, inputs=x)[0])
    flow = vf.gradient_flow(net, points=2**11, scrambles=4)
    assert agrees(flow, {"energy": energy})
    assert not agrees(vf.gradient_flow(net, detach_reset=True, points=2**11, scrambles=4), {"energy": energy})


def test_one_step_is_the_gradient_gain_and_its_scatter():
    gain = vf.gain(threshold=1.0)
    flow = vf.gradient_flow(vf.Network(width=1000, depth=20, gain=gain))
    chi = vf.gradient_gain(threshold=1.0, gain=gain, surrogate="atan", variance=1.0)
    np.testing.assert_allclose(flow.growth, chi, rtol=1e-12)
    np.testing.assert_allclose(flow.instantaneous, chi, rtol=1e-12)
    currents = torch.randn(200, 1, WIDTH, generator=torch.Generator().manual_seed(1000))
    found = drawn(chain(L.Spike(vf.Neuron()), gain, 4), inputs=currents)[0][:, 0, 0]
    small = vf.gradient_flow(vf.Network(width=WIDTH, depth=4, gain=gain))
    scatter = np.log(found).std(ddof=1)
    assert abs(scatter - small.spread[0]) < 4 * scatter / math.sqrt(2 * 199) + 0.1 * scatter
    assert not abs(scatter - math.sqrt(2) * small.spread[0]) < 4 * scatter / math.sqrt(2 * 199) + 0.1 * scatter


def test_the_scatter_in_time():
    """200 networks, within 4 standard errors and 15 %; half the width has √2 times the scatter."""
    name = "attached soft reset"
    found = drawn(CHAINS[name], 200)[0].sum(2)
    flow, scatter = predicted(CHAINS[name]), np.log(found).std(axis=0, ddof=1)
    allowed = 4 * scatter / math.sqrt(2 * 199) + 0.15 * flow.spread
    assert np.all(np.abs(scatter - flow.spread) < allowed)
    assert abs(scatter[0] - math.sqrt(2) * flow.spread[0]) > allowed[0]
    typical, error = mean_of(np.log(found[:, 0] / found[:, -1]) / 3)
    assert abs(typical - math.log(flow.typical_growth)) < 4 * error + 0.01


def test_several_inputs_are_averaged():
    x = np.random.default_rng(2).normal(size=(3, 20)) * [[0.5], [1.0], [2.0]]
    shape = {"width": 50, "depth": 3, "gain": 2.8, "neuron": ZERO.neuron, "steps": 3}
    flows = [
        vf.gradient_flow(vf.Network(drive=vf.drives.inputs(rows, input_gain=2.0), **shape), points=256)
        for rows in (x, x[:1], x[1:2], x[2:])
    ]
    np.testing.assert_allclose(flows[0].energy, np.mean([flow.energy for flow in flows[1:]], axis=0), rtol=1e-6)


@pytest.mark.parametrize("steps", [1, STEPS])
def test_the_figure_shows_the_energies(steps):
    pytest.importorskip("matplotlib")
    flow = vf.gradient_flow(vf.Network(width=50, depth=3, gain=2.8, neuron=ZERO.neuron, steps=steps), points=64, scrambles=2)
    axes = flow.plot().axes
    np.testing.assert_array_equal(axes[0].lines[0].get_ydata(), flow.total)
    if steps > 1:
        np.testing.assert_allclose(axes[1].images[0].get_array(), flow.energy / flow.total[:, None])


def test_seeds_reproduce_and_errors_are_honest():
    net = network(CHAINS["delayed reset"])
    flows = [vf.gradient_flow(net, points=2**9, scrambles=4, seed=seed) for seed in range(12)]
    again = vf.gradient_flow(net, points=2**9, scrambles=4, seed=0)
    np.testing.assert_array_equal(flows[0].energy, again.energy)
    scatter = np.std([flow.growth for flow in flows], ddof=1)
    claimed = math.sqrt(np.mean([float(flow.error["growth"]) ** 2 for flow in flows]))
    assert 0.5 * claimed < scatter < 2 * claimed


@pytest.mark.parametrize(
    ("name", "neuron"),
    [
        ("Leaky", {"beta": 0.7}),
        ("Leaky", {"beta": 0.7, "reset_mechanism": "zero"}),
        ("Leaky", {"beta": 0.7, "reset_mechanism": "zero", "reset_delay": False}),
        ("Synaptic", {"alpha": 0.4, "beta": 0.7}),
        ("Synaptic", {"alpha": 0.4, "beta": 0.7, "reset_mechanism": "zero"}),
    ],
)
def test_snntorch_has_these_gradients(name, neuron):
    snntorch = pytest.importorskip("snntorch")
    module = getattr(snntorch, name)(**neuron, init_hidden=True)
    preset = getattr(vf.neurons, f"snntorch_{name.lower()}")(**neuron)
    _same_gradients(L.Spike(preset), atan, lambda x: torch.stack([module(c) for c in x.unbind(1)], dim=1))


def through(cell):
    """Spikes of Norse's cell for currents (batch, steps, …)."""

    def run(x):
        state, spikes = None, []
        for c in x.unbind(1):
            s, state = cell(c, state)
            spikes.append(s)
        return torch.stack(spikes, dim=1)

    return run


@pytest.mark.parametrize("name", ["LIFBoxCell", "LIFCell"])
def test_norse_has_these_gradients(name):
    norse = pytest.importorskip("norse.torch")
    cell, preset = getattr(norse, name)(), vf.neurons.norse_lif_box() if name == "LIFBoxCell" else vf.neurons.norse_lif()

    _same_gradients(L.Spike(preset), lambda v: 1 / (1 + v.abs()) ** 2, through(cell), scale=20.0)


@pytest.mark.parametrize("options", [{}, {"detach_reset": True}, {"v_reset": None}, {"v_reset": None, "decay_input": False}])
def test_spikingjelly_has_these_gradients(options):
    sj = pytest.importorskip("spikingjelly.activation_based.neuron")
    module = sj.LIFNode(step_mode="m", **options)
    psi = lambda v: 4 * torch.sigmoid(4 * v) * torch.sigmoid(-4 * v)  # noqa: E731
    layer = L.Spike(vf.neurons.spikingjelly_lif(**options))
    _same_gradients(layer, psi, lambda x: module(x.swapaxes(0, 1)).swapaxes(0, 1), scale=3.0)


@pytest.mark.parametrize("reset", ["MembraneSubtract", "MembraneReset"])
def test_sinabs_has_these_gradients(reset):
    sinabs = pytest.importorskip("sinabs")
    layers, activation = pytest.importorskip("sinabs.layers"), sinabs.activation
    module = layers.LIF(
        tau_mem=5.0,
        spike_fn=activation.SingleSpike,
        reset_fn=getattr(activation, reset)(),
        norm_input=False,
        spike_threshold=1.0,
    )
    psi = lambda v: 2 * torch.exp(-v.abs() / 0.5)  # noqa: E731
    preset = vf.neurons.sinabs_lif(5.0, spike_fn="SingleSpike", reset_fn=reset, norm_input=False)
    _same_gradients(L.Spike(preset), psi, module)


def test_norse_recurrent_cells_detach_the_reset():
    """Of a recurrent cell, gradients by the input, with the neuron that its module is read as."""
    norse = pytest.importorskip("norse.torch")
    from varflow.model.library_neurons import recognise

    torch.manual_seed(0)
    cell = norse.LIFRecurrentCell(40, 40)
    with torch.no_grad():
        cell.input_weights.copy_(torch.eye(40))
    neuron = recognise("cell", cell).neuron
    assert neuron.reset_detached

    _same_gradients(L.Spike(neuron), lambda v: 1 / (1 + v.abs()) ** 2, through(cell), 20.0, cell.recurrent_weights.detach())


def _same_gradients(layer, psi, library, scale=1.5, recurrent=None):
    generator = torch.Generator().manual_seed(3)
    x, e = (torch.randn(2, 6, 40, generator=generator) for _ in range(2))
    ours, theirs = (scale * x).requires_grad_(), (scale * x).requires_grad_()
    detached = layer.neuron.reset_detached
    (e * neurons(layer, ours, psi, detached, recurrent)).sum().backward()
    (e * library(theirs)).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-5)
    if not layer.neuron.reset_rule.absent:
        wrong = (scale * x).requires_grad_()
        (e * neurons(layer, wrong, psi, not detached, recurrent)).sum().backward()
        assert not torch.allclose(wrong.grad, theirs.grad, rtol=1e-2, atol=1e-3)


def snntorch_leaky(beta):
    leaky = pytest.importorskip("snntorch").Leaky(beta)
    return vf.neurons.snntorch_leaky(beta), vf.surrogates.atan(), lambda c, h: leaky(c, torch.zeros_like(c) if h is None else h)


def norse_lif_box():
    return vf.neurons.norse_lif_box(), None, pytest.importorskip("norse.torch").LIFBoxCell()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("made", "square"),
    [(lambda: snntorch_leaky(0.5), 8.0), (lambda: snntorch_leaky(0.9), 6.303), (norse_lif_box, 630.3)],
    ids=["snnTorch 0.5", "snnTorch 0.9", "Norse"],
)
def test_twenty_layers_of_modules(made, square):
    """8 steps: growth within 4 standard errors and 1 %. A wrong width, or in Norse a detached reset, is rejected."""
    (neuron, psi, cell), n, depth, networks = made(), 1000, 20, 12
    growth = []
    for seed in range(networks):
        torch.manual_seed(seed)
        x, v = torch.randn(1, n).requires_grad_(), torch.randn(n)
        into = [torch.randn(n, n) * math.sqrt(square / n) for _ in range(depth - 1)]
        currents, states, loss = [[] for _ in range(depth)], [None] * depth, 0.0
        for _ in range(8):
            I = x / neuron.input_scale
            for layer in range(depth):
                I.retain_grad()
                currents[layer].append(I)
                s, states[layer] = cell(I, states[layer])
                I = s @ into[layer].T if layer < depth - 1 else s
            loss = loss + (v * I).sum()
        loss.backward()
        first, last = (sum(float(I.grad.square().sum()) for I in currents[at]) for at in (0, -1))
        growth.append(math.log(first / last) / (depth - 1))
    mean, error = np.mean(growth), np.std(growth, ddof=1) / math.sqrt(networks)
    drive = vf.drives.currents(1 / neuron.input_scale)
    net = vf.Network(width=n, depth=depth, gain=math.sqrt(square), neuron=neuron, steps=8, drive=drive)
    psi = psi or vf.surrogates.norse_super()
    wrong = (
        [{"detach_reset": True}]
        if psi.formula.sets_width is None
        else [{"surrogate": psi.widened(f * psi.width)} for f in (0.9, 1.1)]
    )
    right, *others = (math.log(vf.gradient_flow(net, **{"surrogate": psi} | more).growth) for more in [{}, *wrong])
    allowed = 4 * error + 0.01
    assert abs(mean - right) < allowed < min(abs(mean - other) for other in others)


@pytest.mark.parametrize(
    ("layers", "options", "message"),
    [
        ([*CONV[:2], L.Pool("average", 2), L.Pool("max", 2), linear(2.0), ZERO], {}, "directly below a max pool"),
        (CHAINS["gate"], {"readout": "last"}, "readout='last'"),
        (CHAINS["gate"], {"detach_reset": 1}, "detach_reset=1"),
        (CHAINS["gate"], {"surrogate": "none"}, "surrogate='none'"),
    ],
)
def test_what_is_not_covered_is_refused_in_one_line(layers, options, message):
    with pytest.raises(vf.DomainError, match=message) as refusal:
        vf.gradient_flow(network(layers), points=64, scrambles=2, **options)
    assert "\n" not in str(refusal.value)


def test_results_do_not_depend_on_threads(monkeypatch):
    network = vf.Network(width=100, depth=3, gain=2.9, neuron=vf.neurons.snntorch_leaky(0.5), steps=6)
    runs = []
    for threads in (1, 2, 5):
        monkeypatch.setenv("OMP_NUM_THREADS", str(threads))
        runs.append(vf.gradient_flow(network, vf.surrogates.atan(), points=2**8))
    assert all(np.array_equal(run.energy, runs[0].energy) for run in runs)
    other = vf.gradient_flow(network, vf.surrogates.atan(), points=2**8, seed=1)
    assert not np.array_equal(other.energy, runs[0].energy)


def test_a_number_in_place_of_factors_of_entries():
    """Currents of a layer from outside, doubled by one number: as if its weights were."""

    class Doubled(L.Layer):
        def after(self, signal, width=None):
            return signal

        def __repr__(self):
            return "Doubled()"

    vf.register(
        Doubled,
        forward=lambda layer, received, visit: vf.theory.rescaled(received[0], 2.0),
        backward=lambda layer, gradients, visit, way: [gradients.rescaled(2.0)],
    )
    doubled, larger = predicted([ZERO, linear(1.3), Doubled(), ZERO]), predicted([ZERO, linear(2.6), ZERO])
    assert np.allclose(doubled.energy, larger.energy, rtol=1e-12)
    assert not np.allclose(predicted([ZERO, linear(1.3), ZERO]).energy, larger.energy, rtol=0.1)


NORMS = [L.LayerNorm(1.7), L.RMSNorm(1.7), L.BatchNorm(1.7), L.ScaleSteps((1.0, 0.9, 0.8, 0.7))]


@pytest.mark.parametrize("norm", NORMS, ids=lambda norm: type(norm).__name__)
def test_neurons_without_reset_below_sampled_ones(norm):
    """Their moments come in two replicas, those of sampled neurons in as many as there are scrambles."""
    layers = [spike("none"), linear(3.5), norm, spike("subtract")]
    few, many = (
        vf.gradient_flow(vf.Network(width=WIDTH, layers=layers, steps=4), points=2**9, scrambles=number) for number in (2, 8)
    )
    error = np.hypot(few.error["energy"], many.error["energy"])
    assert (np.abs(few.energy - many.energy) <= 10 * error).all()
    assert (np.abs(1.05 * few.energy - many.energy) > 10 * error).any()  # negative control
