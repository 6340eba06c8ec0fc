# SPDX-License-Identifier: MIT
"""What is done with the guests at random: work, and administrators' calls in them and on the host."""

import re
import subprocess
import time

from tests.vm.rig import MIB, GuestGone, build_dir

from .explain import RESETS, UNAVAILABLE

# Within boot memory and 6 GiB of the device, whatever else is at work: nothing has to be killed.
WORK_MAX = 3072 * MIB
KINDS = ('anon', 'anon', 'tmpfs', 'file')
# vmtidectl tells an error by its text alone. These are of org.vmtide.Error., of what the daemons may well refuse.
REFUSED = re.compile(
    r'Plug: (\d+ bytes on top of \S+ are more than the max size of |size \S+ is above the max size )|Plug: 0 bytes is no size'
    r'|Unplug: \d+ bytes less than \S+ are under the min size of '
    r'|(Plug|Unplug|Reserve: nothing is reserved): more than (the rate of )?\d+ requests a second'
    r'|(Plug|Unplug): \d+ requests are waiting already'
    # The machine that it runs on is short of memory, which the host's log says too.
    r'|(Plug|Reserve: nothing is reserved): \S+ more asked, the host has \S+ to give'
    r'|(Plug|Unplug|Reserve): (nothing is reserved: )?paused by an administrator:'
    r'|Reserve: (nothing is reserved: \S+ beside a headroom of |the host granted a size of )'
    r'|\w+: \S+ is no size to shrink to: |\w+: it is paused, which Resume ends: nothing is unplugged')
# The command line itself.
USAGE = re.compile(r'.*\b16E\b')
GONE = re.compile(
    r'(\w+: )?(nothing is reserved: )?(the host did not answer in \d+ ms|the host has gone; |the host cannot be reached: '
    r'|no host answers on the channel; |QEMU (does not answer|did not take)|\S+ of \S+ were plugged in \d+ s'
    r'|The name (is not activatable|org\.vmtide\.\w+ was not provided by any \.service files)|Could not activate remote peer'
    r'|Remote peer disconnected|Message recipient disconnected from message bus without replying'
    r'|(Connection|Method call) timed out|Connection (reset by peer|terminated)|Transport endpoint is not connected'
    r'|\w+ is \S+: no guest is there that could be asked)'
    r'|the (system bus|host\'s daemon|bus) cannot be reached: ')
STATUS_REFUSED, STATUS_GONE = (1, 75), (1, 69, 75)


class Ledger:
    """Calls: every one ends in one of these ways, or is a difference."""

    def __init__(self, name, windows):
        self.name, self.windows = name, windows
        self.made = self.done = self.refused = self.gone = self.lost = 0
        self.differences = []

    def take(self, verb, status, said, begun):
        """SAID is the first line of the error."""
        if status == 0:
            self.done += 1
        elif status in STATUS_REFUSED and REFUSED.match(said) or status == 64 and verb == 'unplug 16E' and USAGE.match(said):
            self.refused += 1
        elif self._is_gone(verb, status, said) and self.windows.any(self.name, begun, time.monotonic(), UNAVAILABLE):
            self.gone += 1
        else:
            kinds = self.windows.kinds(self.name, begun, time.monotonic())
            on = ', '.join(sorted(kinds)) or 'nothing'
            self.differences.append(f'vmtidectl {verb}: status {status}: {said} (on: {on})')

    @staticmethod
    def _is_gone(verb, status, said):
        """That a daemon is not there is what status tells, and no error."""
        return (status, verb, said) == (69, 'status', '') or status in STATUS_GONE and GONE.match(said)

    def all_differences(self):
        rest = self.made - self.done - self.refused - self.gone - self.lost - len(self.differences)
        return self.differences + ([f'{rest} calls have no end'] if rest else [])

    def row(self):
        return (f'{self.made} calls = {self.done} done + {self.refused} refused + {self.gone} while a daemon was gone'
                + (f' + {self.lost} lost in a reset of the guest' if self.lost else ''))


class Calls(Ledger):
    """vmtidectl in a guest, as an administrator would."""

    def __init__(self, stage, windows, rng):
        super().__init__(stage.name, windows)
        self.stage, self.rng = stage, rng

    def one(self):
        self.stage.up.wait()
        size = self.rng.choice(('2M', '64M', '128M', '300M', '512M', '1G'))
        verb = self.rng.choice((
            f'plug {size}', f'plug {size}', f'unplug {size}', f'unplug {size}', 'set-limits --max 5G', 'set-limits --reset',
            f'reserve {size} -- sleep 1', 'pause --for 2s', 'resume', 'status', 'explain -n 5', 'set-limits --max 4G --persist',
            'unplug 16E', 'plug 0', 'plug 100G'))
        begun = time.monotonic()
        self.made += 1
        try:
            result = self.stage.guest.run(f'vmtidectl {verb}', 120)
        except GuestGone:
            if self.windows.any(self.name, begun, time.monotonic(), RESETS):
                self.lost += 1
            else:
                self.differences.append(f'vmtidectl {verb}: the guest went away, and nobody has reset it')
            return
        if result.status != 0 and self.windows.any(self.name, begun, time.monotonic(), RESETS):
            self.lost += 1
            return
        self.take(verb, result.status, first_line(result.stderr), begun)


class HostCalls(Ledger):
    """vmtidectl host, as the host's administrator would."""

    def __init__(self, stages, windows, rng):
        super().__init__(None, windows)
        self.stages, self.rng = stages, rng
        self.bus = stages[0].bus_address

    def one(self):
        vm = self.rng.choice(self.stages).name
        verb = self.rng.choice((
            f'set-limits {vm} --max 5G', f'set-limits {vm} --max 5632M --persist', f'set-limits {vm} --reset',
            f'set-weight {vm} 300', f'set-weight {vm} 0', f'shrink {vm} {self.rng.choice(("512M", "1G", "3G"))}',
            f'pause {vm} --for 2s', f'resume {vm}', 'list', f'show {vm}'))
        self.call(verb, vm)

    def call(self, verb, vm):
        begun = time.monotonic()
        self.made += 1
        # What a pause does to others is seen until it is over.
        opened = self.windows.begin([vm], 'host_pause') if verb.startswith('pause') else []
        try:
            done = subprocess.run([build_dir() / 'ctl/vmtidectl', f'--bus={self.bus}', 'host', *verb.split()],
                                  capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, check=False)
            self.take(f'host {verb}', done.returncode, first_line(done.stderr), begun)
        except subprocess.TimeoutExpired:
            self.differences.append(f'vmtidectl host {verb}: no end in 60 s')
        finally:
            self.windows.end(opened)


def first_line(text):
    """Of what vmtidectl says: the call and the daemon's text."""
    return (text.strip().splitlines() or [''])[0].removeprefix('vmtidectl: ')


class Work:
    """Bursts in user.slice; each has to end well."""

    def __init__(self, stage, windows, rng):
        self.stage, self.windows, self.rng = stage, windows, rng
        self.begun = self.ended = self.lost = 0
        self.differences = []

    def one(self):
        self.stage.up.wait()
        kind, size = self.rng.choice(KINDS), self.rng.randrange(128, WORK_MAX // MIB)
        if kind == 'file':
            size = min(size, 1500)
        rate = self.rng.choice(('', '--rate 60M', '--rate 150M', '--rate 300M'))
        threads, hold = self.rng.randrange(1, 4), self.rng.randrange(8)
        self.do(f'exec vmhog --kind {kind} {rate} --threads {threads} --bytes {size}M --hold {hold}')

    def do(self, script):
        self.begun += 1
        begun = time.monotonic()
        try:
            result = self.stage.guest.start_command(script, slice_name='user.slice').wait(600)
            said = '' if result.status == 0 else f'status {result.status}: {result.stderr.strip()}'
        except GuestGone as error:
            said = str(error)
        if not said:
            self.ended += 1
        elif self.windows.any(self.stage.name, begun, time.monotonic(), RESETS):
            self.lost += 1
        else:
            self.differences.append(f'{script}: {said}')

    def all_differences(self):
        rest = self.begun - self.ended - self.lost - len(self.differences)
        return self.differences + ([f'{rest} bursts have no end'] if rest else [])

    def row(self):
        return f'{self.begun} bursts = {self.ended} ended well + {self.lost} lost in a reset of the guest'
