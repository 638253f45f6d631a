"""Our statements in PostgreSQL's words: values, and what a write holds.

That every statement has its word: `tests/held.py` and `tests/test_house.py`.
"""

import pytest

from ca.dialect import (
    held_in_postgresql,
    holding,
    holds_all,
    in_postgresql,
)
from ca.storage import ALONE, LOOK, UNTAKEN, together


@pytest.mark.parametrize(
    ("statement", "text", "values"),
    [
        ("SELECT :a, :b, :a", "SELECT $1, $2, $1", ("a", "b")),
        ("SELECT ':a', \":b\", :c", "SELECT ':a', \":b\", $1", ("c",)),
        ("SELECT 'it''s :a' || :b", "SELECT 'it''s :a' || $1", ("b",)),
        ("SELECT :a::text -- :b\n, :c", "SELECT $1::text -- :b\n, $2", ("a", "c")),
        ("SELECT 1", "SELECT 1", ()),
    ],
)
def test_values_have_numbers_there(statement, text, values):
    """A name within a string, a quoted name, a comment or a cast is none of ours."""
    assert in_postgresql(statement) == (text, values)


@pytest.mark.parametrize(
    ("statement", "held"),
    [
        ("SELECT a FROM t WHERE b = :b", " FOR NO KEY UPDATE OF t"),
        ("SELECT a FROM t AS one JOIN u two ON one.a = two.a", " FOR NO KEY UPDATE OF one, two"),
        ("SELECT a FROM t JOIN u USING (a) ORDER BY a LIMIT 1", " FOR NO KEY UPDATE OF t, u"),
        (f"SELECT a FROM t JOIN u USING (a){together('u')}", " FOR NO KEY UPDATE OF t FOR SHARE OF u"),
        (f"SELECT a FROM t{together('t')}", " FOR SHARE OF t"),
        (f"SELECT a FROM t LIMIT 1{UNTAKEN}", " FOR NO KEY UPDATE OF t SKIP LOCKED"),
        (f"SELECT a FROM t{LOOK}", ""),
        # Of the nullable side there may be no row, and of a subselect none is given.
        (f"SELECT a FROM t LEFT JOIN u USING (a){ALONE}", " FOR NO KEY UPDATE OF t"),
        (f"SELECT a FROM t WHERE a IN (SELECT a FROM u){ALONE}", " FOR NO KEY UPDATE OF t"),
        ("SELECT a FROM t WHERE a = 'FROM u (SELECT' -- JOIN w", " FOR NO KEY UPDATE OF t"),
        ("SELECT a FROM t WHERE b IN (1, 2) AND coalesce(c, lower(d)) = 3", " FOR NO KEY UPDATE OF t"),
        ("UPDATE t SET a = 1 RETURNING a", ""),
        ("SELECT 1", ""),
    ],
)
def test_a_select_holds_the_rows_that_it_gives(statement, held):
    """By its last word, else alone: each table by the name that the statement knows it by."""
    assert (holding(statement), holds_all(statement)) == (held, True)


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT count(*) FROM t",
        "SELECT coalesce(max(a), 0) FROM t",
        "SELECT DISTINCT a FROM t",
        "SELECT a FROM t GROUP BY a",
        "SELECT a FROM t UNION SELECT a FROM u",
        "SELECT a, sum(b) OVER () FROM t",
        "WITH x AS (SELECT a FROM t) SELECT a FROM x",
        "SELECT a FROM (SELECT a FROM t) AS x",
        "SELECT a FROM t LEFT JOIN u USING (a)",
        "SELECT a FROM t WHERE EXISTS (SELECT 1 FROM u WHERE u.a = t.a)",
        "SELECT a, (SELECT max(b) FROM u) FROM t",
    ],
)
def test_what_it_cannot_hold_it_has_to_say_a_word_of(statement):
    """It counts, merges, or asks other rows in between; with a word it is somebody's decision."""
    assert not holds_all(statement)
    assert holds_all(statement + LOOK)
    assert holding(statement + LOOK) == ""


def test_a_statement_in_a_write_is_held_and_known_for_what_it_does():
    """The text, the names of its values, and whether it changes something."""
    select = "SELECT a FROM t WHERE b = :b"
    assert held_in_postgresql(select) == (
        "SELECT a FROM t WHERE b = $1 FOR NO KEY UPDATE OF t",
        ("b",),
        False,
    )
    assert held_in_postgresql("DELETE FROM t") == ("DELETE FROM t", (), True)
