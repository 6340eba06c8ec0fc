# SPDX-License-Identifier: MIT
"""A grow by hand, with the monitor paused: what most faults of the ways between guest, host and QEMU happen to."""

from tests.vm.rig import GIB, wait_until

GROW = 2 * GIB


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
        self.work = self.stage.start_plug('plug', self.bytes)

    def half(self, granted=False):
        """Starts it, and waits until some of it is plugged; granted: and until the caller has its answer, which comes
        at about the same time. Returns the size."""
        seen = len(self.stage.channel.lines)
        self.start()
        size = self.guest.wait_size(lambda size: size > self.size, 30)
        if granted:
            wait_until(lambda: any(b'"granted"' in line for _, line in self.stage.channel.lines[seen:]), 30,
                       'the grow is granted', 0.002)
        return size

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


def refused_now(stage, *texts):
    """A request that comes now is refused with these words."""
    result = stage.start_plug('plug', GIB).wait(30)
    for text in texts:
        assert text in result.stderr, result
    assert result.status != 0


def host_state(stage, state, timeout=30):
    wait_until(lambda: stage.host('State') == [state], timeout, f'the host calls the VM {state}')
