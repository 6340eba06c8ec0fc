# SPDX-License-Identifier: MIT
"""The kernel settings and the memory block for a kernel zone, on a made-up /proc and /sys."""

import itertools
import signal
import subprocess

import pytest

from .actuator_stage import bare_stage, CONFIG, get, plug, refusal, stage
from .conftest import BUILD, NOBODY
from .peers import GIB, MIB, wait_until

DEFAULT_RATIOS = [256, 256, 32, 0, 0]
# For the 132 MiB that a guest of 1 GiB with 1 of 4 GiB plugged is to keep, with 256 MiB in Movable.
RATIOS = [256, 2, 32, 0, 0]
BLOCK = 128 * MIB
ZONE = '''Node 0, zone {name:>8}
  pages free     {free}
        min      {mark}
        low      {mark}
        managed  {managed}
        protection: (0, 0, 0, 0, 0)
'''


class Kernel:
    """vm.* and zoneinfo of the stage's /proc: a guest of 1 GiB, whose kernel zones have so much room."""

    def __init__(self, stage, overcommit=0, movable=256 * MIB, room=600 * MIB):
        self.proc = stage.folder / 'proc'
        self.saved = stage.folder / 'kernel'
        self.policy = stage.folder / 'sys/devices/system/memory/auto_online_blocks'
        (self.proc / 'sys/vm').mkdir(parents=True, exist_ok=True)
        self.put('overcommit_memory', overcommit)
        self.put('lowmem_reserve_ratio', *DEFAULT_RATIOS)
        self.set_zones(movable, room)

    def put(self, name, *numbers):
        (self.proc / 'sys/vm' / name).write_text('\t'.join(map(str, numbers)) + '\n', encoding='ascii')

    def read(self, name):
        # A sysctl is written whole; what an earlier text leaves behind in a file is on a line of its own.
        text = (self.proc / 'sys/vm' / name).read_text(encoding='ascii')
        return [int(number) for number in text.partition('\n')[0].split()]

    @property
    def overcommit(self):
        return self.read('overcommit_memory')[0]

    @property
    def ratios(self):
        return self.read('lowmem_reserve_ratio')

    def set_zones(self, movable, room, normal=0):
        zones = (('DMA', 15 * MIB, 0), ('DMA32', 888 * MIB, room), ('Normal', normal, normal // 2),
                 ('Movable', movable, movable // 2), ('Device', 0, 0))
        text = ''.join(ZONE.format(name=name, managed=size // 4096, free=free // 4096, mark=0) for name, size, free in zones)
        path = self.proc / 'zoneinfo'
        # In place: the actuator keeps it open. One write, so that it never reads half of it.
        with open(path, 'r+b' if path.exists() else 'wb', buffering=0) as file:
            file.write(text.ljust(2000).encode('ascii'))

    def wait(self, overcommit, ratios, what):
        wait_until(lambda: (self.overcommit, self.ratios) == (overcommit, ratios), 5, what)


def changed(stage, **state):
    """Connected, with both settings changed."""
    kernel = Kernel(stage, **state)
    stage.run()
    client = stage.up()
    kernel.wait(1, RATIOS, 'both are set')
    return kernel, client


def disarm(stage):
    return subprocess.run([BUILD / 'actuator/vmtide-actuator', '--disarm', f'--procfs={stage.folder}/proc',
                           f'--kernel-state={stage.folder}/kernel', f'--guard-state={stage.folder}/guard',
                           f'--cgroupfs={stage.folder}/cgroup'], capture_output=True, text=True, timeout=10, check=False)


def test_set_with_the_host_and_restored_at_the_end(bare_stage):
    kernel = Kernel(bare_stage)
    bare_stage.run()
    assert (kernel.overcommit, kernel.ratios) == (0, DEFAULT_RATIOS)
    bare_stage.up()
    kernel.wait(1, RATIOS, 'both are set')
    assert kernel.saved.exists()
    assert bare_stage.stop('actuator') == 0
    assert (kernel.overcommit, kernel.ratios) == (0, DEFAULT_RATIOS)
    assert not kernel.saved.exists()
    log = bare_stage.log('actuator')
    assert 'vm.overcommit_memory set to 1 (was 0): size 1G may grow to 4G' in log
    assert 'vm.overcommit_memory restored to 0: the actuator ends' in log
    assert 'vm.lowmem_reserve_ratio set to 256 2 32 0 0: 13' in log


def test_the_settings_end_at_max_size_and_without_a_host(bare_stage):
    kernel, _client = changed(bare_stage)
    host = bare_stage.host
    host.say('size', size=4 * GIB, requested_size=4 * GIB)
    wait_until(lambda: kernel.overcommit == 0, 5, 'at max size it is restored')
    kernel.wait(0, DEFAULT_RATIOS, 'and the reserve is given up, since no line holds anybody')
    host.say('size', size=3 * GIB, requested_size=3 * GIB)
    wait_until(lambda: kernel.overcommit == 1, 5, 'below it is set')
    host.drop()
    kernel.wait(0, DEFAULT_RATIOS, 'without a host both are restored')


def test_the_reserve_is_given_up_while_the_host_refuses(bare_stage):
    kernel, _client = changed(bare_stage)
    monitor = bare_stage.client(uid=NOBODY, private=True)
    serial = plug(monitor, 256 * MIB)
    request = bare_stage.host.expect('resize')
    bare_stage.host.say('refused', id=request['id'], code='host-memory', text='there is none', max_size=4 * GIB)
    refusal(monitor, serial)
    kernel.wait(1, DEFAULT_RATIOS, 'no memory can come')
    bare_stage.host.say('room')
    kernel.wait(1, RATIOS, 'the host has room again')


def test_ratios_follow_movable_memory_between_messages(bare_stage):
    kernel, _client = changed(bare_stage)
    host = bare_stage.host
    host.say('size', size=GIB, requested_size=2 * GIB)
    kernel.set_zones(2048 * MIB, 600 * MIB)
    wait_until(lambda: kernel.ratios[1] in range(14, 18), 5, 'a higher ratio does')
    kernel.set_zones(0, 600 * MIB)
    host.say('size', size=256 * MIB, requested_size=256 * MIB)
    wait_until(lambda: kernel.ratios == DEFAULT_RATIOS, 5, 'nothing is in Movable')


@pytest.mark.parametrize('mode', (1, 2))
def test_the_administrators_mode_stays(bare_stage, mode):
    kernel = Kernel(bare_stage, overcommit=mode)
    bare_stage.run()
    bare_stage.up()
    kernel.wait(mode, RATIOS, 'the ratios are set')
    assert bare_stage.stop('actuator') == 0
    assert (kernel.overcommit, kernel.ratios) == (mode, DEFAULT_RATIOS)


def test_the_administrators_change_stays(bare_stage):
    kernel, _client = changed(bare_stage)
    kernel.put('overcommit_memory', 0)
    kernel.put('lowmem_reserve_ratio', 64, 64, 32, 0, 0)
    sizes = itertools.cycle((2 * GIB, 2 * GIB + 128 * MIB))

    def is_noticed():
        """The file is read again when the sizes move, but at most once a second."""
        size = next(sizes)
        bare_stage.host.say('size', size=size, requested_size=size)
        return bare_stage.says('changed to') == 2

    wait_until(is_noticed, 5, 'it is logged')
    bare_stage.host.say('size', size=GIB, requested_size=GIB)
    wait_until(lambda: not kernel.saved.exists(), 5, 'nothing is to be restored')
    assert bare_stage.stop('actuator') == 0
    assert (kernel.overcommit, kernel.ratios) == (0, [64, 64, 32, 0, 0])
    assert bare_stage.says('changed to') == 2


def test_a_change_just_before_the_end_stays(bare_stage):
    kernel, _client = changed(bare_stage)
    kernel.put('overcommit_memory', 2)
    assert bare_stage.stop('actuator') == 0
    assert (kernel.overcommit, kernel.ratios) == (2, DEFAULT_RATIOS)


def test_killed(bare_stage):
    kernel, _client = changed(bare_stage)
    bare_stage.kill('actuator')
    assert (kernel.overcommit, kernel.ratios) == (1, RATIOS)
    result = disarm(bare_stage)
    assert result.returncode == 0 and 'vm.overcommit_memory restored to 0' in result.stderr, result
    assert (kernel.overcommit, kernel.ratios) == (0, DEFAULT_RATIOS)
    assert not kernel.saved.exists()
    result = disarm(bare_stage)
    assert (result.returncode, result.stderr) == (0, '')


def test_killed_and_started_again(bare_stage):
    kernel, _client = changed(bare_stage)
    bare_stage.kill('actuator')
    bare_stage.host.drop()
    bare_stage.run()
    wait_until(lambda: (kernel.overcommit, kernel.ratios) == (0, DEFAULT_RATIOS), 5, 'what was left is restored')
    bare_stage.up()
    kernel.wait(1, RATIOS, 'and set again')
    assert bare_stage.stop('actuator') == 0
    assert (kernel.overcommit, kernel.ratios) == (0, DEFAULT_RATIOS)


def test_reload(bare_stage):
    kernel, _client = changed(bare_stage)

    def reload(config):
        (bare_stage.folder / 'actuator.conf').write_text(config, encoding='ascii')
        bare_stage.processes['actuator'].send_signal(signal.SIGHUP)
    reload(CONFIG + 'Overcommit=keep\n')
    kernel.wait(0, RATIOS, 'overcommit is restored')
    reload(CONFIG + 'Overcommit=keep\nKernelReserve=no\n')
    kernel.wait(0, DEFAULT_RATIOS, 'the ratios are restored')
    assert not kernel.saved.exists()
    reload(CONFIG)
    kernel.wait(1, RATIOS, 'both are set again')


def test_no_write_is_no_fault(bare_stage):
    kernel = Kernel(bare_stage)
    kernel.saved.mkdir()  # so that nothing can be remembered
    bare_stage.run()
    client = bare_stage.up()
    wait_until(lambda: bare_stage.says('cannot be changed') == 2, 5, 'it is logged')
    bare_stage.host.say('size', size=2 * GIB, requested_size=2 * GIB)
    wait_until(lambda: get(client, 'Size') == 2 * GIB, 5, 'it goes on')
    assert bare_stage.says('cannot be changed') == 2
    assert (kernel.overcommit, kernel.ratios) == (0, DEFAULT_RATIOS)
    kernel.saved.rmdir()


# The memory block for a kernel zone


def short(stage, config=CONFIG, **numbers):
    """Connected, with little room in the kernel zones, and a client that is the monitor."""
    kernel = Kernel(stage, room=40 * MIB)
    stage.run(config)
    stage.up(**{'max_size': 3 * GIB, **numbers})
    wait_until(lambda: policy(kernel) == 'online_movable' or 'keep' in config, 5, 'there is a policy')
    return kernel, stage.client(uid=NOBODY, private=True)


def policy(kernel):
    # A file does not end where the last text that was written ends.
    text = kernel.policy.read_text(encoding='ascii')
    return next(word for word in ('online_movable', 'online_kernel', 'online', 'offline') if text.startswith(word))


def test_a_block_for_a_kernel_zone(bare_stage):
    kernel, monitor = short(bare_stage, size=GIB, requested_size=GIB)
    serial = plug(monitor, GIB)
    second = plug(monitor, GIB)
    request = bare_stage.host.expect('resize')
    assert request['size'] == GIB + BLOCK
    assert policy(kernel) == 'online_kernel'
    bare_stage.host.say('granted', id=request['id'], requested_size=request['size'])
    assert monitor.reply(serial) == (GIB + BLOCK,)
    # The second one waits for the block, which the kernel shows before the host does.
    assert bare_stage.host.line(0.1) is None
    kernel.set_zones(256 * MIB, 300 * MIB, normal=BLOCK)
    request = bare_stage.host.expect('resize')
    assert request['size'] == 2 * GIB + BLOCK
    assert policy(kernel) != 'online_kernel'
    bare_stage.host.say('granted', id=request['id'], requested_size=request['size'])
    assert monitor.reply(second) == (2 * GIB + BLOCK,)
    log = bare_stage.log('actuator')
    assert 'the kernel zones have 40M room' in log and 'memory block for a kernel zone: online' in log


def test_a_block_that_does_not_come(bare_stage):
    kernel, monitor = short(bare_stage)
    plug(monitor, GIB)
    request = bare_stage.host.grant()
    assert request['size'] == GIB + BLOCK and policy(kernel) == 'online_kernel'
    wait_until(lambda: policy(kernel) != 'online_kernel', 5, 'the policy is put back')
    assert 'not online in time' in bare_stage.log('actuator')


@pytest.mark.parametrize('end', ('refused', 'lost', 'silent', 'stopped'))
def test_the_policy_is_put_back(bare_stage, end):
    kernel, monitor = short(bare_stage)
    plug(monitor, GIB)
    request = bare_stage.host.expect('resize')
    assert policy(kernel) == 'online_kernel'
    if end == 'refused':
        bare_stage.host.say('refused', id=request['id'], code='busy', text='later', max_size=4 * GIB)
    elif end == 'lost':
        bare_stage.host.drop()
    elif end == 'stopped':
        assert bare_stage.stop('actuator') == 0
    wait_until(lambda: policy(kernel) != 'online_kernel', 5, 'the policy is put back')


def test_a_part_of_a_memory_block_is_filled_first(bare_stage):
    _kernel, monitor = short(bare_stage, size=GIB + 2 * MIB, requested_size=GIB + 2 * MIB)
    plug(monitor, GIB)
    assert bare_stage.host.expect('resize')['size'] == GIB + 2 * BLOCK


def test_others_get_what_they_ask_for(bare_stage):
    kernel, _monitor = short(bare_stage)
    plug(bare_stage.client(private=True), GIB)
    assert bare_stage.host.grant()['size'] == 2 * GIB
    assert policy(kernel) != 'online_kernel'


@pytest.mark.parametrize('line', ('Onlining=keep', 'KernelReserve=no'))
def test_no_block_when_configured_so(bare_stage, line):
    kernel, monitor = short(bare_stage, CONFIG + line + '\n')
    plug(monitor, GIB)
    assert bare_stage.host.grant()['size'] == 2 * GIB
    assert policy(kernel) != 'online_kernel'


def test_no_block_while_there_is_room(bare_stage):
    kernel, monitor = short(bare_stage)
    kernel.set_zones(256 * MIB, 200 * MIB)
    plug(monitor, GIB)
    assert bare_stage.host.grant()['size'] == 2 * GIB
    assert policy(kernel) != 'online_kernel'
