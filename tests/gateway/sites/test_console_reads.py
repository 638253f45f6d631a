"""Whose data was on a page stands in the record, whichever page it was (O18)."""

from __future__ import annotations

import json
import re

import pytest

from enroll.operators import actors, asking
from enroll.operators.actors import By
from enroll.operators.asking import Proposed
from enroll.operators.roles import Role
from enroll.people import applications, changes
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
