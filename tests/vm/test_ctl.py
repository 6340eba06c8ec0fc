# SPDX-License-Identifier: MIT
"""vmtidectl in a real guest, with systemd, logind and polkit."""

import json

from tests.vm.rig import MIB, wait_until
from tests.vm.test_job import connected, start_host, wait_standing


def ctl(guest, arguments, status=0):
    result = guest.run(f'LC_ALL=C.UTF-8 vmtidectl {arguments}', 30)
    assert result.status == status, (arguments, result)
    return result.stdout


def doctor_is_green_and_a_person_sees_it(guest):
    checks = json.loads(ctl(guest, 'doctor --json'))
    assert {c['name']: c['text'] for c in checks if c['verdict'] != 'ok'} == {}
    size = guest.size()
    ctl(guest, 'plug 256M')
    wait_until(lambda: guest.size() >= size + 256 * MIB, 20, 'it is plugged')
    shown = ctl(guest, 'status')
    assert 'host connected' in shown and all(len(line) <= 80 for line in shown.splitlines())
    # A plain user without a session sees it all, and changes nothing.
    plain = 'setpriv --reuid=65534 --regid=65534 --clear-groups'
    assert guest.run(f'{plain} vmtidectl status', 30).status == 0
    assert guest.run(f'{plain} vmtidectl plug 2M', 30).status == 77
    assert guest.run(f'{plain} vmtidectl reserve 2M -- true', 30).status == 77
    # A launcher does not need a session; polkit goes by /etc/group, not by what the process has.
    guest.check('usermod -aG vmtide-reserve nobody')
    assert guest.run(f'{plain} vmtidectl reserve 2M -- true', 60).status == 0
    for act in 'plug 2M', 'unplug 2M', 'set-limits --max 4G', 'pause':
        assert guest.run(f'{plain} vmtidectl --no-ask-password {act}', 30).status == 77, act


RULE = '''polkit.addRule(function (action, subject) {
    if (action.id == "org.vmtide.plug" && subject.user == "driver")
        return polkit.Result.YES;
});
'''


def in_session(guest, command):
    """The exit status of a command in a session of the user driver, active on the first virtual terminal."""
    return guest.run('systemd-run --quiet --wait --collect -p User=driver -p PAMName=login -p TTYPath=/dev/tty1 '
                     '-p StandardInput=tty-force -p StandardOutput=journal -p StandardError=journal '
                     f'sh -c \'loginctl show-session "$XDG_SESSION_ID" -p Active -p Seat; {command}\'', 60).status


def rights_follow_the_session_and_an_administrators_rules(guest):
    guest.check('useradd --create-home driver')
    assert in_session(guest, 'exit 7') == 7
    for verb in 'plug 2M', 'unplug 2M', 'set-limits --max 1G', 'pause --why test':
        assert in_session(guest, f'vmtidectl --no-ask-password {verb}') == 77, verb
    assert in_session(guest, 'vmtidectl --no-ask-password reserve 2M -- true') == 0
    # Half of the maximum of 8 GiB, and no more.
    assert in_session(guest, 'vmtidectl --no-ask-password reserve 4098M -- true 2>/home/driver/said') == 1
    assert 'half of the max size of 8G' in guest.read('/home/driver/said')
    guest.write('/etc/polkit-1/rules.d/10-driver.rules', RULE)
    wait_until(lambda: in_session(guest, 'vmtidectl --no-ask-password plug 2M') == 0, 20, 'polkit takes the rule')
    assert in_session(guest, 'vmtidectl --no-ask-password unplug 2M') == 77
    guest.check('rm /etc/polkit-1/rules.d/10-driver.rules')
    wait_until(lambda: in_session(guest, 'vmtidectl --no-ask-password plug 2M') == 77, 20, 'polkit forgets the rule')


def reserved(guest):
    return [(r['bytes'], r['why']) for r in json.loads(ctl(guest, 'reservations --json'))]


def a_reservation_outlives_the_actuator(guest):
    """systemd keeps the descriptors while the actuator is restarted, and when it is killed."""
    holder = guest.start_command('exec vmtidectl reserve 2G --why camera -- sh -c "echo ready; exec sleep 600"')
    holder.wait_output('ready', 60)
    assert reserved(guest) == [(2048 * MIB, 'camera')]
    size = guest.requested_size()
    assert size >= 1024 * MIB
    for act in 'systemctl restart vmtide-actuator', 'systemctl kill -s KILL vmtide-actuator':
        guest.check(act)
        wait_until(lambda: connected(guest), 30, 'the actuator is back')
        assert reserved(guest) == [(2048 * MIB, 'camera')]
        # What the monitor may give back ends at the floor.
        assert guest.run('vmtidectl unplug 8G', 30).status != 0 and guest.requested_size() == size
    holder.kill()
    wait_until(lambda: reserved(guest) == [], 20, 'nobody holds it any more')
    wait_until(lambda: guest.size() < size, 60, 'the memory goes back')


def status_text(guest, name):
    return guest.run(f'systemctl show -P StatusText vmtide-{name}', 30).stdout.strip()


def a_file_that_is_refused_fails_the_reload(guest):
    for name in 'actuator', 'monitor':
        guest.check(f'systemctl reload vmtide-{name}')
        good = guest.run(f'cat /etc/vmtide/{name}.conf', 30).stdout
        guest.write(f'/etc/vmtide/{name}.conf', f'[{name.capitalize()}]\nSpeed=9\n')
        assert guest.run(f'systemctl reload vmtide-{name}', 30).status != 0
        assert f'{name}.conf:2: [{name.capitalize()}] Speed=9: the key is not known' in guest.run(
            f'journalctl -u vmtide-{name} -o cat --no-pager', 30).stdout
        assert status_text(guest, name) == ''
        # Whoever goes around that check is told too, until a good one comes.
        guest.check(f'systemctl kill -s HUP vmtide-{name}')
        wait_until(lambda: 'Configuration refused' in status_text(guest, name), 20, 'the status says so')
        guest.write(f'/etc/vmtide/{name}.conf', good)
        guest.check(f'systemctl reload vmtide-{name}')
        wait_until(lambda: status_text(guest, name) == '', 20, 'it is over')
        assert guest.run(f'systemctl is-active vmtide-{name}', 30).stdout.strip() == 'active'
    second = guest.run('vmtide-monitor', 60)
    assert second.status == 75 and 'another vmtide-monitor is running' in second.stderr, second


def test_vmtidectl(installed, boot_guest):
    """All in one guest: each of them would boot for longer than it works. On one kernel, since it is about systemd, logind
    and polkit."""
    guest = boot_guest(destdir=installed)
    start_host(guest)
    wait_standing(guest)
    doctor_is_green_and_a_person_sees_it(guest)
    rights_follow_the_session_and_an_administrators_rules(guest)
    a_reservation_outlives_the_actuator(guest)
    a_file_that_is_refused_fails_the_reload(guest)
