# SPDX-License-Identifier: MIT
"""What a VM is called when a real QEMU, which has no guest in it, is stopped, migrated, reset and killed."""

import json
import socket
import subprocess

import pytest

from tests.bus.peers import GIB, listen, wait_until
from tests.bus.test_host_bus import BusRig, get, wait_state


class Qemu:
    """Stopped at its first instruction until it is told to go on; a second monitor is the operator's."""

    def __init__(self, folder):
        self.folder = folder
        self.process = subprocess.Popen(
            ['qemu-system-x86_64', '-accel', 'tcg', '-machine', 'q35', '-nodefaults', '-display', 'none', '-S',
             '-m', '64M,slots=1,maxmem=2G', '-object', 'memory-backend-ram,id=vmem0,size=1G,reserve=off',
             '-device', 'virtio-mem-pci,id=vm0,memdev=vmem0', '-device', 'virtio-serial-pci',
             '-chardev', f'socket,id=channel,path={folder}/channel,server=on,wait=off',
             '-device', 'virtserialport,chardev=channel,name=org.vmtide.0',
             '-qmp', f'unix:{folder}/qmp,server=on,wait=off', '-qmp', f'unix:{folder}/operator,server=on,wait=off'],
            stdin=subprocess.DEVNULL, stdout=open(folder / 'qemu.log', 'ab'), stderr=subprocess.STDOUT)
        wait_until(self._connect, 20, 'QEMU is there')
        self.stream = self.socket.makefile('rw', encoding='utf-8')
        self.run('qmp_capabilities')

    def _connect(self):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(10)
        return self.socket.connect_ex(str(self.folder / 'operator')) == 0

    def run(self, command, **arguments):
        self.stream.write(json.dumps({'execute': command, 'arguments': arguments}) + '\n')
        self.stream.flush()
        while True:
            answer = json.loads(self.stream.readline())
            assert 'error' not in answer, answer
            if 'return' in answer:
                return answer['return']

    def close(self):
        self.socket.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)


@pytest.fixture
def stage():
    rig = BusRig()
    try:
        yield rig
        assert rig.process.poll() is None, f'it ended by itself: {rig.log()[-3000:]}'
        assert rig.stop() == 0
    finally:
        rig.close()


def test_a_real_qemu_goes_through_its_states(stage):
    qemu = Qemu(stage.folder)
    receiver = listen(stage.folder / 'receiver')
    try:
        stage.start(f'--vm=guest,channel={stage.folder}/channel,qmp={stage.folder}/qmp,device=vm0', '--procfs=/proc')
        client = stage.client()
        wait_state(client, 'paused')
        assert get(client, 'Process') == qemu.process.pid and get(client, 'MaxSize') == GIB
        qemu.run('cont')
        wait_state(client, 'no-guest')
        qemu.run('stop')
        wait_state(client, 'paused')
        qemu.run('cont')
        # A receiver that takes nothing: the migration goes on until it is given up.
        qemu.run('migrate', uri=f'unix:{stage.folder}/receiver')
        wait_state(client, 'migrating')
        qemu.run('migrate_cancel')
        wait_state(client, 'no-guest')
        # One that was there before the daemon.
        qemu.run('migrate', uri=f'unix:{stage.folder}/receiver')
        assert stage.stop() == 0
        stage.start(f'--vm=guest,channel={stage.folder}/channel,qmp={stage.folder}/qmp,device=vm0', '--procfs=/proc')
        client = stage.client()
        wait_state(client, 'migrating')
        qemu.run('migrate_cancel')
        wait_state(client, 'no-guest')
        qemu.run('system_reset')
        wait_state(client, 'resetting')
        qemu.process.kill()
        wait_state(client, 'no-qemu')
    finally:
        qemu.close()
        receiver.close()
