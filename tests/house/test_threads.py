"""Threads beside each other: none changes what another computes, and none leaves the process other than it was."""

import inspect
import random
import subprocess
import sys
import threading
import time
import warnings
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context

import numpy as np
import pytest
from scipy import stats

import varflow as vf
from varflow._shared import one_thread
from varflow.simulation.run import exact_products

torch = pytest.importorskip("torch")
snntorch = pytest.importorskip("snntorch")

from public_calls import CALLS, DIGITS, state_of_the_process, told  # noqa: E402
from torch import nn  # noqa: E402
from torch.utils.checkpoint import CheckpointFunction, checkpoint  # noqa: E402

X, STEPS = torch.rand(5, 24, generator=torch.Generator().manual_seed(0)), 4


class Beside(nn.Linear):
    """A layer whose every call waits until another thread has done its work."""

    def __init__(self, work):
        super().__init__(24, 24, bias=False)
        self.work = work

    def forward(self, x):
        other = threading.Thread(target=self.work)
        other.start()
        other.join()
        return super().forward(x)


def chain(*first):
    torch.manual_seed(3)
    model = nn.Sequential(*first, nn.Linear(24, 24), snntorch.Leaky(0.7, init_hidden=True), nn.Linear(24, 24))
    model.append(snntorch.Leaky(0.4, init_hidden=True))
    for module in model:
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=3.0 / 24**0.5)
    return model


# Checkpoints.

SEEN = []  # a global: what closures hold is put back after a measurement


def trained(times):
    """How often a step with a reentrant checkpoint runs its part: forward, and again backward."""
    calls = []

    def part(x):
        calls.append(1)
        return 2 * x

    for _ in range(times):
        checkpoint(part, torch.ones(3, requires_grad=True), use_reentrant=True).sum().backward()
    return len(calls)


@pytest.mark.parametrize("watch", [vf.audit, lambda *given, **options: vf.Monitor(*given, gradients=True, **options)(0)])
def test_a_training_beside_a_measurement_keeps_its_checkpoints(watch):
    SEEN.clear()
    watch(chain(Beside(lambda: SEEN.append(trained(3)))), X, steps=STEPS)
    assert set(SEEN) == {6}
    assert len(SEEN) >= STEPS
    assert "apply" not in vars(CheckpointFunction)


def test_the_measured_model_runs_checkpoints_once():
    """The control of the test above: in the measuring thread they are replaced."""
    SEEN.clear()

    class Counted(nn.Module):
        def forward(self, x):
            return checkpoint(lambda y: SEEN.append(1) or 1 * y, x + torch.zeros(1, requires_grad=True), use_reentrant=True)

    vf.audit(chain(Counted()), X, steps=STEPS, gradients=True)
    assert len(SEEN) == 4 * STEPS  # a pass without gradients, one with them and two of half the inputs, each forward only


# Random numbers.


DRAWS = {
    "torch": lambda: torch.rand(2),
    "numpy": lambda: np.random.random(2),  # noqa: NPY002
    "Python": random.random,
}


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_numbers_drawn_in_another_thread_are_not_the_models(draw):
    alone, beside = (vf.audit(chain(Beside(work)), X, steps=STEPS) for work in (lambda: None, draw))
    assert not any("random" in note for note in beside.notes)
    assert [layer.firing_rates.tolist() for layer in alone.layers] == [layer.firing_rates.tolist() for layer in beside.layers]


def test_numbers_that_the_model_draws_are_noticed_beside_others():
    class Own(Beside):
        def forward(self, x):
            return super().forward(torch.bernoulli(x))

    assert any("draws random numbers" in note for note in vf.audit(chain(Own(DRAWS["torch"])), X, steps=STEPS).notes)


# Settings of the process.


def overlapping(*contexts):
    """Threads enter the contexts in turn and leave them in the same order, the first one first; what each returns then."""
    inside, go = [threading.Event() for _ in contexts], [threading.Event() for _ in contexts]

    def one(index):
        with contexts[index]():
            inside[index].set()
            go[index].wait()
        return torch.get_num_threads()

    with ThreadPoolExecutor(len(contexts)) as pool:
        running = []
        for index in range(len(contexts)):
            running.append(pool.submit(one, index))
            inside[index].wait()
        return [event.set() or each.result() for event, each in zip(go, running, strict=True)]


class Process:
    """A process whose linear algebra has four threads, as threadpoolctl shows it."""

    threads = 4

    @contextmanager
    def limit(self, limits, user_api):
        before, self.threads = self.threads, limits
        yield
        self.threads = before


def test_linear_algebra_has_its_threads_back(monkeypatch):
    process = Process()
    monkeypatch.setattr("varflow._shared._controller", lambda: process)
    with one_thread():
        assert process.threads == 1
    overlapping(one_thread, one_thread, one_thread)
    assert process.threads == 4


def test_linear_algebra_stays_on_one_thread_until_the_last_is_done(monkeypatch):
    """The thread that came first leaves while another one still computes."""
    process, left = Process(), threading.Event()
    monkeypatch.setattr("varflow._shared._controller", lambda: process)

    def later():
        with one_thread():
            inside.set()
            left.wait()
            return process.threads

    inside = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        with one_thread():
            second = pool.submit(later)
            inside.wait()
        left.set()
        assert second.result() == 1
    assert process.threads == 4


def test_torch_has_its_threads_and_precision_back():
    """Torch's number of threads is one of each thread, and one of those to come."""
    before = torch.get_num_threads(), torch.get_float32_matmul_precision()
    try:
        torch.set_num_threads(3)
        torch.set_float32_matmul_precision("medium")
        assert overlapping(exact_products, exact_products) == [3, 3]
        assert torch.get_float32_matmul_precision() == "medium"
        with exact_products():
            assert overlapping(lambda: one_thread()) == [3]  # a thread that starts in between
            assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before[0])
        torch.set_float32_matmul_precision(before[1])


class Slow(stats.rv_continuous):
    """Its moments take a while, those of the first the shortest."""

    started, seconds = threading.Event(), 0.1

    def _pdf(self, x):
        return np.exp(-np.abs(x)) / 2

    def _stats(self):
        self.started.set()
        time.sleep(self.seconds)
        return 0.0, 2.0, 0.0, 3.0


def test_filters_of_warnings_are_those_before():
    """A thread begins while another one is without warnings, and ends after it."""
    before, filters = warnings.filters, list(warnings.filters)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(vf.distribution, Slow(name="slow")())
        Slow.started.wait()
        Slow.seconds = 0.3
        second = pool.submit(vf.distribution, Slow(name="slow, too")())
        first.result(), second.result()
    assert warnings.filters is before
    assert warnings.filters == filters


# Everything public at once.

CLASSES = {"Monitor", "SpikeChain"}  # that compute
QUICK = ["audit", "audit of a random model", "Monitor", "simulate", "mean_field", "lsuv_", "orthogonal_", "finite_width"]
QUICK += ["distribution", "kernel"]


def in_turn(names, first, seed=None):
    """What each call returns, by name, from the one with that number on; with the shared generator seeded, if asked for."""
    if seed is not None:
        torch.manual_seed(seed)
    return {name: told((CALLS | DIGITS)[name]()) for name in (*names[first:], *names[:first])}


def wrong(names, threads):
    """Names of the calls whose results in threads are not those of one thread, and of the settings that are then others."""
    alone = in_turn(names, 0)
    before, barrier = state_of_the_process(), threading.Barrier(threads)

    def one(index):
        barrier.wait()
        return in_turn(names, index * len(names) // threads)

    with ThreadPoolExecutor(threads) as pool:
        beside = list(pool.map(one, range(threads)))
    after = state_of_the_process()
    other = {name for name in names if any(each[name] != alone[name] for each in beside)}
    return other | {name for name in before if before[name] != after[name]}


def test_no_public_function_is_forgotten():
    """Classes of results, networks and errors compute nothing by themselves."""
    functions = {name for room in (vf, vf.init) for name in room.__all__ if inspect.isfunction(getattr(room, name))}
    assert functions | CLASSES == {name for name in CALLS if name.isidentifier()}


def test_threads_give_the_bits_of_one_and_leave_all_as_found():
    assert wrong(QUICK, 3) == set()


@pytest.mark.slow
def test_eight_threads_give_the_bits_of_one_and_leave_all_as_found():
    assert wrong(list(CALLS), 8) == set()


@pytest.mark.slow
def test_eight_threads_give_the_digits_of_one():
    assert wrong(list(DIGITS), 8) == set()


@pytest.mark.slow
def test_four_processes_give_the_bits_of_one():
    names = list(CALLS | DIGITS)
    alone = in_turn(names, 0, seed=1)
    with ProcessPoolExecutor(4, get_context("spawn")) as pool:
        for beside in pool.map(in_turn, [names] * 4, [0, 12, 24, 36], [1] * 4):
            assert {name for name in names if beside[name] != alone[name]} == set()


@pytest.mark.parametrize("threads", [2, 8])
def test_what_threads_share_is_caught(threads, monkeypatch):
    """Controls: a result that another thread changes half-way, and a setting that is put back to what another thread set."""
    number, turn = [0], threading.Barrier(threads)
    lock, limit = threading.Lock(), sys.getrecursionlimit()

    def together():
        if threading.current_thread() is not threading.main_thread():
            turn.wait()

    def shared():
        number[0] = threading.get_ident()
        together()
        return number[0] == threading.get_ident()

    def swapped():
        with lock:
            before = sys.getrecursionlimit()
            sys.setrecursionlimit(before + 1)
        for first in (True, False):  # the one that came first leaves first
            together()
            if (before == limit) is first:
                sys.setrecursionlimit(before)

    for name, call, caught in (("shared", shared, "shared"), ("swapped", swapped, "Python")):
        monkeypatch.setitem(CALLS, name, call)
        found = wrong([name], threads)
        sys.setrecursionlimit(limit)
        assert found == {caught}


FIRST = """
import threading
import varflow as vf

names = ["gain", "mean_field", "finite_width", "simulate", "audit", "fixed_points", "lookup", "kernel"]
found, barrier = [], threading.Barrier(len(names))


def load(name):
    barrier.wait()
    found.append(callable(getattr(vf, name)) and callable(vf.init.init_model) and callable(vf.reference.gain))


threads = [threading.Thread(target=load, args=(name,)) for name in names]
[each.start() for each in threads], [each.join() for each in threads]
print(sum(found))
"""


def test_names_are_loaded_by_many_threads_at_once():
    done = subprocess.run([sys.executable, "-c", FIRST], capture_output=True)
    assert done.stdout.split() == [b"8"], done.stderr.decode()
