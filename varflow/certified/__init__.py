"""Proven fixed points and critical gains: ball arithmetic (python-flint's ``arb``), extra ``certified``.

Every number is a ball proven to hold the exact value, a float means its exact binary value, and a list of fixed points is
proven complete. Tails are written out from their formulas here and share no code with the fast theory.
"""

from varflow.certified.distributions import Enclosure
from varflow.certified.proof import CertifiedFixedPoints, CertifiedPoint, critical_gain, fixed_points

__all__ = ["CertifiedFixedPoints", "CertifiedPoint", "Enclosure", "critical_gain", "fixed_points"]
