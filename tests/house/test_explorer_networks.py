"""What one plays with in the explorer is right: networks spike by spike, dares, the reader's neuron, pinned settings."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from browsing import answered

import varflow as vf
from explorer import build

TOLERANCE = 1e-6  # relative, promised on the page


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """Of all questions, in one visit to the page."""
    questions = {"one_step": ONE_STEP, "in_time": IN_TIME, "yours": yours(), "dares": DARES, "pinned": PINNED}
    asked = ", ".join(f"{name}: {question}" for name, question in questions.items())
    return answered(build.page(), tmp_path_factory.mktemp("browser"), f"{{ {asked} }}")


SEEDS, RESETS = 300, ["subtract", "delayed_subtract", "zero"]
ONE = {"theta": 0.85, "width": 100, "depth": 100}
MANY = {"theta": 1.0, "gain": 3.0, "width": 100, "depth": 10, "decay": 0.7}
OF_SEEDS = f"Array.from({{ length: {SEEDS} }}, (_, i) => i + 1)"
ONE_STEP = (
    f"{OF_SEEDS}.map((seed) => [...varflow.oneStep({{ ...{json.dumps(ONE)}, gain: {vf.gain(threshold=0.85)}, seed }})]"
    ".map(({ rate }) => rate))"
)
IN_TIME = (
    f"{json.dumps(RESETS)}.map((reset) => {OF_SEEDS}.slice(0, 120).map((seed) =>"
    f" Array.from([...varflow.inTime({{ ...{json.dumps(MANY)}, reset, seed }})].at(-1).rates)))"
)


def test_networks_of_the_picture_are_of_the_exact_chain(answers):
    """Rejected: those of a gain that is larger by 3 %."""
    rates = np.array(answers["one_step"])[:, [1, 29, 99]]
    for factor, agrees in ((1.0, True), (1.03, False)):
        gain = factor * vf.gain(threshold=ONE["theta"])
        network = vf.Network(width=ONE["width"], depth=ONE["depth"], gain=gain, neuron=vf.Neuron(ONE["theta"]))
        exact = vf.finite_width(network)
        survival = exact.survival[[1, 29, 99]]
        z = (rates.mean(0) - exact.firing_rate[[1, 29, 99]]) / (exact.firing_rate_std[[1, 29, 99]] / np.sqrt(SEEDS))
        alive = ((rates > 0).mean(0) - survival) / np.sqrt(np.maximum(survival * (1 - survival), 1e-9) / SEEDS)
        assert (np.abs([*z, *alive[1:]]).max() < 4) == agrees


def test_networks_with_leak_and_reset_are_those_of_simulations(answers):
    """Rejected: the rates of another reset."""
    seen = [np.array(rates) for rates in answers["in_time"]]
    for i, reset in enumerate(RESETS):
        neuron = vf.Neuron(MANY["theta"], decay=MANY["decay"], reset=reset)
        network = vf.Network(width=MANY["width"], depth=MANY["depth"], gain=MANY["gain"], neuron=neuron, steps=20)
        simulated = vf.simulate(network, repeats=60, second_moments=False).firing_rate[:, -1]
        assert far_apart(seen[i], simulated) < 4.5
        assert far_apart(seen[i - 1], simulated) > 4.5


def far_apart(rates, others):
    """The largest difference of mean rates of steps, in standard errors."""
    errors = np.sqrt(rates.var(0, ddof=1) / len(rates) + others.var(0, ddof=1) / len(others))
    return np.max(np.abs(rates.mean(0) - others.mean(0)) / errors)


SUBTRACTING = vf.neurons.spikingjelly_lif(5.0, decay_input=False, v_reset=None)
YOURS = {
    "snntorch.Leaky(beta=0.9)": vf.neurons.snntorch_leaky(0.9),
    "snn.Leaky(0.5, threshold=2.0)": vf.neurons.snntorch_leaky(0.5, threshold=2.0),
    "neuron.LIFNode()": vf.neurons.spikingjelly_lif(),
    "neuron.LIFNode(tau=5.0, v_reset=None, decay_input=False)": vf.neurons.spikingjelly_lif(
        5.0, decay_input=False, v_reset=None
    ),
    'vf.Neuron(1.0, decay=0.8, reset="zero")': vf.Neuron(1.0, decay=0.8, reset="zero"),
    "vf.Neuron(threshold=0.7)": vf.Neuron(0.7),
}
FAULTS = [
    "torch.nn.ReLU()",
    "snntorch.Leaky(beta=x)",
    "Leaky(beta=0.99)",
    "LIFNode(tau=2.0, v_reset=0.5)",
    "Leaky(beta=0.5",
    "",
]
SIZE = {"width": 300, "depth": 30, "steps": "8"}


def yours():
    gain = f"varflow.gainFor(neuron, text, {json.dumps(SIZE)})"
    ask = f"(text) => {{ const neuron = varflow.parsed(text); return [neuron, {gain}]; }}"
    return f"[{json.dumps(list(YOURS))}.map({ask}), {json.dumps(FAULTS)}.map(varflow.parsed)]"


def test_gains_of_the_readers_neuron_are_those_of_the_package(answers):
    found, faults = answers["yours"]
    assert all(list(fault) == ["fault"] for fault in faults)
    for (parsed, answer), neuron in zip(found, YOURS.values(), strict=True):
        assert (parsed["threshold"], parsed["reset"]) == (neuron.threshold, neuron.reset)
        assert (parsed["decay"], parsed["input_scale"]) == pytest.approx((neuron.decay, neuron.input_scale))
        size = {"width": SIZE["width"], "depth": SIZE["depth"]}
        if neuron.memoryless:
            corrected = vf.corrected_gain(threshold=neuron.threshold, **size)
            expected = pytest.approx(max(corrected, vf.gain(threshold=neuron.threshold)), rel=TOLERANCE)
        elif "every late step" in answer["words"] or "a late step" in answer["words"]:
            alive = re.search("every late step|a late step", answer["words"])[0]
            unit = vf.lookup(neuron=replace(neuron, threshold=1.0), steps=8, fan_in=300, alive=alive, **size)
            expected = pytest.approx(neuron.threshold * unit.gain, rel=TOLERANCE)
        else:  # interpolated in the table of rates
            rate = float(re.search(r"rate=([\d.]+)", answer["code"])[1])
            made = vf.gain_for_rate(neuron, rate=rate, steps=20, depth=50, points=2**10)
            expected = pytest.approx(made.gain, rel=0.02)
            assert made.gain != pytest.approx(1.05 * answer["gain"], rel=0.02)
        assert answer["gain"] == expected


DARES = "varflow.dares.map(({ answer }) => answer())"


def test_answers_of_dares(answers):
    kaiming, narrow, unstable = answers["dares"]
    survival = vf.finite_width(vf.Network(width=600, depth=4, gain=2**0.5, neuron=vf.Neuron(1.0))).survival
    last = int(np.sum(survival >= 0.5))
    assert kaiming.startswith(f"Layer {last}, in most networks: layer {last + 1} is alive in {100 * survival[last]:.2g}")
    gain = vf.corrected_gain(threshold=1.0, width=50, depth=100)
    assert f"= {gain:.4g} on." in narrow
    assert 0.989 < vf.finite_width(vf.Network(width=50, depth=100, gain=gain, neuron=vf.Neuron(1.0))).survival[-1] < 0.991
    (threshold,) = re.findall(r"= (1\.19\d+)", unstable)
    stable = [
        vf.fixed_points(threshold=t, gain=vf.gain(threshold=t)) for t in (float(threshold) - 1e-3, float(threshold) + 1e-3)
    ]
    assert [next(point.stable for point in points if abs(point.variance - 1) < 1e-9) for points in stable] == [True, False]


PINNED = """[["#theta=0.8", null], ["#width=40&gain=3", "#theta=0.8"], ["#neuron=memory", "#"]].map(([hash, pinned]) => {
  const state = { ...varflow.fromHash(hash), pinned: pinned && varflow.fromHash(pinned) };
  return [state, varflow.fromHash("#" + varflow.toHash(state))];
})"""


def test_the_address_carries_a_pinned_setting(answers):
    for state, again in answers["pinned"]:
        assert again == state


def test_terms_are_explained_and_used():
    html, scripts = (build.HERE / "page.html").read_text("utf-8"), (build.HERE / "js" / "terms.js").read_text("utf-8")
    explained = set(re.findall(r'^  (\w+): "', scripts, flags=re.M))
    assert len(explained) > 20
    assert explained == set(re.findall(r'data-term="(\w+)"', html))


def test_links_are_for_the_site():
    assert "href=" not in build.page().partition("<script")[0].replace('href="data:,"', "")
    links = set(re.findall(r'<a href="([^"]*)\.html"', build.page(site=True)))
    assert len(links) > 10
    root = Path(build.__file__).parents[1]
    assert all((root / f"{link}.md").exists() or (root / f"{link}.py").exists() for link in links)
