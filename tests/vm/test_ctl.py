# SPDX-License-Identifier: MIT
"""vmtidectl in a real guest, with systemd, logind and polkit."""

import json

from tests.vm.rig import MIB, wait_until
from tests.vm.test_job import start_host


def ctl(guest, arguments, status=0):
    result = guest.run(f'LC_ALL=C.UTF-8 vmtidectl {arguments}', 30)
    assert result.status == status, (arguments, result)
    return result.stdout


def test_doctor_is_green_and_a_person_sees_it(guest):
    start_host(guest)
    checks = json.loads(ctl(guest, 'doctor --json'))
    assert {c['name']: c['text'] for c in checks if c['verdict'] != 'ok'} == {}
    ctl(guest, 'plug 256M')
    wait_until(lambda: guest.size() >= 256 * MIB, 20, 'it is plugged')
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
