# SPDX-License-Identifier: MIT
"""What is asked of the actuator, and what comes back."""

import threading
import time

import pytest

from .actuator_stage import (bare_stage, CONFIG, get, plug, refusal, refused, stage,
                             strict_stage)
from .conftest import ACTUATOR
from .dbus_client import DBusError
from .peers import GIB, MIB, patience, wait_until


# What is asked, and what comes back


def test_plug_waits_for_the_grant(stage):
    client = stage.up()
    serial = plug(client, 5 * MIB, 'work')
    request = stage.host.expect('resize')
    assert (request['size'], request['reason']) == (GIB + 6 * MIB, 'work')
    assert not client.answered(serial)
    stage.host.say('granted', id=request['id'], requested_size=GIB + 6 * MIB)
    assert client.reply(serial) == (GIB + 6 * MIB,)
    assert (get(client, 'RequestedSize'), get(client, 'Size'), get(client, 'State')) == (GIB + 6 * MIB, GIB, 'plugging')
    stage.host.say('size', size=GIB + 6 * MIB, requested_size=GIB + 6 * MIB)
    assert client.wait_signal('SizeChanged', where=lambda old, new, why: new > GIB) == (GIB, GIB + 6 * MIB, 'work')
    assert get(client, 'State') == 'idle'


def test_a_grant_may_be_smaller(stage):
    client = stage.up()
    serial = plug(client, GIB)
    stage.host.grant(requested_size=GIB + 128 * MIB)
    assert client.reply(serial) == (GIB + 128 * MIB,)
    # The next one counts from there.
    plug(client, 2 * MIB)
    assert stage.host.grant()['size'] == GIB + 130 * MIB


def test_unplug_rounds_down_and_growth_cancels_it(stage):
    client = stage.up()
    serial = client.send('Unplug', 'ts', 513 * MIB, 'spare', at=ACTUATOR)
    assert stage.host.grant()['size'] == 512 * MIB
    assert client.reply(serial) == (512 * MIB,)
    assert get(client, 'State') == 'unplugging'
    # The size is still 1 GiB: what is wanted now comes on top of that.
    serial = plug(client, 1)
    assert stage.host.grant()['size'] == GIB + 2 * MIB
    assert client.reply(serial) == (GIB + 2 * MIB,)


ERRORS = (
    ('Plug', 0, 'InvalidSize', '0 bytes'),
    ('Plug', 3 * GIB + 1, 'LimitExceeded', str(3 * GIB + 1)),
    ('Plug', 2**63, 'LimitExceeded', '4G'),
    ('Plug', 2**64 - 1, 'LimitExceeded', '3G are left'),
    ('Unplug', 0, 'InvalidSize', '0 bytes'),
    ('Unplug', 2 * MIB - 1, 'InvalidSize', 'block'),
    ('Unplug', 770 * MIB, 'BelowMinimum', '256M'),
    ('Unplug', 2**64 - 1, 'BelowMinimum', '768M can be unplugged'),
)


@pytest.mark.parametrize('member, size, name, words', ERRORS, ids=[f'{e[0]}-{e[1]}' for e in ERRORS])
def test_limits(stage, member, size, name, words):
    client = stage.up()
    error = refused(client, member, 'ts', size, 'why not')
    assert error.full_name == f'org.vmtide.Error.{name}' and words in error.text
    assert client.wait_signal('RequestRefused') == (member.lower(), size, error.full_name, error.text)
    assert get(client, 'LastError') == error.text
    assert stage.host.line(0.1) is None
    # Exactly at the limit it goes.
    plug(client, 3 * GIB)
    assert stage.host.expect('resize')['size'] == 4 * GIB


def test_own_limits_hold_inside_the_hosts(bare_stage):
    stage = bare_stage
    stage.run(CONFIG + 'MinSize=512M\nMaxSize=2G\n')
    client = stage.up()
    assert (get(client, 'MinSize'), get(client, 'MaxSize'), get(client, 'HostMaxSize')) == (512 * MIB, 2 * GIB, 4 * GIB)
    assert "actuator's 2G" in refused(client, 'Plug', 'ts', GIB + 1, 'test').text
    assert refused(client, 'Unplug', 'ts', 514 * MIB, 'test').name == 'BelowMinimum'
    # The host may lower its own later; what it says last counts.
    stage.host.say('limits', min_size=0, max_size=GIB + 2 * MIB)
    wait_until(lambda: get(client, 'MaxSize') == GIB + 2 * MIB, 5, 'the limit is taken')
    assert refused(client, 'Plug', 'ts', 4 * MIB, 'test').name == 'LimitExceeded'


@pytest.mark.parametrize('reason', ('x' * 128, 'line\nbreak', 'bell\a', 'c1 \u0085', 'delete \x7f'))
def test_reasons_are_text(stage, reason):
    client = stage.up()
    error = refused(client, 'Plug', 'ts', 2 * MIB, reason)
    assert error.name == 'InvalidSize' and 'reason' in error.text
    plug(client, 2 * MIB, 'für 127 Bytes: ' + 'x' * 111)
    assert stage.host.grant()['reason'].startswith('für')


def test_wrong_arguments(stage):
    client = stage.up()
    assert refused(client, 'Plug', 's', 'lots').name == 'InvalidArgs'
    assert refused(client, 'Plug', 't', 1).name == 'InvalidArgs'
    assert refused(client, 'SetMood', 's', 'good').name == 'UnknownMethod'
    for some10, level in ((10001, 'normal'), (0, 'angry')):
        assert refused(client, 'Report', 'ttus', 1, 2, some10, level).name == 'InvalidArgs'
    assert refused(client, 'Report', 'ttus', 2**63, 2, 3, 'normal').name == 'InvalidArgs'
    assert stage.host.line(0.1) is None


def test_no_host(stage):
    client = stage.client(private=True)
    begun = time.monotonic()
    for member in ('Plug', 'Unplug'):
        assert refused(client, member, 'ts', 2 * MIB, 'test').name == 'HostUnavailable'
    assert time.monotonic() - begun < patience(0.5)
    assert client.call('Report', 'ttus', 1, 2, 3, 'normal', at=ACTUATOR) == ()


def test_no_device_until_the_driver_comes(stage):
    driver = stage.folder / 'sys/bus/virtio/drivers/virtio_mem'
    driver.rename(driver.with_name('gone'))
    client = stage.up()
    wait_until(lambda: get(client, 'State') == 'no-device', 5, 'it sees that')
    assert refused(client, 'Plug', 'ts', 2 * MIB, 'test').name == 'NoDevice'
    driver.with_name('gone').rename(driver)
    serial = plug(client, 2 * MIB)
    stage.host.grant()
    assert client.reply(serial) == (GIB + 2 * MIB,)


CODES = (('limit', 'LimitExceeded'), ('rate', 'RateLimited'), ('busy', 'Busy'), ('invalid', 'InvalidSize'),
         ('host-memory', 'HostRefused'), ('device', 'HostRefused'))


@pytest.mark.parametrize('code, name', CODES)
def test_host_refuses(stage, code, name):
    client = stage.up()
    serial = plug(client, 2 * MIB)
    request = stage.host.expect('resize')
    stage.host.say('refused', id=request['id'], code=code, text='not today', max_size=4 * GIB)
    error = refusal(client, serial)
    assert (error.full_name, error.text) == (f'org.vmtide.Error.{name}', 'not today')
    assert client.wait_signal('RequestRefused') == ('plug', 2 * MIB, error.full_name, 'not today')


def test_no_answer(stage):
    client = stage.up()
    begun = time.monotonic()
    first, second = plug(client, 2 * MIB), plug(client, 4 * MIB, 'second')
    late = stage.host.expect('resize')
    error = refusal(client, first)
    assert error.name == 'HostUnavailable' and '700 ms' in error.text
    assert 0.6 < time.monotonic() - begun < patience(3)
    # The second waited as long, behind it.
    assert refusal(client, second).name == 'HostUnavailable'
    # Too late for its caller, but a number of the host's.
    stage.host.say('granted', id=late['id'], requested_size=late['size'])
    wait_until(lambda: get(client, 'RequestedSize') == GIB + 2 * MIB, 5, 'it is taken')
    serial = plug(client, 2 * MIB, 'third')
    request = stage.host.grant()
    assert request['id'] > late['id'] and request['size'] == GIB + 4 * MIB
    assert client.reply(serial) == (GIB + 4 * MIB,)


def test_nothing_is_asked_before_a_late_answer(stage):
    """A plug that did not know of what is yet to be granted would lower the requested size."""
    client = stage.up()
    serial = plug(client, GIB)
    late = stage.host.expect('resize')
    assert refusal(client, serial).name == 'HostUnavailable'
    assert refusal(client, plug(client, 2 * MIB, 'too early')).name == 'HostUnavailable'
    serial = plug(client, 4 * MIB, 'in time')
    stage.host.say('granted', id=late['id'], requested_size=late['size'])
    request = stage.host.grant()
    assert (request['reason'], request['size']) == ('in time', 2 * GIB + 4 * MIB)
    assert client.reply(serial) == (2 * GIB + 4 * MIB,)


def test_a_late_refusal_is_an_answer_too(stage):
    client = stage.up()
    serial = plug(client, GIB)
    late = stage.host.expect('resize')
    assert refusal(client, serial).name == 'HostUnavailable'
    serial = plug(client, 4 * MIB)
    stage.host.say('refused', id=late['id'], code='device', text='not today', max_size=4 * GIB)
    assert stage.host.grant()['size'] == GIB + 4 * MIB
    assert client.reply(serial) == (GIB + 4 * MIB,)


def test_an_answer_that_never_comes_begins_anew(stage):
    client = stage.up()
    begun = time.monotonic()
    refusal(client, plug(client, GIB))
    stage.host.expect('resize')
    said = None
    while said is None or said['op'] == 'stats':
        assert time.monotonic() - begun < patience(12)
        assert refusal(client, plug(client, 2 * MIB)).name == 'HostUnavailable'
        said = stage.host.line(0.05)
    # Six time-outs of 700 ms.
    assert said['op'] == 'hello' and time.monotonic() - begun > 4
    assert not get(client, 'HostConnected')
    stage.host.say('welcome', **{**stage.host.welcome, 'size': 2 * GIB, 'requested_size': 2 * GIB})
    wait_until(lambda: get(client, 'HostConnected'), 5, 'it is welcomed')
    plug(client, 2 * MIB)
    while (said := stage.host.line(5))['op'] == 'hello':
        pass
    assert (said['op'], said['size']) == ('resize', 2 * GIB + 2 * MIB)


def test_no_answer_in_the_installed_time(strict_stage):
    client = strict_stage.up()
    begun = time.monotonic()
    assert refusal(client, plug(client, 2 * MIB)).name == 'HostUnavailable'
    assert 4.9 < time.monotonic() - begun < patience(6)


def test_one_at_a_time_and_no_more_than_sixteen(stage):
    client = stage.up()
    serials = [plug(client, 2 * MIB, f'number {i}') for i in range(17)]
    error = refusal(client, serials.pop())
    assert error.name == 'Busy' and '16' in error.text
    for i, serial in enumerate(serials):
        request = stage.host.expect('resize')
        assert stage.host.line(0.005) is None
        # Each counts from what was granted to the one before it.
        assert (request['reason'], request['size']) == (f'number {i}', GIB + (i + 1) * 2 * MIB)
        stage.host.say('granted', id=request['id'], requested_size=request['size'])
        assert client.reply(serial) == (request['size'],)


def test_rate(strict_stage):
    client = strict_stage.client(private=True)
    stop = threading.Event()

    def grant():
        strict_stage.host.connect()
        while not stop.is_set():
            request = strict_stage.host.line(0.1)
            if request and request['op'] == 'resize':
                strict_stage.host.say('granted', id=request['id'], requested_size=request['size'])
    thread = threading.Thread(target=grant, daemon=True)
    thread.start()
    wait_until(lambda: get(client, 'HostConnected'), 5, 'the actuator meets the host')
    begun, granted, errors = time.monotonic(), 0, []
    for _ in range(300):
        try:
            client.call('Plug', 'ts', 2 * MIB, 'flood', at=ACTUATOR)
            granted += 1
        except DBusError as error:
            errors.append(error)
    took = time.monotonic() - begun
    stop.set()
    thread.join(5)
    assert 20 <= granted <= 21 + 10 * took
    assert errors and all(error.name == 'RateLimited' and '10 requests a second' in error.text for error in errors)
    # Each caller is answered, the listeners and the log are not flooded.
    client.pump(0.1)
    assert sum(name == 'RequestRefused' for name, _, _ in client.signals) <= 21 + 10 * took
    assert strict_stage.says('RateLimited') == 1


def test_caller_leaves(stage):
    witness = stage.up()
    leaver = stage.client(private=True)
    plug(leaver, 2 * MIB, 'leaver')
    request = stage.host.expect('resize')
    leaver.close()
    serial = plug(witness, 2 * MIB, 'witness')
    witness.pump(0.1)
    stage.host.say('granted', id=request['id'], requested_size=request['size'])
    assert stage.host.grant()['size'] == GIB + 4 * MIB
    assert witness.reply(serial) == (GIB + 4 * MIB,)


def test_stopping_answers_who_waits(stage):
    client = stage.up()
    serials = [plug(client, 2 * MIB), plug(client, 2 * MIB)]
    stage.host.expect('resize')
    get(client, 'Size')  # what came before it was read too: it waits
    assert stage.stop('actuator') == 0
    assert [refusal(client, serial).name for serial in serials] == ['HostUnavailable'] * 2
    assert not (stage.folder / 'actuator.sock').exists()
