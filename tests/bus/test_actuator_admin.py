# SPDX-License-Identifier: MIT
"""What administrators and launchers do: limits, memory plugged by hand, reservations."""

import os
import time

import pytest

from tests.matrix import malice

from .actuator_stage import bare_stage, get, plug, refusal, refused, stage, strict_stage, STRANGER
from .authority import Authority, LAUNCHER
from .conftest import ACTUATOR, MEMINFO, NOBODY
from .peers import GIB, MIB, wait_until

MAX = 2**64 - 1


def set_limits(client, minimum, maximum, persist=False):
    return client.call('SetLimits', 'ttb', minimum, maximum, persist, at=ACTUATOR)


def reserve(client, size, who='camera', why='reverse gear'):
    return client.send('Reserve', 'tss', size, who, why, at=ACTUATOR)


def reserved_fd(client, serial):
    """The fd of the answer; the client has it alone."""
    index, = client.reply(serial)
    return client.fds.pop(index)


def listed(client):
    return client.call('ListReservations', '', at=ACTUATOR)[0]


def set_available(stage, size):
    (stage.folder / 'proc/meminfo').write_text(MEMINFO.format(total=4 << 20, free=size // 1024), encoding='ascii')


def restart(stage):
    """Killed, and started again by the same command."""
    stage.kill('actuator')
    stage.host.drop()
    (stage.folder / 'actuator.sock').unlink()
    stage.run()
    return stage.up()


# Limits


def test_limits_hold_at_once(stage):
    client = stage.up()
    set_limits(client, GIB, 2 * GIB)
    assert (get(client, 'MinSize'), get(client, 'MaxSize')) == (GIB, 2 * GIB)
    assert refused(client, 'Plug', 'ts', GIB + 2 * MIB, 'test').name == 'LimitExceeded'
    assert refused(client, 'Unplug', 'ts', 2 * MIB, 'test').name == 'BelowMinimum'
    set_limits(client, 0, 0)
    assert (get(client, 'MinSize'), get(client, 'MaxSize')) == (256 * MIB, 4 * GIB)


@pytest.mark.parametrize('minimum, maximum, name', (
    (2 * GIB, GIB, 'InvalidSize'), (0, 4 * GIB + 2 * MIB, 'LimitExceeded'), (5 * GIB, 0, 'LimitExceeded'),
    (MAX - 1, MAX, 'LimitExceeded'), (0, 1000, 'InvalidSize'), (0, 2 * MIB - 1, 'InvalidSize')))
def test_limits_that_cannot_be(stage, minimum, maximum, name):
    client = stage.up()
    error = refused(client, 'SetLimits', 'ttb', minimum, maximum, True)
    assert error.name == name and 'size' in error.text
    assert (get(client, 'MinSize'), get(client, 'MaxSize')) == (256 * MIB, 4 * GIB)
    assert not (stage.folder / 'state').exists()


def test_persisted_limits_outlive_a_restart_and_a_reload(stage):
    client = stage.up()
    set_limits(client, 512 * MIB, 2 * GIB, True)
    set_limits(client, 512 * MIB, 3 * GIB)
    client = restart(stage)
    assert (get(client, 'MinSize'), get(client, 'MaxSize')) == (512 * MIB, 2 * GIB)
    os.kill(stage.processes['actuator'].pid, 1)
    wait_until(lambda: stage.says('configuration loaded again'), 5, 'the reload')
    assert (get(client, 'MinSize'), get(client, 'MaxSize')) == (512 * MIB, 2 * GIB)


def test_saved_limits_are_said_and_taken_back(bare_stage):
    (bare_stage.folder / 'state').mkdir()
    (bare_stage.folder / 'state/limits').write_text(f'[Limits]\nMinSize={512 * MIB}\nMaxSize={2 * GIB}\n', encoding='ascii')
    bare_stage.run(config='[Actuator]\nMaxSize=3G\n')
    client = bare_stage.up()
    assert bare_stage.says(f'limits: those saved in {bare_stage.folder}/state/limits win: min size 512M, max size 2G; '
                           "the configuration's min size 0, max size 3G are not in force") == 1
    # One of the two stays when only the other is given.
    set_limits(client, MAX, GIB)
    assert (get(client, 'MinSize'), get(client, 'MaxSize')) == (512 * MIB, GIB)
    error = refused(client, 'SetLimits', 'ttb', 2 * GIB, MAX, False)
    assert error.name == 'InvalidSize' and error.text == 'min size 2G is more than max size 1G (in force)'
    set_limits(client, MAX, MAX)
    assert (get(client, 'MinSize'), get(client, 'MaxSize')) == (256 * MIB, 3 * GIB)
    assert (bare_stage.folder / 'state/limits').exists()
    set_limits(client, MAX, MAX, True)
    assert not (bare_stage.folder / 'state/limits').exists()
    # The configuration decides again, over a reload too.
    (bare_stage.folder / 'actuator.conf').write_text('[Actuator]\nMaxSize=1G\n', encoding='ascii')
    os.kill(bare_stage.processes['actuator'].pid, 1)
    wait_until(lambda: get(client, 'MaxSize') == GIB, 5, 'the reload')


def test_limits_that_cannot_be_saved_change_nothing(stage):
    client = stage.up()
    (stage.folder / 'state').write_text('in the way', encoding='ascii')
    assert refused(client, 'SetLimits', 'ttb', 0, GIB, True).full_name == 'org.freedesktop.DBus.Error.IOError'
    assert get(client, 'MaxSize') == 4 * GIB


def test_saved_limits_that_are_damaged_are_not_believed(bare_stage):
    (bare_stage.folder / 'state').mkdir()
    (bare_stage.folder / 'state/limits').write_text('[Limits]\nMinSize=9\n', encoding='ascii')
    bare_stage.run()
    client = bare_stage.up()
    assert get(client, 'MaxSize') == 4 * GIB
    assert bare_stage.says('cannot be read') == 1


# Plugged by hand


def test_what_root_plugs_the_monitor_leaves(stage):
    root = stage.up()
    monitor = stage.client(uid=NOBODY, private=True)
    serial = plug(root, 512 * MIB)
    stage.host.grant()
    root.reply(serial)
    stage.host.say('size', size=GIB + 512 * MIB, requested_size=GIB + 512 * MIB)
    wait_until(lambda: get(root, 'Size') == GIB + 512 * MIB, 5, 'the size is there')
    assert get(root, 'MinSize') == GIB + 512 * MIB
    error = refused(monitor, 'Unplug', 'ts', 2 * MIB, 'spare')
    assert error.name == 'BelowMinimum' and 'administrator' in error.text
    # One that is refused anyway leaves it.
    assert refused(root, 'Unplug', 'ts', 2 * GIB, 'test').name == 'BelowMinimum'
    assert get(root, 'MinSize') == GIB + 512 * MIB
    serial = root.send('Unplug', 'ts', 128 * MIB, 'test', at=ACTUATOR)
    stage.host.grant()
    root.reply(serial)
    assert get(root, 'MinSize') == 256 * MIB


def test_what_the_monitor_plugs_is_no_floor(stage):
    stage.up()
    monitor = stage.client(uid=NOBODY, private=True)
    serial = plug(monitor, 512 * MIB)
    stage.host.grant()
    monitor.reply(serial)
    assert get(monitor, 'MinSize') == 256 * MIB


# Reservations


def test_reserve_plugs_keeps_and_lets_go(stage):
    set_available(stage, 256 * MIB)
    client = stage.up()
    serial = reserve(client, 512 * MIB)
    request = stage.host.grant()
    assert (request['size'], request['reason']) == (GIB + 512 * MIB, 'reserved for camera')
    wait_until(lambda: get(client, 'ReservedBytes') == 512 * MIB, 5, 'it is granted')
    stage.host.say('size', size=GIB + 512 * MIB, requested_size=GIB + 512 * MIB)
    fd = reserved_fd(client, serial)
    assert get(client, 'MinSize') == GIB + 512 * MIB
    (row,) = listed(client)
    assert row[:4] == (512 * MIB, 'camera', 'reverse gear', 0) and 0 < row[4] < time.clock_gettime(time.CLOCK_BOOTTIME) * 1e6
    assert refused(client, 'Unplug', 'ts', 2 * MIB, 'test').name == 'BelowMinimum'
    os.close(fd)
    wait_until(lambda: get(client, 'ReservedBytes') == 0, 5, 'the reservation has ended')
    assert (get(client, 'MinSize'), listed(client)) == (256 * MIB, [])


def test_reserve_what_is_there_asks_nobody(stage):
    set_available(stage, 2 * GIB)
    client = stage.up()
    fd = reserved_fd(client, reserve(client, 512 * MIB))
    assert get(client, 'ReservedBytes') == 512 * MIB
    # What is more than enough may go.
    assert get(client, 'MinSize') == 512 * MIB
    os.close(fd)


def test_reserve_with_nothing_plugged(stage):
    set_available(stage, 2 * GIB)
    client = stage.up(size=0, requested_size=0, min_size=0)
    os.close(reserved_fd(client, reserve(client, 64 * MIB)))
    wait_until(lambda: get(client, 'ReservedBytes') == 0, 5, 'the reservation has ended')


@pytest.mark.parametrize('size, who, why, name', (
    (0, 'camera', '', 'InvalidSize'), (MAX, 'camera', '', 'LimitExceeded'), (5 * GIB, 'camera', '', 'LimitExceeded'),
    (3 * GIB, 'camera', '', 'LimitExceeded'), (MIB, '', '', 'InvalidArgs'), (MIB, 'x' * 64, '', 'InvalidArgs'),
    (MIB, 'x', 'y' * 128, 'InvalidArgs'), (MIB, 'x\n', '', 'InvalidArgs')))
def test_reservations_that_cannot_be(stage, size, who, why, name):
    client = stage.up()
    assert refused(client, 'Reserve', 'tss', size, who, why).name == name
    assert (get(client, 'ReservedBytes'), listed(client)) == (0, [])


def test_a_refused_reservation_fails_whole(stage):
    set_available(stage, 0)
    client = stage.up()
    serial = reserve(client, 512 * MIB)
    request = stage.host.expect('resize')
    stage.host.say('refused', id=request['id'], code='host-memory', text='no memory here', max_size=4 * GIB)
    with pytest.raises(Exception) as caught:
        client.reply(serial)
    assert caught.value.name == 'HostRefused' and 'no memory here' in caught.value.text
    serial = reserve(client, 512 * MIB)
    stage.host.grant(requested_size=GIB + 2 * MIB)
    with pytest.raises(Exception) as caught:
        client.reply(serial)
    assert caught.value.name == 'HostRefused' and 'are needed' in caught.value.text
    assert (get(client, 'ReservedBytes'), get(client, 'MinSize')) == (0, 256 * MIB)


@pytest.fixture(name='user')
def who_may_reserve(stage):
    """A user who is nobody but one whom polkit lets reserve; the host has all that the guest may want."""
    set_available(stage, 3 * GIB)
    stage.up(private=False)
    Authority(stage).start()
    return stage.client(uid=LAUNCHER)


@malice('a person who may reserve does so without end', '16 are kept for a user, and leave others theirs')
def test_sixteen_for_a_user(stage, user):
    fds = [reserved_fd(user, reserve(user, MIB)) for _ in range(16)]
    for client in user, stage.client(uid=LAUNCHER):
        error = refused(client, 'Reserve', 'tss', MIB, 'camera', '')
        assert error.name == 'LimitExceeded' and '16' in error.text
    assert len(listed(user)) == 16 and {row[3] for row in listed(user)} == {LAUNCHER}
    root = stage.client()
    os.close(reserved_fd(root, reserve(root, MIB)))
    for fd in fds:
        os.close(fd)
    wait_until(lambda: not listed(user), 5, 'all have ended')


@malice('a person who may reserve wants more than half of the maximum', 'it is refused, in one piece or in several')
def test_half_of_the_maximum_for_a_user(stage, user):
    assert get(user, 'MaxSize') == 4 * GIB
    error = refused(user, 'Reserve', 'tss', 2 * GIB + 2 * MIB, 'camera', '')
    assert error.name == 'LimitExceeded' and 'half of the max size of 4G' in error.text
    fds = [reserved_fd(user, reserve(user, GIB)), plugged_for(stage, user, GIB)]
    for client in user, stage.client(uid=LAUNCHER):
        error = refused(client, 'Reserve', 'tss', 1, 'camera', '')
        assert error.name == 'LimitExceeded' and 'half of the max size of 4G' in error.text
    assert get(user, 'ReservedBytes') == 2 * GIB
    # It is not the other half that is missing to others.
    os.close(plugged_for(stage, stage.client(), 256 * MIB))
    for fd in fds:
        os.close(fd)
    wait_until(lambda: get(user, 'ReservedBytes') == 0, 5, 'all have ended')


@malice('a person who may reserve reserves one byte while all memory is in use', 'the floor falls as memory becomes available')
def test_what_a_user_pins_falls_with_what_is_in_use(stage, user):
    set_available(stage, 257 * MIB)
    fd = reserved_fd(user, reserve(user, 1))
    assert get(user, 'MinSize') > GIB - 2 * MIB
    set_available(stage, 3 * GIB)
    wait_until(lambda: get(user, 'MinSize') == 256 * MIB, 30, 'the floor falls to the min size')
    root = stage.client(private=True)
    serial = root.send('Unplug', 'ts', 512 * MIB, 'test', at=ACTUATOR)
    assert stage.host.grant()['size'] == 512 * MIB
    root.reply(serial)
    assert (get(user, 'ReservedBytes'), len(listed(user))) == (1, 1)
    os.close(fd)


def plugged_for(stage, client, size):
    """The fd of a reservation that the host has to plug for."""
    serial = reserve(client, size)
    size = stage.host.grant()['size']
    stage.host.say('size', size=size, requested_size=size)
    return reserved_fd(client, serial)


def test_reservations_leave_the_monitor_its_rate_and_its_place(strict_stage):
    """Forty at once, of which the host answers none: what the monitor asks comes through, as if they were not there."""
    client = strict_stage.up()
    launcher = [client.send('Reserve', 'tss', GIB, 'launcher', str(n), at=ACTUATOR) for n in range(40)]
    client.pump(0.3)
    names = [refusal(client, serial).name for serial in launcher if client.answered(serial)]
    assert len(names) >= 30 and set(names) <= {'RateLimited', 'LimitExceeded', 'Busy'}, names
    monitor = strict_stage.client(uid=NOBODY, private=True)
    serial = plug(monitor, 2 * MIB)
    monitor.pump(0.2)
    assert not monitor.answered(serial)  # it waits for its turn, and is not refused


def test_two_reservations_at_once(stage):
    client = stage.up()
    stage.set_memory(2 * GIB, 256 * MIB)
    one, two = (client.send('Reserve', 'tss', 512 * MIB, 'launcher', str(n), at=ACTUATOR) for n in range(2))
    assert stage.host.grant()['size'] == GIB + 512 * MIB
    assert stage.host.grant()['size'] == 2 * GIB
    stage.host.say('size', size=GIB + 512 * MIB, requested_size=2 * GIB)
    client.reply(one)
    assert not client.answered(two)
    stage.host.say('size', size=2 * GIB, requested_size=2 * GIB)
    client.reply(two)
    assert get(client, 'MinSize') == 2 * GIB


def test_without_a_host(stage):
    client = stage.client(private=True)
    assert refused(client, 'Reserve', 'tss', MIB, 'camera', '').name == 'HostUnavailable'


@malice('any local user reserves without rights', 'it is denied; it may list what is reserved')
def test_strangers_may_list_only(stage):
    stage.up()
    stage.on_bus()
    stranger = stage.client(uid=STRANGER)
    assert listed(stranger) == []
    for member, signature, *arguments in (('Reserve', 'tss', MIB, 'x', ''), ('SetLimits', 'ttb', 0, 0, False)):
        assert refused(stranger, member, signature, *arguments).full_name == 'org.freedesktop.DBus.Error.AccessDenied'
