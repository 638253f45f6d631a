"""Webhooks by the API: a service proposes and never decides; its key alone is told a secret again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from enroll import store
from enroll.hooks import endpoints, outbox
from enroll.hooks import store as hooks
from enroll.hooks.states import Delivery
from enroll.operators import asking
from enroll.operators.roles import Role
from tests.gateway.sites.services import House, new_key, open_house
from tests.looking import look

URL = "https://hooks.example.jp/in"
HERE = "/v1/webhook-endpoints/billing"


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(tmp_path) as opened:
        yield opened


async def test_an_endpoint_is_proposed_and_its_secret_told_to_who_asked(house: House) -> None:
    """202 until a person has decided, then 201 with the secret; the same key gives the same answer, another
    one none: the proposal is used up."""
    pay = await house.service("pay", Role.CA_OFFICER)
    officer = await house.person("officer", Role.CA_OFFICER)
    wanted = {"name": "billing", "url": URL, "events": ["request.*"], "reason": "連携"}
    for wrong, field in (
        ({"url": "https://other.example.jp/"}, "url"),
        ({"events": ["user.added"]}, "events"),
        ({"name": "B"}, "name"),
    ):
        got = await pay.post("/v1/webhook-endpoints", wanted | wrong)
        assert (got.status, got.type, got.value["field"]) == (422, "invalid_input", field)
    made = await pay.post("/v1/webhook-endpoints", wanted)
    assert (made.status, made.value["state"]) == (202, "pending")
    await asking.approve(house.ra, officer, made.value["number"])
    assert (await pay.get("/v1/webhook-endpoints")).value == {"items": [], "next": None}
    key = new_key()
    told = await pay.post("/v1/webhook-endpoints", wanted, key)
    assert (told.status, told.value["secret"][:6], told.value["state"]) == (201, "whsec_", "active")
    assert (await pay.post("/v1/webhook-endpoints", wanted, key)).value == told.value
    again = await pay.post("/v1/webhook-endpoints", wanted)
    assert (again.status, again.type) == (409, "conflict")
    assert "secret" not in (await pay.get(HERE)).value
    kept = b"".join(path.read_bytes() for path in house.ra.database.folder.glob("sekisho.db*"))
    assert told.value["secret"][6:].encode() not in kept


async def test_it_is_changed_and_ended_by_proposals(house: House) -> None:
    """Of what was read alone (If-Match), of which what was told meanwhile is no part; another decides. What
    has ended, or is wrong, or no change, is refused."""
    pay, audit = await house.service("pay", Role.CA_OFFICER), await house.service("audit", Role.AUDITOR)
    officer, ra = await house.person("officer", Role.CA_OFFICER), house.ra
    await endpoints.add(ra, {"name": "billing", "url": URL, "events": ["request.*"]}, "test", True)
    read = await pay.get(HERE)
    tag, moved = read.headers["ETag"], {"url": "https://hooks.example.jp/elsewhere"}
    assert "counts" not in read.value
    assert (await pay.get("/v1/webhook-endpoints")).value["items"][0]["counts"]["waiting"] == 0
    await pay.post(f"{HERE}/tests")
    assert (await pay.patch(HERE, moved)).type == "precondition_required"
    assert (await audit.patch(HERE, moved, tag)).type == "not_permitted"
    for wrong, code in (
        ({}, "invalid_input"),
        ({"url": URL}, "invalid_input"),
        ({"url": "https://other.example.jp/"}, "invalid_input"),
        ({"events": []}, "invalid_input"),
        ({"name": "payroll"}, "invalid_input"),
    ):
        assert (await pay.patch(HERE, wrong, tag)).type == code, wrong
    made = await pay.patch(HERE, moved | {"events": ["*", "*"], "reason": "移転"}, tag)
    assert (made.status, made.value["state"]) == (202, "pending")
    await asking.approve(ra, officer, made.value["number"])
    found = (await pay.get(HERE)).value
    assert (found["url"], found["events"]) == (moved["url"], ["*"])
    assert (await pay.patch(HERE, {"url": URL}, tag)).type == "precondition_failed"
    assert (await audit.post(f"{HERE}/endings", {"reason": "x"})).type == "not_permitted"
    made = await pay.post(f"{HERE}/endings", {"reason": "契約の終了"})
    assert made.status == 202
    await asking.approve(ra, officer, made.value["number"])
    assert (await pay.get(HERE)).value["state"] == "ended"
    assert (await pay.patch(HERE, {"url": URL}, "*")).type == "not_found"
    assert (await pay.post(f"{HERE}/endings")).type == "not_found"


async def test_it_is_looked_after(house: House) -> None:
    """Listed, tried, stopped and proposed to go on; what was given up is sent once more; each by its page."""
    pay, audit = await house.service("pay", Role.CA_OFFICER), await house.service("audit", Role.AUDITOR)
    ra = house.ra
    for name in ("payroll", "billing"):
        await endpoints.add(ra, {"name": name, "url": URL, "events": ["*"]}, "test", True)
    page = (await audit.get("/v1/webhook-endpoints", limit=1)).value
    assert [each["name"] for each in page["items"]] == ["billing"]
    page = (await audit.get("/v1/webhook-endpoints", limit=1, cursor=page["next"])).value
    assert ([each["name"] for each in page["items"]], page["next"]) == (["payroll"], None)
    made = await pay.post(f"{HERE}/tests")
    assert (made.status, made.value["event"], made.value["state"]) == (201, "webhook.test", "waiting")
    assert (await audit.get(made.headers["Location"])).value == made.value
    assert (await pay.post(f"{made.headers['Location']}/replays")).type == "conflict"
    await ra.database.write(
        lambda db: [store.audit(db, ra.now(), "test", "certificate.held", f"{n:032}") for n in range(3)]
    )
    await outbox.write_out(ra)
    found = hooks.delivery(look(ra.database), made.value["number"])
    assert found is not None
    ended = {"next_at": ra.now(), "ended_at": ra.now(), "status": 500}
    await ra.database.write(lambda db: hooks.settle(db, found, Delivery.DEAD, result="answered 500", **ended))
    dead = (await audit.get("/v1/deliveries", state="dead")).value["items"]
    assert [(each["number"], each["endpoint"], each["result"]) for each in dead] == [
        (made.value["number"], "billing", "answered 500")
    ]
    page = (await audit.get("/v1/deliveries", endpoint="billing", limit=3)).value
    rest = (await audit.get("/v1/deliveries", endpoint="billing", limit=3, cursor=page["next"])).value
    assert (len(page["items"]), len(rest["items"]), rest["next"]) == (3, 1, None)
    assert (await pay.post(f"{made.headers['Location']}/replays")).value["state"] == "waiting"
    assert (await pay.post(f"{HERE}/disablements", {"reason": " "})).type == "invalid_input"
    assert (await pay.post(f"{HERE}/disablements", {"reason": "漏えい"})).value["state"] == "stopped"
    assert (await pay.post(f"{HERE}/tests")).type == "conflict"
    assert (await pay.post(f"{HERE}/enablements", {"skip": True})).status == 202
    assert (await pay.post(f"{HERE}/rotations", {"at_once": True})).status == 202
    assert (await audit.post(f"{HERE}/disablements", {"reason": "x"})).type == "not_permitted"
    assert (await pay.get("/v1/webhook-endpoints/nobody")).type == "not_found"
    assert (await pay.get("/v1/deliveries/999")).type == "not_found"
    assert (await pay.get("/v1/deliveries", endpoint="nobody")).type == "not_found"
