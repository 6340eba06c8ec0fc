# SPDX-License-Identifier: MIT
"""The build's vmtide-host, run for a guest as an unprivileged user."""

import os
import shutil

from .paths import RigError, build_dir
from .process import NOBODY, Process


class HostDaemon:
    """vmtide-host for one guest. Its log is host.log in the guest's log folder, over every restart."""

    def __init__(self, guest):
        self._guest = guest
        self._process = None
        self._argv = []
        self.log = guest.logs / 'host.log'

    def start(self, *arguments, name='guest', maximum=None, minimum=None, binary=None, channel=None,
              qmp=None):
        """Starts it: by default with `--vm` for the guest's sockets and devices; ARGUMENTS come after that.

        channel, qmp: sockets to use instead of the guest's own, for something that stands in between.
        """
        if self.running():
            raise RigError('vmtide-host runs already')
        vm = [name, f'channel={channel or self._guest.channel_path}', f'qmp={qmp or self._guest.host_qmp_path}',
              f'device={"+".join(self._guest.devices)}',
              f'max={maximum or self._guest.device * len(self._guest.devices)}']
        if minimum is not None:
            vm.append(f'min={minimum}')
        # A copy, since nobody may look into the build folder, and a build must not change what runs.
        source = binary or build_dir() / 'host/vmtide-host'
        if not os.path.exists(source):
            raise RigError(f'{source} has not been built: run ninja -C {build_dir()}')
        copy = self._guest.folder / 'vmtide-host'
        shutil.copyfile(source, copy)
        copy.chmod(0o755)
        state = self._guest.folder / 'host-run'
        state.mkdir(exist_ok=True)
        state.chmod(0o777)
        self._argv = [copy, '--vm', ','.join(vm), f'--promises-state={state}/promised', *arguments]
        self.restart()

    def restart(self):
        """Starts it again as it was."""
        user = NOBODY if os.geteuid() == 0 else None
        self._process = Process(self._argv, self.log, user)

    def running(self):
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self):
        return self._process.pid

    def stop(self, timeout=10):
        """SIGTERM; the exit status."""
        return self._process.stop(timeout)

    def kill(self):
        """SIGKILL."""
        if self.running():
            self._process.kill()

    def send(self, number):
        self._process.send(number)

    def text(self):
        """Its log."""
        return self.log.read_text(encoding='utf-8', errors='replace') if self.log.exists() else ''
