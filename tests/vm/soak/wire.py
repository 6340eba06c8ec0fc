# SPDX-License-Identifier: MIT
"""What goes over one guest's channel, counted where both sides meet: at the relay."""

import json
import time
from collections import Counter, namedtuple

from tests.vm.faults.relay import TO_HOST

from .explain import UNHEARD

# The actuator waits 5 s for an answer. One that has none after this, with nothing broken, was swallowed.
STALE = 10

Asked = namedtuple('Asked', 'when id reason')
Answer = namedtuple('Answer', 'when op code reason text')


class Wire:
    """Each resize is answered once, or its connection ends, or its asker begins anew (hello), which the host takes for
    the same."""

    def __init__(self, relay, clock=time.monotonic):
        self._relay, self._clock = relay, clock
        self._open = {}        # id of a request: Asked
        self._forgotten = {}   # the same, of before the last hello: an answer may have been on its way
        self._connection = 0
        self.asked = 0
        self.answers = []
        self.cuts = []         # (Asked, when)
        self.strays = []       # answers to what nobody has asked
        self.life = Counter()  # of the host's daemon that runs now: granted, refused, cut
        # What was said already, and from now on each line.
        for direction, line in list(relay.lines):
            self.see(direction, line)
        relay.seen = self.see

    def see(self, direction, line):
        """Called by the relay, under its lock, as a line comes in."""
        if self._relay.connections != self._connection:
            self._connection = self._relay.connections
            self._cut()
            self._forgotten = {}
        try:
            message = json.loads(line)
            op, number = message['op'], message.get('id')
        except (ValueError, KeyError, TypeError):
            return
        if direction == TO_HOST and op == 'hello':
            self._forgotten = self._cut()
        elif direction == TO_HOST and op == 'resize':
            self._ask(number, message, line)
        elif direction != TO_HOST and op in ('granted', 'refused'):
            self._answer(number, message, line)

    def _cut(self):
        gone, self._open = self._open, {}
        self.cuts += [(asked, self._clock()) for asked in gone.values()]
        self.life['cut'] += len(gone)
        return gone

    def _ask(self, number, message, line):
        self.asked += 1
        if number in self._open:
            self.strays.append(f'asked twice on one connection: {line!r}')
        self._open[number] = Asked(self._clock(), number, message.get('reason', ''))

    def _answer(self, number, message, line):
        asked = self._open.pop(number, None)
        if asked is None and number in self._forgotten:
            asked = self._forgotten.pop(number)
            self.cuts = [(one, when) for one, when in self.cuts if one is not asked]
            self.life['cut'] -= 1
        if asked is None:
            self.strays.append(f'nobody asked: {line!r}')
            return
        self.life[message['op']] += 1
        code, text = message.get('code', ''), message.get('text', '')
        self.answers.append(Answer(self._clock(), message['op'], code, asked.reason, text))

    def new_life(self):
        """The host's daemon has been started anew: what was on its way to the one before has ended with it."""
        self._cut()
        self.life = Counter()

    def host_differs(self, told):
        """Whether the host's counts are not these. It may have answered what never came through before its connection
        ended, and nothing else."""
        more = {op: told[op] - self.life[op] for op in ('granted', 'refused')}
        return min(more.values()) < 0 or sum(more.values()) > self.life['cut']

    def count(self, op):
        return sum(answer.op == op for answer in self.answers)

    def waiting(self):
        return list(self._open.values())

    def swallowed(self, windows, name):
        """Requests that got no answer for long, and nothing was broken that explains it."""
        now = self._clock()
        waited = [*self.cuts, *((asked, now) for asked in self.waiting())]
        return [f'no answer to request {asked.id} ({asked.reason}) in {until - asked.when:.0f} s' for asked, until in waited
                if until - asked.when > STALE and not windows.any(name, asked.when, asked.when + STALE, UNHEARD)]

    def differences(self, windows, name):
        rest = self.asked - len(self.answers) - len(self.cuts) - len(self._open)
        return [*self.strays, *self.swallowed(windows, name), *([f'{rest} requests are unaccounted for'] if rest else [])]

    def row(self):
        return (f'{self.asked} requests = {self.count("granted")} granted + {self.count("refused")} refused + '
                f'{len(self.cuts)} whose connection ended' + (f' + {len(self._open)} that wait' if self._open else ''))
