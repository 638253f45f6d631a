"""The command that acts as the operator: what it is asked, what its answers come to, whose time it is."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import sys
from pathlib import Path

import pytest

from conformance import operators
from conformance.__main__ import USAGE, main
from conformance.case import OURS, Case
from conformance.cases import operated
from conformance.credentials import Usage
from conformance.run import Limits, run
from conformance.verdict import Blocked, Skipped
from conformance.wire import Wire, client_context
from conformance.world import World
from tests.conformance.operating import ACTIONS, act

README = Path(operators.__file__).with_name("README.md")


def acting(code: str) -> operators.Operator:
    return operators.named(shlex.join([sys.executable, "-c", f"import json, sys, time; {code}"]))


def world(operator: operators.Operator | None) -> World:
    made = World("https://localhost:1/", Wire(client_context(None)))
    made.operator = operator
    return made


async def test_what_is_asked_and_answered() -> None:
    """An action and name=value, each a word of its own; the answer is a JSON object, or nothing."""
    echo = acting("print(json.dumps({'given': sys.argv[1:]}))")
    asked = await world(echo).operate("reissue", kid="a b'c", old="at-once")
    assert asked == {"given": ["reissue", "kid=a b'c", "old=at-once"]}
    assert await world(acting("")).operate("withdraw", kid="1") == {}


@pytest.mark.parametrize(
    ("code", "error", "said"),
    [
        ("sys.exit(3)", Skipped, "the operator cannot do it: clock days=1"),
        ("sys.exit('no such server')", Blocked, "operator: clock: status 1: no such server"),
        ("print('[1]')", Blocked, "operator: clock: the answer is no JSON object"),
        ("print('done')", Blocked, "operator: clock: the answer is no JSON object"),
    ],
)
async def test_what_cannot_be_done(code: str, error: type[Exception], said: str) -> None:
    """3 skips the case; another status, or an answer that is none, blocks it and says why."""
    with pytest.raises(error, match=re.escape(said)):
        await world(acting(code)).operate("clock", days=1)


async def test_nobody_to_ask() -> None:
    """Without the option every one of these cases is skipped, and says what would run it."""
    results = await run(world(None), operated.CASES, Limits(30))
    assert len(results) > 10
    wanted = ("SKIP", "needs the server's operator: --operator COMMAND would run it")
    assert {(one.outcome, one.detail) for one in results} == {wanted}


async def test_its_time_is_not_the_servers() -> None:
    """A case has after an action what it had left before; the server's own time is limited as ever."""

    async def patient(given: World) -> None:
        await given.operate("clock", days=0)

    async def hanging(given: World) -> None:
        await patient(given)
        await asyncio.Event().wait()

    cases = [Case(steps.__name__, "RFC 0", OURS, "", steps) for steps in (patient, hanging)]
    results = await run(world(acting("time.sleep(1.5)")), cases, Limits(1.0))
    assert [one.outcome for one in results] == ["PASS", "HANG"]


@pytest.mark.parametrize("command", ["", "no-such-command --x", "'unclosed"])
def test_no_such_command(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What cannot be run is said before anything else, with the option."""
    with pytest.raises(Usage, match="--operator"):
        operators.named(command)
    if command:
        where = ["--directory", "https://localhost:1/directory"]
        assert main([*where, "--operator", command, "--only", "nonce.get"]) == USAGE
        assert "--operator" in capsys.readouterr().err


def test_the_readme_has_every_action() -> None:
    """The table there is what our own operator knows, and what the cases ask for."""
    listed = re.findall(r"^\| `([a-z]+) ?[^`]*` \|", README.read_text("utf-8"), re.MULTILINE)
    rows = [name for name in listed if name in ACTIONS]
    assert sorted(rows) == sorted(ACTIONS)
    asked = set(
        re.findall(r'(?:\.operate\(|_end\(.*?\], )"([a-z]+)"', Path(operated.__file__).read_text("utf-8"))
    )
    assert asked == set(ACTIONS)


def test_an_action_that_ours_does_not_know(tmp_path: Path) -> None:
    """Status 3, as the README says."""
    (tmp_path / "summary.json").write_text(json.dumps({}))
    assert act(str(tmp_path / "summary.json"), "no-such-action") == operators.NOT_OFFERED
