# SPDX-License-Identifier: MIT
"""What goes wrong while the guard is armed or holds back a burst."""

from tests.matrix import fault
from tests.vm.rig import MIB, wait_until
from tests.vm.rig.speed import patience
from tests.vm.test_guard import all_stand, breaches, standing

from .recipes import RESIZE, Journal, ends_well, main_pid, small, surge, wait_armed, workload
from .relay import TO_HOST


def armed(stage):
    small(stage)
    wait_armed(stage)
    return stage.guest


@fault('the actuator is killed while the guard is armed',
       "its lines are taken away before the next one comes; armed again, all agree and the job goes on")
def test_actuator_killed(stage):
    guest = armed(stage)
    said = Journal(guest, 'vmtide-actuator')
    # Nobody arms it again before that was seen.
    stage.signal('monitor', 'STOP')
    try:
        lines = len(standing(guest))
        stage.kill('actuator')
        assert standing(guest) == []
        said.wait(f'guard: memory.high of {lines} cgroups written back')
    finally:
        stage.signal('monitor', 'CONT')
    wait_armed(stage)
    stage.goes_on()


@fault('systemctl daemon-reload while the guard is armed', 'its lines come back, all agree and the job goes on', sample=True)
def test_daemon_reload(stage):
    guest = armed(stage)
    stage.signal('actuator', 'STOP')
    try:
        guest.check('systemctl daemon-reload', 60)
        assert standing(guest) == []
    finally:
        stage.signal('actuator', 'CONT')
    wait_armed(stage, 5)
    stage.goes_on()


@fault('the bus daemon is frozen while a surge is on', "the surge gets its memory by the monitor's own socket; "
       'thawed, all agree and the job goes on', sample=True)
def test_bus_daemon_frozen(stage):
    guest = armed(stage)
    kills, pid = guest.oom_kills(), main_pid(guest, 'dbus')
    with stage.channel.hold(TO_HOST, RESIZE) as held:
        work = surge(stage, '--rate 250M --hold 1')
        held.wait(60)
        guest.check(f'kill -STOP {pid}')
    try:
        ends_well(stage, work, kills)
        assert '\nState:\tT' in guest.read(f'/proc/{pid}/status')
    finally:
        guest.check(f'kill -CONT {pid}')
    stage.goes_on()


@fault('the guest is rebooted while large, with the guard armed',
       'what is requested is plugged again, the guard is armed, all agree and the job goes on')
def test_reboot_while_large(stage):
    guest = armed(stage)
    work = surge(stage, '--rate 250M --hold 1000')
    work.wait_output('touched', patience(120))
    assert guest.size() >= 512 * MIB and all_stand(guest)
    guest.reboot()
    guest.wait_booted()
    stage.wait_connected()
    stage.agree(90, settled=True)
    wait_armed(stage)
    stage.goes_on()


@fault('the monitor is killed while the guard is armed',
       'the guard is taken away, and armed again by the next one; all agree and the job goes on')
def test_monitor_killed(stage):
    guest = armed(stage)
    said = Journal(guest, 'vmtide-actuator')
    stage.kill('monitor')
    said.wait('guard disarmed: the connection that armed it was closed', 'guard armed')
    wait_armed(stage)
    stage.goes_on()


@fault('the host goes away while the guard holds back a burst',
       'the guard gives way, so that the burst takes what there is; with a host again it is armed and the job goes on',
       sample=True)
def test_host_gone(stage):
    guest = armed(stage)
    kills = guest.oom_kills()
    with stage.channel.hold(TO_HOST, RESIZE):
        before, size = breaches(guest, 'user.slice'), guest.size()
        # Fits into what there is, but not with the headroom.
        work = workload(stage, '--threads 2 --hold 3', more=-128 * MIB)
        wait_until(lambda: breaches(guest, 'user.slice') > before, patience(60), 'it is held back')
        assert guest.size() == size and work.poll() is None
        stage.kill_host()
        wait_until(lambda: standing(guest) == [], 10, 'the lines are taken away')
        ends_well(stage, work, kills)
        assert guest.size() == size
    guest.host.restart()
    wait_armed(stage, 60)
    stage.goes_on()
