"""What an operator's profile lets a certificate say: made, read back by other parsers, and refused where it
is not as the profile has it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from asn1crypto import x509 as asn1
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from ca.authority import Authority
from ca.errors import Unacceptable
from ca.expected import written
from ca.inspection import Issuing, Unsignable, _shared, inspect_certificate
from ca.keys import generate, spki
from ca.naming import UPN, Naming, fits, naming_of, what_is_wrong
from ca.profiles import CLIENT_PERSON, CLIENTS, Profile, Source, figures, version_of
from ca.store import Reservation
from tests.ca.conftest import AT

PROFILE = replace(
    CLIENT_PERSON,
    name="department",
    like="client-person",
    years=1,
    subject=(("C", Source(before="JP")), ("O", Source("of.name")), ("OU", Source("department", "第", "部"))),
    alternative=(
        ("email", Source("mail")),
        ("upn", Source("id", after="@corp.example.jp")),
        ("uri", Source("id", "https://id.example.jp/u/")),
    ),
    extended_key_usage=(
        ExtendedKeyUsageOID.CLIENT_AUTH,
        ExtendedKeyUsageOID.EMAIL_PROTECTION,
        ObjectIdentifier("1.3.6.1.4.1.311.20.2.2"),
    ),
    policy="2.999.1234567.1",
    cps="https://pki.example.jp/cps",
)
FACTS = {"of.name": "霞が関商事", "department": "経理", "mail": "taro@example.jp", "id": "K12345678"}
KEY = spki(generate("ec-p256").public_key())
PROFILES = {**CLIENTS, PROFILE.name: PROFILE}


def _with(authority: Authority, profile: Profile = PROFILE) -> Authority:
    return replace(authority, profiles={**CLIENTS, profile.name: profile})


def _planned(authority: Authority, profile: Profile = PROFILE) -> Reservation:
    naming = naming_of(profile, FACTS)
    return _with(authority, profile).plan(
        profile.name, "K123456780001", (), KEY, None, AT, os.urandom(16), naming
    )


def _issuing(authority: Authority) -> Issuing:
    return Issuing(authority.current.certificate, authority.current.site)


def test_a_certificate_says_what_its_profile_does(authority: Authority) -> None:
    """Subject from the wide to the narrow, in RFC 5280's string types; every kind of name; the policy."""
    made = x509.load_der_x509_certificate(authority.certify_now(_planned(authority)))
    assert [(each.oid, each.value) for each in made.subject] == [
        (NameOID.COUNTRY_NAME, "JP"),
        (NameOID.ORGANIZATION_NAME, "霞が関商事"),
        (NameOID.ORGANIZATIONAL_UNIT_NAME, "第経理部"),
        (NameOID.COMMON_NAME, "K123456780001"),
    ]
    kinds = [each._type.name for each in made.subject]
    assert kinds == ["PrintableString", "UTF8String", "UTF8String", "UTF8String"]
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert not names.critical
    assert list(names.value) == [
        x509.RFC822Name("taro@example.jp"),
        x509.OtherName(UPN, b"\x0c\x19K12345678@corp.example.jp"),
        x509.UniformResourceIdentifier("https://id.example.jp/u/K12345678"),
    ]
    (policy,) = made.extensions.get_extension_for_class(x509.CertificatePolicies).value
    assert policy.policy_identifier.dotted_string == "2.999.1234567.1"
    assert policy.policy_qualifiers == ["https://pki.example.jp/cps"]
    purposes = made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(purposes) == list(PROFILE.extended_key_usage)


@pytest.mark.parametrize(
    "profile",
    [PROFILE, replace(PROFILE, cps=""), replace(PROFILE, policy="", cps=""), replace(PROFILE, subject=())],
)
def test_both_ways_of_the_second_look_agree(authority: Authority, profile: Profile) -> None:
    """Octet by octet by our own hand, and value by value by the other parser."""
    reserved, issuing = _planned(authority, profile), _issuing(authority)
    assert written(reserved, profile, _shared(issuing)) == reserved.tbs
    inspect_certificate(reserved.tbs, reserved, issuing, AT, {profile.name: profile})
    read = asn1.TbsCertificate.load(reserved.tbs)
    read.native  # noqa: B018
    extensions = read["extensions"]
    # Another order of the extensions: the same values, and other octets.
    read["extensions"] = asn1.Extensions([extensions[i] for i in range(len(extensions))][::-1])
    turned = read.dump(force=True)
    assert turned != reserved.tbs
    inspect_certificate(turned, replace(reserved, tbs=turned), issuing, AT, {profile.name: profile})


def _swap(part: str, index: int, value: str) -> Callable[[Naming], Naming]:
    def change(naming: Naming) -> Naming:
        said = list(getattr(naming, part))
        said[index] = (said[index][0], value)
        return replace(naming, **{part: tuple(said)})

    return change


@pytest.mark.parametrize(
    "change",
    [
        _swap("subject", 0, "US"),
        _swap("subject", 1, ""),
        _swap("subject", 1, "x" * 65),
        _swap("subject", 2, "経理"),
        _swap("subject", 2, "第部"),
        _swap("alternative", 0, "taro"),
        _swap("alternative", 1, "administrator@other.example"),
        _swap("alternative", 1, "a@b@corp.example.jp"),
        _swap("alternative", 2, "https://evil.example/u/K12345678"),
        _swap("alternative", 2, "https://id.example.jp/u/../admin"),
        lambda naming: replace(naming, subject=naming.subject[1:]),
        lambda naming: replace(naming, subject=naming.subject[::-1]),
        lambda naming: replace(naming, alternative=(*naming.alternative, ("upn", "b@corp.example.jp"))),
    ],
)
def test_what_a_reservation_may_not_say(authority: Authority, change: Callable[[Naming], Naming]) -> None:
    """Who owns a worker writes it, and has the very same put into the certificate: not signed."""
    good, issuing = _planned(authority), _issuing(authority)
    naming = change(good.naming)
    assert not fits(PROFILE, naming)
    tbs = written(replace(good, naming=naming), PROFILE, _shared(issuing))
    with pytest.raises(Unsignable, match="breaks its profile: subject or names"):
        inspect_certificate(tbs, replace(good, naming=naming, tbs=tbs), issuing, AT, PROFILES)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda good: {"naming": Naming()}, "subject"),
        (lambda good: {"profile": "client-person"}, "validity"),
        (lambda good: {"naming": _swap("alternative", 0, "other@example.jp")(good.naming)}, "extensions"),
        (lambda good: {"naming": _swap("subject", 1, "桜田門産業")(good.naming)}, "subject"),
    ],
)
def test_the_bytes_are_the_reservations(
    authority: Authority, change: Callable[[Reservation], dict[str, Any]], fault: str
) -> None:
    """A certificate of somebody else's name under a good reservation is read, and named by what differs."""
    good = _planned(authority)
    other = replace(good, **change(good))
    with pytest.raises(Unsignable, match=f"breaks its profile: {fault}"):
        inspect_certificate(good.tbs, other, _issuing(authority), AT, PROFILES)


def test_another_policy_or_purpose_is_noticed(authority: Authority) -> None:
    """What the profile says and no reservation does."""
    good, issuing = _planned(authority), _issuing(authority)
    for other in (
        replace(PROFILE, policy="2.999.1234567.2"),
        replace(PROFILE, cps="https://evil.example/"),
        replace(PROFILE, extended_key_usage=CLIENT_PERSON.extended_key_usage),
    ):
        with pytest.raises(Unsignable, match="breaks its profile: extensions"):
            inspect_certificate(good.tbs, good, issuing, AT, {PROFILE.name: other})


@pytest.mark.parametrize(
    ("field", "fact", "code", "said"),
    [
        ("department", "", "no-fact", "department is empty, and OU is made of it"),
        ("of.name", "あ" * 65, "bad-fact", "is longer than 64 characters"),
        ("of.name", "a\nb", "bad-fact", "is not one line of text"),
        ("mail", "太郎@example.jp", "bad-fact", "SmtpUTF8Mailbox (RFC 9598) is not made here"),
        ("mail", "taro", "bad-fact", "is not a mail address"),
        ("id", "a@b", "bad-fact", "is not a name of Windows"),
        ("id", "a/b", "bad-fact", "other characters than letters, digits"),
    ],
)
def test_what_a_fact_may_not_be(field: str, fact: str, code: str, said: str) -> None:
    """Never an empty attribute, and the bounds of X.520: refused, by the name of the fact."""
    with pytest.raises(Unacceptable) as refused:
        naming_of(PROFILE, {**FACTS, field: fact})
    assert refused.value.code == code
    assert str(refused.value).startswith(field)
    assert said in str(refused.value)


def test_the_longest_that_fit() -> None:
    """The twin: 64 characters, whatever their octets."""
    assert naming_of(PROFILE, {**FACTS, "of.name": "あ" * 64}).subject[1] == ("O", "あ" * 64)
    assert [what_is_wrong("C", each) is None for each in ("JP", "jp", "JPN", "J1", "")] == [
        True, False, False, False, False,
    ]  # fmt: skip


def test_a_profile_is_known_by_its_figures() -> None:
    """Every figure that a certificate shows makes another version; its name and its words do not."""
    assert version_of(replace(PROFILE, description="words", name="other")) == version_of(PROFILE)
    for changed in ({"years": 2}, {"cps": ""}, {"subject": ()}, {"key_kinds": ("ec-p256",)}, {"backdate": 0}):
        assert version_of(replace(PROFILE, **changed)) != version_of(PROFILE)
    assert len({version_of(each) for each in PROFILES.values()}) == len(PROFILES)
    assert figures(PROFILE)["subject"][2] == ["OU", "第", "department", "部"]
