"""Anti-replay nonces (RFC 8555 6.5, 7.2), and spending one twice at the same moment."""

from __future__ import annotations

import asyncio
import re

from conformance import acts, jose
from conformance.case import ADVICE, MUST, SHOULD, Case, case
from conformance.check import both, empty_body, header, problem, replay_nonce, status
from conformance.draft import DROP, Draft, Twist, compose
from conformance.drafts import row
from conformance.verdict import Skipped, expect, require
from conformance.wire import Answer, Call
from conformance.world import Account, World

BAD = problem(400, "malformed")
BAD_NONCE = both(problem(400, "badNonce"), replay_nonce)

CASES: list[Case] = [
    row(
        "nonce.missing",
        "RFC 8555 6.5",
        MUST,
        "a JWS without nonce is badNonce with a fresh one",
        "account",
        BAD_NONCE,
        Twist(protected={"nonce": DROP}),
    ),
    row(
        "nonce.invented",
        "RFC 8555 6.5",
        MUST,
        "a nonce the server never gave is badNonce with a fresh one",
        "account",
        BAD_NONCE,
        Twist(protected={"nonce": jose.b64(b"0123456789abcdef")}),
    ),
    row(
        "nonce.invented-long",
        "RFC 8555 6.5",
        MUST,
        "a long invented nonce is badNonce",
        "account",
        problem(400, "badNonce", "malformed"),
        Twist(protected={"nonce": "A" * 4000}),
    ),
    row(
        "nonce.empty",
        "RFC 8555 6.5.2",
        MUST,
        "an empty nonce is refused",
        "account",
        problem(400, "malformed", "badNonce"),
        Twist(protected={"nonce": ""}),
    ),
    *(
        row(
            f"nonce.{name}",
            "RFC 8555 6.5.2",
            MUST,
            f"a nonce {title} is malformed",
            "account",
            BAD,
            Twist(protected={"nonce": value}),
        )
        for name, title, value in (
            ("padded", "with padding", "AAAAAAAAAAAAAAAAAAAAAA=="),
            ("not-base64url", "with characters outside base64url", "@@@@ nonce !!"),
            ("number", "that is a number", 12345),
            ("list", "that is a list", ["AAAA"]),
        )
    ),
]


@case(CASES, "nonce.head", "RFC 8555 7.2", MUST, "HEAD of newNonce brings a nonce")
async def head(world: World) -> None:
    answer = await world.get(await world.resource("newNonce"), "HEAD")
    expect(answer, status(200, 204), replay_nonce, empty_body)


@case(CASES, "nonce.head-200", "RFC 8555 7.2", SHOULD, "HEAD of newNonce is 200")
async def head_200(world: World) -> None:
    expect(await world.get(await world.resource("newNonce"), "HEAD"), status(200))


@case(CASES, "nonce.get", "RFC 8555 7.2", MUST, "GET of newNonce is 204 with a nonce and no body")
async def get(world: World) -> None:
    answer = await world.get(await world.resource("newNonce"))
    expect(answer, status(204), replay_nonce, empty_body)


@case(CASES, "nonce.no-store", "RFC 8555 7.2", MUST, "answers of newNonce carry Cache-Control: no-store")
async def no_store(world: World) -> None:
    for method in ("HEAD", "GET"):
        answer = await world.get(await world.resource("newNonce"), method)
        expect(answer, header("Cache-Control", r"\bno-store\b"), about=method)


@case(CASES, "nonce.distinct", "RFC 8555 6.5.1", MUST, "nonces differ, and are long enough not to be guessed")
async def distinct(world: World) -> None:
    url = await world.resource("newNonce")
    nonces = [(await world.get(url, "HEAD")).header("Replay-Nonce") or "" for _ in range(16)]
    require(len(set(nonces)) == 16, "the same nonce came twice")
    require(min(len(nonce) for nonce in nonces) >= 16, f"a nonce of {min(map(len, nonces))} characters")


@case(
    CASES,
    "nonce.unpredictable",
    "RFC 8555 6.5.1",
    ADVICE,
    "nonces in a row have no long common beginning or end",
)
async def unpredictable(world: World) -> None:
    url = await world.resource("newNonce")
    nonces = [(await world.get(url, "HEAD")).header("Replay-Nonce") or "" for _ in range(8)]
    varying = {i for i in range(min(map(len, nonces))) if len({nonce[i] for nonce in nonces}) > 2}
    require(len(varying) >= 16, f"only {len(varying)} characters vary between 8 nonces")


@case(CASES, "nonce.spent", "RFC 8555 6.5", MUST, "a nonce is spent by the request that used it")
async def spent(world: World) -> None:
    owner, nonce = await acts.account(world), await world.nonce()
    draft = Draft(owner.url, b"", owner.key, owner.url)
    expect(await world.send(draft, Twist(protected={"nonce": nonce})), status(200), about="first use")
    expect(await world.send(draft, Twist(protected={"nonce": nonce})), BAD_NONCE, about="second use")


@case(CASES, "nonce.same-request-again", "RFC 8555 6.5", MUST, "the same bytes sent again are badNonce")
async def replay(world: World) -> None:
    owner = await acts.account(world)
    call = compose(Draft(owner.url, b"", owner.key, owner.url), await world.nonce())
    expect(await world.call(call, signed=True), status(200))
    expect(await world.call(call, signed=True), BAD_NONCE)


@case(
    CASES,
    "nonce.of-bad-nonce-works",
    "RFC 8555 6.5",
    MUST,
    "the nonce of a badNonce answer is accepted in the retry",
)
async def from_error(world: World) -> None:
    owner = await acts.account(world)
    draft = Draft(owner.url, b"", owner.key, owner.url)
    answer = await world.send(draft, Twist(protected={"nonce": jose.b64(b"fedcba9876543210")}))
    expect(answer, BAD_NONCE)
    again = await world.send(draft, Twist(protected={"nonce": answer.header("Replay-Nonce") or ""}))
    expect(again, status(200))


@case(CASES, "nonce.shared-by-keys", "RFC 8555 6.5", SHOULD, "a nonce given to one account serves another")
async def shared(world: World) -> None:
    first, second = await acts.account(world), await acts.stranger(world)
    given = await world.post(first, first.url)
    nonce = given.header("Replay-Nonce") or ""
    answer = await world.send(
        Draft(second.url, b"", second.key, second.url), Twist(protected={"nonce": nonce})
    )
    expect(answer, status(200))


@case(CASES, "nonce.truncated", "RFC 8555 6.5", MUST, "a nonce with its last character changed is badNonce")
async def truncated(world: World) -> None:
    nonce = await world.nonce()
    bent = nonce[:-2] + ("AA" if nonce[-2:] != "AA" else "EE")
    owner = await acts.account(world)
    answer = await world.send(Draft(owner.url, b"", owner.key, owner.url), Twist(protected={"nonce": bent}))
    expect(answer, problem(400, "badNonce", "malformed"))


@case(
    CASES,
    "nonce.spent-by-bad-signature",
    "RFC 8555 6.5",
    MUST,
    "a nonce that has appeared in a request is spent, also if that was refused for its signature",
)
async def burnt(world: World) -> None:
    owner, nonce = await acts.account(world), await world.nonce()
    draft = Draft(owner.url, b"", owner.key, owner.url)
    spoil = Twist(protected={"nonce": nonce}, signature=lambda s: s[:-1] + bytes([s[-1] ^ 1]))
    expect(await world.send(draft, spoil), problem({400, 401, 403}, "malformed", "unauthorized"))
    expect(await world.send(draft, Twist(protected={"nonce": nonce})), BAD_NONCE, about="the second use")


@case(
    CASES,
    "nonce.double-spend",
    "RFC 8555 6.5",
    MUST,
    "of two requests with one nonce at the same moment one wins",
)
async def double_spend(world: World) -> None:
    owner = await acts.account(world)
    for _ in range(10):
        won = one_nonce_many(await _at_once(world, owner, 2))
        require(won == 1, f"{won} of 2 requests with the same nonce were accepted")


@case(
    CASES,
    "nonce.eightfold-spend",
    "RFC 8555 6.5",
    MUST,
    "of eight requests with one nonce at the same moment one wins",
)
async def eightfold(world: World) -> None:
    owner = await acts.account(world)
    won = one_nonce_many(await _at_once(world, owner, 8))
    require(won == 1, f"{won} of 8 requests with the same nonce were accepted")


async def _at_once(world: World, owner: Account, count: int) -> list[Answer]:
    nonce = await world.nonce()
    drafts = [Draft(owner.url, b"", owner.key, owner.url) for _ in range(count)]
    calls = [compose(draft, nonce) for draft in drafts]
    await world.wire.open_many(owner.url, count)
    return list(await asyncio.gather(*(world.call(call, signed=True) for call in calls)))


def one_nonce_many(answers: list[Answer]) -> int:
    """How many were accepted; every other must be badNonce."""
    for answer in answers:
        if answer.status != 200:
            expect(answer, BAD_NONCE)
    return sum(answer.status == 200 for answer in answers)


@case(
    CASES,
    "nonce.many-outstanding",
    "RFC 8555 6.5",
    SHOULD,
    "a nonce is still good after a hundred others were given out",
)
async def outstanding(world: World) -> None:
    nonce, url = await world.nonce(), await world.resource("newNonce")
    for _ in range(100):
        await world.get(url, "HEAD")
    owner = await acts.account(world)
    answer = await world.send(Draft(owner.url, b"", owner.key, owner.url), Twist(protected={"nonce": nonce}))
    expect(answer, status(200))


@case(CASES, "nonce.across-connections", "RFC 8555 6.5", SHOULD, "nonces are good on other connections too")
async def across(world: World) -> None:
    owner, url = await acts.account(world), await world.resource("newNonce")
    for _ in range(12):
        given = await world.call(Call("HEAD", url), fresh=True)
        twist = Twist(protected={"nonce": given.header("Replay-Nonce") or ""})
        answer = await world.send(Draft(owner.url, b"", owner.key, owner.url), twist, fresh=True)
        expect(answer, status(200))


@case(CASES, "nonce.directory-link", "RFC 8555 7.2", SHOULD, "newNonce links to the directory")
async def link(world: World) -> None:
    answer = await world.get(await world.resource("newNonce"), "HEAD")
    target = re.findall(r'<([^>]*)>;\s*rel="index"', answer.header("Link") or "")
    if not target:
        raise Skipped("no Link at all; audit.link-index says so")
    require(world.directory_url in target, f"rel=index is {target[0]}, not {world.directory_url}")
