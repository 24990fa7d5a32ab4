"""The depth scale of the overlap of two inputs, over thresholds and gains."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import ndtr

from varflow._checks import DomainError, frozen, positive_scale, scale
from varflow.results import InformationDiagram
from varflow.theory.correlation import stable_overlap
from varflow.theory.stable import stable_variance

__all__ = ["information_diagram"]

THRESHOLDS = tuple(np.linspace(0.02, 2.0, 100).tolist())
GAINS = tuple(np.linspace(0.1, 6.0, 119).tolist())


def information_diagram(*, threshold: Any = THRESHOLDS, gain: Any = GAINS) -> InformationDiagram:
    r"""How many layers the overlap of two inputs takes to settle, over thresholds and gains.

    .. math:: \xi_c = -1/\ln \frac{\varphi_2(z, z; \rho^*)}{Q(z)}, \qquad z = \theta/\sqrt{V^*}

    Parameters
    ----------
    threshold, gain : float or sequence of float
        ``θ`` and ``g = σ_w √n``; sorted, and each value once.

    Returns
    -------
    InformationDiagram
        ``.depth_scale .overlap .firing_rate`` at the largest stable variance; 0 where only silence is stable.

    Raises
    ------
    DomainError
        For values outside their domain, or none.

    Notes
    -----
    **Assumes** infinite width, normal weights of mean 0, no bias, memoryless neurons: what a readout can use of real
    networks is found by :func:`varflow.readable_depth`. **Accuracy**: that of :func:`varflow.stable_variance` and
    :func:`varflow.correlation_fixed_points`, at every point. **Source**: ``schoenholz2017`` for smooth activations.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.information_diagram(threshold=[0.5, 1.0], gain=[2.0, 2.51057]).depth_scale.round(3).tolist()
    [[1.579, 1.571], [0.0, 1.346]]
    """
    thetas, gains = np.unique(scale("threshold", threshold)), np.unique(positive_scale("gain", gain))
    for name, values in (("threshold", thetas), ("gain", gains)):
        if not values.size:
            raise DomainError(name, [], "must name at least one value")
    V = np.asarray(stable_variance(threshold=thetas[:, None], gain=gains))
    alive = V > 0
    z = np.broadcast_to(thetas[:, None], V.shape)[alive] / np.sqrt(V[alive])
    overlap, slope = stable_overlap(z)
    with np.errstate(divide="ignore"):
        found = {"depth_scale": -1 / np.log(slope), "overlap": overlap, "firing_rate": ndtr(-z)}
    tables = {name: np.zeros(V.shape) for name in found}
    for name, values in found.items():
        tables[name][alive] = values
    return InformationDiagram(frozen(thetas), frozen(gains), **{name: frozen(table) for name, table in tables.items()})
