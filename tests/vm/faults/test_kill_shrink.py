# SPDX-License-Identifier: MIT
"""kill -9 of each daemon at each step of a shrink."""

from tests.matrix import fault
from tests.vm.rig import GIB, MIB, wait_until
from tests.vm.rig.speed import patience

from .by_hand import Request
from .kills import Resize, answered, daemons
from .recipes import GRANTED
from .relay import FROM_HOST
from .stage import LOW

GUEST = {'files': {'/etc/vmtide/monitor.conf': '[Monitor]\nProfile=eager\n'}}
LARGE, STEP = 2 * GIB, 1536 * MIB
ENDS = 'all agree, the shrink goes on or was refused, and so does the job'


class Shrink(Resize):
    grows = False

    def __init__(self, stage, daemon):
        super().__init__(stage, daemon)
        stage.pause()
        self.hog = None
        if self.own:
            self._use_much()
        else:
            self.reset()

    def _use_much(self):
        """What the monitor gives back when it is used no more."""
        self.stage.set_size(LOW)
        self.stage.resume()
        bytes_ = self.guest.meminfo()['MemAvailable'] + 3 * GIB // 2
        self.hog = self.guest.start_command(f'exec vmhog --rate 250M --bytes {bytes_} --hold 1000', slice_name='user.slice')
        self.hog.wait_output('touched', patience(120))
        self.size = self.stage.agree(settled=True)
        assert self.size >= GIB

    def reset(self):
        self.size = self.stage.set_size(LARGE)
        self.target = self.size - STEP
        self.request = Request(self.stage, 'unplug', STEP)

    def begin(self):
        if self.own:
            self.use_no_more()
        else:
            self.request.send()

    def use_no_more(self):
        self.hog.kill()
        self.hog.wait(20)
        wait_until(lambda: self.guest.meminfo()['MemAvailable'] > 2 * GIB, 20, 'there is much to give back')

    def again(self):
        answered(self.request.wait(90), self.daemon)
        self.reset()

    def end(self):
        if self.own:
            wait_until(lambda: self.guest.size() < self.size, 90, 'it gives back')
        else:
            answered(self.request.wait(90), self.daemon)
            self.stage.agree(settled=True)
            self.stage.resume()
        self.stage.goes_on()


@daemons
@fault('the {daemon} is killed before it asks for a shrink', ENDS)
def test_before_the_request(stage, daemon):
    shrink = Shrink(stage, daemon)
    shrink.freeze_before_it_asks(shrink.use_no_more)
    assert shrink.untouched()
    stage.kill(daemon)
    shrink.end()


@daemons
@fault('the {daemon} is killed after it has asked for a shrink', ENDS)
def test_after_the_request(stage, daemon):
    shrink = Shrink(stage, daemon)
    with shrink.held_after_it_asked() as held:
        shrink.begin()
        shrink.check_held(held.wait(60))
        assert shrink.untouched()
        stage.kill(daemon)
    shrink.end()


@daemons
@fault('the {daemon} is killed after a shrink was granted', ENDS)
def test_after_the_grant(stage, daemon):
    shrink = Shrink(stage, daemon)
    with stage.channel.hold(FROM_HOST, GRANTED) as held:
        shrink.begin()
        held.wait(60)
        assert stage.guest.requested_size() < shrink.size
        stage.kill(daemon)
    shrink.end()


@daemons
@fault('the {daemon} is killed when a shrink is half unplugged', ENDS)
def test_half_unplugged(stage, daemon):
    shrink = Shrink(stage, daemon)
    shrink.kill_half_way()
    shrink.end()
