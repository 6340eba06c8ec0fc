# SPDX-License-Identifier: MIT
"""The host's side of the test agent (guest/vmtest-agent.c has the protocol)."""

import signal
import socket
import threading
import time
from collections import namedtuple

from .paths import RigError

PAYLOAD_MAX = 1000 * 1000

Result = namedtuple('Result', 'status stdout stderr')


def _disconnect(connection):
    """Closing alone would leave the connection open while the reading thread holds it."""
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    connection.close()


class GuestGone(RigError):
    """The guest was reset or went away while a command ran in it."""


class Command:
    """A command that runs in the guest."""

    def __init__(self, agent, number, text):
        self._agent = agent
        self.id = number
        self.text = text
        self.pid = None
        self.status = None
        self.remark = ''
        self._out = {1: bytearray(), 2: bytearray()}

    def stdout(self):
        """What it has said so far."""
        with self._agent.changed:
            return self._out[1].decode(errors='replace')

    def stderr(self):
        with self._agent.changed:
            return self._out[2].decode(errors='replace')

    def poll(self):
        """Its exit status (128 + the signal's number when a signal ended it), or None while it runs."""
        with self._agent.changed:
            return self._status()

    def _status(self):
        if self.status is None and self._agent.lost(self.id):
            raise GuestGone(f'the guest went away under: {self.text}')
        return self.status

    def wait(self, timeout=60):
        """Waits for its end; returns a Result."""
        return self.wait_for(lambda: self._status() is not None, timeout, 'end')

    def wait_for(self, condition, timeout, what='meet the condition'):
        """Waits until CONDITION holds, looked at whenever the command says something."""
        deadline = time.monotonic() + timeout
        with self._agent.changed:
            while not condition():
                left = deadline - time.monotonic()
                if left <= 0 or (self._status() is not None and not condition()):
                    raise RigError(f'command did not {what} in {timeout} s (status {self.status}): {self.text}\n'
                                   f'{self.stdout()[-2000:]}{self.stderr()[-2000:]}')
                self._agent.changed.wait(left)
            return Result(self.status, self.stdout(), self.stderr())

    def wait_output(self, text, timeout=60):
        """Waits until TEXT stands in its standard output."""
        return self.wait_for(lambda: text in self.stdout(), timeout, f'say {text!r}')

    def kill(self, number=signal.SIGKILL):
        """Sends a signal to its process group."""
        self._agent.send(f'kill {self.id} {int(number)} 0\n'.encode())

    def take(self, kind, a, data):
        """One frame of the agent's for this command."""
        if kind == 'pid':
            self.pid = a
        elif kind == 'out' and a in self._out:
            self._out[a] += data
        elif kind == 'end':
            self.status = a
            self.remark = data.decode(errors='replace')
            if self.pid is None:
                self._out[2] += data  # it was never started: the remark says why


class Agent:
    """The connection to the agent, kept over resets of the guest."""

    def __init__(self, path):
        self.changed = threading.Condition(threading.RLock())
        self._path = str(path)
        self._socket = None
        self._serial = 0
        self._oldest = 1  # commands with a smaller id were lost in a reset
        self._commands = {}
        self._ready = None
        self._closed = False
        self._send_lock = threading.Lock()
        self._connect()

    def _connect(self):
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(10)
        self._socket.connect(self._path)
        self._socket.settimeout(None)
        threading.Thread(target=self._read, args=(self._socket,), name='agent', daemon=True).start()

    def _read(self, connection):
        try:
            with connection.makefile('rb') as stream:
                while line := stream.readline():
                    kind, number, a, length = line.decode('ascii').split()
                    data = stream.read(int(length))
                    self._take(connection, kind, int(number), int(a), data)
        except (OSError, ValueError):
            pass
        with self.changed:
            if connection is self._socket:
                self._closed = True
            self.changed.notify_all()

    def _take(self, connection, kind, number, a, data):
        with self.changed:
            if connection is not self._socket:
                return  # said before the reset
            if kind == 'ready':
                boot_id, clock = data.decode('ascii').split()
                self._ready = (boot_id, int(clock) / 1e9)
            elif number in self._commands:
                self._commands[number].take(kind, a, data)
                if kind == 'end':
                    del self._commands[number]
            self.changed.notify_all()

    def lost(self, number):
        return number < self._oldest or self._closed

    def reset(self):
        """The guest was reset: what ran in it is lost, and what was on its way is thrown away."""
        with self.changed:
            self._oldest = self._serial + 1
            self._commands.clear()
            self._ready = None
            old = self._socket
            self._connect()
            self.changed.notify_all()
        _disconnect(old)

    def wait_ready(self, timeout):
        """Waits until the agent of the running guest has said that it is there; returns the boot id. Seen once after a
        reboot (kernel 6.1, QEMU 7.2, a busy machine): neither end heard of the other. Connecting anew begins afresh."""
        deadline = time.monotonic() + timeout
        anew = time.monotonic() + timeout / 2
        with self.changed:
            while self._ready is None:
                now = time.monotonic()
                if now >= deadline or self._closed:
                    raise RigError(f'the guest\'s agent was not there in {timeout} s')
                if now >= anew:
                    anew = deadline
                    self.reset()
                self.changed.wait(min(anew, deadline) - now)
            return self._ready[0]

    def send(self, data):
        with self._send_lock:
            try:
                self._socket.sendall(data)
            except OSError as error:
                raise GuestGone(f'the test port is closed: {error}') from error

    def _submit(self, text, op, a, b, payload):
        if len(payload) > PAYLOAD_MAX:
            raise RigError(f'{len(payload)} bytes are too many for the agent (at most {PAYLOAD_MAX})')
        with self.changed:
            self._serial += 1
            command = Command(self, self._serial, text)
            self._commands[command.id] = command
        self.send(f'{op} {command.id} {a} {b}\n'.encode() + payload)
        return command

    def start(self, script, stdin=b''):
        """Starts a script of /bin/sh in the guest."""
        encoded = script.encode()
        data = stdin.encode() if isinstance(stdin, str) else stdin
        return self._submit(script, 'run', len(encoded), len(data), encoded + data)

    def read(self, path, timeout=10):
        """Reads a file of the guest (at most 1 MB) without starting a process there."""
        encoded = str(path).encode()
        result = self._submit(f'read {path}', 'read', len(encoded), 0, encoded).wait(timeout)
        if result.status != 0:
            raise RigError(f'cannot read {path} in the guest: {result.stderr}')
        return result.stdout

    def close(self):
        with self.changed:
            self._closed = True
            self.changed.notify_all()
        _disconnect(self._socket)
