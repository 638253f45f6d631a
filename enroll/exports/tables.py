"""What is in each export, who may have it, and how it is paged: by a key that no row ever changes.

Records have values as they are stored, under the names that the API uses; those that end in ``_at`` are
seconds since the epoch. A search shows one person to whoever may search (`Act.SEARCH`); a whole register with
people in it leaves the house only with who may read what is recorded (`Act.RECORD`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from ca.storage import Transaction
from enroll import campaigns, listings, rosters, store
from enroll.campaigns import STEPS, VIEWS
from enroll.certificates import listing as certificates
from enroll.certificates.store import Order
from enroll.certificates.store import Wanted as Certificates
from enroll.jobs import store as jobs
from enroll.jobs import viewing
from enroll.listings import Acts
from enroll.mail.states import state_of
from enroll.operators import applied, asking, letters, trail
from enroll.operators.actors import Actor, require_any
from enroll.operators.applied import Wanted as Applied
from enroll.operators.roles import Act, Verdict
from enroll.people.postal import FIELDS as POSTAL
from enroll.ra import RegistrationAuthority
from enroll.rosters import WantedOrganisations, WantedUsers

Record = Mapping[str, Any]
_BEYOND = 2**62


@dataclass(frozen=True)
class Asking:
    """Who asks, and for what (a value of the table's own). ``at``: the moment of which states are told."""

    ra: RegistrationAuthority
    actor: Actor
    at: int
    wanted: Any


@dataclass(frozen=True)
class Closing:
    """What stands behind the rows and is none of them, as JSON and as the cells of a line."""

    value: Mapping[str, Any]
    cells: Sequence[str]


@dataclass(frozen=True)
class Start:
    """How many rows there are at the beginning, and what the first page comes after."""

    rows: int
    place: Any = None
    closing: Closing | None = None


@dataclass(frozen=True)
class Part:
    """A page, which may have fewer rows than were asked for, and what the next one comes after; None: no
    further one."""

    records: Sequence[Record]
    place: Any


#: Counts, and says where the first page is; reads one. Each is a read of its own, and asks the roles.
Begin = Callable[[Transaction, Asking], Start]
Page = Callable[[Transaction, Asking, Any, int], Part]


@dataclass(frozen=True)
class Table:
    """``act`` and ``wanted``: whose it is, any of it. ``raw``: rows are given as they are stored, each under
    the name ``line``. ``signed``: the signed head of the record closes it. ``told_apart``: what narrows it
    and stands in the name of its file."""

    name: str
    act: Act
    wanted: Verdict
    columns: Sequence[str]
    begin: Begin
    page: Page
    raw: bool = False
    signed: bool = False
    told_apart: Sequence[str] = ("number", "view", "from", "to")

    def require(self, actor: Actor) -> None:
        """Refusal("not_permitted")."""
        require_any(actor, self.act, self.wanted)


def _part(records: Sequence[Record], limit: int, place: Callable[[], Any]) -> Part:
    """Of a page that is full the next one comes after its last row."""
    return Part(records, place() if len(records) == limit else None)


# -- users and organisations ---------------------------------------------------------------------------------


def _begin_users(db: Transaction, asked: Asking) -> Start:
    return Start(rosters.count_users(db, asked.actor, asked.wanted, asked.at), "")


def _users(db: Transaction, asked: Asking, after: Any, limit: int) -> Part:
    wanted: WantedUsers = asked.wanted
    rows = rosters.every_user(db, asked.actor, wanted, asked.at, after, limit)
    records = [{**row} | {"state": rosters.state_of(row), "bounced": bool(row["bounced"])} for row in rows]
    return _part(records, limit, lambda: rows[-1]["user_id"])


def _begin_organisations(db: Transaction, asked: Asking) -> Start:
    return Start(rosters.count_organisations(db, asked.actor, asked.wanted), "")


def _organisations(db: Transaction, asked: Asking, after: Any, limit: int) -> Part:
    wanted: WantedOrganisations = asked.wanted
    rows = rosters.every_organisation(db, asked.actor, wanted, after, limit)
    records = [{**row} | {"state": "active" if row["disabled_at"] is None else "stopped"} for row in rows]
    return _part(records, limit, lambda: rows[-1]["policy_number"])


# -- certificates --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Listed:
    """Which certificates, and in which order."""

    wanted: Certificates
    order: Order = "newest"


def _begin_certificates(db: Transaction, asked: Asking) -> Start:
    return Start(certificates.count(db, asked.ra, asked.actor, asked.wanted.wanted))


def _certificates(db: Transaction, asked: Asking, after: Any, limit: int) -> Part:
    listed: Listed = asked.wanted
    rows, place = certificates.every(db, asked.actor, listed.wanted, listed.order, asked.at, after, limit)
    issuers = {each.issuer_id: each.common_name for each in asked.ra.authority.issuers}
    records = [
        {**each.row}
        | {
            "common_name": each.row["subject_cn"],
            "state": each.state,
            "issuer": issuers.get(each.row["issuer_id"], each.row["issuer_id"]),
        }
        for each in rows
    ]
    return _part(records, limit, lambda: place)


# -- applications, letters, the record -----------------------------------------------------------------------


def _begin_applications(db: Transaction, asked: Asking) -> Start:
    return Start(applied.count(db, asked.ra, asked.actor, asked.wanted))


def _applications(db: Transaction, asked: Asking, after: Any, limit: int) -> Part:
    wanted: Applied = asked.wanted
    rows = applied.every(db, asked.ra, asked.actor, wanted, after, limit)
    days = asked.ra.settings.decision_days
    records = [
        asdict(each)
        | {"number": each.id, "due_at": applied.due_at(each, days)}
        | {name: each.person.get(name, "") for name in ("name", "mail")}
        for each in rows
    ]
    return _part(records, limit, lambda: (rows[-1].submitted_at, rows[-1].id))


def _begin_letters(db: Transaction, asked: Asking) -> Start:
    return Start(letters.count(db, asked.actor, asked.wanted), _BEYOND)


def _letters(db: Transaction, asked: Asking, after: Any, limit: int) -> Part:
    rows = letters.every(db, asked.actor, asked.wanted, after, limit)
    records = [{**each} | {"number": each["id"], "state": str(state_of(each))} for each in rows]
    return _part(records, limit, lambda: rows[-1]["id"])


@dataclass(frozen=True)
class Lines:
    """Which lines of the record. ``about``, ``by``: as somebody typed it, "" for all."""

    acts: Acts
    about: str = ""
    by: str = ""

    def acts_in(self, db: Transaction) -> Acts:
        """With everything that the record tells under what was typed."""
        acts = replace(self.acts, actor=trail.doer(db, self.by)) if self.by else self.acts
        return trail.about(db, self.about, acts) if self.about else acts

    def seen(self, db: Transaction, actor: Actor) -> Acts:
        """As far as an actor may see them. Refusal("not_permitted")."""
        return trail.permitted(actor, self.acts_in(db))


def _begin_audit(db: Transaction, asked: Asking) -> Start:
    # What is written from here on is not in the file: it has as many lines as it says.
    newest = store.audit_counted(db)
    counted = listings.count_audit(db, asked.wanted.seen(db, asked.actor))
    return Start(counted, (newest + 1, counted))


def _audit(db: Transaction, asked: Asking, after: Any, limit: int) -> Part:
    last, counted = after
    rows = listings.audit_before(db, asked.wanted.seen(db, asked.actor), last, limit, counted)
    return _part(rows, limit, lambda: (int(rows[-1]["id"]), counted))


# -- what is decided, and done -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Either:
    """Every one, or those alone that are open."""

    every: bool = False


def _begin_proposals(db: Transaction, asked: Asking) -> Start:
    return Start(asking.count(db, asked.actor, asked.at, every=asked.wanted.every), _BEYOND)


def _proposals(db: Transaction, asked: Asking, after: Any, limit: int) -> Part:
    some = asking.listed(db, asked.actor, asked.at, every=asked.wanted.every, before=after, limit=limit)
    records = [
        {name: getattr(each, name) for name in _PROPOSAL} | {"state": str(asking.state_at(each, asked.at))}
        for each in some
    ]
    return _part(records, limit, lambda: some[-1].number)


def _begin_jobs(db: Transaction, asked: Asking) -> Start:
    return Start(viewing.count(db, asked.actor, every=asked.wanted.every), _BEYOND)


def _jobs(db: Transaction, asked: Asking, after: Any, limit: int) -> Part:
    some = viewing.listed(db, asked.actor, every=asked.wanted.every, before=after, limit=limit)
    records = [asdict(each) | jobs.counted(db, each.number) for each in some]
    for each in records:
        each["refused"] = each.get("refused", 0)
    return _part(records, limit, lambda: some[-1].number)


# -- campaigns -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class OfCampaign:
    """A campaign by its number. Of its people: a view, and an organisation; ``left``: of its organisations
    those alone where somebody has not renewed yet."""

    number: int
    view: str = "open"
    policy_number: str | None = None
    left: bool = False


def _begin_campaign(db: Transaction, asked: Asking) -> Start:
    found = campaigns.figures(db, asked.actor, campaigns.known(db, asked.wanted.number), asked.at)
    records: list[dict[str, Any]] = [
        {"policy_number": each.policy_number, "organisation": each.name}
        | {view: each.counts.of(view) for view in _VIEWS}
        for each in found.organisations
        if each.counts.open or not asked.wanted.left
    ]
    totals = {view: sum(each[view] for each in records) for view in _VIEWS}
    return Start(len(records), records, totals_of(totals, ["", *map(str, totals.values())]))


def at_hand(_: Transaction, __: Asking, after: Any, limit: int) -> Part:
    """A page of rows that were all made at the beginning: they are sums, of one state of the register."""
    return Part(after[:limit], after[limit:] or None)


def totals_of(totals: Mapping[str, Any], cells: Sequence[str]) -> Closing:
    """The sums of the columns. ``cells``: of the line, behind its first one."""
    return Closing({"totals": totals}, [TOTAL, *cells])


def _begin_people(db: Transaction, asked: Asking) -> Start:
    wanted: OfCampaign = asked.wanted
    found = campaigns.figures(db, asked.actor, campaigns.known(db, wanted.number), asked.at)
    of = [
        each.counts
        for each in found.organisations
        if wanted.policy_number is None or each.policy_number == wanted.policy_number
    ]
    return Start(sum(each.of(wanted.view) for each in of), (0, 0))


def _people(db: Transaction, asked: Asking, after: Any, limit: int) -> Part:
    wanted: OfCampaign = asked.wanted
    found = campaigns.known(db, wanted.number)
    rows = campaigns.people(
        *(db, asked.actor, found, asked.at, wanted.view, wanted.policy_number), after=after, limit=limit
    )
    records = [{**row} | {"step": campaigns.step_of(row)} for row in rows]
    return _part(records, limit, lambda: (rows[-1]["not_after_at"], rows[-1]["number"]))


# -- the tables ----------------------------------------------------------------------------------------------

#: First cell of the line of sums; a writer has it in its language.
TOTAL = "total"
_VIEWS = (*STEPS, *(view for view in VIEWS if view not in STEPS))
_PROPOSAL = (
    "number", "kind", "subject", "reason", "proposed_by", "made_at", "expires_at", "decided_by", "decided_at",
    "note", "done_at",
)  # fmt: skip

#: Table -> its columns. What an import reads goes by the names that it knows (`enroll/people/csvfile.py`).
_COLUMNS: Mapping[str, Sequence[str]] = {
    "users": (
        "user_id", "policy_number", "organisation", "name", "reading", "mail", "role", "notice_by",
        "language", "department", "principal", *POSTAL, "state", "ends_at", "bounced", "created_at",
    ),
    "organisations": (
        "policy_number", "name", "lineages", "issue_password_by", "profile", "country", *POSTAL, "state",
        "users", "active", "created_at",
    ),
    "certificates": (
        "serial", "state", "common_name", "issuer", "profile", "door", "user_id", "name", "policy_number",
        "not_before_at", "not_after_at", "issued_at", "held_at", "revoked_at", "revocation_reason",
    ),
    "applications": (
        "number", "kind", "channel", "reason", "state", "policy_number", "user_id", "name", "mail",
        "applied_by", "submitted_at", "due_at", "decided_at", "decided_by", "rejection", "note", "request_id",
    ),
    "letters": (
        "number", "kind", "channel", "user_id", "recipient", "subject", "state", "attempts", "created_at",
        "held_at", "sent_at", "result",
    ),
    "audit": ("id", "at", "actor", "action", "subject", "why", "result", "detail", "hash"),
    "proposals": (*_PROPOSAL[:3], "state", *_PROPOSAL[3:]),
    "jobs": (
        "number", "kind", "subject", "state", "done", "total", "refused", "proposed_by", "decided_by",
        "made_at", "begun_at", "ended_at", "problem",
    ),
    "campaign": ("policy_number", "organisation", *_VIEWS),
    "campaign-people": (
        "user_id", "name", "mail", "policy_number", "organisation", "common_name", "serial", "not_after_at",
        "step",
    ),
}  # fmt: skip


def _table(name: str, act: Act, begin: Begin, page: Page, wanted: Verdict = Verdict.READ) -> Table:
    return Table(name, act, wanted, _COLUMNS[name], begin, page)


def _record() -> Table:
    # All of it, or what one has done oneself. Its lines are chained as they are stored.
    whole = _table("audit", Act.AUDIT, _begin_audit, _audit, Verdict.READ | Verdict.OWN)
    return replace(whole, raw=True, signed=True, told_apart=())


#: Name -> what it is.
TABLES: Mapping[str, Table] = {
    each.name: each
    for each in (
        _table("users", Act.RECORD, _begin_users, _users),
        _table("organisations", Act.RECORD, _begin_organisations, _organisations),
        _table("certificates", Act.RECORD, _begin_certificates, _certificates),
        _table("applications", Act.RECORD, _begin_applications, _applications),
        _table("letters", Act.RECORD, _begin_letters, _letters),
        _record(),
        # Of these two everybody has what they may look at, as on their pages.
        _table("proposals", Act.STANDING, _begin_proposals, _proposals),
        _table("jobs", Act.STANDING, _begin_jobs, _jobs),
        _table("campaign", Act.CAMPAIGNS, _begin_campaign, at_hand),
        _table("campaign-people", Act.RECORD, _begin_people, _people),
    )
}


def checkpoint_of(head: Mapping[str, Any]) -> Closing:
    """The signed head of the record, as what closes an export of it."""
    return Closing(head, ["checkpoint", json.dumps(head)])
