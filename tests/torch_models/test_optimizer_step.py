"""One virtual step of an optimiser: its numbers by another route, what it says, and that it leaves everything as it was."""

import copy
import json
import math
import random

import numpy as np
import pytest

import varflow as vf

torch = pytest.importorskip("torch")
snntorch = pytest.importorskip("snntorch")

from torch import nn  # noqa: E402
from torch.nn.functional import cross_entropy  # noqa: E402

STEPS, INPUTS, CLASSES = 4, 12, 10
X = torch.rand(INPUTS, 24, generator=torch.Generator().manual_seed(0))
MAPS = torch.rand(INPUTS, 2, 6, 6, generator=torch.Generator().manual_seed(1))
Y = torch.arange(INPUTS) % CLASSES


def leaky(**options):
    return snntorch.Leaky(beta=0.5, **options)


class Chain(nn.Module):
    """Dense layers with the loop over time inside; with ``shortcut`` currents add up over layers."""

    def __init__(self, depth=3, width=24, shortcut=False, between=nn.Identity, first=24, scale=1.0, steps=STEPS):
        super().__init__()
        self.weights = nn.ModuleList(nn.Linear(n, width) for n in (first, *[width] * (depth - 1)))
        self.neurons = nn.ModuleList(leaky() for _ in range(depth))
        self.between = nn.ModuleList(between() for _ in range(depth))
        self.read, self.shortcut, self.scale, self.steps = nn.Linear(width, CLASSES), shortcut, scale, steps
        for weight in self.weights:
            nn.init.normal_(weight.weight, std=2.9 / weight.in_features**0.5)
        self.seen = None  # lists of currents and spikes, if asked for

    def forward(self, x):
        mems, out = [neuron.init_leaky() for neuron in self.neurons], 0.0
        for _ in range(self.steps):
            spikes, current = self.scale * x, 0.0
            for l, (weight, neuron, between) in enumerate(zip(self.weights, self.neurons, self.between, strict=True)):
                new = between(weight(spikes))
                received, current = spikes, new + current if self.shortcut and l else new
                spikes, mems[l] = neuron(current, mems[l])
                if self.seen is not None:
                    self.seen.setdefault(l, []).append((received, current, spikes))
            out = out + self.read(spikes)
        return out


class Stateful(nn.Sequential):
    """Membranes in the modules, a convolution, BatchNorm in train mode, dropout, and random numbers."""

    def __init__(self):
        inner = [nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), leaky(init_hidden=True), nn.Dropout(0.3), nn.Flatten()]
        super().__init__(*inner, nn.Linear(144, 24), leaky(init_hidden=True), nn.Linear(24, CLASSES))

    def forward(self, x):
        return super().forward(x + 0.01 * torch.rand_like(x))


class Lion(torch.optim.Optimizer):
    def __init__(self, parameters, lr=1e-3):
        super().__init__(parameters, {"lr": lr})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    momentum = self.state[parameter].setdefault("m", torch.zeros_like(parameter))
                    parameter.sub_(group["lr"] * (0.9 * momentum + 0.1 * parameter.grad).sign())
                    momentum.lerp_(parameter.grad, 0.01)


def frozen(model):
    next(iter(model.parameters())).requires_grad_(False)
    return model


def scheduled(parameters):
    """With a schedule, which wraps its ``step``."""
    optimiser = torch.optim.Adam(parameters)
    torch.optim.lr_scheduler.StepLR(optimiser, 3)
    return optimiser


def in_groups(kind, **options):
    def make(parameters):
        every = list(parameters)
        return kind([{"params": every[:2], "lr": 1e-4}, {"params": every[2:]}], **options)

    return make


OPTIMISERS = {
    "Adam": torch.optim.Adam,
    "Adam foreach": lambda p: torch.optim.Adam(p, foreach=True),
    "Adam fused": lambda p: torch.optim.Adam(p, fused=True, amsgrad=True),
    "Adam scheduled": scheduled,
    "AdamW": torch.optim.AdamW,
    "AdamW groups": in_groups(torch.optim.AdamW, weight_decay=0.1),
    "SGD": lambda p: torch.optim.SGD(p, lr=0.1),
    "SGD momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, foreach=True),
    "SGD fused": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, fused=True),
    "RMSprop": torch.optim.RMSprop,
    "Adagrad": torch.optim.Adagrad,
    "Lion": Lion,
}
MODELS = {
    "chain": (Chain, X, {}),
    "frozen": (lambda: frozen(Chain()), X, {}),
    "shortcut": (lambda: Chain(shortcut=True), X, {}),
    "normalised": (lambda: Chain(between=lambda: nn.BatchNorm1d(24)), X, {}),
    "stateful": (Stateful, MAPS, {"steps": STEPS}),
    "spectral": (lambda: Chain(between=lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(24, 24))), X, {}),
}


def made(model="chain", optimiser="Adam", trained=0):
    """A model, its batch, options, and its optimiser, after some steps of training."""
    torch.manual_seed(0)
    make, batch, options = MODELS[model]
    net = make()
    stepping = OPTIMISERS[optimiser](net.parameters())
    for _ in range(trained):
        stepping.zero_grad()
        for neuron in net.modules():
            if isinstance(neuron, snntorch.Leaky) and neuron.init_hidden:
                neuron.reset_mem()
        cross_entropy(net(batch), Y).backward()
        stepping.step()
    return net, batch, options, stepping


def step_of(net, batch, optimiser, targets=Y, loss=cross_entropy, **options):
    return vf.audit(net, batch, loss, optimizer=optimiser, targets=targets, **options).step


def told(value, seen):
    """Everything that is reached from a value, tensors by their memory and bits."""
    if id(value) in seen:
        return seen[id(value)]
    seen[id(value)] = f"({len(seen)})"
    match value:
        case torch.Tensor():
            bits = [value.data_ptr(), value.detach().numpy().tobytes(), value.requires_grad, value.is_leaf]
            return [*bits, told(value.grad if value.is_leaf else None, seen), told(value._backward_hooks, seen)]
        case dict():
            return [(key if isinstance(key, str) else id(key), told(item, seen)) for key, item in value.items()]
        case list() | tuple() | set():
            return [told(item, seen) for item in value]
        case nn.Module() | torch.optim.Optimizer():
            return type(value).__name__, told(vars(value), seen)
    return repr(value)


def everything(net, optimiser):
    shared = random.getstate(), np.random.get_state()[1].tobytes(), np.random.get_state()[2]  # noqa: NPY002
    return told([net, optimiser], {}), torch.get_rng_state().numpy().tobytes(), *shared


# Numbers by another route.


def passed(net, x, y):
    """Currents, spikes and gradients of a pass, kept by the model itself."""
    net.seen = {}
    net.zero_grad()
    cross_entropy(net(x), y).backward()
    seen, net.seen = net.seen, None
    return seen, [weight.weight.grad.clone() for weight in net.weights]


def cosine(a, b):
    return (a * b).sum() / (a.norm() * b.norm())


@pytest.mark.parametrize("steps", [4, 10])
@pytest.mark.parametrize("shortcut", [False, True])
@pytest.mark.parametrize("optimiser", ["Adam", "SGD momentum"])
def test_the_numbers_are_those_of_a_real_step_of_a_copy(shortcut, optimiser, steps):
    """Direct changes are those at steps 0, 3, 6 and 9 of 10, all others at all steps."""
    torch.manual_seed(3)
    net = Chain(shortcut=shortcut, steps=steps)
    stepping = OPTIMISERS[optimiser](net.parameters())
    step = step_of(net, X, stepping)
    other, old = copy.deepcopy(net), copy.deepcopy(net)
    real = OPTIMISERS[optimiser](other.parameters())
    cross_entropy(other(X[::2]), Y[::2]).backward()
    real.step()
    (before, g), (after, h) = passed(old, X[1::2], Y[1::2]), passed(other, X[1::2], Y[1::2])
    for l in range(3):
        I, S, I2, S2 = (torch.stack([each[k] for each in seen[l]]) for seen in (before, after) for k in (1, 2))
        received = torch.stack([each[0] for each in before[l]])
        with torch.no_grad():
            own = other.weights[l](received) - old.weights[l](received)
        spread, looked_at = I.var(dim=2, correction=0).mean(1), slice(0, None, -(-steps // 4))
        expected = {
            "direct": (own[looked_at].square().mean() / spread[looked_at].mean()).sqrt(),
            "currents": ((I2 - I).square().mean() / spread.mean()).sqrt(),
            "flips": (S - S2).abs().sum() / (S + S2).sum(),
            "kept": cosine(g[l], h[l]),
        }
        for name, value in expected.items():
            assert getattr(step, name)[l] == pytest.approx(float(value.detach()), rel=1e-3), (name, l)
    assert step.change == pytest.approx(float(np.sqrt(np.sum(step.direct**2))))
    assert (step.currents[1:] > 1.5 * step.direct[1:]).all()  # spikes that arrive change too: the two are not the same number


def test_flips_are_those_of_theory_at_the_direct_changes():
    """Within three standard errors and 12 %, by which flips at infinite width are more than those of 200 neurons; those of half
    the change are rejected.
    """
    x = torch.rand(60, 64, generator=torch.Generator().manual_seed(0))
    direct, flips = [], []
    for seed in range(6):
        torch.manual_seed(seed)
        net = Chain(depth=5, width=200, first=64)
        nn.init.normal_(net.weights[0].weight, std=float(1.261 / x.square().sum(1).mean()) ** 0.5)
        for weight in net.weights:
            nn.init.zeros_(weight.bias)
        step = step_of(net, x, torch.optim.Adam(net.parameters(), lr=5e-4), targets=torch.arange(60) % CLASSES)
        direct.append(step.direct)
        flips.append(step.flips)
    drive = vf.drives.currents(1.261**0.5)
    network = vf.Network(width=200, depth=5, gain=2.9, neuron=vf.neurons.snntorch_leaky(0.5), steps=STEPS, drive=drive)
    error = np.std(flips, axis=0, ddof=1) / len(flips) ** 0.5
    whole, half = (vf.flips(network, direct=part * np.mean(direct, axis=0)).flips for part in (1.0, 0.5))
    off = [np.abs(np.mean(flips, axis=0) - theory) < 3 * error + 0.12 * theory for theory in (whole, half)]
    assert off[0].all()
    assert not off[1].all()


def test_a_normalised_layer_changes_by_its_normalisation_too():
    net, batch, _, _stepping = made("normalised", "SGD")
    only = torch.optim.SGD([net.between[1].weight], lr=0.5)
    step = step_of(net, batch, only)
    assert step.direct[1] > 0
    assert step.direct[0] == step.direct[2] == 0
    assert step.currents[0] == 0 < step.currents[1]


# Nothing stays.


@pytest.mark.parametrize("trained", [0, 2])
@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_optimisers_are_left_as_found(optimiser, trained):
    net, batch, options, stepping = made("stateful", optimiser, trained)
    before = everything(net, stepping)
    step_of(net, batch, stepping, **options)
    assert everything(net, stepping) == before


@pytest.mark.parametrize("model", MODELS)
def test_models_are_left_as_found(model):
    net, batch, options, stepping = made(model, "Adam", trained=1)
    net(batch)  # membranes that are not at rest
    before = everything(net, stepping)
    step = step_of(net, batch, stepping, **options)
    assert (step.direct > 0).any()
    assert everything(net, stepping) == before
    with pytest.raises(vf.DomainError):
        step_of(net, batch, stepping, loss=lambda out, y: cross_entropy(out, y) * math.nan, **options)
    assert everything(net, stepping) == before
    stepping.step()
    assert everything(net, stepping) != before  # the check sees a step


def test_a_training_goes_on_as_without_it():
    def trained(watch):
        net, batch, options, stepping = made("stateful", "Adam", trained=1)
        if watch:
            step_of(net, batch, stepping, **options)
        net[2].reset_mem()
        net[6].reset_mem()
        stepping.zero_grad()
        cross_entropy(net(batch), Y).backward()
        stepping.step()
        return torch.cat([parameter.detach().flatten() for parameter in net.parameters()])

    assert torch.equal(trained(False), trained(True))


@pytest.mark.parametrize("model", [*MODELS, "spectral, long"])
def test_a_step_of_zero_turns_nothing_over(model):
    net, batch, options, _ = made(model.removesuffix(", long"))
    net.steps = 10 if "long" in model else STEPS  # weights that count their calls are called at all steps
    step = step_of(net, batch, torch.optim.SGD(net.parameters(), lr=0.0), **options)
    assert (step.flips == 0).all()
    assert (step.direct == 0).all()
    assert (step.currents == 0).all()
    assert (step.kept == 1).all()
    assert step.plot().axes[0].get_yscale() == "linear"
    assert step.rate is None
    assert step_of(net, batch, torch.optim.SGD(net.parameters(), lr=0.1), **options).kept.max() < 1  # another one does


def test_silent_layers_and_missing_gradients_have_no_number():
    net = Chain(scale=0.0)
    for weight in net.weights:
        nn.init.zeros_(weight.bias)
    step = step_of(net, X, torch.optim.Adam(net.parameters()))
    assert np.isnan(step.flips).all()
    assert np.isnan(step.kept).all()


# What it says.


def test_the_advised_rate_scales_with_the_change():
    net, batch, _, stepping = made("chain")
    step = step_of(net, batch, stepping)
    assert step.rate == pytest.approx(1e-3 * 0.147 / step.change)
    faster = step_of(net, batch, torch.optim.Adam(net.parameters(), lr=2e-3))
    assert faster.change == pytest.approx(2 * step.change, rel=1e-3)
    assert faster.rate == pytest.approx(step.rate, rel=1e-3)
    first, second = step.notes[:2]
    assert first == f"Adam's next step, made on half of the batch and measured on the other: D = √Σ direct² = {step.change:.3g}"
    assert second == (
        f"advised: learning rate {step.rate:.2g}; D = 0.147 is best for Adam's first step (digits and Fashion-MNIST, dense "
        "layers, about 200 steps, Adam's default β)"
    )


def test_a_dominating_first_layer_gets_a_rate_of_its_own():
    torch.manual_seed(0)
    net = Chain(first=400, scale=1.0)
    x = torch.rand(INPUTS, 400)
    step = step_of(net, x, torch.optim.Adam(net.parameters()))
    hidden = np.sqrt(np.mean(step.direct[1:] ** 2))
    assert step.direct[0] ** 2 > np.sum(step.direct[1:] ** 2)
    assert step.other_rate == pytest.approx(1e-3 * 0.147 / (hidden * 3**0.5))
    assert step.first_layer_rate == pytest.approx(step.other_rate * hidden / step.direct[0])
    assert "the first layer dominates" in step.notes[-1]


def test_deep_plain_networks_get_half_the_rate_and_shortcuts_all_of_it():
    for shortcut, part in ((False, 0.5), (True, 1.0)):
        torch.manual_seed(0)
        net = Chain(depth=12, shortcut=shortcut)
        step = step_of(net, X, torch.optim.Adam(net.parameters()))
        assert step.rate == pytest.approx(part * 1e-3 * 0.147 / step.change)
        assert ("a guess for more than 10 plain layers" in step.notes[1]) is not shortcut


UNADVISED = [("SGD", 0, "SGD was not"), ("AdamW", 0, "AdamW was not"), ("Adam", 2, "has made steps")]


@pytest.mark.parametrize(("optimiser", "trained", "words"), UNADVISED)
def test_no_rate_is_advised_where_none_was_measured(optimiser, trained, words):
    net, batch, options, stepping = made("chain", optimiser, trained)
    step = step_of(net, batch, stepping, **options)
    assert step.rate is step.other_rate is step.first_layer_rate is None
    assert words in step.notes[-1]
    assert len(step.notes) == 2


def test_weights_within_neurons_have_no_direct_change():
    class Within(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = snntorch.SLSTM(24, 24, init_hidden=True, threshold=0.05), leaky(init_hidden=True)
            self.between = nn.Linear(24, CLASSES)

        def forward(self, x):
            return self.last(self.between(self.first(x)))

    torch.manual_seed(0)
    net = Within()
    step = step_of(net, 4 * X, torch.optim.Adam(net.parameters()), steps=STEPS)
    assert np.isnan(step.direct).tolist() == [True, False]
    assert step.kept[0] < 1
    assert step.flips[0] > 0
    assert step.rate is None
    assert "D is 0 or not known here" in step.notes[-1]


def test_groups_of_several_rates_get_none():
    net, batch, _, _ = made()
    step = step_of(net, batch, in_groups(torch.optim.Adam)(net.parameters()))
    assert math.isnan(step.learning_rate)
    assert step.rate is None
    assert "parameter groups have several" in step.notes[1]


# Arguments.


WRONG = {
    "no loss": ({"loss": None}, "loss", "is needed with targets"),
    "a vector": ({"loss": lambda out, y: out.sum(1)}, "loss", "must return a tensor of one number"),
    "nan": ({"loss": lambda out, y: out.sum() * math.nan}, "loss", "is not finite"),
    "constant": ({"loss": lambda out, y: torch.ones(())}, "loss", "does not depend on the optimiser's parameters"),
    "no targets": ({"targets": None}, "loss", "labels go to targets="),
    "few targets": ({"targets": Y[:5]}, "targets", "must be one for each of the 12 inputs"),
    "words": ({"targets": "cats"}, "targets", "must be numbers, one for each input"),
    "another model's": ({"optimiser": torch.optim.Adam(Chain().parameters())}, "optimizer", "has no parameter of this model"),
    "a name": ({"optimiser": "adam"}, "optimizer", "must be a torch.optim.Optimizer"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_arguments(wrong):
    net, batch, _, stepping = made()
    given, argument, words = WRONG[wrong]
    with pytest.raises(vf.DomainError, match=words) as raised:
        step_of(net, batch, **({"optimiser": stepping} | given))
    assert raised.value.argument == argument
    assert "\n" not in str(raised.value)


def test_lbfgs_is_refused_by_name():
    net, batch, _, _ = made()
    with pytest.raises(vf.DomainError, match="optimizer='LBFGS' makes no single step") as raised:
        step_of(net, batch, torch.optim.LBFGS(net.parameters()))
    assert raised.value.value == "LBFGS"


def test_an_optimiser_that_fails_is_named_and_undone():
    class Failing(torch.optim.SGD):
        def step(self, closure=None):
            super().step()
            raise RuntimeError("no more steps")

    net, batch, _, _ = made()
    failing = Failing(net.parameters(), lr=0.1)
    before = everything(net, failing)
    with pytest.raises(vf.DomainError, match="fails in its step: no more steps"):
        step_of(net, batch, failing)
    assert everything(net, failing) == before


def test_batches_that_cannot_be_halved():
    net, batch, _, stepping = made()
    with pytest.raises(vf.DomainError, match="two or more"):
        step_of(net, batch[:1], stepping, targets=Y[:1])
    square = torch.rand(STEPS, STEPS, 24)

    class Given(Chain):
        def forward(self, x):
            return super().forward(x.mean(0)) + 0 * x.sum()

    given = Given()
    with pytest.raises(vf.DomainError, match="as many steps as inputs"):
        step_of(given, square, torch.optim.Adam(given.parameters()), targets=Y[:STEPS])
    behind = torch.rand(STEPS, INPUTS, 24)
    assert step_of(given, behind, torch.optim.Adam(given.parameters())).change > 0
    odd = step_of(net, batch[:11], stepping, targets=Y[:11].tolist())
    even = step_of(net, batch[:10], stepping, targets=Y[:10])
    assert odd.to_dict() == even.to_dict()  # the last input has no partner


# Where it is shown.


def test_reports_show_the_step():
    net, batch, _, stepping = made()
    report = vf.audit(net, batch, cross_entropy, optimizer=stepping, targets=Y)
    header, row, *_ = str(report).splitlines()[1:]
    assert [*header.split()][-7:-3] == ["direct", "currents", "flips", "kept"]
    assert f"{report.step.flips[0]:.3g}" in row
    assert all(note in str(report) for note in report.step.notes)
    assert report.to_dict()["step"]["direct"] == report.step.direct.tolist()
    assert json.dumps(report.to_dict())
    assert vf.audit(net, batch).step is None
    assert "direct" not in str(vf.audit(net, batch)).splitlines()[1]
    assert np.allclose(report.to_xarray()["kept"], report.step.kept)
    pytest.importorskip("matplotlib")
    assert [line.get_label() for ax in report.step.plot().axes for line in ax.lines] == ["direct", "currents", "flips", "kept"]
    assert len(report.plot().axes) == 5
    assert len(vf.audit(net, batch).plot().axes) == 2


def test_the_monitor_follows_the_step():
    net, batch, _, stepping = made()
    monitor = vf.Monitor(net, batch, every=1, loss=cross_entropy, targets=Y, optimizer=stepping)
    monitor(0)
    step = step_of(net, batch, stepping)
    for name in ("direct", "currents", "flips", "kept"):
        assert [monitor.values(name, layer)[0] for layer in step.layers] == getattr(step, name).tolist()
    assert monitor.values("direct")[0] == step.change
    assert "kept" in str(monitor)
    with pytest.raises(vf.DomainError, match="is needed with an optimizer's step"):
        vf.Monitor(net, batch, optimizer=stepping)


def test_readouts_that_do_not_spike_are_no_layer():
    class WithIntegrator(Chain):
        def __init__(self):
            super().__init__()
            self.end = snntorch.Leaky(beta=0.9, reset_mechanism="none", threshold=1e9)

        def forward(self, x):
            spikes, mem = self.end(super().forward(x), self.end.init_leaky())
            return mem + spikes

    net = WithIntegrator()
    step = step_of(net, X, torch.optim.Adam(net.parameters()))
    assert step.layers[:3] == ("neurons.0", "neurons.1", "neurons.2")


# Over widths.


def over_widths(rate):
    def make(width):
        net = Chain(width=width, depth=3, first=24)
        optimiser = torch.optim.Adam(net.parameters(), lr=rate(width))
        return {"model": net, "batch": X, "optimizer": optimiser, "loss": cross_entropy, "targets": Y}

    return make


def test_coordinate_check_finds_the_power_of_the_width():
    """Direct changes of hidden layers grow as n at one rate for all widths (κ falls by at most 0.2 octaves an octave),
    and not at all at 1/n.
    """
    widths = (32, 64, 128, 256)
    fixed = vf.testing.coordinate_check(over_widths(lambda n: 1e-3), widths=widths, quantity="direct")
    scaled = vf.testing.coordinate_check(over_widths(lambda n: 0.1 / n), widths=widths, quantity="direct")
    assert fixed.change.shape == (4, 3, 3)
    assert fixed.layers == ("neurons.0", "neurons.1", "neurons.2")
    assert (np.abs(fixed.slope[1:] - 1) < 0.2 + 3 * fixed.error[1:]).all()
    assert (np.abs(scaled.slope[1:]) < 0.2 + 3 * scaled.error[1:]).all()
    assert not (np.abs(fixed.slope[1:]) < 0.2 + 3 * fixed.error[1:]).any()  # which the check would see
    assert abs(fixed.slope[0]) < 0.2 + 3 * fixed.error[0]  # inputs do not grow
    assert "slope in ln n" in str(fixed)
    pytest.importorskip("matplotlib")
    assert len(fixed.plot().lines) == 6


def test_coordinate_check_refuses_what_has_no_slope():
    with pytest.raises(vf.DomainError, match="widths"):
        vf.testing.coordinate_check(over_widths(lambda n: 1e-3), widths=(32, 32))
    with pytest.raises(vf.DomainError, match="must return a dict"):
        vf.testing.coordinate_check(lambda width: Chain(width=width), widths=(32, 64))


def test_the_table_with_gradients_and_a_step_fits_eighty_columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    net, batch, options, optimiser = made()
    report = vf.audit(net, batch, cross_entropy, optimizer=optimiser, targets=Y, gradients=True, **options)
    text = repr(report)
    assert max(map(len, text.splitlines())) <= 80
    assert "currents" in text.splitlines()[1]
    assert "no grad" not in text.splitlines()[1]
    monkeypatch.setenv("COLUMNS", "300")
    assert "no grad" in repr(report).splitlines()[1]
    assert max(map(len, repr(report.layers[0]).splitlines())) <= 80
