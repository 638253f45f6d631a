"""Who is meant and what is asked: kid, jwk and url in the protected header (RFC 8555 6.2, 6.4)."""

from __future__ import annotations

from urllib.parse import urlsplit

from conformance import acts, jose
from conformance.case import MUST, SHOULD, Case, case
from conformance.check import problem, refused
from conformance.draft import DROP, Draft, Twist, payload_of
from conformance.drafts import row
from conformance.verdict import expect
from conformance.wire import Answer
from conformance.world import World

BAD = problem(400, "malformed")
WRONG_SIGNATURE = problem({400, 401, 403}, "malformed", "unauthorized")
# RFC 8555 6.4 names the type and no status.
WRONG_URL = refused("unauthorized")


def not_served(answer: Answer) -> list[str]:
    """The account object did not come: what a host that does not exist answers is not ours to judge."""
    return (
        [f"{answer.status} with the account object"]
        if "status" in answer.object() and answer.status < 300
        else []
    )


CASES: list[Case] = [
    row(
        "kid.and-jwk",
        "RFC 8555 6.2",
        MUST,
        "kid and jwk together are refused, signed by that jwk",
        "account",
        BAD,
        Twist(
            protected={"jwk": jose.spare_key("ES256").jwk},
            sign=lambda _, data: jose.spare_key("ES256").sign(data),
        ),
    ),
    row(
        "kid.neither",
        "RFC 8555 6.2",
        MUST,
        "neither kid nor jwk is refused",
        "account",
        BAD,
        Twist(protected={"kid": DROP}),
    ),
    row(
        "kid.at-new-account",
        "RFC 8555 6.2",
        MUST,
        "kid at newAccount is refused",
        "existing",
        BAD,
        Twist(protected={"jwk": DROP, "kid": "https://acme.example/acct/1"}),
    ),
    *(
        row(
            f"kid.{name}",
            "RFC 8555 6.2",
            MUST,
            f"{title} is refused: kid is the account URL exactly",
            "account",
            refused("malformed", "unauthorized", "accountDoesNotExist"),
            Twist(protected={"kid": change}),
        )
        for name, title, change in (
            ("suffix", "a kid with a path segment more", lambda kid: f"{kid}/x"),
            ("trailing-slash", "a kid with a trailing slash", lambda kid: f"{kid}/"),
            ("query", "a kid with a query", lambda kid: f"{kid}?x=1"),
            ("other-host", "a kid on another host", lambda kid: swap_host(kid)),
            ("other-path", "a kid under another path", lambda kid: swap_path(kid)),
            ("bare-id", "a kid that is only the last segment", lambda kid: kid.rpartition("/")[2]),
            ("http", "a kid with scheme http", lambda kid: kid.replace("https:", "http:", 1)),
            ("empty", "an empty kid", ""),
            ("number", "a kid that is a number", 1),
        )
    ),
    row(
        "kid.unknown",
        "RFC 8555 6.7",
        MUST,
        "the kid of an account that does not exist is accountDoesNotExist",
        "newOrder",
        problem(400, "accountDoesNotExist"),
        Twist(protected={"kid": lambda kid: unknown_like(kid)}),
    ),
    row(
        "url.missing",
        "RFC 8555 6.4",
        MUST,
        "a JWS without url is refused as malformed",
        "account",
        BAD,
        Twist(protected={"url": DROP}),
    ),
    row(
        "url.not-a-string",
        "RFC 8555 6.4",
        MUST,
        "a url that is not a string is refused",
        "account",
        refused("malformed", "unauthorized"),
        Twist(protected={"url": 5}),
    ),
    *(
        row(
            f"url.{name}",
            "RFC 8555 6.4",
            MUST,
            f"{title} is unauthorized",
            "account",
            WRONG_URL,
            Twist(protected={"url": change}),
        )
        for name, title, change in (
            ("other-resource", "the url of another resource", lambda url: f"{url}x"),
            ("other-host", "a url on another host", lambda url: swap_host(url)),
            ("query", "a url with a query that the request has not", lambda url: f"{url}?x=1"),
            ("trailing-slash", "a url with a trailing slash more", lambda url: f"{url}/"),
            ("scheme", "a url with scheme http", lambda url: url.replace("https:", "http:", 1)),
            ("path-only", "a url that is only a path", lambda url: urlsplit(url).path),
        )
    ),
    row(
        "url.empty",
        "RFC 8555 6.4",
        MUST,
        "an empty url is refused",
        "account",
        refused("unauthorized", "malformed"),
        Twist(protected={"url": ""}),
    ),
    row(
        "url.request-has-query",
        "RFC 8555 6.4",
        MUST,
        "a query in the request that the signed url has not is unauthorized",
        "account",
        refused("unauthorized", "malformed"),
        Twist(url=lambda url: f"{url}?x=1"),
    ),
    row(
        "url.host-header-differs",
        "RFC 8555 6.4",
        MUST,
        "a Host header chosen by the attacker does not make a foreign url right",
        "account",
        not_served,
        Twist(http={"Host": "evil.example"}, protected={"url": lambda url: swap_host(url, "evil.example")}),
    ),
    row(
        "url.forwarded-host",
        "RFC 8555 6.4",
        MUST,
        "X-Forwarded-Host and Forwarded do not make a foreign url right",
        "account",
        WRONG_URL,
        Twist(
            http={"X-Forwarded-Host": "evil.example", "Forwarded": "host=evil.example;proto=https"},
            protected={"url": lambda url: swap_host(url, "evil.example")},
        ),
    ),
]


def swap_host(url: str, host: str = "other.example") -> str:
    return urlsplit(url)._replace(netloc=host).geturl()


def swap_path(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(path=f"/elsewhere/{parts.path.rpartition('/')[2]}").geturl()


def unknown_like(url: str) -> str:
    """An account URL of the same form that was never given out."""
    head, _, tail = url.rpartition("/")
    changed = "".join(str((int(c) + 5) % 10) if c.isdigit() else c.swapcase() for c in reversed(tail))
    return f"{head}/{changed if changed != tail else tail + '7'}"


@case(
    CASES,
    "kid.jwk-where-kid-belongs",
    "RFC 8555 6.2",
    MUST,
    "jwk at newOrder is refused, even a known account's",
)
async def jwk_at_new_order(world: World) -> None:
    owner = await acts.account(world)
    payload = payload_of({"identifiers": list(owner.credential.identifiers)})
    expect(await world.send(Draft(await world.resource("newOrder"), payload, owner.key, None)), BAD)


@case(CASES, "kid.anothers", "RFC 8555 6.2", MUST, "an account cannot sign under another's kid")
async def anothers_kid(world: World) -> None:
    first, second = await acts.account(world), await acts.stranger(world)
    draft = Draft(first.url, b"", second.key, first.url)
    expect(await world.send(draft), WRONG_SIGNATURE)


@case(
    CASES,
    "kid.anothers-account-url",
    "RFC 8555 7.3.2",
    MUST,
    "an account cannot read another's account object",
)
async def anothers_account(world: World) -> None:
    first, second = await acts.account(world), await acts.stranger(world)
    expect(await world.post(second, first.url), problem({400, 401, 403, 404}))


@case(
    CASES,
    "url.default-port",
    "RFC 8555 6.4",
    SHOULD,
    "url is compared as text: a default port written out differs",
)
async def default_port(world: World) -> None:
    draft_url = (await acts.account(world)).url
    parts = urlsplit(draft_url)
    bent = parts._replace(netloc=f"{parts.hostname}:{443 if parts.port else 444}").geturl()
    owner = await acts.account(world)
    answer = await world.send(Draft(owner.url, b"", owner.key, owner.url), Twist(protected={"url": bent}))
    expect(answer, WRONG_URL)
