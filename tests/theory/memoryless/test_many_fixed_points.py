"""How many fixed points a layer can have, and how their list is introduced in words."""

import numpy as np
import pytest
import scipy.stats

import varflow as vf


def mixture(scales, weights):
    """Normal distributions of these standard deviations, mixed."""
    parts = [scipy.stats.Normal(mu=0.0, sigma=float(s)) for s in scales]
    return vf.distribution(scipy.stats.Mixture(parts, weights=np.divide(weights, np.sum(weights))))


def tail(z, scales, weights):
    """Its upper tail in standard deviations, written out."""
    scales, weights = np.array(scales, dtype=float), np.divide(weights, np.sum(weights))
    return float(weights @ scipy.stats.norm.sf(z * np.sqrt(weights @ scales**2) / scales))


@pytest.mark.parametrize(
    ("scales", "weights", "gamma"),
    [
        ([1, 8, 64], [4096, 64, 1], 18.47265),
        ([1, 10], [100, 1], 12.6),  # weights 1/s²: every scale brings a maximum of z² S(z) of about the same height
        ([1, 9, 81], [6561, 81, 1], 18.7),
        ([1, 9, 81, 729], [531441, 6561, 81, 1], 24.9),
    ],
)
def test_every_scale_of_a_mixture_brings_two_fixed_points(scales, weights, gamma):
    silence, *active = vf.fixed_points(threshold=1.0, gain=gamma**0.5, distribution=mixture(scales, weights))
    assert silence.variance == 0
    assert [point.stable for point in active] == [False, True] * len(scales)
    for point in active:
        z = point.variance**-0.5
        assert gamma * z**2 * tail(z, scales, weights) == pytest.approx(1, rel=1e-9)
        assert gamma * (1.001 * z) ** 2 * tail(1.001 * z, scales, weights) != pytest.approx(1, rel=1e-5)


QUIET = {"threshold": 1.0, "gain": 6.303**0.5, "bias_std": 0.05**0.5}
CASES = [
    ({"threshold": -1.0, "gain": 1.0, "bias_std": 0.3}, None),  # one state, and nothing falls silent
    ({"threshold": -0.4, "gain": 2.0}, None),
    ({"threshold": 0.0, "gain": 1.0}, None),  # silence is unstable
    (QUIET, "basin of the quiet state up to V = 0.3796"),
    ({"threshold": 0.7, "gain": 2.0}, "basin of silence up to V = "),
    ({"threshold": 0.7, "gain": 1.0}, "basin of silence up to V = "),
]


@pytest.mark.parametrize("find", [vf.fixed_points, vf.reference.fixed_points, vf.certified.fixed_points])
@pytest.mark.parametrize(("layer", "words"), CASES)
def test_a_basin_is_named_after_the_state_it_belongs_to(find, layer, words):
    if find is vf.certified.fixed_points:
        pytest.importorskip("flint")
    title = repr(find(**layer)).splitlines()[0]
    assert (words in title) if words else ("basin" not in title)
