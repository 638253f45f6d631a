"""Who acts, and what they may: a value that is built here and nowhere else, and asked again where it counts.

A door (the command line's socket, the console) says how somebody was identified; here it is said who that is.
While nobody is an operator, whoever the directory belongs to may do everything; from the first one on roles
hold, for root as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address, ip_network
from types import MappingProxyType

from ca.storage import Transaction
from enroll.operators import store
from enroll.operators.roles import ALL, NO, Act, Kind, Role, Verdict, decides, permitted, roles_with
from enroll.refusals import Refusal


class By(StrEnum):
    """How somebody was identified."""

    #: As owner of the data directory, or root, where roles do not hold yet.
    HOST = "host"
    #: By the account of the machine that a command comes from.
    ACCOUNT = "account"
    #: By the passphrase, in an emergency.
    BREAK_GLASS = "break-glass"
    #: By certificate and passkey.
    CONSOLE = "console"
    #: By certificate, at the API.
    CERTIFICATE = "certificate"


@dataclass(frozen=True)
class Actor:
    """Who acts. ``identity`` is compared where two must differ, ``name`` is what the trail says."""

    identity: str
    name: str
    by: By
    rights: Mapping[Act, Verdict]
    roles: tuple[Role, ...] = ()
    kind: Kind = "person"
    #: Number of the operator; None for who is none.
    operator: int | None = None
    account: str = ""
    #: Whether it is root, or whom the directory belongs to.
    host: bool = False
    #: Number of what was taken in an emergency.
    glass: int | None = None
    #: Of a sandbox, whose owner tries everything out.
    sandbox: bool = False

    @property
    def own(self) -> str:
        """Its name without the door: behind a slash a command's has the account."""
        return self.name.partition("/")[0]

    def may(self, act: Act) -> Verdict:
        """What this actor may do of an act, when it was built."""
        return self.rights.get(act, NO)

    def decides(self, act: Act) -> bool:
        """Whether this actor decides what others propose of an act. A service decides nothing."""
        return self.kind == "person" and decides(self.may(act))

    @property
    def free(self) -> bool:
        """Whether roles do not hold yet."""
        return self.by is By.HOST and self.may(Act.RECORD) == ALL


def of_account(db: Transaction, account: str, at: int, *, host: bool, sandbox: bool = False) -> Actor:
    """Who types a command as an account of this machine; ``host``: root, or whom the directory belongs to.

    Whoever is nobody here has no rights, and is told so by `require`. ``sandbox``: a demo, whose owner may do
    everything, although operators are there.
    """
    taken, known = store.glass_of(db, account, at), store.of_account(db, account)
    if taken is not None:
        return _built(
            taken.identity,
            f"break-glass:{account}/{taken.role}",
            By.BREAK_GLASS,
            (taken.role,),
            operator=known.number if known is not None else None,
            account=account,
            host=host,
            glass=taken.number,
        )
    there, admitting = store.are_there(db), host and not two_can_admit(db)
    if known is not None:
        return _of_operator(known, By.ACCOUNT, f"/{account}", account, host=host, admitting=admitting)
    rights: Mapping[Act, Verdict] = MappingProxyType({})
    if host and (sandbox or not there):
        rights = MappingProxyType(dict.fromkeys(Act, ALL))
    elif admitting:
        rights = _ADMITTING
    by = By.HOST if host else By.ACCOUNT
    return Actor(
        *(f"account:{account}", f"operator:{account}", by, rights),
        account=account,
        host=host,
        sandbox=sandbox,
    )


def of_operator(db: Transaction, number: int, by: By) -> Actor:
    """An operator whom a door has identified. Refusal("not_permitted") for one who has ended, and for a
    person or a service at the other's door."""
    known = store.operator(db, number)
    if known is None or known.ended_at is not None:
        raise Refusal("not_permitted", field="operator", detail="this operator has ended")
    if (known.kind == "service") != (by is By.CERTIFICATE):
        detail = f"{known.name} is a {known.kind}: people use the console, services the API"
        raise Refusal("not_permitted", field="operator", detail=detail)
    return _of_operator(known, by, "", known.account)


def of_service(db: Transaction, fingerprint: str, address: str) -> Actor:
    """The service whose certificate it is, from where it may come. Refusal("not_permitted") for any other
    certificate, and any other address."""
    known = store.of_certificate(db, fingerprint)
    if known is None:
        detail = "this certificate is no operator's here, or has ended"
        raise Refusal("not_permitted", field="operator", detail=detail)
    actor = of_operator(db, known.number, By.CERTIFICATE)
    if not any(contains(each, address) for each in known.networks):
        detail = f"{known.name} may not come from {address}: sekisho operator change {known.name} --from"
        raise Refusal("not_permitted", field="address", detail=detail)
    return actor


def contains(network: str, address: str) -> bool:
    """Whether an address is in a network, however it is written (an IPv4 address of an IPv6 socket, too)."""
    found = ip_address(address)
    found = getattr(found, "ipv4_mapped", None) or found
    return found in ip_network(network)


def asked_again(db: Transaction, actor: Actor, at: int) -> Actor:
    """The same actor as it is now: within the transaction that does what was asked for."""
    if actor.by in (By.CONSOLE, By.CERTIFICATE):
        assert actor.operator is not None
        return of_operator(db, actor.operator, actor.by)
    now = of_account(db, actor.account, at, host=actor.host, sandbox=actor.sandbox)
    if (now.identity, now.by, now.glass) != (actor.identity, actor.by, actor.glass):
        raise Refusal("not_permitted", field="operator", detail=f"{actor.name} is not what it was: try again")
    return now


def identity_of(db: Transaction, name: str) -> str:
    """Who somebody is whom the trail or a record names, by whichever door it was."""
    kind, _, rest = name.partition(":")
    first = rest.partition("/")[0]
    if kind == "operator":
        known = store.named(db, first)
    elif kind == "break-glass":
        known = store.of_account(db, first)
    else:
        return name
    return known.identity if known is not None else f"account:{first}"


def require(actor: Actor, act: Act, wanted: Verdict) -> None:
    """Refusal("not_permitted") unless the actor may do all of what is wanted of an act."""
    if wanted not in actor.may(act):
        raise refusal(actor, act)


def require_any(actor: Actor, act: Act, wanted: Verdict) -> None:
    """The same unless the actor may do some of it."""
    if not actor.may(act) & wanted:
        raise refusal(actor, act)


def require_deciding(actor: Actor, act: Act) -> None:
    """The same for who decides. What one may do alone, one may decide; a service decides nothing."""
    if not actor.decides(act):
        raise refusal(actor, act, deciding=True)


def refusal(actor: Actor, act: Act, *, deciding: bool = False) -> Refusal:
    """That somebody may not, and who may."""
    who = " or ".join(roles_with(act, deciding=deciding)) or "two people"
    if not actor.roles:
        account = actor.account or actor.name
        detail = (
            f"{account} is no operator here; somebody who may adds one: sekisho operator add NAME "
            f"--role ROLE --account {account}; in an emergency: sekisho operator break-glass --role ROLE "
            "--reason WHY"
        )
        return Refusal("not_permitted", field="operator", detail=detail)
    has = ", ".join(actor.roles)
    doing = "decide that" if deciding else "do that"
    return Refusal(
        "not_permitted", field="role", detail=f"{actor.name} is {has} and may not {doing} ({act}): ask {who}"
    )


def two_can_admit(db: Transaction) -> bool:
    """Whether there are two operators of whom one may propose another one, and the other decide it."""
    people = [each for each in store.operators(db) if each.kind == "person"]
    proposing = {each.number for each in people if _may(each) & Verdict.PROPOSE}
    deciding = {each.number for each in people if _may(each) & Verdict.DECIDE}
    return any(one != other for one in proposing for other in deciding)


def _may(operator: store.Operator) -> Verdict:
    return permitted(operator.roles, Act.OPERATORS, operator.kind)


#: Of whoever has the machine while no two operators could add another one: not yet, or not any more.
_ADMITTING: Mapping[Act, Verdict] = MappingProxyType({Act.OPERATORS: ALL, Act.STANDING: Verdict.READ})


def _of_operator(
    known: store.Operator,
    by: By,
    where: str,
    account: str,
    *,
    host: bool = False,
    admitting: bool = False,
) -> Actor:
    return _built(
        known.identity,
        f"operator:{known.name}{where}",
        by,
        known.roles,
        kind=known.kind,
        operator=known.number,
        account=account,
        host=host,
        besides=_ADMITTING if admitting else MappingProxyType({}),
    )


def _built(
    identity: str,
    name: str,
    by: By,
    roles: tuple[Role, ...],
    *,
    kind: Kind = "person",
    operator: int | None = None,
    account: str = "",
    host: bool = False,
    glass: int | None = None,
    besides: Mapping[Act, Verdict] = MappingProxyType({}),
) -> Actor:
    rights = MappingProxyType({act: permitted(roles, act, kind) | besides.get(act, NO) for act in Act})
    return Actor(identity, name, by, rights, roles, kind, operator, account, host, glass)
