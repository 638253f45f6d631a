"""The frame around every page: one look, two languages, security headers, and what an error says.

A site is an aiohttp application made by ``site_application``; its templates extend ``layout.html``.
"""

from __future__ import annotations

import hashlib
import logging
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlencode

import jinja2
from aiohttp import web
from markupsafe import Markup
from yarl import URL

import ca.store
from ca.certificates import serial_in_chooser
from ca.profiles import OPERATORS
from ca.storage import Transaction, in_log, is_out_of_order
from ca.trust import CertificateState, Rejection, VerifiedPeer
from enroll import generations, store, timekeeping
from enroll.jst import shown, shown_day
from enroll.languages import LANGUAGES, Language
from enroll.mediatype import media_type
from enroll.refusals import Refusal
from enroll.requests import renewal
from enroll.requests.enrollment import Enrollment
from enroll.requests.opening import renewable_until
from gateway.web import afterwards, references
from gateway.web.browsers import browser_of
from gateway.web.context import Gate, Role
from gateway.web.dates import moment
from gateway.web.hours import DESK
from gateway.web.qr import picture
from gateway.web.sessions import cookie_name
from gateway.web.typesetting import address, phrases, typeset
from gateway.web.words import (
    ABOUT_CERTIFICATE,
    ABOUT_REISSUE,
    ALLOW_COOKIES,
    BY_THE_MAIL,
    CERTIFICATE,
    CHOOSE_AGAIN,
    COOKIES_BLOCKED,
    FIRST_PAGE,
    IN_GRACE,
    LOGIN_FAILS,
    LOOK_FIRST,
    MAY_BE_THERE,
    OF_AN_OPERATOR,
    OPEN_RENEWAL,
    OPEN_TEST,
    OUT_OF_USE,
    REFUSALS,
    TRY_AGAIN,
    WHY_OVER,
    Text,
    Words,
    newer_one,
)
from gateway.wire import cookies, http, oversize
from gateway.wire.crossing import foreign
from gateway.wire.fields import values_of

T = TypeVar("T")

log = logging.getLogger("sekisho.pages")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

#: An address and what its link says.
Way = tuple[str, Text]

GATE: web.AppKey[Gate] = web.AppKey("gate", Gate)
SITE: web.AppKey[str] = web.AppKey("site", str)


@dataclass(frozen=True)
class Own:
    """What a site has of its own on a page about what went wrong."""

    #: What its frame shows of who is there, for its `layout.html`. It raises nothing.
    frame: Callable[[web.Request], Awaitable[Mapping[str, Any]]]
    #: Refusal code -> its next step, where people's would lead the site's visitors astray.
    steps: Mapping[str, Text]


OWN: web.AppKey[Own] = web.AppKey("own", Own)
#: What `Own.frame` gave, or would: whoever knows it already puts it there, and nobody is asked once more.
FRAME: web.RequestKey[Mapping[str, Any]] = web.RequestKey("frame")
_TEMPLATES: web.AppKey[jinja2.Environment] = web.AppKey("templates", jinja2.Environment)

#: What is behind every other route: each path there is, with a line break in it too.
EVERY_PATH = r"/{rest:[\s\S]*}"
_LANGUAGE_COOKIE = "__Host-lang"
#: Of the connectivity test; told to nobody, and opens nothing.
CHECK_COOKIE = "__Host-check"
_OTHER_COOKIES = (_LANGUAGE_COOKIE, CHECK_COOKIE)
_FORM_LIMIT = 64 * 1024
# No form of ours has a dozen.
_MOST_FIELDS = 100
# On an answer: what `_afterwards` needs to have it made once more; and its name in what is told.
_STATE: web.ResponseKey[dict[str, Any]] = web.ResponseKey("state", dict)
_PROBLEM = "problem"
# Seconds until it is worth trying again when the disk or the database is at fault: somebody has to look.
_LATER = 60


def content_security_policy(*fetched: str, forms: Sequence[str] = ()) -> str:
    """The policy of every page. ``fetched``: further origins that a page's script fetches from; ``forms``:
    those that what answers a form may lead to."""
    connect, action = " ".join(["'self'", *fetched]), " ".join(["'self'", *forms])
    return (
        f"default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src {connect}; "
        f"form-action {action}; frame-ancestors 'none'; base-uri 'none'"
    )


_HEADERS = {
    "Content-Security-Policy": content_security_policy(),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}


def site_application(gate: Gate, role: Role, package: str) -> web.Application:
    """An application with the frame. ``package`` holds the site's ``templates/`` folder."""
    app = web.Application(
        middlewares=[_frame, _afterwards, _errors, _same_origin], client_max_size=_FORM_LIMIT
    )
    app[GATE] = gate
    app[SITE] = str(role)
    app[_TEMPLATES] = _environment(package)
    app.router.add_get(f"/assets/{_ASSETS_VERSION}/{{name}}", _asset)
    app.router.add_get("/favicon.ico", _favicon)
    app.router.add_get(oversize.PATH, _clear_page)
    app.router.add_post(oversize.PATH, _clear)
    return app


def render(
    request: web.Request,
    template: str,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    **values: Any,
) -> web.Response:
    """A page. Templates get ``t(ja, en)``, ``lang`` and what ``_values`` lists besides."""
    language = language_of(request)
    page = request.app[_TEMPLATES].get_template(template).render(_values(request, language) | values)
    response = web.Response(
        text=typeset(page, language),
        status=status,
        content_type="text/html",
        charset="utf-8",
        headers=headers,
    )
    response.headers["Content-Language"] = language
    return response


def see_other(location: str) -> web.Response:
    """303: after a POST the browser fetches a page that can be reloaded without harm (E19)."""
    return web.Response(status=303, headers={"Location": location})


def tell(request: web.Request, page: str, state: Mapping[str, Any]) -> web.Response:
    """The answer to a form that is refused: on to the page that shows it, which finds ``state`` by `told`.

    ``page``: its path. ``state``: JSON, and no password among it.
    """
    ra, site = request.app[GATE].ra, request.app[SITE]
    session = cookies.read(request, cookie_name(site)).value
    value = afterwards.sealed(ra.vault, site + page, session, ra.now(), state)
    return see_other(f"{page}?{urlencode({afterwards.TOLD: value})}")


def told(request: web.Request) -> Mapping[str, Any]:
    """What the form that led here was refused for; empty if none did."""
    value = request.query.get(afterwards.TOLD, "")
    if not value:
        return {}
    ra, site = request.app[GATE].ra, request.app[SITE]
    session = cookies.read(request, cookie_name(site)).value
    return afterwards.opened(ra.vault, site + request.rel_url.raw_path, session, ra.now(), value)


def told_texts(state: Mapping[str, Any]) -> dict[str, Text]:
    """Of what `told` says the messages beside fields: its ``errors``."""
    return {field: (ja, en) for field, (ja, en) in state.get("errors", {}).items()}


def words_page(
    request: web.Request,
    words: Words,
    *,
    reference: str,
    at: int = 0,
    rejection: Rejection | VerifiedPeer | None = None,
    first: Sequence[Way] = (),
    about: Role | None = None,
    home: str = "",
    **values: Any,
) -> web.Response:
    """The page of a refusal or problem: what happened, the one next step, whom to call.

    ``first``: where it leads instead of to a reissue. ``about``: the site whose certificate it is about,
    which asks for another one on another host (E12); ``rejection``: the certificate that was presented;
    ``home``: the site's first page, where that is a way out.
    """
    headers = {}
    if words.status == 429 and at:
        headers["Retry-After"] = str(max(1, at - request.app[GATE].now()))
    if words.status == 503:
        headers["Retry-After"] = str(max(1, at - request.app[GATE].now()) if at else _LATER)
    gate = request.app[GATE]
    again = test_url = ""
    if about is not None:
        again = elsewhere(request, gate.fresh_origin(about)) if about in gate.fresh else ""
        test_url = elsewhere(request, gate.origins[Role.CONNECTIVITY])
    reissue = elsewhere(request, gate.origins[Role.HELP], "flow#reissue")
    choose = [(again, CHOOSE_AGAIN)]
    ways = [
        *first,
        # The next step's own before the others.
        *(choose if words.choose_again else []),
        *([(reissue, ABOUT_REISSUE)] if words.reissue and not first else []),
        (test_url, OPEN_TEST),
        *(choose if not words.choose_again else []),
        (home, FIRST_PAGE),
    ]
    page = render(
        request, "problem.html", status=words.status, headers=headers, words=words, reference=reference,
        at=at, rejection=rejection, again=again, test_url=test_url, ways=[way for way in ways if way[0]],
        **{**request.get(FRAME, {}), **values},
    )  # fmt: skip
    if words.status >= 500:
        # Nothing came of it: loading it again is to try again.
        return page
    page[_STATE] = {
        "words": asdict(words), "reference": reference, "at": at, "peer": rejection is not None,
        "first": list(first), "about": about, "home": home, "values": values,
    }  # fmt: skip
    return page


async def _framed(request: web.Request, status: int) -> None:
    """Has a page about what went wrong stand in the frame of who is there. Where it is a fault of ours nobody
    is asked who that is: the database may be what is at fault."""
    own = request.app.get(OWN)
    if own is not None and FRAME not in request and status < 500:
        request[FRAME] = await own.frame(request)


async def _problem_again(request: web.Request, state: Mapping[str, Any]) -> web.Response:
    """The page that `words_page` made for a POST, fetched."""
    await _framed(request, state["words"]["status"])
    words: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in state["words"].items()
    }
    return words_page(
        request,
        Words(**words),
        reference=state["reference"],
        at=state["at"],
        rejection=http.peer(request) if state["peer"] else None,
        first=[(_in_language(request, url), (ja, en)) for url, (ja, en) in state["first"]],
        about=Role(state["about"]) if state["about"] else None,
        home=state["home"],
        **state["values"],
    )


async def problem(request: web.Request, code: str, *, at: int = 0, **detail: Any) -> web.Response:
    """The page of a refusal code, with a reference number that the help desk finds."""
    gate, site, peer = request.app[GATE], request.app[SITE], http.peer(request)
    if isinstance(peer, VerifiedPeer):
        detail = {"common_name": peer.common_name} | detail
    reference = await references.note(gate.ra, site, code, path=request.path, **detail)
    if (own := request.app.get(OWN)) is not None:
        words = REFUSALS[code]
        await _framed(request, words.status)
        words = replace(words, next_step=own.steps.get(code, words.next_step))
        return words_page(request, words, reference=reference, at=at, home="/")
    about = Role(site) if code in ABOUT_CERTIFICATE else None
    first = []
    if code == "throttled":
        first = [(elsewhere(request, gate.origins[Role.HELP], "trouble#password"), LOGIN_FAILS)]
    words, because = REFUSALS[code], None
    if code == "not_available":
        because = WHY_OVER.get(detail.get("reason", ""))
        if detail.get("reason") in MAY_BE_THERE:
            words = replace(words, next_step=LOOK_FIRST)
            first = [
                (elsewhere(request, gate.origins[Role.CONNECTIVITY]), OPEN_TEST),
                (elsewhere(request, gate.origins[Role.HELP], "flow#reissue"), ABOUT_REISSUE),
            ]
    return words_page(
        request,
        words,
        reference=reference,
        at=at,
        about=about,
        home="/",
        first=first,
        because=because,
    )


async def cookies_blocked(request: web.Request, back: str) -> web.Response:
    """For whom `sessions.keeps_none`. ``back``: the path where one begins again."""
    gate, site = request.app[GATE], request.app[SITE]
    reference = await references.note(gate.ra, site, "no_cookie", path=request.path)
    help_page = elsewhere(request, gate.origins[Role.HELP], "cookies")
    first = [(help_page, ALLOW_COOKIES), (back, TRY_AGAIN)]
    return words_page(request, COOKIES_BLOCKED, reference=reference, first=first)


# Of which there may be another one in its place.
_FOLLOWED = frozenset({CertificateState.REVOKED, CertificateState.DISTRUSTED})
# What only the date says of a certificate: by a clock in doubt nobody is told so.
_BY_DATE = frozenset({CertificateState.EXPIRED, CertificateState.NOT_YET_VALID})


def refused(gate: Gate, role: Role) -> Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]:
    """What a site that requires a certificate shows to those without a good one.

    An application of its own: nothing behind it can be reached without a verified certificate.
    """
    app = site_application(gate, role, "gateway")

    async def explain(request: web.Request) -> web.StreamResponse:
        rejection, state, reference = await noted(request, role)
        first = list[Way]()
        if state is CertificateState.UNASKED:
            return words_page(request, CERTIFICATE[state], reference=reference)
        if state in _BY_DATE and await timekeeping.doubt(gate.ra) is not None:
            words = REFUSALS["clock_in_doubt"]
            return words_page(request, words, reference=reference, rejection=rejection)
        if state is CertificateState.UNKNOWN_ISSUER and await of_an_operator(gate, rejection):
            return words_page(request, OF_AN_OPERATOR, reference=reference, rejection=rejection, about=role)
        words = await explained(gate, rejection, state)
        if in_grace(gate, rejection):
            first = [(elsewhere(request, gate.origins[Role.RENEWAL]), OPEN_RENEWAL)]
        return words_page(request, words, reference=reference, rejection=rejection, about=role, first=first)

    app.router.add_route("*", EVERY_PATH, explain)
    app.freeze()
    return app._handle  # type: ignore[return-value]


async def explained(gate: Gate, rejection: Rejection | None, state: CertificateState) -> Words:
    """What a site says to whoever presents a certificate that is no good, by what came after it."""
    if in_grace(gate, rejection):
        return IN_GRACE
    words = CERTIFICATE[state]
    newer = await reissued_as(gate, rejection) if state in _FOLLOWED else None
    if newer is not None:
        return replace(words, next_step=newer_one(newer), choose_again=True, reissue=False)
    if state is CertificateState.DISTRUSTED and await _invited(gate, rejection):
        return replace(words, next_step=BY_THE_MAIL, reissue=False)
    if state in _FOLLOWED and await _out_of_use(gate, rejection):
        return replace(words, next_step=OUT_OF_USE, choose_again=False, reissue=False)
    return words


async def noted(request: web.Request, role: Role) -> tuple[Rejection | None, CertificateState, str]:
    """Why the certificate that was presented is no good, if one was, and the number by which the help desk
    finds that."""
    verdict = http.peer(request)
    rejection = verdict if isinstance(verdict, Rejection) else None
    state = rejection.state if rejection is not None else CertificateState.NONE
    reference = await references.note(
        request.app[GATE].ra,
        str(role),
        f"certificate.{state.value}",
        common_name=rejection.common_name if rejection else None,
        issuer=rejection.issuer_name if rejection else None,
        address=http.connection(request).peer_address,
    )
    return rejection, state, reference


async def _out_of_use(gate: Gate, peer: Rejection | None) -> bool:
    """Whether its holder, or the organisation, has been disabled."""
    return bool(await _looked_up(gate, peer, renewal.out_of_use))


async def _invited(gate: Gate, peer: Rejection | None) -> bool:
    """Whether the mail by which its holder picks a new certificate up is on its way, or there."""
    at = gate.now()
    return bool(await _looked_up(gate, peer, lambda db, fingerprint: renewal.invited(db, at, fingerprint)))


async def of_an_operator(gate: Gate, peer: Rejection | None) -> bool:
    """Whether a certificate is one of ours, and opens the console instead."""
    found = await _looked_up(gate, peer, ca.store.find_by_fingerprint)
    return found is not None and found.profile in OPERATORS


async def reissued_as(gate: Gate, peer: Rejection | None) -> Enrollment | None:
    """The certificate in its holder's hands that took the place of one that is no good any more
    (`renewal.reissued_as`)."""
    at = gate.now()
    return await _looked_up(gate, peer, lambda db, fingerprint: renewal.reissued_as(db, at, fingerprint))


async def _looked_up(
    gate: Gate, peer: Rejection | None, find: Callable[[Transaction, str], T | None]
) -> T | None:
    """What is known of a certificate by its fingerprint; None where none was presented that has one."""
    if peer is None or peer.fingerprint is None:
        return None
    fingerprint = peer.fingerprint
    return await gate.ra.database.read(lambda db: find(db, fingerprint))


def in_grace(gate: Gate, peer: VerifiedPeer | Rejection | None) -> bool:
    """Whether a certificate has expired, and is still renewed because the operator set a grace (D8)."""
    # Expired is the last of the faults that a judgement names: the register knows it, and not as revoked.
    if not isinstance(peer, Rejection) or peer.state is not CertificateState.EXPIRED:
        return False
    end = peer.not_after_at
    return end is not None and end < gate.now() <= renewable_until(end, gate.ra)


def elsewhere(request: web.Request, origin: str, page: str = "") -> str:
    """A page of another site. Its cookies are its own, so a language that was chosen goes along: Japanese too
    (what was chosen there before is older)."""
    chosen = chosen_language(request)
    path, mark, place = page.partition("#")
    glue = "&" if "?" in path else "?"
    return f"{origin}/{path}" + (f"{glue}lang={chosen}" if chosen else "") + mark + place


def _in_language(request: web.Request, url: str) -> str:
    """What `elsewhere` made before the language was chosen that the page is in now."""
    chosen = chosen_language(request)
    if chosen is None or not url.startswith("https:"):
        return url
    return str(URL(url).update_query(lang=chosen))


def language_of(request: web.Request) -> Language:
    """Japanese unless something else was chosen."""
    return chosen_language(request) or LANGUAGES[0]


def chosen_language(request: web.Request) -> Language | None:
    """What the visitor chose: by ``?lang=`` now, or before, which a cookie of this site tells."""
    before = _language(cookies.read(request, _LANGUAGE_COOKIE).value)
    return _language(request.query.get("lang", "")) or before


def remember_language(response: web.StreamResponse, language: Language) -> None:
    """What is chosen on this site from here on."""
    response.set_cookie(_LANGUAGE_COOKIE, language, path="/", secure=True, samesite="Lax", max_age=31_536_000)


def prefer_language(request: web.Request, response: web.StreamResponse, language: Language) -> None:
    """A user's own language, from here on, where the visitor has chosen none."""
    if chosen_language(request) is None and language != LANGUAGES[0]:
        remember_language(response, language)


async def in_own_language(request: web.Request) -> web.Response | None:
    """D12: the way to the same page in the language of whose certificate it is, if none was chosen."""
    peer = http.peer(request)
    fingerprint = peer.fingerprint if peer is not None else None
    if chosen_language(request) is not None or fingerprint is None:
        return None

    def work(db: Transaction) -> store.User | None:
        return store.user(db, renewal.source_of(db, fingerprint).user_id)

    try:
        user = await request.app[GATE].ra.database.read(work)
    except Refusal:  # of a certificate that is none of a user's: told where it matters
        return None
    if user is None or user.language == LANGUAGES[0]:
        return None
    return see_other(str(request.rel_url.update_query(lang=user.language)))


def _language(name: str) -> Language | None:
    return next((each for each in LANGUAGES if each == name), None)


def speak(language: str) -> Callable[[str, str], str]:
    """The function templates know as ``t``: picks one of (Japanese, English)."""
    return lambda ja, en: en if language == "en" else ja


async def form(request: web.Request) -> dict[str, str]:
    """The fields of a form; what our own pages do not send is bad input, files among it."""
    if media_type(request.headers.getall("Content-Type", [])) != "application/x-www-form-urlencoded":
        raise Refusal("invalid_input", field="form")
    return fields_of(await request.read())


def fields_of(body: bytes) -> dict[str, str]:
    """The fields of a form, each once, out of any bytes. Refusal("invalid_input").

    UTF-8, whatever ``charset`` the request names: the type has no such parameter (WHATWG URL, section 5),
    and strangers choose no codec here.
    """
    try:
        pairs = parse_qsl(
            body.decode("utf-8"), keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS
        )
    except ValueError:
        raise Refusal("invalid_input", field="form") from None
    fields = dict(pairs)
    if len(fields) < len(pairs) or any("\x00" in name + value for name, value in pairs):
        raise Refusal("invalid_input", field="form")
    return fields


@web.middleware
async def _frame(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Security headers on everything; the language switch becomes a cookie."""
    await generations.ready(request.app[GATE].ra)  # which pages tell of in their templates
    response = await handler(request)
    if not response.prepared:
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        if not request.app[GATE].demo:
            # RFC 6797. A demo's hosts are localhost, where other things of the visitor's run without TLS.
            response.headers.setdefault("Strict-Transport-Security", "max-age=31536000")
        asked = _language(request.query.get("lang", ""))
        if asked is not None:
            remember_language(response, asked)
        _clear_odd_cookies(request, response)
    return response


def _clear_odd_cookies(request: web.Request, response: web.StreamResponse) -> None:
    """Takes away what stood for a cookie of ours and is none. A session's name is not planted by accident:
    then all of the domain's cookies go, or whoever planted it would keep the visitor out for good."""
    session = cookie_name(request.app[SITE])
    for name in (session, *_OTHER_COOKIES):
        if cookies.read(request, name).odd:
            if name not in response.cookies:
                response.headers.add("Set-Cookie", cookies.deletion(name))
            if name == session:
                response.headers["Clear-Site-Data"] = cookies.CLEAR
                http.connection(request).count("refused.cookie")


@web.middleware
async def _afterwards(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The page about what went wrong with a POST is fetched: going back to it, or a reload, sends nothing."""
    if request.method in ("GET", "HEAD"):
        problem = told(request).get(_PROBLEM)
        # Once the moment has come that it names, it is no longer so.
        if problem is None or 0 < problem["at"] <= request.app[GATE].now():
            return await handler(request)
        return await _problem_again(request, problem)
    response = await handler(request)
    problem = response.get(_STATE) if request.method == "POST" else None
    return response if problem is None else tell(request, request.rel_url.raw_path, {_PROBLEM: problem})


def _at_once(page: web.Response) -> web.Response:
    """A page that answers the POST itself: what no page of ours sends, nobody goes back to."""
    page.pop(_STATE, None)
    return page


@web.middleware
async def _errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """One place turns refusals and accidents into pages; nobody sees a traceback."""
    try:
        return await handler(request)
    except Refusal as refusal:
        detail = {"field": refusal.field, "why": refusal.detail} | (
            {"reason": refusal.reason} if refusal.reason else {}
        )
        page = await problem(request, refusal.code, at=refusal.at, **detail)
        return _at_once(page) if (refusal.code, refusal.field) == ("invalid_input", "form") else page
    except web.HTTPNotFound:
        return await problem(request, "not_found")
    except (web.HTTPRequestEntityTooLarge, web.RequestPayloadError):
        return _at_once(await problem(request, "invalid_input"))
    except web.HTTPMethodNotAllowed as error:
        response = _at_once(await problem(request, "not_found"))
        response.set_status(405)
        response.headers["Allow"] = ", ".join(sorted(error.allowed_methods))
        return response
    except (web.HTTPException, ConnectionError):
        raise  # the connection's own business: a client that left is no fault of ours, and reads no page
    except Exception as error:
        # The type and the place, never the message: it may quote what somebody typed.
        place = "".join(traceback.format_tb(error.__traceback__))
        log.error("%s on %s %s\n%s", in_log(error), request.app[SITE], request.path, place)
        code = "unavailable" if is_out_of_order(error) else "ours"
        return await problem(request, code, error=type(error).__name__)


@web.middleware
async def _same_origin(request: web.Request, handler: Handler) -> web.StreamResponse:
    """A browser sends its certificate with requests from any site (V40): only our own pages may act."""
    origins = values_of(request.raw_headers, b"origin")
    sites, hosts = (values_of(request.raw_headers, name) for name in (b"sec-fetch-site", b"host"))
    if foreign(request.method, origins, sites, hosts[0]):
        origin = b", ".join(origins).decode("ascii", "replace").replace("\ufffd", "?")
        return _at_once(await problem(request, "cross_site", origin=origin[:100]))
    return await handler(request)


def _values(request: web.Request, language: str) -> dict[str, Any]:
    gate = request.app[GATE]
    now = gate.now()
    other = "en" if language == "ja" else "ja"
    query = [(name, value) for name, value in request.query.items() if name != "lang"]
    return {
        "t": speak(language),
        "lang": language,
        # As it was asked for: decoded, "/%2Fhost" would be a link to another site.
        "switch_to": f"{request.rel_url.raw_path}?{urlencode([*query, ('lang', other)])}",
        "addressed": _is_addressed(request),
        "gate": gate,
        "role": request.app[SITE],
        "settings": gate.ra.settings,
        "origins": {str(role): origin for role, origin in gate.origins.items()},
        "there": lambda role, page="": elsewhere(request, gate.origins[Role(role)], page),
        "assets": f"/assets/{_ASSETS_VERSION}",
        "now": now,
        "browser": browser_of(request.headers),
        "qr": picture,
        "shown": shown,
        "moment": lambda at: moment(at, language),
        "shown_day": shown_day,
        "desk_open": DESK.closes_at(now) is not None,
        "desk_opens_at": DESK.opens_at(now),
        "closed_until": gate.closed_until(now),
    }


def _is_addressed(request: web.Request) -> bool:
    """Whether its address opens the page: what answers a form alone is not had in another language."""
    resource = request.match_info.route.resource
    return request.method != "POST" or any(each.method == "GET" for each in resource or ())


@cache
def _environment(package: str) -> jinja2.Environment:
    """A site's templates, compiled once in a process: they are of the version that runs, reloads or not."""
    loaders: list[jinja2.BaseLoader] = [jinja2.PackageLoader("gateway.web")]
    if package != "gateway":
        loaders.insert(0, jinja2.PackageLoader(package))
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(loaders),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters["lines"] = _lines
    environment.filters["address"] = address
    environment.filters["phrases"] = phrases
    environment.filters["serial"] = _serial
    environment.filters["in_chooser"] = serial_in_chooser
    return environment


def _serial(serial: str) -> Markup:
    """A serial with what a browser's chooser shows of it set off. Its line may end after eight digits."""
    shown_there = serial_in_chooser(serial)
    rest = serial[len(shown_there) :].upper()
    eights = Markup("").join(Markup("<wbr>{}").format(rest[at : at + 8]) for at in range(0, len(rest), 8))
    return Markup("<strong>{}</strong>{}").format(shown_there, eights)


def _lines(text: str) -> Markup:
    """Text with its line breaks as ``<br>``."""
    return Markup("<br>").join(text.split("\n"))


# -- assets: small files in memory, under a name that changes with their content ------------------

_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_ASSETS: Mapping[str, bytes] = {
    entry.name: entry.read_bytes()
    for entry in sorted((files("gateway.web") / "assets").iterdir(), key=lambda e: e.name)
    if "." + entry.name.rpartition(".")[2] in _TYPES
}
_ASSETS_VERSION = hashlib.sha256(b"".join(_ASSETS.values())).hexdigest()[:12]


async def _asset(request: web.Request) -> web.StreamResponse:
    name = request.match_info["name"]
    content = _ASSETS.get(name)
    if content is None:
        raise web.HTTPNotFound
    kind = _TYPES["." + name.rpartition(".")[2]]
    return web.Response(
        body=content,
        headers={
            "Content-Type": f"{kind}; charset=utf-8",
            "Cache-Control": "public, max-age=31536000, immutable",
        },
    )


async def _clear_page(_: web.Request) -> web.StreamResponse:
    headers, body = oversize.offered()
    return web.Response(body=body, headers=dict(headers))


async def _clear(_: web.Request) -> web.StreamResponse:
    """The button, when its request is no longer, or was never, too large."""
    headers, body = oversize.cleared()
    return web.Response(body=body, headers=dict(headers))


async def _favicon(request: web.Request) -> web.StreamResponse:
    return web.Response(
        body=_ASSETS["gate.svg"],
        headers={
            "Content-Type": "image/svg+xml",
            "Cache-Control": "public, max-age=86400",
            # The connectivity test fetches it from each site to see whether the site is reached.
            "Cross-Origin-Resource-Policy": "cross-origin",
        },
    )
