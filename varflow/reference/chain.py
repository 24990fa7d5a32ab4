"""Narrow layers with normal weights, exactly, in mpmath: the chain of spike counts as a full matrix of binomials.

Given ``K`` spikes below, potentials are independent ``N(m_g K/n, g² K/n + σ_b²)``, so ``K' | K ~ Binomial(n, π_K)``. Layers are
equal and memoryless and spike at ``u > θ``. Networks conditioned on being alive are in ``survivors``, inverse problems in
``inverse``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from mpmath import mp, mpf

from varflow._checks import DomainError, integer
from varflow.reference.laws import at_least_zero, in_digits, law_of, number, rounded

__all__ = [
    "Chain",
    "ExactChain",
    "chain_of",
    "conditional_variances",
    "finite_width",
    "laws_of",
    "moments",
    "push",
    "sample_variance",
    "spike_counts",
    "survival",
]

WIDEST = 200  # the matrix has width² entries in mpmath


class Chain(NamedTuple):
    """Equal layers, in mpf numbers."""

    width: int
    threshold: Any
    gain2: Any
    bias2: Any
    mean_gain: Any

    def conditional_variance(self, count: int) -> Any:
        """``C = g² K/n + σ_b²``."""
        return self.gain2 * count / self.width + self.bias2

    def firing(self, count: int) -> Any:
        """``π_K = Q((θ - m_g K/n)/√C)``."""
        return normal_above(self.threshold - self.mean_gain * count / self.width, self.conditional_variance(count))

    def transitions(self) -> list[list[Any]]:
        """``P(K' = j | K = k)``, row by row."""
        return [binomial(self.width, self.firing(count)) for count in range(self.width + 1)]

    def driven(self, drive_std: Any) -> list[Any]:
        """The distribution of ``K_1``; layer 1 has neither bias nor weight mean."""
        return binomial(self.width, normal_above(self.threshold, drive_std**2))


class ExactChain(NamedTuple):
    """Layers 1 … depth of a network of finite width, in mpf numbers; named as in a ``Profile``."""

    variance: tuple[Any, ...]
    variance_std: tuple[Any, ...]
    firing_rate: tuple[Any, ...]
    firing_rate_std: tuple[Any, ...]
    survival: tuple[Any, ...]


def normal_above(gap: Any, variance: Any) -> Any:
    """``P(u - E[u] > gap)``; for variance 0, whether ``gap < 0``."""
    if variance == 0:
        return mpf(1) if gap < 0 else mpf(0)
    return law_of("normal").tail(gap / mp.sqrt(variance))


def binomial(n: int, p: Any) -> list[Any]:
    """``P(K = k)``, ``k = 0 … n``."""
    return [mp.binomial(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1)]


def push(law: list[Any], rows: list[list[Any]]) -> list[Any]:
    """The distribution in the next layer."""
    return [mp.fdot(law, column) for column in zip(*rows, strict=True)]


def chain_of(width: Any, threshold: Any, gain: Any, bias_std: Any, mean_gain: Any) -> Chain:
    """The chain of the user's numbers, taken as exact."""
    n = integer("width", width, minimum=1)
    if n > WIDEST:
        rule = f"is wider than {WIDEST}, the limit of this full matrix; vf.finite_width has none"
        raise DomainError("width", width, rule)
    return Chain(
        n,
        number("threshold", threshold),
        at_least_zero("gain", gain, zero=False) ** 2,
        at_least_zero("bias_std", bias_std, zero=True) ** 2,
        number("mean_gain", mean_gain),
    )


def laws_of(chain: Chain, drive_std: Any, depth: Any) -> list[list[Any]]:
    """The distributions of the spike count in layers 1 … ``depth``."""
    transitions = integer("depth", depth, minimum=1) - 1
    laws, rows = [chain.driven(at_least_zero("drive_std", drive_std, zero=True))], chain.transitions() if transitions else []
    for _ in range(transitions):
        laws.append(push(laws[-1], rows))
    return laws


@in_digits
def spike_counts(
    *,
    threshold: float,
    gain: float,
    width: int,
    depth: int,
    bias_std: float = 0.0,
    mean_gain: float = 0.0,
    drive_std: float = 1.0,
    digits: int = 50,
) -> tuple[tuple[Any, ...], ...]:
    r"""The distribution of the spike count in every layer of a narrow network with normal weights.

    .. math:: P(K_{l+1} = j) = \sum_k P(K_l = k) \binom{n}{j} \pi_k^j (1 - \pi_k)^{n-j}, \qquad
              \pi_k = Q\Bigl(\frac{\theta - m_g k/n}{\sqrt{g^2 k/n + \sigma_b^2}}\Bigr)

    Parameters
    ----------
    threshold, gain, bias_std, mean_gain, drive_std : float
        ``θ``, ``g > 0``, ``σ_b ≥ 0``, ``m_g = n E[w]``; layer 1 receives ``N(0, drive_std²)`` and nothing else.
    width, depth : int
        Neurons per layer, at most 200; number of layers.
    digits : int
        Relative accuracy of every probability.

    Returns
    -------
    tuple of tuples of mpf
        ``[l][k]`` is ``P(K_{l+1} = k)``.

    Raises
    ------
    DomainError
        For a number outside its domain or a wide layer.

    Notes
    -----
    **Source**: derived here: given the spikes below, potentials are independent.

    Examples
    --------
    >>> import varflow as vf
    >>> laws = vf.reference.spike_counts(threshold=0, gain=1, width=2, depth=2, digits=15)
    >>> [[float(p) for p in law] for law in laws]
    [[0.25, 0.5, 0.25], [0.4375, 0.375, 0.1875]]
    """
    laws = laws_of(chain_of(width, threshold, gain, bias_std, mean_gain), drive_std, depth)
    return tuple(tuple(rounded(p, digits) for p in law) for law in laws)


@in_digits
def finite_width(
    *,
    threshold: float,
    gain: float,
    width: int,
    depth: int,
    bias_std: float = 0.0,
    mean_gain: float = 0.0,
    drive_std: float = 1.0,
    digits: int = 50,
) -> ExactChain:
    r"""Variance, rate and survival in every layer of a narrow network with normal weights, and their spread over networks.

    .. math:: C = g^2 K/n + \sigma_b^2, \qquad \mathrm{E}[s^2] = \mathrm{E}[C], \qquad
              \mathrm{Var}[s^2] = \mathrm{Var}[C] + \frac{2\,\mathrm{E}[C^2]}{n - 1}

    Parameters
    ----------
    threshold, gain, width, depth, bias_std, mean_gain, drive_std, digits
        As in :func:`spike_counts`.

    Returns
    -------
    ExactChain
        ``.variance``, the expected sample variance (ddof = 1), ``.variance_std``, the standard deviation of the sample variance
        over networks (nan at width 1), ``.firing_rate .firing_rate_std .survival``, one mpf for each layer.

    Raises
    ------
    DomainError
        For a number outside its domain or a wide layer.

    Notes
    -----
    **Accuracy**: agrees with the known ``g² K_100/n`` at ``n = 100``: 0.5422 ± 0.5031 at ``θ = 0.85``, 0.01490 ± 0.1233 at 1.
    **Source**: derived here.

    Examples
    --------
    >>> import mpmath, varflow as vf
    >>> narrow = vf.reference.finite_width(threshold=1, gain=2.5, width=10, depth=5)
    >>> print(mpmath.nstr(narrow.survival[-1], 20))
    0.35773520071786491256
    """
    chain = chain_of(width, threshold, gain, bias_std, mean_gain)
    laws = laws_of(chain, drive_std, depth)
    drive = number("drive_std", drive_std) ** 2
    spread = [sample_variance(chain.width, [mpf(1)], [drive])]
    spread += [sample_variance(chain.width, law, conditional_variances(chain)) for law in laws[:-1]]
    rates = [moments(law, [mpf(k) / chain.width for k in range(chain.width + 1)]) for law in laws]
    table = [(*of_variance, *of_rate, mp.fsum(law[1:])) for of_variance, of_rate, law in zip(spread, rates, laws, strict=True)]
    return ExactChain(*(tuple(rounded(x, digits) for x in column) for column in zip(*table, strict=True)))


def conditional_variances(chain: Chain) -> list[Any]:
    """Conditional variance of the potentials for every spike count below."""
    return [chain.conditional_variance(count) for count in range(chain.width + 1)]


def moments(law: list[Any], values: list[Any]) -> tuple[Any, Any]:
    """Mean and standard deviation."""
    mean = mp.fdot(law, values)
    return mean, mp.sqrt(mp.fdot(law, [(x - mean) ** 2 for x in values]))


def sample_variance(n: int, law: list[Any], conditional: list[Any]) -> tuple[Any, Any]:
    """Mean and standard deviation of the sample variance (ddof = 1) of ``n`` normal potentials of random variance ``C``."""
    mean, spread = moments(law, conditional)
    if n == 1:
        return mean, mp.nan
    return mean, mp.sqrt(spread**2 + 2 * mp.fdot(law, [C**2 for C in conditional]) / (n - 1))


def survival(chain: Chain, depth: int, drive_std: Any) -> Any:
    """``P(K_depth > 0)``."""
    return mp.fsum(laws_of(chain, drive_std, depth)[-1][1:])
