"""Campaigns: what determines a block, the store and its damages, processes that die, a cluster, and equal bits everywhere."""

import json
import multiprocessing
import os
import sqlite3
import sys
import threading
import time
from pathlib import Path

import campaign_blocks
import numpy as np
import pytest
from processes import forks, import_once

import varflow as vf
from varflow.campaign import Block
from varflow.campaign.block import _digest, _files_and_imports, code_version, decoded, encoded, labels
from varflow.campaign.campaign import Store
from varflow.campaign.work import Processes

DIAGRAM = {"threshold": [0.6, 0.9, 1.2], "width": [10, 20, 40], "depth": 6}


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    """Workers import the functions of ``campaign_blocks`` by name."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))


def block(function, **settings):
    return Block(getattr(campaign_blocks, function), settings)


def results(campaign, blocks, **options):
    with campaign.opened() as run:
        return run.results(blocks, **options)


def key(*settings, function="squared"):
    (label,) = labels([block(function, x=settings)])
    return label[0]


class TestKeys:
    def test_equal_numbers_have_equal_keys(self):
        x = np.arange(6.0).reshape(2, 3)
        twice = [vf.Network(width=9, depth=2, gain=2.0, drive=vf.drives.inputs(x.copy())) for _ in range(2)]
        assert key(twice[0]) == key(twice[1])
        assert key(vf.distributions.sample(x.ravel().repeat(4) ** 2)) == key(vf.distributions.sample(x.ravel().repeat(4) ** 2))
        assert key(np.float64(0.1), (1, 2)) == key(0.1, [1, 2])

    def test_the_random_state_of_a_scipy_distribution_does_not_count(self):
        import scipy.stats

        distributions = [scipy.stats.laplace(scale=scale) for scale in (1.0, 1.0, 2.0)]
        for seed, distribution in enumerate(distributions):
            distribution.random_state = seed
        same, again, other = (key(distribution) for distribution in distributions)
        assert same == again != other

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            (0.1, np.nextafter(0.1, 1)),
            (1, 1.0),
            (np.zeros(3), np.zeros((3, 1))),
            (np.zeros(3), np.zeros(3, dtype=np.float32)),
            (vf.Neuron(1.0), vf.Neuron(1.0, decay=0.5)),
            (vf.drives.inputs([[1.0, 2.0]], 1.0), vf.drives.inputs([[2.0, 1.0]], 1.0)),
            (vf.drives.currents(0.5), vf.drives.white(0.5)),
            (vf.weights.sparse(0.5), vf.weights.sparse(0.25)),
            (vf.distribution("normal"), vf.distribution("laplace")),
            (vf.distributions.student_t(5), vf.distributions.student_t(6)),
            (vf.distributions.sample(np.arange(20.0)), vf.distributions.sample(np.arange(20.0) ** 2)),
        ],
    )
    def test_other_numbers_have_other_keys(self, one, other):
        assert key(one) != key(other)

    def test_function_and_code_count(self, monkeypatch):
        assert key(1, function="squared") != key(1, function="failing")
        before = key(1)
        monkeypatch.setattr("varflow.campaign.block.code_version", lambda *modules: "changed")
        assert key(1) != before

    def test_what_has_no_description_is_refused(self):
        for value in (lambda x: x, threading.Lock()):
            with pytest.raises(vf.DomainError, match="cannot keep it"):
                key(value)

    def test_code_is_followed_through_imports(self, tmp_path, monkeypatch):
        """A change of what a module imports changes the digest, one of a file next to it does not."""
        monkeypatch.syspath_prepend(str(tmp_path))
        package = tmp_path / "followed_package"
        package.mkdir()
        for name, text in {"__init__": "", "a": "from followed_package import b\n", "b": "X = 1\n", "c": "X = 1\n"}.items():
            (package / f"{name}.py").write_text(text)

        def digest():
            _digest.cache_clear()
            _files_and_imports.cache_clear()
            return code_version("followed_package.a")

        first = digest()
        (package / "c.py").write_text("X = 2\n")
        assert digest() == first
        (package / "b.py").write_text("X = 2\n")
        assert digest() != first
        _digest.cache_clear()

    def test_code_behind_a_simulation(self):
        from varflow.campaign.block import _sources

        rooms = {path.parent.name for path in _sources(("varflow.simulation.run",))}
        assert {"simulation", "model"} <= rooms
        assert not {"campaign", "cli", "plots"} & rooms


class TestStore:
    @pytest.mark.parametrize("result", [3.5, float("nan"), None, [1, 0.1, "θ"], {"a": {"b": [1e-300]}}])
    def test_json_comes_back(self, result):
        assert repr(decoded(encoded(result))) == repr(result)

    def test_arrays_come_back_to_the_bit(self):
        result = {"x": np.array([np.nan, -0.0, 5e-324]), "n": np.arange(3)}
        back = decoded(encoded(result))
        assert {name: (a.dtype, a.shape, a.tobytes()) for name, a in back.items()} == {
            name: (a.dtype, a.shape, a.tobytes()) for name, a in result.items()
        }

    def test_pickles_are_neither_written_nor_read(self):
        with pytest.raises(ValueError, match=r"allow_pickle|Object arrays"):
            encoded({"x": np.array([object()])})

    def test_rows_are_only_added_and_the_first_stays(self, tmp_path):
        file = tmp_path / "new" / "blocks.sqlite"
        for value in (b"1", b"2"):
            with Store(file) as store:
                store.put("key", "what", value, 0.5)
        with Store(file) as store:
            assert store.get("key") == (1,)
            assert store.get("other") is None
        connection = sqlite3.connect(file)
        for statement in ("DELETE FROM blocks", "UPDATE blocks SET seconds = 0"):
            with pytest.raises(sqlite3.IntegrityError, match="only added"):
                connection.execute(statement)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
        connection.close()

    def test_two_runs_share_a_file(self, tmp_path):
        """Two processes write at once; both find everything afterwards."""
        file = tmp_path / "blocks.sqlite"
        others = [forks().Process(target=campaign_blocks.fill, args=(str(file), start)) for start in (0, 20)]
        for other in others:
            other.start()
        for other in others:
            other.join()
            assert other.exitcode == 0
        with Store(file) as store:
            assert [store.get(f"key {i}") for i in range(60)] == [(i,) for i in range(60)]

    def test_a_full_disk_is_said_and_finished_blocks_stay(self, tmp_path):
        file = tmp_path / "blocks.sqlite"
        campaign = vf.Campaign(file)
        results(campaign, [block("squared", x=2)])
        with pytest.raises(vf.DomainError, match=r"store=.* cannot be used: .*full"):
            on_a_full_disk(file)
        seen = []
        results(vf.Campaign(file, found=lambda *now: seen.append(now)), [block("squared", x=x) for x in (2, 3)])
        assert seen == [(1, 2)]

    @pytest.mark.parametrize(
        ("harm", "said"),
        [
            (lambda file: file.write_bytes(b"not a database" * 100), "is damaged: file is not a database"),
            (lambda file: changed(file, "PRAGMA user_version = 9"), "is a store of version 9, and this varflow has version 1"),
            (lambda file: changed(file, "PRAGMA application_id = 5"), "is another program's database"),
            (
                lambda file: changed(file, "DROP TRIGGER no_update", "UPDATE blocks SET result = CAST('8' AS BLOB)"),
                r"is damaged: block [0-9a-f]{16} has another checksum",
            ),
            (lambda file: (file.unlink(), file.mkdir()), "cannot be used: unable to open"),
        ],
    )
    def test_a_store_that_cannot_serve_is_named(self, tmp_path, harm, said):
        file = tmp_path / "blocks.sqlite"
        results(vf.Campaign(file), [block("squared", x=2)])
        harm(file)
        with pytest.raises(vf.DomainError, match=f"store='?.*blocks.sqlite'? {said}") as error:
            results(vf.Campaign(file), [block("squared", x=2)])
        assert "\n" not in str(error.value)


def on_a_full_disk(file):
    """A row too many, where a limit of pages stands for the full disk."""

    class Limited(Store):
        def _connection(self, *prepare):
            found = super()._connection(*prepare)
            found.execute("PRAGMA max_page_count = 8")
            return found

    with Limited(file) as store:
        store.put("big", "what", os.urandom(100_000), 0.0)


def changed(file, *statements):
    connection = sqlite3.connect(file)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


class TestPlaces:
    @pytest.fixture(autouse=True)
    def imported_once(self, monkeypatch):
        import_once(monkeypatch)

    def test_processes_give_the_bits_of_this_process(self, tmp_path):
        blocks = [block("drawn", seed=seed, shape=[3, seed]) for seed in range(6)]
        here = results(vf.Campaign(), blocks)
        there = results(vf.Campaign(tmp_path / "s", workers=2), blocks)
        again = results(vf.Campaign(tmp_path / "s"), blocks)
        for one, two, three in zip(here, there, again, strict=True):
            assert {k: v.tobytes() for k, v in one.items()} == {k: v.tobytes() for k, v in two.items()}
            assert {k: v.tobytes() for k, v in one.items()} == {k: v.tobytes() for k, v in three.items()}

    def test_what_is_there_is_used_unless_told_not_to(self, tmp_path):
        seen = []
        campaign = vf.Campaign(tmp_path / "s", found=lambda *now: seen.append(now))
        results(campaign, [block("squared", x=x) for x in (1, 2)])
        marks = []
        found = results(campaign, [block("squared", x=x) for x in (3, 2, 1)], progress=lambda *now: marks.append(now))
        assert (found, seen, marks[-1]) == ([9, 4, 1], [(0, 2), (2, 3)], (3, 3))
        assert results(vf.Campaign(tmp_path / "s", resume=False), [block("squared", x=2)]) == [4]

    def test_finished_blocks_survive_an_error(self, tmp_path):
        blocks = [block("squared", x=1), block("failing", x=2)]
        with pytest.raises(vf.DomainError, match="x=2 is refused"):
            results(vf.Campaign(tmp_path / "s"), blocks)
        seen = []
        results(vf.Campaign(tmp_path / "s", found=lambda *now: seen.append(now)), blocks[:1])
        assert seen == [(1, 1)]

    @pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
    def test_a_process_that_dies_is_replaced_and_a_block_that_kills_is_named(self, tmp_path, monkeypatch):
        blocks = [block("squared", x=1), block("fatal_once", folder=str(tmp_path)), block("squared", x=2)]
        assert results(vf.Campaign(workers=2), blocks) == [1, "alive", 4]
        monkeypatch.setattr("varflow.campaign.work.ATTEMPTS", 2)  # in company, and alone
        with pytest.raises(vf.DomainError, match="campaign_blocks:fatal: 2 processes died"):
            results(vf.Campaign(workers=2), [block("fatal"), *blocks])

    def test_an_error_in_a_process_ends_the_others(self, tmp_path):
        start = time.monotonic()
        with pytest.raises(vf.DomainError, match="x=2 is refused"):
            results(vf.Campaign(workers=2), [block("waiting", folder=str(tmp_path), seconds=60), block("failing", x=2)])
        while multiprocessing.active_children() and time.monotonic() - start < 30:  # another thread may still note their end
            time.sleep(0.01)
        assert not multiprocessing.active_children()

    def test_other_code_in_a_worker_is_refused(self, monkeypatch):
        from varflow.campaign.block import computed

        with pytest.raises(vf.DomainError, match="is not the same code"):
            computed(block("squared", x=1), "another digest")

    def test_an_open_campaign_keeps_its_processes(self, tmp_path):
        """Several computations share them: all blocks ran in the same two."""
        with vf.Campaign(workers=2).opened() as run, run.opened() as again:
            first = [run.results([block("waiting", folder=str(tmp_path), seconds=0.2)] * 2) for run in (run, again)]
        assert len(set(first[0])) == 2
        assert set(first[0]) == set(first[1])
        assert not multiprocessing.active_children()

    @pytest.mark.parametrize(("modules", "there"), [((), False), (("no_such_module", "colorsys"), True)])
    def test_processes_import_what_is_named_before_their_first_block(self, modules, there):
        """One that cannot be imported does no harm: a block that needs it says so."""
        with vf.Campaign(workers=2).opened(*modules) as run:
            assert run.results([block("loaded", module="colorsys")] * 4) == [there] * 4

    def test_processes_that_still_import_do_not_hold_up_the_end(self, tmp_path, monkeypatch):
        (tmp_path / "slow_to_import.py").write_text(
            "import time; from pathlib import Path; time.sleep(60); Path(__file__).with_name('imported').touch()"
        )
        monkeypatch.syspath_prepend(str(tmp_path))
        with vf.Campaign(workers=2).opened("slow_to_import"):
            pass
        assert not (tmp_path / "imported").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"store": 3}, "store=3 must be the name of a file"),
        ({"store": ""}, "store='' must be the name of a file"),
        ({"workers": 0}, "workers=0 must be a whole number, at least 1"),
        ({"workers": 1.5}, "workers=1.5 must be a whole number"),
        ({"scheduler": 5}, "scheduler=5 must be an address"),
        ({"scheduler": "tcp://x:1", "workers": 2}, "workers=2 conflicts with scheduler"),
        ({"resume": 1}, "resume=1 must be True or False"),
        ({"found": 1}, "found=1 must be a function"),
    ],
)
def test_bad_campaigns(options, said):
    with pytest.raises(vf.DomainError, match=said):
        vf.Campaign(**options)


@pytest.mark.parametrize("call", [vf.phase_diagram, vf.corrected_gain_table])
def test_what_is_no_campaign_is_refused(call):
    with pytest.raises(vf.DomainError, match="campaign='here' must be a Campaign"):
        call(threshold=1.0, width=5, depth=2, campaign="here")


class TestComputations:
    """What takes long gives the same bits in any campaign, and does again only what is missing."""

    def test_phase_diagram(self, tmp_path):
        whole = vf.phase_diagram(**DIAGRAM)
        vf.phase_diagram(**DIAGRAM | {"width": [10, 40]}, campaign=vf.Campaign(tmp_path / "s"))
        seen = []
        campaign = vf.Campaign(tmp_path / "s", found=lambda *now: seen.append(now))
        resumed = vf.phase_diagram(**DIAGRAM, campaign=campaign)
        assert resumed.survival.tobytes() == whole.survival.tobytes()
        assert seen == [(6, 9)]

    def test_the_experiment(self, tmp_path):
        pytest.importorskip("torch")
        sweep = {"threshold": [0.5, 1.0], "gain": "preserving", "width": [20, 40], "depth": 3, "false_alarm": 0.05}
        whole = vf.validate(**sweep, repeats=9)
        vf.validate(**sweep, repeats=9, campaign=vf.Campaign(tmp_path / "s"))  # in processes: test_campaign_commands
        seen = []
        campaign = vf.Campaign(tmp_path / "s", found=lambda *now: seen.append(now))
        resumed = vf.validate(**sweep, repeats=9, campaign=campaign)
        assert json.dumps(resumed.to_dict()) == json.dumps(whole.to_dict())
        assert seen == [(18, 18)]
        vf.validate(**sweep, repeats=9, seed=1, campaign=campaign)
        assert seen[1:] == [(0, 18)]


LIMITS = {
    "a process": ("multiprocessing.popen_spawn_posix.Popen._launch", BlockingIOError(11, "Resource temporarily unavailable")),
    "the tracker": ("multiprocessing.resource_tracker.ResourceTracker.ensure_running", BlockingIOError(11, "unavailable")),
    "a thread": ("concurrent.futures.process._ExecutorManagerThread.start", RuntimeError("can't start new thread")),
    "a queue's thread": ("multiprocessing.queues.Queue._start_thread", RuntimeError("can't start new thread")),
}


@pytest.mark.parametrize("modules", [(), ("math",)])
@pytest.mark.parametrize("limited", LIMITS)
def test_limits_on_processes_are_said_and_none_is_left(monkeypatch, limited, modules):
    name, error = LIMITS[limited]

    def refuse(*_):
        raise error

    monkeypatch.setattr(name, refuse)
    said = r"workers=2 cannot be started: .*no further process or thread"
    with pytest.raises(vf.DomainError, match=said), Processes(2, modules) as place:
        place.run({0: Block(campaign_blocks.squared, {"x": 4})}, finished=lambda *_: None)
    assert multiprocessing.active_children() == []
