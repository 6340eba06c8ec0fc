# SPDX-License-Identifier: MIT
"""scripts/bench host: what one vmtide-host costs for many VMs, and what a guest that floods costs the others.

The VMs are scripted guests and QEMUs on real sockets, all in one other program; no guest is booted. The host daemon
has one core for itself. A latency is from when a request was due to its answer at the guest, QEMU's in between. The
scrapers read the daemon's metrics in a loop, each answer to its end, without a pause."""

import argparse
import json
import multiprocessing
import os
import re
import resource
import select
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.vm.rig.paths import build_dir

from . import lab

# What the project asks of itself.
ASKED = ('asked: 1,000 VMs at 5,000 requests/s: p99 at most 10 ms, none lost, RSS at most 48 MiB; cost of a request '
         'within 1.5 x from 10 to 2,000 VMs; 1,000 idle VMs at most 1 % of a core; beside a flood p99 at most 2 x '
         'the quiet one; scrapers in a loop at most 10 % of a core')
COUNTS = (1, 10, 100, 1000, 2000)
RATE = 5000
# A guest that says more lines than 200 a second for 10 s is cut off; this is half of it.
RATE_OF_A_VM = 100
FLOODS = ('requests', 'long', 'half', 'deaf')
FLOOD_VMS = 100
FLOOD_RATE = 1000
IDLE_VMS = 1000
SCRAPED_VMS = 1000
SCRAPED_RATE = 1000
SCRAPERS = (1, 16)
ROUNDS = 3
# 2,000 VMs have met after two.
START_SECONDS = 60
TICKS = os.sysconf('SC_CLK_TCK')
CUT_OFF = ('not listened to', 'does not read')


def arguments():
    parser = argparse.ArgumentParser(prog='scripts/bench host', description=__doc__)
    parser.add_argument('--vms', type=lambda text: [int(n) for n in text.split(',')], default=list(COUNTS),
                        help=f'how many VMs (default {",".join(map(str, COUNTS))})')
    parser.add_argument('--rate', type=int, default=RATE,
                        help=f'resize requests a second in all, at most {RATE_OF_A_VM} of a VM (default %(default)s)')
    parser.add_argument('--seconds', type=int, default=10, help='how long each row takes (default %(default)s)')
    parser.add_argument('--only', choices=('load', 'idle', 'flood', 'scraper'), action='append',
                        help='a part of it; repeatable (default: all)')
    return parser.parse_args()


class Scraper:
    """A client that reads the metrics in a loop, in a process of its own."""

    def __init__(self, port):
        self._said, said = multiprocessing.Pipe(False)
        self._ended = multiprocessing.Event()
        self._process = multiprocessing.Process(target=self._scrape, args=(port, said), daemon=True)
        self._process.start()

    def _scrape(self, port, said):
        # It shares a core with the peers, whose time is not to be its own.
        os.sched_setaffinity(0, {1 % os.cpu_count()})
        os.nice(19)
        answers = 0
        while not self._ended.is_set():
            try:
                answers += self._read(port)
            except OSError:
                pass
        said.send(answers)

    @staticmethod
    def _read(port):
        with socket.create_connection(('127.0.0.1', port), 10) as client:
            client.sendall(b'GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
            begin = client.recv(12)
            # Thrown away where it is: to copy it is no part of what the daemon costs.
            while client.recv(1 << 20, socket.MSG_TRUNC):
                pass
            return begin == b'HTTP/1.1 200'

    def end(self):
        """How many answers it had."""
        self._ended.set()
        answers = self._said.recv()
        self._process.join()
        return answers


class Stage:
    """vmtide-host with its VMs, and a /proc of its own in which there is memory for all of them."""

    def __init__(self, folder, vms, rate, seconds, flood='none', scrapers=0):
        self.folder = Path(folder)
        self.vms = vms
        self.scrapers = scrapers
        self.port = free_port()
        self._host = None
        self._peers = subprocess.Popen(
            [build_dir() / 'tests/bench/peers/bench-peers', '--folder', folder, '--vms', str(vms), '--rate',
             str(rate), '--seconds', str(seconds), '--flood', flood],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def start(self):
        self._expect('listening')
        self._write_proc()
        self._write_config()
        os.sched_setaffinity(self._peers.pid, {1 % os.cpu_count()})
        with open(self.folder / 'log', 'wb') as log:
            self._host = subprocess.Popen(
                [build_dir() / 'host/vmtide-host', f'--config={self.folder}/host.conf', f'--procfs={self.folder}/proc'],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=self._prepare)
        self._expect('ready')

    @staticmethod
    def _prepare():
        limit = unit_limit()
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
        os.sched_setaffinity(0, {0})

    def _expect(self, word):
        # What is said is a short line at once: who has begun one ends it.
        there, _, _ = select.select([self._peers.stdout], [], [], START_SECONDS)
        line = self._peers.stdout.readline().strip() if there else f'nothing in {START_SECONDS} s'
        if line != word:
            raise RuntimeError(f'the peers said {line!r} instead of {word!r}')

    def _write_proc(self):
        proc = self.folder / 'proc'
        proc.mkdir()
        text = Path('/proc/meminfo').read_text(encoding='ascii')
        for key in 'MemTotal', 'MemFree', 'MemAvailable':
            text = re.sub(rf'^{key}:.*', f'{key}: {1 << 32} kB', text, flags=re.M)
        (proc / 'meminfo').write_text(text, encoding='ascii')
        (proc / 'pressure').mkdir()
        # A quiet host: its own pressure is no part of the figures.
        (proc / 'pressure/memory').write_text(
            ''.join(f'{kind} avg10=0.00 avg60=0.00 avg300=0.00 total=0\n' for kind in ('some', 'full')), encoding='ascii')
        (proc / str(self._peers.pid)).symlink_to(f'/proc/{self._peers.pid}')

    def _write_config(self):
        groups = [f'[VM vm{i}]\nChannel={self.folder}/{i}.channel\nQMP={self.folder}/{i}.qmp\nDevice=vm0\n'
                  for i in range(self.vms)]
        (self.folder / 'host.conf').write_text(
            f'[Host]\nRequestRate={RATE_OF_A_VM * 2}\nRequestBurst={RATE_OF_A_VM * 2}\n[Metrics]\nListen=127.0.0.1:{self.port}\n'
            + ''.join(groups),
            encoding='ascii')

    def cpu(self):
        """Seconds of CPU that the host daemon has used."""
        fields = Path(f'/proc/{self._host.pid}/stat').read_text(encoding='ascii').rpartition(')')[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def rss(self):
        status = Path(f'/proc/{self._host.pid}/status').read_text(encoding='ascii')
        return int(re.search(r'^VmHWM:\s+(\d+) kB', status, re.M).group(1)) / 1024

    def run(self):
        """Figures of the peers, and what it cost the host daemon."""
        # The first second is sd-event's, glibc's and the kernel's own.
        scrapers = [Scraper(self.port) for _ in range(self.scrapers)]
        time.sleep(1)
        before, begun = self.cpu(), time.monotonic()
        self._peers.stdin.write('g')
        self._peers.stdin.flush()
        figures = json.loads(self._peers.stdout.readline())
        figures['cpu'], figures['seconds'] = self.cpu() - before, time.monotonic() - begun
        figures['rss'] = self.rss()
        figures['answers'] = sum(s.end() for s in scrapers)
        figures['lost'] = figures['sent'] - figures['granted'] - figures['refused']
        return figures

    def log(self):
        return (self.folder / 'log').read_text(encoding='utf-8', errors='replace')

    def close(self):
        for process in self._peers, self._host:
            if process is not None and process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.wait(10)
        self._peers.stdin.close()
        self._peers.stdout.close()


def free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def unit_limit():
    unit = Path(__file__).parents[2] / 'systemd/vmtide-host.service.in'
    return int(re.search(r'^LimitNOFILE=(\d+)$', unit.read_text(encoding='ascii'), re.M).group(1))


def measure(vms, rate, seconds, flood='none', scrapers=0):
    with tempfile.TemporaryDirectory(prefix='vmt-') as folder:
        print(f'{vms} VMs, {rate} requests/s, flood {flood}, {scrapers} scrapers …', file=sys.stderr)
        stage = Stage(folder, vms, rate, seconds, flood, scrapers)
        try:
            stage.start()
            figures = stage.run()
            figures['cut'] = any(text in stage.log() for text in CUT_OFF)
        finally:
            stage.close()
    return figures


def msec(usec):
    return f'{usec / 1000:8.2f}'


def show_load(options):
    print(f'\n{"VMs":>5} {"asked/s":>8} {"p50 ms":>8} {"p90 ms":>8} {"p99 ms":>8} {"max ms":>8} {"refused":>8} {"lost":>6} '
          f'{"RSS MiB":>8} {"us/request":>11} {"core %":>7}', flush=True)
    cost = {}
    for vms in options.vms:
        rate = min(options.rate, vms * RATE_OF_A_VM)
        f = measure(vms, rate, options.seconds)
        cost[vms] = f['cpu'] / max(f['sent'], 1) * 1e6
        print(f'{vms:5} {rate:8} {msec(f["p50"])} {msec(f["p90"])} {msec(f["p99"])} {msec(f["max"])} {f["refused"]:8} '
              f'{f["lost"]:6} {f["rss"]:8.1f} {cost[vms]:11.1f} {100 * f["cpu"] / f["seconds"]:7.1f}', flush=True)
    if len(cost) > 1:
        first = 10 if 10 in cost else min(cost)
        print(f'cost of a request, {max(cost)} VMs to {first}: {cost[max(cost)] / cost[first]:.2f} x')


def show_idle(options):
    f = measure(IDLE_VMS, 0, max(options.seconds, 20))
    print(f'\n{IDLE_VMS} idle VMs that say their stats every 10 s: {100 * f["cpu"] / f["seconds"]:.2f} % of a core, '
          f'RSS {f["rss"]:.1f} MiB', flush=True)


def show_flood(options):
    print(f'\n{FLOOD_VMS} VMs, {FLOOD_RATE} requests/s, and one of them floods\n{"flood":9} {"p50 ms":>8} {"p99 ms":>8} '
          f'{"x quiet":>8} {"lost":>6} {"cut off":>8} {"core %":>7}', flush=True)
    quiet = None
    for flood in ('none', *FLOODS):
        f = measure(FLOOD_VMS, FLOOD_RATE, options.seconds, flood)
        quiet = quiet or f['p99']
        print(f'{flood:9} {msec(f["p50"])} {msec(f["p99"])} {f["p99"] / quiet:8.2f} {f["lost"]:6} '
              f'{"yes" if f["cut"] else "no":>8} {100 * f["cpu"] / f["seconds"]:7.1f}', flush=True)


def show_scraper(options):
    print(f'\n{SCRAPED_VMS} VMs beside scrapers in a loop, medians of {ROUNDS}\n{"scrapers":>8} {"asked/s":>8} {"answers/s":>9} {"p50 ms":>8} '
          f'{"p99 ms":>8} {"x quiet":>8} {"lost":>6} {"RSS MiB":>8} {"core %":>7} {"more %":>7}', flush=True)
    for rate in (0, SCRAPED_RATE):
        figures = {}
        # In turn, so that a machine that is busy for a while is so for all.
        for _ in range(ROUNDS):
            for scrapers in (0, *SCRAPERS):
                figures.setdefault(scrapers, []).append(measure(SCRAPED_VMS, rate, options.seconds, scrapers=scrapers))
        for scrapers, rows in figures.items():
            f = {key: statistics.median(row[key] for row in rows) for key in rows[0]}
            if scrapers == 0:
                quiet = f
            core, ratio = 100 * f['cpu'] / f['seconds'], f['p99'] / max(quiet['p99'], 1)
            print(f'{scrapers:8} {rate:8} {f["answers"] / f["seconds"]:9.1f} {msec(f["p50"])} {msec(f["p99"])} {ratio:8.2f} '
                  f'{sum(row["lost"] for row in rows):6} {f["rss"]:8.1f} {core:7.1f} '
                  f'{core - 100 * quiet["cpu"] / quiet["seconds"]:7.1f}', flush=True)


def main():
    options = arguments()
    parts = {'load': show_load, 'idle': show_idle, 'flood': show_flood, 'scraper': show_scraper}
    for name in options.only or parts:
        parts[name](options)
    print(ASKED)
    return 0


lab.run(main)
