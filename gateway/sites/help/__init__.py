"""The help: the manual's guidance per browser, the hosts to allow, our CA certificates, whom to call.

Public, asks for nothing, keeps nothing. One page per topic, each in Japanese and in English.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from aiohttp import web
from markupsafe import Markup

from enroll import generations
from enroll.refusals import Refusal
from gateway.sites import revocation
from gateway.sites.help import lists
from gateway.sites.help.handouts import HANDOUTS, facts_of, policies
from gateway.sites.help.publications import certificates_of, chain_pem, hosts_of, slug_of
from gateway.sites.help.searching import LONGEST, Index, sections_of
from gateway.sites.help.topics import TOPICS, Topic, browsers_for
from gateway.web import pages
from gateway.web.browsers import browser_of
from gateway.web.context import Gate, Role

_SEARCHED: web.AppKey[dict[str, Index]] = web.AppKey("searched", dict)
_NAMES = re.compile(r'\b(id|aria-labelledby)="([^"]+)"')
_PAGES = "|".join(topic.slug for topic in TOPICS)
_WITHIN = re.compile(rf'href="(?:/({_PAGES}))?(?:#([^"]+))?"')
_HANDOUTS = {each.name: each for each in HANDOUTS}
#: What is looked for often; a test holds that each is found.
_EXAMPLES = {
    "ja": ("パスワードを忘れた", "メールが届かない", "更新"),
    "en": ("forgot password", "no email", "renewal"),
}
_BY_SLUG = {topic.slug: topic for topic in TOPICS}


def application(gate: Gate) -> web.Application:
    """The help site. ``/hosts.txt`` and ``/ca/`` are for programs, everything else is for people."""
    app = pages.site_application(gate, Role.HELP, "gateway.sites.help")
    app[_SEARCHED] = {}
    app.router.add_get("/", _contents)
    app.router.add_get("/hosts.txt", _hosts)
    app.router.add_get("/handouts/{name:[a-z.-]+}", _handout)
    app.router.add_get("/ca/chain.pem", _chain)
    app.router.add_get("/ca/{slug:[a-z]+-[0-9a-f]{12}}.{form:pem|cer}", _certificate)
    app.router.add_get("/ca/{slug:[a-z]+-[0-9a-f]{12}}.crl", _revoked)
    app.router.add_get("/search", _search)
    publications = revocation.Publications(gate.ra, gate.answers)
    app[lists.KNOWN] = publications.known
    revocation.mount(app, publications)
    app.router.add_get("/print", _print)
    app.router.add_get("/{topic:[a-z]+}", _topic)
    return app


async def _contents(request: web.Request) -> web.StreamResponse:
    return _page(request, "contents.html", None)


async def _topic(request: web.Request) -> web.StreamResponse:
    topic = _BY_SLUG.get(request.match_info["topic"])
    if topic is None:
        raise Refusal("not_found")
    return _page(request, f"{pages.language_of(request)}/{topic.slug}.html", topic)


async def _search(request: web.Request) -> web.StreamResponse:
    """The sections that tell most of what was asked; an empty search shows the form."""
    wanted = request.query.get("q", "").strip()[:LONGEST]
    found = _index(request).search(wanted) if wanted else []
    return _page(
        request,
        "search.html",
        None,
        wanted=wanted,
        found=found,
        examples=_EXAMPLES[pages.language_of(request)],
    )


async def _print(request: web.Request) -> web.StreamResponse:
    """Every page in one, to be printed or kept: the links within it lead within it."""
    chapters = [(topic, _apart(topic.slug, main)) for topic, main in _mains(request)]
    return _page(request, "print.html", None, chapters=chapters)


def _index(request: web.Request) -> Index:
    """What is searched, in the visitor's language; made of the pages once for each language."""
    kept, language = request.app[_SEARCHED], pages.language_of(request)
    # Kept for whoever comes next, so nobody's browser is marked in them.
    nobodys = {"browser": browser_of({}), "browsers": browsers_for(browser_of({}).family)}
    if language not in kept:
        speak = pages.speak(language)
        kept[language] = Index(
            section
            for topic, main in _mains(request, **nobodys)
            for section in sections_of(topic.slug, speak(*topic.title), main)
        )
    return kept[language]


def _mains(request: web.Request, **more: Any) -> Iterator[tuple[Topic, str]]:
    """Each page's own part, as HTML without its heading. ``more``: values of the templates in another way."""
    for topic in TOPICS:
        template = f"{pages.language_of(request)}/{topic.slug}.html"
        text = _page(request, template, topic, **more).text or ""
        yield topic, text.partition('<main id="main">')[2].partition("</main>")[0].partition("</h1>")[2]


def _apart(slug: str, main: str) -> Markup:
    """A page's own part with ids that no other page has."""
    named = _NAMES.sub(rf'\1="{slug}-\2"', main)
    within = _WITHIN.sub(lambda link: f'href="#{link[1] or slug}{"-" + link[2] if link[2] else ""}"', named)
    # Ours, from our own templates, which escaped what was put into them.
    return Markup(within)  # noqa: S704


def _page(request: web.Request, template: str, topic: Topic | None, **more: Any) -> web.Response:
    gate = request.app[pages.GATE]
    browser = browser_of(request.headers)
    certificates = certificates_of(gate.ra)
    values: dict[str, Any] = {
        "topics": TOPICS,
        "topic": topic,
        "browser": browser,
        "browsers": browsers_for(browser.family),
        "hosts": hosts_of(gate),
        "handouts": HANDOUTS,
        "policies": policies(facts_of(gate)),
        "certificates": certificates,
        "issuer_name": generations.told(gate.ra).common_name,
        "root": next((each for each in certificates if each.is_root), None),
    }
    return pages.render(request, template, headers={"Vary": "User-Agent, Cookie"}, **(values | more))


async def _hosts(request: web.Request) -> web.StreamResponse:
    """All hosts on one line, to be pasted into a proxy's or firewall's list (R5)."""
    names = " ".join(host.short for host in hosts_of(request.app[pages.GATE]))
    return web.Response(text=names + "\n", content_type="text/plain", charset="utf-8")


async def _handout(request: web.Request) -> web.StreamResponse:
    """A file for an organisation's administrator, made of the settings in force."""
    found = _HANDOUTS.get(request.match_info["name"])
    if found is None:
        raise Refusal("not_found")
    return _file(found.make(facts_of(request.app[pages.GATE])), found.kind, found.name)


async def _chain(request: web.Request) -> web.StreamResponse:
    certificates = certificates_of(request.app[pages.GATE].ra)
    return _file(chain_pem(certificates), "application/pem-certificate-chain", "chain.pem")


async def _certificate(request: web.Request) -> web.StreamResponse:
    slug, form = request.match_info["slug"], request.match_info["form"]
    for each in certificates_of(request.app[pages.GATE].ra):
        if each.slug == slug:
            if form == "pem":
                return _file(each.pem, "application/pem-certificate-chain", f"{slug}.pem")
            # RFC 2585 section 4.1: one DER certificate.
            return _file(each.der, "application/pkix-cert", f"{slug}.cer")
    raise Refusal("not_found")


async def _revoked(request: web.Request) -> web.StreamResponse:
    slug, ra = request.match_info["slug"], request.app[pages.GATE].ra
    for issuer in ra.authority.issuers:
        if slug_of(issuer.der) == slug:
            return await lists.answer(request, ra, issuer, f"{slug}.crl")
    raise Refusal("not_found")


def _file(content: bytes, kind: str, name: str) -> web.Response:
    disposition = f'attachment; filename="{name}"'
    return web.Response(body=content, headers={"Content-Type": kind, "Content-Disposition": disposition})
