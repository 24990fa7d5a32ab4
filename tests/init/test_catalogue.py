"""The catalogue: its gains, what theory makes of them against the theory called by hand, its table, JSON, page and command."""

import importlib.util
import json
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import varflow as vf
from varflow.init.published import METHODS, Method, Setting, Weights

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def found():
    return vf.catalogue(threshold=1.0, fan_in=512, depth=100)


@pytest.fixture(scope="module")
def leaky():
    return vf.catalogue(threshold=1.0, decay=0.5, fan_in=64, depth=12, steps=6, width=256)


# g² by hand at θ = 1, β = 0, fan-in 512, p = 0.1.
SQUARED = {
    "kaiming": 2.0,
    "torch_default": 1 / 3,
    "xavier": 1.0,
    "lecun": 1.0,
    "orthogonal": 1.0,
    "micheli": 6.302974,
    "ding": 2.0,
    "bellec": 1.0,
    "spytorch": 49.0,
    "ikun": 4 / math.pi,
    "ikun_v2": 2 / math.pi,
    "fluctuation_driven": 10.0,
    "spikeinit": 6.088745,
}


def test_hand_values(found):
    assert {key: found[key].gain ** 2 for key in SQUARED} == pytest.approx(SQUARED, rel=1e-6)
    for entry in found.methods:
        assert entry.gain is None or entry.weight_std == pytest.approx(entry.gain / math.sqrt(512), rel=1e-12)
    assert found["torch_default"].bias_std == pytest.approx(1 / math.sqrt(3 * 512))
    assert found["ding"].bias == 0.5


def test_hand_values_of_a_neuron_with_leak_and_input_scale():
    """g² by hand at θ = 0.5, β = 0.5, λ = 0.5, delayed subtraction, p = 0.1, Q(0.5) = 0.308538, φ(0.5) = 0.352065."""
    setting = {"threshold": 0.5, "decay": 0.5, "input_scale": 0.5, "reset": "delayed_subtract"}
    here = vf.catalogue(**setting, fan_in=300, width=100, depth=2, steps=1)
    squared = {
        "kaiming": 2.0,
        "xavier": 1.5,
        "micheli": 3.241096,
        "micheli_soft_reset": 4.107129,
        "ding": 2.0,
        "spytorch": 12.25,
        "ikun_v2": 3 / math.pi,
        "fluctuation_driven": 7.5,
        "spikeinit": 6.648296,
    }
    assert {key: here[key].gain ** 2 for key in squared} == pytest.approx(squared, rel=2e-6)
    assert here["ding"].bias == 0.25
    assert "reset" in vf.catalogue(**setting | {"reset": "zero"}, fan_in=3, depth=1, steps=1)["micheli_soft_reset"].remark


@pytest.mark.parametrize("threshold", [1e-6, 30.0, 45.0, 1000.0])
def test_thresholds_far_out_are_answered_in_words(threshold):
    far = vf.catalogue(threshold=threshold, fan_in=20, depth=4)
    if threshold > 1:
        assert far["micheli"].gain is None
        assert re.search("is too large|is so high", far["micheli"].remark)
    assert far["kaiming"].gain == math.sqrt(2)


def test_every_method_is_there_once_with_what_it_needs_and_ignores(found):
    keys = [entry.key for entry in found.methods]
    assert len(set(keys)) == len(keys) >= 20
    for entry in found.methods:
        assert entry.ignores
        assert entry.needs in ("nothing", "firing rate", "width and depth", "data")
        assert entry.citation is None or vf.citation(entry.citation).startswith("@")
        assert (entry.gain is None) == (entry.weight_std is None)
        assert entry.gain is not None or entry.firing_rate is None


def test_what_becomes_of_activity_is_the_exact_chain(found):
    for key in ("micheli", "corrected", "kaiming", "fluctuation_driven"):
        entry = found[key]
        profile = vf.finite_width(vf.Network(width=512, depth=100, gain=entry.gain))
        assert entry.survival == pytest.approx(profile.survival[-1], rel=1e-12)
        assert entry.firing_rate == pytest.approx(profile.firing_rate[-1], rel=1e-12)
        assert entry.spikes == pytest.approx(profile.spikes[-1], rel=1e-12)
        assert entry.synaptic_operations == pytest.approx(512 * profile.spikes[-1], rel=1e-12)
        assert entry.survives == (profile.survival[-1] >= 0.99)
    assert found["corrected"].survival == pytest.approx(0.99, abs=1e-9)
    assert [found["micheli"].survives, found["corrected"].survives, found["kaiming"].survives] == [False, True, False]
    assert found.critical_gain == pytest.approx(math.sqrt(6.034397946968073))


def test_a_shared_bias_is_a_lower_threshold(found):
    profile = vf.finite_width(vf.Network(width=512, depth=100, gain=math.sqrt(2), neuron=vf.Neuron(0.5)))
    assert found["ding"].survival == pytest.approx(profile.survival[-1], rel=1e-12)
    assert found["ding"].survives
    assert found["kaiming"].firing_rate < 1e-9  # the same gain without it


def test_an_input_scale_counts_for_methods_that_know_of_it():
    plain, halved = vf.catalogue(fan_in=100, depth=5), vf.catalogue(fan_in=100, depth=5, input_scale=0.5)
    for key in ("fluctuation_driven", "spikeinit", "corrected", "ding"):
        assert halved[key].gain == pytest.approx(2 * plain[key].gain, rel=1e-9)
        assert halved[key].survival == pytest.approx(plain[key].survival, rel=1e-9)
    assert halved["micheli"].gain == plain["micheli"].gain
    assert halved["micheli"].survival < plain["micheli"].survival


def test_surviving_methods_are_sorted_by_cost(found):
    alive = found.surviving
    assert {entry.key for entry in alive} == {entry.key for entry in found.methods if entry.survives}
    assert [entry.spikes for entry in alive] == sorted(entry.spikes for entry in alive)
    assert alive[0].key == "corrected"
    with pytest.raises(KeyError):
        found["nobody"]


def test_in_time_it_is_the_mean_field(leaky):
    neuron = vf.Neuron(1.0, decay=0.5)
    for key in ("micheli", "torch_default"):
        entry = leaky[key]
        network = vf.Network(width=256, depth=12, gain=entry.gain, neuron=neuron, steps=6, bias_std=entry.bias_std)
        rate = vf.mean_field(network).firing_rate[-1].mean()
        assert entry.firing_rate == pytest.approx(rate, rel=1e-9)
        assert entry.spikes == pytest.approx(256 * rate, rel=1e-9)
        assert entry.survival is None
    assert leaky["micheli"].survives
    assert not leaky["torch_default"].survives
    assert "not predicted in time" in leaky["ding"].remark
    assert leaky["ding"].gain == pytest.approx(math.sqrt(2))
    assert "alive=None is missing: 'every late step'" in leaky["corrected"].remark
    assert leaky["spytorch"].gain == 3.5
    assert leaky.to_dict()["critical_gain"] is None


DEEP = 40


@pytest.mark.parametrize(
    ("neuron", "told"),
    [
        (vf.neurons.snntorch_leaky(0.5), {"micheli": "volleys", "micheli_soft_reset": "yes", "kaiming": "no"}),
        (vf.Neuron(1.0, decay=0.5), {"micheli": "yes", "micheli_finite_size": "late", "kaiming": "no"}),
    ],
)
def test_alive_in_time_is_what_the_critical_gain_calls_alive(neuron, told):
    found = vf.catalogue(neuron=neuron, fan_in=512, depth=DEEP, steps=4)
    critical = vf.temporal_critical_gain(neuron, steps=4, depth=DEEP, points=2**9, scrambles=2)
    assert {key: found[key].alive for key in told} == told
    for entry in found.methods:
        assert entry.survives == (None if entry.alive is None else entry.alive in ("yes", "late"))
        if entry.alive is None or entry.bias_std or abs(entry.gain / critical.gain - 1) < 0.01:
            continue
        assert (entry.alive == "yes") == (entry.gain > critical.gain)
        assert entry.survives == (entry.gain > critical.late_gain)
    lines = repr(found).splitlines()
    assert f"to layer {DEEP} over 4 steps at infinite width (spikes: of 512 neurons)" in lines[0]
    assert told["micheli"] in next(line for line in lines if line.startswith("Micheli  ")).split()


def test_survival_in_time_is_that_of_real_weights():
    """By the criterion that is named. Rejected: another one."""
    shape = {"neuron": vf.neurons.snntorch_leaky(0.5), "fan_in": 60, "depth": 10, "steps": 6}
    found, other = (vf.catalogue(**shape, alive=alive) for alive in ("every late step", "a late step"))
    network = found.profiles["micheli"].network
    late = (vf.simulate(network, repeats=300, seed=4).firing_rate[:, -1] > 0)[:, 3:]
    for catalogue, alive in ((found, late.all(axis=1)), (other, late.any(axis=1))):
        error = math.sqrt(alive.mean() * (1 - alive.mean()) * (1 / 300 + 1 / 1000))
        assert abs(catalogue["micheli"].survival - alive.mean()) < 4 * error
    assert other["micheli"].survival - found["micheli"].survival > 8 * error
    for catalogue in (found, other):
        assert catalogue["corrected"].alive == "yes"
        assert catalogue["corrected"].survival == pytest.approx(0.99, abs=0.015)
        assert {entry.alive for entry in catalogue.methods} == {"yes", "no", None}
    assert found["corrected"].gain > other["corrected"].gain > found["micheli"].gain
    assert found.to_dict()["alive"] == "every late step"
    assert "survival at it: every late step" in repr(found).splitlines()[0]


def test_a_neuron_of_a_simulator_is_its_threshold_leak_and_reset():
    cell = vf.neurons.snntorch_leaky(0.5, threshold=0.7)
    given = vf.catalogue(neuron=cell, fan_in=32, depth=4, steps=3)
    pieces = vf.catalogue(threshold=0.7, decay=0.5, reset="delayed_subtract", fan_in=32, depth=4, steps=3)
    assert given.to_dict() == pieces.to_dict()
    assert given.neuron == cell
    assert vf.catalogue(neuron=cell, threshold=0.7, decay=0.5, fan_in=32, depth=4, steps=3).to_dict() == given.to_dict()
    other = vf.catalogue(neuron=vf.neurons.snntorch_leaky(0.4, threshold=0.7), fan_in=32, depth=4, steps=3)
    assert other["micheli"].firing_rate != given["micheli"].firing_rate


def test_a_filter_counts_where_a_method_knows_of_it_and_a_delay_nowhere():
    """By hand at θ = 2, α = β = 1/2, p = 0.1: ε̂ = (1 + 1/4)/((1 - 1/4)³) = 80/27, g² = θ²/(p ε̂) = 13.5."""
    filtered = vf.Neuron(2.0, decay=0.5, synaptic_decay=0.5)
    found = vf.catalogue(neuron=filtered, fan_in=30, depth=4, steps=5)
    assert found["fluctuation_driven"].gain ** 2 == pytest.approx(13.5, rel=1e-12)
    late = vf.catalogue(neuron=replace(filtered, delay=2), fan_in=30, depth=4, steps=5)
    assert late.neuron.delay == 2
    assert [entry.firing_rate for entry in late.methods] == [entry.firing_rate for entry in found.methods]
    network = vf.Network(width=30, depth=4, gain=found["spikeinit"].gain, neuron=filtered, steps=5)
    assert found["spikeinit"].firing_rate == pytest.approx(vf.mean_field(network).firing_rate[-1].mean(), rel=1e-9)
    assert found["spikeinit"].firing_rate > 0.1


@pytest.mark.parametrize(
    ("options", "argument", "rule"),
    [
        ({"threshold": 0.5}, "threshold", "conflicts with the neuron's 1.0"),
        ({"decay": 0.0}, "decay", "conflicts with the neuron's 0.5"),
        ({"reset": "zero"}, "reset", "conflicts with the neuron's multi_spike"),
        ({"input_scale": 2.0}, "input_scale", "conflicts with the neuron's 1.0"),
        ({"decay": 1.5}, "decay", "between 0 and 1"),
        ({"steps": 1}, "steps", "give more steps"),
        ({"alive": "late"}, "alive", "every late step"),
        ({"neuron": 1.0}, "neuron", "one of vf.neurons"),
        ({"neuron": vf.Neuron(0.0)}, "neuron", "threshold that must be positive"),
    ],
)
def test_what_is_given_beside_a_neuron_must_agree(options, argument, rule):
    with pytest.raises(vf.DomainError, match=rule) as caught:
        vf.catalogue(**{"neuron": vf.Neuron(1.0, decay=0.5, reset="multi_spike")} | options)
    assert caught.value.argument == argument


def test_soft_reset_needs_subtraction():
    entry = next(method for method in METHODS if method.key == "micheli_soft_reset")
    setting = Setting(vf.Neuron(1.0, decay=0.5, reset="delayed_subtract"), 64, 64, 10, 0.1, 0.99)
    assert entry.weights(setting).gain == vf.init.published.micheli_soft_reset_gain(1.0, 0.5)


def test_a_method_of_ones_own_is_compared():
    mine = Method("mine", "Mine", lambda s: Weights(2.6 * s.neuron.threshold), "width", colour="crimson")
    found = vf.catalogue(fan_in=60, depth=4, methods=[METHODS[0], mine])
    assert [entry.key for entry in found.methods] == ["kaiming", "mine"]
    profile = vf.finite_width(vf.Network(width=60, depth=4, gain=2.6))
    assert found["mine"].survival == profile.survival[-1]
    assert found["mine"].survival != found["kaiming"].survival
    with pytest.raises(vf.DomainError, match="more than once"):
        vf.catalogue(methods=[mine, mine])
    with pytest.raises(vf.DomainError, match=r"published\.Method"):
        vf.catalogue(methods=["kaiming"])


def test_one_step_of_a_neuron_with_memory_is_memoryless():
    one, plain = vf.catalogue(fan_in=60, depth=4, decay=0.5, steps=1), vf.catalogue(fan_in=60, depth=4)
    assert one["micheli"].survival == plain["micheli"].survival
    assert one.steps == 1


def test_table_dict_and_figure(found):
    pytest.importorskip("matplotlib")
    text = repr(found)
    assert text.startswith("Catalogue for Neuron(threshold=1), fan-in 512, to layer 100 at width 512")
    assert len(text.splitlines()) == len(found.methods) + 2
    told = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert [row["key"] for row in told["methods"]] == [entry.key for entry in found.methods]
    assert set(told["methods"][0]) == set(type(found.methods[0]).__dataclass_fields__) - {"colour"}
    figure = found.plot()
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels[::-1] == [entry.name for entry in found.methods if entry.gain is not None]


def test_profiles_are_those_behind_the_entries(found, leaky):
    assert list(found.profiles) == [entry.key for entry in found.methods if entry.firing_rate is not None]
    for key, profile in found.profiles.items():
        assert found[key].spikes == pytest.approx(profile.spikes[-1], rel=1e-12)
        assert found[key].survival == profile.survival[-1]
    assert [float(network.gains[-1]) for network in found.networks] == [found[key].gain for key in found.profiles]
    assert "ding" in found.profiles
    assert "ding" not in leaky.profiles  # a shared bias is not predicted in time
    assert leaky.profiles["micheli"].firing_rate[-1].mean() == leaky["micheli"].firing_rate


@pytest.fixture(scope="module")
def small():
    pytest.importorskip("matplotlib")
    return vf.catalogue(threshold=1.0, fan_in=60, depth=30)


class TestPictureOverLayers:
    def lines(self, figure, panel):
        """Style and numbers of every line drawn."""
        return [(line.get_linestyle(), tuple(line.get_ydata())) for line in figure.axes[panel].lines]

    def test_every_method_is_drawn_once_in_both_panels(self, small):
        figure = small.plot_layers()
        for panel, quantity in enumerate(("variance", "spikes")):
            drawn = sorted(values for _, values in self.lines(figure, panel))
            assert drawn == sorted(tuple(getattr(profile, quantity)) for profile in small.profiles.values())

    def test_every_method_is_named_and_no_name_lies_over_another(self, small):
        figure = small.plot_layers()
        beside, grey = figure.axes[1].texts, re.sub(r"\s", " ", figure.texts[0].get_text())
        for key in small.profiles:
            assert small[key].name in grey or any(text.get_text().startswith(small[key].name) for text in beside)
        heights = sorted(text.xyann[1] for text in beside)
        assert len(heights) >= 3
        assert np.diff(heights).min() > 0.04
        assert re.search(r"Grey, most networks silent by layer \d+: Kaiming · torch's default · ", grey)
        assert not any(text.get_text().startswith("Kaiming") for text in beside)

    def test_every_word_lies_within_the_image(self):
        pytest.importorskip("matplotlib")
        figure = vf.catalogue(threshold=1.0, fan_in=256).plot_layers()
        words = [*figure.texts, *figure.axes[1].texts]
        assert "Micheli, finite size, < 0.1 % alive" in [text.get_text() for text in words]
        figure.set_dpi(60)
        figure.draw_without_rendering()
        assert max(text.get_window_extent().x1 for text in words) < figure.bbox.x1

    def test_a_method_has_its_colour_in_every_figure(self, small):
        colours = {method.key: method.colour for method in METHODS if method.weights is not None}
        assert len(set(colours.values())) == len(colours)
        names = {small[key].name: colour for key, colour in colours.items()}
        for catalogue in (small, vf.catalogue(threshold=0.5, fan_in=40, depth=12)):
            beside = catalogue.plot_layers().axes[1].texts
            assert len(beside) >= 3
            for text in beside:
                name = re.sub(r", [<\d. ]+ % alive$", "", text.get_text())
                assert text.get_color() == names[name]

    def test_simulated_networks_lie_beside_their_lines(self, small):
        pytest.importorskip("torch")
        ensembles = vf.simulate(small.networks, repeats=3)
        figure = small.plot_layers(ensembles)
        shown = np.array(figure.axes[1].containers[0].lines[0].get_xdata(), dtype=int) - 1
        assert {0, 29} < set(shown)
        dots = sorted(tuple(container.lines[0].get_ydata()) for container in figure.axes[1].containers)
        assert dots == sorted(tuple(ensemble.spikes.mean(axis=0)[shown]) for ensemble in ensembles)
        assert "3 simulated networks" in figure.texts[0].get_text()
        with pytest.raises(vf.DomainError, match="as many as catalogue"):
            small.plot_layers(ensembles[:2])

    def test_in_time(self, leaky):
        pytest.importorskip("matplotlib")
        figure = leaky.plot_layers()
        assert tuple(leaky.profiles["micheli"].variance[:, -1]) in [values for _, values in self.lines(figure, 0)]
        assert "6 steps" in figure.texts[0].get_text()

    def test_one_layer_and_all_silent(self):
        pytest.importorskip("matplotlib")
        assert len(vf.catalogue(fan_in=5, depth=1).plot_layers().axes) == 2
        assert len(vf.catalogue(threshold=5.0, fan_in=5, depth=40).plot_layers().axes) == 2

    def test_the_command_writes_it(self, varflow, tmp_path):
        pytest.importorskip("matplotlib")
        for name, start in {"methods.png": b"\x89PNG", "methods.PDF": b"%PDF"}.items():
            code, out, _ = varflow(f"catalogue --fan-in 10 --depth 2 --plot {tmp_path / name}")
            assert code == 0
            assert out.splitlines()[-1] == f"written: {tmp_path / name}"
            assert (tmp_path / name).read_bytes().startswith(start)

    @pytest.mark.parametrize(
        ("name", "rule"),
        [
            ("taken.png", "is a folder there"),
            ("new/a.png", "the folder .*new does not exist"),
            ("a.xyz", "must end in .png, .pdf or .svg"),
            ("a", "must end in .png, .pdf or .svg"),
            (f"{'b' * 270}/a.svg", "a.svg cannot be written: File name too long"),
            (f"{'b' * 260}.pdf", "b.pdf cannot be written: File name too long"),
        ],
    )
    def test_the_command_refuses_names_before_the_work(self, varflow, tmp_path, monkeypatch, name, rule):
        (tmp_path / "taken.png").mkdir()
        monkeypatch.setattr(vf, "catalogue", None)
        code, out, err = varflow(f"catalogue --plot {tmp_path / name}")
        assert (code, out) == (2, "")
        assert re.fullmatch(rf"varflow: --plot .*{rule}\n", err)
        assert [path.name for path in tmp_path.iterdir()] == ["taken.png"]


def test_progress_is_reported():
    seen = []
    made = vf.catalogue(fan_in=20, depth=2, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(n, len(made.methods)) for n in range(1, len(made.methods) + 1)]


@pytest.mark.parametrize(
    ("argument", "value", "rule"),
    [
        ("threshold", 0.0, "must be positive"),
        ("threshold", "1", "real number"),
        ("decay", 1.5, "between 0 and 1"),
        ("fan_in", 0, "whole number"),
        ("depth", 2.5, "whole number"),
        ("width", 0, "whole number"),
        ("steps", 0, "whole number"),
        ("reset", "hard", "choose one of none"),
        ("rate", 1.0, "strictly between"),
        ("survival_target", 0.0, "strictly between"),
        ("progress", "yes", "must be True, False"),
    ],
)
def test_bad_input(argument, value, rule):
    with pytest.raises(vf.DomainError, match=rule) as caught:
        vf.catalogue(**{argument: value})
    assert caught.value.argument == argument


def test_the_command(varflow):
    code, out, err = varflow("catalogue --threshold 1 --fan-in 30 --depth 3 --json")
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert {row["key"] for row in told["methods"]} == {entry.key for entry in vf.catalogue(fan_in=30, depth=3).methods}
    code, out, _ = varflow("catalogue --fan-in 30 --depth 3")
    assert code == 0
    assert out.startswith("Catalogue for Neuron(threshold=1), fan-in 30, to layer 3")
    code, out, err = varflow("catalogue --decay 2")
    assert (code, out) == (2, "")
    assert re.fullmatch(r"varflow: --decay 2 must lie between 0 and 1\n", err)


def test_the_command_takes_a_simulator_s_neuron(varflow):
    here = "--fan-in 30 --depth 3 --steps 4"
    code, out, _ = varflow(f"catalogue --neuron snntorch_leaky:reset_mechanism=none --beta 0.5 {here} --json")
    assert code == 0
    cell = vf.neurons.snntorch_leaky(0.5, reset_mechanism="none")
    told, expected = json.loads(out), vf.catalogue(neuron=cell, fan_in=30, depth=3, steps=4).to_dict()
    assert told == expected | {"warnings": []}
    assert told["decay"] == 0.5
    for options, refusal in (
        ("--neuron snntorch_leaky --beta 0.5 --threshold 2", "--threshold 2 conflicts with the neuron's 1.0: give one of them"),
        ("--neuron snntorch_leaky --beta 0.5 --decay 0.4", "--decay 0.4 conflicts with the neuron's 0.5: give one of them"),
        ("--neuron leaky", "--neuron leaky is unknown; choose one of .*snntorch_leaky.*"),
        ("--beta 0.5", "--beta 0.5 is a parameter of --neuron: give that, or --decay"),
    ):
        code, out, err = varflow(f"catalogue {options} {here}")
        assert (code, out) == (2, "")
        assert re.fullmatch(f"varflow: {refusal}\n", err)


# The page.


def script():
    spec = importlib.util.spec_from_file_location("choose", DOCS / "choose.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_current():
    choose = script()
    page = (DOCS / "choose.md").read_text(encoding="utf-8")
    assert choose.page() == page
    assert choose.table(vf.catalogue(threshold=0.98, fan_in=512, depth=100), everything=True) not in page  # it is seen


def test_what_the_page_says_in_words(found):
    for entry in found.methods:
        if entry.ignores.startswith("threshold, leak") and entry.gain is not None:
            assert entry.gain < found.critical_gain
            assert not entry.survives
    page = (DOCS / "choose.md").read_text(encoding="utf-8")
    edge = vf.stable_variance(threshold=1.0, gain=found.critical_gain * (1 + 1e-12)) / found.critical_gain**2
    assert f"Rates below {edge:.3f}" in page
    for name in re.findall(r"`vf\.([a-z_.]+)", page):
        value = vf
        for part in name.strip(".").split("."):
            value = getattr(value, part)
        assert value is not None
