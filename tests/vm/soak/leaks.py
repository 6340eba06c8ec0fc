# SPDX-License-Identifier: MIT
"""Whether what is read of the daemons' lives grows."""

from collections import namedtuple
from statistics import median

KIB = 1024
# A life that is shorter is not judged.
LIFE_SECONDS = 120
# Pages that are touched for the first time: a second kind of call, the buffers of a longer line.
SLACK = 384 * KIB
# The last stretch has nothing new in it.
STRETCH_SLACK = 256 * KIB

# daemon: of whom, which; idle: what it was in, when it was read while nothing was done, else empty
Reading = namedtuple('Reading', 'when daemon pid rss fds idle')


def lives(readings):
    """{(daemon, pid): its readings}"""
    found = {}
    for one in readings:
        found.setdefault((one.daemon, one.pid), []).append(one)
    return found


def growth(rows):
    """By how much the last third of them is above the first one."""
    third = max(1, len(rows) // 3)
    return median(r.rss for r in rows[-third:]) - median(r.rss for r in rows[:third])


def slope(rows):
    """Bytes a second, whatever single readings say (Theil and Sen)."""
    pairs = [(b.rss - a.rss) / (b.when - a.when) for i, a in enumerate(rows) for b in rows[i + 1:] if b.when > a.when]
    return median(pairs) if pairs else 0


def judge_lives(readings):
    """Lives that grew, or had more descriptors at a later idle moment."""
    for (daemon, pid), rows in lives(readings).items():
        lived = rows[-1].when - rows[0].when
        if lived >= LIFE_SECONDS and growth(rows) > SLACK:
            yield f'{daemon} {pid} grew by {growth(rows) / KIB:.0f} KiB in {lived:.0f} s'
        for state in sorted({r.idle for r in rows} - {''}):
            idle = [r.fds for r in rows if r.idle == state]
            if len(set(idle)) > 1:
                yield f'{daemon} {pid} has had {idle} descriptors when {state}'


def judge_stretch(readings, since, until):
    """Each daemon's life of the last stretch lasts all of it, and does not rise."""
    found = {}
    for (daemon, pid), rows in lives([r for r in readings if since <= r.when <= until]).items():
        found.setdefault(daemon, []).append(pid)
        rise = slope(rows) * (until - since)
        if rise > STRETCH_SLACK:
            yield f'{daemon} {pid} rose by {rise / KIB:.0f} KiB in the last {until - since:.0f} s'
        if len(rows) < 5:
            yield f'{daemon} {pid} was read {len(rows)} times only in the last {until - since:.0f} s'
    for daemon in {r.daemon for r in readings}:
        if len(found.get(daemon, [])) != 1:
            yield f'{daemon}: {len(found.get(daemon, []))} lives in the last stretch'
