"""Certificates of our own hosts."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from ca import datadir, servers
from ca.certificates import build, common_name, to_pem, validity
from ca.datadir import DataDir
from ca.errors import ConfigError
from ca.keys import PrivateKey, from_pkcs8, generate, to_pkcs8
from ca.profiles import CLIENT_PERSON, SERVER
from tests.ca.conftest import AT, CHEAP, DAY, PASSPHRASE

HOSTS = ("pickup.localhost", "*.check.localhost", "127.0.0.1")


@pytest.fixture
def own(tmp_path: Path) -> DataDir:
    return datadir.create(tmp_path / "d", PASSPHRASE, AT, cost=CHEAP)


@pytest.fixture
def files(tmp_path: Path, opened: DataDir) -> tuple[Path, Path]:
    """A host's certificate and key as an operator has them."""
    made = servers.issue(opened.server_ca, opened.server_signer, HOSTS, AT, 5, generate("ec-p256"))
    (tmp_path / "c.pem").write_bytes(made.chain_pem)
    (tmp_path / "k.pem").write_bytes(made.key_pem)
    return tmp_path / "c.pem", tmp_path / "k.pem"


def test_the_local_ca_names_every_host(own: DataDir) -> None:
    """serverAuth, 397 days, wildcards and addresses as alternative names, signed by the local server CA."""
    made = servers.local(own, HOSTS, AT)
    leaf = x509.load_der_x509_certificate(made.chain[0])
    leaf.verify_directly_issued_by(own.server_ca.certificate)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["pickup.localhost", "*.check.localhost"]
    assert [str(a) for a in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]
    assert made.not_after_at == AT + 397 * DAY
    assert b"EC PRIVATE" not in (own.path / "servers/hosts.key").read_bytes()


def test_it_is_kept_until_it_must_change(own: DataDir) -> None:
    """The same at the next start; a new one for a new host, near the end, or after time travel."""
    first = servers.local(own, HOSTS, AT)
    assert servers.local(own, HOSTS[:1], AT + DAY).chain == first.chain
    for hosts, at in ((("other.localhost",), AT), (HOSTS, AT + 380 * DAY), (HOSTS, AT - DAY)):
        servers.local(own, HOSTS, AT)
        before = (own.path / "servers/hosts.pem").read_bytes()
        assert servers.local(own, hosts, at).chain_pem != before


def test_a_clock_in_doubt_replaces_none(own: DataDir) -> None:
    """Years ahead, or before its beginning: the certificate that there is stays, unless it lacks a host."""
    first = servers.local(own, HOSTS, AT)
    for at in (AT + 1_460 * DAY, AT - 365 * DAY):
        assert servers.local(own, HOSTS, at, believed=False).chain == first.chain
    assert servers.local(own, ("other.localhost",), AT, believed=False).chain != first.chain


def test_a_crash_between_certificate_and_key_is_made_good(own: DataDir) -> None:
    """A key without its certificate, or garbage, is replaced, since nothing is lost with it."""
    servers.local(own, HOSTS, AT)
    key = own.path / "servers/hosts.key"
    key.write_bytes(own.vault.seal("key servers/hosts", to_pkcs8(generate("ec-p256"))))
    again = servers.local(own, HOSTS, AT)
    leaf = x509.load_der_x509_certificate(again.chain[0])
    assert from_pkcs8(again.key).public_key() == leaf.public_key()
    key.write_bytes(b"garbage")
    assert servers.local(own, HOSTS, AT).chain != again.chain


def test_the_operators_files_are_taken(files: tuple[Path, Path]) -> None:
    """The good case, with a host under the wildcard."""
    made = servers.from_files(*files, ["PICKUP.localhost", "t-1.check.localhost", "*.check.localhost"], AT)
    assert made.names == HOSTS
    assert made.not_after_at == AT + 397 * DAY


def test_a_key_that_does_not_belong(files: tuple[Path, Path]) -> None:
    """Certificate and key must match."""
    files[1].write_bytes(_key_pem(generate("ec-p256")))
    with pytest.raises(ConfigError, match="is not the key of the first certificate"):
        servers.from_files(*files, HOSTS[:1], AT)


@pytest.mark.parametrize("host", ["other.localhost", "check.localhost", "a.b.check.localhost", "*.localhost"])
def test_a_host_that_is_not_covered(files: tuple[Path, Path], host: str) -> None:
    """RFC 9525 section 6.3: a wildcard is one whole label, not none and not two."""
    with pytest.raises(ConfigError, match="does not name"):
        servers.from_files(*files, [host], AT)


@pytest.mark.parametrize(("at", "words"), [(AT + 398 * DAY, "renew it"), (AT - DAY, "check the clock")])
def test_a_certificate_out_of_its_time(files: tuple[Path, Path], at: int, words: str) -> None:
    """Expired or not yet begun: refused before anything listens."""
    with pytest.raises(ConfigError, match=words):
        servers.from_files(*files, HOSTS[:1], at)


def test_a_chain_in_the_wrong_order(files: tuple[Path, Path], opened: DataDir) -> None:
    """The host's own first, then its issuer; anything else is named."""
    leaf = files[0].read_bytes()
    files[0].write_bytes(leaf + opened.server_ca_pem)
    assert len(servers.from_files(*files, HOSTS[:1], AT).chain) == 2
    files[0].write_bytes(leaf + opened.root_pem)
    with pytest.raises(ConfigError, match="did not issue"):
        servers.from_files(*files, HOSTS[:1], AT)
    files[0].write_bytes(opened.server_ca_pem + leaf)
    with pytest.raises(ConfigError, match="put the host's own certificate first"):
        servers.from_files(*files, HOSTS[:1], AT)


def test_a_client_certificate_serves_nobody(files: tuple[Path, Path], opened: DataDir) -> None:
    """clientAuth alone is not serverAuth."""
    key = generate("ec-p256")
    row = dataclasses.replace(SERVER, extended_key_usage=CLIENT_PERSON.extended_key_usage)
    period, ca, signer = validity(row, AT), opened.server_ca.certificate, opened.server_signer
    der = build(row, common_name("a"), key.public_key(), HOSTS[:1], 9, period, ca, signer)
    files[0].write_bytes(to_pem(der))
    files[1].write_bytes(_key_pem(key))
    with pytest.raises(ConfigError, match="not for TLS servers"):
        servers.from_files(*files, HOSTS[:1], AT)


@pytest.mark.parametrize(("which", "words"), [(0, "no readable PEM"), (1, "not a PEM private key")])
def test_garbage_in_a_file(files: tuple[Path, Path], which: int, words: str) -> None:
    """Garbage, and a missing file, are named."""
    files[which].write_bytes(os.urandom(100))
    with pytest.raises(ConfigError, match=words):
        servers.from_files(*files, HOSTS[:1], AT)
    files[which].unlink()
    with pytest.raises(ConfigError, match="cannot be read"):
        servers.from_files(*files, HOSTS[:1], AT)


def test_an_encrypted_key_says_how_to_decrypt_it(files: tuple[Path, Path]) -> None:
    """And with its password it is taken."""
    made = servers.from_files(*files, HOSTS[:1], AT)
    files[1].write_bytes(
        from_pkcs8(made.key).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    with pytest.raises(ConfigError, match="openssl pkey"):
        servers.from_files(*files, HOSTS[:1], AT)
    assert servers.from_files(*files, HOSTS[:1], AT, password=b"secret").key == made.key


def _key_pem(key: PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
