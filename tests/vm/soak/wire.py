# SPDX-License-Identifier: MIT
"""What goes over one guest's channel, counted where both sides meet: at the relay."""

import json

from tests.vm.faults.relay import TO_HOST


class Wire:
    """Each resize has to be answered once, or its connection has to end."""

    def __init__(self, relay):
        self._relay = relay
        self._open = {}        # id of a request: the number of its connection
        self._connection = 0
        self.asked = self.granted = self.refused = self.cut_off = 0
        self.strays = []       # answers to what nobody has asked
        self.life = {'granted': 0, 'refused': 0}  # of the host's daemon that runs now
        relay.seen = self.see

    def see(self, direction, line):
        """Called by the relay, under its lock, as a line comes in."""
        if self._relay.connections != self._connection:
            self._connection = self._relay.connections
            self.cut_off += len(self._open)
            self._open.clear()
        try:
            message = json.loads(line)
            op, number = message['op'], message.get('id')
        except (ValueError, KeyError, TypeError):
            return
        if direction == TO_HOST and op == 'resize':
            self.asked += 1
            if number in self._open:
                self.strays.append(f'asked twice on one connection: {line!r}')
            self._open[number] = True
        elif direction != TO_HOST and op in ('granted', 'refused'):
            if self._open.pop(number, None) is None:
                self.strays.append(f'nobody asked: {line!r}')
            elif op == 'granted':
                self.granted += 1
            else:
                self.refused += 1
            self.life[op] += 1

    def new_life(self):
        """The host's daemon has been started anew."""
        self.life = {'granted': 0, 'refused': 0}

    def waiting(self):
        return len(self._open)

    def differences(self):
        rest = self.asked - self.granted - self.refused - self.cut_off - len(self._open)
        return [*self.strays, *([f'{rest} requests are unaccounted for'] if rest else []),
                *([f'{len(self._open)} requests wait for ever'] if self._open else [])]

    def row(self):
        return (f'{self.asked} requests = {self.granted} granted + {self.refused} refused + '
                f'{self.cut_off} whose connection ended')
