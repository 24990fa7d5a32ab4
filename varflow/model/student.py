"""Student's t as a distribution of the standardised membrane potential.

With ``ν`` degrees of freedom and ``r = ν - 2``, the density at variance 1 is ``C (1 + z²/r)^{-(ν+1)/2}``. scipy's tail loses 10
to 20 ulp beyond ``z = 1``; there the tail is computed as density times Mills ratio, the latter from Gauss's continued fraction,
whose terms are all positive.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

from varflow._checks import put
from varflow.model.builtin import Distribution, two_product

_FAR = 2.0**400  # above, z² is rescaled so that it does not overflow


class StudentT(Distribution):
    r"""Student's t distribution with ``df > 2`` degrees of freedom, scaled to variance 1; made by ``student_t(df)``.

    .. math:: f(z) = \frac{\Gamma(\frac{\nu+1}{2})}{\Gamma(\frac\nu2)\sqrt{\pi(\nu-2)}}
              \Bigl(1 + \frac{z^2}{\nu-2}\Bigr)^{-(\nu+1)/2}
    """

    __slots__ = ("_constant", "_near_terms", "_switch", "_terms", "df", "name")
    inflection = math.sqrt(3.0)  # (z³ f)' = 0 where (ν + 1) z² = 3 (ν - 2 + z²): z² = 3 whatever ν
    df: float
    _constant: float
    _switch: float
    _near_terms: np.ndarray
    _terms: np.ndarray

    def __init__(self, df: float):
        put(self, df=df, name=f"student_t({df:.15g})", _constant=_density_at_zero(df), _switch=min(1.0, math.sqrt(df - 2)))
        put(self, _near_terms=_fraction_terms(df, self._switch), _terms=_fraction_terms(df, 3 * self._switch))

    def _sf(self, z: np.ndarray) -> np.ndarray:
        tail = self._tail(np.abs(z))
        return np.where(z < 0, 1.0 - tail, tail)

    def _pdf(self, z: np.ndarray) -> np.ndarray:
        t = np.abs(z)  # exponent ν/2, and a factor for the last half power: (ν + 1)/2 would round
        return self._constant * self._power(t, 0.5 * self.df) / np.hypot(1.0, t / math.sqrt(self.df - 2))

    def _log_sf(self, z: np.ndarray) -> np.ndarray:
        t = np.abs(z)
        excess_df = self.df - 2
        log_base = np.where(t > _FAR, 2 * np.log(t) - math.log(excess_df), np.log1p(np.minimum(t, _FAR) ** 2 / excess_df))
        log_far_tail = np.log(self._constant) + np.log(self._mills(t)) - 0.5 * (self.df + 1) * log_base
        log_far_tail = np.where(np.isinf(t), -np.inf, log_far_tail)
        tail = self._tail(t)
        return np.where(z < 0, np.log1p(-tail), np.where(t < self._switch, np.log(tail), log_far_tail))

    def _elasticity(self, z: np.ndarray) -> np.ndarray:
        return -(self.df + 1) / (1 + (self.df - 2) / (z * z))

    def _hazard(self, z: np.ndarray) -> np.ndarray:
        t = np.abs(z)
        centre = (z < 0) | (t < self._switch)
        return np.where(centre, self._pdf(z) / self._sf(z), 1.0 / self._mills(t))

    def _tail(self, t: np.ndarray) -> np.ndarray:
        """``Q(t)`` for ``t ≥ 0``: incomplete beta function below ``_switch``; above, density times Mills ratio, written as
        ``C (1 + t²/r)^{-ν/2}`` times a bounded factor because the density underflows before the tail."""
        from scipy.special import betaincc  # takes 0.2 s to import

        excess_df, t = self.df - 2, np.asarray(t)
        bounded = np.where(np.isinf(t), 1.0, self._mills(t) / np.hypot(1.0, t / math.sqrt(excess_df)))
        tail = np.asarray(self._constant * bounded * self._power(t, 0.5 * self.df))
        centre = t < self._switch
        square = t[centre] ** 2
        tail[centre] = 0.5 * betaincc(0.5, 0.5 * self.df, square / (excess_df + square))
        return tail

    def _power(self, t: np.ndarray, exponent: float) -> np.ndarray:
        """``(1 + t²/r)^{-exponent}``, the base kept to twice double precision."""
        excess_df = self.df - 2
        t = np.minimum(t, 1e200)  # 0 there for every ν > 2
        distant = t > _FAR
        one, t = np.where(distant, 0.0, 1.0), np.where(distant, t / _FAR, t)
        square, square_lo = two_product(t, t)
        ratio = square / excess_df
        back, back_lo = two_product(ratio, excess_df)
        ratio_lo = ((square - back) - back_lo + square_lo) / excess_df
        base = one + ratio
        grown = base - one
        base_lo = (one - (base - grown)) + (ratio - grown) + ratio_lo
        scale = np.where(distant, _FAR ** (-2 * exponent), 1.0)
        return np.power(base, -exponent) * np.exp(-exponent * base_lo / base) * scale

    def _mills(self, t: np.ndarray) -> np.ndarray:
        """``Q(t)/f(t)`` for ``t ≥ _switch``, by continued fraction; NaN below."""
        t = np.asarray(t)
        mills = np.full_like(t, np.nan)
        near = (t >= self._switch) & (t < 3 * self._switch)
        mills[near] = _mills_fraction(t[near], self.df, self._near_terms)
        distant = t >= 3 * self._switch
        mills[distant] = _mills_fraction(t[distant], self.df, self._terms)
        return mills

    def __repr__(self) -> str:
        return f"student_t({self.df:.15g})"


def _fraction_terms(df: float, smallest: float) -> np.ndarray:
    """Coefficients ``e_k`` of the fraction, as many as double precision needs for ``t ≥ smallest``."""
    c = 0.5 * df + 1.0
    q = np.array([(df - 2) / smallest**2])
    previous = -1.0
    for count in (8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384):
        k = np.arange(count // 2)
        odd = (0.5 + k) * (c - 1 + k) / ((c + 2 * k - 1) * (c + 2 * k))
        even = (k + 1) * (c + k - 0.5) / ((c + 2 * k) * (c + 2 * k + 1))
        terms = np.stack([odd, even], axis=1).ravel()
        value = float(_fraction(q, terms)[0])
        if abs(value - previous) <= 1e-16 * value:
            break
        previous = value
    return terms


def _fraction(q: np.ndarray, terms: np.ndarray) -> np.ndarray:
    """``1/(1 + e₁q/(1 + e₂q/(1 + …)))``, which is ``₂F₁(1/2, 1; ν/2 + 1; -q)``."""
    value = np.ones_like(q)
    for term in terms[::-1]:
        value = 1.0 + term * q / value
    return 1.0 / value


def _mills_fraction(t: np.ndarray, df: float, terms: np.ndarray) -> np.ndarray:
    excess_df = df - 2
    scaled = excess_df / t
    finite = np.where(np.isinf(t), 1.0, t)
    return (scaled + t) / df * _fraction(scaled / finite, terms)


def _density_at_zero(df: float) -> float:
    """``Γ((ν+1)/2)/(Γ(ν/2) √(π r))``: exact recurrence up to ``ν/2 ≥ 160``, then the series of Tricomi and Erdélyi."""
    a, shift = Fraction(df) / 2, Fraction(1)
    while a < 160:
        shift *= a / (a + Fraction(1, 2))
        a += 1
    r = 1 / float(a)
    series = 1 + r * (-1 / 8 + r * (1 / 128 + r * (5 / 1024 + r * (-21 / 32768 - r * 399 / 262144))))
    return float(shift) * series * math.sqrt(float(a / (Fraction(df) - 2)) / math.pi)
