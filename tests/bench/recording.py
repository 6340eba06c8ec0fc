# SPDX-License-Identifier: MIT
"""scripts/bench recording: a recording of memory demand, played in a guest with vmtide and in a fixed one.

The recording is a CSV file with the columns time_s, used_bytes and cached_bytes (optional). Its used bytes are a whole
system's, so the guest's own use while idle is taken off. Footprint is the integral of QEMU's resident memory over the
recording's time; both guests have touched their boot memory before. The status is 1 when anything was killed."""

import csv
import json
import sys
import time
from collections import namedtuple

from tests.vm.rig import places
from tests.vm.rig.paths import RigError
from tests.vm.rig.qemu import GIB, MIB, Guest

from . import lab
from tests.vm.rig.late import LateChannel

BOOT = GIB
DEVICE_MAX = 8 * GIB
SPARE = GIB  # of a guest that is full, for its own use and for headroom
TOUCHED = 640 * MIB  # boot memory that was touched once never returns by itself
SCHEDULE = '/run/vmplay-schedule'
SAMPLE_SECONDS = 0.2
PATIENCE_SECONDS = 600  # how far a player may fall behind in the end

Row = namedtuple('Row', 'time used cached')
Result = namedtuple('Result', 'arm kills late_max late_total footprint size_peak rss_peak note')


def arguments():
    parser = lab.parser('recording', __doc__)
    parser.add_argument('recording', metavar='TRACE.csv')
    parser.add_argument('--speed', type=float, default=1.0, help='play it N times faster (default %(default)s)')
    parser.add_argument('--scale', type=float, help='multiply its bytes (default: as they are, or what fits into '
                        f'{(BOOT + DEVICE_MAX) // GIB} GiB)')
    parser.add_argument('--until', type=float, metavar='SECONDS', help='play only the beginning')
    parser.add_argument('--late', type=float, default=0.0, metavar='SECONDS', help='how late the host is')
    parser.add_argument('--place', choices=places.PLACES, default='user', help='cgroup (default %(default)s)')
    parser.add_argument('--no-cache', action='store_true', help='leave the page cache out')
    parser.add_argument('--no-fixed', action='store_true', help='do without the fixed guest')
    options = parser.parse_args()
    if options.speed <= 0 or (options.scale is not None and options.scale <= 0):
        parser.error('--speed and --scale take numbers above 0')
    return options


def read_recording(path, until=None):
    """The rows of a recording, beginning at 0 s."""
    try:
        with open(path, encoding='utf-8', newline='') as file:
            rows = [Row(float(line['time_s']), float(line['used_bytes']), float(line.get('cached_bytes') or 0))
                    for line in csv.DictReader(file)]
    except (OSError, KeyError, ValueError) as problem:
        raise RigError(f'{path} is not a recording: {problem!r}') from problem
    if not rows:
        raise RigError(f'{path} has no rows')
    rows = [row._replace(time=row.time - rows[0].time) for row in rows]
    return [row for row in rows if until is None or row.time <= until]


def choose_scale(rows, wanted=None):
    """What to multiply bytes with, so that the peak fits into the largest guest."""
    if wanted is not None:
        return wanted
    return min(1.0, (BOOT + DEVICE_MAX - SPARE) / max(row.used for row in rows))


def guest_size(rows, scale):
    """Whole GiB for the peak and SPARE: what both guests may have at most."""
    peak = int(max(row.used for row in rows) * scale)
    return max(2 * GIB, -(-(peak + SPARE) // GIB) * GIB)


def schedule(rows, scale, speed, idle, cached=True):
    """What vmplay reads."""
    return ''.join(f'{int(row.time * 1e6 / speed)} {max(0, int(row.used * scale) - idle)} '
                   f'{int(row.cached * scale) if cached else 0}\n' for row in rows)


class Player:
    """A recording that is being played in a guest, and what the guest costs meanwhile."""

    def __init__(self, guest, options, text):
        self._guest = guest
        guest.write(SCHEDULE, text)
        self._kills = guest.oom_kills()
        self._command = places.start(guest, options.place, f'exec vmplay {SCHEDULE}', 'player')
        self._seconds = 0.0
        self._byte_seconds = 0.0
        self.size_peak = self.rss_peak = 0

    def play(self, arm, length):
        """Until its end; LENGTH is the recording's, in seconds of the player's clock."""
        self._command.wait_output('start', PATIENCE_SECONDS)
        begin = last = time.monotonic()
        said = begin
        while self._command.poll() is None:
            time.sleep(SAMPLE_SECONDS)
            now = time.monotonic()
            self._sample(now - last)
            last = now
            if now - said >= 30:
                said = now
                print(f'{arm}: {now - begin:.0f} s of {length:.0f} s', file=sys.stderr, flush=True)
            if now - begin > length + PATIENCE_SECONDS:
                raise RigError(f'{arm}: the player is {PATIENCE_SECONDS} s behind its schedule')

    def _sample(self, seconds):
        rss = self._guest.rss()
        self._byte_seconds += rss * seconds
        self.rss_peak = max(self.rss_peak, rss)
        self.size_peak = max(self.size_peak, self._guest.boot + self._guest.size())

    def result(self, arm, speed):
        kills = self._guest.oom_kills() - self._kills
        done = [json.loads(line) for line in self._command.stdout().splitlines() if '"done"' in line]
        late = [done[0][name] / 1e6 for name in ('late_max_us', 'late_total_us')] if done else [None, None]
        note = '' if done else f'ended with status {self._command.poll()}: {self._command.stderr().strip()[-80:]}'
        return Result(arm, kills, *late, self._byte_seconds * speed / 60 / GIB, self.size_peak, self.rss_peak, note)


def _touch_boot_memory(guest):
    guest.check(f'vmhog --bytes {TOUCHED} --hold 0', timeout=120)


def run_arm(arm, options, rows, scale, guest):
    """Plays the recording in a guest that is ready."""
    idle = guest.meminfo()
    idle = idle['MemTotal'] - idle['MemAvailable']
    player = Player(guest, options, schedule(rows, scale, options.speed, idle, not options.no_cache))
    try:
        player.play(arm, rows[-1].time / options.speed)
    finally:
        guest.save_journal()
    return player.result(arm, options.speed)


def run_fixed(options, rows, scale):
    size = guest_size(rows, scale)
    print(f'booting a fixed guest of {size // GIB} GiB with Linux {options.kernel} …', file=sys.stderr)
    with Guest(kernel=options.kernel, boot=size, logs=lab.log_folder('recording') / f'{options.kernel}-fixed',
               files=lab.tools('vmplay')) as guest:
        guest.wait_booted()
        _touch_boot_memory(guest)
        return run_arm('fixed', options, rows, scale, guest)


def run_vmtide(options, rows, scale):
    print(f'booting a guest with vmtide and Linux {options.kernel} …', file=sys.stderr)
    with lab.installed() as destdir, \
            Guest(kernel=options.kernel, boot=BOOT, device=guest_size(rows, scale) - BOOT, destdir=destdir,
                  logs=lab.log_folder('recording') / options.kernel, files=lab.tools('vmplay')) as guest:
        guest.wait_booted()
        late = LateChannel(guest)
        try:
            guest.start_host('--host-reserve', lab.HOST_RESERVE, channel=late.path)
            lab.wait_connected(guest)
            guest.check('systemctl stop vmtide-monitor')
            _touch_boot_memory(guest)
            lab.drain(guest)
            lab.wait_settled(guest)
            late.delay = options.late
            return run_arm('vmtide', options, rows, scale, guest)
        finally:
            late.close()


def show(options, rows, scale, results):
    print(f'{options.recording}: {rows[-1].time:.0f} s, {options.speed:g} times faster, bytes x {scale:.2f}, '
          f'at most {guest_size(rows, scale) // GIB} GiB, in {options.place}, host {options.late:g} s late\n')
    print(f'{"guest":7} {"kills":>5} {"late max s":>10} {"late in all s":>13} {"GiB min":>8} {"peak GiB":>8} '
          f'{"peak RSS GiB":>12}')
    for r in results:
        late = ['-' if value is None else f'{value:.2f}' for value in (r.late_max, r.late_total)]
        print(f'{r.arm:7} {r.kills:5} {late[0]:>10} {late[1]:>13} {r.footprint:8.1f} {r.size_peak / GIB:8.2f} '
              f'{r.rss_peak / GIB:12.2f} {r.note}'.rstrip())
    print('\nlate: how far behind the recording the player was at most, on the guest\'s clock, and for how long in all; '
          '\nGiB min: QEMU\'s resident memory over the recording\'s time')


def main():
    options = arguments()
    rows = read_recording(options.recording, options.until)
    scale = choose_scale(rows, options.scale)
    results = [] if options.no_fixed else [run_fixed(options, rows, scale)]
    results.append(run_vmtide(options, rows, scale))
    show(options, rows, scale, results)
    return 1 if any(r.kills or r.note for r in results) else 0


if __name__ == '__main__':
    lab.run(main)
