"""The house itself: imports run downwards, cores do no I/O, libraries have one home."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from ca.dialect import holds_all
from ca.storage import LOOK
from tests.longest import LONGEST
from tests.statements import selects

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
    "enroll/audit.py",
    "enroll/businessdays.py",
    "enroll/operators/roles.py",
    "enroll/operators/states.py",
    "enroll/jobs/states.py",
    "enroll/postcards/states.py",
    "enroll/postcards/layout.py",
    "enroll/refusals.py",
    "enroll/problems.py",
    "enroll/jst.py",
    "enroll/settings.py",
    "enroll/mail/replies.py",
    "enroll/mail/hours.py",
    "enroll/hooks/events.py",
    "enroll/hooks/signatures.py",
    "enroll/hooks/reach.py",
    "enroll/hooks/states.py",
    "enroll/acme/jws.py",
    "enroll/acme/wire.py",
    "ca/certificates.py",
    "ca/crls.py",
    "ca/naming.py",
    "ca/profiles.py",
    "ca/publication.py",
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
    "OpenSSL": (
        "ca/trust.py",
        "gateway/edge/bios.py",
        "gateway/edge/calls.py",
        "gateway/edge/contexts.py",
        "gateway/edge/handshake.py",
        "gateway/edge/tls.py",
    ),
    "asn1crypto": ("ca/",),
    "aiosmtplib": ("enroll/mail/smtp.py",),
    "zxcvbn": ("enroll/guessable.py",),
    "jpholiday": ("enroll/businessdays.py",),
    "shamir_mnemonic": ("ca/ceremony.py",),
    "segno": ("gateway/web/qr.py",),
    "fpdf": ("enroll/postcards/drawing.py",),
    "fontTools": ("enroll/postcards/glyphs.py",),
    "webauthn": ("gateway/sites/console/passkeys.py",),
    "snowballstemmer": ("gateway/sites/help/terms.py",),
    "sqlite3": ("ca/sqlite.py",),
    "sqlite_utils": ("ca/sqlite.py",),
    "asyncpg": ("ca/postgresql/",),
    "greenlet": ("ca/postgresql/",),
    "httptools": ("gateway/wire/reader.py", "gateway/wire/plain.py", "gateway/proxy/exchange.py"),
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
    "practice": {"web", "serving"},
    "demo": {"running", "web", "proxy", "sites", "serving"},
    "cli": {"edge", "wire", "running", "web", "proxy", "sites", "serving", "practice", "demo"},
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
    "gateway/serving/signing",
    "gateway/running",
    "gateway/practice",
    "conformance",
)


def test_the_longest_tests_are_there():
    """Who moves a file of tests moves it in the order of a run as well."""
    assert [name for name in LONGEST if not (ROOT / name).is_file()] == []
    assert len(set(LONGEST)) == len(LONGEST)


def files(room):
    return sorted((ROOT / room).rglob("*.py"))


@cache
def imports(path):
    """The import statements of a file, wherever in it. Asked for by each rule, and read once."""
    found = ast.walk(ast.parse(path.read_text("utf-8")))
    return tuple(node for node in found if isinstance(node, ast.Import | ast.ImportFrom))


def imported(path):
    """Top-level names of what a file imports, wherever in it."""
    names = set()
    for node in imports(path):
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
    for node in imports(path):
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


# -- storage ---------------------------------------------------------------------------------------------

#: What a string has to begin with to be a statement.
_STATEMENT = re.compile(
    r"\s*(SELECT\s|WITH RECURSIVE\s|INSERT INTO\s|UPDATE \w+ SET\s|DELETE FROM\s|(CREATE|ALTER|DROP) [A-Z])"
)
#: Besides the stores: the engines, and the one helper that puts a statement together from names.
_OF_STORAGE = ("ca/sqlite.py", "ca/postgresql/", "ca/storage.py")
#: What SQLite has and PostgreSQL has not, or has otherwise (docs/ARCHITECTURE.md).
_SQLITE_ONLY = {
    "a row's hidden number": r"\b(rowid|_rowid_|oid)\b",
    "JSON of its own": r"\bjson_\w+\(",
    "no limit as -1": r"LIMIT -1",
    "min or max of two": r"\b(min|max)\([^()]*(\([^()]*\)[^()]*)*,",
    "whichever conflict": r"ON CONFLICT\s+DO UPDATE",
    "a number as a condition": r"\b(WHERE|AND|OR|NOT|WHEN)\s+(\d+\b(?!\s*[=<>])|notice\b(?!\s*(=|IN|,|\))))",
    "one writer's next number": r"\bmax\(\w+\)\s*\+|\+\s*(coalesce\()?\(?SELECT max\(",
    "values by their place": r"\?",
    "a parameter of no type": r":\w+ IS (NOT )?NULL|:\w+ [-+*/] :\w+",
    "tables of its own kind": r"\b(STRICT|WITHOUT ROWID|AUTOINCREMENT|VIRTUAL TABLE)\b",
    "words of its own": r"\b(PRAGMA|GLOB|VACUUM|ATTACH|REPLACE INTO|INSERT OR)\b",
    "functions of its own": r"\b(ifnull|iif|hex|randomblob|zeroblob|strftime|unixepoch|printf|total)\(",
}


@cache
def strings(path):
    """Every string of a file, docstrings left out, comments of SQL taken away."""
    tree = ast.parse(path.read_text("utf-8"))
    documents = {
        node.body[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    return tuple(
        re.sub(r"--[^\n]*", "", node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in documents
    )


def stores():
    return [
        path
        for room in ("ca", "enroll", "gateway")
        for path in files(room)
        if path.name in ("store.py", "schema.py")
    ]


def test_statements_stand_in_stores():
    """A table's statements are in the store of its room, its shape in the schema: nowhere else is any SQL."""
    for room in ("ca", "enroll", "gateway"):
        for path in set(files(room)) - set(stores()):
            name = str(path.relative_to(ROOT))
            found = [text for text in strings(path) if _STATEMENT.match(text)]
            assert name.startswith(_OF_STORAGE) or found == [], f"{name}: {found}"


def test_stores_have_statements():
    """The twin: what a statement begins with is known, or the rule above would hold of anything."""
    for path in stores():
        # The rooms' common name has two tables of its own; a schema may be made of parts.
        assert any(_STATEMENT.match(text) for text in strings(path)), path


@pytest.mark.parametrize("path", stores(), ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_statement_cannot_hold_it_says_a_word_of(path):
    """A SELECT that counts, merges, or asks other rows in between is only looked at where others write: it
    ends with `LOOK`, or with `ALONE` for the rows that it gives: somebody has thought of the rest."""
    assert [(line, text) for line, text in selects(path, ROOT) if not holds_all(text)] == []


def test_statements_are_found_for_that():
    """The twin: the stores' statements are read, put together from parts and by short ways too."""
    found = [text for path in stores() for _, text in selects(path, ROOT)]
    assert len(found) > 200
    assert sum(text.endswith(LOOK) for text in found) > 50
    assert any("FROM users JOIN organisations" in text and "together" in text for text in found)


@pytest.mark.parametrize("path", stores(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_statement_is_for_sqlite_alone(path):
    """The same statements serve PostgreSQL: what differs is the engine's business."""
    for text in strings(path):
        for what, pattern in _SQLITE_ONLY.items():
            assert re.search(pattern, text) is None, f"{what}: {text}"
    assert "lastrowid" not in path.read_text("utf-8")


@pytest.mark.parametrize(
    ("what", "statement"),
    [
        ("a row's hidden number", "SELECT * FROM t ORDER BY rowid"),
        ("JSON of its own", "UPDATE t SET a = json_set(a, '$.b', c)"),
        ("no limit as -1", "SELECT * FROM t LIMIT -1 OFFSET :o"),
        ("min or max of two", "UPDATE t SET a = min(a, :b)"),
        ("min or max of two", "SELECT max(coalesce(a, 0), b) FROM t"),
        ("whichever conflict", "INSERT INTO t (a) VALUES (:a) ON CONFLICT DO UPDATE SET a = 1"),
        ("a number as a condition", "SELECT * FROM t WHERE 1 AND id < :before"),
        ("one writer's next number", "UPDATE t SET n = 1 + coalesce((SELECT max(n) FROM t), 0)"),
        ("values by their place", "SELECT * FROM t WHERE a = ?"),
        ("a parameter of no type", "SELECT * FROM t WHERE (:a IS NULL OR a = :a)"),
        ("tables of its own kind", "CREATE TABLE t (a TEXT) STRICT"),
        ("words of its own", "PRAGMA user_version"),
        ("functions of its own", "SELECT ifnull(a, 0) FROM t"),
    ],
)
def test_what_is_sqlites_alone_is_noticed(what, statement):
    """The twin of the rule above, a statement for each of its words."""
    assert re.search(_SQLITE_ONLY[what], statement)


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT max(number) FROM t WHERE a IS NULL AND b = 1",
        "INSERT INTO t (a) VALUES (:a) ON CONFLICT DO NOTHING",
        "INSERT INTO t (a) VALUES (:a) ON CONFLICT (a) DO UPDATE SET n = t.n + 1",
        "SELECT coalesce(max(id), 0) FROM t WHERE 1 = 1 AND notice = 1 ORDER BY a, number LIMIT :limit",
    ],
)
def test_what_both_have_is_allowed(statement):
    """And nothing more is forbidden than that."""
    assert not [what for what, pattern in _SQLITE_ONLY.items() if re.search(pattern, statement)]
