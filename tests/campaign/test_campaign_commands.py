"""Commands that take long: continued with --resume, stopped by Ctrl-C, killed; and bad input is one line."""

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import drill
import pytest
from wording import NO_COUNT

pytest.importorskip("torch")
pytest.importorskip("matplotlib")

import torch
from processes import import_once

from validation.__main__ import main
from varflow._process import outcome

ROOT = Path(__file__).parents[2]
SWEEP = "--threshold 0.5,1 --gain preserving --width 40 --depth 6 --repeats 9"
CLAIM = "--budget quick --claim one_layer_map"
LONG = {
    "phase-diagram": "varflow phase-diagram --depth 3000",
    "validate": "varflow validate --threshold 0.5 --gain preserving --width 300 --depth 60 --repeats 5000",
    "validation": "validation --budget standard --claim corrected_gain",
}


@pytest.fixture
def validation(monkeypatch, capsys, tmp_path):
    """Run ``python -m validation``: exit code, stdout, stderr and the last message."""
    monkeypatch.chdir(tmp_path)

    def run(line):
        monkeypatch.setattr(sys, "argv", ["validation", *line.split()])
        try:
            message, code = outcome(main)
        except SystemExit as end:
            message, code = "", end.code
        return code, *capsys.readouterr(), message

    return run


def test_validate_continues_and_says_how_much_was_there(varflow, tmp_path, monkeypatch, undrawn):
    import_once(monkeypatch)
    texts = []
    for more, there in (("", None), (" --resume", 9), (" --resume --seed 3", 0)):
        code, _, err = varflow(f"validate {SWEEP} --out a{more}")
        assert code == 0
        assert (f"a/blocks.sqlite: {there} of 9 networks are there" in err) == (there is not None)
        texts.append((tmp_path / "a" / "result.json").read_text(encoding="utf-8"))
    assert texts[0] == texts[1] != texts[2]
    code, _, err = varflow(f"validate {SWEEP} --out b --resume --workers 2")
    assert (code, "b/blocks.sqlite: 0 of 9 networks are there" in err) == (0, True)
    assert (tmp_path / "b" / "result.json").read_text(encoding="utf-8") == texts[0]


def harmed(harm):
    """A folder ``out`` that cannot serve."""
    Path("out").mkdir()
    store = Path("out/blocks.sqlite")
    if harm == "damaged":
        store.write_bytes(b"not a database" * 100)
    else:
        connection = sqlite3.connect(store)
        connection.execute("PRAGMA application_id = 1986423927")
        connection.execute("PRAGMA user_version = 9")
        connection.commit()
        connection.close()


BAD = [
    ("--out out", "damaged", "out/blocks.sqlite' is damaged: file is not a database; move it away and start again"),
    ("--out out", "version", "out/blocks.sqlite' is a store of version 9, and this varflow has version 1"),
    ("--out file", "", "file"),
    ("--out /proc/nowhere", "", "/proc/nowhere"),
    ("--scheduler tcp://127.0.0.1:1", "", "tcp://127.0.0.1:1"),
    ("--scheduler tcp://127.0.0.1:1 --workers 2", "", "conflicts with scheduler"),
    ("--workers 0", "", NO_COUNT),
    pytest.param(
        "--device cuda",
        "",
        "is not available: torch finds no CUDA device",
        marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device"),
    ),
    ("--device tpu", "", "is unknown; choose one of cpu, cuda"),
]


@pytest.mark.parametrize(("options", "harm", "said"), BAD)
@pytest.mark.parametrize("command", ["validate", "validation"])
def test_bad_input_is_one_line(varflow, validation, monkeypatch, tmp_path, command, options, harm, said):
    monkeypatch.setattr("varflow.campaign.work.PATIENCE", 0.5)
    Path("file").write_text("in the way")
    if harm:
        harmed(harm)
    if "scheduler" in options:
        pytest.importorskip("distributed")
    if command == "validate":
        code, out, err = varflow(f"validate {SWEEP} {options}")
    else:
        code, out, err, message = validation(f"{CLAIM} {options}")
        err += message + "\n" * bool(message)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert said.replace("' is", " is") in err.replace("' is", " is")
    assert Path("file").read_text() == "in the way"


def gone(group):
    """Whether all processes of a group end, within seconds."""
    for _ in range(200):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("name", [pytest.param(each, marks=[pytest.mark.slow] * (each != "phase-diagram")) for each in LONG])
def test_ctrl_c_ends_the_processes_and_keeps_what_is_finished(tmp_path, name):
    """Ctrl-C at a terminal goes to the workers too."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", *LONG[name].split(), "--out", "out", "--workers", "2", "--resume"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, start_new_session=True, **pipes) as process:
        try:
            deadline = time.monotonic() + 60
            while len(drill.stored(tmp_path / "out" / "blocks.sqlite")) < 3:
                assert process.poll() is None, process.communicate()
                assert time.monotonic() < deadline
                time.sleep(0.02)
            os.killpg(process.pid, signal.SIGINT)
            _, err = process.communicate(timeout=60)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "--resume continues" in err
    assert len(drill.stored(tmp_path / "out" / "blocks.sqlite")) >= 3
    assert gone(process.pid)
    if name == "validate":
        assert not json.loads((tmp_path / "out" / "result.json").read_text(encoding="utf-8"))["complete"]


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_short_drill(tmp_path, monkeypatch):
    """One kill of a table; ``make drill`` is the long one."""
    monkeypatch.setattr(drill, "TABLE", {"threshold": [0.5, 1.0], "width": [50, 100], "depth": [20, 50]})
    (table,) = (job for job in drill.jobs() if job.name == "table")
    found = drill.drill(table, 1, random.Random(0), tmp_path)
    assert found["kills"] == 1
