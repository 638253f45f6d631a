"""Very many orders through the protocol, one after the other: the server's memory has to stay flat.

Run as ``python -m tests.soak.orders [--orders 100000]``; exit code 1 if it does not.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import uvloop

from tests.bench.acme_bench import settled
from tests.bench.acme_load import clients_of, prepare_csrs, run_load
from tests.bench.acme_servers import sekisho
from tests.bench.full_bench import fill
from tests.bench.tls_bench import resident

# So many that the page caches, which are bounded, are full before the first sample that counts.
_STORED = 200_000
_CLIENTS = 8
_SAMPLES = 40
#: KiB per thousand orders: 100,000 orders may cost 6.4 MiB, which is a fragmented heap and no leak.
_MOST = 64.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--orders", type=int, default=100_000)
    orders = parser.parse_args().orders
    with tempfile.TemporaryDirectory() as name:
        seen = uvloop.run(memory_over(orders, Path(name)))
    slope = slope_of(seen[len(seen) // 2 :]) * 1000
    print(f"{slope:.1f} KiB per 1,000 orders in the second half; {_MOST:.0f} are allowed")
    return 0 if slope < _MOST else 1


async def memory_over(orders: int, folder: Path) -> list[tuple[int, float]]:
    """Orders done so far, and KiB of the server's memory then."""
    seen: list[tuple[int, float]] = []
    with sekisho(folder, lambda data: fill(data, _STORED)) as target:
        clients = await clients_of(target, _CLIENTS)
        await settled(target.pid)

        def sample(done: int) -> None:
            if done % max(orders // _SAMPLES, 1) == 0:
                seen.append((done, resident(target.pid)))
                print(f"{done:>8} orders {seen[-1][1] / 1024:>8.1f} MiB", flush=True)

        await run_load(clients, _csrs(target.name, orders), {}, sample)
    return seen


def slope_of(points: list[tuple[int, float]]) -> float:
    """Least squares: how much the second grows per unit of the first."""
    x_mean, y_mean = (sum(point[axis] for point in points) / len(points) for axis in (0, 1))
    over = sum((x - x_mean) * (y - y_mean) for x, y in points)
    return over / sum((x - x_mean) ** 2 for x, _ in points)


def _csrs(name: str, count: int) -> Iterator[str]:
    return (csr for _ in range(count) for csr in prepare_csrs(name, 1))


if __name__ == "__main__":
    sys.exit(main())
