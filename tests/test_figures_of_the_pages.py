"""Every picture of the pages is made by a script, and shows what the script draws today."""

import importlib.util
import json
import re
import struct
import zlib
from pathlib import Path

import pytest

pytest.importorskip("matplotlib")

DOCS = Path(__file__).parent.parent / "docs"


@pytest.fixture(scope="module")
def figures():
    spec = importlib.util.spec_from_file_location("figures_of_the_pages", DOCS / "figures.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def written(path):
    """The words and numbers in the description of a PNG file."""
    content, at = path.read_bytes(), 8
    while at < len(content):
        size, kind = struct.unpack(">I4s", content[at : at + 8])
        data, at = content[at + 8 : at + 8 + size], at + 12 + size
        if kind in (b"tEXt", b"zTXt", b"iTXt") and data.startswith(b"Description\0"):
            text = data.partition(b"\0")[2]
            if kind == b"zTXt":
                text = zlib.decompress(text[1:])
            elif kind == b"iTXt":
                packed, _, text = text[0], *text[2:].partition(b"\0")[1:]
                text = text.partition(b"\0")[2]
                text = zlib.decompress(text) if packed else text
            return json.loads(text.decode("latin-1" if kind != b"iTXt" else "utf-8"))
    return None


def same(first, second):
    """Numbers to a thousandth of the largest of a line, words exactly."""
    if first["words"] != second["words"] or len(first["numbers"]) != len(second["numbers"]):
        return False
    nan = float("nan")
    lines = zip(first["numbers"], second["numbers"], strict=True)
    pairs = [[[nan if y is None else y for y in line] for line in pair] for pair in lines]
    return all(a == pytest.approx(b, rel=1e-3, abs=1e-3 * max(map(abs, b), default=0), nan_ok=True) for a, b in pairs)


def test_every_picture_is_made_by_a_script(figures):
    made = dict.fromkeys(figures.FIGURES, "figures.py")
    for script in DOCS.glob("*.py"):
        opening = script.read_text(encoding="utf-8").partition('"""')[2].partition('"""')[0]
        made |= {name.rpartition("/")[2]: script.name for name in re.findall(r"[\w./-]+\.(?:png|csv)", opening)}
        made |= {f"{script.stem.replace('_', '-')}.png": script.name} if "and ``.png``" in opening else {}
    made |= {path.name: "training.py" for path in DOCS.glob("training-*.png")}
    assert {path.name for path in (*DOCS.glob("*.png"), *DOCS.glob("*.csv"))} <= set(made)
    keys = re.findall(
        r'^    "(\w+)": ', (DOCS.parent / "validation/training/figures.py").read_text(encoding="utf-8"), flags=re.M
    )
    assert {path.stem.removeprefix("training-") for path in DOCS.glob("training-*.png")} <= set(keys)
    gallery = (DOCS / "gallery.md").read_text(encoding="utf-8")
    assert all(f"docs/{script}" in gallery for name, script in made.items() if f"]({name})" in gallery)


QUICK = ["audit.png", "fixed-points.png", "profile.png"]
SLOW = ["propagation.png", "figure-4.png", "phase-diagram.png"]


@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_a_picture_shows_what_is_drawn_today(figures, name):
    if name == "audit.png":
        pytest.importorskip("snntorch")
    figure = figures.FIGURES[name][0]()
    figure.canvas.draw()
    found, kept = figures.drawn(figure), written(DOCS / name)
    assert same(found, kept)
    assert len(found["words"]) > 3
    assert not same(found | {"words": found["words"][1:]}, kept)  # negative controls
    assert not same(found | {"numbers": [[1.01 * (y or 1) for y in line] for line in found["numbers"]]}, kept)
