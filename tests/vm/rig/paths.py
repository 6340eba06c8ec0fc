# SPDX-License-Identifier: MIT
"""Where things are, and small things that every part of the rig needs."""

import contextlib
import fcntl
import os
import shutil
import sys
import tempfile
from pathlib import Path

REPO = Path(__file__).resolve().parents[3]


class RigError(Exception):
    """The rig itself could not do its work; the text says what failed and what to do."""


def say(text):
    """A line about long work, for whoever waits for it."""
    print(text, file=sys.stderr, flush=True)


def build_dir():
    """The meson build folder: $VMTIDE_BUILD or build/ in the repository."""
    return Path(os.environ.get('VMTIDE_BUILD') or REPO / 'build').resolve()


def cache_dir():
    """What is worth keeping between runs: $VMTIDE_CACHE, else vmtide/ in the user's cache folder."""
    chosen = os.environ.get('VMTIDE_CACHE')
    if not chosen:
        base = os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'
        chosen = Path(base) / 'vmtide'
    path = Path(chosen)
    path.mkdir(parents=True, exist_ok=True)
    return path


def tool_environment(**extra):
    """Environment for Debian's tools: the system's folders first in PATH, messages in English."""
    env = dict(os.environ, LC_ALL='C.UTF-8', **extra)
    env['PATH'] = '/usr/sbin:/usr/bin:/sbin:/bin:' + env.get('PATH', '')
    return env


def find_tool(name):
    path = shutil.which(name, path=tool_environment()['PATH'])
    if path is None:
        raise RigError(f'{name} is not installed: run scripts/setup')
    return path


@contextlib.contextmanager
def locked(name):
    """One maker of NAME at a time, on this cache."""
    with open(cache_dir() / f'.{name}.lock', 'w', encoding='ascii') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def cached(name, make):
    """The folder NAME of the cache, made by make(folder) when it is not there.

    It is made under another name and renamed when it is complete: a failure, or a second run at the same time,
    never leaves half of it.
    """
    final = cache_dir() / name
    if final.is_dir():
        return final
    with locked(name):
        if final.is_dir():
            return final
        for stale in cache_dir().glob(f'.{name}.new-*'):
            shutil.rmtree(stale, ignore_errors=True)
        work = Path(tempfile.mkdtemp(prefix=f'.{name}.new-', dir=cache_dir()))
        try:
            work.chmod(0o755)
            make(work)
            work.rename(final)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return final
