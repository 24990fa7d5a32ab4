"""Derivations in sympy: equations one can print, check against numbers, and turn into functions.

Each function returns a :class:`Derivation`, from the definition of a layer to its result. Symbols of the literature, to be
put in place of numbers: ``theta g V sigma_b m_g n gamma z``.
"""

from varflow.symbolic.correlation import correlation_map, correlation_slope
from varflow.symbolic.derivation import Derivation, DerivationError, Step
from varflow.symbolic.gradients import gradient_gain
from varflow.symbolic.membrane import membrane_moments
from varflow.symbolic.symbols import V, g, gamma, m_g, n, sigma_b, theta, z
from varflow.symbolic.variance import variance_map, weight_variance

__all__ = [
    "Derivation",
    "DerivationError",
    "Step",
    "V",
    "correlation_map",
    "correlation_slope",
    "g",
    "gamma",
    "gradient_gain",
    "m_g",
    "membrane_moments",
    "n",
    "sigma_b",
    "theta",
    "variance_map",
    "weight_variance",
    "z",
]
