"""A part of all with each commit (tests/turns.py)."""

import pytest

from tests.turns import part, turn


@pytest.mark.parametrize("every", [1, 2, 5, 7])
def test_each_is_in_the_part_of_one_turn_in_so_many(every):
    """What is tried in so many turns one after the other is everything, once."""
    of = list(range(23))
    start = turn()
    parts = [part(of, every, start + place) for place in range(every)]
    assert sorted(each for one in parts for each in one) == of
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
