"""Wherever a model keeps state and whatever a forward sets: audits, plans and monitors leave it as found."""

import array
import io
import random
from collections import OrderedDict, UserDict, defaultdict, deque
from functools import partial, partialmethod
from weakref import WeakKeyDictionary

import numpy as np
import pytest

import varflow as vf

torch = pytest.importorskip("torch")
snntorch = pytest.importorskip("snntorch")

from torch import nn  # noqa: E402

X, STEPS = torch.rand(5, 24, generator=torch.Generator().manual_seed(2)), 4

WATCHES = {
    "audit": lambda model: vf.audit(model, X, steps=STEPS, gradients=True),
    "dry run": lambda model: vf.init.init_model(model, X, steps=STEPS, dry_run=True),
    "Monitor": lambda model: vf.Monitor(model, X, steps=STEPS, gradients=True)(0),
}


class Draws(nn.Linear):
    """Calls something that changes with every call, and adds nothing."""

    def __init__(self, call):
        super().__init__(24, 24)
        self.call = call

    def forward(self, x):
        self.call()
        return super().forward(x)


def chain(first):
    torch.manual_seed(5)
    model = nn.Sequential(
        first, snntorch.Leaky(0.6, init_hidden=True), nn.Linear(24, 24), snntorch.Leaky(0.6, init_hidden=True)
    )
    for weight in (model[0], model[2]):
        nn.init.normal_(weight.weight, std=3.0 / 24**0.5)
    return model


# Each kind of state: what a forward calls, and what is then read.


class Plain:
    """An object with one number."""

    def __init__(self):
        self.number = 0

    def count(self, by=1):
        self.number += by


class Slotted:
    """Has nothing in its slot at first."""

    __slots__ = ("number",)


class Listing(list):
    number = 0


class Naming(dict):
    number = 0


class Arrays(np.ndarray):
    number = 0


def in_a_partial():
    plain = Plain()
    return partial(plain.count, by=2), lambda: plain.number


def in_a_generator_of_a_partial():
    generator = torch.Generator().manual_seed(4)
    return partial(torch.bernoulli, torch.full((3,), 0.5), generator=generator), lambda: generator.get_state().tolist()


def in_a_closure():
    generator, seen = random.Random(3), []
    return lambda: seen.append(generator.random()), lambda: (generator.getstate(), list(seen))


def in_a_variable_of_a_closure():
    number = 0

    def count():
        nonlocal number
        number += 1

    return count, lambda: number


def in_a_default():
    def remember(seen=[]):  # noqa: B006
        seen.append(1)

    return remember, lambda: list(remember.__defaults__[0])


def in_an_attribute_of_a_function():
    def count():
        count.number += 1

    count.number = 0
    return count, lambda: count.number


def in_an_empty_slot():
    slotted = Slotted()
    return lambda: setattr(slotted, "number", 1), lambda: hasattr(slotted, "number")


def in_a_bound_method():
    plain = Plain()
    return plain.count, lambda: plain.number


def in_numpys_bound_method():
    generator = np.random.default_rng(8)
    return generator.random, lambda: str(generator.bit_generator.state)


def in_a_sobol_engine():
    engine = torch.quasirandom.SobolEngine(3, scramble=True, seed=1)
    return engine.draw, lambda: (engine.num_generated, engine.quasi.tolist())


def in_a_distribution():
    prior = torch.distributions.Normal(torch.zeros(2), torch.ones(2))
    return lambda: prior.loc.add_(1), lambda: prior.loc.tolist()


def in_a_subclass(kind):
    value = np.zeros(2).view(Arrays) if kind is Arrays else kind()
    return lambda: setattr(value, "number", value.number + 1), lambda: value.number


def in_an_object_array():
    held = np.empty(2, dtype=object)
    held[:] = [[], Plain()]
    return lambda: (held[0].append(1), held[1].count()), lambda: (list(held[0]), held[1].number)


def in_bytes(made, change):
    return lambda: change(made), lambda: bytes(made)


def in_a_file(made, content):
    return lambda: made.write(content), lambda: (made.getvalue(), made.tell())


def in_weak_keys():
    key = Plain()
    counts = WeakKeyDictionary({key: 0})
    return lambda: counts.update({key: counts[key] + 1}), lambda: (key.number, dict(counts))


def in_a_container(made, change):
    return lambda: change(made), lambda: repr(made)


def in_an_optimizer():
    weight = nn.Parameter(torch.ones(3))
    optimizer = torch.optim.SGD([weight], lr=0.1, momentum=0.9)

    def step():
        with torch.enable_grad():
            optimizer.zero_grad()
            (weight * weight).sum().backward()
            optimizer.step()

    step()
    return step, lambda: (weight.tolist(), [state["momentum_buffer"].tolist() for state in optimizer.state.values()])


def in_adams_first_step():
    weight = nn.Parameter(torch.ones(3))
    optimizer = torch.optim.Adam([weight])
    weight.grad = torch.ones(3)
    return optimizer.step, lambda: (weight.tolist(), len(optimizer.state))


def in_a_hook_of_a_tensor(register):
    weight = nn.Parameter(torch.ones(3))

    def gradient():
        weight.grad = None
        (2 * weight).sum().backward()
        return weight.grad.tolist()

    return lambda: register(weight), gradient


def emptied(weight):
    weight.grad.zero_()


def in_a_class():
    class Counting(Plain):
        calls, past = 0, []

        def once(self):
            Counting.calls += 1
            self.past.append(1)
            type(self).late = True

    counting = Counting()
    return counting.once, lambda: (Counting.calls, list(Counting.past), hasattr(Counting, "late"))


def in_a_class_method():
    class Base:
        number = 0

        @classmethod
        def count(cls):
            cls.number += 1

    class Derived(Base):
        also = partialmethod(Plain.count)

    held = Derived()
    return held.count, lambda: (Base.number, Derived.number)


def in_a_users_iterator():
    class Stream(Plain):
        def __next__(self):
            self.count()

    stream = Stream()
    return lambda: next(stream), lambda: stream.number


STATES = {
    "partial": in_a_partial,
    "partial of a generator": in_a_generator_of_a_partial,
    "closure": in_a_closure,
    "variable of a closure": in_a_variable_of_a_closure,
    "default": in_a_default,
    "attribute of a function": in_an_attribute_of_a_function,
    "empty slot": in_an_empty_slot,
    "bound method": in_a_bound_method,
    "bound method of numpy": in_numpys_bound_method,
    "SobolEngine": in_a_sobol_engine,
    "distribution": in_a_distribution,
    **{f"attribute of a {kind.__name__}": partial(in_a_subclass, kind) for kind in (Listing, Naming, Arrays)},
    "object array": in_an_object_array,
    "bytearray": lambda: in_bytes(bytearray(b"ab"), lambda made: made.append(3)),
    "array": lambda: in_bytes(array.array("d", [1.0]), lambda made: made.append(3.0)),
    "BytesIO": lambda: in_a_file(io.BytesIO(b"abc"), b"xyzuv"),
    "StringIO": lambda: in_a_file(io.StringIO(), "θ"),
    "weak keys": in_weak_keys,
    "UserDict": lambda: in_a_container(UserDict(a=1), lambda made: made.update(b=len(made))),
    "defaultdict": lambda: in_a_container(defaultdict(int), lambda made: made[len(made)]),
    "OrderedDict": lambda: in_a_container(OrderedDict(a=1, b=2), lambda made: made.move_to_end(next(iter(made)))),
    "deque": lambda: in_a_container(deque([1, 2, 3], maxlen=3), lambda made: made.append(len(made))),
    "optimizer": in_an_optimizer,
    "first step of Adam": in_adams_first_step,
    "hook of a tensor": lambda: in_a_hook_of_a_tensor(lambda weight: weight.register_hook(lambda gradient: 0 * gradient)),
    "hook after a gradient": lambda: in_a_hook_of_a_tensor(lambda weight: weight.register_post_accumulate_grad_hook(emptied)),
    "class": in_a_class,
    "class method": in_a_class_method,
    "iterator of the user's": in_a_users_iterator,
}


@pytest.mark.parametrize("watch", WATCHES.values(), ids=WATCHES)
@pytest.mark.parametrize("state", STATES.values(), ids=STATES)
def test_state_is_put_back(state, watch):
    call, read = state()
    model = chain(Draws(call))
    before = read()
    watch(model)
    assert read() == before
    model(X)
    assert read() != before  # the check sees a pass


# Settings of the process.


def set_dtype():
    torch.set_default_dtype(torch.float64)


def add_a_global_hook():
    nn.modules.module.register_module_forward_hook(lambda *_: None)


SETTINGS = {
    "default dtype": (set_dtype, torch.get_default_dtype),
    "threads": (lambda: torch.set_num_threads(2), torch.get_num_threads),
    "precision of products": (lambda: torch.set_float32_matmul_precision("medium"), torch.get_float32_matmul_precision),
    "anomalies": (lambda: torch.autograd.set_detect_anomaly(True), torch.is_anomaly_enabled),
    "deterministic": (lambda: torch.use_deterministic_algorithms(True), torch.are_deterministic_algorithms_enabled),
    "hooks of all modules": (add_a_global_hook, lambda: len(nn.modules.module._global_forward_hooks)),
    "errors of numpy": (lambda: np.seterr(divide="raise"), np.geterr),
}


@pytest.fixture
def process():
    """Settings as they were, whatever a test does."""
    yield
    torch.set_default_dtype(torch.float32)
    torch.set_num_threads(1)
    torch.set_float32_matmul_precision("highest")
    torch.autograd.set_detect_anomaly(False)
    torch.use_deterministic_algorithms(False)
    nn.modules.module._global_forward_hooks.clear()
    np.seterr(divide="warn")


@pytest.mark.usefixtures("process")
@pytest.mark.filterwarnings("ignore:Anomaly Detection")
@pytest.mark.parametrize("watch", WATCHES.values(), ids=WATCHES)
@pytest.mark.parametrize(("change", "read"), SETTINGS.values(), ids=SETTINGS)
def test_settings_are_put_back(change, read, watch):
    model, before = chain(Draws(change)), read()
    watch(model)
    assert read() == before
    change()
    assert read() != before


@pytest.mark.usefixtures("process")
@pytest.mark.parametrize("watch", WATCHES.values(), ids=WATCHES)
def test_state_of_hooks_of_all_modules_is_put_back(watch):
    seen, model = [], chain(nn.Linear(24, 24))
    nn.modules.module.register_module_forward_hook(lambda *_: seen.append(1))
    watch(model)
    assert not seen
    model(X)
    assert seen
