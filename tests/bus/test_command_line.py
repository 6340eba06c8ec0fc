# SPDX-License-Identifier: MIT
"""What the three daemons have in common: the command line, exit codes, a configuration that is looked at or read again."""

import os
import signal
import socket
import subprocess

import pytest

from .conftest import BUILD

DAEMONS = {'monitor': '[Monitor]\n', 'actuator': '[Actuator]\n', 'host': '[Host]\n[VM a]\nChannel=/a\nQMP=/b\nDevice=vm0\n'}


def run(name, *options):
    return subprocess.run([BUILD / name / f'vmtide-{name}', *options], capture_output=True, text=True, timeout=10,
                          stdin=subprocess.DEVNULL, check=False)


@pytest.mark.parametrize('name', DAEMONS)
@pytest.mark.parametrize('option, says', (
    ('--nonsense', '--nonsense'), ('stray', 'argument stray is not wanted'), ('--log-level=loud', '--log-level=loud: not one of')))
def test_wrong_command_line(tmp_path, name, option, says):
    # It is wrong whatever the configuration is.
    (tmp_path / 'bad').write_text('[Nonsense]\n', encoding='ascii')
    result = run(name, option, f'--config={tmp_path}/bad')
    assert result.returncode == 64 and says in result.stderr and result.stderr.count('\n') == 1


@pytest.mark.parametrize('name', DAEMONS)
def test_check_config(tmp_path, name):
    conf = tmp_path / 'c'
    conf.write_text(DAEMONS[name], encoding='ascii')
    result = run(name, '--check-config', f'--config={conf}')
    assert (result.returncode, result.stdout, result.stderr) == (0, '', '')
    conf.write_text(DAEMONS[name] + 'Speed=9\n', encoding='ascii')
    result = run(name, '--check-config', f'--config={conf}')
    assert result.returncode == 78 and 'Speed=9: the key is not known' in result.stderr
    assert run(name, '--check-config', f'--config={tmp_path}/none').returncode == 78


def test_a_refused_reload_is_the_units_status(machine, monkeypatch):
    told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    told.bind(str(machine.folder / 'notify'))
    told.settimeout(10)
    monkeypatch.setenv('NOTIFY_SOCKET', str(machine.folder / 'notify'))
    conf = machine.folder / 'actuator.conf'
    conf.write_text('[Actuator]\n', encoding='ascii')
    machine.start_actuator(f'--config={conf}')

    def heard(word):
        while True:
            text = told.recv(4096).decode()
            if word in text:
                return text
    assert 'STATUS' not in heard('READY=1')
    for text, status in (('[Actuator]\nSpeed=9\n', f'STATUS=Configuration refused, the one before is in force: {conf}:2: '
                          '[Actuator] Speed=9: the key is not known'), ('[Actuator]\n', 'STATUS=')):
        conf.write_text(text, encoding='ascii')
        os.kill(machine.processes['actuator'].pid, signal.SIGHUP)
        assert heard('RELOADING=1') and heard('READY=1').split('\n')[1] == status
    told.close()
    assert machine.log('actuator').count('the configuration in force stays') == 1
