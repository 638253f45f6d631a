"""The house itself: imports run downwards, cores do no I/O, libraries have one home."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("ca", "enroll", "gateway", "conformance")
MAY_IMPORT = {
    "ca": {"ca"},
    "enroll": {"ca", "enroll"},
    "gateway": {"ca", "enroll", "gateway"},
    "conformance": {"conformance"},
}
#: Modules that decide and never act: no sockets, no files, no database, no clock of their own.
CORES = (
    "enroll/requests/states.py",
    "enroll/requests/enrollment.py",
    "enroll/identifiers.py",
    "enroll/refusals.py",
    "enroll/problems.py",
    "enroll/jst.py",
    "enroll/settings.py",
    "enroll/mail/replies.py",
    "enroll/mail/hours.py",
    "enroll/acme/jws.py",
    "enroll/acme/wire.py",
    "ca/certificates.py",
    "ca/crls.py",
    "ca/profiles.py",
    "ca/revocation.py",
    "ca/timekeeping.py",
    "gateway/web/hours.py",
    "gateway/web/words.py",
    "gateway/proxy/heads.py",
    "gateway/proxy/rules.py",
    "gateway/wire/turns.py",
)
NOT_IN_A_CORE = {
    "aiohttp",
    "asyncio",
    "sqlite3",
    "sqlite_utils",
    "socket",
    "time",
    "threading",
    "pathlib",
    "os",
}
#: Library -> the only files that may know it.
HOMES = {
    "OpenSSL": ("ca/trust.py", "gateway/edge/bios.py", "gateway/edge/tls.py"),
    "asn1crypto": ("ca/",),
    "aiosmtplib": ("enroll/mail/smtp.py",),
    "zxcvbn": ("enroll/guessable.py",),
    "jpholiday": ("gateway/web/hours.py",),
    "segno": ("gateway/web/qr.py",),
    "httptools": ("gateway/wire/reader.py", "gateway/proxy/exchange.py"),
}


#: Storey of the gateway -> what it may import of the others. Top to bottom, and never back.
STOREYS = {
    "edge": set(),
    "wire": {"edge"},
    "running": {"edge", "wire"},
    "web": {"wire"},
    "proxy": {"wire"},
    "sites": {"web", "wire"},
    "serving": {"edge", "wire", "running", "web", "proxy", "sites"},
    "demo": {"web", "proxy", "serving"},
    "cli": {"edge", "wire", "running", "web", "proxy", "serving", "demo"},
    "packaging": set(),
}


#: Folders whose files a README leads through. Those with one kind of thing in each file need none.
FOLDERS = (
    "ca",
    "enroll",
    "enroll/acme",
    "gateway/edge",
    "gateway/wire",
    "gateway/web",
    "gateway/proxy",
    "gateway/serving",
    "gateway/serving/settings",
    "gateway/running",
    "conformance",
)


def files(room):
    return sorted((ROOT / room).rglob("*.py"))


def imported(path):
    """Top-level names of what a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.partition(".")[0])
    return names


@pytest.mark.parametrize("room", ROOMS)
def test_imports_run_downwards(room):
    """gateway -> enroll -> ca; conformance knows none of them, and none knows it."""
    for path in files(room):
        strangers = imported(path) & set(ROOMS) - MAY_IMPORT[room]
        assert not strangers, f"{path.relative_to(ROOT)} imports {strangers}"


def modules(room):
    """Module name -> file of everything in a room."""
    found = {}
    for path in files(room):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def targets(path, known):
    """The modules out of ``known`` that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            named = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (named & known) or ({node.module} & known)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names} & known
    return found


def test_storeys_stand_on_each_other():
    """Within the gateway arrows point one way, and nothing lies loose at its top (docs/ARCHITECTURE.md)."""
    known = modules("gateway")
    assert [path.name for path in (ROOT / "gateway").glob("*.py")] == ["__init__.py"]
    assert {path.name for path in (ROOT / "gateway").iterdir() if (path / "__init__.py").exists()} <= set(
        STOREYS
    )
    for name, path in known.items():
        storey = name.split(".")[1] if "." in name else ""
        for target in targets(path, set(known)):
            other = target.split(".")[1] if "." in target else ""
            assert other in {"", storey} | STOREYS.get(storey, set()), f"{name} imports {target}"


@pytest.mark.parametrize("room", ROOMS)
def test_no_files_import_each_other(room):
    """No circle of files, and none that TYPE_CHECKING hides."""
    known = modules(room)
    arrows = {name: targets(path, set(known)) - {name} for name, path in known.items()}
    while leaves := {name for name, to in arrows.items() if not to & set(arrows)}:
        arrows = {name: to for name, to in arrows.items() if name not in leaves}
    assert arrows == {}
    hidden = [str(path) for path in known.values() if "TYPE_CHECKING" in path.read_text("utf-8")]
    assert hidden == []


@pytest.mark.parametrize("core", CORES)
def test_cores_do_no_io(core):
    """Functions from values to values: time, randomness and storage come in as arguments."""
    assert imported(ROOT / core) & NOT_IN_A_CORE == set()


@pytest.mark.parametrize("library", HOMES)
def test_a_library_has_one_home(library):
    """What only one file knows, only one file has to learn again."""
    for room in ROOMS:
        for path in files(room):
            name = str(path.relative_to(ROOT))
            at_home = name.startswith(HOMES[library])
            assert at_home or library not in imported(path), f"{name} imports {library}"


@pytest.mark.parametrize("room", ROOMS)
def test_every_file_says_why_it_exists(room):
    """A module docstring of one to ten lines."""
    for path in files(room):
        if path.read_text("utf-8").strip():
            doc = ast.get_docstring(ast.parse(path.read_text("utf-8")))
            assert doc, f"{path.relative_to(ROOT)} has no docstring"


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_file_is_on_the_way_through_its_room(folder):
    """A newcomer finds it: the nearest README names it where it says in which order to read."""
    path = ROOT / folder
    readme = next(each / "README.md" for each in (path, *path.parents) if (each / "README.md").exists())
    named = set(re.findall(r"[\w/]*?(\w+\.py)`", readme.read_text("utf-8")))
    assert {each.name for each in path.glob("*.py") if not each.name.startswith("_")} <= named


@pytest.mark.parametrize("room", ROOMS)
def test_every_room_has_a_readme(room):
    """Each folder says what lives there and in which order to read it."""
    assert (ROOT / room / "README.md").exists()
