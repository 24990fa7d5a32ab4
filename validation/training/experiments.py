"""The experiments: which designs are trained how, on what, and with which seeds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import product
from typing import Any

import numpy as np

import varflow as vf
from validation.training.networks import Design
from validation.training.training import Schedule

__all__ = ["EXPERIMENTS", "Experiment", "Run"]

SEEDS = (0, 1, 2)
GAINS = (2.0, 4.0, 6.3, 8.17, 12.0, 40.0)  # g² of the map
SLOPES = (0.2, 0.5, 1.0, 3.0, 6.0, 25.0)  # of fast_sigmoid
SHORTCUT, SEW = 0.5**0.5, 2**0.5  # gains that keep the rate of these structures near 0.2 over 50 layers
CENTRED = 3.2
COPYING = vf.surrogates.Surrogate("atan", peak=1.0, width=1.0)  # ψ(±1) = 1/2
FIVE_EPOCHS = Schedule(epochs=5, rate="constant")
TWO_EPOCHS = Schedule(epochs=2, rate="constant")
ONE_CYCLE = Schedule(epochs=4, learning_rate=1e-3)
THREE_EPOCHS = Schedule(epochs=3, rate="constant")
DIGITS = Schedule(epochs=20, batch=32, rate="constant")
SIX_EPOCHS = Schedule(epochs=6, batch=50, rate="constant")
WIDE = vf.surrogates.fast_sigmoid(1.0)


@dataclass(frozen=True, slots=True)
class Run:
    """One network trained once."""

    design: Design
    schedule: Schedule
    data: str
    seed: int
    images: int | None = None
    test_images: int | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments of :func:`validation.training.training.trained`."""
        names = ("design", "schedule", "data", "seed", "images", "test_images")
        return {name: getattr(self, name) for name in names}

    @property
    def described(self) -> dict[str, Any]:
        """The same as JSON."""
        surrogate = {"surrogate": str(self.design.surrogate)}
        return self.settings | {"design": asdict(self.design) | surrogate, "schedule": asdict(self.schedule)}


@dataclass(frozen=True, slots=True)
class Experiment:
    """Runs for one section of the pages; ``predicted``: whether the predictors are computed before."""

    title: str
    runs: tuple[Run, ...]
    predicted: bool = False


def _runs(designs: Sequence[Design], schedule: Schedule, data: str, seeds: Sequence[int], **size: int) -> tuple[Run, ...]:
    return tuple(Run(design, schedule, data, seed, **size) for seed, design in product(seeds, designs))


SMALL: Mapping[str, int] = {"images": 10_000, "test_images": 5_000}


def _map() -> Iterator[Design]:
    """Gain and slope at two depths; the first layer's currents have variance 1."""
    for depth, gain2, slope in product((10, 20), GAINS, SLOPES):
        yield Design(depth=depth, gain=gain2**0.5, surrogate=vf.surrogates.fast_sigmoid(slope))


def _structures(depth: int) -> Iterator[Design]:
    """The remedies for depth, each at the gain that keeps it active."""
    yield Design(depth=depth, initialisation="in_time")
    yield Design(depth=depth, initialisation="in_time", surrogate=vf.surrogates.fast_sigmoid(1.0))
    yield Design(depth=depth, structure="membrane_shortcut", gain=SHORTCUT)
    yield Design(depth=depth, structure="sew_add", gain=SEW)
    yield Design(depth=depth, structure="batch_norm", initialisation="in_time")


def _deepest() -> Iterator[Design]:
    """Plain layers: random weights with more steps and a wider surrogate, and weights that copy spikes at first.

    With ``W = (θ/β) 1`` and β = 1/2 membranes are 0 or 2θ, and ψ(±θ) = 1/2 passes gradients on without a loss.
    """
    yield Design(depth=20, steps=8, initialisation="in_time", surrogate=vf.surrogates.fast_sigmoid(0.7))
    for depth in (20, 30, 50):
        yield Design(depth=depth, initialisation="identity", surrogate=COPYING)


def _initialisations(depth: int) -> Iterator[Design]:
    for name in ("torch", "kaiming", "xavier", "micheli", "corrected", "in_time", "spikeinit"):
        yield Design(depth=depth, initialisation=name)
    yield Design(depth=depth, structure="centred", gain=CENTRED, surrogate=vf.surrogates.fast_sigmoid(1.4))
    yield Design(depth=depth, structure="membrane_shortcut", gain=SHORTCUT)
    yield Design(depth=depth, structure="membrane_shortcut", initialisation="torch")


def _convolutional() -> Iterator[Design]:
    for name in ("torch", "kaiming", "micheli", "in_time"):
        yield Design(depth=3, width=128, structure="convolutional", initialisation=name)


def _silent() -> Iterator[Run]:
    """Networks that begin silent, by Adam's ε: below it an update is smaller than the learning rate."""
    for depth, name, epsilon in product((4, 6, 8, 10, 12, 14, 20), ("torch", "kaiming"), (1e-8, 1e-16)):
        schedule = replace(FIVE_EPOCHS, epsilon=epsilon)
        for seed in SEEDS:
            yield Run(Design(depth=depth, initialisation=name), schedule, "fashion_mnist", seed, **SMALL)


def _drawn(
    rng: np.random.Generator, depths: Sequence[int], gains: tuple[float, float] = (1.5, 6), structure: str = "plain"
) -> Design:
    """A network drawn at random; its gain log-uniform."""
    families = ("atan", "fast_sigmoid", "sigmoid", "triangular", "gaussian")
    family, width = families[rng.integers(len(families))], float(np.exp(rng.uniform(np.log(0.05), np.log(3))))
    return Design(
        depth=int(rng.choice(depths)),
        steps=int(rng.choice([2, 4, 8])),
        threshold=round(float(rng.uniform(0.6, 1.4)), 3),
        decay=round(float(rng.choice([0.3, 0.5, 0.7, 0.9])), 3),
        gain=round(float(np.exp(rng.uniform(*np.log(gains)))), 3),
        surrogate=vf.surrogates.Surrogate(family, peak=1.0, width=round(width, 4)),
        structure=structure,
    )


def _held_out(number: int = 48) -> Iterator[Design]:
    """Plain networks drawn at random, for predictors that were fixed before: none of them was used to choose one."""
    rng = np.random.default_rng(2026)
    for _ in range(number):
        yield _drawn(rng, [6, 10, 14, 20])


def _new() -> Iterator[Design]:
    """Further ones, of four structures; in one with shortcuts the gain is within ``e^±½`` of that which keeps the rate."""
    rng = np.random.default_rng(2027)
    for _ in range(24):
        yield _drawn(rng, [6, 10, 14, 20])
    for _ in range(8):
        yield _drawn(rng, [6, 10, 14, 20, 30], structure="batch_norm")
    for structure, centre in (("membrane_shortcut", SHORTCUT), ("sew_add", SEW)):
        for _ in range(8):
            yield _drawn(rng, [6, 10, 20, 30, 50], (centre * np.exp(-0.5), centre * np.exp(0.5)), structure)


def _boundary(depths: Sequence[int], seed: int, number: int = 24) -> Iterator[Design]:
    """Plain ones about the ten layers below which none is said to forget, and above; that number was fixed before."""
    rng = np.random.default_rng(seed)
    for _ in range(number):
        yield _drawn(rng, depths)


def _about_ten() -> tuple[Run, ...]:
    about, above = list(_boundary([7, 8, 9, 10, 11, 12], 2028)), list(_boundary([10, 12, 14, 16, 20], 2029))
    runs = partial(_runs, schedule=FIVE_EPOCHS, data="fashion_mnist", **SMALL)
    return runs(about, seeds=SEEDS) + runs(above, seeds=SEEDS[:2])


def _rates(structure: str, **settings: Any) -> Iterator[Design]:
    """One structure at four firing rates, with few and many steps."""
    for steps, rate in product((4, 8), (0.05, 0.1, 0.2, 0.3)):
        yield Design(structure=structure, steps=steps, rate=rate, **settings)


def _rates_of_all() -> Iterator[Run]:
    dense = [*_rates("plain"), *_rates("batch_norm"), *_rates("membrane_shortcut"), *_rates("plain", surrogate=WIDE)]
    dense += [Design(structure="batch_norm", steps=steps, initialisation="torch") for steps in (4, 8)]
    filters = [*_rates("convolutional", depth=3, width=128)]
    yield from _runs(dense, THREE_EPOCHS, "fashion_mnist", SEEDS, **SMALL)
    yield from _runs(filters, replace(DIGITS, epochs=10), "digits", SEEDS)


def _learning_rates() -> Iterator[Run]:
    """Seven rates around the one that :func:`varflow.learning_rate` advises, to two digits."""
    plain = partial(Design, initialisation="in_time")
    shortcut = partial(plain, structure="membrane_shortcut", gain=SHORTCUT)
    adamw, long = replace(SIX_EPOCHS, optimizer="adamw"), replace(SIX_EPOCHS, epochs=20)
    advised = [
        (plain(4, 48, decay=0.3), SIX_EPOCHS, 1.1e-2),
        (plain(8, 96, decay=0.8), SIX_EPOCHS, 4.0e-3),
        (plain(4, 384), SIX_EPOCHS, 2.1e-3),
        (plain(6, 192, decay=0.3, surrogate=WIDE), SIX_EPOCHS, 3.6e-3),
        (shortcut(10, 192, decay=0.8), SIX_EPOCHS, 1.7e-3),
        (plain(12, 96, surrogate=WIDE), SIX_EPOCHS, 2.1e-3),
        (shortcut(8, 384, decay=0.3), SIX_EPOCHS, 1.4e-3),
        (plain(4, 96, biases=True), SIX_EPOCHS, 6.6e-3),
        (shortcut(8, 192, decay=0.8, biases=True), SIX_EPOCHS, 1.9e-3),
        (plain(6, 96), adamw, 5.6e-3),
        (plain(8, 192, decay=0.8, surrogate=WIDE), adamw, 2.3e-3),
        (plain(6, 96, decay=0.3), long, 6.4e-3),
        (shortcut(8, 192, decay=0.8), long, 1.9e-3),
        (shortcut(12, 48, decay=0.3, steps=8), SIX_EPOCHS, 7.4e-3),
        (plain(6, 384, decay=0.8, steps=8, surrogate=WIDE), SIX_EPOCHS, 1.3e-3),
        (plain(5, 192, decay=0.3), replace(SIX_EPOCHS, epochs=4), 1.3e-3),
    ]
    for seed, (design, schedule, rate), octave in product(SEEDS[:2], advised, range(-3, 4)):
        set_of = ("fashion_mnist", 3000, 5000) if schedule.epochs == 4 else ("digits", None, None)
        yield Run(design, replace(schedule, learning_rate=rate * 2.0**octave), set_of[0], seed, *set_of[1:])


def _thirty() -> Iterator[Run]:
    """Thirty plain layers: a wide surrogate with more steps, small learning rates, and weights that copy spikes."""
    usual = Schedule()
    wide = partial(Design, depth=30, initialisation="in_time", surrogate=vf.surrogates.fast_sigmoid(0.5))
    copies = Design(depth=30, initialisation="identity", surrogate=COPYING)
    arms = [
        *((wide(steps=steps), usual) for steps in (4, 8)),
        (wide(steps=8), replace(usual, learning_rate=1e-4)),
        (wide(steps=8), replace(usual, rate="warm_up")),
        (copies, usual),
        (copies, replace(usual, rate="warm_up")),
    ]
    for seed, (design, schedule) in [*product(SEEDS, arms), *product(SEEDS, [(wide(steps=16), usual)])]:
        yield Run(design, schedule, "fashion_mnist", seed, 15_000, 5_000)


def _robust() -> Iterator[Design]:
    """The design with the gain in time, one setting changed at a time."""
    base = Design(initialisation="in_time")
    for name, values in {
        "threshold": (0.5, 0.75, 1.0, 1.5, 2.0),
        "decay": (0.1, 0.3, 0.5, 0.7, 0.9),
        "steps": (2, 4, 8, 16),
        "width": (50, 100, 200, 400),
    }.items():
        for value, initialisation in product(values, ("in_time", "kaiming")):
            yield replace(base, **{name: value}, initialisation=initialisation)


def _all() -> dict[str, Experiment]:
    quick = [Design(depth=d, initialisation=name) for d in (10, 20) for name in ("torch", "kaiming", "micheli", "in_time")]
    quick += [Design(depth=d, initialisation="identity", surrogate=COPYING) for d in (10, 20)]
    quick += [Design(depth=d, structure="membrane_shortcut", gain=SHORTCUT) for d in (10, 20)]
    depths = [design for depth in (5, 10, 15, 20, 30, 50) for design in _structures(depth)]
    first = [design for depth in (10, 20) for design in _initialisations(depth)]
    fashion = "fashion_mnist"
    return {
        "quick": Experiment("Designs on digits", _runs(quick, DIGITS, "digits", SEEDS[:2])),
        "initialisations": Experiment("Weights of plain layers", _runs(first, FIVE_EPOCHS, fashion, SEEDS, **SMALL)),
        "map": Experiment("Gain and slope of the surrogate", _runs(list(_map()), TWO_EPOCHS, fashion, SEEDS, **SMALL)),
        "depth": Experiment("Depth, by structure", _runs(depths, ONE_CYCLE, fashion, SEEDS)),
        "plain": Experiment("Depth of plain layers", _runs(list(_deepest()), ONE_CYCLE, fashion, SEEDS)),
        "convolutions": Experiment("Convolutions", _runs(list(_convolutional()), ONE_CYCLE, fashion, SEEDS, **SMALL)),
        "silence": Experiment("Revival of silent networks", tuple(_silent())),
        "held_out": Experiment("Predictors of accuracy", _runs(list(_held_out()), FIVE_EPOCHS, fashion, SEEDS, **SMALL), True),
        "rates": Experiment("Firing rate", tuple(_rates_of_all())),
        "new": Experiment("Test of the verdict", _runs(list(_new()), FIVE_EPOCHS, fashion, SEEDS, **SMALL)),
        "boundary": Experiment("Verdict near ten layers", _about_ten()),
        "learning_rates": Experiment("Learning rate", tuple(_learning_rates())),
        "thirty": Experiment("Thirty plain layers", tuple(_thirty())),
        "robustness": Experiment(
            "Thresholds, leaks, steps and widths", _runs([*dict.fromkeys(_robust())], DIGITS, "digits", SEEDS)
        ),
    }


EXPERIMENTS = _all()
"""By name. ``quick`` is on scikit-learn's digits and takes a minute or two."""
