"""A client written from PROTOCOL.md alone goes through every flow, and meets what the document says."""

from __future__ import annotations

import ast
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from tests.clients import second_client
from tests.clients.demo import Demo
from tests.clients.second_client import Answer, Key, Refused, cert_id, new_key
from tests.enroll.described import faults

pytestmark = pytest.mark.client


class Client(second_client.Client):
    """The client, with each answer of the real server compared with openapi.yaml."""

    def request(self, method: str, url: str, body: bytes | None = None, **headers: str) -> Answer:
        answer = super().request(method, url, body, **headers)
        path = url.removeprefix(self.directory_url.removesuffix("/directory"))
        assert faults(method, path, answer.status, answer.headers, answer.body) == []
        return answer


def registered(demo: Demo, user_id: str) -> tuple[Client, str]:
    (credential,) = demo.credentials(user_id)
    client = Client(demo.directory, demo.ca_file)
    assert client.register(credential, termsOfServiceAgreed=True).status == 201
    return client, credential["identifiers"][0]["value"]


def files(place: Path, chain: bytes, key: Key) -> tuple[Path, Path]:
    place.mkdir(exist_ok=True)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    paths = (place / "chain.pem", place / "key.pem")
    for path, content in zip(paths, (chain, private), strict=True):
        path.write_bytes(content)
    return paths


def refused(answer: pytest.ExceptionInfo[Refused]) -> tuple[int, str]:
    return answer.value.said


def test_it_is_written_from_the_text() -> None:
    """It imports the standard library and `cryptography`, and nothing of ours."""
    tree = ast.parse(Path(second_client.__file__).read_text("utf-8"))
    found = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    found |= {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    ours = {"ca", "enroll", "gateway", "conformance", "tests", "acme", "josepy"}
    assert not {name.partition(".")[0] for name in found} & ours


def test_enrolling(demo: Demo) -> None:
    """Sections 3 to 8: account, order, certificate, the longer chain, the list; badNonce is tried again."""
    client, name = registered(demo, "RIYOU001")
    assert set(client.directory["meta"]["profiles"]) == {"client-automated", "client-person"}
    client.nonce = "c3BlbnQ"
    order = client.order(name, profile="client-automated")
    assert (order.status, order.json["status"]) == (201, "ready")
    authorization = client.post(order.json["authorizations"][0]).json
    (challenge,) = authorization["challenges"]
    assert (authorization["status"], challenge["type"]) == ("valid", "sekisho-eab-01")
    assert client.post(challenge["url"], {}).json == challenge
    key = new_key()
    chain, certificates = client.finalize(order, name, key)
    assert certificates[0].public_key() == key.public_key()
    alternate = chain.link("alternate")
    assert alternate is not None
    longer = x509.load_pem_x509_certificates(client.post(alternate).body)
    assert longer[: len(certificates)] == certificates
    assert longer[-1].issuer == longer[-1].subject
    assert client.orders() == [order.headers["Location"]]
    again = Client(demo.directory, demo.ca_file, key=client.key)
    assert again.register().status == 200
    assert again.kid == client.kid


def test_what_is_refused(demo: Demo) -> None:
    """Sections 4 to 6 and 11: each with its type."""
    (credential,) = demo.credentials("RIYOU001")
    client = Client(demo.directory, demo.ca_file)
    with pytest.raises(Refused) as answer:
        client.register()
    assert refused(answer) == (400, "externalAccountRequired")
    with pytest.raises(Refused) as answer:
        client.register({**credential, "hmac_key": second_client.b64(b"x" * 32)})
    assert refused(answer) == (403, "unauthorized")
    assert client.register(credential).status == 201
    other = Client(demo.directory, demo.ca_file)
    with pytest.raises(Refused) as answer:
        other.register(credential)
    assert refused(answer) == (403, "unauthorized")
    with pytest.raises(Refused) as answer:
        client.order("somebody-else.example")
    assert refused(answer) == (403, "rejectedIdentifier")
    with pytest.raises(Refused) as answer:
        client.order(credential["identifiers"][0]["value"], profile="other")
    assert refused(answer) == (400, "invalidProfile")
    order = client.order(credential["identifiers"][0]["value"])
    with pytest.raises(Refused) as answer:
        client.finalize(order, "somebody-else.example", new_key())
    assert refused(answer) == (400, "badCSR")
    assert client.post(order.headers["Location"]).json["status"] == "ready"
    contacts = [f"mailto:c{number}@example.jp" for number in range(6)]
    with pytest.raises(Refused) as answer:
        client.post(client.kid or "", {"contact": contacts})
    assert refused(answer) == (400, "malformed")


def test_renewing(demo: Demo) -> None:
    """Section 9: the window, an order that replaces, and once only."""
    client, name = registered(demo, "RIYOU002")
    first = client.issue(name, new_key())
    window = client.renewal(first)
    assert window.headers["Retry-After"] == "21600"
    opens = datetime.fromisoformat(window.json["suggestedWindow"]["start"])
    assert timedelta(days=59) < opens - datetime.now(UTC) < timedelta(days=61)
    with demo.on_day(62):
        client.nonce = None
        order = client.order(name, replaces=cert_id(first))
        assert order.json["replaces"] == cert_id(first)
        assert (
            client.order(name.upper(), replaces=cert_id(first)).headers["Location"]
            == order.headers["Location"]
        )
        _, (second, *_) = client.finalize(order, name, new_key())
        assert second.subject == first.subject
        with pytest.raises(Refused) as answer:
            client.order(name, replaces=cert_id(first))
        assert refused(answer) == (409, "alreadyReplaced")


def test_renewing_by_the_certificate(demo: Demo, tmp_path: Path) -> None:
    """Section 13: an account that the certificate vouches for, a challenge, and who is told of it."""
    holder, name = registered(demo, "RIYOU002")
    key = new_key()
    chain, (first, *_) = holder.finalize(holder.order(name), name, key)
    bare = Client(demo.renewal_directory, demo.ca_file)
    with pytest.raises(Refused) as answer:
        bare.register()
    assert refused(answer) == (403, "unauthorized")
    client = Client(demo.renewal_directory, demo.ca_file, presents=files(tmp_path / "first", chain.body, key))
    assert "externalAccountBinding" not in client.register().json
    early = client.order(name)
    assert early.json["status"] == "pending"
    with pytest.raises(Refused) as answer:
        client.answer_challenges(early)
    assert refused(answer) == (403, "unauthorized")
    assert int(answer.value.headers["Retry-After"]) > 50 * 86_400
    with demo.on_day(62):
        client.nonce = None
        order = client.order(name)
        (answered,) = client.answer_challenges(order)
        assert answered.json["status"] == "valid"
        client.presents = None
        (again,) = client.answer_challenges(order)
        assert again.json == answered.json
        renewed = new_key()
        chain, (second, *_) = client.finalize(order, name, renewed)
        assert second.public_key() == renewed.public_key()
        holder.nonce = None
        with pytest.raises(Refused) as answer:
            holder.order(name, replaces=cert_id(first))
        assert refused(answer) == (409, "alreadyReplaced")
        told = demo.sekisho("mail", "list", "--user", "RIYOU002")
        assert any("更新されました" in each["subject"] for each in told["mails"])


def test_changing_and_ending(demo: Demo) -> None:
    """Sections 4, 6 and 10: a new account key, revocation by account and by key, the end of an account."""
    client, name = registered(demo, "RIYOU001")
    old, key = client.key, new_key()
    certificate = client.issue(name, key)
    client.change_key(new_key())
    stale = Client(demo.directory, demo.ca_file, key=old, kid=client.kid)
    with pytest.raises(Refused) as answer:
        stale.order(name)
    assert refused(answer) == (400, "malformed")
    with pytest.raises(Refused) as answer:
        client.revoke(certificate, reason=2)
    assert refused(answer) == (400, "badRevocationReason")
    assert client.revoke(certificate, reason=1).status == 200
    with pytest.raises(Refused) as answer:
        client.revoke(certificate, reason=1)
    assert refused(answer) == (400, "alreadyRevoked")
    second_key = new_key()
    second = client.issue(name, second_key)
    stranger = Client(demo.directory, demo.ca_file)
    assert stranger.revoke(second, key=second_key).status == 200
    over = client.renewal(second).json["suggestedWindow"]
    assert datetime.fromisoformat(over["end"]) < datetime.now(UTC)
    order = client.order(name)
    client.post(order.json["authorizations"][0], {"status": "deactivated"})
    assert client.post(order.headers["Location"]).json["status"] == "invalid"
    assert order.headers["Location"] not in client.orders()
    made = client.post(client.url("newAuthz"), {"identifier": {"type": "dns", "value": name}})
    assert (made.status, made.json["status"]) == (201, "valid")
    unknown = {"status": "revoked", "termsOfServiceAgreed": True}
    assert client.post(client.kid or "", unknown).json["status"] == "valid"
    assert client.post(client.kid or "", {"status": "deactivated"}).json["status"] == "deactivated"
    with pytest.raises(Refused) as answer:
        client.order(name)
    assert refused(answer) == (401, "unauthorized")
