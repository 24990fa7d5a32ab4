"""Campaigns on a real Dask cluster of processes: equal bits, a worker that dies, a scheduler that goes away."""

import contextlib
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import campaign_blocks
import pytest

import varflow as vf
from varflow.campaign import Block

distributed = pytest.importorskip("distributed")
dask = pytest.importorskip("dask")

QUIET = {"dashboard_address": ":0", "silence_logs": logging.CRITICAL, "threads_per_worker": 1}
DIAGRAM = {"threshold": [0.6, 0.9, 1.2], "width": [10, 20, 40], "depth": 6}
ALONE = """
import time
from distributed import LocalCluster

if __name__ == "__main__":
    with LocalCluster(n_workers=1, processes=False, threads_per_worker=1, protocol="tcp://", dashboard_address=":0") as cluster:
        print(cluster.scheduler_address, flush=True)
        time.sleep(60)
"""


def blocks(count):
    return [Block(campaign_blocks.slowly_drawn, {"seed": seed}) for seed in range(count)]


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_scheduler_that_goes_away_is_said_in_one_line_and_finished_blocks_stay(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))
    (tmp_path / "alone.py").write_text(ALONE)
    with subprocess.Popen([sys.executable, str(tmp_path / "alone.py")], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        done = []

        def arrived(index, result):
            done.append(index)
            if len(done) == 5:
                process.kill()

        with (
            pytest.raises(vf.ConvergenceError, match=f"^the scheduler at {address} is lost: start again to continue$"),
            vf.Campaign(tmp_path / "s", scheduler=address).opened() as run,
        ):
            run.run(blocks(40), arrived)
    seen = []
    with vf.Campaign(tmp_path / "s", found=lambda *now: seen.append(now)).opened() as run:
        run.run(blocks(len(done)), lambda *_: None)
    assert seen == [(len(done), len(done))]


@pytest.fixture(scope="module")
def cluster():
    """Two workers, which import ``campaign_blocks`` by name: forks of a process that has imported Dask."""
    forks = {"distributed.worker.multiprocessing-method": "forkserver"}
    with pytest.MonkeyPatch.context() as patched, dask.config.set(forks):
        patched.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]))
        patched.syspath_prepend(str(Path(__file__).parents[1]))
        with distributed.LocalCluster(n_workers=2, processes=True, **QUIET) as made:
            yield made


def test_a_worker_that_is_killed_costs_nothing_but_time(cluster, tmp_path):
    campaign = vf.Campaign(tmp_path / "s", scheduler=cluster.scheduler_address)
    found, killed = {}, []

    def arrived(index, result):
        found[index] = result["normal"].tobytes()
        if len(found) == 4:
            killed.append(next(iter(cluster.workers.values())).pid)
            os.kill(killed[0], signal.SIGKILL)

    with campaign.opened() as run:
        run.run(blocks(16), arrived)
    assert killed
    assert found == {seed: campaign_blocks.drawn(seed, 5)["normal"].tobytes() for seed in range(16)}


def test_progress_comes_from_the_cluster(cluster):
    marks = []
    campaign = vf.Campaign(scheduler=cluster.scheduler_address)
    diagram = vf.phase_diagram(**DIAGRAM, campaign=campaign, progress=lambda *now: marks.append(now))
    assert diagram.survival.tobytes() == vf.phase_diagram(**DIAGRAM).survival.tobytes()
    assert marks == sorted(marks)
    assert marks[-1] == (9, 9)


@pytest.mark.parametrize("reached", [True, False])
def test_no_logger_of_dask_speaks_and_their_levels_are_put_back(cluster, reached):
    """Each of its modules has a level of its own; errors are raised in one line."""
    names = [name for name in logging.root.manager.loggerDict if name.startswith("distributed.")]
    before = {name: logging.getLogger(name).level for name in ["distributed", *names]}
    assert len(names) > 2
    try:
        for name in before:
            logging.getLogger(name).setLevel(logging.INFO)
        campaign = vf.Campaign(scheduler=cluster.scheduler_address if reached else "nowhere://1")
        fails = contextlib.nullcontext() if reached else pytest.raises(vf.DomainError, match="cannot be reached")
        with fails, campaign.opened():
            assert not any(logging.getLogger(name).isEnabledFor(logging.ERROR) for name in before)
        assert all(logging.getLogger(name).level == logging.INFO for name in before)
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
