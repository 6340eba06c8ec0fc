# SPDX-License-Identifier: MIT
"""The daemons and a real polkitd, with the policy and the rules that are installed."""

import pytest

from tests.matrix import malice

from .actuator_stage import get, plug, refusal, refused, stage, STRANGER
from .authority import Authority, LANDLORD, LAUNCHER
from .conftest import ACTUATOR, MONITOR, NOBODY
from .dbus_client import DBusError
from .peers import GIB, MIB, wait_until

INTERACTIVE = 'org.freedesktop.DBus.Error.InteractiveAuthorizationRequired'
DENIED = 'org.freedesktop.DBus.Error.AccessDenied'
ACTIONS = ('plug', 'unplug', 'set-limits', 'reserve', 'monitor', 'pause')
# What polkit says of each action, by who asks.
RIGHTS = {
    STRANGER: ('challenge', 'challenge', 'challenge', 'challenge', 'no', 'challenge'),
    LAUNCHER: ('challenge', 'challenge', 'challenge', 'yes', 'no', 'challenge'),
    NOBODY: ('yes', 'yes', 'challenge', 'challenge', 'yes', 'challenge'),
}
assert stage


@pytest.fixture
def authority(stage):
    return Authority(stage).start()


def wait_rule(authority, stage, action, wanted, uid=STRANGER):
    client = stage.client(uid=uid)
    wait_until(lambda: authority.check(client, action) == wanted, 10, 'polkit has taken the rule')


@pytest.mark.parametrize('uid', RIGHTS, ids=('stranger', 'launcher', 'monitor'))
def test_shipped_policy(stage, authority, uid):
    client = stage.client(uid=uid)
    assert tuple(authority.check(client, f'org.vmtide.{action}') for action in ACTIONS) == RIGHTS[uid]


def test_an_administrator_has_to_allow_it(stage, authority):
    stage.up(private=False)
    stranger = stage.client(uid=STRANGER)
    for call in (('Plug', 'ts', 2 * MIB, 'x'), ('Unplug', 'ts', 2 * MIB, 'x'), ('SetLimits', 'ttb', 0, GIB, False),
                 ('Reserve', 'tss', MIB, 'x', 'y')):
        error = refused(stranger, *call)
        assert error.full_name == INTERACTIVE and 'org.vmtide.' in error.text
    for call in (('ArmGuard', 't', 0), ('Reclaim', 't', MIB), ('Report', 'ttus', 1, 2, 3, 'normal')):
        assert refused(stranger, *call).full_name == DENIED
    # It may ask for a password, but nobody is there to ask it of.
    serial = stranger.send('Plug', 'ts', 2 * MIB, 'x', at=ACTUATOR, interactive=True)
    assert refusal(stranger, serial).full_name == DENIED


def test_a_rule_allows_and_forbids(stage, authority):
    stage.up(private=False)
    stranger = stage.client(uid=STRANGER)
    authority.allow('org.vmtide.plug', STRANGER)
    wait_rule(authority, stage, 'org.vmtide.plug', 'yes')
    serial = plug(stranger, 2 * MIB)
    stage.host.grant()
    assert stranger.reply(serial) == (GIB + 2 * MIB,)
    authority.forbid('org.vmtide.plug')
    wait_rule(authority, stage, 'org.vmtide.plug', 'no')
    assert refused(stranger, 'Plug', 'ts', 2 * MIB, 'x').full_name == DENIED
    # Root and the monitor's user are not polkit's to judge.
    for uid in 0, NOBODY:
        client = stage.client(uid=uid)
        serial = plug(client, 2 * MIB)
        size = stage.host.grant()['size']
        assert client.reply(serial) == (size,)


def test_a_launcher_reserves(stage, authority):
    stage.up(private=False)
    launcher = stage.client(uid=LAUNCHER)
    launcher.call('Reserve', 'tss', MIB, 'camera', 'reverse gear', at=ACTUATOR)
    assert get(launcher, 'ReservedBytes') == MIB
    assert refused(stage.client(uid=STRANGER), 'Reserve', 'tss', MIB, 'x', 'y').full_name == INTERACTIVE


def test_arguments_come_before_rights(stage, authority):
    stage.up(private=False)
    authority.hang()
    stranger = stage.client(uid=STRANGER)
    assert refused(stranger, 'Plug', 'ts', 2 * MIB, 'a\nb').name == 'InvalidSize'
    assert refused(stranger, 'Reserve', 'tss', 0, 'x', 'y').name == 'InvalidSize'
    assert refused(stranger, 'Reserve', 'tss', MIB, '', 'y').name == 'InvalidArgs'


def ask(stage, uids):
    """Calls that wait for polkit: (client, serial)…"""
    return [(client, plug(client, 2 * MIB)) for client in (stage.client(uid=uid) for uid in uids)]


def test_a_polkit_that_hangs_keeps_nobody_else(stage, authority):
    stage.up(private=False)
    authority.hang()
    waiting = ask(stage, [STRANGER] * 8 + [LAUNCHER] * 8)
    others = [stage.client(uid=uid) for uid in (STRANGER, LAUNCHER)]
    for client in others:
        assert refused(client, 'Plug', 'ts', 2 * MIB, 'x').name == 'LimitExceeded'
        assert get(client, 'Size') == GIB
    for uid in 0, NOBODY:
        client = stage.client(uid=uid)
        serial = plug(client, 2 * MIB)
        size = stage.host.grant()['size']
        assert client.reply(serial) == (size,)
    authority.go_on()
    for client, serial in waiting:
        assert refusal(client, serial).full_name == INTERACTIVE
    assert refused(others[1], 'Plug', 'ts', 2 * MIB, 'x').full_name == INTERACTIVE


@malice('two local users hold all queries at a polkit that does not answer',
        'they give way to a third, and to a fourth, down to equal shares; the oldest queries stay')
def test_two_users_cannot_hold_all_queries(stage, authority):
    stage.up(private=False)
    authority.hang()
    waiting = {uid: ask(stage, [uid] * 8) for uid in (STRANGER, LAUNCHER)}
    for uid, share in ((2, 5), (LANDLORD, 4)):
        waiting[uid] = ask(stage, [uid] * share)
        # One more, and it would have more than those that it takes it from.
        assert refused(stage.client(uid=uid), 'Plug', 'ts', 2 * MIB, 'x').name == 'LimitExceeded'
    for queries in waiting.values():
        for client, serial in queries[4:]:
            assert refusal(client, serial).name == 'LimitExceeded'
    authority.go_on()
    for uid, queries in waiting.items():
        for client, serial in queries[:4]:
            assert refusal(client, serial).full_name == INTERACTIVE


def test_one_user_has_half_of_the_queries(stage, authority):
    stage.up(private=False)
    authority.hang()
    waiting = ask(stage, [STRANGER] * 8)
    assert refused(stage.client(uid=STRANGER), 'Plug', 'ts', 2 * MIB, 'x').name == 'LimitExceeded'
    waiting += ask(stage, [LAUNCHER])
    authority.go_on()
    for client, serial in waiting:
        assert refusal(client, serial).full_name == INTERACTIVE


def test_a_polkit_that_dies_allows_nothing(stage, authority):
    stage.up(private=False)
    authority.hang()
    (client, serial), = ask(stage, [STRANGER])
    assert get(client, 'Size') == GIB
    stage.kill('polkitd')
    error = refusal(client, serial)
    assert error.full_name == DENIED and 'polkit' in error.text
    # The next one finds nobody; and a new polkit is asked as the old one was.
    assert refused(client, 'Plug', 'ts', 2 * MIB, 'x').full_name == DENIED
    authority.allow('org.vmtide.plug', STRANGER)
    authority.start()
    serial = plug(client, 2 * MIB)
    stage.host.grant()
    assert client.reply(serial) == (GIB + 2 * MIB,)


def test_who_has_gone_gets_nothing_done(stage, authority):
    stage.up(private=False)
    authority.allow('org.vmtide.plug', STRANGER)
    wait_rule(authority, stage, 'org.vmtide.plug', 'yes')
    authority.hang()
    (client, _), = ask(stage, [STRANGER])
    root = stage.client()
    assert get(root, 'Size') == GIB  # so the query has been sent
    client.close()
    stage.clients.remove(client)
    authority.go_on()
    serial = plug(root, 2 * MIB, 'root')
    assert stage.host.grant()['reason'] == 'root'
    assert root.reply(serial) == (GIB + 2 * MIB,)


def test_pausing_is_the_monitors_to_ask(stage, authority):
    """It is not root, so polkit answers it only because it owns the action."""
    stage.up(private=False)
    stage.start_monitor()
    root = stage.client()
    wait_until(lambda: stage.get('Mode', at=MONITOR) is not None, 10, 'the monitor is there')
    stranger = stage.client(uid=STRANGER)
    with pytest.raises(DBusError) as caught:
        stranger.call('Pause', 'su', 'test', 60, at=MONITOR)
    assert caught.value.full_name == INTERACTIVE
    authority.allow('org.vmtide.pause', STRANGER)
    wait_rule(authority, stage, 'org.vmtide.pause', 'yes')
    stranger.call('Pause', 'su', 'test', 60, at=MONITOR)
    assert stage.get('Mode', at=MONITOR) == ['"paused"']
    root.call('Resume', at=MONITOR)
