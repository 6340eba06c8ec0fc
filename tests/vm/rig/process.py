# SPDX-License-Identifier: MIT
"""Starts and ends the rig's own processes: each in the rig's care by its pid, none outlives the rig."""

import os
import signal
import subprocess
import time
from pathlib import Path

from .paths import RigError, find_tool, tool_environment

NOBODY = 65534


class Process:
    """A child with its output in a file. It is killed when the thread that started it ends."""

    def __init__(self, argv, log, user=None):
        command = [find_tool('setpriv'), '--pdeathsig', 'KILL']
        if user is not None:
            command += ['--reuid', str(user), '--regid', str(user), '--clear-groups']
        self.argv = [str(word) for word in argv]
        self.log = Path(log)
        with open(self.log, 'ab') as out:
            self._child = subprocess.Popen([*command, '--', *self.argv], stdin=subprocess.DEVNULL, stdout=out,
                                           stderr=subprocess.STDOUT, env=tool_environment(), start_new_session=True)
        self.pid = self._child.pid

    def poll(self):
        """Its exit status (negative: the signal that ended it), or None while it runs."""
        return self._child.poll()

    def check(self):
        if self.poll() is not None:
            tail = self.log.read_text(encoding='utf-8', errors='replace')[-2000:]
            raise RigError(f'{self.argv[0]} ended with status {self.poll()}:\n{tail}')

    def wait(self, timeout):
        try:
            return self._child.wait(timeout)
        except subprocess.TimeoutExpired:
            raise RigError(f'{self.argv[0]} (pid {self.pid}) did not end in {timeout} s') from None

    def send(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    def stop(self, timeout=10):
        """SIGTERM and wait; the exit status."""
        self.send(signal.SIGTERM)
        return self.wait(timeout)

    def kill(self):
        """SIGKILL and wait."""
        self.send(signal.SIGKILL)
        return self.wait(10)

    def status(self, key):
        """A value of /proc/PID/status in bytes ("VmRSS") or as a number."""
        for line in Path(f'/proc/{self.pid}/status').read_text(encoding='ascii', errors='replace').splitlines():
            name, _, value = line.partition(':')
            if name == key:
                number, *unit = value.split()
                return int(number) * (1024 if unit == ['kB'] else 1)
        raise RigError(f'/proc/{self.pid}/status has no {key}')


def wait_until(condition, timeout, what, step=0.02):
    """Polls until CONDITION() is true and returns its value."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise RigError(f'{what}: not in {timeout} s')
        time.sleep(step)
