"""Leaky neurons without reset at infinite width, in mpmath: second moments of spikes, from layer to layer."""

from __future__ import annotations

from typing import Any, NamedTuple

from varflow._checks import DomainError, renamed
from varflow._mpmath import mp, mpf
from varflow.model.drive_kinds import ConstantCurrents, White
from varflow.model.network import Network, plain_chain
from varflow.model.neurons import Neuron, equal_neurons
from varflow.reference.digits import in_digits, number, rounded
from varflow.reference.orthant import quadrant


class ExactMeanFieldInTime(NamedTuple):
    """Nested tuples of mpf, indexed ``[layer][step]``; ``second_moments[layer][t][s]`` is ``E[S_t S_s]``."""

    variance: tuple[Any, ...]
    potential_mean: tuple[Any, ...]
    firing_rate: tuple[Any, ...]
    second_moments: tuple[Any, ...]
    coincidences = renamed("coincidences", "second_moments")


@in_digits
def mean_field_in_time(network: Network, *, digits: int = 50) -> ExactMeanFieldInTime:
    r"""Every layer and step of a network of leaky neurons without reset, at infinite width.

    .. math:: H_t = \sum_{s \le t} \lambda_{t-s} I_s, \quad \lambda_j = \lambda \sum_{i=0}^{j} \beta^i \alpha_s^{j-i}, \qquad
              M(t, t') = P(H_t > \theta, H_{t'} > \theta), \qquad
              \mathrm{Cov}[I'_t, I'_{t'}] = g^2 M(t - d, t' - d) + \sigma_b^2, \quad E[I'_t] = m_g M(t - d, t - d)

    Parameters
    ----------
    network : Network
        Each pair of steps in each layer costs an integral. Numbers mean their exact binary values.
    digits : int
        Accuracy while rounding errors, amplified from layer to layer, stay within the 15 guard digits. Where the potentials of
        two steps have a correlation ``1 - ε``, their second moment varies as ``√ε`` and loses digits.

    Returns
    -------
    ExactMeanFieldInTime
        ``.variance``, ``.potential_mean``, ``.firing_rate``, ``.second_moments`` (the matrices ``M``).

    Raises
    ------
    DomainError
        For a reset, a drive with several inputs or given currents, or weights of fixed in-degree.

    Notes
    -----
    **Assumes** infinite width. Drives other than ``currents`` and ``white`` enter by their covariance in double precision.
    **Source**: the definition of the network.

    Examples
    --------
    At ``β = 1/2`` a constant current of variance 1 adds up to the variance ``(1 + 1/2)² = 2.25``:

    >>> import mpmath, varflow as vf
    >>> leaky = vf.Network(width=10, depth=2, gain=2.5, neuron=vf.Neuron(1.0, decay=0.5), steps=2)
    >>> exact = vf.reference.mean_field_in_time(leaky, digits=15)
    >>> print(*(mpmath.nstr(V, 6) for V in exact.variance[0] + exact.variance[1]))
    1.0 2.25 0.991595 2.81757
    """
    _check(network)
    neuron, T = network.neuron, network.steps
    theta, kernel = number("threshold", neuron.threshold), _kernel(neuron, T)
    mean, covariance = [mpf(0)] * T, _drive(network)
    layers = []
    for gain, mean_gain in zip([*network.gains[1:].tolist(), 0.0], [*network.mean_gains[1:].tolist(), 0.0], strict=True):
        mu = _product(kernel, mean)
        V = _sandwich(kernel, covariance)
        M = _second_moments(theta, neuron.strict, mu, V, digits)
        rates = [M[t][t] for t in range(T)]
        layers.append(([V[t][t] for t in range(T)], mu, rates, M))
        d, bias2 = neuron.delay, mpf(network.bias_std) ** 2
        mean = [mpf(mean_gain) * rates[t - d] if t >= d else mpf(0) for t in range(T)]
        covariance = [[bias2 + (mpf(gain) ** 2 * M[t - d][s - d] if min(t, s) >= d else 0) for s in range(T)] for t in range(T)]
    return ExactMeanFieldInTime(*(tuple(_rounded(layer[i], digits) for layer in layers) for i in range(4)))


def _check(network: Network) -> None:
    equal_neurons(plain_chain(network).neuron, "vf.mean_field(network)")
    if not network.neuron.reset_rule.absent:
        raise DomainError("reset", network.neuron.reset, "must be 'none' here; vf.reference.two_steps takes any reset")
    if network.drive.n_inputs > 1:
        raise DomainError("drive", network.drive, "must be a single input: call once for each")
    if network.weight_law.in_degree is not None:
        raise DomainError("weights", network.weight_law, "has a fixed in-degree, which is not supported here")


def _drive(network: Network) -> list[list[Any]]:
    drive, T = network.drive, network.steps
    if isinstance(drive, (ConstantCurrents, White)):
        square, held = mpf(drive.std) ** 2, isinstance(drive, ConstantCurrents)
        return [[square if held or t == s else mpf(0) for s in range(T)] for t in range(T)]
    return [[mpf(x) for x in row] for row in drive.covariance(T)[0].tolist()]


def _kernel(neuron: Neuron, T: int) -> list[list[Any]]:
    """``H_t = Σ_s kernel[t][s] I_s``."""
    scale, beta, alpha = (mpf(x) for x in (neuron.input_scale, neuron.decay, neuron.synaptic_decay))
    answer = [scale * mp.fsum(beta**i * alpha ** (j - i) for i in range(j + 1)) for j in range(T)]
    return [[answer[t - s] if s <= t else mpf(0) for s in range(T)] for t in range(T)]


def _product(kernel: list[list[Any]], values: list[Any]) -> list[Any]:
    return [mp.fsum(a * x for a, x in zip(row, values, strict=True)) for row in kernel]


def _sandwich(kernel: list[list[Any]], covariance: list[list[Any]]) -> list[list[Any]]:
    half = [_product(kernel, list(column)) for column in zip(*covariance, strict=True)]  # (K C)ᵀ: rows are s
    return [_product(kernel, list(column)) for column in zip(*half, strict=True)]


def _second_moments(theta: Any, strict: bool, mu: list[Any], V: list[list[Any]], digits: int) -> list[list[Any]]:
    T = len(mu)
    h = [_standardised(theta - mu[t], V[t][t], strict) for t in range(T)]
    M = [[mpf(0)] * T for _ in range(T)]
    for t in range(T):
        M[t][t] = quadrant(h[t], h[t], mpf(1), digits)
        for s in range(t):
            M[t][s] = M[s][t] = quadrant(h[t], h[s], _correlation(V[t][t], V[s][s], V[t][s]), digits)
    return M


def _standardised(margin: Any, variance: Any, strict: bool) -> Any:
    if variance > 0:
        return margin / mp.sqrt(variance)
    return -mp.inf if margin < 0 or (margin == 0 and not strict) else mp.inf


def _correlation(before: Any, after: Any, covariance: Any) -> Any:
    """``ρ``, and ±1 where ``1 - ρ²`` is below the rounding error."""
    if before == 0 or after == 0:
        return mpf(0)
    one_minus_square = 1 - covariance**2 / (before * after)
    if one_minus_square < mpf(10) ** (5 - mp.dps):
        return mpf(1) if covariance > 0 else mpf(-1)
    return covariance / mp.sqrt(before * after)


def _rounded(values: Any, digits: int) -> Any:
    return tuple(_rounded(item, digits) for item in values) if isinstance(values, list) else rounded(values, digits)
