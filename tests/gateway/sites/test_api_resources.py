"""What each resource of the API does: asked for by a service, decided by a person."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from ca.profiles import Audience
from ca.storage import Transaction
from enroll import store as enrollment
from enroll.around import Around, with_storage
from enroll.jobs import running, viewing
from enroll.operators import asking
from enroll.operators import store as operators
from enroll.operators.actors import Actor, By, of_operator
from enroll.operators.asking import Proposed
from enroll.operators.roles import MOST_REVOCATIONS, Role
from enroll.people import csvfile
from enroll.requests import issuance
from gateway.edge.tls import ClientCertificate
from gateway.sites import api
from gateway.web import context
from tests.datadirs import POLICY_NUMBER, admit, clock_of, delivered
from tests.gateway.sites.kit import serve
from tests.gateway.sites.services import P12_PASSWORD, House, Service, open_house
from tests.looking import look

_PEOPLE = (
    "policy_number,name,mail\n"
    f"{POLICY_NUMBER},新人 花子,hanako@example.jp\n"
    "99999999,誰か,dareka@example.jp\n"
    f"{POLICY_NUMBER},年金 太郎,k12345678@example.jp\n"
).encode()
_CSV = {"Content-Type": "text/csv"}


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(tmp_path) as opened:
        await admit(opened.ra)
        yield opened


async def issued(house: House, user_id: str = "K12345678") -> str:
    """A certificate of a user's; its serial."""
    ra = house.ra
    if enrollment.user(look(ra.database), user_id) is None:
        await admit(ra, user_id)
    request_id = enrollment.enrollments_of(look(ra.database), user_id)[0].request_id
    await issuance.submit(ra, request_id, actor=user_id)
    await issuance.complete(ra, request_id)
    found = enrollment.enrollment(look(ra.database), request_id)
    assert found is not None
    assert found.serial is not None
    return found.serial


async def test_a_user_from_the_request_to_the_end(house: House) -> None:
    """Proposed, approved, changed, ended: each step by the service, each decision by a person."""
    hr, approver = await house.service("hr", Role.REGISTRAR), await house.person("shounin", Role.APPROVER)
    new = {"policy_number": POLICY_NUMBER, "name": "厚生 花子", "mail": "hanako@example.jp"}
    where = {"postal_code": "1000013", "prefecture": "東京都", "city": "千代田区", "street": "霞が関1-1"}
    made = await hr.post("/v1/users", {**new, **where, "user_id": "KNEW01"})
    assert made.status == 202, made.body
    await asking.approve(house.ra, approver, made.value["number"])
    got = await hr.get("/v1/users/KNEW01")
    assert (got.value["name"], got.value["city"]) == ("厚生 花子", "千代田区")
    (request,) = (await hr.get("/v1/requests", user_id="KNEW01")).value["items"]
    assert (request["state"], request["kind"]) == ("accepted", "addition")
    assert (await hr.get(f"/v1/requests/{request['request_id']}")).value == request
    changed = await hr.patch("/v1/users/KNEW01", {"name": "厚生 華子"}, got.headers["ETag"])
    await asking.approve(house.ra, approver, changed.value["number"])
    assert (await hr.get("/v1/users/KNEW01")).value["name"] == "厚生 華子"
    ended = await hr.post("/v1/users/KNEW01/disablements", {"reason": "退職"})
    shown = await hr.get(f"/v1/proposals/{ended.value['number']}")
    assert (shown.value["payload"], shown.value["reason"]) == ({"user_id": "KNEW01"}, "退職")
    await asking.approve(house.ra, approver, ended.value["number"])
    assert (await hr.get("/v1/users", state="disabled")).value["items"][0]["user_id"] == "KNEW01"
    listed = (await hr.get("/v1/proposals")).value["items"]
    assert [each["state"] for each in listed] == ["approved"] * 3
    again = await hr.post("/v1/users", {**new, "user_id": "KNEW02", "name": "厚生 華子"})
    assert (again.status, again.type) == (409, "conflict")  # somebody of that name and address is there


async def test_lists_of_work_count_as_the_console_and_the_command_do(house: House) -> None:
    """Jobs and proposals, all of them and those that wait: page by page as many as the two others show, for
    each role; what is over, or has expired without a word, does not wait."""
    ra, desk = house.ra, await house.person("abe", Role.DESK)
    registrar, approver = (
        await house.person("mori", Role.REGISTRAR),
        await house.person("sato", Role.APPROVER),
    )

    async def ask(kind: str, payload: Mapping[str, Any], by: Actor = registrar) -> int:
        made = await asking.ask(ra, by, kind, payload)
        assert isinstance(made, Proposed)
        return made.number

    async def imported(number: int) -> int:
        content = f"証券番号,団体名\n2000000{number},甲\n".encode()
        table = csvfile.table_in(content, "o.csv", csvfile.ORGANISATIONS)
        asked = await ask("organisation.import", csvfile.payload_of(table, "o.csv", {2}))
        return int((await asking.approve(ra, approver, asked)).result["job"])

    await ask("user.disable", {"user_id": "K12345678"})
    # Its days are over when the next one is made; nobody has written that down.
    clock_of(ra).advance(days=14)
    await ask("organisation.disable", {"policy_number": POLICY_NUMBER})
    await ask("user.reset_password", {"user_id": "K12345678"}, desk)
    jobs_made = [await imported(number) for number in range(3)]
    await running.run(ra, jobs_made[0], "r")
    for role in Role:
        service = await house.service(f"of-{role}", role)
        number = service.operator.number
        actor = await ra.database.read(lambda db, n=number: of_operator(db, n, By.CERTIFICATE))  # type: ignore[misc]
        db = look(ra.database)
        for every in (True, False):
            waits = asking.listed(db, actor, ra.now(), every=every)
            more = {} if every else {"state": "pending"}
            assert await _numbers(service, "/v1/proposals", more) == [each.number for each in waits], role
            there = viewing.listed(db, actor, every=every)
            more = {} if every else {"state": "open"}
            assert await _numbers(service, "/v1/jobs", more) == [each.number for each in there], role
    assert len(asking.listed(look(ra.database), registrar, ra.now())) == 2
    assert len(viewing.listed(look(ra.database), registrar, every=False)) == 2


async def _numbers(service: Service, path: str, more: Mapping[str, str]) -> list[int]:
    found, cursor = list[int](), ""
    while cursor is not None:  # as the answers have it at the end
        got = (await service.get(path, limit=2, **more, **({"cursor": cursor} if cursor else {}))).value
        found += [each["number"] for each in got["items"]]
        cursor = got["next"]
    return found


async def test_a_certificate_is_revoked(house: House) -> None:
    """失効: at once and for good, with its reason; twice is refused, the eleventh of a day takes two, and of
    the desk each one."""
    hr, desk = await house.service("hr", Role.REGISTRAR), await house.service("desk", Role.DESK)
    serial = await issued(house)
    (listed,) = (await hr.get("/v1/certificates", user_id="K12345678", state="issued")).value["items"]
    assert listed["serial"] == serial
    assert (await desk.post(f"/v1/certificates/{serial}/revocations")).status == 202
    path = f"/v1/certificates/{serial.upper()}/revocations"
    got = await hr.post(path, {"reason_code": "keyCompromise", "reason": "盗難"}, key="one")
    assert (got.status, got.value["state"], got.value["revocation_reason"]) == (
        200,
        "revoked",
        "keyCompromise",
    )
    assert got.value["pem"].startswith("-----BEGIN CERTIFICATE-----")
    assert (
        await hr.post(path, {"reason_code": "keyCompromise", "reason": "盗難"}, key="one")
    ).value == got.value
    assert (await hr.post(path)).type == "conflict"
    assert (await hr.post("/v1/certificates/00ff/revocations")).type == "not_found"
    assert (await hr.post(path, {"reason_code": "cACompromise"})).value["field"] == "reason_code"

    def many(db: Transaction) -> None:
        for number in range(MOST_REVOCATIONS):
            enrollment.audit(db, house.ra.now(), "operator:hr", "certificate.revoked", f"{number}")

    await house.ra.database.write(many)
    other = await issued(house, "K87654321")
    got = await hr.post(f"/v1/certificates/{other}/revocations")
    assert (got.status, got.value["kind"]) == (202, "certificate.revoke.many")


async def test_what_is_stopped_goes_on_by_two(house: House) -> None:
    """利用停止 holds at once; that it goes on somebody else decides."""
    serial, hr = await issued(house), await house.service("hr", Role.REGISTRAR)
    got = await hr.post("/v1/users/K12345678/suspensions", {"reason": "紛失"})
    assert got.value == {"user_id": "K12345678", "certificates": 1}
    assert (await hr.get(f"/v1/certificates/{serial}")).value["state"] == "held"
    back = await hr.post(f"/v1/certificates/{serial}/releases", {"reason": "発見"})
    assert back.status == 202
    await asking.approve(house.ra, await house.person("shounin", Role.APPROVER), back.value["number"])
    assert (await hr.get(f"/v1/certificates/{serial}")).value["state"] == "issued"


async def test_an_application_is_taken_in_and_decided(house: House) -> None:
    """Recorded at once, the same one twice as one; proposed by another account, since nobody decides what he
    has taken in; what does not belong together is refused."""
    desk, hr = await house.service("desk", Role.DESK), await house.service("hr", Role.REGISTRAR)
    body = {"kind": "reissue", "user_id": "K12345678", "reason_code": "pc_change"}
    made = await desk.post("/v1/applications", body)
    assert (made.status, made.headers["Location"]) == (201, f"/v1/applications/{made.value['number']}")
    assert (made.value["state"], made.value["applied_by"]) == ("submitted", "operator:desk")
    assert (await desk.post("/v1/applications", body)).status == 200
    assert (await hr.get("/v1/applications", state="submitted")).value["items"] == [made.value]
    asked = await hr.post(f"/v1/applications/{made.value['number']}/approvals", {"revoke_old": "at_once"})
    assert asked.status == 202, asked.body
    await asking.approve(house.ra, await house.person("shounin", Role.APPROVER), asked.value["number"])
    assert (await hr.get(f"/v1/applications/{made.value['number']}")).value["state"] == "approved"
    person = {"policy_number": POLICY_NUMBER, "name": "新人 一", "mail": "hajime@example.jp"}
    new = await desk.post("/v1/applications", {"kind": "addition", "person": person})
    assert (new.status, new.value["person"]["name"]) == (201, "新人 一")
    no = await hr.post(f"/v1/applications/{new.value['number']}/rejections", {"rejection": "duplicate"})
    assert (no.status, no.value["kind"]) == (202, "application.reject")
    for wrong in (
        {"kind": "addition"},
        {"kind": "addition", "person": person, "user_id": "K12345678"},
        {"kind": "reissue", "user_id": "K12345678"},
        {"kind": "reissue", "person": person, "user_id": "K12345678", "reason_code": "expired"},
    ):
        assert (await desk.post("/v1/applications", wrong)).value["field"] == "kind"


async def test_a_file_is_proposed_and_imported(house: House) -> None:
    """Each row is looked at, nothing is recorded before somebody approves; the job does the rest, and its
    refused rows come back. Taken back by two, too."""
    hr, approver = await house.service("hr", Role.REGISTRAR), await house.person("shounin", Role.APPROVER)
    path = "/v1/imports?kind=users&file=hr.csv&hold_letters=true"
    dry = await hr.post(f"{path}&dry_run=true", _PEOPLE, **_CSV)
    assert (dry.status, dry.value["counts"]) == (200, {"would_add": 1, "exists": 1, "refused": 1})
    assert [each["line"] for each in dry.value["refused"]] == [3]
    made = await hr.post(path, _PEOPLE, key="one", **_CSV)
    assert (made.status, made.value["kind"], made.value["counts"]) == (
        *(202, "user.import", dry.value["counts"]),
    )
    assert (await hr.post(path, _PEOPLE, key="one", **_CSV)).value == made.value
    assert (await hr.post(path, _PEOPLE + b"\n", key="one", **_CSV)).type == "key_reused"
    done = await asking.approve(house.ra, approver, made.value["number"])
    number = done.result["job"]
    assert (await hr.get(f"/v1/proposals/{made.value['number']}")).value["job"] == number
    assert (await hr.get("/v1/imports")).value["items"][0]["state"] == "waiting"
    assert await running.run(house.ra, number, running.new_runner()) is not None
    got = (await hr.get(f"/v1/imports/{number}")).value
    assert (got["state"], got["done"], got["counts"]) == ("done", 1, {"added": 1})
    assert lines(house) == [("proposal.seen", str(made.value["number"]))]
    failures = await hr.get(f"/v1/imports/{number}/failures")
    assert lines(house)[:2] == [("export.ended", "refused-rows"), ("export.begun", "refused-rows")]
    assert (failures.headers["Content-Type"], failures.body[:3]) == ("text/csv", b"\xef\xbb\xbf")
    assert (await hr.post(f"/v1/jobs/{number}/cancellations")).type == "conflict"
    undo = await hr.post(f"/v1/imports/{number}/undoings", {"reason": "間違い"})
    assert (undo.status, undo.value["kind"]) == (202, "import.undo")
    other = await house.service("far", Role.DESK)
    assert (await other.get(f"/v1/imports/{number}")).type == "not_found"


async def test_who_may_be_the_same_is_a_reading(house: House) -> None:
    """A row, or somebody new, that is refused for the name or the address of somebody who is recorded says
    who that is: whoever asked has read it. Where nobody is named there is no line."""
    hr = await house.service("hr", Role.REGISTRAR)
    rows = f"policy_number,name,mail\n{POLICY_NUMBER},年金 太郎,other@example.jp\n".encode()
    path = "/v1/imports?kind=users&dry_run=true"
    assert "K12345678" in (await hr.post(path, rows, **_CSV)).value["refused"][0]["reason"]
    assert lines(house) == [("person.seen", "K12345678")]
    person = {"policy_number": POLICY_NUMBER, "name": "新人 花子", "mail": "K12345678@example.jp"}
    made = await hr.post("/v1/users", {**person, "reason": "増員"})
    assert (made.value["field"], "K12345678" in made.value["detail"]) == ("alike", True)
    assert lines(house) == [("person.seen", "K12345678")] * 2
    assert (await hr.post(path, _PEOPLE.replace("太郎".encode(), "次郎".encode()), **_CSV)).status == 200
    assert lines(house) == [("person.seen", "K12345678")] * 3
    good = f"policy_number,name,mail\n{POLICY_NUMBER},甲 一,a@example.jp\n99999999,乙 二,b@example.jp\n"
    assert (await hr.post(path, good.encode(), **_CSV)).value["counts"]["refused"] == 1
    assert lines(house) == [("person.seen", "K12345678")] * 3


def lines(house: House) -> list[tuple[str, str]]:
    """Of the record those about what was read, newest first: what, and about what."""
    found = look(house.ra.database).rows("SELECT action, subject FROM audit ORDER BY id DESC")
    return [(a, s) for a, s in map(tuple, found) if a.endswith(".seen") or a.startswith("export.")]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "first line"),
        (b"\0" * 10_000, "no text"),
        (b"PK\x03\x04" + b"x" * 100, "no text"),
        ("a,b\n1,2\n".encode("utf-16"), "UTF-16"),
        (b"name," * 5_000, "first line"),
    ],
    ids=["nothing", "zeroes", "a zip", "UTF-16", "columns"],
)
async def test_what_is_no_file(house: House, content: bytes, says: str) -> None:
    """Whatever else is sent as one: what is wrong with it, and nothing is proposed."""
    hr = await house.service("hr", Role.REGISTRAR)
    got = await hr.post("/v1/imports?kind=users", content, **_CSV)
    assert (got.status, got.type, got.value["field"]) == (422, "invalid_input", "body")
    assert says in got.value["detail"]
    large = await hr.post("/v1/imports?kind=users", b"x" * (4 * 1024 * 1024 + 1), **_CSV)
    assert (large.status, large.type) == (413, "too_large")
    assert (await hr.post("/v1/imports?kind=users", b"x")).type == "unsupported_media_type"
    assert (await hr.post("/v1/imports?kind=cats", b"x", **_CSV)).value["field"] == "kind"
    assert operators.proposals(look(house.ra.database)) == []


async def test_a_letter_is_sent_again(house: House) -> None:
    """What has a password in it is not, and its text is masked."""
    await delivered(house.ra)
    hr = await house.service("hr", Role.REGISTRAR)
    letters = (await hr.get("/v1/letters", user_id="K12345678", state="sent")).value["items"]
    assert {each["kind"] for each in letters} == {"user_id", "pickup"}
    number = letters[0]["number"]
    shown = (await hr.get(f"/v1/letters/{number}")).value
    assert "＊" in shown["body"] or "*" in shown["body"]
    again = await hr.post(f"/v1/letters/{number}/resends")
    assert (again.status, again.type) == (409, "conflict")
    assert "tells a secret" in again.value["detail"]
    assert (await hr.post("/v1/letters/99/resends")).type == "not_found"


async def test_ones_own_proposal_is_taken_back(house: House) -> None:
    """And nobody else's, of which only who may read the act knows."""
    hr, other = await house.service("hr", Role.REGISTRAR), await house.service("other", Role.REGISTRAR)
    number = (await hr.post("/v1/users/K12345678/disablements")).value["number"]
    desk = await house.service("desk", Role.DESK)
    assert (await desk.post(f"/v1/proposals/{number}/withdrawals")).type == "not_found"
    assert (await other.post(f"/v1/proposals/{number}/withdrawals")).type == "not_permitted"
    got = await hr.post(f"/v1/proposals/{number}/withdrawals")
    assert (got.status, got.value["state"]) == (200, "withdrawn")
    assert (await hr.post(f"/v1/proposals/{number}/withdrawals")).type == "conflict"


async def test_sums_and_the_record(house: House) -> None:
    """Reports as the console has them; of the record an auditor's account sees all, an approver's its own."""
    auditor, approver = await house.service("kansa", Role.AUDITOR), await house.service("boss", Role.APPROVER)
    names = [each["name"] for each in (await auditor.get("/v1/reports")).value["items"]]
    for name in names:
        got = (await auditor.get(f"/v1/reports/{name}")).value
        assert [sum(row["values"][at] for row in got["rows"]) for at in range(len(got["columns"]))] == got[
            "totals"
        ]
    assert (await auditor.get("/v1/reports/pickup", first="2026-01-01", last="2025-01-01")).value[
        "field"
    ] == "to"
    assert (await auditor.get("/v1/reports/pickup", first="yesterday")).value["field"] == "first"
    assert (await auditor.get("/v1/reports/none")).type == "not_found"
    await approver.get("/v1/users/K12345678")
    everything = (await auditor.get("/v1/audit-events", limit=200)).value
    assert everything["total"] == len(everything["items"]) > 3
    own = (await approver.get("/v1/audit-events")).value["items"]
    assert {each["actor"] for each in own} == {"operator:boss"}
    about = (await auditor.get("/v1/audit-events", about="K12345678", action="person.")).value["items"]
    assert [each["action"] for each in about] == ["person.seen"]
    assert (await auditor.get("/v1/audit-events", since="2026-11-22T03:00:00")).value["field"] == "since"


async def test_killed_between_commit_and_answer(house: House, tmp_path: Path) -> None:
    """Nothing after the commit runs: whoever sends the same again gets the answer, and it is done once."""
    hr, fails = await house.service("hr", Role.REGISTRAR), [True]

    class Killed(Around):
        async def write(self, work):  # type: ignore[no-untyped-def]
            result = await self._storage.write(work)
            (newest,) = enrollment.audit_page(look(house.ra.database), "K12345678", 1)
            if fails and newest["action"] == "password.reset":
                fails.clear()
                raise RuntimeError("killed")
            return result

    broken = with_storage(house.ra, Killed(house.ra.database))
    at = (context.Role.API, api.application, ClientCertificate.REQUIRE)
    async with serve(broken, tmp_path, *at, refused=api.refused, audience=Audience.OPERATORS) as dying:
        there = Service(hr.operator, hr.issued, dying.visitor(hr.issued.p12, P12_PASSWORD))
        lost = await there.post("/v1/users/K12345678/password-resets", key="one")
    assert (lost.status, lost.type, fails) == (500, "internal", [])
    got = await hr.post("/v1/users/K12345678/password-resets", key="one")
    assert (got.status, got.value["user_id"]) == (200, "K12345678")
    lines = enrollment.audit_page(look(house.ra.database), "K12345678", 50)
    assert [each["action"] for each in lines].count("password.reset") == 1


async def test_a_campaign_begins_and_ends(house: House) -> None:
    """Of certificates by the days on which they end: counted as the console counts, by organisation as well;
    a reminder to nobody is refused, and so is one of a campaign that is over."""
    await issued(house)
    clock_of(house.ra).advance(seconds=1)
    hr, desk = await house.service("hr", Role.REGISTRAR), await house.service("desk", Role.DESK)
    new = {"name": "2029年", "first": "2026-12-01", "last": "2030-03-31"}
    made = await hr.post("/v1/campaigns", new, key="one")
    assert (made.status, made.value["first"], made.value["last"]) == (201, "2026-12-01", "2030-03-31")
    where = made.headers["Location"]
    assert (await hr.post("/v1/campaigns", new, key="one")).value == made.value
    shown = (await desk.get(where)).value
    assert (shown["counts"]["due"], shown["counts"]["open"]) == (1, 1)
    (of,) = (await desk.get(f"{where}/organisations")).value["items"]
    assert (of["policy_number"], of["counts"]) == (POLICY_NUMBER, shown["counts"])
    assert [each["number"] for each in (await desk.get("/v1/campaigns")).value["items"]] == [shown["number"]]
    nobody = await hr.post(f"{where}/reminders")
    assert (nobody.type, nobody.value["field"]) == ("conflict", "numbers")
    for wrong, field in (({}, "set"), ({"first": "1900-01-01"}, "first"), ({"last": "9999-12-31"}, "last")):
        assert (await hr.post("/v1/campaigns", {"name": "x", **wrong})).value["field"] == field
    assert (await hr.post(f"{where}/endings")).value["ended_by"] == "operator:hr"
    assert (await hr.post(f"{where}/endings")).type == "conflict"
    assert (await hr.get("/v1/campaigns/99")).type == "not_found"
