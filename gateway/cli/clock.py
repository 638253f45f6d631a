"""The machine's clock: whether it is believed, and the operator's word that it is right."""

from __future__ import annotations

from typing import Any

from enroll import store, timekeeping
from enroll.operators.asking import Proposed
from enroll.operators.roles import Act
from enroll.refusals import CONFIRM
from enroll.timekeeping import Judgement
from gateway.cli.asked import asked, proposed
from gateway.cli.frame import ASKS, READS, Answer, deployment_command, detail
from gateway.cli.root import GROUPS
from gateway.serving.deployment import Deployment

_CLOCK = GROUPS["clock"]


@deployment_command(_CLOCK, "show", Act.STANDING, READS)
async def _show(deployment: Deployment) -> Answer:
    """Show the clock, what it is compared with, and what waits if it is not believed."""
    judged = await timekeeping.look(deployment.ra)
    if judged.doubt is None:
        return detail("clock", _record(deployment, judged))
    return detail("clock", _record(deployment, judged), f"In doubt: {judged.doubt}.", f"Now {CONFIRM}.")


@deployment_command(_CLOCK, "confirm", Act.SETTINGS, ASKS)
async def _confirm(deployment: Deployment) -> Answer:
    """Say that the clock is right: what waited because it was in doubt is done at once.

    Look at it first (date): what is wiped and sent by a wrong clock does not come back.
    """
    found = await asked(deployment, "clock.confirm", {})
    if isinstance(found, Proposed):
        return proposed(found)
    was = found.result["was"]
    said = f"It was in doubt: {was}." if was else "It was not in doubt."
    return detail(
        "clock",
        _record(deployment, await timekeeping.look(deployment.ra)),
        said,
        "It is believed from now on.",
    )


def _record(deployment: Deployment, judged: Judgement) -> dict[str, Any]:
    tick, doubt = judged.known.tick, judged.doubt
    settings = deployment.ra.settings
    return {
        "now_at": judged.at,
        "in_doubt": doubt is not None,
        "off_seconds": doubt.off if doubt is not None else 0,
        "believed_at": tick.wall if tick is not None else None,
        "newest_certificate_at": judged.known.newest_at or None,
        "ahead_days": settings.clock_ahead_days,
        "behind_minutes": settings.clock_behind_minutes,
        # By this very clock: what `confirm` would bring about at once.
        "windows_over": len(
            deployment.ra.database.read_now(lambda db: store.enrollments_overdue(db, judged.at))
        ),
    }
