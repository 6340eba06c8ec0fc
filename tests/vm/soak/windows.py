# SPDX-License-Identifier: MIT
"""When something was broken on purpose, by guest: all that is excused is excused by one of these, and by its kind."""

import threading
import time
from collections import Counter, namedtuple

# How long a fault may show after its end: reconnecting, a unit that is started again.
AFTERMATH = 12
NEVER = float('inf')

Window = namedtuple('Window', 'name kind begun ended')


class Windows:
    def __init__(self, clock=time.monotonic):
        self._lock = threading.Lock()
        self._clock = clock
        self._windows = []
        self.count = Counter()

    def begin(self, names, kind):
        """Opens one for each of NAMES; returns what end() takes."""
        with self._lock:
            self.count[kind] += 1
            new = [Window(name, kind, self._clock(), NEVER) for name in names]
            self._windows += new
            return new

    def end(self, opened):
        with self._lock:
            for one in opened:
                self._windows[self._windows.index(one)] = one._replace(ended=self._clock())

    def kinds(self, name, since, until=None):
        """Of which kinds one of NAME (None: of anybody's) was open, or over for less than AFTERMATH, from SINCE to
        UNTIL."""
        until = since if until is None else until
        with self._lock:
            return {w.kind for w in self._windows
                    if name in (None, w.name) and w.begun <= until and w.ended + AFTERMATH >= since}

    def any(self, name, since, until, kinds):
        return bool(self.kinds(name, since, until) & set(kinds))

    def times(self, name, kind):
        with self._lock:
            return sum(w.name == name and w.kind == kind for w in self._windows)
