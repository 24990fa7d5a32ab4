"""Writes ``docs/accuracy.md``: the worst error of the double-precision theory against mpmath, and where it occurs.

Run from the repository: ``python docs/accuracy.py`` (a minute).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import varflow as vf
from varflow._files import replace_files

DISTRIBUTIONS = ("normal", "uniform", "laplace", "logistic", vf.distributions.student_t(5))
BAR = 1e-13
BARRED = ("stable_variance", "stable_variance, bias", "fixed_points", "fixed_points, bias")
DRAWS = 300
DIGITS = 30
SMALLEST = 1e-290

PAGE = r"""# Accuracy of double precision

`python docs/accuracy.py` compares the theory in double precision with `vf.reference`, at {draws} random settings for each
distribution and each row (seed 0). The table shows the worst of them.

- **Settings.** θ is log-uniform in [1e-8, 30], and $\gamma = g^2/\theta^2$ lies between $\gamma_c$ of the distribution and
  1e12. Half of the values of γ are log-uniform; the other half are close to $\gamma_c$, with $\gamma/\gamma_c - 1$
  log-uniform in [1e-12, 1]. Rows with "bias" have $\sigma_b/\theta$ log-uniform in [1e-3, 3]. The reference takes the exact
  binary value of every float.
- **Error.** This is the relative error divided by $\max(1, 1/|1 - m|)$, where $m$ is the multiplier: near the saddle-node
  the rounding of $g$ is amplified by that factor. Quantities without a fixed point are not divided. Where the exact number
  is below 1e-290, ours must be too.
- **`fixed_points`** covers all active fixed points, unstable ones too, and their number. A multiplier far below 1 belongs
  to a far tail, where the rounding error of $z$ is amplified by $z^2$.
- **`variance_map`** is taken at $z = \theta/\sqrt V$ uniform in [0.01, 8]; **`gain`** at variance 1, with θ below √3 for
  the uniform distribution. "gain, mean" has a `mean_gain` uniform in [-3, 3], and a tenth of these θ. **`sf`** and
  **`pdf`** have $|z|$ log-uniform in [1e-8, 30], and both signs.

The bound for `stable_variance` and `fixed_points` is {bar:.0e}: {verdict}.

{table}
"""


class Case(NamedTuple):
    """One comparison: its relative error, the allowed amplification, and the setting."""

    error: float
    allowance: float
    place: str


def size(told: float, truth: Any) -> float:
    """Relative error; below ``SMALLEST``, near the end of double precision, only the size is compared."""
    if abs(truth) < SMALLEST:
        return 0.0 if abs(told) <= SMALLEST else np.inf
    return float(abs(told / truth - 1))


def settings(distribution: Any, rng: np.random.Generator, draws: int, *, bias: bool) -> Iterator[dict[str, Any]]:
    critical = float(vf.critical_gain(threshold=1.0, distribution=distribution)) ** 2
    for _ in range(draws):
        theta = float(10 ** rng.uniform(-8, np.log10(30)))
        ratio = 10 ** rng.uniform(0, 12 - np.log10(critical)) if rng.random() < 0.5 else 1 + 10 ** rng.uniform(-12, 0)
        sigma_b = theta * float(10 ** rng.uniform(-3, 0.5)) if bias else 0.0
        yield {
            "threshold": theta,
            "gain": theta * float(np.sqrt(critical * ratio)),
            "distribution": distribution,
            "bias_std": sigma_b,
        }


def place(**numbers: float) -> str:
    return ", ".join(f"{name} = {value:.6g}" for name, value in numbers.items() if value)


def at_fixed_points(
    distribution: Any, rng: np.random.Generator, draws: int, *, bias: bool, theory: Any = vf
) -> dict[str, list[Case]]:
    """``stable_variance``, ``fixed_points`` and their multipliers."""
    names = ["stable_variance", "fixed_points", "multiplier"]
    found: dict[str, list[Case]] = {name + ", bias" * bias: [] for name in names}
    stable, points, multipliers = found.values()
    for setting in settings(distribution, rng, draws, bias=bias):
        truth = [p for p in vf.reference.fixed_points(**setting, digits=DIGITS) if p.variance > 0]
        told = [p for p in theory.fixed_points(**setting) if p.variance > 0]
        gamma = (setting["gain"] / setting["threshold"]) ** 2
        where = place(θ=setting["threshold"], γ=gamma, σ_b=setting["bias_std"])
        if len(truth) != len(told):
            points.append(Case(np.inf, 1.0, f"{where}: {len(told)} for {len(truth)}"))
            continue
        for right, ours in zip(truth, told, strict=True):
            allowance = max(1.0, float(1 / abs(1 - right.multiplier)))
            points.append(Case(size(ours.variance, right.variance), allowance, where))
            multipliers.append(Case(size(ours.multiplier, right.multiplier), allowance, where))
        best = max((p for p in truth if p.stable), key=lambda p: p.variance, default=None)
        if best is not None:
            allowance = max(1.0, float(1 / abs(1 - best.multiplier)))
            stable.append(Case(size(theory.stable_variance(**setting), best.variance), allowance, where))
    return found


def at_plain_values(distribution: Any, rng: np.random.Generator, draws: int) -> dict[str, list[Case]]:
    """Quantities without a fixed point."""
    found: dict[str, list[Case]] = {}

    def compare(name: str, function: Callable[..., Any], exact: Callable[..., Any], where: str, **arguments: Any) -> None:
        found.setdefault(name, []).append(Case(size(function(**arguments), exact(**arguments, digits=DIGITS)), 1.0, where))

    highest = np.log10(3**0.5 if distribution == "uniform" else 30)
    for setting in settings(distribution, rng, draws, bias=False):
        theta, z = setting["threshold"], float(rng.uniform(0.01, 8))
        V = (theta / z) ** 2
        compare("variance_map", vf.variance_map, vf.reference.variance_map, place(θ=theta, z=z), variance=V, **setting)
        compare(
            "critical_gain",
            vf.critical_gain,
            vf.reference.critical_gain,
            place(θ=theta),
            threshold=theta,
            distribution=distribution,
        )
        theta, mean = float(10 ** rng.uniform(-8, highest)), float(rng.uniform(-3, 3))
        compare("gain", vf.gain, vf.reference.gain, place(θ=theta), threshold=theta, distribution=distribution)
        arguments = {"threshold": theta / 10, "mean_gain": mean, "distribution": distribution}
        compare("gain, mean", vf.gain, vf.reference.gain, place(θ=theta / 10, m_g=mean), **arguments)
        z = float(rng.choice([-1, 1]) * 10 ** rng.uniform(-8, np.log10(30)))
        for name, exact in (("sf", vf.reference.sf), ("pdf", vf.reference.pdf)):
            told = getattr(vf.distribution(distribution), name)(z)
            found.setdefault(name, []).append(Case(size(told, exact(distribution, z, digits=DIGITS)), 1.0, place(z=z)))
    return found


def worst(cases: list[Case]) -> Case:
    return max(cases, key=lambda case: case.error / case.allowance)


def measured(distribution: Any, draws: int) -> dict[str, list[Case]]:
    rng = np.random.default_rng(0)
    found = at_fixed_points(distribution, rng, draws, bias=False) | at_fixed_points(distribution, rng, draws, bias=True)
    return found | at_plain_values(distribution, rng, draws)


def page(draws: int = DRAWS) -> str:
    rows, misses = ["| distribution | quantity | error | $1/\\lvert 1 - m\\rvert$ there | where |", "|---|---|---|---|---|"], []
    for distribution in DISTRIBUTIONS:
        for name, cases in measured(distribution, draws).items():
            case = worst(cases)
            error = case.error / case.allowance
            rows.append(
                f"| {vf.distribution(distribution).name} | {name} | {error:.1e} | {case.allowance:.3g} | {case.place} |"
            )
            misses += [f"{vf.distribution(distribution).name} {name}"] if name in BARRED and error > BAR else []
    verdict = "missed by " + ", ".join(misses) if misses else "kept everywhere"
    return PAGE.format(draws=draws, bar=BAR, verdict=verdict, table="\n".join(rows))


if __name__ == "__main__":
    replace_files({Path(__file__).with_suffix(".md"): page()})
