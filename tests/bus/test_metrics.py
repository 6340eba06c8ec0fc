# SPDX-License-Identifier: MIT
"""The host daemon's metrics: what promtool and a real Prometheus make of them, and what a bad client costs."""

import http.client
import json
import re
import socket
import subprocess
import time
import urllib.error
import urllib.request

import pytest

from .conftest import REPO
from .host_peers import HostRig
from .peers import GIB, MIB, wait_until


def free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


class MetricsRig(HostRig):
    def __init__(self):
        super().__init__()
        self.port = free_port()
        self.prometheus = None

    def up(self, host=''):
        qemu, guest = self.add()
        self.write_config(host, f'[Metrics]\nListen=127.0.0.1:{self.port}\n')
        self.start(self.vm_option('guest', max='4G'))
        guest.meet()
        return qemu, guest

    def get(self, path='/metrics', method='GET'):
        connection = http.client.HTTPConnection('127.0.0.1', self.port, timeout=5)
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            return answer.status, answer.getheader('Content-Type'), answer.read().decode()
        finally:
            connection.close()

    def value(self, series):
        try:
            text = self.get()[2]
        except OSError:
            return None
        for line in text.splitlines():
            if line.startswith(f'{series} '):
                return float(line.rpartition(' ')[2])
        return None

    def close(self):
        if self.prometheus:
            self.prometheus.kill()
            self.prometheus.wait(10)
        super().close()


@pytest.fixture
def rig():
    r = MetricsRig()
    try:
        yield r
        assert r.process.poll() is None, f'it ended by itself: {r.log()[-3000:]}'
        assert r.stop() == 0
    finally:
        r.close()


def test_values_follow_what_happens(rig):
    _, guest = rig.up()
    guest.resize(1, GIB)
    guest.answer(1)
    guest.resize(2, 8 * GIB)
    guest.answer(2)
    guest.say('stats', available=100 * MIB, total=2 * GIB, some10=250, level='rising')
    guest.raw(b'nonsense\n')
    for series, wanted in (('vmtide_vms', 1), ('vmtide_vm_size_bytes{vm="guest"}', GIB), ('vmtide_vm_grants_total{vm="guest"}', 1),
                           ('vmtide_vm_refusals_total{vm="guest",code="limit"}', 1), ('vmtide_grant_duration_seconds_count', 1),
                           ('vmtide_vm_guest_pressure_ratio{vm="guest"}', 0.025), ('vmtide_vm_level{vm="guest",level="rising"}', 1),
                           ('vmtide_vm_bad_lines_total{vm="guest"}', 1), ('vmtide_host_memory_available_bytes', 64 * GIB),
                           ('vmtide_vm_state{vm="guest",state="idle"}', 1)):
        wait_until(lambda s=series, w=wanted: rig.value(s) == w, 5, f'{series} is {wanted}')
    assert 0 < rig.value('vmtide_grant_duration_seconds_sum') < 5


def test_promtool_finds_nothing_wrong(rig):
    rig.up()
    status, kind, text = rig.get()
    assert status == 200 and kind == 'text/plain; version=0.0.4; charset=utf-8'
    checked = subprocess.run(['promtool', 'check', 'metrics'], input=text, capture_output=True, text=True, timeout=30)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, '')
    rules = subprocess.run(['promtool', 'check', 'rules', REPO / 'host/vmtide.rules.yml'], capture_output=True, text=True, timeout=30)
    assert rules.returncode == 0 and '8 rules found' in rules.stdout, rules
    # An alert on a series that does not exist would never come.
    named = set(re.findall(r'\b(vmtide_\w+)', (REPO / 'host/vmtide.rules.yml').read_text(encoding='utf-8')))
    assert named and named <= set(re.findall(r'^# TYPE (\S+)', text, re.M))


def test_a_real_prometheus_scrapes_it(rig):
    _, guest = rig.up()
    guest.resize(1, GIB)
    guest.answer(1)
    port = free_port()
    (rig.folder / 'prometheus.yml').write_text(json.dumps({
        'global': {'scrape_interval': '1s', 'evaluation_interval': '1s'}, 'rule_files': [str(REPO / 'host/vmtide.rules.yml')],
        'scrape_configs': [{'job_name': 'vmtide', 'static_configs': [{'targets': [f'127.0.0.1:{rig.port}']}]}]}), encoding='ascii')
    with open(rig.folder / 'prometheus.log', 'ab') as log:
        rig.prometheus = subprocess.Popen(
            ['prometheus', f'--config.file={rig.folder}/prometheus.yml', f'--storage.tsdb.path={rig.folder}/tsdb',
             f'--web.listen-address=127.0.0.1:{port}'], stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def ask(query):
        try:
            with urllib.request.urlopen(f'http://127.0.0.1:{port}/api/v1/query?query={query}', timeout=5) as answer:
                return [float(r['value'][1]) for r in json.load(answer)['data']['result']]
        except (urllib.error.URLError, ConnectionError):
            return None

    wait_until(lambda: ask('up') == [1], 30, 'Prometheus has scraped it')
    wait_until(lambda: ask('vmtide_vm_size_bytes') == [GIB], 10, 'it knows the size')
    assert ask('histogram_quantile(0.99,rate(vmtide_grant_duration_seconds_bucket[1m]))') is not None
    with urllib.request.urlopen(f'http://127.0.0.1:{port}/api/v1/rules', timeout=5) as answer:
        assert len(json.load(answer)['data']['groups'][0]['rules']) == 8


def test_what_is_not_there_and_what_is_not_done(rig):
    rig.up()
    assert rig.get('/')[0] == 404
    assert rig.get('/metrics/x')[0] == 404
    assert rig.get(method='POST')[0] == 405
    assert rig.get(method='HEAD')[0] == 200


def test_clients_that_hang_hold_up_nobody(rig):
    _, guest = rig.up()
    hanging = []
    try:
        for i in range(40):
            client = socket.create_connection(('127.0.0.1', rig.port), 5)
            client.sendall(b'GET /metrics HTTP/1.1\r\nHost: x\r\n' if i % 2 else b'\0' * 1000)
            hanging.append(client)
        for i in range(10):
            guest.resize(i + 1, (i + 1) * 128 * MIB)
            assert guest.answer(i + 1, 2)['requested_size'] == (i + 1) * 128 * MIB
    finally:
        for client in hanging:
            client.close()
    wait_until(lambda: rig.value('vmtide_vm_grants_total{vm="guest"}') == 10, 30, 'it answers again')


def test_a_scraper_without_pause_is_served_from_what_is_there(rig):
    rig.up()
    wait_until(lambda: rig.value('vmtide_vms') == 1, 5, 'it answers')
    begin, texts, n = time.monotonic(), set(), 0
    while n < 50:
        texts.add(rig.get()[2])
        n += 1
    assert len(texts) <= 2 + (time.monotonic() - begin)


def test_reload_moves_and_ends_it(rig):
    rig.up()
    old, vm = rig.port, rig.vm_option('guest', max='4G')
    assert rig.value('vmtide_vms') == 1 and vm
    rig.port = free_port()
    rig.write_config('', f'[Metrics]\nListen=127.0.0.1:{rig.port}\n')
    rig.reload()
    wait_until(lambda: rig.said(f'http://127.0.0.1:{rig.port}/metrics') == 1, 5, 'it has moved')
    assert rig.value('vmtide_vms') == 1
    with pytest.raises(ConnectionError):
        socket.create_connection(('127.0.0.1', old), 5)
    # A port that is taken: all stays as it was.
    with socket.socket() as taken:
        taken.bind(('127.0.0.1', 0))
        taken.listen(1)
        rig.write_config('', f'[Metrics]\nListen=127.0.0.1:{taken.getsockname()[1]}\n')
        rig.reload()
        wait_until(lambda: rig.said('Address already in use; the configuration in force stays') == 1, 5, 'it is refused')
    assert rig.value('vmtide_vms') == 1
    rig.write_config('')
    rig.reload()
    wait_until(lambda: rig.said('configuration loaded again') == 2, 5, 'it has ended')
    with pytest.raises(ConnectionError):
        socket.create_connection(('127.0.0.1', rig.port), 5)


@pytest.mark.parametrize('address', ('localhost:80', '127.0.0.1', '127.0.0.1:0', '::1:80'))
def test_a_wrong_address_is_refused(rig, address):
    rig.up()
    rig.write_config('', f'[Metrics]\nListen={address}\n')
    rig.reload()
    wait_until(lambda: rig.said(f'Listen={address}: not an address with a port') == 1, 5, 'it is refused')
    assert rig.value('vmtide_vms') == 1
