"""Every page of the console and every GET of the API after five years (`tests.bench.years`): what each costs,
and an import of 20,000 rows from the upload to its last row, while people log in.

``python -m tests.bench.console_bench [--place DIR] [--rounds N] [--import ROWS] [--only WORD] [--part K/N]
[--users N] [--organisations N] [--certificates N] [--audit N]``: ``sekisho serve`` on one core, its visitors
on the other. ``--place`` keeps what was made, and takes it up again. Each page is asked for so many times
beside two logins a second: the time that its reader waits, and its own CPU, which the server counts
(`counted`). What its reader waits for longer than 200 ms, in more than one of twenty times, is named at the
end.

A route without a row in `CONSOLE`, `FILES` or `API` is an error: `tests/test_measuring.py` says so as well.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import shutil
import socket
import sqlite3
import ssl
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp

from enroll.operators.roles import Role
from enroll.reports import MOST_DAYS
from gateway.demo.operators import stand_in_of
from gateway.demo.standin import StandIn, signed
from gateway.serving.config import FILE_NAME
from gateway.serving.database import DATABASE
from gateway.serving.deployment import open_deployment
from gateway.sites import console
from gateway.sites.api.reading import cursor_of
from gateway.sites.api.table import ROUTES as API_ROUTES
from gateway.sites.console.passkeys import Party
from tests.bench import counted, years
from tests.bench.years import DAY, Size
from tests.cli.processes import change, pem_of, process, until
from tests.gateway.sites.kit import Here, Page, Visitor
from tests.ports import free_port

#: Milliseconds that a page may take, and a login while an import goes on.
MOST, MOST_LOGIN = 200, 100
#: Seconds that an import of 20,000 rows may take.
MOST_IMPORT = 300
_PAUSE = 0.5
#: Milliseconds after which a page is told of at once.
_LONG = 2_000
#: What is measured, whichever source tree the installed program is of.
ROOT = Path(__file__).resolve().parents[2]
# A server is at rest that took less than such a part of a core for so many seconds.
_IDLE, _LOOK, _PATIENCE = 0.05, 5.0, 600
_CORES = min(os.sched_getaffinity(0)), max(os.sched_getaffinity(0))

#: Path of a route -> addresses that are asked for, each time with other values in their brackets (`Facts`).
CONSOLE: Mapping[str, Sequence[str]] = {
    "/": ["/"],
    "/me": ["/me"],
    "/permissions": ["/permissions"],
    "/proposals": ["/proposals", "/proposals?state=all", "/proposals?state=all&before={proposal}"],
    "/proposals/{number}": ["/proposals/{proposal}", "/proposals/{waiting_proposal}"],
    "/applications": [
        "/applications",
        "/applications?state=all",
        "/applications?state=all&sort=newest&after={application_place}",
        "/applications?state=approved&policy_number={largest}",
        "/applications?state=withdrawn",
        "/applications?due=overdue",
    ],
    "/applications/new": ["/applications/new"],
    "/applications/bulk": ["/applications/bulk"],
    "/applications/{number}": ["/applications/{application}", "/applications/{waiting_application}"],
    "/jobs": ["/jobs", "/jobs?state=all", "/jobs?state=all&before={job}"],
    "/jobs/{number}": ["/jobs/{job}", "/jobs/{long_job}"],
    "/imports/new": ["/imports/new"],
    "/imports/checked/{mark}": ["{checked}"],
    "/imports/{number}": ["/imports/{long_job}"],
    "/organisations": [
        "/organisations",
        "/organisations?sort=newest",
        "/organisations?after=0-{policy_number}",
        "/organisations?state=stopped",
        "/organisations?q=%E6%A0%AA%E5%BC%8F",
        "/organisations?q=%E8%AA%B0%E3%82%82",
    ],
    "/organisations/new": ["/organisations/new"],
    "/organisations/{policy_number}": ["/organisations/{policy_number}", "/organisations/{largest}"],
    "/users": [
        "/users",
        "/users?sort=newest",
        "/users?after=0-{user_id}",
        "/users?policy_number={largest}",
        "/users?state=stopped",
        "/users?state=held",
        "/users?role=admin",
        "/users?ends=90",
        "/users?ends=none",
        "/users?bounced=1",
        "/users?q={family}",
        "/users?q=%E8%AA%B0%E3%82%82",
    ],
    "/users/new": ["/users/new"],
    "/users/{user_id}": ["/users/{user_id}", "/users/{busiest}"],
    "/postcards": ["/postcards", "/postcards?state=all", "/postcards?state=all&before={batch}"],
    "/postcards/{number}": ["/postcards/{batch}"],
    "/operators": ["/operators", "/operators?certificate=ending"],
    "/operators/{name}": ["/operators/shounin"],
    "/integrations": ["/integrations"],
    "/integrations/new": ["/integrations/new"],
    "/integrations/deliveries": [
        "/integrations/deliveries",
        "/integrations/deliveries?state=dead",
        "/integrations/deliveries?endpoint={endpoint}&state=delivered&before={delivery}",
    ],
    "/integrations/webhooks/{name}": ["/integrations/webhooks/{endpoint}"],
    "/integrations/webhooks/{name}/change": ["/integrations/webhooks/{endpoint}/change"],
    "/audit": [
        "/audit",
        "/audit?before={audit}",
        "/audit?about={busiest}",
        "/audit?about={user_id}",
        "/audit?about={serial}",
        "/audit?actor=operator:touroku",
        "/audit?actor=K1",
        "/audit?act=login",
        "/audit?act=certificate",
        "/audit?act=nothing",
        "/audit?from={day}",
        "/audit?to={day}&before={audit}",
        "/audit?from={day}&act=login",
        "/audit?actor=K1&act=login&from={day}",
    ],
    "/reports": ["/reports"],
    "/reports/{name}": [
        "/reports/{report}",
        "/reports/{report}?organisation={largest}",
        "/reports/{report}?from={years_ago}&to={today}",
    ],
    "/campaigns": ["/campaigns", "/campaigns?state=all"],
    "/campaigns/new": ["/campaigns/new"],
    "/campaigns/{number}": [
        "/campaigns/{campaign}",
        "/campaigns/{campaign}?after={policy_number}",
        "/campaigns/{campaign}?organisations=open",
        "/campaigns/{small_campaign}",
    ],
    "/campaigns/{number}/people": [
        "/campaigns/{campaign}/people",
        "/campaigns/{campaign}/people?view=used",
        "/campaigns/{campaign}/people?organisation={largest}",
    ],
    "/campaigns/{number}/remind": ["/campaigns/{campaign}/remind"],
    "/campaigns/{number}/end": ["/campaigns/{campaign}/end"],
    "/rollover": ["/rollover", "/rollover?ca={issuer}&after={policy_number}"],
    "/search": [
        f"/search?q={{{what}}}"
        for what in (
            "policy_number", "user_id", "short", "name", "family", "reading", "character", "organisation",
            "mail", "request_id", "request_id_8", "serial", "serial_decimal", "serial_8", "common_name",
            "ending", "nothing",
        )
    ] + ["/search?q={family}&group=users&after={user_id}"],
    "/callers/{user_id}": ["/callers/{user_id}", "/callers/{busiest}"],
    "/letters": [
        "/letters",
        "/letters?before={letter}",
        *(
            f"/letters?state={state}"
            for state in ("waiting", "held", "sent", "refused", "bounced", "cancelled", "open", "failed")
        ),
        "/letters?kind=pickup",
        "/letters?kind=renewal_30&channel=postcard&before={letter}",
        "/letters?user_id={user_id}",
        "/letters?from={day}",
        "/letters?state=sent&to={day}",
    ],
    "/letters/bulk": ["/letters/bulk"],
    "/letters/release": ["/letters/release"],
    "/letters/{number}": ["/letters/{letter}", "/letters/{failed_letter}"],
    "/templates": ["/templates"],
    "/templates/{template}/{language}": ["/templates/pickup/ja", "/templates/renewal/en"],
    "/templates/{template}/{language}/change": ["/templates/pickup/ja/change"],
    "/certificates": [
        "/certificates",
        "/certificates?after={certificate_place}",
        "/certificates?sort=ending",
        "/certificates?sort=ending&after={ending_place}",
        "/certificates?state=issued",
        "/certificates?state=issued&sort=ending",
        "/certificates?state=expired",
        "/certificates?state=revoked",
        "/certificates?state=held",
        "/certificates?state=reserved",
        "/certificates?door=page&state=issued",
        "/certificates?profile=client-person",
        "/certificates?issuer={issuer}",
        "/certificates?from={day}",
        "/certificates?state=issued&from={day}&to={today}",
        "/certificates?organisation={policy_number}",
        "/certificates?organisation={largest}",
        "/certificates?organisation={largest}&state=issued&sort=ending",
        "/certificates?organisation={largest}&after={certificate_place}",
    ],
    "/certificates/revoke": ["/certificates/revoke"],
    "/emergencies": ["/emergencies"],
    "/certificates/{serial}": ["/certificates/{serial}"],
    "/certificates/{serial}.{kind}": ["/certificates/{serial}.pem"],
    "/ca": ["/ca"],
    "/settings": ["/settings"],
    "/operators/new": ["/operators/new"],
}  # fmt: skip
#: The same of files, which are as long as what they list: asked for once, and held to no bound.
FILES: Mapping[str, Sequence[str]] = {
    "/imports/checked/{mark}/refused": ["{checked}/refused"],
    "/imports/{number}/failures": ["/imports/{long_job}/failures"],
    "/proposals.{form}": ["/proposals.csv"],
    "/applications.{form}": ["/applications.csv?state=submitted"],
    "/jobs.{form}": ["/jobs.csv"],
    "/organisations.{form}": ["/organisations.csv"],
    "/users.{form}": ["/users.csv?policy_number={largest}"],
    "/audit.{form}": ["/audit.csv?about={busiest}", "/audit.jsonl?about={user_id}"],
    **{f"/reports/{name}.{{form}}": [f"/reports/{name}.csv"] for name in console.reports.NAMES.split("|")},
    "/campaigns/{number}.{form}": ["/campaigns/{campaign}.csv"],
    "/campaigns/{number}/people.{form}": ["/campaigns/{campaign}/people.csv?organisation={largest}"],
    "/letters.{form}": ["/letters.csv?user_id={user_id}"],
    "/certificates.{form}": ["/certificates.csv?organisation={policy_number}"],
}
#: The same of the API.
API: Mapping[str, Sequence[str]] = {
    "/v1/organisations": ["/v1/organisations?limit=200", "/v1/organisations?cursor={c_policy_number}"],
    "/v1/organisations/{policy_number}": ["/v1/organisations/{largest}"],
    "/v1/users": [
        "/v1/users?limit=200",
        "/v1/users?cursor={c_user_id}&limit=200",
        "/v1/users?policy_number={largest}",
        "/v1/users?state=disabled",
        "/v1/users?name={family}&cursor={c_user_id}",
        "/v1/users?name={nothing}",
        "/v1/users?mail=user1%40",
    ],
    "/v1/users/{user_id}": ["/v1/users/{user_id}", "/v1/users/{busiest}"],
    "/v1/applications": [
        "/v1/applications?limit=200",
        "/v1/applications?state=approved&cursor={c_application}",
        "/v1/applications?policy_number={largest}",
        "/v1/applications?user_id={user_id}",
    ],
    "/v1/applications/{number}": ["/v1/applications/{application}"],
    "/v1/requests": [
        "/v1/requests?limit=200",
        "/v1/requests?cursor={c_certificate}",
        "/v1/requests?user_id={user_id}",
    ],
    "/v1/requests/{request_id}": ["/v1/requests/{request_id}"],
    "/v1/certificates": [
        "/v1/certificates?limit=200",
        "/v1/certificates?cursor={c_certificate}&limit=200",
        "/v1/certificates?user_id={user_id}",
        "/v1/certificates?policy_number={largest}",
        "/v1/certificates?policy_number={largest}&cursor={c_early_certificate}",
        "/v1/certificates?policy_number=99999999",
        "/v1/certificates?state=held",
        "/v1/certificates?state=reserved",
        "/v1/certificates?state=revoked&cursor={c_certificate}",
        "/v1/certificates?state=issued&cursor={c_early_certificate}",
        "/v1/certificates?ends_before={long_ago}",
        "/v1/certificates?ends_after={far}",
        "/v1/certificates?policy_number={policy_number}&state=held",
    ],
    "/v1/certificates/{serial}": ["/v1/certificates/{serial}"],
    "/v1/letters": [
        "/v1/letters?limit=200",
        "/v1/letters?cursor={c_letter}",
        "/v1/letters?state=bounced&cursor={c_letter}",
        "/v1/letters?state=cancelled",
        "/v1/letters?user_id={user_id}",
    ],
    "/v1/letters/{number}": ["/v1/letters/{letter}"],
    "/v1/jobs": ["/v1/jobs?limit=200", "/v1/jobs?cursor={c_job}"],
    "/v1/jobs/{number}": ["/v1/jobs/{long_job}"],
    "/v1/imports": ["/v1/imports?limit=200", "/v1/imports?cursor={c_job}"],
    "/v1/imports/{number}": ["/v1/imports/{long_job}"],
    "/v1/imports/{number}/failures": ["/v1/imports/{long_job}/failures"],
    "/v1/proposals": ["/v1/proposals?limit=200", "/v1/proposals?cursor={c_proposal}"],
    "/v1/proposals/{number}": ["/v1/proposals/{proposal}"],
    "/v1/webhook-endpoints": ["/v1/webhook-endpoints"],
    "/v1/webhook-endpoints/{name}": ["/v1/webhook-endpoints/{endpoint}"],
    "/v1/deliveries": [
        "/v1/deliveries?limit=200",
        "/v1/deliveries?state=dead",
        "/v1/deliveries?state=waiting",
        "/v1/deliveries?endpoint={endpoint}&cursor={c_delivery}",
    ],
    "/v1/deliveries/{number}": ["/v1/deliveries/{delivery}"],
    "/v1/campaigns": ["/v1/campaigns"],
    "/v1/campaigns/{number}": ["/v1/campaigns/{campaign}"],
    "/v1/campaigns/{number}/organisations": [
        "/v1/campaigns/{campaign}/organisations?limit=200",
        "/v1/campaigns/{campaign}/organisations?cursor={c_policy_number}",
    ],
    "/v1/reports": ["/v1/reports"],
    "/v1/reports/{name}": ["/v1/reports/{report}", "/v1/reports/expiring?policy_number={largest}"],
    "/v1/audit-events": [
        "/v1/audit-events?limit=200",
        "/v1/audit-events?cursor={c_audit}",
        "/v1/audit-events?about={busiest}",
        "/v1/audit-events?action=login&cursor={c_audit}",
        "/v1/audit-events?actor=operator%3Atouroku",
        "/v1/audit-events?action=nothing",
        "/v1/audit-events?since={month_ago}",
    ],
    "/v1/openapi.yaml": ["/v1/openapi.yaml"],
    "/v1/openapi.json": ["/v1/openapi.json"],
}


def plain(path: str) -> str:
    """A route's path without what its parts may look like."""
    return re.sub(r"\{(\w+):(?:[^{}]|\{[^{}]*\})*\}", r"{\1}", path)


def unmeasured() -> list[str]:
    """Routes without a row, and rows without a route."""
    pages = {plain(route.path) for route in console.ROUTES if route.method == "GET"}
    answers = {route.path for route in API_ROUTES if route.method == "GET"}
    return sorted(pages ^ (set(CONSOLE) | set(FILES)) | (answers ^ set(API)))


class Facts(Mapping[str, str]):
    """What stands in the brackets of an address: drawn anew each time, from what there is."""

    def __init__(self, file: Path, size: Size, checked: str) -> None:
        self._draw = random.Random(1)  # which rows are asked for
        self.size, self._known = size, {"checked": checked}
        with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as conn:
            self._most = {name: conn.execute(statement).fetchone()[0] for name, statement in _HIGHEST.items()}
            self._known |= {
                name: str(conn.execute(statement).fetchone()[0]) for name, statement in _FOUND.items()
            }
            row = conn.execute(
                "SELECT submitted_at, id FROM applications ORDER BY 1 LIMIT 1 OFFSET 9"
            ).fetchone()
            self._known["application_place"] = f"{row[0]}-{row[1]}"
            self._known["c_application"] = cursor_of(*row)
        conn.close()

    def __getitem__(self, name: str) -> str:
        if name in self._known:
            return self._known[name]
        if name in self._most:
            # Deep into the list, and never the same place.
            return str(self._draw.randrange(1, self._most[name] * 4 // 5))
        if name.startswith("c_"):
            return cursor_of(self[name[2:]])
        return quote(str(_DRAWN[name](self)))

    def __iter__(self) -> Iterator[str]:
        return iter((*self._known, *self._most, *_DRAWN))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def below(self, most: int) -> int:
        return self._draw.randrange(most)

    @property
    def who(self) -> int:
        return self.below(self.size.users)

    @property
    def held(self) -> int:
        return self.below(self.size.certificates)

    @property
    def past(self) -> int:
        return self.size.at - self.below(years.YEARS * years.YEAR)

    def since(self, days: int) -> str:
        return time.strftime("%Y-%m-%d", time.gmtime(self.size.at - days * DAY))


#: What is numbered -> its highest number.
_HIGHEST = {
    "proposal": "SELECT max(number) FROM proposals",
    "application": "SELECT max(id) FROM applications",
    "job": "SELECT max(number) FROM jobs WHERE kind = 'user.import'",
    "letter": "SELECT max(id) FROM mails",
    "delivery": "SELECT max(number) FROM webhook_deliveries",
    "audit": "SELECT max(id) FROM audit",
    "batch": "SELECT max(number) FROM postcard_batches",
    "certificate": "SELECT max(number) FROM certificates",
    "early_certificate": "SELECT max(number) / 20 FROM certificates",
}
_FOUND = {
    "waiting_proposal": "SELECT max(number) FROM proposals WHERE state = 'pending'",
    "waiting_application": "SELECT max(id) FROM applications WHERE state = 'submitted'",
    "long_job": "SELECT number FROM jobs WHERE total = 20000 LIMIT 1",
    "failed_letter": "SELECT max(id) FROM mails WHERE state = 'failed'",
    "endpoint": "SELECT name FROM webhook_endpoints ORDER BY number LIMIT 1",
    "campaign": "SELECT number FROM campaigns WHERE name = '全員の更新'",
    "small_campaign": "SELECT number FROM campaigns WHERE name = '最大の団体'",
    "issuer": "SELECT issuer_id FROM certificates WHERE profile = 'client-person' LIMIT 1",
}
_REPORTS = tuple(console.reports.NAMES.split("|"))
_DRAWN: Mapping[str, Callable[[Facts], object]] = {
    "user_id": lambda facts: years.user_id(facts.who),
    "busiest": lambda facts: years.user_id(years.BUSIEST),
    "policy_number": lambda facts: years.policy_number(facts.below(facts.size.organisations)),
    "largest": lambda facts: years.LARGEST,
    "short": lambda facts: years.user_id(facts.who)[:2],
    "name": lambda facts: years.person(facts.who)[0],
    "family": lambda facts: years.family_name(facts.who)[0],
    "reading": lambda facts: "".join(chr(ord(c) - 0x60) for c in years.family_name(facts.who)[1]),
    "character": lambda facts: "佐山田サタ"[facts.below(5)],
    "organisation": lambda facts: (
        years.organisation(facts.below(facts.size.organisations)).removeprefix("株式会社")
    ),
    "mail": lambda facts: years.person(facts.who)[2],
    "request_id": lambda facts: years.request_id(facts.held),
    "request_id_8": lambda facts: years.request_id(facts.held)[:8],
    "serial": lambda facts: years.serial(facts.held),
    "serial_decimal": lambda facts: int(years.serial(facts.held), 16),
    "serial_8": lambda facts: years.serial(facts.held)[:8],
    "common_name": lambda facts: years.common_name(facts.held, facts.size),
    "ending": lambda facts: facts.since(-facts.below(90)),
    "day": lambda facts: facts.since(facts.below(900)),
    "years_ago": lambda facts: facts.since(MOST_DAYS - 2),
    "today": lambda facts: facts.since(0),
    "month_ago": lambda facts: f"{facts.since(30)}T00:00:00Z",
    "long_ago": lambda facts: f"{facts.since(1_700)}T00:00:00Z",
    "far": lambda facts: f"{facts.since(-360)}T00:00:00Z",
    "nothing": lambda facts: "誰もいない",
    "report": lambda facts: _REPORTS[facts.below(len(_REPORTS))],
    "certificate_place": lambda facts: f"{facts.past}-{facts['certificate']}",
    "ending_place": lambda facts: f"{facts.past}-1",
}  # fmt: skip


# -- the gateway, and who visits it --------------------------------------------------------------------------


@dataclass(frozen=True)
class Gateway:
    """`sekisho serve` on the data: ``told`` is the demo's summary."""

    pid: int
    port: int
    data: Path
    told: Mapping[str, Any]
    stand_in: StandIn

    def cpu(self) -> float:
        """Seconds of CPU of the whole serving process, by the scheduler's own count."""
        tasks = Path(f"/proc/{self.pid}/task").glob("*/schedstat")
        return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9

    def origin(self, site: str) -> str:
        return f"https://{site}.localhost:{self.port}"

    @asynccontextmanager
    async def visitor(self, site: str, p12: str, password: str) -> AsyncIterator[Visitor]:
        pem = pem_of(p12, password, self.data.parent / "visitor.pem")
        trusted = ssl.create_default_context(cafile=str(self.data / "servers" / "ca.pem"))
        trusted.load_cert_chain(pem)
        connector = aiohttp.TCPConnector(ssl=trusted, resolver=Here(), use_dns_cache=False)
        async with aiohttp.ClientSession(
            connector=connector, timeout=aiohttp.ClientTimeout(total=900)
        ) as session:
            yield Visitor(session, self.origin(site))

    @asynccontextmanager
    async def operator(self, name: str) -> AsyncIterator[Visitor]:
        """One who is logged in, with the passkey of the demo's stand-in."""
        (one,) = (each for each in self.told["operators"] if each["name"] == name)
        async with self.visitor("console", one["p12"], one["p12_password"]) as at:
            page = await at.get("/login")
            got = await at.post("/login", {"answer": self.answer(page), "next": "/me"})
            assert got.path == "/me", got.html
            yield at

    def answer(self, page: Page) -> str:
        """What a browser sends of its passkey to a page that asks for it."""
        (form,) = (each for each in page.main.all("form") if "data-passkey" in each.attributes)
        options = json.loads(form.attributes["data-options"])
        (allowed,) = (each["id"] for each in options["allowCredentials"])
        party, key = Party(self.origin("console"), ""), self.stand_in.key_of(allowed)
        return signed(key, allowed, party, options["challenge"])

    async def confirm(self, at: Visitor, page: Page) -> Page:
        form = page.main.one("form", data_passkey="get")
        typed = {each.attributes["name"]: each.attributes["value"] for each in form.all("input")}
        return await at.post(form.attributes["action"], typed | {"answer": self.answer(page)})


@contextmanager
def served(place: Path) -> Iterator[Gateway]:
    """On one core; two operators and the service account have every role."""
    data, log, port = place / "data", place / "log", free_port()
    told = json.loads((place / "summary.json").read_text())
    file = Path(told["passphrase_file"])
    stand_in = asyncio.run(_stand_in(data, file.read_text().strip()))
    with sqlite3.connect(data / DATABASE) as conn:
        conn.execute("UPDATE operators SET roles = ?", [json.dumps([role.value for role in Role])])
    conn.close()
    changes = {("listen", "port"): str(port), ("sites", "mailbox"): "[]", ("upstream", "addresses"): "[]"}
    changes |= {("upstream", "start"): '""', ("log", "file"): '"gate.log"'}
    change(data / FILE_NAME, changes)
    words = ("serve", "--data", str(data), "--passphrase-file", str(file))
    counting = (sys.executable, "-m", counted.__name__)
    with process(*words, log=log, before=counting, PYTHONPATH=str(ROOT)) as running:
        os.sched_setaffinity(running.pid, {_CORES[0]})
        until(lambda: _answers(port), log, running, patience=120)
        gate = Gateway(running.pid, port, data, told, stand_in)
        _settle(gate)
        yield gate


def _settle(gate: Gateway) -> None:
    """Until it has caught up with the time in which nobody served: notices that are due, answers about
    certificates, counts. What it does by itself from then on is measured along with everything."""
    began, spent = time.monotonic(), gate.cpu()
    last = spent
    while True:
        time.sleep(_LOOK)
        now = gate.cpu()
        if now - last < _IDLE * _LOOK:
            print(f"settled in {time.monotonic() - began:.0f} s ({now - spent:.0f} s of CPU)", flush=True)
            return
        assert time.monotonic() - began < _PATIENCE, "it does not come to rest"
        last = now


async def _stand_in(data: Path, passphrase: str) -> StandIn:
    deployment = open_deployment(data, passphrase)
    try:
        return stand_in_of(deployment)
    finally:
        await deployment.close()


def _answers(port: int) -> bool:
    with suppress(OSError):
        socket.create_connection(("127.0.0.1", port)).close()
        return True
    return False


# -- what is measured ----------------------------------------------------------------------------------------


@dataclass
class Took:
    """An address, and milliseconds of each time that it was asked for."""

    address: str
    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)
    #: What came instead of the page.
    failed: set[str] = field(default_factory=set)

    @property
    def worst(self) -> float:
        return p95(self.wall)

    def row(self) -> str:
        figures = (statistics.median(self.cpu or [0]), p95(self.cpu), max(self.cpu, default=0))
        figures += (statistics.median(self.wall or [0]), p95(self.wall), max(self.wall, default=0))
        return "".join(f"{each:9.1f}" for each in figures) + f"  {self.address}"


def p95(found: Sequence[float]) -> float:
    return _percentile(found, 0.95)


def _percentile(found: Sequence[float], part: float) -> float:
    """At least this part of them took no longer."""
    return sorted(found)[max(0, -int(-len(found) * part // 1) - 1)] if found else 0.0


async def ask(gate: Gateway, at: Visitor, facts: Facts, took: Took) -> None:
    """Once."""
    path = took.address.format_map(facts)
    spent, began = gate.cpu(), time.perf_counter()
    page = await at.get(path)
    lasted = 1_000 * (time.perf_counter() - began)
    if lasted > _LONG:
        print(f"  {lasted / 1_000:.1f} s ({gate.cpu() - spent:.1f} s of CPU): {path}", flush=True)
    if page.status != 200 or page.path == "/login":
        took.failed.add(f"{page.status} {page.path}: {path}")
    # A file has begun before it is counted.
    _, said, own = page.headers.get(counted.FIELD, "").partition("dur=")
    took.cpu.append(float(own) if said else 1_000 * (gate.cpu() - spent))
    took.wall.append(lasted)


async def logins(gate: Gateway, took: list[float], done: asyncio.Event, pause: float) -> None:
    """The page of the login, and a login with certificate and password, again and again."""
    user = next(each for each in gate.told["users"] if each["state"] == "active" and each["p12"])
    async with gate.visitor("service", user["p12"], user["p12_password"]) as at:
        fields = {"user_id": user["user_id"], "password": user["login_password"], "next": "/portal"}
        while not done.is_set():
            at.session.cookie_jar.clear()
            for send in (lambda: at.get("/login"), lambda: at.post("/login", fields, follow=False)):
                began = time.perf_counter()
                got = await send()
                took.append(1_000 * (time.perf_counter() - began))
                assert got.status in (200, 303), got.html
            await asyncio.sleep(pause)


async def beside(gate: Gateway, pause: float, work: Awaitable[Any]) -> list[float]:
    """What logins took while something was done."""
    took, done = list[float](), asyncio.Event()
    task = asyncio.create_task(logins(gate, took, done, pause))
    try:
        await work
    finally:
        done.set()
        await task
    return took


async def pages(gate: Gateway, given: argparse.Namespace, size: Size) -> list[Took]:
    service = gate.told["services"][0]
    async with (
        gate.operator("touroku") as desk,
        gate.visitor("api", service["p12"], service["p12_password"]) as system,
    ):
        # What was found in a file is its login's alone.
        checked = await look_through(gate, desk, max(given.rows, 2))
        facts = Facts(gate.data / DATABASE, size, checked)
        wanted = [
            (at, Took(address))
            for at, table in ((desk, CONSOLE), (system, API))
            for addresses in table.values()
            for address in addresses
            if given.only in address
        ][given.part[0] - 1 :: given.part[1]]

        async def round_of(count: int) -> None:
            for _ in range(count):
                for at, took in wanted:
                    await ask(gate, at, facts, took)

        await round_of(1)  # what is read from the disk for the first time, and remembered
        for _, took in wanted:
            took.cpu.clear()
            took.wall.clear()
        entered = await beside(gate, _PAUSE, round_of(given.rounds))
        print(
            f"logins beside: p50 {_percentile(entered, 0.5):.0f} ms, p99 {_percentile(entered, 0.99):.0f} ms"
        )
        files = [
            Took(address) for addresses in FILES.values() for address in addresses if given.only in address
        ][given.part[0] - 1 :: given.part[1]]
        for took in files:
            await ask(gate, desk, facts, took)
    print(f"\n{'CPU p50':>9}{'p95':>9}{'most':>9}{'wait p50':>9}{'p95':>9}{'most':>9}  (ms)")
    for took in sorted((took for _, took in wanted), key=lambda each: -each.worst):
        print(took.row())
    print("\nfiles, once each")
    for took in files:
        print(took.row())
    return [took for _, took in wanted]


# -- an import -----------------------------------------------------------------------------------------------


async def look_through(gate: Gateway, at: Visitor, rows: int) -> str:
    """A file of so many rows, of which the last is refused, sent and looked through: where the console shows
    what it found."""
    mark = time.time_ns() % 10**9  # nobody of an earlier run
    lines = (f"{years.LARGEST},取込 {n}郎,import{mark}-{n}@example.jp" for n in range(rows - 1))
    content = "証券番号,氏名,メールアドレス\n" + "\n".join(lines) + "\n99999999,無い 団体,nobody@example.jp\n"
    spent, began = gate.cpu(), time.perf_counter()
    fields = {"kind": "user.import", "hold_letters": "1", "alike": "1"}
    seen = await at.upload("/imports/new", fields, ("people.csv", content.encode()))
    assert seen.path.startswith("/imports/checked/"), seen.html
    print(
        f"{rows} rows looked through in {time.perf_counter() - began:.1f} s"
        f" ({gate.cpu() - spent:.1f} s of CPU)", flush=True,
    )  # fmt: skip
    return seen.path


async def imported(gate: Gateway, rows: int) -> list[str]:
    """The whole way: sent, looked through, proposed, decided, done; what was missed of the aims."""
    missed, began, spent = list[str](), time.perf_counter(), gate.cpu()
    seen = list[int]()

    async def way() -> None:
        async with gate.operator("touroku") as desk, gate.operator("shounin") as approver:
            checked = await look_through(gate, desk, rows)
            made = await desk.post(checked, {"reason": "計測"})
            assert made.path.startswith("/proposals/"), made.html
            page = await gate.confirm(approver, await approver.post(f"{made.path}/approve"))
            leads = {a.attributes["href"] for a in page.main.all("a")}
            (job,) = (each for each in leads if re.fullmatch(r"/(?:imports|jobs)/\d+", each))
            while True:
                page = await desk.get(job)
                (found,) = re.findall(r"([\d,]+) / ([\d,]+)行", page.main.text)[:1]
                done, of = (int(each.replace(",", "")) for each in found)
                seen.append(done)
                if done == of:
                    break
                assert time.perf_counter() - began < 4 * MOST_IMPORT, "the import does not come to its end"
                await asyncio.sleep(1)

    entered = await beside(gate, 0.1, way())
    took, p99 = time.perf_counter() - began, _percentile(entered, 0.99)
    print(
        f"import of {rows} rows by the console: {took:.0f} s ({gate.cpu() - spent:.0f} s of CPU),"
        f" its progress seen {len(set(seen))} times; {len(entered)} logins and their pages meanwhile:"
        f" p50 {_percentile(entered, 0.5):.0f} ms, p99 {p99:.0f} ms"
    )
    if took > MOST_IMPORT:
        missed.append(f"the import took {took:.0f} s")
    if p99 > MOST_LOGIN:
        missed.append(f"logins beside the import: p99 {p99:.0f} ms")
    return missed


async def measure(gate: Gateway, given: argparse.Namespace, size: Size) -> list[str]:
    found = await pages(gate, given, size)
    missed = [each for took in found for each in sorted(took.failed)]
    missed += [f"{took.worst:.0f} ms: {took.address}" for took in found if took.worst > MOST]
    if given.rows:
        missed += await imported(gate, given.rows)
    return missed


def _part(typed: str) -> tuple[int, int]:
    part, of = map(int, typed.split("/"))
    if not 1 <= part <= of:
        raise ValueError(typed)
    return part, of


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--place", type=Path, help="a directory to keep it in; else it goes at the end")
    options.add_argument("--rounds", type=int, default=20, help="times that each page is waited for")
    options.add_argument("--import", dest="rows", type=int, default=20_000, help="rows; 0: none")
    options.add_argument("--only", default="", help="addresses with this in them")
    options.add_argument("--part", type=_part, default=(1, 1), help="of all addresses, such as 1/3")
    for name in ("users", "organisations", "certificates", "audit"):
        options.add_argument(f"--{name}", type=int, default=getattr(Size, name))
    given = options.parse_args()
    assert unmeasured() == [], f"give these routes a row, or take theirs away: {unmeasured()}"
    os.sched_setaffinity(0, {_CORES[1]})
    place = given.place or Path(tempfile.mkdtemp(prefix="sekisho-years-"))
    try:
        size = years.size_of(place)
        if size is None:
            began, sizes = time.monotonic(), ("users", "organisations", "certificates", "audit")
            size = Size(**{name: getattr(given, name) for name in sizes}, at=int(time.time()))
            years.make(place, size)
            print(f"five years made in {time.monotonic() - began:.0f} s: {size}", flush=True)
        with served(place) as gate:
            missed = asyncio.run(measure(gate, given, size))
    finally:
        if given.place is None:
            shutil.rmtree(place)
    print(
        "\n"
        + (
            "\n".join([f"above what was aimed at ({MOST} ms a page):", *missed])
            if missed
            else "nothing is above its aim"
        )
    )


if __name__ == "__main__":
    main()
