# SPDX-License-Identifier: MIT
"""Which cells scripts/bench surge runs."""

import pytest

from tests.bench import surge_cells
from tests.bench.surge_cells import FACTORS, Cell


def meetings(cells):
    return {pair for cell in cells for pair in surge_cells.pairs(cell)}


def test_each_pair_of_values_meets():
    cells = surge_cells.covering()
    assert meetings(cells) == meetings(surge_cells.full())
    assert len(cells) == len(set(cells))
    assert len(cells) == len(FACTORS.kind) * len(FACTORS.place)  # fewer cannot cover these two


def test_other_factors_are_covered_too():
    small = Cell(('6.1',), ('a', 'b'), ('p', 'q', 'r'), ('x', 'y', 'z'), ('now', 'late'))
    cells = surge_cells.covering(small)
    assert meetings(cells) == meetings(surge_cells.full(small))
    assert 9 <= len(cells) <= 11
    assert len(surge_cells.full(small)) == 36


def test_values_and_pairs_are_used_evenly():
    """So that no kind of trouble hides in a single cell."""
    cells = surge_cells.covering()
    for name in ('kernel', 'state', 'host'):
        values = getattr(FACTORS, name)
        for value in values:
            chosen = [cell for cell in cells if getattr(cell, name) == value]
            assert 0.9 < len(chosen) * len(values) / len(cells) < 1.1, (name, value)
            for place in FACTORS.place:
                share = sum(cell.place == place for cell in chosen) * len(FACTORS.place) / len(chosen)
                assert 0.5 <= share <= 1.5, (name, value, place)


def test_set_and_order_are_always_the_same():
    cells = surge_cells.covering()
    assert cells == surge_cells.covering()
    assert cells == surge_cells.ordered(reversed(cells))


def test_a_kernel_is_booted_once_and_fresh_cells_come_first():
    cells = surge_cells.covering()
    groups = [(cell.kernel, cell.state) for cell in cells]
    changes = sum(before != after for before, after in zip(groups, groups[1:]))
    assert changes == len(FACTORS.kernel) * len(FACTORS.state) - 1
    assert groups[0] == ('6.1', 'fresh')


def test_selects_by_number_and_value():
    cells = surge_cells.covering()
    numbers = surge_cells.parse_range('1-3,5,70-', len(cells))
    assert numbers == {1, 2, 3, 5, *range(70, len(cells) + 1)}
    chosen = surge_cells.select(cells, numbers)
    assert [number for number, _ in chosen] == sorted(numbers)
    assert all(cells[number - 1] == cell for number, cell in chosen)
    filters = [surge_cells.parse_filter('place=docker,root'), surge_cells.parse_filter('kernel=6.12')]
    for _, cell in surge_cells.select(cells, None, filters):
        assert cell.place in ('docker', 'root') and cell.kernel == '6.12'


@pytest.mark.parametrize('text', ['0', '4-2', '73', 'x', ''])
def test_refuses_numbers_that_are_none(text):
    with pytest.raises(ValueError):
        surge_cells.parse_range(text, 72)


@pytest.mark.parametrize('text', ['colour=red', 'place=attic', 'place'])
def test_refuses_values_that_are_none(text):
    with pytest.raises(ValueError):
        surge_cells.parse_filter(text)
