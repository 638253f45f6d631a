"""The operators' console: in by a certificate of their own and a passkey, and what each role may.

Rendered on the server; a script is needed for passkeys alone. What somebody may is asked in the functions of
`enroll.operators`, and the table below says it a second time for each route: a test compares both.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

from ca.trust import CertificateState
from enroll.exports.giving import Places
from enroll.operators.roles import Act, Verdict
from gateway.sites.console import (
    admitting,
    applications,
    audit,
    authority,
    callers,
    campaigning,
    campaigns,
    certificate,
    certificates,
    emergencies,
    entry,
    exporting,
    fetching,
    importing,
    integrations,
    jobs,
    letters,
    operating,
    organisations,
    overview,
    own,
    postcards,
    proposals,
    reports,
    rollover,
    search,
    taking,
    templating,
    users,
)
from gateway.sites.console.asking import ENROL
from gateway.sites.console.entry import at_door
from gateway.sites.console.visitors import PERMISSIONS, Inner, Reading, frame_of, inside
from gateway.sites.console.words import BY_CODE, NOT_OURS, REFUSED, STEPS
from gateway.web import uploads
from gateway.web.context import Gate, Role
from gateway.web.pages import EVERY_PATH, OWN, Handler, Own, form, noted, site_application, words_page
from gateway.web.words import CERTIFICATE

_PROPOSAL = "/proposals/{number:[0-9]{1,12}}"
_APPLICATION = "/applications/{number:[0-9]{1,12}}"
_DECIDING = Verdict.PROPOSE | Verdict.DECIDE
_ENDING = Verdict.PROPOSE | Verdict.DO
# All of it, or what one has done oneself: which of them, the function says.
_SEEING = Verdict.READ | Verdict.OWN
_POSTCARDS, _BATCH = postcards.POSTCARDS, postcards.BATCH
_REPORT = f"/reports/{{name:{reports.NAMES}}}"
_CERTIFICATE = "/certificates/{serial:[0-9a-fA-F]{2,40}}"
_CALLER = "/callers/{user_id:[A-Z0-9]{4,12}}"


@dataclass(frozen=True)
class Route:
    """A page or a form. ``act`` None: every operator's, whatever the roles."""

    method: str
    path: str
    handler: Inner
    act: Act | None = None
    wanted: Verdict = Verdict.READ
    #: How the form that is sent is read; one with a file by `uploads.fields`.
    read: Reading = form


#: Before the login: whoever has an operator's certificate. They read nothing of anybody's.
DOOR: tuple[tuple[str, str, Handler], ...] = (
    ("GET", "/login", entry.login_form),
    ("POST", "/login", entry.log_in),
    ("GET", "/enrol", entry.code_form),
    ("POST", "/enrol", entry.check_code),
    ("POST", "/enrol/passkey", entry.enrol),
)
#: Without one: whoever has a one-time code gets one, and reads nothing.
WITHOUT: tuple[tuple[str, str, Handler], ...] = (
    ("GET", "/enrol", fetching.page),
    ("POST", "/enrol", fetching.send),
)
#: Behind it: what each asks of the roles.
ROUTES: tuple[Route, ...] = (
    Route("GET", "/", overview.home, Act.STANDING),
    Route("POST", "/logout", entry.log_out),
    Route("GET", "/me", own.page),
    Route("POST", "/me/sessions", own.end_session),
    Route("POST", "/me/passkeys", own.another),
    Route("POST", "/me/passkeys/new", own.add),
    Route("POST", "/me/passkeys/end", own.end_passkey),
    Route("GET", PERMISSIONS, overview.permissions),
    Route("GET", "/proposals", proposals.listed),
    Route("GET", _PROPOSAL, proposals.page),
    Route("POST", _PROPOSAL + "/approve", proposals.approve),
    Route("POST", _PROPOSAL + "/reject", proposals.reject),
    Route("POST", _PROPOSAL + "/withdraw", proposals.withdraw),
    Route("GET", "/applications", applications.listed, Act.APPLICATIONS),
    Route("GET", "/applications/new", taking.page, Act.TAKE_IN, Verdict.DO),
    Route("POST", "/applications/new", taking.take_in, Act.TAKE_IN, Verdict.DO),
    Route("GET", "/applications/bulk", applications.outcome, Act.APPLICATIONS, _DECIDING),
    Route("POST", "/applications/bulk", applications.decide_many, Act.APPLICATIONS, _DECIDING),
    Route("GET", _APPLICATION, applications.page, Act.APPLICATIONS),
    Route("POST", _APPLICATION + "/approve", applications.approve, Act.APPLICATIONS, _DECIDING),
    Route("POST", _APPLICATION + "/reject", applications.reject, Act.APPLICATIONS, _DECIDING),
    Route("GET", jobs.JOBS, jobs.listed),
    Route("GET", jobs.JOB, jobs.page),
    Route("POST", jobs.JOB + "/cancel", jobs.cancel),
    Route("POST", jobs.JOB + "/resume", jobs.resume),
    Route("GET", importing.NEW, importing.page, Act.RECORD, Verdict.PROPOSE),
    Route("POST", importing.NEW, importing.send, Act.RECORD, Verdict.PROPOSE, uploads.fields),
    Route("GET", importing.CHECKED, importing.outcome, Act.RECORD, Verdict.PROPOSE),
    Route("POST", importing.CHECKED, importing.propose, Act.RECORD, Verdict.PROPOSE),
    Route("GET", importing.CHECKED + "/refused", importing.failures, Act.RECORD, Verdict.PROPOSE),
    Route("GET", jobs.IMPORT, jobs.page),
    Route("GET", jobs.IMPORT + "/failures", jobs.failures),
    Route("POST", jobs.IMPORT + "/undo", jobs.undo, Act.RECORD, Verdict.PROPOSE),
    Route("GET", organisations.LIST, organisations.listed, Act.SEARCH),
    Route("GET", organisations.NEW, organisations.new, Act.RECORD, Verdict.PROPOSE),
    Route("POST", organisations.NEW, organisations.add, Act.RECORD, Verdict.PROPOSE),
    Route("GET", organisations.ONE, organisations.page, Act.SEARCH),
    Route("POST", organisations.ONE + "/change", organisations.change, Act.RECORD, Verdict.PROPOSE),
    Route("POST", organisations.ONE + "/disable", organisations.disable, Act.RECORD, Verdict.PROPOSE),
    Route("POST", organisations.ONE + "/enable", organisations.enable, Act.RECORD, Verdict.PROPOSE),
    Route("GET", users.LIST, users.listed, Act.SEARCH),
    Route("GET", users.NEW, users.new, Act.RECORD, Verdict.PROPOSE),
    Route("POST", users.NEW, users.add, Act.RECORD, Verdict.PROPOSE),
    Route("GET", users.ONE, users.page, Act.SEARCH),
    Route("POST", users.ONE + "/change", users.change, Act.RECORD, Verdict.PROPOSE),
    Route("POST", users.ONE + "/disable", users.disable, Act.RECORD, Verdict.PROPOSE),
    Route("POST", users.ONE + "/enable", users.enable, Act.RECORD, Verdict.PROPOSE),
    Route("POST", users.ONE + "/release", users.release, Act.RECORD, Verdict.PROPOSE),
    Route("GET", _POSTCARDS, postcards.listed, Act.PRINT),
    Route("POST", _POSTCARDS, postcards.make, Act.PRINT, Verdict.DO),
    Route("GET", _BATCH, postcards.page, Act.PRINT),
    Route("POST", _BATCH + "/fetch", postcards.fetch, Act.PRINT, Verdict.DO),
    Route("POST", _BATCH + "/reprint", postcards.reprint, Act.PRINT, Verdict.DO),
    Route("POST", _BATCH + "/printed", postcards.printed, Act.PRINT, Verdict.DO),
    Route("POST", _BATCH + "/cancel", postcards.cancel, Act.PRINT, Verdict.DO),
    Route("GET", "/operators", overview.operator_list, Act.OPERATORS),
    Route("GET", operating.OPERATOR, operating.page, Act.OPERATORS),
    Route("POST", operating.OPERATOR, operating.propose, Act.OPERATORS, Verdict.PROPOSE),
    Route("GET", integrations.LIST, integrations.page, Act.DELIVERIES),
    Route("GET", integrations.NEW, integrations.new, Act.SETTINGS, Verdict.PROPOSE),
    Route("POST", integrations.NEW, integrations.add, Act.SETTINGS, Verdict.PROPOSE),
    Route("POST", integrations.SECRET, integrations.secret, Act.SETTINGS, Verdict.PROPOSE),
    Route("GET", integrations.DELIVERIES, integrations.deliveries, Act.DELIVERIES),
    Route("POST", integrations.DELIVERIES, integrations.replay, Act.DELIVERIES, Verdict.DO),
    Route("GET", integrations.ENDPOINT, integrations.one, Act.DELIVERIES),
    Route("POST", integrations.ENDPOINT + "/test", integrations.test, Act.DELIVERIES, Verdict.DO),
    Route("POST", integrations.ENDPOINT + "/replay", integrations.replay_dead, Act.DELIVERIES, Verdict.DO),
    Route("POST", integrations.ENDPOINT + "/stop", integrations.stop, Act.DELIVERIES, Verdict.DO),
    Route("GET", integrations.ENDPOINT + "/change", integrations.change, Act.SETTINGS, Verdict.PROPOSE),
    Route(
        *("POST", integrations.ENDPOINT + "/change", integrations.propose_change),
        *(Act.SETTINGS, Verdict.PROPOSE),
    ),
    Route("POST", integrations.ENDPOINT + "/propose", integrations.propose, Act.SETTINGS, Verdict.PROPOSE),
    Route("GET", "/audit", audit.page, Act.AUDIT, _SEEING),
    Route("POST", "/audit/verify", audit.verify, Act.AUDIT),
    Route("GET", emergencies.LIST, emergencies.listed, Act.AUDIT),
    Route("POST", emergencies.REVIEW, emergencies.review, Act.AUDIT, Verdict.DO),
    Route("GET", "/reports", reports.listed, Act.REPORTS),
    Route("GET", _REPORT, reports.page, Act.REPORTS),
    Route("GET", campaigns.CAMPAIGNS, campaigns.listed, Act.CAMPAIGNS),
    Route("GET", campaigning.NEW, campaigning.new, Act.CAMPAIGNS, Verdict.DO),
    Route("POST", campaigning.NEW, campaigning.begin, Act.CAMPAIGNS, Verdict.DO),
    Route("GET", campaigns.CAMPAIGN, campaigns.page, Act.CAMPAIGNS),
    Route("GET", campaigns.CAMPAIGN + "/people", campaigns.people, Act.SEARCH),
    Route("GET", campaigns.CAMPAIGN + "/remind", campaigning.reminder, Act.CAMPAIGNS, Verdict.DO),
    Route("POST", campaigns.CAMPAIGN + "/remind", campaigning.remind, Act.CAMPAIGNS, Verdict.DO),
    Route("GET", campaigns.CAMPAIGN + "/end", campaigning.ending, Act.CAMPAIGNS, Verdict.DO),
    Route("POST", campaigns.CAMPAIGN + "/end", campaigning.end, Act.CAMPAIGNS, Verdict.DO),
    Route("GET", "/rollover", rollover.page, Act.CAMPAIGNS),
    Route("GET", "/search", search.page, Act.SEARCH),
    Route("GET", _CALLER, callers.page, Act.SEARCH),
    Route("POST", _CALLER + "/note", callers.note, Act.CALL, Verdict.DO),
    Route("POST", _CALLER + "/letters", callers.send_again, Act.CALL, Verdict.DO),
    Route("POST", _CALLER + "/suspend", callers.suspend, Act.SUSPEND, Verdict.DO),
    Route("POST", _CALLER + "/reset", callers.reset, Act.RESET_PASSWORD, Verdict.DO | Verdict.PROPOSE),
    Route("GET", letters.LIST, letters.listed, Act.SEARCH),
    Route("GET", letters.OUTCOME, letters.outcome, Act.CALL, Verdict.DO),
    Route("POST", letters.OUTCOME, letters.send_many, Act.CALL, Verdict.DO),
    Route("GET", letters.RELEASE, letters.held, Act.CALL, Verdict.DO),
    Route("POST", letters.RELEASE, letters.release, Act.CALL, Verdict.DO),
    Route("GET", letters.LETTER, letters.page, Act.SEARCH),
    Route("POST", letters.LETTER + "/again", letters.send_again, Act.CALL, Verdict.DO),
    Route("POST", letters.LETTER + "/returned", letters.returned, Act.CALL, Verdict.DO),
    Route("GET", templating.LIST, templating.listed, Act.TEMPLATES),
    Route("GET", templating.TEMPLATE, templating.page, Act.TEMPLATES),
    # Where the language is switched, or the address opened, of the page that answered the form.
    Route("GET", templating.TEMPLATE + "/change", templating.page, Act.TEMPLATES),
    Route("POST", templating.TEMPLATE + "/change", templating.change, Act.TEMPLATES, Verdict.PROPOSE),
    Route("POST", templating.TEMPLATE + "/reset", templating.reset, Act.TEMPLATES, Verdict.PROPOSE),
    Route("POST", templating.TEMPLATE + "/test", templating.test, Act.TEMPLATES, _DECIDING),
    Route("GET", certificates.LIST, certificates.listed, Act.SEARCH),
    Route("GET", certificates.MANY, certificates.many, Act.REVOKE_MANY, Verdict.PROPOSE),
    Route("POST", certificates.MANY, certificates.revoke_many, Act.REVOKE_MANY, Verdict.PROPOSE),
    Route("GET", _CERTIFICATE, certificate.page, Act.SEARCH),
    Route("GET", f"{_CERTIFICATE}.{{kind:{'|'.join(certificate.FORMS)}}}", certificate.download, Act.SEARCH),
    Route("POST", _CERTIFICATE + "/revoke", certificate.revoke, Act.REVOKE, _ENDING),
    Route("POST", _CERTIFICATE + "/hold", certificate.hold, Act.SUSPEND, Verdict.DO),
    Route("POST", _CERTIFICATE + "/release", certificate.release, Act.RECORD, Verdict.PROPOSE),
    Route("GET", authority.CA, authority.page, Act.CA),
    Route("POST", authority.CLOCK, authority.confirm_clock, Act.SETTINGS, Verdict.PROPOSE),
    Route("GET", authority.SETTINGS, authority.settings, Act.SETTINGS),
    Route("GET", admitting.NEW, admitting.page, Act.OPERATORS, Verdict.PROPOSE),
    Route("POST", admitting.NEW, admitting.propose, Act.OPERATORS, Verdict.PROPOSE),
    *(
        Route("GET", exporting.path_of(each), exporting.giver(name), each.table.act, each.table.wanted)
        for name, each in exporting.OFFERED.items()
    ),
)


def application(gate: Gate) -> web.Application:
    """The site as an application. It must stand behind a listener that requires an operator's certificate."""
    app = _site(gate)
    app[importing.LOOKING] = asyncio.Lock()
    app[exporting.PLACES] = Places()
    for method, path, handler in DOOR:
        app.router.add_route(method, path, at_door(handler))
    for route in ROUTES:
        app.router.add_route(
            route.method, route.path, inside(route.handler, route.act, route.wanted, route.read)
        )
    return app


def refused(gate: Gate) -> Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]:
    """What the console shows to those without a good operator's certificate. An application of its own."""
    app = _site(gate)

    async def explain(request: web.Request) -> web.StreamResponse:
        rejection, state, reference = await noted(request, Role.CONSOLE)
        if state is CertificateState.UNASKED:
            return words_page(request, CERTIFICATE[state], reference=reference)
        words = REFUSED.get(state, NOT_OURS)
        ways = [(ENROL, BY_CODE)]
        return words_page(request, words, reference=reference, rejection=rejection, first=ways)

    for method, path, handler in WITHOUT:
        app.router.add_route(method, path, handler)
    app.router.add_route("*", EVERY_PATH, explain)
    app.freeze()
    return app._handle  # type: ignore[return-value]


def _site(gate: Gate) -> web.Application:
    app = site_application(gate, Role.CONSOLE, "gateway.sites.console")
    app[OWN] = Own(frame_of, STEPS)
    return app
