"""The operators' console in Chromium with its virtual authenticator: one gateway, one browser."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from ca import datadir
from ca.clock import SystemClock
from ca.profiles import Audience
from ca.storage import Transaction, inserting
from enroll import store
from enroll.hooks import outbox
from enroll.hooks import store as hooks
from enroll.hooks.states import Delivery
from enroll.jobs import running
from enroll.jobs import store as jobs
from enroll.jobs.store import Line
from enroll.mail import store as mails
from enroll.operators import actors, asking, codes, credentials, emergency
from enroll.operators import store as operators
from enroll.operators.actors import By
from enroll.operators.roles import Act
from enroll.operators.roles import Role as Trusted
from enroll.operators.store import Operator
from enroll.people import applications, changes, csvfile
from enroll.people.register import Person
from enroll.postcards import store as postcards
from enroll.settings import DAY
from gateway.serving.config import Config
from gateway.web import store as gateway_store
from gateway.web.context import Role
from gateway.web.reports import KINDS
from tests.browser.eye import PICTURES, Eye
from tests.browser.kit import P12_PASSWORD, World, page, persona, served
from tests.datadirs import CHEAP, PASSPHRASE, POLICY_NUMBER, admit
from tests.enroll.postcards_kit import HERE

pytestmark = pytest.mark.browser

CODE = "walk-in-2026"
USER = "K12345678"
_ROWS = f"証券番号,氏名,メールアドレス\n{POLICY_NUMBER},取込 花子,h@example.jp\n{POLICY_NUMBER},取込 次郎,x\n"
AUTHENTICATOR = {
    "protocol": "ctap2",
    "transport": "internal",
    "hasResidentKey": True,
    "hasUserVerification": True,
    "isUserVerified": True,
    "automaticPresenceSimulation": True,
}
# What axe does not look at: the words that somebody typed, on their ground, whichever scheme is on.
_TYPED_IS_SEEN = """() => {
  const style = getComputedStyle(document.activeElement);
  return style.color !== style.backgroundColor && style.color === getComputedStyle(document.body).color;
}"""
# Charts that are wider than their place in the page, and how many there are to be seen.
_CHARTS = """() => {
  const there = [...document.querySelectorAll('svg[role=img]')].filter((each) => each.checkVisibility());
  const places = [...document.querySelectorAll('.scroll:has(svg[role=img])')];
  return [there.length, places.filter((each) => each.scrollWidth > each.clientWidth).length];
}"""
_FOCUSED = "() => (document.activeElement.innerText || document.activeElement.name || '').trim()"
# Whether what has the focus is in the window, and below the head that stays there.
_SEEN = """() => {
  const box = document.activeElement.getBoundingClientRect(), head = document.querySelector('.head');
  // At the end of a page nothing of it has the focus.
  if (head.contains(document.activeElement) || document.activeElement.matches('.skip, body')) return true;
  return box.bottom <= innerHeight + 1 && box.top >= head.getBoundingClientRect().bottom - 1;
}"""


@pytest_asyncio.fixture(loop_scope="session")
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A gateway with a console, today: an operator's certificate lives a year, by the browser's clock."""
    now = SystemClock().seconds()
    datadir.create(tmp_path / "world", PASSPHRASE, now - DAY, cost=CHEAP)
    datadir.add_issuer(tmp_path / "world", PASSPHRASE, "Operators CA", now - DAY, audience=Audience.OPERATORS)
    default = Config()
    config = replace(default, sites=replace(default.sites, console=("console.localhost",)))
    # At an address that is not public: nobody is asked.
    config = replace(config, webhooks=replace(config.webhooks, hosts=("localhost:1",)))
    async with served(tmp_path, now, config) as made:
        yield made


async def _added(world: World, name: str, *roles: Trusted) -> Operator:
    at = world.ra.now()
    new = Operator(0, name, "運用 花子", "person", roles, "", "", f"handle-{name}", at, "test")
    added = await world.ra.database.write(lambda db: operators.add(db, new))
    assert added is not None
    return added


async def admitted(world: World, name: str, *roles: Trusted, code: str = CODE) -> tuple[Operator, bytes, str]:
    """An operator with a code, with the file and the serial of the certificate."""
    ra, at = world.ra, world.ra.now()
    added = await _added(world, name, *roles)
    host = await ra.database.read(lambda db: actors.of_account(db, "root", at, host=True))
    if not host.may(Act.OPERATORS):  # by now two of them can
        there = await ra.database.read(operators.operators)
        officer = next(each for each in there if Trusted.CA_OFFICER in each.roles)
        host = await ra.database.read(lambda db: actors.of_operator(db, officer.number, By.CONSOLE))
    issued = await credentials.issue(ra, host, name, P12_PASSWORD)
    number, ends_at = added.number, at + DAY
    await ra.database.write(lambda db: operators.add_code(db, number, codes.hashed(code), at, ends_at))
    return added, issued.p12, issued.serial


async def _proposed(world: World) -> int:
    """Somebody else's proposal, which waits for a decision; its number."""
    officer = await _added(world, "rokuro", Trusted.CA_OFFICER)
    payload = {"name": "shinjin", "display": "新人", "roles": ["desk"], "kind": "person", "language": "ja"}
    payload |= {"account": "", "mail": "s@example.jp"}
    actor = await world.ra.database.read(lambda db: actors.of_operator(db, officer.number, By.CONSOLE))
    found = await asking.ask(world.ra, actor, "operator.add", payload, reason="増員")
    assert isinstance(found, asking.Proposed)
    return found.number


async def _imported(world: World) -> int:
    """An import that somebody has decided, in the middle of its rows; the number of its job."""
    people = [
        await _added(world, "touroku", Trusted.REGISTRAR),
        await _added(world, "shounin", Trusted.APPROVER),
    ]
    ra = world.ra
    registrar, approver = [
        await ra.database.read(lambda db, n=each.number: actors.of_operator(db, n, By.CONSOLE))
        for each in people
    ]
    rows = "証券番号,氏名,メールアドレス\n99999999,甲 一,a@x.jp\n99999999,乙 二,b@x.jp\n"
    table = csvfile.table_in(rows.encode(), Path("people.csv"), csvfile.USERS)
    payload = csvfile.payload_of(table, "people.csv", {2, 3}) | {"hold_letters": True, "alike": False}
    found = await asking.ask(ra, registrar, "user.import", payload)
    assert isinstance(found, asking.Proposed)
    number: int = (await asking.approve(ra, approver, found.number)).result["job"]
    refused = Line(2, "refused", code="not_found", field="policy_number")
    await ra.database.write(lambda db: jobs.claim(db, number, "test", ra.now(), 30))
    await ra.database.write(lambda db: jobs.advance(db, number, "test", refused, ra.now()))
    return number


async def _told_by_postcard(world: World) -> None:
    """Two users whose ID notices are printed, one at an address of her own."""
    await admit(world.ra, "K87654321", notice_by="postcard")
    await changes.change_organisation(world.ra, POLICY_NUMBER, HERE, actor="test")
    await admit(world.ra, "K87654322", notice_by="postcard")
    own = {"postal_code": "0600001", "prefecture": "北海道", "city": "札幌市中央区", "street": "北一条西9"}
    await changes.change_user(world.ra, "K87654322", own, actor="test")


async def _drawn(world: World) -> None:
    """Their batch is drawn, as the leading worker does it."""
    for _ in range(600):
        batch = await world.ra.database.read(lambda db: postcards.batch(db, 1))
        assert batch is not None
        if batch.kept:
            return
        await running.work(world.ra, "test")
        await asyncio.sleep(0.1)
    raise AssertionError("the batch was not drawn within a minute")


async def applied(world: World) -> tuple[int, int]:
    """Two applications that wait, the second one of somebody who may be the same as a user; their numbers."""
    await admit(world.ra)
    found = []
    for name in ("新規 花子", "年金 太郎"):
        person = Person(POLICY_NUMBER, name, f"n{len(found)}@example.jp")
        made = await applications.apply_addition(world.ra, person, channel="online", actor="K12345678")
        found.append(made.number)
    return found[0], found[1]


# Reports whose charts differ in kind; the others are looked at where pictures are taken.
_DIFFERENT = ("issuance", "pickup", "failures")


async def _a_quarter(world: World) -> None:
    """What reports count of K12345678: a few months with a little of everything."""
    at = world.ra.now()

    def work(db: Transaction) -> None:
        for n in range(400):
            begun = at - n * 19_001 - 3 * DAY
            door = "page" if n % 3 else "protocol"
            kind = (
                ("addition", "renewal", "reissue", "renewal")[n % 4]
                if door == "page"
                else ("protocol", "renewal")[n % 2]
            )
            row = {
                "request_id": f"{n:016d}",
                "kind": kind,
                "user_id": "K12345678",
                "door": door,
                "profile": "client-person",
            }
            row |= {
                "state": "in_use" if n % 7 else "closed",
                "common_name": f"K12345678{n:04d}",
                "revoke_old": "never",
            }
            row |= {
                "created_at": begun,
                "window_ends_at": begun + 30 * DAY,
                "issued_at": begun if n % 7 else None,
            }
            row |= {
                "picked_up_at": begun if door == "page" and n % 7 else None,
                "ended_at": None if n % 7 else begun,
            }
            row |= {"not_after_at": begun + (100 + n % 40) * DAY if n % 7 else None}
            db.execute(inserting("enrollments", row), row)
            row = {
                "cause": f"n{n}",
                "kind": "pickup",
                "channel": "mail",
                "user_id": "K12345678",
                "recipient": "x@example.jp",
            }
            row |= {
                "subject": "x",
                "shown_body": "x",
                "state": "sent" if n % 9 else "failed",
                "failure": "" if n % 9 else "bounced" if n % 18 else "refused",
                "next_attempt_at": begun,
            }
            row |= {"created_at": begun, "queued_at": begun, "sent_at": begun if n % 18 else None}
            db.execute(inserting("mails", row), row)
            code = ("bad_credentials", "certificate.none", "check.expired", "not_available", "throttled")[
                n * n % 31 % 5
            ]
            site = "connectivity" if code.startswith("check") else ("pickup", "service")[n % 2]
            gateway_store.add_reference(db, f"{n:04d}-AAAA", begun, site, code, "{}")

    await world.ra.database.write(work)


async def taken(world: World) -> None:
    """A role by the passphrase, and the red banner of each page."""
    ra = world.ra
    root = await ra.database.read(lambda db: actors.of_account(db, "root", ra.now(), host=True))
    await emergency.take(ra, root, Trusted.APPROVER, "夜間の障害、担当者全員不在")


async def _approved(world: World, proposer: Operator) -> None:
    """A system that is to be told of what happens: decided, and its secret not told yet."""
    ra, events = world.ra, ["request.*", "certificate.*"]
    told = {"name": "billing", "url": "https://localhost:1/in", "events": events}
    both = [proposer, await _added(world, "futari", Trusted.CA_OFFICER)]
    me, other = [
        await ra.database.read(lambda db, n=each.number: actors.of_operator(db, n, By.CONSOLE))
        for each in both
    ]
    found = await asking.ask(ra, me, "webhook.add", told, reason="支払システムへの連携")
    assert isinstance(found, asking.Proposed)
    await asking.approve(ra, other, found.number)


async def _told(world: World) -> None:
    """It is told, with one delivery given up and some that wait."""
    ra = world.ra

    def work(db: Transaction) -> None:
        for number in range(3):
            store.audit(db, ra.now(), "test", "certificate.held", f"{number:032}")

    await ra.database.write(work)
    await outbox.write_out(ra)
    one = (await ra.database.read(hooks.deliveries))[0]
    said = {"status": 500, "result": "answered 500"}
    await ra.database.write(
        lambda db: hooks.settle(db, one, Delivery.DEAD, next_at=ra.now(), ended_at=ra.now(), **said)  # type: ignore[arg-type]
    )


async def press(on: Page, words: str) -> None:
    """With the keyboard alone: on to what is called so, which is to be seen there, and Enter."""
    for _ in range(80):
        await on.keyboard.press("Tab")
        assert await on.evaluate(_SEEN), await on.evaluate(_FOCUSED)
        if (await on.evaluate(_FOCUSED)).startswith(words):
            await on.keyboard.press("Enter")
            return
    raise AssertionError(f"no {words} by the keyboard")


# Some forty screens in two languages: eight minutes where others work beside it.
@pytest.mark.timeout(1800)
async def test_a_day_at_the_console(world: World, tmp_path: Path) -> None:
    """From the code to the passkey, in by both, every screen in both languages and sizes, a further passkey
    and its end with a confirmation, by keyboard alone all the way; out when the certificate is revoked."""
    operator, p12, serial = await admitted(world, "hanako", *Trusted)
    pc = persona(tmp_path / "pc", world.deployment.datadir.server_ca_pem)
    (tmp_path / "hanako.p12").write_bytes(p12)
    assert pc.import_p12(tmp_path / "hanako.p12")
    async with page(pc) as on:
        eye, url = Eye(on, "console"), lambda path: world.url(Role.CONSOLE, path)
        devtools = await on.context.new_cdp_session(on)
        await devtools.send("WebAuthn.enable")
        await devtools.send("WebAuthn.addVirtualAuthenticator", {"options": AUTHENTICATOR})

        await on.goto(url("/"))
        await expect(on).to_have_url(url("/enrol"))
        await eye.look("enrol")
        await on.get_by_label("登録用コード").focus()
        await on.keyboard.type(CODE)
        await on.keyboard.press("Enter")
        await expect(on.get_by_label("パスキーの名前")).to_be_visible()
        await eye.look("enrol-passkey", english=False)
        await press(on, "パスキーを作成する")
        await expect(on.get_by_role("status")).to_have_text(
            "パスキーを登録しました。続けてログインしてください。"
        )
        await eye.look("login")
        await press(on, "パスキーでログインする")
        await expect(on.get_by_role("heading", name="ホーム")).to_be_visible()
        await eye.look("home")
        await press(on, "運用者")
        await expect(on.get_by_role("heading", name="運用者")).to_be_visible()
        await eye.look("operators")
        await eye.visit(url("/permissions"), "permissions")
        await eye.visit(url("/nowhere"), "not-found")
        await eye.visit(url("/proposals"), "proposals")
        await eye.visit(url(f"/proposals/{await _proposed(world)}"), "proposal")
        await eye.visit(url("/operators/new"), "operator-new")
        await on.goto(url("/operators"))
        await on.get_by_role("table").get_by_role("link").first.click()
        await eye.look("operator")
        number = await _imported(world)
        await eye.visit(url("/jobs"), "jobs")
        await eye.visit(url(f"/imports/{number}"), "import")

        await _told_by_postcard(world)
        await eye.visit(url("/postcards"), "postcards")
        await press(on, "バッチを作成する")
        await expect(on.get_by_role("heading", name="はがきのバッチ 1")).to_be_visible()
        await _drawn(world)
        await on.reload()
        await eye.look("postcard-batch")
        await press(on, "PDFを受け取る")
        await expect(on.get_by_role("heading", name="パスキーで確認")).to_be_visible()
        async with on.expect_download() as download:
            await press(on, "パスキーで確認する")
        assert Path(await (await download.value).path()).read_bytes().startswith(b"%PDF-")
        await on.goto(url("/postcards/1"))
        await press(on, "もう一度印刷する")
        await press(on, "バッチを取り消す")
        await eye.look("postcard-batch-fetched")
        await press(on, "印刷済みにする")
        await expect(on.get_by_role("heading", name="パスキーで確認")).to_be_visible()
        await press(on, "パスキーで確認する")
        await expect(on.get_by_role("status")).to_have_text(
            "印刷済みにしました。PDFとパスワードは消去しました。"
        )
        await on.goto(url("/postcards?state=all"))
        await eye.look("postcards-over")

        one, two = await applied(world)
        await eye.visit(url("/applications"), "applications")
        await eye.visit(url("/applications/new"), "application-new")
        await eye.visit(url(f"/applications/{two}"), "application-alike")
        await on.goto(url("/applications"))
        await press(on, str(one))
        await expect(on.get_by_role("heading", name=f"申請 {one}")).to_be_visible()
        await press(on, "承認する")
        await expect(on.get_by_role("heading", name="パスキーで確認")).to_be_visible()
        await press(on, "パスキーで確認する")
        await expect(on.get_by_role("status")).to_have_text("承認しました。")
        await eye.look("application-approved")
        await on.goto(url("/applications"))
        await on.get_by_role("checkbox").check()
        await on.get_by_label("却下の理由").select_option("duplicate")
        await on.get_by_role("button", name="却下する").click()
        await on.get_by_role("button", name="パスキーで確認する").click()
        await expect(on.get_by_role("heading", name="一括決定の結果")).to_be_visible()
        await eye.look("applications-outcome", english=False)

        await on.goto(url("/jobs"))
        await press(on, "CSVを取り込む")
        await on.get_by_label("CSVファイル").set_input_files(
            {"name": "book.xlsx", "mimeType": "application/zip", "buffer": b"PK\x03\x04"}
        )
        await on.get_by_role("button", name="内容を確認する").click()
        await expect(on.get_by_role("alert")).to_contain_text("CSVではありません")
        await eye.look("import-refused")
        file = {"name": "shinki.csv", "mimeType": "text/csv", "buffer": _ROWS.encode("cp932")}
        await on.get_by_label("CSVファイル").set_input_files(file)
        await on.get_by_role("button", name="内容を確認する").click()
        await expect(on.get_by_role("heading", name="取込の確認：shinki.csv")).to_be_visible()
        await eye.look("import-checked")
        await on.get_by_label("理由", exact=True).fill("4月の新規登録")
        await on.get_by_role("button", name="取込を起案する").click()
        await expect(on.get_by_role("status")).to_contain_text("起案しました")

        await eye.visit(url("/organisations"), "organisations")
        await eye.visit(url("/organisations/new"), "organisation-new")
        await eye.visit(url("/users"), "users")
        await eye.visit(url("/users/new"), "user-new")
        await on.goto(url(f"/organisations/{POLICY_NUMBER}"))
        await press(on, "登録内容を変更する")
        await on.get_by_label("1人あたりの台数").fill("x")
        await on.get_by_label("起案の理由").first.fill("台数の変更")
        await on.get_by_role("button", name="変更を起案する").click()
        await expect(on.get_by_label("1人あたりの台数")).to_be_focused()
        await eye.look("organisation-refused")
        await on.goto(url("/users"))
        await press(on, USER)
        await expect(on.get_by_role("heading", name=USER)).to_be_visible()
        await press(on, "登録内容を変更する")
        await eye.look("user", english=False)
        await on.get_by_label("氏名", exact=True).fill("年金 次郎")
        await on.get_by_label("起案の理由").first.fill("改姓")
        await on.get_by_role("button", name="変更を起案する").click()
        await expect(on.get_by_role("status")).to_contain_text("起案しました")
        await eye.visit(url(f"/users/{USER}"), "user-waiting")

        await _a_quarter(world)
        for path in ("", *(f"/{name}" for name in (KINDS if PICTURES else _DIFFERENT))):
            await eye.visit(url(f"/reports{path}"), f"reports{path.replace('/', '-')}")
            if path:
                for width in (320, 375, 1280):
                    await on.set_viewport_size({"width": width, "height": 800})
                    assert await on.evaluate(_CHARTS) == [1, 0], (path, width)
        await on.goto(url("/reports/pickup?from=x&organisation=1"))
        await eye.look("report-refused")
        await eye.visit(url("/audit"), "audit")
        await on.get_by_role("button", name="記録を検証する").click()
        await expect(on).to_have_url(url("/audit/verify"))
        await eye.look("audit-verified", english=False)
        await eye.visit(url("/emergencies"), "emergencies-none")
        await taken(world)
        await eye.visit(url("/emergencies"), "emergencies")
        await on.get_by_label("確認した内容").fill("記録のとおり")
        await press(on, "点検済みにする")
        await expect(on.get_by_role("heading", name="パスキーで確認")).to_be_visible()
        await press(on, "パスキーで確認する")
        await expect(on.get_by_role("status")).to_have_text("点検済みにしました。")
        await _approved(world, operator)
        await eye.visit(url("/integrations"), "integrations-approved")
        await press(on, "署名鍵を表示する")
        await expect(on.get_by_role("heading", name="パスキーで確認")).to_be_visible()
        await press(on, "パスキーで確認する")
        await expect(on.get_by_role("heading", name="署名鍵：billing")).to_be_visible()
        # In another language nothing would be left of it.
        assert await on.get_by_role("link", name="English").count() == 0
        await eye.look("integration-secret", english=False)
        await _told(world)
        await eye.visit(url("/integrations"), "integrations")
        await eye.visit(url("/integrations/webhooks/billing"), "integration")
        await eye.visit(url("/integrations/deliveries"), "deliveries")
        await eye.visit(url("/integrations/new"), "integration-new")
        await on.goto(url("/integrations/webhooks/billing"))
        await on.get_by_role("link", name="変更を起案する").click()
        await eye.look("integration-change")
        await on.goto(url("/integrations/webhooks/billing"))
        await on.get_by_label("理由").first.fill("試験")
        await on.get_by_role("button", name="停止する").click()
        await expect(on.get_by_role("status")).to_contain_text("停止しました")
        await on.goto(url("/"))
        await on.keyboard.press("/")
        await expect(on.get_by_role("searchbox")).to_be_focused()
        await on.keyboard.type("年金")
        assert await on.evaluate(_TYPED_IS_SEEN)
        await on.keyboard.press("Enter")
        await expect(on.get_by_role("heading", name="検索")).to_be_visible()
        await eye.look("search")
        await eye.visit(url("/search?q=誰もいない"), "search-nothing")
        await eye.visit(url("/search"), "search-empty")
        await eye.visit(url(f"/callers/{USER}"), "caller")
        await eye.visit(url("/letters"), "letters")
        await on.goto(url("/letters?state=bounced"))
        await press(on, "絞り込む")
        await on.get_by_role("table").get_by_role("link").first.click()
        await expect(on.get_by_role("heading", name="送信の経過")).to_be_visible()
        await eye.look("letter")
        await admit(world.ra, "K87654323")
        await world.ra.database.write(lambda db: mails.hold_back(db, "K87654323", world.ra.now()))
        await eye.visit(url("/letters/release?user_id=K87654323"), "letters-release")
        await on.get_by_role("button", name="保留を解除する").click()
        await expect(on.get_by_role("status")).to_have_text("保留を解除しました。順に送信されます。")
        await eye.visit(url("/templates"), "templates")
        await on.goto(url("/templates/user_id/ja"))
        words = on.get_by_role("textbox", name="文面")
        good = await words.input_value()
        await words.fill(good.replace("{{ user_id }}", "{{ nothing }}"))
        await press(on, "表示例を確認する")
        await expect(on.get_by_role("alert")).to_contain_text("使用できない項目があります： nothing")
        await eye.look("template-refused", english=False)
        await words.fill(good.replace("お知らせいたします", "お届けいたします"))
        await on.get_by_label("変更の理由").fill("言い回しを改める")
        await press(on, "変更を起案する")
        await expect(on.get_by_role("heading", name="文面の変更")).to_be_visible()
        await eye.look("proposal-template", english=False)
        await eye.visit(url("/certificates"), "certificates")
        await eye.visit(url(f"/certificates/{serial}"), "certificate")
        await on.goto(url("/certificates"))
        await on.get_by_role("checkbox").first.check()
        await press(on, "一括失効を確認する")
        await expect(on.get_by_role("heading", name="一括失効の起案")).to_be_visible()
        await eye.look("certificates-revoke", english=False)
        await eye.visit(url("/ca"), "ca")
        await eye.visit(url("/settings"), "settings")

        await eye.visit(url("/campaigns"), "campaigns-empty")
        await press(on, "キャンペーンを始める")
        await expect(on.get_by_role("heading", name="キャンペーンを始める")).to_be_visible()
        await on.get_by_label("名称").fill("春の更新")
        await press(on, "キャンペーンを始める")
        await expect(on.get_by_label("有効期限：始めの日")).to_have_attribute("aria-invalid", "true")
        await eye.look("campaign-new")
        await on.get_by_label("団体（証券番号）").fill(POLICY_NUMBER)
        await press(on, "キャンペーンを始める")
        await expect(on.get_by_role("status")).to_have_text("開始しました。")
        await eye.look("campaign")
        await eye.visit(url("/campaigns"), "campaigns")
        await eye.visit(url("/campaigns/1/people"), "campaign-people")
        await eye.visit(url("/campaigns/1/remind"), "campaign-remind")
        await eye.visit(url("/campaigns/1/end"), "campaign-end")
        await eye.visit(url("/rollover"), "rollover")

        await press(on, "運用 花子")
        await expect(on.get_by_role("heading", name="自分の設定")).to_be_visible()
        await press(on, "パスキーを追加する")
        await expect(on.get_by_role("heading", name="パスキーで確認")).to_be_visible()
        await eye.look("confirm", english=False)
        await press(on, "パスキーで確認する")
        await expect(on.get_by_role("heading", name="パスキーの追加")).to_be_visible()
        await eye.look("another", english=False)
        # Another PC's: this one has its own already, and the browser makes no second there.
        await devtools.send(
            "WebAuthn.addVirtualAuthenticator", {"options": {**AUTHENTICATOR, "transport": "usb"}}
        )
        await press(on, "パスキーを作成する")
        await expect(on.get_by_role("status")).to_have_text("パスキーを追加しました。")
        await eye.look("me")
        await on.get_by_label("「/」キーで検索欄へ移動する").uncheck()
        await on.get_by_role("heading", name="自分の設定").click()
        await on.keyboard.press("/")
        await expect(on.get_by_role("searchbox")).not_to_be_focused()
        # The other one: whoever removes the passkey in use is logged out by that.
        other = on.get_by_role("row").filter(has_not_text="使用中")
        await other.get_by_role("button", name="削除する").focus()
        await on.keyboard.press("Enter")
        await expect(on.get_by_role("heading", name="パスキーで確認")).to_be_visible()
        await press(on, "パスキーで確認する")
        await expect(on.get_by_role("status")).to_have_text("パスキーを削除しました。")

        actor = await world.ra.database.read(lambda db: actors.of_operator(db, operator.number, By.CONSOLE))
        await credentials.withdraw(world.ra, actor, serial, "keyCompromise")
        await on.goto(url("/me"))
        await expect(on.get_by_role("heading", name="運用者の証明書は失効しています")).to_be_visible()
        await eye.look("revoked")
    assert eye.seen == {}, "\n".join(f"{k}: {v}" for k, v in eye.seen.items())
