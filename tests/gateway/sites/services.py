"""The registration API on a real listener, and service accounts that ask it."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from ca.profiles import Audience
from ca.storage import Transaction
from enroll.operators import credentials
from enroll.operators import store as operators
from enroll.operators.actors import Actor, By, of_account, of_operator
from enroll.operators.credentials import Issued
from enroll.operators.roles import Kind, Role
from enroll.operators.store import Operator
from enroll.ra import RegistrationAuthority
from gateway.edge.tls import ClientCertificate
from gateway.sites import api
from gateway.web import context
from tests.datadirs import next_generation, open_office
from tests.gateway.sites.kit import Served, Visitor, serve

P12_PASSWORD = "Tegata2026"


@dataclass(frozen=True)
class Got:
    """An answer, and its body as JSON has it."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def value(self) -> Any:
        return json.loads(self.body)

    @property
    def type(self) -> str:
        """The name of the problem that it is."""
        assert self.headers["Content-Type"] == "application/problem+json", self.body
        assert self.value["status"] == self.status
        return str(self.value["type"]).removeprefix("urn:sekisho:error:")


@dataclass
class Service:
    """A service account with its certificate."""

    operator: Operator
    issued: Issued
    at: Visitor

    async def get(self, path: str, **query: Any) -> Got:
        return await self.ask("GET", path, params={k: str(v) for k, v in query.items()} or None)

    async def post(self, path: str, body: Any = None, key: str = "", **headers: str) -> Got:
        """As JSON, under a key of its own unless there is one."""
        return await self.ask("POST", path, body, headers={"Idempotency-Key": key or new_key(), **headers})

    async def patch(self, path: str, body: Any, if_match: str = "") -> Got:
        return await self.ask("PATCH", path, body, headers={"If-Match": if_match} if if_match else {})

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
    ) -> Got:
        """``body``: bytes as they are, anything else as JSON."""
        given = dict(headers or {})
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        if body is not None:
            given.setdefault("Content-Type", "application/json")
        url = self.at.origin + path
        async with self.at.session.request(method, url, data=body, headers=given, params=params) as got:
            found = Got(got.status, got.headers, await got.read())
        if path.startswith("/v1") and method in ("GET", "POST", "PATCH"):
            assert faults(method, path.partition("?")[0], found.status, found.headers, found.body) == []
        return found


@cache
def document() -> dict[str, Any]:
    """What the API says that it is."""
    return dict(yaml.safe_load(Path(api.__file__).with_name("openapi.yaml").read_text("utf-8")))


def faults(method: str, path: str, status: int, headers: Mapping[str, str], body: bytes) -> list[str]:
    """What an answer has that the description has not."""
    item = next((each for pattern, each in _patterns() if pattern.fullmatch(path)), {})
    described = item.get(method.lower(), {}).get("responses", {}).get(str(status))
    if described is None:
        return [] if status == 404 and not item else [f"{method} {path}: {status} is not described"]
    while "$ref" in described:
        described = document()["components"]["responses"][described["$ref"].rpartition("/")[2]]
    kind = headers.get("Content-Type", "")
    if kind not in described["content"]:
        return [f"the media type is {kind!r}"]
    missing = [name for name in described.get("headers", {}) if name != "Retry-After" and name not in headers]
    if not kind.endswith("json"):
        return missing
    schema = {**described["content"][kind]["schema"], "components": document()["components"]}
    errors = jsonschema.Draft202012Validator(schema).iter_errors(json.loads(body))
    return missing + [f"{error.json_path}: {error.message}" for error in errors]


@cache
def _patterns() -> list[tuple[re.Pattern[str], dict[str, Any]]]:
    # What has no part that changes first: /v1/openapi.json is no report's name.
    items = sorted(document()["paths"].items(), key=lambda each: "{" in each[0])
    return [(re.compile(re.sub(r"\{\w+\}", "[^/]+", path)), item) for path, item in items]


def new_key() -> str:
    return secrets.token_hex(8)


@dataclass
class House:
    """The API, and whoever works by it."""

    served: Served
    services: dict[str, Service] = field(default_factory=dict)

    @property
    def ra(self) -> RegistrationAuthority:
        return self.served.ra

    async def service(
        self, name: str, *roles: Role, networks: tuple[str, ...] = ("127.0.0.0/8",), kind: Kind = "service"
    ) -> Service:
        """A service account that comes from here."""
        added = await self.operator(name, *roles, networks=networks, kind=kind)
        issued = await credentials.issue(self.ra, await self.host(), name, P12_PASSWORD, kinds=("ec-p256",))
        self.services[name] = Service(added, issued, self.served.visitor(issued.p12, P12_PASSWORD))
        return self.services[name]

    async def operator(
        self, name: str, *roles: Role, networks: tuple[str, ...] = (), kind: Kind = "person"
    ) -> Operator:
        """Somebody in the register."""
        new = Operator(
            *(0, name, f"{name}さん", kind, roles, "", "", secrets.token_hex(8), self.ra.now(), "test"),
            networks=networks,
        )
        added = await self.ra.database.write(lambda db: operators.add(db, new))
        assert added is not None
        return added

    async def host(self) -> Actor:
        """Whom the directory belongs to, who may do everything here."""
        at = self.ra.now()
        return await self.ra.database.read(lambda db: of_account(db, "root", at, host=True, sandbox=True))

    async def person(self, name: str, *roles: Role) -> Actor:
        """A person at the console, who decides what services propose."""
        number = (await self.operator(name, *roles)).number
        return await self.ra.database.read(lambda db: of_operator(db, number, By.CONSOLE))

    async def change(self, service: Service, **facts: Any) -> None:
        """Changes what the register says of one."""

        def work(db: Transaction) -> None:
            before = operators.named(db, service.operator.name)
            assert before is not None
            assert operators.change(db, before, replace(before, **facts))

        await self.ra.database.write(work)


@asynccontextmanager
async def open_house(path: Path) -> AsyncIterator[House]:
    async with open_office(path, webhook_hosts=("hooks.example.jp",)) as opened:
        ra = next_generation(opened, "Operators CA", active=False, audience=Audience.OPERATORS)
        async with serve(
            ra,
            path,
            context.Role.API,
            api.application,
            ClientCertificate.REQUIRE,
            refused=api.refused,
            audience=Audience.OPERATORS,
            says=api.unheard,
        ) as served:
            yield House(served)
