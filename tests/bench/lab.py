# SPDX-License-Identifier: MIT
"""What the benches in a guest have in common."""

import argparse
import contextlib
import re
import sys
import tempfile

from tests.vm.rig import overlay
from tests.vm.rig.paths import RigError, build_dir
from tests.vm.rig.qemu import Guest

CLIENT = '/usr/local/bin/vmplug'


def parser(name, text):
    result = argparse.ArgumentParser(prog=f'scripts/bench {name}', description=text)
    result.add_argument('--kernel', choices=('6.1', '6.12'), default='6.12', help='guest kernel (default %(default)s)')
    return result


@contextlib.contextmanager
def guest(name, kernel, host_arguments=()):
    """A guest that runs what was installed, with a host daemon that it has met."""
    client = (build_dir() / 'tests/vm/guest/vmplug').read_bytes()
    with tempfile.TemporaryDirectory(prefix='vmt-') as destdir:
        overlay.install_build(destdir)
        print(f'booting a guest with Linux {kernel} …', file=sys.stderr)
        with Guest(kernel=kernel, destdir=destdir, logs=build_dir() / 'vm-logs' / f'bench-{name}',
                   files={CLIENT: (client, 0o755)}) as running:
            running.wait_booted()
            running.start_host('--host-reserve', '256M', *host_arguments)
            wait_connected(running)
            yield running


def wait_connected(running):
    script = 'for i in $(seq 100); do busctl get-property org.vmtide.Actuator1 /org/vmtide/Actuator1 ' \
             'org.vmtide.Actuator1 HostConnected 2>/dev/null | grep -q true && exit 0; sleep 0.2; done; exit 1'
    if running.run(script, timeout=60).status != 0:
        raise RigError('the actuator never met the host; see the logs')


def median(values):
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share / 100))]


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
