"""Gains for rates in time: 46 questions, each with its verdict, its answer and CPU seconds.

``PYTHONPATH=<checkout> python benchmarks/gain_questions.py [numbers]`` prints one JSON row for each, so that two versions can
be compared question by question; run them in turns, since other load changes times by a third.
"""

from __future__ import annotations

import json
import sys
import time

import varflow as vf

NEURONS = {
    "snntorch .5": vf.neurons.snntorch_leaky(0.5),
    "snntorch .9": vf.neurons.snntorch_leaky(0.9),
    "synaptic": vf.neurons.snntorch_synaptic(0.8, 0.9, 1.0, "zero"),
    "spikingjelly": vf.neurons.spikingjelly_lif(),
    "spikingjelly, input": vf.neurons.spikingjelly_lif(decay_input=False),
    "norse box": vf.neurons.norse_lif_box(),
    "norse": vf.neurons.norse_lif(),
    "stork": vf.neurons.stork_lif(),
    "sinabs": vf.neurons.sinabs_lif(20.0),
    "none .5": vf.Neuron(1.0, decay=0.5),
    "none .9": vf.Neuron(1.0, decay=0.9),
    "zero .9": vf.Neuron(1.0, decay=0.9, reset="zero"),
    "gate": vf.Neuron(1.0, decay=0.5, reset="gate"),
    "counts": vf.Neuron(1.0, decay=0.5, reset="multi_spike"),
}
QUESTIONS = (  # neuron, rate, steps, depth
    *(("snntorch .5", *each) for each in ((0.2, 12, 30), (0.3, 20, 60), (0.16, 20, 30), (0.2, 8, 8), (0.3, 100, 100))),
    *(("snntorch .5", *each) for each in ((0.2, 100, 100), (0.05, 12, 30))),
    *(("snntorch .9", *each) for each in ((0.3, 12, 50), (0.2, 20, 20), (0.25, 32, 100), (0.3, 12, 100), (0.3, 100, 100))),
    *(("synaptic", *each) for each in ((0.2, 12, 100), (0.16, 32, 32), (0.3, 10, 20))),
    *(("spikingjelly", *each) for each in ((0.3, 12, 10), (0.45, 12, 30), (0.2, 100, 100), (0.128, 32, 100))),
    *(("spikingjelly", *each) for each in ((0.25, 12, 30), (0.05, 8, 30))),
    *(("spikingjelly, input", *each) for each in ((0.2, 12, 30), (0.3, 32, 64), (0.2, 4, 4))),
    *(("norse box", *each) for each in ((0.2, 12, 30), (0.3, 20, 20), (0.2, 50, 50))),
    *(("norse", *each) for each in ((0.42, 8, 8), (0.43, 20, 20), (0.2, 20, 60))),
    *(("stork", *each) for each in ((0.22, 8, 8), (0.2, 20, 30), (0.1, 20, 30), (0.4, 12, 30))),
    *(("sinabs", *each) for each in ((0.5, 4, 6), (0.3, 8, 8))),
    *(("none .5", *each) for each in ((0.4, 20, 100), (0.188, 2, 30), (0.05, 6, 12))),
    *(("none .9", *each) for each in ((0.45, 20, 50), (0.299, 20, 4), (0.35, 20, 50))),
    ("zero .9", 0.1, 20, 10),
    *(("gate", *each) for each in ((0.12, 8, 20), (0.3, 4, 20))),
    ("counts", 2.0, 3, 6),
)


def answered(name: str, rate: float, steps: int, depth: int, seed: int = 0) -> dict[str, object]:
    """What ``gain_for_rate`` says, and its CPU seconds."""
    start = time.process_time()
    try:
        found = vf.gain_for_rate(NEURONS[name], rate=rate, steps=steps, depth=depth, seed=seed)
        said = {"gain": found.gain, "error": found.error["gain"], "drive": found.input_gain, "rate": found.firing_rate}
        said["warnings"] = len(found.warnings)
    except vf.DomainError as refusal:
        said = {"refused": refusal.rule}
    return {"question": [name, rate, steps, depth], **said, "seconds": time.process_time() - start}


if __name__ == "__main__":
    vf.gain_for_rate(NEURONS["none .5"], rate=0.4, steps=3, depth=3)  # imports
    for number in map(int, sys.argv[1:]) if sys.argv[1:] else range(len(QUESTIONS)):
        print(json.dumps(answered(*QUESTIONS[number])), flush=True)
