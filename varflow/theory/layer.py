"""Parameters and cumulants of one layer: ``u = λ (Σ w + b)`` over the ``K`` active inputs.

Given the spike count ``K`` below, potentials are i.i.d. with mean ``λ μ K`` and variance ``λ² (σ_w² K + σ_b²)``; a fixed
in-degree with a weight mean adds the variance of the number of connected active inputs. Theories of infinite and finite width
both use this record. Firing probabilities are in ``firing``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np

from varflow._checks import DomainError, instance
from varflow.model.build import chain_parts
from varflow.model.distributions import distribution, standardised
from varflow.model.network import Network
from varflow.model.neurons import Neuron
from varflow.model.over_neurons import OverNeurons, averaged, plus
from varflow.model.weighted_layers import Linear
from varflow.model.weights import WeightLaw

LAST_Z = 40.0  # standard deviations: beyond, a normal tail is 0 in double precision


@dataclass(frozen=True, slots=True)
class CountedLayer:
    """Parameters of a layer, input scale included unless stated otherwise.

    A present connection has weight ``scale · x + shift`` with ``x`` the core of ``law``; ``strict`` decides ties. A membrane is
    ``input_scale · (scale · Σx + shift · J)`` for ``J`` present active inputs, in double precision.
    """

    fan_in: int
    width: int
    weight_variance: float
    weight_mean: float
    bias_variance: float
    threshold: float | OverNeurons
    law: WeightLaw
    scale: float  # scale and shift of a present connection, without the input scale
    shift: float
    input_scale: float
    strict: bool
    rows: str = "free"

    @property
    def is_normal(self) -> bool:
        """True if potentials are normal given the count, exactly or by ``normal_approximation``."""
        return (self.law.approximate or self.law.normal_given_spikes) and self.rows != "standardised"

    @property
    def connection_std(self) -> float:
        return self.input_scale * self.scale * self.law.std

    @property
    def connection_mean(self) -> float:
        return self.input_scale * (self.scale * self.law.mean + self.shift)

    def conditional_variance(self, counts: np.ndarray) -> np.ndarray:
        """``C = λ² (σ_w² K + σ_b²)``, plus ``(λ μ)² Var[J | K]`` for a fixed in-degree.

        For centred rows ``K (1 - K/n)`` takes the place of ``K``; for standardised ones times ``n/(n - 1)``.
        """
        if self.rows != "free":
            varied = np.asarray(counts) * (1 - np.asarray(counts) / self.fan_in)
            size = self.fan_in / (self.fan_in - 1) if self.rows == "standardised" else 1.0
            return self.weight_variance * size * varied + self.bias_variance
        self.law.need_variance()
        plain = self.weight_variance * counts + self.bias_variance
        if self.law.in_degree is None or self.connection_mean == 0:
            return plain
        return plain + self.connection_mean**2 * self._present(counts)[1]

    def excess_kurtosis(self, counts: np.ndarray) -> np.ndarray:
        """``κ₄(u | K)/C²``; infinite if weights have no fourth moment, 0 if the potential is constant."""
        if self.is_normal:
            return np.zeros(np.shape(counts))
        if self.rows == "standardised":
            return np.full(np.shape(counts), -6 / (self.fan_in + 1))
        unit = float(np.hypot(self.connection_std, self.connection_mean))  # its fourth power may overflow
        fourth = self._fourth_cumulant(counts, self.connection_std / unit, self.connection_mean / unit)
        varies = np.isfinite(fourth) & (fourth != 0)
        unchanged = np.full(np.shape(fourth), 1 / unit)
        return fourth * (np.divide(unit, self.conditional_variance(counts), out=unchanged, where=varies) * unit) ** 2

    def _fourth_cumulant(self, counts: np.ndarray, std: float, mean: float) -> np.ndarray:
        """``κ₄(u | K)`` for connections of this standard deviation and mean."""
        third, fourth = self.law.core.skewness * std**3, self.law.core.excess_kurtosis * std**4
        expected, k2, k3, k4 = self._present(counts)
        of_number = mean**4 * k4 + 6 * mean**2 * std**2 * k3 + (4 * mean * third + 3 * std**4) * k2
        return of_number + np.multiply(fourth, expected, out=np.zeros_like(expected), where=expected > 0)

    def _present(self, counts: np.ndarray) -> tuple[np.ndarray, ...]:
        """The first four cumulants of the number of active connections that are present, binomial or hypergeometric."""
        K, d = np.asarray(counts, dtype=float), self.law.density
        if self.law.in_degree is not None:
            return _hypergeometric(self.fan_in, self.law.in_degree, K)
        return d * K, d * (1 - d) * K, d * (1 - d) * (1 - 2 * d) * K, d * (1 - d) * (1 - 6 * d * (1 - d)) * K

    def normal_tails(self, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """``P(u > θ)`` and its complement, over all neurons, if potentials are normal given the count."""
        return tails(self.threshold, self.weight_mean * counts, self.conditional_variance(counts), self.strict)


def tails(
    threshold: float | OverNeurons, mean: np.ndarray, variance: np.ndarray, strict: bool
) -> tuple[np.ndarray, np.ndarray]:
    """The probability that a normal potential fires, and its complement, averaged over neurons."""
    from scipy.special import ndtr

    z = lambda theta: standardised_threshold(theta, mean, variance, strict)  # noqa: E731
    # The last digits of far tails are not needed where tails at many thresholds are averaged.
    sf = (lambda x: ndtr(-x)) if isinstance(threshold, OverNeurons) else distribution("normal").sf
    return averaged(threshold, lambda theta: sf(z(theta))), averaged(threshold, lambda theta: sf(-z(theta)))


def standardised_threshold(threshold: Any, mean: np.ndarray, variance: np.ndarray, strict: bool) -> np.ndarray:
    """``z = (θ - μ)/√C``; if the potential is constant, ``-inf`` if that constant fires, else ``+inf``.

    Several thresholds form a last axis.
    """
    if np.ndim(threshold):
        mean, variance = np.expand_dims(mean, -1), np.expand_dims(variance, -1)
    return standardised(threshold - mean, np.sqrt(variance), strict)


def _hypergeometric(fan_in: int, in_degree: int, K: np.ndarray) -> tuple[np.ndarray, ...]:
    """The first four cumulants of a hypergeometric ``J | K``, from its factorial moments."""
    factorial, moments = np.ones_like(K), [np.ones_like(K)]
    for j in range(4):
        factorial = factorial * (in_degree - j) * (K - j) / max(fan_in - j, 1)
        moments.append(np.where((in_degree > j) & (j < K), factorial, 0.0))
    f1, f2, f3, f4 = moments[1:]
    r2, r3, r4 = f2 + f1, f3 + 3 * f2 + f1, f4 + 6 * f3 + 7 * f2 + f1
    var = f1 * (1 - K / fan_in) * (fan_in - in_degree) / max(fan_in - 1, 1)
    return f1, var, r3 - 3 * f1 * r2 + 2 * f1**3, r4 - 4 * f1 * r3 + 6 * f1**2 * r2 - 3 * f1**4 - 3 * var**2


def layers(network: Network) -> list[CountedLayer]:
    """Layers 2 … depth of a plain chain."""
    _, linears = chain_parts(network)
    widths = network.widths.tolist()
    made = cache(partial(layer_of, network.neuron))
    return [made(*parameters) for parameters in zip(linears, widths[:-1], widths[1:], strict=True)]


def layer_of(neuron: Neuron, linear: Linear, fan_in: int, width: int, affine: tuple[float, float] = (1.0, 0.0)) -> CountedLayer:
    """Neurons that receive ``a I + c`` of the currents ``I`` of these weights, ``affine = (a, c)``.

    ``λ (a I + c) > θ`` is ``λ a I > θ - λ c``. DomainError if the potentials have no closed distribution.
    """
    law, factor = linear.law, neuron.input_scale * affine[0]
    if factor <= 0 and not law.normal_given_spikes:
        raise DomainError("weights", law, "must be normal between neurons and a factor that is not positive, at finite width")
    if linear.rows != "free" and not law.normal_given_spikes:
        raise DomainError("weights", law, f"must be normal for rows={linear.rows!r} at finite width")
    if linear.rows == "standardised" and linear.bias_std:
        raise DomainError("bias_std", linear.bias_std, "must be 0 for rows='standardised' at finite width")
    scale, shift = linear.connection(fan_in)
    return CountedLayer(
        fan_in=fan_in,
        width=width,
        weight_variance=float(factor * linear.gain) ** 2 / fan_in,
        weight_mean=factor * linear.mean_gain_of(fan_in) / fan_in,
        bias_variance=(factor * linear.bias_std) ** 2,
        threshold=plus(neuron.threshold, -neuron.input_scale * affine[1]),
        law=law,
        scale=scale,
        shift=shift,
        input_scale=factor,
        strict=neuron.strict,
        rows=linear.rows,
    )


def driven_variances(network: Network) -> np.ndarray:
    """Variance of layer 1's membrane, one entry per input."""
    return network.neuron.input_scale**2 * network.drive.current_variances


def one_step(network: Network) -> None:
    """Raise for networks that the one-step theory does not describe."""
    if instance("network", network, Network).steps > 1:
        raise DomainError("steps", network.steps, "must be 1 here; for several, vf.expansion(network) is a series in 1/n")
    for neuron in network.neurons:
        if neuron.reset_rule.counts:
            rule = "is not supported at finite width: neurons must spike at most once per step"
            raise DomainError("reset", neuron.reset, rule)
        if neuron.longer_filter or neuron.reset_rule.register is not None:
            raise DomainError("steps", 1, "must be several for a neuron with a kernel, a synaptic delay or an integer register")
        if neuron.delay:
            raise DomainError("delay", neuron.delay, "must be 0: with a delay no spike arrives in the first step")


def sample_variance_moments(
    mass: np.ndarray, variances: np.ndarray, width: int, excess_kurtosis: np.ndarray | float = 0.0
) -> tuple[float, float]:
    """Mean and standard deviation of the sample variance of ``width`` potentials of random variance ``C``.

    ``mass`` is the probability of each value of C, ``excess_kurtosis`` that of the potential given C.
    """
    unit = float(variances.max()) or 1.0  # fourth powers of potentials may overflow
    C = variances / unit
    # not ``mass @ C``: BLAS threads take milliseconds to start on a busy machine
    mean, square = float(np.sum(mass * C)), float(np.sum(mass * C**2))
    fourth = float(np.sum(mass * C**2 * excess_kurtosis))
    return unit * mean, unit * sample_variance_std(max(square - mean**2, 0.0), square, width, fourth)


def sample_variance_std(spread: float, square: float, width: int, fourth: float = 0.0) -> float:
    """``√(Var[C] + 2 E[C²]/(n-1) + E[κ₄]/n)``; NaN at width 1."""
    return float(np.sqrt(max(spread + 2 * square / (width - 1) + fourth / width, 0.0))) if width > 1 else np.nan
