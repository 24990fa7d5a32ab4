"""The surrogate derivatives of simulators, by their own names and parameters, as :class:`Surrogate`; shapes; a user's own.

Each function gives what the library computes in the backward pass, which is not always what its documentation says; tests
compare it with the library's own gradients. Bare names are snnTorch's (``atan``, ``sigmoid``, ``fast_sigmoid``, …) or plain
shapes with a width and a peak (``box``, ``triangular``, ``gaussian``, ``exponential``); other libraries are prefixed. Any
family at any peak and width is ``vf.surrogates.Surrogate("atan", peak=1, width=0.3)``.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from varflow._checks import DomainError, called, positive_number, real_array
from varflow.model.library_surrogates import *  # noqa: F403
from varflow.model.library_surrogates import recognised
from varflow.model.surrogate import FAMILIES, FORMULAS, Formula, Surrogate

__all__ = ["Surrogate", "box", "exponential", "gaussian", "own", "surrogate_of", "triangular", *FORMULAS]  # pyright: ignore

# Where a user's function is tried, before any moment of it is computed.
TRIED = np.concatenate([-np.geomspace(10, 1e-6, 50), [0.0], np.geomspace(1e-6, 10, 50)])

WITHOUT = {
    "SSO": "draws random numbers: its gradients have no fixed ψ",
    "LSO": "cannot run in snnTorch; what it documents is leaky_spike_operator(slope)",
}


def box(width: float = 1.0, peak: float | None = None, *, area: float | None = None) -> Surrogate:
    """``ψ = peak`` where ``|v| < width``. With ``area`` instead of ``peak`` the peak follows the width; peak 1 without either.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.surrogates.box(0.5), vf.surrogates.box(0.25, area=1).peak
    (box(width=0.5, peak=1), 2.0)
    """
    return _shape("box", box, width, peak, area)


def triangular(width: float = 1.0, peak: float | None = None, *, area: float | None = None) -> Surrogate:
    """``ψ = peak · max(0, 1 - |v|/width)``; see :func:`box` for ``area``. snnTorch's ``triangular`` computes something else:
    :func:`snntorch_triangular`.
    """
    return _shape("triangular", triangular, width, peak, area)


def gaussian(width: float = 1.0, peak: float | None = None, *, area: float | None = None) -> Surrogate:
    """``ψ = peak · exp(-v²/(2 width²))``; see :func:`box` for ``area``."""
    return _shape("gaussian", gaussian, width, peak, area)


def exponential(width: float = 1.0, peak: float | None = None, *, area: float | None = None) -> Surrogate:
    """``ψ = peak · exp(-|v|/width)``; see :func:`box` for ``area``."""
    return _shape("exponential", exponential, width, peak, area)


def _shape(family: str, function: Callable[..., Surrogate], width: Any, peak: Any, area: Any) -> Surrogate:
    if peak is not None and area is not None:
        raise DomainError("area", area, "cannot be combined with peak: the width and one of them set the other")
    a = positive_number("width", width)
    name, size = ("peak", 1.0 if peak is None else peak) if area is None else ("area", area)
    size = positive_number(name, size)
    height = size if area is None else size / (FAMILIES[family].area * a)
    return Surrogate(family, height, a, formula=Formula(function, (("width", a), (name, size)), "width", power=1))


def own(function: Callable[[np.ndarray], Any], *, kinks: Sequence[float] = (0.0,)) -> Surrogate:
    """A user's surrogate ``ψ``.

    Parameters
    ----------
    function : callable
        Takes ``v = H - θ`` as a float64 array and returns ``ψ(v)``, finite and of the same shape.
    kinks : sequence of float
        Where ``ψ`` is not smooth, or has a narrow peak: integrals are split there.

    Raises
    ------
    DomainError
        For a function whose values are not finite or have another shape; the message says where.

    Examples
    --------
    >>> import numpy as np, varflow as vf
    >>> vf.surrogates.own(lambda v: np.maximum(0, 1 - v**2), kinks=(-1, 1))([0.0, 0.5, 2.0]).tolist()
    [1.0, 0.75, 0.0]
    """
    places = tuple(np.ravel(real_array("kinks", kinks)).tolist())
    surrogate = Surrogate("own", function=called("function", function), kinks=places)
    surrogate(TRIED)
    return surrogate


_NAMED = FORMULAS | {function.__name__: function for function in (box, triangular, gaussian, exponential)}


def surrogate_of(surrogate: Any) -> Surrogate:
    """The :class:`Surrogate` of a name, which stands for the function of that name with its defaults; of the text that one
    prints as; of a surrogate function of an installed snnTorch, SpikingJelly or sinabs; or of a user's function.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.surrogates.surrogate_of("fast_sigmoid"), vf.surrogates.surrogate_of("fast_sigmoid(slope=7.5)")
    (fast_sigmoid(slope=25), fast_sigmoid(slope=7.5))
    """
    if isinstance(surrogate, Surrogate):
        return surrogate
    if isinstance(surrogate, str) and surrogate in _NAMED:
        return _NAMED[surrogate]()
    if isinstance(surrogate, str) and (printed := _printed(surrogate)) is not None:
        return printed
    if callable(surrogate):
        return recognised(surrogate) or own(surrogate)
    rule = "must be a name such as 'atan', one of vf.surrogates, or a function ψ(v)"
    raise DomainError("surrogate", surrogate, WITHOUT.get(surrogate, rule) if isinstance(surrogate, str) else rule)


def _printed(text: str) -> Surrogate | None:
    """The surrogate that prints as this text, ``"atan(alpha=2)"``; None for another text."""
    try:
        call: Any = ast.parse(text, mode="eval").body
        make, arguments = {**_NAMED, "Surrogate": Surrogate}[call.func.id], map(ast.literal_eval, call.args)
        return make(*arguments, **{keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords})
    except DomainError as error:
        raise DomainError("surrogate", text, f"has a {error.argument} that {error.rule}") from None
    except (SyntaxError, AttributeError, KeyError, TypeError, ValueError):
        return None
