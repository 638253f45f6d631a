"""The tables of people, enrollments and mails. Times are seconds since the epoch, UTC."""

from __future__ import annotations

from ca.storage import Schema, Step

_PEOPLE = """
CREATE TABLE organisations (
    policy_number TEXT PRIMARY KEY,        -- 証券番号
    name TEXT NOT NULL,
    lineages INTEGER,                      -- PCs, and credentials, per user; NULL: the setting
    -- E14: how issue passwords reach people; 'admin': through the organisation's 管理者
    issue_password_by TEXT NOT NULL DEFAULT 'mail' CHECK (issue_password_by IN ('mail', 'postcard', 'admin')),
    postal_code TEXT NOT NULL DEFAULT '',   -- where its users' postcards go: enroll/people/postal.py
    prefecture TEXT NOT NULL DEFAULT '',
    city TEXT NOT NULL DEFAULT '',
    street TEXT NOT NULL DEFAULT '',
    building TEXT NOT NULL DEFAULT '',
    addressee TEXT NOT NULL DEFAULT '',     -- a line above the name
    profile TEXT NOT NULL DEFAULT '',      -- of its people's certificates; '': the setting
    country TEXT NOT NULL DEFAULT '',      -- for profiles that say it
    disabled_at INTEGER,
    created_at INTEGER NOT NULL
);

CREATE TABLE users (
    user_id TEXT PRIMARY KEY,
    policy_number TEXT NOT NULL REFERENCES organisations(policy_number),
    name TEXT NOT NULL,
    mail TEXT NOT NULL CHECK (mail <> ''),
    role TEXT NOT NULL CHECK (role IN ('member', 'admin')),
    notice_by TEXT NOT NULL CHECK (notice_by IN ('mail', 'postcard')),
    language TEXT NOT NULL DEFAULT 'ja' CHECK (language IN ('ja', 'en')),
    department TEXT NOT NULL DEFAULT '',    -- for profiles that say them
    principal TEXT NOT NULL DEFAULT '',
    reading TEXT NOT NULL DEFAULT '',       -- フリガナ
    postal_code TEXT NOT NULL DEFAULT '',   -- where postcards go, if not to the organisation
    prefecture TEXT NOT NULL DEFAULT '',
    city TEXT NOT NULL DEFAULT '',
    street TEXT NOT NULL DEFAULT '',
    building TEXT NOT NULL DEFAULT '',
    addressee TEXT NOT NULL DEFAULT '',     -- a line above the name
    password_hash TEXT NOT NULL,
    password_initial INTEGER NOT NULL DEFAULT 1,
    last_number INTEGER NOT NULL DEFAULT 0, -- the highest 管理番号 given out
    disabled_at INTEGER,
    erased_at INTEGER,                      -- since when nothing personal is in this row (enroll/retention)
    created_at INTEGER NOT NULL,
    generation INTEGER NOT NULL DEFAULT 0,  -- what programs were given in an earlier one has ended
    generation_at INTEGER,
    name_key TEXT NOT NULL,                 -- what people are compared by (enroll/people/sameness.py)
    mail_key TEXT NOT NULL
);
CREATE INDEX users_by_organisation ON users(policy_number);
-- An import asks for each of its rows whether that person is recorded.
CREATE INDEX users_by_person ON users(mail_key, name_key, policy_number);
CREATE INDEX users_newest ON users(created_at DESC, user_id);
CREATE INDEX users_by_name ON users(name_key, policy_number);

-- What people and organisations are found by the beginning of: names, readings, and words of them, written
-- in the transaction that writes the name (`sameness.search_keys`).
CREATE TABLE search_keys (
    kind TEXT NOT NULL CHECK (kind IN ('user', 'organisation')),
    key TEXT NOT NULL,
    id TEXT NOT NULL,                      -- user ID, 証券番号
    PRIMARY KEY (kind, key, id)
);
CREATE INDEX search_keys_of ON search_keys(kind, id);

CREATE TABLE applications (
    id IDENTITY,
    kind TEXT NOT NULL CHECK (kind IN ('addition', 'reissue')),
    channel TEXT NOT NULL CHECK (channel IN ('online', 'paper')),
    reason TEXT NOT NULL,
    policy_number TEXT NOT NULL REFERENCES organisations(policy_number),
    user_id TEXT NOT NULL,                 -- for an addition: the ID asked for, or ''
    person TEXT NOT NULL,                  -- JSON: what an addition asks for
    revoke_old TEXT NOT NULL CHECK (revoke_old IN ('on_pickup', 'at_once')),
    applied_by TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('submitted', 'approved', 'rejected', 'withdrawn')),
    submitted_at INTEGER NOT NULL,
    decided_at INTEGER,
    decided_by TEXT,
    note TEXT NOT NULL DEFAULT '',
    request_id TEXT,                       -- of the enrollment it led to
    rejection TEXT NOT NULL DEFAULT '',   -- why it was turned down: a code
    erased_at INTEGER                      -- as of users
);
CREATE INDEX applications_by_state ON applications(state, submitted_at, id);
CREATE INDEX applications_by_user ON applications(user_id);
CREATE INDEX applications_of_organisation ON applications(policy_number, state);
"""

_ENROLLMENTS = """
CREATE TABLE enrollments (
    number IDENTITY,                       -- in the order of their coming, whatever the clock said
    request_id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL CHECK (kind IN ('addition', 'reissue', 'renewal', 'protocol')),
    user_id TEXT NOT NULL REFERENCES users(user_id),
    state TEXT NOT NULL,
    common_name TEXT NOT NULL,
    profile TEXT NOT NULL,
    door TEXT NOT NULL CHECK (door IN ('page', 'protocol')),
    application_id INTEGER REFERENCES applications(id),
    password_hash TEXT,                    -- of the issue password; NULL where there is none
    replaces_serial TEXT,                  -- certificate that this one follows
    by_another INTEGER NOT NULL DEFAULT 0, -- 1: who holds that one is not who asked for this one
    revoke_old TEXT NOT NULL CHECK (revoke_old IN ('on_pickup', 'at_once', 'never')),
    serial TEXT,                           -- the certificate, once reserved
    not_after_at INTEGER,                  -- of the certificate, once issued
    sealed_key BLOB,                       -- wiped when the window closes
    downloads INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL,
    announced_at INTEGER,
    opened_at INTEGER,                     -- when its holder first saw the page of a renewal
    submitted_at INTEGER,
    issued_at INTEGER,
    picked_up_at INTEGER,
    used_at INTEGER,
    ended_at INTEGER,
    window_ends_at INTEGER                 -- of the step it waits in: announced, then issued
);
CREATE INDEX enrollments_by_user ON enrollments(user_id, created_at);
-- A user's programs may have had a hundred thousand; a reissue or disabling asks for these only.
CREATE INDEX enrollments_living ON enrollments(user_id)
    WHERE state NOT IN ('closed', 'superseded', 'renewed', 'revoked', 'withdrawn');
CREATE UNIQUE INDEX enrollments_by_serial ON enrollments(serial) WHERE serial IS NOT NULL;
-- One renewal per certificate, whichever door asks, however often (E10).
CREATE UNIQUE INDEX one_renewal ON enrollments(replaces_serial) WHERE kind = 'renewal';
CREATE INDEX enrollments_following
    ON enrollments(replaces_serial, used_at, picked_up_at, opened_at, submitted_at, announced_at)
    WHERE replaces_serial IS NOT NULL;
CREATE INDEX enrollments_by_end ON enrollments(not_after_at, door, state)
    WHERE state IN ('issued', 'picked_up', 'in_use');
-- People's, for campaigns, whatever became of them; above, how far what follows each of them came.
CREATE INDEX enrollments_of_people ON enrollments(not_after_at, user_id, serial, issued_at, ended_at, door)
    WHERE door = 'page' AND not_after_at IS NOT NULL;
-- Reports count by these alone (enroll/reports/store.py), without a look at the rows.
CREATE INDEX enrollments_opened ON enrollments(created_at, kind, picked_up_at, ended_at, window_ends_at)
    WHERE kind IN ('addition', 'reissue');
CREATE INDEX enrollments_issued ON enrollments(kind, door, issued_at) WHERE issued_at IS NOT NULL;
-- And of an organisation by these: its users' rows are all over the table.
CREATE INDEX enrollments_ending_of ON enrollments(user_id, not_after_at, door, state)
    WHERE state IN ('issued', 'picked_up', 'in_use');
CREATE INDEX enrollments_opened_of
    ON enrollments(user_id, created_at, kind, picked_up_at, ended_at, window_ends_at)
    WHERE kind IN ('addition', 'reissue');
CREATE INDEX enrollments_issued_of ON enrollments(user_id, issued_at, kind, door) WHERE issued_at IS NOT NULL;
CREATE INDEX enrollments_with_key ON enrollments(window_ends_at) WHERE sealed_key IS NOT NULL;
CREATE INDEX enrollments_waiting ON enrollments(window_ends_at)
    WHERE kind = 'protocol' AND state IN ('accepted', 'announced', 'authenticated');

CREATE TABLE tickets (
    token_hash TEXT PRIMARY KEY,
    request_id TEXT NOT NULL REFERENCES enrollments(request_id),
    filename TEXT NOT NULL,
    sealed_p12 BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    fetched_at INTEGER
);
CREATE INDEX tickets_by_end ON tickets(expires_at);
"""

_MAILS = """
CREATE TABLE mails (
    id IDENTITY,
    -- The cause, once: a job that runs again finds its mail here and sends none (R15).
    cause TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    channel TEXT NOT NULL CHECK (channel IN ('mail', 'postcard')),
    notice INTEGER NOT NULL DEFAULT 0,     -- how long it may wait (enroll/mail/states.py: Pace)
    user_id TEXT NOT NULL,
    request_id TEXT,
    recipient TEXT NOT NULL,
    subject TEXT NOT NULL,
    shown_body TEXT NOT NULL,              -- with every secret masked
    sealed_body BLOB,                      -- wiped once accepted, or once its cause is gone
    state TEXT NOT NULL CHECK (state IN ('queued', 'sent', 'failed', 'cancelled')),
    -- of one that failed: how (enroll/mail/states.py)
    failure TEXT NOT NULL DEFAULT '' CHECK (failure IN ('', 'refused', 'given_up', 'bounced')),
    attempts INTEGER NOT NULL DEFAULT 0,   -- how often a process took it: names the one that has it
    claimed_until_at INTEGER NOT NULL DEFAULT 0,
    handed INTEGER NOT NULL DEFAULT 0,     -- the attempt in which it was about to leave, until it is settled
    next_attempt_at INTEGER NOT NULL,
    refusals INTEGER NOT NULL DEFAULT 0,   -- of this letter alone
    refused_since_at INTEGER,
    unclear INTEGER NOT NULL DEFAULT 0,    -- how often it was sent to its end and no answer came
    created_at INTEGER NOT NULL,           -- with the number, its Message-ID
    queued_at INTEGER NOT NULL DEFAULT 0,  -- last
    sent_at INTEGER,
    held_at INTEGER,                       -- since when it waits for an operator's release
    batch INTEGER,                         -- the print batch that has it
    erased_at INTEGER,                     -- as of users
    result TEXT NOT NULL DEFAULT '',
    CHECK ((state = 'failed') = (failure <> ''))
);
CREATE INDEX mails_queued ON mails(channel, notice, next_attempt_at)
    WHERE state = 'queued' AND held_at IS NULL;
CREATE INDEX mails_handed ON mails(channel, claimed_until_at) WHERE handed > 0 AND state = 'queued';
-- What waits, or is held, is counted by this alone.
CREATE INDEX mails_open ON mails(created_at, state, held_at, kind, channel) WHERE state = 'queued';
CREATE INDEX mails_sealed ON mails(cause) WHERE sealed_body IS NOT NULL;
CREATE INDEX mails_in_batch ON mails(batch) WHERE batch IS NOT NULL;
CREATE INDEX mails_held ON mails(user_id) WHERE held_at IS NOT NULL AND state = 'queued';
-- With what a list of them is narrowed by.
CREATE INDEX mails_failed
    ON mails(queued_at, channel, sent_at, state, kind, failure, created_at, user_id, recipient)
    WHERE state = 'failed';
CREATE INDEX mails_left ON mails(sent_at, channel, state, kind) WHERE sent_at IS NOT NULL;
-- With what reports count: a row has the whole letter.
CREATE INDEX mails_by_user ON mails(user_id, channel, state, sent_at, queued_at, kind);
-- What is taken back or given up has its letters found by its request.
CREATE INDEX mails_of_request ON mails(request_id) WHERE request_id IS NOT NULL;
-- By what the list of all letters is narrowed, in its order: a row has the whole letter.
CREATE INDEX mails_listed ON mails(id, state, failure, kind, channel, held_at, created_at);

-- What a letter's row forgets: each refusal, and that somebody had it tried again.
CREATE TABLE mail_history (
    number IDENTITY,
    letter INTEGER NOT NULL,               -- as in `mails`
    at INTEGER NOT NULL,
    event TEXT NOT NULL CHECK (event IN ('put_off', 'refused', 'given_up', 'bounced', 'retried')),
    said TEXT NOT NULL DEFAULT ''          -- by the mail server
);
CREATE INDEX mail_history_of ON mail_history(letter, number);

-- What holds every letter of a channel, for all processes: a refusal that is no recipient's.
CREATE TABLE mail_lanes (
    channel TEXT PRIMARY KEY CHECK (channel IN ('mail', 'postcard')),
    refusals INTEGER NOT NULL DEFAULT 0,   -- in a row; 0: nothing holds
    held_since_at INTEGER,
    held_until_at INTEGER NOT NULL DEFAULT 0,
    said TEXT NOT NULL DEFAULT '',
    accepted_at INTEGER,                   -- when a letter was taken last
    minute INTEGER NOT NULL DEFAULT 0,     -- since the epoch, and how many letters were begun in it
    begun INTEGER NOT NULL DEFAULT 0
);

-- Texts that operators have put in the place of a template's (enroll/mail/wording.py).
CREATE TABLE mail_templates (
    name TEXT PRIMARY KEY,                 -- the file that it takes the place of: pickup.en.txt
    text TEXT NOT NULL,
    changed_at INTEGER NOT NULL,
    changed_by TEXT NOT NULL
);

CREATE TABLE mail_refusals (
    command TEXT PRIMARY KEY,
    count INTEGER NOT NULL,
    last_at INTEGER NOT NULL,
    said TEXT NOT NULL
);

-- A chain (enroll/audit.py): lines are added, and what is personal in one may be taken away; nothing else.
CREATE TABLE audit (
    id INTEGER PRIMARY KEY,                -- without a gap, by a row of counters, which says the last hash
    at INTEGER NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    why TEXT NOT NULL,
    result TEXT NOT NULL CHECK (result IN ('done', 'refused', 'failed')),
    detail TEXT,                           -- JSON, no secret; NULL once it was purged, with its salt
    salt TEXT,
    digest TEXT NOT NULL,                  -- of both
    hash TEXT NOT NULL                     -- of all but those, and of the line before it
);
CREATE INDEX audit_by_subject ON audit(subject, at);
-- With what the record is narrowed by, so that lines are counted without a look at them.
CREATE INDEX audit_by_actor ON audit(actor, at, action);
CREATE INDEX audit_by_action ON audit(action, at, actor);
INSERT INTO counters (name, value) VALUES ('audit', 0);

CREATE TABLE throttles (
    key TEXT PRIMARY KEY,
    failures INTEGER NOT NULL,
    since_at INTEGER NOT NULL
);
"""

_TALLY = """
-- How many certificates there are of each kind, whatever became of them, up to the number that the counter
-- says: whoever leads counts on (enroll/certificates/tally.py).
CREATE TABLE certificate_tally (
    issuer_id TEXT NOT NULL,
    profile TEXT NOT NULL,
    door TEXT NOT NULL,
    certificates INTEGER NOT NULL,
    PRIMARY KEY (issuer_id, profile, door)
);
INSERT INTO counters (name, value) VALUES ('tallied', 0);
"""

_RECORD_ENDS = """
UPDATE counters SET said = coalesce((SELECT hash FROM audit WHERE id = counters.value), '')
WHERE name = 'audit';
"""

_ABOUT = """
-- Of a letter about many: the serials of their certificates, with spaces between. Who is named is decided
-- when it leaves.
ALTER TABLE mails ADD COLUMN about TEXT NOT NULL DEFAULT '';
"""


def _statements(part: str) -> tuple[str, ...]:
    return tuple(statement for statement in part.split(";\n") if statement.strip())


SCHEMA = Schema(
    "enroll",
    tuple(
        Step(name, _statements(part))
        for name, part in (
            ("people", _PEOPLE),
            ("enrollments", _ENROLLMENTS),
            ("mails", _MAILS),
            ("tally", _TALLY),
            ("record ends", _RECORD_ENDS),
            ("letters about many", _ABOUT),
        )
    ),
)
