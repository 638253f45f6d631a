"""The files for administrators: what they hold is what is in force, in the form that their readers take."""

from __future__ import annotations

import csv
import io
import json
import plistlib
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.sites import help as help_site
from gateway.sites.help.handouts import HANDOUTS, Facts, facts_of
from gateway.sites.help.publications import Host, hosts_of
from gateway.web.context import Role
from tests.datadirs import open_office
from tests.gateway.sites.kit import Served, serve


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with (
        open_office(tmp_path) as ra,
        serve(ra, tmp_path, Role.HELP, help_site.application, fresh=True) as served,
    ):
        yield served


def made(name: str, facts: Facts) -> bytes:
    return next(each for each in HANDOUTS if each.name == name).make(facts)


def registry(content: bytes) -> dict[str, list[str]]:
    """A .reg file as regedit reads it: key -> its values in order."""
    assert content.startswith(b"\xff\xfe")
    text = content[2:].decode("utf-16-le")
    assert text.startswith("Windows Registry Editor Version 5.00\r\n\r\n")
    keys: dict[str, list[str]] = {}
    for line in text.split("\r\n")[2:]:
        if found := re.fullmatch(r"\[(HKEY_[^\]]+)\]", line):
            values = keys.setdefault(found[1], [])
        elif found := re.fullmatch(r'"(\d+)"="((?:[^"\\]|\\["\\])*)"', line):
            values.append(re.sub(r"\\(.)", r"\1", found[2]))
        else:
            assert line == ""
    return keys


async def test_every_file_holds_the_same_policies(served: Served) -> None:
    """Registry, group policy, macOS and Linux: each host that asks for a certificate with each issuer in
    force, none under a wildcard; and the pop-ups of the two sites that open any."""
    visitor, gate = served.visitor(), served.gate
    page = await visitor.get("/hosts")
    linked = [each.attributes["href"] for each in page.main.all("a")]
    got = {each.name: await visitor.get(f"/handouts/{each.name}") for each in HANDOUTS}
    for name, answer in got.items():
        assert f"/handouts/{name}" in linked
        assert (answer.status, answer.headers["Content-Disposition"]) == (
            200,
            f'attachment; filename="{name}"',
        )
    policies = json.loads(got["linux-policy.json"].body)
    origins = gate.origins
    asking = [origins[role] for role in (Role.RENEWAL, Role.SERVICE, Role.CONNECTIVITY)]
    issuer = gate.ra.authority.current.common_name
    assert [json.loads(each) for each in policies["AutoSelectCertificateForUrls"]] == [
        {"pattern": origin, "filter": {"ISSUER": {"CN": issuer}}} for origin in asking
    ]
    assert policies["PopupsAllowedForUrls"] == [origins[Role.SERVICE], origins[Role.CONNECTIVITY]]
    assert json.loads(got["group-policy.json"].body) == policies
    keys = registry(got["edge-chrome.reg"].body)
    for browser in (r"Google\Chrome", r"Microsoft\Edge"):
        for name, entries in policies.items():
            assert keys.pop(rf"HKEY_LOCAL_MACHINE\SOFTWARE\Policies\{browser}\{name}") == entries
    assert keys == {}
    profile = plistlib.loads(got["edge-chrome.mobileconfig"].body)
    assert [each["PayloadType"] for each in profile["PayloadContent"]] == [
        "com.google.Chrome",
        "com.microsoft.Edge",
    ]
    for each in profile["PayloadContent"]:
        assert {name: each[name] for name in policies} == policies
    identifiers = [each["PayloadUUID"] for each in (profile, *profile["PayloadContent"])]
    assert len(set(identifiers)) == 3
    lines = [each.text.split() for each in page.main.all("pre")]
    assert " ".join(lines[1]) == " ".join(policies["PopupsAllowedForUrls"])


async def test_lists_name_every_host_and_what_is_not_inspected(served: Served) -> None:
    """CSV for proxies with the exemption of each host, and the exempt ones by themselves."""
    visitor, hosts = served.visitor(), hosts_of(served.gate)
    body = (await visitor.get("/handouts/hosts.csv")).body
    rows = list(csv.reader(io.StringIO(body.decode("utf-8-sig"))))
    assert [row[:2] for row in rows[1:]] == [[host.name, str(host.port)] for host in hosts]
    exempt = [row[0] for row in rows[1:] if row[3] == "対象外とする / exempt"]
    assert exempt == [host.name for host in hosts if host.with_certificate]
    assert len(exempt) not in (0, len(rows) - 1)
    assert (await visitor.get("/handouts/tls-inspection.txt")).html.split() == exempt


async def test_firefox_is_told_what_it_knows(served: Served) -> None:
    """Pop-ups by their sites, and the certificates of the system."""
    told = json.loads((await served.visitor().get("/handouts/firefox-policies.json")).body)["policies"]
    assert told["PopupBlocking"] == {"Allow": list(facts_of(served.gate).popups)}
    assert told["Preferences"]["security.osclientcerts.autoload"]["Value"] is True


def test_a_change_of_issuers_leaves_nobody_behind() -> None:
    """E17: while two issuers' certificates are in use each host has a line for both; ports that are not the
    usual one stand in the pattern, the usual one does not; what is quoted survives the registry."""
    hosts = [Host("a.example", 443, ("a", "a"), True), Host("b.example", 8443, ("b", "b"), True)]
    facts = Facts(hosts, ('CA "G4"', "CA \\ G5"), ("https://a.example",), "operator")
    chosen: list[Any] = [
        json.loads(e) for e in json.loads(made("linux-policy.json", facts))["AutoSelectCertificateForUrls"]
    ]
    found = [(each["pattern"], each["filter"]["ISSUER"]["CN"]) for each in chosen]
    assert found == [
        (origin, issuer)
        for origin in ("https://a.example", "https://b.example:8443")
        for issuer in facts.issuers
    ]
    (entries, *_) = registry(made("edge-chrome.reg", facts)).values()
    assert [json.loads(each) for each in entries] == chosen


@pytest.mark.parametrize("path", ["/handouts/nothing.reg", "/handouts/", "/handouts/..hosts.csv"])
async def test_no_other_file_is_handed_out(served: Served, path: str) -> None:
    """What is not in the table is not there."""
    assert (await served.visitor().get(path)).status == 404
