"""No test waits for ever: each has a time limit, and whoever looks again and again gives up at last."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
#: Not the programs that measure, or go on until they are told.
FILES = [
    path
    for path in sorted((ROOT / "tests").rglob("*.py"))
    if path.parent.name not in ("bench", "soak", "chaos")
]
#: Calls that say what time it is, or end what takes too long.
_CLOCKS = frozenset({"monotonic", "perf_counter", "time", "timeout", "timeout_at", "wait_for", "wait"})
#: What a loop does that sends until its peer closes: that is no waiting.
_SENDING = frozenset({"send", "write", "readline"})


def _called(node: ast.AST) -> Iterator[str]:
    for each in ast.walk(node):
        if isinstance(each, ast.Call):
            yield each.func.attr if isinstance(each.func, ast.Attribute) else getattr(each.func, "id", "")


def _endless(tree: ast.AST) -> Iterator[int]:
    """Lines of loops that look again and again, and neither watch a clock nor stand below a time limit."""

    def visit(node: ast.AST, limited: bool) -> Iterator[int]:
        if isinstance(node, ast.AsyncWith | ast.With):
            limited = limited or any(not _CLOCKS.isdisjoint(_called(each)) for each in node.items)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            limited = False  # who calls it may have no limit
        called = set(_called(node)) if isinstance(node, ast.While) else set()
        looks_again = "sleep" in called and _SENDING.isdisjoint(called)
        if looks_again and not limited and _CLOCKS.isdisjoint(called):
            yield node.lineno  # type: ignore[attr-defined]
        for child in ast.iter_child_nodes(node):
            yield from visit(child, limited)

    yield from visit(tree, False)


@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(ROOT)) for path in FILES])
def test_whoever_looks_again_gives_up_at_last(path: Path) -> None:
    """A ``while`` that sleeps has an end of its own: what never comes fails its test, by name,
    within a minute, and not after ten."""
    assert list(_endless(ast.parse(path.read_text("utf-8")))) == []


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("async def f():\n while not x:\n  await asyncio.sleep(0)", [2]),
        ("async def f():\n async with asyncio.timeout(9):\n  while not x:\n   await asyncio.sleep(0)", []),
        ("async with asyncio.timeout(9):\n async def f():\n  while not x:\n   await asyncio.sleep(0)", [3]),
        ("while not x:\n if time.monotonic() > end:\n  break\n time.sleep(1)", []),
        ("while not x:\n time.sleep(1)", [1]),
        ("while True:\n await client.send(b'x')\n await asyncio.sleep(0)", []),
        ("while data := read():\n pass", []),
    ],
)
def test_which_loops_are_meant(source: str, lines: list[int]) -> None:
    """The twin: an endless one is found, one below a limit or by a clock is none."""
    assert list(_endless(ast.parse(source))) == lines


def test_every_test_has_a_time_limit(request: pytest.FixtureRequest) -> None:
    """pytest-timeout is there, and what it is told is minutes: a test that hangs fails."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["pytest"]["ini_options"]
    assert 0 < settings["timeout"] <= 600
    assert request.config.pluginmanager.hasplugin("timeout")
    assert float(request.config.getini("timeout")) == settings["timeout"]
