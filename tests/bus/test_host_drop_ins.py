# SPDX-License-Identifier: MIT
"""VMs that come and go with files in host.d."""

from .host_peers import rig
from .peers import GIB, wait_until

assert rig


def write(rig, name, vm, extra=''):
    folder = rig.folder / 'host.d'
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f'[VM {vm}]\nChannel={rig.folder}/{vm}.channel\nQMP={rig.folder}/{vm}.qmp\n'
                               f'Device=vm0\n{extra}\n', encoding='ascii')


def refused(rig, text):
    before = rig.said(text)
    rig.reload()
    wait_until(lambda: rig.said(text) > before, 5, f'it says {text}')


def test_vms_come_and_go_with_files(rig):
    (_, one), (_, two) = rig.add('one'), rig.add('two')
    write(rig, '10-one.conf', 'one')
    (rig.folder / 'host.d/README').write_text('not a configuration', encoding='ascii')
    rig.start()
    one.meet()
    # Another one comes: the first keeps its connection.
    write(rig, '20-two.conf', 'two', 'MaxSize=1G')
    rig.reload()
    assert two.meet()['max_size'] == GIB
    assert one.connections == 1 and not one.all('who')
    # One that goes leaves the other alone.
    (rig.folder / 'host.d/20-two.conf').unlink()
    rig.reload()
    wait_until(lambda: rig.said('serving 1 VMs') == 2, 5, 'one VM is served')
    one.resize(1, GIB)
    assert one.answer(1)['op'] == 'granted'
    assert one.connections == 1


def test_bad_drop_ins_are_refused_by_name(rig):
    _, one = rig.add('one')
    write(rig, '10-one.conf', 'one')
    rig.start()
    one.meet()
    write(rig, '20-same.conf', 'one')
    refused(rig, 'host.d/20-same.conf: VM one and VM one: one is there twice')
    (rig.folder / 'host.d/20-same.conf').write_text('[Host]\nHostReserve=1G\n', encoding='ascii')
    refused(rig, 'host.d/20-same.conf:1: group [Host] is not known')
    one.resize(1, GIB)
    assert one.answer(1)['op'] == 'granted'
    assert one.connections == 1
