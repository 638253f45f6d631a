"""What a kind of proposal is: what it is about, what stands there before, how it is checked, and how done."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ca.storage import Transaction
from enroll.operators.actors import Actor
from enroll.operators.roles import Act
from enroll.ra import RegistrationAuthority

Payload = Mapping[str, Any]
Facts = Mapping[str, Any]
#: How it is done: by whom the trail says it was, and whether whoever asked is told at once what only they may
#: read.
CarryOut = Callable[[RegistrationAuthority, Payload, str, bool], Awaitable[Facts]]
Check = Callable[[Transaction, RegistrationAuthority, Payload], None]


def nothing(db: Transaction, ra: RegistrationAuthority, payload: Payload) -> None:
    """What can only be found out when it is done."""


def _as_ever(db: Transaction, ra: RegistrationAuthority, actor: Actor, payload: Payload) -> bool:
    return False


def _by_somebody_else(db: Transaction, actor: Actor, payload: Payload) -> bool:
    return False


@dataclass(frozen=True)
class Kind:
    """A kind of proposal. ``why``: what of O4 it is."""

    act: Act
    why: str
    #: What it is about, for lists and the trail.
    subject: Callable[[Payload], str]
    before: Callable[[Transaction, Payload], Facts]
    carry_out: CarryOut
    #: Raises a Refusal for what cannot be.
    check: Check = nothing
    #: The same of what cannot be when it takes two, though who has the machine may do it.
    check_by_two: Check = nothing
    #: Whether it takes two even of whoever may do it alone, or may decide what others apply for.
    two: Callable[[Transaction, RegistrationAuthority, Actor, Payload], bool] = _as_ever
    #: Whether that counts what the actor has done: then they do it one after the other.
    counts: bool = False
    #: Whether the actor has entered what it is about: then somebody else decides, whoever has proposed it.
    entered: Callable[[Transaction, Actor, Payload], bool] = _by_somebody_else
    #: The kind that it is then.
    beyond: str = ""
    #: Whether who may decide does it at once: somebody else has applied for it.
    applied_for: bool = False
    #: Whether it has many rows, and is done by a job (`enroll/jobs/kinds.py` has the same kind).
    job: bool = False
    #: Whether its answer is a secret: approved, it is done when who proposed it types it again.
    told_once: bool = False
    #: What stands there where the machine's files say it, besides ``before``.
    in_files: Callable[[RegistrationAuthority, Payload], Facts] = lambda ra, payload: {}

    def standing(self, db: Transaction, ra: RegistrationAuthority, payload: Payload) -> Facts:
        """What stands there now: what the register says comes before the machine's files."""
        return {**self.in_files(ra, payload), **self.before(db, payload)}
