"""Letters as operators see them: the list, one with its history, and what can be done about it.

Each function asks the table of roles first. What a list counts and what it shows is one reading.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ca.storage import Transaction
from enroll import listings, store
from enroll.jst import day_of
from enroll.listings import Letters
from enroll.listings import store as pages
from enroll.mail import occasions, queue, writing
from enroll.mail import store as mail_store
from enroll.mail.states import FAILED, Pace, State, state_of
from enroll.operators import registers
from enroll.operators.actors import Actor, require
from enroll.operators.helping import may
from enroll.operators.roles import Act, Verdict
from enroll.ra import RegistrationAuthority
from enroll.refusals import Refusal, check_line
from enroll.requests.enrollment import state_at
from enroll.requests.states import UNFINISHED, WAITING

#: Rows of a page, and the most that are sent again at once.
PAGE = 50
#: What can be done about a letter: "retry" one that never left, "again" what has no secret in it, or what
#: makes a new secret: "reissue", "reset", "code" (an operator's).
Remedy = Literal["retry", "again", "reissue", "reset", "code", ""]

#: Kinds whose letter tells a secret, and what makes another one.
_SECRET: Mapping[str, Remedy] = {
    "pickup": "reissue",
    "issue_password": "reissue",
    "issue_password_admin": "reissue",
    "user_id": "reset",
    "password_reset": "reset",
    "operator_code": "code",
}
#: Kinds that say nothing which only their recipient may read.
_OPEN = frozenset(
    {
        "pickup_without_password",
        "renewal_30",
        "renewal_7",
        "renewal_7_admin",
        "renewed_by_another",
        "issuer_distrusted",
    }
)


@dataclass(frozen=True)
class Seen:
    """A letter, without its words, with what whoever looks at it wants to know."""

    letter: Mapping[str, Any]
    state: State
    #: To whom, where that is a user.
    user: store.User | None
    remedy: Remedy
    #: When it is tried next; None where it does not wait.
    next_at: int | None

    @property
    def again(self) -> bool:
        """Whether `send_again` would send it."""
        return self.remedy in ("retry", "again")


@dataclass(frozen=True)
class Whole:
    """A letter with its words, every secret in them masked, and with its history."""

    seen: Seen
    body: str
    #: When, what, and what the mail server said; oldest first.
    history: Sequence[tuple[int, str, str]]
    #: How the address of whom it is to stands now; None where that is no user's.
    address: Address | None
    #: Numbers of those by which it was sent once more.
    followers: Sequence[int] = ()


@dataclass(frozen=True)
class Address:
    """Whether mail arrives where a user is to be reached: by the newest letter there that has left, or
    failed. An address that was put right stands well until something is sent there."""

    mail: str
    #: `State.SENT` for one that nothing is known against.
    state: State
    letter: int | None = None
    said: str = ""

    @property
    def good(self) -> bool:
        return self.state not in FAILED


@dataclass(frozen=True)
class Page:
    """A part of a list. ``first``: the place of its first row, from 1; ``total``: how many there are."""

    rows: Sequence[Seen]
    first: int
    total: int
    #: Before which number the next page is; None on the last one.
    following: int | None


def listed(
    db: Transaction, ra: RegistrationAuthority, actor: Actor, wanted: Letters, last: int | None = None
) -> Page:
    """A page of the list, newest first: those before a number. Refusal("not_permitted")."""
    require(actor, Act.SEARCH, Verdict.READ)
    total = pages.count_letters(db, wanted)
    before = pages.count_letters(db, wanted, last) if last is not None else 0
    found = listings.letters_before(db, wanted, 2**62 if last is None else last, PAGE + 1)
    rows = [seen(db, ra, each) for each in found[:PAGE]]
    return Page(rows, before + 1, total, found[PAGE - 1]["id"] if len(found) > PAGE else None)


def count(db: Transaction, actor: Actor, wanted: Letters) -> int:
    """How many the list has. Refusal("not_permitted")."""
    require(actor, Act.SEARCH, Verdict.READ)
    return pages.count_letters(db, wanted)


def every(
    db: Transaction, actor: Actor, wanted: Letters, last: int, limit: int
) -> Sequence[Mapping[str, Any]]:
    """So many before a number, newest first, without their words: for a file. Refusal("not_permitted")."""
    require(actor, Act.RECORD, Verdict.READ)
    return listings.letters_before(db, wanted, last, limit)


def one(db: Transaction, ra: RegistrationAuthority, actor: Actor, number: int) -> Whole:
    """A letter. Refusal: "not_permitted", "not_found"."""
    require(actor, Act.SEARCH, Verdict.READ)
    letter = mail_store.shown(db, number)
    if letter is None:
        raise Refusal("not_found", field="mail")
    body = letter.pop("shown_body")
    found = seen(db, ra, letter)
    user = found.user
    address = address_of(db, user) if user is not None else None
    return Whole(found, body, history(db, letter), address, mail_store.sent_again(db, number))


async def note_letters(ra: RegistrationAuthority, actor: Actor, action: str, about: str, **told: Any) -> None:
    """Says in the trail whose letters were looked at."""
    await registers.note(ra, actor, Act.SEARCH, action, about, told)


def history(db: Transaction, letter: Mapping[str, Any]) -> list[tuple[int, str, str]]:
    """What happened to a letter, oldest first: when, what, and what was said to it."""
    told = [(letter["created_at"], "queued", "")]
    told += [(each["at"], each["event"], each["said"]) for each in mail_store.history(db, letter["id"])]
    if letter["sent_at"] is not None:
        # What came back has another result by now; what the server said when it took the letter is past.
        told.append((letter["sent_at"], "sent", letter["result"] if letter["state"] == "sent" else ""))
    if letter["held_at"] is not None and letter["state"] == "queued":
        told.append((letter["held_at"], "held", ""))
    # Within a second in the order of its life.
    return sorted(told, key=lambda each: (each[0], _ORDER.get(each[1], 1)))


_ORDER = {"queued": 0, "sent": 2, "bounced": 3}


def address_of(db: Transaction, user: store.User) -> Address:
    """How a user's address stands."""
    newest = mail_store.newest_to(db, user.user_id, user.mail)
    if newest is None:
        return Address(user.mail, State.SENT)
    return Address(user.mail, state_of(newest), newest["id"], newest["result"])


def seen(db: Transaction, ra: RegistrationAuthority, letter: Mapping[str, Any]) -> Seen:
    """A letter as a row of a list has it."""
    at, user = ra.now(), store.user(db, letter["user_id"]) if letter["user_id"] else None
    next_at = queue.next_attempt(db, dict(letter), at, ra.settings)
    return Seen(letter, state_of(letter), user, _remedy(db, letter, at), next_at)


def _remedy(db: Transaction, letter: Mapping[str, Any], at: int) -> Remedy:
    """What can be done about a letter; "" for one that is still to leave, or is about what has ended."""
    if letter["state"] == "failed" and letter["sent_at"] is None:
        return "retry"
    if letter["state"] == "queued":
        return ""
    if letter["kind"] in _OPEN and letter["user_id"]:
        good = letter["state"] in ("sent", "failed") and letter["channel"] == "mail"
        return "again" if good and _goes_on(db, letter, at) else ""
    return _SECRET.get(letter["kind"], "")


def _goes_on(db: Transaction, letter: Mapping[str, Any], at: int) -> bool:
    """Whether somebody has still to go on with what a letter is about."""
    if not letter["request_id"]:
        return True
    found = store.enrollment(db, letter["request_id"])
    return found is not None and state_at(found, at) in WAITING | UNFINISHED


async def send_again(
    ra: RegistrationAuthority,
    actor: Actor,
    number: int,
    user_id: str | None = None,
    pace: Pace = Pace.AT_ONCE,
) -> Remedy:
    """Has a letter sent once more, to the address that is recorded now: one that never left as it is; of
    those that left what has no secret in it, once a day. Returns which it was. ``user_id``: only one of
    this user's. ``pace``: at once for somebody on the telephone, who waits for it.

    Refusal: "not_permitted", "not_found", "conflict" for any other, with what there is instead.
    """

    def work(db: Transaction) -> Remedy:
        at = ra.now()
        by = may(db, actor, Act.CALL, at)
        letter = mail_store.shown(db, number)
        if letter is None or (user_id is not None and letter["user_id"] != user_id):
            raise Refusal("not_found", field="mail")
        what = _remedy(db, letter, at)
        if what == "retry":
            done = mail_store.retry_one(db, number, at)
        else:
            to = store.active_user(db, letter["user_id"]) if what == "again" else None
            done = to is not None and _queue(db, ra, letter, to, at, pace)
        if not done:
            raise Refusal("conflict", field="mail", detail=_instead(letter, what))
        store.audit(db, at, by.name, "mail.retried", letter["user_id"], letter=number)
        return what

    return await ra.database.write(work)


async def returned(ra: RegistrationAuthority, actor: Actor, number: int, why: str) -> str:
    """Records that a postcard was brought back, with what is written on it; whose it is.

    Refusal: "not_permitted", "not_found", "invalid_input" without a reason, "conflict" for what is no
    postcard that was sent.
    """
    why = why.strip()
    check_line("reason", why, needed=True)

    def work(db: Transaction) -> str:
        at = ra.now()
        by = may(db, actor, Act.CALL, at)
        letter = mail_store.shown(db, number)
        if letter is None:
            raise Refusal("not_found", field="mail")
        if letter["channel"] != "postcard" or not mail_store.mark_bounced(db, number, at, why):
            detail = f"letter {number} is no postcard that was sent; of an email: sekisho mail bounce FILE"
            raise Refusal("conflict", field="mail", detail=detail)
        store.audit(db, at, by.name, "mail.bounced", letter["user_id"], letter=number, said=why)
        return str(letter["user_id"])

    return await ra.database.write(work)


def held(db: Transaction, actor: Actor, user_id: str | None = None) -> int:
    """How many letters are held back, of all or of one user's. Refusal("not_permitted")."""
    require(actor, Act.SEARCH, Verdict.READ)
    return mail_store.held(db, user_id)


async def release(
    ra: RegistrationAuthority, actor: Actor, user_id: str | None = None, count: int | None = None
) -> int:
    """Lets letters go that are held back, all or one user's; how many. ``count``: as many as whoever asks has
    seen, and no others. Refusal: "not_permitted", "conflict" where there are more or fewer by now."""

    def work(db: Transaction) -> int:
        at = ra.now()
        by = may(db, actor, Act.CALL, at)
        released = mail_store.release(db, at, user_id)
        # Counted by what was done, which a refusal undoes: none is held back between two statements.
        if count is not None and released != count:
            raise Refusal("conflict", field="letters", detail="there are more, or fewer, by now: look again")
        if released:
            store.audit(db, at, by.name, "letters.released", user_id or "", letters=released)
        return released

    return await ra.database.write(work)


def _instead(letter: Mapping[str, Any], what: Remedy) -> str:
    """Why a letter is not sent again, and what there is to type instead."""
    number, user_id = letter["id"], letter["user_id"]
    secret = f"letter {number} tells a secret, which is not sent twice; instead:"
    if what == "reset":
        return f"{secret} sekisho user reset-password {user_id}"
    if what == "reissue":
        return f"{secret} a reissue: sekisho request reissue {user_id} --reason mail_lost"
    if what == "code":
        return f"{secret} a new code: sekisho operator code NAME"
    if what == "again":
        return f"letter {number} was sent again today already, or whom it is to is stopped"
    if letter["held_at"] is not None:
        return f"letter {number} is held back; to let it go: sekisho mail release --user {user_id}"
    if letter["state"] == "queued":
        return f"letter {number} has still to leave; to try it at once: sekisho mail retry --letter {number}"
    return f"letter {number} is about what has ended"


def _queue(
    db: Transaction,
    ra: RegistrationAuthority,
    letter: Mapping[str, Any],
    to: store.User,
    at: int,
    pace: Pace,
) -> bool:
    """The same words to the same person, but for how many days are left, and who is still meant (which is
    decided when it leaves). What operators see of such a letter is all of it."""
    assert writing.MASK not in letter["shown_body"]
    cause = f"again:{letter['id']}:{day_of(at)}"
    new = occasions.of_today(db, ra, letter, cause, at) if letter["kind"] in occasions.OF_A_DAY else None
    again = new or writing.Letter(
        cause=cause,
        kind=letter["kind"],
        channel=letter["channel"],
        user_id=to.user_id,
        request_id=letter["request_id"],
        recipient=to.mail,
        subject=letter["subject"],
        body=letter["shown_body"],
        shown_body=letter["shown_body"],
        about=mail_store.about(db, letter["id"]),
    )
    return writing.queue(db, ra.epochs, again, at, pace=pace)
