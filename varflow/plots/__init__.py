"""Figures: what theory says, laid over what simulation measured. Uses public results only; returns matplotlib objects."""

from varflow.plots.comparison import plot_comparison
from varflow.plots.critical_gain import plot_temporal_critical_gain
from varflow.plots.in_time import plot_experiment_in_time
from varflow.plots.methods import plot_catalogue, plot_methods
from varflow.plots.phases import plot_phase_diagram
from varflow.plots.propagation import plot_experiment

__all__ = [
    "plot_catalogue",
    "plot_comparison",
    "plot_experiment",
    "plot_experiment_in_time",
    "plot_methods",
    "plot_phase_diagram",
    "plot_temporal_critical_gain",
]
