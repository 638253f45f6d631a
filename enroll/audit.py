"""The record as a chain: each line holds the one before it, and a signed checkpoint holds them all.

Pure. A line's hash covers who, what, on what, why and the result, and the digest of what may be personal,
which is salted and can be taken away without breaking the chain. What a chain cannot tell, its own end and a
rewrite of all of it, a checkpoint tells that has left the machine.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

#: What the first line follows.
BEGINNING = ""
#: Acts that say in ``why`` which lines went: (``until``, its hash), and ranges of numbers.
RETIRED, PURGED = "audit.retired", "audit.purged"
# From where somebody came is personal: the hash knows only that it was an address.
_ADDRESS = "address:"
_RESULTS = ((".refused", "refused"), ("wrong_user", "refused"), ("failed", "failed"))


@dataclass(frozen=True)
class Line:
    """A line of the record. ``detail`` (JSON) and ``salt`` are None once they were purged."""

    id: int
    at: int
    actor: str
    action: str
    subject: str
    why: str
    result: str
    detail: str | None
    salt: str | None
    digest: str
    hash: str


@dataclass(frozen=True)
class Checkpoint:
    """What the record was at a moment: its last line's number and hash, signed (Ed25519, hex)."""

    ca: str
    number: int
    hash: str
    at: int
    signature: str = ""

    def signed(self) -> bytes:
        return _canonical(["sekisho audit 1", self.ca, self.number, self.hash, self.at])


@dataclass(frozen=True)
class Trouble:
    """What was found at a line, by its number; 0 for the record as a whole."""

    number: int
    what: str


def result_of(action: str) -> str:
    """How an act ended, by its name: "done", "refused" or "failed"."""
    return next((result for ending, result in _RESULTS if action.endswith(ending)), "done")


class Said(NamedTuple):
    """A line that has no place in the record yet: number and hash come with that. ``linked``: what its hash
    covers behind its number."""

    at: int
    actor: str
    action: str
    subject: str
    why: str
    result: str
    detail: str
    salt: str
    digest: str
    linked: bytes


def said(at: int, actor: str, action: str, subject: str, detail: Mapping[str, Any], salt: str) -> Said:
    """A line to come. ``why``: the reason among the details, if they name one. UnicodeEncodeError for what is
    no text."""
    why = str(detail.get("why") or detail.get("reason") or "")
    text, result = _encode(detail), result_of(action)
    digest = _digest(salt, text, actor)
    linked = _linked(at, actor, action, subject, why, result, digest)
    return Said(at, actor, action, subject, why, result, text, salt, digest, linked)


def placed(some: Iterable[Said], number: int, previous: str) -> list[Line]:
    """Lines one after the other, with their hashes. ``number``: of the first; ``previous``: the hash of the
    line before it."""
    found = list[Line]()
    for each in some:
        previous = _hash(previous, number, each.linked)
        found.append(Line(number, *each[:-1], previous))
        number += 1
    return found


@dataclass(frozen=True)
class Verified:
    """What a verification of the whole record has found. ``more``: there are further troubles; ``many``: it
    was not looked through, for it has too many lines."""

    lines: int
    troubles: tuple[Trouble, ...] = ()
    more: bool = False
    many: bool = False


def digest_of(found: Line) -> str:
    """Of what may be purged."""
    return _digest(found.salt, found.detail, found.actor)


def hash_of(previous: str, found: Line) -> str:
    """Of a line after another one."""
    linked = _linked(
        *(found.at, found.actor, found.action, found.subject, found.why, found.result, found.digest)
    )
    return _hash(previous, found.id, linked)


def _digest(salt: str | None, detail: str | None, actor: str) -> str:
    return _sha256(_canonical([salt, detail, actor if actor.startswith(_ADDRESS) else ""]))


def _linked(at: int, actor: str, action: str, subject: str, why: str, result: str, digest: str) -> bytes:
    return _canonical([at, public_actor(actor), action, subject, why, result, digest])[1:]


def _hash(previous: str, number: int, linked: bytes) -> str:
    return _sha256(_canonical([previous, number])[:-1] + b"," + linked)


def public_actor(actor: str) -> str:
    """Who it was, without from where."""
    return "address" if actor.startswith(_ADDRESS) else actor


def key_of(seed: bytes) -> Ed25519PrivateKey:
    """The key of checkpoints, out of 32 secret bytes."""
    return Ed25519PrivateKey.from_private_bytes(seed)


def sign(key: Ed25519PrivateKey, unsigned: Checkpoint) -> Checkpoint:
    return replace(unsigned, signature=key.sign(unsigned.signed()).hex())


def is_ours(key: Ed25519PublicKey, checkpoint: Checkpoint, ca_id: str) -> bool:
    """Whether this record's key has signed it."""
    try:
        key.verify(bytes.fromhex(checkpoint.signature), checkpoint.signed())
    except (InvalidSignature, ValueError):
        return False
    return checkpoint.ca == ca_id


def checkpoints_in(text: str) -> list[Checkpoint]:
    """Those that stand in a file: one a line as JSON, in the lines of a journal or its copy, or as another
    machine's log has them."""
    told: list[tuple[int, str, Mapping[str, Any]]] = []
    for each in text.splitlines():
        start = each.find("{")
        try:
            document = json.loads(each[start:]) if start >= 0 else {}
        except ValueError:
            continue
        told += [(document.get("n", 0), *note) for note in document.get("notes") or ()]
        if isinstance(document.get("checkpoint"), dict):
            told.append((0, "checkpoint", document["checkpoint"]))
    return surviving(told)


def surviving(notes: Iterable[tuple[int, str, Mapping[str, Any]]]) -> list[Checkpoint]:
    """The checkpoints among a journal's notes (line, kind, facts), but for those of a record that was lost
    with its database: a replay, of which the record tells, stands for the lines that it carried out."""
    found: list[tuple[int, Checkpoint]] = []
    for number, kind, facts in notes:
        if kind == "checkpoint":
            found.append((number, Checkpoint(**facts)))
        elif kind == "replayed":
            found = [each for each in found if not facts["since"] < each[0] <= facts["until"]]
    return [each for _, each in found]


def written(checkpoint: Checkpoint) -> str:
    """As a line of a file."""
    return _encode({"checkpoint": asdict(checkpoint)})


# -- verifying -----------------------------------------------------------------------------------------


def verify(lines: Iterable[Line], newest: int, checkpoints: Sequence[Checkpoint] = ()) -> Iterator[Trouble]:
    """Everything that is wrong, with its place. ``lines``: all that are there, by number; ``newest``: how
    many the register has counted; ``checkpoints``: ones that are ours.

    After a line that was altered the chain goes on from what it says of itself, so that each place is told.
    """
    kept = _Kept()
    wanted = {each.number: each for each in checkpoints}
    known: dict[int, str] = {}
    last = 0
    for each in lines:
        yield from _gap(last, each.id)
        yield from _within(each, kept)
        if each.id == last + 1 or kept.first is None:
            yield from kept.follows(each)
        kept.take(each)
        if each.id in wanted:
            known[each.id] = each.hash
        last = max(last, each.id)
    yield from kept.left_over()
    if newest > last:
        yield Trouble(last + 1, f"the end is cut off: {newest} lines were written, the last is {last}")
    elif newest < last:
        yield Trouble(newest + 1, f"lines that nobody wrote: {newest} were written, the last is {last}")
    yield from _against(wanted, known, last, kept.retired)


class _Kept:
    """What is remembered from line to line."""

    def __init__(self) -> None:
        self.first: Line | None = None
        self._previous = BEGINNING
        self._bare: set[int] = set()
        self._purged: set[int] = set()
        #: Number of a last line that was retired -> its hash.
        self.retired: dict[int, str] = {}

    def follows(self, each: Line) -> Iterator[Trouble]:
        if self.first is None:
            # What it follows is known when a later line says what was retired.
            return
        if hash_of(self._previous, each) != each.hash:
            yield Trouble(each.id, "it was altered, or does not follow the line before it")

    def take(self, each: Line) -> None:
        self.first = self.first or each
        self._previous = each.hash
        if each.detail is None:
            self._bare.add(each.id)
        if each.action == PURGED:
            self._purged |= set(numbers_in(each.why))
        if each.action == RETIRED:
            number, _, digest = each.why.partition(" ")
            if number.isdigit():
                self.retired[int(number)] = digest

    def left_over(self) -> Iterator[Trouble]:
        for number in sorted(self._bare - self._purged):
            yield Trouble(number, "its detail was taken away, and no purge says so")
        if self.first is None:
            return
        before = self.retired.get(self.first.id - 1, BEGINNING if self.first.id == 1 else None)
        if before is None:
            yield Trouble(1, f"lines 1 to {self.first.id - 1} are missing, and no retirement says so")
        elif hash_of(before, self.first) != self.first.hash:
            yield Trouble(self.first.id, "it was altered, or does not follow the line before it")


def _gap(last: int, number: int) -> Iterator[Trouble]:
    if number <= last:
        yield Trouble(number, "it is there twice, or out of its order")
    elif last and number > last + 1:
        which = f"line {last + 1} is" if number == last + 2 else f"lines {last + 1} to {number - 1} are"
        yield Trouble(last + 1, f"{which} missing")


def _within(each: Line, kept: _Kept) -> Iterator[Trouble]:
    if (each.detail is None) != (each.salt is None):
        yield Trouble(each.id, "half of its detail was taken away")
    elif each.detail is not None and digest_of(each) != each.digest:
        yield Trouble(each.id, "its detail, or who it was, was altered")
    if each.result != result_of(each.action):
        yield Trouble(each.id, f"{each.action} cannot have ended as {each.result}")


def _against(
    wanted: Mapping[int, Checkpoint], known: Mapping[int, str], last: int, retired: Mapping[int, str]
) -> Iterator[Trouble]:
    for number, each in sorted(wanted.items()):
        if number in known:
            if known[number] != each.hash:
                yield Trouble(number, "up to here it is another record than when the checkpoint was signed")
        elif number > last:
            yield Trouble(last + 1, f"the end is cut off: the checkpoint has seen {number} lines")
        elif retired.get(number, each.hash) != each.hash:
            yield Trouble(number, "another line was retired than the checkpoint has seen")


def ranges_of(numbers: Iterable[int]) -> str:
    """Numbers as people write them: ``3,5-9``."""
    found: list[list[int]] = []
    for number in sorted(set(numbers)):
        if found and found[-1][1] == number - 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in found)


def numbers_in(ranges: str) -> Iterator[int]:
    """The way back."""
    for first, last in re.findall(r"(\d+)(?:-(\d+))?", ranges):
        yield from range(int(first), int(last or first) + 1)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _canonical(value: Any) -> bytes:
    return _compact(value).encode()


_compact = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_encode = json.JSONEncoder(ensure_ascii=False, sort_keys=True).encode
