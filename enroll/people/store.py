"""Every statement about organisations, users and what they apply for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from ca.storage import ALONE, LOOK, Row, Transaction, Values, inserting, together
from enroll.languages import Language
from enroll.people.postal import FIELDS as POSTAL
from enroll.people.postal import address_of
from enroll.people.sameness import mail_key, name_key, search_keys

Db = Transaction
# Most works rely on an organisation, and few change one.
_OF_MANY = together("organisations")

#: The reason of an application that stops certificates as soon as it is made.
THEFT = "lost_or_stolen"

#: How issue passwords reach people: in the pick-up mail, by postcard, or through a 管理者 (E14).
PasswordBy = Literal["mail", "postcard", "admin"]


@dataclass(frozen=True)
class Organisation:
    """A customer organisation, known by its 証券番号."""

    policy_number: str
    name: str
    created_at: int
    lineages: int | None = None
    issue_password_by: PasswordBy = "mail"
    disabled_at: int | None = None
    #: Of its people's certificates; empty: the setting ``person_profile``.
    profile: str = ""
    #: Two letters of ISO 3166; empty: not recorded.
    country: str = ""
    #: Where postcards to its users go (`enroll/people/postal.py`); empty: not recorded.
    postal_code: str = ""
    prefecture: str = ""
    city: str = ""
    street: str = ""
    building: str = ""
    addressee: str = ""

    @property
    def address(self) -> str:
        """That on one line; "" where none is recorded."""
        return address_of(self).line


@dataclass(frozen=True)
class User:
    """A person with a user ID. The hash is argon2id and never shown."""

    user_id: str
    policy_number: str
    name: str
    mail: str
    role: Literal["member", "admin"]
    notice_by: Literal["mail", "postcard"]
    password_hash: str
    password_initial: bool
    last_number: int
    created_at: int
    disabled_at: int | None = None
    #: Since when nothing personal is here (`enroll/retention`).
    erased_at: int | None = None
    #: Counts how often everything that lets programs act for the user was ended, and when last.
    generation: int = 0
    generation_at: int | None = None
    #: Of the mails, and of the screens where nothing else was chosen.
    language: Language = "ja"
    #: What a certificate may say of the user (`enroll/people/facts.py`); empty: not recorded. ``principal``:
    #: the name that a Windows domain knows the user by (UPN).
    department: str = ""
    principal: str = ""
    #: フリガナ; empty: not recorded.
    reading: str = ""
    #: Where postcards go; empty: to the organisation.
    postal_code: str = ""
    prefecture: str = ""
    city: str = ""
    street: str = ""
    building: str = ""
    addressee: str = ""

    @property
    def password_mark(self) -> str:
        """Names the login password, and tells nothing of it: every change makes another one."""
        return hashlib.sha256(self.password_hash.encode()).hexdigest()


@dataclass(frozen=True)
class Application:
    """What an organisation asked for, online or on paper, and what was decided."""

    id: int
    kind: Literal["addition", "reissue"]
    channel: Literal["online", "paper"]
    reason: str
    policy_number: str
    user_id: str
    person: Mapping[str, str]
    revoke_old: Literal["on_pickup", "at_once"]
    applied_by: str
    state: Literal["submitted", "approved", "rejected", "withdrawn"]
    submitted_at: int
    decided_at: int | None = None
    decided_by: str | None = None
    note: str = ""
    request_id: str | None = None
    #: Why it was turned down: a code of `applications.REJECTIONS`.
    rejection: str = ""
    erased_at: int | None = None


# -- organisations and users ---------------------------------------------------------------------


def add_organisation(db: Db, organisation: Organisation) -> bool:
    """Records an organisation; False when the 証券番号 is taken."""
    added = _insert_new(db, "organisations", asdict(organisation))
    if added:
        _keep_keys(db, "organisation", organisation.policy_number, organisation.name)
    return added


def organisation(db: Db, policy_number: str, *, alone: bool = False) -> Organisation | None:
    """``alone``: for a write that adds to what the organisation has, or changes it, as nobody else does."""
    row = db.one(
        f"SELECT * FROM organisations WHERE policy_number = :policy_number{'' if alone else _OF_MANY}",
        {"policy_number": policy_number},
    )
    return None if row is None else Organisation(**row)


def organisations(db: Db) -> list[Organisation]:
    return [
        Organisation(**row) for row in db.rows(f"SELECT * FROM organisations ORDER BY policy_number{LOOK}")
    ]


def chosen_profiles(db: Db) -> list[tuple[str, str]]:
    """(証券番号, profile) of each organisation that has one of its own."""
    found = db.rows(
        f"SELECT policy_number, profile FROM organisations WHERE profile <> '' ORDER BY policy_number{LOOK}"
    )
    return [(str(row["policy_number"]), str(row["profile"])) for row in found]


def count_users(db: Db) -> dict[str, int]:
    """How many users each organisation has that has any."""
    return _counts(db.rows(f"SELECT policy_number, count(*) FROM users GROUP BY policy_number{LOOK}"))


def change_organisation(db: Db, policy_number: str, changed: Organisation) -> None:
    """Writes what is different about an organisation; users and applications follow a new 証券番号."""
    if changed.policy_number == policy_number:
        db.execute(
            "UPDATE organisations SET name = :name, lineages = :lineages,"
            f" issue_password_by = :issue_password_by, profile = :profile, country = :country, {_POSTAL}"
            " WHERE policy_number = :policy_number",
            asdict(changed),
        )
        _change_keys(db, "organisation", policy_number, changed.name)
        return
    _insert(db, "organisations", asdict(changed))
    _change_keys(db, "organisation", policy_number)
    _keep_keys(db, "organisation", changed.policy_number, changed.name)
    for table in ("users", "applications"):
        db.execute(
            f"UPDATE {table} SET policy_number = :changed WHERE policy_number = :policy_number",
            {"changed": changed.policy_number, "policy_number": policy_number},
        )
    asked = {"policy_number": changed.policy_number}
    for row in db.rows(
        "SELECT id, person FROM applications"
        " WHERE policy_number = :policy_number AND kind = 'addition' AND state = 'submitted'",
        asked,
    ):
        db.execute(
            "UPDATE applications SET person = :person WHERE id = :id",
            {"person": _person(json.loads(row["person"]) | asked), "id": row["id"]},
        )
    db.execute(
        "DELETE FROM organisations WHERE policy_number = :policy_number", {"policy_number": policy_number}
    )


def disable_organisation(db: Db, policy_number: str, at: int) -> bool:
    """Disables an organisation; False when unknown or disabled already."""
    statement = (
        "UPDATE organisations SET disabled_at = :at WHERE policy_number = :policy_number AND"
        " disabled_at IS NULL"
    )
    changed = _changed(db, statement, {"at": at, "policy_number": policy_number})
    return _noted(db, changed, "organisation.disabled", policy_number=policy_number, at=at)


def enable_organisation(db: Db, policy_number: str) -> bool:
    """Enables a disabled organisation; False when unknown or not disabled."""
    statement = (
        "UPDATE organisations SET disabled_at = NULL WHERE policy_number = :policy_number AND"
        " disabled_at IS NOT NULL"
    )
    changed = _changed(db, statement, {"policy_number": policy_number})
    return _noted(db, changed, "organisation.enabled", policy_number=policy_number)


def add_user(db: Db, user: User) -> bool:
    """Records a user; False when the user ID is taken."""
    row = asdict(user) | {"password_initial": int(user.password_initial)}
    added = _insert_new(db, "users", row | _person_keys(user.name, user.mail))
    if added:
        _keep_keys(db, "user", user.user_id, user.name, user.reading)
    return added


def same_person(db: Db, policy_number: str, name: str, mail: str) -> list[str]:
    """The user IDs that somebody has in an organisation, whichever way name and address are written."""
    found = db.rows(
        "SELECT user_id FROM users WHERE policy_number = :policy_number AND name_key = :name_key"
        " AND mail_key = :mail_key ORDER BY created_at, user_id",
        {"policy_number": policy_number} | _person_keys(name, mail),
    )
    return [str(row["user_id"]) for row in found]


def users_alike(db: Db, policy_number: str, name: str, mail: str) -> list[User]:
    """Who has the mail address, in whichever organisation, or the name in this one, however written."""
    found = db.rows(
        f"SELECT {USER_COLUMNS} FROM users WHERE mail_key = :mail_key"
        f" UNION SELECT {USER_COLUMNS} FROM users WHERE name_key = :name_key"
        f" AND policy_number = :policy_number ORDER BY user_id{LOOK}",
        {"policy_number": policy_number} | _person_keys(name, mail),
    )
    return [as_user(row) for row in found]


def _person_keys(name: str, mail: str) -> dict[str, str]:
    return {"name_key": name_key(name), "mail_key": mail_key(mail)}


def _keep_keys(db: Db, kind: str, identifier: str, *names: str) -> None:
    """Has somebody new found by their names."""
    for key in sorted(search_keys(*names)):
        db.execute(
            "INSERT INTO search_keys (kind, key, id) VALUES (:kind, :key, :id)",
            {"kind": kind, "key": key, "id": identifier},
        )


def _change_keys(db: Db, kind: str, identifier: str, *names: str) -> None:
    """The same for other names than before; for none nobody is found any more."""
    values = {"kind": kind, "id": identifier}
    db.execute("DELETE FROM search_keys WHERE kind = :kind AND id = :id", values)
    _keep_keys(db, kind, identifier, *names)


def user(db: Db, user_id: str) -> User | None:
    row = db.one(f"SELECT {USER_COLUMNS} FROM users WHERE user_id = :user_id", {"user_id": user_id})
    return None if row is None else as_user(row)


def known_users(db: Db, user_ids: Iterable[str]) -> list[str]:
    """Those of some user IDs that are somebody's."""
    asked, found = sorted(set(user_ids)), list[str]()
    for begin in range(0, len(asked), _AT_ONCE):
        values = {f"u{place}": each for place, each in enumerate(asked[begin : begin + _AT_ONCE])}
        some = ", ".join(f":{name}" for name in values)
        rows = db.rows(f"SELECT user_id FROM users WHERE user_id IN ({some}){LOOK}", values)
        found += [str(row[0]) for row in rows]
    return found


# So many users are asked about by one statement.
_AT_ONCE = 500


def active_user(db: Db, user_id: str) -> User | None:
    """The user, unless it or its organisation is disabled."""
    row = db.one(
        f"SELECT {USER_COLUMNS} FROM users JOIN organisations USING (policy_number)"
        " WHERE user_id = :user_id AND users.disabled_at IS NULL AND organisations.disabled_at IS NULL"
        f"{_OF_MANY}",
        {"user_id": user_id},
    )
    return None if row is None else as_user(row)


def user_in_force(db: Db, user_id: str) -> tuple[User | None, bool]:
    """`active_user`, and of an active one whether a theft is reported (`theft_reported`)."""
    found = active_user(db, user_id)
    # A statement of its own, after the user is held: a report that came in between is seen.
    return found, found is not None and theft_reported(db, user_id)


def end_generation(db: Db, user_id: str, at: int) -> None:
    """Ends whatever was given to the user's programs up to now: each remembers the generation it is of."""
    db.execute(
        "UPDATE users SET generation = generation + 1, generation_at = :at WHERE user_id = :user_id",
        {"at": at, "user_id": user_id},
    )
    db.note("generation.ended", user_id=user_id, at=at)


def users(db: Db, policy_number: str | None = None) -> list[User]:
    """All users, or those of one organisation, by user ID."""
    if policy_number is None:
        return [as_user(row) for row in db.rows(f"SELECT {USER_COLUMNS} FROM users ORDER BY user_id")]
    found = db.rows(
        f"SELECT {USER_COLUMNS} FROM users WHERE policy_number = :policy_number ORDER BY user_id",
        {"policy_number": policy_number},
    )
    return [as_user(row) for row in found]


def administrator(db: Db, policy_number: str, but: str) -> User | None:
    """The organisation's active 管理者 of the longest standing, other than one user."""
    row = db.one(
        f"SELECT {USER_COLUMNS} FROM users WHERE policy_number = :policy_number AND role = 'admin' AND"
        " disabled_at IS NULL"
        " AND user_id <> :but ORDER BY created_at, user_id LIMIT 1",
        {"policy_number": policy_number, "but": but},
    )
    return None if row is None else as_user(row)


def administrators(db: Db, policy_number: str) -> list[User]:
    """The organisation's active 管理者, by user ID; none of an organisation that is disabled."""
    found = db.rows(
        f"SELECT {USER_COLUMNS} FROM users WHERE policy_number = :policy_number AND role = 'admin'"
        " AND disabled_at IS NULL AND EXISTS (SELECT 1 FROM organisations WHERE"
        " organisations.policy_number = :policy_number AND organisations.disabled_at IS NULL)"
        f" ORDER BY user_id{ALONE}",
        {"policy_number": policy_number},
    )
    return [as_user(row) for row in found]


def disable_user(db: Db, user_id: str, at: int) -> bool:
    """Disables a user; False when unknown or disabled already."""
    changed = _changed(
        db,
        "UPDATE users SET disabled_at = :at WHERE user_id = :user_id AND disabled_at IS NULL",
        {"at": at, "user_id": user_id},
    )
    return _noted(db, changed, "user.disabled", user_id=user_id, at=at)


def enable_user(db: Db, user_id: str) -> bool:
    """Enables a disabled user; False when unknown or not disabled."""
    changed = _changed(
        db,
        "UPDATE users SET disabled_at = NULL WHERE user_id = :user_id AND disabled_at IS NOT NULL",
        {"user_id": user_id},
    )
    return _noted(db, changed, "user.enabled", user_id=user_id)


def forget_user(db: Db, user_id: str, request_id: str) -> None:
    """Takes a user away whom nothing was ever told, with the request and the application that came first."""
    values = {"user_id": user_id, "request_id": request_id}
    db.execute("DELETE FROM enrollments WHERE request_id = :request_id AND user_id = :user_id", values)
    db.execute("DELETE FROM applications WHERE user_id = :user_id AND request_id = :request_id", values)
    db.execute("DELETE FROM users WHERE user_id = :user_id", values)
    _change_keys(db, "user", user_id)


def forget_organisation(db: Db, policy_number: str) -> bool:
    """Takes an organisation away that nobody belongs to; False if somebody does, or has applied."""
    statement = (
        "DELETE FROM organisations WHERE policy_number = :number"
        " AND NOT EXISTS (SELECT 1 FROM users WHERE policy_number = :number)"
        " AND NOT EXISTS (SELECT 1 FROM applications WHERE policy_number = :number)"
    )
    gone = _changed(db, statement, {"number": policy_number})
    if gone:
        _change_keys(db, "organisation", policy_number)
    return gone


def set_password(db: Db, user_id: str, expected_hash: str, password_hash: str) -> bool:
    """Replaces a login password chosen by the user; False when somebody else changed it meanwhile."""
    changed = _changed(
        db,
        "UPDATE users SET password_hash = :password_hash, password_initial = 0 WHERE user_id = :user_id"
        " AND password_hash = :expected_hash",
        {"password_hash": password_hash, "user_id": user_id, "expected_hash": expected_hash},
    )
    return _noted(db, changed, "password.ended", user_id=user_id)


def reset_password(db: Db, user_id: str, password_hash: str) -> None:
    """Replaces whatever login password there is by a first one."""
    db.execute(
        "UPDATE users SET password_hash = :password_hash, password_initial = 1 WHERE user_id = :user_id",
        {"password_hash": password_hash, "user_id": user_id},
    )
    db.note("password.ended", user_id=user_id)


_FACTS = (
    "policy_number", "name", "mail", "role", "notice_by", "language", "department", "principal", "reading",
    *POSTAL,
)  # fmt: skip
_POSTAL = ", ".join(f"{name} = :{name}" for name in POSTAL)


def change_user(db: Db, changed: User) -> None:
    """Writes the facts about a user; password, numbers and generation stay."""
    db.execute(
        "UPDATE users SET policy_number = :policy_number, name = :name, mail = :mail, role = :role,"
        " notice_by = :notice_by, language = :language, department = :department, principal = :principal,"
        f" reading = :reading, name_key = :name_key, mail_key = :mail_key, {_POSTAL}"
        " WHERE user_id = :user_id",
        {name: getattr(changed, name) for name in _FACTS}
        | {"user_id": changed.user_id}
        | _person_keys(changed.name, changed.mail),
    )
    _change_keys(db, "user", changed.user_id, changed.name, changed.reading)


def next_number(db: Db, user_id: str) -> int:
    """Takes the user's next 管理番号."""
    row = db.one(
        "UPDATE users SET last_number = last_number + 1 WHERE user_id = :user_id RETURNING last_number",
        {"user_id": user_id},
    )
    if row is None:
        raise LookupError(user_id)
    number = int(row["last_number"])
    db.note("number", user_id=user_id, number=number)
    return number


def raise_number(db: Db, user_id: str, number: int) -> bool:
    """The user's next 管理番号 is above this one; False when it was, or there is no such user."""
    changed = _changed(
        db,
        "UPDATE users SET last_number = :number WHERE user_id = :user_id AND last_number < :number",
        {"number": number, "user_id": user_id},
    )
    return _noted(db, changed, "number", user_id=user_id, number=number)


#: Of the table ``users``: what two people are compared by is no fact about either.
USER_COLUMNS = ", ".join(f"users.{field.name}" for field in fields(User))
_INITIAL = [field.name for field in fields(User)].index("password_initial")


def as_user(row: Row) -> User:
    """A row of ``USER_COLUMNS``."""
    return user_of(row)


def user_of(values: Iterable[Any]) -> User:
    """The values of ``USER_COLUMNS``, in their order."""
    found = list(values)
    found[_INITIAL] = bool(found[_INITIAL])
    return User(*found)


# -- applications --------------------------------------------------------------------------------


def add_application(db: Db, application: Application) -> int:
    """Records an application and returns its number; ``application.id`` is ignored."""
    row = asdict(application) | {"person": _person(dict(application.person))}
    del row["id"]
    number = db.one(f"{inserting('applications', row)} RETURNING id", row)
    assert number is not None
    return int(number[0])


def application(db: Db, number: int) -> Application | None:
    row = db.one("SELECT * FROM applications WHERE id = :number", {"number": number})
    return None if row is None else as_application(row)


def applications(
    db: Db,
    state: str | None = None,
    user_id: str | None = None,
    policy_number: str | None = None,
    *,
    before: int = 2**62,
    limit: int = 2**62,
) -> list[Application]:
    """Applications, newest first, narrowed by whatever is given; ``limit`` of those before a number."""
    wanted = {"state": state, "user_id": user_id, "policy_number": policy_number}
    given = {column: value for column, value in wanted.items() if value is not None}
    where = " AND ".join(f"{column} = :{column}" for column in given) or "1 = 1"
    found = db.rows(
        f"SELECT * FROM applications WHERE {where} AND id < :before ORDER BY id DESC LIMIT :limit",
        {**given, "before": before, "limit": limit},
    )
    return [as_application(row) for row in found]


def theft_reported(db: Db, user_id: str) -> bool:
    """Whether a report of theft waits for a decision: until then nothing of the user's counts."""
    found = db.one(_THEFT, {"user_id": user_id, "theft": THEFT})
    return found is not None


_THEFT = (
    "SELECT 1 FROM applications WHERE"
    " applications.user_id = :user_id AND applications.kind = 'reissue' AND applications.reason = :theft"
    " AND applications.state = 'submitted'"
)
#: The same as a part of a statement that only looks. Where it is so, `theft_reported` asks again, and holds.
THEFT_WAITS = f"EXISTS ({_THEFT})"


def move_applications(db: Db, user_id: str, policy_number: str) -> None:
    """Takes a user's open applications along into another organisation."""
    db.execute(
        "UPDATE applications SET policy_number = :policy_number WHERE user_id = :user_id AND kind = 'reissue'"
        " AND state = 'submitted'",
        {"policy_number": policy_number, "user_id": user_id},
    )


def decide_application(
    db: Db,
    number: int,
    state: str,
    decided_by: str,
    at: int,
    note: str,
    request_id: str | None,
    rejection: str = "",
) -> bool:
    """Approves or rejects; False when it was decided already."""
    return _changed(
        db,
        "UPDATE applications SET state = :state, decided_by = :decided_by, decided_at = :at, note ="
        " :note, request_id = :request_id, rejection = :rejection"
        " WHERE id = :number AND state = 'submitted'",
        {
            "state": state,
            "decided_by": decided_by,
            "at": at,
            "note": note,
            "request_id": request_id,
            "rejection": rejection,
            "number": number,
        },
    )


def hasten_application(db: Db, number: int, reason: str) -> bool:
    """Has an open application end the old certificate at once, and be about a theft if this one is.

    False when it was decided, or is as urgent already.
    """
    changed = db.execute(
        "UPDATE applications SET reason = :reason, revoke_old = 'at_once' WHERE id = :number"
        " AND state = 'submitted' AND reason <> :theft AND (revoke_old <> 'at_once' OR :reason = :theft)",
        {"reason": reason, "number": number, "theft": THEFT},
    )
    return changed > 0


def as_application(row: Row) -> Application:
    """A row of the table."""
    return Application(**{**row, "person": json.loads(row["person"])})


def _person(person: Mapping[str, str]) -> str:
    return json.dumps(person, ensure_ascii=False)


def _changed(db: Db, statement: str, values: Values) -> bool:
    return db.execute(statement, values) > 0


def _noted(db: Db, changed: bool, kind: str, **facts: Any) -> bool:
    """Has the journal tell of what changed; whether it did."""
    if changed:
        db.note(kind, **facts)
    return changed


def _insert(db: Db, table: str, row: Values) -> None:
    db.execute(inserting(table, row), row)


def _insert_new(db: Db, table: str, row: Values) -> bool:
    return db.execute(f"{inserting(table, row)} ON CONFLICT DO NOTHING", row) > 0


def _counts(found: Iterable[Row]) -> dict[str, int]:
    return {row[0]: row[1] for row in found}
