"""文面 at the console: each shown in both languages, a test to oneself, and a change by two people."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from enroll import store
from enroll.languages import LANGUAGES
from enroll.mail import store as mail_store
from enroll.mail import wording, writing
from enroll.mail.wording import OFFERED, SAMPLES
from enroll.operators import actors, asking, templates
from enroll.operators import store as operators
from enroll.operators.actors import By
from enroll.operators.roles import Role
from enroll.refusals import Refusal
from gateway.sites.console.words import FAULTS, TEMPLATE_SOURCES, TEMPLATES, VALUES
from tests.datadirs import admit, clock_of, delivered
from tests.gateway.sites.test_console import Office, Person, office
from tests.looking import look

__all__ = ("office",)

PATH = "/templates/user_id/ja"
OURS = writing.packaged("user_id.txt")
CHANGED = OURS.replace("お知らせいたします。", "お届けいたします。")


async def with_mail(office: Office, person: Person, mail: str) -> None:
    changed = replace(person.operator, mail=mail)
    assert await office.served.ra.database.write(lambda db: operators.change(db, person.operator, changed))


async def test_every_template_is_shown(office: Office) -> None:
    """In both languages, with a preview; a role that may only read gets no form, another no page."""
    auditor = await office.admit("auditor", Role.AUDITOR)
    page = await auditor.at.get("/templates")
    assert len(page.main.table()) == 1 + len(OFFERED) * len(LANGUAGES)
    links = [a.attributes["href"] for a in page.main.one("table").all("a")]
    assert len(set(links)) == len(OFFERED) * len(LANGUAGES)
    for link in ("/templates/pickup/en", "/templates/signature/ja"):
        page = await auditor.at.get(link)
        assert (page.status, page.buttons(), page.main.all("textarea")) == (200, [], [])
    assert (await auditor.at.get("/templates/nothing/ja")).status == 404
    assert (await auditor.at.get("/templates/pickup/fr")).status == 404


async def test_a_change_takes_two_and_holds_from_the_next_letter_on(office: Office) -> None:
    """O4: looked at first, proposed with a reason, approved by another with the passkey; then every letter is
    written by it, and the standard text can be had back in the same way."""
    ra = office.served.ra
    registrar = await office.admit("registrar", Role.REGISTRAR)
    approver = await office.admit("approver", Role.APPROVER)
    page = await registrar.at.post(f"{PATH}/change", {"text": CHANGED.replace("\n", "\r\n"), "act": "look"})
    assert (page.status, "まだ何も変わっていません" in page.main.text) == (200, True)
    assert "お届けいたします。" in page.main.all("pre")[0].text
    page = await registrar.at.post(f"{PATH}/change", {"text": CHANGED, "act": "propose", "reason": ""})
    assert "変更の理由を1行" in page.main.one("div", role="alert").text
    sent = {"text": CHANGED, "act": "propose", "reason": "言い回しを改める"}
    page = await registrar.at.post(f"{PATH}/change", sent)
    assert (page.path.startswith("/proposals/"), "起案しました" in page.main.text) == (True, True)
    assert "ユーザーIDのお知らせ（日本語）" in page.h1
    (row,) = [row for row in page.main.table(1) if row[0] == "変わる行"]
    assert [("お知らせ" in row[1], "お届け" in row[1]), ("お届け" in row[2],)] == [(True, False), (True,)]
    proposal = page.path
    page = await registrar.at.post(f"{PATH}/change", sent)
    assert "すでに起案され" in page.main.one("div", role="alert").text
    assert (await registrar.at.post(f"{proposal}/approve")).status == 403
    await admit(ra)
    assert "お届けいたします" not in (await delivered(ra))[-1].body
    page = await approver.confirm(await approver.at.post(f"{proposal}/approve"))
    assert "承認しました" in page.main.text
    await admit(ra, "K22222222")
    assert "お届けいたします。" in (await delivered(ra))[-1].body
    listed = (await registrar.at.get("/templates")).main.table()
    assert [row[2] for row in listed[1:] if row[2] != "標準"] == ["変更済み"]
    page = await registrar.at.post(f"{PATH}/reset", {"reason": "元の文面に戻す"})
    page = await approver.confirm(await approver.at.post(f"{page.path}/approve"))
    assert "承認しました" in page.main.text
    await admit(ra, "K33333333")
    assert "お届けいたします" not in (await delivered(ra))[-1].body
    lines = store.audit_page(look(ra.database), "user_id.txt", 10)
    assert {each["action"] for each in lines} == {"template.changed", "template.reset"}


async def test_what_is_refused_stays_typed(office: Office) -> None:
    """Bad input: what is wrong is named in words, nothing is proposed, and the text is still in the form."""
    registrar = await office.admit("registrar", Role.REGISTRAR)
    bad = CHANGED.replace("{{ user_id }}", "{{ user }}") + "{{ name.secret }}"
    page = await registrar.at.post(f"{PATH}/change", {"text": bad, "act": "propose", "reason": "x"})
    assert (page.status, page.main.one("textarea").text) == (422, " ".join(bad.split()))
    assert "line 15 (Getattr)" in page.main.one("div", role="alert").text
    assert (await registrar.at.get(f"{PATH}/change?lang=ja")).status == 200  # the address that it stands at
    bad = CHANGED.replace("{{ user_id }}", "{{ user }}")
    page = await registrar.at.post(f"{PATH}/change", {"text": bad, "act": "propose", "reason": "x"})
    told = page.main.one("div", role="alert").text
    assert ("使用できない項目があります： user" in told, "必須の項目がありません" in told) == (True, True)
    page = await registrar.at.post(f"{PATH}/change", {"text": OURS, "act": "propose", "reason": "x"})
    assert "使用中の文面と同じ" in page.main.one("div", role="alert").text
    page = await registrar.at.post(f"{PATH}/reset", {"reason": "x"})
    assert "変更されていない文面" in page.main.one("div", role="alert").text
    assert (await registrar.at.post("/templates/nothing/ja/change", {"text": OURS})).status == 404
    assert (
        asking.listed(look(office.served.ra.database), _actor(office, registrar), office.served.ra.now())
        == []
    )


async def test_a_change_in_between_voids_the_proposal(office: Office) -> None:
    """O4: what stood there when it was proposed is not what stands there now."""
    ra = office.served.ra
    registrar = await office.admit("registrar", Role.REGISTRAR)
    approver = await office.admit("approver", Role.APPROVER)
    page = await registrar.at.post(f"{PATH}/change", {"text": CHANGED, "act": "propose", "reason": "x"})
    await ra.database.write(lambda db: mail_store.set_template(db, "user_id.txt", OURS + "他", ra.now(), "x"))
    asked = await approver.at.post(f"{page.path}/approve")
    assert (await approver.confirm(asked)).status == 409
    found = mail_store.template(look(ra.database), "user_id.txt")
    assert found is not None
    assert found["text"] == OURS + "他"


async def test_what_stands_there_is_the_machines_file(office: Office) -> None:
    """Where nobody has changed a text, the file in `templates/` is in force: it is what a proposal shows as
    before, what a change is compared with, and another file meanwhile voids the proposal."""
    served = office.served.ra
    registrar = await office.admit("registrar", Role.REGISTRAR)
    approver = await office.admit("approver", Role.APPROVER)
    own = OURS + "当社より。\n"
    ra = replace(served, templates=writing.Templates(Path("templates"), {"user_id.txt": own.encode()}))
    payload = {"template": "user_id", "language": "ja", "text": CHANGED}
    with pytest.raises(Refusal, match="what stands there already"):
        await asking.ask(ra, _actor(office, registrar), "template.change", payload | {"text": own})
    made = await asking.ask(ra, _actor(office, registrar), "template.change", payload, reason="x")
    assert isinstance(made, asking.Proposed)
    found = operators.proposal(look(ra.database), made.number)
    assert found is not None
    assert found.before == {"text": own}
    other = replace(served, templates=writing.Templates(Path("templates"), {"user_id.txt": OURS.encode()}))
    with pytest.raises(Refusal, match=r"void|changed"):
        await asking.approve(other, _actor(office, approver), made.number)
    payload["text"] = CHANGED + "二"
    made = await asking.ask(ra, _actor(office, registrar), "template.change", payload, reason="x")
    assert isinstance(made, asking.Proposed)
    await asking.approve(ra, _actor(office, approver), made.number)
    changed = mail_store.template(look(ra.database), "user_id.txt")
    assert changed is not None
    assert changed["text"].strip() == payload["text"].strip()


async def test_a_test_goes_to_oneself_alone(office: Office) -> None:
    """With sample values and without a secret, marked as a test, to the address that is recorded of whoever
    asks; once a minute, in the trail; nobody without an address, and not an auditor."""
    ra = office.served.ra
    approver, auditor = (
        await office.admit("approver", Role.APPROVER),
        await office.admit("auditor", Role.AUDITOR),
    )
    page = await approver.at.post("/templates/pickup/ja/test")
    assert "メールアドレスが登録されていません" in page.main.one("div", role="alert").text
    await with_mail(office, approver, "me@example.jp")
    page = await approver.at.post("/templates/pickup/ja/test", {"mail": "victim@example.jp"})
    assert "テストのメールを送信待ちに入れました" in page.main.one("div", role="status").text
    page = await approver.at.post("/templates/pickup/en/test")
    assert "1分に1通" in page.main.one("div", role="alert").text
    (letter,) = mail_store.listed(look(ra.database))
    assert (letter["recipient"], letter["user_id"], letter["kind"]) == ("me@example.jp", "", "template_test")
    (sent,) = await delivered(ra)
    assert (sent.subject.startswith("【テスト】"), writing.MASK in sent.body) == (True, True)
    clock_of(ra).advance(seconds=60)
    await approver.at.post("/templates/pickup/en/test")
    assert len(await delivered(ra)) == 2
    assert (await auditor.at.post("/templates/pickup/ja/test")).status == 403
    lines = store.audit_page(look(ra.database), "pickup.txt", 5)
    assert [(each["actor"], each["action"]) for each in lines] == [("operator:approver", "template.tested")]


def _actor(office: Office, person: Person) -> actors.Actor:
    return actors.of_operator(look(office.served.ra.database), person.operator.number, By.CONSOLE)


async def test_who_may_not_is_told_by_the_function(office: Office) -> None:
    """The pages are not what keeps anybody out."""
    ra = office.served.ra
    desk = _actor(office, await office.admit("desk", Role.DESK, enrolled=False))
    for asked in (
        lambda: templates.listed(look(ra.database), ra, desk),
        lambda: templates.one(look(ra.database), ra, desk, "pickup", "ja"),
    ):
        with pytest.raises(Refusal, match="may not do that"):
            asked()
    with pytest.raises(Refusal, match="may not do that"):
        await templates.test(ra, desk, "pickup", "ja")
    payload = {"template": "pickup", "language": "ja", "text": OURS}
    with pytest.raises(Refusal, match="may not do that"):
        await asking.ask(ra, desk, "template.change", payload)


def test_every_template_has_its_words() -> None:
    """Each template, value, fault and source is called by a name in both languages."""
    assert (set(TEMPLATES), set(TEMPLATE_SOURCES)) == (set(OFFERED), {"ours", "file", "changed"})
    assert set(VALUES) == {*SAMPLES, "greeting", "signature"}
    assert set(FAULTS) == set(wording.Fault.__args__)  # type: ignore[attr-defined]
    assert all(ja and en for table in (TEMPLATES, VALUES, FAULTS) for ja, en in table.values())
