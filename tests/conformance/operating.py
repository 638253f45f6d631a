"""Our operator as the suite asks for one: --operator "python -m tests.conformance.operating SUMMARY".

SUMMARY is what `sekisho demo --summary` wrote. What is asked is in conformance/README.md. All is done by the
commands that an operator has; only the clock is the demo's own.
"""

from __future__ import annotations

import json
import secrets
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ca.clock import OffsetClock
from gateway.serving.deployment import CLOCK
from tests.clients.demo import DAY, Demo
from tests.clients.here import Here

NOT_OFFERED = 3
Values = Mapping[str, str]


def _credentials(demo: Demo, values: Values) -> dict[str, Any]:
    """For a user that was not there before."""
    number = demo.summary["users"][0]["policy_number"]
    user_id = "T" + secrets.token_hex(4).upper()
    demo.sekisho(
        "user", "add", number, f"試験 {user_id}", f"{user_id.lower()}@example.jp", "--user-id", user_id
    )
    options = {"--count": "count", "--quota": "places", "--profile": "profile"}
    wishes = [word for option, name in options.items() if name in values for word in (option, values[name])]
    return dict(demo.sekisho("eab", "create", user_id, *wishes))


def _withdraw(demo: Demo, values: Values) -> None:
    demo.sekisho("eab", "withdraw", values["kid"])


def _revoke(demo: Demo, values: Values) -> None:
    demo.sekisho("cert", "revoke", values["serial"].zfill(32))


def _reissue(demo: Demo, values: Values) -> None:
    old = values["old"].replace("-", "_")
    demo.sekisho("request", "reissue", _user(demo, values), "--reason", "pc_change", "--revoke-old", old)


def _notices(demo: Demo, values: Values) -> dict[str, list[str]]:
    """The mails that tell of a renewal by somebody else."""
    mails = demo.sekisho("mail", "list", "--user", _user(demo, values))["mails"]
    return {"notices": [mail["subject"] for mail in mails if mail["kind"] == "renewed_by_another"]}


def _clock(demo: Demo, values: Values) -> None:
    OffsetClock(Path(demo.summary["data"]) / CLOCK).travel(int(float(values["days"]) * DAY))


def _user(demo: Demo, values: Values) -> str:
    return str(demo.sekisho("request", "show", values["kid"])["request"]["user_id"])


ACTIONS: Mapping[str, Callable[[Demo, Values], dict[str, Any] | None]] = {
    "credentials": _credentials,
    "withdraw": _withdraw,
    "revoke": _revoke,
    "reissue": _reissue,
    "notices": _notices,
    "clock": _clock,
}


def act(summary: str, action: str, *given: str) -> int:
    if action not in ACTIONS:
        return NOT_OFFERED
    answer = ACTIONS[action](
        Here(json.loads(Path(summary).read_text()), Path(summary)), dict(one.split("=", 1) for one in given)
    )
    if answer is not None:
        print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(act(*sys.argv[1:]))
