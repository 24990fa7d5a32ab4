"""The symbols of the derivations, as in the literature, their public names, and conditions on them.

Parameters are declared with their sign. :data:`theta` is positive; a user's threshold may have either sign. Quantities of a
layer (``V'``, ``p``) are symbols too, with values from a setting. Conditions are unevaluated: sympy would simplify them by the
declared signs.
"""

from __future__ import annotations

from decimal import Decimal
from functools import lru_cache, partial
from numbers import Rational as RationalNumber
from numbers import Real
from typing import Any

import mpmath
import numpy as np
import sympy

from varflow._checks import DomainError
from varflow._mpmath import functions, mp, mpf, one_call

theta = sympy.Symbol("theta", positive=True)
g = sympy.Symbol("g", positive=True)
V = sympy.Symbol("V", positive=True)
sigma_b = sympy.Symbol("sigma_b", nonnegative=True)
m_g = sympy.Symbol("m_g", real=True)
n = sympy.Symbol("n", integer=True, positive=True)
sigma_w = sympy.Symbol("sigma_w", positive=True)
gamma = sympy.Symbol("gamma", positive=True)
z = sympy.Symbol("z", positive=True)

# symbol → the public name of the same quantity, in the order in which functions take them
NAMES = {
    "V": "variance",
    "theta": "threshold",
    "g": "gain",
    "sigma_b": "bias_std",
    "m_g": "mean_gain",
    "n": "fan_in",
    "sigma_w": "weight_std",
    "beta": "decay",
    "lambda": "input_scale",
    "rho": "overlap",
    "gamma": "gamma",
    "z": "z",
}

LATEX: dict[Any, str] = {}


def quantity(name: str, latex: str, **assumptions: bool) -> Any:
    """A symbol for a quantity of the layer, with its LaTeX form; real by default."""
    symbol = sympy.Symbol(name, **({"real": True} | assumptions))
    LATEX[symbol] = latex
    return symbol


def exact(name: str, value: Any) -> Any:
    """A user's number or symbol as a sympy expression; a number of any library is taken at its exact value.

    Not by ``sympify``, which evaluates strings as code.
    """
    try:
        expression = _ratio(value)
    except (TypeError, AttributeError, ValueError, OverflowError):
        expression = sympy.nan
    expression = expression if isinstance(expression, sympy.Expr) else sympy.nan  # None and truth values are no numbers
    floats = {number: sympy.Rational(number) for number in expression.atoms(sympy.Float)} if expression.is_finite else {}
    expression = expression.xreplace(floats)
    if expression.is_finite is False or expression.is_extended_real is False or expression is sympy.nan:
        raise DomainError(name, value, "must be one finite real number or a real symbol")
    return expression


def _ratio(value: Any) -> Any:
    """Numbers of Python, numpy, mpmath, torch and python-flint as exact ratios; nan for anything else."""
    if isinstance(value, sympy.Basic):
        return value
    if isinstance(value, bool | np.bool_):
        return sympy.nan
    if not isinstance(value, Real | Decimal | np.generic) and hasattr(value, "item"):  # an array or a tensor of one number
        return _ratio(value.item()) if getattr(value, "ndim", 0) == 0 else sympy.nan
    if isinstance(value, (mpf, mpmath.mpf)):
        parts: Any = value.man_exp  # pyright: ignore[reportAttributeAccessIssue]
        return _binary(*parts) if mpmath.isfinite(value) else sympy.nan
    if type(value).__module__.startswith("flint"):
        return _flint_ratio(value)
    if isinstance(value, RationalNumber):
        return sympy.Rational(int(value.numerator), int(value.denominator))
    ratio = getattr(value, "as_integer_ratio", None)
    return sympy.nan if ratio is None else sympy.Rational(*map(int, ratio()))


def _flint_ratio(value: Any) -> Any:
    """An integer, a rational, or a ball of radius zero."""
    if hasattr(value, "is_exact"):  # arb
        if not (value.is_exact() and value.is_finite()):
            return sympy.nan
        return _binary(*value.mid().man_exp())
    return sympy.Rational(int(value.p), int(value.q)) if hasattr(value, "q") else sympy.Integer(int(value))


def _binary(mantissa: Any, exponent: Any) -> Any:
    return sympy.Integer(int(mantissa)) * sympy.Integer(2) ** int(exponent)


class ImplicitRoot(sympy.AtomicExpr):
    """The only root of an equation between two ends: a number without closed form, computed to any precision.

    ``ImplicitRoot(name, equation, variable, low, high)`` prints as ``name``; ``.evalf(50)`` finds the root by bracketing.
    """

    __slots__ = ("equation", "high", "low", "name", "variable")
    is_number = True  # pyright: ignore[reportAssignmentType]
    is_real = True
    is_positive = True
    is_commutative = True
    is_finite = True

    def __new__(cls, name: Any, equation: Any, variable: Any, low: Any, high: Any) -> ImplicitRoot:
        root = super().__new__(cls)
        root.name, root.equation, root.variable, root.low, root.high = str(name), equation, variable, low, high
        return root

    def _hashable_content(self) -> tuple[Any, ...]:
        return (self.name, self.equation, self.variable, self.low, self.high)

    def __getnewargs__(self) -> tuple[Any, ...]:
        return self._hashable_content()

    def _eval_evalf(self, prec: int) -> Any:
        return sympy.Float._new(_root(self, prec), prec)

    def _mpmathcode(self, printer: Any) -> str:
        show = printer._print
        body = f"lambda {show(self.variable)}: {printer._module_format('mpmath.re')}({show(self.equation)})"
        return f"{printer._module_format('mpmath.findroot')}({body}, ({show(self.low)}, {show(self.high)}), 'anderson')"

    def _numpycode(self, printer: Any) -> str:
        return repr(float(self.evalf(20)))

    def _sympystr(self, printer: Any) -> str:
        return self.name

    def _latex(self, printer: Any) -> str:
        return printer._print(sympy.Symbol(self.name))


@lru_cache(maxsize=256)
def _root(root: ImplicitRoot, prec: int) -> Any:
    """The root at a precision in bits; cached, since sympy evaluates it in every comparison."""
    with one_call, mp.workprec(prec + 20):
        return sympy.lambdify((), root, [functions(), "mpmath"])()._mpf_


# Relations that sympy leaves as they are.
above, below = partial(sympy.StrictGreaterThan, evaluate=False), partial(sympy.StrictLessThan, evaluate=False)
at_least, at_most = partial(sympy.GreaterThan, evaluate=False), partial(sympy.LessThan, evaluate=False)


def all_of(*conditions: Any) -> Any:
    """All conditions at once."""
    return sympy.And(*conditions, evaluate=False)  # pyright: ignore[reportCallIssue]
