"""varflow: the analytical theory of deep spiking networks.

Describe a network once; theory predicts it, simulation measures it, and a comparison judges; initialisation inverts the theory.
Heavy libraries (torch, matplotlib, sympy, scipy.stats) load on first use.
"""

from typing import TYPE_CHECKING

from varflow._lazy import loaded_when_asked

__version__ = "0.1.0"

_HOME = {
    "ConvergenceError": "_checks",
    "DomainError": "_checks",
    "MissingExtraError": "_checks",
    "VarflowError": "_checks",
    "Neuron": "model.neurons",
    "Network": "model.network",
    "distribution": "model.distributions",
    "Profile": "results",
    "Ensemble": "results",
    "Cycle": "results",
    "FixedPoint": "results",
    "FixedPoints": "results",
    "variance_map": "theory.maps",
    "mean_field": "theory.mean_field",
    "critical_gain": "theory.fixed_points",
    "fixed_points": "theory.fixed_points",
    "stable_variance": "theory.stable",
    "finite_width": "theory.finite_width",
    "SpikeChain": "theory.chain",
    "Expansion": "theory.expansions",
    "expansion": "theory.expansions",
    "EscapeAsymptotics": "theory.escape",
    "escape_asymptotics": "theory.escape",
    "simulate": "simulation",
    "Interrupted": "simulation",
    "compare": "verdict",
    "Comparison": "results",
    "validate": "experiment",
    "Experiment": "results",
    "phase_diagram": "phases",
    "PhaseDiagram": "results",
    "gain": "init.gains",
    "gain_by_rule": "init.rules",
    "corrected_gain": "init.inverse",
    "gain_for_mean_variance": "init.inverse",
    "largest_threshold": "init.inverse",
    "smallest_width": "init.inverse",
    "sparsest_rate": "init.inverse",
    "lookup": "init.lookup",
    "Initialization": "results",
    "CorrectedGainTable": "results",
    "corrected_gain_table": "init.table",
    "TemporalCriticalGain": "results",
    "TemporalFixedPoint": "results",
    "temporal_critical_gain": "theory.in_time.critical_gain",
    "temporal_fixed_point": "theory.in_time.fixed_point",
    "gain_for_rate": "init.in_time",
    "gain_for_variance": "init.in_time",
    "audit": "torch_models.audit",
    "AuditReport": "results",
    "catalogue": "init.catalogue",
    "Catalogue": "results",
    "citation": "citations",
}
_ROOMS = {
    "certified": "certified",
    "distributions": "model.distributions",
    "drives": "model.drives",
    "init": "init",
    "neurons": "model.presets",
    "resets": "model.resets",
    "weights": "model.weights",
    "plots": "plots",
    "reference": "reference",
    "symbolic": "symbolic",
    "testing": "testing",
}

__all__ = sorted([*_HOME, *_ROOMS])  # pyright: ignore[reportUnsupportedDunderAll]

if TYPE_CHECKING:
    from varflow import certified, init, plots, reference, symbolic, testing
    from varflow._checks import ConvergenceError, DomainError, MissingExtraError, VarflowError
    from varflow.citations import citation
    from varflow.experiment import validate
    from varflow.init.catalogue import catalogue
    from varflow.init.gains import gain
    from varflow.init.in_time import gain_for_rate, gain_for_variance
    from varflow.init.inverse import (
        corrected_gain,
        gain_for_mean_variance,
        largest_threshold,
        smallest_width,
        sparsest_rate,
    )
    from varflow.init.lookup import lookup
    from varflow.init.rules import gain_by_rule
    from varflow.init.table import corrected_gain_table
    from varflow.model import distributions, drives, resets, weights
    from varflow.model import presets as neurons
    from varflow.model.distributions import distribution
    from varflow.model.network import Network
    from varflow.model.neurons import Neuron
    from varflow.phases import phase_diagram
    from varflow.results import (
        AuditReport,
        Catalogue,
        Comparison,
        CorrectedGainTable,
        Cycle,
        Ensemble,
        Experiment,
        FixedPoint,
        FixedPoints,
        Initialization,
        PhaseDiagram,
        Profile,
        TemporalCriticalGain,
        TemporalFixedPoint,
    )
    from varflow.simulation import Interrupted, simulate
    from varflow.theory.chain import SpikeChain
    from varflow.theory.escape import EscapeAsymptotics, escape_asymptotics
    from varflow.theory.expansions import Expansion, expansion
    from varflow.theory.finite_width import finite_width
    from varflow.theory.fixed_points import critical_gain, fixed_points
    from varflow.theory.in_time.critical_gain import temporal_critical_gain
    from varflow.theory.in_time.fixed_point import temporal_fixed_point
    from varflow.theory.maps import variance_map
    from varflow.theory.mean_field import mean_field
    from varflow.theory.stable import stable_variance
    from varflow.torch_models.audit import audit
    from varflow.verdict import compare

__getattr__, __dir__ = loaded_when_asked(globals(), _HOME, _ROOMS, also=("__version__",))
