"""What an operator's ``doctor`` looks at: each check is a row of a table and ends with what to do."""

from __future__ import annotations

import asyncio
import secrets
import socket
import ssl
from collections.abc import Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from ipaddress import ip_address

from ca import store as certificates
from enroll import timekeeping
from enroll.jst import shown
from enroll.mail import queue, wording, writing
from enroll.mail.delivery import return_path
from enroll.mail.replies import Command
from enroll.mail.smtp import Smtp
from enroll.mail.transport import Refused
from enroll.refusals import CONFIRM
from gateway.cli import (
    ageing,
    approvers,
    ending,
    fetching,
    onserver,
    owners,
    printable,
    receivers,
    samples,
    undone,
)
from gateway.demo.words import typed_for
from gateway.edge.contexts import build_entry
from gateway.edge.tls import SiteTable
from gateway.proxy.upstream import Address, cause_of
from gateway.running import journal, rundir
from gateway.serving import descriptors
from gateway.serving import upstream as mount
from gateway.serving.assembly import gate_of, sites_of
from gateway.serving.authority import CHECKS, Check, findings, public_hosts
from gateway.serving.config import rows_of
from gateway.serving.configured import changed
from gateway.serving.deployment import Deployment
from gateway.web.examined import Finding

_QUEUE = 100
# Of a letter that could have left, in seconds.
_LATE_SECONDS = 3_600
_ANSWER_SECONDS = 5.0
# What OpenSSL calls a certificate's fault (x509_vfy.h) -> what to do.
_UPSTREAM_HINTS = {
    9: "set that server's clock, or ours",
    10: "renew the certificate of that server",
    62: "write the name that is in its certificate: upstream.server_name",
    64: "write the name that is in its certificate: upstream.server_name",
}


# What the mail server refused -> what to do. Letters wait meanwhile.
_MAIL_HINTS: Mapping[Command, str] = {
    "connect": "check mail.host, mail.port, mail.security and mail.ca; letters wait until it answers",
    "greeting": "ask who runs it to let this machine's address in; letters wait until then",
    "EHLO": "ask who runs it to let this machine's address in; letters wait until then",
    "STARTTLS": "check mail.security, and name the CA of its certificate in mail.ca if it is your own",
    "AUTH": "check mail.username and mail.password_file, then: sekisho reload, sekisho mail retry",
    "MAIL": "write an address that this login may send from: mail.return_path, or mail.from",
}


def examine(deployment: Deployment) -> list[Finding]:
    """Every check's finding. A check that cannot run is bad, with the reason."""
    return findings(_CHECKS, deployment)


def _configuration(deployment: Deployment) -> list[Finding]:
    # Opening the deployment read and checked it.
    config = deployment.config
    found = f"{' and '.join(config.listen.host)} port {config.listen.port}, public {config.public_port}"
    if public_hosts(deployment) and all(ip_address(host).is_loopback for host in config.listen.host):
        hint = "nobody else reaches it, unless something on this machine forwards: listen.host = '0.0.0.0'"
        return [Finding("configuration", "notice", found, hint)]
    return [Finding("configuration", "ok", found)]


def _descriptors(deployment: Deployment) -> list[Finding]:
    pid = rundir.serves(deployment.data)
    room = descriptors.room_of(pid) if pid is not None else None
    if room is None:  # what a server would have that is started from here
        room = descriptors.ceiling()
    short = descriptors.shortage(deployment.config, room)
    if short is None:
        return [Finding("file descriptors", "ok", f"{room} for each process")]
    return [Finding("file descriptors", "notice", *short)]


def _log(deployment: Deployment) -> list[Finding]:
    name = deployment.config.log.file
    if name:
        journal.check(deployment.data / name)
    return [Finding("log", "ok", str(deployment.data / name) if name else "standard error")]


def _names(deployment: Deployment) -> list[Finding]:
    lost = [host for host in public_hosts(deployment) if not _resolves(host)]
    if not lost:
        return [Finding("host names", "ok", "every one is known")]
    hint = "people cannot reach them from here: add them to the DNS"
    return [Finding("host names", "notice", f"not in the DNS: {', '.join(lost)}", hint)]


def _resolves(host: str) -> bool:
    # Under a wildcard a browser is sent to names that nobody has seen before.
    name = host.replace("*", secrets.token_hex(8))
    try:
        socket.getaddrinfo(name, None)
    except OSError:
        return False
    return True


def _mail_server(deployment: Deployment) -> list[Finding]:
    mail = deployment.config.mail
    if mail.transport == "outbox":
        return [
            Finding(
                "mail server",
                "notice",
                f"none: mails are files in {deployment.outbox}",
                "mail.transport = 'smtp'",
            )
        ]
    assert isinstance(deployment.transport, Smtp)
    where, sender = f"{mail.host}:{mail.port}", return_path(deployment.ra)
    try:
        _awaited(deployment.transport.try_out(sender))
    except Refused as refused:
        return [Finding("mail server", "bad", f"{where} refuses {refused}", _MAIL_HINTS[refused.command])]
    login = f" as {mail.username}" if mail.username else ""
    return [Finding("mail server", "ok", f"{where} takes letters of {sender}{login} ({mail.security})")]


def _awaited(work: Coroutine[None, None, object]) -> None:
    """Checks are plain functions, called from within an event loop: this one gets a loop of its own."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, work).result()


def _upstream(deployment: Deployment) -> list[Finding]:
    behind = mount.prepare(deployment, gate_of(deployment))
    if behind is None:
        return [Finding("upstream", "ok", "none")]
    return [_reached(address) for address in behind.upstream.addresses]


def _reached(address: Address) -> Finding:
    try:
        with socket.create_connection((address.host, address.port), _ANSWER_SECONDS) as plain:
            if address.tls is not None:
                address.tls.wrap_socket(plain, server_hostname=address.server_name or address.host).close()
    except OSError as error:
        return Finding("upstream", "bad", f"{address}: {cause_of(error)}", _upstream_hint(error))
    return Finding("upstream", "ok", f"{address} answers")


def _apart(deployment: Deployment) -> list[Finding]:
    settings, portal = deployment.config.upstream, deployment.config.sites.portal
    if not settings.addresses or portal or not settings.service_workers:
        whose = "its own" if portal else "the portal's"
        found = f"the upstream has {whose} origin" if settings.addresses else "no upstream"
        return [Finding("origin", "ok", found)]
    found = f"service workers of {', '.join(settings.service_workers)} share the portal's origin"
    hint = "in some browsers they read its pages: give it a host of its own in sites.portal"
    return [Finding("origin", "notice", found, hint)]


def _upstream_hint(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        other = "name the PEM file of the CA that issued it: upstream.ca"
        return _UPSTREAM_HINTS.get(error.verify_code, other)
    if isinstance(error, ssl.SSLError):
        return "if it speaks no TLS, write http:// in upstream.addresses"
    return "visitors get 502: start what should answer there, or mend upstream.addresses"


def _serve(deployment: Deployment) -> list[Finding]:
    if deployment.is_demo:
        # Its mailbox is the one thing that serve refuses, and right for what it is.
        sites = replace(deployment.config.sites, mailbox=())
        deployment = replace(deployment, config=replace(deployment.config, sites=sites))
    build_entry(SiteTable(sites_of(deployment, gate_of(deployment))))
    if deployment.is_demo:
        return [Finding("serve", "ok", f"a demo: {typed_for(deployment.data, deployment.config)}")]
    file = rows_of(deployment.config)
    for each in rundir.reports(deployment.data / rundir.RUN):
        if (found := changed(each.get("at_start", {}), file)) is not None:
            return [Finding("serve", "notice", *found)]
    return [Finding("serve", "ok", "nothing that serve or reload would refuse")]


def _clock(deployment: Deployment) -> list[Finding]:
    waits = "nothing is closed, wiped, sent by date or issued meanwhile"
    judged = deployment.ra.database.read_now(lambda db: timekeeping.judge(deployment.ra, db))
    doubts = [str(judged.doubt)] if judged.doubt is not None else []
    # Each process has a clock of its own: that of a server may be another one than ours.
    served = (
        rundir.reports(deployment.data / rundir.RUN) if rundir.serves(deployment.data) is not None else []
    )
    doubts += [f"worker {each['worker']}: {each['doubt']}" for each in served if each.get("doubt")]
    if doubts:
        found = f"{'; '.join(doubts)}: {waits}"
        return [Finding("clock", "bad", found, CONFIRM)]
    tick = judged.known.tick
    found = f"agrees with the last look at it, {shown(tick.wall)}" if tick else "nothing to compare it with"
    return [Finding("clock", "ok", found)]


def _templates(deployment: Deployment) -> list[Finding]:
    files = deployment.ra.templates
    own = deployment.ra.database.read_now(lambda db: writing.in_force(db, files))
    wording.check_templates(own)
    found = [str(files.directory) if files is not None else "our own"]
    if own is not None and own.changed:
        found.append(f"changed here: {', '.join(sorted(own.changed))}")
    return [Finding("mail templates", "ok", "; ".join(found))]


def _queue(deployment: Deployment) -> list[Finding]:
    ra = deployment.ra
    letters = ra.database.read_now(lambda db: queue.standing(db, ra.now(), ra.settings))
    found = (
        f"{letters.waiting} waiting, {letters.failed} failed, {letters.put_off} put off by their recipients"
    )
    if letters.oldest:
        found += f", the oldest for {letters.oldest // 60} minutes"
    for lane in letters.held:
        found += f"; all ({lane.channel}) held since {shown(lane.held_since_at or 0)}: {lane.said}"
    if letters.held:
        return [Finding("mail queue", "bad", found, "mend that, then: sekisho mail retry")]
    if letters.oldest > _LATE_SECONDS or letters.waiting >= _QUEUE:
        return [Finding("mail queue", "notice", found, "see why: sekisho mail list --state queued")]
    if letters.failed:
        hint = "see whose address is wrong: sekisho mail list --state failed"
        return [Finding("mail queue", "notice", found, hint)]
    return [Finding("mail queue", "ok", found)]


def _register(deployment: Deployment) -> list[Finding]:
    counts = deployment.ra.database.read_now(certificates.count_by_status)
    stuck = counts.get("reserved", 0)
    found = ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "no certificate yet"
    if stuck:
        return [
            Finding("register", "notice", found, "sekisho serve finishes what is reserved when it starts")
        ]
    return [Finding("register", "ok", found)]


_CHECKS: Mapping[str, Check] = {
    "configuration": _configuration,
    "your own words": ageing.examples,
    "permissions": owners.found,
    "operators": approvers.found,
    "file descriptors": _descriptors,
    "log": _log,
    "disk": ageing.disk,
    "database": ageing.database,
    "database server": onserver.found,
    "nodes": onserver.nodes,
    "backup": ageing.backups,
    "keys of windows": ending.found,
    "server certificate": CHECKS["server certificate"],
    "host names": _names,
    "clock": _clock,
    "signer": CHECKS["signer"],
    "profiles": samples.found,
    "key": CHECKS["key"],
    "issuing CA": CHECKS["issuing CA"],
    "earlier CA": CHECKS["earlier CA"],
    "CRL address": CHECKS["CRL address"],
    "revocation list": CHECKS["revocation list"],
    "root's list": CHECKS["root's list"],
    "published": fetching.published,
    "mail templates": _templates,
    "mail server": _mail_server,
    "mail queue": _queue,
    "webhooks": receivers.found,
    "jobs": undone.of_jobs,
    "proposals": undone.of_proposals,
    "postcards": printable.found,
    "register": _register,
    "upstream": _upstream,
    "origin": _apart,
    # Last: the others say the same with more words, and it is then not said again.
    "serve": _serve,
}
