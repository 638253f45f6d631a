"""Other people's programs against the running responder and the published files: each accepts a good
certificate and refuses a revoked one, by OCSP and by the list. The commands are those that an operator
types."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ca import datadir
from ca.certificates import to_pem
from ca.publication import Places, list_path, shard_of
from enroll import crls
from enroll.answers import Answers
from enroll.ra import RegistrationAuthority
from gateway.sites.revocation import Publications
from gateway.wire.plain import PlainServer
from tests.datadirs import CHEAP, PASSPHRASE, open_office
from tests.documents.blocks import scenarios
from tests.issued import Leaf, hold, issue, revoke
from tests.ports import free_port
from tests.started import started_async

needs = {
    name: pytest.mark.skipif(shutil.which(name) is None, reason=f"{name} is not installed")
    for name in ("openssl", "ocsptool", "certtool", "vfychain", "certutil", "crlutil", "javac")
}


@dataclass
class Site:
    ra: RegistrationAuthority
    place: Path
    base: str
    good: Leaf
    gone: Leaf
    held: Leaf
    server: PlainServer

    def file(self, name: str) -> Path:
        return self.place / name

    async def run(self, *words: str | Path) -> tuple[int, str]:
        """(exit code, everything that it said); beside the site, which answers in this very process."""
        async with (
            asyncio.timeout(60),
            started_async(
                [str(word) for word in words],
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                cwd=self.place,
            ) as running,
        ):
            said, _ = await running.communicate()
        return running.returncode or 0, said.decode("utf-8", "replace")

    async def fetch(self, url: str, name: str) -> Path:
        code, said = await self.run("curl", "-sSf", "--max-time", "30", "-o", name, url)
        assert code == 0, said
        return self.file(name)


@pytest.fixture(params=[0, 4], ids=["full", "shards"])
async def site(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Site]:
    """A CA whose certificates say where to ask, with the site that answers there."""
    port, now = free_port(), int(time.time())
    base = f"http://127.0.0.1:{port}"
    (tmp_path / "a").mkdir()
    datadir.create(tmp_path / "a/data", PASSPHRASE, now, site=Places(base, None, request.param), cost=CHEAP)
    async with open_office(tmp_path / "a", now) as ra:
        leaves = [await issue(ra, f"K{i}") for i in range(3)]
        await revoke(ra, leaves[1], 1)
        await hold(ra, leaves[2])
        issuer = ra.authority.current
        for shard in issuer.site.lists:
            await crls.publish(ra, issuer, shard)
        server = PlainServer(Publications(ra, Answers()).answer)
        await server.start([socket.create_server(("127.0.0.1", port))])
        place = tmp_path / "b"
        place.mkdir()
        found = Site(ra, place, base, *leaves, server)
        for name, der in (("issuer", issuer.der), ("root", issuer.chain[-1])):
            (place / f"{name}.der").write_bytes(der)
            (place / f"{name}.pem").write_bytes(to_pem(der))
        (place / "above.pem").write_bytes(to_pem(issuer.der) + to_pem(issuer.chain[-1]))
        for name, leaf in zip(("good", "gone", "held"), leaves, strict=True):
            (place / f"{name}.der").write_bytes(leaf.der)
            (place / f"{name}.pem").write_bytes(to_pem(leaf.der))
        yield found
        await server.stop()


REVOKED = ("gone", "held")


PAGE = Path(__file__).parent.parent.parent / "docs/operations/revocation.md"


@needs["openssl"]
async def test_the_commands_of_the_page(site: Site) -> None:
    """What an outsider types, as it stands there, one after the other."""
    (typed,) = scenarios(PAGE.read_text("utf-8")).values()
    for each in typed:
        code, told = await site.run("/bin/bash", "-ec", each.command)
        each.check(told)
        assert (code != 0) is any(line.startswith("error ") for line in each.told), (each.command, told)
    assert len(typed) > 10


@needs["openssl"]
async def test_openssl_asks_the_responder(site: Site) -> None:
    """good, revoked with the reason, a hold; by GET in an address and with a nonce as well; with another
    issuer's certificate nothing is verified."""
    asks = ("openssl", "ocsp", "-issuer", "issuer.pem", "-CAfile", "root.pem", "-url", site.base + "/ocsp")
    for name, said in (("good", "good"), ("gone", "revoked"), ("held", "revoked")):
        code, told = await site.run(*asks, "-cert", f"{name}.pem", "-no_nonce", "-respout", f"{name}.ocsp")
        assert (code, f"{name}.pem: {said}" in told, "Response verify OK" in told) == (0, True, True), told
    assert "Reason: certificateHold" in told
    code, told = await site.run(*asks, "-cert", "gone.pem")
    assert "WARNING: no nonce in response" in told
    assert "Reason: keyCompromise" in told
    code, told = await site.run(*asks, "-serial", "0x77")
    assert (code, "0x77: unknown" in told) == (0, True), told
    other = ("openssl", "ocsp", "-issuer", "issuer.pem", "-CAfile", "issuer.pem", "-cert", "good.pem")
    code, told = await site.run(*other, "-respin", "good.ocsp", "-no_nonce")
    assert "Response Verify Failure" in told
    assert code == 1


@needs["openssl"]
async def test_openssl_reads_the_lists(site: Site) -> None:
    """That which a certificate names itself, fetched by openssl, be it a shard; and full with the root's
    for the whole chain. A shard of others says nothing."""
    issuer = site.ra.authority.current
    assert issuer.site.crl is not None
    for name, url in (("full", issuer.site.crl), ("root", site.base + list_path(issuer.root_id))):
        await site.fetch(url, f"{name}.crl")
        await site.run("openssl", "crl", "-inform", "DER", "-in", f"{name}.crl", "-out", f"{name}.crl.pem")
    verify = ("openssl", "verify", "-CAfile", "root.pem", "-untrusted", "issuer.pem")
    all_of_it = ("-CRLfile", "full.crl.pem", "-CRLfile", "root.crl.pem", "-crl_check_all")
    for way in (("-crl_download", "-crl_check"), all_of_it):
        code, told = await site.run(*verify, *way, "good.pem")
        assert (code, "good.pem: OK" in told) == (0, True), told
        for name in REVOKED:
            code, told = await site.run(*verify, *way, f"{name}.pem")
            assert (code, "error 23 at 0 depth lookup: certificate revoked" in told) == (2, True), told
    shards = issuer.site.shards
    if shards:
        others = (shard_of(site.good.certificate.serial_number, shards) + 1) % shards
        await site.fetch(issuer.site.shard(others), "other.crl")
        await site.run("openssl", "crl", "-inform", "DER", "-in", "other.crl", "-out", "other.crl.pem")
        code, told = await site.run(*verify, "-CRLfile", "other.crl.pem", "-crl_check", "good.pem")
        assert (code, "error 44" in told) == (2, True), told


@needs["ocsptool"]
@needs["openssl"]
async def test_gnutls_reads_answers(site: Site) -> None:
    """`ocsptool` ends with 0 for revoked ones, too: what counts is the line. By another CA's key nothing
    verifies."""
    asks = ("openssl", "ocsp", "-issuer", "issuer.pem", "-noverify", "-no_nonce", "-url", site.base + "/ocsp")
    reads = ("ocsptool", "--verify-response", "--load-trust", "above.pem", "--load-response", "answer.ocsp")
    for name, said in (("good", "good"), ("gone", "revoked"), ("held", "revoked")):
        await site.run(*asks, "-cert", f"{name}.pem", "-respout", "answer.ocsp")
        code, told = await site.run(*reads)
        assert (code, f"Certificate Status: {said}" in told) == (0, True), told
        assert "Verifying OCSP Response: Success" in told
    answer = bytearray(site.file("answer.ocsp").read_bytes())
    answer[answer.index(b"20") + 9] ^= 1  # a second of a time
    site.file("answer.ocsp").write_bytes(bytes(answer))
    code, told = await site.run(*reads)
    assert "Verifying OCSP Response: Success" not in told
    assert code == 1


@needs["certtool"]
@needs["openssl"]
async def test_gnutls_reads_the_full_list(site: Site) -> None:
    """`certtool` takes a shard of others for one of its own (measured), so that it is given the full one."""
    url = site.ra.authority.current.site.crl
    assert url is not None
    await site.fetch(url, "full.crl")
    code, told = await site.run(
        *(
            "certtool",
            "--inder",
            "--verify-crl",
            "--load-ca-certificate",
            "issuer.der",
            "--infile",
            "full.crl",
        )
    )
    assert (code, "Verification output: Verified." in told) == (0, True), told
    code, told = await site.run(
        *("certtool", "--inder", "--verify-crl", "--load-ca-certificate", "root.der", "--infile", "full.crl")
    )
    assert "Verification output: Not verified." in told
    await site.run("openssl", "crl", "-inform", "DER", "-in", "full.crl", "-out", "full.crl.pem")
    for name in ("good", *REVOKED):
        chain = site.file(f"{name}.pem").read_bytes() + site.file("above.pem").read_bytes()
        site.file("chain.pem").write_bytes(chain)
        words = ("--load-ca-certificate", "root.pem", "--infile", "chain.pem", "--load-crl", "full.crl.pem")
        code, told = await site.run("certtool", "--verify", *words)
        if name == "good":
            assert (code, "Chain verification output: Verified." in told) == (0, True), told
        else:
            assert (code, "The certificate chain is revoked." in told) == (1, True), told


@needs["vfychain"]
@needs["certutil"]
@needs["crlutil"]
@pytest.mark.parametrize("method", ["ocsp", "crl"])
async def test_nss_refuses_what_was_revoked(site: Site, method: str) -> None:
    """By the responder that the certificate names, or the full list in its database: NSS refuses a shard,
    whose scope is critical. Without any word of it (requireInfo) nothing is good."""
    site.file("nss").mkdir()
    for words in (
        ("certutil", "-N", "-d", "sql:nss", "--empty-password"),
        ("certutil", "-A", "-d", "sql:nss", "-n", "root", "-t", "CT,C,C", "-i", "root.pem", "-a"),
        ("certutil", "-A", "-d", "sql:nss", "-n", "issuer", "-t", ",,", "-i", "issuer.pem", "-a"),
    ):
        code, told = await site.run(*words)
        assert code == 0, told
    verify = (
        "vfychain",
        "-d",
        "sql:nss",
        "-pp",
        "-g",
        "leaf",
        "-m",
        method,
        "-s",
        "requireInfo",
        "-u",
        "0",
        "-a",
    )
    if method == "crl":
        url = site.ra.authority.current.site.crl
        assert url is not None
        await site.fetch(url, "full.crl")
        code, told = await site.run("crlutil", "-I", "-d", "sql:nss", "-i", "full.crl", "-t", "1")
        assert code == 0, told
    code, told = await site.run(*verify, "good.pem")
    assert (code, "Chain is good!" in told) == (0, True), told
    for name in REVOKED:
        code, told = await site.run(*verify, f"{name}.pem")
        assert (code, "ERROR -8180: Peer's Certificate has been revoked." in told) == (1, True), told
    if method == "ocsp":
        await site.server.stop()
        strict = [each.replace("requireInfo", "requireInfo,failIfNoInfo") for each in verify]
        code, told = await site.run(*strict, "good.pem")
        assert (code, "Chain is bad!" in told) == (1, True), told


_JAVA = """
import java.io.*; import java.nio.file.*; import java.security.cert.*; import java.util.*;
public class Check {
    public static void main(String[] words) throws Exception {
        CertificateFactory factory = CertificateFactory.getInstance("X.509");
        X509Certificate root = (X509Certificate) factory.generateCertificate(new FileInputStream("root.pem"));
        X509Certificate issuer = (X509Certificate) factory.generateCertificate(new
        FileInputStream("issuer.pem")); for (String word : words) {
            String[] asked = word.split(":");
            X509Certificate leaf = (X509Certificate) factory.generateCertificate(new
            FileInputStream(asked[1])); CertPathValidator validator = CertPathValidator.getInstance("PKIX");
            PKIXRevocationChecker checker = (PKIXRevocationChecker) validator.getRevocationChecker();
            Set<PKIXRevocationChecker.Option> options = EnumSet.of(
                PKIXRevocationChecker.Option.NO_FALLBACK, PKIXRevocationChecker.Option.ONLY_END_ENTITY);
            if (asked[0].equals("crl")) options.add(PKIXRevocationChecker.Option.PREFER_CRLS);
            checker.setOptions(options);
            PKIXParameters parameters = new PKIXParameters(Set.of(new TrustAnchor(root, null)));
            parameters.addCertPathChecker(checker);
            try {
                validator.validate(factory.generateCertPath(List.of(leaf, issuer)), parameters);
                System.out.println(word + " good");
            } catch (CertPathValidatorException error) {
                System.out.println(word + " " + error.getReason());
            }
        }
    }
}
"""


#: For programs of a second: no second compiler, one collector, and classes as the JDK has them at hand.
_SMALL = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto")


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the program, compiled once."""
    folder = tmp_path_factory.mktemp("java")
    (folder / "Check.java").write_text(_JAVA)
    subprocess.run(
        ["javac", *(f"-J{each}" for each in _SMALL), "Check.java"], cwd=folder, check=True, timeout=120
    )
    return folder


@pytest.mark.slow
@needs["javac"]
async def test_the_jdk_refuses_what_was_revoked(site: Site, compiled: Path) -> None:
    """CertPath by the addresses in the certificate: by OCSP, and by the list that it names, be it a shard.
    With nobody there nothing is good."""
    asked = [f"{way}:{name}.pem" for way in ("ocsp", "crl") for name in ("good", *REVOKED)]
    java = ("java", *_SMALL, "-cp", compiled, "-Dcom.sun.security.enableCRLDP=true", "Check")
    _, told = await site.run(*java, *asked)
    assert told.split("\n")[:-1] == [f"{each} {'good' if 'good' in each else 'REVOKED'}" for each in asked]
    await site.server.stop()
    _, told = await site.run(*java, *asked[:1])
    assert told == f"{asked[0]} UNDETERMINED_REVOCATION_STATUS\n"
