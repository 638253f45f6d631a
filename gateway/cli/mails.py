"""Mails and postcards: what went out, and what is due. Bodies are shown with their secrets masked."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import BinaryIO

import click
import sqlite_utils
from rich.console import Console

from enroll import mails, store, timekeeping
from enroll.bounces import MAX_BYTES, parse_bounce, record_bounce
from enroll.delivery import deliver_due
from enroll.jst import day_of
from enroll.refusals import Refusal
from enroll.scheduler import notify
from gateway.cli.frame import Answer, actor, answer, detail, house_command, listing, plain
from gateway.cli.people import known_user, of_user
from gateway.cli.root import GROUPS
from gateway.house import House

_MAIL = GROUPS["mail"]


@house_command(_MAIL, "list")
@of_user()
@click.option("--limit", type=click.IntRange(1, 100_000), default=200, show_default=True)
async def _list(house: House, user_id: str | None, limit: int) -> Answer:
    """List letters, newest first, with what the mail server said."""
    if user_id is not None:
        known_user(house.office, user_id)
    found = mails.listed(house.office.database.read(), user_id, limit)
    columns = {
        "id": "No.",
        "kind": "Kind",
        "channel": "By",
        "user_id": "User ID",
        "recipient": "To",
        "state": "State",
        "created_at": "Queued",
        "held_at": "Held",
        "sent_at": "Sent",
        "result": "Result",
    }
    return listing("mails", found, columns)


@house_command(_MAIL, "show")
@click.argument("number", type=int)
async def _show(house: House, number: int) -> Answer:
    """Show a letter. Passwords in it are masked; only the recipient has them."""
    found = mails.shown(house.office.database.read(), number)
    if found is None:
        raise Refusal("not_found", field="mail")
    body = found["shown_body"]
    head = detail("mail", {name: value for name, value in found.items() if name != "shown_body"})

    def show(console: Console) -> None:
        head.show(console)
        console.print()
        console.print(plain(body), soft_wrap=True)

    return Answer({"mail": found}, show)


@house_command(_MAIL, "deliver")
async def _deliver(house: House) -> Answer:
    """Send what is due now. A running server does this by itself."""
    accepted = 0
    # A pass takes up to fifty letters; what fails is put back for later, so this ends.
    while (sent := await deliver_due(house.office, house.transport)) > 0:
        accepted += sent
    left, held = mails.waiting(house.office.database.read()), mails.held(house.office.database.read())
    lines = [f"accepted: {accepted}, still queued: {left}"]
    if held:
        lines.append(f"{held} are held back; to let them go: sekisho mail release")
    return answer({"delivered": accepted, "waiting": left, "held": held}, *lines)


@house_command(_MAIL, "release")
@of_user("Only this user's letters.")
async def _release(house: House, user_id: str | None) -> Answer:
    """Let letters go that were held back (sekisho user import --hold-letters)."""
    if user_id is not None:
        known_user(house.office, user_id)
    at = house.office.now()

    def work(db: sqlite_utils.Database) -> int:
        released = mails.release(db, at, user_id)
        if released:
            store.audit(db, at, actor(), "letters.released", user_id or "", letters=released)
        return released

    released = await house.office.database.write(work)
    held = mails.held(house.office.database.read())
    return answer({"released": released, "held": held}, f"released: {released}, still held: {held}")


@house_command(_MAIL, "bounce")
@click.argument("file", type=click.File("rb"), default="-")
async def _bounce(house: House, file: BinaryIO) -> Answer:
    """Record a bounce, from a file or standard input, with the letter that did not arrive.

    For the mailbox of mail.return_path: `sekisho mail list` then says so where it said sent.
    """
    bounce = parse_bounce(file.read(MAX_BYTES + 1))
    fresh = await record_bounce(house.office, bounce)
    letter = mails.shown(house.office.database.read(), bounce.letter)
    assert letter is not None
    user_id = letter["user_id"]
    return answer(
        {"bounced": {"mail": bounce.letter, "user_id": user_id, "said": bounce.said, "new": fresh}},
        f"letter {bounce.letter} to {letter['recipient']} has come back: {bounce.said}",
        f"Put the address right: sekisho user change {user_id} --mail ADDRESS",
    )


@house_command(GROUPS["notify"], "run")
@click.option(
    "--date", "day", type=click.DateTime(["%Y-%m-%d"]), default=None, help="Japan's day; default: today."
)
async def _notify(house: House, day: datetime | None) -> Answer:
    """Queue the renewal mails that are due on a day. Run again, it queues nothing."""
    timekeeping.check(house.office)
    today = day.date() if day is not None else day_of(house.office.now())
    queued = asdict(await notify(house.office, today))
    return answer(
        {"date": today.isoformat(), "queued": queued},
        f"{today}: queued {queued['renewal_30']} first and {queued['renewal_7']} second renewal mails",
    )
