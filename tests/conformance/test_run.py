"""Outcomes, reports and exit statuses, with cases made for the purpose."""

from __future__ import annotations

import asyncio
import json
import xml.etree.ElementTree as ET
from contextlib import suppress

import pytest

from conformance import known, report
from conformance.__main__ import ALL_GOOD, USAGE, main, run_recorded
from conformance.case import MUST, OURS, SHOULD, Case
from conformance.cases import CASES
from conformance.credentials import Usage, parse
from conformance.journal import Journal
from conformance.known import Known
from conformance.run import GONE, OVER, Limits, Result, run, select
from conformance.verdict import Failed, Skipped
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
    return await run(world, MADE, Limits(0.05))


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


async def test_a_glob_says_that_a_fault_is_there(results) -> None:
    """One case that fails is enough for it; if none does, those that pass are surprises."""
    verdict = known.judge(results, {"a.*": Known("everywhere")})
    assert [one.case.id for one in verdict.expected] == ["a.fail", "a.broken", "a.tripped", "a.hang"]
    assert verdict.good
    assert [one.case.id for one in known.judge(results[:1], {"a.*": Known("no more")}).surprises] == [
        "a.pass"
    ]
    assert not known.judge(results, {"b.*": Known("elsewhere")}).expected


async def test_json(results) -> None:
    """The JSON report has id, level, outcome and detail for each case, and no control characters."""
    listed = {"a.fail": Known("because")}
    document = json.loads(report.as_json(results, known.judge(results, listed), listed, "https://x/"))
    assert document["summary"] == {
        "PASS": 1,
        "FAIL": 1,
        "SKIP": 1,
        "BLOCKED": 0,
        "CRASH": 2,
        "HANG": 1,
    }
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
    assert "closed\n               RFC 0" in report.line(results[3], {})


async def test_the_summary_ends_with_the_count(results) -> None:
    """What stays on the screen: causes, what holds by level, and last how many cases came to what."""
    told = report.summary(results, known.judge(results, {})).splitlines()
    assert told[1:4] == [
        "what is wrong, by cause:",
        "   1 FAIL    wrong \N{REPLACEMENT CHARACTER}[31m",
        "             a.fail",
    ]
    assert told[-4:] == [
        "MUST    1 of 4 hold",
        "SHOULD  0 of 0 hold, 1 not tried",
        "ours    0 of 1 hold",
        "6 cases: 1 PASS, 1 FAIL, 1 SKIP, 2 CRASH, 1 HANG",
    ]
    assert report.summary(results[:1], known.judge(results[:1], {})) == "MUST    1 of 1 hold\n1 case: 1 PASS"


def test_one_cause_is_told_once() -> None:
    """What was seen counts, not what was expected instead, nor with which URL, token or number."""
    details = [
        "501 for POST https://a.example/key/1, not 200",
        "501 for POST https://a.example/key/2, not 400; no Link",
        "no Replay-Nonce",
        "201, not a refusal (4xx)",
        "type 'malformed', not badCSR",
    ]
    results = [Result(made(f"k.{n}", forever), "FAIL", one, 0.0) for n, one in enumerate(details)]
    results += [
        Result(made(f"b.{n}", forever), "BLOCKED", f"order: token x{n}abcdefghijklmno", 0.0) for n in "12"
    ]
    told = report.summary(results, known.judge(results, {"k.9": Known("another")}))
    assert "   2 FAIL    501 for POST …\n             k.0 k.1\n" in told
    assert "   2 BLOCKED order: token …\n             b.1 b.2\n" in told
    assert "   1 FAIL    no Replay-Nonce\n             k.2\n" in told
    assert "   1 FAIL    201, not a refusal (4xx)\n" in told
    assert "   1 FAIL    type 'malformed', not badCSR\n" in told


def test_many_causes_do_not_push_the_count_off_the_screen() -> None:
    """The ten commonest, those of one group as a glob, and how many more there are."""
    results = [Result(made(f"g{n}.x", forever), "FAIL", f"cause {chr(97 + n)}", 0.0) for n in range(14)]
    results += [Result(made(f"many.{n}", forever), "CRASH", "closed", 0.0) for n in range(5)]
    told = report.summary(results, known.judge(results, {})).splitlines()
    assert told[2:4] == ["   5 CRASH   closed", "             many.* (5)"]
    assert "   5 more, for 5 other causes, are above" in told
    assert len(told) <= 26


async def test_what_no_rfc_demands_is_said(results) -> None:
    """Who tried a server that is not ours without --level reads which of the failures are none of its own."""
    hint = "1 of these are of level ours: sekisho's protocol promises them, and no RFC; --level SHOULD"
    assert hint in report.summary(results, known.judge(results, {}))
    others = [one for one in results if one.case.level != OURS]
    assert "level ours" not in report.summary(others, known.judge(others, {}))


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
    assert '"credentials" is 5, not an array' in capsys.readouterr().err
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


def test_a_server_that_is_not_there_ends_the_run(capsys) -> None:
    """Nothing can be said of a server that cannot be reached: status 2, and where to look."""
    assert main(["--directory", "https://localhost:1/dir", "--only", "directory.served"]) == USAGE
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "is it running, and is the port right? see --directory" in shown.err


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


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[[failure]]\nids = ["a.b"]\n', 'entry 1 (a.b) lacks "reason"; entries look like'),
        (
            '[[failure]]\nids = ["a.b"]\nreason = "so"\n[[failure]]\nid = "c.d"\n',
            'entry 2 lacks "ids", an array',
        ),
        ("failure = 1\n", "failure is no array of tables"),
        ("failure = [1]\n", "entry 1 is no table"),
        ("{", "not TOML (Invalid statement"),
    ],
)
def test_known_file_shape(text: str, said: str, tmp_path) -> None:
    """An entry without reason is refused: a list of failures nobody can explain is no list."""
    listed = tmp_path / "known.toml"
    listed.write_text(text)
    with pytest.raises(Usage) as refused:
        known.load(str(listed))
    assert str(refused.value).startswith(f"--known {listed}: {said}")


def test_cases_are_well_named() -> None:
    """Ids are unique and end in no number the reader cannot place; every case has clause and title."""
    ids = [one.id for one in CASES]
    assert len(ids) == len(set(ids))
    assert len(ids) >= 150
    assert all(one.clause and one.title and "." in one.id for one in CASES)


async def test_stopped_server_is_not_waited_for() -> None:
    """Two cases without end and a server that does not answer: the rest is not run, and says why."""
    world = World("https://localhost:1/", Wire(client_context(None)))
    results = await run(world, [MADE[5], MADE[0], MADE[5], *[MADE[0]] * 3], Limits(0.02))
    assert [one.outcome for one in results] == ["HANG", "PASS", "HANG", *["BLOCKED"] * 3]
    assert results[-1].detail == GONE


async def test_hanging_case_does_not_stop_the_run() -> None:
    """One case without end is one HANG; the twin of the above."""
    world = World("https://localhost:1/", Wire(client_context(None)))
    results = await run(world, [MADE[5], MADE[0], MADE[0]], Limits(0.02))
    assert [one.outcome for one in results] == ["HANG", "PASS", "PASS"]


async def test_the_whole_run_has_a_deadline() -> None:
    """What no time is left for is not run, and is no pass."""
    world = World("https://localhost:1/", Wire(client_context(None)))
    results = await run(world, [MADE[5], MADE[0]], Limits(30, whole=0.02))
    assert [(one.outcome, one.detail) for one in results[1:]] == [("BLOCKED", OVER)]
    assert not known.judge(results, {}).good


async def test_what_cannot_be_had_blocks_who_rests_on_it() -> None:
    """A thing that cannot be made is tried twice; every case that needs it is BLOCKED, by the same reason."""
    tried = []

    async def make() -> str:
        tried.append(1)
        raise Failed("newAccount: 400 malformed, not 201")

    async def rests(world: World) -> None:
        await world.keep("account", make)

    world = World("https://localhost:1/", Wire(client_context(None)))
    results = await run(world, [made(f"b.{n}", rests) for n in range(5)], Limits(1))
    assert {(one.outcome, one.prerequisite) for one in results} == {("BLOCKED", "account")}
    assert len(tried) == 2
    told = report.summary(results, known.judge(results, {}))
    assert "   5 BLOCKED account: newAccount: 400 malformed, not 201\n             b.* (5)\n" in told
    assert not known.judge(results, {}).good


async def test_what_could_not_be_had_once_may_be_had_again() -> None:
    """The twin: a failure by chance blocks one case."""
    outcomes: list[Exception | None] = [Broken("closed"), None]

    async def make() -> str:
        if (error := outcomes.pop(0)) is not None:
            raise error
        return "made"

    async def rests(world: World) -> None:
        assert await world.keep("account", make) == "made"

    world = World("https://localhost:1/", Wire(client_context(None)))
    results = await run(world, [made(f"b.{n}", rests) for n in range(3)], Limits(1))
    assert [one.outcome for one in results] == ["BLOCKED", "PASS", "PASS"]


def test_sections() -> None:
    """A clause and those below it: 7.4 is not 7.41, and a document's name alone is all of it."""
    ids = {
        one: {found.clause for found in select(CASES, "ours", None, [one])}
        for one in ("RFC 8555 7.4", "7.4", "RFC 9773", "RFC 8555 99")
    }
    assert "RFC 8555 7.4.2" in ids["RFC 8555 7.4"]
    assert all(clause.startswith("RFC 8555 7.4") for clause in ids["RFC 8555 7.4"])
    assert ids["7.4"] >= ids["RFC 8555 7.4"]
    assert ids["RFC 9773"]
    assert all(clause.startswith("RFC 9773") for clause in ids["RFC 9773"])
    assert not ids["RFC 8555 99"]


async def test_a_run_goes_on_where_it_was_cut(tmp_path) -> None:
    """Results are on disk as they come; with --resume those are not run again, but for what was blocked."""
    path = str(tmp_path / "results")
    world = World("https://localhost:1/", Wire(client_context(None)))
    with Journal(path, "https://a/", resume=False) as journal:
        first = await run(world, MADE[:2], Limits(1), journal.add)
        journal.add(Result(MADE[2], "BLOCKED", "account: no", 0.0, "account"))
    with open(path, "a") as file:
        file.write('{"id": "a.broken", "outc')  # the last words of a run that was killed
    with Journal(path, "https://a/", resume=True) as journal:
        earlier = journal.earlier(MADE)
        assert list(earlier) == ["a.pass", "a.fail"]
        again = await run(world, MADE[:4], Limits(1), journal.add, earlier)
    assert [one.outcome for one in again] == ["PASS", "FAIL", "SKIP", "CRASH"]
    assert again[1].detail == first[1].detail
    with Journal(path, "https://a/", resume=True) as journal:
        assert list(journal.earlier(MADE)) == ["a.pass", "a.fail", "a.skip", "a.broken"]
    with pytest.raises(Usage, match="it is of https://a/; leave out --resume"):
        Journal(path, "https://b/", resume=True)


async def test_an_audit_judges_what_was_said_before_the_run_was_cut(tmp_path) -> None:
    """With --resume it sees the answers of the first part too, is never taken from there, and neither writes
    them down twice.
    """
    path = str(tmp_path / "results")
    audits = [one for one in CASES if one.id in {"audit.problem-documents", "audit.rate-limited"}]

    async def bare(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 429 X\r\nContent-Length: 2\r\nRetry-After: 1\r\n\r\n\xff{")

    async def asks(world: World) -> None:
        await world.get(f"{world.directory_url}/x")

    outcomes = []
    async with await serving(bare) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for chosen in ([made("x.one", asks), *audits], [made("x.one", asks), made("x.two", asks), *audits]):
            world = World(url, Wire(client_context(None)))
            world.put("certificate", object())
            with Journal(path, url, resume=True) as journal:
                results = await run_recorded(world, chosen, Limits(30), lambda _: None, journal)
            outcomes.append([one.outcome for one in results])
            details = [one.detail for one in results]
            await world.close()
    assert outcomes == [["PASS", "FAIL", "PASS"], ["PASS", "PASS", "FAIL", "PASS"]]
    assert details[2].startswith("2 x no problem document (e.g. GET http://127.0.0.1")
    assert [one.answer.body for one in Journal(path, url, resume=True).said] == [b"\xff{"] * 2


async def serving(answer) -> asyncio.Server:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(EOFError, OSError):
            while request := await reader.readuntil(b"\r\n\r\n"):
                await answer(request, writer)
        writer.close()

    return await asyncio.start_server(serve, "127.0.0.1", 0)


def test_results_of_another_version_are_not_gone_on_with(tmp_path) -> None:
    """A file that lacks what the audits need is refused, and nothing in it is lost."""
    old = tmp_path / "results"
    old.write_text('{"directory": "https://a/"}\n{"id": "a.pass"}\n')
    with pytest.raises(Usage, match="another version of the suite wrote it; leave out --resume"):
        Journal(str(old), "https://a/", resume=True)
    assert old.read_text().count("\n") == 2
