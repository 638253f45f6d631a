"""What an operator asks for is done, proposed or refused: the one way for commands, pages and programs.

Who may is asked again in the transaction that does it, together with the proposal's own state: of two who
decide one wins, and a role that was taken away meanwhile, or a change of what was proposed, undoes all of it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import ca.store
from ca.storage import Transaction
from enroll import store
from enroll.around import Around, with_storage
from enroll.businessdays import end_of_business_day_after
from enroll.jobs import kinds as jobs
from enroll.jobs.store import Job
from enroll.jst import shown
from enroll.mail import occasions
from enroll.operators import actors
from enroll.operators import store as operators
from enroll.operators.actors import Actor
from enroll.operators.kinds import KINDS, whose
from enroll.operators.kinds.kind import Kind
from enroll.operators.roles import Act, Role, Verdict, roles_with
from enroll.operators.states import Event, State, next_state
from enroll.operators.store import Proposal
from enroll.ra import RegistrationAuthority
from enroll.refusals import Refusal, check_line

#: Done at once, made a proposal, or refused.
Step = Literal["do", "propose", ""]
#: Business days that a proposal waits.
BUSINESS_DAYS = 5
# Proposals whose days are over that share a transaction, and who it is that ends them.
_AT_ONCE, _SCHEDULER = 50, "scheduler"


@dataclass(frozen=True)
class Done:
    """It is done: what came of it."""

    result: Mapping[str, Any]


@dataclass(frozen=True)
class Proposed:
    """Somebody else has to decide it: until when, and who may."""

    number: int
    kind: str
    subject: str
    expires_at: int
    deciders: tuple[Role, ...]


#: Kinds whose payload has many rows: 7 MB of JSON for an import of 20,000 users, a tenth of a second to read.
_OF_MANY_ROWS = frozenset(name for name, kind in KINDS.items() if kind.job)


class _Over(Exception):
    """A proposal that can no longer be approved, and what happened to it."""

    def __init__(self, event: Event) -> None:
        super().__init__(event)
        self.event = event


async def ask(
    ra: RegistrationAuthority,
    actor: Actor,
    name: str,
    payload: Mapping[str, Any],
    *,
    reason: str = "",
    tell: bool = False,
    kinds: Mapping[str, Kind] = KINDS,
) -> Done | Proposed:
    """Does what is asked for, or proposes it, as the actor's role says. Refusal("not_permitted") else.

    ``tell``: whether what somebody else has approved, and whose secret is told once, is done now, and told:
    for whoever has made sure of who asks (`untold` has it meanwhile). Else that is Refusal("conflict",
    "approved"), at whatever moment the approval comes.
    """
    kind = kinds[name]
    check_line("reason", reason)
    if not actor.free and await ra.database.read(lambda db: kind.two(db, ra, actor, payload)):
        if kind.beyond:
            name, kind = kind.beyond, kinds[kind.beyond]
        alone = False
    else:
        alone = _alone(actor, kind)
    if alone:
        return Done(await _do(ra, actor, name, kind, payload, reason))
    if tell and kind.told_once:
        found = await ra.database.read(lambda db: _approved_before(db, actor, name, payload, ra.now(), kinds))
        if found is not None:
            return Done(await _do_approved(ra, actor, kind, found))
    return await ra.database.write(lambda db: _propose(db, ra, actor, name, payload, reason, kinds))


async def approve(
    ra: RegistrationAuthority,
    actor: Actor,
    number: int,
    *,
    note: str = "",
    kinds: Mapping[str, Kind] = KINDS,
) -> Done:
    """Carries a proposal out that somebody else has made.

    Refusal: "not_permitted" (one's own, or another role's), "conflict" (decided, expired, or what it would
    change has changed), and whatever carrying it out refuses: then it still waits."""
    check_line("note", note)
    found = await ra.database.read(lambda db: _proposal(db, number))
    kind = kinds[found.kind]

    def claim(db: Transaction) -> None:
        at = ra.now()
        now = _deciding(db, actor, found, kind, at)
        _check_same(db, ra, number, kind, Event.APPROVE)
        done_at = None if kind.told_once else at
        state = next_state(State.PENDING, Event.APPROVE)
        assert state is not None
        _decide(db, found, now.identity, now.name, state, at, note, done_at)

    if kind.told_once:
        await _closing(ra, actor, number, ra.database.write(claim))
        return Done({})
    if kind.job:

        def begin(db: Transaction) -> Mapping[str, Any]:
            claim(db)
            job = _job(ra, found, actor.name)
            begun = {"job": jobs.begin(db, ra, job, found.payload, own=False)}
            operators.set_result(db, number, begun)
            return begun

        return Done(await _closing(ra, actor, number, ra.database.write(begin)))
    claimed = Around(ra.database, claim)
    at_once = with_storage(ra, claimed)
    result = await _closing(ra, actor, number, kind.carry_out(at_once, found.payload, actor.name, False))
    assert claimed.done, found.kind
    await ra.database.write(lambda db: operators.set_result(db, number, result))
    return Done(result)


async def reject(
    ra: RegistrationAuthority,
    actor: Actor,
    number: int,
    *,
    note: str,
    kinds: Mapping[str, Kind] = KINDS,
) -> None:
    """Turns a proposal down. Refusal as for `approve`."""
    check_line("note", note)

    def work(db: Transaction) -> None:
        found, at = _proposal(db, number), ra.now()
        now = _deciding(db, actor, found, kinds[found.kind], at)
        _end(db, ra, found, now, Event.REJECT, note)

    await ra.database.write(work)


async def withdraw(ra: RegistrationAuthority, actor: Actor, number: int) -> None:
    """Takes one's own proposal back. Refusal("not_permitted") for another's, "conflict" if it was decided."""

    def work(db: Transaction) -> None:
        found, now = _proposal(db, number), actors.asked_again(db, actor, ra.now())
        if found.proposer != now.identity:
            detail = f"{found.proposed_by} has made it; who may decide it: sekisho proposal reject {number}"
            raise Refusal("not_permitted", field="proposal", detail=detail)
        _end(db, ra, found, now, Event.WITHDRAW, "")

    await ra.database.write(work)


async def expire(ra: RegistrationAuthority) -> int:
    """Records what was not decided in time, and tells who has proposed it; returns how many there were."""

    def work(db: Transaction) -> int:
        at, closed = ra.now(), 0
        for found in operators.overdue(db, at, _AT_ONCE):
            _end_of_time(db, ra, found, _SCHEDULER, _SCHEDULER)
            closed += 1
        return closed

    closed = count = await ra.database.write(work)
    while count == _AT_ONCE:
        closed += (count := await ra.database.write(work))
    return closed


def _end_of_time(
    db: Transaction, ra: RegistrationAuthority, found: Proposal, identity: str, name: str
) -> None:
    at = ra.now()
    _decide(db, found, identity, name, State.EXPIRED, at, "", at)
    number = found.proposer.removeprefix("operator:")
    to = operators.operator(db, int(number)) if number.isdecimal() else None
    if to is not None and to.ended_at is None and to.mail:
        told = {"number": str(found.number), "what": found.kind, "about": found.subject}
        told |= {"until": shown(found.expires_at)}
        occasions.proposal_expired(db, ra, to.display, to.mail, to.language, told, at)


def state_at(proposal: Proposal, at: int) -> State:
    """Where a proposal is at a moment: that its days are over is computed, whenever it is asked."""
    over = proposal.state is State.PENDING and proposal.expires_at <= at
    return State.EXPIRED if over else proposal.state


def visible(actor: Actor, proposal: Proposal, kinds: Mapping[str, Kind] = KINDS) -> bool:
    """Whether somebody may look at a proposal: their own, and those of an act that they may read."""
    return proposal.proposer == actor.identity or bool(actor.may(kinds[proposal.kind].act) & Verdict.READ)


def seen(db: Transaction, actor: Actor, number: int) -> Proposal:
    """A proposal that somebody may look at. Refusal("not_found"): for anybody else there is none."""
    found = operators.proposal(db, number)
    if found is None or not visible(actor, found):
        raise Refusal("not_found", field="proposal")
    return found


def listed(
    db: Transaction,
    actor: Actor,
    at: int,
    *,
    every: bool = False,
    before: int = 2**62,
    limit: int = 2**62,
) -> list[Proposal]:
    """Those that somebody may look at (`visible`), newest first: that wait, or ``every`` one; so many
    ``before`` a number. What becomes a job is listed without its rows (``payload``)."""
    waiting_at = None if every else at
    return operators.proposals(
        db, whose(actor), waiting_at=waiting_at, before=before, limit=limit, bare=_OF_MANY_ROWS
    )


def count(db: Transaction, actor: Actor, at: int, *, every: bool = False, behind: int = 0) -> int:
    """How many those are; ``behind``: that are newer than a number."""
    return operators.count_proposals(db, whose(actor), waiting_at=None if every else at, behind=behind)


def due(
    db: Transaction, actor: Actor, at: int, limit: int, kinds: Mapping[str, Kind] = KINDS
) -> list[Proposal]:
    """Of the first ``limit`` that somebody's roles decide those that they may (`may_decide`), by when they
    end. Without its rows, as `listed`."""
    mine = [name for name, kind in kinds.items() if actor.decides(kind.act)]
    found = operators.proposals_due(db, mine, actor.identity, at, limit, bare=_OF_MANY_ROWS)
    return [each for each in found if may_decide(db, actor, each, at, kinds)]


def may_decide(
    db: Transaction, actor: Actor, proposal: Proposal, at: int, kinds: Mapping[str, Kind] = KINDS
) -> bool:
    """Whether somebody is to be shown a button."""
    kind, waits = kinds[proposal.kind], state_at(proposal, at) is State.PENDING
    if not waits or proposal.proposer == actor.identity or not actor.decides(kind.act):
        return False
    return not kind.entered(db, actor, proposal.payload)


def step_of(
    db: Transaction,
    ra: RegistrationAuthority,
    actor: Actor,
    name: str,
    payload: Mapping[str, Any],
    kinds: Mapping[str, Kind] = KINDS,
) -> Step:
    """What `ask` would make of it: for pages, which say beforehand what comes of a button."""
    kind = kinds[name]
    two = not actor.free and kind.two(db, ra, actor, payload)
    if two and kind.beyond:
        kind = kinds[kind.beyond]
    if not two and _alone(actor, kind):
        return "do"
    return "propose" if Verdict.PROPOSE in actor.may(kind.act) else ""


def claimed(ra: RegistrationAuthority, actor: Actor, act: Act) -> RegistrationAuthority:
    """For what somebody may do alone and no proposal is about: its first write asks again, in the same
    transaction, whether the actor may. Refusal("not_permitted")."""

    def claim(db: Transaction) -> None:
        actors.require(actors.asked_again(db, actor, ra.now()), act, Verdict.DO)

    return with_storage(ra, Around(ra.database, claim))


def _alone(actor: Actor, kind: Kind) -> bool:
    return Verdict.DO in actor.may(kind.act) or (kind.applied_for and actor.decides(kind.act))


def untold(db: Transaction, actor: Actor, at: int, kinds: Mapping[str, Kind] = KINDS) -> list[Proposal]:
    """What somebody has proposed and another approved, and whose secret was not told to the first one yet."""
    mine = (each for each in operators.undone(db) if each.proposer == actor.identity)
    return [each for each in mine if kinds[each.kind].told_once and each.expires_at > at]


def digest_of(facts: Mapping[str, Any]) -> str:
    """Of what stood there when something was proposed."""
    text = json.dumps(facts, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _job(ra: RegistrationAuthority, found: Proposal, by: str) -> Job:
    return Job(
        number=0,
        kind=found.kind,
        subject=found.subject,
        proposal=found.number,
        proposer=found.proposer,
        proposed_by=found.proposed_by,
        decided_by=by,
        total=0,
        made_at=ra.now(),
    )


async def _do(
    ra: RegistrationAuthority, actor: Actor, name: str, kind: Kind, payload: Mapping[str, Any], reason: str
) -> Mapping[str, Any]:
    def claim(db: Transaction) -> None:
        at = ra.now()
        # Both before who asks is looked up, which may be together with others: what rests on how many
        # operators there are, and on what this one has done.
        if kind.act is Act.OPERATORS:
            ca.store.take_turns(db, operators.TURNS)
        if kind.counts and actor.operator is not None:
            operators.hold(db, actor.operator)
        now = actors.asked_again(db, actor, at)
        if not _alone(now, kind):
            raise actors.refusal(now, kind.act)
        if not now.free and kind.two(db, ra, now, payload):
            raise Refusal("conflict", detail="this takes two people by now: ask for it once more")
        kind.check(db, ra, payload)
        if reason:
            # A proposal keeps its own; what is done at once has the trail alone.
            store.audit(db, at, now.name, "reason.given", kind.subject(payload), kind=name, reason=reason)

    if kind.job:

        def begin(db: Transaction) -> Mapping[str, Any]:
            claim(db)
            job = Job(
                number=0,
                kind=name,
                subject=kind.subject(payload),
                proposal=None,
                proposer=actor.identity,
                proposed_by=actor.name,
                decided_by=actor.name,
                total=0,
                made_at=ra.now(),
            )
            return {"job": jobs.begin(db, ra, job, payload, own=True)}

        return await ra.database.write(begin)
    claimed = with_storage(ra, Around(ra.database, claim))
    return await kind.carry_out(claimed, payload, actor.name, True)


async def _do_approved(
    ra: RegistrationAuthority, actor: Actor, kind: Kind, found: Proposal
) -> Mapping[str, Any]:
    def claim(db: Transaction) -> None:
        actors.require(actors.asked_again(db, actor, ra.now()), kind.act, Verdict.PROPOSE)
        if found.expires_at <= ra.now() or not operators.complete(db, found.number, {}, ra.now()):
            raise Refusal("conflict", field="proposal", detail=f"proposal {found.number} was used already")

    claimed = with_storage(ra, Around(ra.database, claim))
    return await kind.carry_out(claimed, found.payload, actor.name, True)


def _approved_before(
    db: Transaction,
    actor: Actor,
    name: str,
    payload: Mapping[str, Any],
    at: int,
    kinds: Mapping[str, Kind],
) -> Proposal | None:
    wanted = digest_of(payload)
    mine = (each for each in untold(db, actor, at, kinds) if each.kind == name)
    return next((each for each in mine if digest_of(each.payload) == wanted), None)


def _propose(
    db: Transaction,
    ra: RegistrationAuthority,
    actor: Actor,
    name: str,
    payload: Mapping[str, Any],
    reason: str,
    kinds: Mapping[str, Kind],
) -> Proposed:
    kind, at = kinds[name], ra.now()
    # Of what is not there yet no row is held by all who propose it.
    ca.store.take_turns(db, operators.TURNS)
    now = actors.asked_again(db, actor, at)
    actors.require(now, kind.act, Verdict.PROPOSE)
    kind.check(db, ra, payload)
    kind.check_by_two(db, ra, payload)
    before, subject = kind.standing(db, ra, payload), kind.subject(payload)
    # An import's is millions of characters: it is compared where there is another one about the same file.
    for each in operators.proposals_about(db, [name], subject):
        if each.expires_at > at and digest_of(each.payload) == digest_of(payload):
            detail = (
                f"proposal {each.number} says that already, and waits: sekisho proposal show {each.number}"
            )
            raise Refusal("conflict", field="proposal", detail=detail)
    # After those that wait: one that is approved in between is met here.
    if kind.told_once and (ready := _approved_before(db, now, name, payload, at, kinds)) is not None:
        detail = f"proposal {ready.number} says that already, and is approved: its secret waits to be told"
        raise Refusal("conflict", field="approved", detail=detail)
    expires_at = end_of_business_day_after(at, BUSINESS_DAYS)
    number = operators.propose(
        db,
        Proposal(
            number=0,
            kind=name,
            subject=subject,
            payload=payload,
            before=before,
            digest=digest_of(before),
            proposer=now.identity,
            proposed_by=now.name,
            reason=reason,
            made_at=at,
            expires_at=expires_at,
        ),
    )
    store.audit(db, at, now.name, "proposal.made", str(number), kind=name, about=subject, reason=reason)
    return Proposed(number, name, subject, expires_at, roles_with(kind.act, deciding=True))


def _deciding(db: Transaction, actor: Actor, found: Proposal, kind: Kind, at: int) -> Actor:
    """Whoever decides, as they are now. Proposer and decider differ, always."""
    now = actors.asked_again(db, actor, at)
    if now.identity == found.proposer:
        who = " or ".join(roles_with(kind.act, deciding=True))
        detail = f"you have proposed {found.number} yourself; somebody else decides it: {who}"
        raise Refusal("not_permitted", field="proposal", detail=detail)
    actors.require_deciding(now, kind.act)
    if kind.entered(db, now, found.payload):
        who = " or ".join(roles_with(kind.act, deciding=True))
        detail = f"you have entered yourself what {found.number} is about; somebody else decides it: {who}"
        raise Refusal("not_permitted", field="proposal", detail=detail)
    return now


def _check_same(
    db: Transaction, ra: RegistrationAuthority, number: int, kind: Kind, event: Event
) -> Proposal:
    found = _proposal(db, number)
    if next_state(state_at(found, ra.now()), event) is None:
        if found.state is State.PENDING:
            raise _Over(Event.EXPIRE)
        raise _decided(found)
    if digest_of(kind.standing(db, ra, found.payload)) != found.digest:
        raise _Over(Event.CHANGE)
    return found


def _end(
    db: Transaction, ra: RegistrationAuthority, found: Proposal, now: Actor, event: Event, note: str
) -> None:
    at = ra.now()
    state = next_state(state_at(found, at), event)
    if state is None:
        raise _decided(replace(found, state=state_at(found, at)))
    _decide(db, found, now.identity, now.name, state, at, note, at)


def _decide(
    db: Transaction,
    found: Proposal,
    identity: str,
    name: str,
    state: State,
    at: int,
    note: str,
    done_at: int | None,
) -> None:
    by = {"decider": identity, "decided_by": name}
    if not operators.decide(db, found.number, state, **by, at=at, note=note, done_at=done_at):
        raise _decided(_proposal(db, found.number))
    told = {"kind": found.kind, "about": found.subject, "proposed_by": found.proposed_by, "note": note}
    store.audit(db, at, name, f"proposal.{state}", str(found.number), **told)


async def _closing(ra: RegistrationAuthority, actor: Actor, number: int, work: Any) -> Any:
    """What is over is recorded as that, and refused."""
    try:
        return await work
    except _Over as over:
        state = next_state(State.PENDING, over.event)
        assert state is not None
        event = over.event

        def close(db: Transaction) -> None:
            found, at = _proposal(db, number), ra.now()
            if found.state is not State.PENDING:
                return
            if state is State.EXPIRED:
                _end_of_time(db, ra, found, actor.identity, actor.name)
            else:
                _decide(db, found, actor.identity, actor.name, state, at, "", at)

        await ra.database.write(close)
        words = {
            Event.EXPIRE: "was not decided in time; propose it anew",
            Event.CHANGE: "is void: what it would change has changed since; look at it, and propose it anew",
        }
        raise Refusal("conflict", field="proposal", detail=f"proposal {number} {words[event]}") from None


def _decided(found: Proposal) -> Refusal:
    return Refusal("conflict", field="proposal", detail=f"proposal {found.number} is {found.state} already")


def _proposal(db: Transaction, number: int) -> Proposal:
    found = operators.proposal(db, number)
    if found is None:
        raise Refusal("not_found", field="proposal")
    return found
