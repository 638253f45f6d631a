"""``openapi.yaml`` is valid OpenAPI 3.1, has the server's paths, and fits what it answers."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from ca.revocation import REASONS
from enroll.acme import accounts, orders
from enroll.acme.resources import RESOURCES
from enroll.acme.urls import PATHS
from enroll.problems import TYPES
from tests.enroll.described import faults
from tests.enroll.protocol_examples import DOCUMENT

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
jsonschema = pytest.importorskip("jsonschema")

_SECOND = "{chain}"


@pytest.fixture(scope="module")
def api() -> dict[str, Any]:
    return dict(yaml.safe_load(DOCUMENT.with_name("openapi.yaml").read_text("utf-8")))


def _path(resource: str) -> str:
    return PATHS[resource].replace("{}", "{id}", 1).replace("{}", _SECOND)


def test_it_is_openapi(api: dict[str, Any]) -> None:
    """The document is valid by the specification's own schema; broken, it is not."""
    # Not above: each worker of a run loads all tests, and this takes long.
    validator = pytest.importorskip(
        "openapi_spec_validator", reason="openapi-spec-validator is not installed"
    )
    validator.validate(api)
    with pytest.raises(jsonschema.exceptions.ValidationError):
        validator.validate({**api, "paths": {"/directory": {"get": {"responses": 1}}}})


def test_it_has_the_servers_paths(api: dict[str, Any]) -> None:
    """Paths and methods are those of the resource table, no more and no fewer."""
    expected = {
        _path(name): {
            *(["get", "head"] if resource.get else []),
            *(["post"] if resource.post else []),
        }
        for name, resource in RESOURCES.items()
    }
    found = {path: set(item) - {"parameters"} for path, item in api["paths"].items()}
    assert found == expected
    operations = [each["operationId"] for item in api["paths"].values() for each in _operations(item)]
    assert len(operations) == len(set(operations))


def test_its_limits_are_the_servers(api: dict[str, Any]) -> None:
    """Numbers and codes are those that the server goes by."""
    schemas = api["components"]["schemas"]
    assert schemas["NewOrder"]["properties"]["identifiers"]["maxItems"] == orders.MAX_IDENTIFIERS
    assert schemas["NewAccount"]["properties"]["contact"]["maxItems"] == accounts.MAX_CONTACTS
    allowed = [one.code for one in REASONS.values() if one.by_client]
    assert schemas["Revocation"]["properties"]["reason"]["enum"] == allowed


def test_payloads_are_described(api: dict[str, Any]) -> None:
    """Each POST names its payload; a name with a capital is a schema."""
    for item in api["paths"].values():
        for operation in (each for method, each in item.items() if method == "post"):
            for name in re.findall(r"\b[A-Z][A-Za-z]+\b", operation["x-payload"].partition("(")[0]):
                assert name in api["components"]["schemas"] or name == "JWS"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"status": 202}, "POST /new-order: 202 is not described"),
        ({"headers": {"Location": None}}, "Location is missing"),
        ({"headers": {"Location": "order1"}}, "Location is 'order1'"),
        ({"headers": {"Allow": "POST"}}, "Allow is not described"),
        ({"headers": {"Content-Type": "text/html"}}, "the media type is 'text/html'"),
        ({"body": b"{}"}, "'status' is a required property"),
        ({"body": b'{"status":"valid","more":1}'}, "'more' was unexpected"),
        ({"path": "/nowhere"}, "POST /nowhere: 201 is not described"),
        ({"method": "PUT"}, "PUT /new-order: 201 is not described"),
    ],
)
def test_what_is_not_described_is_found(change: dict[str, Any], says: str) -> None:
    """The check that every exchange of the protocol's tests goes through: each of these fails it."""
    order = {
        "status": "ready",
        "expires": "2026-11-23T03:00:00Z",
        "identifiers": [{"type": "dns", "value": "a"}],
        "authorizations": ["https://a/b"],
        "finalize": "https://a/c",
        "profile": "client-automated",
    }
    headers = {
        "Location": "https://a/d",
        "Link": "<x>",
        "Replay-Nonce": "n",
        "Content-Type": "application/json",
    }
    given: dict[str, Any] = {
        "method": "POST",
        "path": "/new-order",
        "status": 201,
        "headers": headers,
        "body": json.dumps(order).encode(),
    }
    assert faults(**given) == []
    changed = given | change
    if "headers" in change:
        merged = headers | change["headers"]
        changed["headers"] = {name: value for name, value in merged.items() if value is not None}
    assert any(says in fault for fault in faults(**changed))


@pytest.mark.parametrize("kind", ["responses", "headers", "parameters", "requestBodies"])
def test_no_part_is_without_use(api: dict[str, Any], kind: str) -> None:
    """Every response, header and parameter is referred to: what nothing names, no reader finds."""
    text = DOCUMENT.with_name("openapi.yaml").read_text("utf-8")
    assert [name for name in api["components"][kind] if f"'#/components/{kind}/{name}'" not in text] == []


def test_each_problem_is_at_its_status(api: dict[str, Any]) -> None:
    """Every problem type is described at the status that the table of types gives it."""
    schemas = api["components"]["schemas"]
    for kind in TYPES.values():
        described = schemas[f"Problem{kind.status}"]["allOf"][1]["properties"]["type"]["enum"]
        assert kind.urn + kind.name in described


def _operations(item: dict[str, Any]) -> list[dict[str, Any]]:
    return [each for method, each in item.items() if method != "parameters"]
