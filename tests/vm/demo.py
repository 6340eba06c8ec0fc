# SPDX-License-Identifier: MIT
"""scripts/demo: a workload in a real guest, and what vmtide makes of it, a line a second."""

import argparse
import csv
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from .rig import overlay
from .rig.paths import REPO, RigError, build_dir, find_tool
from .rig.qemu import GIB, MIB, Guest, parse_size

COLUMNS = ('time_s', 'demand', 'total', 'available', 'psi_some_avg10', 'requested', 'size', 'rss', 'level', 'headroom',
           'phase')
# What the guest must keep to: see `judge`.
OVER_ALLOWED = GIB
RETURN_SECONDS = 120
RETURN_SIZE = 512 * MIB
RSS_TOLERANCE = 1.15

# One process a second in the guest, so that looking does not cost what is looked at.
WATCH_LEVEL = '''while :; do
    busctl get-property org.vmtide.Monitor1 /org/vmtide/Monitor1 org.vmtide.Monitor1 Level Headroom | tr '\\n' ' '
    echo; sleep 1
done'''


def mib(value):
    return f'{value / MIB:6.0f}M'


class Watch:
    """Takes a sample a second and shows it."""

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
        if self.hog is None or self.hog.pid is None or self.hog.poll() is not None:
            return 0
        try:
            status = self.guest.read(f'/proc/{self.hog.pid}/status')
        except RigError:  # it ended a moment ago
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
    """Boot memory that was touched once never returns to the host: the baseline is what QEMU holds after that."""
    guest.check('systemctl stop vmtide-monitor')
    amount = guest.meminfo()['MemAvailable'] - 96 * MIB
    guest.check(f'vmhog --threads 1 --bytes {amount} --hold 0', timeout=120)
    guest.check('systemctl start vmtide-monitor')
    return guest.rss() - guest.size()


def ready(guest):
    wait = 'for i in $(seq 100); do busctl get-property org.vmtide.Actuator1 /org/vmtide/Actuator1 ' \
           'org.vmtide.Actuator1 HostConnected 2>/dev/null | grep -q true && exit 0; sleep 0.2; done; exit 1'
    if guest.run(wait, timeout=60).status != 0:
        raise RigError('the actuator never met the host; see the logs')


def run_workload(guest, watch, options):
    threads = options.threads
    amount, hold = parse_size(options.size), options.hold
    watch.until('before', lambda row: len(watch.rows) >= 3, 10)
    watch.hog = guest.start_command(f'exec vmhog --threads {threads} --bytes {amount} --hold {hold}',
                                    slice_name='user.slice' if options.slice else None)
    watch.until('growing', lambda row: 'touched' in watch.hog.stdout() or watch.hog.poll() is not None, 300)
    watch.until('held', lambda row: watch.hog.poll() is not None, hold + 60)
    status = watch.hog.poll()
    freed = time.monotonic() - watch.begun
    watch.until('after', lambda row: row['size'] <= RETURN_SIZE and row['requested'] == row['size'] and
                row['level'] == 'normal', RETURN_SECONDS)
    watch.take('after')
    return status, freed


def judge(rows, boot, baseline, amount, status, kills):
    """Every promise with what was measured: a list of (kept, text)."""
    held = [r for r in rows if r['phase'] == 'held' and r['demand'] >= amount * 9 // 10]
    last = rows[-1]
    peak = max(r['size'] for r in rows)
    allowed = RSS_TOLERANCE * (baseline + last['size'])
    checks = [
        (peak > 0, f'memory grew: size up to {mib(peak).strip()}'),
        (status == 0 and kills == 0, f'nothing was killed: {kills} OOM kills, workload ended with {status}'),
        (bool(held), f'the demand was held for {len(held)} samples'),
    ]
    if held:
        lowest = min(r['available'] - r['headroom'] / 2 for r in held)
        most = max(r['available'] - r['headroom'] for r in held)
        checks += [
            (all(boot + r['size'] >= r['demand'] for r in held), 'boot + size covered the demand while it was held'),
            (lowest >= 0, f'available stayed over half the headroom (closest: {mib(lowest).strip()} above it)'),
            (most <= OVER_ALLOWED, f'and at most 1 GiB over the headroom (most: {mib(most).strip()})'),
        ]
    checks += [
        (last['size'] <= RETURN_SIZE, f'size came back to {mib(last["size"]).strip()}'),
        (last['rss'] <= allowed, f'QEMU holds {mib(last["rss"]).strip()}: baseline {mib(baseline).strip()} + size, '
                                 f'within 15 % (at most {mib(allowed).strip()})'),
    ]
    return checks


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


def arguments():
    parser = argparse.ArgumentParser(prog='scripts/demo', description=(
        'Boots a guest with 1 GiB of boot memory and a virtio-mem device of 8 GiB, runs a workload in it and shows '
        'how its memory follows. Exit status 0: it grew, nothing was killed, and it came back.'))
    parser.add_argument('--kernel', choices=('6.1', '6.12'), default='6.12', help='guest kernel (default %(default)s)')
    parser.add_argument('--size', default='3G', help='memory that the workload touches (default %(default)s)')
    parser.add_argument('--threads', type=int, default=1, help='threads that touch it (default %(default)s)')
    parser.add_argument('--hold', type=int, default=20, help='seconds to hold it (default %(default)s)')
    parser.add_argument('--slice', action='store_true', help='run the workload in user.slice')
    parser.add_argument('--plot', default='demo.svg', help='where the plot goes (default %(default)s)')
    parser.add_argument('--csv', default='demo.csv', help='where the samples go (default %(default)s)')
    return parser.parse_args()


def show_guest(options, destdir, logs):
    with Guest(kernel=options.kernel, destdir=destdir, logs=logs) as guest:
        print(f'booting a guest with Linux {options.kernel} …', file=sys.stderr)
        guest.wait_booted()
        guest.start_host('--host-reserve', '256M')
        ready(guest)
        baseline = touch_boot_memory(guest)
        ready(guest)
        kills = guest.oom_kills()
        watch = Watch(guest, sys.stdout)
        status, freed = run_workload(guest, watch, options)
        guest.save_journal()
        kills = guest.oom_kills() - kills
        return watch.rows, judge(watch.rows, guest.boot, baseline, parse_size(options.size), status, kills), freed, \
            guest.boot


def main():
    options = arguments()
    logs = build_dir() / 'vm-logs' / 'demo'
    with tempfile.TemporaryDirectory(prefix='vmt-') as destdir:
        overlay.install_build(destdir)
        rows, checks, freed, boot = show_guest(options, destdir, logs)
    with open(options.csv, 'w', newline='', encoding='ascii') as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    plot(rows, Path(options.plot).resolve(), boot, options.kernel)
    print(f'\nSummary ({rows[-1]["time_s"] - freed:.0f} s from the free to the last line; plot: {options.plot}, '
          f'samples: {options.csv}, logs: {logs.relative_to(REPO) if logs.is_relative_to(REPO) else logs})')
    for kept, text in checks:
        print(f'  {"ok    " if kept else "FAILED"} {text}')
    return 0 if all(kept for kept, _ in checks) else 1


if __name__ == '__main__':
    try:
        sys.exit(main())
    except (RigError, OSError, subprocess.CalledProcessError) as problem:
        print(f'demo: {problem}', file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
