"""What must hold of the register's rows, as a table: statements that find the rows of which it does not.

Each is about what no constraint of a column says: what one table says of another, and what a state brings
with it. All of it holds at any moment, since whatever changes one side changes the other in its transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ca.storage import LOOK, Reference, Row, Transaction
from enroll.jobs.states import State as Job
from enroll.operators.states import State as Proposal
from enroll.postcards.states import State as Batch
from enroll.requests.states import ENDED, LIVE, WAITING, State


@dataclass(frozen=True)
class Rule:
    """``name``: a word for scripts. ``statement``: the rows that break it, the first column names one.
    ``words`` and ``hint`` (what to type, or where to look) have the columns by their places."""

    name: str
    statement: str
    words: str
    hint: str


def _of(states: Iterable[str]) -> str:
    return "(" + ", ".join(f"'{each}'" for each in sorted(states)) + ")"


_CERT = "sekisho cert show {0}"
_REQUEST = "sekisho request show {0}"
_JOB = "sekisho job show {0}"
_PROPOSAL = "sekisho proposal show {0}"
_RESTORE = "docs/operations/recovery.md"

RULES: Sequence[Rule] = (
    # -- each once
    Rule(
        "serial-once",
        "SELECT serial, count(*) FROM certificates GROUP BY serial HAVING count(*) > 1",
        "serial {0} is there {1} times",
        _RESTORE,
    ),
    Rule(
        "certificate-once",
        "SELECT fingerprint, count(*) FROM certificates WHERE fingerprint IS NOT NULL"
        " GROUP BY fingerprint HAVING count(*) > 1",
        "the certificate with fingerprint {0} is there {1} times",
        _RESTORE,
    ),
    Rule(
        "request-one-certificate",
        "SELECT order_id, count(*) FROM certificates WHERE order_id IS NOT NULL"
        " GROUP BY order_id HAVING count(*) > 1",
        "request {0} has {1} certificates",
        _REQUEST,
    ),
    Rule(
        "certificate-one-request",
        "SELECT serial, count(*) FROM enrollments WHERE serial IS NOT NULL"
        " GROUP BY serial HAVING count(*) > 1",
        "certificate {0} is of {1} requests",
        _CERT,
    ),
    Rule(
        "request-and-certificate-agree",
        "SELECT c.serial, c.order_id, coalesce(e.serial, 'none') FROM certificates c"
        " JOIN enrollments e ON e.request_id = c.order_id WHERE e.serial <> c.serial"
        f" OR (e.serial IS NULL AND e.state NOT IN {_of(ENDED)})",
        "certificate {0} is of request {1}, whose certificate is {2}",
        _CERT,
    ),
    Rule(
        # What a replay found again of somebody who is not known any more is revoked.
        "certificate-of-a-request",
        "SELECT c.serial, c.order_id FROM certificates c LEFT JOIN enrollments e ON e.request_id = c.order_id"
        " WHERE c.order_id IS NOT NULL AND c.status <> 'revoked' AND e.request_id IS NULL",
        "certificate {0} is of request {1}, which is not there",
        _CERT,
    ),
    # -- states of requests
    Rule(
        "request-state",
        f"SELECT request_id, state FROM enrollments WHERE state NOT IN {_of(set(State) - {State.EXPIRED})}",
        "request {0} is in the state {1!r}, which no request is in",
        _REQUEST,
    ),
    Rule(
        "request-certificate-early",
        f"SELECT request_id, state, serial FROM enrollments WHERE state IN {_of(WAITING)}"
        " AND serial IS NOT NULL",
        "request {0} is {1} and has certificate {2} already",
        _REQUEST,
    ),
    Rule(
        "request-certificate-late",
        "SELECT e.request_id, e.state, coalesce(c.status, 'missing') FROM enrollments e"
        " LEFT JOIN certificates c ON c.serial = e.serial"
        f" WHERE (e.state IN {_of(LIVE)} AND (c.der IS NULL OR e.issued_at IS NULL))"
        f" OR (e.state = '{State.PROCESSING}' AND e.serial IS NULL)",
        "request {0} is {1}, and its certificate is {2}",
        _REQUEST,
    ),
    Rule(
        "request-end",
        "SELECT request_id, state FROM enrollments"
        f" WHERE (state IN {_of(ENDED)} AND ended_at IS NULL)"
        f" OR (state NOT IN {_of(ENDED)} AND ended_at IS NOT NULL)",
        "request {0} is {1}, and the moment of its end says otherwise",
        _REQUEST,
    ),
    Rule(
        "key-outlives-window",
        "SELECT request_id, state FROM enrollments WHERE sealed_key IS NOT NULL"
        f" AND state IN {_of(ENDED | {State.IN_USE})}",
        "request {0} is {1} and still has its private key",
        "sekisho doctor",
    ),
    Rule(
        "letter-outlives-sending",
        "SELECT id, state FROM mails WHERE sealed_body IS NOT NULL AND state IN ('sent', 'cancelled')",
        "letter {0} is {1} and still has its text",
        "sekisho mail show {0}",
    ),
    # -- jobs, proposals, print batches
    Rule(
        "job-state",
        "SELECT number, state, done, total FROM jobs"
        f" WHERE state NOT IN {_of(set(Job))} OR done > total OR done < 0"
        f" OR (state = '{Job.RUNNING}' AND (runner = '' OR heartbeat_at IS NULL))"
        f" OR (state IN {_of((Job.DONE, Job.CANCELLED, Job.UNDONE))} AND ended_at IS NULL)",
        "job {0} is {1} with {2} of {3} rows, which cannot be",
        _JOB,
    ),
    Rule(
        "job-rows",
        "SELECT j.number, j.done, count(r.line) FROM jobs j LEFT JOIN job_rows r ON r.job = j.number"
        " GROUP BY j.number, j.done HAVING count(r.line) <> j.done",
        "job {0} has done {1} rows, and {2} are written down",
        _JOB,
    ),
    Rule(
        "job-proposal",
        "SELECT j.number, j.proposal, p.state FROM jobs j JOIN proposals p ON p.number = j.proposal"
        f" WHERE p.state <> '{Proposal.APPROVED}'",
        "job {0} carries out proposal {1}, which is {2}",
        _JOB,
    ),
    Rule(
        "proposal-state",
        "SELECT number, state FROM proposals"
        f" WHERE state NOT IN {_of(set(Proposal))}"
        f" OR (state = '{Proposal.PENDING}' AND (decided_at IS NOT NULL OR done_at IS NOT NULL))"
        f" OR (state <> '{Proposal.PENDING}' AND decided_at IS NULL)",
        "proposal {0} is {1}, and when it was decided says otherwise",
        _PROPOSAL,
    ),
    Rule(
        "proposal-decided-by-another",
        "SELECT number, state, proposer FROM proposals WHERE decider = proposer"
        f" AND state IN {_of((Proposal.APPROVED, Proposal.REJECTED))}",
        "proposal {0} was {1} by who had proposed it, {2}",
        _PROPOSAL,
    ),
    Rule(
        "batch-state",
        "SELECT number, state FROM postcard_batches"
        f" WHERE state NOT IN {_of(set(Batch))}"
        f" OR (state IN {_of((Batch.PRINTED, Batch.CANCELLED))} AND (ended_at IS NULL"
        " OR sealed_pdf IS NOT NULL))"
        f" OR (state = '{Batch.MAKING}' AND sealed_pdf IS NOT NULL)",
        "print batch {0} is {1}, which what else it has cannot be with",
        "sekisho postcard list --all",
    ),
    # -- numbers that only grow
    Rule(
        "changes-counted",
        "SELECT max(c.change_number), k.value FROM certificates c, counters k WHERE k.name = 'changes'"
        " AND c.change_number IS NOT NULL GROUP BY k.value HAVING max(c.change_number) > k.value",
        "revocations are numbered up to {0}, and {1} were counted: the next ones would have old numbers",
        _RESTORE,
    ),
    Rule(
        "ca-changes-counted",
        "SELECT g.issuer_id, g.change_number, k.value FROM generations g, counters k"
        " WHERE k.name = 'changes' AND g.change_number > k.value",
        "issuing CA {0} was changed as number {1}, and {2} changes were counted",
        _RESTORE,
    ),
    Rule(
        "list-of-known-changes",
        "SELECT l.issuer_id, l.number, l.change_number, k.value FROM crls l, counters k"
        " WHERE k.name = 'changes' AND l.change_number > k.value",
        "list {1} of {0} tells of change {2}, and {3} were counted",
        _RESTORE,
    ),
    Rule(
        # Where the journal was lost there is a number alone, above which the next list's is.
        "list-dates",
        "SELECT issuer_id, number FROM crls"
        " WHERE (digest <> '' AND next_update_at <= this_update_at) OR number < 1",
        "list {1} of {0} ends before it begins, or has no number",
        "sekisho doctor",
    ),
    Rule(
        "batches-counted",
        "SELECT max(b.number), k.value FROM postcard_batches b, counters k"
        " WHERE k.name = 'postcard_batch' GROUP BY k.value HAVING max(b.number) > k.value",
        "print batches are numbered up to {0}, and {1} were counted",
        _RESTORE,
    ),
    Rule(
        "record-ends",
        "SELECT k.value FROM counters k LEFT JOIN audit a ON a.id = k.value"
        " WHERE k.name = 'audit' AND k.said <> coalesce(a.hash, '')",
        "the record does not end with line {0} as it was counted",
        "sekisho audit verify",
    ),
    Rule(
        "certificates-tallied",
        "SELECT k.value, t.n, c.n FROM counters k"
        " CROSS JOIN (SELECT coalesce(sum(certificates), 0) AS n FROM certificate_tally) AS t"
        " CROSS JOIN (SELECT count(*) AS n FROM certificates WHERE number <="
        " (SELECT value FROM counters WHERE name = 'tallied')) AS c"
        " WHERE k.name = 'tallied' AND t.n <> c.n",
        "of the certificates up to number {0} {1} were counted, and {2} are there",
        "have them counted again: DELETE FROM certificate_tally;"
        " UPDATE counters SET value = 0 WHERE name = 'tallied'",
    ),
    # -- what people are found by
    Rule(
        "search-keys",
        "SELECT s.id, s.kind FROM search_keys s LEFT JOIN users u ON s.kind = 'user' AND u.user_id = s.id"
        " LEFT JOIN organisations o ON s.kind = 'organisation' AND o.policy_number = s.id"
        " WHERE u.user_id IS NULL AND o.policy_number IS NULL GROUP BY s.id, s.kind",
        "{1} {0} is found by a name, and is not there",
        "sekisho find {0}",
    ),
)

#: Columns that name a row of another table, where no foreign key says so: table -> those.
REFERENCES: Sequence[tuple[str, Reference]] = tuple(
    (table, Reference(column, other, to))
    for table, column, other, to in (
        ("enrollments", "serial", "certificates", "serial"),
        ("enrollments", "replaces_serial", "certificates", "serial"),
        ("applications", "request_id", "enrollments", "request_id"),
        ("mails", "request_id", "enrollments", "request_id"),
        ("mails", "batch", "postcard_batches", "number"),
        ("mail_history", "letter", "mails", "id"),
        ("postcard_cards", "letter", "mails", "id"),
        ("postcard_batches", "job", "jobs", "number"),
        ("jobs", "proposal", "proposals", "number"),
        ("acme_credentials", "account_id", "acme_accounts", "id"),
        ("acme_orders", "source_serial", "certificates", "serial"),
        ("acme_authorizations", "order_id", "acme_orders", "id"),
        ("operator_certificates", "serial", "certificates", "serial"),
        ("repeats", "account", "operators", "number"),
        ("answers", "serial", "certificates", "serial"),
        ("answers", "responder_id", "responders", "responder_id"),
        ("epoch_asks", "epoch", "epochs", "name"),
    )
)
#: Counters that the schemas make: without one nothing is counted.
COUNTERS = frozenset(
    {"audit", "changes", "endpoints", "generations", "operators", "postcard_batch", "stops", "tallied"}
)


def breaking(db: Transaction, rule: Rule, most: int) -> Sequence[Row]:
    """Rows that break a rule, so many at most."""
    return db.rows(f"{rule.statement} LIMIT :most{LOOK}", {"most": most})


def counters(db: Transaction) -> frozenset[str]:
    """The names of those that there are."""
    return frozenset(str(row[0]) for row in db.rows(f"SELECT name FROM counters{LOOK}"))
