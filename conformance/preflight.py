"""A look at the server before any case runs: what no case could tell apart from a broken server is said once.

Whoever gets a host, a CA or an option wrong would read hundreds of failures under other names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from conformance import acts, validations
from conformance.check import shown, status
from conformance.credentials import Identifier, Usage
from conformance.responder import METHODS
from conformance.verdict import Blocked, Failed, Skipped, Unvalidated, expect
from conformance.wire import Broken
from conformance.world import REQUIRED, Account, Order, World

#: What part of a failed connection's text says -> what to type. The first that fits.
_CONNECTION = (
    ("CERTIFICATE_VERIFY_FAILED", "name the roots that its certificate is from: --ca-file FILE.pem"),
    ("certificate verify failed", "name the roots that its certificate is from: --ca-file FILE.pem"),
    ("Name or service not known", "say where it is: --resolve NAME=ADDRESS"),
    ("nodename nor servname", "say where it is: --resolve NAME=ADDRESS"),
    ("No address associated", "say where it is: --resolve NAME=ADDRESS"),
    ("Connect call failed", "is it running, and is the port right? see --directory"),
    ("Connection refused", "is it running, and is the port right? see --directory"),
    ("WRONG_VERSION_NUMBER", "does it speak TLS there? see --directory"),
    ("record layer failure", "does it speak TLS there? see --directory"),
)


@dataclass(frozen=True)
class Found:
    """What the server says of itself and what the run can do with it, in lines for people."""

    lines: tuple[str, ...]


async def look(world: World, *, accounts: bool = True) -> Found:
    """Asks for the directory, an account and an order, as the cases will. Usage where they would be in vain.

    A server's own fault is for the cases to find: only what an option can mend ends the run here.
    ``accounts``: whether any chosen case needs an account.
    """
    directory = await _directory(world)
    meta = directory.get("meta")
    world.bindings_required = isinstance(meta, dict) and meta.get("externalAccountRequired") is True
    lines = [f"server   {world.directory_url}", f"offers   {', '.join(sorted(map(str, directory)))}"]
    missing = sorted(REQUIRED - set(directory))
    if missing:
        lines.append(f"lacks    {', '.join(missing)}: cases that need these are BLOCKED")
    kind = "bindings required" if world.bindings_required else "no binding required"
    lines.append(f"accounts {kind}; {_given(world)}")
    if accounts:
        _enough(world)
        if _may_spend(world):
            await _account(world)
            lines += await _orders(world)
    return Found(tuple(lines))


def _given(world: World) -> str:
    bindings = world.credentials.bindings
    if not bindings:
        return "nothing to order is given"
    names = sorted(set().union(*(one.names for one in bindings)))
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    many = len(bindings)
    kind = "credential" if any(one.binds for one in bindings) else "identifier"
    return f"{many} {kind}{'s' if many > 1 else ''}: {shown}"


def _enough(world: World) -> None:
    """Usage where nothing is given that an account could be made or an order be sent with."""
    bindings = world.credentials.bindings
    without = "or try only what needs no account: --without-account"
    if world.bindings_required and not any(one.binds for one in bindings):
        but = " (--identifier gives names, and no binding)" if bindings else ""
        raise Usage(
            f"the server requires external account bindings, and none is given{but}: add --credentials FILE, "
            f"{without}"
        )
    if not bindings:
        raise Usage(f"no name to order is given: add --identifier NAME, which leads here, {without}")


def _may_spend(world: World) -> bool:
    """A single credential that binds once is needed unbound by the cases of refused bindings."""
    free = acts.unspent(world)
    return len(free) > 1 or any(one.reusable for one in free)


async def _directory(world: World) -> dict[str, object]:
    try:
        answer = await world.get(world.directory_url)
    except Broken as error:
        hint = next((hint for part, hint in _CONNECTION if part in str(error)), "see --directory")
        raise Usage(f"{error}; {hint}") from None
    body = answer.object()
    if answer.status != 200 or not REQUIRED & set(body):
        what = f"{answer.status}, {answer.media_type or 'no type'}, {len(answer.body)} octets"
        # A port for TLS answers plain HTTP by 400, if at all.
        if world.directory_url.startswith("http://") and answer.status == 400:
            url = "https" + world.directory_url.removeprefix("http")
            raise Usage(f"{world.directory_url} is no ACME directory ({what}); with TLS? --directory {url}")
        raise Usage(
            f"{world.directory_url} is no ACME directory ({what}); "
            "give the URL that clients are configured with: --directory https://.../directory"
        )
    return body


async def _account(world: World) -> None:
    try:
        await acts.account(world)
    except Blocked as blocked:
        # Without a remedy it is the server's fault, and a case says so.
        if blocked.remedy:
            raise Usage(f"no account can be made, so nothing can be tried: {blocked.why}") from None
    except Skipped:
        pass


async def _orders(world: World) -> list[str]:
    """Whether orders become ready, and how: by each method that is answered, and for each name that is given
    without a binding. In lines, for orders may fail for many reasons; Usage for those that an option mends.
    """
    owner = world.kept(acts.ACCOUNT)
    if owner is None:
        return []
    names = [owner.credential.identifiers]
    if not owner.credential.binds:
        names += [one.identifiers for one in world.credentials.bindings if not one.binds]
    try:
        order = await _ordered(world, owner, names[0])
        if order.status == "ready":
            return ["orders   ready at once"]
        offered = await _offered(world, order)
        ready = await _ready(world, order, None)
        if not ready:
            # The first of them is what that order was made ready by.
            served = [one for one in METHODS if one in offered and one in world.answers.served]
            for method in served[1:]:
                ready += await _ready(world, await _ordered(world, owner, names[0]), method)
            for more in dict.fromkeys(_key(each) for each in names[1:] if _key(each) != _key(names[0])):
                given = tuple({"type": kind, "value": value} for kind, value in more)
                ready += await _ready(world, await _ordered(world, owner, given), None)
    except (Failed, Skipped, Broken, Blocked) as error:
        return [f"orders   none could be made: {error}"]
    by = ", ".join(sorted(offered)) or "no challenge"
    idle = sorted(world.answers.served - set(offered))
    notes = [f"         --{method}-port is given, and the server offers no {method} here" for method in idle]
    return [*(ready or [f"orders   ready by {by}"]), *notes]


def _key(identifiers: Sequence[Identifier]) -> tuple[tuple[str, str], ...]:
    return tuple((one["type"], one["value"].lower()) for one in identifiers)


async def _ordered(world: World, owner: Account, identifiers: Sequence[Identifier]) -> Order:
    answer = await acts.new_order(world, owner, identifiers=list(identifiers))
    if answer.problem_type() in {"rejectedIdentifier", "unsupportedIdentifier"}:
        names = ", ".join(one["value"] for one in identifiers)
        raise Usage(f"no order for {names} is taken: {shown(answer)}; order a name that is, {_other(owner)}")
    return acts.ordered(answer, owner, identifiers)


def _other(owner: Account) -> str:
    """How to order another name."""
    return "in --credentials FILE" if owner.credential.binds else "by --identifier NAME"


async def _offered(world: World, order: Order) -> list[str]:
    authorization = expect(await world.post(order.account, order.authorizations[0]), status(200)).object()
    challenges = authorization.get("challenges")
    return [str(one.get("type")) for one in challenges] if isinstance(challenges, list) else []


async def _ready(world: World, order: Order, method: str | None) -> list[str]:
    """A line for an order that does not become ready; Usage where an option mends that."""
    before = {kind: world.answers.visits(kind) for kind in world.answers.ports}
    try:
        await acts.make_ready(world, order, method)
    except Unvalidated as failure:
        tried = failure.attempt
        visited = world.answers.visits(tried.method) > before.get(tried.method, 0)
        if mend := validations.remedy(tried, world.answers.ports, visited, _other(order.account)):
            raise Usage(f"orders do not become ready: {tried.seen}; {mend}") from None
        return [f"orders   pending; none became ready: {failure}"]
    except (Failed, Broken) as error:
        return [f"orders   pending; none became ready: {error}"]
    return []
