"""Which site is served where, under which policy: the configuration as the listener's table of sites."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from aiohttp import web
from cryptography import x509

from ca.anchors import TrustAnchors
from ca.clock import SystemClock
from ca.errors import ConfigError
from ca.profiles import Audience
from enroll.acme.nonces import Nonces, SharedNonces, SpentTable, memory_table
from enroll.answers import Answers
from gateway.edge.tls import ClientCertificate, KeyedChain
from gateway.proxy.identity import KeySet
from gateway.serving import authority, configured, limiting, record
from gateway.serving import upstream as mount
from gateway.serving.config import Config, minutes, origin
from gateway.serving.deployment import Deployment, server_certificate
from gateway.serving.rates import Ledger
from gateway.sites import acme as protocol
from gateway.sites import behind, connectivity, help, pickup, renewal, service
from gateway.sites.connectivity.hosts import fresh_hosts, probe_hosts
from gateway.web import pages
from gateway.web.context import Gate, Role
from gateway.web.hours import Hours
from gateway.wire.request import Forwarder
from gateway.wire.rules import Denial
from gateway.wire.sites import LowLevelHandler, Said, WebSite

#: What each site wants to know about its visitors' certificates.
POLICIES: Mapping[Role, ClientCertificate] = {
    Role.PICKUP: ClientCertificate.NONE,
    Role.RENEWAL: ClientCertificate.REQUIRE,
    Role.SERVICE: ClientCertificate.REQUIRE,
    Role.CONNECTIVITY: ClientCertificate.ASK,
    Role.HELP: ClientCertificate.NONE,
    Role.MAILBOX: ClientCertificate.NONE,
    Role.BEHIND: ClientCertificate.REQUIRE,
    Role.CONSOLE: ClientCertificate.REQUIRE,
    Role.API: ClientCertificate.REQUIRE,
}

#: Whose certificates each site believes, where not those of people and programs.
AUDIENCES: Mapping[Role, Audience] = {
    Role.CONSOLE: Audience.OPERATORS,
    Role.API: Audience.OPERATORS,
}


def _console_of(gate: Gate) -> web.Application:
    # Not above: what passkeys bring along takes a good part of a start, and most gateways have no console.
    from gateway.sites import console

    return console.application(gate)


def _api_of(gate: Gate) -> web.Application:
    from gateway.sites import api

    return api.application(gate)


#: Role -> what makes the application of its site.
Builders = Mapping[Role, Callable[[Gate], web.Application]]

# The mailbox is missing: it is the demo's alone.
_APPLICATIONS: Builders = {
    Role.PICKUP: pickup.application,
    Role.RENEWAL: renewal.application,
    Role.SERVICE: service.application,
    Role.CONNECTIVITY: connectivity.application,
    Role.HELP: help.application,
    Role.BEHIND: behind.application,
    Role.CONSOLE: _console_of,
    Role.API: _api_of,
}


def gate_of(
    deployment: Deployment,
    answers: Answers | None = None,
    refused: Callable[[Deployment], str] | None = None,
) -> Gate:
    """What the sites work with. ``answers``: those of this process, which a reload leaves as they are.
    ``refused``: why a reload would be, of whoever serves."""
    config, port = deployment.config, deployment.config.public_port
    suffix = config.sites.try_suffix.removeprefix("*")
    return Gate(
        ra=deployment.ra,
        origins={role: origin(hosts[0], port) for role, hosts in hosts_by_role(config).items()},
        try_suffix=suffix and origin(suffix, port).removeprefix("https://"),
        fresh=_wildcards(config, port),
        manual_url=config.operator.manual_url,
        start=config.upstream.start if config.upstream.addresses else "",
        workers=bool(config.upstream.service_workers),
        hours=Hours((minutes(config.upstream.hours),)) if config.upstream.hours else None,
        demo=deployment.is_demo,
        answers=answers or Answers(),
        head=lambda: record.head(deployment),
        verified=record.verifier(deployment),
        examined=lambda: asyncio.to_thread(authority.examined, deployment),
        configured=refused and (lambda: asyncio.to_thread(configured.configured, deployment, refused)),
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
    deployment: Deployment,
    gate: Gate,
    extra: Builders | None = None,
    nonces: SpentTable | None = None,
    ledger: Ledger | None = None,
) -> list[WebSite]:
    """Every site of the configuration. ``extra`` makes applications of roles that are no part of serving;
    ``nonces`` and ``ledger`` are what several workers share.

    ConfigError when a host has no good certificate, or a site may not be served here.
    """
    parts = _parts(deployment, gate, nonces or memory_table(), ledger or Ledger())
    applications = {**_APPLICATIONS, **(extra or {})}
    sites: list[WebSite] = []
    for role, hosts in hosts_by_role(deployment.config).items():
        if role not in applications:
            raise ConfigError(
                f"sites.{role}: only a demo shows everybody's mails; write [], or run sekisho demo --data DIR"
            )
        sites += _BUILDERS[role](parts, role, hosts, applications[role](gate))
    return sites


@dataclass(frozen=True)
class Trust:
    """Whose certificates a site believes, and which names it lists to browsers."""

    anchors: TrustAnchors
    advertised: tuple[x509.Certificate, ...]


def trusts_of(deployment: Deployment) -> dict[Audience, Trust]:
    """By audience; one that has no issuing CA is left out.

    Trusted is what signs an audience's certificates; the root signs none. Both names are advertised, because
    a client may look for its chain's top (RFC 8446 section 4.2.4).
    """
    authority, root = deployment.datadir.authority, deployment.datadir.root
    found = {
        audience: tuple(issuer.certificate for issuer in authority.of(audience)) for audience in Audience
    }
    return {
        audience: Trust(TrustAnchors.of(issuers), (*issuers, root))
        for audience, issuers in found.items()
        if issuers
    }


@dataclass(frozen=True)
class _Parts:
    """What the builders of sites have in common."""

    deployment: Deployment
    gate: Gate
    certificate: KeyedChain
    trusts: Mapping[Audience, Trust]
    limits: Callable[[Role], limiting.Limit | None]
    spent: Nonces | SharedNonces
    keys: KeySet
    behind: mount.Route | None


def _parts(deployment: Deployment, gate: Gate, nonces: SpentTable, ledger: Ledger) -> _Parts:
    # The machine's own time: browsers judge our certificate by theirs, also when a demo's clock moved.
    made = server_certificate(deployment, SystemClock().seconds())
    return _Parts(
        deployment=deployment,
        gate=gate,
        certificate=KeyedChain.from_pem(made.chain_pem, made.key_pem),
        trusts=trusts_of(deployment),
        limits=limiting.limits_of(
            deployment.config.rates.of_each(deployment.config.database.nodes),
            gate.origins[Role.HELP] + "/",
            ledger,
        ),
        spent=protocol.nonces_of(deployment.ra, nonces),
        behind=mount.prepare(deployment, gate),
        keys=mount.assertion_keys(deployment),
    )


def _site(
    parts: _Parts,
    role: Role,
    hosts: tuple[str, ...],
    app: web.Application,
    *,
    refused: LowLevelHandler | None = None,
    relay: Forwarder | None = None,
    says: Callable[[Denial, str], Said | None] | None = None,
) -> WebSite:
    """A site under its role's policy. ``refused``: for whoever has no good certificate (else a page)."""
    policy = POLICIES[role]
    asks = policy is not ClientCertificate.NONE
    trust = _trust(parts, role)
    if policy is ClientCertificate.REQUIRE and refused is None:
        refused = pages.refused(parts.gate, role)
    return WebSite(
        name=str(role),
        hosts=hosts,
        handler=app,
        certificate=parts.certificate,
        client_certificate=policy,
        anchors=trust.anchors if asks else None,
        advertised=trust.advertised if asks else (),
        refused=refused,
        limited=parts.limits(role),
        relay=relay,
        says=says,
    )


def _trust(parts: _Parts, role: Role) -> Trust:
    audience = AUDIENCES.get(role, Audience.CLIENTS)
    if audience not in parts.trusts:
        raise ConfigError(
            f"sites.{role}: there is no issuing CA for {audience} yet; make one: "
            f"sekisho ca add NAME --for {audience}, or write []"
        )
    return parts.trusts[audience]


def _plain(parts: _Parts, role: Role, hosts: tuple[str, ...], app: web.Application) -> list[WebSite]:
    return [_site(parts, role, hosts, app)]


def _pickup(parts: _Parts, role: Role, hosts: tuple[str, ...], app: web.Application) -> list[WebSite]:
    """With the protocol's door for those who have no certificate yet."""
    protocol.mount(app, _acme(parts, role))
    return [_site(parts, role, hosts, app, says=protocol.says(any_origin=True))]


def _renewal(parts: _Parts, role: Role, hosts: tuple[str, ...], app: web.Application) -> list[WebSite]:
    """With the protocol's other door; its refusals let some visitors finish (E7)."""
    server = _acme(parts, role)
    protocol.mount(app, server)
    refused = protocol.before(server, renewal.refused(parts.gate))
    return [_site(parts, role, hosts, app, refused=refused, says=protocol.says(any_origin=False))]


def _acme(parts: _Parts, role: Role) -> LowLevelHandler:
    terms = parts.deployment.config.protocol
    return protocol.door_of(
        parts.gate,
        role,
        protocol_origin(parts.deployment.config, role),
        parts.spent,
        terms_of_service=terms.terms_of_service,
        website=terms.website,
    )


def _service(parts: _Parts, role: Role, hosts: tuple[str, ...], app: web.Application) -> list[WebSite]:
    """With the way to the service behind, unless that has a host of its own."""
    return (
        _plain(parts, role, hosts, app)
        if Role.BEHIND in parts.gate.origins
        else _behind(parts, role, hosts, app)
    )


def _behind(parts: _Parts, role: Role, hosts: tuple[str, ...], app: web.Application) -> list[WebSite]:
    relay = None if parts.behind is None else mount.mount(app, parts.gate, parts.behind)
    return [_site(parts, role, hosts, app, relay=relay)]


def _console(parts: _Parts, role: Role, hosts: tuple[str, ...], app: web.Application) -> list[WebSite]:
    """For operators, who are told what they came with in words of their own."""
    from gateway.sites import console

    return [_site(parts, role, hosts, app, refused=console.refused(parts.gate))]


def _api(parts: _Parts, role: Role, hosts: tuple[str, ...], app: web.Application) -> list[WebSite]:
    """For programs, who get problem documents and no pages."""
    from gateway.sites import api

    return [_site(parts, role, hosts, app, refused=api.refused(parts.gate), says=api.unheard)]


def _help(parts: _Parts, role: Role, hosts: tuple[str, ...], app: web.Application) -> list[WebSite]:
    """With the assertions' public keys, which any upstream may fetch."""
    mount.publish(app, parts.keys)
    return _plain(parts, role, hosts, app)


def _connectivity(parts: _Parts, role: Role, hosts: tuple[str, ...], app: web.Application) -> list[WebSite]:
    """Twice the same pages: on the hosts of the probe browsers offer certificates of every issuer."""
    gate = parts.gate
    sites: list[WebSite] = [_site(parts, role, (*hosts, *fresh_hosts(gate)), app)]
    if gate.try_suffix:
        probe = WebSite(
            name="probe",
            hosts=probe_hosts(gate),
            handler=app,
            certificate=parts.certificate,
            client_certificate=POLICIES[role],
            anchors=_trust(parts, role).anchors,
        )
        sites.append(probe)
    return sites


_BUILDERS: Mapping[Role, Callable[[_Parts, Role, tuple[str, ...], web.Application], list[WebSite]]] = {
    Role.PICKUP: _pickup,
    Role.RENEWAL: _renewal,
    Role.SERVICE: _service,
    Role.CONNECTIVITY: _connectivity,
    Role.HELP: _help,
    Role.MAILBOX: _plain,
    Role.BEHIND: _behind,
    Role.CONSOLE: _console,
    Role.API: _api,
}
