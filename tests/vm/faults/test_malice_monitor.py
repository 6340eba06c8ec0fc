# SPDX-License-Identifier: MIT
"""A monitor that was taken over, in a real guest: what it can do with its user, its socket and its unit."""

import json
import re
import time

import pytest

from tests.matrix import malice
from tests.vm.rig import GIB, MIB, wait_until
from tests.vm.rig.speed import patience

from .relay import TO_HOST
from .taken import taken

MAXIMUM = 2 * GIB
GUEST = {'maximum': '2G'}
ACTUATOR_UNIT = '/sys/fs/cgroup/vmtide.slice/vmtide-actuator.service'
MONITOR_UNIT = '/sys/fs/cgroup/vmtide.slice/vmtide-monitor.service'
MEMORY_MAX, TASKS_MAX = 64 * MIB, 8
SECONDS = 6
SLICES = ('user.slice', 'system.slice')
VMHOG = '/usr/local/bin/vmhog'
STAY = 128 * MIB    # what a monitor leaves available
BREATH = 16 * MIB   # what the guest's own processes may take meanwhile
LINE = 15  # seconds until the guard's lines are gone: 5 without a renewal, and a loaded machine


def goes_on(stage):
    """The job, from a small guest."""
    wait_until(lambda: stage.monitor('Mode') is not None, 60, 'the monitor is there again')
    stage.pause()
    stage.set_size(0)
    stage.resume()
    stage.goes_on()


def look(stage):
    """What the actuator holds: memory, open files, process."""
    guest, pid = stage.guest, stage.pid('actuator')
    return int(guest.read(f'{ACTUATOR_UNIT}/memory.current')), int(guest.check(f'ls /proc/{pid}/fd | wc -l')), pid


def others_are_answered(guest):
    """Root, on the bus and on the private socket."""
    guest.check('busctl --timeout=5 get-property org.vmtide.Actuator1 /org/vmtide/Actuator1 org.vmtide.Actuator1 Size', 20)
    times = [json.loads(line)['us'] for line in guest.check('vmplug property 10', 30).splitlines()]
    assert len(times) == 10 and max(times) < 2000000, times


def answers(text):
    """{member: {how: times}} of vmabuse's words."""
    told = {}
    for line in text.splitlines():
        member, how, *count = line.split()
        if member != 'done':
            told.setdefault(member, {})[how] = int(count[0])
    return told


@pytest.mark.parametrize('way', ('private', 'bus'))
@malice('a monitor that was taken over calls every method with every value over the {way} line, as fast as it can',
        'maximum and rate hold, others are answered, the actuator grows by nothing')
def test_every_method_with_every_value(stage, way):
    guest, kills = stage.guest, stage.guest.oom_kills()
    with taken(stage) as monitor:
        monitor.start(f'/usr/local/bin/vmabuse {way} 1').wait()  # what it uses once, it keeps
        before, since, begun = look(stage), len(stage.channel.lines), time.monotonic()
        monitor.start(f'/usr/local/bin/vmabuse {way} {SECONDS}')
        while not monitor.ended():
            others_are_answered(guest)
            assert guest.requested_size() <= MAXIMUM
        took = time.monotonic() - begun
        told = answers(monitor.said())
        after = look(stage)
        asked = [line for direction, line in stage.channel.lines[since:] if direction == TO_HOST and b'"resize"' in line]
    assert set(told) == {'Plug', 'Unplug', 'SetLimits', 'Reserve', 'ListReservations', 'OpenPressureTrigger', 'ArmGuard',
                         'Report', 'DeclineShrink', 'Reclaim', 'Fly'}
    assert all(sum(how.values()) >= 3 for how in told.values()), told
    for member in ('SetLimits', 'Reserve', 'DeclineShrink', 'Fly'):
        assert 'ok' not in told[member], told
    assert 'AccessDenied' in told['SetLimits'] or 'InteractiveAuthorizationRequired' in told['SetLimits']
    assert told['OpenPressureTrigger'].get('ok', 0) <= 4
    assert 0 < len(asked) <= 20 + 10 * took
    assert after[1:] == before[1:] and after[0] - before[0] < MIB, (before, after)
    assert guest.oom_kills() == kills
    goes_on(stage)


@malice('a monitor that was taken over unplugs what is in use', 'it is refused before anything is killed')
def test_unplugs_what_is_in_use(stage):
    guest, kills = stage.guest, stage.guest.oom_kills()
    stage.pause()
    stage.set_size(0)
    with taken(stage) as monitor:
        # What an administrator plugs nobody else takes away for a time.
        monitor.start(f'/usr/local/bin/vmplug plug {GIB}').wait()
        bytes_ = guest.meminfo()['MemAvailable'] - 600 * MIB
        hog = guest.start_command(f'exec vmhog --bytes {bytes_} --hold 1000', slice_name='user.slice')
        hog.wait_output('touched', patience(120))
        said = []
        for size in (512 * MIB, *[256 * MIB] * 4):
            said.append(monitor.start(f'/usr/local/bin/vmplug unplug {size}').wait())
            guest.wait_size(lambda size: size == guest.requested_size(), 60)
        assert guest.size() < GIB, 'what is spare may go'
        # 600 MiB were available: two of these at most, and then no.
        refused = ['org.vmtide.Error.BelowMinimum' in text and '128M stay' in text for text in said]
        assert 'granted_us' in said[0] or 'granted_us' in said[1], said
        assert all(refused[3:]), said
        assert all(no != ('granted_us' in text) for no, text in zip(refused, said)), said
        assert hog.poll() is None and guest.oom_kills() == kills
        assert guest.meminfo()['MemAvailable'] > STAY - BREATH
        hog.kill()
        hog.wait(20)
    goes_on(stage)


def lines(guest):
    return [name for name in SLICES if guest.read(f'/sys/fs/cgroup/{name}/memory.high').strip() != 'max']


@malice('a monitor that was taken over arms the guard with sizes beyond sense', 'they are refused, no line stands')
def test_guard_beyond_sense(stage):
    guest = stage.guest
    with taken(stage) as monitor:
        wait_until(lambda: lines(guest) == [], LINE, 'the monitor has left')
        for headroom in (2**64 - 1, 2**63, guest.meminfo()['MemTotal'] * 6 // 10):
            said = monitor.start(f'/usr/local/bin/vmplug arm {headroom}').wait()
            assert 'armed' not in said and lines(guest) == []


@malice('a monitor that was taken over arms the guard and hangs', 'the lines are gone after 5 s')
def test_guard_never_renewed(stage):
    guest = stage.guest
    with taken(stage) as monitor:
        monitor.start(f'/usr/local/bin/vmplug arm {256 * MIB}').wait_said('armed')
        wait_until(lambda: lines(guest) != [], 10, 'the lines stand')
        guest.check('systemctl kill -s STOP vmtide-monitor')
        wait_until(lambda: lines(guest) == [], LINE, 'nobody renews them')
        monitor.kill()


@malice('a monitor that was taken over keeps the largest guard armed for ever, and plugs nothing for who waits at it',
        'half of the memory can be used, and the guard is off after 20 s: commands of root end')
def test_guard_renewed_for_ever(stage):
    guest, kills = stage.guest, stage.guest.oom_kills()
    stage.pause()
    stage.set_size(GIB)
    with taken(stage) as monitor:
        wait_until(lambda: lines(guest) == [], LINE, 'the monitor has left')
        total, free = guest.meminfo()['MemTotal'], guest.meminfo()['MemFree']
        monitor.start(f'/usr/local/bin/vmplug arm {total // 2 - MIB}').wait_said('armed')
        wait_until(lambda: len(lines(guest)) == 2, 10, 'the lines stand')
        hog = guest.start_command(f'exec vmhog --threads 2 --bytes {free - 384 * MIB} --hold 1000', slice_name='user.slice')
        wait_until(lambda: guest.meminfo()['MemFree'] < total // 2, patience(60), 'it comes to the line')
        # Without the guard's end it would take minutes.
        guest.check(f'systemd-run --quiet --wait --collect --slice=system.slice {VMHOG} --bytes 96M --hold 0', 60)
        hog.wait_output('touched', patience(60))
        assert lines(guest) == [] and guest.oom_kills() == kills
        assert 'a line was held for 20 s' in guest.check('journalctl -b -o cat -u vmtide-actuator')
        # It goes on being renewed, and stays off; what a monitor plugs arms it again.
        guest.check('journalctl --sync; sleep 3')
        assert lines(guest) == []
        hog.kill()
        hog.wait(20)
        guest.check(f'vmplug plug {256 * MIB}', 60)
        wait_until(lambda: len(lines(guest)) == 2, 10, 'armed again')
        monitor.kill()
        wait_until(lambda: lines(guest) == [], LINE, 'they go with it')
    goes_on(stage)


@malice('the monitor\'s user, in no sandbox, sends a message of 100 MB over the private line',
        'it is hung up on, the actuator lives and is none the larger', sample=True)
def test_huge_message(stage):
    with taken(stage):
        wait_until(lambda: lines(stage.guest) == [], LINE, 'the monitor has left')
        before = look(stage)
        as_monitor = 'setpriv --reuid=vmtide --regid=vmtide --clear-groups'
        assert stage.guest.check(f'{as_monitor} vmabuse huge {100 * 1000 * 1000}', 60).split() == ['gone']
        others_are_answered(stage.guest)
        after = look(stage)
    assert after[2] == before[2] and after[1] <= before[1] and after[0] - before[0] < MIB, (before, after)
    goes_on(stage)


LOOK = r'''#!/bin/sh
# Says what is within reach: one "KIND WHAT" a line. "may" is what has to be, or the rest of its kind shows nothing.
(: >/tmp/taken) && echo "may write"
timeout 1 head -c 1 /etc/os-release >/dev/null && echo "may read"
[ "$(stat -c %u /proc/$$)" = "$(id -u)" ] && echo "may see itself"
busctl --timeout=10 call org.freedesktop.DBus /org/freedesktop/DBus org.freedesktop.DBus GetId >/dev/null && echo "may call"
for f in / /etc /usr /boot /var /var/lib/vmtide /var/lib/vmtide-host /run/vmtide-host /var/log /home /root /run /run/vmtide /run/systemd /sys/fs/cgroup \
    /sys/fs/cgroup/user.slice /proc/sys/vm /opt /srv; do
    (: >"$f/taken") 2>/dev/null && echo "wrote $f"
done
for f in /etc/passwd /etc/vmtide/actuator.conf /sys/fs/cgroup/user.slice/memory.high /sys/fs/cgroup/memory.reclaim \
    /proc/sys/vm/drop_caches /proc/sys/kernel/core_pattern /sys/devices/system/memory/auto_online_blocks \
    /proc/sysrq-trigger /dev/kmsg /dev/mem /dev/vda /dev/hvc0 /dev/ttyS0 /dev/vport*p* /dev/virtio-ports/*; do
    (: >>"$f") 2>/dev/null && echo "wrote $f"
    timeout 1 head -c 1 "$f" >/dev/null 2>&1 && case $f in /dev/*) echo "read $f" ;; esac
done
for f in /etc/shadow /var/log/journal/*/*.journal /root /home /proc/1/environ /proc/kcore /proc/kmsg; do
    ls "$f"/ >/dev/null 2>&1 && [ "$(ls -A "$f"/)" ] && echo "read $f"
    timeout 1 head -c 1 "$f" >/dev/null 2>&1 && echo "read $f"
done
for f in /dev/* /dev/*/*; do
    [ -b "$f" ] && echo "device $f"
done
for p in /proc/[0-9]*; do
    [ "$(stat -c %u "$p" 2>/dev/null)" = "$(id -u)" ] || { [ -e "$p" ] && echo "process $p"; }
done
for i in /sys/class/net/*; do [ "${i##*/}" = lo ] || echo "net ${i##*/}"; done
perl -MSocket -MErrno -e '
$| = 1;
socket(my $u, 1, SOCK_STREAM, 0) and print "may socket\n";
kill(0, $$) and print "may signal\n";
socket(my $s, $_->[1], $_->[2], 0) and print "socket $_->[0]\n"
    for ["inet", 2, SOCK_STREAM], ["inet6", 10, SOCK_STREAM], ["netlink", 16, SOCK_RAW], ["packet", 17, SOCK_RAW], ["vsock", 40, SOCK_STREAM];
for my $pid (@ARGV) {
    print "$pid is not there\n" unless -d "/proc/$pid" or kill(0, $pid) or $!{EPERM};
    kill(0, $pid) and print "signal $pid\n";
    syscall(101, 0x4206, $pid, 0, 0) != -1 and print "ptrace $pid\n";
}
syscall(105, 0) != -1 and print "setuid\n";
syscall(165, 0, 0, 0, 0, 0) != -1 and print "mount\n";
syscall(155, 0, 0) == -1 and $!{EPERM} or print "pivot_root\n";
syscall(175, 0, 0, 0) == -1 and $!{EPERM} or print "module\n";
syscall(246, 0, 0, 0, 0) == -1 and $!{EPERM} or print "kexec\n";
syscall(321, 0, 0, 0) == -1 and $!{EPERM} or print "bpf\n";
syscall(9, 0, 4096, 7, 0x22, -1, 0) != -1 and print "code\n";
syscall(39) == $$ and print "may ask the kernel\n";
syscall(272, 0x10000000) != -1 and print "unshare\n";
' "$(cat /run/other.pid)"
[ "$1" = no-bus ] || for call in "org.freedesktop.systemd1 /org/freedesktop/systemd1 org.freedesktop.systemd1.Manager StopUnit ss vmtide-actuator.service replace" \
    "org.freedesktop.systemd1 /org/freedesktop/systemd1 org.freedesktop.systemd1.Manager PowerOff" \
    "org.freedesktop.systemd1 /org/freedesktop/systemd1 org.freedesktop.systemd1.Manager Reload" \
    "org.freedesktop.login1 /org/freedesktop/login1 org.freedesktop.login1.Manager Reboot b false" \
    "org.freedesktop.DBus /org/freedesktop/DBus org.freedesktop.DBus RequestName su org.vmtide.Actuator1 4" \
    "org.vmtide.Actuator1 /org/vmtide/Actuator1 org.vmtide.Actuator1 SetLimits ttb 0 0 true"; do
    how=$(busctl --timeout=10 call $call 2>&1 >/dev/null) && echo "called $call"
    case $how in
        *denied*|*"nteractive authentication required"*|*"not allowed"*) ;;
        *) echo "not denied: $call: $how" ;;
    esac
done
echo looked
'''


MAY = ['may write', 'may read', 'may see itself', 'may call', 'may socket', 'may signal', 'may ask the kernel']


def put_look(stage, other):
    """OTHER: a daemon whose process is not to be reached."""
    stage.guest.write('/usr/local/bin/look', LOOK, '755')
    stage.guest.check(f'echo {stage.pid(other)} >/run/other.pid; chmod 644 /run/other.pid; touch /root/x /home/x')


def look_outside(guest):
    """The same words where there is no sandbox."""
    seen = guest.check('/usr/local/bin/look no-bus 2>&1; rm -f /taken /*/taken /tmp/taken', 180).splitlines()
    for wanted in (*MAY, 'wrote /etc', 'wrote /sys/fs/cgroup/user.slice/memory.high', 'wrote /proc/sys/vm/drop_caches', 'read /etc/shadow',
                   'read /root', 'read /home', 'device /dev/vda', 'read /dev/vda', 'socket inet', 'socket packet', 'setuid', 'pivot_root',
                   'module', 'unshare', 'code'):
        assert wanted in seen, (wanted, seen)
    assert any(line.startswith('process ') for line in seen) and any(line.startswith('signal ') for line in seen)
    assert any(line.startswith('ptrace ') for line in seen)


@malice('a monitor that was taken over looks around: files, devices, processes, the network, the bus',
        'nothing to write, read, signal, trace or call', sample=True)
def test_the_sandbox_from_inside(stage):
    put_look(stage, 'actuator')
    with taken(stage) as monitor:
        assert monitor.start('/usr/local/bin/look').wait().splitlines() == [*MAY, 'looked']
    look_outside(stage.guest)
    goes_on(stage)


# What the actuator is there for.
ITS_OWN = ('wrote /var/lib/vmtide', 'wrote /run/vmtide', 'wrote /sys/fs/cgroup/user.slice/memory.high', 'wrote /sys/fs/cgroup/memory.reclaim',
           'wrote /sys/devices/system/memory/auto_online_blocks', 'wrote /dev/virtio-ports/org.vmtide.0', 'socket vsock')
# What root has by its name alone: its files, who is there, and the monitor, of whose user namespace it is the owner.
BY_NAME = r'wrote /run(/systemd)?|read /etc/shadow|read /var/log/journal/.*|(device|process) .*|signal \d+|(wrote|read) /dev/(vport|virtio-ports/).*'


@malice('an actuator that was taken over looks around: files, devices, processes, the network',
        'no network but vsock, no home, no device but virtio-serial ports, no code to load, nobody to trace, of the kernel\'s but memory blocks and cgroups to write')
def test_the_actuators_sandbox_from_inside(stage):
    put_look(stage, 'monitor')
    with taken(stage, 'actuator') as actuator:
        seen = actuator.start('/usr/local/bin/look no-bus').wait(120).splitlines()
        # Over the bus it is root: what its unit does not keep it from.
        actuator.start('/usr/bin/busctl call org.freedesktop.systemd1 /org/freedesktop/systemd1 '
                       'org.freedesktop.systemd1.Manager ResetFailed').wait()
        assert actuator.show('Result') == 'success'
    stage.guest.check('rm -f /var/lib/vmtide/taken /run/taken /run/*/taken')
    for wanted in (*MAY, *ITS_OWN, 'looked'):
        assert wanted in seen, (wanted, seen)
    more = [line for line in seen if line not in (*MAY, *ITS_OWN, 'looked') and not re.fullmatch(BY_NAME, line)]
    assert more == [], more
    look_outside(stage.guest)
    goes_on(stage)


# The unit starts only with a VM in the configuration; this one does not exist.
HOST_CONF = '[Host]\nHostReserve=256M\n[VM none]\nChannel=/run/none/channel\nQMP=/run/none/qmp\nDevice=vm0\n'
HOSTS_OWN = ('wrote /var/lib/vmtide-host', 'wrote /run/vmtide-host')


@malice('a compromised host daemon looks around: files, devices, processes, the network, the bus',
        'the unit denies network, homes and devices; it can write its own state only, and see that other processes exist')
def test_the_host_daemons_sandbox_from_inside(stage):
    """Runs the unit of the host in a guest, with the same unit file and systemd."""
    put_look(stage, 'monitor')
    stage.guest.write('/etc/vmtide/host.conf', HOST_CONF)
    try:
        with taken(stage, 'host') as daemon:
            seen = daemon.start('/usr/local/bin/look').wait(120).splitlines()
            # Without the configuration systemd does not start the unit again.
            stage.guest.check('rm -f /etc/vmtide/host.conf /var/lib/vmtide-host/taken')
    finally:
        stage.guest.check('rm -f /etc/vmtide/host.conf; systemctl stop vmtide-host')
    for wanted in (*MAY, *HOSTS_OWN, 'looked'):
        assert wanted in seen, (wanted, seen)
    # The daemon reads QEMU's folder in /proc, so it must see other processes.
    assert any(line.startswith('process ') for line in seen), seen
    more = [line for line in seen if line not in (*MAY, *HOSTS_OWN, 'looked') and not line.startswith('process ')]
    assert more == [], more
    look_outside(stage.guest)
    goes_on(stage)


MULTIPLY = '''#!/usr/bin/perl
$| = 1;
for ($n = 0; $n < 100; $n++) {
    last unless defined($p = fork);
    sleep(1000), exit unless $p;
}
print "made $n\\n";
sleep(1000);
'''


@malice('a monitor that was taken over takes memory and makes processes without end', 'it is bounded, and it alone is killed')
def test_eats_no_memory(stage):
    guest, kills, actuator = stage.guest, stage.guest.oom_kills(), stage.pid('actuator')
    with taken(stage) as monitor:
        # Slowly, so that it can be looked at.
        monitor.start('/usr/local/bin/vmhog --bytes 600M --rate 16M --hold 1000')
        assert int(guest.read(f'{MONITOR_UNIT}/memory.max')) == MEMORY_MAX
        peaks = []
        while not monitor.ended():
            peak = guest.run(f'cat {MONITOR_UNIT}/memory.peak', 10)  # it goes with the unit
            if peak.status == 0:
                peaks.append(int(peak.stdout))
        assert MEMORY_MAX // 2 < max(peaks) <= MEMORY_MAX, peaks
        assert 'touched' not in monitor.said() and monitor.show('Result') == 'oom-kill'
        assert guest.oom_kills() == kills + 1 and stage.pid('actuator') == actuator
        others_are_answered(guest)
        guest.write('/usr/local/bin/multiply', MULTIPLY, '755')
        monitor.start('/usr/local/bin/multiply').wait_said('made')
        assert int(monitor.said().split()[1]) < TASKS_MAX == int(guest.read(f'{MONITOR_UNIT}/pids.max'))
    assert guest.oom_kills() == kills + 1 and stage.pid('actuator') == actuator
    goes_on(stage)
