# SPDX-License-Identifier: MIT
"""The channel over vsock, in a real guest with itself: its kernel's loopback (CID 1) stands for the way to the host. The
host's daemon runs there too, in its unit, before a scripted QEMU."""

import re
import time
from pathlib import Path

import pytest

from tests.matrix import malice
from tests.vm.rig import GIB, GUEST_UNITS, MIB, RigError, wait_until
from tests.vm.rig.paths import build_dir
from tests.vm.rig.silent_vsock import SilentVsock
from tests.vm.test_job import connected, properties, standing_size

KERNEL = '6.12'
PORT = 9810
PLAIN = 'setpriv --reuid=65534 --regid=65534 --clear-groups'
HOST = f'[Host]\nHostReserve=64M\nOverCommit=yes\nVsockPort={PORT}\n[VM guest]\nCID=1\nQMP=/run/peers/0.qmp\nDevice=vm0\nMaxSize=4G\n'
DROP_IN = (Path(__file__).resolve().parents[2] / 'systemd/vmtide-host-vsock.conf').read_text(encoding='ascii')
FILES = {'/etc/systemd/system/vmtide-host.service.d/vsock.conf': DROP_IN,
         '/etc/vmtide/host.conf': HOST, '/etc/vmtide/actuator.conf': f'[Actuator]\nPort=vsock:1:{PORT}\n'}
UNITS = ('vmtide-actuator.service', 'vmtide-monitor.service', 'vmtide-host.service')


def programs(*paths):
    return {f'/usr/bin/{Path(path).name}': ((build_dir() / path).read_bytes(), 0o755) for path in paths}


@pytest.fixture
def guest(kernel, installed, boot_guest):
    helpers = programs('tests/vm/guest/vmknock', 'tests/bench/peers/bench-peers')
    guest = boot_guest(kernel, destdir=installed, units=UNITS, files={**FILES, **helpers})
    guest.check('mkdir -p /run/peers && systemd-run -q --unit=peers bench-peers --folder /run/peers --vms 1 --rate 0 --seconds 3000')
    wait_until(lambda: guest.run('chmod 777 /run/peers/0.qmp').status == 0, 10, 'the scripted QEMU is there')
    wait_until(lambda: connected(guest), 30, f'the actuator meets the host: {logs(guest)}')
    return guest


def logs(guest):
    return guest.check('journalctl -o cat -u vmtide-host -u vmtide-actuator')[-3000:]


def wait_size(guest, size):
    try:
        wait_until(lambda: properties(guest, 'Size') == [str(size)], 10, 'it is granted')
    except RigError as error:
        raise RigError(f'{properties(guest, "Size", "RequestedSize", "HostConnected")}, not {size}: {logs(guest)}') from error


def knock(guest, times, prefix=PLAIN, cid=1):
    return guest.check(f'{prefix} vmknock {cid} {PORT} {times}', 120).strip()


@malice("a guest's plain user connects to the host over vsock (here its own loopback), in a row and 64 at a time without pause",
        "nobody hears it, and the guest's own requests are answered meanwhile", sample=True)
def test_the_channel_over_vsock(guest):
    wait_size(guest, standing_size(GIB))
    guest.check('vmtidectl pause && vmtidectl plug 128M', 30)
    wait_size(guest, 256 * MIB)
    assert properties(guest, 'HostMaxSize') == [str(GIB)]
    a_plain_user_is_not_let_in(guest)
    others_are_served_while_he_knocks(guest)
    size = others_are_served_while_he_waits_for_nobody(guest)
    the_host_comes_back(guest, size)
    root_that_comes_again_replaces_himself(guest, size)


def a_plain_user_is_not_let_in(guest):
    assert knock(guest, 5) == '0 of 5 answered'
    assert 'closed; root comes from 1 to 1023' in logs(guest)
    # Not even root does without a privileged port.
    assert knock(guest, 5, prefix='') == '0 of 5 answered'


def others_are_served_while_he_knocks(guest):
    flood = guest.start_command(f'exec {PLAIN} vmknock 1 {PORT} 3000')
    for size in (384, 512, 640):
        guest.check('vmtidectl plug 128M', 10)
        wait_size(guest, size * MIB)
    result = flood.wait(120)
    assert result.status == 0 and '0 of 3000 answered' in result.stdout
    assert connected(guest)


def slab(guest):
    """Bytes of the sockets of vsock."""
    objects, size = re.search(r'^AF_VSOCK +\d+ +(\d+) +(\d+)', guest.read('/proc/slabinfo'), re.M).groups()
    return int(objects) * int(size)


def others_are_served_while_he_waits_for_nobody(guest):
    """Each connection that is taken and closed stays in the kernel for a time, in a list that is searched for each
    packet: taken without a bound they hold up the guest's own, for longer than a plug waits (5 s). Taken with it, all
    sockets are some 2 MB."""
    flood = guest.start_command(f'exec {PLAIN} vmknock flood 1 {PORT} 20')
    first = size = 640
    largest = 0
    while flood.poll() is None:
        if size < 840:
            size += 8
            guest.check('vmtidectl plug 8M', 10)
            wait_size(guest, size * MIB)
        largest = max(largest, slab(guest))
        assert connected(guest)
    assert size > first + 8, 'the flood has ended before the second plug'
    assert int(flood.wait(60).stdout.split()[0]) > 5000
    assert largest < 8 * MIB
    return size * MIB


def the_host_comes_back(guest, size):
    guest.check('systemctl kill -s KILL vmtide-host')
    wait_until(lambda: not connected(guest), 10, 'the actuator has seen it')
    wait_until(lambda: connected(guest) and properties(guest, 'Size') == [str(size)], 30, 'they have met again')


def root_that_comes_again_replaces_himself(guest, size):
    guest.check('systemctl kill -s KILL vmtide-actuator')
    wait_until(lambda: connected(guest), 30, 'the new actuator meets the host')
    guest.check('vmtidectl plug 128M', 20)
    wait_size(guest, size + 128 * MIB)


LOOKS_SECONDS = 4  # the actuator looks every second


def restart_actuator(guest, port, text):
    """With another Port=; waits until the new one says TEXT."""
    guest.write('/etc/vmtide/actuator.conf', f'[Actuator]\nPort={port}\n')
    guest.check('systemctl restart vmtide-actuator')
    said = 'journalctl -o cat _SYSTEMD_INVOCATION_ID=$(systemctl show -P InvocationID vmtide-actuator)'
    wait_until(lambda: text in guest.check(said), 20, f'the actuator says "{text}"')


@malice("a guest's plain user listens over vsock where the host would", 'the actuator does not connect to it', sample=True)
def test_a_program_of_the_guest_is_no_host(kernel, installed, boot_guest):
    """Without a vsock device the kernel takes CID 2 for this machine as soon as its loopback is loaded, which a plain
    user's socket does."""
    guest = boot_guest(kernel, destdir=installed, units=GUEST_UNITS, files=programs('tests/vm/guest/vmknock'), channel=False)
    # The actuator has looked for its host, and has not loaded it in doing so.
    wait_until(lambda: 'auto: No such file or directory, looking again' in guest.check('journalctl -o cat -u vmtide-actuator'),
               20, 'it has looked')
    assert 'vsock' not in guest.check('lsmod')
    assert properties(guest, 'HostConnected') == ['false']
    spy = guest.start_command(f'exec {PLAIN} vmknock listen {PORT}')
    spy.wait_output('listening', 20)
    assert 'vsock_loopback' in guest.check('lsmod')
    assert knock(guest, 1, prefix='', cid=2) == '1 of 1 answered', 'CID 2 is not this machine: the test proves nothing'
    for port, text in (('auto', 'auto: No such file or directory, looking again'), ('vsock', 'vsock: No such device, looking again')):
        restart_actuator(guest, port, text)
        end = time.monotonic() + LOOKS_SECONDS
        while time.monotonic() < end:
            assert properties(guest, 'HostConnected') in (['false'], None)
    assert 'of root' not in spy.stdout()
    # Loopback in so many words is what the administrator wants, and is warned of.
    restart_actuator(guest, f'vsock:1:{PORT}', 'every program of this machine may listen there')
    spy.wait_output('of root', 20)


def test_a_host_that_does_not_answer_holds_up_nobody(installed, boot_guest, tmp_path):
    """With a device CID 2 is the host, whoever listens in the guest; and the actuator waits for it in its loop."""
    with SilentVsock(tmp_path / 'vsock', 7) as device:
        guest = boot_guest(KERNEL, destdir=installed, units=GUEST_UNITS, files=programs('tests/vm/guest/vmknock'),
                           channel=False, qemu_args=device.arguments())
        assert 'vmw_vsock_virtio_transport ' in guest.check('lsmod')
        guest.check('modprobe vsock_loopback')
        spy = guest.start_command(f'exec {PLAIN} vmknock listen {PORT}')
        spy.wait_output('listening', 20)
        assert knock(guest, 1) == '1 of 1 answered'
        restart_actuator(guest, 'auto', 'auto: Connection timed out, looking again')
        # Most of the time it is connecting: what it sleeps in is its loop and nothing else.
        places = guest.check('pid=$(systemctl show -P MainPID vmtide-actuator); for i in $(seq 200); do cat /proc/$pid/wchan; '
                             'echo; sleep 0.03; done', 180).split()
        assert 'ep_poll' in ' '.join(places) or 'do_epoll_wait' in ' '.join(places), places
        assert not [place for place in places if 'vsock' in place or 'poll_schedule' in place or 'do_sys_poll' in place], places
        assert properties(guest, 'HostConnected') == ['false']
        assert 'of root' not in spy.stdout()
