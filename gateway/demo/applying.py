"""What waits for the demo's operators: applications, something proposed, and a letter that came back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator

from enroll.mail import store as mail_store
from enroll.mail import writing
from enroll.mail.bounces import Bounce, record_bounce
from enroll.operators import actors, asking, taking
from enroll.operators import store as operators
from enroll.operators.actors import Actor, By
from enroll.people import applications
from enroll.people.register import Person, add_user
from enroll.settings import DAY
from gateway.serving.deployment import Deployment

#: More days ago than anything is promised for.
_LONG_AGO = 14 * DAY

Act = Callable[[], Awaitable[None]]


def online(deployment: Deployment, today: int) -> Iterator[tuple[int, str, Act]]:
    """(moment, words, what happens then): what the organisations' administrators, and a user, apply for."""
    # Of the same name as somebody who is there: a likely duplicate.
    alike = Person("12345678", "利用花子", "hanako.riyou@example.jp")
    late = Person("87654321", "丸山 緑", "midori.maruyama@example.jp", role="admin")

    async def addition(person: Person, by: str) -> None:
        await applications.apply_addition(deployment.ra, person, channel="online", actor=by)

    async def reissue(user_id: str, reason: str) -> None:
        await applications.apply_reissue(deployment.ra, user_id, reason, channel="online", actor=user_id)

    yield today - _LONG_AGO, "KANRI002: applies for a user", lambda: addition(late, "KANRI002")
    yield today - DAY, "KIGEN002: applies for a reissue", lambda: reissue("KIGEN002", "expired")
    yield today, "KANRI001: applies for a user", lambda: addition(alike, "KANRI001")


async def at_the_desk(deployment: Deployment) -> None:
    """What the desk and the registrar took in on paper, and what the registrar has proposed."""
    ra = deployment.ra

    async def acting(name: str) -> Actor:
        found = await ra.database.read(lambda db: operators.named(db, name))
        assert found is not None
        number = found.number
        return await ra.database.read(lambda db: actors.of_operator(db, number, By.CONSOLE))

    desk, registrar = await acting("madoguchi"), await acting("touroku")
    await taking.take_in_reissue(ra, desk, "KIGEN004", "mail_lost")
    person = Person("12345678", "書面 次郎", "jiro.shomen@example.jp", notice_by="postcard")
    taken = await taking.take_in_addition(ra, registrar, person)
    facts = {"department": "経理部", "principal": ""}
    payload = {"number": taken.number, "revoke_old": None, "facts": facts}
    await asking.ask(ra, registrar, "application.approve", payload, reason="書面のとおり")
    await _by_postcard(deployment)
    moved = {"user_id": "RIYOU002", "changes": {"name": "利用 次郎吉", "role": "admin"}, "alike": False}
    await asking.ask(ra, registrar, "user.change", moved, reason="改名届")
    text = writing.packaged("renewal.txt").replace(
        "お手数をおかけいたしますが", "お忙しいところ恐れ入りますが"
    )
    worded = {"template": "renewal", "language": "ja", "text": text}
    await asking.ask(ra, registrar, "template.change", worded, reason="言い回しを改める")


async def came_back(deployment: Deployment) -> None:
    """A pick-up mail whose address has a slip of the pen in it."""
    ra = deployment.ra
    sent = await ra.database.read(lambda db: mail_store.listed(db, "SHINKI02", state="sent"))
    for letter in sent:
        said = "5.1.1 smtp; 550 5.1.1 User unknown"
        await record_bounce(ra, Bounce(letter["id"], letter["created_at"], said), actor="demo")


async def _by_postcard(deployment: Deployment) -> None:
    """Two who are told their user IDs by postcard: both cards wait for somebody to print them."""
    for number, name, user_id in (
        ("12345678", "𠮷田 髙子", "HAGAKI01"),
        ("87654321", "山﨑 太郎", "HAGAKI02"),
    ):
        person = Person(number, name, f"{user_id.lower()}@example.jp", user_id, notice_by="postcard")
        await add_user(deployment.ra, person, channel="paper", actor="operator:demo")
