"""Operations on every entry alike: one formula wherever second moments stand, against numbers that are drawn."""

import ast
from pathlib import Path

import numpy as np
import pytest

import varflow as vf
from varflow.model.layers import Concat, Product
from varflow.theory.operations.merge import concatenate, multiply, summed
from varflow.theory.signals.moments import Currents, Spikes, elementwise, rescaled
from varflow.theory.signals.places import ALL_PAIRS, Grid, Overlap

GRID, CHANNELS, INPUTS = Grid(1, 2, 3, 2), 400, 3
RNG = np.random.default_rng(0)
MIXING = RNG.normal(size=(2, INPUTS * GRID.size, INPUTS * GRID.size)) / 4


def drawn(which):
    """Numbers of a batch with channels that are independent, shape (inputs, i, channels); exact products of all channels."""
    x = MIXING[which] @ RNG.normal(size=(INPUTS * GRID.size, CHANNELS)) + 0.3
    return x.reshape(INPUTS, GRID.size, CHANNELS)


def moments(x):
    """The signal of numbers: each input a group, and the overlap of two."""
    second = x @ x.swapaxes(-1, -2) / x.shape[-1]
    pairs = [x[a] @ x[b].T / x.shape[-1] for a in range(INPUTS) for b in range(INPUTS) if a != b]
    return Spikes(x.mean(axis=-1)[None], second[None], GRID, x.shape[-1], overlap=Overlap(np.mean(pairs, axis=0)[None]))


X, Y = drawn(0), drawn(1)
INDEPENDENT = np.repeat(X, CHANNELS, axis=-1), np.tile(Y, CHANNELS)  # every channel of one with every one of the other
CASES = {
    "sum": (lambda x, y: summed([x, y], (0.5, -1.0), 0.7), 0.5 * INDEPENDENT[0] - INDEPENDENT[1] + 0.7),
    "product": (lambda x, y: multiply(Product(), (x, y), None), INDEPENDENT[0] * INDEPENDENT[1]),
    "concatenation": (lambda x, y: concatenate(Concat(), (x, y), None), np.concatenate([X, Y], axis=-1)),
}


@pytest.mark.parametrize("name", CASES)
def test_an_operation_is_the_same_on_numbers(name):
    """Moments of one input and the same of positions on their own; other numbers are rejected."""
    function, numbers = CASES[name]
    after, expected = function(moments(X), moments(Y)), moments(numbers)
    for found, wanted in ((after, expected), (function(moments(X).per_position(), moments(Y).per_position()), expected)):
        wanted = wanted.per_position() if found.grid.per_position else wanted
        np.testing.assert_allclose(found.mean, wanted.mean, rtol=1e-10)
        np.testing.assert_allclose(found.moments, wanted.moments, rtol=1e-9)
    for offset in ((0, 1), (1, -1), *([ALL_PAIRS] if name == "concatenation" else [])):  # others by the mean over all pairs
        alone, joint = function(moments(X).per_position(), moments(Y).per_position()), expected.per_position()
        np.testing.assert_allclose(alone.between(offset), joint.between(offset), rtol=1e-8, atol=1e-12)
        assert np.abs(alone.between(offset) - moments(X).per_position().between(offset)).max() > 0.01


def test_means_of_both_factors_multiply_as_they_come():
    """A sum of independent signals, written with ``e`` and ``f``; with means of one factor only it is another."""

    def after(f):
        return elementwise([moments(X), moments(Y)], sum, lambda M, *e: M[0] + M[1] + e[0][0] * e[f][1] + e[0][1] * e[f][0])

    expected = summed([moments(X), moments(Y)], (1.0, 1.0)).moments
    np.testing.assert_allclose(after(1).moments, expected, rtol=1e-12)
    alone = elementwise(
        [moments(X).per_position(), moments(Y).per_position()], sum, lambda M, e, f: M[0] + M[1] + e[0] * f[1] + e[1] * f[0]
    )
    np.testing.assert_allclose(
        alone.between((0, 1)), summed([moments(X).per_position(), moments(Y).per_position()], (1.0, 1.0)).between((0, 1))
    )
    with pytest.raises(vf.DomainError, match=r"second=.*\(1, 3, 12, 1\).* must return the shape of M\[0\], \(1, 3, 12, 12\)"):
        elementwise([moments(X)], lambda e: e[0], lambda M, e, f: e[0])
    with pytest.raises(vf.DomainError, match=r"mean=.* must return the shape of e\[0\], \(1, 3, 12\)"):
        elementwise([moments(X)], lambda e: e[0].mean(axis=-1), lambda M, *_: M[0])


def test_overlaps_of_inputs_follow_the_same_formula():
    function, numbers = CASES["concatenation"]
    after = function(moments(X), moments(Y)).overlap.between
    np.testing.assert_allclose(after, moments(numbers).overlap.between, rtol=1e-9)
    assert np.abs(after - moments(X).overlap.between).max() > 0.01


def test_currents_are_rescaled_wherever_their_covariance_stands():
    C = MIXING[0][: GRID.size, : GRID.size] @ MIXING[0][: GRID.size, : GRID.size].T
    currents = Currents(np.full((1, 1, GRID.size), 0.2), C[None, None], GRID, 7, overlap=Overlap(0.5 * C[None]))
    scale = np.linspace(1, 2, GRID.size)[None, None]
    after = rescaled(currents, scale, 0.1)
    np.testing.assert_allclose(after.covariance[0, 0], scale[0, 0][:, None] * C * scale[0, 0], rtol=1e-12)
    np.testing.assert_allclose(after.overlap.between, 0.5 * after.covariance[:, 0], rtol=1e-12)  # the correlation stays
    alone = rescaled(currents.per_position(), scale.reshape(1, -1, GRID.steps), 0.1)
    np.testing.assert_allclose(alone.between((0, 1)), after.per_position().between((0, 1)), rtol=1e-12)
    assert np.abs(alone.between((0, 1)) - currents.per_position().between((0, 1))).max() > 0.01


def test_no_place_of_second_moments_is_forgotten():
    spikes = moments(X)
    with pytest.raises(TypeError, match="overlap, pairs, sampled, shared"):
        spikes.with_moments(spikes.mean, spikes.moments, changes=None)
    after = elementwise([spikes], lambda e: 2 * e[0], lambda M, e, f: 4 * M[0])
    np.testing.assert_allclose(after.overlap.between, 4 * spikes.overlap.between)


SECOND = {"covariance", "moments"}


def stale(source):
    """Calls of replace() that change second moments in one place only."""
    calls = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    named = (call for call in calls if getattr(call.func, "id", getattr(call.func, "attr", "")) == "replace")
    return [ast.unparse(call) for call in named if SECOND & {keyword.arg for keyword in call.keywords}]


def test_second_moments_are_changed_by_the_signals_themselves():
    files = [path for path in Path(vf.__file__).parent.rglob("*.py") if path.parent.name != "signals"]
    assert [call for path in files for call in stale(path.read_text(encoding="utf-8"))] == []
    assert stale("after = replace(signal, mean=e, covariance=C)")
