"""Accessibility by axe-core, where ``make axe`` has installed it: the explorer keeps its rules, a bad page does not."""

import importlib.util
import shutil
from pathlib import Path

import pytest

from explorer import build

ROOT = Path(__file__).parents[2]
AXE = ROOT / "build" / "node_modules" / "axe-core" / "axe.min.js"
BAD = '<!doctype html><html><head><title>bad</title></head><body><img src="data:image/png,"><p>A picture.</p></body></html>'


@pytest.fixture
def axe():
    spec = importlib.util.spec_from_file_location("axe", ROOT / "docs" / "site" / "axe.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    if not AXE.exists() or not any(map(shutil.which, script.BROWSERS)):
        pytest.skip("needs Chromium and make axe")
    return script


def broken(axe, page, tmp_path, fragment, view):
    (tmp_path / "tried.html").write_text(page, encoding="utf-8")
    return axe.violations(tmp_path / "tried.html", fragment, AXE.read_text(encoding="utf-8"), tmp_path, view)


def test_the_explorer_is_accessible(axe, tmp_path):
    for view in axe.VIEWS:
        for fragment in axe.EXPLORED:
            assert broken(axe, build.page(site=True), tmp_path, fragment, view) == []


def test_a_picture_without_words_is_seen(axe, tmp_path):
    rules = {rule for rule, _ in broken(axe, BAD, tmp_path, "", "light")}
    assert {"image-alt", "html-has-lang"} <= rules
