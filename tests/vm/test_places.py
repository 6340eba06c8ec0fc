# SPDX-License-Identifier: MIT
"""The places in which the demo and the benches run workloads, and the program that they run, on a guest without vmtide."""

import json

import pytest

from tests.vm.rig import MIB, RigError, places
from tests.vm.rig.speed import patience

KERNEL = '6.12'
USER_ID = 1000
# The cgroup of a workload "one" in each place; "N" stands for logind's number of the session.
CGROUPS = {
    'user': '/user.slice/user-1000.slice/session-N.scope',
    'service': '/workload.slice/workload-one.service',
    'kubepods': '/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podone.slice/cri-containerd-one.scope',
    'docker': '/docker/one',
    'root': '/',
}
LOOK = '''
cat /proc/self/cgroup; id -u; cat /proc/self/oom_score_adj
echo to standard error >&2
exit 3
'''


def top_level(guest):
    return set(guest.check('cd /sys/fs/cgroup && ls -d */').split())


def check_place(guest, place):
    result = places.start(guest, place, LOOK, 'one').wait(60)
    cgroup, uid, score = result.stdout.splitlines()
    expected, _, ending = CGROUPS[place].partition('N')
    cgroup = cgroup.removeprefix('0::')
    assert cgroup.startswith(expected) and cgroup.endswith(ending), place
    assert ending or cgroup == expected, place
    assert int(uid) == (USER_ID if place == 'user' else 0), place
    assert int(score) == 0, f'{place}: the OOM killer treats it as any program'
    assert (result.status, result.stderr) == (3, 'to standard error\n'), place


def check_stop(guest, place):
    """It reports where it is, has its memory accounted to its cgroup, and leaves nothing behind."""
    command = places.start(guest, place, 'exec vmalloc --bytes 64M --threads 2 --hold 1000', 'one')
    command.wait_output('touched', patience(60))
    events = [json.loads(line) for line in command.stdout().splitlines()]
    assert [event['event'] for event in events] == ['start', 'touched']
    cgroup = guest.read(f'/proc/{events[0]["pid"]}/cgroup').strip().removeprefix('0::')
    if place != 'root':
        assert int(guest.read(f'/sys/fs/cgroup{cgroup}/memory.current')) >= 64 * MIB, place
    assert places.stop(guest, place, command, 'one').status != 0
    assert guest.run('pgrep vmalloc').status == 1, place


def check_overcommit(guest):
    guest.check('echo 0 >/proc/sys/vm/overcommit_memory')
    refused = guest.run('vmalloc --bytes 3G')
    assert (refused.status, refused.stderr) == (1, f'vmalloc: malloc({3 << 30}) failed: Cannot allocate memory\n')
    assert guest.run('vmalloc --bytes 1Q').status == 2
    events = [json.loads(line) for line in guest.check('vmalloc --bytes 256M --threads 3').splitlines()]
    assert [event['event'] for event in events] == ['start', 'touched', 'freed']
    assert events[1]['bytes'] == 256 * MIB and events[1]['stall_us'] > 0
    assert guest.oom_kills() == 0


def test_runs_in_each_place_as_users_do(boot_guest):
    guest = boot_guest(KERNEL)
    before = top_level(guest)
    assert not {'kubepods.slice/', 'docker/', 'workload.slice/'} & before
    for place in places.PLACES:
        check_place(guest, place)
    assert top_level(guest) - before == {'kubepods.slice/', 'docker/', 'workload.slice/'}
    for place in places.PLACES:  # what the first run left behind is in nobody's way
        check_place(guest, place)
        check_stop(guest, place)
    assert set(CGROUPS) == set(places.PLACES)
    with pytest.raises(RigError, match='no place'):
        places.start(guest, 'nowhere', 'true')
    check_overcommit(guest)
