# SPDX-License-Identifier: MIT
"""What each line of the logs is: an ordinary one, one that a fault explains while it is on, one that is explained at any
time (and told apart), or one that nothing explains."""

import re
from collections import namedtuple

# How every start of all things shows.
RESETS = ('reset_guest', 'reboot_guest')
STARTS = ('boot', *RESETS)
CUTS = ('kill_host', 'cut_channel', 'cut_in_line', 'unplug_port', *STARTS)
LATE = (*CUTS, 'freeze_host', 'late_grant', 'stall_qmp', 'pause_qemu', 'cut_qmp')
GUEST_LATE = ('freeze_actuator', 'starve_cpu', 'oom_in_cgroup', 'pause_qemu')
NEW_ACTUATOR = ('kill_actuator', *STARTS)
# What a request may not be answered for, or its answer not be heard; and what a call may not be.
UNHEARD = (*LATE, *GUEST_LATE, *NEW_ACTUATOR)
UNAVAILABLE = (*UNHEARD, 'kill_monitor', 'restart_dbus')
NO_QMP = ('cut_qmp', 'stall_qmp', 'pause_qemu', 'kill_host', 'freeze_host')
AT_ANY_TIME = None

# Of the daemons' texts.
ERROR = r'org\.vmtide\.Error\.'
ASKED = r'(plug|unplug) \S+ \(.*\) refused: ' + ERROR
WANTED = r'(grow|shrink) refused: '
NO_ROOM = r'HostRefused: \S+ more asked, the host has '
PAUSED = r'(HostRefused|Busy): .*paused'
VM = r'\w+: '
QMP = VM + r'QEMU\'s monitor: '
CHANNEL = VM + r'channel: '
SHORT = 'the host machine is short of memory itself'

Rule = namedtuple('Rule', 'pattern kinds reason')


def ordinary(*patterns):
    return [Rule(pattern, (), '') for pattern in patterns]


def during(kinds, *patterns):
    return [Rule(pattern, tuple(kinds), '') for pattern in patterns]


def always(reason, *patterns):
    return [Rule(pattern, AT_ANY_TIME, reason) for pattern in patterns]


BOTH = [
    *ordinary(r'bus: has name org\.vmtide\.(Actuator|Monitor|Host)1$', r'refusals: over; \d+ were not said$'),
    *during(('reload_daemons',), r'configuration loaded again$'),
    *during(('restart_dbus', *STARTS), r'bus: \S+: .*; working on without it, trying again$'),
]

ACTUATOR = [
    *BOTH,
    *ordinary(
        r'(plug|unplug) \S+ \(.*\): granted, requested size \S+, size \S+$',
        ASKED + r'LimitExceeded: \d+ bytes on top of \S+ are more than the max size of ',
        ASKED + r'LimitExceeded: size \S+ is above the max size ',
        ASKED + r'BelowMinimum: ',
        ASKED + r'InvalidSize: 0 bytes is no size ',
        ASKED + r'RateLimited: more than ',
        ASKED + r'Busy: \d+ requests are waiting already',
        r'the size plugged by hand ',
        r'limits: the configuration\'s again: min size ',
        r'limits set: min size \S+, max size ',
        r'host: asks to shrink to ',
        r'host: \S+ \S+ answers for VM \w+$',
        r'size \S+, requested \S+, host\'s limits ',
        r'boot memory \S+, memory blocks of \S+, virtio-mem is there$',
        r'virtio-mem is there$',
        r'onlining policy set to \S+ \(boot memory ',
        r'guard armed: headroom ',
        r'guard disarmed: (not asked for|at max size, nothing more can be plugged|no host answers|the host gives no more now'
        r'|the connection that armed it was closed|not armed again in time|a line was held for 20 s and nothing was plugged); '
        r'memory\.high is the administrator\'s again$',
        r'guard: a line was reached \(',
        r'guard: no line is reached any more, after \d+ breaches$',
        r'guard: line of \S+ held for \d+ ms$',
        r'vm\.lowmem_reserve_ratio set to [\d ]+: ',
        r'vm\.overcommit_memory set to 1 \(was 0\): ',
        r'vm\.(lowmem_reserve_ratio|overcommit_memory) restored to [\d ]+: '
        r'(the VM is at its max size|no host is connected|the actuator ends)$',
        r'memory block for a kernel zone: ',
        r'reserved \S+ for sleep \(',
        r'reservation of \S+ for sleep has ended',
        r'reclaim: \S+ of page cache went, '),
    *during(NEW_ACTUATOR,
            r'guard: \d+ lines of an actuator before this one taken back$',
            r'vm\.\w+ restored to [\d ]+; a vmtide-actuator that was killed had set [\d ]+$',
            r'guard: memory\.high of \d+ cgroups written back$',
            r'limits: those saved in /var/lib/vmtide/limits win: '),
    *during(LATE,
            ASKED + r'HostUnavailable: (the host did not answer in \d+ ms|the host has gone; |the host cannot be reached: '
            r'|no host answers on the channel)'),
    *during((*CUTS, 'freeze_host', 'bad_lines'),
            r'host: gone \(',
            r'host: [^ :]+: .*, looking again every \d+ ms$'),
    *during((*CUTS, 'kill_actuator', 'bad_lines'), r'host: line dropped: '),
    *during(('bad_lines',), r'host: did not understand: '),
    *during((*NO_QMP, *RESETS), ASKED + r'HostRefused: QEMU (does not answer|did not take)'),
    *during(('host_pause',), ASKED + PAUSED),
    *during(('onlining_offline', *STARTS), r'\d+ memory blocks waited offline and were brought online'),
    *during(('freeze_actuator', 'kill_monitor', 'restart_dbus'), r'private socket: uid \d+ has a connection already; '),
    *always('a block may be on its way out while all are looked at',
            r'\d+ memory blocks waited offline and were brought online, \d+ would not$'),
    *always(SHORT, ASKED + NO_ROOM),
]

MONITOR = [
    *BOTH,
    *ordinary(
        r'(would )?(grow|shrink) \S+: [^(]+ \(available ',
        r'shrink to \S+ declined: ',
        r'the host requests a shrink to ',
        r'memory can be touched at ',
        r'actuator: connected$',
        r'low memory warnings: (acquired name|off, released name) ',
        r'warned programs, ',
        r'(early|hard) pressure trigger: window \d+ ms',
        r'paused for \d+ s:',
        r'paused until Resume:',
        r'resumed$'),
    *during((*NEW_ACTUATOR, *GUEST_LATE, 'kill_monitor', 'restart_dbus'),
            r'actuator: no connection to \S+, retrying every ',
            r'actuator: cannot get its properties: ',
            r'actuator: \S+: .*, retrying every \d+ ms$'),
    *during((*NEW_ACTUATOR, *GUEST_LATE),
            r'pressure trigger lost; deciding by sampling alone$',
            r'no (early|hard) pressure trigger available; '),
    *during((*NEW_ACTUATOR, *GUEST_LATE, *LATE, 'kill_monitor', 'step_clock'), r'holding: '),
    *during((*NEW_ACTUATOR, *GUEST_LATE, *LATE),
            WANTED + ERROR + r'(HostUnavailable: |HostRefused: QEMU )',
            WANTED + r'org\.freedesktop\.DBus\.Error\.(NoReply|Disconnected|Timeout): ',
            WANTED + r'System\.Error\.\w+: '),
    *during(('host_pause',), WANTED + ERROR + PAUSED),
    *always('an administrator has set other limits, or plugged, since the monitor looked',
            WANTED + ERROR + r'(LimitExceeded|BelowMinimum): '),
    *always('administrators and the monitor have one rate together', WANTED + ERROR + r'RateLimited: '),
    *always(SHORT, WANTED + ERROR + NO_ROOM),
]

# Of the daemons' units; 9/KILL is counted against the kills that were made (kills()).
SYSTEMD = [
    *ordinary(r'vmtide(-\w+\.service|\.slice): Consumed ', r'Created slice vmtide\.slice'),
    *during(('kill_monitor', 'kill_actuator'), r'vmtide-\w+\.service: Sent signal SIGKILL to main process '),
    *during(('freeze_actuator',), r'vmtide-actuator\.service: Sent signal SIG(STOP|CONT) to main process '),
    *during((*STARTS, 'kill_monitor', 'kill_actuator'),
            r'(Starting|Started|Stopping|Stopped) vmtide-\w+\.service - ',
            r'vmtide-\w+\.service: Scheduled restart job, restart counter is at \d+\.$',
            r"vmtide-\w+\.service: Failed with result 'signal'\.$",
            r'vmtide-\w+\.service: Main process exited, code=killed, status=9/KILL$'),
    *during(RESETS,
            r'vmtide-\w+\.service: Deactivated successfully\.$',
            r'Removed slice vmtide\.slice'),
    *during(('reload_daemons',), r'(Reloading|Reloaded) vmtide-\w+\.service - '),
]

HOST = [
    *ordinary(
        r'serving \d+ VMs, host reserve ',
        r'bus: has name org\.vmtide\.Host1$',
        r'metrics: http://127\.0\.0\.1:\d+/metrics$',
        r'(lost|failed) connections: over; \d+ were not said$',
        VM + r'(granted|raised): requested size ',
        VM + r'size \S+, requested \S+$',
        VM + r'guest says hello: ',
        VM + r'limits (set|are the configuration\'s again): ',
        VM + r'weight (set|is the configuration\'s again): ',
        VM + r'told the guest that there is room',
        VM + r'guest asked to shrink to ',
        VM + r'guest declines to shrink to ',
        VM + r'refused (limit|rate): ',
        QMP + r'connected, process \d+'),
    *during(('host_pause',), VM + r'paused for \d+ s:', VM + r'resumed$', VM + r'refused (paused|busy): '),
    *during(('pause_qemu', *RESETS), VM + r'QEMU does not run the guest', VM + r'QEMU runs the guest again'),
    *during(RESETS, VM + r'reset: QEMU unplugs all and keeps requested size ', VM + r'guest is silent for '),
    *during((*CUTS, 'bad_lines', 'kill_actuator'),
            CHANNEL + r'(closed|Connection reset by peer|Broken pipe); connecting again',
            CHANNEL + r'cannot connect to ',
            CHANNEL + r'a line that is no message; dropped'),
    *during((*CUTS, *GUEST_LATE), CHANNEL + r'nothing is heard on it; connecting again'),
    *during(('bad_lines',), CHANNEL + r'an op that .*; dropped'),
    *during((*NO_QMP, 'boot'),
            QMP + r'(it closed the connection|no answer to \S+ in \d+ ms|no greeting in \d+ ms.*|Connection reset by peer'
            r'|Broken pipe); connecting again',
            QMP + r'cannot connect to '),
    *during(('stall_qmp',), QMP + r'an answer to no command of ours; ignored'),
    *during((*NO_QMP, *RESETS), VM + r'refused device: QEMU (does not answer|did not take)'),
    *always('the host runs as nobody, who may not lock memory', r'memory is not locked: Cannot allocate memory; '),
    *always('a guest under load is slow to plug and unplug, and its kernel clings to some',
            VM + r'size \S+, requested \S+: no progress for \d+ ms, set again',
            VM + r'shrink to \S+ stuck at \S+ for \d+ ms: ended, requested '),
    *always(SHORT, VM + r'refused host-memory: '),
]

TABLES = {'vmtide-actuator': ACTUATOR, 'vmtide-monitor': MONITOR, 'systemd': SYSTEMD, 'vmtide-host': HOST}
JOURNAL = re.compile(r'\[\s*[\d.]+\] (?P<ident>[\w-]+)\[(?P<pid>\d+)\]: (?P<text>.*)')
KILLED = re.compile(r'vmtide-(?P<unit>\w+)\.service: Main process exited, code=killed, status=9/KILL$')
KERNEL = ('oom-kill:', 'Out of memory', 'out of memory', 'blocked for more', 'BUG:', 'Oops', 'WARNING:', 'segfault', 'traps:',
          'general protection', 'kernel panic', 'stack segment')
# A victim in a slice that the soak has bounded.
KERNEL_EXPECTED = (r'oom-kill:constraint=CONSTRAINT_MEMCG,.*,oom_memcg=/vmtest\.slice/[^,]*,',
                   r'Memory cgroup out of memory: Killed process \d+ \(vmhog\)',
                   # Once a boot: the kernel has no memory for the memmap of a block (-12); virtio-mem tries it again.
                   r'WARNING: CPU: \d+ PID: \d+ at arch/x86/mm/init_64\.c:\d+ add_pages\+')

Verdict = namedtuple('Verdict', 'good reason')
ORDINARY = Verdict(True, '')


def judge(ident, text, kinds):
    """A line of IDENT, said while faults of KINDS were on (or lately so)."""
    verdict = Verdict(False, 'nothing explains it')
    for rule in TABLES[ident]:
        if not re.match(rule.pattern, text):
            continue
        if rule.kinds is AT_ANY_TIME:
            return Verdict(True, rule.reason)
        if rule.kinds == () or set(rule.kinds) & set(kinds):
            return ORDINARY
        verdict = Verdict(False, f'only {", ".join(rule.kinds)} explains it')
    return verdict


def of_journal(line):
    """(ident, pid, text) of a line that is one of the daemons', or systemd's about them; else None."""
    match = JOURNAL.match(line)
    if not match or match['ident'] not in TABLES:
        return None
    if match['ident'] == 'systemd' and 'vmtide' not in match['text']:
        return None
    return match['ident'], int(match['pid']), match['text']


def judge_guest(lines, windows, name):
    """Of stamped LINES of a guest's journal: [differences], {what is explained at any time: count}"""
    rows = [(when, *parts) for when, line in lines if (parts := of_journal(line))]
    return _judge([(when, name, ident, text) for when, ident, _, text in rows], windows)


def judge_host(lines, windows, names):
    rows = []
    for when, line in lines:
        text = line.removeprefix('vmtide-host: ')
        vm = text.partition(':')[0]
        rows.append((when, vm if vm in names else None, 'vmtide-host', text))
    return _judge(rows, windows)


def _judge(rows, windows):
    bad, apart = [], {}
    for when, name, ident, text in rows:
        verdict = judge(ident, text, windows.kinds(name, when))
        if not verdict.good:
            on = ', '.join(sorted(windows.kinds(name, when))) or 'nothing'
            bad.append(f'log: {ident}: {text} ({verdict.reason}; on: {on})')
        elif verdict.reason:
            apart[verdict.reason] = apart.get(verdict.reason, 0) + 1
    return bad, apart


def kills(lines):
    """How often systemd has seen each unit's main process killed by 9."""
    found = {}
    for _, line in lines:
        parts = of_journal(line)
        match = parts and parts[0] == 'systemd' and KILLED.match(parts[2])
        if match:
            found[match['unit']] = found.get(match['unit'], 0) + 1
    return found


def kernel(lines, bounded):
    """Lines of the kernel's that are no good; BOUNDED victims of a cgroup's bound are."""
    bad, victims = [], 0
    for line in lines:
        if not any(word in line for word in KERNEL):
            continue
        if any(re.search(pattern, line) for pattern in KERNEL_EXPECTED):
            victims += 'Killed process' in line
        else:
            bad.append(f'kernel: {line}')
    if victims != bounded:
        bad.append(f'kernel: {victims} victims in bounded cgroups, {bounded} were meant')
    return bad
