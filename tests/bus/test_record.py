# SPDX-License-Identifier: MIT
"""--record: what a real monitor writes."""

import csv
import os
import subprocess

from .conftest import BUILD, NOBODY
from .peers import GIB, MIB, wait_until


def recording(machine):
    folder = machine.folder / 'records'
    if not folder.exists():
        folder.mkdir()
        os.chown(folder, NOBODY, -1)
    return folder / 'record.csv'


def rows(path):
    with open(path, encoding='ascii', newline='') as file:
        return list(csv.DictReader(file))


def test_a_run_is_recorded(running):
    path = recording(running)
    running.start_monitor(f'--record={path}')
    running.set_memory(960 * MIB, 40 * MIB)
    wait_until(lambda: running.qemu.requests(), 15, 'memory is asked for')
    wait_until(lambda: path.exists() and any(row['action'] == 'grow' for row in rows(path)), 15, 'it is in the file')
    assert running.stop('monitor') == 0
    written = rows(path)
    with open(path, encoding='ascii') as file:
        assert file.readline().startswith('time_s,used_bytes,cached_bytes,')
    times = [float(row['time_s']) for row in written]
    assert times[0] == 0 and all(a < b for a, b in zip(times, times[1:]))
    assert all(None not in row.values() and None not in row for row in written), 'a line has other columns than the header'
    grow = next(row for row in written if row['action'] == 'grow')
    # What is in use is what is neither free nor cache.
    assert int(grow['used_bytes']) == 960 * MIB - 40 * MIB - 1000 * 1024
    assert int(grow['cached_bytes']) == 1000 * 1024
    assert (int(grow['mem_total_bytes']), int(grow['mem_available_bytes'])) == (960 * MIB, 40 * MIB)
    assert int(grow['change_bytes']) > 0 and int(grow['headroom_bytes']) >= 192 * MIB
    assert grow['connected'] == '1' and int(grow['max_size_bytes']) == 4 * GIB
    assert {row['level'] for row in written} >= {'critical'}


def test_a_file_that_is_there_is_not_touched(machine):
    path = recording(machine)
    path.write_text('precious', encoding='ascii')
    result = subprocess.run([BUILD / 'monitor/vmtide-monitor', f'--record={path}', '--config=/dev/null'],
                            capture_output=True, text=True, timeout=10, check=False)
    assert result.returncode == 73 and str(path) in result.stderr and 'remove it' in result.stderr
    assert path.read_text(encoding='ascii') == 'precious'


def test_the_monitor_survives_a_full_disk(running):
    path = recording(running)
    # The log is a file as well, and shorter than that until then.
    running.start_monitor(f'--record={path}', under=('prlimit', '--fsize=4000'))
    wait_until(lambda: 'the recording ends' in running.log('monitor'), 20, 'it says so')
    running.set_memory(960 * MIB, 40 * MIB)
    wait_until(lambda: running.qemu.requests(), 15, 'memory is asked for all the same')
    assert running.log('monitor').count('the recording ends') == 1
    assert path.read_text(encoding='ascii').endswith('\n')
    assert len(rows(path)) >= 1
