"""Distributions of the standardised membrane potential: ``distribution``, ``student_t`` and ``sample``.

Each kind has its own file: ``builtin`` and ``student`` (closed forms), ``samples``, ``adapters`` (scipy) and ``densities``
(sympy). scipy.stats and sympy load only when one of their objects is given.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from varflow._checks import DomainError, real_array, scalar
from varflow.model.builtin import Distribution, Laplace, Logistic, Normal, Uniform
from varflow.model.samples import sample, smoothed
from varflow.model.student import StudentT

__all__ = ["NAMES", "Distribution", "distribution", "sample", "student_t"]

_NAMED: dict[str, Distribution] = {"normal": Normal(), "uniform": Uniform(), "laplace": Laplace(), "logistic": Logistic()}
NAMES = tuple(_NAMED)

_ACCEPTED = (
    f"must be one of {', '.join(NAMES)}, vf.distributions.student_t(df), a frozen or new-style scipy.stats distribution, "
    "a sympy.stats random variable or a one-dimensional sample"
)


def distribution(distribution: Any) -> Distribution:
    r"""The distribution of the standardised membrane potential (mean 0, variance 1) that ``distribution`` names or describes.

    .. math:: Q(z) = P\Bigl(\frac{u - E[u]}{\sqrt{\operatorname{Var} u}} > z\Bigr)

    Parameters
    ----------
    distribution : str, Distribution, scipy.stats or sympy.stats object, or array
        ``"normal"``, ``"uniform"``, ``"laplace"``, ``"logistic"`` or ``"student_t:5"`` (for ``student_t(5)``); a frozen or
        new-style scipy.stats distribution, continuous or discrete; a sympy.stats random variable without free symbols;
        or a one-dimensional sample of at least 20 numbers (see :func:`varflow.distributions.sample`).

    Returns
    -------
    Distribution
        With ``.sf(z)``, ``.pdf(z)``, ``.log_sf(z)``, ``.hazard(z)``, ``.name``, ``.upper``, ``.inflection``.

    Raises
    ------
    DomainError
        For anything else, and if the variance is infinite, undefined or 0.

    Notes
    -----
    **Assumes** that the standardised potential has this distribution in every layer. In a deep dense network only the normal
    distribution does (large fan-in); any other becomes normal after one dense layer.

    **Accuracy**, largest error measured against mpmath in units in the last place (``|z|`` up to 1e150, values that are normal
    doubles):

    ============  =====  =====  =======  =======
    distribution     sf    pdf   log_sf   hazard
    ============  =====  =====  =======  =======
    normal          3.8    3.2      3.7      4.0
    uniform         1.6    0.7      1.9      2.0
    laplace         1.9    3.1      2.2      3.3
    logistic        3.0    4.6      2.3      3.4
    student_t       6.1    4.4      5.6      4.7
    ============  =====  =====  =======  =======

    Those from scipy are as accurate as scipy; those from sympy are checked to 1e-9 relative when made (1e-13 is typical).
    Discrete ones with infinitely many atoms are cut where less than 1e-17 of the probability lies beyond.

    **Source**: definitions; derived here.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.distribution("normal").sf(1.0)
    0.15865525393145705
    >>> vf.distribution("uniform").sf([0.0, 1.0, 2.0])
    array([0.5       , 0.21132487, 0.        ])
    """
    if isinstance(distribution, Distribution):
        return distribution
    if isinstance(distribution, str):
        return _by_name(distribution)
    libraries = {kind.__module__.partition(".")[0] for kind in type(distribution).__mro__}
    if "scipy" in libraries:
        from varflow.model.adapters import from_scipy

        if (converted := from_scipy(distribution)) is not None:
            return converted
    if "sympy" in libraries:
        from varflow.model.densities import from_sympy

        return from_sympy(distribution)
    if isinstance(distribution, (list, tuple, np.ndarray)) or hasattr(distribution, "__array__"):
        return smoothed("distribution", distribution)
    raise DomainError("distribution", distribution, _ACCEPTED)


def standardised(margin: Any, std: Any, strict: bool = True) -> Any:
    """``z = margin/std``; if the potential is constant, ``-inf`` if that constant fires, else ``+inf``."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        z = margin / std
    if np.all(std > 0):
        return z
    fires = (margin < 0) | ((margin == 0) & (not strict))
    return np.where(std > 0, z, np.where(fires, -np.inf, np.inf))


def _by_name(text: str) -> Distribution:
    name, _, df = text.partition(":")
    if name != "student_t":
        if name != text or name not in _NAMED:
            raise DomainError("distribution", text, f"is unknown; choose one of {', '.join(NAMES)} or student_t:DF")
        return _NAMED[name]
    try:
        return student_t(float(df))
    except DomainError as error:
        raise DomainError("distribution", text, f"has degrees of freedom that {error.rule}") from None
    except ValueError:
        raise DomainError("distribution", text, "needs its degrees of freedom, as in student_t:5") from None


def student_t(df: float) -> StudentT:
    r"""Student's t distribution, scaled to variance 1.

    .. math:: f(z) = \frac{\Gamma(\frac{\nu+1}{2})}{\Gamma(\frac\nu2)\sqrt{\pi(\nu-2)}}
              \Bigl(1 + \frac{z^2}{\nu-2}\Bigr)^{-(\nu+1)/2}

    Parameters
    ----------
    df : float
        Degrees of freedom ``ν``, above 2 and at most 1e15.

    Raises
    ------
    DomainError
        For ``df ≤ 2``, where the variance is infinite.

    Notes
    -----
    **Accuracy**: at most 6.1 units in the last place, measured for ``df`` from 2.0001 to 1e14 over the whole tail.
    **Source**: the definition; Gauss's continued fraction of ``₂F₁(1/2, 1; ν/2 + 1; -(ν-2)/z²)`` for the Mills ratio.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.distributions.student_t(5).sf(1e9)
    2.6463786980246017e-45
    """
    number = scalar("df", real_array("df", df))
    if number <= 2:
        raise DomainError("df", df, "must be above 2: with so few degrees of freedom the variance is infinite")
    if number > 1e15:
        raise DomainError("df", df, "must be at most 1e15; use 'normal', its limit")
    return StudentT(number)
