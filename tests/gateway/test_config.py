"""The configuration file: every default written out, everything unknown or wrong refused by name."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import pytest

from ca.errors import ConfigError
from enroll.hooks import reach
from enroll.settings import Settings
from gateway.edge.facts import Limits
from gateway.serving.config import (
    FILE_NAME,
    Config,
    every_setting,
    meaning_of,
    parse_config,
    read_config,
    settings_of,
    toml_of,
)
from gateway.serving.rates import Rates
from gateway.serving.settings.reach import Sites
from gateway.serving.settings.running import LIMIT_MEANINGS, RATE_MEANINGS


def test_the_written_file_is_the_defaults() -> None:
    """What ``init`` writes says every setting, and reads back as the defaults."""
    text = toml_of(Config())
    assert parse_config(text) == Config()
    assert all(f"# {meaning_of(entry)}\n" in text for _, entry in every_setting())


def test_an_empty_file_is_the_defaults() -> None:
    """A setting that is left out has its default."""
    assert parse_config("") == Config()


def test_a_switch_can_be_off() -> None:
    """true and false are values like any other, and nothing else is one of them."""
    assert not parse_config("[log]\naccess = false").log.access
    with pytest.raises(ConfigError, match=r"log\.access: write true or false"):
        parse_config("[log]\naccess = 0")


def test_every_limit_is_explained() -> None:
    """No limit is written out without its meaning."""
    assert {each.name for each in fields(Limits)} == set(LIMIT_MEANINGS)
    assert {each.name for each in fields(Rates)} == set(RATE_MEANINGS)


def test_values_reach_the_policies() -> None:
    """Policies, zone, sender and addresses come from the file; 443 is not written in addresses."""
    config = parse_config(
        "[listen]\nport = 9443\npublic_port = 443\n[sites]\npickup = ['get.example.jp']\n"
        "[policy]\nwindow_days = 7\n[protocol]\nzone = 'z.example.jp'\n[mail]\nfrom = 'a@example.jp'\n"
    )
    settings = settings_of(config)
    assert (settings.notice_opens, settings.notice_closes) == (480, 1_200)
    assert (settings.window_days, settings.zone, settings.mail_from) == (7, "z.example.jp", "a@example.jp")
    assert settings.pickup_url == "https://get.example.jp/"
    assert settings_of(Config()) == Settings()


def test_strings_survive_their_journey() -> None:
    """Quotes, backslashes and Japanese are written so that TOML reads them back."""
    name = 'A "quoted" \\ 名前 '.strip()
    config = replace(Config(), operator=replace(Config().operator, name=name))
    assert parse_config(toml_of(config)) == config


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[lisen]\nport = 1", "[lisen] is no section; the sections are listen, revocation,"),
        (
            "[listen]\nprot = 1",
            "listen.prot is no setting; [listen] knows host, port, public_port, proxy_protocol",
        ),
        ("listen = 3", "listen must be a section; write [listen] on a line of its own"),
        ("[listen]\nport = '8443'", "listen.port: write a whole number, such as 8443"),
        ("[listen]\nport = true", "listen.port: write a whole number, such as 8443"),
        ("[listen]\nport = 0", "listen.port: write a number from 1 to 65535 (it is 0)"),
        ("[listen]\nproxy_protocol = ['lb']", "listen.proxy_protocol: 'lb' is no network"),
        ("[rates]\npage_address = 0", "rates.page_address: write a number above 0"),
        ("[upstream]\nstart = 'app'", "upstream.start: write a path that is the upstream's"),
        ("[upstream]\nstart = '/portal/'", "upstream.start: write a path that is the upstream's"),
        ("[upstream]\nstart = '//evil.example'", "upstream.start: write a path that is the upstream's"),
        ("[listen]\nhost = []", "listen.host: write each IP address to listen on once"),
        ("[listen]\nhost = ['::1', '::1']", "listen.host: write each IP address to listen on once"),
        ("[listen]\nhost = ['::1', 'all']", "listen.host: write the IP address to listen on"),
        ("[listen]\nhost = 1", "listen.host: write a list of texts, such as"),
        ("[sites]\npickup = 'a.example'", "sites.pickup: write a list of texts, such as"),
        ("[listen]\nproxy_protocol = ['::ffff:10.0.0.0/104']", "is one of IPv4 within IPv6"),
        (
            "[listen]\nhost = ['::1', '127.0.0.1']\n[internal]\nport = 8443",
            "internal.port: write another port than that of [listen]",
        ),
        ("[listen]\nhost = 'all'", "listen.host: write the IP address to listen on"),
        ("[sites]\npickup = 'a.example'", "sites.pickup: write a list of texts"),
        ("[sites]\npickup = []", "sites.pickup: write at least one host name"),
        ("[sites]\npickup = ['*.example.jp']", "sites.pickup: write an exact host name first"),
        ("[sites]\npickup = ['A.example.jp']", "sites.pickup: 'A.example.jp' is no host name"),
        ("[sites]\npickup = ['a.example.jp:1']", "sites.pickup: 'a.example.jp:1' is no host name"),
        (
            "[sites]\npickup = ['help.localhost']",
            "sites.help: help.localhost belongs to sites.pickup",
        ),
        ("[sites]\ntry_suffix = 'try.localhost'", "sites.try_suffix: write a wildcard such as"),
        ("[tls]\ncertificate = 'a.pem'", "tls.key: name the key's PEM file beside tls.certificate"),
        ("[policy]\nreminder_days = 30", "policy.reminder_days: write fewer days than policy.renewal_days"),
        ("[policy]\nperson_key = 'dsa'", "policy.person_key: write one of 'rsa-2048'"),
        ("[mail]\ntransport = 'pigeon'", "mail.transport: write one of 'outbox', 'smtp' (it is \"pigeon\")"),
        ("[mail]\nfrom = 'nobody'", "mail.from: write a mail address"),
        ("[mail]\nusername = 'u'", "mail.password_file: name the file with the password of mail.username"),
        ("[mail]\nnotice_hours = '8-20'", "mail.notice_hours: write two times of Japan's day"),
        ("[mail]\nnotice_hours = '8:00-8:00'", "mail.notice_hours: write two times of Japan's day"),
        ("[upstream]\nhours = '18:00-8:00'", "upstream.hours: write two times of one business day"),
        ("[upstream]\nhours = '8:00-18:00'", "upstream.hours: write '', or upstream.addresses"),
        ("[mail]\nconnections = 0", "mail.connections: write a number from 1 to 100"),
        ("[mail]\nhost = 'a b'", "mail.host: write a host name"),
        ("[internal]\nport = 8443", "internal.port: write another port than that of [listen]"),
        (
            "[listen]\nhost = '0.0.0.0'\n[internal]\nport = 8443",
            "internal.port: write another port than that of [listen]",
        ),
        ("[limits]\ntick = 1e9", "limits.tick: write a number above 0 and below 1,000,000,000"),
        ('[operator]\nname = "a\\nb"', "operator.name: write one line of text"),
        ("[operator]\nmanual_url = 'javascript:1'", "operator.manual_url: write an address that begins with"),
        ("[limits]\nhead = -1", "limits.head: write a number above 0"),
        ("[limits]\nheaders = 1.5", "limits.headers: write a whole number, such as 100"),
        ("[protocol]\nhost = 'a.example'", "protocol.host: write one of the hosts of sites.pickup"),
        ("[webhooks]\nhosts = ['https://a.example']", "'https://a.example' is no host; write it in lower"),
        ("[webhooks]\nhosts = ['A.example']", "webhooks.hosts: 'A.example' is no host"),
        ("[webhooks]\nhosts = ['a.example:443']", "'a.example:443': write a port from 1 to 65535, and none"),
        ("[webhooks]\nhosts = ['a.example:70000']", "'a.example:70000': write a port from 1 to 65535"),
        ("[webhooks]\nhosts = ['[::1']", "'[::1' is no address; write it as"),
        ("[webhooks]\nhosts = ['::1']", "'::1' is no host"),
        ("[webhooks]\nnetworks = ['near']", "webhooks.networks: 'near' is no network"),
        ("[webhooks]\nkeep_days = 0", "webhooks.keep_days: write a number from 1"),
        ("[log]\nlevel = 'loud'", "log.level: write one of 'debug'"),
        ("[log", "not TOML: "),
    ],
)
def test_wrong_values_are_refused_by_name(text: str, message: str) -> None:
    """Unknown sections, unknown settings, wrong types and impossible values: named, with what to write."""
    with pytest.raises(ConfigError) as caught:
        parse_config(text)
    assert message in str(caught.value)


def test_one_port_at_two_addresses() -> None:
    """What listens elsewhere is in nobody's way."""
    assert parse_config("[listen]\nhost = '127.0.0.2'\n[internal]\nport = 8443").internal.port == 8443


def test_hosts_of_webhooks_as_endpoints_name_them() -> None:
    """The twin: with a port where it is another one, and addresses of either kind."""
    hosts = ("hooks.example.jp", "hooks.example.jp:8443", "192.0.2.7", "[2001:db8::7]", "[2001:db8::7]:8443")
    config = parse_config(f"[webhooks]\nhosts = {list(hosts)}\nnetworks = ['127.0.0.0/8']")
    assert settings_of(config).webhook_hosts == config.webhooks.hosts == hosts
    for host in hosts:
        reach.check_listed(reach.target(f"https://{host}/in"), settings_of(config))


def test_a_whole_number_may_stand_for_seconds() -> None:
    """``head = 5`` is as good as ``head = 5.0``."""
    assert parse_config("[limits]\nhead = 5").limits.head == 5.0


def test_a_file_that_is_missing_or_not_text(tmp_path: Path) -> None:
    """The error names the file and says what to type."""
    with pytest.raises(ConfigError) as caught:
        read_config(tmp_path)
    assert str(caught.value).endswith(f"write one with every default: sekisho init --data {tmp_path}")
    (tmp_path / FILE_NAME).write_bytes(b"\xff")
    with pytest.raises(ConfigError) as caught:
        read_config(tmp_path)
    assert str(caught.value) == f"{tmp_path / FILE_NAME} is not UTF-8; save it as UTF-8"
    (tmp_path / FILE_NAME).write_text("[log]\nlevel = 1")
    with pytest.raises(ConfigError) as caught:
        read_config(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / FILE_NAME}: log.level: write a text in quotes")


def test_no_host_twice_among_defaults() -> None:
    """The defaults pass their own checks."""
    assert parse_config(toml_of(Config())).sites == Sites()
