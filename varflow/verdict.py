"""A statistical test of a profile by an ensemble.

In each layer the number of live networks is tested by the exact binomial, and variance and rate by their means over the live
networks; over all layers together, by their spread over networks, which tells the width. The largest deviation is calibrated by
ensembles of the same size drawn from the profile's exact distribution, so that the false-alarm rate is as stated also where
networks die and nothing is Gaussian. A profile without one (infinite width, or several steps) is judged by the ensemble's
standard errors. The spread over networks is pooled over layers: a wrong width changes it in every layer by the same factor.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from varflow._checks import DomainError, brief, instance, non_negative, probability, refuse
from varflow.results import QUANTITIES, SPREADS, Comparison, Ensemble, Profile, deviation
from varflow.results.profile import Sampler

CERTAIN = 1e-7  # relative standard deviation below which a value is certain and its spread not judged
SEED = 2**47  # of these: distinct from seeds of ensembles and of calibration


def receiving(profile: Profile, alive: np.ndarray) -> np.ndarray:
    """True where layers receive spikes, by ``alive`` of the layer before (or the probability of it), shape (…, depth).

    Behind a merge, where the layer before does not tell, all networks count as receiving.
    """
    before = np.concatenate([np.ones_like(alive[..., :1]), alive[..., :-1]], axis=-1)
    return np.where(np.isnan(profile.silent_variance), np.ones_like(before), before)


class Spreads:
    """Spreads ``R_l`` of ensembles of ``repeats`` networks, standardised by networks drawn from the profile.

    ``variance`` and ``rate``: mean and standard deviation over live networks. ``spread`` pools both about their sample means;
    ``conditional_spread`` the ratio of variance to its expectation given the rate of the layer before, from layer 2 on, whose
    relative variance is ``2/(n-1)`` for normal weights. Everything is in units of the mean, so that no square overflows.
    """

    def __init__(self, profile: Profile, repeats: int, variance: tuple, rate: tuple):
        self.profile = profile
        self.units = [np.where(mean > 0, mean, 1.0) for mean, _ in (variance, rate)]
        relative = [std / unit for (_, std), unit in zip((variance, rate), self.units, strict=True)]
        self.stds = [np.where(std > CERTAIN, std, np.nan) for std in relative]
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            silent = np.broadcast_to(profile.silent_variance, profile.variance.shape)[1:] / profile.variance[1:]
            self.expected = silent, (1 - silent) / profile.firing_rate[:-1]  # relative, at rate 0, and its slope
        self.scale = np.sqrt(np.maximum(profile.network.widths[1:] - 1, 0) / 2)
        assert profile.sample is not None
        # 512 networks give the standard deviation of a spread to about 3 %
        drawn = profile.sample(max(512, 2 * repeats), seed=SEED)
        parts = self._parts(drawn.variance, drawn.firing_rate)
        (_, std), conditional = (_moments(squares, counted, repeats) for squares, counted in parts)
        self.null = [(np.ones_like(std), std), conditional]  # the profile states the first mean: its own standard deviations

    def __call__(self, variance: np.ndarray, rate: np.ndarray) -> dict[str, np.ndarray]:
        """``(R_l - mean)/std``, shape (…, depth), from arrays of shape (…, repeats, depth)."""
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            scores = [(ratio - mean) / std for ratio, mean, std in self._ratios(variance, rate)]
        return dict(zip(SPREADS, scores, strict=True))

    def relative(self, variance: np.ndarray, rate: np.ndarray) -> dict[str, float]:
        """The spreads over all layers, in units of their mean."""
        ratios = zip(SPREADS, self._ratios(variance, rate), strict=True)
        return {name: float(ratio[-1] / mean[-1]) for name, (ratio, mean, _) in ratios if np.isfinite(ratio[-1] / mean[-1])}

    def _ratios(self, variance: np.ndarray, rate: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """``R_l`` of each kind, with its mean and standard deviation."""
        return [(_pooled(*pair), *null) for pair, null in zip(self._parts(variance, rate), self.null, strict=True)]

    def _parts(self, variance: np.ndarray, rate: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """Squares about the mean over networks, and which are counted, per kind; shape (…, repeats, values of all layers)."""
        alive = rate > 0
        before = receiving(self.profile, alive)
        silent, slope = self.expected
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            both = np.stack([variance / self.units[0] / self.stds[0], rate / self.units[1] / self.stds[1]], axis=-1)
            given = self.scale * (variance[..., 1:] / self.units[0][1:] / (silent + slope * rate[..., :-1]))
        first = np.full_like(variance[..., :1], np.nan)  # layer 1 has no layer before
        conditional = np.concatenate([first, given], axis=-1)[..., None]
        return [_squares(both, np.stack([before, alive], axis=-1)), _squares(conditional, before[..., None])]


def _squares(values: np.ndarray, counted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Squares about the mean over the chosen networks, and the choice; shape (…, networks, layers, quantities)."""
    counted = counted & np.isfinite(values)
    number = np.maximum(counted.sum(axis=-3, keepdims=True), 1)
    mean = np.where(counted, values, 0.0).sum(axis=-3, keepdims=True) / number
    with np.errstate(over="ignore", invalid="ignore"):
        return np.where(counted, values - mean, 0.0) ** 2, counted


def _pooled(squares: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """``√(Σ squares/Σ degrees of freedom)`` over layers 1 … l; NaN where there is none."""
    freedom = np.maximum(counted.sum(axis=-3) - 1, 0).sum(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return np.sqrt(np.cumsum(squares.sum(axis=(-3, -1)), axis=-1) / np.cumsum(freedom, axis=-1))


def _moments(squares: np.ndarray, counted: np.ndarray, repeats: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of ``R_l``: to first order its square is a mean over independent networks."""
    sums, numbers = (np.cumsum(x.sum(axis=-1), axis=-1) for x in (squares, counted))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        mean = np.sqrt(sums.mean(axis=0) / numbers.mean(axis=0))
        scatter = (sums - mean**2 * numbers).std(axis=0) / numbers.mean(axis=0)
        std = scatter / (2 * mean * np.sqrt(repeats - 1))
    return mean, np.where(std > CERTAIN * mean, std, np.nan)


EXCEEDANCES = 20  # drawn ensembles exceeding the measured one, at which the p-value is known to 22 %
BATCH = 64  # ensembles drawn at a time, or as many as hold NUMBERS variances
NUMBERS = 2**20
SINGLE = 1e-5  # relative error allowed in time, where simulation measures in single precision


def compare(profile: Profile, ensemble: Ensemble, *, false_alarm: float = 1e-3, bias: Any = None) -> Comparison:
    r"""Judge a prediction by a simulation.

    Parameters
    ----------
    profile : Profile
        From :func:`varflow.finite_width`, which has an exact distribution; other profiles are judged by normal errors.
    ensemble : Ensemble
        From :func:`varflow.simulate`. Its network is not compared with the profile's: they may differ on purpose.
    false_alarm : float
        Probability with which a true theory may be rejected.
    bias : float or dict, optional
        Allowed error of a profile without an exact distribution: a fraction of each quantity (0.02 for 2 %; for the mean
        potential, in standard deviations of the potential), or by quantity a number or array in its own unit. A network of
        width ``n`` departs from infinite width by order ``1/n``, which shows with enough networks.

    Returns
    -------
    Comparison

    Raises
    ------
    DomainError
        If depths or steps differ, ``false_alarm`` lies outside (0, 1), or ``bias`` is negative, of another shape, of an
        unknown quantity, or given for a profile with an exact distribution.

    Notes
    -----
    **Method**: means over live networks, and the number of live ones, are judged in each layer. Spreads over networks are
    pooled over layers, since a wrong width changes all of them by one factor (``var ∝ 1/n``): ``spread``, of variance and
    rate about their sample means, in units of the profile's standard deviations,

    .. math:: R_l^2 = \sum_{k \le l} (m_k - 1) \frac{s_k^2}{\sigma_k^2} \Big/ \sum_{k \le l} (m_k - 1),

    with ``m`` live networks, and ``conditional_spread``, likewise of ``variance/E[variance | rate of the layer before]``, which
    does not feel what earlier layers have amplified. Of both ``z`` is ``(R - mean)/std``, mean and standard deviation from 512
    drawn networks; judged are the last entries, over all layers.

    The statistic is the largest ``|z|``, that of spreads weighted such that either kind alone would give half of the false
    alarms at 0.001, if all were normal and independent. Its p-value comes from ensembles drawn by
    ``profile.sample``, sequentially: after 20 exceedances at draw ``m`` it is ``20/m`` (Besag and Clifford 1991,
    ``besag1991``); at the cap of ``2/false_alarm`` draws it is ``(exceedances + 1)/(draws + 1)``. Both keep the stated rate.
    If the deviation is several times the largest of 32 or more draws, drawing stops with
    ``p = (largest/deviation)⁴/(draws + 1)``, an upper bound if the tail falls at least like the fourth power.

    A profile without an exact distribution (infinite width, or several steps) is judged by the standard errors of the
    ensemble and of the numerics, as if normal (Student's t), with Šidák's correction over layers, steps and quantities:
    conservative if these are correlated. In time, standard errors are at least the scatter that rare spikes must have. The
    profile's error of order 1/width counts against it unless allowed by ``bias``: measure it at two widths, or let the width
    grow with the number of networks.

    **Accuracy**: measured false-alarm rates are in ``docs/evidence.md`` and tested. Of 20 networks of width 1000 and depth
    100 at the preserving gain, thresholds 0.1 to 1, a width 20 % off is rejected at 0.01 with probability 0.99 to 1, one 10 %
    too small with 0.55 to 0.87, one 10 % too large with 0.26 to 0.70 (4000 and 1000 drawn ensembles); without the spreads,
    with 0.14 at most.

    Examples
    --------
    >>> import varflow as vf
    >>> network = vf.Network(width=100, depth=20, gain=2.0, neuron=vf.Neuron(0.5))
    >>> profile = vf.finite_width(network)
    >>> vf.compare(profile, profile.sample(20, seed=1)).passed
    True
    >>> wrong = vf.finite_width(vf.Network(width=100, depth=20, gain=2.5, neuron=vf.Neuron(0.5)))
    >>> vf.compare(wrong, profile.sample(20, seed=1)).passed
    False
    """
    instance("profile", profile, Profile)
    instance("ensemble", ensemble, Ensemble)
    probability("false_alarm", false_alarm, open_ends=True)
    if profile.variance.shape != ensemble.variance.shape[1:]:
        rule = f"differs from the profile's shape {profile.variance.shape}: give both networks the same depth and steps"
        raise DomainError("ensemble", f"shape {ensemble.variance.shape[1:]}", rule)
    allowed = allowances(profile, bias)
    if profile.sample is None:
        if ensemble.repeats < 2:
            raise DomainError("ensemble", f"{ensemble.repeats} network", "has no standard error; simulate at least 2 repeats")
        z, spread = _plain_scores(profile, ensemble, allowed), {}
        p_value, calibration = _student_p_value(z, ensemble.repeats - 1), "normal errors"
    else:
        score = Scores(profile, ensemble.repeats)
        z = score(ensemble.variance, ensemble.firing_rate)
        spread = score.spreads.relative(ensemble.variance, ensemble.firing_rate)
        p_value, calibration = _drawn_p_value(profile.sample, score, float(deviation(z)), ensemble, false_alarm)
    return Comparison(z, p_value, bool(p_value > false_alarm), false_alarm, calibration, profile, ensemble, spread)


class Scores:
    """Standardised deviations of ensembles of ``repeats`` networks from one profile, per quantity."""

    def __init__(self, profile: Profile, repeats: int):
        alive = profile.survival
        receives = receiving(profile, alive)
        width = profile.network.widths
        silent, relative_square = np.nan_to_num(profile.silent_variance), 1 + 2 / np.maximum(width - 1, 1)
        self.profile = profile
        self.rate = _among_the_alive(profile.firing_rate, profile.firing_rate_std, alive, 0.0, 0.0)
        self.variance = _among_the_alive(profile.variance, profile.variance_std, receives, silent, relative_square)
        self.survival = _binomial_scores(repeats, alive)
        self.spreads = Spreads(profile, repeats, self.variance, self.rate)

    def __call__(self, variance: np.ndarray, rate: np.ndarray) -> dict[str, np.ndarray]:
        """Scores of arrays of shape (…, repeats, depth); the result has shape (…, depth)."""
        alive = rate > 0
        receives = receiving(self.profile, alive)
        living = alive.sum(axis=-2)
        return {
            "variance": _mean_score(variance, receives, *self.variance),
            "firing_rate": _mean_score(rate, alive, *self.rate),
            "survival": self.survival[living, np.arange(living.shape[-1])],
            **self.spreads(variance, rate),
        }


def _among_the_alive(mean: Any, std: Any, alive: Any, silent: Any, relative_square: Any) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation over live networks, from those over all networks and the moments of silent ones.

    Silent networks have mean ``silent`` and second moment ``silent² relative_square``. Everything is divided by the mean before
    it is squared, since squares of variances may over- or underflow.
    """
    unit = np.where(mean > 0, mean, 1.0)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):  # over: for a survival near the smallest double
        among = (mean - (1 - alive) * silent) / unit / alive
        square = ((std / unit) ** 2 + (mean / unit) ** 2 - (1 - alive) * (silent / unit) ** 2 * relative_square) / alive
        spread = np.sqrt(np.maximum(square - among**2, 0.0))
    return unit * among, unit * spread


def _mean_score(values: np.ndarray, counted: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """``(mean of the chosen - mean)/(std/√chosen)``; 0 or ±inf if theory predicts no spread."""
    number = counted.sum(axis=-2)
    with np.errstate(divide="ignore", invalid="ignore"):
        difference = np.where(counted, values, 0.0).sum(axis=-2) / number - mean
        score = difference / (std / np.sqrt(number))
    certain = (std <= 1e-9 * np.abs(mean)) & (number > 0)
    exact = np.where(np.abs(difference) <= SINGLE * np.abs(mean), 0.0, np.copysign(np.inf, difference))
    return np.where(certain, exact, score)


def _binomial_scores(repeats: int, alive: np.ndarray) -> np.ndarray:
    """Normal score of the two-sided binomial probability, for 0 … repeats networks alive; shape (repeats + 1, depth)."""
    from scipy.special import bdtr, bdtrc, ndtri

    count = np.arange(repeats + 1)[:, None]
    at_most = bdtr(count, repeats, alive)
    at_least = np.where(count == 0, 1.0, bdtrc(np.maximum(count - 1, 0), repeats, alive))
    tail = np.minimum(np.minimum(at_most, at_least), 0.5)
    return np.where(at_most < at_least, 1.0, -1.0) * ndtri(tail)


def _drawn_p_value(
    sample: Sampler, score: Scores, observed: float, ensemble: Ensemble, false_alarm: float
) -> tuple[float, str]:
    """Sequential Monte-Carlo p-value of the largest deviation."""
    if np.isinf(observed):
        return 0.0, "no draw needed"
    cap = math.ceil(2 / false_alarm)
    exceedances, drawn, repeats = 0, 0, ensemble.repeats
    seed = (int(ensemble.seed) + 1) * 2**48  # distinct from the ensemble's seed, and for each ensemble
    size, largest = max(1, min(BATCH, NUMBERS // (repeats * ensemble.variance.shape[1]))), 0.0
    while drawn < cap:
        batch = sample(repeats, seed=seed, ensembles=size)
        shape = (size, repeats, batch.network.depth)
        deviations = deviation(score(batch.variance.reshape(shape), batch.firing_rate.reshape(shape)))
        exceeds, largest = deviations >= observed, max(largest, float(deviations.max()))
        if exceedances + exceeds.sum() >= EXCEEDANCES:
            last = np.flatnonzero(exceeds)[EXCEEDANCES - exceedances - 1]
            drawn += int(last) + 1
            return EXCEEDANCES / drawn, f"{drawn} drawn ensembles"
        exceedances, drawn, seed = exceedances + int(exceeds.sum()), drawn + size, seed + 1
        bound = (largest / observed) ** 4 / (drawn + 1) if exceedances == 0 and observed > 0 else 1.0
        # a deviation far beyond 32 ensembles is rejected
        if drawn >= 32 and bound < false_alarm / 10:
            return bound, f"{drawn} drawn ensembles and a bound"
    return (exceedances + 1) / (drawn + 1), f"{drawn} drawn ensembles"


def _plain_scores(profile: Profile, ensemble: Ensemble, allowed: dict[str, Any]) -> dict[str, np.ndarray]:
    """Deviation of each mean beyond the allowed error, in standard errors (the ensemble's, but at least the least ones)."""
    mean, error, least = ensemble.mean(), ensemble.stderr(), _least_errors(profile, ensemble.repeats)
    scores = {}
    for name in (*QUANTITIES, "potential_mean"):
        predicted, measured = getattr(profile, name), getattr(mean, name)
        if predicted is None or measured is None:
            continue
        difference = measured - predicted
        excess = np.copysign(np.maximum(np.abs(difference) - allowed.get(name, 0.0), 0.0), difference)
        size = np.hypot(np.maximum(getattr(error, name), least.get(name, 0.0)), profile.error.get(name, 0.0))
        with np.errstate(divide="ignore", invalid="ignore"):
            scores[name] = np.where(excess == 0, 0.0, excess / size)
    return scores


def allowances(profile: Profile, bias: Any) -> dict[str, Any]:
    """The allowed error of each quantity: the stated bias, plus in time single precision and silence by chance."""
    if profile.sample is not None:
        refuse("applies only to profiles without an exact distribution", bias=bias)
        return {}
    scales = {name: np.abs(getattr(profile, name)) for name in QUANTITIES} | {"potential_mean": np.sqrt(profile.variance)}
    granted = _granted(profile, scales)
    if not isinstance(bias, dict):
        fraction = non_negative("bias", 0.0 if bias is None else bias)
        if fraction.ndim:
            raise DomainError("bias", brief(fraction), "must be one fraction, or arrays by name of the quantity")
        return {name: fraction * scale + granted[name] for name, scale in scales.items()}
    for name in bias:
        if name not in scales:
            raise DomainError("bias", name, f"is not one of the quantities {', '.join(scales)}")
    return {name: _bound(profile, name, bias.get(name, 0.0)) + granted[name] for name in scales}


def _granted(profile: Profile, scales: dict[str, np.ndarray]) -> dict[str, Any]:
    """Allowed errors in time: single precision, and layers silent by chance that are alive at infinite width.

    The error of a variance is at least that fraction of ``θ²``: far below it no neuron spikes, whatever the variance.
    """
    if profile.variance.ndim == 1:
        return dict.fromkeys(scales, 0.0)
    granted = {name: SINGLE * scale for name, scale in scales.items()}
    granted["variance"] = granted["variance"] + SINGLE * profile.network.thresholds[:, None] ** 2
    return granted | {"survival": granted["survival"] + _silent_by_chance(profile)}


def _silent_by_chance(profile: Profile) -> np.ndarray:
    """``(1 - p)^n`` for ``n`` independent neurons, in layers that are alive for certain at infinite width."""
    silent = np.maximum(1 - profile.firing_rate, 0.0) ** profile.network.widths[:, None]
    return np.where(profile.survival == 1, silent, 0.0)


def _bound(profile: Profile, name: str, bias: Any) -> np.ndarray:
    bound = non_negative("bias", bias)
    try:
        return np.broadcast_to(bound, profile.variance.shape)
    except ValueError:
        rule = f"for {name} must be one number or fit layers and steps, {profile.variance.shape}"
        raise DomainError("bias", f"array of shape {bound.shape}", rule) from None


def _least_errors(profile: Profile, repeats: int) -> dict[str, np.ndarray]:
    """Lower bounds on standard errors, which an ensemble undercuts only by chance.

    Neurons are independent given the layer before, so ``Var[K/n] ≥ f(1-f)/n`` with ``f`` the fractional part of the rate.
    Without bias a variance is a mean of ``n`` non-negative terms, of which at most a fraction ``q`` is not zero (neurons of
    the layer before that have spiked), so its relative variance over networks is at least ``(1-q)/(nq)``.
    """
    if profile.variance.ndim == 1:
        return {"survival": np.sqrt(profile.survival * (1 - profile.survival) / repeats)}
    alive = profile.survival - _silent_by_chance(profile)
    least = {"survival": np.sqrt(alive * (1 - alive) / repeats)}
    if profile.network.layers is not None:  # a normalisation over neurons scatters less than independent neurons do
        return least
    rate, width = profile.firing_rate, profile.network.widths[:, None]
    least["firing_rate"] = np.sqrt(rate % 1 * (1 - rate % 1) / (width * repeats))
    if profile.network.bias_std == 0:
        spiked = np.minimum(np.cumsum(rate[:-1], axis=1), 1.0)
        with np.errstate(divide="ignore"):
            relative = np.sqrt((1 - spiked) / (width[:-1] * spiked * repeats))
        scatter = np.where(profile.variance[1:] > 0, profile.variance[1:], 0.0) * np.where(spiked > 0, relative, 0.0)
        least["variance"] = np.concatenate([np.zeros_like(rate[:1]), scatter])
    return least


def _student_p_value(z: dict[str, np.ndarray], degrees: int) -> float:
    """p-value of the largest deviation, Student-t distributed, with Šidák's correction over all of them."""
    from scipy.special import stdtr

    sizes = np.abs(np.concatenate([values.ravel() for values in z.values()]))
    sizes = sizes[~np.isnan(sizes)]
    if not sizes.any():
        return 1.0
    return float(-np.expm1(len(sizes) * np.log1p(-min(2 * stdtr(degrees, -sizes.max()), 1.0))))
