"""Every statement about operators, their codes, certificates and passkeys, and about what takes two of them.

What ended or was used up is a note in the journal, too: no copy of the database that is put back revives it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from ca.storage import ALONE, LOOK, Row, Transaction, all_of, count_of, inserting, together
from enroll.languages import Language
from enroll.operators.roles import Kind, Role
from enroll.operators.states import State
from enroll.whose import Whose, in_own_name, own_names

Db = Transaction

#: By whose row of `counters` it goes who adds operators, and who adds proposals.
TURNS = "operators"


@dataclass(frozen=True)
class Operator:
    """Somebody who works here, or a system that does."""

    number: int
    name: str
    display: str
    kind: Kind
    roles: tuple[Role, ...]
    mail: str
    account: str
    handle: str
    added_at: int
    added_by: str
    networks: tuple[str, ...] = ()
    language: Language = "ja"
    ended_at: int | None = None
    ended_by: str = ""

    @property
    def identity(self) -> str:
        """Who it is, whatever else changes: of two that are compared."""
        return f"operator:{self.number}"


@dataclass(frozen=True)
class Passkey:
    """A credential of a browser or a key, as it was registered. ``credential_id`` is base64url."""

    credential_id: str
    operator: int
    public_key: bytes
    sign_count: int
    label: str
    added_at: int
    used_at: int | None = None
    ended_at: int | None = None


@dataclass(frozen=True)
class Proposal:
    """What somebody wants done and somebody else decides. ``before`` is what stood there."""

    number: int
    kind: str
    subject: str
    payload: Mapping[str, Any]
    before: Mapping[str, Any]
    digest: str
    proposer: str
    proposed_by: str
    reason: str
    made_at: int
    expires_at: int
    state: State = State.PENDING
    decider: str | None = None
    decided_by: str | None = None
    decided_at: int | None = None
    note: str = ""
    result: Mapping[str, Any] = field(default_factory=dict)
    done_at: int | None = None
    erased_at: int | None = None


@dataclass(frozen=True)
class Glass:
    """A role that somebody took in an emergency, by the passphrase."""

    number: int
    account: str
    identity: str
    role: Role
    reason: str
    opened_at: int
    ends_at: int
    due_at: int
    reviewed_at: int | None = None
    reviewed_by: str = ""
    note: str = ""


# -- operators -------------------------------------------------------------------------------------------


def add(db: Db, operator: Operator) -> Operator | None:
    """Records an operator, numbered; None if the name was ever taken, or the account is somebody's."""
    row = _of_operator(operator)
    del row["number"]
    added = db.one(f"{inserting('operators', row)} ON CONFLICT DO NOTHING RETURNING number", row)
    if added is None:
        return None
    made = replace(operator, number=int(added[0]))
    _note(db, made)
    return made


def change(db: Db, before: Operator, after: Operator) -> bool:
    """Records what is different about one. False if somebody else did since ``before`` was read."""
    row = _of_operator(after)
    names = ("display", "roles", "mail", "account", "networks", "language", "ended_at", "ended_by")
    was = _of_operator(before)
    values = row | {f"was_{name}": was[name] for name in names if name != "ended_at"}
    same = " AND ".join(f"{name} = :was_{name}" for name in names if name != "ended_at")
    changed = db.execute(
        f"UPDATE operators SET {', '.join(f'{name} = :{name}' for name in names)}"
        f" WHERE number = :number AND coalesce(ended_at, -1) = :was_ended AND {same}",
        values | {"was_ended": -1 if before.ended_at is None else before.ended_at},
    )
    if changed:
        _note(db, after)
    return changed == 1


def operator(db: Db, number: int) -> Operator | None:
    """One by its number, ended or not. Whoever does several things at once does not wait for himself."""
    return _one(
        db.one(f"SELECT * FROM operators WHERE number = :number{together('operators')}", {"number": number})
    )


def hold(db: Db, number: int) -> None:
    """One alone, before anything else is asked: what counts what they have done is right until this write has
    ended. Not of whoever is looked up together by now (`operator`)."""
    db.one("SELECT number FROM operators WHERE number = :number", {"number": number})


def named(db: Db, name: str) -> Operator | None:
    """One by its name, ended or not."""
    return _one(db.one("SELECT * FROM operators WHERE name = :name", {"name": name}))


def of_account(db: Db, account: str) -> Operator | None:
    """Whose commands those of an account are; None for a stranger, or somebody who has ended."""
    statement = "SELECT * FROM operators WHERE account = :account AND account <> '' AND ended_at IS NULL"
    return _one(db.one(statement, {"account": account}))


def of_certificate(db: Db, fingerprint: str) -> Operator | None:
    """Whose certificate it is; None for a stranger's, and for what has ended."""
    statement = (
        "SELECT operators.* FROM operators JOIN operator_certificates ON operator = operators.number"
        " WHERE fingerprint = :fingerprint AND operator_certificates.ended_at IS NULL"
        " AND operators.ended_at IS NULL"
    )
    return _one(db.one(statement, {"fingerprint": fingerprint}))


def operators(db: Db, *, ended: bool = False) -> list[Operator]:
    """All of them by name; with ``ended`` those who have ended, too."""
    narrowed = "" if ended else "WHERE ended_at IS NULL"
    found = (_one(row) for row in db.rows(f"SELECT * FROM operators {narrowed} ORDER BY name"))
    return [each for each in found if each is not None]


def are_there(db: Db) -> bool:
    """Whether there was ever one: from then on roles hold."""
    return db.one("SELECT 1 FROM operators LIMIT 1") is not None


def restore(db: Db, facts: Mapping[str, Any]) -> bool:
    """Takes from one what the journal says is gone. False for one who is not here."""
    found = named(db, facts["name"])
    if found is None:
        return False
    db.execute(
        "UPDATE operators SET roles = :roles, account = :account, networks = :networks, ended_at = :ended_at"
        " WHERE name = :name",
        dict(facts) | {name: json.dumps(facts[name]) for name in ("roles", "networks")},
    )
    db.note("operator", **facts)
    if facts["ended_at"] is not None:
        end_credentials(db, found.number, facts["ended_at"])
    return True


def _note(db: Db, changed: Operator) -> None:
    db.note(
        "operator",
        name=changed.name,
        roles=list(changed.roles),
        account=changed.account,
        networks=list(changed.networks),
        ended_at=changed.ended_at,
    )


def _of_operator(each: Operator) -> dict[str, Any]:
    return asdict(each) | {"roles": json.dumps(each.roles), "networks": json.dumps(each.networks)}


def _one(row: Row | None) -> Operator | None:
    if row is None:
        return None
    values = _values(row)
    roles = tuple(Role(each) for each in json.loads(values["roles"]))
    return Operator(**{**values, "roles": roles, "networks": tuple(json.loads(values["networks"]))})


# -- codes, certificates, passkeys -----------------------------------------------------------------------


def add_code(db: Db, number: int, code_hash: str, at: int, ends_at: int) -> None:
    """Records a code that is told once; every other one of this operator ends."""
    end_codes(db, number, at)
    db.execute(
        "INSERT INTO operator_codes (code_hash, operator, made_at, ends_at)"
        " VALUES (:code_hash, :operator, :at, :ends_at)",
        {"code_hash": code_hash, "operator": number, "at": at, "ends_at": ends_at},
    )


def use_code(db: Db, code_hash: str, at: int) -> int | None:
    """Uses a code up, once; the number of its operator. None for one that was used, has ended or is none."""
    row = db.one(
        "UPDATE operator_codes SET used_at = :at WHERE code_hash = :code_hash AND used_at IS NULL"
        " AND made_at <= :at AND ends_at > :at RETURNING operator",
        {"code_hash": code_hash, "at": at},
    )
    if row is None:
        return None
    db.note("operator.code", code_hash=code_hash, at=at)
    return int(row[0])


def end_codes(db: Db, number: int, at: int) -> None:
    """Ends every code of an operator that was not used, and what a used one still allows."""
    for row in db.rows(
        "SELECT code_hash FROM operator_codes WHERE operator = :number AND used_at IS NULL",
        {"number": number},
    ):
        end_code(db, str(row[0]), at)
    db.execute(
        "UPDATE operator_codes SET enrolled_at = :at WHERE operator = :number AND enrolled_at IS NULL"
        " AND certificate IS NOT NULL",
        {"number": number, "at": at},
    )


def end_code(db: Db, code_hash: str, at: int) -> None:
    """Ends a code, whoever has it."""
    values = {"code_hash": code_hash, "at": at}
    if db.execute(
        "UPDATE operator_codes SET used_at = :at WHERE code_hash = :code_hash AND used_at IS NULL", values
    ):
        db.note("operator.code", **values)


def code_of(db: Db, code_hash: str, at: int) -> int | None:
    """Whose code it is, if it could be used now: the operator's number."""
    row = db.one(
        "SELECT operator FROM operator_codes WHERE code_hash = :code_hash"
        " AND used_at IS NULL AND made_at <= :at AND ends_at > :at",
        {"code_hash": code_hash, "at": at},
    )
    return None if row is None else int(row[0])


def bind_code(db: Db, code_hash: str, serial: str) -> None:
    """Records for which certificate a code was used: until the code's end that one may make a passkey."""
    db.execute(
        "UPDATE operator_codes SET certificate = :serial WHERE code_hash = :code_hash",
        {"code_hash": code_hash, "serial": serial},
    )


_ENROLS = (
    "enrolled_at IS NULL AND ends_at > :at AND certificate IN (SELECT serial FROM operator_certificates"
    " WHERE fingerprint = :fingerprint AND ended_at IS NULL)"
)


def may_enrol(db: Db, fingerprint: str, at: int) -> bool:
    """Whether a certificate was fetched by a code, and may make a passkey by that."""
    values = {"fingerprint": fingerprint, "at": at}
    return db.one(f"SELECT 1 FROM operator_codes WHERE {_ENROLS}{ALONE}", values) is not None


def use_enrolment(db: Db, fingerprint: str, at: int) -> int | None:
    """Uses that up, once; the number of the operator. None where there is nothing to use."""
    values = {"fingerprint": fingerprint, "at": at}
    row = db.one(f"UPDATE operator_codes SET enrolled_at = :at WHERE {_ENROLS} RETURNING operator", values)
    return None if row is None else int(row[0])


def open_code(db: Db, number: int, at: int) -> int | None:
    """Until when an operator's code is good; None where there is none."""
    row = db.one(
        "SELECT max(ends_at) FROM operator_codes WHERE operator = :number AND used_at IS NULL"
        f" AND ends_at > :at{LOOK}",
        {"number": number, "at": at},
    )
    return None if row is None or row[0] is None else int(row[0])


def add_certificate(db: Db, number: int, serial: str, fingerprint: str, at: int) -> None:
    """Records a certificate of an operator's."""
    db.execute(
        "INSERT INTO operator_certificates (serial, operator, fingerprint, added_at)"
        " VALUES (:serial, :operator, :fingerprint, :at)",
        {"serial": serial, "operator": number, "fingerprint": fingerprint, "at": at},
    )


def certificates(db: Db, number: int) -> list[str]:
    """The serials of an operator's certificates that have not ended."""
    found = db.rows(
        "SELECT serial FROM operator_certificates WHERE operator = :number AND ended_at IS NULL"
        " ORDER BY added_at, serial",
        {"number": number},
    )
    return [str(row[0]) for row in found]


def endings(db: Db, until: int) -> list[tuple[Operator, int]]:
    """Operators whose last certificate ends before a moment, or has, with when; whoever has none is not told.

    The last one: earlier ones stay good beside it, and nobody is kept out by their end.
    """
    found = db.rows(
        "SELECT h.operator AS number, max(c.not_after_at) AS ends_at FROM operator_certificates h"
        " JOIN certificates c ON c.serial = h.serial WHERE h.ended_at IS NULL AND c.status = 'issued'"
        f" GROUP BY h.operator HAVING max(c.not_after_at) < :until{LOOK}",
        {"until": until},
    )
    ends = {int(row["number"]): int(row["ends_at"]) for row in found}
    return [(each, ends[each.number]) for each in operators(db) if each.number in ends]


def add_passkey(db: Db, passkey: Passkey) -> bool:
    """Records one; False if it is there already, whosever."""
    row = asdict(passkey)
    return db.execute(f"{inserting('operator_passkeys', row)} ON CONFLICT DO NOTHING", row) == 1


def passkey(db: Db, credential_id: str) -> Passkey | None:
    """One by its identifier, ended or not."""
    row = db.one("SELECT * FROM operator_passkeys WHERE credential_id = :id", {"id": credential_id})
    return None if row is None else Passkey(**_values(row))


def passkeys(db: Db, number: int) -> list[Passkey]:
    """An operator's that have not ended, oldest first."""
    found = db.rows(
        "SELECT * FROM operator_passkeys WHERE operator = :number AND ended_at IS NULL"
        " ORDER BY added_at, credential_id",
        {"number": number},
    )
    return [Passkey(**_values(row)) for row in found]


def use_passkey(db: Db, before: Passkey, sign_count: int, at: int) -> bool:
    """Records that one was used; False if it was meanwhile, with the same count, or has ended."""
    return (
        db.execute(
            "UPDATE operator_passkeys SET sign_count = :sign_count, used_at = :at"
            " WHERE credential_id = :id AND sign_count = :was AND ended_at IS NULL",
            {"sign_count": sign_count, "at": at, "id": before.credential_id, "was": before.sign_count},
        )
        == 1
    )


def end_passkey(db: Db, credential_id: str, at: int) -> bool:
    """Ends one; False if it has ended, or there is none."""
    values = {"credential_id": credential_id, "at": at}
    changed = db.execute(
        "UPDATE operator_passkeys SET ended_at = :at WHERE credential_id = :credential_id"
        " AND ended_at IS NULL",
        values,
    )
    if changed:
        db.note("operator.passkey", **values)
    return changed == 1


def end_certificate(db: Db, serial: str, at: int) -> bool:
    """Ends what a certificate opens here; whether it is revoked is the register's."""
    values = {"serial": serial, "at": at}
    changed = db.execute(
        "UPDATE operator_certificates SET ended_at = :at WHERE serial = :serial AND ended_at IS NULL", values
    )
    if changed:
        db.note("operator.certificate", **values)
    return changed == 1


def end_credentials(db: Db, number: int, at: int) -> None:
    """Ends all that opens anything for an operator."""
    end_codes(db, number, at)
    for serial in certificates(db, number):
        end_certificate(db, serial, at)
    for each in passkeys(db, number):
        end_passkey(db, each.credential_id, at)


# -- proposals -------------------------------------------------------------------------------------------

_SEALED = ("payload", "before", "result")
_LISTED = ", ".join(each.name for each in fields(Proposal) if each.name != "payload")


def propose(db: Db, proposal: Proposal) -> int:
    """Records a proposal and returns its number; ``proposal.number`` is ignored."""
    # Without a copy of what is in it (`dataclasses.asdict`): an import has as many rows as there are users.
    row = {each.name: getattr(proposal, each.name) for each in fields(proposal) if each.name != "number"}
    row |= {name: _canonical(row[name]) for name in _SEALED}
    added = db.one(f"{inserting('proposals', row)} RETURNING number", row)
    assert added is not None
    return int(added[0])


def proposal(db: Db, number: int) -> Proposal | None:
    """One by its number."""
    row = db.one("SELECT * FROM proposals WHERE number = :number", {"number": number})
    return None if row is None else _proposal(row)


def proposals(
    db: Db,
    whose: Whose | None = None,
    *,
    waiting_at: int | None = None,
    before: int = 2**62,
    limit: int = 2**62,
    bare: Collection[str] = (),
) -> list[Proposal]:
    """Those that somebody may look at (None: all), before a number, newest first; ``waiting_at``: that wait
    at a moment. ``bare``: of these kinds without their payload, which is not read at all."""
    terms, values = _of_proposals(whose, waiting_at)
    payload, left_out = _payload_of(bare)
    found = db.rows(
        f"SELECT {_LISTED}, {payload} FROM proposals WHERE {all_of([*terms, 'number < :before'])}"
        f" ORDER BY number DESC LIMIT :limit{LOOK}",
        {**values, **left_out, "before": before, "limit": limit},
    )
    return [_proposal(row) for row in found]


def count_proposals(db: Db, whose: Whose, *, waiting_at: int | None = None, behind: int = 0) -> int:
    """How many of them there are; ``behind``: that are newer than this number."""
    terms, values = _of_proposals(whose, waiting_at)
    if behind:
        terms.append("number > :behind")
        values["behind"] = behind
    return count_of(db, "proposals", terms, values)


def _of_proposals(whose: Whose | None, waiting_at: int | None) -> tuple[list[str], dict[str, Any]]:
    terms, values = list[str](), dict[str, Any]()
    if whose is not None:
        terms.append(whose.term)
        values |= whose.values
    if waiting_at is not None:
        terms.append("state = 'pending' AND expires_at > :at")
        values["at"] = waiting_at
    return terms, values


def proposals_due(
    db: Db, kinds: Collection[str], but_of: str, at: int, limit: int, bare: Collection[str] = ()
) -> list[Proposal]:
    """Those of some kinds that wait at a moment and that somebody else than ``but_of`` has made, by when they
    end. ``bare`` as for `proposals`."""
    if not kinds:
        return []
    payload, left_out = _payload_of(bare)
    named = {f"kind_{place}": each for place, each in enumerate(kinds)}
    found = db.rows(
        f"SELECT {_LISTED}, {payload} FROM proposals WHERE state = 'pending' AND expires_at > :at"
        f" AND proposer <> :but_of AND kind IN ({', '.join(f':{each}' for each in named)})"
        f" ORDER BY expires_at, number LIMIT :limit{LOOK}",
        {**named, **left_out, "at": at, "but_of": but_of, "limit": limit},
    )
    return [_proposal(row) for row in found]


def _payload_of(bare: Collection[str]) -> tuple[str, dict[str, Any]]:
    """The column of a list, and what is in it: of these kinds nothing is read."""
    left_out = {f"bare_{place}": kind for place, kind in enumerate(sorted(bare))}
    if not left_out:
        return "payload", {}
    among = ", ".join(f":{name}" for name in left_out)
    return f"CASE WHEN kind IN ({among}) THEN '{{}}' ELSE payload END AS payload", left_out


def proposals_about(db: Db, kinds: Sequence[str], *subjects: str) -> list[Proposal]:
    """Those of some kinds that wait, about one of some subjects, oldest first."""
    if not subjects:
        return []
    named = {f"kind_{place}": each for place, each in enumerate(kinds)}
    about = {f"subject_{place}": each for place, each in enumerate(subjects)}
    found = db.rows(
        "SELECT * FROM proposals WHERE state = 'pending'"
        f" AND kind IN ({', '.join(f':{each}' for each in named)})"
        f" AND subject IN ({', '.join(f':{each}' for each in about)}) ORDER BY number",
        {**named, **about},
    )
    return [_proposal(row) for row in found]


def waiting(db: Db, at: int, until: int) -> tuple[int, int]:
    """How many proposals wait at a moment, and how many of them no longer than until another."""
    row = db.one(
        "SELECT count(*) AS waiting, coalesce(sum(CASE WHEN expires_at <= :until THEN 1 ELSE 0 END), 0)"
        f" AS ending FROM proposals WHERE state = 'pending' AND expires_at > :at{LOOK}",
        {"at": at, "until": until},
    )
    assert row is not None
    return int(row["waiting"]), int(row["ending"])


def overdue(db: Db, at: int, limit: int) -> list[Proposal]:
    """Those that wait although their days are over, oldest first."""
    found = db.rows(
        "SELECT * FROM proposals WHERE state = 'pending' AND expires_at <= :at ORDER BY number LIMIT :limit",
        {"at": at, "limit": limit},
    )
    return [_proposal(row) for row in found]


def decide(
    db: Db,
    number: int,
    state: State,
    *,
    decider: str,
    decided_by: str,
    at: int,
    note: str,
    done_at: int | None,
) -> bool:
    """Moves a pending proposal on. False if it is not pending: of two that decide one wins."""
    decided = db.one(
        "UPDATE proposals SET state = :state, decider = :decider, decided_by = :decided_by,"
        " decided_at = :at, note = :note, done_at = :done_at WHERE number = :number AND state = 'pending'"
        " RETURNING made_at",
        {
            "state": state,
            "decider": decider,
            "decided_by": decided_by,
            "at": at,
            "note": note,
            "done_at": done_at,
            "number": number,
        },
    )
    if decided is not None:
        db.note("proposal", number=number, made_at=int(decided[0]), state=str(state), at=at)
    return decided is not None


def complete(db: Db, number: int, result: Mapping[str, Any], at: int | None) -> bool:
    """Records what came of an approved proposal; with ``at`` that all of it is done. False if it was."""
    return (
        db.execute(
            "UPDATE proposals SET result = :result, done_at = :at"
            " WHERE number = :number AND state = 'approved' AND done_at IS NULL",
            {"result": _canonical(result), "at": at, "number": number},
        )
        == 1
    )


def set_result(db: Db, number: int, result: Mapping[str, Any]) -> None:
    """Records what came of a proposal that is carried out."""
    values = {"result": _canonical(result), "number": number}
    db.execute("UPDATE proposals SET result = :result WHERE number = :number", values)


def undone(db: Db) -> list[Proposal]:
    """What was approved and has not been carried out to its end."""
    found = db.rows("SELECT * FROM proposals WHERE state = 'approved' AND done_at IS NULL ORDER BY number")
    return [_proposal(row) for row in found]


def restore_proposal(db: Db, facts: Mapping[str, Any]) -> bool:
    """Closes a proposal that the journal says was decided. False for one that is not here, or was."""
    changed = db.execute(
        "UPDATE proposals SET state = :state, decided_at = :at, done_at = :at"
        " WHERE number = :number AND made_at = :made_at AND state = 'pending'",
        dict(facts),
    )
    if changed:
        db.note("proposal", **facts)
    return changed == 1


def _proposal(row: Row) -> Proposal:
    values = _values(row)
    decoded = {name: json.loads(values[name]) for name in _SEALED}
    return Proposal(**{**values, **decoded, "state": State(values["state"])})


def _canonical(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def revocations(db: Db, own: str, since: int) -> int:
    """How many certificates somebody (`Actor.own`) has revoked since a moment, by whichever door, by the
    trail."""
    db.settle()
    row = db.one(
        f"SELECT count(*) FROM audit WHERE {in_own_name('actor')}"
        f" AND action = 'certificate.revoked' AND at > :since{LOOK}",
        {**own_names(own), "since": since},
    )
    assert row is not None
    return int(row[0])


def mail_changed(db: Db, user_id: str, since: int) -> bool:
    """Whether a user's mail address was changed since a moment, by the trail."""
    db.settle()
    found = db.rows(
        "SELECT detail FROM audit WHERE subject = :user_id AND action = 'user.changed' AND at > :since"
        f"{LOOK}",
        {"user_id": user_id, "since": since},
    )
    return any("mail" in json.loads(row[0] or "{}") for row in found)


# -- break-glass -----------------------------------------------------------------------------------------


def add_glass(db: Db, glass: Glass) -> int:
    """Records a role that was taken, and returns its number; ``glass.number`` is ignored."""
    row = asdict(glass)
    del row["number"]
    added = db.one(f"{inserting('break_glass', row)} RETURNING number", row)
    assert added is not None
    db.note("break-glass", **row)
    return int(added[0])


def glass_of(db: Db, account: str, at: int) -> Glass | None:
    """What an account has taken and still has."""
    row = db.one(
        "SELECT * FROM break_glass WHERE account = :account AND opened_at <= :at AND ends_at > :at"
        " AND reviewed_at IS NULL ORDER BY number DESC LIMIT 1",
        {"account": account, "at": at},
    )
    return None if row is None else _glass(row)


def glass(db: Db, number: int) -> Glass | None:
    row = db.one("SELECT * FROM break_glass WHERE number = :number", {"number": number})
    return None if row is None else _glass(row)


def glasses(db: Db, *, reviewed: bool = False) -> Sequence[Glass]:
    """Those that nobody has looked at yet, or all, oldest first."""
    narrowed = "" if reviewed else "WHERE reviewed_at IS NULL"
    return [_glass(row) for row in db.rows(f"SELECT * FROM break_glass {narrowed} ORDER BY number")]


def review_glass(db: Db, number: int, by: str, note: str, at: int) -> bool:
    """Records that somebody has looked at it. False if somebody did before."""
    return (
        db.execute(
            "UPDATE break_glass SET reviewed_at = :at, reviewed_by = :by, note = :note"
            " WHERE number = :number AND reviewed_at IS NULL",
            {"at": at, "by": by, "note": note, "number": number},
        )
        == 1
    )


def restore_glass(db: Db, facts: Mapping[str, Any]) -> bool:
    """Records one that the journal tells of and this database has forgotten."""
    known = db.one(
        "SELECT 1 FROM break_glass WHERE account = :account AND opened_at = :opened_at", dict(facts)
    )
    if known is None:
        db.execute(inserting("break_glass", facts), dict(facts))
        db.note("break-glass", **facts)
    return known is None


def _glass(row: Row) -> Glass:
    return Glass(**{**_values(row), "role": Role(row["role"])})


def _values(row: Row) -> dict[str, Any]:
    return {name: row[name] for name in row.keys()}  # noqa: SIM118  a row is no mapping
