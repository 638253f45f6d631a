"""The statements of the stores, as far as they stand there: what is only known when they run is left open."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

# What is asked for rows by them: a transaction, and the stores' own short ways to it.
_ASKS = frozenset({"one", "rows", "_one", "_count", "_number", "_select"})
_OPEN = "open"


def selects(path: Path, root: Path) -> Iterator[tuple[int, str]]:
    """Line and text of each statement of a store by which rows are asked for."""
    known = vars(import_module(".".join(path.relative_to(root).with_suffix("").parts)))
    for function in ast.walk(ast.parse(path.read_text("utf-8"))):
        if not isinstance(function, ast.FunctionDef):
            continue
        local = _texts(function, known)
        for call in ast.walk(function):
            if not isinstance(call, ast.Call) or _name(call) not in _ASKS:
                continue
            for given in call.args[:2]:
                for text in _said(given, local, known):
                    if "SELECT" in text:
                        yield call.lineno, text


def _name(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _texts(function: ast.FunctionDef, known: Mapping[str, Any]) -> dict[str, list[str]]:
    """What is said by a function's own names, each time it is."""
    found = defaultdict[str, list[str]](list)
    for each in ast.walk(function):
        if isinstance(each, ast.Assign) and isinstance(each.targets[0], ast.Name):
            found[each.targets[0].id] += _said(each.value, found, known)
    return found


def _said(value: ast.expr, local: Mapping[str, list[str]], known: Mapping[str, Any]) -> list[str]:
    """The texts that an expression may be; a part that is not known is open."""
    match value:
        case ast.Constant(str(text)):
            return [text]
        case ast.IfExp(_, body, other):
            return [*_said(body, local, known), *_said(other, local, known)]
        case ast.Name(name):
            return local.get(name) or ([str(known[name])] if isinstance(known.get(name), str) else [_OPEN])
        case ast.FormattedValue(part):
            return _said(part, local, known)
        case ast.JoinedStr(parts):
            texts = [""]
            for part in parts:
                texts = [before + after for before in texts for after in _said(part, local, known)]
            return texts
        case ast.BinOp(left, ast.Add(), right):
            return [a + b for a in _said(left, local, known) for b in _said(right, local, known)]
        case ast.Call(func=ast.Name("together")):
            return [" /* together: open */"]
        case _:
            return [_OPEN]
