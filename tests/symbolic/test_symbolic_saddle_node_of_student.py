"""Saddle-nodes of Student's t are written in π and roots: ``catalan(1/2)`` is sympy's name for 8/(3π)."""

import mpmath
import pytest
import sympy

import varflow as vf


@pytest.mark.parametrize("df", [3, 5])
def test_no_catalan_numbers_are_shown(df):
    found = vf.symbolic.saddle_node(vf.distributions.student_t(df))
    assert not found.result.has(sympy.catalan)
    assert not any(step.expression.has(sympy.catalan) for step in found.steps)
    exact = vf.reference.critical_gain(threshold=1.0, distribution=f"student_t:{df}", digits=30)
    assert abs(found.result.evalf(30) / sympy.Float(mpmath.nstr(exact, 35), 30) ** 2 - 1) < 1e-25
    assert abs(found.result.evalf(30) / sympy.Float(mpmath.nstr(exact, 35), 30) ** 2 * sympy.Float("1.001") - 1) > 1e-4
