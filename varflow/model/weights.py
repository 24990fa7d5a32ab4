r"""The random weights of a network: their distribution, and which connections are present.

A connection that is present has weight ``scale · x + shift``, with ``x`` the *core*: ±1 for sign weights, a standard normal or
unit exponential variable, and so on (``weight_distribution``). Scale and shift are set by the network's gain and mean gain.
Connections may be absent, independently (``sparse``) or so that each neuron keeps an exact number of inputs
(``fixed_in_degree``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

from varflow._checks import SMALLEST_SCALE, DomainError, choice, integer, positive_number, probability, put, real_number
from varflow._lazy import names_of
from varflow.model import weight_distribution as families
from varflow.model.rounded_weights import largest_integer, least_error_clip, rounded
from varflow.model.weight_distribution import WeightDistribution

MOST_BITS = 12


@dataclass(frozen=True, slots=True)
class WeightLaw:
    """The weights of a network: their distribution, and which connections are present. Hashable.

    Attributes
    ----------
    core : WeightDistribution
        Distribution of a weight before it is scaled.
    label : str
        Printed name.
    offset : float
        Added to the core's mean, in units of the core.
    density : float
        Probability that a connection is present.
    in_degree : int or None
        Exact number of inputs that each neuron keeps.
    approximate : bool
        Whether theory treats the potential as normal.
    mean, std : float
        Of the core.

    Examples
    --------
    >>> import varflow as vf
    >>> law = vf.weights.weight_law("exponential")
    >>> law.mean, law.std, law.own_mean_gain(gain=1.0, fan_in=100)
    (1.0, 1.0, 10.0)
    """

    core: WeightDistribution
    label: str
    offset: float = 0.0
    density: float = 1.0
    in_degree: int | None = None
    approximate: bool = False
    mean: float = field(init=False, repr=False, compare=False)
    std: float = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        put(self, mean=self.core.mean, std=self.core.std)

    @property
    def own_mean(self) -> float:
        """Mean of a present weight in units of its standard deviation, before any ``mean_gain``."""
        return (self.mean + self.offset) / self.std

    @property
    def normal_given_spikes(self) -> bool:
        """True if potentials are normal given the spikes of the layer below."""
        return self.core.sums_are_normal and self.always_present

    @property
    def always_present(self) -> bool:
        return self.density == 1 and self.in_degree is None

    def own_mean_gain(self, gain: float, fan_in: int) -> float:
        """``n E[w]`` at this gain, unless the network's ``mean_gain`` replaces it."""
        scale, shift = self.connection(gain, fan_in)
        return self.present(fan_in) * (scale * self.mean + shift)

    def connection(self, gain: float, fan_in: int, mean_gain: float | None = None) -> tuple[float, float]:
        """``(scale, shift)`` of a connection that is present, for ``n Var[w] = gain²`` and ``n E[w] = mean_gain``.

        With a fixed in-degree, ``gain²`` is the variance of a potential whose inputs are all active. Of stable weights, which
        have no variance, ``gain`` is the scale of such a potential: ``scale = gain/n^(1/α)``.
        """
        gain, number, absent = positive_number("gain", gain), self.present(fan_in), 0.0 if self.in_degree else 1 - self.density
        if mean_gain is None:
            factor = gain / self._width(number * (1 + absent * self.own_mean**2)) / self.std
            return factor, factor * self.offset
        mean_gain = real_number("mean_gain", mean_gain)
        mean = mean_gain / number
        presence = math.sqrt(absent / number) * abs(mean_gain)  # the gain if all present weights were equal
        if presence and self.core.index < 2:
            raise DomainError("mean_gain", mean_gain, "must be 0 for sparse weights without a variance")
        if gain <= presence:
            rule = "is too large for this gain: absent connections alone give the weights more variance; raise gain or density"
            raise DomainError("mean_gain", mean_gain, rule)
        std_given_presence = math.sqrt(gain - presence) * math.sqrt(gain + presence) if presence else gain
        factor = std_given_presence / self._width(number) / self.std
        return factor, mean - factor * self.mean

    def need_variance(self) -> None:
        """DomainError for stable weights."""
        if self.core.index < 2:
            rule = "have no variance, on which this answer rests: vf.SpikeChain(network) and vf.simulate(network) need none"
            raise DomainError("weights", self, rule)

    def _width(self, number: float) -> float:
        """Standard deviation, or scale, of a sum of so many weights in units of one."""
        return math.sqrt(number) if self.core.index == 2 else number ** (1 / self.core.index)

    def present(self, fan_in: int) -> float:
        """Expected number of inputs a neuron keeps."""
        fan_in = integer("fan_in", fan_in, minimum=self.in_degree or 1)
        return self.in_degree or fan_in * self.density

    def __repr__(self) -> str:
        return self.label


_CORES = (
    families.NormalWeights(),
    families.UniformWeights(),
    families.LatticeWeights("sign", ((-1, 1), (0.5, 0.5))),
    families.GammaWeights(1.0),
    families.LogNormalWeights(1.0),
)
_NAMED = {str(core): WeightLaw(core, str(core)) for core in _CORES}
NAMES = tuple(_NAMED)


def exponential() -> WeightLaw:
    """Exponential weights, all positive: their mean equals their standard deviation unless ``mean_gain`` replaces it.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.Network(width=100, depth=2, gain=1.0, weights="exponential").mean_gains.round(6)
    array([ 0., 10.])
    """
    return _NAMED["exponential"]


def lognormal(sigma: float = 1.0) -> WeightLaw:
    """Log-normal weights ``exp(sigma z)``, scaled; all positive unless ``mean_gain`` shifts them.

    Parameters
    ----------
    sigma : float
        Standard deviation of the logarithm, from 0.001 to 3.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.weights.lognormal(0.5)
    lognormal(0.5)
    """
    number = positive_number("sigma", sigma)
    if not 1e-3 <= number <= families.LARGEST_SIGMA:
        raise DomainError("sigma", sigma, f"must lie between 0.001 and {families.LARGEST_SIGMA:g}")
    return weight_law(families.LogNormalWeights(number))


def stable(alpha: float) -> WeightLaw:
    r"""Symmetric stable weights, with tails ``P(|w| > x) ~ x^{-α}``: their variance is infinite.

    .. math:: w = c x, \quad E[e^{itx}] = e^{-|t|^α}, \qquad
              x_1 + … + x_K \sim K^{1/α} x, \qquad π_K = P\Bigl(x > \frac{θ}{c K^{1/α}}\Bigr), \qquad g = c\,n^{1/α}

    There is no standard deviation, so ``gain`` is the scale ``g`` of a potential whose inputs are all active. At infinite width
    layers fire at the rate ``p = P(x > z)`` with ``g = θ/(z p^{1/α})``. For ``α ≤ 1`` every rate below ½ is stable, beyond only
    those above a least one: 0.033 at ``α = 1.05``, 0.092 at 1.2, 0.123 at 1.5 and 0.117, that of normal weights, at 2.

    Parameters
    ----------
    alpha : float
        ``α``, from 0.5 to 1.99; 1 is :func:`cauchy`.

    Notes
    -----
    **Assumes** nothing for the exact chain (:class:`varflow.SpikeChain`, :func:`varflow.finite_width`, without bias) and
    :func:`varflow.simulate`. Theories of infinite width follow variances and raise DomainError.
    **Accuracy**: ``π_K`` to an absolute 1e-13; ``α = 1`` to rounding. **Source**: derived here; draws of ``chambers1976``.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.weights.stable(1.5)
    stable(1.5)
    """
    number = real_number("alpha", alpha)
    if not 0.5 <= number <= 1.99:
        raise DomainError("alpha", alpha, "must lie between 0.5 and 1.99; 2 is normal")
    return weight_law(families.StableWeights(number))


def cauchy() -> WeightLaw:
    """Cauchy weights: stable ones of ``α = 1``, with ``gain = n`` times their scale.

    A sum of ``K`` is ``K`` times one weight, ``π_K = arctan(c K/θ)/π``. At infinite width every rate ``p`` below ½ is stable,
    with the gain ``θ tan(πp)/p``.

    Examples
    --------
    Alive at a rate of 0.10, below the 0.117 that is the least of normal weights:

    >>> import numpy as np
    >>> import varflow as vf
    >>> network = vf.Network(width=1500, depth=100, gain=np.tan(0.1 * np.pi) / 0.1, weights=vf.weights.cauchy())
    >>> f"{vf.SpikeChain(network).survival():.3f}"
    '0.999'
    """
    return stable(1.0)


def ternary(density: float) -> WeightLaw:
    """Weights -1, 0 and 1, scaled; ``density`` is the probability of not being 0.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.weights.ternary(0.5)
    ternary(0.5)
    """
    number = _density(density)
    if number == 1:
        return _NAMED["sign"]
    return weight_law(families.LatticeWeights(f"ternary({number:g})", ((-1, 0, 1), (number / 2, 1 - number, number / 2))))


def quantised(bits: int, clip: float | None = None, base: Any = "normal") -> WeightLaw:
    r"""Weights of a distribution, rounded to the ``2^bits - 1`` integers of a chip and scaled.

    .. math:: w = Δ\, i, \qquad i = \mathrm{round}(y/Δ_0) \in \{-M, …, M\}, \quad M = 2^{bits-1} - 1, \quad Δ_0 = clip/M

    with ``y`` a weight of ``base`` in units of its standard deviation. ``Δ`` is the scale of :meth:`WeightLaw.connection`, such
    that the integers times ``Δ`` have the standard deviation ``gain/√n``. Of ``Δ`` only ``k = ⌊θ/Δ⌋ + 1`` counts, the integer
    sum from which a neuron fires: :func:`varflow.quantise` chooses it.

    Parameters
    ----------
    bits : int
        From 2, which is ternary, to 12.
    clip : float, optional
        The weight that becomes ``M``, in standard deviations; by default that of the smallest mean squared error: for normal
        weights 3.9205, 2.4739, 1.9523 and 1.2240 with 8, 4, 3 and 2 bits.
    base : str, WeightLaw or scipy.stats distribution
        Distribution before rounding.

    Notes
    -----
    **Source**: derived here; steps of the smallest error are those of ``max1960``.

    Examples
    --------
    >>> import varflow as vf
    >>> law = vf.weights.quantised(3)
    >>> law, round(law.std, 4)
    (quantised(3), 1.5002)
    >>> vf.weights.quantised(2, clip=2.0).core.lattice[0]
    (-1, 0, 1)
    """
    number, law = integer("bits", bits, minimum=2), _exact("base", base)
    if number > MOST_BITS:
        raise DomainError("bits", bits, f"must be at most {MOST_BITS}: finer weights are as good as not rounded")
    if not law.always_present or law.core.lattice is not None:
        raise DomainError("base", law, "must be continuous, with all connections present")
    if clip is None and law.core.index < 2:
        raise DomainError("clip", clip, "is missing: rounding weights without a variance has no least error")
    largest = largest_integer(number)
    bound = least_error_clip(law, largest) if clip is None else positive_number("clip", clip)
    given = [f"{number}", *([] if clip is None else [f"clip={clip:g}"]), *([] if law.label == "normal" else [law.label])]
    label = f"quantised({', '.join(given)})"
    return weight_law(families.LatticeWeights(label, rounded(law, largest, bound / largest)))


def sparse(density: float, law: Any = "normal") -> WeightLaw:
    r"""Each connection is present with probability ``density``, independently; absent ones are exactly 0.

    .. math:: w = B (s x + m), \quad B \sim \mathrm{Bernoulli}(d), \qquad n \operatorname{Var}[w] = g^2, \quad n E[w] = d\,n\,m

    Parameters
    ----------
    density : float
        In (0, 1].
    law : str, WeightLaw or scipy.stats distribution
        Distribution of the connections that are present. A ``mean_gain`` shifts only these.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.weights.sparse(0.1, "sign")
    sparse(0.1, sign)
    """
    base, number = _exact("law", law), _density(density)
    if base.in_degree is not None:
        raise DomainError("law", base, "already fixes the in-degree: give weights with all connections present")
    if number == 1:
        return base
    label = f"sparse({number:g}, {base.label})"
    return replace(base, label=label, density=_density(number * base.density))


def fixed_in_degree(k: int, law: Any = "normal") -> WeightLaw:
    r"""Each neuron keeps exactly ``k`` inputs, chosen at random; other connections are exactly 0.

    .. math:: u = \sum_{j \in A} (s x_j + m), \quad |A| = k, \qquad k s^2 \operatorname{Var}[x] = g^2, \quad k E[w] = m_g

    The gain is that of a neuron whose inputs are all active.

    Parameters
    ----------
    k : int
        At most the fan-in of each layer.
    law : str, WeightLaw or scipy.stats distribution

    Examples
    --------
    >>> import varflow as vf
    >>> vf.weights.fixed_in_degree(20)
    fixed_in_degree(20, normal)
    """
    base, number = _exact("law", law), integer("k", k, minimum=1)
    if not base.always_present:
        raise DomainError("law", base, "already has absent connections: give weights with all connections present")
    return replace(base, label=f"fixed_in_degree({number}, {base.label})", in_degree=number)


def normal_approximation(law: Any) -> WeightLaw:
    """These weights with potentials treated as normal by theory, as most theories do; for comparison.

    Simulation still draws the exact weights.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.weights.normal_approximation("sign")
    normal_approximation(sign)
    """
    base = weight_law(law, "law")
    base.need_variance()
    return base if base.approximate else replace(base, label=f"normal_approximation({base.label})", approximate=True)


def weight_law(weights: Any, name: str = "weights") -> WeightLaw:
    """The :class:`WeightLaw` of a name, an object of ``vf.weights`` or a scipy.stats distribution.

    Raises
    ------
    DomainError
        For unknown names, distributions without a finite variance, and discrete ones whose atoms are not on a lattice.

    Examples
    --------
    >>> import scipy.stats, varflow as vf
    >>> vf.weights.weight_law("sign"), vf.weights.weight_law(scipy.stats.laplace())
    (sign, laplace)
    """
    if isinstance(weights, WeightLaw):
        return weights
    if isinstance(weights, str):
        return _NAMED[choice(name, weights, NAMES)]
    if isinstance(weights, WeightDistribution):
        return WeightLaw(families.usable(name, weights), str(weights))
    if type(weights).__module__.partition(".")[0] == "scipy" or hasattr(weights, "dist"):
        from varflow.model.scipy_weights import from_scipy

        parts = from_scipy(weights)
        if parts is not None:
            return WeightLaw(*parts)
    rule = f"must be one of {', '.join(NAMES)}, an object of vf.weights or a scipy.stats distribution"
    raise DomainError(name, weights, rule)


def _exact(name: str, law: Any) -> WeightLaw:
    base = weight_law(law, name)
    if base.approximate:
        raise DomainError(name, base, "is an approximation: apply normal_approximation last")
    return base


def _density(density: Any) -> float:
    number = probability("density", density)
    if number == 0:
        raise DomainError("density", density, "must be positive: 0 leaves no connections")
    if number < SMALLEST_SCALE:
        raise DomainError("density", density, f"must be at least {SMALLEST_SCALE:g}: its square underflows")
    return number


__all__ = [*names_of(globals()), "NAMES", "WeightDistribution"]  # pyright: ignore
