# SPDX-License-Identifier: MIT
"""The bursts of scripts/bench surge: what runs in the guest, and what became of it."""

import json
import time
from collections import namedtuple

from tests.vm.rig import places
from tests.vm.rig.paths import RigError
from tests.vm.rig.qemu import GIB, MIB

from . import lab

KILLED = 128 + 9
LIMIT_SECONDS = 180
FORK_SIZE = 20 * MIB
# Anonymous memory that is there before kernel memory is taken, and how much of that; half of it in a guest with half
# of the boot memory, since the kernel zones are boot memory.
BEFORE_KERNEL = 1792 * MIB
KERNEL_BYTES = 256 * MIB


class Hung(RigError):
    """A burst that did not end."""


# outcome: ok, killed, failed or hung; seconds: from the first touch to the last, on the guest's clock; stall: the
# longest that one chunk took; hold: the longest that the guard held a line; peak: the largest size in GiB
Outcome = namedtuple('Outcome', 'outcome kills seconds stall hold peak note')
# script(bytes, kernel bytes): a script of /bin/sh
Kind = namedtuple('Kind', 'text script')


def _hog(kind, size, threads):
    return f'vmhog --kind {kind} --bytes {size} --threads {threads} --hold 0'


def _simple(text, kind, threads):
    return Kind(text, lambda size, _kernel: f'exec {_hog(kind, size, threads)}')


def _fork(size, _kernel):
    count = max(1, size // FORK_SIZE)
    return f'exec vmhog --bytes {count * FORK_SIZE} --threads {count} --fork --hold 0'


def _kernel_memory(text, kind, cost=1):
    """The kernel's memory is taken when the anonymous memory is there and stays there. cost: what vmhog counts for a
    byte of kernel memory."""
    def script(size, kernel):
        before = min(size, BEFORE_KERNEL)
        return f'''said=$(mktemp)
trap 'rm -f "$said"' EXIT
vmhog --bytes {before} --threads 2 --hold 600 >"$said" &
first=$!
until grep -q touched "$said"; do kill -0 $first || exit {KILLED}; sleep 0.05; done
cat "$said"
{_hog(kind, kernel * cost, 1)} || exit $?
kill -0 $first || exit {KILLED}
kill $first; wait $first; exit 0'''
    return Kind(text, script)


KINDS = {
    'anon1': _simple('anonymous memory, 1 thread, one mapping', 'anon', 1),
    'anon4': _simple('anonymous memory, 4 threads', 'anon', 4),
    'anon16': _simple('anonymous memory, 16 threads', 'anon', 16),
    'anon4k': _simple('anonymous memory without huge pages, 4 threads', 'anon4k', 4),
    'populate': _simple('MAP_POPULATE, 64 MiB at a time, 2 threads', 'populate', 2),
    'fallocate': _simple('fallocate() on tmpfs, 64 MiB at a time, 2 threads', 'fallocate', 2),
    'read': _simple('read() into fresh memory, 16 MiB at a time, 2 threads', 'read', 2),
    'fork': Kind('processes of 20 MiB', _fork),
    'file': Kind('files that are written, half of the bytes, 2 threads',
                 lambda size, _kernel: f'exec {_hog("file", size // 2, 2)}'),
    'pipe': _kernel_memory('1.75 GiB anonymous, then 256 MiB in pipes', 'pipe'),
    'unix': _kernel_memory('1.75 GiB anonymous, then 256 MiB in buffers of unix sockets', 'unix'),
    'tables': _kernel_memory('1.75 GiB anonymous, then 256 MiB of page tables and as much of pages', 'tables', 2),
}


def kernel_bytes(boot):
    return KERNEL_BYTES * min(boot, GIB) // GIB


def start(guest, place, kind, size):
    """Starts a burst; "two": half of it in each of two places. Returns [(place, name, command)…]."""
    parts = ('user', 'service') if place == 'two' else (place,)
    script = KINDS[kind].script(size // len(parts), kernel_bytes(guest.boot) // len(parts))
    return [(part, 'burst', places.start(guest, part, script, 'burst')) for part in parts]


def start_fixed(guest, kind, size, kernel):
    """The same in a guest without vmtide."""
    return [('service', 'burst', places.start(guest, 'service', KINDS[kind].script(size, kernel), 'burst'))]


def hold(guest, place, size, rate):
    """Memory that is held while the burst runs, in a place that is not the burst's; returns when it is there."""
    where = 'service' if place in ('user', 'two') else 'user'
    script = f'exec vmhog --bytes {size} --threads 4 --rate {rate} --hold 3600'
    command = places.start(guest, where, script, 'held')
    command.wait_output('touched', LIMIT_SECONDS)
    lab.wait_settled(guest)
    return where, 'held', command


def stop(guest, running):
    for place, name, command in running:
        if command.poll() is None:
            places.stop(guest, place, command, name)


def wait(guest, running):
    """Waits for all; returns the largest size seen, or None when they did not end."""
    peak, deadline = 0, time.monotonic() + LIMIT_SECONDS
    # Outside of the hogs' own output nothing runs in the guest meanwhile: looking must not cost what is looked at.
    while any(command.poll() is None for _, _, command in running):
        peak = max(peak, guest.size())
        if time.monotonic() > deadline:
            return None
        time.sleep(0.1)
    return max(peak, guest.size())


def _events(running):
    """The JSON lines of all hogs; what was cut off by a kill is left out."""
    rows = []
    for line in ''.join(command.stdout() for _, _, command in running).splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    return rows


def _classify(running, kills):
    statuses = [command.poll() for _, _, command in running]
    if kills > 0 or KILLED in statuses:
        return 'killed'
    return 'ok' if all(status == 0 for status in statuses) else 'failed'


def judge(running, kills, peak, longest_hold):
    """The outcome of bursts that are over."""
    events = _events(running)
    touched = [event for event in events if event['event'] == 'touched']
    begun = [event['t_us'] for event in events if event['event'] == 'start']
    outcome = _classify(running, kills)
    seconds = (max(e['t_us'] for e in touched) - min(begun)) / 1e6 if outcome == 'ok' and touched else None
    stall = max((e['stall_us'] / 1e6 for e in touched), default=None)
    note = ' '.join(''.join(command.stderr() for _, _, command in running).split())[-120:]
    return Outcome(outcome, kills, seconds, stall, longest_hold, peak / GIB, '' if outcome == 'ok' else note)


def run(guest, begin, kills_before, longest_hold):
    """One burst: BEGIN starts it, LONGEST_HOLD says afterwards how long the guard held a line. Raises Hung."""
    running = begin()
    peak = wait(guest, running)
    if peak is None:
        stop(guest, running)
        raise Hung(f'not over after {LIMIT_SECONDS} s')
    return judge(running, guest.oom_kills() - kills_before, peak, longest_hold())
