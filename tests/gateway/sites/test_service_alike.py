"""Somebody with the name or the mail address of somebody else: it may be meant, and is asked."""

from __future__ import annotations

import pytest

from enroll import store
from tests.gateway.sites.kit import Page, Served
from tests.gateway.sites.members import ADMIN, USER, admin_at_home, foreign_user
from tests.looking import look

PERSON = {"name": "年金 花子", "mail": "hanako@example.jp", "role": "member", "notice_by": "mail"}
COLLEAGUE = "k12345678@example.jp"
ADDITION, MAIL = "/portal/addition", f"/portal/members/{USER}/mail"


def submitted(service: Served) -> list[store.Application]:
    return store.applications(look(service.ra.database), state="submitted")


def asked(page: Page) -> tuple[list[str], str]:
    """Who is named, and what confirms it; the page is a refusal with the question marked."""
    assert (page.status, page.error(_MEANT)) == (422, _WHY)
    assert page.field(_MEANT).attributes["type"] == "checkbox"
    assert "checked" not in page.field(_MEANT).attributes
    box = page.main.one("fieldset", id="alike")
    return [each.text for each in box.all("li")], page.field(_MEANT).attributes["value"]


_MEANT = "誤りや重複ではないことを確認しました（共用のメールアドレス、同姓同名など）"
_WHY = "同じ氏名またはメールアドレスの方がいます。お間違いがないかご確認ください。"


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"mail": "K12345678@Example.JP"}, f"年金 太郎 様（{USER}） メールアドレスが同じです"),
        ({"name": "年金太郎", "mail": "two@example.jp"}, f"年金 太郎 様（{USER}） 氏名が同じです"),
        (
            {"name": "年金 太郎", "mail": COLLEAGUE, "user_id": "KSECOND"},
            f"年金 太郎 様（{USER}） 氏名とメールアドレスが同じです",
        ),
    ],
)
async def test_a_new_user_like_a_user(service: Served, fields: dict[str, str], named: str) -> None:
    """Nothing is recorded until it is confirmed, what was typed stays, and then it is."""
    admin = await admin_at_home(service)
    page = await admin.post(ADDITION, PERSON | fields)
    names, mark = asked(page)
    assert named in names
    assert submitted(service) == []
    assert page.field("氏名").attributes["value"] == (PERSON | fields)["name"]
    assert ("共用のメールアドレスの場合は" in page.main.text) == (
        "mail" in fields and "two" not in fields["mail"]
    )
    page = await admin.post(ADDITION, PERSON | fields | {"alike": mark})
    assert (page.status, len(submitted(service))) == (200, 1)


async def test_what_is_confirmed_holds_for_those_who_were_shown(service: Served) -> None:
    """Another address after that asks anew; a wrong password asks for that alone and keeps the mark."""
    admin = await admin_at_home(service)
    _, mark = asked(await admin.post(ADDITION, PERSON | {"mail": COLLEAGUE}))
    other = PERSON | {"mail": f"{ADMIN.lower()}@example.jp", "alike": mark}
    _, another = asked(await admin.post(ADDITION, other))
    assert another != mark
    page = await admin.post(ADDITION, PERSON | {"mail": COLLEAGUE, "alike": mark, "password": "Wrong2026"})
    assert page.error("ログインのパスワード") == "パスワードに誤りがあります。"
    assert "checked" in page.field(_MEANT).attributes
    assert submitted(service) == []


async def test_the_form_twice_for_one_person(service: Served) -> None:
    """The same once more is the same application; with another address or by another letter it is asked."""
    admin = await admin_at_home(service)
    first = await admin.post(ADDITION, PERSON)
    again = await admin.post(ADDITION, PERSON | {"name": "年金　花子"})
    assert (again.path, len(submitted(service))) == (first.path, 1)
    number = first.path.rpartition("/")[2]
    for fields, what in (
        ({"mail": "second@example.jp"}, "氏名が同じです"),
        ({"notice_by": "postcard"}, "氏名とメールアドレスが同じです"),
    ):
        names, mark = asked(await admin.post(ADDITION, PERSON | fields))
        assert names == [f"手続き中の申請（受付番号{number}）：年金 花子 様 {what}"]
    assert len(submitted(service)) == 1
    await admin.post(ADDITION, PERSON | {"notice_by": "postcard", "alike": mark})
    assert len(submitted(service)) == 2


async def test_another_organisations_people_are_not_told_of(service: Served) -> None:
    """Neither name nor address of theirs asks anything: nobody learns who has it."""
    admin = await admin_at_home(service)
    await foreign_user(service)
    assert (await admin.post(MAIL, {"mail": "hanako@example.jp"})).path == f"/portal/members/{USER}"
    assert (await admin.post(MAIL, {"mail": COLLEAGUE})).status == 200
    page = await admin.post(ADDITION, PERSON | {"name": "別所 花子", "mail": "hanako@example.jp"})
    assert (page.status, len(submitted(service))) == (200, 1)


async def test_a_mail_address_that_a_colleague_has(service: Served) -> None:
    """It is not changed to that without a word; the own one in other letters asks nothing."""
    admin = await admin_at_home(service)
    shared = f"{ADMIN.lower()}@example.jp"
    names, mark = asked(await admin.post(MAIL, {"mail": shared}))
    assert names == [f"年金 太郎 様（{ADMIN}） 氏名とメールアドレスが同じです"]
    known = store.user(look(service.ra.database), USER)
    assert known is not None
    assert known.mail == COLLEAGUE
    assert (await admin.post(MAIL, {"mail": COLLEAGUE.upper()})).status == 200
    page = await admin.post(MAIL, {"mail": shared, "alike": mark})
    assert "メールアドレスを変更しました。" in page.main.text
    changed = store.user(look(service.ra.database), USER)
    assert changed is not None
    assert changed.mail == shared
