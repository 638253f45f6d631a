"""Alert rules and dashboard: they name what the product exports, and say what to type to whoever is woken."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.cli.root import whole
from gateway.running.metrics import MEANINGS

ROOT = Path(__file__).parents[2]
RULES = ROOT / "gateway" / "packaging" / "sekisho-alerts.yml"
BOARD = RULES.with_name("sekisho-dashboard.json")
_NAME = re.compile(r"\bsekisho_[a-z0-9_]+")
_PART = re.compile(r"_(?:bucket|sum|count)$")
#: What is exported and has no panel; a reason beside each.
_LEFT_OUT: frozenset[str] = frozenset()


def _rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(RULES.read_text("utf-8"))["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def _panels() -> Iterator[dict[str, Any]]:
    yield from (each for each in json.loads(BOARD.read_text("utf-8"))["panels"] if each["type"] != "row")


def _expressions() -> list[str]:
    asked = [target["expr"] for panel in _panels() for target in panel["targets"]]
    return [*(rule["expr"] for rule in _rules()), *asked]


def _family(name: str) -> str:
    return name if name in MEANINGS else _PART.sub("", name)


def test_every_metric_is_exported() -> None:
    """What an alert or a panel asks for has its row in the metrics, of the kind that is asked for: a counter
    by its growth, a histogram by its buckets."""
    for expression in _expressions():
        named = _NAME.findall(expression)
        assert named or 'up{job="sekisho"}' in expression, expression
        for name in named:
            assert _family(name) in MEANINGS, expression
            kind = MEANINGS[_family(name)][0]
            grows = re.search(rf"(?:rate|increase)\({name}\b", expression) is not None
            assert grows is (kind != "gauge"), expression


def test_every_metric_is_on_the_dashboard() -> None:
    """Whatever is exported has a panel, or is named here as left out."""
    shown = {
        _family(name)
        for panel in _panels()
        for each in panel["targets"]
        for name in _NAME.findall(each["expr"])
    }
    assert set(MEANINGS) - shown == _LEFT_OUT


def test_a_metric_that_is_not_there_is_noticed() -> None:
    """The twin: a name that nobody exports, and a histogram's parts."""
    assert _family("sekisho_mails_forgotten") not in MEANINGS
    assert _family("sekisho_request_seconds_bucket") in MEANINGS


@pytest.mark.parametrize("rule", _rules(), ids=lambda rule: rule["alert"])
def test_every_alert_says_what_to_do(rule: dict[str, Any]) -> None:
    """A summary, a line to type, and a place in the documents that is there and says more; commands exist."""
    told = rule["annotations"]
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert told["summary"].strip()
    assert told["action"].strip()
    path, _, anchor = told["runbook_url"].partition("#")
    text = (ROOT / path).read_text("utf-8")
    assert anchor == rule["alert"].lower()
    section = text.partition(f"## {rule['alert']}\n")[2].partition("\n## ")[0]
    assert len(section.split()) > 20, rule["alert"]
    for first, second in re.findall(r"sekisho ([a-z]+)(?: ([a-z]+(?:-[a-z]+)*))?", told["action"]):
        found: Any = whole().commands[first]
        if hasattr(found, "commands"):
            assert second in found.commands, told["action"]


def test_every_section_has_its_alert() -> None:
    """And nothing is described that nobody is woken for."""
    text = (ROOT / "docs/operations/alerts.md").read_text("utf-8")
    assert re.findall(r"^## (\w+)$", text, re.MULTILINE) == [rule["alert"] for rule in _rules()]


def test_the_dashboard_can_be_imported() -> None:
    """Its panels have numbers of their own, do not lie upon each other, and ask the source that is chosen."""
    board = json.loads(BOARD.read_text("utf-8"))
    numbers = [each["id"] for each in board["panels"]]
    assert len(set(numbers)) == len(numbers)
    taken: set[tuple[int, int]] = set()
    for each in board["panels"]:
        at = each["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, each["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
    assert {each["datasource"]["uid"] for each in _panels()} == {"${source}"}
    assert "source" in {each["name"] for each in board["templating"]["list"]}


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not here: apt-get install prometheus")
def test_prometheus_takes_the_rules(tmp_path: Path) -> None:
    """By its own tool: every expression is one, every template too; and so is each of the dashboard's."""
    as_rules = [
        {"record": f"panel:{n}", "expr": re.sub(r"\$instance", ".*", each)}
        for n, each in enumerate(_expressions())
    ]
    (tmp_path / "panels.yml").write_text(json.dumps({"groups": [{"name": "panels", "rules": as_rules}]}))
    for file in (RULES, tmp_path / "panels.yml"):
        checked = subprocess.run(
            ["promtool", "check", "rules", file], capture_output=True, text=True, check=False
        )
        assert checked.returncode == 0, checked.stdout + checked.stderr


#: A series that is told for 20 minutes, or several -> the alert that it wakes, if any.
WAKES = {
    'sekisho_signer_up{instance="a"} 0x20': "SekishoSignerDown",
    'sekisho_signer_up{instance="a"} 1x20': None,
    'sekisho_mails_held{instance="a", channel="mail"} 1x20': "SekishoMailsHeld",
    'sekisho_crl_days{instance="a", issuer="G4"} 5x90': "SekishoListEnds",
    'sekisho_crl_days{instance="a", issuer="G4"} 7x90': None,
    'sekisho_crl_days{instance="a", issuer="root"} 59x90': "SekishoRootListEnds",
    'sekisho_jobs{instance="a", state="failed"} 1x20': "SekishoJobFailed",
    'sekisho_jobs{instance="a", state="running"} 1x20': None,
    'sekisho_jobs_still_seconds{instance="a"} 601x20': "SekishoJobStill",
    'sekisho_jobs_still_seconds{instance="a"} 599x20': None,
    'sekisho_proposals_ending{instance="a"} 1x20': "SekishoProposalsEnd",
    'sekisho_operators_ending{instance="a"} 1x90': "SekishoOperatorsEnd",
    'sekisho_operators_ending{instance="a"} 0x90': None,
    'sekisho_database_up{instance="a"} 0x20': "SekishoDatabaseDown",
    'sekisho_database_up{instance="a"} 1x20': None,
    'sekisho_leader{instance="a"} 0x20': "SekishoNoLeader",
    'sekisho_leader{instance="a", job="j"} 0x20 & sekisho_leader{instance="b", job="j"} 1x20': None,
    'sekisho_leader{job="i"} 0x20 & sekisho_leader{job="j"} 1x20': "SekishoNoLeader",
    'sekisho_webhook_deliveries{instance="a", state="dead"} 1x20': "SekishoWebhooksGivenUp",
    'sekisho_webhook_deliveries{instance="a", state="waiting"} 9x20': None,
    'sekisho_webhook_endpoints{instance="a", state="stopped"} 1x20': "SekishoWebhookStopped",
    'sekisho_worker_failing{instance="a", worker="2"} 1x20': "SekishoWorkerFailing",
}


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not here: apt-get install prometheus")
def test_what_wakes_somebody(tmp_path: Path) -> None:
    """By Prometheus' own engine: an alert fires at what it is for, and not at what is well."""
    tests = []
    for series, wakes in WAKES.items():
        told = [each.rpartition(" ")[::2] for each in series.split(" & ")]
        minutes = told[0][1].partition("x")[2]
        given = [(name, values.partition("x")[0]) for name, values in told]
        firing = [{"labels": f'{{alertname="{wakes}"}}', "value": 1}] if wakes else []
        asked = {"expr": 'count by (alertname) (ALERTS{alertstate="firing"})', "eval_time": f"{minutes}m"}
        tests.append(
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": f"{value}+0x{minutes}"} for name, value in given],
                "promql_expr_test": [asked | {"exp_samples": firing}],
            }
        )
    file = tmp_path / "tests.yml"
    file.write_text(json.dumps({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": tests}))
    ran = subprocess.run(["promtool", "test", "rules", file], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
