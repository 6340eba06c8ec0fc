# SPDX-License-Identifier: MIT
"""The packages in a fresh guest: installed they do the whole job, removed they leave nothing but the system users."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.vm.rig import GUEST_UNITS, MIB, wait_until
from tests.vm.rig.paths import REPO
from tests.vm.test_job import STANDING, connected, properties, start_host, wait_standing

FOLDER = '/var/tmp/packages'
KERNEL = '6.12'  # no package depends on it
# What differs after every installation of anything.
NOT_OURS = r'^/var/(lib/dpkg|log|cache/(ldconfig|debconf|man)|lib/systemd/(deb-systemd-helper-enabled|timers))|/(passwd|group|g?shadow)-?$'


@pytest.fixture(scope='module')
def packages(tmp_path_factory):
    """The built files, as the guest gets them."""
    folder = tmp_path_factory.mktemp('packages')
    subprocess.run(['scripts/package', '--out', folder], cwd=REPO, check=True, timeout=300, stdout=subprocess.DEVNULL,
                   env={**os.environ, 'PATH': '/usr/sbin:/usr/bin:/sbin:/bin'})
    return {path.name.partition('_')[0]: path for path in Path(folder).glob('*.deb')}


def install(guest, *names):
    return guest.check(f'cd {FOLDER} && DEBIAN_FRONTEND=noninteractive dpkg -i {" ".join(f"{n}.deb" for n in names)}', 120)


def files(guest):
    return set(guest.check(f'find /etc /usr /var /run/vmtide* -xdev ! -type d 2>/dev/null | grep -Ev "{NOT_OURS}" || true',
                           60).splitlines())


def states(guest, *units):
    return guest.run(f'systemctl is-active {" ".join(units)}').stdout.split()


def runs(guest):
    return guest.check(f'systemctl show -p InvocationID --value {" ".join(GUEST_UNITS)}').split()


def lines(guest):
    return set(guest.check('cat /sys/fs/cgroup/*.slice/memory.high').split())


def test_install_work_remove_purge(boot_guest, packages):
    assert set(packages) == {'vmtide', 'vmtide-guest', 'vmtide-host'}
    guest = boot_guest(KERNEL, units=(), files={f'{FOLDER}/{name}.deb': (path.read_bytes(), 0o644)
                                               for name, path in packages.items()})
    guest.check('rm -f /usr/sbin/policy-rc.d')  # what made the image wanted nothing started
    before = files(guest)
    install(guest, 'vmtide-guest', 'vmtide')
    assert states(guest, *GUEST_UNITS) == ['active', 'active']
    start_host(guest)
    wait_standing(guest)
    wait_until(lambda: lines(guest) != {'max'}, 30, 'the guard stands')
    checks = json.loads(guest.check('vmtidectl doctor --json', 30))
    assert {c['name']: c['text'] for c in checks if c['verdict'] != 'ok'} == {}
    guest.check('vmtidectl plug 256M && vmtidectl set-limits --max 1G --persist')
    wait_until(lambda: guest.size() >= STANDING + 256 * MIB, 20, 'it is plugged')

    # Once more, as an upgrade does: what was changed stays, and so does the memory.
    guest.check("sed -i 's/^#Guard=.*/Guard=no/' /etc/vmtide/actuator.conf")
    first = runs(guest)
    install(guest, 'vmtide-guest', 'vmtide')
    assert states(guest, *GUEST_UNITS) == ['active', 'active'] and not set(runs(guest)) & set(first)
    wait_until(lambda: connected(guest), 30, 'the new actuator meets the host')
    assert properties(guest, 'MaxSize') == [str(1024 * MIB)] and guest.size() >= STANDING
    assert 'Guard=no' in guest.read('/etc/vmtide/actuator.conf') and lines(guest) == {'max'}

    # On a host without virtual machines the daemon waits for a configuration that names one.
    install(guest, 'vmtide-host')
    assert states(guest, 'vmtide-host') == ['active']

    # What is removed takes its guard away, and no other package's daemon.
    guest.check("sed -i 's/^Guard=no/Guard=yes/' /etc/vmtide/actuator.conf && systemctl restart vmtide-actuator")
    wait_until(lambda: lines(guest) != {'max'}, 30, 'the guard stands again')
    guest.check('dpkg -r vmtide-guest', 120)
    assert 'active' not in states(guest, *GUEST_UNITS) and lines(guest) == {'max'}
    assert states(guest, 'vmtide-host') == ['active']
    guest.check('dpkg -r vmtide-host vmtide', 120)
    assert 'active' not in states(guest, 'vmtide-host')
    assert guest.run('test -e /etc/vmtide/actuator.conf && test -e /var/lib/vmtide').status == 0
    guest.check('dpkg -P vmtide-guest vmtide-host vmtide', 120)
    assert files(guest) - before == set()
    assert guest.run('ls -d /etc/vmtide /var/lib/vmtide /run/vmtide*').stdout == ''
    assert guest.run('id vmtide').status == 0
