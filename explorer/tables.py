"""Writes ``explorer/memory.json``: firing rates of a deep layer of neurons with leak and reset, over 20 steps.

Run from the repository: ``python explorer/tables.py``. Numbers already in the file are kept; all of them take about ten
minutes on one core.
"""

from __future__ import annotations

import json
from pathlib import Path

import varflow as vf
from varflow._files import replace_files

TABLE = Path(__file__).with_name("memory.json")
RESETS = ("none", "subtract", "delayed_subtract", "zero")
DECAYS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
GAINS = (2.2, 2.3, 2.4, 2.5, 2.6, 2.7, 2.8, 2.9, 3.0, 3.1, 3.2, 3.35, 3.5, 3.75, 4.0, 4.5, 5.0, 6.0)
DEPTH, STEPS = 50, 20

Rates = dict[str, dict[str, list[list[float]]]]


def rates(reset: str, decay: float, gain: float) -> tuple[list[float], float]:
    """Of every step in the last layer, and the largest standard error."""
    neuron = vf.Neuron(1.0, decay=decay, reset=reset)
    network = vf.Network(width=1000, depth=DEPTH, gain=gain, neuron=neuron, steps=STEPS)
    profile = vf.mean_field(network, points=2**12, scrambles=4)
    return [round(float(rate), 4) for rate in profile.firing_rate[-1]], float(profile.error["firing_rate"][-1].max())


def main() -> None:
    known: Rates = json.loads(TABLE.read_text(encoding="utf-8"))["rates"] if TABLE.exists() else {}
    for reset, decay in ((reset, decay) for reset in RESETS for decay in DECAYS):
        of_reset = known.setdefault(reset, {})
        if f"{decay:g}" in of_reset:
            continue
        found = [rates(reset, decay, gain) for gain in GAINS]
        of_reset[f"{decay:g}"] = [steps for steps, _ in found]
        print(f"{reset} {decay:g}: largest standard error {max(error for _, error in found):.2g}", flush=True)
        table = {"depth": DEPTH, "steps": STEPS, "decays": DECAYS, "gains": GAINS, "rates": known}
        replace_files({TABLE: json.dumps(table, separators=(",", ":")) + "\n"})


if __name__ == "__main__":
    main()
