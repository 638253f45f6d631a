"""The record as a chain: each of a list of tamperings is found, with its place."""

import ast
import asyncio
import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from ca.errors import ConfigError
from ca.sealing import open_vaults
from enroll import audit, store
from enroll.audit import BEGINNING, Checkpoint, Line, Trouble, checkpoints_in, ranges_of, verify
from enroll.operators import store as operators
from enroll.purging import purge, retire
from enroll.schema import SCHEMA
from gateway.serving import record, recovery
from tests.datadirs import PASSPHRASE, admit, clock_of, open_office
from tests.engines import IN_A_FILE
from tests.looking import look

LINES = 12
ALTERED = "it was altered, or does not follow the line before it"
DETAIL = "its detail, or who it was, was altered"


def lines(count=LINES, seed="a"):
    """A record by itself: each line about another thing."""
    found, previous = [], BEGINNING
    for number in range(1, count + 1):
        actor = f"address:192.0.2.{number}" if number == 5 else "operator:ann"
        told = 1_000 + number, actor, "user.changed", f"K{number}", {"why": seed, "name": number}
        (made,) = audit.placed([audit.said(*told, f"{number:032x}")], number, previous)
        found.append(made)
        previous = made.hash
    return found


def checkpoint(found, number):
    return Checkpoint("ca", number, found[number - 1].hash, 1)


def rewritten(found, at, **changes):
    """A line that was altered by somebody who knows how, and all that follow made to fit."""
    made, previous = found[: at - 1], found[at - 2].hash if at > 1 else BEGINNING
    for each in found[at - 1 :]:
        new = replace(each, **changes) if each.id == at else each
        new = replace(new, digest=audit.digest_of(new))
        new = replace(new, hash=audit.hash_of(previous, new))
        made = [*made, new]
        previous = new.hash
    return made


def at(found, number, **changes):
    return [replace(each, **changes) if each.id == number else each for each in found]


WHOLE = lines()
REWRITE = [(12, "up to here it is another record than when the checkpoint was signed")]
CUT = (12, "the end is cut off: the checkpoint has seen 12 lines")
#: What was done -> the record as it then is, how many lines the register says, and what is found where.
TAMPERINGS = {
    "time altered": (at(WHOLE, 4, at=1), 12, [(4, ALTERED)]),
    "actor altered": (at(WHOLE, 4, actor="operator:bob"), 12, [(4, ALTERED)]),
    "address of an actor altered": (at(WHOLE, 5, actor="address:192.0.2.99"), 12, [(5, DETAIL)]),
    "act altered": (at(WHOLE, 4, action="user.disabled"), 12, [(4, ALTERED)]),
    "subject altered": (at(WHOLE, 4, subject="K9"), 12, [(4, ALTERED)]),
    "reason altered": (at(WHOLE, 4, why="b"), 12, [(4, ALTERED)]),
    "result altered": (
        at(WHOLE, 4, result="refused"),
        12,
        [(4, "user.changed cannot have ended as refused"), (4, ALTERED)],
    ),
    "detail altered": (at(WHOLE, 4, detail="{}"), 12, [(4, DETAIL)]),
    "salt altered": (at(WHOLE, 4, salt="0"), 12, [(4, DETAIL)]),
    "detail taken away": (
        at(WHOLE, 4, detail=None, salt=None),
        12,
        [(4, "its detail was taken away, and no purge says so")],
    ),
    "half of the detail taken away": (
        at(WHOLE, 4, salt=None),
        12,
        [(4, "half of its detail was taken away")],
    ),
    "detail and digest altered": (
        at(WHOLE, 4, detail="{}", digest=audit.digest_of(replace(WHOLE[3], detail="{}"))),
        12,
        [(4, ALTERED)],
    ),
    "hash altered": (at(WHOLE, 4, hash="0" * 64), 12, [(4, ALTERED), (5, ALTERED)]),
    "line altered with its hash": (
        at(WHOLE, 4, subject="K9", hash=audit.hash_of(WHOLE[2].hash, replace(WHOLE[3], subject="K9"))),
        12,
        [(5, ALTERED)],
    ),
    "line taken out": (WHOLE[:3] + WHOLE[4:], 12, [(4, "line 4 is missing")]),
    "lines taken out": (WHOLE[:3] + WHOLE[7:], 12, [(4, "lines 4 to 7 are missing")]),
    "line taken out, the rest numbered anew": (
        WHOLE[:3] + [replace(each, id=each.id - 1) for each in WHOLE[4:]],
        11,
        [*((number, ALTERED) for number in range(4, 12)), CUT],
    ),
    "beginning cut off": (WHOLE[3:], 12, [(1, "lines 1 to 3 are missing, and no retirement says so")]),
    "end cut off": (
        WHOLE[:9],
        12,
        [
            (10, "the end is cut off: 12 lines were written, the last is 9"),
            (10, "the end is cut off: the checkpoint has seen 12 lines"),
        ],
    ),
    "end cut off, with the count": (
        WHOLE[:9],
        9,
        [(10, "the end is cut off: the checkpoint has seen 12 lines")],
    ),
    "line added in between": (
        [*WHOLE[:4], replace(WHOLE[3], subject="K9"), *WHOLE[4:]],
        12,
        [(4, "it is there twice, or out of its order")],
    ),
    "line added at the end": (
        [*WHOLE, replace(WHOLE[11], id=13)],
        12,
        [(13, ALTERED), (13, "lines that nobody wrote: 12 were written, the last is 13")],
    ),
    "two lines exchanged": (
        [*WHOLE[:3], replace(WHOLE[4], id=4), replace(WHOLE[3], id=5), *WHOLE[5:]],
        12,
        [(4, ALTERED), (5, ALTERED), (6, ALTERED)],
    ),
    "rewritten from a line on": (rewritten(WHOLE, 6, subject="K9"), 12, REWRITE),
    "rewritten as a whole": (lines(seed="b"), 12, REWRITE),
    "emptied": ([], 12, [(1, "the end is cut off: 12 lines were written, the last is 0"),
                         (1, "the end is cut off: the checkpoint has seen 12 lines")]),
    "emptied, with the count": ([], 0, [(1, "the end is cut off: the checkpoint has seen 12 lines")]),
    "replaced by another's": (
        lines(15, seed="b"),
        15,
        REWRITE,
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", TAMPERINGS)
def test_each_tampering_is_found_where_it_was(what):
    """Twenty-five and more, the cut end and the full rewrite among them, each with its line and words."""
    found, counted, wanted = TAMPERINGS[what]
    told = list(verify(found, counted, [checkpoint(WHOLE, 12)]))
    assert set(told) == {Trouble(*each) for each in wanted}, told


def test_the_list_is_long_enough_and_the_whole_record_passes():
    """The twin: an untouched record has nothing wrong, with and without a checkpoint."""
    assert len(TAMPERINGS) >= 25
    assert list(verify(WHOLE, LINES)) == []
    assert list(verify(WHOLE, LINES, [checkpoint(WHOLE, 3), checkpoint(WHOLE, 12)])) == []


def test_without_a_checkpoint_a_rewrite_passes():
    """What a chain cannot tell by itself, and why checkpoints leave the machine."""
    assert list(verify(lines(seed="b"), LINES)) == []
    assert list(verify(WHOLE[:9], 9)) == []


def test_numbers_are_written_as_ranges():
    """And come back."""
    assert ranges_of([3, 5, 6, 7, 9]) == "3,5-7,9"
    assert list(audit.numbers_in("3,5-7,9")) == [3, 5, 6, 7, 9]


# -- in a database -------------------------------------------------------------------------------------


def deployment_of(tmp_path, ra):
    keys = open_vaults(tmp_path / "data/vault.json", PASSPHRASE).keys
    return SimpleNamespace(
        data=tmp_path / "data", ra=ra, datadir=SimpleNamespace(keys=keys, authority=ra.authority)
    )


def troubles(tmp_path, ra, *files):
    return list(record.troubles(deployment_of(tmp_path, ra), [(each, each.read_text()) for each in files]))


async def test_a_record_that_an_earlier_version_began_goes_on(tmp_path):
    """Its counter is told the last line's hash once, by the step that brings the tables up to date."""
    async with open_office(tmp_path) as ra:
        await admit(ra)
        (told,) = (each for each in SCHEMA.steps if each.name == "record ends")
        tamper(ra, "UPDATE counters SET said = '' WHERE name = 'audit'", *told.statements)
        await admit(ra, "K00000001")
        assert troubles(tmp_path, ra) == []
        tamper(ra, "UPDATE counters SET said = '' WHERE name = 'audit'")
        await admit(ra, "K00000002")
        (trouble,) = troubles(tmp_path, ra)
        assert trouble.what == "it was altered, or does not follow the line before it"


async def test_what_people_do_is_one_chain(tmp_path):
    """Everything that the product writes is chained: after a purge and a retirement, which the record tells
    of, it is whole; what was taken away without one is found."""
    async with open_office(tmp_path) as ra:
        await admit(ra)
        before = len(store.audit_page(look(ra.database), None, 1_000))
        assert before > 2
        assert troubles(tmp_path, ra) == []
        await record.take(deployment_of(tmp_path, ra))
        about = [each["id"] for each in store.audit_page(look(ra.database), "K12345678", 1_000)]
        at = ra.now()
        await ra.database.write(lambda db: purge(db, at, "operator:ann", "K12345678", about))
        purged = {each["id"]: each["detail"] for each in store.audit_page(look(ra.database), None, 1_000)}
        assert all(purged[number] == {} for number in about)
        assert troubles(tmp_path, ra) == []
        until = await ra.database.write(lambda db: retire(db, at, "operator:ann", at + 1))
        assert (until, next(each.id for each in record.lines(ra.database))) == (before + 1, before + 2)
        assert await ra.database.write(lambda db: retire(db, at, "operator:ann", at - 99)) == 0
        assert troubles(tmp_path, ra) == []
        tamper(ra, "UPDATE audit SET detail = NULL, salt = NULL WHERE action = 'audit.retired'")
        assert [each.what for each in troubles(tmp_path, ra)] == [
            "its detail was taken away, and no purge says so"
        ]


@IN_A_FILE
async def test_the_lines_of_a_commit_are_written_in_one_statement(tmp_path):
    """However many works it has; more than a few dozen in a few. A line that is no text is its own work's
    fault, and nobody else's."""
    async with open_office(tmp_path) as ra:

        def work(count, subject="K", asked=None):
            def tell(db):
                if asked is not None:
                    db.conn.set_trace_callback(asked.append)
                for number in range(count):
                    store.audit(db, ra.now(), "operator:ann", "user.changed", subject, number=number)

            return ra.database.write(tell)

        for count, statements in ((3, 1), (32, 1), (70, 3)):
            asked = []
            await work(count, asked=asked)
            await ra.database.write(lambda db: db.conn.set_trace_callback(None))
            done = [" ".join(each.split()[:3]) for each in asked]
            assert (done.count("INSERT INTO audit"), done.count("UPDATE counters SET")) == (statements, 1)
        ended = await asyncio.gather(work(1), work(2, "\ud800"), work(1), return_exceptions=True)
        assert [type(each) for each in ended] == [type(None), UnicodeEncodeError, type(None)]
        assert ra.database.read_now(store.audit_counted) == 107
        assert troubles(tmp_path, ra) == []


async def test_a_work_reads_what_it_has_just_told(tmp_path):
    """And what the works before it in the same commit have told."""
    async with open_office(tmp_path) as ra:

        def work(db):
            store.audit(db, ra.now(), "ann", "certificate.revoked", "1f")
            return operators.revocations(db, "ann", 0), store.audit_counted(db)

        assert [await ra.database.write(work) for _ in range(2)] == [(1, 1), (2, 2)]


@pytest.mark.slow
def test_whoever_reads_the_trail_has_it_written_first():
    """What was told in the same commit is among it."""
    root, asked = Path(audit.__file__).parent.parent, []
    for path in (each for room in ("ca", "enroll", "gateway") for each in (root / room).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = ast.unparse(node)
                if re.search(r"\b(FROM|INTO|UPDATE|JOIN) audit\b|name = .?'audit", body):
                    asked.append((path.name, node.name, "db.settle()" in body))
    assert len(asked) > 8
    assert [each for each in asked if not each[2]] == []


async def test_a_checkpoint_in_the_journal_and_in_a_file_finds_a_rewrite(tmp_path):
    """Taken by the hour; one that left the machine is enough, and a forged one is none."""
    async with open_office(tmp_path) as ra:
        await admit(ra)
        deployment, keeper = deployment_of(tmp_path, ra), record.Keeper()
        first = await keeper.look(deployment)
        assert first is not None
        await admit(ra, "K00000001")
        assert await keeper.look(deployment) is None
        clock_of(ra).advance(hours=1)
        second = await keeper.look(deployment)
        assert second.number > first.number
        clock_of(ra).advance(hours=1)
        assert await keeper.look(deployment) is None  # nothing new
        away = tmp_path / "away"
        away.write_text("noise\n<109>1 x y z - - " + audit.written(second) + "\n")
        assert troubles(tmp_path, ra, away) == []
        forged = tmp_path / "forged"
        forged.write_text(audit.written(replace(second, number=1)))
        assert "is not this gateway's, or was altered" in troubles(tmp_path, ra, forged)[0].what
        assert checkpoints_in((tmp_path / "data/journal/000000000001.jsonl").read_text()) == [first, second]
        tamper(ra, f"DELETE FROM audit WHERE id >= {second.number}",
               f"UPDATE counters SET value = {second.number - 1} WHERE name = 'audit'")  # fmt: skip
        cut = Trouble(second.number, f"the end is cut off: the checkpoint has seen {second.number} lines")
        assert troubles(tmp_path, ra) == [cut]
        (tmp_path / "data/journal/000000000001.jsonl").unlink()
        assert troubles(tmp_path, ra, away) == [cut]


async def test_a_thousand_lines_are_a_checkpoint(tmp_path):
    """However little time has passed."""
    async with open_office(tmp_path) as ra:
        deployment, keeper = deployment_of(tmp_path, ra), record.Keeper()

        def many(count):
            def work(db):
                for number in range(count):
                    store.audit(db, ra.now(), "operator:ann", "user.changed", str(number))

            return work

        await ra.database.write(many(1))
        first = await keeper.look(deployment)
        await ra.database.write(many(999))
        assert await keeper.look(deployment) is None
        await ra.database.write(many(1))
        assert (await keeper.look(deployment)).number == first.number + 1_000
        assert troubles(tmp_path, ra) == []


async def test_an_export_proves_itself(tmp_path):
    """Lines, the checkpoint over them and the key: whoever has the file needs nothing of ours."""
    async with open_office(tmp_path) as ra:
        await admit(ra)
        made = await record.take(deployment_of(tmp_path, ra))
        public = record.public_key(deployment_of(tmp_path, ra))
        text = list(record.export(record.lines(ra.database), made, public))
        came = [Line(**json.loads(each)["line"]) for each in text[:-1]]
        proof = checkpoints_in(text[-1])
        assert list(verify(came, len(came), proof)) == []
        assert json.loads(text[-1])["key"] == public
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public))
        assert audit.is_ours(key, proof[0], recovery.journal_of(tmp_path / "data").ca)
        assert [each.number for each in verify(at(came, 2, subject="x"), len(came), proof)] == [2]


def tamper(ra, *statements):
    ra.database.write_now(lambda db: [db.execute(each) for each in statements])


# -- signed by who has the keys ------------------------------------------------------------------------


async def test_whoever_has_the_register_and_the_gateways_vault_forges_no_checkpoint(tmp_path):
    """The key is the keys' vault's: what the gateway's own derives verifies nowhere."""
    async with open_office(tmp_path) as ra:
        await admit(ra)
        deployment = deployment_of(tmp_path, ra)
        made = await record.take(deployment)
        own = audit.key_of(ra.vault.derive("audit checkpoint"))
        forged = tmp_path / "forged"
        forged.write_text(audit.written(audit.sign(own, replace(made, hash="0" * 64))))
        assert "is not this gateway's, or was altered" in troubles(tmp_path, ra, forged)[0].what


#: What was done to the record after a checkpoint of it -> the refusal of another one.
FORKS = {
    "rewritten": (lambda last: ["UPDATE audit SET hash = 'f0' WHERE id = 2"], None),
    "the line that was signed for": (
        lambda last: [f"UPDATE audit SET hash = 'f0' WHERE id = {last}"],
        "line {last} of the record is another one than was signed for",
    ),
    "cut": (
        lambda last: [f"DELETE FROM audit WHERE id > {last - 1}",
                      f"UPDATE counters SET value = {last - 1} WHERE name = 'audit'"],
        "the record has {before} lines, and {last} were signed for",
    ),
    "a line altered since": (
        lambda last: [f"UPDATE audit SET subject = 'x' WHERE id = {last + 1}"],
        "line {after} of the record does not follow the one before it",
    ),
    "a line taken out since": (
        lambda last: [f"DELETE FROM audit WHERE id = {last + 1}"],
        "line {after} of the record is missing",
    ),
    "more counted than there are": (
        lambda last: ["UPDATE counters SET value = value + 1 WHERE name = 'audit'"],
        "line {new} of the record is missing",
    ),
}  # fmt: skip


@pytest.mark.parametrize("tampering", FORKS)
async def test_no_second_record_is_signed_for(tmp_path, tampering):
    """What was signed for is remembered, and each line since is looked at: another record is refused, until
    an operator says that it counts."""
    statements, refusal = FORKS[tampering]
    async with open_office(tmp_path) as ra:
        await admit(ra)
        deployment = deployment_of(tmp_path, ra)
        last = (await record.take(deployment)).number
        await admit(ra, "K00000001")
        new = 1 + ra.database.read_now(store.audit_counted)
        tamper(ra, *statements(last))
        if (
            refusal is None
        ):  # before what was signed for: verify finds it, and the next one holds what is there
            assert (await record.take(deployment)).number > last
            assert troubles(tmp_path, ra) != []
            return
        words = refusal.format(last=last, before=last - 1, after=last + 1, new=new)
        with pytest.raises(ConfigError, match=words):
            await record.take(deployment)
        if tampering == "cut":
            assert record.adopt(deployment)[0] == last
            assert (await record.take(deployment)).number == last - 1
