"""The parts of a running gateway by themselves: journal, figures, locks, readiness."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from ca.errors import ConfigError
from gateway.running import internal, rundir
from gateway.running.internal import Readiness
from gateway.running.journal import Journal, _line, event_of
from gateway.running.meter import Histogram, Meter
from gateway.running.metrics import exposition
from gateway.wire import http
from tests.gateway.conftest import Pki, Serve
from tests.gateway.rawtls import connect
from tests.gateway.samples import check
from tests.started import started

# -- the journal ---------------------------------------------------------------------------------------


def test_lines_are_whole(tmp_path: Path) -> None:
    """What was written before `close` is in the file, a line each, and the file is not everybody's."""
    path = tmp_path / "log"
    journal = Journal(path)
    for number in range(1_000):
        journal.write({"number": number, "text": "関所\n\r\x1b[31m\x85\u2028\x7f\ud800"})
    journal.close()
    lines = path.read_bytes().split(b"\n")
    assert lines.pop() == b""
    assert [json.loads(line)["number"] for line in lines] == list(range(1_000))
    assert not any(byte < 0x20 or byte == 0x7F for byte in lines[0])
    assert json.loads(lines[0])["text"] == "関所\n\r\x1b[31m\x85\u2028\x7f\ud800"
    assert path.stat().st_mode & 0o007 == 0
    assert journal.dropped == 0


@given(st.dictionaries(st.text(), st.text() | st.integers() | st.none(), max_size=4))
def test_any_record_is_one_line(record: dict[str, str]) -> None:
    """Whatever a visitor puts into a name or a path, it stays within its line and reads back."""
    line = _line(record)
    assert len(line.splitlines()) <= 1
    assert len(line.decode().splitlines()) == 1
    assert json.loads(line) == record


def test_a_rotated_file_is_begun_anew(tmp_path: Path) -> None:
    """After `reopen` lines go to a new file of the same name; a name that cannot be is refused."""
    path, old = tmp_path / "log", tmp_path / "log.1"
    journal = Journal(path)
    journal.write({"n": 1})
    journal.flush()
    while not path.stat().st_size:
        os.sched_yield()
    path.rename(old)
    journal.reopen()
    journal.write({"n": 2})
    journal.close()
    assert (old.read_text(), path.read_text()) == ('{"n":1}\n', '{"n":2}\n')
    with pytest.raises(ConfigError, match=r"log.file: .* cannot be written"):
        Journal(tmp_path / "nowhere" / "log")


def test_a_reader_that_is_stuck_costs_lines_only(tmp_path: Path) -> None:
    """What is not taken in time is dropped and counted; writing never waits."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    journal = Journal(pipe)
    try:
        for _ in range(400):
            journal.write({"text": "x" * 70_000})
        assert journal.dropped > 0
    finally:
        os.close(reader)  # the writer sees a broken pipe and goes on
        journal.close()


def test_several_write_whole_lines_to_one_pipe(tmp_path: Path) -> None:
    """Workers share standard error: however slowly it is read, no line is broken by another worker's."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    journals = [Journal(pipe, worker) for worker in range(3)]
    os.set_blocking(reader, True)
    for number in range(1_000):
        for journal in journals:
            journal.write({"number": number, "text": "x" * 300})
    got = b""
    while got.count(b"\n") < 3_000:
        got += os.read(reader, 1_000)
    for journal in journals:
        journal.close()
    os.close(reader)
    lines = [json.loads(line) for line in got.splitlines()]
    for worker in range(3):
        assert [line["number"] for line in lines if line["worker"] == worker] == list(range(1_000))


_FULL = """
import resource, sys, time
from pathlib import Path
from gateway.running.journal import Journal

def room(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

journal = Journal(Path(sys.argv[1]))
for size in (1_000, 1_010):
    room(size)
    for number in range(100):
        journal.write({"text": "x" * 50})
    journal.flush()
    time.sleep(0.3)
room(resource.RLIM_INFINITY)
journal.write({"text": "again"})
journal.close()
print(journal.dropped)
"""


def test_a_full_disk_costs_what_did_not_fit(tmp_path: Path) -> None:
    """What is not on the disk is counted, and once there is room again a line begins as a line."""
    log = tmp_path / "log"
    done = subprocess.run([sys.executable, "-c", _FULL, log], capture_output=True, text=True, check=True)
    found = log.read_text().splitlines()
    good = [line for line in found if line.endswith("}")]
    assert json.loads(found[-1]) == {"text": "again"}
    assert len(found) - len(good) <= 2
    assert int(done.stdout) == 201 - len(good)


def test_an_exception_keeps_its_message() -> None:
    """Of an error the log has type and place; what it quotes (a mail, a name) stays out."""
    try:
        raise ValueError("パスワード：secret")
    except ValueError as error:
        caught = (type(error), error, error.__traceback__)
    record = logging.LogRecord("sekisho.x", logging.ERROR, "", 0, "%s failed", ("delivery",), caught)
    event = event_of(record)
    assert (event["says"], event["error"], event["level"]) == ("delivery failed", "ValueError", "error")
    assert "secret" not in json.dumps(event)
    assert "test_an_exception_keeps_its_message" in event["trace"][0]


# -- figures -------------------------------------------------------------------------------------------


def test_exposition() -> None:
    """Samples of one name stand together under its meaning; label values are escaped."""
    samples = [
        ("sekisho_events_total", {"event": 'a"\\\n'}, 1),
        ("sekisho_connections_open", {}, 2),
        ("sekisho_events_total", {"event": "b"}, 3),
    ]
    assert exposition(samples) == (
        "# HELP sekisho_connections_open Open connections, unfinished handshakes included\n"
        "# TYPE sekisho_connections_open gauge\n"
        "sekisho_connections_open 2\n"
        "# HELP sekisho_events_total Refusals, limits hit and connections ended\n"
        "# TYPE sekisho_events_total counter\n"
        'sekisho_events_total{event="a\\"\\\\\\n"} 1\n'
        'sekisho_events_total{event="b"} 3\n'
    )
    with pytest.raises(KeyError, match="sekisho_nothing"):
        exposition([("sekisho_nothing", {}, 1)])


def test_histogram() -> None:
    """Buckets count everything up to their bound, the bound included; the last one is everything."""
    histogram = Histogram()
    for seconds in (0.001, 0.005, 0.006, 99.0):
        histogram.add(seconds)
    found = {labels.get("le", name): value for name, labels, value in histogram.samples("x", {})}
    assert (found["0.005"], found["0.01"], found["10.0"], found["+Inf"]) == (2, 3, 3, 4)
    assert (found["x_count"], found["x_sum"]) == (4, 99.012)


async def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    """/readyz is 503 with words when something keeps us from serving; a taken port is the operator's."""
    wrong = ("the database cannot be written (StorageTrouble)",)
    warnings = ("the certificate server:help.localhost ends in 9 days: sekisho reload",)
    found = [Readiness(wrong, warnings), Readiness((), warnings)]

    async def ready() -> Readiness:
        return found.pop(0)

    async def figures() -> list[tuple[str, dict[str, str], float]]:
        return [("sekisho_mails_waiting", {}, 3)]

    opened = await internal.listen("127.0.0.1", 0, ready, figures)
    url = f"http://127.0.0.1:{opened.port}"
    try:
        async with aiohttp.ClientSession() as session:
            async with session.get(f"{url}/readyz") as got:
                told = {"status": "not ready", "wrong": list(wrong), "warnings": list(warnings)}
                assert (got.status, await got.json()) == (503, told)
            async with session.get(f"{url}/readyz") as got:
                assert (got.status, await got.json()) == (200, told | {"status": "ready", "wrong": []})
            async with session.get(f"{url}/metrics") as got:
                assert got.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
                assert "sekisho_mails_waiting 3\n" in await got.text()
            async with session.post(f"{url}/metrics") as got:
                assert got.status == 405
        with pytest.raises(ConfigError, match=f"internal.port: 127.0.0.1 port {opened.port} cannot be used"):
            await internal.listen("127.0.0.1", opened.port, ready, figures)
    finally:
        await opened.close()


async def _nothing() -> list[Any]:
    return []


async def _well() -> Readiness:
    return Readiness()


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/metrics?a=b", "/nothing"])
@pytest.mark.parametrize(
    ("hosts", "status"),
    [
        (["127.0.0.1"], 200), (["127.0.0.1:9441"], 200), (["[::1]:9441"], 200), (["localhost"], 200),
        (["LocalHost:1"], 200), (["10.0.0.5:9441"], 200), (["watch.example.jp:9441"], 200),
        (["evil.test"], 421), (["localhost.evil.test"], 421), (["127.0.0.1.evil.test:9441"], 421),
        ([""], 421), ([], 200), (["127.0.0.1", "evil.test"], 400), (["127.0.0.1, evil.test"], 421),
        (["evil.test@127.0.0.1"], 421), (["x.watch.example.jp"], 421), (["127.0.0.1:x"], 421),
        (["localhost."], 421), (["0x7f.1"], 421),
    ],
)  # fmt: skip
async def test_it_is_asked_by_names_of_its_own(hosts: list[str], status: int, path: str) -> None:
    """A page whose name leads to this address (DNS rebinding) reads nothing: a Host is an address, localhost,
    or a name that the operator wrote down; anything else is 421 with the setting's name."""
    opened = await internal.listen("127.0.0.1", 0, _well, _nothing, lambda: ("watch.example.jp",))
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", opened.port)
        lines = "".join(f"Host: {host}\r\n" for host in hosts)
        writer.write(f"GET {path} HTTP/1.0\r\n{lines}\r\n".encode())
        said = await asyncio.wait_for(reader.read(), 60)
        writer.close()
        wanted = 404 if (status, path) == (200, "/nothing") else status
        assert int(said.split(b" ")[1]) == wanted
        assert (b"internal.hosts" in said) == (status == 421)
    finally:
        await opened.close()


async def test_who_asks_takes_no_descriptors_from_visitors() -> None:
    """Whoever opens connections and asks nothing makes room for those who come later."""
    opened = await internal.listen("127.0.0.1", 0, _well, _nothing)
    idle = [await asyncio.open_connection("127.0.0.1", opened.port) for _ in range(4 * internal.MOST)]
    try:
        url = f"http://127.0.0.1:{opened.port}/readyz"
        async with aiohttp.ClientSession() as session, session.get(url) as got:
            assert got.status == 200
        async with asyncio.timeout(60):
            for reader, _ in idle[: 3 * internal.MOST]:
                with suppress(ConnectionError):
                    assert await reader.read() == b""
    finally:
        for _, writer in idle:
            writer.close()
        await opened.close()


# -- locks ---------------------------------------------------------------------------------------------

_HOLD = """
import sys
from pathlib import Path
from gateway.running.rundir import take_lead
lock = take_lead(Path(sys.argv[1]))
print("held" if lock else "busy", flush=True)
sys.stdin.read()
"""


def test_one_leads(tmp_path: Path) -> None:
    """The lead belongs to one process, and to the next as soon as that one is dead."""
    with started(
        [sys.executable, "-c", _HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        assert rundir.take_lead(tmp_path) is None
        other.kill()
        other.wait()
        mine = rundir.take_lead(tmp_path)
        assert mine is not None
        assert rundir.take_lead(tmp_path) is None
        mine.close()
        assert rundir.take_lead(tmp_path) is not None


def test_reports_are_of_the_living(tmp_path: Path) -> None:
    """A worker's report counts as long as its process lives; half a file is none."""
    rundir.report(tmp_path, 1, {"ready": True})
    rundir.report(tmp_path, 0, {"ready": False})
    (tmp_path / "worker-2.json").write_text(json.dumps({"worker": 2, "pid": 2**22 + 1}))
    (tmp_path / "worker-3.json").write_text('{"worker": 3')
    found = [(state["worker"], state["ready"]) for state in rundir.reports(tmp_path)]
    assert found == [(0, False), (1, True)]


@pytest.mark.parametrize(
    "odd", ["a pipe", "a link", "a folder", "nested without end", "of nobody", "no number", "huge"]
)
def test_what_is_no_report_is_passed_over(tmp_path: Path, odd: str) -> None:
    """Whoever looks into ``run/``, the process above the workers for one, neither waits nor ends by what
    somebody put there."""
    rundir.report(tmp_path, 0, {"ready": True})
    path, whole = tmp_path / "worker-7.json", json.dumps({"worker": 7, "pid": os.getpid()})
    match odd:
        case "a pipe":
            os.mkfifo(path)
        case "a link":
            (tmp_path / "else").write_text(whole)
            path.symlink_to(tmp_path / "else")
        case "a folder":
            path.mkdir()
        case _:
            said = {"nested without end": "[" * 60_000, "of nobody": json.dumps({"pid": os.getpid()})}
            said |= {"no number": whole.replace("7", '"seven"'), "huge": " " * 100_000 + whole}
            path.write_text(said[odd])
    assert [each["worker"] for each in rundir.reports(tmp_path)] == [0]


def test_one_serves(tmp_path: Path) -> None:
    """A directory is served by one process; what an earlier one left is swept away."""
    (tmp_path / "worker-7.json").write_text("{}")
    lock = rundir.claim(tmp_path)
    assert rundir.serving_pid(tmp_path) == os.getpid()
    assert not (tmp_path / "worker-7.json").exists()
    with pytest.raises(ConfigError, match=f"as process {os.getpid()}"):
        rundir.claim(tmp_path)
    lock.close()
    with pytest.raises(ConfigError, match="nothing serves"):
        rundir.serving_pid(tmp_path)


def test_one_has_it_for_himself(tmp_path: Path) -> None:
    """A demo, or a command: nobody serves it meanwhile, and it is not taken for a server."""
    directory = rundir.run_directory(tmp_path)
    assert rundir.used_by(tmp_path) is None
    lock = rundir.hold(tmp_path, "wait")
    with pytest.raises(ConfigError, match=f"has {tmp_path} for itself: wait$"):
        rundir.hold(tmp_path, "wait")
    assert f"has {tmp_path} for itself" in str(rundir.used_by(tmp_path))
    assert rundir.serves(tmp_path) is None
    with pytest.raises(
        ConfigError, match=f"has {tmp_path} for itself, and takes over nothing .* stop it first$"
    ):
        rundir.serving_pid(directory)
    with pytest.raises(ConfigError, match=f"has {tmp_path} for itself"):
        rundir.claim(directory)
    lock.close()
    assert rundir.used_by(tmp_path) is None
    served = rundir.claim(directory)
    assert rundir.used_by(tmp_path) == f"a gateway serves {tmp_path} (process {os.getpid()})"
    served.close()


# -- the meter -----------------------------------------------------------------------------------------


async def test_who_asked_is_written_down(serve: Serve, pki: Pki, tmp_path: Path) -> None:
    """A line says whose certificate it was and in which state, and who had logged in."""

    async def handler(request: web.BaseRequest) -> web.Response:
        request[http.SUBJECT] = "K12345678"
        return web.Response(text="0123456789")

    journal = Journal(tmp_path / "log")
    running = await serve(check(pki, handler=handler), observer=Meter(journal))
    for certificate in (pki.client, pki.stranger, None):
        async with connect(running.port, b"check.test", certificate=certificate) as client:
            assert (await client.get(b"check.test", b"/a?b=c")).status == 200
    async with connect(running.port, b"check.test") as client:
        assert (await client.get(b"other.test")).status == 421
    journal.close()
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [line.get("certificate", {}).get("state") for line in lines] == [
        "valid",
        "unknown-issuer",
        "none",
        "none",
    ]
    serial = f"{pki.client.certificate.serial_number:x}"
    assert lines[0]["certificate"]["cn"] == "1234567890"
    assert int(lines[0]["certificate"]["serial"], 16) == int(serial, 16)
    assert [line.get("user") for line in lines] == ["K12345678"] * 3 + [None]
    assert {line["path"] for line in lines} == {"/a", "/"}
    assert len({line["connection"] for line in lines}) == 4
    assert all(line["sent"] > 10 for line in lines)


def test_nonsense_fills_no_disk(tmp_path: Path) -> None:
    """Of refused connections so many a second are written down; how many were left out is, too."""
    journal = Journal(tmp_path / "log")
    meter = Meter(journal)
    for _ in range(5_000):
        meter.refused("handshake.failed.plaintext", "192.0.2.1", 1, "http request")
    journal.close()
    assert len((tmp_path / "log").read_text().splitlines()) <= 20 * 10
