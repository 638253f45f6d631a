"""The results as a table for people, as JSON and as JUnit XML for machines."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Collection, Sequence

from conformance.case import LEVELS, OURS, OUTCOMES, Case
from conformance.clauses import ground
from conformance.known import Known, Verdict, entry_of
from conformance.run import Result


def line(result: Result, known: dict[str, Known]) -> str:
    """One line of the table."""
    mark = " (known)" if result.outcome not in {"PASS", "SKIP"} and entry_of(result.case.id, known) else ""
    text = f"{result.outcome:7} {result.case.level:6} {result.case.id:44} {result.case.title}"
    if not result.detail:
        return text
    text = f"{text}\n{'':14} {printable(result.detail)}{mark}"
    if result.outcome in {"SKIP", "BLOCKED"}:
        return f"{text}  [{result.case.clause}]"
    return f"{text}\n{'':14} {ground(result.case)}"


def listed(case: Case, *, verbose: bool) -> str:
    """A case for --list; verbose has what it rests on below it."""
    text = f"{case.level:6} {case.id:44} {case.title} [{case.clause}]"
    return f"{text}\n{'':7}{ground(case)}" if verbose else text


def summary(results: Sequence[Result], verdict: Verdict) -> str:
    """What is wrong by cause, what holds by level, and last, where it stays on the screen, how many cases."""
    lines = _wrong(verdict)
    lines += [f"unexpected pass: {one.case.id}" for one in verdict.surprises]
    if ours := sum(one.case.level == OURS and one.outcome != "BLOCKED" for one in verdict.unexpected):
        lines.append(
            f"{ours} of these are of level ours: sekisho's protocol promises them, and no RFC; "
            "--level SHOULD leaves them out"
        )
    lines += [""] if lines else []
    lines += [_level(level, results) for level in LEVELS if any(one.case.level == level for one in results)]
    counts = counted(results)
    parts = [f"{counts[name]} {name}" for name in OUTCOMES if counts[name]]
    parts.append(f"{len(verdict.expected)} known") if verdict.expected else None
    lines.append(f"{cases_of(len(results))}: " + ", ".join(parts))
    return "\n".join(lines)


def cases_of(count: int) -> str:
    return "1 case" if count == 1 else f"{count} cases"


def _level(level: str, results: Sequence[Result]) -> str:
    mine = [one for one in results if one.case.level == level]
    tried = [one for one in mine if one.outcome not in {"SKIP", "BLOCKED"}]
    held = sum(one.outcome == "PASS" for one in tried)
    untried = len(mine) - len(tried)
    return f"{level:7} {held} of {len(tried)} hold" + (f", {untried} not tried" if untried else "")


#: So many causes are shown at the end, each in two lines; what is left is in the lines above, and in --json.
_CAUSES = 10


def _wrong(verdict: Verdict) -> list[str]:
    """What is wrong and was not known before, grouped by what was seen, the commonest first."""
    groups: dict[tuple[str, str], list[str]] = {}
    for one in verdict.unexpected:
        groups.setdefault((one.outcome, cause(one)), []).append(one.case.id)
    if not groups:
        return []
    sorted_groups = sorted(groups.items(), key=lambda group: -len(group[1]))
    lines = ["", "what is wrong, by cause" + (", beyond what is known:" if verdict.expected else ":")]
    for (outcome, why), ids in sorted_groups[:_CAUSES]:
        lines += [f"{len(ids):4} {outcome:7} {why}", f"{'':12} {_briefly(ids)}"]
    if left := sorted_groups[_CAUSES:]:
        count = sum(len(ids) for _, ids in left)
        lines.append(f"{count:4} more, for {len(left)} other causes, are above")
    return lines


# What differs from one request to the next though the cause is the same: URLs, tokens, serial numbers.
_VARIABLE = re.compile(r"https?://[^\s'\"]+|\b(?=[A-Za-z_-]*\d)[A-Za-z0-9_-]{16,}\b|\b\d{4,}\b")
#: What says little without what was expected.
_BARE = re.compile(r"\d+|type '[A-Za-z]*'")
_WIDTH = 150


def cause(result: Result) -> str:
    """What was seen, without what was expected in its place and what is another each time."""
    detail = result.detail.split("; ")[0]
    seen = detail.split(", not ")[0]
    if result.outcome == "BLOCKED" or _BARE.fullmatch(seen):
        seen = detail
    text = _VARIABLE.sub("…", printable(seen))
    return text if len(text) <= _WIDTH else text[:_WIDTH] + "…"


def _briefly(ids: Sequence[str]) -> str:
    """Ids, those of one group as a glob when they are many."""
    groups: dict[str, list[str]] = {}
    for id in ids:
        groups.setdefault(id.partition(".")[0], []).append(id)
    parts = [
        f"{name}.* ({len(mine)})" if len(mine) > _FEW else " ".join(mine) for name, mine in groups.items()
    ]
    return " ".join(parts)


_FEW = 3


def _why(result: Result, known: dict[str, Known], expected: Collection[str]) -> Known | None:
    return entry_of(result.case.id, known) if result.case.id in expected else None


def counted(results: Sequence[Result]) -> Counter[str]:
    return Counter(result.outcome for result in results)


def as_json(results: Sequence[Result], verdict: Verdict, known: dict[str, Known], directory: str) -> str:
    """`results` has one object a case; `summary` counts outcomes; `unexpected` and `surprises` list ids."""
    expected = {one.case.id for one in verdict.expected}
    document = {
        "directory": directory,
        "summary": {name: counted(results)[name] for name in OUTCOMES},
        "unexpected": [one.case.id for one in verdict.unexpected],
        "surprises": [one.case.id for one in verdict.surprises],
        "results": [
            {
                "id": one.case.id,
                "level": one.case.level,
                "outcome": one.outcome,
                "detail": printable(one.detail),
                **({"prerequisite": one.prerequisite} if one.prerequisite else {}),
                "clause": one.case.clause,
                "title": one.case.title,
                "quote": (rests := ground(one.case)).quote,
                "quoted_from": rests.clause,
                **({"reason": rests.reason} if rests.reason else {}),
                "seconds": round(one.seconds, 3),
                **({"known": entry.reason} if (entry := _why(one, known, expected)) is not None else {}),
            }
            for one in results
        ],
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def as_junit(results: Sequence[Result], verdict: Verdict) -> bytes:
    """JUnit XML: FAIL is a failure, CRASH and HANG are errors, what is known is skipped with its outcome."""
    expected = {one.case.id for one in verdict.expected}
    suite = ET.Element("testsuite", name="acme-conformance", tests=str(len(results)))
    for one in results:
        group, _, name = one.case.id.partition(".")
        node = ET.SubElement(suite, "testcase", classname=group, name=name, time=f"{one.seconds:.3f}")
        if one.outcome == "PASS":
            continue
        known = one.case.id in expected
        tag = "skipped" if one.outcome == "SKIP" or known else "failure" if one.outcome == "FAIL" else "error"
        message = f"known {one.outcome}: {one.detail}" if known else f"{one.outcome}: {one.detail}"
        ET.SubElement(node, tag, message=printable(message)).text = f"{one.case.title} [{ground(one.case)}]"
    suite.set("failures", str(len(suite.findall("testcase/failure"))))
    suite.set("errors", str(len(suite.findall("testcase/error"))))
    suite.set("skipped", str(len(suite.findall("testcase/skipped"))))
    return bytes(ET.tostring(suite, encoding="utf-8", xml_declaration=True))


def printable(text: str) -> str:
    """The text without control characters and lone surrogates: a server chose parts of it."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
