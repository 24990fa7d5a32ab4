"""The tools for other people's tests: strategies keep their promises, properties pass what is right and nothing else."""

from __future__ import annotations

import math
from random import Random

import numpy as np
import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample
from scipy.special import bdtr, bdtrc
from wording import NO_COUNT, NOT_SINGLE, NOT_WHOLE, REJECTED

import varflow as vf
from varflow import DomainError, testing
from varflow.testing.theories import judged

torch = pytest.importorskip("torch")

PAPER = vf.gain(threshold=1.0)


def fan_in(weight):
    return weight[0].numel()


def normal(gain):
    return lambda weight: weight.normal_(0, gain / fan_in(weight) ** 0.5)


def uniform(gain):
    return lambda weight: weight.uniform_(-1, 1).mul_(gain * (3 / fan_in(weight)) ** 0.5)


def sign(gain):
    """Returns its weights; what it was given stays unfilled."""
    return lambda weight: (2.0 * torch.randint(0, 2, weight.shape) - 1) * (gain / fan_in(weight) ** 0.5)


def lognormal(gain):
    def fill(weight):
        centred = torch.randn(weight.shape).exp_() - math.exp(0.5)
        return centred * (gain / math.sqrt(math.e * (math.e - 1) * fan_in(weight)))

    return fill


def orthogonal(gain):
    """Dependent weights: the rows of a random rotation."""
    return lambda weight: torch.nn.init.orthogonal_(weight, gain=gain)


def wrong_fan(gain):
    return lambda weight: weight.normal_(0, gain / weight.shape[0] ** 0.5)


RIGHT = pytest.mark.parametrize(
    "distribution", [normal, uniform, sign, lognormal, orthogonal], ids=lambda distribution: distribution.__name__
)


def simplest(strategy, condition=lambda value: True):
    return find(strategy, condition, settings=settings(database=None, max_examples=200), random=Random(0))


class TestStrategies:
    @given(testing.thresholds(), testing.thresholds(positive=False), testing.thresholds(-2, -1, positive=False))
    def test_thresholds_keep_to_their_domain(self, positive, any_sign, negative):
        assert 0.05 <= positive <= 3
        assert -3 <= any_sign <= 3
        assert any_sign == 0 or abs(any_sign) >= 1e-100
        assert -2 <= negative <= -1
        vf.Neuron(any_sign)

    @given(st.data(), testing.thresholds(positive=False), testing.distributions())
    @settings(deadline=None, max_examples=15)
    def test_a_living_gain_lives_and_any_gain_is_a_gain(self, data, threshold, distribution):
        setting = {"threshold": threshold, "distribution": distribution}
        gain = data.draw(testing.gains(**setting))
        assert gain > vf.critical_gain(**setting)
        assert vf.stable_variance(gain=gain, **setting) != 0.0
        assert data.draw(testing.gains(living=False, **setting)) >= 0.1
        assert 0.5 <= data.draw(testing.gains(0.5, 0.75, living=False, **setting)) <= 0.75

    @given(testing.distributions(), testing.distributions(heavy_tails=False))
    @settings(max_examples=30)
    def test_distributions_are_ones_and_light_ones_have_light_tails(self, distribution, light):
        assert vf.distribution(distribution) is distribution
        assert light.name in {"normal", "uniform", "laplace", "logistic"}

    @settings(max_examples=25)
    @given(testing.neurons(), testing.neurons(memoryless=False), testing.neurons(st.just(-1.0), memoryless=False))
    def test_neurons_remember_nothing_unless_asked_to(self, memoryless, any_neuron, negative):
        assert memoryless.memoryless
        assert any_neuron.threshold > 0
        assert negative.threshold == -1

    @given(testing.networks(max_width=12, max_depth=4, max_bias_std=0.5, equal_layers=False))
    @settings(deadline=None, max_examples=30)
    def test_networks_fit_their_bounds_and_have_an_exact_distribution(self, network):
        assert 1 <= network.widths.min() <= network.widths.max() <= 12
        assert network.depth <= 4
        assert network.bias_std <= 0.5
        assert network.gains[0] * network.neuron.input_scale > vf.critical_gain(threshold=network.neuron.threshold)
        survival = vf.finite_width(network).survival
        assert np.all((survival >= 0) & (survival <= 1))
        if network.silence_is_absorbing:
            assert np.all(np.diff(survival) <= 1e-12)

    @settings(max_examples=25)
    @given(testing.networks(weights=st.sampled_from(["sign", "uniform"]), max_steps=5, memoryless=False))
    def test_networks_in_time_take_weights_and_steps(self, network):
        assert network.weights in {"sign", "uniform"}
        assert 1 <= network.steps <= 5

    @settings(max_examples=30)
    @given(testing.drives(), testing.drives(steps=3, width=4, given=True))
    def test_drives_fit_their_networks_and_have_positive_covariances(self, timeless, drive):
        assert timeless.steps is None
        network = vf.Network(width=4, depth=2, gain=2.0, steps=3, drive=drive)
        assert network.drive is drive
        if not isinstance(drive, vf.drives.Given):
            covariance = drive.covariance(3)
            assert covariance.shape == (drive.n_inputs, 3, 3)
            assert np.linalg.eigvalsh(covariance).min() > -1e-12 * max(1.0, covariance.max())

    @settings(max_examples=20, deadline=None)
    @given(testing.networks(testing.neurons(max_delay=2), min_steps=2, max_steps=4, max_width=5, max_depth=3, any_drive=True))
    def test_networks_in_time_have_a_theory(self, network):
        assert 2 <= network.steps <= 4
        assert network.neuron.delay <= 2
        profile = vf.mean_field(network)
        assert profile.variance.shape == (network.depth, network.steps)
        assert np.all((profile.firing_rate >= 0) & (profile.firing_rate <= 1))

    def test_what_should_be_reached_is_reached(self):
        """A strategy that never left its simplest value would pass everything above."""
        reached = {
            "low": (testing.thresholds(), lambda x: x < 0.3),
            "high": (testing.thresholds(), lambda x: x > 2),
            "negative": (testing.thresholds(positive=False), lambda x: x < -1),
            "zero": (testing.thresholds(positive=False), lambda x: x == 0),
            "dead": (testing.gains(living=False), lambda g: g < 2),
            "narrow": (testing.gains(), lambda g: g < 1.2 * PAPER),
            "student": (testing.distributions(), lambda distribution: distribution.name.startswith("student")),
            "lax": (testing.neurons(), lambda neuron: not neuron.strict),
            "gate": (testing.neurons(memoryless=False), lambda neuron: neuron.reset == "gate"),
            "multi": (testing.neurons(memoryless=False), lambda neuron: neuron.reset == "multi_spike"),
            "ragged": (testing.networks(equal_layers=False), lambda network: len(set(network.widths)) > 2),
            "biased": (testing.networks(max_bias_std=1.0), lambda network: network.bias_std > 0.5),
            "late": (testing.neurons(max_delay=3), lambda neuron: neuron.delay == 3),
            "white": (testing.drives(), lambda drive: isinstance(drive, vf.drives.White)),
            "trains": (testing.drives(), lambda drive: isinstance(drive, vf.drives.SpikeTrains) and drive.n_inputs == 3),
            "moving": (testing.drives(steps=4), lambda drive: drive.steps == 4),
            "own": (testing.drives(steps=4, width=5, given=True), lambda drive: drive.width == 5),
            "driven": (testing.networks(any_drive=True), lambda network: network.drive.n_inputs == 2),
        }
        search = settings(phases=[Phase.generate], database=None, max_examples=2000)
        for strategy, wanted in reached.values():
            assert wanted(find(strategy, wanted, settings=search, random=Random(0)))

    def test_examples_shrink_to_simple_ones(self):
        assert simplest(testing.thresholds(positive=False)) == 1.0
        assert simplest(testing.thresholds(), lambda x: x != 1.0) == 2.0
        assert simplest(testing.thresholds(0.1, 0.6)) == 0.5
        assert simplest(testing.gains()) == 3.0
        assert simplest(testing.distributions()).name == "normal"
        assert simplest(testing.neurons(memoryless=False)) == vf.Neuron(1.0)
        assert repr(simplest(testing.networks())) == "Network(width=1, depth=1, gain=3, neuron=Neuron(threshold=1))"
        assert repr(simplest(testing.networks(), lambda network: network.depth * network.widths[0] >= 12)) in {
            f"Network(width={n}, depth={L}, gain=3, neuron=Neuron(threshold=1))"
            for n, L in ((12, 1), (6, 2), (4, 3), (3, 4), (2, 6))
        }

    @pytest.mark.parametrize(
        ("strategy", "argument", "value", "rule"),
        [
            (testing.thresholds, "min_value", 0.0, "must be positive"),
            (testing.thresholds, "min_value", math.nan, "must be finite"),
            (testing.thresholds, "max_value", -1.0, "must be positive"),
            (testing.thresholds, "positive", 1, "must be True or False"),
            (testing.gains, "min_value", -1.0, "must be positive"),
            (testing.gains, "max_value", 2.0, "must exceed the critical gain"),
            (testing.gains, "threshold", math.inf, "must be finite"),
            (testing.gains, "distribution", "cauchy", "is unknown"),
            (testing.gains, "living", None, "must be True or False"),
            (testing.distributions, "heavy_tails", "no", "must be True or False"),
            (testing.neurons, "memoryless", 0, "must be True or False"),
            (testing.networks, "max_width", 0, NOT_WHOLE),
            (testing.networks, "min_depth", 9, "is below min_depth=9"),
            (testing.networks, "max_bias_std", -1.0, "must not be negative"),
            (testing.networks, "max_steps", 1.5, NOT_WHOLE),
            (testing.networks, "any_drive", 1, "must be True or False"),
            (testing.networks, "min_steps", 2, "is below min_steps=2"),
            (testing.neurons, "max_delay", -1, "must be a whole number, at least 0"),
            (testing.drives, "steps", 0, NO_COUNT),
            (testing.drives, "given", True, "steps="),
            (testing.networks, "equal_layers", 1, "must be True or False"),
            (testing.networks, "living", 1, "must be True or False"),
        ],
    )
    def test_bad_bounds_are_refused_at_once(self, strategy, argument, value, rule):
        with pytest.raises(DomainError, match=rule):
            strategy(**{argument: value})

    def test_missing_bounds_give_way_to_given_ones(self):
        assert simplest(testing.thresholds(min_value=7)) == 7.0
        assert 0 < simplest(testing.thresholds(max_value=0.01)) <= 0.01
        with pytest.raises(NoSuchExample):
            simplest(testing.thresholds(min_value=7), lambda x: x > 7)


class TestGain:
    @RIGHT
    def test_accepts_any_distribution_of_this_gain(self, distribution):
        testing.assert_gain(distribution(PAPER), PAPER, shape=(32, 32), repeats=40)  # square: an orthogonal matrix has it there

    @RIGHT
    @pytest.mark.parametrize("sign_of_error", [-1, 1])
    def test_rejects_a_gain_slightly_off(self, distribution, sign_of_error):
        error = 0.03 if distribution is lognormal else 0.01  # its fourth moment is 114
        with pytest.raises(AssertionError, match=r"the gain is 2\.\d+ ± .*, expected 2\.51057 \(z = -?\d"):
            testing.assert_gain(
                distribution((1 + sign_of_error * error) * PAPER),
                PAPER,
                **({"shape": (32, 32), "repeats": 40} if distribution is orthogonal else {}),
            )

    def test_counts_a_kernel_into_the_fan_and_a_mean_out_of_the_deviation(self):
        testing.assert_gain(torch.nn.init.kaiming_normal_, math.sqrt(2), shape=(32, 8, 3, 3))
        testing.assert_gain(lambda weight: weight.normal_(1.0, 2 / fan_in(weight) ** 0.5), 2.0)
        with pytest.raises(AssertionError, match="the gain is"):
            testing.assert_gain(wrong_fan(2.0), 2.0)
        with pytest.raises(AssertionError, match=r"the gain is 0 ± 0, .*z = -inf"):
            testing.assert_gain(lambda weight: weight.zero_(), 2.0)

    def test_a_scale_shared_by_a_whole_matrix_is_in_the_error(self):
        """Entries that were taken for independent would give an error far too small."""

        def fill(weight):  # E[scale²] = 1
            weight.normal_(0, float(1 + 0.3 * (2 * torch.randint(0, 2, ()) - 1)) / math.sqrt(1.09 * fan_in(weight)))

        for seed in range(10):
            testing.assert_gain(fill, 1.0, shape=(64, 64), repeats=40, seed=seed)


class TestVariance:
    @pytest.mark.parametrize("distribution", [normal, uniform, sign, lognormal], ids=lambda distribution: distribution.__name__)
    @pytest.mark.parametrize("threshold", [-1.0, 0.5, 2.0])
    def test_accepts_the_right_gain_of_any_distribution(self, distribution, threshold):
        testing.assert_preserves_variance(distribution(vf.gain(threshold=threshold)), threshold=threshold, repeats=20)

    @pytest.mark.parametrize("distribution", [normal, uniform, sign, lognormal], ids=lambda distribution: distribution.__name__)
    @pytest.mark.parametrize("factor", [0.95, 1.05])
    def test_rejects_five_per_cent(self, distribution, factor):
        with pytest.raises(AssertionError, match="not preserved"):
            testing.assert_preserves_variance(distribution(factor * PAPER), threshold=1.0)

    def test_rejects_kaiming_and_says_what_would_do(self):
        pattern = r"preserved: 0\.31\d* ± \S+, expected 1 \(z = -\d+; 64 tensors .*\nThe gain is about 1\.4\d*; 2\.51057 would"
        with pytest.raises(AssertionError, match=pattern):
            testing.assert_preserves_variance(torch.nn.init.kaiming_normal_, threshold=1.0)
        testing.assert_preserves_variance(torch.nn.init.kaiming_normal_, threshold=0.0)

    def test_rejects_the_wrong_fan(self):
        with pytest.raises(AssertionError, match="not preserved"):
            testing.assert_preserves_variance(wrong_fan(PAPER), threshold=1.0)
        testing.assert_preserves_variance(wrong_fan(PAPER), threshold=1.0, shape=(128, 128))  # where it is the same

    def test_dependent_weights_are_judged_by_what_they_do(self):
        testing.assert_preserves_variance(orthogonal(PAPER), threshold=1.0, shape=(32, 32), repeats=40)

        def zero_sum(weight):  # each row sums to zero, which takes the variance of the mean spike away
            weight.normal_(0, PAPER / fan_in(weight) ** 0.5)
            weight -= weight.mean(1, keepdim=True)

        with pytest.raises(AssertionError, match=r"preserved: 0\.8[34]"):  # 1 - p at large fan-in
            testing.assert_preserves_variance(zero_sum, threshold=1.0)

    @pytest.mark.parametrize(
        "setting",
        [
            {"variance": 4.0, "threshold": 1.5},
            {"distribution": "laplace", "threshold": 1.0},
            {"bias_std": 0.6, "threshold": 1.0},
            {"mean_gain": 0.5, "threshold": 1.0},
            {"shape": (32, 16, 3, 3), "threshold": 0.7},
        ],
        ids=str,
    )
    def test_every_option_counts(self, setting):
        theory = {name: value for name, value in setting.items() if name != "shape"}
        gain, mean_gain = vf.gain(**theory), setting.get("mean_gain", 0.0)
        shifted = lambda factor: lambda w: w.normal_(mean_gain / fan_in(w), factor * gain / fan_in(w) ** 0.5)  # noqa: E731
        testing.assert_preserves_variance(shifted(1.0), **setting)
        with pytest.raises(AssertionError) as failed:
            testing.assert_preserves_variance(shifted(1.05), **setting)
        call = str(failed.value).rpartition(": ")[2]
        assert eval(call, {"vf": vf}) == pytest.approx(gain, rel=1e-12)  # the gain it names is the right one

    def test_the_statistic_is_unbiased_at_small_width(self):
        """A bias of order 1/width would show in a layer of three neurons."""
        testing.assert_preserves_variance(sign(PAPER), threshold=1.0, shape=(2, 3), repeats=2500)
        with pytest.raises(AssertionError, match="not preserved"):
            testing.assert_preserves_variance(sign(1.15 * PAPER), threshold=1.0, shape=(2, 3), repeats=2500)


class TestSurvival:
    def test_accepts_what_lives_and_rejects_what_dies(self):
        testing.assert_survives(normal(vf.gain(threshold=0.5)), threshold=0.5)
        with pytest.raises(AssertionError, match=r"to layer 20 in 0 of 100 .*\n.*silent by layer \d\. .*corrected_gain"):
            testing.assert_survives(torch.nn.init.kaiming_normal_, threshold=1.0)

    def test_the_distribution_of_the_weights_decides(self):
        """At the paper's gain and width 60 uniform weights carry more than 40 % of networks to layer 10, sign ones fewer."""
        setting = {"threshold": 1.0, "width": 60, "depth": 10, "share": 0.4}
        for distribution in (sign, uniform):
            network = vf.Network(width=60, depth=10, gain=PAPER, weights=distribution.__name__)
            assert (vf.finite_width(network).survival[-1] > 0.4) == (distribution is uniform)
        testing.assert_survives(uniform(PAPER), **setting)
        with pytest.raises(AssertionError, match="activity survives"):
            testing.assert_survives(sign(PAPER), **setting)

    def test_the_number_of_survivors_is_that_of_the_exact_distribution(self):
        """The property passes up to the survival that the count supports, and not beyond."""
        exact = vf.finite_width(vf.Network(width=50, depth=15, gain=PAPER)).survival[-1]
        setting = {"threshold": 1.0, "width": 50, "depth": 15, "repeats": 200, "false_alarm": 1e-3}
        testing.assert_survives(normal(PAPER), share=float(exact), **setting)
        with pytest.raises(AssertionError, match="activity survives"):
            testing.assert_survives(normal(PAPER), share=float(exact) + 0.2, **setting)

    def test_the_power_stated_is_the_binomial_s(self):
        assert bdtr(79, 100, 0.9) < 1e-3 < bdtr(80, 100, 0.9)
        assert 0.43 < bdtr(79, 100, 0.8) < 0.45
        assert bdtr(79, 100, 0.6) > 0.9999


class TestTheory:
    NETWORK = vf.Network(width=[40, 60, 40, 60, 40], depth=5, gain=2.2, neuron=vf.Neuron(0.8, input_scale=1.25), bias_std=0.2)

    def test_accepts_its_own_networks_and_rejects_others(self):
        testing.assert_agrees_with_theory(normal(2.2), self.NETWORK)
        for fill in (normal(0.85 * 2.2), wrong_fan(2.2)):
            with pytest.raises(AssertionError, match=REJECTED):
                testing.assert_agrees_with_theory(fill, self.NETWORK, repeats=40)

    def test_tells_weight_distributions_apart_where_they_matter(self):
        network = vf.Network(width=50, depth=20, gain=PAPER, weights="sign")
        testing.assert_agrees_with_theory(sign(PAPER), network, repeats=30, false_alarm=0.01)
        with pytest.raises(AssertionError, match=REJECTED):
            testing.assert_agrees_with_theory(normal(PAPER), network, repeats=30, false_alarm=0.01)


class TestVarianceMap:
    def test_accepts_the_map_and_rejects_a_wrong_one(self):
        right = lambda V: vf.variance_map(V, threshold=0.8, gain=2.0, bias_std=0.3)  # noqa: E731
        testing.assert_variance_map(right, gain=2.0, threshold=0.8, bias_std=0.3)
        faults = {
            "1 %": lambda V: 1.01 * right(V),
            "bias": lambda V: right(V) - 0.09,
            "E[u | u > θ] for E[u 1(u > θ)]": lambda V: (
                0.09 + 4.0 * 2 * float(vf.distribution("normal").sf(0.8 / math.sqrt(V)))
            ),
            "only at V = θ²": lambda V: 0.09 + 4.0 * float(vf.distribution("normal").sf(1.0)),
            "nan": lambda V: math.nan,
        }
        for fault in faults.values():
            with pytest.raises(AssertionError, match="is wrong at V = "):
                testing.assert_variance_map(fault, gain=2.0, threshold=0.8, bias_std=0.3)

    def test_takes_other_distributions_and_neurons(self):
        laplace = lambda generator, size: generator.laplace(scale=math.sqrt(0.5), size=size)  # noqa: E731
        distribution = lambda name: lambda V: vf.variance_map(V, threshold=1.0, gain=2.0, distribution=name)  # noqa: E731
        testing.assert_variance_map(distribution("laplace"), gain=2.0, sampler=laplace)
        with pytest.raises(AssertionError, match="is wrong"):
            testing.assert_variance_map(distribution("normal"), gain=2.0, sampler=laplace)
        relu = lambda u: np.maximum(u, 0)  # noqa: E731
        testing.assert_variance_map(lambda V: V, gain=math.sqrt(2), activation=relu, variances=[0.1, 10.0])  # Kaiming
        with pytest.raises(AssertionError, match="is wrong"):
            testing.assert_variance_map(lambda V: V, gain=1.43, activation=relu)

    def test_needs_neurons_that_fire(self):
        with pytest.raises(DomainError, match=r"variances=0.01 leaves fewer than 20"):
            testing.assert_variance_map(lambda V: 0.0, gain=2.0, variances=[0.01])


class TestManners:
    FILL = staticmethod(normal(PAPER))
    CALLS = (
        lambda fill: testing.assert_gain(fill, PAPER),
        lambda fill: testing.assert_preserves_variance(fill, threshold=1.0),
        lambda fill: testing.assert_survives(fill, threshold=0.5, depth=3, width=50),
        lambda fill: testing.assert_agrees_with_theory(fill, vf.Network(width=50, depth=3, gain=PAPER)),
    )

    @pytest.mark.parametrize("call", CALLS)
    def test_the_global_generator_is_left_as_it_was_also_by_a_failure(self, call):
        torch.manual_seed(7)
        expected = torch.rand(4)
        torch.manual_seed(7)
        call(self.FILL)
        with pytest.raises(AssertionError):
            call(lambda weight: weight.normal_(0, 1e-3))
        assert torch.equal(torch.rand(4), expected)

    def test_a_seed_decides_and_another_draws_anew(self):
        def message(seed):
            with pytest.raises(AssertionError) as failed:
                testing.assert_preserves_variance(normal(1.0), threshold=1.0, seed=seed)
            return str(failed.value)

        torch.manual_seed(1)
        first = message(3)
        torch.manual_seed(2)
        assert message(3) == first
        assert message(4) != first

    @pytest.mark.parametrize("call", CALLS)
    def test_what_is_not_filled_or_not_finite_is_seen(self, call):
        with pytest.raises(AssertionError, match="weights not finite"):
            call(lambda weight: None)
        with pytest.raises(AssertionError, match="leaves 1 of"):
            call(lambda weight: self.FILL(weight)[0, 0].fill_(math.inf) and None)

    @pytest.mark.parametrize("call", CALLS)
    def test_parameters_of_a_module_may_be_returned_and_nonsense_may_not(self, call):
        def module(weight):
            layer = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False)
            self.FILL(layer.weight)
            return layer.weight

        call(module)
        for wrong in (lambda weight: weight.T[:-1], lambda weight: 3.0):
            with pytest.raises(DomainError, match="must fill the tensor in place"):
                call(wrong)
        with pytest.raises(DomainError, match="fill='normal' must be a function"):
            call("normal")

    @pytest.mark.parametrize(
        ("call", "option", "value", "rule"),
        [
            (testing.assert_gain, "gain", -1.0, "must be positive"),
            (testing.assert_gain, "shape", 10, "must be"),
            (testing.assert_gain, "shape", (10,), "must be"),
            (testing.assert_gain, "shape", (1, 10), "two outputs"),
            (testing.assert_gain, "shape", (4, 0), "whole number"),
            (testing.assert_gain, "repeats", 5, "at least 20"),
            (testing.assert_gain, "seed", -1, "at least 0"),
            (testing.assert_gain, "false_alarm", 0.0, "strictly between"),
            (testing.assert_preserves_variance, "threshold", math.nan, "must be finite"),
            (testing.assert_preserves_variance, "threshold", [1.0, 2.0], NOT_SINGLE),
            (testing.assert_preserves_variance, "threshold", 5.0, "too few"),
            (testing.assert_preserves_variance, "variance", 0.0, "must be positive"),
            (testing.assert_preserves_variance, "bias_std", 2.0, "must exceed bias_std"),
            (testing.assert_preserves_variance, "distribution", "cauchy", "is unknown"),
            (testing.assert_preserves_variance, "repeats", 19, "at least 20"),
            (testing.assert_preserves_variance, "seed", -2, "at least 0"),
            (testing.assert_survives, "share", 1.0, "strictly between"),
            (testing.assert_survives, "repeats", 2, "too few"),
            (testing.assert_survives, "width", 0, "whole number"),
            (testing.assert_agrees_with_theory, "network", 3, "must be vf.Network"),
            (testing.assert_agrees_with_theory, "repeats", 1, "at least 2"),
            (testing.assert_agrees_with_theory, "false_alarm", 2.0, "strictly between"),
        ],
    )
    def test_bad_input_is_refused(self, call, option, value, rule):
        need = {"assert_gain": {"gain": 1.0}, "assert_agrees_with_theory": {"network": vf.Network(width=9, depth=2, gain=1.0)}}
        usual = need.get(call.__name__, {"threshold": 1.0})
        with pytest.raises(DomainError, match=rule):
            call(self.FILL, **usual | {option: value})

    def test_a_drive_of_inputs_is_refused(self):
        network = vf.Network(width=9, depth=2, gain=1.0, drive=vf.drives.inputs([[1.0, 2.0]]))
        with pytest.raises(DomainError, match="must be driven by"):
            testing.assert_agrees_with_theory(self.FILL, network)


def believable(alarms, trials, rate):
    """Whether so many false alarms go with the rate: both tails of the exact binomial above 1e-4."""
    return bdtr(alarms, trials, rate) > 1e-4 and (alarms == 0 or bdtrc(alarms - 1, trials, rate) > 1e-4)


def alarms(call, seeds):
    found = 0
    for seed in seeds:
        try:
            call(seed)
        except AssertionError:
            found += 1
    return found


class TestFalseAlarms:
    """200 seeds at a rate of 5 %: 10 expected, 1 to 23 believable."""

    SEEDS = range(200)

    def test_of_the_variance(self):
        def call(seed):
            testing.assert_preserves_variance(
                sign(PAPER), threshold=1.0, shape=(64, 16), repeats=20, seed=seed, false_alarm=0.05
            )

        assert believable(alarms(call, self.SEEDS), 200, 0.05)

    @pytest.mark.slow
    @pytest.mark.parametrize("shape", [(4, 16), (32, 8), (128, 256)], ids=str)
    @pytest.mark.parametrize("distribution", [normal, uniform, sign, lognormal], ids=lambda distribution: distribution.__name__)
    def test_of_the_variance_for_every_distribution_and_shape(self, distribution, shape):
        def call(seed):
            testing.assert_preserves_variance(distribution(PAPER), threshold=1.0, shape=shape, seed=seed, false_alarm=0.05)

        assert believable(alarms(call, self.SEEDS), 200, 0.05)

    def test_of_the_gain(self):
        call = lambda seed: testing.assert_gain(uniform(1.0), 1.0, shape=(64, 16), repeats=20, seed=seed, false_alarm=0.05)  # noqa: E731
        assert believable(alarms(call, self.SEEDS), 200, 0.05)
        exact = lambda seed: testing.assert_gain(sign(1.0), 1.0, shape=(64, 16), repeats=20, seed=seed, false_alarm=0.05)  # noqa: E731
        assert alarms(exact, range(50)) <= 7  # its second moment is certain: only the allowance decides

    def test_of_the_map(self, monkeypatch):
        monkeypatch.setattr("varflow.testing.theories.POTENTIALS", 2**12)

        def call(seed):
            testing.assert_variance_map(
                lambda V: vf.variance_map(V, threshold=1.0, gain=2.0),
                gain=2.0,
                variances=[1.0],
                repeats=10,
                seed=seed,
                false_alarm=0.05,
            )

        assert believable(alarms(call, range(100)), 100, 0.05)

    @pytest.mark.slow
    def test_of_survival_at_the_stated_share(self):
        exact = float(vf.finite_width(vf.Network(width=20, depth=5, gain=PAPER)).survival[-1])
        setting = {"threshold": 1.0, "width": 20, "depth": 5, "share": exact, "false_alarm": 0.05}
        call = lambda seed: testing.assert_survives(normal(PAPER), seed=seed, **setting)  # noqa: E731
        assert bdtrc(alarms(call, self.SEEDS) - 1, 200, 0.05) > 1e-4  # at most the rate: the count is discrete

    def test_a_wrong_rate_would_be_seen(self):
        assert not believable(0, 200, 0.05)
        assert not believable(30, 200, 0.05)
        assert alarms(lambda seed: testing.assert_gain(normal(1.005), 1.0, seed=seed), range(5)) == 5

    def test_the_judgement_knows_what_it_cannot_know(self):
        assert not judged(np.full(20, np.nan), 1.0, 0.05).passed
        assert judged(np.ones(20), 1.0, 0.05).passed
        assert judged(np.ones(20), 1.0, 0.05).z == 0
        assert judged(np.ones(20), 2.0, 0.05).z == -math.inf
        assert judged(np.ones(20), 1.5, 0.05, bias=lambda t: 0.6).passed
