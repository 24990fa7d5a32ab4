"""Profile: a theory's prediction for every layer of a network."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from varflow._checks import nan_to_none, renamed
from varflow._display import Shown, Table
from varflow._figures import draw
from varflow.model.network import Network
from varflow.results.export import dataset, named
from varflow.results.layout import ReadOnly, axes_of, layers_table, over_layers, spikes

NAMES = ("variance", "variance_std", "firing_rate", "firing_rate_std", "survival", "potential_mean", "effective_width")


class Sampler(Protocol):
    """Draws an :class:`varflow.Ensemble` from the exact distribution of a profile."""

    def __call__(self, repeats: int, seed: int = 0, ensembles: int = 1) -> Any: ...


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Profile(ReadOnly, Shown):
    """A theory's prediction for every layer of a network.

    A row is a layer of neurons. If the network ends in a merge of spikes, the last row has the firing rate, survival and
    second moments of the spikes that leave it, behind the merge (sums may exceed 1); its variance is that of the last neurons.

    Attributes
    ----------
    network : Network
    variance : ndarray, shape (depth,), or (depth, steps) for a network of several steps
        Expected sample variance (ddof = 1) of a layer's potentials about their own mean.
    variance_std : ndarray
        Standard deviation of that statistic over networks; NaN where undefined.
    firing_rate, firing_rate_std : ndarray
        Mean spikes per neuron (and step), and its standard deviation over networks.
    survival : ndarray
        ``P(K > 0)``, the probability that the layer has at least one spike (at that step).
    per_input : dict of ndarray, shape (batch, depth[, steps])
        For a drive of inputs: ``variance``, ``firing_rate`` and ``survival`` of each input. Empty otherwise.
    silent_variance : float or ndarray, shape (depth,)
        Variance of a layer that receives no spikes, due to its biases; NaN where the layer before does not tell whether it does
        (behind merges), or if it is not computed (networks of layers at infinite width).
    sample : callable, optional
        ``sample(repeats, seed) -> Ensemble``: draws from the exact distribution, if the theory has one.
    potential_mean : ndarray, optional
        Mean potential of a layer, in the shape of ``variance``; not 0 in general with a reset.
    second_moments : ndarray, optional, shape (depth, steps, steps)
        Second moments ``M(t, t') = E[S_t S_t']``: the state of a layer in time.
    effective_width : ndarray, optional
        For networks with maps: the number ``n`` of independent neurons whose mean activity varies as much as a layer's, given
        the layer below. With ``C`` channels of ``N`` positions, whose spikes have the mean correlation ``r``, ``n = C N/(1 +
        (N-1) r)``. In one step the firing rates of networks then have the variance ``p (1-p)/n_l + m² Var_{l-1}``, ``m`` the
        derivative of ``p_l`` by ``p_{l-1}``: exact in layer 1; deeper, standard deviations are within 5 % of simulated ones
        (8 × 8 and 16 × 16, 16 and 64 channels, g² = 8). NaN where a layer is silent. On large maps see ``mean_field``.
    error : dict of ndarray
        Numerical standard errors by quantity, if the theory is evaluated numerically.
    """

    network: Network
    variance: np.ndarray
    variance_std: np.ndarray
    firing_rate: np.ndarray
    firing_rate_std: np.ndarray
    survival: np.ndarray
    per_input: dict[str, np.ndarray] = field(default_factory=dict)
    silent_variance: float | np.ndarray = 0.0
    sample: Sampler | None = None
    potential_mean: np.ndarray | None = None
    second_moments: np.ndarray | None = None
    effective_width: np.ndarray | None = None
    error: dict[str, np.ndarray] = field(default_factory=dict)

    coincidences = renamed("coincidences", "second_moments")

    @property
    def spikes(self) -> np.ndarray:
        """Expected number of spikes in a layer, width × firing rate."""
        return spikes(self.network, self.firing_rate, self.firing_rate.ndim)

    def to_dict(self) -> dict[str, Any]:
        """Everything except ``second_moments``, which are large; ``to_xarray`` has them."""
        values = named(self, *NAMES, "spikes", "per_input", "error")
        return nan_to_none({name: value for name, value in values.items() if value is not None and len(value)})

    def to_xarray(self) -> Any:
        """All quantities and numerical errors: an ``xarray.Dataset`` over ``layer`` and ``step``, some also over ``input``."""
        arrays = named(self, *NAMES, "spikes", "second_moments")
        variables = over_layers(arrays | {f"{name}_error": value for name, value in self.error.items()})
        variables |= over_layers({f"{name}_per_input": value for name, value in self.per_input.items()}, "input")
        variables["silent_variance"] = ("layer", np.broadcast_to(self.silent_variance, len(self.variance)))
        return dataset(variables, axes_of(self.network), network=self.network)

    def plot(self) -> Any:
        """Variance and survival over layers; with several steps variance and rate over both. Returns a matplotlib Figure."""
        return draw(self)

    def _table(self) -> Table:
        return layers_table("Profile", self.network, self)
