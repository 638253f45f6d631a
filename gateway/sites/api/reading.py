"""Bytes of a request become values, or a problem: strict JSON, bounded sizes, nothing that is not known."""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NoBase64
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

import msgspec
from aiohttp import web
from multidict import MultiMapping

from enroll import problems as protocol
from enroll.acme.wire import decode_object
from enroll.mediatype import media_type
from gateway.sites.api.problems import Problem

T = TypeVar("T")

#: Octets of a body of JSON, and of a file of an import.
LONGEST_BODY, LONGEST_FILE = 64 * 1024, 4 * 1024 * 1024
#: Rows of a page: at most, and where nobody says how many.
MOST_ROWS, ROWS = 200, 50
_KEY = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_ETAG = re.compile(r'"[\x21\x23-\x7e]{1,128}"')
_CURSOR = re.compile(r"[A-Za-z0-9_-]{1,400}")
# Where msgspec says at which member it was: `$.name`, or `$[0]`.
_PLACE = re.compile(r" - at `\$\.?(.*?)`$")

#: A line that people read.
Line = Annotated[str, msgspec.Meta(max_length=500)]
#: What names one thing.
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


class Input(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What a body or a query may have; members that are not named are refused."""


class Paged(Input, frozen=True):
    """The query of a list."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=MOST_ROWS)] = ROWS
    cursor: str = ""


class Nothing(Input, frozen=True):
    """No member at all."""


class Moved(Input, frozen=True):
    """What is to be different about where postcards go (`enroll.people.postal`)."""

    postal_code: Line | msgspec.UnsetType = msgspec.UNSET
    prefecture: Line | msgspec.UnsetType = msgspec.UNSET
    city: Line | msgspec.UnsetType = msgspec.UNSET
    street: Line | msgspec.UnsetType = msgspec.UNSET
    building: Line | msgspec.UnsetType = msgspec.UNSET
    addressee: Line | msgspec.UnsetType = msgspec.UNSET


async def body_of(request: web.BaseRequest, most: int) -> bytes:
    """The body, up to the bound; whoever sends more learns so without being read to the end."""
    length, chunks, size = request.content_length, list[bytes](), 0
    while length is None or length <= most:
        try:
            chunk = await request.content.read(most + 1)
        except web.RequestPayloadError:
            raise Problem("malformed", "the body cannot be read") from None
        if not chunk:
            return b"".join(chunks)
        size += len(chunk)
        if size > most:
            break
        chunks.append(chunk)
    raise Problem("too_large", f"the body may have {most} bytes")


def check_media_type(request: web.BaseRequest, wanted: str) -> None:
    """Problem("unsupported_media_type") for a body of another kind."""
    if media_type(request.headers.getall("Content-Type", [])) != wanted:
        raise Problem("unsupported_media_type", f"send {wanted}", headers={"Accept": wanted})


def json_of(content: bytes, shape: type[T]) -> T:
    """A body of JSON as a value; an empty one is one without members."""
    try:
        members = decode_object(content, "the body") if content else {}
    except protocol.Problem as problem:
        raise Problem("malformed", problem.detail) from None
    return _as(members, shape, strict=True)


def query_of(query: MultiMapping[str], shape: type[T]) -> T:
    """The query as a value: each name once."""
    given = [name for name, _ in query.items()]
    twice = next((name for name in given if given.count(name) > 1), None)
    if twice is not None:
        raise Problem("invalid_input", "it may be there once", field=twice[:64])
    return _as(dict(query), shape, strict=False)


def _as(members: Mapping[str, Any], shape: type[T], *, strict: bool) -> T:
    try:
        return msgspec.convert(members, shape, strict=strict)
    except msgspec.ValidationError as error:
        place = _PLACE.search(str(error))
        said = _PLACE.sub("", str(error))
        raise Problem("invalid_input", said[:500], field=place[1] if place else "") from None


def key_of(request: web.BaseRequest) -> str:
    """The Idempotency-Key of a POST; in quotes, as a structured field has it, or without."""
    given = request.headers.getall("Idempotency-Key", [])
    key = given[0].removeprefix('"').removesuffix('"') if len(given) == 1 else ""
    if _KEY.fullmatch(key) is None:
        raise Problem("key_required")
    return key


def if_match_of(request: web.BaseRequest) -> frozenset[str] | None:
    """The tags of If-Match (RFC 9110 section 13.1.1); None for "*": whatever is there."""
    given = ",".join(request.headers.getall("If-Match", [])).strip()
    if not given:
        raise Problem("precondition_required")
    if given == "*":
        return None
    tags = [each.strip() for each in given.split(",")]
    if not all(_ETAG.fullmatch(each.removeprefix("W/")) for each in tags):
        raise Problem("malformed", 'If-Match: write the ETag that was read, such as "0123abcd"')
    # A weak tag never matches here.
    return frozenset(each for each in tags if not each.startswith("W/"))


def cursor_of(*parts: str | int) -> str:
    """Where the next page begins, for whoever asks for it."""
    return urlsafe_b64encode("\n".join(map(str, parts)).encode()).rstrip(b"=").decode()


def text_after(cursor: str) -> str:
    """The key after which a page begins, where keys are texts; "" for the first page."""
    (found,) = _parts(cursor, 1) if cursor else ("",)
    return found


def numbers_after(cursor: str, count: int = 1) -> tuple[int, ...] | None:
    """The same where keys are numbers; None for the first page."""
    if not cursor:
        return None
    parts = _parts(cursor, count)
    if not all(re.fullmatch(r"[0-9]{1,18}", each) for each in parts):
        raise _made_up()
    return tuple(map(int, parts))


def _parts(cursor: str, count: int) -> list[str]:
    try:
        if _CURSOR.fullmatch(cursor) is None:
            raise _made_up()
        parts = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode().split("\n")
    except (NoBase64, UnicodeDecodeError):
        raise _made_up() from None
    if len(parts) != count or not all(part.isprintable() for part in parts):
        raise _made_up()
    return parts


def _made_up() -> Problem:
    return Problem("invalid_input", "take it from `next` of the page before", field="cursor")
