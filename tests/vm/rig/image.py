# SPDX-License-Identifier: MIT
"""Makes and caches what the guest boots: a Debian image, and a kernel with its initramfs.

The image is plain Debian. What the rig and the build put into it comes with the initramfs (overlay.py), so it is
made once and never written to.
"""

import hashlib
import lzma
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections import namedtuple
from pathlib import Path

from . import apt
from .cpio import Cpio
from .paths import RigError, cache_dir, cached, find_tool, say, tool_environment

KERNELS = {
    '6.1': r'linux-image-6\.1\.[0-9.]+-[0-9]+-cloud-amd64',
    '6.12': r'linux-image-6\.12\.[0-9]+\+\S+-cloud-amd64',
}
PACKAGES = (
    'systemd', 'systemd-sysv', 'dbus', 'polkitd', 'udev', 'kmod', 'procps', 'util-linux', 'libpam-systemd',
    'libjansson4', 'libglib2.0-0', 'libmicrohttpd12', 'libvirt0', 'libxml2', 'systemd-oomd',
)
# virtio_mem is left to the guest's udev, as on any machine.
EARLY_MODULES = ('virtio_pci', 'virtio_blk', 'ext4', 'virtio_console')
IMAGE_SIZE = '6G'
INIT = Path(__file__).resolve().parents[1] / 'guest' / 'init'
FORMAT = 1  # raise it when the way in which images are made changes

Kernel = namedtuple('Kernel', 'series release vmlinuz initrd modules')


def _key(*parts):
    return hashlib.sha256(repr((FORMAT, apt.CODENAME, *parts)).encode()).hexdigest()[:12]


def _early_modules(tree, release):
    """The files of EARLY_MODULES and what they depend on, in the order in which they are to be loaded."""
    lines = (tree / 'modules.dep').read_text(encoding='ascii').splitlines()
    needs = {name: rest.split() for name, _, rest in (line.partition(':') for line in lines)}
    by_name = {re.sub(r'\.ko.*', '', os.path.basename(path)).replace('-', '_'): path for path in needs}
    builtin = {os.path.basename(line)[:-len('.ko')].replace('-', '_')
               for line in (tree / 'modules.builtin').read_text(encoding='ascii').split()}
    order = []
    for name in EARLY_MODULES:
        if name in builtin:
            continue
        if name not in by_name:
            raise RigError(f'kernel {release} has no module {name}')
        path = by_name[name]
        order += [p for p in [*reversed(needs[path]), path] if p not in order]
    return [tree / path for path in order]


def _read_module(path):
    data = path.read_bytes()
    return lzma.decompress(data) if path.suffix == '.xz' else data


def _make_initrd(modules, target):
    busybox = Path('/bin/busybox')
    if not busybox.exists():
        raise RigError('busybox-static is not installed: run scripts/setup')
    archive = Cpio()
    for name in ('dev', 'proc', 'sys', 'root'):
        archive.folder(name)
    archive.file('init', INIT.read_bytes(), 0o755)
    archive.file('bin/busybox', busybox.read_bytes(), 0o755)
    for applet in ('sh', 'mount', 'cat', 'cp', 'cmp', 'insmod', 'switch_root', 'usleep', 'poweroff'):
        archive.link(f'bin/{applet}', 'busybox')
    for number, path in enumerate(modules):
        name = os.path.basename(path).removesuffix('.xz')
        archive.file(f'modules/{number:02}-{name}', _read_module(path))
    target.write_bytes(archive.finish())


def _fetch_kernel(series, folder):
    with tempfile.TemporaryDirectory(prefix='vmtide-kernel-') as scratch:
        scratch = Path(scratch)
        archive = apt.Archive(scratch)
        archive.update()
        package = archive.newest(KERNELS[series])
        archive.unpack(package, scratch / 'tree')
        release = package.removeprefix('linux-image-')
        shutil.copy(scratch / 'tree/boot' / f'vmlinuz-{release}', folder / 'vmlinuz')
        modules = folder / 'lib/modules' / release
        modules.parent.mkdir(parents=True)
        shutil.copytree(scratch / 'tree/lib/modules' / release, modules, symlinks=True)
    subprocess.run([find_tool('depmod'), '-b', str(folder), release], check=True, env=tool_environment())
    (folder / 'release').write_text(release, encoding='ascii')


def kernel(series):
    """The newest kernel of SERIES ('6.1' or '6.12') that the archive had when the cache was made."""
    if series not in KERNELS:
        raise RigError(f'kernel {series!r} is not known: take one of {", ".join(KERNELS)}')

    def make(folder):
        say(f'guest kernel {series}: fetching')
        _fetch_kernel(series, folder)

    folder = cached(f'kernel-{series}-{_key(KERNELS[series])}', make)
    release = (folder / 'release').read_text(encoding='ascii')
    modules = folder / 'lib/modules' / release

    def make_initrd(target):
        _make_initrd(_early_modules(modules, release), target / 'initrd')

    initrd = cached(f'initrd-{series}-{_key(release, EARLY_MODULES, INIT.read_text())}', make_initrd)
    return Kernel(series, release, folder / 'vmlinuz', initrd / 'initrd', folder / 'lib/modules')


def _make_image(kernels, folder, packages, size):
    image = folder / 'guest.ext4'
    with tempfile.TemporaryDirectory(prefix='vmtide-image-') as scratch:
        scratch = Path(scratch)
        if os.geteuid() != 0:
            scratch.chmod(0o777)  # without root mmdebstrap works as another user, in a user namespace
        archive = apt.Archive(scratch)
        settings = scratch / 'apt.conf'
        settings.write_text('\n'.join(apt.acquire_settings()) + '\n', encoding='utf-8')
        made, tree = scratch / 'guest.ext4', scratch / 'tree'
        hooks = [f'copy-in {k.modules} /usr/lib' for k in kernels]
        hooks.append('systemd-id128 new >"$1/etc/machine-id"')
        # /proc, /sys and /dev are mounted while the hooks run: the copy is without them.
        hooks.append(f'cp -a --one-file-system "$1" {tree} && cd {tree} && '
                     f'rm -rf dev/* proc/* sys/* run/* var/lib/apt/lists/* var/cache/apt/*')
        hooks.append(f'mke2fs -q -t ext4 -E lazy_itable_init=0,root_owner=0:0 -O ^metadata_csum '
                     f'-d {tree} {made} {size} && rm -rf {tree}')
        argv = [find_tool('mmdebstrap'), '--quiet', '--variant=minbase', '--format=null',
                f'--include={",".join(packages)}', f'--aptopt={settings}']
        argv += [f'--dpkgopt=path-exclude=/usr/share/{d}/*' for d in ('man', 'doc', 'locale', 'info')]
        argv += [f'--customize-hook={hook}' for hook in hooks]
        argv += [apt.CODENAME, '/dev/null', str(archive.sources)]
        done = subprocess.run(argv, env=tool_environment(), text=True,
                              stdin=subprocess.DEVNULL, capture_output=True, check=False)
        if done.returncode != 0 or not made.exists():
            raise RigError(f'mmdebstrap failed ({done.returncode}):\n{done.stderr.strip()[-4000:]}')
        subprocess.run(['cp', '--sparse=always', str(made), str(image)], check=True)
    image.chmod(0o644)


def image(extra=(), size=IMAGE_SIZE):
    """The guest's disk: Debian with systemd, dbus, polkitd and udev, and the modules of every kernel.

    extra: more packages, for a guest that is to do more; such an image is kept beside the ordinary one.
    """
    kernels = [kernel(series) for series in KERNELS]
    packages = (*PACKAGES, *extra)

    def make(folder):
        say('guest image: making (about 40 s)')
        begin = time.monotonic()
        _make_image(kernels, folder, packages, size)
        say(f'guest image: made in {time.monotonic() - begin:.0f} s')

    key = _key(packages, size, [k.release for k in kernels])
    return cached(f'guest-{key}', make) / 'guest.ext4'


def forget():
    """Empties the cache, so that the newest packages are taken."""
    for path in cache_dir().iterdir():
        if path.is_dir():
            shutil.rmtree(path)
