"""A signed request before it is sent, and the ways to bend it.

A `Draft` is what an honest client would send; a `Twist` says, stage by stage, what to change:
header members before serialising, bytes before signing, the signature, the flattened members,
the body, the HTTP headers, the URL. Hostile requests are then data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from conformance import jose
from conformance.wire import DROP_HEADER, Call


class _Drop:
    """Takes the member away."""


DROP = _Drop()
JOSE_JSON = "application/jose+json"


@dataclass(frozen=True)
class Draft:
    """An honest request: kid None means the key itself goes along as jwk (RFC 8555 6.2)."""

    url: str
    payload: bytes
    key: jose.Key
    kid: str | None


@dataclass(frozen=True)
class Twist:
    """Changes to a draft. Header values may be plain, DROP, or a function of the honest value."""

    protected: Mapping[str, object] = field(default_factory=dict)
    header_bytes: Callable[[bytes], bytes] | None = None
    payload: Callable[[bytes], bytes] | None = None
    sign: Callable[[jose.Key, bytes], bytes] | None = None
    signature: Callable[[bytes], bytes] | None = None
    members: Callable[[dict[str, object]], object] | None = None
    body: Callable[[bytes], bytes] | None = None
    http: Mapping[str, str] = field(default_factory=dict)
    method: str = "POST"
    url: Callable[[str], str] | None = None


HONEST = Twist()


def payload_of(value: object) -> bytes:
    """The payload octets: None is POST-as-GET's empty string (RFC 8555 6.3), bytes go as they are."""
    if value is None:
        return b""
    return value if isinstance(value, bytes) else jose.compact(value)


def honest_header(draft: Draft, nonce: str) -> dict[str, object]:
    identity: dict[str, object] = {"jwk": draft.key.jwk} if draft.kid is None else {"kid": draft.kid}
    return {"alg": draft.key.alg, **identity, "nonce": nonce, "url": draft.url}


def compose(draft: Draft, nonce: str, twist: Twist = HONEST) -> Call:
    """The HTTP request for a draft, bent by the twist."""
    protected = bend_header(honest_header(draft, nonce), twist.protected)
    header = _apply(twist.header_bytes, jose.compact(protected))
    payload = _apply(twist.payload, draft.payload)
    data = jose.signing_input(header, payload)
    signature = draft.key.sign(data) if twist.sign is None else twist.sign(draft.key, data)
    members: object = jose.flattened(header, payload, _apply(twist.signature, signature))
    if twist.members is not None:
        members = twist.members(dict(members))  # type: ignore[call-overload]
    body = _apply(twist.body, members if isinstance(members, bytes) else jose.compact(members))
    headers = {"Content-Type": JOSE_JSON, **twist.http}
    url = draft.url if twist.url is None else twist.url(draft.url)
    return Call(twist.method, url, headers, body)


def _apply(change: Callable[[bytes], bytes] | None, value: bytes) -> bytes:
    return value if change is None else change(value)


def bend_header(header: dict[str, object], changes: Mapping[str, object]) -> dict[str, object]:
    bent = dict(header)
    for name, change in changes.items():
        value = change(bent.get(name)) if callable(change) else change
        if value is DROP:
            bent.pop(name, None)
        else:
            bent[name] = value
    return bent


# The changes that the tables of cases are written with.


def pad(name: str, padding: str = "=") -> Callable[[dict[str, object]], dict[str, object]]:
    """Appends padding to one base64url member."""
    return lambda members: {**members, name: f"{members[name]}{padding}"}


def padded(name: str, padding: str = "") -> Twist:
    """Padding behind protected or payload, and a signature over the padded text: what is signed is sent.

    padding: by default what base64 would have there, or one more than it would.
    """

    def fill(text: str) -> str:
        return text + (padding or "=" * (-len(text) % 4) or "=")

    def sign(key: jose.Key, data: bytes) -> bytes:
        header, _, payload = data.decode("ascii").partition(".")
        both = (fill(header), payload) if name == "protected" else (header, fill(payload))
        return key.sign(".".join(both).encode("ascii"))

    return Twist(sign=sign, members=lambda members: {**members, name: fill(str(members[name]))})


def set_member(**changes: object) -> Callable[[dict[str, object]], dict[str, object]]:
    """Sets members of the flattened JWS; DROP takes one away."""
    return lambda members: {k: v for k, v in {**members, **changes}.items() if v is not DROP}


def compact_form(members: dict[str, object]) -> bytes:
    return f"{members['protected']}.{members['payload']}.{members['signature']}".encode()


def general_form(members: dict[str, object]) -> dict[str, object]:
    """The general JSON serialisation (RFC 7515 7.2.1), which ACME forbids."""
    signature = {"protected": members["protected"], "signature": members["signature"]}
    return {"payload": members["payload"], "signatures": [signature]}


def text(value: str | bytes) -> Callable[[bytes], bytes]:
    """Puts this in place of the bytes."""
    data = value.encode() if isinstance(value, str) else value
    return lambda _: data


def without_http(name: str) -> Mapping[str, str]:
    return {name: DROP_HEADER}


def foreign(draft: Draft, key: jose.Key) -> Draft:
    """The same draft signed by another key."""
    return replace(draft, key=key)
