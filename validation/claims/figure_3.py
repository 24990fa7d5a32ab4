"""Claim: with every published initialisation, its weights drawn by its own function, activity follows the theory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np

import varflow as vf
from validation.claim import Claim, Control, Judgement
from validation.curves import drawn, gain_of, judged
from validation.work import Work
from varflow.simulation.run import exact_products

THRESHOLD = 1.0
DEPENDENT = ("orthogonal",)  # rows that are not independent: given the spikes, a layer's variance hardly varies over networks


@dataclass(frozen=True, slots=True)
class Settings:
    """One curve for every method of the catalogue that has a gain at θ = 1.

    ``probed``: methods whose sensitivity to the gain is measured; ``errors`` changes the gain of single methods; ``wider``
    multiplies the widths assumed by the theory; ``biased``: whether the theory includes a method's common bias of all neurons.
    """

    width: int
    repeats: int = 20
    depth: int = 100
    probed: tuple[str, ...] = ("micheli", "spikeinit", "ding")
    errors: tuple[tuple[str, float], ...] = ()
    wider: float = 1.0
    biased: bool = True
    false_alarm: float = 0.01

    def networks(self) -> dict[str, vf.Network]:
        """The network by which the theory describes each method."""
        return {key: self._network(key, profile.network) for key, profile in self.catalogue().profiles.items()}

    def _network(self, key: str, network: vf.Network) -> vf.Network:
        neuron = network.neuron if self.biased else vf.Neuron(THRESHOLD)
        gain = float(network.gains[-1]) * (1 + dict(self.errors).get(key, 0.0))
        return replace(network, width=round(self.width * self.wider), gain=gain, neuron=neuron)

    def catalogue(self) -> vf.Catalogue:
        return _catalogue(self.width, self.depth)

    @property
    def each(self) -> float:
        """False-alarm rate of one curve that is judged."""
        return self.false_alarm / (len(self.catalogue().profiles) - len(DEPENDENT))


@cache
def _catalogue(width: int, depth: int) -> vf.Catalogue:
    return vf.catalogue(threshold=THRESHOLD, fan_in=width, depth=depth)


def theory(settings: Settings) -> list[vf.Profile]:
    return [vf.finite_width(network) for network in settings.networks().values()]


def simulate(settings: Settings, seed: int, work: Work) -> tuple[vf.Ensemble, ...]:
    """Layers of torch, filled by torch's own functions where the method is torch's, else by those of ``vf.init``."""
    profiles, each = settings.catalogue().profiles, {"width": settings.width, "depth": settings.depth, "seed": seed}
    wanted = [each | {"method": key, "repeat": repeat} for key in profiles for repeat in range(settings.repeats)]
    seen = work.results(propagated, wanted, what="simulating")
    variance, rate = (
        np.reshape([one[name] for one in seen], (len(profiles), settings.repeats, settings.depth))
        for name in ("variance", "rate")
    )
    networks = [profile.network for profile in profiles.values()]
    return tuple(vf.Ensemble(*each, seed=seed) for each in zip(networks, variance, rate, strict=True))


def filler(entry: Any) -> Callable[[Any], Any]:
    """Weights and biases of one layer, as a user of the method would set them."""
    import torch

    own = {
        "torch_default": lambda layer: layer.reset_parameters(),
        "kaiming": lambda layer: torch.nn.init.kaiming_normal_(layer.weight, nonlinearity="relu"),
        "xavier": lambda layer: torch.nn.init.xavier_normal_(layer.weight),
        "lecun": lambda layer: torch.nn.init.kaiming_normal_(layer.weight, nonlinearity="linear"),
        "orthogonal": lambda layer: torch.nn.init.orthogonal_(layer.weight),
        "micheli": lambda layer: vf.init.micheli_normal_(layer.weight, THRESHOLD),
    }
    fill = own.get(entry.key, lambda layer: vf.init.normal_(layer.weight, entry.gain))

    def both(layer: Any) -> None:
        torch.nn.init.constant_(layer.bias, entry.bias)
        fill(layer)

    return both


def propagated(width: int, depth: int, seed: int, method: str, repeat: int) -> dict[str, np.ndarray]:
    """Variance and rate of every layer of one network, shape (depth,); its first layer receives N(0, 1) and its bias."""
    import torch

    found = _catalogue(width, depth)
    fill, number = filler(found[method]), list(found.profiles).index(method)
    stream = int(np.random.SeedSequence([seed, number, repeat]).generate_state(1)[0])
    variance, rate = np.zeros((2, depth))
    with torch.random.fork_rng(devices=[]), torch.no_grad(), exact_products():
        torch.default_generator.manual_seed(stream)  # torch.manual_seed would also seed GPUs
        layer = torch.nn.Linear(width, width)
        fill(layer)
        potential = torch.randn(width) + layer.bias
        for l in range(depth):
            spikes = (potential > THRESHOLD).float()
            variance[l], rate[l] = float(potential.double().var()), float(spikes.mean())
            if not spikes.any() and not layer.bias.any():
                break  # silent layers stay silent
            if l + 1 < depth:
                fill(layer)
                potential = layer(spikes)
    return {"variance": variance, "rate": rate}


def judge(settings: Settings, theory: list[vf.Profile], measured: tuple[vf.Ensemble, ...]) -> Judgement:
    """All curves but those whose rows are not independent."""
    found = settings.catalogue()
    curves = [
        (profile, ensemble, found[key].name)
        for key, profile, ensemble in zip(settings.networks(), theory, measured, strict=True)
        if key not in DEPENDENT
    ]
    profiles, ensembles, names = zip(*curves, strict=True)
    return judged(profiles, ensembles, names, settings.each)


def draw(settings: Settings, theory: list[vf.Profile], seed: int) -> tuple[vf.Ensemble, ...]:
    return drawn(theory, settings.repeats, seed)


def reading(settings: Settings, theory: list[vf.Profile], measured: tuple[vf.Ensemble, ...]) -> str:
    """Which methods die, which leak, which stay alive, and at what cost."""
    found = settings.catalogue()
    rows = [(found[key].name, p, e) for key, p, e in zip(settings.networks(), theory, measured, strict=True)]
    dead = [row for row in rows if row[1].spikes[-1] < 0.5]
    kept = sorted((row for row in rows if row[1].spikes[-1] >= 0.5), key=lambda row: row[1].spikes[-1])
    latest = max(int(np.argmax(profile.spikes < 0.5)) + 1 for _, profile, _ in dead)
    survivors = "; ".join(_in_words(*row) for row in kept)
    return (
        f"θ = 1, width {settings.width}, {settings.repeats} networks per method, each layer filled by the method's own "
        f"function. Silent by layer {latest}: {', '.join(name for name, *_ in dead)}. In layer {settings.depth}, exact "
        f"(simulated), silent networks counted as 0: {survivors}. The preserving gain is not the only one that keeps networks "
        "alive: so do a bias and any gain above the critical one, at the cost of more spikes. With the finite-size gain it "
        "depends on the sample from which that gain is computed. torch's uniform weights are compared with the theory of "
        "normal ones. Orthogonal weights are not judged: their rows are not independent. The figure is docs/figure-3.png."
    )


def _in_words(name: str, profile: vf.Profile, ensemble: vf.Ensemble) -> str:
    pairs = [
        f"{predicted:.3g} ({seen:.3g})"
        for predicted, seen in (
            (profile.spikes[-1], ensemble.spikes[:, -1].mean()),
            (profile.variance[-1], ensemble.variance[:, -1].mean()),
            (100 * profile.survival[-1], 100 * ensemble.survival[:, -1].mean()),
        )
    ]
    return f"{name} {pairs[0]} spikes, variance {pairs[1]}, {pairs[2]} % alive"


CLAIM = Claim(
    name="figure_3",
    statement="At θ = 1, variance and spikes over 100 layers follow the exact finite-width theory with every method of "
    "vf.catalogue that needs no data and has independent weights: methods that ignore the threshold are silent within a few "
    "layers, the others leak or stay alive as predicted.",
    source="micheli2024, figure 3, compares fewer methods; the gains are those of vf.init.published, each "
    "with its source; the theory is derived in vf.finite_width",
    quantity="mean variance of a layer's potentials",
    budgets={
        "quick": Settings(width=300, depth=50, probed=("micheli",)),
        "standard": Settings(width=1000),
    },
    devices=("cpu",),
    theory=theory,
    simulate=simulate,
    judge=judge,
    errors=lambda settings: tuple(gain_of(key, key) for key in settings.probed),
    draw=draw,
    reading=reading,
    cheap=Settings(width=40, repeats=8, depth=10),
    controls=(
        Control("the theory without the bias of Ding's method", lambda settings: theory(replace(settings, biased=False))),
        Control("the theory of networks three times as wide", lambda settings: theory(replace(settings, wider=3.0))),
    ),
)
