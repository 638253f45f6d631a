"""Heavy work beside the event loop."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from pickle import PicklingError

import pytest

from ca.keys import from_pkcs8, generate_pkcs8, kind_of
from ca.workers import KeyStock, Workers


@pytest.fixture
async def workers() -> AsyncIterator[Workers]:
    made = Workers(processes=1)
    yield made
    made.close()


async def test_work_runs_elsewhere_and_comes_back(workers: Workers) -> None:
    """Another process does it, at a lower priority."""
    assert await workers.run(os.getpid) != os.getpid()
    assert await workers.run(os.nice, 0) > os.nice(0)
    assert await workers.run_in_thread(os.getpid) == os.getpid()


async def test_an_exception_comes_back_as_itself(workers: Workers) -> None:
    """What the work raises is raised at the caller, and the worker lives on."""
    with pytest.raises(KeyError):
        await workers.run(generate_pkcs8, "rsa-512")
    assert await workers.run(abs, -1) == 1


async def test_a_killed_worker_costs_nothing_but_time(workers: Workers) -> None:
    """kill -9 on the worker, idle or under way: the work is done by its successor."""
    victim = await workers.run(os.getpid)
    running = asyncio.create_task(workers.run(time.sleep, 0.3))
    await asyncio.sleep(0.1)
    os.kill(victim, signal.SIGKILL)
    await running
    successor = await workers.run(os.getpid)
    assert successor != victim
    os.kill(successor, signal.SIGKILL)
    assert await asyncio.gather(*(workers.run(abs, -i) for i in range(5))) == [0, 1, 2, 3, 4]


async def test_closed_workers_take_no_work() -> None:
    """After the end nothing starts again, and closing twice is closing."""
    made = Workers(processes=1)
    pid = await made.run(os.getpid)
    made.close()
    made.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(RuntimeError, match="closed"):
        await made.run(abs, -1)
    with pytest.raises(RuntimeError, match="closed"):
        await made.run_in_thread(abs, -1)


def _kills_itself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
async def test_work_that_kills_its_process_is_given_up(workers: Workers) -> None:
    """Three processes die of it, its caller is told, and what comes next is done."""
    with pytest.raises(RuntimeError, match="3 processes have died of the same work"):
        await workers.run(_kills_itself)
    assert await workers.run(abs, -1) == 1


async def test_what_cannot_be_told_or_answered_is_an_error_of_its_caller(workers: Workers) -> None:
    """Work, or a value, that cannot be pickled: the worker lives on."""
    victim = await workers.run(os.getpid)
    with pytest.raises((AttributeError, PicklingError)):
        await workers.run(lambda: 1)
    with pytest.raises((TypeError, PicklingError)):
        await workers.run(threading.Lock)
    assert await workers.run(os.getpid) == victim


async def test_nothing_is_left_by_who_is_killed(workers: Workers) -> None:
    """No semaphore with a name, which stays in /dev/shm when all processes are killed at once."""
    await workers.run(abs, -1)
    mapped = Path("/proc/self/maps").read_text().splitlines()
    assert [line for line in mapped if "/dev/shm/sem." in line and not line.endswith("(deleted)")] == []


async def test_nothing_starts_before_it_is_needed(workers: Workers) -> None:
    """An idle gateway has no worker processes."""
    assert workers._process_pool is None
    assert workers._thread_pool is None


async def test_the_stock_hands_out_each_key_once(workers: Workers) -> None:
    """Keys from stock and keys made on demand are all different, and of the kind asked for."""
    stock = KeyStock(workers, "rsa-2048", size=2)
    stock.refill()
    async with asyncio.timeout(60):
        while stock.level < 2:
            await asyncio.sleep(0.01)
    taken = await asyncio.gather(*(stock.take() for _ in range(4)))
    assert len(set(taken)) == 4
    assert {kind_of(from_pkcs8(k).public_key()) for k in taken} == {"rsa-2048"}
    await stock.close()
    assert stock.level == 0


async def test_an_empty_stock_does_not_fail(workers: Workers) -> None:
    """A stock that was never filled makes the key there and then."""
    stock = KeyStock(workers, "rsa-2048", size=0)
    assert kind_of(from_pkcs8(await stock.take()).public_key()) == "rsa-2048"
    await stock.close()


async def test_keys_of_a_curve_need_no_stock(workers: Workers) -> None:
    """They are made when they are asked for, each another one, and no process is started for them."""
    stock = KeyStock(workers, "ec-p256", size=3)
    stock.refill()
    taken = {await stock.take() for _ in range(8)}
    assert len(taken) == 8
    assert {kind_of(from_pkcs8(each).public_key()) for each in taken} == {"ec-p256"}
    assert (stock.level, stock.size, workers._process_pool) == (0, 3, None)
    await stock.close()


_ORPHAN = """
import asyncio, os
from ca.workers import Workers

async def main():
    print(await Workers(processes=1).run(os.getpid), flush=True)
    os.kill(os.getpid(), 9)

if __name__ == "__main__":
    asyncio.run(main())
"""


def test_workers_end_with_a_killed_parent(tmp_path: Path) -> None:
    """kill -9 on the gateway leaves no worker behind."""
    (tmp_path / "orphan.py").write_text(_ORPHAN)
    environ = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, str(tmp_path / "orphan.py")],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environ,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    pid = int(done.stdout)
    deadline = time.monotonic() + 60
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        if (Path(f"/proc/{pid}/stat")).read_text().split()[2] == "Z":
            break
        time.sleep(0.02)
    else:
        assert not Path(f"/proc/{pid}").exists()


_ELSEWHERE = """
import asyncio, sys
print("imported", flush=True)
from ca.workers import Workers

async def main():
    workers = Workers(processes=2)
    found = await workers.run(eval, "'gateway' in __import__('sys').modules")
    workers.close()
    print(found, sys.modules["__main__"].__spec__)

if __name__ == "__main__":
    import gateway
    asyncio.run(main())
"""


def test_a_worker_runs_no_command_again(tmp_path: Path) -> None:
    """Python's own way to start one runs the file of the command once more: of ``sekisho`` that would be all
    of the gateway, a second of work and its memory, for each process."""
    script = tmp_path / "command"
    script.write_text(_ELSEWHERE)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "imported\nFalse None\n", "")
