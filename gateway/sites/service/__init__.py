"""The online service: login with certificate and password together, and the portal behind it (R51).

Login and portal keep to the paths below, so that an upstream can take every other one: it asks
``visitors.visitor_of`` who is calling.
"""

from __future__ import annotations

from aiohttp import web

from gateway.sites.service import applying, automation, entry, managing, members, overview, portal
from gateway.sites.service.apart import keep_apart
from gateway.sites.service.visitors import ADMIN, INITIAL, OPEN, inside
from gateway.web.context import Gate, Role
from gateway.web.pages import Handler, site_application

_CREDENTIAL = "/portal/members/{user_id}/credentials/{kid:[0-9]{1,32}}"

#: Method, path, handler. ``inside`` lets in those who are logged in; ADMIN an organisation's 管理者
#: only, INITIAL also those who still have to replace their first password.
ROUTES: tuple[tuple[str, str, Handler], ...] = (
    ("GET", "/", entry.home),
    ("GET", "/login", entry.login_form),
    ("POST", "/login", entry.log_in),
    ("GET", "/logout", entry.logout_page),
    ("POST", "/logout", entry.log_out),
    ("GET", "/portal", entry.home),
    ("GET", "/portal/", inside(portal.top)),
    ("GET", OPEN, inside(entry.open_service)),
    ("GET", "/portal/calendar.ics", inside(portal.dates)),
    ("GET", "/portal/certificates", inside(portal.certificates)),
    ("GET", "/portal/password", inside(entry.password_form, INITIAL)),
    ("POST", "/portal/password", inside(entry.change_password, INITIAL)),
    ("GET", "/portal/language", inside(entry.language_form)),
    ("POST", "/portal/language", inside(entry.change_language)),
    ("GET", "/portal/sessions", inside(portal.session_list)),
    ("POST", "/portal/sessions/end", inside(portal.end_session)),
    ("GET", "/portal/reissue", inside(applying.reissue_form)),
    ("POST", "/portal/reissue", inside(applying.apply_for_reissue)),
    ("GET", "/portal/applications", inside(applying.application_list)),
    ("GET", "/portal/applications/{number:[0-9]{1,12}}", inside(applying.application_page)),
    ("GET", "/portal/applications/{number:[0-9]{1,12}}/withdrawal", inside(managing.withdrawal_form)),
    ("POST", "/portal/applications/{number:[0-9]{1,12}}/withdrawal", inside(managing.withdraw_application)),
    ("GET", "/portal/overview", inside(overview.overview, ADMIN)),
    ("GET", "/portal/overview/members.csv", inside(overview.export, ADMIN)),
    ("GET", "/portal/addition", inside(applying.addition_form, ADMIN)),
    ("POST", "/portal/addition", inside(applying.apply_for_addition, ADMIN)),
    ("GET", "/portal/members", inside(members.member_list, ADMIN)),
    ("GET", "/portal/members/{user_id}", inside(members.member_page, ADMIN)),
    ("GET", "/portal/members/{user_id}/mail", inside(managing.mail_form, ADMIN)),
    ("POST", "/portal/members/{user_id}/mail", inside(managing.change_mail, ADMIN)),
    ("GET", "/portal/members/{user_id}/suspension", inside(managing.suspension_form, ADMIN)),
    ("POST", "/portal/members/{user_id}/suspension", inside(managing.suspend, ADMIN)),
    ("GET", "/portal/members/{user_id}/credentials", inside(automation.credential_list, ADMIN)),
    ("POST", "/portal/members/{user_id}/credentials", inside(automation.create_credential, ADMIN)),
    ("GET", _CREDENTIAL + "/withdrawal", inside(automation.withdrawal_form, ADMIN)),
    ("POST", _CREDENTIAL + "/withdrawal", inside(automation.withdraw_credential, ADMIN)),
    ("GET", "/portal/members/{user_id}/reissue", inside(applying.reissue_form, ADMIN)),
    ("POST", "/portal/members/{user_id}/reissue", inside(applying.apply_for_reissue, ADMIN)),
)


def application(gate: Gate) -> web.Application:
    """The site as an application. It must stand behind a listener that requires a certificate."""
    app = site_application(gate, Role.SERVICE, "gateway.sites.service")
    keep_apart(app, gate)
    for method, path, handler in ROUTES:
        if method == "GET":
            app.router.add_get(path, handler)
        else:
            app.router.add_post(path, handler)
    return app
