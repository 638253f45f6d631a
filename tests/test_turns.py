"""A part of all with each commit (tests/turns.py)."""

import subprocess

import pytest

from tests.turns import kept, part, turn


@pytest.mark.parametrize("every", [1, 2, 5, 7])
def test_each_is_in_the_part_of_one_turn_in_so_many(every):
    """What is tried in so many turns one after the other is everything, once."""
    of = list(range(23))
    start = turn()
    parts = [part(of, every, start + place) for place in range(every)]
    assert sorted(each for one in parts for each in one) == of
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("every", [2, 3])
def test_what_takes_no_turns_is_there_each_time(every):
    """And the others once in so many turns, all in their order."""
    of = [f"{kind}{number}" for number in range(9) for kind in ("slow", "fast", "also fast")]
    slow = [each for each in of if each.startswith("slow")]
    chosen = [kept(of, slow.__contains__, every, place) for place in range(every)]
    for one in chosen:
        assert one == [each for each in of if each in one]
        assert set(of).difference(slow).issubset(one)
    assert sorted(each for one in chosen for each in one if each in slow) == slow
    assert kept(of, slow.__contains__, 1, 5) == of


def test_the_next_commit_has_the_next_turn(tmp_path, monkeypatch):
    """However many there are; where nobody can tell, each commit has a number of its own."""
    monkeypatch.setattr("tests.turns._ROOT", tmp_path)
    as_somebody = ["-c", "user.name=x", "-c", "user.email=x@example.jp"]
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    assert turn() == 0
    found = []
    for _ in range(3):
        subprocess.run(
            ["git", "-C", tmp_path, *as_somebody, "commit", "-q", "--allow-empty", "-m", "x"], check=True
        )
        found.append(turn())
    assert found == [1, 2, 3]
    subprocess.run(
        ["git", "clone", "-q", "--depth", "1", f"file://{tmp_path}", tmp_path / "shallow"], check=True
    )
    monkeypatch.setattr("tests.turns._ROOT", tmp_path / "shallow")
    assert turn() > 3
