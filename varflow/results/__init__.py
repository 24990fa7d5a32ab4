"""The shapes in which theory predicts, witnesses answer and simulation measures.

Plain frozen records of read-only arrays. Entry ``l`` of a per-layer array is layer ``l+1``; networks of several steps have
a last axis of steps. What judges them lives in ``compare``; what draws them in ``plots``.
"""

from varflow.results.ensemble import Ensemble
from varflow.results.fixed_points import FixedPoint, FixedPoints
from varflow.results.in_time import TemporalCriticalGain, TemporalFixedPoint
from varflow.results.layout import late_steps
from varflow.results.profile import QUANTITIES, Profile

__all__ = [
    "QUANTITIES",
    "Ensemble",
    "FixedPoint",
    "FixedPoints",
    "Profile",
    "TemporalCriticalGain",
    "TemporalFixedPoint",
    "late_steps",
]
