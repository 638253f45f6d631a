"""The other documents for operators: what their pages have as commands with answers is typed, and every other
line of a block that begins with ``sekisho`` is one that the command line understands."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from ca.errors import ConfigError
from gateway.cli.root import whole
from gateway.demo.parts import Behind, balanced
from tests.cli.conftest import Shell
from tests.documents.blocks import scenarios
from tests.documents.desk import typed_in_an_office
from tests.softhsm import needs_softhsm

ROOT = Path(__file__).parent.parent.parent
PAGES = {
    str(page.relative_to(ROOT)): scenarios(page.read_text("utf-8"))
    for page in (*sorted((ROOT / "docs/operations").glob("*.md")), ROOT / "docs/ca/cps.md")
}
TYPED = [(page, name) for page, found in PAGES.items() for name in found if name]
_BLOCK = re.compile(r"^```([a-z]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
#: Those whose blocks have commands; the table of other people's clients is tests/clients'.
_HAPROXY = shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin") or ""
SHOWN = ("README.md", "docs/**/*.md", "gateway/**/*.md", "enroll/**/*.md", "ca/*.md")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "name"),
    [pytest.param(*each, marks=needs_softhsm if each[1] == "tokens" else ()) for each in TYPED],
)
def test_the_commands_of_a_page(
    page: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One after the other, after what had happened."""
    typed_in_an_office(name, PAGES[page][name], tmp_path, monkeypatch)


def _lines() -> Iterator[tuple[str, str]]:
    for pattern in SHOWN:
        for path in sorted(ROOT.glob(pattern)):
            for kind, block in _BLOCK.findall(path.read_text("utf-8")):
                for line in block.replace("\\\n", " ").splitlines():
                    if kind != "console" and line.startswith("sekisho "):
                        yield str(path.relative_to(ROOT)), line


def _understood(line: str) -> None:
    """Raises what the command line would: nothing is run."""
    words = shlex.split(re.split(r"\s[|>;&]", line)[0], comments=True)[1:]
    group: click.Command = whole()
    context = click.Context(group, info_name="sekisho")
    while isinstance(group, click.Group):
        name, found, words = group.resolve_command(context, words)
        assert found is not None
        group, context = found, click.Context(found, info_name=name, parent=context)
    try:
        group.make_context(group.name, [*words])
    except (click.exceptions.Exit, ConfigError):  # --help; a file that is not here
        return


@pytest.mark.slow
def test_the_first_steps_of_the_readme(tmp_path: Path) -> None:
    """What somebody types who runs it for real, up to the first person."""
    shell, typed = Shell(tmp_path / "data"), [line for path, line in _lines() if path == "README.md"]
    first = [shlex.split(line, comments=True)[1:] for line in typed[:3]]
    assert [words[0] for words in first] == ["init", "org", "user"]
    for words in first:
        ran = shell(*words, json_output=False)
        assert ran.code == 0, ran.err
    assert shell("org", "list").value["organisations"][0]["name"] == "霞が関商事"


def test_every_line_is_understood() -> None:
    """Commands and options exist, and values are of their kind, in all of them."""
    lines = list(_lines())
    assert len(lines) > 8
    wrong = []
    for path, line in lines:
        try:
            _understood(line)
        except click.ClickException as error:
            wrong.append((path, line, error.format_message()))
    assert wrong == []


@pytest.mark.parametrize(
    "line", ["sekisho ca activat X", "sekisho ca list --on now", "sekisho init --port x"]
)
def test_what_is_not_understood(line: str) -> None:
    """The twin: another command, another option, a value that is none."""
    with pytest.raises(click.ClickException):
        _understood(line)


@pytest.mark.skipif(not _HAPROXY, reason="haproxy is not installed")
def test_the_balancer_of_the_page(tmp_path: Path) -> None:
    """HAProxy takes it, and what the demo's has it has, line for line."""
    (written,) = [
        block
        for kind, block in _BLOCK.findall((ROOT / "docs/operations/nodes.md").read_text("utf-8"))
        if kind == "haproxy"
    ]
    file = tmp_path / "haproxy.cfg"
    file.write_text(written)
    checked = subprocess.run([_HAPROXY, "-c", "-f", file], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    tried = balanced("127.0.0.1:443", "127.0.0.1:80", [Behind("node-1", 1, 2, 3)])
    lines = {line.strip() for line in tried.split("defaults")[1].split("listen")[0].splitlines()}
    assert {line for line in lines if not line.startswith("#")} <= {
        line.strip() for line in written.splitlines()
    }
