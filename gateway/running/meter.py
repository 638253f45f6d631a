"""What is counted and written down about connections and requests, on their way: cheap, and no identity
in what is counted."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from typing import Any

from ca.trust import Rejection, VerifiedPeer
from gateway.edge.facts import ConnectionInfo
from gateway.edge.listener import Listener
from gateway.edge.served import Served
from gateway.running.journal import Journal
from gateway.running.metrics import Sample

#: Upper bounds in seconds; a page takes milliseconds, a password check a tenth, a key a second.
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
# Whoever knocks with nonsense may fill counters, not the disk.
_REFUSALS_PER_SECOND = 20
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Meter:
    """The observer of a listener. `journal` None writes nothing down."""

    def __init__(self, journal: Journal | None = None, *, access: bool = True) -> None:
        self.access = access
        self._journal = journal
        self._requests: Counter[tuple[str, str, str]] = Counter()
        self._certificates: Counter[tuple[str, str]] = Counter()
        self._answers: dict[str, Histogram] = {}
        self._handshakes = Histogram()
        self._second = self._in_second = self._left_out = 0

    # --- called by the listener's connections ---

    def connected(self, info: ConnectionInfo) -> None:
        self._certificates[_site(info), _state(info.verdict)] += 1
        self._handshakes.add(info.handshake_ms / 1_000)

    def served(self, info: ConnectionInfo, served: Served) -> None:
        site, method, status = _site(info), served.method, served.status
        method = method if method in _METHODS else "other"
        self._requests[site, method, f"{status // 100}xx"] += 1
        answers = self._answers.get(site)
        if answers is None:
            answers = self._answers[site] = Histogram()
        if status != 101:  # a WebSocket lasts as long as people like
            answers.add(served.seconds)
        if self._journal is not None and self.access:
            self._journal.write(access_line(info, served, time.time()))

    def refused(self, reason: str, address: str, port: int, detail: str) -> None:
        if self._journal is None:
            return
        now = time.time()
        if int(now) != self._second:
            self._second, self._in_second = int(now), 0
        self._in_second += 1
        if self._in_second > _REFUSALS_PER_SECOND:
            self._left_out += 1
            return
        line: dict[str, Any] = {"at": round(now, 3), "kind": "connection", "refused": reason}
        line |= {"address": address, "port": port}
        if detail:
            line["detail"] = detail
        if self._left_out:
            line["left_out"], self._left_out = self._left_out, 0
        self._journal.write(line)

    # --- for the metrics ---

    def samples(self, listener: Listener) -> Iterator[Sample]:
        """Everything counted so far."""
        for event, count in listener.counts.items():
            if event.startswith("handshake."):
                yield "sekisho_handshakes_total", {"outcome": event.removeprefix("handshake.")}, count
            else:
                yield "sekisho_events_total", {"event": event}, count
        for (site, state), count in self._certificates.items():
            yield "sekisho_presented_certificates_total", {"site": site, "state": state}, count
        for (site, method, status), count in self._requests.items():
            yield "sekisho_requests_total", {"site": site, "method": method, "status": status}, count
        for site, answers in self._answers.items():
            yield from answers.samples("sekisho_request_seconds", {"site": site})
        yield from self._handshakes.samples("sekisho_handshake_seconds", {})
        yield "sekisho_connections_open", {}, listener.open_connections
        if self._journal is not None:
            yield "sekisho_log_lines_dropped_total", {}, self._journal.dropped


class Histogram:
    """Counts by upper bound, as Prometheus has them."""

    __slots__ = ("_counts", "_sum")

    def __init__(self) -> None:
        self._counts = [0] * (len(BUCKETS) + 1)
        self._sum = 0.0

    def add(self, seconds: float) -> None:
        self._counts[bisect_left(BUCKETS, seconds)] += 1
        self._sum += seconds

    def samples(self, name: str, labels: dict[str, str]) -> Iterator[Sample]:
        below = 0
        for bound, count in zip((*map(str, BUCKETS), "+Inf"), self._counts, strict=True):
            below += count
            yield f"{name}_bucket", {**labels, "le": bound}, below
        yield f"{name}_sum", labels, self._sum
        yield f"{name}_count", labels, below


def access_line(info: ConnectionInfo, served: Served, at: float) -> dict[str, Any]:
    """A request as a line of the log. Of the target only the path: a query is the visitor's own business.

    `sent` counts head and body; `ms` runs from the request's head to the last byte handed to TLS; `cut` is
    there if that was not the end of the answer.
    """
    line: dict[str, Any] = {
        "at": round(at, 3),
        "kind": "access",
        "site": _site(info),
        "host": info.server_name,
        "method": served.method,
        "path": served.target.partition("?")[0],
        "status": served.status,
        "sent": served.sent,
        "ms": round(served.seconds * 1_000, 2),
        "address": info.peer_address,
        "tls": info.tls_version,
        "connection": info.id,
    }
    verdict = served.verdict or info.verdict
    if isinstance(verdict, VerifiedPeer):
        line["certificate"] = {"state": "valid", "serial": verdict.serial, "cn": verdict.common_name}
    elif isinstance(verdict, Rejection):
        line["certificate"] = {
            "state": verdict.state.value,
            "serial": verdict.serial,
            "cn": verdict.common_name,
        }
    if served.subject is not None:
        line["user"] = served.subject
    if served.cut:
        line["cut"] = True
    return line


def _site(info: ConnectionInfo) -> str:
    return "none" if info.site is None else info.site.name


def _state(verdict: VerifiedPeer | Rejection | None) -> str:
    if verdict is None:
        return "not_asked"
    return "valid" if isinstance(verdict, VerifiedPeer) else verdict.state.value
