# SPDX-License-Identifier: MIT
"""Writes cpio archives in the format that the kernel takes as an initramfs ("newc"), everything owned by root."""

import os
import stat
from pathlib import Path


class Cpio:
    """An archive in memory. Folders above an entry are added by themselves; a later entry replaces an earlier one."""

    def __init__(self):
        self._entries = {}

    def folder(self, name, mode=0o755):
        if name in ('', '.'):
            return
        self.folder(os.path.dirname(name))
        self._entries.setdefault(name, (stat.S_IFDIR | mode, b''))

    def file(self, name, data, mode=0o644):
        self.folder(os.path.dirname(name))
        self._entries[name] = (stat.S_IFREG | mode, data)

    def link(self, name, target):
        self.folder(os.path.dirname(name))
        self._entries[name] = (stat.S_IFLNK | 0o777, os.fsencode(target))

    def tree(self, source, prefix):
        """Everything below the folder SOURCE, under PREFIX, with the modes that it has; or the one file SOURCE."""
        source = Path(source)
        for path in [source, *sorted(source.rglob('*'))]:
            name = os.path.normpath(f'{prefix}/{path.relative_to(source)}')
            mode = stat.S_IMODE(path.lstat().st_mode)
            if path.is_symlink():
                self.link(name, os.readlink(path))
            elif path.is_dir():
                self.folder(name, mode)
            else:
                self.file(name, path.read_bytes(), mode)

    def finish(self):
        parts = []
        for number, (name, (mode, data)) in enumerate([*self._entries.items(), ('TRAILER!!!', (0, b''))], 1):
            encoded = os.fsencode(name) + b'\0'
            fields = [number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(encoded), 0]
            header = b'070701' + b''.join(b'%08x' % field for field in fields) + encoded
            parts += [header, b'\0' * (-len(header) % 4), data, b'\0' * (-len(data) % 4)]
        archive = b''.join(parts)
        return archive + b'\0' * (-len(archive) % 512)
