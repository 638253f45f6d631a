"""Postcards: what waits to be printed, and the batches in which it is, each card counted once."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from ca.storage import Transaction
from enroll.jobs import store as jobs
from enroll.jobs.kinds import problem_of
from enroll.jobs.states import OPEN as OPEN_JOBS
from enroll.jobs.store import Job, Line
from enroll.operators.roles import Act
from enroll.postcards import batches
from enroll.postcards import store as postcards
from enroll.postcards.batches import MOST, Waiting
from enroll.postcards.states import OPEN, State
from enroll.postcards.store import Batch
from gateway.cli.caller import OutputFile, acting, is_far, write
from gateway.cli.frame import DOES, READS, Answer, answer, deployment_command, detail, listing
from gateway.cli.jobs import after
from gateway.cli.root import GROUPS
from gateway.serving.deployment import Deployment

_POSTCARD = GROUPS["postcard"]
_NUMBER = click.argument("number", type=click.IntRange(1, 10**12))
_FILE = click.argument("file", type=OutputFile(), metavar="FILE.pdf")
# How often who makes a batch looks whether it is there, and the seconds between two looks.
_LOOKS, _REST = 300, 0.2
_REASON = click.option("--reason", required=True, help="Why, for the record.")


@deployment_command(_POSTCARD, "waiting", Act.PRINT, READS)
async def _waiting(deployment: Deployment) -> Answer:
    """List the cards that wait to be printed, and where each would go."""
    found = deployment.ra.database.read_now(batches.waiting)
    columns = {
        "letter": "No.", "kind": "Kind", "user_id": "User ID", "name": "Name", "policy_number": "Number",
        "address": "To", "queued_at": "Queued",
    }  # fmt: skip
    return listing("waiting", [_card(each) for each in found], columns)


@deployment_command(_POSTCARD, "batch", Act.PRINT, DOES)
@click.option("--without", multiple=True, metavar="USER_ID", help="Leave this user's cards out; repeatable.")
@click.option("--most", type=click.IntRange(1, MOST), default=MOST, show_default=True, help="Cards at most.")
async def _batch(deployment: Deployment, without: tuple[str, ...], most: int) -> Answer:
    """Make a batch of all cards that wait and have an address.

    If the font lacks a character of one card, nothing is done, and whose it is is said.
    """
    made = await batches.make(deployment.ra, acting(), without=without, most=most)
    await _drawn(deployment, made.job)
    return _shown(deployment, made.number, "batch")


async def _drawn(deployment: Deployment, job: int) -> None:
    """Has a job done, or waits while the gateway does it. Refusal if it could not."""
    if is_far():
        for _ in range(_LOOKS):
            if _job(deployment, job)[0].state not in OPEN_JOBS:
                break
            await asyncio.sleep(_REST)
    else:
        await after(deployment, job)
    for line in _job(deployment, job)[1]:
        raise problem_of(line)


def _job(deployment: Deployment, number: int) -> tuple[Job, list[Line]]:
    """A job, and its rows that were refused."""

    def read(db: Transaction) -> tuple[Job, list[Line]]:
        found = jobs.job(db, number)
        assert found is not None
        return found, jobs.lines(db, number, "refused")

    return deployment.ra.database.read_now(read)


@deployment_command(_POSTCARD, "list", Act.PRINT, READS)
@click.option("--all", "every", is_flag=True, help="Those that are over, too.")
async def _list(deployment: Deployment, every: bool) -> Answer:
    """List the batches that hold cards: being made, or to be printed."""
    found = deployment.ra.database.read_now(lambda db: batches.listed(db, acting(), every=every))
    columns = {
        "number": "Batch", "state": "State", "cards": "Cards", "made_by": "Made by", "made_at": "Made",
        "fetched_at": "Fetched", "ended_at": "Ended",
    }  # fmt: skip
    return listing("batches", [_record(each) for each in found], columns)


@deployment_command(_POSTCARD, "show", Act.PRINT, READS)
@_NUMBER
async def _show(deployment: Deployment, number: int) -> Answer:
    """Show a batch with its cards, and what there is to do about it."""
    return _shown(deployment, number, "batch")


@deployment_command(_POSTCARD, "fetch", Act.PRINT, DOES)
@_NUMBER
@_FILE
async def _fetch(deployment: Deployment, number: int, file: Path) -> Answer:
    """Write a batch's PDF, two pages a card, to print it. It has passwords in it: the file is yours alone
    (0600); delete it once it is printed."""
    return await _fetched(deployment, number, file, "")


@deployment_command(_POSTCARD, "reprint", Act.PRINT, DOES)
@_NUMBER
@_FILE
@_REASON
async def _reprint(deployment: Deployment, number: int, file: Path, reason: str) -> Answer:
    """Write a batch's PDF once more: paper was jammed, cards were spoiled. The record says why, and who."""
    return await _fetched(deployment, number, file, reason)


@deployment_command(_POSTCARD, "printed", Act.PRINT, DOES)
@_NUMBER
async def _printed(deployment: Deployment, number: int) -> Answer:
    """Say that a batch is printed: its cards count as sent, and their passwords are wiped. For good."""
    await batches.printed(deployment.ra, acting(), number)
    return _shown(deployment, number, "printed")


@deployment_command(_POSTCARD, "cancel", Act.PRINT, DOES)
@_NUMBER
@_REASON
async def _cancel(deployment: Deployment, number: int, reason: str) -> Answer:
    """Cancel a batch: its PDF is wiped, and its cards wait again. Destroy what was printed of it."""
    await batches.cancel(deployment.ra, acting(), number, reason)
    return _shown(deployment, number, "cancelled")


async def _fetched(deployment: Deployment, number: int, file: Path, reason: str) -> Answer:
    pdf = await batches.fetch(deployment.ra, acting(), number, reason=reason)
    write(file, pdf)
    return answer(
        {"fetched": {"number": number, "file": str(file), "bytes": len(pdf)}},
        f"{file}: batch {number}, address and message face of each card in turn",
        f"Once it is printed: sekisho postcard printed {number}, and delete the file",
    )


def _shown(deployment: Deployment, number: int, key: str) -> Answer:
    def read(db: Transaction) -> tuple[Batch, list[dict[str, Any]]]:
        return batches.seen(db, acting(), number), postcards.cards(db, number)

    found, cards = deployment.ra.database.read_now(read)
    needless = [each for each in cards if found.state in OPEN and each["state"] != "queued"]
    lines = [
        f"card {each['place']} ({each['user_id']}) is needless by now: take it out" for each in needless
    ]  # fmt: skip
    return detail(key, _record(found) | {"letters": cards}, *lines, *_next(found))


def _next(found: Batch) -> list[str]:
    """What there is to type."""
    number = found.number
    if found.state is State.MAKING:
        return [f"It is being made: sekisho job show {found.job}"]
    if found.state is not State.READY:
        return []
    cancelling = f"To have its cards wait again: sekisho postcard cancel {number} --reason WHY"
    if found.fetches == 0:
        return [f"To print it: sekisho postcard fetch {number} FILE.pdf", cancelling]
    told = [f"Once it is printed: sekisho postcard printed {number}"]
    if found.kept:
        told.append(f"To print it once more: sekisho postcard reprint {number} FILE.pdf --reason WHY")
    return [*told, cancelling]


def _record(found: Batch) -> dict[str, Any]:
    return asdict(found) | {"state": str(found.state)}


def _card(each: Waiting) -> Mapping[str, Any]:
    record = asdict(each)
    del record["postal"]
    return record | {"address": each.postal.line or "none is recorded"}
