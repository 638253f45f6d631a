"""How long the console's search, caller view and list of certificates take, over years of certificates: p50
and p95 by query.

``python -m tests.bench.search_bench [--users N] [--organisations N] [--certificates N] [--audit N]
[--times N]``

On one core: the server, its TLS and the client that asks are one process.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ca import datadir
from ca.profiles import Audience
from ca.sqlite import Database
from enroll.operators.roles import Role
from enroll.people.sameness import mail_key, name_key, search_keys
from gateway.edge.tls import ClientCertificate
from gateway.serving.database import DATABASE
from gateway.serving.deployment import SCHEMAS
from gateway.sites import console
from gateway.web import context, references
from tests.datadirs import CHEAP, PASSPHRASE, START, next_generation, open_office
from tests.gateway.sites.kit import serve
from tests.gateway.sites.test_console import Office

_DAY = 86_400
_DER = bytes(1_100)
# So many rows are written at a time.
_CHUNK = 20_000
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


def user_id(number: int) -> str:
    return f"K{10_000_000 + number * 4_241 % 90_000_000}"


def policy_number(number: int) -> str:
    return f"{10_000_000 + number * 7_919}"


def person(number: int) -> tuple[str, str, str]:
    """Name, reading and mail address."""
    (family, sounds), (given, rest) = _FAMILY[number % 20], _GIVEN[number // 20 % 20]
    return f"{family} {given}", f"{sounds} {rest}", f"user{number}@example{number % 50}.jp"


def organisation(number: int) -> str:
    return f"株式会社{_FAMILY[number % 20][0]}{_TRADES[number // 20 % 10]}{number // 200 or ''}"


def serial(number: int) -> str:
    return "4" + hashlib.sha256(b"serial%d" % number).hexdigest()[:31]


def request_id(number: int) -> str:
    return f"{int(hashlib.sha256(b'request%d' % number).hexdigest()[:15], 16) % 10**16:016d}"


def common_name(number: int, users: int) -> str:
    return f"{user_id(number % users)}{number // users + 1:04d}"


def ends_at(number: int, certificates: int) -> int:
    """Spread over four years: three quarters have ended."""
    return START - 3 * 365 * _DAY + number * (4 * 365 * _DAY) // certificates


def fill(data: Path, users: int, organisations: int, certificates: int, audit: int) -> None:
    """The register after years, by the tables' own statements; its certificates open nothing."""
    database = Database(data / DATABASE, SCHEMAS)

    def many(statement: str, rows: Iterator[tuple[Any, ...]]) -> None:
        left = True
        while left:
            chunk = [row for row, _ in zip(rows, range(_CHUNK), strict=False)]
            left = len(chunk) == _CHUNK
            database.write_now(lambda db, chunk=chunk: db.conn.executemany(statement, chunk))  # type: ignore[misc, attr-defined]

    try:
        many(
            "INSERT INTO organisations(policy_number, name, created_at) VALUES (?, ?, ?)",
            ((policy_number(n), organisation(n), START) for n in range(organisations)),
        )
        many(
            "INSERT INTO users(user_id, policy_number, name, reading, mail, role, notice_by, password_hash,"
            " created_at, name_key, mail_key) VALUES (?, ?, ?, ?, ?, 'member', 'mail', 'none', ?, ?, ?)",
            (
                (
                    user_id(n),
                    policy_number(n % organisations),
                    name,
                    reading,
                    mail,
                    START,
                    name_key(name),
                    mail_key(mail),
                )
                for n in range(users)
                for name, reading, mail in [person(n)]
            ),
        )
        many("INSERT INTO search_keys(kind, key, id) VALUES (?, ?, ?)", _keys(users, organisations))
        many(
            "INSERT INTO enrollments(request_id, kind, user_id, state, common_name, profile, door,"
            " revoke_old, serial, not_after_at, created_at, issued_at, picked_up_at, used_at, window_ends_at)"
            " VALUES (?, 'reissue', ?, ?, ?, 'client-person', 'page', 'never', ?, ?, ?, ?, ?, ?, ?)",
            (
                (
                    request_id(n), user_id(n % users), "renewed" if n < certificates - users else "in_use",
                    common_name(n, users), serial(n), ends_at(n, certificates),
                    *([ends_at(n, certificates) - 365 * _DAY] * 5),
                )
                for n in range(certificates)
            ),
        )  # fmt: skip
        many(
            "INSERT INTO certificates(serial, issuer_id, profile, door, status, subject_cn, spki_sha256,"
            " not_before_at, not_after_at, reserved_at, issued_at, template, der, fingerprint, order_id)"
            " VALUES (?, 'issuer', 'client-person', 'page', 'issued', ?, '', ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                (
                    serial(n), common_name(n, users), START, ends_at(n, certificates), START, START,
                    "x" * 300, _DER, hashlib.sha256(str(n).encode()).hexdigest(), request_id(n),
                )
                for n in range(certificates)
            ),
        )  # fmt: skip
        before = database.read_now(lambda db: db.one("SELECT coalesce(max(id), 0) AS n FROM audit"))
        first = int(before["n"]) + 1 if before is not None else 1
        many(
            "INSERT INTO audit(id, at, actor, action, subject, why, result, detail, digest, hash)"
            " VALUES (?, ?, ?, 'login', ?, '', 'done', '{}', '', '')",
            ((first + n, START - audit + n, user_id(n % users), user_id(n % users)) for n in range(audit)),
        )
        database.write_now(
            lambda db: db.execute(
                "UPDATE counters SET value = (SELECT max(id) FROM audit) WHERE name = 'audit'"
            )
        )
    finally:
        database.close()


def _keys(users: int, organisations: int) -> Iterator[tuple[str, str, str]]:
    for n in range(organisations):
        yield from (("organisation", key, policy_number(n)) for key in search_keys(organisation(n)))
    for n in range(users):
        name, reading, _ = person(n)
        yield from (("user", key, user_id(n)) for key in search_keys(name, reading))


def queries(users: int, organisations: int, certificates: int, number: str) -> dict[str, Callable[[], str]]:
    """Kind of query -> draws one."""
    draw = random.Random(1)  # which rows are asked for
    one = lambda: draw.randrange(users)  # noqa: E731
    held = lambda: draw.randrange(certificates)  # noqa: E731

    def day() -> str:
        when = time.gmtime(ends_at(held(), certificates))
        return f"令和{when.tm_year - 2018}年{when.tm_mon}月{when.tm_mday}日"

    return {
        "証券番号": lambda: policy_number(draw.randrange(organisations)),
        "user ID": lambda: user_id(one()),
        "user ID, two characters": lambda: user_id(one())[:2],
        "name": lambda: person(one())[0],
        "family name": lambda: _FAMILY[one() % 20][0],
        "reading, hiragana": lambda: "".join(chr(ord(c) - 0x60) for c in _FAMILY[one() % 20][1]),
        "one character": lambda: draw.choice("佐山田サタ"),
        "organisation": lambda: organisation(draw.randrange(organisations)).removeprefix("株式会社"),
        "mail address": lambda: person(one())[2],
        "mail, beginning": lambda: "user1@",
        "request ID": lambda: request_id(held()),
        "request ID, eight digits": lambda: request_id(held())[:8],
        "serial": lambda: serial(held()),
        "serial, colons": lambda: ":".join(serial(held())[at : at + 2] for at in range(0, 32, 2)),
        "serial, decimal": lambda: str(int(serial(held()), 16)),
        "serial, eight digits": lambda: serial(held())[:8],
        "common name": lambda: common_name(held(), users),
        "day": day,
        "reference": lambda: number,
        "nothing": lambda: "誰もいない",
        "caller view": lambda: user_id(one()),
        "certificates": lambda: "/certificates",
        "certificates, good": lambda: "/certificates?state=issued&sort=ending",
        "certificates, expired": lambda: "/certificates?state=expired",
        "certificates, of a door": lambda: "/certificates?door=page&state=issued",
        "certificates, of an organisation": lambda: (
            f"/certificates?organisation={policy_number(draw.randrange(organisations))}"
        ),
        "certificates, in the middle": lambda: f"/certificates?after={START}-{held()}",
    }


async def measure(place: Path, given: argparse.Namespace) -> None:
    async with open_office(place) as opened:
        ra = next_generation(opened, "Operators CA", active=False, audience=Audience.OPERATORS)
        number = await references.note(
            ra, "service", "bad_credentials", common_name=common_name(0, given.users)
        )
        async with serve(
            ra,
            place,
            context.Role.CONSOLE,
            console.application,
            ClientCertificate.REQUIRE,
            refused=console.refused,
            audience=Audience.OPERATORS,
        ) as served:
            desk = await Office(served).admit("desk", Role.DESK)
            drawn = queries(given.users, given.organisations, given.certificates, number)
            for kind, draw in drawn.items():
                took, spent = [], []
                for _ in range(given.times):
                    text = draw()
                    path = f"/callers/{text}" if kind == "caller view" else f"/search?q={quote(text)}"
                    path = text if text.startswith("/") else path
                    began, worked = time.perf_counter(), time.process_time()
                    page = await desk.at.get(path)
                    took.append(1_000 * (time.perf_counter() - began))
                    spent.append(1_000 * (time.process_time() - worked))
                    assert page.status == 200, (path, page.status)
                row = {"p50_ms": statistics.median(took), "p95_ms": _p95(took), "most_ms": max(took)}
                # Of a machine that others use too, this is what tells.
                row |= {"cpu_p50_ms": statistics.median(spent), "cpu_p95_ms": _p95(spent)}
                told = {name: round(value, 1) for name, value in row.items()}
                print(json.dumps({"query": kind, **told}, ensure_ascii=False), flush=True)


def _p95(found: list[float]) -> float:
    return statistics.quantiles(found, n=20)[18]


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--users", type=int, default=20_000)
    options.add_argument("--organisations", type=int, default=3_000)
    options.add_argument("--certificates", type=int, default=1_000_000)
    options.add_argument("--audit", type=int, default=500_000)
    options.add_argument("--times", type=int, default=100)
    given = options.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as place:
        data = Path(place) / "data"
        datadir.create(data, PASSPHRASE, START, cost=CHEAP)
        began = time.monotonic()
        fill(data, given.users, given.organisations, given.certificates, given.audit)
        told = {"filled_s": round(time.monotonic() - began), "mib": (data / DATABASE).stat().st_size >> 20}
        print(json.dumps(told), flush=True)
        asyncio.run(measure(Path(place), given))


if __name__ == "__main__":
    main()
