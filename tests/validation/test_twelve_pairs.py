"""The twelve pairs of a task and a model: what data and models promise, short trainings, and the page."""

import importlib.util
import json
from dataclasses import replace

import numpy as np
import pytest

import varflow as vf

torch = pytest.importorskip("torch")
pytest.importorskip("sklearn")
pytest.importorskip("snntorch")
pytest.importorskip("norse")

from torch import nn  # noqa: E402

from validation.training import __main__, normalised_rates, twelve, twelve_runs, varflow_arms  # noqa: E402
from validation.training.made_data import FRAMES, MADE, STEPS, WORDS, delayed_recall, moving_bars, spike_trains  # noqa: E402
from validation.training.twelve import TASKS, begun, trained  # noqa: E402
from validation.training.twelve_page import accuracies, compared, of_normalised, of_twelve  # noqa: E402

JELLY = importlib.util.find_spec("spikingjelly") is not None
THERE = [name for name, task in TASKS.items() if JELLY or task.library != "spikingjelly"]


@pytest.mark.parametrize("name", MADE)
def test_made_data_are_zeros_and_ones_the_same_each_time(name):
    first, again = MADE[name](40, 20), MADE[name](40, 20)
    assert all(map(np.array_equal, first, again))
    x, y, test_x, test_y = first
    assert {0.0, 1.0} == set(np.unique(x))
    assert (len(x), len(y), len(test_x), len(test_y)) == (40, 40, 20, 20)
    assert not np.array_equal(x, MADE[name](40, 20, seed=1)[0])


def test_bars_move_in_the_direction_of_their_class():
    x, y, *_ = moving_bars(400, 0)
    entered, pixels = x[:, :, 0], np.arange(16) - 7.5
    weights = entered.sum((2, 3))
    places = np.stack([(entered.sum(2) * pixels).sum(2), (entered.sum(3) * pixels).sum(2)], 2) / weights[..., None]
    moved = places[:, FRAMES // 2 :].mean(1) - places[:, : FRAMES // 2].mean(1)
    off = (moved[:, 0] + 1j * moved[:, 1]) / np.hypot(*moved.T) * np.exp(-1j * np.pi / 4 * y)
    error = np.sqrt(np.square(off.imag).mean() / len(off)) / off.real.mean()
    assert abs(np.angle(off.mean())) < 4 * error
    assert np.pi / 4 > 8 * error  # negative control: a neighbouring class is rejected


def test_later_classes_are_the_first_ones_backwards():
    x, y, *_ = spike_trains(1000, 0)
    means = np.stack([x[y == word].mean(0) for word in range(2 * WORDS)])
    centred = means - means.mean(2, keepdims=True)
    alike = lambda a, b: (a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum())  # noqa: E731
    for word in range(WORDS):
        assert alike(centred[word], centred[WORDS + word][::-1]) > 0.9 > alike(centred[word], centred[WORDS + word])
    assert x.shape[1:] == (STEPS, 140)


def test_the_cue_is_gone_when_it_is_asked_for():
    x, y, *_ = delayed_recall(2000, 0)
    told = [
        np.stack([x[y == cue][:, part, :60].mean((0, 1)) for cue in range(8)]).var(0).mean()
        for part in (slice(4), slice(4, 20))
    ]
    noise = 0.09 / (250 * 16)  # of a mean over inputs and steps
    assert told[0] > 10 * noise
    assert told[1] < 1.3 * noise  # 480 numbers: 20 standard errors of 6.5 % are more, so this is not chance


@pytest.mark.parametrize("name", THERE)
def test_every_model_runs_and_begins_as_asked(name):
    task = TASKS[name]
    shape = {"bars": (4, 8, 2, 16, 16), "trains": (4, 16, 140), "recall": (4, 20, 70), "digits": (4, 1, 8, 8)}
    shape["fashion_mnist"] = (4, 1, 28, 28)
    x = torch.rand(shape[task.data], generator=torch.Generator().manual_seed(0))
    x = x < 0.3 if task.data in MADE else x
    x = x.float().flatten(1) if task.dense and task.data not in MADE else x.float()
    models = {way: begun(task, way, 0) for way in twelve.BEGINNINGS}
    assert {len(model(x)[0]) for model in models.values()} <= {8, 10}
    assert torch.equal(models["torch"](x), begun(task, "torch", 0)(x))
    assert not torch.equal(models["torch"](x), begun(task, "torch", 1)(x))
    norms = {
        way: sum(isinstance(each, nn.BatchNorm1d | nn.BatchNorm2d) for each in model.modules()) for way, model in models.items()
    }
    neurons = len(list(models["torch"].get_submodule("neurons").children()))
    assert norms["batch_norm"] >= neurons
    assert norms["torch"] == norms["kaiming"] == (norms["batch_norm"] if task.normalised else 0)
    weight = next(each.weight for each in models["kaiming"].modules() if isinstance(each, nn.Linear | nn.Conv2d))
    fan_in = weight[0].numel()
    assert float(weight.detach().std()) == pytest.approx((2 / fan_in) ** 0.5, rel=5 / (2 * weight.numel()) ** 0.5)


def test_two_epochs_are_the_same_again_and_learn(tmp_path):
    one = trained("recurrent", "batch_norm", 3e-3, 0, folder=str(tmp_path), epochs=2)
    assert one == trained("recurrent", "batch_norm", 3e-3, 0, folder=str(tmp_path), epochs=2)
    assert one["accuracy"]["2"] > 0.3  # chance: 0.1
    assert one["accuracy"] != trained("recurrent", "batch_norm", 3e-3, 1, folder=str(tmp_path), epochs=2)["accuracy"]


def test_the_first_layer_may_have_its_own_learning_rate(tmp_path):
    task = replace(TASKS["recurrent"], epochs=1)
    model = begun(task, "torch", 0)
    before = [each.weight.detach().clone() for each in model.layers]
    twelve.learned(model, task, 1e-3, 0, str(tmp_path), first_rate=1e-9)
    moved = [float((each.weight - old).detach().abs().max()) for each, old in zip(model.layers, before, strict=True)]
    assert moved[0] < 1e-6 < 1e-3 < moved[1]


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setitem(TASKS, "recurrent", replace(TASKS["recurrent"], epochs=1))
    monkeypatch.setitem(MADE, "trains", lambda: spike_trains(96, 64))


@pytest.mark.usefixtures("short")
def test_the_command_makes_the_runs_of_one_task_and_continues(tmp_path, monkeypatch, capsys):
    for name in {*TASKS} - {"recurrent"}:
        monkeypatch.delitem(TASKS, name)
    for name in ("beginnings", "one_call"):
        run = twelve_runs.TWELVE[name].run
        short = lambda *args, run=run, **options: run(*args, **options, seeds=(0,))  # noqa: E731
        monkeypatch.setitem(twelve_runs.TWELVE, name, replace(twelve_runs.TWELVE[name], run=short))
    command = ["beginnings", "one_call", "--out", str(tmp_path), "--resume"]
    assert __main__.main(command) == 0
    files = [json.loads((tmp_path / f"{name}.json").read_text())["runs"] for name in ("beginnings", "one_call")]
    assert {run["way"] for run in files[0]} == {*twelve_runs.WAYS}
    assert {run["way"] for run in files[1]} >= {*twelve_runs.ONE_CALL.values()}
    capsys.readouterr()
    (tmp_path / "beginnings.json").unlink()
    assert __main__.main(command) == 0
    assert "were there" in capsys.readouterr().err
    assert json.loads((tmp_path / "beginnings.json").read_text())["runs"] == files[0]


def test_what_is_not_installed_is_said():
    assert twelve_runs.missing_library(["time", "digits8"]) is None
    if not JELLY:
        assert "spikingjelly is not installed" in str(twelve_runs.missing_library(TASKS))


def test_gamma_is_scaled_to_a_rate(monkeypatch, tmp_path):
    make = normalised_rates.begun
    small = replace(
        TASKS["conv"],
        make=lambda **changes: twelve.convolutions(twelve.SnnTorch(0.7), [2, 16, 16], [], 16, 8, steps=None, **changes),
    )
    monkeypatch.setitem(TASKS, "conv", small)
    assert make is begun
    x = torch.from_numpy(moving_bars(64, 0)[0])
    rates = {}
    for rate in (None, 0.1, 0.25):
        rates[rate], slopes = normalised_rates._measured(normalised_rates._begun(rate, "gamma", 0, str(tmp_path)), x)
        assert all(0 < slope < 1 for slope in slopes)
    np.testing.assert_allclose(rates[0.1], 0.1, rtol=0.03)
    np.testing.assert_allclose(rates[0.25], 0.25, rtol=0.03)
    assert abs(rates[None][0] / 0.1 - 1) > 0.03 or abs(rates[None][1] / 0.1 - 1) > 0.03


def made(task, way, by_seed, **more):
    return [
        {"task": task, "way": way, "seed": seed, "accuracy": {"1": 0.1, "5": 0.2, "8": value}} | more
        for seed, value in enumerate(by_seed)
    ]


def test_the_lead_is_over_the_best_other_way_at_its_better_rate():
    others, calls = [], []
    for task in ("time", "recall"):
        others += made(task, "torch", (0.5, 0.6), advised=False) + made(task, "torch", (0.2, 0.1), advised=True)
        others += made(task, "kaiming", (0.3, 0.3), advised=False)
        others += made(task, "batch_norm", (0.1, 0.1), advised=False) + made(task, "batch_norm", (0.8,), advised=True)
        others += made(task, "init_model", (0.2, 0.2), advised=False)
        for way in twelve_runs.ONE_CALL.values():
            calls += made(task, way, (0.7, 0.7 + 0.1 * (task == "time")), problem=None)
    calls += [run | {"seed": 1} for run in made("recall", "advice", (0.9,), problem=None)]
    first, second = compared(others, calls)
    assert (first["task"], first["best"], second["task"]) == ("time", "torch", "recall")
    assert (first["lead"], second["lead"]) == (pytest.approx(0.2), pytest.approx(0.25))
    variance = (2 * 0.05**2 + 2 * 0.05**2 + 2 * 0.05**2 + 2 * 0.1**2) / 4  # of .5 .6 and .7 .8; of .5 .6 and .7 .9
    assert first["error"] == pytest.approx((variance * 2 / 2) ** 0.5)
    np.testing.assert_allclose(accuracies(second["runs"]["final"]), (0.7, 0.9))
    text = of_twelve(others, calls)
    assert "In none of 2" in text
    worse = [run | {"accuracy": {"1": 0.1, "5": 0.2, "8": 0.1}} for run in calls]
    assert "more than two standard errors in 2 of 2" in of_twelve(others, worse)


def test_sections_of_the_page_are_those_of_the_results(monkeypatch):
    from pathlib import Path

    root = Path(__file__).parents[2]
    monkeypatch.syspath_prepend(str(root / "docs"))
    import training as page

    text = (root / "docs" / "twelve_models.md").read_text(encoding="utf-8")
    assert all(section in text for section in page.of_library_models())
    runs = page.results(tuple(twelve_runs.TWELVE))
    if "normalised" in runs:
        assert of_normalised(runs["normalised"][6:]) not in text
    assert varflow_arms.USUAL == 1e-3
    assert vf.__version__
