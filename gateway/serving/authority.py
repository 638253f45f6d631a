"""What is to be said of the authority: where its keys are, which of its certificates end, how old its lists
are. `doctor` and the console tell it by these same functions; each finding ends with what to do."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial

from cryptography import x509

from ca import cross
from ca import store as certificates
from ca.authority import Issuer
from ca.clock import SystemClock
from ca.datadir import is_revoked, reason_in
from ca.errors import ConfigError
from ca.keyplaces import place_of, stem_of
from ca.profiles import Audience
from ca.published import store as published
from ca.servers import roots_of_this_machine, weaknesses
from enroll import crls, generations
from enroll.jst import days_left, shown, shown_day
from gateway.running import rundir
from gateway.serving import crosses, signers
from gateway.serving.deployment import Deployment, configured_hosts, server_certificate
from gateway.serving.figures import ROOT_LIST_DAYS, root_list_end
from gateway.serving.keystates import GOOD, states
from gateway.web.examined import Examined, Finding, State

#: A check of a deployment: what it found.
Check = Callable[[Deployment], list[Finding]]

_SERVER_DAYS = 14
# A certificate for people lives three years: an issuer with less left shortens them.
_ISSUER_DAYS = 3 * 366
# What is below it ends with it, and people's certificates live three years.
_ROOT_DAYS = 3 * 366
# An earlier issuing CA with less left: its people renew in the last 30 days, and some are on leave then.
_OLDER_DAYS = 90


def examined(deployment: Deployment) -> Examined:
    """Every finding about the authority, and each key. Asks the signer, and may take seconds."""
    return Examined(
        tuple(findings(CHECKS, deployment)), tuple(each for each in states(deployment)), deployment.ra.now()
    )


def findings(checks: Mapping[str, Check], deployment: Deployment) -> list[Finding]:
    """What each check found. One that cannot run is bad, with the reason; what several need and cannot have
    is told once."""
    found: list[Finding] = []
    for name, check in checks.items():
        try:
            found += check(deployment)
        except ConfigError as error:
            if all(each.found != str(error) for each in found):
                found.append(Finding(name, "bad", str(error)))
    return found


def _hosts(deployment: Deployment) -> list[Finding]:
    # Of the real clock, as browsers will: a demo's clock moves, theirs does not.
    now = SystemClock().seconds()
    made = server_certificate(deployment, now)
    left = days_left(made.not_after_at, now)
    found = f"until {shown_day(made.not_after_at)} ({left} days), for {', '.join(made.names)}"
    local = deployment.config.tls.certificate == "local"
    weak = [] if local else weaknesses(made.chain, roots_of_this_machine())
    if left > _SERVER_DAYS and weak:
        return [Finding("server certificate", "notice", f"{found}: {each.found}", each.hint) for each in weak]
    if left > _SERVER_DAYS and not (local and public_hosts(deployment)):
        return [Finding("server certificate", "ok", found)]
    if left > _SERVER_DAYS:
        ours = deployment.data / "servers" / "ca.pem"
        hint = f"browsers trust it only where {ours} is installed: name your own in tls.certificate"
        return [Finding("server certificate", "notice", found, hint)]
    hint = "sekisho serve makes another one" if local else "renew it, then: sekisho reload"
    return [Finding("server certificate", "bad" if left < 0 else "notice", found, hint)]


def public_hosts(deployment: Deployment) -> list[str]:
    """The names of the sites that are not this machine's own (RFC 6761 section 6.3), wildcards among them."""
    return [host for host in configured_hosts(deployment.config) if not host.endswith("localhost")]


def _issuers(deployment: Deployment) -> list[Finding]:
    """Those that issue: one for clients, and one for operators where they have one."""
    authority = deployment.datadir.authority
    issuing = generations.look(deployment.ra).issuers.get(Audience.OPERATORS)
    theirs = [] if issuing is None else [_issuer(deployment, authority.issuer(issuing), "operators' CA")]
    return [_issuer(deployment, authority.current, "issuing CA"), *theirs]


def _issuer(deployment: Deployment, issuer: Issuer, check: str) -> Finding:
    left = days_left(issuer.not_after_at, deployment.ra.now())
    found = f"{issuer.common_name} until {shown_day(issuer.not_after_at)} ({left} days)"
    if left >= _ISSUER_DAYS:
        return Finding(check, "ok", found)
    state: State = "bad" if left < 0 else "notice"
    more = " --for operators" if issuer.audience is Audience.OPERATORS else ""
    return Finding(
        check, state, found, f"it shortens new certificates; make its successor: sekisho ca add NAME{more}"
    )


def _keys(deployment: Deployment) -> list[Finding]:
    """Those in sealed files were opened before any of this; those in tokens sign something to show it."""
    found, lost = [], _for_good(deployment)
    for each in states(deployment):
        words = f"{each.name} ({each.of}): {each.where}"
        if each.state == GOOD:
            found.append(Finding("key", "ok", words))
            continue
        what, _, hint = each.state.rpartition("; ")
        hints = [part for part in (hint, lost.get(each.name, "") if each.lost else "") if part]
        found.append(Finding("key", "bad", f"{words}: {what or each.state}", "; ".join(hints)))
    return found


def _for_good(deployment: Deployment) -> dict[str, str]:
    """By the place of each issuing CA's key, what to type should it never come back."""
    authority = deployment.datadir.authority
    issuing = set(generations.look(deployment.ra).issuers.values())
    told = {}
    for each in authority.at_work:
        name = shlex.quote(each.common_name)
        told[place_of(stem_of(each.issuer_id))] = (
            "if it is gone for good: nothing is issued until there is another: sekisho ca add NAME (root "
            "elsewhere: sekisho ca request NAME), sekisho ca activate NAME --at now"
            if each.issuer_id in issuing
            else f"if it is gone for good: its lists end; sekisho ca distrust {name}, once its people have "
            f"others; when it is over, sekisho ca discard {name}"
        )
    return told


def _lists(deployment: Deployment) -> list[Finding]:
    return [_list_of(deployment, issuer) for issuer in deployment.datadir.authority.issuers]


def _list_of(deployment: Deployment, issuer: Issuer) -> Finding:
    check = "revocation list"
    if issuer.discarded_at is not None:
        found = (
            f"{issuer.common_name}: put away {shown_day(issuer.discarded_at)}, no list follows its last one"
        )
        return Finding(check, "ok", found)
    listed = deployment.ra.database.read_now(partial(published.published_list, issuer_id=issuer.issuer_id))
    if crls.is_over(deployment.ra, listed):
        if rundir.serves(deployment.data) is None:
            return Finding(check, "ok", f"{issuer.common_name}: serve makes it when it starts")
        hint = "others trust nobody's certificate without one: see the log, then sekisho cert crl FILE"
        return Finding(check, "bad", f"{issuer.common_name}: {'none' if listed is None else 'ended'}", hint)
    assert listed is not None
    until = shown(listed.next_update_at)
    return Finding(
        check, "ok", f"{issuer.common_name}: number {listed.number}, {listed.entries} lines, until {until}"
    )


def _root_list(deployment: Deployment) -> list[Finding]:
    end = root_list_end(deployment)
    left = days_left(end, deployment.ra.now())
    found = f"until {shown_day(end)} ({left} days)" if end else "missing"
    hint = "put ca/root.key in its place, then: sekisho ca root-list"
    state: State = "ok" if left >= ROOT_LIST_DAYS else "bad" if left < 0 else "notice"
    return [
        Finding("root's list", state, found, hint if state != "ok" else ""),
        *_revoked_and_trusted(deployment),
    ]


def _revoked_and_trusted(deployment: Deployment) -> list[Finding]:
    """The root has told the world for good; whoever is let in here comes with what all others refuse."""
    authority = deployment.datadir.authority
    named = [each for each in authority.issuers if is_revoked(authority.root_list, each)]
    left = deployment.ra.database.read_now(lambda db: generations.trusted_of(db, named))
    return [
        Finding(
            "root's list",
            "bad",
            f"it names {each.common_name}, which lets people in here",
            f"sekisho ca distrust '{each.common_name}' --reason {reason_in(authority.root_list, each)}",
        )
        for each in left
    ]


def _lists_address(deployment: Deployment) -> list[Finding]:
    """Whether certificates say where their revocation list is (RFC 5280 4.2.1.13)."""
    issuer = deployment.datadir.authority.current
    if issuer.site.crl:
        return [Finding("CRL address", "ok", issuer.site.crl)]
    hint = (
        "this gateway knows by itself; whoever else takes these certificates (a VPN, mail) does not learn of "
        "revocations: it is printed by the next issuing CA: sekisho ca add NAME --revocation-url http://..."
    )
    found = f"certificates of {issuer.common_name} name none"
    return [Finding("CRL address", "notice", found, hint)]


def _other_authorities(deployment: Deployment) -> list[Finding]:
    """The CAs besides the one that issues: those before it, the root, and that of our own hosts."""
    return [*_older(deployment), *_above(deployment), *_beside(deployment)]


def _older(deployment: Deployment) -> Iterator[Finding]:
    at = deployment.ra.now()
    for issuer in deployment.datadir.authority.of(Audience.CLIENTS)[1:]:
        if issuer.discarded_at is not None:
            words = f"{issuer.common_name}: put away {shown_day(issuer.discarded_at)}, its key is not wanted"
            file = deployment.data / f"{stem_of(issuer.issuer_id)}.key"
            here = file.exists()
            hint = f"it is still here, or came back with a copy: shred -u {file}" if here else ""
            yield Finding("earlier CA", "notice" if here else "ok", words, hint)
            continue
        alive = deployment.ra.database.read_now(
            partial(certificates.count_alive, issuer_id=issuer.issuer_id, at=at)
        )
        left = days_left(issuer.not_after_at, at)
        found = f"{_named(issuer, left)}: {alive} certificates still good"
        if alive and left < _OLDER_DAYS:
            hint = "they end with it at the latest: have their people renew: sekisho notify run"
            yield Finding("earlier CA", "notice", found, hint)
        else:
            yield Finding("earlier CA", "ok", found)


def _above(deployment: Deployment) -> Iterator[Finding]:
    now = int(time.time())
    root = int(deployment.datadir.root.not_valid_after_utc.timestamp())
    left = days_left(root, deployment.ra.now())
    found = f"until {shown_day(root)} ({left} days)"
    if left < _ROOT_DAYS:
        hint = "no issuing CA below it outlives it: plan another data directory with a root of its own"
        yield Finding("root", "bad" if left < 0 else "notice", found, hint)
    else:
        yield Finding("root", "ok", found)
    if deployment.config.tls.certificate == "local":
        server = deployment.datadir.server_ca
        left = days_left(server.not_after_at, now)
        if left < _ROOT_DAYS:
            hint = "it shortens the certificates of our own hosts: name your own in tls.certificate"
            yield Finding("server CA", "bad" if left < 0 else "notice", _named(server, left), hint)


def _beside(deployment: Deployment) -> Iterator[Finding]:
    """By what other roots vouch for ours."""
    crosses.check(deployment)
    in_files = deployment.config.policy.cross_certificates
    for der in deployment.datadir.authority.crosses:
        made = x509.load_der_x509_certificate(der)
        end, name = int(made.not_valid_after_utc.timestamp()), cross.root_of(made)
        left = days_left(end, deployment.ra.now())
        told = ", in people's files, too" if name in in_files else ""
        found = f"of {name} until {shown_day(end)} ({left} days){told}"
        if left < _OLDER_DAYS:
            hint = (
                "have it signed again there, sekisho ceremony sign DIR root.pem, then: sekisho ca accept FILE"
            )
            yield Finding("cross-certificate", "bad" if left < 0 else "notice", found, hint)
        else:
            yield Finding("cross-certificate", "ok", found)


def _named(issuer: Issuer, left: int) -> str:
    return f"{issuer.common_name} until {shown_day(issuer.not_after_at)} ({left} days)"


#: Of doctor's checks those about the authority, by their names there.
CHECKS: Mapping[str, Check] = {
    "server certificate": _hosts,
    "signer": signers.found,
    "key": _keys,
    "issuing CA": _issuers,
    "earlier CA": _other_authorities,
    "CRL address": _lists_address,
    "revocation list": _lists,
    "root's list": _root_list,
}
