# SPDX-License-Identifier: MIT
"""A grow by hand, with the monitor paused: what most faults of the ways between guest, host and QEMU happen to."""

import contextlib
import signal

from tests.vm.rig import GIB, RigError, wait_until

GROW = 2 * GIB
# To find a grow unfinished: a loaded machine may look too late.
TRIES = 8


class Request:
    """Of a client in the guest, by the steps of vmplug's plug-step and unplug-step: connected now, sent by send()."""

    def __init__(self, stage, verb, size):
        self._work = stage.guest.start_command(f'exec vmplug {verb}-step {size}')
        self._work.wait_output('ready', 30)

    def send(self):
        """Waits until it is written; returns how much of it the actuator has not read."""
        self._work.kill(signal.SIGUSR1)
        return int(self._work.wait_for(lambda: '\n' in self._work.stdout().partition('sent ')[2], 30, 'say it is sent')
                   .stdout.split('sent ')[1].split()[0])

    def wait_granted(self, timeout=30):
        self._work.wait_output('granted', timeout)

    def wait(self, timeout=60):
        """Waits for the end of the client, which is that of a grow; returns a Result."""
        return self._work.wait(timeout)


class Grow:
    """From size 0 (or as near as the kernel lets it) by BYTES."""

    def __init__(self, stage, bytes_=GROW):
        self.stage, self.guest = stage, stage.guest
        self.kills = self.guest.oom_kills()
        stage.pause()
        self.size = stage.set_size(0)
        self.bytes = bytes_
        self.target = self.size + bytes_
        self.work = None

    def start(self):
        self.work = Request(self.stage, 'plug', self.bytes)
        self.work.send()

    @contextlib.contextmanager
    def half(self, granted=False):
        """Starts it and stops the VM in the middle of it: what is done in the block is done to an unfinished grow. The
        value is its size. granted: the caller has its answer, which comes at about the same time."""
        for _ in range(TRIES):
            self.start()
            self.guest.wait_size(lambda size: size > self.size, 30)
            if granted:
                self.work.wait_granted()
            with stopped(self.guest):
                size = self.guest.size()
                if size < self.target:
                    yield size
                    return
            self.done()
            self.size = self.stage.set_size(0)
            self.target = self.size + self.bytes
        raise RigError(f'a grow of {self.bytes} bytes was over {TRIES} times before it was looked at')

    def refused(self, *texts, timeout=60):
        """It was refused, with these words."""
        result = self.work.wait(timeout)
        for text in texts:
            assert text in result.stderr, result
        assert result.status != 0

    def done(self, timeout=90):
        """The caller has its answer, and the memory is there."""
        result = self.work.wait(timeout)
        assert result.status == 0, result

    def end(self, size=None):
        """All agree on the target or on SIZE, it can be given back, and the job goes on."""
        assert self.stage.agree(settled=True) == (self.target if size is None else size)
        assert self.guest.oom_kills() == self.kills
        self.stage.set_size(0)
        self.stage.resume()
        self.stage.goes_on()


@contextlib.contextmanager
def stopped(guest):
    """No processor of the guest runs."""
    guest.qmp('stop')
    try:
        yield
    finally:
        guest.qmp('cont')


def refused_now(stage, *texts):
    """A request that comes now is refused with these words."""
    result = stage.start_plug('plug', GIB).wait(30)
    for text in texts:
        assert text in result.stderr, result
    assert result.status != 0


def host_state(stage, state, timeout=30):
    wait_until(lambda: stage.host('State') == [state], timeout, f'the host calls the VM {state}')
