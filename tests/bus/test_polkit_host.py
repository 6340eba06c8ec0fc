# SPDX-License-Identifier: MIT
"""The host's daemon, as the plain user that its unit names, and a real polkitd with the policy that is installed."""

import pwd

import pytest

from .actuator_stage import STRANGER
from .authority import Authority, LANDLORD
from .conftest import BUILD_COPY, Machine
from .dbus_client import Client, NAME_OWNER
from .host_peers import ScriptedGuest, ScriptedQemu
from .peers import GIB, wait_until
from .test_host_bus import at, get, NAME, refused

INTERACTIVE = 'org.freedesktop.DBus.Error.InteractiveAuthorizationRequired'
CALLS = (('SetLimits', 'ttb', 0, GIB, False), ('SetWeight', 'ub', 7, False), ('RequestShrink', 'ts', 0, 'x'),
         ('Pause', 'su', 'x', 0), ('Resume', ''))


class Landlord(Machine):
    def __init__(self):
        super().__init__()
        self.clients = []
        self.scripted = ScriptedQemu(self.folder / 'vm.qmp'), ScriptedGuest(self.folder / 'vm.channel')
        for name in ('vm.qmp', 'vm.channel'):
            (self.folder / name).chmod(0o777)
        config = self.folder / 'host.conf'
        config.write_text('[Host]\nHostReserve=64M\n', encoding='ascii')
        self.start('host', 'setpriv', f'--reuid={LANDLORD}', f'--regid={pwd.getpwuid(LANDLORD).pw_gid}', '--clear-groups',
                   BUILD_COPY / 'vmtide-host', f'--config={config}', f'--bus={self.address}', f'--limits-state={self.folder}/none/limits',
                   f'--promises-state={self.folder}/promised',
                   f'--vm=guest,channel={self.folder}/vm.channel,qmp={self.folder}/vm.qmp,device=vm0')
        self.scripted[1].meet()

    def client(self, uid=0):
        client = Client(self.folder / 'bus', uid=uid)
        self.clients.append(client)
        wait_until(lambda: client.call('NameHasOwner', 's', NAME, at=NAME_OWNER)[0], 10, 'the daemon has its name')
        return client

    def close(self):
        for closing in (*self.clients, *self.scripted):
            closing.close()
        super().close()


@pytest.fixture
def landlord():
    stage = Landlord()
    try:
        yield stage
        assert stage.processes['host'].poll() is None, stage.log('host')[-3000:]
    finally:
        stage.close()


def test_an_administrator_has_to_allow_it(landlord):
    authority = Authority(landlord).start()
    stranger, root = landlord.client(uid=STRANGER), landlord.client()
    for call in CALLS:
        error = refused(stranger, *call)
        assert error.full_name == INTERACTIVE and 'org.vmtide.host.' in error.text
    for action in ('set-limits', 'shrink', 'pause'):
        authority.allow(f'org.vmtide.host.{action}', STRANGER)
        wait_until(lambda action=action: authority.check(stranger, f'org.vmtide.host.{action}') == 'yes', 10, 'polkit has the rule')
        if action == 'set-limits':
            stranger.call('SetLimits', 'ttb', 0, GIB, False, at=at())
            stranger.call('SetWeight', 'ub', 7, False, at=at())
        elif action == 'pause':
            stranger.call('Pause', 'su', 'x', 0, at=at())
    assert (get(root, 'MaxSize'), get(root, 'Weight'), get(root, 'PauseReason')) == (GIB, 7, 'x')
    # Where it may not write, nothing is set to stay; and root never waits for polkit.
    assert refused(root, 'SetLimits', 'ttb', 0, 2 * GIB, True).name == 'IOError'
    authority.hang()
    try:
        root.call('Resume', at=at())
        assert get(root, 'PausedUntil') == 0
    finally:
        authority.go_on()


def test_without_polkit_only_root_may(landlord):
    stranger, root = landlord.client(uid=STRANGER), landlord.client()
    for call in CALLS:
        assert refused(stranger, *call).name == 'AccessDenied'
    root.call('SetWeight', 'ub', 9, False, at=at())
    assert get(stranger, 'Weight') == 9
