"""Checkpoints of the audit trail: signed by whoever has the keys, who remembers the last one, and looks at
every line since before there is another.

So whoever can write the register has at most one record signed: another one up to a line that was signed for,
or one that does not go on from there, is refused.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ca.memory import Memory
from ca.sealing import BrokenSeal, Vault
from ca.storage import Storage
from enroll import store
from enroll.audit import BEGINNING, Checkpoint, Line, hash_of, key_of, sign

_PURPOSE, _ADOPTION = "audit checkpoint", "adoption of a record"
_PAGE = 5_000
#: What is typed for a record that was put back from a copy, and has gone on since.
ADOPT = "if it was put back from a copy: sekisho audit adopt"


class Forked(Exception):
    """The record does not go on from what was signed for; the message says where, and what to type."""


def public_key(keys: Vault) -> str:
    """What checkpoints are verified by, hex (RFC 8032)."""
    return key_of(keys.derive(_PURPOSE)).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()


def sealed(keys: Vault, number: int, digest: str) -> bytes:
    """That the record as it is counts, whatever was signed for, as whoever has the keys says it."""
    return keys.seal(_ADOPTION, json.dumps([number, digest]).encode())


def adopted(keys: Vault, said: bytes) -> tuple[int, str]:
    """The way back. ValueError for what was not sealed by that vault."""
    try:
        number, digest = json.loads(keys.open(_ADOPTION, said))
        return int(number), str(digest)
    except (BrokenSeal, TypeError) as error:
        raise ValueError("no adoption") from error


class Checkpoints:
    """Of one CA's record. ``memory``: the last one that was signed, which no other process has meanwhile."""

    def __init__(self, ca_id: str, keys: Vault, memory: Memory) -> None:
        self._ca_id, self._key, self._memory = ca_id, key_of(keys.derive(_PURPOSE)), memory
        self._turn = threading.Lock()

    def take(self, database: Storage, at: int) -> Checkpoint:
        """One of the record as it is now; blocks. `Forked`; OSError if it cannot be remembered."""
        with self._turn:
            seen = self._memory.seen
            counted = database.read_now(store.audit_counted)
            known = database.read_now(lambda db: store.audit_hash(db, seen.line)) if seen.line else None
            if counted < seen.line:
                raise Forked(f"the record has {counted} lines, and {seen.line} were signed for; {ADOPT}")
            if known is not None and known != seen.hash:
                raise Forked(f"line {seen.line} of the record is another one than was signed for; {ADOPT}")
            number, digest = _followed(_lines(database, seen.line, counted), seen.line, seen.hash)
            if number != counted:
                raise Forked(f"line {number + 1} of the record is missing; see: sekisho audit verify")
            made = sign(self._key, Checkpoint(self._ca_id, number, digest, at))
            self._memory.keep(replace(self._memory.seen, line=number, hash=digest))
            return made

    def adopt(self, number: int, digest: str) -> None:
        """Goes on from the record as it is, if that is what was signed for last. `Forked` if it is not."""
        with self._turn:
            seen = self._memory.seen
            if (number, digest) != (seen.line, seen.hash):
                raise Forked(f"line {seen.line} was signed for last, not {number}")
            self._memory.keep(replace(seen, line=0, hash=BEGINNING))


def _followed(lines: Iterator[Line], number: int, digest: str) -> tuple[int, str]:
    """The last line, and its hash, once each was seen to follow the one before it."""
    for each in lines:
        # Of a record whose beginning was retired before anything was signed for, the rest is what there is.
        begins = number == 0 and digest == BEGINNING and each.id > 1
        if not begins and each.id != number + 1:
            raise Forked(f"line {number + 1} of the record is missing; see: sekisho audit verify")
        if not begins and hash_of(digest, each) != each.hash:
            raise Forked(f"line {each.id} of the record does not follow the one before it; {ADOPT}")
        number, digest = each.id, each.hash
    return number, digest


def _lines(database: Storage, after: int, until: int) -> Iterator[Line]:
    while page := database.read_now(lambda db, last=after: store.audit_lines(db, last, _PAGE)):  # type: ignore[misc]
        for each in page:
            if each.id > until:
                return
            yield each
        after = page[-1].id
