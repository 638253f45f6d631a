"""Every form there is, in one table: what sending it leaves in the audit trail, and whether it asks first.

A new form fails here until it has its row.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from enroll import store
from enroll.acme import store as protocol_store
from enroll.people import applications
from enroll.ra import RegistrationAuthority
from enroll.requests import issuance
from gateway.sites import pickup
from gateway.sites.service import ROUTES
from gateway.web.context import Role
from tests.datadirs import admit, open_office
from tests.gateway.sites import members
from tests.gateway.sites.kit import Served, serve
from tests.gateway.sites.members import USER
from tests.gateway.sites.test_pickup import logged_in
from tests.gateway.sites.test_pickup import typed as certificate_form
from tests.gateway.sites.test_renewal import Scene, scene, site  # noqa: F401  fixtures
from tests.looking import look

#: Site and path as its module has it -> the action of the line that it leaves.
FORMS = {
    ("pickup", '"/login"'): "pickup.authenticated",
    ("pickup", '"/logout"'): "pickup.logout",
    ("pickup", "_PATHS.input"): "enrollment.submit",
    ("renewal", '"/application"'): "enrollment.submit",
    ("renewal", '"/certificate/{request_id:[0-9]+}"'): "p12.built",
    ("service", "/login"): "login",
    ("service", "/logout"): "logout",
    ("service", "/portal/password"): "password.changed",
    ("service", "/portal/language"): "user.changed",
    ("service", "/portal/sessions/end"): "session.ended",
    ("service", "/portal/reissue"): "application.submitted",
    ("service", "/portal/applications/{number:[0-9]{1,12}}/withdrawal"): "application.withdrawn",
    ("service", "/portal/addition"): "application.submitted",
    ("service", "/portal/members/{user_id}/mail"): "user.changed",
    ("service", "/portal/members/{user_id}/suspension"): "user.disabled",
    ("service", "/portal/members/{user_id}/credentials"): "credential.created",
    ("service", "/portal/members/{user_id}/credentials/{kid:[0-9]{1,32}}/withdrawal"): "credential.withdrawn",
    ("service", "/portal/members/{user_id}/reissue"): "application.submitted",
}
#: Forms that change nothing but what the browser shows, or what the help desk reads.
APART = {
    ("connectivity", '"/report"'): "adds to a reference number's record",
    ("revocation", "PREFIX + OCSP_PATH"): "a question about a certificate (RFC 6960), which changes nothing",
    ("service", "path"): "the table ROUTES, which is looked at by itself",
}
#: What cannot be taken back on the site itself is asked first, by a page of its own that says what comes of
#: it, or is confirmed with the password. Every other form with the reason why it is not.
ASKED = {
    "/login": "opens only",
    "/logout": "a page asks; to log in takes it back",
    "/portal/password": "the current password",
    "/portal/language": "to choose again takes it back",
    "/portal/sessions/end": "against an intruder at once; whoever it was logs in again",
    "/portal/reissue": "password",
    "/portal/applications/{number:[0-9]{1,12}}/withdrawal": "page",
    "/portal/addition": "password",
    "/portal/members/{user_id}/mail": "password",
    "/portal/members/{user_id}/suspension": "page and password",
    "/portal/members/{user_id}/credentials": "password",
    "/portal/members/{user_id}/credentials/{kid:[0-9]{1,32}}/withdrawal": "page",
    "/portal/members/{user_id}/reissue": "password",
}
_SITES = Path(pickup.__file__).parents[1]


def _forms() -> set[tuple[str, str]]:
    found = {("service", path) for method, path, _ in ROUTES if method == "POST"}
    for path in _SITES.rglob("*.py"):
        for argument in re.findall(r"add_post\(([^,]+),", path.read_text("utf-8")):
            found.add((path.parent.name, argument))
    return found


def test_every_form_has_its_row() -> None:
    """Whoever adds a form says here what it leaves in the trail."""
    assert _forms() == {*FORMS, *APART}


def _new(ra: RegistrationAuthority, seen: set[int]) -> set[str]:
    """The actions of the lines since the last look."""
    lines = [line for line in store.audit_page(look(ra.database), None, 1_000) if line["id"] not in seen]
    seen |= {line["id"] for line in lines}
    return {line["action"] for line in lines}


@pytest.fixture
async def collection(tmp_path: Path) -> AsyncIterator[Served]:
    async with (
        open_office(tmp_path) as ra,
        serve(ra, tmp_path, Role.PICKUP, pickup.application) as served,
    ):
        await admit(ra)
        yield served


async def test_forms_of_the_pickup_site(collection: Served) -> None:
    """Login, Submit and logout have their lines."""
    seen: set[int] = set()
    _new(collection.ra, seen)
    visitor, request_id = await logged_in(collection)
    assert FORMS["pickup", '"/login"'] in _new(collection.ra, seen)
    await visitor.post("/certificate", certificate_form(request_id))
    assert FORMS["pickup", "_PATHS.input"] in _new(collection.ra, seen)
    await visitor.post("/logout")
    assert _new(collection.ra, seen) == {FORMS["pickup", '"/logout"']}


async def test_forms_of_the_renewal_site(scene: Scene) -> None:  # noqa: F811
    """更新の申請 and the making of the file have their lines."""
    seen: set[int] = set()
    _new(scene.ra, seen)
    await scene.visitor.post("/application")
    assert FORMS["renewal", '"/application"'] in _new(scene.ra, seen)
    path = f"/certificate/{scene.request_id}"
    await issuance.complete(scene.ra, scene.request_id)
    _new(scene.ra, seen)
    page = await scene.visitor.post(path, certificate_form(scene.request_id))
    assert page.path == f"{path}/download"
    assert FORMS["renewal", '"/certificate/{request_id:[0-9]+}"'] in _new(scene.ra, seen)


async def test_forms_of_the_service(service: Served) -> None:
    """The portal's forms, one after the other, each with its line and none without."""
    ra, seen = service.ra, set[int]()
    initial = await members.first_password(service)
    visitor = (await members.fetched(service)).visitor(service)
    _new(ra, seen)
    await members.log_in(visitor, USER, initial)
    assert FORMS["service", "/login"] in _new(ra, seen)
    chosen = {"current": initial, "new": members.PASSWORD, "confirmation": members.PASSWORD}
    await visitor.post("/portal/password", chosen)
    assert FORMS["service", "/portal/password"] in _new(ra, seen)
    visitor.password = members.PASSWORD
    await visitor.post("/portal/language", {"language": "en"})
    assert FORMS["service", "/portal/language"] in _new(ra, seen)
    await visitor.post("/portal/reissue", {"reason": "pc_change"})
    assert FORMS["service", "/portal/reissue"] in _new(ra, seen)
    await visitor.post("/logout")
    assert FORMS["service", "/logout"] in _new(ra, seen)


async def test_forms_of_an_administrator(service: Served) -> None:
    """The same of what a 管理者 may do besides."""
    admin, ra, seen = await members.admin_at_home(service), service.ra, set[int]()
    _new(ra, seen)
    person = {"name": "年金 花子", "mail": "hanako@example.jp", "role": "member", "notice_by": "mail"}
    await admin.post("/portal/addition", person)
    assert FORMS["service", "/portal/addition"] in _new(ra, seen)
    member = f"/portal/members/{USER}"
    await admin.post(f"{member}/reissue", {"reason": "pc_change"})
    assert FORMS["service", "/portal/members/{user_id}/reissue"] in _new(ra, seen)
    await admin.post(f"{member}/credentials", {"known": "0"})
    assert FORMS["service", "/portal/members/{user_id}/credentials"] in _new(ra, seen)
    await admin.post(f"{member}/mail", {"mail": "other@example.jp"})
    assert FORMS["service", "/portal/members/{user_id}/mail"] in _new(ra, seen)
    await admin.post("/portal/applications/3/withdrawal")
    withdrawal = "/portal/applications/{number:[0-9]{1,12}}/withdrawal"
    assert FORMS["service", withdrawal] in _new(ra, seen)
    kid = next(
        row["subject"]
        for row in store.audit_page(look(ra.database), None, 50)
        if row["action"] == "credential.created"
    )
    await admin.post(f"{member}/credentials/{kid}/withdrawal")
    ended = "/portal/members/{user_id}/credentials/{kid:[0-9]{1,32}}/withdrawal"
    assert FORMS["service", ended] in _new(ra, seen)
    await admin.post(f"{member}/suspension")
    assert FORMS["service", "/portal/members/{user_id}/suspension"] in _new(ra, seen)


async def test_what_cannot_be_taken_back_is_asked_first(service: Served) -> None:
    """A page of its own at the form's address that says so, with a way back; or the password once more."""
    admin = await members.admin_at_home(service)
    await admit(service.ra, "K22222222")
    await admin.post(f"/portal/members/{USER}/credentials", {"known": "0"})
    number = str((await applications.apply_reissue(
        service.ra, USER, "pc_change", channel="online", actor=USER
    )).number)  # fmt: skip
    kid = protocol_store.credentials_of(look(service.ra.database), USER)[0].kid
    forms = {path for method, path, _ in ROUTES if method == "POST"}
    assert forms == set(ASKED)
    for path, how in ASKED.items():
        there = path.replace("{user_id}", USER).replace("{number:[0-9]{1,12}}", number)
        there = there.replace("{kid:[0-9]{1,32}}", kid)
        if how in ("page", "page and password"):
            page = await admin.get(there)
            assert (page.status, len(page.buttons())) == (200, 1), there
            assert "元に戻せません" in page.main.text, there
            assert [each for each in page.main.all("a") if "戻る" in each.text], there
        if how in ("password", "page and password"):
            page = await admin.post(there, {"password": ""})
            assert (page.status, page.error("ログインのパスワード")) == (
                422,
                "パスワードを入力してください。",
            )


async def test_ending_the_other_sessions(service: Served) -> None:
    """What ends others' logins has its line, too."""
    one, _ = await members.twice_at_home(service)
    seen: set[int] = set()
    _new(service.ra, seen)
    await one.post("/portal/sessions/end", {"session": "others"})
    assert FORMS["service", "/portal/sessions/end"] in _new(service.ra, seen)


async def test_a_refused_form_is_never_an_answer_of_its_own(service: Served) -> None:
    """A browser cannot go back to a page that answered a POST: each refusal leads to one that is fetched.

    It can be loaded again, and sends nothing.
    """
    admin = await members.admin_at_home(service)
    admin.password = "not the one"
    for method, path, _ in ROUTES:
        if method != "POST" or path in ("/portal/language", "/login", "/logout"):
            continue
        there = re.sub(r"\{number[^}]*\}+", "999", path).replace("{user_id}", USER)
        there = re.sub(r"\{kid[^}]*\}+", "999", there)
        page = await admin.post(there, {"user_id": USER, "password": "wrong"}, follow=False)
        assert page.status == 303, there
        page = await admin.get(page.headers["Location"])
        assert page.status >= 400, there
        assert page.main.all("div", role="alert"), there
        assert (await admin.get(f"{page.path}?told=bm90aGluZw")).status in (200, 404, 405), there
    before = len(store.audit_page(look(service.ra.database), None, 1_000))
    page = await admin.post("/portal/addition", {"name": "年金 花子", "mail": "x"}, follow=False)
    for _ in range(2):
        again = await admin.get(page.headers["Location"])
        assert again.field("氏名").attributes["value"] == "年金 花子"
        assert again.field("メールアドレス").attributes["value"] == "x"
    assert len(store.audit_page(look(service.ra.database), None, 1_000)) == before + 1
