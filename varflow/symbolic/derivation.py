"""A derivation: equations to print, check and evaluate, each obtained from the one before.

Every step is an equation between quantities of the layer. Their numbers come from a :class:`Domain`: it draws
admissible parameters and computes the quantities from the definition of the layer, by quadrature, summation or root finding
in mpmath, never from the expressions under test. A step holds if both sides agree to 40 digits; a step with a remainder
``O(εᵏ)`` holds if the difference of the sides shrinks as ``εᵏ``. In LaTeX the reasons stand beside the equations or below them.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache, wraps
from random import Random
from types import MappingProxyType
from typing import Any, NamedTuple, ParamSpec

import sympy
from sympy.logic.boolalg import Boolean

from varflow._checks import DomainError, choice, integer
from varflow._mpmath import mp, mpf, one_call
from varflow.symbolic.numbers import DerivationError, Values, first_answer, in_digits, in_doubles, value
from varflow.symbolic.symbols import LATEX, NAMES, ImplicitRoot, above, all_of, at_least, below, exact

DIGITS = 40
TAIL, DENSITY = sympy.Function("Q"), sympy.Function(r"\varphi")  # of the normal distribution, as they are printed


P = ParamSpec("P")


class Domain(NamedTuple):
    """Numerical meaning of the symbols: ``draw`` draws parameters, ``define`` computes the quantities from them."""

    draw: Callable[[Random], Values]
    define: Callable[[Values], Values] = lambda values: {}

    def point(self, rng: Random, given: Mapping[sympy.Symbol, Any], small: Values | None = None) -> Values:
        """One admissible point: parameters, values fixed by assumptions, and the quantities defined by both."""
        values = self.draw(rng) | (small or {})
        assumed = {symbol: value(expression, values) for symbol, expression in given.items()}
        values |= assumed
        return self.define(values) | values


@dataclass(frozen=True, eq=False)
class Step:
    """One line of a derivation.

    Attributes
    ----------
    expression : sympy.Eq
        Both sides; a remainder is written as a term ``sympy.O``.
    reason : str
        Why it follows from the step before.
    assumption : str
        A further assumption that it needs; empty if none.
    given : dict
        Symbols fixed by the assumptions up to here: symbol → expression.
    condition : Boolean
        Range of the parameters in which it holds, beyond their signs.

    Examples
    --------
    >>> import varflow as vf
    >>> step = vf.symbolic.variance_map().steps[-1]
    >>> bool(step.reason), step.assumption
    (True, '')
    """

    expression: Any
    reason: str
    assumption: str = ""
    given: Mapping[sympy.Symbol, Any] = field(default_factory=dict)
    condition: Any = sympy.true

    @property
    def remainder(self) -> Any:
        """The term ``O(…)``; None where the equation is exact."""
        return self.expression.rhs.getO()

    def holds(self, point: Values, digits: int = DIGITS) -> bool:
        """True if both sides agree at a point, relative to the larger."""
        left, right = self._sides(point)
        scale = max(abs(left), abs(right)) or mpf(1)
        return bool(abs(left - right) <= scale * mpf(10) ** -digits)

    def shrinks(self, setting: Domain, seed: str) -> bool:
        """True if ``|left - right|`` stays within a constant times the remainder as its variable goes to the limit."""
        variable, limit, ratios = self.remainder.variables[0], self.remainder.point[0], []
        with mp.workdps(100):  # digits: the smallest remainder, η¹⁰ of the uniform distribution, is 1e-80
            for power in (4, 8):  # ε = 10^-4 and 10^-8, the same other parameters each time
                near = mpf(10) ** (power // 2) if limit == sympy.oo else mpf(10) ** -power
                point = _drawn(setting, seed, tuple(self.given.items()), mp.dps, (variable, near))
                left, right = self._sides(point)
                ratios.append(abs(left - right) / abs(value(self.remainder.expr, point)))
        return bool(ratios[-1] <= 4 * max(ratios[0], mpf(10) ** -DIGITS)) and bool(mp.isfinite(ratios[-1]))

    def _sides(self, point: Values) -> tuple[Any, Any]:
        return value(self.expression.lhs, point), value(self.expression.rhs.removeO(), point)


@dataclass(frozen=True, eq=False)
class Derivation:
    r"""A sequence of equations, from the definition of a layer to a result.

    Attributes
    ----------
    title : str
    steps : tuple of Step
    answers : int
        How many of the last steps state the result: several for several solutions.
    beyond : Derivation, optional
        The result for thresholds beyond the support of the distribution, where that is possible.

    Notes
    -----
    Every function of ``varflow.symbolic`` builds its derivation by operations on the step before (substituting, integrating,
    differentiating, solving) and checks each step at one random point. A step that fails raises :class:`DerivationError`, so
    errors of sympy do not reach the result.

    Examples
    --------
    >>> import varflow as vf
    >>> derivation = vf.symbolic.saddle_node("laplace")
    >>> derivation.result
    exp(2)
    >>> derivation.check(points=1)
    True
    """

    title: str
    setting: Domain = field(repr=False)
    steps: tuple[Step, ...] = ()
    answers: int = 1
    beyond: Derivation | None = None

    @property
    def result(self) -> Any:
        """The right-hand side of the last step, without its remainder; a tuple of several for several solutions."""
        results = tuple(step.expression.rhs.removeO() for step in self.steps[len(self.steps) - self.answers :])
        return results[0] if self.answers == 1 else results

    @property
    def assumptions(self) -> tuple[str, ...]:
        """The assumptions of the result, in the order of their use."""
        return tuple(step.assumption for step in self.steps if step.assumption)

    @property
    def conditions(self) -> tuple[Any, ...]:
        """Relations between the symbols under which the result holds. ``lambdify()`` gives NaN elsewhere."""
        return self._conditions(_ordered(self.result))

    def _conditions(self, symbols: tuple[Any, ...]) -> tuple[Any, ...]:
        """Conditions that involve only these symbols."""
        signs = [sign for s in symbols if s.name not in ("theta", "z") for sign in _sign(s)]
        last = dict(self.steps[-1].given) if self.steps else {}
        stated = [part for step in self.steps for part in sympy.ordered(sympy.And.make_args(step.condition))]
        stated = [part.subs(last) if part.free_symbols & last.keys() else part for part in stated]
        return tuple(dict.fromkeys(c for c in (*signs, *stated) if c != sympy.true and c.free_symbols <= set(symbols)))

    def then(
        self,
        change: Callable[[Any], Any] | Any,
        reason: str,
        *,
        assumption: str = "",
        given: Mapping[sympy.Symbol, Any] | None = None,
        condition: Any = sympy.true,
    ) -> Derivation:
        """The derivation with one more step, obtained by ``change`` from the last equation and checked at a random point.

        Parameters
        ----------
        change : callable or sympy.Eq
            Maps the last equation to the next; or the next equation itself, where it introduces a new quantity.
        reason, assumption : str
        given : dict, optional
            Symbols fixed by the assumption: symbol → expression. They are substituted in the last equation before ``change``
            is applied, and stay fixed from here on.
        condition : Boolean
            Relations between parameters under which the step holds; ``lambdify()`` gives NaN elsewhere.

        Raises
        ------
        DomainError
            For anything but sympy objects and numbers; strings are not parsed.
        DerivationError
            If the new equation does not hold at a random admissible point.
        """
        fixed = _fixed(given)
        if not callable(change) and not isinstance(change, sympy.Eq):
            raise DomainError("change", change, "must be a sympy.Eq, or a function from one to the next")
        if not isinstance(condition, Boolean):
            raise DomainError("condition", condition, "must be a relation between symbols, such as sympy.Gt(theta, 1)")
        before = self.steps[-1].expression.subs(fixed) if self.steps else None
        expression = change(before) if callable(change) else change
        already_fixed = dict(self.steps[-1].given) if self.steps else {}
        step = Step(expression, reason, assumption, MappingProxyType(already_fixed | fixed), condition)
        if not isinstance(expression, sympy.Eq) or not replace(self, steps=(step,))._holds_at("first look", 15):
            raise DerivationError(f"{self.title}: the step '{reason}' does not hold: {expression}")
        return replace(self, steps=(*self.steps, step))

    def check(self, *, points: int = 4, digits: int = DIGITS, seed: int = 0) -> bool:
        """True if every step holds at random admissible points.

        Parameters
        ----------
        points : int
            Random points per step.
        digits : int
            Digits to which both sides must agree, relative to the larger one.
        seed : int

        Returns
        -------
        bool
            False if any step fails at any point. The first step is compared with numbers computed from the definition of the
            layer.
        """
        integer("points", points, minimum=1)
        integer("digits", digits, minimum=5)
        routes = (self,) if self.beyond is None else (self, self.beyond)
        with one_call:
            return all(route._holds_at(f"{seed}, {index}", digits) for route in routes for index in range(points))

    def _holds_at(self, seed: str, digits: int) -> bool:
        """True if every step holds at one point, which steps under the same assumptions share."""
        for step in self.steps:
            if step.remainder is not None:
                held = step.shrinks(self.setting, seed)
            else:
                # guard digits: a density infinite at an end of its support halves the digits of its integrals
                with mp.workdps(digits + 20):
                    held = step.holds(_drawn(self.setting, seed, tuple(step.given.items()), mp.dps), digits)
            if not held:
                return False
        return True

    def to_latex(self) -> str:
        """The derivation as an ``align*`` environment, reasons and assumptions beside the equations."""
        return aligned(self.steps, "align*", self.conditions)

    def _repr_latex_(self) -> str:
        return "$\\displaystyle " + aligned(self.steps, "aligned", self.conditions, below=True) + "$"

    def lambdify(self, modules: str = "numpy") -> Callable[..., Any]:
        """The result as a function of numbers.

        Parameters
        ----------
        modules : {"numpy", "mpmath"}
            Arrays in double precision (scipy for special functions), or mpf numbers at mpmath's precision.

        Returns
        -------
        callable
            Takes the free symbols of the result under their public names (``threshold``, ``gain``, …), by keyword or in the
            order of ``.arguments``; returns a tuple if the result is one. NaN where neither ``.conditions`` nor those of
            ``.beyond`` hold.

        Notes
        -----
        **Accuracy**: relative ``1e-13`` in double precision. Where terms of a closed form cancel, or it contains an integral,
        mpmath is used, about a thousand times slower.

        Examples
        --------
        >>> import varflow as vf
        >>> derivation = vf.symbolic.fixed_points("laplace")
        >>> derivation.conditions
        (g > 0, theta > 0, g >= E*theta)
        >>> derivation.lambdify()(threshold=1.0, gain=2.0)
        (nan, nan, nan)
        """
        choice("modules", modules, ("numpy", "mpmath"))
        results = self.result if isinstance(self.result, tuple) else (self.result,)
        make, symbols = in_doubles if modules == "numpy" else in_digits, _ordered(self.result)
        within = make(self.arguments, symbols, results, all_of(*self.conditions))
        if self.beyond is None:
            return within
        elsewhere = all_of(*self.beyond._conditions(symbols))
        return first_answer(within, make(self.arguments, symbols, (self.beyond.result,), elsewhere))

    @property
    def arguments(self) -> tuple[str, ...]:
        """Names of the arguments of ``lambdify()``, in order."""
        return tuple(str(NAMES.get(symbol.name, symbol.name)) for symbol in _ordered(self.result))

    def __repr__(self) -> str:
        lines = [self.title, *(f"  {plain(step)}" for step in self.steps)]
        lines += [f"  for {', '.join(map(str, self.conditions))}"] if self.steps and self.conditions else []
        lines += [f"  beyond: {plain(self.beyond.steps[-1])}"] if self.beyond else []
        return "\n".join(lines)


def built_once(build: Callable[P, Derivation]) -> Callable[P, Derivation]:
    """``build``, which returns the same derivation for the same arguments: building one takes seconds, and it never changes."""
    remembered = lru_cache(maxsize=128, typed=True)(build)

    @wraps(build)
    def built(*args: P.args, **kwargs: P.kwargs) -> Derivation:
        try:
            hash((args, *kwargs.values()))
            make = remembered
        except (TypeError, ValueError):  # such as ranges of parameters, or an argument that will be refused
            make = build
        with one_call:
            return make(*args, **kwargs)

    return built


def _fixed(given: Any) -> dict[Any, Any]:
    """Symbols fixed by an assumption, checked."""
    given = {} if given is None else given
    if not isinstance(given, Mapping) or not all(isinstance(symbol, sympy.Symbol) for symbol in given):
        raise DomainError("given", given, "must be a dict: symbol → number or expression")
    return {symbol: exact(f"given[{symbol}]", expression) for symbol, expression in given.items()}


@lru_cache(maxsize=512)
def _drawn(setting: Domain, seed: str, given: tuple[Any, ...], digits: int, *small: tuple[Any, Any]) -> Values:
    """The point of a seed; cached, since its quantities take quadratures."""
    return setting.point(Random(seed), dict(given), dict(small))


def _sign(symbol: Any) -> tuple[Any, ...]:
    """The declared sign of a symbol, as a relation."""
    if symbol.is_integer and symbol.is_positive:
        return (at_least(symbol, 1),)
    relations = ((symbol.is_positive, above), (symbol.is_negative, below), (symbol.is_nonnegative, at_least))
    return next(((relation(symbol, 0),) for declared, relation in relations if declared), ())


def _ordered(result: Any) -> tuple[Any, ...]:
    """Free symbols: those of ``NAMES`` in its order, then the others alphabetically."""
    order = list(NAMES)
    free = sympy.Tuple(*result).free_symbols if isinstance(result, tuple) else result.free_symbols
    return tuple(sorted(free, key=lambda s: (order.index(s.name) if s.name in order else len(order), s.name)))


def latex(expression: Any) -> str:
    """An expression in the symbols of the theory and the normal Q and φ; a root without closed form by its digits."""
    if isinstance(expression, ImplicitRoot):
        return rf"{expression.evalf(12)}\ldots"
    in_tails = expression.replace(sympy.erfc, lambda x: 2 * TAIL(sympy.sqrt(2) * x))
    return sympy.latex(in_tails.replace(sympy.exp, _by_density), symbol_names=LATEX)


def _by_density(exponent: Any) -> Any:
    """The exponential of minus half a square by the density φ; other exponentials as they are."""
    powers = (-2 * exponent).as_powers_dict()
    squared = {power for base, power in powers.items() if base.free_symbols and power > 0}
    if squared != {2} or not exponent.could_extract_minus_sign():
        return sympy.exp(exponent)
    return sympy.sqrt(2 * sympy.pi) * DENSITY(sympy.Mul(*(base ** (power / 2) for base, power in powers.items())))


def aligned(steps: Iterable[Any], environment: str, conditions: Iterable[Any] = (), *, below: bool = False) -> str:
    """An aligned environment, one row per step, without repeated left-hand sides; the last row states the conditions.

    Reasons stand beside the equations or, with ``below``, in small lines below them, for screens (MathJax).
    """
    rows, shown = [], None
    for step in steps:
        left, right = step.expression.args
        head = "" if left == shown else latex(left)
        relation = r"\sim" if right.getO() is not None else "="
        why = step.reason + (f" ({step.assumption})" if step.assumption else "")
        reason = _lines(why) if below else rf" && \text{{{why}}}"
        rows.append(rf"{head} &{relation} {latex(right)}{reason}")
        shown = left
    held = ",\\ ".join(map(latex, conditions))
    rows += [rf"& \text{{for }} {held}"] if held else []
    return "\n".join([rf"\begin{{{environment}}}", " \\\\[4pt]\n".join(rows), rf"\end{{{environment}}}"])


def _lines(why: str) -> str:
    """Further rows with a reason; formulas in it are not broken."""
    unbroken = re.sub(r"\$[^$]*\$", lambda formula: formula[0].replace(" ", "\u00a0"), why)
    lines = textwrap.wrap(unbroken, 90, break_long_words=False, break_on_hyphens=False)
    return "".join(rf" \\ & \quad {{\small \text{{{line}}}}}".replace("\u00a0", " ") for line in lines)


def plain(step: Any) -> str:
    """One line: the equation and its reason."""
    left, right = step.expression.args
    right = f"{right.evalf(12)}…" if isinstance(right, ImplicitRoot) else right
    why = step.reason + (f"; {step.assumption}" if step.assumption else "")
    return f"{left} = {right}    [{why}]".replace("$", "")
