"""The theory in mpmath, straight from the definitions, to any number of digits: an independent check of the fast theory.

It shares no formula with the fast theory and is slow. A float means its exact binary value; answers are mpf numbers, correct to
``digits`` digits. mpmath's own precision is never changed; calls in several threads run one after another.
"""

from varflow._lazy import names_of
from varflow.reference.chain import ExactChain, finite_width, spike_counts
from varflow.reference.critical import BiasCusp, SaddleNode, bias_cusp, critical_gain, saddle_node
from varflow.reference.deep import (
    ExactLifetime,
    ExactQuasiStationary,
    ExactStationary,
    lifetime,
    quasi_stationary,
    relaxation_depth,
    second_eigenvalue,
    stationary,
    switching_rates,
)
from varflow.reference.distributions import pdf, sf
from varflow.reference.fixed_points import ExactFixedPoints, fixed_points, stable_variance
from varflow.reference.gradients import gradient_gain
from varflow.reference.in_time import ExactMeanFieldInTime, TwoSteps, mean_field_in_time, two_steps
from varflow.reference.inverse import corrected_gain, gain_for_mean_variance, largest_threshold, smallest_width, sparsest_rate
from varflow.reference.layer import ExactMeanField, gain, mean_field, variance_map
from varflow.reference.overlap import CorrelationPoint, correlation_map, correlation_point, orthant

__all__ = names_of(globals())  # pyright: ignore[reportUnsupportedDunderAll]
