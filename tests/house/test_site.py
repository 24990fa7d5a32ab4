"""The site: its reference has every public name, its pages are in the table of contents, its links are checked."""

import importlib
import importlib.util
import inspect
import re
from operator import attrgetter
from pathlib import Path

import pytest

import varflow as vf
import varflow.results.training
import varflow.theory.finite_width.stationary

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
LISTS = re.compile(r"^```\{names\} varflow\.?(\S*)\n(.*?)^```$", flags=re.DOTALL | re.MULTILINE)
CONTENTS = re.compile(r"^```\{toctree\}\n(.*?)^```$", flags=re.DOTALL | re.MULTILINE)


# Modules of types that users hold and do not make.
HELD = {"results", "results.training", "theory.finite_width.stationary", "theory.finite_width.counts"}


def rooms():
    """Everything public, by its room: ``""`` is varflow itself."""
    return {"": vf, "init.published": vf.init.published} | {
        name: getattr(vf, name) for name in vf.__all__ if inspect.ismodule(getattr(vf, name))
    }


def listed():
    """Pairs of room and name in the reference."""
    text = "\n".join(page.read_text(encoding="utf-8") for page in sorted((DOCS / "reference").glob("*.md")))
    return [(room, name) for room, names in LISTS.findall(text) for name in names.split()]


def missing(pairs):
    """Public names that no list has; an object public in two rooms needs one of them."""
    there = {id(attrgetter(f"{room}.{name}".lstrip("."))(vf)) for room, name in pairs}
    for place, room in rooms().items():
        for name in room.__all__:
            value = getattr(room, name)
            if not inspect.ismodule(value) and (place, name) not in pairs and id(value) not in there:
                yield f"{place}.{name}".lstrip(".")


def texts():
    """Pages by name, without their code."""
    for page in (*DOCS.rglob("*.md"), ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "validation" / "README.md"):
        yield page.name, re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def test_no_line_of_a_page_is_a_comment():
    """Outside of code, MyST leaves out lines that begin with a per cent sign."""
    for name, text in texts():
        assert re.findall(r"^\s*%.*", text, flags=re.MULTILINE) == [], name


def loose_rows(text):
    """Rows that begin a table and have no rule below: a page shows them as text."""
    return re.findall(r"(?:^|\n *\n) *(\|.*)\n(?! *\|[-:| ]+\|)", text)


def test_every_row_belongs_to_a_table():
    for name, text in texts():
        assert loose_rows(text) == [], name
    assert loose_rows("| a | b |\n|---|---|\n| 1 | 2 |\n\n| 3 | 4 |\n\nend") == ["| 3 | 4 |"]


def test_the_reference_has_every_public_name_once():
    for extra in ("torch", "hypothesis", "flint", "matplotlib"):
        pytest.importorskip(extra)
    pairs = listed()
    assert list(missing(pairs)) == []
    assert len(pairs) == len(set(pairs))
    assert {room for room, _ in pairs} == set(rooms()) | HELD


# Names without an example of their own, and why.
NO_EXAMPLE = dict.fromkeys(["VarflowError", "DomainError", "ConvergenceError", "MissingExtraError"], "raised")
NO_EXAMPLE |= {"drives.Drive": "abstract", "CorrelationFixedPoint": "item"}


def without_example():
    """Classes and functions of the reference without an example; those of surrogates are made with the site."""
    for room, name in listed():
        value = attrgetter(f"{room}.{name}".lstrip("."))(vf)
        if (
            (inspect.isclass(value) or inspect.isfunction(value))
            and room != "surrogates"
            and ">>>" not in (value.__doc__ or "")
        ):
            yield room, name


def test_every_name_of_the_reference_has_an_example():
    for extra in ("torch", "hypothesis", "flint", "matplotlib"):
        pytest.importorskip(extra)
    assert {f"{room}.{name}".lstrip(".") for room, name in without_example()} == set(NO_EXAMPLE)


def test_a_name_without_an_example_is_seen(monkeypatch):
    monkeypatch.setattr(vf.gain, "__doc__", "The gain.")
    assert ("", "gain") in without_example()


def test_a_name_that_is_missing_is_seen():
    for extra in ("torch", "hypothesis", "flint", "matplotlib"):
        pytest.importorskip(extra)
    pairs = listed()
    for gone in (("", "gain"), ("reference", "gain"), ("weights", "NAMES"), ("init", "normal_")):
        assert list(missing([pair for pair in pairs if pair != gone])) == [".".join(filter(None, gone))]


def pages():
    """Every page of the site."""
    folders = [(DOCS, "*.md"), (DOCS / "reference", "*.md"), (ROOT / "theory_notebooks", "[0-9][0-9]_*.py")]
    others = [ROOT / name for name in ("CHANGELOG.md", "CONTRIBUTING.md", "validation/README.md", "validation/REPORT.md")]
    return {path.resolve() for folder, pattern in folders for path in folder.glob(pattern)} | set(others)


def in_contents(page):
    """The pages below one, itself included."""
    yield page
    for block in CONTENTS.findall(page.read_text(encoding="utf-8")):
        for entry in filter(None, block.splitlines()):
            if not entry.startswith(":"):
                place = page.parent / entry.rpartition("<")[2].rstrip(">")  # "Title <place>", or the place alone
                (found,) = (path for path in pages() if path.with_suffix("") == place.resolve())
                yield from in_contents(found)


def test_every_page_is_in_the_contents_once():
    found = sorted(in_contents(DOCS / "index.md"))
    assert found == sorted(pages())


def test_what_pages_include_is_there():
    included = 0
    for page in pages():
        for name, options in re.findall(r"```\{include\} (\S+)\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL):
            text = (page.parent / name).read_text(encoding="utf-8")
            for limit in re.findall(r':(?:start-after|end-before): "(.*)"', options):
                included += 1
                assert limit in text, f"{page.name}: {name} has no {limit}"
    assert included > 2


@pytest.fixture
def links():
    spec = importlib.util.spec_from_file_location("links", DOCS / "site" / "links.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


GOOD = '<h1 id="a">A</h1><a href="b.html#b"></a><a href="#a"></a><a href="https://example.org"></a><img src="data:image/png,">'


def test_broken_links_and_network_are_seen(links, tmp_path):
    (tmp_path / "a.html").write_text(GOOD, encoding="utf-8")
    (tmp_path / "b.html").write_text('<h1 id="b">B</h1>', encoding="utf-8")
    assert list(links.faults(tmp_path)) == []
    for wrong, complaint in {
        '<a href="c.html">': "c.html does not exist",
        '<a href="b.html#c">': "no such heading",
        '<script src="https://example.org/x.js">': "from the network",
        '<link href="//example.org/x.css">': "from the network",
    }.items():
        (tmp_path / "a.html").write_text(GOOD + wrong, encoding="utf-8")
        (fault,) = links.faults(tmp_path)
        assert complaint in fault


def test_the_first_mention_of_a_word_is_linked_to_its_meaning(monkeypatch):
    pytest.importorskip("docutils")
    monkeypatch.syspath_prepend(str(DOCS / "site"))
    glossary = importlib.import_module("glossary")
    said: set[str] = set()
    parts = glossary.linked("Late rates of a drive, and the late rate again", "glossary.html", said)
    links = {str(part[0]): part["refuri"] for part in parts if hasattr(part, "attributes")}
    assert links == {"Late rates": "glossary.html#term-late-rate", "drive": "glossary.html#term-drive"}
    assert "second half of the steps" in parts[1]["reftitle"]
    assert "".join(part.astext() for part in parts) == "Late rates of a drive, and the late rate again"
    assert glossary.linked("A drive again, overdriven", "glossary.html", said) is None
    assert "reach" not in glossary.MEANINGS
