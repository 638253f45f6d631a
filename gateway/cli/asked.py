"""What commands ask for is done at once or becomes a proposal, by the role of whoever types them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from enroll.jst import shown
from enroll.operators import asking, registers
from enroll.operators.asking import Done, Proposed
from enroll.operators.kinds import ENDS_LOGINS
from enroll.refusals import Refusal
from gateway.cli.caller import acting, actor
from gateway.cli.frame import Answer, detail
from gateway.serving.deployment import Deployment


async def asked(deployment: Deployment, kind: str, payload: Mapping[str, Any]) -> Done | Proposed:
    """Does it, or proposes it. Refusal for who may neither."""
    try:
        # To type it again is how its secret is asked for here: the account is what says who does.
        found = await asking.ask(deployment.ra, acting(), kind, payload, tell=True)
    except Refusal as refusal:
        await registers.note_refusal(deployment.ra, acting(), refusal)
        raise
    if isinstance(found, Proposed):
        return found
    return Done({**found.result, **await afterwards(deployment, kind, payload, found.result)})


async def afterwards(
    deployment: Deployment, kind: str, payload: Mapping[str, Any], result: Mapping[str, Any]
) -> dict[str, Any]:
    """What follows beyond enrollment, and what is told of it: how many sessions ended."""
    if kind not in ENDS_LOGINS:
        return {}
    # They bring along aiohttp, which the other commands on people, and on what people have, do without.
    from gateway.web import sessions

    ended = await sessions.end_by(deployment.ra, kind, payload, result, actor=actor())
    return {} if ended is None else {"sessions_ended": ended}


def proposed(found: Proposed) -> Answer:
    """That somebody else has to decide, and who, until when."""
    record = {
        "number": found.number,
        "kind": found.kind,
        "subject": found.subject,
        "expires_at": found.expires_at,
        "deciders": list(found.deciders),
    }
    return detail(
        "proposal",
        record,
        f"Nothing is changed yet: it waits until {shown(found.expires_at)} for another "
        f"{' or '.join(found.deciders)}: sekisho proposal approve {found.number}",
    )
