# SPDX-License-Identifier: MIT
"""The cells of scripts/bench surge: every combination that is to be run, without a guest.

The covering set has at least one cell for each pair of values of two factors. Both the set and its order depend on
nothing but this file, so that a cell keeps its number from one run of the bench to the next.
"""

import itertools
from collections import Counter, namedtuple

Cell = namedtuple('Cell', 'kernel kind place state host')

FACTORS = Cell(
    kernel=('6.1', '6.12'),
    kind=('anon1', 'anon4', 'anon16', 'anon4k', 'populate', 'fallocate', 'read', 'fork', 'file', 'pipe', 'unix',
          'tables'),
    place=('user', 'service', 'kubepods', 'docker', 'two', 'root'),
    state=('fresh', 'touched', 'held'),
    host=('now', 'late'),
)


def pairs(cell):
    """All pairs of two factors' values that meet in a cell; a factor that is not chosen yet (None) has none."""
    chosen = [(name, value) for name, value in zip(Cell._fields, cell) if value is not None]
    return set(itertools.combinations(chosen, 2))


def _all_pairs(factors):
    """In the order in which cells are begun: the two factors with most values first, since their pairs decide how many
    cells there are."""
    fields = [(name, value) for name, values in zip(Cell._fields, factors) for value in values]
    sizes = dict(zip(Cell._fields, map(len, factors)))
    wanted = [pair for pair in itertools.combinations(fields, 2) if pair[0][0] != pair[1][0]]
    return sorted(wanted, key=lambda pair: -sizes[pair[0][0]] * sizes[pair[1][0]])


def _complete(cell, factors, missing, used):
    """Chooses the values of a cell that are open: each time the one with most missing pairs, else the one whose pairs
    were used least, so that no two factors go together."""
    def worth(candidate):
        found = pairs(candidate)
        return len(found & missing), -sum(used[pair] for pair in found)

    for name, values in zip(Cell._fields, factors):
        if getattr(cell, name) is None:
            cell = max((cell._replace(**{name: value}) for value in values), key=worth)
    return cell


def covering(factors=FACTORS):
    """A small set of cells in which each pair of values meets. The same one at each call."""
    missing, used, cells = set(_all_pairs(factors)), Counter(), []
    for pair in _all_pairs(factors):
        if pair not in missing:
            continue
        cell = _complete(Cell(*[None] * len(factors))._replace(**dict(pair)), factors, missing, used)
        missing -= pairs(cell)
        used.update(pairs(cell))
        cells.append(cell)
    return ordered(cells, factors)


def full(factors=FACTORS):
    """Every combination."""
    return ordered([Cell(*values) for values in itertools.product(*factors)], factors)


def ordered(cells, factors=FACTORS):
    """Cells that share a guest follow each other; those that want a fresh one begin, since it is fresh only once."""
    def position(cell):
        index = Cell(*[values.index(value) for values, value in zip(factors, cell)])
        return index.kernel, index.state, index.kind, index.place, index.host
    return sorted(cells, key=position)


def parse_range(text, count):
    """Numbers of cells, from 1: "3", "3-7", "3-", and several of them with commas. Raises ValueError."""
    chosen = set()
    for part in text.split(','):
        first, dash, last = part.partition('-')
        low, high = int(first), int(last) if last else count if dash else int(first)
        if not 1 <= low <= high <= count:
            raise ValueError(f'{part!r}: cells are numbered from 1 to {count}')
        chosen.update(range(low, high + 1))
    return chosen


def parse_filter(text, factors=FACTORS):
    """(factor, values) of a text like "place=user,docker". Raises ValueError."""
    name, _, rest = text.partition('=')
    if name not in Cell._fields:
        raise ValueError(f'{name!r} is no factor: take one of {", ".join(Cell._fields)}')
    values, known = set(rest.split(',')), getattr(factors, name)
    if not values <= set(known):
        raise ValueError(f'{", ".join(sorted(values - set(known)))}: {name} is one of {", ".join(known)}')
    return name, values


def select(cells, numbers=None, filters=()):
    """[(number, cell)…] of those that are in NUMBERS (a set, None for all) and pass each filter."""
    return [(number, cell) for number, cell in enumerate(cells, 1)
            if (numbers is None or number in numbers)
            and all(getattr(cell, name) in values for name, values in filters)]
