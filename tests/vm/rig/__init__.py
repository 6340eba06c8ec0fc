# SPDX-License-Identifier: MIT
"""Boots real guests under QEMU for the VM tests, the demo and the benches."""

from .agent import GuestGone, Result
from .overlay import GUEST_UNITS, install_build
from .paths import RigError, build_dir, say
from .process import wait_until
from .qemu import GIB, MIB, Guest

__all__ = ['GIB', 'GUEST_UNITS', 'Guest', 'GuestGone', 'MIB', 'Result', 'RigError', 'build_dir', 'install_build', 'say',
           'wait_until']
