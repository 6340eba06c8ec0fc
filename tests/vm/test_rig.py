# SPDX-License-Identifier: MIT
"""The rig itself, on a guest without vmtide."""

import json
import os
import time

import pytest

from tests.vm.rig import GIB, MIB, GuestGone, RigError, speed, wait_until
from tests.vm.rig.paths import cached
from tests.vm.rig.cpio import Cpio


def total(guest):
    return guest.meminfo()['MemTotal']


def test_plug_and_unplug(boot_guest, kernel):
    guest = boot_guest(kernel)
    assert guest.check('uname -r').startswith(kernel + '.')
    before, rss = total(guest), guest.rss()

    guest.request('1G')
    guest.wait_size('1G', 20)
    wait_until(lambda: total(guest) >= before + 1000 * MIB, 5, 'MemTotal follows the plug')
    hog = guest.start_command('exec vmhog --bytes 1200M --hold 60')
    hog.wait_output('touched', 60)
    assert guest.rss() > rss + 900 * MIB
    hog.kill()
    hog.wait(10)

    guest.request(0)
    guest.wait_size(0, 30)
    wait_until(lambda: total(guest) <= before + 64 * MIB, 5, 'MemTotal follows the unplug')
    assert guest.oom_kills() == 0


def test_reset_and_reboot(boot_guest, kernel):
    """The agent comes back, the disk is kept over a reboot, and QEMU keeps the requested size."""
    guest = boot_guest(kernel, boot='2G', ndevices=2)
    first = guest.check('cat /proc/sys/kernel/random/boot_id')
    guest.write('/etc/vmtest-note', 'kept\n')
    guest.request('512M', 'vm0')
    guest.request('256M', 'vm1')
    guest.wait_size('768M', 20)
    sleeper = guest.start_command('sleep 1000')

    guest.reboot()
    with pytest.raises(GuestGone):
        sleeper.wait(5)
    assert guest.wait_booted() == 'running'
    assert guest.check('cat /etc/vmtest-note') == 'kept\n'
    guest.reset()
    guest.wait_booted()
    assert guest.check('cat /proc/sys/kernel/random/boot_id') != first
    guest.wait_size('768M', 20)
    assert guest.requested_size() == 768 * MIB
    assert guest.shutdown() == 0


def test_commands(boot_guest):
    guest = boot_guest()
    assert guest.run('echo out; echo err >&2; exit 3') == (3, 'out\n', 'err\n')
    assert guest.run('kill -KILL $$').status == 128 + 9
    assert guest.check('tr a-z A-Z', stdin='shout\n') == 'SHOUT\n'
    assert guest.check('cat /proc/self/oom_score_adj') == '0\n'
    guest.write('/tmp/a/b', 'x' * 300000)
    assert len(guest.read('/tmp/a/b')) == 300000
    with pytest.raises(RigError, match='No such file'):
        guest.read('/nonexistent')
    with pytest.raises(RigError, match='status 1'):
        guest.check('false')

    begin = time.monotonic()
    sleepers = [guest.start_command(f'sleep 2; echo {i}') for i in range(8)]
    assert [sleeper.wait(20).stdout for sleeper in sleepers] == [f'{i}\n' for i in range(8)]
    assert time.monotonic() - begin < 10

    endless = guest.start_command('exec yes')
    wait_until(lambda: len(endless.stdout()) >= 4 * MIB, 60, 'the output reaches its bound')
    endless.kill()
    endless.wait(10)
    assert len(endless.stdout()) == 4 * MIB
    assert 'dropped' in endless.remark

    background = guest.run('sleep 1000 & echo started', 10)
    assert background == (0, 'started\n', '')
    where = guest.start_command('cat /proc/self/cgroup', slice_name='user.slice').wait()
    assert '/user.slice/' in where.stdout


def test_agent_survives_a_surge(boot_guest):
    """A workload larger than the guest is killed; the agent answers all the while, and the hog says what it did."""
    guest = boot_guest()
    assert guest.check('systemctl show -P OOMScoreAdjust vmtest-agent') == '-1000\n'
    guest.check('sysctl -q vm.overcommit_memory=1')  # otherwise the kernel refuses mappings above MemTotal
    hog = guest.start_command('exec vmhog --bytes 4G --threads 2')
    while hog.poll() is None:
        begin = time.monotonic()
        assert total(guest) < GIB
        assert time.monotonic() - begin < 10
        time.sleep(0.1)
    assert hog.wait().status == 128 + 9
    assert guest.oom_kills() == 1
    assert 'Killed process' in guest.console()

    events = [json.loads(line) for line in guest.check('vmhog --bytes 200M --rate 400M --kind tmpfs').splitlines()]
    assert [event['event'] for event in events] == ['start', 'touched', 'freed']
    assert 400000 < events[1]['t_us'] - events[0]['t_us'] < speed.patience(5) * 1000000
    assert events[1]['bytes'] == 200 * MIB
    assert events[1]['stall_us'] > 0
    for kind in ('anon', 'anon4k', 'populate', 'read', 'mlock', 'fallocate', 'file', 'pipe', 'unix', 'tables'):
        guest.check(f'vmhog --bytes 64M --threads 3 --kind {kind}')
    guest.check('vmhog --bytes 64M --threads 20 --fork; vmhog --bytes 64M --kind file --path /dev/vda')
    assert guest.run('vmhog --bytes 1Q').status == 2


def test_nothing_of_a_failed_cache_is_left(tmp_path, monkeypatch):
    """cached() gives all or nothing, and makes once what is there already."""
    monkeypatch.setenv('VMTIDE_CACHE', str(tmp_path))

    def fail(folder):
        (folder / 'half').write_text('x', encoding='ascii')
        raise RigError('no network')

    with pytest.raises(RigError, match='no network'):
        cached('thing', fail)
    assert [entry.name for entry in tmp_path.iterdir()] == ['.thing.lock']

    made = []
    for _ in range(2):
        folder = cached('thing', lambda target: made.append(target))
    assert folder == tmp_path / 'thing' and folder.is_dir() and len(made) == 1


def test_bounds_grow_on_a_slow_machine(monkeypatch):
    events = '{"t_us": 1000000, "event": "start"}\n{"t_us": 3000000, "event": "touched", "bytes": 104857600}\n'
    assert speed.bytes_per_second(events) == 50 * MIB
    monkeypatch.setattr(speed, '_measured', {})
    with pytest.raises(RigError, match='not been measured'):
        speed.patience(60)
    for measured, bound in ((0, 600), (1, 600), (50 * MIB, 180), (speed.REFERENCE, 60), (10 * GIB, 60)):
        monkeypatch.setattr(speed, '_measured', {'speed': measured})
        assert speed.patience(60) == pytest.approx(bound)


def test_cpio(tmp_path):
    (tmp_path / 'tree/sub').mkdir(parents=True)
    (tmp_path / 'tree/sub/file').write_text('text', encoding='ascii')
    (tmp_path / 'tree/link').symlink_to('sub/file')
    os.chmod(tmp_path / 'tree/sub/file', 0o640)
    archive = Cpio()
    archive.tree(tmp_path / 'tree', 'top')
    archive.file('top/sub/file', b'replaced', 0o600)
    (tmp_path / 'a.cpio').write_bytes(archive.finish())
    (tmp_path / 'out').mkdir()
    assert os.system(f'cd {tmp_path}/out && cpio --quiet -i <../a.cpio') == 0
    assert (tmp_path / 'out/top/link').read_text(encoding='ascii') == 'replaced'
    assert (tmp_path / 'out/top/sub/file').stat().st_mode & 0o777 == 0o600
