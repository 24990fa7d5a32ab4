"""Resets as data: interpreters take a reset of the user's own and agree on it; none takes a name it does not know."""

import copy
import pickle
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
from wording import NO_FRACTION, NOT_SINGLE

import varflow as vf
from varflow.theory.responses.quasi_monte_carlo import QuasiMonteCarlo, normal_points
from varflow.theory.responses.step import stepped

torch = pytest.importorskip("torch")

import spike_histories  # noqa: E402
from given_currents import step_neurons  # noqa: E402

from varflow.model.library_neurons import Spiking  # noqa: E402
from varflow.torch_models.tracing.measurements import Recorder  # noqa: E402
from varflow.torch_models.tracing.traced import TracedLayer  # noqa: E402

Reset, FAMILIES = vf.resets.Reset, vf.resets.FAMILIES
OWN = [
    Reset(threshold=0.5),
    Reset(threshold=0.5, delayed=True),
    Reset(membrane=0.7),
    Reset(membrane=1.0, threshold=-0.3),
    Reset(input=0.6),
    Reset(membrane=0.4, threshold=0.3, input=1.0),
    Reset(membrane=0.25, threshold=0.5, input=0.25, delayed=True),
    Reset(counts=True),
    Reset(threshold=0.4, counts=True),
]
BOUNDED = [
    Reset(threshold=1.0, lowest=-0.3),
    Reset(membrane=0.7, lowest=-0.2),
    Reset(lowest=0.0),
    Reset(threshold=2.5, input=0.5, lowest=-1.0),
    Reset(threshold=1.0, counts=True, lowest=-1.0),
]
SINGLE = [reset for reset in OWN if not reset.counts]
ALL = [*FAMILIES.values(), *OWN]
FAR = 8.0  # standard errors of 8 scrambles: beyond it with probability 1e-4
MOMENTS = ("variance", "potential_mean", "firing_rate", "second_moments")


def changed(reset):
    """The same with one coefficient a little off."""
    if reset.lowest is not None:
        return replace(reset, lowest=reset.lowest - 0.3)
    if reset.threshold:
        return replace(reset, threshold=reset.threshold - 0.05)
    return replace(reset, membrane=reset.membrane - 0.05) if reset.membrane else Reset(threshold=0.05, counts=reset.counts)


# One neuron on given currents.


def written(neuron, currents):
    """``H_t`` and ``S_t`` as the definition of a Reset says."""
    rule, β, θ = neuron.reset_rule, neuron.decay, neuron.threshold
    ρ = 1 if rule.delayed else β
    H = S = np.zeros(currents.shape[1])
    membranes, spikes = [], []
    for c in neuron.input_scale * currents:
        kept = β * (1 - rule.membrane * S) * H - ρ * rule.threshold * θ * S
        if rule.lowest is not None:
            kept = np.maximum(kept, β * rule.lowest * θ)
        H = kept + (1 - rule.input * S) * c
        S = np.maximum(np.floor(H / θ), 0.0) if rule.counts else 1.0 * (θ < H)
        membranes.append(H)
        spikes.append(S)
    return np.array(membranes), np.array(spikes)


@pytest.mark.parametrize("step", [stepped, step_neurons])
@pytest.mark.parametrize("reset", [*ALL, *BOUNDED], ids=repr)
def test_a_step_is_the_definition(reset, step):
    neuron = vf.Neuron(0.8, decay=0.7, input_scale=0.6, reset=reset)
    currents = np.random.default_rng(5).normal(0.4, 2.0, (30, 200))
    H, S = step(neuron, currents)
    membranes, spikes = written(neuron, currents)
    assert np.array_equal(S, spikes)
    assert pytest.approx(membranes, abs=1e-12) == H
    assert not np.array_equal(step(replace(neuron, reset=changed(reset)), currents)[1], spikes)


def audited(neuron, currents, spikes):
    """What an audit makes of the currents that go into a layer and the spikes that come out."""
    recorder, layer = Recorder(), TracedLayer(("0",), "1", [torch.nn.Linear(1, 1)], None, Spiking(neuron))
    for current, S in zip(currents, spikes, strict=True):
        recorder(layer, torch.tensor(current)[None], torch.tensor(S)[None])
    return recorder.results()["1"]


@pytest.mark.parametrize("reset", [*ALL, *BOUNDED], ids=repr)
def test_an_audit_reconstructs_the_membranes(reset):
    neuron = vf.Neuron(0.8, decay=0.7, input_scale=0.6, reset=reset, synaptic_decay=0.3)
    currents = np.random.default_rng(5).normal(0.4, 2.0, (30, 200))
    filtered = np.array([sum(0.3 ** (t - s) * currents[s] for s in range(t + 1)) for t in range(30)])
    membranes, spikes = written(neuron, filtered)
    seen = audited(neuron, currents, spikes)
    assert pytest.approx(membranes.mean(1), abs=1e-12) == seen.mean
    assert pytest.approx(membranes.var(1, ddof=1), abs=1e-10) == seen.variance
    wrong = audited(replace(neuron, reset=changed(reset)), currents, spikes)
    assert wrong.reason.startswith("does not step as")
    assert np.isnan(wrong.variance).all()


# Normal currents, each route from the description alone.

MEAN, COVARIANCE = np.array([0.2, -0.1]), np.array([[1.3, 0.5], [0.5, 0.9]])


def by_quasi_monte_carlo(neuron):
    """Mean and standard error of the moments of two steps, in one row."""
    response = QuasiMonteCarlo(neuron, normal_points(2, points=2**11, scrambles=8, seed=1), seed=1)
    state = response(MEAN[None, None], COVARIANCE[None, None], layer=1)
    rows = [spike_histories.flat([getattr(state, name)[r, 0] for name in MOMENTS]) for r in range(len(state.variance))]
    return np.mean(rows, axis=0), np.std(rows, axis=0, ddof=1) / len(rows) ** 0.5


METHODS = {
    "histories": lambda neuron: spike_histories.drawn(neuron, MEAN, COVARIANCE, points=2**11, seed=1),
    "quasi_monte_carlo": by_quasi_monte_carlo,
}


@pytest.mark.parametrize(
    ("reset", "threshold", "methods"),
    [
        (OWN[-1], 2.0, METHODS),
        *((reset, 1.0, METHODS) for reset in SINGLE),
        *((reset, -0.2, METHODS) for reset in (OWN[0], OWN[5], OWN[6])),
        *((reset, 1.0, ["quasi_monte_carlo"]) for reset in BOUNDED[:-1]),
        pytest.param(BOUNDED[-1], 1.0, ["quasi_monte_carlo"], marks=pytest.mark.slow),  # the reference takes ten seconds
    ],
    ids=lambda value: "" if value is METHODS else repr(value),
)
def test_two_steps_of_theory_and_reference(reset, threshold, methods):
    neuron = vf.Neuron(threshold, decay=0.6, reset=reset)
    two_steps = vf.reference.two_steps(neuron, covariance=COVARIANCE.tolist(), mean=MEAN.tolist(), digits=10)
    exact = spike_histories.flat([np.array(getattr(two_steps, name), dtype=float) for name in MOMENTS])

    def deviation(response):
        mean, error = response
        return float(np.max(np.abs(mean - exact) / (FAR * error + 1 / 2**11)))  # points in one dimension

    for method in methods:
        assert deviation(METHODS[method](neuron)) < 1
        assert deviation(METHODS[method](replace(neuron, reset=changed(reset)))) > 1


@pytest.mark.parametrize(
    "reset", [*(pytest.param(reset, marks=pytest.mark.slow) for reset in SINGLE[:-1]), SINGLE[-1]], ids=repr
)
def test_symbolic_moments_and_reference(reset):
    """From rest the first membrane is normal, the closure of the symbolic moments exact, and the second one theirs."""
    derivation = vf.symbolic.membrane_moments(reset)
    assert derivation.check(points=1)
    values = {"decay": 0.6, "input_scale": 1.0, "m_I": -0.1, "V_I": 0.9, "mu": 0.2, "sigma": 1.3**0.5, "threshold": 0.8}
    values = {name: value for name, value in values.items() if name != "threshold" or not reset.linear}
    found = np.array([float(value) for value in derivation.lambdify()(**values)])
    exact = [
        vf.reference.two_steps(
            vf.Neuron(0.8, decay=0.6, reset=rule), covariance=((1.3, 0), (0, 0.9)), mean=(0.2, -0.1), digits=10
        )
        for rule in (reset, changed(reset))
    ]
    right, wrong = ([float(two.potential_mean[1]), float(two.variance[1])] for two in exact)
    assert found == pytest.approx(right, rel=1e-9)
    assert found != pytest.approx(wrong, rel=1e-3)


# Networks.


def network(rule, width=9):
    return vf.Network(width=width, depth=3, gain=3.0, steps=5, neuron=vf.Neuron(1.0, decay=0.8, reset=rule))


@lru_cache
def predicted(rule):
    return vf.mean_field(network(rule), points=2**10)


NAMED = [rule for rule in FAMILIES.values() if not rule.counts]


@pytest.mark.parametrize(
    ("reset", "engine", "width", "repeats", "of"),
    [
        *((reset, "conditional", 2000, 64, min) for reset in (*SINGLE, *BOUNDED[:3])),
        *((reset, "dense", 500, 32, max) for reset in (OWN[5], OWN[6], BOUNDED[1])),  # neurons step as in the other engine
    ],
    ids=repr,
)
def test_networks_of_theory_and_simulation(reset, engine, width, repeats, of):
    """Finite width shifts rates by order 1/width; resets that have a name are off by more: all of them where noise is small."""
    measured = vf.simulate(network(reset, width), repeats=repeats, seed=4, engine=engine)

    def deviation(rule):
        theory = predicted(rule)
        error = np.hypot(measured.stderr().firing_rate, theory.error.get("firing_rate", 0.0))
        return np.max(np.abs(measured.mean().firing_rate - theory.firing_rate) / (4.5 * error + 2 / width))

    assert deviation(reset) < 1
    assert of(deviation(rule) for rule in NAMED if rule != reset) > 1


def test_a_reset_of_ones_own_in_an_inverse_problem():
    """Between none and subtract: half a threshold needs a gain between theirs for the same rate."""
    rules = ("none", Reset(threshold=0.5), "subtract")
    few = {"steps": 4, "depth": 6, "points": 2**9}
    gains = [vf.gain_for_rate(vf.Neuron(1.0, decay=0.5, reset=rule), rate=0.3, **few).gain for rule in rules]
    assert gains == sorted(gains)
    assert gains[0] < gains[1] < gains[2]


def test_a_shut_input_means_no_two_spikes_in_a_row():
    """A gate by its coefficients: one living step in two suffices; with half of the input let in it does not."""
    from varflow.theory.deep.look import sustained

    living = np.array([True, False, True, False])
    alternating = {Reset(membrane=1.0, input=1.0), Reset(membrane=1.0, input=1.0, threshold=-0.9)}
    for reset in (
        *alternating,
        Reset(membrane=1.0, input=0.5),
        Reset(input=1.0),
        Reset(membrane=1.0, threshold=-3.0, input=1.0),
    ):
        expected = [True] * 3 if reset in alternating else living.tolist()
        assert sustained(vf.Neuron(1.0, decay=0.5, reset=reset), living).tolist() == expected, reset


# Names.


def unknown(name):
    """A neuron with a family that no interpreter knows, as after a slip in adding one."""
    neuron = vf.Neuron(1.0, decay=0.5)
    object.__setattr__(neuron, "reset", name)
    return neuron


CURRENTS = np.full((3, 4), 1.5)


@pytest.mark.parametrize("name", ["soft", "subtract_half", None])
@pytest.mark.parametrize(
    "question",
    [
        lambda neuron: stepped(neuron, CURRENTS),
        lambda neuron: step_neurons(neuron, CURRENTS),
        lambda neuron: audited(neuron, CURRENTS, 0 * CURRENTS),
        lambda neuron: vf.reference.two_steps(neuron, covariance=((1, 0), (0, 1)), digits=10),
        lambda neuron: vf.mean_field(vf.Network(width=9, depth=2, gain=2.0, steps=2, neuron=neuron)),
        lambda neuron: vf.simulate(vf.Network(width=9, depth=2, gain=2.0, steps=2, neuron=neuron), repeats=1),
        lambda neuron: vf.symbolic.membrane_moments(neuron.reset),
        lambda neuron: replace(neuron, threshold=2.0),
    ],
    ids=["theory", "simulation", "audit", "reference", "mean_field", "simulate", "symbolic", "neuron"],
)
def test_an_unknown_family_is_an_error_everywhere(question, name):
    with pytest.raises(vf.DomainError, match="is unknown; choose one of none, subtract"):
        question(unknown(name))


@pytest.mark.parametrize("name", FAMILIES)
def test_a_name_is_kept_and_a_description_that_has_one_goes_by_it(name):
    neuron = vf.Neuron(1.0, decay=0.5, reset=name)
    assert neuron.reset == name
    assert neuron == vf.Neuron(1.0, decay=0.5, reset=FAMILIES[name])
    assert neuron.reset_rule == FAMILIES[name]
    assert repr(neuron) == repr(vf.Neuron(1.0, decay=0.5, reset=FAMILIES[name]))


def test_a_description_is_a_value():
    reset = Reset(membrane=1, threshold=-0.25)
    assert repr(reset) == "Reset(membrane=1.0, threshold=-0.25)"
    assert eval(repr(reset)) == reset == copy.deepcopy(reset) == pickle.loads(pickle.dumps(reset))
    assert len({reset, Reset(membrane=1.0, threshold=-0.25), Reset(membrane=1.0)}) == 2
    neuron = vf.Neuron(2.0, decay=0.5, reset=reset)
    assert repr(neuron) == "Neuron(threshold=2, decay=0.5, reset=Reset(membrane=1.0, threshold=-0.25))"
    assert eval(repr(neuron), {"Neuron": vf.Neuron, "Reset": Reset}) == neuron
    assert hash(neuron) == hash(copy.deepcopy(neuron))


def test_a_count_of_spikes_is_never_strict():
    """⌊H/θ⌋ is 1 at H = θ, whatever was said of ties."""
    for reset in ("multi_spike", Reset(threshold=0.5, counts=True)):
        neuron = vf.Neuron(0.5, decay=0.5, reset=reset)
        assert neuron.fires_at(0.5)
        assert neuron == vf.Neuron(0.5, decay=0.5, reset=reset, strict=False)
        assert stepped(neuron, np.array([[0.5, 0.49, 1.0]]))[1].tolist() == [[1.0, 0.0, 2.0]]
    assert not vf.Neuron(0.5).fires_at(0.5)


@pytest.mark.parametrize(
    ("options", "argument", "rule"),
    [
        ({"membrane": 1.5}, "membrane", NO_FRACTION),
        ({"input": -0.1}, "input", NO_FRACTION),
        ({"membrane": "1"}, "membrane", "must be a real number"),
        ({"threshold": float("nan")}, "threshold", "must be finite"),
        ({"threshold": [1.0, 2.0]}, "threshold", NOT_SINGLE),
        ({"delayed": 1, "threshold": 1.0}, "delayed", "must be True or False"),
        ({"delayed": True, "membrane": 1.0}, "delayed", "needs a threshold"),
        ({"counts": True, "membrane": 0.5}, "counts", "needs membrane=0 and input=0"),
        ({"counts": True, "input": 1.0}, "counts", "needs membrane=0 and input=0"),
        ({"lowest": 0.1}, "lowest", "must not be positive"),
        ({"lowest": float("nan")}, "lowest", "must be finite"),
        ({"lowest": -1.0, "threshold": 1.0, "delayed": True}, "lowest", "cannot be combined with delayed=True"),
    ],
)
def test_bad_descriptions(options, argument, rule):
    with pytest.raises(vf.DomainError, match=rule) as caught:
        Reset(**options)
    assert caught.value.argument == argument


def test_a_bounded_membrane_has_no_closed_form():
    with pytest.raises(vf.DomainError, match="must not bound the membrane"):
        vf.symbolic.membrane_moments(BOUNDED[0])
    with pytest.raises(vf.DomainError, match="must be positive for reset=Reset"):
        vf.Neuron(-0.5, reset=BOUNDED[0])


def test_a_count_needs_a_positive_threshold():
    with pytest.raises(vf.DomainError, match="must be positive for reset=Reset"):
        vf.Neuron(0.0, reset=Reset(counts=True))


@pytest.mark.parametrize("fraction", [1.0, 0.9999, 0.4])
def test_what_gradients_ignore_is_said_by_the_reset_and_not_by_its_name(fraction):
    """Growth is continuous in the subtracted fraction, also at 1; that of the detached reset differs by more than 10 %."""

    def growth(reset, **more):
        neuron = vf.Neuron(1.0, decay=0.8, reset=reset, **more)
        return vf.gradient_flow(vf.Network(width=100, depth=5, gain=3.0, neuron=neuron, steps=6), points=2**9).growth

    attached = growth(Reset(threshold=fraction, delayed=True))
    assert attached == pytest.approx(growth(Reset(threshold=fraction - 1e-6, delayed=True)), rel=1e-3)
    detached = growth(Reset(threshold=fraction, delayed=True, detached=True))
    assert detached == growth(Reset(threshold=fraction, delayed=True), detach_reset=True)
    assert growth(Reset(threshold=fraction, delayed=True, detached=True), detach_reset=False) == attached
    assert abs(detached / attached - 1) > 0.1
    if fraction == 1:
        assert detached == growth("delayed_subtract")


def test_named_resets_keep_what_they_detach():
    detached = {name for name in vf.resets.FAMILIES if vf.Neuron(1.0, decay=0.5, reset=name).reset_detached}
    assert detached == {"delayed_subtract"}
    assert vf.Neuron(1.0, decay=0.5, reset=Reset(threshold=1.0, delayed=True, detached=True)).reset == "delayed_subtract"
    with pytest.raises(vf.DomainError, match="detached=1 must be True or False"):
        Reset(threshold=1.0, detached=1)
