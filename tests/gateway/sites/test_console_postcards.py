"""Postcards at the console: what waits, batches, who may, and that passwords are in the PDF alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from enroll import store
from enroll.jobs import running
from enroll.operators.roles import Role
from enroll.people import changes
from enroll.postcards import store as postcards
from gateway.sites.console.postcards import STATES
from gateway.sites.console.words import ERRORS
from tests.enroll.postcards_kit import needs_font, needs_reader, people, texts
from tests.gateway.sites.test_console import Office, Person, office
from tests.looking import look

__all__ = ("office",)

pytestmark = [needs_font, needs_reader]


async def registrar_of(office: Office) -> Person:
    return await office.admit("registrar", Role.REGISTRAR)


async def drawn(office: Office, number: int = 1) -> None:
    """The batch's job is done."""
    found = postcards.batch(look(office.served.ra.database), number)
    assert found is not None
    await running.run(office.served.ra, found.job, "runner")


def actions(office: Office, subject: str) -> list[str]:
    found = store.audit_page(look(office.served.ra.database), subject, 50)
    return [each["action"] for each in found if each["action"].startswith("postcards.")]


async def test_a_batch_at_the_console(office: Office) -> None:
    """From what waits to what is printed: the home page counts what the list has, the PDF takes the passkey,
    and no page says a password."""
    ra = office.served.ra
    await people(ra, "𠮷田 髙子", "山﨑 太郎")
    registrar = await registrar_of(office)
    assert ["印刷待ちのはがき", "2"] in (await registrar.at.get("/")).main.table(-1)
    page = await registrar.at.get("/postcards")
    rows = page.main.table()
    assert [row[0] for row in rows[1:]] == ["𠮷田 髙子 K0000", "山﨑 太郎 K0001"]
    assert rows[1][3] == "〒100-0013 東京都千代田区霞が関1-2-3 霞が関ビル5階（団体）"
    assert "1–2 / 2枚" in page.main.text
    made = await registrar.at.post("/postcards")
    assert (made.path, "数秒で準備できます" in made.main.text) == ("/postcards/1", True)
    assert "PDFを受け取る" not in made.buttons()
    home = (await registrar.at.get("/")).main.table(-1)
    assert ["印刷待ちのはがき", "0"] in home
    assert ["印刷が終わっていないはがきのバッチ", "1"] in home
    await drawn(office)
    page = await registrar.at.get("/postcards/1")
    assert [button for button in page.buttons() if button.endswith(("受け取る", "にする", "取り消す"))] == [
        "PDFを受け取る", "バッチを取り消す",
    ]  # fmt: skip
    asked = await registrar.at.post("/postcards/1/fetch")
    assert (asked.h1, "PDFを受け取る：はがきのバッチ1" in asked.main.text) == ("パスキーで確認", True)
    assert actions(office, "1") == ["postcards.made"]
    got = await registrar.confirm(asked)
    assert got.headers["Content-Type"] == "application/pdf"
    assert got.headers["Content-Disposition"] == 'attachment; filename="postcards-1.pdf"'
    assert "no-store" in got.headers["Cache-Control"]
    passwords = [each.split("パスワード：")[1].split()[0] for each in texts(got.body)[1::2]]
    page = await registrar.at.get("/postcards/1")
    assert "印刷済みにする" in page.buttons()
    again = await registrar.at.post("/postcards/1/reprint", {"reason": " "})
    assert "理由を1行" in again.main.text
    again = await registrar.confirm(await registrar.at.post("/postcards/1/reprint", {"reason": "紙詰まり"}))
    assert again.body == got.body
    twice = await registrar.confirm(await registrar.at.post("/postcards/1/fetch"))
    assert "バッチの状態が変わっています" in twice.main.text
    done = await registrar.confirm(await registrar.at.post("/postcards/1/printed"))
    assert "印刷済みにしました" in done.main.text
    assert [row[3] for row in done.main.table(1)[1:]] == ["送付済み", "送付済み"]
    assert actions(office, "1") == [
        "postcards.printed", "postcards.reprinted", "postcards.fetched", "postcards.made",
    ]  # fmt: skip
    # One of them is brought back: it has not arrived, and says so wherever it stands.
    (leads,) = [each.attributes["href"] for each in done.main.all("a")
                if each.attributes["href"].startswith("/letters/")][:1]  # fmt: skip
    assert "返送を記録する" in (await registrar.at.get(leads)).main.text
    wrong = await registrar.at.post(f"{leads}/returned", {"reason": " "})
    assert "返送の理由を1行" in wrong.main.one("div", role="alert").text
    back = await registrar.at.post(f"{leads}/returned", {"reason": "宛所に尋ねあたりません"})
    facts = dict(back.main.table())
    assert (facts["状態"], facts["理由（相手の返答）"]) == ("不着（返送）", "宛所に尋ねあたりません")
    assert "ログインパスワードの再設定が必要" in back.main.text
    twice = await registrar.at.post(f"{leads}/returned", {"reason": "宛所に尋ねあたりません"})
    assert "送付済みのはがきではない" in twice.main.one("div", role="alert").text
    assert "1–1 / 1件" in (await registrar.at.get("/letters?state=open")).main.text
    assert [row[3] for row in (await registrar.at.get("/postcards/1")).main.table(1)[1:]].count("返送") == 1
    over = await registrar.at.post("/postcards/1/cancel", {"reason": "x"})
    assert "バッチの状態が変わっています" in over.main.text
    pages = [page, done, over, await registrar.at.get("/postcards?state=all"), await registrar.at.get("/")]
    for password in passwords:
        assert all(password not in each.html for each in pages)
    assert "印刷済み" in pages[3].main.text


async def test_what_cannot_be_printed_is_said_by_name(office: Office) -> None:
    """Each card with its character; nothing is taken, and what was typed stays; left out, the rest goes."""
    ra = office.served.ra
    await people(ra, "年金 花子", "葛\U000e01ef城 一")
    registrar = await registrar_of(office)
    page = await registrar.at.post("/postcards")
    assert (page.path, ERRORS["unprintable"][0] in page.main.text) == ("/postcards", True)
    assert "葛\U000e01ef城 一 K0001：フォントにない文字 「葛\U000e01ef」 U+845B U+E01EF" in page.main.text
    assert "1–2 / 2枚" in page.main.text
    page = await registrar.at.post("/postcards", {"without": "k0001、NOBODY"})
    assert ERRORS["without"][0] in page.main.text
    assert page.dom.one("input", id="without").attributes["value"] == "k0001、NOBODY"
    made = await registrar.at.post("/postcards", {"without": "ｋ０００１"})
    assert (made.path, made.main.table(1)[1][1]) == ("/postcards/1", "年金 花子 K0000")
    # The one that is left cannot be printed as it is.
    page = await registrar.at.post("/postcards", {"without": "K0001"})
    assert ERRORS["nothing"][0] in page.main.text


async def test_without_a_font_it_says_whom_to_tell(office: Office) -> None:
    """Nothing is lost, and what to type is there."""
    ra = office.served.ra
    await people(ra, "年金 花子")
    registrar = await registrar_of(office)
    gate = office.served.gate
    lacking = replace(ra, settings=replace(ra.settings, postcard_font="/nowhere.ttc"))
    object.__setattr__(gate, "ra", lacking)
    page = await registrar.at.post("/postcards")
    assert ERRORS["font"][0] in page.main.text
    assert "postcards.font: /nowhere.ttc cannot be read as a font" in page.main.text
    assert "1–1 / 1枚" in page.main.text


@pytest.mark.slow
@pytest.mark.parametrize("role", [Role.DESK, Role.APPROVER, Role.AUDITOR])
async def test_whoever_looks_sees_no_button(office: Office, role: Role) -> None:
    """The lists and the batch, and nothing to press; sent by hand it is refused."""
    await people(office.served.ra, "年金 花子")
    registrar, other = await registrar_of(office), await office.admit("other", role)
    await registrar.at.post("/postcards")
    await drawn(office)
    await changes.reset_password(office.served.ra, "K0000", actor="test")
    for path in ("/postcards", "/postcards/1"):
        page = await other.at.get(path)
        assert page.status == 200
        assert not {"バッチを作成する", "PDFを受け取る", "バッチを取り消す"} & set(page.buttons())
    # A newer password than the one that was drawn: whoever prints is told to take the card out.
    assert "抜き取り" in (await registrar.at.get("/postcards/1")).main.text
    assert "抜き取り" in (await other.at.get("/postcards/1")).main.text
    assert (await registrar.at.get("/postcards/2")).status == 404


async def test_long_lists_are_counted_on_each_page(office: Office) -> None:
    """ "N of M" is true behind the first fifty, too."""
    ra = office.served.ra
    await people(ra, "年金 花子")
    await ra.database.write(lambda db: [postcards.add(db, n, [], "someone", 1, 1) for n in range(1, 54)])
    await ra.database.write(
        lambda db: [
            db.execute(
                "INSERT INTO mails (cause, kind, channel, user_id, recipient, subject, shown_body, state,"
                " next_attempt_at, created_at) VALUES (:cause, 'user_id', 'postcard', 'K0000', :cause, '',"
                " '', 'queued', 0, 0)",
                {"cause": f"c{n}"},
            )
            for n in range(52)
        ]
    )
    auditor = await office.admit("auditor", Role.AUDITOR)
    page = (await auditor.at.get("/postcards")).main
    assert "1–50 / 53枚" in page.text
    assert "50 / 53件" in page.text
    links = [each.attributes["href"] for each in page.all("a") if each.text == "次のページ"]
    behind = (await auditor.at.get(links[0])).main
    assert "51–53 / 53枚" in behind.text
    assert len((await auditor.at.get(links[1])).main.table(1)) == 1 + 3


def test_every_state_has_its_words() -> None:
    """In both languages, with a colour."""
    assert all(all(text) and colour for text, colour in STATES.values())
