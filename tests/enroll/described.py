"""Whether an answer is one that openapi.yaml describes: status, header fields and body, nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import yaml

import enroll

DOCUMENT = Path(enroll.__file__).with_name("openapi.yaml")
#: Header fields that mean something to clients: one that is not described is a fault of the description.
TOLD = ("Location", "Link", "Retry-After", "Allow", "Replay-Nonce")


@cache
def api() -> dict[str, Any]:
    return dict(yaml.safe_load(DOCUMENT.read_text("utf-8")))


def faults(method: str, path: str, status: int, headers: Mapping[str, str], body: bytes) -> list[str]:
    """What an answer has that the description has not, and the other way round. ``path``: below the root."""
    described = _described(method.lower(), path.partition("?")[0], status)
    if described is None:
        return [f"{method} {path}: {status} is not described"]
    found = [*_headers(described, headers)]
    content = described.get("content")
    if method == "HEAD" or content is None:
        return found + ([f"a body of {len(body)} bytes"] if body else [])
    kind = headers.get("Content-Type", "")
    if kind not in content:
        return [*found, f"the media type is {kind!r}"]
    value = json.loads(body) if kind.endswith("json") else body.decode()
    errors = _validator(json.dumps(content[kind]["schema"])).iter_errors(value)
    return found + [f"{error.json_path}: {error.message}" for error in errors]


def _described(method: str, path: str, status: int) -> dict[str, Any] | None:
    item = next((item for pattern, item in api()["paths"].items() if _fits(pattern, path)), None)
    if item is None:
        return _resolved(api()["components"]["responses"]["NotFound"]) if status == 404 else None
    if method not in item:
        if status == 405:
            refused = api()["x-method-not-allowed"]
            return _resolved(refused.get(path, refused["default"]))
        # A refusal that comes before the method is looked at is any resource's.
        name = {403: "Forbidden", 500: "ServerInternal"}.get(status)
        suffix = "OfDirectory" if path == "/directory" else ""
        return None if name is None else _resolved(api()["components"]["responses"][name + suffix])
    found = item[method]["responses"].get(str(status))
    return None if found is None else _resolved(found)


def _fits(pattern: str, path: str) -> bool:
    return re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", pattern), path) is not None


def _resolved(value: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in value:
        return value
    found: Any = api()
    for part in value["$ref"].removeprefix("#/").split("/"):
        found = found[part]
    return dict(found)


def _headers(described: dict[str, Any], headers: Mapping[str, str]) -> list[str]:
    known = {name: _resolved(rule) for name, rule in described.get("headers", {}).items()}
    needed = [name for name, rule in known.items() if rule["required"]]
    return [
        *(f"{name} is missing" for name in needed if name not in headers),
        *(f"{name} is not described" for name in TOLD if name in headers and name not in known),
        *(
            f"{name} is {headers[name]!r}"
            for name, rule in known.items()
            if name in headers and not _valid(headers[name], rule["schema"])
        ),
    ]


def _valid(text: str, schema: dict[str, Any]) -> bool:
    value = int(text) if schema.get("type") == "integer" and text.isdigit() else text
    return bool(_validator(json.dumps(schema)).is_valid(value))


@cache
def _validator(schema: str) -> Any:
    whole = {"$schema": "https://json-schema.org/draft/2020-12/schema", "components": api()["components"]}
    return jsonschema.Draft202012Validator(whole | json.loads(schema))
