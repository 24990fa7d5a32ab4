"""The cost of observing, auditing and initialising a model, relative to its forward pass and to ``normal_`` on its weights.

Ratios are of the shortest of several interleaved rounds in one process, least affected by other load: CPU time on one thread,
wall time on all of torch's threads.
"""

import time

import pytest
from setting import size

import varflow as vf

torch = pytest.importorskip("torch")
snntorch = pytest.importorskip("snntorch")

from varflow.torch_models.audit.coherence import learning  # noqa: E402
from varflow.torch_models.audit.gradients import gradients  # noqa: E402
from varflow.torch_models.audit.step import one_step  # noqa: E402
from varflow.torch_models.initialise.filling import fill  # noqa: E402
from varflow.torch_models.initialise.layer_gains import deep_layer  # noqa: E402
from varflow.torch_models.initialise.planner import Planner  # noqa: E402
from varflow.torch_models.tracing.measurements import trace_and_measure  # noqa: E402
from varflow.torch_models.tracing.trace import trace  # noqa: E402

WIDTH, DEPTH, STEPS, BATCH = size((512, 50, 12, 64), (20, 3, 4, 4))
BIG_WIDTH, BIG_DEPTH = size((1414, 50), (20, 3))  # 1e8 parameters
ROUNDS = size(9, 1)


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


def maps_with_pools():
    """Three convolutions, the last two with an average pool and a max pool behind their neurons, and a batch of 8."""
    channels, side = size((24, 28), (4, 4))
    layers = []
    for inputs, pool in ((2, ()), (channels, (torch.nn.AvgPool2d(2),)), (channels, (torch.nn.MaxPool2d(2),))):
        layers += [torch.nn.Conv2d(inputs, channels, 3, padding=1), snntorch.Leaky(0.5, init_hidden=True), *pool]
    out = torch.nn.Linear(channels * (side // 4) ** 2, 10)
    model = torch.nn.Sequential(*layers, torch.nn.Flatten(), out, snntorch.Leaky(0.5, init_hidden=True))
    return model, torch.rand(8, 2, side, side), {"steps": size(10, 2)}


def fifty_layers():
    """Dense, and a batch of 16."""
    return Perceptron(WIDTH, DEPTH, STEPS), torch.rand(16, WIDTH), {}


CLOCKS = {"one thread, CPU": (1, time.process_time)}
CLOCKS |= size({"all threads, wall": (torch.get_num_threads(), time.perf_counter)}, {})


@pytest.fixture(params=CLOCKS)
def clock(request):
    """Seconds of a call, by CPU time on one thread and by wall time on all of them."""
    threads, now = CLOCKS[request.param]
    with_threads = torch.get_num_threads()
    torch.set_num_threads(threads)
    torch.zeros(2**23)  # allocating and freeing a large block makes glibc keep freed memory, as in any longer run

    def seconds(call):
        start = now()
        call()
        return now() - start

    seconds.name = request.param
    yield seconds
    torch.set_num_threads(with_threads)


def least(seconds, rounds, **calls):
    """The shortest time of each call over interleaved rounds."""
    for call in calls.values():
        call()
    times = [{name: seconds(call) for name, call in calls.items()} for _ in range(rounds)]
    return {name: min(row[name] for row in times) for name in calls}


def test_watching_over_the_forward_pass(benchmark, clock):
    """Labels, hooks and statistics of every layer, with the state of the model saved and restored."""
    model, x = Perceptron(WIDTH, DEPTH, STEPS), torch.rand(BATCH, WIDTH)
    vf.init.init_model(model, x, rate=0.2)

    def forward():
        with torch.no_grad():
            model(x)

    found, calls = {}, {"forward": forward, "watch": lambda: trace_and_measure(model, x, None)}
    benchmark.pedantic(lambda: found.update(least(clock, ROUNDS, **calls)), rounds=1)
    benchmark.extra_info[f"watching / forward pass, {clock.name}"] = found["watch"] / found["forward"]


def test_gradients_over_a_forward_and_backward_pass(benchmark, clock):
    """Norms, factors χ and unreached neurons of every layer, prediction apart; coherence; and a monitor's measurement."""
    model, x = Perceptron(WIDTH, DEPTH, STEPS), torch.rand(BATCH, WIDTH)
    vf.init.init_model(model, x, rate=0.2)
    traced, seen, *_ = trace_and_measure(model, x, None)

    def backward():
        model(x).sum().backward()

    calls = {
        "backward": backward,
        "gradients": lambda: gradients(model, x, None, traced, None),
        "coherence": lambda: learning(model, x, None, traced, seen),
        "monitor": vf.Monitor(model, x, 1, gradients=True).step,
    }
    found = {}
    benchmark.pedantic(lambda: found.update(least(clock, size(5, 1), **calls)), rounds=1)
    for name in ("gradients", "coherence", "monitor"):
        benchmark.extra_info[f"{name} / forward and backward pass, {clock.name}"] = found[name] / found["backward"]


def test_a_step_over_its_passes(benchmark, clock):
    """An optimiser's step in ten layers, over three forward and three backward passes of half the batch."""
    depth, batch = size((10, 256), (3, 4))
    model, x = Perceptron(WIDTH, depth, STEPS), torch.rand(batch, WIDTH)
    vf.init.init_model(model, x, rate=0.2)
    traced, seen, *_ = trace_and_measure(model, x, None)
    optimizer, labels, loss = (
        torch.optim.Adam(model.parameters()),
        torch.arange(batch) % WIDTH,
        torch.nn.functional.cross_entropy,
    )

    def passes():
        for _ in range(3):
            model.zero_grad()
            loss(model(x[::2]), labels[::2]).backward()

    calls = {"passes": passes, "step": lambda: one_step(model, x, None, traced, seen, optimizer, loss, labels)}
    found = {}
    benchmark.pedantic(lambda: found.update(least(clock, ROUNDS, **calls)), rounds=1)
    benchmark.extra_info[f"step / its passes, {clock.name}"] = found["step"] / found["passes"]


@pytest.mark.parametrize("make", [fifty_layers, maps_with_pools])
def test_an_audit(benchmark, clock, make):
    """The whole audit, prediction included."""
    model, x, steps = make()
    vf.init.init_model(model, x, rate=0.2, **steps)

    def forward():
        with torch.no_grad():
            for _ in range(steps.get("steps", 1)):
                model(x)

    found = {}
    calls = {"forward": forward, "audit": lambda: vf.audit(model, x, **steps)}
    benchmark.pedantic(lambda: found.update(least(clock, size(3, 1), **calls)), rounds=1)
    name = make.__name__.replace("_", " ")
    benchmark.extra_info[f"audit of {name} / forward pass, {clock.name}"] = found["audit"] / found["forward"]
    benchmark.extra_info[f"seconds of an audit of {name}, {clock.name}"] = found["audit"]


def test_initialising_over_a_bare_normal(benchmark, clock):
    """``init_model`` without tracing: 1e8 parameters in 50 layers, four steps, for a new neuron and a known one."""
    model, x = Perceptron(BIG_WIDTH, BIG_DEPTH, 4), torch.rand(4, BIG_WIDTH)
    traced = trace(model, x)
    plan = vf.init.init_model(model, x, rate=0.2)

    def normal():
        for weight in model.weights:
            torch.nn.init.normal_(weight.weight, std=0.05)

    def meet():
        deep_layer.cache_clear()
        deep_layer(traced.layers[0].neuron, 4, "firing_rate", 0.2, BIG_DEPTH)

    calls = {
        "normal": normal,
        "filling": lambda: fill(list(model.weights), list(plan.layers), None),
        "planning": lambda: Planner(traced, "firing_rate", 0.2).plan(),
        "meeting": meet,
        "tracing": lambda: trace(model, x),
    }
    found = {}
    benchmark.pedantic(lambda: found.update(least(clock, size(5, 1), **calls)), rounds=1)
    part = {name: found[name] / found["normal"] for name in calls}
    again = part["filling"] + part["planning"]
    benchmark.extra_info |= {f"init_model / normal_, {clock.name}": again, "the same, of a new neuron": again + part["meeting"]}
    benchmark.extra_info |= {f"{name} / normal_": ratio for name, ratio in part.items() if name != "normal"}
