"""Narrow networks with normal weights, exactly, in mpmath: the Markov chain of spike counts as a full transition matrix.

Given ``K`` spikes in one layer, the potentials of the next are independent ``N(m_g K/n, g² K/n + σ_b²)``, so
``K' | K ~ Binomial(n, π_K)``. Layers have equal width, no memory, and spike at ``u > θ``. Deep networks, also conditioned on
being alive, are in ``deep``, inverse problems in ``inverse``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from varflow._checks import DomainError, integer
from varflow._mpmath import mp, mpf
from varflow.reference.digits import at_least_zero, in_digits, number, parameters
from varflow.reference.distributions import distribution_named

WIDEST = 200  # the full matrix has (n + 1)² entries of many digits
LONGEST = 20_000  # layers of power iteration towards a quasi-stationary distribution
MOST_EIGENVALUES = 40  # width up to which all eigenvalues are computed


class Chain(NamedTuple):
    """The parameters of equal layers, as mpf numbers."""

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
        gap = self.threshold - self.mean_gain * count / self.width
        return distribution_named("normal").above(gap, self.conditional_variance(count))

    def transitions(self) -> list[list[Any]]:
        """``P(K' = j | K = k)``, row by row."""
        return [binomial(self.width, self.firing(count)) for count in range(self.width + 1)]

    def driven(self, drive_std: Any) -> list[Any]:
        """``P(K_1 = k)``: the driven layer has neither bias nor weight mean."""
        return binomial(self.width, distribution_named("normal").above(self.threshold, drive_std**2))


class ExactChain(NamedTuple):
    """Layers 1 … depth of a network of finite width, in mpf numbers; fields as in :class:`varflow.Profile`.

    Examples
    --------
    >>> import mpmath, varflow as vf
    >>> mpmath.nstr(vf.reference.finite_width(threshold=1, gain=2.5, width=4, depth=3, digits=15).survival[-1], 8)
    '0.21354465'
    """

    variance: tuple[Any, ...]
    variance_std: tuple[Any, ...]
    firing_rate: tuple[Any, ...]
    firing_rate_std: tuple[Any, ...]
    survival: tuple[Any, ...]


def binomial(n: int, p: Any) -> list[Any]:
    """``P(K = k)``, ``k = 0 … n``."""
    return [mp.binomial(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1)]


def push(distribution: list[Any], rows: list[list[Any]]) -> list[Any]:
    """The distribution of the spike count in the next layer: ``Σ_k p_k P_kj``."""
    return [mp.fdot(distribution, column) for column in zip(*rows, strict=True)]


def chain_of(width: Any, threshold: Any, gain: Any, bias_std: Any, mean_gain: Any) -> Chain:
    """The chain with the exact values of a user's numbers."""
    n = integer("width", width, minimum=1)
    if n > WIDEST:
        rule = f"must be at most {WIDEST} here, where the full transition matrix is built; vf.finite_width takes any width"
        raise DomainError("width", width, rule)
    return Chain(n, *parameters(threshold, gain, bias_std, mean_gain))


def solved(matrix: Any, right: list[int], mean_gain: Any) -> list[Any]:
    """Solution of linear equations of a chain, which has none where some counts never leave each other."""
    try:
        return list(mp.lu_solve(matrix, mp.matrix(right)))
    except ZeroDivisionError:
        rule = "keeps some spike counts apart for ever at these digits, so the chain has no single answer: raise digits or gain"
        raise DomainError("mean_gain", mean_gain, rule) from None


def count_distributions(chain: Chain, drive_std: Any, depth: Any) -> list[list[Any]]:
    """Distributions of the spike count in layers 1 … ``depth``."""
    transitions = integer("depth", depth, minimum=1) - 1
    distributions = [chain.driven(at_least_zero("drive_std", drive_std, zero=True))]
    rows = chain.transitions() if transitions else []
    for _ in range(transitions):
        distributions.append(push(distributions[-1], rows))
    return distributions


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
    r"""Distribution of the number of spikes in every layer of a narrow network with normal weights.

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
        For a number outside its domain or a width above 200.

    Notes
    -----
    **Source**: derived here: given the spikes below, potentials are independent.

    Examples
    --------
    >>> import varflow as vf
    >>> counts = vf.reference.spike_counts(threshold=0, gain=1, width=2, depth=2, digits=15)
    >>> [[float(p) for p in layer] for layer in counts]
    [[0.25, 0.5, 0.25], [0.4375, 0.375, 0.1875]]
    """
    return tuple(map(tuple, count_distributions(chain_of(width, threshold, gain, bias_std, mean_gain), drive_std, depth)))


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
    r"""Variance, firing rate and survival in every layer of a narrow network with normal weights.

    .. math:: C = g^2 K/n + \sigma_b^2, \qquad \mathrm{E}[s^2] = \mathrm{E}[C], \qquad
              \mathrm{Var}[s^2] = \mathrm{Var}[C] + \frac{2\,\mathrm{E}[C^2]}{n - 1}

    Parameters
    ----------
    threshold, gain, width, depth, bias_std, mean_gain, drive_std, digits
        As in :func:`spike_counts`.

    Returns
    -------
    ExactChain
        One mpf per layer: ``.variance`` and ``.variance_std``, mean and standard deviation over networks of the sample variance
        ``s²`` (ddof = 1; its standard deviation is nan at width 1), ``.firing_rate``, ``.firing_rate_std``, and ``.survival``,
        ``P(K > 0)``.

    Raises
    ------
    DomainError
        For a number outside its domain or a width above 200.

    Notes
    -----
    **Source**: derived here: the law of total variance.

    Examples
    --------
    >>> import mpmath, varflow as vf
    >>> narrow = vf.reference.finite_width(threshold=1, gain=2.5, width=10, depth=5)
    >>> print(mpmath.nstr(narrow.survival[-1], 20))
    0.35773520071786491256
    """
    chain = chain_of(width, threshold, gain, bias_std, mean_gain)
    distributions = count_distributions(chain, drive_std, depth)
    driven = sample_variance(chain.width, [mpf(1)], [number("drive_std", drive_std) ** 2])
    layers = [layer_moments(chain, counts) for counts in distributions]
    variances = [driven, *(layer[:2] for layer in layers[:-1])]
    survivals = [mp.fsum(counts[1:]) for counts in distributions]
    table = [(*V, *layer[2:], alive) for V, layer, alive in zip(variances, layers, survivals, strict=True)]
    return ExactChain(*zip(*table, strict=True))


def layer_moments(chain: Chain, counts: list[Any]) -> tuple[Any, Any, Any, Any]:
    """Means and standard deviations of the next layer's sample variance and of the firing rate; ``counts[k] = P(K = k)``."""
    rates = [mpf(k) / chain.width for k in range(chain.width + 1)]
    return (*sample_variance(chain.width, counts, conditional_variances(chain)), *moments(counts, rates))


def conditional_variances(chain: Chain) -> list[Any]:
    """Variance of the potentials given ``K = 0 … n`` spikes in the layer before."""
    return [chain.conditional_variance(count) for count in range(chain.width + 1)]


def moments(distribution: list[Any], values: list[Any]) -> tuple[Any, Any]:
    """Mean and standard deviation of ``values``."""
    mean = mp.fdot(distribution, values)
    return mean, mp.sqrt(mp.fdot(distribution, [(x - mean) ** 2 for x in values]))


def sample_variance(n: int, distribution: list[Any], conditional: list[Any]) -> tuple[Any, Any]:
    """Mean and standard deviation of the sample variance (ddof = 1) of ``n`` normal potentials of random variance ``C``."""
    mean, spread = moments(distribution, conditional)
    if n == 1:
        return mean, mp.nan
    return mean, mp.sqrt(spread**2 + 2 * mp.fdot(distribution, [C**2 for C in conditional]) / (n - 1))


def survival(chain: Chain, depth: int, drive_std: Any) -> Any:
    """``P(K_depth > 0)``."""
    return mp.fsum(count_distributions(chain, drive_std, depth)[-1][1:])
