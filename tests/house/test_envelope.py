"""Envelopes of p-values: the band, and statistics that are not uniform or leave out dependence are found."""

import json
from dataclasses import asdict, dataclass, replace

import numpy as np
import pytest

pytest.importorskip("torch")

from scipy.special import ndtr
from scipy.stats import binom, binomtest

from validation.claim import Claim, Judgement
from validation.dependence import compared
from validation.envelope import Envelope, enveloped, place, read
from validation.sidak import sidak
from validation.uniformity import LEVELS, band, inside

POINTS = ("a", "b", "c", "d", "e", "f")


@dataclass(frozen=True, slots=True)
class Settings:
    """Normal estimates with a common part of variance ``shared``, in draws and in simulations."""

    drawn: float = 0.0
    simulated: float = 0.0
    error: float = 1.0  # standard error in units of the one that the statistic assumes
    false_alarm: float = 0.01


def estimates(shared, stream, seed):
    rng = np.random.default_rng([stream, seed])
    return np.sqrt(shared) * rng.standard_normal() + np.sqrt(1 - shared) * rng.standard_normal(len(POINTS))


def judge(settings, theory, measured):
    smallest = 2 * ndtr(-np.abs(measured).max())
    return Judgement(sidak(smallest, len(POINTS)), POINTS, theory, measured, np.ones(len(POINTS)), measured)


def judge_by_their_sum(settings, theory, measured):
    """A statistic that holds for independent points only."""
    z = measured.sum() / np.sqrt(len(POINTS))
    return Judgement(float(2 * ndtr(-abs(z))), POINTS, theory, measured, np.ones(len(POINTS)), measured)


def unused(*_):
    raise AssertionError


CLAIM = Claim(
    name="toy",
    statement="Estimates are normal.",
    source="here",
    quantity="estimate",
    budgets={"quick": Settings()},
    theory=lambda settings: np.zeros(len(POINTS)),
    simulate=lambda settings, seed, work: estimates(settings.simulated, 1, seed),
    judge=judge,
    errors=unused,
    draw=lambda settings, theory, seed: settings.error * estimates(settings.drawn, 2, seed),
    reading=unused,
)


def with_settings(**changed):
    return replace(CLAIM, cheap=Settings(**changed))


class TestBand:
    def test_holds_as_often_as_stated(self):
        """Exact recursion against drawn uniform numbers."""
        rng, draws, trials = np.random.default_rng(0), 300, 4000
        lower, upper = band(draws, 0.9)
        values = np.sort(rng.random((trials, draws)), axis=1)
        counts = np.array([np.searchsorted(row, LEVELS, side="right") for row in values])
        held = int(np.all((counts >= lower) & (counts <= upper), axis=1).sum())
        assert binomtest(held, trials, inside(draws, lower, upper)).pvalue > 1e-3
        assert binomtest(held, trials, 0.93).pvalue < 1e-3

    def test_of_one_level_is_the_binomial_interval(self, monkeypatch):
        monkeypatch.setattr("validation.uniformity.LEVELS", np.array([0.1]))
        assert abs(inside(50, np.array([2]), np.array([8])) - np.diff(binom.cdf([1, 8], 50, 0.1))[0]) < 1e-12

    def test_p_values_that_are_not_uniform_leave_it(self):
        p_values = np.random.default_rng(1).random(1000)
        for changed, found in ((p_values, 0), (p_values**1.3, 1), (p_values**0.75, -1)):
            assert place([int((changed <= level).sum()) for level in LEVELS], 1000) == found


class TestSidak:
    def test_is_exact_for_independent_points(self):
        smallest = np.random.default_rng(2).random((4000, 5)).min(axis=1)
        rejected = sum(sidak(p, 5) <= 0.1 for p in smallest)
        assert binomtest(rejected, 4000, 0.1).pvalue > 1e-3
        assert binomtest(sum(sidak(p, 3) <= 0.1 for p in smallest), 4000, 0.1).pvalue < 1e-3

    def test_ends(self):
        assert (sidak(1.0, 3), sidak(0.0, 3)) == (1.0, 0.0)
        assert abs(sidak(1e-20, 4) / 4e-20 - 1) < 1e-12


class TestEnvelope:
    def test_a_sound_claim(self):
        found = enveloped(CLAIM, redraws=1000, seeds=100)
        assert (found.problems, found.calibration, found.depends) == ([], "uniform", False)
        assert found.drawn[3] == found.false_alarms  # at 0.01
        assert binomtest(found.false_alarms, 1000, 0.01).pvalue > 1e-3

    def test_draws_that_leave_out_dependence_are_found_unless_the_claim_says_so(self):
        claim = with_settings(simulated=0.4)
        found = enveloped(claim, redraws=400, seeds=100)
        assert found.depends
        assert found.problems[-1] == "points depend on each other in simulations as they do not in draws"
        assert found.dependence is not None
        assert abs(found.dependence["simulated"] - 0.4) < 0.1 > found.dependence["drawn"]
        assert not enveloped(replace(claim, dependent="points share a part"), redraws=400, seeds=100).problems

    def test_draws_with_the_same_dependence_pass(self):
        assert not enveloped(with_settings(simulated=0.4, drawn=0.4), redraws=400, seeds=100).depends

    def test_a_statistic_for_independent_points_is_found_where_they_are_not(self):
        claim = replace(with_settings(simulated=0.4, drawn=0.4), judge=judge_by_their_sum)
        found = enveloped(claim, redraws=400, seeds=100)
        assert found.calibration == "rejects too often"
        assert len(found.problems) == 2  # drawn and simulated

    @pytest.mark.parametrize(("error", "found"), [(1.15, "rejects too often"), (0.85, "conservative")])
    def test_a_wrong_standard_error_is_found(self, error, found):
        envelope = enveloped(with_settings(error=error), redraws=1000, seeds=20)
        assert envelope.calibration == found
        assert envelope.problems
        said = replace(with_settings(error=error), conservative="errors are rounded up")
        assert bool(enveloped(said, redraws=1000, seeds=20).problems) == (error > 1)

    def test_is_read_back_from_its_file(self, tmp_path):
        found = enveloped(CLAIM, redraws=50, seeds=20)
        (tmp_path / "envelope").mkdir()
        (tmp_path / "envelope" / "toy.json").write_text(json.dumps(asdict(found)), encoding="utf-8")
        assert asdict(read(tmp_path)["toy"]) == asdict(Envelope(**json.loads(json.dumps(asdict(found)))))


class TestDependence:
    def test_false_alarms_come_at_the_stated_rate(self, monkeypatch):
        monkeypatch.setattr("validation.dependence.PERMUTATIONS", 99)
        rng = np.random.default_rng(3)
        alarms = 0
        for _ in range(60):
            some, more = rng.standard_normal((40, 4)), np.exp(rng.standard_normal((80, 4)))
            found = compared(POINTS[:4], some, more)
            assert found is not None
            alarms += found.p_value <= 0.1
        assert binomtest(alarms, 60, 0.1).pvalue > 1e-3

    def test_points_that_do_not_vary_are_left_out(self):
        rng = np.random.default_rng(4)
        sample = rng.standard_normal((50, 3)) * [1, 0, 1]
        found = compared(POINTS[:3], sample, rng.standard_normal((50, 3)))
        assert found is not None
        assert set(found.points) == {"a", "c"}
        assert compared(POINTS[:2], sample[:, :2], sample[:, :2]) is None
