# SPDX-License-Identifier: MIT
"""vmtidectl against the real daemons."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.matrix import malice

from .actuator_stage import STRANGER
from .conftest import ACTUATOR, BUILD, BUILD_COPY, machine, MONITOR, NOBODY, REPO, running
from .dbus_client import Client, NAME_OWNER
from .peers import GIB, MIB, wait_until
from .test_malice_user import forged

CTL = BUILD / 'ctl/vmtidectl'


def environment(**more):
    return {**os.environ, 'LC_ALL': 'C.UTF-8', 'TZ': 'UTC', **more}


def start(m, *arguments, prefix=(), program=CTL, **options):
    return subprocess.Popen([*prefix, program, f'--bus={m.address}', *map(str, arguments)], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, env=environment(), **options)


def ctl(m, *arguments, **options):
    process = start(m, *arguments, **options)
    text, errors = process.communicate(timeout=20)
    return subprocess.CompletedProcess(arguments, process.returncode, text, errors)


def as_stranger():
    return {'prefix': ['setpriv', f'--reuid={STRANGER}', f'--regid={STRANGER}', '--clear-groups'],
            'program': BUILD_COPY / 'vmtidectl'}


@pytest.fixture
def whole(running):
    """All three daemons."""
    running.start_monitor()
    wait_until(lambda: running.get('Level', at=MONITOR) is not None, 10, 'the monitor is on the bus')
    return running


@pytest.fixture
def plugged(whole):
    """With 512 MiB of plugged memory."""
    assert ctl(whole, 'plug', '512M').returncode == 0
    wait_until(lambda: whole.get('Size') == [str(512 * MIB)], 5, 'it is plugged')
    return whole


# What it shows


def test_status(whole):
    result = ctl(whole, 'plug', '512M', '--why', 'a test')
    assert (result.returncode, result.stdout, result.stderr) == (0, 'granted: the requested size is 512M now\n', '')
    wait_until(lambda: whole.get('Size') == [str(512 * MIB)], 5, 'it is plugged')
    wait_until(lambda: 'Now        hold: ' in ctl(whole, 'status').stdout, 5, 'a decision is told')
    result = ctl(whole)
    assert result.returncode == 0 and result.stderr == '' and '\033' not in result.stdout
    for line in ('host connected', 'Memory     1.5G of 5G', 'boot 1G  ▓ plugged 512M', 'Size       512M, requested 512M',
                 "Limits     512M to 4G; the host's: 0 to 4G"):
        assert line in result.stdout
    assert all(len(line) <= 80 for line in result.stdout.splitlines())


def test_status_as_json_is_what_the_bus_says(whole):
    state = json.loads(ctl(whole, 'status', '--json').stdout)
    assert set(state) == {'Actuator1', 'Monitor1', 'Reservations', 'Decisions'}
    assert state['Actuator1']['MaxSize'] == 4 * GIB and state['Actuator1']['HostConnected'] is True
    assert state['Monitor1']['Mode'] == 'auto' and state['Reservations'] == []


def test_status_without_daemons(machine):
    result = ctl(machine, 'status')
    assert result.returncode == 69 and 'no monitor' in result.stdout and 'no actuator' in result.stdout
    assert json.loads(ctl(machine, 'status', '--json').stdout)['Actuator1'] is None
    machine.start_actuator()
    wait_until(lambda: machine.get('State') is not None, 10, 'the actuator is on the bus')
    result = ctl(machine, 'status')
    assert result.returncode == 69 and 'no host answers' in result.stdout
    # Without a host and a limit there is no maximum: not a number of JSON.
    assert json.loads(ctl(machine, 'status', '--json').stdout)['Actuator1']['MaxSize'] is None


def test_watch_in_lines(whole):
    result = ctl(whole, 'watch', '-n', '2')
    assert result.returncode == 0
    assert [bool(re.match(r'\d\d:\d\d:\d\d size 0 requested 0 max 4G ', line)) for line in result.stdout.splitlines()] == [
        True, True]
    first, second = map(json.loads, ctl(whole, 'watch', '-n', '2', '--json').stdout.splitlines())
    assert first['Actuator1'] == second['Actuator1']


def on_terminal(m, *arguments, until, **more):
    """What it writes to a terminal up to a text, and after SIGINT."""
    child, fd = pty.fork()
    if child == 0:
        os.execve(CTL, [str(CTL), f'--bus={m.address}', *arguments], environment(TERM='xterm', **more))
    written = b''
    deadline = time.monotonic() + 10
    try:
        while until not in written and time.monotonic() < deadline:
            written += os.read(fd, 65536)
        os.kill(child, signal.SIGINT)
        while True:
            written += os.read(fd, 65536)
    except OSError:  # the terminal is hung up
        pass
    os.close(fd)
    return written.decode(), os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_watch_on_a_terminal_redraws_in_place(whole):
    text, status = on_terminal(whole, 'watch', until='▁▁'.encode(), NO_COLOR='')
    assert status == 0
    assert text.startswith('\033[?1049h\033[?25l\033[H') and text.endswith('\033[?25h\033[?1049l')
    assert text.count('\033[H') >= 2 and '\033[K' in text and '\033[32mnormal\033[0m' in text and 'the last minute' in text


@pytest.mark.parametrize('more', ({'NO_COLOR': '1'}, {'TERM': 'dumb'}))
def test_no_colours_where_they_are_not_wanted(whole, more):
    child, fd = pty.fork()
    if child == 0:
        os.execve(CTL, [str(CTL), f'--bus={whole.address}', 'status'], environment(**{'TERM': 'xterm', **more}))
    text = b''
    try:
        while True:
            text += os.read(fd, 65536)
    except OSError:
        pass
    os.close(fd)
    os.waitpid(child, 0)
    assert b'Memory' in text and b'\033' not in text


def test_explain(whole):
    wait_until(lambda: json.loads(ctl(whole, 'explain', '--json').stdout), 5, 'a decision is told')
    decisions = json.loads(ctl(whole, 'explain', '-n', '1', '--json').stdout)
    assert len(decisions) == 1 and decisions[0]['action'] in ('hold', 'grow', 'shrink')
    text = ctl(whole, 'explain', '-n', '1').stdout
    assert decisions[0]['text'][:30] in text and 'headroom' in text


def test_monitor_prints_signals(whole):
    process = start(whole, 'monitor', '-n', '40', '--json')
    lines = []
    wait_until(lambda: 'vmtidectl' in clients(whole), 5, 'it listens')
    assert ctl(whole, 'plug', '256M', '--why', 'signals').returncode == 0
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and not any(line['member'] == 'SizeChanged' for line in lines):
        lines.append(json.loads(process.stdout.readline()))
    process.terminate()
    process.communicate()
    changed = [line for line in lines if line['member'] == 'SizeChanged'][0]
    assert changed['daemon'] == 'Actuator1' and changed['arguments'] == [0, 256 * MIB, 'signals']


HOSTILE = ('\x1b]0;title\x07', '\x9b2J', '\x7f', '\u202e', '\u2028', 'two\nlines')


@pytest.mark.parametrize('options', ((), ('--json',)), ids=('text', 'json'))
@malice('the owner of a daemon\'s name sends signals with control characters, and another user sends signals in its name',
        'vmtidectl prints no control character, and no signal of the other user')
def test_monitor_prints_no_control_character(machine, options):
    owner, stranger = Client(machine.folder / 'bus'), Client(machine.folder / 'bus', uid=NOBODY)
    owner.call('RequestName', 'su', 'org.vmtide.Actuator1', 0, at=NAME_OWNER)
    process = start(machine, 'monitor', *options)

    def send(client, text, to=None):
        forged(client, ACTUATOR[1], ACTUATOR[2], 'SizeChanged', 'tts', 0, GIB, text, to=to)

    def heard():
        send(owner, 'begin')
        return select.select([process.stdout], [], [], 0.1)[0]
    wait_until(heard, 10, 'it listens')
    name = [line.split()[0] for line in clients(machine).splitlines() if 'vmtidectl' in line][0]
    for text in HOSTILE:
        send(stranger, 'forged', to=name)
        send(owner, text)
    forged(owner, ACTUATOR[1], ACTUATOR[2], 'New', 'd', 1.5)
    send(owner, 'last')
    lines = []
    while (line := process.stdout.readline()) and 'last' not in line:
        lines.append(line.removesuffix('\n'))
    process.terminate()
    assert process.communicate(timeout=20)[1] == ''
    lines = [line for line in lines if 'begin' not in line]
    assert len(lines) == len(HOSTILE) + 1 and all(line.isprintable() and 'forged' not in line for line in lines), lines
    owner.close()
    stranger.close()


@pytest.mark.parametrize('options', ((), ('--json',)))
def test_monitor_ends_after_so_many(whole, options):
    process = start(whole, 'monitor', '-n', '1', *options)
    wait_until(lambda: 'vmtidectl' in clients(whole), 5, 'it listens')
    assert ctl(whole, 'plug', '2M', '--why', 'signals').returncode == 0
    text, errors = process.communicate(timeout=20)
    assert process.returncode == 0 and errors == ''
    if options:
        assert json.loads(text)['daemon'] in ('Actuator1', 'Monitor1')
    else:
        assert re.fullmatch(r'\d\d:\d\d:\d\d (Actuator1|Monitor1 ) \w+ .*\n', text)


def clients(m):
    return m.busctl('list', '--no-legend').stdout


# What it does


def test_unplug_and_its_refusals(whole):
    assert json.loads(ctl(whole, 'plug', '512M', '--json').stdout) == {'RequestedSize': 512 * MIB}
    result = ctl(whole, 'unplug', '128M')
    assert result.stdout == 'granted: the requested size is 384M now\n'
    result = ctl(whole, 'plug', '90G')
    assert result.returncode == 1 and 'max size of 4G' in result.stderr and 'vmtidectl status' in result.stderr
    result = ctl(whole, 'unplug', '90G')
    assert result.returncode == 1 and 'min size' in result.stderr


def test_without_a_host_nothing_is_plugged(machine):
    machine.start_actuator()
    wait_until(lambda: machine.get('State') is not None, 10, 'the actuator is on the bus')
    result = ctl(machine, 'plug', '2M')
    assert result.returncode == 69 and 'no host answers' in result.stderr and 'doctor' in result.stderr


def test_without_daemons_and_without_a_bus(machine):
    for verb in (('plug', '2M'), ('pause',), ('resume',), ('explain',), ('reservations',), ('set-limits', '--max=1G')):
        result = ctl(machine, *verb)
        assert result.returncode == 69 and 'systemctl start' in result.stderr and result.stdout == ''
    result = subprocess.run([CTL, '--bus=unix:path=/nowhere', 'status'], capture_output=True, text=True, timeout=10,
                            check=False)
    assert result.returncode == 69 and '/nowhere' in result.stderr


def test_set_limits(whole):
    result = ctl(whole, 'set-limits', '--min', '256M', '--max', '2G', '--persist')
    assert result.stdout == 'limits set and saved: min size 256M, max size 2G\n', result.stderr
    assert whole.get('MinSize', 'MaxSize') == [str(256 * MIB), str(2 * GIB)]
    assert (whole.folder / 'state/limits').exists()
    # What is not named stays.
    assert 'max size as it was' in ctl(whole, 'set-limits', '--min', '128M').stdout
    assert whole.get('MinSize', 'MaxSize') == [str(128 * MIB), str(2 * GIB)]
    assert "min size as it was, max size the host's" in ctl(whole, 'set-limits', '--max', '0').stdout
    assert whole.get('MinSize', 'MaxSize') == [str(128 * MIB), str(4 * GIB)]
    result = ctl(whole, 'set-limits', '--max', '5G')
    assert result.returncode == 1 and '4G' in result.stderr and 'host.conf' in result.stderr
    result = ctl(whole, 'set-limits', '--max', '1000')
    assert result.returncode == 1 and '1000 is less than a block of the device (2M)' in result.stderr
    assert "configuration's limits" in ctl(whole, 'set-limits', '--reset').stdout
    assert whole.get('MinSize', 'MaxSize') == ['0', str(4 * GIB)]
    assert not (whole.folder / 'state/limits').exists()


def test_pause_and_resume(whole):
    assert ctl(whole, 'pause', '--for', '10min', '--why', 'backup').stdout == 'paused for 10 min\n'
    assert whole.get('Mode', 'PauseReason', at=MONITOR) == ['"paused"', '"backup"']
    assert 'Paused     until ' in ctl(whole, 'status').stdout
    assert ctl(whole, 'resume').stdout == 'resumed\n'
    assert whole.get('Mode', at=MONITOR) == ['"auto"']
    assert 'until vmtidectl resume' in ctl(whole, 'pause').stdout
    assert json.loads(ctl(whole, 'status', '--json').stdout)['Monitor1']['PausedUntil'] is None


def reservations(m):
    return json.loads(ctl(m, 'reservations', '--json').stdout)


def test_reserve_holds_for_a_commands_life(plugged, tmp_path):
    (tmp_path / 'go').touch()
    process = start(plugged, 'reserve', '100M', '--why', 'reverse gear', '--', 'sh', '-c',
                    f'while [ -e {tmp_path}/go ]; do sleep 0.05; done; exit 7')
    wait_until(lambda: reservations(plugged), 10, 'it is reserved')
    row, = reservations(plugged)
    assert {key: row[key] for key in ('bytes', 'who', 'why', 'uid')} == {
        'bytes': 100 * MIB, 'who': 'sh', 'why': 'reverse gear', 'uid': 0}
    assert 'sh (uid 0, ' in ctl(plugged, 'reservations').stdout
    (tmp_path / 'go').unlink()
    assert process.wait(10) == 7
    wait_until(lambda: not reservations(plugged), 5, 'it has ended')
    assert ctl(plugged, 'reservations').stdout == 'nothing is reserved\n'


@pytest.mark.parametrize('how, status', ((signal.SIGTERM, 128 + signal.SIGTERM), (signal.SIGKILL, -signal.SIGKILL)))
def test_reserve_and_its_command_end_together(plugged, tmp_path, how, status):
    process = start(plugged, 'reserve', '10M', '--', 'sh', '-c', f'echo $$ >{tmp_path}/pid; exec sleep 1000')
    wait_until(lambda: (tmp_path / 'pid').exists() and (tmp_path / 'pid').read_text(), 10, 'it runs')
    pid = int((tmp_path / 'pid').read_text())
    process.send_signal(how)
    assert process.wait(10) == status
    wait_until(lambda: not reservations(plugged), 5, 'the reservation has ended')

    def gone():
        try:
            return 'Z (zombie)' in Path(f'/proc/{pid}/status').read_text()
        except (FileNotFoundError, ProcessLookupError):
            return True
    wait_until(gone, 5, 'the command has ended')


def test_reserve_without_a_command(plugged):
    process = start(plugged, 'reserve', '100M')
    assert process.stdout.readline() == '100M reserved; Ctrl-C ends it\n'
    assert [row['who'] for row in reservations(plugged)] == ['vmtidectl']
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 0
    process.communicate()


@pytest.mark.parametrize('command, status', ((['/nowhere/command'], 127), (['/etc/passwd'], 126), (['true'], 0)))
def test_reserve_says_how_the_command_ended(plugged, command, status):
    assert ctl(plugged, 'reserve', '1M', '--', *command).returncode == status


def test_a_refused_reservation_starts_nothing(whole, tmp_path):
    result = ctl(whole, 'reserve', '90G', '--', 'touch', tmp_path / 'started')
    assert result.returncode == 1 and 'max size of 4G' in result.stderr
    assert not (tmp_path / 'started').exists()


# Who may


def test_strangers_see_and_change_nothing(whole):
    assert ctl(whole, 'status', **as_stranger()).returncode == 0
    for verb in (('plug', '2M'), ('unplug', '2M'), ('set-limits', '--max=1G'), ('reserve', '2M', '--', 'true'),
                 ('pause',), ('resume',)):
        result = ctl(whole, *verb, **as_stranger())
        assert result.returncode == 77 and 'as root' in result.stderr, (verb, result)


def plug_on_terminal(m, agent, *options):
    """As a stranger at a terminal, with such a pkttyagent."""
    folder = m.folder / 'bin'
    folder.mkdir(exist_ok=True)
    (folder / 'pkttyagent').write_text(agent, encoding='ascii')
    (folder / 'pkttyagent').chmod(0o755)
    child, fd = pty.fork()
    if child == 0:
        os.execve('/usr/bin/setpriv', ['setpriv', f'--reuid={STRANGER}', f'--regid={STRANGER}', '--clear-groups',
                                       str(BUILD_COPY / 'vmtidectl'), *options, 'plug', '2M'],
                  environment(PATH=f'{folder}:/usr/bin:/bin', DBUS_SYSTEM_BUS_ADDRESS=m.address))
    text = b''
    try:
        while True:
            text += os.read(fd, 65536)
    except OSError:
        pass
    os.close(fd)
    return text.decode(), os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


# It says that it is there by closing the descriptor it was given, and stays.
AGENT = '#!/bin/sh\necho "agent $1 $3"\ntrap "echo agent ends; exit" TERM\neval "exec $2>&-"\nwhile :; do sleep 0.05; done\n'


def test_an_agent_is_there_to_ask_for_a_password(whole):
    text, status = plug_on_terminal(whole, AGENT)
    assert status == 77 and 'agent --notify-fd --fallback' in text and 'agent ends' in text
    text, status = plug_on_terminal(whole, '#!/bin/sh\nexit 1\n')
    assert status == 77 and 'as root' in text
    text, status = plug_on_terminal(whole, AGENT, '--no-ask-password')
    assert status == 77 and 'agent' not in text


# doctor


ZONEINFO = 'Node 0, zone    DMA32\n  pages free 90000\n min 9000\n low 9500\n managed 227000\n protection: (0, 0, 0)\n'


def test_doctor(whole):
    for path, text in (('proc/pressure/memory', 'some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n'
                                                'full avg10=0.00 avg60=0.00 avg300=0.00 total=0\n'),
                       ('proc/sys/vm/overcommit_memory', '1\n'), ('proc/zoneinfo', ZONEINFO),
                       ('sys/fs/cgroup/cgroup.controllers', 'cpu io memory pids\n'), ('dev/virtio-ports/org.vmtide.0', ''),
                       ('usr/share/polkit-1/actions/org.vmtide.policy', '')):
        target = whole.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding='ascii')
    report = ctl(whole, 'doctor', '--json', '--root', whole.folder)
    verdicts = {check['name']: check['verdict'] for check in json.loads(report.stdout)}
    # What a private bus has not: polkit, systemd. Triggers are tried on the machine itself only.
    assert {name for name, verdict in verdicts.items() if verdict != 'ok'} == {
        'triggers', 'polkit', 'vmtide-actuator', 'vmtide-monitor'}
    assert report.returncode == 0
    (whole.folder / 'dev/virtio-ports/org.vmtide.0').unlink()
    (whole.folder / 'sys/devices/system/memory/auto_online_blocks').write_text('offline\n', encoding='ascii')
    whole.kill('monitor')
    report = ctl(whole, 'doctor', '--root', whole.folder)
    assert report.returncode == 3 and '3 faults' in report.stdout and 'virtserialport' in report.stdout
    assert all(len(line) <= 80 for line in report.stdout.splitlines())
    # Loopback makes the one, a device the other.
    for path, faults in (('dev/vsock', 3), ('sys/bus/virtio/drivers/vmw_vsock_virtio_transport/virtio5', 2)):
        (whole.folder / path).mkdir(parents=True)
        report = ctl(whole, 'doctor', '--root', whole.folder)
        assert report.returncode == faults and f'{faults} faults' in report.stdout


def test_doctor_on_memory_settings(whole):
    movable = 'Node 0, zone  Movable\n  pages free 9\n min 0\n low 0\n managed 65536\n protection: (0, 0, 0)\n'
    for path, text in (('proc/sys/vm/overcommit_memory', '2\n'), ('proc/zoneinfo', ZONEINFO + movable),
                       ('sys/fs/cgroup/cgroup.controllers', 'memory\n'), ('sys/fs/cgroup/cgroup.procs', '2\n42\n43\n'),
                       ('sys/fs/cgroup/kubepods/memory.max', f'{900 * MIB}\n'), ('sys/fs/cgroup/user.slice/memory.max', 'max\n'),
                       ('proc/2/cmdline', ''), ('proc/2/comm', 'kthreadd\n'), ('proc/42/cmdline', 'dockerd\0-H\0'),
                       ('proc/42/comm', 'dockerd\n')):
        target = whole.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding='ascii')
    with open(whole.folder / 'proc/meminfo', 'a', encoding='ascii') as file:
        file.write('CommitLimit:      524288 kB\n')
    texts = {check['name']: (check['verdict'], check['text'])
             for check in json.loads(ctl(whole, 'doctor', '--json', '--root', whole.folder).stdout)}
    for name, part in (('overcommit', 'CommitLimit (512M now)'), ('kernel-reserve', '0 of the kernel zones'),
                       ('cgroup-limits', 'kubepods 900M: '), ('root-cgroup', '1 processes in the root cgroup (dockerd)')):
        assert texts[name][0] == 'warning' and part in texts[name][1], texts[name]
    assert texts['tmpfs'] == ('ok', 'none at /dev/shm, /tmp and /run')


def test_doctor_without_a_bus(tmp_path):
    result = subprocess.run([CTL, '--bus=unix:path=/nowhere', 'doctor', f'--root={tmp_path}', '--json'],
                            capture_output=True, text=True, timeout=10, check=False)
    verdicts = {check['name']: check['verdict'] for check in json.loads(result.stdout)}
    assert verdicts['bus'] == verdicts['pressure'] == verdicts['port'] == 'fault'
    assert result.returncode == list(verdicts.values()).count('fault')


# Completion


def completed(*words):
    script = 'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _vmtidectl; printf "%s\\n" "${COMPREPLY[@]}"'
    return set(subprocess.run(['bash', '-c', script, 'bash', str(REPO / 'ctl/vmtidectl.bash'), *words], capture_output=True,
                              text=True, check=True, timeout=10).stdout.split())


def helped(*words):
    text = subprocess.run([CTL, *words, '--help'], capture_output=True, text=True, check=True, timeout=10).stdout
    return text, set(re.findall(r'^  (?:-\w, )?(--[\w-]+)', text, re.M))


def test_completion_knows_what_help_knows():
    text, _ = helped()
    verbs = re.findall(r'^  ((?:host )?[a-z-]+)', text.partition('Verbs:')[2], re.M)
    assert completed('vmtidectl', '') == {verb.split()[0] for verb in verbs} and len(verbs) == 21
    assert completed('vmtidectl', 'host', '') == {verb.split()[1] for verb in verbs if ' ' in verb}
    for verb in verbs:
        assert completed('vmtidectl', *verb.split(), '--') == helped(*verb.split())[1], verb
    assert completed('vmtidectl', '--json', 're') == {'reserve', 'reservations', 'resume'}
    assert 'true' in completed('vmtidectl', 'reserve', '1G', '--', 'tru')
