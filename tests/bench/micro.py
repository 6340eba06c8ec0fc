# SPDX-License-Identifier: MIT
"""scripts/bench micro: what one decision and one full sample take on this machine."""

import os
import subprocess
import sys

sys.exit(subprocess.run([os.path.join(os.environ.get('VMTIDE_BUILD', 'build'), 'tests/bench/bench-micro')],
                        check=False).returncode)
