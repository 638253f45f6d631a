"""What takes two by the table of roles, or what a service may do alone: asked for in the one way there is.

What becomes a proposal is answered by 202, with the proposal and where it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ca.storage import Transaction
from enroll.jobs import store as jobs
from enroll.operators import asking, registers
from enroll.operators import store as operators
from enroll.operators.asking import Done, Proposed
from enroll.operators.kinds import KINDS
from enroll.ra import RegistrationAuthority
from enroll.refusals import Refusal
from gateway.sites.api import records
from gateway.sites.api.calls import Answer, Call, Record, one
from gateway.web import sessions

#: What is there now, of what was changed.
Current = Callable[[Transaction], Record]


async def ask(
    call: Call,
    kind: str,
    payload: Mapping[str, Any],
    reason: str,
    current: Current,
    *,
    beside: Record | None = None,
) -> Answer:
    """Does it, or proposes it. ``current``: what stands there when it is done; ``beside``: what is told with
    a proposal. Refusal as for `asking.ask`."""
    done = list[Done | Proposed]()

    async def do(ra: RegistrationAuthority) -> None:
        done.append(await asking.ask(ra, call.actor, kind, payload, reason=reason))

    def told(db: Transaction, value: Any) -> Answer:
        if isinstance(value, Proposed):
            return proposed(db, value.number, call.now(), beside)
        if KINDS[kind].job:
            return begun(db, value["job"])
        return one(current(db))

    try:
        if call.claimed is None:
            answer = await call.changing(current, do, told)
        else:
            answer = await call.once(do, told)
    except Refusal as refusal:
        await registers.note_refusal(call.ra, call.actor, refusal)
        raise
    if isinstance(found := done[0], Done):
        await sessions.end_by(call.ra, kind, payload, found.result, actor=call.actor.name)
    return answer


def proposed(db: Transaction, number: int, at: int, beside: Record | None = None) -> Answer:
    """202: somebody else has to decide it."""
    found = operators.proposal(db, number)
    assert found is not None
    record = {**records.proposal(found, at), **(beside or {})}
    return Answer(record, 202, {"Location": f"/v1/proposals/{number}"})


def begun(db: Transaction, number: int) -> Answer:
    """202: it has many rows, and goes on by itself."""
    found = jobs.job(db, number)
    assert found is not None
    return Answer(records.job(found), 202, {"Location": f"/v1/jobs/{number}"})
