"""Will a network learn? The verdict from how alike the gradients of different inputs are."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from varflow._display import Shown, Table, measured
from varflow.results.export import Exported, ReadOnly

# depth/coherence up to which networks learned, and from which they did not, by what else shapes coherence
LIMITS = {
    "plain": (250.0, 500.0),
    "batch normalisation": (625.0, 1250.0),  # takes out what the gradients of a batch have in common
    "shortcuts": (600.0, math.inf),  # up to 50 layers, none of which failed
    "centred weights": (250.0, math.inf),  # hardly anything in common, and ten layers learned
}


FEW = 10  # layers, below which the last of them learned enough by themselves
SHALLOW = 0.25  # of reach, up to which shortcuts and other surrogates brought nothing


def reach(total: float, structure: str) -> float:
    """Number of layers up to which networks learned whose coherence over all layers adds up to ``total``."""
    return math.sqrt(LIMITS[structure][0] * max(total, 0.0))


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Learning(ReadOnly, Exported, Shown):
    r"""Verdict on whether a network will learn, from the coherence ``c`` of gradients at initialisation.

    ``c`` is the mean cosine between the gradients of two inputs by the weights of a layer, of one random readout common to all
    inputs, and ``L`` the number of layers on the longest way through the network. In plain networks of one design
    ``L × mean(c)`` is the same whatever the depth, as only the last layers have gradients in common.

    **Accuracy** on 48 networks of other designs (plain, BatchNorm, shortcuts; three seeds each), trained by Adam in 500 steps
    on Fashion-MNIST after the limits were fixed on other ones: none of 78 said to learn stayed within 5 points of chance, and
    none of 25 said to forget reached half of the best accuracy; 23 were unknown, 18 dead. That networks of fewer than ten
    layers are unknown was decided on these; on 48 further plain ones "forgets" was wrong for 2 of 16. A limit on depth alone is
    wrong for 12 of 78 and 41 of 66. Found, not derived. **Source**: measured here.

    Attributes
    ----------
    layers : tuple of str
        Names of the spiking modules.
    coherence : ndarray, shape (layers,)
        NaN where no gradient arrives; such layers count as 0.
    depth : int
        ``L``.
    structure : str
        ``plain``, ``batch normalisation`` (whose statistics are held fixed), ``shortcuts`` or ``centred weights``: which
        networks it was compared with.
    remedies : dict of str to float
        With what a plain network would learn more, best first, each with the number of layers that such networks may have:
        theory of chains of its neurons (``vf.trainability(…).reach``). One that learns is told of shortcuts unless it is
        shallow; convolutions are told of batch normalisation, as measured, with NaN for its layers.

    Examples
    --------
    >>> import torch, snntorch, varflow as vf
    >>> _ = torch.manual_seed(0)
    >>> model = torch.nn.Sequential(torch.nn.Linear(64, 64), snntorch.Leaky(0.5, init_hidden=True))
    >>> learning = vf.audit(model, 4 * torch.rand(8, 64), steps=4).learning
    >>> learning.verdict, learning.structure, learning.depth
    ('learns', 'plain', 1)
    """

    layers: tuple[str, ...]
    coherence: np.ndarray
    depth: int
    structure: str = "plain"
    remedies: dict[str, float] = field(default_factory=dict)

    _derived = ("mean_coherence", "reach", "shallow", "verdict")

    @property
    def mean_coherence(self) -> float:
        """Mean over layers."""
        return max(float(np.nan_to_num(self.coherence).mean()), 0.0)

    @property
    def reach(self) -> float:
        """Number of layers up to which such networks learned: ``√(250 L mean(c))`` for plain ones."""
        return reach(self.depth * self.mean_coherence, self.structure)

    @property
    def shallow(self) -> bool:
        """True up to a quarter of ``reach``: networks with more layers learned more with shortcuts or wider surrogates."""
        return self.depth <= SHALLOW * self.reach

    @property
    def verdict(self) -> str:
        """``"learns"`` up to ``reach`` layers; ``"forgets"`` from √2 reach and ten, not with shortcuts; or ``"unknown"``."""
        learned, failed = LIMITS[self.structure]
        if self.depth <= learned * self.mean_coherence:
            return "learns"
        return "forgets" if self.depth >= max(failed * self.mean_coherence, FEW) else "unknown"

    @property
    def words(self) -> str:
        """The verdict in a sentence, with its evidence."""
        known = f"such networks learn up to {self.reach:.0f} layers, it has {self.depth}"
        match self.verdict:
            case "learns":
                fate, what = f"it learns: {known}", "with which it may learn more: {}"
            case "forgets":
                fate = f"alive, but forgets its input after about {self.reach:.0f} layers, it has {self.depth}"
                what = "what helps: {}, or fewer layers"
            case _:
                fate, what = f"alive; whether it learns is not known: {known}", "what helps: {}, or fewer layers"
        sizes = {
            name: f" (up to {layers:.0f} layers)" if math.isfinite(layers) else "" for name, layers in self.remedies.items()
        }
        helps = ", ".join(name + size for name, size in sizes.items())
        evidence = f"gradients of two inputs have a mean cosine of {self.mean_coherence:.2g}"
        return f"{fate} ({evidence})" + (f"; {what.format(helps)}" if helps else "")

    def _table(self) -> Table:
        rows = [(name, measured(value, ".3f")) for name, value in zip(self.layers, self.coherence, strict=True)]
        return Table(f"Learning, {self.structure}", rows, ("neuron", "coherence"), (self.words,), "  ")
