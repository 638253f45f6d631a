"""OCSP over HTTP (RFC 6960 appendix A, RFC 5019): GET and POST, and what caches need to know.

An answer that nobody signs (malformed, try later, unauthorized) is one of OCSP's own, by 200: clients read
no other."""

from __future__ import annotations

import hashlib
from base64 import b64decode
from binascii import Error
from collections.abc import Awaitable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from ca.authority import Issuer
from ca.certificates import serial_hex
from ca.ocsp import (
    MALFORMED,
    TRY_LATER,
    UNAUTHORIZED,
    HashName,
    IssuerHashes,
    Malformed,
    Unauthorized,
    hashes_of,
    parse,
)
from ca.storage import StorageTrouble, Transaction
from enroll.answers import Answers, Found
from enroll.ra import RegistrationAuthority
from gateway.sites.revocation.lists import has_it, http_date, max_age
from gateway.wire.plain import Asked, Told, refusal

#: Characters of a request in an address; RFC 5019 section 5 sends longer ones than 255 by POST.
_LONGEST = 2_048
# Questions that are remembered with their answers.
_REMEMBERED = 4_096
_KIND = ("Content-Type", "application/ocsp-response")
# RFC 6960 section 2.3: what nobody has signed is nobody's to keep.
_UNKEPT = (_KIND, ("Cache-Control", "no-store"))


class Responses:
    """Answers of one registration authority's issuers."""

    def __init__(self, ra: RegistrationAuthority, answers: Answers) -> None:
        self._ra, self._answers = ra, answers
        self._number: int | None = None
        self._known: dict[str | bytes, _Shown] = {}
        self._issuers: dict[IssuerHashes, Issuer] = {
            each: issuer for issuer in ra.authority.at_work for each in hashes_of(issuer.certificate).values()
        }

    def answer(self, asked: Asked, encoded: str) -> Told | Awaitable[Told]:
        """``encoded``: what stands in the address behind the path of OCSP."""
        if asked.method not in ("GET", "HEAD", "POST"):
            return refusal(405, ("Allow", "GET, HEAD, POST"))
        question = asked.body if asked.method == "POST" else encoded
        known = self._remembered(question)
        if known is not None:
            return self._told(asked, known)
        try:
            wanted = parse(asked.body if asked.method == "POST" else _decoded(encoded))
        except Malformed:
            return _unsigned(MALFORMED)
        except Unauthorized:
            return _unsigned(UNAUTHORIZED)
        issuer = self._issuers.get(wanted.issuer)
        if issuer is None or wanted.serial <= 0:
            return _unsigned(UNAUTHORIZED)
        question_of = _Question(asked, question, issuer, serial_hex(wanted.serial), wanted.issuer.hash)
        if self._ra.database.holds_up():
            return self._looked_up(question_of)
        try:
            found = self._ra.database.read_now(partial(self._kept, question_of))
        except StorageTrouble:
            return _unsigned(TRY_LATER)
        return self._later(question_of) if found is None else self._shown(question_of, found)

    def _kept(self, of: _Question, db: Transaction) -> Found | None:
        return self._answers.kept(db, self._ra, of.issuer.issuer_id, of.serial, of.hash)

    async def _looked_up(self, of: _Question) -> Told:
        try:
            found = await self._ra.database.read(partial(self._kept, of))
        except StorageTrouble:
            return _unsigned(TRY_LATER)
        return await self._later(of) if found is None else self._shown(of, found)

    def _shown(self, of: _Question, found: Found) -> Told:
        shown = self._known[of.question] = _shown(found)
        return self._told(of.asked, shown)

    def _remembered(self, question: str | bytes) -> _Shown | None:
        """What was answered to the very same question since something was last written: most who ask are a
        few caches, and ask about the same certificates."""
        # The number first: what is committed after it makes another one.
        number = self._ra.database.changed()
        if number != self._number or len(self._known) >= _REMEMBERED:
            self._known.clear()
            self._number = number
        known = self._known.get(question)
        return known if known is not None and self._ra.now() < known.next_update_at else None

    async def _later(self, of: _Question) -> Told:
        try:
            found = await self._answers.made(self._ra, of.issuer, of.serial, of.hash)
        except StorageTrouble:
            found = None
        return _unsigned(TRY_LATER) if found is None else self._told(of.asked, _shown(found))

    def _told(self, asked: Asked, shown: _Shown) -> Told:
        """RFC 5019 section 6.2: from thisUpdate to nextUpdate, and no hour in a cache."""
        now = self._ra.now()
        if shown.told is None or shown.told_at != now:
            age = max_age(shown.next_update_at - now)
            kept = ("Cache-Control", f"max-age={age}, public, no-transform, must-revalidate")
            shown.told, shown.told_at = Told(200, (*shown.fields, kept, _KIND), shown.der, kind="ocsp"), now
        if asked.method != "POST" and has_it(asked, shown.tag, shown.this_update_at):
            return Told(304, shown.told.fields[:-1], kind="ocsp")
        return shown.told


class _Question(NamedTuple):
    """Who asks, by which octets or address, and for what."""

    asked: Asked
    question: str | bytes
    issuer: Issuer
    serial: str
    hash: HashName


@dataclass(slots=True)
class _Shown:
    """An answer with what is the same each time that it is handed out. ``told``: all of it, in a second."""

    der: bytes
    this_update_at: int
    next_update_at: int
    tag: str
    fields: tuple[tuple[str, str], ...]
    told: Told | None = None
    told_at: int = 0


def _shown(found: Found) -> _Shown:
    tag = hashlib.sha1(found.der, usedforsecurity=False).hexdigest()
    fields = (
        ("ETag", f'"{tag}"'),
        ("Last-Modified", http_date(found.this_update_at)),
        ("Expires", http_date(found.next_update_at)),
    )
    return _Shown(found.der, found.this_update_at, found.next_update_at, tag, fields)


def _decoded(encoded: str) -> bytes:
    """The request in an address: base64, of which clients escape more or less. `Malformed`."""
    if not 0 < len(encoded) <= _LONGEST:
        raise Malformed
    try:
        return b64decode(unquote_to_bytes(encoded), validate=True)
    except (Error, ValueError):
        raise Malformed from None


def _unsigned(body: bytes) -> Told:
    return Told(200, _UNKEPT, body, kind="ocsp-" + _WORDS[body])


_WORDS = {MALFORMED: "malformed", TRY_LATER: "later", UNAUTHORIZED: "unauthorized"}
