# SPDX-License-Identifier: MIT
"""The matrix of faults and of malice: which test is a row of it, and the table that is made of them.

python3 -m tests.matrix           writes tests/MATRIX.md
python3 -m tests.matrix --check   fails when it is stale
"""

import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[1]
TABLE = REPO / 'tests/MATRIX.md'
KINDS = ('fault', 'malice')
HEAD = '''<!-- SPDX-License-Identifier: MIT -->
<!-- Made by python3 -m tests.matrix from the tests; a test fails when it is stale. -->
# Faults and malice

What goes wrong or is done on purpose, and how it ends. *Agree*: guest, actuator, host and QEMU say the same size, and the
job goes on: a burst gets its memory and nothing is killed. `scripts/test --matrix` runs all rows, those in a guest on both
kernels; `scripts/test` runs those of the bus, and of those in a guest the ones marked *, on 6.12.
'''


def fault(what, ends='all agree and the job goes on', sample=False):
    """A row: WHAT happens and how it ENDS; both may name the test's parameters in braces."""
    return pytest.mark.fault(what, ends, sample)


def malice(what, ends, sample=False):
    """The same for what somebody does on purpose: WHAT begins with who does it."""
    return pytest.mark.malice(what, ends, sample)


def register(config):
    """For pytest_configure of a conftest.py."""
    for kind in KINDS:
        config.addinivalue_line('markers', f'{kind}(what, ends, sample): a row of tests/MATRIX.md')


def mark_of(item):
    """(kind, what, ends, sample) of a test, or None when it is no row."""
    for kind in KINDS:
        mark = item.get_closest_marker(kind)
        if mark:
            params = getattr(item, 'callspec', None)
            params = params.params if params else {}
            what, ends, sample = mark.args
            return kind, what.format(**params), ends.format(**params), sample
    return None


class Collector:
    """Remembers the rows in the order of the tests."""

    def __init__(self):
        self.rows = {}

    def pytest_collection_finish(self, session):
        for item in session.items:
            mark = mark_of(item)
            if mark:
                path = Path(str(item.fspath)).relative_to(REPO / 'tests')
                key = (mark[0], mark[1], f'{path}::{getattr(item, "originalname", item.name)}')
                entry = self.rows.setdefault(key, {'ends': mark[2], 'sample': mark[3], 'kernels': []})
                kernel = getattr(item, 'callspec', None) and item.callspec.params.get('kernel')
                if kernel:
                    entry['kernels'].append(kernel)


def collect():
    collector = Collector()
    status = pytest.main(['--collect-only', '-p', 'no:cacheprovider', '-p', 'no:terminal', '--matrix',
                          str(REPO / 'tests/vm'), str(REPO / 'tests/bus')], plugins=[collector])
    if status != 0:
        raise SystemExit(f'matrix: the tests cannot be collected (status {status})')
    return collector.rows


def render(rows):
    parts = [HEAD]
    for kind in KINDS:
        mine = [(key, entry) for key, entry in rows.items() if key[0] == kind]
        parts.append(f'\n## {kind.capitalize()}: {len(mine)} rows\n\n| | what | how it ends | where | test |\n'
                     '| --- | --- | --- | --- | --- |\n')
        for (_, what, test), entry in mine:
            where = ', '.join(entry['kernels']) or 'bus'
            parts.append(f'| {"*" if entry["sample"] else ""} | {what} | {entry["ends"]} | {where} | `{test}` |\n')
    return ''.join(parts)


def main():
    text = render(collect())
    if '--check' in sys.argv[1:]:
        if not TABLE.exists() or TABLE.read_text(encoding='utf-8') != text:
            print('tests/MATRIX.md is stale: run python3 -m tests.matrix')
            return 1
        return 0
    TABLE.write_text(text, encoding='utf-8')
    return 0


if __name__ == '__main__':
    sys.exit(main())
