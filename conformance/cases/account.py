"""Accounts: creating, finding, updating, the list of orders, terms (RFC 8555 7.1.2, 7.3)."""

from __future__ import annotations

from conformance import acts, jose
from conformance.case import MUST, SHOULD, Case, case
from conformance.check import (
    both,
    either,
    header,
    is_url,
    links,
    media_type,
    member,
    no_member,
    problem,
    refused,
    status,
    url_member,
)
from conformance.credentials import Credential
from conformance.draft import Draft, payload_of
from conformance.drafts import row
from conformance.verdict import Failed, Skipped, expect, require
from conformance.wire import Call
from conformance.world import Account, World

STILL_VALID = both(status(200), member("status", "valid"))
INVALID_CONTACT = problem(400, "invalidContact")

CASES: list[Case] = [
    row(
        "account.read",
        "RFC 8555 7.3.2",
        MUST,
        "POST-as-GET of the account is the account object",
        "account",
        both(STILL_VALID, media_type("application/json")),
    ),
    row(
        "account.orders-url",
        "RFC 8555 7.1.2",
        MUST,
        "the account object has an orders URL",
        "account",
        url_member("orders"),
    ),
    row(
        "account.found-by-key",
        "RFC 8555 7.3.1",
        MUST,
        "onlyReturnExisting with a known key is 200 and its Location",
        "existing",
        both(status(200), header("Location")),
    ),
    row(
        "account.not-found-by-key",
        "RFC 8555 7.3.1",
        MUST,
        "onlyReturnExisting with an unknown key is 400 accountDoesNotExist",
        "unknown key",
        problem(400, "accountDoesNotExist"),
    ),
    row(
        "account.not-found-with-contact",
        "RFC 8555 7.3.1",
        MUST,
        "onlyReturnExisting beside other members still creates nothing",
        "unknown key",
        problem(400, "accountDoesNotExist"),
        payload={
            "onlyReturnExisting": True,
            "contact": ["mailto:a@client.example"],
            "termsOfServiceAgreed": True,
        },
    ),
    row(
        "account.only-existing-not-boolean",
        "RFC 8555 7.3",
        SHOULD,
        "onlyReturnExisting that is not a boolean is refused",
        "unknown key",
        refused("malformed", "externalAccountRequired"),
        payload={"onlyReturnExisting": "yes"},
    ),
    row(
        "account.update-empty",
        "RFC 8555 7.3.2",
        SHOULD,
        "an update with no members is 200 and changes nothing",
        "update",
        STILL_VALID,
        payload={},
    ),
    row(
        "account.update-unknown-member",
        "RFC 8555 7.3.2",
        MUST,
        "members nobody knows are ignored in an update",
        "update",
        both(STILL_VALID, no_member("example")),
        payload={"example": 1},
    ),
    row(
        "account.update-status-valid",
        "RFC 8555 7.3.2",
        MUST,
        "status valid in an update is ignored",
        "update",
        STILL_VALID,
        payload={"status": "valid"},
    ),
    row(
        "account.update-status-unknown",
        "RFC 8555 7.3.2",
        SHOULD,
        "a status a client cannot set is ignored or refused",
        "update",
        either(STILL_VALID, problem(400, "malformed")),
        payload={"status": "revoked"},
    ),
    row(
        "account.contact-set",
        "RFC 8555 7.3.2",
        SHOULD,
        "a new contact is in the answer",
        "update",
        both(status(200), member("contact", ["mailto:new@client.example"])),
        payload={"contact": ["mailto:new@client.example"]},
    ),
    row(
        "account.contact-emptied",
        "RFC 8555 7.3.2",
        SHOULD,
        "an empty contact list is accepted",
        "update",
        STILL_VALID,
        payload={"contact": []},
    ),
    row(
        "account.contact-not-a-list",
        "RFC 8555 7.1.2",
        SHOULD,
        "a contact that is not an array is refused",
        "update",
        problem(400, "malformed", "invalidContact"),
        payload={"contact": "mailto:a@client.example"},
    ),
    row(
        "account.contact-of-numbers",
        "RFC 8555 7.1.2",
        SHOULD,
        "a contact that is not a string is refused",
        "update",
        problem(400, "malformed", "invalidContact"),
        payload={"contact": [1]},
    ),
    row(
        "account.contact-scheme",
        "RFC 8555 7.3",
        SHOULD,
        "a contact of an unsupported scheme is unsupportedContact",
        "update",
        problem(400, "unsupportedContact"),
        payload={"contact": ["gopher://client.example/a"]},
    ),
    row(
        "account.contact-hfields",
        "RFC 8555 7.3",
        SHOULD,
        "a mailto with header fields is invalidContact",
        "update",
        INVALID_CONTACT,
        payload={"contact": ["mailto:a@client.example?subject=x"]},
    ),
    row(
        "account.contact-two-addresses",
        "RFC 8555 7.3",
        SHOULD,
        "a mailto with two addresses is invalidContact",
        "update",
        INVALID_CONTACT,
        payload={"contact": ["mailto:a@client.example,b@client.example"]},
    ),
    row(
        "account.contact-no-address",
        "RFC 8555 7.3",
        SHOULD,
        "a mailto with no address is invalidContact",
        "update",
        INVALID_CONTACT,
        payload={"contact": ["mailto:"]},
    ),
    row(
        "account.contact-empty-string",
        "RFC 8555 7.3",
        SHOULD,
        "an empty contact is refused",
        "update",
        problem(400, "invalidContact", "unsupportedContact"),
        payload={"contact": [""]},
    ),
]


@case(
    CASES,
    "account.created",
    "RFC 8555 7.3",
    MUST,
    "newAccount is 201 with Location and the account object, status valid",
)
async def created(world: World) -> None:
    first = await acts.account(world)
    expect(first.created, status(201), header("Location"), member("status", "valid"))
    require(is_url(first.url), f"Location is {first.url!r}")


@case(
    CASES, "account.again", "RFC 8555 7.3.1", MUST, "newAccount with a known key is 200 and the same Location"
)
async def again(world: World) -> None:
    first = await acts.account(world)
    answer = await world.new_account(first.key, {"termsOfServiceAgreed": True})
    expect(answer, status(200), member("status", "valid"))
    require(
        answer.header("Location") == first.url, f"Location is {answer.header('Location')}, not {first.url}"
    )


@case(
    CASES,
    "account.again-keeps-contacts",
    "RFC 8555 7.3.1",
    MUST,
    "newAccount with a known key changes no contact",
)
async def again_contacts(world: World) -> None:
    first = await acts.account(world)
    before = expect(
        await world.post(first, first.url, {"contact": ["mailto:kept@client.example"]}), status(200)
    )
    await world.new_account(
        first.key, {"termsOfServiceAgreed": True, "contact": ["mailto:other@client.example"]}
    )
    after = await world.post(first, first.url)
    require(
        after.object().get("contact") == before.object().get("contact"),
        f"contact became {after.object().get('contact')!r}",
    )


@case(
    CASES,
    "account.again-bad-contact",
    "RFC 8555 7.3.1",
    MUST,
    "newAccount with a known key is 200 and its Location, though the contact would not do for a new account",
)
async def again_bad_contact(world: World) -> None:
    first = await acts.account(world)
    answer = await world.new_account(first.key, {"termsOfServiceAgreed": True, "contact": ["gopher://x/"]})
    expect(answer, status(200))
    require(answer.header("Location") == first.url, f"Location is {answer.header('Location')}")


@case(
    CASES,
    "account.update-orders-ignored",
    "RFC 8555 7.3",
    MUST,
    "an orders member from the client is ignored",
)
async def orders_ignored(world: World) -> None:
    first = await acts.account(world)
    answer = await world.post(first, first.url, {"orders": "https://evil.example/orders"})
    expect(answer, status(200))
    require(
        answer.object().get("orders") != "https://evil.example/orders",
        "the client's orders URL was taken over",
    )


@case(
    CASES,
    "account.refused-update-changes-nothing",
    "RFC 8555 7.3.2",
    SHOULD,
    "a refused update leaves the contacts as they were",
)
async def refused_update(world: World) -> None:
    first = await acts.account(world)
    expect(await world.post(first, first.url, {"contact": ["mailto:kept@client.example"]}), status(200))
    await world.post(first, first.url, {"contact": ["mailto:new@client.example", "gopher://client.example/"]})
    after = await world.post(first, first.url)
    expect(after, member("contact", ["mailto:kept@client.example"]))


async def _order_pages(world: World, owner: Account) -> list[list[str]]:
    """Every page of the account's order list, following Link rel="next"."""
    url = (await world.post(owner, owner.url)).object().get("orders")
    if not isinstance(url, str):
        raise Failed("the account object has no orders URL")
    pages: list[list[str]] = []
    while url is not None and len(pages) < 200:
        answer = expect(await world.post(owner, url), status(200), media_type("application/json"))
        listed = answer.object().get("orders")
        if not isinstance(listed, list) or not all(is_url(one) for one in listed):
            raise Failed(f'the list is {answer.body[:80]!r}, not {{"orders":[URLs]}}')
        pages.append(listed)
        url = next(iter(links(answer, "next")), None)
    return pages


@case(
    CASES,
    "account.orders-list",
    "RFC 8555 7.1.2.1",
    MUST,
    'the order list is {"orders":[URLs]} and has the account\'s orders',
)
async def orders_list(world: World) -> None:
    done = await acts.issued(world)
    pages = await _order_pages(world, done.order.account)
    require(any(done.order.url in page for page in pages), "a finished order is not in the list")


@case(
    CASES,
    "account.orders-own-only",
    "RFC 8555 7.1.2.1",
    MUST,
    "the order list has the account's own orders and no other's",
)
async def orders_own(world: World) -> None:
    done, second = await acts.issued(world), await acts.stranger(world)
    pages = await _order_pages(world, second)
    require(not any(done.order.url in page for page in pages), "another account's order is in the list")


@case(
    CASES,
    "account.orders-paging",
    "RFC 8555 7.1.2.1",
    SHOULD,
    "pages of the order list follow by rel=next, no order twice",
)
async def orders_paging(world: World) -> None:
    done = await acts.issued(world)
    pages = await _order_pages(world, done.order.account)
    listed = [url for page in pages for url in page]
    require(len(pages) < 200, "the pages do not end")
    require(len(listed) == len(set(listed)), "an order is listed twice")


@case(
    CASES, "account.orders-none-invalid", "RFC 8555 7.1.2.1", SHOULD, "the order list has no invalid orders"
)
async def orders_none_invalid(world: World) -> None:
    done = await acts.issued(world)
    for url in [url for page in await _order_pages(world, done.order.account) for url in page][:10]:
        answer = await world.post(done.order.account, url)
        require(answer.object().get("status") != "invalid", f"{url} is invalid")


@case(
    CASES,
    "account.orders-not-anothers",
    "RFC 8555 7.1.2.1",
    MUST,
    "another account cannot read the order list",
)
async def orders_anothers(world: World) -> None:
    first, second = await acts.account(world), await acts.stranger(world)
    url = str((await world.post(first, first.url)).object().get("orders"))
    expect(await world.post(second, url), problem({401, 403, 404}))


@case(CASES, "account.orders-get", "RFC 8555 6.3", MUST, "GET of the order list is 405")
async def orders_get(world: World) -> None:
    first = await acts.account(world)
    url = str((await world.post(first, first.url)).object().get("orders"))
    expect(await world.call(Call("GET", url)), problem(405, "malformed"))


@case(
    CASES,
    "account.terms-not-agreed",
    "RFC 8555 7.3",
    MUST,
    "where there are terms, newAccount without agreement is refused",
)
async def terms(world: World) -> None:
    if "termsOfService" not in await world.meta():
        raise Skipped("the server has no terms of service")
    key = jose.new_key()
    payload = await acts.account_request(world, key, _spare(world))
    for agreed in ({}, {"termsOfServiceAgreed": False}):
        payload.pop("termsOfServiceAgreed", None)
        expect(await world.new_account(key, {**payload, **agreed}), refused())


@case(
    CASES,
    "account.terms-not-boolean",
    "RFC 8555 7.3",
    SHOULD,
    "termsOfServiceAgreed that is not a boolean is refused",
)
async def terms_type(world: World) -> None:
    key = jose.new_key()
    payload = await acts.account_request(world, key, _spare(world))
    expect(await world.new_account(key, {**payload, "termsOfServiceAgreed": "yes"}), refused())


@case(
    CASES,
    "account.bad-contact-at-creation",
    "RFC 8555 7.3",
    MUST,
    "newAccount with a bad contact creates nothing",
)
async def bad_contact(world: World) -> None:
    key = jose.new_key()
    payload = await acts.account_request(world, key, _spare(world))
    answer = await world.new_account(key, {**payload, "contact": ["mailto:a@b.example?cc=c@d.example"]})
    expect(answer, INVALID_CONTACT)
    expect(await world.new_account(key, {"onlyReturnExisting": True}), problem(400, "accountDoesNotExist"))


@case(CASES, "account.payload-empty", "RFC 8555 7.3", MUST, "newAccount with an empty payload is refused")
async def empty_payload(world: World) -> None:
    draft = Draft(await world.resource("newAccount"), payload_of(None), jose.new_key(), None)
    expect(await world.send(draft), refused())


@case(
    CASES,
    "account.race-creation",
    "RFC 8555 7.3.1",
    MUST,
    "eight newAccount requests with one key at once make one account",
)
async def race_creation(world: World) -> None:
    credential, key = acts.take(world), jose.new_key()
    payload = await acts.account_request(world, key, credential)
    url = await world.resource("newAccount")
    await world.wire.open_many(url, 8)
    answers = await acts.race(*(world.new_account(key, payload) for _ in range(8)))
    world.spent.add(credential.kid)
    locations = {answer.header("Location") for answer in answers if answer.status in {200, 201}}
    for answer in answers:
        expect(answer, status(200, 201))
    require(len(locations) == 1, f"{len(locations)} accounts were made")
    created_now = sum(answer.status == 201 for answer in answers)
    require(created_now == 1, f"{created_now} answers were 201")
    location = next(iter(locations)) or ""
    world.put(acts.ROLLER, Account(location, key, credential, next(a for a in answers if a.status == 201)))


def _spare(world: World) -> Credential | None:
    return next((one for one in reversed(acts.unspent(world)) if one.binds), None)
