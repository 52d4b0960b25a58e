"""A page for this computer alone: its port, what browsers may load, whose upload is whose."""

import os
import shutil
import socket
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from flags import Demo
from utils import UserError

HOST = "127.0.0.1"

POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; worker-src 'self' "
    "blob:; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "connect-src 'self' data: blob:; frame-src 'self' blob:; frame-ancestors 'none'"
)
"""What the browser may load: nothing from elsewhere, whatever the page says (W3C, CSP 3)."""


def free(port: int) -> None:
    """Raises UserError where somebody else has the port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            why = error.strerror or str(error)
            raise UserError(f"port {port}: {why}; choose another by --port") from None


def as_we_like_it(home: Path) -> None:
    """Gradio reads these when it is imported: uploads lie in `home`, nobody is told of anything."""
    os.environ["GRADIO_TEMP_DIR"] = str(home / "uploads")
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    # Gradio asks itself whether it runs, and a proxy would not find it.
    for name in ("NO_PROXY", "no_proxy"):
        os.environ[name] = ",".join(filter(None, [os.environ.get(name), HOST]))


def has_a_screen() -> bool:
    """Else a browser for the terminal might open, and take it."""
    return sys.platform != "linux" or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))


def guards() -> list[Any]:
    """Before Gradio: only this computer's own names are answered, and the browser is told POLICY.

    Without the first, a page from elsewhere could give its own name our address and then ask us
    (DNS rebinding).
    """
    from starlette.datastructures import MutableHeaders
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    class Policy:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            async def told(message: Any) -> None:
                if message["type"] == "http.response.start":
                    headers = MutableHeaders(scope=message)
                    headers["Content-Security-Policy"] = POLICY
                    headers["Referrer-Policy"] = "no-referrer"
                    if not scope["path"].startswith(("/assets/", "/static/")):
                        headers["Cache-Control"] = "no-store"  # what somebody uploaded or read
                await send(message)

            await self.app(scope, receive, told)

    hosts = Middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])
    return [hosts, Middleware(Policy)]


def taken(upload: str, settings: Demo, home: Path) -> tuple[None, str, str]:
    """An upload under a name of our own, so that another's end does not end it; the place to drop
    files and the result are emptied. What nobody came for (a closed window) is removed on the way.
    """
    longest = time.time() - settings.time_limit * (settings.queue + 2)
    for folder in home.glob("file-*"):
        with suppress(OSError):  # the file may just have been judged
            if folder.stat().st_mtime < longest:
                shutil.rmtree(folder, ignore_errors=True)
    own = Path(tempfile.mkdtemp(prefix="file-", dir=home)) / Path(upload).name
    try:
        os.link(upload, own)
    except OSError:  # a file system without hard links
        shutil.copyfile(upload, own)
    return None, str(own), ""
