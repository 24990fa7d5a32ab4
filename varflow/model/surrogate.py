r"""Surrogate derivatives of the spike as data: the family, peak and width of ``ψ(v)``, where ``v = H - θ``.

In the backward pass ``∂S/∂H = ψ(H - θ)`` replaces the derivative of the step. A :class:`Surrogate` evaluates ``ψ`` and nothing
more: its moments are in ``theory.responses.back_propagation``, and the witnesses write their own shapes. The functions of
libraries are in ``vf.surrogates``.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import wraps
from operator import attrgetter
from typing import Any, NamedTuple, ParamSpec

import numpy as np

from varflow._checks import DomainError, called, choice, numbers, positive_number, put, said
from varflow._display import Drawn, Table

Shape = tuple[Any, ...]  # family, peak and width, or ψ itself and its kinks


class Family(NamedTuple):
    """A family's ``ψ`` of peak 1 as a function of ``x = |v|/a``: its area over ``v/a``, and the ``x`` beyond which it is 0."""

    of: Callable[[np.ndarray], np.ndarray]
    area: float
    edge: float | None = None


def _sech2(x: np.ndarray) -> np.ndarray:
    """``cosh(x/2)⁻²`` without overflow, for ``x ≥ 0``."""
    e = np.exp(-x)
    return 4 * e / (1 + e) ** 2


FAMILIES = {
    "box": Family(lambda x: np.where(x < 1, 1.0, 0.0), 2.0, 1.0),
    "triangular": Family(lambda x: np.maximum(1 - x, 0.0), 1.0, 1.0),
    "gaussian": Family(lambda x: np.exp(-(x**2) / 2), math.sqrt(2 * math.pi)),
    "exponential": Family(lambda x: np.exp(-x), 2.0),
    "fast_sigmoid": Family(lambda x: 1 / (1 + x) ** 2, 2.0),
    "atan": Family(lambda x: 1 / (1 + x**2), math.pi),
    "sigmoid": Family(_sech2, 4.0),
}
"""The families: ``ψ(v) = peak · shape(|v|/width)``."""


@dataclass(frozen=True, slots=True)
class Formula:
    """A surrogate as a library writes it: the function of ``vf.surrogates``, its arguments, and the one that sets the width.

    The width is proportional to that argument to the power ``power``; None where no argument sets it.
    """

    function: Callable[..., Surrogate]
    arguments: tuple[tuple[str, float], ...] = ()
    sets_width: str | None = None
    power: int = -1

    def at(self, ratio: float) -> Surrogate:
        """This formula with the width multiplied by ``ratio``."""
        if self.sets_width is None:
            raise DomainError("surrogate", self, "has no argument that sets its width; use vf.surrogates.Surrogate(family, …)")
        arguments = dict(self.arguments)
        arguments[self.sets_width] *= ratio**self.power
        return self.function(**arguments)

    @property
    def shape(self) -> Shape:
        """The family, peak and width that the function wrote, or ``ψ`` itself and where it is not smooth."""
        return inspect.unwrap(self.function)(**dict(self.arguments))

    def __repr__(self) -> str:
        return f"{self.function.__name__}({', '.join(f'{name}={value:.6g}' for name, value in self.arguments)})"


@dataclass(frozen=True, slots=True, repr=False)
class Surrogate(Drawn):
    r"""A surrogate derivative of the spike.

    .. math:: \psi(v) = c\, s(|v|/a), \qquad v = H - \theta

    ================  =====================  ==============
    family            shape ``s(x)``         area
    ================  =====================  ==============
    ``box``           ``1`` where ``x < 1``  ``2 c a``
    ``triangular``    ``max(0, 1 - x)``      ``c a``
    ``gaussian``      ``exp(-x²/2)``         ``√(2π) c a``
    ``exponential``   ``exp(-x)``            ``2 c a``
    ``fast_sigmoid``  ``(1 + x)⁻²``          ``2 c a``
    ``atan``          ``1/(1 + x²)``         ``π c a``
    ``sigmoid``       ``cosh(x/2)⁻²``        ``4 c a``
    ================  =====================  ==============

    Parameters
    ----------
    family : str
        A name of the table; ``"own"`` for a function of the user or of a library that has none of these shapes.
    peak, width : float
        ``c > 0`` and ``a > 0``, the latter in the units of the potential. NaN for an ``own`` surrogate.
    function : callable, optional
        ``ψ`` of an ``own`` surrogate: takes ``v`` as a float64 array and returns an array of the same shape. See
        :func:`varflow.surrogates.own`.
    kinks : tuple of float
        Where an ``own`` surrogate is not smooth.
    formula : Formula, optional
        The library's way of writing it.

    Raises
    ------
    DomainError
        For an unknown family, or a peak or width that is not positive.

    Examples
    --------
    >>> import varflow as vf
    >>> psi = vf.surrogates.atan(alpha=2)
    >>> psi, psi.family, psi.peak, round(psi.width, 6), psi.area
    (atan(alpha=2), 'atan', 1.0, 0.31831, 1.0)
    >>> psi([0.0, 0.5]).round(6).tolist()
    [1.0, 0.2884]
    >>> vf.surrogates.Surrogate("atan", peak=0.5, width=0.2)
    Surrogate('atan', peak=0.5, width=0.2)
    """

    family: str
    peak: float = 1.0
    width: float = 1.0
    function: Callable[..., Any] | None = None
    kinks: tuple[float, ...] = ()
    formula: Formula | None = None

    def __post_init__(self) -> None:
        choice("family", self.family, (*FAMILIES, "own"))
        if not isinstance(self.formula, Formula | None):
            raise DomainError("formula", self.formula, "must be the Formula of a library, or None")
        if self.family == "own":
            if self.function is not None:
                called("function", self.function)
            elif self.formula is None:
                raise DomainError("function", None, "is missing: use vf.surrogates.own(function)")
            put(self, peak=math.nan, width=math.nan)
            return
        if self.function is not None or self.kinks:
            raise DomainError("function", self.function, "applies to the family 'own' only")
        for name in ("peak", "width"):
            try:
                put(self, **{name: positive_number(name, getattr(self, name))})
            except DomainError as error:
                if self.formula is None:
                    raise
                argument, value = max(self.formula.arguments, key=lambda pair: abs(math.log(abs(pair[1]) or 1.0)))
                raise DomainError(argument, value, f"gives a {name} that {error.rule}") from None

    def __eq__(self, other: object) -> bool:
        """True for equal fields: as tuples, in which NaN equals itself."""
        fields = attrgetter(*Surrogate.__dataclass_fields__)
        return isinstance(other, Surrogate) and fields(self) == fields(other)

    def __call__(self, v: Any) -> np.ndarray:
        """``ψ(v)``, in the shape of ``v`` and, for floats, in its dtype."""
        given = np.asarray(v)
        x = numbers("v", v)
        with np.errstate(all="ignore"):
            psi = self._own_values(x) if self.family == "own" else self.peak * FAMILIES[self.family].of(np.abs(x) / self.width)
            return np.asarray(psi).astype(given.dtype if given.dtype.kind == "f" else np.float64, copy=False)

    def _own_values(self, v: np.ndarray) -> np.ndarray:
        """The function's values; DomainError that says where they are not finite."""
        function = self.function or self.formula.shape[0]  # pyright: ignore[reportOptionalMemberAccess]
        try:
            values = np.asarray(function(v))
        except Exception as error:
            trouble = f"{type(error).__name__}: {said(error, str)}"
            rule = f"fails for an array of potentials, {trouble}; give one of vf.surrogates, or a function of numpy arrays"
            raise DomainError("surrogate", self, rule) from error
        psi = numbers("surrogate", 1.0 * values if values.dtype == bool else values)
        if psi.shape != v.shape:
            raise DomainError("surrogate", self, f"must return the shape of its argument, {v.shape}, not {psi.shape}")
        wrong = ~np.isfinite(psi) & np.isfinite(v)
        if wrong.any():
            raise DomainError("surrogate", self, f"returns {psi[wrong][0]} at H - θ = {v[wrong][0]:g}")
        return psi

    @property
    def area(self) -> float:
        """``∫ ψ dv``; NaN for the family ``own``."""
        return math.nan if self.family == "own" else FAMILIES[self.family].area * self.peak * self.width

    def widened(self, width: float) -> Surrogate:
        """This surrogate at another width: by the library's own parameter, so that for instance ``atan`` keeps its area;
        without a library at the same peak.

        Raises
        ------
        DomainError
            For surrogates whose width cannot be set: ``own`` ones and, for instance, SuperSpike in Norse.

        Examples
        --------
        >>> import varflow as vf
        >>> vf.surrogates.atan(alpha=2).widened(0.5)
        atan(alpha=1.27324)
        """
        if self.family == "own":
            raise DomainError("surrogate", self, "has no width: it is not peak · shape(|v|/width)")
        wanted = positive_number("width", width)
        try:
            return replace(self, width=wanted) if self.formula is None else self.formula.at(wanted / self.width)
        except DomainError as error:
            if error.argument == "surrogate":
                raise
            raise DomainError("width", width, f"gives a {error.argument} that {error.rule}") from None

    def __repr__(self) -> str:
        if self.formula is not None:
            return repr(self.formula)
        if self.family == "own":
            return f"own({getattr(self.function, '__name__', self.function)})"
        return f"Surrogate({self.family!r}, peak={self.peak:.6g}, width={self.width:.6g})"

    def _table(self) -> Table:
        return Table(repr(self), [(name, f"{getattr(self, name):.6g}") for name in ("peak", "width", "area")])


P = ParamSpec("P")
FORMULAS: dict[str, Callable[..., Surrogate]] = {}  # those of libraries, by name


def formula(
    sets_width: str | None = None, *, power: int = -1, **checks: Callable[[str, Any], Any]
) -> Callable[[Callable[P, Shape]], Callable[P, Surrogate]]:
    """The decorator of a function that writes a shape with its arguments: it returns the surrogate.

    Arguments must be positive numbers, but those with ``checks`` of their own.
    """

    def decorated(write: Callable[P, Shape]) -> Callable[P, Surrogate]:
        taken = inspect.signature(write)

        @wraps(write)
        def surrogate(*args: P.args, **kwargs: P.kwargs) -> Surrogate:
            given = taken.bind(*args, **kwargs)
            given.apply_defaults()
            arguments = tuple((name, checks.get(name, positive_number)(name, value)) for name, value in given.arguments.items())
            written = Formula(surrogate, arguments, sets_width, power)
            kind, *numbers = written.shape
            if isinstance(kind, str):
                return Surrogate(kind, *numbers, formula=written)
            return Surrogate("own", kinks=tuple(numbers), formula=written)

        surrogate.__signature__ = taken.replace(return_annotation=Surrogate)  # pyright: ignore[reportAttributeAccessIssue]
        FORMULAS[write.__name__] = surrogate
        return surrogate

    return decorated
