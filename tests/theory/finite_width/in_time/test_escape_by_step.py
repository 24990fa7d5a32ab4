"""Escape of each step by the reduced chain: against exact rates, and Fleming–Viot particles."""

import re
from pathlib import Path

import numpy as np
import pytest
from two_step_chain import TwoSteps

import varflow as vf
from varflow.theory.finite_width.in_time.drawn import DrawnChain, NormalLevels

ZERO = vf.Neuron(1.0, decay=0.5, reset="zero")
PAGE = Path(__file__).parents[4] / "docs" / "finite_width_in_time.md"


def network(neuron, steps, squared_gain, width=100, depth=2):
    return vf.Network(width=width, depth=depth, gain=squared_gain**0.5, neuron=neuron, steps=steps)


def fleming_viot(of, particles, layers, seed=0):
    """Escape rate of "every step alive", and its error: the dead are replaced by random survivors."""
    chain, normals, rng = DrawnChain.of(of), NormalLevels(seed), np.random.default_rng(seed)
    moments, killed = next(chain.layers(particles, (seed,))), []
    for _ in range(layers):
        alive = (np.diagonal(moments, axis1=1, axis2=2) > 0).all(axis=1)
        killed.append(1 - alive.mean())
        living = np.flatnonzero(alive)
        moments = moments[np.where(alive, np.arange(particles), rng.choice(living, particles))]
        moments = chain.next(moments, 1, normals)
    batches = np.reshape(killed[layers // 5 :], (20, -1)).mean(axis=1)
    return batches.mean(), batches.std(ddof=1) / np.sqrt(20)


def test_the_first_step_is_exact_at_any_width():
    found = vf.escape_by_step(network(ZERO, 2, 7.302), points=2**7)
    told = found.to_dict()
    assert told["log_rates"] == found.log_rates.tolist()
    assert told["first_rates"] == pytest.approx(vf.distribution("normal").sf(np.array([1, 2 / 3])), abs=1e-9)  # 1.5 c > 1
    for width in (50, 300, 3000):
        chain = vf.SpikeChain(network(vf.Neuron(), 1, 7.302, width))
        assert found.log_rates_at(width)[0] == pytest.approx(np.log(chain.quasi_stationary().escape_rate), rel=1e-4)


@pytest.mark.parametrize(
    ("neuron", "kept", "taken"), [(ZERO, 0, 0), (vf.neurons.snntorch_leaky(0.5), 1, 1)], ids=["zero", "snntorch"]
)
def test_two_steps_escape_at_nearly_the_exact_rate(neuron, kept, taken):
    """Within a fifth. Rejected: a chain a fifth wider."""
    exact, *_ = TwoSteps(16, 10**0.5, 0.5, kept, taken).escape()
    found = vf.escape_by_step(network(neuron, 2, 10, width=16), points=2**10)
    assert found.log_rate("every step") == pytest.approx(np.log(exact), abs=np.log(1.2))
    assert abs(found.log_rate("every step", 20) - np.log(exact)) > np.log(1.3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "neuron"),
    [
        ("zero, β = 0.5", ZERO),
        ("zero, β = 0.9", vf.Neuron(1.0, decay=0.9, reset="zero")),
        ("snnTorch β = 0.9", vf.neurons.snntorch_leaky(0.9)),
    ],
)
def test_rates_on_the_page(name, neuron):
    """Rejected: rates at a gain of g² = 7.4."""
    (said,) = re.findall(rf"^\| {re.escape(name)} ((?:\| [-\d.]+ ){{5}})", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    said = [float(cell) for cell in said.split("|")[1:]]
    for square, right in ((7.302, True), (7.4, False)):
        rates = vf.escape_by_step(network(neuron, 8, square)).log_rates
        assert (np.abs(rates[[0, 1, 3, 7]] - said[:4]).max() < 0.011) == right
        assert (abs(np.exp(rates).sum() / said[4] - 1) < 0.01) == right


def test_many_steps_escape_within_a_factor_of_fleming_viot():
    of = network(ZERO, 4, 7.302)
    rate, error = fleming_viot(of, 300, 400)
    assert error < 0.1 * rate
    found = vf.escape_by_step(of, points=2**10)
    assert abs(found.log_rate("every step") - np.log(rate)) < np.log(1.7) + 3 * error / rate
    assert found.log_rate("every late step") < found.log_rate("every step")
    assert found.log_rates[0] + np.log(1.7) < np.log(rate) - 3 * error / rate  # rejected: the first step alone


def test_particles_find_the_exact_rate_of_two_steps():
    exact, *_ = TwoSteps(16, 10**0.5, 0.5, kept=0, taken=0).escape()
    rate, error = fleming_viot(network(ZERO, 2, 10, width=16), 500, 500)
    assert abs(rate - exact) < 4 * error + 2 / 500 * exact
    assert abs(rate - 1.2 * exact) > 4 * error


def test_rates_below_every_double():
    found = vf.escape_by_step(network(vf.neurons.snntorch_leaky(0.9), 2, 7.302), points=2**8)
    wide, wider = found.log_rates_at(500_000), found.log_rates_at(10**6)
    assert (wide < -700).all()
    assert wider == pytest.approx(2 * wide, rel=1e-3)
    assert np.isfinite(found.error).all()


def test_what_has_no_escape_rate():
    with pytest.raises(vf.DomainError, match="equal layers"):
        vf.escape_by_step(vf.Network(width=(20, 30), depth=2, gain=2.7, neuron=ZERO, steps=2))
    with pytest.raises(vf.DomainError, match="step=2 is silent"):
        vf.escape_by_step(network(ZERO, 2, 5.0), points=2**8)
    found = vf.escape_by_step(network(ZERO, 3, 8.0), points=2**6)
    for alive in ("a late step", "any step"):
        with pytest.raises(vf.DomainError, match="steps die in turn"):
            found.log_rate(alive)
