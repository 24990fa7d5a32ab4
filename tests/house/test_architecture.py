"""Who may import whom, what loads when, and what no file may contain: read from the source, not from good intentions."""

import ast
import compileall
import inspect
import re
import shutil
import subprocess
import sys
from functools import cache
from importlib.resources import files
from pathlib import Path

import pytest

import varflow as vf
from varflow._checks import WANTED, instance

PACKAGE = Path(vf.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))
LONGEST = 400

PUBLIC = "varflow"  # `import varflow` itself: the public names, for those who stand at the door like a user
WITNESS = {"_checks", "_memory", "model", "results"}
DIGITS = {"_mpmath"}  # a context, no formulas
MAY_IMPORT = {
    "_checks": set(),
    "_display": {"_checks", "_figures"},
    "_figures": {"_checks"},
    "_hints": set(),
    "_memory": {"_checks"},
    "_mpmath": set(),
    "_progress": {"_checks"},
    "campaign": {"_checks", "_lazy", "_progress", "_shared"},
    "_lazy": {"_checks"},
    "_restoring": {"_checks", "_shared"},
    "_shared": set(),
    "_process": {"_checks"},
    "_files": set(),
    "model": {"_checks", "_display", "_figures", "_hints", "_lazy", "_memory", "_shared"} | DIGITS,
    "results": {"_checks", "_display", "_figures", "_lazy", "model"},
    "theory": {"_checks", "_display", "_lazy", "_memory", "_progress", "_shared", "model", "results"},
    "init": {
        "_checks",
        "campaign",
        "_display",
        "_hints",
        "_lazy",
        "_memory",
        "_progress",
        "_restoring",
        "model",
        "results",
        "theory",
    },
    "torch_models": {
        "_checks",
        "_progress",
        "_restoring",
        "_shared",
        "model",
        "results",
        "theory",
        "kernels",
        "init",
        "simulation",
    },
    "simulation": WITNESS | {"_lazy", "_progress", "_shared", "campaign"},
    "reference": WITNESS | DIGITS | {"_lazy"},
    "symbolic": WITNESS | DIGITS | {"_lazy"},
    "certified": WITNESS | {"_display"},
    "verdict": {"_checks", "results"},
    "experiment": {"_checks", "campaign", "_process", "model", "results", "theory", "init", "simulation", "verdict"},
    "kernels": {"_checks", "_memory", "_progress", "model", "results", "theory", "simulation"},
    "phases": {"_checks", "_progress", "campaign", "model", "results", "theory", "init"},
    "plots": {"_checks", "_display", "_figures", "_lazy", "model", "results", "theory"},
    "citations": {"_checks"},
    "cli": {"_checks", "_files", "_process", PUBLIC},
    "__main__": {"cli"},
    "testing": {"_checks", "_lazy", "_memory", "_shared", PUBLIC},
}
THIRD_PARTIES = {
    "_checks": {"numpy"},
    "_display": set(),
    "_files": set(),
    "_figures": set(),
    "_hints": set(),
    "_memory": set(),
    "_mpmath": {"mpmath", "sympy"},
    "_progress": {"rich"},
    "campaign": {"numpy", "distributed"},
    "model": {"numpy", "scipy", "sympy", "mpmath", "torch"},  # torch only to try out a function that a user's module holds
    "results": {"numpy", "scipy"},
    "_restoring": {"numpy", "torch"},
    "_shared": {"torch"},
    "theory": {"numpy", "scipy"},
    "torch_models": {"numpy", "torch"},
    "verdict": {"numpy", "scipy"},
    "simulation": {"numpy", "torch"},
    "reference": {"mpmath", "numpy"},
    "kernels": {"numpy", "torch"},
    "symbolic": {"sympy", "mpmath", "numpy", "scipy"},  # the latter two in what lambdify returns
    "certified": {"flint"},
    "cli": {"typer", "matplotlib"},  # the latter only to see that it is there
    "testing": {"numpy", "scipy", "torch"},
}


# Rooms that show names from above at their door: listed there, imported for types only, loaded when asked for.
SHOWN_FROM_ABOVE = {"init": {"torch_models"}}

CHECKED = {"numpy", "scipy", "sympy", "mpmath", "torch", "matplotlib", "rich", "typer", "flint", "distributed"}
LOADERS = {"require", "import_module", "__import__"}


def module_of(path):
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


@cache
def nodes_of(source):
    return tuple(ast.walk(ast.parse(source)))


@cache
def imported(module, source):
    """Full dotted names of everything a module imports, anywhere in it; strings given to require and import_module too."""
    return tuple(_imported(module, source))


def _imported(module, source):
    for node in nodes_of(source):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = ["varflow", *module.split(".")][: -node.level]
                base = ".".join([*above, base] if base else above)
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) in LOADERS:
            yield from (item.value for item in node.args if isinstance(item, ast.Constant) and isinstance(item.value, str))


IMPORTABLE = {module_of(path) for path in SOURCES} | {module_of(path).split(".")[0] for path in SOURCES} | set(MAY_IMPORT)


def rooms_imported(module, source):
    for name in imported(module, source):
        head, *rest = name.split(".")
        if head != "varflow" or rest == ["__version__"]:
            continue
        yield rest[0] if rest and rest[0] in IMPORTABLE else PUBLIC


def without_types(source):
    tree = ast.parse(source)
    kept = [node for node in tree.body if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")]
    return ast.unparse(ast.Module(kept, []))


def broken_rules(module, source):
    room = module.split(".")[0]
    allowed = MAY_IMPORT[room] | {room}
    shown = SHOWN_FROM_ABOVE.get(module, set())
    shown = shown and shown - set(rooms_imported(module, without_types(source)))
    rooms = [f"{module} imports {other}" for other in rooms_imported(module, source) if other not in allowed | shown]
    others = {name.split(".")[0] for name in imported(module, source)} - {"varflow", *sys.stdlib_module_names}
    known = THIRD_PARTIES.get(room)
    strangers = [] if known is None else [f"{module} imports {name}" for name in others & CHECKED if name not in known]
    return rooms + strangers


def test_a_module_imports_only_what_its_room_may():
    sources = {module_of(path): path.read_text(encoding="utf-8") for path in SOURCES}
    del sources["__init__"]
    assert [rule for module, source in sources.items() for rule in broken_rules(module, source)] == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("simulation.dense", "from varflow.theory.memoryless.variance_map import variance_map"),
        ("simulation.run", "def f():\n    from varflow.theory import chain"),
        ("simulation.dense", "from ..theory import maps"),
        ("simulation.dense", "import varflow.reference"),
        ("simulation.dense", "import varflow as vf"),
        ("reference.layer", "from varflow.simulation import simulate"),
        ("reference.layer", "from scipy.special import ndtr"),
        ("certified", "from varflow.reference import sf"),
        ("symbolic.steps", "from varflow.theory.memoryless.variance_map import slope"),
        ("theory.memoryless.variance_map", "from varflow.init.gains import gain"),
        ("theory.memoryless.variance_map", "from varflow import simulate"),
        ("init", "from varflow.torch_models.audit.door import audit"),
        ("init", "if TYPE_CHECKING:\n    from varflow.simulation import simulate"),
        ("init.gains", "if TYPE_CHECKING:\n    from varflow.torch_models.audit.door import audit"),
        ("torch_models.audit.door", "from varflow.reference import fixed_points"),
        ("theory.memoryless.variance_map", "import torch"),
        ("model.network", "from varflow.results import Profile"),
        ("results", "from varflow.theory.finite_width.chain import finite_width"),
        ("verdict", "from varflow.theory.finite_width.chain import finite_width"),
        ("verdict", "require('torch', 'varflow.simulation')"),
        ("plots", "from varflow.init.gains import gain"),
        ("cli", "from varflow.theory.memoryless.variance_map import slope"),
        ("_checks", "from . import results"),
        ("_progress", "from varflow.simulation import simulate"),
        ("phases", "from varflow.simulation import simulate"),
        ("testing.initialisers", "from varflow.init.gains import gain"),
    ],
)
def test_the_checker_sees_a_broken_rule(module, source):
    assert broken_rules(module, source)


def test_every_module_has_a_rule_and_a_first_paragraph():
    for path in SOURCES:
        room = module_of(path).split(".")[0]
        assert room in MAY_IMPORT or path == PACKAGE / "__init__.py", f"{room} has no rule: who may it import?"
        assert ast.get_docstring(nodes_of(path.read_text(encoding="utf-8"))[0]), path


def test_the_command_line_uses_public_names_only():
    for path in sorted((PACKAGE / "cli").glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        used = {
            node.attr
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "vf"
        }
        used |= {
            alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.module == "varflow"
            for alias in node.names
        }
        assert used
        assert used <= {*vf.__all__, "__version__"}


# What no file may contain.


def forbidden(source):
    """Reasons why a source must not be shipped."""
    found = []
    for node in nodes_of(source):
        if isinstance(node, ast.Attribute) and node.attr in {"ndtr", "cdf"} and "torch" in ast.unparse(node.value):
            found.append("torch.special.ndtr and Normal.cdf are wrong in the lower tail")
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [getattr(node, "module", "") or "", *(alias.name for alias in node.names)]
            if {"pickle", "dill", "joblib", "shelve"} & set(names):
                found.append("nothing is unpickled")
        if isinstance(node, ast.Call):
            call, options = ast.unparse(node.func), {item.arg: ast.unparse(item.value) for item in node.keywords}
            if call in {"np.load", "numpy.load"} and options.get("allow_pickle") != "False":
                found.append("np.load without allow_pickle=False")
            if call == "torch.load" and options.get("weights_only") != "True":
                found.append("torch.load without weights_only=True")
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            found += [f"assert in {node.name}" for inner in ast.walk(node) if isinstance(inner, ast.Assert)]
    return found


def test_a_file_contains_nothing_forbidden_and_is_short():
    sources = {module_of(path): path.read_text(encoding="utf-8") for path in SOURCES}
    assert {module: found for module, source in sources.items() if (found := forbidden(source))} == {}
    assert [module for module, source in sources.items() if source.count("\n") > LONGEST] == []


@pytest.mark.parametrize(
    "source",
    [
        "torch.special.ndtr(x)",
        "torch.distributions.Normal(0, 1).cdf(x)",
        "import pickle",
        "from pickle import loads",
        "np.load(file)",
        "np.load(file, allow_pickle=True)",
        "torch.load(file)",
        "def gain(theta):\n    assert theta > 0",
    ],
)
def test_forbidden_things_are_seen(source):
    assert forbidden(source)


# What loads when, and what the package promises.


def loaded_after(code):
    """Third parties in sys.modules of a fresh interpreter that ran ``code``."""
    heavy = "('torch', 'matplotlib', 'sympy', 'mpmath', 'scipy', 'scipy.stats', 'scipy.optimize', 'rich', 'typer')"
    script = f"import sys\n{code}\nprint('loaded:', *[name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.rpartition("loaded:")[2].split())


def test_import_is_light():
    init = "import varflow.init; assert 'varflow.torch_models' not in sys.modules"
    assert loaded_after(f"import varflow as vf; {init}; vf.lookup(threshold=0.5, fan_in=9)") == set()
    assert "mpmath" in loaded_after("import mpmath")  # the probe sees what is there


def test_a_package_without_sources_answers(tmp_path):
    """As frozen applications ship it: only what is compiled, and data."""
    shutil.copytree(PACKAGE, tmp_path / "varflow", ignore=shutil.ignore_patterns("__pycache__", "symbolic", "torch_models"))
    compileall.compile_dir(tmp_path, legacy=True, quiet=1)
    for source in tmp_path.rglob("*.py"):
        source.unlink()
    script = "import varflow as vf; print(vf.__file__, vf.gain(threshold=1.0), len(dir(vf)), 'normal_' in dir(vf.init))"
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    expected = f"{tmp_path / 'varflow' / '__init__.pyc'} {vf.gain(threshold=1.0)} {len(dir(vf))} True"
    assert done.stdout.strip() == expected, done.stderr


@pytest.mark.parametrize("arguments", ["'--help'", "'validate', '--help'", "'--version'"])
def test_help_loads_nothing(arguments):
    code = f"from varflow.cli import main\nsys.argv = ['varflow', {arguments}]\ntry:\n    main()\nexcept SystemExit as end:"
    assert loaded_after(f"{code}\n    assert end.code == 0") <= {"typer", "rich"}


def test_theory_needs_neither_torch_nor_matplotlib():
    code = "vf.finite_width(vf.Network(width=20, depth=3, gain=2.0)); vf.lookup(threshold=1.0, fan_in=20, depth=5)"
    assert not loaded_after(f"import varflow as vf, varflow.experiment; {code}") & {
        "torch",
        "matplotlib",
        "sympy",
        "scipy.stats",
    }


@pytest.mark.parametrize("name", vf.__all__)
def test_a_public_name_resolves_and_is_described(name):
    value = getattr(vf, name)
    assert name in dir(vf)
    text = inspect.getdoc(value)
    assert text
    assert not text.startswith(f"{name}("), "that is the docstring a dataclass makes up"
    if inspect.isfunction(value):
        missing = [parameter for parameter in inspect.signature(value).parameters if parameter not in text]
        assert missing == []


def test_unknown_names_are_refused():
    with pytest.raises(AttributeError, match="no attribute 'gian'"):
        vf.gian  # noqa: B018


# Circles.

# Files that import modules whose names they are given: by the tables of a package's door, by a user, or by who asks.
BY_NAME = {"_checks", "_figures", "_lazy", "campaign.work", "cli.audit"}


def circles(imports):
    """Circles of files or folders that import one another, directly or through others: one for each edge that closes one."""
    finished, closed = set(), []

    def visit(node, path):
        for other in sorted(imports[node] - finished):
            if other in path:
                closed.append(path[path.index(other) :])
            else:
                visit(other, [*path, other])
        finished.add(node)

    for node in sorted(imports):
        if node not in finished:
            visit(node, [node])
    return closed


def module_in(name, modules):
    """The module of the package that holds an imported name: the name itself, or what it is defined in."""
    name = name.removeprefix("varflow.")
    return next((module for module in (name, name.rpartition(".")[0]) if module in modules), None)


def files_imported(sources):
    """For each file the files it imports, in any way and for types too; a package stands for its __init__.

    What the public door imports is left out: it shows everything.
    """
    names = {module: imported(module, source) for module, source in sources.items()}
    graph = {module: {module_in(name, sources) for name in names[module] if name.startswith("varflow.")} for module in sources}
    return {module: others - {None, module, "__init__"} for module, others in graph.items() if module != "__init__"}


def folder_of(module, modules):
    """The folder of a file; a file beside folders, such as theory.roots, stands for itself."""
    folder = module if any(other.startswith(f"{module}.") for other in modules) else module.rpartition(".")[0]
    divided = any(other.startswith(f"{folder}.") and other.count(".") > folder.count(".") + 1 for other in modules)
    return folder if folder and not divided else module


def folders_imported(sources):
    """For each folder the folders that its files import."""
    graph = {}
    for module, others in files_imported(sources).items():
        graph.setdefault(folder_of(module, sources), set()).update(folder_of(other, sources) for other in others)
    return {folder: others - {folder} for folder, others in graph.items()}


def without(graph, edges):
    return {folder: {other for other in others if (folder, other) not in edges} for folder, others in graph.items()}


def sources_of_the_package():
    return {module_of(path): path.read_text(encoding="utf-8") for path in SOURCES}


def test_no_file_imports_itself_through_others():
    assert circles(files_imported(sources_of_the_package())) == []


def test_no_folder_imports_itself_through_others():
    assert circles(folders_imported(sources_of_the_package())) == []


def test_modules_are_imported_by_their_own_names():
    """Elsewhere than in ``BY_NAME`` a reader sees which module is imported."""
    calls = {
        module
        for module, source in sources_of_the_package().items()
        for node in nodes_of(source)
        if isinstance(node, ast.Call)
        and getattr(node.func, "id", getattr(node.func, "attr", "")) in {"import_module", "__import__"}
        and not isinstance(node.args[0], ast.Constant)
    }
    assert calls == BY_NAME


def test_circles_are_seen():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]


@pytest.mark.parametrize(
    "back",
    [
        "from varflow.rooms.upper.high import f",
        "from varflow.rooms.upper import high",
        "def f():\n    from ..upper.high import f",
        "import varflow.rooms.upper.high",
        "import_module('varflow.rooms.upper.high')",
        "__import__('varflow.rooms.upper')",
        "require('extra', 'varflow.rooms.upper.high')",
    ],
)
def test_circles_of_folders_are_seen(back):
    upper = {"rooms": "", "rooms.upper": "", "rooms.upper.high": "from varflow.rooms.lower.low import g"}
    lower = {"rooms.lower": "", "rooms.lower.low": "", "rooms.lower.other": back, "rooms.beside": "import numpy"}
    assert circles(files_imported(upper | lower)) == []
    assert circles(folders_imported(upper | lower)) == [["rooms.lower", "rooms.upper"]]
    assert circles(folders_imported(upper | lower | {"rooms.lower.other": "import varflow.rooms.beside"})) == []


def test_types_are_shipped():
    assert files("varflow").joinpath("py.typed").is_file()


def test_no_file_imports_a_test_file():
    importing = re.compile(r"^\s*(?:from|import) +test_|import_module\(.test_", flags=re.MULTILINE)
    assert importing.search("def f():\n    from test_cli import EXPERIMENT")
    for path in Path(__file__).parents[1].rglob("*.py"):
        assert not importing.search(path.read_text(encoding="utf-8")), path


def test_every_kind_of_object_that_is_asked_for_has_words():
    """``instance`` and ``several`` say by ``WANTED``, or by the function of its name, what they want instead."""
    sources = [path.read_text(encoding="utf-8") for path in SOURCES]
    calls = [node for source in sources for node in nodes_of(source) if isinstance(node, ast.Call)]
    asking = [call.args for call in calls if isinstance(call.func, ast.Name) and call.func.id in ("instance", "several")]
    kinds = {args[2].id for args in asking if len(args) > 2 and isinstance(args[2], ast.Name)} - {"kind"}
    assert len(kinds) > 10
    assert {re.sub(r"\B(?=[A-Z])", "_", kind).lower() for kind in kinds - set(WANTED)} <= set(vf.__all__)
    with pytest.raises(vf.DomainError, match=r"must be what vf\.fixed_points returns"):
        instance("result", 1, vf.FixedPoints)
    with pytest.raises(vf.DomainError, match="must be a SpikeChain"):
        instance("chain", 1, vf.SpikeChain)
