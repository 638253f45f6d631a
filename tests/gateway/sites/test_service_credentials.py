"""Credentials for programs in the portal: made by a 管理者, shown once, ended, and nobody else's."""

from __future__ import annotations

import json

import pytest

from enroll import store
from enroll.acme import store as protocol_store
from enroll.acme.wire import decode_base64url
from gateway.web.context import Role
from gateway.web.words import REFUSALS
from tests.gateway.sites.kit import Page, Served, Visitor
from tests.gateway.sites.members import (
    ADMIN,
    STRANGER,
    USER,
    admin_at_home,
    at_home,
    foreign_user,
)
from tests.looking import look

PATH = f"/portal/members/{USER}/credentials"


def held(service: Served, user_id: str = USER) -> list[protocol_store.Credential]:
    return protocol_store.credentials_of(look(service.ra.database), user_id)


async def make(visitor: Visitor) -> Page:
    """Presses the button of the page."""
    form = (await visitor.get(PATH)).main.one("input", name="known")
    return await visitor.post(PATH, {"known": form.attributes["value"]})


async def test_the_key_is_shown_once(service: Served) -> None:
    """The answer has what the operator's command prints; no later page, log or trail has the key."""
    visitor = await admin_at_home(service)
    member = await visitor.get(f"/portal/members/{USER}")
    assert PATH in [each.attributes["href"] for each in member.main.all("a")]
    page = await make(visitor)
    assert (page.status, page.redirects) == (200, 0)
    assert page.headers["Cache-Control"] == "no-store"
    (made,) = json.loads(page.main.one("pre").text)["credentials"]
    (credential,) = held(service)
    assert made["kid"] == credential.kid
    assert made["identifiers"] == [{"type": "dns", "value": f"{USER.lower()}.users.kinen.example"}]
    assert len(decode_base64url(made["hmac_key"], "key")) == 32
    facts = {row[0]: row[1] for row in page.main.without_hidden().table()}
    assert facts["HMAC鍵"] == made["hmac_key"]
    assert facts["ディレクトリURL"] == service.gate.origins[Role.PICKUP] + "/acme/directory"
    later = await visitor.get(PATH)
    assert made["hmac_key"] not in later.html
    assert later.main.table()[1][0] == credential.kid
    trail = json.dumps(store.audit_page(look(service.ra.database), None, 100), default=str)
    assert "credential.created" in trail
    assert made["hmac_key"] not in trail


async def test_sending_the_form_again_makes_no_further_one(service: Served) -> None:
    """Reloading the answer does not draw a second key, and says what to do if the first was lost."""
    visitor = await admin_at_home(service)
    assert (await visitor.post(PATH, {"known": "0"})).status == 200
    again = await visitor.post(PATH, {"known": "0"})
    assert again.status == 409
    assert "すでに作成されています" in again.main.one("div", class_="problem").text
    assert len(held(service)) == 1
    assert (await visitor.post(PATH)).status == 409
    # A second one beside the first is the organisation's to allow (E18).
    assert (await visitor.post(PATH, {"known": "1"})).status == 403
    await service.ra.database.write(lambda db: db.execute("UPDATE organisations SET lineages = 2"))
    assert (await visitor.post(PATH, {"known": "1"})).status == 200
    assert len(held(service)) == 2


async def test_credentials_are_ended(service: Served) -> None:
    """After a page that asks. Ended ones are listed as such and have no link; others' are not found."""
    visitor = await admin_at_home(service)
    await make(visitor)
    (credential,) = held(service)
    (link,) = [each for each in (await visitor.get(PATH)).main.all("a") if "無効にする" in each.text]
    end = link.attributes["href"]
    asked = await visitor.get(end)
    assert (asked.h1, asked.buttons()) == ("認証情報の無効化", ["無効にする"])
    for said in (
        USER,
        credential.kid,
        "取得・更新できなくなります",
        "元に戻せません",
        "有効期限まで使用できます",
    ):
        assert said in asked.main.text
    assert held(service)[0].withdrawn_at is None
    ended = await visitor.post(end)
    assert (ended.status, ended.path) == (200, PATH)
    again = await visitor.get(end)
    assert again.buttons() == []
    assert "すでに無効です" in again.main.text
    assert ended.main.table()[1][3:] == ["無効", ""]
    assert held(service)[0].withdrawn_at is not None
    await visitor.post(f"/portal/members/{ADMIN}/credentials", {"known": "0"})
    (other,) = held(service, ADMIN)
    for asked in (visitor.get, visitor.post):
        assert (await asked(f"{PATH}/{other.kid}/withdrawal")).status == 404
    assert held(service, ADMIN)[0].withdrawn_at is None


async def test_members_make_none(service: Served) -> None:
    """Neither for themselves nor for others: it is the 管理者 who answers for programs."""
    visitor = await at_home(service)
    for page in (
        await visitor.get(PATH),
        await visitor.post(PATH, {"known": "0"}),
        await visitor.get(f"{PATH}/1/withdrawal"),
        await visitor.post(f"{PATH}/1/withdrawal"),
    ):
        assert (page.status, page.h1) == (403, REFUSALS["not_permitted"].title[0])
    assert held(service) == []


@pytest.mark.parametrize("user_id", [STRANGER, "NOBODY99"])
async def test_none_for_another_organisations_users(service: Served, user_id: str) -> None:
    """A foreign user and none at all get the same answer, and nothing is made."""
    visitor = await admin_at_home(service)
    await foreign_user(service)
    path = f"/portal/members/{user_id}/credentials"
    assert (await visitor.get(path)).status == 404
    assert (await visitor.post(path, {"known": "0"})).status == 404
    assert held(service, user_id) == []


async def test_none_from_another_page(service: Served) -> None:
    """A foreign site cannot press the button."""
    visitor = await admin_at_home(service)
    page = await visitor.post(
        PATH, {"known": "0"}, Origin="https://evil.example", Sec_Fetch_Site="cross-site"
    )
    assert page.status == 403
    assert held(service) == []
