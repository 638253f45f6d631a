"""The API's ``openapi.yaml`` is valid OpenAPI 3.1, is what the server does, and nothing breaks that."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec
import pytest
import requests
import yaml
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, pkcs12
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from hypothesis.strategies import SearchStrategy
from requests.adapters import HTTPAdapter

from enroll.operators.roles import Role
from gateway.sites.api import table
from gateway.sites.api.entering import Route
from gateway.sites.api.problems import TYPES
from tests.datadirs import admit
from tests.gateway.sites.services import P12_PASSWORD, House, Service, document, faults, open_house

#: Requests of each operation; more by `make api-examples`.
_EXAMPLES = int(os.environ.get("SEKISHO_TEST_EXAMPLES", "4"))
_METHODS = ("get", "post", "patch")


def _operations() -> dict[tuple[str, str], Mapping[str, Any]]:
    return {
        (method.upper(), path): item[method]
        for path, item in document()["paths"].items()
        for method in _METHODS
        if method in item
    }


def _resolved(value: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Any = document()
    for part in value["$ref"].removeprefix("#/").split("/") if "$ref" in value else ():
        found = found[part]
    return found if "$ref" in value else value


def test_it_is_openapi() -> None:
    """Valid by the specification's own schema; the same as JSON, of which a broken one is not."""
    # Not above, as schemathesis below: each worker of a run loads all tests, and they take long.
    validator = pytest.importorskip("openapi_spec_validator")
    validator.validate(document())
    folder = Path(table.__file__).parent
    assert json.loads((folder / "openapi.json").read_text("utf-8")) == yaml.safe_load(
        (folder / "openapi.yaml").read_text("utf-8")
    )
    with pytest.raises(Exception, match="responses"):
        validator.validate({**document(), "paths": {"/v1/users": {"get": {"responses": 1}}}})


def test_it_has_the_servers_routes() -> None:
    """Paths and methods are those of the table, no more and no fewer; each has a name of its own."""
    assert set(_operations()) == {(each.method, each.path) for each in table.ROUTES}
    names = [each["operationId"] for each in _operations().values()]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("route", table.ROUTES, ids=lambda each: f"{each.method} {each.path}")
def test_bodies_and_queries_are_the_servers(route: Route) -> None:
    """Members, which of them are needed, and the words that they may be: as the server reads them."""
    operation = _operations()[route.method, route.path]
    queries = {
        found["name"]: found.get("required", False)
        for found in map(_resolved, operation.get("parameters", ()))
        if found["in"] == "query"
    }
    assert queries == {field.encode_name: field.required for field in msgspec.structs.fields(route.query)}
    if "requestBody" not in operation:
        assert route.method == "GET"
        return
    content = operation["requestBody"]["content"]
    if route.body is None:
        assert list(content) == ["text/csv"]
        return
    described = _resolved(content["application/json"]["schema"])
    fields = msgspec.structs.fields(route.body)
    assert set(described.get("properties", ())) == {field.encode_name for field in fields}
    assert set(described.get("required", ())) == {field.encode_name for field in fields if field.required}
    needed = route.method == "PATCH" or any(field.required for field in fields)
    assert operation["requestBody"].get("required", False) is needed
    read = msgspec.json.schema(route.body)["$defs"]
    for name, shape in read[route.body.__name__]["properties"].items():
        assert _words(shape) == _words(described["properties"][name]), name


def _words(shape: Mapping[str, Any]) -> set[Any]:
    """What an enumerated member may be."""
    found = set(shape.get("enum", ()))
    for each in shape.get("anyOf", ()):
        found |= set(each.get("enum", ()))
    return found - {None}


def test_problems_are_the_servers() -> None:
    """Every type of problem is there, and no other."""
    described = document()["components"]["schemas"]["Problem"]["properties"]["type"]["enum"]
    assert described == [f"urn:sekisho:error:{code}" for code in TYPES]


@pytest.mark.parametrize("kind", ["responses", "headers", "parameters", "schemas"])
def test_no_part_is_without_use(kind: str) -> None:
    """What nothing names, no reader finds."""
    text = Path(table.__file__).with_name("openapi.yaml").read_text("utf-8")
    unused = [each for each in document()["components"][kind] if f"'#/components/{kind}/{each}'" not in text]
    assert unused == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"status": 203}, "203 is not described"),
        ({"headers": {"Content-Type": "text/html"}}, "the media type is 'text/html'"),
        ({"body": b'{"items": []}'}, "'next' is a required property"),
        ({"body": b'{"items": [], "next": 1}'}, "1 is not of type"),
        ({"path": "/v1/nowhere"}, "200 is not described"),
    ],
)
def test_what_is_not_described_is_found(change: dict[str, Any], says: str) -> None:
    """The check that every exchange of the API's tests goes through: each of these fails it."""
    whole: dict[str, Any] = {
        "method": "GET",
        "path": "/v1/users",
        "status": 200,
        "headers": {"Content-Type": "application/json"},
        "body": b'{"items": [], "next": null}',
    }
    assert faults(**whole) == []
    assert any(says in fault for fault in faults(**(whole | change)))


# -- whatever is sent ------------------------------------------------------------------------------------


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(tmp_path) as opened:
        yield opened


class _Here(HTTPAdapter):
    """Every name is this machine, and whoever asks has this certificate (PEM, with its key)."""

    def __init__(self, port: int, certificate: Path) -> None:
        # Made once: without one each connection reads the roots of this machine, for 30 ms of a core.
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._context.check_hostname, self._context.verify_mode = False, ssl.CERT_NONE
        self._context.load_cert_chain(certificate)
        super().__init__()
        self._port = port

    def init_poolmanager(self, *given: Any, **more: Any) -> None:
        super().init_poolmanager(*given, **more, ssl_context=self._context)

    def get_connection_with_tls_context(self, request, verify, proxies=None, cert=None):  # type: ignore[no-untyped-def]
        request.headers["Host"] = f"api.test:{self._port}"
        host, pool = self.build_connection_pool_key_attributes(request, verify, cert)
        host = {**host, "host": "127.0.0.1", "port": self._port}
        return self.poolmanager.connection_from_host(
            **host, pool_kwargs={**pool, "server_hostname": "api.test"}
        )


def _session(service: Service, folder: Path) -> requests.Session:
    """What a program has: a certificate, and the address."""
    bundle = pkcs12.load_pkcs12(service.issued.p12, P12_PASSWORD.encode())
    assert bundle.key is not None
    assert bundle.cert is not None
    pem = bundle.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    chain = [bundle.cert, *bundle.additional_certs]
    pem += b"".join(each.certificate.public_bytes(Encoding.PEM) for each in chain)
    file = folder / "service.pem"
    file.write_bytes(pem)
    session = requests.Session()
    session.mount("https://", _Here(int(service.at.origin.rpartition(":")[2]), file))
    session.trust_env = False
    return session


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Unverified HTTPS")
async def test_whatever_is_sent(house: House, tmp_path: Path) -> None:
    """schemathesis: whatever is made up within the description, and beside it, no fault of the server's and
    no answer that is not described. Half of it names what is there."""
    from schemathesis import GenerationMode, openapi

    await admit(house.ra)
    service = await house.service("hr", *Role)
    there: dict[str, Any] = {"policy_number": "12345678", "user_id": "K12345678", "number": 1}
    schema = openapi.from_dict(document())
    session = _session(service, tmp_path)

    got: dict[tuple[str, GenerationMode], list[int]] = {}

    def ask() -> None:
        for result in schema.get_all_operations():
            operation = result.ok()
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                made = operation.as_strategy(generation_mode=mode)
                got[operation.label, mode] = _every(made, session, service.at.origin, there)

    try:
        await asyncio.to_thread(ask)
    finally:
        session.close()
    # The twin: each was asked, most of what is read was there, and what is wrong was refused.
    assert len(got) == 2 * len(table.ROUTES)
    assert all(found for (_, mode), found in got.items() if mode is GenerationMode.POSITIVE)
    read = {label for (label, _), found in got.items() if label.startswith("GET") and 200 in found}
    assert len(read) > sum(route.method == "GET" for route in table.ROUTES) / 2
    wrong = [found for (_, mode), found in got.items() if mode is GenerationMode.NEGATIVE]
    assert {400, 422} <= set(chain.from_iterable(wrong))


def _every(
    made: SearchStrategy[Any], session: requests.Session, origin: str, there: Mapping[str, Any]
) -> list[int]:
    """So many requests of an operation, the same ones each time; the statuses of the answers."""
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import (
        content_type_conformance,
        response_headers_conformance,
        response_schema_conformance,
        status_code_conformance,
    )

    statuses = list[int]()

    @seed(20261122)
    @settings(
        max_examples=_EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=made)
    def one(case: Any) -> None:
        if len(statuses) % 2 == 0:
            known = {name: value for name, value in there.items() if name in (case.path_parameters or {})}
            case.path_parameters = {**(case.path_parameters or {}), **known}
        found = case.call_and_validate(
            base_url=origin.replace("127.0.0.1", "api.test"),
            session=session,
            verify=False,
            checks=[
                not_a_server_error,
                status_code_conformance,
                content_type_conformance,
                response_headers_conformance,
                response_schema_conformance,
            ],
        )
        statuses.append(found.status_code)

    # Where nothing can be wrong (the description itself), there is nothing to make up.
    with suppress(Unsatisfiable):
        one()
    return statuses
