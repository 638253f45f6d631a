"""The demo's people, each brought into their state by living through it: the clock is set back by years,
and enrollment is driven step by step in the order in which things would have happened.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import ca.store
from ca.clock import OffsetClock, SystemClock
from ca.files import make_private_directory, write_private
from enroll import scheduler, store
from enroll.jst import JST, days_before
from enroll.mail.delivery import deliver_due
from enroll.people import login
from enroll.people.register import Person, add_organisation, add_user
from enroll.requests import issuance, pickup
from enroll.requests.enrollment import Enrollment
from enroll.requests.transitions import end_certificate
from enroll.settings import DAY
from gateway.demo import applying, history
from gateway.demo.letters import delivered
from gateway.serving.deployment import Deployment

State = Literal["new", "active", "expiring", "expired", "revoked"]

#: The same for everybody: these accounts guard nothing.
LOGIN_PASSWORD = "sekisho-demo-1"
P12_PASSWORD = "demo1234"
P12_FOLDER = "demo-p12"
#: How far back the CA has to begin for the oldest certificate, in seconds.
LONGEST_PAST = 4 * 366 * DAY

_ADDRESS = "127.0.0.1"
_ACTOR = "operator:demo"
_KEY_COMPROMISE = 1
_HOUR = 3_600


@dataclass(frozen=True)
class Part:
    """Somebody to be made, and the state to be in today."""

    policy_number: str
    user_id: str
    name: str
    reading: str
    state: State
    role: Literal["member", "admin"] = "member"


@dataclass(frozen=True)
class DemoUser:
    """What a visitor, or a script, needs in order to be this person."""

    user_id: str
    state: State
    role: str
    name: str
    mail: str
    policy_number: str
    common_name: str
    login_password: str
    request_id: str
    issue_password: str
    renewal_request_id: str = ""
    p12: str = ""
    p12_password: str = ""
    serial: str = ""
    not_after_at: int | None = None


ORGANISATIONS: tuple[tuple[str, str, Mapping[str, Any]], ...] = (
    (
        "12345678",
        "霞が関商事企業年金基金",
        {
            "postal_code": "100-0013",
            "prefecture": "東京都",
            "city": "千代田区",
            "street": "霞が関1-2-3",
            "building": "霞が関ビル5階",
            "addressee": "総務部 年金課",
        },
    ),
    (
        "87654321",
        "丸の内製作所企業年金基金",
        {"postal_code": "100-0005", "prefecture": "東京都", "city": "千代田区", "street": "丸の内9-8-7"},
    ),
)
CAST = (
    Part("12345678", "KANRI001", "管理 一子", "カンリ イチコ", "active", "admin"),
    Part("12345678", "SHINKI01", "新規 太郎", "シンキ タロウ", "new"),
    Part("12345678", "RIYOU001", "利用 花子", "リヨウ ハナコ", "active"),
    Part("12345678", "KIGEN001", "期限 近", "キゲン チカシ", "expiring"),
    Part("12345678", "KIGEN002", "期限 切", "キゲン キリ", "expired"),
    Part("12345678", "SHIKKO01", "失効 済", "シッコウ スミ", "revoked"),
    Part("87654321", "KANRI002", "管理 二郎", "カンリ ジロウ", "active", "admin"),
    Part("87654321", "SHINKI02", "新規 二子", "シンキ ニコ", "new"),
    Part("87654321", "RIYOU002", "利用 次郎", "リヨウ ジロウ", "active"),
    Part("87654321", "KIGEN003", "期限 三郎", "キゲン サブロウ", "expiring"),
    Part("87654321", "KIGEN004", "期限 四郎", "キゲン シロウ", "expired"),
    Part("87654321", "SHIKKO02", "失効 五郎", "シッコウ ゴロウ", "revoked"),
)

Act = Callable[[], Awaitable[None]]


async def populate(
    deployment: Deployment, clock: OffsetClock, told: Callable[[str], None]
) -> tuple[DemoUser, ...]:
    """Makes everybody; the clock is the machine's again afterwards. ``told`` hears of each step."""
    today = SystemClock().seconds()
    steps = sorted(_steps(deployment, today), key=lambda step: step[0])
    first = steps[0][0]
    _travel(clock, first - DAY)
    for policy_number, name, address in (*ORGANISATIONS, history.ORGANISATION):
        await add_organisation(deployment.ra, policy_number, name, actor=_ACTOR, **address)
    for (at, words, act), following in zip(steps, [*steps[1:], None], strict=True):
        _travel(clock, at)
        told(words)
        await act()
        # What is next may need its letter; of the history behind them a few days' leave together.
        if following is None or not history.is_of(following[1]) or following[0] - at > 3 * DAY:
            await settle(deployment)
    clock.travel(0)
    await settle(deployment)
    return tuple(_described(deployment, part) for part in CAST)


async def settle(deployment: Deployment) -> int:
    """What time brings about, and the mails of it; returns how many went out."""
    await scheduler.tick(deployment.ra)
    sent = 0
    while accepted := await deliver_due(deployment.ra, history.Apart(deployment.transport)):
        sent += accepted
    return sent


def _steps(deployment: Deployment, today: int) -> Iterator[tuple[int, str, Act]]:
    """(moment, words, what happens then) of everybody's life until today."""
    yield from applying.online(deployment, today)
    yield from history.lived(deployment, today, _three_years_before)
    for part in CAST:
        issued = _issued_at(part.state, today)
        added = issued - 2 * DAY
        yield added, f"{part.user_id}: application", _step(_admit, deployment, part)
        if part.state == "new":
            continue
        yield issued, f"{part.user_id}: pick-up", _step(_pick_up, deployment, part)
        yield issued + _HOUR, f"{part.user_id}: first login", _step(_first_login, deployment, part)
        if part.state in ("expiring", "expired"):
            end = today + _ENDS_IN[part.state] * DAY
            for days in (30, 7):
                morning = days_before(end, days) + 9 * _HOUR
                if morning < today:
                    yield morning, f"{part.user_id}: D-{days}", _nothing
        if part.state == "revoked":
            yield today - 5 * DAY, f"{part.user_id}: revoked", _step(_revoke, deployment, part)


#: Days from today to the end of the certificate.
_ENDS_IN = {"expiring": 20, "expired": -10}
#: Days since the pick-up, of those whose certificate is far from its end.
_AGES = {"new": -1, "active": 100, "revoked": 200}


def _issued_at(state: State, today: int) -> int:
    if state in _ENDS_IN:
        return _three_years_before(today + _ENDS_IN[state] * DAY)
    return today - _AGES[state] * DAY


def _three_years_before(at: int) -> int:
    """When a certificate was issued that ends then (D9: three calendar years, in Japan's time)."""
    end = datetime.fromtimestamp(at, JST)
    leap = (end.month, end.day) == (2, 29)
    return int(end.replace(year=end.year - 3, day=28 if leap else end.day).timestamp())


def _travel(clock: OffsetClock, at: int) -> None:
    clock.travel(at - SystemClock().seconds())


def _step(act: Callable[[Deployment, Part], Awaitable[None]], deployment: Deployment, part: Part) -> Act:
    return lambda: act(deployment, part)


async def _nothing() -> None:
    """A day on which only the scheduler has something to do."""


async def _admit(deployment: Deployment, part: Part) -> None:
    person = Person(
        part.policy_number, part.name, _mail_of(part), part.user_id, part.role, reading=part.reading
    )
    await add_user(deployment.ra, person, channel="paper", actor=_ACTOR)


async def _pick_up(deployment: Deployment, part: Part) -> None:
    ra, password = deployment.ra, _told(deployment, part, "pickup", "証明書発行用パスワード")
    found = await pickup.authenticate(ra, part.user_id, password, address=_ADDRESS)
    await issuance.submit(ra, found.request_id, actor=part.user_id)
    await issuance.complete(ra, found.request_id)
    token = await issuance.prepare_download(
        ra, found.request_id, P12_PASSWORD, "standard", actor=part.user_id
    )
    got = await issuance.download(ra, token, found.request_id, actor=part.user_id)
    make_private_directory(deployment.data / P12_FOLDER)
    write_private(_p12_of(deployment, part), got.content)


async def _first_login(deployment: Deployment, part: Part) -> None:
    ra, first = deployment.ra, _told(deployment, part, "user_id", "パスワード")
    fingerprint = _certificate(deployment, part).fingerprint
    assert fingerprint is not None
    await login.authenticate(ra, fingerprint, part.user_id, first, address=_ADDRESS)
    await login.change_password(ra, part.user_id, first, LOGIN_PASSWORD, LOGIN_PASSWORD)


async def _revoke(deployment: Deployment, part: Part) -> None:
    ra, serial = deployment.ra, _certificate(deployment, part).serial
    await ra.database.write(
        lambda db: end_certificate(db, ra, serial, _KEY_COMPROMISE, ra.now(), actor=_ACTOR)
    )


def _described(deployment: Deployment, part: Part) -> DemoUser:
    opened = _requests(deployment, part)[-1]
    user = DemoUser(
        user_id=part.user_id,
        state=part.state,
        role=part.role,
        name=part.name,
        mail=_mail_of(part),
        policy_number=part.policy_number,
        common_name=opened.common_name,
        login_password=LOGIN_PASSWORD,
        request_id=_told(deployment, part, "pickup", "リクエストID"),
        issue_password=_told(deployment, part, "pickup", "証明書発行用パスワード"),
        renewal_request_id=_told(deployment, part, "renewal_30", "リクエストID"),
    )
    if part.state == "new":
        return replace(user, login_password=_told(deployment, part, "user_id", "パスワード"))
    certificate = _certificate(deployment, part)
    return replace(
        user,
        p12=f"{P12_FOLDER}/{_p12_of(deployment, part).name}",
        p12_password=P12_PASSWORD,
        serial=certificate.serial,
        not_after_at=certificate.not_after_at,
    )


def _told(deployment: Deployment, part: Part, kind: str, label: str) -> str:
    """What the person's newest mail of a kind says; empty without such a mail."""
    for each in delivered(deployment.outbox):
        if each.kind == kind and each.recipient == _mail_of(part):
            return each.value(label)
    return ""


def _certificate(deployment: Deployment, part: Part) -> ca.store.CertificateRecord:
    opened = _requests(deployment, part)[-1]
    found = deployment.ra.database.read_now(lambda db: ca.store.find_by_serial(db, opened.serial or ""))
    assert found is not None
    return found


def _requests(deployment: Deployment, part: Part) -> list[Enrollment]:
    return deployment.ra.database.read_now(lambda db: store.enrollments_of(db, part.user_id))


def _p12_of(deployment: Deployment, part: Part) -> Path:
    return deployment.data / P12_FOLDER / f"{part.user_id}.p12"


def _mail_of(part: Part) -> str:
    return f"{part.user_id.lower()}@example.jp"
