"""The lists of planted faults, and the runner on a tree of two lines; `make mutants` runs them all."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from conformance.cases import CASES
from tests.mutants.__main__ import Verdict, _judge, main
from tests.mutants.against import PRODUCT
from tests.mutants.faults import ROOT, Fault, Unusable, load

FAULTS = load()


@pytest.mark.parametrize("fault", FAULTS, ids=[one.id for one in FAULTS])
def test_can_be_planted(fault: Fault) -> None:
    """The old text of each fault stands exactly once in its file, and Python reads it with the new one."""
    ast.parse(fault.planted((ROOT / fault.file).read_text("utf-8")))


@pytest.mark.parametrize("fault", FAULTS, ids=[one.id for one in FAULTS])
def test_names_who_notices(fault: Fault) -> None:
    """Each names cases of the suite, or tests that there are."""
    known = {one.id for one in CASES}
    for name in fault.killed_by:
        if fault.kind == "suite":
            assert name in known
        else:
            file, *rest = name.partition("[")[0].split("::")
            assert rest, name
            assert f"def {rest[-1]}(" in (ROOT / file).read_text("utf-8"), name


def test_what_the_suite_notices_is_the_product() -> None:
    """The process that runs the suite has itself and the libraries loaded before a fault is planted."""
    assert {one.file.partition("/")[0] for one in FAULTS if one.kind == "suite"} <= set(PRODUCT)


def test_the_product_is_loaded_after_the_fault() -> None:
    """Nothing of it comes with the runner's own imports, or none of its faults there would be noticed."""
    program = "import json, sys, tests.mutants.against; print(json.dumps([*sys.modules]))"
    told = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, check=True)
    assert [name for name in json.loads(told.stdout) if name.partition(".")[0] in PRODUCT] == []


@pytest.mark.parametrize(
    ("source", "wrong"),
    [("a = 1\n", "0 times"), ("b = 2\nb = 2\n", "2 times")],
)
def test_a_list_that_is_out_of_date(source: str, wrong: str) -> None:
    """A fault whose old text is gone, or stands twice, is an error and not one that nobody noticed."""
    fault = Fault("x", "tests", "x.py", "b = 2", "b = 3", "", ("test_x.py::test_x",))
    with pytest.raises(Unusable, match=f"x: its old text stands {wrong} in x.py"):
        fault.planted(source)


_WHOLE = {"id": "a", "kind": "tests", "file": "", "old": "", "new": "", "lets": "", "killed_by": ["b"]}


@pytest.mark.parametrize("wrong", [{"lets": None}, {"kind": "luck"}, {"killed_by": []}, {"spare": "x"}])
def test_an_entry_that_is_not_whole(tmp_path: Path, wrong: dict[str, object]) -> None:
    """An entry that says less or more, or that nobody is to notice, is an error; the whole one is none."""
    for entry in (_WHOLE, {**_WHOLE, **wrong}):
        members = (f"{name} = {json.dumps(value)}" for name, value in entry.items() if value is not None)
        file = tmp_path / f"{len(list(tmp_path.iterdir()))}.toml"
        file.write_text("\n".join(["[[fault]]", *members]))
    assert [one.id for one in load([tmp_path / "0.toml"])] == ["a"]
    with pytest.raises(Unusable, match=r"1\.toml: a needs id, kind"):
        load([tmp_path / "1.toml"])


def _verdicts(killed: int, of: int) -> list[Verdict]:
    fault = Fault("x", "tests", "x.py", "a", "b", "", ("t",))
    return [Verdict(fault, () if number < killed else ("t",), 0.0) for number in range(of)]


def test_97_of_100(capsys) -> None:
    """97 of 100 noticed is enough, 96 is not."""
    assert _judge(_verdicts(97, 100)) == 0
    assert _judge(_verdicts(96, 100)) == 1
    assert "96 of 100 faults noticed: 96.0 %" in capsys.readouterr().out


def test_one_that_could_not_be_tried() -> None:
    """A run that says nothing of a fault is never taken for one that noticed it."""
    fault = Fault("x", "tests", "x.py", "a", "b", "", ("t",))
    with pytest.raises(Unusable, match="1 could not be tried: x"):
        _judge([*_verdicts(99, 99), Verdict(fault, (), 0.0, error="no end")])


def test_no_such_fault(capsys) -> None:
    """A name that no fault has is status 2, with what to type."""
    assert main(["no-such-fault"]) == 2
    assert "see --list" in capsys.readouterr().err


def test_a_fault_for_tests_is_noticed(tmp_path: Path) -> None:
    """The runner plants a fault in a copy, the test named notices it, and the tree is as it was."""
    (fault,) = [one for one in FAULTS if one.id == "base64url-padding-accepted"]
    before = (ROOT / fault.file).read_bytes()
    command = [sys.executable, "-m", "tests.mutants", fault.id]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "killed    base64url-padding-accepted" in done.stdout
    assert (ROOT / fault.file).read_bytes() == before
