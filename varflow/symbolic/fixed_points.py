"""The fixed points of the variance map: their condition, and solutions in closed form.

With ``z = θ/√V`` and ``γ = g²/θ²`` the condition is ``z² Q(z) = 1/γ``. At ``θ = 0`` every distribution is elementary;
exponential tails are solved by Lambert's W, and the uniform distribution by a cubic in ``s = √V``, ``s³ = a s - b`` with
``a = σ_b² + g²/2``, ``b = g² θ/(2√3)``. Put ``s = 2 √(a/3) cos φ``; then ``cos 3φ = q``, ``q = -(3b/2a) √(3/a)``, with three
real roots for ``|q| ≤ 1``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import sympy
from sympy import E, Eq, LambertW, S, acos, acosh, cos, cosh, exp, pi, sqrt

from varflow._checks import DomainError
from varflow._mpmath import mp, mpf
from varflow.symbolic.algebra import neat
from varflow.symbolic.derivation import Derivation, Domain, built_once
from varflow.symbolic.laws import Law, Parameters, bisected
from varflow.symbolic.layer import SymbolicLayer, layer_of
from varflow.symbolic.numbers import Values, value
from varflow.symbolic.stability import g_star, on_fixed_points
from varflow.symbolic.symbols import V, above, all_of, at_least, at_most, below, g, gamma, quantity, theta

z_low, z_high = quantity("z_-", "z_-", positive=True), quantity("z_+", "z_+", positive=True)
y = quantity("y", "y")
V_0 = quantity("V_0", "V_0")
V_low, V_high = quantity("V_-", "V_-", positive=True), quantity("V_+", "V_+", positive=True)
c = quantity("c", "c")
s = quantity("s", "s", positive=True)

SILENCE = "no variance, no spikes: silence is a fixed point"  # a reason, in every derivation without a bias


@built_once
def fixed_point_condition(
    distribution: Any = "normal", *, threshold: Any = theta, bias_std: Any = 0, parameters: Parameters | None = None
) -> Derivation:
    r"""The condition of a fixed point of the variance.

    .. math:: V = \sigma_b^2 + g^2 Q(\theta/\sqrt V) \quad\Longleftrightarrow\quad
              z^2 \left(Q(z) + \frac{\sigma_b^2}{g^2}\right) = \frac1\gamma,
              \qquad z = \frac\theta{\sqrt V}, \quad \gamma = \frac{g^2}{\theta^2}

    Parameters
    ----------
    distribution, threshold, bias_std, parameters
        As in :func:`variance_map`.

    Returns
    -------
    Derivation
        Its last step has ``1/γ`` on the left and its ``.result``, a function of ``z``, on the right; at ``θ = 0`` it has ``V``
        on the left.

    Raises
    ------
    DomainError
        As in :func:`variance_map`.

    Notes
    -----
    **Assumes** infinite width, no weight mean. **Source**: derived here.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.symbolic.fixed_point_condition("uniform").steps[-1].expression
    Eq(1/gamma, z**2*(-sqrt(3)*z + 3)/6)
    """
    layer = layer_of(distribution, threshold=threshold, bias_std=bias_std, parameters=parameters)
    z, law = layer.law.z, layer.law
    start = Derivation("The condition of a fixed point", at_fixed_points(layer))
    steps = start.then(
        Eq(V, layer.bias**2 + g**2 * law.sf(layer.threshold / sqrt(V))),
        "the variance map preserves $V$",
        assumption="$V = F(V)$",
        condition=layer.law.holds(layer.z if layer.threshold.is_zero else z),
    )
    if layer.threshold.is_zero:
        return steps
    at = layer.threshold
    steps = steps.then(
        lambda e: Eq(at**2 / z**2, layer.bias**2 + g**2 * law.tail), r"$z = \theta/\sqrt{V}$, hence $V = \theta^2/z^2$"
    )
    return steps.then(
        lambda e: Eq(1 / gamma, sympy.factor_terms(sympy.expand(e.rhs / g**2)) * z**2),
        r"divided by $g^2/z^2$, $\gamma = g^2/\theta^2$",
    )


def at_fixed_points(layer: SymbolicLayer) -> Domain:
    """Points at which ``V`` is a fixed point: the gain is computed from ``V``."""
    free = on_fixed_points(layer)

    def draw(rng: Random) -> Values:
        values = free.draw(rng)
        return values | {g: values[g_star]}

    return Domain(draw, free.define)


@built_once
def fixed_points(
    distribution: Any = "normal", *, threshold: Any = theta, bias_std: Any = 0, parameters: Parameters | None = None
) -> Derivation:
    r"""Every fixed point of the variance map in closed form, where there is one.

    .. math::
        \text{tail } A e^{-bz}:\quad V_\pm = \left(\frac{b\,\theta}{2\, W_{0,-1}(-b/(2\sqrt{A\gamma}))}\right)^2, \qquad
        \text{uniform}:\quad V_\pm = \frac{4a}{3} \cos^2\!\left(\frac{\alpha}3 - \Bigl\{{0 \atop 2\pi/3}\Bigr\}\right)

    Parameters
    ----------
    distribution : str or sympy.stats variable
        A distribution with an exponential tail (Laplace, exponential), the uniform distribution, or at ``threshold=0`` any.
    threshold : symbol or number
        Positive by default; 0, or a symbol declared negative for the uniform distribution.
    bias_std : symbol or number
        For the uniform distribution and at ``threshold=0``.
    parameters : dict, optional
        As in :func:`variance_map`.

    Returns
    -------
    Derivation
        Its result is the tuple of all fixed points, ascending: for ``θ > 0`` silence (with a bias, the state without spikes),
        the edge of its basin and the stable active one; for ``θ = 0`` silence and the active one; with a bias at ``θ = 0``, and
        for ``θ < 0``, the only one.

    Raises
    ------
    DomainError
        Where no closed form is known; ``vf.fixed_points`` gives numbers, :func:`fixed_point_condition` the equation.

    Notes
    -----
    **Assumes** infinite width, no weight mean, and for ``θ > 0`` a gain above the saddle-node, ``γ > γ_c``.
    **Source**: derived here.

    Examples
    --------
    >>> import varflow as vf
    >>> silence, edge, active = vf.symbolic.fixed_points("laplace").result
    >>> active
    theta**2/(2*LambertW(-theta/g)**2)
    >>> vf.symbolic.fixed_points("laplace").lambdify()(threshold=1.0, gain=3.0)[2]
    1.304676116399741
    """
    layer = layer_of(distribution, threshold=threshold, bias_std=bias_std, parameters=parameters)
    if layer.threshold.is_zero:
        return _at_threshold_zero(layer)
    if layer.law.name == "uniform":
        return one_root(layer, at_fixed_points(layer)) if layer.threshold.is_negative else three_roots(layer)
    amplitude, rate = _exponential(layer.law)
    if amplitude is None or layer.bias != 0:
        argument, given = ("distribution", distribution) if amplitude is None else ("bias_std", bias_std)
        rule = "has no known closed form; vf.fixed_points gives numbers, vf.symbolic.fixed_point_condition the equation"
        raise DomainError(argument, given, rule)
    return _lambert(layer, amplitude, rate)


def _exponential(law: Law) -> tuple[Any, Any]:
    """``A`` and ``b`` of a tail ``A e^{-bz}``; None for other tails."""
    rate = neat(-sympy.diff(law.tail, law.z) / law.tail)
    if rate.has(law.z) or not law.z.is_positive:
        return None, None
    return neat(law.tail * exp(rate * law.z)), rate


def _above_the_saddle_node(layer: SymbolicLayer, bracket: Callable[[Values], tuple[Any, Any]]) -> Domain:
    """Gains with two active fixed points, which are found by bisection from the definition of the map."""

    def draw(rng: Random) -> Values:
        values = layer.draw(rng)
        middle = bracket(values)[1]
        at, height = value(layer.threshold, values), middle**2 * layer.law.integral(lambda z: 1, middle, mp.inf, values)
        return values | {g: at * mp.sqrt((1 + mpf(rng.uniform(0.02, 2))) / height)}

    def define(values: Values) -> Values:
        at, (last, middle) = value(layer.threshold, values), bracket(values)
        wanted = at**2 / values[g] ** 2
        excess = lambda z: z**2 * layer.law.integral(lambda t: 1, z, mp.inf, values) - wanted  # noqa: E731
        upper = bisected(excess, mpf("1e-3"), middle)
        lower = bisected(excess, last, middle)
        derived = {V_0: values[g] ** 2 * layer.law.integral(lambda t: 1, mp.inf, mp.inf, values), gamma: 1 / wanted}
        return derived | {z_high: upper, z_low: lower, V_high: (at / upper) ** 2, V_low: (at / lower) ** 2}

    return Domain(draw, define)


def _lambert(layer: SymbolicLayer, amplitude: Any, rate: Any) -> Derivation:
    z, at = layer.law.z, layer.threshold
    setting = _above_the_saddle_node(layer, lambda values: (mpf(60) / value(rate, values), 2 / value(rate, values)))

    def with_y(values: Values) -> Values:
        derived = setting.define(values)
        return derived | {z: derived[z_high], y: -value(rate, values) * derived[z_high] / 2}

    steps = Derivation("The fixed points", Domain(setting.draw, with_y)).then(
        Eq(1 / gamma, z**2 * layer.law.tail), r"the condition, $z = \theta/\sqrt{V}$, $\gamma = g^2/\theta^2$"
    )
    steps = steps.then(
        lambda e: Eq(1 / sqrt(amplitude * gamma), z * exp(-rate * z / 2)), "the root of both sides, which are positive"
    )
    steps = steps.then(
        lambda e: Eq(-rate / (2 * sqrt(amplitude * gamma)), (e.rhs * -rate / 2).subs(z, -2 * y / rate)),
        "$y = -bz/2$, with the rate $b$ of the tail",
    )
    roots = [-2 * LambertW(-rate * at / (2 * sqrt(amplitude) * g), k) / rate for k in (0, -1)]
    steps = steps.then(
        Eq(z_high, roots[0], evaluate=False),
        "Lambert's $W$, principal branch: the smaller $z$",
        assumption=r"$\gamma \geq \gamma_c$",
        condition=all_of(above(at, 0), at_least(g, E * rate * at / (2 * sqrt(amplitude)))),
    )
    steps = steps.then(Eq(z_low, roots[1], evaluate=False), "the other real branch: the larger $z$")
    steps = steps.then(Eq(V_0, S.Zero), SILENCE)
    steps = steps.then(
        Eq(V_low, at**2 / roots[1] ** 2, evaluate=False), r"$V = \theta^2/z^2$, the edge of the basin of silence"
    )
    steps = steps.then(Eq(V_high, at**2 / roots[0] ** 2, evaluate=False), r"$V = \theta^2/z^2$, the stable one")
    return replace(steps, answers=3)


def _at_threshold_zero(layer: SymbolicLayer) -> Derivation:
    def define(values: Values) -> Values:
        rates = [layer.law.integral(lambda z: 1, low, mp.inf, values) for low in (mp.inf, mpf(0))]
        silent, active = (value(layer.bias, values) ** 2 + values[g] ** 2 * rate for rate in rates)
        return {V_0: silent, V_high: active}

    steps = Derivation("The fixed points", Domain(layer.draw, define))
    if layer.bias == 0:
        steps = steps.then(Eq(V_0, S.Zero), SILENCE)
    image = layer.bias**2 + g**2 * layer.law.sf(0)
    steps = steps.then(Eq(V_high, image), "at threshold 0 the rate is $Q(0)$ whatever the variance")
    return replace(steps, answers=2 if layer.bias == 0 else 1)


def three_roots(layer: SymbolicLayer) -> Derivation:
    """Threshold in the upper half of the support: the state without spikes and two roots of the cubic."""
    a, b, q = _cubic(layer)
    angle, quiet = acos(q) / 3, layer.bias**2
    steps = _up_to_the_angle(Derivation("The fixed points", _two_fixed_points(layer)), layer, a, b, q)
    at = layer.threshold
    real = at_least(g, 3 * at / sqrt(2)) if quiet == 0 else at_most(9 * g**4 * at**2, 2 * (g**2 + 2 * quiet) ** 3)
    two = all_of(above(at, 0), real)  # q ≥ -1, that is 27 b² ≤ 4 a³; else the cubic has one root, a negative one
    if quiet == 0:
        steps = steps.then(Eq(V_0, quiet), SILENCE, condition=two)
    else:
        two = all_of(*two.args, at_most(3 * quiet, at**2), at_most(at**2, a))
        why = "no neuron reaches the threshold: only the bias is left"
        steps = steps.then(Eq(V_0, quiet), why, assumption=r"$\sqrt{3}\,\sigma_b \leq \theta$", condition=two)
    steps = steps.then(Eq(V_low, 4 * a / 3 * cos(angle - 2 * pi / 3) ** 2), "the second root: the edge of the basin")
    steps = steps.then(Eq(V_high, 4 * a / 3 * cos(angle) ** 2), "the largest root: the stable one")
    return replace(steps, answers=3)


def one_root(layer: SymbolicLayer, setting: Domain) -> Derivation:
    """Threshold below 0: the only fixed point, drawn by ``setting``."""
    a, b, q = _cubic(layer)

    def define(values: Values) -> Values:
        return _scaled(layer, values, values[V]) | {V_high: values[V]}

    steps = _up_to_the_angle(Derivation("The fixed point", Domain(setting.draw, define)), layer, a, b, q)
    full = layer.bias**2 + g**2
    inside = sympy.Piecewise((cos(acos(q) / 3) ** 2, q <= 1), (cosh(acosh(q) / 3) ** 2, True))
    return steps.then(
        Eq(V_high, sympy.Piecewise((full, layer.threshold**2 >= 3 * full), (4 * a / 3 * inside, True))),
        r"the only positive root; every neuron spikes where $\theta \leq -\sqrt{3 V}$",
        condition=below(layer.threshold, 0),
    )


def _cubic(layer: SymbolicLayer) -> tuple[Any, Any, Any]:
    """``s³ = a s - b`` for ``s = √V``, and ``cos 3φ = q`` for ``s = 2 √(a/3) cos φ``."""
    a, b = layer.bias**2 + g**2 / 2, g**2 * layer.threshold / (2 * sqrt(3))
    return a, b, -3 * b / (2 * a) * sqrt(3 / a)


def _up_to_the_angle(start: Derivation, layer: SymbolicLayer, a: Any, b: Any, q: Any) -> Derivation:
    steps = start.then(
        Eq(s**2, layer.bias**2 + g**2 * layer.law.sf(layer.threshold / s)),
        r"a fixed point, $s = \sqrt{V}$",
        assumption=r"the threshold lies in the support, $|\theta| < \sqrt{3}\, s$",
    )
    steps = steps.then(lambda e: Eq(s**3, a * s - b), "times $s$")
    return steps.then(
        lambda e: Eq(q, 4 * c**3 - 3 * c),
        r"$s = 2\sqrt{a/3}\,c$, $a$ the coefficient of $s$; this is $\cos 3\varphi$ if $c = \cos\varphi$",
    )


def _two_fixed_points(layer: SymbolicLayer) -> Domain:
    """Gain and bias for which two chosen ``z = θ/√V``, and the state without spikes, are fixed points."""

    symbols = layer.bias.free_symbols

    def draw(rng: Random) -> Values:
        while True:
            values = layer.draw(rng)
            at = value(layer.threshold, values)
            places = _two_places(layer, rng)
            tails = [layer.law.integral(lambda z: 1, z, mp.inf, values) for z in places]
            variances = [(at / z) ** 2 for z in places]
            gain2 = (variances[0] - variances[1]) / (tails[0] - tails[1])
            silent = variances[0] - gain2 * tails[0]
            if layer.bias == 0 or 0 < silent <= at**2 / 3:
                parameters = {g: mp.sqrt(gain2), V_high: variances[0], V_low: variances[1]}
                return values | parameters | dict.fromkeys(symbols, mp.sqrt(silent))

    def define(values: Values) -> Values:
        return _scaled(layer, values, values[V_high]) | {V_0: value(layer.bias, values) ** 2}

    return Domain(draw, define)


def _two_places(layer: SymbolicLayer, rng: Random) -> tuple[Any, Any]:
    """Two values of ``z``; without a bias the second follows from ``z₂² Q(z₂) = z₁² Q(z₁)``."""
    if layer.bias != 0:
        first, second = sorted(mpf(rng.uniform(0.2, 1.7)) for _ in range(2))
        return first, second
    first, height = mpf(rng.uniform(0.2, 1.1)), lambda z: z**2 * layer.law.integral(lambda t: 1, z, mp.inf, {})
    return first, bisected(lambda z: height(z) - height(first), mp.sqrt(3), 2 / mp.sqrt(3))


def _scaled(layer: SymbolicLayer, values: Values, variance: Any) -> Values:
    """``s = √V`` and ``c = s/(2 √(a/3))``."""
    a = value(layer.bias, values) ** 2 + values[g] ** 2 / 2
    return {s: mp.sqrt(variance), c: mp.sqrt(variance) / (2 * mp.sqrt(a / 3))}
