"""The results as a table for people, as JSON and as JUnit XML for machines."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Collection, Sequence

from conformance.case import OURS, OUTCOMES, Case
from conformance.clauses import ground
from conformance.known import Known, Verdict, entry_of
from conformance.run import Result, blockers


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
    counts = counted(results)
    parts = [f"{counts[name]} {name}" for name in OUTCOMES if counts[name]]
    parts.append(f"{len(verdict.expected)} known") if verdict.expected else None
    lines = [f"{len(results)} cases: " + ", ".join(parts)]
    found = [one for one in verdict.unexpected if one.outcome != "BLOCKED"]
    lines += [f"unexpected {one.outcome}: {one.case.id}" for one in found]
    if ours := sum(one.case.level == OURS for one in found):
        lines.append(
            f"{ours} of these are of level ours: sekisho's protocol promises them, and no RFC; "
            "--level SHOULD leaves them out"
        )
    lines += [f"{count} cases are BLOCKED: {printable(why)}" for why, count in blockers(results)]
    lines += [f"unexpected pass: {one.case.id}" for one in verdict.surprises]
    return "\n".join(lines)


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
