"""What an administrator of an organisation's network puts in place: browsers' policies, a proxy's exceptions.

Every file is made of the hosts and issuers in force, and of nothing else. No I/O.
"""

from __future__ import annotations

import csv
import io
import json
import plistlib
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.sites.help.publications import Host, hosts_of
from gateway.web.context import Gate, Role
from gateway.web.words import Text

_REGISTRY = {
    "Google Chrome": r"HKEY_LOCAL_MACHINE\SOFTWARE\Policies\Google\Chrome",
    "Microsoft Edge": r"HKEY_LOCAL_MACHINE\SOFTWARE\Policies\Microsoft\Edge",
}
# Entries of a list are numbered values: ours begin where an organisation's own are not.
_FIRST_NUMBER = 901
_MAC_DOMAINS = {"Google Chrome": "com.google.Chrome", "Microsoft Edge": "com.microsoft.Edge"}


@dataclass(frozen=True)
class Facts:
    """What the files are made of."""

    hosts: Sequence[Host]
    #: Common names of the CAs whose certificates people may have, or will.
    issuers: Sequence[str]
    #: Origins whose pages open windows.
    popups: Sequence[str]
    operator: str


@dataclass(frozen=True)
class Handout:
    """A file, ``/handouts/<name>``: what it is for, and where it goes."""

    name: str
    title: Text
    use: Text
    kind: str
    make: Callable[[Facts], bytes]


def facts_of(gate: Gate) -> Facts:
    """The facts of a gate."""
    popups = dict.fromkeys([gate.origins[Role.SERVICE], gate.behind, gate.origins[Role.CONNECTIVITY]])
    return Facts(hosts_of(gate), gate.known_issuers, tuple(popups), gate.ra.settings.operator_name)


def policies(facts: Facts) -> dict[str, list[str]]:
    """Edge's and Chrome's policies: which certificate is sent without a question, and whose pop-ups open.

    Of hosts under a wildcard none is named: 証明書を選択しなおす leads there, and there the browser asks.
    """
    chosen = [
        json.dumps({"pattern": _origin(host), "filter": {"ISSUER": {"CN": issuer}}}, ensure_ascii=False)
        for host in facts.hosts
        if host.with_certificate and not host.name.startswith("*.")
        for issuer in facts.issuers
    ]
    return {"AutoSelectCertificateForUrls": chosen, "PopupsAllowedForUrls": list(facts.popups)}


def _registry(facts: Facts) -> bytes:
    """For regedit: UTF-16 with its mark, CRLF; what is quoted has its backslashes and quotes escaped."""
    lines = ["Windows Registry Editor Version 5.00", ""]
    for key in _REGISTRY.values():
        for name, entries in policies(facts).items():
            lines.append(f"[{key}\\{name}]")
            for number, entry in enumerate(entries, _FIRST_NUMBER):
                escaped = entry.replace("\\", "\\\\").replace('"', '\\"')
                lines.append(f'"{number}"="{escaped}"')
            lines.append("")
    return b"\xff\xfe" + "\r\n".join(lines).encode("utf-16-le")


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, indent=2).encode() + b"\n"


def _profile(facts: Facts) -> bytes:
    """A configuration profile of macOS. Its names are those of the hosts, so that a later one replaces it."""
    base = uuid.uuid5(uuid.NAMESPACE_DNS, " ".join(host.short for host in facts.hosts))
    # Reversed, as Apple writes them.
    identifier = ".".join(reversed(facts.hosts[0].name.split("."))) + ".browsers"
    contents = [
        {
            "PayloadType": domain,
            "PayloadIdentifier": f"{identifier}.{domain}",
            "PayloadUUID": str(uuid.uuid5(base, domain)).upper(),
            "PayloadVersion": 1,
            "PayloadDisplayName": name,
            **policies(facts),
        }
        for name, domain in _MAC_DOMAINS.items()
    ]
    return plistlib.dumps(
        {
            "PayloadType": "Configuration",
            "PayloadScope": "System",
            "PayloadIdentifier": identifier,
            "PayloadUUID": str(base).upper(),
            "PayloadVersion": 1,
            "PayloadDisplayName": f"{facts.operator} Edge/Chrome",
            "PayloadOrganization": facts.operator,
            "PayloadContent": contents,
        }
    )


def _firefox(facts: Facts) -> bytes:
    """Firefox knows no choice by issuer: it takes the certificates of Windows or macOS, and asks."""
    autoload = {"security.osclientcerts.autoload": {"Value": True, "Status": "default"}}
    return _json({"policies": {"PopupBlocking": {"Allow": list(facts.popups)}, "Preferences": autoload}})


def _pac(facts: Facts) -> bytes:
    """A function for the PAC file that is there already, and the line that calls it."""
    exact = [host.name for host in facts.hosts if not host.name.startswith("*.")]
    under = [host.name[1:] for host in facts.hosts if host.name.startswith("*.")]
    return (
        "// Put this into your PAC file, and this line first into its FindProxyForURL(url, host):\n"
        '//   if (sekishoDirect(host)) return "DIRECT";\n'
        "function sekishoDirect(host) {\n"
        f"  var exact = {json.dumps(exact)};\n"
        f"  var under = {json.dumps(under)};\n"
        "  host = host.toLowerCase();\n"
        "  for (var i = 0; i < exact.length; i++) if (host === exact[i]) return true;\n"
        "  for (var j = 0; j < under.length; j++) {\n"
        "    var at = host.length - under[j].length;\n"
        "    if (at > 0 && host.indexOf(under[j], at) === at) return true;\n"
        "  }\n"
        "  return false;\n"
        "}\n"
    ).encode()


_HEADING = ("ホスト名 / Host", "ポート / Port", "用途 / Purpose", "TLS検査 / TLS inspection")


def _table(facts: Facts) -> bytes:
    written = io.StringIO()
    rows = csv.writer(written)
    rows.writerow(_HEADING)
    for host in facts.hosts:
        inspected = "対象外とする / exempt" if host.with_certificate else "可 / allowed"
        rows.writerow([host.name, host.port, " / ".join(host.purpose), inspected])
    # The mark by which Excel knows UTF-8.
    return b"\xef\xbb\xbf" + written.getvalue().encode()


def _uninspected(facts: Facts) -> bytes:
    return "".join(f"{host.name}\n" for host in facts.hosts if host.with_certificate).encode()


def _origin(host: Host) -> str:
    return f"https://{host.short}"


#: In the order in which the page lists them.
HANDOUTS: tuple[Handout, ...] = (
    Handout(
        "edge-chrome.reg",
        ("Edge・Chrome（Windows、レジストリ）", "Edge and Chrome (Windows registry)"),
        (
            "証明書の自動選択とポップアップの許可です。管理者としてダブルクリックするか、配布ツールで取り込みます。",
            "Chooses the certificate and allows pop-ups. Double-click as administrator, or distribute it.",
        ),
        "text/plain; charset=utf-16le",
        _registry,
    ),
    Handout(
        "group-policy.json",
        ("Edge・Chrome（グループポリシー、Intune）", "Edge and Chrome (group policy, Intune)"),
        (
            "同じ内容です。ポリシーAutoSelectCertificateForUrlsとPopupsAllowedForUrlsの一覧に1行ずつ登録します。",
            "The same, to be entered line by line into the lists of the two policies that it names.",
        ),
        "application/json",
        lambda facts: _json(policies(facts)),
    ),
    Handout(
        "edge-chrome.mobileconfig",
        ("Edge・Chrome（macOS、構成プロファイル）", "Edge and Chrome (macOS profile)"),
        (
            "同じ内容です。MDMで配布するか、システム設定の「プロファイル」から読み込みます。",
            "The same. Distribute it by MDM, or open it in System Settings.",
        ),
        "application/x-apple-aspen-config",
        _profile,
    ),
    Handout(
        "linux-policy.json",
        ("Edge・Chrome（Linux）", "Edge and Chrome (Linux)"),
        (
            "同じ内容です。/etc/opt/chrome（または/etc/opt/edge）の policies/managed/ に置きます。",
            "The same. Put it into policies/managed/ of /etc/opt/chrome or /etc/opt/edge.",
        ),
        "application/json",
        lambda facts: _json(policies(facts)),
    ),
    Handout(
        "firefox-policies.json",
        ("Firefox", "Firefox"),
        (
            "ポップアップの許可と、Windows・macOSの証明書の使用です。policies.jsonという名前で、"
            "インストール先のdistributionフォルダに置きます。",
            "Allows pop-ups, and uses the certificates of Windows or macOS. Put it into the folder "
            "distribution of the installation, as policies.json.",
        ),
        "application/json",
        _firefox,
    ),
    Handout(
        "proxy.pac",
        ("プロキシーの除外設定（PACファイル用）", "Exceptions of a proxy (for a PAC file)"),
        (
            "既存のPACファイルに加えると、当サービスのホストへはプロキシーを通さずに接続します。",
            "Added to your PAC file, it connects to these hosts without the proxy.",
        ),
        "text/plain; charset=utf-8",
        _pac,
    ),
    Handout(
        "hosts.csv",
        ("プロキシー・ファイアウォール用の一覧（CSV）", "List for proxies and firewalls (CSV)"),
        (
            "すべてのホスト名・ポート・用途と、TLS検査の要否です。",
            "All host names with port and purpose, and whether TLS may be inspected.",
        ),
        "text/csv; charset=utf-8",
        _table,
    ),
    Handout(
        "tls-inspection.txt",
        ("TLS検査の除外リスト", "Exempt from TLS inspection"),
        (
            "通信（TLS）の検査・復号の対象外とするホスト名です（1行に1件）。",
            "The hosts whose TLS must not be inspected, one a line.",
        ),
        "text/plain; charset=utf-8",
        _uninspected,
    ),
)
