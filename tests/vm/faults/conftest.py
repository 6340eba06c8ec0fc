# SPDX-License-Identifier: MIT
"""One boot for the rows of a file, on each kernel: a row that fails leaves the next one a fresh guest."""

import re
import shutil

import pytest

from tests.vm.conftest import FAILED, LOGS
from tests.vm.rig import Guest, build_dir

from .stage import Stage, helper_files


class Keeper:
    """The stage of a file."""

    def __init__(self, kernel, installed, name, options):
        self.kernel, self.installed, self.name = kernel, installed, name
        self.options = options
        self.stage = None
        self.boots = 0

    def up(self):
        if self.stage is None:
            self.boots += 1
            folder = build_dir() / 'vm-logs' / f'{self.name}-{self.kernel}.{self.boots}'
            shutil.rmtree(folder, ignore_errors=True)
            settings = dict(self.options)
            files = {**helper_files(), **settings.pop('files', {})}
            maximum = settings.pop('maximum', '6G')
            guest = Guest(self.kernel, destdir=self.installed, logs=folder, files=files, **settings)
            try:
                guest.start()
                guest.wait_booted()
                self.stage = Stage(guest, maximum)
            except BaseException:
                guest.close()
                raise
        return self.stage

    def down(self, keep):
        if self.stage is None:
            return
        stage, self.stage = self.stage, None
        if keep:
            stage.guest.save_journal()
        stage.close()
        if not keep:
            shutil.rmtree(stage.guest.logs, ignore_errors=True)


@pytest.fixture(scope='module')
def keeper(request, kernel, installed):
    """How the guest boots stands in GUEST = dict(…) of the file, as of rig.Guest; files= and maximum= too."""
    name = re.sub(r'^test_', '', request.module.__name__.rpartition('.')[2])
    keeper = Keeper(kernel, installed, f'matrix-{name}-{kernel}', getattr(request.module, 'GUEST', {}))
    yield keeper
    keeper.down(keep=False)


@pytest.fixture
def stage(request, keeper):
    try:
        stage = keeper.up()
    except BaseException:
        keeper.stage = None
        raise
    request.node.stash[LOGS] = [stage.guest.logs]
    stage.deaths.begin()
    yield stage
    failed = request.node.stash.get(FAILED, False)
    try:
        if not failed:
            failed = True
            stage.deaths.check()
            failed = False
    finally:
        if failed:
            keeper.down(keep=True)
