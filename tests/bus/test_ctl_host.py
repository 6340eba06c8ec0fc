# SPDX-License-Identifier: MIT
"""vmtidectl host against the real daemon and scripted VMs."""

import json
import os
import signal
import subprocess

import pytest

from .actuator_stage import STRANGER
from .conftest import BUILD, BUILD_COPY
from .peers import GIB, wait_until
from .test_host_bus import BusRig

CTL = BUILD / 'ctl/vmtidectl'


class CtlRig(BusRig):
    def ctl(self, *arguments, prefix=(), program=CTL):
        return subprocess.run([*prefix, program, f'--bus=unix:path={self.folder}/bus', *map(str, arguments)], capture_output=True,
                              text=True, timeout=20, stdin=subprocess.DEVNULL, env={**os.environ, 'LC_ALL': 'C.UTF-8'})

    def json(self, *arguments):
        return json.loads(self.ctl('host', *arguments, '--json').stdout)


@pytest.fixture
def rig():
    r = CtlRig()
    try:
        yield r
        assert r.process.poll() is None, f'it ended by itself: {r.log()[-3000:]}'
        assert r.stop() == 0
    finally:
        r.close()


@pytest.fixture
def two(rig):
    """VMs guest and other, of which the first has 1 GiB."""
    rig.add('other')
    rig.add('guest')
    rig.start(rig.vm_option('guest', max='4G'), rig.vm_option('other'))
    for _, guest in rig.vms.values():
        guest.meet()
    rig.vms['guest'][1].resize(1, GIB, 'burst')
    rig.vms['guest'][1].answer(1)
    rig.client()
    return rig


def test_list_and_show(two):
    wait_until(lambda: two.json('list')['VMs'][0]['State'] == 'idle', 5, 'the size is there')
    listed = two.ctl('host')
    assert listed.returncode == 0 and listed.stderr == ''
    lines = listed.stdout.splitlines()
    assert '64G of 128G available' in lines[0] and '2 VMs' in lines[0]
    assert [line.split()[0] for line in lines[1:]] == ['VM', 'guest', 'other']
    assert lines[2].split()[1:4] == ['idle', '1G', '1G'] and 'granted' in lines[2]
    assert [vm['Name'] for vm in two.json()['VMs']] == ['guest', 'other']
    shown = two.ctl('host', 'show', 'guest').stdout
    assert 'guest, idle' in shown and 'burst' in shown and f'process {two.vms["guest"][0].pid}' in shown
    assert two.json('show', 'guest')['RequestedSize'] == GIB
    missing = two.ctl('host', 'show', 'gues')
    assert missing.returncode == 1 and 'no such VM' in missing.stderr and 'host list' in missing.stderr


def test_acts(two):
    _, guest = two.vms['guest']
    for arguments, words in ((('set-limits', 'guest', '--max', '2G'), 'max size 2G'), (('set-weight', 'guest', '300', '--persist'), '300'),
                             (('shrink', 'guest', '512M', '--why', 'test'), '512M'), (('pause', 'guest', '--why', 'backup'), 'until')):
        result = two.ctl('host', *arguments)
        assert (result.returncode, result.stderr) == (0, '') and words in result.stdout and 'guest' in result.stdout
    vm = two.json('show', 'guest')
    assert (vm['MaxSize'], vm['Weight'], vm['PauseReason'], vm['PausedUntil']) == (2 * GIB, 300, 'backup', None)
    assert guest.wait('shrink')['size'] == GIB // 2
    assert 'on-hold' in two.ctl('host', 'list').stdout
    assert two.ctl('host', 'resume', 'guest').returncode == 0
    assert two.ctl('host', 'set-limits', 'guest', '--reset').returncode == 0
    vm = two.json('show', 'guest')
    assert (vm['MaxSize'], vm['PausedUntil']) == (4 * GIB, 0)
    assert 'MaxSize' not in (two.folder / 'limits').read_text(encoding='ascii')


def test_what_goes_wrong_is_said(two):
    over = two.ctl('host', 'set-limits', 'guest', '--min', '3G', '--max', '2G')
    assert over.returncode == 1 and '3G' in over.stderr and '2G' in over.stderr
    assert over.stderr.count('guest: ') == 1
    nobody = two.ctl('host', 'resume', 'nobody')
    assert nobody.returncode == 1 and 'no such VM' in nobody.stderr and 'host list' in nobody.stderr
    tiny = two.ctl('host', 'set-limits', 'guest', '--max', '4')
    assert tiny.returncode == 1 and '2M' in tiny.stderr and two.json('show', 'guest')['MaxSize'] == 4 * GIB
    assert two.ctl('host', 'pause', 'guest').returncode == 0
    paused = two.ctl('host', 'shrink', 'guest', '512M')
    assert paused.returncode == 75 and 'paused' in paused.stderr
    assert two.ctl('host', 'resume', 'guest').returncode == 0
    two.vms['guest'][1].hang_up()
    wait_until(lambda: two.json('show', 'guest')['State'] == 'no-guest', 5, 'the guest has gone')
    alone = two.ctl('host', 'shrink', 'guest', '512M')
    assert alone.returncode == 69 and 'no-guest' in alone.stderr and 'host doctor' in alone.stderr
    stranger = {'prefix': ['setpriv', f'--reuid={STRANGER}', f'--regid={STRANGER}', '--clear-groups'], 'program': BUILD_COPY / 'vmtidectl'}
    denied = two.ctl('host', 'set-weight', 'guest', '5', **stranger)
    assert denied.returncode == 77 and 'polkit rule' in denied.stderr
    assert two.ctl('host', 'list', **stranger).returncode == 0
    assert two.stop() == 0
    gone = two.ctl('host', 'list')
    assert gone.returncode == 69 and 'vmtide-host' in gone.stderr
    for verb in (('pause', 'guest'), ('set-weight', 'guest', '7')):
        gone = two.ctl('host', *verb)
        assert gone.returncode == 69 and 'vmtide-host' in gone.stderr and 'actuator' not in gone.stderr
    two.start(two.vm_option('guest', max='4G'))
    two.client()


def test_help_of_host_has_all_its_verbs(rig):
    shown = rig.ctl('host', '--help')
    verbs = ('list', 'show', 'watch', 'set-limits', 'set-weight', 'shrink', 'pause', 'resume', 'doctor')
    assert shown.returncode == 0 and all(f'  host {verb}' in shown.stdout for verb in verbs)
    assert 'reservations' not in shown.stdout
    rig.start()
    rig.client()


def test_watch(two):
    process = subprocess.Popen([CTL, f'--bus=unix:path={two.folder}/bus', 'host', 'watch', '--json'], stdout=subprocess.PIPE, text=True)
    try:
        assert len(json.loads(process.stdout.readline())['VMs']) == 2
        assert len(json.loads(process.stdout.readline())['VMs']) == 2
        process.send_signal(signal.SIGINT)
        assert process.wait(5) == 0
    finally:
        process.kill()
        process.wait(5)
    assert two.ctl('host', 'watch', '-n', '1').stdout.count('guest') == 1


def test_doctor_sees_who_is_not_bounded(two):
    root = two.folder / 'root'

    def write(path, text):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding='ascii')

    def checks():
        return {c['name']: c for c in two.json('doctor', f'--root={root}')}

    write('etc/vmtide/host.conf', '')
    write('usr/share/polkit-1/actions/org.vmtide.host.policy', '')
    write('proc/pressure/memory', 'some avg10=0.00 avg60=0.00 avg300=0.00 total=0\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n')
    write(f'proc/{two.vms["guest"][0].pid}/cgroup', '0::/machine.slice/vm.scope/libvirt\n')
    write('sys/fs/cgroup/machine.slice/vm.scope/libvirt/memory.max', 'max\n')
    found = checks()
    assert found['guest']['verdict'] == 'warning' and 'no cgroup' in found['guest']['text']
    assert found['bus']['verdict'] == found['pressure']['verdict'] == found['host.conf']['verdict'] == 'ok'
    write('sys/fs/cgroup/machine.slice/vm.scope/memory.max', f'{6 * GIB}\n')
    assert checks()['guest']['verdict'] == 'ok'
    # A bound above holds too.
    write('sys/fs/cgroup/machine.slice/memory.max', f'{2 * GIB}\n')
    assert checks()['guest']['verdict'] == 'fault'
    assert two.ctl('host', 'doctor', f'--root={root}').returncode >= 1
    two.vms['other'][0].end()
    told = []

    def gone():
        told.append(checks()['other'])
        return 'no-qemu' in told[-1]['text']
    try:
        wait_until(gone, 5, 'its QEMU has gone')
    except AssertionError as error:
        raise AssertionError(f'{error}: {told[-1]}, of {len(told)}; {two.json("show", "other")}; {two.log()[-2000:]}') from error
