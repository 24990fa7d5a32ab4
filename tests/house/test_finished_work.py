"""Nothing finished is lost, no older file is harmed: kill, Ctrl-C twice, full disk, closed pipe, two runs in one folder."""

import json
import os
import re
import signal
import stat
import sys
from dataclasses import replace

import pytest
from processes import PRELOADED, Scenario

from varflow._files import replace_files

pytest.importorskip("torch")
pytest.importorskip("matplotlib")
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals and streams")

SMALL = "--width 40 --depth 4 --repeats 3"
WRITERS = {
    "validate": (f"validate --threshold 0.5 {SMALL}", ["varflow-results/propagation.png", "varflow-results/result.json"]),
    "phase-diagram": (
        "phase-diagram --threshold 0.9,1 --width 40,80 --depth 5",
        ["varflow-results/phase-diagram.png", "varflow-results/phase-diagram.json"],
    ),
    "catalogue": ("catalogue --fan-in 60 --depth 4 --plot methods.png", ["methods.png"]),
    "lookup --table": ("lookup --table gains.csv --threshold 0.5 --width 50 --depth 5", ["gains.csv"]),
}
SAYERS = {
    "lookup": "lookup --threshold 0.9 --fan-in 77",
    "lookup --json": "lookup --threshold 0.9 --fan-in 77 --json",
    "fixed-points": "fixed-points --threshold 1.2",
    "predict": "predict --threshold 0.9 --width 30 --depth 500 --json",  # more than a buffer holds
    "simulate": f"simulate --threshold 0.5 {SMALL}",
    "audit": "audit users_code:made --steps 2",
    "help": "--help",
    "help of a command": "predict --help",
    "version": "--version",
}
USERS_CODE = """
import torch, varflow as vf

class Half(torch.nn.Module):
    v = 0.0
    def forward(self, current):
        h = 0.5 * self.v + current
        spikes = (h > 1).to(h.dtype)
        self.v = h - spikes
        return spikes

@vf.init.reads(Half)
def half(module):
    return vf.Neuron(1.0, decay=0.5, reset="subtract")

def made():
    print("made")
    return torch.nn.Sequential(torch.nn.Linear(6, 6), Half()), torch.rand(3, 6)
"""
OLD = "an older result, still good"
# Pictures are empty, but whole files; those of the scenarios without it are drawn.
EMPTY = """
import matplotlib.figure, validation.figures, varflow._figures, varflow.plots
bare = lambda *result, **options: matplotlib.figure.Figure(figsize=(1, 1))
varflow._figures.figure = varflow.plots.plot_catalogue = varflow.plots.plot_methods = bare
validation.figures._svg = lambda *drawing: "<svg></svg>"
"""

# Networks that say when 20 of them are finished, so that a signal can be sent then; they come in small blocks.
COUNTED = """
import varflow.experiment, varflow.simulation, varflow.simulation.run
varflow.simulation.run.DRAWN = 2**20
real = varflow.simulation.simulate
def simulate(networks, progress=False, **options):
    return real(networks, progress=lambda done, total: ready() if done >= 20 else None, **options)
varflow.experiment.simulate = varflow.simulation.simulate = varflow.simulate = simulate
"""
# The first weights of the first network are being drawn.
STARTED = """
from varflow.simulation.streams import Draws
real = Draws.weights
def weights(*arguments, **options):
    ready()
    return real(*arguments, **options)
Draws.weights = weights
"""
# The judging of finished networks says when it begins, and takes a while.
JUDGING = """
import time, varflow.experiment
real = varflow.experiment.compare
def compare(*arguments, **options):
    ready()
    time.sleep(0.3)
    return real(*arguments, **options)
varflow.experiment.compare = compare
"""
SAVING = """
import os, time
real = os.fsync
def fsync(descriptor):
    ready()
    time.sleep(0.3)
    return real(descriptor)
os.fsync = fsync
"""
ENDLESS = """
import time
def finite_width(network):
    ready()
    time.sleep(60)
import varflow
varflow.finite_width = finite_width
"""
FULL = """
import os
def fsync(descriptor):
    raise OSError(28, "No space left on device")
os.fsync = fsync
"""
KILLED = """
import os, signal
def replace(*paths):
    os.kill(os.getpid(), signal.SIGKILL)
os.replace = replace
"""
# While the files are on their way, another run into the same folder comes and goes.
OVERTAKEN = """
import os, sys
from pathlib import Path
real = os.fsync
def fsync(descriptor):
    os.fsync = real
    pid = os.fork()
    if not pid:
        import varflow.cli
        sys.argv = ["varflow", *{line!r}.split()]
        try:
            varflow.cli.main()
        except SystemExit as end:
            os._exit(end.code)
        os._exit(99)
    Path("other").write_text(str(os.waitpid(pid, 0)[1]))
    return real(descriptor)
os.fsync = fsync
"""
# Claims that are examined in no time; the slow one says when it begins.
CLAIMS = """
import time
from dataclasses import dataclass, replace
import numpy as np
import validation.claims
from validation.claim import Claim, Error, Judgement

@dataclass(frozen=True)
class Settings:
    mean: float = 1.0
    false_alarm: float = 1e-3

def judge(settings, theory, seen):
    row = np.array([theory]), np.array([seen]), np.array([0.1]), np.array([(seen - theory) / 0.1])
    return Judgement(float(abs(seen - theory) < 0.1), ("here",), *row)

def slow(settings, seed, work):
    ready()
    time.sleep(60)

quick = Claim(
    "figure_2", "The mean is 1.", "nobody", "mean", dict(quick=Settings()), lambda s: s.mean, lambda s, seed, work: 1.0,
    judge, lambda s: (Error("the mean", lambda s, e: replace(s, mean=s.mean * (1 + e))),), lambda s, theory, seed: theory,
    lambda s, theory, seen: "It is.",
)
listed = {"figure_2": quick, "figure_3": replace(quick, name="figure_3"), "figure_4": replace(quick, name="figure_4")}
if SLOW:
    listed["figure_4"] = replace(listed["figure_4"], simulate=slow)
validation.claims.discover = lambda: listed
"""
TERM, INT, HUP = signal.SIGTERM, signal.SIGINT, signal.SIGHUP
LONG = "validate --threshold 0.5 --gain preserving --width 200 --depth 8 --repeats 1000"
REPORT, JSON = "out/REPORT.md", "out/figure_2.json"
VALIDATION = {
    "line": "--budget quick --out out",
    "module": "validation",
    "first": EMPTY + "SLOW = 0" + CLAIMS,
    "before": {JSON: OLD},
}

NOWHERE = ("full", "closed", "gone")
EVERY = {**SAYERS, **{name: line for name, (line, _) in WRITERS.items()}}
STDOUT = [
    *((name, "full") for name in EVERY),
    *((name, where) for name in ("predict", "lookup --table", "audit") for where in NOWHERE[1:]),
]
STDERR = [("validate", "full"), ("lookup --table", "closed"), ("lookup --table", "gone")]

SCENARIOS = {
    **{
        f"{name}, stdout {where}": Scenario(EVERY[name], stdout=where, first=EMPTY, before={"users_code.py": USERS_CODE})
        for name, where in STDOUT
    },
    **{f"{name}, stderr {where}": Scenario(EVERY[name], stderr=where) for name, where in STDERR},
    **{
        f"{name}, disk full": Scenario(line, first=EMPTY + FULL, before=dict.fromkeys(files, OLD))
        for name, (line, files) in WRITERS.items()
        if name != "phase-diagram"
    },
    "validate, both full": Scenario(EVERY["validate"], stdout="full", first=EMPTY + FULL),
    "validate, killed": Scenario(EVERY["validate"], first=EMPTY + KILLED, before=dict.fromkeys(WRITERS["validate"][1], OLD)),
    "validate, overtaken": Scenario(EVERY["validate"], first=EMPTY + OVERTAKEN.format(line=EVERY["validate"] + " --seed 7")),
    "validate, terminated": Scenario(LONG, first=EMPTY + COUNTED, signals=[(TERM, 0.02)]),
    "validate, terminated beside a result": Scenario(
        LONG, first=EMPTY + COUNTED, signals=[(TERM, 0.02)], before=dict.fromkeys(WRITERS["validate"][1], OLD)
    ),
    "validate, hung up": Scenario(LONG, first=EMPTY + COUNTED, signals=[(HUP, 0.02)], stderr="gone"),
    "validate, Ctrl-C again and again": Scenario(
        LONG, first=EMPTY + COUNTED, signals=[(INT, 0.02), *[(INT, 0.04)] * 8, (TERM, 0.04)]
    ),
    "validate, Ctrl-C before the first network": Scenario(
        "validate --threshold 0.5 --gain preserving --width 2000 --depth 1000 --repeats 50", first=STARTED, signals=[(INT, 0.0)]
    ),
    "validate, terminated while judging": Scenario(
        EVERY["validate"], first=EMPTY + JUDGING, signals=[(TERM, 0.0), (INT, 0.05)]
    ),
    "validate, Ctrl-C while saving": Scenario(EVERY["validate"], first=EMPTY + SAVING, signals=[(INT, 0.0), (INT, 0.05)]),
    "simulate, terminated": Scenario(LONG.replace("validate", "simulate") + " --json", first=COUNTED, signals=[(TERM, 0.02)]),
    "predict, terminated": Scenario("predict --threshold 1", first=ENDLESS, signals=[(TERM, 0.0)]),
    "predict, Ctrl-C": Scenario("predict --threshold 1", first=ENDLESS, signals=[(INT, 0.0), (INT, 0.0)]),
    "validation, terminated": Scenario(
        **VALIDATION | {"first": EMPTY + "SLOW = 1" + CLAIMS}, signals=[(TERM, 0.02), (INT, 0.05)]
    ),
    "validation, stdout full": Scenario(**VALIDATION, stdout="full"),
    "validation, stderr full": Scenario(**VALIDATION, stderr="full"),
    "validation, disk full": Scenario(
        **VALIDATION | {"first": EMPTY + "SLOW = 0" + CLAIMS + FULL, "before": {REPORT: OLD, JSON: OLD}}
    ),
}


MORE = ("rich.progress", "matplotlib.backends.backend_svg", "scipy.integrate", "validation.claims", "validation.pages")
MORE += ("validation.runner", "varflow.init.catalogue", "varflow.init.lookup", "varflow.init.table", "varflow.simulation.dense")
MORE += ("typer._click.decorators", "varflow.simulation.conditional", "varflow.theory.memoryless.stable")
MORE += (
    "varflow.torch_models.audit.door",
    "varflow.torch_models.audit.report",
    "varflow.torch_models.tracing.weights",
    "rich._emoji_codes",
)
MORE += ("varflow.simulation.layered", "typer._click._textwrap")


@pytest.fixture(scope="module")
def runs(ended, tmp_path_factory):
    """All of them."""
    return ended(SCENARIOS, tmp_path_factory.mktemp("runs"), (*PRELOADED, *MORE))


def complete(folder, files):
    """Whether every file is there, whole, and nothing half-written beside it."""
    for name in files:
        content = (folder / name).read_bytes()
        if name.endswith(".json"):
            json.loads(content)
        elif name.endswith(".png"):
            assert content.startswith(b"\x89PNG")
            assert content.endswith(b"IEND\xaeB`\x82")  # its last chunk
        else:
            assert content.count(b"\n") == 2
        assert sorted(path.name for path in (folder / name).parent.iterdir() if "partial" in path.name) == []
    return True


class TestStreams:
    @pytest.mark.parametrize(("name", "where"), STDOUT)
    def test_a_stdout_that_takes_nothing_is_one_line_and_costs_no_file(self, runs, name, where):
        code, _, err, folder = runs[f"{name}, stdout {where}"]
        last = err.splitlines()[-1] if err else ""
        if where == "gone":
            assert code == 128 + signal.SIGPIPE, err
            assert "varflow:" not in err
        else:
            why = {"full": "No space left on device", "closed": "Bad file descriptor"}[where]
            assert (code, last) == (2, f"varflow: stdout cannot be written: {why}")
        assert "Traceback" not in err
        assert name in SAYERS or complete(folder, WRITERS[name][1])

    @pytest.mark.parametrize(("name", "where"), STDERR)
    def test_a_stderr_that_takes_nothing_changes_nothing(self, runs, name, where):
        code, out, _, folder = runs[f"{name}, stderr {where}"]
        assert code == 0
        assert out.splitlines()[-1].startswith("written: ")
        assert complete(folder, WRITERS[name][1])


class TestFiles:
    @pytest.mark.parametrize("name", ["validate", "catalogue", "lookup --table"])
    def test_a_full_disk_leaves_the_older_file_and_the_result_on_the_screen(self, runs, name):
        code, out, err, folder = runs[f"{name}, disk full"]
        assert code == 2
        assert re.fullmatch(r"varflow: --(out|plot|table) \S+ cannot be written: No space left on device", err.splitlines()[-1])
        assert re.match("Experiment|PhaseDiagram|Catalogue|CorrectedGainTable", out)
        assert {(folder / file).read_text() for file in WRITERS[name][1]} == {OLD}
        beside = [path.name for path in (folder / WRITERS[name][1][0]).parent.iterdir() if path.suffix != ".sqlite"]
        assert len(beside) == 2 or not (folder / "varflow-results").exists()

    def test_where_neither_file_nor_screen_takes_it_both_are_named(self, runs):
        code, _, err, _ = runs["validate, both full"]
        assert code == 2
        assert re.search(
            r"cannot be written: No space left on device; stdout cannot be written: No space", err.splitlines()[-1]
        )

    def test_a_kill_harms_no_older_file(self, runs):
        code, _, _, folder = runs["validate, killed"]
        assert code == -signal.SIGKILL
        assert {(folder / name).read_text() for name in WRITERS["validate"][1]} == {OLD}

    def test_two_runs_into_one_folder_do_not_meet(self, runs):
        code, _, err, folder = runs["validate, overtaken"]
        assert (code, (folder / "other").read_text()) == (0, "0"), err
        assert complete(folder, WRITERS["validate"][1])
        assert json.loads((folder / "varflow-results" / "result.json").read_text())["seed"] == 0  # of the later one

    def test_links_stay_links_and_modes_stay(self, tmp_path):
        (tmp_path / "real").mkdir()
        place, link, long = tmp_path / "real" / "a.json", tmp_path / "a.json", tmp_path / ("n" * 250 + ".csv")
        place.write_text(OLD)
        place.chmod(0o640)
        link.symlink_to(place)
        replace_files({link: "θ", long: b"1"})
        assert (link.is_symlink(), place.read_text(encoding="utf-8"), long.read_bytes()) == (True, "θ", b"1")
        assert stat.S_IMODE(place.stat().st_mode) == 0o640
        mask = os.umask(0)
        os.umask(mask)
        assert stat.S_IMODE(long.stat().st_mode) == 0o666 & ~mask

    def test_a_file_that_is_cut_off_is_not_put_in_place(self, tmp_path):
        """A limit on the size of files stands for a full disk."""
        import resource

        place, small = tmp_path / "a.json", tmp_path / "b.json"
        place.write_text(OLD)
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (5000, limits[1]))
            with pytest.raises(OSError, match="too large"):
                replace_files({small: "new", place: "new" * 5000})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a.json", OLD)]

    def test_one_that_cannot_be_written_keeps_all_as_they_were(self, tmp_path):
        first, second = tmp_path / "first", tmp_path / "file" / "second"
        first.write_text(OLD)
        (tmp_path / "file").write_text("no folder")
        with pytest.raises(OSError, match=r"exists|directory"):
            replace_files({first: "new", second: "new"})
        assert first.read_text() == OLD
        assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "first"]


class TestSignals:
    @pytest.mark.parametrize(
        ("name", "number"),
        [("terminated", TERM), ("hung up", HUP), ("Ctrl-C again and again", INT)],
    )
    def test_what_is_finished_is_judged_and_written(self, runs, name, number):
        code, out, err, folder = runs[f"validate, {name}"]
        assert code == 128 + number
        assert "Traceback" not in out + err
        assert complete(folder, WRITERS["validate"][1])
        result = json.loads((folder / "varflow-results" / "result.json").read_text(encoding="utf-8"))
        assert 20 <= result["repeats"] < result["requested_repeats"] == 1000
        assert not result["complete"]
        assert f"{result['repeats']} networks of width 200" in out
        assert name == "hung up" or f"stopped after {result['repeats']} of 1000 networks; these are judged" in err

    def test_an_older_result_survives_a_run_that_is_stopped(self, runs):
        code, out, err, folder = runs["validate, terminated beside a result"]
        assert code == 128 + TERM
        assert {(folder / name).read_text() for name in WRITERS["validate"][1]} == {OLD}
        assert out.startswith("Experiment")
        assert re.search(r"stopped after \d+ of 1000 networks; these are judged, the older result stays, and --resume", err)

    def test_ctrl_c_before_the_first_network_writes_nothing(self, runs):
        code, out, err, folder = runs["validate, Ctrl-C before the first network"]
        assert (code, out) == (128 + INT, "")
        assert err.splitlines()[-1] == "varflow: stopped after 0 of 50 networks; nothing is written, --resume continues"
        assert [path.name for path in (folder / "varflow-results").iterdir()] == ["blocks.sqlite"]

    @pytest.mark.parametrize(("name", "number"), [("terminated while judging", TERM), ("Ctrl-C while saving", INT)])
    def test_finished_networks_survive_a_signal_that_comes_later(self, runs, name, number):
        code, out, err, folder = runs[f"validate, {name}"]
        assert code == 128 + number
        assert "Traceback" not in err
        assert err.count("saving finished work, then stopping\n") == 1
        assert complete(folder, WRITERS["validate"][1])
        result = json.loads((folder / "varflow-results" / "result.json").read_text(encoding="utf-8"))
        assert (result["complete"], result["repeats"], result["warnings"]) == (True, 3, [])
        assert "written: " in out

    def test_simulate_shows_what_is_finished(self, runs):
        code, out, err, _ = runs["simulate, terminated"]
        assert code == 128 + TERM
        found = json.loads(out)
        assert 20 <= len(found["variance"]) < 1000
        assert err == f"warning: {found['warnings'][0]}\n"

    @pytest.mark.parametrize(("name", "number", "word"), [("terminated", TERM, "terminated"), ("Ctrl-C", INT, "interrupted")])
    def test_elsewhere_a_command_ends_at_once(self, runs, name, number, word):
        code, out, err, _ = runs[f"predict, {name}"]
        assert (code, out) == (128 + number, "")
        assert err.replace("saving finished work, then stopping\n", "") == f"varflow: {word}\n"


class TestValidation:
    def test_sigterm_keeps_finished_claims_and_the_report_names_the_rest(self, runs):
        code, out, err, folder = runs["validation, terminated"]
        assert code == 128 + TERM
        assert "Traceback" not in out + err
        report = (folder / REPORT).read_text(encoding="utf-8")
        assert "Stopped early: figure_4 not examined." in report
        assert [json.loads((folder / "out" / f"figure_{k}.json").read_text())["verdict"] for k in (2, 3)] == ["holds", "holds"]

    def test_a_full_stdout_costs_no_claim(self, runs):
        code, _, err, folder = runs["validation, stdout full"]
        assert (code, err.splitlines()[-1]) == (2, "validation: stdout cannot be written: No space left on device")
        assert "**3 of 3 claims hold.**" in (folder / REPORT).read_text(encoding="utf-8")

    def test_a_full_stderr_changes_nothing(self, runs):
        code, out, _, _ = runs["validation, stderr full"]
        assert (code, out.count("holds")) == (0, 3)

    def test_a_full_disk_leaves_older_files_and_says_what_was_found(self, runs):
        code, out, err, folder = runs["validation, disk full"]
        assert code == 2
        assert re.fullmatch(r"figure_2 +holds .*\n", out)
        assert err.splitlines()[-1] == "validation: out='out' cannot be written: No space left on device"
        assert {path.read_text() for path in (folder / "out").iterdir() if path.suffix != ".sqlite"} == {OLD}


def test_a_report_keeps_the_claims_of_earlier_runs(tmp_path, monkeypatch, undrawn, capsys):
    """Those whose files are there and can be read, with their seeds; the exit code is of the claims asked for."""
    from validation.__main__ import main

    space = {"SLOW": False}
    exec(CLAIMS, space)
    listed, wrong = space["listed"], replace(space["quick"], name="figure_5", simulate=lambda *_: 1.5)
    monkeypatch.setattr("validation.__main__.discover", lambda: {**listed, "figure_5": wrong})
    run = ["--budget", "quick", "--out", str(tmp_path / "out")]
    assert main([*run, "--claim", "figure_5", "--seed", "4"]) == 1
    assert main([*run, "--claim", "figure_2"]) == 0
    (tmp_path / "out" / "figure_3.json").write_text('{"claim": "figure_3"')
    capsys.readouterr()
    assert main([*run, "--claim", "figure_4"]) == 0
    out, err = capsys.readouterr()
    assert re.findall(r"figure_\d", out) == ["figure_4"]
    assert f"{tmp_path / 'out' / 'figure_3.json'} is left out of the report: " in err
    report = (tmp_path / REPORT).read_text(encoding="utf-8")
    assert "**2 of 3 claims hold, 1 fails.**" in report
    assert re.findall(r"^## (\w+)", report, flags=re.MULTILINE) == ["figure_2", "figure_4", "figure_5"]
    earlier = r"From earlier runs into this folder: figure_2 \(Budget quick, seed 0, .*; figure_5 \(Budget quick, seed 4, "
    assert re.search(earlier, report)


def test_a_claim_without_its_libraries_is_not_examined(tmp_path, monkeypatch, capsys):
    from validation.__main__ import main
    from validation.claims import gain_for_rate

    space = {"SLOW": False}
    exec(CLAIMS, space)
    bare = replace(gain_for_rate.CLAIM, budgets={"quick": gain_for_rate.Settings(repeats=2, cells=())})
    monkeypatch.setattr("validation.__main__.discover", lambda: {"gain_for_rate": bare, "figure_2": space["quick"]})
    assert main(["--budget", "quick", "--out", str(tmp_path)]) == 3
    out, err = capsys.readouterr()
    assert err.strip().startswith("gain_for_rate is not examined: ")
    assert "(not examined: gain_for_rate)" in out
    assert "Without the libraries: gain_for_rate not examined." in (tmp_path / "REPORT.md").read_text(encoding="utf-8")
