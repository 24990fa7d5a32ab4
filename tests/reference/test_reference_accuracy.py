"""The bar of docs/accuracy.md on a smaller random set, and that an error just above it would be seen."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import varflow as vf

PATH = Path(__file__).parents[2] / "docs" / "accuracy.py"
SPEC = importlib.util.spec_from_file_location("accuracy", PATH)
assert SPEC is not None
assert SPEC.loader is not None
accuracy = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(accuracy)


def worst_errors(distribution, theory, *, bias, draws=10):
    found = accuracy.at_fixed_points(distribution, np.random.default_rng(7), draws, bias=bias, theory=theory)
    return {name: case.error / case.allowance for name, cases in found.items() for case in [accuracy.worst(cases)]}


def wrong_by(error):
    """The theory, with every variance wrong by a relative error."""

    def fixed_points(**setting):
        return [replace(point, variance=point.variance * (1 + error)) for point in vf.fixed_points(**setting)]

    return SimpleNamespace(
        fixed_points=fixed_points,
        stable_variance=lambda **setting: vf.stable_variance(**setting) * (1 + error),
    )


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("distribution", accuracy.DISTRIBUTIONS, ids=str)
def test_fixed_points_keep_the_bar(distribution, bias):
    for name, error in worst_errors(distribution, vf, bias=bias).items():
        assert not (error > accuracy.BAR and name in accuracy.BARRED), (name, error)


@pytest.mark.parametrize("bias", [False, True])
def test_three_parts_in_ten_trillion_are_seen(bias):
    errors = worst_errors("normal", wrong_by(3e-13), bias=bias)
    assert all(errors[name] > accuracy.BAR for name in errors if name in accuracy.BARRED)
    assert len([name for name in errors if name in accuracy.BARRED]) == 2


def test_a_missing_root_is_seen():
    one_less = SimpleNamespace(
        fixed_points=lambda **setting: list(vf.fixed_points(**setting))[:-1], stable_variance=vf.stable_variance
    )
    found = accuracy.at_fixed_points("normal", np.random.default_rng(7), 3, bias=False, theory=one_less)
    assert [case.error for case in found["fixed_points"]] == [np.inf] * 3


@pytest.mark.parametrize("distribution", accuracy.DISTRIBUTIONS, ids=str)
def test_plain_values_are_right_to_the_last_digits(distribution):
    for name, cases in accuracy.at_plain_values(distribution, np.random.default_rng(8), 8).items():
        assert accuracy.worst(cases).error < 3e-14, name


def test_the_page_is_the_one_that_is_generated():
    """Its words, not its numbers: those take minutes."""
    text = PATH.with_suffix(".md").read_text(encoding="utf-8")
    assert text.startswith(accuracy.PAGE.split("{draws}")[0])
    assert "kept everywhere" in text
    assert text.count("\n|") == 2 + 12 * len(accuracy.DISTRIBUTIONS)
