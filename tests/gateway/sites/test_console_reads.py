"""Whose data was on a page stands in the record, whichever page it was (O18)."""

from __future__ import annotations

import json
import re

import pytest

from enroll.jobs import running
from enroll.operators import actors, asking
from enroll.operators.actors import By
from enroll.operators.asking import Proposed
from enroll.operators.roles import Role
from enroll.people import applications, changes, register
from gateway.sites.console import ROUTES
from tests.datadirs import POLICY_NUMBER, admit
from tests.gateway.sites.test_console import PARTS, Office, Person, office
from tests.gateway.sites.test_console_certificates import another
from tests.looking import look

__all__ = ("office",)

USER, NAME = "K12345678", "年金 太郎"
#: What is read there is the record itself, or a sample; files say at both ends what was given
#: (test_console_exports.py); and what a certificate's own octets say is public.
NONE = re.compile(r"/audit|/templates.*|.*\{(form|kind):.*")


@pytest.mark.slow
async def test_every_page_with_a_person_leaves_a_line(office: Office) -> None:
    """Each page that has somebody's name or user ID on it says so in the record, whoever fetches it; and of
    such pages there are many."""
    ra = office.served.ra
    await admit(ra)
    serial = await another(office)
    await changes.reset_password(ra, USER, actor="test")
    await applications.apply_reissue(ra, USER, "expired", channel="online", actor=USER)
    people = [
        await office.admit(name, role)
        for name, role in (("kansa", Role.AUDITOR), ("mori", Role.REGISTRAR), ("sato", Role.APPROVER))
    ]
    mori = people[1].operator.number
    by = await ra.database.read(lambda db: actors.of_operator(db, mori, By.CONSOLE))
    wanted = {"user_id": USER, "changes": {"name": "年金 改"}}
    proposed = await asking.ask(ra, by, "user.change", wanted, reason="改姓")
    assert isinstance(proposed, Proposed)
    parts = PARTS | {"serial": serial, "user_id": USER, "policy_number": POLICY_NUMBER}
    read = set[str]()
    for route in ROUTES:
        if route.method != "GET" or NONE.fullmatch(route.path):
            continue
        path = re.sub(r"\{(\w+):.*?\}(?=[/.]|$)", lambda part: parts[part[1]], route.path)
        path += f"?q={USER}" if path == "/search" else ""
        for person in people:
            if (said := await _read(office, person, path)) is not None:
                assert said, f"{person.operator.name} read of {USER} at {path}, and nothing says so"
                read.add(path.partition("?")[0])
    assert read >= {
        *("/", "/search", "/users", f"/users/{USER}", f"/callers/{USER}", f"/organisations/{POLICY_NUMBER}"),
        *("/proposals", "/proposals/1", "/applications", "/applications/1", "/letters", "/letters/1"),
        *("/certificates", f"/certificates/{serial}"),
    }


async def _read(office: Office, person: Person, path: str) -> bool | None:
    """Whether a line says that it was read; None where the page has nothing of the user."""
    database = office.served.ra.database
    newest = look(database).one("SELECT max(id) FROM audit")
    assert newest is not None
    page = await person.at.get(path)
    said = page.html if page.status == 200 else ""
    if USER not in said and NAME not in said:
        return None
    lines = look(database).rows("SELECT * FROM audit WHERE id > :id", {"id": int(newest[0])})
    mine = [line for line in lines if line["actor"] == f"operator:{person.operator.name}"]
    told = [(line["subject"], json.loads(line["detail"])) for line in mine]
    return any(USER in (about, *each.get("shown", ()), *each.get("users", ())) for about, each in told)


async def test_rows_of_a_file_leave_a_line_wherever_they_are_read(office: Office) -> None:
    """What the register tells of others, in why a row of an import is refused, is in the record: looked
    through, as a file, and of the job. So are rows of people who are no users yet, by their proposal. Where
    nobody is named no line is written."""
    ra = office.served.ra
    await admit(ra)
    registrar, approver, auditor = [
        await office.admit(name, role)
        for name, role in (("mori", Role.REGISTRAR), ("sato", Role.APPROVER), ("kansa", Role.AUDITOR))
    ]
    head = "証券番号,氏名,メールアドレス\n"
    rows = f"{head}{POLICY_NUMBER},{NAME},other@example.jp\n{POLICY_NUMBER},甲 一,a@example.jp\n"
    sent = ("people.csv", rows.encode())
    lines = Lines(office)
    await lines.since()
    seen = await registrar.at.upload("/imports/new", {"kind": "user.import"}, sent)
    assert USER in seen.main.text
    assert await lines.since() == [("operator:mori", "person.seen", USER)]
    await registrar.at.get(f"{seen.path}/refused")
    told = [("operator:mori", act, "refused-rows") for act in ("export.begun", "export.ended")]
    assert await lines.since() == told
    made = await registrar.at.post(seen.path, {"reason": "4月の新規登録"})
    number = made.path.rpartition("/")[2]
    await lines.since()
    assert "甲 一" in (await approver.at.get(made.path)).main.text
    assert await lines.since() == [("operator:sato", "proposal.seen", number)]
    done = await approver.confirm(await approver.at.post(f"{made.path}/approve"))
    (job,) = [a.attributes["href"] for a in done.main.all("a") if "実行の状況を見る" in a.text]
    await lines.since()
    # None of its rows is done yet.
    assert (await auditor.at.get(job)).status == 200
    assert await lines.since() == []
    await register.add_user(
        ra,
        register.Person(POLICY_NUMBER, "甲 一", "b@example.jp", "K22222222"),
        channel="paper",
        actor="test",
    )
    await running.work(ra, "runner")
    await lines.since()
    assert "K22222222" in (await auditor.at.get(job)).main.text
    assert await lines.since() == [("operator:kansa", "person.seen", "K22222222")]
    await auditor.at.get(f"/imports/{job.rpartition('/')[2]}/failures")
    assert [act for _, act, _ in await lines.since()] == ["export.begun", "export.ended"]


async def test_who_may_be_the_same_is_told_of_in_the_record(office: Office) -> None:
    """Beside a form, or an application, that names who is recorded by the name or the address; letters of one
    that wait for their release, too."""
    ra = office.served.ra
    await admit(ra)
    registrar, approver = (
        await office.admit("mori", Role.REGISTRAR),
        await office.admit("sato", Role.APPROVER),
    )
    typed = {"policy_number": POLICY_NUMBER, "name": NAME, "mail": "other@example.jp", "role": "member"}
    typed |= {"notice_by": "mail", "language": "ja", "kind": "addition"}
    lines = Lines(office)
    await lines.since()
    for path in ("/users/new", "/applications/new"):
        page = await registrar.at.post(path, typed | {"reason": "増員"})
        assert f"{USER}@example.jp".lower() in page.main.one("div", class_="warning").text
        assert await lines.since() == [("operator:mori", "person.seen", USER)]
    person = register.Person(POLICY_NUMBER, NAME, "third@example.jp")
    made = await applications.apply_addition(ra, person, channel="online", actor=USER)
    await lines.since()
    assert USER in (await approver.at.get(f"/applications/{made.number}")).main.text
    assert await lines.since() == [
        ("operator:sato", "application.seen", str(made.number)),
        ("operator:sato", "person.seen", USER),
    ]
    assert NAME in (await registrar.at.get(f"/letters/release?user_id={USER}")).main.text
    assert await lines.since() == [("operator:mori", "person.seen", USER)]


class Lines:
    """The record's lines since they were asked for last: by whom, what, about what."""

    def __init__(self, office: Office) -> None:
        self._database, self._last = office.served.ra.database, 0

    async def since(self) -> list[tuple[str, str, str]]:
        found = look(self._database).rows(
            "SELECT * FROM audit WHERE id > :id ORDER BY id", {"id": self._last}
        )
        self._last = max([self._last, *(int(each["id"]) for each in found)])
        return [(each["actor"], each["action"], each["subject"]) for each in found]
