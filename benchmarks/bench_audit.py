"""What it costs to watch, to audit and to initialise a model, beside its own forward pass and a bare ``normal_`` of its
weights.

Ratios are taken inside one process, on one thread, in CPU time, with the two sides interleaved. Run with
``pytest benchmarks/bench_audit.py -s``.
"""

import statistics
import time

import pytest

import varflow as vf

torch = pytest.importorskip("torch")
snntorch = pytest.importorskip("snntorch")

from varflow.init.models import initialise  # noqa: E402
from varflow.init.models.target import deep_layer  # noqa: E402
from varflow.init.models.walker import trace  # noqa: E402
from varflow.init.models.watch import Recorder  # noqa: E402

WIDTH, DEPTH, STEPS, BATCH = 512, 50, 12, 64
BIG_WIDTH, BIG_DEPTH = 1414, 50  # 1e8 parameters


class Perceptron(torch.nn.Module):
    def __init__(self, width, depth, steps):
        super().__init__()
        self.steps = steps
        self.weights = torch.nn.ModuleList([torch.nn.Linear(width, width) for _ in range(depth)])
        self.neurons = torch.nn.ModuleList([snntorch.Leaky(0.5) for _ in range(depth)])

    def forward(self, x):
        membranes = [neuron.reset_mem() for neuron in self.neurons]
        spikes = x
        for _ in range(self.steps):
            spikes = x
            for l, (weight, neuron) in enumerate(zip(self.weights, self.neurons, strict=True)):
                spikes, membranes[l] = neuron(weight(spikes), membranes[l])
        return spikes


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def seconds(call):
    start = time.process_time()
    call()
    return time.process_time() - start


def ratio(rounds, over, under):
    return statistics.median(seconds(over) / seconds(under) for _ in range(rounds))


def test_watching_over_the_forward_pass(benchmark):
    """Labels, hooks and statistics of every layer; the model's state is kept and put back."""
    model, x = Perceptron(WIDTH, DEPTH, STEPS), torch.rand(BATCH, WIDTH)
    vf.init.init_model(model, x)

    def forward():
        with torch.no_grad():
            model(x)

    def watch():
        recorder = Recorder()
        trace(model, x, record=recorder)
        recorder.results()

    forward(), watch()
    found = []
    benchmark.pedantic(lambda: found.append(ratio(5, watch, forward)), rounds=1)
    benchmark.extra_info["watching / forward"] = found[0]
    print(f"\nwatching / forward pass: {found[0]:.3f}")


def test_audit_of_fifty_layers(benchmark):
    """The whole audit, prediction included, of a batch of 16."""
    model, x = Perceptron(WIDTH, DEPTH, STEPS), torch.rand(16, WIDTH)
    vf.init.init_model(model, x)
    benchmark.pedantic(lambda: vf.audit(model, x), rounds=3, warmup_rounds=1)


def test_initialising_over_a_bare_normal(benchmark):
    """1e8 parameters in 50 layers, four steps: filling from the plan, and the planning apart."""
    model, x = Perceptron(BIG_WIDTH, BIG_DEPTH, 4), torch.rand(4, BIG_WIDTH)
    traced = trace(model, x)
    first = seconds(lambda: deep_layer(traced.layers[0].neuron, 4, "firing_rate", 0.2, BIG_DEPTH))
    plan = vf.init.init_model(model, x)

    def bare():
        for weight in model.weights:
            torch.nn.init.normal_(weight.weight, std=0.05)

    found = []
    fill = lambda: initialise.fill(torch, traced, list(plan.layers), None)  # noqa: E731
    planned = min(seconds(lambda: initialise._Planner(traced, "firing_rate", 0.2, False).plan()) for _ in range(3))
    watched = min(seconds(lambda: trace(model, x)) for _ in range(3))
    benchmark.pedantic(lambda: found.append(ratio(3, fill, bare)), rounds=1)
    plain = min(seconds(bare) for _ in range(3))
    rest = {"tracing": watched, "planning": planned, "meeting the neuron": first}
    words = ", ".join(f"{name} {value / plain:.2f}" for name, value in rest.items())
    print(f"\nfill / normal_: {found[0]:.3f}; beside it {words}")
    benchmark.extra_info["fill / normal_"] = found[0]
