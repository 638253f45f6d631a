"""Where the client keeps what is its own: keys in place (0600), certificates, and when to renew.

A key and its certificate lie in one directory of ``certificates/``; ``key.pem``, ``cert.pem`` and the others
are links through ``current``, so that one rename puts a whole set in the place of another.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.serialization import pkcs12

from enroll.client.keys import CertificateKey, public_octets, to_pem

_KEY = "key.pem"
_CERTIFICATE = "cert.pem"
_CHAIN = "chain.pem"
_FULLCHAIN = "fullchain.pem"
_P12 = "cert.p12"
_STATE = "state.json"
_ACCOUNT = "account.pem"
_PENDING = "pending.pem"
_STORED = (_KEY, _CERTIFICATE, _CHAIN, _FULLCHAIN, _P12)
_SETS = "certificates"
_CURRENT = "current"
_LOCK = "lock"
# The set in use, and the one before it: a renewal that a service cannot use is undone by hand.
_SETS_KEPT = 2
_UNREADABLE = (OSError, ValueError, TypeError, UnsupportedAlgorithm)


class Busy(Exception):
    """Another process works in the folder, and did not end while it was waited for."""


class KeyMismatch(ValueError):
    """A key that does not belong to the certificate beside it."""


@dataclass(frozen=True)
class Folder:
    """One directory, one account, one certificate."""

    path: Path

    @property
    def key_file(self) -> Path:
        return self.path / _KEY

    @property
    def certificate_file(self) -> Path:
        return self.path / _CERTIFICATE

    @property
    def fullchain_file(self) -> Path:
        return self.path / _FULLCHAIN

    @property
    def account_file(self) -> Path:
        return self.path / _ACCOUNT

    @property
    def pending_file(self) -> Path:
        """The key of the certificate being ordered; it is there from before the order to its end."""
        return self.path / _PENDING

    @contextmanager
    def locked(self, patience: float = 60.0) -> Iterator[None]:
        """For whoever changes anything: one process at a time. `Busy` after ``patience`` seconds."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._take(descriptor, patience)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
            self._sweep()
            yield
        finally:
            os.close(descriptor)  # and the lock with it, as at the end of the process

    def _take(self, descriptor: int, patience: float) -> None:
        end = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() > end:
                    holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
                    raise Busy(
                        f"another sekisho-client (process {holder or 'unknown'}) is at work in {self.path}. "
                        "Type the same again when it has ended."
                    ) from None
            time.sleep(0.05)

    def _sweep(self) -> None:
        """Away with what an interruption left half-written: nothing refers to it."""
        for draft in (*self.path.glob("*.draft"), *self.path.glob("*.new")):
            draft.unlink(missing_ok=True)
        for draft in (self.path / _SETS).glob("*.new"):
            shutil.rmtree(draft)

    def enrolled(self) -> bool:
        return os.path.lexists(self.path / _CURRENT) or (self.path / _CERTIFICATE).exists()

    def state(self) -> dict[str, Any]:
        """What enroll and renew remember: directory, ca_file, names, when to look again."""
        try:
            return dict(json.loads((self.path / _STATE).read_text("utf-8")))
        except FileNotFoundError:
            return {}

    def remember(self, **changes: Any) -> None:
        state = self.state() | changes
        write(self.path / _STATE, json.dumps(state, indent=1, sort_keys=True).encode())

    def certificate(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate((self.path / _CERTIFICATE).read_bytes())

    def key(self) -> CertificateKey:
        """The certificate's key, compared with it. `KeyMismatch` for any other."""
        key = _load_key(self.key_file)
        if public_octets(key) != public_octets(self.certificate()):
            raise KeyMismatch(f"{self.key_file} does not belong to {self.certificate_file}")
        return key

    def fault(self) -> str:
        """What keeps key and certificate from being used together, in words; "" if nothing does."""
        checks: tuple[tuple[Path, Callable[[], object]], ...] = (
            (self.certificate_file, self.certificate),
            (self.key_file, self.key),
            (self.fullchain_file, self._check_chain),
        )
        for file, check in checks:
            try:
                check()
            except KeyMismatch as error:
                return str(error)
            except FileNotFoundError:
                return f"{file} is missing"
            except _UNREADABLE as error:
                return f"{file} cannot be read ({getattr(error, 'strerror', None) or error})"
        return ""

    def _check_chain(self) -> None:
        leaf = x509.load_pem_x509_certificates(self.fullchain_file.read_bytes())[0]
        if leaf != self.certificate():
            raise KeyMismatch(f"{self.fullchain_file} is of another certificate than {self.certificate_file}")

    def mend(self) -> str:
        """Puts a whole set in the place of one that is not; what was wrong, or "". Call it `locked`.

        The set of the certificate at hand if there is one, else the newest. Where none is whole, `fault`
        still says what is wrong.
        """
        fault = self.fault()
        if not fault:
            return ""
        certificate: x509.Certificate | None = None
        with suppress(*_UNREADABLE):
            certificate = self.certificate()
        whole = [each for each in self.sets() if not Folder(each).fault()]
        chosen = [each for each in whole if certificate in (None, Folder(each).certificate())]
        if chosen:
            self._switch(chosen[-1])
            return fault
        with suppress(*_UNREADABLE):
            key = _load_key(self.pending_file)
            if certificate is not None and public_octets(key) == public_octets(certificate):
                self.store(key, self._chain_of(certificate), None)
                return fault
        return ""

    def _chain_of(self, leaf: x509.Certificate) -> bytes:
        """The full chain of a certificate, whichever of the files still has it."""
        with suppress(*_UNREADABLE):
            whole = self.fullchain_file.read_bytes()
            if x509.load_pem_x509_certificates(whole)[0] == leaf:
                return whole
        rest = b""
        with suppress(OSError):
            rest = (self.path / _CHAIN).read_bytes()
        return leaf.public_bytes(serialization.Encoding.PEM) + rest

    def store(self, key: CertificateKey, chain: bytes, p12_password: str | None) -> list[Path]:
        """Puts key, certificate, chain and, with a password, a PKCS#12 in the place of what was there.

        All at once: whenever it is interrupted, the files are one set, the old or the new. `KeyMismatch`,
        and nothing has changed, where the key is not the certificate's.
        """
        leaf, *issuers = x509.load_pem_x509_certificates(chain)
        if public_octets(key) != public_octets(leaf):
            raise KeyMismatch("the key does not belong to the certificate that the server issued")
        pem = serialization.Encoding.PEM
        rest = b"".join(issuer.public_bytes(pem) for issuer in issuers)
        contents = {_KEY: to_pem(key), _CERTIFICATE: leaf.public_bytes(pem), _CHAIN: rest, _FULLCHAIN: chain}
        if p12_password is not None:
            contents[_P12] = _pkcs12(key, leaf, issuers, p12_password)
        sets = self.sets()
        number = int(sets[-1].name) + 1 if sets else 1
        place = self.path / _SETS / f"{number:06d}"
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = place.with_suffix(".new")
        for name, content in contents.items():
            write(draft / name, content)
        draft.rename(place)
        _sync(place.parent)
        self._switch(place)
        for old in self.sets()[:-_SETS_KEPT]:
            shutil.rmtree(old)
        return [self.path / name for name in contents]

    def sets(self) -> list[Path]:
        """The directories of whole sets, the newest last."""
        found = (self.path / _SETS).glob("[0-9]*")
        return sorted(each for each in found if each.name.isdigit())

    def _switch(self, place: Path) -> None:
        """Makes a set the one that the names lead to, by one rename."""
        # Where the names are no links of ours (yet), they become the old set first.
        for name in _STORED:
            if (place / name).exists():
                _link(self.path / name, f"{_CURRENT}/{name}")
        _link(self.path / _CURRENT, f"{_SETS}/{place.name}")
        for name in _STORED:
            if not (place / name).exists():
                (self.path / name).unlink(missing_ok=True)


def write(path: Path, content: bytes) -> None:
    """Writes a file whole, mode 0600, in a directory that is made with mode 0700 if need be."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".draft")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    draft.replace(path)


def _link(path: Path, target: str) -> None:
    """A symbolic link in the place of whatever file was there."""
    if path.is_symlink() and os.readlink(path) == target:
        return
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    draft.symlink_to(target)
    if path.is_dir() and not path.is_symlink():  # a copy of the folder that followed its links
        shutil.rmtree(path)
    draft.replace(path)
    _sync(path.parent)


def _sync(directory: Path) -> None:
    """Makes renames in it last through a power failure."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _load_key(file: Path) -> CertificateKey:
    key = serialization.load_pem_private_key(file.read_bytes(), None)
    return key  # type: ignore[return-value]


def _pkcs12(
    key: CertificateKey, leaf: x509.Certificate, issuers: list[x509.Certificate], password: str
) -> bytes:
    encryption = (
        serialization.PrivateFormat.PKCS12.encryption_builder()
        .kdf_rounds(100_000)
        .key_cert_algorithm(pkcs12.PBES.PBESv2SHA256AndAES256CBC)
        .hmac_hash(hashes.SHA256())
        .build(password.encode())
    )
    name = leaf.subject.rfc4514_string().encode()
    return pkcs12.serialize_key_and_certificates(name, key, leaf, issuers, encryption)
