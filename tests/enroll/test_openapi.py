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
from tests.enroll.protocol_examples import DOCUMENT, generated

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
validator = pytest.importorskip("openapi_spec_validator", reason="openapi-spec-validator is not installed")
jsonschema = pytest.importorskip("jsonschema")

_SECOND = "root"


@pytest.fixture(scope="module")
def api() -> dict[str, Any]:
    return dict(yaml.safe_load(DOCUMENT.with_name("openapi.yaml").read_text("utf-8")))


def _path(resource: str) -> str:
    return PATHS[resource].replace("{}", "{id}", 1).replace("{}", _SECOND)


def _fits(api: dict[str, Any], schema: Any, value: Any) -> bool:
    whole = {"$schema": "https://json-schema.org/draft/2020-12/schema", "components": api["components"]}
    return bool(jsonschema.Draft202012Validator(whole | schema).is_valid(value))


def test_it_is_openapi(api: dict[str, Any]) -> None:
    """The document is valid by the specification's own schema; broken, it is not."""
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


_EXAMPLES = {name: text for name, text in generated().items() if text.startswith("```http")}


@pytest.mark.parametrize("name", _EXAMPLES)
def test_what_the_server_answers_fits(api: dict[str, Any], name: str) -> None:
    """Status and body of every exchange in PROTOCOL.md are what the description says of that path."""
    asked, answered = _EXAMPLES[name].removeprefix("```http\n").removesuffix("\n```\n").split("\n\nHTTP/1.1 ")
    method, path = re.match(r"(\S+) /acme(\S+)", asked).groups()  # type: ignore[union-attr]
    if method == "OPTIONS":
        assert answered.startswith("204 ")
        return
    item = next(item for pattern, item in api["paths"].items() if _matches(pattern, path))
    head, _, body = answered.partition("\n\n")
    status, kind = head[:3], re.search(r"^Content-Type: (.*)$", head, re.MULTILINE)
    if method.lower() not in item:
        assert status == "405"
        described = api["components"]["responses"]["Problem"]
    else:
        responses = item[method.lower()]["responses"]
        described = responses.get(status) or api["components"]["responses"]["Problem"]
        assert status in responses or int(status) >= 400
    for header, rule in described.get("headers", {}).items():
        required = api["components"]["headers"][rule["$ref"].rpartition("/")[2]]["required"]
        assert not required or f"\n{header}: " in f"\n{head}"
    if kind is None:
        assert "content" not in described
        return
    schema = described["content"][kind[1]]["schema"]
    value = json.loads(body) if kind[1].endswith("json") else body
    assert _fits(api, schema, value)
    if isinstance(value, dict):
        assert not _fits(api, schema, {})


def _matches(pattern: str, path: str) -> bool:
    return re.fullmatch(pattern.replace("{id}", "[^/]+"), path) is not None


def _operations(item: dict[str, Any]) -> list[dict[str, Any]]:
    return [each for method, each in item.items() if method != "parameters"]
