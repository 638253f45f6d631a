"""What happens to a batch inside a transaction: letters are taken, the PDF is kept and is wiped in time."""

from __future__ import annotations

from collections.abc import Sequence

from ca.epochs import LostKey
from ca.storage import Transaction
from enroll import store
from enroll.jobs import store as jobs
from enroll.jobs.states import Event, State
from enroll.mail import writing
from enroll.people.postal import sent_to
from enroll.postcards import store as postcards
from enroll.postcards.card import Card
from enroll.ra import RegistrationAuthority
from enroll.refusals import Refusal
from enroll.settings import DAY

#: Seconds that a PDF is kept for whoever prints it.
KEPT = 7 * DAY
_SCHEDULER = "scheduler"


def begin(
    db: Transaction, ra: RegistrationAuthority, number: int, letters: Sequence[int], by: str, job: int
) -> None:
    """Has a new batch hold letters, all or none; a job draws it.

    Refusal("conflict") if one does not wait any more."""
    for letter in letters:
        if not postcards.take(db, number, letter):
            raise Refusal("conflict", field="postcards", detail=f"letter {letter} does not wait any more")
    at = ra.now()
    postcards.add(db, number, letters, by, at, job)
    store.audit(db, at, by, "postcards.made", str(number), cards=len(letters))


def cards_of(db: Transaction, ra: RegistrationAuthority, letters: Sequence[int]) -> list[Card]:
    """What is printed of letters that were not wiped meanwhile. Refusal("invalid_input", "address") for
    somebody who has no address, by name."""
    found, nowhere = list[Card](), list[str]()
    for letter in letters:
        row = postcards.letter(db, letter)
        if row is None or row["state"] != "queued" or row["sealed_body"] is None:
            continue
        user = store.user(db, row["user_id"])
        organisation = None if user is None else store.organisation(db, user.policy_number)
        if user is None or organisation is None:
            continue
        postal, at_organisation = sent_to(user, organisation)
        if not postal.complete:
            nowhere.append(f"{user.user_id} {user.name} ({organisation.policy_number})")
            continue
        words = writing.opened(row, ra.epochs)
        whose = organisation.name if at_organisation else ""
        found.append(
            Card(user.user_id, words.recipient, postal, whose, words.subject, words.body, user.language)
        )
    if nowhere:
        detail = f"no postal address is recorded of {', '.join(nowhere)}"
        raise Refusal("invalid_input", field="postal_code", detail=detail)
    return found


def keep(db: Transaction, ra: RegistrationAuthority, number: int, pdf: bytes) -> None:
    """Keeps the PDF of a batch that was being made. Refusal("conflict") for one that was cancelled."""
    if not postcards.drawn(db, number, ra.epochs.seal(db, postcards.PDF, number, pdf), ra.now()):
        raise Refusal("conflict", field="postcards", detail=f"batch {number} is not being made any more")


def opened(ra: RegistrationAuthority, number: int, sealed: bytes) -> bytes:
    """A batch's PDF that was kept. Refusal("conflict") where its key is lost."""
    try:
        return ra.epochs.open(postcards.PDF, number, sealed)
    except LostKey:
        detail = f"batch {number} was made before the database was put back; cancel it, and make another one"
        raise Refusal("conflict", field="postcards", detail=detail) from None


def cancel(db: Transaction, ra: RegistrationAuthority, number: int, by: str, **told: str) -> bool:
    """Ends a batch, and its job if that is not over: its cards wait again. False if it is over already."""
    found = postcards.batch(db, number)
    if found is not None:
        jobs.end(db, found.job, Event.CANCEL, State.CANCELLED, ra.now(), by=by)
    return give_back(db, ra, number, by, **told)


def give_back(db: Transaction, ra: RegistrationAuthority, number: int, by: str, **told: str) -> bool:
    """The same whatever its job does."""
    found, at = postcards.batch(db, number), ra.now()
    if found is None or not postcards.cancelled(db, number, by, at):
        return False
    store.audit(db, at, by, "postcards.cancelled", str(number), cards=found.cards, **told)
    return True


async def end_old(ra: RegistrationAuthority) -> int:
    """Wipes PDFs that were kept long enough. What nobody has fetched nobody can have printed: those cards
    wait again; else somebody still has to say whether they were printed. Returns how many there were."""
    until = ra.now() - KEPT
    if not await ra.database.read(lambda db: postcards.old(db, until)):
        return 0

    def work(db: Transaction) -> int:
        found = postcards.old(db, until)
        for each in found:
            if each.fetches == 0:
                cancel(db, ra, each.number, _SCHEDULER, why="nobody has fetched it in time")
            else:
                postcards.wipe(db, each.number)
                store.audit(db, ra.now(), _SCHEDULER, "postcards.wiped", str(each.number))
        return len(found)

    return await ra.database.write(work)
