"""The registration API: who gets in, what each role may, and that what is asked for twice is done once."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ca import datadir
from enroll import repeats, scheduler
from enroll import store as enrollment
from enroll.operators import asking, credentials
from enroll.operators import store as operators
from enroll.operators.actors import By, contains, of_operator, of_service
from enroll.operators.roles import Act, Role, Verdict, permitted
from enroll.operators.store import Passkey
from enroll.people import changes
from enroll.refusals import Refusal
from gateway.sites.api import records
from gateway.sites.api.calls import Call, one
from gateway.sites.api.organisations import standing
from gateway.sites.api.problems import Problem
from gateway.sites.api.table import ROUTES
from tests.datadirs import PASSPHRASE, POLICY_NUMBER, admit, clock_of
from tests.gateway.sites.kit import client_context
from tests.gateway.sites.services import P12_PASSWORD, Got, House, Service, faults, new_key, open_house
from tests.looking import look

_NEW = {"policy_number": "87654321", "name": "丸の内商事"}


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(tmp_path) as opened:
        yield opened


# -- the door --------------------------------------------------------------------------------------------


async def test_who_gets_in(house: House) -> None:
    """A service with its certificate from a listed address; no person, no stranger, nobody without one."""
    hr = await house.service("hr", Role.REGISTRAR)
    assert (await hr.get("/v1/organisations")).value == {"items": [], "next": None}
    nobody = Service(hr.operator, hr.issued, house.served.visitor())
    got = await nobody.get("/v1/organisations")
    assert (got.status, got.type) == (403, "no_certificate")
    person = await house.service("suzuki", Role.REGISTRAR, networks=(), kind="person")
    got = await person.get("/v1/organisations")
    assert (got.status, got.type) == (403, "not_permitted")
    assert "people use the console" in got.value["detail"]
    far = await house.service("far", Role.REGISTRAR, networks=("192.0.2.0/24", "2001:db8::/32"))
    got = await far.get("/v1/organisations")
    assert (got.status, got.value["field"]) == (403, "address")
    await house.change(far, networks=("192.0.2.0/24", "127.0.0.1"))
    assert (await far.get("/v1/organisations")).status == 200


async def test_an_ended_service_is_nobody(house: House) -> None:
    """With its end, or its certificate's, nothing is open any more, whatever was asked before."""
    hr = await house.service("hr", Role.REGISTRAR)
    assert (await hr.get("/v1/organisations")).status == 200
    await credentials.withdraw(house.ra, await house.host(), hr.issued.serial, "cessationOfOperation")
    assert (await hr.get("/v1/organisations")).type == "no_certificate"
    other = await house.service("other", Role.REGISTRAR)
    await house.change(other, ended_at=house.ra.now())
    assert (await other.get("/v1/organisations")).type == "not_permitted"


@pytest.mark.parametrize(
    ("network", "address", "within"),
    [
        ("192.0.2.0/24", "192.0.2.7", True),
        ("192.0.2.0/24", "::ffff:192.0.2.7", True),
        ("192.0.2.0/24", "192.0.3.7", False),
        ("192.0.2.7", "192.0.2.7", True),
        ("2001:db8::/32", "2001:db8::1", True),
        ("2001:db8::/32", "192.0.2.7", False),
    ],
)
def test_where_an_address_is(network: str, address: str, within: bool) -> None:
    """IPv4 and IPv6 are never each other's, but for an IPv4 address as an IPv6 socket has it."""
    assert contains(network, address) is within


async def test_each_has_a_door_of_its_own(house: House) -> None:
    """In the function: a person is nobody by certificate alone, a service nobody at the console, and has no
    passkey; decided is nothing by a service, whatever its roles."""
    ra, every = house.ra, tuple(Role)
    hr = await house.service("hr", *every)
    number = hr.operator.number
    for by in (By.CONSOLE, By.ACCOUNT):
        with pytest.raises(Refusal, match="is a service"):
            await ra.database.read(lambda db, by=by: of_operator(db, number, by))  # type: ignore[misc]
    person = await house.operator("suzuki", Role.DESK)
    with pytest.raises(Refusal, match="is a person"):
        await ra.database.read(lambda db: of_operator(db, person.number, By.CERTIFICATE))
    with pytest.raises(Refusal, match="has no passkey"):
        await credentials.add_passkey(ra, Passkey("abc", number, b"k", 0, "PC", ra.now()))
    print_ = look(ra.database).one("SELECT fingerprint FROM operator_certificates")
    assert print_ is not None
    actor = await ra.database.read(lambda db: of_service(db, print_[0], "127.0.0.1"))
    assert [act for act in Act if actor.decides(act) or Verdict.DECIDE in actor.may(act)] == []
    proposer = await house.person("proposer", Role.REGISTRAR)
    found = await asking.ask(ra, proposer, "organisation.add", {**_NEW, "lineages": None})
    assert isinstance(found, asking.Proposed)
    with pytest.raises(Refusal, match="may not decide"):
        await asking.approve(ra, actor, found.number)
    with pytest.raises(Refusal, match="may not decide"):
        await asking.reject(ra, actor, found.number, note="no")


@pytest.mark.parametrize(
    ("words", "status", "kind"),
    [
        (b"GET /v1/users?cursor=%00 HTTP/1.1\r\nHost: HERE\r\n", 400, "malformed"),
        (b"GET /v1/users?cursor=% HTTP/1.1\r\nHost: HERE\r\n", 400, "malformed"),
        (b"GET /v1/../users HTTP/1.1\r\nHost: HERE\r\n", 400, "malformed"),
        (b"GET https://HERE/v1/users HTTP/1.1\r\nHost: HERE\r\n", 400, "malformed"),
        (b"GET /v1/users HTTP/1.1\r\nHost: HERE\r\nHost: HERE\r\n", 400, "malformed"),
        (b"GET /v1/users HTTP/1.1\r\nHost: HERE\r\nX_Y: z\r\n", 400, "malformed"),
        (b"GET /v1/users HTTP/1.1\r\nHost : HERE\r\n", 400, "malformed"),
        (b"\x16\x03\x01\x00\x05hello\r\n", 400, "malformed"),
        (b"POST /v1/users HTTP/1.1\r\nHost: HERE\r\nContent-Type: application/json\r\n"
         b"Idempotency-Key: k\r\nTransfer-Encoding: chunked\r\n\r\nno\r\n", 400, "malformed"),
        (b"GET /v1/users?cursor=" + b"a" * 9000 + b" HTTP/1.1\r\nHost: HERE\r\n", 414, "target_too_long"),
        (b"GET /v1/users HTTP/1.1\r\nHost: HERE\r\nExpect: 200-ok\r\n", 417, "expectation_failed"),
        (b"GET /v1/users HTTP/1.1\r\nHost: other.test\r\n", 421, "misdirected"),
        (b"GET /v1/users HTTP/1.1\r\nHost: HERE\r\nX: " + b"a" * 9000 + b"\r\n", 431, "header_too_large"),
        (b"TRACE /v1/users HTTP/1.1\r\nHost: HERE\r\n", 501, "not_implemented"),
        (b"POST /v1/users HTTP/1.1\r\nHost: HERE\r\nTransfer-Encoding: gzip, chunked\r\n",
         501, "not_implemented"),
        (b"DELETE /v1/users HTTP/1.1\r\nHost: HERE\r\n", 405, "method_not_allowed"),
        (b"GET /v1/users HTTP/2.0\r\nHost: HERE\r\n", 505, "version_not_supported"),
        # The twin.
        (b"GET /v1/users HTTP/1.1\r\nHost: HERE\r\n", 200, ""),
    ],
)  # fmt: skip
async def test_what_the_wire_refuses_is_a_problem(
    house: House, tmp_path: Path, words: bytes, status: int, kind: str
) -> None:
    """Whatever a program sends, what it reads is JSON, as it is described, of a type of ours."""
    hr = await house.service("hr", Role.REGISTRAR)
    server_ca = datadir.load(tmp_path / "data", PASSPHRASE).server_ca_pem
    trusted = client_context(server_ca, hr.issued.p12, P12_PASSWORD, tmp_path)
    port = int(hr.at.origin.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusted, server_hostname="api.test")
    writer.write(words.replace(b"HERE", b"api.test:%d" % port) + b"Connection: close\r\n\r\n")
    async with asyncio.timeout(60):
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    line, *lines = head.decode().split("\r\n")
    headers = dict(each.split(": ", 1) for each in lines)
    assert int(line.split()[1]) == status
    if kind:
        assert Got(status, headers, body).type == kind
        method = "POST" if words.startswith(b"POST") else "GET"
        assert status == 405 or faults(method, "/v1/users", status, headers, body) == []
    assert headers["Content-Type"] == "application/problem+json" if kind else "application/json"
    assert headers["Cache-Control"] == "no-store"


# -- roles (O3) ------------------------------------------------------------------------------------------

#: Route -> the roles that some of it is open to: the table a second time.
_SEES = "desk registrar approver auditor"
_ALL = " ".join(Role)
MAY = {
    "GET /v1/organisations": _SEES,
    "POST /v1/organisations": "registrar",
    "GET /v1/organisations/{policy_number}": _SEES,
    "PATCH /v1/organisations/{policy_number}": "registrar",
    "POST /v1/organisations/{policy_number}/disablements": "registrar",
    "POST /v1/organisations/{policy_number}/enablements": "registrar",
    "GET /v1/users": _SEES,
    "POST /v1/users": "registrar",
    "GET /v1/users/{user_id}": _SEES,
    "PATCH /v1/users/{user_id}": "registrar",
    "POST /v1/users/{user_id}/suspensions": "desk registrar",
    "POST /v1/users/{user_id}/releases": "registrar",
    "POST /v1/users/{user_id}/disablements": "registrar",
    "POST /v1/users/{user_id}/enablements": "registrar",
    "POST /v1/users/{user_id}/password-resets": "desk registrar",
    "POST /v1/users/{user_id}/reissues": "registrar",
    "GET /v1/applications": _SEES,
    "POST /v1/applications": "desk registrar",
    "GET /v1/applications/{number}": _SEES,
    "POST /v1/applications/{number}/approvals": "registrar",
    "POST /v1/applications/{number}/rejections": "registrar",
    "GET /v1/requests": _SEES,
    "GET /v1/requests/{request_id}": _SEES,
    "GET /v1/certificates": _SEES,
    "GET /v1/certificates/{serial}": _SEES,
    "POST /v1/certificates/{serial}/revocations": "desk registrar",
    "POST /v1/certificates/{serial}/releases": "registrar",
    "GET /v1/letters": _SEES,
    "GET /v1/letters/{number}": _SEES,
    "POST /v1/letters/{number}/resends": "desk registrar",
    "GET /v1/jobs": _ALL,
    "GET /v1/jobs/{number}": _ALL,
    "POST /v1/jobs/{number}/cancellations": _ALL,
    "POST /v1/jobs/{number}/resumptions": _ALL,
    "GET /v1/imports": _ALL,
    "POST /v1/imports": "registrar",
    "GET /v1/imports/{number}": _ALL,
    "GET /v1/imports/{number}/failures": _ALL,
    "POST /v1/imports/{number}/undoings": "registrar",
    "GET /v1/proposals": _ALL,
    "GET /v1/proposals/{number}": _ALL,
    "POST /v1/proposals/{number}/withdrawals": _ALL,
    "GET /v1/webhook-endpoints": "ca-officer auditor",
    "POST /v1/webhook-endpoints": "ca-officer",
    "GET /v1/webhook-endpoints/{name}": "ca-officer auditor",
    "PATCH /v1/webhook-endpoints/{name}": "ca-officer",
    "POST /v1/webhook-endpoints/{name}/endings": "ca-officer",
    "POST /v1/webhook-endpoints/{name}/rotations": "ca-officer",
    "POST /v1/webhook-endpoints/{name}/disablements": "ca-officer",
    "POST /v1/webhook-endpoints/{name}/enablements": "ca-officer",
    "POST /v1/webhook-endpoints/{name}/tests": "ca-officer",
    "GET /v1/deliveries": "ca-officer auditor",
    "GET /v1/deliveries/{number}": "ca-officer auditor",
    "POST /v1/deliveries/{number}/replays": "ca-officer",
    "GET /v1/campaigns": _ALL,
    "POST /v1/campaigns": "registrar",
    "GET /v1/campaigns/{number}": _ALL,
    "GET /v1/campaigns/{number}/organisations": _ALL,
    "POST /v1/campaigns/{number}/reminders": "registrar",
    "POST /v1/campaigns/{number}/endings": "registrar",
    "GET /v1/reports": _SEES,
    "GET /v1/reports/{name}": _SEES,
    "GET /v1/audit-events": "approver auditor",
    "GET /v1/openapi.yaml": _ALL,
    "GET /v1/openapi.json": _ALL,
}


def test_every_route_has_its_row() -> None:
    """A new route without a row fails here; and the row agrees with what the route asks of the roles."""
    assert len(ROUTES) == len({(each.method, each.path) for each in ROUTES})
    assert {f"{each.method} {each.path}" for each in ROUTES} == set(MAY)
    for route in ROUTES:
        if route.act is not None:
            found = [role for role in Role if permitted([role], route.act, "service") & route.wanted]
            assert found == MAY[f"{route.method} {route.path}"].split(), route
        assert re.fullmatch(r"/v1(/[a-z]+(-[a-z]+)*(\.[a-z]+)?|/\{[a-z_]+\})+", route.path), route


async def test_roles_and_routes(house: House) -> None:
    """O3: what a role may not do is 403, whatever is sent, and is told by whom it may be done; what it may is
    not."""
    for role in Role:
        service = await house.service(str(role), role)
        for route in ROUTES:
            path = re.sub(r"\{\w+\}", "12345678", route.path)
            headers = {"Idempotency-Key": new_key(), "If-Match": "*"}
            got = await service.ask(route.method, path, headers=headers)
            allowed = str(role) in MAY[f"{route.method} {route.path}"].split()
            assert (got.status != 403) is allowed, (role, route, got.body)
            if not allowed:
                assert got.type == "not_permitted"
            assert got.status < 500, (route, got.body)


# -- what is asked for -----------------------------------------------------------------------------------


async def test_what_takes_two_is_proposed(house: House) -> None:
    """202 with the proposal and where it is; decided by somebody at the console, it is there."""
    hr = await house.service("hr", Role.REGISTRAR)
    got = await hr.post("/v1/organisations", {**_NEW, "reason": "契約"})
    assert (got.status, got.headers["Location"]) == (202, f"/v1/proposals/{got.value['number']}")
    assert got.value["kind"] == "organisation.add"
    assert (got.value["state"], got.value["deciders"], got.value["reason"]) == (
        *("pending", ["approver"], "契約"),
    )
    assert got.value["made_at"] == "2026-11-22T03:00:00Z"
    assert (await hr.get("/v1/organisations/87654321")).type == "not_found"
    again = await hr.post("/v1/organisations", _NEW)
    assert (again.status, again.type) == (409, "conflict")
    approver = await house.person("shounin", Role.APPROVER)
    await asking.approve(house.ra, approver, got.value["number"])
    found = await hr.get("/v1/organisations/87654321")
    assert (found.status, found.value["name"], found.value["disabled_at"]) == (200, "丸の内商事", None)


async def test_what_one_may_alone_is_done(house: House) -> None:
    """利用停止 and a new login password need no second one of a registrar; the trail says who it was."""
    await admit(house.ra)
    hr = await house.service("hr", Role.REGISTRAR)
    got = await hr.post("/v1/users/K12345678/suspensions", {"reason": "盗難"})
    assert (got.status, got.value) == (200, {"user_id": "K12345678", "certificates": 0})
    got = await hr.post("/v1/users/K12345678/password-resets")
    assert (got.status, got.value["user_id"]) == (200, "K12345678")
    assert "password" not in got.body.decode()
    lines = enrollment.audit_page(look(house.ra.database), "K12345678", 10)
    assert {each["action"]: each["actor"] for each in lines}["password.reset"] == "operator:hr"
    desk = await house.service("desk", Role.DESK)
    assert (await desk.post("/v1/users/K12345678/password-resets")).status == 202


async def test_a_change_is_of_what_was_read(house: House) -> None:
    """If-Match: without it 428, with an earlier tag 412, and of two at once one; "*" is whatever is there."""
    await admit(house.ra)
    hr = await house.service("hr", Role.REGISTRAR)
    path = f"/v1/organisations/{POLICY_NUMBER}"
    tag = (await hr.get(path)).headers["ETag"]
    assert (await hr.patch(path, {"name": "霞が関物産"})).type == "precondition_required"
    assert (await hr.patch(path, {"name": "霞が関物産"}, '"0123"')).type == "precondition_failed"
    assert (await hr.patch(path, {"name": "霞が関物産"}, f"W/{tag}")).type == "precondition_failed"
    assert (await hr.patch(path, {"name": "霞が関物産"}, "0123")).type == "malformed"
    got = await hr.patch(path, {"name": "霞が関物産"}, f'"0123", {tag}')
    assert got.status == 202
    await asking.approve(house.ra, await house.person("shounin", Role.APPROVER), got.value["number"])
    assert (await hr.get(path)).headers["ETag"] != tag
    assert (await hr.patch(path, {"name": "霞が関商会"}, tag)).type == "precondition_failed"
    assert (await hr.patch(path, {"name": "霞が関商会"}, "*")).status == 202


async def test_of_twenty_changes_of_what_was_read_one_is_made(house: House) -> None:
    """All with the tag that all have read: what the first one does, the others no longer do. Proposed twenty
    times, it is one proposal."""
    await admit(house.ra)
    ra, hr = house.ra, await house.service("hr", Role.REGISTRAR)
    path = f"/v1/organisations/{POLICY_NUMBER}"
    tag = (await hr.get(path)).headers["ETag"]
    same = await asyncio.gather(*(hr.patch(path, {"name": "霞が関物産"}, tag) for _ in range(20)))
    assert sorted(each.status for each in same) == [202] + [409] * 19
    actor = await ra.database.read(lambda db: of_operator(db, hr.operator.number, By.CERTIFICATE))
    call = Call(house.served.gate, actor, {}, None, None, asyncio.Lock(), if_match=frozenset({tag}))

    async def race(name: str) -> str:
        async def do(given: Any) -> None:
            await changes.change_organisation(given, POLICY_NUMBER, {"name": name}, actor="test")

        try:
            answer = await call.changing(
                lambda db: standing(db, POLICY_NUMBER), do, lambda db, _: one(standing(db, POLICY_NUMBER))
            )
        except Problem as problem:
            return problem.code
        return str(answer.value["name"])

    raced = await asyncio.gather(*(race(f"商事 {number}") for number in range(20)))
    won = [each for each in raced if each != "precondition_failed"]
    assert len(won) == 1
    assert (await hr.get(path)).value["name"] == won[0]
    lines = enrollment.audit_page(look(ra.database), POLICY_NUMBER, 50)
    assert [each["action"] for each in lines].count("organisation.changed") == 1


async def test_a_list_goes_on_where_it_ended(house: House) -> None:
    """Cursors: each row once, in the order of its key, to the end; a made-up cursor or size is refused."""
    for number in range(5):
        await admit(house.ra, f"K0000000{number}")
    hr = await house.service("hr", Role.AUDITOR)
    found, cursor = [], ""
    while True:
        query = {"limit": 2, "policy_number": POLICY_NUMBER} | ({"cursor": cursor} if cursor else {})
        got = await hr.get("/v1/users", **query)
        found += [each["user_id"] for each in got.value["items"]]
        if got.value["next"] is None:
            break
        cursor = got.value["next"]
    assert found == [f"K0000000{number}" for number in range(5)]
    for query in ({"limit": 0}, {"limit": 201}, {"limit": "x"}, {"cursor": "?"}, {"cursor": "x" * 500}):
        got = await hr.get("/v1/users", **query)
        assert (got.status, got.type, got.value["field"]) == (422, "invalid_input", next(iter(query)))
    assert (await hr.get("/v1/users?limit=1&limit=2")).value["field"] == "limit"
    assert (await hr.get("/v1/users", more=1)).type == "invalid_input"
    shown = enrollment.audit_page(look(house.ra.database), "search", 10)
    assert {"K00000000", "K00000001"} <= {who for each in shown for who in each["detail"]["shown"]}


async def test_who_was_read_stands_in_the_trail(house: House) -> None:
    """O18: a person's data that were read are an entry; somebody who is not there is none."""
    await admit(house.ra)
    hr = await house.service("hr", Role.DESK)
    got = await hr.get("/v1/users/K12345678")
    assert (got.status, got.value["mail"]) == (200, "k12345678@example.jp")
    assert not {"password_hash", "password_initial"} & set(got.value)
    assert (await hr.get("/v1/users/K99999999")).type == "not_found"
    line = enrollment.audit_page(look(house.ra.database), "K12345678", 1)[0]
    assert (line["action"], line["actor"]) == ("person.seen", "operator:hr")


# -- what is no request ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, "malformed"),
        (b"[]", 400, "malformed"),
        (b'{"name": "a", "name": "b"}', 400, "malformed"),
        (b'{"name": NaN}', 400, "malformed"),
        (b'{"name": "\\ud800"}', 400, "malformed"),
        (b"\xff", 400, "malformed"),
        (b"[" * 10_000, 400, "malformed"),
        (b"{}", 422, "invalid_input"),
        (json.dumps({**_NEW, "more": 1}).encode(), 422, "invalid_input"),
        (json.dumps({**_NEW, "name": 1}).encode(), 422, "invalid_input"),
        (json.dumps({**_NEW, "name": "a\x00b"}).encode(), 422, "invalid_input"),
        (json.dumps({**_NEW, "lineages": 1.5}).encode(), 422, "invalid_input"),
        (json.dumps({**_NEW, "lineages": True}).encode(), 422, "invalid_input"),
        (json.dumps({**_NEW, "reason": "a\nb"}).encode(), 422, "invalid_input"),
        (b" " * 70_000, 413, "too_large"),
    ],
)
async def test_what_is_no_body(house: House, body: bytes, status: int, code: str) -> None:
    """Strict JSON, names once, known members, bounded: a problem that says what, and nothing is proposed."""
    hr = await house.service("hr", Role.REGISTRAR)
    got = await hr.post("/v1/organisations", body)
    assert (got.status, got.type) == (status, code)
    assert operators.proposals(look(house.ra.database)) == []


async def test_what_is_no_resource(house: House) -> None:
    """404, 405 with Allow, 415: problem documents as well; HEAD is GET without the body."""
    hr = await house.service("hr", Role.REGISTRAR)
    assert (await hr.get("/v1/nowhere")).type == "not_found"
    assert (await hr.get("/")).type == "not_found"
    got = await hr.ask("DELETE", "/v1/users")
    assert (got.type, got.headers["Allow"]) == ("method_not_allowed", "GET, HEAD, POST")
    got = await hr.post("/v1/organisations", b"a=b", **{"Content-Type": "application/x-www-form-urlencoded"})
    assert got.type == "unsupported_media_type"
    head = await hr.ask("HEAD", "/v1/users")
    assert (head.status, head.body, head.headers["Cache-Control"]) == (200, b"", "no-store")


# -- once ------------------------------------------------------------------------------------------------


async def test_a_key_is_answered_once(house: House) -> None:
    """The same request under a key gets the same answer for a day, and is not done again; another body or
    path is refused, and another account has keys of its own."""
    await admit(house.ra)
    hr = await house.service("hr", Role.REGISTRAR)
    first = await hr.post("/v1/organisations", _NEW, key="one")
    assert first.status == 202
    clock_of(house.ra).advance(seconds=86_399)
    await scheduler.close_overdue(house.ra)
    again = await hr.post("/v1/organisations", _NEW, key='"one"')
    assert (again.status, again.value, again.headers["Location"]) == (
        *(202, first.value, first.headers["Location"]),
    )
    assert (await hr.post("/v1/organisations", {**_NEW, "name": "x"}, key="one")).type == "key_reused"
    assert (await hr.post(f"/v1/organisations/{POLICY_NUMBER}/disablements", key="one")).type == "key_reused"
    other = await house.service("other", Role.REGISTRAR)
    assert (await other.post("/v1/organisations", _NEW, key="one")).type == "conflict"
    for key in ("", "é", "a b", "x" * 129):
        got = await hr.ask("POST", "/v1/organisations", _NEW, headers={"Idempotency-Key": key})
        assert (got.status, got.type) == (400, "key_required")
    assert (await hr.ask("POST", "/v1/organisations", _NEW)).type == "key_required"
    clock_of(house.ra).advance(seconds=90)
    await scheduler.close_overdue(house.ra)
    assert look(house.ra.database).one("SELECT count(*) FROM repeats WHERE key = 'one'")[0] == 1  # type: ignore[index]


async def test_what_was_refused_is_refused_again(house: House) -> None:
    """A refusal is an answer as well: under the same key, also when it would be done by now."""
    hr = await house.service("hr", Role.REGISTRAR)
    path = f"/v1/organisations/{POLICY_NUMBER}/disablements"
    assert (await hr.post(path, key="one")).type == "not_found"
    await admit(house.ra)
    assert (await hr.post(path, key="one")).type == "not_found"
    assert (await hr.post(path, key="two")).status == 202


async def test_twenty_at_once_are_one(house: House) -> None:
    """Of twenty with one key one does it; the others get its answer, or hear that it is being worked at."""
    await admit(house.ra)
    hr = await house.service("hr", Role.REGISTRAR)
    path = "/v1/users/K12345678/password-resets"
    got = await asyncio.gather(*(hr.post(path, key="one") for _ in range(20)))
    done = [each for each in got if each.status == 200]
    waits = [each for each in got if each.status == 409]
    assert done
    assert len(done) + len(waits) == 20
    assert {each.type for each in waits} <= {"in_flight"}
    assert all(1 <= int(each.headers["Retry-After"]) <= repeats.GONE for each in waits)
    assert len({each.body for each in done}) == 1
    lines = enrollment.audit_page(look(house.ra.database), "K12345678", 50)
    assert [each["action"] for each in lines].count("password.reset") == 1


async def test_an_answer_that_was_lost_is_told_again(house: House) -> None:
    """Killed between commit and answer: whoever comes again is told what was done, and it is not done again.
    What is told is kept sealed."""
    await admit(house.ra)
    hr = await house.service("hr", Role.REGISTRAR)
    ra, number, path = house.ra, hr.operator.number, "/v1/users/K12345678/password-resets"
    digest = repeats.digest_of(b"POST", path.encode(), b"")
    claimed = await repeats.claim(ra, number, "one", digest)
    assert not isinstance(claimed, repeats.Before)
    user = enrollment.user(look(ra.database), "K12345678")
    assert user is not None
    told = one(records.user(replace(user, name="as it was")))
    recording = repeats.recording(ra, claimed, lambda db, value: told.packed())
    await recording.database.write(lambda db: enrollment.audit(db, ra.now(), "test", "done", "K12345678"))
    # The process is gone here. Its answer is not.
    got = await hr.post(path, key="one")
    assert (got.status, got.value) == (200, told.value)
    lines = enrollment.audit_page(look(ra.database), "K12345678", 50)
    assert [each["action"] for each in lines].count("password.reset") == 0
    kept = look(ra.database).one("SELECT answer FROM repeats WHERE key = 'one'")
    assert kept is not None
    assert b"as it was" not in bytes(kept[0])


async def test_a_key_that_was_left_behind(house: House) -> None:
    """Killed before the commit: for a minute the key is taken, then it is anybody's; whoever comes back late
    does nothing, since the answer is another's by now."""
    await admit(house.ra)
    hr = await house.service("hr", Role.REGISTRAR)
    ra, number, path = house.ra, hr.operator.number, "/v1/users/K12345678/password-resets"
    digest = repeats.digest_of(b"POST", path.encode(), b"")
    left = await repeats.claim(ra, number, "one", digest)
    assert not isinstance(left, repeats.Before)
    # Of a node, too, whose clock is a little behind.
    for passed, wait in ((-5, repeats.GONE), (5 + repeats.GONE - 1, 1)):
        clock_of(ra).advance(seconds=passed)
        got = await hr.post(path, key="one")
        assert (got.type, got.headers["Retry-After"]) == ("in_flight", str(wait))
    clock_of(ra).advance(seconds=1)
    assert (await hr.post(path, key="one")).status == 200

    def late(db: Any) -> None:
        enrollment.audit(db, ra.now(), "test", "done", "K12345678")

    with pytest.raises(Refusal, match="taken this one's place"):
        await repeats.recording(ra, left, lambda db, value: b"").database.write(late)
    lines = enrollment.audit_page(look(ra.database), "K12345678", 50)
    assert [each["action"] for each in lines].count("done") == 0
    assert [each["action"] for each in lines].count("password.reset") == 1
