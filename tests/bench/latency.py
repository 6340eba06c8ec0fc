# SPDX-License-Identifier: MIT
"""scripts/bench latency: how long it takes to get memory, stage by stage."""

import json
import re
import time

from tests.vm.rig.qemu import GIB, MIB

from . import lab

# What the project asks of itself (milliseconds, and times the bare device).
GRANTED_MEDIAN_MS = 15
COMPLETE_RATIO = 1.3
SETTLE_SECONDS = 60
REST = 64 * MIB


def client(guest, *arguments, timeout=120):
    output = guest.check(' '.join([lab.CLIENT, *map(str, arguments)]), timeout=timeout)
    return [json.loads(line) for line in output.splitlines()]


def agent_round_trip(guest):
    """Seconds of the shortest answer over the test port: what a line from the guest is late, twice."""
    times = []
    for _ in range(20):
        begun = time.monotonic()
        guest.read('/proc/uptime')
        times.append(time.monotonic() - begun)
    return lab.median(times)


def drain(guest):
    """Gives all back, but for a few blocks that something may still hold: the driver tries again only after 50 s."""
    guest.request(0)
    before = None
    while before != (before := guest.wait_size(lambda size: size <= REST, SETTLE_SECONDS)):
        time.sleep(0.5)


def bare(guest, size, late):
    """Seconds from a bare qom-set to MemTotal complete in the guest."""
    total, there = guest.meminfo()['MemTotal'], guest.size()
    watch = guest.start_command(f'exec {lab.CLIENT} wait {total + size}')
    watch.wait_output('watching', 30)
    begun = time.monotonic()
    guest.request(there + size)
    watch.wait_output('complete', 60)
    return time.monotonic() - begun - late


def grant_stages(guest, count):
    host = []
    rows = client(guest, 'pingpong', count)
    for match in re.finditer(r'QEMU answered after (\d+) us', guest.host.text()):
        host.append(int(match.group(1)) / 1000)
    granted = [(r['granted_us'] - r['decided_us']) / 1000 for r in rows]
    socket = [r['us'] / 1000 for r in client(guest, 'property', count)]
    return granted, socket, host


def print_stages(granted, socket, host):
    print(f'\n{"stage":52} {"median":>9} {"p90":>9} {"worst":>9}   ms')
    table = [('monitor - actuator - monitor, own socket (guest clock)', socket)]
    if host:
        table.append(("host: resize read to QEMU's answer (host clock)", host))
        rest = lab.median(granted) - lab.median(socket) - lab.median(host)
    table.append(('whole: decision to granted (guest clock)', granted))
    for name, values in table:
        print(f'{name:52} {lab.median(values):9.2f} {lab.percentile(values, 90):9.2f} {max(values):9.2f}')
    if host:
        print(f'{"rest: virtio-serial both ways, two loops woken":52} {rest:9.2f}')


def main():
    parser = lab.parser('latency', __doc__)
    parser.add_argument('--count', type=int, default=100, help='requests for the stages (default %(default)s)')
    parser.add_argument('--pairs', type=int, default=7, help='interleaved pairs of 4 GiB (default %(default)s)')
    options = parser.parse_args()
    with lab.guest('latency', options.kernel, ['--log-level', 'debug']) as guest:
        guest.check('systemctl stop vmtide-monitor')
        granted, socket, host = grant_stages(guest, options.count)
        print_stages(granted, socket, host)

        late = agent_round_trip(guest) / 2
        ours, theirs = [], []
        size = 4 * GIB
        print(f'\n{"pair":>6} {"vmtide":>10} {"bare qom-set":>13} {"ratio":>7}   ({size // MIB} MiB to MemTotal complete, ms)')
        for pair in range(options.pairs):
            drain(guest)
            row = client(guest, 'plug', size)[0]
            ours.append((row['complete_us'] - row['decided_us']) / 1e6)
            drain(guest)
            theirs.append(bare(guest, size, late))
            print(f'{pair + 1:6} {ours[-1] * 1000:10.1f} {theirs[-1] * 1000:13.1f} {ours[-1] / theirs[-1]:7.2f}')
        drain(guest)
    ratio = lab.median([a / b for a, b in zip(ours, theirs)])
    print(f'\ndecision to granted, median: {lab.median(granted):.2f} ms (asked: at most {GRANTED_MEDIAN_MS})')
    print(f'4 GiB complete, median ratio: {ratio:.2f} (asked: at most {COMPLETE_RATIO})')
    return 0


lab.run(main)
