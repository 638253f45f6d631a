"""Which site is served where, under which policy: the configuration as the listener's table of sites."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from importlib import import_module

from aiohttp import web

from ca.clock import SystemClock
from ca.errors import ConfigError
from ca.trust import TrustAnchors
from enroll.acme.nonces import SpentTable, memory_table
from gateway.edge.tls import ClientCertificate, ServerCertificate, Site
from gateway.serving import limiting
from gateway.serving import upstream as mount
from gateway.serving.config import Config, origin
from gateway.serving.deployment import House, server_certificate
from gateway.serving.rates import Ledger
from gateway.sites import acme as protocol
from gateway.sites import renewal
from gateway.sites.connectivity.hosts import fresh_hosts, probe_hosts
from gateway.web import pages
from gateway.web.context import Gate, Role

#: What each site wants to know about its visitors' certificates.
POLICIES: Mapping[Role, ClientCertificate] = {
    Role.PICKUP: ClientCertificate.NONE,
    Role.RENEWAL: ClientCertificate.REQUIRE,
    Role.SERVICE: ClientCertificate.REQUIRE,
    Role.CONNECTIVITY: ClientCertificate.ASK,
    Role.HELP: ClientCertificate.NONE,
    Role.MAILBOX: ClientCertificate.NONE,
    Role.BEHIND: ClientCertificate.REQUIRE,
}


# The sites that are doors of the protocol as well.
_PROTOCOL = frozenset({Role.PICKUP, Role.RENEWAL})


def gate_of(house: House) -> Gate:
    """What the sites work with."""
    config, port = house.config, house.config.public_port
    suffix = config.sites.try_suffix.removeprefix("*")
    return Gate(
        office=house.office,
        origins={role: origin(hosts[0], port) for role, hosts in hosts_by_role(config).items()},
        try_suffix=suffix and origin(suffix, port).removeprefix("https://"),
        fresh=_wildcards(config, port),
        manual_url=config.operator.manual_url,
        start=config.upstream.start if config.upstream.addresses else "",
        workers=bool(config.upstream.service_workers),
        demo=house.is_demo,
    )


def _wildcards(config: Config, port: int) -> dict[Role, str]:
    """Role -> the part of its first wildcard that follows the label, with the port if it is needed."""
    found = {}
    for role, hosts in hosts_by_role(config).items():
        wildcard = next((host for host in hosts if host.startswith("*.")), None)
        if wildcard is not None:
            found[role] = origin(wildcard.removeprefix("*"), port).removeprefix("https://")
    return found


def directory_url(config: Config) -> str:
    """Where automated clients begin."""
    return f"{protocol_origin(config, Role.PICKUP)}{protocol.PREFIX}/directory"


def protocol_origin(config: Config, role: Role) -> str:
    """The origin at which clients find one of the protocol's two doors."""
    host = config.protocol.host if role is Role.PICKUP and config.protocol.host else None
    return origin(host or getattr(config.sites, str(role))[0], config.public_port)


def hosts_by_role(config: Config) -> dict[Role, tuple[str, ...]]:
    """Role -> its host names; roles without any (the mailbox, outside a demo) are left out."""
    named = {role: getattr(config.sites, str(role), ()) for role in Role}
    if config.sites.portal:
        # People's way in is the portal: every link and letter leads there.
        named |= {Role.SERVICE: config.sites.portal, Role.BEHIND: config.sites.service}
    return {role: hosts for role, hosts in named.items() if hosts}


def sites_of(
    house: House,
    gate: Gate,
    extra: Mapping[Role, Callable[[Gate], web.Application]] | None = None,
    nonces: SpentTable | None = None,
    ledger: Ledger | None = None,
) -> list[Site]:
    """Every site of the configuration. ``extra`` makes applications of roles that are no part of serving;
    ``nonces`` and ``ledger`` are what several workers share.

    ConfigError when a host has no good certificate, or a site may not be served here.
    """
    # The machine's own time: browsers judge our certificate by theirs, also when a demo's clock moved.
    made = server_certificate(house, SystemClock().seconds())
    shown = ServerCertificate.from_pem(made.chain_pem, made.key_pem)
    issuers = tuple(issuer.certificate for issuer in house.datadir.authority.issuers)
    # Trusted is what signs people's certificates; the root signs none. Both names are advertised,
    # because a client may look for its chain's top (RFC 8446 section 4.2.4).
    anchors, advertised = TrustAnchors.of(issuers), (*issuers, house.datadir.root)
    builders = extra or {}
    behind, keys = mount.prepare(house, gate), mount.assertion_keys(house)
    limits = limiting.limits_of(house.config.rates, gate.origins[Role.HELP] + "/", ledger or Ledger())
    spent = protocol.nonces_of(house.office.vault, nonces or memory_table())
    upstreams = Role.BEHIND if Role.BEHIND in gate.origins else Role.SERVICE
    sites: list[Site] = []
    for role, hosts in hosts_by_role(house.config).items():
        handler = builders[role](gate) if role in builders else _application(role, gate)
        policy, relay = POLICIES[role], None
        refused = _refused(role, gate) if policy is ClientCertificate.REQUIRE else None
        if role in _PROTOCOL:
            terms = house.config.protocol
            door = protocol.door_of(
                gate,
                role,
                protocol_origin(house.config, role),
                spent,
                terms_of_service=terms.terms_of_service,
                website=terms.website,
            )
            protocol.mount(handler, door)
            refused = protocol.before(door, refused) if refused is not None else None
        if role is Role.HELP:
            mount.publish(handler, keys)
        if role is upstreams and behind is not None:
            relay = mount.mount(handler, gate, behind)
        asks = policy is not ClientCertificate.NONE
        more = fresh_hosts(gate) if role is Role.CONNECTIVITY else ()
        sites.append(
            Site(
                str(role),
                (*hosts, *more),
                handler,
                shown,
                policy,
                anchors if asks else None,
                advertised if asks else (),
                refused,
                limits(role),
                relay,
            )
        )
        if role is Role.CONNECTIVITY and gate.try_suffix:
            # The same pages; here browsers offer certificates of every issuer.
            sites.append(Site("probe", probe_hosts(gate), handler, shown, policy, anchors))
    return sites


def _refused(role: Role, gate: Gate) -> Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]:
    """What visitors without a good certificate get; the renewal site lets some of them finish (E7)."""
    return renewal.refused(gate) if role is Role.RENEWAL else pages.refused(gate, role)


def _application(role: Role, gate: Gate) -> web.Application:
    if role is Role.MAILBOX:
        raise ConfigError(
            "sites.mailbox: only a demo shows everybody's mails; write [], or run sekisho demo --data DIR"
        )
    made: web.Application = import_module(f"gateway.sites.{role}").application(gate)
    return made
