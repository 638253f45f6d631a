"""At the door: whose certificate it is, how a passkey is asked for, and forms that wait for a login."""

from __future__ import annotations

import json
import logging
import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NoBase64
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from aiohttp import web

from ca.sealing import BrokenSeal
from ca.storage import Transaction
from ca.trust import VerifiedPeer
from enroll import throttle
from enroll.operators import store as operators
from enroll.operators.roles import LABELS
from enroll.operators.store import Operator, Passkey
from enroll.refusals import Refusal
from gateway.sites.console.passkeys import BadPasskey, Party, challenge_in, credential_in, to_use, used
from gateway.sites.console.words import DONE, ERRORS, verdict_words
from gateway.web import challenges
from gateway.web.context import Gate, Role
from gateway.web.pages import GATE, render, see_other, told
from gateway.wire import http
from gateway.wire.ownpaths import first_segment

log = logging.getLogger("sekisho.console")

SITE = str(Role.CONSOLE)
LOGIN, ENROL, HOME = "/login", "/enrol", "/"
#: What a challenge of the login page is for.
FOR_LOGIN = "login"
# Fields that are the page's and not the person's.
_OURS = ("token", "answer", "challenge", "stand_in")
_KEPT = "kept form"
# Seconds for which a form that was sent without a session can be sent again, and the most of it.
_KEPT_FOR, _KEPT_MOST = 8 * 3_600, 40_000


class StandIn(Protocol):
    """What answers for an authenticator, as a browser would have sent it. A demo puts it there
    (`gateway.demo`), and nothing else does."""

    def used(self, party: Party, known: Sequence[Passkey], challenge: str) -> str:
        """Of one of the passkeys that it stands for; "" where there is none."""

    def made(self, party: Party, challenge: str) -> str:
        """Of a passkey that it makes."""


STAND_IN: web.AppKey[StandIn] = web.AppKey("stand-in", StandIn)


class Nobody(Exception):
    """A good certificate of nobody who works here."""


def party_of(gate: Gate) -> Party:
    """For whom passkeys are good here."""
    return Party(gate.origins[Role.CONSOLE], gate.ra.settings.operator_name)


def verified(request: web.BaseRequest) -> VerifiedPeer:
    """The peer. The listener lets nobody else through to a site that requires a certificate."""
    peer = http.peer(request)
    if not isinstance(peer, VerifiedPeer):
        raise Refusal("unknown_certificate")
    return peer


async def at_the_door(request: web.Request) -> tuple[Operator, list[Passkey], VerifiedPeer]:
    """Whose certificate it is, with the passkeys: enough to be asked for one, and to read nothing."""
    ra, peer = request.app[GATE].ra, verified(request)

    def work(db: Transaction) -> tuple[Operator | None, list[Passkey]]:
        found = operators.of_certificate(db, peer.fingerprint)
        return found, [] if found is None else operators.passkeys(db, found.number)

    operator, known = await ra.database.read(work)
    if operator is None or operator.kind != "person":
        raise Nobody
    return operator, known, peer


def show(
    request: web.Request, template: str, visitor: Any = None, *, status: int = 200, **values: Any
) -> web.Response:
    """A page of the console."""
    return render(
        request,
        template,
        status=status,
        visitor=visitor,
        verdict_words=verdict_words,
        party=party_of(request.app[GATE]),
        stand_in=STAND_IN in request.app,
        ERRORS=ERRORS,
        DONE=DONE,
        ROLES=LABELS,
        **values,
    )


async def asked(
    request: web.Request,
    operator: Operator,
    known: list[Passkey],
    peer: VerifiedPeer,
    purpose: str,
    **facts: Any,
) -> dict[str, Any]:
    """What a form that asks for a passkey needs."""
    gate = request.app[GATE]
    challenge = await challenges.ask(gate.ra, operator.identity, peer.fingerprint, purpose, **facts)
    return {"challenge": challenge, "options": to_use(party_of(gate), challenge, known)}


async def answered(
    request: web.Request,
    operator: Operator,
    known: list[Passkey],
    peer: VerifiedPeer,
    purpose: str,
    fields: Mapping[str, str],
) -> tuple[Passkey | None, Mapping[str, Any], str]:
    """The passkey that was used, with the facts of its challenge; or None and the word for what was wrong."""
    gate, address = request.app[GATE], http.connection(request).peer_address
    ra, attempt = gate.ra, throttle.Attempt("passkey", peer.fingerprint, address)
    try:
        await throttle.begin(ra, attempt)
    except Refusal:
        return None, {}, "throttled"
    answer = fields.get("answer", "")
    if fields.get("stand_in") and STAND_IN in request.app:
        answer = request.app[STAND_IN].used(party_of(gate), known, fields.get("challenge", ""))
    challenge = challenge_in(answer)
    facts = await challenges.take(ra, challenge, operator.identity, peer.fingerprint, purpose)
    if facts is None:
        return None, {}, "late"
    try:
        named = credential_in(answer)
        passkey = next((each for each in known if each.credential_id == named), None)
        if passkey is None:
            return None, {}, "other"
        count = used(party_of(gate), challenge, answer, passkey)
    except BadPasskey as bad:
        http.connection(request).count("refused.passkey")
        log.info("a passkey of %s is refused: %s", operator.name, bad)
        return None, {}, "passkey"
    chosen = passkey

    def work(db: Transaction) -> bool:
        throttle.succeeded(db, attempt)
        return operators.use_passkey(db, chosen, count, ra.now())

    return (chosen, facts, "") if await ra.database.write(work) else (None, {}, "late")


async def login_page(request: web.Request, kept: str = "", error: str = "") -> web.StreamResponse:
    """The page that asks for a passkey. ``kept``: a form that was sent without a session."""
    operator, known, peer = await at_the_door(request)
    if not known:
        return see_other(ENROL)
    state = told(request) if request.method == "GET" else {}
    return show(
        request,
        "login.html",
        operator=operator,
        peer=peer,
        following=local_path(state.get("next", request.query.get("next", ""))),
        kept=kept,
        error=error or state.get("error", ""),
        done=request.query.get("done", ""),
        **await asked(request, operator, known, peer, FOR_LOGIN),
    )


def local_path(text: str) -> str:
    """Where to go afterwards: a path of this site, else its home. Never another origin (V39)."""
    odd = (
        not text.startswith("/")
        or text.startswith("//")
        or first_segment(text) in ("login", "logout", "enrol")
    )
    return HOME if odd or "\\" in text or len(text) > 500 or not text.isprintable() else text


def typed(fields: Mapping[str, str]) -> dict[str, str]:
    """Of a form what somebody entered."""
    return {name: value for name, value in fields.items() if name not in _OURS}


def keep(request: web.Request, fields: Mapping[str, str]) -> str:
    """A form, sealed: whoever logs in with the same certificate gets it back."""
    ra, peer = request.app[GATE].ra, verified(request)
    told = {"path": request.path, "fields": typed(fields), "at": ra.now(), "of": peer.fingerprint}
    packed = zlib.compress(json.dumps(told, ensure_ascii=False).encode("utf-8", "replace"), 9)
    sealed = urlsafe_b64encode(ra.vault.seal(_KEPT, packed)).decode()
    return sealed if len(sealed) <= _KEPT_MOST else ""


def kept(request: web.Request, value: str) -> Mapping[str, Any] | None:
    """The form that `keep` was given: its ``path`` and ``fields``; None for anything else."""
    ra, peer = request.app[GATE].ra, verified(request)
    if not value or len(value) > _KEPT_MOST:
        return None
    try:
        told: Mapping[str, Any] = json.loads(zlib.decompress(ra.vault.open(_KEPT, urlsafe_b64decode(value))))
    except (BrokenSeal, NoBase64, ValueError):
        return None
    good = told["of"] == peer.fingerprint and abs(ra.now() - told["at"]) < _KEPT_FOR
    return told if good else None
