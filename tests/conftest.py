"""What several test files share."""

import shlex
import signal
import sys

import pytest
from hypothesis import Phase, settings

from varflow.cli import main

# Without explanations: on Python 3.11 they trace every line, minutes in a process that has imported the whole package.
settings.register_profile("quick", phases=[phase for phase in Phase if phase is not Phase.explain])
settings.load_profile("quick")


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


def pytest_make_parametrize_id(config, val, argname):
    """Names of tests hold no addresses: they are the same in every process and on every run."""
    return argname if " at 0x" in repr(val) else None
