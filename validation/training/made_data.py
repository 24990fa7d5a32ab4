"""Made-up spikes to learn: bars that move, trains as of spoken digits, and delayed recall; always the same numbers.

Arrays of zeros and ones with time in axis 1, and labels; the first for training, the others for test.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

__all__ = ["MADE", "Trains", "delayed_recall", "moving_bars", "spike_trains"]

Trains = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # training inputs and labels, test inputs and labels

SIDE, FRAMES = 16, 8
UNITS, STEPS, WORDS = 140, 16, 5
CUES, CUE_UNITS, CUED, DELAY, ASKED = 8, 60, 4, 12, 4


def moving_bars(train: int = 512, test: int = 512, seed: int = 0) -> Trains:
    """A bar moving in one of eight directions, as events (8 steps, 2 signs, 16, 16): pixels that it enters and that it leaves.

    Place, speed, length and width differ, directions by up to 15°, and three pixels in a hundred are noise.
    """
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(train + test) % 8)
    angle = (labels + rng.uniform(-1 / 3, 1 / 3, len(labels))) * np.pi / 4
    along = np.stack([np.cos(angle), np.sin(angle)], 1)
    middle = (SIDE - 1) / 2 + rng.uniform(-3, 3, (len(labels), 2))
    speed, width, length = (rng.uniform(*ends, len(labels)) for ends in ((0.6, 1.4), (1.0, 3.0), (2.0, 5.0)))
    pixels = np.stack(np.meshgrid(np.arange(SIDE), np.arange(SIDE), indexing="xy"), -1)
    covered = []
    for t in np.arange(FRAMES + 1) - FRAMES / 2:
        from_bar = pixels - (middle + t * speed[:, None] * along)[:, None, None]
        ahead = np.einsum("nyxi,ni->nyx", from_bar, along)
        aside = np.einsum("nyxi,ni->nyx", from_bar, np.stack([-along[:, 1], along[:, 0]], 1))
        covered.append((np.abs(ahead) < width[:, None, None] / 2) & (np.abs(aside) < length[:, None, None]))
    frames = np.stack(covered, 1)
    events = np.stack([frames[:, 1:] & ~frames[:, :-1], frames[:, :-1] & ~frames[:, 1:]], 2)
    events = events ^ (rng.random(events.shape) < 0.03)
    return _parted(events, labels, train)


def spike_trains(train: int = 640, test: int = 640, seed: int = 0) -> Trains:
    """Spikes of 140 units in 16 steps, as of a cochlea: three bands of frequencies that rise and fall, in ten classes.

    The last five classes are the first five backwards. Pitch, pace and onset differ, and two spikes in a hundred are noise.
    """
    rng = np.random.default_rng(seed)
    knots = rng.uniform(10, UNITS - 10, (WORDS, 3, 4))  # of each band, evenly spaced in time
    labels = rng.permutation(np.arange(train + test) % (2 * WORDS))
    pitch, onset = rng.normal(0, 6, len(labels)), rng.normal(0, 0.07, len(labels))
    pace = np.exp(rng.normal(0, 0.1, len(labels)))
    trains = np.empty((len(labels), STEPS, UNITS))
    for n, label in enumerate(labels):
        times = np.clip((np.linspace(0, 1, STEPS) - 0.5) * pace[n] + 0.5 + onset[n], 0, 1)
        times = times if label < WORDS else times[::-1]
        bands = np.stack([np.interp(times, np.linspace(0, 1, 4), band) for band in knots[label % WORDS]], 1) + pitch[n]
        near = np.exp(-((np.arange(UNITS) - bands[..., None]) ** 2) / (2 * 5.0**2)).max(1)
        trains[n] = 0.02 + 0.5 * near
    return _parted(rng.random(trains.shape) < trains, labels, train)


def delayed_recall(train: int = 640, test: int = 640, seed: int = 0) -> Trains:
    """One of eight patterns of 60 units for 4 steps, noise for 12, and a signal of 10 further units for 4, to answer.

    Units of the pattern spike with probability 0.3, all units with 0.1.
    """
    rng = np.random.default_rng(seed)
    patterns = rng.random((CUES, CUE_UNITS)) < 0.3
    labels = rng.permutation(np.arange(train + test) % CUES)
    probability = np.full((len(labels), CUED + DELAY + ASKED, CUE_UNITS + 10), 0.1)
    probability[:, :CUED, :CUE_UNITS] += 0.3 * patterns[labels][:, None]
    probability[:, -ASKED:, CUE_UNITS:] = 0.7
    return _parted(rng.random(probability.shape) < probability, labels, train)


def _parted(inputs: np.ndarray, labels: np.ndarray, train: int) -> Trains:
    x, y = inputs.astype(np.float32), labels.astype(np.int64)
    return x[:train], y[:train], x[train:], y[train:]


MADE: dict[str, Callable[..., Trains]] = {"bars": moving_bars, "trains": spike_trains, "recall": delayed_recall}
