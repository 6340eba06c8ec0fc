# SPDX-License-Identifier: MIT
"""Random work, faults and administrators' calls in real guests, and a balance at the end: what was asked was answered,
all agree, nothing is leaked, and each line of the logs has its reason. The last stretch is without faults."""

import argparse
import contextlib
import random
import socket
import sys
import tempfile
from pathlib import Path

from tests.vm.faults.stage import Stage, helper_files
from tests.vm.rig import Guest, build_dir, install_build, say

from .soak import Soak
from .windows import Windows

CHECKPOINT_SECONDS = 300
# Of the time, but within these.
STRETCH_SHARE, STRETCH_MIN, STRETCH_MAX = 0.1, 60, 180
MINUTES_MIN, MINUTES_MAX = 3, 1440
NAMES = ('one', 'two', 'three', 'four')


def free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def landlord(options, folder, windows):
    """The stages of all guests, with one host daemon before them."""
    with contextlib.ExitStack() as stack:
        install_build(folder)
        names = NAMES[:options.guests]
        # What daemons say while they start and nobody answers yet.
        booting = windows.begin(names, 'boot')
        guests = []
        for name in names:
            logs = build_dir() / 'vm-logs' / f'soak-{name}'
            guests.append(stack.enter_context(
                Guest(options.kernel, destdir=folder, files=helper_files(), logs=logs)))
        for guest in guests:
            guest.wait_booted()
        port = free_port()
        config = guests[0].folder / 'host.conf'
        config.write_text(f'[Metrics]\nListen=127.0.0.1:{port}\n', encoding='ascii')
        config.chmod(0o644)
        others = [Stage(guest, name=name, landlord=False) for guest, name in zip(guests[1:], NAMES[1:])]
        first = Stage(guests[0], name=NAMES[0], others=others, options=[f'--config={config}'])
        stages = [first, *others]
        for stage in stages:
            stack.callback(stage.close)
        windows.end(booting)
        yield stages, port


def run(options, soak):
    """Busy with checkpoints between, and the stretch at the end."""
    left = options.minutes * 60
    stretch = min(max(left * STRETCH_SHARE, STRETCH_MIN), STRETCH_MAX)
    left -= stretch
    soak.checkpoint()
    while left > 0:
        soak.busy(min(left, CHECKPOINT_SECONDS))
        left -= CHECKPOINT_SECONDS
        soak.checkpoint()
    soak.stretch(stretch)
    soak.checkpoint()


def minutes(text):
    value = float(text)
    if not MINUTES_MIN <= value <= MINUTES_MAX:
        raise argparse.ArgumentTypeError(f'{text}: expected are {MINUTES_MIN} to {MINUTES_MAX} minutes')
    return value


def main():
    parser = argparse.ArgumentParser(prog='scripts/soak', description=__doc__)
    parser.add_argument('minutes', type=minutes, help=f'how long, {MINUTES_MIN} to {MINUTES_MAX}; the last tenth (at least '
                        f'{STRETCH_MIN} and at most {STRETCH_MAX} s) is without faults')
    parser.add_argument('--guests', type=int, default=2, choices=range(1, len(NAMES) + 1), help='guests of one host (2)')
    parser.add_argument('--kernel', default='6.12', choices=('6.1', '6.12'), help="the guests' kernel (6.12)")
    parser.add_argument('--seed', type=int, default=None, help='the same acts again, though not at the same moments')
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.randrange(1 << 32)
    say(f'soak: {options.guests} guests, Linux {options.kernel}, {options.minutes:g} minutes, --seed {seed}; logs in '
        f'{build_dir() / "vm-logs"}')
    for name in NAMES:
        for old in Path(build_dir() / 'vm-logs' / f'soak-{name}').glob('*'):
            old.unlink()
    windows = Windows()
    with (tempfile.TemporaryDirectory(prefix='vmtide-installed-') as folder,
          landlord(options, folder, windows) as (stages, port)):
        soak = Soak(stages, port, windows, random.Random(seed))
        try:
            run(options, soak)
        except (Exception, KeyboardInterrupt) as error:  # the balance is told whatever happens
            soak.differences.append(f'the soak was ended by {type(error).__name__}: {error}')
        found = soak.balance()
        if found:
            for stage in stages:
                stage.guest.save_journal()
        soak.report(found)
    return 1 if found else 0


if __name__ == '__main__':
    sys.exit(main())
