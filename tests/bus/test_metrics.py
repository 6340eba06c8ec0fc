# SPDX-License-Identifier: MIT
"""The host daemon's metrics: what promtool and a real Prometheus make of them, and what a bad client costs."""

import http.client
import json
import os
import re
import resource
import select
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.matrix import malice

from .conftest import BUILD, REPO
from .host_peers import HostRig
from .peers import GIB, MIB, cpu_seconds, patience, wait_until
from .test_malice_user import SANITIZED, memory


def free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


ASK = b'GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n'
PLACES = 16
# So many that a text does not fit into a socket's buffers. Nobody is behind them.
LONG_NAMES = [f'{i:03}-{"x" * 55}' for i in range(300)]
SCRAPE = '''
import socket, sys
print("", flush=True)
while True:
    with socket.create_connection(("127.0.0.1", int(sys.argv[1])), 10) as client:
        client.sendall(b"GET /metrics HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
        while client.recv(1 << 20, socket.MSG_TRUNC):
            pass
'''


class MetricsRig(HostRig):
    def __init__(self):
        super().__init__()
        self.port = free_port()
        self.prometheus = None
        self.clients = []

    def up(self, host='', others=()):
        qemu, guest = self.add()
        self.write_config(host, f'[Metrics]\nListen=127.0.0.1:{self.port}\n' + ''.join(
            f'[VM {name}]\nChannel={self.folder}/{name[:3]}.c\nQMP={self.folder}/{name[:3]}.q\nDevice=vm0\n' for name in others))
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

    def client(self, data=b'', buffer=None):
        """One that stays: it sends that, and no more by itself."""
        client = socket.socket()
        self.clients.append(client)
        if buffer:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        client.settimeout(5)
        client.connect(('127.0.0.1', self.port))
        client.sendall(data)
        return client

    def fds(self):
        return len(os.listdir(f'/proc/{self.process.pid}/fd'))

    def cpu(self):
        """Seconds of CPU that the daemon has used."""
        fields = Path(f'/proc/{self.process.pid}/stat').read_text(encoding='ascii').rpartition(')')[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')

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
        for client in self.clients:
            client.close()
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


def gone(client):
    """Whether the daemon has hung up; what it said before is thrown away."""
    try:
        while select.select([client], [], [], 0)[0]:
            if not client.recv(1 << 20):
                return True
    except ConnectionError:
        return True
    return False


def test_values_follow_what_happens(rig):
    _, guest = rig.up()
    # 0 would be a number like others.
    for series in 'vmtide_vm_guest_available_bytes{vm="guest"}', 'vmtide_vm_held_bytes{vm="guest"}':
        assert rig.value(series) is None
    assert rig.value('vmtide_vm_size_bytes{vm="guest"}') == rig.value('vmtide_host_overcommit') == 0
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


def test_overcommit_is_told(rig):
    rig.up('OverCommit=yes')
    assert rig.value('vmtide_host_overcommit') == 1


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


def test_one_request_for_a_connection_and_no_body(rig):
    rig.up()
    wait_until(lambda: rig.value('vmtide_vms') == 1, 5, 'it answers')
    client = rig.client(ASK)
    with client.makefile('rb') as stream:
        head, _, text = stream.read().partition(b'\r\n\r\n')
    assert b'\r\nConnection: close' in head and b'\nvmtide_vms 1\n' in text
    for header in b'Content-Length: 1000000', b'Transfer-Encoding: chunked':
        with rig.client(ASK[:-2] + header + b'\r\n\r\n').makefile('rb') as stream:
            assert stream.readline().startswith(b'HTTP/1.1 400 ')


def test_a_head_without_end_is_refused(rig):
    rig.up()
    client = rig.client()
    try:
        for i in range(1000):
            client.sendall(b'X-%d: %s\r\n' % (i, b'x' * 1000) if i else ASK[:-2])
    except ConnectionError:
        pass
    wait_until(lambda: gone(client), 5, 'it is refused')
    assert rig.value('vmtide_vms') == 1


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


def test_a_client_that_drips_shuts_out_nobody(rig):
    rig.up()
    before = rig.fds()
    begin = time.monotonic()
    dripping = [rig.client(b'GET /metrics HTTP/1.1\r\nX: ') for _ in range(PLACES)]
    wait_until(lambda: rig.fds() == before + PLACES, 5, 'all places are taken')
    # Whoever comes now gets in at once, and costs the oldest its place.
    assert rig.value('vmtide_vms') == 1
    assert gone(dripping[0]) and not gone(dripping[-1])

    def drip():
        for client in dripping:
            try:
                client.sendall(b'x')
            except ConnectionError:
                pass
        return all(gone(client) for client in dripping)

    wait_until(drip, 30, 'they are cut off, whatever they do')
    assert 10 <= time.monotonic() - begin < patience(15)
    wait_until(lambda: rig.fds() == before, 5, 'the places are free')


def test_clients_that_do_nothing_wake_nobody(rig):
    rig.up(others=LONG_NAMES[:100])
    before = rig.fds()
    for i in range(PLACES):
        rig.client((b'', ASK[:20], ASK)[i % 3], buffer=4096)
    wait_until(lambda: rig.fds() == before + PLACES, 5, 'all places are taken')

    def woken():
        woken, begin = rig.wakeups(), time.monotonic()
        wait_until(lambda: time.monotonic() - begin > 0.5, 2, 'time goes by')
        return rig.wakeups() - woken

    # First what they have asked is done; a turn each ms would be some 500.
    wait_until(lambda: woken() < 20, 6, 'it sleeps')
    assert rig.fds() == before + PLACES


def test_clients_that_do_not_read_shut_out_nobody(rig):
    _, guest = rig.up(others=LONG_NAMES)
    wait_until(lambda: rig.value('vmtide_vms') == 1 + len(LONG_NAMES), 5, 'it answers')
    deaf = [rig.client(ASK, buffer=4096) for _ in range(PLACES)]
    wait_until(lambda: rig.value('vmtide_vms') == 1 + len(LONG_NAMES), 10, 'another client gets in')
    guest.resize(1, GIB)
    assert guest.answer(1)['requested_size'] == GIB
    # Each holds a text of its own time: what is held does not grow.
    deaf += [rig.client(ASK, buffer=4096) for _ in range(PLACES)]
    wait_until(lambda: all(gone(client) for client in deaf[:PLACES]), 30, 'they are cut off')
    assert rig.value('vmtide_vms') == 1 + len(LONG_NAMES)


def test_texts_for_clients_that_do_not_read_are_few(rig):
    _, guest = rig.up(others=LONG_NAMES)
    wait_until(lambda: rig.value('vmtide_vms') == 1 + len(LONG_NAMES), 5, 'it answers')
    before, held, text = rig.fds(), [], len(rig.get()[2])
    for number in range(1, PLACES - 2):
        rig.client(ASK, buffer=4096)
        # One after the other, and a text of its own for each.
        guest.resize(number, number * 2 * MIB)
        guest.answer(number)
        wait_until(lambda n=number: rig.value('vmtide_vm_grants_total{vm="guest"}') == n, 10, 'there is a new text')
        held.append(memory(rig.process))
    assert rig.fds() - before < PLACES - 4, 'who has an old text has been cut off'
    assert SANITIZED or max(held[4:]) - held[3] < 3 * text, (held, text)


def test_clients_that_leave_in_the_middle(rig):
    rig.up(others=LONG_NAMES)
    wait_until(lambda: rig.value('vmtide_vms') == 1 + len(LONG_NAMES), 5, 'it answers')
    before = rig.fds()
    for i in range(120):
        client = rig.client((b'', ASK[:20], ASK, ASK)[i % 4], buffer=4096)
        if i % 4 == 3:
            client.recv(100)
        if i % 2:
            # With a reset.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        client.close()
    wait_until(lambda: rig.value('vmtide_vms') == 1 + len(LONG_NAMES), 10, 'it answers again')
    wait_until(lambda: rig.fds() == before, 15, 'nothing is left of them')


def test_scrapers_in_a_loop_cost_a_tenth_of_the_time(rig):
    _, guest = rig.up(others=LONG_NAMES)
    wait_until(lambda: rig.value('vmtide_vms') == 1 + len(LONG_NAMES), 5, 'it answers')
    scrapers = []

    def share_of_time():
        cpu, begin = rig.cpu(), time.monotonic()
        wait_until(lambda: time.monotonic() - begin > 4, 10, 'time goes by')
        return (rig.cpu() - cpu) / (time.monotonic() - begin)

    # Looking for VMs that are not there costs something too.
    idle = share_of_time()
    try:
        for _ in range(4):
            scrapers.append(subprocess.Popen([sys.executable, '-c', SCRAPE, str(rig.port)], stdout=subprocess.PIPE))
            scrapers[-1].stdout.readline()
        for i in range(200):
            guest.resize(i + 1, (i % 2) * GIB)
            guest.answer(i + 1, 5)
        share = share_of_time()
        assert all(scraper.poll() is None for scraper in scrapers)
    finally:
        for scraper in scrapers:
            scraper.kill()
            scraper.wait(5)
            scraper.stdout.close()
    assert 0.005 < share - idle < 0.1, (share, idle)


@malice('a client of the metrics sends empty lines without a limit over four connections, which it renews',
        'the daemon spends at most a tenth of the time')
def test_empty_lines_cost_a_tenth_of_the_time(rig):
    rig.up()
    wait_until(lambda: rig.value('vmtide_vms') == 1, 5, 'it answers')
    sent, end = [0] * 4, time.monotonic() + 4

    def flood(i):
        while time.monotonic() < end:
            try:
                with socket.create_connection(('127.0.0.1', rig.port), 5) as client:
                    client.settimeout(1)
                    while time.monotonic() < end:
                        sent[i] += client.send(b'\r\n' * 8192)
            except OSError:
                pass  # it was left
    cpu, begin = rig.cpu(), time.monotonic()
    threads = [threading.Thread(target=flood, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    share = (rig.cpu() - cpu) / (time.monotonic() - begin)
    assert sum(sent) > MIB and share < 0.1, (sum(sent), share)


def test_without_descriptors_it_waits(rig):
    """Whoever connects cannot be taken, and goes on waiting: the loop must not turn without end."""
    rig.up()
    pid = rig.process.pid
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (len(os.listdir(f'/proc/{pid}/fd')), before[1]))
    with socket.create_connection(('127.0.0.1', rig.port), 5) as client:
        client.sendall(b'GET /metrics HTTP/1.0\r\n\r\n')
        wait_until(lambda: rig.said('metrics: cannot take a connection: Too many open files') == 1, 5, 'it is said')
        begun = cpu_seconds(pid)
        time.sleep(2)
        assert cpu_seconds(pid) - begun < 0.2
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        client.settimeout(10)
        assert client.recv(12) == b'HTTP/1.1 200'
    assert rig.said('metrics: cannot take a connection') == 1


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


def test_a_second_daemon_on_the_same_address_does_not_start(rig):
    rig.up()
    second = rig.folder / 'second.conf'
    second.write_text(f'[Host]\n[Metrics]\nListen=127.0.0.1:{rig.port}\n', encoding='ascii')
    done = subprocess.run([BUILD / 'host/vmtide-host', f'--config={second}', f'--procfs={rig.folder}/proc',
                           f'--limits-state={rig.folder}/limits',
                           f'--promises-state={rig.folder}/second'], capture_output=True, text=True, timeout=20)
    assert done.returncode == 78 and f'[Metrics] Listen=127.0.0.1:{rig.port}: Address already in use' in done.stderr, done
    assert rig.value('vmtide_vms') == 1


def test_from_one_address_to_all_on_the_same_port(rig):
    rig.up()
    assert rig.value('vmtide_vms') == 1
    with socket.socket() as other:
        other.bind(('127.0.0.2', rig.port))
        other.listen(1)
        rig.write_config('', f'[Metrics]\nListen=0.0.0.0:{rig.port}\n')
        rig.reload()
        wait_until(lambda: rig.said('Address already in use; the configuration in force stays') == 1, 5, 'it is refused')
        assert rig.value('vmtide_vms') == 1
    rig.reload()
    wait_until(lambda: rig.said(f'http://0.0.0.0:{rig.port}/metrics') == 1, 5, 'it has moved')
    assert rig.value('vmtide_vms') == 1


@pytest.mark.parametrize('clients', (b'', ASK[:20], ASK), ids=('mute', 'half', 'whole'))
def test_it_ends_with_clients_inside(rig, clients):
    rig.up(others=LONG_NAMES)
    wait_until(lambda: rig.value('vmtide_vms') == 1 + len(LONG_NAMES), 5, 'it answers')
    inside = [rig.client(clients, buffer=4096) for _ in range(PLACES)]
    rig.write_config('')
    rig.reload()
    wait_until(lambda: rig.said('configuration loaded again') == 1, 5, 'it has ended')
    wait_until(lambda: all(gone(client) for client in inside), 5, 'all have left')
    rig.write_config('', f'[Metrics]\nListen=127.0.0.1:{rig.port}\n')
    rig.reload()
    wait_until(lambda: rig.value('vmtide_vms') == 1, 5, 'it answers again')
    # And with the daemon.
    for _ in range(PLACES):
        rig.client(clients, buffer=4096)


@pytest.mark.parametrize('address', ('localhost:80', '127.0.0.1', '127.0.0.1:0', '::1:80'))
def test_a_wrong_address_is_refused(rig, address):
    rig.up()
    rig.write_config('', f'[Metrics]\nListen={address}\n')
    rig.reload()
    wait_until(lambda: rig.said(f'Listen={address}: not an address with a port') == 1, 5, 'it is refused')
    assert rig.value('vmtide_vms') == 1
