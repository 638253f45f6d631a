"""The directory and what it promises (RFC 8555 7.1.1)."""

from __future__ import annotations

from conformance import acts
from conformance.case import MUST, OURS, SHOULD, Case, case
from conformance.check import is_url, media_type, status
from conformance.verdict import Failed, expect, require
from conformance.world import World

CASES: list[Case] = []


@case(
    CASES,
    "directory.served",
    "RFC 8555 7.1.1",
    MUST,
    "GET of the directory is 200 application/json without any authentication",
)
async def served(world: World) -> None:
    expect(await world.get(world.directory_url), status(200), media_type("application/json"))


@case(
    CASES,
    "directory.required",
    "RFC 8555 7.1.1",
    MUST,
    "newNonce, newAccount, newOrder, revokeCert and keyChange are there",
)
async def required(world: World) -> None:
    directory = await world.directory()
    missing = [
        n
        for n in ("newNonce", "newAccount", "newOrder", "revokeCert", "keyChange")
        if not is_url(directory.get(n))
    ]
    require(not missing, f"no URL for {', '.join(missing)}")


@case(
    CASES, "directory.promises-kept", "RFC 8555 7.1.1", MUST, "every resource the directory names is served"
)
async def kept(world: World) -> None:
    owner = await acts.account(world)
    for name in ("newAccount", "newOrder", "newAuthz", "revokeCert", "keyChange"):
        url = (await world.directory()).get(name)
        if isinstance(url, str):
            answer = await world.post(owner, url, {})
            require(answer.status not in {404, 405, 501}, f"{name} answers {answer.status}")


@case(
    CASES,
    "directory.meta",
    "RFC 8555 7.1.1",
    MUST,
    "meta is an object and its members have the types of the RFC",
)
async def meta(world: World) -> None:
    value = (await world.directory()).get("meta", {})
    if not isinstance(value, dict):
        raise Failed(f"meta is {value!r}")
    for name in ("termsOfService", "website"):
        require(name not in value or isinstance(value[name], str), f"meta.{name} is {value.get(name)!r}")
    flag = value.get("externalAccountRequired", False)
    require(isinstance(flag, bool), f"meta.externalAccountRequired is {flag!r}")
    identities = value.get("caaIdentities", [])
    require(isinstance(identities, list), f"meta.caaIdentities is {identities!r}")


@case(
    CASES,
    "directory.no-link-index",
    "RFC 8555 7.1",
    SHOULD,
    "the directory does not point to itself as its index",
)
async def no_index(world: World) -> None:
    answer = await world.get(world.directory_url)
    expect(answer, lambda a: ["it does"] if 'rel="index"' in (a.header("Link") or "") else [])


@case(
    CASES, "directory.stable", "RFC 8555 7.1.1", MUST, "two fetches of the directory name the same resources"
)
async def stable(world: World) -> None:
    first, second = (await world.get(world.directory_url), await world.get(world.directory_url))
    urls = [
        {k: v for k, v in answer.object().items() if is_url(v) and k.startswith(("new", "rev", "key", "ren"))}
        for answer in (first, second)
    ]
    require(urls[0] == urls[1], "they differ")


@case(
    CASES,
    "directory.eab-required",
    "sekisho PROTOCOL, directory",
    OURS,
    "meta.externalAccountRequired is true",
)
async def eab_required(world: World) -> None:
    require((await world.meta()).get("externalAccountRequired") is True, "it is not")


@case(
    CASES,
    "directory.offers-all",
    "sekisho PROTOCOL, directory",
    OURS,
    "newAuthz, renewalInfo and meta.profiles are offered",
)
async def offers(world: World) -> None:
    directory = await world.directory()
    missing = [name for name in ("newAuthz", "renewalInfo") if name not in directory]
    missing += [] if (await world.meta()).get("profiles") else ["meta.profiles"]
    require(not missing, f"missing: {', '.join(missing)}")
