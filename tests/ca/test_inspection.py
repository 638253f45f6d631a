"""What the signer looks at: each value of a certificate and of a list, one changed at a time."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from asn1crypto import core, x509
from asn1crypto import crl as asn1_crl
from cryptography.x509 import load_der_x509_certificate
from hypothesis import given, settings
from hypothesis import strategies as st

from ca.authority import Authority
from ca.certificates import build, common_name, serial_hex, to_be_signed
from ca.crls import fill, frame_of, of_shard
from ca.expected import written
from ca.inspection import (
    Issuing,
    Unsignable,
    _faults,
    _read,
    _shared,
    inspect_certificate,
    inspect_list,
    shard_in,
)
from ca.keys import generate, spki, spki_of
from ca.profiles import CLIENTS, OPERATORS, PROFILES, Audience
from ca.publication import Addresses, Places, Site
from ca.revocation import RevokedEntry
from ca.signing import FileSigner
from ca.store import Reservation
from tests.ca.conftest import AT, DAY

KEY = spki(generate("ec-p256").public_key())
OTHER = spki(generate("ec-p256").public_key())
LIST = "what is to be signed is no list"


def _issuing(authority: Authority) -> Issuing:
    return Issuing(authority.current.certificate, authority.current.site)


def _planned(authority: Authority, profile: str = "client-automated", cn: str = "K1") -> Reservation:
    names = ("k1.users.example",) if profile == "client-automated" else ()
    return authority.plan(profile, cn, names, KEY, "order", AT, os.urandom(16))


@pytest.mark.parametrize(
    ("profile", "cn", "names", "kind"),
    [
        ("client-person", "K1234560001", (), "rsa-2048"),
        ("client-person", "K1", (), "ec-p384"),
        ("client-automated", "", ("a.example", "b.example"), "ed25519"),
        ("client-automated", "K1", ("a.example",), "ec-p256"),
    ],
)
@pytest.mark.parametrize(
    "places",
    [
        Places(),
        Places(crl="http://crl.example/g4.crl"),
        Places("http://p.example"),
        Places("http://p.example", None, 8),
    ],
)
def test_what_we_plan_is_within_its_profile(
    authority: Authority, profile: str, cn: str, names: tuple[str, ...], kind: str, places: Places
) -> None:
    """Both readings agree on every certificate that may be asked for, and it is what is written out here."""
    own = replace(
        authority, issuers=(replace(authority.current, site=places.of(authority.current.issuer_id)),)
    )
    reserved = own.plan(profile, cn, names, spki(generate(kind).public_key()), "o", AT, os.urandom(16))
    inspect_certificate(reserved.tbs, reserved, _issuing(own), AT)
    _inspect_by_reading(reserved, _issuing(own))
    assert written(reserved, PROFILES[profile], _shared(_issuing(own))) == reserved.tbs


def test_an_operators_is_signed_by_their_own_ca_alone(authority: Authority) -> None:
    """Both readings agree on it; neither their profile by people's CA nor people's by theirs is signed, and
    whoever plans is told so before."""
    theirs = replace(authority, issuers=(replace(authority.current, audience=Audience.OPERATORS),))
    (issuer,) = theirs.issuers
    asked = ((), KEY, None, AT, os.urandom(16))
    reserved = theirs.plan("client-operator", "desk-1", *asked, issuer=issuer)
    issuing = Issuing(issuer.certificate, issuer.site, issuer.audience)
    inspect_certificate(reserved.tbs, reserved, issuing, AT, {**CLIENTS, **OPERATORS})
    _inspect_by_reading(reserved, issuing)
    assert written(reserved, PROFILES[reserved.profile], _shared(issuing)) == reserved.tbs
    with pytest.raises(Unsignable, match="the profile client-operator is for operators, and the issuer"):
        inspect_certificate(reserved.tbs, reserved, _issuing(authority), AT, {**CLIENTS, **OPERATORS})
    persons = _planned(authority, "client-person")
    with pytest.raises(Unsignable, match="the profile client-person is for clients, and the issuer is not"):
        inspect_certificate(persons.tbs, persons, issuing, AT)
    for profile, by in (("client-operator", authority.current), ("client-person", issuer)):
        with pytest.raises(ValueError, match="signs nothing for"):
            authority.plan(profile, "desk-1", *asked, issuer=by)


@pytest.mark.parametrize("kind", ["ec-p256", "ec-p384", "rsa-2048"])
@pytest.mark.parametrize("year", [2026, 2049, 2050])
def test_it_is_written_out_as_the_builder_does(authority: Authority, kind: str, year: int) -> None:
    """Of issuers of every kind, and of either form of a time, a serial with its top bit set included."""
    profile, key = PROFILES["client-automated"], generate(kind)
    signer = FileSigner.of(key)
    issuer = _own_issuer(key, signer)
    at = int(datetime(year, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp())
    for serial in (0x7F << 120, 0x80 << 120, 1):
        own, subject = generate("ec-p256").public_key(), common_name("K1")
        to_sign = to_be_signed(
            profile,
            subject,
            own,
            ("k1.example",),
            serial,
            (at - 600, at),
            issuer,
            Addresses("http://c.example/"),
        )
        reserved = Reservation(
            serial_hex(serial), "", profile.name, "K1", ("k1.example",), spki(own), at - 600, at, at
        )
        assert written(reserved, profile, _shared(Issuing(issuer, Site("http://c.example/")))) == to_sign


def test_another_order_of_extensions_is_read(authority: Authority) -> None:
    """What says the same in other octets is no fault: it goes the slow way, which looks at values."""
    reserved = _planned(authority)
    tbs = x509.TbsCertificate.load(reserved.tbs)
    tbs.native  # noqa: B018
    tbs["extensions"] = list(reversed(list(tbs["extensions"])))
    other = tbs.dump(force=True)
    assert other != reserved.tbs
    inspect_certificate(other, replace(reserved, tbs=other), _issuing(authority), AT)


def _inspect_by_reading(reserved: Reservation, issuer: Issuing) -> None:
    """What is asked for, by the slow way alone."""
    read = _read(x509.TbsCertificate, reserved.tbs, "certificate")
    faults = _faults(read, reserved, PROFILES[reserved.profile], issuer, AT)
    assert [name for name, fault in faults if fault] == []


def _own_issuer(key: Any, signer: FileSigner) -> Any:
    """An issuing CA with this key, which signs itself."""
    der = build(PROFILES["root"], common_name("CA"), key.public_key(), (), 1, (0, 2**33), None, signer)
    return load_der_x509_certificate(der)


def _extension(of: Any, name: str) -> Any:
    return next(each for each in of["extensions"] if each["extn_id"].native == name)


def _set(*path: str | int, to: Any) -> Callable[[Any], None]:
    def change(tbs: Any) -> None:
        for step in path[:-1]:
            tbs = tbs[step]
        tbs[path[-1]] = to

    return change


def _ca(tbs: Any) -> None:
    _extension(tbs, "basic_constraints")["extn_value"] = x509.BasicConstraints({"ca": True})


def _usage(tbs: Any) -> None:
    _extension(tbs, "key_usage")["extn_value"] = x509.KeyUsage({"digital_signature", "key_cert_sign"})


def _purpose(tbs: Any) -> None:
    found = x509.ExtKeyUsageSyntax(["client_auth", "server_auth"])
    _extension(tbs, "extended_key_usage")["extn_value"] = found


def _another_name(tbs: Any) -> None:
    found = x509.GeneralNames([x509.GeneralName("dns_name", "k2.users.example")])
    _extension(tbs, "subject_alt_name")["extn_value"] = found


def _one_more(tbs: Any) -> None:
    found = {"extn_id": "1.2.3.4.5", "critical": False, "extn_value": b"\x05\x00"}
    tbs["extensions"].append(x509.Extension(found))


def _without(name: str) -> Callable[[Any], None]:
    def change(tbs: Any) -> None:
        tbs["extensions"] = [each for each in tbs["extensions"] if each["extn_id"].native != name]

    return change


def _not_critical(tbs: Any) -> None:
    _extension(tbs, "basic_constraints")["critical"] = False


def _subject(tbs: Any) -> None:
    tbs["subject"] = x509.Name.build({"common_name": "K2"})


def _organisation(tbs: Any) -> None:
    tbs["subject"] = x509.Name.build({"common_name": "K1", "organization_name": "Police"})


def _issuer(tbs: Any) -> None:
    tbs["issuer"] = x509.Name.build({"common_name": "Another CA"})


def _longer(tbs: Any) -> None:
    tbs["validity"]["not_after"] = x509.Time(
        "utc_time", tbs["validity"]["not_after"].native.replace(year=2049)
    )


def _earlier(tbs: Any) -> None:
    found = tbs["validity"]["not_before"].native.replace(year=2020)
    tbs["validity"]["not_before"] = x509.Time("utc_time", found)


def _key(tbs: Any) -> None:
    tbs["subject_public_key_info"] = x509.PublicKeyInfo.load(OTHER)


def _algorithm(tbs: Any) -> None:
    tbs["signature"]["algorithm"] = "sha1_ecdsa"


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (_ca, "extensions"),
        (_usage, "extensions"),
        (_purpose, "extensions"),
        (_another_name, "extensions"),
        (_one_more, "extensions"),
        (_not_critical, "extensions"),
        *((_without(name), "extensions") for name in (
            "basic_constraints", "key_usage", "extended_key_usage", "subject_alt_name", "key_identifier",
            "authority_key_identifier",
        )),
        (_subject, "subject"),
        (_organisation, "subject"),
        (_issuer, "issuer"),
        (_longer, "validity"),
        (_earlier, "validity"),
        (_key, "key"),
        (_algorithm, "algorithm"),
        (_set("serial_number", to=7), "serial"),
        (_set("version", to="v1"), "version"),
        (_set("issuer_unique_id", to=core.OctetBitString(b"1")), "unique identifiers"),
    ],
)  # fmt: skip
def test_whatever_is_changed_is_noticed_and_named(
    authority: Authority, change: Callable[[Any], None], fault: str
) -> None:
    """One value of a good certificate is another: not signed, even where the register has the same bytes."""
    reserved = _planned(authority)
    tbs = x509.TbsCertificate.load(reserved.tbs)
    tbs.native  # noqa: B018
    change(tbs)
    altered = tbs.dump(force=True)
    assert altered != reserved.tbs
    with pytest.raises(Unsignable) as refused:
        inspect_certificate(altered, replace(reserved, tbs=altered), _issuing(authority), AT)
    assert str(refused.value) == f"the certificate breaks its profile: {fault}"


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"profile": "issuing"}, "the profile issuing is not signed for here"),
        ({"profile": "server"}, "the profile server is not signed for here"),
        ({"profile": "no such"}, "the profile no such is not signed for here"),
        ({"not_after_at": AT + 9_000 * DAY}, "the certificate breaks its profile: validity"),
        ({"reserved_at": AT + 400}, "the certificate breaks its profile: validity"),
        ({"names": ("*.example",)}, "the certificate breaks its profile: names"),
        ({"names": ("192.0.2.1",)}, "the certificate breaks its profile: names"),
        ({"names": ()}, "the certificate breaks its profile: names"),
        ({"subject_cn": "K2"}, "the certificate breaks its profile: subject"),
        ({"spki": OTHER}, "the certificate breaks its profile: key"),
    ],
)
def test_a_reservation_that_no_profile_has_is_refused(
    authority: Authority, changed: dict[str, Any], fault: str
) -> None:
    """Who owns a worker writes the register, too: what it says of a reservation is looked at as well."""
    reserved = _planned(authority)
    with pytest.raises(Unsignable) as refused:
        inspect_certificate(reserved.tbs, replace(reserved, **changed), _issuing(authority), AT)
    assert str(refused.value) == fault


def test_dates_are_of_today(authority: Authority) -> None:
    """What is reserved for a time to come, or is months old, is of no clock and no crash of ours."""
    reserved, issuing = _planned(authority), _issuing(authority)
    inspect_certificate(reserved.tbs, reserved, issuing, AT - 300)
    inspect_certificate(reserved.tbs, reserved, issuing, AT + 30 * DAY)
    for at in (AT - 301, AT + 30 * DAY + 1):
        with pytest.raises(Unsignable, match="breaks its profile: moment"):
            inspect_certificate(reserved.tbs, reserved, issuing, at)


def test_the_cas_own_key_is_nobodys(authority: Authority) -> None:
    """A client with the issuer's key could be taken for the issuer."""
    own = spki_of(authority.current.certificate)
    reserved = authority.plan("client-person", "K1", (), own, "o", AT, os.urandom(16))
    with pytest.raises(Unsignable, match="breaks its profile: key"):
        inspect_certificate(reserved.tbs, reserved, _issuing(authority), AT)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_bytes_are_refused_in_one_way(authority: Authority, data: st.DataObject) -> None:
    """Cut, lengthened, or with one octet another: `Unsignable`, and nothing else."""
    reserved, at = _planned(authority), data.draw(st.integers(0, 400))
    octet, end = data.draw(st.integers(0, 255)), data.draw(st.binary(max_size=3))
    tbs = bytearray(reserved.tbs)
    tbs[at % len(tbs)] = octet
    for bad in (bytes(tbs), reserved.tbs[: at % len(tbs)], reserved.tbs + end):
        if bad == reserved.tbs:
            continue
        with pytest.raises(Unsignable):
            inspect_certificate(bad, reserved, _issuing(authority), AT)


def test_no_octet_is_the_parsers_undoing(authority: Authority) -> None:
    """Each octet in turn is zero: whatever the parser says to that, it is `Unsignable`."""
    reserved = _planned(authority)
    for at, octet in enumerate(reserved.tbs):
        if octet:
            bad = reserved.tbs[:at] + b"\0" + reserved.tbs[at + 1 :]
            with pytest.raises(Unsignable):
                inspect_certificate(bad, reserved, _issuing(authority), AT)


# -- lists ---------------------------------------------------------------------------------------------


def _listed(authority: Authority, count: int = 3, number: int = 7, at: int = AT, days: int = 7) -> bytes:
    frame = frame_of(authority.current.certificate, number, at, at + days * DAY)
    entries = [RevokedEntry(f"0a{i:06x}", AT - 5, i % 2) for i in range(count)]
    return b"".join(fill(frame, entries).chunks)


@pytest.mark.parametrize("count", [0, 1, 3, 5_000])
def test_our_lists_are_lists(authority: Authority, count: int) -> None:
    """Of any length, with entries and without."""
    inspect_list(_listed(authority, count), _issuing(authority), 6, AT)


@pytest.mark.parametrize(
    ("made", "at", "fault"),
    [
        ({"number": 6}, AT, "number"),
        ({"at": AT - 301}, AT, "moment"),
        ({"at": AT + 601}, AT, "moment"),
        ({"days": 9}, AT, "end"),
        ({"days": 0}, AT, "end"),
    ],
)
def test_a_list_follows_the_last_one_and_is_of_today(
    authority: Authority, made: dict[str, Any], at: int, fault: str
) -> None:
    """RFC 5280 section 5.2.3: numbers grow; a list for years to come would hide what is revoked tomorrow."""
    with pytest.raises(Unsignable) as refused:
        inspect_list(_listed(authority, **made), _issuing(authority), 6, at)
    assert str(refused.value) == f"the list is not one of this issuer's: {fault}"


SHARDED = Site("http://p.example/crl/a.crl", shards=4)


def _shard(
    authority: Authority, shard: int = 3, url: str | None = None, serials: tuple[int, ...] = (3, 0x7F)
) -> bytes:
    scope = of_shard(SHARDED.shard(shard) if url is None else url)
    frame = frame_of(authority.current.certificate, 7, AT, AT + DAY, scope)
    return b"".join(fill(frame, [RevokedEntry(f"0a{each:02x}", AT - 5, 1) for each in serials]).chunks)


def test_a_shard_says_which_one_it_is(authority: Authority) -> None:
    """By its critical scope, the address in certificates; the whole list says nothing of that."""
    issuer = Issuing(authority.current.certificate, SHARDED)
    for shard in range(4):
        made = _shard(authority, shard, serials=(shard, 0xFC + shard))
        assert shard_in(made, issuer) == shard
        inspect_list(made, issuer, 6, AT, shard)
    assert shard_in(_listed(authority), issuer) is None
    inspect_list(_listed(authority), issuer, 6, AT)


@pytest.mark.parametrize(
    "url", ["http://p.example/crl/a/4.crl", "http://p.example/crl/a.crl", "http://other/a/3.crl"]
)
def test_another_scope_is_none_of_the_issuers(authority: Authority, url: str) -> None:
    """The twin: a list of a scope that no certificate names."""
    with pytest.raises(Unsignable, match=LIST):
        shard_in(_shard(authority, url=url), Issuing(authority.current.certificate, SHARDED))


def _harmless(data: bytes) -> bytes:
    """The same with a scope that is not critical."""
    read = asn1_crl.TbsCertList.load(data)
    read.native  # noqa: B018
    for each in read["crl_extensions"]:
        each["critical"] = False
    changed: bytes = read.dump(force=True)
    return changed


def test_a_part_is_not_signed_as_something_else(authority: Authority) -> None:
    """Not as the whole, nor as another shard, nor with another one's entries, nor with a scope that may be
    passed over: each would hide what was revoked."""
    issuer, made = Issuing(authority.current.certificate, SHARDED), _shard(authority)
    for shard, fault in ((None, "extensions"), (2, "another shard's entry")):
        with pytest.raises(Unsignable, match=fault):
            inspect_list(made, issuer, 6, AT, shard)
    with pytest.raises(Unsignable, match="scope"):
        inspect_list(_shard(authority, serials=()), issuer, 6, AT, 2)
    with pytest.raises(Unsignable, match="another shard's entry"):
        inspect_list(_shard(authority, serials=(3, 4)), issuer, 6, AT, 3)
    with pytest.raises(Unsignable, match="critical"):
        inspect_list(_harmless(made), issuer, 6, AT, 3)
    with pytest.raises(Unsignable, match="extensions"):
        inspect_list(_listed(authority, 0), issuer, 6, AT, 3)


def test_a_certificate_is_no_list(authority: Authority) -> None:
    """A signature over one is one over the other, if only the bytes are the same."""
    with pytest.raises(Unsignable, match=LIST):
        inspect_list(_planned(authority).tbs, _issuing(authority), 6, AT)


@settings(max_examples=150, deadline=None)
@given(at=st.integers(0, 400), octet=st.integers(0, 255))
def test_any_bytes_are_no_list_or_another_list(authority: Authority, at: int, octet: int) -> None:
    """Cut short: refused. With one octet another: refused, or another list; never an accident."""
    good = _listed(authority)
    with pytest.raises(Unsignable):
        inspect_list(good[: at % len(good)], _issuing(authority), 6, AT)
    bad = bytearray(good)
    bad[at % len(bad)] = octet
    with suppress(Unsignable):
        inspect_list(bytes(bad), _issuing(authority), 6, AT)
