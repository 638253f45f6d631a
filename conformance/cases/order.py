"""Orders: making, reading, identifiers in every shape (RFC 8555 7.1.3, 7.4)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from conformance import acts
from conformance.case import ADVICE, MUST, OURS, SHOULD, Case, case
from conformance.check import (
    Check,
    both,
    either,
    header,
    is_url,
    member,
    problem,
    refused,
    status,
    timestamp,
    timestamp_member,
    told,
    url_member,
)
from conformance.credentials import Identifier
from conformance.drafts import row
from conformance.verdict import Failed, Skipped, expect, require
from conformance.wire import Answer
from conformance.world import World

BAD = problem(400, "malformed")
FOREIGN = {"type": "dns", "value": "not-yours.elsewhere.example"}


def _list_member(name: str) -> Check:
    return lambda a: (
        []
        if isinstance(a.object().get(name), list) and a.object()[name]
        else [f"{name} is {a.object().get(name)!r}"]
    )


ORDER = both(_list_member("identifiers"), _list_member("authorizations"), url_member("finalize"))

CASES: list[Case] = [
    row(
        "order.read",
        "RFC 8555 7.1.3",
        MUST,
        "POST-as-GET of an order is the order object with all required members",
        "order",
        both(status(200), member("status"), ORDER),
    ),
    *(
        row(
            f"order.identifiers-{name}",
            "RFC 8555 7.4",
            MUST,
            f"newOrder with {title} is refused",
            "newOrder",
            refused("malformed", "rejectedIdentifier", "unsupportedIdentifier"),
            payload=payload,
        )
        for name, title, payload in (
            ("missing", "no identifiers", {}),
            ("empty", "an empty list of identifiers", {"identifiers": []}),
            ("null", "identifiers null", {"identifiers": None}),
            (
                "object",
                "identifiers that are an object",
                {"identifiers": {"type": "dns", "value": "a.example"}},
            ),
            ("strings", "identifiers that are strings", {"identifiers": ["a.example"]}),
            ("no-type", "an identifier without type", {"identifiers": [{"value": "a.example"}]}),
            ("no-value", "an identifier without value", {"identifiers": [{"type": "dns"}]}),
            (
                "value-number",
                "an identifier whose value is a number",
                {"identifiers": [{"type": "dns", "value": 1}]},
            ),
            (
                "value-empty",
                "an identifier whose value is empty",
                {"identifiers": [{"type": "dns", "value": ""}]},
            ),
            (
                "value-url",
                "a URL for a name",
                {"identifiers": [{"type": "dns", "value": "https://a.example/"}]},
            ),
            (
                "value-space",
                "a name with a space",
                {"identifiers": [{"type": "dns", "value": "a b.example"}]},
            ),
            (
                "value-dots",
                "a name with an empty label",
                {"identifiers": [{"type": "dns", "value": "a..example"}]},
            ),
        )
    ),
    row(
        "order.identifiers-label-64",
        "RFC 1035 2.3.4",
        SHOULD,
        "newOrder with a label of 64 octets is refused",
        "newOrder",
        refused("malformed", "rejectedIdentifier", "unsupportedIdentifier"),
        payload={"identifiers": [{"type": "dns", "value": "a" * 64 + ".example"}]},
    ),
    row(
        "order.unsupported-type",
        "RFC 8555 6.7",
        MUST,
        "an identifier of an unknown type is 400 unsupportedIdentifier",
        "newOrder",
        problem(400, "unsupportedIdentifier"),
        payload={"identifiers": [{"type": "carrier-pigeon", "value": "coo"}]},
    ),
    row(
        "order.not-before-garbage",
        "RFC 8555 7.4",
        SHOULD,
        "a notBefore that is no RFC 3339 time is refused",
        "newOrder",
        refused("malformed"),
        payload={"identifiers": [{"type": "dns", "value": "a.example"}], "notBefore": "tomorrow"},
    ),
    row(
        "order.foreign-name",
        "sekisho PROTOCOL, orders",
        OURS,
        "a name that is not the credential's is 403 rejectedIdentifier with a subproblem for it",
        "newOrder",
        both(problem(403, "rejectedIdentifier"), lambda a: _blames(a, [FOREIGN])),
        payload={"identifiers": [FOREIGN]},
    ),
    row(
        "order.wildcard",
        "sekisho PROTOCOL, orders",
        OURS,
        "a wildcard name is refused",
        "newOrder",
        refused("rejectedIdentifier", "malformed"),
        payload={"identifiers": [{"type": "dns", "value": "*.users.example"}]},
    ),
    row(
        "order.thousand-names",
        "sekisho PROTOCOL, limits",
        OURS,
        "an order for 1,000 names is refused",
        "newOrder",
        refused("rejectedIdentifier", "malformed"),
        payload={"identifiers": [{"type": "dns", "value": f"n{n}.example"} for n in range(1000)]},
    ),
]


def _blames(answer: Answer, identifiers: list[dict[str, str]]) -> list[str]:
    """Subproblems name exactly these identifiers (RFC 8555 6.7.1)."""
    problems = answer.object().get("subproblems")
    named = (
        [one.get("identifier") for one in problems if isinstance(one, dict)]
        if isinstance(problems, list)
        else []
    )
    return [] if named == identifiers else [f"subproblems name {named}, not {identifiers}"]


@case(
    CASES,
    "order.created",
    "RFC 8555 7.4",
    MUST,
    "newOrder is 201 with Location and the order object, pending or ready",
)
async def created(world: World) -> None:
    owner = await acts.account(world)
    payload = {"identifiers": list(owner.credential.identifiers)}
    answer = await world.post(owner, await world.resource("newOrder"), payload)
    expect(answer, status(201), header("Location"), member("status", "pending", "ready"), ORDER)


@case(CASES, "order.expires", "RFC 8555 7.1.3", SHOULD, "a ready order has an RFC 3339 expires")
async def expires(world: World) -> None:
    expect((await acts.ready_order(world)).answer, timestamp_member("expires"))


@case(CASES, "order.pending-expires", "RFC 8555 7.1.3", MUST, "a pending order has an RFC 3339 expires")
async def pending_expires(world: World) -> None:
    owner = await acts.account(world)
    order = acts.ordered(await acts.new_order(world, owner), owner)
    if order.status != "pending":
        raise Skipped("orders are ready at once: nothing is ever pending here")
    expect(order.answer, timestamp_member("expires"))


@case(
    CASES,
    "order.identifiers-as-sent",
    "RFC 8555 7.1.3",
    MUST,
    "the order has the identifiers that were asked for",
)
async def as_sent(world: World) -> None:
    order = await acts.ready_order(world)
    shown = order.answer.object().get("identifiers")
    if not isinstance(shown, list) or not all(isinstance(one, dict) for one in shown):
        raise Failed(f"identifiers is {shown!r}")
    # An array of JSON has an order, a set of names has none; names are compared as DNS compares them.
    found = {(str(one.get("type")), str(one.get("value")).lower()) for one in shown}
    wanted = {(one["type"], one["value"].lower()) for one in order.identifiers}
    require(found == wanted, f"identifiers are {shown}")


@case(
    CASES,
    "order.becomes-ready",
    "RFC 8555 7.1.6",
    MUST,
    "once its authorizations are valid an order is ready",
)
async def becomes_ready(world: World) -> None:
    owner = await acts.account(world)
    await acts.make_ready(world, acts.ordered(await acts.new_order(world, owner), owner))


def _shouted(world_identifiers: tuple[Identifier, ...]) -> list[dict[str, str]]:
    return [{**one, "value": one["value"].upper()} for one in world_identifiers]


@case(
    CASES, "order.case-echoed", "RFC 8555 7.1.3", OURS, "names in upper case are answered as they were sent"
)
async def case_echoed(world: World) -> None:
    owner = await acts.account(world)
    sent = _shouted(owner.credential.identifiers)
    answer = await acts.new_order(world, owner, identifiers=sent)
    acts.ordered(answer, owner)
    expect(answer, status(201), member("identifiers", sent))


@case(CASES, "order.duplicate-names", "RFC 8555 7.4", SHOULD, "the same name twice is accepted or malformed")
async def twice(world: World) -> None:
    owner = await acts.account(world)
    answer = await acts.new_order(world, owner, identifiers=[*owner.credential.identifiers] * 2)
    expect(answer, either(status(201), BAD))


@case(
    CASES,
    "order.duplicate-names-accepted",
    "sekisho PROTOCOL, orders",
    OURS,
    "the same name twice is accepted, for renewing clients do so",
)
async def twice_accepted(world: World) -> None:
    owner = await acts.account(world)
    sent = [dict(one) for one in owner.credential.identifiers] * 2
    answer = await acts.new_order(world, owner, identifiers=sent)
    acts.ordered(answer, owner)
    expect(answer, status(201), member("identifiers", sent))


@case(
    CASES,
    "order.ready-at-once",
    "sekisho PROTOCOL, orders",
    OURS,
    "newOrder for the credential's names is 201 and already ready",
)
async def ready_at_once(world: World) -> None:
    owner = await acts.account(world)
    answer = await acts.new_order(world, owner)
    acts.ordered(answer, owner)
    expect(answer, status(201), member("status", "ready"))
    authorizations = answer.object().get("authorizations")
    names = {one["value"].lower() for one in owner.credential.identifiers}
    require(
        isinstance(authorizations, list) and len(authorizations) == len(names),
        f"authorizations: {authorizations}",
    )


@case(
    CASES,
    "order.mixed-names",
    "sekisho PROTOCOL, orders",
    OURS,
    "own and foreign names together are refused, and only the foreign is blamed",
)
async def mixed(world: World) -> None:
    owner = await acts.account(world)
    answer = await acts.new_order(world, owner, identifiers=[*owner.credential.identifiers, FOREIGN])
    expect(answer, problem(403, "rejectedIdentifier"), lambda a: _blames(a, [FOREIGN]))


@case(
    CASES,
    "order.unknown-members",
    "RFC 8555 7.4",
    SHOULD,
    "members nobody knows, and empty ones that some clients send, are ignored",
)
async def unknown_members(world: World) -> None:
    owner = await acts.account(world)
    extra = {
        "status": "",
        "authorizations": None,
        "finalize": "",
        "expires": "0001-01-01T00:00:00Z",
        "example": 1,
    }
    answer = await acts.new_order(world, owner, **extra)
    acts.ordered(answer, owner)
    expect(answer, status(201))


@case(
    CASES,
    "order.dates",
    "RFC 8555 7.4",
    MUST,
    "notBefore and notAfter are honoured as sent, or refused, never changed silently",
)
async def dates(world: World) -> None:
    owner = await acts.account(world)
    start = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    sent = {"notBefore": start.isoformat(), "notAfter": (start + timedelta(hours=12)).isoformat()}
    answer = await acts.new_order(world, owner, **sent)
    if answer.status == 201:
        for name, value in sent.items():
            shown = answer.object().get(name)
            require(timestamp(shown) == timestamp(value), f"{name} {value} became {shown}")
    else:
        expect(answer, refused())


@case(CASES, "order.anothers", "RFC 8555 6.3", MUST, "another account cannot read the order")
async def anothers(world: World) -> None:
    done, second = await acts.issued(world), await acts.stranger(world)
    expect(await world.post(second, done.order.url), problem({401, 403, 404}))


@case(CASES, "order.unknown", "RFC 8555 6.7", SHOULD, "an order that does not exist is a problem document")
async def unknown(world: World) -> None:
    done = await acts.issued(world)
    expect(await world.post(done.order.account, f"{done.order.url}0"), problem({400, 401, 403, 404}))


@case(
    CASES,
    "order.unknown-like-anothers",
    "RFC 8555 10.5",
    ADVICE,
    "another's order and none at all are answered alike",
)
async def alike(world: World) -> None:
    done, second = await acts.issued(world), await acts.stranger(world)
    urls = (done.order.url, f"{done.order.url}0")
    seen = [told(await world.post(second, url), url, url.rpartition("/")[2]) for url in urls]
    require(seen[0] == seen[1], f"another's: {seen[0]}, none: {seen[1]}")


@case(
    CASES,
    "order.finished-keeps-members",
    "RFC 8555 7.1.3",
    MUST,
    "a valid order still has finalize and authorizations, and a certificate URL",
)
async def finished(world: World) -> None:
    order = (await acts.issued(world)).order
    answer = await world.post(order.account, order.url)
    expect(answer, member("status", "valid"), ORDER, url_member("certificate"))


@case(
    CASES,
    "order.no-certificate-before",
    "RFC 8555 7.1.3",
    MUST,
    "an order that is not valid has no certificate URL",
)
async def not_before(world: World) -> None:
    order = await acts.ready_order(world)
    require(not is_url(order.answer.object().get("certificate")), "a ready order has a certificate URL")


@case(CASES, "order.valid-expires", "RFC 8555 7.1.3", MUST, "a valid order has an RFC 3339 expires")
async def valid_expires(world: World) -> None:
    order = (await acts.issued(world)).order
    expect(await world.post(order.account, order.url), timestamp_member("expires"))
