# SPDX-License-Identifier: MIT
"""The guest's side of the balance: what its actuators say of requests, held against what went over the wire."""

import re
from collections import Counter, namedtuple

from .explain import UNHEARD

# How long a line of the guest's may take to be seen, beside the answer that it tells of; a guest may be stopped for 2 s.
LAG = 15
# What the actuator waits for an answer.
TIMEOUT = 5
SAID = re.compile(r'(?:plug|unplug) \S+ \((?P<reason>.*?)\)(?:: (?P<granted>granted), requested size | refused: '
                  r'org\.vmtide\.Error\.(?P<name>\w+): (?P<text>.*))')
MORE = re.compile(r' \(and \d+ times more since it was last said\)$')
# Without these a request that is on the wire does not end in the guest; they may be said of one that waited unsent, too.
UNANSWERED = re.compile(r'the host did not answer in \d+ ms|the host has gone; |the host cannot be reached: ')
# Said once a minute, and counted by nobody.
SELDOM_SAID = ('rate', 'busy')

Entry = namedtuple('Entry', 'when pid op reason text')


def entry(when, pid, text):
    """What a line of an actuator says of a request: granted, refused, or unanswered; None when it is of something else."""
    match = SAID.match(text)
    if not match:
        return None
    if match['granted']:
        return Entry(when, pid, 'granted', match['reason'], '')
    if match['name'] == 'HostUnavailable':
        one = Entry(when, pid, 'unanswered', match['reason'], match['text'])
        return one if UNANSWERED.match(one.text) else None
    return Entry(when, pid, 'refused', match['reason'], MORE.sub('', match['text']))


class Books:
    """ENTRIES of one guest against ANSWERS that went to it and CUTS, requests whose connection ended; ENDED actuators
    were ended, each with one request on its way at most."""

    def __init__(self, entries, answers, cuts, ended):
        self.entries, self.cuts, self.ended = entries, cuts, ended
        self.count = Counter()
        self.unheard = list(answers)
        self.made_up = []
        for one in entries:
            self._take(one)

    def _take(self, one):
        if one.op == 'unanswered':
            self.count['unanswered'] += 1
            return
        # The latest: one before it with the same reason may not have been heard.
        match = max((a for a in self.unheard if (a.op, a.reason) == (one.op, one.reason) and
                     a.text.strip() in ('', one.text.strip()) and one.when - LAG <= a.when <= one.when + 1),
                    key=lambda a: a.when, default=None)
        if match:
            self.unheard.remove(match)
            self.count[one.op] += 1
        elif one.op == 'granted':
            self.made_up.append(one)
        else:
            self.count['own'] += 1

    def differences(self, windows, name):
        found = [f'the actuator says granted ({one.reason}), the wire does not' for one in self.made_up]
        lost = [a for a in self.unheard if a.code not in SELDOM_SAID]
        found += [f'{a.op} ({a.reason}) went to the guest, whose actuator does not say so' for a in lost
                  if not windows.any(name, a.when - TIMEOUT, a.when + 1, UNHEARD)]
        found += [f'the actuator: ({one.reason}) refused: {one.text}, and nothing was broken' for one in self.entries
                  if one.op == 'unanswered' and not windows.any(name, one.when - TIMEOUT - 1, one.when, UNHEARD)]
        open_ends, told = len(lost) + len(self.cuts), self.count['unanswered'] + self.ended
        if open_ends > told:
            found.append(f'{open_ends} requests got no answer that was heard, the guest knows of {told} at most')
        return found

    def row(self):
        c = self.count
        return (f'the guest says {c["granted"]} granted, {c["refused"]} refused, {c["unanswered"]} not answered, '
                f'{c["own"]} refused by itself; {len(self.unheard)} answers it did not hear or say')
