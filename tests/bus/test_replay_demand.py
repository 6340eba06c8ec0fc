# SPDX-License-Identifier: MIT
"""The decision on made-up demand: it does not flap, is not short, and gives back what is over."""

import csv
import math
import random
import subprocess

import pytest

from .conftest import BUILD

REPLAY = BUILD / 'tests/bench/replay/vmtide-replay'
MIB = 1 << 20
BOOT = 1024 * MIB
LOW = 400 * MIB
SETTLE = {'conservative': 30, 'balanced': 4.5, 'eager': 3}
HOUR = 3600

# What can be followed: until memory is there, a round trip (100 ms) and a look (20 ms or more) pass, and the
# headroom (256 MiB or more) has to last as long: 256 MiB / 0.12 s is 2 GiB/s. A first grow is a round trip late
# (the rate is not known before it) and half of the headroom is the kernel's, so a quarter of that is asked for.
SLOPE = 512 * MIB


class Demand:
    """Rows of a recording, written one after the other."""

    def __init__(self):
        self.rows = [(0.0, LOW)]

    @property
    def time(self):
        return self.rows[-1][0]

    def hold(self, seconds):
        self.rows.append((self.time + seconds, self.rows[-1][1]))
        return self

    def to(self, used, slope=SLOPE):
        self.rows.append((self.time + max(abs(used - self.rows[-1][1]) / slope, 0.01), int(used)))
        return self

    def text(self):
        return 'time_s,used_bytes,cached_bytes\n' + ''.join(f'{time:.3f},{used},0\n' for time, used in self.rows)


def replay(tmp_path, demand, profile='balanced', latency='100ms'):
    trace, out = tmp_path / 'trace.csv', tmp_path / 'out.csv'
    trace.write_text(demand.text(), encoding='ascii')
    result = subprocess.run([REPLAY, '--boot=1G', '--max=8G', f'--profile={profile}', f'--plug-latency={latency}',
                             f'--csv={out}', trace], capture_output=True, text=True, timeout=60, check=True)
    values = {name: float(value) for name, value in (line.split(': ') for line in result.stdout.splitlines())}
    with open(out, encoding='ascii') as rows:
        values['rows'] = [{name: float(cell) for name, cell in row.items()} for row in csv.DictReader(rows)]
    return values


def pairs(rows):
    """How often what was given back was asked for again."""
    number, down = 0, False
    for before, after in zip(rows, rows[1:]):
        if after['requested_bytes'] > before['requested_bytes']:
            number, down = number + down, False
        elif after['requested_bytes'] < before['requested_bytes']:
            down = True
    return number


def square(profile, high, phase, slope):
    half = SETTLE[profile]
    edge = min((high - LOW) / slope, half * 0.9)
    demand = Demand().hold(half * (1 - phase))
    while demand.time < HOUR:
        demand.to(high, (high - LOW) / edge).hold(half - edge).to(LOW, (high - LOW) / edge).hold(half - edge)
    return demand


@pytest.mark.parametrize('profile', SETTLE)
@pytest.mark.parametrize('latency, slope', [('100ms', SLOPE), ('1s', SLOPE / 4)])
@pytest.mark.parametrize('high', [1200, 2048, 4096, 6000])
def test_a_square_wave_does_not_flap(tmp_path, profile, latency, slope, high):
    """A period of twice the settle time: at most one pair per doubling of the settle time that an hour has."""
    for phase in (0, 0.3, 0.7):
        values = replay(tmp_path, square(profile, high * MIB, phase, slope), profile, latency)
        assert values['grows'] > 0
        assert pairs(values['rows']) <= math.floor(math.log2(HOUR / SETTLE[profile])), f'phase {phase}'


def bursts(seed):
    dice, demand = random.Random(seed), Demand().hold(20)
    for _ in range(20):
        demand.to(dice.randint(LOW, 6000 * MIB)).hold(dice.uniform(1, 40)).to(LOW).hold(dice.uniform(1, 60))
    return demand


def sawtooth():
    demand = Demand().hold(20)
    for _ in range(20):
        demand.to(4096 * MIB, 256 * MIB).to(LOW, 4096 * MIB).hold(40)
    return demand


def ramps():
    demand = Demand().hold(20)
    for slope in (32, 64, 128, 256, 512):
        demand.to(5000 * MIB, slope * MIB).hold(5).to(LOW, slope * MIB).hold(60)
    return demand


def leak():
    return Demand().hold(20).to(6000 * MIB, 2 * MIB).to(LOW)


def staircase():
    demand = Demand().hold(20)
    for step in (*range(1, 11), *range(9, -1, -1)):
        demand.to(LOW + step * 512 * MIB).hold(30)
    return demand


# Cycles, and how many resizes one of them may cost: a step is half of what is over on the way down and two memory
# blocks at least on the way up. A leak of 5600 MiB is 22 grows, small steps between them, and a few steps.
SHAPES = {
    **{f'bursts {seed}': (bursts(seed), 20, 24) for seed in range(1, 7)},
    'sawtooth': (sawtooth(), 20, 20),
    'ramps': (ramps(), 5, 32),
    'leak': (leak(), 1, 75),
    'staircase': (staircase(), 20, 4),
}


@pytest.mark.parametrize('profile', SETTLE)
@pytest.mark.parametrize('name', SHAPES)
def test_demand_is_met_and_given_back(tmp_path, name, profile):
    demand, cycles, resizes = SHAPES[name]
    end = demand.time
    # The settle time is four times as long at most, and a step takes a second and a half. What is no step worth
    # its trouble (headroom and 640 MiB, above what is kept ready, headroom and 544 MiB) stays until a small step is due.
    quiet = 4 * SETTLE[profile] + 16 * 1.5
    longer = Demand()
    longer.rows = [*demand.rows]
    longer.hold(quiet + 4 * 4 * 16 * SETTLE[profile] + 10)
    values = replay(tmp_path, longer, profile)
    assert values['shortfall_s'] == 0
    assert values['resizes'] <= cycles * resizes
    held = [row['held_bytes'] for row in values['rows'] if row['time_s'] >= end + quiet]
    assert held and held[0] <= BOOT + 1400 * MIB
    assert held[-1] <= BOOT + 256 * MIB


def waves(rate):
    """From little to much as fast as a recording of containers has it, with time to give back in between."""
    demand = Demand().hold(20)
    for high in (2000, 3400, 5000, 7000, 3400):
        demand.to(high * MIB, rate).hold(20).to(LOW, rate).hold(90)
    return demand


@pytest.mark.parametrize('latency, longest', [('100ms', 2), ('1s', 5)])
@pytest.mark.parametrize('rate', [1024, 2048, 3072])
def test_demand_that_outruns_the_host_waits(tmp_path, rate, latency, longest):
    """Demand that is faster than memory can be there waits at the guard's line: nothing is short."""
    values = replay(tmp_path, waves(rate * MIB), latency=latency)
    assert values['shortfall_s'] == 0
    assert 0 < values['held_max_s'] <= longest and values['held_max_s'] <= values['held_s']
    assert any(row['waiting_bytes'] > 0 for row in values['rows']) or values['held_max_s'] < 1
    assert values['rows'][-1]['waiting_bytes'] == 0


@pytest.mark.parametrize('latency', ['100ms', '1s'])
@pytest.mark.parametrize('used', [1200, 4000, 8000])
def test_a_recording_above_boot_memory_begins_plugged(tmp_path, used, latency):
    demand = Demand()
    demand.rows = [(0.0, used * MIB)]
    values = replay(tmp_path, demand.hold(600), latency=latency)
    assert values['shortfall_s'] == 0 and values['held_s'] == 0
    assert used * MIB < values['rows'][0]['held_bytes'] <= (used + 1536) * MIB
    assert values['rows'][0]['held_bytes'] == values['rows'][0]['requested_bytes']


def test_demand_above_max_is_short(tmp_path):
    values = replay(tmp_path, Demand().hold(20).to(10000 * MIB).hold(60).to(LOW).hold(60))
    assert values['shortfall_s'] >= 60
    assert values['held_max_s'] < 5
    assert values['rows'][-1]['held_bytes'] < BOOT + 2048 * MIB


@pytest.mark.parametrize('policy', ['fixed', 'proxmox', 'neon'])
def test_rules_of_others_have_no_guard(tmp_path, policy):
    trace = tmp_path / 'trace.csv'
    trace.write_text(waves(2048 * MIB).text(), encoding='ascii')
    result = subprocess.run([REPLAY, '--boot=1G', '--max=8G', f'--policy={policy}', trace], capture_output=True,
                            text=True, timeout=60, check=True)
    values = dict(line.split(': ') for line in result.stdout.splitlines())
    assert values['held_s'] == '0.00'
    assert (values['shortfall_s'] == '0.00') == (policy == 'fixed')
