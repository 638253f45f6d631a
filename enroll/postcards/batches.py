"""What operators do about postcards: batches are made, fetched, printed, reprinted for a reason, given up."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from ca.storage import Transaction
from enroll import store
from enroll.jst import shown
from enroll.mail import delivery
from enroll.operators import asking
from enroll.operators.actors import Actor, asked_again, require
from enroll.operators.asking import Done
from enroll.operators.roles import Act, Verdict
from enroll.people.postal import Postal, sent_to
from enroll.postcards import keeping
from enroll.postcards import store as postcards
from enroll.postcards.card import Unprintable, style_of
from enroll.postcards.drawing import flaws_of
from enroll.postcards.states import OPEN, State
from enroll.postcards.store import Batch
from enroll.ra import RegistrationAuthority
from enroll.refusals import Refusal, check_line

KIND = "postcard.batch"
#: Cards of a batch at most: as many as a box has, and a PDF of some three megabytes.
MOST = 1_000


@dataclass(frozen=True)
class Waiting:
    """A card that waits, and where it would go."""

    letter: int
    kind: str
    user_id: str
    name: str
    policy_number: str
    organisation: str
    postal: Postal
    at_organisation: bool
    queued_at: int


def waiting(db: Transaction) -> list[Waiting]:
    """What waits to be printed, in the order in which it would be."""
    found = list[Waiting]()
    for row in postcards.waiting(db):
        user = store.user(db, row["user_id"])
        organisation = None if user is None else store.organisation(db, user.policy_number)
        if user is None or organisation is None:
            continue
        found.append(
            Waiting(
                *(row["id"], row["kind"], user.user_id, row["recipient"]),
                *(organisation.policy_number, organisation.name, *sent_to(user, organisation)),
                row["queued_at"],
            )
        )
    return found


async def make(
    ra: RegistrationAuthority, actor: Actor, *, without: Collection[str] = (), most: int = MOST
) -> Batch:
    """Has a job draw a batch of what waits and has an address, but the cards of users ``without``.

    Nothing is taken, and no number is drawn, if one card cannot be printed: Refusal("invalid_input",
    "postcards") names each, with the character. Refusal("conflict") where nothing waits, "not_permitted".
    ConfigError where the font or the library is missing.
    """
    require(actor, Act.PRINT, Verdict.DO)
    await ra.database.write(lambda db: _drop_needless(db, ra))
    chosen = await ra.database.read(lambda db: _chosen(db, without, min(most, MOST)))
    cards = await ra.database.read(lambda db: keeping.cards_of(db, ra, chosen))
    flaws = await ra.workers.run(flaws_of, cards, style_of(ra.settings))
    if flaws:
        raise Unprintable(flaws)
    number = await ra.database.write(postcards.next_number)
    done = await asking.ask(ra, actor, KIND, {"batch": number, "letters": list(chosen)})
    assert isinstance(done, Done), "who may print prints alone"
    return await ra.database.read(lambda db: _known(db, number))


def listed(
    db: Transaction, actor: Actor, *, every: bool = True, before: int = 2**62, limit: int = 2**31
) -> list[Batch]:
    """Batches, newest first. Refusal("not_permitted")."""
    require(actor, Act.PRINT, Verdict.READ)
    return postcards.batches(db, every=every, before=before, limit=limit)


def seen(db: Transaction, actor: Actor, number: int) -> Batch:
    """One of them. Refusal("not_permitted"), "not_found"."""
    require(actor, Act.PRINT, Verdict.READ)
    return _known(db, number)


async def fetch(ra: RegistrationAuthority, actor: Actor, number: int, *, reason: str = "") -> bytes:
    """The PDF of a batch, for whoever prints it: the first time without a reason, then with one. Who had it
    is in the trail. Refusal: "not_permitted", "not_found", "conflict", "invalid_input" for a wrong reason."""
    reason = reason.strip()
    check_line("reason", reason)

    def work(db: Transaction) -> bytes:
        at = ra.now()
        by = _may(db, actor, at)
        found = _known(db, number)
        sealed = postcards.fetched(db, number, at, again=bool(reason))
        if sealed is None:
            raise _why_not(found, bool(reason))
        told = {"reason": reason} if reason else {}
        act = "postcards.reprinted" if reason else "postcards.fetched"
        store.audit(db, at, by.name, act, str(number), cards=found.cards, **told)
        return sealed

    return keeping.opened(ra, number, await ra.database.write(work))


async def printed(ra: RegistrationAuthority, actor: Actor, number: int) -> Batch:
    """Somebody says that a batch is printed: its cards have left, and its PDF and their secrets are wiped.

    Counted once: Refusal("conflict") for a batch that is over, or whose PDF nobody has fetched."""

    def work(db: Transaction) -> Batch:
        at = ra.now()
        by, found = _may(db, actor, at), _known(db, number)
        if found.state is State.READY and found.fetches == 0:
            detail = f"nobody has fetched batch {number} yet: sekisho postcard fetch {number} FILE.pdf"
            raise Refusal("conflict", field="postcards", detail=detail)
        if not postcards.printed(db, number, by.name, at):
            raise Refusal("conflict", field="postcards", detail=f"batch {number} is {found.state} already")
        store.audit(db, at, by.name, "postcards.printed", str(number), cards=found.cards)
        return _known(db, number)

    return await ra.database.write(work)


async def cancel(ra: RegistrationAuthority, actor: Actor, number: int, reason: str) -> Batch:
    """Ends a batch: its cards wait again, and what was printed of it is to be destroyed.

    Refusal: "not_permitted", "not_found", "conflict" for one that is over, "invalid_input" without a reason.
    """
    reason = reason.strip()
    check_line("reason", reason, needed=True)

    def work(db: Transaction) -> Batch:
        by, found = _may(db, actor, ra.now()), _known(db, number)
        if not keeping.cancel(db, ra, number, by.name, reason=reason):
            raise Refusal("conflict", field="postcards", detail=f"batch {number} is {found.state} already")
        return _known(db, number)

    return await ra.database.write(work)


def _may(db: Transaction, actor: Actor, at: int) -> Actor:
    by = asked_again(db, actor, at)
    require(by, Act.PRINT, Verdict.DO)
    return by


def _known(db: Transaction, number: int) -> Batch:
    found = postcards.batch(db, number)
    if found is None:
        raise Refusal("not_found", field="postcards")
    return found


def _why_not(found: Batch, again: bool) -> Refusal:
    number = found.number
    if found.state not in OPEN:
        why = f"batch {number} is {found.state}: its PDF is gone"
    elif found.state is State.MAKING:
        why = f"batch {number} is still being made: sekisho postcard show {number}"
    elif not found.kept:
        why = (
            f"the PDF of batch {number} was wiped after a week; were its cards printed? "
            f"sekisho postcard printed {number}; if not: sekisho postcard cancel {number} --reason WHY"
        )
    elif again:
        why = f"nobody has fetched batch {number} yet: sekisho postcard fetch {number} FILE.pdf"
    else:
        first = shown(found.fetched_at or 0)
        why = (
            f"batch {number} was fetched {first}; to print it once more: "
            f"sekisho postcard reprint {number} FILE.pdf --reason WHY"
        )
    return Refusal("conflict", field="postcards", detail=why)


def _drop_needless(db: Transaction, ra: RegistrationAuthority) -> None:
    """Letters whose cause is gone are not printed, as they would not be sent."""
    for row in postcards.waiting(db, disabled=True):
        letter = postcards.letter(db, row["id"])
        if letter is not None:
            delivery.stays(db, ra, letter, ra.now())


def _chosen(db: Transaction, without: Collection[str], most: int) -> list[int]:
    there = waiting(db)
    strangers = set(without) - {each.user_id for each in there}
    if strangers:
        detail = f"no postcard waits for {', '.join(sorted(strangers))}"
        raise Refusal("invalid_input", field="without", detail=detail)
    fit = [each.letter for each in there if each.postal.complete and each.user_id not in without]
    if not fit:
        nowhere = sum(not each.postal.complete for each in there)
        detail = "no postcard waits that could be printed"
        detail += f"; no address is recorded for {nowhere}: sekisho postcard waiting" if nowhere else ""
        raise Refusal("conflict", field="postcards", detail=detail)
    return fit[:most]
