# SPDX-License-Identifier: MIT
"""vmtide-host alone between scripted peers: a QMP server that can lie, and a guest that can say anything."""

import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import pytest

from .conftest import BUILD, MEMINFO
from .peers import BLOCK, GIB, listen, patience, wait_until


# All that the daemon says to QEMU, and to a guest.
ASKS = ('qmp_capabilities', 'query-status', 'query-migrate', 'query-memory-size-summary', 'query-memory-devices')
HEAR_OF_MIGRATION = {'capabilities': [{'capability': 'events', 'state': True}]}
OPS = ('who', 'welcome', 'granted', 'refused', 'size', 'limits', 'shrink', 'room', 'ping', 'pong', 'error')


def listen_apart(path):
    """Returns a listening socket, and the PID that SO_PEERCRED reports for it: a process of its own, which has exited."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    os.chmod(path, 0o666)
    pid = os.fork()
    if pid == 0:
        server.listen(4)
        os._exit(0)
    os.waitpid(pid, 0)
    return server, pid


class ScriptedQemu:
    """A QMP server. What it does with a command is a word in `on`: right, or one of the ways to go wrong."""

    def __init__(self, path, devices=('vm0',), maximum=4 * GIB, boot=GIB, apart=False):
        self.maximum, self.boot = maximum, boot
        self.devices = tuple(devices)
        self.size = dict.fromkeys(devices, 0)
        self.requested = dict.fromkeys(devices, 0)
        self.follow = True
        # command: right, error, stall, close, wrong-id, no-id, garbage, twice, list; take-stall and take-error: it is done
        # all the same; not-done: it is not, and the answer is right
        self.on = {}
        self.lie = {}          # keys of query-memory-devices' data to replace
        self.silent = False    # no greeting
        self.commands = []     # (time, name, arguments)
        self.connections = 0
        self.connection = None
        self.server, self.pid = listen_apart(path) if apart else (listen(path), os.getpid())
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self):
        while True:
            try:
                connection, _ = self.server.accept()
            except OSError:
                return
            self.connections += 1
            self.connection = connection
            try:
                self._talk(connection)
            except (OSError, ValueError):
                pass
            connection.close()

    def send(self, message):
        data = message if isinstance(message, bytes) else json.dumps(message).encode() + b'\r\n'
        self.connection.sendall(data)

    def event(self, name, **data):
        self.send({'event': name, 'data': data, 'timestamp': {'seconds': 1, 'microseconds': 2}})

    def _talk(self, connection):
        if not self.silent:
            self.send({'QMP': {'version': {'qemu': {'major': 7, 'minor': 2, 'micro': 0}}, 'capabilities': []}})
        with connection.makefile('rb') as stream:
            for line in stream:
                request = json.loads(line)
                if not self._answer(request['execute'], request.get('arguments'), request['id']):
                    return

    def _answer(self, name, arguments, number):
        self.commands.append((time.monotonic(), name, arguments))
        way = self.on.get(name, 'right')
        if way.startswith('take-'):
            self._execute(name, arguments)
            way = way.removeprefix('take-')
        if way in ('stall', 'close'):
            return way == 'stall'
        if way == 'error':
            self.send({'error': {'class': 'GenericError', 'desc': 'no'}, 'id': number})
        elif way == 'wrong-id':
            self.send({'return': {}, 'id': number + 1000})
        elif way == 'no-id':
            self.send({'return': {}})
        elif way == 'garbage':
            self.send(b'\x00\xff{"return"\n' * 5)
        elif way == 'list':
            self.send({'return': [], 'id': number})
        elif way == 'not-done':
            self.send({'return': {}, 'id': number})
        else:
            self.send({'return': self._execute(name, arguments), 'id': number})
            if way == 'twice':
                self.send({'return': {}, 'id': number})
        return True

    def _execute(self, name, arguments):
        if name == 'query-memory-size-summary':
            return {'base-memory': self.boot, 'plugged-memory': sum(self.size.values())}
        if name == 'query-memory-devices':
            return [{'type': 'virtio-mem', 'data': {
                'id': i, 'memaddr': 1 << 32, 'requested-size': self.requested[i], 'max-size': self.maximum,
                'size': self.size[i], 'block-size': BLOCK, 'node': 0, 'memdev': f'/objects/{i}'} | self.lie}
                    for i in self.size]
        if name == 'qom-set':
            device = arguments['path'].rpartition('/')[2]
            self.requested[device] = arguments['value']
            if self.follow:
                self.size[device] = arguments['value']
        return {}

    def sets(self):
        """What was set: (device, bytes)."""
        return [(a['path'].rpartition('/')[2], a['value']) for _, name, a in list(self.commands) if name == 'qom-set']

    def queries(self):
        """When it was asked for its devices."""
        return [t for t, name, _ in list(self.commands) if name == 'query-memory-devices']

    def hang_up(self):
        self.connection.shutdown(socket.SHUT_RDWR)

    def end(self):
        """QEMU has ended: nobody is served, nor will be. Closing alone does not wake who waits for a connection, and that
        one would still be served."""
        self.server.shutdown(socket.SHUT_RDWR)
        while self.thread.is_alive():
            try:
                self.hang_up()
            except (OSError, AttributeError):
                pass  # it has left already
            self.thread.join(0.01)

    def close(self):
        self.server.close()
        if self.connection is not None:
            self.connection.close()


class ScriptedGuest:
    """The other end of the channel."""

    def __init__(self, path):
        self.heard = []
        self.connections = 0
        self.connection = None
        self.deaf = False  # the next connection is not read
        self.server = listen(path)
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                connection, _ = self.server.accept()
            except OSError:
                return
            self.connection = connection
            self.connections += 1
            if self.deaf:
                continue
            try:
                with connection.makefile('rb') as stream:
                    for line in stream:
                        self.heard.append(json.loads(line))
            except (OSError, ValueError):
                pass

    def raw(self, data):
        self.connection.sendall(data)

    def say(self, op, **keys):
        self.raw(json.dumps({'op': op, **keys}).encode() + b'\n')

    def hello(self):
        self.say('hello', v=1, agent='test', boot_id='x', boot_size=GIB, memory_block_size=128 << 20)

    def resize(self, number, size, reason='test'):
        self.say('resize', id=number, size=size, reason=reason)

    def all(self, op, **keys):
        return [m for m in list(self.heard) if m.get('op') == op and keys.items() <= m.items()]

    def wait(self, op, timeout=5, **keys):
        """The first message with that op and these keys."""
        wait_until(lambda: self.all(op, **keys), timeout, f'{op} {keys}; heard {self.heard[-5:]}')
        return self.all(op, **keys)[0]

    def answer(self, number, timeout=5):
        """granted or refused."""
        wait_until(lambda: self.all('granted', id=number) or self.all('refused', id=number), timeout,
                   f'answer to {number}; heard {self.heard[-5:]}')
        return (self.all('granted', id=number) + self.all('refused', id=number))[0]

    def meet(self):
        """Connected and welcomed; what was heard before is forgotten."""
        wait_until(lambda: self.all('who'), 10, 'who')
        self.hello()
        welcome = self.wait('welcome')
        self.heard.clear()
        return welcome

    def hang_up(self):
        self.connection.shutdown(socket.SHUT_RDWR)

    def close(self):
        self.server.close()
        if self.connection is not None:
            self.connection.close()


class HostRig:
    """vmtide-host with any number of scripted VMs, and a /proc of its own."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix='vmt-', dir='/tmp'))
        self.vms = {}
        self.process = None
        self.prefix = ()  # words before the daemon's own
        self.config = self.folder / 'host.conf'
        self.config.write_text('[Host]\n', encoding='ascii')
        self.set_available(64 * GIB)
        self.rss = 0

    def _replace(self, path, text):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding='ascii')

    def set_available(self, available):
        self._replace(self.folder / 'proc/meminfo', MEMINFO.format(total=128 << 20, free=available // 1024))

    def set_rss(self, rss):
        """The resident memory of each scripted QEMU."""
        self.rss = rss
        pages = rss // resource.getpagesize()
        for qemu, _ in self.vms.values():
            self._replace(self.folder / f'proc/{qemu.pid}/statm', f'{pages + 1000} {pages} 0 10 0 10 0\n')

    def add(self, name='guest', **settings):
        """For /proc the first QEMU is this process; each further one has a process of its own."""
        qemu = ScriptedQemu(self.folder / f'{name}.qmp', **{'apart': bool(self.vms), **settings})
        guest = ScriptedGuest(self.folder / f'{name}.channel')
        self.vms[name] = (qemu, guest)
        self.set_rss(self.rss)
        return qemu, guest

    def vm_option(self, name, **limits):
        qemu, _ = self.vms[name]
        parts = [name, f'channel={self.folder}/{name}.channel', f'qmp={self.folder}/{name}.qmp',
                 f'device={"+".join(qemu.size)}', *(f'{k}={v}' for k, v in limits.items())]
        return f'--vm={",".join(parts)}'

    def write_config(self, host='', vms=''):
        self.config.write_text(f'[Host]\n{host}\n{vms}\n', encoding='ascii')

    def start(self, *options):
        with open(self.folder / 'host.log', 'ab') as log:
            self.process = subprocess.Popen(
                [*self.prefix, BUILD / 'host/vmtide-host', f'--config={self.config}', f'--procfs={self.folder}/proc',
                 f'--promises-state={self.folder}/promised', *options],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def simple(self, host='', **limits):
        """One VM with one device, met."""
        qemu, guest = self.add()
        self.write_config(host)
        self.start(self.vm_option('guest', **limits))
        guest.meet()
        return qemu, guest

    def reload(self):
        self.process.send_signal(signal.SIGHUP)

    def log(self):
        return (self.folder / 'host.log').read_text(encoding='utf-8', errors='replace')

    def said(self, text):
        return sum(text in line for line in self.log().splitlines())

    def stop(self):
        self.process.terminate()
        return self.process.wait(patience(5))

    def wakeups(self):
        status = Path(f'/proc/{self.process.pid}/status').read_text(encoding='ascii')
        return sum(int(line.split()[1]) for line in status.splitlines() if 'ctxt_switches' in line)

    def check_words(self):
        """It has said no more to its VMs than it has to, whatever happened: sizes to QEMU, numbers to the guest."""
        for qemu, guest in self.vms.values():
            for _, name, arguments in list(qemu.commands):
                if name == 'qom-set':
                    assert arguments.keys() == {'path', 'property', 'value'} and arguments['property'] == 'requested-size', arguments
                    assert arguments['path'] in [f'/machine/peripheral/{device}' for device in qemu.devices], arguments
                elif name == 'migrate-set-capabilities':
                    assert arguments == HEAR_OF_MIGRATION
                else:
                    assert name in ASKS and arguments is None, (name, arguments)
            for message in list(guest.heard):
                assert message['op'] in OPS, message

    def close(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(5)
        for qemu, guest in self.vms.values():
            qemu.close()
            guest.close()
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture
def rig():
    """vmtide-host between its two peers; it must still be there at the end."""
    r = HostRig()
    try:
        yield r
        if r.process is not None:
            assert r.process.poll() is None, f'it ended by itself: {r.log()[-3000:]}'
            assert r.stop() == 0
        r.check_words()
    finally:
        r.close()
