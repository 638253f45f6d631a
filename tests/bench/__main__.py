"""Every measurement, one after the other, and at the end the README's tables, ready to paste.

Run as ``make bench``, or ``make bench QUICK=1`` for all of it with less of everything: the first line says
how long it takes. Two at once would measure each other. What a measurement prints is kept in
``bench-results/``; one that fails, or takes five times as long as it should, is named at the end.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench import builds
from tests.bench.figures import Figures
from tests.started import started

_RESULTS = Path("bench-results")
_WHEEL = 45
# What measures the wheel beside the source tree.
_COMPILED = ("proxy_bench", "tls_bench", "floor", "service_bench", "acme_bench")
_PATIENCE = 5


@dataclass(frozen=True)
class Measurement:
    """A module here; how many seconds it takes on two quiet cores, whole and quick; what makes it quick."""

    name: str
    whole: int
    quick: int
    less: str

    @property
    def module(self) -> str:
        return f"tests.bench.{self.name}"


#: The gateway first: whoever stops early has the most of it.
MEASUREMENTS = (
    Measurement("proxy_bench", 170, 75, "--rounds 3 --seconds 1 --connections 150"),
    Measurement("tls_bench", 150, 60, "--rounds 3 --seconds 1 --connections 150"),
    Measurement("floor", 110, 45, "--rounds 3 --seconds 1 --connections 100"),
    Measurement("service_bench", 70, 60, "--rounds 3 --requests 1000"),
    Measurement("acme_bench", 330, 80, "--rounds 2 --orders 150 --concurrency 8"),
    Measurement("order_bench", 60, 30, "--rounds 3 --orders 60"),
    Measurement("nodes_bench", 65, 40, "--rounds 2 --orders 80 --people 5"),
    Measurement("pickup_bench", 40, 30, "--people 20"),
    Measurement("workers_bench", 50, 30, "--seconds 1"),
    Measurement("full_bench", 200, 45, "--stored 50000 --orders 100 --rounds 2"),
    Measurement("kept_bench", 80, 35, "--orders 80 --rounds 3"),
    Measurement("crl_bench", 100, 30, "--revoked 50000 --seconds 5"),
    Measurement("revocation_bench", 90, 25, "--rounds 3 --seconds 1 --revoked 50000"),
    Measurement("signer_bench", 150, 25, "--signatures 200 --stored 20000"),
    Measurement("operator_bench", 150, 20, "--users 1000 --certificates 5000 --import 500"),
    Measurement(
        "console_bench",
        700,
        60,
        "--users 400 --organisations 60 --certificates 8000 --audit 4000 --rounds 2 --import 300",
    ),
    Measurement("job_bench", 220, 15, "--rows 2000 --done 200"),
    Measurement("report_bench", 150, 7, "--users 1000 --certificates 20000 --rounds 20"),
)


@dataclass(frozen=True)
class Table:
    """One of the README's: of which measurement (and what it says above, where it prints several)."""

    title: str
    of: str
    rows: Mapping[str, str]
    heading: str = ""


#: What the README shows: the words for a figure, and its name where it was measured.
TABLES = (
    Table(
        "TLS",
        "tls_bench",
        {
            "CPU per fresh connection, ms": "fresh connection, CPU ms",
            "CPU per kept-alive request, µs": "kept-alive request, CPU us",
            "kept-alive requests a second": "kept-alive requests a second",
            "memory per idle connection, KiB": "idle connection, KiB",
        },
    ),
    Table(
        "Proxy",
        "proxy_bench",
        {
            "CPU per kept-alive request, µs": "kept-alive request, CPU us",
            "with a certificate, one at a time, µs": "request with a certificate, CPU us",
            "fresh mutual-TLS connection, ms": "fresh connection, CPU ms",
            "added latency p50, µs": "added latency p50, us",
            "added latency p99, µs": "added latency p99, us",
            "100 MB down, MB/s": "100 MB down, MB a second",
            "100 MB up, MB/s": "100 MB up, MB a second",
            "memory per idle connection, KiB": "idle connection, KiB",
        },
    ),
    Table(
        "A gateway as it is run, one request at a time",
        "service_bench",
        {"CPU per request, µs": "one request at a time, CPU us"},
    ),
    Table(
        "Floors: a kept-alive request",
        "floor",
        {"CPU per request, µs": "kept-alive request, CPU us"},
        "kept:",
    ),
    Table(
        "Floors: a fresh connection",
        "floor",
        {"CPU per connection, ms": "fresh connection, CPU ms"},
        "fresh:",
    ),
    Table("Floors: an idle connection", "floor", {"memory, KiB": "idle connection, KiB"}, "idle:"),
    Table(
        "Protocol, 8 at once",
        "acme_bench",
        {
            "orders a second": "orders a second",
            "p50, ms": "p50, ms",
            "p99, ms": "p99, ms",
            "CPU per order, ms": "CPU an order, ms",
        },
        "8 at once:",
    ),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="less of everything")
    parser.add_argument("--only", nargs="*", choices=[each.name for each in MEASUREMENTS], default=[])
    options = parser.parse_args()
    chosen = [each for each in MEASUREMENTS if not options.only or each.name in options.only]
    print(announced(chosen, quick=options.quick), flush=True)
    begun = time.monotonic()
    if any(each.name in _COMPILED for each in chosen):
        builds.keep()
    failed = [each.name for each in chosen if not run(each, quick=options.quick)]
    print("\n== the README's tables: medians (least to most), and in how many times the first one's")
    for each in TABLES:
        if any(each.of == measured.name for measured in chosen) and each.of not in failed:
            print("\n".join(("", *markdown(each))))
    print(f"\n{(time.monotonic() - begun) / 60:.1f} minutes.")
    if failed:
        sys.exit(f"Failed or not at their end in time: {', '.join(failed)} (see {_RESULTS}/).")


def announced(chosen: Sequence[Measurement], *, quick: bool) -> str:
    """How long it takes."""
    wheel = _WHEEL if any(each.name in _COMPILED for each in chosen) else 0
    seconds = wheel + sum(each.quick if quick else each.whole for each in chosen)
    less = "" if quick else "; QUICK=1 takes less"
    return f"{len(chosen)} measurements take {seconds / 60:.0f} minutes on two quiet cores{less}."


def run(one: Measurement, *, quick: bool) -> bool:
    """One measurement, shown as it goes and kept; whether it came to its end."""
    words = one.less.split() if quick else []
    expected = one.quick if quick else one.whole
    print(f"\n== {one.name} ({expected} s): python -m {' '.join((one.module, *words))}", flush=True)
    _RESULTS.mkdir(exist_ok=True)
    command = ["timeout", "--kill-after=10", str(expected * _PATIENCE + 60)]
    command += [sys.executable, "-u", "-m", one.module, *words]
    both = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    begun = time.monotonic()
    with started(command, text=True, **both) as process, _file(one.name).open("w") as kept:
        assert process.stdout is not None
        for line in process.stdout:
            kept.write(line)
            if not (line.startswith("{") and '": {' in line):  # every single round, for programs
                print(line, end="", flush=True)
        ended = process.wait() == 0
    print(f"   {time.monotonic() - begun:.0f} s{'' if ended else ', FAILED'}", flush=True)
    return ended


def markdown(table: Table) -> Iterator[str]:
    """A table as the README has them: a column for each server, a row for each figure."""
    figures = _read(table)
    yield f"**{table.title}**"
    yield ""
    if figures is None:
        yield "(nothing was measured)"
        return
    servers = figures.servers()
    yield f"| | {' | '.join(servers)} |"
    yield "|---" * (len(servers) + 1) + "|"
    for words, key in table.rows.items():
        yield f"| {words} | {' | '.join(figures.cell(server, key) for server in servers)} |"


def _read(table: Table) -> Figures | None:
    """The rounds that a measurement printed as JSON, below the table's heading."""
    below = not table.heading
    for line in _file(table.of).read_text().splitlines():
        if table.heading and line == table.heading:
            below = True
        elif below and line.startswith("{"):
            rounds = json.loads(line)
            return Figures.of(next(iter(rounds), ""), rounds)
    return None


def _file(name: str) -> Path:
    return _RESULTS / f"{name}.txt"


if __name__ == "__main__":
    main()
