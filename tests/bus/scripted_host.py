# SPDX-License-Identifier: MIT
"""A host that says what the test tells it to, on the actuator's port."""

import json
import os
import socket
import time
import tty

from .peers import GIB, MIB, listen, patience


class ScriptedHost:
    """One connection at a time; what the actuator says is read line by line."""

    welcome = {'v': 1, 'agent': 'scripted host', 'vm': 'guest', 'block_size': 2 * MIB, 'size': GIB, 'requested_size': GIB,
               'min_size': 256 * MIB, 'max_size': 4 * GIB}

    def __init__(self, path):
        self.server = listen(path)
        self.connection = None
        self.buffer = b''

    def accept(self, timeout=10):
        self.server.settimeout(patience(timeout))
        self.connection, _ = self.server.accept()
        self.buffer = b''

    def connect(self, **numbers):
        """Takes the connection, is greeted and welcomes. Returns the hello."""
        self.accept()
        return self.greet(**numbers)

    def greet(self, **numbers):
        hello = self.expect('hello')
        self.say('welcome', **{**self.welcome, **numbers})
        return hello

    def drop(self):
        self.connection.close()
        self.connection = None

    def close(self):
        self.server.close()
        if self.connection:
            self.connection.close()

    def _send(self, data):
        self.connection.sendall(data)

    def _receive(self, timeout):
        """Some bytes; b'' at the end, or raises TimeoutError."""
        self.connection.settimeout(timeout)
        return self.connection.recv(65536)

    def raw(self, data):
        self._send(data)

    def say(self, op, **keys):
        self.raw(json.dumps({'op': op, **keys}).encode() + b'\n')

    def line(self, timeout=5.0):
        """The next message, or None when none comes in that time."""
        deadline = time.monotonic() + timeout
        while True:
            line, newline, rest = self.buffer.partition(b'\n')
            if newline:
                self.buffer = rest
                if line:
                    return json.loads(line)
                continue
            try:
                data = self._receive(max(deadline - time.monotonic(), 0.001))
            except (TimeoutError, socket.timeout):
                return None
            if not data:
                raise ConnectionError('the actuator hung up')
            self.buffer += data

    def expect(self, op, timeout=5.0):
        """The next message has to be this one; stats and pings come when they like."""
        timeout = patience(timeout)
        deadline = time.monotonic() + timeout
        while True:
            message = self.line(max(deadline - time.monotonic(), 0.001))
            if message is None:
                raise AssertionError(f'no {op} in {timeout} s')
            if message['op'] == op:
                return message
            if message['op'] not in ('stats', 'ping'):
                raise AssertionError(f'{op} was expected, not {message}')

    def grant(self, **numbers):
        """Takes the next resize and grants it, or something else."""
        request = self.expect('resize')
        self.say('granted', **{'id': request['id'], 'requested_size': request['size'], **numbers})
        return request


class PtyHost(ScriptedHost):
    """The same on a terminal: a device node that hangs up, as a virtio-serial port does. path is a link to it."""

    def __init__(self, path):
        self.path = path
        self.master = self.slave = None
        self.buffer = b''
        self.connection = None

    def accept(self, timeout=10):
        self.master, self.slave = os.openpty()
        tty.setraw(self.slave)
        new = self.path.with_suffix('.new')
        new.symlink_to(os.ttyname(self.slave))
        os.replace(new, self.path)
        self.buffer = b''

    def drop(self):
        os.close(self.slave)
        os.close(self.master)
        self.master = None

    def close(self):
        if self.master is not None:
            self.drop()

    def _send(self, data):
        os.write(self.master, data)

    def _receive(self, timeout):
        import select
        if not select.select([self.master], [], [], timeout)[0]:
            raise TimeoutError
        return os.read(self.master, 65536)
