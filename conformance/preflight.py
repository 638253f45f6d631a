"""A look at the server before any case runs: what no case could tell apart from a broken server is said once.

Whoever gets a host, a CA or an option wrong would read hundreds of failures under other names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from conformance import acts
from conformance.check import status
from conformance.credentials import Usage
from conformance.verdict import Blocked, Failed, Skipped, expect
from conformance.wire import Broken
from conformance.world import REQUIRED, World

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


async def look(world: World, *, orders: bool = True) -> Found:
    """Asks for the directory, an account and an order, as the cases will. Usage where they would be in vain.

    A server's own fault is for the cases to find: only what an option can mend ends the run here.
    ``orders``: whether any chosen case needs an order.
    """
    directory = await _directory(world)
    meta = directory.get("meta")
    external = isinstance(meta, dict) and meta.get("externalAccountRequired") is True
    lines = [f"server   {world.directory_url}", f"offers   {', '.join(sorted(map(str, directory)))}"]
    missing = sorted(REQUIRED - set(directory))
    if missing:
        lines.append(f"lacks    {', '.join(missing)}: cases that need these are BLOCKED")
    bindings = world.credentials.bindings
    kind = "bindings required" if external else "no binding required"
    lines.append(f"accounts {kind}; {_given(world)}")
    if external and not any(one.binds for one in bindings):
        lines.append("         without --credentials FILE only what needs no account can run")
    elif orders and _may_spend(world):
        await _account(world)
        lines += await _order(world)
    return Found(tuple(lines))


def _given(world: World) -> str:
    bindings = world.credentials.bindings
    if not bindings:
        return "no identifiers to order are given: --identifier NAME or --credentials FILE"
    names = sorted(set().union(*(one.names for one in bindings)))
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return f"{len(bindings)} credentials for {shown}"


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
        raise Usage(
            f"{world.directory_url} is no ACME directory ({what}); "
            "give the URL that clients are configured with: --directory https://.../directory"
        )
    return body


#: Method -> the option that has the suite answer it, and what else it takes.
_OPTIONS = {
    "http-01": "--http-01-port PORT, the port that the server asks (80, unless it is configured otherwise), "
    "and let every name of the credentials lead here",
    "dns-01": "--dns-01-port PORT, and have the server ask the DNS there",
    "tls-alpn-01": "--tls-alpn-01-port PORT, the port that the server asks (443, unless it is configured "
    "otherwise), and let every name of the credentials lead here",
}


def _option(offered: Sequence[str]) -> str | None:
    return next((option for method, option in _OPTIONS.items() if method in offered), None)


async def _account(world: World) -> None:
    try:
        await acts.account(world)
    except Blocked as blocked:
        # The remedy is behind a semicolon; without one it is the server's fault, and a case says so.
        if "; " in blocked.why:
            raise Usage(f"no account can be made, so nothing can be tried: {blocked.why}") from None
    except Skipped:
        pass


async def _order(world: World) -> Sequence[str]:
    """Whether orders become ready, and how. A notice only, for orders may fail for many reasons."""
    owner = world.kept("account")
    if owner is None:
        return ()
    try:
        order = acts.ordered(await acts.new_order(world, owner), owner)
        if order.status == "ready":
            return ("orders   ready at once",)
        authorization = expect(await world.post(owner, order.authorizations[0]), status(200)).object()
    except (Failed, Skipped, Broken, Blocked) as error:
        return (f"orders   none could be made: {error}",)
    challenges = authorization.get("challenges")
    offered = [str(one.get("type")) for one in challenges] if isinstance(challenges, list) else []
    by = ", ".join(offered) or "no challenge"
    try:
        await acts.make_ready(world, order)
    except (Failed, Broken) as error:
        # Some servers take every word for true, so whether somebody has to answer is seen by trying.
        if not world.answers.served & set(offered) and (option := _option(offered)):
            raise Usage(
                f"orders become ready by {by}, which nobody answers: add {option} ({error})"
            ) from None
        return (f"orders   pending, by {by}; none became ready: {error}",)
    return (f"orders   ready by {by}",)
