"""Answers about certificates (OCSP): made ahead, once a day and soon after a change, and kept. What is
asked about before that is made then and there, with all that is asked about at the same moment: each worker
has one such batch at a time.

What is kept is handed out as long as it tells of the certificate's last change: while nobody signs, one
that was revoked since has no answer rather than a good one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from ca.authority import Issuer
from ca.certificates import serial_hex
from ca.generations import store as generations
from ca.ocsp import HashName, response
from ca.profiles import ANSWER_PERIOD, CRL_AHEAD
from ca.published import store as published
from ca.published.store import Answer, Batch, Due, StoredAnswer
from ca.revocation import RevocationStatus
from ca.signerlink import MOST_ANSWERS, RemoteSigner
from ca.signing import Keyring, NoSignature
from ca.storage import StorageError, Transaction
from enroll import store, timekeeping
from enroll.ra import RegistrationAuthority
from enroll.refusals import Refusal

Look = Callable[[Transaction, int, int, int], list[Due]]

# Certificates that may wait for an answer; who comes then is told to try later.
_MOST_WAITING = 512
# Serials that were never issued, about which so many answers a second are signed; they are kept for a while.
_UNKNOWN_A_SECOND, _UNKNOWN_KEPT, _MOST_UNKNOWN = 200, 300.0, 2_000
# Seconds without another try after nobody signed.
_AFTER_FAILURE = 1.0
# Certificates about which an answer is made in a turn, and rows that are looked at for them: a million new
# ones take a quarter of an hour.
_MOST, _ROWS = 512, 10_000
# Where several write to the register at once a lower number may be committed after a higher one was seen: in
# so many seconds so many rows are looked at once more.
_AGAIN, _OVERTAKEN = 60.0, 2_000
_ACTOR = "signer"
_TROUBLE = (NoSignature, StorageError, OSError, Refusal)


@dataclass(frozen=True)
class Found:
    """A whole answer, and from when to when it holds."""

    der: bytes
    this_update_at: int
    next_update_at: int


class Answers:
    """Those of one process: a reload does not forget them."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        # Of a process that has no signer beside it.
        self._responder: Any = None
        # Of responders, by their fingerprints.
        self._certificates: dict[str, bytes] = {}
        self._waiting: dict[tuple[str, str], asyncio.Future[_Made | None]] = {}
        self._making: asyncio.Task[None] | None = None
        self._not_before = float("-inf")
        self._unknown: dict[tuple[str, str], tuple[float, _Made]] = {}
        self._second, self._in_second = 0, 0
        # Up to where the register was looked through for certificates and changes without an answer.
        self._row = self._change = 0
        self._again_at = monotonic()
        self._whole = 0
        #: How many were made: ahead, and because somebody asked.
        self.made_ahead = self.made_when_asked = 0

    # -- when somebody asks --

    def kept(
        self, db: Transaction, ra: RegistrationAuthority, issuer_id: str, serial: str, by: HashName
    ) -> Found | None:
        """What is there already; None: ask `made`."""
        stored = published.stored_answer(db, issuer_id, serial, by)
        if stored is None:
            until, unknown = self._unknown.get((issuer_id, serial), (0.0, None))
            return unknown.found(by) if unknown is not None and self._monotonic() < until else None
        if not stored.kept or not ra.now() < stored.next_update_at:
            return None
        der = self._certificate(db, stored)
        if der is None:
            return None
        return Found(response(stored.kept, der), stored.this_update_at, stored.next_update_at)

    async def made(
        self, ra: RegistrationAuthority, issuer: Issuer, serial: str, by: HashName
    ) -> Found | None:
        """One that was made for whoever asks, or for somebody who asked just before; None: try later."""
        key = (issuer.issuer_id, serial)
        future = self._waiting.get(key)
        if future is None:
            if len(self._waiting) >= _MOST_WAITING or self._monotonic() < self._not_before:
                return None
            if await self._is_one_too_many(ra, *key):
                return None
            future = self._waiting.setdefault(key, asyncio.get_running_loop().create_future())
            if self._making is None or self._making.done():
                self._making = asyncio.create_task(self._make(ra))
        told = await asyncio.shield(future)
        return None if told is None else told.found(by)

    async def _is_one_too_many(self, ra: RegistrationAuthority, issuer_id: str, serial: str) -> bool:
        """Whether it was never issued, and enough of those were asked about in this second: somebody
        guesses."""
        told, _ = await ra.database.read(lambda db: published.standing(db, issuer_id, serial))
        if told.status is not RevocationStatus.UNKNOWN:
            return False
        second = int(self._monotonic())
        if second != self._second:
            self._second, self._in_second = second, 0
        self._in_second += 1
        return self._in_second > _UNKNOWN_A_SECOND

    async def _make(self, ra: RegistrationAuthority) -> None:
        while self._waiting:
            issuer_id = next(iter(self._waiting))[0]
            keys = [key for key in self._waiting if key[0] == issuer_id][:MOST_ANSWERS]
            told: dict[str, _Made] = {}
            try:
                told = await self._signed(ra, issuer_id, [serial for _, serial in keys])
                self.made_when_asked += len(told)
            except _TROUBLE:
                self._not_before = self._monotonic() + _AFTER_FAILURE
            finally:
                for key in keys:
                    future = self._waiting.pop(key)
                    if not future.done():
                        future.set_result(told.get(key[1]))

    # -- ahead --

    async def refresh(self, ra: RegistrationAuthority) -> int:
        """Makes what is due, some hundreds at a time; returns how many. `NoSignature` and trouble of the
        storage are raised: what there is stays, and is tried again at the next turn."""
        if await timekeeping.doubt(ra) is not None:
            return 0
        now = ra.now()
        changed, change = await _following(ra, published.answers_overtaken, self._change, now)
        # What makes all of an issuing CA's certificates no good, or good again, is looked through from the
        # beginning.
        whole = await ra.database.read(generations.last_change)
        if whole != self._whole:
            self._whole, self._row = whole, 0
        if ra.database.shared and self._monotonic() - self._again_at >= _AGAIN:
            self._again_at, self._row = self._monotonic(), max(self._row - _OVERTAKEN, 0)
        new, row = await _following(ra, published.unanswered, self._row, now)
        old = await ra.database.read(
            lambda db: published.old_answers(db, now - ANSWER_PERIOD, now + CRL_AHEAD, now, _MOST)
        )
        due, made = dict.fromkeys([*changed, *new, *old]), 0
        for issuer in ra.authority.at_work:
            serials = [serial for issuer_id, serial in due if issuer_id == issuer.issuer_id]
            for at in range(0, len(serials), MOST_ANSWERS):
                made += len(await self._signed(ra, issuer.issuer_id, serials[at : at + MOST_ANSWERS]))
        # Only now: what could not be signed is due again.
        self._change, self._row = change, row
        self.made_ahead += made
        return made

    async def forget(self, ra: RegistrationAuthority) -> None:
        """Forgets what has ended."""
        if await timekeeping.doubt(ra) is None:
            await ra.database.write(lambda db: published.drop_answers(db, ra.now()))

    # -- both --

    async def _signed(
        self, ra: RegistrationAuthority, issuer_id: str, serials: Sequence[str]
    ) -> dict[str, _Made]:
        """Has answers signed and keeps them, those about serials that were never issued for a while."""
        await timekeeping.require(ra)
        issuer = ra.authority.issuer(issuer_id)
        batch, unknown = await self._batch(ra, issuer, serials), set[str]()
        certificate = x509.load_der_x509_certificate(batch.responder)
        _check(issuer, certificate)
        ends_at = int(certificate.not_valid_after_utc.timestamp())

        def work(db: Transaction) -> None:
            issued = [
                each for each in batch.answers if published.stored_answer(db, issuer_id, each.serial, "sha1")
            ]
            if published.store_answers(db, issuer_id, Batch(batch.responder, tuple(issued)), ends_at):
                told = {"serial": serial_hex(certificate.serial_number), "issuer": issuer_id}
                store.audit(db, ra.now(), _ACTOR, "responder.certified", issuer_id, until=ends_at, **told)
            unknown.clear()
            unknown.update({each.serial for each in batch.answers} - {each.serial for each in issued})

        await ra.database.write(work)
        told = {each.serial: _Made(batch.responder, each) for each in batch.answers}
        until = self._monotonic() + _UNKNOWN_KEPT
        for serial in unknown:
            while len(self._unknown) >= _MOST_UNKNOWN:
                del self._unknown[next(iter(self._unknown))]
            self._unknown[issuer_id, serial] = until, told[serial]
        return told

    async def _batch(self, ra: RegistrationAuthority, issuer: Issuer, serials: Sequence[str]) -> Batch:
        signer, issuer_id = ra.authority.signer, issuer.issuer_id
        if isinstance(signer, RemoteSigner):
            return await signer.answers(issuer_id, serials)
        if isinstance(signer, Keyring):
            signer.check()
        found = await ra.database.read(
            lambda db: [published.standing(db, issuer_id, each) for each in serials]
        )
        batch: Batch = await asyncio.to_thread(self._own().answer, issuer, signer, found, ra.now())
        return batch

    def _own(self) -> Any:
        if self._responder is None:
            # A second parser, which a process beside a signer needs as little as a command.
            from ca.responder import Responder

            self._responder = Responder()
        return self._responder

    def _certificate(self, db: Transaction, stored: StoredAnswer) -> bytes | None:
        der = self._certificates.get(stored.responder_id)
        if der is None:
            der = published.responder(db, stored.responder_id)
            if der is not None:
                self._certificates[stored.responder_id] = der
        return der


@dataclass(frozen=True)
class _Made:
    """An answer that was just signed, with who has signed it."""

    responder: bytes
    answer: Answer

    def found(self, by: HashName) -> Found:
        kept = self.answer.sha1 if by == "sha1" else self.answer.sha256
        return Found(response(kept, self.responder), self.answer.this_update_at, self.answer.next_update_at)


async def _following(
    ra: RegistrationAuthority, look: Look, place: int, now: int
) -> tuple[list[tuple[str, str]], int]:
    """(issuer, serial) of what is due behind a place in the register, and up to where it was looked
    through."""
    rows = await ra.database.read(lambda db: look(db, place, now, _ROWS))
    due, waits = list[tuple[str, str]](), False
    for each in rows:
        if each.wanted:
            if len(due) == _MOST:
                break
            due.append((each.issuer_id, each.serial))
        waits = waits or each.on_the_way
        place = place if waits else each.place
    return due, place


def _check(issuer: Issuer, responder: x509.Certificate) -> None:
    """Whoever has signed is the issuer's responder: asked once for each batch, as nobody else would
    notice."""
    try:
        responder.verify_directly_issued_by(issuer.certificate)
    except (ValueError, TypeError, InvalidSignature):
        raise NoSignature("what was signed by is no responder of this issuer") from None
