r"""Laws of random weights: what a single weight of a network is drawn from.

A connection that is present has the weight ``scale · x + shift`` with ``x`` the *core* variable of the law: ±1 for sign
weights, an exponential variable of mean 1, a standard normal one, and so on. Scale and shift are those for which all
weights into a neuron have the network's gain. Connections may be absent, independently of each other (``sparse``) or so
that each neuron keeps an exact number of inputs (``fixed_in_degree``). What follows from a law for a layer is theory's
business, how it is drawn that of the simulator.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

from varflow._checks import SMALLEST_SCALE, DomainError, choice, integer, positive, probability, scalar

__all__ = [
    "NAMES",
    "WeightLaw",
    "exponential",
    "fixed_in_degree",
    "lognormal",
    "normal_approximation",
    "sparse",
    "ternary",
    "weight_law",
]

NAMES = ("normal", "uniform", "sign", "exponential", "lognormal")
LARGEST_SIGMA = 3.0  # of a log-normal law: its standard deviation is then 8000 times its median


@dataclass(frozen=True, slots=True)
class WeightLaw:
    """A law of weights; equal laws are equal and hash alike.

    Attributes
    ----------
    label : str
        How it prints.
    kind : str
        Of the core: ``normal``, ``uniform`` on (-1, 1), ``gamma``, ``lognormal`` of median 1, ``lattice`` of integers or
        ``scipy``, standardised.
    parameters : tuple
        Shape of the gamma law, log-standard deviation of the log-normal one, levels and probabilities of a lattice, or what
        identifies a scipy law.
    mean, std, skewness, excess_kurtosis : float
        Of the core.
    offset : float
        Of the law itself from its core, in units of the core.
    density : float
        Probability that a connection is present.
    in_degree : int or None
        Exact number of inputs that each neuron keeps.
    approximate : bool
        Whether theory is asked to take the potential for normal.
    """

    label: str
    kind: str
    parameters: tuple[Any, ...] = ()
    mean: float = 0.0
    std: float = 1.0
    skewness: float = 0.0
    excess_kurtosis: float = 0.0
    offset: float = 0.0
    density: float = 1.0
    in_degree: int | None = None
    approximate: bool = False
    source: Any = field(default=None, compare=False, repr=False)  # the scipy object

    @property
    def own_mean(self) -> float:
        """Mean of a present weight in units of its standard deviation, before any ``mean_gain``."""
        return (self.mean + self.offset) / self.std

    @property
    def always_present(self) -> bool:
        return self.density == 1 and self.in_degree is None

    def own_mean_gain(self, gain: float, fan_in: int) -> float:
        """``n E[w]`` at this gain if nobody asks for another."""
        scale, shift = self.connection(gain, fan_in)
        return self._present(fan_in) * (scale * self.mean + shift)

    def connection(self, gain: float, fan_in: int, mean_gain: float | None = None) -> tuple[float, float]:
        """``(scale, shift)`` of a connection that is present, for ``n Var[w] = gain²`` and ``n E[w] = mean_gain``.

        With a fixed in-degree ``gain²`` is the variance of a potential whose inputs are all active.
        """
        number, absent = self._present(fan_in), 0.0 if self.in_degree else 1 - self.density
        if mean_gain is None:
            scale = gain / math.sqrt(number * (1 + absent * self.own_mean**2)) / self.std
            return scale, scale * self.offset
        mean = mean_gain / number
        presence = math.sqrt(absent / number) * abs(mean_gain)  # the gain of weights without any spread of their own
        if gain <= presence:
            rule = "is more than this gain leaves room for: presence and absence alone vary more; raise gain or density"
            raise DomainError("mean_gain", mean_gain, rule)
        rest = math.sqrt(gain - presence) * math.sqrt(gain + presence) if presence else gain
        std = rest / math.sqrt(number)
        return std / self.std, mean - std / self.std * self.mean

    def _present(self, fan_in: int) -> float:
        """Expected number of connections a neuron has."""
        return self.in_degree or fan_in * self.density

    def __repr__(self) -> str:
        return self.label


def _lattice(label: str, levels: tuple[int, ...], probabilities: tuple[float, ...], offset: float = 0.0) -> WeightLaw:
    """A law of integers, its moments added up."""
    mean = math.fsum(p * k for k, p in zip(levels, probabilities, strict=True))
    second, third, fourth = (
        math.fsum(p * (k - mean) ** j for k, p in zip(levels, probabilities, strict=True)) for j in (2, 3, 4)
    )
    skewness, kurtosis = third / second**1.5, fourth / second**2 - 3
    return WeightLaw(label, "lattice", (levels, probabilities), mean, math.sqrt(second), skewness, kurtosis, offset)


def _gamma(label: str, shape: float, offset: float = 0.0) -> WeightLaw:
    root = math.sqrt(shape)
    return WeightLaw(label, "gamma", (shape,), shape, root, 2 / root, 6 / shape, offset)


def _lognormal(label: str, sigma: float, offset: float = 0.0) -> WeightLaw:
    w = math.exp(sigma**2)
    skewness, kurtosis = (w + 2) * math.sqrt(math.expm1(sigma**2)), w**4 + 2 * w**3 + 3 * w**2 - 6
    std = math.sqrt(w * math.expm1(sigma**2))
    return WeightLaw(label, "lognormal", (sigma,), math.sqrt(w), std, skewness, kurtosis, offset)


_NORMAL = WeightLaw("normal", "normal")
_UNIFORM = WeightLaw("uniform", "uniform", std=1 / math.sqrt(3), excess_kurtosis=-1.2)
_SIGN = _lattice("sign", (-1, 1), (0.5, 0.5))


def exponential() -> WeightLaw:
    """Exponential weights, all positive: their mean is their standard deviation unless ``mean_gain`` says otherwise.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.Network(width=100, depth=2, gain=1.0, weights="exponential").mean_gains.round(6)
    array([ 0., 10.])
    """
    return _gamma("exponential", 1.0)


def lognormal(sigma: float = 1.0) -> WeightLaw:
    """Log-normal weights ``exp(sigma z)``, scaled, with a heavy right tail; all positive unless ``mean_gain`` shifts them.

    Parameters
    ----------
    sigma : float
        Standard deviation of the logarithm, at most 3.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.weights.lognormal(0.5)
    lognormal(0.5)
    """
    number = scalar("sigma", positive("sigma", sigma))
    if not 1e-3 <= number <= LARGEST_SIGMA:
        raise DomainError("sigma", sigma, f"must lie between 0.001 and {LARGEST_SIGMA:g}")
    return _lognormal("lognormal" if number == 1 else f"lognormal({number:g})", number)


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
        return _SIGN
    return _lattice(f"ternary({number:g})", (-1, 0, 1), (number / 2, 1 - number, number / 2))


def sparse(density: float, law: Any = "normal") -> WeightLaw:
    r"""Each connection is present with probability ``density``, independently; absent ones are exactly 0.

    .. math:: w = B (s x + m), \quad B \sim \mathrm{Bernoulli}(d), \qquad n \operatorname{Var}[w] = g^2, \quad n E[w] = d\,n\,m

    Parameters
    ----------
    density : float
        In (0, 1].
    law : str, WeightLaw or scipy.stats distribution
        Of the connections that are present. A ``mean_gain`` shifts these and no others.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.weights.sparse(0.1, "sign")
    sparse(0.1, sign)
    """
    base, number = _exact("law", law), _density(density)
    if base.in_degree is not None:
        raise DomainError("law", base, "already fixes the in-degree: thin a law that has all its connections")
    if number == 1:
        return base
    label = f"sparse({number:g}, {base.label})"
    return replace(base, label=label, density=_density(number * base.density))


def fixed_in_degree(k: int, law: Any = "normal") -> WeightLaw:
    r"""Each neuron keeps exactly ``k`` inputs, chosen at random; other connections are exactly 0.

    .. math:: u = \sum_{j \in A} (s x_j + m), \quad |A| = k, \qquad k s^2 \operatorname{Var}[x] = g^2, \quad k E[w] = m_g

    The gain is thus that of a neuron whose inputs are all active.

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
        raise DomainError("law", base, "already leaves connections out: fix the in-degree of a law that has them all")
    return replace(base, label=f"fixed_in_degree({number}, {base.label})", in_degree=number)


def normal_approximation(law: Any) -> WeightLaw:
    """The same weights, of whose potentials theory keeps only mean and variance: what most theories do; for comparison.

    The simulator draws the law itself.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.weights.normal_approximation("sign")
    normal_approximation(sign)
    """
    base = weight_law(law)
    return base if base.approximate else replace(base, label=f"normal_approximation({base.label})", approximate=True)


def weight_law(obj: Any, name: str = "weights") -> WeightLaw:
    """The law that a name, a law or a scipy.stats distribution stands for.

    Raises
    ------
    DomainError
        For unknown names, laws without a finite variance and discrete ones that do not sit on a lattice.
    """
    if isinstance(obj, WeightLaw):
        return obj
    if isinstance(obj, str):
        return _named(choice(name, obj, NAMES))
    if type(obj).__module__.partition(".")[0] == "scipy" or hasattr(obj, "dist"):
        from varflow.model.scipy_weights import from_scipy

        found = from_scipy(obj)
        if found is not None:
            return found
    rule = f"must be one of {', '.join(NAMES)}, a law of vf.weights or a frozen or new-style scipy.stats distribution"
    raise DomainError(name, obj, rule)


def _named(name: str) -> WeightLaw:
    return {"normal": _NORMAL, "uniform": _UNIFORM, "sign": _SIGN}.get(name) or {
        "exponential": exponential,
        "lognormal": lognormal,
    }[name]()


def _exact(name: str, law: Any) -> WeightLaw:
    base = weight_law(law, name)
    if base.approximate:
        raise DomainError(name, base, "is an approximation: approximate the finished law instead")
    return base


def _density(density: Any) -> float:
    number = probability("density", density)
    if number == 0:
        raise DomainError("density", density, "must be positive: without connections nothing arrives")
    if number < SMALLEST_SCALE:
        raise DomainError("density", density, f"must be at least {SMALLEST_SCALE:g}: its square leaves double precision")
    return number
