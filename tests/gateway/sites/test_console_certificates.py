"""証明書 at the console: the list counts what it has, one tells all, and what ends one asks who may."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
from cryptography import x509

import ca.store
from ca.keys import generate, spki
from ca.ocsp import told_by
from ca.revocation import RevocationStatus
from ca.timekeeping import Reading
from enroll import crls, store
from enroll.certificates import listing
from enroll.certificates.listing import PAGE
from enroll.certificates.store import Wanted
from enroll.jobs import running
from enroll.operators import actors
from enroll.operators import store as operators
from enroll.operators.actors import Actor, By
from enroll.operators.roles import MOST_REVOCATIONS, Role
from enroll.refusals import Refusal
from gateway.sites.console import certificate, certificates
from gateway.sites.console.certificates import MOST, OFFERED
from tests.datadirs import POLICY_NUMBER, admit, clock_of, delivered
from tests.enroll.test_flow import picked_up
from tests.gateway.sites.kit import Page
from tests.gateway.sites.test_console import Office, Person, office
from tests.issued import hold, issue, release, revoke
from tests.looking import look

__all__ = ("office",)

USER, DAY = "K12345678", 86_400
CN = "K123456780001"
LIST = "/certificates"


async def persons(office: Office) -> str:
    """The serial of a certificate that a user has picked up."""
    await admit(office.served.ra)
    return await another(office)


async def another(office: Office) -> str:
    await delivered(office.served.ra)
    await picked_up(office.served.ra)
    found = ca.store.find_by_common_name(look(office.served.ra.database), CN)
    return found[-1].serial


def status_of(office: Office, serial: str) -> tuple[str, int | None]:
    found = ca.store.find_by_serial(look(office.served.ra.database), serial)
    assert found is not None
    return found.status, found.revocation_reason


def rows(page: Page) -> list[list[str]]:
    found = [each for each in page.main.all("table") if "queue" in each.attributes.get("class", "")]
    return page.main.table()[1:] if found else []


def serials(page: Page) -> list[str]:
    """Of the rows of the list."""
    links = [a.attributes["href"] for a in page.main.all("a")]
    return [link.rpartition("/")[2] for link in links if link.startswith(f"{LIST}/") and "revoke" not in link]


def acts(office: Office, serial: str) -> list[str]:
    return [each["action"] for each in store.audit_page(look(office.served.ra.database), serial, 20)]


# -- the list --------------------------------------------------------------------------------------------


async def test_each_count_is_its_lists(office: Office) -> None:
    """O13: however it is narrowed, the number above the list is that of the rows which it has, whatever has
    become of each; one certificate is in one state."""
    ra = office.served.ra
    mine = await persons(office)
    leaves = [await issue(ra, f"{USER}{n:04d}") for n in range(900, 906)]
    await revoke(ra, leaves[0])
    await hold(ra, leaves[1])
    desk = await office.admit("desk", Role.DESK)
    own = desk.issued.serial

    async def listed(query: str) -> set[str]:
        page = await desk.at.get(f"{LIST}?{query}")
        found = serials(page)
        assert f"/ {len(found)}枚" in page.main.text, query
        return set(found)

    every = await listed("")
    assert every == {mine, own, *(each.serial for each in leaves)}
    by_state = [await listed(f"state={state}") for state in certificates.CERTIFICATES]
    assert (set().union(*by_state), sum(map(len, by_state))) == (every, len(every))
    assert await listed("state=revoked") == {leaves[0].serial}
    assert await listed("state=held") == {leaves[1].serial}
    assert await listed("profile=client-operator") == {own}
    assert await listed("door=page") == {mine}
    assert await listed("door=protocol") == set()
    assert await listed(f"organisation={POLICY_NUMBER}&state=issued") == {mine}
    assert await listed("organisation=nobody") == set()
    issuer = ra.authority.current.issuer_id
    assert await listed(f"issuer={issuer}&door=page") == {mine}
    end = x509.load_der_x509_certificate(leaves[2].der).not_valid_after_utc.date()
    assert await listed(f"from={end}&to={end}&profile=client-person") == every - {own}
    assert await listed("from=2001-01-01&to=2001-12-31") == set()
    actor = await actor_of(office, desk)
    clock_of(ra).advance(days=4 * 365)
    expired = Wanted(state="expired")
    assert listing.count(look(ra.database), ra, actor, expired) == 6


async def actor_of(office: Office, person: Person) -> Actor:
    return await office.served.ra.database.read(
        lambda db: actors.of_operator(db, person.operator.number, By.CONSOLE)
    )


async def test_pages_of_the_list(office: Office) -> None:
    """Fifty a page, by a cursor: each certificate once, in both orders, also of one and the same moment."""
    ra = office.served.ra
    leaves = [await issue(ra, f"{USER}{n:04d}") for n in range(PAGE + 3)]
    desk = await office.admit("desk", Role.DESK)
    for sort in ("newest", "ending"):
        address, found, told = f"{LIST}?sort={sort}&profile=client-person", list[str](), list[str]()
        while address:
            page = await desk.at.get(address)
            found += serials(page)
            told.append(page.main.one("p", class_="tally").text.partition("枚")[0])
            following = [a.attributes["href"] for a in page.main.all("a") if a.text == "次のページ"]
            address = following[0] if following else ""
        assert told == ["1–50 / 53", "51–53 / 53"]
        newest = [each.serial for each in reversed(leaves)]
        assert found == (newest if sort == "newest" else newest[::-1])
    lines = store.audit_page(look(ra.database), "certificates", 1)
    assert (lines[0]["action"], lines[0]["detail"]["hits"]) == ("person.searched", 53)


@pytest.mark.parametrize(
    ("query", "wrong"),
    [
        ("state=good", "選択肢から"),
        ("issuer=x", "選択肢から"),
        ("door='", "選択肢から"),
        ("from=yesterday", "日付を入力"),
        ("from=2026-05-02&to=2026-05-01", "始めの日以後"),
    ],
)
async def test_what_the_list_is_not_narrowed_by(office: Office, query: str, wrong: str) -> None:
    """Made-up filters are named, and nothing is listed by them; a made-up cursor is a plain error."""
    desk = await office.admit("desk", Role.DESK)
    page = await desk.at.get(f"{LIST}?{query}")
    assert (page.status, wrong in page.main.text, rows(page)) == (422, True, [])
    assert (await desk.at.get(f"{LIST}?after=1-x")).status in (400, 422)


async def test_home_counts_what_its_lists_have(office: Office) -> None:
    """O7: what is being issued or stuck, and programs' that end soon: each count is its list's."""
    ra = office.served.ra
    await issue(ra, f"{USER}0900")
    desk = await office.admit("desk", Role.DESK)
    spki_der = spki(generate("ec-p256").public_key())
    for door, signed in (("page", False), ("protocol", True), ("page", True)):
        made = ra.authority.plan("client-person", CN, (), spki_der, None, ra.now(), os.urandom(16))
        made = replace(made, door=door, not_after_at=ra.now() + 13 * DAY)
        await ra.database.write(lambda db, made=made: ca.store.reserve(db, made))  # type: ignore[misc]
        if signed:
            der = await ra.authority.certify(made)
            await ra.database.write(
                lambda db, made=made, der=der: ca.store.store_issued(db, made.serial, der, ra.now())  # type: ignore[misc]
            )
    home = await desk.at.get("/")
    links = {a.text: a.attributes["href"] for a in home.main.all("a")}
    counts = {row[0]: row[1] for row in home.main.table(-1)}
    for words in (
        "発行処理の途中の証明書",
        "14日以内に期限が切れるプログラム・サーバーの証明書",
    ):
        page = await desk.at.get(links[words])
        assert (counts[words], len(serials(page))) == ("1", 1)


async def test_an_empty_list_says_why(office: Office) -> None:
    """And what next."""
    desk = await office.admit("desk", Role.DESK)
    page = await desk.at.get(f"{LIST}?state=revoked")
    assert "条件に合う証明書はありません" in page.main.text
    assert [a.text for a in page.main.one("p", class_="tally").all("a")][:1] == ["条件を外す"]


# -- one -------------------------------------------------------------------------------------------------


async def test_one_tells_all(office: Office) -> None:
    """Facts, names, chain, whose it is, the request, what the world is told, what happened; no secret."""
    ra = office.served.ra
    serial = await persons(office)
    desk = await office.admit("desk", Role.DESK)
    page = await desk.at.get(f"{LIST}/{serial.upper()}")
    assert page.h1 == f"証明書： {CN} 有効" or page.h1.startswith("証明書：")
    facts = dict(row for row in page.main.table() if len(row) == 2)
    assert facts["利用者"].startswith("年金 太郎 K12345678")
    assert f"CN={CN}" in facts["主体者名"]
    assert ra.authority.current.common_name in facts["上位の認証局"]
    assert "保存された応答はありません" in page.main.text
    assert "リストはまだありません" in page.main.text
    assert "発行を完了" in page.main.text
    (line,) = [x for x in store.audit_page(look(ra.database), USER, 5) if x["action"] == "person.seen"]
    assert line["actor"] == "operator:desk"
    assert (await desk.at.get(f"{LIST}/{'0' * 32}")).status == 404
    record = ca.store.find_by_serial(look(ra.database), serial)
    assert record is not None
    pem = await desk.at.get(f"{LIST}/{serial}.pem")
    assert x509.load_pem_x509_certificate(pem.body).serial_number == int(serial, 16)
    der = await desk.at.get(f"{LIST}/{serial}.der")
    assert (der.body, der.headers["Content-Type"]) == (record.der, "application/pkix-cert")


async def test_what_the_world_is_told(office: Office) -> None:
    """The page says of list and answer (OCSP) what whoever asks is given: nothing yet, then good, then a
    list that the next one changes, and then revoked."""
    ra = office.served.ra
    leaf, desk = await issue(ra, f"{USER}0900"), await office.admit("desk", Role.DESK)
    answers, issuer = office.served.gate.answers, ra.authority.current

    async def told() -> str:
        return (await desk.at.get(f"{LIST}/{leaf.serial}")).main.table(1)[1][1]

    await crls.publish(ra, issuer, alone=True)
    assert (await told()).startswith("載っていません")
    await revoke(ra, leaf)
    assert (await told()).startswith("次のリストから変わります")
    await crls.publish(ra, issuer, alone=True)
    assert (await told()).startswith("載っています（番号 2")
    held = await issue(ra, f"{USER}0901")
    await hold(ra, held)
    for each, said in ((leaf, RevocationStatus.REVOKED), (held, RevocationStatus.HELD)):
        found = await answers.made(ra, issuer, each.serial, "sha1")
        assert found is not None
        answer = told_by(found.der)
        assert (answer.serial, answer.status, answer.reason) == (
            each.serial,
            said,
            1 if each is leaf else 6,
        )
        page = await desk.at.get(f"{LIST}/{each.serial}")
        assert page.main.table(1)[0][1].startswith(said.value)
    await release(ra, held)
    assert "保存された応答はありません" in (await desk.at.get(f"{LIST}/{held.serial}")).main.text


# -- the end of one --------------------------------------------------------------------------------------


async def test_a_registrar_revokes_with_the_passkey(office: Office) -> None:
    """O13: the question names object, number, consequence and that there is no way back; the answer revokes
    by the same function as the command, with its reason in the trail. Without a reason nothing
    is asked."""
    serial = await persons(office)
    registrar, path = await office.admit("registrar", Role.REGISTRAR), f"{LIST}/{serial}"
    for typed, wrong in (
        ({"why": "x"}, "理由を選択"),
        ({"reason": "certificateHold", "why": "x"}, "理由を選択"),
        ({"reason": "keyCompromise", "why": " "}, "1行"),
    ):
        page = await registrar.at.post(f"{path}/revoke", typed)
        assert wrong in page.main.one("div", role="alert").text
    page = await registrar.at.post(f"{path}/revoke", {"reason": "keyCompromise", "why": "PCの盗難"})
    assert page.h1 == "パスキーで確認"
    for part in ("証明書1件", CN, "年金 太郎", serial.upper(), "鍵の漏えい", "2秒以内", "取り消せません"):
        assert part in page.main.text
    assert status_of(office, serial) == ("issued", None)
    done = await registrar.confirm(page)
    assert "失効しました" in done.main.one("div", role="status").text
    assert status_of(office, serial) == ("revoked", 1)
    assert acts(office, serial)[:2] == ["certificate.revoked", "reason.given"]
    assert "PCの盗難" in done.main.text
    assert "失効する" not in done.buttons()
    again = await registrar.at.post(f"{path}/revoke", {"reason": "keyCompromise", "why": "x"})
    assert "状態が変わりました" in again.main.one("div", role="alert").text


async def test_the_desk_proposes_and_others_may_not(office: Office) -> None:
    """O3: the desk's is a proposal that a registrar decides; an approver and an auditor see no button, and
    get 403."""
    serial = await persons(office)
    desk, path = await office.admit("desk", Role.DESK), f"{LIST}/{serial}"
    typed = {"reason": "superseded", "why": "交換"}
    proposed = await desk.at.post(f"{path}/revoke", typed)
    assert (proposed.path.startswith("/proposals/"), "交換" in proposed.main.text) == (True, True)
    again = await desk.at.post(f"{path}/revoke", typed)
    assert "すでに承認を待っている" in again.main.one("div", role="alert").text
    assert status_of(office, serial) == ("issued", None)
    for name, role in (("approver", Role.APPROVER), ("auditor", Role.AUDITOR)):
        person = await office.admit(name, role)
        page = await person.at.get(path)
        assert (page.status, [b for b in page.buttons() if "失効" in b or "停止" in b]) == (200, [])
        assert (await person.at.post(f"{path}/revoke", typed)).status == 403
        assert (await person.at.post(f"{path}/hold", {"why": "x"})).status == 403
    registrar = await office.admit("registrar", Role.REGISTRAR)
    await registrar.confirm(await registrar.at.post(f"{proposed.path}/approve"))
    assert status_of(office, serial) == ("revoked", 4)


async def test_more_than_ten_take_two(office: Office) -> None:
    """O4: the eleventh of a day is a proposal, whoever asks for it, and the page says so beforehand."""
    ra = office.served.ra
    registrar = await office.admit("registrar", Role.REGISTRAR)
    leaves = [await issue(ra, f"{USER}{n:04d}") for n in range(MOST_REVOCATIONS + 1)]

    name = (await actor_of(office, registrar)).name
    await ra.database.write(
        lambda db: [
            store.audit(db, ra.now(), name, "certificate.revoked", each.serial)
            for each in leaves[:MOST_REVOCATIONS]
        ]
    )
    path = f"{LIST}/{leaves[-1].serial}"
    assert "失効を起案する" in (await registrar.at.get(path)).buttons()
    page = await registrar.at.post(f"{path}/revoke", {"reason": "unspecified", "why": "月次"})
    assert page.path.startswith("/proposals/")
    assert status_of(office, leaves[-1].serial) == ("issued", None)


async def test_a_hold_and_its_release(office: Office) -> None:
    """利用停止 of one certificate is the desk's, at once and with a reason; its release takes two."""
    serial = await persons(office)
    desk, registrar = await office.admit("desk", Role.DESK), await office.admit("registrar", Role.REGISTRAR)
    path = f"{LIST}/{serial}"
    assert "理由を1行" in (await desk.at.post(f"{path}/hold", {"why": ""})).main.text
    page = await desk.at.post(f"{path}/hold", {"why": "置き忘れ"})
    assert ("利用を停止しました" in page.main.text, "置き忘れ" in page.main.text) == (True, True)
    assert status_of(office, serial)[0] == "held"
    assert "状態が変わりました" in (await desk.at.post(f"{path}/hold", {"why": "x"})).main.text
    assert (await desk.at.post(f"{path}/release", {"why": "発見"})).status == 403
    proposed = await registrar.at.post(f"{path}/release", {"why": "発見"})
    assert proposed.path.startswith("/proposals/")
    assert status_of(office, serial)[0] == "held"
    approver = await office.admit("approver", Role.APPROVER)
    await approver.confirm(await approver.at.post(f"{proposed.path}/approve"))
    assert status_of(office, serial)[0] == "issued"


async def test_the_user_is_suspended_from_there(office: Office) -> None:
    """O13: every certificate of the user at once, and nothing is revoked."""
    serial = await persons(office)
    desk = await office.admit("desk", Role.DESK)
    forms = [each.attributes["action"] for each in (await desk.at.get(f"{LIST}/{serial}")).main.all("form")]
    assert f"/callers/{USER}/suspend" in forms
    page = await desk.at.post(f"/callers/{USER}/suspend", {"reason": "盗難"})
    assert (page.path, status_of(office, serial)[0]) == (f"/callers/{USER}", "held")


# -- many ------------------------------------------------------------------------------------------------


async def test_many_are_proposed_and_done_by_a_job(office: Office) -> None:
    """Ticked or pasted in any spelling, each once: looked at with their number, proposed with a reason, done
    by the job of `cert revoke-list` when an approver says so."""
    ra = office.served.ra
    leaves = [await issue(ra, f"{USER}{n:04d}") for n in range(12)]
    registrar = await office.admit("registrar", Role.REGISTRAR)
    many = f"{LIST}/revoke"
    ticked = {f"c{each.serial}": "1" for each in leaves[:2]} | {"step": "look", "back": "state=issued&x=1"}
    page = await registrar.at.post(many, ticked)
    assert ("2枚の証明書を失効する起案です" in page.main.text, "取り消せません" in page.main.text) == (
        True,
        True,
    )
    back = next(a for a in page.main.all("a") if a.text == "一覧へ")
    assert back.attributes["href"] == f"{LIST}?state=issued"

    def windows(serial: str) -> str:
        return ":".join(serial[n : n + 2] for n in range(0, len(serial), 2)).upper()

    pasted = [windows(leaves[0].serial), leaves[0].serial, *(f"{USER}{n:04d}" for n in range(1, 12)), ""]
    page = await registrar.at.post(many, {"serials": "\r\n".join(pasted), "step": "look"})
    assert "12枚の証明書" in page.main.text
    hidden = {e.attributes["name"]: e.attributes["value"] for e in page.main.all("input", type="hidden")}
    asked = {"serials": hidden["serials"], "step": "ask"}
    assert "理由を選択" in (await registrar.at.post(many, asked)).main.text
    asked |= {"reason": "cessationOfOperation"}
    assert "経緯を1行" in (await registrar.at.post(many, asked)).main.text
    proposed = await registrar.at.post(many, asked | {"why": "事業の終了"})
    assert (proposed.path.startswith("/proposals/"), "証明書12枚" in proposed.main.text) == (True, True)
    again = await registrar.at.post(many, asked | {"why": "もう一度"})
    assert "すでに承認を待っています" in again.main.text
    approver = await office.admit("approver", Role.APPROVER)
    await approver.confirm(await approver.at.post(f"{proposed.path}/approve"))
    await running.work(ra, "runner")
    assert {status_of(office, each.serial) for each in leaves} == {("revoked", 5)}


async def test_what_is_no_list_of_certificates(office: Office) -> None:
    """Nothing, too many, and names that nobody has: named on the page, what was typed is kept, nothing is
    proposed."""
    leaf, desk = await issue(office.served.ra), await office.admit("desk", Role.DESK)
    many = f"{LIST}/revoke"
    assert (await desk.at.get(many)).h1 == "一括失効の起案"
    page = await desk.at.post(many, {"serials": " \r\n", "step": "look"})
    assert (page.status, "1件以上" in page.main.text) == (422, True)
    page = await desk.at.post(many, {"serials": "\n".join(["ab"] * (MOST + 1)), "step": "look"})
    assert (page.status, "1,000枚まで" in page.main.text) == (422, True)
    typed = f"{leaf.serial}\nnobody's\n<b>x</b>"
    page = await desk.at.post(many, {"serials": typed, "step": "ask", "reason": "unspecified", "why": "x"})
    assert (page.status, "登録のない証明書" in page.main.text) == (422, True)
    assert [each.text for each in page.main.all("li")] == ["nobody's", "<b>x</b>"]
    assert leaf.serial in page.main.one("textarea").text
    assert operators.proposals(look(office.served.ra.database)) == []


def test_reasons_are_an_operators() -> None:
    """What is offered is what RFC 5280 has and an operator may give."""
    assert list(OFFERED) == [
        "unspecified", "keyCompromise", "affiliationChanged", "superseded", "cessationOfOperation",
        "privilegeWithdrawn",
    ]  # fmt: skip
    assert set(certificate.FORMS) == {"pem", "der"}


async def test_the_functions_ask_by_themselves(office: Office) -> None:
    """Who may not look is refused by the function, not by the page alone."""
    officer = await office.admit("officer", Role.CA_OFFICER)
    with pytest.raises(Refusal, match="may not do that"):
        await listing.listed(office.served.ra, await actor_of(office, officer), Wanted())


# -- the authority ---------------------------------------------------------------------------------------


async def test_a_clock_in_doubt_is_confirmed_by_two(office: Office) -> None:
    """O19: what two decide about the authority is proposed from its page, as by `clock confirm`; without a
    doubt there is nothing to propose, and an auditor sees no button."""
    ra = office.served.ra
    officer, auditor = (
        await office.admit("officer", Role.CA_OFFICER),
        await office.admit("auditor", Role.AUDITOR),
    )
    second = await office.admit("second", Role.CA_OFFICER)
    assert "確認を起案する" not in (await officer.at.get("/ca")).buttons()
    ahead = Reading(ra.now() + 7_200, 0.0, "another boot")
    await ra.database.write(lambda db: ca.store.write_tick(db, ahead))
    page = await officer.at.get("/ca")
    assert ("時計に疑いがあります" in page.main.text, "確認を起案する" in page.buttons()) == (True, True)
    assert "確認を起案する" not in (await auditor.at.get("/ca")).buttons()
    assert (await auditor.at.post("/ca/clock", {"why": "x"})).status == 403
    assert "理由を1行" in (await officer.at.post("/ca/clock", {"why": " "})).main.text
    proposed = await officer.at.post("/ca/clock", {"why": "時報と比べた"})
    assert (proposed.path.startswith("/proposals/"), "時報と比べた" in proposed.main.text) == (True, True)
    again = await officer.at.post("/ca/clock", {"why": "もう一度"})
    assert "すでに承認を待っています" in again.main.text
    assert "時計の確認" in again.main.one("ul").text
    await second.confirm(await second.at.post(f"{proposed.path}/approve"))
    assert "時計に疑いがあります" not in (await officer.at.get("/ca")).main.text
