"""Where an order's CPU goes: request by request, ours against pebble; what each does; the floor below it.

Run as ``python -m tests.bench.order_bench [--orders N] [--rounds N]``. Each request of the flow is made N
times in a row, so that the CPU of all of a server's processes (the signer is one of ours) is told apart by
request. Rounds alternate between the servers. Then, in this process: statements and transactions of each
request, its parts one by one, and the cryptography that no server of the protocol can do without.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import uvloop
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15

from ca.sqlite import _Connection
from enroll.acme import jws as product_jws
from tests.bench.acme_bench import alternating
from tests.bench.acme_load import Client, prepare_csrs
from tests.bench.acme_servers import Server, Target, pebble, sekisho
from tests.bench.figures import Figures
from tests.bench.tls_bench import cpu
from tests.enroll.acme.acme_world import FQDN, csr, world
from tests.enroll.acme.acme_world import Client as Known
from tests.enroll.acme.signing import jws

_PEBBLE, _OURS = "pebble, with challenges", "sekisho, pure"
_SERVERS: dict[str, Server] = {_PEBBLE: pebble(0), _OURS: sekisho}
_AT_ONCE = 8
Step = Callable[[Client, int], Awaitable[None]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--orders", type=int, default=100, help="in each round")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print("CPU of each request, ms, at 8 at once:")
    with ExitStack() as running:
        targets = {}
        for title, start in _SERVERS.items():
            if title == _PEBBLE and shutil.which("pebble") is None:
                print(f"{title}: left out, pebble is not installed")
                continue
            folder = Path(running.enter_context(tempfile.TemporaryDirectory()))
            targets[title] = running.enter_context(start(folder))
        figures = uvloop.run(_rounds(targets, options.rounds, options.orders))
    figures.report()
    with tempfile.TemporaryDirectory() as name:
        asyncio.run(_within(Path(name)))
    _floor()


# -- request by request --------------------------------------------------------------------------------


class _Flow:
    """The requests of so many orders, each of them as a step of its own."""

    def __init__(self, target: Target, clients: Sequence[Client], count: int) -> None:
        self.target, self.clients, self.count = target, clients, count
        self._csrs = prepare_csrs(target.name, count)
        self._names = [{"type": "dns", "value": target.name}]
        self._orders: dict[int, tuple[str, dict[str, Any]]] = {}

    async def cost(self, step: Step) -> float:
        """Milliseconds of CPU for each request."""
        before = cpu(self.target.pid)

        async def some(client: Client, first: int) -> None:
            for number in range(first, self.count, len(self.clients)):
                await step(client, number)

        await asyncio.gather(*(some(client, first) for first, client in enumerate(self.clients)))
        return (cpu(self.target.pid) - before) / self.count * 1000

    async def nonce(self, client: Client, _: int) -> None:
        await client._exchange("HEAD", client.urls["newNonce"])

    async def order(self, client: Client, number: int) -> None:
        status, headers, body = await client.post(client.urls["newOrder"], {"identifiers": self._names})
        assert status == 201, body
        self._orders[number] = headers["location"], json.loads(body)

    async def authorize(self, client: Client, number: int) -> None:
        """Only where it is asked for: reads the authorization, answers its challenge, waits for the order."""
        url, order = self._orders[number]
        if order["status"] != "pending":
            return
        authorization, _ = await client.read(order["authorizations"][0])
        if authorization["status"] != "valid":
            status, _, body = await client.post(authorization["challenges"][0]["url"], {})
            assert status == 200, body
        while (await client.read(url))[0]["status"] != "ready":
            await asyncio.sleep(0.002)

    async def poll(self, client: Client, number: int) -> None:
        await client.read(self._orders[number][0])

    async def finalize(self, client: Client, number: int) -> None:
        url, order = self._orders[number]
        status, _, body = await client.post(order["finalize"], {"csr": self._csrs[number]})
        assert status == 200, body
        order = json.loads(body)
        while order["status"] != "valid":
            order, _ = await client.read(url)
        self._orders[number] = url, order

    async def certificate(self, client: Client, number: int) -> None:
        status, _, body = await client.post(self._orders[number][1]["certificate"], "")
        assert status == 200, body


async def _rounds(targets: dict[str, Target], rounds: int, count: int) -> Figures:
    return await alternating(
        Figures(_PEBBLE),
        targets,
        rounds,
        _AT_ONCE,
        lambda target, clients: _round(_Flow(target, clients, count)),
    )


async def _round(flow: _Flow) -> dict[str, float]:
    steps = {
        "newNonce": flow.nonce,
        "newOrder": flow.order,
        "challenge": flow.authorize,
        "poll": flow.poll,
        "finalize": flow.finalize,
        "certificate": flow.certificate,
    }
    row = {name: await flow.cost(step) for name, step in steps.items()}
    # What a client does: a poll is one more, where it is needed, and nonces come with each answer.
    row["whole order"] = sum(row[name] for name in ("newOrder", "challenge", "finalize", "certificate"))
    return row


# -- what each request does ----------------------------------------------------------------------------


class _Counting:
    """Statements, transactions and verified signatures, while they are counted."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()

    def watch(self, of: Any, name: str, what: str) -> None:
        plain = getattr(of, name)

        def counted(*arguments: Any, **more: Any) -> Any:
            self.seen[what] += 1
            return plain(*arguments, **more)

        setattr(of, name, counted)


async def _within(folder: Path) -> None:
    async with world(folder) as site:
        client = await site.enrolled(quota=10_000)
        for _ in range(3):
            await client.certificate()
        counting = _Counting()
        for name in ("execute", "one", "rows"):
            counting.watch(_Connection, name, "statements")
        counting.watch(site.ra.database, "read", "reads")
        counting.watch(site.ra.database, "write", "writes")
        counting.watch(product_jws, "_check_signature", "signatures verified")
        print("\nstatements, transactions and signatures of each request (a write is one fsync):")
        await _counted(client, counting)
        _parts(site, client)


async def _counted(client: Known, counting: _Counting) -> None:
    order = await client.order()
    url, final = order.headers["Location"], order.json["finalize"]

    async def show(name: str, asked: Awaitable[Any]) -> Any:
        counting.seen.clear()
        reply = await asked
        print(f"  {name:14}" + ", ".join(f"{count} {what}" for what, count in counting.seen.items()))
        return reply

    await show("newOrder", client.order())
    await show("authorization", client.post(order.json["authorizations"][0]))
    await show("poll", client.post(url))
    done = await show("finalize", client.post(final, {"csr": csr(FQDN)}))
    await show("certificate", client.post(done.json["certificate"]))


def _parts(site: Any, client: Known) -> None:
    """Microseconds of what each signed request does, hot: the least of many."""
    at, url = site.ra.now(), site.to("newOrder")
    header = {"alg": "ES256", "nonce": site.server.nonces.fresh(at), "url": url, "kid": client.kid}
    body = json.dumps(jws(client.key, header, {"csr": csr(FQDN)})).encode()
    account = site.server.accounts.get(client.kid.rpartition("/")[2])
    nonces = [site.server.nonces.fresh(at) for _ in range(1_000)]

    def present() -> Any:
        return product_jws.present(
            body,
            product_jws.CONTENT_TYPE,
            url=url,
            signer=product_jws.Signer.ACCOUNT,
            spend=lambda _: None,
        )

    presented = present()
    print("\nof each signed request, µs:")
    for name, part in {
        "JWS taken apart (JSON, base64url)": present,
        "signature of the request verified": lambda: product_jws.prove(presented, account),
        "nonce taken, and a fresh one": lambda: (
            site.server.nonces.spend(nonces.pop(), at),
            site.server.nonces.fresh(at),
        ),
    }.items():
        print(f"  {name:36}{_least(part):8.1f}")


# -- the floor -----------------------------------------------------------------------------------------


def _floor() -> None:
    """The cryptography of an order, whoever serves it."""
    p256 = ec.generate_private_key(ec.SECP256R1())
    rsa_key = rsa.generate_private_key(65537, 2048)
    ecdsa, message = ec.ECDSA(hashes.SHA256()), b"m" * 400
    signed, public = p256.sign(message, ecdsa), p256.public_key()
    verify = _least(lambda: public.verify(signed, message, ecdsa))
    sign = _least(lambda: p256.sign(message, ecdsa))
    signs_rsa = _least(lambda: rsa_key.sign(message, PKCS1v15(), hashes.SHA256()), 50)
    ours = 3 * verify + verify + sign + verify
    print("\nthe cryptography alone, µs: three requests and a CSR verified, a certificate signed")
    print(f"  {'P-256, and the signature verified, as ours':46}{ours:8.0f}")
    print(f"  {'RSA-2048, as pebble has it (and its challenge)':46}{6 * verify + signs_rsa:8.0f}")


def _least(part: Callable[[], Any], count: int = 300) -> float:
    taken = []
    for _ in range(count):
        begun = time.perf_counter()
        part()
        taken.append(time.perf_counter() - begun)
    return statistics.quantiles(taken, n=20)[0] * 1e6


if __name__ == "__main__":
    main()
