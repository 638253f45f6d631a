"""Mails and postcards: what went out, and what is due. Bodies are shown with their secrets masked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from itertools import islice
from typing import Any

import click

from ca.storage import Transaction
from enroll import listings, store, timekeeping
from enroll.jst import day_of, shown
from enroll.listings import Letters
from enroll.listings.store import LETTER_STATES
from enroll.mail import queue
from enroll.mail import store as mail_store
from enroll.mail.bounces import MAX_BYTES, parse_bounce, record_bounce
from enroll.mail.delivery import deliver_due
from enroll.mail.states import Pace
from enroll.mail.writing import TEMPLATES
from enroll.operators import letters
from enroll.operators.roles import Act
from enroll.refusals import Refusal
from enroll.scheduler import notify
from gateway.cli.caller import Given, InputFile, acting, actor
from gateway.cli.frame import DOES, READS, Answer, answer, cell, deployment_command, detail, listing, plain
from gateway.cli.output import Console
from gateway.cli.people import known_user, of_user
from gateway.cli.root import GROUPS
from gateway.serving.deployment import Deployment

_MAIL = GROUPS["mail"]


@deployment_command(_MAIL, "list", Act.SEARCH, READS)
@of_user()
@click.option("--state", type=click.Choice(LETTER_STATES), help="Only these; open: failed, and none since.")
@click.option("--kind", type=click.Choice(list(TEMPLATES)), help="Only letters of this kind.")
@click.option("--limit", type=click.IntRange(1, 10_000_000), default=200, show_default=True)
async def _list(
    deployment: Deployment, user_id: str | None, state: str | None, kind: str | None, limit: int
) -> Answer:
    """List letters, newest first, with what the mail server said and when each is tried next."""
    if user_id is not None:
        known_user(deployment.ra, user_id)
    wanted = Letters(state=state, kind=kind, user_id=user_id)
    written = islice(listings.letters(deployment.ra.database, wanted), limit)
    found = (_with_next_attempt(deployment, row) for row in written)
    columns = {
        "id": "No.",
        "kind": "Kind",
        "channel": "By",
        "user_id": "User ID",
        "recipient": "To",
        "state": "State",
        "failure": "How it failed",
        "created_at": "Queued",
        "next_attempt_at": "Next attempt",
        "held_at": "Held",
        "sent_at": "Sent",
        "result": "Result",
    }
    return listing("mails", found, columns)


@deployment_command(_MAIL, "show", Act.SEARCH, READS)
@click.argument("number", type=int)
async def _show(deployment: Deployment, number: int) -> Answer:
    """Show a letter, and what happened to it. Passwords in it are masked; only the recipient has them."""
    whole = deployment.ra.database.read_now(lambda db: letters.one(db, deployment.ra, acting(), number))
    found = _with_next_attempt(deployment, whole.seen.letter)
    head = detail("mail", found)
    told = [f"{shown(at)}  {event}  {said}".rstrip() for at, event, said in whole.history]

    def show(console: Console) -> None:
        head.show(console)
        for words in ("", *told, "", whole.body):
            console.print(plain(words), soft_wrap=True)

    history = [{"at": at, "event": event, "said": said} for at, event, said in whole.history]
    return Answer({"mail": {**found, "shown_body": whole.body, "history": history}}, show)


@deployment_command(_MAIL, "again", Act.CALL, DOES)
@click.argument("numbers", type=int, nargs=-1, required=True)
async def _again(deployment: Deployment, numbers: tuple[int, ...]) -> Answer:
    """Send letters once more, to the addresses that are recorded now: what never left as it is, and of what
    left only what tells no password, once a day. At most 50 at a time; each is done or refused by itself."""
    if len(set(numbers)) > letters.PAGE:
        raise click.UsageError(f"at most {letters.PAGE} at a time: name fewer")
    done, refused = list[int](), list[dict[str, Any]]()
    for number in dict.fromkeys(numbers):
        try:
            pace = Pace.AT_ONCE if len(set(numbers)) == 1 else Pace.BY_DAY
            await letters.send_again(deployment.ra, acting(), number, pace=pace)
            done.append(number)
        except Refusal as refusal:
            if len(set(numbers)) == 1:
                raise
            why = refusal.detail or f"there is no letter {number}"
            refused.append({"mail": number, "error": refusal.code, "why": why})
    lines = [f"queued once more: {', '.join(map(str, done)) or 'none'}", *(each["why"] for each in refused)]
    return answer({"again": done, "refused": refused}, *lines, failed=bool(refused))


@deployment_command(_MAIL, "deliver", Act.CALL, DOES)
async def _deliver(deployment: Deployment) -> Answer:
    """Send what is due now. A running server does this by itself."""
    accepted = 0
    # A pass takes a hundred letters of each connection; what fails is put back for later, so this ends.
    while (sent := await deliver_due(deployment.ra, deployment.transport)) > 0:
        accepted += sent
    if accepted:
        await _noted(deployment, "letters.delivered", letters=accepted)
    waits, held = _standing(deployment), deployment.ra.database.read_now(mail_store.held)
    lines = [f"accepted: {accepted}, still queued: {waits.waiting}", *_said_of_lanes(waits)]
    if held:
        lines.append(f"{held} are held back; to let them go: sekisho mail release")
    value = {"delivered": accepted, "waiting": waits.waiting, "held": held, "refused": _lanes(waits)}
    return answer(value, *lines)


async def _noted(deployment: Deployment, action: str, **told: Any) -> None:
    """Says in the trail that an operator did by hand what the scheduler does by itself."""
    at, by = deployment.ra.now(), actor()
    await deployment.ra.database.write(lambda db: store.audit(db, at, by, action, "queue", **told))


@deployment_command(_MAIL, "release", Act.CALL, DOES)
@of_user("Only this user's letters.")
async def _release(deployment: Deployment, user_id: str | None) -> Answer:
    """Let letters go that were held back (sekisho user import --hold-letters)."""
    if user_id is not None:
        known_user(deployment.ra, user_id)
    released = await letters.release(deployment.ra, acting(), user_id)
    held = deployment.ra.database.read_now(mail_store.held)
    return answer({"released": released, "held": held}, f"released: {released}, still held: {held}")


@deployment_command(_MAIL, "retry", Act.CALL, DOES)
@click.option("--letter", "number", type=int, default=None, help="Only this one: queued, or failed.")
@click.option("--all", "failed", is_flag=True, help="Those that failed, too, unless they had left before.")
async def _retry(deployment: Deployment, number: int | None, failed: bool) -> Answer:
    """Try queued letters again at once, after the mail server is mended.

    Ends what holds all letters and what puts off single ones. With --letter, that one goes first, and after a
    hold the others follow once it is taken. What has left is never sent again.
    """
    if number is not None and failed:
        raise click.UsageError("--letter names one letter, --all means every one: leave one out")
    if number is not None:
        return await _retry_one(deployment, number)

    def work(db: Transaction) -> dict[str, int]:
        at = deployment.ra.now()
        counts = {
            "failed": mail_store.retry_failed(db, at) if failed else 0,
            "waiting": mail_store.retry(db, at),
        }
        store.audit(db, at, actor(), "mail.retried", "queue", **counts)
        return counts

    counts = await deployment.ra.database.write(work)
    lines = [f"tried again at once: {counts['waiting']}, of which had failed: {counts['failed']}"]
    waits = _standing(deployment)
    if waits.failed and not failed:
        lines.append(f"failed, and left alone: {waits.failed}. See why: sekisho mail list --state failed")
    return answer({"retried": counts}, *lines, _SENDING)


_SENDING = "A running server sends them within a second; without one: sekisho mail deliver"


async def _retry_one(deployment: Deployment, number: int) -> Answer:
    def work(db: Transaction) -> dict[str, Any]:
        at = deployment.ra.now()
        letter = mail_store.shown(db, number)
        if letter is None:
            raise Refusal("not_found", field="mail")
        if not mail_store.retry_one(db, number, at):
            raise Refusal("conflict", field="mail", detail=_not_again(letter))
        store.audit(db, at, actor(), "mail.retried", letter["user_id"], letter=number)
        return _next_attempt(db, deployment, mail_store.shown(db, number) or letter)

    letter = await deployment.ra.database.write(work)
    moment = cell("next_attempt_at", letter["next_attempt_at"])
    value = {name: letter[name] for name in ("id", "state", "recipient", "next_attempt_at")}
    return answer(
        {"retried": value}, f"letter {number} to {letter['recipient']} is tried at {moment}", _SENDING
    )


def _not_again(letter: Mapping[str, Any]) -> str:
    """Why a letter is not tried again, and what there is instead (R16)."""
    number, user_id = letter["id"], letter["user_id"]
    if letter["sent_at"] is not None:
        return (
            f"letter {number} has left; where it tells no password: sekisho mail again {number}; else: "
            f"sekisho user reset-password {user_id}, or a reissue"
        )
    if letter["held_at"] is not None:
        return f"letter {number} is held back; to let it go: sekisho mail release --user {user_id}"
    return f"letter {number} was cancelled ({letter['result']}); nothing of it is left to send"


def _with_next_attempt(deployment: Deployment, letter: Mapping[str, Any]) -> dict[str, Any]:
    """The letter as operators see it: tried next when everything it waits for is over."""
    return deployment.ra.database.read_now(lambda db: _next_attempt(db, deployment, letter))


def _next_attempt(db: Transaction, deployment: Deployment, letter: Mapping[str, Any]) -> dict[str, Any]:
    ra = deployment.ra
    moment = queue.next_attempt(db, dict(letter), ra.now(), ra.settings)
    shown = {**letter, "notice": letter["notice"] == Pace.NOTICE, "next_attempt_at": moment}
    if moment is not None and not letter["result"]:
        shown["result"] = queue.lane(db, letter["channel"]).said
    return shown


def _standing(deployment: Deployment) -> queue.Standing:
    ra = deployment.ra
    return ra.database.read_now(lambda db: queue.standing(db, ra.now(), ra.settings))


def _lanes(waits: queue.Standing) -> list[dict[str, Any]]:
    names = ("channel", "held_since_at", "held_until_at", "said")
    return [{name: getattr(lane, name) for name in names} for lane in waits.held]


def _said_of_lanes(waits: queue.Standing) -> list[str]:
    return [
        f"every letter ({lane.channel}) waits until {shown(lane.held_until_at)}: {lane.said}. "
        "Once mended: sekisho mail retry"
        for lane in waits.held
    ]


@deployment_command(_MAIL, "bounce", Act.CALL, DOES)
@click.argument("file", type=InputFile("bounce", dash=True, most=MAX_BYTES + 1), default="-")
async def _bounce(deployment: Deployment, file: Given) -> Answer:
    """Record a bounce, from a file or standard input, with the letter that did not arrive.

    For the mailbox of mail.return_path: `sekisho mail list` then says so where it said sent.
    """
    bounce = parse_bounce(file.content)
    fresh = await record_bounce(deployment.ra, bounce, actor=actor())
    letter = deployment.ra.database.read_now(lambda db: mail_store.shown(db, bounce.letter))
    assert letter is not None
    user_id = letter["user_id"]
    return answer(
        {"bounced": {"mail": bounce.letter, "user_id": user_id, "said": bounce.said, "new": fresh}},
        f"letter {bounce.letter} to {letter['recipient']} has come back: {bounce.said}",
        f"Put the address right: sekisho user change {user_id} --mail ADDRESS",
    )


@deployment_command(_MAIL, "returned", Act.CALL, DOES)
@click.argument("number", type=int)
@click.option("--reason", required=True, metavar="WHY", help="What is written on it.")
async def _returned(deployment: Deployment, number: int, reason: str) -> Answer:
    """Record that a postcard was brought back.

    NUMBER is the letter's, from `sekisho mail list --user USER_ID`.
    """
    user_id = await letters.returned(deployment.ra, acting(), number, reason)
    return answer(
        {"returned": {"mail": number, "user_id": user_id, "said": reason}},
        f"postcard {number} to {user_id} has come back: {reason}",
        f"Put the address right: sekisho user change {user_id} --postal-code CODE ...",
    )


@deployment_command(GROUPS["notify"], "run", Act.CALL, DOES)
@click.option(
    "--date", "day", type=click.DateTime(["%Y-%m-%d"]), default=None, help="Japan's day; default: today."
)
async def _notify(deployment: Deployment, day: datetime | None) -> Answer:
    """Queue the renewal mails that are due on a day, and those that failed and never left.

    Run again, it queues nothing.
    """
    await timekeeping.require(deployment.ra)
    today = day.date() if day is not None else day_of(deployment.ra.now())
    queued = asdict(await notify(deployment.ra, today, again=True))
    if any(queued.values()):
        await _noted(deployment, "notices.queued", day=today.isoformat(), **queued)
    return answer(
        {"date": today.isoformat(), "queued": queued},
        f"{today}: queued {queued['renewal_30']} first and {queued['renewal_7']} second renewal mails",
    )
