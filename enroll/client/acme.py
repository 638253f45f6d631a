"""The protocol from the client's side: account, order, certificate, renewal information, revocation."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from enroll.client.keys import (
    AccountKey,
    CertificateKey,
    b64,
    binding,
    csr,
    jwk,
    public_octets,
    sign,
    thumbprint,
)

_TIMEOUT = 30.0
_LARGEST = 4 * 1024 * 1024
# Characters of an answer that is none, for an error message.
_SHOWN = 200
# RFC 8555 section 6.5: a badNonce answer brings a fresh nonce; more than a few in a row is a fault.
_NONCE_TRIES = 4
_POLLS = 30
_LONGEST_WAIT = 30
_USER_AGENT = "sekisho-client/1"
_ERROR = "urn:ietf:params:acme:error:"


class AcmeError(Exception):
    """The server said no. ``kind`` is the problem type without its prefix, '' if there was none.

    ``status`` is 0 where no answer of the server is at fault, or not its status.
    """

    def __init__(self, status: int, kind: str, detail: str, retry_after: int | None = None) -> None:
        super().__init__(f"{kind or status}: {detail}" if kind or status else detail)
        self.status = status
        self.kind = kind
        self.detail = detail
        self.retry_after = retry_after


@dataclass(frozen=True)
class Answer:
    """An HTTP answer. Header names are lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> dict[str, Any]:
        try:
            document = json.loads(self.body)
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise AcmeError(
                self.status,
                "",
                f"the server's answer is no JSON object but {_described(self)}: is this its directory?",
            )
        return _Members(document)

    def header(self, name: str) -> str:
        return str(_Members(self.headers)[name])


class _Members(dict[str, Any]):
    """Members of an answer; one that is missing is the server's fault and said so."""

    def __missing__(self, name: str) -> Any:
        raise AcmeError(0, "", f"the server's answer lacks {name}: is this an ACME server?")


@dataclass(frozen=True)
class Issued:
    """A certificate with its chain, PEM, leaf first."""

    order_url: str
    chain: bytes

    @property
    def certificate(self) -> x509.Certificate:
        return x509.load_pem_x509_certificates(self.chain)[0]


@dataclass(frozen=True)
class RenewalWindow:
    """RFC 9773: renew between two moments; ask again after ``retry_after`` seconds."""

    start: datetime
    end: datetime
    retry_after: int
    explanation: str = ""


class Acme:
    """A connection to one server with one account key. Not for use by several threads at once.

    ``identity`` is (certificate PEM file, key PEM file) to present in TLS: that is how a client which
    lost its account renews on the renewal site (``client-cert-01``).
    """

    def __init__(
        self,
        directory: str,
        key: AccountKey,
        *,
        ca_file: Path | None = None,
        identity: tuple[Path, Path] | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._key = key
        self._sleep = sleep
        self._tls = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
        if identity is not None:
            self._tls.load_cert_chain(*map(str, identity))
        self._connections: dict[str, http.client.HTTPSConnection] = {}
        self._nonce: str | None = None
        self.account_url: str | None = None
        self.directory = self._get(directory).json()

    # -- account ---------------------------------------------------------------------------------

    def register(self, kid: str | None = None, mac_key: bytes = b"", contact: Sequence[str] = ()) -> str:
        """Makes the account, or finds it; returns its URL. ``kid`` and ``mac_key`` bind it (section 7.3.4).

        Without them only an existing account, or one that a presented certificate stands for, is had.
        """
        url = self.directory["newAccount"]
        payload: dict[str, Any] = {"termsOfServiceAgreed": True}
        if contact:
            payload["contact"] = list(contact)
        if kid is not None:
            payload["externalAccountBinding"] = binding(kid, mac_key, url, self._key)
        answer = self._post(url, payload, by_key=True)
        self.account_url = answer.header("location")
        return self.account_url

    def find_account(self) -> str:
        """The URL of the account of this key. AcmeError("accountDoesNotExist") if there is none."""
        answer = self._post(self.directory["newAccount"], {"onlyReturnExisting": True}, by_key=True)
        self.account_url = answer.header("location")
        return self.account_url

    # -- certificates ----------------------------------------------------------------------------

    def order(
        self,
        names: Sequence[str],
        key: CertificateKey,
        *,
        replaces: x509.Certificate | None = None,
        profile: str | None = None,
        made: Callable[[str], None] = lambda url: None,
    ) -> Issued:
        """Orders a certificate for dns names and waits for it.

        ``made`` is told the order's URL as soon as there is one, so that an interrupted order can be
        finished with ``resume`` instead of ordering again.
        """
        wanted: dict[str, Any] = {"identifiers": [{"type": "dns", "value": name} for name in names]}
        if replaces is not None and "renewalInfo" in self.directory:
            wanted["replaces"] = certificate_id(replaces)
        if profile is not None:
            wanted["profile"] = profile
        answer = self._post(self.directory["newOrder"], wanted)
        made(answer.header("location"))
        return self._finish(answer.header("location"), answer.json(), names, key)

    def resume(self, url: str, names: Sequence[str], key: CertificateKey) -> Issued:
        """Finishes an order that was begun with the same names and key."""
        return self._finish(url, self._post(url, None).json(), names, key)

    def _finish(self, url: str, order: dict[str, Any], names: Sequence[str], key: CertificateKey) -> Issued:
        if order["status"] == "pending":
            self._authorise(order)
            order = self._wait(url, {"ready", "valid"})
        if order["status"] == "ready":
            order = self._post(order["finalize"], {"csr": b64(csr(key, names))}).json()
        if order["status"] != "valid":
            order = self._wait(url, {"valid"})
        issued = Issued(url, self._post(order["certificate"], None).body)
        if public_octets(issued.certificate) != public_octets(key):
            # An order that was finished with another key, such as one of an interrupted run.
            raise AcmeError(0, "", "the certificate of this order is for another key")
        return issued

    def renewal_window(self, certificate: x509.Certificate) -> RenewalWindow | None:
        """When the server wants this certificate renewed; None where it does not say."""
        base = self.directory.get("renewalInfo")
        if base is None:
            return None
        answer = self._get(f"{base.rstrip('/')}/{certificate_id(certificate)}")
        window = answer.json()["suggestedWindow"]
        start, end = (_moment(str(window.get(edge))) for edge in ("start", "end"))
        if end <= start:
            # RFC 9773 section 4.2: as if there had been no answer.
            raise AcmeError(0, "", "the server suggests a renewal window that ends before it begins")
        return RenewalWindow(
            start, end, _seconds(answer.headers, 6 * 3_600), answer.json().get("explanationURL", "")
        )

    def revoke(
        self, certificate: x509.Certificate, reason: int | None = None, *, key: CertificateKey | None = None
    ) -> None:
        """Revokes a certificate: by the account, or signed by the certificate's own ``key``.

        ``reason`` is a code of RFC 5280 section 5.3.1.
        """
        payload: dict[str, Any] = {"certificate": b64(certificate.public_bytes(Encoding.DER))}
        if reason is not None:
            payload["reason"] = reason
        self._post(self.directory["revokeCert"], payload, by_key=key is not None, key=key)

    # -- within ----------------------------------------------------------------------------------

    def _authorise(self, order: dict[str, Any]) -> None:
        """Answers ``client-cert-01``: the connection itself presents the certificate."""
        for url in order["authorizations"]:
            authorization = self._post(url, None).json()
            if authorization["status"] == "valid":
                continue
            ours = [c for c in authorization["challenges"] if c["type"] == "client-cert-01"]
            if not ours:
                name = authorization["identifier"]["value"]
                raise AcmeError(403, "unauthorized", f"nothing here can prove the right to {name}")
            self._post(ours[0]["url"], {})

    def _wait(self, url: str, wanted: set[str]) -> dict[str, Any]:
        for _ in range(_POLLS):
            answer = self._post(url, None)
            order = answer.json()
            if order["status"] in wanted:
                return order
            if order["status"] == "invalid":
                error = order.get("error", {})
                raise AcmeError(
                    403, str(error.get("type", "")).removeprefix(_ERROR), str(error.get("detail", "invalid"))
                )
            self._sleep(_seconds(answer.headers, 1))
        raise AcmeError(504, "", f"the order stayed {order['status']}")

    def _post(
        self, url: str, payload: dict[str, Any] | None, *, by_key: bool = False, key: AccountKey | None = None
    ) -> Answer:
        body, signer = b"" if payload is None else json.dumps(payload).encode(), key or self._key
        for tries_left in reversed(range(_NONCE_TRIES)):
            protected: dict[str, Any] = {"nonce": self._take_nonce(), "url": url}
            protected |= {"jwk": jwk(signer)} if by_key else {"kid": self.account_url}
            signed = json.dumps(sign(signer, protected, body)).encode()
            answer = self._request("POST", url, signed)
            self._nonce = answer.headers.get("replay-nonce")
            if answer.status < 400:
                return answer
            error = _error(answer)
            if error.kind != "badNonce" or not tries_left:
                raise error
        raise AssertionError("unreachable")

    def _get(self, url: str) -> Answer:
        answer = self._request("GET", url, None)
        if answer.status >= 400:
            raise _error(answer)
        return answer

    def _take_nonce(self) -> str:
        nonce, self._nonce = self._nonce, None
        if nonce is None:
            nonce = self._request("HEAD", self.directory["newNonce"], None).header("replay-nonce")
        return nonce

    def _request(self, method: str, url: str, body: bytes | None) -> Answer:
        parts = urlsplit(url)
        if parts.scheme != "https" or not parts.hostname:
            # RFC 8555 section 6.1: HTTPS, always.
            raise AcmeError(0, "", f"not an https URL: {url}")
        headers = {"User-Agent": _USER_AGENT, "Accept": "*/*"}
        if body is not None:
            headers["Content-Type"] = "application/jose+json"
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        for attempt in (1, 2):
            connection = self._connections.get(parts.netloc)
            reused = connection is not None
            if connection is None:
                connection = _Connection(
                    parts.hostname, parts.port or 443, timeout=_TIMEOUT, context=self._tls
                )
                self._connections[parts.netloc] = connection
            try:
                connection.request(method, target, body, headers)
                response = connection.getresponse()
                content = response.read(_LARGEST)
            except ConnectionRefusedError as error:
                self._connections.pop(parts.netloc).close()
                raise _with_place(error, parts.netloc) from None
            except (http.client.HTTPException, ConnectionError) as error:
                # A kept connection that the server has closed meanwhile: once more on a fresh one.
                self._connections.pop(parts.netloc).close()
                if not reused or attempt == 2:
                    raise ConnectionError(f"{parts.netloc} broke the connection: {error!r}") from None
                continue
            except OSError as error:
                self._connections.pop(parts.netloc).close()
                raise _with_place(error, parts.netloc) from None
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, content)
        raise AssertionError("unreachable")

    def close(self) -> None:
        """Closes the connections."""
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()

    @property
    def thumbprint(self) -> str:
        """The account key's thumbprint (RFC 7638), to compare with the operator's list."""
        return thumbprint(self._key)


class _Connection(http.client.HTTPSConnection):
    """Knows names below localhost, which not every resolver does (RFC 6761 section 6.3)."""

    _create_connection: Callable[..., socket.socket]

    def __init__(self, host: str, port: int, **options: Any) -> None:
        super().__init__(host, port, **options)
        if host.endswith(".localhost"):
            self._create_connection = lambda _, *rest, **more: socket.create_connection(
                ("127.0.0.1", port), *rest, **more
            )


def certificate_id(certificate: x509.Certificate) -> str:
    """RFC 9773 section 4.1: base64url of the key identifier, a dot, base64url of the serial's content."""
    extension = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
    serial = certificate.serial_number
    # The DER content octets keep their leading zero when the first bit is set.
    octets = serial.to_bytes(serial.bit_length() // 8 + 1, "big")
    return f"{b64(extension.value.key_identifier or b'')}.{b64(octets)}"


def _error(answer: Answer) -> AcmeError:
    try:
        document = json.loads(answer.body)
        kind, detail = str(document.get("type", "")), str(document.get("detail", ""))
        parts = [f"{p['identifier']['value']}: {p['detail']}" for p in document.get("subproblems", [])]
    except (ValueError, AttributeError, KeyError, TypeError):
        kind, detail, parts = "", f"the server answered {_described(answer)}", []
    retry = _seconds(answer.headers, -1)
    return AcmeError(
        answer.status,
        kind.removeprefix(_ERROR),
        "; ".join([detail, *parts]),
        retry if retry >= 0 else None,
    )


def _with_place(error: OSError, place: str) -> OSError:
    """The same error, which says where: "timed out" alone helps nobody."""
    if isinstance(error, TimeoutError):
        return TimeoutError(f"{place}: no answer within {_TIMEOUT:g} seconds")
    if not isinstance(error, ssl.SSLError):
        error.strerror = f"{place}: {error.strerror}"
    return error


def _described(answer: Answer) -> str:
    """What came instead of what was asked for: its Content-Type, and how it begins, fit for a terminal."""
    kind = answer.headers.get("content-type", "") or "something without a Content-Type"
    text = answer.body.decode("utf-8", "replace")
    # Words: no line breaks and nothing that a terminal obeys.
    words = "".join(each if each.isprintable() else " " for each in text[: 4 * _SHOWN])
    begun = " ".join(words.split())
    shown = begun if len(begun) <= _SHOWN else begun[:_SHOWN] + "…"
    printable = "".join(each for each in kind[:_SHOWN] if each.isprintable())
    return f"{printable}: {shown}" if shown else f"{printable}, empty"


def _moment(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        raise AcmeError(0, "", f"the server's answer has no time but {text!r}") from None


def _seconds(headers: Mapping[str, str], otherwise: int) -> int:
    text = headers.get("retry-after", "")
    return min(int(text), _LONGEST_WAIT if otherwise == 1 else 7 * 86_400) if text.isdigit() else otherwise
