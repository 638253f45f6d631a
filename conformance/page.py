"""Results of several servers as one Markdown page: how many rules hold, and what is known not to, by reason.

`python -m conformance.page NAME=RESULTS.json...`, each file from `--json`. Nothing in it
depends on when or where a run was.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from conformance.case import LEVELS
from conformance.credentials import Usage

Results = Sequence[Mapping[str, Any]]

_HEAD = """# What the suite finds

What [conformance](../conformance/README.md) says of these servers, by the level of its cases. A server that
is not ours promises nothing of the level `ours`. Made by `make conformance-page`; the tests run the suite on
each of them that is installed, and allow nothing else. Not tried: the responder of lacme (PyPI, 1.2), which
is a part for other programs and by its own words does enough for its own client.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the page; 2 for a usage error."""
    parser = argparse.ArgumentParser(prog="python -m conformance.page", description="Results as a page.")
    parser.add_argument("--out", metavar="FILE", help="write it there, not to stdout")
    parser.add_argument(
        "servers", nargs="+", metavar="NAME=RESULTS.json", help="a server and its --json file"
    )
    try:
        options = parser.parse_args(arguments)
        found = dict(_server(one) for one in options.servers)
    except SystemExit as stop:
        return 2 if stop.code else 0
    except Usage as error:
        print(f"conformance.page: {error}", file=sys.stderr)
        return 2
    _write(options.out, page(found))
    return 0


def _write(target: str | None, text: str) -> None:
    if target is None:
        print(text, end="")
    else:
        Path(target).write_text(text, "utf-8")


def _server(argument: str) -> tuple[str, Results]:
    name, given, path = argument.partition("=")
    if not given:
        raise Usage(f"{argument}: write it as NAME=RESULTS.json")
    try:
        return name, json.loads(Path(path).read_text("utf-8"))["results"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Usage(f"{path}: {error}; give a file that --json has written") from error


def page(servers: Mapping[str, Results]) -> str:
    """The page, with a table of all and a section for each."""
    head = f"| server | {' | '.join(LEVELS)} | skipped |\n|{'---|' * (len(LEVELS) + 2)}"
    rows = [_row(name, results) for name, results in servers.items()]
    sections = [_section(name, results) for name, results in servers.items()]
    return "\n".join([_HEAD, head, *rows, "", *sections])


def _row(name: str, results: Results) -> str:
    cells = []
    for level in LEVELS:
        outcomes = Counter(one["outcome"] for one in results if one["level"] == level)
        tried = sum(outcomes.values()) - outcomes["SKIP"]
        cells.append(f"{outcomes['PASS']} of {tried}" if tried else "-")
    skipped = sum(one["outcome"] == "SKIP" for one in results)
    return f"| [{name}](#{_anchor(name)}) | {' | '.join(cells)} | {skipped} |"


def _anchor(name: str) -> str:
    return "".join(c for c in name.lower().replace(" ", "-") if c.isalnum() or c == "-")


def _section(name: str, results: Results) -> str:
    lines = [f"## {name}", ""]
    failing = [one for one in results if one["outcome"] not in {"PASS", "SKIP"}]
    by_reason: dict[str, list[Mapping[str, Any]]] = {}
    for one in failing:
        by_reason.setdefault(str(one.get("known") or "Not known before."), []).append(one)
    for reason, cases in by_reason.items():
        lines += _entry(reason, cases)
    if not failing:
        lines += ["Every rule that was tried holds.", ""]
    why = Counter(_plain(str(one["detail"])) for one in results if one["outcome"] == "SKIP")
    if why:
        lines += ["Not tried:", ""]
        lines += [f"* {count} × {text}" for text, count in sorted(why.items())]
        lines.append("")
    return "\n".join(lines)


def _entry(reason: str, cases: Results) -> list[str]:
    """A reason, the cases that fail for it, and the sentences that they rest on, each once."""
    names = ", ".join(f"`{one['id']}` ({one['level']})" for one in cases)
    quotes = dict.fromkeys((one["quoted_from"], one["quote"]) for one in cases if one["quote"])
    return [
        f"**{_plain(reason)}** {names}",
        "",
        *(f"> {clause}: “{_plain(quote)}”\n>" for clause, quote in quotes),
        "",
    ]


def _plain(text: str) -> str:
    """Text that Markdown takes for nothing but text."""
    return "".join(f"\\{c}" if c in "<>*_[]|`\\" else c for c in " ".join(text.split()))


if __name__ == "__main__":
    sys.exit(main())
