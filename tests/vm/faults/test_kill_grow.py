# SPDX-License-Identifier: MIT
"""kill -9 of each daemon at each step of a grow."""

import pytest

from tests.matrix import fault
from tests.vm.rig import GIB, MIB, wait_until

from .relay import FROM_HOST, TO_HOST
from .stage import LOW

GROW = 2 * GIB
RESIZE, GRANTED = b'"resize"', b'"granted"'
daemons = pytest.mark.parametrize('daemon', ('monitor', 'actuator', 'host'))


class Grow:
    """A grow of which each step can be waited for: the monitor's own when it is to be killed, else one by hand."""

    def __init__(self, stage, daemon):
        self.stage, self.guest = stage, stage.guest
        self.own = daemon == 'monitor'
        self.kills = self.guest.oom_kills()
        stage.pause()
        self.size = stage.set_size(LOW)
        if self.own:
            stage.resume()

    def start(self, rate='150M'):
        if self.own:
            size = self.guest.meminfo()['MemAvailable'] + GIB
            self.work = self.guest.start_command(f'exec vmhog --rate {rate} --bytes {size} --hold 1', slice_name='user.slice')
        else:
            self.work = self.stage.start_plug('plug', GROW)

    def end(self):
        """A hog ends well; a request by hand may have been refused, which is an answer too."""
        result = self.work.wait(150)
        if self.own:
            assert result.status == 0, result
            assert self.guest.size() > self.size
            self.stage.agree()
        else:
            assert result.status == 0 or 'vmplug: ' in result.stderr, result
            self.stage.resume()
            self.stage.goes_on()
        assert self.guest.oom_kills() == self.kills


@daemons
@fault('the {daemon} is killed before it asks for a grow')
def test_before_the_request(stage, daemon):
    grow = Grow(stage, daemon)
    # Frozen, it has the request before it and does nothing with it.
    stage.signal(daemon, 'STOP')
    # Nobody looks after it until the next monitor has started, which on a busy machine takes seconds.
    grow.start(rate='100M')
    if daemon == 'monitor':
        wait_until(lambda: stage.guest.meminfo()['MemAvailable'] < 600 * MIB, 60, 'memory runs short')
    elif daemon == 'host':
        wait_until(lambda: any(RESIZE in line for way, line in stage.channel.lines[-20:] if way == TO_HOST), 20,
                   'the request is at the host')
    else:
        grow.work.wait_for(lambda: grow.work.pid, 20, 'start')
    assert stage.guest.requested_size() == grow.size
    stage.kill(daemon)
    grow.end()


@daemons
@fault('the {daemon} is killed after it has asked for a grow', sample=True)
def test_after_the_request(stage, daemon):
    grow = Grow(stage, daemon)
    with stage.channel.hold(TO_HOST, RESIZE) as held:
        grow.start()
        held.wait(60)
        assert stage.guest.requested_size() == grow.size
        stage.kill(daemon)
    grow.end()


@daemons
@fault('the {daemon} is killed after a grow was granted')
def test_after_the_grant(stage, daemon):
    grow = Grow(stage, daemon)
    with stage.channel.hold(FROM_HOST, GRANTED) as held:
        grow.start()
        held.wait(60)
        assert stage.guest.requested_size() > grow.size
        stage.kill(daemon)
    grow.end()


@daemons
@fault('the {daemon} is killed when a grow is half plugged')
def test_half_plugged(stage, daemon):
    grow = Grow(stage, daemon)
    total = stage.guest.meminfo()['MemTotal']
    if daemon == 'host':
        grow.start()
        size = stage.guest.wait_size(lambda size: size > grow.size, 30)
        stage.kill(daemon)
        assert grow.size < size < grow.size + GROW
    else:
        before = stage.pid(daemon)
        killer = stage.guest.start_command(f'exec vmkill {before} above {total}')
        killer.wait_output('watching', 20)
        grow.start()
        said = killer.wait(90)
        assert said.status == 0 and total < int(said.stdout.split()[-1]) < total + GROW
        wait_until(lambda: stage.pid(daemon) not in (0, before), 30, f'systemd starts the {daemon} again')
    grow.end()
