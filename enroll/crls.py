"""Revocation lists, one per issuer: made when something changed and once a day, never because somebody asked
for one. So each is good for a week more, should the next ones fail.

Of several processes that make one at a time one wins, by its number; all of them hand out the same file.
Where several directories share the database each fetches it from there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ca.published.store
from ca import listfiles
from ca.authority import Issuer
from ca.certificates import public_key_of
from ca.crls import frame_of, number_and_time, of_shard
from ca.errors import ConfigError
from ca.profiles import CRL_AHEAD, CRL_LIFETIME, CRL_PERIOD
from ca.publication import list_id, octets_of
from ca.published.store import RevocationList
from ca.signing import SignatureRefused, ToSign, signature
from ca.storage import Transaction
from enroll import store, timekeeping
from enroll.ra import RegistrationAuthority

_ACTOR = "issuance"


def folder(ra: RegistrationAuthority) -> Path:
    """Where the lists lie, beside the database."""
    return listfiles.folder_of(ra.database.folder)


async def published(ra: RegistrationAuthority, issuer_id: str) -> RevocationList | None:
    """The issuer's list that everybody is given; None before the first one."""
    return await ra.database.read(lambda db: ca.published.store.published_list(db, issuer_id))


async def due(ra: RegistrationAuthority, issuer_id: str, shard: int | None = None) -> bool:
    """Whether an issuer needs another list, or another one of a shard: something changed, or a day is
    over."""
    if ra.authority.issuer(issuer_id).discarded_at is not None:
        return False  # the last one stays: all that it could name has ended
    octets = _octets(ra, issuer_id, shard)

    def work(db: Transaction) -> tuple[RevocationList | None, int]:
        listed = ca.published.store.published_list(db, list_id(issuer_id, shard))
        return listed, ca.published.store.last_change_of(db, issuer_id, octets)

    (listed, last), now = await ra.database.read(work), ra.now()
    if listed is None or not await is_here(ra, listed):
        return True
    if _is_of_the_future(listed.this_update_at, now) or now >= listed.this_update_at + CRL_PERIOD:
        return True
    return last > listed.change_number


async def ended(ra: RegistrationAuthority, issuer_id: str) -> bool:
    """Whether there is no list that says anything about today."""
    listed = await published(ra, issuer_id)
    if listed is not None:
        await is_here(ra, listed)
    return is_over(ra, listed)


async def is_here(ra: RegistrationAuthority, listed: RevocationList) -> bool:
    """Whether the file of a published list is here. One that another directory has made is fetched."""
    if listfiles.is_whole(folder(ra), listed):
        return True
    if not ra.database.shared:
        return False
    pieces = await ra.database.read(lambda db: ca.published.store.content_of(db, listed))
    return bool(pieces) and await asyncio.to_thread(listfiles.put, folder(ra), listed, pieces)


def is_over(ra: RegistrationAuthority, listed: RevocationList | None) -> bool:
    """`ended`, of a list that was looked up."""
    if listed is None or not listfiles.is_whole(folder(ra), listed):
        return True
    return ra.now() >= listed.next_update_at


async def publish(
    ra: RegistrationAuthority,
    issuer: Issuer,
    shard: int | None = None,
    *,
    alone: bool = False,
    after: int = 0,
) -> RevocationList:
    """Makes and publishes an issuer's next list, or a shard's; returns the one that is then published.

    The long part is another process's, so that nobody waits; ``alone``: there is nobody, so it is done here.
    ``after``: its number is higher than this one, too. OSError when the disk is full,
    Refusal("clock_in_doubt") since a list is dated for good: the last one stays, as with NoSignature.
    """
    await timekeeping.require(ra)
    name, lists, octets = list_id(issuer.issuer_id, shard), folder(ra), _octets(ra, issuer.issuer_id, shard)
    before = await published(ra, name)
    now = ra.now()
    number, since = _following(lists, name, before, now)
    number = max(number, after + 1)
    period = since, since + CRL_LIFETIME
    scope = None if shard is None else of_shard(issuer.site.shard(shard))
    frame = frame_of(issuer.certificate, number, *period, scope)
    # RFC 5280 section 3.3: an entry stays for one list after the certificate's own end.
    ended = now - CRL_LIFETIME
    drawn = await _do(
        ra, alone, listfiles.draft, ra.database.source, lists, frame, issuer.issuer_id, ended, octets
    )
    try:
        key, asked = public_key_of(issuer.certificate), ToSign(issuer.issuer_id, "list", drawn.path)
        try:
            signed = await signature(ra.authority.signer, key, asked, drawn.digest)
        except SignatureRefused as refused:
            # The register is from a backup, or another process has had a list signed meanwhile.
            if refused.number is None or not number <= refused.number or after:
                raise
            return await publish(ra, issuer, shard, alone=alone, after=refused.number)
        made: RevocationList = await _do(
            ra, alone, listfiles.complete, lists, drawn, frame, signed, name, number, period
        )
    finally:
        listfiles.discard(drawn)
    pieces = await asyncio.to_thread(listfiles.pieces_of, lists, made) if ra.database.shared else []
    await ra.database.write(lambda db: _record(db, made, now, pieces))
    # Another process's, if that was first.
    newest = await published(ra, name)
    assert newest is not None
    await is_here(ra, newest)
    listfiles.sweep(lists, newest)
    return newest


def _record(db: Transaction, made: RevocationList, at: int, pieces: Sequence[bytes]) -> None:
    if ca.published.store.publish_list(db, made):
        if pieces:
            ca.published.store.keep_content(db, made, pieces)
        told = {"number": made.number, "entries": made.entries, "sha256": made.digest}
        store.audit(db, at, _ACTOR, "list.published", made.issuer_id, **told)


async def current(ra: RegistrationAuthority, issuer: Issuer) -> tuple[RevocationList, bytes]:
    """For a command: the issuer's list as the register is now, with its bytes."""
    while True:
        if await due(ra, issuer.issuer_id):
            await publish(ra, issuer, alone=True)
        listed = await published(ra, issuer.issuer_id)
        if issuer.discarded_at is not None and (listed is None or not listfiles.is_whole(folder(ra), listed)):
            raise ConfigError(f"{issuer.common_name} is put away, and its last list is not here any more")
        assert listed is not None
        try:
            return listed, listfiles.path_of(folder(ra), listed).read_bytes()
        except FileNotFoundError:
            continue  # a server has published another one meanwhile


def _octets(ra: RegistrationAuthority, issuer_id: str, shard: int | None) -> tuple[str, ...]:
    return () if shard is None else octets_of(shard, ra.authority.issuer(issuer_id).site.shards)


def _following(lists: Path, name: str, before: RevocationList | None, now: int) -> tuple[int, int]:
    """Number and thisUpdate of an issuer's next list. Section 5.2.3: they grow, also over a database that
    came from a backup, as far as the files beside it tell."""
    number, this = (before.number, before.this_update_at) if before is not None else (0, 0)
    if (highest := listfiles.highest_number(lists, name)) > number:
        told = listfiles.with_number(lists, name, highest)
        number, this = highest, max(this, number_and_time(told)[1])
    return number + 1, now if _is_of_the_future(this, now) else max(now, this)


def _is_of_the_future(this: int, now: int) -> bool:
    """Whether a clock that ran ahead has dated a list, and an operator has set it right since: as long as
    there is a doubt nothing is made. By such a date the list is nobody's yet, so this one time it goes
    back. A clock that is corrected by minutes takes no time back."""
    return this > now + CRL_AHEAD


async def _do(ra: RegistrationAuthority, alone: bool, fn: Callable[..., Any], *args: Any) -> Any:
    return fn(*args) if alone else await ra.workers.run(fn, *args)
