"""Organisations and users."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, Literal

import click

from enroll import generations, identifiers, listings, store
from enroll.jst import shown
from enroll.languages import LANGUAGES, Language
from enroll.mail import store as mail_store
from enroll.operators.asking import Proposed
from enroll.operators.roles import Act
from enroll.people import replacing
from enroll.people.register import Person
from enroll.ra import RegistrationAuthority
from enroll.refusals import Refusal
from enroll.requests.enrollment import Enrollment, state_at
from gateway.cli import registers
from gateway.cli.asked import asked, proposed
from gateway.cli.frame import ASKS, READS, Answer, answer, as_typed, deployment_command, detail, listing
from gateway.cli.postal import postal_options
from gateway.cli.registers import narrowed, of_organisation, wanted
from gateway.cli.root import GROUPS
from gateway.serving.deployment import Deployment

_ORG, _USER = GROUPS["org"], GROUPS["user"]


#: A user ID that is looked up.
USER_ID = click.argument("user_id", callback=as_typed(identifiers.typed_user_id))


def of_user(words: str = "Only this user's.") -> Callable[[Any], Any]:
    """The option that names whose they are."""
    meant = as_typed(identifiers.typed_user_id)
    return click.option("--user", "user_id", default=None, metavar="USER_ID", callback=meant, help=words)


#: An organisation's 証券番号.
_NUMBER = click.argument(
    "policy_number", metavar="NUMBER", callback=as_typed(identifiers.typed_policy_number)
)


#: What to say where somebody has the same name or mail address, and it is meant.
alike_option = click.option(
    "--alike", is_flag=True, help="Also where somebody has the same name or mail address already."
)


#: What a certificate may say of somebody who is being recorded.
DEPARTMENT = click.option("--department", default="", help="For profiles that say it in the certificate.")
PRINCIPAL = click.option("--principal", default="", help="The same, of a Windows domain: NAME@DOMAIN.")

#: フリガナ, which the search finds somebody by.
READING = click.option("--reading", default="", help="フリガナ, by which sekisho find finds the user, too.")

_ROLE, _NOTICE_BY = click.Choice(["member", "admin"]), click.Choice(["mail", "postcard"])
_LANGUAGE = click.Choice(LANGUAGES)
_PASSWORD_BY = click.Choice(["mail", "postcard", "admin"])


@deployment_command(_ORG, "add", Act.RECORD, ASKS)
@_NUMBER
@click.argument("name")
@click.option(
    "--lineages",
    type=int,
    default=None,
    help="PCs, and credentials for programs, per user; default: the setting.",
)
@click.option(
    "--issue-password-by",
    type=_PASSWORD_BY,
    default="mail",
    show_default=True,
    help="Other than mail: the issue password is not in the pick-up mail; admin: the 管理者 passes it on.",
)
@postal_options("")
@click.option("--profile", default="", help="Of its people's certificates: one of sekisho profile list.")
@click.option("--country", default="", help="For profiles that say it: two letters, such as JP.")
async def _org_add(
    deployment: Deployment,
    policy_number: str,
    name: str,
    lineages: int | None,
    issue_password_by: store.PasswordBy,
    **more: str,
) -> Answer:
    """Add an organisation by its 証券番号."""
    payload = {
        "policy_number": policy_number,
        "name": name,
        "lineages": lineages,
        "issue_password_by": issue_password_by,
        **more,
    }
    found = await asked(deployment, "organisation.add", payload)
    if isinstance(found, Proposed):
        return proposed(found)
    return detail("organisation", found.result, f"Next: sekisho user add {policy_number} NAME MAIL")


@deployment_command(_ORG, "list", Act.SEARCH, READS)
async def _org_list(deployment: Deployment) -> Answer:
    """List the organisations."""
    users, organisations = deployment.ra.database.read_now(
        lambda db: (store.count_users(db), store.organisations(db))
    )
    records = [asdict(each) | {"users": users.get(each.policy_number, 0)} for each in organisations]
    columns = {
        "policy_number": "Number",
        "name": "Name",
        "users": "Users",
        "issue_password_by": "Password by",
        "profile": "Profile",
        "created_at": "Since",
        "disabled_at": "Disabled",
    }
    return listing("organisations", records, columns)


@deployment_command(_ORG, "change", Act.RECORD, ASKS)
@_NUMBER
@click.option("--number", "new_number", default=None, help="Its new 証券番号.")
@click.option("--name", default=None)
@click.option("--lineages", type=int, default=None, help="PCs, and credentials for programs, per user.")
@click.option("--issue-password-by", type=_PASSWORD_BY, default=None)
@postal_options(None)
@click.option(
    "--profile", default=None, help="Of its people's certificates from now on, renewals too; '': the setting."
)
@click.option("--country", default=None, help="For profiles that say it: two letters, such as JP.")
async def _org_change(
    deployment: Deployment, policy_number: str, new_number: str | None, **given: Any
) -> Answer:
    """Record what is different about an organisation; its users and their certificates stay as they are."""
    changes = _changes({"policy_number": new_number, **given})
    payload = {"policy_number": policy_number, "changes": changes}
    found = await asked(deployment, "organisation.change", payload)
    return proposed(found) if isinstance(found, Proposed) else detail("organisation", found.result)


@deployment_command(_ORG, "disable", Act.RECORD, ASKS)
@_NUMBER
async def _org_disable(deployment: Deployment, policy_number: str) -> Answer:
    """Suspend an organisation: no login, no enrollment, no mails for its users. Nothing is revoked."""
    found = await asked(deployment, "organisation.disable", {"policy_number": policy_number})
    if isinstance(found, Proposed):
        return proposed(found)
    users, ended = len(found.result["user_ids"]), found.result["sessions_ended"]
    value = {"policy_number": policy_number, "users": users, "sessions_ended": ended}
    return answer(
        {"disabled": value}, f"{policy_number} is disabled with its users: {users}",
        f"To take it back: sekisho org enable {policy_number}",
    )  # fmt: skip


@deployment_command(_ORG, "enable", Act.RECORD, ASKS)
@_NUMBER
async def _org_enable(deployment: Deployment, policy_number: str) -> Answer:
    """Take a disabling back: its users' certificates work as before."""
    found = await asked(deployment, "organisation.enable", {"policy_number": policy_number})
    if isinstance(found, Proposed):
        return proposed(found)
    return answer({"enabled": {"policy_number": policy_number}}, f"{policy_number} is enabled")


def person_options(command: Callable[..., Any]) -> Any:
    """What is typed of somebody new, whether recorded at once or only applied for."""
    for add in (
        alike_option,
        postal_options(""),
        READING,
        PRINCIPAL,
        DEPARTMENT,
        click.option(
            "--language", type=_LANGUAGE, default="ja", show_default=True, help="Of the user's mails."
        ),
        click.option(
            "--notice-by",
            type=_NOTICE_BY,
            default="mail",
            show_default=True,
            help="How ユーザーIDのお知らせ goes out.",
        ),
        click.option("--role", type=_ROLE, default="member", show_default=True),
        click.option("--user-id", default="", help="4 to 12 of A-Z and 0-9; default: a generated one."),
        click.argument("mail"),
        click.argument("name"),
        _NUMBER,
    ):
        command = add(command)
    return command


@deployment_command(_USER, "add", Act.RECORD, ASKS)
@person_options
async def _user_add(
    deployment: Deployment,
    policy_number: str,
    name: str,
    mail: str,
    user_id: str,
    role: Literal["member", "admin"],
    notice_by: Literal["mail", "postcard"],
    language: Language,
    alike: bool,
    **more: str,
) -> Answer:
    """Add a user of an organisation, and queue both letters: the ID notice and the pick-up mail."""
    person = Person(policy_number, name, mail, user_id, role, notice_by, language, **more)
    found = await asked(deployment, "user.add", {"person": asdict(person), "alike": alike})
    if isinstance(found, Proposed):
        return proposed(found)
    return detail(
        "user",
        found.result,
        "Both letters are queued; they tell the user the passwords, and nobody else sees them.",
    )


@deployment_command(_USER, "list", Act.SEARCH, READS)
@of_organisation("Only this organisation's.")
@narrowed
@click.option("--status", type=click.Choice(["active", "disabled"]), default=None)
async def _user_list(
    deployment: Deployment, policy_number: str | None, status: str | None, **given: Any
) -> Answer:
    """List the users. With --ends-before or --ends-after, those with a live certificate that ends then."""
    database = deployment.ra.database
    if policy_number is not None:
        number = policy_number
        if database.read_now(lambda db: store.organisation(db, number)) is None:
            raise Refusal("not_found", field="policy_number")
    found = listings.users(database, wanted(policy_number=policy_number, state=status, **given))
    gone = database.read_now(generations.distrusted)
    columns = {
        "user_id": "User ID",
        "policy_number": "Number",
        "name": "Name",
        "mail": "Mail",
        "role": "Role",
        "created_at": "Since",
        "disabled_at": "Disabled",
    }
    if gone:
        columns["distrusted"] = "Certificate of a distrusted CA"
    records = (
        user_record(each) | {"distrusted": _distrusted(deployment.ra, each.user_id, gone)} for each in found
    )
    return listing("users", records, columns)


def _distrusted(ra: RegistrationAuthority, user_id: str, gone: frozenset[str]) -> str | None:
    """Of whom a user's only certificate is, where that lets nobody in any more, and what the user was told;
    ``gone``: such CAs."""
    if not gone:
        return None
    at = ra.now()
    found = ra.database.read_now(
        lambda db: replacing.stopped(db, store.enrollments_of(db, user_id), gone, at)
    )
    if found is None or not found.alone:
        return None
    told = f"told {shown(found.told_at)}" if found.told_at is not None else "not told yet: sekisho ca reissue"
    waits = ", may pick up another" if found.invited else ""
    return f"{ra.authority.issuer(found.issuer_id).common_name}: {told}{waits}"


@deployment_command(_USER, "show", Act.SEARCH, READS)
@USER_ID
async def _user_show(deployment: Deployment, user_id: str) -> Answer:
    """Show a user with the requests and certificates, newest first."""
    ra = deployment.ra
    found = known_user(ra, user_id)
    at, mine = ra.now(), ra.database.read_now(lambda db: store.enrollments_of(db, user_id))
    requests = [request_record(each, at) for each in mine]
    certificates = list(registers.certificates(ra, listings.Wanted(user_id=user_id)))
    lines = [f"request {each['request_id']}  {each['kind']}  {each['state']}" for each in requests]
    lines += [
        f"certificate {each['serial']}  {each['common_name']}  {each['state']}"
        f"  until {shown(each['not_after_at'])}"
        for each in certificates
    ]
    gone = ra.database.read_now(generations.distrusted)
    stopped = _distrusted(ra, user_id, gone)
    lines += [f"its certificate lets nobody in, by the distrusted CA {stopped}"] if stopped else []
    record = user_record(found) | {"distrusted": stopped, "requests": requests, "certificates": certificates}
    return detail("user", record, *lines)


@deployment_command(_USER, "disable", Act.RECORD, ASKS)
@USER_ID
async def _user_disable(deployment: Deployment, user_id: str) -> Answer:
    """End a user's access: no login, no mails, every live certificate revoked."""
    found = await asked(deployment, "user.disable", {"user_id": user_id})
    if isinstance(found, Proposed):
        return proposed(found)
    value = {name: found.result[name] for name in ("user_id", "revoked", "sessions_ended")}
    return answer({"disabled": value}, f"{user_id} is disabled; certificates revoked: {value['revoked']}")


@deployment_command(_USER, "enable", Act.RECORD, ASKS)
@USER_ID
async def _user_enable(deployment: Deployment, user_id: str) -> Answer:
    """Take a disabling back: the login works again, revoked certificates stay revoked."""
    found = await asked(deployment, "user.enable", {"user_id": user_id})
    if isinstance(found, Proposed):
        return proposed(found)
    following = f"Next: sekisho request reissue {user_id} --reason expired"
    return answer({"enabled": {"user_id": user_id}}, f"{user_id} may log in again", following)


@deployment_command(_USER, "change", Act.RECORD, ASKS)
@USER_ID
@click.option("--name", default=None)
@click.option("--mail", default=None, help="Letters that still wait go there, too.")
@click.option("--role", type=_ROLE, default=None)
@click.option("--notice-by", type=_NOTICE_BY, default=None)
@click.option("--language", type=_LANGUAGE, default=None, help="Of the user's mails, from now on.")
@click.option("--department", default=None, help="For profiles that say it; in certificates from now on.")
@click.option("--principal", default=None, help="The same, of a Windows domain: NAME@DOMAIN.")
@click.option("--reading", default=None, help="フリガナ, by which sekisho find finds the user, too.")
@postal_options(None)
@of_organisation("Move to this organisation.")
@alike_option
async def _user_change(deployment: Deployment, user_id: str, alike: bool, **given: Any) -> Answer:
    """Record what is different about a user. User ID, passwords and certificates stay as they are."""
    payload = {"user_id": user_id, "changes": _changes(given), "alike": alike}
    found = await asked(deployment, "user.change", payload)
    if isinstance(found, Proposed):
        return proposed(found)
    after = []
    if given["mail"] is not None:
        after.append(
            "What was sent is not sent again. If the pick-up mail went to a wrong address: "
            f"sekisho request reissue {user_id} --reason mail_lost; if the ID notice did: "
            f"sekisho user reset-password {user_id}"
        )
        after += _refused_before(deployment.ra, user_id)
    return detail("user", found.result, *after)


def _refused_before(ra: RegistrationAuthority, user_id: str) -> list[str]:
    """What to type for letters that were refused at an address that has been put right."""
    refused = ra.database.read_now(lambda db: mail_store.listed(db, user_id, state="failed"))
    numbers = sorted(each["id"] for each in refused if each["sent_at"] is None)
    if not numbers:
        return []
    told = "; ".join(f"sekisho mail retry --letter {number}" for number in numbers)
    return [f"Letters that were refused at the old one, and never left: {told}"]


@deployment_command(_USER, "reset-password", Act.RESET_PASSWORD, ASKS)
@USER_ID
async def _user_reset(deployment: Deployment, user_id: str) -> Answer:
    """Draw a new first login password, and queue the letter that tells it; the old one ends at once."""
    found = await asked(deployment, "user.reset_password", {"user_id": user_id})
    if isinstance(found, Proposed):
        return proposed(found)
    value = {name: found.result[name] for name in ("user_id", "sessions_ended")}
    return answer(
        {"reset": value}, "The letter is queued; it tells the user the new password, and nobody else sees it."
    )


def _changes(given: Mapping[str, Any]) -> dict[str, Any]:
    """What was given of the options. UsageError for nothing."""
    found = {name: value for name, value in given.items() if value is not None}
    if not found:
        raise click.UsageError("say what changes, with at least one option")
    return found


def known_user(ra: RegistrationAuthority, user_id: str) -> store.User:
    """The user, or Refusal("not_found")."""
    found = ra.database.read_now(lambda db: store.user(db, user_id))
    if found is None:
        raise Refusal("not_found", field="user_id")
    return found


def user_record(user: store.User) -> dict[str, Any]:
    """A user for operators: everything but the password's hash."""
    record = asdict(user)
    del record["password_hash"]
    return record


#: What operators see of a request. No password, no key.
_REQUEST_KEYS = (
    "request_id",
    "kind",
    "user_id",
    "state",
    "common_name",
    "profile",
    "door",
    "serial",
    "downloads",
    "application_id",
    "replaces_serial",
    "by_another",
    "revoke_old",
    "created_at",
    "announced_at",
    "submitted_at",
    "issued_at",
    "picked_up_at",
    "used_at",
    "ended_at",
    "window_ends_at",
    "not_after_at",
)


def request_record(enrollment: Enrollment, at: int) -> dict[str, Any]:
    """A request for operators, as it is at a moment."""
    record: Mapping[str, Any] = {name: getattr(enrollment, name) for name in _REQUEST_KEYS}
    return {**record, "state": str(state_at(enrollment, at)), "key_held": enrollment.sealed_key is not None}
