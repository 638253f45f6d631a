"""Strict decoders for what arrives over the wire: one encoding of a thing is right, all others are refused.

For any bytes a decoder returns a value or raises ``Problem("malformed")``, never anything else.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TypeVar

from enroll.problems import malformed

T = TypeVar("T")
Json = Any
#: Reads one member's value or raises ``Problem``; told the member's name for the message.
Reader = Callable[[Json, str], T]

# No request of the protocol nests deeper than a keyChange (payload > oldKey), so 16 is generous.
MAX_DEPTH = 16
# RFC 8555 gives no limit; the largest honest string is a CSR of a 4096-bit RSA key, about 2.5 kB.
MAX_TEXT = 16_384

# Members that hold another document in base64url: the body's own bound is theirs.
_ENCODED = frozenset({"protected", "payload", "signature", "certificate"})

_CONTROLS = re.compile("[\x00-\x1f\x7f]")
_BRACKETS = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]', re.DOTALL)


def encode_base64url(data: bytes) -> str:
    """base64url without padding (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def decode_base64url(encoded: str, name: str) -> bytes:
    """The bytes of canonical base64url: no padding, no other alphabet, no stray bits (RFC 8555 6.1)."""
    try:
        ascii_bytes = encoded.encode("ascii")
        decoded = base64.urlsafe_b64decode(ascii_bytes + b"=" * (-len(ascii_bytes) % 4))
    except (UnicodeEncodeError, binascii.Error, ValueError):
        raise malformed(f"{name} is not base64url") from None
    # Python's decoder skips what it does not know; only the canonical text survives the way back.
    if base64.urlsafe_b64encode(decoded).rstrip(b"=") != ascii_bytes:
        raise malformed(f"{name} is not canonical base64url without padding")
    return decoded


def decode_json(data: bytes, name: str) -> Json:
    """The value of strict JSON (RFC 8259): UTF-8, no duplicate names, no NaN, no lone surrogates."""
    if data.count(b"[") + data.count(b"{") > MAX_DEPTH and _depth(data) > MAX_DEPTH:
        raise malformed(f"{name} is nested more than {MAX_DEPTH} levels deep")
    try:
        value = _DECODER.decode(data.decode("utf-8"))
        if b"\\u" in data:
            # An escape can name half of a character, which no encoding could write again.
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except _Refused as refused:
        raise malformed(f"{name} {refused}") from None
    except (ValueError, RecursionError):
        raise malformed(f"{name} is not JSON in UTF-8") from None
    if len(data) > MAX_TEXT:
        _check_strings(value, name)
    return value


def decode_object(data: bytes, name: str) -> Mapping[str, Json]:
    """``decode_json`` for what has to be an object."""
    return mapping(decode_json(data, name), name)


def required(members: Mapping[str, Json], name: str, read: Reader[T]) -> T:
    """The member ``name``, which has to be there."""
    if name not in members:
        raise malformed(f"{name} is missing")
    return read(members[name], name)


def optional(members: Mapping[str, Json], name: str, read: Reader[T]) -> T | None:
    """The member ``name``, or None where it is absent or null (some clients write null for absent)."""
    value = members.get(name)
    return None if value is None else read(value, name)


def text(value: Json, name: str) -> str:
    """A string of bounded length without control characters."""
    if not isinstance(value, str):
        raise malformed(f"{name} has to be a string")
    _bounded(value, name)
    if _CONTROLS.search(value):
        raise malformed(f"{name} contains control characters")
    return value


def _bounded(value: str, name: str) -> None:
    if len(value) > MAX_TEXT:
        raise malformed(f"{name} is longer than {MAX_TEXT} characters")


def boolean(value: Json, name: str) -> bool:
    """true or false; 0, 1 and their like are refused."""
    if not isinstance(value, bool):
        raise malformed(f"{name} has to be true or false")
    return value


def integer(value: Json, name: str) -> int:
    """A whole number; true and false are refused."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise malformed(f"{name} has to be a whole number")
    return value


def mapping(value: Json, name: str) -> Mapping[str, Json]:
    """A JSON object."""
    if not isinstance(value, dict):
        raise malformed(f"{name} has to be a JSON object")
    return value


def array_of(read: Reader[T]) -> Reader[tuple[T, ...]]:
    """A reader of JSON arrays whose elements ``read`` reads."""

    def read_array(value: Json, name: str) -> tuple[T, ...]:
        if not isinstance(value, list):
            raise malformed(f"{name} has to be an array")
        return tuple(read(one, f"{name}[{index}]") for index, one in enumerate(value))

    return read_array


def base64url(value: Json, name: str) -> bytes:
    """A string of canonical base64url, as the bytes it stands for; 64 kB of text at the most."""
    if not isinstance(value, str):
        raise malformed(f"{name} has to be a string")
    if len(value) > 65_536:
        raise malformed(f"{name} is longer than 65536 characters")
    return decode_base64url(value, name)


def _check_strings(value: Json, name: str) -> None:
    """The bound of ``text`` for every string, known or not, names too; base64url members have the body's."""
    if isinstance(value, str):
        _bounded(value, name)
    elif isinstance(value, list):
        for one in value:
            _check_strings(one, name)
    elif isinstance(value, dict):
        for member, one in value.items():
            _bounded(member, name)
            if member not in _ENCODED or not isinstance(one, str):
                _check_strings(one, member)


class _Refused(ValueError):
    """JSON that Python would read and we do not."""


def _unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _Refused("contains a duplicate member name")
    return members


def _no_constant(constant: str) -> NoReturn:
    raise _Refused(f"contains {constant}, which is not JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if number in (float("inf"), float("-inf")):
        raise _Refused("contains a number that is too large")
    return number


def _small(digits: str) -> int:
    # 2**53 - 1 is the largest that every JSON implementation agrees on (RFC 8259 section 6).
    if len(digits) > 17 or abs(int(digits)) > 2**53 - 1:
        raise _Refused("contains a number that is too large")
    return int(digits)


_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite, parse_int=_small
)


def _depth(data: bytes) -> int:
    """The deepest nesting; what is inside strings does not count."""
    deepest = depth = 0
    for token in _BRACKETS.finditer(data):
        first = data[token.start()]
        if first in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif first in b"]}":
            depth -= 1
    return deepest
