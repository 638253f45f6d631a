"""The practice statement (CP/CPS), written from its template and what is in force."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from ca.files import Snapshot, write_public
from enroll.languages import LANGUAGES, Language
from gateway.cli.frame import Answer, answer, command
from gateway.cli.output import Console
from gateway.cli.root import root
from gateway.practice import document
from gateway.practice.document import Template
from gateway.practice.figures import figures
from gateway.serving.deployment import TEMPLATES, clock_of

#: What an operator decided, in the data directory.
ANSWERS = "cps.toml"
_FILE = click.Path(path_type=Path, dir_okay=False)


@command(root, "cps")
@click.option("--lang", "language", type=click.Choice(LANGUAGES), default=LANGUAGES[0], show_default=True)
@click.option(
    "--format",
    "form",
    type=click.Choice(["md", "html", "toml"]),
    default="md",
    show_default=True,
    help="The document as Markdown or as a page; or, as TOML, the file of what you have to decide.",
)
@click.option("--out", type=_FILE, default=None, metavar="FILE", help="Default: standard output.")
@click.option(
    "--answers",
    type=_FILE,
    default=None,
    metavar="FILE",
    help=f"What you decided ([cps] of a TOML file); default: {ANSWERS} in the data directory, if there.",
)
def _cps(data: Path, language: Language, form: str, out: Path | None, answers: Path | None) -> Answer:
    """Write the certificate policy and practice statement (RFC 3647). Needs no passphrase.

    Its figures are those in force: settings, CAs, addresses, profiles. What only you can decide stands in
    〔 〕 and in the list at its end, until the file of --answers says it. templates/cps.ja.md and cps.en.md
    in the data directory take the place of the built-in texts.
    """
    files, at = Snapshot(), clock_of(data).seconds()
    template = _template(data, language, files)
    told = figures(data, template, at)
    given = _given(data, answers, template, files)
    decided = document.decided(given, language)
    text = document.fill(template, told, decided)
    written = {
        "md": lambda: text,
        "html": lambda: document.html_of(text, language),
        "toml": lambda: document.toml_of(template, given),
    }[form]()
    still = [each for each in template.blanks if each.key not in decided]
    value: dict[str, Any] = {
        "template": {"name": template.name, "sha256": template.digest},
        "configuration": told["configuration_digest"],
        "open": [{"key": each.key, "section": each.section, "question": each.question} for each in still],
    }
    if out is None:
        return Answer({"cps": value | {"figures": told, "document": written}}, _printed(written))
    write_public(out, written.encode())
    return answer(
        {"cps": value | {"file": str(out)}}, f"{out}: {len(written.splitlines())} lines", *_to_do(still)
    )


def _printed(text: str) -> Any:
    # As it is: no line of it is folded, and it is ours or the operator's own.
    def show(console: Console) -> None:
        console.file.write(text)

    return show


def _to_do(still: list[document.Blank]) -> list[str]:
    if not still:
        return []
    return [
        f"To be decided by you: {len(still)}, listed at its end. Write them down: "
        f"sekisho cps --format toml --out {ANSWERS}, then sekisho cps --answers {ANSWERS}"
    ]


def _template(data: Path, language: Language, files: Snapshot) -> Template:
    name = document.file_name(language)
    own = files.find(data / TEMPLATES / name, "template")
    if own is None:
        return document.built_in(language)
    return Template(str(data / TEMPLATES / name), language, own.decode())


def _given(data: Path, file: Path | None, template: Template, files: Snapshot) -> Mapping[str, Any]:
    path = file or data / ANSWERS
    content = files.read(path, "answers") if file else files.find(path, "answers")
    return {} if content is None else document.read_answers(str(path), content, template)
