# SPDX-License-Identifier: MIT
"""kill -9 of each daemon at each step of a shrink."""

import pytest

from tests.matrix import fault
from tests.vm.rig import GIB, MIB, wait_until

from .relay import FROM_HOST, TO_HOST
from .stage import LOW

GUEST = {'files': {'/etc/vmtide/monitor.conf': '[Monitor]\nProfile=eager\n'}}
LARGE, STEP = 2 * GIB, 1536 * MIB
RESIZE, GRANTED = b'"resize"', b'"granted"'
ENDS = 'all agree, the shrink goes on or was refused, and so does the job'
daemons = pytest.mark.parametrize('daemon', ('monitor', 'actuator', 'host'))


class Shrink:
    """A shrink of which each step can be waited for: the monitor's own when it is to be killed, else one by hand."""

    def __init__(self, stage, daemon):
        self.stage, self.guest = stage, stage.guest
        self.own = daemon == 'monitor'
        self.work = None
        stage.pause()
        if self.own:
            stage.set_size(LOW)
            stage.resume()
            # What it has used once, and does not use any more.
            bytes_ = self.guest.meminfo()['MemAvailable'] + GIB
            hog = self.guest.start_command(f'exec vmhog --rate 250M --bytes {bytes_} --hold 0', slice_name='user.slice')
            assert hog.wait(120).status == 0
            self.size = self.guest.size()
            assert self.size >= 512 * MIB
        else:
            self.size = stage.set_size(LARGE)

    def start(self):
        if not self.own:
            self.work = self.stage.start_plug('unplug', STEP)

    def end(self):
        if self.own:
            wait_until(lambda: self.guest.size() < self.size, 90, 'it gives back')
        else:
            result = self.work.wait(90)
            assert result.status == 0 or 'vmplug: ' in result.stderr, result
            self.stage.agree(settled=True)
            self.stage.resume()
        self.stage.goes_on()


@daemons
@fault('the {daemon} is killed before it asks for a shrink', ENDS)
def test_before_the_request(stage, daemon):
    shrink = Shrink(stage, daemon)
    stage.signal(daemon, 'STOP')
    asked = len(stage.channel.lines)
    shrink.start()
    if daemon == 'host':
        wait_until(lambda: any(RESIZE in line for way, line in stage.channel.lines[asked:] if way == TO_HOST), 20,
                   'the request is at the host')
    elif daemon == 'actuator':
        shrink.work.wait_for(lambda: shrink.work.pid, 20, 'start')
    assert stage.guest.requested_size() == shrink.size
    stage.kill(daemon)
    shrink.end()


@daemons
@fault('the {daemon} is killed after it has asked for a shrink', ENDS)
def test_after_the_request(stage, daemon):
    shrink = Shrink(stage, daemon)
    with stage.channel.hold(TO_HOST, RESIZE) as held:
        shrink.start()
        held.wait(60)
        assert stage.guest.requested_size() == shrink.size
        stage.kill(daemon)
    shrink.end()


@daemons
@fault('the {daemon} is killed after a shrink was granted', ENDS)
def test_after_the_grant(stage, daemon):
    shrink = Shrink(stage, daemon)
    with stage.channel.hold(FROM_HOST, GRANTED) as held:
        shrink.start()
        held.wait(60)
        assert stage.guest.requested_size() < shrink.size
        stage.kill(daemon)
    shrink.end()


@daemons
@fault('the {daemon} is killed when a shrink is half unplugged', ENDS)
def test_half_unplugged(stage, daemon):
    shrink = Shrink(stage, daemon)
    total = stage.guest.meminfo()['MemTotal']
    if daemon == 'host':
        shrink.start()
        size = stage.guest.wait_size(lambda size: size < shrink.size, 30)
        stage.kill(daemon)
        assert shrink.size - STEP < size < shrink.size
    else:
        before = stage.pid(daemon)
        killer = stage.guest.start_command(f'exec vmkill {before} below {total}')
        killer.wait_output('watching', 20)
        shrink.start()
        said = killer.wait(90)
        assert said.status == 0 and total - STEP < int(said.stdout.split()[-1]) < total
        wait_until(lambda: stage.pid(daemon) not in (0, before), 30, f'systemd starts the {daemon} again')
    shrink.end()
