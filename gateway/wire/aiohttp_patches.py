"""Everything of aiohttp 3.14 that is changed for the whole process, or known of it besides what it documents.

Nothing here has a public switch. Whoever serves imports this file once (`gateway.wire.handlers`).
"""

from __future__ import annotations

from aiohttp import http_parser, web, web_app, web_fileresponse, web_response, web_urldispatcher
from aiohttp.http import HttpVersion11

from ca.errors import ConfigError
from gateway.wire.fields import values_of
from gateway.wire.framing import Malformed, expects_continue
from gateway.wire.http import refusal
from gateway.wire.rules import Denial

# Visitors are not told which versions they are talking to, and our transport has no file descriptor
# to give to sendfile(2).
web_response.SERVER_SOFTWARE = "sekisho"  # type: ignore[attr-defined]
web_fileresponse.NOSENDFILE = True  # type: ignore[misc]


async def _expectation(request: web.Request) -> web.StreamResponse | None:
    """RFC 9110 10.1.1. HTTP/1.0 knows none, and the page repeats nothing of one that is not met."""
    if request.version < HttpVersion11:
        return None
    try:
        expects_continue({b"expect": values_of(request.raw_headers, b"expect")})
    except Malformed:
        return refusal(request, Denial(417, "expect"))
    await _continue(request)
    return None


# aiohttp's own answers an unknown one with what was expected, which not every byte can be. It is asked
# before the middlewares, also where there is no route.
_continue = web_urldispatcher._default_expect_handler
web_urldispatcher._default_expect_handler = _expectation  # type: ignore[assignment]


def forget_applications() -> None:
    """Lets go of applications that nobody is served by any more.

    aiohttp 3.14 remembers the last 1,024 handlers wrapped in their middlewares, for the whole process, and
    with each of them all of its application: a megabyte more with every reload.
    """
    web_app._cached_build_middleware.cache_clear()


def demand_c_parser() -> None:
    """Raises ConfigError if aiohttp runs on its pure-Python parser, the laxer of the two."""
    if http_parser.HttpRequestParser is http_parser.HttpRequestParserPy:
        raise ConfigError(
            "aiohttp runs without its C parser: unset AIOHTTP_NO_EXTENSIONS, "
            "or pip install --force-reinstall aiohttp from a wheel"
        )
