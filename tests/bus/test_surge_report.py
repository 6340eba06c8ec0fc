# SPDX-License-Identifier: MIT
"""The results of scripts/bench surge: kept over an interruption, and judged."""

import pytest

from tests.bench import surge_report
from tests.bench.surge_cells import Cell
from tests.bench.surge_kinds import Outcome
from tests.bench.surge_report import Results, Setting

SETTING = Setting(3 << 30, 1)
USER = Cell('6.12', 'anon4', 'user', 'fresh', 'now')
ROOT = Cell('6.12', 'anon4', 'root', 'held', 'late')
OK = Outcome('ok', 0, 6.0, 0.5, 0.2, 3.0, '')
KILLED = Outcome('killed', 1, None, 0.1, None, 1.0, '')
CELLS = [(1, USER), (2, ROOT)]


def test_results_are_kept_over_an_interruption(tmp_path):
    path = tmp_path / 'results'
    first = Results(SETTING, path)
    first.put(surge_report.fixed(USER), OK._replace(seconds=4.0))
    first.put(USER, OK)
    again = Results(SETTING, path)
    again.put(USER, KILLED)
    assert Results(SETTING, path).runs(USER) == [OK, KILLED]
    assert again.ratios(USER) == [1.5]
    assert again.runs(ROOT) == []


def test_a_line_that_was_cut_off_is_left_out(tmp_path):
    path = tmp_path / 'results'
    Results(SETTING, path).put(USER, OK)
    with path.open('a', encoding='utf-8') as file:
        file.write('{"bytes": 32')
    results = Results(SETTING, path)
    results.put(USER, KILLED)
    assert Results(SETTING, path).runs(USER) == [OK, KILLED]


def test_other_settings_are_not_mixed_in(tmp_path):
    path = tmp_path / 'results'
    Results(SETTING, path).put(USER, OK)
    assert Results(SETTING._replace(fast=10), path).runs(USER) == []
    assert Results(SETTING._replace(bytes=1 << 30), path).runs(USER) == []


@pytest.mark.parametrize('cell,outcome,bad', [
    (USER, OK, 0), (USER, KILLED, 1), (USER, KILLED._replace(outcome='hung'), 1),
    (USER, KILLED._replace(outcome='failed'), 1), (ROOT, KILLED, 0)])
def test_only_the_root_cgroup_is_excused(cell, outcome, bad):
    results = Results(SETTING)
    results.put(cell, outcome)
    assert surge_report.summary(results, CELLS)[1] == bad


def test_table_and_summary_name_the_worst(capsys):
    results = Results(SETTING)
    results.put(surge_report.fixed(USER), OK._replace(seconds=4.0))
    for outcome in (OK, OK._replace(seconds=8.0, stall=0.9), KILLED):
        results.put(USER, outcome)
    surge_report.show_table(results, CELLS)
    row = capsys.readouterr().out.splitlines()[1].split()
    assert row[6:12] == ['1/3', '7.00', '4.00', '2.00', '0.90', '0.20']
    text, _ = surge_report.summary(results, CELLS)
    assert '1 cells of 2, 3 runs, 1 killed' in text
    assert 'host at once: worst ratio 2.00 (cell 1), worst stall 0.90 (cell 1) s' in text
