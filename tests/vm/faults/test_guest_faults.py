# SPDX-License-Identifier: MIT
"""What goes wrong around the daemons in a guest: the bus, polkit, the disk, the clock, and what others run."""

import pytest

from tests.matrix import fault
from tests.vm.rig import GIB, wait_until
from tests.vm.rig.speed import patience
from tests.vm.test_job import offline_blocks

from .recipes import PLAIN, RESIZE, ends_well, main_pid, small, surge, wait_armed
from .relay import TO_HOST

AUTO_ONLINE = '/sys/devices/system/memory/auto_online_blocks'
SAVED = '/var/lib/vmtide/limits'
CONFIG = '/etc/vmtide/actuator.conf'
DAY = 86400
THREADS, TASKS = 16, 200


def guest_pids(stage):
    return [stage.pid(daemon) for daemon in ('monitor', 'actuator')]


BUS_FAULTS = {'restarted': 'systemctl restart dbus', 'killed': 'systemctl kill --kill-whom=main -s KILL dbus'}


@pytest.mark.parametrize('how', BUS_FAULTS)
@fault('the bus daemon is {how} in the middle of a grow')
def test_bus_daemon(stage, how):
    small(stage)
    guest, pids = stage.guest, guest_pids(stage)
    before, kills = main_pid(guest, 'dbus'), guest.oom_kills()
    with stage.channel.hold(TO_HOST, RESIZE) as held:
        work = surge(stage)
        held.wait(60)
        restart = guest.start_command(BUS_FAULTS[how])
        wait_until(lambda: main_pid(guest, 'dbus') != before, 30, 'it has gone')
    ends_well(stage, work, kills)
    assert restart.wait(60).status == 0
    wait_until(lambda: main_pid(guest, 'dbus') not in (0, before), 30, 'there is another one')
    wait_until(lambda: stage.monitor('Mode') and stage.actuator('State'), 60, 'the daemons are on the bus again')
    assert guest_pids(stage) == pids
    stage.goes_on()


@fault('polkitd is stopped and masked',
       'root and the monitor go on, others are refused and told why; they are asked about again when it is back')
def test_polkit_gone(stage):
    def stranger():
        return guest.run(f'{PLAIN} vmtidectl plug 128M', 30)

    small(stage)
    guest = stage.guest
    guest.check('systemctl mask --runtime --now polkit', 60)
    try:
        stage.pause()
        size = guest.requested_size()
        refused = stranger()
        assert refused.status == 77 and 'polkit is not there to allow it; root may' in refused.stderr, refused
        guest.check('vmtidectl plug 128M && vmtidectl unplug 128M', 60)
        assert guest.requested_size() == size
        stage.resume()
        stage.goes_on()
    finally:
        guest.check('systemctl unmask --runtime polkit', 60)
    refused = stranger()
    assert refused.status == 77 and 'polkit does not allow it' in refused.stderr, refused


@pytest.mark.parametrize('when', ('before', 'in the middle of'))
@fault('somebody sets the onlining policy to offline {when} a grow',
       'what is plugged is online, all agree and the job goes on')
def test_onlining_offline(stage, when):
    def set_offline():
        guest.check(f'echo offline >{AUTO_ONLINE}')

    small(stage)
    guest = stage.guest
    kills = guest.oom_kills()
    if when == 'before':
        set_offline()
    with stage.channel.hold(TO_HOST, RESIZE) as held:
        work = surge(stage)
        held.wait(60)
        # The policy was looked at when this was asked for.
        if when != 'before':
            set_offline()
    ends_well(stage, work, kills)
    wait_until(lambda: guest.read(AUTO_ONLINE).strip() != 'offline', 20, 'the policy is ours again')
    wait_until(lambda: offline_blocks(guest) == 0, 20, 'no block waits')
    stage.goes_on()
    # One that is being unplugged is offline for a moment.
    wait_until(lambda: offline_blocks(guest) == 0, 20, 'still none waits')


@fault('the disk is full when limits are to stay',
       'SetLimits fails whole and says why; the limits in force and the saved ones are as before')
def test_disk_full(stage):
    def limits():
        return stage.actuator('MinSize', 'MaxSize')

    small(stage)
    guest = stage.guest
    guest.check('vmtidectl set-limits --max 5G --persist', 30)
    saved = guest.read(SAVED)
    guest.check('mount -t tmpfs -o size=8k,mode=755 full /mnt && cp -a /var/lib/vmtide/. /mnt && '
                'mount --bind /mnt /var/lib/vmtide && umount /mnt && systemctl restart vmtide-actuator && '
                '! dd if=/dev/zero of=/var/lib/vmtide/other bs=4k status=none', 60)
    try:
        stage.wait_connected()
        assert limits() == ['0', str(5 * GIB)]
        refused = guest.run('vmtidectl set-limits --max 3G --persist', 30)
        assert refused.status != 0, refused
        assert 'the limits cannot be saved' in refused.stderr and 'No space left on device' in refused.stderr, refused
        assert limits() == ['0', str(5 * GIB)]
        assert guest.read(SAVED) == saved
        assert guest.check('ls -A /var/lib/vmtide').split() == ['limits', 'other']
        # What needs no disk goes on, and all of it when there is room again.
        guest.check('vmtidectl set-limits --max 4G', 30)
        assert limits() == ['0', str(4 * GIB)]
        guest.check('rm /var/lib/vmtide/other && vmtidectl set-limits --max 3G --persist', 30)
        assert str(3 * GIB) in guest.read(SAVED)
    finally:
        guest.check('umount --lazy /var/lib/vmtide && systemctl restart vmtide-actuator', 60)
        stage.wait_connected()
        guest.check('vmtidectl set-limits --reset', 30)
    stage.goes_on()


@pytest.mark.parametrize('way', ('back', 'forward'))
@fault('the clock is stepped {way} by a day in the middle of a grow',
       'all agree, the job goes on, the guard stays armed and a pause ends when it was meant to')
def test_clock_step(stage, way):
    def step(seconds):
        guest.check(f'date -s "@$(($(date +%s) + {seconds}))"')

    small(stage)
    wait_armed(stage)
    guest = stage.guest
    kills, seconds = guest.oom_kills(), -DAY if way == 'back' else DAY
    with stage.channel.hold(TO_HOST, RESIZE) as held:
        work = surge(stage)
        held.wait(60)
        step(seconds)
    try:
        ends_well(stage, work, kills)
        guest.check('vmtidectl pause --for 10s --why clock', 30)
        step(-seconds)
        step(seconds)
        wait_until(lambda: stage.monitor('Mode') == ['"auto"'], 40, 'the pause ends')
        stage.goes_on()
        wait_armed(stage)
    finally:
        step(-seconds)


@fault(f'{THREADS} busy threads of a plain user want all of the CPU while a surge is on')
def test_cpu_starved(stage):
    small(stage)
    guest, kills = stage.guest, stage.guest.oom_kills()
    busy = guest.start_command(f'{PLAIN} perl -e \'for (1..{THREADS}) {{ fork or do {{ 1 while 1 }} }} '
                               '$| = 1; print "busy\\n"; wait\'', slice_name='user.slice')
    busy.wait_output('busy', 30)
    try:
        ends_well(stage, surge(stage, '--threads 2 --hold 1', 'system.slice'), kills)
        stage.agree()
        assert busy.poll() is None
    finally:
        busy.kill()
    busy.wait(20)
    stage.goes_on()


@fault("a fork bomb goes off, bounded by the guest's own limits, while a surge is on")
def test_fork_bomb(stage):
    def held_back():
        return 'max 0' not in guest.read(f'{scope}/pids.events')

    small(stage)
    guest, kills = stage.guest, stage.guest.oom_kills()
    scope = '/sys/fs/cgroup/user.slice/bomb.scope'
    bomb = guest.start_command('exec systemd-run --quiet --scope --collect --unit=bomb --slice=user.slice '
                               f'-p TasksMax={TASKS} -p CPUWeight=50 {PLAIN} perl -e "fork while 1"')
    wait_until(lambda: guest.run(f'test -e {scope}/pids.events').status == 0 and held_back(), 60, 'it has all it may have')
    try:
        ends_well(stage, surge(stage, '--hold 1'), kills)
        stage.agree()
        assert int(guest.read(f'{scope}/pids.current')) > TASKS // 2
    finally:
        guest.check(f'echo 1 >{scope}/cgroup.kill')
    bomb.wait(20)
    stage.goes_on()


@fault('the OOM killer is at work in a cgroup while a grow is under way')
def test_oom_in_a_cgroup(stage):
    small(stage)
    guest, pids, kills = stage.guest, guest_pids(stage), stage.guest.oom_kills()
    with stage.channel.hold(TO_HOST, RESIZE) as held:
        work = surge(stage)
        held.wait(60)
        # In a slice that no guard holds back.
        killed = guest.run('exec systemd-run --quiet --scope --collect --slice=vmtest.slice -p MemoryMax=64M '
                           'vmhog --bytes 512M', 90)
        assert killed.status == 137, killed
        assert guest.oom_kills() == kills + 1
    ends_well(stage, work, kills + 1)
    assert guest_pids(stage) == pids
    stage.goes_on()


@fault('the OOM killer takes a burst, with the guard off and a host that is late',
       'the daemons live, all agree and the job goes on')
def test_oom(stage):
    small(stage)
    guest, pids, kills = stage.guest, guest_pids(stage), stage.guest.oom_kills()
    guest.check(f'cp {CONFIG} /run/actuator.conf && printf "[Actuator]\\nGuard=no\\n" >{CONFIG} && '
                'systemctl reload vmtide-actuator', 30)
    try:
        wait_until(lambda: stage.actuator('GuardHeadroom') == ['0'], 20, 'the guard is off')
        with stage.channel.hold(TO_HOST, RESIZE) as held:
            work = surge(stage, '--threads 4 --hold 1')
            held.wait(60)
            assert work.wait(patience(120)).status == 137
            assert guest.oom_kills() == kills + 1
            assert guest_pids(stage) == pids
        stage.agree(settled=True)
    finally:
        guest.check(f'cp /run/actuator.conf {CONFIG} && systemctl reload vmtide-actuator', 30)
    wait_armed(stage)
    stage.goes_on()
