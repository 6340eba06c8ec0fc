# SPDX-License-Identifier: MIT
"""How fast a guest touches memory on this machine, and how long a test should wait for what depends on it.

The bounds in the tests were chosen on a machine on which a guest touches memory at REFERENCE. On a slower one they
grow in proportion; on a faster one they stay, since a bound is no measurement and a busy machine needs some slack.
"""

import json

from .paths import RigError, say

MIB = 1024 * 1024
REFERENCE = 150 * MIB  # bytes a second: one thread, memory that the guest never touched before
AMOUNT = 64 * MIB  # little enough that the monitor of a guest with 1 GiB has no reason to grow
FACTOR_MAX = 10
MEASURE_SECONDS = 120

_measured = {}  # the session's measurement: bytes a second


def bytes_per_second(events):
    """The speed that vmhog's lines of JSON show."""
    times = {event['event']: event for event in map(json.loads, events.splitlines())}
    took = times['touched']['t_us'] - times['start']['t_us']
    return times['touched']['bytes'] * 1000000 // max(1, took)


def measure(guest):
    """Measures once a session, in the first guest; returns bytes a second. The guest should be fresh and idle."""
    if 'speed' not in _measured:
        _measured['speed'] = bytes_per_second(guest.check(f'vmhog --bytes {AMOUNT}', MEASURE_SECONDS))
        say(f'a guest touches {_measured["speed"] // MIB} MiB/s: bounds x {factor(_measured["speed"]):.1f}')
    return _measured['speed']


def factor(speed):
    """How many times longer a test waits when a guest touches SPEED bytes a second."""
    return min(max(REFERENCE / max(1, speed), 1), FACTOR_MAX)


def patience(seconds):
    """The bound for what takes at most SECONDS on a machine of REFERENCE speed."""
    if 'speed' not in _measured:
        raise RigError('the speed of touching memory has not been measured: call measure(guest) first')
    return seconds * factor(_measured['speed'])
