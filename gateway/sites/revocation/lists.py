"""Revocation lists over HTTP (RFC 2585 section 4.2): what is published is handed out, the same bytes by
everybody."""

from __future__ import annotations

import hashlib
import re
from collections.abc import MutableMapping
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime

from cryptography import x509

from ca.listfiles import path_of
from ca.published.store import RevocationList
from ca.storage import StorageTrouble
from enroll import crls
from enroll.ra import RegistrationAuthority
from gateway.wire.plain import Asked, Told, refusal

#: Seconds that a cache may keep a list at most: a revocation must not wait for its nextUpdate.
MOST_KEPT = 3_600
#: Seconds until the first list is there, or one whose file was taken away is made anew.
SOON = 5
#: Lists by what they are called by.
Known = MutableMapping[str, RevocationList]
_KIND = ("Content-Type", "application/pkix-crl")
_TAG = re.compile(r'(?:W/)?"([^"]*)"')


async def published(
    asked: Asked, ra: RegistrationAuthority, name: str, known: Known, *, last: bool = False
) -> Told:
    """A list by what it is called by (`ca.publication.list_id`), or that the client's copy is the newest
    (RFC 9110 section 13). ``known``: which was in force last, for as long as nobody can ask the register.
    ``last``: none follows it."""
    try:
        return await _published(asked, ra, name, known, last=last)
    except StorageTrouble:
        return refusal(503, ("Retry-After", str(SOON)))


async def _published(asked: Asked, ra: RegistrationAuthority, name: str, known: Known, *, last: bool) -> Told:
    for _ in range(2):  # another one may be published, and this one's file go, between two lines here
        listed = await _in_force(ra, name, known)
        if listed is None:
            break
        fields = caching(listed.digest, listed.this_update_at, listed.next_update_at - ra.now())
        if has_it(asked, listed.digest, listed.this_update_at):
            return Told(304, fields, kind="crl")
        try:
            file = path_of(crls.folder(ra), listed).open("rb")
        except FileNotFoundError:
            await crls.is_here(ra, listed)
            continue
        return Told(200, (*fields, _KIND), file, listed.size, kind="crl")
    return refusal(404) if last else refusal(503, ("Retry-After", str(SOON)))


async def _in_force(ra: RegistrationAuthority, name: str, known: Known) -> RevocationList | None:
    try:
        listed = await crls.published(ra, name)
    except StorageTrouble:
        if name not in known:
            raise
        return known[name]
    if listed is not None:
        known[name] = listed
    return listed


def root(asked: Asked, der: bytes, now: int) -> Told:
    """A root's list, which is in force as a whole."""
    read = x509.load_der_x509_crl(der)
    this, following = read.last_update_utc, read.next_update_utc
    assert following is not None  # our own
    tag, since = hashlib.sha256(der).hexdigest(), int(this.timestamp())
    fields = caching(tag, since, int(following.timestamp()) - now)
    if has_it(asked, tag, since):
        return Told(304, fields, kind="root-crl")
    return Told(200, (*fields, _KIND), der, kind="root-crl")


def caching(tag: str, since: int, left: int) -> tuple[tuple[str, str], ...]:
    """What a cache needs to know: never beyond ``left`` seconds (of nextUpdate), and no hour for lists."""
    return (
        ("ETag", f'"{tag}"'),
        ("Last-Modified", http_date(since)),
        ("Cache-Control", f"public, max-age={max_age(left)}, must-revalidate"),
    )


def max_age(left: int) -> int:
    """Seconds that a cache may keep what ends in ``left`` seconds."""
    return max(0, min(left, MOST_KEPT))


def http_date(at: int) -> str:
    """Seconds since the epoch as a field of HTTP has them."""
    return format_datetime(datetime.fromtimestamp(at, UTC), usegmt=True)


def has_it(asked: Asked, tag: str, since: int) -> bool:
    """Whether the client's copy is this one. RFC 9110 section 13.1.3: the time counts only without a tag."""
    tags = asked.fields.get("if-none-match")
    if tags is not None:
        return tags.strip() == "*" or tag in _TAG.findall(tags)
    when = asked.fields.get("if-modified-since")
    if when is not None:
        with suppress(ValueError, TypeError, OverflowError):
            return since <= parsedate_to_datetime(when).timestamp()
    return False
