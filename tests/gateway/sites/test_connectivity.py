"""The connectivity test: one finding for each state, one next step for each finding, fresh hosts, reports."""

import json
import re
import shutil
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12
from playwright.async_api import async_playwright

import ca.store
from ca.trust import CertificateState
from enroll import store
from enroll.jst import shown
from enroll.people import applications
from enroll.refusals import Refusal
from enroll.requests import issuance, pickup, renewal
from gateway.edge.tls import ClientCertificate
from gateway.sites.connectivity import application, findings, words
from gateway.sites.connectivity.findings import REPORTABLE, Level
from gateway.sites.connectivity.hosts import fresh_hosts, fresh_origin, is_probe, probe_hosts, probe_origin
from gateway.sites.connectivity.report import MAX_BYTES, Report, parse_report
from gateway.web import references
from gateway.web.browsers import Browser, Family, browser_of
from gateway.web.context import Role
from tests.datadirs import admit, clock_of, letter_of, open_office
from tests.gateway.rawtls import issue
from tests.gateway.sites.kit import serve
from tests.looking import look

USER = "K12345678"
EDGE = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/142.0.0.0 Safari/537.36 Edg/142.0.0.0"
)
FIREFOX = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:145.0) Gecko/20100101 Firefox/145.0"
IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/18.5 Mobile/15E148 Safari/604.1"
)


@pytest.fixture
async def ra(tmp_path):
    async with open_office(tmp_path, person_key="ec-p256") as ra:
        yield ra


@pytest.fixture
async def served(ra, tmp_path):
    async with serve(ra, tmp_path, Role.CONNECTIVITY, application, ClientCertificate.ASK) as served:
        yield served


async def picked_up(ra, user_id=USER):
    """A user's P12 with the password ``abc``."""
    await admit(ra, user_id)
    return await picked_up_again(ra, user_id)


async def picked_up_again(ra, user_id=USER):
    """The certificate of the newest letter."""
    secret = (await letter_of(ra, "pickup")).value("証明書発行用パスワード")
    request = await pickup.authenticate(ra, user_id, secret, address="192.0.2.1")
    await issuance.submit(ra, request.request_id, actor=user_id)
    await issuance.complete(ra, request.request_id)
    token = await issuance.prepare_download(ra, request.request_id, "abc", "standard", actor=user_id)
    return (await issuance.download(ra, token, request.request_id, actor=user_id)).content


def foreign():
    """A P12 of somebody else's CA, with our user's name in it."""
    other = issue("K123456780001", issue("OTHER CA", ca=True))
    return pkcs12.serialize_key_and_certificates(
        b"", other.key, other.certificate, None, BestAvailableEncryption(b"abc")
    )


def finding(page):
    """Mark and sentence of the certificate's finding."""
    box = page.main.one("section", aria_labelledby="certificate")
    return box.all("p", class_="found")[0].text


def seen(page, name):
    """What stands in a check's row without JavaScript."""
    row = next(r for r in page.main.all("tr") if r.attributes.get("data-check") == name)
    return next(o for o in row.all("div") if o.attributes.get("data-outcome") == "")


def mark(page, name):
    return next(e.text for e in seen(page, name).all("span", class_="state"))


def number(page):
    return page.main.one("strong", id="reference").text


# -- the certificate -----------------------------------------------------------------------------------


async def test_a_valid_certificate_is_shown_as_the_manual_says_to_look_for_it(served, ra):
    """R48: issuer, subject and validity without digging in settings."""
    p12 = await picked_up(ra)
    page = await served.visitor(p12, "abc", User_Agent=EDGE).get()
    record = ca.store.find_by_common_name(look(ra.database), "K123456780001")[0]
    assert (page.status, page.h1) == (200, "導通確認サイト")
    assert finding(page) == "良好 有効なクライアント証明書が提示されました。"
    rows = dict(page.main.table(0))
    assert rows["発行者"] == "CORPORATE-PENSION BUSINESS SERVICE CA-G4"
    assert rows["発行先（コモンネーム）"] == "K123456780001"
    assert rows["シリアル番号"] == record.serial.upper()
    assert rows["有効期限"].startswith(shown(record.not_after_at) + "（あと109")


async def test_a_certificate_that_was_renewed_is_not_to_be_renewed_again(served, ra):
    """E11, R39: a renewal that was begun is taken up; a newer certificate is the one to choose."""
    p12 = await picked_up(ra)
    (source,) = store.enrollments_of(look(ra.database), USER)
    clock_of(ra).set(source.not_after_at - 20 * 86_400)
    visitor = served.visitor(p12, "abc", User_Agent=EDGE)
    assert (await visitor.get()).main.one("section", aria_labelledby="certificate").one("a").text == (
        "更新のお手続きを開く"
    )
    mark = ca.store.find_by_serial(look(ra.database), source.serial).fingerprint
    order = await renewal.submit(ra, mark, actor=USER)
    await issuance.complete(ra, order.request_id)
    page = await visitor.get()
    assert finding(page) == "注意 有効なクライアント証明書が提示されました。更新のお手続きが途中です。"
    token = await issuance.prepare_download(ra, order.request_id, "abc", "standard", actor=USER)
    new = (await issuance.download(ra, token, order.request_id, actor=USER)).content
    (renewed, _) = store.enrollments_of(look(ra.database), USER)
    page = await visitor.get()
    assert finding(page) == (
        "注意 有効なクライアント証明書が提示されました。新しい証明書があります"
        f"（コモンネーム K123456780001、シリアル番号 {renewed.serial[:8].upper()}、"
        f"有効期限 {shown(renewed.not_after_at)}）。"
    )
    assert "更新のお手続きを開く" not in page.main.one("section", aria_labelledby="certificate").text
    again = served.visitor(new, "abc", User_Agent=EDGE)
    assert finding(await again.get()) == "良好 有効なクライアント証明書が提示されました。"


async def test_no_certificate_names_each_cause_with_its_step(served):
    """Gate fact 6: missing, expired, foreign and cancelled look alike, so each is told with its own step."""
    page = await served.visitor(User_Agent=EDGE).get()
    box = page.main.one("section", aria_labelledby="certificate")
    assert finding(page).startswith("問題あり クライアント証明書が提示されませんでした。")
    causes = [each.all("strong")[0].text for each in box.all("li")]
    assert causes == [
        "以前に選択画面で「キャンセル」（Firefoxでは「証明書を送信しない」）を押した",
        "このパソコンに証明書が取得（インストール）されていない",
        "証明書の有効期限が切れている",
        "別の発行者の証明書しかない",
    ]
    steps = [each.one("a").text for each in box.all("li")]
    assert steps == [
        "もう一度試す",
        "証明書の確認方法を見る",
        "再発行のお手続きを見る",
        "すべての発行者の証明書で確認する",
    ]
    assert not page.main.all("table", id="presented")


@pytest.mark.parametrize(
    ("agent", "last"),
    [(FIREFOX, "Firefoxをご使用の場合"), (IPHONE, "スマートフォン・タブレットからのアクセス")],
)
async def test_no_certificate_on_another_device_says_so(served, agent, last):
    """E21, E22: a phone has no certificate to show, and Firefox may have a store of its own."""
    page = await served.visitor(User_Agent=agent).get()
    box = page.main.one("section", aria_labelledby="certificate")
    assert box.all("li")[-1].all("strong")[0].text == last


async def test_a_certificate_near_its_end_leads_to_the_renewal(served, ra):
    """From D-30 on the next step is the renewal; the day before it is not."""
    p12 = await picked_up(ra)
    end = ca.store.find_by_common_name(look(ra.database), "K123456780001")[0].not_after_at
    visitor = served.visitor(p12, "abc")
    clock_of(ra).set(end - 31 * 86_400)
    assert finding(await visitor.get()) == "良好 有効なクライアント証明書が提示されました。"
    clock_of(ra).set(end - 30 * 86_400)
    page = await visitor.get()
    assert finding(page).startswith("注意 ")
    step = page.main.one("section", aria_labelledby="certificate").one("a")
    assert (step.text, step.attributes["href"]) == (
        "更新のお手続きを開く",
        served.gate.origins[Role.RENEWAL] + "/",
    )


async def test_a_reissued_certificate_names_its_successor_and_a_stolen_one_does_not(served, ra):
    """Which one to choose instead, by common name and serial; whoever has a stolen one learns nothing."""
    p12 = await picked_up(ra)
    await applications.reissue(ra, "K12345678", "pc_change", actor="desk", revoke_old="at_once")
    row = words.CERTIFICATE[CertificateState.REVOKED]
    page = await served.visitor(p12, "abc").get()
    assert row.step[0] in page.main.text
    await picked_up_again(ra)
    new = ca.store.find_by_common_name(look(ra.database), "K123456780002")[0]
    page = await served.visitor(p12, "abc").get()
    named = f"（コモンネーム K123456780002、シリアル番号が {new.serial[:8].upper()} で始まるもの）"
    assert named in page.main.text
    old = ca.store.find_by_common_name(look(ra.database), "K123456780001")[0].serial
    stolen = "UPDATE certificates SET revocation_reason = 1 WHERE serial = :serial"
    await ra.database.write(lambda db: db.execute(stolen, {"serial": old}))
    assert named not in (await served.visitor(p12, "abc").get()).main.text


@pytest.mark.parametrize("state", ["expired", "not-yet-valid", "revoked", "unknown-issuer"])
async def test_each_bad_certificate_is_told_apart(served, ra, state):
    """A certificate that arrives is never "not good": its state is named, with the step that cures it."""
    p12 = foreign() if state == "unknown-issuer" else await picked_up(ra)
    if state == "expired":
        clock_of(ra).advance(days=4 * 365)
    if state == "not-yet-valid":
        clock_of(ra).advance(hours=-1)
    if state == "revoked":
        serial = ca.store.find_by_common_name(look(ra.database), "K123456780001")[0].serial
        await ra.database.write(lambda db: ca.store.revoke(db, serial, 1, ra.now()))
    page = await served.visitor(p12, "abc").get()
    row = words.CERTIFICATE[CertificateState(state)]
    assert finding(page) == "問題あり " + row.text[0]
    step = page.main.one("section", aria_labelledby="certificate").one("a")
    assert step.text == words.TARGETS[row.target][0]
    facts = dict(page.main.table(0))
    assert facts["発行先（コモンネーム）"] == "K123456780001"
    # What has ended, or never counts, has no days left.
    assert ("（期限切れ）" in facts["有効期限"], "（あと" in facts["有効期限"]) == (state == "expired", False)


async def test_an_expired_certificate_that_can_still_be_renewed(tmp_path):
    """D8: in the period of grace the step is the renewal, a second later the reissue."""
    async with (
        open_office(tmp_path, grace_days=10) as ra,
        serve(ra, tmp_path, Role.CONNECTIVITY, application, ClientCertificate.ASK) as served,
    ):
        visitor = served.visitor(await picked_up(ra), "abc")
        (record,) = ca.store.find_by_common_name(look(ra.database), "K123456780001")
        clock_of(ra).set(record.not_after_at + 10 * 86_400)
        for row in (words.IN_GRACE, words.CERTIFICATE[CertificateState.EXPIRED]):
            page = await visitor.get()
            assert finding(page) == "問題あり " + row.text[0]
            step = page.main.one("section", aria_labelledby="certificate").one("a")
            assert step.text == words.TARGETS[row.target][0]
            clock_of(ra).advance(seconds=1)


def test_every_state_has_a_finding_and_every_step_a_target():
    """No state of ca.trust ends in a KeyError, and no next step in a dead link."""
    assert set(words.CERTIFICATE) == set(CertificateState) - {CertificateState.VALID, CertificateState.NONE}
    tables = [words.CERTIFICATE, words.VALID, words.BROWSERS, words.COOKIES, words.TLS, words.PROXY]
    tables += [words.JAVASCRIPT, words.POPUPS, words.CLOCK, words.REACH]
    rows = [row for table in tables for row in table.values()] + [
        words.EXPIRES_SOON,
        words.IN_GRACE,
        words.BROWSER_PHONE,
    ]
    assert {row.target for row in rows} - {""} <= set(words.TARGETS)
    for row in rows:
        assert row.level in words.LEVELS
        assert row.level not in ("warn", "bad") or row.step is not None, row.text[1]


# -- fresh hosts ---------------------------------------------------------------------------------------


async def test_try_again_is_a_host_that_no_browser_has_seen(served):
    """E12: a browser remembers "none" per host, so each page offers another new one; it works."""
    visitor = served.visitor()
    first, second = [(await visitor.get()).main.one("a", id="again").attributes["href"] for _ in range(2)]
    assert first != second
    host = first.removeprefix("https://").partition(":")[0]
    assert host.endswith(".try.test")
    page = await served.visitor(host=host).get()
    assert finding(page).startswith("問題あり クライアント証明書が提示されませんでした。")
    assert "以前に" not in page.main.text


async def test_a_probe_tells_another_issuer_from_none(served, ra):
    """With no CA advertised a browser offers everything: "none" then means that there is nothing."""
    hosts = probe_hosts(served.gate)
    nothing = await served.visitor(host=hosts[3]).get()
    assert finding(nothing).startswith("問題あり どの発行者の証明書も提示されませんでした。")
    other = await served.visitor(foreign(), "abc", host=hosts[3]).get()
    assert finding(other).startswith("問題あり 別の発行者の証明書が提示されました。")
    ours = await served.visitor(await picked_up(ra), "abc", host=hosts[3]).get()
    assert finding(ours).startswith("良好 有効なクライアント証明書が提示されました。証明書はこのパソコンで")


async def test_hosts_are_named_for_the_server(served):
    """One wildcard covers the fresh hosts and sixteen exact probes, each followed by the next."""
    gate = served.gate
    hosts = probe_hosts(gate)
    assert fresh_hosts(gate) == ("*.try.test",)
    assert (len(hosts), hosts[0], hosts[15]) == (16, "any-0.try.test", "any-f.try.test")
    assert probe_origin(gate, hosts[15]) == "https://any-0" + gate.try_suffix
    assert probe_origin(gate, "connectivity.test").startswith("https://any-")
    assert not is_probe(gate, fresh_origin(gate).removeprefix("https://").partition(":")[0])


async def test_from_a_fresh_host_to_a_fresh_host(ra, tmp_path):
    """E12: who chose anew here is led to a host of the service that remembers nothing; others to its own."""

    def build(gate):
        return application(replace(gate, fresh={Role.SERVICE: ".again.test"}))

    async with serve(ra, tmp_path, Role.CONNECTIVITY, build, ClientCertificate.ASK) as served:
        p12 = await picked_up(ra)
        own = await served.visitor(p12, "abc").get()
        links = [a.attributes["href"] for a in own.main.all("a") if a.text == "オンラインサービスを開く"]
        assert links == [served.gate.origins[Role.SERVICE] + "/"]
        fresh = await served.visitor(p12, "abc", host="t-1.try.test").get()
        links = [a.attributes["href"] for a in fresh.main.all("a") if a.text == "オンラインサービスを開く"]
        assert re.fullmatch(r"https://[0-9a-f]{16}\.again\.test/", *links)


async def test_without_a_wildcard_the_test_still_works(ra, tmp_path):
    """An operator without a wildcard certificate loses the fresh hosts and nothing else."""
    own = {}

    def build(gate):
        own["gate"] = replace(gate, try_suffix="")
        return application(own["gate"])

    async with serve(ra, tmp_path, Role.CONNECTIVITY, build, ClientCertificate.ASK) as served:
        page = await served.visitor().get()
        assert page.status == 200
        assert not page.main.all("a", id="again")
        assert "すべての発行者の証明書で確認する" not in page.main.text
        assert "ブラウザをすべて閉じ" in page.main.text
    assert fresh_hosts(own["gate"]) == probe_hosts(own["gate"]) == ()


# -- browser and connection ----------------------------------------------------------------------------


async def test_cookies_are_tested_without_javascript(served):
    """One round trip shows whether the browser keeps a cookie; who does not is not sent round for ever."""
    keeps = await served.visitor().get()
    assert (keeps.redirects, mark(keeps, "cookies")) == (1, "良好")
    refuses = await served.visitor().get("/?c=1")
    assert (refuses.redirects, mark(refuses, "cookies")) == (0, "問題あり")
    assert "Cookieがブロックされています。" in seen(refuses, "cookies").text


async def test_what_only_the_browser_knows_is_open_without_javascript(served):
    """Without a script the page says what to look at, and claims nothing."""
    page = await served.visitor(User_Agent=EDGE).get()
    assert mark(page, "javascript") == "注意"
    assert [mark(page, n) for n in ("popups", "clock", "reach-pickup", "reach-service")] == ["未確認"] * 4
    assert shown(served.ra.now()) in seen(page, "clock").text
    assert "hidden" in page.main.one("button", id="try-popup").attributes
    hosts = [e.attributes["href"] for e in page.main.all("a", class_="host")]
    roles = (Role.PICKUP, Role.HELP, Role.RENEWAL, Role.SERVICE)
    assert hosts == [served.gate.origins[role] + "/" for role in roles]


async def test_the_connection_is_described(served):
    """TLS version, cipher, and the issuer of our certificate to compare with the browser's padlock."""
    page = await served.visitor().get()
    text = seen(page, "tls").text
    assert "TLSv1.3 / TLS_" in text
    assert "sekisho local server CA" in text
    assert mark(page, "proxy") == "良好"


async def test_an_inspecting_proxy_is_noticed(served):
    """E23: a device that adds its headers also keeps the client certificate from us."""
    page = await served.visitor(Via="1.1 proxy.corp.example").get()
    assert mark(page, "proxy") == "問題あり"


async def test_scripts_may_fetch_from_the_sites_that_ask_for_nothing_only(served):
    """A fetch from a site that asks would open the picker; the policy does not even allow it."""
    page = await served.visitor().get()
    policy = page.headers["Content-Security-Policy"]
    origins = served.gate.origins
    assert f"connect-src 'self' {origins[Role.PICKUP]} {origins[Role.HELP]};" in policy
    assert origins[Role.RENEWAL] not in policy
    icon = await served.visitor().get("/favicon.ico")
    assert icon.headers["Cross-Origin-Resource-Policy"] == "cross-origin"


async def test_english_goes_along_to_fresh_hosts(served):
    """Fresh hosts share no cookie, so the language is in their address."""
    page = await served.visitor().get("/?lang=en")
    assert (page.h1, page.dom.one("html").attributes["lang"]) == ("Connectivity test", "en")
    assert page.main.one("a", id="again").attributes["href"].endswith("/?lang=en")


@pytest.mark.parametrize(
    ("agent", "browser"),
    [
        (EDGE, Browser(Family.EDGE, 142)),
        (FIREFOX, Browser(Family.FIREFOX, 145)),
        (IPHONE, Browser(Family.SAFARI, 18, phone=True)),
        (EDGE.partition(" Edg")[0], Browser(Family.CHROME, 142)),
        (EDGE.replace("Edg/", "OPR/"), Browser(Family.OTHER)),
        (
            "Mozilla/5.0 (Linux; Android 14) Chrome/142.0 Mobile Safari/537.36",
            Browser(Family.CHROME, 142, True),
        ),
        ("Chrome/" + "9" * 10_000, Browser(Family.CHROME, 9_999)),
        ("", Browser(Family.OTHER)),
    ],
)
def test_browsers_are_told_by_their_user_agent(agent, browser):
    """Edge says Chrome and Safari too: the order of the table decides."""
    assert browser_of({"User-Agent": agent}) == browser


# -- the record for the help desk, and scripts ---------------------------------------------------------


async def test_the_reference_number_finds_every_finding(served, ra):
    """R6: the help desk sees what the caller sees, and what the browser's script reported."""
    visitor = served.visitor(await picked_up(ra), "abc", User_Agent=EDGE)
    reference = number(await visitor.get())
    body = {"reference": reference, "outcomes": {"popups": "blocked", "clock": "ahead"}, "clock_seconds": 900}
    answer = await report(visitor, body)
    assert answer == (200, {"reference": reference})
    kept = references.found(look(ra.database), reference)
    assert (kept["site"], kept["code"]) == ("connectivity", "check.valid")
    assert kept["detail"]["common_name"] == "K123456780001"
    assert kept["detail"]["outcomes"] == {"popups": "blocked", "clock": "ahead"}
    assert kept["detail"]["clock_seconds"] == 900
    assert kept["detail"]["findings"]["cookies"] == "good"


async def test_nobody_amends_another_visitors_record(served, ra):
    """A reference number is read aloud; knowing it does not allow writing under it."""
    reference = number(await served.visitor().get())
    before = references.found(look(ra.database), reference)
    stranger = served.visitor()
    await stranger.get()
    status, told = await report(stranger, {"reference": reference, "outcomes": {"popups": "allowed"}})
    assert status == 200
    assert told["reference"] != reference
    assert references.found(look(ra.database), reference) == before
    bare = await report(served.visitor(), {"reference": reference})
    assert bare[1]["reference"] != reference


async def test_a_report_from_another_site_is_refused(served):
    """V40: the browser would send certificate and cookie along."""
    visitor = served.visitor()
    reference = number(await visitor.get())
    status, _ = await report(visitor, {"reference": reference}, Origin="https://evil.test")
    assert status == 403


@pytest.mark.parametrize(
    ("seconds", "japanese", "english"),
    [
        (0, "0秒", "0 s"),
        (-3, "3秒", "3 s"),
        (60, "1分", "1 min"),
        (900, "15分", "15 min"),
        (3723, "1時間2分", "1 h 2 min"),
        (86400, "1日", "1 d"),
        (-2_159_987, "24日23時間", "24 d 23 h"),
        (92_534_403, "1071日", "1071 d"),
    ],
)
def test_the_difference_of_two_clocks_is_told_in_its_two_largest_units(seconds, japanese, english):
    """Nobody reads 92534403秒 as three years; whose clock is ahead the sentence above it says."""
    assert words.duration(seconds) == (japanese, english)


def test_a_report_is_read_strictly():
    """The words of the page's own script and nothing else."""
    outcomes = {name: sorted(allowed)[0] for name, allowed in REPORTABLE.items()}
    body = json.dumps({"reference": "7K2M-94XA", "outcomes": outcomes, "clock_seconds": -3})
    assert parse_report(body.encode()) == Report("7K2M-94XA", outcomes, -3)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", "body"),
        (b"\xff", "body"),
        (b"[]", "body"),
        (b"[" * 2_000, "body"),
        (b" " * (MAX_BYTES + 1), "body"),
        (b'{"reference": "7K2M-94XA", "note": "x"}', "body"),
        (b"{}", "reference"),
        (b'{"reference": "7k2m94xa"}', "reference"),
        (b'{"reference": "7K2M-94XA", "outcomes": []}', "outcomes"),
        (b'{"reference": "7K2M-94XA", "outcomes": {"popups": "<b>"}}', "outcomes"),
        (b'{"reference": "7K2M-94XA", "outcomes": {"popups": ["blocked"]}}', "outcomes"),
        (b'{"reference": "7K2M-94XA", "outcomes": {"tls": "good"}}', "outcomes"),
        (b'{"reference": "7K2M-94XA", "clock_seconds": true}', "clock_seconds"),
        (b'{"reference": "7K2M-94XA", "clock_seconds": 1e999}', "clock_seconds"),
    ],
)
def test_hostile_reports_are_refused_by_field(body, field):
    """Any bytes give a report or a refusal, never another exception."""
    with pytest.raises(Refusal) as refused:
        parse_report(body)
    assert refused.value == Refusal("invalid_input", field=field)


async def test_status_for_scripts(served, ra):
    """/status.json holds the same facts, with no page around them."""
    visitor = served.visitor(await picked_up(ra), "abc", User_Agent=EDGE)
    got = await visitor.get("/status.json")
    told = json.loads(got.body)
    assert (got.status, got.headers["Cache-Control"]) == (200, "no-store")
    assert told["certificate"]["state"] == "valid"
    assert told["certificate"]["common_name"] == "K123456780001"
    assert told["now_at"] == ra.now()
    assert told["browser"] == {"name": "Microsoft Edge 142", "phone": False}
    levels = {check["name"]: check["level"] for check in told["checks"]}
    assert levels["certificate"] == Level.GOOD
    bare = json.loads((await served.visitor().get("/status.json")).body)
    assert bare["certificate"] == {"state": "none"}


def test_the_script_knows_the_words_of_the_page():
    """Every outcome that the script settles on is one that the server wrote into the page."""
    from importlib.resources import files

    script = (files("gateway.web") / "assets" / "connectivity.js").read_text()
    for name, allowed in REPORTABLE.items():
        assert f'"{name}"' in script
        assert all(f'"{word}"' in script for word in allowed)
    assert {check.name for check in findings.reachability() if check.outcomes} <= set(REPORTABLE)


async def report(visitor, body, **headers):
    """POSTs a report as the page's script does."""
    sent = {"Origin": visitor.origin, "Content-Type": "application/json"} | headers
    async with visitor.session.post(visitor.origin + "/report", data=json.dumps(body), headers=sent) as got:
        return got.status, await got.json(content_type=None) if got.status == 200 else None


# -- in a real browser ---------------------------------------------------------------------------------

CHROMIUM = shutil.which("chromium")


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
@pytest.mark.parametrize("blocker", [True, False])
async def test_the_script_finds_what_only_a_browser_knows(ra, tmp_path, blocker):
    """JavaScript, pop-ups with and without a blocker, clock, a host that answers and one that does not."""
    gates = []

    def build(gate):
        # The test's own fresh host stands in for the help: it has the same icon.
        help_here = "https://t-help" + gate.try_suffix
        gates.append(replace(gate, origins={**gate.origins, Role.HELP: help_here}))
        return application(gates[0])

    rules = "MAP pickup.test ~NOTFOUND, MAP *.test 127.0.0.1"
    # Playwright allows every pop-up unless this default is taken away.
    ignored = ["--disable-popup-blocking"] if blocker else []
    async with (
        serve(ra, tmp_path, Role.CONNECTIVITY, build, ClientCertificate.ASK) as served,
        async_playwright() as playwright,
    ):
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", f"--host-resolver-rules={rules}"],
            ignore_default_args=ignored,
        )
        page = await (await browser.new_context(ignore_https_errors=True)).new_page()
        async with page.expect_response("**/report"):
            await page.goto(served.gate.origins[Role.CONNECTIVITY] + "/")
        async with page.expect_response("**/report"):
            await page.click("#try-popup")
        shown_reference = await page.inner_text("#reference")
        apart = await page.inner_text(
            '[data-check="clock"] [data-outcome]:not([hidden]) [data-clock="seconds"]'
        )
        popups = await page.inner_text('[data-check="popups"] [data-outcome]:not([hidden])')
        await browser.close()
    row = words.POPUPS["blocked" if blocker else "allowed"]
    assert row.text[0] in popups
    detail = references.found(look(ra.database), shown_reference)["detail"]
    assert detail["outcomes"]["popups"] == ("blocked" if blocker else "allowed")
    assert detail["outcomes"]["javascript"] == "on"
    assert detail["outcomes"]["reach-help"] == "reached"
    assert detail["outcomes"]["reach-pickup"] == "blocked"
    # The registration authority's clock stands still at START, which lies in this machine's past or future.
    assert detail["outcomes"]["clock"] == ("ahead" if detail["clock_seconds"] > 0 else "behind")
    assert apart == words.duration(detail["clock_seconds"])[0]
