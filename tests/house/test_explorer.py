"""The explorer: one file that needs nothing beside it, whose numbers are those of the package."""

import json
import re
import shutil
import subprocess
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from browsing import after_scripts, answered

import varflow as vf
from explorer import build
from varflow.init.kept_alive import tabulated_gain

SETTINGS, CORRECTED = 40, 3
TOLERANCE = 1e-6  # relative, promised on the page
SMALLEST = 1e-280  # the smallest survival compared: below, doubles end


@pytest.fixture(scope="module")
def page():
    return build.page()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("browser")


@pytest.fixture(scope="module")
def answers(page, folder):
    """Of all questions, in one visit to the page: a browser takes longer to start than to answer."""
    questions = {"numbers": numbers(), "codes": codes(), "sliders": SLIDERS, "steps": STEPS, "kept": kept()}
    return answered(page, folder, "{" + ", ".join(f"{name}: {question}" for name, question in questions.items()) + "}")


def test_needs_nothing_beside_it(page):
    for outside in (r"\bsrc=", r"@import", r"url\((?!#)", r"<link(?! rel=\"icon\" href=\"data:,\")", r"https?:", r"fetch\("):
        assert not re.search(outside, page), outside
    assert not re.search(r"^(?:import|export) ", page.partition("<script")[2].partition("import varflow")[0], flags=re.M)
    assert len(page.encode()) < 500_000


def test_what_scripts_and_labels_name_exists(page):
    there = re.findall(r'\bid="([\w-]+)"', page.partition("<script")[0])
    named = {*re.findall(r'\$\("([\w-]+)"\)', page), *re.findall(r'\b(?:for|aria-labelledby)="([\w-]+)"', page)}
    assert named
    assert named <= set(there)
    assert len(there) == len(set(there))


def settings():
    """Gains on both sides of the critical one; half of them near the preserving one."""
    rng = np.random.default_rng(0)
    for number in range(SETTINGS):
        theta = round(float(rng.uniform(0.05, 3)), 3)
        usual = float(vf.gain(threshold=theta) if number % 2 else vf.critical_gain(threshold=theta))
        gain = usual * float(rng.uniform(0.8, 1.6))
        width, depth = int(np.exp(rng.uniform(np.log(10), np.log(600)))), int(rng.integers(2, 101))
        yield {"theta": theta, "gain": gain, "width": width, "depth": depth}


def expected(theta, gain, width, depth):
    """What the package says, under the page's names."""
    points = vf.fixed_points(threshold=theta, gain=gain)
    network = vf.Network(width=width, depth=depth, gain=gain, neuron=vf.Neuron(theta))
    profile = vf.finite_width(network)
    names = {"variance": "variance", "varianceStd": "variance_std", "firingRate": "firing_rate"}
    names |= {"firingRateStd": "firing_rate_std", "survival": "survival"}
    return {
        "fixedPoints": [[point.variance, point.firing_rate, point.multiplier] for point in points],
        "stable": [point.stable for point in points],
        "basinEdge": points.basin_edge,
        "preservingGain": vf.gain(threshold=theta),
        "criticalGain": vf.critical_gain(threshold=theta),
        "flow": vf.mean_field(network).variance,
    } | {name: getattr(profile, python) for name, python in names.items()}


def shown(found):
    """The page's numbers under the names of ``expected``; JSON has no infinity, and arrays come as objects."""
    points = found["fixedPoints"]
    return {
        "fixedPoints": [[point["variance"], point["firingRate"], point["multiplier"]] for point in points],
        "stable": [point["stable"] for point in points],
        "basinEdge": np.inf if found["basinEdge"] is None else found["basinEdge"],
        "flow": list(found["flow"].values()),
    } | {
        **{name: found[name] for name in ("preservingGain", "criticalGain")},
        **{name: list(values.values()) for name, values in found["finite"].items() if isinstance(values, dict)},
    }


def deviation(found, wanted):
    """The largest relative deviation."""
    worst = 0.0
    for name, values in wanted.items():
        a, b = np.asarray(found[name], dtype=float), np.asarray(values, dtype=float)
        assert a.shape == b.shape, name
        differ = (a != b) & (np.abs(b) > SMALLEST)
        a, b = a[differ], b[differ]
        worst = max(worst, float(np.max(np.abs(a - b) / np.abs(b), initial=0.0)))
    return worst


def numbers():
    without_rows = "(({ rows, rough, ...finite }) => finite)"
    compute = f"(s) => {{ const found = varflow.compute(s); return {{ ...found, finite: {without_rows}(found.finite) }}; }}"
    corrected = "(s) => varflow.gainByRule('alive', s.theta, s.width, s.depth, {})"
    told = json.dumps(list(settings()))
    return f"[{told}.map({compute}), {told}.slice(0, {CORRECTED}).map({corrected})]"


def test_numbers_are_those_of_the_package(answers):
    asked, (found, gains) = list(settings()), answers["numbers"]
    wanted = [expected(**setting) for setting in asked]
    assert max(map(deviation, map(shown, found), wanted)) < TOLERANCE
    for gain, setting in zip(gains, asked, strict=False):
        assert (np.nan if gain is None else gain) == pytest.approx(raised(setting), rel=TOLERANCE, nan_ok=True)
    survivals = [values["survival"][-1] for values in wanted]
    assert min(survivals) < 1e-9 < 1e-2 < np.median(survivals)  # rare survivors too
    wrong = expected(**(asked[0] | {"gain": asked[0]["gain"] * (1 + 1e-5)}))  # negative control
    assert deviation(shown(found[0]), wrong) > TOLERANCE


def raised(setting):
    shape = {"width": setting["width"], "depth": setting["depth"]}
    try:
        return max(vf.corrected_gain(threshold=setting["theta"], **shape), vf.gain(threshold=setting["theta"]))
    except vf.DomainError:  # no gain suffices
        return np.nan


LIBRARIES = ("code=snntorch&width=40&depth=4", "code=spikingjelly&width=40&depth=4")
CODES = [
    "#theta=0.7&gain=kaiming",
    "#theta=1.5&width=120&depth=40&gain=4.1",
    "#width=100&gain=alive",
    "#theta=0.8&depth=30",
]


def codes():
    of_page = (
        "(hash) => { const state = varflow.fromHash(hash);"
        " if (state.rule !== 'own') state.gain = varflow.gainByRule(state.rule, state.theta, state.width, state.depth, {});"
        " return [varflow.code(state), varflow.printed(state, varflow.compute(state))]; }"
    )
    others = [f"#{code}{more}" for code in LIBRARIES for more in ("", "&neuron=memory", "&neuron=memory&reset=subtract")]
    return f"{json.dumps(CODES + others)}.map({of_page})"


def test_code_runs_and_prints_what_the_page_says(answers):
    found = answers["codes"]
    for code, printed in found[: len(CODES)]:
        assert ran(code) == printed + "\n"
    for code, _ in found[len(CODES) :]:
        compile(code, "code", "exec")
        if all(map(installed, re.findall(r"^(?:from|import) (\w+)", code, flags=re.M))):
            assert ran(code).startswith("currents into layer 4: variance ")


def installed(library):
    from importlib.util import find_spec

    return find_spec(library) is not None


def ran(code):
    output = StringIO()
    with redirect_stdout(output):
        exec(compile(code, "code", "exec"), {"__name__": "__main__"})
    return output.getvalue()


def test_the_address_carries_the_setting(page, folder):
    dom = after_scripts(page, folder, "theta=0.85&width=100")
    assert re.search(r'id="n-alive">58\.7(?:&nbsp;|\xa0)%<', dom)  # 0.5867, docs of vf.phase_diagram
    assert re.search(r'data-choice="rule=preserving"[^>]* aria-pressed="true"', dom)
    assert "NaN" not in re.sub(r"<script.*?</script>", "", dom, flags=re.S)


MODULES = ["state", "sliders", "phases"]
HASHES = ["theta=4&gain=50", "theta=0.01&width=3&depth=1e9", "reset=zero&code=snntorch", "theta=0.7"]
INHERITED = ["constructor", "toString", "__proto__", "hasOwnProperty", "valueOf", "__defineGetter__"]


def test_addresses_give_settings_of_the_domain(tmp_path):
    """In node: no browser is needed for it."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs node")
    done = set()
    modules = "".join(build.script(Path(build.__file__).parent / "js" / f"{name}.js", done) for name in MODULES)
    hashes = [*HASHES, *(f"{name}=1&theta=0.7" for name in INHERITED), *(f"reset={name}" for name in INHERITED)]
    questions = f"[{json.dumps(hashes)}.map(fromHash), DOMAIN, SLIDERS, [THETA, GAIN], preservingGain(DOMAIN.theta[1])]"
    (tmp_path / "page.mjs").write_text(f"{modules}\nconsole.log(JSON.stringify({questions}));", encoding="utf-8")
    answer = subprocess.run([node, tmp_path / "page.mjs"], capture_output=True, text=True, timeout=60, check=True).stdout
    states, domain, sliders, (theta, gain), highest = json.loads(answer)
    assert [(state["theta"], state["gain"]) for state in states[:2]] == [(3, 40), (0.05, 2.5)]
    assert (states[1]["width"], states[1]["depth"], states[2]["reset"], states[2]["code"]) == (10, 300, "zero", "snntorch")
    assert all(state == states[3] for state in states[4 : 4 + len(INHERITED)])
    assert all(state["reset"] == "delayed_subtract" for state in states[4 + len(INHERITED) :])
    assert sliders["theta"]["to"] == theta["to"] == domain["theta"][1]
    assert highest < gain["to"] < domain["gain"][1]  # the preserving gain stays in the diagram at every threshold
    assert all(slider["from"] >= domain[name][0] and slider["to"] <= domain[name][1] for name, slider in sliders.items())


SIZES = [
    {"steps": T, "depth": L, "width": n} for T, L, n in [(8, 20, 64), (6, 14, 110), (16, 50, 1000), (5, 33, 300), (8, 50, 90)]
]
PRESETS = [vf.neurons.snntorch_leaky(0.5), vf.neurons.snntorch_leaky(0.9), vf.neurons.spikingjelly_lif()]
ALIVE = ["a late step", "every late step"]


def kept():
    ask = "alive.map((a) => sizes.map((s) => varflow.gainKeptAlive(preset, a, s)))"
    return f"((alive, sizes) => varflow.presets.map((preset) => {ask}))({json.dumps(ALIVE)}, {json.dumps(SIZES)})"


def test_gains_that_keep_networks_alive_are_those_of_lookup(answers):
    """Rejected: those of another width."""
    other = [sizes | {"width": 1.02 * sizes["width"]} for sizes in SIZES]
    for of_preset, neuron in zip(answers["kept"], PRESETS, strict=True):
        for found, alive in zip(of_preset, ALIVE, strict=True):
            estimates, wrong = ([tabulated_gain(neuron, alive, 0.99, **sizes) for sizes in each] for each in (SIZES, other))
            gains = [None if estimate is None else pytest.approx(estimate.value, rel=1e-12) for estimate in estimates]
            assert found == gains  # NaN comes as null
            assert found[0] is None or found[0] != pytest.approx(wrong[0].value, rel=1e-5)
    assert None in answers["kept"][2][1]


def test_the_page_shows_gains_of_the_width(page, folder):
    dom = after_scripts(page, folder, "neuron=memory&width=128&depth=20")
    told = re.search(r'id="kept-rows">(.*?)</tbody>', dom, flags=re.S)[1]
    init = vf.lookup(neuron=PRESETS[1], steps=8, fan_in=128, depth=20, alive="every late step")
    assert f"<td>{init.gain:.2f}</td></tr>" in told
    assert "none" in told
    assert re.search(r'id="kept-at"[^>]*>width 128, layer 20, 8 steps<', dom)


NAMES, PLACES = ["theta", "gain", "width", "depth"], list(range(0, 1001, 25))
SLIDERS = f"{NAMES}.map((name) => {PLACES}.map((place) => varflow.fromSlider(name, place)))"


def test_sliders_give_numbers_of_their_domains(answers):
    theta, gain, width, depth = answers["sliders"]
    assert (theta[0], theta[-1], gain[0], gain[-1]) == (0.05, 3, 0.5, 30)
    assert (width[0], width[-1], depth[0], depth[-1]) == (10, 20000, 2, 300)
    assert all(isinstance(value, int) for value in width + depth)
    assert all(sorted(values) == values for values in (theta, gain, width, depth))


MOVED = """["theta", "gain", "width", "depth"].map((name) => [-1, 1].map((way) => {
  let value = varflow.fromSlider(name, 500), unmoved = 0;
  for (let press = 0; press < 20; press++) {
    const last = value;
    value = varflow.moved(name, varflow.toSlider(name, value) + way, value);
    unmoved += (value - last) * way <= 0;
  }
  return unmoved;
}))"""


ROUNDED = MOVED.replace(
    "value = varflow.moved(name, varflow.toSlider(name, value) + way, value)",
    "value = varflow.fromSlider(name, varflow.toSlider(name, value) + way)",
)
STEPS = f"[{MOVED}, {ROUNDED}]"


def test_every_arrow_key_moves_a_slider(answers):
    unmoved, stuck = answers["steps"]
    assert unmoved == [[0, 0]] * 4
    assert max(map(max, stuck)) == 20


def test_a_wrong_number_is_seen(page, folder):
    """Negative control: with another saddle-node the page disagrees."""
    wrong = page.replace("6.034397946968073", "6.0344")
    found = answered(wrong, folder, "varflow.compute({ theta: 1, gain: 2.6, width: 20, depth: 2 }).criticalGain")
    assert found != pytest.approx(vf.critical_gain(threshold=1.0), rel=1e-7)


@pytest.mark.parametrize(("reset", "decay", "gain"), [("none", 0.5, 3.0), ("zero", 0.8, 4.0)])
def test_the_table_of_rates_is_that_of_the_package(reset, decay, gain):
    """Within the rounding of the table and five standard errors of the difference; the next gain's rates are rejected."""
    table = json.loads((Path(build.__file__).parent / "memory.json").read_text(encoding="utf-8"))
    neuron = vf.Neuron(1.0, decay=decay, reset=reset)
    network = vf.Network(width=1, depth=table["depth"], gain=gain, neuron=neuron, steps=table["steps"])
    profile = vf.mean_field(network, points=2**11, scrambles=4, seed=1)
    allowed = 5e-5 + 5 * np.sqrt(2) * profile.error["firing_rate"][-1]  # the table has more points, so less error
    place = table["gains"].index(gain)
    stored, next_gain = np.array(table["rates"][reset][f"{decay:g}"][place : place + 2])
    assert np.all(np.abs(stored - profile.firing_rate[-1]) <= allowed)
    assert np.any(np.abs(next_gain - profile.firing_rate[-1]) > allowed)
