"""The operators' console on a real listener, with certificates of their own CA and passkeys that sign."""

from __future__ import annotations

import json
import re
import secrets
from base64 import urlsafe_b64decode
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec

import ca.store
from ca.profiles import Audience
from enroll import store as enrollment
from enroll.jobs import running
from enroll.jobs import store as jobs
from enroll.jobs.store import Job
from enroll.operators import actors, asking, codes, credentials
from enroll.operators import store as operators
from enroll.operators.actors import By
from enroll.operators.credentials import Issued
from enroll.operators.kinds import KINDS
from enroll.operators.roles import Act, Role, Verdict, permitted
from enroll.operators.states import State
from enroll.operators.store import Operator
from enroll.people import csvfile, register
from enroll.refusals import Refusal
from gateway.demo import standin
from gateway.demo.standin import b64, client_data, public_key, signed
from gateway.edge.tls import ClientCertificate
from gateway.sites import console
from gateway.sites.console import DOOR, ROUTES, words
from gateway.sites.console.asking import STAND_IN, party_of
from gateway.sites.console.passkeys import Party
from gateway.sites.console.reports import NAMES
from gateway.web import context, sessions
from tests.datadirs import clock_of, letter_of, next_generation, open_office
from tests.gateway.sites.kit import Page, Served, Visitor, serve
from tests.issued import ends_at
from tests.looking import look

_P12 = "Tegata2026"
DAY, MINUTE, HOUR = 86_400, 60, 3_600


@dataclass
class Person:
    """An operator at a PC: a certificate, a key that signs, and what the browser holds."""

    served: Served
    operator: Operator
    issued: Issued
    at: Visitor
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    credential: str = field(default_factory=lambda: b64(secrets.token_bytes(16)))
    code: str = field(default_factory=lambda: secrets.token_hex(8))

    @property
    def party(self) -> Party:
        return party_of(self.served.gate)

    def signed(self, options: Mapping[str, Any], **said: Any) -> str:
        key = said.pop("key", self.key)
        return signed(
            key,
            said.pop("credential", self.credential),
            said.pop("party", self.party),
            options["challenge"],
            **said,
        )

    def made(self, options: Mapping[str, Any], *, flags: int = 0x45, origin: str = "") -> str:
        """What a browser sends of a passkey that it made (WebAuthn section 6.5, format "none")."""
        identifier = urlsafe_b64decode(self.credential + "==")
        from gateway.demo.standin import authenticator_data

        data = authenticator_data(self.party, flags, 0) + bytes(16)
        data += len(identifier).to_bytes(2, "big") + identifier + public_key(self.key)
        attested = bytes.fromhex("a363666d74646e6f6e656761747453746d74a068617574684461746158") + bytes(
            [len(data)]
        )
        told = client_data("webauthn.create", options["challenge"], origin or self.party.origin)
        response = {"clientDataJSON": b64(told), "attestationObject": b64(attested + data)}
        said = {"id": self.credential, "rawId": self.credential, "type": "public-key", "response": response}
        return json.dumps(said)

    async def enrol(self, code: str = "", **said: Any) -> Page:
        """From the code to the passkey."""
        code = code or self.code
        page = await self.at.post("/enrol", {"code": code})
        if page.path != "/enrol" or not page.main.all("form", data_passkey="create"):
            return page
        fields = {"code": code, "label": "PC 1", "answer": self.made(options_of(page), **said)}
        return await self.at.post("/enrol/passkey", fields)

    async def log_in(self, **said: Any) -> Page:
        page = await self.at.get("/login")
        return await self.at.post("/login", {"answer": self.signed(options_of(page), **said), "next": "/"})

    async def confirm(self, page: Page) -> Page:
        """Uses the passkey on the page that asks for it in the middle of something."""
        (back,) = [each.attributes["href"] for each in page.main.all("a") if each.text == "実行せずに戻る"]
        assert any(_leads_to(each.path, back) for each in ROUTES if each.method == "GET"), back
        form = page.main.one("form", data_passkey="get")
        typed = {each.attributes["name"]: each.attributes["value"] for each in form.all("input")}
        typed |= {"answer": self.signed(options_of(page))}
        return await self.at.post(form.attributes["action"], typed)


def _leads_to(pattern: str, path: str) -> bool:
    """Whether a path is one of a route's, in whose pattern a name has an expression of its own."""
    return re.fullmatch(re.sub(r"\{\w+:(([^{}]|\{[0-9,]+\})+)\}", r"(?:\1)", pattern), path) is not None


def options_of(page: Page) -> Mapping[str, Any]:
    (form,) = [each for each in page.main.all("form") if "data-passkey" in each.attributes]
    found: Mapping[str, Any] = json.loads(form.attributes["data-options"])
    return found


@dataclass
class Office:
    served: Served
    people: dict[str, Person] = field(default_factory=dict)

    async def admit(self, name: str, *roles: Role, enrolled: bool = True) -> Person:
        """An operator with a certificate; ``enrolled``: with a passkey, and logged in."""
        ra = self.served.ra
        at = ra.now()
        new = Operator(0, name, f"{name}さん", "person", roles, "", "", secrets.token_hex(8), at, "test")
        added = await ra.database.write(lambda db: operators.add(db, new))
        assert added is not None
        officer = replace(
            await ra.database.read(lambda db: actors.of_account(db, "root", at, host=True)),
            by=By.HOST,
        )
        if not officer.may(Act.OPERATORS):
            by = next(p for p in self.people.values() if Role.CA_OFFICER in p.operator.roles)
            officer = await ra.database.read(
                lambda db: actors.of_operator(db, by.operator.number, By.CONSOLE)
            )
        issued = await credentials.issue(ra, officer, name, _P12)
        person = Person(self.served, added, issued, self.served.visitor(issued.p12, _P12))
        self.people[name] = person
        await self.tell_code(person)
        if enrolled:
            page = await person.enrol()
            assert page.path == "/login", page.html
            assert (await person.log_in()).path == "/"
            assert await visited(person) == 200
        return person

    async def tell_code(self, person: Person, code: str = "", life: int = DAY) -> None:
        ra = self.served.ra
        code_hash, number = codes.hashed(code or person.code), person.operator.number
        await ra.database.write(
            lambda db: operators.add_code(db, number, code_hash, ra.now(), ra.now() + life)
        )


#: Part of a path that changes -> one that is well formed.
PARTS = {
    "template": "pickup",
    "language": "ja",
    "serial": "4a",
    "kind": "pem",
    "form": "csv",
    "number": "1",
    "user_id": "K12345678",
    "policy_number": "12345678",
    "name": "expiring",
    "mark": "0" * 32,
}


def concrete(path: str) -> str:
    """A path of the table of routes, as a browser asks for it."""
    return re.sub(r"\{(\w+):.*?\}(?=[/.]|$)", lambda part: PARTS[part[1]], path)


async def visited(person: Person, path: str = "/me") -> int:
    page = await person.at.get(path)
    return page.status if page.path == path else 0


@asynccontextmanager
async def opened_office(
    tmp_path: Path, application: Callable[[context.Gate], web.Application] = console.application
) -> AsyncIterator[Office]:
    async with open_office(tmp_path, webhook_hosts=("hooks.example.jp",)) as opened:
        ra = next_generation(opened, "Operators CA", active=False, audience=Audience.OPERATORS)
        async with serve(
            ra,
            tmp_path,
            context.Role.CONSOLE,
            application,
            ClientCertificate.REQUIRE,
            refused=console.refused,
            audience=Audience.OPERATORS,
        ) as served:
            yield Office(served)


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    async with opened_office(tmp_path) as opened:
        yield opened


# -- the door --------------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_the_certificate_alone_reads_nothing(office: Office) -> None:
    """O1: whatever route is asked for, the answer is the login, and tells of nobody else; a form that was
    sent is not carried out."""
    await office.admit("officer", Role.CA_OFFICER, enrolled=False)
    await office.people["officer"].enrol()
    other = await office.admit("auditor", Role.AUDITOR, enrolled=False)
    assert (await other.at.get("/")).path == "/enrol"  # without a passkey
    assert (await other.enrol()).path == "/login"
    for route in ROUTES:
        path = concrete(route.path)
        page = await (other.at.get(path) if route.method == "GET" else other.at.post(path))
        assert (page.status, page.h1) == (200, "ログイン"), route
        assert "officer" not in page.html
    assert [(method, path) for method, path, _ in DOOR] == [
        ("GET", "/login"),
        ("POST", "/login"),
        ("GET", "/enrol"),
        ("POST", "/enrol"),
        ("POST", "/enrol/passkey"),
    ]


async def test_a_code_makes_one_passkey(office: Office) -> None:
    """O2: once, by its own operator, within its time; then certificate and passkey together log in."""
    one = await office.admit("officer", Role.CA_OFFICER, enrolled=False)
    assert (
        (await one.at.post("/enrol", {"code": "guessed"}))
        .main.one("div", role="alert")
        .text.startswith("コード")
    )
    assert (await one.enrol()).path == "/login"
    assert (await one.log_in()).path == "/"
    assert await visited(one) == 200
    again = replace(one, key=ec.generate_private_key(ec.SECP256R1()), credential=b64(secrets.token_bytes(16)))
    assert "コードが違うか" in (await again.enrol()).main.text  # used
    two = await office.admit("auditor", Role.AUDITOR, enrolled=False)
    await office.tell_code(two, "late", 10)
    clock_of(office.served.ra).advance(seconds=10)
    assert "コードが違うか" in (await two.enrol("late")).main.text
    await office.tell_code(one, "of another")
    assert "コードが違うか" in (await two.enrol("of another")).main.text
    assert await office.served.ra.database.read(lambda db: operators.passkeys(db, two.operator.number)) == []
    lines = enrollment.audit_page(look(office.served.ra.database), "officer", 10)
    assert {each["action"] for each in lines} >= {"operator.passkey-added", "operator.login"}


async def test_a_code_gives_the_certificate(office: Office) -> None:
    """O2: whoever has a code and nothing else gets the file, once; by that certificate a passkey is made,
    once, without the code; a wrong or used code gives nothing, nor does a password that no file may have."""
    first = await office.admit("officer", Role.CA_OFFICER, enrolled=False)
    nobody = office.served.visitor()
    page = await nobody.get("/enrol")
    assert (page.status, page.h1) == (200, "運用者の証明書の受け取り")
    assert page.labels() == ["登録用コード", "ファイルのパスワード", "パスワードの確認"]
    assert "登録用コードで証明書を受け取る" in (await nobody.get("/")).main.text
    typed = {"code": first.code, "password": _P12, "confirmation": "another"}
    assert "パスワード" in (await nobody.post("/enrol", typed)).error("パスワードの確認")
    wrong = await nobody.post("/enrol", typed | {"code": "guessed", "confirmation": _P12})
    assert wrong.main.one("div", role="alert").text.startswith("コードが違うか")
    got = await nobody.post("/enrol", typed | {"confirmation": _P12})
    assert (got.status, got.headers["Content-Type"]) == (200, "application/x-pkcs12")
    assert got.headers["Content-Disposition"] == 'attachment; filename="officer.p12"'
    again = await nobody.post("/enrol", typed | {"confirmation": _P12})
    assert again.main.one("div", role="alert").text.startswith("コードが違うか")

    pc = replace(first, at=office.served.visitor(got.body, _P12))
    page = await pc.at.get("/")
    assert (page.path, "コードの入力は不要です" in page.main.text) == ("/enrol", True)
    # The one made by hand does not make one, for the code is used.
    assert (await first.at.get("/enrol")).main.all("form", data_passkey="create") == []
    made = {"label": "PC", "answer": pc.made(options_of(page))}
    assert (await pc.at.post("/enrol/passkey", made)).path == "/login"
    assert (await pc.log_in()).path == "/"
    other = replace(pc, key=ec.generate_private_key(ec.SECP256R1()), credential=b64(secrets.token_bytes(16)))
    assert (await pc.at.get("/enrol")).main.all("form", data_passkey="create") == []
    assert (await other.at.post("/enrol/passkey", made)).path == "/enrol"
    lines = enrollment.audit_page(look(office.served.ra.database), "officer", 20)
    assert [each["action"] for each in lines].count("operator.code_used") == 1


async def test_what_a_code_allows_ends_with_it(office: Office) -> None:
    """After its 24 hours, or with another code, a certificate that was fetched by it makes no
    passkey."""
    one = await office.admit("officer", Role.CA_OFFICER, enrolled=False)
    typed = {"code": one.code, "password": _P12, "confirmation": _P12}
    late = office.served.visitor((await office.served.visitor().post("/enrol", typed)).body, _P12)
    assert (await late.get("/enrol")).main.all("form", data_passkey="create") != []
    await office.tell_code(one, "another")
    assert (await late.get("/enrol")).main.all("form", data_passkey="create") == []
    typed["code"] = "another"
    late = office.served.visitor((await office.served.visitor().post("/enrol", typed)).body, _P12)
    assert (await late.get("/enrol")).main.all("form", data_passkey="create") != []
    clock_of(office.served.ra).advance(seconds=DAY)
    assert (await late.get("/enrol")).main.all("form", data_passkey="create") == []


async def test_two_first_operators_and_a_third(office: Office) -> None:
    """O2, O4: whoever has the machine adds two, each with a code, and is nobody from then on; they get their
    certificates by it, and one proposes a third at the console, the other approves, and the third comes in by
    the code of the mail. Nobody has an account on the machine."""
    ra = office.served.ra

    async def root() -> actors.Actor:
        return await ra.database.read(lambda db: actors.of_account(db, "root", ra.now(), host=True))

    async def enters(name: str, code: str) -> Person:
        typed = {"code": code, "password": _P12, "confirmation": _P12}
        got = await office.served.visitor().post("/enrol", typed)
        assert got.status == 200, got.html
        operator = operators.named(look(ra.database), name)
        assert operator is not None
        at = office.served.visitor(got.body, _P12)
        person = Person(office.served, operator, Issued(operator, "", 0, got.body), at)
        made = person.made(options_of(await at.get("/enrol")))
        await at.post("/enrol/passkey", {"label": "PC", "answer": made})
        assert (await person.log_in()).path == "/"
        return person

    new = {"display": "一", "kind": "person", "language": "ja", "account": "", "mail": "a@example.jp"}
    codes_told = []
    for name, role in (("ito", "ca-officer"), ("sato", "approver")):
        added = await asking.ask(ra, await root(), "operator.add", new | {"name": name, "roles": [role]})
        assert isinstance(added, asking.Done)
        codes_told.append((name, added.result["code"]))
    assert not (await root()).may(Act.OPERATORS)
    with pytest.raises(Refusal, match="is no operator here"):
        await credentials.issue(ra, await root(), "sato", _P12)
    ito, sato = [await enters(name, code) for name, code in codes_told]

    typed = {
        "name": "suzuki",
        "display": "鈴木 三郎",
        "mail": "s@example.jp",
        "language": "ja",
        "reason": "増員",
    }
    refused = await ito.at.post("/operators/new", typed)
    assert (refused.status, refused.main.one("div", role="alert").text) == (
        422, "役割を1つ以上選択してください。",
    )  # fmt: skip
    assert refused.field("氏名").attributes["value"] == "鈴木 三郎"
    proposed = await ito.at.post("/operators/new", typed | {"role-registrar": "1"})
    assert (proposed.status, "起案しました" in proposed.main.text) == (200, True)
    assert (await sato.at.post("/operators/new", typed)).status == 403
    path = f"{proposed.path}/approve"
    assert "承認しました" in (await sato.confirm(await sato.at.post(path))).main.text
    mail = await letter_of(ra, "operator_code")
    suzuki = await enters("suzuki", mail.value("登録用コード"))
    assert await visited(suzuki, "/operators") == 403
    assert await visited(suzuki) == 200


async def test_a_code_and_an_end_are_proposed_at_the_page_of_an_operator(office: Office) -> None:
    """By one, with why, and decided by another: the code goes to the operator by mail, and of who has ended
    there is no page. What cannot be comes back with why; who may only look sees no form."""
    ra = office.served.ra
    officer = await office.admit("officer", Role.CA_OFFICER)
    sato = await office.admit("sato", Role.APPROVER)
    await office.admit("desk", Role.DESK, enrolled=False)
    listed = await officer.at.get("/operators")
    assert "/operators/desk" in {each.attributes["href"] for each in listed.main.all("a")}
    page = await sato.at.get("/operators/desk")
    assert (page.h1, page.status, "起案する" in page.buttons()) == ("deskさん desk", 200, False)
    typed = {"what": "code", "reason": "パスキーの紛失"}
    for wrong, why in (
        ({"what": ""}, "起案する操作を選択してください"),
        ({"reason": " "}, "理由を、1行"),
        ({}, "メールアドレスの登録がない"),
    ):
        page = await officer.at.post("/operators/desk", typed | wrong)
        assert (page.status, why in page.main.one("div", role="alert").text) == (422, True), page.html
    assert page.main.one("input", id="reason").attributes["value"] == typed["reason"]
    there = operators.named(look(ra.database), "desk")
    assert there is not None
    with_mail = replace(there, mail="desk@example.jp")
    assert await ra.database.write(lambda db: operators.change(db, there, with_mail))
    # Roles are others than those of today, and some.
    for chosen in ({}, {"role-desk": "1"}):
        page = await officer.at.post("/operators/desk", typed | {"what": "roles"} | chosen)
        assert "現在と違うように" in page.main.one("div", role="alert").text
    for each, status in (("code", 200), ("roles", 200), ("end", 404)):
        typed["role-auditor"] = "1"
        page = await officer.at.post("/operators/desk", typed | {"what": each})
        assert "起案しました" in page.main.text
        again = await officer.at.post("/operators/desk", typed | {"what": each})
        assert "承認を待っています" in again.main.one("div", role="alert").text
        approved = await sato.confirm(await sato.at.post(f"{page.path}/approve"))
        assert "承認しました" in approved.main.text
        page = await officer.at.get("/operators/desk")
        assert (page.status, "コード発行中" in page.main.text) == (status, status == 200)
        assert each != "roles" or dict(page.main.table())["役割"] == "監査担当"
    assert (await letter_of(ra, "operator_code")).name
    assert (await officer.at.post("/operators/desk", typed)).status == 404


@pytest.mark.parametrize(
    "said",
    [
        {"origin": "https://elsewhere.test"},
        {"party": Party("https://elsewhere.test", "x")},
        {"flags": 0x01},  # nobody was verified
        {"flags": 0x04},  # nobody was there
        {"key": ec.generate_private_key(ec.SECP256R1())},
        {"credential": b64(bytes(16))},
    ],
    ids=["origin", "party", "nobody verified", "nobody there", "key", "credential"],
)
async def test_what_is_no_login(office: Office, said: dict[str, Any]) -> None:
    """Another origin, another host's passkey, nobody verified, another key: no session, nothing is read."""
    one = await office.admit("officer", Role.CA_OFFICER, enrolled=False)
    await one.enrol()
    page = await one.log_in(**said)
    assert (page.path, page.main.all("div", role="alert")[0].text[:5]) in (
        ("/login", "パスキーを"), ("/login", "このパスキ"),
    )  # fmt: skip
    assert await visited(one) == 0
    assert (await one.log_in()).path == "/"


async def test_a_challenge_is_answered_once(office: Office) -> None:
    """An answer that somebody has seen opens nothing again, nor one that comes late, nor another page's."""
    one = await office.admit("officer", Role.CA_OFFICER, enrolled=False)
    await one.enrol()
    page = await one.at.get("/login")
    answer = one.signed(options_of(page))
    assert (await one.at.post("/login", {"answer": answer})).path == "/"
    await one.at.post("/logout")
    assert (await one.at.post("/login", {"answer": answer})).path == "/login"
    late = one.signed(options_of(await one.at.get("/login")))
    clock_of(office.served.ra).advance(seconds=5 * MINUTE)
    assert (await one.at.post("/login", {"answer": late})).path == "/login"
    # Of a node whose clock is a little ahead of the one that is answered.
    early = one.signed(options_of(await one.at.get("/login")))
    clock_of(office.served.ra).advance(seconds=-5)
    assert (await one.at.post("/login", {"answer": early})).path == "/"
    asked = options_of(await one.at.post("/me/passkeys"))
    await one.at.post("/logout")
    assert (await one.at.post("/login", {"answer": one.signed(asked)})).path == "/login"
    made_up = one.signed({"challenge": b64(bytes(32))})
    assert (await one.at.post("/login", {"answer": made_up})).path == "/login"


async def test_a_copied_key_is_noticed(office: Office) -> None:
    """Where an authenticator counts, a count that goes back is somebody else's copy."""
    one = await office.admit("officer", Role.CA_OFFICER, enrolled=False)
    await one.enrol()
    assert (await one.log_in(count=7)).path == "/"
    await one.at.post("/logout")
    assert (await one.log_in(count=7)).path == "/login"
    assert (await one.log_in(count=8)).path == "/"


async def test_another_operators_passkey(office: Office) -> None:
    """O1: certificate and passkey are of one and the same operator."""
    one = await office.admit("officer", Role.CA_OFFICER)
    two = await office.admit("auditor", Role.AUDITOR)
    await two.at.post("/logout")
    page = await two.log_in(key=one.key, credential=one.credential)
    assert (page.path, "この証明書の運用者のものではありません" in page.main.text) == ("/login", True)


@pytest.mark.parametrize(
    "answer", ["", "{", "[]", "1", "{}", "null", '{"id": 3}', "x" * 30_000, '{"response": 1}']
)
async def test_nonsense_is_no_passkey(office: Office, answer: str) -> None:
    """Whatever is sent for one: a page that says so, and no fault of ours."""
    one = await office.admit("officer", Role.CA_OFFICER, enrolled=False)
    await one.enrol()
    assert (await one.at.post("/login", {"answer": answer})).path == "/login"
    await office.tell_code(one, "another")
    await one.at.post("/enrol", {"code": "another"})
    sent = {"code": "another", "answer": answer}
    assert (await one.at.post("/enrol/passkey", sent)).path == "/enrol"


# -- sessions --------------------------------------------------------------------------------------------


async def test_how_long_a_session_lasts(office: Office) -> None:
    """O5: 15 minutes without a request, 8 hours at most."""
    one = await office.admit("officer", Role.CA_OFFICER)
    clock = clock_of(office.served.ra)
    clock.advance(seconds=15 * MINUTE - 1)
    assert await visited(one) == 200
    clock.advance(seconds=15 * MINUTE)
    assert await visited(one) == 0
    assert (await one.log_in()).path == "/"
    for _ in range(8 * 6 - 1):
        clock.advance(seconds=10 * MINUTE)
        assert await visited(one) == 200
    clock.advance(seconds=10 * MINUTE)
    assert await visited(one) == 0


async def test_a_session_is_its_certificates(office: Office) -> None:
    """O5: the cookie with another certificate, of the same operator even, opens nothing."""
    one = await office.admit("officer", Role.CA_OFFICER)
    ra = office.served.ra
    actor = await ra.database.read(lambda db: actors.of_operator(db, one.operator.number, By.CONSOLE))
    another = await credentials.issue(ra, actor, "officer", _P12)
    (cookie,) = [each for each in one.at.session.cookie_jar if each.key == "__Host-console"]
    thief = office.served.visitor(another.p12, _P12, Cookie=f"{cookie.key}={cookie.value}")
    assert (await thief.get("/me")).path == "/login"
    assert await visited(one) == 200


async def test_a_half_filled_form_survives(office: Office) -> None:
    """O5: what was sent after the session's end is not carried out, and not lost by that."""
    one = await office.admit("officer", Role.CA_OFFICER)
    clock_of(office.served.ra).advance(seconds=16 * MINUTE)
    page = await one.at.post("/me/passkeys/end", {"passkey": "kept as typed"})
    assert "入力された内容は保持しています" in page.main.text
    form = page.main.one("form")
    typed = {each.attributes["name"]: each.attributes["value"] for each in form.all("input")}
    page = await one.at.post("/login", typed | {"answer": one.signed(options_of(page))})
    form = page.main.one("form")
    assert (page.h1, form.attributes["action"]) == ("入力の続き", "/me/passkeys/end")
    typed = {each.attributes["name"]: each.attributes["value"] for each in form.all("input")}
    assert typed["passkey"] == "kept as typed"
    assert (await one.at.post("/me/passkeys/end", typed)).h1 == "パスキーで確認"


async def test_a_certificate_that_was_revoked(office: Office) -> None:
    """With the page open: the next request is refused, and the session has ended."""
    one = await office.admit("officer", Role.CA_OFFICER)
    ra = office.served.ra
    actor = await ra.database.read(lambda db: actors.of_operator(db, one.operator.number, By.CONSOLE))
    await credentials.withdraw(ra, actor, one.issued.serial, "keyCompromise")
    page = await one.at.get("/me")
    assert (page.status, page.h1) == (403, "運用者の証明書は失効しています")
    kept = ca.store.find_by_serial(look(ra.database), one.issued.serial)
    assert kept is not None
    assert (kept.status, kept.revocation_reason) == ("revoked", 1)
    with pytest.raises(Refusal, match="stranger is no operator here"):
        await credentials.withdraw(
            ra,
            await ra.database.read(lambda db: actors.of_account(db, "stranger", ra.now(), host=False)),
            one.issued.serial,
            "keyCompromise",
        )


async def test_an_operator_who_has_ended(office: Office) -> None:
    """A certificate that is good, of nobody who works here any more: a page that says so, and no session."""
    one = await office.admit("officer", Role.CA_OFFICER)
    ra = office.served.ra
    gone = replace(one.operator, ended_at=ra.now(), ended_by="test")
    assert await ra.database.write(lambda db: operators.change(db, one.operator, gone))
    page = await one.at.get("/me")
    assert (page.status, page.h1) == (403, "運用者として登録されていません")


async def test_a_role_that_was_taken_away(office: Office) -> None:
    """During what needs it: the next step is refused, and the session goes on with what is left."""
    one = await office.admit("officer", Role.CA_OFFICER)
    assert await visited(one, "/operators") == 200
    ra = office.served.ra
    less = replace(one.operator, roles=(Role.DESK,))
    assert await ra.database.write(lambda db: operators.change(db, one.operator, less))
    page = await one.at.get("/operators")
    assert (page.status, page.h1) == (403, "この操作を行う権限がありません")
    assert await visited(one) == 200


# -- what each role may ----------------------------------------------------------------------------------

#: Path of a page that is fetched -> who may see it, said a second time by hand (O3).
EVERYBODY = set(Role)
REPORTED = SEARCHING = EVERYBODY - {Role.CA_OFFICER}
_OPERATOR = "/operators/{name:[a-z][a-z0-9._-]{1,31}}"
_CERTIFICATE = "/certificates/{serial:[0-9a-fA-F]{2,40}}"
MAY_SEE = {
    "/": EVERYBODY,
    "/me": EVERYBODY,
    "/permissions": EVERYBODY,
    # Of these everybody sees what is one's own, or of an act that one may read.
    "/proposals": EVERYBODY,
    "/proposals/{number:[0-9]{1,12}}": EVERYBODY,
    "/applications": {Role.DESK, Role.REGISTRAR, Role.APPROVER, Role.AUDITOR},
    "/applications/new": {Role.DESK, Role.REGISTRAR},
    "/applications/bulk": {Role.REGISTRAR, Role.APPROVER},
    "/applications/{number:[0-9]{1,12}}": {Role.DESK, Role.REGISTRAR, Role.APPROVER, Role.AUDITOR},
    # The same of jobs.
    "/jobs": EVERYBODY,
    "/jobs/{number:[0-9]{1,12}}": EVERYBODY,
    "/imports/new": {Role.REGISTRAR},
    "/imports/checked/{mark:[0-9a-f]{32}}": {Role.REGISTRAR},
    "/imports/checked/{mark:[0-9a-f]{32}}/refused": {Role.REGISTRAR},
    "/imports/{number:[0-9]{1,12}}": EVERYBODY,
    "/imports/{number:[0-9]{1,12}}/failures": EVERYBODY,
    "/postcards": EVERYBODY - {Role.CA_OFFICER},
    "/postcards/{number:[0-9]{1,12}}": EVERYBODY - {Role.CA_OFFICER},
    "/operators": {Role.APPROVER, Role.CA_OFFICER, Role.AUDITOR},
    # The approver the own lines: test_console_audit.py.
    "/audit": {Role.APPROVER, Role.AUDITOR},
    "/emergencies": {Role.AUDITOR},
    "/reports": REPORTED,
    # Each by its name: test_console_reports.py.
    f"/reports/{{name:{NAMES}}}": REPORTED,
    "/campaigns": EVERYBODY,
    "/campaigns/new": {Role.REGISTRAR},
    "/campaigns/{number:[0-9]{1,12}}": EVERYBODY,
    "/campaigns/{number:[0-9]{1,12}}/people": EVERYBODY - {Role.CA_OFFICER},
    "/campaigns/{number:[0-9]{1,12}}/remind": {Role.REGISTRAR},
    "/campaigns/{number:[0-9]{1,12}}/end": {Role.REGISTRAR},
    "/rollover": EVERYBODY,
    "/search": EVERYBODY - {Role.CA_OFFICER},
    "/callers/{user_id:[A-Z0-9]{4,12}}": EVERYBODY - {Role.CA_OFFICER},
    "/certificates": EVERYBODY - {Role.CA_OFFICER},
    "/certificates/revoke": {Role.DESK, Role.REGISTRAR},
    _CERTIFICATE: EVERYBODY - {Role.CA_OFFICER},
    _CERTIFICATE + ".{kind:pem|der}": EVERYBODY - {Role.CA_OFFICER},
    "/ca": {Role.CA_OFFICER, Role.AUDITOR},
    "/settings": {Role.CA_OFFICER, Role.AUDITOR},
    "/operators/new": {Role.CA_OFFICER},
    _OPERATOR: {Role.CA_OFFICER, Role.APPROVER, Role.AUDITOR},
    "/templates": {Role.REGISTRAR, Role.APPROVER, Role.AUDITOR},
    "/templates/{template:[a-z0-9_]{3,40}}/{language:ja|en}": {Role.REGISTRAR, Role.APPROVER, Role.AUDITOR},
    "/templates/{template:[a-z0-9_]{3,40}}/{language:ja|en}/change": {
        Role.REGISTRAR,
        Role.APPROVER,
        Role.AUDITOR,
    },
    "/letters": EVERYBODY - {Role.CA_OFFICER},
    "/letters/bulk": {Role.DESK, Role.REGISTRAR},
    "/letters/release": {Role.DESK, Role.REGISTRAR},
    "/letters/{number:[0-9]{1,15}}": EVERYBODY - {Role.CA_OFFICER},
    # test_console_integrations.py
    "/integrations": {Role.CA_OFFICER, Role.AUDITOR},
    "/integrations/new": {Role.CA_OFFICER},
    "/integrations/deliveries": {Role.CA_OFFICER, Role.AUDITOR},
    "/integrations/webhooks/{name:[a-z][a-z0-9-]{1,31}}": {Role.CA_OFFICER, Role.AUDITOR},
    "/integrations/webhooks/{name:[a-z][a-z0-9-]{1,31}}/change": {Role.CA_OFFICER},
    "/organisations": SEARCHING,
    "/organisations/new": {Role.REGISTRAR},
    "/organisations/{policy_number:[0-9A-Z-]{3,20}}": SEARCHING,
    "/users": SEARCHING,
    "/users/new": {Role.REGISTRAR},
    "/users/{user_id:[A-Z0-9]{4,12}}": SEARCHING,
    # Files (test_console_exports.py): whole registers with people in them are not the desk's; of proposals
    # and jobs everybody has what one sees.
    **{
        f"{path}.{{form:csv|jsonl}}": {Role.REGISTRAR, Role.APPROVER, Role.AUDITOR}
        for path in (
            *("/users", "/organisations", "/certificates", "/applications", "/letters"),
            "/campaigns/{number:[0-9]{1,12}}/people",
        )
    },
    "/audit.{form:csv|jsonl}": {Role.APPROVER, Role.AUDITOR},
    **{f"/{path}.{{form:csv|jsonl}}": EVERYBODY for path in ("proposals", "jobs")},
    "/campaigns/{number:[0-9]{1,12}}.{form:csv|jsonl}": EVERYBODY,
    **{f"/reports/{name}.{{form:csv|jsonl}}": REPORTED for name in NAMES.split("|")},
}
_OF_ORGANISATIONS = "/organisations/{policy_number:[0-9A-Z-]{3,20}}"
_OF_USERS = "/users/{user_id:[A-Z0-9]{4,12}}"
#: Path of a form -> who may send it.
MAY_SEND = {
    "/audit/verify": {Role.AUDITOR},
    "/emergencies/{number:[0-9]{1,12}}": {Role.AUDITOR},
    "/organisations/new": {Role.REGISTRAR},
    **{f"{_OF_ORGANISATIONS}/{act}": {Role.REGISTRAR} for act in ("change", "disable", "enable")},
    "/users/new": {Role.REGISTRAR},
    **{f"{_OF_USERS}/{act}": {Role.REGISTRAR} for act in ("change", "disable", "enable", "release")},
    "/logout": EVERYBODY,
    "/me/sessions": EVERYBODY,
    "/me/passkeys": EVERYBODY,
    "/me/passkeys/new": EVERYBODY,
    "/me/passkeys/end": EVERYBODY,
    "/operators/new": {Role.CA_OFFICER},
    _OPERATOR: {Role.CA_OFFICER},
    "/integrations/new": {Role.CA_OFFICER},
    "/integrations/secret": {Role.CA_OFFICER},
    "/integrations/deliveries": {Role.CA_OFFICER},
    "/integrations/webhooks/{name:[a-z][a-z0-9-]{1,31}}/test": {Role.CA_OFFICER},
    "/integrations/webhooks/{name:[a-z][a-z0-9-]{1,31}}/replay": {Role.CA_OFFICER},
    "/integrations/webhooks/{name:[a-z][a-z0-9-]{1,31}}/stop": {Role.CA_OFFICER},
    "/integrations/webhooks/{name:[a-z][a-z0-9-]{1,31}}/propose": {Role.CA_OFFICER},
    "/integrations/webhooks/{name:[a-z][a-z0-9-]{1,31}}/change": {Role.CA_OFFICER},
    "/templates/{template:[a-z0-9_]{3,40}}/{language:ja|en}/change": {Role.REGISTRAR},
    "/templates/{template:[a-z0-9_]{3,40}}/{language:ja|en}/reset": {Role.REGISTRAR},
    "/templates/{template:[a-z0-9_]{3,40}}/{language:ja|en}/test": {Role.REGISTRAR, Role.APPROVER},
    "/letters/bulk": {Role.DESK, Role.REGISTRAR},
    "/letters/release": {Role.DESK, Role.REGISTRAR},
    "/letters/{number:[0-9]{1,15}}/again": {Role.DESK, Role.REGISTRAR},
    "/letters/{number:[0-9]{1,15}}/returned": {Role.DESK, Role.REGISTRAR},
    "/jobs/{number:[0-9]{1,12}}/cancel": EVERYBODY,
    "/jobs/{number:[0-9]{1,12}}/resume": EVERYBODY,
    "/imports/new": {Role.REGISTRAR},
    "/imports/checked/{mark:[0-9a-f]{32}}": {Role.REGISTRAR},
    "/imports/{number:[0-9]{1,12}}/undo": {Role.REGISTRAR},
    "/postcards": {Role.REGISTRAR},
    "/postcards/{number:[0-9]{1,12}}/fetch": {Role.REGISTRAR},
    "/postcards/{number:[0-9]{1,12}}/reprint": {Role.REGISTRAR},
    "/postcards/{number:[0-9]{1,12}}/printed": {Role.REGISTRAR},
    "/postcards/{number:[0-9]{1,12}}/cancel": {Role.REGISTRAR},
    "/proposals/{number:[0-9]{1,12}}/approve": EVERYBODY,
    "/proposals/{number:[0-9]{1,12}}/reject": EVERYBODY,
    "/proposals/{number:[0-9]{1,12}}/withdraw": EVERYBODY,
    "/applications/new": {Role.DESK, Role.REGISTRAR},
    "/applications/bulk": {Role.REGISTRAR, Role.APPROVER},
    "/applications/{number:[0-9]{1,12}}/approve": {Role.REGISTRAR, Role.APPROVER},
    "/applications/{number:[0-9]{1,12}}/reject": {Role.REGISTRAR, Role.APPROVER},
    "/campaigns/new": {Role.REGISTRAR},
    "/campaigns/{number:[0-9]{1,12}}/remind": {Role.REGISTRAR},
    "/campaigns/{number:[0-9]{1,12}}/end": {Role.REGISTRAR},
    "/callers/{user_id:[A-Z0-9]{4,12}}/note": {Role.DESK, Role.REGISTRAR},
    "/callers/{user_id:[A-Z0-9]{4,12}}/letters": {Role.DESK, Role.REGISTRAR},
    "/callers/{user_id:[A-Z0-9]{4,12}}/suspend": {Role.DESK, Role.REGISTRAR},
    "/callers/{user_id:[A-Z0-9]{4,12}}/reset": {Role.DESK, Role.REGISTRAR},
    "/ca/clock": {Role.CA_OFFICER},
    "/certificates/revoke": {Role.DESK, Role.REGISTRAR},
    _CERTIFICATE + "/revoke": {Role.DESK, Role.REGISTRAR},
    _CERTIFICATE + "/hold": {Role.DESK, Role.REGISTRAR},
    _CERTIFICATE + "/release": {Role.REGISTRAR},
}


def test_every_route_has_its_row() -> None:
    """A route that nobody has decided upon fails here; and what the table of routes says is what O3 says."""
    assert {route.path for route in ROUTES if route.method == "GET"} == set(MAY_SEE)
    assert {route.path for route in ROUTES if route.method == "POST"} == set(MAY_SEND)
    for route in ROUTES:
        said = (MAY_SEE if route.method == "GET" else MAY_SEND)[route.path]
        allowed = {r for r in Role if route.act is None or permitted([r], route.act) & route.wanted}
        assert allowed == said, route


async def test_roles_and_routes(office: Office) -> None:
    """O3, role by route: a page is shown to those whose roles allow it, and to nobody else; what one may not
    is not offered."""
    await office.admit("officer", Role.CA_OFFICER)
    for role in Role:
        person = office.people.get("officer") if role is Role.CA_OFFICER else await office.admit(role, role)
        assert person is not None
        for path, who in MAY_SEE.items():
            if "{" in path:
                continue  # of one proposal: a test of its own
            assert await visited(person, path) == (200 if role in who else 403), (role, path)
        for path, who in MAY_SEND.items():
            if role not in who:
                sent = await person.at.post(concrete(path))
                assert sent.status == 403, (role, path)
        linked = {each.attributes["href"] for each in (await person.at.get("/")).dom.one("nav").all("a")}
        assert {path for path in linked if role not in MAY_SEE[path]} == set()


async def test_whose_certificate_ends_soon(office: Office) -> None:
    """Home counts the operators and services whose last certificate ends within 30 days or has, as their list
    does, for whoever may see operators; whoever has a later one is not among them."""
    ra = office.served.ra
    officer = await office.admit("officer", Role.CA_OFFICER)
    desk = await office.admit("desk", Role.DESK)
    words = "30日以内に証明書の期限が切れる、または切れた運用者・サービス"
    assert [words, "0"] in (await officer.at.get("/")).main.table(-1)
    empty = await officer.at.get("/operators?certificate=ending")
    assert "該当する運用者・サービスはありません" in empty.main.text
    for name, days in (("gone", (-1,)), ("soon", (29,)), ("later", (31,)), ("twice", (-1, 31))):
        person = await office.admit(name, Role.REGISTRAR, enrolled=False)
        await ra.database.write(lambda db, of=person: operators.end_certificate(db, of.issued.serial, 1))  # type: ignore[misc]
        for n, each in enumerate(days):
            await ends_at(ra, person.operator, ra.now() + each * DAY, f"{name}{n}")
    home = await officer.at.get("/")
    assert [words, "2"] in home.main.table(-1)
    assert words not in (await desk.at.get("/")).main.text
    links = {a.text: a.attributes["href"] for a in home.main.all("a")}
    listed = (await officer.at.get(links[words])).main.table()
    assert [(row[1], "期限切れ" in row[4], "まもなく" in row[4]) for row in listed[1:]] == [
        ("gone", True, False), ("soon", True, True),
    ]  # fmt: skip
    assert len((await officer.at.get("/operators")).main.table()) == 1 + 6


async def test_functions_ask_by_themselves(office: Office) -> None:
    """The pages are not what keeps anybody out: the function says no to whoever may not."""
    from enroll.operators import viewing

    ra = office.served.ra
    desk = await office.admit("officer", Role.DESK, enrolled=False)
    actor = await ra.database.read(lambda db: actors.of_operator(db, desk.operator.number, By.CONSOLE))
    with pytest.raises(Refusal, match="is desk and may not do that"):
        await ra.database.read(lambda db: viewing.listed(db, ra.now(), actor))
    with pytest.raises(Refusal, match="is desk and may not do that"):
        await credentials.issue(ra, actor, "officer", _P12)
    assert Verdict.READ not in actor.may(Act.OPERATORS)


# -- what takes two --------------------------------------------------------------------------------------


async def _proposed(office: Office, by: Person, name: str = "shinjin") -> int:
    ra = office.served.ra
    actor = await ra.database.read(lambda db: actors.of_operator(db, by.operator.number, By.CONSOLE))
    payload = {"name": name, "display": "新人", "roles": ["desk"], "kind": "person", "language": "ja"}
    payload |= {"account": "", "mail": "s@example.jp"}
    found = await asking.ask(ra, actor, "operator.add", payload)
    assert isinstance(found, asking.Proposed)
    return found.number


async def test_a_decision_takes_another_person_and_a_passkey(office: Office) -> None:
    """O4: whoever proposed sees no button and gets 403; who may decides it with the passkey, once; whoever
    may not read the act finds no such proposal. The home page counts what the list has."""
    officer = await office.admit("officer", Role.CA_OFFICER)
    approver = await office.admit("approver", Role.APPROVER)
    desk = await office.admit("desk", Role.DESK)
    number = await _proposed(office, officer)
    path = f"/proposals/{number}"
    own = await officer.at.get(path)
    assert (own.status, "承認する" in own.buttons(), "取り下げる" in own.buttons()) == (200, False, True)
    refused = await officer.at.post(f"{path}/approve")
    assert (refused.status, refused.h1) == (403, "この操作を行う権限がありません")
    assert (await desk.at.get(path)).status == 404
    assert (await approver.at.get("/proposals")).main.table()[1][2] == "shinjin"
    assert ["承認待ち", "1"] in (await approver.at.get("/")).main.table(-1)
    assert ["承認待ち", "0"] in (await desk.at.get("/")).main.table(-1)
    asked = await approver.at.post(f"{path}/approve")
    assert asked.h1 == "パスキーで確認"
    assert operators.named(look(office.served.ra.database), "shinjin") is None
    done = await approver.confirm(asked)
    assert (done.path, done.main.one("div", role="status").text) == (path, "承認しました。")
    made = operators.named(look(office.served.ra.database), "shinjin")
    assert made is not None
    assert (made.roles, made.added_by) == ((Role.DESK,), "operator:approver")
    assert (await approver.at.post(f"{path}/approve")).status == 409


def test_every_proposal_and_act_has_its_words() -> None:
    """What can be proposed, and what becomes of it, is called by a name in both languages."""
    assert set(words.PROPOSALS) == set(KINDS)
    assert set(words.STATES) == {str(each) for each in State}
    assert set(words.ACTS) == set(Act)


async def test_what_is_turned_down_or_over(office: Office) -> None:
    """A rejection says why; one's own is taken back; after its days there is no button, and no decision."""
    officer = await office.admit("officer", Role.CA_OFFICER)
    approver = await office.admit("approver", Role.APPROVER)
    one, two, three = [await _proposed(office, officer, f"shinjin{n}") for n in range(3)]
    page = await approver.at.post(f"/proposals/{one}/reject", {"note": " "})
    assert "却下の理由を入力してください" in page.main.text
    page = await approver.confirm(await approver.at.post(f"/proposals/{one}/reject", {"note": "人違い"}))
    assert "人違い" in page.main.text
    assert "取り下げました" in (await officer.at.post(f"/proposals/{two}/withdraw")).main.text
    clock_of(office.served.ra).advance(days=15)
    assert (await approver.log_in()).path == "/"
    page = await approver.at.get(f"/proposals/{three}")
    assert (page.buttons()[1:], "期限切れ" in page.main.text) == ([], True)
    assert (await approver.at.post(f"/proposals/{three}/approve")).status == 409
    assert len((await approver.at.get("/proposals?state=all")).main.table()) == 1 + 3


async def test_a_role_taken_away_while_deciding(office: Office) -> None:
    """Between the passkey's question and its answer: nothing is decided."""
    officer = await office.admit("officer", Role.CA_OFFICER)
    approver = await office.admit("approver", Role.APPROVER)
    number, ra = await _proposed(office, officer), office.served.ra
    asked = await approver.at.post(f"/proposals/{number}/approve")
    less = replace(approver.operator, roles=(Role.AUDITOR,))
    assert await ra.database.write(lambda db: operators.change(db, approver.operator, less))
    assert (await approver.confirm(asked)).status == 403
    assert operators.named(look(ra.database), "shinjin") is None


# -- oneself ---------------------------------------------------------------------------------------------


async def test_own_passkeys(office: Office) -> None:
    """A further one by the present one; one may go, the last may not; each leaves its line."""
    one = await office.admit("officer", Role.CA_OFFICER)
    page = await one.confirm(await one.at.post("/me/passkeys"))
    second = replace(
        one, key=ec.generate_private_key(ec.SECP256R1()), credential=b64(secrets.token_bytes(16))
    )
    done = await one.at.post(
        "/me/passkeys/new", {"label": "USBキー", "answer": second.made(options_of(page))}
    )
    assert ("USBキー" in done.main.text, done.status) == (True, 200)
    page = await one.at.post("/me/passkeys/end", {"passkey": second.credential})
    assert (await one.confirm(page)).main.one("div", role="status").text == "パスキーを削除しました。"
    page = await one.at.post("/me/passkeys/end", {"passkey": one.credential})
    assert "最後のパスキーは削除できません" in (await one.confirm(page)).main.text
    await one.at.post("/logout")
    assert (await one.log_in(key=second.key, credential=second.credential)).path == "/login"
    assert (await one.log_in()).path == "/"


async def test_a_confirmation_is_of_one_form(office: Office) -> None:
    """What was confirmed is what is done: the same answer with something else in the form is none."""
    one = await office.admit("officer", Role.CA_OFFICER)
    page = await one.at.post("/me/passkeys/end", {"passkey": "one"})
    # In another language there is nothing at its address.
    assert page.dom.all("a", class_="language") == []
    assert len((await one.at.get("/me")).dom.all("a", class_="language")) == 1
    typed = {"passkey": "another", "answer": one.signed(options_of(page))}
    assert (await one.at.post("/me/passkeys/end", typed)).h1 == "パスキーで確認"


async def test_own_sessions(office: Office) -> None:
    """The own ones are listed, and end; nobody else's are, and challenges are none."""
    one = await office.admit("officer", Role.CA_OFFICER)
    two = await office.admit("auditor", Role.AUDITOR)
    elsewhere = replace(one, at=office.served.visitor(one.issued.p12, _P12))
    assert (await elsewhere.log_in()).path == "/"
    await one.at.get("/login")
    page = await one.at.get("/me")
    assert len(page.main.table(2)) == 1 + 2
    await one.at.post("/me/sessions", {"session": "others"})
    assert [await visited(each) for each in (one, elsewhere, two)] == [200, 0, 200]
    theirs = sessions.listed(look(office.served.ra.database), office.served.ra.now(), two.operator.identity)
    await one.at.post("/me/sessions", {"session": theirs[0]["id"]})
    assert await visited(two) == 200


async def test_a_form_of_another_page(office: Office) -> None:
    """A form without the page's own token, or from another site, is not taken."""
    one = await office.admit("officer", Role.CA_OFFICER)
    page = await one.at.post("/me/sessions", {"session": "others", "token": "made up"})
    assert (page.status, page.h1) == (403, "画面を開きなおしてください")
    foreign = await one.at.post("/me/sessions", Origin="https://evil.test", Sec_Fetch_Site="cross-site")
    assert foreign.status == 403


async def test_no_stand_in_outside_the_demo(office: Office) -> None:
    """Nothing but the demo has one: the field that asks for it means nothing."""
    one = await office.admit("officer", Role.CA_OFFICER, enrolled=False)
    await one.enrol()
    page = await one.at.get("/login")
    assert ("代用品" in page.html, STAND_IN in console.application(office.served.gate)) == (False, False)
    fields = {"stand_in": "1", "challenge": options_of(page)["challenge"]}
    assert (await one.at.post("/login", fields)).path == "/login"


async def test_the_demos_stand_in_makes_passkeys_and_uses_its_own(tmp_path: Path) -> None:
    """Whoever has a code and no authenticator gets in at a demo, says so on each page, and adds another one;
    it answers for its own alone: not for a browser's, nor does one with another seed."""
    stand_in = standin.StandIn(bytes(32))
    async with opened_office(tmp_path, lambda gate: standin.application(gate, stand_in)) as office:
        one = await office.admit("officer", Role.CA_OFFICER, enrolled=False)
        page = await one.at.post("/enrol", {"code": one.code})
        assert "デモだけにある" in page.main.text
        fields = {
            each.attributes["name"]: each.attributes.get("value", "") for each in page.main.all("input")
        }
        page = await one.at.post("/enrol/passkey", {**fields, "stand_in": "1"})
        assert (page.path, "パスキーを登録しました" in page.main.text) == ("/login", True)
        sent = {"stand_in": "1", "challenge": options_of(page)["challenge"]}
        assert (await one.at.post("/login", sent)).path == "/"
        party = party_of(office.served.gate)
        (mine,) = operators.passkeys(look(office.served.ra.database), one.operator.number)
        foreign = replace(mine, credential_id=b64(bytes(16)))
        assert stand_in.used(party, [foreign], "x") == ""
        assert json.loads(stand_in.used(party, [foreign, mine], "x"))["id"] == mine.credential_id
        assert standin.StandIn(b"other" * 6).used(party, [mine], "x") == ""


@pytest.mark.slow
async def test_filters_and_cursors_that_are_made_up(office: Office) -> None:
    """Bad input: whatever stands in the address of a page, the answer is that page, an empty one, or what is
    wrong in words; none is an accident of ours, and nobody is logged out by it."""
    one = await office.admit("officer", *Role)
    asked = 0
    for path in (path for path in MAY_SEE if not {"{", "."} & set(path)):
        forms = (await one.at.get(path)).main.all("form")
        narrowing = [each for each in forms if each.attributes.get("method") == "get"]
        fields = [each for form in narrowing for tag in ("input", "select") for each in form.all(tag)]
        wanted = {each.attributes["name"]: "\x00'--𠮷\u202e" for each in fields}
        for name, value in {**wanted, "after": "x-9", "before": "9" * 300}.items():
            page = await one.at.get(f"{path}?{urlencode({name: value})}")
            assert page.status in (200, 400, 404, 422), (path, name, page.status)
            assert (page.path, bool(page.h1)) == (path, True), (path, name)
            asked += 1
    assert asked > 100


async def test_both_languages(office: Office) -> None:
    """Each page in English, too."""
    one = await office.admit("officer", *Role)
    await one.at.get("/?lang=en")
    titles = [(await one.at.get(path)).h1 for path in MAY_SEE if not {"{", "."} & set(path)]
    assert titles == [
        "Home", "My account", "Permissions", "Proposals", "Applications", "Take an application in",
        "What became of them", "Jobs", "Import a CSV file", "Postcards", "Operators", "Audit", "Emergencies",
            "Reports",
        "Campaigns of renewal", "Begin a campaign", "Generations of the CA", "Search",
        "Certificates", "Propose to revoke many", "Authority", "Settings", "Propose an operator",
        "Templates", "Letters", "What was sent again", "Let held letters go", "Integrations",
            "Propose a webhook",
        "Deliveries of webhooks",
        "Organisations", "Add an organisation", "Users", "Add a user",
    ]  # fmt: skip


async def test_a_users_certificate(office: Office, tmp_path: Path) -> None:
    """O1: a person's certificate gets 403 here, and words of its own."""
    from cryptography.hazmat.primitives.serialization import pkcs12

    from tests.issued import issue

    leaf = await issue(office.served.ra)
    made = pkcs12.serialize_key_and_certificates(
        b"k",
        leaf.key,
        leaf.certificate,
        None,
        _encrypted(_P12),  # type: ignore[arg-type]
    )
    page = await office.served.visitor(made, _P12).get("/")
    assert (page.status, page.h1) == (403, "このサイトは運用者専用です")
    assert (await office.served.visitor().get("/")).h1 == "運用者の証明書が必要です"


def _encrypted(password: str) -> Any:
    from cryptography.hazmat.primitives.serialization import BestAvailableEncryption

    return BestAvailableEncryption(password.encode())


# -- jobs ------------------------------------------------------------------------------------------------

_ROWS = "証券番号,氏名,メールアドレス\n12345678,甲 一,a@x.jp\n99999999,=乙 二,b@x.jp\n12345678,丙 三,c@x.jp\n"


async def _import(office: Office, by: Person, decider: Person) -> int:
    """An import that was proposed and approved; the job's number."""
    ra = office.served.ra
    if enrollment.organisation(look(ra.database), "12345678") is None:
        await register.add_organisation(ra, "12345678", "霞が関商事", actor="test")
    table = csvfile.table_in(_ROWS.encode("cp932"), Path("people.csv"), csvfile.USERS)
    payload = csvfile.payload_of(table, "people.csv", {2, 3, 4}) | {"hold_letters": True, "alike": False}

    async def actor(person: Person) -> actors.Actor:
        return await ra.database.read(lambda db: actors.of_operator(db, person.operator.number, By.CONSOLE))

    found = await asking.ask(ra, await actor(by), "user.import", payload)
    assert isinstance(found, asking.Proposed)
    page = await decider.confirm(await decider.at.post(f"/proposals/{found.number}/approve"))
    assert "実行の状況を見る" in page.main.text
    done = await ra.database.read(lambda db: operators.proposal(db, found.number))
    assert done is not None
    return int(done.result["job"])


async def test_an_import_on_its_way(office: Office) -> None:
    """O11: approved it waits and is counted, done it says what became of each row, refused ones are a file as
    they came; taken back as a proposal. Whoever may not look at people finds none of it."""
    registrar = await office.admit("registrar", Role.REGISTRAR)
    approver = await office.admit("approver", Role.APPROVER)
    desk = await office.admit("desk", Role.DESK)
    number, ra = await _import(office, registrar, approver), office.served.ra
    path = f"/imports/{number}"
    assert ["実行待ち・実行中のジョブ", "1"] in (await registrar.at.get("/")).main.table(-1)
    assert ["実行待ち・実行中のジョブ", "0"] in (await desk.at.get("/")).main.table(-1)
    listed = (await registrar.at.get("/jobs")).main.table()
    assert listed[1][:5] == [str(number), "利用者の取込", "people.csv（3行）", "実行待ち", "0 / 3"]
    waits = await registrar.at.get(path)
    assert ("中止する" in waits.buttons(), "実行待ち" in waits.main.text) == (True, True)
    for place in (path, f"/jobs/{number}", f"{path}/failures"):
        assert (await desk.at.get(place)).status == 404
    assert (await desk.at.post(f"/jobs/{number}/cancel")).status == 404

    await running.work(ra, "runner")
    page = await registrar.at.get(path)
    assert ("中止する" in page.buttons(), "取込の取消を起案する" in page.buttons()) == (False, True)
    rows = page.main.table(1)
    assert [row[:2] for row in rows[1:]] == [["3", "エラー"], ["2", "登録"], ["4", "登録"]]
    assert rows[1][3].startswith("証券番号：この証券番号の団体は登録されていません")
    got = await registrar.at.get(f"{path}/failures")
    assert got.headers["Content-Disposition"] == f'attachment; filename="failures-{number}.csv"'
    lines = got.body.decode("cp932").splitlines()
    assert lines[0] == "reason,証券番号,氏名,メールアドレス"
    assert lines[1].endswith(",99999999,=乙 二,b@x.jp")
    assert (await approver.at.post(f"{path}/undo")).status == 403
    undo = await registrar.at.post(f"{path}/undo")
    assert "起案しました" in undo.main.text
    await approver.confirm(await approver.at.post(f"{undo.path}/approve"))
    await running.work(ra, "runner")
    assert enrollment.users(look(ra.database)) == []
    assert "取消済み" in (await registrar.at.get(path)).main.text
    assert (await registrar.at.get(f"/imports/{number + 1}")).status == 404  # a job, and no import
    assert (await registrar.at.get(f"/jobs/{number + 1}")).status == 200


async def test_a_job_is_cancelled_at_the_console(office: Office) -> None:
    """By who has proposed it, or may decide it: then nobody does its rows, and it is over."""
    registrar = await office.admit("registrar", Role.REGISTRAR)
    approver = await office.admit("approver", Role.APPROVER)
    auditor = await office.admit("auditor", Role.AUDITOR)
    number, ra = await _import(office, registrar, approver), office.served.ra
    seen = await auditor.at.get(f"/jobs/{number}")
    assert (seen.status, "中止する" in seen.buttons()) == (200, False)
    assert (await auditor.at.post(f"/jobs/{number}/cancel")).status == 403
    done = await registrar.at.post(f"/jobs/{number}/cancel")
    assert "中止しました" in done.main.text
    await running.work(ra, "runner")
    assert enrollment.users(look(ra.database)) == []
    assert (await registrar.at.post(f"/jobs/{number}/cancel")).status == 409
    assert (await registrar.at.post(f"/jobs/{number}/resume")).status == 409
    assert len((await registrar.at.get("/jobs")).main.all("table")) == 0
    assert (await registrar.at.get("/jobs?state=all")).main.table()[1][3] == "中止"


async def test_jobs_are_counted_on_each_page(office: Office) -> None:
    """ "N of M" is true behind the first fifty, too."""
    auditor, ra = await office.admit("auditor", Role.AUDITOR), office.served.ra
    one = Job(0, "organisation.import", "many.csv", None, "someone", "someone", "other", 0, ra.now())
    await ra.database.write(lambda db: [jobs.add(db, one, {}) for _ in range(53)])
    assert "1–50 / 53件" in (await auditor.at.get("/jobs")).main.text
    behind = (await auditor.at.get("/jobs?before=4")).main
    assert "51–53 / 53件" in behind.text
    assert [row[0] for row in behind.table()[1:]] == ["3", "2", "1"]
