"""Every preset, spike for spike, against the library it is named after, or the library's update written out.

Random currents go through the library's neuron and through the simulator's; a neuron of another family must differ.
"""

import math

import numpy as np
import pytest

import varflow as vf

torch = pytest.importorskip("torch")

from given_currents import step_neurons  # noqa: E402

from varflow.simulation.neurons import Cells, arriving  # noqa: E402

RESETS = tuple(vf.resets.FAMILIES)
STEPS, NEURONS = 40, 300


def currents(std=1.5, mean=0.2):
    constant = np.random.default_rng(1).normal(mean, std, size=(1, NEURONS))
    return np.round(constant + np.random.default_rng(2).normal(0, std, size=(STEPS, NEURONS)), 6)


def stepped(cell, given, state=None):
    """Spikes of a library's cell that takes (current, state) and returns (spikes, state)."""
    spikes = []
    with torch.no_grad():
        for current in torch.tensor(given):
            fired, state = cell(current[None], state)
            spikes.append(fired[0].double().numpy())
    return np.array(spikes)


def agree(neuron, spikes, given):
    assert spikes.any()
    return np.array_equal(step_neurons(neuron, given)[1], spikes)


def other_families(neuron):
    """Without a leak the two subtractions are one."""
    options = {name: getattr(neuron, name) for name in ("decay", "input_scale", "synaptic_decay", "strict")}
    pair = {"subtract", "delayed_subtract"}
    alike = pair if neuron.decay == 1 and neuron.reset in pair else {neuron.reset}
    return [vf.Neuron(neuron.threshold, reset=reset, **options) for reset in RESETS if reset not in alike]


def check(neuron, spikes, given):
    assert agree(neuron, spikes, given)
    assert not any(agree(other, spikes, given) for other in other_families(neuron))


class TestSnntorch:
    @pytest.fixture(scope="class")
    @staticmethod
    def snntorch():
        return pytest.importorskip("snntorch")

    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"reset_mechanism": "zero"},
            {"reset_mechanism": "none"},
            {"reset_mechanism": "zero", "reset_delay": False},
            {"reset_mechanism": "none", "reset_delay": False},
            {"threshold": 0.5},
        ],
        ids=repr,
    )
    def test_leaky(self, snntorch, options):
        given, cell = currents(), snntorch.Leaky(beta=0.75, **options)
        spikes = stepped(lambda current, mem: cell(current, mem), given, torch.zeros(1, NEURONS, dtype=torch.float64))
        check(vf.neurons.snntorch_leaky(beta=0.75, **options), spikes, given)

    @pytest.mark.parametrize(
        "options",
        [{}, {"reset_mechanism": "zero"}, {"reset_mechanism": "none"}, {"reset_mechanism": "zero", "reset_delay": False}],
        ids=repr,
    )
    def test_synaptic(self, snntorch, options):
        given, cell = currents(), snntorch.Synaptic(alpha=0.5, beta=0.75, **options)

        def step(current, state):
            spikes, syn, mem = cell(current, *state)
            return spikes, (syn, mem)

        spikes = stepped(step, given, (torch.zeros(1, NEURONS, dtype=torch.float64),) * 2)
        check(vf.neurons.snntorch_synaptic(alpha=0.5, beta=0.75, **options), spikes, given)

    def test_the_reset_without_delay_is_no_plain_subtraction(self, snntorch):
        """What the refusal says: the neuron it names instead spikes at other steps."""
        given, cell = currents(std=3.0), snntorch.Leaky(beta=0.75, reset_delay=False)
        spikes = stepped(lambda current, mem: cell(current, mem), given, torch.zeros(1, NEURONS, dtype=torch.float64))
        assert not agree(vf.Neuron(1.0, decay=0.75, reset="subtract"), spikes, given)
        with pytest.raises(vf.DomainError, match="reset_delay=False has no equivalent for reset_mechanism='subtract'"):
            vf.neurons.snntorch_leaky(0.75, reset_delay=False)


class TestNorse:
    @pytest.fixture(scope="class")
    @staticmethod
    def norse():
        return pytest.importorskip("norse.torch")

    @pytest.mark.parametrize("method", ["reset_value", "reset_subtract"])
    def test_lif_box(self, norse, method):
        from norse.torch.functional import reset

        given, function = currents(std=6.0), getattr(reset, method)
        p = norse.LIFBoxParameters(reset_method=function)
        start = norse.LIFBoxFeedForwardState(v=torch.zeros(1, NEURONS, dtype=torch.float64))
        spikes = stepped(norse.LIFBoxCell(p=p), given, start)
        check(vf.neurons.norse_lif_box(reset_method=function), spikes, given)
        assert vf.neurons.norse_lif_box(reset_method=function) == vf.neurons.norse_lif_box(reset_method=method)

    @pytest.mark.parametrize("options", [{}, {"v_th": 0.5, "tau_syn_inv": 100.0, "tau_mem_inv": 300.0}], ids=repr)
    def test_lif(self, norse, options):
        given = currents(std=3.0)
        p = norse.LIFParameters(**{name: torch.as_tensor(value) for name, value in options.items()})
        zero = torch.zeros(1, NEURONS, dtype=torch.float64)
        spikes = stepped(norse.LIFCell(p=p), given, norse.LIFFeedForwardState(v=zero, i=zero))
        check(vf.neurons.norse_lif(**options), spikes, given)


class TestSpikingjelly:
    @pytest.fixture(scope="class")
    @staticmethod
    def neuron():
        try:
            from spikingjelly.activation_based import neuron
        except ImportError:
            pytest.skip("spikingjelly is not installed")
        return neuron

    @pytest.mark.parametrize("v_reset", [0.0, None])
    @pytest.mark.parametrize("decay_input", [True, False])
    def test_lif(self, neuron, decay_input, v_reset):
        given, cell = currents(std=2.0), neuron.LIFNode(tau=4.0, decay_input=decay_input, v_reset=v_reset)
        spikes = stepped(lambda current, _: (cell(current), None), given)
        check(vf.neurons.spikingjelly_lif(4.0, decay_input, v_reset=v_reset), spikes, given)

    @pytest.mark.parametrize("v_reset", [0.0, None])
    def test_if(self, neuron, v_reset):
        given, cell = currents(), neuron.IFNode(v_threshold=0.75, v_reset=v_reset)
        spikes = stepped(lambda current, _: (cell(current), None), given)
        check(vf.neurons.spikingjelly_if(0.75, v_reset), spikes, given)

    def test_a_spike_at_the_threshold(self, neuron):
        given = np.array([[1.0, 0.5], [0.0, 0.5], [0.0, 1.0]])
        cell = neuron.IFNode()
        spikes = stepped(lambda current, _: (cell(current), None), given)
        assert agree(vf.neurons.spikingjelly_if(), spikes, given)
        assert not agree(vf.Neuron(1.0, decay=1.0, reset="zero"), spikes, given)


class TestSinabs:
    @pytest.fixture(scope="class")
    @staticmethod
    def sinabs():
        return pytest.importorskip("sinabs", reason="sinabs is not installed")

    @pytest.mark.parametrize("tau_syn", [None, 4.0])
    @pytest.mark.parametrize("norm_input", [True, False])
    @pytest.mark.parametrize("fires", ["MultiSpike", "SingleSpike", "Reset"])
    def test_lif(self, sinabs, fires, norm_input, tau_syn):
        from sinabs import activation

        given = currents(std=8.0 if norm_input else 1.5)
        spike_fn = activation.MultiSpike if fires == "MultiSpike" else activation.SingleSpike
        reset_fn = activation.MembraneReset() if fires == "Reset" else activation.MembraneSubtract()
        options = {"tau_syn": tau_syn, "norm_input": norm_input, "spike_fn": spike_fn, "reset_fn": reset_fn}
        cell = sinabs.layers.LIF(tau_mem=5.0, **options)
        with torch.no_grad():
            spikes = cell(torch.tensor(given)[None])[0].double().numpy()
        check(vf.neurons.sinabs_lif(5.0, **options), spikes, given)


def sinabs_written(given, *, alpha, alpha_syn, norm_input, many, least=-np.inf):
    v, i, spikes = 0.0, 0.0, []
    for current in given:
        i = alpha_syn * (i + current) if alpha_syn else current
        v = alpha * v + (1 - alpha if norm_input else 1.0) * i
        s = np.where(v > 0, np.trunc(v), 0.0) if many else (v >= 1).astype(float)
        v = np.maximum(v - s, least)
        spikes.append(s)
    return np.array(spikes)


def spikingjelly_written(given, *, tau, decay_input, hard):
    v, spikes = 0.0, []
    for x in given:
        h = v + (x - v) / tau if decay_input else v - v / tau + x
        s = (h >= 1).astype(float)
        v = h * (1 - s) if hard else h - s
        spikes.append(s)
    return np.array(spikes)


class TestWritten:
    """The libraries that need not be installed, by their update."""

    @pytest.mark.parametrize("hard", [True, False])
    @pytest.mark.parametrize("decay_input", [True, False])
    def test_spikingjelly(self, decay_input, hard):
        given = currents(std=2.0)
        spikes = spikingjelly_written(given, tau=4.0, decay_input=decay_input, hard=hard)
        check(vf.neurons.spikingjelly_lif(4.0, decay_input, v_reset=0.0 if hard else None), spikes, given)

    @pytest.mark.parametrize("many", [True, False])
    @pytest.mark.parametrize("tau_syn", [None, 4.0])
    def test_sinabs(self, tau_syn, many):
        given, syn = currents(std=8.0), None if tau_syn is None else math.exp(-1 / tau_syn)
        spikes = sinabs_written(given, alpha=math.exp(-1 / 5), alpha_syn=syn, norm_input=True, many=many)
        check(vf.neurons.sinabs_lif(5.0, tau_syn, spike_fn="MultiSpike" if many else "SingleSpike"), spikes, given)

    @pytest.mark.parametrize("many", [True, False])
    @pytest.mark.parametrize("least", [-1.0, -0.2, 0.0])
    def test_sinabs_with_a_lower_bound(self, least, many):
        given, fires = currents(std=8.0), "MultiSpike" if many else "SingleSpike"
        spikes = sinabs_written(given, alpha=math.exp(-1 / 5), alpha_syn=None, norm_input=True, many=many, least=least)
        assert agree(vf.neurons.sinabs_lif(5.0, spike_fn=fires, min_v_mem=least), spikes, given)
        for other in (None, least - 0.3):
            assert not agree(vf.neurons.sinabs_lif(5.0, spike_fn=fires, min_v_mem=other), spikes, given)

    @pytest.mark.parametrize("lag", [2, 3, 4])
    def test_two_groups_of_stork(self, lag):
        """Every group evolves on the input of the step before; then connections hand on the spikes. Three steps in all."""
        rng = np.random.default_rng(3)
        before = (rng.random((STEPS, 50)) < 0.3).astype(float)
        weights = rng.normal(size=(NEURONS, 50))
        decay, filtered = math.exp(-1 / 10), math.exp(-1 / 5)
        mem = syn = received = np.zeros(NEURONS)
        fired = []
        for spikes in before:
            out = (mem > 1).astype(float)
            mem, syn = (decay * mem + (1 - decay) * syn) * (1 - out), filtered * syn + received
            fired.append(out)
            received = weights @ spikes
        neuron = vf.neurons.stork_lif()
        late = vf.Neuron(1.0, decay=neuron.decay, delay=lag)
        arrived = arriving(torch.tensor(before)[None, None], Cells.of([late], torch.device("cpu")))[0, 0].numpy()
        assert agree(neuron, np.array(fired), arrived @ weights.T) == (lag == 3)
        assert neuron.delay == 3


REFUSED = [
    (lambda: vf.neurons.snntorch_leaky(1.5), "beta=1.5 must lie between 0 and 1"),
    (lambda: vf.neurons.snntorch_leaky(0.5, reset_mechanism="soft"), "reset_mechanism='soft' is unknown"),
    (lambda: vf.neurons.snntorch_leaky(0.5, -1.0), "threshold=-1.0 must not be negative"),
    (lambda: vf.neurons.snntorch_synaptic(1.0, 0.5), "alpha=1.0 must be less than 1"),
    (lambda: vf.neurons.snntorch_synaptic(0.5, 0.5, reset_delay=False), "reset_delay=False has no equivalent"),
    (lambda: vf.neurons.spikingjelly_lif(1.0), "tau=1.0 must be greater than 1"),
    (lambda: vf.neurons.spikingjelly_lif(v_reset=-0.1), "v_reset=-0.1 must be 0: measure potentials from rest"),
    (lambda: vf.neurons.spikingjelly_if(v_reset=0.1), "v_reset=0.1 must be 0"),
    (lambda: vf.neurons.norse_lif_box(v_leak=-65.0), "v_leak=-65.0 must be 0"),
    (lambda: vf.neurons.norse_lif(v_reset=0.2), "v_reset=0.2 must be 0"),
    (lambda: vf.neurons.norse_lif(tau_syn_inv=2000.0), "tau_syn_inv=2000.0 must be at most 1/dt"),
    (lambda: vf.neurons.norse_lif_box(reset_method="hard"), "reset_method='hard' is unknown"),
    (lambda: vf.neurons.stork_lif(tau_mem=0.0), "tau_mem=0.0 must be positive"),
    (lambda: vf.neurons.sinabs_lif(20.0, min_v_mem=0.5), "min_v_mem=0.5 must not be positive"),
    (lambda: vf.neurons.sinabs_lif(20.0, reset_fn="MembraneReset"), "reset_fn='MembraneReset' has no equivalent"),
    (lambda: vf.neurons.sinabs_lif(20.0, spike_fn="Poisson"), "spike_fn='Poisson' is unknown"),
    (lambda: vf.neurons.sinabs_lif(math.inf), "tau_mem=inf leaves no input with norm_input=True"),
    (lambda: vf.neurons.sinabs_lif(np.array([math.inf, 20.0])), "tau_mem="),
]


@pytest.mark.parametrize(("call", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_what_has_no_equivalent_is_refused(call, message):
    with pytest.raises(vf.DomainError) as caught:
        call()
    assert str(caught.value).startswith(message)
