"""What a running server does when an issuing CA is trusted no more, or again, and when one is over."""

from __future__ import annotations

import logging
from functools import partial

from ca.generations.states import Row
from ca.generations.store import changed_since
from enroll import generations
from gateway.serving.current import Serving
from gateway.serving.deployment import Deployment
from gateway.web import sessions

log = logging.getLogger("sekisho.generations")


async def push(now: Serving, seen: int) -> int:
    """Ends connections and sessions of every certificate whose issuing CA was distrusted since a change;
    those that were refused with one that is good again end, too. Returns the number of the last change."""
    for row in await now.deployment.ra.database.read(partial(changed_since, number=seen)):
        seen = row.change_number
        await _push(now, row)
    return seen


async def _push(now: Serving, row: Row) -> None:
    ra = now.deployment.ra
    issuer = next((each for each in ra.authority.issuers if each.issuer_id == row.issuer_id), None)
    if issuer is None:  # made since the last reload: nobody was let in with one of its
        return
    if row.distrusted_at is None:
        now.listener.trust()
        log.warning("issuing CA %s is trusted again", issuer.common_name)
        return
    ended, left = now.listener.distrust(issuer.der), await sessions.end_distrusted(ra)
    told = (issuer.common_name, ended, left)
    log.warning("issuing CA %s is distrusted: %d connections and %d sessions ended", *told)


async def end(deployment: Deployment) -> None:
    """Writes down, and says, which issuing CAs are over, and which CAs end in some years or months."""
    for words in await generations.warn_of_ends(deployment.ra, deployment.datadir.root):
        log.warning("%s", words)
    for name in await generations.end_due(deployment.ra):
        log.warning("issuing CA %s is over: its last certificate has ended; see: sekisho ca list", name)
