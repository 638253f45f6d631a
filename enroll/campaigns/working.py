"""A campaign begins, reminds and ends: what operators ask for, carried out.

A reminder is the second notice once more (`noticing`), to those who can renew now and have not. Nobody gets
one within the campaign's days after any letter about a renewal, nor when time is about to bring one, and
nobody whose address sent the last back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ca.storage import Row, Transaction
from enroll import noticing
from enroll import store as rooms
from enroll.campaigns import facts, known, store
from enroll.campaigns.store import Campaign
from enroll.jst import day_of
from enroll.mail import occasions, writing
from enroll.mail import store as mail_store
from enroll.ra import RegistrationAuthority
from enroll.refusals import Refusal, check_line
from enroll.requests.opening import open_renewal, renewable_before, renewable_from
from enroll.settings import DAY

#: Days between two letters to somebody, unless a campaign says otherwise, and the most that one may say.
EVERY_DAYS, MOST_DAYS = 7, 90
#: The second notice: it says that nothing was renewed yet, whenever it comes.
_LETTER: writing.Kind = "renewal_7"


@dataclass(frozen=True)
class Remindable:
    """Who would get a reminder now, by the numbers of their enrollments; of the others how many, and why not.

    ``early``: before their renewal period; ``told``: a letter of late, or at this moment, or for another
    certificate of the same person; ``bounced``: from that address the last one came back; ``needless``: by
    the rules of every notice.
    """

    numbers: tuple[int, ...]
    early: int = 0
    told: int = 0
    bounced: int = 0
    needless: int = 0


def check_new(db: Transaction, ra: RegistrationAuthority, payload: Mapping[str, Any]) -> None:
    """Refusal("invalid_input") or ("not_found") for a campaign that cannot begin, with the field at fault."""
    check_line("name", payload["name"], needed=True)
    first, until, every = payload["first_at"], payload["until_at"], payload["every_days"]
    if all(payload[name] is None for name in ("first_at", "until_at", "policy_number", "issuer_id")):
        detail = "say which certificates it is about: --from and --to, --org, or --ca"
        raise Refusal("invalid_input", field="set", detail=detail)
    if until is not None and (until <= max(first or 0, ra.now())):
        detail = "--to: give a last day that is not before the first, nor past"
        raise Refusal("invalid_input", field="until_at", detail=detail)
    if not 1 <= every <= MOST_DAYS:
        raise Refusal("invalid_input", field="every_days", detail=f"--every: 1 to {MOST_DAYS} days")
    number, issuer_id = payload["policy_number"], payload["issuer_id"]
    if number is not None and rooms.organisation(db, number) is None:
        detail = f"there is no organisation {number}; see: sekisho org list"
        raise Refusal("not_found", field="policy_number", detail=detail)
    if issuer_id is not None and issuer_id not in {each.issuer_id for each in ra.authority.issuers}:
        detail = f"there is no issuing CA {issuer_id}; see: sekisho ca list"
        raise Refusal("not_found", field="issuer_id", detail=detail)


async def begin(ra: RegistrationAuthority, payload: Mapping[str, Any], by: str) -> Mapping[str, Any]:
    """Records a campaign. No letter leaves by that."""

    def work(db: Transaction) -> int:
        check_new(db, ra, payload)
        at = ra.now()
        made = Campaign(number=0, begun_at=at, begun_by=by, **payload)
        number = store.add(db, made)
        rooms.audit(db, at, by, "campaign.begun", str(number), **facts(made))
        return number

    return {"campaign": await ra.database.write(work)}


def check_open(db: Transaction, ra: RegistrationAuthority, payload: Mapping[str, Any]) -> None:
    """Refusal("not_found"), or "conflict" for one that is over."""
    _open(db, payload["campaign"])


async def end(ra: RegistrationAuthority, payload: Mapping[str, Any], by: str) -> Mapping[str, Any]:
    """Ends a campaign: its figures stay as they are then. Refusal as above."""
    number = payload["campaign"]

    def work(db: Transaction) -> None:
        found, at = _open(db, number), ra.now()
        if not store.end(db, number, at, by):
            raise _over(number)
        rooms.audit(db, at, by, "campaign.ended", str(number), name=found.name)

    await ra.database.write(work)
    return payload


def before(db: Transaction, payload: Mapping[str, Any]) -> Mapping[str, Any]:
    """What it is that is proposed about; a change of it voids the proposal."""
    found = store.campaign(db, payload["campaign"])
    return {} if found is None else {**facts(found), "ended_at": found.ended_at}


# -- reminders ---------------------------------------------------------------------------------------------


def remindable(db: Transaction, ra: RegistrationAuthority, campaign: Campaign) -> Remindable:
    """Who would get a reminder now. Reads all of those who can renew and have not."""
    at = ra.now()
    until = renewable_before(at, ra)
    until = until if campaign.until_at is None else min(until, campaign.until_at)
    rows = store.listed(db, replace(campaign, until_at=until), at, "open")
    lasts = mail_store.last_notices(db, list({row["user_id"] for row in rows}))
    numbers, people, why = list[int](), set[str](), dict[str, int]()
    if early := int(store.summed(db, campaign, at)["open_"]) - len(rows):
        why["early"] = early
    for row in rows:
        mine = row["user_id"]
        reason = "told" if mine in people else _why_not(db, ra, campaign, row, lasts.get(mine))
        if reason:
            why[reason] = why.get(reason, 0) + 1
            continue
        people.add(mine)
        numbers.append(int(row["number"]))
    return Remindable(tuple(numbers), **why)


def check_reminder(db: Transaction, ra: RegistrationAuthority, payload: Mapping[str, Any]) -> None:
    """Refusal("conflict") for a reminder to nobody; else as `check_open`."""
    check_open(db, ra, payload)
    if not payload["numbers"]:
        detail = "nobody would get a reminder now: sekisho campaign show NUMBER says why"
        raise Refusal("conflict", field="numbers", detail=detail)


def begun_reminding(db: Transaction, ra: RegistrationAuthority, payload: Mapping[str, Any], by: str) -> None:
    """Says in the trail who has decided a reminder. Refusal as for `check_reminder`."""
    check_reminder(db, ra, payload)
    letters = len(payload["numbers"])
    rooms.audit(db, ra.now(), by, "campaign.reminded", str(payload["campaign"]), letters=letters)


def remind(
    db: Transaction, ra: RegistrationAuthority, payload: Mapping[str, Any], number: int
) -> tuple[str, str]:
    """Queues one reminder, if it is still wanted: whose it is, and "mailed" or "needless".

    Refusal("conflict") where the campaign is over, or the address has sent the last letter back.
    """
    campaign, at = _open(db, payload["campaign"]), ra.now()
    row = store.one(db, campaign, at, number)
    if row is None:
        return "", "needless"
    # Held before the last letter is looked for, as by whoever queues another one to the same person.
    source, user = rooms.enrollment(db, row["request_id"]), rooms.user(db, row["user_id"])
    if source is None or user is None:
        return row["user_id"], "needless"
    last = mail_store.last_notice(db, user.user_id)
    reason = _why_not(db, ra, campaign, {**row, "mail": user.mail}, last)
    if reason == "bounced":
        detail = (
            f"the last letter to {user.mail} came back: sekisho user change {user.user_id} --mail ADDRESS"
        )
        raise Refusal("conflict", field="mail", detail=detail)
    if reason:
        return user.user_id, "needless"
    renewal = open_renewal(db, ra, source, door="page")
    # Once a day, whichever campaigns race.
    cause = f"campaign:{user.user_id}:{day_of(at).isoformat()}"
    sent = occasions.renewal_notice(db, ra, user, renewal, source, _LETTER, at, cause=cause)
    return user.user_id, "mailed" if sent else "needless"


def _why_not(
    db: Transaction, ra: RegistrationAuthority, campaign: Campaign, row: Row, last: Row | None
) -> str:
    """Why somebody gets no reminder now: a field of `Remindable`; "" for who gets one. ``last``: the last
    letter about a renewal."""
    at = ra.now()
    if at < renewable_from(row["not_after_at"], ra):
        return "early"
    if last is not None and last["state"] == "failed" and last["recipient"] == row["mail"]:
        return "bounced"
    if last is not None and last["queued_at"] > at - campaign.every_days * DAY:
        return "told"
    source = rooms.enrollment(db, row["request_id"])
    if source is None or not noticing.wanted(db, source, _LETTER):
        return "needless"
    return "told" if noticing.awaited(db, ra, source) else ""


def _open(db: Transaction, number: int) -> Campaign:
    found = known(db, number)
    if found.ended_at is not None:
        raise _over(number)
    return found


def _over(number: int) -> Refusal:
    return Refusal(
        "conflict", field="campaign", detail=f"campaign {number} is over; begin another: sekisho campaign add"
    )
