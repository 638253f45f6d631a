"""証明書, one: what it says and whose it is, what the world is told of it, and what is done about it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from aiohttp import web

import ca.store
from ca.authority import Issuer
from ca.certificates import to_pem
from ca.ocsp import Standing, told_by
from ca.reading import Reading, read
from ca.storage import Row, Transaction
from ca.store import CertificateRecord
from enroll.certificates import ending, showing
from enroll.certificates.showing import Shown
from enroll.operators import asking, helping, viewing
from enroll.operators.actors import require
from enroll.operators.asking import Proposed, Step
from enroll.operators.roles import Act, Verdict
from enroll.refusals import LONGEST_LINE, Refusal
from gateway.sites.console import saying
from gateway.sites.console.actwords import why_of, words_of
from gateway.sites.console.asking import show
from gateway.sites.console.certificates import LIST, OFFERED
from gateway.sites.console.finding_words import CERTIFICATES, DOORS, REQUESTS
from gateway.sites.console.visitors import Visitor, confirmed
from gateway.web.afterwards import typed
from gateway.web.context import Gate
from gateway.web.pages import GATE, form, see_other, tell, told
from gateway.web.words import Text

REVOKE, RELEASE = "certificate.revoke", "certificate.release"
FORMS: Mapping[str, str] = {"pem": "application/x-pem-file", "der": "application/pkix-cert"}
#: What came of a form -> words, and the class of their notice.
SAID: Mapping[str, tuple[Text, str]] = {
    "revoked": (
        (
            "失効しました。この証明書を使用中の接続は2秒以内に切れます。",
            "Revoked: open connections with it end within two seconds.",
        ),
        "good",
    ),
    "held": (
        (
            "利用を停止しました。この証明書を使用中の接続は2秒以内に切れます。",
            "Suspended: open connections with it end within two seconds.",
        ),
        "good",
    ),
    "reason": (("失効の理由を選択してください。", "Please choose why it is revoked."), "problem"),
    "why": (
        (
            f"理由を1行（{LONGEST_LINE}文字以内）で入力してください。",
            f"Please say why, in one line of up to {LONGEST_LINE} characters.",
        ),
        "problem",
    ),
    "again": (
        (
            "同じ内容の起案がすでに承認を待っているか、証明書の状態が変わりました。表示をご確認ください。",
            "The same is proposed already, or the certificate has changed meanwhile. Please look again.",
        ),
        "problem",
    ),
}


async def page(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """All that there is to know. Whoever looks is noted."""
    gate, serial = request.app[GATE], _serial(request)
    ra = gate.ra

    def work(db: Transaction) -> tuple[Shown, dict[str, Step], viewing.Names]:
        found = showing.shown(db, ra, visitor.actor, serial)
        payload = {"serial": serial}
        steps = {each: asking.step_of(db, ra, visitor.actor, each, payload) for each in (REVOKE, RELEASE)}
        return found, steps, viewing.names_in(db, *({"by": row["actor"]} for row in found.history))

    found, steps, names = await ra.database.read(work)
    if found.user is not None:
        await helping.note_reading(ra, visitor.actor, found.user.user_id)
    state = told(request)
    return show(
        request,
        "certificate.html",
        visitor,
        found=found,
        record=found.record,
        chip=CERTIFICATES[found.state],
        chain=[] if found.issuer is None else chain_of(found.issuer),
        answer=await _answer(gate, found.record),
        history=[_line(row, names) for row in found.history],
        steps=steps,
        good=found.record.status == "issued" and found.state in ("issued", "distrusted"),
        revocable=found.record.status in ("issued", "held"),
        may_suspend=visitor.may("suspend", "DO"),
        reasons=OFFERED,
        revocation=_reason(found.record.revocation_reason),
        answer_reason=lambda told: _reason(told.reason),
        chips=CERTIFICATES,
        doors=DOORS,
        kinds=REQUESTS,
        values=state.get("values", {}),
        said=SAID.get(state.get("error", "") or request.query.get("done", "")),
    )


async def download(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """The certificate itself, as a file."""
    ra, serial, kind = request.app[GATE].ra, _serial(request), request.match_info["kind"]
    require(visitor.actor, Act.SEARCH, Verdict.READ)
    found = await ra.database.read(lambda db: ca.store.find_by_serial(db, serial))
    if found is None or found.der is None:
        raise Refusal("not_found", field="serial")
    return web.Response(
        body=to_pem(found.der) if kind == "pem" else found.der,
        headers={
            "Content-Type": FORMS[kind],
            "Content-Disposition": f'attachment; filename="{serial}.{"pem" if kind == "pem" else "cer"}"',
        },
    )


async def revoke(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """失効, for good: with the passkey by who may do it alone, else proposed."""
    ra, serial, fields = request.app[GATE].ra, _serial(request), await form(request)
    why = fields.get("why", "").strip()
    if fields.get("reason") not in OFFERED:
        return _again(request, serial, fields, "reason")
    if not why or not why.isprintable() or len(why) > LONGEST_LINE:
        return _again(request, serial, fields, "why")
    payload = ending.of_one(serial, fields["reason"])

    def work(db: Transaction) -> tuple[Shown, Step]:
        found = showing.shown(db, ra, visitor.actor, serial)
        return found, asking.step_of(db, ra, visitor.actor, REVOKE, payload)

    found, step = await ra.database.read(work)
    if not step:
        raise Refusal("not_permitted", field="serial")
    if found.record.status not in ("issued", "held"):
        return _again(request, serial, fields, "again")
    if step == "do":
        waiting = await confirmed(request, visitor, fields, _what(found, fields["reason"]), _REVOKED)
        if waiting is not None:
            return waiting
    return await _asked(request, visitor, REVOKE, payload, "revoked", why)


async def hold(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """利用停止 of this one, at once and with its reason."""
    ra, serial, fields = request.app[GATE].ra, _serial(request), await form(request)
    why = fields.get("why", "").strip()
    try:
        if not why:
            raise Refusal("invalid_input", field="reason")
        await ending.hold(ra, visitor.actor, serial, why)
    except Refusal as refusal:
        if refusal.code not in ("invalid_input", "conflict"):
            raise
        return _again(request, serial, fields, "why" if refusal.code == "invalid_input" else "again")
    return see_other(f"{LIST}/{serial}?done=held")


async def release(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """Has a hold taken back: somebody else decides."""
    serial, fields = _serial(request), await form(request)
    why = fields.get("why", "").strip()
    if not why or not why.isprintable() or len(why) > LONGEST_LINE:
        return _again(request, serial, fields, "why")
    return await _asked(request, visitor, RELEASE, {"serial": serial}, "", why)


async def _asked(
    request: web.Request, visitor: Visitor, kind: str, payload: Mapping[str, Any], done: str, why: str
) -> web.StreamResponse:
    ra, serial = request.app[GATE].ra, str(payload["serial"])
    try:
        found = await asking.ask(ra, visitor.actor, kind, payload, reason=why)
    except Refusal as refusal:
        if refusal.code != "conflict":
            raise
        return tell(request, f"{LIST}/{serial}", {"error": "again"})
    if isinstance(found, Proposed):
        return see_other(f"/proposals/{found.number}?done=proposed")
    return see_other(f"{LIST}/{serial}?done={done}")


def _again(request: web.Request, serial: str, fields: Mapping[str, str], error: str) -> web.Response:
    values = typed(fields, "reason", "why")
    return tell(request, f"{LIST}/{serial}", {"error": error, "values": values})


def _serial(request: web.Request) -> str:
    return request.match_info["serial"].lower()


def _what(found: Shown, reason: str) -> Text:
    """What the passkey is asked for."""
    record, name = found.record, "" if found.user is None else found.user.name
    serial = record.serial.upper()
    return (
        f"証明書1件を失効：{record.subject_cn} {name}（シリアル番号 {serial}）。理由：{OFFERED[reason][0]}",
        f"Revoke 1 certificate: {record.subject_cn} {name} (serial number {serial}), {reason}",
    )


_REVOKED: Text = (
    "使用中の接続は2秒以内に切れ、この証明書ではログインも更新もできなくなります。取り消せません。",
    "Open connections end within two seconds, and it neither logs anybody in nor is renewed. It cannot be "
    "undone.",
)


def chain_of(issuer: Issuer) -> list[Reading]:
    """What stands above a certificate, the root last."""
    return [read(der) for der in (issuer.der, *issuer.chain)]


async def _answer(gate: Gate, record: CertificateRecord) -> tuple[Standing, int, int] | None:
    """What whoever asks (OCSP) is told now, from when and until when; None: it is made when somebody does."""
    kept = await gate.ra.database.read(
        lambda db: gate.answers.kept(db, gate.ra, record.issuer_id, record.serial, "sha1")
    )
    return None if kept is None else (told_by(kept.der), kept.this_update_at, kept.next_update_at)


def _reason(code: int | None) -> Text | None:
    return None if code is None else saying.revocation(code)


def _line(row: Row, names: viewing.Names) -> dict[str, Any]:
    """A line of the trail: when, what, who, and what it says besides."""
    what, tone = words_of(row["action"])
    detail = json.loads(row["detail"] or "{}")
    return {
        "at": row["at"],
        "what": what,
        "code": row["action"],
        "tone": tone,
        "by": saying.who(row["actor"], names),
        "said": why_of(row["action"], detail, "reason", "why", "note"),
    }
