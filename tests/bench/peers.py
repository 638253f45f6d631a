"""Other people's reverse proxies, as Debian has them, doing what ours is measured with: on one port a client
certificate is demanded, on another not, and every request goes on to the same upstream over kept-alive HTTP.

None of them resumes sessions, keeps a log, or speaks HTTP/2 here, as ours does not; each has one core.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.ports import free_port
from tests.started import started


@dataclass(frozen=True)
class Running:
    """A gate: its process, the port that demands a certificate, and the one that does not."""

    pid: int
    mutual: int
    plain: int


@dataclass(frozen=True)
class Behind:
    """The ports of the upstream, and of what takes uploads."""

    upstream: int
    sink: int


Gate = Callable[[Path, Behind], AbstractContextManager[Running]]

_NGINX = """
  upstream up {{ server 127.0.0.1:{upstream}; keepalive 64; }}
  upstream sink {{ server 127.0.0.1:{sink}; keepalive 64; }}
  ssl_certificate {dir}/server.pem; ssl_certificate_key {dir}/server.pem;
  ssl_protocols TLSv1.2 TLSv1.3; ssl_session_tickets off; ssl_session_cache off;
  proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host;
  proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Proto https;
  proxy_set_header Client-Cert $ssl_client_escaped_cert; proxy_request_buffering off;
  server {{ listen 127.0.0.1:{mutual} ssl; ssl_verify_client on; ssl_client_certificate {dir}/ca.pem;
    location / {{ proxy_pass http://up; }} location /up {{ proxy_pass http://sink; }} }}
  server {{ listen 127.0.0.1:{plain} ssl; location / {{ proxy_pass http://up; }} }}
}}
"""
_HAPROXY = """
global
  nbthread 1
  maxconn 4096
  tune.ssl.default-dh-param 2048
defaults
  mode http
  timeout connect 60s
  timeout client 600s
  timeout server 600s
  http-reuse always
frontend mutual
  bind 127.0.0.1:{mutual} ssl crt {dir}/server.pem ca-file {dir}/ca.crt verify required no-tls-tickets
  http-request set-header X-Forwarded-For %[src]
  http-request set-header X-Forwarded-Proto https
  http-request set-header Client-Cert %[ssl_c_der,base64]
  use_backend sink if {{ path_beg /up }}
  default_backend up
frontend plain
  bind 127.0.0.1:{plain} ssl crt {dir}/server.pem no-tls-tickets
  http-request set-header X-Forwarded-For %[src]
  http-request set-header X-Forwarded-Proto https
  default_backend up
backend up
  server one 127.0.0.1:{upstream}
backend sink
  server one 127.0.0.1:{sink}
"""
_CADDY = """{{
  admin off
  auto_https off
  servers {{
    protocols h1
  }}
}}
https://localhost:{mutual} {{
  bind 127.0.0.1
  tls {dir}/server.pem {dir}/server.pem {{
    client_auth {{
      mode require_and_verify
      trusted_ca_cert_file {dir}/ca.crt
    }}
  }}
  handle /up* {{
    reverse_proxy 127.0.0.1:{sink}
  }}
  handle {{
    reverse_proxy 127.0.0.1:{upstream} {{
      header_up Client-Cert {{http.request.tls.client.certificate_der_base64}}
    }}
  }}
}}
https://localhost:{plain} {{
  bind 127.0.0.1
  tls {dir}/server.pem {dir}/server.pem
  reverse_proxy 127.0.0.1:{upstream}
}}
"""
_APACHE_MODULES = ("mpm_event", "authz_core", "ssl", "proxy", "proxy_http", "headers")
_APACHE = """
ServerName localhost
ServerRoot {dir}
DefaultRuntimeDir {dir}
PidFile {dir}/apache.pid
ErrorLog {dir}/apache.log
LogLevel error
{modules}
User {user}
StartServers 1
ServerLimit 1
ThreadsPerChild 250
MaxRequestWorkers 250
AsyncRequestWorkerFactor 20
KeepAlive On
KeepAliveTimeout 600
MaxKeepAliveRequests 0
Timeout 600
Listen 127.0.0.1:{mutual}
Listen 127.0.0.1:{plain}
SSLSessionCache none
SSLSessionTickets off
SSLProtocol -all +TLSv1.2 +TLSv1.3
SSLCertificateFile {dir}/server.pem
ProxyPreserveHost On
RequestHeader set X-Forwarded-Proto https
<VirtualHost 127.0.0.1:{mutual}>
  SSLEngine on
  SSLVerifyClient require
  SSLCACertificateFile {dir}/ca.crt
  SSLCADNRequestFile {dir}/ca.crt
  RequestHeader set Client-Cert "%{{SSL_CLIENT_CERT}}s"
  ProxyPass /up http://127.0.0.1:{sink}/up
  ProxyPass / http://127.0.0.1:{upstream}/
</VirtualHost>
<VirtualHost 127.0.0.1:{plain}>
  SSLEngine on
  ProxyPass / http://127.0.0.1:{upstream}/
</VirtualHost>
"""
_COMMON = """
daemon off; master_process on; worker_processes 1; worker_cpu_affinity {core}; pid {dir}/{name}.pid;
error_log {dir}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off; client_body_temp_path {dir}/t; proxy_temp_path {dir}/t; fastcgi_temp_path {dir}/t;
  uwsgi_temp_path {dir}/t; scgi_temp_path {dir}/t; keepalive_requests 1000000000; client_max_body_size 0;
"""
_UPSTREAM = """
  server {{ listen 127.0.0.1:{port}; keepalive_timeout 600; root {dir};
    location / {{ default_type text/plain; return 200 "ok"; }} location /big {{ sendfile on; }} }}
}}
"""


@contextmanager
def upstream(folder: Path) -> Iterator[int]:
    """An nginx of its own that answers `ok`, on the load's core; its port."""
    port = free_port()
    (folder / "upstream.conf").write_text(
        (_COMMON + _UPSTREAM).format(dir=folder, core="10", name="upstream", port=port)
    )
    with _nginx_on(folder, "upstream", port):
        yield port


@contextmanager
def nginx(folder: Path, behind: Behind) -> Iterator[Running]:
    mutual, plain = free_port(), free_port()
    given = {"dir": folder, "core": "01", "name": "gate", "mutual": mutual, "plain": plain}
    (folder / "gate.conf").write_text((_COMMON + _NGINX).format(**given, **vars(behind)))
    with _nginx_on(folder, "gate", mutual) as pid:
        yield Running(pid, mutual, plain)


@contextmanager
def haproxy(folder: Path, behind: Behind) -> Iterator[Running]:
    mutual, plain = free_port(), free_port()
    path = folder / "haproxy.cfg"
    path.write_text(_HAPROXY.format(dir=folder, mutual=mutual, plain=plain, **vars(behind)))
    with _gate(["haproxy", "-db", "-f", str(path)], folder, mutual) as pid:
        yield Running(pid, mutual, plain)


@contextmanager
def caddy(folder: Path, behind: Behind) -> Iterator[Running]:
    mutual, plain = free_port(), free_port()
    path = folder / "Caddyfile"
    path.write_text(_CADDY.format(dir=folder, mutual=mutual, plain=plain, **vars(behind)))
    own = dict.fromkeys(("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"), str(folder)) | {"GOMAXPROCS": "1"}
    command = ["caddy", "run", "--config", str(path), "--adapter", "caddyfile"]
    with _gate(command, folder, mutual, own) as pid:
        yield Running(pid, mutual, plain)


@contextmanager
def apache(folder: Path, behind: Behind) -> Iterator[Running]:
    mutual, plain = free_port(), free_port()
    modules = "\n".join(
        f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so" for name in _APACHE_MODULES
    )
    path = folder / "apache.conf"
    given = {"dir": folder, "mutual": mutual, "plain": plain, "modules": modules, "user": "www-data"}
    path.write_text(_APACHE.format(**given, **vars(behind)))
    with _gate(["apache2", "-f", str(path), "-DFOREGROUND"], folder, mutual) as pid:
        yield Running(pid, mutual, plain)


#: By the name of its program; nginx comes first, as what the others are compared with.
PEERS: Mapping[str, tuple[str, Gate]] = {
    "nginx": ("nginx", nginx),
    "HAProxy": ("haproxy", haproxy),
    "Caddy": ("caddy", caddy),
    "Apache": ("apache2", apache),
}


def here() -> dict[str, Gate]:
    """Those whose program is on this machine; of the others a line says that they are left out."""
    found = {}
    for name, (program, gate) in PEERS.items():
        if shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin"):
            found[name] = gate
        else:
            print(f"{name}: left out, {program} is not installed")
    return found


@contextmanager
def _nginx_on(folder: Path, name: str, port: int) -> Iterator[int]:
    folder.chmod(0o755)
    command = ["nginx", "-c", str(folder / f"{name}.conf"), "-p", str(folder)]
    with started(command, stderr=subprocess.DEVNULL) as process:
        until_open(port, name)
        yield process.pid


@contextmanager
def _gate(command: list[str], folder: Path, port: int, own: Mapping[str, str] | None = None) -> Iterator[int]:
    """A peer on the gates' core."""
    log = folder / f"{command[0]}.out"
    with (
        log.open("wb") as output,
        started(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, **(own or {})},
            preexec_fn=lambda: os.sched_setaffinity(0, {0}),
        ) as process,
    ):
        until_open(port, log.read_text)
        yield process.pid


def until_open(port: int, who: str | Callable[[], str]) -> None:
    """Waits until somebody listens there. ``who``: what to say of it if nobody does."""
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"it did not start: {who if isinstance(who, str) else who()}")
