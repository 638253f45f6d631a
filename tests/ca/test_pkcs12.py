"""PKCS#12 files, opened by the readers that people have."""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from asn1crypto import pkcs12 as asn1
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs12 as reader

from ca import pkcs12, pkcs12kdf
from ca.authority import Authority
from ca.errors import Unacceptable
from ca.keys import generate, to_pkcs8
from ca.pkcs12 import ENTROPY_BYTES, FORMATS, ROUNDS, assemble, check_password
from ca.pkcs12kdf import derive_key
from tests.ca.conftest import Issued, issue_person

PASSWORDS = {1: "a", 31: "Abc1" * 7 + "xyz", 128: "aB3d" * 32}
NAME = "CPBS K1234560001 2030.01.15"


@pytest.fixture(scope="module")
def files(
    authority: Authority, person: Issued, tmp_path_factory: pytest.TempPathFactory
) -> dict[tuple[str, int], Path]:
    """Both formats with passwords of 1, 31 and 128 characters."""
    folder = tmp_path_factory.mktemp("p12")
    made = {}
    for name in FORMATS:
        for length, password in PASSWORDS.items():
            made[name, length] = folder / f"{name}-{length}.p12"
            made[name, length].write_bytes(_file(authority, person, password, name))
    return made


def _file(authority: Authority, made: Issued, password: str, name: str) -> bytes:
    chain = authority.chain_der(made.der)[1:]
    return assemble(to_pkcs8(made.key), made.der, chain, password, name, NAME, os.urandom(ENTROPY_BYTES))


def _run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    if shutil.which(str(command[0])) is None:
        pytest.skip(f"{command[0]} is not installed")
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False)
    return done


def _each(test: object) -> object:
    cases = [(name, length) for name in FORMATS for length in PASSWORDS]
    return pytest.mark.parametrize(("name", "length"), cases)(test)  # type: ignore[type-var]


@_each
@pytest.mark.client
def test_openssl_reads_it(files: dict[tuple[str, int], Path], name: str, length: int) -> None:
    """`openssl pkcs12`: key and both certificates; a wrong password gives nothing."""
    legacy = ["-legacy"] if name == "compatible" else []
    command = ("openssl", "pkcs12", "-in", files[name, length], "-nodes", "-info", *legacy)
    good = _run(*command, "-passin", f"pass:{PASSWORDS[length]}")
    assert good.returncode == 0, good.stderr
    assert good.stdout.count("BEGIN CERTIFICATE") == 2
    assert good.stdout.count("BEGIN PRIVATE KEY") == 1
    assert "Microsoft" in good.stdout
    assert good.stderr.count(f"Iteration {ROUNDS}") == 3
    assert _run(*command, "-passin", "pass:wrong1").returncode != 0


@_each
@pytest.mark.client
def test_nss_reads_it(files: dict[tuple[str, int], Path], name: str, length: int, tmp_path: Path) -> None:
    """NSS (Chromium on Linux, Firefox): imported into a store, with its name."""
    _run("certutil", "-N", "-d", f"sql:{tmp_path}", "--empty-password")
    command = ("pk12util", "-i", files[name, length], "-d", f"sql:{tmp_path}", "-K", "", "-W")
    assert _run(*command, "wrong1").returncode != 0
    done = _run(*command, PASSWORDS[length])
    assert done.returncode == 0, done.stderr
    listed = _run("certutil", "-L", "-d", f"sql:{tmp_path}").stdout
    assert NAME in listed
    assert "u,u,u" in listed
    assert "rsa" in _run("certutil", "-K", "-d", f"sql:{tmp_path}").stdout


@_each
@pytest.mark.client
def test_java_reads_it(files: dict[tuple[str, int], Path], name: str, length: int) -> None:
    """JDK `keytool`: one private key entry with a chain of two."""
    command = ("keytool", "-J-Duser.language=en", "-list", "-v", "-storetype", "PKCS12", "-keystore")
    done = _run(*command, files[name, length], "-storepass", PASSWORDS[length])
    assert done.returncode == 0, done.stdout
    assert "PrivateKeyEntry" in done.stdout
    assert "Certificate chain length: 2" in done.stdout


@_each
@pytest.mark.client
def test_gnutls_reads_it(files: dict[tuple[str, int], Path], name: str, length: int) -> None:
    """GnuTLS `certtool`: key and certificates."""
    command = ("certtool", "--p12-info", "--inder", "--infile", files[name, length], "--password")
    done = _run(*command, PASSWORDS[length])
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("BEGIN CERTIFICATE") == 2
    assert "PRIVATE KEY" in done.stdout
    assert _run(*command, "wrong1").returncode != 0


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("kind", ["ec-p256", "ec-p384"])
def test_ec_keys_too(authority: Authority, name: str, kind: str) -> None:
    """The same for elliptic curves, read by `cryptography`."""
    made = issue_person(authority, key=generate(kind))
    key, leaf, others = reader.load_key_and_certificates(_file(authority, made, "abc", name), b"abc")
    assert key is not None
    assert leaf is not None
    assert key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ) == to_pkcs8(made.key)
    assert leaf.public_bytes(serialization.Encoding.DER) == made.der
    assert [c.public_bytes(serialization.Encoding.DER) for c in others] == [authority.current.der]


@pytest.mark.parametrize("name", FORMATS)
def test_the_bags_are_as_section_3_asks(authority: Authority, person: Issued, name: str) -> None:
    """localKeyID on key and leaf, the provider on the key, ASCII names, no root, 100,000 rounds each."""
    pfx = asn1.Pfx.load(_file(authority, person, "abc", name), strict=True)
    assert pfx["mac_data"]["iterations"].native == ROUNDS == 100_000
    key_bag = asn1.SafeContents.load(pfx.authenticated_safe[1]["content"].native)[0]
    attributes = {a["type"].dotted: a["values"].dump() for a in key_bag["bag_attributes"]}
    assert "Microsoft Software Key Storage Provider".encode("utf-16-be") in attributes["1.3.6.1.4.1.311.17.1"]
    assert NAME.encode("utf-16-be") in attributes["1.2.840.113549.1.9.20"]
    key_id = hashlib.sha1(person.der, usedforsecurity=False).digest()
    assert attributes["1.2.840.113549.1.9.21"].endswith(key_id)
    assert len(pfx.authenticated_safe) == 2


@pytest.mark.parametrize(("name", "count"), [("standard", 5), ("compatible", 3)])
def test_no_salt_or_vector_serves_twice(authority: Authority, person: Issued, name: str, count: int) -> None:
    """Each encryption and the MAC have random bytes of their own: an equal salt would be an equal key, and
    an equal vector would show where two contents begin alike."""
    pfx = asn1.Pfx.load(_file(authority, person, "abc", name), strict=True)
    contents = pfx.authenticated_safe
    key_bag = asn1.SafeContents.load(contents[1]["content"].native)[0]
    algorithms = [
        contents[0]["content"]["encrypted_content_info"]["content_encryption_algorithm"],
        key_bag["bag_value"]["encryption_algorithm"],
    ]
    used = [pfx["mac_data"]["mac_salt"].native]
    for algorithm in algorithms:
        parameters = algorithm["parameters"]
        if name == "compatible":
            used.append(parameters["salt"].native)
        else:
            used.append(parameters["key_derivation_func"]["parameters"]["salt"].native)
            used.append(parameters["encryption_scheme"]["parameters"].native)
    assert (len(used), len(set(used))) == (count, count)
    assert {len(each) for each in used} == {16}


def test_the_same_entropy_gives_the_same_file(authority: Authority, person: Issued) -> None:
    """Nothing but the arguments goes in; other entropy gives another file."""
    chain = authority.chain_der(person.der)[1:]
    key = to_pkcs8(person.key)

    def make(entropy: bytes) -> bytes:
        return assemble(key, person.der, chain, "abc", "standard", NAME, entropy)

    assert make(b"e" * 80) == make(b"e" * 80) != make(b"f" * 80)
    with pytest.raises(ValueError, match="80 bytes"):
        make(b"short")


@pytest.mark.parametrize("password", ["a", "0" * 64, "Zz9" * 66, "x" * 200])
def test_half_width_passwords_of_any_length(password: str) -> None:
    """R28: half-width letters and digits, one or more."""
    check_password(password)


@pytest.mark.parametrize("password", ["", "ａ１", "あ", "a b", "a-b", "a\n", "é", "٣", "x" * 1025])
def test_other_passwords_are_refused(authority: Authority, person: Issued, password: str) -> None:
    """R28, Z3: empty, full-width, kana, punctuation, line breaks and other scripts' digits."""
    with pytest.raises(Unacceptable) as caught:
        _file(authority, person, password, "standard")
    assert caught.value.code == "p12-password"


def test_a_name_that_is_not_ascii_is_ours_to_avoid(authority: Authority, person: Issued) -> None:
    """Readers disagree about other names, so none is ever written."""
    with pytest.raises(ValueError, match="ASCII"):
        assemble(to_pkcs8(person.key), person.der, [], "a", "standard", "証明書", bytes(80))


def test_the_derivation_of_rfc_7292() -> None:
    """Known answers (SHA-1, SHA-256; key, vector and MAC; more than one block), from OpenSSL's own."""
    salt = bytes.fromhex("0a58cf64530d823f")
    key = derive_key("sha1", "smeg", salt, 1, 24, 1)
    assert key.hex() == "8aaae6297b6cb04642ab5b077851284eb7128f1a2a7fbca3"
    assert derive_key("sha1", "smeg", salt, 2, 8, 1).hex() == "79993dfe048d3b76"
    salt = bytes.fromhex("3d83c0e4546ac140")
    assert derive_key("sha1", "smeg", salt, 3, 20, 1).hex() == "8d967d88f6caa9d714800ab3d48051d63f73a312"


@pytest.mark.parametrize("hash_name", ["sha1", "sha256"])
@pytest.mark.parametrize("password", ["a", "Zz9" * 66, "x" * 1024])
def test_the_loop_derives_what_openssl_does(hash_name: str, password: str) -> None:
    """Key, vector and MAC, of any length: without OpenSSL's function nobody's file is another one."""
    for purpose, length, rounds, salt in itertools.product(
        (1, 2, 3), (8, 20, 24, 32, 65), (1, 2, 1_000), (b"s" * 8, bytes(range(16)), b"t" * 65)
    ):
        given = (hash_name, password.encode("utf-16-be") + b"\0\0", salt, purpose, length, rounds)
        assert pkcs12kdf._by_openssl(*given) == pkcs12kdf._by_hashlib(*given)


def test_without_openssls_function_the_loop_derives(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Python with its own libcrypto inside, or an OpenSSL that refuses the hash: the same key."""
    expected = derive_key("sha256", "abc", b"s" * 16, 3, 32, 100)
    monkeypatch.setattr(pkcs12kdf, "_by_openssl", lambda *_: None)
    assert derive_key("sha256", "abc", b"s" * 16, 3, 32, 100) == expected
    monkeypatch.setattr(pkcs12kdf, "_OPENSSL", None)
    assert derive_key("sha256", "abc", b"s" * 16, 3, 32, 100) == expected
    monkeypatch.undo()
    assert pkcs12kdf._by_openssl("no-hash", b"", b"s", 3, 32, 1) is None


def test_openssls_function_is_found() -> None:
    """On the Pythons that are tested the slow way is not the one that runs."""
    assert pkcs12kdf._OPENSSL is not None


def test_formats_have_the_manuals_words() -> None:
    """D11: 標準形式 is the default and 互換形式 the other one."""
    assert [row.label for row in FORMATS.values()] == ["標準形式", "互換形式"]
    assert next(iter(FORMATS)) == pkcs12.STANDARD
