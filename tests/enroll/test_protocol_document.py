"""``PROTOCOL.md`` says what the server does: its tables are the code's, its examples took place."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from enroll.acme.ordering import BOUND_CHALLENGE, CERTIFICATE_CHALLENGE
from enroll.acme.resources import RESOURCES
from enroll.problems import TYPES
from tests.enroll.protocol_examples import DOCUMENT, blocks, generated, updated

REGENERATE = "bring it up to date: python -m tests.enroll.protocol_examples --write"


@pytest.fixture(scope="module")
def fresh() -> Mapping[str, str]:
    return generated()


def test_the_document_is_up_to_date(fresh: Mapping[str, str]) -> None:
    """Every table and example in the document is what the server does now, and none is left out."""
    text = DOCUMENT.read_text("utf-8")
    written = blocks(text)
    assert set(written) == set(fresh)
    stale = [name for name, body in written.items() if body != fresh[name]]
    assert stale == [], REGENERATE
    assert updated(text, fresh) == text


def test_a_stale_document_is_found(fresh: Mapping[str, str]) -> None:
    """A changed status, member or row in a block makes it differ."""
    text = DOCUMENT.read_text("utf-8")
    for right, wrong in (("201 Created", "200 OK"), ('"status": "ready"', '"status": "valid"')):
        assert blocks(text.replace(right, wrong, 1)) != dict(fresh)


def test_examples_are_the_same_each_time(fresh: Mapping[str, str]) -> None:
    """Keys, identifiers, nonces and signatures are random; what the document shows is not."""
    assert generated() == fresh


def test_the_document_names_everything() -> None:
    """Each problem type, resource and challenge type is in the document."""
    text = DOCUMENT.read_text("utf-8")
    for kind in TYPES.values():
        assert f"`{kind.urn}{kind.name}` | {kind.status} |" in text
    for name in RESOURCES:
        assert f"| {name} | " in text
    for challenge in (BOUND_CHALLENGE, CERTIFICATE_CHALLENGE):
        assert f"`{challenge}`" in text
