"""The console's reports: who sees them, what an address may ask for, the chart, and the file."""

from __future__ import annotations

import csv
import io
import re
from datetime import timedelta
from xml.etree import ElementTree

from enroll import store
from enroll.jst import day_of
from enroll.operators.roles import Role
from enroll.people.register import add_organisation
from gateway.web.reports import KINDS
from tests.datadirs import admit
from tests.enroll.test_flow import picked_up
from tests.gateway.sites.kit import Page
from tests.gateway.sites.test_console import Office, Person, office, visited
from tests.looking import look

__all__ = ("office",)  # the fixture

READERS = {Role.DESK, Role.REGISTRAR, Role.APPROVER, Role.AUDITOR}
PATHS = ["/reports", *(f"/reports/{name}{file}" for name in KINDS for file in ("", ".csv"))]


async def test_who_reads_reports(office: Office) -> None:
    """O3, role by role: the list, each report and each file; who may not has no link to them either."""
    await office.admit("officer", Role.CA_OFFICER)
    for role in Role:
        person = office.people.get("officer") if role is Role.CA_OFFICER else await office.admit(role, role)
        assert person is not None
        allowed = role in READERS
        for path in PATHS:
            assert await visited(person, path) == (200 if allowed else 403), (role, path)
        linked = {each.attributes["href"] for each in (await person.at.get("/")).dom.one("nav").all("a")}
        assert ("/reports" in linked) is allowed
    stranger = await office.admit("late", Role.AUDITOR, enrolled=False)
    await stranger.enrol()
    for path in PATHS:
        assert (await stranger.at.get(path)).h1 == "ログイン"


async def _auditor(office: Office) -> Person:
    await office.admit("officer", Role.CA_OFFICER)
    return await office.admit("kansa", Role.AUDITOR)


def _picture(page: Page) -> ElementTree.Element:
    found = re.search(r'<svg role="img".*?</svg>', page.html, re.DOTALL)
    assert found is not None
    return ElementTree.fromstring(found[0])


async def test_a_report_is_chart_table_and_file(office: Office) -> None:
    """O16: one certificate that was picked up is in each of them, alike; in both languages."""
    auditor, ra = await _auditor(office), office.served.ra
    await admit(ra)
    await picked_up(ra)
    page = await auditor.at.get("/reports/issuance")
    table = page.main.table()
    assert table[0] == [
        "週",
        "追加発行",
        "再発行",
        "更新（画面）",
        "更新（プログラム）",
        "新規（プログラム）",
        "合計",
    ]
    assert len(table) == 1 + 13 + 1
    assert table[-1] == ["合計", "1", "0", "0", "0", "0", "1"]
    assert table[-2][1:] == ["1", "0", "0", "0", "0", "1"]
    assert "合計1件" in page.main.text
    picture = _picture(page)
    labelled = picture.attrib["aria-labelledby"].split()
    ids = {each.attrib["id"]: each.text for each in picture.iter() if "id" in each.attrib}
    assert ids[labelled[0]] == "発行数"
    assert "合計1件" in (ids[labelled[1]] or "")
    assert not [each for each in picture.iter() if "style" in each.attrib or each.tag.endswith("script")]
    english = await auditor.at.get("/reports/issuance?lang=en")
    assert (english.h1, english.main.table()[-1][0]) == ("Certificates issued", "Total")
    link = next(each for each in english.main.all("a") if each.text == "Get the CSV (13 rows)")
    file = await auditor.at.get(link.attributes["href"])
    assert file.headers["Content-Type"] == "text/csv; charset=utf-8"
    lines = list(csv.reader(io.StringIO(file.body.decode("utf-8-sig"))))
    assert lines[0][:3] == ["first", "last", "addition"]
    assert [line[2:] for line in lines[1:-1]] == [row[1:] for row in table[1:]]
    assert (lines[-2][0], lines[-1][:2]) == ("total", ["#end", "13"])
    told = store.audit_page(look(ra.database), "report-issuance", 10)
    assert [(each["action"], each["actor"], each["detail"]["rows"]) for each in told] == [
        (act, "operator:kansa", 13) for act in ("export.ended", "export.begun")
    ]


async def test_the_address_says_what_is_reported(office: Office) -> None:
    """Period and organisation stand in the address, and go along to the file; a certificate outside of either
    is not counted."""
    auditor, ra = await _auditor(office), office.served.ra
    await admit(ra)
    await picked_up(ra)
    await add_organisation(ra, "20000001", "乙社", actor="test")
    today = day_of(ra.now())

    async def total(query: str) -> str:
        return (await auditor.at.get(f"/reports/issuance?{query}")).main.table()[-1][-1]

    assert await total(f"from={today}&to={today}") == "1"
    assert await total(f"from={today - timedelta(days=9)}&to={today - timedelta(days=1)}") == "0"
    assert await total("organisation=１２３４-5678".replace("-", "")) == "1"
    assert await total("organisation=20000001") == "0"
    page = await auditor.at.get(f"/reports/issuance?from={today}&organisation=12345678")
    link = next(each for each in page.main.all("a") if each.text.startswith("CSVを取得する"))
    assert link.attributes["href"] == f"/reports/issuance.csv?from={today}&to={today}&organisation=12345678"
    assert page.field("団体（証券番号）").attributes["value"] == "12345678"
    # Of failures nobody knows whose they are: there is no such field, and asking by hand is nothing.
    failures = await auditor.at.get("/reports/failures?organisation=20000001")
    assert (failures.status, failures.labels()) == (200, ["始めの日", "終わりの日"])


#: What stands in an address, and at which field what is wrong with it is said.
WRONG = (
    ("from=yesterday", "始めの日", "日付を入力してください"),
    ("from=2026-13-01", "始めの日", "日付を入力してください"),
    ("to=1999-01-01", "終わりの日", "2000年から2199年"),
    ("from=0001-01-01", "始めの日", "2000年から2199年"),
    ("to=9999-12-31", "終わりの日", "2000年から2199年"),
    ("from=2026-05-02&to=2026-05-01", "終わりの日", "始めの日以後"),
    ("from=2001-01-01&to=2026-05-01", "終わりの日", "3年以内"),
    ("organisation=99999999", "団体（証券番号）", "登録されていません"),
    ("organisation=%3Cscript%3E" + "x" * 1_000, "団体（証券番号）", "登録されていません"),
)


async def test_what_an_address_may_not_ask_for(office: Office) -> None:
    """Made up, turned round, too long: the field says so, nothing is reported, and the file leads there."""
    auditor = await _auditor(office)
    for query, label, said in WRONG:
        for path in ("/reports/expiring", "/reports/expiring.csv"):
            page = await auditor.at.get(f"{path}?{query}")
            assert (page.status, page.path) == (422, "/reports/expiring"), query
            assert said in page.error(label)
            assert page.main.all("table") == []
    assert store.audit_page(look(office.served.ra.database), "report-expiring", 10) == []
    assert (await auditor.at.get("/reports/nothing")).status == 404


async def test_rates_and_causes(office: Office) -> None:
    """取得率 is what was picked up of all that was opened; a page with a reference number is a failure by its
    heading, and a cause that a spreadsheet would calculate with is harmless in the file."""
    from gateway.web import references

    auditor, ra = await _auditor(office), office.served.ra
    await admit(ra)
    await picked_up(ra)
    await admit(ra, "K87654321")
    page = await auditor.at.get("/reports/pickup")
    assert page.main.table()[-1] == ["合計", "1", "1", "0", "2", "50.0%"]
    assert "取得率は50.0%です" in page.main.text
    for code in ("bad_credentials", "bad_credentials", "=1+1", "certificate.expired"):
        await references.note(ra, "pickup", code)
    table = (await auditor.at.get("/reports/failures")).main.table()
    assert table[1] == ["証明書取得サイト", "認証できませんでした", "2", "50.0%"]
    assert ["証明書取得サイト", "クライアント証明書の有効期限が切れています", "1", "25.0%"] in table
    file = (await auditor.at.get("/reports/failures.csv")).body.decode("utf-8-sig")
    cells = [cell for line in csv.reader(io.StringIO(file)) for cell in line]
    assert "'=1+1 (=1+1)" in cells
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))]


async def test_nothing_is_counted_yet(office: Office) -> None:
    """A register without anything: zeros, a sentence that says so, and a chart all the same."""
    auditor = await _auditor(office)
    page = await auditor.at.get("/reports/bounces")
    assert "この期間には何もありません" in page.main.text
    assert page.main.table()[-1] == ["合計", "0", "0", "0", "0", "－"]
    listed = await auditor.at.get("/reports")
    assert len(listed.main.table()) == 1 + len(KINDS)
