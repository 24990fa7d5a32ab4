"""Long calls say how far they are: rising counts that end at the total, and the same bits as without."""

import sys
from itertools import pairwise

import numpy as np
import pytest

import varflow as vf

RESETTING = vf.Neuron(1.0, decay=0.5, reset="zero")
DRAWN = {"neuron": RESETTING, "steps": 2, "depth": 3, "alive": "a late step", "networks": 100}
FEW = {"points": 2**6, "scrambles": 2}


def network(**options):
    return vf.Network(**{"width": 10, "depth": 5, "gain": 2.6, "neuron": RESETTING} | options)


def audited(through, **options):
    """Of a model called step by step."""
    torch, snntorch = pytest.importorskip("torch"), pytest.importorskip("snntorch")
    torch.manual_seed(0)
    body = [m for _ in range(2) for m in (torch.nn.Linear(8, 8), *through(torch), snntorch.Leaky(0.5, init_hidden=True))]
    return vf.audit(torch.nn.Sequential(*body), torch.rand(3, 8), lambda out: out.sum(), steps=6, **options)


def initialised(**options):
    """Of a model that is measured and scaled."""
    torch, snntorch = pytest.importorskip("torch"), pytest.importorskip("snntorch")
    torch.manual_seed(0)
    body = [
        m for _ in range(2) for m in (torch.nn.Linear(8, 50), torch.nn.LayerNorm(50), snntorch.Leaky(0.5, init_hidden=True))
    ]
    body[3] = torch.nn.Linear(50, 50)
    generator = torch.Generator().manual_seed(1)
    return vf.init.init_model(torch.nn.Sequential(*body), torch.rand(3, 8), steps=6, rate=0.2, generator=generator, **options)


def in_blocks(**options):
    """Six inputs, two at a time."""
    steps = 8
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("varflow.theory.walks.signals.AT_ONCE", 2 * steps**2)
        drive = vf.drives.inputs(np.ones((6, 1)))
        return vf.mean_field(network(steps=steps, neuron=vf.Neuron(decay=0.5), depth=2, drive=drive), **FEW, **options)


CALLS = {
    "memoryless": lambda **options: vf.mean_field(network(neuron=vf.Neuron(1.0)), **options),
    "steps": lambda **options: vf.mean_field(network(steps=4), **FEW, **options),
    "a batch in blocks": in_blocks,
    "gain for a rate": lambda **options: vf.gain_for_rate(RESETTING, rate=0.2, steps=4, depth=8, **FEW, **options),
    "near the smallest rate": lambda **options: vf.gain_for_rate(vf.Neuron(decay=0.5), rate=0.25, steps=8, depth=20, **options),
    "gain for a variance": lambda **options: vf.gain_for_variance(
        vf.Neuron(1.0, decay=0.5), variance=6.0, steps=4, depth=8, **options
    ),
    "lookup": lambda **options: vf.lookup(neuron=vf.Neuron(1.0, decay=0.5), rate=0.4, steps=4, depth=8, fan_in=10, **options),
    "corrected gain": lambda **options: vf.corrected_gain(**DRAWN, width=20, **options),
    "largest threshold": lambda **options: vf.largest_threshold(**DRAWN, width=20, gain=2.6, **options),
    "smallest width": lambda **options: vf.smallest_width(**DRAWN, gain=2.9, **options),
    "surrogate width": lambda **options: vf.gradient_flow(
        network(), vf.surrogate_width(network(steps=2), **FEW, **options), **FEW
    ),
    "critical gain": lambda **options: vf.temporal_critical_gain(RESETTING, steps=4, depth=10, **FEW, **options),
    "audit": lambda **options: audited(lambda torch: [], **options),
    "initialisation": lambda **options: initialised(**options),
    "audit of a normalised model": lambda **options: audited(lambda torch: [torch.nn.LayerNorm(8)], **options),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_counts_rise_to_the_total_and_change_nothing(call):
    seen = []
    reported = call(progress=lambda *now: seen.append(now))
    done, totals = zip(*seen, strict=True)
    assert all(a <= b for a, b in pairwise(done))
    assert len(set(totals)) == 1
    assert done[0] > 0
    assert done[-1] == totals[0]
    assert len(set(done)) > 3  # on the way too, not at the end alone
    assert str(reported.to_dict()) == str(call().to_dict())


COMMANDS = {
    "predict": "predict --threshold 1 --gain 2.5 --steps 4 --decay 0.5 --depth 4",
    "lookup": "lookup --threshold 1 --decay 0.5 --steps 4 --rate 0.4 --fan-in 10 --depth 8",
}


@pytest.mark.parametrize("line", COMMANDS.values(), ids=COMMANDS)
def test_a_terminal_gets_a_bar_and_nobody_else(varflow, monkeypatch, line):
    assert varflow(line)[2] == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    code, out, err = varflow(line)
    assert code in (0, None)
    assert "100%" in err
    assert "%" not in out
    assert varflow(f"{line} --json")[2] == ""
