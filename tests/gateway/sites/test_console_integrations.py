"""連携 at the console: a webhook proposed, decided and its secret told once; stopped, tried, sent again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from aiohttp import web

from ca.storage import Storage, Transaction
from enroll import store
from enroll.hooks import endpoints, outbox, viewing
from enroll.hooks import store as hooks
from enroll.hooks.states import Delivery, Endpoint
from enroll.operators import actors, asking
from enroll.operators import store as operators
from enroll.operators.actors import By
from enroll.operators.roles import Role
from enroll.ra import RegistrationAuthority
from enroll.refusals import Refusal
from gateway.sites import console
from gateway.web.context import Gate
from tests.gateway.sites.kit import Page
from tests.gateway.sites.test_console import Office, Person, office, opened_office
from tests.looking import look

__all__ = ("office",)

URL = "https://hooks.example.jp/in"
HERE = "/integrations/webhooks/billing"


async def added(ra: RegistrationAuthority, name: str = "billing") -> None:
    await endpoints.add(ra, {"name": name, "url": URL, "events": ["*"]}, "test", True)


async def given_up(ra: RegistrationAuthority, count: int = 1) -> list[int]:
    """So many deliveries, as after their last try; their numbers."""

    def happen(db: Transaction) -> None:
        for number in range(count):
            store.audit(db, ra.now(), "test", "certificate.held", f"{number:016}")

    await ra.database.write(happen)
    await outbox.write_out(ra)

    def end(db: Transaction) -> list[int]:
        found = [each for each in hooks.deliveries(db, limit=200) if each.state is Delivery.WAITING]
        for each in found:
            said = "answered 500"
            hooks.settle(
                db, each, Delivery.DEAD, next_at=ra.now(), ended_at=ra.now(), status=500, result=said
            )
        return sorted(each.number for each in found)

    return await ra.database.write(end)


def said(page: Page, role: str = "status") -> str:
    return page.main.one("div", role=role).text


def states(ra: RegistrationAuthority) -> dict[int, str]:
    return {each.number: str(each.state) for each in hooks.deliveries(look(ra.database), limit=200)}


async def approved(person: Person, page: Page, comes: str = "承認すると直ちに実行され") -> None:
    """By another one, with the passkey, who is told what comes of it."""
    assert page.path.startswith("/proposals/"), page.html
    asked = await person.at.post(f"{page.path}/approve")
    assert (comes in asked.main.text, "取り消せません。" in asked.main.text) == (True, True)
    done = await person.confirm(asked)
    assert said(done) == "承認しました。"


async def test_a_webhook_is_proposed_decided_and_its_secret_told_once(office: Office) -> None:
    """Two people and a passkey each; only who proposed it reads the secret, on one page, once. What was typed
    wrong comes back with why."""
    officer = await office.admit("officer", Role.CA_OFFICER)
    other = await office.admit("second", Role.CA_OFFICER)
    typed = {"name": "billing", "url": URL, "event-certificate.*": "1", "reason": "支払システムへの連携"}
    for wrong, words in (
        ({"url": "http://hooks.example.jp/"}, "webhooks.hosts にあるホスト"),
        ({"url": "https://other.example.jp/"}, "webhooks.hosts にあるホスト"),
        ({"name": "B"}, "英小文字で始まる"),
        ({"event-certificate.*": ""}, "イベントを1つ以上"),
    ):
        page = await officer.at.post("/integrations/new", typed | wrong)
        assert (page.status, words in said(page, "alert")) == (422, True), page.html
        assert page.main.one("input", id="reason").attributes["value"] == typed["reason"]
    page = await officer.at.post("/integrations/new", typed)
    assert "新しいもの（起案者だけに1回表示）" in page.main.text
    await approved(other, page, "起案した運用者が期限までに実行でき")
    # Sent once more it is where the passkey is asked for: a session alone reads no secret.
    again = await officer.at.post("/integrations/new", typed)
    assert (again.path, "署名鍵を表示する" in again.buttons()) == ("/integrations", True)
    assert hooks.endpoints(look(office.served.ra.database)) == []
    assert "署名鍵を表示する" not in (await other.at.get("/integrations")).buttons()
    number = page.path.rpartition("/")[2]
    assert (await other.at.post("/integrations/secret", {"number": number})).status == 404
    assert "署名鍵を表示する" in (await officer.at.get("/integrations")).buttons()
    asked = await officer.at.post("/integrations/secret", {"number": number})
    assert asked.h1 == "パスキーで確認"
    for part in (
        "Webhookの登録 billing",
        "以後のイベントの送信が始まります",
        "1回だけ表示",
        "取り消せません",
    ):
        assert part in asked.main.text, part
    told = await officer.confirm(asked)
    secret = told.main.one("code").text
    assert secret.startswith("whsec_")
    found = hooks.named(look(office.served.ra.database), "billing")
    assert found is not None
    assert (found.events, found.state, found.added_by) == (
        ("certificate.*",),
        Endpoint.ACTIVE,
        "operator:officer",
    )
    assert (await officer.at.post("/integrations/secret", {"number": number})).status == 404
    for path in ("/integrations", HERE, f"/proposals/{number}", "/integrations/deliveries"):
        page = await officer.at.get(path)
        assert (page.status, secret in page.html) == (200, False), path
    page = await officer.at.post("/integrations/new", typed)
    assert "すでに使われています" in said(page, "alert")


class Between:
    """A storage that has something done before one of the reads and writes that it is asked for, by turn."""

    def __init__(self, storage: Storage) -> None:
        self._storage, self._turn = storage, 0
        self._work: Callable[[], Awaitable[Any]] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def before(self, turn: int, work: Callable[[], Awaitable[Any]]) -> None:
        self._turn, self._work = turn, work

    @property
    def met(self) -> bool:
        return self._work is None

    async def read(self, work: Any) -> Any:
        await self._passed()
        return await self._storage.read(work)

    async def write(self, work: Any) -> Any:
        await self._passed()
        return await self._storage.write(work)

    async def _passed(self) -> None:
        self._turn -= 1
        if self._turn == 0 and self._work is not None:
            work, self._work = self._work, None
            await work()


@pytest.mark.parametrize("what", ["add", "rotate"])
async def test_no_moment_of_an_approval_tells_a_secret_without_the_passkey(tmp_path: Path, what: str) -> None:
    """The same is proposed once more while somebody else approves it, before each read and write of that in
    turn: it is where the passkey is asked for, or waits, and nothing is done."""
    between = list[Between]()

    def application(gate: Gate) -> web.Application:
        between.append(Between(gate.ra.database))
        return console.application(replace(gate, ra=replace(gate.ra, database=cast(Storage, between[0]))))

    async with opened_office(tmp_path, application) as office:
        ra = office.served.ra
        officer = await office.admit("officer", Role.CA_OFFICER)
        second = await office.admit("second", Role.CA_OFFICER)
        actor = actors.of_operator(look(ra.database), second.operator.number, By.CONSOLE)
        ends = set[tuple[str, bool]]()
        for turn in range(1, 40):
            name = f"billing{turn}"
            path, typed = "/integrations/new", {"url": URL, "event-*": "1", "name": name, "reason": "連携"}
            if what == "rotate":
                await added(ra, name)
                path = f"/integrations/webhooks/{name}/propose"
                typed = {"what": "rotate", "reason": "定期"}
            before = [each.sealed_secret for each in hooks.endpoints(look(ra.database))]
            number = int((await officer.at.post(path, typed)).path.rpartition("/")[2])
            between[0].before(turn, lambda number=number: asking.approve(ra, actor, number))  # type: ignore[misc]
            again = await officer.at.post(path, typed, follow=False)
            assert "whsec_" not in again.html, turn
            assert [each.sealed_secret for each in hooks.endpoints(look(ra.database))] == before
            if not between[0].met:
                break
            ends.add((again.headers["Location"].partition("?")[0], turn == 1))
            assert "署名鍵を表示する" in (await officer.at.get("/integrations")).buttons()
        assert turn > 4
        assert ("/integrations", True) in ends
        assert {where for where, _ in ends} == {"/integrations"}


async def test_where_it_goes_is_changed_by_two(office: Office) -> None:
    """The form has what stands there, single types that a command chose among it; what differs is proposed,
    decided by another one, and the secret stays. What is wrong, or no change, comes back with why."""
    ra = office.served.ra
    officer = await office.admit("officer", Role.CA_OFFICER)
    other = await office.admit("second", Role.CA_OFFICER)
    auditor = await office.admit("auditor", Role.AUDITOR)
    chosen = {"name": "billing", "url": URL, "events": ["request.*", "certificate.issued"]}
    await endpoints.add(ra, chosen, "test", True)
    before = hooks.named(look(ra.database), "billing")
    assert before is not None
    assert (await auditor.at.get(f"{HERE}/change")).status == 403
    page = await officer.at.get(f"{HERE}/change")
    assert page.main.one("input", id="url").attributes["value"] == URL
    ticked = {each.attributes["name"] for each in page.main.all("input") if "checked" in each.attributes}
    assert ticked == {"event-request.*", "event-certificate.issued"}
    stands = {"url": URL, **dict.fromkeys(ticked, "1"), "reason": "移転"}
    for wrong, words in (
        ({}, "変更された項目がありません"),
        ({"url": "https://other.example.jp/"}, "webhooks.hosts にあるホスト"),
        (dict.fromkeys(ticked, ""), "イベントを1つ以上"),
    ):
        page = await officer.at.post(f"{HERE}/change", stands | wrong)
        assert (page.status, words in said(page, "alert")) == (422, True), page.html
        assert page.main.one("input", id="reason").attributes["value"] == "移転"
    moved = "https://hooks.example.jp/elsewhere"
    page = await officer.at.post(f"{HERE}/change", stands | {"url": moved})
    assert moved in page.main.text
    assert "同じ内容の起案" in said(await officer.at.post(f"{HERE}/change", stands | {"url": moved}), "alert")
    assert hooks.named(look(ra.database), "billing") == before
    await approved(other, page)
    after = hooks.named(look(ra.database), "billing")
    assert after is not None
    assert (after.url, after.events, after.sealed_secret) == (moved, before.events, before.sealed_secret)
    await endpoints.end(ra, {"name": "billing"}, "test", True)
    assert (await officer.at.get(f"{HERE}/change")).status == 404
    assert (await officer.at.post(f"{HERE}/change", stands)).status == 404


async def test_stop_takes_one_and_start_takes_two(office: Office) -> None:
    """At once, with a reason; started again by somebody else's decision; the auditor sees no button."""
    ra = office.served.ra
    officer = await office.admit("officer", Role.CA_OFFICER)
    other = await office.admit("second", Role.CA_OFFICER)
    auditor = await office.admit("auditor", Role.AUDITOR)
    await added(ra)
    assert ["停止中のWebhook", "0"] in (await auditor.at.get("/")).main.table(-1)
    page = await auditor.at.get(HERE)
    assert (page.status, {"停止する", "起案する", "試験送信する"} & set(page.buttons())) == (200, set())
    assert "理由を入力" in said(await officer.at.post(f"{HERE}/stop", {"reason": " "}), "alert")
    page = await officer.at.post(f"{HERE}/stop", {"reason": "漏えいの疑い"})
    assert "停止しました" in said(page)
    assert ["停止中のWebhook", "1"] in (await auditor.at.get("/")).main.table(-1)
    assert "今の状態ではできません" in said(await officer.at.post(f"{HERE}/test"), "alert")
    assert "今の状態ではできません" in said(
        await officer.at.post(f"{HERE}/stop", {"reason": "もう一度"}), "alert"
    )
    page = await officer.at.post(f"{HERE}/propose", {"what": "start", "reason": ""})
    assert "理由を入力" in said(page, "alert")
    assert (await officer.at.post(f"{HERE}/propose", {"what": "other", "reason": "x"})).status == 422
    page = await officer.at.post(f"{HERE}/propose", {"what": "start_skip", "reason": "原因を除いた"})
    assert "送信しない" in page.main.text
    assert hooks.named(look(ra.database), "billing").state is Endpoint.STOPPED  # type: ignore[union-attr]
    await approved(other, page)
    assert hooks.named(look(ra.database), "billing").state is Endpoint.ACTIVE  # type: ignore[union-attr]
    page = await officer.at.post(f"{HERE}/propose", {"what": "start", "reason": "x"})
    assert "今の状態ではできません" in said(page, "alert")
    page = await officer.at.post(f"{HERE}/propose", {"what": "end", "reason": "契約の終了"})
    await approved(other, page)
    page = await officer.at.get(HERE)
    assert ("終了" in page.main.text, "停止する" in page.buttons()) == (True, False)
    trail = [each["action"] for each in store.audit_page(look(ra.database), "billing", 20)]
    assert trail == ["webhook.ended", "webhook.started", "webhook.stopped", "webhook.added"]


async def test_what_was_given_up_is_sent_again(office: Office) -> None:
    """One by one, ticked, or all of an endpoint; the home page counts what the list has; all or nothing."""
    ra = office.served.ra
    officer = await office.admit("officer", Role.CA_OFFICER)
    await added(ra)
    empty = await officer.at.get("/integrations/deliveries")
    assert "まだありません" in empty.main.text
    numbers = await given_up(ra, 3)
    assert ["送信できなかったWebhook", "3"] in (await officer.at.get("/")).main.table(-1)
    page = await officer.at.get("/integrations/deliveries?state=dead")
    assert ("1–3 / 3件" in page.main.text, len(page.main.table())) == (True, 4)
    assert (
        "条件に合うものはありません"
        in (await officer.at.get("/integrations/deliveries?state=delivered")).main.text
    )
    assert (await officer.at.get("/integrations/deliveries?state=odd")).status == 422
    assert (await officer.at.get("/integrations/deliveries?before=x")).status == 422
    assert (await officer.at.get("/integrations/deliveries?endpoint=none")).status == 404
    page = await officer.at.post("/integrations/deliveries", {"state": "dead"})
    assert "再送するものを選択" in said(page, "alert")
    page = await officer.at.post("/integrations/deliveries", {f"n{numbers[0]}": "1", "state": "dead"})
    assert (page.path, "再送を始めました" in said(page)) == ("/integrations/deliveries", True)
    assert list(states(ra).values()).count("waiting") == 1
    both = {f"n{numbers[0]}": "1", f"n{numbers[1]}": "1"}
    assert "今の状態ではできません" in said(await officer.at.post("/integrations/deliveries", both), "alert")
    assert list(states(ra).values()).count("waiting") == 1
    many = {f"n{number}": "1" for number in range(1, viewing.MOST_CHOSEN + 2)}
    assert "50件まで" in said(await officer.at.post("/integrations/deliveries", many), "alert")
    assert "再送を始めました" in said(await officer.at.post(f"{HERE}/replay"))
    assert set(states(ra).values()) == {"waiting"}
    page = await officer.at.post(f"{HERE}/test")
    assert "試験用のイベント" in said(page)
    assert "webhook.test" in page.main.text
    assert (await officer.at.post("/integrations/webhooks/nobody/test")).status == 404


async def test_a_list_longer_than_a_page(office: Office) -> None:
    """By a cursor, with how many there are in all; what narrows it stays."""
    ra = office.served.ra
    officer = await office.admit("officer", Role.CA_OFFICER)
    await added(ra)
    await added(ra, "payroll")
    await given_up(ra, 60)
    page = await officer.at.get("/integrations/deliveries?endpoint=billing&state=dead")
    assert "1–50 / 60件" in page.main.text
    (further,) = [each.attributes["href"] for each in page.main.all("a") if each.text == "次のページ"]
    page = await officer.at.get(further)
    assert ("51–60 / 60件" in page.main.text, len(page.main.table())) == (True, 11)


async def test_service_accounts_are_listed(office: Office) -> None:
    """Systems that work here, with where they come from; people are not among them."""
    ra = office.served.ra
    officer = await office.admit("officer", Role.CA_OFFICER)
    assert "sekisho operator add NAME --service" in (await officer.at.get("/integrations")).main.text

    def work(db: Transaction) -> None:
        new = operators.Operator(
            0, "hr", "人事システム", "service", (Role.REGISTRAR,), "", "", "h" * 8, ra.now(), "test",
            networks=("192.0.2.0/24",),
        )  # fmt: skip
        operators.add(db, new)

    await ra.database.write(work)
    text = (await officer.at.get("/integrations")).main.text
    assert ("人事システム" in text, "192.0.2.0/24" in text, "officerさん" in text) == (True, True, False)


async def test_functions_ask_by_themselves(office: Office) -> None:
    """The pages are not what keeps anybody out."""
    ra = office.served.ra
    await office.admit("officer", Role.CA_OFFICER, enrolled=False)
    desk = await office.admit("desk", Role.DESK, enrolled=False)
    actor = await ra.database.read(lambda db: actors.of_operator(db, desk.operator.number, By.CONSOLE))
    await added(ra)
    with pytest.raises(Refusal, match="is desk and may not do that"):
        await viewing.test(ra, actor, "billing")
    with pytest.raises(Refusal, match="is desk and may not do that"):
        await ra.database.read(lambda db: viewing.deliveries(db, actor))
