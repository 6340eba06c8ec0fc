# SPDX-License-Identifier: MIT
"""kill -9 of each daemon at each step of a grow."""

from tests.matrix import fault
from tests.vm.rig import GIB, MIB, wait_until
from tests.vm.rig.speed import patience

from .by_hand import Request
from .kills import Resize, answered, daemons
from .recipes import GRANTED
from .relay import FROM_HOST
from .stage import LOW

# What the monitor falls short of by SHORT makes a step of several memory blocks.
HEADROOM, SHORT = 1024 * MIB, 800 * MIB
GUEST = {'files': {'/etc/vmtide/monitor.conf': f'[Monitor]\nHeadroom={HEADROOM}\n'}}
GROW = 2 * GIB
# With this the headroom is there.
AMPLE = 640 * MIB


class Grow(Resize):
    grows = True

    def __init__(self, stage, daemon):
        super().__init__(stage, daemon)
        self.kills = self.guest.oom_kills()
        stage.pause()
        self.reset()
        self.hog = None
        if self.own:
            stage.resume()

    def reset(self):
        self.size = self.stage.set_size(AMPLE if self.own else LOW)
        if not self.own:
            self.target = self.size + GROW
            self.request = Request(self.stage, 'plug', GROW)

    def begin(self):
        if self.own:
            self.stage.freeze('monitor')
            self.run_short()
            self.stage.signal('monitor', 'CONT')
        else:
            self.request.send()

    def run_short(self):
        """Somebody wants 1 GiB more than there is; the monitor is frozen until much of the headroom is gone."""
        size = self.guest.meminfo()['MemAvailable'] + GIB
        self.hog = self.guest.start_command(f'exec vmhog --rate 100M --bytes {size} --hold 1', slice_name='user.slice')
        wait_until(lambda: self.guest.meminfo()['MemAvailable'] < SHORT, patience(60), 'memory runs short')

    def again(self):
        answered(self.request.wait(90), self.daemon)
        self.reset()

    def end(self):
        """A hog ends well; a request by hand may have been refused, which is an answer too."""
        if self.own:
            result = self.hog.wait(patience(150))
            assert result.status == 0, result
            assert self.guest.size() > self.size
            self.stage.agree()
        else:
            answered(self.request.wait(150), self.daemon)
            self.stage.agree(settled=True)
            self.stage.resume()
        self.stage.goes_on()
        assert self.guest.oom_kills() == self.kills


@daemons
@fault('the {daemon} is killed before it asks for a grow')
def test_before_the_request(stage, daemon):
    grow = Grow(stage, daemon)
    grow.freeze_before_it_asks(grow.run_short)
    assert grow.untouched()
    stage.kill(daemon)
    grow.end()


@daemons
@fault('the {daemon} is killed after it has asked for a grow', sample=True)
def test_after_the_request(stage, daemon):
    grow = Grow(stage, daemon)
    with grow.held_after_it_asked() as held:
        grow.begin()
        grow.check_held(held.wait(60))
        assert grow.untouched()
        stage.kill(daemon)
    grow.end()


@daemons
@fault('the {daemon} is killed after a grow was granted')
def test_after_the_grant(stage, daemon):
    grow = Grow(stage, daemon)
    with stage.channel.hold(FROM_HOST, GRANTED) as held:
        grow.begin()
        held.wait(60)
        assert stage.guest.requested_size() > grow.size
        stage.kill(daemon)
    grow.end()


@daemons
@fault('the {daemon} is killed when a grow is half plugged')
def test_half_plugged(stage, daemon):
    grow = Grow(stage, daemon)
    grow.kill_half_way()
    grow.end()
