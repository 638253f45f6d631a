"""Where the gateway is reached: ports, host names, and the certificate of its own hosts."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.serving.settings.checks import (
    PORT,
    address,
    addresses,
    between,
    host_or_none,
    hosts,
    hosts_or_none,
    line,
    networks,
    setting,
    wildcard,
)


@dataclass(frozen=True)
class Listen:
    """Where the gateway listens."""

    host: tuple[str, ...] = setting(
        ("127.0.0.1",),
        "IP addresses to listen on, one or a list; 0.0.0.0 is every one of IPv4, :: of both IPv6 and IPv4",
        addresses,
    )
    port: int = setting(8443, "TCP port to listen on", PORT)
    public_port: int = setting(
        0,
        "port in the addresses people use, when something in front forwards it; 0: the same",
        between(0, 65_535),
    )
    proxy_protocol: tuple[str, ...] = setting(
        (),
        "load balancers whose connections begin with a PROXY header, such as ['10.0.0.0/24']; [] for none",
        networks,
    )


@dataclass(frozen=True)
class Revocation:
    """Where the world reads of our certificates: lists, answers (OCSP) and certificates of CAs, by plain
    HTTP."""

    port: int = setting(
        0,
        "their port, at the addresses of listen.host, such as 80; 0 for none: what "
        "certificates say of it was fixed when their CA was made",
        between(0, 65_535),
    )


@dataclass(frozen=True)
class Internal:
    """Where this machine asks how the gateway is."""

    host: str = setting("127.0.0.1", "IP address of /healthz, /readyz and /metrics: keep it local", address)
    port: int = setting(0, "their port, such as 9441, by plain HTTP; 0 for none", between(0, 65_535))
    hosts: tuple[str, ...] = setting(
        (), "names that they are asked by, besides IP addresses and localhost", hosts_or_none
    )


@dataclass(frozen=True)
class Sites:
    """Host names of each site; the first is the one in mails and links."""

    pickup: tuple[str, ...] = setting(("pickup.localhost",), "pick-up: never asks for a certificate", hosts)
    renewal: tuple[str, ...] = setting(
        ("renewal.localhost", "*.renew.localhost"),
        "renewal: requires one; under a wildcard a browser asks for another certificate",
        hosts,
    )
    service: tuple[str, ...] = setting(
        ("service.localhost", "*.login.localhost"), "online service: requires one; wildcard as above", hosts
    )
    portal: tuple[str, ...] = setting(
        (),
        "its login and portal on a host apart from what is in [upstream], such as ['portal.example.jp']; []: "
        "the same; wildcard as above",
        hosts_or_none,
    )
    connectivity: tuple[str, ...] = setting(
        ("connectivity.localhost",), "connectivity test: asks for one and works without", hosts
    )
    help: tuple[str, ...] = setting(("help.localhost",), "help pages: never asks", hosts)
    mailbox: tuple[str, ...] = setting(
        (), "pages that show the outbox; in a demo's directory only, elsewhere an empty list", hosts_or_none
    )
    console: tuple[str, ...] = setting(
        (),
        "operators' console: one host for good, to which passkeys are bound, such as ['console.example.jp'], "
        "once there is a CA for it (sekisho ca add NAME --for operators); [] for none",
        host_or_none,
    )
    api: tuple[str, ...] = setting(
        (),
        "registration API for other systems, such as ['api.example.jp'], who come with certificates of the "
        "console's CA; [] for none",
        hosts_or_none,
    )
    try_suffix: str = setting(
        "*.try.localhost",
        "wildcard for fresh hosts on which a browser asks for the certificate again; '' for none",
        wildcard,
    )


@dataclass(frozen=True)
class Tls:
    """The certificate of our own hosts."""

    certificate: str = setting(
        "local",
        "'local' (made by the data directory's own server CA), or a PEM file: leaf, then issuers",
        line,
    )
    key: str = setting("", "PEM file of the certificate's private key; '' with 'local'")
