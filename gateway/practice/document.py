"""A practice statement out of its template, the figures in force, and what its operator decides.

A template is Markdown with ``{{ figure }}``, and ``{{ blank("key", "question") }}`` where nobody but the
operator can say what holds. Neither an unknown name nor a figure that is missing leaves an empty place: both
are errors.
"""

from __future__ import annotations

import hashlib
import html
import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import pairwise
from typing import Any, NoReturn

import jinja2
import jinja2.meta
import jinja2.sandbox
from markdown_it import MarkdownIt

from ca.errors import ConfigError
from enroll.languages import LANGUAGES, Language

#: Of the built-in text: raised with every change of what it says.
VERSION = "1.0"
#: What a template may call besides figures.
_CALLS = frozenset({"blank", "open_blanks"})
_HEADING = re.compile(r"^#{2,} (\d+(?:\.\d+)*) ", re.MULTILINE)
_BLANK = re.compile(r'blank\(\s*"([a-z_]+)",\s*"([^"]+)"\s*\)')
_TITLE = re.compile(r"^# (.+)$", re.MULTILINE)
_MARK = "〔{}: {}〕"


@dataclass(frozen=True)
class Blank:
    """What an operator has to decide: in which section, and what is asked there."""

    key: str
    section: str
    question: str


@dataclass(frozen=True)
class Absent:
    """A figure that the configuration does not have. It may be asked for (``{% if %}``), never written."""

    name: str

    def __bool__(self) -> bool:
        return False

    def __getattr__(self, attribute: str) -> NoReturn:
        # What Python and Jinja look for by themselves, they do without.
        raise AttributeError(attribute) if attribute.startswith("_") else self._missing()

    def __iter__(self) -> NoReturn:
        raise self._missing()

    def __str__(self) -> NoReturn:
        raise self._missing()

    def _missing(self) -> ConfigError:
        return ConfigError(
            f"the document needs {self.name}, of which the configuration says nothing: ask for it in the "
            f"template first, {{% if {self.name} %}}"
        )


@dataclass(frozen=True)
class Template:
    """A template with its name for errors. ``blanks`` are in the order of the text."""

    name: str
    language: Language
    text: str

    @property
    def digest(self) -> str:
        """SHA-256 of its text, hex."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def blanks(self) -> tuple[Blank, ...]:
        """Each once, where it stands first."""
        headings = [(found.start(), found[1]) for found in _HEADING.finditer(self.text)]
        listed: dict[str, Blank] = {}
        for found in _BLANK.finditer(self.text):
            section = [number for at, number in headings if at < found.start()]
            listed.setdefault(found[1], Blank(found[1], section[-1] if section else "0", found[2]))
        return tuple(listed.values())


def built_in(language: Language) -> Template:
    """The template that comes with sekisho."""
    name = file_name(language)
    return Template(name, language, files("gateway.practice").joinpath(name).read_text("utf-8"))


def file_name(language: Language) -> str:
    """What a template is called, ours and an operator's."""
    return f"cps.{language}.md"


def fill(template: Template, figures: Mapping[str, Any], answers: Mapping[str, str]) -> str:
    """The document, as Markdown. ConfigError names what is unknown or missing."""
    environment = _environment()
    try:
        asked = jinja2.meta.find_undeclared_variables(environment.parse(template.text))
        unknown = sorted(asked - set(figures) - _CALLS)
        if unknown:
            raise ConfigError(
                f"{template.name}: no figure is called {', '.join(unknown)}; see: sekisho cps --json"
            )
        known = {each.key: each for each in template.blanks}
        still = [each for each in template.blanks if not answers.get(each.key)]

        def blank(key: str, question: str) -> str:
            return answers.get(key) or _MARK.format(known[key].key, question)

        given = {name: _told(name, value) for name, value in figures.items()}
        return environment.from_string(template.text).render(given, blank=blank, open_blanks=still)
    except jinja2.TemplateSyntaxError as error:
        raise ConfigError(f"{template.name}, line {error.lineno}: {error.message}; mend that line") from None
    except jinja2.TemplateError as error:
        raise ConfigError(f"{template.name}: {error.message}; see the figures: sekisho cps --json") from None
    except KeyError as error:
        raise ConfigError(
            f'{template.name}: the blank {error} is not written as {{{{ blank("key", "question") }}}}'
        ) from None


def read_answers(name: str, content: bytes, template: Template) -> Mapping[str, Any]:
    """What an operator decided: ``[cps]`` of a TOML file, a text for each key, or one for each language.

    An empty text is one that is not decided yet. ConfigError names what the template does not ask.
    """
    try:
        raw = tomllib.loads(content.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{name} is not TOML: {error}; mend that line") from None
    table = raw.get("cps")
    if set(raw) != {"cps"} or not isinstance(table, dict):
        raise ConfigError(f"{name} has one section, [cps]; write it anew: sekisho cps --format toml")
    keys = {each.key for each in template.blanks}
    for key, value in table.items():
        if key not in keys:
            raise ConfigError(f"{name}: nothing asks for {key}; there are {', '.join(sorted(keys))}")
        texts = list(value.values()) if isinstance(value, dict) and set(value) <= set(LANGUAGES) else [value]
        if not all(isinstance(each, str) for each in texts):
            raise ConfigError(f'{name}: {key}: write a text in quotes, or {{ ja = "...", en = "..." }}')
    return table


def decided(answers: Mapping[str, Any], language: Language) -> dict[str, str]:
    """Those of them that are not empty in a language."""
    texts = {
        key: value.get(language, "") if isinstance(value, dict) else value for key, value in answers.items()
    }
    return {key: text.strip() for key, text in texts.items() if text.strip()}


def toml_of(template: Template, answers: Mapping[str, Any]) -> str:
    """The file that an operator fills in: each blank with its section and question; what is in it, kept."""
    lines = ["# Taken by sekisho cps --answers FILE. What is empty is still to be decided.", "[cps]"]
    for each in template.blanks:
        lines += ["", f"# {each.section} {each.question}", f"{each.key} = {_toml(answers.get(each.key, ''))}"]
    return "\n".join(lines) + "\n"


def html_of(markdown: str, language: Language) -> str:
    """The document as one page that needs nothing else, to be printed or put on a site."""
    parser = _markdown()
    tokens = parser.parse(markdown)
    chapters = []
    for opening, text in pairwise(tokens):
        number = re.match(r"\d+(?:\.\d+)*", text.content) if opening.type == "heading_open" else None
        if number:
            opening.attrSet("id", f"s{number[0]}")
            if opening.tag == "h2":
                chapters.append(f'<li><a href="#s{number[0]}">{html.escape(text.content)}</a></li>')
    found = _TITLE.search(markdown)
    return _PAGE.format(
        language=language,
        title=html.escape(found[1] if found else ""),
        style=files("gateway.practice").joinpath("page.css").read_text("utf-8"),
        chapters="".join(chapters),
        body=parser.renderer.render(tokens, parser.options, {}),
    )


# -- within --------------------------------------------------------------------------------------------

_PAGE = """<!doctype html>
<html lang="{language}">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>
<style>{style}</style></head>
<body><nav><ol>{chapters}</ol></nav><main>
{body}</main></body></html>
"""


@cache
def _environment() -> jinja2.Environment:
    return jinja2.sandbox.SandboxedEnvironment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )


@cache
def _markdown() -> MarkdownIt:
    # What operators write is Markdown as well, and no HTML.
    return MarkdownIt("commonmark", {"html": False}).enable("table")


def _told(name: str, value: Any) -> Any:
    """A figure as a template gets it: what is none is `Absent`, within records as well."""
    if isinstance(value, Mapping):
        return {key: _told(f"{name}.{key}", each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_told(name, each) for each in value] or Absent(name)
    return Absent(name) if value is None or value == "" else value


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{language} = {_toml(text)}' for language, text in value.items())} }}"
    # A basic string of TOML escapes what JSON does, and DEL.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
