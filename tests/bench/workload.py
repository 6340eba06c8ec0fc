# SPDX-License-Identifier: MIT
"""The workload of scripts/bench footprint: one script in the guest, which says when each of its phases begins and
ends, so that nobody has to ask while it runs."""

import io
import json
import os
import re
import shlex
import tarfile
from collections import namedtuple
from pathlib import Path

from tests.vm.rig.paths import REPO, RigError, build_dir
from tests.vm.rig.qemu import GIB, MIB

FOLDER = '/var/tmp/vmbench'
KEPT_FLAGS = re.compile(r'-(I|D|O|g|f|std=)')

# plateaus and tree in bytes; hold and gap in seconds; sources: how many files of C are compiled; rest: the last gap
Plan = namedtuple('Plan', 'plateaus hold tree sources jobs gap rest')

FULL = Plan((3 * GIB, 11 * GIB // 2, 2 * GIB), 30, 4 * GIB, 1000, 4, 60, 60)
QUICK = Plan((GIB, 2 * GIB, 768 * MIB), 5, 256 * MIB, 12, 4, 5, 20)
PAIR = Plan((2 * GIB, 4 * GIB), 2, 512 * MIB, 24, 4, 3, 12)

BEGINNING = '''say() { read -r up _ </proc/uptime; echo "@ $up $*"; }
phase() { name=$1; shift; say begin "$name"; "$@" >/dev/null || say failed "$name" $?; say end "$name"; }
compile() { head -n $1 commands | xargs -d '\\n' -n 1 -P $2 sh -c && rm -rf out && mkdir out; }
'''


def compile_commands():
    """(sources, commands): this project's own C files, and how each is compiled, with paths below the repository."""
    path = build_dir() / 'compile_commands.json'
    sources, commands = set(), []
    for number, entry in enumerate(json.loads(path.read_text(encoding='utf-8'))):
        base = Path(entry['directory'])

        def relative(name, base=base):
            return os.path.relpath(os.path.normpath(base / name), REPO)

        flags = []
        for word in shlex.split(entry['command']):
            if not KEPT_FLAGS.match(word) or word.startswith('-fdiagnostics'):
                continue
            if word.startswith('-I'):
                folder = relative(word[2:])
                word = f'-I{word[2:] if folder.startswith("..") else folder}'
            flags.append(word)
        source = relative(entry['file'])
        sources.add(source)
        commands.append(shlex.join(['gcc', *flags, '-c', source, '-o', f'out/{number}.o']))
    if not commands:
        raise RigError(f'{path} names no command')
    return sources, commands


def _archive(sources, commands):
    """A tar archive with the sources, all headers beside them, and the file `commands`."""
    names = set(sources)
    for folder in {os.path.dirname(name) for name in sources}:
        names |= {str(path.relative_to(REPO)) for path in (REPO / folder).glob('*.h')}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode='w:gz') as tar:
        for name in sorted(names):
            tar.add(REPO / name, name)
        text = ('\n'.join(commands) + '\n').encode()
        info = tarfile.TarInfo('commands')
        info.size = len(text)
        tar.addfile(info, io.BytesIO(text))
    return buffer.getvalue()


def install(guest):
    """Puts the sources into the guest; compiles one, so that a broken compiler is found at once."""
    guest.check(f'mkdir -p {FOLDER}/out && cd {FOLDER} && tar xzf -', stdin=_archive(*compile_commands()), timeout=60)
    guest.check(f'cd {FOLDER} && head -n 1 commands | sh -e && sync', timeout=120)


def script(plan):
    lines = [BEGINNING, f'cd {FOLDER} || exit 1', f'sleep {plan.gap}']
    for number, size in enumerate(plan.plateaus, 1):
        lines += [f'phase plateau{number} vmhog --bytes {size} --hold {plan.hold}', f'sleep {plan.gap}']
    lines += [f'phase write vmtree write tree {plan.tree}', f'phase read vmtree read tree {plan.tree}',
              f'sleep {plan.gap}', f'phase delete vmtree delete tree {plan.tree}', f'sleep {plan.gap}',
              f'phase compile compile {plan.sources} {plan.jobs}', f'sleep {plan.rest}', 'say over']
    return '\n'.join(lines)


def phases(plan, text):
    """From what the script said: a list of (name, begin, end, seconds of work), on the guest's clock. What a plateau
    is held for is no work."""
    begun, found = {}, []
    for line in text.splitlines():
        match = re.fullmatch(r'@ ([\d.]+) (begin|end|failed|over) ?(\S*) ?(\d*)', line)
        if not match:
            continue
        when, what, name, status = float(match[1]), match[2], match[3], match[4]
        if what == 'failed':
            raise RigError(f'the workload failed in {name} with status {status}')
        if what == 'begin':
            begun[name] = when
        elif what == 'end':
            held = plan.hold if name.startswith('plateau') else 0
            found.append((name, begun[name], when, when - begun[name] - held))
    return found
