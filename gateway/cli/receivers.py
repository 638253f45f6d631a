"""What ``doctor`` says of webhooks: which is stopped, what was given up, whose host is not on the list."""

from __future__ import annotations

from ca.storage import Transaction
from enroll.hooks import endpoints, reach, store
from enroll.hooks.states import Delivery, Endpoint
from gateway.serving.deployment import Deployment
from gateway.web.examined import Finding

_NAME = "webhooks"


def found(deployment: Deployment) -> list[Finding]:
    """A line for each endpoint that needs somebody."""

    def read(db: Transaction) -> tuple[list[store.Endpoint], dict[tuple[int, Delivery], int]]:
        return store.endpoints(db), store.counts(db)

    there, counts = deployment.ra.database.read_now(read)
    alive = [each for each in there if each.state is not Endpoint.ENDED]
    if not alive:
        return [Finding(_NAME, "ok", "no endpoint")]
    wrong = [line for each in alive for line in _wrong(deployment, each, counts)]
    waiting = sum(counts.get((each.number, Delivery.WAITING), 0) for each in alive)
    return wrong or [Finding(_NAME, "ok", f"{len(alive)} endpoints, {waiting} deliveries wait")]


def _wrong(
    deployment: Deployment, each: store.Endpoint, counts: dict[tuple[int, Delivery], int]
) -> list[Finding]:
    lines, dead = list[Finding](), counts.get((each.number, Delivery.DEAD), 0)
    target = reach.target(each.url)
    if each.state is Endpoint.STOPPED:
        why = endpoints.REASONS[each.why][1]
        hint = f"once that is mended: sekisho webhook start {each.name}"
        lines.append(Finding(_NAME, "notice", f"{each.name} is stopped: {why}", hint))
    if not reach.listed(target, deployment.ra.settings):
        hint = f"write '{target.named}' into webhooks.hosts, or: sekisho webhook end {each.name}"
        lines.append(Finding(_NAME, "bad", f"{each.name} is told nothing: its host is not on the list", hint))
    if dead:
        hint = f"see why: sekisho webhook deliveries {each.name}; then replay --dead {each.name}"
        lines.append(Finding(_NAME, "notice", f"{dead} deliveries to {each.name} were given up", hint))
    return lines
