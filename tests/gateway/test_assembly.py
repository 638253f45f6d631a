"""How the sites of the configuration are built."""

from __future__ import annotations

from gateway.serving.assembly import _APPLICATIONS, _BUILDERS, POLICIES
from gateway.web.context import Role


def test_every_role_has_one_builder_and_one_policy() -> None:
    """A role that is added is decided upon: which certificates it wants, how it is built, what it shows.
    The mailbox shows nothing outside a demo."""
    assert set(POLICIES) == set(_BUILDERS) == set(Role)
    assert set(_APPLICATIONS) == set(Role) - {Role.MAILBOX}
