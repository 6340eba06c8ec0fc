# SPDX-License-Identifier: MIT
"""vmtide-host and several scripted VMs that want more than there is."""

from .host_peers import rig, BLOCK
from .peers import GIB, MIB, wait_until

assert rig


def stats(guest, available, level='normal'):
    guest.say('stats', available=available, total=4 * GIB, some10=0, level=level)


def two(rig, host='HostReserve=2G', **limits):
    """Two VMs, met, with all of their boot memory touched: what is available beyond 2 GiB can be given."""
    pairs = [rig.add(name) for name in ('one', 'two')]
    rig.set_rss(GIB)
    rig.write_config(host)
    rig.start(*(rig.vm_option(name, **limits.get(name, {})) for name in ('one', 'two')))
    for _, guest in pairs:
        guest.meet()
    return [guest for _, guest in pairs]


def test_what_is_left_is_shared(rig):
    one, two_ = two(rig)
    rig.set_available(2 * GIB)
    for guest in one, two_:
        guest.resize(1, 2 * GIB)
        assert guest.answer(1)['code'] == 'host-memory'
    # 2 GiB come: neither takes what the other waits for.
    rig.set_available(4 * GIB)
    for guest in one, two_:
        guest.wait('room', 5)
    one.resize(2, 2 * GIB)
    assert one.answer(2)['requested_size'] == GIB
    two_.resize(2, 2 * GIB)
    assert two_.answer(2)['requested_size'] == GIB


def test_weight_counts(rig):
    one, two_ = two(rig, one={'weight': 300})
    rig.set_available(2 * GIB)
    for guest in one, two_:
        guest.resize(1, 2 * GIB)
        assert guest.answer(1)['code'] == 'host-memory'
    rig.set_available(3 * GIB)
    for guest in one, two_:
        guest.wait('room', 5)
    one.resize(2, 2 * GIB)
    assert one.answer(2)['requested_size'] == 768 * MIB


def test_who_is_short_comes_first(rig):
    one, two_ = two(rig)
    rig.set_available(2 * GIB)
    for guest in one, two_:
        guest.resize(1, 2 * GIB)
        assert guest.answer(1)['code'] == 'host-memory'
    stats(two_, 10 * MIB, 'critical')
    rig.set_available(4 * GIB)
    two_.wait('room', 5)
    one.resize(2, 2 * GIB)
    answer = one.answer(2)
    assert answer['code'] == 'host-memory' and 'for others' in answer['text'], answer
    two_.resize(2, 2 * GIB)
    assert two_.answer(2)['requested_size'] == 2 * GIB


def test_who_has_spare_memory_is_asked(rig):
    """The idle one is asked, says how much it gives, and the one that waits is told of the room at once."""
    one, two_ = two(rig)
    rig.set_available(4 * GIB)
    one.resize(1, 2 * GIB)
    assert one.answer(1)['requested_size'] == 2 * GIB
    stats(one, 2 * GIB)
    two_.resize(1, GIB)
    assert two_.answer(1)['code'] == 'host-memory'
    shrink = one.wait('shrink', 5)
    # Twice what is missing, or what it can spare: its 2 GiB less its headroom.
    assert shrink['size'] == 640 * MIB and 'other VMs' in shrink['reason']
    one.resize(2, shrink['size'])
    assert one.answer(2)['requested_size'] == 640 * MIB
    two_.wait('room', 5)
    two_.resize(2, GIB)
    assert two_.answer(2)['requested_size'] == GIB


def test_a_guest_may_decline(rig):
    one, two_ = two(rig)
    rig.set_available(4 * GIB)
    one.resize(1, 2 * GIB)
    one.answer(1)
    stats(one, 2 * GIB)
    two_.resize(1, GIB)
    two_.answer(1)
    shrink = one.wait('shrink', 5)
    one.say('declined', id=shrink['id'], code='in-use')
    wait_until(lambda: rig.said('declines to shrink to 640M: in-use') == 1, 5, 'it is heard')
    stats(one, 2 * GIB)
    one.say('ping', id=7)
    one.wait('pong', id=7)
    # It keeps what it has, and the other one goes on waiting.
    two_.resize(2, GIB)
    assert two_.answer(2)['code'] == 'host-memory'
    assert len(one.all('shrink')) == 1


def test_pressure_on_the_host_asks_before_it_refuses(rig):
    one, two_ = two(rig)
    pressure = rig.folder / 'proc/pressure/memory'
    pressure.parent.mkdir()
    line = '{} avg10={} avg60=0.00 avg300=0.00 total=0\n'
    pressure.write_text(line.format('some', '12.00') + line.format('full', '0.00'), encoding='ascii')
    one.resize(1, 8 * GIB // 2)
    one.answer(1)
    stats(one, 3 * GIB)
    shrink = one.wait('shrink', 15)
    assert shrink['size'] < 4 * GIB
    two_.resize(1, GIB)
    assert two_.answer(1)['op'] == 'granted'
    pressure.write_text(line.format('some', '25.00') + line.format('full', '0.00'), encoding='ascii')
    two_.resize(2, GIB + BLOCK)
    assert two_.answer(2)['code'] == 'host-memory'
    stats(two_, 10 * MIB, 'critical')
    two_.resize(3, GIB + BLOCK)
    assert two_.answer(3)['op'] == 'granted'


def test_over_commit(rig):
    one, two_ = two(rig, 'HostReserve=2G\nOverCommit=yes')
    rig.set_available(4 * GIB)
    for guest in one, two_:
        guest.resize(1, 2 * GIB)
        assert guest.answer(1)['requested_size'] == 2 * GIB
