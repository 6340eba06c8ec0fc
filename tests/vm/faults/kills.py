# SPDX-License-Identifier: MIT
"""kill -9 of a daemon at a step of a resize: what the rows of growing and of shrinking have in common."""

import json
import re

import pytest

from tests.vm.rig import MIB, RigError, wait_until

from .by_hand import stopped
from .recipes import GRANTED, RESIZE
from .relay import FROM_HOST, TO_HOST

SET = b'"qom-set"'
# Of several memory blocks, so that there is a middle.
STEP_LEAST = 512 * MIB
TRIES = 8
REFUSED = re.compile(r'vmplug: \w+ \d+: org\.vmtide\.Error\.\w+: ')
# What a client is told whose actuator was killed.
DISCONNECTED = re.compile(r'vmplug: \w+ \d+: org\.freedesktop\.DBus\.Error\.NoReply: Connection terminated')
daemons = pytest.mark.parametrize('daemon', ('monitor', 'actuator', 'host'))


def answered(result, daemon):
    """A request by hand was granted or clearly refused, or has lost its actuator when that was killed."""
    good = result.status == 0 or REFUSED.match(result.stderr) or daemon == 'actuator' and DISCONNECTED.match(result.stderr)
    assert good, result


class Resize:
    """One of which each step can be waited for: the monitor's own when that is to be killed, else one by hand. It goes
    from self.size (settled) to self.target, which is None of the monitor's own until it has asked."""

    grows = True

    def __init__(self, stage, daemon):
        self.stage, self.guest, self.daemon = stage, stage.guest, daemon
        self.own = daemon == 'monitor'
        self.request = None  # by hand
        self.size = self.target = None

    def begin(self):
        raise NotImplementedError

    def between(self, size):
        """SIZE is neither what it was nor what it is to be."""
        return min(self.size, self.target) < size < max(self.size, self.target)

    def untouched(self):
        return self.guest.requested_size() == self.size

    def freeze_before_it_asks(self, give_cause):
        """Frozen, the daemon has before it what makes it ask: a request, or for the monitor what GIVE_CAUSE() does."""
        stage, asked = self.stage, len(self.stage.channel.lines)
        stage.freeze(self.daemon)
        if self.own:
            give_cause()
            return
        unread = self.request.send()
        if self.daemon == 'actuator':
            assert unread > 0
        else:
            wait_until(lambda: any(RESIZE in line for way, line in stage.channel.lines[asked:] if way == TO_HOST), 20,
                       'the request is at the host')
            assert stage.channel.unread() > 0

    def check_asked(self, line):
        """LINE asks for just this resize."""
        asked = json.loads(line)['size']
        if self.own:
            assert asked > self.size if self.grows else asked < self.size, (asked, self.size)
            self.target = asked
        assert asked == self.target

    def held_after_it_asked(self):
        """The daemon has asked, and nobody has read it: a context."""
        if self.daemon == 'host':
            return self.stage.qmp.hold(FROM_HOST, SET)
        return self.stage.channel.hold(TO_HOST, RESIZE)

    def check_held(self, line):
        """The line that was held asks for this resize."""
        if self.daemon == 'host':
            assert json.loads(line)['arguments']['value'] == self.target, line
        else:
            self.check_asked(line)

    def kill_half_way(self):
        if self.daemon == 'host':
            self._kill_host_half_way()
        else:
            self._kill_half_way()

    def _kill_half_way(self):
        """By somebody in the guest who is quick enough. That only this step is done is known by its grant."""
        stage, sign = self.stage, 1 if self.grows else -1
        seen = len(stage.channel.lines)
        with stage.channel.hold(TO_HOST, RESIZE) as held:
            self.begin()
            self.check_asked(held.wait(60))
            assert (self.target - self.size) * sign >= STEP_LEAST, (self.size, self.target)
            assert self.untouched()
            total, before = self.guest.meminfo()['MemTotal'], stage.pid(self.daemon)
            killer = self.guest.start_command(f'exec vmkill {before} {"above" if self.grows else "below"} {total}')
            killer.wait_output('watching', 20)
            stage.deaths.kill(self.daemon)
        said = killer.wait(90)
        assert said.status == 0, said
        granted = next(json.loads(line)['requested_size'] for way, line in stage.channel.lines[seen:]
                       if way == FROM_HOST and GRANTED in line)
        assert granted == self.target
        size = self.size + int(said.stdout.split()[-1]) - total
        assert self.between(size), (self.size, size, self.target)
        stage.wait_again(self.daemon, before)

    def _kill_host_half_way(self):
        """With the VM stopped: QEMU tells how far it is after the kill."""
        for _ in range(TRIES):
            self.begin()
            self.guest.wait_size(lambda size: size != self.size, 30)
            with stopped(self.guest):
                if self.between(self.guest.size()):
                    self.stage.kill_host()
                    size = self.guest.size()
                    assert self.between(size), (self.size, size, self.target)
                    break
            self.again()
        else:
            raise RigError(f'{self.size} to {self.target}: over {TRIES} times before it was looked at')
        self.stage.daemon.restart()

    def again(self):
        """It was over too soon: all is as it was before."""
        raise NotImplementedError
