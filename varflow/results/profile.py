"""Every layer of a network: a theory's prediction, the measurements of a simulation, and the verdict on the two."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from varflow._checks import nan_to_none
from varflow._display import Drawn, Table
from varflow.model.network import Network
from varflow.results.export import QUANTITIES, SPREADS, ReadOnly, axes_of, dataset, layers_table, named, over_layers, spikes

NAMES = ("variance", "variance_std", "firing_rate", "firing_rate_std", "survival", "potential_mean", "effective_width")
VERDICT = ("p_value", "passed", "false_alarm", "calibration")
ALARM = 1e-3  # at which means and spreads weigh the same


class Sampler(Protocol):
    """Draws an :class:`varflow.Ensemble` from the exact distribution of a profile."""

    def __call__(self, repeats: int, seed: int = 0, ensembles: int = 1) -> Any: ...


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Profile(ReadOnly, Drawn):
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

    Examples
    --------
    >>> import varflow as vf
    >>> vf.finite_width(vf.Network(width=100, depth=20, gain=2.51))
    Profile of Network(width=100, depth=20, gain=2.51, neuron=Neuron(threshold=1))
    layer        variance       firing rate  survival
        1        1 ± 0.14   0.15866 ± 0.037         1
        6  0.88237 ± 0.41   0.13449 ± 0.065   0.94809
       11   0.71472 ± 0.5   0.10865 ± 0.078   0.78466
       15  0.60118 ± 0.52  0.091379 ± 0.082   0.66196
       20  0.48407 ± 0.53  0.073576 ± 0.082   0.53342
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

    def _table(self) -> Table:
        return layers_table("Profile", self.network, self)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Ensemble(ReadOnly, Drawn):
    """The measurements of a simulation: one row per network.

    Layers are those of neurons; where the network ends in a merge of spikes, the last as in :class:`varflow.Profile`.

    Attributes
    ----------
    network : Network
    variance : ndarray, shape (repeats, depth), or (repeats, depth, steps) for a network of several steps
        Sample variance (ddof = 1) of each layer's potentials; NaN at width 1.
    firing_rate : ndarray
        Spikes per neuron (and step).
    survival : ndarray
        1 where the layer has at least one spike (at that step), else 0.
    seed : int
    engine, device, dtype : str
    potential_mean : ndarray, optional, shape (repeats, depth, steps)
        Mean potential of each layer.
    second_moments : ndarray, optional, shape (repeats, depth, steps, steps)
        Second moments ``(1/n) Σ_i S_ti S_t'i`` of each layer.

    Examples
    --------
    >>> import varflow as vf
    >>> ensemble = vf.finite_width(vf.Network(width=100, depth=20, gain=2.51)).sample(50, seed=1)
    >>> ensemble.variance.shape, bool(abs(ensemble.mean().variance[0] - 1) < 0.1)
    ((50, 20), True)
    """

    network: Network
    variance: np.ndarray
    firing_rate: np.ndarray
    seed: int = 0
    engine: str = "dense"
    device: str = "cpu"
    dtype: str = "float32"
    potential_mean: np.ndarray | None = None
    second_moments: np.ndarray | None = None

    @property
    def repeats(self) -> int:
        return self.variance.shape[0]

    @property
    def survival(self) -> np.ndarray:
        return (self.firing_rate > 0).astype(float)

    @property
    def spikes(self) -> np.ndarray:
        """Spikes per layer, width × firing rate."""
        return spikes(self.network, self.firing_rate, self.firing_rate.ndim - 1)

    @property
    def variance_std(self) -> np.ndarray:
        """Sample standard deviation of the variance over networks, shape (depth[, steps])."""
        return spread(self.variance)

    @property
    def firing_rate_std(self) -> np.ndarray:
        """Sample standard deviation of the firing rate over networks, shape (depth[, steps])."""
        return spread(self.firing_rate)

    def _summary(self, reduce: Callable[[np.ndarray], np.ndarray]) -> Profile:
        return Profile(
            self.network,
            variance=reduce(self.variance),
            variance_std=self.variance_std,
            firing_rate=reduce(self.firing_rate),
            firing_rate_std=self.firing_rate_std,
            survival=reduce(self.survival),
            potential_mean=None if self.potential_mean is None else reduce(self.potential_mean),
            second_moments=None if self.second_moments is None else reduce(self.second_moments),
        )

    def mean(self) -> Profile:
        """Mean of each quantity over networks, with its spread over networks, as a :class:`varflow.Profile`."""
        return self._summary(lambda rows: rows.mean(axis=0))

    def std(self) -> Profile:
        """Standard deviation over networks of each quantity (ddof = 1; NaN for one network)."""
        return self._summary(spread)

    def stderr(self) -> Profile:
        """Standard error of each mean, ``std/√repeats``."""
        return self._summary(lambda rows: spread(rows) / np.sqrt(len(rows)))

    def to_dict(self) -> dict[str, Any]:
        """Everything except ``second_moments``, which are large; ``to_xarray`` has them."""
        values = named(self, *QUANTITIES, "spikes", "potential_mean", "seed", "engine", "device", "dtype")
        return nan_to_none({name: value for name, value in values.items() if value is not None})

    def to_xarray(self) -> Any:
        """All quantities as an ``xarray.Dataset`` over ``network``, ``layer`` and ``step``."""
        variables = over_layers(named(self, *QUANTITIES, "spikes", "potential_mean", "second_moments"), "network")
        origin = named(self, "network", "seed", "engine", "device", "dtype")
        return dataset(variables, axes_of(self.network), **origin)

    def _table(self) -> Table:
        title = f"Ensemble of {self.repeats} networks ({self.engine}, seed {self.seed})"
        return layers_table(title, self.network, self.mean())


def spread(rows: np.ndarray, ddof: int = 1) -> np.ndarray:
    """Standard deviation along the first axis, in units of the largest value: squares of variances leave double precision."""
    if len(rows) <= ddof:
        return np.full(rows.shape[1:], np.nan)
    largest = np.abs(rows).max(axis=0)
    unit = np.where(largest > 0, largest, 1.0)
    return unit * (rows / unit).std(axis=0, ddof=ddof)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Comparison(ReadOnly, Drawn):
    """The verdict on one profile and one ensemble.

    Attributes
    ----------
    z : dict of ndarray, shape (depth,) or (depth, steps)
        Signed deviation in standard errors, per quantity and layer: ``variance`` and ``firing_rate`` over the networks
        alive there, ``survival`` as the normal score of its exact binomial probability; ``spread`` and
        ``conditional_spread`` over networks, pooled over layers 1 … l (judged is the last). NaN where nothing was measured.
        For a profile without an exact distribution: over all networks, after subtracting the stated bias, and also for
        ``potential_mean`` if both have it.
    p_value : float
        Probability, if the theory holds, of a largest deviation at least as large as the observed one.
    passed : bool
        Whether ``p_value`` exceeds ``false_alarm``.
    false_alarm : float
    calibration : str
        How ``p_value`` was found.
    profile, ensemble
        What was compared.
    spread : dict of float
        The spreads over all layers, in units of the predicted ones: at a width ``n`` for ``n'`` about ``√(n'/n)``. Empty for a
        profile without an exact distribution.

    Examples
    --------
    >>> import varflow as vf
    >>> profile = vf.finite_width(vf.Network(width=100, depth=20, gain=2.51))
    >>> vf.compare(profile, profile.sample(50, seed=1)).passed
    True
    """

    z: dict[str, np.ndarray]
    p_value: float
    passed: bool
    false_alarm: float
    calibration: str
    profile: Profile
    ensemble: Ensemble
    spread: dict[str, float] = field(default_factory=dict)

    @property
    def deviation(self) -> float:
        """The statistic, the largest ``|z|``, that of spreads weighted as :func:`varflow.compare` says."""
        return float(deviation({name: values.ravel() for name, values in self.z.items()}))

    @property
    def worst(self) -> dict[str, tuple[Any, ...]]:
        """Layer (and step) and signed deviation of the largest ``|z|`` of each measured quantity; of spreads, the last."""
        largest = {}
        for name, values in self.z.items():
            if name in SPREADS:
                if np.isfinite(values[-1]):
                    largest[name] = (len(values), float(values[-1]))
            elif not np.all(np.isnan(values)):
                place = np.unravel_index(np.nanargmax(np.abs(values)), values.shape)
                largest[name] = (*(int(index) + 1 for index in place), float(values[place]))
        return largest

    def to_dict(self) -> dict[str, Any]:
        axes = ("layer", "step", "z") if self.profile.variance.ndim == 2 else ("layer", "z")
        worst = {name: dict(zip(axes, place, strict=True)) for name, place in self.worst.items()}
        return nan_to_none(named(self, *VERDICT, "z", "spread") | {"worst": worst})

    def to_xarray(self) -> Any:
        """An ``xarray.Dataset`` over ``layer`` and ``step``: deviations ``z_variance`` …, spreads ``relative_…``, verdict."""
        variables = over_layers({f"z_{name}": values for name, values in self.z.items()})
        variables |= {f"relative_{name}": ((), value) for name, value in self.spread.items()}
        return dataset(variables, axes_of(self.profile.network), **named(self, *VERDICT))

    def _table(self) -> Table:
        verdict = "the theory stands" if self.passed else "the theory is rejected"
        p = f"p = {self.p_value:.3g}" if self.p_value > 0 else "impossible under the theory"
        title = f"Comparison: {verdict} ({p}; false alarm {self.false_alarm:g}; {self.calibration})"
        measured, rows, within = self.ensemble.mean(), [], False
        for name, (*place, z) in self.worst.items():
            where, numbers = ", ".join(map(str, place)), (1.0, self.spread.get(name, math.nan))
            if name in SPREADS:
                where = f"1 to {where}"
            else:
                numbers = (getattr(of, name)[tuple(np.subtract(place, 1))] for of in (self.profile, measured))
            predicted, found = numbers
            within |= bool(z == 0 and predicted != found and self.profile.sample is None)
            rows.append((name, f"{abs(z):.2f}", where, f"{predicted:.6g}", f"{found:.6g}"))
        where = "at layer, step" if self.profile.variance.ndim == 2 else "at layer"
        notes = ("|z| is 0 where all that was measured lies within the allowed bias.",) * within
        header = ("quantity", "largest |z|", where, "predicted", "measured")
        return Table(title, rows, header, notes)


def deviation(z: dict[str, np.ndarray]) -> np.ndarray:
    """Largest ``|z|`` over quantities and layers, shape (…), ignoring NaN; of spreads the last, weighted.

    With the weight either kind alone would exceed the same bar with probability ``ALARM/2``, were all scores normal and
    independent.
    """
    from scipy.special import ndtri

    means = np.abs(np.concatenate([values for name, values in z.items() if name not in SPREADS], axis=-1))
    spreads = [np.abs(z[name][..., -1:]) for name in SPREADS if name in z]
    if spreads:
        bars = [-ndtri(ALARM / 4 / number) for number in (means.shape[-1], len(spreads))]
        means = np.concatenate([means, bars[0] / bars[1] * np.concatenate(spreads, axis=-1)], axis=-1)
    return np.max(np.where(np.isnan(means), 0.0, means), axis=-1)
