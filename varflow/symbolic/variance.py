"""The variance of one layer: the preserving weight variance, and the variance map, for any distribution and response."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from random import Random
from typing import Any

import sympy
from sympy import Eq, Integral, S, Sum, sqrt

from varflow._checks import DomainError
from varflow._mpmath import mp, mpf
from varflow.symbolic.algebra import neat
from varflow.symbolic.derivation import Derivation, Domain, built_once
from varflow.symbolic.laws import Law, Parameters, pieces_above, upper_moment
from varflow.symbolic.layer import E_x, E_x2, SymbolicLayer, V_next, atom, k, layer_of, spread, u
from varflow.symbolic.numbers import Values, value
from varflow.symbolic.symbols import V, above, g, n, quantity, sigma_w, theta

E_w, E_w2 = quantity("E[w]", r"\mathrm{E}[w]"), quantity("E[w^2]", r"\mathrm{E}[w^2]", positive=True)
E_u, E_u2 = quantity("E[u']", r"\mathrm{E}[u']"), quantity("E[u'^2]", r"\mathrm{E}[u'^2]", positive=True)
E_xx = quantity("E[x_i x_j]", r"\mathrm{E}[x_i x_j]")
W = quantity("Var[w]", r"\operatorname{Var}[w]", positive=True)
t = sympy.Symbol("t", real=True)


@built_once
def weight_variance(
    distribution: Any = "normal",
    *,
    response: str = "step",
    threshold: Any = theta,
    variance: Any = 1,
    parameters: Parameters | None = None,
) -> Derivation:
    r"""The weight variance that preserves a layer's variance, from the definition of the layer.

    .. math:: \operatorname{Var}[w] = \frac{v}{n\, \mathrm{E}[r(u)^2]}, \qquad
              \text{for spikes at } v = 1: \quad \frac{1}{n\, P(u > \theta)}

    Parameters
    ----------
    distribution : str or sympy.stats variable
        Of the standardised potential; location and scale of a variable drop out.
    response : {"step", "graded", "ternary", "leaky_relu", "multi_spike"}
        Output of a neuron; ``leaky_relu`` (slope ``a`` below the threshold) has Kaiming's initialisation as its limit.
    threshold : symbol or number
        Declare its sign if the distribution has different formulas on the two sides: ``Symbol("theta", negative=True)``.
    variance : symbol or number
        The variance to preserve.
    parameters : dict, optional
        Ranges of the shape parameters left free in ``distribution``: symbol → (low, high).

    Returns
    -------
    Derivation

    Raises
    ------
    DomainError
        For a distribution without a variance, and for a free symbol whose sign or range must be declared.

    Notes
    -----
    **Assumes** weights independent of each other and of the potentials, of mean zero; potentials may depend on each other.
    **Source**: ``micheli2024`` for spikes; the other responses are derived the same way.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.symbolic.weight_variance().result
    2/(n*erfc(sqrt(2)*theta/2))
    """
    layer = layer_of(distribution, response=response, threshold=threshold, parameters=parameters)
    wanted = atom("variance", variance)
    _refuse_without_weights(layer, wanted, threshold, variance)
    setting = Domain(partial(_with_weights, layer), partial(_weighted, layer))
    start = Derivation("The weight variance that preserves the variance", setting)
    moved = {E_w: 0, E_w2: sigma_w**2}
    mean_square = _second_moment(layer)
    steps = start.then(Eq(V_next, E_u2 - E_u**2), "the variance of a potential of the next layer")
    steps = steps.then(
        lambda e: e.subs({E_u: n * E_w * E_x, E_u2: n * E_w2 * E_x2 + n * (n - 1) * E_w**2 * E_xx}),
        "$u' = \\sum_j w_j x_j$, $n$ squares and $n(n-1)$ products of two neurons, however these depend on each other",
        assumption="weights independent of each other and of the potentials",
    )
    steps = steps.then(lambda e: Eq(e.lhs, neat(e.rhs)), "mean zero", assumption="$\\mathrm{E}[w] = 0$", given=moved)
    steps = steps.then(
        lambda e: e.subs(E_x2, mean_square), layer.response.reason, assumption=_law_in_words(layer.law), condition=layer.holds
    )
    steps = steps.then(
        lambda e: e.subs({V_next: V, sigma_w: sqrt(W)}), "the variance is to be preserved", assumption="$V' = V$"
    )
    steps = steps.then(lambda e: Eq(W, neat(e.lhs * W / e.rhs)), "solved for the weight variance")
    if wanted == V:
        return steps
    try:
        return steps.then(lambda e: e, "at the given variance", assumption=f"$V = {sympy.latex(wanted)}$", given={V: wanted})
    except ZeroDivisionError:  # no spikes at any working precision
        raise DomainError("variance", variance, "is so small that all potentials stay below the threshold") from None


def _refuse_without_weights(layer: SymbolicLayer, wanted: Any, threshold: Any, variance: Any) -> None:
    """Raise if no weight variance preserves this variance."""
    if wanted.is_positive is False:
        raise DomainError("variance", variance, "must be positive")
    end = layer.law.ends[-1]
    margin = layer.threshold - end * sqrt(wanted) if end.is_number and not end.is_infinite else S.NegativeOne
    if layer.response.name != "leaky_relu" and margin.is_nonnegative:
        raise DomainError(
            "threshold",
            threshold,
            f"is beyond the support at variance={variance}: no neuron spikes, and no weights preserve it",
        )


def _with_weights(layer: SymbolicLayer, rng: Random) -> Values:
    values = layer.draw(rng)
    mean = mpf(rng.uniform(-1, 1))
    return values | {E_w: mean, E_w2: values[sigma_w] ** 2 + mean**2, E_xx: mpf(rng.uniform(-1, 1))}


def _weighted(layer: SymbolicLayer, values: Values) -> Values:
    first, second = layer.moments(values)
    mean, fan_in = values[E_w], int(values[n])
    scale = mp.sqrt(values[E_w2] - mean**2)
    square, mean_next = spread([mean - scale, mean + scale], fan_in, first, second, values[E_xx])
    unit = spread([-mpf(1), mpf(1)], fan_in, first, second)[0]
    derived = {E_x: first, E_x2: second, E_u: mean_next, E_u2: square, W: values[V] / unit}
    return derived | {V_next: square - mean_next**2}


def _law_in_words(law: Law) -> str:
    name = f"{law.name} potentials" if "(" not in law.name else "potentials of the given distribution"
    return name + (f", {law.validity}" if law.validity else "")


def _second_moment(layer: SymbolicLayer) -> Any:
    """``E[r(u)²]`` in closed form, where there is one."""
    law, z, response = layer.law, layer.z, layer.response
    if response.weight.has(k):
        return Sum(response.weight * law.sf(k * z), (k, 1, sympy.oo))
    tail = V * upper_moment(law, 2).subs(law.z, z) if response.weight.has(u) else law.sf(z)
    return response.base + response.weight.subs(u, 1) * tail


@built_once
def variance_map(
    distribution: Any = "normal",
    *,
    response: str = "step",
    threshold: Any = theta,
    bias_std: Any = 0,
    mean_gain: Any = 0,
    parameters: Parameters | None = None,
) -> Derivation:
    r"""The variance of the next layer's potentials as a function of this layer's.

    .. math:: V' = \sigma_b^2 + g^2\, \mathrm{E}[r(u)^2], \qquad
              \text{for spikes} \quad \sigma_b^2 + g^2 Q\!\left(\frac{\theta - m_g (V-\sigma_b^2)/g^2}{\sqrt V}\right)

    Parameters
    ----------
    distribution, response, threshold, parameters
        As in :func:`weight_variance`.
    bias_std, mean_gain : symbol or number
        ``σ_b`` and ``m_g = n E[w]``; ``vf.symbolic.sigma_b`` and ``vf.symbolic.m_g`` are symbols for them.

    Returns
    -------
    Derivation

    Raises
    ------
    DomainError
        As in :func:`weight_variance`.

    Notes
    -----
    **Assumes** infinite width: the distribution of the standardised potential is given and the population mean is ``m_g p``.
    For a bounded distribution the formula holds for thresholds within its support; ``.beyond`` is the map above it, without
    spikes.
    **Source**: ``micheli2024`` for spikes without bias or weight mean; else derived here.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.symbolic.variance_map().result
    g**2*erfc(sqrt(2)*theta/(2*sqrt(V)))/2
    >>> vf.symbolic.variance_map("laplace", bias_std=vf.symbolic.sigma_b).result
    g**2*exp(-sqrt(2)*theta/sqrt(V))/2 + sigma_b**2
    """
    layer = layer_of(
        distribution, response=response, threshold=threshold, bias_std=bias_std, mean_gain=mean_gain, parameters=parameters
    )
    integrals = _integrals(layer)
    centre = layer.incoming_mean
    steps = Derivation("The variance map", Domain(layer.draw, layer.define)).then(
        Eq(V_next, layer.bias**2 + g**2 * E_x2),
        "$u' = \\sum_j w_j x_j + b$",
        assumption="weights independent, $\\operatorname{Var}[w] = g^2/n$; variance about the population mean",
    )
    steps = steps.then(
        lambda e: e.subs(E_x2, integrals), layer.response.reason, assumption=_law_in_words(layer.law), condition=layer.holds
    )
    steps = steps.then(
        lambda e: e.replace(Integral, lambda f, limits: Integral(f, limits).transform(u, (centre + sqrt(V) * t, t))),
        "standardised potential $u = \\sqrt{V}\\,t$" if centre == 0 else "standardised potential $u = m_g p + \\sqrt{V}\\,t$",
    )
    closed = _second_moment(layer)
    reason = "the integral stays: no closed form was found" if closed.has(Integral) else "the integral in closed form"
    done = steps.then(lambda e: Eq(e.lhs, layer.bias**2 + g**2 * closed), reason)
    ends = layer.law.high == layer.law.ends[-1] and not layer.law.high.is_infinite
    return replace(done, beyond=_silence(layer)) if ends and layer.mean == 0 and layer.threshold.is_positive else done


def _silence(layer: SymbolicLayer) -> Derivation:
    """The map where no potential reaches the threshold."""
    end = layer.law.high

    def draw(rng: Random) -> Values:
        values = layer.draw(rng)
        return values | {V: (value(layer.threshold, values) / (value(end, values) * mpf(rng.uniform(1.05, 3)))) ** 2}

    start = Derivation("The variance map beyond the support", Domain(draw, layer.define))
    silent = Eq(V_next, layer.bias**2 + g**2 * layer.response.base, evaluate=False)
    return start.then(silent, "no potential reaches the threshold", condition=above(layer.z, end))


def _integrals(layer: SymbolicLayer) -> Any:
    """``E[r(u)²]`` as integrals over the potential above the threshold, cut at the knots of the density."""
    total, centre, response = S.Zero, layer.incoming_mean, layer.response
    for low, high, density in pieces_above(layer.law):
        start = (k if response.weight.has(k) else 1) * layer.threshold if low == layer.law.z else centre + sqrt(V) * low
        integrand = density.subs(t, (u - centre) / sqrt(V)) / sqrt(V)
        if response.weight.has(k):
            return Sum(response.weight * Integral(integrand, (u, start, high)), (k, 1, sympy.oo))
        total += Integral(response.weight * integrand, (u, start, centre + sqrt(V) * high))
    return response.base + total
