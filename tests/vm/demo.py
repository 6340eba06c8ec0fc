# SPDX-License-Identifier: MIT
"""scripts/demo: runs a workload in a real guest, shows how its memory follows, and checks the promises."""

import argparse
import csv
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter, namedtuple
from pathlib import Path

from .rig import overlay, places
from .rig.paths import REPO, RigError, build_dir, find_tool
from .rig.qemu import GIB, MIB, Guest, parse_size

COLUMNS = ('time_s', 'demand', 'total', 'available', 'psi_some_avg10', 'requested', 'size', 'rss', 'level', 'headroom',
           'phase')
# The bounds of the promises that `judge` checks.
OVER_ALLOWED = GIB
RETURN_SECONDS = 120
RETURN_SIZE = 512 * MIB
RSS_TOLERANCE = 1.15

# One process a second in the guest, so that looking does not cost what is looked at.
WATCH_LEVEL = '''while :; do
    busctl get-property org.vmtide.Monitor1 /org/vmtide/Monitor1 org.vmtide.Monitor1 Level Headroom | tr '\\n' ' '
    echo; sleep 1
done'''


Check = namedtuple('Check', 'kept promise measured')
Run = namedtuple('Run', 'rows checks freed boot')


def mib(value):
    return f'{value / MIB:.0f}M'


class Watch:
    """Takes a sample a second; prints it to OUT unless OUT is None."""

    def __init__(self, guest, out):
        self.guest = guest
        self.begun = time.monotonic()
        self.rows = []
        self.out = out
        self.level = guest.start_command(WATCH_LEVEL)
        self.hog = None

    def _level(self):
        lines = re.findall(r's "(\w+)" t (\d+)', self.level.stdout()[-400:])
        return (lines[-1][0], int(lines[-1][1])) if lines else ('?', 0)

    def _demand(self):
        """Resident memory of the workload, by the pid that its first line tells: the command's own may be another."""
        lines = self.hog.stdout().splitlines() if self.hog is not None else []
        if not lines or self.hog.poll() is not None:
            return 0
        try:
            status = self.guest.read(f'/proc/{json.loads(lines[0])["pid"]}/status')
        except (RigError, ValueError):  # it ended a moment ago, or the line is not complete yet
            return 0
        match = re.search(r'^VmRSS:\s+(\d+) kB', status, re.M)
        return int(match.group(1)) * 1024 if match else 0

    def take(self, phase):
        memory = self.guest.meminfo()
        pressure = re.search(r'some avg10=([\d.]+)', self.guest.read('/proc/pressure/memory')).group(1)
        level, headroom = self._level()
        row = dict(zip(COLUMNS, (
            round(time.monotonic() - self.begun, 2), self._demand(), memory['MemTotal'], memory['MemAvailable'],
            float(pressure), self.guest.requested_size(), self.guest.size(), self.guest.rss(), level, headroom,
            phase)))
        self.rows.append(row)
        if self.out is not None:
            self.show(row)
        return row

    def show(self, row):
        if (len(self.rows) - 1) % 20 == 0:
            print('  time   demand MemTotal availabl  PSI-10  request     size QEMU-RSS  level', file=self.out)
        print(f'{row["time_s"]:5.0f}s {mib(row["demand"]):>8} {mib(row["total"]):>8} {mib(row["available"]):>8} '
              f'{row["psi_some_avg10"]:6.2f}% {mib(row["requested"]):>8} {mib(row["size"]):>8} {mib(row["rss"]):>8}  '
              f'{row["level"]} ({row["phase"]})', file=self.out, flush=True)

    def until(self, phase, condition, timeout):
        """Samples once a second until CONDITION(row) or the time is over; true when it came."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            tick = time.monotonic()
            if condition(self.take(phase)):
                return True
            time.sleep(max(0.0, tick + 1 - time.monotonic()))
        return False


def touch_boot_memory(guest):
    """Touches all memory, and returns what QEMU then holds without the device's: boot memory that was touched once never
    returns to the host. The daemons are stopped meanwhile, so that the memory which they reserve for the kernel is
    touched too and nothing is plugged for this."""
    guest.check('systemctl stop vmtide-monitor vmtide-actuator')
    amount = guest.meminfo()['MemAvailable'] - 96 * MIB
    guest.check(f'vmhog --threads 1 --bytes {amount} --hold 0', timeout=120)
    baseline = guest.rss() - guest.size()
    guest.check('systemctl start vmtide-actuator vmtide-monitor')
    return baseline


def ready(guest):
    wait = 'for i in $(seq 100); do busctl get-property org.vmtide.Actuator1 /org/vmtide/Actuator1 ' \
           'org.vmtide.Actuator1 HostConnected 2>/dev/null | grep -q true && exit 0; sleep 0.2; done; exit 1'
    if guest.run(wait, timeout=60).status != 0:
        raise RigError('the actuator never met the host; see the logs')


def run_workload(guest, watch, options):
    """Returns the workload's exit status, what it wrote to standard error, and when it ended."""
    watch.until('before', lambda row: len(watch.rows) >= 3, 10)
    script = f'exec vmalloc --threads {options.threads} --bytes {parse_size(options.size)} --hold {options.hold}'
    watch.hog = places.start(guest, options.where, script)
    watch.until('growing', lambda row: 'touched' in watch.hog.stdout() or watch.hog.poll() is not None, 300)
    watch.until('held', lambda row: watch.hog.poll() is not None, options.hold + 60)
    status = watch.hog.poll()
    freed = time.monotonic() - watch.begun
    if status is None:
        places.stop(guest, options.where, watch.hog)
    watch.until('after', lambda row: row['size'] <= RETURN_SIZE and row['requested'] == row['size'] and
                row['level'] == 'normal', RETURN_SECONDS)
    watch.take('after')
    return status, watch.hog.stderr().strip(), freed


def judge_held(held, boot):
    """The promises about the time in which the workload holds its memory."""
    cover = min(boot + r['size'] - r['demand'] for r in held)
    lowest = min(r['available'] - r['headroom'] / 2 for r in held)
    most = max(r['available'] - r['headroom'] for r in held)
    return [
        Check(cover >= 0, 'boot + size covers the demand', f'closest: {mib(cover)} above it'),
        Check(lowest >= 0, 'available stays over half the headroom', f'closest: {mib(lowest)} above it'),
        Check(most <= OVER_ALLOWED, 'available stays at most 1 GiB over the headroom', f'most: {mib(most)} over it'),
    ]


def judge(rows, boot, baseline, amount, ended, kills):
    """Checks every promise against what was measured: a list of Check. ENDED: the workload's status and its error."""
    held = [r for r in rows if r['phase'] == 'held' and r['demand'] >= amount * 9 // 10]
    first, last = rows[0], rows[-1]
    peak = max(r['size'] for r in rows)
    allowed = RSS_TOLERANCE * (baseline + last['size'])
    status, error = ended
    how = 'it did not end' if status is None else f'status {status}'
    return [
        Check(peak > first['size'], 'memory grows', f'size from {mib(first["size"])} up to {mib(peak)}'),
        Check(kills == 0, 'nothing is killed', f'{kills} OOM kills'),
        Check(status == 0, 'the workload succeeds', f'{how}: {error[-200:]}' if error else how),
        Check(bool(held), 'the demand is held', f'for {len(held)} samples'),
        *(judge_held(held, boot) if held else []),
        Check(last['size'] <= RETURN_SIZE, 'size comes back', f'to {mib(last["size"])}'),
        Check(last['rss'] <= allowed, 'QEMU gives the memory back',
              f'it holds {mib(last["rss"])}; baseline {mib(baseline)} + size, within 15 %: {mib(allowed)}'),
    ]


def plot(rows, target, boot, kernel):
    with tempfile.TemporaryDirectory(prefix='vmt-') as folder:
        data = Path(folder, 'data')
        data.write_text(''.join(f'{r["time_s"]} {r["demand"] / GIB} {(boot + r["size"]) / GIB} '
                                f'{(boot + r["requested"]) / GIB} {r["available"] / GIB} {r["rss"] / GIB} '
                                f'{r["psi_some_avg10"]}\n' for r in rows), encoding='ascii')
        script = f'''set terminal svg size 900,480 background "white" font "sans,13"
set output "{target}"
set title "A guest's memory follows its demand (Linux {kernel})"
set xlabel "seconds"; set ylabel "GiB"; set y2label "PSI some avg10, %"; set y2tics; set ytics nomirror
set yrange [0:*]; set y2range [0:100]; set key outside below maxrows 2; set grid ytics lc "#dddddd"
plot "{data}" using 1:2 with filledcurves x1 lc "#cfe2f3" title "demand", \\
 "" using 1:3 with steps lw 2 lc "#1f4e79" title "boot + size", \\
 "" using 1:4 with steps dt 2 lc "#7f7f7f" title "boot + requested", \\
 "" using 1:6 with lines lw 2 lc "#c55a11" title "QEMU RSS", \\
 "" using 1:5 with lines lc "#548235" title "available", \\
 "" using 1:7 axes x1y2 with lines lc "#a00000" title "pressure"
'''
        subprocess.run([find_tool('gnuplot')], input=script, text=True, check=True)


def positive(text):
    if int(text) < 1:
        raise argparse.ArgumentTypeError('must be at least 1')
    return int(text)


def arguments():
    parser = argparse.ArgumentParser(prog='scripts/demo', description=(
        'Boots a guest with 1 GiB of boot memory and a virtio-mem device of 8 GiB, runs a program in it that needs more '
        'memory than that (one malloc(), written to by its threads), and shows how the guest\'s memory follows. Exit '
        'status 0: every run kept every promise: memory grew, nothing was killed, the program had its memory, and the '
        'memory came back.'))
    parser.add_argument('--kernel', choices=('6.1', '6.12'), default='6.12', help='guest kernel (default %(default)s)')
    parser.add_argument('--where', choices=places.PLACES, default='user', help=(
        'cgroup that the program runs in: a login session (user, the default), a service in a slice of its own '
        '(service), a pod of kubelet\'s (kubepods), a container of dockerd\'s with the cgroupfs driver (docker), or the '
        'root cgroup, which the guard cannot hold back (root)'))
    parser.add_argument('--repeat', type=positive, default=1, metavar='N', help=(
        'run N times, each time in a freshly booted guest, print a line a run and how many of N kept every promise'))
    parser.add_argument('--verbose', action='store_true', help='with --repeat: print the samples of each run too')
    parser.add_argument('--fresh', action='store_true', help=(
        'leave boot memory untouched before the program starts; by default all of it is touched and its page cache '
        'dropped, as in a guest that has run for a while, which is the harder case'))
    parser.add_argument('--size', default='3G', help='memory that the program allocates (default %(default)s)')
    parser.add_argument('--threads', type=positive, default=1, help='threads that touch it (default %(default)s)')
    parser.add_argument('--hold', type=int, default=20, help='seconds to hold it (default %(default)s)')
    parser.add_argument('--plot', default='demo.svg', help='file for the plot of the last run (default %(default)s)')
    parser.add_argument('--csv', default='demo.csv', help='file for the samples of the last run (default %(default)s)')
    return parser.parse_args()


def run_guest(options, destdir, logs, out):
    """Boots a guest, runs the workload in it, and judges."""
    with Guest(kernel=options.kernel, destdir=destdir, logs=logs) as guest:
        guest.wait_booted()
        guest.start_host('--host-reserve', '256M')
        ready(guest)
        # Untouched boot memory counts as if QEMU held it: the workload touches it.
        baseline = guest.boot if options.fresh else touch_boot_memory(guest)
        ready(guest)
        kills = guest.oom_kills()
        watch = Watch(guest, out)
        status, error, freed = run_workload(guest, watch, options)
        guest.save_journal()
        kills = guest.oom_kills() - kills
        checks = judge(watch.rows, guest.boot, baseline, parse_size(options.size), (status, error), kills)
        return Run(watch.rows, checks, freed, guest.boot)


def write_samples(rows, path):
    with open(path, 'w', newline='', encoding='ascii') as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


def save(run, options):
    write_samples(run.rows, options.csv)
    plot(run.rows, Path(options.plot).resolve(), run.boot, options.kernel)


def show_path(path):
    return path.relative_to(REPO) if path.is_relative_to(REPO) else path


def show_checks(run, options, logs):
    print(f'\nSummary ({run.rows[-1]["time_s"] - run.freed:.0f} s from the free to the last line; plot: {options.plot}, '
          f'samples: {options.csv}, logs: {show_path(logs)})')
    for check in run.checks:
        print(f'  {"ok    " if check.kept else "FAILED"} {check.promise} ({check.measured})')


def run_once(options, destdir, logs):
    print(f'booting a guest with Linux {options.kernel} …', file=sys.stderr)
    run = run_guest(options, destdir, logs, sys.stdout)
    save(run, options)
    show_checks(run, options, logs)
    return all(check.kept for check in run.checks)


def describe(run):
    """One line about a run: how long its workload grew, and each promise that was broken, with the numbers."""
    growing = [row['time_s'] for row in run.rows if row['phase'] == 'growing']
    grown = growing[-1] - growing[0] if growing else 0
    broken = [f'{check.promise} ({check.measured})' for check in run.checks if not check.kept]
    text = f'{grown:.0f} s of growth, size up to {mib(max(row["size"] for row in run.rows))}'
    return f'FAILED ({text}): {"; ".join(broken)}' if broken else f'ok ({text})'


def run_many(options, destdir, logs):
    """A line a run; a run that the rig could not finish counts as one that broke its promises."""
    broken, good, last = Counter(), 0, None
    for number in range(1, options.repeat + 1):
        print(f'run {number} of {options.repeat}: Linux {options.kernel}, {options.where} … ', end='', flush=True)
        if options.verbose:
            print()
        try:
            run = run_guest(options, destdir, logs / f'run-{number}', sys.stdout if options.verbose else None)
        except RigError as problem:
            print(f'FAILED: {str(problem).splitlines()[0]}', flush=True)
            broken['the run ends'] += 1
            continue
        write_samples(run.rows, logs / f'run-{number}' / 'samples.csv')
        last = run
        print(describe(run), flush=True)
        broken.update(check.promise for check in run.checks if not check.kept)
        good += all(check.kept for check in run.checks)
    if last is not None:
        save(last, options)
    print(f'\n{good} of {options.repeat} runs kept every promise (logs: {show_path(logs)})')
    for promise, times in broken.most_common():
        print(f'  broken {times} times: {promise}')
    return good == options.repeat


def main():
    options = arguments()
    logs = build_dir() / 'vm-logs' / 'demo'
    shutil.rmtree(logs, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix='vmt-') as destdir:
        overlay.install_build(destdir)
        kept = run_once(options, destdir, logs) if options.repeat == 1 else run_many(options, destdir, logs)
    return 0 if kept else 1


if __name__ == '__main__':
    try:
        sys.exit(main())
    except (RigError, OSError, subprocess.CalledProcessError) as problem:
        print(f'demo: {problem}', file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
