"""/v1/openapi.yaml and .json: what the API is, for people and for programs."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from gateway.sites.api.calls import Answer, Call


async def as_yaml(call: Call) -> Answer:
    """As it was written."""
    return Answer(raw=("application/yaml", _file("openapi.yaml")))


async def as_json(call: Call) -> Answer:
    """The same, as JSON."""
    return Answer(raw=("application/json", _file("openapi.json")))


@cache
def _file(name: str) -> bytes:
    return files("gateway.sites.api").joinpath(name).read_bytes()
