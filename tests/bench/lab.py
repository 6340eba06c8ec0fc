# SPDX-License-Identifier: MIT
"""What the benches in a guest have in common."""

import argparse
import contextlib
import math
import re
import sys
import tempfile
import time

from tests.vm.rig import image, overlay
from tests.vm.rig.paths import RigError, build_dir
from tests.vm.rig.qemu import MIB, Guest

FOLDER = '/usr/local/bin'
CLIENT = f'{FOLDER}/vmplug'
# A guest that compiles, with room on its disk.
COMPILER = ('gcc', 'libc6-dev', 'libsystemd-dev', 'libglib2.0-dev', 'libjansson-dev', 'libcmocka-dev')
DISK_SIZE = '24G'
HOST_RESERVE = '256M'
STANDING = 256 * MIB  # two memory blocks may stay plugged at all times


def parser(name, text):
    result = argparse.ArgumentParser(prog=f'scripts/bench {name}', description=text)
    result.add_argument('--kernel', choices=('6.1', '6.12'), default='6.12', help='guest kernel (default %(default)s)')
    return result


@contextlib.contextmanager
def installed():
    """The tree that `meson install` makes."""
    with tempfile.TemporaryDirectory(prefix='vmt-') as destdir:
        overlay.install_build(destdir)
        yield destdir


def tools(*names):
    """Programs of the build for the guest: what Guest takes as files."""
    return {f'{FOLDER}/{name}': ((build_dir() / 'tests/vm/guest' / name).read_bytes(), 0o755) for name in names}


def big_disk():
    """The image of the guests that compile and write much."""
    return image.image(COMPILER, DISK_SIZE)


@contextlib.contextmanager
def guest(name, kernel, host_arguments=()):
    """A guest that runs what was installed, with a host daemon that it has met."""
    with installed() as destdir:
        print(f'booting a guest with Linux {kernel} …', file=sys.stderr)
        with Guest(kernel=kernel, destdir=destdir, logs=log_folder(name), files=tools('vmplug')) as running:
            running.wait_booted()
            running.start_host('--host-reserve', HOST_RESERVE, *host_arguments)
            wait_connected(running)
            yield running


def log_folder(name):
    return build_dir() / 'vm-logs' / f'bench-{name}'


def wait_connected(running):
    script = 'for i in $(seq 100); do busctl get-property org.vmtide.Actuator1 /org/vmtide/Actuator1 ' \
             'org.vmtide.Actuator1 HostConnected 2>/dev/null | grep -q true && exit 0; sleep 0.2; done; exit 1'
    if running.run(script, timeout=60).status != 0:
        raise RigError('the actuator never met the host; see the logs')


def restarts_do_not_count(running):
    """More than ten starts in a minute are a fault to systemd, and a bench to us."""
    running.check('systemctl reset-failed vmtide-monitor vmtide-actuator')


def start_monitor(running):
    """After drain(monitor=False)."""
    restarts_do_not_count(running)
    running.check('systemctl start vmtide-monitor', timeout=60)
    wait_connected(running)


def wait_armed(running):
    """Until the guard's lines stand, as in a guest that has run for a while."""
    script = 'for i in $(seq 100); do busctl get-property org.vmtide.Actuator1 /org/vmtide/Actuator1 ' \
             'org.vmtide.Actuator1 GuardHeadroom | grep -qv " 0$" && exit 0; sleep 0.2; done; exit 1'
    if running.run(script, timeout=60).status != 0:
        raise RigError('the guard was never armed; see the logs')


def wait_settled(running, quiet=0.5, timeout=10):
    """Until the size has been the requested one for QUIET seconds; a device that never settles is left as it is."""
    deadline, since, last = time.monotonic() + timeout, time.monotonic(), None
    while time.monotonic() < min(deadline, since + quiet):
        sums = running.device_sums()
        if sums != last or sums[0] != sums[1]:
            since, last = time.monotonic(), sums
        time.sleep(0.05)


def drain(running, monitor=True, rest=STANDING, timeout=60, patience=10):
    """Takes the plugged memory away at once down to REST, so that the next case begins like the first; what something
    still holds after TIMEOUT, or when nothing has come for PATIENCE seconds, stays."""
    running.check('systemctl stop vmtide-monitor; sync; echo 3 >/proc/sys/vm/drop_caches', timeout=120)
    if (size := running.size()) > rest:
        running.request(rest)
    deadline, moved, last = time.monotonic() + timeout, time.monotonic(), size
    while (size := running.size()) > rest and time.monotonic() < min(deadline, moved + patience):
        if size != last:
            moved, last = time.monotonic(), size
        time.sleep(0.1)
    if size > rest:
        running.request(size)
    if monitor:
        start_monitor(running)


def wait_balloon(running, size, timeout=120):
    """Until the balloon leaves the guest size bytes."""
    deadline = time.monotonic() + timeout
    while (actual := running.qmp('query-balloon')['actual']) != size:
        if time.monotonic() > deadline:
            raise RigError(f'the balloon left {actual} bytes, not {size}, after {timeout} s')
        time.sleep(0.1)


def psi_total(running):
    """Stalled time so far in seconds: (some, full)."""
    text = running.read('/proc/pressure/memory')
    return tuple(int(n) / 1e6 for n in re.findall(r'total=(\d+)', text))


def vmstat(running):
    return {name: int(value) for name, value in
            (line.split() for line in running.read('/proc/vmstat').splitlines())}


def median(values):
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share / 100))]


def confidence(values, wanted=0.95):
    """A confidence interval of the median by order statistics, which assumes nothing of the distribution:
    (low, high, coverage). With few values it is the range of all, and covers what it covers."""
    ordered, count = sorted(values), len(values)
    tail, skip = 0.5 ** count, 0
    while skip + 1 < (count + 1) // 2 and 1 - 2 * (tail + math.comb(count, skip + 1) * 0.5 ** count) >= wanted:
        skip += 1
        tail += math.comb(count, skip) * 0.5 ** count
    return ordered[skip], ordered[count - 1 - skip], 1 - 2 * tail


def interval(values):
    """A median with its confidence interval, in words."""
    low, high, coverage = confidence(values)
    return f'{median(values):.3f} [{low:.3f}, {high:.3f}] ({coverage * 100:.0f} %, n = {len(values)})'


def main_pid(running, unit):
    return int(running.check(f'systemctl show --value -p MainPID {unit}').strip())


def switches(status_text):
    """How often a process has gone to sleep, which is how often it was woken."""
    return int(re.search(r'^voluntary_ctxt_switches:\s+(\d+)', status_text, re.M).group(1))


def run(main):
    try:
        sys.exit(main())
    except RigError as problem:
        print(f'bench: {problem}', file=sys.stderr)
        sys.exit(1)
