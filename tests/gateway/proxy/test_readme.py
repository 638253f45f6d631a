"""What the README of the proxy gives the upstream's author to copy, run as it stands there."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
import pytest

import gateway.proxy
from gateway.proxy.identity import JWKS_PATH, KeySet, SigningKey, assertion, jwks, open_keys, rotated
from tests.gateway.test_identity import vault

__all__ = ["vault"]

_SERVICE = "https://service.example.jp"
_WhoCalls = Callable[[Mapping[str, str]], dict[str, Any]]


class _Help(BaseHTTPRequestHandler):
    """The one page of the help site that is needed."""

    published: bytes
    asked = 0

    def do_GET(self) -> None:
        type(self).asked += 1
        found = self.path == JWKS_PATH
        self.send_response(200 if found else 404)
        self.end_headers()
        self.wfile.write(self.published if found else b"")

    def log_message(self, *_: Any) -> None:
        return


@pytest.fixture
def keys(vault: Any, tmp_path: Path) -> KeySet:
    return open_keys(tmp_path, vault, int(time.time()))


@pytest.fixture
def help_site(keys: KeySet) -> Iterator[tuple[type[_Help], str]]:
    """Publishes the keys; its class, which counts, and its origin."""
    page = type("Page", (_Help,), {"published": json.dumps(jwks(keys)).encode()})
    with ThreadingHTTPServer(("127.0.0.1", 0), page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield page, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def who_calls(help_site: tuple[type[_Help], str]) -> _WhoCalls:
    """The README's function."""
    text = (Path(gateway.proxy.__file__).parent / "README.md").read_text("utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert _SERVICE in code
    made: dict[str, Any] = {}
    exec(code.replace("https://help.example.jp", help_site[1]), made)
    made["KEYS"].cooldown_duration = 0  # else PyJWT waits half a minute until it fetches again
    function: _WhoCalls = made["who_calls"]
    return function


def _claims(issuer: str, **others: Any) -> dict[str, Any]:
    now = int(time.time())
    return {"iss": issuer, "aud": _SERVICE, "iat": now, "exp": now + 55, "sub": "K12345678", **others}


def _asked(key: SigningKey, claims: Mapping[str, Any]) -> dict[str, str]:
    return {"Sekisho-Assertion": assertion(key, claims)}


def test_it_knows_who_calls(keys: KeySet, help_site: tuple[type[_Help], str], who_calls: _WhoCalls) -> None:
    """A good assertion names the user; the keys are fetched once, and again for one that is new."""
    page, origin = help_site
    for _ in range(3):
        assert who_calls(_asked(keys.signing, _claims(origin)))["sub"] == "K12345678"
    assert page.asked == 1
    later = rotated(rotated(keys, 1), 2)
    page.published = json.dumps(jwks(later)).encode()
    assert later.signing not in keys.keys
    assert who_calls(_asked(later.signing, _claims(origin)))["sub"] == "K12345678"
    assert page.asked == 2


@pytest.mark.parametrize(
    "others",
    [
        {"aud": "https://another.example.jp"},
        {"iss": "https://help.another.example"},
        {"exp": 1_000_000_000},
        {"exp": None},
        {"aud": None},
        {"iss": None},
    ],
)
def test_it_believes_nothing_else(
    keys: KeySet, help_site: tuple[type[_Help], str], who_calls: _WhoCalls, others: dict[str, Any]
) -> None:
    """For another site, of another gate, of another time, or without saying so: refused."""
    claims = {name: value for name, value in _claims(help_site[1], **others).items() if value is not None}
    with pytest.raises(jwt.PyJWTError):
        who_calls(_asked(keys.signing, claims))


def test_no_assertion_and_a_forged_one(
    keys: KeySet, help_site: tuple[type[_Help], str], who_calls: _WhoCalls
) -> None:
    """None at all, one that is signed by nobody, and one by a key that only says that it is ours."""
    with pytest.raises(jwt.PyJWTError):
        who_calls({})
    claims = _claims(help_site[1])
    unsigned = jwt.encode(claims, "", "none", headers={"kid": keys.signing.kid})
    with pytest.raises(jwt.PyJWTError):
        who_calls({"Sekisho-Assertion": unsigned})
    stranger = rotated(keys, 1).keys[0]
    with pytest.raises(jwt.PyJWTError):
        who_calls(_asked(SigningKey(keys.signing.kid, stranger.key, 1), claims))
