"""``eab``: a key is shown once, to whoever made it."""

from __future__ import annotations

import base64

from tests.cli.conftest import Shell


def test_credentials(peopled: Shell) -> None:
    """Credentials have 256-bit keys, are listed without them, and end once."""
    made = peopled("eab", "create", "K12345678", "--count", "2").value["credentials"]
    assert {len(base64.urlsafe_b64decode(each["hmac_key"] + "==")) for each in made} == {32}
    assert made[0]["identifiers"] == [{"type": "dns", "value": "k12345678.users.kinen.example"}]
    listed = peopled("eab", "list", "K12345678")
    assert {each["kid"] for each in listed.value["credentials"]} == {each["kid"] for each in made}
    assert "hmac_key" not in listed.out
    assert made[0]["hmac_key"] not in listed.out + peopled("audit", "show").out
    kid = made[0]["kid"]
    assert peopled("eab", "withdraw", kid).value == {"withdrawn": {"kid": kid}}
    again = peopled("eab", "withdraw", kid)
    assert (again.error["code"], again.error["field"]) == ("not_found", "kid")


def test_credentials_refused(peopled: Shell) -> None:
    """Unknown and disabled users, and numbers that cannot be, are refused by name."""
    assert peopled("eab", "create", "K00000000").error["field"] == "user_id"
    assert peopled("eab", "list", "K00000000").error["field"] == "user_id"
    assert peopled("eab", "create", "K12345678", "--count", "0").error["code"] == "usage"
    assert peopled("eab", "create", "K12345678", "--profile", "root").error["field"] == "profile"
    peopled("user", "disable", "K12345678")
    assert peopled("eab", "create", "K12345678").error["code"] == "user_disabled"
