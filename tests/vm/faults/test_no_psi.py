# SPDX-License-Identifier: MIT
"""A kernel that tells no memory pressure."""

import json

from tests.matrix import fault

from .recipes import ends_well, small, surge

GUEST = {'append': 'psi=0'}


@fault('PSI is switched off (psi=0)',
       'the monitor says so and decides by sampling: a burst gets its memory; doctor says how to mend it')
def test_no_psi(stage):
    guest, kills = stage.guest, stage.guest.oom_kills()
    assert guest.run('cat /proc/pressure/memory').status != 0
    said = guest.check('journalctl --sync; journalctl -b -u vmtide-monitor -o cat')
    assert 'deciding without pressure' in said
    assert 'no early pressure trigger available; deciding by sampling alone' in said
    small(stage)
    ends_well(stage, surge(stage), kills)
    result = guest.run('vmtidectl doctor --json', 30)
    assert result.status != 0
    checks = {check['name']: check for check in json.loads(result.stdout)}
    assert checks['pressure']['verdict'] == 'fault' and 'psi=1' in checks['pressure']['remedy'], checks['pressure']
    wrong = [name for name, check in checks.items() if check['verdict'] == 'fault']
    assert wrong == ['pressure']
    stage.goes_on()
