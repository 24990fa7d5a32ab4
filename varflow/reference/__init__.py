"""The memoryless theory in mpmath, straight from the definitions and slow on purpose: a witness for the fast theory.

Every tail is written out here from its formula and shares no code with the fast ones. A float means its exact binary value;
answers are mpf numbers, right to ``digits`` digits. mpmath's own precision is never changed outside a call.
"""

from varflow.reference.isolation import ExactFixedPoints, fixed_points
from varflow.reference.laws import pdf, sf
from varflow.reference.layer import critical_gain, gain, variance_map

__all__ = ["ExactFixedPoints", "critical_gain", "fixed_points", "gain", "pdf", "sf", "variance_map"]
