# SPDX-License-Identifier: MIT
"""Memory that cannot be unplugged, with all daemons at work: plugged memory in a kernel zone, held by the kernel."""

from tests.matrix import fault
from tests.vm.rig import GIB, MIB, wait_until
from tests.vm.rig.speed import patience

from .recipes import small

GUEST = {'memhp': 'online_kernel', 'files': {'/etc/vmtide/actuator.conf': b'[Actuator]\nOnlining=keep\n'}}
STUCK_SECONDS = 60


@fault('an unplug gets stuck on memory that the kernel holds, with the monitor at work',
       'the requested size goes back to the size, all agree, and the job goes on')
def test_unplug_stuck(stage):
    guest = stage.guest
    small(stage)
    stage.pause()
    stage.set_size(GIB)
    hog = guest.start_command('exec vmhog --kind pipe --bytes 600M --hold 1000')
    hog.wait_output('touched', patience(120))
    stage.resume()
    seen = len(guest.host.text())
    guest.check('vmtidectl unplug 896M', 60)
    wait_until(lambda: 'stuck at' in guest.host.text()[seen:], STUCK_SECONDS, 'the host sees that it is stuck and ends it')
    # The monitor may ask for a step of its own then.
    stage.agree()
    assert guest.requested_size() > 128 * MIB and guest.size() > 128 * MIB
    stage.goes_on()
    assert hog.poll() is None
    hog.kill()
    hog.wait(20)
