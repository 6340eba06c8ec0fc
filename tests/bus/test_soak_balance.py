# SPDX-License-Identifier: MIT
"""The balance of scripts/soak, without a guest: each of its checks is content with what is right, and finds what is not."""

import json

import pytest

from tests.vm.faults.relay import FROM_HOST, TO_HOST
from tests.vm.soak import explain, leaks, watch
from tests.vm.soak.acts import Ledger, first_line
from tests.vm.soak.books import Books, entry
from tests.vm.soak.leaks import KIB, Reading
from tests.vm.soak.windows import AFTERMATH, Windows
from tests.vm.soak.wire import Wire


class Scene:
    """A clock, a relay and what one guest and its host say; a line of the guest's is seen as it is said."""

    def __init__(self):
        self.now, self.connections, self.lines = 100.0, 1, []
        self.seen = None
        self.windows = Windows(lambda: self.now)
        self.wire = Wire(self, lambda: self.now)
        self.entries = []

    def message(self, direction, **keys):
        self.seen(direction, json.dumps(keys).encode())

    def ask(self, number=1, reason='spare'):
        self.message(TO_HOST, op='resize', id=number, size=0, reason=reason)

    def grant(self, number=1):
        self.message(FROM_HOST, op='granted', id=number, requested_size=0)

    def says(self, text):
        one = entry(self.now, 7, text)
        assert one, text
        self.entries.append(one)

    def differences(self, ended=0):
        books = Books(self.entries, self.wire.answers, self.wire.cuts, ended)
        return self.wire.differences(self.windows, 'one') + books.differences(self.windows, 'one')

    def fault(self, seconds, kind='cut_channel', act=lambda: None):
        opened = self.windows.begin(['one'], kind)
        act()
        self.now += seconds
        self.windows.end(opened)


GRANTED = 'plug 512M (spare): granted, requested size 1G, size 512M'
GONE = 'plug 512M (spare) refused: org.vmtide.Error.HostUnavailable: the host has gone; the guest keeps the memory it has'
LATE = 'plug 512M (spare) refused: org.vmtide.Error.HostUnavailable: the host did not answer in 5000 ms'


@pytest.fixture
def scene():
    return Scene()


def test_all_is_well(scene):
    scene.ask()
    scene.grant()
    scene.says(GRANTED)
    scene.ask(2)
    scene.message(FROM_HOST, op='refused', id=2, code='limit', text='size 9G is above the max size 6G')
    scene.says('plug 8G (spare) refused: org.vmtide.Error.LimitExceeded: size 9G is above the max size 6G')
    scene.says('plug 0 (spare) refused: org.vmtide.Error.InvalidSize: 0 bytes is no size to plug')
    assert scene.differences() == []
    assert scene.wire.row() == '2 requests = 1 granted + 1 refused + 0 whose connection ended'
    assert not scene.wire.host_differs({'granted': 1, 'refused': 1})
    # What is cut has its line in the guest; what is late, too, and the host's answer is not heard.
    scene.ask(3)
    scene.connections = 2
    scene.fault(1, act=lambda: scene.message(TO_HOST, op='hello'))
    scene.says(GONE)
    scene.ask(1)
    scene.fault(6, 'late_grant', act=lambda: (scene.grant(), scene.says(LATE)))
    assert scene.differences() == []
    assert not scene.wire.host_differs({'granted': 3, 'refused': 1})
    # An answer meets the hello of the next actuator.
    scene.ask(2)
    scene.fault(1, 'kill_actuator', act=lambda: (scene.message(TO_HOST, op='hello'), scene.grant(2)))
    assert scene.differences(ended=1) == [] and scene.differences() != []
    assert not scene.wire.host_differs({'granted': 3, 'refused': 1}) and scene.wire.life['cut'] == 1


@pytest.mark.parametrize('what, found', (
    (lambda s: (s.ask(), s.wait(11)), 'no answer to request 1'),
    (lambda s: (s.ask(), s.wait(11), s.cut()), 'no answer to request 1'),
    (lambda s: (s.ask(), s.grant()), 'whose actuator does not say so'),
    (lambda s: s.says(GRANTED), 'the wire does not'),
    (lambda s: s.says(LATE), 'nothing was broken'),
    (lambda s: s.fault(1, 'reload_systemd', act=lambda: s.says(LATE)), 'nothing was broken'),
    (lambda s: s.grant(), 'nobody asked'),
    (lambda s: (s.ask(), s.ask()), 'asked twice'),
    (lambda s: (s.ask(), s.fault(1, act=s.cut)), 'the guest knows of 0 at most'),
))
def test_what_is_not_balanced(scene, what, found):
    def cut():
        scene.connections += 1
        scene.message(TO_HOST, op='hello')

    scene.cut = cut
    scene.wait = lambda seconds: setattr(scene, 'now', scene.now + seconds)
    what(scene)
    assert any(found in difference for difference in scene.differences()), scene.differences()


def test_host_counts(scene):
    scene.ask()
    scene.grant()
    assert scene.wire.host_differs({'granted': 2, 'refused': 0}) and scene.wire.host_differs({'granted': 0, 'refused': 0})
    scene.wire.new_life()
    assert not scene.wire.host_differs({'granted': 0, 'refused': 0})


def test_windows_end(scene):
    scene.fault(1)
    scene.now += AFTERMATH - 1
    assert scene.windows.kinds('one', scene.now) == {'cut_channel'} and not scene.windows.kinds('two', scene.now)
    scene.now += 2
    assert not scene.windows.kinds('one', scene.now)


SEGV = 'vmtide-actuator.service: Main process exited, code=dumped, status=11/SEGV'
KILL = 'vmtide-actuator.service: Main process exited, code=killed, status=9/KILL'


@pytest.mark.parametrize('ident, text, kinds, good', (
    ('vmtide-actuator', GRANTED, (), True),
    ('vmtide-actuator', LATE, ('stall_qmp',), True),
    ('vmtide-actuator', LATE, ('kill_monitor',), False),
    ('vmtide-actuator', 'guard /sys/fs/cgroup/user.slice: cannot write the limits: No space left on device', ('kill_actuator',), False),
    ('vmtide-actuator', 'host: gone (hung up)', ('stop_polkit',), False),
    ('vmtide-monitor', 'resumed', (), True),
    ('vmtide-monitor', 'grow refused: org.vmtide.Error.HostRefused: QEMU does not answer', (), False),
    ('vmtide-host', 'metrics: http://127.0.0.1:9/metrics', (), True),
    ('vmtide-host', 'metrics: cannot take a connection: Too many open files; trying again every 100 ms', ('kill_host',), False),
    ('vmtide-host', "one: QEMU's monitor: it closed the connection; connecting again", ('cut_qmp',), True),
    ('vmtide-host', "one: QEMU's monitor: it closed the connection; connecting again", ('cut_channel',), False),
    ('vmtide-host', 'one: QEMU holds 3G, boot memory and what was granted are 2G: the guest uses memory that it unplugged', ('kill_host',), False),
    ('systemd', KILL, ('kill_actuator',), True),
    ('systemd', SEGV, ('kill_actuator',), False),
    ('systemd', SEGV.replace('code=dumped, status=11/SEGV', 'code=killed, status=31/SYS'), ('kill_actuator',), False),
))
def test_lines(ident, text, kinds, good):
    assert explain.judge(ident, text, kinds).good is good


def test_logs_are_judged_when_they_were_said(scene):
    lines = [(scene.now, '[  7.1] vmtide-actuator[9]: host: gone (hung up)'), (scene.now, '[  7.2] dbus-daemon[5]: whatever')]
    scene.fault(1)
    assert explain.judge_guest(lines, scene.windows, 'one') == ([], {})
    assert len(explain.judge_guest([(scene.now + 60, lines[0][1])], scene.windows, 'one')[0]) == 1
    stuck = [(0, 'vmtide-host: one: size 1G, requested 2G: no progress for 900 ms, set again')]
    bad, apart = explain.judge_host(stuck, scene.windows, ['one'])
    assert not bad and list(apart.values()) == [1]
    assert explain.kills([(0, f'[ 1.0] systemd[1]: {KILL}'), (1, f'[ 1.0] systemd[1]: {SEGV}')]) == {'actuator': 1}


def test_kernel_lines():
    victim = ['vmhog invoked oom-killer: gfp_mask=0xcc0', 'oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),oom_memcg=/vmtest.slice/run-1.scope,task=vmhog',
              'Memory cgroup out of memory: Killed process 321 (vmhog) total-vm:1kB']
    assert explain.kernel(victim, 1) == []
    assert explain.kernel(victim, 0) and explain.kernel([], 1)
    for line in ('vmtide-actuator[9]: segfault at 0 ip 1', 'traps: vmtide-monitor[9] general protection fault', 'Out of memory: Killed process 1 (vmhog)'):
        assert len(explain.kernel([line], 0)) == 1


@pytest.mark.parametrize('verb, status, stderr, within, end', (
    ('status', 0, '', False, 'done'),
    ('plug 100G', 1, 'vmtidectl: Plug: 107374182400 bytes on top of 1G are more than the max size of 5G (…)\nadvice', False, 'refused'),
    ('plug 1G', 1, 'vmtidectl: Plug: something else', True, None),
    ('plug 1G', 69, 'vmtidectl: Plug: the host has gone; the guest keeps the memory it has', True, 'gone'),
    ('plug 1G', 69, 'vmtidectl: Plug: the host has gone; the guest keeps the memory it has', False, None),
    ('plug 1G', 139, '', True, None),
    ('host shrink one 3G', 1, 'vmtidectl: one: 3G is no size to shrink to: it is from 0', False, 'refused'),
))
def test_calls(scene, verb, status, stderr, within, end):
    ledger = Ledger('one', scene.windows)
    ledger.made = 1
    if within:
        scene.windows.begin(['one'], 'cut_channel')
    ledger.take(verb, status, first_line(stderr), scene.now)
    assert {end: getattr(ledger, end)} == {end: 1} if end else len(ledger.all_differences()) == 1
    ledger.made += 1
    assert '1 calls have no end' in ledger.all_differences()


def life(rss, fds=(9,), seconds=15, pid='1'):
    return [Reading(i * seconds, 'one: monitor', pid, kib * KIB, fds[i % len(fds)], 'idle') for i, kib in enumerate(rss)]


def test_leaks():
    flat, rising = [4000 + i % 2 * 40 for i in range(20)], [4000 + 40 * i for i in range(20)]
    assert list(leaks.judge_lives(life(flat))) == []
    assert 'grew by' in next(leaks.judge_lives(life(rising)))
    # A short life in between hides nothing, and is not judged.
    assert len(list(leaks.judge_lives(life([3000, 3800], pid='2') + life(rising)))) == 1
    assert 'descriptors' in next(leaks.judge_lives(life(flat, fds=(9, 9, 10))))
    assert list(leaks.judge_stretch(life(flat, seconds=5), 0, 100)) == []
    assert 'rose by' in next(leaks.judge_stretch(life(rising, seconds=5), 0, 100))
    assert '2 lives' in list(leaks.judge_stretch(life(flat, seconds=5) + life(flat, seconds=5, pid='2'), 0, 100))[-1]


def test_processes():
    before = watch.processes_of('1 systemd-udevd 0::/system.slice/systemd-udevd.service\n2 kworker/0:1 0::/\n0 kthreadd 0::/\n'
                                '77 sh 0::/vmtest.slice/vmtest-agent.service\n')
    after = watch.processes_of('1 systemd-udevd 0::/system.slice/systemd-udevd.service\n9 (udev-worker) 0::/system.slice/systemd-udevd.service\n'
                               '1 sh 0::/vmtide.slice/vmtide-actuator.service\n1 polkitd 0::/system.slice/polkit.service\n')
    assert before == ['systemd-udevd'] and watch.more_processes(before, after) == ['sh']
