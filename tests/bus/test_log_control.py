# SPDX-License-Identifier: MIT
"""org.freedesktop.LogControl1: what a service logs, as `systemctl service-log-level` asks and sets it."""

import signal
from xml.etree import ElementTree

import pytest

from .actuator_stage import STRANGER
from .conftest import ACTUATOR, MONITOR, NOBODY
from .dbus_client import Client, DBusError
from .peers import wait_until
from .test_actuator_access import members

INTERFACE = 'org.freedesktop.LogControl1'
PATH = '/org/freedesktop/LogControl1'
DAEMONS = {'actuator': ACTUATOR, 'monitor': MONITOR}


@pytest.fixture(params=DAEMONS)
def daemon(request, machine):
    """A running daemon that is on the bus, and what it is called."""
    getattr(machine, f'start_{request.param}')()
    at = DAEMONS[request.param]
    wait_until(lambda: machine.busctl('introspect', *at[:2]).returncode == 0, 10, f'the {request.param} is on the bus')
    machine.name, machine.at = request.param, (at[0], PATH, 'org.freedesktop.DBus.Properties')
    machine.clients = []
    yield machine
    for client in machine.clients:
        client.close()


def connect(daemon, uid=0):
    daemon.clients.append(Client(daemon.folder / 'bus', uid=uid))
    return daemon.clients[-1]


def level(daemon, client):
    return client.call('Get', 'ss', INTERFACE, 'LogLevel', at=daemon.at)[0]


def set_level(daemon, client, value, name='LogLevel', kind='s'):
    return client.call('Set', 'ssv', INTERFACE, name, (kind, value), at=daemon.at)


def refused(daemon, *arguments, **more):
    with pytest.raises(DBusError) as caught:
        set_level(daemon, *arguments, **more)
    return caught.value


def test_what_is_shown(daemon):
    client = connect(daemon, STRANGER)
    assert client.call('GetAll', 's', INTERFACE, at=daemon.at) == (
        {'LogLevel': 'info', 'LogTarget': 'console', 'SyslogIdentifier': f'vmtide-{daemon.name}'},)
    text = client.call('Introspect', at=(daemon.at[0], PATH, 'org.freedesktop.DBus.Introspectable'))[0]
    shown = {m[1]: m[:4] for m in members(ElementTree.fromstring(text), INTERFACE)}
    assert shown == {'LogLevel': ('property', 'LogLevel', 's', 'readwrite'),
                     'LogTarget': ('property', 'LogTarget', 's', 'read'),
                     'SyslogIdentifier': ('property', 'SyslogIdentifier', 's', 'read')}


@pytest.mark.parametrize('name', ('emerg', 'alert', 'crit', 'err', 'warning', 'notice', 'info', 'debug'))
def test_root_sets_each_level(daemon, name):
    client = connect(daemon)
    assert set_level(daemon, client, name) == ()
    assert level(daemon, client) == name
    # It is said, and a reload puts the configuration's back.
    assert f'log level is {name} now, was info' in daemon.log(daemon.name)
    daemon.processes[daemon.name].send_signal(signal.SIGHUP)
    wait_until(lambda: level(daemon, client) == 'info', 10, 'the configuration\'s level is back')


def test_each_change_is_said(daemon):
    client = connect(daemon)
    assert set_level(daemon, client, 'err') == ()
    assert set_level(daemon, client, 'debug') == ()
    assert set_level(daemon, client, 'alert') == ()
    for text in ('err now, was info', 'debug now, was err', 'alert now, was debug'):
        assert f'log level is {text}' in daemon.log(daemon.name)


@pytest.mark.parametrize('value, kind', (('loud', 's'), ('', 's'), ('8', 's'), ('DEBUG', 's'), (7, 'u'), ('/a', 'o')))
def test_wrong_levels(daemon, value, kind):
    client = connect(daemon)
    assert refused(daemon, client, value, kind=kind).full_name == 'org.freedesktop.DBus.Error.InvalidArgs'
    assert level(daemon, client) == 'info'


@pytest.mark.parametrize('uid', (NOBODY, STRANGER), ids=('monitor', 'stranger'))
def test_others_may_not(daemon, uid):
    client = connect(daemon, uid)
    error = refused(daemon, client, 'debug')
    assert error.full_name == 'org.freedesktop.DBus.Error.AccessDenied' and 'for root' in error.text
    assert level(daemon, client) == 'info'


def test_the_rest_is_read_only(daemon):
    client = connect(daemon)
    for name in ('LogTarget', 'SyslogIdentifier'):
        assert refused(daemon, client, 'kmsg', name=name).full_name == 'org.freedesktop.DBus.Error.PropertyReadOnly'
    assert refused(daemon, client, 'kmsg', name='Nothing').full_name == 'org.freedesktop.DBus.Error.UnknownProperty'
    with pytest.raises(DBusError, match='UnknownMethod|UnknownInterface|InvalidArgs'):
        client.call('Set', 'ss', INTERFACE, 'LogLevel', at=(daemon.at[0], PATH, INTERFACE))


def test_short_messages(daemon):
    """Set without a value is nobody's harm."""
    client = connect(daemon)
    for signature, arguments in (('', ()), ('s', (INTERFACE,)), ('ss', (INTERFACE, 'LogLevel'))):
        with pytest.raises(DBusError):
            client.call('Set', signature, *arguments, at=daemon.at)
    assert level(daemon, client) == 'info'
