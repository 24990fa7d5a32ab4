"""Bad input, as tables, a row for each argument: the public API names argument, value and rule; the command line says so in
one line, with code 2.
"""

import os
import pickle
import sys
from functools import partial
from importlib import metadata

import numpy as np
import pytest
from wording import NO_ROWS, NO_SHAPE, NO_TABLE, NOT_SUMMED, OTHER_STEPS, UNKNOWN

import varflow as vf

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


# Values that tell a validator of varflow/_checks.py from the others, with the rule they break; test_checks.py has the rest.
SCALE = [("1", "real number"), (NAN, "finite"), (1e200, "must lie within")]
POSITIVE = [*SCALE, (0.0, "must be positive"), (-1.0, "must be positive")]
NEGATIVE = [*SCALE, (-0.5, "must not be negative")]
ONE = [([1.0, 2.0], "single number")]
PROBABILITY = [("0.1", "real number"), (NAN, "finite"), (0.0, "strictly between"), (1.0, "strictly between")]
WHOLE = [(x, "whole number, at least 1") for x in (0, 1.5, True)]
FROM_2 = [(x, "whole number, at least 2") for x in (1, 2.5, True)]
FROM_0 = [(x, "whole number, at least 0") for x in (-1, 0.5, True, None)]
CHOICE = [(x, UNKNOWN) for x in ("cauchy", None, 1)]
FLAG = [(1, "must be True or False")]
TABLE = [("1", "real number"), (NAN, "finite"), (1.0, "must have shape"), ([], "must have shape")]
NO_DRIVE = [(x, "must be vf.drives") for x in (1.0, np.ones((2, 2)), "x")]


def variance_map(variance=1.0, **options):
    return vf.variance_map(variance, **{"threshold": 1.0, "gain": 2.5} | options)


def stable_variance(**options):
    return vf.stable_variance(**{"threshold": 1.0, "gain": 2.5} | options)


def gain(**options):
    return vf.gain(**{"threshold": 1.0} | options)


def layer(layer):
    return lookup(fan_in=None, layer=layer)


def temporal(**options):
    return vf.mean_field(net(steps=2, neuron=vf.Neuron(reset="zero")), **options)


def critical_in_time(**options):
    return vf.temporal_critical_gain(vf.Neuron(1.0, decay=0.5), **{"steps": 4, "depth": 5} | options)


def gain_for_rate(**options):
    return vf.gain_for_rate(vf.Neuron(1.0, decay=0.5), **{"rate": 0.3, "steps": 4, "depth": 5} | options)


def by_rule(rule, threshold=0.7, **options):
    return vf.gain_by_rule(rule, threshold, **options)


BY_RULE = {"threshold": SCALE + ONE, "bias_std": NEGATIVE + ONE, "mean_gain": SCALE + ONE, "distribution": CHOICE[:1]}
SAMPLED = vf.finite_width(net(weights="uniform")).sample
DIAGRAM = vf.phase_diagram(threshold=[0.4, 0.6, 0.8], width=[5, 20], depth=4)

PROGRESS = [(x, "must be True, False or a function") for x in ("yes", None)]
IN_TIME = {
    "progress": PROGRESS,
    "steps": [(0, "whole number, at least"), (2049, "at most 2048")],
    "depth": [(1, "at least 2")],
    "drive": [(vf.drives.given(np.ones((4, 7))), "covariance in time")],
    "points": [(3, "power of two")],
    "scrambles": [(1, "at least 2")],
}

# A call, and for each of its arguments what is refused, by which rule.
API = [
    (
        gain,
        {
            "threshold": [*SCALE, (100.0, "nothing fires")],
            "variance": POSITIVE,
            "bias_std": NEGATIVE,
            "mean_gain": SCALE,
            "distribution": CHOICE[:1],
        },
    ),
    (vf.critical_gain, {"threshold": SCALE}),
    (stable_variance, {"threshold": SCALE, "gain": POSITIVE, "bias_std": NEGATIVE}),
    (
        variance_map,
        {
            "variance": NEGATIVE,
            "threshold": SCALE,
            "gain": POSITIVE,
            "bias_std": NEGATIVE,
            "mean_gain": SCALE,
            "distribution": CHOICE[:1],
        },
    ),
    (
        points,
        {
            "threshold": SCALE + ONE,
            "gain": POSITIVE + ONE,
            "bias_std": NEGATIVE + ONE,
            "mean_gain": SCALE + ONE,
            "distribution": CHOICE[:1],
        },
    ),
    (
        vf.Neuron,
        {
            "threshold": [*SCALE, ([[1.0, 2.0]], "single number"), ([1.0, NAN], "finite")],
            "decay": [*SCALE[:2], ([0.5], "single number"), ([0.5, 1.1], "between"), (1.1, "between"), (-0.1, "between")],
            "input_scale": POSITIVE + ONE,
            "synaptic_decay": [*SCALE[:2], *ONE, (1.0, "less than 1"), (-0.1, "between")],
            "reset": [*CHOICE, (["zero"], "unknown")],
            "strict": FLAG,
            "delay": FROM_0,
        },
    ),
    (lambda threshold: vf.Neuron(threshold, reset="multi_spike"), {"threshold": [(0.0, "must be positive")]}),
    (
        net,
        {
            "width": [
                *WHOLE,
                ([10, 10], "one per layer (depth=3)"),
                ([10, 10.5, 10], "whole"),
                ([1, [2, 3], 4], "real number"),
            ],
            "depth": WHOLE,
            "gain": [*POSITIVE, ([2.0, 2.0], "one per layer (depth=3)")],
            "neuron": [(1.0, "must be vf.Neuron"), (vf.Neuron, "is a class"), ("lif", UNKNOWN)],
            "weights": [("cauchy", "unknown"), *((x, "must be one of") for x in (None, 1, np.ones(2)))],
            "bias_std": NEGATIVE + ONE,
            "mean_gain": SCALE + ONE,
            "steps": WHOLE,
            "drive": NO_DRIVE,
        },
    ),
    (
        lambda drive: net(steps=2, drive=drive),
        {
            "drive": [
                (vf.drives.given([1.0, 2.0, 3.0]), OTHER_STEPS),
                (vf.drives.given(np.ones((2, 7))), "network with width=7"),
                (vf.drives.inputs(np.ones((4, 3, 5))), OTHER_STEPS),
            ]
        },
    ),
    (vf.drives.currents, {"std": NEGATIVE + ONE}),
    (vf.drives.white, {"std": NEGATIVE + ONE}),
    (
        vf.drives.inputs,
        {
            "x": [
                *TABLE,
                ([1.0], "must have shape"),
                (np.ones((2,) * 6), "must have shape"),
                ([[]], "must have shape"),
                ([[1.0, INF]], "finite"),
                ([[1e200]], "at most 1e+140"),
                ([[0.0, 0.0]], "all zero"),
                ([[1e-200, 0.0]], "too small to square"),
            ]
        },
    ),
    (lambda input_gain: vf.drives.inputs([[1.0]], input_gain), {"input_gain": POSITIVE + ONE}),
    (
        vf.drives.spikes,
        {"rates": [*TABLE, ([-0.1], "must not be negative"), ([1.1], "between 0 and 1"), ([0.0], "all zero")]},
    ),
    (lambda kind: vf.drives.spikes([0.5], kind=kind), {"kind": CHOICE[:1]}),
    (vf.drives.given, {"currents": [*TABLE, ([1e200], "at most 1e+140")]}),
    (
        lambda distribution: vf.distribution(distribution),
        {"distribution": [("cauchy", "unknown"), *((x, "must be one of") for x in (None, 3, {}, len))]},
    ),
    (vf.distributions.student_t, {"df": [*SCALE[:2], *ONE, (2.0, "above 2"), (1e16, "at most 1e15")]}),
    (
        lookup,
        {
            "threshold": [*SCALE, *ONE, (None, "missing"), (100.0, "nothing fires")],
            "fan_in": [*WHOLE, (None, "missing")],
            "layer": [((3, 4), "conflicts with fan_in=10")],
            "neuron": [(1.0, "must be vf.Neuron")],
            "rate": [*PROBABILITY, *((x, "between 0 and 0.5") for x in (0.5, 0.7))],
            "steps": WHOLE,
            "width": [(20, "needs a depth")],
            "depth": WHOLE,
            "survival_target": PROBABILITY,
            "distribution": CHOICE[:1],
        },
    ),
    (
        layer,
        {
            "layer": [
                *((x, NO_SHAPE) for x in ((5,), (5, 0), (5, 2.5), "5,5", 5, {5: 5})),
                *((x, "real number") for x in ((5, "5"), (True, True))),
                ((5, NAN), "finite"),
            ]
        },
    ),
    (lambda steps: lookup(neuron=vf.Neuron(decay=0.5), steps=steps), {"steps": [(None, "is missing")]}),
    (
        lambda threshold: lookup(threshold=threshold, neuron=vf.Neuron(2.0)),
        {"threshold": [(1.0, "conflicts with the neuron's 2")]},
    ),
    (lambda threshold: lookup(threshold=threshold, distribution="uniform"), {"threshold": [(1.8, "nothing fires")]}),
    (lambda rate: lookup(threshold=0.0, rate=rate), {"rate": [(0.3, "cannot be chosen")]}),
    (lambda width: lookup(width=width, depth=5), {"width": WHOLE}),
    (lookup, {"progress": PROGRESS}),
    (lambda progress: vf.audit(None, None, progress=progress), {"progress": PROGRESS}),
    (
        sim,
        {
            "network": [([], "a sequence of them"), ([1.0], "must be vf.Network")],
            "repeats": WHOLE,
            "seed": FROM_0,
            "engine": CHOICE,
            "device": CHOICE,
            "dtype": [*CHOICE, ("float16", "unknown"), (np.float32, "unknown")],
            "progress": PROGRESS,
            "threads": WHOLE,
        },
    ),
    (lambda delay: sim(net(neuron=vf.Neuron(delay=delay))), {"delay": [(1, "must be below steps=1")]}),
    (lambda steps: vf.finite_width(net(steps=steps)), {"steps": [(2, "must be 1")]}),
    (
        lambda drive: vf.finite_width(net(drive=drive)),
        {"drive": [(vf.drives.given([1.0]), "no covariance"), (vf.drives.spikes([0.5]), "at finite width")]},
    ),
    (lambda delay: vf.finite_width(net(neuron=vf.Neuron(delay=delay))), {"delay": [(1, "must be 0")]}),
    (lambda delay: vf.mean_field(net(neuron=vf.Neuron(delay=delay))), {"delay": [(1, "must be 0")]}),
    (lambda steps: vf.mean_field(net(steps=steps)), {"steps": [(2049, "at most 2048")]}),
    (temporal, {"method": [*CHOICE, ("orthants", "quasi_monte_carlo")]}),
    (
        lambda **options: vf.mean_field(net(), **options),
        {
            "method": [("quasi_monte_carlo", "several steps")],
            "points": WHOLE,
            "scrambles": FROM_2,
            "seed": FROM_0,
            "progress": PROGRESS,
        },
    ),
    (lambda weights: vf.expansion(net(weights=weights)), {"weights": [("sign", "must be 'normal'")]}),
    (
        validate,
        {
            "threshold": [*SCALE, ([], "at least one value"), ([0.5, "x"], "real number")],
            "gain": [*POSITIVE[1:], ([], "at least one"), ("best", "number or one of"), ([[1.0, 2.0]], "single number")],
            "width": WHOLE,
            "depth": WHOLE,
            "repeats": WHOLE,
            "seed": FROM_0[:1],
            "device": CHOICE[:1],
            "drive": NO_DRIVE[:1],
            "false_alarm": PROBABILITY,
        },
    ),
    (lambda threshold: validate(threshold=threshold, gain="preserving"), {"threshold": [(36.0, "no preserving gain")]}),
    (critical_in_time, IN_TIME),
    (gain_for_rate, IN_TIME),
    (
        lambda steps: gain_for_rate(steps=steps, drive=vf.drives.inputs(np.ones((2, 3, 5)))),
        {"steps": [(4, "more than the drive has")]},
    ),
    (vf.citation, {"name": CHOICE[:1]}),
    *[(partial(by_rule, rule), BY_RULE) for rule in ("preserving", "kaiming", "1.5", 3.0)],  # whether it needs them or not
    (lambda gain: vf.gain_by_rule(gain, 0.7), {"gain": [*POSITIVE[1:], ("best", "must be a number or one of")]}),
    (
        partial(vf.init.calculate_gain, 0.7, "kaiming"),
        {"bias_std": NEGATIVE, "mean_gain": SCALE + ONE, "variance": POSITIVE, "rate": PROBABILITY, "distribution": CHOICE[:1]},
    ),
    (
        partial(vf.init.corrected_normal_, torch.empty(4, 4), depth=3),
        {"width": [*WHOLE, ({}, "whole number")], "survival_target": [*PROBABILITY, ([0.5, NAN], "finite")]},
    ),
    (partial(vf.init.init_layer_, torch.nn.Linear(6, 5), 2.0, bias_std=0.3), {"bias": [(np.array([]), "conflicts with")]}),
    (partial(vf.gain_for_rate, block=[vf.layers.Linear(gain=2.5), vf.layers.Spike(vf.Neuron())], rate=0.1), {"fan_in": WHOLE}),
    (partial(vf.surrogates.Surrogate, "own"), {"function": [(INF, "must be a function")]}),
    (partial(vf.symbolic.weight_variance, distribution="student_t:5"), {"variance": [(5e-324, "below the threshold")]}),
    (partial(vf.layers.Conv, 1, gain=1.0), {"padding": [(torch.ones(2), "whole number"), ("same", "whole number")]}),
    (partial(vf.reference.largest_threshold, width=9, depth=3), {"gain": [*CHOICE, (np.ones(2), UNKNOWN)]}),
    (vf.Neuron, {"threshold": [([[1.0], [1.0, 2.0]], "real number")]}),
    (SAMPLED, {"repeats": WHOLE}),
    (partial(SAMPLED, 2), {"seed": FROM_0, "ensembles": WHOLE}),
    (
        DIAGRAM.logit,
        {
            "thresholds": [("1", "real number"), (NAN, "finite"), (0.1, "0.4 to 0.8"), ([0.5, 0.81], "0.4 to 0.8")],
            "widths": [(4, "5 to 20"), ([6, 25], "5 to 20"), (np.ones((2, 2)), "sequence")],
        },
    ),
    (partial(DIAGRAM.largest_threshold, survival=0.7), {"width": [*WHOLE, (21, "5 to 20"), (4, "5 to 20")]}),
    (partial(DIAGRAM.largest_threshold, 10), {"survival": PROBABILITY}),
]
ROWS = [
    pytest.param(call, argument, cases, id=f"{getattr(call, '__name__', 'special')}-{argument}".replace("<lambda>", "special"))
    for call, arguments in API
    for argument, cases in arguments.items()
]


@pytest.mark.parametrize(("call", "argument", "cases"), ROWS)
def test_api_names_argument_value_and_rule(call, argument, cases):
    for value, rule in cases:
        with pytest.raises(vf.DomainError) as caught:
            call(**{argument: value})
        error = caught.value
        assert error.argument == argument
        assert rule in error.rule
        assert "\n" not in str(error)
        if value is None or isinstance(value, (str, int)):
            assert str(error).startswith(f"{argument}={value!r} ")


@pytest.mark.parametrize(
    ("call", "shapes"),
    [
        (lambda: vf.gain(threshold=[0.1, 0.2], variance=[1.0, 2.0, 3.0]), ["threshold (2,)", "variance (3,)"]),
        (lambda: variance_map([1.0, 2.0], threshold=[0.1, 0.2, 0.3]), ["variance (2,)", "threshold (3,)"]),
        (lambda: vf.stable_variance(threshold=np.ones((2, 3)), gain=np.ones(2)), ["threshold (2, 3)", "gain (2,)"]),
    ],
)
def test_shapes_that_do_not_broadcast_are_named(call, shapes):
    with pytest.raises(vf.DomainError, match="does not broadcast") as caught:
        call()
    assert all(shape in str(caught.value) for shape in shapes)


def test_comparison_of_unlike_shapes():
    profile = vf.finite_width(net())
    with pytest.raises(vf.DomainError, match=r"ensemble='shape \(4,\)' differs from the profile's shape \(3,\)"):
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
        (torch.nn.BatchNorm1d(3), NOT_SUMMED),
        (torch.nn.LayerNorm((3, 4)), NOT_SUMMED),
        (torch.nn.BatchNorm1d(3, affine=False), "has no weight yet"),
        (torch.nn.Embedding(3, 4), NOT_SUMMED),
        (torch.nn.ReLU(), NO_SHAPE),
        (torch.nn.LSTM(3, 4), NO_SHAPE),
        (torch.ones(3, 4), NO_SHAPE),
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
    for name in ("pipe.npy", "pipe.npz", "pipe.csv"):
        os.mkfifo(made / name)
    return made


FILES = [
    ("missing.npy", "does not exist"),
    ("table.txt", "must be a .npy, .npz or .csv file"),
    ("folder.npy", "cannot be read: Is a directory"),
    ("pipe.npy", "is no regular file"),  # nothing is waited for
    ("pipe.npz", "is no regular file"),
    ("pipe.csv", "is no regular file"),
    ("object.npy", "nothing is unpickled"),
    ("object.npz", "nothing is unpickled"),
    ("garbage.npy", "nothing is unpickled"),
    ("garbage.npz", NO_TABLE),
    ("damaged.npz", NO_TABLE),
    ("short.npy", "announces 280 bytes of numbers in 200 bytes"),
    ("empty.npy", NO_TABLE),
    ("text.npy", "must be a real number"),
    ("complex.npy", "must be a real number"),
    ("vector.npy", NO_ROWS),
    ("none.npy", NO_ROWS),
    ("zeros.npy", "is all zero"),
    ("huge.npy", "at most 1e+140"),
    ("nan.npy", "holds nan, which must be finite"),
    ("two.npz", "must hold one array, not 2: a, b"),
    ("zero.npz", "must hold one array, not none"),
    ("ragged.csv", "the number of columns changed from 2 to 3"),
    ("empty.csv", NO_ROWS),
    ("header.csv", NO_ROWS),
    ("words.csv", "could not convert string 'c'"),
    ("gap.csv", "could not convert string ''"),
    ("nan.csv", "must be finite"),
    ("binary.csv", NO_TABLE),
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


def refused(result, option, value, rule):
    code, out, err = result
    assert (code, out) == (2, "")
    assert err.count("\n") == 1, err
    assert f"{option} {value}" in err if value else option in err
    assert rule in err
    assert err.startswith("varflow: ")


SMALL = "validate --width 10 --depth 2 --repeats 2"
NUMERIC = [("x", "must be a number")]
LEAKY = "lookup --fan-in 9 --rate 0.2 --steps 4"
DISTRIBUTIONS = [
    ("cauchy", "choose one of"),
    ("''", "unknown"),
    ("student_t", "degrees of freedom"),
    ("student_t:x", "degrees of freedom"),
    ("student_t:2", "above 2"),
    ("student_t:nan", "finite"),
]
THRESHOLD = [*NUMERIC, ("nan", "finite"), ("1e+200", "must lie within")]
GAIN = [("-1", "positive"), ("nan", "finite"), *((x, "must be a number") for x in ("best", "''"))]
HUGE = [(str(10**30 + 7), "must be at most")]
COUNT = [("0", "at least 1"), ("1e3", "whole number"), *HUGE, ("x", "whole number")]
DEPTH = [*COUNT, ("1000001", "must be at most 1000000"), ("2147483649", "must be at most 1000000")]
BIAS = [*NUMERIC, ("-1", "must not be negative"), ("nan", "finite"), ("1", "too large for a preserving gain")]
NETWORK = {
    "--threshold": THRESHOLD,
    "--gain": GAIN,
    "--width": COUNT,
    "--depth": DEPTH,
    "--bias-std": BIAS,
    "--mean-gain": [*NUMERIC, ("inf", "finite")],
}
MEASURED = {
    "--repeats": [("0", "at least 1"), ("2.5", "whole number"), *HUGE],
    "--seed": [("-1", "at least 0"), (str(2**128 + 1), "must be at most"), ("x", "whole number")],
    "--device": [("tpu", "choose one of")],
}

# A command, and for each of its options what is refused, by which rule; a value of None is the option left out.
CLI = {
    "lookup --threshold 1 --fan-in 9": {
        "--threshold": [*THRESHOLD, ("99", "nothing fires")],
        "--fan-in": COUNT[:3],
        "--layer": [("3,3", "conflicts with fan_in=9")],
        "--rate": [*NUMERIC, ("0", "strictly between"), ("0.6", "between 0 and 0.5")],
        "--width": [("3", "needs a depth")],
        "--depth": COUNT[:1],
        "--survival-target": [("1", "strictly between")],
        "--distribution": DISTRIBUTIONS,
    },
    "lookup --threshold 1": {
        "--fan-in": [(None, "missing")],
        "--layer": [("9", "weight shape"), ("9,0", "weight shape"), ("9,x", "separated by commas")],
    },
    LEAKY: {
        "--neuron": [
            ("snntorch_leaky:beta=2", "beta that must lie between 0 and 1"),
            ("snntorch_leaky:beta=0.5,reset_mechanism=hard", UNKNOWN),
        ],
    },
    f"{LEAKY} --neuron snntorch_leaky": {"--beta": [("1.5", "between 0 and 1")]},
    f"{LEAKY} --neuron snntorch_leaky:reset_mechanism=none": {"--beta": [("1", "never forgets")]},
    f"{LEAKY} --threshold 1": {"--decay": [("1", "never forgets"), ("-1", "must lie between 0 and 1")]},
    f"{LEAKY} --threshold 1 --decay 0.5": {"--reset": [("hard", "choose one of")], "--steps": [("0", "at least 1")]},
    f"{LEAKY} --threshold 1 --decay 0.5 --depth 5": {"--rate": [("0.01", "out of reach")]},
    "fixed-points --threshold 1": {name: NETWORK[name] for name in ("--threshold", "--gain", "--bias-std", "--mean-gain")}
    | {"--distribution": DISTRIBUTIONS[:2]},
    "predict --threshold 1": {**NETWORK, "--threshold": [*THRESHOLD, ("36", "no preserving gain")]},
    "predict --threshold 1 --gain 2 --decay 0.5": {"--decay": [("2", "between 0 and 1")], "--steps": [("0", "at least 1")]},
    "simulate --threshold 1 --width 9": NETWORK
    | MEASURED
    | {
        "--weights": [("cauchy", "choose one of")],
        "--dtype": [("float16", "choose one of")],
        "--reset": [("soft", "choose one of")],
    },
    f"{SMALL} --threshold 1": {name: NETWORK[name] for name in ("--gain", "--width", "--depth")} | MEASURED,
    SMALL: {
        "--threshold": [
            *THRESHOLD[1:],
            ("36", "no preserving gain"),
            *((x, "must be numbers separated by commas") for x in ("x", "0.5,x", ",")),
        ]
    },
    "validate --quick": {"--width": [("9", "conflicts with --quick")]},
    **{line: {"--threshold": [(None, "missing")]} for line in ("lookup --fan-in 9", "fixed-points", "predict", "simulate")},
    "lookup": {"--threshold": [("", "requires an argument")]},
    "lookup --treshold 1": {"--treshold": [(None, "No such option")]},
    "lookup --threshold 1 --fan-in 9 extra": {"extra": [(None, "unexpected")]},
    "look --threshold 1": {"look": [(None, "No such command")]},
}


@pytest.mark.parametrize(("line", "option"), [(line, option) for line, options in CLI.items() for option in options])
def test_command_line_names_option_value_and_rule(varflow, tmp_path, line, option):
    for value, rule in CLI[line][option]:
        refused(varflow(line if value is None else f"{line} {option} {value}"), option, value, rule)
    assert list(tmp_path.iterdir()) == []


def test_a_drive_file_on_the_command_line(varflow, folder, tmp_path):
    path, rule = folder / "garbage.npz", NO_TABLE
    refused(varflow(f"{SMALL} --drive {path}"), "--drive", path, rule)
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
    refused(varflow(f"{SMALL} --out {place}"), "--out", place, rule)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.usefixtures("no_simulation")
def test_a_folder_without_permission_is_refused_first(varflow, monkeypatch, tmp_path):
    def refuse(**_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    refused(varflow(f"{SMALL} --out results"), "--out", "results", "cannot be written: Permission denied")
    assert list(tmp_path.iterdir()) == []


def test_the_guard_against_early_simulation_works(varflow, no_simulation):
    with pytest.raises(AssertionError, match="simulation started"):
        varflow(SMALL)


def test_nothing_half_written_when_the_disk_is_full(varflow, monkeypatch, tmp_path):
    """Writing the second file fails: neither is there, the result is on the screen, the line says why; finished blocks stay."""
    real, calls = os.fsync, []

    def fsync(descriptor):
        calls.append(descriptor)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        return real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    code, out, err = varflow(f"{SMALL} --json")
    assert code == 2
    assert err == "varflow: --out varflow-results cannot be written: No space left on device\n"
    assert out.startswith('{"passed"')
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["blocks.sqlite"]


@pytest.mark.parametrize(("package", "brought"), [("torch", "torch>=2.4"), ("matplotlib", "matplotlib>=3.9")])
def test_a_missing_extra_is_named_before_the_simulation(varflow, monkeypatch, tmp_path, package, brought):
    for name in [package, *(name for name in sys.modules if name.startswith(f"{package}."))]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr("varflow.experiment.simulate", lambda *_, **__: print("simulated"))
    code, out, err = varflow("validate --width 10 --depth 2 --repeats 2")
    assert (code, out) == (2, "")
    assert err == f"varflow: {package} is not installed: pip install '{brought}'\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("package", "call"),
    [
        ("torch", sim),
        ("torch", validate),
        ("torch", lambda: vf.kernel(net(), [[1.0]], repeats=1)),
        ("xarray", lambda: vf.finite_width(net()).to_xarray()),
    ],
)
def test_a_missing_extra_is_named_by_the_api(monkeypatch, package, call):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(vf.MissingExtraError, match=rf"{package} is not installed: pip install '{package}>=\d[.\d]*'$"):
        call()


def test_a_missing_extra_of_a_clone_that_is_not_installed(monkeypatch):
    monkeypatch.setattr(metadata, "distributions", lambda name: iter(()))
    monkeypatch.setitem(sys.modules, "xarray", None)
    with pytest.raises(vf.MissingExtraError, match=r"xarray is not installed: pip install '\.\[xarray\]'$"):
        vf.finite_width(net()).to_xarray()


def test_a_broken_extra_is_not_called_missing(monkeypatch, tmp_path):
    (tmp_path / "xarray.py").write_text("import no_such_module_of_xarray")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "xarray", raising=False)
    with pytest.raises(vf.MissingExtraError, match=r"xarray cannot be imported \(No module named 'no_such_module_of_xarray'\)"):
        vf.finite_width(net()).to_xarray()
