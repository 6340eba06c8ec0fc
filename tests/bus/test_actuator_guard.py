# SPDX-License-Identifier: MIT
"""The guard on made-up slices: who arms it, what ends it, and that the administrator's values come back."""

import pathlib
import signal
import subprocess
import time

import pytest

from .actuator_stage import bare_stage, CONFIG, get, plug, refusal, refused, stage, STRANGER
from .conftest import ACTUATOR, BUILD, NOBODY
from .peers import GIB, MIB, wait_until

HEADROOM = 256 * MIB
EVENTS = 'low 0\nhigh {}\nmax 0\noom 0\noom_kill 0\n'


class Slices:
    """user.slice and system.slice of the stage's cgroup tree; machine.slice is missing."""

    def __init__(self, stage, controllers='memory pids', **high):
        self.root = stage.folder / 'cgroup'
        self.root.mkdir()
        (self.root / 'cgroup.controllers').write_text(f'cpu {controllers}\n', encoding='ascii')
        for name in ('user', 'system'):
            self.make(name, high.get(name, 'max'))

    def make(self, name, high='max'):
        folder = self.root / f'{name}.slice'
        folder.mkdir()
        for file, text in (('memory.current', f'{50 * MIB}\n'), ('memory.events.local', EVENTS.format(0)),
                           ('memory.stat', 'anon 0\ninactive_file 0\nfile_dirty 0\nfile_writeback 0\n')):
            (folder / file).write_text(text, encoding='ascii')
        self.put(name, high)

    def put(self, name, high):
        """As systemd would."""
        # Of one length and in place: the actuator has it open.
        path = self.root / f'{name}.slice/memory.high'
        with open(path, 'r+' if path.exists() else 'w', encoding='ascii') as file:
            file.write(f'{high:<20}\n')

    def high(self, name='user'):
        text = (self.root / f'{name}.slice/memory.high').read_text(encoding='ascii').strip()
        return text if text == 'max' else int(text)

    def lines(self):
        return [high for high in (self.high('user'), self.high('system')) if high != 'max']

    def wait(self, armed, what, seconds=3):
        wait_until(lambda: len(self.lines()) == (2 if armed else 0), seconds, what)


def arm(client, headroom=HEADROOM):
    assert client.call('ArmGuard', 't', headroom, at=ACTUATOR) == ()


def armed(stage, client=None, **high):
    """A guard that is armed by a client of the private socket."""
    slices = Slices(stage, **high)
    client = client or stage.up()
    arm(client)
    slices.wait(True, 'the lines stand')
    wait_until(lambda: get(client, 'GuardHeadroom') == HEADROOM, 3, 'and the property says so')
    return slices, client


def test_lines_leave_the_headroom(stage):
    slices, client = armed(stage)
    # 800 MiB are free, each slice uses 50 MiB, and may take a little slack.
    assert 600 * MIB < sum(slices.lines()) <= (100 + 800 - 256 + 2 * 9) * MIB
    assert stage.says('guard armed: headroom 256M (asked for 256M), 2 cgroups') == 1
    assert 'user.slice=max' in (stage.folder / 'guard').read_text(encoding='ascii')
    # The same again writes nothing and says nothing.
    before = [(slices.root / f'{name}.slice/memory.high').stat().st_mtime_ns for name in ('user', 'system')]
    client.pump(0.3)
    client.signals.clear()
    for _ in range(5):
        arm(client)
        client.pump(0.25)
    assert before == [(slices.root / f'{name}.slice/memory.high').stat().st_mtime_ns for name in ('user', 'system')]
    assert client.signals == [] and stage.says('guard armed') == 1
    before = wakeups(stage)
    client.pump(2)
    assert wakeups(stage) == before  # armed and left alone, it sleeps
    # A slice that appears gets one too.
    slices.make('machine')
    arm(client)
    wait_until(lambda: slices.high('machine') != 'max', 3, 'it has its line')
    arm(client, 0)
    slices.wait(False, 'they are taken back')
    wait_until(lambda: get(client, 'GuardHeadroom') == 0, 3, 'the property says so')
    assert not (stage.folder / 'guard').exists() and slices.high('machine') == 'max'


def test_change_is_told(stage):
    slices, client = armed(stage)
    told = client.wait_signal('PropertiesChanged', where=lambda i, p, _: 'GuardHeadroom' in p)[1]
    assert told == {'GuardHeadroom': HEADROOM}
    # Never less than 192 MiB.
    arm(client, 1)
    told = client.wait_signal('PropertiesChanged', where=lambda i, p, _: p.get('GuardHeadroom') != HEADROOM)[1]
    assert told == {'GuardHeadroom': 192 * MIB}
    assert len(slices.lines()) == 2


def test_headroom_without_sense(stage):
    client = stage.up()
    for headroom in (481 * MIB, 2**64 - 1):
        error = refused(client, 'ArmGuard', 't', headroom)
        assert error.full_name == 'org.vmtide.Error.InvalidSize' and str(headroom) in error.text and '480M' in error.text


@pytest.mark.parametrize('uid', (0, NOBODY), ids=('root', 'monitor'))
def test_root_and_the_monitor_may(stage, uid):
    stage.up()
    armed(stage, stage.client(uid=uid, private=True))


def test_strangers_may_not(stage):
    stage.up()
    stage.on_bus()
    error = refused(stage.client(uid=STRANGER), 'ArmGuard', 't', HEADROOM)
    assert error.full_name == 'org.freedesktop.DBus.Error.AccessDenied'


# What ends it


def host_leaves(stage, client):
    stage.host.drop()


def host_refuses(stage, _client, uid=NOBODY):
    client = stage.client(uid=uid, private=True)
    serial = plug(client, 2 * MIB)
    request = stage.host.expect('resize')
    stage.host.say('refused', id=request['id'], code='host-memory', text='no memory', max_size=4 * GIB)
    refusal(client, serial)
    client.close()


def host_is_silent(stage, _client):
    client = stage.client(uid=NOBODY, private=True)
    refusal(client, plug(client, 2 * MIB))


def max_size(stage, client):
    stage.host.say('size', size=4 * GIB, requested_size=4 * GIB)


def limit_comes_down(stage, client):
    stage.host.say('limits', min_size=0, max_size=GIB)


def caller_leaves(stage, client):
    client.close()


def configuration(stage, client):
    (stage.folder / 'actuator.conf').write_text(CONFIG + 'Guard=no\n', encoding='ascii')
    stage.processes['actuator'].send_signal(signal.SIGHUP)


@pytest.mark.parametrize('event, why', ((host_leaves, 'no host answers'), (host_refuses, 'no more now'),
                                        (host_is_silent, 'no more now'), (max_size, 'at max size'),
                                        (limit_comes_down, 'at max size'), (caller_leaves, 'the connection that armed it'),
                                        (configuration, 'Guard=no')), ids=lambda e: getattr(e, '__name__', ''))
def test_fails_open(stage, event, why):
    slices, client = armed(stage, user=str(900 * MIB))
    event(stage, client)
    wait_until(lambda: (slices.high('user'), slices.high('system')) == (900 * MIB, 'max'), 3, 'the lines are taken back')
    wait_until(lambda: stage.says(why) == 1, 3, 'it says why')
    reader = stage.client(private=True)
    wait_until(lambda: get(reader, 'GuardHeadroom') == 0, 3, 'and shows it')
    assert not (stage.folder / 'guard').exists()


def test_nobody_arms_it_again(stage):
    slices, client = armed(stage)
    begun = time.monotonic()
    slices.wait(False, 'they are taken back', 6)
    assert time.monotonic() - begun > 3
    wait_until(lambda: get(client, 'GuardHeadroom') == 0, 3, 'the property says so')
    assert stage.says('not armed again in time') == 1
    arm(client)
    slices.wait(True, 'and stand again')


def test_another_connection_may_leave(stage):
    slices, client = armed(stage)
    other = stage.client(private=True)
    get(other, 'Size')
    other.close()
    client.pump(0.3)
    assert len(slices.lines()) == 2


@pytest.mark.parametrize('message', ({'op': 'room'}, None), ids=('room', 'granted'))
def test_back_after_a_refusal(stage, message):
    slices, client = armed(stage)
    host_refuses(stage, client)
    slices.wait(False, 'the lines are taken back')
    arm(client)
    client.pump(0.2)
    assert slices.lines() == [] and get(client, 'GuardHeadroom') == 0
    if message:
        stage.host.say(**message)
    else:
        plug(client, 2 * MIB)
        stage.host.grant()
    slices.wait(True, 'they stand again')


def test_what_others_are_refused_does_not_count(stage):
    """Who may reserve, or plug by hand, asks for what the monitor would not, and cannot take the guard away by it."""
    slices, client = armed(stage)
    host_refuses(stage, client, uid=0)
    serial = client.send('Reserve', 'tss', 3 * GIB // 2, 'camera', 'test', at=ACTUATOR)
    request = stage.host.expect('resize')
    stage.host.say('refused', id=request['id'], code='host-memory', text='no memory', max_size=4 * GIB)
    assert refusal(client, serial).name == 'HostRefused'
    client.pump(0.2)
    assert len(slices.lines()) == 2 and get(client, 'GuardHeadroom') > 0


def test_a_late_grant_is_one_too(stage):
    """Else the guard would stay off until more is asked for, although the host grants."""
    slices, client = armed(stage)
    asker = stage.client(uid=NOBODY, private=True)
    serial = plug(asker, 2 * MIB)
    late = stage.host.expect('resize')
    assert refusal(asker, serial).name == 'HostUnavailable'
    slices.wait(False, 'they go with the time-out')
    stage.host.say('granted', id=late['id'], requested_size=late['size'])
    slices.wait(True, 'they stand again')
    assert get(client, 'GuardHeadroom') > 0


def test_too_fast_is_no_refusal(stage):
    slices, _client = armed(stage)
    client = stage.client(uid=NOBODY, private=True)
    serial = plug(client, 2 * MIB)
    stage.host.say('refused', id=stage.host.expect('resize')['id'], code='rate', text='slowly', max_size=4 * GIB)
    refusal(client, serial)
    client.pump(0.2)
    assert len(slices.lines()) == 2


def test_orderly_end(stage):
    slices, _client = armed(stage)
    assert stage.stop('actuator') == 0
    assert slices.lines() == []
    assert 'being stopped' in stage.log('actuator')


def restore(stage):
    return subprocess.run([BUILD / 'actuator/vmtide-actuator', '--disarm', f'--cgroupfs={stage.folder}/cgroup',
                           f'--guard-state={stage.folder}/guard'], capture_output=True, text=True, timeout=10, check=False)


def test_killed(stage):
    slices, _client = armed(stage, user=str(700 * MIB))
    stage.kill('actuator')
    assert len(slices.lines()) == 2
    result = restore(stage)
    assert result.returncode == 0, result
    assert (slices.high('user'), slices.high('system')) == (700 * MIB, 'max')
    assert not (stage.folder / 'guard').exists()
    # And again: nothing to do.
    result = restore(stage)
    assert (result.returncode, result.stderr) == (0, '')


def test_killed_and_started_again(bare_stage):
    stage = bare_stage
    stage.run()
    slices, client = armed(stage)
    stage.kill('actuator')
    client.close()
    (stage.folder / 'actuator.sock').unlink()
    stage.run()
    slices.wait(False, 'the next one takes them back')


@pytest.mark.parametrize('text', ('', '[Guard]\nuser.slice=much\n', '[Guard]\n../x.slice=1\n', '\0' * 40,
                                  'x' * 10000), ids=('empty', 'value', 'name', 'binary', 'long'))
def test_bad_saved_state(bare_stage, text):
    slices = Slices(bare_stage, user=str(MIB))
    (bare_stage.folder / 'guard').write_text(text, encoding='ascii')
    result = restore(bare_stage)
    assert slices.high() == MIB
    assert result.returncode == 1 and 'cannot be written back' in result.stderr


# The administrator's own


def wakeups(stage):
    """How often a thread of the actuator has gone to sleep."""
    folder = pathlib.Path(f'/proc/{stage.processes["actuator"].pid}/task')
    return sum(int(line.split()[1]) for task in folder.iterdir()
               for line in (task / 'status').read_text(encoding='ascii').splitlines() if 'ctxt_switches' in line)


def test_own_limit_holds(stage):
    slices, client = armed(stage, user=str(60 * MIB))
    assert slices.high('user') == 60 * MIB
    arm(client, 0)
    slices_back = (60 * MIB, 'max')
    wait_until(lambda: (slices.high('user'), slices.high('system')) == slices_back, 3, 'only ours is taken back')


def test_own_limit_while_armed(stage):
    slices, client = armed(stage)
    line = slices.high('user')
    slices.put('user', str(400 * MIB))
    wait_until(lambda: 'user.slice=419430400' in (stage.folder / 'guard').read_text(encoding='ascii'), 1, 'it is seen')
    wait_until(lambda: slices.high('user') == line, 1, 'ours, which is lower, stands')
    slices.put('user', str(70 * MIB))
    wait_until(lambda: 'user.slice=73400320' in (stage.folder / 'guard').read_text(encoding='ascii'), 1, 'it is seen')
    client.pump(0.2)
    assert slices.high('user') == 70 * MIB
    # Nor does it keep the worker busy.
    before = wakeups(stage)
    client.pump(1)
    assert wakeups(stage) - before <= 3
    arm(client, 0)
    wait_until(lambda: slices.high('system') == 'max', 3, 'it is disarmed')
    assert slices.high('user') == 70 * MIB


def test_reset_by_somebody_else(stage):
    slices, _client = armed(stage)
    line = slices.high('system')
    slices.put('system', 'max')
    wait_until(lambda: slices.high('system') == line, 1, 'ours is back')


# Where it cannot be


def test_without_unified_hierarchy(bare_stage):
    stage = bare_stage
    slices = Slices(stage, controllers='pids')
    stage.run()
    client = stage.up()
    for _ in range(3):
        arm(client)
        client.pump(0.1)
    assert slices.lines() == [] and get(client, 'GuardHeadroom') == 0
    assert stage.says('cgroup v2') == 1


def test_without_slices(stage):
    slices = Slices(stage)
    for name in ('user', 'system'):
        (slices.root / f'{name}.slice').rename(slices.root / name)
    client = stage.up()
    for _ in range(3):
        arm(client)
        client.pump(0.1)
    assert get(client, 'GuardHeadroom') == 0 and stage.says('none of the slices') == 1
    for name in ('user', 'system'):
        (slices.root / name).rename(slices.root / f'{name}.slice')
    arm(client)
    slices.wait(True, 'they are found')


def test_state_that_cannot_be_saved(stage):
    """No line without a way back."""
    slices = Slices(stage)
    (stage.folder / 'guard').mkdir()
    client = stage.up()
    for _ in range(3):
        arm(client)
        client.pump(0.1)
    assert slices.lines() == [] and get(client, 'GuardHeadroom') == 0
    assert stage.says('guard cannot be armed') == 1


@pytest.mark.parametrize('value', ('', 'vmtide.slice', 'user.slice user.slice', '../user.slice', 'a-b.slice', 'user'))
def test_bad_slices(bare_stage, value):
    conf = bare_stage.folder / 'actuator.conf'
    conf.write_text(f'[Actuator]\nGuardSlices={value}\n', encoding='ascii')
    result = subprocess.run([BUILD / 'actuator/vmtide-actuator', f'--config={conf}'], capture_output=True, text=True,
                            timeout=10, check=False)
    assert result.returncode == 78 and 'GuardSlices' in result.stderr


def test_other_slices(bare_stage):
    stage = bare_stage
    slices = Slices(stage)
    stage.run(CONFIG + 'GuardSlices=user.slice\n')
    client = stage.up()
    arm(client)
    wait_until(lambda: slices.high('user') != 'max', 3, 'it is armed')
    assert slices.high('system') == 'max'
    (stage.folder / 'actuator.conf').write_text(CONFIG + 'GuardSlices=system.slice\n', encoding='ascii')
    stage.processes['actuator'].send_signal(signal.SIGHUP)
    wait_until(lambda: (slices.high('user') == 'max') and slices.high('system') != 'max', 5, 'the other one is')


# What happens while it is armed


def test_breach_moves_the_line(stage):
    slices, client = armed(stage)
    before = slices.high('user'), slices.high('system')
    (slices.root / 'user.slice/memory.current').write_text(f'{before[0]}\n', encoding='ascii')
    stage.set_memory(960 * MIB, 600 * MIB)
    (slices.root / 'user.slice/memory.events.local').write_text(EVENTS.format(7), encoding='ascii')
    arm(client)  # files do not tell POLLPRI
    wait_until(lambda: slices.high('user') > before[0] and slices.high('system') < before[1], 2, 'the share moves')
    wait_until(lambda: stage.says('a line was reached') == 1, 2, 'it says so')
    wait_until(lambda: stage.says('no line is reached any more, after 7 breaches') == 1, 4, 'and that it is over')


def test_size_moves_the_line_at_once(stage):
    slices, client = armed(stage)
    before = slices.high('user')
    stage.set_memory(1400 * MIB, 1200 * MIB)
    stage.host.say('size', size=GIB + 440 * MIB, requested_size=GIB + 440 * MIB)
    wait_until(lambda: slices.high('user') > before + 100 * MIB, 1, 'it is raised')
    client.pump(0)
