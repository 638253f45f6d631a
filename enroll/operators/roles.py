"""What each role may: one table, and what is not in it is denied.

An act is what somebody does; several commands, pages and routes are one. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Flag, StrEnum, auto
from functools import reduce
from operator import or_
from types import MappingProxyType
from typing import Literal

Kind = Literal["person", "service"]


class Role(StrEnum):
    """What somebody is trusted with. Values are stored."""

    DESK = "desk"
    REGISTRAR = "registrar"
    APPROVER = "approver"
    CA_OFFICER = "ca-officer"
    AUDITOR = "auditor"


#: Role -> what people call it, in Japanese and English.
LABELS: Mapping[Role, tuple[str, str]] = MappingProxyType(
    {
        Role.DESK: ("窓口", "help desk"),
        Role.REGISTRAR: ("登録担当", "registrar"),
        Role.APPROVER: ("承認者", "approver"),
        Role.CA_OFFICER: ("認証局担当", "CA officer"),
        Role.AUDITOR: ("監査担当", "auditor"),
    }
)


class Act(StrEnum):
    """What an operator does."""

    #: What needs attention (`doctor`, the home page): every operator.
    STANDING = "standing"
    #: Looking somebody up: users, requests, certificates, letters, reference numbers.
    SEARCH = "search"
    #: Notes on a call, letters again.
    CALL = "call"
    #: 利用停止, and the end of a session.
    SUSPEND = "suspend"
    RESET_PASSWORD = "reset_password"
    #: Organisations, users, imports, credentials.
    RECORD = "record"
    #: Recording what somebody applies for; somebody else decides it.
    TAKE_IN = "take_in"
    #: Applications and reissues.
    APPLICATIONS = "applications"
    REVOKE = "revoke"
    #: More than `MOST_REVOCATIONS` at a time.
    REVOKE_MANY = "revoke_many"
    #: What is personal in the record, and what is old.
    PURGE = "purge"
    TEMPLATES = "templates"
    CA = "ca"
    OPERATORS = "operators"
    SETTINGS = "settings"
    #: Looking after webhooks: to stop one, to send again what was not taken. Where they go is `SETTINGS`.
    DELIVERIES = "deliveries"
    AUDIT = "audit"
    #: Postcards, which have passwords on them: batches of them, printed and counted.
    PRINT = "print"
    #: Sums of what happened, in which no person is.
    REPORTS = "reports"
    #: Campaigns of renewal, and what is left of each generation: sums as well.
    CAMPAIGNS = "campaigns"
    #: More than `MOST_LETTERS` at a time.
    LETTERS_MANY = "letters_many"


class Verdict(Flag):
    """What somebody may do of an act; none of these is no."""

    #: Seeing what oneself has done.
    OWN = auto()
    READ = auto()
    PROPOSE = auto()
    #: Deciding what somebody else has proposed.
    DECIDE = auto()
    #: Doing it alone.
    DO = auto()


NO = Verdict(0)
_WORDS: Mapping[str, Verdict] = {
    "-": NO,
    "own": Verdict.OWN,
    "read": Verdict.READ,
    "propose": Verdict.READ | Verdict.PROPOSE,
    "decide": Verdict.READ | Verdict.DECIDE,
    # Whoever proposed one thing decides the next: never the same one (enroll/operators/asking.py).
    "both": Verdict.READ | Verdict.PROPOSE | Verdict.DECIDE,
    "yes": Verdict.READ | Verdict.DO,
}
#: Everything there is: of whom a directory without operators belongs to.
ALL = reduce(or_, Verdict)

_TABLE: Mapping[Act, tuple[str, str, str, str, str]] = {
    # act                  desk       registrar  approver  CA officer  auditor
    Act.STANDING:         ("read",    "read",    "read",   "read",     "read"),
    Act.SEARCH:           ("yes",     "yes",     "yes",    "-",        "read"),
    Act.CALL:             ("yes",     "yes",     "-",      "-",        "-"),
    Act.SUSPEND:          ("yes",     "yes",     "-",      "-",        "-"),
    Act.RESET_PASSWORD:   ("propose", "yes",     "-",      "-",        "-"),
    Act.RECORD:           ("-",       "propose", "decide", "-",        "read"),
    Act.TAKE_IN:          ("yes",     "yes",     "-",      "-",        "-"),
    Act.APPLICATIONS:     ("read",    "propose", "decide", "-",        "read"),
    Act.REVOKE:           ("propose", "yes",     "-",      "-",        "read"),
    Act.REVOKE_MANY:      ("propose", "propose", "decide", "-",        "read"),
    Act.PURGE:            ("-",       "propose", "decide", "-",        "read"),
    Act.TEMPLATES:        ("-",       "propose", "decide", "-",        "read"),
    Act.CA:               ("-",       "-",       "-",      "both",     "read"),
    Act.OPERATORS:        ("-",       "-",       "decide", "both",     "read"),
    Act.SETTINGS:         ("-",       "-",       "-",      "both",     "read"),
    Act.DELIVERIES:       ("-",       "-",       "-",      "yes",      "read"),
    Act.AUDIT:            ("-",       "-",       "own",    "-",        "yes"),
    Act.PRINT:            ("read",    "yes",     "read",   "-",        "read"),
    Act.REPORTS:          ("read",    "read",    "read",   "-",        "read"),
    Act.CAMPAIGNS:        ("read",    "yes",     "read",   "read",     "read"),
    Act.LETTERS_MANY:     ("-",       "propose", "decide", "-",        "read"),
}  # fmt: skip

#: Revocations of one operator within a day; what exceeds that takes two.
MOST_REVOCATIONS = 10
#: Reminders of one operator within a day; as above.
MOST_LETTERS = 50


def permitted(roles: Iterable[Role], act: Act, kind: Kind = "person") -> Verdict:
    """What somebody with these roles may do of an act. A service may propose, and never decides."""
    row = dict(zip(Role, _TABLE.get(act, ("-",) * len(Role)), strict=True))
    found = reduce(or_, (_WORDS[row[role]] for role in roles), NO)
    return found & ~Verdict.DECIDE if kind == "service" else found


def decides(verdict: Verdict) -> bool:
    """Whether it is enough to decide what somebody else proposes: what one may do alone, one may decide."""
    return bool(verdict & (Verdict.DECIDE | Verdict.DO))


def roles_with(act: Act, *, deciding: bool = False) -> tuple[Role, ...]:
    """Whom to ask: the roles that may decide an act, or else propose or do it."""
    wanted = Verdict.DECIDE | Verdict.DO if deciding else Verdict.PROPOSE | Verdict.DO
    return tuple(role for role in Role if permitted([role], act) & wanted)
