# SPDX-License-Identifier: MIT
"""Where a workload runs in the guest: the cgroups in which users, services and containers run their programs.

user       a login session of uid 1000, made by PAM and logind: user.slice/user-1000.slice/session-N.scope
service    a service of its own, in a top-level slice that systemd makes for it
kubepods   a pod's container, as kubelet makes it with the systemd driver; kubepods.slice is made for it
docker     a container, as dockerd makes it with the cgroupfs driver: a directory that systemd knows nothing about
root       the root cgroup, which has no memory.high
"""

from .paths import RigError

PLACES = ('user', 'service', 'kubepods', 'docker', 'root')

USER = 'user'  # guest/overlay/etc/sysusers.d makes it
CGROUPS = '/sys/fs/cgroup'
SHELL = '/bin/sh -s'  # it reads the workload's script from its standard input

# Of an earlier run; a cgroup in which processes run stays as it is.
REMOVE_SLICE = '''
if grep -qsx 'populated 0' {cgroups}/{slice}/cgroup.events; then systemctl stop {slice}; fi
'''

IN_DOCKER = '''
mkdir -p {cgroups}/docker && echo +memory >{cgroups}/docker/cgroup.subtree_control || exit 125
rmdir {cgroups}/docker/{name} 2>/dev/null
mkdir -p {cgroups}/docker/{name} && echo $$ >{cgroups}/docker/{name}/cgroup.procs || exit 125
exec {shell}
'''


def unit(name):
    """The name of the service that a workload NAME in the place "service" is."""
    return f'workload-{name}.service'


def _in_service(name):
    return (REMOVE_SLICE.format(cgroups=CGROUPS, slice='workload.slice') +
            f'exec systemd-run --quiet --pipe --wait --collect --unit={unit(name)} --slice=workload.slice {SHELL}')


def _in_kubepods(name):
    pod = f'kubepods-burstable-pod{name.replace("-", "_")}.slice'
    return (REMOVE_SLICE.format(cgroups=CGROUPS, slice='kubepods.slice') +
            f'exec systemd-run --quiet --scope --collect --unit=cri-containerd-{name} --slice={pod} {SHELL}')


def _in_docker(name):
    return IN_DOCKER.format(cgroups=CGROUPS, name=name, shell=SHELL)


def enter(place, name='1'):
    """The script that enters PLACE and runs there what it reads from its standard input."""
    if place == 'user':
        # Without --session-command runuser gives the shell a session and process group of its own, which a signal to
        # the command does not reach.
        return f'exec runuser --login {USER} --session-command "{SHELL}"'
    if place == 'service':
        return _in_service(name)
    if place == 'kubepods':
        return _in_kubepods(name)
    if place == 'docker':
        return _in_docker(name)
    if place == 'root':
        return f'echo $$ >{CGROUPS}/cgroup.procs && exec {SHELL}'
    raise RigError(f'{place!r} is no place for a workload: take one of {", ".join(PLACES)}')


def start(guest, place, script, name='1'):
    """Starts a script of /bin/sh in PLACE; returns its handle (agent.Command). The cgroup is made at this moment.

    name: tells workloads in the same place apart. The handle's pid is not the script's in "user" and "service", where
    a process outside of the place waits for it. End the workload by stop().
    """
    return guest.agent.start(enter(place, name), script)


def stop(guest, place, command, name='1'):
    """Kills a workload with all its processes, and waits for its end."""
    if place == 'service':
        guest.run(f'systemctl kill --signal=KILL {unit(name)}')
    command.kill()
    return command.wait(30)
