"""Work in which clips kill their process, hang, or find the disk full.

A file of its own that imports next to nothing: a new process has it in no time, so that a short
time limit tells a clip that hangs from a slow machine.
"""

import errno
import os
import time
from pathlib import Path
from types import SimpleNamespace


def deadly(paths, kind, config, folder):
    """What preparing.search.work is replaced by; the answer has what a Found is asked for."""
    name = " ".join(Path(path).name for path in paths)
    if "kill" in name:
        os._exit(9)
    if "hang" in name:
        time.sleep(1000)
    if "full" in name:
        raise OSError(errno.ENOSPC, "No space left on device")
    return [SimpleNamespace(path=path, failure="", faces=()) for path in paths]
