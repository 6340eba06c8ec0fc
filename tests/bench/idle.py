# SPDX-License-Identifier: MIT
"""scripts/bench idle: what the daemons cost when nothing happens."""

import re
import time

from tests.vm.rig.qemu import MIB

from . import lab

# What the project asks of itself, for each guest daemon.
WAKEUPS_PER_SECOND = 1.2
PSS_MIB = 4
QUIET_SECONDS = 40


def pss(text):
    return int(re.search(r'^Pss:\s+(\d+) kB', text, re.M).group(1)) / 1024


def main():
    parser = lab.parser('idle', __doc__)
    parser.add_argument('--seconds', type=int, default=60, help='how long to watch (default %(default)s)')
    options = parser.parse_args()
    with lab.guest('idle', options.kernel) as guest:
        pids = {unit: lab.main_pid(guest, unit) for unit in ('vmtide-monitor', 'vmtide-actuator')}
        time.sleep(QUIET_SECONDS)  # boot's own work is no idle guest

        def read():
            counts = {unit: lab.switches(guest.read(f'/proc/{pid}/status')) for unit, pid in pids.items()}
            with open(f'/proc/{guest.host.pid}/status', encoding='ascii') as file:
                counts['vmtide-host'] = lab.switches(file.read())
            return counts

        begun, before = time.monotonic(), read()
        time.sleep(options.seconds)
        after, passed = read(), time.monotonic() - begun
        memory = {unit: pss(guest.read(f'/proc/{pid}/smaps_rollup')) for unit, pid in pids.items()}
        with open(f'/proc/{guest.host.pid}/smaps_rollup', encoding='ascii') as file:
            memory['vmtide-host'] = pss(file.read())
        available = guest.meminfo()['MemAvailable'] // MIB
    print(f'\nidle guest, Linux {options.kernel}, {passed:.0f} s, {available} MiB available')
    print(f'{"daemon":18} {"wake-ups/s":>11} {"PSS MiB":>9}')
    for unit, count in after.items():
        print(f'{unit:18} {(count - before[unit]) / passed:11.2f} {memory[unit]:9.2f}')
    print(f'asked, for each guest daemon: at most {WAKEUPS_PER_SECOND} wake-ups/s and {PSS_MIB} MiB')
    return 0


lab.run(main)
