"""Templates that operators change: what may and has to stand in one, and that what is offered is there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from ca.generations.endings import SHORT, Warned
from ca.storage import Transaction
from enroll import store
from enroll.languages import LANGUAGES
from enroll.mail import occasions, wording, writing
from enroll.mail import store as mail_store
from enroll.mail.wording import KINDS, LONGEST, OFFERED, SAMPLES
from enroll.mail.writing import MASK, PARTS, SECRETS, TEMPLATES
from enroll.ra import RegistrationAuthority
from tests.datadirs import POLICY_NUMBER, admit, open_office
from tests.looking import look

USER = "K12345678"
_ALL = [(template, language) for template in OFFERED for language in LANGUAGES]
# Of ours, what makes a text that may take its place.
_OURS = writing.packaged("pickup.txt")


@pytest.mark.parametrize(("template", "language"), _ALL)
def test_ours_may_take_its_own_place(template, language):
    """Nothing is wrong with what we ship, and its preview tells no secret."""
    text = writing.packaged(wording.file_of(template, language))
    assert wording.problems(template, language, text) == []
    subject, body = wording.preview(template, language, None)
    assert bool(subject) == (template not in PARTS)
    assert "{{" not in body
    assert (MASK in body) == bool(set(SECRETS) & wording.required(template, language))


def test_every_letter_has_its_template_and_every_value_its_sample():
    """A new kind of letter has a row, and what it offers can be shown."""
    assert {kind for kinds in KINDS.values() for kind in kinds} == set(TEMPLATES)
    assert {name for offered in OFFERED.values() for name in offered} == {*SAMPLES, *PARTS}


@pytest.mark.parametrize(
    ("text", "fault", "about"),
    [
        (_OURS.replace("{{ until }}", "{{ until }} {{ login_password }}"), "unknown", "login_password"),
        (_OURS.replace("{{ until }}", "{{ until }} {{ ca }} {{ nothing }}"), "unknown", "ca, nothing"),
        (_OURS.replace("{{ issue_password }}", ""), "missing", "issue_password"),
        (_OURS.replace("{{ url }}", "{% if reissue %}{{ url }}{% endif %}"), "missing", "url"),
        (_OURS.replace("Subject: ", "Subject: {{ issue_password }}"), "secret", "issue_password"),
        (_OURS.replace("Subject: ", "件名: "), "subject", ""),
        (_OURS.replace("Subject: ", "Subject: a\nBcc: "), "subject", ""),
        (_OURS.replace("\n\n", "\n", 1), "subject", ""),
        (_OURS.replace("Subject: ", "Subject: " + "あ" * 200), "long", "150 (Subject)"),
        (_OURS + "x" * LONGEST, "long", "6000"),
        (_OURS + "\u202e", "character", "U+202E"),
        (_OURS + "\x00\x1b", "character", "U+0000, U+001B"),
        (_OURS + "{{ name.__class__ }}", "forbidden", "line 24 (Getattr)"),
        (_OURS + "{{ name | upper }}", "forbidden", "line 24 (Filter)"),
        (_OURS + "{{ name() }}", "forbidden", "line 24 (Call)"),
        (_OURS + "{{ 9 * 9 }}", "forbidden", "line 24 (Mul)"),
        (_OURS + "{% for a in name %}{{ a }}{% endfor %}", "forbidden", "line 24 (For)"),
        (_OURS + "{% set url = 'https://evil.example' %}", "forbidden", "line 24 (Assign)"),
        (_OURS + "{% include '/etc/passwd' %}", "forbidden", "line 24 (Include)"),
        (_OURS + "{% if name %}" * 20 + "{% endif %}" * 20, "forbidden", "line 24 (nested too deeply)"),
        (_OURS + "{{ name", "syntax", "line 24: unexpected end of template"),
        (_OURS + "{% if name %}" * 300 + "{% endif %}" * 300, "long", "6000"),
        ("{%if a%}" * 340 + "{%endif%}" * 340, "syntax", "its conditions are nested too deeply"),
        ("", "subject", ""),
    ],
)
def test_what_no_template_can_be(text, fault, about):
    """Bad input: refused by name, and what is wrong is told all at once."""
    found = wording.problems("pickup", "ja", text)
    assert (fault, True) in [(each.fault, each.about.startswith(about)) for each in found], found


def test_what_a_template_may_be():
    """Another subject, other words, a condition on what is offered; lines that end as browsers end them."""
    text = (
        _OURS.replace("Subject: ", "Subject: 新しい").replace("\n", "\r\n")
        + "{% if not reissue %}初回{% endif %}"
    )
    assert wording.problems("pickup", "ja", text) == []
    subject, body = wording.preview("pickup", "ja", None, text)
    assert (subject.startswith("新しい"), "\r" in body, "初回" in body) == (True, False, False)


@pytest.fixture
async def ra(tmp_path):
    async with open_office(tmp_path, operator_mail="ca@example.jp") as ra:
        yield ra


def _every(db: Transaction, ra: RegistrationAuthority) -> dict[str, Callable[[], object]]:
    """Template -> what writes a letter from it."""
    user, organisation = store.user(db, USER), store.organisation(db, POLICY_NUMBER)
    admin = store.user(db, "KADMIN01")
    enrollment = store.enrollments_of(db, USER)[0]
    assert user is not None
    assert organisation is not None
    assert admin is not None
    at, op = ra.now(), ("to", "o@example.jp", "ja")

    def by(channel: str) -> Callable[[], object]:
        # Once each: the cause of a request's letter is its request.
        named = replace(enrollment, request_id=f"{len(channel):016d}")
        other = replace(organisation, issue_password_by=channel)
        return lambda: occasions.pickup_notice(db, ra, user, other, named, "PASS", at)

    ending = dict.fromkeys(("name", "day", "days", "service"), "x")
    glass = dict.fromkeys(("number", "who", "role", "reason", "until", "due"), "x")
    proposal = dict.fromkeys(("number", "what", "about", "until"), "x")
    return {
        "user_id": lambda: occasions.id_notice(db, ra, replace(user, password_hash="x"), "PASS", at),
        "password_reset": lambda: occasions.reset_notice(db, ra, user, "PASS", at),
        "pickup": by("mail"),
        "pickup_without_password, issue_password": by("postcard"),
        "issue_password_admin": by("admin"),
        "renewal": lambda: occasions.renewal_notice(db, ra, user, enrollment, enrollment, "renewal_30", at),
        "renewal_7": lambda: occasions.renewal_notice(db, ra, user, enrollment, enrollment, "renewal_7", at),
        "renewal_admin": lambda: occasions.members_reminder(db, ra, admin, [(user, enrollment)], at),
        "renewed_by_another": lambda: occasions.renewed_by_another(db, ra, user, enrollment, at),
        "issuer_distrusted": lambda: occasions.issuer_distrusted(db, ra, user, "CA", "1", at),
        "ca_ending": lambda: occasions.ca_ending(db, ra, Warned("1", "CA", SHORT, at), at),
        "operator_code": lambda: occasions.operator_code(db, ra, "n", "to", "o@example.jp", "C", "ja", at),
        "break_glass": lambda: occasions.break_glass(db, ra, "n", *op, glass, at),
        "operator_ending": lambda: occasions.operator_ending(
            db, ra, occasions.operator_letter(db, ra, *op, ending, "1"), at
        ),
        "proposal_expired": lambda: occasions.proposal_expired(db, ra, *op, proposal, at),
    }


async def test_whatever_is_offered_is_there_when_the_letter_is_written(ra):
    """Each template says everything that it may, each letter is written from it, and says it: nothing that
    operators decide makes a letter that cannot be written. It holds from the next letter on."""
    await admit(ra)
    await admit(ra, "KADMIN01", role="admin")

    def work(db: Transaction) -> list[str]:
        for template, offered in OFFERED.items():
            said = "".join(f"[{name}:{{{{ {name} }}}}]" for name in offered)
            head = "" if template in PARTS else "Subject: changed\n\n"
            file = wording.file_of(template, "ja")
            mail_store.set_template(db, file, f"{head}{template} {said}", ra.now(), "test")
        before = mail_store.newest(db)
        for write in _every(db, ra).values():
            write()
        rows = db.rows("SELECT kind, subject, shown_body FROM mails WHERE id > :id", {"id": before})
        return [f"{row['kind']} {row['subject']} {row['shown_body']}" for row in rows]

    written = await ra.database.write(work)
    assert {each.split()[0] for each in written} == set(TEMPLATES)
    for each in written:
        kind, subject, template = each.split()[:3]
        assert (subject, f"{template}.txt") == ("changed", TEMPLATES[kind])
        missing = [name for name in OFFERED[template] if f"[{name}:" not in each]
        assert missing == []


async def test_a_file_of_the_machine_and_a_change(ra, tmp_path):
    """A change takes the place of the machine's file as of ours, and what holds without it is that file."""
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "user_id.txt").write_text(
        "Subject: file\n\n{{ greeting }}{{ url }}{{ user_id }}{{ login_password }}{{ signature }}"
    )
    own = writing.read_templates(tmp_path / "templates")
    changed = writing.with_changed(own, {"user_id.txt": "Subject: changed\n\nx"})
    assert wording.preview("user_id", "ja", own)[0] == "file"
    assert wording.preview("user_id", "ja", changed)[0] == "changed"
    assert wording.default_of("user_id", "ja", changed).startswith("Subject: file")
    assert wording.default_of("user_id", "en", changed) == writing.packaged("user_id.en.txt")
    assert look(ra.database).rows("SELECT * FROM mail_templates") == []
