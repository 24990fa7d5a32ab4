"""Strings never reach sympy's parser, which would run them: every argument of a derivation refuses them in words."""

import fractions

import numpy as np
import pytest
import sympy
from sympy import stats

import varflow as vf

RAN = []
s = vf.symbolic
shape = sympy.Symbol("k", positive=True)


class Imposter(str):
    """A string that also says how it would like to be converted."""

    def _sympy_(self):
        RAN.append("converted")
        return sympy.Integer(1)


CODE = "__import__('sys').modules['test_symbolic_strings'].RAN.append('parsed') or 1"
TEXTS = {
    "code": CODE,
    "a number": "1.5",
    "a list": [CODE],
    "a tuple": (CODE,),
    "a set": {CODE},
    "a dict": {CODE: 1},
    "bytes": CODE.encode(),
    "numpy": np.array(CODE),
    "numpy's own": np.str_(CODE),
    "objects": np.array([CODE], dtype=object),
    "an imposter": Imposter("1"),
}
DOORS = {
    "given": lambda text: s.variance_map().then(lambda e: e, "mine", given={s.V: text}),
    "given, a second": lambda text: s.multiplier("laplace").then(lambda e: e, "mine", given={s.z: 1, s.theta: text}),
    "threshold": lambda text: s.variance_map(threshold=text),
    "bias_std": lambda text: s.fixed_points("uniform", bias_std=text),
    "mean_gain": lambda text: s.variance_map(mean_gain=text),
    "variance": lambda text: s.weight_variance(variance=text),
    "parameters": lambda text: s.multiplier(stats.StudentT("X", shape), parameters={shape: (3, text)}),
    "z": lambda text: s.correlation_map(text),
    "surrogate": lambda text: s.gradient_gain(text),
    "in digits": lambda text: s.multiplier("laplace").lambdify("mpmath")(text),
    "in doubles": lambda text: s.multiplier("laplace").lambdify()(text),
}


@pytest.fixture(autouse=True)
def nothing_runs():
    RAN.clear()
    yield
    assert RAN == []


@pytest.mark.parametrize("door", DOORS.values(), ids=DOORS)
def test_no_string_is_parsed(door):
    for text in TEXTS.values():
        with pytest.raises(vf.DomainError):
            door(text)


@pytest.mark.parametrize(
    ("argument", "step"),
    [
        ("given", {"given": {"V": 1}}),
        ("given", {"given": CODE}),
        ("condition", {"condition": CODE}),
        ("change", {"change": CODE}),
    ],
)
def test_a_step_of_ones_own_takes_sympys_objects_only(argument, step):
    with pytest.raises(vf.DomainError) as refusal:
        s.variance_map().then(**{"change": lambda e: e, "reason": "mine"} | step)
    assert refusal.value.argument == argument


@pytest.mark.parametrize("number", [2, 0.5, fractions.Fraction(7, 3), np.float32(0.1), np.int16(3), sympy.sqrt(2)])
def test_numbers_of_every_library_are_still_taken(number):
    fixed = s.variance_map("laplace").then(lambda e: e, "mine", given={s.V: number})
    assert fixed.result.subs({s.g: 1, s.theta: 0}) == sympy.Rational(1, 2)
    assert fixed.check(points=1)
    want = vf.variance_map(float(number), threshold=0.7, gain=1.3, distribution="laplace")
    assert fixed.lambdify()(threshold=0.7, gain=1.3) == pytest.approx(want, rel=1e-14)
