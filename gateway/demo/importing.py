"""An import that a registrar has proposed and an approver has decided: the console shows it running."""

from __future__ import annotations

from pathlib import Path

from ca.storage import Transaction
from enroll.operators import actors, asking
from enroll.operators import store as operators
from enroll.operators.actors import Actor, By
from enroll.operators.asking import Proposed
from enroll.operators.roles import Role
from enroll.people.csvfile import USERS, payload_of, table_in
from gateway.demo.people import ORGANISATIONS
from gateway.serving.deployment import Deployment

#: Rows that are added; the leading worker rests two seconds after each in a demo.
_ROWS = 45
_FILE = "shinki-riyousha.csv"


async def begin(deployment: Deployment) -> int:
    """Decides it; the number of its job. Letters are held: the mailbox stays as it is."""
    ra = deployment.ra
    policy_number = ORGANISATIONS[0][0]
    lines = [
        f"{policy_number},取込 {number:02},torikomi{number:02}@example.jp," for number in range(1, _ROWS + 1)
    ]
    lines.insert(7, f"{policy_number},宛先 不明,torikomi(at)example.jp,")
    lines.insert(9, "99999999,団体 不明,torikomi-x@example.jp,")
    content = "\r\n".join(["証券番号,氏名,メールアドレス,ユーザーID", *lines]).encode()
    table = table_in(content, Path(_FILE), USERS)
    payload = payload_of(table, _FILE, {row.line for row in table.rows})
    payload |= {"hold_letters": True, "alike": False}
    registrar, approver = [
        await ra.database.read(lambda db, r=role: _of_role(db, r))  # type: ignore[misc]
        for role in (Role.REGISTRAR, Role.APPROVER)
    ]
    found = await asking.ask(ra, registrar, "user.import", payload, reason="4月の新規登録")
    assert isinstance(found, Proposed)
    done = await asking.approve(ra, approver, found.number)
    return int(done.result["job"])


def _of_role(db: Transaction, role: Role) -> Actor:
    people = (each for each in operators.operators(db) if each.kind == "person")
    found = next(each for each in people if role in each.roles)
    return actors.of_operator(db, found.number, By.CONSOLE)
