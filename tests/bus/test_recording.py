# SPDX-License-Identifier: MIT
"""What scripts/bench recording makes of a recording, and how the guest's player keeps it."""

import json
import subprocess

import pytest

from tests.bench import recording
from tests.vm.rig.paths import RigError, build_dir
from tests.vm.rig.qemu import GIB, MIB


def write(tmp_path, text):
    path = tmp_path / 'trace.csv'
    path.write_text(text, encoding='utf-8')
    return path


def test_reads_a_recording_from_its_first_row_on(tmp_path):
    path = write(tmp_path, 'time_s,used_bytes,cached_bytes\n10,100,5\n11.5,300,7\n20,200,0\n')
    assert recording.read_recording(path) == [(0, 100, 5), (1.5, 300, 7), (10, 200, 0)]
    assert recording.read_recording(path, until=2) == [(0, 100, 5), (1.5, 300, 7)]


@pytest.mark.parametrize('text', ['', 'time_s,used_bytes\n', 'time_s\n1\n', 'time_s,used_bytes\n1,many\n'])
def test_refuses_what_is_no_recording(tmp_path, text):
    with pytest.raises(RigError):
        recording.read_recording(write(tmp_path, text))


def test_a_peak_that_does_not_fit_is_scaled():
    small, large = [recording.Row(0, 3 * GIB, 0)], [recording.Row(0, 16 * GIB, 0)]
    assert recording.choose_scale(small) == 1.0
    assert recording.guest_size(small, 1.0) == 4 * GIB
    assert recording.choose_scale(large) == 0.5
    assert recording.guest_size(large, 0.5) == recording.BOOT + recording.DEVICE_MAX
    assert recording.choose_scale(large, 0.25) == 0.25


def test_schedule_takes_off_what_an_idle_guest_uses():
    rows = [recording.Row(0, 100 * MIB, 0), recording.Row(10, 600 * MIB, 80 * MIB)]
    assert recording.schedule(rows, 0.5, 2, 100 * MIB) == f'0 0 0\n5000000 {200 * MIB} {40 * MIB}\n'
    assert recording.schedule(rows, 0.5, 2, 100 * MIB, cached=False).endswith(f'{200 * MIB} 0\n')


def play(text):
    return subprocess.run([build_dir() / 'tests/vm/guest/vmplay'], input=text, capture_output=True, text=True,
                          timeout=60, check=False)


def test_player_follows_the_schedule():
    done = play(f'0 {8 * MIB} 0\n200000 {64 * MIB} {16 * MIB}\n400000 {8 * MIB} 0\n')
    assert done.returncode == 0, done.stderr
    start, end = [json.loads(line) for line in done.stdout.splitlines()]
    assert (start['event'], start['used_bytes']) == ('start', 8 * MIB)
    assert (end['event'], end['peak_bytes']) == ('done', 64 * MIB)
    assert end['t_us'] - start['t_us'] >= 400000
    assert end['late_total_us'] >= 0 and end['late_max_us'] <= end['t_us'] - start['t_us']


@pytest.mark.parametrize('text', ['', 'x\n', '0 0\n', '5 0 0\n4 0 0\n', f'0 {100 * GIB} 0\n'])
def test_player_refuses_what_is_no_schedule(text):
    assert play(text).returncode == 1
