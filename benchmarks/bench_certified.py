"""Proven fixed points: time relative to the mpmath reference, for every built-in distribution.

Ratios are of CPU times in one process on the same networks.
"""

import numpy as np
import pytest
from setting import bar, best, cpu_seconds, size

import varflow as vf

pytest.importorskip("flint")

NUMBER = size(1000, 2)
DISTRIBUTIONS = ["normal", *size(["uniform", "laplace", "logistic", vf.distributions.student_t(5)], [])]


def networks(distribution):
    """Gains from half the critical one to thirty times it; every second network has a bias, some a negative threshold."""
    rng = np.random.default_rng(5)
    critical = vf.critical_gain(threshold=1.0, distribution=distribution)
    for index in range(NUMBER):
        theta = float(10 ** rng.uniform(-2, 1.5) * (1 if rng.random() < 0.85 else -1))
        gain = float(abs(theta) * critical * 10 ** rng.uniform(-0.3, 1.5))
        bias = float(abs(theta) * 10 ** rng.uniform(-4, 0.5)) if index % 2 else 0.0
        yield {"threshold": theta, "gain": gain, "bias_std": bias, "distribution": distribution}


@pytest.mark.parametrize("distribution", DISTRIBUTIONS, ids=str)
def test_certified_against_the_reference(benchmark, distribution):
    settings = list(networks(distribution))
    vf.certified.fixed_points(**settings[0])
    times, found = zip(*(best(lambda s=s: vf.certified.fixed_points(**s), 2) for s in settings), strict=True)
    ours, some = np.array(times), settings[:20]
    theirs = np.array([cpu_seconds(lambda s=s: vf.reference.fixed_points(**s, digits=20))[0] for s in some])
    benchmark.pedantic(vf.certified.fixed_points, kwargs=settings[0], rounds=20)
    assert [len(points) for points in found] == [len(vf.fixed_points(**setting)) for setting in settings]
    result = {
        "mean ms": 1e3 * ours.mean(),
        "largest ms": 1e3 * ours.max(),
        "widest, relative": max(point.enclosure.relative_width for points in found for point in points),
        "reference / certified": theirs.sum() / ours[: len(some)].sum(),
        "largest / mean reference": ours.max() / theirs.mean(),
    }
    benchmark.extra_info |= result
    assert result["widest, relative"] <= 1e-12
    bar(result["reference / certified"] >= 1.5)
    bar(result["largest / mean reference"] <= 4)
