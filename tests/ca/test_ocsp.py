"""An answer as bytes, and the second reading of it: each value of it, one changed at a time."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st

from ca.authority import Authority
from ca.inspection import Unsignable, inspect_answer
from ca.ocsp import HASHES, Malformed, Standing, Unauthorized, hashes_of, parse, response, to_be_signed
from ca.published.store import Answer
from ca.responder import Responder
from ca.revocation import REASONS, RevocationStatus
from tests.ca.conftest import AT, DAY

GOOD = Standing("7f" * 16, RevocationStatus.GOOD)
GONE = Standing("80" + "00" * 15, RevocationStatus.REVOKED, AT - 5, 1, 7)
HELD = Standing("0a", RevocationStatus.HELD, AT - 9, 0, 8)
NONE = Standing("01", RevocationStatus.UNKNOWN)


def _made(
    authority: Authority, standing: Standing, at: int = AT, last: int = 0
) -> tuple[Answer, x509.Certificate]:
    batch = Responder().answer(authority.current, authority.signer, [(standing, last)], at)
    return batch.answers[0], x509.load_der_x509_certificate(batch.responder)


@pytest.mark.parametrize(
    "standing", [GOOD, GONE, HELD, NONE, *(replace(GONE, reason=each) for each in REASONS)]
)
def test_every_standing_reads_as_it_was_written(authority: Authority, standing: Standing) -> None:
    """By the other parser, by each hash: a reason of 0 is left out, a hold is reason 6."""
    answer, responder = _made(authority, standing)
    names = hashes_of(authority.current.certificate)
    period = answer.this_update_at, answer.next_update_at
    assert period == (AT, AT + 8 * DAY)
    for each in HASHES:
        inspect_answer(getattr(answer, each), standing, names[each], responder, period)


@pytest.mark.parametrize(
    ("said", "change", "fault"),
    [
        (GOOD, {"standing": replace(GOOD, serial="7e" * 16)}, "serial"),
        (GOOD, {"standing": replace(GOOD, status=RevocationStatus.UNKNOWN)}, "status"),
        (GOOD, {"standing": replace(GOOD, status=RevocationStatus.REVOKED, revoked_at=AT)}, "status"),
        (GONE, {"standing": replace(GONE, status=RevocationStatus.GOOD)}, "status"),
        (GONE, {"standing": replace(GONE, revoked_at=AT)}, "revocation"),
        (GONE, {"standing": replace(GONE, reason=4)}, "reason"),
        (GONE, {"standing": replace(GONE, reason=0)}, "reason"),
        (HELD, {"standing": replace(HELD, status=RevocationStatus.REVOKED, reason=1)}, "reason"),
        (GOOD, {"period": (AT - 1, AT + 8 * DAY)}, "period"),
        (GOOD, {"period": (AT, AT + 9 * DAY)}, "period"),
        (GOOD, {"by": "sha256"}, "issuer"),
    ],
)
def test_what_the_register_does_not_say_is_not_signed(
    authority: Authority, said: Standing, change: dict[str, Any], fault: str
) -> None:
    """The twin: whichever value differs, the answer leaves nobody's hand."""
    answer, responder = _made(authority, said)
    names = hashes_of(authority.current.certificate)
    standing, period = change.get("standing", said), change.get("period", (AT, AT + 8 * DAY))
    with pytest.raises(Unsignable) as refused:
        inspect_answer(answer.sha1, standing, names[change.get("by", "sha1")], responder, period)
    assert str(refused.value) == f"the answer is not what the register says: {fault}"


def test_another_responders_answer_is_not_this_ones(authority: Authority) -> None:
    """It names the key that has signed it."""
    answer, _ = _made(authority, GOOD)
    _, other = _made(authority, GOOD)
    names = hashes_of(authority.current.certificate)
    with pytest.raises(Unsignable, match="responder"):
        inspect_answer(answer.sha1, GOOD, names["sha1"], other, (AT, AT + 8 * DAY))


@settings(max_examples=150, deadline=None)
@given(at=st.integers(0, 400), octet=st.integers(0, 255))
def test_any_other_bytes_are_no_answer_or_another_one(authority: Authority, at: int, octet: int) -> None:
    """One octet of what is signed is another: refused, and never an accident."""
    answer, responder = _made(authority, GONE)
    name = hashes_of(authority.current.certificate)["sha1"]
    tbs = to_be_signed(GONE, name, b"\0" * 20, AT, AT + 8 * DAY)
    place = at % len(tbs)
    bad = answer.sha1[:place] + bytes((octet,)) + answer.sha1[place + 1 :]
    if bad != answer.sha1:
        with pytest.raises(Unsignable):
            inspect_answer(bad, GONE, name, responder, (AT, AT + 8 * DAY))


@pytest.mark.parametrize(("last", "since"), [(0, AT), (AT - 5, AT), (AT + 600, AT + 600), (AT + 601, AT)])
def test_this_update_never_goes_back(authority: Authority, last: int, since: int) -> None:
    """By what clocks are corrected by; an answer that is dated farther ahead is nobody's yet."""
    answer, _ = _made(authority, GOOD, last=last)
    assert (answer.this_update_at, answer.next_update_at) == (since, since + 8 * DAY)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_are_an_accident(junk: bytes) -> None:
    """Whatever comes is a request, malformed, or nobody's to answer."""
    with suppress(Malformed, Unauthorized):
        assert parse(junk).serial is not None


def test_a_whole_answer_has_the_responder_in_it(authority: Authority) -> None:
    """Clients are given it with each: they know the issuer only."""
    answer, responder = _made(authority, GOOD)
    from cryptography.hazmat.primitives.serialization import Encoding
    from cryptography.x509 import ocsp

    der = responder.public_bytes(Encoding.DER)
    assert ocsp.load_der_ocsp_response(response(answer.sha1, der)).certificates == [responder]
