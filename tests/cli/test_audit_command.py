"""``varflow audit`` with a user's code that prints, fails or ends the process: one line, and never the code of a verdict."""

import json
import os
import sys

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("snntorch")

from varflow.cli.audit import _redirected

FACTORIES = """
import json, sys
import snntorch, torch
print("imported")

class Model(torch.nn.Module):
    def __init__(self, step=None):
        super().__init__()
        self.weight, self.neuron, self.step = torch.nn.Linear(8, 8), snntorch.Leaky(0.5, init_hidden=True), step

    def forward(self, x):
        print("forward")
        if self.step:
            self.step(x)
        return self.neuron(self.weight(x))

class Odd(Exception):
    pass

class Unusual(BaseException):
    pass

class Wordless(Exception):
    def __str__(self):
        raise Unusual

def odd(x):
    raise Odd

def several(x):
    raise OSError("no camera\\n  at port 3")

def made(step=None):
    return Model(step), torch.rand(2, 8)

def whole():
    return made()
def missing_key():
    return made(lambda x: {}["there"])
def leaves():
    return made(lambda x: sys.exit(0))
def beyond():
    return made(lambda x: [][3])
def narrow():
    return made(lambda x: torch.nn.functional.linear(x, torch.ones(2, 3)))
def without_words():
    return made(odd)
def long_words():
    return made(several)
def exits():
    sys.exit(0)
def says_why():
    sys.exit("no data")
def exits_healthily_elsewhere():
    raise SystemExit
def library():
    return json.loads("{")
def beyond_exceptions():
    raise Unusual("no camera")
def not_installed():
    import pytest
    pytest.importorskip("no_such_module")
def generator_is_closed():
    return made(lambda x: (_ for _ in ()).throw(GeneratorExit("enough")))
def says_nothing():
    raise Wordless
def with_a_loss():
    return *made(), lambda y: (y - 1).square().sum()
def with_targets():
    return *made(), torch.nn.functional.mse_loss, torch.rand(2, 8)
def changes_the_path():
    sys.path[:] = [place for place in sys.path if place][::-1]
    return made()
def takes_the_streams():
    sys.stdout = sys.stderr = None
    return made(lambda x: setattr(sys, "stdout", None))
def closes_the_streams():
    sys.stdout.close()
    sys.stderr.close()
    return made(lambda x: sys.stdout.close())
"""
LINES = {  # of the user's file, that the line must name
    "missing_key": "in <lambda>",
    "leaves": "in <lambda>",
    "beyond": "in <lambda>",
    "narrow": "in <lambda>",
    "without_words": "in odd",
    "long_words": "in several",
    "exits": "in exits",
    "says_why": "in says_why",
    "exits_healthily_elsewhere": "in exits_healthily_elsewhere",
    "library": "in library",
    "beyond_exceptions": "in beyond_exceptions",
    "not_installed": "in not_installed",
    "generator_is_closed": "in <genexpr>",
    "says_nothing": "in says_nothing",
}
WORDS = {
    "missing_key": "'there' (KeyError: users_code.py",
    "leaves": "SystemExit: 0",
    "beyond": "list index out of range (IndexError: users_code.py",
    "narrow": "(RuntimeError: users_code.py",
    "without_words": "(Odd: users_code.py",
    "long_words": "no camera at port 3 (OSError: users_code.py",
    "exits": "cannot be run: SystemExit: 0",
    "says_why": "cannot be run: SystemExit: no data",
    "exits_healthily_elsewhere": "cannot be run: SystemExit",
    "library": "JSONDecodeError: ",
    "beyond_exceptions": "cannot be run: users_code.Unusual: no camera",
    "not_installed": "Skipped: could not import 'no_such_module'",
    "generator_is_closed": "GeneratorExit: enough",
    "says_nothing": "Wordless",
}


@pytest.fixture
def audited(varflow, tmp_path):
    (tmp_path / "users_code.py").write_text(FACTORIES, encoding="utf-8")
    return lambda factory: varflow(f"audit users_code:{factory} --steps 3 --json")


@pytest.mark.parametrize("factory", LINES)
def test_an_error_of_the_users_code_is_one_line(audited, factory):
    code, out, err = audited(factory)
    assert (code, out) == (2, "")
    line = err.splitlines()[-1]
    assert line.startswith("varflow: ")
    assert WORDS[factory] in line
    assert "users_code.py, line " in line
    assert LINES[factory] in line
    assert "Traceback" not in err
    assert err.count("varflow: ") == 1


def test_what_a_model_prints_is_not_in_the_json(audited, monkeypatch):
    monkeypatch.delitem(sys.modules, "users_code", raising=False)
    code, out, err = audited("whole")
    assert code in (0, 1)
    assert json.loads(out)["healthy"] is (code == 0)
    assert err.startswith("imported\nforward\n")


def test_few_bits_are_predicted(audited, monkeypatch):
    monkeypatch.delitem(sys.modules, "users_code", raising=False)
    rounding = json.loads(audited("whole --bits 4")[1])["rounding"]
    assert rounding["bits"] == 4
    assert set(rounding["predicted_rate"]) == {"full", "minmax", "mse", "set"}
    assert audited("whole --bits 1")[0] == 2


@pytest.mark.parametrize("factory", ["changes_the_path", "takes_the_streams", "closes_the_streams"])
def test_what_a_factory_does_to_the_process_is_undone(audited, monkeypatch, factory):
    monkeypatch.delitem(sys.modules, "users_code", raising=False)
    before = list(sys.path)
    code, out, _ = audited(factory)
    assert code in (0, 1)
    assert json.loads(out)["healthy"] is (code == 0)
    assert sys.path == before


def test_system_calls_and_other_programs_print_apart(capfd):
    with _redirected(as_json=True):
        os.write(1, b"call ")
        os.system("printf 'program '")
        print("print", flush=True)
    print("ours", flush=True)
    assert capfd.readouterr() == ("ours\n", "call program print\n")


def test_gradients_are_an_option(audited):
    for option, measured in (("", False), (" --gradients", True)):
        code, out, _ = audited(f"whole{option}")
        assert code in (0, 1)
        assert all((layer["gradient_norm"] is not None) is measured for layer in json.loads(out)["layers"])


@pytest.mark.parametrize("factory", ["with_a_loss", "with_targets"])
def test_a_step_is_an_option(audited, factory):
    code, out, _ = audited(f"{factory} --optimizer adam --learning-rate 0.002")
    assert code in (0, 1)
    step = json.loads(out)["step"]
    assert (step["optimizer"], step["learning_rate"]) == ("Adam", 0.002)
    assert step["direct"][0] > 0
    assert json.loads(audited("whole")[1])["step"] is None


WRONG_STEPS = {
    "whole --optimizer adam": "loss=None is needed with an optimizer's step",
    "with_a_loss --optimizer adem": "--optimizer adem is no optimiser of torch.optim",
    "with_a_loss --optimizer lbfgs": "--optimizer LBFGS makes no single step",
    "with_a_loss": "must return (model, inputs)",
    "whole --learning-rate 0.1": "is the rate of --optimizer",
}


@pytest.mark.parametrize("words", WRONG_STEPS)
def test_a_step_that_cannot_be_made_is_one_line(audited, words):
    code, out, err = audited(words)
    assert (code, out) == (2, "")
    assert WRONG_STEPS[words] in err.splitlines()[-1]


def test_a_nir_file(varflow, tmp_path):
    nir = pytest.importorskip("nir")
    rng, ones = np.random.default_rng(0), np.ones(60)
    neurons = nir.LIF(1e-3 * ones, 10 * ones, 0 * ones, ones)
    nir.write(tmp_path / "a.nir", nir.NIRGraph.from_list(nir.Linear(rng.normal(size=(60, 8))), neurons))
    np.save(tmp_path / "x.npy", rng.random((4, 8)))
    command = "audit a.nir --inputs x.npy --steps 7"
    code, out, _ = varflow(f"{command} --json")
    report = json.loads(out)
    assert (code, report["steps"], report["inputs"]) == (0, 7, 4)
    slow = json.loads(varflow(f"{command} --library norse --dt 1e-4 --json")[1])
    assert slow["layers"][0]["firing_rate"] < report["layers"][0]["firing_rate"] / 2


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("none.nir", "none.nir"),
        ("none.nir --library brian", "--library"),
        ("none.nir --inputs none.npy", "none.npy"),
        ("made:up --library norse", "--library norse is of NIR files"),
    ],
)
def test_a_nir_file_that_cannot_be_read_is_one_line(varflow, line, words):
    code, out, err = varflow(f"audit {line}")
    assert (code, out) == (2, "")
    assert words in err
    assert err.count("\n") == 1
