"""The order in which rows are learned."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from appliance.work.order import ByChance


@given(st.lists(st.integers(1, 4000), max_size=300), st.integers(1, 16), st.integers(0, 3), st.booleans())
def test_every_row_once_a_pass_and_the_longest_first(lengths: list[int], step: int, number: int, padded: bool) -> None:
    order = ByChance(lengths, step, seed=42, padded=padded)
    order.set_epoch(number)
    rows = list(order)
    assert sorted(rows) == list(range(len(lengths))) and len(order) == len(rows)
    assert list(order) == rows  # a resumed pass is the same one
    if number == 0 and len(rows) >= step:
        whole = rows[: len(rows) - len(rows) % step]
        assert max(lengths[row] for row in rows[:step]) == max(lengths[row] for row in whole)


def laid_out(rows: list[int], lengths: list[int], step: int) -> int:
    """Tokens that go through the model."""
    steps = [rows[place : place + step] for place in range(0, len(rows), step)]
    return sum(len(one) * max(lengths[row] for row in one) for one in steps)


def test_it_pads_little_and_mixes_from_pass_to_pass() -> None:
    lengths = [20 + (n * 7919) % 500 for n in range(2000)]
    order = ByChance(lengths, 8, seed=1, padded=True)
    first = list(order)
    order.set_epoch(1)
    second = list(order)
    assert first != second
    assert laid_out(first, lengths, 8) < 1.05 * sum(lengths)
    assert laid_out(list(range(2000)), lengths, 8) > 1.5 * sum(lengths)
    # Who stands beside whom changes, too.
    neighbours = [{frozenset(rows[place : place + 8]) for place in range(0, 2000, 8)} for rows in (first, second)]
    assert len(neighbours[0] & neighbours[1]) < 10


def test_where_nothing_is_padded_long_and_short_rows_are_learned_together() -> None:
    lengths = [10] * 960 + [1000] * 40
    for padded, least in ((True, 0.0), (False, 0.6)):
        rows = list(ByChance(lengths, 50, seed=1, padded=padded))
        long_ones = [sum(lengths[row] > 10 for row in rows[place : place + 50]) for place in range(0, 1000, 50)]
        assert sum(count > 0 for count in long_ones) / 20 >= least and (padded or max(long_ones) < 10)
