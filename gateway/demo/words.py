"""What the demo prints once it is up."""

from __future__ import annotations

import shutil
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from rich.console import Console
from rich.table import Table

from enroll.jst import shown_day
from gateway.serving.config import Config

#: State of a user -> what to try as that person.
TRY: Mapping[str, str] = {
    "new": "pick up the certificate: user ID, issue password and request ID are in the mail",
    "active": "import the P12, log in to the service",
    "expiring": "import the P12, open the renewal site: the D-30 mail tells the request ID",
    "expired": "import the P12, open the service or the renewal site: our page says what to do",
    "revoked": "import the P12, open the service: our page says what to do",
}

#: Role of an operator -> screens of the console that have something to show.
TRY_AS: Mapping[str, str] = {
    "desk": "/search, a caller's page, /applications",
    "registrar": "/campaigns (one is halfway), /jobs (without --data an import runs), /applications",
    "approver": "/proposals (some wait for you), /applications",
    "ca-officer": "/rollover, /operators/new",
    "auditor": "/reports, /audit, /campaigns",
}


def banner(
    console: Console, summary: Mapping[str, Any], *, port_taken: bool, more: Sequence[str] = ()
) -> None:
    """URLs, users and what to try; ``more`` lines before the last."""
    console.print()
    console.print(
        "sekisho: a demo. Made-up people, public passwords, this machine only: put nothing real in."
    )
    if port_taken:
        console.print(f"The port you asked for is taken; this is {summary['port']}.")
    sites = Table(box=None, show_header=False)
    for name, url in summary["sites"].items():
        sites.add_row(name, url)
    sites.add_row("upstream", summary["sites"]["service"] + "app/ (an example, after the login)")
    sites.add_row("protocol", summary["acme_directory"])
    sites.add_row("revocation", summary["revocation"]["crl"])
    console.print(sites)
    users = Table(box=None, pad_edge=False)
    for heading in ("User ID", "State", "Login password", "Valid until", "Try"):
        users.add_column(heading)
    for user in summary["users"]:
        until = shown_day(user["not_after_at"]) if user["not_after_at"] else "-"
        state = "admin" if user["role"] == "admin" else user["state"]
        words = TRY[user["state"]] if state != "admin" else "as active, and add users of the organisation"
        users.add_row(user["user_id"], state, user["login_password"], until, words)
    console.print(users)
    if summary["operators"]:
        people = Table(box=None, pad_edge=False)
        for heading in ("Operator", "Role", "P12 (import it, restart the browser, open the console)", "Try"):
            people.add_column(heading, overflow="fold")
        for each in summary["operators"]:
            people.add_row(each["name"], each["role"], each["p12"], TRY_AS[each["role"]])
        console.print(people)
    for line in api_lines(summary):
        console.print(line, soft_wrap=True)
    data = summary["data"]
    console.print(f"P12 files: {data}/demo-p12/ (password: {_p12_password(summary)})", soft_wrap=True)
    console.print(
        f"Trust our servers in Chromium: certutil -d sql:$HOME/.pki/nssdb -A -t C,, -n sekisho-demo"
        f" -i {summary['ca_file']}",
        soft_wrap=True,
    )
    if line := hosts_line(summary):
        console.print("Browsers and curl know *.localhost by themselves. For other programs, in /etc/hosts:")
        console.print(f"  {line}", soft_wrap=True)
    console.print(
        f"Operate it: {_ourselves()} user list --data {data} --passphrase-file {summary['passphrase_file']}",
        soft_wrap=True,
    )
    for line in more:
        console.print(line, soft_wrap=True)
    console.print(f"Begin at {summary['sites']['mailbox']}  (mails, and the clock)   Stop: Ctrl-C")


def typed_for(data: Path, config: Config) -> str:
    """What to type to have the demo of a directory again."""
    if not config.listen.public_port:
        return f"sekisho demo --data {data}"
    # It is behind a balancer, and so one of several nodes.
    return f"sekisho demo --nodes {config.database.nodes} --database postgres --data {data.parent}"


def api_lines(summary: Mapping[str, Any]) -> list[str]:
    """What to type to ask the API: something that is read, and something that becomes a proposal."""
    if not summary["services"]:
        return []
    service, api = summary["services"][0], summary["sites"]["api"]
    curl = f"curl --cert {service['pem']} --cacert {summary['ca_file']}"
    body = '{"policy_number": "10000001", "name": "新宿商事", "reason": "契約"}'
    return [
        f"The API, as {service['name']} ({service['role']}); what it proposes waits at the console:",
        f"  {curl} '{api}v1/users?limit=2'",
        f"  {curl} -H 'Idempotency-Key: try-1' --json '{body}' {api}v1/organisations",
    ]


def parts_lines(summary: Mapping[str, Any], ours: int) -> list[str]:
    """How to reach each part of a demo of several nodes, and how to kill it. ``ours``: this process."""
    public = summary["port"]
    balancer = summary["balancer"]
    lines = [
        f"Who is in front: HAProxy on port {public}",
        f"    kill it: kill -9 {balancer['pid']}    what it was told: {balancer['configuration']}",
        "Behind it:",
    ]
    for each in summary["nodes"]:
        way = f"curl --cacert {summary['ca_file']} --connect-to ::{each['address']}:{each['port']}"
        lines += [
            f"  {each['name']}, alone: {way} {summary['sites']['help']}",
            f"    kill it: kill -9 {each['pid']}    freeze it: kill -STOP {each['pid']}    "
            f"go on: kill -CONT {each['pid']}    its log: {each['log']}",
        ]
    return [
        *lines,
        f"  database: psql '{summary['database']}'",
        f"    kill it: kill -9 {summary['database_pid']}    its log: {summary['database_log']}",
        f"Have back whatever of this was killed or frozen: kill -USR1 {ours}",
        f"Which node leads: {_ourselves()} node list --data {summary['data']} "
        f"--passphrase-file {summary['passphrase_file']}",
    ]


def hosts_line(summary: Mapping[str, Any]) -> str:
    """A line for /etc/hosts; "" where this machine's resolver knows names below localhost (RFC 6761 6.3)."""
    names = [urlsplit(url).hostname or "" for url in summary["sites"].values()]
    try:
        socket.getaddrinfo(names[0], None)
    except OSError:
        return " ".join([summary["address"], *names])
    return ""


def _ourselves() -> str:
    """What starts this program from here: a virtual environment need not be on the PATH."""
    return "sekisho" if shutil.which("sekisho") else sys.argv[0]


def _p12_password(summary: Mapping[str, Any]) -> str:
    return next((str(user["p12_password"]) for user in summary["users"] if user["p12_password"]), "")
