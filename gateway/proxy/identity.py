"""Who is calling, told to the upstream so that it can check: RFC 9440 fields and a signed assertion.

The assertion is a JWT (ES256) for one site and one minute. Its keys lie sealed in the data directory:
the next one, published before it is used, the one that signs, and the one before.
"""

from __future__ import annotations

import base64
import fcntl
import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)

from ca.errors import ConfigError
from ca.files import Snapshot, write_private
from ca.sealing import BrokenSeal, Vault
from ca.trust import VerifiedPeer
from gateway.proxy.heads import header_line, is_token

ASSERTION = "Sekisho-Assertion"
CLIENT_CERT, CLIENT_CERT_CHAIN = "Client-Cert", "Client-Cert-Chain"
JWKS_PATH = "/.well-known/sekisho/jwks.json"

#: Seconds an assertion is good for, and how long one is used again for the same caller.
LIFETIME = 60
REUSED = 20
#: Seconds after which `open_keys` rotates.
ROTATION = 30 * 86_400

# Seconds that a key may be dated in the future by a clock that was set right since.
_AHEAD = 86_400

_FILE = "assertion-keys"
_PURPOSE = "assertion keys"
_PUBLISHED = 3
_CACHED = 4_096
# A verifier's clock may be a little behind ours.
_SKEW = 5


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody with a verified certificate. ``user`` and ``organisation``: None as long as not known.

    ``level``: what was proved, ``certificate`` or ``login``. ``session`` tells logins apart.
    """

    peer: VerifiedPeer
    user: str | None = None
    organisation: str | None = None
    level: str = "certificate"
    session: str = ""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """One key of the set. ``kid`` is its RFC 7638 thumbprint."""

    kid: str
    key: ec.EllipticCurvePrivateKey = field(repr=False)
    created_at: int


@dataclass(frozen=True, slots=True)
class KeySet:
    """Newest first: the next to sign, the one that signs, the one that did."""

    keys: tuple[SigningKey, ...]

    @property
    def signing(self) -> SigningKey:
        return self.keys[min(1, len(self.keys) - 1)]


@dataclass(frozen=True, slots=True)
class Identity:
    """What a site tells its upstream. ``plain``: header name -> word of `PLAIN`, for simple upstreams."""

    keys: KeySet
    issuer: str
    audience: str
    plain: Mapping[str, str] = field(default_factory=dict)
    client_cert: bool = True

    def __post_init__(self) -> None:
        for name, word in self.plain.items():
            if not is_token(name) or name.lower() in _NOT_OURS:
                raise ConfigError(f"identity header {name!r}: choose a name such as 'X-Remote-User'")
            if word not in PLAIN:
                raise ConfigError(f"identity header {name}: write one of {', '.join(PLAIN)}, not {word!r}")

    @property
    def names(self) -> tuple[str, ...]:
        """Every header name that only we set."""
        return (ASSERTION, CLIENT_CERT, CLIENT_CERT_CHAIN, *self.plain)


#: What a plain header can hold.
PLAIN: Mapping[str, Callable[[Caller], str | None]] = {
    "user": lambda caller: caller.user,
    "organisation": lambda caller: caller.organisation,
    "common-name": lambda caller: caller.peer.common_name,
    "issuer": lambda caller: caller.peer.issuer_name,
    "serial": lambda caller: caller.peer.serial,
    "fingerprint": lambda caller: caller.peer.fingerprint,
    "not-after": lambda caller: str(caller.peer.not_after_at),
    "level": lambda caller: caller.level,
}
_NOT_OURS = frozenset({"host", "content-length", "transfer-encoding", "connection", "cookie", "via"})


def header_lines(identity: Identity) -> Callable[[Caller, int], bytes]:
    """A function from a caller and the time to the header lines about him, kept for `REUSED` seconds."""
    made: dict[tuple[str, str | None, str | None, str, str], tuple[int, bytes]] = {}

    def lines(caller: Caller, at: int) -> bytes:
        key = (
            caller.peer.fingerprint,
            caller.user,
            caller.organisation,
            caller.level,
            caller.session,
        )
        known = made.get(key)
        if known is not None and 0 <= at - known[0] < REUSED:
            return known[1]
        if len(made) >= _CACHED:
            made.clear()
        written = _lines(identity, caller, at, secrets.token_urlsafe(12))
        made[key] = at, written
        return written

    return lines


def assertion(key: SigningKey, claims: Mapping[str, Any]) -> str:
    """A JWS in compact form (RFC 7515) over the claims, with ES256 (RFC 7518 3.4)."""
    header = {"alg": "ES256", "kid": key.kid, "typ": "JWT"}
    signed = f"{_b64url(_json(header))}.{_b64url(_json(claims))}"
    r, s = decode_dss_signature(key.key.sign(signed.encode("ascii"), ec.ECDSA(SHA256())))
    return f"{signed}.{_b64url(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def claims_of(identity: Identity, caller: Caller, at: int, jti: str) -> dict[str, Any]:
    """What the assertion says. ``cnf``: RFC 8705 3.1; no ``sub`` while the user is not known."""
    peer = caller.peer
    claims: dict[str, Any] = {
        "iss": identity.issuer,
        "aud": identity.audience,
        "iat": at - _SKEW,
        "exp": min(at - _SKEW + LIFETIME, peer.not_after_at),
        "jti": jti,
        "sub": caller.user,
        "org": caller.organisation,
        "level": caller.level,
        "cert_state": "valid",
        "serial": peer.serial,
        "cnf": {"x5t#S256": _b64url(sha256(peer.leaf).digest())},
    }
    return {name: value for name, value in claims.items() if value is not None}


def jwks(keys: KeySet) -> dict[str, Any]:
    """The public keys as a JWK set (RFC 7517)."""
    return {
        "keys": [
            {**_public_jwk(each.key.public_key()), "kid": each.kid, "alg": "ES256", "use": "sig"}
            for each in keys.keys
        ]
    }


def open_keys(
    data: Path, vault: Vault, at: int, files: Snapshot | None = None, *, believed: bool = True
) -> KeySet:
    """The keys of a data directory, made if there are none and rotated when the newest is `ROTATION` old.

    One that is dated in the future was made by a clock that ran ahead, and is rotated too. Not `believed`:
    nothing is rotated, for what a clock in doubt has forgotten does not come back.

    Processes that start together get the same ones. Of a frozen snapshot those that are in it, however old.
    Raises ConfigError if the file was altered.
    """
    files, path = files or Snapshot(), keys_file(data)
    if files.frozen:
        return _parse(path, files.read(path, "assertion keys"), vault)
    with (data / f"{_FILE}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stored = files.find(path, "assertion keys")
        if stored is None:
            keys = KeySet((_make(at), _make(at)))
        else:
            keys = _parse(path, stored, vault)
            since, until = good_for(keys)
            if not believed or since <= at < until:
                return keys
            keys = rotated(keys, at)
        sealed = vault.seal(_PURPOSE, _json([_stored(each) for each in keys.keys]))
        write_private(path, sealed)
        files.put(path, sealed)
        return keys


def keys_file(data: Path) -> Path:
    """Where a data directory keeps them, sealed."""
    return data / _FILE


def good_for(keys: KeySet) -> tuple[float, float]:
    """From when and up to when (epoch seconds) no other key is to begin to sign."""
    made_at = keys.keys[0].created_at
    return made_at - _AHEAD, made_at + ROTATION


def rotated(keys: KeySet, at: int) -> KeySet:
    """The next key begins to sign, a new one is published, the oldest is forgotten."""
    return KeySet((_make(at), *keys.keys)[:_PUBLISHED])


def _lines(identity: Identity, caller: Caller, at: int, jti: str) -> bytes:
    signed = assertion(identity.keys.signing, claims_of(identity, caller, at, jti))
    lines = [header_line(ASSERTION, signed)]
    if identity.client_cert:
        # RFC 9440 2.2 and 2.3: byte sequences of RFC 8941; the chain leaves the leaf out.
        chain = ", ".join(_sf_binary(der) for der in caller.peer.chain if der != caller.peer.leaf)
        lines.append(header_line(CLIENT_CERT, _sf_binary(caller.peer.leaf)))
        if chain:
            lines.append(header_line(CLIENT_CERT_CHAIN, chain))
    for name, word in identity.plain.items():
        value = PLAIN[word](caller)
        if value is not None:
            lines.append(header_line(name, value))
    return b"".join(lines)


def _make(at: int) -> SigningKey:
    return _signing_key(ec.generate_private_key(ec.SECP256R1()), at)


def _signing_key(key: ec.EllipticCurvePrivateKey, at: int) -> SigningKey:
    # RFC 7638: the required members, in order of their names, without white space.
    return SigningKey(_b64url(sha256(_json(_public_jwk(key.public_key()))).digest()), key, at)


def _public_jwk(key: ec.EllipticCurvePublicKey) -> dict[str, str]:
    point = key.public_numbers()
    x, y = (_b64url(number.to_bytes(32, "big")) for number in (point.x, point.y))
    return {"crv": "P-256", "kty": "EC", "x": x, "y": y}


def _parse(path: Path, sealed: bytes, vault: Vault) -> KeySet:
    try:
        stored = json.loads(vault.open(_PURPOSE, sealed))
        keys = []
        for row in stored:
            key = load_der_private_key(base64.b64decode(row["key"], validate=True), None)
            if not isinstance(key, ec.EllipticCurvePrivateKey):
                raise ValueError("not a P-256 key")
            keys.append(_signing_key(key, int(row["created_at"])))
        if not keys:
            raise ValueError("no key")
    except (BrokenSeal, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path} was altered; delete it, and new keys are made at the next start"
        ) from error
    return KeySet(tuple(keys))


def _stored(each: SigningKey) -> dict[str, Any]:
    der = each.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    return {"key": base64.b64encode(der).decode("ascii"), "created_at": each.created_at}


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode("ascii")


def _b64url(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode("ascii")


def _sf_binary(value: bytes) -> str:
    return f":{base64.b64encode(value).decode('ascii')}:"
