# SPDX-License-Identifier: MIT
"""The actuator alone on a stage: a scripted host on its port, callers on the bus and on its private socket."""

import pwd

import pytest

from .conftest import ACTUATOR, Machine
from .dbus_client import Client, DBusError, NAME_OWNER
from .peers import listens, wait_until
from .scripted_host import PtyHost, ScriptedHost

PROPERTIES = ('org.vmtide.Actuator1', '/org/vmtide/Actuator1', 'org.freedesktop.DBus.Properties')
STRANGER = pwd.getpwnam('daemon').pw_uid  # neither root nor, here, the monitor's user
CONFIG = '[Actuator]\nRequestTimeout=700ms\nRequestRate=1000\nRequestBurst=1000\n'
NAMES = ('Size', 'RequestedSize', 'BootSize', 'MinSize', 'MaxSize', 'HostMinSize', 'HostMaxSize', 'BlockSize',
         'MemoryBlockSize', 'GuardHeadroom', 'GuardHeld', 'ReservedBytes', 'HostConnected', 'State', 'Version', 'LastError')


class Stage(Machine):
    """A bus, the actuator, and whatever host a test plays. The monitor's user is nobody."""

    def __init__(self, host=ScriptedHost):
        super().__init__()
        self.clients = []
        self.host = host(self.folder / 'line')

    def run(self, config=CONFIG):
        conf = self.folder / 'actuator.conf'
        conf.write_text(config, encoding='ascii')
        self.start_actuator(f'--port={self.folder}/line', f'--config={conf}')
        wait_until(lambda: listens(self.folder / 'actuator.sock'), 10, 'the private socket is there')

    def client(self, uid=0, private=False):
        client = Client(self.folder / ('actuator.sock' if private else 'bus'), hello=not private, uid=uid)
        self.clients.append(client)
        return client

    def on_bus(self):
        """A client that the actuator is there for, and that hears its signals."""
        client = self.client()
        wait_until(lambda: client.call('NameHasOwner', 's', 'org.vmtide.Actuator1', at=NAME_OWNER)[0], 10, 'it has its name')
        client.listen()
        return client

    def up(self, private=True, **numbers):
        """Connected to the host; returns a client."""
        self.host.connect(**numbers)
        client = self.client(private=True) if private else self.on_bus()
        wait_until(lambda: get(client, 'HostConnected'), 5, 'the actuator meets the host')
        return client

    def says(self, text):
        return self.log('actuator').count(text)

    def close(self):
        for client in self.clients:
            client.close()
        self.host.close()
        super().close()


def get(client, name):
    return client.call('Get', 'ss', ACTUATOR[2], name, at=PROPERTIES)[0]


def get_all(client):
    return client.call('GetAll', 's', ACTUATOR[2], at=PROPERTIES)[0]


def plug(client, size, reason='test'):
    return client.send('Plug', 'ts', size, reason, at=ACTUATOR)


def refusal(client, serial):
    with pytest.raises(DBusError) as caught:
        client.reply(serial)
    return caught.value


def refused(client, member, signature, *arguments):
    return refusal(client, client.send(member, signature, *arguments, at=ACTUATOR))


def play(host=ScriptedHost, config=CONFIG):
    stage = Stage(host)
    try:
        if config:
            stage.run(config)
        yield stage
        for name, process in stage.processes.items():
            assert process.poll() is None, f'{name} ended by itself: {stage.log(name)[-3000:]}'
    finally:
        stage.close()


@pytest.fixture
def stage():
    yield from play()


@pytest.fixture
def strict_stage():
    """With the rate and the time-out that are installed."""
    yield from play(config='[Actuator]\n')


@pytest.fixture
def bare_stage():
    """The test starts the actuator itself."""
    yield from play(config=None)


@pytest.fixture(params=(ScriptedHost, PtyHost), ids=('socket', 'pty'))
def lines(request):
    yield from play(request.param)
