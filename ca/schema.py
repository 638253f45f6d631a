"""The tables of the ground. Only migrations change them."""

from __future__ import annotations

from ca.storage import Schema, Step

# One row for each serial, `reserved` before signing, with what is to be signed, `issued` with the DER after
# it. The partial indexes hold only the few rows they are about, so a million good certificates cost them
# nothing; change_number counts what was held, released and revoked, and never goes back, unlike a clock. A
# certificate that was held before it was revoked keeps held_at: it had ended by then. door: by which way it
# was asked for, in the words of whoever reserves; empty for what no door knows. holder: whose it is, in the
# same words.
_CERTIFICATES = """
    CREATE TABLE certificates (
        number IDENTITY,
        serial TEXT NOT NULL UNIQUE,
        issuer_id TEXT NOT NULL,
        profile TEXT NOT NULL,
        door TEXT NOT NULL DEFAULT '',
        holder TEXT NOT NULL DEFAULT '',
        status TEXT NOT NULL CHECK (status IN ('reserved', 'issued', 'held', 'revoked')),
        subject_cn TEXT NOT NULL,
        spki_sha256 TEXT NOT NULL,
        not_before_at INTEGER NOT NULL,
        not_after_at INTEGER NOT NULL,
        reserved_at INTEGER NOT NULL,
        issued_at INTEGER,
        template TEXT NOT NULL,
        tbs BLOB,
        der BLOB,
        fingerprint TEXT UNIQUE,
        held_at INTEGER,
        revoked_at INTEGER,
        revocation_reason INTEGER,
        change_number INTEGER,
        order_id TEXT UNIQUE,
        CHECK ((status = 'reserved') = (der IS NULL)),
        CHECK ((status = 'reserved') = (tbs IS NOT NULL)),
        CHECK ((der IS NULL) = (fingerprint IS NULL)),
        CHECK ((status = 'revoked') = (revoked_at IS NOT NULL)),
        CHECK (status <> 'held' OR held_at IS NOT NULL),
        CHECK (status IN ('held', 'revoked') OR held_at IS NULL),
        CHECK (status IN ('reserved', 'issued') OR change_number IS NOT NULL)
    )
"""
#: The last octet of a serial, in hex: it says which shard tells of a certificate.
LAST_OCTET = "substr(serial, length(serial) - 1)"
# A shard has the issuer's identifier with its number behind it (ca.publication.list_id).
_CRLS = """
    CREATE TABLE crls (
        issuer_id TEXT PRIMARY KEY,
        number INTEGER NOT NULL,
        this_update_at INTEGER NOT NULL,
        next_update_at INTEGER NOT NULL,
        digest TEXT NOT NULL,
        size INTEGER NOT NULL,
        entries INTEGER NOT NULL,
        change_number INTEGER NOT NULL
    )
"""
# The bytes of each published list, where several directories share the database: each has files of its own.
_LIST_PIECES = """
    CREATE TABLE crl_pieces (
        issuer_id TEXT NOT NULL,
        number INTEGER NOT NULL,
        piece INTEGER NOT NULL,
        content BLOB NOT NULL,
        PRIMARY KEY (issuer_id, number, piece)
    )
"""
# Which of those directories looks after what one alone does, and in which term: a number that each who leads
# has for itself. What it writes holds this row (`ca.fencing`).
_LEAD = """
    CREATE TABLE lead (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        node TEXT NOT NULL,
        term INTEGER NOT NULL
    )
"""
# That it lives: it raises the number again and again, and is followed by another when that stands still. A
# row of its own, which nobody holds for longer than that takes.
_LEAD_BEATS = """
    CREATE TABLE lead_beats (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        term INTEGER NOT NULL,
        beat INTEGER NOT NULL
    )
"""
# The last reading of the clock that was believed (ca.timekeeping), and up to which certificate an operator
# has said that certificates from a clock that ran ahead prove nothing.
_CLOCK = """
    CREATE TABLE clock (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        wall_at INTEGER NOT NULL,
        awake REAL NOT NULL,
        boot TEXT NOT NULL,
        confirmed_row INTEGER NOT NULL DEFAULT 0
    )
"""

# Answers about certificates (OCSP), made ahead and kept without the certificate of who has signed them: by
# each hash of the issuer that somebody may ask by. `change_number`: the last change of the certificate that
# they tell of.
_ANSWERS = """
    CREATE TABLE answers (
        serial TEXT PRIMARY KEY,
        issuer_id TEXT NOT NULL,
        responder_id TEXT NOT NULL,
        change_number INTEGER NOT NULL,
        this_update_at INTEGER NOT NULL,
        next_update_at INTEGER NOT NULL,
        sha1 BLOB NOT NULL,
        sha256 BLOB NOT NULL
    )
"""
_RESPONDERS = """
    CREATE TABLE responders (
        responder_id TEXT PRIMARY KEY,
        issuer_id TEXT NOT NULL,
        not_after_at INTEGER NOT NULL,
        der BLOB NOT NULL
    )
"""
# Moments of each issuing CA (ca.generations.states); of one without a row the first that was made issues, and
# any other one is staged. `change_number` counts together with those of certificates.
_GENERATIONS = """
    CREATE TABLE generations (
        issuer_id TEXT PRIMARY KEY,
        active_at INTEGER,
        planned_at INTEGER,
        retired_at INTEGER,
        over_at INTEGER,
        distrusted_at INTEGER,
        discarded_at INTEGER,
        reason TEXT NOT NULL,
        change_number INTEGER NOT NULL,
        CHECK (distrusted_at IS NULL OR retired_at IS NOT NULL),
        CHECK (retired_at IS NULL OR planned_at IS NULL),
        CHECK (discarded_at IS NULL OR over_at IS NOT NULL)
    )
"""
# Of which end of a CA (`ca.generations.endings`) operators have been told.
_CA_WARNINGS = """
    CREATE TABLE ca_warnings (
        ca_id TEXT NOT NULL,
        step TEXT NOT NULL,
        told_at INTEGER NOT NULL,
        PRIMARY KEY (ca_id, step)
    )
"""
# The last line of each node's journal that this database has seen (ca.journal): an older copy of it is known
# by that. A database that is a file has one node, whose name is ''. behind: 1 once a node has found its own
# journal to tell of more, or when another one has found that of its own: this one's is to be compared, too.
_JOURNALS = """
    CREATE TABLE journal_marks (
        node TEXT PRIMARY KEY,
        name TEXT NOT NULL,
        number INTEGER NOT NULL,
        hash TEXT NOT NULL,
        behind INTEGER NOT NULL
    )
"""
# Which CA's it is: SHA-256 of the root's certificate, and what the CA's directories know it by. `copied`: all
# of another one is in it, and no directory knows of it yet; `left`: all of it was copied, and it is served no
# more. `other`: the identifier of the one that it was copied from, or to.
_OWNER = """
    CREATE TABLE belongs_to (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        ca TEXT NOT NULL,
        identifier TEXT NOT NULL,
        state TEXT NOT NULL DEFAULT 'used' CHECK (state IN ('used', 'copied', 'left')),
        other TEXT NOT NULL DEFAULT ''
    )
"""
# Periods whose keys are in files (ca.epochs), by the names of those. `used_at`: every node has had the time
# to get the key. `retired_at`: nothing is sealed under it any more; soon the key is destroyed, then the row.
_EPOCHS = """
    CREATE TABLE epochs (
        number IDENTITY,
        name BLOB NOT NULL UNIQUE,
        begun_at INTEGER NOT NULL,
        used_at INTEGER,
        retired_at INTEGER
    )
"""
# Nodes that ask for the key of an epoch, by the public half of one that is drawn for that, and what they get.
_EPOCH_ASKS = """
    CREATE TABLE epoch_asks (
        public BLOB PRIMARY KEY,
        epoch BLOB NOT NULL,
        tag BLOB NOT NULL,
        asked_at INTEGER NOT NULL,
        wrapped BLOB
    )
"""

SCHEMA = Schema(
    "ca",
    (
        Step(
            "certificates",
            (
                _CERTIFICATES,
                "CREATE INDEX certificates_reserved ON certificates (reserved_at, number, status,"
                " not_after_at, issuer_id, profile, door) WHERE status = 'reserved'",
                "CREATE UNIQUE INDEX certificates_changed ON certificates (change_number)"
                " WHERE change_number IS NOT NULL",
                "CREATE INDEX certificates_held ON certificates (serial) WHERE status = 'held'",
                # All that a revocation list says, so that it is made without a look at the rows themselves;
                # and what a list of revoked ones is narrowed by.
                "CREATE INDEX certificates_listed ON certificates (issuer_id, change_number, status,"
                " not_after_at, serial, held_at, revoked_at, revocation_reason, profile, door)"
                " WHERE change_number IS NOT NULL",
                f"CREATE INDEX certificates_sharded ON certificates (issuer_id, ({LAST_OCTET}),"
                " change_number, status, not_after_at, serial, held_at, revoked_at, revocation_reason)"
                " WHERE change_number IS NOT NULL",
                "CREATE INDEX certificates_subject_cn ON certificates (subject_cn)",
                # All that operators narrow their list by, in the two orders that it has: a page of a million,
                # and how many there are, without a look at the rows themselves.
                *(
                    f"CREATE INDEX certificates_by_{column} ON certificates ({column}, number, status,"
                    f" {others}, issuer_id, profile, door{behind})"
                    # By the holder at its end those that have not ended are met with whose they are.
                    for column, others, behind in (
                        ("reserved_at", "not_after_at", ""),
                        ("not_after_at", "reserved_at", ", holder"),
                    )
                ),
                # The same of some holders, and what each of them has that has not ended.
                "CREATE INDEX certificates_of ON certificates (holder, not_after_at, number, reserved_at,"
                " status, issuer_id, profile, door)",
                # What they are by their numbers: those that have ended are many, and not the newest.
                "CREATE INDEX certificates_numbered ON certificates (number, status, not_after_at)",
                # What is counted without a gap, each by a row that its transaction holds.
                "CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL)",
                "INSERT INTO counters (name, value) VALUES ('changes', 0)",
                # Turns of the emergency stop, whose state is a sealed file.
                "INSERT INTO counters (name, value) VALUES ('stops', 0)",
                # Who changes which of the issuing CAs issues (`ca.store.take_turns`).
                "INSERT INTO counters (name, value) VALUES ('generations', 0)",
                _CRLS,
                _LIST_PIECES,
                _LEAD,
                "INSERT INTO lead (id, node, term) VALUES (1, '', 0)",
                _LEAD_BEATS,
                "INSERT INTO lead_beats (id, term, beat) VALUES (1, 0, 0)",
                _CLOCK,
                _ANSWERS,
                "CREATE INDEX answers_age ON answers (this_update_at, next_update_at)",
                _RESPONDERS,
                _GENERATIONS,
                _CA_WARNINGS,
                _EPOCHS,
                _EPOCH_ASKS,
                _JOURNALS,
                _OWNER,
            ),
        ),
        # What belongs to the last that was counted: of the record (enroll/audit.py) its hash.
        Step("counters say", ("ALTER TABLE counters ADD COLUMN said TEXT NOT NULL DEFAULT ''",)),
    ),
)
