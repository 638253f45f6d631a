"""Whatever is refused is told on a Japanese page in Japanese: its code, and the detail that goes with it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from enroll.people.facts import FACTS
from enroll.refusals import CODES, Refusal, check_line
from gateway.sites.console.detailwords import in_japanese, known
from gateway.sites.console.jobwords import reason, stopped_by

ROOT = Path(__file__).resolve().parents[3]
#: Where what is refused comes from that a row of a job or a field of a form tells of.
_MODULES = (
    *("people/register", "people/importing", "people/csvfile", "people/likeness", "people/undoing"),
    *("people/changes", "requests/profiles", "retention/erasing", "certificates/ending"),
)
#: Of `enroll/operators/kinds` and `enroll/campaigns/working.py` what jobs do, and what forms ask for.
_FUNCTIONS = {
    "operators/kinds/people": ("_something", "unless_same", "_as_it_is", "check_undecided"),
    "operators/kinds/certificates": ("revoke", "release"),
    "campaigns/working": ("remind", "_over"),
    "people/applications": ("_open_application", "_check_room"),
}
#: What comes from elsewhere, as a value of a name: name -> what it may be.
_VALUES = {
    "kind": ("user", "organisation"),
    "how": ("disabled already", "not disabled"),
    "said": ("is not signed yet", "is revoked already"),
    "what": ("name", "mail address", "name and mail address"),
    "wrong": ("is not two letters, such as JP",),
    "error": (
        *(f"{name} is empty, and O is made of it" for name in FACTS),
        "user.mail gives O = 'x', which is",
    ),
    "found.state": ("approved",),
    "found.status": ("revoked",),
    "status": ("issued",),
}
_ENGLISH = re.compile(r"[A-Za-z]{2,}(?:[ ,;:]+[A-Za-z]{2,}){2,}")


def _texts(node: ast.expr) -> Iterator[str]:
    """A text, or an f-string with each of the values that stand in it."""
    match node:
        case ast.Constant(value=str(value)):
            yield value
        case ast.IfExp(body=one, orelse=other):
            yield from (*_texts(one), *_texts(other))
        case ast.JoinedStr(values=parts):
            made = [""]
            for part in parts:
                name = ast.unparse(part.value) if isinstance(part, ast.FormattedValue) else ""
                told = _VALUES.get(name, ("5",)) if name else tuple(_texts(part))
                quoted = getattr(part, "conversion", -1) == ord("r")
                made = [before + (repr(each) if quoted else each) for before in made for each in told]
            yield from made


def details() -> set[tuple[str, str]]:
    """Every text that is, or becomes, the detail of a refusal, with its module."""
    found = set()
    for name in (*_MODULES, *_FUNCTIONS):
        tree: ast.AST = ast.parse((ROOT / "enroll" / f"{name}.py").read_text("utf-8"))
        wanted = _FUNCTIONS.get(name)
        parts = [tree] if wanted is None else [x for x in ast.walk(tree) if getattr(x, "name", "") in wanted]
        assert wanted is None or len(parts) == len(wanted), name
        for node in (node for part in parts for node in ast.walk(part)):
            told = None
            if isinstance(node, ast.keyword) and node.arg == "detail":
                told = node.value
            elif isinstance(node, ast.Assign):
                names = [ast.unparse(each) for each in node.targets]
                told = node.value if {"detail", "told", "said", "problem"} & set(names) else None
            found |= {(name, each) for each in _texts(told)} if told is not None else set()
    # A part of one, and what is said of a file as a whole: `jobwords.FILES` has words for that.
    return {each for each in found if each[1] not in _VALUES["said"] and not each[1].startswith(" is ")}


def test_every_detail_that_a_page_can_show_is_said_in_japanese() -> None:
    """Read out of the code: none is left that would be English there, or would not be told."""
    found = details()
    assert len(found) > 30
    assert [each for each in sorted(found) if not known(each[1])] == []
    assert [said for _, each in found if _ENGLISH.search(said := in_japanese(each))] == []


def test_every_code_is_said_in_japanese() -> None:
    """Of a row, and of a job that has stopped."""
    for code in CODES:
        assert not reason(Refusal(code), "ja").isascii()
        assert _ENGLISH.search(reason(Refusal(code), "ja")) is None
        assert _ENGLISH.search(stopped_by(code)[0]) is None
    assert stopped_by("OSError")[0].endswith("（OSError）")


@pytest.mark.parametrize(
    ("detail", "said"),
    [
        ("character 3 of name is U+200B ZERO WIDTH SPACE", "3文字目（U+200B）は使用できません"),
        (r"the same name as K12345678 (\1 {same}, a@x.jp)", r"同じ氏名：K12345678 (\1 {same}, a@x.jp)"),
        ("the same name as application 7 (甲, a@x.jp)", "同じ氏名：申請7 (甲, a@x.jp)"),
        ("the same mail address as line 12", "12行目と同じメールアドレス"),
        (
            "certificate ab is held; only one that can be held is changed by this",
            "証明書 ab の状態：利用停止中",
        ),
        ("3 cells, but the first line names 2 columns", "セルが3個ありますが、1行目の列は2個です"),
        ("something that nobody has put into words", ""),
    ],
)
def test_a_detail_says_what_was_at_fault(detail: str, said: str) -> None:
    """Character, line and person stand in it; what somebody typed is no form of ours."""
    assert in_japanese(detail) == said


def test_a_reason_that_is_too_long_is_told_once() -> None:
    """Without the name of the command line's option."""
    with pytest.raises(Refusal) as refused:
        check_line("reason", "x" * 501)
    assert reason(refused.value, "ja") == "理由を1行・500文字以内で入力してください"
