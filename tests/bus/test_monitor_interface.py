# SPDX-License-Identifier: MIT
"""The interface XML of the monitor is what the running monitor shows, and its decisions have the documented keys."""

import re
from xml.etree import ElementTree

from .conftest import MONITOR, REPO
from .dbus_client import Client, NAME_OWNER
from .peers import GIB, MIB, wait_until
from .test_actuator_access import members

XML = REPO / 'dbus/org.vmtide.Monitor1.xml'


def start_monitor(machine):
    machine.start_monitor()
    wait_until(lambda: machine.get('Level', at=MONITOR) is not None, 10, 'the monitor is on the bus')


def test_interface_is_the_one_in_the_file(machine):
    start_monitor(machine)
    text = machine.busctl('introspect', '--xml-interface', *MONITOR[:2]).stdout
    shown = list(members(ElementTree.fromstring(text), MONITOR[2]))
    written = list(members(ElementTree.parse(XML).getroot(), MONITOR[2]))
    assert sorted(shown) == sorted(written) and len(written) >= 12
    assert all(name for m in written for name, _, _ in m[4])


def test_a_decision_has_the_keys_that_are_documented(running):
    start_monitor(running)
    client = Client(running.folder / 'bus')
    wait_until(lambda: client.call('Explain', 'u', 1, at=MONITOR)[0], 10, 'a decision is told')
    decision, = client.call('Explain', 'u', 1, at=MONITOR)[0]
    client.close()
    comment = re.search(r'A decision is a dictionary of:(.*?)\n\n', XML.read_text(encoding='utf-8'), re.S).group(1)
    words = set(re.findall(r'[a-z]+[a-z0-9-]*', re.sub(r'\(.*?\)', '', comment, flags=re.S)))
    assert set(decision) == words - {'and'}


def test_headroom_is_told_when_it_moves(machine):
    start_monitor(machine)
    client = Client(machine.folder / 'bus')
    client.call('AddMatch', 's', "type='signal',path='/org/vmtide/Monitor1'", at=NAME_OWNER)
    assert machine.get('Headroom', at=MONITOR) == [str(256 * MIB)]
    machine.set_memory(16 * GIB, 15 * GIB)
    _, changed, invalidated = client.wait_signal('PropertiesChanged', 10, lambda _, c, i: 'Headroom' in (*c, *i))
    assert changed == {'Headroom': 512 * MIB} and invalidated == []
    client.close()
