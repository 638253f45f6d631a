"""Every page's template, before anybody asks for the page."""

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
