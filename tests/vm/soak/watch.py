# SPDX-License-Identifier: MIT
"""What must not grow: memory, descriptors and processes; and what the logs say that nothing explains."""

import re
import subprocess
import urllib.request

from tests.vm.faults.stage import DAEMONS
from tests.vm.rig import MIB

# A life that is flat grows by no more than this beside the first reading of a life like it: malloc's arenas, and pages
# that are touched once.
RSS_SLACK = 2 * MIB
ON_DEMAND = ('polkitd', 'systemd-hostnam', 'systemd-timedat')
# Lines at warning or above that faults of acts.py bring about, whoever says them.
EXPLAINED = (
    r'host: gone \(', r'host: .*looking again every', r'host: (line dropped|did not understand|more than \d+ bad lines)',
    r'actuator: .*trying again every', r'actuator: (no connection|no properties|private socket)',
    r'(plug|unplug) .* refused: ', r'guard: \d+ lines of an actuator before this one taken back',
    r'pressure trigger (lost|cannot)', r'no (some|full) pressure trigger', r'limits: the configuration\'s',
    r'limits: .* win: ', r'paused ', r'resumed', r'bus: .*working on without it', r'the kernel zones are getting low',
    r'private socket: ', r'polkit', r"vmtide-(monitor|actuator).service: (Main process exited, code=killed|Failed with result 'signal')",
)
HOST_EXPLAINED = (
    r'channel', r'QEMU', r'QMP', r'guest (gone|says hello|is gone)', r'line(s)? dropped', r'bad lines', r'no progress',
    r'refused', r'stuck', r'no answer', r'paused|stopped', r'without progress', r'trying again', r'serving', r'pong|ping',
)


def guest_numbers(guest):
    """{daemon: (pid, RSS in bytes, open descriptors)}"""
    script = '; '.join(
        f'p=$(systemctl show -P MainPID vmtide-{d}); echo {d} $p $(awk \'/^VmRSS/ {{ print $2 * 1024 }}\' /proc/$p/status) '
        '$(ls /proc/$p/fd | wc -l)' for d in DAEMONS if d != 'host')
    rows = [line.split() for line in guest.check(script, 60).splitlines()]
    return {row[0]: tuple(int(n) for n in row[1:]) for row in rows}


def host_numbers(daemon):
    rss = int(re.search(r'^VmRSS:\s+(\d+)', open(f'/proc/{daemon.pid}/status', encoding='ascii').read(), re.M)[1]) * 1024
    fds = subprocess.run(['ls', f'/proc/{daemon.pid}/fd'], capture_output=True, text=True, check=True).stdout.split()
    return daemon.pid, rss, len(fds)


def processes(guest):
    """Names of the user space processes, sorted: those of the rig's own commands are not there any more."""
    text = guest.check('ps -eo ppid,comm --no-headers', 60)
    rows = [line.split(None, 1) for line in text.splitlines()]
    return sorted(name for parent, name in rows if parent != '2' and name not in ('kthreadd', 'ps', 'sh', 'awk', '(udev-worker)'))


def more_processes(first, last):
    """Names that there are more of than at first; a service that starts when it is asked may be there once."""
    return sorted(name for name in set(last) if last.count(name) > max(first.count(name), name in ON_DEMAND))


def unexplained(guest):
    """Lines of the guest's journal at warning and above that nothing explains, with how often each was said."""
    text = guest.check("journalctl -b -o cat --no-pager -p warning -u 'vmtide-*'", 120)
    kernel = guest.check("journalctl -b -k -o cat --no-pager | grep -E 'oom-kill|Out of memory|blocked for more|BUG:|Oops|WARNING:' || true", 120)
    lines = [line for line in text.splitlines() if not any(re.search(pattern, line) for pattern in EXPLAINED)]
    return lines + kernel.splitlines()


def host_unexplained(text):
    """The same of the host daemon's log, which has no priorities: what is not one of its ordinary lines."""
    ordinary = (r'granted: ', r'size .* requested', r'limits', r'weight', r'says hello', r'asked to shrink', r'boot memory',
                r'connected', r'metrics: ', r'ends', r'has name', r'memory is not locked', r'declined')
    known = ordinary + HOST_EXPLAINED
    return [line for line in text.splitlines() if not any(re.search(pattern, line) for pattern in known)]


def counters(port, name):
    """{'granted': …, 'refused': …} of VM NAME as the host's daemon counts them."""
    with urllib.request.urlopen(f'http://127.0.0.1:{port}/metrics', timeout=10) as answer:
        text = answer.read().decode()
    granted = re.search(rf'^vmtide_vm_grants_total{{vm="{name}"}} (\d+)$', text, re.M)
    refused = re.findall(rf'^vmtide_vm_refusals_total{{vm="{name}",code="[a-z-]+"}} (\d+)$', text, re.M)
    return {'granted': int(granted[1]), 'refused': sum(int(n) for n in refused)}
