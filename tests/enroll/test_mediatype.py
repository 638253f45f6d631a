"""What a body is said to be: one reading for pages and protocol."""

from __future__ import annotations

import pytest

from enroll.mediatype import media_type


@pytest.mark.parametrize(
    ("values", "read"),
    [
        (["application/json"], "application/json"),
        (["Application/JOSE+json; charset=utf-8"], "application/jose+json"),
        ([" text/plain \t"], "text/plain"),
        (["text/plain;"], "text/plain"),
        (["text/plain ; a=b; c"], "text/plain"),
        ([], ""),
        ([""], ""),
        (["text"], ""),
        (["text/"], ""),
        (["/plain"], ""),
        (["text/plain/x"], ""),
        (["text /plain"], ""),
        (["text/plain x"], ""),
        (["text/plain, application/json"], ""),
        (["text/plain; a=b, application/json"], ""),
        (["application/json", "application/json"], ""),
        (["application/json", "text/plain"], ""),
        (["text/plain\u2003"], ""),
    ],
)
def test_one_field_with_one_type(values: list[str], read: str) -> None:
    """RFC 9110 8.3.1: a type, and parameters; what could be read as two, or as none, is none."""
    assert media_type(values) == read
