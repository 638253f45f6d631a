"""The mails: written from templates, queued in the transaction of their cause, sealed until accepted.

A template's first line is ``Subject: ...``, then an empty line, then the body. An operator's file of
the same name in the data directory's ``templates/`` takes the place of ours.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import jinja2
import sqlite_utils

from ca.database import rows
from ca.errors import ConfigError
from ca.files import read_file
from ca.sealing import Vault

Kind = Literal[
    "pickup",
    "pickup_without_password",
    "issue_password",
    "issue_password_admin",
    "user_id",
    "password_reset",
    "renewal_30",
    "renewal_7",
]

#: Kind -> the template it is written from.
TEMPLATES: dict[Kind, str] = {
    "pickup": "pickup.txt",
    "pickup_without_password": "pickup_without_password.txt",
    "issue_password": "issue_password.txt",
    "issue_password_admin": "issue_password_admin.txt",
    "user_id": "user_id.txt",
    "password_reset": "password_reset.txt",
    "renewal_30": "renewal.txt",
    "renewal_7": "renewal.txt",
}
#: Values that only the recipient may read; operators see them masked.
SECRETS = frozenset({"issue_password", "login_password"})
MASK = "＊＊＊＊＊＊＊＊"

_PURPOSE = "mail"


@dataclass(frozen=True)
class Letter:
    """A mail or postcard that is ready to be queued.

    ``cause`` names why it exists, once: a second letter of the same cause is not queued.
    """

    cause: str
    kind: Kind
    channel: Literal["mail", "postcard"]
    user_id: str
    request_id: str | None
    recipient: str
    subject: str
    body: str
    shown_body: str


@dataclass(frozen=True)
class Queued:
    """A letter in the queue, opened for delivery."""

    id: int
    kind: Kind
    channel: Literal["mail", "postcard"]
    user_id: str
    request_id: str | None
    recipient: str
    subject: str
    body: str
    attempts: int
    created_at: int


def write_letter(
    kind: Kind,
    *,
    cause: str,
    channel: Literal["mail", "postcard"],
    user_id: str,
    recipient: str,
    values: dict[str, str],
    request_id: str | None = None,
    templates: Path | None = None,
) -> Letter:
    """Renders a letter twice: as it is sent, and as operators may see it.

    Raises ConfigError when an operator's template is broken or asks for an unknown value.
    """
    subject, body = _render(kind, values, templates)
    masked = {name: MASK if name in SECRETS else value for name, value in values.items()}
    _, shown = _render(kind, masked, templates)
    return Letter(cause, kind, channel, user_id, request_id, recipient, subject, body, shown)


def queue(db: sqlite_utils.Database, vault: Vault, letter: Letter, at: int) -> bool:
    """Queues a letter; False when its cause has had one already."""
    cursor = db.execute(
        "INSERT INTO mails(cause, kind, channel, user_id, request_id, recipient, subject, shown_body,"
        " sealed_body, state, next_attempt_at, created_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 'queued', ?, ?) ON CONFLICT(cause) DO NOTHING",
        [
            letter.cause,
            letter.kind,
            letter.channel,
            letter.user_id,
            letter.request_id,
            letter.recipient,
            letter.subject,
            letter.shown_body,
            vault.seal(_PURPOSE, letter.body.encode()),
            at,
            at,
        ],
    )
    return bool(cursor.rowcount)


def newest(db: sqlite_utils.Database) -> int:
    """The number of the newest letter; 0 if there is none."""
    return int(rows(db, "SELECT coalesce(max(id), 0) AS id FROM mails")[0]["id"])


def hold_back(db: sqlite_utils.Database, after: int, at: int) -> None:
    """Keeps letters that were queued after a number until somebody releases them."""
    db.execute("UPDATE mails SET held_at = ? WHERE id > ? AND state = 'queued'", [at, after])


def release(db: sqlite_utils.Database, at: int, user_id: str | None = None) -> int:
    """Lets held letters go, all or one user's; returns how many."""
    cursor = db.execute(
        "UPDATE mails SET held_at = NULL, next_attempt_at = :at WHERE held_at IS NOT NULL"
        " AND state = 'queued' AND (:user_id IS NULL OR user_id = :user_id)",
        {"at": at, "user_id": user_id},
    )
    return int(cursor.rowcount)


def held(db: sqlite_utils.Database) -> int:
    """How many letters wait for their release."""
    found = rows(db, "SELECT count(*) AS n FROM mails WHERE held_at IS NOT NULL AND state = 'queued'")
    return int(found[0]["n"])


def is_known(db: sqlite_utils.Database, cause: str) -> bool:
    """Whether a cause has had its letter."""
    return bool(rows(db, "SELECT 1 FROM mails WHERE cause = ?", [cause]))


def claim_due(
    db: sqlite_utils.Database, vault: Vault, at: int, lease: int, limit: int, furthest: int
) -> list[Queued]:
    """Takes letters that are due, so that no other process sends them for ``lease`` seconds.

    None is put off by more than ``furthest`` seconds: the clock ran ahead, and has been set right since.
    """
    # "+id": else SQLite goes by id for the order's sake, through every letter there ever was, each second.
    due = rows(
        db,
        "SELECT * FROM mails WHERE state = 'queued' AND held_at IS NULL"
        " AND (next_attempt_at <= ? OR next_attempt_at > ?)"
        " ORDER BY +id LIMIT ?",
        [at, at + furthest, limit],
    )
    for row in due:
        db.execute(
            "UPDATE mails SET next_attempt_at = ?, attempts = attempts + 1 WHERE id = ?",
            [at + lease, row["id"]],
        )
    return [_opened(row, vault) for row in due]


def hold(db: sqlite_utils.Database, letter: Queued, until_at: int) -> bool:
    """Keeps a claimed letter for longer; False when its lease was over and another process has taken it."""
    cursor = db.execute(
        "UPDATE mails SET next_attempt_at = ? WHERE id = ? AND state = 'queued' AND attempts = ?",
        [until_at, letter.id, letter.attempts],
    )
    return bool(cursor.rowcount)


def mark_sent(db: sqlite_utils.Database, number: int, at: int, result: str) -> bool:
    """Records the acceptance and wipes the body; False when it was recorded already."""
    return _settle(db, number, "sent", result, at)


def mark_failed(db: sqlite_utils.Database, number: int, result: str) -> bool:
    """Records a final refusal by the recipient's server and wipes the body."""
    return _settle(db, number, "failed", result, None)


def mark_bounced(db: sqlite_utils.Database, number: int, result: str) -> bool:
    """Records that an accepted letter came back; False when it was recorded already."""
    cursor = db.execute(
        "UPDATE mails SET state = 'failed', result = ? WHERE id = ? AND state = 'sent'", [result, number]
    )
    return bool(cursor.rowcount)


def mark_cancelled(db: sqlite_utils.Database, number: int, result: str) -> bool:
    """Records that the letter's cause is gone (its request has ended) and wipes the body."""
    return _settle(db, number, "cancelled", result, None)


def retry_at(db: sqlite_utils.Database, number: int, at: int, result: str) -> None:
    """Puts a letter back until a later moment."""
    db.execute(
        "UPDATE mails SET next_attempt_at = ?, result = ? WHERE id = ? AND state = 'queued'",
        [at, result, number],
    )


def cancel_of_request(db: sqlite_utils.Database, request_id: str) -> int:
    """Cancels what is still queued for a request that has ended; returns how many."""
    cursor = db.execute(
        "UPDATE mails SET state = 'cancelled', sealed_body = NULL, result = 'the request has ended'"
        " WHERE request_id = ? AND state = 'queued'",
        [request_id],
    )
    return int(cursor.rowcount)


def cancel_login_passwords(db: sqlite_utils.Database, user_id: str) -> None:
    """Cancels what is still queued for a user and tells a login password: there is a newer one."""
    db.execute(
        "UPDATE mails SET state = 'cancelled', sealed_body = NULL, result = 'there is a newer password'"
        " WHERE user_id = ? AND kind IN ('user_id', 'password_reset') AND state = 'queued'",
        [user_id],
    )


def redirect(db: sqlite_utils.Database, user_id: str, recipient: str) -> None:
    """Sends what is still queued for a user to another address."""
    db.execute(
        "UPDATE mails SET recipient = ? WHERE user_id = ? AND channel = 'mail' AND state = 'queued'",
        [recipient, user_id],
    )


def listed(db: sqlite_utils.Database, user_id: str | None = None, limit: int = 200) -> list[dict[str, Any]]:
    """Letters for operators, newest first, without their bodies."""
    where = "WHERE user_id = :user_id" if user_id is not None else ""
    return rows(
        db,
        "SELECT id, kind, channel, user_id, request_id, recipient, subject, state, attempts,"
        f" created_at, held_at, sent_at, result FROM mails {where} ORDER BY id DESC LIMIT :limit",
        {"user_id": user_id, "limit": limit},
    )


def shown(db: sqlite_utils.Database, number: int) -> dict[str, Any] | None:
    """One letter for operators, its secrets masked."""
    found = rows(
        db,
        "SELECT id, kind, channel, user_id, request_id, recipient, subject, shown_body, state, attempts,"
        " next_attempt_at, created_at, held_at, sent_at, result FROM mails WHERE id = ?",
        [number],
    )
    return found[0] if found else None


def waiting(db: sqlite_utils.Database) -> int:
    """How many letters are queued and on their way; those held are not."""
    found = rows(db, "SELECT count(*) AS n FROM mails WHERE state = 'queued' AND held_at IS NULL")
    return int(found[0]["n"])


def check_templates(directory: Path | None) -> None:
    """Renders every template once with sample values; ConfigError names the first broken one."""
    names = ("name", "url", "user_id", "issue_password", "login_password", "request_id", "common_name")
    more = ("not_after", "until", "password_by", "admin", "operator", "telephone")
    sample = dict.fromkeys((*names, *more), "x")
    for kind in TEMPLATES:
        _render(kind, sample, directory)


def _settle(db: sqlite_utils.Database, number: int, state: str, result: str, sent_at: int | None) -> bool:
    cursor = db.execute(
        "UPDATE mails SET state = ?, result = ?, sent_at = ?, sealed_body = NULL"
        " WHERE id = ? AND state = 'queued'",
        [state, result, sent_at, number],
    )
    return bool(cursor.rowcount)


def _opened(row: dict[str, Any], vault: Vault) -> Queued:
    return Queued(
        id=row["id"],
        kind=row["kind"],
        channel=row["channel"],
        user_id=row["user_id"],
        request_id=row["request_id"],
        recipient=row["recipient"],
        subject=row["subject"],
        body=vault.open(_PURPOSE, row["sealed_body"]).decode(),
        attempts=row["attempts"] + 1,
        created_at=row["created_at"],
    )


# Templates are text, not HTML: nothing is escaped. An unknown value is an error, not an empty string.
_ENVIRONMENT = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)  # noqa: S701


def _render(kind: Kind, values: dict[str, str], directory: Path | None) -> tuple[str, str]:
    name = TEMPLATES[kind]
    own = directory / name if directory is not None else None
    source = _own(own) if own is not None and own.exists() else _packaged(name)
    try:
        text = _compiled(source).render(values)
    except jinja2.TemplateError as error:
        where = own or name
        raise ConfigError(f"mail template {where}: {error}. Mend it, or delete it to use ours.") from error
    head, separator, body = text.partition("\n\n")
    if not separator or not head.startswith("Subject: ") or "\n" in head:
        raise ConfigError(
            f"mail template {own or name}: it must begin with one line 'Subject: ...' and an empty line. "
            "Mend it, or delete it to use ours."
        )
    return head.removeprefix("Subject: ").strip(), body


@functools.lru_cache(maxsize=64)
def _compiled(source: str) -> jinja2.Template:
    # To compile one takes longer than everything else about a letter.
    return _ENVIRONMENT.from_string(source)


def _own(path: Path) -> str:
    try:
        return read_file(path, "mail template").decode()
    except UnicodeDecodeError:
        raise ConfigError(
            f"mail template {path}: it is not UTF-8. Save it as UTF-8, or delete it to use ours."
        ) from None


@functools.cache
def _packaged(name: str) -> str:
    return (files("enroll") / "templates" / name).read_text("utf-8")
