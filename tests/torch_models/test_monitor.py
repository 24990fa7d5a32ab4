"""A training is the same with and without a monitor; its numbers are those of hooks and of an audit at that moment."""

import csv
import json
import random
from functools import cache

import numpy as np
import pytest
from spiking_models import left_behind, same

import varflow as vf

torch = pytest.importorskip("torch")
snntorch = pytest.importorskip("snntorch")
norse = pytest.importorskip("norse.torch")

from torch import nn  # noqa: E402

STEPS, BATCH = 5, 12


def leaky(**options):
    return snntorch.Leaky(0.5, **options)


class Maps(nn.Module):
    """A convolution with BatchNorm and dropout, a recurrent layer, noise of its own; every kind of state."""

    def __init__(self):
        super().__init__()
        self.maps = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), leaky(init_hidden=True))
        self.dense = nn.Sequential(nn.Flatten(), nn.Dropout(0.3), nn.Linear(64, 20))
        self.lif, self.out = leaky(learn_beta=True), nn.Linear(20, 3)

    def forward(self, x):
        self.maps[2].reset_mem()
        mem = self.lif.reset_mem()
        total = 0.0
        for _ in range(STEPS):
            noisy = x + 0.1 * torch.randn_like(x) * random.random() * np.random.rand()  # noqa: NPY002
            spikes, mem = self.lif(self.dense(self.maps(noisy)), mem)
            total = total + self.out(spikes)
        return total / STEPS


class HandedOn(nn.Module):
    """Norse's recurrent cell, its state handed on from one batch to the next."""

    def __init__(self):
        super().__init__()
        self.first, self.lif, self.out = nn.Flatten(), norse.LIFRecurrentCell(16, 20), nn.Linear(20, 3)
        self.state = None

    def forward(self, x):
        out = 0.0
        state = self.state
        for _ in range(STEPS):
            spikes, state = self.lif(self.first(20 * x), state)
            out = out + self.out(spikes)
        self.state = type(state)(*(each.detach() for each in state))
        return out


MODELS = {"maps": Maps, "state handed on": HandedOn}


def data(seed, number=BATCH):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(number, 1, 4, 4, generator=generator) * 2, torch.randint(3, (number,), generator=generator)


def trained(made, watch, *, between=False, updates=12):
    """A short training; ``watch(model)`` gives what is called in every update, also between its forward and backward."""
    torch.manual_seed(0), np.random.seed(0), random.seed(0)  # noqa: NPY002
    model = made()
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    measure, losses = watch(model), []
    for update in range(updates):
        model.train(update % 5 != 4)
        x, y = data(update)
        loss = nn.functional.cross_entropy(model(x), y)
        if between:
            measure(update)
        optimiser.zero_grad()
        loss.backward()
        gradients = [p.grad.clone() for p in model.parameters() if p.grad is not None]
        optimiser.step()
        if not between:
            measure(update)
        losses += [loss.detach(), *gradients]
    held = [tensor for state in optimiser.state.values() for tensor in state.values()]
    return losses + held, left_behind(model), (torch.rand(3), random.random(), np.random.rand())  # noqa: NPY002


def identical(one, other):
    numbers = all(map(torch.equal, one[0], other[0])) and len(one[0]) == len(other[0])
    return numbers and same(one[1], other[1]) and torch.equal(one[2][0], other[2][0]) and one[2][1:] == other[2][1:]


@cache
def plain(kind, between):
    return trained(MODELS[kind], lambda model: lambda update: None, between=between)


@pytest.mark.parametrize("gradients", [False, True])
@pytest.mark.parametrize("between", [False, True])
@pytest.mark.parametrize("kind", MODELS)
def test_a_training_is_bit_identical(kind, between, gradients):
    monitors = []

    def watched(model):
        monitors.append(vf.Monitor(model, data(99)[0], every=3, gradients=gradients))
        return monitors[-1]

    assert identical(plain(kind, between), trained(MODELS[kind], watched, between=between))
    assert monitors[0].steps == [0, 3, 6, 9]
    assert 0 < monitors[0].values("firing_rate")[0] < 1
    for wrong in (("rate",), ("firing_rate", "no such layer")):
        with pytest.raises(vf.DomainError, match="is unknown; choose one of"):
            monitors[0].values(*wrong)
    with pytest.raises(vf.DomainError, match="is a folder: name a file in it"):
        monitors[0].to_csv(".")


@pytest.mark.parametrize("between", [False, True])
@pytest.mark.parametrize("kind", MODELS)
def test_a_forward_pass_of_ones_own_changes_a_training(kind, between):
    """So that the test above can fail."""
    watched = lambda model: lambda update: model(data(99)[0])  # noqa: E731
    assert not identical(plain(kind, between), trained(MODELS[kind], watched, between=between))


def test_a_backward_pass_of_ones_own_changes_a_training():
    def backward(model):
        return lambda update: model(data(99)[0]).sum().backward()

    assert not identical(plain("maps", True), trained(Maps, backward, between=True))


@pytest.mark.parametrize("loss", [None, lambda out: out.square().sum()], ids=["readout", "loss"])
def test_gradients_are_those_of_an_audit(loss):
    torch.manual_seed(1)
    hidden = [m for _ in range(3) for m in (nn.Linear(40, 40), leaky(init_hidden=True))]
    model, x = nn.Sequential(*hidden), 3 * torch.rand(BATCH, 40)
    vf.init.init_model(model, x, steps=8)
    monitor = vf.Monitor(model, x, every=1, steps=8, gradients=loss is None, loss=loss)
    for _ in range(2):
        monitor.step()
        with torch.no_grad():
            model[4].weight.mul_(1.5)
    assert set(monitor.scalars) >= {"gradient_norm/3", "gradient_gain/3", "dead_gradients/total"}
    with torch.no_grad():
        model[4].weight.div_(1.5)
    report = vf.audit(model, x, steps=8, loss=loss, gradients=True)
    coherence = [monitor.rows[-1][name]["coherence"] for name in monitor.layers]
    np.testing.assert_allclose(coherence, report.learning.coherence, rtol=1e-5)
    assert monitor.learning.verdict == report.learning.verdict
    for layer in report.layers:
        now = monitor.rows[-1][layer.neuron_name]
        for quantity in ("gradient_norm", "gradient_gain", "dead_gradients"):
            assert now[quantity] == pytest.approx(getattr(layer, quantity), rel=1e-5, nan_ok=True)
        assert now["raster_overlap"] == layer.raster_overlap
    (first, second), (below, _) = monitor.values("gradient_gain", "3"), monitor.values("gradient_gain", "1")
    assert second / first == pytest.approx(2.25, rel=1e-5)
    assert np.isfinite(below)
    assert np.isnan(monitor.values("gradient_gain", "5")).all()
    dead = [monitor.values("dead_gradients", name) for name in monitor.layers]
    assert monitor.values("dead_gradients") == pytest.approx(np.mean(dead, axis=0))


def test_gradients_in_files_and_in_the_figure(tmp_path):
    pytest.importorskip("matplotlib")
    model = nn.Sequential(nn.Linear(30, 30), leaky(init_hidden=True), nn.Linear(30, 10), leaky(init_hidden=True))
    monitor = vf.Monitor(model, 3 * torch.rand(BATCH, 30), steps=6, gradients=True)
    assert monitor.step()
    monitor.to_csv(tmp_path / "rates.csv")
    with (tmp_path / "rates.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert float(rows[0]["gradient_norm"]) == monitor.to_dict()["layers"]["1"]["gradient_norm"][0] > 0
    assert rows[-1]["gradient_norm"] == ""
    *_, norms = monitor.plot().axes
    assert norms.lines[0].get_ydata() == pytest.approx(monitor.values("gradient_norm", "1"))
    assert "no grad" in repr(monitor)
    assert "no grad" not in repr(measured())


def test_without_gradients():
    model, x = nn.Sequential(nn.Linear(3, 3), leaky(init_hidden=True)), torch.rand(2, 3)
    with pytest.raises(vf.DomainError, match="gradients=2 must be"):
        vf.Monitor(model, x, gradients=2)
    with pytest.raises(vf.DomainError, match="loss=3 must be a function"):
        vf.Monitor(model, x, loss=3)
    monitor = vf.Monitor(model, x, steps=3, gradients=True)
    with torch.inference_mode(), pytest.raises(vf.DomainError, match=r"gradients=True has no gradients"):
        monitor.step()


def test_the_numbers_are_those_of_hooks_and_of_an_audit():
    torch.manual_seed(1)
    hidden = [m for _ in range(3) for m in (nn.Linear(40, 40), leaky(init_hidden=True))]
    model, x = nn.Sequential(*hidden), 3 * torch.rand(BATCH, 40)
    monitor = vf.Monitor(model, x, every=1, steps=8)
    for update in range(3):
        assert monitor(update)
        report = vf.audit(model, x, steps=8)
        spikes = {name: [] for name in monitor.layers}
        hooks = [
            module.register_forward_hook(lambda m, args, out, to=spikes[name]: to.append(out))
            for name, module in model.named_modules()
            if name in spikes
        ]
        with torch.no_grad():
            for neuron in (model[1], model[3], model[5]):
                neuron.reset_mem()
            for _ in range(8):
                model(x)
        for hook in hooks:
            hook.remove()
        rates, dead = [], []
        for layer in report.layers:
            name, S = layer.neuron_name, torch.stack(spikes[layer.neuron_name])
            rates.append(float(S[4:].mean()))
            dead.append(float((S.sum((0, 1)) == 0).float().mean()))
            numbers = monitor.rows[-1][name]
            assert numbers["firing_rate"] == pytest.approx(rates[-1], rel=1e-6)
            assert numbers["dead_fraction"] == pytest.approx(dead[-1], rel=1e-6) == layer.dead_fraction
            assert numbers["variance"] == pytest.approx(layer.variance, rel=1e-6)
            assert numbers["saturated_fraction"] == layer.saturated_fraction
        assert monitor.values("firing_rate")[-1] == pytest.approx(np.mean(rates), rel=1e-6)
        assert monitor.values("dead_fraction")[-1] == pytest.approx(np.mean(dead), rel=1e-6)
        with torch.no_grad():
            model[0].weight.mul_(1.5)
    assert np.ptp(monitor.values("firing_rate")) > 0.01


class Own(nn.Module):
    """A neuron of one's own."""

    def forward(self, current, v=0.0):
        h = 0.5 * v + current
        spikes = (h > 1).float()
        return spikes, h * (1 - spikes)


@pytest.mark.parametrize("named", [False, True])
def test_neurons_of_ones_own(named):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight, self.lif = nn.Linear(30, 30), Own()

        def forward(self, x):
            v, out = torch.zeros(()), []
            for _ in range(STEPS):
                spikes, v = self.lif(self.weight(x), v)
                out.append(spikes)
            return torch.stack(out)

    torch.manual_seed(0)
    model, x = Model(), 3 * torch.rand(BATCH, 30)
    monitor = vf.Monitor(model, x, neurons={Own: vf.Neuron(1.0, decay=0.5, reset="zero")} if named else None)
    monitor.step()
    with torch.no_grad():
        rate = float(model(x)[STEPS // 2 :].mean())
    assert monitor.values("firing_rate", "lif") == pytest.approx(rate, rel=1e-6)
    assert np.isfinite(monitor.values("variance", "lif")[0]) == named


def measured(every=10, number=25):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(30, 30), leaky(init_hidden=True), nn.Linear(30, 10), leaky(init_hidden=True))
    monitor = vf.Monitor(model, 3 * torch.rand(BATCH, 30), every, steps=6)
    for _ in range(number):
        monitor.step()
        with torch.no_grad():
            model[0].weight.mul_(0.97)
    return monitor


def test_which_steps_are_measured():
    monitor = measured()
    assert monitor.steps == [0, 10, 20]
    assert [step for step in (20, 25, 29, 31, 31, 40, 47) if monitor(step)] == [31, 47]
    assert monitor.steps == [0, 10, 20, 31, 47]
    assert vf.Monitor(monitor.model, monitor.batch, steps=6).step(700)  # a training that is continued


def test_dictionary_and_file(tmp_path):
    monitor = measured()
    written = monitor.to_dict()
    json.dumps(written, allow_nan=False)
    assert written["steps"] == monitor.steps
    assert list(written["layers"]) == ["1", "3"]
    assert (
        set(written["layers"]["1"])
        == set(written["total"])
        == {
            "firing_rate",
            "dead_fraction",
            "saturated_fraction",
            "variance",
            "raster_overlap",
        }
    )
    assert written["total"]["variance"] == [None] * 3
    monitor.to_csv(tmp_path / "rates.csv")
    with (tmp_path / "rates.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["step"], row["layer"]) for row in rows[:4]] == [("0", "1"), ("0", "3"), ("0", "total"), ("10", "1")]
    assert [float(row["firing_rate"]) for row in rows if row["layer"] == "3"] == written["layers"]["3"]["firing_rate"]
    assert rows[2]["variance"] == ""


class Board:
    def __init__(self):
        self.seen = []

    def add_scalar(self, name, value, step):
        self.seen.append((name, value, step))


class Run:
    def __init__(self):
        self.seen = []

    def log(self, numbers, step=None):
        self.seen += [(name, value, step) for name, value in numbers.items()]


def test_writers_get_every_measurement_once():
    monitor, board, run = measured(), Board(), Run()
    monitor.log(board)
    monitor.log(board)
    assert {step for *_, step in board.seen} == {0, 10, 20}
    overlaps = sum(np.isfinite(monitor.values("raster_overlap", name)).sum() for name in monitor.layers)  # of layers that fire
    assert len(board.seen) == len({(name, step) for name, _, step in board.seen}) == 3 * (2 * 4 + 3) + overlaps
    assert overlaps >= 3
    monitor.log(run)
    assert run.seen == board.seen
    monitor(30)
    monitor.log(board)
    assert {name: value for name, value, step in board.seen if step == 30} == monitor.scalars
    assert monitor.scalars["firing_rate/total"] == monitor.values("firing_rate")[-1]
    for wrong in (object(), torch.ones(3), np, torch):  # the last three have a log, of numbers
        with pytest.raises(vf.DomainError, match=r"writer='\w+' must have add_scalar"):
            monitor.log(wrong)


def test_figure_and_table():
    pytest.importorskip("matplotlib")
    monitor = measured()
    rates, dead = monitor.plot().axes
    lines = [line for line in rates.lines if line.get_label() == "2 (Linear)"]  # the weights before neuron 3
    assert lines[0].get_ydata() == pytest.approx(monitor.values("firing_rate", "3"))
    assert len(dead.lines) == 3
    text = repr(monitor)
    assert text.startswith("Monitor: 3 measurements, steps 0 to 20")
    assert f"{monitor.values('firing_rate', '3')[-1]:.4f}" in text
    new = vf.Monitor(monitor.model, monitor.batch, steps=6)
    assert repr(new) == "Monitor: 0 measurements, none yet"
    assert new.scalars == {}
    with pytest.raises(vf.DomainError, match="has no measurement yet"):
        new.plot()


class Named(nn.Module):
    """Weights and neurons with names; the second neuron has two weight modules, the third none."""

    def __init__(self):
        super().__init__()
        self.fc, self.lif, self.out = nn.Linear(20, 20), leaky(init_hidden=True), leaky(init_hidden=True)
        self.left, self.right, self.both = nn.Linear(20, 20), nn.Linear(20, 20), leaky(init_hidden=True)

    def forward(self, x):
        spikes = self.lif(self.fc(x))
        return self.out(3 * self.both(self.left(spikes) + self.right(spikes)))


def test_layers_have_the_names_that_audits_give_them():
    """Both tables begin with the names of weights and neuron, and a single weight module or the neuron finds the layer."""
    model, x = Named(), torch.rand(4, 20, generator=torch.Generator().manual_seed(0))
    monitor, report = vf.Monitor(model, x, steps=6), vf.audit(model, x, steps=6)
    monitor.step()
    columns = len("left (Linear) and 1 more  neuron")
    names = [[line[:columns].rstrip() for line in repr(each).splitlines()[1:6]] for each in (monitor, report)]
    assert names[0] == names[1]
    assert names[0][1:4] == ["fc (Linear)               lif", "left (Linear) and 1 more  both", "out (Leaky)               out"]
    for name in ("fc", "lif", "out"):
        assert monitor.values("firing_rate", name)[0] == pytest.approx(report[name].firing_rate)
    with pytest.raises(vf.DomainError, match="layer='nothing'"):
        monitor.values("firing_rate", "nothing")


def test_bad_arguments():
    model, x = nn.Sequential(nn.Linear(3, 3), leaky(init_hidden=True)), torch.rand(2, 3)
    for options, words in [({"every": 0}, "every=0"), ({"every": 1.5}, "every=1.5"), ({"steps": 0}, "steps=0")]:
        with pytest.raises(vf.DomainError, match=words):
            vf.Monitor(model, x, **options)
    with pytest.raises(vf.DomainError, match="must be a torch"):
        vf.Monitor("model", x)
    with pytest.raises(vf.DomainError, match="number=-1"):
        vf.Monitor(model, x).step(-1)
    monitor = vf.Monitor(model, torch.rand(2, 4), steps=3)
    with pytest.raises(vf.DomainError, match="do not go through the model"):
        monitor.step()
    assert monitor.steps == []
