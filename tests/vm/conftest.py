# SPDX-License-Identifier: MIT
"""Fixtures of the VM tests.

boot_guest   a function that boots a guest (arguments as of rig.Guest) and ends it after the test
guest        a booted guest with the installed build, on each kernel in turn; its arguments come from
             @pytest.mark.guest(boot='2G', …)
kernel       the kernel series that the test is run for
installed    the tree that `meson install` made
"""

import os
import re
import shutil
import tempfile
from pathlib import Path

import pytest

from tests.matrix import mark_of, register
from tests.vm.rig import Guest, RigError, build_dir, install_build, speed

KERNELS = ('6.1', '6.12')


def pytest_addoption(parser):
    parser.addoption('--kernel', action='append', choices=KERNELS, help='run for this guest kernel only')
    parser.addoption('--matrix', action='store_true',
                     help='all rows of the matrix of faults and malice; without it a sample of them, on one kernel')


def pytest_configure(config):
    config.addinivalue_line('markers', 'guest(**arguments): how the guest fixture boots (rig.Guest)')
    config.addinivalue_line('markers', 'alone: measures what the whole machine has left; no other guest may run')
    register(config)


def pytest_generate_tests(metafunc):
    if 'kernel' in metafunc.fixturenames:
        metafunc.parametrize('kernel', metafunc.config.getoption('kernel') or KERNELS, scope='session')


def _kernel(item):
    return getattr(item, 'callspec', None) and item.callspec.params.get('kernel')


def _left_out(item):
    mark = mark_of(item)
    if mark is None or item.config.getoption('--matrix'):
        return False
    sample = mark[3]
    return not sample or (_kernel(item) == KERNELS[0] and not item.config.getoption('kernel'))


# Runs before pytest-xdist, which reads the mark: the tests of a file on one kernel may share a guest and its logs.
# pytest ignores a hook function without the prefix pytest_.
@pytest.hookimpl(tryfirst=True, specname='pytest_collection_modifyitems')
def pytest_group_by_guest(items):
    for item in items:
        item.add_marker(pytest.mark.xdist_group(f'{item.path.stem}-{_kernel(item)}'))


# After pytest's own reordering, which parts the rows of a file: they share a boot.
@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    out = [item for item in items if _left_out(item)]
    config.hook.pytest_deselected(items=out)
    rows = [item for item in items if item not in out and mark_of(item)]
    rows.sort(key=lambda item: (str(_kernel(item)), str(item.fspath), item.reportinfo()[1]))
    items[:] = [item for item in items if item not in out and item not in rows] + rows


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A skipped test is a failed test; and the fixtures get to know how the test ended."""
    outcome = yield
    report = outcome.get_result()
    if report.skipped and not hasattr(report, 'wasxfail'):
        report.outcome = 'failed'
        report.longrepr = f'a test of the VM rig must not be skipped: {call.excinfo.value}'
    if report.failed:
        item.stash[FAILED] = True
    if report.failed and item.stash.get(LOGS, None):
        report.sections.append(('guest logs', '\n'.join(str(path) for path in item.stash[LOGS])))


FAILED = pytest.StashKey()
LOGS = pytest.StashKey()


@pytest.fixture(scope='session')
def installed():
    with tempfile.TemporaryDirectory(prefix='vmtide-installed-') as folder:
        install_build(folder)
        yield Path(folder)


def _log_folder(item, number):
    name = re.sub(r'[^A-Za-z0-9_.-]+', '-', item.nodeid.partition('@')[0].rpartition('/')[2].replace('::', '.')).strip('-')
    folder = build_dir() / 'vm-logs' / (name if number == 1 else f'{name}.{number}')
    shutil.rmtree(folder, ignore_errors=True)
    return folder


@pytest.fixture
def boot_guest(request):
    """Boots guests, waits for them, and keeps their logs when the test fails (or with VMTIDE_KEEP_LOGS=1)."""
    guests = []
    logs = request.node.stash[LOGS] = []

    def boot(*args, wait=True, **kwargs):
        folder = _log_folder(request.node, len(logs) + 1)
        logs.append(folder)
        guest = Guest(*args, logs=folder, **kwargs)
        guests.append(guest)
        guest.start()
        if wait:
            guest.wait_booted()
            speed.measure(guest)
        return guest

    yield boot
    keep = request.node.stash.get(FAILED, False) or os.environ.get('VMTIDE_KEEP_LOGS')
    for guest in guests:
        if keep and not guest.save_journal():
            (guest.logs / 'journal.txt').write_text('the guest did not answer: see journal.log\n', encoding='ascii')
        guest.close()
        if not keep:
            shutil.rmtree(guest.logs, ignore_errors=True)


@pytest.fixture
def guest(request, kernel, installed, boot_guest):
    marker = request.node.get_closest_marker('guest')
    return boot_guest(kernel, **{'destdir': installed, **(marker.kwargs if marker else {})})
