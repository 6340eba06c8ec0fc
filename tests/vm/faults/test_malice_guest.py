# SPDX-License-Identifier: MIT
"""A guest's root that opens and closes the channel's port without end, or touches memory of the device which was never
plugged. Its kernel keeps its driver away."""

import json
import time

from tests.bus.peers import cpu_seconds
from tests.matrix import malice
from tests.vm.rig import GIB, MIB, wait_until
from tests.vm.rig.speed import patience

from .relay import FROM_HOST

GUEST = {'append': 'iomem=relaxed modprobe.blacklist=virtio_mem', 'device': '2G', 'maximum': '2G'}
PORT = '/dev/virtio-ports/org.vmtide.0'
TOUCHED = 1536 * MIB  # three times what is let pass


SECONDS = 10
# Each time the host is told twice; now and then half a line is left behind.
KNOCK = r'''use Time::HiRes "time"; my $n = 0; my $end = time + %d;
while (time < $end) {
    open(my $f, "+<", "%s") or die "$n: $!";
    syswrite($f, "{\"op\":") if $n %% 1000 == 999;
    close($f);
    $n++;
}
print $n;'''


@malice('a guest\'s root opens and closes the port in a loop, as fast as it can',
        'the host\'s daemon does not spin, and the channel works when the actuator is back')
def test_opens_and_closes_without_end(stage):
    guest, pid = stage.guest, stage.daemon.pid
    guest.check('systemctl stop vmtide-monitor vmtide-actuator', 60)
    guest.write('/run/knock', KNOCK % (SECONDS, PORT))
    begun, cpu, said = time.monotonic(), cpu_seconds(pid), len(stage.daemon.text())
    times = int(guest.check('perl /run/knock', SECONDS + 60))
    took, used = time.monotonic() - begun, cpu_seconds(pid) - cpu
    assert times > 100 * SECONDS, times
    assert used < took / 10, (used, took, times)
    assert stage.daemon.pid == pid and len(stage.daemon.text()) - said < 4000
    guest.check('systemctl start vmtide-actuator vmtide-monitor', 60)
    stage.wait_connected()
    assert stage.host('State') == ['idle']
    guest.check('systemctl stop vmtide-monitor vmtide-actuator', 60)
    say(guest, op='hello', v=1, agent='root', boot_id='x', boot_size=GIB, memory_block_size=128 * MIB)
    assert ask(stage, 77, 2 * MIB)['op'] == 'granted' and guest.requested_size() == 2 * MIB
    assert ask(stage, 78, 0)['op'] == 'granted'
    guest.check('systemctl start vmtide-actuator vmtide-monitor', 60)
    stage.wait_connected()


def say(guest, **message):
    """Root itself on the channel, past the actuator."""
    guest.check(f'cat >{PORT}', stdin=json.dumps(message) + '\n')


def ask(stage, number, size):
    since = len(stage.channel.lines)
    say(stage.guest, op='resize', id=number, size=size, reason='malice')

    def answer():
        for direction, line in stage.channel.lines[since:]:
            if direction == FROM_HOST and line.strip():
                message = json.loads(line)
                if message.get('id') == number and message['op'] in ('granted', 'refused'):
                    return message
        return None
    return wait_until(answer, 20, 'the host answers')


@malice('a guest\'s root touches memory through /dev/mem that was never plugged',
        'QEMU holds it, the host says over-held and grants no growth until it is let go of')
def test_touches_what_was_not_plugged(stage):
    guest = stage.guest
    # QEMU itself has to be at the other end of its socket: it is looked up what it holds.
    guest.host.stop()
    guest.start_host('--host-reserve=64M', f'--bus={stage.bus_address}', maximum='2G', channel=stage.channel.path)
    stage.wait_connected()
    guest.check('systemctl stop vmtide-monitor vmtide-actuator', 60)
    say(guest, op='hello', v=1, agent='malice', boot_id='x', boot_size=64 * GIB, memory_block_size=128 * MIB)
    assert ask(stage, 1, 2 * MIB)['op'] == 'granted'
    before = guest.rss()
    device, = [entry['data'] for entry in guest.qmp('query-memory-devices')]
    toucher = guest.start_command(f'exec vmdevmem {device["memaddr"]} {TOUCHED}')
    toucher.wait_output('touched', patience(120))
    assert guest.size() == 0 and guest.rss() - before > TOUCHED - 64 * MIB
    wait_until(lambda: stage.host('State') == ['over-held'], 60, 'the host sees it')
    assert stage.host('Held')[0] > 3 * GIB // 2
    answer = ask(stage, 2, GIB)
    assert (answer['op'], answer['code']) == ('refused', 'limit') and 'QEMU holds' in answer['text']
    assert guest.requested_size() == 2 * MIB
    # What it has may go down.
    assert ask(stage, 3, 0)['op'] == 'granted'
    toucher.kill()
    toucher.wait(20)
