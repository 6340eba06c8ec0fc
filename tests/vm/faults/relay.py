# SPDX-License-Identifier: MIT
"""Stands between the host daemon and a socket of QEMU's (the channel's or QMP), and does to the lines what faults do."""

import contextlib
import fcntl
import os
import selectors
import socket
import struct
import termios
import threading

TO_HOST, FROM_HOST = 'to-host', 'from-host'


class Hold:
    """A line that is kept back, with all that comes behind it in its direction, until release() or drop()."""

    def __init__(self, relay, direction, wanted):
        self._relay, self.direction, self._wanted = relay, direction, wanted
        self.line = None
        self._caught = threading.Event()

    def takes(self, direction, line):
        if direction == self.direction and self.line is None and self._wanted in line:
            self.line = line
            self._caught.set()
            return True
        return False

    def wait(self, timeout=30):
        """Waits until the line is there; returns it."""
        if not self._caught.wait(timeout):
            raise AssertionError(f'no line with {self._wanted!r} went {self.direction} in {timeout} s')
        return self.line

    def release(self):
        self._relay.unhold(self, True)

    def drop(self):
        self._relay.unhold(self, False)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.release()


class Relay:
    """Listens on a socket for the host daemon, one connection at a time, and passes lines on to TARGET."""

    def __init__(self, path, target):
        self.path, self._target = path, str(target)
        self._lock = threading.RLock()
        self._holds = []
        self._waiting = {TO_HOST: [], FROM_HOST: []}
        self._cut_in_line = None
        self._ends = None
        self.open = True        # new connections are taken
        self.lines = []         # (direction, line) of all that was passed on
        self.connections = 0
        self.seen = None        # seen(direction, line) is told each line as it comes in
        self.edit = None        # edit(direction, line) returns the lines to pass on instead
        self._stalled = False
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(1)
        os.chmod(path, 0o777)  # the host daemon is not root
        threading.Thread(target=self._serve, name='relay', daemon=True).start()

    def close(self):
        self.open = False
        self._listener.close()
        self.cut()

    def hold(self, direction, wanted):
        """Keeps back the next line in DIRECTION that contains WANTED (bytes)."""
        hold = Hold(self, direction, wanted)
        with self._lock:
            self._holds.append(hold)
        return hold

    def unhold(self, hold, passed):
        with self._lock:
            if hold not in self._holds:
                return
            self._holds.remove(hold)
            waiting, self._waiting[hold.direction] = self._waiting[hold.direction], []
            if hold.line is not None and not passed and waiting:
                waiting.pop(0)
            for line in waiting:
                self._take(hold.direction, line)

    @contextlib.contextmanager
    def stalled(self):
        """Nothing is passed on either way, of new connections too; what still waits at the end is passed on then."""
        with self._lock:
            self._stalled = True
        try:
            yield
        finally:
            with self._lock:
                self._stalled = False
                for direction in self._waiting:
                    waiting, self._waiting[direction] = self._waiting[direction], []
                    for line in waiting:
                        self._take(direction, line)

    def cut(self):
        """Ends the connection now."""
        with self._lock:
            for end in self._ends or ():
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def cut_in_line(self, direction, wanted):
        """Passes on half of the next line in DIRECTION that contains WANTED, and then ends the connection."""
        self._cut_in_line = (direction, wanted)

    def inject(self, direction, data):
        """Says something that neither side has said."""
        with self._lock:
            self._send(direction, data)

    def unread(self):
        """How much of what was passed on to the host's daemon it has not read yet."""
        with self._lock:
            queued = fcntl.ioctl(self._ends[0], termios.TIOCOUTQ, bytes(4)) if self._ends else bytes(4)
            return struct.unpack('i', queued)[0]

    def _serve(self):
        while True:
            try:
                host, _ = self._listener.accept()
            except OSError:
                return
            target = socket.socket(socket.AF_UNIX)
            try:
                if not self.open:
                    raise OSError
                target.connect(self._target)
                self.connections += 1
                self._join(host, target)
            except OSError:
                pass
            with self._lock:
                self._ends = None
                self._waiting = {TO_HOST: [], FROM_HOST: []}
            target.close()
            host.close()

    def _join(self, host, target):
        with self._lock:
            self._ends = (host, target)
        rest = {TO_HOST: b'', FROM_HOST: b''}
        with selectors.DefaultSelector() as selector:
            selector.register(host, selectors.EVENT_READ, FROM_HOST)
            selector.register(target, selectors.EVENT_READ, TO_HOST)
            while True:
                for key, _ in selector.select():
                    data = key.fileobj.recv(65536)
                    if not data:
                        return
                    *lines, rest[key.data] = (rest[key.data] + data).split(b'\n')
                    with self._lock:
                        for line in lines:
                            if self.seen:
                                self.seen(key.data, line)
                            self._take(key.data, line + b'\n')

    def _take(self, direction, line):
        if self._stalled or self._waiting[direction] or any(h.takes(direction, line) for h in self._holds):
            self._waiting[direction].append(line)
            return
        if self._cut_in_line and self._cut_in_line[0] == direction and self._cut_in_line[1] in line:
            self._cut_in_line = None
            self._send(direction, line[:len(line) // 2])
            self.cut()
            return
        for piece in self.edit(direction, line) if self.edit else (line,):
            self._send(direction, piece)
            self.lines.append((direction, piece))

    def _send(self, direction, data):
        if self._ends:
            try:
                self._ends[0 if direction == TO_HOST else 1].sendall(data)
            except OSError:
                pass
