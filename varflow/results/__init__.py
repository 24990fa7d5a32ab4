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
    from varflow.results.comparison import Comparison, deviation
    from varflow.results.correlation import CorrelationFixedPoint, CorrelationFixedPoints
    from varflow.results.curve import Curve
    from varflow.results.depth_scales import DepthScales
    from varflow.results.ensemble import Ensemble
    from varflow.results.experiment import Experiment
    from varflow.results.fixed_points import Cycle, FixedPoint, FixedPoints
    from varflow.results.flips import Flips
    from varflow.results.gain_table import CorrectedGain, CorrectedGainTable
    from varflow.results.gradient_flow import GradientFlow
    from varflow.results.initialization import Initialization
    from varflow.results.kernel import Kernel
    from varflow.results.layout import QUANTITIES, SPREADS, late_steps
    from varflow.results.learning_rate import LearningRate
    from varflow.results.phase_diagram import PhaseDiagram
    from varflow.results.plan import LayerPlan, ModelPlan
    from varflow.results.profile import Profile
    from varflow.results.readable import ReadableDepth
    from varflow.results.temporal import TemporalCriticalGain, TemporalFixedPoint
    from varflow.results.trainability import Trainability

__getattr__, __dir__ = loaded_when_asked(globals())
__all__ = __dir__()  # pyright: ignore[reportUnsupportedDunderAll]
