"""Every statement of the registers that operators look through: a page of rows after the last one seen."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from ca.storage import ALONE, LOOK, Row, Transaction, all_of, count_of
from enroll.identifiers import number_in
from enroll.mail.store import SHOWN
from enroll.people.sameness import name_key, tidy_mail
from enroll.store import ENROLLMENT_COLUMNS, USER_COLUMNS, Application, as_application
from enroll.whose import in_own_name, own_names

# Certificates, or letters, that are looked at one after the other for a page of those that are asked for.
_NEAR = 10_000


CertificateState = Literal["reserved", "issued", "expired", "held", "revoked"]


@dataclass(frozen=True)
class Wanted:
    """What narrows a register; None for what does not. Names and addresses are parts, in any spelling.

    ``ends_before`` and ``ends_after`` are seconds since the epoch, of a certificate's end.
    """

    user_id: str | None = None
    policy_number: str | None = None
    name: str | None = None
    mail: str | None = None
    state: str | None = None
    ends_before: int | None = None
    ends_after: int | None = None


def users(db: Transaction, wanted: Wanted, last: str, limit: int) -> Sequence[Row]:
    """Users by user ID; ``state``: active or disabled (with their organisation). With an end, those who have
    a live certificate that ends then."""
    terms, values = _of_people(wanted)
    if wanted.state is not None:
        off = "(users.disabled_at IS NOT NULL OR organisations.disabled_at IS NOT NULL)"
        terms.append(off if wanted.state == "disabled" else f"NOT {off}")
    if wanted.ends_before is not None or wanted.ends_after is not None:
        terms.append(
            "EXISTS (SELECT 1 FROM enrollments WHERE enrollments.user_id = users.user_id"
            f" AND enrollments.state IN ('issued', 'picked_up', 'in_use'){_ends('enrollments', wanted)})"
        )
        values |= _ends_values(wanted)
    statement = (
        f"SELECT {USER_COLUMNS} FROM users JOIN organisations USING (policy_number)"
        f" WHERE users.user_id > :last AND {all_of(terms)} ORDER BY users.user_id LIMIT :limit"
    )
    return db.rows(statement, {**values, "last": last, "limit": limit})


def organisations(db: Transaction, last: str, limit: int) -> Sequence[Row]:
    """Organisations by 証券番号."""
    statement = "SELECT * FROM organisations WHERE policy_number > :last ORDER BY policy_number LIMIT :limit"
    return db.rows(statement, {"last": last, "limit": limit})


def certificates(db: Transaction, wanted: Wanted, at: int, last: int, limit: int) -> Sequence[Row]:
    """Certificates, newest first, without their bytes; ``state`` is as ``CertificateState``.

    ``name`` is a part of the common name, or of the name of whose it is.
    """
    newest = db.one(f"SELECT coalesce(max(number), 0) AS n FROM certificates{LOOK}")
    assert newest is not None
    last = min(last, int(newest["n"]) + 1)
    first = last - _NEAR
    # Of what there is much of a page is soon met among the next ones; of anything else all are found first,
    # by an index, and then put in order.
    found = list(_certificates(db, wanted, at, first, last, limit, near=True))
    if len(found) < limit and first > 1:
        found += _certificates(db, wanted, at, 0, first, limit - len(found), near=False)
    return found


def _certificates(
    db: Transaction, wanted: Wanted, at: int, first: int, last: int, limit: int, *, near: bool
) -> Sequence[Row]:
    """Those from a number on and before another; ``near``: by their numbers, else by what narrows them."""
    of = replace(wanted, policy_number=None)  # its users, whose names need not be looked at
    terms, values = _of_people(of, also="lower(certificates.subject_cn) LIKE :common_name ESCAPE '\\'")
    # Whose they are is joined where it is asked for only: it costs as much as all the rest.
    # An inner join is begun at whom it is; those that are near, and what may stand in the certificate alone,
    # at the certificates.
    owners = _OWNERS if near or wanted.name is not None else _OWNERS.replace(" LEFT JOIN ", " JOIN ")
    joined = owners if terms else ""
    if wanted.user_id is not None:
        terms.append("certificates.holder = :user_id")
    if wanted.policy_number is not None:
        terms.append(f"certificates.holder IN ({_MEMBERS})")
        values["policy_number"] = wanted.policy_number
    terms.append(
        (_STATES[wanted.state] if wanted.state is not None else "1 = 1") + _ends("certificates", wanted)
    )
    values |= {**_ends_values(wanted), "at": at, "first": first, "last": last, "limit": limit}
    # Most have expired, so that a page of those is met by an index of all numbers sooner than all are found.
    many = wanted.state == "expired" and wanted.ends_before is wanted.ends_after is None
    some = wanted.user_id is None and wanted.policy_number is None and not joined
    by = "certificates.number" if near or (many and some) else "+certificates.number"
    terms += [f"{by} >= :first", f"{by} < :last"]
    narrowed, order = f" WHERE {all_of(terms)}", f" ORDER BY {by} DESC LIMIT :limit"
    if near or joined:
        return db.rows(f"SELECT {_CERTIFICATE} FROM certificates{joined}{narrowed}{order}{LOOK}", values)
    # The keys by the index alone: the rows are wide. In words that the partial ones have.
    partly = " AND change_number IS NOT NULL" if wanted.state == "revoked" else ""
    keys = f"SELECT number FROM certificates{narrowed}{partly}{order}"
    return db.rows(
        f"SELECT {_CERTIFICATE} FROM certificates WHERE number IN ({keys}) ORDER BY number DESC{LOOK}", values
    )


def holders(db: Transaction, issuer_id: str, at: int, last: int, limit: int) -> Sequence[Row]:
    """Certificates of an issuing CA that have not ended, newest first, with whose each is. ``followed``: the
    person has one of another issuing CA at hand; ``invited``: a request waits to be picked up."""
    return db.rows(_HOLDERS + LOOK, {"issuer_id": issuer_id, "at": at, "last": last, "limit": limit})


def holding(db: Transaction, issuer_id: str, user_id: str, at: int) -> Sequence[Row]:
    """The same of one user, all of them."""
    return db.rows(_HOLDING + ALONE, {"issuer_id": issuer_id, "user_id": user_id, "at": at})


def requests(db: Transaction, user_id: str | None, last: int, limit: int) -> Sequence[Row]:
    """Request IDs, newest first: in the order in which they were recorded, whatever the clock said."""
    # "+": a user's are found by the user, not among everybody's.
    narrowed, by = ("user_id = :user_id AND ", "+number") if user_id is not None else ("", "number")
    statement = (
        f"SELECT {ENROLLMENT_COLUMNS}, number FROM enrollments WHERE {narrowed}{by} < :last"
        f" ORDER BY {by} DESC LIMIT :limit"
    )
    return db.rows(statement, {"user_id": user_id, "last": last, "limit": limit})


@dataclass(frozen=True)
class Acts:
    """Which lines of the trail are asked for; None: whichever. ``actor`` and ``action``: how they begin;
    ``since`` and ``before``: epoch seconds."""

    subjects: Sequence[str] | None = None
    user_id: str | None = None
    actor: str | None = None
    action: str | None = None
    since: int | None = None
    before: int | None = None
    #: What this actor did, by whichever door.
    own: str | None = None


def audit(db: Transaction, wanted: Acts, last: int, limit: int) -> Sequence[Row]:
    """Lines of the trail, newest first. A user's are those about the user ID, and about every request,
    certificate, credential, whose ID is a request's, and application of theirs, and what was proposed about
    one of these."""
    # Of some thing there are few: else SQLite goes through every line that there is, for the order's sake.
    return _lines(db, wanted, last, limit, few=wanted.user_id is not None or wanted.subjects is not None)


def few_audit(db: Transaction, wanted: Acts, last: int, limit: int) -> Sequence[Row]:
    """The same where there are few of them among many: all are found first, by an index."""
    return _lines(db, wanted, last, limit, few=True)


def _lines(db: Transaction, wanted: Acts, last: int, limit: int, *, few: bool) -> Sequence[Row]:
    db.settle()
    # Among many the next ones are soon met in the order of all; few are found first, by an index.
    table, terms, values = _of_acts(wanted, _BY_INDEX if few else _IN_ORDER)
    by = "+id" if few else "id"
    keys = f"SELECT id FROM {table} WHERE {all_of([*terms, f'{by} < :last'])} ORDER BY {by} DESC LIMIT :limit"
    return db.rows(
        f"SELECT {_LINE} FROM audit WHERE id IN ({keys}) ORDER BY id DESC{LOOK}",
        {**values, "last": last, "limit": limit},
    )


def count_audit(db: Transaction, wanted: Acts) -> int:
    """How many lines are asked for."""
    db.settle()
    return count_of(db, *_of_acts(wanted))


# The first eight digits stand out in lists.
_SERIAL_SHOWN = re.compile("[0-9A-Fa-f]{8,40}")
#: How a column of a text is named where its index may find the lines, and where it may not.
_BY_INDEX, _IN_ORDER = "{}", "({} || '')"


def _of_acts(wanted: Acts, named: str = _BY_INDEX) -> tuple[str, list[str], dict[str, Any]]:
    """The table whose ``id`` are those of the lines that are asked for, terms about it, and their values.
    ``named``: how actor and action are."""
    terms, values = list[str](), dict[str, Any]()
    for column, beginning in (("actor", wanted.actor), ("action", wanted.action)):
        if beginning is not None:
            terms.append(_begins(named.format(column), column))
            values |= {column: beginning, f"{column}_end": beyond(beginning)}
    for term, name, moment in (
        ("at >= :since", "since", wanted.since),
        ("at < :before", "before", wanted.before),
    ):
        if moment is not None:
            terms.append(term)
            values[name] = moment
    if wanted.own is not None:
        terms.append(in_own_name(named.format("actor")))
        values |= own_names(wanted.own)
    if wanted.user_id is not None:
        values["user_id"] = wanted.user_id
        if not terms:
            # Counted, and put in order, by the numbers alone.
            return f"({_LINES_OF_USER}) AS found", terms, values
        terms.append(f"id IN ({_LINES_OF_USER})")
    elif wanted.subjects is not None:
        subjects = {f"subject_{number}": each for number, each in enumerate(wanted.subjects)}
        terms.append(f"subject IN ({', '.join(f':{name}' for name in subjects)})")
        values |= subjects
    return "audit", terms, values


def _begins(column: str, name: str) -> str:
    """That a column begins with a value: a range of its index."""
    return f"{column} >= :{name} AND {column} < :{name}_end"


_LINE = "id, at, actor, action, subject, why, result, detail, salt, digest, hash"


@dataclass(frozen=True)
class Letters:
    """Which letters are asked for; None: whichever. ``state``: a `mail.states.State`, a state of the table,
    or "open"; ``since`` and ``before``: when they were written, in epoch seconds."""

    state: str | None = None
    kind: str | None = None
    channel: str | None = None
    user_id: str | None = None
    since: int | None = None
    before: int | None = None


# Letters that tell a login password, and those that lead to a certificate.
_LOGIN, _PICK_UP = (
    "('user_id', 'password_reset')",
    "('pickup', 'pickup_without_password', 'issue_password', 'issue_password_admin')",
)
#: State of letters -> what it is in the table. What is "open" failed, and whom it is to, who is not stopped,
#: has been sent nothing since; where it tells a password, nothing that tells another one.
_LETTERS: Mapping[str, str] = {
    "queued": "state = 'queued'",
    "waiting": "state = 'queued' AND held_at IS NULL",
    "held": "state = 'queued' AND held_at IS NOT NULL",
    "sent": "state = 'sent'",
    "failed": "state = 'failed'",
    "refused": "state = 'failed' AND failure = 'refused'",
    "given_up": "state = 'failed' AND failure = 'given_up'",
    "bounced": "state = 'failed' AND failure = 'bounced'",
    "cancelled": "state = 'cancelled'",
    "open": "state = 'failed' AND NOT EXISTS (SELECT 1 FROM users WHERE users.user_id = mails.user_id"
    " AND users.disabled_at IS NOT NULL) AND NOT EXISTS (SELECT 1 FROM mails AS later"
    " WHERE later.user_id = mails.user_id AND later.channel = mails.channel AND later.state = 'sent'"
    " AND later.id > mails.id AND (mails.user_id <> '' OR later.recipient = mails.recipient)"
    f" AND (mails.kind NOT IN {_LOGIN} OR later.kind IN {_LOGIN})"
    f" AND (mails.kind NOT IN {_PICK_UP} OR later.kind NOT IN {_LOGIN}))",
}
LETTER_STATES = tuple(_LETTERS)


#: States of which there are few letters among many: all are found first, by an index of their own.
_FEW = frozenset(("queued", "waiting", "held", "failed", "refused", "given_up", "bounced", "open"))


def letters(db: Transaction, wanted: Letters, last: int, limit: int) -> Sequence[Row]:
    """Letters without their words, newest first: those before a number."""
    terms, values = _of_letters(wanted)
    # The keys by the index alone, since a row has the whole letter. "+": few are found first, and then put in
    # order; among many the next ones are soon met in the order of an index that has all that is asked for.
    few = wanted.user_id is not None or wanted.state in _FEW
    by = "+id" if few else "id"
    keys = f"SELECT id FROM mails WHERE {all_of([*terms, f'{by} < :last'])} ORDER BY {by} DESC LIMIT :limit"
    return db.rows(
        f"SELECT {SHOWN} FROM mails WHERE id IN ({keys}) ORDER BY id DESC{LOOK}",
        {**values, "last": last, "limit": limit},
    )


def count_letters(db: Transaction, wanted: Letters, since: int = 0) -> int:
    """How many there are; ``since``: of this number and newer."""
    terms, values = _of_letters(wanted)
    if since:
        # "+id": by an index that has all of it, and not by the letters themselves.
        terms.append("+id >= :first")
    return count_of(db, "mails", terms, {**values, "first": since})


def _of_letters(wanted: Letters) -> tuple[list[str], dict[str, Any]]:
    terms = [] if wanted.state is None else [f"({_LETTERS[wanted.state]})"]
    values = {"kind": wanted.kind, "channel": wanted.channel, "user_id": wanted.user_id}
    terms += [f"{name} = :{name}" for name, value in values.items() if value is not None]
    for term, moment in (("created_at >= :since", wanted.since), ("created_at < :before", wanted.before)):
        if moment is not None:
            terms.append(term)
    return terms, {**values, "since": wanted.since, "before": wanted.before}


@dataclass(frozen=True)
class Applied:
    """Which applications are asked for; None: whichever. ``since`` and ``before``: when they were
    submitted, in epoch seconds."""

    state: str | None = None
    kind: str | None = None
    channel: str | None = None
    policy_number: str | None = None
    user_id: str | None = None
    since: int | None = None
    before: int | None = None


def applied(
    db: Transaction, wanted: Applied, newest: bool, after: tuple[int, int] | None, limit: int
) -> list[Application]:
    """Applications as they came, or ``newest`` first; ``after`` one of them (when it was
    submitted, its number)."""
    terms, values = _of_applications(wanted)
    if after is not None:
        terms.append(_BEHIND[newest])
        values |= {"last_at": after[0], "last_id": after[1]}
    order = "submitted_at DESC, id DESC" if newest else "submitted_at, id"
    statement = f"SELECT * FROM applications WHERE {all_of(terms)} ORDER BY {order} LIMIT :limit"
    return [as_application(row) for row in db.rows(statement, {**values, "limit": limit})]


def count_applied(
    db: Transaction, wanted: Applied, newest: bool = False, up_to: tuple[int, int] | None = None
) -> int:
    """How many there are; ``up_to`` and with one of them, in the order of `applied`."""
    terms, values = _of_applications(wanted)
    if up_to is not None:
        terms.append(f"NOT {_BEHIND[newest]}")
        values |= {"last_at": up_to[0], "last_id": up_to[1]}
    return count_of(db, "applications", terms, values)


def _of_applications(wanted: Applied) -> tuple[list[str], dict[str, Any]]:
    terms, values = list[str](), dict[str, Any]()
    for column in ("state", "kind", "channel", "policy_number", "user_id"):
        value = getattr(wanted, column)
        if value is not None:
            terms.append(f"{column} = :{column}")
            values[column] = value
    for term, name, moment in (
        ("submitted_at >= :since", "since", wanted.since),
        ("submitted_at < :before", "before", wanted.before),
    ):
        if moment is not None:
            terms.append(term)
            values[name] = moment
    return terms, values


#: Whether newest first -> what comes behind a row.
_BEHIND: Mapping[bool, str] = {
    False: "(submitted_at >= :last_at AND (submitted_at > :last_at OR id > :last_id))",
    True: "(submitted_at <= :last_at AND (submitted_at < :last_at OR id < :last_id))",
}

_OF_HOLDERS = (
    "SELECT c.number AS number, c.serial, c.subject_cn AS common_name, c.not_after_at, c.status, e.door,"
    " u.user_id, u.name, u.mail, u.language, u.policy_number,"
    " EXISTS (SELECT 1 FROM enrollments f JOIN certificates o ON o.serial = f.serial"
    " WHERE f.user_id = u.user_id AND f.door = e.door AND f.state IN ('picked_up', 'in_use')"
    " AND o.issuer_id <> c.issuer_id AND o.status = 'issued' AND o.not_after_at >= :at) AS followed,"
    " EXISTS (SELECT 1 FROM enrollments w WHERE w.user_id = u.user_id AND w.kind IN ('addition', 'reissue')"
    " AND w.window_ends_at > :at AND (w.state IN ('accepted', 'announced', 'authenticated', 'processing')"
    " OR w.state = 'issued' AND w.serial <> c.serial)) AS invited"
    " FROM certificates c JOIN enrollments e ON e.serial = c.serial JOIN users u ON u.user_id = e.user_id"
    " WHERE c.issuer_id = :issuer_id AND c.status IN ('issued', 'held') AND c.not_after_at >= :at"
)
_HOLDERS = f"{_OF_HOLDERS} AND c.number < :last ORDER BY c.number DESC LIMIT :limit"
_HOLDING = f"{_OF_HOLDERS} AND e.user_id = :user_id"
_OF_USER = (
    "SELECT CAST(:user_id AS TEXT) UNION SELECT request_id FROM enrollments WHERE user_id = :user_id"
    " UNION SELECT serial FROM enrollments WHERE user_id = :user_id AND serial IS NOT NULL"
)
_APPLICATIONS_OF_USER = (
    "SELECT CAST(id AS TEXT) FROM applications WHERE user_id = :user_id"
    " UNION SELECT CAST(application_id AS TEXT) FROM enrollments WHERE user_id = :user_id"
    " AND application_id IS NOT NULL"
)
_PROPOSALS_ABOUT_USER = (
    f"SELECT CAST(number AS TEXT) FROM proposals WHERE subject IN ({_OF_USER})"
    f" OR (subject IN ({_APPLICATIONS_OF_USER}) AND kind LIKE 'application.%')"
)
#: Applications, proposals and jobs each count from 1: such a subject is one with its kind of action only.
_LINES_OF_USER = (
    f"SELECT id FROM audit WHERE subject IN ({_OF_USER})"
    f" UNION SELECT id FROM audit WHERE subject IN ({_APPLICATIONS_OF_USER}) AND action LIKE 'application.%'"
    f" UNION SELECT id FROM audit WHERE subject IN ({_PROPOSALS_ABOUT_USER}) AND action LIKE 'proposal.%'"
)
_CERTIFICATE = (
    "certificates.number AS number, certificates.serial, certificates.issuer_id, certificates.profile,"
    " status, subject_cn, certificates.not_before_at, certificates.not_after_at, certificates.issued_at,"
    " fingerprint, held_at, revoked_at, revocation_reason, order_id"
)
_MEMBERS = "SELECT user_id FROM users WHERE policy_number = :policy_number"
_OWNERS = " LEFT JOIN users ON users.user_id = certificates.holder"
#: What a state means of a row of ours. An end has come when its second is over (RFC 5280 section 4.1.2.5).
_STATES: Mapping[str, str] = {
    "reserved": "status = 'reserved'",
    "issued": "status = 'issued' AND certificates.not_after_at >= :at",
    "expired": "status = 'issued' AND certificates.not_after_at < :at",
    "held": "status = 'held'",
    "revoked": "status = 'revoked'",
}


def _of_people(wanted: Wanted, also: str = "1 = 0") -> tuple[list[str], dict[str, Any]]:
    """Terms about the table ``users``, and their values."""
    terms, values = [], dict[str, Any]()
    if wanted.policy_number is not None:
        terms.append("users.policy_number = :policy_number")
        values["policy_number"] = wanted.policy_number
    if wanted.name is not None:
        terms.append(f"(users.name_key LIKE :name ESCAPE '\\' OR {also})")
        values |= {"name": _part(name_key(wanted.name)), "common_name": _part(wanted.name.strip().lower())}
    if wanted.mail is not None:
        terms.append("users.mail_key LIKE :mail ESCAPE '\\'")
        values["mail"] = _part(tidy_mail(wanted.mail).casefold())
    values["user_id"] = wanted.user_id
    return terms, values


def _part(text: str) -> str:
    """The text anywhere, as a pattern of LIKE."""
    escaped = "".join("\\" + c if c in "%_\\" else c for c in text)
    return f"%{escaped}%"


def _ends(table: str, wanted: Wanted) -> str:
    before = f" AND {table}.not_after_at < :ends_before" if wanted.ends_before is not None else ""
    after = f" AND {table}.not_after_at >= :ends_after" if wanted.ends_after is not None else ""
    return before + after


def _ends_values(wanted: Wanted) -> dict[str, Any]:
    return {"ends_before": wanted.ends_before, "ends_after": wanted.ends_after}


# -- the search box ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Term:
    """What is looked for, by the name of a statement below: from ``low`` on, and before ``high``."""

    name: str
    low: str | int
    high: str | int


def beyond(beginning: str) -> str:
    """What comes after every text that begins so: they are in the order of their code points."""
    return f"{beginning}\U0010ffff"


def serials_like(db: Transaction, typed: str, limit: int) -> list[str]:
    """Serials of the certificates that have a common name, or whose serial begins so, as lists show it."""
    terms, values = ["subject_cn IN (:typed, :upper)"], {"typed": typed, "upper": typed.upper()}
    if _SERIAL_SHOWN.fullmatch(typed):
        terms.append(_begins("serial", "serial"))
        values |= {"serial": typed.lower(), "serial_end": beyond(typed.lower())}
    statement = (
        f"SELECT serial FROM certificates WHERE {' OR '.join(terms)} ORDER BY serial LIMIT :limit{LOOK}"
    )
    return [row["serial"] for row in db.rows(statement, {**values, "limit": limit})]


#: Group -> term -> the keys that it finds: a range of an index each, never a part of a text.
_MATCHES: Mapping[str, Mapping[str, str]] = {
    "users": {
        "user_id": "SELECT user_id AS found FROM users WHERE user_id >= :{0} AND user_id < :{1}"
        " AND erased_at IS NULL",
        "mail": "SELECT user_id AS found FROM users WHERE mail_key >= :{0} AND mail_key < :{1}",
        "name": "SELECT id AS found FROM search_keys WHERE kind = 'user' AND key >= :{0} AND key < :{1}",
        # Of an organisation that is named in full.
        "member": "SELECT user_id AS found FROM users WHERE policy_number = :{0} AND erased_at IS NULL",
    },
    "organisations": {
        "policy_number": "SELECT policy_number AS found FROM organisations"
        " WHERE policy_number >= :{0} AND policy_number < :{1}",
        "name": "SELECT id AS found FROM search_keys WHERE kind = 'organisation'"
        " AND key >= :{0} AND key < :{1}",
    },
    "requests": {
        "request_id": "SELECT number AS found FROM enrollments WHERE request_id >= :{0} AND request_id < :{1}"
    },
    "certificates": {
        "serial": "SELECT number AS found FROM certificates WHERE serial >= :{0} AND serial < :{1}",
        "common_name": "SELECT number AS found FROM certificates"
        " WHERE subject_cn >= :{0} AND subject_cn < :{1}",
        # Those in somebody's hands, or on the way there; by the index that such days have already.
        "day": "SELECT c.number AS found FROM enrollments e JOIN certificates c ON c.serial = e.serial"
        " WHERE e.state IN ('issued', 'picked_up', 'in_use')"
        " AND e.not_after_at >= :{0} AND e.not_after_at < :{1}",
    },
}
_OF_USERS = (
    "users.user_id, users.policy_number, users.name, users.reading, users.mail, users.mail_key, users.role,"
    " users.disabled_at, organisations.name AS organisation,"
    " organisations.disabled_at AS organisation_disabled_at"
)
_HOLDER = "users.user_id, users.name, users.policy_number"
#: Group -> its rows, the column that orders them, whether the newest comes first.
_ROWS: Mapping[str, tuple[str, str, bool]] = {
    "users": (
        f"SELECT {_OF_USERS} FROM users"
        " JOIN organisations ON organisations.policy_number = users.policy_number",
        "users.user_id",
        False,
    ),
    "organisations": (
        "SELECT organisations.policy_number, organisations.name, organisations.disabled_at,"
        " (SELECT count(*) FROM users WHERE users.policy_number = organisations.policy_number) AS members"
        " FROM organisations",
        "organisations.policy_number",
        False,
    ),
    "requests": (
        "SELECT enrollments.number AS number, enrollments.request_id, enrollments.kind, enrollments.user_id,"
        " enrollments.state, enrollments.common_name, enrollments.profile, enrollments.door,"
        " enrollments.created_at, enrollments.submitted_at, enrollments.window_ends_at,"
        " enrollments.ended_at, enrollments.not_after_at, users.name, users.policy_number"
        " FROM enrollments JOIN users ON users.user_id = enrollments.user_id",
        "enrollments.number",
        True,
    ),
    "certificates": (
        f"SELECT {_CERTIFICATE}, {_HOLDER} FROM certificates{_OWNERS}",
        "certificates.number",
        True,
    ),
}
#: Group -> the column by which its next page is found.
KEYS: Mapping[str, str] = {
    "users": "user_id",
    "organisations": "policy_number",
    "requests": "number",
    "certificates": "number",
}


def count_matches(db: Transaction, group: str, terms: Sequence[Term]) -> int:
    """How many things of a group at least one term finds."""
    found, values = keys(group, terms)
    row = db.one(f"SELECT count(*) AS n FROM ({found}) AS matches{LOOK}", values)
    assert row is not None
    return int(row["n"])


def matches(db: Transaction, group: str, terms: Sequence[Term], after: str, limit: int) -> Sequence[Row]:
    """So many of them after a row, whose key is ``after``; from the beginning for ""."""
    found, values = keys(group, terms)
    rows, column, newest_first = _ROWS[group]
    compared, order = ("<", "DESC") if newest_first else (">", "ASC")
    last: str | int = after
    if newest_first:
        typed = number_in(after, 18)
        last = 2**62 if typed is None else typed
    statement = (
        f"{rows} WHERE {column} IN ({found}) AND {column} {compared} :last"
        f" ORDER BY {column} {order} LIMIT :limit"
    )
    return db.rows(statement, {**values, "last": last, "limit": limit})


def keys(group: str, terms: Sequence[Term]) -> tuple[str, dict[str, str | int]]:
    """What finds the keys of those of a group that at least one term finds, and its values."""
    parts, values = [], dict[str, str | int]()
    for number, term in enumerate(terms):
        low, high = f"low_{number}", f"high_{number}"
        parts.append(_MATCHES[group][term.name].format(low, high))
        values |= {low: term.low, high: term.high}
    return " UNION ".join(parts), values
