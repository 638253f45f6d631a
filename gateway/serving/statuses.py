"""What the register says of a certificate, for the hot path: asked again only once something was written.

A look at a number costs half of a look-up, and an engine across a network has it at hand, too. Where nobody
can be asked nobody is let in, whatever was known of him.
"""

from __future__ import annotations

import ca.store
from ca.revocation import RevocationStatus
from ca.storage import Storage, StorageTrouble

# Certificates that are remembered. They are forgotten together with every commit anyway.
_REMEMBERED = 4_096


class Statuses:
    """One event loop's. Never older than the last commit of whatever process; across a network by two
    seconds."""

    def __init__(self, database: Storage) -> None:
        self._database = database
        self._number: int | None = None
        self._known: dict[str, RevocationStatus] = {}

    def __call__(self, fingerprint: str) -> RevocationStatus:
        # The number first: what is committed after it makes another one.
        number = self._database.changed()
        if number != self._number or len(self._known) >= _REMEMBERED:
            self._known.clear()
            self._number = number
        known = self._known.get(fingerprint)
        if known is None:
            try:
                known = self._database.read_now(lambda db: ca.store.certificate_status(db, fingerprint))
            except StorageTrouble:
                return RevocationStatus.UNASKED
            self._known[fingerprint] = known
        return known
