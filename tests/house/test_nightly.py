"""``make nightly`` runs every further check, goes on after failures and interruptions, and its shards rotate."""

import importlib.util
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
SELF_EVIDENT = {"test", "nightly", "lint", "format", "clean"}  # in the quick checks, or no check
NO_CHECKS = {"data", "train", "notebooks", "corrected-gains", "explorer"}  # they make something; what they make is tested


@pytest.fixture
def nightly(tmp_path, monkeypatch):
    """The script, with its folder elsewhere."""
    spec = importlib.util.spec_from_file_location("nightly", ROOT / "checks" / "nightly.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "nightly", module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "FOLDER", tmp_path / "nightly")
    monkeypatch.setattr(module, "git", lambda *arguments: {"diff": "", "rev-parse": "abc", "rev-list": "7"}[arguments[0]])
    handler = signal.getsignal(signal.SIGTERM)
    yield module
    signal.signal(signal.SIGTERM, handler)


@pytest.fixture
def run(nightly, monkeypatch, capsys):
    """Exit code and output of ``make nightly PART=…`` with other parts."""

    def run(part, parts):
        monkeypatch.setattr(nightly, "PARTS", tuple(nightly.Part(*each) for each in parts))
        monkeypatch.setattr(sys, "argv", ["nightly", part])
        return nightly.main(), capsys.readouterr().out

    return run


def test_every_check_of_the_makefile_is_a_part(nightly):
    commands = {*re.findall(r"^\.PHONY: (.*)$", MAKEFILE, flags=re.MULTILINE)[0].split()}
    parts = {unit.command.split()[1] for unit in nightly.units(0)}
    assert parts == commands - SELF_EVIDENT - NO_CHECKS


def test_every_claim_is_in_one_share(nightly):
    shares = [re.search("CLAIMS='(.*)'", unit.command)[1].split() for unit in nightly.units(0) if unit.part.name == "validate"]
    assert sorted(name for share in shares for name in share) == nightly.CLAIMS
    assert len(nightly.CLAIMS) > 20


def test_goes_on_after_a_failure_and_where_it_was_stopped(run, nightly, tmp_path):
    parts = [
        ("bad", "echo no >&2; exit 3"),
        ("good", "echo {share}; echo {share} >> made", 2),
        ("absent", "false", 1, ("no|none",)),
    ]
    code, out = run("", parts)
    assert code == 1
    assert (tmp_path / "made").read_text() == "1/2\n2/2\n"
    assert re.search(r"bad +│ FAILED", out), out
    assert re.search(r"absent +│ left out .* needs no\|none", out)
    assert "1 failed bad" in (tmp_path / "nightly/abc/table.txt").read_text()
    record = tmp_path / "nightly/abc/outcomes.jsonl"
    whole = record.read_text().splitlines()
    record.write_text("\n".join(whole[:2]) + "\n" + whole[2][:20])  # killed while it wrote the third
    assert run("", parts)[0] == 1  # the failure is remembered
    assert (tmp_path / "made").read_text() == "1/2\n2/2\n2/2\n"
    assert run("good 1/2, absent", parts)[0] == 0  # what is named is run again
    assert (tmp_path / "made").read_text() == "1/2\n2/2\n2/2\n1/2\n"


def test_a_changed_tree_is_no_outcome(run, nightly, tmp_path, monkeypatch):
    states = iter(["first", "second"])
    monkeypatch.setattr(nightly, "state", lambda: next(states))
    with pytest.raises(SystemExit, match="the tree has changed"):
        run("", [("good", "true")])
    assert not (tmp_path / "nightly/first/outcomes.jsonl").exists()


def test_a_part_that_hangs_fails(run, nightly, monkeypatch):
    monkeypatch.setattr(nightly, "LIMIT", 0.5)
    code, out = run("", [("endless", "sleep 100")])
    assert code == 1
    assert "ended after 0.008" in out


def test_an_unknown_part_is_named(run):
    with pytest.raises(SystemExit, match="PART=slwo is unknown; choose from shard, slow, or a share"):
        run("slwo", [("slow", "true")])


def test_shards_rotate_through_all(nightly):
    shards = [[unit.name for unit in nightly.shard(nightly.units(n), n)] for n in range(60)]
    rotating = {unit.name for unit in nightly.units(0) if not unit.part.always}
    assert {name for shard in shards for name in shard} == rotating
    assert all(set(a).isdisjoint(b) for a, b in itertools.pairwise(shards))


def test_when_it_is_stopped_its_part_ends_too(tmp_path):
    """Until what it started has ended, a second run is refused."""
    script = f"""
import sys; sys.path.insert(0, {str(ROOT / "checks")!r})
from pathlib import Path
import nightly
nightly.FOLDER, nightly.state, nightly.git = Path({str(tmp_path)!r}), lambda: "abc", lambda *arguments: "7"
nightly.PARTS = (nightly.Part("long", "echo $$ > {tmp_path}/child; exec sleep 60"),)
sys.argv = ["nightly"]
sys.exit(nightly.main())
"""
    first = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.DEVNULL)
    child = tmp_path / "child"
    while not (child.exists() and child.read_text().strip()):
        assert first.poll() is None
        time.sleep(0.05)
    second = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert second.returncode == 1
    assert "still at work" in second.stderr
    first.send_signal(signal.SIGTERM)
    assert first.wait(10) == 143
    with pytest.raises(ProcessLookupError):
        os.kill(int(child.read_text()), 0)
    assert not (tmp_path / "abc/outcomes.jsonl").exists()


def test_shares_of_tests_are_all_tests_once(tmp_path):
    (tmp_path / "conftest.py").write_text((ROOT / "conftest.py").read_text(encoding="utf-8"))
    (tmp_path / "test_it.py").write_text("import pytest\n@pytest.mark.parametrize('i', range(7))\ndef test_it(i): pass\n")

    def collected(*share):
        command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *share]
        lines = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        return [line for line in lines.stdout.splitlines() if "::" in line], lines.stderr

    shares = [collected("--share", f"{k}/3")[0] for k in (1, 2, 3)]
    assert [len(share) for share in shares] == [3, 2, 2]
    assert sorted(name for share in shares for name in share) == collected()[0]
    assert "must be k/n with 1 ≤ k ≤ n" in collected("--share", "4/3")[1]


def test_what_is_slower_than_an_earlier_commit_is_named(monkeypatch, capsys, tmp_path):
    """Of two trees' benchmarks; a limit that is missed twice fails."""
    spec = importlib.util.spec_from_file_location("against", ROOT / "benchmarks" / "against.py")
    against = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(against)
    seconds = {"now": {"a.py::same": 1.0, "a.py::slow": 2.0, "b.py::new": 1.0, "b.py::lucky": 3.0}}
    seconds["then"] = {"a.py::same": 0.95, "a.py::slow": 1.0, "b.py::lucky": 2.0}
    monkeypatch.setattr(against, "ROOT", "now")
    monkeypatch.setattr(against, "laid_out", lambda commit: "then")
    monkeypatch.setattr(against, "git", lambda *arguments: "abc")
    monkeypatch.setattr(against, "collected", lambda tree, *arguments: list(seconds[tree]))
    calls = []

    def timed(tree, names):
        calls.append((tree, *names))
        lucky = {name: 2.1 for name in names if name == "b.py::lucky" and calls.count((tree, name))}  # when timed again
        failed = [name for name in names if name == "a.py::slow"] if tree == "now" else []
        return {name: seconds[tree][name] for name in names} | lucky, "".join(f"FAILED {name} - too slow\n" for name in failed)

    monkeypatch.setattr(against, "timed", timed)
    monkeypatch.setattr(sys, "argv", ["against", "last"])
    assert against.main() == 1
    out = capsys.readouterr().out
    assert "against abc: 3 benchmarks in both, 1 slower" in out
    assert "2.00 times  a.py::slow" in out
    assert out.rstrip().endswith("1 limits missed\n    a.py::slow")
    assert json.dumps(calls).count("b.py::new") == 1  # there is nothing to time it against
