"""Random models: how they are built up, where the loop over time and the state are, what else their forwards do; their rates by
hooks; and everything that can be reached from them. Each is drawn from one number, so that it can be made again.
"""

import random
import types
import warnings
from collections import deque
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial, wraps
from typing import NamedTuple

import numpy as np
import pytest

torch = pytest.importorskip("torch")
snntorch = pytest.importorskip("snntorch")
norse = pytest.importorskip("norse.torch")

from torch import nn  # noqa: E402
from torch.utils.checkpoint import checkpoint  # noqa: E402

SIDE = 5  # of maps


# Neurons. ``fired(neuron, current, state)`` is one step of any of them.


class Kept(nn.Module):
    """Its membranes are an attribute."""

    def __init__(self, decay):
        super().__init__()
        self.decay, self.v = decay, None

    def forward(self, current):
        self.v = current if self.v is None else self.decay * self.v + current
        spikes = (self.v > 1).to(current)
        self.v = self.v - spikes
        return spikes


class Passed(nn.Module):
    """Its membranes are passed along."""

    def __init__(self, decay):
        super().__init__()
        self.decay = decay

    def forward(self, current, v=None):
        v = current if v is None else self.decay * v + current
        spikes = (v > 1).to(current)
        return spikes, v * (1 - spikes)


def advance(memory, decay, current):
    memory[:] = [current if not memory else decay * memory[0] + current]
    spikes = (memory[0] > 1).to(current)
    memory[0] = memory[0] - spikes
    return spikes


class InPartial(nn.Module):
    """Its membranes are an argument of a partial function."""

    def __init__(self, decay):
        super().__init__()
        self.step = partial(advance, [], decay)

    def forward(self, current):
        return self.step(current)


class InClosure(nn.Module):
    """Its membranes are seen by no one but a function."""

    def __init__(self, decay):
        super().__init__()
        v = None

        def step(current):
            nonlocal v
            v = current if v is None else decay * v + current
            spikes = (v > 1).to(current)
            v = v - spikes
            return spikes

        self.step = step

    def forward(self, current):
        return self.step(current)


def leaky(decay, reset, **options):
    return snntorch.Leaky(decay, threshold=1.0, reset_mechanism=reset, **options)


def fired(neuron, current, state):
    if isinstance(neuron, (snntorch.Leaky, snntorch.Synaptic)) and not neuron.init_hidden:
        started = neuron.init_synaptic() if isinstance(neuron, snntorch.Synaptic) else [neuron.init_leaky()]
        spikes, *state = neuron(current, *(started if state is None else state))
        return spikes, tuple(state)
    if isinstance(neuron, (Passed, norse.LIFBoxCell, norse.LIFCell)):
        return neuron(current, state)
    return neuron(current), None


# Where the state and the loop over time are.


class Layers(nn.Module):
    """Weights, normalisations and neurons, arranged in several ways; ``step`` runs all of them once."""

    def __init__(self, layers, arrangement, draw):
        super().__init__()
        self.arrangement, self.residual, self.chance, self.checkpoints = (
            arrangement,
            draw.residual,
            draw.chance,
            draw.checkpoints,
        )
        self.pools, self.many = draw.pools, draw.steps
        match arrangement:
            case "lists":
                self.weights, self.norms, self.neurons = (nn.ModuleList(each) for each in zip(*layers, strict=True))
            case "reversed":
                self.neurons, self.norms, self.weights = (nn.ModuleList(each[::-1]) for each in reversed([*zip(*layers)]))  # noqa: B905
            case "dict":
                self.layers = nn.ModuleDict({f"{kind}{l}": m for l, each in enumerate(layers) for kind, m in zip("wny", each)})  # noqa: B905
            case "blocks":
                self.blocks = nn.ModuleList([nn.Sequential(*each) for each in layers])
            case "closure":
                for number, module in enumerate(module for each in layers for module in each):
                    self.add_module(f"part{number}", module)
                self.inner = lambda: layers

    def layers_in_order(self):
        match self.arrangement:
            case "lists":
                return [*zip(self.weights, self.norms, self.neurons, strict=True)]
            case "reversed":
                return [*zip(self.weights, self.norms, self.neurons, strict=True)][::-1]
            case "dict":
                return [tuple(self.layers[f"{kind}{l}"] for kind in "wny") for l in range(len(self.layers) // 3)]
            case "blocks":
                return [tuple(block) for block in self.blocks]
        return self.inner()

    def encoded(self, x):
        if self.chance == "bernoulli":
            return torch.bernoulli(x.clamp(0, 1))
        return (torch.from_numpy(np.random.random(x.shape)) < x).to(x) if self.chance == "numpy" else x  # noqa: NPY002

    def step(self, x, states=None):
        spikes, after = self.encoded(x), []
        for number, (weight, norm, neuron) in enumerate(self.layers_in_order()):
            current = (
                checkpoint(weight, spikes, use_reentrant=self.checkpoints) if self.checkpoints is not None else weight(spikes)
            )
            received, (spikes, state) = spikes, fired(neuron, norm(current), states[number] if states else None)
            after.append(state)
            if self.residual and received.shape == spikes.shape:
                spikes = spikes + received
            if self.chance == "dropout":
                spikes = nn.functional.dropout(spikes, 0.3, training=self.training)
            if self.pools and spikes.dim() == 4 and number == 0:
                spikes = self.pools(spikes)
        return spikes, after


class Inside(Layers):
    def forward(self, x):
        states, out = None, []
        for _ in range(self.many):
            spikes, states = self.step(x, states)
            out.append(spikes)
        return torch.stack(out)


class Keeping(Layers):
    """One step a call; what neurons do not keep is kept in a dict."""

    def __init__(self, *args):
        super().__init__(*args)
        self.memory = {}

    def forward(self, x, return_all=False):
        spikes, self.memory["states"] = self.step(x, self.memory.get("states"))
        return (spikes, self.memory["states"]) if return_all else spikes


class InTuple(Layers):
    def forward(self, x, state=None):
        spikes, after = self.step(x, state)
        return spikes, tuple(after)


class ByKeyword(Layers):
    def forward(self, x, *, hidden=None):
        spikes, after = self.step(x, None if hidden is None else hidden["states"])
        return [spikes, {"states": after}]


class Apart(Layers):
    def forward(self, x, mem_first=None, mem_others=None):
        spikes, after = self.step(x, None if mem_others is None else [mem_first, *mem_others])
        return spikes, after[0], after[1:]


class Output(NamedTuple):
    state: object
    spikes: object


class ByName(Layers):
    def forward(self, x, state=None):
        spikes, after = self.step(x, state)
        return Output(after, spikes)


FORMS = {  # arguments of the next call, from an output
    Keeping: lambda out: ((), {}),
    InTuple: lambda out: ((out[1],), {}),
    ByKeyword: lambda out: ((), {"hidden": out[1]}),
    Apart: lambda out: (out[1:], {}),
    ByName: lambda out: ((), {"state": out.state}),
}


class Wrapper(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, *args, **kwargs):
        return self.inner(*args, **kwargs)


@dataclass
class Drawn:
    """What is drawn for one model."""

    maps: bool
    depth: int
    width: int
    inputs: int
    steps: int
    residual: bool
    chance: str
    checkpoints: bool | None
    pools: nn.Module | None
    form: type
    arrangement: str
    shared: str
    wrapped: str


@dataclass
class Case:
    """A model, its inputs and steps as the audit takes them; ``scaled``: a weight whose size matters, if there is one."""

    model: nn.Module
    inputs: object
    steps: int | None
    drawn: Drawn
    neurons: list
    scaled: nn.Module | None

    @property
    def random(self):
        return self.drawn.chance in ("bernoulli", "numpy") or (self.drawn.chance == "dropout" and self.model.training)

    def run(self):
        """As the model's user would."""
        x = self.inputs["x"] if isinstance(self.inputs, dict) else self.inputs
        args, kwargs = (), {}
        for _ in range(self.steps or 1):
            out = self.model(x, *args, **kwargs)
            if self.steps:
                args, kwargs = FORMS[self.drawn.form](out)


def case(number):
    """The model of this number."""
    rng = random.Random(number)
    maps, chance = rng.random() < 0.3, rng.choice([*["none"] * 5, "bernoulli", "numpy", "dropout"])
    drawn = Drawn(
        maps=maps,
        depth=rng.randint(2, 4),
        width=rng.randint(3, 5) if maps else rng.randint(12, 30),
        inputs=rng.randint(6, 12),
        steps=rng.randint(2, 9),
        residual=rng.random() < 0.3,
        chance=chance,
        checkpoints=rng.choice([None, None, None, True, False]),
        pools=rng.choice([None, nn.AvgPool2d(3, 1, 1), nn.MaxPool2d(3, 1, 1)]) if maps else None,
        form=rng.choice([Inside, Inside, *FORMS]),
        arrangement=rng.choice(["lists", "reversed", "dict", "blocks", "closure"]),
        shared=rng.choice(["nothing", "nothing", "nothing", "weight", "neuron", "both"]),
        wrapped=rng.choice(["no", "no", "no", "module", "parallel", "compiled", "forward"]),
    )
    torch.manual_seed(number)
    layers = [_layer(rng, drawn) for _ in range(drawn.depth)]
    layers = _sharing(layers, drawn.shared)
    model = drawn.form(layers, drawn.arrangement, drawn)
    _add_hooks(rng, layers)
    model.train(rng.random() < 0.6)
    plain = [w for w, norm, _ in layers if isinstance(norm, nn.Identity) and not hasattr(w, "parametrizations")]
    x = torch.rand(drawn.inputs, drawn.width, *([SIDE] * 2 if maps else []))
    inputs = {"x": x} if drawn.wrapped in ("no", "module") and rng.random() < 0.2 else x
    steps = None if drawn.form is Inside else drawn.steps
    neurons = [*dict.fromkeys(neuron for *_, neuron in layers)]
    return Case(
        _wrapped(model, drawn.wrapped, drawn.form not in (Inside, Keeping)),
        inputs,
        steps,
        drawn,
        neurons,
        plain[0] if plain else None,
    )


def _layer(rng, drawn):
    n = drawn.width
    weight = nn.Conv2d(n, n, 3, padding=1) if drawn.maps else nn.Linear(n, n, bias=rng.random() < 0.7)
    nn.init.normal_(weight.weight, std=rng.uniform(1.5, 3.5) / (n * (9 if drawn.maps else 1)) ** 0.5)
    if rng.random() < 0.15:
        weight = nn.utils.parametrizations.weight_norm(weight)
    elif rng.random() < 0.15:
        weight.weight.requires_grad_(False)
    norms = [nn.BatchNorm2d(n) if drawn.maps else nn.BatchNorm1d(n), nn.LayerNorm([n, SIDE, SIDE] if drawn.maps else n)]
    norm = rng.choice([*[nn.Identity()] * 3, *norms, nn.Dropout(0.3)])
    decay, reset = rng.uniform(0.3, 0.95), rng.choice(["subtract", "zero", "none"])
    cell = norse.LIFBoxParameters(tau_mem_inv=rng.uniform(200, 600), v_th=torch.tensor(rng.uniform(0.2, 0.6)))
    neuron = rng.choice(
        [
            lambda: leaky(decay, reset, init_hidden=True),
            lambda: leaky(decay, reset, reset_delay=rng.random() < 0.5),
            lambda: snntorch.Synaptic(0.5, decay, reset_mechanism=reset),
            lambda: norse.LIFBoxCell(cell),
            lambda: norse.LIFCell(norse.LIFParameters(v_th=torch.tensor(0.2), tau_syn_inv=torch.tensor(400.0))),
            *(partial(kind, decay) for kind in (Kept, Passed, InPartial, InClosure)),
        ]
    )()
    return weight, norm, neuron


def _sharing(layers, shared):
    (weight, norm, neuron), *_, (last_weight, _, last_neuron) = layers
    last = (
        weight if shared in ("weight", "both") else last_weight,
        norm,
        neuron if shared in ("neuron", "both") else last_neuron,
    )
    return layers if shared == "nothing" else [*layers[:-1], last]


def _add_hooks(rng, layers):
    weight, neuron = layers[rng.randrange(len(layers))][0], layers[rng.randrange(len(layers))][2]
    calls = []

    def alternate(module, args, out):
        calls.append(len(args))
        return out * (1.2 if len(calls) % 3 == 0 else 0.9)

    def clamp(module, args):
        if not hasattr(module, "parametrizations"):
            module.weight.data.clamp_(-0.8, 0.8)
        module.ran = getattr(module, "ran", 0) + 1

    def masked(module, args, out):
        spikes = out if isinstance(out, torch.Tensor) else out[0]
        kept = spikes * (torch.arange(spikes.shape[1]) % 4 > 0).reshape(-1, *[1] * (spikes.dim() - 2))
        return kept if isinstance(out, torch.Tensor) else (kept, *out[1:])

    match rng.choice(["none", "none", "alternate", "clamp", "masked"]):
        case "alternate":
            weight.register_forward_hook(alternate)
        case "clamp":
            weight.register_forward_pre_hook(clamp)
        case "masked" if isinstance(neuron, (snntorch.Leaky, snntorch.Synaptic, norse.LIFBoxCell, norse.LIFCell)):
            neuron.register_forward_hook(masked)


def _wrapped(model, how, passes):
    match how:
        case "module" if not passes:
            return Wrapper(model).train(model.training)
        case "parallel":
            return nn.DataParallel(model).train(model.training)
        case "compiled":
            return torch.compile(model, backend="eager")
        case "forward":
            inner = model.forward
            model.forward = wraps(inner)(lambda *args, **kwargs: inner(*args, **kwargs))
    return model


# What is compared.


def rates(made):
    """Late rates of the layers of every neuron, by a run of one's own: lists by name, in the order of calls within a step."""
    names = {module: name for name, module in made.model.named_modules()}
    fired_at, handles = {names[neuron]: [] for neuron in made.neurons}, []
    for neuron in made.neurons:
        note = fired_at[names[neuron]].append
        hook = partial(
            lambda note, module, args, out: note(float((out if isinstance(out, torch.Tensor) else out[0]).mean())), note
        )
        handles.append(neuron.register_forward_hook(hook, prepend=True))
    for module in names:
        if isinstance(module, nn.Dropout):
            module.eval()
    stance = torch.compiler.set_stance("force_eager") if made.drawn.wrapped == "compiled" else nullcontext()
    with torch.no_grad(), warnings.catch_warnings(), stance:
        warnings.simplefilter("ignore")
        made.run()
    for handle in handles:
        handle.remove()
    twice = {names[neuron] for neuron in made.neurons if made.drawn.shared == "neuron" and neuron is made.neurons[0]}
    several = {name: [values[first::2] for first in (0, 1)] if name in twice else [values] for name, values in fired_at.items()}
    return {name: [np.mean(values[len(values) // 2 :]) for values in each] for name, each in several.items()}


def everything(root):
    """What can be reached from an object and from the shared generators, by where it is: numbers in bytes, flags, hooks."""
    numpy_state = np.random.get_state()  # noqa: NPY002
    found, waiting = {}, [("", root), ("torch", torch.default_generator)]
    found["shared"] = random.getstate(), numpy_state[1].tobytes(), numpy_state[2]
    seen = {}
    while waiting:
        path, value = waiting.pop()
        if id(value) in seen:
            found[path] = "as " + seen[id(value)][0]
            continue
        seen[id(value)] = path, value
        match value:
            case torch.Tensor():
                found[path] = value.data_ptr(), value.detach().numpy().tobytes(), value.requires_grad, value.is_leaf
                inner = {"dict": vars(value), "grad": value.grad if value.is_leaf else None}
            case torch.Generator():
                found[path], inner = value.get_state().numpy().tobytes(), {}
            case dict():
                found[path], inner = list(map(str, value)), value
            case list() | tuple() | set() | deque():
                found[path], inner = len(value), dict(enumerate(value))
            case partial():
                found[path], inner = id(value), {"function": value.func, "arguments": value.args, "keywords": value.keywords}
            case types.MethodType():
                found[path], inner = value.__name__, {"self": value.__self__, "function": value.__func__}
            case types.FunctionType():
                cells = {
                    name: cell.cell_contents
                    for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True)
                }
                found[path], inner = id(value), {"defaults": value.__defaults__, **cells}
            case _ if isinstance(value, nn.Module) or type(value).__module__ == __name__:
                found[path], inner = type(value).__name__, vars(value)
            case None | bool() | int() | float() | str() | bytes():
                found[path], inner = value, {}
            case _:
                found[path], inner = id(value), {}
        waiting += [(f"{path}.{key}", each) for key, each in inner.items()]
    return found


def unlike(report, measured, digits=5e-5):
    """Layers that only one has, and those whose rates differ in the fourth digit."""
    audited = {}
    for layer in report.layers:
        audited.setdefault(layer.neuron_name.partition(" ")[0], []).append(layer.firing_rate)
    if {name: len(each) for name, each in audited.items()} != {name: len(each) for name, each in measured.items()}:
        return [*audited, *measured]
    return [name for name in measured if not np.allclose(audited[name], measured[name], rtol=0, atol=digits)]
