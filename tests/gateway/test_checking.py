"""What ``sekisho db check`` finds, on both engines: of a sound register nothing, of each fault its words."""

from __future__ import annotations

import asyncio
import re
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest

from ca import journal, sqlite
from ca.databaseserver import parse
from ca.errors import ConfigError
from ca.postgresql.whole import Whole as OnServer
from ca.storage import Whole
from enroll import store as people
from enroll.soundness.store import REFERENCES, RULES
from gateway.serving import checking
from gateway.serving.checking import Trouble, troubles
from gateway.serving.config import FILE_NAME
from gateway.serving.copying import to_server
from gateway.serving.database import DATABASE
from gateway.serving.deployment import SCHEMAS
from tests import databases
from tests.cli.processes import change
from tests.gateway.test_copying import Place, lived

__all__ = ("lived",)

pytestmark = databases.NEEDED

ENGINES = ("file", "server")


@dataclass(frozen=True)
class Register:
    """A directory whose database is on one of the engines, and may be spoilt."""

    data: Path
    url: str = ""

    @property
    def side(self) -> Whole:
        return OnServer(parse(self.url)) if self.url else sqlite.Whole(self.data / DATABASE)

    def spoil(self, *statements: str) -> None:
        """As nothing of ours can: past foreign keys and conditions of columns."""
        if self.url:
            asyncio.run(self._spoil(statements))
            return
        with closing(sqlite3.connect(self.data / DATABASE, isolation_level=None)) as raw:
            for each in ("foreign_keys = OFF", "ignore_check_constraints = ON", "legacy_alter_table = ON"):
                raw.execute(f"PRAGMA {each}")
            for each in statements:
                raw.execute(each)

    async def _spoil(self, statements: Sequence[str]) -> None:
        connection = await asyncpg.connect(self.url, timeout=60)
        try:
            await connection.execute("SET session_replication_role = replica")
            for each in statements:
                await connection.execute(each)
        finally:
            await connection.close()

    def found(self) -> list[Trouble]:
        return list(troubles(self.data))


@pytest.fixture(scope="module")
def sound(lived: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    """A register on each engine in which a request has its certificate; the directory, and what stands for
    its database."""
    place = tmp_path_factory.mktemp("sound")
    shutil.copytree(lived, place / "file")
    Register(place / "file").spoil(
        "UPDATE certificates SET order_id = (SELECT min(request_id) FROM enrollments) WHERE number = 3",
        "UPDATE enrollments SET state = 'issued', issued_at = 1, serial = (SELECT serial FROM certificates"
        " WHERE number = 3) WHERE request_id = (SELECT min(request_id) FROM enrollments)",
    )
    shutil.copytree(place / "file", place / "server")
    url = databases.url_of(place / "server.db")
    to_server(place / "server", url, "test")
    change(place / "server" / FILE_NAME, {("database", "url"): f'"{url}"'})
    return {name: (place / name, place / "server.db") for name in ENGINES}


@pytest.fixture(params=ENGINES)
def register(request: pytest.FixtureRequest, sound: dict[str, tuple[Path, Path]], tmp_path: Path) -> Register:
    data, stands_for = sound[request.param]
    shutil.copytree(data, tmp_path / "data")
    if request.param == "file":
        return Register(tmp_path / "data")
    url = databases.copied(stands_for, tmp_path / "db")
    change(tmp_path / "data" / FILE_NAME, {("database", "url"): f'"{url}"'})
    return Register(tmp_path / "data", url)


def test_of_what_is_sound_nothing_is_said(register: Register) -> None:
    """People, letters, certificates of each state, a list: and no finding."""
    assert register.found() == []


_JOB = (
    "INSERT INTO jobs (kind, subject, proposer, proposed_by, decided_by, state, total, done, runner, made_at,"
    " heartbeat_at, ended_at, proposal) VALUES ('k', 's', 'p', 'p', 'd', {})"
)
_PROPOSAL = (
    "INSERT INTO proposals (kind, subject, payload, before, digest, proposer, proposed_by, made_at,"
    " expires_at, state, decider, decided_at) VALUES ('k', 's', '{{}}', '{{}}', 'd', 'p', 'p', 1, 2, {})"
)
_BATCH = (
    "INSERT INTO postcard_batches (number, state, cards, job, made_by, made_at, ended_at)"
    " VALUES (1, {}, 0, 1, 'm', 1, {})"
)
_ONE = "(SELECT min(request_id) FROM enrollments)"
_OTHER = "(SELECT max(request_id) FROM enrollments)"
#: What is spoilt -> the check that says so, and its words.
SPOILT: dict[str, tuple[Sequence[str], str, str]] = {
    "two requests with one certificate": (
        (
            "DROP INDEX enrollments_by_serial",
            f"UPDATE enrollments SET serial = (SELECT serial FROM certificates WHERE number = 3)"
            f" WHERE request_id = {_OTHER}",
        ),
        "certificate-one-request",
        "is of 2 requests",
    ),
    "a certificate of another request": (
        (
            "UPDATE certificates SET order_id = NULL WHERE number = 3",
            f"UPDATE certificates SET order_id = {_ONE} WHERE number = 2",
        ),
        "request-and-certificate-agree",
        "whose certificate is",
    ),
    "a certificate of no request": (
        ("UPDATE certificates SET order_id = 'nobody' WHERE number = 2",),
        "certificate-of-a-request",
        "of request nobody, which is not there",
    ),
    "an unknown state": (
        (f"UPDATE enrollments SET state = 'lost' WHERE request_id = {_ONE}",),
        "request-state",
        "'lost'",
    ),
    "a state that is computed only": (
        (f"UPDATE enrollments SET state = 'expired', ended_at = 1 WHERE request_id = {_ONE}",),
        "request-state",
        "'expired'",
    ),
    "a certificate too early": (
        (f"UPDATE enrollments SET state = 'announced' WHERE request_id = {_ONE}",),
        "request-certificate-early",
        "is announced and has certificate",
    ),
    "issued without a certificate": (
        (f"UPDATE enrollments SET state = 'in_use' WHERE request_id = {_OTHER}",),
        "request-certificate-late",
        "is in_use, and its certificate is missing",
    ),
    "processing without a serial": (
        (f"UPDATE enrollments SET state = 'processing' WHERE request_id = {_OTHER}",),
        "request-certificate-late",
        "is processing",
    ),
    "ended without an end": (
        (f"UPDATE enrollments SET state = 'revoked' WHERE request_id = {_ONE}",),
        "request-end",
        "is revoked",
    ),
    "an end without having ended": (
        (f"UPDATE enrollments SET ended_at = 1 WHERE request_id = {_ONE}",),
        "request-end",
        "is issued",
    ),
    "a key after the first login": (
        (f"UPDATE enrollments SET state = 'in_use', sealed_key = {{blob}} WHERE request_id = {_ONE}",),
        "key-outlives-window",
        "is in_use and still has its private key",
    ),
    "a letter that left and has its text": (
        ("UPDATE mails SET state = 'sent', sealed_body = {blob} WHERE id = 1",),
        "letter-outlives-sending",
        "letter 1 is sent",
    ),
    "a job in no state": ((_JOB.format("'odd', 1, 0, '', 1, NULL, NULL, NULL"),), "job-state", "is odd"),
    "a job with too many rows": (
        (_JOB.format("'waiting', 1, 2, '', 1, NULL, NULL, NULL"),),
        "job-state",
        "2 of 1 rows",
    ),
    "a job that runs without anybody": (
        (_JOB.format("'running', 1, 0, '', 1, NULL, NULL, NULL"),),
        "job-state",
        "is running",
    ),
    "a job that is done and has no end": (
        (_JOB.format("'done', 0, 0, 'r', 1, 1, NULL, NULL"),),
        "job-state",
        "is done",
    ),
    "a job's rows": (
        (_JOB.format("'waiting', 3, 2, '', 1, NULL, NULL, NULL"),),
        "job-rows",
        "has done 2 rows, and 0 are written down",
    ),
    "a job of what nobody approved": (
        (_PROPOSAL.format("'pending', NULL, NULL"), _JOB.format("'waiting', 1, 0, '', 1, NULL, NULL, 1")),
        "job-proposal",
        "proposal 1, which is pending",
    ),
    "a proposal in no state": ((_PROPOSAL.format("'odd', NULL, 1"),), "proposal-state", "is odd"),
    "pending and decided": ((_PROPOSAL.format("'pending', 'x', 1"),), "proposal-state", "is pending"),
    "decided at no time": ((_PROPOSAL.format("'void', NULL, NULL"),), "proposal-state", "is void"),
    "decided by the proposer": (
        (_PROPOSAL.format("'approved', 'p', 1"),),
        "proposal-decided-by-another",
        "was approved by who had proposed it",
    ),
    "a print batch in no state": ((_BATCH.format("'odd'", "NULL"),), "batch-state", "print batch 1 is odd"),
    "a print batch without an end": (
        (_BATCH.format("'printed'", "NULL"),),
        "batch-state",
        "print batch 1 is printed",
    ),
    "a print batch beyond its counter": (
        (_BATCH.format("'ready'", "NULL"),),
        "batches-counted",
        "up to 1, and 0 were counted",
    ),
    "certificates counted that are not there": (
        ("INSERT INTO certificate_tally VALUES ('ca', 'p', 'page', 3)",),
        "certificates-tallied",
        "up to number 0 3 were counted, and 0 are there",
    ),
    "a record that ends otherwise": (
        ("UPDATE counters SET said = 'f0' WHERE name = 'audit'",),
        "record-ends",
        "does not end with line",
    ),
    "revocations counted back": (
        ("UPDATE counters SET value = 1 WHERE name = 'changes'",),
        "changes-counted",
        "up to 2, and 1 were counted",
    ),
    "a CA beyond the counter": (
        ("INSERT INTO generations (issuer_id, reason, change_number) VALUES ('ca', '', 99)",),
        "ca-changes-counted",
        "number 99",
    ),
    "a list of changes to come": (
        ("UPDATE crls SET change_number = 99",),
        "list-of-known-changes",
        "tells of change 99, and 2 were counted",
    ),
    "a list that ends before it begins": (
        ("UPDATE crls SET next_update_at = this_update_at",),
        "list-dates",
        "ends before it begins",
    ),
    "a list's number taken back": (("UPDATE crls SET number = 0",), "list", "was published, and the"),
    "a list taken away": (("DELETE FROM crls",), "list", "and the database knows 0"),
    "a search key of nobody": (
        ("INSERT INTO search_keys VALUES ('user', 'x', 'K0')",),
        "search-keys",
        "user K0 is found by a name",
    ),
    "no counter": (("DELETE FROM counters WHERE name = 'stops'",), "counters", "stops is missing"),
    "nobody's": (("DELETE FROM belongs_to",), "owner", "it is nobody's"),
    "another CA's": (("UPDATE belongs_to SET ca = 'f'",), "owner", "another CA's"),
    "a copy that was left": (("UPDATE belongs_to SET state = 'left'",), "owner", "a copy that is left"),
    "other octets": (
        ("UPDATE certificates SET der = {blob} WHERE number = 1",),
        "certificate",
        "not that of its octets",
    ),
    "another's certificate": (
        (
            "UPDATE certificates SET subject_cn = fingerprint WHERE number = 3",
            "UPDATE certificates SET fingerprint = 'x' WHERE number = 3",
            "UPDATE certificates SET der = (SELECT der FROM certificates WHERE number = 3),"
            " fingerprint = (SELECT subject_cn FROM certificates WHERE number = 3) WHERE number = 1",
        ),
        "certificate",
        "another one than was reserved",
    ),
    "another's reservation": (
        ("UPDATE certificates SET template = (SELECT template FROM certificates WHERE number = 2)"
         " WHERE number = 1",),
        "certificate",
        "its reservation is another's",
    ),
    "another end": (
        ("UPDATE certificates SET not_after_at = not_after_at + 1 WHERE number = 1",),
        "certificate",
        "another one than was reserved",
    ),
    "no reservation": (
        ("UPDATE certificates SET template = '{' WHERE number = 1",),
        "certificate",
        "its reservation cannot be read",
    ),
    "an epoch that is over": (
        ("UPDATE epochs SET retired_at = 1",),
        "sealed",
        "its sealed_body is sealed under an epoch that is over",
    ),
    "a line that was altered": (
        ("UPDATE audit SET subject = 'x' WHERE id = 2",),
        "audit",
        "line 2 of the record: it was altered",
    ),
    "a line taken out": (("DELETE FROM audit WHERE id = 2",), "audit", "line 2 is missing"),
    "the record's end cut off": (
        ("DELETE FROM audit WHERE id = (SELECT max(id) FROM audit)",),
        "audit",
        "the end is cut off",
    ),
    "a mark that is older": (
        ("UPDATE journal_marks SET number = 1",),
        "journal",
        "it is older",
    ),
    "a mark of later": (("UPDATE journal_marks SET number = 99",), "journal", "the journal ends at line"),
    "a mark of another line": (("UPDATE journal_marks SET hash = 'f'",), "journal", "is not the one that"),
    "a node that was not compared": (("UPDATE journal_marks SET behind = 1",), "node", "was not compared"),
    "a node of the other engine": (
        ("INSERT INTO journal_marks VALUES ('{strange}', 'n', 0, '', 0)",),
        "node",
        "is none that such a database has",
    ),
    "no index": (("DROP INDEX mails_held",), "schema", "table mails: index mails_held is missing"),
    "an index by other columns": (
        ("DROP INDEX mails_held", "CREATE INDEX mails_held ON mails(user_id)"),
        "schema",
        "table mails: index mails_held is",
    ),
    "another table": (("CREATE TABLE bills (a INTEGER)",), "schema", "table bills is none of ours"),
    "no table": (("DROP TABLE throttles",), "schema", "table throttles is missing"),
    "a column more": (("ALTER TABLE users ADD COLUMN x INTEGER",), "schema", "column x is none of ours"),
    "no column": (("ALTER TABLE users DROP COLUMN building",), "schema", "column building is missing"),
}  # fmt: skip
#: The same of one engine alone.
_ALONE: dict[str, dict[str, tuple[Sequence[str], str, str]]] = {
    "file": {
        "a trigger": (
            ("CREATE TRIGGER t AFTER INSERT ON users BEGIN DELETE FROM audit; END",),
            "schema",
            "trigger t is none of ours",
        ),
        "another condition": (
            (
                "PRAGMA writable_schema = ON",
                "UPDATE sqlite_schema SET sql = replace(sql, '''held'', ''revoked''', '''revoked''')"
                " WHERE name = 'certificates'",
                "PRAGMA writable_schema = RESET",
            ),
            "schema",
            "table certificates: definition is",
        ),
        "a row against its conditions": (
            ("UPDATE users SET language = 'fr'",),
            "damage",
            "CHECK constraint failed in users",
        ),
        "a step that is to come": (
            ("DELETE FROM _sqlite_migrations WHERE name = 'batches'",),
            "schema",
            "the step postcards: batches was not taken",
        ),
        "a newer one": (
            ("INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('ca', 'new', '')",),
            "schema",
            "a newer sekisho",
        ),
        "a serial twice": (
            (
                "ALTER TABLE certificates RENAME TO old",
                "CREATE TABLE certificates AS SELECT * FROM old",
                "INSERT INTO certificates SELECT * FROM old WHERE number = 3",
            ),
            "serial-once",
            "is there 2 times",
        ),
        "a certificate twice": (
            (
                "ALTER TABLE certificates RENAME TO old",
                "CREATE TABLE certificates AS SELECT * FROM old",
                "INSERT INTO certificates SELECT * FROM old WHERE number = 3",
            ),
            "certificate-once",
            "is there 2 times",
        ),
        "a request with two": (
            (
                "ALTER TABLE certificates RENAME TO old",
                "CREATE TABLE certificates AS SELECT * FROM old",
                "INSERT INTO certificates SELECT * FROM old WHERE number = 3",
            ),
            "request-one-certificate",
            "has 2 certificates",
        ),
    },
    "server": {
        "a trigger": (
            (
                "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
                "CREATE TRIGGER t BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION f()",
            ),
            "schema",
            "trigger t is none of ours",
        ),
        "a foreign key that is asleep": (
            ("ALTER TABLE users DISABLE TRIGGER ALL",),
            "schema",
            "is 'off: ALTER TABLE ... ENABLE TRIGGER ALL', and not 'holds'",
        ),
        "a rule": (
            ("CREATE RULE r AS ON DELETE TO users DO INSTEAD NOTHING",),
            "schema",
            "rule r is none of ours",
        ),
        "a table that a crash empties": (
            ("ALTER TABLE throttles SET UNLOGGED",),
            "schema",
            "table is 'r unlogged', and not 'r'",
        ),
        "numbers that are the server's alone": (
            ("ALTER TABLE mails ALTER COLUMN id SET GENERATED ALWAYS",),
            "schema",
            "IDENTITY ALWAYS', and not",
        ),
        "no condition": (
            ("ALTER TABLE users DROP CONSTRAINT users_language_check",),
            "schema",
            "constraint CHECK ((language = ANY (ARRAY['ja'::text, 'en'::text]))) is missing",
        ),
        "another type": (
            ("ALTER TABLE throttles ALTER COLUMN failures TYPE INTEGER",),
            "schema",
            "column failures is 'integer NOT NULL'",
        ),
        "another order of texts": (
            ('ALTER TABLE mail_templates ALTER COLUMN text TYPE TEXT COLLATE "POSIX"',),
            "schema",
            "column text is 'text COLLATE POSIX NOT NULL'",
        ),
        "a step that is to come": (
            ("DELETE FROM schema_steps WHERE name = 'batches'",),
            "schema",
            "the step postcards: batches was not taken",
        ),
        "numbers that were given": (
            ("SELECT setval(pg_get_serial_sequence('certificates', 'number'), 1)",),
            "numbering",
            "certificates goes on behind 1, and 3 is there",
        ),
        "a mark of no commit": (
            ("INSERT INTO commit_marks (slot, mark) VALUES (99, -7)",),
            "damage",
            "slot 99",
        ),
        "a serial twice": (
            (
                "ALTER TABLE certificates DROP CONSTRAINT certificates_serial_key",
                "UPDATE certificates SET serial = (SELECT serial FROM certificates WHERE number = 3)"
                " WHERE number = 2",
            ),
            "serial-once",
            "is there 2 times",
        ),
        "a certificate twice": (
            (
                "ALTER TABLE certificates DROP CONSTRAINT certificates_fingerprint_key",
                "UPDATE certificates SET fingerprint ="
                " (SELECT fingerprint FROM certificates WHERE number = 3) WHERE number = 2",
            ),
            "certificate-once",
            "is there 2 times",
        ),
        "a request with two": (
            (
                "ALTER TABLE certificates DROP CONSTRAINT certificates_order_id_key",
                f"UPDATE certificates SET order_id = {_ONE} WHERE number = 2",
            ),
            "request-one-certificate",
            "has 2 certificates",
        ),
    },
}  # fmt: skip


def _in_words_of(register: Register, statements: Sequence[str]) -> list[str]:
    blob = r"'\x00'" if register.url else "x'00'"
    strange = "" if register.url else "f" * 32
    return [each.replace("{blob}", blob).replace("{strange}", strange) for each in statements]


def _is_said(register: Register, plant: tuple[Sequence[str], str, str]) -> None:
    statements, check, words = plant
    register.spoil(*_in_words_of(register, statements))
    found = register.found()
    assert [each for each in found if each.check == check and words in each.what], found
    assert all(each.hint and "{" not in each.hint for each in found)


@pytest.mark.parametrize("register", ["file"], indirect=True)
@pytest.mark.parametrize("what", SPOILT)
def test_what_is_spoilt_is_said(register: Register, what: str) -> None:
    """Each by its check, with what to type."""
    _is_said(register, SPOILT[what])


#: Of those, ones that are in nobody's way.
_TOGETHER = (
    "a certificate of no request", "an unknown state", "processing without a serial",
    "a letter that left and has its text", "a job in no state", "decided by the proposer",
    "a print batch without an end", "a CA beyond the counter", "a list's number taken back",
    "a search key of nobody", "no counter", "other octets", "a line that was altered",
    "a mark of another line", "a node of the other engine", "another table", "no index", "a column more",
)  # fmt: skip


def test_an_index_that_is_missing_is_made_by_what_is_said(register: Register) -> None:
    """The finding ends with the statement, which the engine takes, and then there is none."""
    register.spoil("DROP INDEX mails_held")
    (found,) = register.found()
    words, _, statement = found.hint.partition(": ")
    assert words == "make it, in psql or sqlite3"
    register.spoil(statement)
    assert register.found() == []


@pytest.mark.parametrize("register", ["server"], indirect=True)
def test_tables_that_our_user_may_not_write(register: Register) -> None:
    """As after a change of owner: whoever serves would find out at the first write."""
    register.spoil(
        "DO $$ BEGIN CREATE ROLE looker LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$",
        "GRANT INSERT, UPDATE, DELETE, SELECT ON ALL TABLES IN SCHEMA public TO looker",
        "GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO looker",
        "REVOKE UPDATE ON users FROM looker",
    )
    url = register.url.replace("postgres@", "looker@")
    change(register.data / FILE_NAME, {("database", "url"): f'"{url}"'})
    (found,) = register.found()
    assert found.what == "table users: table is 'r closed to our user', and not 'r'"


@pytest.mark.parametrize("register", ["server"], indirect=True)
def test_a_server_s_are_said_as_well(register: Register) -> None:
    """The statements are the same: many at once."""
    plants = [SPOILT[each] for each in _TOGETHER]
    for statements, _, _ in plants:
        register.spoil(*_in_words_of(register, statements))
    found = register.found()
    for _, check, words in plants:
        assert [each for each in found if each.check == check and words in each.what], (check, words)


@pytest.mark.parametrize(
    ("register", "what"), [(e, w) for e in ENGINES for w in _ALONE[e]], indirect=["register"]
)
def test_what_one_engine_alone_can_have(register: Register, what: str) -> None:
    """Its own words for conditions, triggers, sequences and numbers."""
    _is_said(register, _ALONE["server" if register.url else "file"][what])


@pytest.mark.parametrize("register", ["server"], indirect=True)
@pytest.mark.parametrize("what", ["a copy that was left", "another CA's"])
def test_of_a_database_that_is_not_the_directorys_only_that_is_said(register: Register, what: str) -> None:
    """Journal and keys of windows are of the one that is served, and would only mislead."""
    for each in (what, "no counter"):
        register.spoil(*_in_words_of(register, SPOILT[each][0]))
    (found,) = register.found()
    assert (found.check, SPOILT[what][2] in found.what) == ("owner", True)
    assert "correct database.url" in found.hint


@pytest.mark.parametrize("register", ["server"], indirect=True)
def test_of_an_empty_one_it_is_said_what_fills_it(register: Register) -> None:
    """Nobody has altered anything: it is new, or the wrong one."""
    register.spoil("DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
    with pytest.raises(ConfigError, match=r"has none of our tables: correct database\.url"):
        register.found()


@pytest.mark.parametrize("register", ["server"], indirect=True)
def test_what_an_extension_brought_is_nobodys_fault(register: Register) -> None:
    """Operators of a server look by views which some extensions make in the database that is looked at."""
    register.spoil("CREATE EXTENSION pg_stat_statements")
    assert register.found() == []


def test_every_rule_has_its_fault() -> None:
    """The twin: a rule that nothing here breaks might find nothing at all."""
    planted = {each[1] for each in (*SPOILT.values(), *_ALONE["file"].values())}
    assert {each.name for each in RULES} <= planted


def test_rows_that_point_at_nothing(register: Register) -> None:
    """Whether a foreign key says so or not, each is found."""
    tables = {each.name: each for each in sqlite.layout(SCHEMAS)}
    octets = r"'\x78'" if register.url else "x'78'"
    own = {"INTEGER": "1", "REAL": "1", "TEXT": "'x'", "BLOB": octets}
    lost = {"INTEGER": "424242", "TEXT": "'lost'", "BLOB": octets}
    for name in dict.fromkeys(table for table, _ in REFERENCES):
        columns = {refers.column for table, refers in REFERENCES if table == name}
        values = {
            column: lost[kind] if column in columns else own[kind]
            for _, column, kind, needed, *_ in _columns(name)
            if needed or column in columns or column in tables[name].key
        }
        into = f"INSERT INTO {name} ({', '.join(values)}) VALUES ({', '.join(values.values())})"
        register.spoil(*_without_conditions(register, name), f"DELETE FROM {name}", into)
    said = [each.what for each in register.found() if each.check == "reference"]
    for name, refers in REFERENCES:
        assert any(f"its {refers.column} " in each and each.startswith(f"{name} ") for each in said), name


def _without_conditions(register: Register, table: str) -> list[str]:
    if not register.url:
        return []
    return [
        "DO 'DECLARE c text; BEGIN FOR c IN SELECT conname FROM pg_constraint WHERE contype = ''c'' AND"
        f" conrelid = ''{table}''::regclass LOOP"
        f" EXECUTE format(''ALTER TABLE {table} DROP CONSTRAINT %I'', c); END LOOP; END'"
    ]


def _columns(table: str) -> list[tuple[int, str, str, int]]:
    """Each by its place, name, kind, and whether it has to have a value."""
    with closing(sqlite3.connect(":memory:")) as raw:
        for schema in SCHEMAS:
            for step in schema.steps:
                for statement in step.statements:
                    raw.execute(sqlite.in_sqlite(statement))
        return list(raw.execute(f"PRAGMA table_info({table})"))


def test_a_foreign_key_s_rows(register: Register) -> None:
    """One that is declared is looked at as well: it may have been asleep."""
    register.spoil("DELETE FROM organisations")
    assert "users K12345670: its policy_number 12345678 is not among organisations" in [
        each.what for each in register.found()
    ]


def test_the_journal_s_own_faults(register: Register) -> None:
    """Missing, cut off, altered."""
    folder = register.data / journal.FOLDER
    first = sorted(folder.iterdir())[0]
    whole = first.read_bytes()
    first.write_bytes(whole.replace(b'"notes"', b'"nodes"', 2))
    assert "journal" in {each.check for each in register.found()}
    first.write_bytes(whole)
    assert register.found() == []
    for path in folder.iterdir():
        path.unlink()
    assert any(each.what.startswith("it is missing") for each in register.found())


def test_keys_that_are_elsewhere(register: Register) -> None:
    """What is sealed under an epoch whose key is in no file here is counted, with where to look."""
    for path in (register.data / "window").iterdir():
        path.unlink()
    (said,) = [each for each in register.found() if each.check == "sealed"]
    assert re.search(r"the key [0-9a-f]{32} of \d+ sealed records is not in", said.what)


def test_of_many_some_are_told(register: Register) -> None:
    """Twenty of a kind, and that there are more."""
    register.spoil(
        *(f"INSERT INTO search_keys VALUES ('user', 'x', 'K{number}')" for number in range(30)),
    )
    said = [each.what for each in register.found() if each.check == "search-keys"]
    assert (len(said), said[-1]) == (21, "and there are more of these")


def test_what_is_written_meanwhile_is_no_fault(register: Register, monkeypatch: pytest.MonkeyPatch) -> None:
    """One snapshot, whoever writes: between any two checks lines, certificates and notes come."""
    place = Place(register.data, register.url)

    def written(look: checking._Look) -> list[Trouble]:
        with closing(place.open(register.url)) as database:
            database.write_now(lambda db: people.audit(db, 1, "test", "test", "test"))
            database.write_now(lambda db: db.note("test", it="is said"))
            database.write_now(lambda db: db.execute("DELETE FROM search_keys"))
        return []

    between: list[Callable[..., object]] = [written]
    for each in checking.CHECKS:
        between += [each, written]
    monkeypatch.setattr(checking, "CHECKS", between)
    assert register.found() == []


def test_a_line_that_comes_before_the_snapshot(register: Register, monkeypatch: pytest.MonkeyPatch) -> None:
    """The journal is read first, and may go on before the database is looked at: that is no fault either."""
    place, read = Place(register.data, register.url), checking._told_by

    def then_written(data: Path) -> checking._Told:
        told = read(data)
        with closing(place.open(register.url)) as database:
            database.write_now(lambda db: db.note("test", it="is said"))
        return told

    monkeypatch.setattr(checking, "_told_by", then_written)
    assert register.found() == []
