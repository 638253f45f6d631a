"""Signed requests (RFC 8555 section 6.2, RFC 7515): bytes in, a ``VerifiedRequest`` or a ``Problem`` out.

Holding a ``VerifiedRequest`` means that every check was made; ``verify`` alone builds one. The external
account binding and the key change carry a second JWS inside, checked here by the same parts.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Generic, Protocol, TypeVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from enroll.acme.keys import AccountKey, parse_jwk
from enroll.acme.wire import (
    Json,
    base64url,
    decode_base64url,
    decode_object,
    mapping,
    required,
    text,
)
from enroll.problems import Problem, malformed

#: The largest body that is read, in bytes. A CSR of a 4096-bit key in a JWS of another is about 5 kB.
MAX_BODY = 65_536
CONTENT_TYPE = "application/jose+json"


class SigningAccount(Protocol):
    """What the checks need to know of an account."""

    @property
    def key(self) -> AccountKey: ...
    @property
    def status(self) -> str: ...


A = TypeVar("A", bound=SigningAccount)


class Signer(Enum):
    """Which of ``kid`` and ``jwk`` a resource wants (RFC 8555 section 6.2)."""

    ACCOUNT = ("kid",)
    NEW_KEY = ("jwk",)
    EITHER = ("kid", "jwk")


@dataclass(frozen=True, slots=True)
class VerifiedRequest(Generic[A]):
    """A request whose signature, nonce, URL and account were checked. Built by ``verify`` only.

    ``account`` is None when the request was signed by the key ``key`` itself (``jwk``).
    """

    url: str
    key: AccountKey
    kid: str
    account: A | None
    payload: bytes

    @property
    def is_post_as_get(self) -> bool:
        """Whether the payload is empty (RFC 8555 section 6.3)."""
        return self.payload == b""

    def members(self) -> Mapping[str, Json]:
        """The payload's members; a POST-as-GET, or a payload that is no object, is ``malformed``."""
        if self.is_post_as_get:
            raise malformed("this resource needs a payload")
        return decode_object(self.payload, "payload")

    def expect_post_as_get(self) -> None:
        """RFC 8555 section 6.3: to read a resource, the payload has to be empty."""
        if not self.is_post_as_get:
            raise malformed("this resource is read by POST-as-GET: the payload has to be empty")


def verify(
    body: bytes,
    content_type: str,
    *,
    url: str,
    signer: Signer,
    account_of: Callable[[str], A | None],
    spend: Callable[[str], None],
) -> VerifiedRequest[A]:
    """`present` and `prove` in one, where accounts are at hand: ``account_of`` finds one by its full URL."""
    presented = present(body, content_type, url=url, signer=signer, spend=spend)
    return prove(presented, account_of(presented.kid) if presented.kid is not None else None)


@dataclass(frozen=True, slots=True)
class Presented:
    """A request whose signature has not been looked at yet: ``kid`` is the account to ask for."""

    url: str
    kid: str | None
    _envelope: Envelope
    _algorithm: str
    _jwk: Mapping[str, Json] | None


def present(
    body: bytes, content_type: str, *, url: str, signer: Signer, spend: Callable[[str], None]
) -> Presented:
    """Every check on a POST that needs no account.

    ``content_type``: as `mediatype.media_type` reads it.
    ``url`` is the request URL as the client has to have signed it; ``spend`` takes the nonce or raises
    ``badNonce``. It is spent before anything else is looked at that could be wrong: RFC 8555 section 6.5
    wants it invalid once it has appeared in a request.
    """
    if content_type != CONTENT_TYPE:  # RFC 8555 section 6.2; it defines no parameters
        raise malformed(f"the Content-Type has to be {CONTENT_TYPE}", status=415)
    envelope = parse(body, "request")
    spend(_nonce(envelope.protected))
    algorithm = _signature_algorithm(envelope.protected)
    # RFC 8555 section 6.4: what was signed has to be meant for this very URL.
    signed_url = required(envelope.protected, "url", text)
    if signed_url != url:
        raise Problem("unauthorized", f"the request is signed for {signed_url}, not for {url}")
    kid, jwk = _kid_or_jwk(envelope.protected, signer)
    return Presented(url, kid, envelope, algorithm, jwk)


def prove(presented: Presented, account: A | None) -> VerifiedRequest[A]:
    """The proof that whoever holds the key made the request. ``account``: the one of its ``kid``."""
    if presented.kid is None:
        key = _key_of(presented._jwk, presented._algorithm)
    elif account is None:
        raise Problem("accountDoesNotExist", f"there is no account {presented.kid}")
    else:
        key = account.key
    _check_signature(presented._envelope, presented._algorithm, key)
    # RFC 8555 section 7.3.6 asks for 401. Said only to whoever holds the key.
    if account is not None and account.status != "valid":
        raise Problem("unauthorized", f"the account is {account.status}", status=401)
    return VerifiedRequest(presented.url, key, presented.kid or "", account, presented._envelope.payload)


@dataclass(frozen=True, slots=True)
class MacKey:
    """The key of an external account binding. ``kid`` is the one that it was asked for by."""

    kid: str
    secret: bytes


def verify_binding(
    binding: Mapping[str, Json],
    *,
    url: str,
    key: AccountKey,
    mac_key_of: Callable[[str], MacKey | None],
) -> MacKey:
    """The five checks of RFC 8555 section 7.3.4; returns the credential that the client has proven to hold.

    ``url`` and ``key`` are those of the outer request. An unknown kid and a wrong MAC answer alike, after
    the same work.
    """
    envelope = parse_members(binding, "externalAccountBinding")
    protected = envelope.protected
    digest = _MACS.get(required(protected, "alg", text))
    if digest is None:
        raise _bad_algorithm("the binding needs a MAC algorithm", _MACS)
    if "nonce" in protected:
        raise malformed("an external account binding carries no nonce")
    if "jwk" in protected:
        raise malformed("an external account binding is made with a kid, not with a jwk")
    kid = required(protected, "kid", text)
    if required(protected, "url", text) != url:
        raise malformed("the binding's url differs from the request's")
    mac_key = mac_key_of(kid)
    secret = b"\0" * 32 if mac_key is None else mac_key.secret
    computed = hmac.digest(secret, envelope.signing_input, digest)
    if not hmac.compare_digest(computed, envelope.signature) or mac_key is None:
        raise Problem("unauthorized", "the external account is unknown, or its key is another")
    if parse_jwk(decode_object(envelope.payload, "the binding's payload")) != key:
        raise malformed("the binding is for another account key")
    return mac_key


def verify_key_change(request: VerifiedRequest[A]) -> AccountKey:
    """The checks of RFC 8555 section 7.3.5 on the inner JWS; returns the new key.

    Whether another account has that key already only the store can tell.
    """
    envelope = parse_members(request.members(), "the inner JWS")
    protected = envelope.protected
    algorithm = _signature_algorithm(protected)
    if "nonce" in protected:
        raise malformed("the inner JWS carries no nonce")
    _, jwk = _kid_or_jwk(protected, Signer.NEW_KEY)
    if required(protected, "url", text) != request.url:
        raise malformed("the inner url differs from the outer url")
    new_key = _key_of(jwk, algorithm)
    _check_signature(envelope, algorithm, new_key)
    change = decode_object(envelope.payload, "the key change")
    if required(change, "account", text) != request.kid:
        raise malformed("the key change is for another account")
    if parse_jwk(required(change, "oldKey", mapping)) != request.key:
        raise malformed("oldKey is not the account's key")
    if new_key == request.key:
        raise malformed("the new key is the old key")
    return new_key


@dataclass(frozen=True, slots=True)
class Envelope:
    """A flattened JWS taken apart; nothing in it is verified yet."""

    protected: Mapping[str, Json]
    payload: bytes
    signature: bytes
    signing_input: bytes


def parse(body: bytes, name: str) -> Envelope:
    """Takes a JWS in flattened JSON serialization apart."""
    if len(body) > MAX_BODY:
        raise malformed(f"the body is larger than {MAX_BODY} bytes", status=413)
    return parse_members(decode_object(body, name), name)


def parse_members(members: Mapping[str, Json], name: str) -> Envelope:
    """The same for a JWS that is itself a member of something."""
    # RFC 8555 section 6.2: flattened, one signature, no unprotected header.
    for member in ("signatures", "header"):
        if member in members:
            raise malformed(f"{name}: {member} is not allowed in a flattened JWS of ACME")
    protected_text = required(members, "protected", _encoded)
    payload_text = required(members, "payload", _encoded)
    protected = decode_object(decode_base64url(protected_text, "protected"), "protected")
    for member in ("crit", "b64"):
        # RFC 7515 section 4.1.11: no extension is understood here; RFC 8555 6.2 rules out RFC 7797.
        if member in protected:
            raise malformed(f"{name}: the header {member} is not supported")
    return Envelope(
        protected,
        decode_base64url(payload_text, "payload"),
        required(members, "signature", base64url),
        f"{protected_text}.{payload_text}".encode("ascii"),
    )


def _encoded(value: Json, name: str) -> str:
    if not isinstance(value, str):
        raise malformed(f"{name} has to be a string")
    return value


def _nonce(protected: Mapping[str, Json]) -> str:
    if "nonce" not in protected:
        # RFC 8555 section 6.5: one that is not present is answered as one that will not do.
        raise Problem("badNonce", "the protected header has no nonce")
    nonce = required(protected, "nonce", text)
    # RFC 8555 section 6.5.2: octets in base64url; anything else is malformed, not merely a bad nonce.
    decode_base64url(nonce, "nonce")
    return nonce


def _kid_or_jwk(
    protected: Mapping[str, Json], signer: Signer
) -> tuple[str | None, Mapping[str, Json] | None]:
    """RFC 8555 section 6.2: exactly one of the two, and the one that the resource asks for."""
    present = [name for name in ("kid", "jwk") if name in protected]
    if len(present) != 1 or present[0] not in signer.value:
        wanted = " or ".join(signer.value)
        raise malformed(f"the protected header has to have {wanted}, and only one of kid and jwk")
    if present == ["kid"]:
        return required(protected, "kid", text), None
    return None, required(protected, "jwk", mapping)


def _key_of(jwk: Mapping[str, Json] | None, algorithm: str) -> AccountKey:
    members = jwk or {}
    # RFC 7517 section 4.4: a key that says what it is for is used for nothing else.
    if members.get("alg", algorithm) != algorithm:
        raise _bad_algorithm("the JWK's alg differs from the header's", _SIGNATURES)
    return parse_jwk(members)


def _signature_algorithm(protected: Mapping[str, Json]) -> str:
    name = required(protected, "alg", text)
    if name not in _SIGNATURES:
        raise _bad_algorithm(f"the signature algorithm {name!r} is not supported", _SIGNATURES)
    return name


def _bad_algorithm(detail: str, supported: Mapping[str, object]) -> Problem:
    # RFC 8555 section 6.2: the problem document MUST list what would do.
    return Problem("badSignatureAlgorithm", detail, members={"algorithms": list(supported)})


def _check_signature(envelope: Envelope, algorithm: str, key: AccountKey) -> None:
    kind, check = _SIGNATURES[algorithm]
    if key.kind != kind:
        raise _bad_algorithm(f"{algorithm} does not go with a key of kind {key.kind}", _SIGNATURES)
    try:
        check(key, envelope.signature, envelope.signing_input)
    except InvalidSignature:
        raise malformed("the signature does not verify") from None


def _ecdsa(size: int, digest: hashes.HashAlgorithm) -> Callable[[AccountKey, bytes, bytes], None]:
    algorithm = ec.ECDSA(digest)

    def check(key: AccountKey, signature: bytes, message: bytes) -> None:
        # RFC 7518 section 3.4: R and S side by side, each of the curve's full size; never DER.
        if len(signature) != 2 * size:
            raise malformed(f"the signature has {len(signature)} octets instead of {2 * size}")
        r, s = int.from_bytes(signature[:size], "big"), int.from_bytes(signature[size:], "big")
        key.public.verify(encode_dss_signature(r, s), message, algorithm)  # type: ignore[call-arg,arg-type]

    return check


def _rs256(key: AccountKey, signature: bytes, message: bytes) -> None:
    key.public.verify(signature, message, _PKCS1, _SHA256)  # type: ignore[call-arg,arg-type]


def _eddsa(key: AccountKey, signature: bytes, message: bytes) -> None:
    key.public.verify(signature, message)  # type: ignore[call-arg]


_PKCS1, _SHA256 = padding.PKCS1v15(), hashes.SHA256()

# The one list of signature algorithms. ES256 is a MUST and EdDSA a SHOULD of RFC 8555 section 6.2;
# Ed25519 is EdDSA's fully specified name (RFC 9864).
_SIGNATURES: Mapping[str, tuple[str, Callable[[AccountKey, bytes, bytes], None]]] = MappingProxyType(
    {
        "ES256": ("P-256", _ecdsa(32, hashes.SHA256())),
        "ES384": ("P-384", _ecdsa(48, hashes.SHA384())),
        "ES512": ("P-521", _ecdsa(66, hashes.SHA512())),
        "RS256": ("RSA", _rs256),
        "EdDSA": ("Ed25519", _eddsa),
        "Ed25519": ("Ed25519", _eddsa),
    }
)
# RFC 7518 section 3.2: a key of the size of the hash or larger MUST be used. Ours have 256 bits.
_MACS: Mapping[str, str] = MappingProxyType({"HS256": "sha256"})
