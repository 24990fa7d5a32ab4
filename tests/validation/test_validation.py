"""The standing evidence can fail: the runner, one claim end to end, and a wrong theory that must not pass."""

import json
import pickle
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from processes import import_once

import varflow as vf
from validation import Work, examine
from validation.__main__ import main
from validation.claim import Result
from validation.claims import (
    chain_narrow,
    corrected_gain,
    discover,
    expansions,
    figure_2,
    figure_3,
    figure_4,
    figure_5,
    gain_for_rate,
    kaiming_death_depth,
    leak_and_reset,
    one_layer_map,
)
from validation.curves import caught
from validation.extrapolation import Prediction, extrapolated, judged
from validation.extrapolation import drawn as drawn_about
from validation.goodness import Fit, pooled
from validation.power import SCOUTS, smallest_error
from validation.report import Examined, page
from validation.work import HERE
from varflow.campaign.block import labels
from varflow.init.published import spikeinit_gain

NAMES = [
    "chain_narrow",
    "corrected_gain",
    "expansions",
    "figure_2",
    "figure_3",
    "figure_4",
    "figure_5",
    "finite_width_in_time",
    "gain_for_rate",
    "gradients",
    "heterogeneity",
    "integer_membranes",
    "integer_weights",
    "kaiming_death_depth",
    "kernels",
    "leak_and_reset",
    "maps_and_pools",
    "normalisation",
    "one_layer_map",
    "recurrence",
    "residual_blocks",
    "weight_distributions",
]
KEYS = {
    *("claim", "statement", "source", "configuration", "seed", "version", "theory", "estimate", "standard_error", "z"),
    *("p_value", "false_alarm", "smallest_detectable_error", "negative_control", "verdict", "seconds"),
}
VALIDATION = Path(__file__).parents[2] / "validation"
SMALL = {
    "chain_narrow": (chain_narrow, chain_narrow.Settings(repeats=4000, layers=(2, 5, 10))),
    "one_layer_map": (one_layer_map, one_layer_map.Settings(repeats=400, thresholds=(0.5, 1.5), variances=(0.5, 1.0))),
    "corrected_gain": (corrected_gain, corrected_gain.Settings(repeats=400, width=50, depth=30)),
    "kaiming_death_depth": (kaiming_death_depth, kaiming_death_depth.Settings((30,), (1500,), (0.6, 0.85), depth=30)),
}
FOUND = lambda rejected: 0.05  # noqa: E731  # in place of the search for the smallest error, which is tested below
FIGURE = figure_2.Settings(width=60, repeats=10, depth=15, thresholds=(0.3, 0.85), probed=())


def results_of(folder):
    return [Result(**json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))) for name in NAMES]


@pytest.fixture
def undrawn(monkeypatch):
    """Reports without figures; with them one claim is examined from end to end, and the page has tests of its own."""
    monkeypatch.setattr("validation.figures._svg", lambda name, draw, rows: "<svg></svg>")


class TestCommand:
    def test_list(self, capsys):
        assert main(["--list"]) == 0
        assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == NAMES == list(discover())

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (
                ["--claim", "figure_7"],
                "figure_7 is unknown; choose from chain_narrow, corrected_gain, expansions, figure_2, figure_3, figure_4",
            ),
            (["--seed", "-1"], "--seed -1"),
            (["--budget", "lavish"], "'lavish'"),
            (["--out", __file__], "is a file"),
        ],
    )
    def test_bad_input_is_one_line(self, capsys, arguments, said):
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        error = capsys.readouterr().err
        assert (stop.value.code, error.count("\n")) == (2, 1)
        assert said in error

    def test_one_claim_end_to_end(self, tmp_path, monkeypatch):
        small = replace(kaiming_death_depth.CLAIM, budgets={"quick": SMALL["kaiming_death_depth"][1]})
        monkeypatch.setattr("validation.__main__.discover", lambda: {small.name: small})
        assert main(["--claim", small.name, "--budget", "quick", "--out", str(tmp_path)]) == 0
        found = json.loads((tmp_path / "kaiming_death_depth.json").read_text(encoding="utf-8"))
        assert found.keys() >= KEYS
        assert (found["verdict"], found["configuration"]["gain"]) == ("holds", 2**0.5)
        assert 0 < found["smallest_detectable_error"]["relative_size"] < 0.1
        assert found["negative_control"]["rejected"]
        assert found["negative_control"]["p_value"] <= found["false_alarm"] < found["p_value"]
        report = (tmp_path / "REPORT.md").read_text(encoding="utf-8")
        assert "1 of 1 claims hold" in report
        assert small.statement in report

    @pytest.mark.usefixtures("undrawn")
    def test_a_failing_claim_is_exit_code_1_and_opens_the_report(self, tmp_path, monkeypatch, capsys):
        claim = kaiming_death_depth.CLAIM
        off = replace(claim, theory=lambda s: claim.theory(kaiming_death_depth.wrong(s, 0.1)))
        off = replace(off, budgets={"quick": SMALL["kaiming_death_depth"][1]})
        monkeypatch.setattr("validation.power.smallest_error", FOUND)
        monkeypatch.setattr("validation.__main__.discover", lambda: {off.name: off})
        assert main(["--budget", "quick", "--out", str(tmp_path)]) == 1
        opening = (tmp_path / "REPORT.md").read_text(encoding="utf-8").split("\n\n")[1:3]
        assert opening[0] == "**0 of 1 claims hold, 1 fails.**"
        assert opening[1].startswith(f"- **{off.name}**: fails. {off.statement} *Largest deviation* of")
        again = f"python -m validation --claim {off.name} --budget quick --seed 0"
        assert f"Again: `{again}`" in opening[1]
        page = (tmp_path / "REPORT.html").read_text(encoding="utf-8")
        assert page.index(f"<code>{again}</code>") < page.index("Every point")
        assert f"Again: `{again}`" in capsys.readouterr().out

    @pytest.mark.usefixtures("undrawn")
    def test_an_interrupted_run_keeps_what_is_finished_and_continues(self, tmp_path, monkeypatch, capsys):
        claim = kaiming_death_depth.CLAIM

        def found():
            result = json.loads((tmp_path / "kaiming_death_depth.json").read_text(encoding="utf-8"))
            return {key: value for key, value in result.items() if "seconds" not in key}

        def interrupted(settings, seed, work):
            raise KeyboardInterrupt

        first = replace(claim, budgets={"quick": SMALL["kaiming_death_depth"][1]})
        second = replace(first, name="second", simulate=interrupted)
        monkeypatch.setattr("validation.power.smallest_error", FOUND)
        monkeypatch.setattr("validation.__main__.discover", lambda: {one.name: one for one in (first, second)})
        run = ["--budget", "quick", "--out", str(tmp_path)]
        assert main(run) == 130
        before = found()
        assert "Stopped early: second not examined." in (tmp_path / "REPORT.md").read_text(encoding="utf-8")
        assert "parts were there" not in capsys.readouterr().err
        assert main([*run, "--resume", "--claim", first.name]) == 0
        assert "kaiming_death_depth: 1500 of 1500 parts were there" in capsys.readouterr().err
        assert found() == before


FEW = corrected_gain.Settings(repeats=60, width=20, depth=5, targets=(0.5,))
LAYERS = replace(one_layer_map.CLAIM.budgets["quick"], repeats=20, distributions=("uniform",))
FILLED = figure_3.Settings(width=20, depth=4, repeats=2)


@pytest.fixture(scope="module")
def spread(tmp_path_factory):
    """A claim, and the networks of two others, in two processes: the store and the results."""
    store = tmp_path_factory.mktemp("campaign") / "s"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("validation.runner.powerful_budget", lambda *_: None)
        import_once(patch)
        with vf.Campaign(store, workers=2).opened() as run:
            claim = examine(corrected_gain.CLAIM, FEW, work=Work(run))
            return store, claim, one_layer_map.simulate(LAYERS, 0, Work(run)), figure_3.simulate(FILLED, 0, Work(run))


class TestCampaign:
    def test_a_claim_is_the_same_in_processes_from_a_store_and_here(self, spread, monkeypatch):
        """The search for the smallest error, simulations and controls of all kinds are in the store."""
        monkeypatch.setattr("validation.runner.powerful_budget", lambda *_: None)
        seen, (store, *results) = [], spread[:2]
        with vf.Campaign(store, found=lambda *now: seen.append(now)).opened() as run:
            results.append(examine(corrected_gain.CLAIM, FEW, work=Work(run)))
        results.append(examine(corrected_gain.CLAIM, FEW))
        first, *others = ({**asdict(result), "seconds": 0} for result in results)
        assert others == [first, first]
        assert seen == [(1, 1), (60, 60), (1, 1), (2, 2), (60, 60), (60, 60)]

    def test_blocks_of_claims_with_loops_of_their_own(self, spread):
        """Cases, and networks of methods: the same alone, in two processes and in any order."""
        _, _, layers, filled = spread
        assert np.array_equal(layers.mean, one_layer_map.simulate(LAYERS, 0, HERE).mean)
        here = figure_3.simulate(FILLED, 0, HERE)
        for one, other in zip(filled, here, strict=True):
            assert np.array_equal(one.variance, other.variance)
        other = figure_3.simulate(replace(FILLED, repeats=1), 1, HERE)
        assert not np.array_equal(other[0].variance, here[0].variance[:1])

    @pytest.mark.parametrize("claim", discover().values(), ids=discover())
    def test_every_simulation_can_be_sent_and_recognised(self, monkeypatch, claim):
        """Without computing it: a block that was sent to a worker has the key that it has here."""

        class Seen(Exception):
            pass

        def run(self, blocks, arrived, **options):
            sent = pickle.loads(pickle.dumps(blocks))
            assert [key for key, _ in labels(sent)] == [key for key, _ in labels(blocks)]
            assert len({key for key, _ in labels(blocks)}) == len(blocks)
            raise Seen

        point = gain_for_rate.Point("snnTorch Leaky β=0.5", 0.2, 2.9, 1.1)
        monkeypatch.setattr(gain_for_rate, "_asked", lambda settings: ((point, ""),))  # the search for gains is tested below
        monkeypatch.setattr("varflow.campaign.campaign.Run.run", run)
        with pytest.raises(Seen), vf.Campaign().opened() as opened:
            claim.simulate(FILLED if claim is figure_3.CLAIM else claim.budgets["quick"], 0, Work(opened))

    @pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
    def test_cuda_without_a_card(self, tmp_path):
        with pytest.raises(vf.DomainError, match="device='cuda' is not available"):
            main(["--device", "cuda", "--out", str(tmp_path / "out")])
        assert not (tmp_path / "out").exists()


class TestClaimsCanFail:
    @pytest.mark.parametrize("name", SMALL)
    def test_a_theory_wrong_by_five_per_cent_is_rejected_and_the_right_one_not(self, name):
        module, settings = SMALL[name]
        measured = module.simulate(settings, 3, HERE)
        right = module.judge(settings, module.theory(settings), measured)
        wrong = module.judge(settings, module.theory(module.wrong(settings, 0.05)), measured)
        assert wrong.p_value <= settings.false_alarm < right.p_value

    def test_figure_2_rejects_one_curve_with_another_gain(self):
        measured = figure_2.simulate(FIGURE, 3, HERE)
        off = replace(FIGURE, errors=((("preserving", 0.85), 0.2),))
        assert figure_2.judge(FIGURE, figure_2.theory(FIGURE), measured).p_value > FIGURE.false_alarm
        assert figure_2.judge(FIGURE, figure_2.theory(off), measured).p_value <= FIGURE.false_alarm

    def test_figure_2_finds_its_smallest_error(self):
        settings = replace(FIGURE, depth=5, false_alarm=0.1, thresholds=(0.5,), probed=(("preserving", 0.5),))
        (error,) = figure_2.CLAIM.errors(settings)
        assert error.rejected is not None
        rejected = error.rejected(settings)
        assert not rejected(1e-3, 0)
        assert rejected(0.4, 0)

    def test_the_search_rejects_what_compare_rejects(self):
        """But for simulations whose p-value is near the false-alarm rate, where each draws its own calibration."""
        right, repeats, level = vf.Network(width=50, depth=6, gain=2.5), 12, 0.05
        wrong = lambda error: replace(right, gain=2.5 * (1 + error))  # noqa: E731
        rejected, profile = caught(right, wrong, repeats, level), vf.finite_width(right)
        drawn = vf.finite_width(wrong(0.1)).sample(repeats, 1, ensembles=SCOUTS)  # the second block of the search
        parts = [slice(k * repeats, (k + 1) * repeats) for k in range(SCOUTS)]
        some = [replace(drawn, variance=drawn.variance[at], firing_rate=drawn.firing_rate[at]) for at in parts]
        p_values = [vf.compare(profile, each, false_alarm=level / 10).p_value for each in some]
        sure = [k for k, p in enumerate(p_values) if not level / 2 < p < 2 * level]
        assert {p_values[k] <= level for k in sure} == {True, False}
        assert [rejected(0.1, SCOUTS + k) for k in sure] == [p_values[k] <= level for k in sure]

    def test_figure_3_rejects_one_method_with_another_gain_and_a_bias_left_out(self):
        settings = figure_3.Settings(width=66, repeats=15, depth=6, probed=())
        right, measured = figure_3.theory(settings), figure_3.simulate(settings, 3, HERE)
        assert len(measured) == len(settings.networks()) >= 15
        assert figure_3.judge(settings, right, measured).p_value > settings.false_alarm
        for off in (replace(settings, errors=(("fluctuation_driven", 0.3),)), replace(settings, biased=False)):
            assert figure_3.judge(settings, figure_3.theory(off), measured).p_value <= settings.false_alarm
        assert "Silent by layer" in figure_3.reading(settings, right, measured)

    def test_figure_3_fills_layers_as_users_would(self):
        """Each method's own function draws the distribution of its gain: torch's for torch's methods, biases included."""
        torch = pytest.importorskip("torch")
        settings = figure_3.Settings(width=400)
        for entry in settings.catalogue().methods:
            if entry.gain is None:
                continue
            with torch.random.fork_rng(devices=[]), torch.no_grad():
                torch.manual_seed(0)
                layer = torch.nn.Linear(400, 400)
                figure_3.filler(entry)(layer)
            std, bias = float(layer.weight.detach().double().std()), layer.bias.detach().double()
            assert abs(std / entry.weight_std - 1) < 4 / np.sqrt(2 * 160_000)
            assert abs(std / (1.03 * entry.weight_std) - 1) > 4 / np.sqrt(2 * 160_000)
            if entry.bias_std:
                assert abs(float(bias.std()) / entry.bias_std - 1) < 4 * np.sqrt(0.2 / 400)  # uniform: kurtosis 1.8
            else:
                assert bias.unique().tolist() == [entry.bias]

    def test_figure_4_rejects_another_width_and_one_curve_with_another_gain(self):
        settings = figure_4.Settings(widths=(30, 60), repeats=40, depth=10, thresholds=(0.5, 0.85), probed=())
        measured = figure_4.simulate(settings, 3, HERE)
        assert [ensemble.network.width for ensemble in measured] == [30, 30, 60, 60]
        assert figure_4.judge(settings, figure_4.theory(settings), measured).p_value > settings.false_alarm
        for off in (replace(settings, wider=3.0), replace(settings, errors=(((60, 0.85), 0.2),))):
            assert figure_4.judge(settings, figure_4.theory(off), measured).p_value <= settings.false_alarm

    def test_leak_and_reset_rejects_wrong_theories_and_not_networks_of_the_right_one(self):
        curves = {"resets": ("subtract", "delayed_subtract", "zero"), "decays": (0.5,), "drives": ("white",)}
        settings = leak_and_reset.Settings(repeats=12, widths=(100, 200), depth=16, shallow=6, points=2**9, bias=0.02, **curves)
        right = leak_and_reset.theory(settings)
        measured = leak_and_reset.simulate(settings, 0, HERE)
        assert measured.shape == (3, 2, 12)
        assert leak_and_reset.judge(settings, right, measured).p_value > settings.false_alarm
        for control in leak_and_reset.CLAIM.controls[:2]:
            assert leak_and_reset.judge(settings, control.theory(settings), measured).p_value <= settings.false_alarm

    def test_figure_5_rejects_another_reset_and_no_memory(self):
        settings = figure_5.Settings(repeats=16, widths=(100, 200), depth=16, points=2**9, bias=0.03)
        right = figure_5.theory(settings)
        measured = figure_5.simulate(settings, 0, HERE)
        assert not measured.values[:2].any()
        assert figure_5.judge(settings, right, measured).p_value > settings.false_alarm
        for assumed in ((0.5, "subtract"), (0.0, "none")):
            wrong = figure_5.theory(replace(settings, assumed=assumed))
            assert figure_5.judge(settings, wrong, measured).p_value <= settings.false_alarm

    def test_spikeinit_s_rate_belongs_to_its_gain(self):
        rate = leak_and_reset.spikeinit_rate(10**0.5, 0.5)
        assert abs(spikeinit_gain(rate, decay=0.5) - 10**0.5) < 1e-9
        assert leak_and_reset.spikeinit_rate(1.0, 0.5) == 0.0

    def test_a_gain_for_a_rate_gives_that_rate_and_no_other(self):
        pytest.importorskip("snntorch")
        settings = gain_for_rate.Settings(
            repeats=12, width=400, depth=14, steps=8, rates=(0.04, 0.3), cells=("snnTorch Leaky β=0.5",), points=2**8
        )
        assert [point.rate for point in gain_for_rate.points(settings)] == [0.3]
        measured = gain_for_rate.simulate(settings, 0, HERE)
        assert gain_for_rate.judge(settings, gain_for_rate.theory(settings), measured).p_value > settings.false_alarm
        for control in (gain_for_rate.wrong(settings, 0.3), gain_for_rate.wrong(settings, -0.2)):
            wrong = gain_for_rate.theory(control)
            assert gain_for_rate.judge(settings, wrong, measured).p_value <= settings.false_alarm
        assert "out of reach" in gain_for_rate.reading(settings, np.array([0.3]), measured)

    @pytest.mark.parametrize(("rate", "last"), [(0.2, True), (0.35, False)])
    def test_where_first_steps_die_out_the_last_layer_alone_is_judged(self, rate, last):
        """There the late rate changes over the layers, by a sixth in the claim's network of decay 0.9."""
        settings = gain_for_rate.Settings(
            repeats=2, depth=14, steps=8, rates=(rate,), cells=("snnTorch Leaky β=0.9",), points=2**8
        )
        (point,) = gain_for_rate.points(settings)
        assert point.first == (settings.depth if last else gain_for_rate.FIRST)

    def test_the_paper_s_gain_does_not_pass_for_the_corrected_one(self):
        _, settings = SMALL["corrected_gain"]
        measured = corrected_gain.simulate(replace(settings, rule="preserving"), 0, HERE)
        assert corrected_gain.judge(settings, corrected_gain.theory(settings), measured).p_value <= settings.false_alarm

    def test_expansions_reject_a_bare_spread_and_a_wrong_coefficient(self):
        settings = expansions.Settings(repeats=1500)
        right = expansions.theory(settings)
        measured = expansions.draw(settings, right, 0)
        assert expansions.judge(settings, right, measured).p_value > settings.false_alarm
        for off in ({"amplified": False}, {"spread": 1.1}, {"coefficient": 1.01}):
            wrong = expansions.theory(replace(settings, **off))
            assert expansions.judge(settings, wrong, measured).p_value <= settings.false_alarm
        seen = expansions.simulate(replace(settings, repeats=30), 0, HERE)
        assert expansions.judge(settings, right, seen).p_value > settings.false_alarm

    def test_a_claim_whose_control_passes_is_inconclusive_at_every_budget(self):
        module, settings = SMALL["one_layer_map"]
        budgets = {"quick": replace(settings, repeats=100), "long": replace(settings, repeats=200)}
        blind = replace(module.CLAIM, budgets=budgets, controls=(replace(module.CLAIM.controls[0], theory=module.theory),))
        result = examine(blind, settings)
        assert result.p_value > settings.false_alarm
        assert (result.verdict, result.budget, result.powerful_budget) == ("inconclusive", "own", None)

    @pytest.mark.usefixtures("undrawn")
    def test_an_inconclusive_claim_names_the_smallest_budget_with_power(self, tmp_path, monkeypatch, capsys):
        """Of 20 networks of width 50 a gain 2 % too low is not told from the right one; of 2000 it is."""
        module, _ = SMALL["corrected_gain"]
        sizes = {"quick": 20, "standard": 2000, "long": 4000}
        budgets = {name: module.Settings(repeats=repeats, width=50, depth=12) for name, repeats in sizes.items()}
        small = replace(module.CLAIM, budgets=budgets, controls=module.CLAIM.controls[1:2])
        monkeypatch.setattr("validation.__main__.discover", lambda: {small.name: small})
        assert main(["--budget", "quick", "--out", str(tmp_path)]) == 3
        found = json.loads((tmp_path / "corrected_gain.json").read_text(encoding="utf-8"))
        assert (found["verdict"], found["budget"], found["powerful_budget"]) == ("inconclusive", "quick", "standard")
        assert "inconclusive (--budget standard has the power)" in capsys.readouterr().out
        report = (tmp_path / "REPORT.md").read_text(encoding="utf-8")
        assert "**0 of 1 claims hold, 1 is inconclusive.**" in report
        assert "inconclusive (--budget standard has the power)" in report

    def test_moments_of_varflow_that_are_not_the_distributions_are_rejected(self):
        module, settings = SMALL["chain_narrow"]
        right = module.theory(settings)
        assert right.disagreement < module.EXACT
        measured = module.draw(settings, right, 0)
        assert module.judge(settings, right, measured).p_value > settings.false_alarm
        assert module.judge(settings, replace(right, disagreement=1e-9), measured).p_value == 0


class TestGoodness:
    DISTRIBUTION = np.array([0.6, 0.2, 0.1, 0.06, 0.03, 0.009, 0.0009, 0.0001])

    def test_every_cell_expects_five(self):
        cells = pooled(self.DISTRIBUTION, 200)
        assert np.all(200 * np.bincount(cells, self.DISTRIBUTION) >= 5)
        assert np.all(np.diff(cells) >= 0)

    def test_false_alarms_come_at_the_stated_rate(self):
        fit = Fit(self.DISTRIBUTION, 200, 4000)
        drawn = np.random.default_rng(0).multinomial(200, self.DISTRIBUTION, size=4000)
        alarms = np.mean([fit.p_value(counts) <= 0.05 for counts in drawn])
        assert abs(alarms - 0.05) < 4 * np.sqrt(0.05 * 0.95 * 2 / 4000) + 0.01  # discreteness: at most a cell's worth less

    def test_a_value_outside_the_support_is_impossible(self):
        fit = Fit(self.DISTRIBUTION, 200, 1000)
        counts = np.append(np.rint(200 * self.DISTRIBUTION).astype(int), 0)
        assert fit.p_value(counts) > 0.5
        assert fit.p_value(counts + np.eye(9, dtype=int)[8]) == 1 / 1001


class TestExtrapolation:
    WIDTHS = (100, 200)

    def test_takes_away_what_is_of_order_one_over_n(self):
        measured = (0.3 + 5 / np.array(self.WIDTHS))[None, :, None] + np.array([-0.01, 0.01])
        value, error = extrapolated(measured, self.WIDTHS)
        assert abs(value[0] - 0.3) < 1e-12
        assert abs(error[0] - 0.01 * 5**0.5) < 1e-12

    def test_false_alarms_come_at_the_stated_rate(self):
        theory = Prediction(np.array([0.3, 0.2]), np.zeros(2), np.full((2, 2), 0.01))
        points = ("a", "b")

        def rejects(seed, bias):
            return judged(points, theory, drawn_about(theory, 20, seed), self.WIDTHS, bias).p_value <= 0.05

        alarms = np.mean([rejects(seed, 0.0) for seed in range(2000)])
        assert 0.02 < alarms < 0.05 + 4 * np.sqrt(0.05 * 0.95 / 2000)
        assert not any(rejects(seed, 0.1) for seed in range(100))


class TestPower:
    def test_finds_a_known_smallest_error(self):
        """A unit normal shifted by 100 ε, rejected beyond 3: 99 % of the draws are at 100 ε = 3 + 2.33."""

        def rejected(error, seed):
            return abs(100 * error + np.random.default_rng(seed).standard_normal()) > 3

        assert 0.045 < smallest_error(rejected) < 0.065

    def test_says_so_when_nothing_is_caught(self):
        assert smallest_error(lambda error, seed: False) == float("inf")


def test_the_report_kept_in_the_repository_is_that_of_its_results():
    results = results_of(VALIDATION / "results")
    assert all(result.holds for result in results)
    command = "python -m validation --budget standard --seed 0"
    files = sorted((VALIDATION / "results" / "long").glob("*.json"))
    longer = [Result(**json.loads(path.read_text(encoding="utf-8"))) for path in files]
    assert longer
    assert all(result.holds for result in longer)
    assert page(Examined(results, command, longer=longer)) == (VALIDATION / "REPORT.md").read_text(encoding="utf-8")
    assert asdict(results[0]).keys() >= KEYS
