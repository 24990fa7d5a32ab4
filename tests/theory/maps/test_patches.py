"""Positions of a large map, followed apart and put together again: the moments of all positions that they were taken from."""

import numpy as np
import pytest

from varflow.theory.maps.positions import (
    VarianceClasses,
    at_places,
    classes_of_pairs,
    covariance_of_pairs,
    covariance_of_windows,
)
from varflow.theory.signals.moments import Currents
from varflow.theory.signals.places import ALL_PAIRS, Grid, known_pairs

INPUTS, HEIGHT, WIDTH, STEPS = 2, 3, 4, 2
POSITIONS = HEIGHT * WIDTH
RNG = np.random.default_rng(5)
FACTOR = RNG.standard_normal((1, INPUTS, POSITIONS * STEPS, 30))
C = (FACTOR @ FACTOR.swapaxes(-1, -2)).reshape(INPUTS, POSITIONS, STEPS, POSITIONS, STEPS)
MEAN = RNG.standard_normal((INPUTS, POSITIONS, STEPS))
SIZE = POSITIONS * STEPS
WHOLE = Currents(MEAN.reshape(1, INPUTS, SIZE), C.reshape(1, INPUTS, SIZE, SIZE), Grid(1, HEIGHT, WIDTH, STEPS), 7)
ALONE = WHOLE.per_position()
HERE, THERE = RNG.integers(0, POSITIONS, (2, 6, 3))  # windows of places at all distances


def joint(here, there):
    """Covariances of two windows each, groups (input, window), index (place, step)."""
    found = np.stack([C[:, a][:, :, :, b] for a, b in zip(here, there, strict=True)], axis=1)
    size = here.shape[1] * STEPS
    return found.reshape(1, -1, size, size)


def test_places_of_windows_have_their_own_moments():
    together = at_places(ALONE, HERE)
    np.testing.assert_allclose(together.covariance, joint(HERE, HERE), rtol=1e-12)
    np.testing.assert_array_equal(together.mean, MEAN[:, HERE].reshape(1, len(HERE) * INPUTS, -1))
    between = covariance_of_windows(ALONE, HERE, THERE)
    np.testing.assert_allclose(between, joint(HERE, THERE), rtol=1e-12)
    assert not np.allclose(between, joint(THERE, HERE))


def test_places_far_apart_have_the_mean_covariance():
    together = at_places(ALONE, np.concatenate([HERE, THERE], axis=1), True).covariance
    size = 3 * STEPS
    np.testing.assert_allclose(together[..., :size, :size], joint(HERE, HERE), rtol=1e-12)
    np.testing.assert_allclose(together[..., size:, size:], joint(THERE, THERE), rtol=1e-12)
    mean = C.swapaxes(2, 3)[:, ~np.eye(POSITIONS, dtype=bool)].mean(axis=1)
    far = together[0, :, :size, size:].reshape(INPUTS, len(HERE), 3, STEPS, 3, STEPS)
    np.testing.assert_allclose(far, np.broadcast_to(mean[:, None, None, :, None], far.shape), rtol=1e-12)
    assert not np.allclose(together[..., :size, size:], joint(HERE, THERE))


@pytest.mark.parametrize("offset", [(0, 1), (1, -2), (2, 0)])
def test_pairs_of_positions_are_averaged_over_their_class(offset):
    pairs = known_pairs(offset, (HEIGHT, WIDTH)).T
    expected, between = joint(pairs, pairs), covariance_of_pairs(ALONE, offset)
    np.testing.assert_allclose(between, expected[..., :STEPS, STEPS:], rtol=1e-12)
    alike, each = classes_of_pairs(ALONE, offset, between, len(pairs), 1, 0)
    np.testing.assert_allclose(each.covariance[:, alike.which], expected, rtol=1e-12)
    np.testing.assert_allclose(each.mean[:, alike.which], MEAN[:, pairs].reshape(1, -1, 2 * STEPS), rtol=1e-12)
    mean = classes_of_pairs(ALONE, offset, between, 1, 1, 0)[1].covariance
    by_input = expected.reshape(1, INPUTS, len(pairs), 2 * STEPS, 2 * STEPS)
    np.testing.assert_allclose(mean, by_input.mean(axis=2), rtol=1e-12)
    assert not np.allclose(mean, by_input[:, :, 0])


@pytest.mark.parametrize("offset", [(0, 1), (1, -2)])
def test_members_stand_for_a_class_of_pairs(offset):
    """Another pair of it in every replica; in as many replicas as it has pairs, all of them."""
    pairs, between = known_pairs(offset, (HEIGHT, WIDTH)).T, covariance_of_pairs(ALONE, offset)
    each = classes_of_pairs(ALONE, offset, between, 1, len(pairs), 0)[1].covariance
    expected = joint(pairs, pairs)[0]
    by_input = expected.reshape(INPUTS, len(pairs), 2 * STEPS, 2 * STEPS)
    assert each.shape == (len(pairs), INPUTS, 2 * STEPS, 2 * STEPS)
    np.testing.assert_allclose(each.mean(axis=0), by_input.mean(axis=1), rtol=1e-12)
    for n in range(INPUTS):
        assert {C.tobytes() for C in each[:, n]} == {C.tobytes() for C in by_input[n]}


def test_classes_tell_times_apart():
    """Positions whose currents have one variance and come at different steps, and no more classes than these differ."""
    step = RNG.integers(0, 4, 60)
    covariance = np.zeros((1, 60, 4, 4))
    covariance[0, np.arange(60), step, step] = 1.0
    alike = VarianceClasses.of(Currents(np.zeros((1, 60, 4)), covariance, Grid(1, 6, 10, 4, per_position=True), 5), 1, 0)
    assert alike.classes == 4
    np.testing.assert_array_equal(alike.of_classes(covariance)[0, alike.which], covariance[0])
    of_mean = VarianceClasses.of(
        Currents(covariance[0, :, :, 0][None], 0 * covariance, Grid(1, 6, 10, 4, per_position=True), 5), 1, 0
    )
    assert of_mean.classes == 2


def test_far_pairs_are_those_of_the_average_position():
    between = covariance_of_pairs(ALONE, ALL_PAIRS)
    alike, each = classes_of_pairs(ALONE, ALL_PAIRS, between, 5, 4, 0)
    own = np.einsum("apspt->ast", C) / POSITIONS
    assert list(alike.which) == [0, 1]
    np.testing.assert_allclose(each.covariance[0, :, :STEPS, :STEPS], own, rtol=1e-12)
    np.testing.assert_allclose(each.covariance[0, :, STEPS:, STEPS:], own, rtol=1e-12)
    assert not np.allclose(each.covariance[0, :, :STEPS, :STEPS], C[:, 0, :, 0])
