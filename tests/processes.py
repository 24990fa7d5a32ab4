"""Commands as real processes, all to one interpreter: each is a fork of one that has imported everything.

A scenario is the arguments of ``python -m varflow``, of another module or of a script, and what happens to the process: where
stdout and stderr go, source that is run in it first, and the signals it gets once that source has called ``ready()``.
"""

import contextlib
import gc
import importlib
import io
import json
import multiprocessing
import os
import runpy
import shlex
import signal
import subprocess
import sys
import time
import traceback
from dataclasses import asdict, dataclass, field
from pathlib import Path

from varflow.campaign.block import code_version

__all__ = ["Interpreter", "Scenario", "forks", "import_once"]

ROOT = Path(__file__).parent.parent
LIMIT = 60  # seconds
PRELOADED = (
    *("PIL.GifImagePlugin", "matplotlib.backends.backend_agg", "matplotlib.figure", "scipy.optimize", "torch.fx"),
    "typer._adapters",
    *("varflow.cli", "varflow.experiment", "varflow.init", "varflow.phases", "varflow.plots", "varflow.simulation"),
)


@dataclass
class Scenario:
    """What is run, and what happens to it. ``stdout`` and ``stderr``: file, full, closed or gone (a pipe nobody reads)."""

    line: str
    stdout: str = "file"
    stderr: str = "file"
    first: str = ""
    signals: list = field(default_factory=list)  # pairs of a number and the seconds before it
    before: dict = field(default_factory=dict)  # files that are there, by name
    module: str = "varflow"  # or the path of a script
    limit: int = LIMIT


class Interpreter:
    """The one that forks; it starts with the first scenario, and ends with the tests."""

    process = None

    def __enter__(self):
        return self

    def __exit__(self, *error):
        if self.process is not None:
            self.process.communicate()

    def ended(self, scenarios, folder, preloaded=PRELOADED):
        """Run scenarios by name: exit code, stdout, stderr and the folder of each."""
        if self.process is None:
            path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
            environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
            self.process = subprocess.Popen([sys.executable, __file__], env=environment, **pipes)
        listed = [_prepared(scenario, folder / name) for name, scenario in scenarios.items()]
        self.process.stdin.write(json.dumps([listed, preloaded]) + "\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n"
        return {name: _end(folder / name) for name in scenarios}


def _prepared(scenario, folder):
    folder.mkdir()
    for file, text in scenario.before.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(text, encoding="utf-8")
    return asdict(scenario) | {"folder": str(folder)}


def _end(folder):
    said = [(folder / name).read_text(encoding="utf-8") if (folder / name).exists() else "" for name in ("stdout", "stderr")]
    return json.loads((folder / "code").read_text()), *said, folder


def forks():
    """The context of processes that are forks of one that has imported what takes long; elsewhere each of them imports it."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "scipy.stats", "varflow.simulation.dense", "varflow.simulation.conditional"])
    return context


def import_once(patch):
    """Processes of campaigns start as forks."""
    patch.setattr("varflow.campaign.work.get_context", lambda method: forks())


# Within the interpreter that forks.


def _drive(scenarios, preloaded):
    new = [name for name in preloaded if name not in sys.modules]
    for name in new:
        importlib.import_module(name)
    if "matplotlib.figure" in new:
        _draw()
    if "varflow.cli" in new:
        _command_once()
    gc.collect()
    gc.freeze()  # what is imported is shared with the forks, which need not look at it
    for scenario in scenarios:
        folder = Path(scenario["folder"])
        pid = os.fork()
        if not pid:
            _exit(scenario, folder)
        try:
            code = _waited(pid, folder, scenario["signals"], scenario["limit"])
        except TimeoutError as error:
            code = str(error)
        (folder / "code").write_text(json.dumps(code))


def _draw():
    """A formula and a few words: fonts are found and grammars built once, not in every fork."""
    from matplotlib.figure import Figure

    figure = Figure()
    figure.add_subplot(title=r"$\theta = 1$", xlabel="layer", yscale="log")
    figure.savefig(io.BytesIO())


def _command_once():
    """A command: the command line is built, the code behind simulations is looked up."""
    from varflow.cli import app
    from varflow.cli.options import _command

    with contextlib.redirect_stdout(io.StringIO()):
        _command(app)(["lookup", "--threshold", "1", "--fan-in", "9"], standalone_mode=False)
    code_version("varflow.simulation.run")


def _exit(scenario, folder):
    """In the child: run the scenario and leave as an interpreter would."""
    code = 99
    try:
        _run(scenario, folder)
        code = 0
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                if stream is not None:
                    stream.flush()
            except OSError:
                code = 120
        os._exit(code)


def _run(scenario, folder):
    os.chdir(folder)
    streams = {1: "stdout", 2: "stderr"}
    for number, name in streams.items():
        opened = _target(name, scenario[name])
        os.dup2(opened, number)
        os.close(opened)
    for number, name in streams.items():
        closed = scenario[name] == "closed"
        setattr(sys, name, None if closed else open(number, "w", encoding="utf-8", closefd=False))  # noqa: SIM115
        if closed:
            os.close(number)
    exec(scenario["first"], {"ready": Path("ready").touch})
    sys.argv = [scenario["module"], *shlex.split(scenario["line"])]
    run = runpy.run_path if scenario["module"].endswith(".py") else runpy.run_module
    run(scenario["module"], run_name="__main__")


def _target(name, where):
    """A descriptor of what a stream goes to."""
    if where == "gone":
        reader, writer = os.pipe()
        os.close(reader)
        return writer
    return os.open("/dev/full" if where == "full" else name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)


def _waited(pid, folder, signals, limit):
    """The exit code of a child, after it got its signals."""
    deadline = time.monotonic() + limit

    def over():
        time.sleep(0.01)
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            raise TimeoutError(f"not over after {limit} seconds")
        found, status = os.waitpid(pid, os.WNOHANG)
        return os.waitstatus_to_exitcode(status) if found else None

    code = None
    while signals and not (folder / "ready").exists():
        if (code := over()) is not None:
            return f"{code} before it was ready"
    for number, delay in signals:
        time.sleep(delay)
        os.kill(pid, number)
    while (code := over()) is None:
        pass
    return code


if __name__ == "__main__":
    for line in sys.stdin:
        _drive(*json.loads(line))
        print("done", flush=True)
