"""Publishes the revocation lists: the leading worker alone, soon after each change and in good time."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from ca.authority import Issuer
from ca.publication import list_id
from ca.signing import NoSignature
from ca.storage import StorageError, in_log
from enroll import crls, timekeeping
from enroll.answers import Answers
from enroll.ra import RegistrationAuthority
from enroll.refusals import Refusal

# The disk's, the database's, and that of whoever signs.
_TROUBLE = (OSError, StorageError, NoSignature)
log = logging.getLogger("sekisho.lists")

# Seconds between two looks for answers that have ended.
_FORGOTTEN = 3_600.0
# Seconds until it is tried again after a failure, which is mostly a full disk.
_AFTER_FAILURE = 30.0
# A list of a million lines takes seconds of a core: for each there are as many times that for everybody else.
_REST = 4
# No longer than this, in seconds: a machine that was busy, or a process that had to start, makes nobody wait.
_LONGEST_REST = 5.0


@dataclass
class Publisher:
    """Remembers when the next list may be made. One per process."""

    monotonic: Callable[[], float] = time.monotonic
    _not_before: float = float("-inf")

    async def look(self, ra: RegistrationAuthority) -> int:
        """Publishes what is due; returns how many lists. A failure is told and tried again later.

        What changes while a list is made waits for the next one, all together; and all of it waits while the
        clock is in doubt.
        """
        if self.monotonic() < self._not_before or await timekeeping.doubt(ra) is not None:
            return 0
        made = 0
        for issuer, shard in [(each, shard) for each in ra.authority.at_work for shard in each.site.lists]:
            if not await crls.due(ra, issuer.issuer_id, shard):
                continue
            begun = self.monotonic()
            try:
                listed = await crls.publish(ra, issuer, shard)
            except _TROUBLE as error:
                self._not_before = self.monotonic() + _AFTER_FAILURE
                log.error(
                    "the revocation list of %s cannot be made (%s); the last one stays; again in %g s",
                    *(_named(issuer, shard), _why(error), _AFTER_FAILURE),
                )
                return made
            took = self.monotonic() - begun
            self._not_before = self.monotonic() + min(_REST * took, _LONGEST_REST)
            made += 1
            log.info(
                "revocation list %d of %s: %d lines, %.1f s",
                *(listed.number, _named(issuer, shard), listed.entries, took),
            )
        return made


@dataclass
class Refresher:
    """The same for answers (OCSP): those of a million certificates are made anew each day, little by
    little."""

    monotonic: Callable[[], float] = time.monotonic
    _not_before: float = float("-inf")
    _forgotten_at: float = float("-inf")

    async def look(self, ra: RegistrationAuthority, answers: Answers) -> int:
        """Makes what is due; returns how many. A failure is told and tried again later: what there is
        stays."""
        begun = self.monotonic()
        if begun < self._not_before:
            return 0
        try:
            made = await answers.refresh(ra)
            if begun - self._forgotten_at > _FORGOTTEN:
                self._forgotten_at = begun
                await answers.forget(ra)
        except (*_TROUBLE, Refusal) as error:
            self._not_before = self.monotonic() + _AFTER_FAILURE
            log.error(
                "answers (OCSP) cannot be made (%s); those that are there stay; again in %g s",
                *(_why(error), _AFTER_FAILURE),
            )
            return 0
        # Work that goes on and on leaves most of a core to everybody else.
        self._not_before = self.monotonic() + min(_REST * (self.monotonic() - begun), _LONGEST_REST)
        return made


async def fetch(ra: RegistrationAuthority) -> None:
    """Where directories share a database: the lists that another one has published are here within a
    second."""
    for issuer in ra.authority.at_work:
        for shard in issuer.site.lists:
            listed = await crls.published(ra, list_id(issuer.issuer_id, shard))
            if listed is not None:
                await crls.is_here(ra, listed)


async def begin(ra: RegistrationAuthority) -> None:
    """Makes the lists that are missing or have ended, before there is anybody who would wait.

    A server that cannot write them, or doubts its clock, serves all the same: `Publisher` goes on trying.
    """
    if await timekeeping.doubt(ra) is not None:
        return
    for issuer, shard in [(each, shard) for each in ra.authority.at_work for shard in each.site.lists]:
        if await crls.ended(ra, list_id(issuer.issuer_id, shard)):
            try:
                await crls.publish(ra, issuer, shard, alone=True)
            except _TROUBLE as error:
                log.error("the revocation list of %s cannot be made (%s)", _named(issuer, shard), _why(error))


def _named(issuer: Issuer, shard: int | None) -> str:
    return issuer.common_name if shard is None else f"{issuer.common_name}, shard {shard}"


def _why(error: OSError | StorageError | NoSignature | Refusal) -> str:
    """In words, without what a statement said."""
    return str(error) if isinstance(error, (NoSignature, Refusal)) else in_log(error)
