"""The assertion's keys and claims."""

from __future__ import annotations

import base64
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jwt
import pytest

from ca.clock import ManualClock
from ca.errors import ConfigError
from ca.revocation import RevocationStatus
from ca.sealing import PassphraseCost, Vault, create_vaults
from ca.trust import Presentation, VerifiedPeer, judge
from gateway.proxy.identity import (
    LIFETIME,
    REUSED,
    ROTATION,
    Caller,
    Identity,
    KeySet,
    assertion,
    claims_of,
    header_lines,
    jwks,
    open_keys,
    rotated,
)
from tests.gateway.conftest import Pki
from tests.gateway.rawtls import START

AT = int(START.timestamp())
AUDIENCE, ISSUER = "https://a.test", "https://help.test"


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return create_vaults(tmp_path / "vault.json", "correct horse battery", PassphraseCost(1, 1, 8)).gateway


@pytest.fixture
def peer(pki: Pki) -> VerifiedPeer:
    from cryptography.hazmat.primitives.serialization import Encoding

    leaf = pki.client.certificate.public_bytes(Encoding.DER)
    clock = ManualClock(START)
    verdict = judge(
        Presentation(leaf, (), (), True), pki.anchors, lambda _: RevocationStatus.GOOD, clock.seconds()
    )
    assert isinstance(verdict, VerifiedPeer)
    return verdict


def checked(token: str, keys: KeySet, audience: str = AUDIENCE) -> dict[str, Any]:
    """What another library reads of an assertion with the published set alone."""
    kid = jwt.get_unverified_header(token)["kid"]
    key = jwt.PyJWKSet.from_dict(jwks(keys))[kid]
    return dict(
        jwt.decode(
            token, key, ["ES256"], audience=audience, issuer=ISSUER,
            options={"verify_exp": False, "verify_iat": False, "require": ["exp", "iat", "aud", "iss"]},
        )
    )  # fmt: skip


def test_another_library_verifies_it(vault: Vault, tmp_path: Path, peer: VerifiedPeer) -> None:
    """V39: for one audience, a minute at most, bound to the certificate; altered or for another, refused."""
    keys = open_keys(tmp_path, vault, AT)
    identity = Identity(keys, ISSUER, AUDIENCE)
    token = assertion(keys.signing, claims_of(identity, Caller(peer, "A1", "12345678", "login"), AT, "j"))
    claims = checked(token, keys)
    assert (claims["sub"], claims["org"], claims["level"], claims["jti"]) == ("A1", "12345678", "login", "j")
    assert claims["iat"] <= AT < claims["exp"] <= claims["iat"] + LIFETIME
    with pytest.raises(jwt.InvalidAudienceError):
        checked(token, keys, "https://b.test")
    head, body, signature = token.split(".")
    forged = json.loads(base64.urlsafe_b64decode(body + "==")) | {"sub": "A2"}
    other = base64.urlsafe_b64encode(json.dumps(forged).encode()).rstrip(b"=").decode()
    with pytest.raises(jwt.InvalidSignatureError):
        checked(f"{head}.{other}.{signature}", keys)


def test_it_does_not_outlive_the_certificate(vault: Vault, tmp_path: Path, peer: VerifiedPeer) -> None:
    """Ten seconds before the certificate ends, so does the assertion."""
    identity = Identity(open_keys(tmp_path, vault, AT), ISSUER, AUDIENCE)
    at = peer.not_after_at - 10
    assert claims_of(identity, Caller(peer), at, "j")["exp"] == peer.not_after_at


def test_it_is_used_again_for_the_same_caller_only(vault: Vault, tmp_path: Path, peer: VerifiedPeer) -> None:
    """Signing is spared for seconds; another user, organisation, level or session has his own."""
    lines = header_lines(Identity(open_keys(tmp_path, vault, AT), ISSUER, AUDIENCE))
    first = lines(Caller(peer, "A1"), AT)
    assert lines(Caller(peer, "A1"), AT + REUSED - 1) == first
    assert lines(Caller(peer, "A1"), AT + REUSED) != first
    assert lines(Caller(peer, "A1"), AT - 1) != first
    others = [
        Caller(peer, "A2"), Caller(peer, "A1", "9"), Caller(peer, "A1", level="login"), Caller(peer, None),
        Caller(peer, "A1", session="s"),
    ]  # fmt: skip
    assert len({first, *(lines(other, AT) for other in others)}) == 6


def test_keys_are_sealed_and_come_back(vault: Vault, tmp_path: Path) -> None:
    """Nothing of a private key is on disk in the clear; the same keys are read again."""
    keys = open_keys(tmp_path, vault, AT)
    again = open_keys(tmp_path, vault, AT + ROTATION - 1)
    assert [each.kid for each in again.keys] == [each.kid for each in keys.keys]
    assert again.keys[0].key.private_numbers() == keys.keys[0].key.private_numbers()
    raw = (tmp_path / "assertion-keys").read_bytes()
    assert b"created_at" not in raw
    assert (tmp_path / "assertion-keys").stat().st_mode & 0o077 == 0
    assert "private" not in repr(keys).lower()


def test_those_who_start_together_have_the_same_keys(vault: Vault, tmp_path: Path) -> None:
    """Workers of one gateway: what one signs, the set that another publishes can verify."""
    with ThreadPoolExecutor(8) as pool:
        sets = list(pool.map(lambda _: open_keys(tmp_path, vault, AT), range(16)))
    assert len({each.signing.kid for each in sets}) == 1


def test_a_key_is_published_before_it_signs_and_after(vault: Vault, tmp_path: Path) -> None:
    """Whoever fetched the set within a rotation can verify everything that is in use."""
    keys = open_keys(tmp_path, vault, AT)
    for number in range(1, 4):
        published = {each["kid"] for each in jwks(keys)["keys"]}
        following = open_keys(tmp_path, vault, AT + number * ROTATION)
        assert following.signing.kid in published
        assert following.signing.kid != keys.signing.kid
        assert keys.signing.kid in {each["kid"] for each in jwks(following)["keys"]}
        keys = following
    assert len(keys.keys) == 3
    assert {frozenset(each) for each in jwks(keys)["keys"]} == {
        frozenset({"kty", "crv", "x", "y", "kid", "alg", "use"})
    }


def _kids(keys: KeySet) -> list[str]:
    return [each.kid for each in keys.keys]


def test_a_clock_in_doubt_rotates_nothing(vault: Vault, tmp_path: Path) -> None:
    """What three starts with a clock years ahead had forgotten is not in any set that upstreams fetch."""
    first = _kids(open_keys(tmp_path, vault, AT))
    for _ in range(3):
        assert _kids(open_keys(tmp_path, vault, AT + 4 * 365 * 86_400, believed=False)) == first
    assert _kids(open_keys(tmp_path, vault, AT + ROTATION)) != first  # the twin


def test_a_key_from_the_future_is_rotated(vault: Vault, tmp_path: Path) -> None:
    """A set that a clock years ahead has made would else sign for years; a day's difference is none."""
    made = open_keys(tmp_path, vault, AT + 4 * 365 * 86_400)
    assert _kids(open_keys(tmp_path, vault, AT + 4 * 365 * 86_400 - 3_600)) == _kids(made)
    turned = open_keys(tmp_path, vault, AT)
    assert (turned.keys[0].created_at, turned.signing.kid) == (AT, made.keys[0].kid)
    assert _kids(open_keys(tmp_path, vault, AT)) == _kids(turned)


@pytest.mark.parametrize("damage", [b"", b"x" * 100])
def test_an_altered_file_is_the_operators_to_mend(vault: Vault, tmp_path: Path, damage: bytes) -> None:
    """Never silently replaced: that would also be what an intruder wants."""
    open_keys(tmp_path, vault, AT)
    (tmp_path / "assertion-keys").write_bytes(damage)
    with pytest.raises(ConfigError, match="was altered"):
        open_keys(tmp_path, vault, AT)


@pytest.mark.parametrize(
    ("name", "word", "hint"),
    [
        ("X User", "user", "choose a name"),
        ("Host", "user", "choose a name"),
        ("X-User", "shoe-size", "write one of"),
    ],
)
def test_plain_headers_are_checked(name: str, word: str, hint: str) -> None:
    """A bad name or an unknown word is refused with what to write."""
    with pytest.raises(ConfigError, match=hint):
        Identity(rotated(KeySet(()), AT), ISSUER, AUDIENCE, {name: word})
