"""Every page's template, before anybody asks for the page."""

import re
from pathlib import Path

import pytest

import gateway
from gateway.web import pages

_HERE = Path(gateway.__path__[0])
_SITES = sorted(
    ".".join(each.parent.relative_to(_HERE.parent).parts)
    for each in _HERE.rglob("templates")
    if each.is_dir() and each.parent.name != "web"
)


@pytest.mark.parametrize("site", _SITES)
def test_every_template_can_be_compiled(site: str) -> None:
    """A slip in one of them is found here, and not by who opens that page first."""
    environment = pages._environment(site)
    names = environment.list_templates(extensions=["html"])
    assert names
    for name in names:
        environment.get_template(name)


@pytest.mark.parametrize("file", sorted(_HERE.rglob("templates/**/*.html")), ids=lambda each: each.name)
def test_a_sentence_has_one_form_of_moment(file: Path) -> None:
    """2026年5月1日（金）14:05 wherever something is said; the manual's form is for cells of tables, and for a
    clock that is compared by the second. Nobody gives `moment` another meaning: layouts would get it too."""
    text = file.read_text("utf-8")
    written = re.sub(r"<td\b.*?</td>|<time\b.*?</time>|{%.*?%}", "", text, flags=re.DOTALL)
    said = re.findall(r"<p\b.*?</p>|<span\b.*?</span>|^{{ t\([^\n]*", written, re.DOTALL | re.MULTILINE)
    assert [each for each in said if re.search(r"\bshown\((?!\")", each)] == []
    assert "macro moment(" not in text
