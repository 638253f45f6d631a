"""What the protocol issued opens the gate, and one state machine stands behind protocol and pages."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from http.client import HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, pkcs12

from enroll.client import work
from enroll.client.folder import Folder
from tests.clients.demo import Demo

USER = "RIYOU001"


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def folder(demo: Demo, tmp_path: Path) -> Folder:
    """A certificate from the protocol."""
    file = tmp_path / "eab.json"
    file.write_text(json.dumps(demo.sekisho("eab", "create", USER)))
    folder = Folder(tmp_path / "client")
    work.enroll(folder, work.Wishes(demo.directory, ca_file=demo.ca_file), work.read_credential(file), now())
    return folder


class Browser:
    """A visitor of one site, who keeps the cookies."""

    def __init__(self, demo: Demo, connection: Any, site: str) -> None:
        self._connection = connection
        self._origin = f"https://{site}.localhost:{demo.summary['port']}"
        self._cookies: dict[str, str] = {}

    def __call__(self, path: str, **fields: str) -> tuple[int, str, HTTPResponse]:
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in self._cookies.items())}
        if fields:
            headers |= {"Origin": self._origin, "Content-Type": "application/x-www-form-urlencoded"}
            self._connection.request("POST", path, urlencode(fields), headers)
        else:
            self._connection.request("GET", path, headers=headers)
        got = self._connection.getresponse()
        for name, value in got.getheaders():
            if name.lower() == "set-cookie":
                key, _, rest = value.partition("=")
                self._cookies[key] = rest.partition(";")[0]
        return got.status, got.read().decode(), got


@contextmanager
def browsing(demo: Demo, site: str, folder: Folder) -> Iterator[Browser]:
    with demo.visit(site, (folder.fullchain_file, folder.key_file)) as connection:
        yield Browser(demo, connection, site)


@pytest.mark.slow
def test_it_logs_in_and_is_refused_after_revocation(demo: Demo, folder: Folder) -> None:
    """Certificate, user ID and password together open the service; the revoked certificate does not."""
    password = demo.user(USER)["login_password"]
    with browsing(demo, "service", folder) as browser:
        status, _, answer = browser("/login", user_id=USER, password="wrong")
        assert (status, browser(answer.getheader("Location") or "")[0]) == (303, 403)
        status, _, answer = browser("/login", user_id=USER, password=password)
        assert (status, answer.getheader("Location")) == (303, "/login?entered&next=/portal/")
        status, page, _ = browser("/portal/")
        assert status == 200
        common_name = folder.certificate().subject.rfc4514_string().removeprefix("CN=")
        assert common_name in page
        assert folder.state()["names"] == [f"{USER.lower()}.users.kinen.example"]
        work.revoke(folder, now(), 1)
        with suppress(OSError):  # half a second later its connection has been ended
            assert browser("/portal/")[0] == 403
    with browsing(demo, "service", folder) as browser:
        status, page, _ = browser("/login")
        assert (status, "クライアント証明書は失効しています" in page) == (403, True)


def test_the_pages_know_what_the_protocol_issued(demo: Demo, folder: Folder) -> None:
    """An order of the protocol is in the user's portal, with the common name and end of the certificate."""
    common_name = folder.certificate().subject.rfc4514_string().removeprefix("CN=")
    with browsing(demo, "service", folder) as browser:
        browser("/login", user_id=USER, password=demo.user(USER)["login_password"])
        page = browser("/portal/certificates")[1]
    assert common_name in page
    # The one that was picked up on the pages is there beside it.
    assert demo.user(USER)["common_name"] in page
    shown = demo.sekisho("cert", "list")["certificates"]
    assert common_name in {each["common_name"] for each in shown}


def test_the_protocol_renews_what_the_pages_issued(demo: Demo, tmp_path: Path) -> None:
    """A person's certificate near its end, renewed by client-cert-01: the renewal site shows 発行済み."""
    person = demo.user("KIGEN003")
    bundle = pkcs12.load_pkcs12(Path(person["p12"]).read_bytes(), person["p12_password"].encode())
    assert bundle.cert is not None
    folder = Folder(tmp_path / "person")
    chain = [bundle.cert.certificate, *(each.certificate for each in bundle.additional_certs)]
    pem = b"".join(one.public_bytes(Encoding.PEM) for one in chain)
    folder.store(bundle.key, pem, None)  # type: ignore[arg-type]
    folder.remember(
        directory=demo.directory,
        ca_file=str(demo.ca_file),
        names=[person["common_name"]],
        key="rsa-2048",
    )
    with browsing(demo, "renewal", folder) as browser:
        assert "発行済み" not in browser("/status")[1]
        assert work.renew(folder, now(), renewal_directory=demo.renewal_directory)["result"] == "renewed"
        # The connection still presents the certificate that was replaced.
        page = browser("/status")[1]
    assert "発行済み" in page
    assert person["renewal_request_id"] in page
    assert folder.certificate().subject.rfc4514_string() == f"CN={person['common_name']}"
    (opened,) = [
        each
        for each in demo.sekisho("request", "list", "--user", "KIGEN003")["requests"]
        if each["request_id"] == person["renewal_request_id"]
    ]
    # Opened by a page, and asked for by the protocol: it is that door's.
    assert (opened["kind"], opened["door"]) == ("renewal", "protocol")
    assert opened["serial"] == f"{folder.certificate().serial_number:032x}"
