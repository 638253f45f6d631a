"""The http-01 responder serves the key authorization of the token it is asked for, and nothing else."""

from __future__ import annotations

import pytest

from conformance.responder import PREFIX, answer

KNOWN = {"token-1": "token-1.thumbprint"}


def test_known_token() -> None:
    """RFC 8555 8.3: the body is the key authorization."""
    sent = answer(f"GET {PREFIX}token-1 HTTP/1.1\r\nHost: x\r\n\r\n", KNOWN)
    assert sent.startswith(b"HTTP/1.1 200 OK\r\n")
    assert sent.endswith(b"\r\n\r\ntoken-1.thumbprint")


@pytest.mark.parametrize(
    "line",
    [f"GET {PREFIX}other HTTP/1.1", "GET /token-1 HTTP/1.1", f"POST {PREFIX}token-1 HTTP/1.1", "", "GET"],
)
def test_anything_else(line: str) -> None:
    """Another token, path or method is 404."""
    assert answer(f"{line}\r\n\r\n", KNOWN).startswith(b"HTTP/1.1 404")
