"""One comparison: measured and predicted variance."""

from __future__ import annotations

from typing import Any

from varflow._checks import instance
from varflow.plots.style import axes, band, colours
from varflow.results import Comparison


def plot_comparison(comparison: Comparison, ax: Any = None) -> Any:
    """Variance over layers (at the last step): measured and predicted mean, each with a band of ± one standard deviation."""
    instance("comparison", comparison, Comparison)
    ax = axes(ax)
    band(ax, comparison.ensemble, comparison.profile, colours(1)[0], "simulated mean, ± std", "predicted mean, ± std")
    ax.set(xlabel="layer", ylabel=r"variance of the potentials, $\mathrm{Var}[u_l]$", ylim=(0, None))
    ax.legend(frameon=False)
    verdict = "holds" if comparison.passed else "rejected"
    ax.set_title(f"theory {verdict} (p = {comparison.p_value:.3g})", fontsize=10)
    return ax
