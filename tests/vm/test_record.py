# SPDX-License-Identifier: MIT
"""A real guest's demand, recorded and replayed."""

import subprocess

from tests.vm.rig import GIB, build_dir
from tests.vm.test_job import burst, start_host


def test_a_recording_of_a_guest_is_replayed(boot_guest, installed, tmp_path):
    guest = boot_guest('6.12', destdir=installed)
    start_host(guest)
    guest.check('systemctl stop vmtide-monitor && install -d -o vmtide /run/record')
    monitor = guest.start_command('exec setpriv --reuid=vmtide --regid=vmtide --clear-groups '
                                  'vmtide-monitor --record /run/record/guest.csv')
    assert burst(guest, size='2G', hold=3, threads=1).wait(240).status == 0
    assert guest.oom_kills() == 0 and guest.size() >= GIB
    monitor.kill()
    recording = tmp_path / 'guest.csv'
    recording.write_text(guest.read('/run/record/guest.csv'), encoding='ascii')
    result = subprocess.run([build_dir() / 'tests/bench/replay/vmtide-replay', '--boot=1G', '--max=8G', recording],
                            capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result
    numbers = dict(line.split(': ') for line in result.stdout.splitlines())
    assert int(numbers['peak_bytes']) >= 2 * GIB and int(numbers['grows']) >= 1, numbers
