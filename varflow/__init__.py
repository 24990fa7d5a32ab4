"""varflow: the analytical theory of deep spiking networks.

Describe a network once; theory predicts it, simulation measures it, and a comparison judges; initialisation inverts the theory.
Heavy libraries (torch, matplotlib, sympy, scipy.stats) load on first use.
"""

from varflow._figures import PLACES
from varflow._lazy import loaded_when_asked

__version__ = "0.2.0"

TYPE_CHECKING = False  # importing typing would take most of the time
if TYPE_CHECKING:
    from varflow import certified, init, plots, reference, simulation, symbolic, testing, theory
    from varflow._checks import ConvergenceError, DomainError, MissingExtraError, VarflowError
    from varflow.campaign import Campaign
    from varflow.citations import citation
    from varflow.experiment import validate
    from varflow.init.catalogue import catalogue
    from varflow.init.cheapest import cheapest
    from varflow.init.gains import gain
    from varflow.init.in_time import gain_for_rate, gain_for_variance
    from varflow.init.inverse import corrected_gain, gain_for_mean_variance, largest_threshold, smallest_width, sparsest_rate
    from varflow.init.lookup import lookup
    from varflow.init.quantise import quantise
    from varflow.init.rules import gain_by_rule
    from varflow.init.surrogate_width import surrogate_width
    from varflow.init.table import corrected_gain_table
    from varflow.kernels.flips import flips
    from varflow.kernels.kernel import kernel, readable_depth
    from varflow.kernels.trainability import trainability
    from varflow.model import distributions, drives, layers, resets, surrogates, weights
    from varflow.model import presets as neurons
    from varflow.model.as_neuron import neuron
    from varflow.model.distributions import distribution
    from varflow.model.extensions import register
    from varflow.model.network import Network
    from varflow.model.neurons import Neuron
    from varflow.model.nir_network import read_nir
    from varflow.phases import phase_diagram
    from varflow.results import (
        AuditReport,
        Catalogue,
        Comparison,
        CoordinateCheck,
        CorrectedGainTable,
        CorrelationFixedPoint,
        CorrelationFixedPoints,
        Cost,
        Cycle,
        DepthScales,
        Ensemble,
        Estimate,
        Experiment,
        FixedPoint,
        FixedPoints,
        Flips,
        GradientFlow,
        Initialization,
        Kernel,
        LearningRate,
        OptimizerStep,
        PhaseDiagram,
        Profile,
        Quantisation,
        ReadableDepth,
        RoundedModel,
        TemporalCriticalGain,
        TemporalFixedPoint,
        Trainability,
    )
    from varflow.simulation import Interrupted, simulate
    from varflow.theory.cost import cost
    from varflow.theory.deep.critical_gain import temporal_critical_gain
    from varflow.theory.deep.fixed_point import temporal_fixed_point
    from varflow.theory.finite_width.chain import SpikeChain
    from varflow.theory.finite_width.escape import EscapeAsymptotics, escape_asymptotics
    from varflow.theory.finite_width.expansions import Expansion, expansion
    from varflow.theory.finite_width.in_time.escape import EscapeByStep, escape_by_step
    from varflow.theory.finite_width.in_time.expansion import TemporalExpansion
    from varflow.theory.finite_width.in_time.survival import survival
    from varflow.theory.finite_width.profile import finite_width
    from varflow.theory.fixed_points import critical_gain, fixed_points
    from varflow.theory.mean_field import mean_field
    from varflow.theory.memoryless.depth_scales import correlation_fixed_points, correlation_map, depth_scales, gradient_gain
    from varflow.theory.memoryless.stable import stable_variance
    from varflow.theory.memoryless.variance_map import variance_map
    from varflow.theory.responses.integer_membrane import IntegerMembrane, integer_membrane
    from varflow.theory.walks.gradients import gradient_flow
    from varflow.torch_models.audit.door import audit
    from varflow.torch_models.learning_rate import learning_rate
    from varflow.torch_models.monitor import Monitor
    from varflow.torch_models.tracing.door import read
    from varflow.verdict import compare

PLACES.append("varflow.plots")
__getattr__, __dir__ = loaded_when_asked(globals())
