"""Numbers in the text of the pages are those of the package: each is computed, and stands on its page as it rounds.

Comments of code are compared in ``test_docs.py``, tables that scripts write where they are written.
"""

import csv
import math
from pathlib import Path

import numpy as np
import pytest

import varflow as vf

ROOT = Path(__file__).parent.parent


def plain(width=100, depth=100, gain=None, weights="normal", first=1.0, theta=1.0):
    """Fraction of networks alive at the last layer; layer 1 driven with Var[u] = 1 has the threshold ``first``."""
    gain = vf.gain(threshold=1.0) if gain is None else gain
    neuron = vf.Neuron(theta)
    drive = vf.drives.currents(theta / first)
    network = vf.Network(width=width, depth=depth, gain=gain, neuron=neuron, weights=weights, drive=drive)
    return vf.finite_width(network).survival[-1]


def of_the_lattice():
    """Signs have the effective threshold 3.5 σ_w; here normal weights have it, in every layer."""
    effective = 3.5 * vf.gain(threshold=1.0) / 100**0.5
    return plain(theta=effective, first=effective)


def grown(blocks=100):
    """Variance after blocks with shortcuts of currents, keep = 1."""
    variance, normal = 1.0, vf.distribution("normal")
    for _ in range(blocks):
        variance += vf.gain(threshold=1.0) ** 2 * normal.sf(variance**-0.5)
    return variance


def approximately_grown(blocks=100):
    g = vf.gain(threshold=1.0)
    return 1 + g * g * blocks / 2 - 2 * g * math.sqrt(blocks / math.pi)


def scaled_branches(blocks=100):
    """V with g² = 2/L, and its rate."""
    variance, normal = 1.0, vf.distribution("normal")
    for _ in range(blocks):
        variance += 2 / blocks * normal.sf(variance**-0.5)
    return variance, normal.sf(variance**-0.5)


def critical_in_time(decay):
    with (ROOT / "docs/critical-gain.csv").open(encoding="utf-8") as file:
        rows = csv.DictReader(file)
        return next(float(row["gain"]) for row in rows if (row["reset"], row["decay"]) == ("delayed_subtract", decay)) ** 2


def growth_at_the_recommended_width():
    psi = vf.surrogates.spikingjelly_sigmoid(3.39)
    return vf.lookup(neuron="spikingjelly_lif", rate=0.2, fan_in=512, steps=4, surrogate=psi).gradient_growth


def critical_squared():
    return vf.critical_gain(threshold=1.0) ** 2


NUMBERS = [
    ("docs/practitioner.md", "grow by 1.00", "1.00", growth_at_the_recommended_width),
    ("docs/practitioner.md", "critical gain, 2.457 θ", "2.457", lambda: vf.critical_gain(threshold=1.0)),
    ("docs/practitioner.md", "weights have g = 0.58", "0.58", lambda: 3**-0.5),
    ("docs/practitioner.md", "Kaiming's 1.41", "1.41", lambda: 2**0.5),
    ("docs/blocks.md", "g² = 6.034", "6.034", critical_squared),
    ("docs/blocks.md", "1.1465 = 0.19 · 6.034", "1.1465", lambda: 0.19 * critical_squared()),
    ("docs/blocks.md", "0.19 · 6.303", "6.303", lambda: vf.gain(threshold=1.0) ** 2),
    ("docs/blocks.md", "(dotted) 65 % of", "65", lambda: 100 * (1 - plain(width=300, depth=101))),
    ("docs/blocks.md", "g²/2 per block: 284 after", "284", grown),
    ("docs/blocks.md", "`V₀ + g² l/2 - 2gθ√(l/π)` = 288", "288", approximately_grown),
    ("docs/blocks.md", "end at V = 1.354", "1.354", lambda: scaled_branches()[0]),
    ("docs/blocks.md", "a rate of 0.195", "0.195", lambda: scaled_branches()[1]),
    ("docs/blocks.md", "with a rate of 0.198", "0.198", lambda: rate_of_the_fixed_point(7.0)),
    ("docs/weight_distributions.md", "| 7.9e-5 | 0.9921 |", "0.9921", of_the_lattice),
    ("docs/weight_distributions.md", "| 4.2e-2 | 0.0171 |", "0.0171", plain),
    ("docs/weight_distributions.md", "| 1.5e-3 | 0.8544 |", "0.8544", lambda: plain(weights="sign")),
    ("docs/width.md", "instead of 1.7 %", "1.7", lambda: 100 * plain()),
    ("docs/width.md", "but 85 % of those", "85", lambda: 100 * plain(weights="sign")),
    ("docs/time.md", "critical 6.67 of this neuron", "6.67", lambda: critical_in_time("0.5")),
]


def rate_of_the_fixed_point(gain2):
    return vf.fixed_points(threshold=1.0, gain=gain2**0.5)[-1].firing_rate


def rounds_to(value, said):
    return abs(value - float(said)) <= 0.5001 * 10.0 ** -len(said.partition(".")[2])


@pytest.mark.parametrize("number", range(len(NUMBERS)))
def test_it_is_what_is_computed(number):
    page, text, said, computed = NUMBERS[number]
    assert text in (ROOT / page).read_text(encoding="utf-8")
    assert said in text
    value = float(np.asarray(computed()))
    assert rounds_to(value, said), value
    assert not rounds_to(1.05 * value, said)  # negative control


def test_the_readme_repeats_what_its_pages_say():
    readme, models, training = (
        (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/models.md", "docs/training.md")
    )
    assert "0.92 after five epochs, Kaiming's weights 0.62, torch's default 0.09" in readme
    rows = [line.split("|") for line in models.splitlines() if line.startswith("| plain, β = 0.5")]
    last = {row[2].strip(" `"): row[-2].partition("±")[0].strip() for row in rows}
    assert last == {"init_model": "0.92", "Kaiming": "0.62", "torch's default": "0.09"}
    assert "Spearman 0.73" in readme
    assert "0.73" in training
