"""The shapes in which theory predicts, witnesses answer, simulation measures, and comparison and audit judge.

Plain frozen records of read-only arrays. Entry ``l`` of a per-layer array is layer ``l+1``; networks of several steps have
a last axis of steps. Figures of them are in ``plots``. Each is loaded on first use.
"""

from typing import TYPE_CHECKING

from varflow._lazy import loaded_when_asked

if TYPE_CHECKING:
    from varflow.results.audit import AuditReport, UnhealthyError
    from varflow.results.audited_layer import AuditedLayer
    from varflow.results.catalogue import Catalogue, CatalogueEntry
    from varflow.results.cost import Cost
    from varflow.results.diagrams import DepthScales, PhaseDiagram
    from varflow.results.estimate import Estimate
    from varflow.results.experiment import Curve, Experiment
    from varflow.results.export import QUANTITIES, SPREADS, late_steps
    from varflow.results.fixed_points import (
        CorrelationFixedPoint,
        CorrelationFixedPoints,
        Cycle,
        FixedPoint,
        FixedPoints,
        TemporalCriticalGain,
        TemporalFixedPoint,
    )
    from varflow.results.gradient_flow import GradientFlow, Trainability
    from varflow.results.initialization import CorrectedGain, CorrectedGainTable, Initialization, LayerPlan, ModelPlan
    from varflow.results.kernel import Kernel, ReadableDepth
    from varflow.results.learning import Learning
    from varflow.results.profile import Comparison, Ensemble, Profile, deviation
    from varflow.results.quantisation import Quantisation
    from varflow.results.rounded_model import RoundedModel
    from varflow.results.update import CoordinateCheck, Flips, LearningRate, OptimizerStep

__getattr__, __dir__ = loaded_when_asked(globals())
