"""Runs that somebody got wrong: each ends before any case, with status 2 and one line with what to type."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from conformance import cases, preflight
from conformance.__main__ import ALL_GOOD, USAGE, look_recorded, main
from conformance.case import Case
from conformance.credentials import Credential, Credentials, Usage, load, unbound
from conformance.journal import Journal
from conformance.responder import PREFIX, Ports, answering
from conformance.run import Limits, run
from conformance.validations import remedy
from conformance.verdict import Attempt
from conformance.wire import Wire, client_context
from conformance.world import World
from tests.conformance.test_hostile_servers import Members, acme, refusal, reply, server, world
from tests.ports import free_port

NONE = Ports()
HERE = "https://localhost:1/dir"
NAMES = ({"type": "dns", "value": "a.example"},)
ONE = {"kid": "k", "hmac_key": "AAEC", "identifiers": list(NAMES)}
UNBOUND = Credential("", b"", NAMES, reusable=True)
BOUND = tuple(Credential(f"k{n}", b"k" * 32, NAMES, reusable=True) for n in (1, 2))


# What is typed.


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--timeout", "abc"], "argument --timeout: 'abc' is no number: give seconds, more than 0"),
        (["--timeout", "-1"], "argument --timeout: -1: give seconds, more than 0"),
        (["--deadline", "0"], "argument --deadline: 0: give seconds, more than 0"),
        (["--level", "nonsense"], "argument --level: invalid choice: 'nonsense'"),
        (["--http-01-port", "99999"], "--http-01-port: '99999' is no port: give a number from 1 to 65535"),
        (["--dns-01-port", "0"], "--dns-01-port: '0' is no port"),
        (["--tls-alpn-01-port", "https"], "--tls-alpn-01-port: 'https' is no port"),
        (["--no-such-option"], "unrecognized arguments: --no-such-option; see --help"),
        (["--ca-file", "{tmp}/none.pem"], "--ca-file {tmp}/none.pem: No such file or directory; name a file"),
        (
            ["--ca-file", "{tmp}/empty"],
            "--ca-file {tmp}/empty: no certificate in PEM is in it; give the roots",
        ),
        (["--resolve", "localhost"], "--resolve localhost: write it as --resolve NAME=ADDRESS"),
        (["--identifier", ""], "--identifier '': no DNS name and no address; write it as --identifier www"),
        (["--identifier", "https://a.example/"], "no DNS name and no address"),
        (["--results", "{tmp}/no/such/folder"], "--results {tmp}/no/such/folder: No such file or directory;"),
        (["--results", "{tmp}"], "--results {tmp}: Is a directory; name a file that can be written"),
        (["--json", "{tmp}/no/r.json"], "name a file that can be written"),
        (["--junit", "{tmp}"], "name a file that can be written"),
        (["--resume"], "name it: --results FILE"),
        (["--section", "RFC 1149"], "no case up to level SHOULD matches RFC 1149; see --list"),
        (["--known", "{tmp}/none"], "--known {tmp}/none: No such file or directory; name a file"),
        (["--credentials", "{tmp}/none"], "--credentials {tmp}/none: No such file or directory; name a file"),
        (["--credentials", "{tmp}/empty"], "--credentials {tmp}/empty: not JSON (line 1, column 1:"),
    ],
)
def test_a_wrong_option_is_one_line(options: list[str], said: str, tmp_path: Path, capsys) -> None:
    """No usage before it, no other option blamed, and nothing asked of any server."""
    (tmp_path / "empty").touch()
    typed = [one.format(tmp=tmp_path) for one in options]
    assert main(["--directory", HERE, *typed]) == USAGE
    shown = capsys.readouterr()
    assert said.format(tmp=tmp_path) in shown.err
    assert (shown.err.count("\n"), shown.out) == (1, "")
    assert "Error" not in shown.err


def test_an_address_is_ordered_as_one() -> None:
    """RFC 8738, not a DNS name that looks like it; a name stays a name."""
    assert unbound("127.0.0.1").identifiers == ({"type": "ip", "value": "127.0.0.1"},)
    assert unbound("Www.example.org").identifiers == ({"type": "dns", "value": "Www.example.org"},)


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ([], "the file is [], not an object"),
        ({}, 'the file lacks "credentials" (it is empty)'),
        ({"credential": []}, 'the file has "credential", which nothing reads: did you mean "credentials"?'),
        ({"credentials": {}}, 'the file: "credentials" is {}, not an array'),
        ({"credentials": [ONE, 5]}, "credentials, entry 2 is 5, not an object"),
        ({"credentials": [ONE, {"key_id": "k", "hmac_key": "AAEC", "identifiers": list(NAMES)}]},
         'entry 2 has "key_id", which nothing reads: did you mean "kid"?'),
        ({"credentials": [{**ONE, "hmac-key": "AAEC"}]}, 'entry 1 has "hmac-key", which nothing reads'),
        ({"credentials": [{"kid": "k", "hmac": "AAEC", "identifiers": list(NAMES)}]},
         'entry 1 has "hmac", which nothing reads: did you mean "hmac_key"?'),
        ({"credentials": [{"kid": "k", "identifiers": list(NAMES)}]}, 'has "kid" and lacks "hmac_key"'),
        ({"credentials": [{"hmac_key": "AAEC", "identifiers": list(NAMES)}]}, 'and lacks "kid"'),
        ({"credentials": [{"kid": "k", "hmac_key": "AAEC"}]},
         'entry 1 lacks "identifiers" (it has kid, hmac_key)'),
        ({"credentials": [{**ONE, "kid": 5}]}, '"kid" is 5, not a text that is not empty'),
        ({"credentials": [{**ONE, "hmac_key": "!"}]}, '"hmac_key" is "!", not base64url'),
        ({"credentials": [{**ONE, "alg": "HS265"}]}, '"alg" is "HS265", not one of HS256, HS384, HS512'),
        ({"credentials": [{**ONE, "reusable": "yes"}]}, '"reusable" is "yes", not true or false'),
        ({"credentials": [{**ONE, "identifiers": []}]}, '"identifiers" is [], not an array of'),
        ({"credentials": [{**ONE, "identifiers": ["a.example"]}]},
         'entry 1, identifier 1 is "a.example", not an object'),
        ({"credentials": [{**ONE, "identifiers": [{"type": "dns", "values": "a.example"}]}]},
         'identifier 1 has "values", which nothing reads: did you mean "value"?'),
        ({"credentials": [], "renewal": {"directory": "https://x/", "certificate": "PEM",
          "identifiers": list(NAMES)}}, 'renewal has "certificate" and lacks "key"'),
    ],
)  # fmt: skip
def test_a_credentials_file_is_told_by_entry_and_member(document: object, said: str, tmp_path: Path) -> None:
    """Where it is wrong, what was found there and what is expected: no member is passed over in silence."""
    file = tmp_path / "eab.json"
    file.write_text(json.dumps(document))
    with pytest.raises(Usage) as refused:
        load(str(file))
    assert said in str(refused.value)
    assert str(refused.value).startswith(f"--credentials {file}: ")
    assert '{"credentials":[{"kid":"..","hmac_key":"<base64url>"' in str(refused.value)


def test_a_right_credentials_file_is_read(tmp_path: Path) -> None:
    """The twin: every member that may be there, null for none, and an entry without a binding."""
    file = tmp_path / "eab.json"
    entries = [{**ONE, "alg": "HS512", "profile": None, "reusable": True}, {"identifiers": list(NAMES)}]
    file.write_text(json.dumps({"credentials": entries}))
    first, second = load(str(file)).bindings
    assert (first.kid, first.alg, first.profile, first.reusable) == ("k", "HS512", None, True)
    assert (second.binds, second.reusable) == (False, True)


def test_who_has_read_enough_leaves_without_a_complaint(capsys) -> None:
    """`| head` closes the pipe: status 0 for a list, no traceback, and what is said later goes nowhere."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stdout, redirect_stdout(stdout):
        assert main(["--list"]) == ALL_GOOD
        print("more", flush=True)
    assert capsys.readouterr().err == ""


# What the server makes of it.


@dataclass
class Fake:
    """A server that takes every signature for good. Its orders need a validation, which ends with
    ``error`` or with a real look at the port ``looks_at`` of this machine.
    """

    meta: Members = field(default_factory=dict)
    methods: tuple[str, ...] = ("http-01",)
    error: str | None = None  # the detail of the challenge's error
    kind: str = "connection"
    ends: str = "invalid"  # the status of an authorization that failed; "pending": it tries again
    looks_at: int | None = None
    refuses: Members | None = None  # newOrder
    unresolved: tuple[str, ...] = ()  # names that it does not find
    discontent: tuple[str, ...] = ()  # names whose answers it does not take, whatever they are
    root: str = ""
    names: list[str] = field(default_factory=list)
    states: list[str] = field(default_factory=list)
    orders: list[list[int]] = field(default_factory=list)

    async def answer(self, request: bytes, writer: asyncio.StreamWriter) -> None:
        method, path = request.split(b" ", 2)[:2]
        if method == b"POST":
            status, body, *headers = await self._post(path.decode(), request.partition(b"\r\n\r\n")[2])
        elif path == b"/dir":
            names = ("newNonce", "newAccount", "newOrder", "revokeCert", "keyChange")
            status, body, headers = (
                200,
                {**{one: f"{self.root}/{one}" for one in names}, "meta": self.meta},
                [],
            )
        else:
            status, body, headers = 204, None, []
        kind = "problem+json" if status >= 400 else "json"
        text = b"" if body is None else json.dumps(body).encode()
        writer.write(reply(status, text, f"Content-Type: application/{kind}", *headers))

    async def _post(self, path: str, body: bytes) -> tuple[int, Members, str]:
        encoded = json.loads(body)["payload"]
        payload = json.loads(base64.urlsafe_b64decode(encoded + "==") or b"{}")
        what, _, number = path[1:].partition("/")
        if what == "newAccount":
            return 201, {"status": "valid"}, f"Location: {self.root}/account/1"
        if what == "newOrder":
            return self._new_order(payload)
        if what == "challenge":
            await self._validate(int(number.partition("/")[0]), number.partition("/")[2])
        if what == "order":
            return 200, self._order(int(number)), "X: y"
        return 200, self._authorization(int(number.partition("/")[0])), "X: y"

    def _new_order(self, payload: Members) -> tuple[int, Members, str]:
        if self.refuses is not None:
            return int(str(self.refuses["status"])), self.refuses, "X: y"
        identifiers = payload["identifiers"]
        assert isinstance(identifiers, list)
        first = len(self.names)
        self.names += [one["value"] for one in identifiers]
        self.states += ["pending"] * len(identifiers)
        self.orders.append([*range(first, len(self.names))])
        number = len(self.orders) - 1
        return 201, self._order(number), f"Location: {self.root}/order/{number}"

    def _order(self, number: int) -> Members:
        mine = self.orders[number]
        states = {self.states[one] for one in mine}
        status = "ready" if states == {"valid"} else "invalid" if "invalid" in states else "pending"
        urls = [f"{self.root}/authz/{one}" for one in mine]
        return {"status": status, "authorizations": urls, "finalize": f"{self.root}/finalize/{number}"}

    def _authorization(self, number: int) -> Members:
        name, state = self.names[number], self.states[number]
        failed = {"type": f"urn:ietf:params:acme:error:{self.kind}", "detail": self.error}
        tried = {"error": failed} if self.error is not None else {}
        challenges = [
            {"type": one, "url": f"{self.root}/challenge/{number}/{one}", "token": f"token-{number}", **tried}
            for one in self.methods
        ]
        identifier = {"type": "dns", "value": name}
        return {"status": state, "identifier": identifier, "challenges": challenges}

    async def _validate(self, number: int, method: str) -> None:
        seen = self.error is None and self.looks_at is None
        if method == "http-01" and self.looks_at is not None and self.names[number] not in self.unresolved:
            seen = await self._look(number)
        self.states[number] = "valid" if seen else self.ends

    async def _look(self, number: int) -> bool:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.looks_at)
        except OSError:
            self.error = f"dial tcp 127.0.0.1:{self.looks_at}: connect: connection refused"
            return False
        writer.write(f"GET {PREFIX}token-{number} HTTP/1.1\r\n\r\n".encode())
        found = f"token-{number}.".encode() in await reader.read()
        writer.close()
        return found and self.names[number] not in self.discontent


@asynccontextmanager
async def against(fake: Fake, *bindings: Credential, ports: Ports = NONE) -> AsyncIterator[World]:
    """The suite's world on the fake, with the ports that are answered."""
    async with server(fake.answer) as url:
        fake.root = url
        given = World(f"{url}/dir", Wire(client_context(None)), Credentials(bindings), polls=2)
        async with answering(ports, given.answers):
            yield given
        await given.close()


NO_HOST = 'Get "http://a.example/": dial tcp: lookup a.example on 10.0.0.1:53: no such host'
NO_DNS = "lookup a.example: read udp 127.0.0.1:40000->127.0.0.1:17553: read: connection refused"
REFUSED = 'Get "http://a.example:5002/x": dial tcp 127.0.0.1:5002: connect: connection refused'


@pytest.mark.parametrize(
    ("fake", "bindings", "said"),
    [
        (Fake({"externalAccountRequired": True}), (),
         "requires external account bindings, and none is given: add --credentials FILE, or try only what "
         "needs no account: --without-account"),
        (Fake({"externalAccountRequired": True}), (UNBOUND,),
         r"none is given \(--identifier gives names, and no binding\): add --credentials FILE"),
        (Fake(), (), "no name to order is given: add --identifier NAME, which leads here, or try only what"),
        (Fake(refuses=refusal(403, "rejectedIdentifier", "not yours")), (UNBOUND,),
         "no order for a.example is taken: 403 rejectedIdentifier: not yours; order a name that is, by --id"),
        (Fake(refuses=refusal(400, "unsupportedIdentifier")), BOUND, "a name that is, in --credentials FILE"),
        (Fake(error=REFUSED), (UNBOUND,),
         "is 'invalid' by http-01 .connection: Get .*connection refused.; add --http-01-port PORT, the port"),
        (Fake(error=NO_HOST), (UNBOUND,),
         "no such host.*a.example does not resolve for the server: let it, to here, or .*--identifier NAME"),
        (Fake(error="x", kind="dns"), BOUND, "does not resolve for the server.* in --credentials FILE"),
        (Fake(error=NO_DNS), (UNBOUND,),
         "the name server that it asks, 127.0.0.1:17553, does not answer: be it, by --dns-01-port 17553, "
         "and add --http-01-port PORT"),
        (Fake(methods=("dns-01",), error="no TXT record"), (UNBOUND,), "add --dns-01-port PORT, and have"),
        (Fake(methods=("tls-alpn-01",), error="refused"), (UNBOUND,), "add --tls-alpn-01-port PORT"),
    ],
)  # fmt: skip
async def test_what_is_missing_ends_the_look(fake: Fake, bindings: tuple[Credential, ...], said: str) -> None:
    """The server's own error is quoted, and the line ends with what to type."""
    async with against(fake, *bindings) as asked:
        with pytest.raises(Usage, match=said):
            await preflight.look(asked)


async def test_what_was_said_before_a_run_that_ended_is_written_down(tmp_path: Path) -> None:
    """The look's exchanges are in --results, the refusal among them; another run's results are left alone."""
    file, kept = tmp_path / "results", tmp_path / "kept"
    kept.write_text("somebody's\n")
    for path in (file, kept):
        fake = Fake(refuses=refusal(403, "rejectedIdentifier", "not yours"))
        async with against(fake, UNBOUND) as asked:
            journal = Journal(str(path), HERE, resume=False)
            with pytest.raises(Usage, match="not yours"):
                await look_recorded(asked, journal, accounts=True)
    said = Journal(str(file), HERE, resume=True).said
    assert said[0].call.method == "GET"
    assert (said[-1].call.method, said[-1].answer.status) == ("POST", 403)
    assert b"rejectedIdentifier" in said[-1].answer.body
    assert kept.read_text() == "somebody's\n"


@pytest.mark.parametrize(
    ("fake", "method", "said"),
    [
        (Fake(looks_at=1), "http", "the server looks at 127.0.0.1:1: --http-01-port 1"),
        (Fake(error=REFUSED, ends="pending"), "http",
         "is 'pending' .*looks at 127.0.0.1:5002: --http-01-port 5002"),
        (Fake(error=None, looks_at=1, unresolved=("a.example",), ends="pending"), "http",
         r"nobody asked on --http-01-port \d+: either the server asks another port \(80, .*a.example leads"),
        (Fake(error=NO_DNS), "http", "be it, by --dns-01-port 17553$"),
        (Fake(error=NO_HOST), "http", "a.example does not resolve for the server"),
        (Fake(methods=("tls-alpn-01",), error="nobody"), "alpn",
         r"nobody asked on --tls-alpn-01-port \d+: either the server asks another port \(443, unless"),
        (Fake(methods=("dns-01",), error="NXDOMAIN"), "dns",
         r"nobody asked on --dns-01-port \d+: have the server ask the DNS at 127.0.0.1:"),
    ],
)  # fmt: skip
async def test_a_port_that_nobody_asks_ends_the_look(fake: Fake, method: str, said: str) -> None:
    """Told apart: another port, a name that leads elsewhere or nowhere, a name server that is silent."""
    async with against(fake, UNBOUND, ports=Ports(**{method: free_port()})) as asked:
        with pytest.raises(
            Usage, match=f"^orders do not become ready: the authorization of a.example.*{said}"
        ):
            await preflight.look(asked)


async def test_each_port_that_is_given_is_tried() -> None:
    """A right --http-01-port does not hide a wrong --tls-alpn-01-port."""
    right = free_port()
    fake = Fake(methods=("http-01", "tls-alpn-01"), looks_at=right)
    async with against(fake, UNBOUND, ports=Ports(http=right, alpn=free_port())) as asked:
        with pytest.raises(Usage, match=r"by tls-alpn-01; nobody asked on --tls-alpn-01-port \d+: either"):
            await preflight.look(asked)
        assert asked.answers.visits("http-01")


async def test_a_right_run_goes_on() -> None:
    """The twin: the server comes for the answer, by each name, and the lines say how orders become ready."""
    port = free_port()
    other = Credential("", b"", ({"type": "dns", "value": "b.example"},), reusable=True)
    fake = Fake(looks_at=port)
    async with against(fake, UNBOUND, other, ports=Ports(http=port, dns=free_port())) as asked:
        lines = (await preflight.look(asked)).lines
    assert lines[2:] == (
        "accounts no binding required; 2 identifiers: a.example, b.example",
        "orders   ready by http-01",
        "         --dns-01-port is given, and the server offers no dns-01 here",
    )
    assert fake.names == ["a.example", "b.example"]


async def test_each_name_that_is_given_is_tried() -> None:
    """A second name that does not resolve would block what needs two."""
    port = free_port()
    other = Credential("", b"", ({"type": "dns", "value": "b.example"},), reusable=True)
    fake = Fake(looks_at=port, unresolved=("b.example",))
    async with against(fake, UNBOUND, other, ports=Ports(http=port)) as asked:
        with pytest.raises(
            Usage, match=r"the authorization of b.example is 'invalid'.*b.example leads elsewhere"
        ):
            await preflight.look(asked)


async def test_what_the_server_makes_of_the_right_answer_is_its_own() -> None:
    """It came, was told, and still says no: the cases say so, and the run goes on."""
    attempt = Attempt("http-01", NAMES[0], "invalid", "connection: no such host", asked=True)
    assert remedy(attempt, {"http-01": 80}, True, "") == ""
    stray = Attempt("http-01", NAMES[0], "invalid", "connection: wrong answer", asked=False)
    assert remedy(stray, {"http-01": 80}, True, "") == ""


def test_the_usual_port_is_not_doubted() -> None:
    """Nobody asked where servers ask: it is the name."""
    attempt = Attempt("http-01", NAMES[0], "pending", "connection: no connection", asked=False)
    assert remedy(attempt, {"http-01": 80}, False, "by --iden NAME") == (
        "nobody asked on --http-01-port 80, where servers ask unless they are configured otherwise: "
        "a.example does not resolve for the server, or leads elsewhere, so order another, by --iden NAME"
    )


async def test_a_single_wrong_credential_ends_the_run() -> None:
    """A single credential that binds once is not spent by the look; the first case that does ends the run."""
    at = [""]
    meta: Members = {"externalAccountRequired": True}
    async with server(acme(at, refusal(403, "unauthorized", "unknown kid"), meta)) as url:
        at[0] = url
        asked = world(url, (Credential("k1", b"k" * 32, NAMES),))
        await preflight.look(asked)
        chosen = [one for one in cases.CASES if one.id in {"nonce.get", "nonce.missing"}]
        with pytest.raises(Usage, match=r"no account can be made.*unknown kid.*Give fresh bindings"):
            await run(asked, chosen, Limits(5))
        await asked.close()


async def test_what_needs_no_account_needs_nothing_given() -> None:
    """The cases of --without-account ask for no account, whatever the server says of its accounts."""
    # Large keys take a second each, and are asked for by the same request.
    free = [one for one in cases.CASES if not cases.needs_account(one)]
    chosen = [one for one in free if "rsa" not in one.id and "rs256" not in one.id]
    at = [""]
    meta: Members = {"externalAccountRequired": True, "termsOfService": "https://x/"}
    async with server(acme(at, refusal(400, "malformed"), meta)) as url:
        at[0] = url
        asked = world(url)
        await preflight.look(asked, accounts=False)
        results = await run(asked, chosen, Limits(30))
        await asked.close()
    wanting = [one.case.id for one in results if "would run it" in one.detail or one.outcome == "BLOCKED"]
    assert wanting == []
    assert len(results) > 40


async def test_plain_http_where_tls_is_spoken() -> None:
    """A port for TLS answers plain HTTP by 400: the line has the URL with https."""
    at = [""]

    async def refuse(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(reply(400, b"Client sent an HTTP request to an HTTPS server."))

    async with server(refuse) as url:
        at[0] = url
        asked = world(url)
        with pytest.raises(Usage, match=rf"with TLS\? --directory {url.replace('http', 'https')}/dir$"):
            await preflight.look(asked)
        await asked.close()


# Names that nobody gave.


def _several() -> list[Case]:
    return [one for one in cases.CASES if one.id == "several.issues"]


async def test_a_name_below_that_does_not_resolve_is_no_failure() -> None:
    """a.NAME was not given: where the server does not find it, nothing is said about the server."""
    port = free_port()
    fake = Fake(looks_at=port, unresolved=("a.a.example",))
    async with against(fake, UNBOUND, ports=Ports(http=port)) as asked:
        (result,) = await run(asked, _several(), Limits(30))
    assert result.outcome == "SKIP"
    assert "the authorization of a.a.example is 'invalid' by http-01; nobody came" in result.detail
    assert result.detail.endswith("a.a.example has to resolve for the server, and to lead here")


async def test_a_name_below_that_is_found_and_refused_is_a_failure() -> None:
    """The twin: the server came for the right answer and was not content."""
    port = free_port()
    fake = Fake(looks_at=port, discontent=("a.a.example",))
    async with against(fake, UNBOUND, ports=Ports(http=port)) as asked:
        (result,) = await run(asked, _several(), Limits(30))
    assert result.outcome == "FAIL"
    assert result.detail == "the authorization of a.a.example is 'invalid' by http-01"


# What is lacking in a run that goes on.


@pytest.mark.parametrize(
    ("bindings", "case", "said"),
    [
        ((UNBOUND,), "eab.wrong-mac", "the server asks for no external account binding, and none is given"),
        (
            (UNBOUND,),
            "revoke.anothers",
            "needs another name to order: --identifier NAME once more would run it",
        ),
        (
            BOUND[:1],
            "revoke.anothers",
            "needs a fresh credential for other names: one more in --credentials FILE",
        ),
    ],
)
async def test_a_skip_says_which_option_would_run_it(
    bindings: tuple[Credential, ...], case: str, said: str
) -> None:
    """A name for a server without bindings, a credential for one with them; neither where nothing helps."""
    async with against(Fake(), *bindings) as asked:
        await preflight.look(asked)
        chosen = [one for one in cases.CASES if one.id == case]
        asked.put("certificate", object())  # nobody's: the case is skipped before it looks at it
        (result,) = await run(asked, chosen, Limits(30))
    assert (result.outcome, result.detail[: len(said)]) == ("SKIP", said)
