# SPDX-License-Identifier: MIT
"""Debian packages for the guest, from where this machine gets its own.

apt itself is asked for the machine's sources, so every format of them is understood, and only Debian's own archive
is used. All work is done with a private apt configuration: nothing of the machine's apt is changed.
"""

import re
import subprocess
from pathlib import Path

from .paths import RigError, find_tool, tool_environment

CODENAME = 'bookworm'
KEYRING = Path('/usr/share/keyrings/debian-archive-keyring.gpg')
SUITES = (CODENAME, f'{CODENAME}-updates', f'{CODENAME}-security', f'{CODENAME}/updates')


def _run(argv, **kwargs):
    done = subprocess.run(argv, env=tool_environment(DEBIAN_FRONTEND='noninteractive'), text=True,
                          stdin=subprocess.DEVNULL, capture_output=True, check=False, **kwargs)
    if done.returncode != 0:
        raise RigError(f'{" ".join(argv[:1])} {argv[-1]} failed ({done.returncode}):\n{done.stderr.strip()}')
    return done.stdout


def _private_options(folder, sources):
    """Options that make apt live in FOLDER and know nothing but the file SOURCES."""
    for sub in ('lists/partial', 'cache/archives/partial'):
        (folder / sub).mkdir(parents=True, exist_ok=True)
    settings = {
        'Dir::State': folder,
        'Dir::State::lists': folder / 'lists',
        'Dir::State::status': '/dev/null',
        'Dir::Cache': folder / 'cache',
        'APT::Sandbox::User': 'root',
        'Acquire::Languages': 'none',
        'Acquire::Retries': '3',
    }
    if sources is not None:
        settings |= {
            'Dir::Etc::sourcelist': sources,
            'Dir::Etc::sourceparts': '/dev/null',
            'Dir::Etc::preferences': '/dev/null',
            'Dir::Etc::preferencesparts': '/dev/null',
        }
    return [word for key, value in settings.items() for word in ('-o', f'{key}={value}')]


def _list_targets(options):
    form = '$(ORIGIN)|$(RELEASE)|$(COMPONENT)|$(REPO_URI)'
    out = _run([find_tool('apt-get'), *options, 'indextargets', '--format', form, 'Created-By: Packages'])
    return [line.split('|') for line in out.splitlines() if line.count('|') == 3]


def debian_entries(folder):
    """(uri, suite) of each entry for main in Debian's archive that this machine uses.

    The machine's own package lists say which of its sources are Debian's; where they were removed (as container
    images do), they are fetched into FOLDER.
    """
    targets = _list_targets([])
    if not targets:
        options = _private_options(folder / 'own', None)
        _run([find_tool('apt-get'), *options, '-qq', 'update'])
        targets = _list_targets(options)
    entries = []
    for origin, suite, component, uri in targets:
        entry = (uri.rstrip('/'), suite)
        if origin == 'Debian' and suite in SUITES and component == 'main' and entry not in entries:
            entries.append(entry)
    if not any(suite == CODENAME for _, suite in entries):
        raise RigError(f"none of this machine's apt sources is Debian's {CODENAME} main: "
                       f'the guest is made from it, so add it to /etc/apt/sources.list')
    return entries


def write_sources(entries, path):
    signed = f'[signed-by={KEYRING}] ' if KEYRING.exists() else ''
    path.write_text(''.join(f'deb {signed}{uri} {suite} main\n' for uri, suite in entries), encoding='ascii')


def acquire_settings():
    """The machine's settings of how to fetch (proxy, date checks), as lines of an apt configuration."""
    dump = _run([find_tool('apt-config'), 'dump'])
    wanted = re.compile(r'^Acquire::(?!IndexTargets|Languages|Changelogs|Retries)\S+ ".+";$')
    return [line for line in dump.splitlines() if wanted.match(line)]


class Archive:
    """Debian's archive, seen through a private apt in FOLDER."""

    def __init__(self, folder):
        self.folder = folder
        self.entries = debian_entries(folder)
        self.sources = folder / 'sources.list'
        write_sources(self.entries, self.sources)
        base = next(uri for uri, suite in self.entries if suite == CODENAME)
        self._everything = folder / 'with-backports.list'
        write_sources([*self.entries, (base, f'{CODENAME}-backports')], self._everything)
        self._options = _private_options(folder / 'apt', self._everything)

    def update(self):
        _run([find_tool('apt-get'), *self._options, '-qq', 'update'])

    def newest(self, pattern):
        """The name, among those that match PATTERN as a whole, with the highest numbers in it."""
        names = _run([find_tool('apt-cache'), *self._options, 'pkgnames']).split()
        found = [name for name in names if re.fullmatch(pattern, name)]
        if not found:
            raise RigError(f'no package of the archive matches {pattern}')
        return max(found, key=lambda name: [int(n) for n in re.findall(r'\d+', name)])

    def unpack(self, package, target):
        """Downloads PACKAGE and unpacks its files into TARGET."""
        debs = self.folder / 'debs'
        debs.mkdir(exist_ok=True)
        _run([find_tool('apt-get'), *self._options, '-qq', 'download', package], cwd=debs)
        deb = next(debs.glob(f'{package}_*.deb'))
        _run([find_tool('dpkg-deb'), '-x', str(deb), str(target)])
        deb.unlink()
