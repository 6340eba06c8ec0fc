# SPDX-License-Identifier: MIT
"""scripts/bench guard: what the guard costs a guest that streams files, in interleaved pairs with the guard on and
off; and whether streaming makes the guest grow, which it must not."""

import json
import re
import sys
import time

from tests.vm.rig.qemu import GIB, MIB, Guest, parse_size

from . import lab, surge_arms

STREAM = '/var/tmp/vmbench-stream'
SETTLE_SECONDS = 30
ARMED_SECONDS = 20
ARMS = ('noguard', 'vmtide')


def switch(guest, destdir, arm):
    """Starts actuator and monitor anew, with the guard as the arm has it, and waits until it stands."""
    for path, text in surge_arms.guard_files(destdir, arm).items():
        guest.write(path, text)
    lab.restarts_do_not_count(guest)
    guest.check('systemctl stop vmtide-monitor && systemctl restart vmtide-actuator && systemctl start vmtide-monitor',
                timeout=60)
    lab.wait_connected(guest)
    deadline = time.monotonic() + ARMED_SECONDS
    while arm == 'vmtide' and guard_headroom(guest) == 0:
        if time.monotonic() > deadline:
            print('the guard was not armed', file=sys.stderr)
            return
        time.sleep(0.5)


def guard_headroom(guest):
    result = guest.run('busctl get-property org.vmtide.Actuator1 /org/vmtide/Actuator1 org.vmtide.Actuator1 '
                       'GuardHeadroom')
    match = re.match(r't (\d+)', result.stdout)
    return int(match.group(1)) if match else 0


def stream(guest, path, size):
    """Seconds (guest's clock), how far the requested size rose, PSI seconds."""
    guest.check('sync; echo 3 >/proc/sys/vm/drop_caches', timeout=120)
    psi, before = lab.psi_total(guest)[0], guest.requested_size()
    hog = guest.start_command(f'exec vmhog --kind file --path {path} --bytes {size} --hold 0', slice_name='user.slice')
    highest, deadline = before, time.monotonic() + 300
    while hog.poll() is None and time.monotonic() < deadline:
        highest = max(highest, guest.requested_size())
        time.sleep(0.2)
    if hog.wait(1).status != 0:
        raise lab.RigError(f'streaming failed: {hog.stderr()}')
    events = {event['event']: event['t_us'] for event in map(json.loads, hog.stdout().splitlines())}
    return (events['touched'] - events['start']) / 1e6, highest - before, lab.psi_total(guest)[0] - psi


def run_pairs(guest, destdir, name, path, options):
    """Times by arm; who is first alternates."""
    times = {arm: [] for arm in ARMS}
    print(f'\n{name}: {options.bytes // MIB} MiB\n{"pair":>4} {"arm":9} {"time s":>8} {"MiB/s":>8} {"grown MiB":>10} '
          f'{"PSI s":>7}')
    for pair in range(options.pairs):
        for arm in ARMS if pair % 2 == 0 else reversed(ARMS):
            switch(guest, destdir, arm)
            seconds, grown, psi = stream(guest, path, options.bytes)
            times[arm].append(seconds)
            print(f'{pair + 1:4} {arm:9} {seconds:8.2f} {options.bytes / MIB / seconds:8.1f} {grown / MIB:10.0f} '
                  f'{psi:7.2f}', flush=True)
            lab.drain(guest)
    ratios = [on / off for on, off in zip(times['vmtide'], times['noguard'])]
    print(f'{name}: time with the guard over time without, median: {lab.interval(ratios)} (asked: at most 1.05)',
          flush=True)


def main():
    parser = lab.parser('guard', __doc__)
    parser.add_argument('--pairs', type=int, default=9, help='interleaved pairs of each kind (default %(default)s)')
    parser.add_argument('--bytes', default='4G', help='bytes to stream (default %(default)s)')
    parser.add_argument('--kind', choices=('read', 'write', 'both'), default='both',
                        help='read a file without blocks on the disk, or write one (default %(default)s)')
    options = parser.parse_args()
    options.bytes = parse_size(options.bytes)
    with lab.installed() as destdir:
        if not surge_arms.has_guard(destdir):
            print('this build has no guard: both arms are the same', file=sys.stderr)
        print(f'booting a guest with Linux {options.kernel} …', file=sys.stderr)
        with Guest(kernel=options.kernel, destdir=destdir, disk=lab.big_disk(), logs=lab.log_folder('guard'),
                   boot=2 * GIB) as guest:
            guest.wait_booted()
            guest.start_host('--host-reserve', lab.HOST_RESERVE)
            lab.wait_connected(guest)
            guest.check(f'truncate -s {options.bytes} {STREAM}')
            stream(guest, STREAM, options.bytes)  # QEMU's memory is touched now
            lab.drain(guest)
            time.sleep(SETTLE_SECONDS)
            for kind, path in (('read', STREAM), ('write', '/var/tmp')):
                if options.kind in (kind, 'both'):
                    run_pairs(guest, destdir, kind, path, options)
            guest.save_journal()
    return 0


lab.run(main)
