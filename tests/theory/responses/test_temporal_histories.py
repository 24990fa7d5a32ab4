"""Quasi-Monte Carlo against sums over spike histories, which share no code with it: within their errors."""

import numpy as np
import pytest
from scipy import stats
from spike_histories import by_quadrature, drawn, flat

import varflow as vf
from varflow.theory.responses.quasi_monte_carlo import QuasiMonteCarlo, normal_points

RESETS = tuple(vf.resets.FAMILIES)
FAR = 8.0  # standard errors of 8 scrambles: beyond it with probability 1e-4
NAMES = ("variance", "potential_mean", "firing_rate", "second_moments")


def currents(steps, seed=0):
    rng = np.random.default_rng(seed)
    root = rng.standard_normal((steps, steps))
    return rng.standard_normal(steps) * 0.2, root @ root.T / steps + 0.3 * np.eye(steps)


def sampled(neuron, mean, covariance, points=2**12, seed=0):
    """Mean and standard error of the moments by quasi-Monte Carlo, in one row."""
    response = QuasiMonteCarlo(neuron, normal_points(len(mean), points=points, scrambles=8, seed=seed), seed)
    state = response(mean[None, None], covariance[None, None], 1)
    rows = [flat([getattr(state, name)[r] for name in NAMES]) for r in range(len(state.variance))]
    error = np.std(rows, axis=0, ddof=1) / len(rows) ** 0.5 if len(rows) > 1 else 0.0  # one row: computed without points
    return np.mean(rows, axis=0), error


@pytest.mark.parametrize("reset", RESETS[:-1])
def test_quadrature_has_converged(reset):
    neuron, given = vf.Neuron(1.0, decay=0.6, reset=reset), currents(4)
    coarse, used, fine = (flat(by_quadrature(neuron, *given, nodes=nodes)) for nodes in (12, 40, 46))
    assert used == pytest.approx(fine, abs=1e-10)
    assert np.abs(coarse - fine).max() > 1e-9  # the orders differ where they should


@pytest.mark.parametrize("reset", ["none", "subtract", "delayed_subtract", "zero"])
def test_two_steps_against_the_normal_distribution_itself(reset):
    """``P(S_1 = S_2 = 1)`` is one bivariate box, shifted by the first spike; here by scipy's own integral."""
    beta, theta = 0.6, 1.0
    neuron, (mean, covariance) = vf.Neuron(theta, decay=beta, reset=reset), currents(2)
    kept = 0.0 if reset == "zero" else beta
    offset = {"none": 0.0, "subtract": beta * theta, "delayed_subtract": theta, "zero": 0.0}[reset]
    to_potentials = np.array([[1.0, 0.0], [kept, 1.0]])
    distribution = stats.multivariate_normal(to_potentials @ mean, to_potentials @ covariance @ to_potentials.T)
    both = distribution.cdf([np.inf, np.inf], lower_limit=[theta, theta + offset])
    assert by_quadrature(neuron, mean, covariance)[3][0, 1] == pytest.approx(both, abs=1e-8)


@pytest.mark.parametrize(("reset", "steps"), [*((reset, 3) for reset in RESETS), *((reset, 6) for reset in RESETS[:-1])])
def test_three_ways_agree_within_their_errors(reset, steps):
    neuron, (mean, covariance) = vf.Neuron(1.0, decay=0.6, reset=reset), currents(steps)
    by_histories, histories_error = drawn(neuron, mean, covariance, points=2**8)
    by_points, points_error = sampled(neuron, mean, covariance)
    floor = 0.3 / 2**12  # set by the finite number of points
    assert np.max(np.abs(by_histories - by_points) / (np.hypot(histories_error, points_error) + floor)) < FAR
    if steps <= 4 and reset != "multi_spike":
        exact = flat(by_quadrature(neuron, mean, covariance))
        assert np.max(np.abs(by_histories - exact) / (histories_error + 1e-9)) < FAR
        assert np.max(np.abs(by_points - exact) / (points_error + floor)) < FAR
        off = flat(by_quadrature(neuron, mean, 1.05 * covariance))
        assert np.max(np.abs(by_histories - off) / (histories_error + 1e-9)) > FAR


@pytest.mark.parametrize("covariance", [np.diag([1.0, 0.0, 0.5]), np.eye(3) - 1 / 3, np.zeros((3, 3))])
@pytest.mark.parametrize("reset", RESETS)
def test_currents_without_innovation_at_some_step(reset, covariance):
    given = vf.Neuron(0.8, decay=0.7, reset=reset), np.array([0.1, 0.3, -0.2]), covariance
    by_histories, histories_error = drawn(*given, points=2**10, seed=1)
    by_points, points_error = sampled(*given, seed=1)
    floor = 1 / 2**10  # an indicator of one number: set by the number of points
    assert np.max(np.abs(by_histories - by_points) / (np.hypot(histories_error, points_error) + floor)) < FAR


@pytest.mark.parametrize("reset", RESETS[1:-1])
def test_through_the_layers(reset):
    """A constant drive, a few layers: the first, whose currents have one innovation, by theory, the next by quadrature."""
    neuron, gain2 = vf.Neuron(1.0, decay=0.5, reset=reset), 8.0
    network = vf.Network(width=100, depth=4, gain=gain2**0.5, steps=3, neuron=neuron)
    profile = vf.mean_field(network, points=2**12)
    M, exact = profile.second_moments[0], []
    for _ in range(3):
        exact.append(by_quadrature(neuron, np.zeros(3), gain2 * M))
        M = exact[-1][-1]
    for name, values in zip(NAMES, zip(*exact, strict=True), strict=True):
        assert np.max(np.abs(getattr(profile, name)[1:] - values) / (profile.error[name][1:] + 1e-9)) < FAR
    other = vf.mean_field(vf.Network(width=100, depth=4, gain=8.1**0.5, steps=3, neuron=neuron), points=2**12)
    variances = np.stack([moments[0] for moments in exact])
    assert np.max(np.abs(other.variance[1:] - variances) / (profile.error["variance"][1:] + 1e-9)) > FAR
