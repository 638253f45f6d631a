"""The delegated responder (RFC 6960 section 4.2.2.2): answers for issuers of ours, by a key that only it
may sign with.

The key never leaves this process and is on no disk: each process that answers makes its own, has it
certified by the issuer for a month, and makes another one in good time. What an earlier one has signed
stays good: its certificate goes with its answers. A key in a token is the same all along, and certified anew.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from cryptography import x509
from cryptography.x509.oid import NameOID

from ca.authority import Issuer
from ca.certificates import MAX_COMMON_NAME, build, new_serial, public_key_of, validity
from ca.inspection import inspect_answer
from ca.keys import PublicKey, generate
from ca.ocsp import HASHES, Standing, hashes_of, responder_key_of, signed, to_be_signed
from ca.profiles import ANSWER_LIFETIME, CRL_AHEAD, DAY, RESPONDER
from ca.published.store import Answer, Batch
from ca.signing import FileSigner, Signer, ToSign, key_id, signature_now

# Seconds before its end in which a responder is followed by another one; every answer ends before its own
# does.
_RENEWED = 15 * DAY
assert ANSWER_LIFETIME < _RENEWED < RESPONDER.days * DAY


def fresh(_: Issuer) -> tuple[PublicKey, Signer]:
    """A key of this process."""
    key = generate(RESPONDER.key_kinds[0])
    return key.public_key(), FileSigner.of(key)


class Responder:
    """One of a process. Whoever calls it has looked at the emergency stop. ``key_for``: the key to be
    certified for an issuer's answers; `NoSignature` if there is none now."""

    def __init__(self, key_for: Callable[[Issuer], tuple[PublicKey, Signer]] = fresh) -> None:
        self._key_for = key_for
        self._delegates: dict[str, _Delegate] = {}
        self._turn = threading.Lock()

    def answer(
        self, issuer: Issuer, signer: Signer, standings: Sequence[tuple[Standing, int]], at: int
    ) -> Batch:
        """Answers, each inspected; blocks. ``standings``: what the register says, with the thisUpdate of
        the last answer (0 for none), before which none is dated; ``signer`` has the issuer's key.
        `NoSignature` when there is none now."""
        with self._turn:
            delegate = self._delegate(issuer, signer, at)
        names = hashes_of(issuer.certificate)
        made = []
        for standing, last in standings:
            since = at if last > at + CRL_AHEAD else max(at, last)
            period = since, min(since + ANSWER_LIFETIME, delegate.not_after_at)
            kept = {}
            for each in HASHES:
                tbs = to_be_signed(standing, names[each], delegate.name, *period)
                kept[each] = delegate.signed(tbs)
                inspect_answer(kept[each], standing, names[each], delegate.certificate, period)
            made.append(
                Answer(standing.serial, standing.change_number, *period, kept["sha1"], kept["sha256"])
            )
        return Batch(delegate.der, tuple(made))

    def _delegate(self, issuer: Issuer, signer: Signer, at: int) -> _Delegate:
        found = self._delegates.get(issuer.issuer_id)
        if found is None or not found.begins_at <= at < found.renewed_at:
            found = self._delegates[issuer.issuer_id] = _delegate_of(issuer, signer, at, self._key_for)
        return found


class _Delegate:
    """One key with its certificate."""

    def __init__(self, der: bytes, signer: Signer, not_after_at: int, begins_at: int) -> None:
        self.der, self._signer, self.not_after_at, self.begins_at = der, signer, not_after_at, begins_at
        self.certificate = x509.load_der_x509_certificate(der)
        self.name = responder_key_of(self.certificate)
        self._key = public_key_of(self.certificate)
        # One of an issuer that ends soon is not followed again and again.
        self.renewed_at = max(not_after_at - _RENEWED, begins_at + DAY)

    def signed(self, tbs: bytes) -> bytes:
        asked = ToSign(key_id(self._key), "own", tbs)
        return signed(tbs, signature_now(self._signer, self._key, asked), self._key)


def _delegate_of(
    issuer: Issuer, signer: Signer, at: int, key_for: Callable[[Issuer], tuple[PublicKey, Signer]]
) -> _Delegate:
    public, own = key_for(issuer)
    begins_at, ends_at = validity(RESPONDER, at, issuer.not_after_at)
    serial = new_serial()
    der = build(
        *(
            RESPONDER,
            _subject(issuer),
            public,
            (),
            serial,
            (begins_at, ends_at),
            issuer.certificate,
        ),
        signer,
    )
    return _Delegate(der, own, ends_at, begins_at)


def _subject(issuer: Issuer) -> x509.Name:
    """The issuer's own name, but for what it is called itself."""
    shared = [each for each in issuer.certificate.subject if each.oid != NameOID.COMMON_NAME]
    name = f"{issuer.common_name[: MAX_COMMON_NAME - 5]} OCSP"
    return x509.Name([*shared, x509.NameAttribute(NameOID.COMMON_NAME, name)])
