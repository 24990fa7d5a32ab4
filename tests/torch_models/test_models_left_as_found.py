"""What ``audit`` and ``init_model`` leave behind: nothing but weights, and those only when all is done; whatever the model's
own forward does to it, and wherever an interrupt comes.
"""

import functools
import itertools
import logging
import queue
import random
import sys
import threading
from collections import Counter, OrderedDict, deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from wording import NOT_SUMMED

import varflow as vf

torch = pytest.importorskip("torch")
snntorch = pytest.importorskip("snntorch")

from torch import nn  # noqa: E402

from varflow import _restoring  # noqa: E402
from varflow._shared import ALONE  # noqa: E402

X, STEPS = torch.rand(6, 32, generator=torch.Generator().manual_seed(0)), 6
PACKAGE = Path(_restoring.__file__).parent
INTERRUPTED = {PACKAGE / "_restoring.py", *PACKAGE.glob("torch_models/**/*.py")}


def leaky(**options):
    return snntorch.Leaky(**{"beta": 0.5, "init_hidden": True} | options)


def chain(first=None, width=32):
    torch.manual_seed(0)
    model = nn.Sequential(first or nn.Linear(width, width), leaky(), nn.Linear(width, width), leaky())
    for weight in (model[0], model[2]):
        nn.init.normal_(getattr(weight, "inner", weight).weight, std=2.5 / width**0.5)
    return model


def init(model, x=X, **options):
    return vf.init.init_model(model, x, generator=torch.Generator().manual_seed(1), **{"steps": STEPS} | options)


def audit(model, x=X, **options):
    return vf.audit(model, x, **{"steps": STEPS} | options)


WATCHES = {
    "audit": audit,
    "audit with a loss": lambda model: audit(model, loss=lambda out: out.sum()),
    "dry run": lambda model: init(model, dry_run=True),
}


# Models that write to themselves.


class Clamped(nn.Linear):
    def forward(self, x):
        self.weight.data.clamp_(-0.3, 0.3)
        return super().forward(x)


class MaxNorm(nn.Linear):
    """Under autograd's eyes, and into new memory."""

    def forward(self, x):
        with torch.no_grad():
            self.weight.mul_(torch.clamp(1.5 / self.weight.norm(dim=1, keepdim=True), max=1))
        self.weight.data = self.weight.data.clone()
        return super().forward(x)


class Replaced(nn.Linear):
    def forward(self, x):
        self.bias = nn.Parameter(self.bias.detach() + 0.1)
        return super().forward(x)


class Flagging(nn.Linear):
    """Freezes itself, leaves evaluation mode, adds a hook and an attribute."""

    def forward(self, x):
        self.weight.requires_grad_(False)
        self.train()
        self.register_forward_pre_hook(lambda *_: None)
        self.calls = getattr(self, "calls", 0) + 1
        return super().forward(x)


@dataclass
class Memory:
    value: torch.Tensor
    past: list = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Slotted:
    value: torch.Tensor


class Remembering(nn.Module):
    """State wherever Python can keep it. ``inner`` is not registered with the rest, but in a list."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(32, 32)
        self.spare = [nn.Linear(2, 2)]
        self.nested = {"a": [torch.zeros(3), {"b": (torch.zeros(2), deque([1, 2], maxlen=3))}]}
        self.counts, self.order = Counter(a=2), OrderedDict(a=1, b=2)
        self.memory, self.slotted = Memory(torch.zeros(2)), Slotted(torch.zeros(2))
        self.space = SimpleNamespace(count=0, array=np.zeros(2), seen={1})
        self.generator, self.numpy, self.python = torch.Generator(), np.random.default_rng(0), random.Random(0)
        self.legacy = np.random.RandomState(0)
        self.expanded = torch.zeros(1).expand(4)
        self.register_buffer("loud", torch.tensor([float("nan"), 0.0]))

    def forward(self, x):
        deep = self.nested["a"][1]["b"]
        with torch.no_grad():
            for tensor in (self.nested["a"][0], deep[0], self.memory.value, self.slotted.value, self.spare[0].weight):
                tensor.add_(1)
            self.expanded.data[:1].add_(1)
            self.loud[1] += 1
        deep[1].append(3)
        self.nested["c"] = 1
        self.memory.past.append(x)
        self.counts["a"] += 1
        self.order.move_to_end("a")
        self.space.count += 1
        self.space.array += 1
        self.space.seen.add(2)
        drawn = torch.rand(1, generator=self.generator), torch.rand(1), self.numpy.random(), self.python.random()
        return self.inner(x + 0.0 * (sum(map(float, drawn)) + self.legacy.rand() + random.random() + np.random.rand()))  # noqa: NPY002


def told(value, seen=None):
    """A value in words, with the numbers in its tensors and where they lie."""
    seen = {} if seen is None else seen
    if id(value) in seen:
        return seen[id(value)]
    seen[id(value)] = f"({len(seen)})"
    match value:
        case torch.Tensor():
            words = [value.data_ptr(), value.detach().cpu().numpy().tobytes(), value.requires_grad, value.is_leaf]
            return [*words, told(vars(value), seen), told(value.grad if value.is_leaf else None, seen)]
        case torch.Generator():
            return value.get_state().numpy().tobytes()
        case np.random.Generator():
            return str(value.bit_generator.state)
        case random.Random():
            return value.getstate()
        case np.random.RandomState():
            return str(value.get_state())
        case np.ndarray():
            return value.tobytes()
        case dict():
            return [(key if isinstance(key, str) else id(key), told(item, seen)) for key, item in value.items()]
        case list() | tuple() | set() | deque():
            return [told(item, seen) for item in value]
        case nn.Module() | SimpleNamespace() | Memory():
            return type(value).__name__, told(vars(value), seen)
        case Slotted():
            return told(value.value, seen)
    return repr(value)


def everything(model):
    """The model and the global generators."""
    return told([model, torch.default_generator, random.getstate(), *np.random.get_state()[1:3]])  # noqa: NPY002


MADE = {
    "clamped": lambda: chain(Clamped(32, 32)),
    "max norm": lambda: chain(MaxNorm(32, 32)),
    "replaced": lambda: chain(Replaced(32, 32)),
    "flags": lambda: chain(Flagging(32, 32)).eval(),
    "containers": lambda: chain(Remembering()),
    "spectral norm": lambda: chain(nn.utils.parametrizations.spectral_norm(nn.Linear(32, 32))),
}


@pytest.mark.parametrize("watch", WATCHES.values(), ids=WATCHES)
@pytest.mark.parametrize("made", MADE.values(), ids=MADE)
def test_models_that_write_to_themselves(made, watch):
    model = made()
    before = everything(model)
    watch(model)
    assert everything(model) == before
    model(X)
    assert everything(model) != before  # the check sees a pass


@pytest.mark.parametrize("options", [{}, {"surrogate": "set"}])
def test_initialisation_leaves_buffers(options):
    model = MADE["spectral norm"]()
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    init(model, **options)
    assert all(bool((buffer == before[name]).all()) for name, buffer in model.named_buffers())


def test_the_prediction_is_that_of_the_weights_in_use():
    """A forward that clamps its weights runs with clamped ones, and they are put back."""

    class Small(nn.Linear):
        def forward(self, x):
            self.weight.data.clamp_(-0.25, 0.25)
            return super().forward(x)

    models = [chain(kind(300, 300, bias=False), width=300) for kind in (Small, nn.Linear, nn.Linear)]
    models[1][0].weight.data.clamp_(-0.25, 0.25)
    clamped, by_hand, free = (audit(model, 9 * X.repeat(1, 10)[:, :300]) for model in models)
    assert clamped.layers[0].gain == by_hand.layers[0].gain < 0.99 * free.layers[0].gain
    assert clamped.layers[0].predicted_rate == by_hand.layers[0].predicted_rate != free.layers[0].predicted_rate


def test_machinery_is_left_alone():
    """Loggers, locks, queues, iterators and objects with threads of their own go on as they are; a note names them."""

    class Writer:
        def __init__(self):
            self.lock, self.written = threading.Lock(), []

    class Logging(nn.Linear):
        def __init__(self):
            super().__init__(32, 32)
            self.log, self.lock, self.queue = logging.getLogger("varflow.test"), threading.Lock(), queue.Queue()
            self.writer, self.numbers, self.call = Writer(), itertools.count(), functools.partial(max, 1)
            self.itself, self.kinds, self.prior = self, nn.Linear, torch.distributions.Normal(0, 1)

        def forward(self, x):
            self.queue.put(1)
            self.writer.written.append(1)
            return super().forward(x)

    model = chain(Logging())
    notes = [audit(model).notes, init(model, dry_run=True).notes]
    with pytest.warns(UserWarning, match="what a pass changes in these stays changed") as warned:
        vf.Monitor(model, X, steps=STEPS)
    for words in (*notes, [str(warned[0].message)]):
        (named,) = (each for each in words if "stays changed" in each)
        assert set(named.partition(": ")[2].split(", ")) == {
            "0.queue holds a Queue",
            "0.writer holds a Writer",
            "0.numbers holds a count",
        }
    assert model[0].queue.qsize() == len(model[0].writer.written) >= STEPS
    assert not model[0].lock.locked()


# Interrupts.


def interrupted(call, at, files=None):
    """Whether a KeyboardInterrupt was raised, at the latest at that line of those that ``varflow.torch_models`` runs in a call;
    and how many lines were run.
    """
    lines = 0

    def trace(frame, event, arg):
        nonlocal lines
        path = Path(frame.f_code.co_filename)
        if path not in INTERRUPTED or (files and path.name not in files):
            return None
        if event == "line":
            lines += 1
            if lines > at:
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    except KeyboardInterrupt:
        return True, lines
    finally:
        sys.settrace(before)
    return False, lines


def small(first=MaxNorm):
    return chain(first(8, 8), width=8), X[:2, :8]


STOPPING = {"calls": 10**9, "error": KeyboardInterrupt}  # a global: attributes of modules and classes are put back


class Stopped(nn.Linear):
    """Clamps itself, and is stopped half-way at the last of so many calls."""

    def forward(self, x):
        STOPPING["calls"] -= 1
        self.weight.data.clamp_(-0.3, 0.3)
        if not STOPPING["calls"]:
            raise STOPPING["error"]
        return super().forward(x)


@pytest.fixture
def stopping(monkeypatch):
    def after(calls, error=KeyboardInterrupt):
        monkeypatch.setitem(STOPPING, "calls", calls)
        monkeypatch.setitem(STOPPING, "error", error)

    return after


def others_may_go_on():
    """True if another thread may then run a model."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: ALONE.acquire(blocking=False) and not ALONE.release()).result()


@pytest.mark.parametrize("times", [2, pytest.param(30, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "call",
    [lambda *given: audit(*given, steps=2), lambda *given: init(*given, steps=2, gain=2.0, refine=True)],
    ids=["audit", "init_model"],
)
def test_interrupted_at_any_line(call, times):
    """Lines from all parts of the call; not behind the last one of ``init_model`` that draws."""
    model, x = small()
    before = everything(model)
    call(*small())  # what is remembered from one call to the next is there
    _, lines = interrupted(lambda: call(*small()), 10**9)
    for at in range(0, lines - 60, lines // times):
        assert interrupted(lambda: call(model, x), at)[0]
        assert everything(model) == before
    assert others_may_go_on()


def test_interrupted_again_while_state_is_put_back(stopping):
    """Lines all along what puts back what an interrupted pass has changed."""
    model, x = small(Stopped)
    before = everything(model)
    stopping(1)
    _, lines = interrupted(lambda: audit(model, x), 10**9, ["_restoring.py"])
    assert everything(model) == before
    for at in range(lines - 1, 0, -(lines // 15)):
        stopping(1)
        assert interrupted(lambda: audit(model, x), at, ["_restoring.py"])[0]
        assert everything(model) == before
    assert others_may_go_on()


def test_what_cannot_be_put_back_is_said_and_does_not_stop_the_rest():
    done, calls = [], [lambda: done.append("last"), lambda: 1 / 0, lambda: done.append("first")]
    with pytest.raises(ZeroDivisionError):
        _restoring.to_the_end(calls)
    assert (done, calls) == (["first", "last"], [])


# Weights that are set when all is done.


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_old_weights_stay_until_all_is_done(error, stopping):
    """The pass that plans, and each of those that refine what was drawn, is stopped."""
    calls, was_set = 1, False
    model, x = small(Stopped)
    before = everything(model)
    while not was_set:
        stopping(calls, error)
        try:
            init(model, x, steps=1, refine=True, rate=0.3)
            was_set = True
        except (KeyboardInterrupt, vf.DomainError):
            assert everything(model) == before
            calls += 1
    assert calls > 3
    assert everything(model) != before


def test_a_generator_that_drew_for_nothing_is_put_back(stopping):
    (model, x), generator = small(Stopped), torch.Generator().manual_seed(3)
    stopping(2)
    before = generator.get_state()
    with pytest.raises(KeyboardInterrupt):
        vf.init.init_model(model, x, steps=1, refine=True, generator=generator)
    assert torch.equal(generator.get_state(), before)
    stopping(10**9)
    vf.init.init_model(model, x, steps=1, generator=generator)
    assert not torch.equal(generator.get_state(), before)


@pytest.mark.parametrize("generator", [np.random.default_rng(0), random.Random(0), 3])
def test_generators_of_other_kinds_are_refused(generator):
    model = chain()
    before = everything(model)
    with pytest.raises(vf.DomainError, match=r"generator=.* must be a torch\.Generator"):
        vf.init.init_model(model, X, steps=STEPS, generator=generator)
    assert everything(model) == before


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("refine", [False, True])
def test_weights_made_in_inference_mode(inside, refine):
    """Set inside and outside of it as any others; but without gradients."""
    with torch.inference_mode():
        model = chain()
    with torch.inference_mode(inside):
        plan = init(model, refine=refine)
        assert audit(model).healthy
    plain = chain()
    with_gradients = init(plain, refine=refine)
    assert with_gradients.learning is not None
    assert plan.learning is None
    assert with_gradients.to_dict() | {"learning": None} == plan.to_dict()
    assert torch.equal(plain[0].weight, model[0].weight)
    with pytest.raises(vf.DomainError, match=r"has no gradients with respect to weights"):
        audit(model, loss=torch.sum)


def one_memory():
    model = chain()
    model[2].weight.data = model[0].weight.data
    return model


def expanded(name):
    model = chain()
    shape = getattr(model[2], name).shape
    setattr(model[2], name, nn.Parameter(torch.ones(1).expand(shape)))
    return model


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda: expanded("weight"), "kept: 2 has an expanded weight or bias, one number in several places"),
        (lambda: expanded("bias"), "kept: 2 has an expanded weight or bias, one number in several places"),
        (one_memory, "kept: 2 shares its weights with 0"),
    ],
)
def test_memory_that_cannot_be_drawn_into_is_kept(made, words):
    """The other layer is drawn; what shares its memory has the numbers drawn for that one."""
    model = made()
    second = model[2].weight.detach().clone()
    plan = init(model)
    assert plan.layers[1].set_by == words
    assert torch.equal(model[2].weight, model[0].weight if made is one_memory else second)
    before = everything(model)
    audit(model)
    assert everything(model) == before


def test_weights_that_are_stretches_of_one_tensor():
    flat, model = torch.zeros(2 * 32 * 32), chain()
    model[0].weight.data, model[2].weight.data = flat[:1024].view(32, 32), flat[1024:].view(32, 32).T
    plan = init(model)
    stds = [float(weight.weight.detach().std()) for weight in (model[0], model[2])]
    assert stds == pytest.approx([layer.weight_std for layer in plan.layers], rel=5 / 2048**0.5)
    assert model[0].weight.data_ptr() == flat.data_ptr()


@pytest.mark.parametrize(
    ("calls", "options", "error"),
    [
        (1, {}, KeyboardInterrupt),
        (3, {}, KeyboardInterrupt),
        (10**9, {"iterations": 1, "tolerance": 1e-12}, vf.ConvergenceError),
        (10**9, {"mean": 0.1}, vf.DomainError),
    ],
)
def test_lsuv_sets_all_or_nothing(calls, options, error, stopping):
    model, generator = nn.Sequential(Stopped(8, 8), nn.BatchNorm1d(8), nn.Linear(8, 8, bias=False)), torch.Generator()
    before = everything([model, generator])
    stopping(calls)
    with pytest.raises(error):
        vf.init.lsuv_(model, X[:, :8], generator=generator, **options)
    assert everything([model, generator]) == before
    model[0] = nn.Linear(8, 8)  # one that does not clamp itself
    before = model[0].weight.detach().clone()
    assert not torch.equal(vf.init.lsuv_(model, X[:, :8], generator=generator)[0].weight, before)


# Classes are known by what they are, not by their names.


def test_names_of_classes_do_not_mislead():
    layer = type("ConvWithMaxNorm", (nn.Conv2d,), {})(4, 6, 3)
    assert vf.init.fan_in(layer) == 36
    up = type("Upsampling", (nn.ConvTranspose2d,), {})(4, 6, 4, stride=2)
    assert vf.init.fan_in(up) == vf.init.fan_in(nn.ConvTranspose2d(4, 6, 4, stride=2)) == 16
    with pytest.raises(vf.DomainError, match=NOT_SUMMED):
        vf.init.fan_in(type("Shift", (nn.LayerNorm,), {})((3, 4)))
