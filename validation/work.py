"""Where the parts of an examination are computed: in this process, in several or on a cluster, and kept if asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import varflow as vf
from varflow.campaign import Block, Run

__all__ = ["HERE", "Progress", "Work", "unreported"]

Progress = Callable[[str, int, int], object]  # (what is being done, done, total)


def unreported(what: str, done: int, total: int) -> None:
    """Progress that nobody sees."""


@dataclass(frozen=True, slots=True)
class Work:
    """What a claim computes with: an open campaign, a device for simulations, and who is told of progress.

    Results are the same bits in any campaign.
    """

    run: Run | None = None  # None: this process, and nothing is kept
    device: str = "cpu"
    progress: Progress = unreported

    def simulate(
        self,
        networks: Sequence[vf.Network],
        *,
        repeats: int,
        seed: int,
        engine: str = "dense",
        what: str = "simulating",
    ) -> tuple[vf.Ensemble, ...]:
        """:func:`varflow.simulate`, in blocks of networks."""
        return vf.simulate(
            tuple(networks),
            repeats=repeats,
            seed=seed,
            engine=engine,
            device=self.device,
            progress=partial(self.progress, what),
            campaign=self.run,
        )

    def results(self, function: Callable[..., Any], arguments: Sequence[Mapping[str, Any]], *, what: str) -> list[Any]:
        """The results of a module's function for all arguments, a block each; they are JSON or dicts of arrays."""
        blocks = [Block(function, each, sources=(each["claim"],) if "claim" in each else ()) for each in arguments]
        run = vf.Campaign() if self.run is None else self.run
        with run.opened() as opened:
            return opened.results(blocks, progress=partial(self.progress, what))


HERE = Work()
