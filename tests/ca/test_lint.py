"""pkilint, by the rules of RFC 5280 and RFC 6960, finds nothing in what others are to read: from notices
up."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path

import pytest
from cryptography import x509

from ca import datadir, linting
from ca.authority import Authority, Issuer
from ca.certificates import build, common_name, new_serial, public_key_of, to_pem, validity
from ca.crls import build_crl, of_shard
from ca.keys import generate, spki
from ca.ocsp import HASHES, Standing, hashes_of, responder_key_of, response, signed, to_be_signed
from ca.profiles import PROFILES
from ca.publication import Places
from ca.responder import Responder
from ca.revocation import REASONS, RevocationStatus, RevokedEntry
from ca.sample import sample
from gateway.serving.config import parse_config
from tests.ca.conftest import AT, CHEAP, DAY, PASSPHRASE
from tests.ca.test_cross import Other

FOUND_NOTHING = (0, "")


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A CA whose certificates say everything that they may: addresses, and a shard."""
    place = tmp_path_factory.mktemp("lint") / "d"
    return datadir.create(
        place, PASSPHRASE, AT, site=Places("http://pki.example", None, 4), cost=CHEAP
    ).authority


class Lint:
    def __init__(self, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._file, self._capsys = place / "linted", capsys

    def __call__(self, linter: str, content: bytes, *words: str) -> tuple[int, str]:
        """(how much was found, and what)."""
        # Not above: each worker of a run loads all tests, and this takes a tenth of that.
        main = import_module(f"pkilint.bin.{linter}").main
        self._file.write_bytes(content)
        self._capsys.readouterr()
        code = main(["lint", "-s", "NOTICE", *words, str(self._file)])
        return code, self._capsys.readouterr().out.strip()


@pytest.fixture
def lint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Lint:
    return Lint(tmp_path, capsys)


def _list(
    issuer: Issuer, authority: Authority, entries: list[RevokedEntry], shard: int | None = None
) -> bytes:
    scope = None if shard is None else of_shard(issuer.site.shard(shard))
    return build_crl(issuer.certificate, authority.signer, entries, 7, AT, AT + 8 * DAY, scope)


def test_lists(own: Authority, lint: Lint) -> None:
    """Whole and in parts, with every reason and with none; and the root's."""
    issuer = own.current
    entries = [RevokedEntry(f"4{code:x}" * 16, AT - code, code) for code in REASONS if code != 8]
    for listed, shard in ((entries, None), ([], None), (entries[:1], 0)):
        made = _list(issuer, own, listed, shard)
        assert lint("lint_crl", made, "-t", "CRL", "-p", "PKIX") == FOUND_NOTHING
    assert lint("lint_crl", own.root_list, "-t", "ARL", "-p", "PKIX") == FOUND_NOTHING


def test_a_fault_of_a_list_is_found(own: Authority, lint: Lint) -> None:
    """The twin: nextUpdate before thisUpdate."""
    made = build_crl(own.current.certificate, own.signer, [], 7, AT, AT - DAY)
    assert lint("lint_crl", made, "-t", "CRL", "-p", "PKIX") != FOUND_NOTHING


@pytest.mark.parametrize(
    "standing",
    [
        Standing("7f" * 16, RevocationStatus.GOOD),
        Standing("7f" * 16, RevocationStatus.REVOKED, AT - 5, 1, 7),
        Standing("7f" * 16, RevocationStatus.REVOKED, AT - 5, 0, 7),
        Standing("7f" * 16, RevocationStatus.HELD, AT - 5, 0, 7),
        Standing("0a", RevocationStatus.UNKNOWN),
    ],
)
def test_answers(own: Authority, lint: Lint, standing: Standing) -> None:
    """Of every status, by each hash."""
    batch = Responder().answer(own.current, own.signer, [(standing, 0)], AT)
    for each in HASHES:
        whole = response(getattr(batch.answers[0], each), batch.responder)
        assert lint("lint_ocsp_response", whole) == FOUND_NOTHING


def test_a_fault_of_an_answer_is_found(own: Authority, lint: Lint) -> None:
    """The twin: nextUpdate before thisUpdate."""
    standing = Standing("7f" * 16, RevocationStatus.GOOD)
    batch = Responder().answer(own.current, own.signer, [(standing, 0)], AT)
    responder = x509.load_der_x509_certificate(batch.responder)
    name = hashes_of(own.current.certificate)["sha1"]
    tbs = to_be_signed(standing, name, responder_key_of(responder), AT, AT - DAY)
    spoiled = response(signed(tbs, b"0", public_key_of(responder)), batch.responder)
    assert lint("lint_ocsp_response", spoiled) != FOUND_NOTHING


def test_certificates(own: Authority, lint: Lint) -> None:
    """With the addresses of lists, answers and the issuer in them; and that of the responder."""
    key = spki(generate("ec-p256").public_key())
    planned = own.plan("client-person", "K1234560001", (), key, None, AT, os.urandom(16))
    batch = Responder().answer(own.current, own.signer, [(Standing("0a", RevocationStatus.GOOD), 0)], AT)
    root = x509.load_der_x509_certificate(own.current.chain[-1])
    assert root.subject == root.issuer
    for der in (own.certify_now(planned), own.current.der, own.current.chain[-1], batch.responder):
        assert lint("lint_pkix_cert", to_pem(der)) == FOUND_NOTHING


@pytest.mark.parametrize("name", PROFILES)
def test_every_profile(own: Authority, lint: Lint, name: str) -> None:
    """Whatever is built in: nothing in a certificate of it."""
    profile, issuer, other = PROFILES[name], own.current, Other(at=AT)
    batch = Responder().answer(issuer, own.signer, [(Standing("0a", RevocationStatus.GOOD), 0)], AT)
    key, alone = generate("ec-p256").public_key(), issuer.chain[-1]
    if name in ("root", "issuing", "responder"):
        made = {"root": alone, "issuing": issuer.der, "responder": batch.responder}[name]
    elif name == "cross":
        made = other.vouch(x509.load_der_x509_certificate(alone))
    else:
        names = ("k1.users.example.jp",) if profile.needs_names else ()
        subject = common_name("" if profile.needs_names else "K1234560001")
        period, told = validity(profile, AT), issuer.site.of(7)
        signed = (subject, key, names, new_serial(), period, issuer.certificate, own.signer, told)
        made = build(profile, *signed)
    assert lint("lint_pkix_cert", to_pem(made)) == FOUND_NOTHING


def test_what_a_profile_asks_for_is_told_with_its_reason(own: Authority) -> None:
    """A policy with a pointer to its practice statement, and nothing else; the OID alone is silent."""
    text = '[profile.p]\nlike = "client-person"\nkeys = ["rsa-2048"]\npolicy = "1.3.6.1.4.1.32473.1.1"\n'
    found = {}
    for name, more in (("alone", ""), ("pointer", 'cps = "https://pki.example/cps"\n')):
        profile = parse_config(text + more).profile["p"]
        found |= linting.lint({name: sample(profile, own.current, {}, AT)})
    assert found["alone"] == []
    (only,) = found["pointer"]
    assert only.severity == "NOTICE"
    assert [each for each in linting.MEANT if only.found.startswith(each)]
    assert only.found.endswith("it would rather have the OID alone)")
