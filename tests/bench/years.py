"""A gateway's data after five years, for everything that is measured at full size: 20,000 users in 3,000
organisations, 1,000,000 certificates, 500,000 lines of the record, and what comes along with them.

``python -m tests.bench.years DIR [--users N] [--organisations N] [--certificates N] [--audit N]`` makes a
demo in DIR/data (operators of each role, their passkeys, a service account, webhooks, a campaign) and fills
its tables by their own statements, without their indexes, which are made again at the end: a minute and a
half on a quiet core. The certificates that it adds open nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import sqlite3
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path
from typing import Any

from enroll import audit
from enroll.people.register import Person
from enroll.people.sameness import mail_key, name_key, search_keys
from gateway.serving.database import DATABASE
from gateway.serving.deployment import DEMO_MARKER
from tests.cli.processes import process, typed, until

DAY = 86_400
YEAR = 365 * DAY
#: How long ago the first certificate was issued.
YEARS = 5
#: Has a twentieth of all users, and so of their certificates.
LARGEST = "10000000"
#: Is what a twentieth of the record is about.
BUSIEST = 7
#: How many rows the long import had, whose job has ended.
IMPORTED = 20_000
# For each user so many certificates of people, one a year; the others are programs', of 90 days each.
_OF_PEOPLE = YEARS
_PROGRAM = 90 * DAY
_FAMILY = (
    ("佐藤", "サトウ"), ("鈴木", "スズキ"), ("高橋", "タカハシ"), ("田中", "タナカ"), ("伊藤", "イトウ"),
    ("渡辺", "ワタナベ"), ("山本", "ヤマモト"), ("中村", "ナカムラ"), ("小林", "コバヤシ"),
    ("加藤", "カトウ"), ("吉田", "ヨシダ"),
    ("山田", "ヤマダ"), ("佐々木", "ササキ"), ("山口", "ヤマグチ"), ("松本", "マツモト"),
    ("井上", "イノウエ"), ("木村", "キムラ"), ("林", "ハヤシ"), ("斎藤", "サイトウ"), ("髙崎", "タカサキ"),
)  # fmt: skip
_GIVEN = (
    ("太郎", "タロウ"), ("花子", "ハナコ"), ("一郎", "イチロウ"), ("さくら", "サクラ"), ("健", "ケン"),
    ("美咲", "ミサキ"), ("翔", "ショウ"), ("葵", "アオイ"), ("蓮", "レン"), ("陽菜", "ヒナ"),
    ("大輔", "ダイスケ"), ("恵", "メグミ"), ("直樹", "ナオキ"), ("由美", "ユミ"), ("誠", "マコト"),
    ("優", "ユウ"), ("明", "アキラ"), ("真理", "マリ"), ("剛", "ツヨシ"), ("愛", "アイ"),
)  # fmt: skip
_TRADES = ("商事", "産業", "工業", "物産", "電機", "運輸", "建設", "食品", "製薬", "信用金庫")


@dataclass(frozen=True)
class Size:
    """How many there are of each; ``at``: when it was made, in epoch seconds."""

    users: int = 20_000
    organisations: int = 3_000
    certificates: int = 1_000_000
    audit: int = 500_000
    at: int = 0

    @property
    def begin(self) -> int:
        return self.at - YEARS * YEAR

    # What is here besides, in the proportions of such a house.
    @property
    def letters(self) -> int:
        return self.users * 15

    @property
    def applications(self) -> int:
        return self.users

    @property
    def waiting(self) -> int:
        """Applications, and proposals, that nobody has decided yet."""
        return self.users // 40

    @property
    def proposals(self) -> int:
        return self.users // 2

    @property
    def jobs(self) -> int:
        return self.users // 10

    @property
    def deliveries(self) -> int:
        return self.users * 5

    @property
    def references(self) -> int:
        return self.users * 5


def user_id(number: int) -> str:
    return f"K{10_000_000 + number * 4_241 % 90_000_000}"


def policy_number(number: int) -> str:
    return f"{10_000_000 + number * 7_919}"


def organisation_of(number: int, size: Size) -> str:
    """Whose user somebody is."""
    return LARGEST if number % 20 == 0 else policy_number(number % size.organisations)


def person(number: int) -> tuple[str, str, str]:
    """Name, reading and mail address."""
    (family, sounds), (given, rest) = _FAMILY[number % 20], _GIVEN[number // 20 % 20]
    return f"{family} {given}", f"{sounds} {rest}", f"user{number}@example{number % 50}.jp"


def family_name(number: int) -> tuple[str, str]:
    """Name and reading."""
    return _FAMILY[number % 20]


def organisation(number: int) -> str:
    return f"株式会社{_FAMILY[number % 20][0]}{_TRADES[number // 20 % 10]}{number // 200 or ''}"


def serial(number: int) -> str:
    return "4" + hashlib.sha256(b"serial%d" % number).hexdigest()[:31]


def request_id(number: int) -> str:
    return f"{int(hashlib.sha256(b'request%d' % number).hexdigest()[:15], 16) % 10**16:016d}"


def common_name(number: int, size: Size) -> str:
    return f"{user_id(number % size.users)}{number // size.users + 1:04d}"


def is_of_program(number: int, size: Size) -> bool:
    return number // size.users >= _OF_PEOPLE


def began_at(number: int, size: Size) -> int:
    """When a certificate was issued: a person's each year, a program's as often as there are any."""
    who, turn = number % size.users, number // size.users
    since = who * 7_919 % 1_000_003 * YEAR // 1_000_003
    if not is_of_program(number, size):
        return size.begin + turn * YEAR + since
    turns = max(1, -(-size.certificates // size.users) - _OF_PEOPLE)
    return size.begin + int((turn - _OF_PEOPLE + since / YEAR) * YEARS * YEAR / turns)


def ends_at(number: int, size: Size) -> int:
    life = _PROGRAM if is_of_program(number, size) else YEAR + 30 * DAY
    return began_at(number, size) + life


def make(place: Path, size: Size) -> None:
    """The data directory ``place``/data, its size beside it, and what a script needs to be its operators."""
    place.mkdir(parents=True, exist_ok=True)
    data, log, summary = place / "data", place / "log", place / "summary.json"
    words = ("demo", "--data", str(data), "--port", "0", "--summary", str(summary))
    with process(*words, log=log) as demo:
        until(summary.exists, log, demo, patience=300)
        os.kill(demo.pid, signal.SIGINT)
        demo.wait(60)
    told = json.loads(summary.read_text())
    passphrase = ("--passphrase-file", told["passphrase_file"])
    # What is measured is a gateway as it is run: a demo's jobs rest after each row, for people to look.
    (data / DEMO_MARKER).unlink()
    # The next generation has issued for a month.
    added = typed("ca", "add", "CORPORATE-PENSION BUSINESS SERVICE CA-G5", "--data", str(data), *passphrase)
    assert added.returncode == 0, added.stderr
    fill(data / DATABASE, size)
    (place / "size.json").write_text(json.dumps(asdict(size)))


def size_of(place: Path) -> Size | None:
    """Of what was made there; None if nothing, or not to its end."""
    file = place / "size.json"
    return Size(**json.loads(file.read_text())) if file.exists() else None


def fill(file: Path, size: Size) -> None:
    """Five years into the tables of a demo."""
    with sqlite3.connect(file) as conn:
        # Half of it is nothing: the size is written last.
        conn.execute("PRAGMA journal_mode = OFF")
        conn.execute("PRAGMA synchronous = OFF")
        conn.execute("PRAGMA cache_size = -1000000")
        indexes = conn.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
        ).fetchall()
        for name, _ in indexes:
            conn.execute(f"DROP INDEX {name}")
        for part in (_people, _certificates, _letters, _desk, _record):
            part(conn, size)
        for _, made in indexes:
            conn.execute(made)
        # As whoever leads would have counted on (`enroll.certificates.tally`).
        conn.execute("DELETE FROM certificate_tally")
        conn.execute(
            "INSERT INTO certificate_tally SELECT issuer_id, profile, door, count(*) FROM certificates"
            " GROUP BY issuer_id, profile, door"
        )
        conn.execute(
            "UPDATE counters SET value = (SELECT max(number) FROM certificates) WHERE name = 'tallied'"
        )
    with sqlite3.connect(file) as conn:
        conn.execute("PRAGMA journal_mode = WAL")
    conn.close()


def _many(conn: sqlite3.Connection, table: str, columns: str, rows: Iterator[Sequence[Any]]) -> None:
    count = len(columns.split(","))
    marks = ", ".join("?" * count)
    conn.executemany(f"INSERT INTO {table}({columns}) VALUES ({marks})", rows)


def _people(conn: sqlite3.Connection, size: Size) -> None:
    _many(
        *(conn, "organisations", "policy_number, name, created_at, disabled_at"),
        (
            (policy_number(n), organisation(n), size.begin + n * 60, size.at if n % 100 == 99 else None)
            for n in range(size.organisations)
        ),
    )
    _many(
        *(conn, "users"),
        "user_id, policy_number, name, reading, mail, role, notice_by, password_hash, created_at, name_key,"
        " mail_key, disabled_at, last_number",
        (
            (
                user_id(n), organisation_of(n, size), name, reading, mail,
                "admin" if n % 30 == 0 else "member", "postcard" if n % 25 == 0 else "mail", "none",
                began_at(n, size) - DAY, name_key(name),
                mail_key(mail), size.at if n % 50 == 49 else None, size.certificates // size.users,
            )
            for n in range(size.users)
            for name, reading, mail in [person(n)]
        ),
    )  # fmt: skip
    _many(conn, "search_keys", "kind, key, id", _keys(size))


def _keys(size: Size) -> Iterator[tuple[str, str, str]]:
    for n in range(size.organisations):
        yield from (("organisation", key, policy_number(n)) for key in search_keys(organisation(n)))
    for n in range(size.users):
        name, reading, _ = person(n)
        yield from (("user", key, user_id(n)) for key in search_keys(name, reading))


def _state(number: int, size: Size) -> str:
    """Of an enrollment."""
    if number % 100 == 17:
        return "revoked"
    if is_of_program(number, size):
        return "picked_up" if ends_at(number, size) >= size.at else "renewed"
    if number // size.users < _OF_PEOPLE - 1:
        return "renewed"
    return {1: "picked_up", 2: "issued"}.get(number % 40, "in_use")


def _certificates(conn: sqlite3.Connection, size: Size) -> None:
    issuers = [row[0] for row in conn.execute("SELECT DISTINCT issuer_id FROM certificates")]
    pattern = conn.execute(
        "SELECT issuer_id, template, der FROM certificates WHERE profile = 'client-person' LIMIT 1"
    ).fetchone()
    assert pattern[0] in issuers
    order = sorted(range(size.certificates), key=lambda n: began_at(n, size))
    (before,) = conn.execute("SELECT value FROM counters WHERE name = 'changes'").fetchone()
    changes = {n: before + 1 + place for place, n in enumerate(n for n in order if n % 100 == 17)}
    held = {n: before + 1 + len(changes) + place for place, n in enumerate(order[-20 * 50 :: 50])}
    held = {n: change for n, change in held.items() if n not in changes}

    def enrollments() -> Iterator[Sequence[Any]]:
        for n in order:
            began, ends, program = began_at(n, size), ends_at(n, size), is_of_program(n, size)
            state, turn = _state(n, size), n // size.users
            kind = "protocol" if program else ("addition", "renewal", "renewal", "reissue", "renewal")[turn]
            yield (
                request_id(n), kind, user_id(n % size.users), state, common_name(n, size),
                "client-automated" if program else "client-person", "protocol" if program else "page",
                "never", serial(n), ends, serial(n - size.users) if kind == "renewal" else None,
                began - DAY, began - DAY // 2, began, None if state == "issued" else began + 60,
                began + 3_600 if state in ("in_use", "renewed") else None,
                ends - DAY if state in ("renewed", "revoked") else None,
                None if program else began + 30 * DAY,
            )  # fmt: skip

    _many(
        *(conn, "enrollments"),
        "request_id, kind, user_id, state, common_name, profile, door, revoke_old, serial, not_after_at,"
        " replaces_serial, created_at, submitted_at, issued_at, picked_up_at, used_at, ended_at,"
        " window_ends_at",
        enrollments(),
    )

    def certificates() -> Iterator[Sequence[Any]]:
        for n in order:
            began, program = began_at(n, size), is_of_program(n, size)
            status = "revoked" if n in changes else "held" if n in held else "issued"
            yield (
                serial(n), pattern[0], "client-automated" if program else "client-person",
                "protocol" if program else "page", user_id(n % size.users), status, common_name(n, size), "",
                began - 600,
                ends_at(n, size), began, began, pattern[1], pattern[2],
                hashlib.sha256(b"%d" % n).hexdigest(), request_id(n), began + DAY if n in held else None,
                began + 2 * DAY if n in changes else None, 4 if n in changes else None,
                changes.get(n) or held.get(n),
            )  # fmt: skip

    _many(
        *(conn, "certificates"),
        "serial, issuer_id, profile, door, holder, status, subject_cn, spki_sha256, not_before_at,"
        " not_after_at, reserved_at, issued_at, template, der, fingerprint, order_id, held_at, revoked_at,"
        " revocation_reason, change_number",
        certificates(),
    )
    last = max([before, *changes.values(), *held.values()])
    conn.execute("UPDATE counters SET value = ? WHERE name = 'changes'", [last])


_KINDS = ("pickup", "renewal_30", "user_id", "renewal_7", "password_reset")


def _letters(conn: sqlite3.Connection, size: Size) -> None:
    (words,) = conn.execute("SELECT shown_body FROM mails LIMIT 1").fetchone()

    def letters() -> Iterator[Sequence[Any]]:
        for n in range(size.letters):
            at, who = size.begin + n * YEARS * YEAR // size.letters, n * 7 % size.users
            failed = ("bounced", "refused", "given_up")[n % 3] if n % 70 == 3 else ""
            recent = n >= size.letters - size.letters // 1_000
            state = "failed" if failed else "queued" if recent and n % 2 else "sent"
            yield (
                f"bench:{n}", _KINDS[n % len(_KINDS)], "postcard" if n % 25 == 0 else "mail", user_id(who),
                person(who)[2], "クライアント証明書更新に関するご案内", words, state, failed,
                # Not one of these is to leave while somebody measures.
                size.at + YEAR, at, at, at if state == "queued" else None,
                at + 60 if state == "sent" else None,
            )  # fmt: skip

    _many(
        *(conn, "mails"),
        "cause, kind, channel, user_id, recipient, subject, shown_body, state, failure, next_attempt_at,"
        " created_at, queued_at, held_at, sent_at",
        letters(),
    )


def _desk(conn: sqlite3.Connection, size: Size) -> None:
    """What operators decide and have done, and what other systems are told."""

    def applications() -> Iterator[Sequence[Any]]:
        for n in range(size.applications):
            at = size.begin + n * YEARS * YEAR // size.applications
            open_ = n >= size.applications - size.waiting
            who = asdict(Person(organisation_of(n, size), person(n)[0], f"new{n}@example.jp"))
            yield (
                "addition" if n % 2 else "reissue", "online" if n % 3 else "paper",
                "" if n % 2 else "mail_lost", organisation_of(n, size), "" if n % 2 else user_id(n),
                json.dumps(who, ensure_ascii=False) if n % 2 else "{}", "on_pickup",
                user_id(n * 30 % size.users),
                "submitted" if open_ else "rejected" if n % 20 == 3 else "approved",
                at, None if open_ else at + DAY, None if open_ else "operator:shounin",
            )  # fmt: skip

    _many(
        *(conn, "applications"),
        "kind, channel, reason, policy_number, user_id, person, revoke_old, applied_by, state, submitted_at,"
        " decided_at, decided_by",
        applications(),
    )
    cursor = conn.execute("SELECT * FROM proposals ORDER BY number")
    names = [each[0] for each in cursor.description]
    proposed = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    change = next(each for each in proposed if each["kind"] == "user.change")

    def proposals() -> Iterator[Sequence[Any]]:
        for n in range(size.proposals):
            open_, at = n >= size.proposals - size.waiting, size.begin + n * YEARS * YEAR // size.proposals
            at = size.at - DAY if open_ else at
            whom = user_id(n)
            facts = change | {
                "subject": whom, "payload": change["payload"].replace(change["subject"], whom),
                "before": change["before"].replace(change["subject"], whom), "made_at": at,
                "expires_at": at + 7 * DAY, "state": "pending" if open_ else ("approved", "rejected")[n % 2],
                "done_at": None if open_ else at + 60, "decided_at": None if open_ else at + 60,
                "decider": None if open_ else "operator:3",
                "decided_by": None if open_ else "operator:shounin",
            }  # fmt: skip
            yield [facts[name] for name in names if name != "number"]

    _many(conn, "proposals", ", ".join(name for name in names if name != "number"), proposals())
    heading = "証券番号,氏名,メールアドレス"

    def jobs() -> Iterator[Sequence[Any]]:
        for n in range(size.jobs):
            at, last = size.begin + n * YEARS * YEAR // size.jobs, n == size.jobs - 1
            rows = IMPORTED if last else 10
            payload = {"file": f"{n}.csv", "heading": heading, "encoding": "utf-8", "rows": []}
            yield (
                "user.import", f"{n}.csv", json.dumps(payload, ensure_ascii=False), "operator:2",
                "operator:touroku", "operator:shounin", "done", rows, rows, at, at, at + 60,
            )  # fmt: skip

    _many(
        *(conn, "jobs"),
        "kind, subject, payload, proposer, proposed_by, decided_by, state, total, done, made_at, begun_at,"
        " ended_at",
        jobs(),
    )
    (last,) = conn.execute("SELECT max(number) FROM jobs").fetchone()
    _many(
        *(conn, "job_rows", "job, line, result, subject, request_id, code, field"),
        (
            (last, n + 2, "refused", "", "", "conflict", "user")
            if n % 20 == 7
            else (last, n + 2, "added", user_id(n), request_id(n), "", "")
            for n in range(min(IMPORTED, size.users))
        ),
    )  # fmt: skip
    endpoints = [row[0] for row in conn.execute("SELECT number FROM webhook_endpoints")]
    _many(
        *(conn, "webhook_deliveries"),
        "endpoint, message, event, body, happened_at, state, next_at, tried_at, ended_at, status",
        (
            (
                endpoints[n % len(endpoints)], f"msg_bench{n}", "application.submitted",
                f'{{"type":"application.submitted","data":{{"application":{n}}}}}', at,
                "dead" if n % 40 == 7 else "delivered", at, at, at, 500 if n % 40 == 7 else 204,
            )
            for n in range(size.deliveries)
            for at in [size.at - 30 * DAY + n * 30 * DAY // size.deliveries]
        ),
    )  # fmt: skip
    _many(
        *(conn, "desk_references", "reference, at, site, code, about, detail"),
        (
            (
                f"R{n}", size.at - n * 7_919 % (90 * DAY), "pickup" if n % 3 == 0 else "service",
                f"code{n % 40}", user_id(n % size.users), "{}",
            )
            for n in range(size.references)
        ),
    )  # fmt: skip
    _many(
        *(conn, "postcard_batches", "number, state, cards, job, made_by, made_at, ended_at, ended_by"),
        (
            (n + 1, "printed", 20, 0, "operator:touroku", at, at + 3_600, "operator:touroku")
            for n in range(max(1, size.users // 100))
            for at in [size.begin + n * YEARS * YEAR // max(1, size.users // 100)]
        ),
    )
    conn.execute(
        "UPDATE counters SET value = (SELECT max(number) FROM postcard_batches) WHERE name = 'postcard_batch'"
    )
    _many(
        *(conn, "postcard_cards", "batch, place, letter"),
        ((n + 1, place, n * 20 + place) for n in range(max(1, size.users // 100)) for place in range(1, 21)),
    )
    conn.execute(
        "INSERT INTO campaigns(name, first_at, until_at, policy_number, every_days, begun_at, begun_by)"
        " VALUES ('全員の更新', ?, ?, NULL, 7, ?, 'operator:touroku'),"
        " ('最大の団体', NULL, ?, ?, 7, ?, 'operator:touroku')",
        [size.at - YEAR, size.at + 2 * YEAR, size.at - 60 * DAY, size.at + 60 * DAY, LARGEST, size.at - DAY],
    )


#: What stands in the record: how often of twenty, the action, who did it, and what it is about.
_ACTS = (
    (9, "login", "user", "user"),
    (3, "enrollment.issue", "issuance", "request"),
    (3, "certificate.issued", "issuance", "serial"),
    (2, "enrollment.download", "user", "request"),
    (1, "mail.sent", "delivery", "user"),
    (1, "user.shown", "operator:touroku", "user"),
    (1, "certificate.revoked", "operator:shounin", "serial"),
)


def _record(conn: sqlite3.Connection, size: Size) -> None:
    acts = [act for times, *act in _ACTS for _ in range(times)]
    last, before = conn.execute("SELECT id, hash FROM audit ORDER BY id DESC LIMIT 1").fetchone()

    def lines() -> Iterator[Sequence[Any]]:
        # Each follows the one before it, as they are written: whoever signs the record looks at that.
        previous = before
        for n in range(size.audit):
            at = size.begin + n * YEARS * YEAR // size.audit
            action, by, about = acts[n * 7 % 20]
            who = BUSIEST if n % 20 == 0 else n * 11 % size.users
            certificate = n * 3 % size.certificates
            subject = {
                "user": user_id(who), "request": request_id(certificate), "serial": serial(certificate)
            }[about]  # fmt: skip
            actor = user_id(who) if by == "user" else by
            told = audit.said(at, actor, action, subject, {}, f"{n:032x}")
            (line,) = audit.placed([told], last + 1 + n, previous)
            previous = line.hash
            yield astuple(line)

    _many(conn, "audit", ", ".join(each.name for each in fields(audit.Line)), lines())
    conn.execute("UPDATE counters SET value = ? WHERE name = 'audit'", [last + size.audit])


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("place", type=Path)
    for name in ("users", "organisations", "certificates", "audit"):
        options.add_argument(f"--{name}", type=int, default=getattr(Size, name))
    given = options.parse_args()
    began, worked = time.monotonic(), time.process_time()
    sizes = {name: getattr(given, name) for name in ("users", "organisations", "certificates", "audit")}
    make(given.place, Size(**sizes, at=int(time.time())))
    print(
        f"made in {time.monotonic() - began:.0f} s ({time.process_time() - worked:.0f} s of CPU),"
        f" {(given.place / 'data' / DATABASE).stat().st_size >> 20} MiB"
    )


if __name__ == "__main__":
    main()
