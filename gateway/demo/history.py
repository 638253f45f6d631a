"""A quarter of history behind the demo's cast: people of a third organisation who came, renewed and did not,
so that reports, campaigns and lists have something to show. Nobody logs in as one of them.

Their keys are of a curve and nobody gets their files: all of it takes a second. Their letters leave for
nowhere, and the mailbox shows those of the cast.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from email.message import EmailMessage
from functools import partial
from typing import Any

import ca.store
from ca.storage import Transaction
from ca.workers import KeyStock
from enroll import store
from enroll.campaigns import working
from enroll.mail import store as mail_store
from enroll.mail.bounces import Bounce, record_bounce
from enroll.mail.store import Channel
from enroll.mail.transport import HandingOver, MailSession, Transport
from enroll.mail.writing import Queued
from enroll.people.register import Person, add_user
from enroll.ra import RegistrationAuthority
from enroll.requests import issuance, renewal
from enroll.requests.states import Event
from enroll.requests.transitions import apply
from enroll.settings import DAY
from gateway.serving.deployment import Deployment
from gateway.web import store as web

ORGANISATION: tuple[str, str, Mapping[str, Any]] = ("24681357", "神保町商事企業年金基金", {})
_NEW, _OLD = "JINBO", "KOUSHIN"
#: Of whom nothing comes into the mailbox.
_DOMAIN = "@jinbocho.example.jp"
_ACTOR = "operator:demo"
_FAMILIES = (
    "佐藤", "鈴木", "高橋", "田中", "伊藤", "渡辺", "山本", "中村", "小林", "加藤", "吉田", "山田", "佐々木",
)  # fmt: skip
_GIVEN = ("一郎", "二葉", "三枝", "四郎", "五月", "六花")
#: Weeks ago in which some were added, and how many of them picked their certificate up.
_NEWCOMERS = ((12, 2, 1), (10, 3, 3), (8, 2, 2), (6, 3, 2), (4, 2, 1), (1, 3, 1))
#: Days until the end of certificates, and how far each of their holders came.
_RENEWING = (
    (9, ("used", "used", "renewed")),
    (16, ("used", "renewed", "opened")),
    (23, ("opened", "mailed", "mailed", "bounced")),
    (45, ("due", "due")),
)
#: Days ago, where, and what it was that a page with a reference number told.
_FAILURES = (
    (80, "pickup", "bad_credentials"), (66, "service", "certificate.expired"), (52, "service", "revoked"),
    (41, "pickup", "bad_credentials"), (33, "renewal", "not_yet_renewable"), (27, "service", "no_cookie"),
    (20, "pickup", "bad_credentials"), (13, "service", "certificate.none"), (8, "renewal", "renewal_over"),
    (6, "pickup", "password_mismatch"), (4, "service", "bad_credentials"), (2, "pickup", "bad_credentials"),
)  # fmt: skip

Act = Callable[[], Awaitable[Any]]


@dataclass(frozen=True)
class Apart:
    """A way out by which the letters of this history go nowhere, and all others where they go anyway."""

    behind: Transport

    @property
    def connections(self) -> int:
        return self.behind.connections

    @property
    def letters_per_connection(self) -> int:
        return self.behind.letters_per_connection

    @property
    def per_minute(self) -> int:
        return self.behind.per_minute

    @property
    def repeatable(self) -> frozenset[Channel]:
        return self.behind.repeatable

    async def open(self, channel: Channel) -> MailSession:
        return _Apart(await self.behind.open(channel))


@dataclass(frozen=True)
class _Apart:
    session: MailSession

    @property
    def alive(self) -> bool:
        return self.session.alive

    async def send(
        self, message: EmailMessage, letter: Queued, return_path: str, handing_over: HandingOver
    ) -> str:
        if letter.recipient.endswith(_DOMAIN):
            return "taken by nobody: history of the demo"
        return await self.session.send(message, letter, return_path, handing_over)

    async def close(self) -> None:
        await self.session.close()


def is_of(words: str) -> bool:
    """Whether a step is one of this history's people."""
    return words.startswith((_NEW, _OLD))


def lived(
    deployment: Deployment, today: int, issued_at: Callable[[int], int]
) -> Iterator[tuple[int, str, Act]]:
    """(moment, words, what happens then). ``issued_at``: when a certificate was issued that ends then."""
    ra = replace(deployment.ra, keys=KeyStock(deployment.ra.workers, "ec-p256"))
    count = 0
    for weeks, added, picked_up in _NEWCOMERS:
        names = [f"{_NEW}{count + n:03}" for n in range(added)]
        count += added
        at = today - weeks * 7 * DAY - 3 * DAY
        yield at, f"{names[0]}: added", partial(_all, _add, ra, names)
        yield at + DAY, f"{names[0]}: pick-up", partial(_all, _pick_up, ra, names[:picked_up])
        if weeks > 1:
            lost = names[picked_up:]
            yield at + 2 * DAY, f"{names[0]}: letters come back", partial(_all, _bounce, ra, lost)
    count = 0
    for days, came in _RENEWING:
        names, began = [f"{_OLD}{count + n:02}" for n in range(len(came))], issued_at(today + days * DAY)
        count += len(came)
        yield began - DAY, f"{names[0]}: added", partial(_all, _add, ra, names)
        yield began, f"{names[0]}: pick-up", partial(_all, _pick_up, ra, names)
        far = dict(zip(names, came, strict=True))
        looked = [name for name in names if far[name] in _LOOKED]
        yield today - 3 * DAY, f"{names[0]}: renewal", partial(_all, _renew, ra, looked, far)
        back = [name for name in names if far[name] == "bounced"]
        yield today - 2 * DAY, f"{names[0]}: a notice comes back", partial(_all, _bounce, ra, back)
    yield today - 25 * DAY, "a campaign begins", partial(_begin, ra, today)
    yield today, "reference numbers", partial(_fail, ra, today)


_LOOKED = ("opened", "renewed", "used")


async def _all(
    act: Callable[..., Awaitable[None]], ra: RegistrationAuthority, names: list[str], *more: Any
) -> None:
    """The same for some at once: what they write shares a commit."""
    await asyncio.gather(*(act(ra, name, *more) for name in names))


async def _add(ra: RegistrationAuthority, user_id: str) -> None:
    number = int(user_id.lstrip(_NEW + _OLD)) + (len(_FAMILIES) // 2 if user_id.startswith(_OLD) else 0)
    family, given = _FAMILIES[number % len(_FAMILIES)], _GIVEN[number % len(_GIVEN)]
    mail = f"{user_id.lower()}{_DOMAIN}"
    person = Person(ORGANISATION[0], f"{family} {given}", mail, user_id)
    await add_user(ra, person, channel="paper", actor=_ACTOR)


async def _pick_up(ra: RegistrationAuthority, user_id: str) -> None:
    (opened,) = await ra.database.read(lambda db: store.enrollments_of(db, user_id))
    await _issued(ra, opened.request_id, user_id, used=True)


async def _renew(ra: RegistrationAuthority, user_id: str, far: Mapping[str, str]) -> None:
    came = far[user_id]

    def fingerprint(db: Transaction) -> str:
        serial = store.enrollments_of(db, user_id)[-1].serial or ""
        found = ca.store.find_by_serial(db, serial)
        assert found is not None
        assert found.fingerprint is not None
        return found.fingerprint

    looked = await renewal.look(ra, await ra.database.read(fingerprint))
    if came != "opened":
        await _issued(ra, looked.renewal.request_id, user_id, used=came == "used")


async def _issued(ra: RegistrationAuthority, request_id: str, user_id: str, *, used: bool) -> None:
    """A certificate in somebody's hands, without a file of it."""
    await issuance.submit(ra, request_id, actor=user_id)
    await issuance.complete(ra, request_id)

    def work(db: Transaction) -> None:
        apply(db, ra, request_id, Event.DOWNLOAD, ra.now(), actor=user_id)
        if used:
            apply(db, ra, request_id, Event.USE, ra.now(), actor=user_id)

    await ra.database.write(work)


async def _bounce(ra: RegistrationAuthority, user_id: str) -> None:
    """The newest letter to somebody comes back."""
    found = await ra.database.read(lambda db: _newest(db, user_id))
    if found is not None:
        said = "550 5.1.1 no such mailbox"
        await record_bounce(ra, Bounce(found["id"], found["created_at"], said), actor=_ACTOR)


def _newest(db: Transaction, user_id: str) -> Any:
    sent = (each for each in mail_store.listed(db, user_id, 10, "sent") if each["channel"] == "mail")
    return next(sent, None)


async def _fail(ra: RegistrationAuthority, today: int) -> None:
    def work(db: Transaction) -> None:
        for number, (days, site, code) in enumerate(_FAILURES):
            web.add_reference(db, f"DEMA-{number:04}", today - days * DAY, site, code, "{}")

    await ra.database.write(work)


async def _begin(ra: RegistrationAuthority, today: int) -> None:
    payload = {"name": "年度内に期限を迎える証明書の更新", "first_at": None, "until_at": today + 60 * DAY}
    payload |= {"policy_number": None, "issuer_id": None, "every_days": working.EVERY_DAYS}
    await working.begin(ra, payload, _ACTOR)
