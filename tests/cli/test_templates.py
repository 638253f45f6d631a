"""Templates by command: shown, changed, taken back and tested, by the functions of the console."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

from enroll.languages import LANGUAGES
from enroll.mail import writing
from enroll.mail.wording import OFFERED
from tests.cli.conftest import Shell

OURS = writing.packaged("user_id.txt")


def test_a_template_is_changed_and_taken_back(peopled: Shell, tmp_path: Path) -> None:
    """What `show` prints is what `change` takes; what is wrong is refused by name, with what to type; doctor
    says what was changed; a test goes to an operator's address, and whoever has none is told so."""
    assert len(peopled("template", "list").value["templates"]) == len(LANGUAGES) * len(OFFERED)
    shown = peopled("template", "show", "user_id")
    assert shown.value["template"]["source"] == "ours"
    assert shown.value["template"]["has_to_say"] == [
        "greeting",
        "login_password",
        "signature",
        "url",
        "user_id",
    ]
    assert peopled("template", "show", "user_id", json_output=False).out.strip() == OURS.strip()
    assert "K12345678" in peopled("template", "show", "user_id", "--preview", json_output=False).out
    file = tmp_path / "text.txt"
    file.write_text(OURS.replace("{{ user_id }}", "{{ login }}"))
    refused = peopled("template", "change", "user_id", str(file))
    assert refused.code == 1
    assert refused.error["message"].endswith(
        "there is no value login for this template; those that there are: sekisho template show NAME; "
        "these values have to be said, whatever else: user_id"
    )
    file.write_bytes(b"Subject: \xff")
    assert "not UTF-8" in peopled("template", "change", "user_id", str(file)).error["message"]
    file.write_text("\ufeff" + OURS.replace("Subject: ", "Subject: 別の"))
    assert peopled("template", "change", "user_id", str(file)).code == 0
    assert peopled("template", "show", "user_id").value["template"]["source"] == "changed"
    again = peopled("template", "change", "user_id", str(file))
    assert "stands there already" in again.error["message"]
    peopled("user", "reset-password", "K12345678")
    peopled("user", "add", "12345678", "別人", "o@example.jp", "--user-id", "KOTHER")
    subjects = [each["subject"] for each in peopled("mail", "list", "--kind", "user_id").value["mails"]]
    assert [each.startswith("別の") for each in subjects] == [True, False]
    found = {each["check"]: each["found"] for each in peopled("doctor").value["checks"]}
    assert found["mail templates"].endswith("changed here: user_id.txt")
    assert "no mail address here" in peopled("template", "test", "user_id").error["message"]
    assert peopled("template", "reset", "user_id").code == 0
    assert "nobody has changed it" in peopled("template", "reset", "user_id").error["message"]


def test_an_operator_tests_and_proposes(peopled: Shell, tmp_path: Path) -> None:
    """With roles it takes two, and the test goes to one's own address, once a minute."""
    me = pwd.getpwuid(os.getuid()).pw_name
    words = ("--role", "registrar", "--account", me, "--mail", "me@example.jp")
    assert peopled("operator", "add", "suzuki", *words).code == 0
    tested = peopled("template", "test", "user_id", "--language", "en")
    assert tested.value == {"test": {"template": "user_id", "language": "en", "to": "me@example.jp"}}
    file = tmp_path / "text.txt"
    file.write_text(OURS.replace("Subject: ", "Subject: 別の"))
    proposed = peopled("template", "change", "user_id", str(file)).value["proposal"]
    assert (proposed["subject"], proposed["deciders"]) == ("user_id.ja", ["approver"])
    assert peopled("template", "show", "user_id").value["template"]["source"] == "ours"
