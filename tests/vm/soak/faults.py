# SPDX-License-Identifier: MIT
"""What is broken on purpose. Each takes a stage, and leaves things as they were."""

import time

from tests.vm.faults.recipes import PLAIN, main_pid
from tests.vm.faults.relay import FROM_HOST, TO_HOST
from tests.vm.rig import RigError, wait_until

PORT = 'org.vmtide.0'


def kill_monitor(stage):
    stage.kill('monitor')


def kill_actuator(stage):
    stage.kill('actuator')


def kill_host(stage):
    stage.kill('host')


def freeze_host(stage):
    stage.signal('host', 'STOP')
    time.sleep(3)
    stage.signal('host', 'CONT')


def freeze_actuator(stage):
    stage.signal('actuator', 'STOP')
    time.sleep(2)
    stage.signal('actuator', 'CONT')


def cut_channel(stage):
    stage.channel.cut()


def cut_in_line(stage):
    direction, wanted = ((TO_HOST, b'"resize"'), (FROM_HOST, b'"granted"'))[int(time.monotonic()) % 2]
    stage.channel.cut_in_line(direction, wanted)
    time.sleep(5)
    stage.channel.cut_in_line('', b'')


def _hold_back(relay, direction, wanted, patience, seconds):
    """The next line with WANTED, should one come, is so much later."""
    with relay.hold(direction, wanted) as held:
        try:
            held.wait(patience)
            time.sleep(seconds)
        except AssertionError:
            pass


def late_grant(stage):
    _hold_back(stage.channel, FROM_HOST, b'"granted"', 10, 3)


def bad_lines(stage):
    stage.channel.inject(TO_HOST, b'}{\n\xff\xfe\n{"op":"resize","id":-1}\n')
    stage.channel.inject(FROM_HOST, b'}{\n{"op":"granted"}\n')


def unplug_port(stage):
    begun = time.monotonic()
    stage.guest.qmp('device_del', id=f'port-{PORT}')
    try:
        stage.guest.wait_event('DEVICE_DELETED', 30, begun)
        time.sleep(2)
    finally:
        stage.guest.qmp('device_add', driver='virtserialport', id=f'port-{PORT}', chardev=PORT, name=PORT)
    stage.wait_connected()


def cut_qmp(stage):
    stage.qmp.cut()


def stall_qmp(stage):
    _hold_back(stage.qmp, TO_HOST, b'"return"', 5, 4)


def pause_qemu(stage):
    stage.guest.qmp('stop')
    time.sleep(2)
    stage.guest.qmp('cont')


def reset_guest(stage):
    """The reset button. The journal goes to the disk before, and what the kernel has said is read."""
    _boot_anew(stage, stage.guest.reset)


def reboot_guest(stage):
    _boot_anew(stage, lambda: stage.guest.reboot(150))


def _boot_anew(stage, begin):
    stage.up.clear()
    try:
        stage.before_reset()
        begin()
        stage.guest.wait_booted(180)
        stage.wait_connected(120)
    finally:
        stage.up.set()


def reload_systemd(stage):
    stage.guest.check('systemctl daemon-reload', 60)


def reload_daemons(stage):
    stage.guest.check('systemctl reload vmtide-actuator vmtide-monitor', 60)


def stop_polkit(stage):
    stage.guest.check('systemctl stop polkit; sleep 1; systemctl start polkit', 60)


def restart_dbus(stage):
    guest, before = stage.guest, main_pid(stage.guest, 'dbus')
    guest.check('systemctl restart dbus', 90)
    wait_until(lambda: main_pid(guest, 'dbus') not in (0, before), 60, 'there is another bus daemon')
    wait_until(lambda: stage.monitor('Mode') and stage.actuator('State'), 60, 'the daemons are on the bus again')


def onlining_offline(stage):
    stage.guest.check('echo offline >/sys/devices/system/memory/auto_online_blocks', 30)


def oom_in_cgroup(stage):
    killed = stage.guest.run('exec systemd-run --quiet --scope --collect --slice=vmtest.slice -p MemoryMax=64M '
                             'vmhog --bytes 512M', 90)
    if killed.status != 137:
        raise RigError(f'a hog in a bounded cgroup was not killed: {killed}')
    stage.victims += 1


def starve_cpu(stage):
    stage.guest.check(f'{PLAIN} perl -e \'for (1..8) {{ fork or do {{ alarm 5; 1 while 1 }} }} wait for 1..8\'', 120)


def step_clock(stage):
    def step(seconds):
        stage.guest.check(f'date -s "@$(($(date +%s) + {seconds}))" >/dev/null', 30)

    hour = 3600 if int(time.monotonic()) % 2 else -3600
    step(hour)
    time.sleep(3)
    step(-hour)


# What befalls every guest of the host.
COMMON = (kill_host, freeze_host)
FAULTS = (*COMMON, kill_monitor, kill_actuator, freeze_actuator, cut_channel, cut_in_line, late_grant, bad_lines, unplug_port,
          cut_qmp, stall_qmp, pause_qemu, reload_systemd, reload_daemons, stop_polkit, restart_dbus, onlining_offline,
          oom_in_cgroup, starve_cpu, step_clock)
# They cost half a minute: fewer of them.
LONG = (reset_guest, reboot_guest)


def pick(rng):
    return rng.choice(LONG) if rng.random() < 0.04 else rng.choice(FAULTS)


def do_fault(fault, stage, stages, windows):
    """One fault, with its name in the books."""
    opened = windows.begin([s.name for s in stages] if fault in COMMON else [stage.name], fault.__name__)
    try:
        fault(stage)
    except RigError as error:
        raise RigError(f'{fault.__name__} in {stage.name}: {error}') from error
    finally:
        windows.end(opened)
