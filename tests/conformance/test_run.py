"""Outcomes, reports and exit statuses, with cases made for the purpose."""

from __future__ import annotations

import asyncio
import json
import xml.etree.ElementTree as ET

import pytest

from conformance import known, report
from conformance.__main__ import ALL_GOOD, FOUND, USAGE, main
from conformance.case import MUST, OURS, SHOULD, Case, Failed, Skipped
from conformance.cases import CASES
from conformance.credentials import Usage, parse
from conformance.known import Known
from conformance.run import Result, run, select
from conformance.wire import Broken, Wire, client_context
from conformance.world import World


def raising(error: BaseException | None):
    async def steps(world: World) -> None:
        if error is not None:
            raise error

    return steps


async def forever(world: World) -> None:
    await asyncio.Event().wait()


def made(id: str, steps, level=MUST) -> Case:
    return Case(id, "RFC 0", level, f"title of {id}", steps)


MADE = [
    made("a.pass", raising(None)),
    made("a.fail", raising(Failed("wrong \x1b[31m"))),
    made("a.skip", raising(Skipped("needs more")), SHOULD),
    made("a.broken", raising(Broken("closed"))),
    made("a.tripped", raising(KeyError("x")), OURS),
    made("a.hang", forever),
]


@pytest.fixture
async def results() -> list[Result]:
    world = World("https://localhost:1/", Wire(client_context(None)))
    return await run(world, MADE, limit=0.05)


async def test_outcomes(results) -> None:
    """What a case ends with decides its outcome; a suite that trips or a time limit is no PASS."""
    assert [one.outcome for one in results] == ["PASS", "FAIL", "SKIP", "CRASH", "CRASH", "HANG"]
    assert results[4].detail == "suite: KeyError: 'x'"
    assert results[5].detail == "no end after 0.05 s"


async def test_verdict(results) -> None:
    """Known failures are expected, the rest is not, and a listed pass is a surprise unless it may pass."""
    listed = {"a.fail": Known("so"), "a.pass": Known("so"), "a.hang": Known("slow", sometimes=True)}
    verdict = known.judge(results, listed)
    assert [one.case.id for one in verdict.expected] == ["a.fail", "a.hang"]
    assert [one.case.id for one in verdict.unexpected] == ["a.broken", "a.tripped"]
    assert [one.case.id for one in verdict.surprises] == ["a.pass"]
    assert not verdict.good
    assert known.judge(results[:1], {"a.pass": Known("flaky", sometimes=True)}).good


async def test_json(results) -> None:
    """The JSON report has id, level, outcome and detail for each case, and no control characters."""
    listed = {"a.fail": Known("because")}
    document = json.loads(report.as_json(results, known.judge(results, listed), listed, "https://x/"))
    assert document["summary"] == {"PASS": 1, "FAIL": 1, "SKIP": 1, "CRASH": 2, "HANG": 1}
    second = document["results"][1]
    assert (second["id"], second["level"], second["outcome"]) == ("a.fail", "MUST", "FAIL")
    assert second["detail"] == "wrong \N{REPLACEMENT CHARACTER}[31m"
    assert second["known"] == "because"


async def test_junit(results) -> None:
    """JUnit: FAIL is a failure, CRASH and HANG are errors, SKIP is skipped."""
    suite = ET.fromstring(report.as_junit(results, known.judge(results, {})))
    counts = [suite.get(name) for name in ("tests", "failures", "errors", "skipped")]
    assert counts == ["6", "1", "3", "1"]


async def test_table(results) -> None:
    """The table shows outcome, level, id and title, and what was seen where a case did not pass."""
    assert report.line(results[0], {}).split()[:3] == ["PASS", "MUST", "a.pass"]
    assert "closed  [RFC 0]" in report.line(results[3], {})
    assert report.summary(results, known.judge(results, {})).startswith(
        "6 cases: 1 PASS, 1 FAIL, 1 SKIP, 2 CRASH, 1 HANG"
    )


def test_selection() -> None:
    """--level takes what is at or below the level; --only takes comma-separated globs."""
    assert [one.id for one in select(MADE, "MUST", None)] == ["a.pass", "a.fail", "a.broken", "a.hang"]
    assert [one.id for one in select(MADE, "SHOULD", "a.s*, a.pass")] == ["a.pass", "a.skip"]
    assert len(select(MADE, "ours", None)) == 6


def test_usage_errors(tmp_path, capsys) -> None:
    """What the person got wrong is status 2 with one line that says what to do."""
    bad = tmp_path / "bad.json"
    bad.write_text('{"credentials": 5}')
    assert main(["--credentials", str(bad), "--directory", "https://localhost:1/"]) == USAGE
    assert "not a credentials file" in capsys.readouterr().err
    assert main([]) == USAGE
    assert "add --directory" in capsys.readouterr().err
    assert main(["--directory", "https://localhost:1/", "--only", "no.such"]) == USAGE
    assert main(["--directory", "https://localhost:1/", "--ca-file", str(tmp_path / "none")]) == USAGE
    assert main(["--directory", "https://localhost:1/", "--known", str(bad)]) == USAGE
    assert main(["--no-such-option"]) == USAGE
    capsys.readouterr()
    assert main(["--directory", "acme.example/directory"]) == USAGE
    assert capsys.readouterr().err.count("\n") == 1


def test_list(capsys) -> None:
    """--list shows the cases and needs no server."""
    assert main(["--list", "--only", "finalize.race"]) == ALL_GOOD
    assert "RFC 8555 7.4" in capsys.readouterr().out


def test_no_server_is_crash(capsys) -> None:
    """A server that cannot be reached is CRASH, status 1: not a pass and not a usage error."""
    assert main(["--directory", "https://localhost:1/dir", "--only", "directory.served"]) == FOUND
    assert "CRASH" in capsys.readouterr().out


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"credentials": {}},
        {"credentials": [{"kid": "a"}]},
        {"credentials": [{"kid": "a", "hmac_key": "!", "identifiers": []}]},
        {"credentials": [], "renewal": {"directory": "https://x/"}},
    ],
)
def test_credentials_refused(document) -> None:
    """A credentials file that lacks a member or has one of another type is refused."""
    with pytest.raises((KeyError, TypeError, ValueError)):
        parse(document)


def test_credentials_read() -> None:
    """The file as the product prints it: kid, key, identifiers, and where to renew."""
    names = [{"type": "dns", "value": "U1.users.example"}]
    given = parse(
        {
            "credentials": [{"kid": "r-1", "hmac_key": "AAEC", "alg": "HS256", "identifiers": names}],
            "renewal": {"directory": "https://r.example/", "identifiers": names},
        }
    )
    assert given.bindings[0].hmac_key == b"\0\1\2"
    assert given.bindings[0].names == {"u1.users.example"}
    assert given.renewal is not None
    assert given.renewal.certificate is None


def test_known_file_shape(tmp_path) -> None:
    """An entry without reason is refused: a list of failures nobody can explain is no list."""
    listed = tmp_path / "known.toml"
    listed.write_text('[[failure]]\nids = ["a.b"]\n')
    with pytest.raises(Usage, match="reason"):
        known.load(str(listed))


def test_cases_are_well_named() -> None:
    """Ids are unique and end in no number the reader cannot place; every case has clause and title."""
    ids = [one.id for one in CASES]
    assert len(ids) == len(set(ids))
    assert len(ids) >= 150
    assert all(one.clause and one.title and "." in one.id for one in CASES)


async def test_stopped_server_is_not_waited_for() -> None:
    """Two cases without end and a server that does not answer: the rest is HANG at once, and says why."""
    world = World("https://localhost:1/", Wire(client_context(None)))
    results = await run(world, [MADE[5]] * 2 + [MADE[0]] * 3, limit=0.02)
    assert [one.outcome for one in results] == ["HANG"] * 5
    assert results[-1].detail == "not run: the server has stopped answering"


async def test_hanging_case_does_not_stop_the_run() -> None:
    """One case without end is one HANG; the twin of the above."""
    world = World("https://localhost:1/", Wire(client_context(None)))
    results = await run(world, [MADE[5], MADE[0], MADE[5], MADE[0]], limit=0.02)
    assert [one.outcome for one in results] == ["HANG", "PASS", "HANG", "PASS"]
