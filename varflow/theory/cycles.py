r"""Two-cycles of the layer map: pairs of variances that follow each other from layer to layer.

``F`` has none where it rises, and none for a unimodal symmetric law without weight mean: for ``θ < 0`` its slope in ``ln V`` is
``-g² z f(z)/(2F)`` at ``|z|``, at most 1/2 in size as ``F ≥ g²/2`` and ``z f(z) ≤ S(0) - S(z) ≤ 1/2``, so that ``F`` contracts.
Elsewhere the upper phase is searched for where ``F(V) < V``, between the fixed points.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from varflow.model.distributions import Distribution
from varflow.results import Cycle
from varflow.theory.maps import multiplier, rate
from varflow.theory.roots import sign_changes

__all__ = ["two_cycles"]

MARGIN = 1e-9  # relative distance from the fixed points, which are roots as well
