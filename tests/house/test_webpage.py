"""The web page of the validation report: complete, self-contained, made from JSON alone, and that of the results kept here."""

import json
import re
import sys
from dataclasses import replace
from html import escape
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("matplotlib")

from validation import envelope, figures, pages
from validation.envelope import Envelope
from validation.report import Examined, page
from validation.webpage import webpage

VALIDATION = Path(__file__).parents[2] / "validation"
RESULTS = pages.read(VALIDATION / "results", ["figure_2", "one_layer_map", "leak_and_reset"])
COMMAND = "python -m validation --budget standard --seed 0"
FLAT = [int(1000 * level) for level in envelope.LEVELS]
ENVELOPE = Envelope(
    claim="one_layer_map",
    configuration={},
    redraws=1000,
    seeds=100,
    false_alarm=1e-3,
    false_alarms=1,
    drawn=FLAT,
    simulated=[count // 10 for count in FLAT],
    dependence={"p_value": 0.5, "simulated": 0.0, "drawn": 0.0, "points": ["a", "b"]},
    conservative="",
    dependent="",
    version={},
    seconds=1.0,
)


@pytest.fixture(scope="module")
def html():
    return webpage(Examined(RESULTS, COMMAND), {"one_layer_map": ENVELOPE})


@pytest.fixture
def undrawn(monkeypatch):
    """Figures are built, and not turned into SVG: that they become SVG is shown with ``html``."""
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda figure, buffer, **options: buffer.write("<svg></svg>"))


def without_figures(html):
    return re.sub(r"<svg.*?</svg>", "", html, flags=re.S)


def test_needs_nothing_beside_it(html):
    for outside in (r"<script", r"\bsrc=", r"@import", r"url\((?!#)", r"<link", r"http(?!://www\.w3\.org)"):
        assert not re.search(outside, html), outside
    links = set(re.findall(r'href="#([^"]+)"', html))
    assert links <= set(re.findall(r'\bid="([^"]+)"', html))
    assert len(re.findall(r'\bid="([^"]+)"', html)) == len(set(re.findall(r'\bid="([^"]+)"', html)))


def test_has_every_claim_point_and_control(html):
    text = without_figures(html)
    assert "3 of 3 claims hold" in text
    for result in RESULTS:
        assert escape(result.statement) in text
        for point, z in zip(result.points, result.z, strict=True):
            assert f'title="{escape(point)}: z = {z:.4g}"' in text
        for control in (result.negative_control, *result.further_controls):
            assert f"<td>{escape(control['what'])}</td>" in text
    drawn = sum(1 if figures.curves(result.points) else 2 for result in RESULTS)  # over layers, deviations are a table
    assert html.count("<svg") == drawn + 2  # power; one envelope
    assert html.count("class=scores") == sum(bool(figures.curves(result.points)) for result in RESULTS) > 0
    assert "<th scope=col>SpikeInit</th>" in text  # a table within a reading


@pytest.mark.usefixtures("undrawn")
def test_colours_tell_sign_and_size():
    ones = {name: [1.0, 1.0, 1.0] for name in ("theory", "estimate", "standard_error")}
    controls = {"negative_control": {"what": "none", "p_value": 0.0, "rejected": True}, "further_controls": []}
    result = replace(RESULTS[1], points=["over", "under", "unknown"], z=[2.0, -8.0, None], **ones, **controls)
    cells = re.findall(r'<i class=(\w+) style="--z:(\d+)%" title="(\w+):', webpage(Examined([result], "")))
    assert cells[:3] == [("above", "50", "over"), ("below", "100", "under"), ("below", "100", "unknown")]


@pytest.mark.usefixtures("undrawn")
def test_verdicts_that_are_not_good_are_told():
    failing = replace(RESULTS[0], verdict="fails", statement="1 < 2 & so on")
    failing.negative_control["rejected"] = False
    found = replace(ENVELOPE, claim="figure_2", drawn=[min(2 * count, 1000) for count in FLAT])
    text = without_figures(webpage(Examined([failing], "", missing=["figure_9"]), {"figure_2": found}))
    failing.negative_control["rejected"] = True
    assert '<span class="badge fails">fails</span>' in text
    assert "1 &lt; 2 &amp; so on" in text
    assert "right theories are rejected too often" in text
    assert "not rejected" in text
    assert "figure_9 not examined" in text


TEXTS = ("claim", "verdict", "seed", "budget", "quantity", "statement", "points", "version")


def with_script_in(names):
    """The page of a result, in which these fields hold markup."""
    script = """x"><script>alert(1)</script>'"""
    wild = dict.fromkeys(TEXTS, script) | {"points": [script] * len(RESULTS[1].points), "version": {script: script}}
    known = {name: getattr(RESULTS[1], name) for name in names}
    told = replace(RESULTS[1], **{name: wild[name] for name in names})
    envelope = replace(ENVELOPE, claim=told.claim, conservative="<script>", version={"<script>": "<script>"})
    made = webpage(Examined([told], "<script>", missing=["<script>"]), {told.claim: envelope})
    assert all(known[name] is getattr(RESULTS[1], name) for name in names)
    return made


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("name", [name for name in TEXTS if name != "quantity"])  # it stands in a figure alone
def test_no_text_of_a_result_becomes_markup(name):
    made = with_script_in([name])
    assert made.count("&lt;script&gt;") > 3
    assert "<script" not in made


def test_no_text_in_a_figure_becomes_markup():
    made = with_script_in(["quantity"])
    assert made.count("&lt;script&gt;") > 3
    assert "<script" not in made


DAMAGED = [
    ("seed", "x"),
    ("seconds", "12"),
    ("p_value", True),
    ("verdict", "<script>"),
    ("z", ["1"]),
    ("z", [1.0]),
    ("points", []),
    ("negative_control", {"what": "none", "p_value": "0.1", "rejected": True}),
    ("smallest_detectable_error", {"what": "none"}),
    ("version", {"numpy": 2}),
]


def test_no_result_of_the_repository_is_left_out(capsys):
    for folder in (VALIDATION / "results", VALIDATION / "results" / "long"):
        names = [path.stem for path in folder.glob("*.json")]
        assert len(pages.read(folder, names)) == len(names) > 0
    assert not capsys.readouterr().err


@pytest.mark.parametrize(("name", "value"), DAMAGED)
def test_files_with_fields_of_another_type_are_left_out(tmp_path, capsys, name, value):
    whole = json.loads((VALIDATION / "results" / "one_layer_map.json").read_text(encoding="utf-8"))
    (tmp_path / "damaged.json").write_text(json.dumps(whole | {name: value}), encoding="utf-8")
    (tmp_path / "sound.json").write_text(json.dumps(whole), encoding="utf-8")
    assert len(pages.read(tmp_path, ["damaged", "sound"])) == 1
    assert re.fullmatch(r".*damaged\.json is left out of the report: .+\n", capsys.readouterr().err)


@pytest.mark.parametrize("text", ["[]", "3", "[" * 100_000, '{"claim": "a"}', "\udcff"])
def test_files_that_are_no_envelopes_are_left_out(tmp_path, capsys, text):
    (tmp_path / "envelope").mkdir()
    (tmp_path / "envelope" / "a.json").write_text(text, encoding="utf-8", errors="surrogateescape")
    assert envelope.read(tmp_path) == {}
    assert "a.json is left out" in capsys.readouterr().err


@pytest.mark.usefixtures("undrawn")
def test_layers_of_a_few_curves_are_drawn_over_layers():
    points = [f"{curve}, layer {layer}" for curve in ("a", "b") for layer in (2, 5, 10)]
    numbers = {name: [1.0, 2.0, 3.0, 4.0, 5.0, 6.0] for name in ("theory", "estimate", "standard_error", "z")}
    controls = {"negative_control": {"what": "none", "p_value": 0.0, "rejected": True}, "further_controls": []}
    result = replace(RESULTS[0], points=points, **numbers, **controls)
    assert figures.curves(points) == {"a": {2: 0, 5: 1, 10: 2}, "b": {2: 3, 5: 4, 10: 5}}
    html = webpage(Examined([result], ""))
    assert '<th scope=row>b</th><td class="score above" style="--z:100%">+4.0</td>' in html
    assert figures.curves(["a, layer 2", "b"]) == figures.curves([f"{k}, layer 2" for k in range(3)]) == {}


def test_labels_keep_their_order_and_distance():
    heights = np.array([1.0, 0.0, 1.0, 1.01, 3.0])
    moved = figures._apart(heights, 0.1)
    assert np.all(np.diff(np.sort(moved)) >= 0.1 - 1e-12)
    assert np.array_equal(np.argsort(moved, kind="stable"), np.argsort(heights, kind="stable"))
    assert (moved[1], moved[4]) == (0.0, 3.0)


def test_figures_follow_the_page_and_are_the_same_every_time():
    drawing = figures.deviations(RESULTS[0])
    assert drawing == figures.deviations(RESULTS[0])
    assert not re.search(r"#0[1-5]0[1-5]0[1-5]|font-family|<svg[^>]* width", drawing)
    assert {"var(--seen)", "var(--line)", "var(--ink)"} <= set(re.findall(r"var\(--\w+\)", drawing))


@pytest.mark.usefixtures("undrawn")
def test_both_reports_from_json_alone(tmp_path, monkeypatch, capsys):
    for name in ("figure_2", "one_layer_map"):
        (tmp_path / f"{name}.json").write_bytes((VALIDATION / "results" / f"{name}.json").read_bytes())
    monkeypatch.setattr(sys, "argv", ["pages", str(tmp_path)])
    assert pages.main() == 0
    assert "2 of 2 claims hold" in (tmp_path / "REPORT.html").read_text(encoding="utf-8")
    results = pages.read(tmp_path, ["figure_2", "one_layer_map", "missing"])
    assert (tmp_path / "REPORT.md").read_text(encoding="utf-8") == page(Examined(results, COMMAND))
    (tmp_path / "figure_2.json").write_text("{}", encoding="utf-8")
    assert [result.claim for result in pages.read(tmp_path, ["figure_2", "one_layer_map"])] == ["one_layer_map"]
    assert "figure_2.json is left out" in capsys.readouterr().err


@pytest.mark.usefixtures("undrawn")
def test_the_page_of_the_results_kept_in_the_repository():
    folder = VALIDATION / "results"
    results, longer = (
        pages.read(where, sorted(path.stem for path in where.glob("*.json"))) for where in (folder, folder / "long")
    )
    envelopes = envelope.read(folder)
    made = webpage(Examined(results, COMMAND, longer=longer), envelopes)
    assert f"{len(results)} of {len(results)} claims hold" in made
    assert all(f'id="{result.claim}"' in made for result in results)
    assert made.count("<svg") > len(results) + len(envelopes)
    assert all(not found.problems for found in envelopes.values())
