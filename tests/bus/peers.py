# SPDX-License-Identifier: MIT
"""What QEMU is for the daemons: a QMP server, and the channel between two sockets. Both can be made to misbehave."""

import json
import os
import selectors
import socket
import threading
import time
from pathlib import Path

MIB = 1024 * 1024
GIB = 1024 * MIB
BLOCK = 2 * MIB


PATIENCE = int(os.environ.get('VMTIDE_TEST_PATIENCE') or 1)


def patience(seconds):
    """A bound for what must come: the daemons may run under something that slows them."""
    return seconds * PATIENCE


def wait_until(condition, timeout, what):
    timeout = patience(timeout)
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f'not in {timeout} s: {what}')
        time.sleep(0.01)


def cpu_seconds(pid):
    fields = Path(f'/proc/{pid}/stat').read_text(encoding='ascii').rpartition(')')[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def listens(path):
    """Bound is not enough: somebody answers there."""
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


def listen(path):
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    os.chmod(path, 0o666)
    server.listen(4)
    return server


class FakeQemu:
    """A QMP server with one virtio-mem device, whose size follows the requested size unless told not to."""

    def __init__(self, path, maximum=8 * GIB):
        self.maximum = maximum
        self.size = self.requested = 0
        self.follow = True      # the guest's driver does its work
        self.answer = 'right'   # right, error, stall, wrong-id, close, lie
        self.commands = []      # what was executed
        self.lock = threading.Lock()
        self.server = listen(path)
        self.connection = None
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                self.connection, _ = self.server.accept()
            except OSError:
                return
            try:
                self._talk(self.connection)
            except OSError:
                pass
            self.connection.close()

    def _send(self, connection, message):
        connection.sendall(json.dumps(message).encode() + b'\r\n')

    def _talk(self, connection):
        self._send(connection, {'QMP': {'version': {'qemu': {'major': 7, 'minor': 2, 'micro': 0}}, 'capabilities': []}})
        with connection.makefile('rb') as stream:
            for line in stream:
                request = json.loads(line)
                if not self._answer(connection, request):
                    return

    def _answer(self, connection, request):
        name, number = request['execute'], request.get('id')
        self.commands.append(request)
        odd = self.answer if name == 'qom-set' else 'right'
        if odd == 'stall':
            return True
        if odd == 'close':
            return False
        if odd == 'error':
            self._send(connection, {'error': {'class': 'GenericError', 'desc': 'no such property'}, 'id': number})
            return True
        if odd == 'wrong-id':
            self._send(connection, {'return': {}, 'id': 999999})
            return True
        self._send(connection, {'return': self._execute(name, request.get('arguments')), 'id': number})
        return True

    def _execute(self, name, arguments):
        if name == 'query-memory-size-summary':
            return {'base-memory': GIB, 'plugged-memory': self.size}
        if name == 'query-memory-devices':
            lie = self.answer == 'lie'
            return [{'type': 'virtio-mem', 'data': {
                'id': 'vm0', 'memaddr': 1 << 32, 'requested-size': self.requested, 'max-size': self.maximum,
                'size': self.maximum * 4 if lie else self.size, 'block-size': BLOCK, 'node': 0,
                'memdev': '/objects/vmem0'}}]
        if name == 'qom-set':
            self.requested = arguments['value']
            if self.follow:
                self.size = self.requested
        return {}

    def requests(self):
        """The sizes that were set."""
        return [c['arguments']['value'] for c in self.commands if c['execute'] == 'qom-set']

    def close(self):
        self.server.close()
        if self.connection is not None:
            self.connection.close()


class Wire:
    """The channel: one socket for the guest, one for the host, bytes carried over; lines can be put in."""

    def __init__(self, guest_path, host_path):
        self.servers = {'guest': listen(guest_path), 'host': listen(host_path)}
        self.ends = {}
        self.seen = {'guest': b'', 'host': b''}  # what each has said
        self.selector = selectors.DefaultSelector()
        for side, server in self.servers.items():
            self.selector.register(server, selectors.EVENT_READ, ('accept', side))
        self.running = True
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while self.running:
            for key, _ in self.selector.select(0.05):
                kind, side = key.data
                if kind == 'accept':
                    self._accept(side)
                else:
                    self._carry(side, key.fileobj)

    def _accept(self, side):
        connection, _ = self.servers[side].accept()
        if side in self.ends:
            self._drop(side)
        self.ends[side] = connection
        self.selector.register(connection, selectors.EVENT_READ, ('data', side))

    def _drop(self, side):
        connection = self.ends.pop(side)
        self.selector.unregister(connection)
        connection.close()

    def _carry(self, side, connection):
        try:
            data = connection.recv(65536)
        except OSError:
            data = b''
        if not data:
            if self.ends.get(side) is connection:
                self._drop(side)
            return
        self.seen[side] = (self.seen[side] + data)[-1000000:]
        other = self.ends.get('host' if side == 'guest' else 'guest')
        if other is not None:
            self.put(other, data)

    @staticmethod
    def put(connection, data):
        try:
            connection.sendall(data)
        except OSError:
            pass

    def inject(self, to, data):
        """Bytes for one side as if the other had sent them."""
        self.put(self.ends[to], data)

    def messages(self, side, op):
        found = []
        for line in self.seen[side].split(b'\n'):
            try:
                message = json.loads(line)
            except ValueError:
                continue
            if isinstance(message, dict) and message.get('op') == op:
                found.append(message)
        return found

    def close(self):
        self.running = False
        self.thread.join(5)
        for end in (*self.ends.values(), *self.servers.values()):
            end.close()
