"""What the world was told by the signer, in lists and answers, and what it therefore says again.

The register is written by workers, and whoever owns one writes what he likes. Revoked for good stays revoked
until it ends, and numbers of lists grow, whatever is written there.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import islice

from ca.inspection import Unsignable
from ca.listed import Listed
from ca.memory import Numbers
from ca.ocsp import Standing
from ca.remembered import Remembered, Revoked
from ca.revocation import CA_COMPROMISE, HOLD, RevocationStatus

log = logging.getLogger("sekisho.signer")

#: How far one list's number may be ahead of the one before it: a restore jumps, and numbers do not run out.
LEAP = 10_000_000
#: The highest of a first one.
FIRST = 1 << 40
# How many ends are looked up at once, in between others.
_AT_ONCE = 4_096

#: The ends of certificates of an issuer's by their serials; the issuer's own where the register has none.
Ends = Callable[[str, Sequence[str]], Sequence[int]]


class Old(Unsignable):
    """A list with a number that was signed already. ``number``: the highest one."""

    def __init__(self, number: int) -> None:
        super().__init__(f"the list is not one of this issuer's: number (the last one signed is {number})")
        self.number = number


class Told:
    """See above. Whoever asks for a list's signature is given one once: a number is not signed again."""

    def __init__(self, remembered: Remembered, numbers: Numbers) -> None:
        self._remembered, self._numbers = remembered, numbers
        self._was_full = False
        self._turn = threading.Lock()

    @property
    def count(self) -> int:
        return self._remembered.count

    @property
    def is_full(self) -> bool:
        return self._remembered.is_full

    def standing(self, issuer_id: str, said: Standing) -> Standing:
        """What is answered where the register says this: that, or what was told before it."""
        known = self._remembered.find(issuer_id, said.serial)
        if known is None:
            return said
        revoked = said.status is RevocationStatus.REVOKED
        if revoked and (
            said.reason == CA_COMPROMISE or (said.revoked_at, said.reason) == (known.at, known.reason)
        ):
            return said
        log.error("the register takes a revocation back, and the answer does not: serial %s", said.serial)
        return replace(said, status=RevocationStatus.REVOKED, revoked_at=known.at, reason=known.reason)

    def answered(self, issuer_id: str, standings: Iterable[Standing], ends: Ends) -> None:
        """Before answers are given away."""
        fresh = [
            (each.serial, each.revoked_at, each.reason)
            for each in standings
            if each.status is RevocationStatus.REVOKED
            and each.reason not in (CA_COMPROMISE, HOLD)
            and self._remembered.find(issuer_id, each.serial) is None
        ]
        self._keep(issuer_id, fresh, ends)

    def follows(self, name: str, number: int) -> None:
        """Before a list is signed: its number is the highest from now on. `Unsignable`."""
        with self._turn:
            last = self._numbers.last(name)
            if last is not None and number <= last:
                raise Old(last)
            if number > (FIRST if last is None else last + LEAP):
                raise Unsignable("the list is not one of this issuer's: number (too far ahead)")
            self._numbers.keep(name, number)

    def listed(self, issuer_id: str, listed: Listed, whose: tuple[int, int], now: int, ends: Ends) -> None:
        """Before a list is signed: nothing that was told is missing, and what is new in it is remembered.
        ``whose``: which shard it is, and of how many; (0, 1) for the whole. `Unsignable`."""
        try:
            missing, fresh = self._remembered.compared(issuer_id, listed, whose, now)
        except ValueError:
            raise Unsignable("what is to be signed is no list (a time)") from None
        if missing:
            raise Unsignable(
                f"the list leaves out what was revoked, serial {missing[0]} for one; revoke it again, or, if "
                "the register is an older one: sekisho restore replay"
            )
        self._keep(issuer_id, fresh, ends)

    def close(self) -> None:
        self._remembered.close()
        self._numbers.close()

    def _keep(self, issuer_id: str, fresh: Sequence[tuple[str, int, int]], ends: Ends) -> None:
        remaining = iter(fresh)
        while some := list(islice(remaining, _AT_ONCE)):
            found = ends(issuer_id, [serial for serial, _, _ in some])
            told = [Revoked(serial, end, at, why) for (serial, at, why), end in zip(some, found, strict=True)]
            self._remembered.keep(issuer_id, told)
        if self._remembered.is_full and not self._was_full:
            self._was_full = True
            log.error("no more revocations are remembered: there is room for those of %d", self.count)
