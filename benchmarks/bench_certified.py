"""Proven fixed points: time relative to the mpmath reference, and in milliseconds, for every built-in distribution.

Ratios are of CPU times in one process on the same networks.
"""

import time

import numpy as np
import pytest
from setting import bar, size

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


def timed(function, setting):
    """CPU seconds of one call, and its result."""
    start = time.process_time()
    answer = function(**setting)
    return time.process_time() - start, answer


@pytest.mark.parametrize("distribution", DISTRIBUTIONS, ids=str)
def test_certified_against_the_reference(benchmark, distribution):
    settings = list(networks(distribution))
    vf.certified.fixed_points(**settings[0])
    ours = np.array([timed(vf.certified.fixed_points, setting)[0] for setting in settings])
    found = [vf.certified.fixed_points(**setting) for setting in settings]
    some = settings[:20]
    theirs = sum(timed(vf.reference.fixed_points, setting | {"digits": 20})[0] for setting in some)
    benchmark.pedantic(vf.certified.fixed_points, kwargs=settings[0], rounds=20)
    assert [len(points) for points in found] == [len(vf.fixed_points(**setting)) for setting in settings]
    result = {
        "mean ms": 1e3 * ours.mean(),
        "largest ms": 1e3 * ours.max(),
        "widest, relative": max(point.enclosure.relative_width for points in found for point in points),
        "reference / certified": theirs / ours[: len(some)].sum(),
    }
    benchmark.extra_info |= result
    bar(result["mean ms"] < 10)
    bar(result["largest ms"] < 50)
    assert result["widest, relative"] <= 1e-12
    bar(result["reference / certified"] > 1)
