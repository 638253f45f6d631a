"""People and programs who enroll, renew, log in, use what is behind, and are revoked, while all goes wrong.

What they ask for they ask for again until they have it: a connection that is cut, an answer that does not
come, and 503 are no fault of anybody here. Any other answer to a good request is a finding.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import random
import ssl
import time
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, pkcs12
from cryptography.x509.oid import NameOID

from tests.bench.acme_load import Client, Target
from tests.chaos.findings import ListSeen, Try
from tests.chaos.schedule import Fair
from tests.chaos.world import Node, World
from tests.cli.processes import SEKISHO
from tests.enroll.acme.signing import b64
from tests.gateway.sites.kit import Here, Page, Visitor, client_context
from tests.started import started_async

T = TypeVar("T")

_GONE = (OSError, EOFError, asyncio.IncompleteReadError, TimeoutError, aiohttp.ClientError, HTTPException)
# Seconds for one answer, and between two tries.
_ANSWER, _PAUSE = 20.0, 0.3
# Seconds in which somebody who was revoked tries to get in, in which others stay, and after which somebody
# asks where a letter is.
_TRIES, _STAYS, _LETTER = 6.0, 60.0, 30.0
#: Letter's label -> what it tells.
_PASSWORD, _LOGIN, _REQUEST = "証明書発行用パスワード", "パスワード", "リクエストID"
_USERS_OWN = "Kaminari2026"


@dataclass
class Work:
    """What the visitors share."""

    world: World
    chance: random.Random
    letters: Callable[[str, str], str | None]
    #: Seconds that the machine had for us.
    fair: Fair
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    #: When everything is well again, what has not come by then, as `fair` counts, will not come.
    last: float = float("inf")

    async def sure(self, what: str, ask: Callable[[bool], Awaitable[T | None]], limit: float = _ANSWER) -> T:
        """What is asked for, again and again: ``ask``, told whether it was asked before, returns it, or None
        for 503, or raises what a connection does. ``limit``: seconds for one answer. `Over` when it did not
        come in time."""
        waiting, said, again = self.world.record.waiting, "nothing", False
        waiting[what] = (time.monotonic(), said)
        while self.fair() < self.last:
            try:
                # A busy machine, on which each gives up and asks again, would have more and more to do. While
                # things go wrong an answer that is lost is to be asked for again.
                patience = limit * (self.fair.mean if self.stop.is_set() else 1.0)
                found = await asyncio.wait_for(ask(again), patience)
            except _GONE as error:
                found, said = None, f"{type(error).__name__}: {error}"[:120]
                self.world.record.counts["cut or silent"] += 1
            else:
                if found is not None:
                    del waiting[what]
                    self.world.record.answered += 1
                    self.world.record.counts["answered when repeated"] += again
                    return found
                said = "503"
                self.world.record.counts["503"] += 1
            waiting[what] = (waiting[what][0], said)
            again = True
            await asyncio.sleep(_PAUSE)
        raise Over

    def refused(self, what: str, said: str) -> None:
        """Another answer than a good one."""
        at = time.monotonic() - _BEGUN
        self.world.record.refused.append(f"{at:.1f} s {what}: {said[:200]}")


_BEGUN = time.monotonic()


class Over(Exception):
    """The end has come."""


class Bad(Exception):
    """An answer that no good request gets; it has been written down."""


# -- programs --------------------------------------------------------------------------------------------


@dataclass
class _Program:
    work: Work
    number: int
    client: Client
    folder: Path

    async def _post(
        self, what: str, url: str, payload: Any, good: Collection[int], late: Collection[str] = ()
    ) -> tuple[int, dict[str, str], bytes]:
        """``late``: what is said to somebody who has asked before, and was not told that it was done."""

        async def ask(again: bool) -> tuple[int, dict[str, str], bytes] | None:
            if again:
                await self._connect()
            try:
                status, headers, body = await self.client.post(url, payload)
            except IndexError:  # an answer that was cut in its first line
                raise ConnectionError from None
            if status in good or (again and any(each.encode() in body for each in late)):
                return status, headers, body
            if status == 503 or b"badNonce" in body:
                return None
            self.work.refused(f"program {self.number}, {what}", f"{status} {body.decode()}")
            raise Bad

        return await self.work.sure(f"program {self.number}: {what}", ask)

    async def _connect(self) -> None:
        if self.client.writer is not None:
            self.client.writer.transport.abort()
        await self.client.connect()

    async def live(self, credential: tuple[str, bytes]) -> None:
        """Enrolls, renews and gets in, and revokes each second certificate."""

        async def connected(again: bool) -> bool:
            try:
                await self._connect()
            except (KeyError, ValueError, IndexError):  # the directory was 503
                return False or None  # type: ignore[return-value]
            return True

        await self.work.sure(f"program {self.number}: directory", connected)
        await self._register(credential)
        watched, count = list[asyncio.Task[None]](), 0
        while not self.work.stop.is_set():
            count += 1
            with suppress(Bad):
                serial, certificate, pem = await self._order(count)
                await self._enter(serial, pem)
                if count % 2:
                    watched.append(await self._revoke(serial, certificate, pem))
            await asyncio.sleep(self.work.chance.uniform(0.1, 0.5))
        await asyncio.gather(*watched)

    async def _register(self, credential: tuple[str, bytes]) -> None:
        async def ask(again: bool) -> bool | None:
            if again:
                await self._connect()
            try:
                await self.client.register(credential)
            except AssertionError:
                return None
            return True

        await self.work.sure(f"program {self.number}: account", ask)

    async def _order(self, count: int) -> tuple[str, x509.Certificate, Path]:
        client, key = self.client, ec.generate_private_key(ec.SECP256R1())
        names = {"identifiers": [{"type": "dns", "value": client.target.name}]}
        _, headers, body = await self._post("order", client.urls["newOrder"], names, (201,))
        url, order = headers["location"], json.loads(body)
        csr = {"csr": _csr(key, client.target.name)}
        await self._post("finalize", order["finalize"], csr, (200,), ("orderNotReady",))
        waits = f"program {self.number}: its certificate"
        while (order := json.loads((await self._post("look", url, "", (200,)))[2]))["status"] != "valid":
            if order["status"] not in ("ready", "processing"):
                self.work.refused(f"program {self.number}, order", json.dumps(order))
                raise Bad
            self.work.world.record.waiting[waits] = time.monotonic(), order["status"]
            if order["status"] == "ready":
                # What it was asked for last came to nothing.
                await self._post("finalize again", order["finalize"], csr, (200,), ("orderNotReady",))
            await asyncio.sleep(0.05)
        self.work.world.record.waiting.pop(waits, None)
        chain = (await self._post("download", order["certificate"], "", (200,)))[2]
        leaf = x509.load_pem_x509_certificates(chain)[0]
        serial = f"{leaf.serial_number:032x}"
        self.work.world.record.give(serial, leaf.fingerprint(hashes.SHA256()).hex())
        self.work.world.record.counts["certificates of programs"] += 1
        pem = self.folder / f"program-{self.number}-{count}.pem"
        pem.write_bytes(chain + _pem(key))
        return serial, leaf, pem

    async def _enter(self, serial: str, pem: Path) -> None:
        async def ask(again: bool) -> int | None:
            status = await enters(self.work.world, pem)
            if status in (200, 503):
                return status if status == 200 else None
            self.work.refused(f"program {self.number}, entering with {serial}", str(status))
            raise Bad

        await self.work.sure(f"program {self.number}: entering", ask)

    async def _revoke(self, serial: str, certificate: x509.Certificate, pem: Path) -> asyncio.Task[None]:
        payload = {"certificate": b64(certificate.public_bytes(Encoding.DER)), "reason": 4}
        await self._post("revoke", self.client.urls["revokeCert"], payload, (200,), ("alreadyRevoked",))
        return _revoked(self.work, serial, pem)


def _revoked(work: Work, serial: str, pem: Path) -> asyncio.Task[None]:
    """Somebody who was revoked right now, and tries again and again."""
    work.world.record.revoked[serial] = time.monotonic()
    work.world.record.counts["revoked"] += 1
    return asyncio.create_task(intrude(work.world, serial, pem, _TRIES))


async def intrude(world: World, serial: str, pem: Path, seconds: float) -> None:
    """Tries to get in for a while, and writes down what came of it: in turn at what is behind, where each
    request has its caller looked up as well, and at the login, where the listener alone stands before him."""
    end, paths = time.monotonic() + seconds, itertools.cycle(("/api", "/login"))
    while time.monotonic() < end:
        begun, status = time.monotonic(), 0
        with suppress(*_GONE, IndexError, ValueError):
            status = await asyncio.wait_for(enters(world, pem, next(paths)), _ANSWER)
        world.record.tries.append(Try(serial, begun, status))
        await asyncio.sleep(0.2)


async def enters(world: World, pem: Path, path: str = "/api") -> int:
    """The status of a request by certificate alone, on a new connection."""
    context = ssl.create_default_context(cafile=str(world.ca_file))
    context.load_cert_chain(pem)
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", world.front, ssl=context, server_hostname="service.localhost"
    )
    try:
        host = f"service.localhost:{world.front}"
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        first = (await reader.readuntil(b"\r\n")).decode()
        return int(first.split(" ")[1])
    finally:
        writer.transport.abort()


def _csr(key: ec.EllipticCurvePrivateKey, name: str) -> str:
    san = x509.SubjectAlternativeName([x509.DNSName(name)])
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateSigningRequestBuilder(subject).add_extension(san, critical=False)
    return b64(builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER))


def _pem(key: Any) -> bytes:
    return bytes(
        key.private_bytes(Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


async def programs(work: Work, target: Target, folder: Path) -> list[asyncio.Task[None]]:
    """One for each credential."""
    found = []
    for number, credential in enumerate(target.credentials, 1):
        assert credential is not None
        one = _Program(work, number, Client(target), folder)
        found.append(asyncio.create_task(one.live(credential)))
    return found


# -- people ----------------------------------------------------------------------------------------------


async def people(work: Work, organisation: str, folder: Path, first: int, apart: float) -> None:
    """Everybody: so many are there from the beginning, and another one comes after so many seconds, until
    the end. An operator records each; every second one is soon disabled again."""
    there = list[asyncio.Task[None]]()
    for number in itertools.count():
        if number >= first:
            with suppress(TimeoutError):
                await asyncio.wait_for(work.stop.wait(), apart)
        if work.stop.is_set():
            break
        there.append(asyncio.create_task(_person(work, number, organisation, folder)))
    for outcome in await asyncio.gather(*there, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome


async def _person(work: Work, number: int, organisation: str, folder: Path) -> None:
    """Picks up, logs in, uses what is behind, and goes home, or is disabled in the midst of it."""
    record, world, leaves = work.world.record, work.world, number % 2 == 0
    user_id, mail = f"P{number:07d}", f"p{number}@example.jp"
    place = folder / user_id
    place.mkdir()
    plain = Visitor(_session(world, None, place), f"https://pickup.localhost:{world.front}")
    visitor: Visitor | None = None
    try:
        name = f"利用者{number}"
        await _typed(work, ["user", "add", organisation, name, mail, "--user-id", user_id], b"conflict")
        password = await _told(work, user_id, mail, _PASSWORD)
        request_id = await _told(work, user_id, mail, _REQUEST)

        async def picked_up(again: bool) -> bytes | None:
            typed = {"user_id": user_id, "password": password}
            page = await plain.post("/login", typed)
            if not _good(work, again, f"{user_id}, login for the pick-up", page, page.path == "/menu"):
                return None
            wanted = {"request_id": request_id, "password": "pw", "confirmation": "pw", "form": "standard"}
            page = await plain.post("/certificate", wanted)
            forms = page.main.all("form") if page.status == 200 else []
            where = forms[0].attributes.get("action", "") if forms else ""
            if not _good(work, again, f"{user_id}, Submit", page, where.endswith("download")):
                return None
            page = await plain.get(where)
            is_file = page.headers.get("Content-Type") == "application/x-pkcs12"
            return page.body if _good(work, again, f"{user_id}, Download", page, is_file) else None

        p12 = await work.sure(f"{user_id}: pick-up", picked_up)
        serial, pem = _kept(p12, place)
        found = pkcs12.load_pkcs12(p12, b"pw").cert
        assert found is not None
        record.give(serial, found.certificate.fingerprint(hashes.SHA256()).hex())
        record.counts["certificates of people"] += 1
        first = await _told(work, user_id, mail, _LOGIN)
        visitor = Visitor(_session(world, p12, place), f"https://service.localhost:{world.front}")
        at, secrets = visitor, [first, _USERS_OWN]

        async def logged_in(again: bool) -> bool | None:
            # What was answered the time before may be lost: then the password is the new one already. Each
            # guess counts, so the one that was wrong is not the first again.
            for secret in tuple(secrets) if again else secrets[:1]:
                page = await at.post("/login", {"user_id": user_id, "password": secret})
                if page.status != 403:
                    break
                secrets.reverse()
            if not _good(work, again, f"{user_id}, login", page, page.path.startswith("/portal")):
                return None
            if page.path.rstrip("/") == "/portal":
                return True  # where nobody gets whose first password is not changed
            typed = {"current": first, "new": _USERS_OWN, "confirmation": _USERS_OWN}
            page = await at.post("/portal/password", typed)
            there = page.path.rstrip("/") == "/portal"
            return _good(work, again, f"{user_id}, first password", page, there) or None

        await work.sure(f"{user_id}: login", logged_in)
        record.counts["people who logged in"] += 1
        end = time.monotonic() + (work.chance.uniform(3, 10) if leaves else _STAYS)
        while not work.stop.is_set() and time.monotonic() < end:

            async def behind(again: bool) -> bool | None:
                page = await at.get("/app/", follow=False)
                return _good(work, again, f"{user_id}, what is behind", page, page.status == 200) or None

            await work.sure(f"{user_id}: what is behind", behind)
            record.counts["pages of what is behind"] += 1
            await asyncio.sleep(0.2)
        if leaves:
            await _typed(work, ["user", "disable", user_id], b"disabled")
            await _revoked(work, serial, pem)
    except (Over, Bad):
        return
    finally:
        await plain.session.close()
        if visitor is not None:
            await visitor.session.close()


def _good(work: Work, again: bool, what: str, page: Page, expected: bool) -> bool:
    """Whether a page is what was asked for. Asked again, another page may come: what was done is done."""
    if page.status == 503:
        return False
    if not expected and (page.status >= 500 or not again):
        work.refused(what, f"{page.status} {page.path} {page.h1 if page.body[:1] == b'<' else page.body!r}")
        raise Bad
    return expected


async def _told(work: Work, user_id: str, mail: str, label: str) -> str:
    """What a letter tells. One that was about to leave when its node died is given up, since it may have
    left: an operator, asked by who has it not, lets it go."""
    since = work.fair()

    async def ask(again: bool) -> str | None:
        end = time.monotonic() + _ANSWER / 2
        while (found := work.letters(mail, label)) is None and time.monotonic() < end:
            await asyncio.sleep(0.1)
        if found is None and work.fair() > since + _LETTER:
            said = await _typed(work, ["mail", "list", "--user", user_id, "--state", "given_up"], b"conflict")
            for each in json.loads(said or b"{}").get("mails", ()):
                if work.letters(mail, label) is None:
                    work.world.record.counts["letters given up and let go by an operator"] += 1
                    await _typed(work, ["mail", "retry", "--letter", str(each["id"])], b"conflict")
        return found

    return await work.sure(f"{user_id}: the letter with {label}", ask, limit=_ANSWER * 4)


async def _typed(work: Work, words: list[str], done: bytes) -> bytes:
    """By an operator at one of the nodes, who types it again until it is done; what it said. ``done``: is
    said by what was done the time before."""

    async def ask(again: bool) -> bytes | None:
        node = work.chance.choice(list(work.world.nodes.values()))
        secret = str(work.world.folder / "passphrase")
        command = [str(SEKISHO), *words, "--data", str(node.data), "--passphrase-file", secret, "--json"]
        async with started_async(command, stdin=-3, stdout=-1, stderr=-3) as running:
            said, _ = await running.communicate()
        return said if running.returncode == 0 or (again and done in said) else None

    return await work.sure(" ".join(words), ask, limit=_ANSWER * 2)


def _session(world: World, p12: bytes | None, place: Path) -> aiohttp.ClientSession:
    context = client_context(world.ca_file.read_bytes(), p12, "pw", place)
    connector = aiohttp.TCPConnector(ssl=context, resolver=Here(), use_dns_cache=False, force_close=True)
    return aiohttp.ClientSession(connector=connector)


def _kept(p12: bytes, place: Path) -> tuple[str, Path]:
    """Serial, and certificate with key as Python's ssl reads them."""
    bundle = pkcs12.load_pkcs12(p12, b"pw")
    assert bundle.cert is not None
    leaf = bundle.cert.certificate
    pem = place / "own.pem"
    chain = [leaf, *(each.certificate for each in bundle.additional_certs)]
    pem.write_bytes(b"".join(each.public_bytes(Encoding.PEM) for each in chain) + _pem(bundle.key))
    return f"{leaf.serial_number:032x}", pem


# -- who relies on the lists -----------------------------------------------------------------------------


async def reader(work: Work, paths: list[str]) -> None:
    """Reads each list of each node again and again."""
    while not work.stop.is_set():
        for node in work.world.nodes.values():
            await listed(work.world, node, paths)
        await asyncio.sleep(0.5)


async def listed(world: World, node: Node, paths: list[str], patience: float = 3.0) -> set[str]:
    """Writes down which lists a node hands out; the serials that they tell of. ``patience``: seconds for
    each."""
    serials = set[str]()
    for path in paths:
        with suppress(*_GONE, IndexError, ValueError):
            status, body = await asyncio.wait_for(_plain(node.behind.plain, path), patience)
            if status == 200:
                found = x509.load_der_x509_crl(body)
                number = found.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
                digest = hashlib.sha256(body).hexdigest()
                world.record.lists.append(ListSeen(node.name, path, number, digest))
                serials |= {f"{each.serial_number:032x}" for each in found}
    return serials


async def _plain(port: int, path: str) -> tuple[int, bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        return int(head.split(b" ")[1]), body
    finally:
        writer.close()
