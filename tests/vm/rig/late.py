# SPDX-License-Identifier: MIT
"""A host that answers late: a proxy on the channel's socket that holds back what the guest says."""

import os
import queue
import socket
import threading
import time


class LateChannel:
    """Listens on a socket for the host daemon and passes on to QEMU's; `delay` (seconds) may change at any time.

    What the guest sends is delayed, so the host acts late as well as answers late. Order is kept.
    """

    def __init__(self, guest):
        self.path = guest.folder / 'late.sock'
        self.delay = 0.0
        self._target = str(guest.channel_path)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen(1)
        os.chmod(self.path, 0o777)  # the host daemon is not root
        self._closed = False
        threading.Thread(target=self._serve, name='late', daemon=True).start()

    def close(self):
        self._closed = True
        self._listener.close()

    def _serve(self):
        while not self._closed:
            try:
                host, _ = self._listener.accept()
            except OSError:
                return
            self._join(host)

    def _join(self, host):
        """One host at a time, as QEMU's socket has it."""
        guest = socket.socket(socket.AF_UNIX)
        try:
            guest.connect(self._target)
        except OSError:
            guest.close()
            host.close()
            return
        waiting = queue.Queue()
        threads = [threading.Thread(target=work, args=args, daemon=True) for work, args in (
            (self._receive, (guest, waiting)), (self._deliver, (waiting, host)), (self._pass, (host, guest)))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        guest.close()
        host.close()

    def _receive(self, guest, waiting):
        data = b'.'
        while data:
            try:
                data = guest.recv(65536)
            except OSError:
                data = b''
            waiting.put((time.monotonic() + self.delay, data))

    @staticmethod
    def _deliver(waiting, host):
        while True:
            due, data = waiting.get()
            time.sleep(max(0.0, due - time.monotonic()))
            try:
                if not data:
                    host.shutdown(socket.SHUT_RDWR)
                    return
                host.sendall(data)
            except OSError:
                return

    @staticmethod
    def _pass(host, guest):
        try:
            while data := host.recv(65536):
                guest.sendall(data)
        except OSError:
            pass
        try:
            guest.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
