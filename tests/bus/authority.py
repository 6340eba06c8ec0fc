# SPDX-License-Identifier: MIT
"""A real polkitd on a stage's private bus, with the policy and the rules that are installed, and a test's own."""

import grp
import os
import pwd
import shutil
import signal
from pathlib import Path

from .conftest import NOBODY, REPO
from .dbus_client import NAME_OWNER
from .peers import wait_until

NAME = 'org.freedesktop.PolicyKit1'
LANDLORD = pwd.getpwnam('man').pw_uid  # for polkit the user vmtide-host
LAUNCHER = pwd.getpwnam('games').pw_uid  # for polkit a member of vmtide-reserve
SHIPPED = ('50-vmtide.rules',)


class Authority:
    """For polkit the user vmtide is the one that the stage runs its monitor as, whom the machine calls nobody."""

    def __init__(self, stage):
        self._stage = stage
        self._folder = stage.folder / 'polkit'
        self.rules = self._folder / 'rules'
        self.rules.mkdir(parents=True)
        (self._folder / 'actions').mkdir()
        for path in (self._folder, self.rules, self._folder / 'actions'):
            path.chmod(0o755)
        for name in ('org.vmtide.policy', 'org.vmtide.host.policy'):
            shutil.copy(REPO / 'policy' / name, self._folder / 'actions')
        for name in SHIPPED:
            shutil.copy(REPO / 'policy' / name, self.rules)
        users = [u for u in pwd.getpwall() if u.pw_uid != NOBODY]
        lines = [f'{u.pw_name}:x:{u.pw_uid}:{u.pw_gid}::/:/bin/false' for u in users] + [f'vmtide:x:{NOBODY}:{NOBODY}::/:/bin/false']
        # Also the host's daemon is somebody else here.
        lines = [line.replace('man:', 'vmtide-host:', 1) if line.startswith('man:') else line for line in lines]
        (self._folder / 'passwd').write_text('\n'.join(lines) + '\n', encoding='utf-8')
        groups = [f'{g.gr_name}:x:{g.gr_gid}:{",".join(g.gr_mem)}' for g in grp.getgrall() if g.gr_gid != NOBODY]
        groups += [f'vmtide:x:{NOBODY}:', 'vmtide-reserve:x:64123:games']
        (self._folder / 'group').write_text('\n'.join(groups) + '\n', encoding='utf-8')

    @property
    def process(self):
        return self._stage.processes['polkitd']

    def start(self):
        before = {name: os.environ.get(name) for name in ('HOST_MNTNS', 'DBUS_SYSTEM_BUS_ADDRESS')}
        os.environ.update(HOST_MNTNS=os.readlink('/proc/self/ns/mnt'), DBUS_SYSTEM_BUS_ADDRESS=self._stage.address)
        try:
            self._stage.start('polkitd', 'unshare', '--mount', '--propagation', 'private',
                              Path(__file__).with_name('polkit-here'), self._folder)
        finally:
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})
        client = self._stage.client()
        wait_until(lambda: client.call('NameHasOwner', 's', NAME, at=NAME_OWNER)[0], 10, 'polkitd is there')
        return self

    def hang(self):
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self):
        self.process.send_signal(signal.SIGCONT)

    def check(self, client, action):
        """What polkit itself says of a client: 'yes', 'challenge' or 'no'."""
        result = self._stage.busctl('call', NAME, f'/{NAME.replace(".", "/")}/Authority', f'{NAME}.Authority',
                                    'CheckAuthorization', '(sa{sv})sa{ss}us', 'system-bus-name', 1, 'name', 's',
                                    client.name, action, 0, 0, '')
        assert result.returncode == 0, result
        authorized, challenge = result.stdout.split()[1:3]
        return 'yes' if authorized == 'true' else 'challenge' if challenge == 'true' else 'no'

    def allow(self, action, uid):
        """A rule of an administrator's."""
        (self.rules / '10-test.rules').write_text(
            f'polkit.addRule(function (action, subject) {{ if (action.id == "{action}" && subject.user == '
            f'"{pwd.getpwuid(uid).pw_name}") return polkit.Result.YES; }});\n', encoding='ascii')

    def forbid(self, action):
        (self.rules / '10-test.rules').write_text(
            f'polkit.addRule(function (action, subject) {{ if (action.id == "{action}") return polkit.Result.NO; }});\n',
            encoding='ascii')
