"""A form with a file (RFC 7578): the one place where a body is larger than a form of words may be.

It is read as it comes and never held beyond its bound; what is more is read away, so that a browser that is
still sending gets to see the answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from aiohttp import BodyPartReader, web
from aiohttp.http_exceptions import HttpProcessingError

from enroll.mediatype import media_type
from enroll.refusals import Refusal
from gateway.web.pages import form

#: Bytes of a file: 20,000 rows of 250 bytes, which is twice what a row of a person has.
LARGEST = 5 * 1024 * 1024
# Of the other fields together; of a file that is too large so much is read away, then the connection ends.
_FIELDS, _READ_AWAY = 16 * 1024, 64 * 1024 * 1024
_MOST_PARTS, _CHUNK, _LONGEST_NAME = 20, 64 * 1024, 200
_MULTIPART = "multipart/form-data"
# How aiohttp says that a body is none: no boundary, no end, heads that are none or too long.
_MALFORMED = (ValueError, AssertionError, RuntimeError, HttpProcessingError)


@dataclass(frozen=True)
class File:
    """A file that was sent. ``content`` is None for one that is larger than `LARGEST`."""

    name: str
    content: bytes | None


@dataclass(frozen=True)
class Sent:
    """A form, with its file if one was chosen."""

    fields: Mapping[str, str]
    file: File | None = None


_SENT: web.RequestKey[Sent] = web.RequestKey("sent", Sent)


async def sent(request: web.Request) -> Sent:
    """The form, read once. What our own pages do not send, a field or a file twice among it, is bad input."""
    if _SENT not in request:
        multipart = media_type(request.headers.getall("Content-Type", [])) == _MULTIPART
        # Without a file: one that was kept over a login, which lets go of that.
        request[_SENT] = await _read(request) if multipart else Sent(await form(request))
    return request[_SENT]


async def fields(request: web.Request) -> Mapping[str, str]:
    """The fields of the form, but for the file."""
    return (await sent(request)).fields


async def _read(request: web.Request) -> Sent:
    if (request.content_length or 0) > _READ_AWAY:
        raise web.HTTPRequestEntityTooLarge(_READ_AWAY)
    found, file, room = dict[str, str](), None, _FIELDS
    try:
        parts = await request.multipart()
        for _ in range(_MOST_PARTS):
            part = await parts.next()
            if part is None:
                return Sent(found, file)
            if not isinstance(part, BodyPartReader) or part.name is None or part.name in found:
                break
            if part.filename is None:
                content, beyond = await _content(part, room)
                if beyond or b"\x00" in content:
                    break
                room -= len(content)
                found[part.name] = content.decode()
            elif file is not None:
                break
            else:
                name = part.filename
                content, beyond = await _content(part, LARGEST)
                # No file was chosen: a part without a name and without content.
                if name or content or beyond:
                    file = File(_named(name), None if beyond else content)
    except _MALFORMED:
        pass
    raise Refusal("invalid_input", field="form")


async def _content(part: BodyPartReader, most: int) -> tuple[bytes, bool]:
    """The bytes of a part, and whether it had more than there may be."""
    content, count = bytearray(), 0
    while chunk := await part.read_chunk(_CHUNK):
        count += len(chunk)
        if count <= most:
            content += chunk
        elif count > _READ_AWAY:
            raise web.HTTPRequestEntityTooLarge(most)
        else:
            content.clear()
    return bytes(content), count > most


def _named(name: str) -> str:
    """What a file is called, as people read it: without a path, nor what nobody sees."""
    last = name.replace("\\", "/").rpartition("/")[2]
    return "".join(each for each in last if each.isprintable())[:_LONGEST_NAME] or "file.csv"
