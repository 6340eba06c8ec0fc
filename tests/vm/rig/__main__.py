# SPDX-License-Identifier: MIT
"""The rig by hand, for debugging: python3 -m tests.vm.rig --help"""

import argparse
import sys
import tempfile

from . import accel, image
from .paths import RigError, cache_dir, say
from .overlay import GUEST_UNITS, install_build
from .qemu import Guest


def _prepare(options):
    if options.refresh:
        image.forget()
    image.image()
    for series in image.KERNELS:
        say(f'guest kernel {series}: {image.kernel(series).release}')
    say(f'guest: {"KVM" if accel.has_kvm() else "TCG"}, cache in {cache_dir()}')
    return 0


def _forward(command, stream, sent):
    text = command.stdout() if stream is sys.stdout else command.stderr()
    stream.write(text[sent:])
    stream.flush()
    return len(text)


def _run(options):
    with tempfile.TemporaryDirectory(prefix='vmtide-installed-') as folder:
        if not options.bare:
            install_build(folder)
        with Guest(options.kernel, boot=options.boot, device=options.device, smp=options.smp, append=options.append,
                   memhp=options.memhp or None, destdir=None if options.bare else folder,
                   units=options.unit if options.unit is not None else GUEST_UNITS, logs=options.logs) as guest:
            state = guest.wait_booted()
            say(f'guest: {guest.kernel.release} is {state} after {guest.booted_in:.1f} s')
            if options.host:
                guest.start_host()
            command = guest.start_command(' '.join(options.command))
            sent = {sys.stdout: 0, sys.stderr: 0}
            while True:
                ended = command.poll() is not None
                for stream in sent:
                    sent[stream] = _forward(command, stream, sent[stream])
                if ended:
                    return command.status
                with guest.agent.changed:
                    guest.agent.changed.wait(0.1)


def main():
    parser = argparse.ArgumentParser(prog='python3 -m tests.vm.rig', description='The guests of the VM tests.')
    commands = parser.add_subparsers(dest='do', required=True)
    prepare = commands.add_parser('prepare', help='make what is cached: kernels, image, the answer to "does KVM work"')
    prepare.add_argument('--refresh', action='store_true', help='throw the cache away first, to get newer packages')
    prepare.set_defaults(work=_prepare)

    run = commands.add_parser('run', help='boot a guest, run a command in it, show what it says')
    run.add_argument('--kernel', choices=image.KERNELS, default='6.1')
    run.add_argument('--boot', default='1G', help='boot memory (1G)')
    run.add_argument('--device', default='8G', help='size of the virtio-mem device (8G)')
    run.add_argument('--smp', type=int, default=2, help='processors (2)')
    run.add_argument('--memhp', default='online_movable', help='memhp_default_state=; "" leaves it out')
    run.add_argument('--append', default='', help='more of the kernel command line')
    run.add_argument('--bare', action='store_true', help='without the build: Debian and the test helpers only')
    run.add_argument('--unit', action='append', help='a unit to enable, instead of the guest daemons')
    run.add_argument('--host', action='store_true', help='start vmtide-host for the guest')
    run.add_argument('--logs', help='folder for console.log, journal.log, qemu.log, host.log')
    run.add_argument('command', nargs='+', help='a command of the shell')
    run.set_defaults(work=_run)

    options = parser.parse_args()
    try:
        return options.work(options)
    except RigError as error:
        say(f'rig: {error}')
        return 1


if __name__ == '__main__':
    sys.exit(main())
