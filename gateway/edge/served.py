"""A request that was answered, as those are told who keep the log and the figures."""

from __future__ import annotations

from typing import final

from ca.trust import Rejection, VerifiedPeer


@final
class Served:
    """``sent``: bytes written; ``seconds`` from its head to the last of them. ``subject``: whose session it
    belongs to. ``cut``: the answer ended before its end, by whosever fault.

    A class: a named tuple takes three times as long to make, once for each request.
    """

    __slots__ = ("cut", "method", "seconds", "sent", "status", "subject", "target", "verdict")

    def __init__(
        self,
        method: str,
        target: str,
        verdict: VerifiedPeer | Rejection | None,
        subject: str | None,
        status: int,
        sent: int,
        seconds: float,
        cut: bool = False,
    ) -> None:
        self.method, self.target, self.verdict, self.subject = method, target, verdict, subject
        self.status, self.sent, self.seconds, self.cut = status, sent, seconds, cut
