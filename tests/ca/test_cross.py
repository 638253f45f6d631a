"""``ca.cross``: what another root signed for ours is checked and kept; nothing else is taken in."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from ca import cross, datadir, requested
from ca.certificates import build, new_serial, public_key_of, to_pem, validity
from ca.errors import ConfigError
from ca.files import Snapshot
from ca.keys import generate
from ca.profiles import CROSS, ROOT
from ca.signing import FileSigner
from tests.datadirs import CHEAP, PASSPHRASE

AT = 1_800_000_000


class Other:
    """Another root, which vouches for ours."""

    def __init__(self, name: str = "OTHER ROOT", at: int = AT) -> None:
        key, self.at = generate("ec-p256"), at
        self.signer = FileSigner.of(key)
        subject = datadir.subject_of(datadir.Names(), name)
        period = validity(ROOT, at - 1000)
        der = build(ROOT, subject, key.public_key(), (), new_serial(), period, None, self.signer)
        self.certificate = x509.load_der_x509_certificate(der)
        self.pem = to_pem(der)

    def vouch(self, root: x509.Certificate, subject: x509.Name | None = None) -> bytes:
        made = (
            subject or root.subject,
            public_key_of(root),
            (),
            new_serial(),
            validity(CROSS, self.at - 500),
        )
        return build(CROSS, *made, self.certificate, self.signer)


@pytest.fixture
def made(tmp_path: Path) -> datadir.DataDir:
    return datadir.create(tmp_path / "d", PASSPHRASE, AT - 2000, cost=CHEAP)


def test_it_is_taken_in_and_there_after_that(made: datadir.DataDir) -> None:
    """With the root that signed it; of one root the last counts, of two both stay."""
    one, two = Other(), Other("THIRD ROOT")
    assert made.authority.crosses == ()
    for other in (one, two, one):
        last = other.vouch(made.root)
        taken = requested.accept(made.path, to_pem(last) + other.pem, AT)
        assert taken.kind == "cross"
    found = datadir.load(made.path, PASSPHRASE).authority.crosses
    assert len(found) == 2
    assert found[-1] == last
    root = made.root.public_bytes(Encoding.DER)
    shown = pkcs7.load_der_pkcs7_certificates(cross.bundle(root, found))
    assert {each.public_bytes(Encoding.DER) for each in shown} == {root, *found}


def test_what_is_not_taken_in(made: datadir.DataDir) -> None:
    """Without its root, by another than it says, for another name, before its time: nothing has changed."""
    other, third = Other(), Other()
    good = to_pem(other.vouch(made.root))
    renamed = to_pem(other.vouch(made.root, datadir.subject_of(datadir.Names(), "SOMEBODY")))
    for data, at, why in (
        (good, AT, "append the certificate of the root"),
        (good + third.pem, AT, "no cross-certificate of this root"),
        (renamed + other.pem, AT, "does not stand for this root"),
        (good + other.pem, AT - 200_000, "not valid now"),
    ):
        with pytest.raises(ConfigError, match=why):
            requested.accept(made.path, data, at)
    assert cross.read(made.path, Snapshot()) == ()


def test_a_file_that_is_none(made: datadir.DataDir) -> None:
    """It is said with its name, and what to do."""
    (made.path / cross.FILE).write_bytes(b"-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n")
    with pytest.raises(ConfigError, match="restore it from a backup"):
        datadir.load(made.path, PASSPHRASE)


def test_which_are_chosen(made: datadir.DataDir) -> None:
    """By the name of the root that signed them, as long as they are valid; of a name that none has, that is
    said."""
    one, two = Other(), Other("THIRD ROOT")
    found = (one.vouch(made.root), two.vouch(made.root))
    assert cross.chosen(found, ("THIRD ROOT",), AT) == found[1:]
    assert cross.chosen(found, ("THIRD ROOT", "OTHER ROOT"), AT) == found
    assert cross.chosen(found, (), AT) == ()
    end = int(x509.load_der_x509_certificate(found[0]).not_valid_after_utc.timestamp())
    assert cross.chosen(found, ("OTHER ROOT",), end) == ()
    assert cross.unknown(found, ("OTHER ROOT", "A")) == (["A"], ["OTHER ROOT", "THIRD ROOT"])
