"""Gains, widths and thresholds of neurons with memory at finite width."""

import importlib
import itertools
import math
import time
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest

import varflow as vf
from varflow.init.inverse_in_time import aimed
from varflow.init.kept_alive import tabulated_gain
from varflow.theory.finite_width.in_time.survival import survivors

ROOT = Path(__file__).parents[2]
LEAKY = vf.neurons.snntorch_leaky(0.9)
JELLY = vf.neurons.spikingjelly_lif()
BIAS = 0.003  # relative, of a fit by a parabola in logits


@pytest.mark.parametrize(
    ("neuron", "alive", "simulated", "error"),
    [
        (vf.neurons.snntorch_leaky(0.5), "a late step", 2.712, 0.006),
        (LEAKY, "every late step", 2.289, 0.005),
        (JELLY, "a late step", 5.589, 0.018),
    ],
)
def test_corrected_gains_are_those_of_independent_simulations(neuron, alive, simulated, error):
    """Width 64, layer 20, 8 steps. Rejected: the gain of one step, 2.9909 θ/λ."""
    found = vf.corrected_gain(neuron=neuron, steps=8, width=64, depth=20, alive=alive, networks=1000, seed=3)
    uncertainty = 4 * math.hypot(found.error, error) + BIAS * simulated
    assert abs(found.value - simulated) < uncertainty
    assert abs(2.9909 / neuron.input_scale - simulated) > uncertainty
    assert found.error < 0.01 * found.value
    assert "networks drawn" in found.method


def test_width_and_threshold_answer_the_same_question():
    """At the corrected gain of a width. Rejected: a tenth more or less of either."""
    sizes = {"neuron": LEAKY, "steps": 4, "depth": 10, "alive": "every late step", "networks": 500}
    gain = vf.corrected_gain(width=64, **sizes)
    width, threshold = vf.smallest_width(gain=gain.value, **sizes), vf.largest_threshold(width=64, gain=gain.value, **sizes)
    slope = width.error / width.value / (gain.error / gain.value)  # d ln n/d ln g
    for found, expected, factor in ((width, 64, slope), (threshold, 1.0, 1.0)):
        error = math.hypot(found.error / expected, factor * gain.error / gain.value)
        assert abs(found.value / expected - 1) < 4 * error + factor * BIAS + 0.5 / expected * (found is width)
        assert found.value > 0.5 * expected
    assert isinstance(width.value, int)


def test_neurons_without_memory_are_those_of_one_step():
    assert vf.corrected_gain(neuron=vf.Neuron(0.8), width=50, depth=20) == vf.corrected_gain(threshold=0.8, width=50, depth=20)
    scaled = vf.Neuron(0.8, input_scale=2.0)
    assert vf.smallest_width(neuron=scaled, depth=20) == vf.smallest_width(threshold=0.4, depth=20)
    assert vf.corrected_gain(neuron=LEAKY, steps=1, width=50, depth=20) == vf.corrected_gain(threshold=1.0, width=50, depth=20)


def test_layer_one_is_blamed_where_it_dies():
    """Its steps fire too rarely for every late one to be alive; the stronger drive that is named helps."""
    sizes = {"neuron": JELLY, "steps": 8, "width": 64, "depth": 5, "alive": "every late step", "networks": 500}
    with pytest.raises(vf.DomainError, match=r"alive in layer 1, where no gain acts; multiply the drive .* by 1\.3") as refusal:
        vf.corrected_gain(**sizes)
    factor = float(str(refusal.value).split("by ")[1].split(" ")[0])
    for drive, enough in ((factor, True), (0.9 * factor, False)):
        network = vf.Network(width=64, depth=1, gain=1.0, neuron=JELLY, steps=8, drive=vf.drives.currents(drive))
        found = vf.survival(network, alive="every late step")
        assert (found.value[0] > 0.99 - 4 * found.error[0]) == enough


def test_later_layers_are_blamed_where_they_die():
    """Half of 6 neurons fire at most: layers die at any gain, the first one as rarely as any other."""
    sizes = {"steps": 2, "width": 6, "depth": 50, "networks": 100, "drive": vf.drives.currents(30.0)}
    with pytest.raises(vf.DomainError, match="the highest survival in layer 50 is"):
        vf.corrected_gain(neuron=vf.neurons.snntorch_leaky(0.5), alive="every step", **sizes)


SIZES = {"width": 20, "depth": 5}


def torch_weight():
    return pytest.importorskip("torch").empty(20, 20)


@pytest.mark.parametrize(
    ("call", "argument"),
    [
        (lambda: vf.corrected_gain(neuron=LEAKY, steps=4, **SIZES), "alive"),
        (lambda: vf.corrected_gain(neuron=LEAKY, alive="any step", **SIZES), "steps"),
        (lambda: vf.corrected_gain(threshold=1.0, steps=4, **SIZES), "steps"),
        (lambda: vf.corrected_gain(threshold=1.0, neuron=LEAKY, steps=4, alive="any step", **SIZES), "threshold"),
        (lambda: vf.smallest_width(alive="any step", depth=5), "alive"),
        (lambda: vf.largest_threshold(drive=vf.drives.white(), **SIZES), "drive"),
        (lambda: vf.corrected_gain(**SIZES), "threshold"),
        (lambda: vf.corrected_gain(neuron=LEAKY, steps=4, alive="late", **SIZES), "alive"),
        (lambda: vf.corrected_gain(neuron=LEAKY, steps=4, alive="any step", weights="sign", **SIZES), "network"),
        (lambda: vf.corrected_gain(neuron=LEAKY, steps=4, alive="any step", width=20, depth=1), "depth"),
        (lambda: vf.corrected_gain(neuron=LEAKY, steps=4, alive="any step", networks=10, **SIZES), "networks"),
        (lambda: vf.corrected_gain(neuron=vf.Neuron(), drive=vf.drives.white(), **SIZES), "drive"),
        (lambda: vf.smallest_width(neuron=LEAKY, steps=4, alive="any step", depth=5), "gain"),
        (
            lambda: vf.smallest_width(neuron=LEAKY, steps=4, alive="any step", depth=20, gain=1.0, networks=100),
            "survival_target",
        ),
        (lambda: vf.largest_threshold(neuron=LEAKY, steps=4, alive="any step", **SIZES), "gain"),
        (lambda: vf.largest_threshold(neuron=vf.Neuron(), gain=2.0, **SIZES), "neuron"),
        (lambda: vf.lookup(neuron=LEAKY, steps=4, fan_in=20, depth=5, alive="any step", rate=0.2), "rate"),
        (lambda: vf.lookup(neuron=LEAKY, steps=4, fan_in=20, depth=5, alive="late"), "alive"),
        (lambda: vf.lookup(threshold=1.0, fan_in=20, depth=5, alive="any step"), "alive"),
        (lambda: vf.init.corrected_normal_(torch_weight(), neuron=LEAKY, depth=5, steps=4), "alive"),
        (lambda: vf.init.corrected_normal_(torch_weight(), depth=5, alive="any step"), "alive"),
        (lambda: vf.temporal_critical_gain(LEAKY, steps=4, depth=5, alive="any step"), "alive"),
    ],
)
def test_what_is_refused(call, argument):
    with pytest.raises(vf.DomainError) as refusal:
        call()
    assert refusal.value.argument == argument


def test_a_delay_has_no_effect():
    """Steps count from the first arrival; with the steps of the network itself none would fire in layer 6 of 4 steps."""
    late = {"steps": 4, "alive": "every late step"}
    plain, delayed = (replace(LEAKY, delay=delay) for delay in (0, 1))
    gains = [vf.corrected_gain(neuron=each, width=20, depth=6, networks=100, **late).value for each in (plain, delayed)]
    assert gains[0] == gains[1]
    found = [vf.lookup(neuron=each, fan_in=128, depth=20, **late) for each in (plain, delayed)]
    assert (found[0].gain, found[0].firing_rate) == (found[1].gain, found[1].firing_rate)
    network = vf.Network(width=20, depth=6, gain=gains[0], neuron=delayed, steps=4)
    assert not vf.simulate(network, repeats=20).firing_rate[:, -1].any()


def test_weights_are_filled_with_it():
    """Of the table, and of networks drawn for another neuron, once for all layers alike; gains count the input scale."""
    torch = pytest.importorskip("torch")
    asked = {"steps": 8, "depth": 20, "alive": "every late step"}
    gain = tabulated_gain(LEAKY, "every late step", 0.99, steps=8, depth=20, width=128).value
    weight = vf.init.corrected_normal_(torch.empty(400, 128), neuron=LEAKY, **asked, generator=torch.Generator().manual_seed(0))
    assert float(weight.std()) * math.sqrt(128) == pytest.approx(gain, rel=4 / math.sqrt(2 * weight.numel()))
    assert abs(float(weight.std()) * math.sqrt(128) / vf.gain(threshold=1.0) - 1) > 0.05  # rejected: the paper's gain
    drawn = {"steps": 2, "depth": 4, "alive": "any step", "width": 20, "survival_target": 0.99}
    scaled = vf.neurons.spikingjelly_lif()
    found = vf.corrected_gain(neuron=scaled, drive=vf.drives.currents(2.0), **drawn).value
    start = time.process_time()
    for _ in range(20):
        weight = vf.init.corrected_normal_(torch.empty(300, 300), neuron=scaled, **drawn)
    assert float(weight.std()) * math.sqrt(300) == pytest.approx(found, rel=4 / math.sqrt(2 * weight.numel()))
    assert time.process_time() - start < 10  # drawn once: twenty times would take a minute
    memoryless = vf.Neuron(0.5, input_scale=2.0)
    weights = [
        vf.init.corrected_normal_(torch.empty(40, 40), given, depth=5, generator=torch.Generator().manual_seed(1), **more)
        for given, more in ((1.0, {"neuron": memoryless}), (0.5, {}))
    ]
    assert torch.equal(2 * weights[0], weights[1])


# The table.

SCRIPT = "finite_width_in_time"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    return importlib.import_module(SCRIPT)


def test_the_table_is_what_its_script_makes(script):
    """In every column, and at one cell within the errors. Rejected: a gain three hundredths larger."""
    (line,) = script.rows([LEAKY], [4], ["every late step"], [10], [64], networks=500)
    with files("varflow").joinpath("data/corrected_gains_in_time.csv").open(encoding="utf-8") as file:
        header, *lines = file.read().splitlines()
    assert header == script.HEADER
    cells = itertools.product(script.NEURONS, script.STEPS, script.ALIVE, script.DEPTHS, script.WIDTHS)
    assert len(lines) == len(list(cells))
    *names, gain, error = line.split(",")
    (tabulated,) = [each.split(",") for each in lines if each.startswith(",".join(names) + ",")]
    uncertainty = 4 * math.hypot(float(error), float(tabulated[-1]))
    assert abs(float(gain) - float(tabulated[-2])) < uncertainty < 0.03 * float(gain)


@pytest.mark.parametrize(
    ("neuron", "sizes"),
    [
        (LEAKY, {"steps": 6, "depth": 14, "width": 110}),
        (vf.neurons.snntorch_leaky(0.5), {"steps": 5, "depth": 30, "width": 90}),
    ],
)
def test_interpolated_gains_keep_as_many_alive(neuron, sizes):
    """Within two hundredths of the gain, by survival there. Rejected: gains four hundredths too small."""
    found = tabulated_gain(neuron, "every late step", 0.99, **sizes)
    in_time = (neuron, sizes["steps"], "every late step", None, 2000, 0, False)
    aim = aimed(None, sizes["width"], sizes["depth"], 0.99, "normal", *in_time)
    survival = lambda factor: survivors(aim._at(factor * found.value), aim.alive, 2000, 0)[-1] / 2000  # noqa: E731
    assert survival(0.98) < 0.99 < survival(1.02)
    assert survival(0.96) < 0.98


def test_infinite_width_is_the_end_of_the_table():
    far = tabulated_gain(LEAKY, "every late step", 0.99, steps=8, depth=20, width=10**8)
    assert far.value == pytest.approx(vf.temporal_critical_gain(LEAKY, steps=8, depth=20).late_gain, rel=1e-3)


@pytest.mark.parametrize(
    ("neuron", "sizes", "alive", "target"),
    [
        (vf.neurons.snntorch_leaky(0.7), {"steps": 8, "depth": 20, "width": 128}, "a late step", 0.99),
        (LEAKY, {"steps": 8, "depth": 100, "width": 128}, "a late step", 0.99),
        (LEAKY, {"steps": 8, "depth": 20, "width": 32}, "a late step", 0.99),
        (LEAKY, {"steps": 8, "depth": 20, "width": 128}, "every step", 0.99),
        (LEAKY, {"steps": 8, "depth": 20, "width": 128}, "a late step", 0.9),
        (JELLY, {"steps": 8, "depth": 20, "width": 128}, "every late step", 0.99),
    ],
    ids=["neuron", "depth", "width", "alive", "target", "none helps"],
)
def test_what_the_table_does_not_hold(neuron, sizes, alive, target):
    assert tabulated_gain(neuron, alive, target, **sizes) is None


def test_lookup_answers_at_once(varflow):
    sizes = {"fan_in": 128, "depth": 20, "alive": "every late step"}
    vf.lookup(neuron=LEAKY, steps=8, **sizes)
    start = time.process_time()
    init = vf.lookup(neuron=LEAKY, steps=8, **sizes)
    assert time.process_time() - start < 5  # drawing takes longer; the bar of half a second is measured in benchmarks
    assert init.gain == tabulated_gain(LEAKY, "every late step", 0.99, steps=8, depth=20, width=128).value
    assert init.weight_std == pytest.approx(init.gain / math.sqrt(128))
    assert 0.1 < init.firing_rate < 0.5
    assert "interpolated" in init.warnings[0]
    code, out, _ = varflow(
        "lookup --neuron snntorch_leaky --beta 0.9 --steps 8 --fan-in 128 --depth 20 --alive 'every late step'"
    )
    assert code == 0
    assert f"{init.gain:.6g}" in out


def test_lookup_draws_other_neurons():
    init = vf.lookup(neuron=vf.neurons.snntorch_leaky(0.7), steps=2, fan_in=20, depth=4, alive="any step")
    assert "networks drawn" in init.warnings[0]
    assert init.error["gain"] > 0


def test_the_page_shows_the_table_and_agrees_with_simulations():
    """Rejected: gains of another width or criterion."""
    page, lines = (ROOT / "docs/finite_width_in_time.md").read_text(encoding="utf-8"), 0
    neurons = {"snnTorch β = 0.5": vf.neurons.snntorch_leaky(0.5), "snnTorch β = 0.9": LEAKY, "SpikingJelly τ = 2": JELLY}
    for line in page.split("\n"):
        name, *cells = [cell.strip() for cell in line.strip("|").split("|")]
        neuron = neurons.get(name.split(", ")[0])
        if neuron is None or len(name.split(", ")) < 3:
            continue
        lines += 1
        _, alive, depth = name.split(", ")
        for width, shown, simulated in zip((64, 256, math.inf), cells[::2], cells[1::2], strict=True):
            found = tabulated_gain(neuron, alive, 0.99, steps=8, depth=int(depth), width=width)
            if found is None:
                assert shown == "none"
                continue
            assert shown == f"{found.value:.3f} ± {found.error:.3f}"
            value, error = simulated.replace(".1 %", "nan").split(" ± ")
            error = 1e-3 * float(value) if error == "nan" else float(error)
            assert abs(found.value - float(value)) < 4 * math.hypot(found.error, error)
            if width != math.inf:
                wrong = tabulated_gain(neuron, alive, 0.99, steps=8, depth=int(depth), width=2 * width)
                assert abs(wrong.value - float(value)) > 4 * math.hypot(wrong.error, error)
    assert lines == 12


def test_the_page_shows_rates_of_escape():
    """By causality four steps have the rates of the first four of eight."""
    network = vf.Network(width=100, depth=2, gain=7.302**0.5, neuron=vf.Neuron(decay=0.5, reset="zero"), steps=4)
    rates = vf.escape_by_step(network).log_rates
    assert f"| zero, β = 0.5 | {rates[0]:.2f} | {rates[1]:.2f} | {rates[3]:.2f} |" in (
        ROOT / "docs/finite_width_in_time.md"
    ).read_text(encoding="utf-8")


# At infinite width.


def test_one_late_step_needs_less_than_every_one():
    """SpikingJelly's steps 5 and 7 die, and steps 6 and 8, no longer reset, live: 4.884 against 5.85 at layer 50."""
    some, every = (
        vf.temporal_critical_gain(JELLY, steps=8, depth=20, alive=alive, points=2**9)
        for alive in ("a late step", "every late step")
    )
    assert some.alive == "a late step"
    assert some.gain == every.gain
    assert abs(some.late_gain - 4.733) < 4 * some.error["late_gain"] + 0.005
    assert every.late_gain - some.late_gain > 10 * every.error["late_gain"]


def test_widths_say_what_they_miss():
    """A gain; and one below the critical gain fails without drawing the widest networks often."""
    asked = {"neuron": LEAKY, "steps": 4, "depth": 20}
    with pytest.raises(vf.DomainError, match="'a late step' for a sum over steps"):
        vf.smallest_width(gain=2.0, **asked)
    with pytest.raises(vf.DomainError, match=r"is missing .* critical one .*temporal_critical_gain"):
        vf.smallest_width(alive="a late step", **asked)
    looks = []
    with pytest.raises(vf.DomainError, match="up to width 4000: give a gain further above"):
        vf.smallest_width(gain=1.5, alive="a late step", progress=lambda *counts: looks.append(counts), **asked)
    assert 0 < len(looks) < 10
