"""The decoders refuse every encoding but the right one, and never raise anything but a Problem."""

import base64
import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enroll.acme import wire
from enroll.problems import TYPES, Problem, Subproblem, malformed, rate_limited

ANY_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.text(st.characters(codec="utf-8"), max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.binary(max_size=100))
def test_base64url_goes_there_and_back(data: bytes) -> None:
    """RFC 7515 section 2: what is encoded decodes to the same bytes."""
    assert wire.decode_base64url(wire.encode_base64url(data), "x") == data


@pytest.mark.parametrize(
    "wrong", ["QQ==", "QR", "Q", "QUI=", "Q+Q", "Q/Q", "QQ\n", " QQ", "QUJD=", "あ", "QQ==QQ", "\ud800"]
)
def test_base64url_has_one_encoding(wrong: str) -> None:
    """RFC 8555 section 6.1: padding, other alphabets and stray bits MUST be rejected."""
    with pytest.raises(Problem) as caught:
        wire.decode_base64url(wrong, "x")
    assert caught.value.name == "malformed"


@given(st.text(st.sampled_from("AQgw-_+/=\n é"), max_size=12))
def test_base64url_is_canonical_or_refused(encoded: str) -> None:
    """Whatever is accepted is exactly what would be written for the same bytes."""
    try:
        decoded = wire.decode_base64url(encoded, "x")
    except Problem:
        return
    assert base64.urlsafe_b64encode(decoded).rstrip(b"=").decode() == encoded


@given(ANY_JSON)
def test_json_that_python_writes_is_read(value: object) -> None:
    """Honest JSON passes, whether escaped or not, unless it nests too deep."""
    for ascii_only in (True, False):
        data = json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
        assert wire.decode_json(data, "x") == value


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b'{"a":1,"a":1}', "duplicate"),
        (b'{"b":{"a":1,"\\u0061":1}}', "duplicate"),
        (b'{"a":NaN}', "NaN"),
        (b"[Infinity]", "Infinity"),
        (b"1e999", "too large"),
        (b"9007199254740992", "too large"),
        (b"9" * 6000, "too large"),
        (b'"\\ud800"', "UTF-8"),
        (b'"\xff"', "UTF-8"),
        (b"\xef\xbb\xbf{}", "UTF-8"),
        ("{}".encode("utf-16"), "UTF-8"),
        (b"{} {}", "UTF-8"),
        (b"{'a':1}", "UTF-8"),
        (b'{"a":1,}', "UTF-8"),
        (b"", "UTF-8"),
        (b'"\x00"', "UTF-8"),
        (b"[" * 17 + b"]" * 17, "levels"),
        (b"[" * 1_000_000, "levels"),
        (b'{"a":' * 100_000, "levels"),
    ],
)
def test_json_is_strict(data: bytes, says: str) -> None:
    """RFC 8259, and what two parsers could read differently is refused."""
    with pytest.raises(Problem) as caught:
        wire.decode_json(data, "x")
    assert caught.value.name == "malformed"
    assert says in caught.value.detail


def test_brackets_in_strings_do_not_nest() -> None:
    """Depth is counted outside strings, escapes included."""
    data = json.dumps(["[" * 40, '"' + "{" * 40, "\\"]).encode()
    assert wire.decode_json(data, "x") == json.loads(data)


NEARLY_JSON = st.text(st.sampled_from('[]{}":,\\u0d8 1eE-.tfn'), max_size=60).map(str.encode)


def refusal(action: Callable[[], object]) -> str | None:
    """The name of the problem that the action raises, or None."""
    try:
        action()
    except Problem as problem:
        return problem.name
    return None


@given(st.binary(max_size=200) | NEARLY_JSON)
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    """For any bytes: a value or a Problem."""
    assert refusal(lambda: wire.decode_json(data, "x")) in (None, "malformed")


@given(ANY_JSON)
def test_readers_read_or_refuse(value: object) -> None:
    """For any JSON value a typed reader returns its type or raises a Problem."""
    readers = {
        wire.text: str,
        wire.boolean: bool,
        wire.integer: int,
        wire.mapping: dict,
        wire.base64url: bytes,
        wire.array_of(wire.text): tuple,
    }
    for read, kind in readers.items():
        name = refusal(lambda read=read: read(value, "x"))
        assert name == "malformed" or (name is None and type(read(value, "x")) is kind)


def test_absent_and_null() -> None:
    """A required member has to be there; an optional one may be null, as Caddy sends it."""
    assert wire.optional({"a": None}, "a", wire.text) is None
    assert wire.optional({}, "a", wire.text) is None
    assert wire.required({"a": "b"}, "a", wire.text) == "b"
    with pytest.raises(Problem, match="a is missing"):
        wire.required({}, "a", wire.text)
    with pytest.raises(Problem, match="a has to be a string"):
        wire.required({"a": None}, "a", wire.text)


def test_problem_document() -> None:
    """RFC 8555 section 6.7.1: the type URN, the status, subproblems with identifiers; equal by value."""
    sub = Subproblem("rejectedIdentifier", "no", ("dns", "a.example"))
    problem = Problem("rejectedIdentifier", "none of these", subproblems=[sub])
    assert problem.to_json() == {
        "type": "urn:ietf:params:acme:error:rejectedIdentifier",
        "detail": "none of these",
        "status": 403,
        "subproblems": [
            {
                "type": "urn:ietf:params:acme:error:rejectedIdentifier",
                "detail": "no",
                "identifier": {"type": "dns", "value": "a.example"},
            }
        ],
    }
    assert problem == Problem("rejectedIdentifier", "none of these", subproblems=[sub])
    assert problem != malformed("none of these")
    assert hash(malformed("a")) == hash(malformed("a"))


def test_rate_limit_says_when_and_why() -> None:
    """RFC 8555 section 6.6: Retry-After and a help link."""
    problem = rate_limited("too many", retry_after=60, help_url="https://a.example/help")
    assert problem.status == 429
    assert problem.headers == (("Retry-After", "60"), ("Link", '<https://a.example/help>;rel="help"'))


def test_only_registered_names_use_the_acme_urn() -> None:
    """RFC 8555 section 6.7: servers MUST NOT use the ACME URN for errors of their own."""
    ours = [kind.name for kind in TYPES.values() if kind.source == "sekisho"]
    assert all(not Problem(name, "x").type.startswith("urn:ietf:") for name in ours)
    assert "notRetrievable" in ours
