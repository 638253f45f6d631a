"""Revocation lists of a running ``serve``: published by one process, handed out by all, by commands too."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from http.client import HTTPConnection, HTTPMessage, HTTPSConnection
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from ca.certificates import key_identifier
from ca.ocsp import hashes_of
from ca.profiles import CRL_PERIOD
from ca.publication import list_path
from enroll import crls
from gateway.serving.deployment import opened_deployment
from gateway.serving.figures import late_lists
from tests.cli.conftest import Shell
from tests.cli.processes import get_plain, tls, until
from tests.cli.test_serving import Gateway, ready
from tests.datadirs import PASSPHRASE
from tests.ports import free_port


def _asked(gateway: Gateway, path: str) -> tuple[int, HTTPMessage, bytes]:
    connection = HTTPSConnection("help.localhost", gateway.port, timeout=60)
    connection.sock = tls("help.localhost", gateway.port, gateway.ca)
    try:
        connection.request("GET", path)
        got = connection.getresponse()
        return got.status, got.headers, got.read()
    finally:
        connection.close()


def _path(gateway: Gateway) -> str:
    found = re.search(
        r'href="(/ca/issuing-[0-9a-f]+\.crl)"', gateway.get("help.localhost", "/certificates")[1]
    )
    assert found is not None
    return found[1]


def _plainly(port: int, path: str, question: bytes | None = None) -> bytes:
    """What the site of plain HTTP answers, on a connection of its own."""
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET" if question is None else "POST", path, question)
    got = connection.getresponse()
    assert got.status == 200
    try:
        return got.read()
    finally:
        connection.close()


def _answered(port: int, issuer: x509.Certificate, serial: str) -> str:
    """What OCSP says of a serial."""
    name = hashes_of(issuer)["sha256"]
    builder = ocsp.OCSPRequestBuilder().add_certificate_by_hash(
        name.name, name.key, int(serial, 16), hashes.SHA256()
    )
    said = _plainly(port, "/ocsp", builder.build().public_bytes(Encoding.DER))
    return ocsp.load_der_ocsp_response(said).certificate_status.name


def _number(der: bytes) -> int:
    return x509.load_der_x509_crl(der).extensions.get_extension_for_class(x509.CRLNumber).value.crl_number


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_one_list_for_everybody(lived: dict[str, Any], tmp_path: Path, workers: int) -> None:
    """There before anybody asks; the same bytes from every worker and for the command; anew after a change,
    under a number that only grows, also when the process that publishes is killed."""
    data = tmp_path / "data"
    shutil.copytree(lived["data"], data)
    passphrase = Path(lived["passphrase_file"]).read_text().strip()
    serials = [each["serial"] for each in lived["users"] if each["state"] == "active" and each["p12"]]
    setup = Gateway(None, data, 0, 0, tmp_path / "log", {})  # type: ignore[arg-type]
    setup.set("sites", "mailbox", "[]")
    setup.set("log", "level", '"info"')
    plain = free_port()
    setup.set("revocation", "port", str(plain))
    with ready(data, tmp_path, workers=workers, passphrase=passphrase) as gateway:
        path, numbers = _path(gateway), list[int]()
        issuers = [
            x509.load_pem_x509_certificate(each.read_bytes()) for each in (data / "ca").glob("issuing-*.pem")
        ]
        # Operators have a CA of their own.
        issuer = next(each for each in issuers if "OPERATORS" not in each.subject.rfc4514_string())

        def served() -> bytes:
            """What any of several connections gets, which is one thing."""
            answers = [_asked(gateway, path) for _ in range(6)]
            assert {status for status, _, _ in answers} == {200}
            assert len({(headers["ETag"], body) for _, headers, body in answers}) <= 2  # one was published
            numbers.extend(_number(body) for _, _, body in answers)
            return answers[-1][2]

        assert served()
        for turn, serial in enumerate(serials[:2]):
            if turn == 1 and workers > 1:
                leader = next(
                    number
                    for number in range(workers)
                    if f'sekisho_leader{{worker="{number}"}} 1' in get_plain(gateway.internal, "/metrics")[1]
                )
                report = json.loads((data / "run" / f"worker-{leader}.json").read_text())
                os.kill(report["pid"], signal.SIGKILL)
            assert gateway.command("cert", "revoke", serial).returncode == 0
            until(lambda s=serial: _tells(served(), s), gateway.log)  # type: ignore[misc]
            # By plain HTTP as well, and by OCSP from the signer: each worker at once, whoever publishes.
            assert _tells(_plainly(plain, list_path(key_identifier(issuer).hex())), serial)
            for _ in range(6):
                assert _answered(plain, issuer, serial) == "REVOKED"
        assert _answered(plain, issuer, "0badc0de") == "UNKNOWN"
        assert numbers == sorted(numbers)
        last = served()
        written = tmp_path / "list.crl"
        told = json.loads(gateway.command("cert", "crl", str(written)).stdout)["crl"]
        assert (written.read_bytes(), told["number"]) == (last, _number(last))
        assert served() == last
        assert len(list((data / "crls").iterdir())) == len(issuers)  # the newest of each CA


def _tells(der: bytes, serial: str) -> bool:
    return x509.load_der_x509_crl(der).get_revoked_certificate_by_serial_number(int(serial, 16)) is not None


@pytest.mark.slow
def test_a_server_without_room_for_a_list_serves_all_the_same(sekisho: Shell, tmp_path: Path) -> None:
    """503 with Retry-After until there is one; the log, the doctor and /readyz say so."""
    (sekisho.data / "crls").write_text("in the way")
    with ready(sekisho.data, tmp_path, workers=2) as gateway:
        status, headers, _ = _asked(gateway, _path(gateway))
        assert (status, headers["Retry-After"]) == (503, "5")
        until(lambda: gateway.says("; the last one stays; again in 30 s"), gateway.log)
        (found,) = [each for each in gateway.doctor() if each["check"] == "revocation list"]
        assert (found["state"], "none" in found["found"]) == ("bad", True)
        told = json.loads(get_plain(gateway.internal, "/readyz")[1])
        assert told["status"] == "ready"
        assert "is missing and no other one was made" in told["warnings"][0]
        (sekisho.data / "crls").unlink()
        # What its warning says to type mends it at once.
        assert gateway.command("cert", "crl", str(tmp_path / "x.crl")).returncode == 0
        assert _asked(gateway, _path(gateway))[0] == 200
        assert json.loads(get_plain(gateway.internal, "/readyz")[1])["warnings"] == []
        (found,) = [each for each in gateway.doctor() if each["check"] == "revocation list"]
        assert (found["state"], "number 1, 0 lines" in found["found"]) == ("ok", True)
        figures = get_plain(gateway.internal, "/metrics")[1]
        assert re.search(r'sekisho_crl_number\{issuer="[^"]+"\} 1\n', figures)
        assert re.search(r'sekisho_crl_days\{issuer="[^"]+"\} (7\.9|8\.0)', figures)


async def test_a_list_that_nobody_renews_is_warned_of(sekisho: Shell) -> None:
    """A new one is due each day; after two days without one something is wrong."""
    async with opened_deployment(sekisho.data, PASSPHRASE) as deployment:
        issuer = deployment.ra.authority.current
        assert len(await late_lists(deployment)) == 1
        listed = await crls.publish(deployment.ra, issuer, alone=True)
        for passed, told in ((0, 0), (2 * CRL_PERIOD - 60, 0), (2 * CRL_PERIOD + 60, 1)):
            moved = {"this": listed.this_update_at - passed, "next": listed.next_update_at - passed}
            await deployment.ra.database.write(
                lambda db, m=moved: db.execute(  # type: ignore[misc]
                    "UPDATE crls SET this_update_at = :this, next_update_at = :next", m
                )
            )
            assert len(await late_lists(deployment)) == told, passed
        assert "ends in 144 h" in (await late_lists(deployment))[0]
