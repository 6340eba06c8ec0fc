# SPDX-License-Identifier: MIT
"""Chooses between KVM and TCG by booting a kernel: /dev/kvm exists on machines where a stock kernel hangs with it."""

import os
import platform
import subprocess
from pathlib import Path

from . import image
from .paths import cache_dir, find_tool, say, tool_environment

# -cx16: the TCG of QEMU 7.2 crashes 6.12 kernels at cmpxchg16b.
# tb-size (MiB): the translation cache would grow to a quarter of the host's memory and count as the guest's RSS.
TCG = ('-accel', 'tcg,thread=multi,tb-size=128', '-cpu', 'Nehalem,-cx16')
KVM = ('-accel', 'kvm', '-cpu', 'host')
PROBE_TIMEOUT = 10


def _probe():
    kernel = image.kernel('6.1')
    argv = [find_tool('qemu-system-x86_64'), *KVM, '-machine', 'q35', '-m', '512M', '-nodefaults', '-display', 'none',
            '-no-user-config', '-no-reboot', '-serial', 'stdio', '-kernel', kernel.vmlinuz, '-initrd', kernel.initrd,
            '-append', 'console=ttyS0 quiet vmtest=probe panic=-1']
    try:
        done = subprocess.run(argv, env=tool_environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, timeout=PROBE_TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        return False
    return b'vmtest: probe ok' in done.stdout


def has_kvm():
    """Whether a guest boots with KVM here; asked once for each boot of this machine."""
    if not os.access('/dev/kvm', os.R_OK | os.W_OK):
        return False
    boot_id = Path('/proc/sys/kernel/random/boot_id').read_text(encoding='ascii').strip()
    answer = cache_dir() / f'kvm-{platform.release()}-{boot_id}'
    if not answer.exists():
        say(f'guest: probing KVM (at most {PROBE_TIMEOUT} s)')
        works = _probe()
        say('guest: KVM works' if works else 'guest: no kernel boots with KVM here, taking TCG')
        for stale in cache_dir().glob('kvm-*'):
            stale.unlink(missing_ok=True)
        fresh = cache_dir() / f'.kvm-{os.getpid()}'
        fresh.write_text('yes' if works else 'no', encoding='ascii')
        fresh.rename(answer)
    return answer.read_text(encoding='ascii') == 'yes'


def options(accel='auto'):
    """QEMU's options for 'kvm', 'tcg', or 'auto': KVM when it works."""
    if accel == 'auto':
        accel = os.environ.get('VMTIDE_ACCEL') or ('kvm' if has_kvm() else 'tcg')
    return KVM if accel == 'kvm' else TCG
