"""The table of corrected gains: its numbers, its file, the one that ships."""

import csv
import json
from importlib.resources import files

import numpy as np
import pytest

import varflow as vf
from varflow.init.table import THRESHOLDS, corrected_gain_table
from varflow.results.initialization import COLUMNS

WIDTHS, DEPTHS = (corrected_gain_table.__kwdefaults__[name] for name in ("width", "depth"))
SHIPPED = files("varflow").joinpath("data", "corrected_gains.csv").read_text(encoding="utf-8")


def read(text):
    return [{name: float(value or "nan") for name, value in row.items()} for row in csv.DictReader(text.splitlines())]


def test_the_shipped_table_is_whole():
    rows = read(SHIPPED)
    assert tuple(rows[0]) == COLUMNS
    asked = [(row["threshold"], row["width"], row["depth"]) for row in rows]
    assert asked == [(theta, n, L) for theta in THRESHOLDS for n in WIDTHS for L in DEPTHS]
    assert {row["survival_target"] for row in rows} == {0.99}
    assert all(np.isnan(row["corrected_gain"]) or row["corrected_survival"] >= 0.99 - 1e-12 for row in rows)


def test_random_rows_of_the_shipped_table():
    """Against the public functions, and the gain is the smallest: a little below it fewer than the target survive."""
    rows = [row for row in read(SHIPPED) if row["width"] <= 1000]
    for row in np.random.default_rng(5).choice(np.array(rows, dtype=object), 8, replace=False):
        theta, shape = row["threshold"], {"width": int(row["width"]), "depth": int(row["depth"])}

        def alive(gain, theta=theta, shape=shape):
            return vf.finite_width(vf.Network(**shape, gain=gain, neuron=vf.Neuron(theta))).survival[-1]

        assert row["paper_gain"] == pytest.approx(vf.gain(threshold=theta), rel=1e-11)
        assert row["survival_at_paper_gain"] == pytest.approx(alive(row["paper_gain"]), rel=1e-8)
        assert row["corrected_gain"] == pytest.approx(vf.corrected_gain(threshold=theta, **shape), rel=1e-11)
        assert alive(row["corrected_gain"] * (1 + 1e-9)) >= 0.99
        assert alive(row["corrected_gain"] * (1 - 1e-6)) < 0.99
        assert row["variance"] == pytest.approx(vf.stable_variance(threshold=theta, gain=row["corrected_gain"]), rel=1e-8)


def test_the_anchors():
    found = {row["width"]: row for row in read(SHIPPED) if (row["threshold"], row["depth"]) == (1.0, 100)}
    assert [round(found[n]["corrected_gain"] ** 2, 5) for n in (100, 300)] == [8.16387, 6.83731]
    assert [round(found[n]["survival_at_paper_gain"], 3) for n in (100, 300)] == [0.017, 0.358]
    assert [round(found[n]["variance"], 3) for n in (100, 300)] == [1.921, 1.302]


def test_out_of_reach_and_depth_one():
    table = vf.corrected_gain_table(threshold=[3.0, 1.0, 3.0], width=20, depth=[1, 5], survival_target=0.9)
    assert [(row.threshold, row.depth) for row in table.rows] == [(3.0, 1), (3.0, 5), (1.0, 1), (1.0, 5)]
    out_of_reach, any_gain = table.rows[1], table.rows[2]
    assert np.isnan([out_of_reach.corrected_gain, out_of_reach.corrected_survival, out_of_reach.variance]).all()
    assert out_of_reach.survival_at_paper_gain > 0
    assert (any_gain.corrected_gain, any_gain.variance) == (0.0, 0.0)
    assert table.to_csv().splitlines()[2].endswith(",,,")
    assert table.to_dict()["rows"][1]["corrected_gain"] is None
    assert json.loads(json.dumps(table.to_dict(), allow_nan=False)) == table.to_dict()
    assert "nan" in repr(table)


def test_progress_counts_rows():
    seen = []
    vf.corrected_gain_table(threshold=1.0, width=[5, 20], depth=2, progress=lambda *now: seen.append(now))
    assert seen == [(1, 2), (2, 2)]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"threshold": 0.0}, "threshold=0.0 must be positive"),
        ({"threshold": [[1.0, 2.0]]}, "threshold=.* must be a single number"),
        ({"threshold": []}, "threshold=\\[\\] must name at least one"),
        ({"width": [10, 2.5]}, "width=2.5 must be a whole number"),
        ({"width": "x"}, "width='x' must be a whole number"),
        ({"depth": 0}, "depth=0 must be a whole number"),
        ({"survival_target": 1.0}, "survival_target=1.0 must lie strictly between"),
        ({"progress": 3}, "progress=3 must be True"),
    ],
)
def test_bad_input(options, said):
    with pytest.raises(vf.DomainError, match=said):
        vf.corrected_gain_table(**{"threshold": 1.0, "width": 10, "depth": 2} | options)


@pytest.mark.parametrize("suffix", ["csv", "json"])
def test_command(varflow, tmp_path, suffix):
    line = f"lookup --table new/gains.{suffix} --threshold 1 --width 30 --depth 5 --survival-target 0.9"
    code, out, _ = varflow(line)
    assert code == 0
    assert f"written: new/gains.{suffix}" in out
    expected = vf.corrected_gain_table(threshold=1.0, width=30, depth=5, survival_target=0.9)
    text = (tmp_path / "new" / f"gains.{suffix}").read_text(encoding="utf-8")
    found = json.loads(text)["rows"] if suffix == "json" else text
    assert found == (expected.to_dict()["rows"] if suffix == "json" else expected.to_csv())
    code, out, err = varflow(f"{line} --json")
    assert (code, err, json.loads(out)["rows"]) == (0, "", expected.to_dict()["rows"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--table x.txt", "--table x.txt must end in .csv or .json"),
        ("--table x.csv --rate 0.3", "--rate 0.3 does not apply to --table"),
        ("--table x.csv --fan-in 3", "--fan-in 3 does not apply to --table"),
        ("--table x.csv --distribution laplace", "--distribution laplace does not apply to --table"),
        ("--table x.csv --threshold 0", "--threshold 0 must be positive"),
        ("--table /dev/null/x.csv", "--table /dev/null/x.csv cannot be written"),
        ("--table ..", "--table .. must end in .csv or .json"),
        ("--table ''", "--table . must end in .csv or .json"),
        (f"--table {'a' * 400}/x.csv", "x.csv cannot be written: File name too long"),
        ("--fan-in 3", "--threshold is missing"),
    ],
)
def test_command_refuses_in_one_line(varflow, tmp_path, options, said):
    code, out, err = varflow(f"lookup {options}")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert said in err
    assert list(tmp_path.iterdir()) == []


def test_the_table_says_where_nothing_needs_correcting():
    table = vf.corrected_gain_table(threshold=[0.5, 1.0], width=100, depth=[1, 20])
    kept, corrected = table.rows[1], table.rows[3]
    assert kept.corrected_gain < kept.paper_gain
    assert kept.survival_at_paper_gain > 0.99
    assert corrected.corrected_gain > corrected.paper_gain
    note = repr(table).splitlines()[-1]
    assert note.startswith("In 1 of the rows the preserving gain already reaches the target. The corrected gain")
    assert "Initialise with the larger of the two" in note
    assert "already keeps" not in repr(vf.corrected_gain_table(threshold=1.0, width=100, depth=[1, 20]))


def test_command_tells_how_far_it_is(varflow):
    """A terminal gets a bar; elsewhere lines say it, on stderr."""
    _, out, err = varflow("lookup --table gains.csv --threshold 1 --width 5 --depth 2")
    assert "rows." not in out
    assert err.startswith("1 rows. All 520 rows take one to two minutes")
    assert len(THRESHOLDS) * len(WIDTHS) * len(DEPTHS) == 520
    assert "one to two minutes" in " ".join(varflow("lookup --help")[1].replace("│", " ").split())
