"""The record at the console: searched over all of it, and as a file whose end is signed."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from ca.errors import ConfigError
from ca.profiles import Audience
from ca.storage import Transaction
from enroll import audit, store
from enroll.audit import Checkpoint, Line, is_ours, verify, written
from enroll.operators.roles import Role
from gateway.edge.tls import ClientCertificate
from gateway.sites import console
from gateway.web import context
from tests.datadirs import next_generation, open_office
from tests.gateway.sites.kit import serve
from tests.gateway.sites.test_console import Office
from tests.looking import look

_KEY = audit.key_of(bytes(32))


@pytest.fixture
async def signed(tmp_path: Path) -> AsyncIterator[tuple[Office, list[bool]]]:
    """An office whose record is signed for, while the list is not empty."""
    works = [True]
    async with open_office(tmp_path) as opened:
        ra = next_generation(opened, "Operators CA", active=False, audience=Audience.OPERATORS)

        async def head() -> Mapping[str, Any]:
            if not works:
                raise ConfigError("the signer does not answer")
            lines = store.audit_lines(look(ra.database), 0, 10_000)
            made = audit.sign(_KEY, Checkpoint("ca", lines[-1].id, lines[-1].hash, ra.now()))
            return {**json.loads(written(made)), "key": _KEY.public_key().public_bytes_raw().hex()}

        async with serve(
            ra,
            tmp_path,
            context.Role.CONSOLE,
            lambda gate: console.application(replace(gate, head=head)),
            ClientCertificate.REQUIRE,
            refused=console.refused,
            audience=Audience.OPERATORS,
        ) as served:
            yield Office(served), works


async def test_the_record_is_searched_and_carried_away(signed: tuple[Office, list[bool]]) -> None:
    """O18: fifty lines a page and how many there are; the file has the lines that were counted, nothing
    that a spreadsheet calculates with, and the signed head, by which they verify; each export is a line."""
    office, works = signed
    await office.admit("officer", Role.CA_OFFICER)
    auditor = await office.admit("kansa", Role.AUDITOR)
    ra = office.served.ra

    def work(db: Transaction) -> None:
        for n in range(120):
            store.audit(
                db, ra.now(), "operator:ann/ann", "user.changed", f"K{n % 4}", why="=1+1" if n == 7 else ""
            )

    await ra.database.write(work)
    page = await auditor.at.get("/audit?act=user.changed")
    assert "全120件のうち50件を表示" in page.main.text
    assert len(page.main.table()) == 1 + 50
    numbers = [int(row[0]) for row in page.main.table()[1:]]
    while further := [each for each in page.main.all("a") if each.text == "次のページ"]:
        page = await auditor.at.get(further[0].attributes["href"])
        numbers += [int(row[0]) for row in page.main.table()[1:]]
    assert (len(numbers), numbers) == (120, sorted(set(numbers), reverse=True))
    assert "全30件" in (await auditor.at.get("/audit?about=K3&actor=operator:ann")).main.text
    # An operator is found by the name alone, which is what lists show, and so is a certificate.
    await office.admit("ann", Role.REGISTRAR)
    for typed in ("ann", "ANN", "operator:ann/"):
        assert "全30件" in (await auditor.at.get(f"/audit?about=K3&actor={typed}")).main.text, typed
    assert "該当する記録はありません" in (await auditor.at.get("/audit?about=K3&actor=bob")).main.text
    listed = (await auditor.at.get("/audit.csv?about=K3&actor=ann")).body.decode("utf-8-sig")
    assert "#以上,30" in listed
    issued = look(ra.database).rows("SELECT serial FROM certificates ORDER BY number LIMIT 1", {})
    serial = issued[0]["serial"]
    lines = {(await auditor.at.get(f"/audit?about={typed}")).main.text.partition("件")[0]
             for typed in (serial, serial[:8].upper(), serial[:8])}  # fmt: skip
    assert len(lines) == 1
    assert "全0" not in lines.pop()
    assert (
        "該当する記録はありません"
        in (await auditor.at.get("/audit?act=user.changed&to=2001-01-01")).main.text
    )
    for wrong in ("yesterday", "0001-01-01", "9999-12-31"):
        refused = await auditor.at.get(f"/audit?from={wrong}")
        assert (refused.status, refused.main.all("table")) == (422, [])
        assert "日付を入力してください" in refused.error("始めの日")
    assert (await auditor.at.get("/audit?before=-1&about=%3Cb%3E")).status == 200

    file = (await auditor.at.get("/audit.csv?act=user.changed")).body.decode("utf-8-sig")
    rows = list(csv.reader(io.StringIO(file)))
    assert (len(rows), rows[0][0], rows[-2][0]) == (1 + 120 + 2, "番号", "checkpoint")
    assert rows[-1][:2] == ["#以上", "120"]
    assert not [cell for row in rows for cell in row if cell.startswith(("=", "+", "-", "@"))]
    *found, signed_head, end = (await auditor.at.get("/audit.jsonl")).body.decode().splitlines()
    told = json.loads(signed_head)
    checkpoint = Checkpoint(**told["checkpoint"])
    assert is_ours(_KEY.public_key(), checkpoint, "ca")
    lines = [Line(**json.loads(each)["line"]) for each in reversed(found)]
    assert list(verify(lines, lines[-1].id)) == []
    assert [asdict(each) for each in lines] == [
        asdict(each) for each in store.audit_lines(look(ra.database), 0, len(lines))
    ]
    assert json.loads(end)["end"]["rows"] == len(lines)
    trail = store.audit_page(look(ra.database), "audit", 4)
    assert [(each["action"], each["detail"]["rows"]) for each in trail] == [
        ("export.ended", len(lines)), ("export.begun", len(lines)), ("export.ended", 120),
        ("export.begun", 120),
    ]  # fmt: skip
    works.clear()
    page = await auditor.at.get("/audit.jsonl")
    assert (page.status, page.h1) == (503, "ファイルを作成できません")
    assert store.audit_page(look(ra.database), "audit", 1)[0]["action"] == "export.failed"


async def test_an_approver_sees_the_own_lines(signed: tuple[Office, list[bool]]) -> None:
    """O3: what one did oneself, by console and commands, on the page and in the file; the page says so."""
    office, _ = signed
    await office.admit("officer", Role.CA_OFFICER)
    approver, ra = await office.admit("ann", Role.APPROVER), office.served.ra

    def work(db: Transaction) -> None:
        for actor in ("operator:ann/ann", "operator:anna"):
            store.audit(db, ra.now(), actor, "user.changed", "K1")

    await ra.database.write(work)
    page = await approver.at.get("/audit?lang=en")
    assert "Your role sees what you have done yourself" in page.main.text
    actors = {row[2] for row in page.main.table()[1:]}
    assert actors == {"operator:ann", "operator:ann/ann"}
    *found, _, _ = (await approver.at.get("/audit.jsonl")).body.decode().splitlines()
    assert {json.loads(each)["line"]["actor"] for each in found} == actors
