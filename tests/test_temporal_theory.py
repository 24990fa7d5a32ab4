"""Mean field in time without reset: orthants against mpmath, the recursion against its definition and its special cases."""

import mpmath
import numpy as np
import pytest

import varflow as vf
from varflow.theory.orthants import orthant

PAPER = vf.gain(threshold=1.0)


def net(steps=5, depth=4, gain=PAPER, **options):
    neuron = {name: options.pop(name) for name in list(options) if name in vf.Neuron.__dataclass_fields__}
    return vf.Network(width=100, depth=depth, gain=gain, steps=steps, neuron=vf.Neuron(**neuron), **options)


# Orthants.


def exact_orthant(h, k, rho):
    """``P(X > h, Y > k)`` by quadrature over X at 30 digits."""
    with mpmath.workdps(30):
        h, k, rho = mpmath.mpf(h), mpmath.mpf(k), mpmath.mpf(rho)
        width = mpmath.sqrt((1 - rho) * (1 + rho))
        if width == 0:
            either = mpmath.ncdf(-max(h, k))
            return either if rho > 0 else max(mpmath.mpf(0), mpmath.ncdf(-h) - mpmath.ncdf(k))
        middle = k / rho if rho else h
        reach = width / abs(rho) if rho else mpmath.mpf(1)
        ends = {h, h + 1, h + 4, h + 15, *(middle + j * reach for j in (-12, -6, -3, -1, 0, 1, 3, 6, 12))}
        ends = [end for end in sorted(ends) if end >= h]
        return mpmath.quad(lambda x: mpmath.npdf(x) * mpmath.ncdf((rho * x - k) / width), [*ends, mpmath.inf])


def one(h, k, rho):
    return float(orthant(np.array([h]), np.array([k]), np.array([rho]))[0])


CORRELATIONS = [-1.0, -1 + 1e-12, -0.9, -0.3, 0.0, 1e-9, 0.5, 0.925, 0.999, 1 - 1e-8, 1 - 1e-13, 1.0]


@pytest.mark.parametrize("rho", CORRELATIONS)
@pytest.mark.parametrize(("h", "k"), [(0, 0), (1, 1), (0, 2.5), (0.3, 0.3000001), (-1, 1), (-2, -0.5), (4, 1), (6, 6), (-7, 3)])
def test_orthant_against_mpmath(h, k, rho):
    exact = float(exact_orthant(h, k, rho))
    rarer = float(min(mpmath.ncdf(-h), mpmath.ncdf(-k)))
    assert abs(one(h, k, rho) - exact) <= 1e-15 + 1e-12 * rarer
    assert abs(one(h, k, rho) - exact) <= 1e-11 * rarer


# Anchors and special cases of the recursion.


def test_leaky_anchors():
    variance = vf.mean_field(net(steps=20, depth=2, gain=6.303**0.5, decay=0.5)).variance
    assert variance[0] == pytest.approx(((1 - 0.5 ** np.arange(1, 21)) / 0.5) ** 2, rel=1e-14)
    assert variance[1, -1] == pytest.approx(7.779, abs=5e-4)


@pytest.mark.parametrize("options", [{}, {"bias_std": 0.4}, {"mean_gain": 0.7}, {"threshold": -0.3}, {"weights": "lognormal"}])
def test_a_memoryless_neuron_repeats_its_one_step_answer(options):
    """Every step of a held drive is the memoryless network: perfect correlation survives all layers, to the last digits."""
    once, often = (vf.mean_field(net(steps=steps, depth=30, gain=2.7, input_scale=0.9, **options)) for steps in (1, 4))
    for name in ("variance", "firing_rate", "survival"):
        assert getattr(often, name) == pytest.approx(np.repeat(getattr(once, name)[:, None], 4, axis=1), rel=1e-12)
    coincidences = often.coincidences
    expected = np.broadcast_to(once.firing_rate[:, None, None], coincidences.shape)
    assert coincidences == pytest.approx(expected, rel=1e-12)
