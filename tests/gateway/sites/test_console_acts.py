"""Every act that the code can write into the trail is called by a name at the console, in both languages."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from enroll.jobs import states as jobs
from enroll.operators import states as proposals
from enroll.requests.states import Event
from gateway.sites.console.actwords import ACTS, OF_PEOPLE, why_of, words_of

ROOT = Path(__file__).resolve().parents[3]
#: What a name stands for in an act that is put together: prefix -> the values that come behind it.
_TOGETHER: Mapping[str, tuple[str, ...]] = {
    "enrollment.": tuple(Event),
    "job.": (jobs.Event.CANCEL, jobs.Event.RESUME),
    "proposal.": tuple(each for each in proposals.State if each is not proposals.State.PENDING),
}
Function = ast.FunctionDef | ast.AsyncFunctionDef
Around = tuple[Function, ...]
#: Of all that is called so, what writes into the trail.
_STORES = ("audit", "store.audit", "rooms.audit", "enroll_store.audit", "enroll.store.audit")


@dataclass(frozen=True)
class Written:
    """A function that writes a line, by what it is called, and where it takes the act: the number of the
    argument, its name."""

    names: tuple[str, ...]
    place: int
    word: str
    #: Below which it is called.
    home: Path = ROOT
    #: Put before what is handed over: `webhook.` of one that is called with `added`.
    before: str = ""


def _calls(node: ast.AST, around: Around = ()) -> Iterator[tuple[Around, ast.Call]]:
    """Every call, with the functions around it, the innermost first."""
    for each in ast.iter_child_nodes(node):
        if isinstance(each, ast.Call):
            yield around, each
        yield from _calls(each, (each, *around) if isinstance(each, Function) else around)


def _argument(call: ast.Call, writer: Written) -> ast.expr | None:
    flat: list[ast.expr] = []
    for each in call.args:
        flat += (
            each.value.elts if isinstance(each, ast.Starred) and isinstance(each.value, ast.Tuple) else [each]
        )
    named = next((each.value for each in call.keywords if each.arg == writer.word), None)
    return named or (flat[writer.place] if len(flat) > writer.place else None)


def acts() -> tuple[set[str], set[str]]:
    """All that can be written, and places where that could not be read."""
    trees = {
        path: ast.parse(path.read_text("utf-8"))
        for room in ("ca", "enroll", "gateway")
        for path in sorted((ROOT / room).rglob("*.py"))
    }
    calls = defaultdict[str, list[tuple[Path, Around, ast.Call]]](list)
    for path, tree in trees.items():
        for around, call in _calls(tree):
            calls[ast.unparse(call.func)].append((path, around, call))
    trails = [path for path in trees if "as record:" in path.read_text("utf-8")]
    waiting = [Written(_STORES, 3, "action"), *(Written(("record",), 0, "action", each) for each in trails)]
    found, unread = set[str](), set[str]()
    for writer in waiting:  # which grows
        for path, around, call in [each for name in writer.names for each in calls[name]]:
            told = _argument(call, writer)
            if told is None or not path.is_relative_to(writer.home):
                continue
            values, handed = _values(told, around, trees[path])
            found |= {writer.before + each for each in values}
            if handed is not None:
                function, name, before = handed
                place = [each.arg for each in function.args.args].index(name)
                # A private function is called in its own module alone.
                home = path if function.name.startswith("_") else ROOT
                names = (function.name, f"{path.stem}.{function.name}")
                following = Written(names, place, name, home, before)
                waiting += [following] if following not in waiting else []
            elif not values:
                unread.add(f"{path.relative_to(ROOT)}: {ast.unparse(call)}")
    return found, unread


def _values(
    told: ast.expr, around: Around, tree: ast.Module
) -> tuple[set[str], tuple[Function, str, str] | None]:
    """What an expression may be; or of which function it is which parameter, and what stands before it."""
    match told:
        case ast.Constant(value=str(value)):
            return {value}, None
        case ast.IfExp(body=one, orelse=other):
            return _values(one, around, tree)[0] | _values(other, around, tree)[0], None
        case ast.JoinedStr(
            values=[ast.Constant(value=str(before)), ast.FormattedValue(value=ast.Name(id=name))]
        ):
            if before in _TOGETHER:
                return {before + each for each in _TOGETHER[before]}, None
            _, handed = _values(ast.Name(name), around, tree)
            return set(), None if handed is None else (*handed[:2], before)
        case ast.Subscript(value=ast.Name(id=name)):
            table = _assigned(name, tree)
            values = table.values if isinstance(table, ast.Dict) else []
            return {each.value for each in values if isinstance(each, ast.Constant)}, None
        case ast.Name(id=name):
            for function in around:
                if name in [each.arg for each in function.args.args]:
                    return set(), (function, name, "")
                if (given := _assigned(name, function)) is not None:
                    return _values(given, around, tree)
            if (given := _assigned(name, tree)) is not None:
                return _values(given, (), tree)
            for node in tree.body:
                if isinstance(node, ast.ImportFrom) and name in [each.name for each in node.names]:
                    home = ROOT / f"{(node.module or '').replace('.', '/')}.py"
                    return _values(told, (), ast.parse(home.read_text("utf-8")))
    return set(), None


def _assigned(name: str, within: ast.AST) -> ast.expr | None:
    """What a name is given there."""
    for node in ast.walk(within):
        for target in node.targets if isinstance(node, ast.Assign) else ():
            both = (target, node.value)
            tuples = all(isinstance(each, ast.Tuple) for each in both)
            pairs = zip(*(each.elts for each in both), strict=True) if tuples else [both]  # type: ignore[attr-defined]
            for one, value in pairs:
                if isinstance(one, ast.Name) and one.id == name:
                    return value
    return None


def test_every_act_that_can_be_written_has_its_words() -> None:
    """What an operator reads in a history and in the record is no code, but what happened: in both languages,
    by one table, which has nothing that nobody writes."""
    found, unread = acts()
    assert unread == set()
    assert len(found) > 100
    assert found - set(ACTS) == set()
    assert set(ACTS) - found == set()
    assert set(OF_PEOPLE) <= set(ACTS)
    assert all(ja and en and not ja.isascii() and en.isascii() for (ja, en), _ in ACTS.values())
    # The words tell one act from another, as their codes do.
    assert len({ja for (ja, _), _ in ACTS.values()}) == len(ACTS)


def test_a_reason_that_was_chosen_is_told_in_words() -> None:
    """And one that somebody wrote as it was written; an act of another version by its code."""
    assert why_of("certificate.revoked", {"reason": "keyCompromise"}, "reason") == (
        "鍵の漏えい",
        "keyCompromise",
    )
    assert why_of("application.rejected", {"reason": "other", "note": "重複"}, "note", "reason") == (
        "重複 その他",
        "重複 Other",
    )
    assert why_of("user.held", {"reason": "other"}, "reason") == ("other", "other")
    assert words_of("formerly.done") == (("formerly.done", "formerly.done"), "plain")
