"""The sweep: predicted, simulated, judged, read out in words and drawn; with currents and with real data."""

import json
from dataclasses import replace

import numpy as np
import pytest

import varflow as vf

pytest.importorskip("torch")


@pytest.fixture(scope="module")
def digits():
    return pytest.importorskip("sklearn.datasets").load_digits().data / 16


@pytest.fixture(scope="module")
def sweep():
    return vf.validate(threshold=[0.5, 1.0], width=60, depth=20, repeats=10)


@pytest.fixture(scope="module")
def driven(digits):
    drive = vf.drives.inputs(digits)
    return vf.validate(threshold=[0.5, 1.0], gain="preserving", width=60, depth=20, repeats=10, drive=drive)


def test_the_sweep_stands_and_holds_everything(sweep):
    assert sweep.passed
    assert sweep.complete
    assert [(curve.rule, curve.threshold) for curve in sweep.curves] == [
        ("preserving", 0.5),
        ("preserving", 1.0),
        ("kaiming", 0.5),
        ("kaiming", 1.0),
    ]
    for curve in sweep.curves:
        gain = vf.gain(threshold=curve.threshold) if curve.rule == "preserving" else 2**0.5
        network = vf.Network(width=60, depth=20, gain=gain, neuron=vf.Neuron(curve.threshold))
        assert np.array_equal(curve.profile.variance, vf.finite_width(network).variance)
        assert np.array_equal(curve.ensemble.firing_rate, vf.simulate(network, repeats=10).firing_rate)
        assert curve.comparison.false_alarm == pytest.approx(1 - (1 - 1e-3) ** 0.25, rel=1e-9)  # Šidák
    assert repr(sweep).startswith("Experiment: the theory stands (10 networks of width 60, 20 layers, drive currents(std=1)")


def test_the_defaults_are_the_papers():
    keywords = vf.validate.__kwdefaults__
    assert keywords["threshold"] == (0.1, 0.3, 0.5, 0.7, 0.85, 1.0)
    assert (keywords["width"], keywords["depth"], keywords["repeats"]) == (1000, 100, 20)
    assert keywords["gain"] == ("preserving", "kaiming")


@pytest.mark.parametrize("error", [0.95, 1.05])
def test_a_theory_wrong_by_five_percent_is_rejected(monkeypatch, error):
    exact = vf.finite_width
    monkeypatch.setattr("varflow.experiment.finite_width", lambda network: exact(replace(network, gain=error * network.gain)))
    wrong = vf.validate(threshold=0.5, gain=1.8, width=200, depth=20, repeats=20)
    assert not wrong.passed
    assert "REJECTED" in repr(wrong)


def test_to_dict_is_json_with_every_curve(sweep, driven):
    for experiment in (sweep, driven):
        read = json.loads(json.dumps(experiment.to_dict(), allow_nan=False))
        assert read["passed"]
        assert len(read["curves"]) == len(experiment.curves)
        assert len(read["curves"][0]["theory"]["variance"]) == 20
    assert len(read["curves"][0]["survival_per_input"]) == 1797
    assert "per_input" not in read["curves"][0]["theory"]
    assert sweep.to_dict()["curves"][0]["survival_per_input"] is None


# Words.


def test_the_reading_says_what_the_exact_distribution_says():
    experiment = vf.validate(threshold=[0.3, 1.0], gain=["preserving", "kaiming", 3], width=200, depth=50, repeats=2)
    preserving, kaiming, number = experiment.reading
    by = {(curve.rule, curve.threshold): curve.profile for curve in experiment.curves}
    leaking = by["preserving", 1.0]
    silent = 100 * (1 - leaking.survival[-1])
    assert "stays within 2 % of the drive's for θ = 0.3" in preserving
    assert (
        f"at θ = 1 it goes to {leaking.variance[-1]:.3g} on average, with {silent:.2g} % of the networks silent" in preserving
    )
    assert f"at θ = 0.3 it goes to {by['kaiming', 0.3].variance[-1]:.3g};" in kaiming
    died = int(np.argmax(by["kaiming", 1.0].survival < 0.5)) + 1
    assert f"activity dies for θ = 1, half of the networks by layer {died}" in kaiming
    grown = by["g = 3", 0.3].variance[-1]
    assert number.startswith(f"The gain g = 3, exact at width 200, layer 50: at θ = 0.3 it goes to {grown:.3g};")


def test_flat_means_flat_in_every_layer():
    """The first layer leaves the fixed point by 30 % at once: one layer is flat, two are not."""
    one, two = (vf.validate(threshold=-0.5, gain=1.0, width=100, depth=depth, repeats=2) for depth in (1, 2))
    assert "stays within 2 %" in one.reading[0]
    assert "stays within" not in two.reading[0]


# Real data.


def test_the_gain_of_the_inputs_comes_from_the_second_moment(digits, tmp_path):
    drive = vf.drives.inputs(digits)
    assert drive.input_gain == pytest.approx(np.mean(digits**2) ** -0.5, rel=1e-12)
    assert np.mean(drive.current_variances) == pytest.approx(1.0, rel=1e-12)
    energies = (digits**2).sum(axis=1) * drive.input_gain**2 / 64
    assert drive.current_variances == pytest.approx(energies, rel=1e-12)
    for name, save in {"x.npy": np.save, "x.npz": np.savez, "x.csv": lambda p, x: np.savetxt(p, x, delimiter=",")}.items():
        save(tmp_path / name, digits)
        read = vf.drives.inputs_from_file(tmp_path / name)
        assert np.array_equal(read.x, drive.x)
        assert read.input_gain == drive.input_gain
    assert vf.drives.inputs_from_file(tmp_path / "x.npy", input_gain=3.0).input_gain == 3.0


def test_survival_of_each_input_is_that_of_a_network_driven_by_it_alone(digits, driven):
    gain = vf.drives.inputs(digits).input_gain
    curve = driven.curves[1]
    assert curve.survival_per_input.shape == (1797,)
    for row in (0, 7, 900, 1796, int(np.argmin((digits**2).sum(axis=1))), int(np.argmax((digits**2).sum(axis=1)))):
        alone = vf.Network(
            width=60,
            depth=20,
            gain=vf.gain(threshold=1.0),
            neuron=vf.Neuron(1.0),
            drive=vf.drives.inputs(digits[row : row + 1], input_gain=gain),
        )
        assert curve.survival_per_input[row] == pytest.approx(vf.finite_width(alone).survival[-1], rel=1e-9)
    assert np.ptp(curve.survival_per_input) > 0.1  # inputs differ: an average would hide it


def test_simulated_networks_see_inputs_evenly_spread_and_are_judged_by_those(digits, driven):
    drive = vf.drives.inputs(digits)
    seen = digits[np.arange(10) * 1797 // 10]
    for curve in driven.curves:
        assert np.array_equal(curve.network.drive.x, seen)
        assert curve.network.drive.input_gain == drive.input_gain
        assert curve.profile.variance[0] == pytest.approx(np.mean(seen**2) * drive.input_gain**2, rel=1e-12)
    assert driven.drive.x.shape == (1797, 64)
    assert driven.passed


@pytest.mark.parametrize(
    ("batch", "repeats", "rows"), [(3, 7, [0, 1, 2, 0, 1, 2, 0]), (4, 4, [0, 1, 2, 3]), (9, 4, [0, 2, 4, 6])]
)
def test_which_rows_are_seen(batch, repeats, rows):
    x = np.arange(1.0, batch + 1)[:, None] * np.ones(5)
    drive = vf.drives.inputs(x)
    curve = vf.validate(threshold=0.5, gain=2.0, width=20, depth=2, repeats=repeats, drive=drive).curves[0]
    assert (curve.network.drive.x[:, 0] - 1).tolist() == rows
    again = vf.simulate(replace(curve.network, drive=vf.drives.inputs(x[rows], drive.input_gain)), repeats=repeats)
    assert np.array_equal(curve.ensemble.firing_rate, again.firing_rate)


def test_words_about_the_inputs(driven):
    survival = driven.curves[1].survival_per_input
    low, middle, high = (f"{value:.3g}" for value in np.quantile(survival, [0, 0.5, 1]))
    assert f"At θ = 1 the 1797 inputs survive with probability {low} to {high}, median {middle}." in driven.reading[0]
    one = vf.validate(threshold=1.0, gain=2.6, width=60, depth=5, repeats=2, drive=vf.drives.inputs([[1.0, 2.0]]))
    assert f"the input survives with probability {one.curves[0].survival_per_input[0]:.3g}." in one.reading[0]


def test_an_interrupted_sweep_is_judged_by_the_inputs_it_saw(monkeypatch, digits):
    import varflow.experiment as module

    real = module.simulate

    def stopped(networks, *, repeats, **options):
        raise vf.Interrupted("stopped", tuple(real(networks, repeats=3, **options)))

    monkeypatch.setattr(module, "simulate", stopped)
    drive = vf.drives.inputs(digits)
    experiment = vf.validate(threshold=0.5, gain=2.0, width=60, depth=5, repeats=10, drive=drive)
    assert (experiment.repeats, experiment.requested_repeats, experiment.complete) == (3, 10, False)
    curve = experiment.curves[0]
    assert np.array_equal(curve.network.drive.x, digits[np.arange(3) * 1797 // 10])
    assert np.array_equal(curve.network.drive.x, curve.ensemble.network.drive.x[:3])
    assert experiment.passed


# Several widths.


def test_widths_are_panels_of_their_own():
    experiment = vf.validate(threshold=[0.5, 1.0], gain="preserving", width=[30, 60, 30], depth=12, repeats=8)
    assert list(experiment.panels) == [("preserving", 30), ("preserving", 60)]
    assert [(curve.width, curve.threshold) for curve in experiment.curves] == [(30, 0.5), (30, 1.0), (60, 0.5), (60, 1.0)]
    assert experiment.passed
    alone = vf.validate(threshold=[0.5, 1.0], gain="preserving", width=60, depth=12, repeats=8)
    for here, there in zip(experiment.curves[2:], alone.curves, strict=True):
        assert np.array_equal(here.ensemble.variance, there.ensemble.variance)
    assert experiment.to_dict()["width"] == [30, 60]
    assert alone.to_dict()["width"] == 60
    assert "networks of width 30 and 60, 12 layers" in repr(experiment)
    assert ["at width 30" in experiment.reading[0], "at width 60" in experiment.reading[1]] == [True, True]
    pytest.importorskip("matplotlib")
    assert [ax.get_title() for ax in experiment.plot().axes[:2]] == ["width 30", "width 60"]


def test_an_interrupted_sweep_over_widths_judges_what_each_has(monkeypatch):
    import varflow.experiment as module

    real = module.simulate
    finished = [5, 3]

    def stopped(networks, *, repeats, **options):
        ensembles = [real(network, repeats=max(n, 1), **options) for network, n in zip(networks, finished, strict=True)]
        kept = [
            replace(e, variance=e.variance[:n], firing_rate=e.firing_rate[:n]) for e, n in zip(ensembles, finished, strict=True)
        ]
        raise vf.Interrupted("stopped", tuple(kept))

    monkeypatch.setattr(module, "simulate", stopped)
    options = {"threshold": 0.5, "gain": 2.0, "width": [20, 40], "depth": 4, "repeats": 9}
    experiment = vf.validate(**options, drive=vf.drives.inputs(np.eye(4) + 0.5))
    assert (experiment.repeats, experiment.complete) == (3, False)
    finished[1] = 0
    with pytest.raises(vf.Interrupted):
        vf.validate(**options)


# Figures.


def extents(figure):
    """Bounding boxes, in pixels: the figure, its axes, its legends, its texts outside the axes."""
    agg = pytest.importorskip("matplotlib.backends.backend_agg")
    renderer = agg.FigureCanvasAgg(figure).get_renderer()
    figure.draw_without_rendering()
    legends = [child for ax in figure.axes for child in ax.get_children() if type(child).__name__ == "Legend"]
    words = [*figure.texts, *(text for ax in figure.axes for text in (ax.title, ax.xaxis.label, ax.yaxis.label))]
    boxes = lambda items: [item.get_window_extent(renderer) for item in items]  # noqa: E731
    ticks = [(tick, *ax.get_ylim()) for ax in figure.axes for tick in ax.yaxis.get_major_ticks() if tick.label1.get_visible()]
    ticks = [tick.label1 for tick, low, high in ticks if low <= tick.get_loc() <= high]
    visible = [text for text in words + ticks if text.get_text() and text.get_visible()]
    return figure.bbox, [ax.bbox for ax in figure.axes], boxes(legends), boxes(visible)


def inside(box, frame):
    return frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1


@pytest.mark.parametrize(
    ("options", "panels"),
    [
        ({"gain": "preserving", "threshold": 1.0}, 1),
        ({}, 2),
        ({"gain": 1.0, "threshold": [1.0, 2.0]}, 1),  # dies at once
        ({"threshold": list(np.linspace(0.05, 1.5, 14))}, 2),
        ({"depth": 1, "repeats": 1}, 2),
        ({"width": 1}, 2),
        ({"width": [20, 60]}, 4),
        ({"drive": "inputs", "threshold": [0.5, 1.0]}, 2),
        ({"drive": "silence", "gain": 2.0}, 1),
    ],
    ids=[
        "one",
        "paper",
        "dying",
        "many",
        "one layer",
        "one neuron",
        "gains and widths",
        "inputs",
        "silence",
    ],
)
def test_the_figure_is_laid_out(options, panels, digits):
    drives = {"inputs": vf.drives.inputs(digits[:50]), "silence": vf.drives.currents(0.0)}
    options = (
        {"width": 40, "depth": 6, "repeats": 4, "false_alarm": 0.05} | options | {"drive": drives.get(options.get("drive"))}
    )
    figure = vf.validate(**options).plot()
    frame, axes, legends, words = extents(figure)
    assert len(figure.axes) == 2 * panels
    assert len(legends) == 2
    assert all(inside(box, frame) for box in [*legends, *words])
    assert not any(box.overlaps(ax) for box in legends for ax in axes)
    assert not legends[0].overlaps(legends[1])
    below = figure.texts[0].get_window_extent()
    assert all(below.y1 < ax.y0 for ax in axes)
    assert not any(below.overlaps(ax.xaxis.label.get_window_extent()) for ax in figure.axes)


def test_the_figure_draws_the_numbers(sweep):
    figure = sweep.plot()
    variance, alive = figure.axes[::2]
    drawn = [line.get_ydata() for line in variance.lines]
    for curve in sweep.curves[:2]:
        exact, measured = curve.profile, curve.ensemble.mean()
        for expected in (
            exact.variance,
            exact.variance + exact.variance_std,
            exact.variance - exact.variance_std,
            measured.variance,
        ):
            assert any(len(y) == 20 and np.allclose(y, expected) for y in drawn)
        for expected in (exact.survival, measured.survival):
            assert any(np.allclose(line.get_ydata(), expected) for line in alive.lines)
    labels = [
        text.get_text()
        for legend in variance.figure.axes[1].get_children()
        if hasattr(legend, "get_texts")
        for text in legend.get_texts()
    ]
    assert {"θ = 0.5", "θ = 1", "mean of 10 networks", "exact mean"} <= set(labels)
    words = figure.texts[0].get_text().replace("\u00a0", " ").replace("\n", " ")
    assert words == " ".join(sweep.reading)


def test_a_comparison_draws_itself(sweep):
    pytest.importorskip("matplotlib").use("Agg")
    ax = sweep.curves[0].comparison.plot()
    assert "holds" in ax.get_title()
    assert ax.get_legend() is not None
    import matplotlib.pyplot as plt

    other = plt.figure().add_subplot()
    assert sweep.curves[0].comparison.plot(other) is other
    plt.close("all")
