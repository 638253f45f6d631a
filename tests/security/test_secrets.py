"""Where something goes wrong, log and pages say what and where, and no secret that was at hand.

Whoever reads a log is no one who may log in: passwords, keys, files under a password, tokens and letters are
in no record of any logger, in none of the forms in which a log is written, and on no page but those whose
purpose they are. Exceptions quote what they were given: here every one of them does.
"""

from __future__ import annotations

import ast
import base64
import errno
import json
import logging
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from ca import datadir
from ca.epochs import Place
from ca.errors import ConfigError
from ca.storage import StorageError, StorageTrouble, in_log
from ca.workers import Workers
from enroll.mail.delivery import deliver_due
from enroll.mail.smtp import Smtp
from enroll.mail.transport import Outbox, Refused
from enroll.requests import issuance
from enroll.requests.store import FILE, KEY
from gateway.running.journal import TracesOnly, event_of
from gateway.serving.config import FILE_NAME
from gateway.sites import pickup
from gateway.web import sessions
from gateway.web.context import Role
from tests.cli.conftest import Shell
from tests.datadirs import CHEAP, PASSPHRASE, START, admit, letter_of, open_office
from tests.enroll.acme.acme_world import Client, world
from tests.enroll.test_delivery import Server
from tests.gateway import conftest as listeners
from tests.gateway.conftest import Pki, Serve
from tests.gateway.proxy import conftest as proxies
from tests.gateway.proxy.conftest import Stand
from tests.gateway.rawtls import connect
from tests.gateway.samples import open_site
from tests.gateway.sites.kit import Page, Served, Visitor
from tests.gateway.sites.kit import serve as serve_site
from tests.gateway.sites.members import PASSWORD, USER, established, log_in, online_service
from tests.looking import look, rows
from tests.mailserver import MailServer

pki, serve, stand = listeners.pki, listeners.serve, proxies.stand


@dataclass
class Heard(logging.Handler):
    """Every record of every logger from debug on, in each of the forms in which a log is written."""

    texts: list[str] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(logging.NOTSET)

    def __hash__(self) -> int:
        return id(self)

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())
        self.texts += [
            json.dumps(event_of(record), ensure_ascii=False),
            TracesOnly("%(message)s").format(record),
        ]

    def tells(self, *secrets: str | bytes) -> list[str]:
        """The forms of secrets that stand in it."""
        return told(self.texts, *secrets)


def told(texts: list[str], *secrets: str | bytes) -> list[str]:
    """The forms of secrets that stand in one of the texts; bytes in any of the ways in which they are shown,
    be it a piece only."""
    assert all(len(secret) >= 6 for secret in secrets), "too short to be looked for"
    forms = [form for secret in secrets for form in _forms(secret)]
    return [form for form in forms if any(form in text for text in texts)]


def _forms(secret: str | bytes) -> Iterator[str]:
    if isinstance(secret, str):
        yield secret
        yield base64.b64encode(secret.encode()).decode()
        return
    for at in range(0, max(1, len(secret) - 24), 24):
        piece = secret[at : at + 24]
        shown = repr(piece)[2:-1]
        # In a line of JSON each backslash is two.
        yield from (piece.hex(), piece.hex().upper(), shown, shown.replace("\\", "\\\\"))
        yield base64.b64encode(piece).decode().rstrip("=")
        yield base64.urlsafe_b64encode(piece).decode().rstrip("=")


@pytest.fixture
def heard() -> Iterator[Heard]:
    handler, root = Heard(), logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield handler
    finally:
        root.removeHandler(handler)
        root.setLevel(before)


@pytest.mark.parametrize("secret", ["Tegata2026x", bytes(range(180, 250))])
def test_a_secret_in_the_log_would_be_found(heard: Heard, secret: str | bytes) -> None:
    """The twin of all that follow: what is logged as it is, hexadecimal, in base64 or in part, is found."""
    for shown in (secret, [secret]):
        heard.texts.clear()
        logging.getLogger("sekisho.test").debug("quoted: %r", shown)
        assert len(heard.texts) == 2
        for text in heard.texts:
            assert told([text], secret)
    data = secret.encode() if isinstance(secret, str) else secret
    logging.getLogger("sekisho.test").debug("quoted: %s", base64.b64encode(data).decode())
    assert heard.tells(secret)


# -- what quotes ---------------------------------------------------------------------------------------


class Quoting(Workers):
    """Workers that fail at everything, and say at what."""

    def __init__(self) -> None:
        super().__init__(processes=1)

    async def run(self, fn: Any, *args: Any, **more: Any) -> Any:
        raise RuntimeError(f"{fn.__name__} failed: {args!r} {more!r}")

    async def run_in_thread(self, fn: Any, *args: Any, **more: Any) -> Any:
        raise RuntimeError(f"{fn.__name__} failed: {args!r} {more!r}")


class Opening:
    """A vault, or keys of epochs, that cannot give out what is opened for a purpose, and says what it was."""

    def __init__(self, vault: Any, purpose: str | Place) -> None:
        self._vault, self._purpose = vault, purpose
        self.opened: list[bytes] = []

    def open(self, purpose: str | Place, *which: Any) -> bytes:
        content: bytes = self._vault.open(purpose, *which)
        if purpose != self._purpose:
            return content
        self.opened.append(content)
        raise RuntimeError(f"{purpose}: {self.opened[-1]!r} is of no use")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._vault, name)


@pytest.fixture
def quoting() -> Iterator[Quoting]:
    workers = Quoting()
    yield workers
    workers.close()


# -- pages ---------------------------------------------------------------------------------------------


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Served]:
    async with (
        open_office(tmp_path) as ra,
        serve_site(ra, tmp_path, Role.PICKUP, pickup.application) as served,
    ):
        await admit(ra)
        yield served


def broken(served: Served, **parts: Any) -> None:
    """The same site with parts of the registration authority exchanged."""
    object.__setattr__(served.gate, "ra", replace(served.ra, **parts))


def is_ours(page: Page) -> None:
    """Our own fault: said in both languages' words, with a number, and nothing of what it was."""
    assert (page.status, page.h1) == (500, "処理できませんでした")
    assert re.search("照会番号：[0-9A-Z]{4}-[0-9A-Z]{4}", page.main.text)


async def _logged_in(site: Served) -> tuple[Visitor, str, str]:
    letter = await letter_of(site.ra, "pickup")
    password, request_id = letter.value("証明書発行用パスワード"), letter.value("リクエストID")
    visitor = site.visitor()
    assert (await visitor.post("/login", {"user_id": USER, "password": password})).path == "/menu"
    return visitor, password, request_id


async def test_an_accident_on_a_page_tells_no_secret(site: Served, heard: Heard, quoting: Quoting) -> None:
    """The issue password while it is checked; key, password and chain of a PKCS#12 while it is made."""
    visitor, password, request_id = await _logged_in(site)
    chosen = "Chosen0815secret"
    fields = {"request_id": request_id, "password": chosen, "confirmation": chosen, "form": "standard"}
    await issuance.submit(site.ra, request_id, actor=USER)
    await issuance.complete(site.ra, request_id)
    token = next(each.value for each in visitor.session.cookie_jar if each.key == "__Host-pickup")
    heard.texts.clear()
    broken(site, workers=quoting)
    pages = [
        await visitor.post("/certificate", fields),
        await site.visitor().post("/login", {"user_id": USER, "password": password}),
        await site.visitor().post("/login?lang=en", {"user_id": USER, "password": chosen}),
    ]
    for page in pages[:2]:
        is_ours(page)
    assert sum("RuntimeError" in message for message in heard.messages) == len(pages)
    texts = [page.html for page in pages]
    assert heard.tells(password, chosen, token) == []
    assert told(texts, password, chosen, token) == []


async def test_an_accident_with_a_key_tells_no_secret(site: Served, heard: Heard) -> None:
    """The private key, opened to be put into the file, stands neither in the log nor on the page."""
    visitor, _, request_id = await _logged_in(site)
    await issuance.submit(site.ra, request_id, actor=USER)
    await issuance.complete(site.ra, request_id)
    epochs = Opening(site.ra.epochs, KEY)
    broken(site, epochs=epochs)
    fields = {"request_id": request_id, "password": "abcdef1", "confirmation": "abcdef1", "form": "standard"}
    page = await visitor.post("/certificate", fields)
    is_ours(page)
    (key,) = epochs.opened
    assert len(key) > 100
    assert (heard.tells(key), told([page.html], key)) == ([], [])
    assert any("RuntimeError" in message for message in heard.messages)


async def test_a_file_that_cannot_be_handed_over_tells_no_secret(site: Served, heard: Heard) -> None:
    """The PKCS#12 that waits sealed for its button, and its password, while it is opened."""
    visitor, _, request_id = await _logged_in(site)
    fields = {"request_id": request_id, "password": "abcdef1", "confirmation": "abcdef1", "form": "standard"}
    assert (await visitor.post("/certificate", fields)).path == "/certificate/download"
    epochs = Opening(site.ra.epochs, FILE)
    broken(site, epochs=epochs)
    page = await visitor.get("/download")
    is_ours(page)
    (file,) = epochs.opened
    assert len(file) > 1_000
    assert (heard.tells(file, "abcdef1"), told([page.html], file, "abcdef1")) == ([], [])


async def test_what_is_refused_is_not_repeated(tmp_path: Path, heard: Heard) -> None:
    """Wrong, weak and unequal passwords, in every form of the service that asks for one: on no page, in no
    line, and in no reference that the desk reads."""
    async with online_service(tmp_path) as service:
        await admit(service.ra, USER)
        visitor = (await established(service)).visitor(service)
        names = ("login", "stepup", "current", "new", "again", "user")
        typed = {name: f"typed-{name}-0815" for name in names}
        pages = [
            await log_in(visitor, USER, typed["login"]),
            await log_in(visitor, typed["user"], PASSWORD),
        ]
        assert (await log_in(visitor)).path == "/portal/"
        wrong = {"current": typed["current"], "new": typed["new"], "confirmation": typed["again"]}
        pages += [
            await visitor.post("/portal/password", wrong),
            await visitor.post("/portal/password", {**wrong, "current": PASSWORD}),
            await visitor.post(
                "/portal/password", {"current": PASSWORD, "new": "weak-weak", "confirmation": "weak-weak"}
            ),
            await visitor.post("/portal/reissue", {"reason": "pc_change", "password": typed["stepup"]}),
        ]
        assert {page.status for page in pages} <= {403, 422}
        texts = [page.html for page in pages]
        secrets = [*(value for name, value in typed.items() if name != "user"), "weak-weak"]
        assert told(texts, *secrets, PASSWORD) == []
        # What stands where a user ID belongs is shown to whoever typed it, and kept nowhere.
        assert heard.tells(*secrets, typed["user"], PASSWORD) == []
        db = look(service.ra.database)
        kept = [
            str(row) for name in ("audit", "desk_references") for row in rows(db, f"SELECT * FROM {name}")
        ]
        assert told(kept, *secrets, typed["user"], PASSWORD) == []


async def test_a_session_stands_nowhere_as_it_is(site: Served, heard: Heard) -> None:
    """Who reads the database, or the log, cannot log in with it: tokens are hashed."""
    visitor, password, _ = await _logged_in(site)
    token = next(each.value for each in visitor.session.cookie_jar if each.key == "__Host-pickup")
    db = look(site.ra.database)
    assert len(sessions.listed(db, site.ra.now())) == 1
    kept = [str(row) for row in rows(db, "SELECT * FROM sessions")]
    assert told(kept, token, password) == []
    assert heard.tells(token, password) == []


async def test_an_accident_below_the_pages_tells_no_secret(serve: Serve, pki: Pki, heard: Heard) -> None:
    """What no page catches ends the request with 500: its trace is in the log, and its words are not."""

    async def broken(_: web.BaseRequest) -> web.Response:
        raise RuntimeError("the password was Secret0815") from ValueError("and before it Secret4711")

    running = await serve(open_site(pki, handler=broken))
    async with connect(running.port, b"enroll.test") as client:
        answer = await client.get(b"enroll.test")
    assert answer.status == 500
    assert heard.tells("Secret0815", "Secret4711") == []
    assert told([answer.text], "Secret0815", "Secret4711") == []
    assert any("RuntimeError" in text and "broken" in text for text in heard.texts)


async def test_an_accident_of_the_relay_tells_no_secret(stand: Stand, pki: Pki, heard: Heard) -> None:
    """Who calls could not be found out: the same where an upstream stands behind."""

    async def find(_: object) -> Any:
        raise RuntimeError("the cookie was Secret0815")

    front = await stand("http://127.0.0.1:9", certificate=find)
    async with connect(front.port, b"login.test", certificate=pki.client) as client:
        answer = await client.get(b"login.test", b"/a")
    assert answer.status == 500
    assert (heard.tells("Secret0815"), told([answer.text], "Secret0815")) == ([], [])
    assert any("RuntimeError" in text for text in heard.texts)


# -- the protocol --------------------------------------------------------------------------------------


async def test_an_accident_of_the_protocol_tells_no_secret(tmp_path: Path, heard: Heard) -> None:
    """The key of a credential, opened to check a binding: the client learns that it may try again."""
    async with world(tmp_path) as site:
        credential = await site.credential()
        client = Client(site)
        binding = client.binding(credential)
        vault = Opening(site.ra.vault, "eab")
        object.__setattr__(site.server, "ra", replace(site.ra, vault=vault))
        reply = await client.post(site.to("newAccount"), {"externalAccountBinding": binding}, by_key=True)
    assert reply.problem == (500, "serverInternal")
    assert vault.opened == [credential.hmac_key]
    assert (heard.tells(credential.hmac_key), told([reply.body.decode()], credential.hmac_key)) == ([], [])
    assert any("RuntimeError" in text for text in heard.texts)


# -- letters -------------------------------------------------------------------------------------------


class Refusing(Server):  # type: ignore[misc]
    """Says no by repeating the letter."""

    def __init__(self, fault: Callable[[str], Exception]) -> None:
        self.fault = fault
        self.bodies: list[str] = []

    async def send(self, message: Any, letter: Any, return_path: str, handing_over: Any) -> str:
        self.bodies.append(letter.body)
        raise self.fault(" ".join(letter.body.split()))


@pytest.mark.parametrize(
    ("fault", "told_of"),
    [
        (lambda body: ValueError(body), "cannot be sent: ValueError"),
        (lambda body: Refused("DATA", body[-250:], 554), "(DATA 554); once mended"),
        (lambda body: Refused("RCPT", body[-250:], 550), ""),
        (lambda body: Refused("MAIL", body[-250:], 451), "(MAIL 451); once mended"),
    ],
    ids=["accident", "letter", "recipient", "server"],
)
async def test_a_letter_that_cannot_be_sent_tells_no_secret(
    tmp_path: Path, heard: Heard, fault: Callable[[str], Exception], told_of: str
) -> None:
    """A mail server may answer with the letter itself, and so may whatever fails: none of it is logged."""
    async with open_office(tmp_path) as ra:
        await admit(ra)
        refusing = Refusing(fault)
        assert await deliver_due(ra, refusing) == 0
    lines = {line for body in refusing.bodies for line in body.splitlines() if len(line) >= 12}
    passwords = {word for body in refusing.bodies for word in re.findall("パスワード：(\\S+)", body)}
    assert passwords
    assert heard.tells(*passwords, *lines) == []
    assert not told_of or any(told_of in message for message in heard.messages)


async def test_a_login_that_a_mail_server_refuses_tells_no_secret(tmp_path: Path, heard: Heard) -> None:
    """Its password is in no line, though the server repeats it."""
    secret = "Smtp-0815-secret"
    async with open_office(tmp_path) as ra:
        await admit(ra)
        refusing = MailServer({"AUTH": [f"535 5.7.8 {secret} is wrong"] * 9}, login=("me", "x"))
        async with refusing.listening() as server:
            postcards = Outbox(ra.database.folder / "outbox")
            transport = Smtp("127.0.0.1", server.port, "me", secret, "none", 5.0, postcards)
            assert await deliver_due(ra, transport) == 0
    assert heard.tells(secret) == []
    assert any("every letter waits" in message for message in heard.messages)


# -- commands ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [("doctor",), ("serve",), ("user", "list"), ("passphrase", "change")])
def test_no_command_repeats_a_passphrase(peopled_data: Shell, heard: Heard, words: tuple[str, ...]) -> None:
    """A wrong one, or a new one that will not do, is refused in words of ours."""
    wrong, new = "Wrong-0815-passphrase", "New-0815"
    both = {"SEKISHO_PASSPHRASE": wrong, "SEKISHO_NEW_PASSPHRASE": new}
    for given in ({"SEKISHO_PASSPHRASE": wrong}, both):
        for as_json in (True, False):
            ran = peopled_data(*words, json_output=as_json, **given)
            assert ran.code != 0
            assert told([ran.out, ran.err], wrong, new, PASSPHRASE) == []
    assert heard.tells(wrong, new, PASSPHRASE) == []


@pytest.fixture
def peopled_data(tmp_path: Path) -> Shell:
    data = tmp_path / "data"
    datadir.create(data, PASSPHRASE, START, cost=CHEAP)
    (data / FILE_NAME).write_text("")
    return Shell(data)


def test_a_demos_log_has_no_words_of_an_exception() -> None:
    """Its lines are for people, with a trace of where it went, and quote nothing either."""
    program = (
        "import logging, gateway.serving.server as server\n"
        "server.start_log('warning')\n"
        "try:\n    raise ValueError('Secret0815')\n"
        "except ValueError:\n    logging.getLogger('sekisho.x').exception('it failed')\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    first, kind, *trace = ran.stderr.splitlines()
    assert first.endswith("ERROR   sekisho.x it failed")
    assert (kind, trace) == ("ValueError", ["  <string>:4 <module>"])


# -- every line ----------------------------------------------------------------------------------------

ROOT = Path(__file__).resolve().parents[2]
#: Errors whose words are ours, for operators, and quote nothing that a visitor sent.
_OURS = frozenset(
    {
        *("BadPasskey", "ConfigError", "TokenTrouble", "Doubt", "Forked"),
        *("Unconfined", "NoSignature", "SignatureRefused", "Unsignable", "_Later"),
    }
)
#: What may be said of another: its type, where it went, the system's number and words for it.
_ASKED = frozenset({"type", "_why", "in_log", "extract_tb", "format_tb"})
_TELLING = frozenset({"strerror", "errno", "__traceback__"})


def _quoted(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Lines in which a log is given an exception, or its words; the traceback goes to the formatters."""
    for handler in [node for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler)]:
        caught = {each.id for each in ast.walk(handler.type or ast.Tuple([])) if isinstance(each, ast.Name)}
        if handler.name is None or (caught and caught <= _OURS):
            continue
        for call in [node for node in ast.walk(handler) if isinstance(node, ast.Call)]:
            function = call.func
            if isinstance(function, ast.Attribute) and getattr(function.value, "id", "") == "log":
                for argument in call.args:
                    if _says(argument, handler.name):
                        yield call.lineno, ast.unparse(argument)


def _says(node: ast.AST, name: str) -> bool:
    """Whether an expression has the exception itself in it, and not only what may be asked of it."""
    if isinstance(node, ast.Name):
        return node.id == name
    if isinstance(node, ast.Attribute) and node.attr in _TELLING:
        return False
    if isinstance(node, ast.Call):
        function = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if function in _ASKED:
            return False
    return any(_says(child, name) for child in ast.iter_child_nodes(node))


def test_no_line_quotes_an_exception() -> None:
    """Every log call of every handler: a type, a place, a number, and words of ours."""
    found = {
        f"{path.relative_to(ROOT)}:{line} {words}"
        for room in ("ca", "enroll", "gateway")
        for path in (ROOT / room).rglob("*.py")
        for line, words in _quoted(ast.parse(path.read_text("utf-8")))
    }
    assert found == set()


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("log.error('%s', error)", True),
        ("log.error('%s', str(error))", True),
        ("log.error(f'it failed: {error}')", True),
        ("log.warning('%s', error.args[0].lower())", True),
        ("log.error('%s', type(error).__name__)", False),
        ("log.error('%s', error.strerror)", False),
        ("log.error('it failed', exc_info=error)", False),
        ("log.exception('it failed')", False),
    ],
)
def test_which_lines_are_meant(line: str, found: bool) -> None:
    """The twin: what quotes is found; of our own words for operators nothing is."""
    source = "try:\n  pass\nexcept Exception as error:\n  " + line
    assert bool(list(_quoted(ast.parse(source)))) is found
    assert list(_quoted(ast.parse(source.replace("Exception", "ConfigError")))) == []


_FULL = "cannot grow; make room"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("a secret"), "ValueError in _fault:"),
        (StorageError("a secret", "SQLITE_ERROR"), "StorageError in _fault:"),
        (OSError(errno.ENOSPC, "No space left", "/d/a"), "/d/a: No space left; make room"),
        (StorageTrouble("a secret", "SQLITE_FULL", _FULL), f"the database {_FULL}"),
        (ConfigError("write another port"), "write another port"),
    ],
)
def test_the_log_has_the_words_that_are_ours(error: Exception, said: str) -> None:
    """Of what an operator can mend what to do; of all else the type and the place."""

    def _fault() -> None:
        raise error

    with pytest.raises(type(error)) as raised:
        _fault()
    assert in_log(raised.value).startswith(said)
    assert "a secret" not in in_log(raised.value)
