"""Surrogate derivatives as Norse computes them (``norse.torch.functional.threshold``), by method; ``v = H - θ``.

The default ``alpha`` is that of the neurons' parameters, 100, except for the triangle, which is meant for 0.3 (``bellec2018``).
"""

from __future__ import annotations

import math

import numpy as np

from varflow._checks import positive_number
from varflow.model.surrogate import Formula, Surrogate

__all__ = ["norse_circ", "norse_heavi_erfc", "norse_super", "norse_tanh", "norse_triangle"]


def norse_super(alpha: float = 100.0) -> Surrogate:
    """``ψ = 1 / (1 + |v|)²``, the method ``super`` and the default: Norse 1.1 ignores ``alpha``.

    The ``1/(1 + α|v|)²`` of ``zenke2018`` is ``vf.surrogates.fast_sigmoid(slope=alpha)``.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.surrogates.norse_super(alpha=100).width
    1.0
    """
    a = positive_number("alpha", alpha)
    return Surrogate("fast_sigmoid", 1.0, 1.0, formula=Formula(norse_super, (("alpha", a),)))


def norse_triangle(alpha: float = 0.3) -> Surrogate:
    """``ψ = α max(0, 1 - |v|)``, the method ``triangle``: here ``alpha`` is the peak. The neurons' default is 100."""
    a = positive_number("alpha", alpha)
    return Surrogate("triangular", a, 1.0, formula=Formula(norse_triangle, (("alpha", a),)))


def norse_tanh(alpha: float = 100.0) -> Surrogate:
    """``ψ = 1 - tanh²(α v)``, the method ``tanh``: peak 1, area ``2/α``."""
    a = positive_number("alpha", alpha)
    return Surrogate("sigmoid", 1.0, 1 / (2 * a), formula=Formula(norse_tanh, (("alpha", a),), "alpha"))


def norse_heavi_erfc(alpha: float = 100.0) -> Surrogate:
    """``ψ = (2/√π) e^{-α² v²}``, the method ``heavi_erfc``: area ``2/α``."""
    a = positive_number("alpha", alpha)
    formula = Formula(norse_heavi_erfc, (("alpha", a),), "alpha")
    return Surrogate("gaussian", 2 / math.sqrt(math.pi), 1 / (math.sqrt(2) * a), formula=formula)


def norse_circ(alpha: float = 100.0) -> Surrogate:
    """``ψ = (1 + v²/α²)^{-3/2}``, the method ``circ``: peak 1, area ``2 α``; at the default it is 1 for all potentials."""
    a = positive_number("alpha", alpha)
    return Surrogate("own", function=_circ, formula=Formula(norse_circ, (("alpha", a),)))


def _circ(v: np.ndarray, alpha: float) -> np.ndarray:
    return (1 + (v / alpha) ** 2) ** -1.5
