# SPDX-License-Identifier: MIT
"""What goes into the guest beside Debian: the files that `meson install` made, and the rig's own."""

import os
import re
import subprocess
from pathlib import Path

from .cpio import Cpio
from .paths import RigError, build_dir, find_tool, tool_environment

GUEST = Path(__file__).resolve().parents[1] / 'guest'
HELPERS = ('vmtest-agent', 'vmhog', 'vmalloc')
UNIT_FOLDERS = ('usr/lib/systemd/system', 'lib/systemd/system', 'etc/systemd/system')
# The daemons of a guest; vmtide-host is the host's.
GUEST_UNITS = ('vmtide-actuator.service', 'vmtide-monitor.service')
# They cost a second of boot and have no part in what is tested.
MASKED = (
    'apt-daily.timer', 'apt-daily-upgrade.timer', 'dpkg-db-backup.timer', 'e2scrub_all.timer', 'fstrim.timer',
    'systemd-tmpfiles-clean.timer', 'e2scrub_reap.service', 'getty.target', 'getty-static.service',
    'systemd-update-utmp.service', 'systemd-update-utmp-runlevel.service', 'systemd-firstboot.service',
    'systemd-pstore.service', 'systemd-random-seed.service', 'systemd-binfmt.service', 'systemd-repart.service',
    'systemd-machine-id-commit.service', 'systemd-remount-fs.service', 'dev-hugepages.mount', 'dev-mqueue.mount',
    'sys-kernel-debug.mount', 'sys-kernel-tracing.mount', 'sys-fs-fuse-connections.mount',
    'proc-sys-fs-binfmt_misc.automount', 'systemd-ask-password-wall.path', 'systemd-ask-password-console.path',
    'modprobe@configfs.service', 'modprobe@drm.service', 'modprobe@efi_pstore.service', 'modprobe@fuse.service',
    'kmod-static-nodes.service', 'systemd-tmpfiles-setup-dev.service', 'modprobe@dm_mod.service', 'modprobe@loop.service', 'sys-kernel-config.mount', 'rc-local.service',
    # It kills what waits for memory; test_oomd.py starts it.
    'systemd-oomd.service', 'systemd-oomd.socket',
)
# They look for things that this guest has not.
MASKED_GENERATORS = (
    'systemd-cryptsetup-generator', 'systemd-debug-generator', 'systemd-fstab-generator', 'systemd-getty-generator',
    'systemd-gpt-auto-generator', 'systemd-hibernate-resume-generator', 'systemd-integritysetup-generator',
    'systemd-rc-local-generator', 'systemd-run-generator', 'systemd-system-update-generator',
    'systemd-sysv-generator', 'systemd-veritysetup-generator',
)


def install_build(target):
    """Runs `meson install` of the build folder into the folder TARGET."""
    build = build_dir()
    if not (build / 'build.ninja').exists():
        raise RigError(f'{build} is not a configured build: run scripts/setup and ninja -C {build}')
    done = subprocess.run([find_tool('meson'), 'install', '-C', str(build), '--quiet', '--destdir', str(target)],
                          env=tool_environment(), text=True, stdin=subprocess.DEVNULL, capture_output=True,
                          check=False)
    if done.returncode != 0:
        raise RigError(f'meson install failed:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}')


def _find_unit(destdir, unit):
    for folder in UNIT_FOLDERS:
        path = Path(destdir) / folder / unit
        if path.is_file():
            return path
    return None


def _wanted_by(path):
    """The targets of a unit's [Install] section."""
    section, targets = '', []
    for line in path.read_text(encoding='utf-8').splitlines():
        if line.startswith('['):
            section = line.strip()
        match = re.match(r'WantedBy=(.*)', line)
        if match and section == '[Install]':
            targets += match.group(1).split()
    return targets


def _enable(archive, destdir, unit):
    path = _find_unit(destdir, unit)
    if path is None:
        raise RigError(f'{unit} is to be enabled in the guest, but meson install put no such unit anywhere')
    targets = _wanted_by(path)
    if not targets:
        raise RigError(f'{unit} has no WantedBy= and cannot be enabled')
    for target in targets:
        archive.link(f'overlay/etc/systemd/system/{target}.wants/{unit}', f'/{path.relative_to(destdir)}')


def _add_tree(archive, source):
    """Adds a tree, in the guest's merged /usr."""
    with os.scandir(source) as entries:
        tops = sorted(entry.name for entry in entries)
    for top in tops:
        prefix = f'overlay/usr/{top}' if top in ('bin', 'sbin', 'lib', 'lib64') else f'overlay/{top}'
        archive.tree(Path(source) / top, prefix)


def make(destdir=None, units=GUEST_UNITS, files=None):
    """The overlay as a cpio archive.

    destdir: an installed tree (see install_build), or None for a guest without vmtide; units: which of its units
    are enabled; files: more files, a dict of path to text or bytes, or (contents, mode).
    """
    archive = Cpio()
    _add_tree(archive, GUEST / 'overlay')
    for helper in HELPERS:
        path = build_dir() / 'tests/vm/guest' / helper
        if not path.exists():
            raise RigError(f'{path} has not been built: run ninja -C {build_dir()}')
        folder = 'lib/vmtest' if helper == 'vmtest-agent' else 'local/bin'
        archive.file(f'overlay/usr/{folder}/{helper}', path.read_bytes(), 0o755)
    for unit in MASKED:
        archive.link(f'overlay/etc/systemd/system/{unit}', '/dev/null')
    for generator in MASKED_GENERATORS:
        archive.link(f'overlay/etc/systemd/system-generators/{generator}', '/dev/null')
    archive.link('overlay/etc/systemd/system/default.target', '/lib/systemd/system/multi-user.target')
    if destdir is not None:
        _add_tree(archive, destdir)
        for unit in units:
            _enable(archive, destdir, unit)
    for path, contents in (files or {}).items():
        contents, mode = contents if isinstance(contents, tuple) else (contents, 0o644)
        data = contents.encode() if isinstance(contents, str) else contents
        archive.file(f'overlay/{path.lstrip("/")}', data, mode)
    archive.file('overlay-id', os.urandom(16).hex().encode())
    return archive.finish()
