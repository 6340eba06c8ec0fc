# SPDX-License-Identifier: MIT
"""A QMP client: commands, and the events in between."""

import json
import queue
import socket
import threading
import time

from .paths import RigError


class QmpError(RigError):
    """QEMU answered with an error."""


class Qmp:
    """One connection to a QMP socket. A thread reads; commands may come from any thread.

    on_event(name, data) is called on the reading thread for each event.
    """

    def __init__(self, path, on_event=None, timeout=10):
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(timeout)
        self._socket.connect(str(path))
        self._file = self._socket.makefile('rb')
        self._on_event = on_event
        self._answers = queue.Queue()
        self._lock = threading.Lock()
        self._serial = 0
        self.events = []  # (monotonic seconds, name, data), oldest first
        self._arrived = threading.Condition()
        self._closed = False
        if b'QMP' not in self._file.readline():
            raise RigError(f'{path} does not greet like a QMP socket')
        self._socket.settimeout(None)
        self._thread = threading.Thread(target=self._read, name='qmp', daemon=True)
        self._thread.start()
        self.command('qmp_capabilities')

    def _read(self):
        try:
            for line in self._file:
                message = json.loads(line)
                if 'event' in message:
                    self._take_event(message['event'], message.get('data', {}))
                else:
                    self._answers.put(message)
        except (OSError, ValueError):
            pass
        self._answers.put(None)
        with self._arrived:
            self._closed = True
            self._arrived.notify_all()

    def _take_event(self, name, data):
        with self._arrived:
            self.events.append((time.monotonic(), name, data))
            self._arrived.notify_all()
        if self._on_event:
            self._on_event(name, data)

    def command(self, name, timeout=10, /, **arguments):
        """Runs one command and returns its answer; underscores in the arguments' names become dashes."""
        with self._lock:
            self._serial += 1
            request = {'execute': name, 'id': self._serial}
            if arguments:
                request['arguments'] = {key.replace('_', '-'): value for key, value in arguments.items()}
            try:
                self._socket.sendall(json.dumps(request).encode() + b'\n')
                while True:
                    answer = self._answers.get(timeout=timeout)
                    if answer is None:
                        raise RigError(f'QEMU closed the QMP socket during {name}')
                    if answer.get('id') == self._serial:
                        break
            except queue.Empty:
                raise RigError(f'QEMU did not answer {name} in {timeout} s') from None
            except OSError as error:
                raise RigError(f'QMP {name}: {error}') from error
        if 'error' in answer:
            raise QmpError(f'{name}: {answer["error"]["desc"]}')
        return answer['return']

    def wait_event(self, name, timeout, since=0.0):
        """The data of the first event NAME that came after SINCE (monotonic seconds)."""
        deadline = time.monotonic() + timeout
        with self._arrived:
            while True:
                for when, event, data in self.events:
                    if event == name and when >= since:
                        return data
                left = deadline - time.monotonic()
                if left <= 0 or self._closed:
                    raise RigError(f'no QMP event {name} in {timeout} s')
                self._arrived.wait(left)

    def close(self):
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._socket.close()
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout=5)
