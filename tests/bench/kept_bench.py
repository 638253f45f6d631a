"""What an order pays for what is kept of it (the journal of what never goes backwards, the audit trail), and
for an issuing key of RSA.

Run as ``python -m tests.bench.kept_bench [--orders N] [--rounds N]``. The same server runs whole, without its
journal, without its audit trail, and with an RSA-3072 key; rounds alternate between them. CPU is that of all
of a server's processes, the wait that of a client, eight of which order at once.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import uvloop

from tests.bench.acme_bench import alternating
from tests.bench.acme_load import Client, prepare_csrs, run_load
from tests.bench.acme_servers import Target, sekisho
from tests.bench.figures import Figures
from tests.bench.tls_bench import cpu

_WHOLE, _RSA = "sekisho", "with an RSA-3072 key"
_AT_ONCE, _AIM = 8, 10
_CPU, _WAIT = "CPU an order, ms", "an order takes, p50, ms"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--orders", type=int, default=150, help="in each round")
    parser.add_argument("--rounds", type=int, default=12)
    options = parser.parse_args()
    with ExitStack() as running:
        targets = {}
        for title in (_WHOLE, *_LESS, _RSA):
            folder = Path(running.enter_context(tempfile.TemporaryDirectory()))
            by = (sys.executable, "-m", "tests.bench.kept_bench", title) if title in _LESS else ()
            key = ("--issuing-key", "rsa-3072") if title == _RSA else ()
            targets[title] = running.enter_context(sekisho(folder, served_by=by, made_with=key))
        figures = uvloop.run(_rounds(targets, options.rounds, options.orders))
    figures.report()
    for title in _LESS:
        for what in (_CPU, _WAIT):
            shares = [100 * (1 / each - 1) for each in figures.ratios(title, what)]
            print(f"{title}: {what}: what is left out adds {_spread(shares)}; aim: {_AIM} % at most")


async def _rounds(targets: Mapping[str, Target], rounds: int, count: int) -> Figures:
    return await alternating(
        Figures(_WHOLE), targets, rounds, _AT_ONCE, lambda target, clients: _round(target, clients, count)
    )


async def _round(target: Target, clients: list[Client], count: int) -> dict[str, float]:
    csrs = prepare_csrs(target.name, count)
    before = cpu(target.pid)
    _, took = await run_load(clients, csrs, {})
    return {_CPU: (cpu(target.pid) - before) / count * 1000, _WAIT: statistics.median(took) * 1000}


def _spread(shares: list[float]) -> str:
    """The median of the rounds, and the half of them in the middle: if that is on both sides of nothing, the
    machine was too busy to say."""
    if len(shares) < 4:
        return ", ".join(f"{each:+.0f} %" for each in shares)
    low, middle, high = statistics.quantiles(shares, n=4)
    return f"{middle:+.0f} % (half of the rounds: {low:+.0f} to {high:+.0f} %)"


# -- the same server with less -------------------------------------------------------------------------


def _without_journal() -> None:
    from ca.sqlite import Database

    plain = Database.__init__

    def opened(self: Any, *arguments: Any, **more: Any) -> None:
        plain(self, *arguments, **(more | {"journal": None}))

    Database.__init__ = opened  # type: ignore[method-assign]


def _without_audit() -> None:
    from enroll import store

    store.audit = lambda *_, **__: None


#: What is left out -> how. A server of this kind is for nothing but to be measured.
_LESS: Mapping[str, Callable[[], None]] = {
    "without the journal": _without_journal,
    "without the audit": _without_audit,
}


def _serve(title: str) -> None:
    from gateway.cli import main as command

    _LESS[title]()
    sys.argv = ["sekisho", *sys.argv[2:]]
    command()


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in _LESS:
        _serve(sys.argv[1])
    else:
        main()
