"""Bad input, as tables: the public API names argument, value and rule; the command line says so in one line, with code 2."""

import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

import varflow as vf
from varflow.cli import main

torch = pytest.importorskip("torch")
pytest.importorskip("matplotlib")

NAN, INF = float("nan"), float("inf")
RNG = np.random.default_rng(1)


def net(**options):
    return vf.Network(**{"width": 10, "depth": 3, "gain": 2.5} | options)


def sim(network=None, **options):
    return vf.simulate(net() if network is None else network, **{"repeats": 2} | options)


def lookup(**options):
    return vf.lookup(**{"threshold": 1.0, "fan_in": 10} | options)


def points(**options):
    return vf.fixed_points(**{"threshold": 1.0, "gain": 2.5} | options)


def validate(**options):
    return vf.validate(**{"width": 10, "depth": 2, "repeats": 2, "threshold": 0.5, "gain": 2.0} | options)


NUMBER = "must be a real number"
WHOLE = "must be a whole number, at least"
RAGGED = [[1.0], [1.0, 2.0]]
NO_NUMBERS = [("1", NUMBER), (True, NUMBER), (None, NUMBER), (1j, NUMBER), (RAGGED, NUMBER), ({}, NUMBER)]
NOT_FINITE = [(NAN, "must be finite"), (INF, "must be finite"), (-INF, "must be finite"), ([1.0, NAN], "must be finite")]
NO_SCALE = [*NO_NUMBERS, *NOT_FINITE, (1e200, "must lie within"), (1e-200, "must lie within")]
NOT_POSITIVE = [*NO_SCALE, (0.0, "must be positive"), (-1.0, "must be positive"), ([1.0, -2.0], "must be positive")]
NEGATIVE = [*NO_SCALE, (-0.5, "must not be negative")]
NOT_WHOLE = [(x, WHOLE) for x in (0, -3, 1.5, 2.0, NAN, "3", True, np.True_, None, [1, 2], 1j)]
VECTORS = [([1.0, 2.0], "must be one number here"), (np.ones((2, 2)), "must be one number here")]


def rows(call, argument, cases):
    return [(call, argument, value, rule) for value, rule in cases]


def vectorised(name):
    """Functions whose arguments broadcast."""
    function = getattr(vf, name)
    first = {"gain": {"threshold": 1.0}, "stable_variance": {"threshold": 1.0, "gain": 2.5}}.get(name, {"threshold": 1.0})
    return lambda **options: function(**first | options)


def variance_map(variance=1.0, **options):
    return vf.variance_map(variance, **{"threshold": 1.0, "gain": 2.5} | options)


API = [
    *rows(vectorised("gain"), "threshold", NO_SCALE),
    *rows(vectorised("gain"), "variance", NOT_POSITIVE),
    *rows(vectorised("gain"), "bias_std", NEGATIVE),
    *rows(vectorised("gain"), "mean_gain", NO_SCALE),
    (vectorised("gain"), "threshold", 100.0, "no potential of this variance fires"),
    *rows(vectorised("critical_gain"), "threshold", NO_SCALE),
    *rows(vectorised("stable_variance"), "threshold", NO_SCALE),
    *rows(vectorised("stable_variance"), "gain", NOT_POSITIVE),
    *rows(vectorised("stable_variance"), "bias_std", NEGATIVE),
    *rows(variance_map, "variance", NEGATIVE),
    *rows(variance_map, "threshold", NO_SCALE),
    *rows(variance_map, "gain", NOT_POSITIVE),
    *rows(variance_map, "bias_std", NEGATIVE),
    *rows(variance_map, "mean_gain", NO_SCALE),
    *rows(points, "threshold", [*NO_SCALE, *VECTORS]),
    *rows(points, "gain", [*NOT_POSITIVE, *VECTORS]),
    *rows(points, "bias_std", [*NEGATIVE, *VECTORS]),
    *rows(points, "mean_gain", [*NO_SCALE, *VECTORS]),
    *rows(lambda threshold: vf.Neuron(threshold), "threshold", [*NO_SCALE, *VECTORS]),
    *rows(vf.Neuron, "decay", [*NO_NUMBERS, *NOT_FINITE, *VECTORS, (1.1, "must lie between"), (-0.1, "must not be negative")]),
    *rows(vf.Neuron, "input_scale", [*NOT_POSITIVE, *VECTORS]),
    *rows(vf.Neuron, "synaptic_decay", [*NO_NUMBERS, *NOT_FINITE, (1.0, "1 excluded"), (-0.1, "must not be negative")]),
    *rows(vf.Neuron, "reset", [(x, "is unknown; choose one of none, subtract") for x in ("hard", None, 1, ["zero"])]),
    *rows(vf.Neuron, "strict", [(x, "must be True or False") for x in (1, "yes", None)]),
    *rows(vf.Neuron, "delay", [(x, "must be a whole number, at least 0") for x in (-1, 0.5, "1", True, None)]),
    (lambda threshold: vf.Neuron(threshold, reset="multi_spike"), "threshold", 0.0, "must be positive for reset='multi_spike'"),
    *rows(
        net, "width", [*NOT_WHOLE[:-2], ([10, 10], "one per layer (depth=3)"), ([10, 0, 10], WHOLE), ([1, [2, 3], 4], NUMBER)]
    ),
    (net, "width", [10, 10.5, 10], WHOLE),
    *rows(net, "depth", NOT_WHOLE),
    *rows(net, "gain", [*NOT_POSITIVE[:-1], ([2.0, 2.0], "one per layer (depth=3)")]),
    *rows(net, "neuron", [(x, "must be vf.Neuron(threshold)") for x in (1.0, vf.Neuron, "lif")]),
    (lambda weights: net(weights=weights), "weights", "cauchy", "is unknown; choose one of normal, uniform, sign"),
    *rows(net, "weights", [(x, "must be one of normal, uniform, sign") for x in (None, 1, np.ones(2))]),
    *rows(net, "bias_std", [*NEGATIVE, *VECTORS]),
    *rows(net, "mean_gain", [(value, rule) for value, rule in [*NO_SCALE, *VECTORS] if value is not None]),
    *rows(net, "steps", NOT_WHOLE),
    *rows(net, "drive", [(x, "must be vf.drives.currents(std), .white(std), .inputs(x)") for x in (1.0, np.ones((2, 2)), "x")]),
    *rows(vf.drives.currents, "std", [*NEGATIVE, *VECTORS]),
    *rows(vf.drives.inputs, "x", [*NO_NUMBERS[:4], (NAN, "finite"), ([[1.0, INF]], "finite"), ([[1e200]], "at most 1e+140")]),
    *rows(vf.drives.inputs, "x", [(x, "must have shape (batch, n_in)") for x in (1.0, [1.0], np.ones((2, 2, 2, 2)), [[]], [])]),
    *rows(vf.drives.inputs, "x", [([[0.0, 0.0]], "is zero throughout"), ([[1e-200, 0.0]], "is too small to square")]),
    *rows(
        lambda input_gain: vf.drives.inputs([[1.0]], input_gain), "input_gain", [*NOT_POSITIVE[:2], *NOT_POSITIVE[3:], *VECTORS]
    ),
    *rows(vf.drives.white, "std", [*NEGATIVE, *VECTORS]),
    *rows(
        vf.drives.spikes, "rates", [*NO_NUMBERS[:4], (NAN, "finite"), (-0.1, "shape (n_in,)"), ([-0.1], "must not be negative")]
    ),
    *rows(
        vf.drives.spikes, "rates", [([1.1], "must lie between 0 and 1"), ([0.0], "is zero throughout"), ([], "shape (n_in,)")]
    ),
    (lambda kind: vf.drives.spikes([0.5], kind=kind), "kind", "regular", "is unknown; choose one of bernoulli, poisson"),
    *rows(
        vf.drives.given,
        "currents",
        [*NO_NUMBERS[:4], (NAN, "finite"), (1.0, "must have shape (steps,)"), ([], "shape (steps,)")],
    ),
    (vf.drives.given, "currents", [1e200], "at most 1e+140"),
    *[
        (
            lambda drive: net(steps=2, drive=drive),
            "drive",
            drive,
            f"does not fit a network of {there}, layer 1: give it {wanted}",
        )
        for drive, there, wanted in [
            (vf.drives.given([1.0, 2.0, 3.0]), "steps=2", "steps=3"),
            (vf.drives.given(np.ones((2, 7))), "width=10", "width=7"),
            (vf.drives.inputs(np.ones((4, 3, 5))), "steps=2", "steps=3"),
        ]
    ],
    (lambda drive: vf.finite_width(net(drive=drive)), "drive", vf.drives.given([1.0]), "has no Gaussian law"),
    (lambda drive: vf.finite_width(net(drive=drive)), "drive", vf.drives.spikes([0.5]), "law at finite width is not known"),
    *rows(lambda distribution: vf.distribution(distribution), "distribution", [("cauchy", "is unknown; choose one of normal")]),
    *rows(
        lambda distribution: vf.distribution(distribution), "distribution", [(x, "must be one of") for x in (None, 3, {}, len)]
    ),
    *rows(
        vf.distributions.student_t, "df", [*NO_NUMBERS, *NOT_FINITE, *VECTORS, (2.0, "must be above 2"), (1e16, "at most 1e15")]
    ),
    *[
        (call, "distribution", "gauss", "is unknown; choose one of normal, uniform, laplace, logistic or student_t:DF")
        for call in (points, lookup, variance_map, vectorised("gain"))
    ],
    *rows(lookup, "threshold", [*NO_SCALE[:2], *NO_SCALE[3:], *VECTORS]),
    (lookup, "threshold", None, "is missing: give a threshold or a neuron"),
    *rows(lookup, "fan_in", [case for case in NOT_WHOLE if case[0] is not None]),
    (lookup, "fan_in", None, "is missing: give it or a layer, by its weight shape or as a torch layer"),
    (lookup, "layer", (3, 4), "contradicts a fan-in of 10"),
    *rows(
        lambda layer: lookup(fan_in=None, layer=layer),
        "layer",
        [(x, "must be a weight shape") for x in [(5,), (5, 0), (5, 2.5)]],
    ),
    *rows(lambda layer: lookup(fan_in=None, layer=layer), "layer", [(x, "must be a weight shape") for x in ["5,5", 5, {5: 5}]]),
    *rows(
        lambda layer: lookup(fan_in=None, layer=layer),
        "layer",
        [((5, "5"), NUMBER), ((True, True), NUMBER), ((5, NAN), "finite")],
    ),
    *rows(lookup, "neuron", [(1.0, "must be vf.Neuron")]),
    (lambda steps: lookup(neuron=vf.Neuron(decay=0.5), steps=steps), "steps", 1, "is too few for a neuron with memory"),
    (lambda threshold: lookup(threshold=threshold, neuron=vf.Neuron(2.0)), "threshold", 1.0, "contradicts the neuron's 2"),
    *rows(lookup, "rate", [*NOT_FINITE, ("0.1", NUMBER), (True, NUMBER), (0.0, "strictly between"), (1.0, "strictly between")]),
    *rows(lookup, "rate", [(0.5, "must lie between 0 and 0.5, the share"), (0.7, "must lie between 0 and 0.5, the share")]),
    (lambda rate: lookup(threshold=0.0, rate=rate), "rate", 0.3, "cannot be chosen"),
    *rows(lookup, "steps", [*NOT_WHOLE, (2, "must be 1")]),
    (lambda steps: lookup(threshold=None, neuron=vf.Neuron(), steps=steps), "steps", 2, "must be 1 for a memoryless neuron"),
    (lookup, "width", 20, "needs a depth beside it"),
    *rows(lambda width: lookup(width=width, depth=5), "width", [case for case in NOT_WHOLE if case[0] is not None]),
    *rows(lookup, "depth", [case for case in NOT_WHOLE if case[0] is not None]),
    *rows(lookup, "survival_target", [*NO_NUMBERS, *NOT_FINITE, (0.0, "strictly between"), (1.0, "strictly between")]),
    (lookup, "threshold", 100.0, "no potential of this variance fires"),
    (
        lambda threshold: lookup(threshold=threshold, distribution="uniform"),
        "threshold",
        1.8,
        "no potential of this variance fires",
    ),
    *rows(sim, "network", [(1.0, "must be vf.Network"), ([], "or a sequence of them"), ([1.0], "must be vf.Network")]),
    *rows(sim, "repeats", NOT_WHOLE),
    *rows(sim, "seed", [(x, "must be a whole number, at least 0") for x in (-1, 0.5, "0", True, None)]),
    *rows(sim, "engine", [(x, "is unknown; choose one of dense") for x in ("sparse", None, 1)]),
    *rows(sim, "device", [(x, "is unknown; choose one of cpu, cuda") for x in ("tpu", None, 0)]),
    *rows(sim, "dtype", [(x, "is unknown; choose one of float32, float64") for x in ("float16", None, np.float32)]),
    *rows(sim, "progress", [(x, "must be True, False or a function") for x in ("yes", None)]),
    *rows(sim, "threads", [case for case in NOT_WHOLE if case[0] is not None]),
    (lambda delay: sim(net(neuron=vf.Neuron(delay=delay))), "delay", 1, "nothing arrives"),
    (lambda steps: vf.finite_width(net(steps=steps)), "steps", 2, "must be 1"),
    (lambda steps: vf.mean_field(net(steps=steps)), "steps", 101, "must be at most 100"),
    *rows(
        lambda method: vf.mean_field(net(steps=2), method=method),
        "method",
        [(x, "is unknown; choose one of auto, orthants") for x in ("owen", None, 1)],
    ),
    (lambda method: vf.mean_field(net(), method=method), "method", "histories", "is for several steps"),
    (
        lambda method: vf.mean_field(net(steps=2, neuron=vf.Neuron(reset="zero")), method=method),
        "method",
        "orthants",
        "use method='quasi_monte_carlo'",
    ),
    *rows(lambda points: vf.mean_field(net(), points=points), "points", NOT_WHOLE),
    *rows(lambda scrambles: vf.mean_field(net(), scrambles=scrambles), "scrambles", [*NOT_WHOLE, (1, WHOLE)]),
    *rows(lambda seed: vf.mean_field(net(), seed=seed), "seed", [(x, WHOLE) for x in (-1, 0.5, "0", True, None)]),
    *[
        (lambda delay, f=f: f(net(neuron=vf.Neuron(delay=delay))), "delay", 1, "must be 0")
        for f in (vf.finite_width, vf.mean_field)
    ],
    (lambda weights: vf.expansion(net(weights=weights)), "weights", "sign", "must be 'normal' here"),
    *rows(
        validate,
        "threshold",
        [*[case for case in NO_SCALE if case[0] is not RAGGED], ([], "must name at least one value"), ([0.5, "x"], NUMBER)],
    ),
    *rows(
        validate,
        "gain",
        [
            *[case for case in NOT_POSITIVE[1:-1] if case[0] is not RAGGED],
            ([], "at least one"),
            ("best", "number or one of"),
            ("", "number"),
        ],
    ),
    (validate, "gain", [[1.0, 2.0]], "must be one number here"),
    (
        lambda threshold: validate(threshold=threshold, gain="preserving"),
        "threshold",
        36.0,
        "has no preserving gain below 1e+140",
    ),
    *rows(validate, "width", NOT_WHOLE[:-2]),
    *rows(validate, "depth", NOT_WHOLE),
    *rows(validate, "repeats", NOT_WHOLE),
    *rows(validate, "seed", [(-1, "must be a whole number, at least 0")]),
    *rows(validate, "device", [("tpu", "is unknown")]),
    *rows(validate, "drive", [(np.ones((2, 2)), "must be vf.drives")]),
    *rows(validate, "false_alarm", [*NOT_FINITE, (0.0, "strictly between"), (1.0, "strictly between"), ("0.1", NUMBER)]),
    *[
        (
            lambda call=call, **options: call(vf.Neuron(1.0, decay=0.5), **{"steps": 4, "depth": 5} | options),
            argument,
            value,
            rule,
        )
        for call in (vf.temporal_critical_gain, lambda *neuron, **options: vf.gain_for_rate(*neuron, rate=0.3, **options))
        for argument, value, rule in [
            ("steps", 0, "must be a whole number, at least"),
            ("steps", 101, "must be at most 100"),
            ("depth", 1, "at least 2"),
            ("drive", vf.drives.given(np.ones((4, 7))), "has no covariance in time"),
            ("points", 3, "must be a power of two"),
            ("scrambles", 1, "at least 2"),
        ]
    ],
    (
        lambda steps: vf.gain_for_rate(vf.Neuron(decay=0.5), rate=0.3, steps=steps, drive=vf.drives.inputs(np.ones((2, 3, 5)))),
        "steps",
        4,
        "is beyond the drive's own 3",
    ),
    (vf.citation, "name", "knuth1984", "is unknown; choose one of"),
]


@pytest.mark.parametrize(
    ("call", "argument", "value", "rule"),
    API,
    ids=lambda item: getattr(item, "__name__", "item" if " at 0x" in str(item) else str(item))[:24],
)
def test_api_names_argument_value_and_rule(call, argument, value, rule):
    with pytest.raises(vf.DomainError) as caught:
        call(**{argument: value})
    error = caught.value
    assert error.argument == argument
    assert str(error).startswith(f"{argument}=")
    assert rule in str(error)
    assert "\n" not in str(error)
    if isinstance(value, (str, int)) or value is None:
        assert f"{argument}={value!r}" in str(error)


@pytest.mark.parametrize(
    ("call", "shapes"),
    [
        (lambda: vf.gain(threshold=[0.1, 0.2], variance=[1.0, 2.0, 3.0]), ["threshold (2,)", "variance (3,)"]),
        (lambda: vf.variance_map([1.0, 2.0], threshold=[0.1, 0.2, 0.3], gain=2.0), ["variance (2,)", "threshold (3,)"]),
        (lambda: vf.stable_variance(threshold=np.ones((2, 3)), gain=np.ones(2)), ["threshold (2, 3)", "gain (2,)"]),
    ],
)
def test_shapes_that_do_not_broadcast_are_named(call, shapes):
    with pytest.raises(vf.DomainError, match="does not broadcast") as caught:
        call()
    assert all(shape in str(caught.value) for shape in shapes)


def test_comparison_of_unlike_shapes():
    profile = vf.finite_width(net())
    with pytest.raises(vf.DomainError, match=r"ensemble='shape \(4,\)' differs in shape from the profile's \(3,\)"):
        vf.compare(profile, sim(net(depth=4)))
    for value in (0.0, 1.0, NAN, "x", True):
        with pytest.raises(vf.DomainError, match="false_alarm="):
            vf.compare(profile, sim(), false_alarm=value)
    with pytest.raises(vf.DomainError, match="has no standard error"):
        vf.compare(vf.mean_field(net()), sim(repeats=1))


def test_layers_without_a_fan_in_are_refused():
    for layer, rule in [
        (torch.nn.LazyLinear(3), "has no weight yet"),
        (torch.nn.LazyConv2d(3, 3), "has no weight yet"),
        (torch.nn.BatchNorm1d(3), "does not sum over inputs"),
        (torch.nn.LayerNorm((3, 4)), "does not sum over inputs"),
        (torch.nn.BatchNorm1d(3, affine=False), "has no weight yet"),
        (torch.nn.Embedding(3, 4), "does not sum over inputs"),
        (torch.nn.ReLU(), "must be a weight shape"),
        (torch.nn.LSTM(3, 4), "must be a weight shape"),
        (torch.ones(3, 4), "must be a weight shape"),
    ]:
        with pytest.raises(vf.DomainError, match=rule) as caught:
            vf.lookup(threshold=1.0, layer=layer)
        assert caught.value.argument == "layer"


def test_a_tensor_that_requires_a_gradient_is_no_number():
    with pytest.raises(vf.DomainError, match="threshold="):
        vf.gain(threshold=torch.tensor(1.0, requires_grad=True))


def test_errors_travel_between_processes():
    error = pickle.loads(pickle.dumps(vf.DomainError("threshold", NAN, "must be finite")))
    assert str(error) == "threshold=nan must be finite"
    assert error.argument == "threshold"


# Files for --drive.


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One file of each bad kind, and some good ones."""
    made = tmp_path_factory.mktemp("inputs")
    arrays = {
        "object": np.array([{1: 2}], dtype=object),
        "text": np.array([["a", "b"]]),
        "complex": np.ones((2, 2)) + 1j,
        "vector": np.ones(3),
        "none": np.ones((0, 3)),
        "zeros": np.zeros((2, 3)),
        "huge": np.full((2, 2), 1e200),
        "nan": np.array([[1.0, NAN]]),
    }
    for name, array in arrays.items():
        np.save(made / f"{name}.npy", array, allow_pickle=True)
    np.savez(made / "two.npz", a=np.ones((2, 2)), b=np.ones((2, 2)))
    np.savez(made / "zero.npz")
    np.savez(made / "object.npz", a=arrays["object"])
    texts = {
        "ragged.csv": "1,2\n3,4,5\n",
        "empty.csv": "",
        "header.csv": "a,b\n",
        "words.csv": "a,b\nc,d\n",
        "gap.csv": "1,,3\n4,5,6\n",
        "nan.csv": "1,nan\n",
        "empty.npy": "",
        "garbage.npy": "this is no array",
        "garbage.npz": "this is no archive",
        "table.txt": "1,2\n",
    }
    for name, text in texts.items():
        (made / name).write_text(text)
    (made / "binary.csv").write_bytes(b"\xff\xfe\x00")
    np.save(made / "good.npy", RNG.random((5, 7)))
    (made / "short.npy").write_bytes((made / "good.npy").read_bytes()[:200])
    np.savez(made / "good.npz", x=RNG.random((5, 7)))
    (made / "damaged.npz").write_bytes((made / "good.npz").read_bytes()[:200])
    (made / "good.csv").write_text("# comment\n1,2\n3,4\n")
    (made / "named.csv").write_text("left,right\n1,2\n3,4\n")
    (made / "excel.csv").write_text("1,2\n3,4\n", encoding="utf-8-sig")
    (made / "folder.npy").mkdir()
    return made


FILES = [
    ("missing.npy", "does not exist"),
    ("table.txt", "must be a .npy, .npz or .csv file"),
    ("folder.npy", "cannot be read: Is a directory"),
    ("object.npy", "nothing is unpickled"),
    ("object.npz", "nothing is unpickled"),
    ("garbage.npy", "nothing is unpickled"),
    ("garbage.npz", "is not a table of numbers"),
    ("damaged.npz", "is not a table of numbers"),
    ("short.npy", "announces 280 bytes of numbers in 200 bytes"),
    ("empty.npy", "is not a table of numbers"),
    ("text.npy", "must be a real number"),
    ("complex.npy", "must be a real number"),
    ("vector.npy", "must have shape (batch, n_in)"),
    ("none.npy", "must have shape (batch, n_in)"),
    ("zeros.npy", "is zero throughout"),
    ("huge.npy", "at most 1e+140"),
    ("nan.npy", "holds nan, which must be finite"),
    ("two.npz", "must hold one array, not 2: a, b"),
    ("zero.npz", "must hold one array, not none"),
    ("ragged.csv", "the number of columns changed from 2 to 3"),
    ("empty.csv", "must have shape (batch, n_in)"),
    ("header.csv", "must have shape (batch, n_in)"),
    ("words.csv", "could not convert string 'c'"),
    ("gap.csv", "could not convert string ''"),
    ("nan.csv", "must be finite"),
    ("binary.csv", "is not a table of numbers"),
]


@pytest.mark.parametrize(("name", "rule"), FILES)
def test_files_that_are_no_tables(folder, name, rule):
    with pytest.raises(vf.DomainError) as caught:
        vf.drives.inputs_from_file(folder / name)
    assert caught.value.argument == "path"
    assert rule in str(caught.value)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "allow_pickle" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "rows"), [("good.npy", 5), ("good.npz", 5), ("good.csv", 2), ("named.csv", 2), ("excel.csv", 2)]
)
def test_files_that_are_tables(folder, name, rows):
    assert len(vf.drives.inputs_from_file(folder / name).x) == rows


def test_a_bad_gain_for_a_good_file_is_not_the_files_fault(folder):
    with pytest.raises(vf.DomainError, match="must be positive") as caught:
        vf.drives.inputs_from_file(folder / "good.npy", input_gain=-1)
    assert caught.value.argument == "input_gain"


# The command line.


@pytest.fixture
def varflow(monkeypatch, capsys, tmp_path):
    """Run a command in an empty folder: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["varflow", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code, *capsys.readouterr()

    return run


def refused(result, option, value, rule):
    code, out, err = result
    assert (code, out) == (2, "")
    assert err.count("\n") == 1, err
    assert f"{option} {value}" in err if value else option in err
    assert rule in err
    assert err.startswith("varflow: ")


SMALL = "validate --width 10 --depth 2 --repeats 2"
NUMERIC = "must be a number"
CLI = [
    *[
        (f"{command} --threshold {value}", "--threshold", value, rule)
        for command in ("lookup --fan-in 9", "fixed-points", "predict", "simulate", SMALL)
        for value, rule in [
            ("nan", "must be finite"),
            ("inf", "must be finite"),
            ("x", "number"),
            ("1e+200", "must lie within"),
        ]
    ],
    *[
        (f"{command}", "--threshold", "", "is missing")
        for command in ("lookup --fan-in 9", "fixed-points", "predict", "simulate")
    ],
    *[
        (f"{command} --threshold 1 --gain {value}", "--gain", value, rule)
        for command in ("fixed-points", "predict", "simulate", SMALL)
        for value, rule in [
            ("-1", "must be positive"),
            ("0", "positive"),
            ("nan", "finite"),
            ("best", NUMERIC),
            ("''", NUMERIC),
        ]
    ],
    *[
        (f"{command} --threshold 1 --{name} {value}", f"--{name}", value, rule)
        for command in ("predict", "simulate", "validate")
        for name in ("width", "depth")
        for value, rule in [("0", "at least 1"), ("-5", "at least 1"), ("1e3", "whole number"), ("x", "whole number")]
    ],
    *[
        (f"{command} --threshold 1 --{name} {value}", f"--{name}", value, rule)
        for command in ("fixed-points", "predict", "simulate")
        for name, value, rule in [
            ("bias-std", "-1", "must not be negative"),
            ("bias-std", "x", NUMERIC),
            ("bias-std", "nan", "must be finite"),
            ("bias-std", "1", "leaves no room for a preserving gain"),
            ("mean-gain", "inf", "must be finite"),
            ("mean-gain", "x", NUMERIC),
        ]
    ],
    *[
        (f"{command} --threshold 1 --{name} {value}", f"--{name}", value, rule)
        for command in ("simulate --width 9", "validate --width 9 --depth 2")
        for name, value, rule in [
            ("repeats", "0", "at least 1"),
            ("repeats", "2.5", "whole number"),
            ("seed", "-1", "at least 0"),
            ("seed", "x", "whole number"),
            ("device", "tpu", "is unknown; choose one of cpu, cuda"),
        ]
    ],
    ("simulate --threshold 1 --weights cauchy", "--weights", "cauchy", "is unknown; choose one of normal, uniform, sign"),
    ("simulate --threshold 1 --dtype float16", "--dtype", "float16", "is unknown; choose one of float32, float64"),
    *[
        (f"{command} --threshold 1 --distribution {value}", "--distribution", value, rule)
        for command in ("lookup --fan-in 9", "fixed-points")
        for value, rule in [
            ("cauchy", "choose one of normal, uniform, laplace, logistic or student_t:DF"),
            ("student_t", "needs its degrees of freedom"),
            ("student_t:x", "needs its degrees of freedom"),
            ("student_t:2", "must be above 2"),
            ("student_t:nan", "must be finite"),
            ("''", "is unknown"),
        ]
    ],
    ("lookup --threshold 1", "--fan-in", "", "is missing: give it or --layer SHAPE"),
    ("lookup --threshold 1 --fan-in 9 --layer 3,3", "--layer", "3,3", "contradicts a fan-in of 9"),
    ("lookup --threshold 1 --fan-in 0", "--fan-in", "0", "at least 1"),
    ("lookup --threshold 1 --fan-in 1.5", "--fan-in", "1.5", "whole number"),
    ("lookup --threshold 1 --layer 9", "--layer", "9", "must be a weight shape"),
    ("lookup --threshold 1 --layer 9,0", "--layer", "9,0", "must be a weight shape"),
    ("lookup --threshold 1 --layer 9,x", "--layer", "9,x", "must be numbers separated by commas"),
    ("lookup --threshold 1 --fan-in 9 --rate 0", "--rate", "0", "strictly between 0 and 1"),
    ("lookup --threshold 1 --fan-in 9 --rate 0.6", "--rate", "0.6", "between 0 and 0.5"),
    ("lookup --threshold 1 --fan-in 9 --rate x", "--rate", "x", NUMERIC),
    *[
        (f"lookup --fan-in 9 --rate 0.2 --steps 4 {line}", option, value, rule)
        for line, option, value, rule in [
            ("--neuron snntorch_leaky --beta 1.5", "--beta", "1.5", "must lie between 0 and 1"),
            ("--neuron snntorch_leaky:reset_mechanism=none --beta 1", "--beta", "1", "never forgets"),
            (
                "--neuron snntorch_leaky:reset_mechanism=hard --beta 0.5",
                "--neuron",
                "",
                "that is unknown; choose one of subtract",
            ),
            ("--neuron snntorch_leaky:beta=2", "--neuron", "snntorch_leaky:beta=2", "has a beta that must lie between 0 and 1"),
            ("--threshold 1 --decay 1", "--decay", "1", "never forgets"),
            ("--threshold 1 --decay -1", "--decay", "-1", "must not be negative"),
            ("--threshold 1 --decay 0.5 --reset hard", "--reset", "hard", "is unknown; choose one of none, subtract"),
            ("--threshold 1 --decay 0.5 --steps 0", "--steps", "0", "at least 1"),
            ("--threshold 1 --decay 0.5 --rate 0.01 --depth 5", "--rate", "0.01", "is out of reach of this neuron"),
        ]
    ],
    ("predict --threshold 1 --gain 2 --steps 4 --decay 2", "--decay", "2", "must lie between 0 and 1"),
    ("simulate --threshold 1 --gain 2 --steps 4 --reset soft", "--reset", "soft", "is unknown; choose one of none, subtract"),
    ("predict --threshold 1 --gain 2 --steps 0 --decay 0.5", "--steps", "0", "at least 1"),
    ("lookup --threshold 1 --fan-in 9 --width 3", "--width", "3", "needs a depth beside it"),
    ("lookup --threshold 1 --fan-in 9 --depth 0", "--depth", "0", "at least 1"),
    ("lookup --threshold 1 --fan-in 9 --survival-target 1", "--survival-target", "1", "strictly between 0 and 1"),
    ("lookup --threshold 99 --fan-in 9", "--threshold", "99", "no potential of this variance fires"),
    ("predict --threshold 36", "--threshold", "36", "has no preserving gain below 1e+140"),
    (f"{SMALL} --threshold 36", "--threshold", "36", "has no preserving gain below 1e+140"),
    (f"{SMALL} --threshold 0.5,x", "--threshold", "0.5,x", "must be numbers separated by commas"),
    (f"{SMALL} --threshold ,", "--threshold", ",", "must be numbers separated by commas"),
    ("validate --quick --width 9", "--width", "9", "contradicts --quick"),
    ("lookup --treshold 1", "--treshold", "", "No such option"),
    ("lookup --threshold", "--threshold", "", "requires an argument"),
    ("lookup --threshold 1 --fan-in 9 extra", "extra", "", "unexpected"),
    ("look --threshold 1", "look", "", "No such command"),
]


@pytest.mark.parametrize(("line", "option", "value", "rule"), CLI, ids=[row[0] for row in CLI])
def test_command_line_names_option_value_and_rule(varflow, tmp_path, line, option, value, rule):
    import shlex

    refused(varflow(*shlex.split(line)), option, value, rule)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "rule"), FILES)
def test_drive_files_on_the_command_line(varflow, folder, tmp_path, name, rule):
    path = folder / name
    refused(varflow(*SMALL.split(), "--drive", path), "--drive", path, rule)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def no_simulation(monkeypatch):
    """Whoever starts simulating fails."""

    def simulate(*_, **__):
        raise AssertionError("the simulation started before everything was checked")

    monkeypatch.setattr("varflow.experiment.simulate", simulate)


@pytest.mark.usefixtures("no_simulation")
@pytest.mark.parametrize(
    ("place", "rule"),
    [("file", "Not a directory"), ("file/below", "Not a directory"), ("taken", "propagation.png is a folder there")],
)
def test_a_folder_that_cannot_be_written_is_refused_first(varflow, tmp_path, place, rule):
    (tmp_path / "file").write_text("a file")
    (tmp_path / "taken" / "propagation.png").mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    refused(varflow(*SMALL.split(), "--out", place), "--out", place, rule)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.usefixtures("no_simulation")
def test_a_folder_without_permission_is_refused_first(varflow, monkeypatch, tmp_path):
    def refuse(**_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    refused(varflow(*SMALL.split(), "--out", "results"), "--out", "results", "cannot be written: Permission denied")
    assert list(tmp_path.iterdir()) == []


def test_the_guard_against_early_simulation_works(varflow, no_simulation):
    with pytest.raises(AssertionError, match="simulation started"):
        varflow(*SMALL.split())


def test_nothing_half_written_when_the_disk_is_full(varflow, monkeypatch, tmp_path):
    """Writing the second file fails: neither is there, the result is on the screen, the line says why."""
    real, calls = os.fsync, []

    def fsync(descriptor):
        calls.append(descriptor)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        return real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    code, out, err = varflow(*SMALL.split(), "--json")
    assert code == 2
    assert err == "varflow: --out varflow-results cannot be written: No space left on device\n"
    assert out.startswith('{"passed"')
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


BLOCKED = """
import sys
sys.modules[{package!r}] = None
import varflow.experiment
from varflow.cli import main

def simulate(*_, **__):
    print("simulated")

varflow.experiment.simulate = simulate
sys.argv = ["varflow", "validate", "--width", "10", "--depth", "2", "--repeats", "2"]
main()
"""


@pytest.mark.parametrize(("package", "extra"), [("torch", "torch"), ("matplotlib", "plot")])
def test_a_missing_extra_is_named_before_the_simulation(tmp_path, package, extra):
    run = [sys.executable, "-W", "error", "-c", BLOCKED.format(package=package)]
    done = subprocess.run(run, capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"varflow: {package} is not installed: in a clone of varflow, pip install '.[{extra}]'\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("package", "call"),
    [("torch", sim), ("torch", validate), ("xarray", lambda: vf.finite_width(net()).to_xarray())],
)
def test_a_missing_extra_is_named_by_the_api(monkeypatch, package, call):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(vf.MissingExtraError, match=rf"{package} is not installed: .* clone .*, pip install '\.\[{package}\]'"):
        call()


def test_a_broken_extra_is_not_called_missing(monkeypatch, tmp_path):
    (tmp_path / "xarray.py").write_text("import no_such_module_of_xarray")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "xarray", raising=False)
    with pytest.raises(vf.MissingExtraError, match=r"xarray cannot be imported \(No module named 'no_such_module_of_xarray'\)"):
        vf.finite_width(net()).to_xarray()
