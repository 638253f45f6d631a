"""`sekisho profile`: what certificates of a profile say, shown without the passphrase and without keys."""

from __future__ import annotations

import pytest
from cryptography import x509

from ca import linting
from gateway.serving.config import FILE_NAME
from tests.cli.conftest import Shell

_TABLE = """
[profile.department]
like = "client-person"
years = 2
policy = "1.3.6.1.4.1.32473.1.1"
cps = "https://pki.example.jp/cps.html"
subject = { C = "JP", O = { field = "organisation.name" }, OU = { field = "user.department" } }
names = { upn = { field = "user.id", after = "@corp.example.jp" } }
"""


@pytest.fixture
def shell(sekisho: Shell) -> Shell:
    with (sekisho.data / FILE_NAME).open("a") as file:
        file.write(_TABLE)
    # Neither is asked for: a profile is looked at by whoever may read the settings.
    for key in (sekisho.data / "ca").glob("*.key"):
        key.unlink()
    return sekisho


def test_a_profile_is_listed_and_shown(shell: Shell) -> None:
    """With a sample certificate, as text and as PEM, and what pkilint says of it."""
    listed = shell("profile", "list", SEKISHO_PASSPHRASE="").value["profiles"]
    assert [(each["name"], each["default"], each["validity"]) for each in listed] == [
        ("client-automated", False, "90 days"), ("client-person", True, "3 years"),
        ("department", False, "2 years"),
    ]  # fmt: skip
    shown = shell("profile", "show", "department", SEKISHO_PASSPHRASE="")
    assert shown.code == 0
    value = shown.value["profile"]
    made = x509.load_pem_x509_certificate(value["pem"].encode())
    assert made.subject.rfc4514_string() == "CN=K123456780001,OU=経理部,O=霞が関商事,C=JP"
    assert value["version"] == listed[2]["version"]
    assert [each["severity"] for each in value["lint"]] == ["NOTICE"]


def test_people_read_it_like_openssl_shows_it(shell: Shell) -> None:
    """Each extension by its name, one of several names a line."""
    text = shell("profile", "show", "department", json_output=False).out
    for line in (
        "    Subject: C = JP, O = 霞が関商事, OU = 経理部, CN = K123456780001",
        "        UPN: K12345678@corp.example.jp",
        "        CPS: https://pki.example.jp/cps.html",
        "    keyUsage (critical):",
        "lint: NOTICE: pkix.certificate_policies_policy_has_qualifier",
    ):
        assert line in text
    pem = shell("profile", "show", "department", "--pem", json_output=False).out
    assert x509.load_pem_x509_certificate(pem.encode()).subject


def test_one_that_is_not_there_or_not_linted(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """By name what there is; and what to install."""
    missing = shell("profile", "show", "departement")
    assert missing.code != 0
    assert missing.error["message"].startswith("there is no profile departement; there is client-automated, ")
    monkeypatch.setattr(linting, "available", lambda: False)
    shown = shell("profile", "show", "department")
    assert (shown.code, shown.value["profile"]["lint"]) == (0, None)


def test_beside_a_ca_for_operators(sekisho: Shell) -> None:
    """A sample is as of the newest CA for clients, whichever was made last."""
    assert sekisho("ca", "add", "Operators CA", "--for", "operators").code == 0
    shown = sekisho("profile", "show", "client-person")
    assert shown.code == 0, shown.out
    made = x509.load_pem_x509_certificate(shown.value["profile"]["pem"].encode())
    assert "CA-G4" in made.issuer.rfc4514_string()
