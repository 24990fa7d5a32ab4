"""A few calls of the fuzz run, of which ``make fuzz`` makes 2000; it finds planted faults, and nothing public is forgotten."""

import re

import pytest

pytest.importorskip("torch")
pytest.importorskip("matplotlib")
pytest.importorskip("resource", reason="limits on memory and time are POSIX's")

import fuzzing
from processes import Scenario

# Calls that take seconds; ``make fuzz`` makes them too.
SLOW = ("symbolic", "reference", "certified", "temporal", "gain_for", "catalogue", "Catalogue", "audit", "Audit", "init_model")
SLOW = (*SLOW, "lsuv", "plot", "testing", "Experiment", "validate", "Temporal", "corrected", "phase_diagram", "mean_field")


RUNS = {
    "few": f"--calls 20 --seed 12 --limit 20 --without {' '.join(SLOW)}",
    "planted": "--planted --calls 1 --limit 1",
}


@pytest.fixture(scope="module")
def runs(ended, tmp_path_factory):
    """Exit code and output of each. In processes of their own: they fork, which threads of other tests would not survive."""
    scenarios = {name: Scenario(line, module=fuzzing.__file__, limit=300) for name, line in RUNS.items()}
    loaded = ("fuzz_values", "hypothesis", "sympy.stats", "varflow.reference", "varflow.testing")
    done = ended(scenarios, tmp_path_factory.mktemp("runs"), loaded)
    return {name: (code, out + err) for name, (code, out, err, _) in done.items()}


def test_a_few_calls(runs):
    code, said = runs["few"]
    assert code == 0, said
    sound, refused = map(int, re.findall(r"(\d+) sound results, (\d+) refusals", said)[0])
    assert sound + refused == 20
    assert min(sound, refused) > 4  # neither is everything refused nor anything taken


def test_planted_faults_are_found(runs):
    code, said = runs["planted"]
    assert code == 1
    for fault in [
        r"raw_error: ZeroDivisionError at fuzzing.py:\d+ .*\n    raw_error\(threshold=",
        r"not_a_number: not_a_number is NaN",
        r"no_probability: survival outside \[0, 1\]: 1.5 to 1.5",
        r"negative: variance is negative: -1e-09",
        r"warns: RuntimeWarning",
        r"hungry: MemoryError",
        r"endless: took longer than 1 s",
        r"dies: the process died with code -6",
    ]:
        assert re.search(fault, said), (fault, said)


def test_everything_public_is_called_or_excused():
    assert fuzzing.doors()[1] == []
    named = {name for name, _ in fuzzing.public()}
    methods = {f"{name}.{method}" for name, kind in fuzzing.public() if name in fuzzing.INSTANCES for method in dir(kind)}
    assert set(fuzzing.EXCEPTIONS) <= named | methods
    assert set(fuzzing.INSTANCES) <= named


def test_a_callable_without_values_is_forgotten(monkeypatch):
    def new(threshold, colour_of_the_spikes):
        """A callable whose second parameter nobody has thought of."""

    monkeypatch.setattr(fuzzing.vf, "new", new, raising=False)
    monkeypatch.setattr(fuzzing.vf, "__all__", [*fuzzing.vf.__all__, "new"])
    assert fuzzing.doors()[1] == ["new.colour_of_the_spikes: no good values in GOOD"]
