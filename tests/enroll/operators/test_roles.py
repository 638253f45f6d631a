"""Who may what: the table of the requirements, a second time, and what is not in it is denied."""

import pytest

from enroll.operators.roles import LABELS, Act, Role, Verdict, decides, permitted, roles_with

#: O3 as it was written down: act -> desk, registrar, approver, CA officer, auditor.
EXPECTED = {
    "standing": "read read read read read",
    "search": "yes yes yes no read",
    "call": "yes yes no no no",
    "suspend": "yes yes no no no",
    "reset_password": "propose yes no no no",
    "record": "no propose decide no read",
    "take_in": "yes yes no no no",
    "applications": "read propose decide no read",
    "revoke": "propose yes no no read",
    "revoke_many": "propose propose decide no read",
    "purge": "no propose decide no read",
    "templates": "no propose decide no read",
    "ca": "no no no propose+decide read",
    "operators": "no no decide propose+decide read",
    "settings": "no no no propose+decide read",
    "audit": "no no own no yes",
    # Not in O3: decided since (docs/DECISIONS.md, O16).
    # Not in O3: whoever records people prints what tells them their passwords.
    "print": "read yes read no read",
    "reports": "read read read no read",
    # Nor that one: to send again to where two have agreed that it goes, or not at all, takes one.
    "deliveries": "no no no yes read",
    # Not in O3: decided since (docs/DECISIONS.md, O17).
    "campaigns": "read yes read read read",
    "letters_many": "no propose decide no read",
}
WORDS = {
    "no": set(),
    "own": {Verdict.OWN},
    "read": {Verdict.READ},
    "propose": {Verdict.READ, Verdict.PROPOSE},
    "decide": {Verdict.READ, Verdict.DECIDE},
    "propose+decide": {Verdict.READ, Verdict.PROPOSE, Verdict.DECIDE},
    "yes": {Verdict.READ, Verdict.DO},
}


def test_every_act_has_its_row():
    """A new act says here what each role may."""
    assert {str(act) for act in Act} == set(EXPECTED)


@pytest.mark.parametrize("act", Act)
def test_each_role_may_what_the_requirements_say(act):
    """All verdicts of an act, for each role; none more."""
    for role, word in zip(Role, EXPECTED[act].split(), strict=True):
        assert set(permitted([role], act)) == WORDS[word], role


def test_who_has_no_role_may_nothing():
    """The default is no: without a role, and for an act that the table does not have."""
    assert not any(permitted([], act) for act in Act)
    assert not permitted(list(Role), "unheard of")  # type: ignore[arg-type]


def test_several_roles_may_what_each_may():
    """Together they may all of it, and what none may stays no."""
    found = permitted([Role.DESK, Role.AUDITOR], Act.RESET_PASSWORD)
    assert found == Verdict.READ | Verdict.PROPOSE
    assert not permitted([Role.DESK, Role.AUDITOR], Act.SETTINGS) & Verdict.PROPOSE


def test_a_service_proposes_and_never_decides():
    """Whatever its role."""
    for act in Act:
        assert Verdict.DECIDE not in permitted(list(Role), act, "service")
    assert Verdict.PROPOSE in permitted([Role.REGISTRAR], Act.RECORD, "service")


def test_what_one_may_do_alone_one_may_decide():
    """A desk's proposal of a password is decided by a registrar; reading decides nothing."""
    assert decides(permitted([Role.REGISTRAR], Act.RESET_PASSWORD))
    assert not decides(permitted([Role.AUDITOR], Act.RECORD))
    assert roles_with(Act.RECORD, deciding=True) == (Role.APPROVER,)
    assert roles_with(Act.RECORD) == (Role.REGISTRAR,)


def test_every_role_has_words():
    """In both languages."""
    assert set(LABELS) == set(Role)
    assert all(all(each) for each in LABELS.values())
