# SPDX-License-Identifier: MIT
"""scripts/bench footprint --pairs: what vmtide costs in time and CPU, by interleaved runs of a short workload. A guest
of fixed size works twice in each round: `fixed` with all of its memory touched before, so that the host has nothing to
do for it, and `cold`, whose free memory the host took back. What vmtide costs beyond `cold` is its own doing; between
`cold` and `fixed` lies what any guest pays that had given memory back."""

from . import footprint_arms, footprint_run, lab, workload

ARMS = ('fixed', 'cold', 'vmtide')
HEAD = f'{"round":>5} {"arm":8} {"work s":>8} {"guest CPU":>9} {"PSI some":>9} {"kills":>6} {"resizes":>8}'
# What a guest of fixed size has free when nothing runs, with something left for the balloon's own needs.
SPARED = footprint_arms.BOOT


def _prepare(arm, guest):
    if arm == 'vmtide':
        lab.drain(guest)
        return
    guest.check('sync; echo 3 >/proc/sys/vm/drop_caches', timeout=120)
    if arm == 'fixed':
        guest.check(f'vmhog --bytes {footprint_arms.MAXIMUM - SPARED} --hold 0', timeout=120)
        return
    for size in SPARED, footprint_arms.MAXIMUM:
        guest.qmp('balloon', value=size)
        lab.wait_balloon(guest, size)


def _round(number, guests, plan):
    """Who works first changes with each round."""
    shift = number % len(ARMS)
    runs = {}
    for arm in ARMS[shift:] + ARMS[:shift]:
        guest, who = guests[arm]
        _prepare(arm, guest)
        run = runs[arm] = footprint_run.run(guest, who, plan)
        print(f'{number or "warm":>5} {arm:8} {run.seconds:8.2f} {run.cpu:9.2f} {run.psi_some:9.2f} {run.kills:6} '
              f'{run.resizes:8}', flush=True)
    return runs


def _compare(rounds, other):
    print(f'vmtide over {other}, median:')
    for name, text in (('seconds', 'workload time'), ('cpu', 'guest CPU time, with the rest after the work')):
        values = [getattr(runs['vmtide'], name) / getattr(runs[other], name) for runs in rounds]
        print(f'  {text}: {lab.interval(values)}')
    for index, phase in enumerate(rounds[0]['vmtide'].phases):
        values = [runs['vmtide'].phases[index][3] / runs[other].phases[index][3] for runs in rounds
                  if runs[other].phases[index][3] > 0]
        if values:
            print(f'    {phase[0]}: {lab.interval(values)}')


def run(kernel, destdir, pairs, plan):
    """The guests live all the time, and one of them works while the other rests."""
    with footprint_arms.started('fixed', kernel, destdir, balloon=True) as fixed, \
            footprint_arms.started('vmtide', kernel, destdir) as ours:
        guests = {'fixed': fixed, 'cold': fixed, 'vmtide': ours}
        for guest, _who in (fixed, ours):
            workload.install(guest)
        print(HEAD)
        rounds = [_round(number, guests, plan) for number in range(pairs + 1)][1:]  # the first one warms up
    for other in 'fixed', 'cold':
        _compare(rounds, other)
    print('asked: at most 1.05 of time and 1.02 of CPU of the fixed guest')
