"""The command line, as a user meets it: tables, JSON, exit codes, files, Ctrl-C."""

import inspect
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from wording import REJECTED

import varflow as vf
from varflow.cli.initialise import lookup

pytest.importorskip("torch")
pytest.importorskip("matplotlib")

from matplotlib.figure import Figure

SMALL = "--width 40 --depth 4 --repeats 3"


def parsed(text):
    """Strict JSON: one object, no NaN, no Infinity."""

    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    assert text.count("\n") == 1
    return json.loads(text, parse_constant=refuse)


POINT = {"variance", "firing_rate", "multiplier", "stable", "depth_scale", "residual"}
PROFILE = {"variance", "variance_std", "firing_rate", "firing_rate_std", "survival", "spikes", "gain", "warnings"}
ENSEMBLE = {"variance", "firing_rate", "survival", "spikes", "seed", "engine", "device", "dtype", "gain", "warnings"}
EXPERIMENT = {
    "passed",
    "complete",
    "reading",
    "width",
    "depth",
    "steps",
    "neuron",
    "drive",
    "engine",
    "bias",
    "seed",
    "device",
    "dtype",
    "repeats",
}
EXPERIMENT |= {"requested_repeats", "false_alarm", "version", "curves", "warnings"}
INITIALIZATION = set(vf.lookup(threshold=1.0, fan_in=3).to_dict())
QUANTISATION = set(vf.quantise(threshold=1.0, width=40, depth=3, bits=2).to_dict()) | {"warnings"}
FIXED_POINTS = {"fixed_points", "cycles", "basin_edge", "complete", "resolution", "gain", "warnings"}

COMMANDS = [
    ("lookup --threshold 1 --fan-in 512 --depth 5", INITIALIZATION, "Initialization for threshold 1, fan-in 512 (normal)"),
    ("lookup --threshold 1.5 --layer 8,4,3,3", INITIALIZATION, "Initialization for threshold 1.5, fan-in 36 (normal)"),
    ("lookup --threshold 0 --fan-in 9", INITIALIZATION, "Initialization for threshold 0, fan-in 9 (normal)"),
    ("quantise --threshold 1 --width 30 --depth 5 --bits 2,3", QUANTISATION, "Integer weights for 99 %"),
    ("fixed-points --threshold 1.5", FIXED_POINTS, "unstable"),
    ("fixed-points --threshold 1 --gain kaiming", FIXED_POINTS, "stable"),
    (f"predict --threshold 1 {SMALL[:-12]}", PROFILE, "Profile of Network(width=40, depth=4"),
    (f"predict --threshold 1 --infinite {SMALL[:-12]}", PROFILE, "Profile of Network(width=40, depth=4"),
    ("predict --threshold 1 --width 1 --depth 2", PROFILE, "1         1   0.15866 ± 0.37"),
    (f"simulate --threshold 1 {SMALL}", ENSEMBLE, "Ensemble of 3 networks (dense, seed 0)"),
    ("simulate --threshold 1 --width 1 --depth 2 --repeats 1", ENSEMBLE, "nan"),
    (f"validate --threshold 1 {SMALL}", EXPERIMENT, "Experiment: the theory stands (3 networks of width 40, 4 layers"),
]


@pytest.mark.parametrize(("line", "keys", "shown"), COMMANDS, ids=[row[0] for row in COMMANDS])
def test_json_is_one_object_and_the_table_is_readable(varflow, line, keys, shown):
    code, out, err = varflow(f"{line} --json")
    assert code == 0
    assert set(parsed(out)) == keys
    warned = parsed(out)["warnings"]
    assert err == "".join(f"warning: {words}\n" for words in warned)
    code, table, _ = varflow(line)
    assert code == 0
    assert shown in table
    assert "{" not in table
    assert table.count("\n") >= 3
    assert all(words in table for words in warned)


def test_numbers_are_those_of_the_api(varflow):
    found = parsed(varflow("lookup --threshold 1 --fan-in 100 --depth 100 --json")[1])
    assert found == vf.lookup(threshold=1.0, fan_in=100, depth=100).to_dict()
    assert len(found["warnings"]) == 2  # close to the critical gain, and most networks of this width die
    points = parsed(varflow("fixed-points --threshold 1 --gain 2.51 --bias-std 0.2236 --json")[1])
    assert points["fixed_points"] == vf.fixed_points(threshold=1.0, gain=2.51, bias_std=0.2236).to_dict()["fixed_points"]
    assert all(set(point) == POINT for point in points["fixed_points"])
    network = vf.Network(width=50, depth=3, gain=1.9, neuron=vf.Neuron(0.5), bias_std=0.1, mean_gain=0.2)
    options = "--threshold 0.5 --gain 1.9 --width 50 --depth 3 --bias-std 0.1 --mean-gain 0.2"
    assert parsed(varflow(f"predict {options} --json")[1])["variance"] == vf.finite_width(network).variance.tolist()
    assert parsed(varflow(f"predict {options} --infinite --json")[1])["variance"] == vf.mean_field(network).variance.tolist()
    signs = replace(network, weights="sign")
    found = parsed(varflow(f"predict {options} --weights sign --json")[1])
    assert found["variance"] == vf.finite_width(signs).variance.tolist() != vf.finite_width(network).variance.tolist()
    measured = vf.simulate(signs, repeats=2, seed=3, dtype="float64")
    found = parsed(varflow(f"simulate {options} --weights sign --repeats 2 --seed 3 --dtype float64 --json")[1])
    assert found["firing_rate"] == measured.firing_rate.tolist()
    assert found["dtype"] == "float64"


def test_cycles_are_shown(varflow):
    line = "fixed-points --threshold -1 --gain 1 --bias-std 0.3 --mean-gain -4"
    told = vf.fixed_points(threshold=-1.0, gain=1.0, bias_std=0.3, mean_gain=-4.0)
    assert parsed(varflow(f"{line} --json")[1])["cycles"] == told.to_dict()["cycles"] != []
    assert varflow(line)[1].count(" stable cycle") == 2


def test_infinite_and_undefined_numbers_are_null(varflow):
    only_silence = parsed(varflow("fixed-points --threshold 1 --gain kaiming --json")[1])
    assert only_silence["basin_edge"] is None  # inf: all of it
    assert len(only_silence["fixed_points"]) == 1
    assert parsed(varflow("predict --threshold 1 --width 1 --depth 2 --json")[1])["variance_std"] == [None, None]
    assert parsed(varflow("simulate --threshold 1 --width 1 --depth 1 --repeats 1 --json")[1])["variance"] == [[None]]
    assert parsed(varflow("lookup --threshold 0 --fan-in 9 --json")[1])["margin"] is None


def test_gain_rules(varflow):
    def gain(options):
        return parsed(varflow(f"fixed-points --threshold 0.7 --json {options}")[1])

    assert gain("")["gain"] == vf.gain(threshold=0.7)
    assert gain("--gain kaiming")["gain"] == 2**0.5
    assert gain("--gain 1.25")["gain"] == 1.25
    laplace = gain("--distribution laplace")
    assert laplace["gain"] == vf.gain(threshold=0.7, distribution="laplace")
    assert gain("--distribution student_t:5")["gain"] == vf.gain(threshold=0.7, distribution=vf.distributions.student_t(5))
    for options in ("--bias-std 0.3", "--mean-gain -0.5", "--bias-std 0.3 --mean-gain 0.4", "--distribution logistic"):
        variances = [point["variance"] for point in gain(options)["fixed_points"]]
        assert min(abs(V - 1) for V in variances) < 1e-9, f"{options}: preserving must keep the variance at 1"


def test_a_scan_is_announced(varflow):
    code, out, err = varflow("fixed-points --threshold 1 --mean-gain 0.5 --json")
    assert code == 0
    assert parsed(out)["complete"] is False
    assert "can be missed" in parsed(out)["warnings"][0]
    assert "can be missed" in err


@pytest.mark.parametrize(
    "command",
    ["", "lookup", "fixed-points", "predict", "simulate", "validate", "phase-diagram", "quantise", "catalogue", "audit"],
)
def test_help(varflow, command):
    code, out, err = varflow(f"{command} --help")
    assert (code, err) == (0, "")
    assert out.split("\n\n")[2].startswith("  Examples:\n    varflow ")  # after the usage and one sentence
    assert "..." not in out.replace("[ARGS]...", "")  # nothing cut off
    assert max(len(line) for line in out.splitlines()) <= 80


def test_examples_of_the_help_run(varflow):
    for command in ("lookup", "fixed-points"):
        examples = [line.strip() for line in varflow(f"{command} --help")[1].splitlines() if line.startswith("    varflow ")]
        assert len(examples) >= 3
        for example in examples:
            if "--table" not in example:  # which takes minutes
                code, _, err = varflow(example.removeprefix("varflow "))
                assert code == 0, f"{example}: {err}"


def test_help_shows_every_option_in_its_group(varflow):
    _, out, _ = varflow("lookup --help")
    assert [line for line in out.splitlines() if line.endswith(":") and line[0] != " "] == [
        *("Neuron:", "Network:", "Time and input:", "Wanted:", "Gradients:", "Long runs:", "Output:")
    ]
    groups = out.split("\n\n")
    for group, option in (("Neuron:", "--decay"), ("Wanted:", "--rate"), ("Long runs:", "--resume"), ("Output:", "--table")):
        assert any(text.startswith(group) and f"  {option} " in text for text in groups)
    shown = [line.split()[0] for text in groups[2:] for line in text.splitlines() if line.startswith("  --")]
    assert len(shown) == len(set(shown)) == len(inspect.signature(lookup).parameters) + 1  # and --help


def test_without_arguments_help_is_shown(varflow):
    assert varflow("")[:2] == varflow("--help")[:2]
    assert varflow("--version")[:2] == (0, f"varflow {vf.__version__}\n")


# The main job.


@pytest.mark.parametrize(("line", "width"), [("validate", 1000), ("validate --quick", 300)])
def test_without_options_the_paper_s_experiment_is_run(varflow, monkeypatch, line, width):
    """It is asked for, not run here."""
    asked = []

    def simulate(networks, *, repeats, **options):
        asked.extend((network.width, network.depth, repeats) for network in networks)
        raise vf.ConvergenceError("asked for")

    monkeypatch.setattr("varflow.experiment._predicted", lambda networks: [])
    monkeypatch.setattr("varflow.experiment.simulate", simulate)
    assert varflow(line)[0] == 2
    assert asked == [(width, 100, 20)] * 12


def test_quick_validation_writes_its_files_and_passes(varflow, tmp_path):
    code, out, err = varflow("validate --quick --depth 25 --out new/results")
    assert code == 0
    assert "written: new/results/propagation.png, new/results/result.json" in out
    assert "REJECTED" not in out
    assert "warning" not in err
    folder = tmp_path / "new" / "results"
    assert sorted(path.name for path in folder.iterdir()) == ["blocks.sqlite", "propagation.png", "result.json"]
    assert (folder / "propagation.png").read_bytes().startswith(b"\x89PNG")
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    assert set(result) == EXPERIMENT
    assert (result["width"], result["depth"], result["repeats"], result["passed"]) == (300, 25, 20, True)
    assert {(curve["threshold"], curve["rule"]) for curve in result["curves"]} == {
        (theta, rule) for theta in (0.1, 0.3, 0.5, 0.7, 0.85, 1.0) for rule in ("preserving", "kaiming")
    }


def test_the_printed_json_is_the_written_one(varflow, tmp_path):
    _, out, err = varflow(f"validate --threshold 0.5 --gain 2 {SMALL} --json")
    assert err == ""
    assert parsed(out) == json.loads((tmp_path / "varflow-results" / "result.json").read_text(encoding="utf-8"))


@pytest.fixture
def bare_pictures(monkeypatch):
    """Pictures that nobody looks at are empty."""
    monkeypatch.setattr("varflow._figures.figure", lambda result: Figure(figsize=(1, 1)))


@pytest.mark.usefixtures("bare_pictures")
@pytest.mark.parametrize(("error", "code"), [(1.0, 0), (1.05, 1)])
def test_a_wrong_theory_is_rejected(varflow, monkeypatch, error, code):
    exact = vf.finite_width
    monkeypatch.setattr("varflow.experiment.finite_width", lambda network: exact(replace(network, gain=error * network.gain)))
    found, out, _ = varflow("validate --threshold 0.5 --gain preserving --width 300 --depth 20 --repeats 20")
    assert found == code
    assert ("REJECTED" in out) == bool(code)
    assert (REJECTED in out) == bool(code)


@pytest.mark.usefixtures("bare_pictures")
@pytest.mark.parametrize(
    ("options", "thresholds", "rules"),
    [
        ("--threshold 0.5,1 --gain 2", [0.5, 1.0], ["g = 2"]),
        ("--threshold 0.5 --threshold 1 --gain 2", [0.5, 1.0], ["g = 2"]),
        ("--threshold ' 0.5, 1' --threshold 0.25 --gain 2", [0.5, 1.0, 0.25], ["g = 2"]),
        ("--threshold 0.5,0.5 --gain kaiming,2.5 --gain kaiming", [0.5], ["kaiming", "g = 2.5"]),
        ("--threshold -0.5 --gain 'preserving, 2'", [-0.5], ["preserving", "g = 2"]),
    ],
)
def test_lists_come_with_commas_or_repeated(varflow, options, thresholds, rules):
    curves = parsed(varflow(f"validate {options} {SMALL} --json")[1])["curves"]
    assert [(curve["rule"], curve["threshold"]) for curve in curves] == [(r, theta) for r in rules for theta in thresholds]


@pytest.mark.usefixtures("bare_pictures")
@pytest.mark.parametrize("suffix", ["npy", "npz", "csv"])
def test_a_drive_from_a_file(varflow, tmp_path, suffix):
    data = np.random.default_rng(4).random((5, 6)).round(3)
    write = {"npy": np.save, "npz": np.savez, "csv": lambda path, x: np.savetxt(path, x, delimiter=",")}[suffix]
    write(tmp_path / f"data.{suffix}", data)
    code, out, _ = varflow(f"validate --threshold 0.5 --gain preserving --drive data.{suffix} {SMALL} --json")
    assert code == 0
    result = parsed(out)
    assert result["drive"] == repr(vf.drives.inputs(data))
    network = vf.Network(width=40, depth=4, gain=vf.gain(threshold=0.5), neuron=vf.Neuron(0.5), drive=vf.drives.inputs(data))
    exact = vf.finite_width(network).per_input["survival"][:, -1]
    assert result["curves"][0]["survival_per_input"] == pytest.approx(exact, rel=1e-12)


# Ctrl-C; real signals to real processes: test_finished_work.


def test_ctrl_c_elsewhere_ends_quietly(varflow, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(vf, "finite_width", interrupt)
    code, out, err = varflow("predict --threshold 1")
    assert (code, out, err.strip()) == (130, "", "varflow: interrupted")


def test_ctrl_c_outside_the_simulation_says_that_nothing_is_written(varflow, monkeypatch, tmp_path):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("varflow.experiment.compare", interrupt)
    code, out, err = varflow(f"validate {SMALL}")
    assert (code, out) == (130, "")
    assert err.strip().endswith("varflow: stopped; nothing is written, --resume continues")
    assert [path.name for path in tmp_path.rglob("*.*")] == ["blocks.sqlite"]


# Pipes and terminals.


def piped(command, **options):
    return subprocess.run(command, shell=True, capture_output=True, timeout=60, **options)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX shell")
def test_a_closed_pipe_is_no_error():
    done = piped(f"{sys.executable} -m varflow predict --threshold 1 --depth 2000 --width 20 --json | head -c 10")
    assert done.stderr == b""
    assert done.stdout == b'{"variance'


def test_a_terminal_without_greek_letters():
    environment = {"PYTHONIOENCODING": "ascii", "PATH": str(Path(sys.executable).parent)}
    command = [sys.executable, "-m", "varflow", "lookup", "--threshold", "0", "--fan-in", "9", "--rate", "0.1"]
    done = subprocess.run(command, capture_output=True, env=environment, timeout=60)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"cannot be chosen at threshold \\u2264 0" in done.stderr


def test_python_m_varflow_is_the_command():
    done = subprocess.run([sys.executable, "-m", "varflow", "lookup"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "varflow: --threshold is missing\n")
