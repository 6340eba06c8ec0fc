# SPDX-License-Identifier: MIT
"""Monitor, actuator and host together, over sockets in place of the port, with a scripted QMP server."""

import time
import xml.etree.ElementTree as ElementTree

import pytest

from .conftest import MONITOR, NOBODY
from .peers import BLOCK, GIB, MIB, patience, wait_until


def test_grow_and_shrink_by_hand(running):
    result = running.call('Plug', 'ts', 256 * MIB + 1, 'test')
    assert result.stdout == f't {256 * MIB + BLOCK}\n', result.stderr
    wait_until(lambda: running.get('Size', 'State') == [str(256 * MIB + BLOCK), '"idle"'], 5, 'the size is told')
    result = running.call('Unplug', 'ts', 128 * MIB + 1, 'test')
    assert result.stdout == f't {128 * MIB + BLOCK}\n'
    wait_until(lambda: running.get('Size') == [str(128 * MIB + BLOCK)], 5, 'the size is told')


@pytest.mark.parametrize('verb, amount, text', (
    ('Plug', 0, '0 bytes'),
    ('Plug', 2 ** 64 - 1, 'max size of 4G'),
    ('Plug', 4 * GIB + 1, 'max size of 4G'),
    ('Unplug', 0, '0 bytes'),
    ('Unplug', 1, 'block'),
    ('Unplug', GIB, 'min size'),
))
def test_refusals_name_value_and_limit(running, verb, amount, text):
    result = running.call(verb, 'ts', amount, 'test')
    assert result.returncode != 0 and text in result.stderr and str(amount) in result.stderr
    assert running.qemu.requests() == []


def test_bad_arguments(running):
    assert 'reason' in running.call('Plug', 'ts', MIB, 'x' * 500).stderr
    assert running.call('Plug', 's', 'x').returncode != 0
    assert 'level' in running.call('Report', 'ttus', 1, 1, 1, 'angry').stderr
    assert 'code' in running.call('DeclineShrink', 'ts', 1, 'no').stderr
    assert 'does not wait' in running.call('DeclineShrink', 'ts', 7, 'in-use').stderr
    assert 'window' in running.call('OpenPressureTrigger', 'stt', 'some', 1000, 49999).stderr
    assert running.qemu.requests() == []


def test_only_root_and_the_monitors_user(running):
    # The bus knows uid 1; the monitor's user is nobody here.
    for uid, allowed in ((1, False), (NOBODY, True), (0, True)):
        result = running.call('Plug', 'ts', 2 * MIB, 'test', uid=uid)
        assert (result.returncode == 0) == allowed, (uid, result.stderr)
        if not allowed:
            assert 'denied' in result.stderr
    assert running.get('Size', 'Version') is not None


def test_every_argument_has_a_name(running):
    xml = running.busctl('introspect', '--xml-interface', 'org.vmtide.Actuator1', '/org/vmtide/Actuator1').stdout
    interface = ElementTree.fromstring(xml).find(".//interface[@name='org.vmtide.Actuator1']")
    arguments = [a for member in interface for a in member.findall('arg')]
    assert len(arguments) >= 20 and all(a.get('name') for a in arguments)
    members = {member.get('name') for member in interface}
    assert {'Plug', 'Unplug', 'OpenPressureTrigger', 'Report', 'DeclineShrink', 'SizeChanged', 'RequestRefused',
            'ShrinkRequested', 'RoomAvailable', 'Size', 'RequestedSize', 'BootSize', 'MinSize', 'MaxSize', 'HostMinSize',
            'HostMaxSize', 'BlockSize', 'MemoryBlockSize', 'GuardHeadroom', 'ReservedBytes', 'HostConnected', 'State',
            'Version', 'LastError'} <= members


def test_onlining_is_never_left_offline(running):
    memory = running.folder / 'sys/devices/system/memory'
    # 1 GiB of boot memory, 4 GiB at most: more than three times.
    assert (memory / 'auto_online_blocks').read_text(encoding='ascii').startswith('online')
    assert (running.folder / 'sys/module/memory_hotplug/parameters/online_policy').read_text(
        encoding='ascii').startswith('auto-movable')
    assert (memory / 'memory40/state').read_text(encoding='ascii').startswith('online')
    assert running.get('BootSize', 'MemoryBlockSize') == [str(GIB), str(128 * MIB)]


def test_without_a_host(machine):
    machine.start_actuator()
    wait_until(lambda: machine.get('State') is not None, 10, 'the actuator is on the bus')
    begun = time.monotonic()
    result = machine.call('Plug', 'ts', 2 * MIB, 'test')
    assert 'no host answers' in result.stderr and time.monotonic() - begun < patience(6)
    assert machine.get('State', 'LastError')[0] == '"disconnected"'


def test_a_host_that_hangs_is_given_up(machine):
    conf = machine.folder / 'actuator.conf'
    conf.write_text('[Actuator]\nRequestTimeout=500ms\n', encoding='ascii')
    machine.start_host()
    machine.start_actuator(f'--config={conf}')
    machine.wait_connected()
    machine.qemu.answer = 'stall'
    result = machine.call('Plug', 'ts', 2 * MIB, 'test')
    assert 'did not answer in 500 ms' in result.stderr


@pytest.mark.parametrize('answer', ('error', 'wrong-id', 'close'))
def test_qmp_that_misbehaves_grants_nothing(machine, answer):
    conf = machine.folder / 'host.conf'
    conf.write_text('[Host]\nQMPTimeout=500ms\n', encoding='ascii')
    machine.start_host(f'--config={conf}')
    machine.start_actuator()
    machine.wait_connected()
    machine.qemu.answer = answer
    assert machine.call('Plug', 'ts', 2 * MIB, 'test').returncode != 0
    assert machine.wire.messages('host', 'granted') == []
    machine.qemu.answer = 'right'

    def plugs():
        return machine.call('Plug', 'ts', 2 * MIB, 'again').returncode == 0
    wait_until(plugs, 20, 'the job goes on')


def test_qmp_that_lies_is_not_served(machine):
    machine.qemu.answer = 'lie'
    machine.start_host()
    machine.start_actuator()
    wait_until(lambda: any(c['execute'] == 'query-memory-devices' for c in machine.qemu.commands), 10, 'the host asks')
    wait_until(lambda: machine.get('State') is not None, 10, 'the actuator is on the bus')
    assert machine.call('Plug', 'ts', 2 * MIB, 'test').returncode != 0
    assert machine.wire.messages('host', 'granted') == [] and machine.qemu.requests() == []
    assert len(machine.log('host').splitlines()) < 20


def test_rate_holds(running):
    results = [running.call('Plug', 'ts', 2 * MIB, 'test') for _ in range(3)]
    assert all(r.returncode == 0 for r in results)
    # A burst of 20 is taken, the rest of 60 calls in one go is not.
    script = f'for i in $(seq 60); do busctl --address={running.address} call org.vmtide.Actuator1 ' \
             '/org/vmtide/Actuator1 org.vmtide.Actuator1 Plug ts 2097152 burst & done; wait'
    running.start('burst', '/bin/sh', '-c', script)
    running.processes.pop('burst').wait(60)
    assert 'rate of 10' in running.log('burst') or 'wait for their authorisation' in running.log('burst')
    assert len(running.qemu.requests()) < 60


GARBAGE = (b'garbage\n', b'{"op":"resize","id":1\n', b'{"op":"nonsense"}\n', b'{"op":"resize","id":"x","size":[],"reason":1}\n',
           b'\x00\xff\n', b'[]\n', b'{"op":"granted","id":1,"requested_size":-1}\n', b'x' * (1024 * 1024) + b'\n',
           b'{"op":"resi')


@pytest.mark.parametrize('side', ('guest', 'host'))
def test_garbage_on_the_channel(running, side):
    for line in GARBAGE:
        running.wire.inject(side, line)
    running.wire.inject(side, b'\n')
    result = running.call('Plug', 'ts', 2 * MIB, 'test')
    assert result.returncode == 0, result.stderr
    name = 'actuator' if side == 'guest' else 'host'
    assert running.processes[name].poll() is None
    lines = [line for line in running.log(name).splitlines() if 'line' in line and ('drop' in line or 'bad' in line)]
    assert 1 <= len(lines) <= 4, lines


def test_flood_of_bad_lines_is_cut_off(running):
    running.wire.inject('host', b'garbage\n' * 500)
    wait_until(lambda: '100' in running.log('host'), 5, 'the host says so')
    assert len(running.log('host').splitlines()) < 40


def test_daemons_may_die(running):
    assert running.call('Plug', 'ts', 256 * MIB, 'test').returncode == 0
    running.kill('host')
    wait_until(lambda: not running.connected() or True, 1, 'a moment')
    running.start_host()
    wait_until(lambda: running.connected() and running.get('Size') == [str(256 * MIB)], 10, 'both agree')
    running.kill('actuator')
    running.start_actuator()
    wait_until(lambda: running.connected() and running.get('Size') == [str(256 * MIB)], 10, 'both agree')
    assert running.stop('host') == 0
    assert running.stop('actuator') == 0


def test_monitor_grows_when_memory_runs_short(running):
    running.start_monitor()
    wait_until(lambda: running.get('Level', at=MONITOR) == ['"normal"'], 10, 'the monitor is there')
    running.set_memory(960 * MIB, 100 * MIB)
    wait_until(lambda: running.qemu.size >= 256 * MIB, 10, 'memory is plugged')
    assert running.get('Level', at=MONITOR) == ['"critical"']
    explained = running.call('Explain', 'u', 3, at=MONITOR).stdout
    assert '"grow"' in explained and 'headroom' in explained
    running.set_memory(960 * MIB + running.qemu.size, 900 * MIB)
    wait_until(lambda: running.get('Level', at=MONITOR) != ['"critical"'], 10, 'it is over')
    wait_until(lambda: running.wire.messages('guest', 'stats')[-1]['level'] in ('normal', 'rising', 'settling'), 5,
               'the host is told')


def test_a_second_monitor_ends(running):
    running.start_monitor()
    wait_until(lambda: running.get('Level', at=MONITOR) == ['"normal"'], 10, 'the monitor is there')
    first = running.processes.pop('monitor')
    running.start_monitor()
    assert running.processes['monitor'].wait(15) == 75
    running.processes['monitor'] = first
    assert running.log('monitor').count('another vmtide-monitor is running on this machine') == 1
    assert 'a second monitor is not served' in running.log('actuator')
    assert first.poll() is None and running.get('Level', at=MONITOR) == ['"normal"']


def test_dry_run_asks_for_nothing(running):
    conf = running.folder / 'monitor.conf'
    conf.write_text('[Monitor]\nMode=dry-run\n', encoding='ascii')
    running.start_monitor(f'--config={conf}')
    wait_until(lambda: running.get('Mode', at=MONITOR) == ['"dry-run"'], 10, 'the monitor is there')
    running.set_memory(960 * MIB, 100 * MIB)
    wait_until(lambda: 'would grow' in running.log('monitor'), 10, 'it decides')
    assert running.qemu.requests() == []


@pytest.mark.parametrize('name, text, says', (
    ('monitor', '[Monitor]\nMode=auto\nMode=auto\n', ':3: [Monitor] Mode=auto: the key stands in this group twice'),
    ('monitor', '[Monitor]\nSpeed=9\n', ':2: [Monitor] Speed=9: the key is not known'),
    ('monitor', '[Monitor]\nMinSize=2G\nMaxSize=1G\n', 'MinSize=2G: above MaxSize=1G'),
    ('actuator', '[Actuator]\nPort=virtio-ports/x\n', ': [Actuator] Port=virtio-ports/x: auto, an absolute path'),
    ('actuator', '[Actuator]\nMaxSize=lots\n', ':2: [Actuator] MaxSize=lots: not a size'),
    ('actuator', '[Actuator]\nMinSize=2G\nMaxSize=1G\n', 'MinSize=2G: above MaxSize=1G'),
))
def test_bad_configuration_is_refused_whole(machine, name, text, says):
    conf = machine.folder / 'bad.conf'
    conf.write_text(text, encoding='ascii')
    getattr(machine, f'start_{name}')(f'--config={conf}')
    assert machine.processes.pop(name).wait(10) == 78
    assert says in machine.log(name)
