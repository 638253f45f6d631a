"""The hot path that a wheel compiles: what is listed is there, and the command says what runs."""

from __future__ import annotations

import ast
import json
import os
import platform
import subprocess
import sys
import tomllib
from importlib import import_module
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import find_spec
from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway.cli import main

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LISTED: list[str] = PROJECT["tool"]["sekisho"]["compiled"]
#: `make test-compiled` sets it; from the source tree everything is pure Python.
EXPECTED = os.environ.get("SEKISHO_EXPECTED", "pure Python")


def _is_compiled(module: str) -> bool:
    spec = find_spec(module)
    assert spec is not None, f"{module} is in pyproject.toml's list and nowhere else"
    assert spec.origin is not None
    return spec.origin.endswith(tuple(EXTENSION_SUFFIXES))


@pytest.mark.parametrize("module", LISTED)
def test_each_module_listed_is_there_and_runs_as_it_was_installed(module: str) -> None:
    """All of the list is compiled or none of it; from the source tree, none."""
    assert _is_compiled(module) is (EXPECTED == "compiled")
    import_module(module)


def test_the_list_has_an_order() -> None:
    """Sorted, each once, so that two who add a module meet in one line."""
    assert sorted(set(LISTED)) == LISTED


def test_the_version_says_which_runs() -> None:
    """``sekisho version`` names the version, and compiled or pure Python, as the modules' files are."""
    version = PROJECT["project"]["version"]
    for words in (["--version"], ["version"]):
        done = CliRunner().invoke(main, words)
        assert (done.exit_code, done.stdout) == (0, f"sekisho, version {version} ({EXPECTED})\n")
    done = CliRunner().invoke(main, ["version", "--json"])
    told = {"sekisho": version, "compiled": EXPECTED == "compiled", "python": platform.python_version()}
    assert (done.exit_code, json.loads(done.stdout)) == (0, {"version": told})


def test_what_compiles_sees_the_types_that_run() -> None:
    """The build asks for all that the product does: without one of them mypyc finds faults, and nothing is
    compiled."""
    asked = [
        each for each in PROJECT["build-system"]["requires"] if not each.startswith(("setuptools", "mypy"))
    ]
    assert asked == PROJECT["project"]["dependencies"]


def _setup(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """setup.py's decision for these words, without building: `setup` is replaced by printing what it gets."""
    code = (
        "import setuptools, sys; sys.argv = ['setup.py', *sys.argv[1:]]; "
        "setuptools.setup = lambda **given: print('extensions:', len(given['ext_modules'])); "
        "exec(compile(open('setup.py').read(), 'setup.py', 'exec'), {'__name__': '__main__'})"
    )
    own = {name: value for name, value in os.environ.items() if name != "SEKISHO_COMPILED"}
    environment = {**own, **variables}
    return subprocess.run(
        [sys.executable, "-c", code, *words], cwd=ROOT, env=environment, capture_output=True, text=True
    )


@pytest.mark.parametrize("words", [("editable_wheel",), ("dist_info",), ("egg_info",), ("sdist",)])
def test_only_a_wheel_is_compiled(words: tuple[str, ...]) -> None:
    """An editable install asks for no compiler and no mypy, and says nothing of them."""
    done = _setup(*words, CC="/nonexistent/cc", SEKISHO_COMPILED="yes")
    assert (done.returncode, done.stdout, done.stderr) == (0, "extensions: 0\n", "")


def test_without_a_compiler_the_wheel_is_pure_and_one_line_says_so() -> None:
    """No C compiler: the install goes on in pure Python."""
    done = _setup("bdist_wheel", CC="/nonexistent/cc", SEKISHO_COMPILED="auto")
    line = "sekisho: not compiled, installed as pure Python: no C compiler (/nonexistent/cc)\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, "extensions: 0\n", line)


def test_a_wheel_is_compiled_unless_somebody_says_no() -> None:
    """Without SEKISHO_COMPILED it is tried as with =auto; =no tries nothing, and says that."""
    told = "sekisho: not compiled, installed as pure Python: "
    assert _setup("bdist_wheel", CC="/nonexistent/cc").stderr == f"{told}no C compiler (/nonexistent/cc)\n"
    assert _setup("bdist_wheel", SEKISHO_COMPILED="no").stderr == f"{told}SEKISHO_COMPILED=no\n"


@pytest.mark.parametrize("wish", ["yes", "quick"])
def test_who_demands_a_compiled_wheel_gets_no_other(wish: str) -> None:
    """SEKISHO_COMPILED=yes, and quick: what cannot be compiled is an error that says why."""
    done = _setup("bdist_wheel", CC="/nonexistent/cc", SEKISHO_COMPILED=wish)
    line = f"error: SEKISHO_COMPILED={wish}, but nothing can be compiled: no C compiler (/nonexistent/cc)\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", line)


def test_a_wish_that_is_none() -> None:
    """Any other value of SEKISHO_COMPILED is named, not guessed at."""
    done = _setup("bdist_wheel", SEKISHO_COMPILED="1")
    line = "error: SEKISHO_COMPILED is yes, no or auto, not '1'\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", line)


def test_no_listed_class_is_inherited_by_a_module_that_is_not_listed() -> None:
    """A compiled class takes no subclass in Python: it would fail when it is imported, and only compiled."""
    ours = {
        node.name
        for module in LISTED
        for node in ast.parse((_source(module)).read_text()).body
        if isinstance(node, ast.ClassDef) and not _is_plain(node)
    }
    assert ours
    for name in ("ca", "enroll", "gateway"):
        folder = Path(str(import_module(name).__file__)).parent
        for path in folder.rglob("*.py"):
            module = ".".join(path.relative_to(folder.parent).with_suffix("").parts)
            if module in LISTED:
                continue
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ClassDef):
                    bases = {base.attr if isinstance(base, ast.Attribute) else getattr(base, "id", "")
                             for base in node.bases}  # fmt: skip
                    assert not bases & ours, f"{path}: {node.name}"


def _source(module: str) -> Path:
    package, _, name = module.rpartition(".")
    return Path(str(import_module(package).__file__)).parent / f"{name}.py"


def _is_plain(node: ast.ClassDef) -> bool:
    """Exceptions, enumerations, protocols and named tuples are classes of Python's also when compiled."""
    names = {base.attr if isinstance(base, ast.Attribute) else getattr(base, "id", "") for base in node.bases}
    return bool(names & {"Exception", "Enum", "StrEnum", "Protocol", "NamedTuple"})
