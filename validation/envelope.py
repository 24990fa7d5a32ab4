"""Envelope of a claim: whether its p-values are uniform when its theory is true, and its draws depend as simulations do.

    python -m validation.envelope [--claim NAME …] [--out validation-results] [--redraws 1000] [--seeds 100]

For each claim 1000 measurements are drawn from its own theory and judged: the distribution function of their p-values must lie
inside the band of uniform ones (``uniformity``). A hundred simulations at other seeds are judged too: they must not reject more
often, and their points must depend on each other as drawn ones do (``dependence``). Settings are the claim's ``cheap`` ones, by
default its quick budget. Writes ``envelope/NAME.json`` into the folder; exit code 1 if a claim is not sound.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

import varflow as vf
from validation.claim import Claim, Judgement
from validation.claims import discover
from validation.dependence import compared
from validation.stored import stored
from validation.uniformity import LEVELS, band
from validation.work import HERE
from varflow._files import replace_files

__all__ = ["ALONE", "Envelope", "enveloped", "read"]

ALONE = 1e-3  # false alarm of the test of dependence
DRAWN, SIMULATED = 10_000, 1000  # first seeds, apart from those of examined claims


@dataclass(frozen=True, slots=True)
class Envelope:
    """The content of an envelope's JSON file.

    Attributes
    ----------
    drawn, simulated : list of int
        Number of p-values at or below each of ``uniformity.LEVELS``, of ``redraws`` drawn measurements and of ``seeds``
        simulations.
    false_alarms : int
        Drawn measurements that the claim rejects at its own ``false_alarm``.
    dependence : dict, optional
        The fields of ``dependence.Dependence``; None where fewer than two points vary.
    conservative, dependent : str
        Said by the claim: why right theories give larger p-values than uniform ones, and what dependence draws leave out.
    """

    claim: str
    configuration: dict[str, Any]
    redraws: int
    seeds: int
    false_alarm: float
    false_alarms: int
    drawn: list[int]
    simulated: list[int]
    dependence: dict[str, Any] | None
    conservative: str
    dependent: str
    version: dict[str, str]
    seconds: float

    @property
    def problems(self) -> list[str]:
        """Sentences; none for a sound claim."""
        found = []
        drawn, simulated = place(self.drawn, self.redraws), place(self.simulated, self.seeds)
        if drawn > 0:
            found.append("right theories are rejected too often")
        if simulated > 0:
            found.append("right theories are rejected too often by simulations: draws miss something of them")
        if drawn < 0 and not self.conservative:
            found.append("right theories are rejected too seldom, for no reason that the claim states")
        if simulated < 0 and not (self.conservative or self.dependent):
            found.append("right theories are rejected too seldom by simulations, for no reason that the claim states")
        if self.depends and not self.dependent:
            found.append("points depend on each other in simulations as they do not in draws")
        return found

    @property
    def depends(self) -> bool:
        """Whether dependence differs between simulations and draws."""
        return self.dependence is not None and self.dependence["p_value"] <= ALONE

    @property
    def calibration(self) -> str:
        """The place of drawn p-values, in a word."""
        return ("conservative", "uniform", "rejects too often")[place(self.drawn, self.redraws) + 1]


def place(counts: Sequence[int], size: int) -> int:
    """1 if a distribution function leaves the band upwards anywhere, else -1 if downwards, else 0."""
    lower, upper = band(size)
    return 1 if np.any(counts > upper) else -1 if np.any(counts < lower) else 0


def enveloped(claim: Claim, *, redraws: int = 1000, seeds: int = 100) -> Envelope:
    """Draw and simulate a claim many times, with its cheap settings."""
    start = time.perf_counter()
    settings = claim.budgets["quick"] if claim.cheap is None else claim.cheap
    right = claim.theory(settings)

    def judged(measure: Callable[[int], Any], first: int, number: int) -> list[Judgement]:
        return [claim.judge(settings, right, measure(first + each)) for each in range(number)]

    drawn = judged(lambda seed: claim.draw(settings, right, seed), DRAWN, redraws)
    simulated = judged(lambda seed: claim.simulate(settings, seed, HERE), SIMULATED, seeds)
    seen, expected = (np.array([each.estimate for each in some]) for some in (simulated, drawn))
    dependence = compared(drawn[0].points, seen, expected)
    return Envelope(
        claim=claim.name,
        configuration=asdict(settings),
        redraws=redraws,
        seeds=seeds,
        false_alarm=settings.false_alarm,
        false_alarms=sum(each.p_value <= settings.false_alarm for each in drawn),
        drawn=_counts(drawn),
        simulated=_counts(simulated),
        dependence=None if dependence is None else asdict(dependence),
        conservative=claim.conservative,
        dependent=claim.dependent,
        version={"varflow": vf.__version__, "numpy": np.__version__},
        seconds=round(time.perf_counter() - start, 1),
    )


def _counts(judgements: Sequence[Judgement]) -> list[int]:
    p_values = np.sort([each.p_value for each in judgements])
    return np.searchsorted(p_values, LEVELS * (1 + 1e-12), side="right").tolist()


def read(folder: Path) -> dict[str, Envelope]:
    """The envelopes in ``folder/envelope``, by claim."""
    return {each.claim: each for each in stored(Envelope, sorted((folder / "envelope").glob("*.json")))}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m validation.envelope", description=(__doc__ or "").splitlines()[0])
    claims = discover()
    parser.add_argument("--claim", nargs="+", metavar="NAME", choices=claims, default=list(claims))
    parser.add_argument("--out", type=Path, default=Path("validation-results"), help="folder of the report")
    parser.add_argument("--redraws", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=100)
    options = parser.parse_args()
    (options.out / "envelope").mkdir(parents=True, exist_ok=True)
    sound = True
    for name in options.claim:
        try:
            found = enveloped(claims[name], redraws=options.redraws, seeds=options.seeds)
        except vf.MissingExtraError as missing:
            print(f"{name} is not examined: {missing}", file=sys.stderr)
            continue
        text = json.dumps(asdict(found), ensure_ascii=False, indent=None, allow_nan=False)
        replace_files({options.out / "envelope" / f"{name}.json": text + "\n"})
        print(f"{name:<22} {found.calibration:<17} {'; '.join(found.problems) or 'sound'} ({found.seconds:g} s)", flush=True)
        sound &= not found.problems
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(main())
