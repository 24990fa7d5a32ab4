"""Digits of the witnesses in threads, and mpmath's own precision, which belongs to the user."""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import mpmath
import pytest
import sympy.stats

import varflow as vf


def from_definition(digits):
    with mpmath.workdps(digits + 20):
        return 1 / mpmath.sqrt(mpmath.erfc(mpmath.mpf(1.3) / mpmath.sqrt(2)) / 2)


@pytest.fixture
def watched():
    """Counts how often a thread of the user sees another precision than it left, while threads switch often."""
    before, seen, done = sys.getswitchinterval(), [], threading.Event()
    sys.setswitchinterval(1e-5)
    third = mpmath.mpf(1) / 3

    def look():
        while not done.is_set():
            if mpmath.mp.prec != 53 or mpmath.mpf(1) / 3 != third:
                seen.append(mpmath.mp.prec)

    with ThreadPoolExecutor(1) as user:
        user.submit(look)
        yield seen
        done.set()
    sys.setswitchinterval(before)


def test_digits_are_right_in_threads(watched):
    """Each call has the digits asked for beside calls with fewer, and mpmath keeps its precision throughout."""
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda k: (k, vf.reference.gain(threshold=1.3, digits=(70, 12)[k % 2])), range(120)))
    seen, exact = list(watched), from_definition(90)  # which changes the precision itself
    with mpmath.workdps(95):
        errors = {digits: max(abs(g - exact) / exact for k, g in found if (70, 12)[k % 2] == digits) for digits in (70, 12)}
        assert errors[70] < mpmath.mpf(10) ** -70
        assert mpmath.mpf(10) ** -30 < errors[12] < mpmath.mpf(10) ** -12  # the control: fewer digits are seen
    assert seen == []


@pytest.mark.parametrize(
    "call",
    [
        lambda: vf.reference.fixed_points(threshold=0.8, gain=2.3, digits=25),
        lambda: vf.reference.gradient_gain("box", width=0.7, threshold=1, gain=2.5, variance=1, digits=20),
        lambda: vf.reference.second_eigenvalue(threshold=-1, gain=1, bias_std=0.2, width=6),
        lambda: vf.symbolic.variance_map("laplace").check(points=2, digits=30),
        lambda: vf.distribution(sympy.stats.Gumbel("x", 0.5, 2)),
    ],
    ids=["fixed points", "gradient gain", "eigenvalue", "derivation", "density"],
)
def test_the_precision_of_mpmath_is_as_found(call, watched):
    call()
    assert watched == []
    assert mpmath.mp.prec == 53


def test_answers_are_numbers_of_mpmath_with_all_their_digits():
    points = vf.reference.fixed_points(threshold=0.8, gain=2.3, digits=40)
    values = [
        points.points[-1].variance,
        points.basin_edge,
        vf.reference.finite_width(threshold=1, gain=3, width=3, depth=2, digits=40).survival[-1],
    ]
    assert all(type(value) is mpmath.mpf for value in values)
    with mpmath.workdps(50):
        V = values[0]
        assert abs(mpmath.mpf(2.3) ** 2 * mpmath.erfc(mpmath.mpf(0.8) / mpmath.sqrt(2 * V)) / 2 - V) < V * mpmath.mpf(10) ** -39


def test_a_function_of_the_user_runs_at_the_precision_needed():
    """A surrogate written with mpmath, between numbers of another precision."""
    named = vf.reference.gradient_gain("sigmoid", width=1, threshold=1, gain=2, variance=1, digits=30)
    given = vf.reference.gradient_gain(lambda x: mpmath.sech(x / 2) ** 2, threshold=1, gain=2, variance=1, digits=30)
    with mpmath.workdps(40):
        assert abs(named - given) < named * mpmath.mpf(10) ** -30
    assert mpmath.mp.prec == 53


def test_a_lambdified_derivation_follows_the_precision_of_the_user():
    function = vf.symbolic.variance_map().lambdify("mpmath")
    for digits in (20, 60):
        with mpmath.workdps(digits):
            found = function(variance=1, threshold=1, gain=2)
            assert type(found) is mpmath.mpf
            error = abs(found - 2 * mpmath.erfc(1 / mpmath.sqrt(2)))
            assert error < mpmath.mpf(10) ** (1 - digits)
