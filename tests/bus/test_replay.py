# SPDX-License-Identifier: MIT
"""vmtide-replay's command line, and the monitor's Profile."""

import subprocess

import pytest

from .conftest import BUILD

REPLAY = BUILD / 'tests/bench/replay/vmtide-replay'
GOOD = 'time_s,used_bytes,cached_bytes\n0,400000000,0\n20,2000000000,0\n40,2000000000,0\n'


def replay(*arguments):
    return subprocess.run([REPLAY, *arguments], capture_output=True, text=True, timeout=10, check=False)


def test_a_recording_is_replayed(tmp_path):
    trace = tmp_path / 'trace.csv'
    trace.write_text(GOOD, encoding='ascii')
    result = replay('--boot=1G', '--max=8G', f'--csv={tmp_path}/out.csv', f'--plot={tmp_path}/out.svg', trace)
    values = dict(line.split(': ') for line in result.stdout.splitlines())
    assert result.returncode == 0 and result.stderr == ''
    assert list(values)[:5] == ['footprint_gib_min', 'shortfall_s', 'shortfall_max_bytes', 'held_s', 'held_max_s']
    assert values['shortfall_s'] == '0.00' and int(values['grows']) > 0 and int(values['peak_bytes']) > 2000000000
    header = (tmp_path / 'out.csv').read_text(encoding='ascii').split('\n', maxsplit=1)[0]
    assert header.startswith('time_s,used_bytes,cached_bytes,') and header.endswith(',waiting_bytes')
    assert '</svg>' in (tmp_path / 'out.svg').read_text(encoding='ascii')


@pytest.mark.parametrize('arguments, status, says', [
    (['--boot=1G', '--max=8G'], 64, 'one recording'),
    (['--boot=1G', 'x.csv'], 64, '--max'),
    (['--boot=1G', '--max=8G', '--profile=greedy', 'x.csv'], 64, 'greedy'),
    (['--boot=1G', '--max=8G', '--unplug-fail=101', 'x.csv'], 64, '101'),
    (['--boot=1G', '--max=8G', '/nowhere.csv'], 66, '/nowhere.csv'),
    (['--boot=1G', '--max=8G', '/dev/null'], 65, '/dev/null'),
])
def test_what_is_refused(arguments, status, says):
    result = replay(*arguments)
    assert result.returncode == status and says in result.stderr and result.stdout == ''


def test_an_unknown_profile_is_refused(tmp_path):
    config = tmp_path / 'monitor.conf'
    config.write_text('[Monitor]\nProfile=greedy\n', encoding='ascii')
    result = subprocess.run([BUILD / 'monitor/vmtide-monitor', f'--config={config}'], capture_output=True, text=True,
                            timeout=10, check=False)
    assert result.returncode == 78
    assert all(word in result.stderr for word in (str(config), 'Monitor', 'Profile', 'greedy'))
