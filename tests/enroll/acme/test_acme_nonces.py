"""A nonce is good once, for a while, in any worker, and for nobody who did not get it from us."""

import asyncio
import base64
import multiprocessing
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ca.errors import ConfigError
from ca.postgresql.database import Database
from enroll.acme import store
from enroll.acme.nonces import (
    LIFETIME,
    SLOTS,
    Nonces,
    SharedNonces,
    create_table,
    memory_table,
    open_table,
)
from enroll.acme.wire import decode_base64url
from enroll.problems import Problem
from tests import databases
from tests.locks import waits_until_let_go

SECRET = b"s" * 32
AT = 1_800_000_000
SMALL = 8_192


def outcome(nonces: Nonces, nonce: str, at: int = AT) -> str:
    try:
        nonces.spend(nonce, at)
    except Problem as problem:
        return problem.name
    return "spent"


def test_spent_once() -> None:
    """RFC 8555 section 6.5: a nonce is accepted once; the second time is badNonce."""
    nonces = Nonces(memory_table(), SECRET)
    first, second = nonces.fresh(AT), nonces.fresh(AT)
    assert [outcome(nonces, n) for n in (second, first, first, second)] == [
        "spent",
        "spent",
        "badNonce",
        "badNonce",
    ]


def test_nonces_expire() -> None:
    """Good to the last second of their life, bad after it and before their time."""
    nonces = Nonces(memory_table(), SECRET)
    assert outcome(nonces, nonces.fresh(AT), AT + LIFETIME) == "spent"
    assert outcome(nonces, nonces.fresh(AT), AT + LIFETIME + 1) == "badNonce"
    assert outcome(nonces, nonces.fresh(AT), AT - 1) == "badNonce"


def test_another_servers_nonce() -> None:
    """Another secret, or the same one after a restart, makes a nonce bad, never an error of ours."""
    nonce = Nonces(memory_table(), SECRET).fresh(AT)
    assert outcome(Nonces(memory_table(), b"t" * 32), nonce) == "badNonce"
    assert outcome(Nonces(memory_table(), SECRET), nonce) == "badNonce"


def test_every_altered_bit_is_noticed() -> None:
    """Nobody can make a nonce out of another."""
    nonces = Nonces(memory_table(), SECRET)
    good = decode_base64url(nonces.fresh(AT), "nonce")
    for place in range(len(good) * 8):
        wrong = bytearray(good)
        wrong[place // 8] ^= 1 << place % 8
        assert outcome(nonces, base64.urlsafe_b64encode(wrong).rstrip(b"=").decode()) == "badNonce"


@given(st.text(st.sampled_from("AQgw-_+=é"), max_size=64))
def test_any_text_is_refused(text: str) -> None:
    """RFC 8555 section 6.5.2: not base64url is malformed; base64url of something else is badNonce."""
    assert outcome(NONCES, text) in ("malformed", "badNonce")


NONCES = Nonces(memory_table(), SECRET)


def test_nonces_are_base64url_and_unlike() -> None:
    """RFC 8555 section 6.5.1: base64url, never the same twice."""
    issued = [NONCES.fresh(AT) for _ in range(5_000)]
    assert len(set(issued)) == len(issued)
    assert len({nonce[:8] for nonce in issued}) == len(issued)
    assert {len(nonce) for nonce in issued} == {59}


def test_memory_stays_bounded() -> None:
    """The ring forgets the oldest, spent or not, and never accepts one twice for having forgotten it."""
    nonces = Nonces(memory_table(SMALL), SECRET)
    old = [nonces.fresh(AT) for _ in range(10)]
    assert [outcome(nonces, nonce) for nonce in old[:5]] == ["spent"] * 5
    later = [nonces.fresh(AT) for _ in range(3 * SMALL)]
    assert {outcome(nonces, nonce) for nonce in old} == {"badNonce"}
    assert [outcome(nonces, nonce) for nonce in later[-3:]] == ["spent"] * 3


def test_an_idle_worker_issues_good_nonces(tmp_path: Path) -> None:
    """Numbers drawn long ago are dropped before the others overtake them."""
    create_table(tmp_path / "nonces", SMALL)
    idle, busy = (Nonces(open_table(tmp_path / "nonces"), SECRET) for _ in range(2))
    idle.fresh(AT)
    for _ in range(10 * SMALL):
        busy.fresh(AT)
    assert outcome(busy, idle.fresh(AT)) == "spent"


def test_a_table_has_its_room_from_the_beginning(tmp_path: Path) -> None:
    """On a disk that fills up later no page is missing, which would end the worker that writes to it."""
    create_table(tmp_path / "nonces")
    found = (tmp_path / "nonces").stat()
    assert found.st_blocks * 512 >= found.st_size > SLOTS // 8


def test_any_worker_takes_any_nonce(tmp_path: Path) -> None:
    """A nonce of one worker is good at another, once, and after its own worker has died."""
    create_table(tmp_path / "nonces", SMALL)
    tables = [open_table(tmp_path / "nonces") for _ in range(2)]
    one, other = (Nonces(table, SECRET) for table in tables)
    first, second = one.fresh(AT), one.fresh(AT)
    assert outcome(other, first) == "spent"
    assert outcome(one, first) == "badNonce"
    tables[0].close()
    reborn = Nonces(open_table(tmp_path / "nonces"), SECRET)
    assert outcome(reborn, second) == "spent"
    assert outcome(other, second) == "badNonce"
    assert outcome(other, reborn.fresh(AT)) == "spent"


def test_restart_voids_what_was_issued(tmp_path: Path) -> None:
    """A new table is a new generation: what was spent and forgotten cannot come back."""
    create_table(tmp_path / "nonces", SMALL)
    before = Nonces(open_table(tmp_path / "nonces"), SECRET).fresh(AT)
    create_table(tmp_path / "nonces", SMALL)
    assert outcome(Nonces(open_table(tmp_path / "nonces"), SECRET), before) == "badNonce"


def _spend_all(path: Path, nonces: list[str], won: "multiprocessing.Queue[int]") -> None:
    mine = Nonces(open_table(path), SECRET)
    won.put(sum(outcome(mine, nonce) == "spent" for nonce in nonces))


def test_processes_race_for_the_same_nonces(tmp_path: Path) -> None:
    """Three processes and as many threads spend the same nonces: each nonce is spent exactly once."""
    path = tmp_path / "nonces"
    create_table(path)
    issued = [Nonces(open_table(path), SECRET).fresh(AT) for _ in range(20)]
    issuer = Nonces(open_table(path), SECRET)
    issued += [issuer.fresh(AT) for _ in range(3_000)]
    context = multiprocessing.get_context("fork")
    won: multiprocessing.Queue[int] = context.Queue()
    racers = [context.Process(target=_spend_all, args=(path, issued, won), daemon=True) for _ in range(3)]
    threads = [threading.Thread(target=_spend_all, args=(path, issued, won)) for _ in range(3)]
    for racer in [*racers, *threads]:
        racer.start()
    total = sum(won.get(timeout=60) for _ in range(6))
    for racer in [*racers, *threads]:
        racer.join()
    assert total == len(issued)


@pytest.mark.parametrize("verb", ["draw", "take"])
def test_who_holds_the_file_makes_the_others_wait(tmp_path: Path, verb: str) -> None:
    """Workers are other processes: drawing and spending wait for the lock of the file, whoever holds it."""
    path = tmp_path / "nonces"
    create_table(path, SMALL)
    table = open_table(path)
    number = table.draw()[0]
    work = table.draw if verb == "draw" else lambda: table.take(number)
    waited, done = waits_until_let_go(path, work)
    assert waited
    assert done in (True, range(1_024, 2_048))
    table.close()


def test_a_table_from_before_fork_is_refused(tmp_path: Path) -> None:
    """An inherited lock would exclude nobody, so using one is an error of ours, told at once."""
    create_table(tmp_path / "nonces", SMALL)
    table = open_table(tmp_path / "nonces")
    table._pid += 1
    with pytest.raises(RuntimeError, match="after fork"):
        table.draw()


@pytest.mark.parametrize("content", [b"", b"x", b"sekisho nonces 1" + bytes(40), bytes(100_000)])
def test_a_file_that_is_no_table(tmp_path: Path, content: bytes) -> None:
    """A ConfigError says what to do; the file is left alone."""
    (tmp_path / "nonces").write_bytes(content)
    with pytest.raises(ConfigError, match="start the server again"):
        open_table(tmp_path / "nonces")
    with pytest.raises(ConfigError, match="start the server again"):
        open_table(tmp_path / "absent")


def test_table_sizes() -> None:
    """Blocks may not wrap around the end of the ring."""
    for slots in (0, 1_000, 8_193):
        with pytest.raises(ValueError, match="multiple"):
            memory_table(slots)


@pytest.mark.slow
@databases.NEEDED
async def test_nodes_take_each_other_s_nonces_once(tmp_path):
    """Any node takes what any has issued, be its clock some minutes ahead; of twenty that take one at once at
    three nodes one does; a stranger's, and one that is too old, are none."""
    server = databases.patient(databases.url_of(tmp_path / "t"))
    made = [Database(server, tmp_path, made=False) for _ in range(3)]
    try:
        nodes = [SharedNonces(each, SECRET) for each in made]
        for issuer in nodes:
            nonce = issuer.fresh(AT + 300)
            took = await asyncio.gather(
                *(nodes[at % 3].spend(nonce, AT) for at in range(20)), return_exceptions=True
            )
            assert took.count(None) == 1
            assert {each.name for each in took if each is not None} == {"badNonce"}
        for nonce, at in (
            (SharedNonces(made[0], b"t" * 32).fresh(AT), AT),
            (nodes[0].fresh(AT), AT + LIFETIME + 1),
            (nodes[0].fresh(AT + LIFETIME), AT),
            (Nonces(memory_table(), SECRET).fresh(AT), AT),
        ):
            with pytest.raises(Problem) as refused:
                await nodes[1].spend(nonce, at)
            assert refused.value.name == "badNonce"
        made[0].write_now(lambda db: store.drop_old_nonces(db, AT + 2 * LIFETIME))
        assert made[0].read_now(lambda db: db.one("SELECT count(*) FROM acme_nonces")[0]) == 3
        made[0].write_now(lambda db: store.drop_old_nonces(db, AT + 2 * LIFETIME + 1))
        assert made[0].read_now(lambda db: db.one("SELECT count(*) FROM acme_nonces")[0]) == 0
    finally:
        for each in made:
            each.close()
