"""Accounts, revocations, renewal information and the directory: what is asked and what is shown."""

from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enroll.acme.accounts import Account, AccountUpdate, account_json, read_account_update, read_new_account
from enroll.acme.directory import Terms, directory_json
from enroll.acme.keys import parse_jwk
from enroll.acme.orders import Identifier
from enroll.acme.renewalinfo import (
    CertId,
    Predecessor,
    Window,
    check_replaces,
    read_cert_id,
    renewal_json,
    renewal_window,
)
from enroll.acme.revocation import Holder, check_revocation, read_revocation
from enroll.acme.urls import Urls
from enroll.jst import JST
from enroll.problems import Problem
from tests.enroll.acme.signing import KEYS, jwk

URLS = Urls("https://acme.kinen.example/acme")


def refusal(action: Any, *arguments: Any, **named: Any) -> Problem:
    with pytest.raises(Problem) as caught:
        action(*arguments, **named)
    return caught.value


def test_new_account_is_read() -> None:
    """RFC 8555 section 7.3: unknown members, orders and status are ignored; contact may be absent."""
    asked = read_new_account(
        {
            "contact": ["mailto:a.b+c@kinen.example"],
            "termsOfServiceAgreed": True,
            "onlyReturnExisting": False,
            "externalAccountBinding": {"protected": "x"},
            "status": "",
            "orders": "",
            "extra": [1],
        }
    )
    assert asked.contacts == ("mailto:a.b+c@kinen.example",)
    assert asked.terms_agreed
    assert not asked.only_return_existing
    assert asked.binding == {"protected": "x"}
    assert read_new_account({}).contacts == ()


def test_only_return_existing_does_not_mind_contacts() -> None:
    """RFC 8555 section 7.3.1: whoever looks for an account may send whatever contact."""
    assert read_new_account({"onlyReturnExisting": True, "contact": ["tel:1"]}).only_return_existing


@pytest.mark.parametrize(
    ("contact", "name"),
    [
        ("tel:+81312345678", "unsupportedContact"),
        ("https://a.example", "unsupportedContact"),
        ("mailto:", "invalidContact"),
        ("mailto:a", "invalidContact"),
        ("mailto:a@", "invalidContact"),
        ("mailto:@b.example", "invalidContact"),
        ("mailto:a@b.example,c@d.example", "invalidContact"),
        ("mailto:a@b.example?subject=x", "invalidContact"),
        ("mailto:a b@c.example", "invalidContact"),
        ("mailto:a@b..example", "invalidContact"),
        ("mailto:a@-b.example", "invalidContact"),
        ("mailto:年金@b.example", "invalidContact"),
        ("mailto:" + "a" * 250 + "@b.example", "invalidContact"),
        ("a@b.example", "invalidContact"),
        ("", "invalidContact"),
        ("mailto:a@b.example\n", "malformed"),
        (1, "malformed"),
    ],
)
def test_contacts(contact: Any, name: str) -> None:
    """RFC 8555 section 7.3: unsupportedContact for other schemes, invalidContact for bad addresses."""
    assert refusal(read_new_account, {"contact": [contact]}).name == name
    assert refusal(read_account_update, {"contact": [contact]}).name == name


def test_too_many_contacts() -> None:
    """Five at the most. Section 6.7: no URL of them is invalid, so that it is not invalidContact."""
    good = ["MAILTO:a@b.example"] * 5
    assert len(read_new_account({"contact": good}).contacts) == 5
    assert refusal(read_new_account, {"contact": [*good, good[0]]}).name == "malformed"


@pytest.mark.parametrize(
    ("payload", "update"),
    [
        ({}, AccountUpdate(None, False)),
        ({"contact": []}, AccountUpdate((), False)),
        ({"status": "deactivated"}, AccountUpdate(None, True)),
        ({"status": "valid", "orders": "x"}, AccountUpdate(None, False)),
        ({"status": "", "contact": None}, AccountUpdate(None, False)),
        ({"status": "revoked"}, AccountUpdate(None, False)),
        ({"status": 1, "termsOfServiceAgreed": "x", "unknown": {}}, AccountUpdate(None, False)),
        ({"termsOfServiceAgreed": True}, AccountUpdate(None, False)),
    ],
)
def test_account_update(payload: dict[str, Any], update: AccountUpdate) -> None:
    """RFC 8555 section 7.3.2: only contacts and deactivation change; all else MUST be ignored."""
    assert read_account_update(payload) == update


@pytest.mark.parametrize("payload", [{"contact": "x"}, {"contact": {}}, {"contact": [1]}])
def test_account_update_refused(payload: dict[str, Any]) -> None:
    """Contacts that are no array of strings change nothing."""
    assert refusal(read_account_update, payload).name == "malformed"


def test_account_object() -> None:
    """RFC 8555 section 7.1.2: status, contact, orders, and the verified binding."""
    account = Account(
        "7", "K1234", parse_jwk(jwk(KEYS["RSA"])), "valid", ("mailto:a@b.example",), 0, 1, "4", {"a": "b"}
    )
    assert account_json(account, URLS) == {
        "status": "valid",
        "contact": ["mailto:a@b.example"],
        "termsOfServiceAgreed": True,
        "orders": "https://acme.kinen.example/acme/account/7/orders",
        "externalAccountBinding": {"a": "b"},
    }


def test_directory() -> None:
    """RFC 8555 section 7.1.1: everything offered is there, and a member that clients must ignore."""
    shown = directory_json(URLS, Terms({"client-automated": "90 days"}), "grease")
    assert shown["newAuthz"] == "https://acme.kinen.example/acme/new-authz"
    assert shown["renewalInfo"] == "https://acme.kinen.example/acme/renewal-info"
    assert shown["meta"] == {"profiles": {"client-automated": "90 days"}, "externalAccountRequired": True}
    assert "grease" in shown
    bare = Terms({}, False, "https://a.example/terms", "https://a.example", ("a.example",))
    assert directory_json(URLS, bare, "x")["meta"] == {
        "profiles": {},
        "termsOfService": "https://a.example/terms",
        "website": "https://a.example",
        "caaIdentities": ["a.example"],
    }


# RFC 9773 section 4.1 gives this example: the serial's first bit is set, so that a zero octet leads.
RFC_EXAMPLE = "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"


def test_cert_id_of_the_rfc() -> None:
    """RFC 9773 section 4.1: the example, there and back."""
    cert_id = read_cert_id(RFC_EXAMPLE)
    assert cert_id.key_identifier.hex() == "69885b6b87464041e1b37b847ba0ae2cde01c8d4"
    assert cert_id.serial == 0x87654321
    assert str(cert_id) == RFC_EXAMPLE


@given(st.binary(min_size=1, max_size=20), st.integers(1, 2**159 - 1))
def test_cert_ids_there_and_back(key_identifier: bytes, serial: int) -> None:
    """Each certificate has one name."""
    cert_id = CertId(key_identifier, serial)
    assert read_cert_id(str(cert_id)) == cert_id


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        ".",
        "aYhba4dGQEHhs3uEe6CuLN4ByNQ",
        "aYhba4dGQEHhs3uEe6CuLN4ByNQ.",
        ".AIdlQyE",
        "aYhba4dGQEHhs3uEe6CuLN4ByNQ.h2VDIQ",  # the zero octet is missing: a negative number
        "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AAGHZUM",  # a needless zero octet
        "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AA",
        RFC_EXAMPLE + ".AA",
        RFC_EXAMPLE + "=",
        RFC_EXAMPLE.replace(".", "%2E"),
        "aYhba4dGQEHhs3uEe6CuLN4ByNQ." + "Af__" * 7,
        "AAAA" * 30 + ".AIdlQyE",
    ],
)
def test_cert_ids_have_one_spelling(wrong: str) -> None:
    """RFC 9773 section 4.1: DER content octets, canonical base64url, one dot."""
    assert refusal(read_cert_id, wrong).name == "malformed"


@given(st.text(st.sampled_from("AQgw-_.=é"), max_size=40))
def test_any_cert_id_is_read_or_refused(text: str) -> None:
    """For any text: a name, spelled the same, or a Problem."""
    try:
        assert str(read_cert_id(text)) == text
    except Problem as problem:
        assert problem.name == "malformed"  # noqa: PT017 - either outcome is right


def jst(*parts: int) -> int:
    return int(datetime(*parts, tzinfo=JST).timestamp())  # type: ignore[misc,arg-type]


DAYS = {"renewal_days": 30, "reminder_days": 7}


def test_window_is_the_mails() -> None:
    """D-30 to D-7 are calendar days in Japan, as for the mails."""
    window = renewal_window(jst(2026, 1, 1), jst(2026, 4, 1, 15, 30), None, **DAYS)
    assert window == Window(jst(2026, 3, 2), jst(2026, 3, 25))
    assert renewal_json(window, "https://a.example/why") == {
        "suggestedWindow": {"start": "2026-03-01T15:00:00Z", "end": "2026-03-24T15:00:00Z"},
        "explanationURL": "https://a.example/why",
    }


@given(st.integers(0, 2**32), st.integers(2, 10**8), st.none() | st.integers(10_000, 2**32))
def test_window_ends_after_it_starts(not_before_at: int, lifetime: int, revoked_at: int | None) -> None:
    """RFC 9773 section 4.2: a window whose end is not after its start MUST NOT be served."""
    window = renewal_window(not_before_at, not_before_at + lifetime, revoked_at, **DAYS)
    assert window.start_at < window.end_at
    if revoked_at is not None:
        assert window.end_at < revoked_at


@given(st.integers(0, 2**32), st.integers(3, 10**8))
def test_window_lies_within_the_certificates_life(not_before_at: int, lifetime: int) -> None:
    """RFC 9773 section 4.2: nobody is told to renew what he does not have yet, or has no more."""
    not_after_at = not_before_at + lifetime
    window = renewal_window(not_before_at, not_after_at, None, **DAYS)
    assert not_before_at < window.start_at < window.end_at <= not_after_at


def test_a_short_lived_certificates_window() -> None:
    """One that lives for less than D-30 to D-7 is renewed in the last third of its life."""
    window = renewal_window(jst(2026, 1, 1), jst(2026, 1, 21), None, **DAYS)
    assert window == Window(jst(2026, 1, 14, 8), jst(2026, 1, 19))
    assert renewal_window(jst(2026, 1, 1), jst(2026, 1, 31), None, **DAYS) == Window(
        jst(2026, 1, 21), jst(2026, 1, 28)
    )
    assert renewal_window(jst(2026, 1, 1), jst(2026, 2, 1), None, **DAYS) == Window(
        jst(2026, 1, 2), jst(2026, 1, 25)
    )


NAMES = (Identifier("dns", "A.example"), Identifier("dns", "b.example"))


def test_replaces() -> None:
    """RFC 9773 section 5: the same account, a name in common, and no other successor."""
    check_replaces(Predecessor("a1", frozenset({"a.example"}), None), "a1", NAMES)


@pytest.mark.parametrize(
    ("predecessor", "name", "status"),
    [
        (None, "malformed", 400),
        (Predecessor("a2", frozenset({"a.example"}), None), "malformed", 400),
        (Predecessor("a1", frozenset({"c.example"}), None), "malformed", 400),
        (Predecessor("a1", frozenset({"a.example"}), "o1"), "alreadyReplaced", 409),
        (Predecessor("a2", frozenset({"a.example"}), "o1"), "malformed", 400),
    ],
)
def test_replaces_refused(predecessor: Predecessor | None, name: str, status: int) -> None:
    """Another's certificate answers like none; a second successor is 409."""
    problem = refusal(check_replaces, predecessor, "a1", NAMES)
    assert (problem.name, problem.status) == (name, status)


def test_revocation_is_read() -> None:
    """RFC 8555 section 7.6: the certificate, and a reason that clients may give; 0 by default."""
    assert read_revocation({"certificate": "MAA"}).reason == 0
    assert read_revocation({"certificate": "MAA", "reason": None}).reason == 0
    for reason in (0, 1, 3, 4, 5):
        assert read_revocation({"certificate": "MAA", "reason": reason}).reason == reason


@pytest.mark.parametrize("reason", [2, 6, 7, 8, 9, 10, 11, -1, 1.0, "1", True, [], 2**40])
def test_reasons_refused(reason: Any) -> None:
    """RFC 8555 section 7.6: badRevocationReason, which lists what is allowed."""
    problem = refusal(read_revocation, {"certificate": "MAA", "reason": reason})
    assert problem.name == "badRevocationReason"
    assert "1 (keyCompromise)" in problem.detail


@pytest.mark.parametrize("payload", [{}, {"certificate": ""}, {"certificate": "MAA="}, {"certificate": 1}])
def test_revocation_without_certificate(payload: dict[str, Any]) -> None:
    """RFC 8555 section 7.6: base64url DER."""
    assert refusal(read_revocation, payload).name == "malformed"


OURS = Holder("a1", "key", False)


@pytest.mark.parametrize(
    "signer",
    [
        {"account_id": "a1", "spki_sha256": "x", "authorized": False},
        {"account_id": "a2", "spki_sha256": "x", "authorized": True},
        {"account_id": None, "spki_sha256": "key", "authorized": False},
    ],
)
def test_who_may_revoke(signer: dict[str, Any]) -> None:
    """RFC 8555 section 7.6: its account, an account authorised for its names, its own key; once."""
    check_revocation(OURS, **signer)
    problem = refusal(check_revocation, Holder("a1", "key", True), **signer)
    assert (problem.name, problem.status) == ("alreadyRevoked", 400)


@pytest.mark.parametrize("revoked", [False, True])
@pytest.mark.parametrize(
    "signer",
    [
        {"account_id": "a2", "spki_sha256": "key", "authorized": False},
        {"account_id": None, "spki_sha256": "x", "authorized": False},
        {"account_id": None, "spki_sha256": "x", "authorized": True},
    ],
)
def test_who_may_not_revoke(signer: dict[str, Any], revoked: bool) -> None:
    """403 unauthorized, the same for a certificate that is not ours and for one that is revoked."""
    for holder in (None, Holder("a1", "key", revoked), Holder(None, "key", revoked)):
        problem = refusal(check_revocation, holder, **signer)
        assert (problem.name, problem.status) == ("unauthorized", 403)
