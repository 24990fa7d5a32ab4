"""Every argument of every public callable is looked at, used or not, and errors name it as the callable does."""

import inspect
import warnings

import numpy as np
import pytest

import varflow as vf
from varflow import _checks
from varflow.results.training import TrainingHistory

torch = pytest.importorskip("torch")

CASES = [
    (lambda: vf.Neuron(1.0, detach_reset="yes"), "detach_reset"),  # without a reset there is nothing to detach
    (lambda: vf.Neuron(0.5, decay=0.5).members("few"), "points"),
    (lambda: vf.init.calculate_gain(0.5, "kaiming", steps=0), "steps"),
    (lambda: vf.init.calculate_gain(0.5, survival_target=2.0), "survival_target"),
    (lambda: vf.init.init_fn(0.5, steps=2.5), "steps"),
    (lambda: vf.init.effective_fan_in(torch.nn.Linear(3, 2), size=None), "size"),
    (lambda: vf.drives.currents(0.5).of_rows([0.5]), "rows"),
    (lambda: vf.drives.white().of_rows(-1e30), "rows"),
    (lambda: vf.drives.given([1.0, 2.0]).of_rows(np.inf), "rows"),
    (lambda: vf.drives.inputs(np.ones((2, 3))).of_rows([5]), "rows"),
    (lambda: vf.symbolic.gradient_gain("box", argument=3), "argument"),
    (lambda: vf.surrogates.Surrogate("box", formula="v"), "formula"),
    (lambda: vf.neuron(3j), "neuron"),
    (lambda: vf.surrogates.surrogate_of([]), "surrogate"),
    (lambda: vf.distribution({}), "distribution"),
    (lambda: vf.distributions.sample([1.0, 2.0]), "x"),
    (lambda: vf.weights.weight_law(2), "weights"),
    (lambda: vf.weights.normal_approximation("cauchy"), "law"),
    (lambda: vf.gain_by_rule("best", 1.0), "gain"),
    (lambda: vf.neurons.spikingjelly_lif(v_threshold=3e140), "v_threshold"),
    (lambda: vf.neurons.sinabs_lif(20.0, spike_threshold=1e-160), "spike_threshold"),
    (lambda: vf.neurons.norse_lif_box(v_th=torch.tensor(1j)), "v_th"),
    (lambda: vf.surrogates.fast_sigmoid(slope=3e140), "slope"),
    (lambda: vf.surrogates.sinabs_single_exponential(grad_scale=2e140), "grad_scale"),
    (lambda: vf.surrogates.sigmoid().widened(5e139), "width"),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(CASES)))
def test_it_is_named_as_the_callable_does(number):
    call, argument = CASES[number]
    with pytest.raises(vf.DomainError) as caught:
        call()
    assert caught.value.argument == argument


# Methods without a map of their own fixed points to draw, a batch that is only looked at when it is measured, and a word.
NOT_LOOKED_AT = {"CertifiedFixedPoints.plot", "ExactFixedPoints.plot", "Monitor.batch", "weight_law.name"}


@pytest.mark.slow
def test_every_argument_of_every_callable():
    fuzzing = pytest.importorskip("fuzzing", reason="limits on memory and time are POSIX's")
    wrong = []
    for door in fuzzing.doors()[0]:
        for name in door.required | door.optional:
            if not any(f"{door.name}.{name}".startswith((each, f"certified.{each}", f"reference.{each}", f"weights.{each}"))
                       for each in NOT_LOOKED_AT):  # fmt: skip
                wrong += _unnamed(fuzzing, door, name)
    assert not wrong


def _unnamed(fuzzing, door, name):
    """What is wrong when this argument is an object of no kind."""
    arguments = {each: fuzzing._value(values[0]) for each, values in door.required.items()} | {name: object()}
    target = fuzzing._value(door.sources[0])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            target(**arguments)
    except vf.DomainError as error:
        foreign = error.argument not in inspect.signature(target).parameters
        return [f"{door.name}: {error.argument}, not {name}"] * foreign
    return [f"{door.name}: {name} is not looked at"]


class Wordless(Exception):
    def __repr__(self):
        raise Wordless

    __str__ = __repr__


def within(depth):
    nested = [1.0]
    for _ in range(depth):
        nested = [nested]
    return nested


WORDLESS = {"int": 10**4999, "negative": -(10**9000), "object": Wordless(), "list": [Wordless()], "nested": within(3000)}


@pytest.mark.parametrize("name", WORDLESS)
def test_values_that_cannot_say_what_they_are(name):
    value = WORDLESS[name]
    for call in (lambda: vf.gain(threshold=value), lambda: vf.fixed_points(threshold=1.0, gain=value)):
        with pytest.raises(vf.DomainError, match=rf"=<{type(value).__name__}> must be"):
            call()


def test_errors_that_have_no_words():
    def wordless(v):
        raise Wordless

    with pytest.raises(vf.DomainError, match="fails for an array of potentials, Wordless: <Wordless>"):
        vf.surrogates.own(wordless)


def test_numbers_of_wider_types_that_do_not_fit():
    """Without numpy's warning, which is an error here."""
    for value in (np.longdouble("-1e4000"), np.array([1, np.longdouble("1e310")])):
        if np.isinf(value).any():
            pytest.skip("long doubles are doubles here")
        with pytest.raises(vf.DomainError, match=r"=-?inf must be finite"):
            vf.gain(threshold=value)


def test_long_arrays_are_not_listed_in_an_error():
    many = np.broadcast_to(0.5, 10**7)  # takes no memory
    with pytest.raises(vf.DomainError, match=r"array\(\[0\.5.*\) must be a single number") as caught:
        _checks.scalar("threshold", many)
    assert caught.value.value is many
    with pytest.raises(vf.DomainError, match="must be one value or one per layer"):
        vf.Network(width=many, depth=2, gain=1.0)


def test_axes_have_a_length_that_is_looked_at_first():
    for many in (range(1, 10**12), np.broadcast_to(0.5, 10**10)):
        with pytest.raises(vf.DomainError, match="must name at most 1000000 values"):
            vf.phase_diagram(threshold=1.0, width=many, depth=2)
    values = [float(k % 50_000) for k in range(100_000)]  # by pairs it would take minutes
    assert _checks.listed("width", values) == values[:50_000]
    assert _checks.listed("x", [[1], 1, True, [1], 1.0, 2]) == [[1], 1, 2]  # some cannot be hashed


def test_a_layer_is_named_by_text():
    history = TrainingHistory()
    history.weights["neuron"] = "weights"
    for layer in (np.array([]), np.array(["weights", "neuron"]), 3):
        with pytest.raises(vf.DomainError, match="layer="):
            history.values("firing_rate", layer)
