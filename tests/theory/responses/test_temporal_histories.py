"""Sums over spike histories: quadrature against its own order, Genz's method and quasi-Monte Carlo within their errors."""

import numpy as np
import pytest
from scipy import stats

import varflow as vf
from varflow.theory.responses import histories
from varflow.theory.responses.histories import Histories, uniform_points
from varflow.theory.responses.quasi_monte_carlo import QuasiMonteCarlo, causal_factor, normal_points

RESETS = tuple(vf.resets.FAMILIES)
FAR = 8.0  # standard errors of 8 scrambles: beyond it with probability 1e-4
NAMES = ("variance", "potential_mean", "firing_rate", "coincidences")


def currents(steps, seed=0):
    rng = np.random.default_rng(seed)
    root = rng.standard_normal((steps, steps))
    return rng.standard_normal(steps) * 0.2, root @ root.T / steps + 0.3 * np.eye(steps)


def flat(moments):
    return np.concatenate([np.ravel(part) for part in moments])


def rows(state):
    """One flat row of moments for every replica."""
    return np.stack([flat([getattr(state, name)[r] for name in NAMES]) for r in range(len(state.variance))])


def mean_and_error(state):
    """Over replicas; no error where there is one for all of them, computed without points."""
    every = rows(state)
    error = every.std(axis=0, ddof=1) / len(every) ** 0.5 if len(every) > 1 else np.zeros(every.shape[1])
    return every.mean(axis=0), error


@pytest.mark.parametrize("reset", RESETS[:-1])
def test_quadrature_has_converged(reset, monkeypatch):
    neuron, (mean, covariance) = vf.Neuron(1.0, decay=0.6, reset=reset), currents(4)
    answers = []
    for nodes in (12, 40, 46):
        monkeypatch.setattr(histories, "NODES", nodes)
        answers.append(flat(histories._walked(neuron, mean, causal_factor(covariance), None)))
    coarse, used, fine = answers
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
    walked = histories._walked(neuron, mean, causal_factor(covariance), None)[3][0, 1]
    assert walked == pytest.approx(both, abs=1e-8)


@pytest.mark.parametrize(("reset", "steps"), [*((reset, 3) for reset in RESETS), *((reset, 6) for reset in RESETS[:-1])])
def test_three_ways_agree_within_their_errors(reset, steps):
    neuron, (mean, covariance) = vf.Neuron(1.0, decay=0.6, reset=reset), currents(steps)
    given = mean[None, None], covariance[None, None], 1
    genz = Histories(neuron, uniform_points(steps, points=2**8, scrambles=8, seed=0))
    qmc = QuasiMonteCarlo(neuron, normal_points(steps, points=2**12, scrambles=8, seed=0), 0)
    one = [flat(histories._walked(neuron, mean, causal_factor(covariance), points)) for points in genz.uniform]
    walked, walked_error = np.mean(one, axis=0), np.std(one, axis=0, ddof=1) / 8**0.5
    drawn, drawn_error = mean_and_error(qmc(*given))
    floor = 0.3 / 2**12  # set by the finite number of points
    assert np.max(np.abs(walked - drawn) / (np.hypot(walked_error, drawn_error) + floor)) < FAR
    if steps <= 4 and reset != "multi_spike":
        exact = rows(genz(*given))[0]
        assert np.max(np.abs(walked - exact) / (walked_error + 1e-9)) < FAR
        assert np.max(np.abs(drawn - exact) / (drawn_error + floor)) < FAR
        off = rows(genz(given[0], 1.05 * given[1], 1))[0]
        assert np.max(np.abs(walked - off) / (walked_error + 1e-9)) > FAR


@pytest.mark.parametrize("covariance", [np.diag([1.0, 0.0, 0.5]), np.eye(3) - 1 / 3, np.zeros((3, 3))])
@pytest.mark.parametrize("reset", RESETS)
def test_currents_without_innovation_at_some_step(reset, covariance):
    neuron, mean = vf.Neuron(0.8, decay=0.7, reset=reset), np.array([0.1, 0.3, -0.2])
    given = mean[None, None], covariance[None, None], 1
    walked, walked_error = mean_and_error(Histories(neuron, uniform_points(3, points=2**10, scrambles=8, seed=1))(*given))
    drawn, drawn_error = mean_and_error(QuasiMonteCarlo(neuron, normal_points(3, points=2**12, scrambles=8, seed=1), 1)(*given))
    floor = 1 / 2**10  # an indicator of one number: set by the number of points
    assert np.max(np.abs(walked - drawn) / (np.hypot(walked_error, drawn_error) + floor)) < FAR


@pytest.mark.parametrize("reset", RESETS[1:-1])
def test_through_the_layers(reset):
    """A constant drive, a few layers: layer 1 exact, the next by quadrature; quasi-Monte Carlo within its error."""
    neuron = vf.Neuron(1.0, decay=0.5, reset=reset)
    network = vf.Network(width=100, depth=4, gain=8**0.5, steps=3, neuron=neuron)
    exact = vf.mean_field(network, method="histories", points=2**8)
    drawn = vf.mean_field(network, method="quasi_monte_carlo", points=2**12)
    for name in NAMES:
        error = np.hypot(drawn.error[name], exact.error[name]) + 1e-9
        assert np.max(np.abs(getattr(drawn, name) - getattr(exact, name)) / error) < FAR
    other = vf.mean_field(vf.Network(width=100, depth=4, gain=8.1**0.5, steps=3, neuron=neuron), points=2**12)
    assert np.max(np.abs(other.variance - exact.variance) / (drawn.error["variance"] + 1e-9)) > FAR


@pytest.mark.parametrize(("reset", "steps"), [("zero", 9), ("multi_spike", 5)])
def test_long_histories_are_refused(reset, steps):
    network = vf.Network(width=9, depth=2, gain=2.0, steps=steps, neuron=vf.Neuron(reset=reset, decay=0.5))
    with pytest.raises(vf.DomainError, match="at most"):
        vf.mean_field(network, method="histories")
