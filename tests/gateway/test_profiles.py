"""Profiles in the configuration: what a table may say, and what is looked at before they are served."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from ca import linting
from ca.authority import Authority, Issuer
from ca.certificates import build, validity
from ca.errors import ConfigError
from ca.keys import generate
from ca.profiles import CLIENT_AUTOMATED, CLIENT_PERSON, CLIENTS, ISSUING, Source, figures
from ca.sample import sample
from ca.signing import FileSigner
from enroll.acme.credentials import create, withdraw
from enroll.people.changes import change_organisation
from enroll.people.facts import samples
from gateway.serving import profiling
from gateway.serving.config import Config, parse_config, toml_of
from tests.datadirs import POLICY_NUMBER, START, admit, open_office

WHOLE = """
[policy]
person_profile = "windows-logon"
[profile.windows-logon]
like = "client-person"
description = "E-mail and logon to Windows"
years = 1
keys = ["rsa-2048"]
extended_key_usage = ["clientAuth", "emailProtection", "smartcardLogon"]
subject = { C = "JP", OU = { field = "user.department" }, O = { field = "organisation.name" } }
policy = "1.3.6.1.4.1.32473.1.1"
cps = "https://pki.example.jp/cps.html"
[profile.windows-logon.names]
upn = { field = "user.id", after = "@corp.example.jp" }
email = { field = "user.mail" }
[profile.batch]
like = "client-automated"
days = 10
"""


def test_a_table_is_a_profile() -> None:
    """What it does not say is as in the one it begins with; the order of parts is the certificate's."""
    config = parse_config(WHOLE)
    made = config.profiles["windows-logon"]
    assert list(config.profiles) == [*CLIENTS, "windows-logon", "batch"]
    assert [name for name, _ in made.subject] == ["C", "O", "OU"]
    assert made.alternative == (
        ("email", Source("user.mail")),
        ("upn", Source("user.id", after="@corp.example.jp")),
    )
    assert (made.years, made.days, made.key_kinds, made.key_usage) == (
        1, 0, ("rsa-2048",), CLIENT_PERSON.key_usage,
    )  # fmt: skip
    assert config.profiles["batch"] == replace(
        CLIENT_AUTOMATED, name="batch", like="client-automated", days=10, description="like client-automated"
    )
    assert {each["name"]: each["default"] for each in profiling.figures_of(config)} == {
        "client-automated": False, "client-person": False, "windows-logon": True, "batch": False,
    }  # fmt: skip


def test_the_examples_in_the_file_are_the_built_in_ones() -> None:
    """Uncommented, under another name, each is the same but for its name."""
    lines = toml_of(Config()).splitlines()
    for name, profile in CLIENTS.items():
        at = lines.index(f"# [profile.{name}]")
        table = [line[2:] for line in lines[at + 1 : at + 5]]
        text = "\n".join([f"[profile.mine]\nlike = '{name}'", *table])
        mine = figures(parse_config(text).profiles["mine"])
        assert mine | {"name": name, "like": ""} == figures(profile)


def test_the_examples_of_the_page_are_profiles() -> None:
    """Each of its tables, as it stands there, has a sample without an error."""
    page = (Path(__file__).parents[2] / "docs/operations/profiles.md").read_text("utf-8")
    tables = re.findall(r"```toml\n(.*?)```", page, flags=re.S)
    profiles = parse_config("\n".join(tables)).profile
    assert list(profiles) == ["windows-logon", "department"]
    profiling.check_linted(profiles, _issuer(), START)


def _said(line: str, name: str = "mine", like: str = "client-person") -> str:
    return f"[profile.{name}]\nlike = '{like}'\n{line}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("profile = 1", "profile must be tables; write [profile.NAME] on a line of its own"),
        (_said("", "client-person"), "profile.client-person: that one is built in and stays as it is"),
        (_said("", "server"), "profile.server: that one is built in and stays as it is"),
        (_said("", "'Ä'"), "a profile's name is 1 to 40 of a-z, 0-9 and -"),
        ("[profile.mine]\nyears = 1", "profile.mine.like: write the built-in one it begins with"),
        (_said("", like="issuing"), "profile.mine.like: write the built-in one it begins with"),
        (_said("yaers = 1"), "profile.mine.yaers is no setting; a profile knows like, description, years"),
        (_said("years = 11"), "profile.mine.years: write a whole number from 1 to 10"),
        (_said("years = true"), "profile.mine.years: write a whole number from 1 to 10"),
        (_said("days = 0"), "profile.mine.days: write a whole number from 1 to 3660"),
        (_said("days = 90\nyears = 1"), "profile.mine: write years or days, not both"),
        (_said("days = 30"), "profile.mine.days: write more days than policy.renewal_days, which are 30"),
        (_said("keys = ['rsa-1024']"), "profile.mine.keys: write a list of some of rsa-2048,"),
        (_said("keys = ['ed25519']"), "profile.mine.keys: write a list of some of rsa-2048,"),
        (_said("extended_key_usage = ['serverAuth']"), "the CA allows no other"),
        (_said("extended_key_usage = ['emailProtection']"), "write clientAuth, too"),
        (_said("policy = '2.5.29.32.0'"), "profile.mine.policy: write the OID of your policy"),
        (_said("policy = '1.40.1'"), "profile.mine.policy: write the OID of your policy"),
        (_said("cps = 'https://a.example'"), "profile.mine.cps: it belongs to a policy; write its OID"),
        (_said("policy = '1.2.3'\ncps = 'ftp://a.example'"), "profile.mine.cps: write the address"),
        (_said("subject = { CN = 'x' }"), "profile.mine.subject: write a table of some of C, O, OU"),
        (_said("subject = { C = 'Japan' }"), "C: 'Japan' is not two capital letters of ISO 3166, such as JP"),
        (_said("subject = { O = '' }"), "O: '' is not one line of text"),
        (_said(f"subject = {{ O = '{'x' * 65}' }}"), "is longer than 64 characters (RFC 5280 appendix A.1)"),
        (_said("subject = { O = 'organisation.name' }"), 'write { field = "organisation.name" }'),
        (_said("subject = { O = { field = 'user.password_hash' } }"), "no field 'user.password_hash'"),
        (_said("subject = { O = { field = 'user.__class__' } }"), "there is no field 'user.__class__'"),
        (_said("subject = { O = { before = 'x' } }"), 'O: write a text, or { field = "..." }'),
        (_said("subject = { O = { field = 'user.name', format = '{0}' } }"), "O: write a text, or { field"),
        (_said("subject = { O = { field = 'user.name', before = 1 } }"), "are texts in quotes"),
        (_said("names = { dns = 'a.example' }"), "write a table of some of email, upn, uri"),
        (_said("names = { upn = { field = 'user.name' } }"), "gives upn = '厚生 太郎', which is not"),
        (_said("names = { email = { field = 'user.principal', before = ' ' } }"), "is not a mail address"),
        ("[policy]\nperson_profile = 'none'", "policy.person_profile: write a profile for people"),
        ("[policy]\nperson_profile = 'client-automated'", "write a profile for people: client-person"),
    ],
)
def test_what_is_wrong_is_said_with_what_to_write(text: str, message: str) -> None:
    """By the profile's name and the setting's."""
    with pytest.raises(ConfigError) as refused:
        parse_config(text)
    assert message in str(refused.value)


def _issuer(*purposes: Any) -> Issuer:
    """An issuing CA, with its own certificate restricted to purposes."""
    key = generate("ec-p256")
    row = replace(ISSUING, extended_key_usage=tuple(purposes))
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "CA")])
    der = build(row, subject, key.public_key(), (), 1, validity(row, START), None, FileSigner.of(key))
    return Issuer("00", x509.load_der_x509_certificate(der))


def test_no_purpose_beyond_the_cas_own() -> None:
    """RFC 5280 section 4.2.1.12 says nothing of CAs, and everybody who checks nests them."""
    profiles = parse_config(WHOLE).profile
    for fine in (
        _issuer(),
        _issuer(ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE),
        _issuer(*profiles["windows-logon"].extended_key_usage),
    ):
        profiling.check_allowed(profiles, fine)
    with pytest.raises(ConfigError, match=r"profile\.windows-logon\.extended_key_usage: CA may not certify"):
        profiling.check_allowed(profiles, _issuer(ExtendedKeyUsageOID.CLIENT_AUTH))


def test_samples_are_linted(caplog: pytest.LogCaptureFixture) -> None:
    """Of every profile here, and the built-in ones: no error; the notice is about the pointer to the CPS,
    which RFC 5280 section 4.2.1.4 would rather have left out."""
    found = profiling.linted(parse_config(WHOLE).profiles.values(), _issuer(), START)
    assert set(found) == {*CLIENTS, "windows-logon", "batch"}
    told = {name: [each.found.split()[0] for each in findings] for name, findings in found.items()}
    assert told.pop("windows-logon") == ["pkix.certificate_policies_policy_has_qualifier"]
    assert set(map(tuple, told.values())) == {()}
    assert not any(each.is_bad for findings in found.values() for each in findings)


def test_an_error_of_pkilints_refuses_a_profile() -> None:
    """By its name, the finding and what to type: a value that only pkilint knows to be wrong."""
    odd = replace(
        CLIENT_PERSON, name="odd", like="client-person", alternative=(("uri", Source(before="https:x")),)
    )
    with pytest.raises(ConfigError) as refused:
        profiling.check_linted({"odd": odd}, _issuer(), START)
    assert str(refused.value).startswith(
        "profile.odd: pkilint says ERROR: pkix.invalid_uri_syntax at certificate."
    )
    assert str(refused.value).endswith("look at it with: sekisho profile show odd")


def test_without_pkilint_it_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Served all the same, by our own checks; whoever has no profiles hears nothing of it."""
    monkeypatch.setattr(linting, "available", lambda: False)
    profiling.check_linted(parse_config(WHOLE).profile, _issuer(), START)
    assert "not linted: pkilint is not installed; pip install 'sekisho[lint]'" in caplog.text
    caplog.clear()
    profiling.check_linted({}, _issuer(), START)
    assert caplog.text == ""


async def test_no_profile_goes_that_somebody_has(tmp_path: Path) -> None:
    """An organisation, or a credential that is alive; one that was withdrawn keeps nothing."""
    async with open_office(tmp_path) as ra:
        config = parse_config(WHOLE)
        own = replace(ra, authority=replace(ra.authority, profiles=config.profiles))
        await admit(own)
        (made,) = await create(own, "K12345678", actor="test", profile="batch")
        await change_organisation(own, POLICY_NUMBER, {"profile": "windows-logon"}, actor="test")
        profiling.check_wanted(config.profiles, ra.database)
        with pytest.raises(ConfigError, match=r"the organisation 12345678 has the profile windows-logon, "):
            profiling.check_wanted(CLIENTS, ra.database)
        await change_organisation(own, POLICY_NUMBER, {"profile": ""}, actor="test")
        with pytest.raises(ConfigError, match="credentials for programs have the profile batch, "):
            profiling.check_wanted(CLIENTS, ra.database)
        await withdraw(ra, made.kid, actor="test")
        profiling.check_wanted(CLIENTS, ra.database)


async def test_a_sample_is_of_nobody_and_of_no_key(tmp_path: Path) -> None:
    """It has the issuer's name and addresses, and is not signed by it."""
    async with open_office(tmp_path) as ra:
        authority: Authority = ra.authority
        made = x509.load_der_x509_certificate(
            sample(parse_config(WHOLE).profiles["windows-logon"], authority.current, samples(), START)
        )
        issuer = authority.current.certificate
        assert made.issuer == issuer.subject
        with pytest.raises(Exception):  # noqa: B017
            made.verify_directly_issued_by(issuer)
        assert made.subject.rfc4514_string() == "CN=K123456780001,OU=経理部,O=霞が関商事,C=JP"
