"""No public number of the memoryless theory is forgotten: it has a reference, or a stated reason why not."""

from __future__ import annotations

import inspect

import pytest

import varflow as vf
from varflow import reference

ELSEWHERE = {  # public name -> its exact counterparts
    "correlation_fixed_points": {"correlation_point"},
    "SpikeChain": {
        "spike_counts",
        "finite_width",
        "quasi_stationary",
        "relaxation_depth",
        "lifetime",
        "stationary",
        "second_eigenvalue",
        "switching_rates",
    },
}
WITHOUT = {  # public name -> why it has no reference
    "depth_scales": "fixed_points, correlation_fixed_points and gradient_gain on a grid",
    "expansion": "an asymptotic series; what it leaves out is tested against the exact chain, order by order",
    "Expansion": "what expansion returns",
    "TemporalExpansion": "what expansion returns over several steps; tested against quadrature over two steps and networks",
    "survival": "networks drawn from the chain of second moments; tested against a table of all states over two steps",
    "escape_by_step": "a reduced chain; step 1 is SpikeChain, and two steps are tested against a table of all states",
    "EscapeByStep": "what escape_by_step returns",
    "escape_asymptotics": "a limit of large width; tested against exact escape rates, which quasi_stationary gives",
    "EscapeAsymptotics": "what escape_asymptotics returns",
    "gain_by_rule": "picks between gain and constants",
    "lookup": "puts gain, fixed_points, critical_gain and corrected_gain together",
    "corrected_gain_table": "corrected_gain, interpolated",
    "catalogue": "published gains, judged by finite_width and mean_field",
    "cost": "spikes of finite_width and mean_field times connections; tested by enumeration and against networks",
    "cheapest": "corrected_gain and largest_threshold, with cost",
    "quantise": "a search by the chain over integer thresholds, tested against all of them",
    "gain_for_rate": "mean_field in time, inverted; tested by the round trip and against simulation",
    "surrogate_width": "inverts gradient_flow; the answer is tested by it, and in one step by gradient_gain",
    "gradient_flow": "in one step gradient_gain; in time tested against autograd through real networks",
    "gain_for_variance": "mean_field in time, inverted; tested by the round trip",
    "temporal_critical_gain": "mean_field in time, inverted; tested against published anchors",
    "IntegerMembrane": "what integer_membrane returns",
    "integer_membrane": "finite sums; tested against all paths in integer arithmetic",
    "temporal_fixed_point": "mean_field in time, iterated until it settles",
}
MORE = {  # references whose theory is not a public function: a distribution's methods, module functions, or no fast one yet
    "bias_cusp",
    "mean_field_in_time",
    "orthant",
    "pdf",
    "saddle_node",
    "sf",
    "two_steps",
}
WIDER = {  # parameters of a reference that the theory has elsewhere (in vf.surrogates), or not at all
    "gradient_gain": {"width", "kinks", "distribution", "bias_std"},
}
OWN_PARAMETERS = {"mean_field", "finite_width", "correlation_map"}  # the last one in terms of z = θ/√V
ROOMS = ("varflow.theory", "varflow.init")


def theory_names():
    return {name for name in vf.__all__ if getattr(getattr(vf, name), "__module__", "").startswith(ROOMS)}


def unaccounted(names):
    return {name for name in names if name not in reference.__all__ and name not in ELSEWHERE and name not in WITHOUT}


def test_every_public_theory_name_has_a_reference_or_a_reason():
    assert len(theory_names()) > 15
    assert unaccounted(theory_names()) == set()


def test_a_forgotten_name_is_seen():
    assert unaccounted(theory_names() | {"median_gain"}) == {"median_gain"}


def test_the_lists_hold_nothing_stale():
    assert set(ELSEWHERE) | set(WITHOUT) <= theory_names()
    assert not set(WITHOUT) & set(reference.__all__)
    functions = {name for name in reference.__all__ if inspect.isfunction(getattr(reference, name))}
    assert set().union(*ELSEWHERE.values()) | MORE <= functions
    assert functions <= theory_names() | MORE | set().union(*ELSEWHERE.values())


IN_TIME = {"neuron", "steps", "alive", "drive", "networks", "seed", "progress"}  # references are of one step


def same_parameters(name):
    fast, exact = (set(inspect.signature(getattr(room, name)).parameters) for room in (vf, reference))
    return fast - exact, exact - fast


@pytest.mark.parametrize("name", sorted(theory_names() & set(reference.__all__) - OWN_PARAMETERS))
def test_a_reference_takes_the_same_parameters(name):
    """Weights are normal there, and a network's own parameters are spelt out; blocks, networks and steps are held to chains."""
    missing, extra = same_parameters(name)
    assert missing <= {"weights", "block", "network"} | IN_TIME
    assert extra == {"digits"} | WIDER.get(name, set())


@pytest.mark.parametrize("name", sorted(reference.__all__))
def test_every_reference_is_described_with_its_parameters(name):
    value = getattr(reference, name)
    text = inspect.getdoc(value)
    assert text
    assert not text.startswith(f"{name}(")
    if inspect.isfunction(value):
        assert ">>>" in text
        assert name == "pdf" or all(parameter in text for parameter in inspect.signature(value).parameters)


@pytest.mark.parametrize("name", sorted(name for name in reference.__all__ if inspect.isfunction(getattr(reference, name))))
def test_every_reference_takes_digits(name):
    assert "digits" in inspect.signature(getattr(reference, name)).parameters
