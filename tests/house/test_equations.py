"""Equation by equation: what docs/equations.md names as numeric, in double precision, against mpmath at many points."""

from itertools import product
from math import sqrt
from pathlib import Path

import numpy as np
import pytest

import varflow as vf
from varflow import reference

PAGE = Path(__file__).parents[2] / "docs" / "equations.md"
RNG = np.random.default_rng(7)
L = vf.layers
DISTRIBUTIONS = ("normal", "uniform", "laplace", "logistic", "student_t:5")
EACH = 3  # random points of a row and distribution


def points(**ranges):
    """Random arguments, uniform in these ranges."""
    return [{name: float(RNG.uniform(*ends)) for name, ends in ranges.items()} for _ in range(EACH)]


def gains():
    for distribution, at in product(DISTRIBUTIONS, points(threshold=(0.1, 1.2), variance=(0.5, 2.0), bias_std=(0.0, 0.3))):
        yield vf.gain(distribution=distribution, **at), reference.gain(distribution=distribution, digits=20, **at)


def maps():
    ranges = {"threshold": (0.1, 2.0), "gain": (1.0, 4.0), "bias_std": (0.0, 0.5), "mean_gain": (-0.5, 0.5)}
    for distribution, at in product(DISTRIBUTIONS, points(variance=(0.3, 3.0), **ranges)):
        V, at = (
            at["variance"],
            {name: value for name, value in at.items() if name != "variance"} | {"distribution": distribution},
        )
        yield vf.variance_map(V, **at), reference.variance_map(V, digits=20, **at)


def fixed(quantity, settings):
    for at in settings:
        exact = reference.fixed_points(digits=20, **at)
        found = vf.fixed_points(**at)
        assert len(found) == len(exact)
        yield from ((getattr(a, quantity), getattr(b, quantity)) for a, b in zip(found, exact, strict=True))


def anywhere(bias=(0.0, 0.3)):
    ranges = points(threshold=(0.3, 1.2), gain=(2.0, 4.0), bias_std=bias)
    return [{"distribution": d} | at for d, at in product(DISTRIBUTIONS, ranges)]


def closed():
    return [at for at in anywhere(bias=(0.0, 0.0)) if at["distribution"] in ("laplace", "uniform")] + [
        {"threshold": 0.0, "gain": 1.7, "bias_std": 0.4, "distribution": d} for d in DISTRIBUTIONS
    ]


def extremes():
    normal = [(1e-3, 1.0), (1e-6, 3.0), (1.0, 1e3), (1.0, 1e6)]
    near = sqrt(float(reference.saddle_node(digits=20).gamma))
    return [{"threshold": theta, "gain": gain} for theta, gain in [*normal, *((1.0, near * (1 + e)) for e in (1e-4, 1e-2))]]


def enclosed():
    pytest.importorskip("flint")
    for at in points(threshold=(0.3, 1.2), gain=(2.5, 4.0)):
        for ball, exact in zip(vf.certified.fixed_points(**at), reference.fixed_points(digits=20, **at), strict=True):
            yield ball.variance, exact.variance


def critical():
    gammas = {distribution: reference.saddle_node(distribution, digits=20).gamma for distribution in DISTRIBUTIONS}
    for (distribution, gamma), at in product(gammas.items(), points(threshold=(0.1, 2.0))):
        yield vf.critical_gain(distribution=distribution, **at), sqrt(gamma) * at["threshold"]


def cusp():
    """Fixed points there vary as the cube root of a rounding error."""
    for distribution in ("normal", "laplace", "logistic"):
        found = reference.bias_cusp(distribution, digits=20)
        at = {"gain": sqrt(found.gamma), "bias_std": sqrt(found.bias_variance), "distribution": distribution}
        yield from ((point.variance, found.variance) for point in vf.fixed_points(threshold=1.0, **at))


def shortcuts():
    for at in points(threshold=(0.5, 1.2), gain=(1.5, 2.5)):
        linear, keep = L.Linear(gain=at["gain"]), 0.8
        block = L.Residual(L.Spike(vf.Neuron(at["threshold"])), linear, keep=keep)
        plain = reference.fixed_points(threshold=at["threshold"], gain=at["gain"] / sqrt(1 - keep**2), digits=20)
        for found, exact in zip(vf.fixed_points(block=block), plain, strict=True):
            yield found.variance, exact.variance
            yield found.multiplier, keep**2 + (1 - keep**2) * exact.multiplier


def chains():
    for at in points(threshold=(0.3, 1.0), gain=(1.5, 3.0), bias_std=(0.0, 0.4), mean_gain=(-0.5, 0.5)):
        theta, others = at["threshold"], {name: value for name, value in at.items() if name != "threshold"}
        found = vf.finite_width(vf.Network(width=12, depth=4, neuron=vf.Neuron(theta), **others))
        exact = reference.finite_width(width=12, depth=4, digits=20, **at)
        for name in ("variance", "variance_std", "firing_rate", "survival"):
            yield from zip(getattr(found, name), getattr(exact, name), strict=True)


def overlaps():
    for at in points(rho=(0.0, 0.999), threshold=(0.2, 2.0), variance=(0.5, 2.0)):
        z = at["threshold"] / sqrt(at["variance"])
        yield vf.correlation_map(**at), reference.correlation_map(at["rho"], z=z, digits=20)


def overlap_points():
    for at in points(threshold=(0.3, 2.0))[:1]:
        found, exact = vf.correlation_fixed_points(**at)[0], reference.correlation_point(z=at["threshold"], digits=14)
        yield found.overlap, exact.overlap
        yield found.depth_scale, exact.depth_scale


def kernels():
    x = RNG.normal(size=(3, 20))
    kernel = vf.kernel(vf.Network(width=10, depth=1, gain=2.0, neuron=vf.Neuron(0.8)), x)
    C = kernel.network.drive.input_gain**2 * x @ x.T / 20
    h = 0.8 / np.sqrt(np.diagonal(C))
    for a, b in ((0, 1), (0, 2), (1, 2)):
        yield kernel.moments[0, a, b], reference.orthant(h[a], h[b], C[a, b] / sqrt(C[a, a] * C[b, b]), digits=20)


def gradient_gains():
    psis = (vf.surrogates.box(0.6), vf.surrogates.gaussian(0.5), *("atan", "fast_sigmoid", "spikingjelly_sigmoid"))
    for psi, at in product(psis, points(threshold=(0.0, 2.0), gain=(1.5, 4.0), variance=(0.5, 2.0))[:1]):
        yield vf.gradient_gain(surrogate=psi, **at), reference.gradient_gain(psi, digits=15, **at)


def gradients_of_one_step():
    for psi, at in product(("atan", vf.surrogates.gaussian(0.5)), points(threshold=(0.3, 1.0), gain=(2.5, 4.0))[:1]):
        network = vf.Network(width=9, depth=80, gain=at["gain"], neuron=vf.Neuron(at["threshold"]))
        yield vf.gradient_flow(network, psi).instantaneous[-1], reference.gradient_gain(psi, digits=15, **at)


def in_time():
    network = vf.Network(width=5, depth=3, gain=2.5, neuron=vf.Neuron(1.0, decay=0.6), steps=3, bias_std=0.2)
    found, exact = vf.mean_field(network), reference.mean_field_in_time(network, digits=15)
    for name in ("variance", "firing_rate", "second_moments"):
        yield from zip(np.ravel(getattr(found, name)), np.ravel(np.array(getattr(exact, name))), strict=True)


def membranes():
    """Without reset: ``Σ β^2k`` under currents white in time, ``(Σ β^k)²`` under constant ones."""
    for drive, decay in ((vf.drives.white(1.3), 0.9), (vf.drives.currents(0.7), 0.3)):
        network = vf.Network(width=5, depth=1, gain=1.0, neuron=vf.Neuron(1.0, decay=decay), steps=3, drive=drive)
        exact = reference.mean_field_in_time(network, digits=18)
        yield from zip(vf.mean_field(network).variance[0], exact.variance[0], strict=True)


def with_reset():
    """Under constant currents; under white ones within five standard errors of quasi-Monte Carlo."""
    for reset in ("subtract", "delayed_subtract", "zero", "gate"):
        neuron, held, white = vf.Neuron(1.0, decay=0.5, reset=reset), vf.drives.currents(1.2), vf.drives.white(1.2)
        shape = {"width": 5, "depth": 1, "gain": 1.0, "neuron": neuron, "steps": 2}
        exact = reference.two_steps(neuron, covariance=((1.44, 1.44), (1.44, 1.44)), digits=15)
        yield from zip(vf.mean_field(vf.Network(drive=held, **shape)).firing_rate[0], exact.firing_rate, strict=True)
        profile = vf.mean_field(vf.Network(drive=white, **shape))
        exact = reference.two_steps(neuron, covariance=((1.44, 0), (0, 1.44)), digits=15)
        apart, error = float(profile.firing_rate[0, 1] - exact.firing_rate[1]), float(profile.error["firing_rate"][0, 1])
        assert abs(apart) < 5 * error < abs(apart + 1e-3)


ROWS = {  # equation, by the beginning of its row: pairs of a double and a number of mpmath; relative accuracy
    r"$\mathrm{Var}[w] = v": (gains, 2e-13),
    r"$V' = \sigma_b^2": (maps, 2e-13),
    r"$z^2 (Q(z)": (lambda: fixed("variance", anywhere()), 2e-12),
    r"$V_\pm =": (lambda: fixed("variance", closed()), 2e-12),
    "all fixed points": (enclosed, 1e-15),
    r"$m = z f(z)": (lambda: fixed("multiplier", anywhere()), 2e-11),
    r"$z_c f(z_c)": (critical, 2e-13),
    "three fixed points": (cusp, 1e-4),
    "shortcut of currents": (shortcuts, 2e-10),
    r"$\theta \to 0$": (lambda: fixed("variance", extremes()), 2e-11),
    r"$K'$ given": (chains, 1e-11),
    r"$\rho' = P": (overlaps, 2e-13),
    r"$\rho^* =": (overlap_points, 2e-11),
    r"$M'_{ij}": (kernels, 2e-13),
    r"$\chi = g^2": (gradient_gains, 2e-12),
    r"gradients, $G^\delta": (gradients_of_one_step, 2e-12),
    "mean and variance of the membrane": (membranes, 2e-14),
    r"in time, $M'": (in_time, 2e-12),
    "in time, with reset": (with_reset, 2e-13),
}


@pytest.mark.parametrize("row", ROWS)
def test_doubles_agree_with_mpmath(row):
    pairs, accuracy = ROWS[row]
    found, exact = np.array([(float(a), float(b)) for a, b in pairs()]).T
    assert found == pytest.approx(exact, rel=accuracy, abs=1e-300)
    assert found * (1 + 3 * accuracy) != pytest.approx(exact, rel=accuracy, abs=1e-300)


def test_every_row_with_both_columns_is_compared():
    rows = [line.strip("|").split(" | ") for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")][1:]
    both = [equation.strip() for equation, _, numeric, exact, _ in rows if "–" not in (numeric, exact)]
    assert len(both) >= 15
    missing = [equation for equation in both if not equation.startswith(tuple(ROWS))]
    assert not missing
