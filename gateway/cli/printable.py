"""What doctor says of postcards: whether those that wait can be printed here, and for how long they have."""

from __future__ import annotations

from enroll.postcards import store as postcards
from enroll.postcards.glyphs import cannot_print
from enroll.settings import DAY
from gateway.serving.deployment import Deployment
from gateway.web.examined import Finding

_CHECK = "postcards"
# People are told that a postcard takes about a week.
_PRINTED_DAYS = 3


def found(deployment: Deployment) -> list[Finding]:
    """What would print them is looked for where some wait."""
    settings = deployment.ra.settings
    if settings.postcards == "outbox":
        return [Finding(_CHECK, "ok", f"written to {deployment.outbox}")]
    waiting, since = deployment.ra.database.read_now(postcards.standing)
    if since is None:
        return [Finding(_CHECK, "ok", "none waits")]
    days = (deployment.ra.now() - since) // DAY
    told = f"{waiting} to be printed, the oldest since {days} days"
    if wrong := cannot_print(settings.postcard_font):
        hint = "or have them written as files: postcards.print = 'outbox'"
        return [Finding(_CHECK, "bad", f"{told}; {wrong}", hint)]
    if days >= _PRINTED_DAYS:
        return [Finding(_CHECK, "notice", told, "sekisho postcard batch")]
    return [Finding(_CHECK, "ok", told)]
