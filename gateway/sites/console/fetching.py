"""An operator's certificate by the one-time code, for whoever has none that opens the console.

The code is the operator's alone, and two people have decided who gets one; the file's password is typed here
and kept nowhere. What comes next, the passkey, is made by that certificate (`entry.code_form`).
"""

from __future__ import annotations

from aiohttp import web

from ca.pkcs12 import CONTENT_TYPE, LONG_PASSWORD
from enroll.operators import credentials
from enroll.refusals import Refusal
from enroll.requests.issuance import p12_password_problem
from gateway.sites.console.asking import ENROL
from gateway.sites.console.entry import attempt_of, code_problem
from gateway.sites.console.words import ERRORS
from gateway.web.pages import GATE, form, render, tell, told
from gateway.web.words import REFUSALS


async def page(request: web.Request) -> web.StreamResponse:
    """Asks for the code, and for a password of the file."""
    state = told(request)
    return render(
        request,
        "fetch.html",
        status=422 if state else 200,
        error=state.get("error", ""),
        problems={name: REFUSALS[code] for name, code in state.get("problems", {}).items()},
        long=LONG_PASSWORD,
        ERRORS=ERRORS,
        DONE={},
    )


async def send(request: web.Request) -> web.StreamResponse:
    """The file (PKCS#12). The code is used up by it, and by nothing that is refused."""
    fields, ra = await form(request), request.app[GATE].ra
    password = fields.get("password", "")
    wrong = p12_password_problem(password, fields.get("confirmation", ""))
    if wrong is not None:
        return tell(request, ENROL, {"problems": {wrong.field: wrong.code}})
    try:
        issued = await credentials.fetch(ra, fields.get("code", ""), password, attempt_of(request))
    except Refusal as refusal:
        return tell(request, ENROL, {"error": code_problem(refusal)})
    disposition = f'attachment; filename="{issued.operator.name}.p12"'
    return web.Response(
        body=issued.p12, headers={"Content-Type": CONTENT_TYPE, "Content-Disposition": disposition}
    )
