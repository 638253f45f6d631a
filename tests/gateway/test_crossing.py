"""Whose page is behind a request (V40): one judgement for pages and relay."""

from __future__ import annotations

from itertools import product

import pytest

from gateway.wire.crossing import by_our_page, foreign, linked_elsewhere

HOST = b"a.test:8443"
OWN, EVIL, NULL = b"https://a.test:8443", b"https://evil.test", b"null"


@pytest.mark.parametrize(
    ("origins", "sites", "refused"),
    [
        ([], [], False),  # no browser
        ([OWN], [], False),
        ([OWN.upper()], [b"same-origin"], False),
        ([OWN], [b"none"], False),
        ([], [b"same-origin"], False),
        ([NULL], [b"same-origin"], False),  # Referrer-Policy: no-referrer
        ([NULL], [], True),
        ([NULL], [b"none"], True),
        ([NULL], [b"cross-site"], True),
        ([NULL], [b"same-site"], True),
        ([NULL], [b"same-origin", b"same-origin"], True),
        ([NULL], [b"same-origin", b"cross-site"], True),
        ([b"Null"], [b"same-origin"], True),
        ([NULL, EVIL], [b"same-origin"], True),
        ([EVIL], [b"same-origin"], True),
        ([OWN, EVIL], [], True),
        ([EVIL, OWN], [], True),
        ([OWN], [b"cross-site"], True),
        ([OWN], [b"same-site"], True),
        ([OWN], [b"Same-Origin"], True),
        ([OWN], [b""], True),
        ([b""], [], True),
        ([b"https://a.test"], [], True),
        ([b"http://a.test:8443"], [], True),
        ([b"https://a.test:8443/"], [], True),
    ],
)
def test_who_posts(origins: list[bytes], sites: list[bytes], refused: bool) -> None:
    """`same-origin` decides where the page hides its address; every value counts, whatever comes first."""
    for method in ("POST", "PUT", "DELETE", "PATCH", "OTHER"):
        assert foreign(method, origins, sites, HOST) is refused
    for method in ("GET", "HEAD", "OPTIONS"):
        assert not foreign(method, origins, sites, HOST)


def test_the_port_that_https_has_anyway() -> None:
    """RFC 6454 6.2: an origin leaves it out; Host may have it."""
    for host in (b"a.test", b"A.test:443"):
        assert not foreign("POST", [b"https://a.test"], [], host)
        assert foreign("POST", [b"https://a.test:8443"], [], host)


def test_a_websocket_is_its_pages() -> None:
    """It always has an Origin, which no referrer policy hides; a page's own, or none of a browser's."""
    for method, sites in product(("GET", "POST"), ([], [b"same-origin"], [b"cross-site"])):
        assert not foreign(method, [OWN], sites, HOST, websocket=True)
        assert not foreign(method, [], sites, HOST, websocket=True)
        assert foreign(method, [EVIL], sites, HOST, websocket=True)
        assert foreign(method, [NULL], sites, HOST, websocket=True)


def test_a_page_of_ours_has_to_say_so() -> None:
    """For what only our own page may ask, silence is not enough."""
    assert by_our_page([OWN], [], HOST)
    assert by_our_page([], [b"same-origin"], HOST)
    assert by_our_page([NULL], [b"same-origin"], HOST)
    for origins, sites in (([], []), ([], [b"none"]), ([NULL], []), ([EVIL], [b"same-origin"])):
        assert not by_our_page(origins, sites, HOST)


def test_links_from_elsewhere() -> None:
    """A download that counts is not started by another site's page."""
    assert linked_elsewhere([b"cross-site"])
    assert linked_elsewhere([b"none", b"same-site"])
    assert not linked_elsewhere([b"none"])
    assert not linked_elsewhere([])
