"""Every statement about what was asked with an Idempotency-Key."""

from __future__ import annotations

from dataclasses import dataclass

from ca.epochs import Place
from ca.storage import Transaction

Db = Transaction

#: What is answered again, which may tell a secret.
ANSWER = Place("repeats", "claim", "answer")


@dataclass(frozen=True)
class Repeat:
    """What an account asked for under a key. ``answer``: sealed, None while somebody is at it."""

    account: int
    key: str
    digest: str
    claim: str
    claimed_at: int
    answer: bytes | None = None


def claim(db: Db, wanted: Repeat) -> bool:
    """Takes a key that nobody has. False if it is there already."""
    return (
        db.execute(
            "INSERT INTO repeats (account, key, digest, claim, claimed_at)"
            " VALUES (:account, :key, :digest, :claim, :claimed_at) ON CONFLICT (account, key) DO NOTHING",
            _values(wanted),
        )
        == 1
    )


def find(db: Db, account: int, key: str) -> Repeat | None:
    """What is there under a key."""
    row = db.one(
        "SELECT * FROM repeats WHERE account = :account AND key = :key", {"account": account, "key": key}
    )
    return None if row is None else Repeat(**{name: row[name] for name in row.keys()})  # noqa: SIM118  no mapping


def take_over(db: Db, left: Repeat, wanted: Repeat) -> bool:
    """Takes a key from whoever has left it behind. False if it has moved on since."""
    return (
        db.execute(
            "UPDATE repeats SET claim = :claim, claimed_at = :claimed_at"
            " WHERE account = :account AND key = :key AND claim = :was AND answer IS NULL",
            {**_values(wanted), "was": left.claim},
        )
        == 1
    )


def finish(db: Db, claimed: Repeat, answer: bytes) -> bool:
    """Records what is answered from now on. False where somebody else has taken the key over."""
    return (
        db.execute(
            "UPDATE repeats SET answer = :answer"
            " WHERE account = :account AND key = :key AND claim = :claim AND answer IS NULL",
            {**_values(claimed), "answer": answer},
        )
        == 1
    )


def release(db: Db, claimed: Repeat) -> None:
    """Gives a key back for which nothing was done."""
    db.execute(
        "DELETE FROM repeats WHERE account = :account AND key = :key AND claim = :claim AND answer IS NULL",
        _values(claimed),
    )


def drop_before(db: Db, at: int) -> int:
    """Forgets what was asked before a moment; returns how many there were."""
    return db.execute("DELETE FROM repeats WHERE claimed_at < :at", {"at": at})


def _values(each: Repeat) -> dict[str, str | int]:
    return {
        "account": each.account,
        "key": each.key,
        "digest": each.digest,
        "claim": each.claim,
        "claimed_at": each.claimed_at,
    }
