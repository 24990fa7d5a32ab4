"""What several test files share."""

import contextlib
import gc
import importlib
import os
import shlex
import signal
import sys
from pathlib import Path

import failures
import pytest
from hypothesis import Phase, settings
from processes import Interpreter

from varflow.cli import main

gc.disable()  # until all tests are collected: libraries that load make millions of objects, of which all stay

# Without explanations: on Python 3.11 they trace every line, minutes in a process that has imported the whole package.
settings.register_profile("quick", phases=[phase for phase in Phase if phase is not Phase.explain])
settings.load_profile("quick")

# Where the tests run in the background or under nohup, signals are ignored, and processes started from here would inherit that.
for number, handler in ((signal.SIGINT, signal.default_int_handler), (getattr(signal, "SIGHUP", None), signal.SIG_DFL)):
    if number is not None and signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)


@pytest.fixture
def varflow(monkeypatch, capsys, tmp_path):
    """Run a command line in an empty folder: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)

    def run(line):
        monkeypatch.setattr(sys, "argv", shlex.split(f"varflow {line}"))
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code, *capsys.readouterr()

    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def ended():
    """Run scenarios as processes, which are forks of one interpreter."""
    with Interpreter() as interpreter:
        yield interpreter.ended


def pytest_collection(session):
    """Of two workers the second imports all test files from the last on: in a fresh clone each then compiles half of them."""
    if os.environ.get("PYTEST_XDIST_WORKER") == "gw1" and all(Path(arg).is_dir() for arg in session.config.args):
        for file in sorted(Path(__file__).parent.rglob("test_*.py"), reverse=True):
            sys.path += [str(file.parent)] if str(file.parent) not in sys.path else []
            with contextlib.suppress(Exception, pytest.skip.Exception):  # it is imported again when it is collected
                importlib.import_module(file.stem)


def pytest_make_parametrize_id(config, val, argname):
    """Names of tests hold no addresses: they are the same in every process and on every run."""
    return argname if " at 0x" in repr(val) else None


def pytest_collection_finish():
    """What is imported by now stays: the garbage collector need not look at half a million objects again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)  # from 700: fewer looks at what lives on
    gc.enable()


NO_CARD = "no CUDA device"


def pytest_collection_modifyitems(items):
    """Tests that need a card are skipped without one."""
    marked = [item for item in items if item.get_closest_marker("cuda")]
    if marked and not cuda():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason=NO_CARD))


def cuda():
    try:
        import torch
    except ImportError:
        return False
    return torch.cuda.is_available()


def pytest_terminal_summary(terminalreporter):
    """Say so: what was skipped was not shown to work."""
    skipped = [report for report in terminalreporter.stats.get("skipped", []) if NO_CARD in str(report.longrepr)]
    if skipped:
        terminalreporter.write_line(f"{len(skipped)} tests marked cuda were skipped: {NO_CARD} here")


def pytest_runtest_setup():
    failures.made.clear()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """A failed test says what it checked."""
    report = yield
    if report.failed and call.when == "call" and isinstance(item, pytest.Function):
        report.sections.append(("what was checked", "\n".join(failures.checked(item, call.excinfo))))
    return report


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch):
    """Tables have all their columns, whatever terminal the tests run in."""
    monkeypatch.setenv("COLUMNS", "1000")


@pytest.fixture(autouse=True)
def closed_figures():
    """Figures that a test, or an example of a page, leaves open are closed: of many open ones matplotlib warns."""
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


@pytest.fixture
def undrawn(monkeypatch):
    """Figures of the package are saved blank, in a tenth of the time."""
    style = pytest.importorskip("varflow.plots.style")
    monkeypatch.setattr(type(style.new_figure()), "draw", lambda figure, renderer: None)
