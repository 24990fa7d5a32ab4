"""The validators of the public doors, each once: what it lets through, and the rule it names for what it does not.

Which argument has which validator is in ``test_bad_input.py``.
"""

import inspect

import numpy as np
import pytest

import varflow as vf
from varflow import _checks

NAN, INF = float("nan"), float("inf")
RAGGED = [[1.0], [1.0, 2.0]]


class Unwilling:
    def __index__(self):
        raise RuntimeError("no")

    __array__ = __index__


NO_NUMBER = [(x, "real number") for x in ("1", True, None, 1j, RAGGED, {}, Unwilling())]
REAL = [*NO_NUMBER, *((x, "must be finite") for x in (NAN, INF, -INF, [1.0, NAN]))]
SCALE = [*REAL, *((x, "must lie within") for x in (1e200, 1e-200, [1.0, -1e200]))]
POSITIVE = [(x, "must be positive") for x in (0.0, -1.0, [1.0, -2.0])]
NO_WHOLE = (0, -3, 1.5, 2.0, NAN, "3", True, np.True_, None, [1, 2], 1j, Unwilling())
BOTH_ENDS = [(x, "between 0 and 1") for x in (-0.1, 1.1)]


class Network(vf.Network):
    pass


NETWORK = Network(width=2, depth=1, gain=1.0)

# Validator, values it lets through with what it makes of them, values it refuses with the rule.
VALIDATORS = {
    "numbers": (_checks.numbers, [(3, 3.0), ([1, NAN], [1.0, NAN]), (-INF, -INF)], NO_NUMBER),
    "unmasked": (
        _checks.unmasked,
        [(3, None), ([1.0], None)],
        [(x, "masked array") for x in (np.ma.masked_greater([1.0, 9.0], 5), [np.ma.masked_less([1, 9], 5)])],
    ),
    "real_array": (_checks.real_array, [(1e200, 1e200), ([[1, -2]], [[1.0, -2.0]]), ([], [])], REAL),
    "positive": (_checks.positive, [(1e-200, 1e-200), ([1, 2], [1.0, 2.0])], [*REAL, *POSITIVE]),
    "non_negative": (_checks.non_negative, [(0, 0.0), (1e200, 1e200)], [*REAL, (-0.5, "must not be negative")]),
    "scale": (_checks.scale, [(0, 0.0), (-1.0, -1.0), (1e140, 1e140)], SCALE),
    "positive_scale": (_checks.positive_scale, [(1e-140, 1e-140), ([1, 2], [1.0, 2.0])], [*SCALE, *POSITIVE]),
    "real_number": (_checks.real_number, [(0, 0.0), (-1.0, -1.0)], [*SCALE, ([1.0], "a single number")]),
    "positive_number": (_checks.positive_number, [(2, 2.0)], [*SCALE, *POSITIVE, ([1.0], "a single number")]),
    "non_negative_number": (
        _checks.non_negative_number,
        [(0, 0.0), (2, 2.0)],
        [*SCALE, (-0.5, "must not be negative"), ([1.0], "a single number")],
    ),
    "scalar": (
        lambda name, value: _checks.scalar(name, np.asarray(value)),
        [(2, 2.0)],
        [(x, "a single number") for x in ([1.0], np.ones((2, 2)))],
    ),
    "integer": (
        lambda name, value: _checks.integer(name, value, minimum=1),
        [(1, 1), (np.int8(3), 3), (2**53, 2**53)],
        [*((x, "whole number, at least 1") for x in NO_WHOLE), (2**53 + 1, "must be at most 9007199254740992")],
    ),
    "integer by its name": (
        lambda _, value: _checks.integer("depth", value, minimum=1),
        [(10**6, 10**6)],
        [(10**6 + 1, "must be at most 1000000")],
    ),
    "probability": (
        _checks.probability,
        [(0, 0.0), (1, 1.0)],
        [*REAL[:-1], ([0.5], "single number"), *BOTH_ENDS],
    ),
    "probability without its ends": (
        lambda name, value: _checks.probability(name, value, open_ends=True),
        [(0.5, 0.5)],
        [(x, "strictly between 0 and 1") for x in (0.0, 1.0, -0.1, 1.1)],
    ),
    "choice": (
        lambda name, value: _checks.choice(name, value, ("a", "b")),
        [("b", "b")],
        [(x, "unknown; choose one of a, b") for x in ("c", "", None, 1, ["a"])],
    ),
    "instance": (
        lambda name, value: _checks.instance(name, value, vf.Network),
        [(NETWORK, NETWORK)],
        [(x, "must be vf.Network") for x in (None, 1, Network, [NETWORK])],
    ),
    "several": (
        lambda name, value: _checks.several(name, value, vf.Network),
        [(NETWORK, (NETWORK,)), (iter([NETWORK]), (NETWORK,))],
        [*((x, "or a sequence of them") for x in (1.0, [], None, np.array(NAN))), ([NETWORK, 1.0], "must be vf.Network")],
    ),
    "several or none": (lambda name, value: _checks.several(name, value, vf.Network, empty=True), [([], ())], []),
    "listed": (
        _checks.listed,
        [([2, 1, 2], [2, 1]), (3, [3]), (range(2), [0, 1]), (np.array([1.0, 1.0]), [1.0]), ("relu", ["relu"])],
        [([], "at least one value"), (np.array([]), "at least one value")],
    ),
    "flag": (_checks.flag, [(True, True), (np.False_, False)], [(x, "True or False") for x in (1, "yes", None)]),
    "called": (_checks.called, [(len, len)], [(x, "function") for x in (1, "len", None)]),
    "per_layer": (
        lambda name, value: _checks.per_layer(name, value, 3),
        [(2, [2.0] * 3), ([1, 2, 3], [1.0, 2.0, 3.0])],
        [*REAL[:4], *((x, "one per layer (depth=3)") for x in ([1.0, 2.0], np.ones((3, 1))))],
    ),
}


@pytest.mark.parametrize("name", VALIDATORS)
def test_a_validator_lets_through_what_its_rule_says_and_nothing_else(name):
    check, allowed, refused = VALIDATORS[name]
    for value, made in allowed:
        found = check("it", value)
        assert type(found) is type(made) or isinstance(found, np.ndarray)
        np.testing.assert_array_equal(found, made)
    for value, rule in refused:
        with pytest.raises(vf.DomainError) as caught:
            check("it", value)
        assert rule in caught.value.rule, value
        assert "\n" not in str(caught.value)
        assert str(caught.value).startswith(f"{caught.value.argument}=")


def test_every_validator_is_here():
    there = {
        name
        for name, function in inspect.getmembers(_checks, inspect.isfunction)
        if not name.startswith("_") and list(inspect.signature(function).parameters)[:1] == ["name"]
    }
    assert there == {name.partition(" ")[0] for name in VALIDATORS}


def test_shapes_that_do_not_broadcast_are_named():
    assert [array.shape for array in _checks.same_shape(one=np.ones(3), two=np.ones((2, 1)))] == [(2, 3)] * 2
    with pytest.raises(vf.DomainError) as caught:
        _checks.same_shape(one=np.ones(2), two=np.ones((2, 3)), three=np.ones(()))
    assert caught.value.argument == "two"
    assert "one (2,), two (2, 3)" in caught.value.rule
    assert "three" not in caught.value.rule
