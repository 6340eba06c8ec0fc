# SPDX-License-Identifier: MIT
"""The bursts of scripts/bench surge: what runs in the guest, and what became of it."""

import json
import time
from collections import namedtuple

from tests.vm.rig.paths import RigError
from tests.vm.rig.qemu import GIB, MIB

from . import lab

KILLED = 128 + 9
LIMIT_SECONDS = 240
SPARSE = '/var/tmp/vmbench-sparse'

# parts: the commands that run at the same time, each (slice, script)
Case = namedtuple('Case', 'name text threaded parts before')
# outcome: ok, killed, hung or failed; seconds: from the first touch to the last, on the guest's clock
Outcome = namedtuple('Outcome', 'outcome kills seconds stall peak psi')


def _hog(size, threads=1, kind='anon', more=''):
    return f'vmhog --kind {kind} --bytes {size} --threads {threads} {more} --hold 0'


def _single(kind):
    def parts(size, threads):
        return [('user.slice', f'exec {_hog(size, threads, kind)}')]
    return parts


def _fork(_size, _threads):
    return [('user.slice', f'exec {_hog(175 * 20 * MIB, 175, more="--fork")}')]


def _kernel(_size, _threads):
    """The pipes are filled when the anonymous memory is there and stays there."""
    return [('user.slice', f'''vmhog --bytes 3G --hold 600 >/run/vmbench-first &
first=$!
until grep touched /run/vmbench-first; do kill -0 $first || exit {KILLED}; sleep 0.05; done
{_hog('300M', kind='pipe')} || exit $?
kill -0 $first || exit {KILLED}
kill $first; wait $first; exit 0''')]


def _slices(size, threads):
    return [(name, f'exec {_hog(size // 2, threads)}') for name in ('user.slice', 'system.slice')]


def _fill_cache(guest):
    guest.check(f'truncate -s 8G {SPARSE} && vmhog --kind file --path {SPARSE} --bytes 4G', timeout=180)


CASES = {case.name: case for case in (
    Case('anon', 'anonymous memory', True, _single('anon'), None),
    Case('tmpfs', 'tmpfs', True, _single('tmpfs'), None),
    Case('dirty', 'page cache, written', True, _single('file'), None),
    Case('fork', '175 forks of 20 MiB', False, _fork, None),
    Case('kernel', '3 GiB anonymous, then 300 MiB of pipes', False, _kernel, None),
    Case('cache', 'anonymous memory, the cache being full', True, _single('anon'), _fill_cache),
    Case('slices', 'anonymous memory in two slices at once', True, _slices, None),
)}


def _events(text):
    """The JSON lines of all hogs; what was cut off by a kill is left out."""
    rows = []
    for line in text.splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    return rows


def _wait(guest, commands):
    """Waits for all; returns the largest size seen, or None when they did not end."""
    peak, deadline = 0, time.monotonic() + LIMIT_SECONDS
    while any(command.poll() is None for command in commands):
        peak = max(peak, guest.size())
        if time.monotonic() > deadline:
            return None
        time.sleep(0.1)
    return max(peak, guest.size())


def _classify(statuses, kills):
    if kills > 0 or KILLED in statuses:
        return 'killed'
    return 'ok' if all(status == 0 for status in statuses) else 'failed'


def run(guest, case, size, threads):
    """One burst in a guest that is ready for it."""
    kills, psi = guest.oom_kills(), lab.psi_total(guest)[0]
    # Outside of the hogs' own output nothing is said while the burst runs: looking must not cost what is looked at.
    commands = [guest.start_command(script, slice_name=name) for name, script in case.parts(size, threads)]
    peak = _wait(guest, commands)
    if peak is None:
        for command in commands:
            command.kill()
        raise RigError(f'{case.name}: not over after {LIMIT_SECONDS} s')
    kills = guest.oom_kills() - kills
    events = [event for command in commands for event in _events(command.stdout())]
    touched = [event for event in events if event['event'] == 'touched']
    begun = [event['t_us'] for event in events if event['event'] == 'start']
    outcome = _classify([command.poll() for command in commands], kills)
    seconds = (max(e['t_us'] for e in touched) - min(begun)) / 1e6 if outcome == 'ok' and touched else None
    stall = max((e['stall_us'] for e in touched), default=None)
    return Outcome(outcome, kills, seconds, None if stall is None else stall / 1e6, peak / GIB,
                   lab.psi_total(guest)[0] - psi)
