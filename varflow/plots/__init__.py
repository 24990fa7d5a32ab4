"""Figures of results: theory and simulation in one plot. Returns matplotlib objects.

:func:`draw` chooses the figure of a result; ``.plot()`` of a result calls it.
"""

from varflow import results
from varflow._figures import FIGURES, draw
from varflow._lazy import names_of
from varflow.plots.catalogue import plot_catalogue, plot_methods, plot_quantisation
from varflow.plots.diagrams import plot_depth_scales, plot_phase_diagram, plot_temporal_critical_gain
from varflow.plots.experiment import plot_comparison, plot_experiment, plot_experiment_in_time
from varflow.plots.layers import (
    plot_audit,
    plot_coordinate_check,
    plot_cost,
    plot_flips,
    plot_gradient_flow,
    plot_kernel,
    plot_plan,
    plot_profile,
    plot_readable_depth,
    plot_rounded_model,
    plot_step,
    plot_training,
)
from varflow.plots.maps import plot_fixed_points, plot_overlap_map
from varflow.plots.states import plot_counts, plot_escape, plot_surrogate

FIGURES.update(
    {
        results.Catalogue: lambda result, ensembles=None: (
            plot_catalogue(result) if ensembles is None else plot_methods(result, ensembles)
        ),
        results.Ensemble: lambda ensemble: plot_profile(ensemble.mean()),
        results.Experiment: lambda result: (plot_experiment if result.steps == 1 else plot_experiment_in_time)(result),
    }
)

__all__ = ["draw", *names_of(globals())]  # pyright: ignore[reportUnsupportedDunderAll]
