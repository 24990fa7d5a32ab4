"""Derivations in sympy: equations that can be printed, checked numerically and turned into functions.

Each function returns a :class:`Derivation`, from the definition of a layer to its result. Wherever a number is expected, a
symbol may stand instead; those of the literature are ``theta g V sigma_b m_g n gamma z``.
"""

from varflow._lazy import names_of
from varflow.symbolic.correlation import correlation_map, correlation_slope
from varflow.symbolic.derivation import Derivation, DerivationError, Step
from varflow.symbolic.expansions import expansion
from varflow.symbolic.finite_width import finite_width_corrections
from varflow.symbolic.fixed_points import fixed_point_condition, fixed_points
from varflow.symbolic.gradients import gradient_gain
from varflow.symbolic.membrane import membrane_moments
from varflow.symbolic.stability import bias_cusp, multiplier, saddle_node
from varflow.symbolic.symbols import V, g, gamma, m_g, n, sigma_b, theta, z
from varflow.symbolic.variance import variance_map, weight_variance

__all__ = [*names_of(globals()), "V", "g", "gamma", "m_g", "n", "sigma_b", "theta", "z"]  # pyright: ignore[reportUnsupportedDunderAll]
