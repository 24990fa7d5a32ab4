"""Results in a notebook: well-formed tables that say what the text says, whatever they hold, in any theme."""

import re
from html.parser import HTMLParser

import pytest

import varflow as vf
from varflow._display import Table, percent, without_path

EDGE = vf.fixed_points(threshold=1.5, gain=vf.gain(threshold=1.5))
NETWORK = vf.Network(width=[30, 20, 10, 30], depth=4, gain=2.0, neuron=vf.Neuron(0.7), weights="sign", bias_std=0.1)
PROFILE = vf.finite_width(NETWORK)
ENSEMBLE = PROFILE.sample(20, seed=1)
CHAIN = vf.SpikeChain(vf.Network(width=30, depth=8, gain=3.0))
SHOWN = {
    "fixed points": EDGE,
    "fixed points in mpf numbers": vf.reference.fixed_points(threshold=1.5, gain=3.0, digits=20),
    "fixed points and a cycle": vf.fixed_points(threshold=-1.0, gain=1.0, mean_gain=-4.0),
    "cycle in mpf numbers": vf.reference.fixed_points(threshold=-1.0, gain=1.0, mean_gain=-4.0, digits=20),
    "cycle": vf.fixed_points(threshold=-1.0, gain=1.0, mean_gain=-4.0).cycles[0],
    "stable point": EDGE[0],
    "unstable point": EDGE[1],
    "network": NETWORK,
    "driven network": vf.Network(width=10, depth=3, gain=2.0, steps=2, drive=vf.drives.currents(0.5)),
    "lookup": vf.lookup(threshold=1.0, fan_in=50, depth=30),
    "profile": PROFILE,
    "ensemble": ENSEMBLE,
    "comparison": vf.compare(PROFILE, ENSEMBLE),
    "phase diagram": vf.phase_diagram(threshold=[0.5, 1.0], width=[50, 100], depth=20),
    "fixed points of the overlap": vf.correlation_fixed_points(threshold=1.0),
    "depth scales": vf.depth_scales(threshold=[0.5, 1.0], gain=[2.0, 3.0]),
    "kernel": vf.kernel(NETWORK, [[1.0, 0.0], [0.6, 0.8]]),
    "readable depth": vf.readable_depth(
        NETWORK, [[1.0, 0.0], [0.9, 0.1], [0.6, 0.8], [0.5, 0.9]], list("aabb"), infinite_width=True
    ),
    "chain": CHAIN,
    "distribution of a spike count": CHAIN.propagate()[-1],
    "quasi-stationary state": CHAIN.quasi_stationary(),
    "stationary state": CHAIN.stationary(),
    "lifetime": CHAIN.lifetime(),
    "escape": vf.escape_asymptotics(threshold=1.0, gain=2.6),
    "enclosure": vf.certified.Enclosure(0.1, 0.2),
    "flips": vf.flips(NETWORK, direct=0.1, points=64),
    "experiment over steps": vf.validate(
        threshold=1.0, gain=2.9, width=20, depth=3, repeats=2, steps=2, neuron=vf.Neuron(decay=0.5)
    ),
    "neuron": vf.neurons.snntorch_leaky(0.5),
    "expansion": vf.expansion(vf.Network(width=1000, depth=5, gain=2.0, neuron=vf.Neuron(0.5))),
}
EVERY = pytest.mark.parametrize("thing", SHOWN.values(), ids=SHOWN.keys())
NUMBER = re.compile(r"(?<![\w.])-?(?:\d+\.?\d*(?:e[+-]?\d+)?|inf|nan)")
ALLOWED = {"div", "table", "caption", "thead", "tbody", "tr", "th", "td", "p"}


class Page(HTMLParser):
    """Words, rows and attributes of a page; complains about tags left open, closed twice or unknown."""

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.words, self.rows, self.attributes = [], [], [], [], []
        self.feed(html)
        self.close()
        if self.open:
            raise ValueError(f"left open: {self.open}")

    def handle_starttag(self, tag, attrs):
        if tag not in ALLOWED:
            raise ValueError(f"unexpected: {tag}")
        self.open.append(tag)
        self.tags.append(tag)
        self.attributes += attrs
        if tag == "tr":
            self.rows.append([])

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            raise ValueError(f"closes nothing: {tag}")

    def handle_data(self, data):
        self.words.append(data)
        if self.open and self.open[-1] in {"td", "th"}:
            self.rows[-1].append(data)

    @property
    def text(self):
        return "\n".join(self.words)


@EVERY
def test_the_page_is_a_captioned_table_with_rows_of_one_length(thing):
    page = Page(thing._repr_html_())
    assert page.tags.count("table") == page.tags.count("caption") == 1
    assert len({len(row) for row in page.rows}) == 1
    assert len(page.rows) >= 2


@EVERY
def test_every_number_of_the_text_is_on_the_page(thing):
    text = repr(thing)
    found = NUMBER.findall(text)
    assert len(found) >= 2
    assert set(found) <= set(NUMBER.findall(Page(thing._repr_html_()).text))


@EVERY
def test_the_page_follows_the_theme_and_runs_nothing(thing):
    attributes = Page(thing._repr_html_()).attributes
    assert {name for name, _ in attributes} <= {"scope", "style"}
    assert {value for name, value in attributes if name == "style"} <= {"text-align: left"}


def test_stability_is_said_in_words_and_silence_is_stable():
    rows = Page(EDGE._repr_html_()).rows
    assert [row[-1] for row in rows] == ["stability", "stable", "unstable", "stable"]
    assert "FixedPoint, unstable" in EDGE[1]._repr_html_()
    assert "FixedPoint, stable" in EDGE[0]._repr_html_()
    assert [line.split()[-1] for line in repr(EDGE).splitlines()[2:]] == ["stable", "unstable", "stable"]


def test_an_expansion_shows_its_coefficients():
    expansion = SHOWN["expansion"]
    text = Page(expansion._repr_html_()).text
    for name in ("mean_coefficients", "variance_coefficients", "skewness_coefficients"):
        assert ", ".join(f"{value:.6g}" for value in getattr(expansion, name)) in text


def test_a_verdict_and_warnings_are_on_the_page():
    assert "the theory stands" in SHOWN["comparison"]._repr_html_()
    lookup = SHOWN["lookup"]
    text = Page(lookup._repr_html_()).text
    assert lookup.warnings
    assert all(warning in text for warning in lookup.warnings)
    assert all(warning in repr(lookup) for warning in lookup.warnings)


def test_an_enclosure_is_shown_where_there_is_one():
    point = vf.FixedPoint(1.0, 0.2, 0.5, True, 1.4, 0.0, enclosure=(0.999, 1.001))
    assert "(0.999, 1.001)" in point._repr_html_()
    assert "enclosure" not in EDGE[1]._repr_html_()


@pytest.mark.parametrize("hostile", ["<script>alert(1)</script>", 'a "b" & <i>c</i>', "</table>"])
def test_whatever_a_cell_holds_is_text(hostile):
    table = Table(hostile, [(hostile, hostile)], (hostile, "b"), [hostile])
    page = Page(table.html())
    assert page.text.count(hostile) == 5
    assert table.text().count(hostile) == 5
    with pytest.raises(ValueError, match=r"unexpected|closes nothing"):  # the parser sees what is not escaped
        Page(table.html() + hostile.replace('a "b" & ', ""))


def test_columns_are_aligned_in_text():
    """Numbers to the right, words to the left; a list of names and values is indented."""
    table = Table("title", [("1", "x", "2 ± 0.1"), ("22", "yes", "–")], ("n", "on", "rate"), ["note"], bullet="* ")
    assert table.text() == "title\n n  on      rate\n 1  x    2 ± 0.1\n22  yes        –\n* note"
    assert Table("title", [("gain", "2.5"), ("stable", "yes")]).text() == "title\n  gain    2.5\n  stable  yes"


def test_tables_fit_the_terminal(monkeypatch):
    """Columns are left out in the order given, and named; a row of which only its name is left goes too; notes are wrapped."""
    header, rows = ("layer", "rate", "more", "cost"), [("fc1", "0.25", "12345", "7"), ("total", "", "", "77")]
    table = Table("title", rows, header, ["a rather long note about all of it"], "! ", ("cost", "more"))
    for columns, words in ((24, "more 12345 cost 77"), (20, "12345 also shows: cost"), (13, "cost, more")):
        monkeypatch.setenv("COLUMNS", str(columns))
        text = table.text()
        assert max(map(len, text.splitlines())) <= columns
        assert all(word in text for word in words.split())
        assert ("total" in text) == (columns == 24)
        assert "a rather long note about all of it" in " ".join(text.replace("! ", "").split())


def table_of(thing):
    return thing._table() if hasattr(thing, "_table") else Table("a line", [("", "")])


@EVERY
def test_no_table_has_two_columns_of_one_name(thing):
    header = table_of(thing).header
    assert len(set(header)) == len(header)


@EVERY
def test_no_spread_is_zero(thing):
    assert not re.search(r"± (0|nan)(?![.\d])", table_of(thing).text())


def test_a_spread_of_zero_is_seen():
    assert re.search(r"± (0|nan)(?![.\d])", Table("flips", [("1", "0.3 ± 0")]).text())


def test_rows_of_results_are_tables_too():
    experiment = SHOWN["experiment over steps"]
    rows = (experiment.curves[0], SHOWN["fixed points of the overlap"][0], vf.catalogue(depth=2, fan_in=9).methods[0])
    rows += (vf.corrected_gain_table(threshold=1.0, width=30, depth=3).rows[0],)
    for row in rows:
        assert Page(row._repr_html_()).rows
        assert max(map(len, row._table().text().splitlines())) <= 80
    assert repr(experiment.curves[0]) == experiment.curves[0]._table().text()


@EVERY
def test_tables_fit_eighty_columns(thing, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert max(map(len, table_of(thing).text().splitlines())) <= 80


def test_a_path_that_all_names_share_is_said_once():
    rows = [("net.enc.1.fc (Linear)", "net.enc.1.lif", "0.2"), ("net.enc.10.fc (Linear)", "net.enc.10.lif", "net.enc")]
    where, short = without_path(rows, 2)
    assert where == " in net.enc"
    assert short == [("1.fc (Linear)", "1.lif", "0.2"), ("10.fc (Linear)", "10.lif", "net.enc")]
    assert without_path([("fc1", "lif1"), ("fc2", "lif2")], 2) == ("", [("fc1", "lif1"), ("fc2", "lif2")])


def test_an_experiment_shows_its_curves_and_what_to_read_in_them():
    pytest.importorskip("torch")
    sweep = vf.validate(threshold=[0.5, 1.0], gain=["preserving"], width=20, depth=3, repeats=2)
    page = Page(sweep._repr_html_())
    assert len(page.rows) == 1 + len(sweep.curves)
    assert all(sentence in page.text for sentence in sweep.reading)
    assert set(NUMBER.findall(repr(sweep))) <= set(NUMBER.findall(page.text))


@pytest.mark.parametrize(
    ("fraction", "digits", "words"),
    [
        (0.0, 2, "0 %"),
        (0.000123, 2, "0.012 %"),
        (0.0171, 3, "1.71 %"),
        (0.5867, 2, "59 %"),
        (0.949, 2, "94.9 %"),
        (0.9964, 2, "99.64 %"),
        (0.99996, 3, "99.996 %"),
        (1 - 1.5e-9, 2, "99.99999985 %"),
        (1.0, 2, "100 %"),
        (1.5, 2, "150 %"),
    ],
)
def test_fractions_near_one_keep_what_is_missing(fraction, digits, words):
    assert percent(fraction, digits) == words
