# SPDX-License-Identifier: MIT
"""vmtide-host between a scripted QEMU and a scripted guest, both of which may misbehave."""

import subprocess
import time

import pytest

from tests.matrix import malice

from .conftest import BUILD
from .host_peers import rig
from .peers import BLOCK, GIB, MIB, patience, wait_until


def run(*options):
    return subprocess.run([BUILD / 'host/vmtide-host', *options], capture_output=True, text=True, timeout=10, check=False,
                          stdin=subprocess.DEVNULL)


def test_options():
    assert run('--version').stdout.startswith('vmtide-host ')
    output = run('--help').stdout
    for option in ('--config', '--vm', '--host-reserve', '--log-level', '--procfs'):
        assert option in output
    assert run('--nonsense').returncode == 64
    assert run('stray').returncode == 64
    vm = '--vm=g,channel=/a,qmp=/b,device=vm0'
    result = run(vm, '--host-reserve=100T', '--config=/dev/null')
    assert result.returncode == 64 and "100T is more than this host's memory" in result.stderr
    assert run(vm, '--host-reserve=lots', '--config=/dev/null').returncode == 64


@pytest.mark.parametrize('vm, says', (
    ('g', 'Channel= is missing'),
    ('g,channel=a,qmp=/b,device=vm0', 'Channel=a: not an absolute path'),
    ('g,channel=/a,qmp=./b,device=vm0', 'QMP=./b: not an absolute path'),
    ('g,channel=/' + 'a' * 107 + ',qmp=/b,device=vm0', 'of at most 107 bytes'),
    ('g,channel=/a,qmp=/b', 'Device= is missing'),
    ('g,channel=/a,qmp=/b,device=', 'Device='),
    ('g,channel=/a,qmp=/b,device=vm0+vm0', "'vm0' is there twice"),
    ('g,channel=/a,qmp=/b,device=a/b', "'a/b' is not the id"),
    ('g,channel=/a,qmp=/b,device=' + '+'.join(f'd{i}' for i in range(9)), 'more than 8'),
    ('g,channel=/a,qmp=/a,device=vm0', '/a is there twice'),
    ('g,channel=/a,channel=/b', 'channel= is there twice'),
    ('g,channel=/a,speed=1', "'speed=1' is none of"),
    ('g,channel=/a,qmp=/b,device=vm0,max=lots', 'lots'),
    ('g,channel=/a,qmp=/b,device=vm0,min=2G,max=1G', 'min size 2G is above max size 1G'),
    ('a b,channel=/a,qmp=/b,device=vm0', "VM 'a b'"),
    ('', "VM ''"),
))
def test_bad_vm_is_refused(tmp_path, vm, says):
    (tmp_path / 'c').write_text('', encoding='ascii')
    result = run('--config', tmp_path / 'c', '--vm', vm)
    assert result.returncode == 64 and says in result.stderr, result.stderr
    assert f'--vm={vm}: ' in result.stderr and 'for instance guest1,channel=/run/' in result.stderr


@pytest.mark.parametrize('text, says', (
    ('[Host]\nHostReserve=-1\n', ':2: [Host] HostReserve=-1'),
    ('[Host]\nSpeed=1\n', ':2: [Host] Speed=1: the key is not known'),
    ('[Host]\nHostReserve=100T\n[VM a]\nChannel=/a\nQMP=/b\nDevice=vm0\n', "100T is more than this host's memory"),
    ('[VM a]\nChannel=run/a\n', ':2: [VM a] Channel=run/a: not an absolute path'),
    ('[Guest]\n', ':1: group [Guest] is not known'),
    ('[VM a]\nChannel=/a\nQMP=/b\nDevice=vm0\n[VM a]\n', ':5: group [VM a] stands here twice'),
    ('[VM a]\nChannel=/a\nQMP=/b\nDevice=vm0\n[VM b]\nChannel=/c\nQMP=/b\nDevice=vm0\n', '/b is there twice'),
))
def test_bad_configuration_is_refused(tmp_path, text, says):
    (tmp_path / 'c').write_text(text, encoding='ascii')
    result = run('--config', tmp_path / 'c')
    assert result.returncode == 78 and says in result.stderr, result.stderr
    assert result.stderr.count('\n') == 1


def test_grow_and_shrink(rig):
    qemu, guest = rig.add()
    rig.start(rig.vm_option('guest', max='3G', min='64M'))
    welcome = guest.meet()
    assert (welcome['vm'], welcome['block_size'], welcome['min_size'], welcome['max_size']) == (
        'guest', BLOCK, 64 * MIB, 3 * GIB)
    # The min size is given without asking, before or after the welcome.
    if welcome['requested_size'] != 64 * MIB:
        guest.wait('size', requested_size=64 * MIB)
    guest.resize(1, GIB)
    assert guest.answer(1)['requested_size'] == GIB
    guest.wait('size', size=GIB, requested_size=GIB)
    guest.resize(2, 64 * MIB)
    assert guest.answer(2)['requested_size'] == 64 * MIB
    guest.wait('size', size=64 * MIB)
    assert qemu.sets() == [('vm0', 64 * MIB), ('vm0', GIB), ('vm0', 64 * MIB)]


def test_refusals_name_value_and_limit(rig):
    qemu, guest = rig.simple(max='2G', min='64M')
    # Its min size it is given by itself.
    wait_until(lambda: qemu.sets() == [('vm0', 64 * MIB)], 5, 'it has its min size')
    before = qemu.sets()
    for number, (size, code, words) in enumerate((
            (2 * GIB + BLOCK, 'limit', ('above the max size 2G',)),
            (62 * MIB, 'limit', ('62M', 'below the min size 64M')),
            (0, 'limit', ('min size 64M',)),
            (GIB + 1, 'invalid', (str(GIB + 1), str(BLOCK))),
            (2 ** 63 - 1, 'invalid', (str(BLOCK),)),
    )):
        guest.resize(number, size)
        answer = guest.answer(number)
        assert answer['op'] == 'refused' and answer['code'] == code and answer['max_size'] == 2 * GIB
        assert all(w in answer['text'] for w in words), answer
    assert qemu.sets() == before
    assert rig.said('refused limit') == 1 and rig.said('refused invalid') == 1


def test_a_part_is_granted_and_room_is_told(rig):
    qemu, guest = rig.simple('HostReserve=2G')
    # Boot memory of 1 GiB that QEMU has not touched is promised too.
    rig.set_available(3 * GIB + 301 * MIB)
    guest.resize(1, GIB)
    assert guest.answer(1)['requested_size'] == 300 * MIB
    # Granted is spent, although MemAvailable has not moved.
    guest.resize(2, GIB)
    answer = guest.answer(2)
    assert answer['code'] == 'host-memory' and '724M more' in answer['text'] and '1M to give' in answer['text']
    time.sleep(1.3)
    assert guest.all('room') == []
    # QEMU has touched it all: it is no longer only promised.
    rig.set_rss(GIB + 300 * MIB)
    guest.wait('room', 3)
    guest.resize(3, GIB)
    assert guest.answer(3)['requested_size'] == GIB
    assert qemu.requested['vm0'] == GIB


def test_unknown_host_memory_grants_no_growth(rig):
    _, guest = rig.simple()
    guest.resize(1, GIB)
    assert guest.answer(1)['op'] == 'granted'
    (rig.folder / 'proc/meminfo').write_text('MemTotal: lots\n', encoding='ascii')
    guest.resize(2, 2 * GIB)
    assert guest.answer(2)['code'] == 'host-memory'
    guest.resize(3, 512 * MIB)
    assert guest.answer(3)['op'] == 'granted'
    assert rig.said('no growth is granted') == 1


def test_two_vms_do_not_spend_the_same_bytes(rig):
    qemu_a, a = rig.add('a')
    _, b = rig.add('b')
    rig.start('--host-reserve=1G', rig.vm_option('a'), rig.vm_option('b'))
    a.meet()
    b.meet()
    qemu_a.follow = False
    rig.set_available(5 * GIB)  # less the reserve and two untouched boots: 2 GiB
    a.resize(1, GIB + 512 * MIB)
    assert a.answer(1)['requested_size'] == GIB + 512 * MIB
    b.resize(1, GIB)
    assert b.answer(1)['requested_size'] == 512 * MIB


def test_rate(rig):
    qemu, guest = rig.simple()
    answers = []
    begun = time.monotonic()
    for number in range(40):
        guest.resize(number, BLOCK * (number + 1))
        answers.append(guest.answer(number))
    granted = sum(a['op'] == 'granted' for a in answers)
    assert 20 <= granted <= 21 + 10 * (time.monotonic() - begun) < 40
    assert all(a['op'] == 'granted' or (a['code'] == 'rate' and '10 requests a second' in a['text']) for a in answers)
    assert len(qemu.sets()) == granted and rig.said('refused rate') == 1
    assert len(guest.all('room')) < 40 - granted
    # After the last answer, whichever it was, a refusal is followed by room, and that by a grant. More than the bucket
    # ever holds, and at once: a host that is slow fills it meanwhile.
    guest.heard.clear()
    guest.raw(b''.join(b'{"op":"resize","id":%d,"size":2097152,"reason":"all at once"}\n' % number for number in range(50, 75)))
    wait_until(lambda: any(m['code'] == 'rate' for m in guest.all('refused')) and guest.all('room'), 5, 'room')
    guest.resize(99, 2 * MIB)
    assert guest.answer(99)['op'] == 'granted'


def test_both_sockets_come_back(rig):
    qemu, guest = rig.simple()
    guest.resize(1, GIB)
    guest.answer(1)
    guest.wait('size', size=GIB)
    qemu.requested['vm0'] = qemu.size['vm0'] = 512 * MIB
    qemu.hang_up()
    guest.wait('size', size=512 * MIB, requested_size=512 * MIB)
    guest.hang_up()
    wait_until(lambda: guest.connections == 2 and guest.all('who'), 5, 'it comes back')
    assert guest.meet()['size'] == 512 * MIB
    guest.resize(1, GIB)
    assert guest.answer(1)['requested_size'] == GIB


def test_sockets_that_are_not_there_yet(rig):
    rig.start(f'--vm=guest,channel={rig.folder}/guest.channel,qmp={rig.folder}/guest.qmp,device=vm0')
    wait_until(lambda: rig.said('cannot connect') == 2, 5, 'it has looked for both')
    woken = rig.wakeups()
    wait_until(lambda: rig.wakeups() >= woken + 4, 5, 'it has looked again')
    _, guest = rig.add()
    guest.meet()
    assert rig.said('cannot connect') == 2


def test_one_vm_does_not_hold_up_another(rig):
    bad_qemu, bad = rig.add('bad')
    _, good = rig.add('good')
    rig.start(rig.vm_option('bad'), rig.vm_option('good'))
    bad.meet()
    good.meet()
    bad_qemu.on['qom-set'] = 'stall'
    bad.resize(1, GIB)
    bad.raw(b'nonsense\n' * 90 + b'x' * (1 << 20) + b'\n')
    times = []
    for number in range(15):
        begun = time.monotonic()
        good.resize(number, BLOCK * (number + 1))
        assert good.answer(number)['op'] == 'granted'
        times.append(time.monotonic() - begun)
    assert sorted(times)[7] < patience(0.1)
    assert bad.all('granted') == []
    bad_qemu.on.clear()


def test_several_devices_in_order(rig):
    qemu, guest = rig.add(devices=('vm0', 'vm1', 'vm2'), maximum=GIB)
    rig.start(rig.vm_option('guest'))
    assert guest.meet()['max_size'] == 3 * GIB
    for number, size in enumerate((GIB + 512 * MIB, 3 * GIB, GIB, 0)):
        guest.resize(number, size)
        assert guest.answer(number)['requested_size'] == size
        guest.wait('size', size=size, requested_size=size)
    half = 512 * MIB
    assert qemu.sets() == [('vm0', GIB), ('vm1', half), ('vm1', GIB), ('vm2', GIB), ('vm1', 0), ('vm2', 0),
                           ('vm0', 0)]


@pytest.mark.parametrize('follow', (True, False), ids=('plugged', 'granted, and nothing comes'))
def test_sizes_are_told_once_more_after_the_next_stats(rig, follow):
    """A line may be lost in the guest; one that was not is said twice and no more."""
    qemu, guest = rig.simple()
    qemu.follow = follow
    guest.resize(1, GIB)
    guest.answer(1)
    if follow:
        guest.wait('size', 5, size=GIB, requested_size=GIB)
    seen = len(guest.all('size'))

    def stats():
        before = len(guest.all('pong'))
        guest.say('stats', available=GIB, total=2 * GIB, some10=0, level='normal')
        guest.say('ping', id=7)
        wait_until(lambda: len(guest.all('pong')) > before, 5, 'it has been read')
        return guest.all('size')[seen:]

    assert [(m['size'], m['requested_size']) for m in stats()] == [(GIB if follow else 0, GIB)]
    assert len(stats()) == 1


def test_the_size_is_followed(rig):
    qemu, guest = rig.simple()
    time.sleep(0.3)
    idle = len(qemu.queries())
    assert idle == 1
    qemu.follow = False
    guest.resize(1, GIB)
    guest.answer(1)
    # The first second counts from the set, whenever that came.
    begun = next(t for t, name, _ in list(qemu.commands) if name == 'qom-set')
    for step in range(1, 5):
        qemu.size['vm0'] = step * 64 * MIB
        guest.wait('size', 0.5, size=step * 64 * MIB, requested_size=GIB)
    wait_until(lambda: time.monotonic() - begun > 1.5, 5, 'a second and a half')
    fast = [t for t in qemu.queries()[idle:] if t - begun < 1]
    slow = [t for t in qemu.queries()[idle:] if t - begun >= 1.15]
    assert 20 <= patience(len(fast)) and len(fast) <= 52 and len(slow) <= 1
    qemu.size['vm0'] = GIB
    qemu.event('MEMORY_DEVICE_SIZE_CHANGE', id='vm0', size=GIB)
    guest.wait('size', 0.5, size=GIB)
    count = len(qemu.queries())
    time.sleep(1.5)
    assert len(qemu.queries()) == count
    # Somebody else's change is followed and told too.
    qemu.requested['vm0'] = qemu.size['vm0'] = 0
    qemu.event('MEMORY_DEVICE_SIZE_CHANGE', id='vm0', size=0)
    guest.wait('size', 0.5, size=0, requested_size=0)
    assert rig.said('somebody else changed') == 1


def test_growth_without_progress_is_kicked(rig):
    qemu, guest = rig.simple('ProgressTimeout=300ms')
    qemu.follow = False
    guest.resize(1, GIB)
    guest.answer(1)
    wait_until(lambda: qemu.sets() == [('vm0', GIB)] * 3, 5, 'it is set again, twice')
    assert guest.all('granted') == [{'op': 'granted', 'id': 1, 'requested_size': GIB}]
    assert rig.said('no progress') == 1
    qemu.size['vm0'] = GIB
    guest.wait('size', size=GIB)
    count = len(qemu.sets())
    time.sleep(0.7)
    assert len(qemu.sets()) == count


def test_a_stuck_shrink_is_ended(rig):
    qemu, guest = rig.simple('ProgressTimeout=200ms\nStuckTimeout=700ms')
    guest.resize(1, 2 * GIB)
    guest.answer(1)
    guest.wait('size', size=2 * GIB)
    qemu.follow = False
    guest.resize(2, 0)
    guest.answer(2)
    qemu.size['vm0'] = GIB
    guest.wait('size', size=GIB, requested_size=0)
    guest.wait('size', size=GIB, requested_size=GIB)
    assert qemu.sets()[-1] == ('vm0', GIB) and ('vm0', 0) in qemu.sets()[2:]
    assert rig.said('stuck') == 1
    guest.resize(3, 2 * GIB)
    assert guest.answer(3)['requested_size'] == 2 * GIB


def test_reset(rig):
    qemu, guest = rig.simple()
    guest.resize(1, GIB)
    guest.answer(1)
    guest.wait('size', size=GIB)
    qemu.follow = False
    qemu.size['vm0'] = 0
    qemu.event('RESET', guest=True, reason='guest-reset')
    wait_until(lambda: rig.said('reset: QEMU unplugs all') == 1, 5, 'it is seen')
    guest.heard.clear()
    guest.hello()
    assert guest.wait('welcome')['requested_size'] == GIB
    wait_until(lambda: [m['size'] for m in guest.all('welcome') + guest.all('size')][-1] == 0, 5, 'all is unplugged')
    qemu.size['vm0'] = GIB
    guest.wait('size', size=GIB, requested_size=GIB)
    assert qemu.sets() == [('vm0', GIB)]


def test_min_size_is_given_without_asking(rig):
    qemu, guest = rig.simple(min='256M')
    wait_until(lambda: qemu.sets() == [('vm0', 256 * MIB)], 5, 'it is raised')
    guest.resize(1, 128 * MIB)
    assert guest.answer(1)['code'] == 'limit'


def vm_group(rig, name, more=''):
    return (f'[VM {name}]\nChannel={rig.folder}/{name}.channel\nQMP={rig.folder}/{name}.qmp\nDevice=vm0\n{more}\n')


def test_reload(rig):
    qemu, guest = rig.add('one')
    _, other = rig.add('two')
    rig.write_config(vms=vm_group(rig, 'one'))
    rig.start()
    guest.meet()
    guest.resize(1, 2 * GIB)
    guest.answer(1)
    guest.wait('size', size=2 * GIB)
    rig.write_config(vms=vm_group(rig, 'one', 'MaxSize=1G') + vm_group(rig, 'two'))
    rig.reload()
    assert guest.wait('limits')['max_size'] == GIB
    shrink = guest.wait('shrink')
    assert shrink['size'] == GIB
    guest.say('declined', id=shrink['id'], code='in-use')
    wait_until(lambda: rig.said('declines to shrink to 1G: in-use') == 1, 5, 'it is said')
    guest.resize(2, 2 * GIB + BLOCK)
    assert guest.answer(2)['code'] == 'limit'
    guest.resize(3, GIB + 512 * MIB)
    assert guest.answer(3)['op'] == 'granted'
    other.meet()
    # A bad one changes nothing; one without the VM leaves it, and its memory, alone.
    rig.write_config(vms=vm_group(rig, 'one', 'MaxSize=none'))
    rig.reload()
    wait_until(lambda: rig.said('the configuration in force stays') == 1, 5, 'it is refused')
    guest.say('ping', id=5)
    guest.wait('pong', id=5)
    count = len(qemu.sets())
    rig.write_config(vms=vm_group(rig, 'two'))
    rig.reload()
    wait_until(lambda: rig.said('serving 1 VMs') == 2, 5, 'it is loaded')
    other.say('ping', id=6)
    other.wait('pong', id=6)
    assert len(qemu.sets()) == count and guest.connections == 1


def test_vms_may_come_later(rig):
    _, guest = rig.add('one')
    rig.write_config()
    rig.start()
    wait_until(lambda: rig.said('no VM is configured') == 1, 5, 'it waits for a VM')
    rig.write_config(vms=vm_group(rig, 'one'))
    rig.reload()
    guest.meet()


@malice('a guest\'s root lies in hello and stats to get more', 'QEMU\'s numbers and the host\'s memory count')
def test_guest_says_nothing_that_is_believed(rig):
    """Whatever the guest claims of itself, what is granted comes from QEMU and the host."""
    qemu, guest = rig.simple('HostReserve=1G')
    rig.set_available(2 * GIB + 256 * MIB)
    guest.say('hello', v=1, agent='x' * 63, boot_id='y', boot_size=2 ** 62, memory_block_size=1)
    guest.wait('welcome')
    guest.say('stats', available=0, total=2 ** 62, some10=10000, level='critical')
    guest.resize(1, GIB)
    assert guest.answer(1)['requested_size'] == 256 * MIB
    assert qemu.requested['vm0'] == 256 * MIB
