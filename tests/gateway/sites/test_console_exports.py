"""The console's lists as files: as long as their lists, for whom O3 says, whole or visibly not (O21)."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

from ca.storage import Transaction
from enroll import store
from enroll.campaigns import store as campaigns
from enroll.campaigns.store import Campaign
from enroll.operators import store as operators
from enroll.operators.roles import Role
from enroll.people import csvfile
from enroll.people.importing import Row
from gateway.sites.console import ROUTES
from gateway.sites.console.exporting import OFFERED, path_of
from tests.datadirs import admit
from tests.enroll.test_flow import picked_up
from tests.gateway.sites.kit import Page
from tests.gateway.sites.test_console import MAY_SEE, PARTS, Office, concrete, office  # noqa: F401  a fixture
from tests.gateway.sites.test_console_people import _many
from tests.looking import look

# Letters of 3 KB each.
_MANY = 6_000


def _rows(page: Page) -> list[list[str]]:
    return list(csv.reader(io.StringIO(page.body.decode("utf-8-sig"))))


def _acts(office: Office, name: str) -> list[str]:  # noqa: F811
    return [each["action"] for each in store.audit_page(look(office.served.ra.database), name, 10)]


async def test_who_gets_which(office: Office) -> None:  # noqa: F811
    """O3, role by export and format: given to those whose roles allow it and to nobody else, and offered on a
    page to no other."""
    ra = office.served.ra
    await office.admit("officer", Role.CA_OFFICER)
    await admit(ra)
    await picked_up(ra)
    begun = Campaign(0, "春の更新", None, None, None, None, 30, ra.now(), "test")
    await ra.database.write(lambda db: campaigns.add(db, begun))
    paths = {name: path_of(each) for name, each in OFFERED.items()}
    assert {route.path for route in ROUTES if "{form:" in route.path} == set(paths.values())
    # Nobody signs for the record here: test_console_audit.py.
    del paths["audit"]
    for role in Role:
        person = office.people.get("officer") if role is Role.CA_OFFICER else await office.admit(role, role)
        assert person is not None
        for name, path in paths.items():
            for form in ("csv", "jsonl"):
                page = await person.at.get(concrete(path).removesuffix(PARTS["form"]) + form)
                assert page.status == (200 if role in MAY_SEE[path] else 403), (role, name)
            if page.status == 200:
                assert json.loads(page.body.splitlines()[-1])["end"]["rows"] >= 0
        for path in ("/users", "/certificates", "/letters", "/applications", "/organisations", "/proposals"):
            page = await person.at.get(path)
            links = [a.attributes.get("href", "").partition("?")[0] for a in page.dom.all("a")]
            for each in links:
                if each.endswith((".csv", ".jsonl")):
                    assert role in MAY_SEE[each.rpartition(".")[0] + ".{form:csv|jsonl}"], (role, each)


async def test_a_file_is_as_long_as_its_list(office: Office) -> None:  # noqa: F811
    """What a page counts, narrowed as its address says, is what its links say and what their files have."""
    ra = office.served.ra
    await office.admit("officer", Role.CA_OFFICER)
    auditor = await office.admit("kansa", Role.AUDITOR)
    await _many(office)
    await admit(ra)
    await picked_up(ra)
    for address in (
        "/users", "/users?role=admin", "/users?q=m7@x.jp", "/organisations", "/organisations?state=active",
        "/certificates", "/certificates?state=issued&sort=ending", "/letters", "/letters?channel=mail",
        "/applications?state=all", "/proposals?state=all",
    ):  # fmt: skip
        page = await auditor.at.get(address)
        links = [a for a in page.main.all("a") if a.text.startswith("CSVを取得する（")]
        if not links:
            assert "ありません" in page.main.text, address
            continue
        (link,) = links
        found = re.search(r"([\d,]+)件", link.text)
        assert found is not None
        count = int(found[1].replace(",", ""))
        assert count > 0
        rows = _rows(await auditor.at.get(link.attributes["href"]))
        assert (len(rows), rows[-1][:2]) == (count + 2, ["#以上", str(count)]), address
        lines = (await auditor.at.get(link.attributes["href"].replace(".csv", ".jsonl"))).body.splitlines()
        assert len(lines) == count + 1, address
    wrong = await auditor.at.get("/certificates.csv?from=yesterday")
    assert (wrong.status, wrong.path) == (422, "/certificates")
    assert (await auditor.at.get("/certificates.csv?state=x")).status == 422
    assert (await auditor.at.get("/campaigns/9.csv")).status == 404


async def test_an_import_reads_it_back(office: Office) -> None:  # noqa: F811
    """Users and organisations, in Japanese and in English: headings and words are those of an import, what
    was made harmless is as it was, the last line is no row; who was stopped is not let in by a file."""
    ra = office.served.ra
    await office.admit("officer", Role.CA_OFFICER)
    auditor = await office.admit("kansa", Role.AUDITOR)
    people = await _many(office, 3)

    def work(db: Transaction) -> None:
        one = store.user(db, people[2])
        assert one is not None
        db.execute("UPDATE users SET disabled_at = 1 WHERE user_id = :user_id", {"user_id": one.user_id})
        db.execute("UPDATE users SET language = 'en', department = '-' WHERE user_id = :u", {"u": people[1]})

    await ra.database.write(work)
    for language in ("ja", "en"):
        tables = {}
        for name, shape in (("users", csvfile.USERS), ("organisations", csvfile.ORGANISATIONS)):
            content = (await auditor.at.get(f"/{name}.csv?lang={language}")).body
            tables[name] = csvfile.table_in(content, Path(f"{name}.csv"), shape)
        rows: tuple[Row, ...] = tables["users"].rows
        assert [row.given.get("user_id") for row in rows] == [*people[:2], None]
        assert rows[0].given["name"] == "=甲 0"
        assert (rows[0].given["role"], rows[1].given["role"]) == ("admin", "member")
        assert (rows[1].given["language"], rows[1].given["department"]) == ("en", "-")
        refused = rows[2].problem
        assert refused is not None
        assert (refused.code, refused.field) == ("user_disabled", "state")
        assert [row.given["name"] for row in tables["organisations"].rows] == [f"第{n}商事" for n in range(3)]
        assert {row.given["issue_password_by"] for row in tables["organisations"].rows} == {"mail"}
        assert not [row.problem for row in tables["organisations"].rows if row.problem]


def _letters(db: Transaction) -> None:
    """More than fits between a server and somebody who does not read."""
    for n in range(_MANY):
        row = {"cause": f"c{n}", "subject": "題" * 1_000}
        db.execute(
            "INSERT INTO mails(cause, kind, channel, user_id, recipient, subject, shown_body, state,"
            " next_attempt_at, created_at, queued_at, sent_at) VALUES (:cause, 'pickup', 'mail', '',"
            " 'a@x.jp', :subject, 'b', 'sent', 1, 1, 1, 1)",
            row,
        )


async def _until(office: Office, acts: list[str]) -> None:  # noqa: F811
    for _ in range(1_200):
        if sorted(_acts(office, "letters")) == sorted(acts):
            return
        await asyncio.sleep(0.05)
    raise AssertionError(_acts(office, "letters"))


async def test_two_at_a_time_and_readers_who_leave(office: Office) -> None:  # noqa: F811
    """Who reads slowly holds a place of the own and nobody else's: a third file is refused until one of the
    two is read or given up, and somebody else's is given at once. Given up, it has not ended in the trail."""
    ra = office.served.ra
    await office.admit("officer", Role.CA_OFFICER)
    auditor, other = await office.admit("kansa", Role.AUDITOR), await office.admit("ann", Role.AUDITOR)
    await ra.database.write(_letters)
    url = auditor.at.origin + "/letters.csv"
    first, second = [await auditor.at.session.get(url) for _ in range(2)]
    assert (first.status, second.status) == (200, 200)
    refused = await auditor.at.get("/letters.csv")
    assert (refused.status, refused.h1) == (429, "ファイルを作成中です")
    whole = await other.at.get("/letters.csv")
    assert _rows(whole)[-1][:2] == ["#以上", str(_MANY)]
    first.close()
    second.close()
    await _until(office, [*["export.begun"] * 3, "export.ended", *["export.failed"] * 2])
    assert (await auditor.at.get("/letters.csv?user_id=K1")).status == 200


async def test_a_file_that_breaks_off_is_no_whole_one(office: Office) -> None:  # noqa: F811
    """Who may no longer have the rest does not get it: the connection ends without the last chunk, so that
    whoever reads hears of it."""
    ra = office.served.ra
    await office.admit("officer", Role.CA_OFFICER)
    auditor = await office.admit("kansa", Role.AUDITOR)
    await ra.database.write(_letters)

    def demote(db: Transaction) -> None:
        now = operators.named(db, "kansa")
        assert now is not None
        operators.change(db, now, replace(now, roles=(Role.DESK,)))

    got = await auditor.at.session.get(auditor.at.origin + "/letters.csv")
    await ra.database.write(demote)
    with pytest.raises(aiohttp.ClientPayloadError):
        await got.read()
    await _until(office, ["export.begun", "export.failed"])
