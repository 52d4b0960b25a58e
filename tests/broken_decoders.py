"""Searches that end their process, hang, or go wrong, as a file made for it might make them do.

A file of its own: the process that calls these is started anew and imports it by its name.
"""

import errno
import os
import signal
import time
from pathlib import Path

from faces.media import PHOTO, Media

MEDIA = Media(PHOTO, "PNG", 4, 3, 100)


def broken(wanted, home, opened, between):
    """What faces.apart.searched is replaced by: the name of a file says what happens."""
    name = Path(wanted.path).name
    if "early" in name:
        os.kill(os.getpid(), signal.SIGSEGV)
    opened(MEDIA)
    (home / "crop.jpg").write_bytes(b"crop")
    between(1, 2)
    if "crash" in name:
        os.kill(os.getpid(), signal.SIGSEGV)
    if "exit" in name:
        os._exit(3)
    if "hang" in name:
        time.sleep(1000)
    if "full" in name:
        raise OSError(errno.ENOSPC, "No space left on device")
    if "wrong" in name:
        raise FileNotFoundError(2, "No such file or directory", wanted.path)
    if "memory" in name:
        raise MemoryError("8 GB")
    return [str(os.getpid()), str(home)]
