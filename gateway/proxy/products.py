"""Fields by which other gateways tell a service behind them who calls, and from where.

A service that was behind one of them may believe these still, and a visitor may send any: they are taken
off by default. The names are those that each product documents; `*` at the end stands for whatever follows.
"""

from __future__ import annotations

from collections.abc import Mapping

#: Product, or habit -> names.
OF_PRODUCTS: Mapping[str, tuple[str, ...]] = {
    "Apache, CGI": ("Remote-User", "X-Authenticated-User", "SSL-Client*", "OIDC-*", "Shib-*"),
    "Authelia, Traefik": ("Remote-Name", "Remote-Email", "Remote-Groups", "Tls-Client-Cert*"),
    "authentik": ("X-Authentik-*",),
    "AWS": ("X-Amzn-Oidc-*", "X-Amzn-Mtls-*", "CloudFront-Viewer-*"),
    "Azure": (
        "X-MS-Client-Principal*", "X-MS-Token-*", "X-Arr-ClientCert*", "X-Azure-ClientIP", "X-Azure-SocketIP",
    ),
    "Cloudflare": ("CF-Connecting-IP*", "CF-Pseudo-IPv4", "CF-IPCountry", "CF-Visitor", "Cf-Access-*"),
    "Envoy, Istio": ("X-Envoy-*",),
    "Fastly, Fly, other CDNs": (
        "Fastly-Client-IP", "Fly-Client-IP", "DO-Connecting-IP", "X-Nf-Client-Connection-Ip",
    ),
    "Google": ("X-Goog-Authenticated-User-*", "X-Goog-Iap-*", "X-Appengine-User-*"),
    "Grafana, Gitea": ("X-Webauth-*",),
    "IBM WebSEAL, SiteMinder": ("IV-User*", "IV-Groups", "IV-Creds", "SM-User*", "SM-Universalid"),
    "Keycloak Gatekeeper": (
        "X-Auth-User*", "X-Auth-Email", "X-Auth-Groups", "X-Auth-Roles", "X-Auth-Subject",
    ),
    "Kong, APISIX": ("X-Consumer-*", "X-Credential-*", "X-Anonymous-Consumer", "X-Userinfo"),
    "Kubernetes": ("X-Remote-*",),
    "ngrok, Teleport": ("Ngrok-Auth-*", "Teleport-Jwt-Assertion"),
    "nginx, HAProxy, F5": (
        "X-SSL-*", "X-Client-Cert*", "X-Client-Verify*", "X-Client-DN*", "X-Client-S-DN", "X-Client-I-DN",
    ),
    "oauth2-proxy": ("X-Auth-Request-*",),
    "Oracle WebLogic, OAM": ("WL-Proxy-*", "Proxy-Client-IP", "OAM-Remote-User*"),
    "Pomerium, Vouch": ("X-Pomerium-*", "X-Vouch-*"),
    "Tailscale": ("Tailscale-*",),
}  # fmt: skip

#: All of them.
NAMES: tuple[str, ...] = tuple(name for names in OF_PRODUCTS.values() for name in names)
