"""Results in a store are those of the code that runs: a user's own classes and functions, and varflow's modules as loaded."""

import shutil
import sqlite3
import subprocess
import sys
import types
from pathlib import Path

import campaign_blocks
import numpy as np
import pytest

import varflow as vf
from varflow.campaign import Block
from varflow.campaign.block import labels
from varflow.campaign.campaign import Store, _checksum


def block(x):
    return Block(campaign_blocks.squared, {"x": x})


def key(x):
    return labels([block(x)])[0][0]


def results(campaign, blocks):
    with campaign.opened() as run:
        return run.results(blocks)


SOURCE = """
from dataclasses import dataclass
from functools import lru_cache, wraps

import numpy as np
import own_tools
import varflow as vf
from scipy import stats

FACTOR = 1.5


def checked(function):
    limit = 9.0

    @wraps(function)
    def inner(self, *given):
        return function(self, *given) if limit else None

    return inner


@lru_cache
def strength(fraction):
    return 1 + 0.5 * fraction


def again(depth):
    return 0 if depth < 1 else again(depth - 1)


class Base(vf.weights.WeightDistribution):
    SHIFT = 0.25

    def spread(self, by=2.0):
        return by * strength(self.fraction) + self.SHIFT

    @property
    def second(self):
        return 1.0

    @staticmethod
    def fourth():
        return 0.5


@dataclass(frozen=True)
class Mixed(Base):
    fraction: float

    @checked
    def cumulants(self):
        return 0.0, self.second, 0.0, self.fourth()

    def sum_tails(self, number, x, bias):
        return np.zeros(len(x)), np.ones(len(x))

    def draw(self, variates):
        strong = variates.uniform() < self.fraction
        return variates.normal() * (FACTOR + own_tools.more(again(3)) * strong + 0 * self.spread())


class Skewed(stats.rv_continuous):
    def _pdf(self, x):
        return np.exp(-np.abs(x)) / 2


class Slow(vf.resets.Reset):
    def part(self):
        half = 0.5
        return half
"""
TOOLS = "def more(x):\n    return x + LARGE\n\nLARGE = 2.0\n"


@pytest.fixture
def written(monkeypatch):
    """A module as a user writes it, with edits; the module of its name is always the last one."""

    def module(name, text):
        made = types.ModuleType(name)
        monkeypatch.setitem(sys.modules, name, made)
        exec(compile(text, f"{name}.py", "exec"), vars(made))
        return made

    def write(*edits):
        texts = [TOOLS, SOURCE]
        for old, new in edits:
            assert sum(text.count(old) for text in texts) == 1
            texts = [text.replace(old, new) for text in texts]
        module("own_tools", texts[0])
        return module("own_weights", texts[1])

    return write


EDITS = {
    "a method": ("variates.uniform() < self.fraction", "variates.uniform() > self.fraction"),
    "a method of the base": ("by * strength", "by + strength"),
    "a default": ("by=2.0", "by=2.5"),
    "a property": ("return 1.0", "return 1.25"),
    "a static method": ("return 0.5\n\n\n@dataclass", "return 0.75\n\n\n@dataclass"),
    "a constant of the base": ("SHIFT = 0.25", "SHIFT = 0.5"),
    "a function with a cache": ("1 + 0.5 * fraction", "1 + 0.7 * fraction"),
    "a function that calls itself": ("0 if depth < 1", "1 if depth < 1"),
    "a global": ("FACTOR = 1.5", "FACTOR = 1.6"),
    "what a decorator holds": ("limit = 9.0", "limit = 8.0"),
    "a module of the user's": ("x + LARGE", "x - LARGE"),
    "a constant of that module": ("LARGE = 2.0", "LARGE = 3.0"),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_code_of_a_users_class_counts(written, edit):
    first, again, edited = (key(written(*edits).Mixed(0.3)) for edits in ((), (), (edit,)))
    assert first == again != edited


def test_places_and_comments_do_not_count(written):
    moved = written(("FACTOR = 1.5", "\n\n# more lines\nFACTOR = 1.5  # strong"), ("def draw", "\n    def draw"))
    assert key(written().Mixed(0.3)) == key(moved.Mixed(0.3))


@pytest.mark.parametrize(
    ("made", "edit"),
    [
        (lambda module: module.Skewed(name="skewed")(), ("np.exp(-np.abs(x)) / 2", "np.exp(-2 * np.abs(x))")),
        (lambda module: module.Slow(membrane=0.5), ("half = 0.5", "half = 0.25")),
        (lambda module: module.strength, ("1 + 0.5 * fraction", "1 + 0.7 * fraction")),
        (lambda module: module.again, ("0 if depth < 1", "1 if depth < 1")),
    ],
)
def test_code_of_other_things_counts(written, made, edit):
    first, again, edited = (key(made(written(*edits))) for edits in ((), (), (edit,)))
    assert first == again != edited


def test_edited_weights_are_drawn_again(written, tmp_path):
    """The numbers in a store are those of the code that is run, as without a store."""

    def rates(weights, **options):
        network = vf.Network(width=20, depth=3, gain=2.2, weights=weights)
        return vf.simulate(network, repeats=12, seed=3, **options).firing_rate

    stored = vf.Campaign(tmp_path / "own.blocks")
    first = rates(written().Mixed(0.3), campaign=stored)
    weaker = ("variates.normal() *", "0.5 * variates.normal() *")
    assert np.array_equal(rates(written(weaker).Mixed(0.3), campaign=stored), rates(written(weaker).Mixed(0.3)))
    assert not np.array_equal(rates(written(weaker).Mixed(0.3)), first)
    seen = []
    assert np.array_equal(
        rates(written().Mixed(0.3), campaign=vf.Campaign(stored.store, found=lambda *n: seen.append(n))), first
    )
    assert seen == [(12, 12)]


def test_code_that_cannot_be_compared_is_refused(monkeypatch):
    monkeypatch.setattr("varflow._shared.INSTALLED", set())  # a library becomes the user's own, in C
    with pytest.raises(vf.DomainError, match="store='count_nonzero' cannot keep it: its code cannot be compared"):
        key(np._core.multiarray.count_nonzero)


LATE = """
import sys
from pathlib import Path
import varflow as vf
from varflow.campaign.block import code_version
import varflow.phases

first = code_version("varflow.phases")
for name in ("cli/options.py", "plots/style.py"):  # these compute nothing
    file = Path(vf.__file__).parent / name
    file.write_text(file.read_text() + "\\n# later\\n")
assert code_version("varflow.phases") == first
file = Path(vf.__file__).parent / sys.argv[1]
file.write_text(file.read_text() + "\\n# later\\n")
try:
    code_version("varflow.phases")
except vf.DomainError as error:
    print(error)
"""


@pytest.mark.parametrize("edited", ["phases.py", "theory/finite_width/chain.py"])
def test_sources_edited_under_a_running_process_are_refused(tmp_path, edited):
    package = Path(vf.__file__).parent
    shutil.copytree(package, tmp_path / "varflow", ignore=shutil.ignore_patterns("__pycache__"))
    done = subprocess.run(
        [sys.executable, "-c", LATE, edited], cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}, capture_output=True
    )
    name = edited.rpartition("/")[2]
    assert done.stdout.decode().startswith(f"store='{name}' was changed after it was loaded"), done.stderr.decode()


# Stores.


def test_computed_again_replaces_what_is_stored(tmp_path, monkeypatch):
    """Also in a file of the version before, whose triggers forbid changes."""
    file, blocks = tmp_path / "new.blocks", [block(x) for x in (3, 4)]
    assert results(vf.Campaign(file), blocks) == [9, 16]
    monkeypatch.setattr(campaign_blocks.squared, "__code__", (lambda x: -x).__code__)
    assert results(vf.Campaign(file), blocks) == [9, 16]
    assert results(vf.Campaign(file, resume=False), blocks[:1]) == [-3]
    assert results(vf.Campaign(file), blocks) == [-3, 16]


def test_any_name_is_that_of_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in (":memory:", "file:x?mode=memory"):
        assert results(vf.Campaign(name), [block(5)]) == [25]
        assert (tmp_path / name).is_file()
    with pytest.raises(vf.DomainError, match=r"store='stores.x00blocks' must be the name of a file"):
        vf.Campaign("stores\0blocks")


@pytest.mark.parametrize(
    "content",
    [b"{", b"\xff\xfe", b"PK\x03\x04 no archive", b"[" * 200_000, b"{}", b"[1, 2]", b"null", b'{"variance": [1.0]}'],
)
def test_results_of_another_kind_are_said_to_be_damage(tmp_path, content):
    """Rows with the right checksum."""
    file, network = tmp_path / "forged.blocks", vf.Network(width=9, depth=2, gain=2.0)
    vf.simulate(network, repeats=3, campaign=vf.Campaign(file))
    connection = sqlite3.connect(file)
    connection.execute("DROP TRIGGER no_update")
    for (name,) in connection.execute("SELECT key FROM blocks").fetchall():
        connection.execute("UPDATE blocks SET result = ?, sha256 = ? WHERE key = ?", (content, _checksum(name, content), name))
    connection.commit()
    connection.close()
    with pytest.raises(vf.DomainError, match=r"store=.*is damaged: block [0-9a-f]{16} holds no result of this computation"):
        vf.simulate(network, repeats=3, campaign=vf.Campaign(file))


def test_a_schema_that_is_no_text_is_said_to_be_damage(tmp_path):
    file = tmp_path / "damaged.blocks"
    with Store(file) as store:
        store.put("key", "what", b"1", 0.1)
    for word in (b"CREATE TABLE blocks", b"PRIMARY KEY"):
        content = file.read_bytes()
        assert content.count(word) == 1
        at = content.index(word) + len(word) - 3
        file.write_bytes(content[:at] + b"\xff\xe9\xff" + content[at + 3 :])
        with pytest.raises(vf.DomainError, match=r"store=.*damaged.blocks' (is damaged|cannot be used)"):
            Store(file)
        file.write_bytes(content)
