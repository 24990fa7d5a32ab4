"""Every picture of the pages is made by a script, and shows what the script draws today."""

import json
import re
import struct
import sys
import zlib
from importlib import import_module
from pathlib import Path

import pytest

import varflow as vf

pytest.importorskip("matplotlib")

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(autouse=True)
def scripts(monkeypatch):
    """Modules in the folder of the pages, under their own names only while a test runs."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(DOCS))
    yield import_module
    for name in set(sys.modules) - before:
        if Path(getattr(sys.modules[name], "__file__", None) or "").parent == DOCS:
            del sys.modules[name]


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


def test_every_picture_is_made_by_a_script(scripts):
    made = dict.fromkeys(scripts("figures").FIGURES, "figures.py")
    for script in DOCS.glob("*.py"):
        opening = script.read_text(encoding="utf-8").partition('"""')[2].partition('"""')[0]
        made |= {name.rpartition("/")[2]: script.name for name in re.findall(r"[\w./-]+\.(?:png|csv)", opening)}
        made |= {f"{script.stem.replace('_', '-')}.png": script.name} if "and ``.png``" in opening else {}
    made |= {path.name: "training.py" for path in DOCS.glob("training-*.png")}
    assert {path.name for path in (*DOCS.glob("*.png"), *DOCS.glob("*.csv"))} <= set(made)
    keys = scripts("training").DRAWN
    assert {path.stem.removeprefix("training-") for path in DOCS.glob("training-*.png")} <= set(keys)
    gallery = (DOCS / "gallery.md").read_text(encoding="utf-8")
    assert all(f"docs/{script}" in gallery for name, script in made.items() if f"]({name})" in gallery)


QUICK = ["before-after.png", "audit.png", "fixed-points.png", "profile.png", "critical-gain.png", "flips.png", "cost.png"]
QUICK += ["quantisation.png"]
QUICK += [f"training-{key}.png" for key in ("quick", "depth", "silence", "rates", "new", "learning_rates", "robustness")]
SLOW = ["propagation.png", "figure-4.png", "phase-diagram.png", "figure-3.png", "figure-5.png", "blocks.png"]
SLOW += ["training-map.png", "training-held_out.png"]


def test_every_picture_is_compared():
    assert {path.name for path in DOCS.glob("*.png")} == {*QUICK, *SLOW}


def made(name, scripts):
    """The figure, drawn anew by its script."""
    if name in scripts("figures").FIGURES:
        return scripts("figures").FIGURES[name][0]()
    script, _, part = name.removesuffix(".png").replace("-", "_").partition("training_")
    if part:
        return scripts("training").figure(part, scripts("training").results())
    return scripts(script).figure(*([scripts(script).numbers()] if script == "critical_gain" else []))


@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_a_picture_shows_what_is_drawn_today(scripts, name):
    if name in ("audit.png", "before-after.png"):
        pytest.importorskip("snntorch")
    found, kept = scripts("figures").drawn(made(name, scripts)), written(DOCS / name)
    assert kept is not None
    assert same(found, kept)
    assert len(found["words"]) > 3
    assert not same(found | {"words": found["words"][1:]}, kept)  # negative controls
    assert not same(found | {"numbers": [[1.01 * (y or 1) for y in line] for line in found["numbers"]]}, kept)


@pytest.mark.slow
@pytest.mark.parametrize(("reset", "decay"), [("none", 0.3), ("zero", 0.5), ("delayed_subtract", 0.7), ("gate", 0.2)])
def test_the_critical_gains_in_the_file_are_those_of_today(scripts, reset, decay):
    module = scripts("critical_gain")
    neuron = vf.Neuron(1.0, decay=decay, reset=reset)
    found = vf.temporal_critical_gain(neuron, steps=module.STEPS, depth=module.DEPTH)
    kept = module.numbers()[reset, decay]
    assert [found.gain, found.late_gain] == pytest.approx(kept[::2], rel=1e-5)
    assert [1.001 * found.gain, found.late_gain] != pytest.approx(kept[::2], rel=1e-5)
