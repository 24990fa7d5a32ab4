"""Threads beside each other: none changes what another computes, and none leaves the process other than it was."""

import random
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest
from scipy import stats

import varflow as vf
from varflow.simulation.chunks import exact_products
from varflow.theory.threads import one_thread

torch = pytest.importorskip("torch")
snntorch = pytest.importorskip("snntorch")

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
    assert len(SEEN) == 2 * STEPS  # a pass without gradients and one with them, each forward only


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
    monkeypatch.setattr("varflow.theory.threads._controller", lambda: process)
    with one_thread():
        assert process.threads == 1
    overlapping(one_thread, one_thread, one_thread)
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
