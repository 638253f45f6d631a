"""The practice statement: RFC 3647's sections in both languages, figures that follow the configuration, and
no empty place."""

from __future__ import annotations

import hashlib
import json
import re
import time
import tomllib
from pathlib import Path

import jinja2
import jinja2.meta
import jinja2.nodes
import pytest

from ca.errors import ConfigError
from enroll.jst import shown_day
from enroll.languages import LANGUAGES, Language
from gateway.practice import document
from gateway.practice import figures as figures_module
from gateway.practice.document import Template, built_in, fill
from gateway.practice.figures import figures
from gateway.serving.settings.profiles import PURPOSES
from tests.cli.conftest import Shell
from tests.cli.processes import change
from tests.datadirs import START

#: RFC 3647 section 6: for each chapter how many sections it has; for each of those its own, 0 for none.
OUTLINE = {
    1: (0, 0, 5, 2, 4, 0),
    2: (0, 0, 0, 0),
    3: (6, 6, 2, 0),
    4: (2, 3, 2, 3, 2, 7, 7, 7, 16, 3, 0, 2),
    5: (8, 4, 8, 8, 7, 0, 4, 0),
    6: (7, 11, 2, 3, 2, 3, 0, 0),
    7: (9, 2, 2),
    8: (0, 0, 0, 0, 0, 0),
    9: (5, 3, 3, 7, 0, 5, 0, 0, 0, 3, 0, 3, 0, 0, 0, 5, 0),
}
SECTIONS = [
    each
    for chapter, sections in OUTLINE.items()
    for each in (
        str(chapter),
        *(
            name
            for at, count in enumerate(sections, 1)
            for name in (f"{chapter}.{at}", *(f"{chapter}.{at}.{n}" for n in range(1, count + 1)))
        ),
    )
]
_HEADING = re.compile(r"^(#+) (\d[\d.]*) (?=\S)", re.MULTILINE)


def _written(shell: Shell, language: str, *words: str) -> str:
    """The document, and nothing that is left of its template."""
    ran = shell("cps", "--lang", language, *words, json_output=False, SEKISHO_PASSPHRASE="")
    assert ran.code == 0, ran.err
    assert not re.search(r"[{}]{2}|\{%|None(?!\.)|Undefined", ran.out)
    return ran.out


@pytest.mark.parametrize("language", LANGUAGES)
def test_all_sections_of_rfc_3647(language: Language) -> None:
    """Chapters 1 to 9 with all of their sections, numbered as there and in that order, at their levels."""
    found = _HEADING.findall(built_in(language).text)
    assert [number for _, number in found] == SECTIONS
    assert all(len(marks) == number.count(".") + 2 for marks, number in found)


def _asked(text: str) -> set[str]:
    """The names, attributes and blanks of a part of a template; what depends on the language, as one."""
    tree = jinja2.Environment().parse(text)
    names = {each.name for each in tree.find_all(jinja2.nodes.Name)}
    attributes = {each.attr for each in tree.find_all(jinja2.nodes.Getattr)}
    calls = tree.find_all(jinja2.nodes.Call)
    blanks = {
        each.args[0].as_const()
        for each in calls
        if each.args and isinstance(each.args[0], jinja2.nodes.Const)
    }
    return {"language" if each in LANGUAGES else each for each in names | attributes | blanks} - {
        "loop",
        "last",
    }


def test_both_languages_say_the_same() -> None:
    """In each section the same figures are written and the same blanks are asked for."""
    japanese, english = (
        dict(zip(SECTIONS, _HEADING.split(built_in(language).text)[3::3], strict=True))
        for language in LANGUAGES
    )
    for number in SECTIONS:
        assert _asked(japanese[number]) == _asked(english[number]), number
    assert sum(bool(_asked(text)) for text in english.values()) > 60


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_figure_is_told(ready: Path, language: Language) -> None:
    """There is no figure that a document does not show, and it asks for no other."""
    template = built_in(language)
    asked = jinja2.meta.find_undeclared_variables(jinja2.Environment().parse(template.text))
    assert asked - {"blank", "open_blanks"} == set(figures(ready, template, START))


#: A setting -> another value of it, and what the documents say then.
CHANGES = {
    ("operator", "name"): ('"甲信越年金サービス"', "甲信越年金サービス", "甲信越年金サービス"),
    ("operator", "telephone"): ('"03-0000-0000"', "電話：03-0000-0000", "Telephone: 03-0000-0000"),
    ("policy", "renewal_days"): ("45", "満了の 45 日前", "From 45 days"),
    ("policy", "reminder_days"): ("0", "満了の 45 日前に案内", "told 45 days before"),
    ("policy", "grace_days"): ("11", "満了後も 11 日間", "for 11 days after"),
    ("policy", "window_days"): ("21", "発行から 21 日間", "for 21 days from"),
    ("policy", "window_downloads"): ("4", "回数は 4 回まで", "and 4 times at most"),
    ("policy", "announced_days"): ("19", "案内から 19 日以内", "within 19 days"),
    ("policy", "decision_days"): ("0", "処理期間は約束しない", "No time is promised"),
    ("policy", "revoke_renewed_days"): ("5", "5 日後に失効させる", "revoked 5 days after"),
    ("policy", "lineages"): ("3", "除き 3 台とする", "on 3 PC(s)"),
    ("policy", "attempts"): ("6", "900 秒間に 6 回", "6 logins may fail"),
    ("policy", "person_key"): ('"rsa-3072"', "（個人、通常） | RSA 3072 |", "usually) | RSA 3072 |"),
    ("signer", "per_hour"): ("2500", "2,500 件を上限", "at most 2,500"),
    ("clock", "ahead_days"): ("3", "3 日を超えて進み", "more than 3 days ahead"),
    ("clock", "behind_minutes"): ("25", "25 分を超えて遅れた", "more than 25 minutes behind"),
    ("journal", "copy"): ('"/mnt/far"', "別の機器（/mnt/far）", "another machine (/mnt/far)"),
    ("journal", "syslog"): ('"udp://192.0.2.9:514"', "（udp://192.0.2.9:514）", "(udp://192.0.2.9:514)"),
    ("backup", "warn_hours"): ("50", "50 時間を超えた", "older than 50 hours"),
    ("protocol", "zone"): ('"id.example.jp"', ".id.example.jp", ".id.example.jp"),
    ("protocol", "quota"): ("12", "12 枚まで", "12 certificates at a time"),
    ("protocol", "terms_of_service"): ('"https://example.jp/t"', "https://example.jp/t", "https://example.jp/t"),
    ("mail", "from"): ('"ca@example.jp"', "差出人は ca@example.jp", "sender is ca@example.jp"),
    ("sites", "help"): ('["h.example.jp"]', "https://h.example.jp:8443/pki", "https://h.example.jp:8443/pki"),
}  # fmt: skip


def test_a_changed_setting_changes_the_document(sekisho: Shell) -> None:
    """Each of them is said as it is now, in both languages, and was not before."""
    before = {language: _written(sekisho, language) for language in LANGUAGES}
    file = sekisho.data / "sekisho.toml"
    change(file, {name: value for name, (value, _, _) in CHANGES.items()})
    for at, language in enumerate(LANGUAGES, 1):
        after = _written(sekisho, language)
        for name, told in CHANGES.items():
            assert told[at] in after, name
            assert told[at] not in before[language], name
        assert hashlib.sha256(file.read_bytes()).hexdigest() in after


@pytest.mark.slow
def test_the_cas_are_told_as_they_are(sekisho: Shell) -> None:
    """Names, addresses and fingerprints of every issuing CA, and where the root's key is."""
    made = sekisho(
        "ca", "add", "EXAMPLE CA-G5", "--key", "rsa-2048", "--revocation-url", "http://pki.example.jp"
    )
    assert made.code == 0, made.out
    text = _written(sekisho, "en")
    assert 'issued by "CORPORATE-PENSION BUSINESS SERVICE CA-G4"' in text
    assert re.search(r"\| Issuing \| CN=EXAMPLE CA-G5,.* \| staged \|", text)
    assert sekisho("ca", "activate", "EXAMPLE CA-G5", "--at", "+30d").code == 0
    planned = shown_day(int(time.time()) + 30 * 86_400)
    assert re.search(
        rf"\| Issuing \| CN=EXAMPLE CA-G5,.* \| planned \({planned}\) \|", _written(sekisho, "en")
    )
    assert sekisho("ca", "withdraw", "EXAMPLE CA-G5").code == 0
    assert sekisho("ca", "activate", "EXAMPLE CA-G5", "--at", "now").code == 0
    text = _written(sekisho, "en")
    assert 'issued by "EXAMPLE CA-G5"' in text
    assert re.search(r"\| Issuing \| CN=CORPORATE-.* \| earlier generation \|", text)
    assert "| EXAMPLE CA-G5 | RSA 2048 |" in text
    assert "| EXAMPLE CA-G5 | sha256WithRSAEncryption | 1.2.840.113549.1.1.11 |" in text
    assert text.count("| CORPORATE-PENSION BUSINESS SERVICE CA-G4 |") == 4
    assert "OCSP is offered at http://pki.example.jp/ocsp" in text
    assert made.value["ca"]["crl_url"] in text
    assert "private key is kept on the CA's machine, where 6.2.1 says" in text
    assert text.count("in a sealed file on the CA's machine |") == 3
    (sekisho.data / "ca/root.key").rename(sekisho.data.parent / "elsewhere")
    (issuing,) = (
        each["id"] for each in json.loads((sekisho.data / "sekisho.json").read_text())["issuers"][:1]
    )
    with (sekisho.data / "sekisho.toml").open("a") as settings:
        settings.write('\n[tokens.hsm]\nmodule = "/usr/lib/x.so"\nlabel = "vault 7"\n')
        settings.write(f'[keys.issuing-{issuing[:16]}]\ntoken = "hsm"\nlabel = "g5"\n')
    text = _written(sekisho, "en")
    assert "made in a ceremony on a machine without network" in text
    assert '| EXAMPLE CA-G5 | in the token "vault 7" (PKCS#11) |' in text
    assert "ROOT CA | not on the CA's machine |" in text
    assert sekisho("ca", "distrust", "EXAMPLE CA-G5", "--reason", "cACompromise").code == 0
    refused = sekisho("cps").error["message"]
    assert "the document needs current, of which the configuration says nothing" in refused


def test_every_purpose_has_a_name() -> None:
    """Whatever a profile may be good for, the document can say."""
    assert set(PURPOSES.values()) <= set(figures_module._PURPOSES)


PROFILE = """
[profile.staff]
like = "client-person"
years = 2
keys = ["rsa-3072"]
subject = { C = "JP", O = { field = "organisation.name" } }
names = { email = { field = "user.mail" } }
extended_key_usage = ["clientAuth", "emailProtection"]
policy = "1.3.6.1.4.1.32473.1.1"
cps = "https://pki.example.jp/cps.html"
"""


def test_profiles_are_told_as_they_are(sekisho: Shell) -> None:
    """The operator's own beside the built-in ones: keys, validity, subject, names, purposes, policy."""
    assert "#### 7.1.6 証明書ポリシーのオブジェクト識別子\n\n証明書には記載しない。" in _written(
        sekisho, "ja"
    )
    with (sekisho.data / "sekisho.toml").open("a") as settings:
        settings.write(PROFILE)
    change(sekisho.data / "sekisho.toml", {("policy", "person_profile"): '"staff"'})
    text = _written(sekisho, "ja")
    for line in (
        "| staff（個人、通常） | RSA 3072 |",
        "| staff（個人、通常） | 2 年（発行認証局の満了を超えない） |",
        "| client-person（個人） | 3 年（発行認証局の満了を超えない） |",
        "| staff（個人、通常） | CA でない | digitalSignature | id-kp-clientAuth、id-kp-emailProtection "
        "| 両鍵識別子、サブジェクト別名、証明書ポリシー |",
        "| staff（個人、通常） | C=JP、O={organisation.name}、CN＝ユーザーID＋管理番号 4 桁"
        "（例：K123456780001） | email={user.mail} |",
        "| staff | 1.3.6.1.4.1.32473.1.1 |",
        "CPS の URI（id-qt-cps）：staff は https://pki.example.jp/cps.html。",
    ):
        assert line in text


def test_what_an_operator_decides(sekisho: Shell, tmp_path: Path) -> None:
    """The file of blanks is written, filled in and taken: what is decided stands in its place, what is not in
    〔 〕 and in the list at the end."""
    file = tmp_path / "cps.toml"
    assert sekisho("cps", "--format", "toml", "--out", str(file)).code == 0
    keys = list(tomllib.loads(file.read_text())["cps"])
    assert 30 < len(keys) < 40
    text = _written(sekisho, "ja")
    assert text.count("〔") == len(keys) + 1  # and where it is explained
    assert all(text.count(f"`{key}`") == 1 for key in keys)

    file.write_text(file.read_text().replace('court = ""', 'court = { ja = "東京地方裁判所", en = "Tokyo" }'))
    assert "\n\n東京地方裁判所\n\n" in _written(sekisho, "ja", "--answers", str(file))
    assert "`court`" in text
    (sekisho.data / "cps.toml").write_text("[cps]\n" + "".join(f'{key} = "text"\n' for key in keys))
    decided = sekisho("cps", "--lang", "en")
    assert decided.value["cps"]["open"] == []
    document = decided.value["cps"]["document"]
    assert document.count("〔") == 1
    assert document.endswith("Nothing is open.\n")
    again = _written(sekisho, "ja", "--answers", str(file), "--format", "toml")
    assert tomllib.loads(again) == tomllib.loads(file.read_text())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[cps]\ncuort = "x"\n', "nothing asks for cuort"),
        ("[cps]\ncourt = 3\n", "court: write a text in quotes"),
        ('[cps]\ncourt = "\n', "is not TOML"),
        ('court = "x"\n', "one section, [cps]"),
    ],
)
def test_what_no_answer_is(sekisho: Shell, tmp_path: Path, content: str, message: str) -> None:
    """An answer to what is not asked, or that is no text, is refused by name."""
    file = tmp_path / "cps.toml"
    file.write_text(content)
    refused = sekisho("cps", "--answers", str(file)).error
    assert refused["code"] == "config"
    assert message in refused["message"]
    assert str(file) in refused["message"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{{ renewal_dais }}", "no figure is called renewal_dais"),
        ("{% if lineages > 99 %}{{ nothing }}{% endif %}", "no figure is called nothing"),
        ("{{ grace_days }}", "the document needs grace_days"),
        ("{{ current.ocsp }}", "the document needs current.ocsp"),
        ("{% for each in current.shardz %}{% endfor %}", "has no attribute 'shardz'"),
        ("{{ blank('x', 'y') }}", "the blank 'x' is not written as"),
        ("{% if %}", "mend that line"),
    ],
)
def test_what_a_template_may_not_say(sekisho: Shell, line: str, message: str) -> None:
    """An unknown name, wherever it stands, and a figure that there is not, are errors by name; nothing is
    written. The twin is a template of the operator's own."""
    own = sekisho.data / "templates/cps.ja.md"
    own.parent.mkdir()
    own.write_text("# Ours\n\n## 1 X\n\n{{ operator }} {{ renewal_days }}\n")
    assert _written(sekisho, "ja").endswith("企業年金ビジネスサービス株式会社 30\n")
    own.write_text(own.read_text() + line + "\n")
    refused = sekisho("cps", "--out", str(sekisho.data / "out.md")).error
    assert refused["code"] == "config"
    assert message in refused["message"]
    assert str(own) in refused["message"] or "the document needs" in refused["message"]
    assert not (sekisho.data / "out.md").exists()


def test_an_empty_list_is_no_empty_table() -> None:
    """A list of nothing is a figure that is missing."""
    template = Template("x", "en", "{% for each in cas %}{{ each }}{% endfor %}")
    assert fill(template, {"cas": ["a"]}, {}) == "a"
    with pytest.raises(ConfigError, match="the document needs cas"):
        fill(template, {"cas": []}, {})


def test_a_page_of_its_own(sekisho: Shell) -> None:
    """HTML in the document's language, with an address for each section; what an operator writes is text."""
    (sekisho.data / "cps.toml").write_text('[cps]\ncourt = "<script>x</script> **A & B**"\n')
    page = _written(sekisho, "ja", "--format", "html")
    assert page.startswith('<!doctype html>\n<html lang="ja">')
    assert set(re.findall(r' id="s([\d.]+)"', page)) == set(SECTIONS)
    assert set(re.findall(r'href="#s(\d+)"', page)) == {str(n) for n in range(1, 10)}
    assert "<script" not in page
    assert "<strong>A &amp; B</strong>" in page
    assert "<td>ECDSA P-384</td>" in page
    assert document.VERSION in page
