"""Mail templates: what is in force, another text for one, by two people, and ours back."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from enroll.languages import LANGUAGES, Language
from enroll.mail.wording import LONGEST, OFFERED
from enroll.operators import templates
from enroll.operators.asking import Done, Proposed
from enroll.operators.roles import Act
from enroll.refusals import Refusal
from gateway.cli.asked import asked, proposed
from gateway.cli.caller import Given, InputFile, acting
from gateway.cli.frame import ASKS, READS, Answer, answer, deployment_command, listing, plain
from gateway.cli.output import Console
from gateway.cli.root import GROUPS
from gateway.serving.deployment import Deployment

_TEMPLATE = GROUPS["template"]
_NAME = click.argument("name", type=click.Choice(list(OFFERED)))
_LANGUAGE = click.option("--language", type=click.Choice(LANGUAGES), default="ja", show_default=True)


@deployment_command(_TEMPLATE, "list", Act.TEMPLATES, READS)
async def _list(deployment: Deployment) -> Answer:
    """List the templates of letters, and whose text is in force: ours, a file of this machine, or changed."""
    found = deployment.ra.database.read_now(lambda db: templates.listed(db, deployment.ra, acting()))
    columns = {
        "template": "Template", "language": "Language", "source": "Text", "changed_at": "Changed",
        "changed_by": "By", "subject": "Subject",
    }  # fmt: skip
    return listing("templates", (asdict(each) for each in found), columns)


@deployment_command(_TEMPLATE, "show", Act.TEMPLATES, READS)
@_NAME
@_LANGUAGE
@click.option("--preview", is_flag=True, help="With sample values, as its recipient reads it.")
async def _show(deployment: Deployment, name: str, language: Language, preview: bool) -> Answer:
    """Show a template's text, as `template change` takes it, and the values that it may and has to say."""
    found = deployment.ra.database.read_now(
        lambda db: templates.one(db, deployment.ra, acting(), name, language)
    )
    subject, body = found.preview
    record: dict[str, Any] = {
        **asdict(found.listed), "text": found.text, "may_say": list(found.offered),
        "has_to_say": sorted(found.required), "preview": {"subject": subject, "body": body},
    }  # fmt: skip

    def show(console: Console) -> None:
        words = f"{subject}\n\n{body}" if preview else found.text
        console.print(plain(words.rstrip("\n")), soft_wrap=True)

    return Answer({"template": record}, show)


@deployment_command(_TEMPLATE, "change", Act.TEMPLATES, ASKS)
@_NAME
@_LANGUAGE
@click.argument("file", type=InputFile("template", dash=True, most=4 * LONGEST + 1), default="-")
async def _change(deployment: Deployment, name: str, language: Language, file: Given) -> Answer:
    """Put another text in force, from a file or standard input; it takes two people.

    It may say the values that `template show` lists, by {{ name }} and {% if name %} ... {% endif %}, and has
    to say those that ours does. Every process writes the next letter by it.
    """
    try:
        text = file.content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Refusal("invalid_input", field="template", detail="it is not UTF-8: save it as UTF-8") from None
    payload = {"template": name, "language": language, "text": text}
    return _told(await asked(deployment, "template.change", payload), f"{name}.{language} is changed.")


@deployment_command(_TEMPLATE, "reset", Act.TEMPLATES, ASKS)
@_NAME
@_LANGUAGE
async def _reset(deployment: Deployment, name: str, language: Language) -> Answer:
    """Put the text in force again that holds without a change; it takes two people."""
    payload = {"template": name, "language": language}
    return _told(await asked(deployment, "template.reset", payload), f"{name}.{language} is as it was.")


@deployment_command(_TEMPLATE, "test", Act.TEMPLATES, ASKS)
@_NAME
@_LANGUAGE
async def _test(deployment: Deployment, name: str, language: Language) -> Answer:
    """Send yourself a letter with sample values, to the address that is recorded of you; once a minute."""
    to = await templates.test(deployment.ra, acting(), name, language)
    return answer({"test": {"template": name, "language": language, "to": to}}, f"a test letter goes to {to}")


def _told(found: Done | Proposed, line: str) -> Answer:
    return proposed(found) if isinstance(found, Proposed) else answer(dict(found.result), line)
