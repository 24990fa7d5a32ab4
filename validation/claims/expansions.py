"""Claim: the 1/n series of a live network has its stated orders, and predicts the spread over real networks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

import varflow as vf
from validation.claim import Claim, Control, Error, Judgement
from validation.work import Work

ORDERS = (1, 2, 3)
PAIRS = ((800, 1600), (1600, 3200))  # widths between which an order is measured
TOLERANCE = 0.1  # of a measured order: the effect of the next term at these widths


@dataclass(frozen=True, slots=True)
class Settings:
    """``repeats`` networks of ``width``, measured in layers far enough apart to be independent.

    ``amplified``: whether the spread has the factor 1/(1-m²). ``spread`` multiplies the standard deviation and
    ``coefficient`` the first coefficient of the mean: errors.
    """

    repeats: int
    width: int = 200
    threshold: float = 0.7
    layers: tuple[int, ...] = (15, 25, 35, 45, 55)
    order: int = 2
    amplified: bool = True
    spread: float = 1.0
    coefficient: float = 1.0
    false_alarm: float = 1e-3

    def network(self, width: int | None = None) -> vf.Network:
        gain = vf.gain(threshold=self.threshold)
        depth = max(self.layers)
        return vf.Network(width=width or self.width, depth=depth, gain=gain, neuron=vf.Neuron(self.threshold))


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """Mean and standard deviation of ``Var u`` at the simulated width, and the measured orders of the remainder."""

    mean: float
    std: float
    spread: float
    orders: np.ndarray


def theory(settings: Settings) -> Series:
    """The series at order 2; its remainders against the exact chain, for mean shift and variance, orders 1 to 3."""
    found = vf.expansion(settings.network(), order=settings.order)
    std = found.variance_std
    if not settings.amplified:
        m, n = found.fixed_point.multiplier, settings.width
        mean_square = found.variance**2 + (1 - m**2) * found.variance_coefficients[0] / n
        std = float(np.sqrt(mean_square * (1 + 2 / (n - 1)) - found.variance**2))
    return Series(found.variance, std * settings.spread, settings.spread, _orders(settings.threshold, settings.coefficient))


@lru_cache
def _orders(threshold: float, coefficient: float) -> np.ndarray:
    """``-d ln|series - exact| / d ln n``, shape (orders, quantities, pairs): theory says order + 1."""
    widths = sorted({n for pair in PAIRS for n in pair})
    left = {n: np.array([_remainders(threshold, n, order, coefficient) for order in ORDERS]) for n in widths}
    return np.stack([np.log(left[a] / left[b]) / np.log(b / a) for a, b in PAIRS], axis=-1)


def _remainders(threshold: float, width: int, order: int, coefficient: float) -> np.ndarray:
    series = vf.expansion(_network(threshold, width), order=order)
    wrong = (coefficient - 1) * series.mean_coefficients[0] / width
    return np.abs(np.array([series.variance + wrong, series.variance_std**2]) - _exact(threshold, width))


@lru_cache
def _exact(threshold: float, width: int) -> np.ndarray:
    """Mean and variance over live networks, from the chain."""
    found = vf.SpikeChain(_network(threshold, width)).quasi_stationary()
    return np.array([found.variance, found.variance_std**2])


def _network(threshold: float, width: int) -> vf.Network:
    return Settings(1, threshold=threshold).network(width)


def simulate(settings: Settings, seed: int, work: Work) -> np.ndarray:
    """``Var u`` of the chosen layers, shape (repeats, layers); real weight matrices. Silent networks are left out."""
    (ensemble,) = work.simulate([settings.network()], repeats=settings.repeats, seed=seed)
    return _seen(settings, ensemble)


def _seen(settings: Settings, ensemble: vf.Ensemble) -> np.ndarray:
    layers = np.array(settings.layers) - 1
    return ensemble.variance[ensemble.survival[:, -1] > 0][:, layers]


def judge(settings: Settings, theory: Series, measured: np.ndarray) -> Judgement:
    """Test of the standard deviation about the theoretical mean; p = 0 if an order is not the stated one."""
    from scipy.special import ndtr

    squares = np.mean((measured - theory.mean) ** 2, axis=1)
    error = squares.std(ddof=1) / np.sqrt(len(squares))
    z = (squares.mean() - theory.std**2) / error
    seen = float(np.sqrt(squares.mean()))
    stated = np.array(ORDERS)[:, None, None] + 1
    wrong_order = np.abs(theory.orders - stated).max() > TOLERANCE
    p_value = 0.0 if wrong_order else float(2 * ndtr(-abs(z)))
    point = f"n = {settings.width}, θ = {settings.threshold:g}"
    numbers = (np.array([x]) for x in (theory.std, seen, error / (2 * seen), z))
    return Judgement(p_value, (point,), *numbers)


def wrong(settings: Settings, error: float) -> Settings:
    return replace(settings, spread=settings.spread * (1 + error))


def draw(settings: Settings, theory: Series, seed: int) -> np.ndarray:
    """Draws from the exact distribution of the network, its spread scaled as in the theory."""
    return theory.mean + (_drawn(replace(settings, spread=1.0), seed) - theory.mean) * theory.spread


@lru_cache(maxsize=128)
def _drawn(settings: Settings, seed: int) -> np.ndarray:
    sample = vf.finite_width(settings.network()).sample
    assert sample is not None
    return _seen(settings, sample(settings.repeats, seed))


def reading(settings: Settings, theory: Series, measured: np.ndarray) -> str:
    m = vf.expansion(settings.network(), order=1).fixed_point.multiplier
    orders = "; ".join(
        f"{', '.join(f'{x:.2f}' for x in rows.ravel())} where {order + 1} is stated"
        for order, rows in zip(ORDERS, theory.orders, strict=True)
    )
    bare = CLAIM.theory(replace(settings, amplified=False)).std
    seen = np.sqrt(np.mean((measured - theory.mean) ** 2))
    layers = ", ".join(map(str, settings.layers))
    return (
        f"Over networks of width {settings.width}, Var u in layers {layers} has standard deviation {theory.std:.4f} by the "
        f"series, {seen:.4f} in {len(measured)} networks. Without the memory of earlier layers, the factor 1/(1-m²) = "
        f"{1 / (1 - m**2):.3f}, it would be {bare:.4f}. The mean shift, {theory.mean - 1:.4f}, and the step from order 1 to 2 "
        "are too small to be seen in a simulation, so there the series is compared with the exact chain: the powers of 1/n "
        f"by which its error in mean shift and variance falls from width 800 to 1600 to 3200 are {orders}."
    )


CLAIM = Claim(
    name="expansions",
    statement="For a live network the error of the 1/n series of order k falls as n^-(k+1), and its standard deviation of Var "
    "u over networks, amplified by the memory of earlier layers, is that of dense networks at n = 200, θ = 0.7.",
    source="derived in vf.expansion; the exact chain is vf.SpikeChain",
    quantity="standard deviation of the variance over networks",
    budgets={"quick": Settings(repeats=600), "standard": Settings(repeats=4000)},
    theory=theory,
    simulate=simulate,
    judge=judge,
    errors=lambda settings: (Error("the standard deviation", wrong),),
    draw=draw,
    reading=reading,
    cheap=Settings(repeats=300, width=60, layers=(10, 20)),
    controls=(
        Control("a spread without the factor 1/(1-m²)", lambda settings: theory(replace(settings, amplified=False))),
        Control("a first coefficient of the mean 1 % too large", lambda settings: theory(replace(settings, coefficient=1.01))),
    ),
)
