"""No statement that operators wait for reads a table of a million rows from its beginning to its end."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest

from ca.sqlite import Database
from ca.storage import Row, Transaction, Values
from enroll.campaigns import store as generations
from enroll.certificates import store as certificates
from enroll.jobs import store as jobs
from enroll.listings import store as listings
from enroll.mail import store as mails
from enroll.operators import store as operators
from enroll.requests import store as requests
from enroll.rosters import store as rosters
from enroll.whose import Whose
from tests.datadirs import SCHEMAS

#: What has a row for each certificate, letter or act, or rows that are as long as files.
_LONG = (
    "applications",
    "audit",
    "certificates",
    "enrollments",
    "job_rows",
    "jobs",
    "mails",
    "proposals",
    "users",
    *"cehmu",  # as statements call the most of them that join some
)
_CAMPAIGN = generations.Campaign(1, "x", None, 9, None, None, 7, 1, "by")
_MEMBERS = certificates.Wanted(policy_number="1", state="issued")
_WHOSE = Whose("operator:1", ["user.add", "user.import"])
_DONE = listings.Acts(actor="K1", action="login", since=1)
# Indexes of those rows alone that are few at any time.
_FEW = "(?:certificates_held|jobs_open|proposals_open)"


def _letters_that_are(state: str) -> Callable[[Transaction], object]:
    return lambda db: listings.letters(db, listings.Letters(state=state), 500, 51)


#: What is asked for -> what reads it.
READS: Mapping[str, Callable[[Transaction], object]] = {
    "proposals, of anybody": lambda db: operators.proposals(db, _WHOSE, limit=51),
    "proposals, deep": lambda db: operators.proposals(db, _WHOSE, before=500, limit=51),
    "proposals that wait": lambda db: operators.proposals(db, _WHOSE, waiting_at=1, limit=51),
    "proposals that somebody decides": lambda db: operators.proposals_due(
        db, ["user.add", "user.import"], "operator:1", 1, 200, ["user.import"]
    ),
    "how many proposals": lambda db: operators.count_proposals(db, _WHOSE),
    "how many proposals are newer": lambda db: operators.count_proposals(db, _WHOSE, behind=500),
    "how many proposals wait": lambda db: operators.count_proposals(db, _WHOSE, waiting_at=1),
    "proposals that say the same": lambda db: operators.proposals_about(db, ["user.add"], "K1"),
    "whether a certificate is followed": lambda db: requests.is_followed(db, "K1", "K1", 7),
    "jobs": lambda db: jobs.jobs(db, _WHOSE, limit=51),
    "imports": lambda db: jobs.jobs(db, _WHOSE, ["user.import"], before=500, limit=51),
    "open jobs": lambda db: jobs.jobs(db, _WHOSE, every=False, limit=51),
    "how many jobs": lambda db: jobs.count(db, _WHOSE),
    "how many jobs are newer": lambda db: jobs.count(db, _WHOSE, behind=500),
    "how many jobs are open": lambda db: jobs.count(db, _WHOSE, every=False),
    "rows of a job": lambda db: jobs.lines(db, 1, limit=50),
    "refused rows of a job": lambda db: jobs.lines(db, 1, "refused", limit=50),
    "how the rows of a job ended": lambda db: jobs.counted(db, 1),
    "letters to those whom a job has added": lambda db: jobs.count_told(db, 1),
    "whether any letter has left to those whom a job has added": lambda db: jobs.any_told(db, 1),
    "whether a letter has left": lambda db: mails.any_begun(db, "K1", "1"),
    "certificates whose notice is due": lambda db: requests.enrollments_unnoticed(
        db, "renewal_30", 1, 2, "page"
    ),
    "letters of a request that ends": lambda db: mails.cancel_of_request(db, "1"),
    "letters that are taken back": lambda db: mails.forget(db, "K1", "1"),
    "letters": lambda db: listings.letters(db, listings.Letters(), 500, 51),
    "letters of somebody": lambda db: listings.letters(db, listings.Letters(user_id="K1"), 500, 51),
    **{f"letters that are {state}": _letters_that_are(state) for state in listings.LETTER_STATES},
    "letters of a kind and a way": lambda db: listings.letters(
        db, listings.Letters(kind="pickup", channel="mail", since=1, before=2), 500, 51
    ),
    "how many letters": lambda db: listings.count_letters(db, listings.Letters(state="sent", kind="pickup")),
    "how many letters wait": lambda db: listings.count_letters(db, listings.Letters(state="waiting")),
    "how many letters are held": lambda db: listings.count_letters(db, listings.Letters(state="held")),
    "how many certificates are reserved": lambda db: certificates.count(
        db, certificates.Wanted(state="reserved"), 1, ()
    ),
    "applications": lambda db: listings.applied(db, listings.Applied(state="submitted"), False, (1, 1), 51),
    "how many applications": lambda db: listings.count_applied(db, listings.Applied(state="submitted")),
    "lines of the record": lambda db: listings.audit(db, listings.Acts(), 500, 51),
    "lines about somebody": lambda db: listings.few_audit(db, listings.Acts(user_id="K1"), 500, 51),
    "lines of somebody, who has done few": lambda db: listings.few_audit(db, _DONE, 500, 51),
    "lines of somebody, who has done many": lambda db: listings.audit(db, _DONE, 500, 51),
    "how many lines of somebody": lambda db: listings.count_audit(db, _DONE),
    "how many lines of a kind": lambda db: listings.count_audit(db, listings.Acts(action="login", since=1)),
    "how many own lines": lambda db: listings.count_audit(db, listings.Acts(own="operator:x", before=9)),
    "how many lines about somebody of a kind": lambda db: listings.count_audit(
        db, listings.Acts(user_id="K1", action="login")
    ),
    "how many lines about somebody": lambda db: listings.count_audit(db, listings.Acts(user_id="K1")),
    "certificates": lambda db: certificates.page(db, certificates.Wanted(), "newest", 1, (), (1, 1), 51),
    "how many certificates": lambda db: certificates.count(db, certificates.Wanted(state="expired"), 1, ()),
    "expired certificates around a place": lambda db: certificates.count_around(
        db, certificates.Wanted(state="expired"), "newest", 1, (), (1, 1)
    ),
    "certificates of an organisation": lambda db: certificates.page(
        db, _MEMBERS, "newest", 1, (), (1, 1), 51
    ),
    "certificates of an organisation by their end": lambda db: certificates.page(
        db, _MEMBERS, "ending", 1, (), None, 51
    ),
    "how many certificates of an organisation": lambda db: certificates.count_around(
        db, _MEMBERS, "newest", 1, (), (1, 1)
    ),
    "certificates that are held": lambda db: certificates.page(
        db, certificates.Wanted(state="held"), "newest", 1, (), None, 51
    ),
    "users of whom something is held": lambda db: rosters.count_users(db, rosters.Users(1, state="held")),
    "users, newest first": lambda db: rosters.users(db, rosters.Users(1, newest=True), (1, "K1"), 51),
    "letters, from one on": lambda db: listings.count_letters(db, listings.Letters(), 500),
    "certificates for other systems": lambda db: listings.certificates(db, listings.Wanted(), 1, 500, 51),
    "expired certificates for other systems": lambda db: listings.certificates(
        db, listings.Wanted(state="expired"), 1, 50_000, 51
    ),
    "certificates of an organisation for other systems": lambda db: listings.certificates(
        db, listings.Wanted(policy_number="1"), 1, 500, 51
    ),
    "certificates of somebody for other systems": lambda db: listings.certificates(
        db, listings.Wanted(user_id="K1", state="issued"), 1, 500, 51
    ),
    "how far a campaign is": lambda db: generations.counted(db, _CAMPAIGN, 5),
    "the sums of a campaign": lambda db: generations.summed(db, _CAMPAIGN, 5),
    "the sums of a campaign at an organisation": lambda db: generations.summed(db, _CAMPAIGN, 5, "1"),
    "people of a campaign": lambda db: generations.listed(db, _CAMPAIGN, 5, "open", limit=51),
    "last letters of some users": lambda db: mails.last_notices(db, ["K1", "K2"]),
    "certificates that have not ended, by holder": lambda db: generations.alive(db, ("1", "2"), 1),
    "certificates that are no good to their holders": lambda db: generations.no_good(db, 1),
    "what else those holders have": lambda db: generations.of_those(db, 1),
    "the last end of a certificate": lambda db: generations.last_end(db, 1),
    "ends of certificates": lambda db: generations.ends(db, 1, 2),
    "requests for other systems": lambda db: listings.requests(db, None, 500, 51),
    "requests of somebody for other systems": lambda db: listings.requests(db, "K1", 500, 51),
    "users for other systems": lambda db: listings.users(db, listings.Wanted(), "K1", 51),
}
#: Those that change something.
_CHANGES = ("letters of a request that ends", "letters that are taken back")


class _Explaining:
    """A transaction that asks how each statement is carried out, before it is."""

    def __init__(self, db: Any) -> None:
        self._db = db
        self.plans: list[tuple[str, str]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._db, name)

    def _explain(self, statement: str, values: Values) -> None:
        for row in self._db.rows(f"EXPLAIN QUERY PLAN {statement}", values):
            self.plans.append((statement, row["detail"]))

    def execute(self, statement: str, values: Values = {}, /) -> int:  # noqa: B006
        self._explain(statement, values)
        return int(self._db.execute(statement, values))

    def one(self, statement: str, values: Values = {}, /) -> Row | None:  # noqa: B006
        self._explain(statement, values)
        found: Row | None = self._db.one(statement, values)
        return found

    def rows(self, statement: str, values: Values = {}, /) -> Sequence[Row]:  # noqa: B006
        self._explain(statement, values)
        found: Sequence[Row] = self._db.rows(statement, values)
        return found


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    made = Database(tmp_path_factory.mktemp("plans") / "sekisho.db", SCHEMAS)
    yield made
    made.close()


def faults(plans: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """What reads a long table without an index, or puts it in order by itself."""
    scanned = re.compile(rf"SCAN ({'|'.join(_LONG)})\b(?!.* USING (?:COVERING INDEX|INDEX {_FEW}$))")
    return [each for each in plans if scanned.search(each[1])]


@pytest.mark.parametrize("asked", READS)
def test_no_table_is_read_as_a_whole(database: Database, asked: str) -> None:
    """By SQLite's own word (EXPLAIN QUERY PLAN); what is counted may be counted by an index alone."""

    def work(db: Transaction) -> list[tuple[str, str]]:
        explaining = _Explaining(db)
        READS[asked](explaining)  # type: ignore[arg-type]  # it has what a transaction has
        assert explaining.plans
        return explaining.plans

    doing = database.write_now if asked in _CHANGES else database.read_now
    assert faults(doing(work)) == []


def test_a_table_that_is_read_as_a_whole_is_found(database: Database) -> None:
    """The twin: a letter by its subject, which nothing is looked up by."""

    def work(db: Transaction) -> list[tuple[str, str]]:
        explaining = _Explaining(db)
        explaining.rows("SELECT id FROM mails WHERE subject = :text", {"text": "x"})
        return explaining.plans

    assert len(faults(database.write_now(work))) == 1
