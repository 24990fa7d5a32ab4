"""Every command of the Makefile has a small setting among the tests, and what it runs is there."""

import json
import re
import runpy
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest
from wording import same_text

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
SMALL = {  # by command: a test that does in seconds what it does in minutes
    "run": "cli/test_cli.py::test_quick_validation_writes_its_files_and_passes",
    "test-libraries": "torch_models/test_model_families.py::test_",
    "fuzz": "house/test_fuzz.py::test_a_few_calls",
    "drill": "campaign/test_campaign_commands.py::test_a_short_drill",
    "validate": "validation/test_validation.py::test_one_claim_end_to_end",
    "nightly": "house/test_nightly.py::test_goes_on_after_a_failure_and_where_it_was_stopped",
    "data": "house/test_makefile.py::test_data_that_cannot_be_had_are_said_and_the_others_are_there",
    "train-quick": "init/test_training_networks.py::test_the_command_continues_where_it_was",
    "train": "init/test_training_networks.py::test_the_command_continues_where_it_was",
    "bench": "house/test_benchmarks.py::test_none_is_broken",
    "notebooks": "house/test_makefile.py::test_notebooks_open_by_a_double_click",
    "corrected-gains": "init/test_inverse_in_time.py::test_the_table_is_what_its_script_makes",
    "explorer": "house/test_explorer.py::test_needs_nothing_beside_it",
    "axe": "house/test_axe.py::test_the_explorer_is_accessible",
    "site": "house/test_site.py::test_every_page_is_in_the_contents_once",
    "dist": "house/test_makefile.py::test_what_the_wheel_is_tried_with",
    "oldest": "house/test_makefile.py::test_what_the_wheel_is_tried_with",
    "newest": "house/test_makefile.py::test_what_the_wheel_is_tried_with",
}
THEMSELVES = {"test", "test-slow", "types", "lint", "format", "clean"}


def commands():
    return re.findall(r"^\.PHONY: (.*)$", MAKEFILE, flags=re.MULTILINE)[0].split()


def test_every_command_has_a_small_setting():
    assert {*commands()} == {*SMALL} | THEMSELVES
    for small in SMALL.values():
        file, _, name = small.partition("::")
        assert f"def {name}" in (ROOT / "tests" / file).read_text(encoding="utf-8"), small


def readme_commands():
    """Commands of the first block of the README after its picture, and what stands below it as printed by the first."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    block, printed = re.search(r"^!\[.*?^```sh\n(.*?)^```\n\n```text\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL).groups()
    return [line.partition("#")[0].split() for line in block.splitlines()], printed.splitlines()


def test_the_two_commands_of_the_readme():
    """They are commands of the Makefile, complete by themselves, and integration runs the second."""
    commands, _ = readme_commands()
    assert commands == [["make", "run"], ["make", "test"]]
    for _, target in commands:
        assert re.search(rf"^{target}: \$\(VENV\)/\w+\.stamp", MAKEFILE, flags=re.MULTILINE)
    assert "make test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()


@pytest.mark.slow
def test_make_run_prints_what_the_readme_shows(varflow, monkeypatch):
    """Lines in their order; a line of … stands for others."""
    monkeypatch.setenv("COLUMNS", "80")
    _, shown = readme_commands()
    (command,) = re.findall(r"^\t\$\(VENV\)/bin/varflow (validate.*) --out \$\(OUT\)$", MAKEFILE, flags=re.MULTILINE)
    code, out, _ = varflow(f"{command} --out varflow-results")
    assert code == 0
    lines = iter(out.splitlines())
    for line in shown:
        assert line == "…" or any(same_text(found, line) for found in lines), line


def test_what_commands_run_is_there():
    modules = re.findall(r"\$\(PY\) -m ([\w.]+)", MAKEFILE)
    files = re.findall(r"(?<![\w/$.)])((?:tests|explorer|docs|benchmarks)/[\w/]+\.(?:py|html))", MAKEFILE)
    assert {"pytest", "validation", "validation.envelope", "validation.pages", "validation.training"} <= {*modules}
    assert all(find_spec(module) for module in {*modules} - {"pip"})
    assert {"tests/drill.py", "tests/fuzzing.py", "explorer/build.py", "docs/site/links.py"} <= {*files}
    assert all((ROOT / file).exists() for file in files)


def test_what_the_wheel_is_tried_with(capsys):
    lines = re.search(r"^TRIED := ((?:.*\\\n)*.*)", MAKEFILE, flags=re.MULTILINE)
    assert lines is not None
    exec(lines[1].replace("\\\n", ""), {})
    assert re.fullmatch(r"varflow \S+ gain 2\.51\d* and \d+ rows of corrected gains\n", capsys.readouterr().out)


README = "![A dot](docs/dot.png) [page](docs/page.md#part), [paper](https://arxiv.org/abs/1), [below](#below)"


def test_links_of_the_readme_are_absolute_once_the_address_is_known(monkeypatch):
    hook = SimpleNamespace(MetadataHookInterface=object)
    monkeypatch.setitem(sys.modules, "hatchling.metadata.plugin.interface", hook)
    made = runpy.run_path(str(ROOT / "hatch_build.py"))["absolute"]
    assert made(README, None) == README
    assert made(README, "https://host/a/b/") == README.replace("(docs/dot", "(https://host/a/b/raw/HEAD/docs/dot").replace(
        "(docs/page", "(https://host/a/b/blob/HEAD/docs/page"
    )


def test_notebooks_open_by_a_double_click():
    (settings,) = (ROOT / "theory_notebooks/jupyter/labconfig").glob("*.json")
    viewers, kernels = json.loads(settings.read_text(encoding="utf-8")).values()
    assert viewers == {"defaultViewers": {"python": "Jupytext Notebook"}}
    assert kernels == {"autoStartDefaultKernel": True}  # or JupyterLab asks for the kernel, which the files do not name


def test_data_that_cannot_be_had_are_said_and_the_others_are_there(tmp_path, monkeypatch, capsys):
    pytest.importorskip("torch")
    pytest.importorskip("sklearn")
    from validation.training import __main__, data

    def refused(folder):
        raise OSError("no network here")

    for name, source in data.SETS.items():
        monkeypatch.setitem(data.SETS, name, replace(source, get=refused))
    assert __main__.main(["data", "--data", str(tmp_path)]) == 0
    said = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert {*said} == {*data.SETS}
    assert re.fullmatch(r"\d+ \+ \d+ images of 1×8×8, licence CC BY 4.0", said["digits"])
    assert said["fashion_mnist"].startswith("could not be obtained (no network here): ")
